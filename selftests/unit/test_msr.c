// SPDX-License-Identifier: GPL-2.0
/*
 * MSRs: every index of the ranges that exist, with every value that could
 * matter, must be taken, be #GP, or be nobody's; and what a guest writes
 * reaches the host's MSRs only as the two barrier commands.
 */
#include "unit.h"
#include <asm/cpufeature.h>
u64 clv_tsc_lost;
#include "../../kmod/msr.c"

static struct clv_vm vm;
static struct clv_vcpu vcpu;
static u64 host_msr_written;		/* or'ed: 1 PRED_CMD, 2 FLUSH_CMD, 4 anything else */
static u64 host_arch_caps;
static u64 backend_star, apic_base;

static void unit_wrmsr(u32 msr, u64 val)
{
	if (msr == MSR_IA32_PRED_CMD && val == 1)
		host_msr_written |= 1;
	else if (msr == MSR_IA32_FLUSH_CMD && val == 1)
		host_msr_written |= 2;
	else
		host_msr_written |= 4;
}

static u64 unit_rdmsr(u32 msr)
{
	CHECK_EQ(msr, MSR_IA32_ARCH_CAPABILITIES);
	return host_arch_caps;
}

/* The backend has STAR, and what a CPU checks: anything it gets is stored. */
static bool backend_has(u32 msr)
{
	switch (msr) {
	case MSR_STAR ... MSR_SYSCALL_MASK:
	case MSR_KERNEL_GS_BASE:
	case MSR_IA32_SYSENTER_CS ... MSR_IA32_SYSENTER_EIP:
		return true;
	default:
		return false;
	}
}

static u64 *backend_field(struct clv_vcpu *v, u32 msr)
{
	return backend_has(msr) ? &backend_star : NULL;
}

static const struct clv_backend backend = {
	.msr_field = backend_field,
};

const struct clv_backend *clv_backend = &backend;

int clv_lapic_msr_get(struct clv_vcpu *v, u32 msr, u64 *val)
{
	*val = msr;
	return 0;
}

int clv_lapic_msr_set(struct clv_vcpu *v, u32 msr, u64 val)
{
	return val >> 32 ? -EINVAL : 0;
}

void clv_lapic_tsc_changed(struct clv_vcpu *v)
{
}

u64 clv_lapic_base_get(struct clv_vcpu *v)
{
	return apic_base;
}

int clv_lapic_base_set(struct clv_vcpu *v, u64 base, bool host)
{
	apic_base = base;
	return 0;
}

int clv_efer_write(struct clv_vcpu *v, u64 val)
{
	if (val & ~0xd01ULL)
		return -EINVAL;
	v->sregs.efer = val;
	return 0;
}

void clv_vcpu_kick(struct clv_vcpu *v)
{
}

void clv_pv_tsc_moved(struct clv_vm *vm, u64 delta)
{
	vm->tsc_offset += delta;
}

void clv_pv_clock_changed(struct clv_vm *vm)
{
}

int clv_pv_clock_msr(struct clv_vcpu *v, u64 *val, bool set)
{
	return 0;
}

void clv_pv_msr_written(struct clv_vcpu *v, u32 msr, bool host)
{
}

void clv_regs_pull(struct clv_vcpu *v, u32 groups)
{
	v->avail |= groups;
}

static void make(bool amd, bool all)
{
	memset(&vcpu, 0, sizeof(vcpu));
	memset(&vm, 0, sizeof(vm));
	memset(&boot_cpu_data, 0, sizeof(boot_cpu_data));
	boot_cpu_data.x86_vendor = amd ? X86_VENDOR_AMD : X86_VENDOR_INTEL;
	boot_cpu_data.microcode = 0x1234;
	host_msr_written = 0;
	host_arch_caps = 0;
	unit_tsc = 1000;
	vcpu.vm = &vm;
	vcpu.caps.maxphyaddr = 40;
	vcpu.caps.linear_bits = 48;
	vcpu.caps.amd = amd;
	if (all) {
		vcpu.caps.x2apic = true;
		vcpu.caps.tsc_deadline = true;
		vcpu.caps.tsc_aux = true;
		vcpu.caps.tsc_adjust = true;
		vcpu.caps.mce = true;
		vcpu.caps.mtrr = true;
		vcpu.caps.spec_ctrl = true;
		vcpu.caps.spec_ctrl_bits = 7;
		vcpu.caps.ibpb = true;
		vcpu.caps.flush_l1d = !amd;
		vcpu.caps.arch_caps = !amd;
	}
	clv_msr_reset(&vcpu);
}

