// SPDX-License-Identifier: GPL-2.0
/* cleave: MSRs, an allow-list: no value of a guest reaches the host's but by write_command(). */
#include <linux/kvm_para.h>
#include "backend.h"

#define MTRR_VAR	0x200	/* base, mask, base, ... of eight ranges: SDM vol. 3A 12.11.2 */
#define MTRR_VAR_LAST	0x20f
#define MTRR_FIX_64K	0x250
#define MTRR_FIX_16K	0x258			/* two, eight of 4 KiB */
#define MTRR_FIX_4K	0x268
#define MTRR_DEF_TYPE	0x2ff
#define MTRR_CAP	0xfe
#define MTRR_MASK_VALID	BIT(11)
#define MISC_ENABLE_RO	(MSR_IA32_MISC_ENABLE_BTS_UNAVAIL | MSR_IA32_MISC_ENABLE_PEBS_UNAVAIL)
#define HWCR_TSC_FREQ	BIT(24)			/* the TSC counts at the P0 frequency */
#define MTRR_TYPES	0x73	/* UC, WC, WT, WP, WB: SDM vol. 3A table 12-8 */

/* Fields of the vCPU (pat, spec_ctrl, tsc_aux are the backend's), or what kernels count on. */
static const struct reg {
	u32 msr, count;
	u16 field;		/* offset in struct clv_vcpu; 0: the value is fixed */
	u16 cap;		/* there with this bool of struct clv_cpuid_caps; 0: always */
	bool lacks;		/* no: there without it */
	u64 fixed;		/* bits that are always set */
	u64 guest, host;	/* bits that the guest, and user space too, may set */
} regs[] = {
#define FIELD(f)	offsetof(struct clv_vcpu, f)
#define CAP(c)		offsetof(struct clv_cpuid_caps, c)
	{ MSR_IA32_TSC_ADJUST, 1, FIELD(tsc_adjust), CAP(tsc_adjust), .guest = ~0ULL },
	{ MSR_IA32_SPEC_CTRL, 1, FIELD(spec_ctrl), CAP(spec_ctrl), .guest = ~0ULL },
	{ MSR_TSC_AUX, 1, FIELD(tsc_aux), CAP(tsc_aux), .guest = U32_MAX },
	{ MSR_IA32_CR_PAT, 1, FIELD(pat), .guest = ~0ULL },
	{ MSR_FS_BASE, 1, FIELD(sregs.fs.base), .guest = ~0ULL },
	{ MSR_GS_BASE, 1, FIELD(sregs.gs.base), .guest = ~0ULL },
	{ MSR_IA32_UCODE_REV, 1, FIELD(ucode_rev), .host = ~0ULL },
	/* A guest may only clear it, SDM vol. 3B 16.3.1.2. No banks, no MCG_CTL. */
	{ MSR_IA32_MCG_STATUS, 1, FIELD(mcg_status), CAP(mce), .host = BIT(0) | BIT(1) | BIT(2) },
	{ MSR_IA32_MCG_CAP, 1, 0, CAP(mce) },
	{ MSR_IA32_ARCH_CAPABILITIES, 1, FIELD(arch_caps), CAP(arch_caps), .host = ~0ULL },

	{ MSR_KVM_WALL_CLOCK_NEW, 1, FIELD(pv.wall_clock), CAP(pv_clock), .guest = ~3ULL },
	{ MSR_KVM_SYSTEM_TIME_NEW, 1, FIELD(pv.clock), CAP(pv_clock), .guest = ~2ULL },
	{ MSR_KVM_STEAL_TIME, 1, FIELD(pv.steal), CAP(pv_steal), .guest = ~0x3eULL },
	{ MSR_KVM_PV_EOI_EN, 1, FIELD(pv.eoi), CAP(pv_eoi), .guest = ~2ULL },
	{ MSR_KVM_POLL_CONTROL, 1, FIELD(pv.poll), CAP(pv_poll), .guest = 1 },

	{ MTRR_VAR, 16, FIELD(mtrr.var), CAP(mtrr), .guest = ~0ULL },
	{ MTRR_FIX_64K, 1, FIELD(mtrr.fixed[0]), CAP(mtrr), .guest = ~0ULL },
	{ MTRR_FIX_16K, 2, FIELD(mtrr.fixed[1]), CAP(mtrr), .guest = ~0ULL },
	{ MTRR_FIX_4K, 8, FIELD(mtrr.fixed[3]), CAP(mtrr), .guest = ~0ULL },
	{ MTRR_DEF_TYPE, 1, FIELD(mtrr.def_type), CAP(mtrr), .guest = BIT(11) | BIT(10) | 0xff },
	/* Write combining, fixed ranges, eight variable ones. */
	{ MTRR_CAP, 1, 0, CAP(mtrr), .fixed = BIT(10) | BIT(8) | 8 },

	{ MSR_IA32_MISC_ENABLE, 1, FIELD(misc_enable), CAP(amd), true, .fixed = MISC_ENABLE_RO,
	  .guest = MSR_IA32_MISC_ENABLE_FAST_STRING | MSR_IA32_MISC_ENABLE_TM1 |
	  MSR_IA32_MISC_ENABLE_ENHANCED_SPEEDSTEP | MSR_IA32_MISC_ENABLE_XTPR_DISABLE },
	{ MSR_IA32_FEAT_CTL, 1, 0, CAP(amd), true, .fixed = FEAT_CTL_LOCKED },
	{ MSR_PLATFORM_INFO, 1, 0, CAP(amd), true }, { MSR_IA32_PLATFORM_ID, 1, 0, CAP(amd), true },

	/* TlbCacheDis, FFDis, IgnneEm, McStatusWrEn: nothing here depends on them. */
	{ MSR_K7_HWCR, 1, FIELD(hwcr), CAP(amd), .fixed = HWCR_TSC_FREQ,
	  .guest = BIT(3) | BIT(6) | BIT(8) | BIT(18) },
	{ MSR_AMD64_DE_CFG, 1, 0, CAP(amd) }, { MSR_AMD64_SYSCFG, 1, 0, CAP(amd) },
	{ MSR_K8_TOP_MEM1, 1, 0, CAP(amd) }, { MSR_K8_TOP_MEM2, 1, 0, CAP(amd) },
	{ MSR_AMD64_NB_CFG, 1, 0, CAP(amd) }, { MSR_K8_INT_PENDING_MSG, 1, 0, CAP(amd) },
	{ MSR_FAM10H_MMIO_CONF_BASE, 1, 0, CAP(amd) },
	{ MSR_AMD64_OSVW_ID_LENGTH, 2, 0, CAP(amd) },		/* and _STATUS */
};

