// SPDX-License-Identifier: GPL-2.0
/*
 * CPUID on made-up hosts: what is never offered even by a CPU that has every
 * bit set, what user space may give a guest of it, and the answers at exits.
 */
#include "unit.h"
#include "../../kmod/cpuid.c"

/* Leaves of the host; a leaf that is not here reads as host_fill. */
static struct {
	u32 leaf, subleaf, r[4];
} host[64];
static unsigned int host_n;
static u32 host_fill;
static u64 host_xcr0;
static u64 apic_base;
static struct clv_vcpu vcpu;

static void unit_cpuid(u32 leaf, u32 subleaf, u32 r[4])
{
	for (unsigned int i = 0; i < host_n; i++) {
		if (host[i].leaf == leaf && host[i].subleaf == subleaf) {
			memcpy(r, host[i].r, sizeof(host[i].r));
			return;
		}
	}
	for (int i = 0; i < 4; i++)
		r[i] = host_fill;
}

void clv_pv_cpuid_changed(struct clv_vcpu *v)
{
}

static int resets;

static void backend_reset(struct clv_vcpu *v)
{
	resets++;
}

static const struct clv_backend backend = {
	.vcpu_reset = backend_reset,
};

const struct clv_backend *clv_backend = &backend;

u64 clv_fpu_xcr0(void)
{
	return host_xcr0;
}

u64 clv_lapic_base_get(struct clv_vcpu *v)
{
	return apic_base;
}

void clv_regs_pull(struct clv_vcpu *v, u32 groups)
{
	v->avail |= groups;
}

static void host_leaf(u32 leaf, u32 subleaf, u32 a, u32 b, u32 c, u32 d)
{
	host[host_n].leaf = leaf;
	host[host_n].subleaf = subleaf;
	host[host_n].r[0] = a;
	host[host_n].r[1] = b;
	host[host_n].r[2] = c;
	host[host_n++].r[3] = d;
}

/* A host whose other leaves read as fill, all of them known to the kernel. */
static void host_make(bool amd, u32 fill)
{
	clv_cpuid_destroy(&vcpu);
	memset(&vcpu, 0, sizeof(vcpu));
	memset(&offered, 0, sizeof(offered));
	host_n = 0;
	host_fill = fill;
	host_xcr0 = 0xe7;
	apic_base = MSR_IA32_APICBASE_ENABLE | 0xfee00000;
	boot_cpu_data.x86_vendor = amd ? X86_VENDOR_AMD : X86_VENDOR_INTEL;
	memset(boot_cpu_data.x86_capability, 0xff, NCAPINTS * 4);
	memset(boot_cpu_data.x86_capability + NCAPINTS, 0, NBUGINTS * 4);
	if (amd)
		host_leaf(0, 0, 0x10, 0x68747541, 0x444d4163, 0x69746e65);
	else
		host_leaf(0, 0, 0x20, 0x756e6547, 0x6c65746e, 0x49656e69);
	host_leaf(0x80000000, 0, amd ? 0x80000026 : 0x80000008, 0, 0, 0);
	host_leaf(0x80000008, 0, 0x3930, fill, 0x7f, fill);
	host_leaf(0xd, 0, 0x2e7, 0xa80, 0xa88, 0);
	host_leaf(0xd, 2, 0x100, 0x240, 0, 0);		/* YMM */
	host_leaf(0xd, 5, 0x38, 0x440, 0, 0);		/* opmask */
	host_leaf(0xd, 6, 0x200, 0x480, 2, 0);		/* ZMM_Hi256, aligned */
	host_leaf(0xd, 7, 0x400, 0x680, 2, 0);		/* Hi16_ZMM, aligned */
}

static void vcpu_make(u32 id)
{
	vcpu.id = id;
	vcpu.mutex.held = 1;
	vcpu.xcr0 = 1;
	if (!offered.c.count)
		clv_cpuid_init();
	clv_cpuid_create(&vcpu);
}

static struct cleave_cpuid_entry ask(u32 leaf, u32 subleaf)
{
	struct cleave_cpuid_entry e = { .leaf = leaf, .subleaf = subleaf };

	clv_cpuid_query(&vcpu, &e);
	return e;
}

static struct cleave_cpuid_entry *entry(struct cleave_cpuid *c, u32 leaf, u32 subleaf)
{
	for (u32 i = 0; i < c->count; i++)
		if (c->entries[i].leaf == leaf && c->entries[i].subleaf == subleaf)
			return &c->entries[i];
	return NULL;
}