static int set(u32 msr, u64 val)
{
	return clv_msr_set(&vcpu, msr, val, false);
}

static int host_set(u32 msr, u64 val)
{
	return clv_msr_set(&vcpu, msr, val, true);
}

static u64 get(u32 msr)
{
	u64 val = 0xdead;

	CHECK_EQ(clv_msr_get(&vcpu, msr, &val, false), 0);
	return val;
}

static int try_get(u32 msr)
{
	u64 val;

	return clv_msr_get(&vcpu, msr, &val, false);
}

static void sweep(u32 first, u32 n)
{
	static const u64 vals[] = { 0, 1, ~0ULL, 0x0606060606060606, 1ULL << 47, 1ULL << 63, 0xff };

	for (u32 msr = first; msr < first + n; msr++) {
		u64 before = 0xdead, after = 0;
		int ret = clv_msr_get(&vcpu, msr, &before, false), r;

		CHECK(ret == 0 || ret == -EINVAL || ret == -ENOENT);
		CHECK(before != 0xdead);
		for (unsigned int i = 0; i < ARRAY_SIZE(vals); i++) {
			u64 val = i ? vals[i] : ((u64)rand() << 32 | (u32)rand());

			r = clv_msr_set(&vcpu, msr, val, i % 3 == 0);
			if (r != 0 && r != -EINVAL && r != -ENOENT)
				unit_fail("msr %#x value %#llx: %d", msr, val, r);
			/* What can be read is known, even if it cannot be written. */
			if (!ret && r == -ENOENT)
				unit_fail("msr %#x reads but is unknown to writes", msr);
			if (ret == -ENOENT && !r && msr != MSR_IA32_PRED_CMD &&
			    msr != MSR_IA32_FLUSH_CMD)
				unit_fail("msr %#x can be written, not read", msr);
		}
		CHECK_EQ(clv_msr_get(&vcpu, msr, &after, false), ret);
	}
}

static void sweep_all(bool amd, bool all)
{
	make(amd, all);
	sweep(0, 0x2000);
	sweep(0x40000000, 0x200);
	sweep(0x4b564d00, 0x10);
	sweep(0xc0000000, 0x2000);
	sweep(0xc0010000, 0x2000);
	sweep(0xffffff00, 0xff);
	CHECK(!(host_msr_written & 4));
	CHECK_EQ(host_msr_written, !all ? 0 : amd ? 1 : 3);
}

UNIT_TEST(every_msr_on_amd)
{
	sweep_all(true, true);
}

UNIT_TEST(every_msr_on_intel)
{
	sweep_all(false, true);
}

UNIT_TEST(every_msr_of_bare_cpus)
{
	sweep_all(true, false);
	sweep_all(false, false);
}

UNIT_TEST(never_there)
{
	/* VMX, SVM, SGX, PT, performance counters, XSS, CET, microcode loader, SMM */
	static const u32 none[] = {
		0x480, 0x48b, 0x491, 0xc0010114, 0xc0010117, 0xc0000104, 0x8c, 0x570, 0xc1, 0x186,
		0x38f, 0x345, 0xc0010000, 0xc0010004, 0xc0010200, 0xda0, 0x6a2, 0x79, 0xc0010020,
		0xc0010111, 0xc0010112, 0xe7, 0xe8, 0x1a2, 0x610, 0xc0011020, 0xc001011f, 0x122,
		0x123, 0x33, 0x1c4, 0x400, 0x17b,
	};

	for (int amd = 0; amd < 2; amd++) {
		make(amd, true);
		for (unsigned int i = 0; i < ARRAY_SIZE(none); i++) {
			if (try_get(none[i]) != -ENOENT || set(none[i], 0) != -ENOENT)
				unit_fail("msr %#x is there", none[i]);
		}
	}
}