u64 clv_vm_tsc(const struct clv_vm *vm)
{
	return rdtsc_ordered() + READ_ONCE(vm->tsc_offset) + READ_ONCE(clv_tsc_lost);
}

u64 clv_guest_tsc(const struct clv_vcpu *vcpu)
{
	return clv_vm_tsc(vcpu->vm) + vcpu->tsc_adjust;
}

/* User space sets all CPUs', a guest its own one's, as IA32_TSC_ADJUST says (SDM 3B 18.17.3). */
static void tsc_set(struct clv_vcpu *vcpu, u64 val, bool host)
{
	u64 delta = val - clv_guest_tsc(vcpu);

	if (host)
		clv_pv_tsc_moved(vcpu->vm, delta);
	else
		WRITE_ONCE(vcpu->tsc_adjust, vcpu->tsc_adjust + delta);
	clv_pv_clock_changed(vcpu->vm);
}

/* SDM vol. 3A 12.11.2 */
static bool mtrr_ok(struct clv_vcpu *vcpu, u32 msr, u64 val)
{
	u64 high = ~0ULL << vcpu->caps.maxphyaddr;

	if (msr == MTRR_DEF_TYPE)
		return clv_types_ok(val & 0xff, MTRR_TYPES);
	if (msr > MTRR_VAR_LAST)
		return clv_types_ok(val, MTRR_TYPES);
	if (msr & 1)
		return !(val & (high | (MTRR_MASK_VALID - 1)));
	return !(val & (high | 0xf00)) && clv_types_ok(val & 0xff, MTRR_TYPES);
}

static const struct {
	u32 bug;
	u64 bit;
} immune[] = {
	{ X86_BUG_CPU_MELTDOWN, ARCH_CAP_RDCL_NO }, { X86_BUG_SPEC_STORE_BYPASS, ARCH_CAP_SSB_NO },
	{ X86_BUG_MDS, ARCH_CAP_MDS_NO }, { X86_BUG_TAA, ARCH_CAP_TAA_NO },
	{ X86_BUG_ITLB_MULTIHIT, ARCH_CAP_PSCHANGE_MC_NO },
	{ X86_BUG_GDS, ARCH_CAP_GDS_NO }, { X86_BUG_RFDS, ARCH_CAP_RFDS_NO },
};