/* SDM vol. 2A CPUID, APM vol. 3 appendix E: what a guest must not see. */
static const struct {
	u32 leaf, subleaf;
	int reg;
	u32 bits;
} hidden[] = {
	{ 0x1, 0, ECX, BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(7) | BIT(8) | BIT(11) |
		       BIT(14) | BIT(15) | BIT(18) },	/* DTES64 MONITOR DSCPL VMX SMX EST TM2 SDBG xTPR PDCM DCA */
	{ 0x1, 0, EDX, BIT(18) | BIT(21) | BIT(22) | BIT(29) | BIT(31) }, /* PSN DS ACPI TM PBE */
	{ 0x5, 0, EAX, ~0U },				/* MWAIT */
	{ 0x6, 0, EAX, ~4U },				/* thermal, HWP */
	{ 0x6, 0, ECX, ~0U },				/* APERF, EPB */
	{ 0x7, 0, EBX, BIT(2) | BIT(12) | BIT(14) | BIT(15) | BIT(25) }, /* SGX RDT-M MPX RDT-A PT */
	{ 0x7, 0, ECX, BIT(3) | BIT(4) | BIT(5) | BIT(7) | BIT(13) | BIT(23) | BIT(24) | BIT(29) |
		       BIT(30) | BIT(31) },	/* PKU OSPKE WAITPKG SHSTK TME KL BLD ENQCMD SGX_LC PKS */
	{ 0x7, 0, EDX, BIT(5) | BIT(15) | BIT(16) | BIT(18) | BIT(19) | BIT(20) | BIT(22) |
		       BIT(24) | BIT(25) | BIT(30) },	/* UINTR HYBRID TSXLDTRK PCONFIG LBR IBT AMX CORE_CAP */
	{ 0x7, 1, EAX, BIT(6) | BIT(17) | BIT(18) | BIT(19) | BIT(21) | BIT(22) | BIT(26) }, /* LASS FRED LKGS .. LAM */
	{ 0xa, 0, EAX, ~0U },				/* performance counters */
	{ 0xa, 0, EDX, ~0U },
	{ 0xd, 0, EAX, ~0xe7U },			/* MPX, PKRU */
	{ 0xd, 1, EAX, ~7U },				/* XSAVES, XFD */
	{ 0xd, 1, ECX, ~0U },
	{ 0xf, 0, EDX, ~0U }, { 0x10, 0, EBX, ~0U }, { 0x12, 0, EAX, ~0U }, { 0x14, 0, EBX, ~0U },
	{ 0x15, 0, EBX, ~0U }, { 0x16, 0, EAX, ~0U }, { 0x19, 0, EBX, ~0U }, { 0x1c, 0, EAX, ~0U },
	{ 0x1d, 0, EAX, ~0U }, { 0x1e, 0, EBX, ~0U },	/* AMX */
	{ 0x80000001, 0, ECX, BIT(2) | BIT(3) | BIT(10) | BIT(12) | BIT(13) | BIT(15) | BIT(23) |
			      BIT(24) | BIT(27) | BIT(28) | BIT(29) }, /* SVM EXTAPIC IBS SKINIT .. MWAITX */
	{ 0x80000007, 0, EDX, ~0x100U },
	{ 0x80000007, 0, EBX, ~0U },
	{ 0x80000008, 0, EBX, BIT(1) | BIT(3) | BIT(4) | BIT(6) | BIT(23) | BIT(25) }, /* IRPERF INVLPGB RDPRU MBE PPIN VIRT_SSBD */
	{ 0x8000000a, 0, EAX, ~0U }, { 0x8000000a, 0, EDX, ~0U },	/* SVM */
	{ 0x8000001b, 0, EAX, ~0U },			/* IBS */
	{ 0x8000001f, 0, EAX, ~0U },			/* SME, SEV */
	{ 0x80000022, 0, EAX, ~0U },			/* performance counters */
};