UNIT_TEST(vendors)
{
	make(true, true);
	CHECK_EQ(get(0xc0010015) >> 24 & 1, 1);
	CHECK_EQ(set(0xc0010015, BIT(18)), 0);
	CHECK_EQ(get(0xc0010015), BIT(18) | BIT(24));
	CHECK_EQ(set(0xc0010015, BIT(4)), -EINVAL);
	CHECK_EQ(set(0xc001001f, 1ULL << 46), 0);
	CHECK_EQ(get(0xc001001f), 0);
	CHECK_EQ(set(0xc0010010, BIT(19)), -EINVAL);
	CHECK_EQ(get(0xc0011029), 0);
	boot_cpu_data.x86_capability[X86_FEATURE_LFENCE_RDTSC / 32] |=
		BIT(X86_FEATURE_LFENCE_RDTSC % 32);
	CHECK_EQ(get(0xc0011029), 2);
	CHECK_EQ(set(0xc0011029, 2), 0);
	CHECK_EQ(set(0xc0011029, 0), -EINVAL);
	CHECK_EQ(try_get(0x1a0), -ENOENT);
	CHECK_EQ(try_get(0x3a), -ENOENT);
	CHECK_EQ(get(0x8b), 0x1234);

	make(false, true);
	CHECK_EQ(try_get(0xc0010015), -ENOENT);
	CHECK_EQ(get(0x3a), 1);
	CHECK_EQ(set(0x3a, 5), -EINVAL);
	CHECK_EQ(get(0x1a0), 1 | BIT(11) | BIT(12));
	CHECK_EQ(set(0x1a0, 0), 0);
	CHECK_EQ(get(0x1a0), BIT(11) | BIT(12));
	CHECK_EQ(set(0x1a0, BIT(22)), -EINVAL);
	CHECK_EQ(set(0x1a0, 1ULL << 34), -EINVAL);
	CHECK_EQ(get(0x8b), 0x1234ULL << 32);
	CHECK_EQ(set(0x8b, 0), 0);
	CHECK_EQ(get(0x8b), 0x1234ULL << 32);
	CHECK_EQ(set(0x8b, 1), -EINVAL);
	CHECK_EQ(host_set(0x8b, 7), 0);
	CHECK_EQ(get(0x8b), 7);
}

UNIT_TEST(memory_types)
{
	make(true, true);
	CHECK_EQ(get(0x277), 0x0007040600070406);
	for (int type = 0; type < 256; type++) {
		bool pat = type == 0 || type == 1 || (type >= 4 && type <= 7);
		bool mtrr = pat && type != 7;

		for (int i = 0; i < 8; i++) {
			u64 val = 0x0606060606060606 & ~(0xffULL << i * 8);

			val |= (u64)type << i * 8;
			CHECK_EQ(set(0x277, val), pat ? 0 : -EINVAL);
			CHECK_EQ(set(0x250, val), mtrr ? 0 : -EINVAL);
			CHECK_EQ(set(0x26f, val), mtrr ? 0 : -EINVAL);
			if (mtrr)
				CHECK_EQ(get(0x26f), val);
		}
		CHECK_EQ(set(0x2ff, 0xc00 | type), mtrr ? 0 : -EINVAL);
		CHECK_EQ(set(0x200, 0x80000000 | type), mtrr ? 0 : -EINVAL);
	}
	CHECK_EQ(set(0x2ff, BIT(9)), -EINVAL);
	CHECK_EQ(set(0x200, BIT(8)), -EINVAL);
	CHECK_EQ(set(0x200, 1ULL << 40), -EINVAL);
	CHECK_EQ(set(0x20e, 1ULL << 39), 0);
	CHECK_EQ(set(0x201, 0xff00000800), 0);
	CHECK_EQ(get(0x201), 0xff00000800);
	CHECK_EQ(set(0x201, BIT(10)), -EINVAL);
	CHECK_EQ(set(0x20f, 1ULL << 40), -EINVAL);
	CHECK_EQ(try_get(0x210), -ENOENT);
	CHECK_EQ(get(0xfe), 0x508);
	CHECK_EQ(set(0xfe, 0), -EINVAL);
	vcpu.caps.mtrr = false;
	CHECK_EQ(try_get(0x200), -ENOENT);
	CHECK_EQ(try_get(0xfe), -ENOENT);
}

/* Each register has a place of its own. */
UNIT_TEST(mtrrs_do_not_alias)
{
	static const u32 fixed[] = { 0x250, 0x258, 0x259, 0x268, 0x269, 0x26a, 0x26b, 0x26c,
				     0x26d, 0x26e, 0x26f };

	make(true, true);
	for (u32 i = 0; i < 16; i++)
		CHECK_EQ(set(0x200 + i, (i + 1) << 12), 0);
	for (u32 i = 0; i < ARRAY_SIZE(fixed); i++)
		CHECK_EQ(set(fixed[i], (i & 1 ? 6 : 0) | (u64)(i & 2 ? 5 : 4) << 8 |
			     (u64)(i & 4 ? 1 : 0) << 16 | (u64)(i & 8 ? 6 : 4) << 24), 0);
	CHECK_EQ(set(0x2ff, 0xc06), 0);
	for (u32 i = 0; i < 16; i++)
		CHECK_EQ(get(0x200 + i), (i + 1) << 12);
	for (u32 i = 0; i < ARRAY_SIZE(fixed); i++)
		CHECK_EQ(get(fixed[i]), (i & 1 ? 6 : 0) | (u64)(i & 2 ? 5 : 4) << 8 |
			 (u64)(i & 4 ? 1 : 0) << 16 | (u64)(i & 8 ? 6 : 4) << 24);
	CHECK_EQ(get(0x2ff), 0xc06);
}