/* Properties of the CPU that hold in a guest as well, without an MSR to go with them. */
#define ARCH_CAPS_HOST	(ARCH_CAP_RDCL_NO | ARCH_CAP_IBRS_ALL | ARCH_CAP_RSBA | ARCH_CAP_SSB_NO | \
			 ARCH_CAP_MDS_NO | ARCH_CAP_PSCHANGE_MC_NO | ARCH_CAP_TAA_NO | \
			 ARCH_CAP_SBDR_SSDP_NO | ARCH_CAP_FBSDP_NO | ARCH_CAP_PSDP_NO | \
			 ARCH_CAP_FB_CLEAR | ARCH_CAP_RRSBA | ARCH_CAP_BHI_NO | \
			 ARCH_CAP_PBRSB_NO | ARCH_CAP_GDS_NO | ARCH_CAP_RFDS_NO | \
			 ARCH_CAP_RFDS_CLEAR | ARCH_CAP_ITS_NO)

/* What IA32_ARCH_CAPABILITIES can say here: the CPU, and what the kernel knows of it. */
static u64 arch_caps(void)
{
	u64 caps = 0;
	int i;

	if (!boot_cpu_has(X86_FEATURE_ARCH_CAPABILITIES))
		return 0;
	rdmsrl(MSR_IA32_ARCH_CAPABILITIES, caps);
	caps &= ARCH_CAPS_HOST;
	for (i = 0; i < ARRAY_SIZE(immune); i++)
		if (!boot_cpu_has_bug(immune[i].bug))
			caps |= immune[i].bit;
	return caps;
}

/* The values of power-on that are not 0 yet; INIT changes none (SDM vol. 3A table 10-1). */
void clv_msr_reset(struct clv_vcpu *vcpu)
{
	vcpu->pat = 0x0007040600070406ULL;	/* SDM vol. 3A table 12-12 */
	vcpu->misc_enable = MSR_IA32_MISC_ENABLE_FAST_STRING | MISC_ENABLE_RO;
	vcpu->hwcr = HWCR_TSC_FREQ;
	vcpu->ucode_rev = boot_cpu_data.microcode;
	/* IA32_BIOS_SIGN_ID has the revision in its high half, AMD's patch level in its low one. */
	if (boot_cpu_data.x86_vendor == X86_VENDOR_INTEL)
		vcpu->ucode_rev <<= 32;
	vcpu->arch_caps = arch_caps();
}

static const struct reg *reg_find(struct clv_vcpu *vcpu, u32 msr)
{
	const struct reg *r;

	for (r = regs; r < regs + ARRAY_SIZE(regs); r++)
		if (msr - r->msr < r->count &&
		    (!r->cap || *((bool *)&vcpu->caps + r->cap) != r->lacks))
			return r;
	return NULL;
}

static u64 *reg_field(struct clv_vcpu *vcpu, const struct reg *r, u32 msr)
{
	if (msr == MSR_FS_BASE || msr == MSR_GS_BASE)
		clv_regs_touch(vcpu, CLV_REG_SEGS);
	/* Guests choose it: not beyond the field by speculation either. */
	return (u64 *)((void *)vcpu + r->field) + array_index_nospec(msr - r->msr, r->count);
}

static u64 reg_get(struct clv_vcpu *vcpu, const struct reg *r, u32 msr)
{
	if (r->field)
		return *reg_field(vcpu, r, msr);
	/* LFENCE waits, if it does on the host. */
	if (msr == MSR_AMD64_DE_CFG && boot_cpu_has(X86_FEATURE_LFENCE_RDTSC))
		return BIT(MSR_AMD64_DE_CFG_LFENCE_SERIALIZE_BIT);
	return r->fixed;
}

/* Values that the CPU would refuse (SDM vol. 4 2.1). */
static bool value_ok(struct clv_vcpu *vcpu, u32 msr, u64 val, bool host)
{
	switch (msr) {
	case MSR_LSTAR ... MSR_CSTAR:
	case MSR_FS_BASE ... MSR_KERNEL_GS_BASE:
	case MSR_IA32_SYSENTER_ESP ... MSR_IA32_SYSENTER_EIP:
		return clv_canonical(vcpu, val);
	case MSR_SYSCALL_MASK:		return !(val >> 32);
	case MSR_IA32_CR_PAT:		return clv_types_ok(val, CLV_PAT_TYPES);
	case MSR_IA32_SPEC_CTRL:	return !(val & ~vcpu->caps.spec_ctrl_bits);
	case MSR_IA32_ARCH_CAPABILITIES:	/* user space may claim less */
		return host && !(val & ~arch_caps());
	default:			return true;
	}
}