static void check_hidden(bool amd)
{
	struct cleave_cpuid c;

	host_make(amd, ~0U);
	vcpu_make(0);
	for (unsigned int i = 0; i < ARRAY_SIZE(hidden); i++) {
		struct cleave_cpuid_entry e = ask(hidden[i].leaf, hidden[i].subleaf);
		u32 seen = *reg_of(&e, hidden[i].reg) & hidden[i].bits;

		if (seen)
			unit_fail("leaf %#x.%u reg %d offers %#x", hidden[i].leaf,
				  hidden[i].subleaf, hidden[i].reg, seen);
		/* Nor may user space claim it. */
		for (int bit = 0; bit < 32; bit++) {
			struct cleave_cpuid_entry *p;

			if (!(hidden[i].bits & BIT(bit)))
				continue;
			clv_cpuid_supported(&c);
			p = entry(&c, hidden[i].leaf, hidden[i].subleaf);
			if (!p) {
				p = &c.entries[c.count++];
				*p = (struct cleave_cpuid_entry) {
					.leaf = hidden[i].leaf,
					.subleaf = hidden[i].subleaf,
					.flags = SUBLEAF,
				};
			}
			*reg_of(p, hidden[i].reg) |= BIT(bit);
			if (clv_cpuid_set(&vcpu, &c) != -EINVAL)
				unit_fail("leaf %#x.%u reg %d bit %d can be set", hidden[i].leaf,
					  hidden[i].subleaf, hidden[i].reg, bit);
		}
	}
}

UNIT_TEST(hidden_on_intel)
{
	check_hidden(false);
}

UNIT_TEST(hidden_on_amd)
{
	check_hidden(true);
}

UNIT_TEST(bare_host_offers_what_the_module_does)
{
	struct cleave_cpuid_entry e;

	host_make(false, 0);
	vcpu_make(0);
	e = ask(1, 0);
	CHECK_EQ(e.ecx, BIT(21) | BIT(24) | BIT(31));	/* x2APIC, deadline, hypervisor */
	CHECK_EQ(e.edx, BIT(7) | BIT(9) | BIT(12) | BIT(14));
	CHECK_EQ(ask(6, 0).eax, BIT(2));
	CHECK_EQ(ask(7, 0).ebx, BIT(1));
	CHECK_EQ(vcpu.caps.efer_reserved, ~0ULL);
	CHECK_EQ(vcpu.caps.cr4_reserved, ~(u64)(X86_CR4_PCE | X86_CR4_MCE));
	CHECK_EQ(vcpu.caps.xcr0_allowed, 1);
}

UNIT_TEST(what_the_kernel_cleared_is_not_offered)
{
	host_make(false, ~0U);
	boot_cpu_data.x86_capability[CPUID_7_0_EBX] &= ~(BIT(11) | BIT(4));	/* RTM, HLE */
	boot_cpu_data.x86_capability[CPUID_1_ECX] &= ~(BIT(17) | BIT(30));	/* PCID, RDRAND */
	boot_cpu_data.x86_capability[CPUID_7_ECX] &= ~BIT(16);			/* LA57 */
	vcpu_make(0);
	CHECK(!(ask(7, 0).ebx & (BIT(11) | BIT(4))));
	CHECK(!(ask(1, 0).ecx & (BIT(17) | BIT(30))));
	CHECK_EQ(vcpu.caps.linear_bits, 48);
	CHECK_EQ(ask(0x80000008, 0).eax, 0x3030);
	CHECK(vcpu.caps.cr4_reserved & X86_CR4_PCIDE);
	CHECK(vcpu.caps.cr4_reserved & X86_CR4_LA57);
}

UNIT_TEST(offered_table_is_accepted)
{
	struct cleave_cpuid c;

	for (int amd = 0; amd < 2; amd++) {
		host_make(amd, ~0U);
		vcpu_make(3);
		CHECK_EQ(clv_cpuid_supported(&c), 0);
		CHECK(c.count > 20 && c.count < 64);
		CHECK_EQ(clv_cpuid_set(&vcpu, &c), 0);
		CHECK(vcpu.cpuid != &offered);
		CHECK(!memcmp(&vcpu.caps, &offered_caps, sizeof(vcpu.caps)));
		CHECK_EQ(vcpu.caps.amd, amd);
		clv_cpuid_destroy(&vcpu);
		vcpu.cpuid = &offered;
	}
}