UNIT_TEST(addresses_are_canonical)
{
	static const u32 msrs[] = { MSR_LSTAR, MSR_CSTAR, MSR_FS_BASE, MSR_GS_BASE,
				    MSR_KERNEL_GS_BASE, MSR_IA32_SYSENTER_ESP,
				    MSR_IA32_SYSENTER_EIP };

	make(true, true);
	for (int host = 0; host < 2; host++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(msrs); i++) {
			CHECK_EQ(clv_msr_set(&vcpu, msrs[i], 0x00007fffffffffff, host), 0);
			CHECK_EQ(clv_msr_set(&vcpu, msrs[i], 0xffff800000000000, host), 0);
			CHECK_EQ(clv_msr_set(&vcpu, msrs[i], 0x0000800000000000, host), -EINVAL);
			CHECK_EQ(clv_msr_set(&vcpu, msrs[i], 0xffff7fffffffffff, host), -EINVAL);
			CHECK_EQ(clv_msr_set(&vcpu, msrs[i], 1ULL << 63, host), -EINVAL);
		}
	}
	vcpu.caps.linear_bits = 57;
	CHECK_EQ(set(MSR_LSTAR, 0x0000800000000000), 0);
	CHECK_EQ(set(MSR_LSTAR, 0x0100000000000000), -EINVAL);
	CHECK_EQ(set(MSR_STAR, 1ULL << 63), 0);
}

/* SDM vol. 3C 27.3.1.2 */
UNIT_TEST(bases_in_virtual_8086_mode)
{
	make(true, true);
	vcpu.regs.rflags = X86_EFLAGS_VM;
	vcpu.sregs.fs.base = 0x12340;
	vcpu.sregs.gs.base = 0xffff0;
	for (int host = 0; host < 2; host++) {
		CHECK_EQ(clv_msr_set(&vcpu, MSR_FS_BASE, 0x12340, host), 0);
		CHECK_EQ(clv_msr_set(&vcpu, MSR_GS_BASE, 0xffff0, host), 0);
		CHECK_EQ(clv_msr_set(&vcpu, MSR_FS_BASE, 0, host), -EINVAL);
		CHECK_EQ(clv_msr_set(&vcpu, MSR_GS_BASE, 0xfffff000, host), -EINVAL);
		CHECK_EQ(clv_msr_set(&vcpu, MSR_KERNEL_GS_BASE, 0xfffff000, host), 0);
	}
	CHECK_EQ(vcpu.sregs.gs.base, 0xffff0);
	vcpu.regs.rflags = 2;
	CHECK_EQ(clv_msr_set(&vcpu, MSR_GS_BASE, 0xfffff000, true), 0);
}

UNIT_TEST(speculation)
{
	make(false, true);
	CHECK_EQ(set(0x48, 7), 0);
	CHECK_EQ(get(0x48), 7);
	CHECK_EQ(set(0x48, 8), -EINVAL);
	CHECK_EQ(get(0x48), 7);
	CHECK_EQ(host_msr_written, 0);
	CHECK_EQ(set(0x49, 0), 0);
	CHECK_EQ(host_msr_written, 0);
	CHECK_EQ(host_set(0x49, 1), 0);
	CHECK_EQ(host_msr_written, 0);
	CHECK_EQ(set(0x49, 1), 0);
	CHECK_EQ(host_msr_written, 1);
	CHECK_EQ(set(0x10b, 1), 0);
	CHECK_EQ(host_msr_written, 3);
	CHECK_EQ(set(0x49, 2), -EINVAL);
	CHECK_EQ(set(0x49, 0x81), -EINVAL);
	CHECK_EQ(try_get(0x49), -ENOENT);
	vcpu.caps.ibpb = false;
	CHECK_EQ(set(0x49, 1), -ENOENT);
}