static bool reg_ok(struct clv_vcpu *vcpu, const struct reg *r, u32 msr, u64 val, bool host)
{
	/* Extended configuration space by port 0xcf8 is not here to be switched. */
	if (!r->field)
		return val == reg_get(vcpu, r, msr) || msr == MSR_AMD64_NB_CFG;
	if (val & ~(r->fixed | r->guest | (host ? r->host : 0)))
		return false;
	/* In virtual-8086 mode they follow from the selectors (SDM vol. 3C 27.3.1.2). */
	if ((msr == MSR_FS_BASE || msr == MSR_GS_BASE) && (vcpu->regs.rflags & X86_EFLAGS_VM))
		return val == reg_get(vcpu, r, msr);
	return r->cap == CAP(mtrr) ? mtrr_ok(vcpu, msr, val) : value_ok(vcpu, msr, val, host);
}

static int reg_set(struct clv_vcpu *vcpu, const struct reg *r, u32 msr, u64 val, bool host)
{
	/* Before it reads the revision a guest writes 0 (SDM vol. 3A 10.11.7.1). */
	if (msr == MSR_IA32_UCODE_REV && !host && !val)
		return 0;
	if (!reg_ok(vcpu, r, msr, val, host))
		return -EINVAL;
	if (r->field)
		*reg_field(vcpu, r, msr) = val | r->fixed;
	if (msr == MSR_IA32_TSC_ADJUST)
		clv_pv_clock_changed(vcpu->vm);
	clv_pv_msr_written(vcpu, msr, host);
	return 0;
}

int clv_msr_get(struct clv_vcpu *vcpu, u32 msr, u64 *val, bool host)
{
	const struct reg *r;
	const u64 *field;

	*val = 0;
	if (clv_msr_is_lapic(msr))
		return clv_lapic_msr_get(vcpu, msr, val);
	switch (msr) {
	case MSR_IA32_TSC:
		*val = clv_guest_tsc(vcpu);
		return 0;
	case MSR_IA32_APICBASE:
		*val = clv_lapic_base_get(vcpu);
		return 0;
	case CLEAVE_MSR_CLOCK:
		return host ? clv_pv_clock_msr(vcpu, val, false) : -ENOENT;
	case MSR_EFER:
		clv_regs_need(vcpu, CLV_REG_CRS);
		*val = vcpu->sregs.efer;
		return 0;
	}
	r = reg_find(vcpu, msr);
	field = r ? NULL : clv_backend->msr_field(vcpu, msr);
	if (!r && !field)
		return -ENOENT;
	*val = r ? reg_get(vcpu, r, msr) : *field;
	return 0;
}

/* Barriers that the guest asks for: the host's CPU carries them out. */
static int write_command(struct clv_vcpu *vcpu, u32 msr, u64 val, bool host)
{
	bool offered = msr == MSR_IA32_PRED_CMD ? vcpu->caps.ibpb : vcpu->caps.flush_l1d;

	if (!offered)
		return -ENOENT;
	if (val & ~1ULL)
		return -EINVAL;
	/* PRED_CMD_IBPB and L1D_FLUSH are both bit 0. */
	if (val && !host)
		wrmsrl(msr, 1);
	return 0;
}

int clv_msr_set(struct clv_vcpu *vcpu, u32 msr, u64 val, bool host)
{
	const struct reg *r;
	u64 *field;

	if (clv_msr_is_lapic(msr))
		return clv_lapic_msr_set(vcpu, msr, val);
	switch (msr) {
	case MSR_IA32_TSC:
		tsc_set(vcpu, val, host);
		return 0;
	case CLEAVE_MSR_CLOCK:
		return host ? clv_pv_clock_msr(vcpu, &val, true) : -ENOENT;
	case MSR_IA32_APICBASE:		return clv_lapic_base_set(vcpu, val, host);
	case MSR_EFER:			return clv_efer_write(vcpu, val);
	case MSR_IA32_PRED_CMD:
	case MSR_IA32_FLUSH_CMD:	return write_command(vcpu, msr, val, host);
	}
	r = reg_find(vcpu, msr);
	if (r)
		return reg_set(vcpu, r, msr, val, host);
	if (!value_ok(vcpu, msr, val, host))
		return -EINVAL;
	field = clv_backend->msr_field(vcpu, msr);
	if (!field)
		return -ENOENT;
	*field = val;
	return 0;
}