/* Every bit of every entry: less is taken, more is not, but where it is free. */
UNIT_TEST(each_bit_of_each_entry)
{
	struct cleave_cpuid all, c;
	int ret, want;

	host_make(true, 0x5a5a5a5a);
	vcpu_make(0);
	clv_cpuid_supported(&all);
	for (u32 i = 0; i < all.count; i++) {
		for (int bit = 0; bit < 128; bit++) {
			struct cleave_cpuid_entry *e = &all.entries[i];
			const struct word *w = NULL;
			u32 mask = BIT(bit % 32);

			c = all;
			*reg_of(&c.entries[i], bit / 32) ^= mask;
			ret = clv_cpuid_set(&vcpu, &c);
			for (unsigned int k = 0; k < ARRAY_SIZE(words); k++)
				if (words[k].leaf == e->leaf && words[k].reg == bit / 32 &&
				    words[k].subleaf == e->subleaf)
					w = &words[k];
			if (leaf_of(e->leaf)->free & BIT(bit / 32))
				want = 0;
			else if (w)
				want = (*reg_of(e, bit / 32) | w->any) & mask ? 0 : -EINVAL;
			else if (bit < 32 && (e->leaf == 7 || e->leaf == 0x80000008))
				continue;	/* numbers, below */
			else
				want = *reg_of(e, bit / 32) == mask ? 0 : -EINVAL;
			if (ret != want)
				unit_fail("leaf %#x.%u bit %d: %d", e->leaf, e->subleaf, bit, ret);
		}
	}
}

UNIT_TEST(numbers_may_be_smaller)
{
	struct cleave_cpuid c;

	host_make(false, ~0U);
	vcpu_make(0);
	clv_cpuid_supported(&c);
	CHECK_EQ(entry(&c, 7, 0)->eax, 2);
	entry(&c, 7, 0)->eax = 3;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), -EINVAL);
	entry(&c, 7, 0)->eax = 0;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), 0);
	static const struct { u32 eax; int ret; } widths[] = {
		{ 0x3930, 0 }, { 0x3024, 0 }, { 0x3020, 0 }, { 0x3931, -EINVAL },
		{ 0x3a30, -EINVAL }, { 0x301f, -EINVAL }, { 0, -EINVAL }, { 0x30ff, -EINVAL },
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(widths); i++) {
		entry(&c, 0x80000008, 0)->eax = widths[i].eax;
		CHECK_EQ(clv_cpuid_set(&vcpu, &c), widths[i].ret);
		if (!widths[i].ret)
			CHECK_EQ(vcpu.caps.maxphyaddr, (u8)widths[i].eax);
	}
}

UNIT_TEST(bad_tables)
{
	static struct cleave_cpuid none, c;
	struct cleave_cpuid_entry hv = { .leaf = 0x40000000, .eax = ~0U, .ebx = ~0U };

	host_make(true, ~0U);
	vcpu_make(0);
	none.reserved = 1;
	CHECK_EQ(clv_cpuid_set(&vcpu, &none), -EINVAL);
	none.reserved = 0;
	none.count = CLEAVE_MAX_CPUID + 1;
	CHECK_EQ(clv_cpuid_set(&vcpu, &none), -EINVAL);
	none.count = 0;
	CHECK_EQ(clv_cpuid_set(&vcpu, &none), 0);
	CHECK_EQ(ask(1, 0).edx, 0);
	CHECK_EQ(vcpu.caps.maxphyaddr, 36);

	clv_cpuid_supported(&c);
	c.entries[0].reserved = 1;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), -EINVAL);
	c.entries[0].reserved = 0;
	c.entries[0].flags = 2;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), -EINVAL);
	c.entries[0].flags = 0;
	entry(&c, 7, 0)->flags = 0;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), -EINVAL);
	entry(&c, 7, 0)->flags = SUBLEAF;

	/* The hypervisor's leaves, and not one more. */
	*entry(&c, 0x40000000, 0) = hv;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), 0);
	CHECK_EQ(ask(0x40000000, 0).ebx, ~0U);
	c.entries[c.count++] = hv;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), -EINVAL);
	c.entries[c.count - 1].leaf = 0x400000ff;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), 0);
	c.entries[c.count - 1].leaf = 0x40000100;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), -EINVAL);
	c.entries[c.count - 1].leaf = 0x3fffffff;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), -EINVAL);
	c.entries[c.count - 1] = (struct cleave_cpuid_entry) { .leaf = 0x8000000a };
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), 0);

	/* Two answers to one question. */
	c.entries[c.count - 1] = c.entries[3];
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), -EINVAL);
	c.entries[c.count - 1] = *entry(&c, 1, 0);
	c.entries[c.count - 1].flags = SUBLEAF;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), -EINVAL);
	c.entries[c.count - 1] = hv;
	c.entries[c.count - 1].leaf++;
	entry(&c, 0x40000001, 0)->leaf = 0x400000ff;
	c.entries[c.count - 1].flags = SUBLEAF;
	c.entries[c.count] = c.entries[c.count - 1];
	c.entries[c.count++].subleaf = 1;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), 0);
	c.entries[c.count - 1].subleaf = 0;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), -EINVAL);
}