UNIT_TEST(arch_capabilities)
{
	make(false, true);
	CHECK_EQ(get(0x10a), 0);		/* the host has none */
	boot_cpu_data.x86_capability[X86_FEATURE_ARCH_CAPABILITIES / 32] |=
		BIT(X86_FEATURE_ARCH_CAPABILITIES % 32);
	host_arch_caps = ~0ULL;
	for (int bug = 0; bug < NBUGINTS * 32; bug++)
		boot_cpu_data.x86_capability[NCAPINTS + bug / 32] = ~0U;
	clv_msr_reset(&vcpu);
	/* No TSX_CTRL, energy, FB_CLEAR_CTRL, GDS_CTRL, XAPIC_DISABLE, OVERCLOCKING ... */
	CHECK(!(get(0x10a) & (BIT(7) | BIT(10) | BIT(11) | BIT(12) | BIT(18) | BIT(21) | BIT(23) |
			      BIT(25))));
	CHECK(get(0x10a) & BIT(0));
	/* The kernel knows better than a CPU that says nothing. */
	host_arch_caps = 0;
	clv_msr_reset(&vcpu);
	CHECK_EQ(get(0x10a), 0);
	memset(boot_cpu_data.x86_capability + NCAPINTS, 0, NBUGINTS * 4);
	clv_msr_reset(&vcpu);
	CHECK_EQ(get(0x10a) & 0x171, 0x171);	/* RDCL, SSB, MDS, PSCHANGE_MC, TAA */
	CHECK_EQ(set(0x10a, 0), -EINVAL);
	CHECK_EQ(host_set(0x10a, 1), 0);
	CHECK_EQ(get(0x10a), 1);
	CHECK_EQ(host_set(0x10a, BIT(7)), -EINVAL);
}

UNIT_TEST(machine_check)
{
	make(true, true);
	CHECK_EQ(get(0x179), 0);
	CHECK_EQ(set(0x179, 1), -EINVAL);
	CHECK_EQ(set(0x17a, 0), 0);
	CHECK_EQ(set(0x17a, 4), -EINVAL);
	CHECK_EQ(host_set(0x17a, 5), 0);
	CHECK_EQ(get(0x17a), 5);
	CHECK_EQ(host_set(0x17a, 8), -EINVAL);
	vcpu.caps.mce = false;
	CHECK_EQ(try_get(0x179), -ENOENT);
	CHECK_EQ(set(0x17a, 0), -ENOENT);
}

UNIT_TEST(tsc)
{
	make(true, true);
	CHECK_EQ(get(0x10), 1000);
	/* User space moves the VM's clock. */
	CHECK_EQ(host_set(0x10, 50), 0);
	CHECK_EQ(get(0x10), 50);
	CHECK_EQ(clv_guest_tsc(&vcpu), 50);
	CHECK_EQ(get(0x3b), 0);
	CHECK_EQ(clv_tsc_offset(&vcpu), -950);
	/* A guest its own CPU's, and it shows in TSC_ADJUST. */
	unit_tsc = 2000;
	CHECK_EQ(set(0x10, 0), 0);
	CHECK_EQ(get(0x10), 0);
	CHECK_EQ(get(0x3b), -1050);
	CHECK_EQ(clv_guest_tsc(&vcpu) - vcpu.tsc_adjust, 1050);
	CHECK_EQ(clv_tsc_offset(&vcpu), -2000);
	/* TSC_ADJUST moves it back. */
	CHECK_EQ(set(0x3b, 0), 0);
	CHECK_EQ(get(0x10), 1050);
	CHECK_EQ(clv_tsc_offset(&vcpu), -950);
	/* Restored: first TSC_ADJUST, then TSC. */
	CHECK_EQ(host_set(0x3b, 7), 0);
	CHECK_EQ(host_set(0x10, 123456), 0);
	CHECK_EQ(get(0x10), 123456);
	CHECK_EQ(get(0x3b), 7);
	vcpu.caps.tsc_adjust = false;
	CHECK_EQ(try_get(0x3b), -ENOENT);
}

UNIT_TEST(others)
{
	make(false, true);
	CHECK_EQ(set(MSR_TSC_AUX, 0xffffffff), 0);
	CHECK_EQ(get(MSR_TSC_AUX), 0xffffffff);
	CHECK_EQ(set(MSR_TSC_AUX, 1ULL << 32), -EINVAL);
	CHECK_EQ(set(MSR_EFER, 0x500), 0);
	CHECK_EQ(get(MSR_EFER), 0x500);
	CHECK_EQ(set(MSR_EFER, BIT(12)), -EINVAL);
	CHECK_EQ(set(0x1b, 0xfee00900), 0);
	CHECK_EQ(get(0x1b), 0xfee00900);
	CHECK_EQ(get(0x802), 0x802);
	CHECK_EQ(get(0x6e0), 0x6e0);
	CHECK_EQ(set(0x80b, 1ULL << 32), -EINVAL);
	CHECK_EQ(set(MSR_STAR, 0x1234567890), 0);
	CHECK_EQ(get(MSR_STAR), 0x1234567890);
}