UNIT_TEST(after_it_has_run)
{
	struct cleave_cpuid c;

	host_make(true, ~0U);
	vcpu_make(0);
	clv_cpuid_supported(&c);
	vcpu.has_run = true;
	resets = 0;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), 0);
	entry(&c, 1, 0)->eax ^= 1;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), -EBUSY);
	CHECK_EQ(resets, 0);
	vcpu.has_run = false;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), 0);
	CHECK_EQ(resets, 1);
	vcpu.has_run = true;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), 0);
	c.count--;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), -EBUSY);
}

UNIT_TEST(no_memory)
{
	struct clv_cpuid_table *before;
	struct cleave_cpuid c;

	host_make(true, ~0U);
	vcpu_make(0);
	clv_cpuid_supported(&c);
	before = vcpu.cpuid;
	unit_alloc_fail = 1;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), -ENOMEM);
	CHECK(vcpu.cpuid == before);
}

/* The index against a linear search, with tables as full as they get. */
UNIT_TEST(lookup)
{
	static struct cleave_cpuid c;
	static const u32 bases[] = { 0x0, 0x40000000, 0x80000000 };

	host_make(true, 0);
	vcpu_make(0);
	for (int round = 0; round < 50; round++) {
		memset(&c, 0, sizeof(c));
		while (c.count < CLEAVE_MAX_CPUID) {
			struct cleave_cpuid_entry *e = &c.entries[c.count];
			u32 leaf = 0x40000000 + rand() % 200;
			bool dup = false;

			*e = (struct cleave_cpuid_entry) {
				.leaf = leaf, .subleaf = rand() % 4, .flags = SUBLEAF,
				.eax = rand(), .ebx = rand(), .ecx = rand(), .edx = rand(),
			};
			for (u32 i = 0; i < c.count; i++)
				dup |= c.entries[i].leaf == leaf &&
				       c.entries[i].subleaf == e->subleaf;
			c.count += !dup;
		}
		REQUIRE(clv_cpuid_set(&vcpu, &c) == 0);
		for (int i = 0; i < 2000; i++) {
			u32 leaf = bases[rand() % 3] + rand() % 256, sub = rand() % 5;
			struct cleave_cpuid_entry *e = entry(&c, leaf, sub);
			struct cleave_cpuid_entry got = ask(leaf, sub);

			CHECK_EQ(got.eax, e ? e->eax : 0);
			CHECK_EQ(got.edx, e ? e->edx : 0);
		}
	}
}

UNIT_TEST(state_of_the_guest_shows)
{
	host_make(false, ~0U);
	vcpu_make(5);
	CHECK_EQ(ask(1, 0).ebx >> 24, 5);
	CHECK_EQ(ask(1, 0).ebx >> 16 & 0xff, 1);
	CHECK(!(ask(1, 0).ecx & BIT(27)));
	vcpu.sregs.cr4 = X86_CR4_OSXSAVE;
	CHECK(ask(1, 0).ecx & BIT(27));
	CHECK(ask(1, 0).edx & BIT(9));
	apic_base = 0xfee00000;
	CHECK(!(ask(1, 0).edx & BIT(9)));
	CHECK_EQ(ask(0xb, 0).edx, 5);
	CHECK_EQ(ask(0xb, 1).edx, 5);
	CHECK_EQ(ask(0xb, 1).ecx, 0x201);
}

UNIT_TEST(amd_copies_of_leaf_1)
{
	host_make(true, ~0U);
	vcpu_make(9);
	CHECK_EQ(ask(0x80000001, 0).edx & 0x0183f3ff, ask(1, 0).edx & 0x0183f3ff);
	apic_base = 0xfee00000;
	CHECK(!(ask(0x80000001, 0).edx & BIT(9)));
	CHECK(ask(0x80000021, 0).eax & BIT(2));
	CHECK(ask(0x80000021, 0).eax & BIT(6));
	host_make(true, 0);
	boot_cpu_data.x86_capability[X86_BUG_NULL_SEG / 32] |= BIT(X86_BUG_NULL_SEG % 32);
	vcpu_make(0);
	CHECK(!(ask(0x80000021, 0).eax & BIT(6)));
}

UNIT_TEST(xsave_sizes)
{
	struct cleave_cpuid c;

	host_make(false, ~0U);
	vcpu_make(0);
	CHECK_EQ(vcpu.caps.xcr0_allowed, 0xe7);
	CHECK_EQ(ask(0xd, 0).ebx, 576);
	CHECK_EQ(ask(0xd, 0).ecx, 0xa80);
	vcpu.xcr0 = 7;
	CHECK_EQ(ask(0xd, 0).ebx, 832);
	CHECK_EQ(ask(0xd, 1).ebx, 832);
	vcpu.xcr0 = 0xe7;
	CHECK_EQ(ask(0xd, 0).ebx, 0xa80);
	/* 576 + 256 + 56, to the next 64 bytes, + 512 + 1024 */
	CHECK_EQ(ask(0xd, 1).ebx, 2432);
	CHECK_EQ(ask(0xd, 2).eax, 0x100);
	CHECK_EQ(ask(0xd, 9).eax, 0);
	CHECK_EQ(clv_cpuid_xsave_size(7, false), 832);

	/* Without AVX-512 in the table the guest's largest area is smaller. */
	clv_cpuid_supported(&c);
	entry(&c, 0xd, 0)->eax = 7;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), 0);
	CHECK_EQ(vcpu.caps.xcr0_allowed, 7);
	CHECK_EQ(ask(0xd, 0).ecx, 832);
	/* A component of another size is no component of this host. */
	entry(&c, 0xd, 2)->eax = 0x80;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), -EINVAL);
	entry(&c, 0xd, 2)->eax = 0x100;
	entry(&c, 1, 0)->ecx &= ~BIT(26);
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), 0);
	CHECK_EQ(vcpu.caps.xcr0_allowed, 1);
}

UNIT_TEST(host_without_avx512)
{
	host_make(true, ~0U);
	host_xcr0 = 7;
	vcpu_make(0);
	CHECK_EQ(ask(0xd, 0).eax, 7);
	CHECK_EQ(ask(0xd, 6).eax, 0);
	CHECK_EQ(ask(0xd, 0).ecx, 832);
}

UNIT_TEST(capabilities)
{
	struct cleave_cpuid c;

	host_make(true, ~0U);
	vcpu_make(0);
	CHECK(vcpu.caps.x2apic && vcpu.caps.tsc_deadline && vcpu.caps.rdtscp && vcpu.caps.ibpb);
	CHECK(vcpu.caps.mce && vcpu.caps.mtrr && vcpu.caps.tsc_adjust && vcpu.caps.tsc_aux);
	CHECK_EQ(vcpu.caps.linear_bits, 57);
	CHECK_EQ(vcpu.caps.spec_ctrl_bits, 0x87);
	CHECK_EQ(~vcpu.caps.efer_reserved, 0x204d01);	/* SCE LME LMA NXE FFXSR AIBRSE */
	CHECK(vcpu.caps.cr4_reserved & X86_CR4_VMXE);
	CHECK(vcpu.caps.cr4_reserved & X86_CR4_SMXE);
	CHECK(vcpu.caps.cr4_reserved & X86_CR4_PKE);
	CHECK(vcpu.caps.cr4_reserved & BIT(23));	/* CET */
	CHECK(vcpu.caps.cr4_reserved >> 32 == 0xffffffff);

	clv_cpuid_supported(&c);
	entry(&c, 0x80000001, 0)->edx = 0;
	entry(&c, 0x80000021, 0)->eax = 0;
	entry(&c, 0x80000008, 0)->ebx = 0;
	entry(&c, 7, 0)->edx = 0;
	entry(&c, 7, 0)->ecx = 0;
	CHECK_EQ(clv_cpuid_set(&vcpu, &c), 0);
	CHECK_EQ(vcpu.caps.efer_reserved, ~0ULL);
	CHECK_EQ(vcpu.caps.spec_ctrl_bits, 0);
	CHECK(!vcpu.caps.ibpb && !vcpu.caps.rdtscp && !vcpu.caps.tsc_aux && !vcpu.caps.arch_caps);
	CHECK_EQ(vcpu.caps.linear_bits, 48);
}
