// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: CPUID. What host and module offer, what of it user space may give a
 * guest, and the answer at an exit.
 */
#include <linux/mutex.h>
#include <linux/slab.h>
#include <asm/cpufeature.h>
#include <asm/msr-index.h>
#include <asm/processor.h>
#include <asm/processor-flags.h>
#include "backend.h"

enum { EAX, EBX, ECX, EDX };

#define F(name)		(1U << (X86_FEATURE_##name & 31))
#define PSFD		(13 * 32 + 28)	/* 6.1 has no name for it */
#define XFEATURES	8		/* XCR0 bits 0 to 7: no more is offered */
#define SUBLEAF		CLEAVE_CPUID_SUBLEAF
#define HASH_SIZE	64
#define AMD_ALIASES	0x0183f3ffU	/* of leaf 1 EDX in 0x80000001 EDX, APM vol. 3 E.4.2 */

struct clv_cpuid_table {
	struct cleave_cpuid c;
	u8 head[HASH_SIZE];		/* entry + 1, or 0 */
	u8 next[CLEAVE_MAX_CPUID];
};

/*
 * A register of feature bits. Offered: what the CPU says, but for what the
 * kernel found broken or was told to leave (its word of x86_capability[]),
 * cut to the mask; and what the module does itself.
 */
struct word {
	u32 leaf;
	u8 subleaf, reg;
	s8 kernel;		/* index in x86_capability[], or -1 */
	u32 mask;
	u32 always;		/* offered whatever the CPU says */
	u32 any;		/* free: put in at run time, or without effect */
};

static const struct word words[] = {
	{ 0x1, 0, ECX, CPUID_1_ECX,
	  F(XMM3) | F(PCLMULQDQ) | F(SSSE3) | F(FMA) | F(CX16) | F(PCID) | F(XMM4_1) |
	  F(XMM4_2) | F(MOVBE) | F(POPCNT) | F(AES) | F(XSAVE) | F(AVX) | F(F16C) | F(RDRAND),
	  F(X2APIC) | F(TSC_DEADLINE_TIMER) | F(HYPERVISOR), F(OSXSAVE) },
	{ 0x1, 0, EDX, CPUID_1_EDX,
	  F(FPU) | F(VME) | F(DE) | F(PSE) | F(TSC) | F(MSR) | F(PAE) | F(CX8) | F(SEP) |
	  F(PGE) | F(CMOV) | F(PAT) | F(PSE36) | F(CLFLUSH) | F(MMX) | F(FXSR) | F(XMM) |
	  F(XMM2) | F(SELFSNOOP),
	  F(MCE) | F(APIC) | F(MTRR) | F(MCA), F(HT) },
	{ 0x6, 0, EAX, CPUID_6_EAX, 0, F(ARAT) },
	{ 0x7, 0, EBX, CPUID_7_0_EBX,
	  F(FSGSBASE) | F(BMI1) | F(HLE) | F(AVX2) | F(FDP_EXCPTN_ONLY) | F(SMEP) | F(BMI2) |
	  F(ERMS) | F(INVPCID) | F(RTM) | F(ZERO_FCS_FDS) | F(AVX512F) | F(AVX512DQ) |
	  F(RDSEED) | F(ADX) | F(SMAP) | F(AVX512IFMA) | F(CLFLUSHOPT) | F(CLWB) |
	  F(AVX512PF) | F(AVX512ER) | F(AVX512CD) | F(SHA_NI) | F(AVX512BW) | F(AVX512VL),
	  F(TSC_ADJUST) },
	{ 0x7, 0, ECX, CPUID_7_ECX,
	  BIT(0) /* PREFETCHWT1 */ | F(AVX512VBMI) | F(UMIP) | F(AVX512_VBMI2) | F(GFNI) |
	  F(VAES) | F(VPCLMULQDQ) | F(AVX512_VNNI) | F(AVX512_BITALG) | F(AVX512_VPOPCNTDQ) |
	  F(LA57) | F(RDPID) | F(CLDEMOTE) | F(MOVDIRI) | F(MOVDIR64B) },
	{ 0x7, 0, EDX, CPUID_7_EDX,
	  F(AVX512_4VNNIW) | F(AVX512_4FMAPS) | F(FSRM) | F(AVX512_VP2INTERSECT) |
	  F(MD_CLEAR) | F(SERIALIZE) | F(AVX512_FP16) | F(SPEC_CTRL) | F(INTEL_STIBP) |
	  F(FLUSH_L1D) | F(ARCH_CAPABILITIES) | F(SPEC_CTRL_SSBD) },
	{ 0x7, 1, EAX, CPUID_7_1_EAX,
	  BIT(0) | BIT(1) | BIT(2) /* SHA512, SM3, SM4 */ | F(AVX_VNNI) | F(AVX512_BF16) |
	  BIT(7) /* CMPCCXADD */ | BIT(10) | BIT(11) | BIT(12) /* FZRM, FSRS, FSRC */ |
	  BIT(23) /* AVX_IFMA */ },
	{ 0x7, 1, EDX, -1,
	  BIT(4) | BIT(5) | BIT(10) /* AVX_VNNI_INT8, AVX_NE_CONVERT, AVX_VNNI_INT16 */ |
	  BIT(14) /* PREFETCHI */ },
	{ 0x7, 2, EDX, -1, BIT(5) /* MCDT_NO */ },
	{ 0xd, 0, EAX, -1, XFEATURE_MASK_FPSSE | XFEATURE_MASK_YMM | XFEATURE_MASK_AVX512 },
	{ 0xd, 1, EAX, CPUID_D_1_EAX, F(XSAVEOPT) | F(XSAVEC) | F(XGETBV1) },
	{ 0x80000001, 0, ECX, CPUID_8000_0001_ECX,
	  F(LAHF_LM) | F(ABM) | F(SSE4A) | F(MISALIGNSSE) | F(3DNOWPREFETCH) | F(XOP) |
	  F(FMA4) | F(TBM) | F(TOPOEXT), 0, F(CMP_LEGACY) },
	{ 0x80000001, 0, EDX, CPUID_8000_0001_EDX,
	  F(SYSCALL) | F(NX) | F(MMXEXT) | F(FXSR_OPT) | F(GBPAGES) | F(RDTSCP) | F(LM) |
	  F(3DNOWEXT) | F(3DNOW) },
	{ 0x80000007, 0, EDX, -1, BIT(8) /* invariant TSC */ },
	{ 0x80000008, 0, EBX, CPUID_8000_0008_EBX,
	  F(CLZERO) | F(XSAVEERPTR) | F(WBNOINVD) | F(AMD_IBPB) | F(AMD_IBRS) | F(AMD_STIBP) |
	  BIT(16) | F(AMD_STIBP_ALWAYS_ON) | BIT(18) | BIT(19) /* how IBRS is best used */ |
	  F(AMD_SSBD) | F(AMD_SSB_NO) | BIT(28) /* PSFD */ | F(BTC_NO) | F(AMD_IBPB_RET) },
	{ 0x80000021, 0, EAX, CPUID_8000_0021_EAX,
	  BIT(0) /* NO_NESTED_DATA_BP */ | BIT(5) /* VERW_CLEAR */ | F(AUTOIBRS) |
	  F(IBPB_BRTYPE) | F(SRSO_NO) | BIT(30) /* SRSO_USER_KERNEL_NO */ },
	{ 0x80000021, 0, ECX, -1, BIT(1) | BIT(2) /* TSA_SQ_NO, TSA_L1_NO */ },
};

/* What goes from the host's leaves to the guest beside the bits above. */
static const struct cleave_cpuid_entry copied[] = {
	{ 0x0, 0, 0, ~0U, ~0U, ~0U, ~0U },
	{ 0x1, 0, 0, ~0U, 0xffff },
	{ 0x2, 0, 0, ~0U, ~0U, ~0U, ~0U },
	{ 0x6 },
	{ 0x7, 0, SUBLEAF, 3 },
	{ 0x7, 1, SUBLEAF },
	{ 0x7, 2, SUBLEAF },
	{ 0xd, 0, SUBLEAF },
	{ 0xd, 1, SUBLEAF },
	{ 0x80000000 },
	{ 0x80000001, 0, 0, ~0U, ~0U },
	{ 0x80000002, 0, 0, ~0U, ~0U, ~0U, ~0U },
	{ 0x80000003, 0, 0, ~0U, ~0U, ~0U, ~0U },
	{ 0x80000004, 0, 0, ~0U, ~0U, ~0U, ~0U },
	{ 0x80000005, 0, 0, ~0U, ~0U, ~0U, ~0U },
	{ 0x80000006, 0, 0, ~0U, ~0U, ~0U, ~0U },
	{ 0x80000007 },
	{ 0x80000008, 0, 0, 0xffff },
	{ 0x80000021 },
};

/* One package of one core of one thread; user space says more if it likes. */
static const struct cleave_cpuid_entry topology[] = {
	{ 0xb, 0, SUBLEAF, 0, 1, 0x100 },
	{ 0xb, 1, SUBLEAF, 8, 1, 0x201 },
};

static DEFINE_MUTEX(offered_lock);
static bool offered_ready;
static struct clv_cpuid_table offered;	/* constant once ready */
static struct clv_cpuid_caps offered_caps;
static struct {
	u32 size, offset;
	bool align;			/* to 64 bytes, in the compacted format */
} xcomp[XFEATURES];

static u32 hash(u32 leaf)
{
	return (leaf + (leaf >> 26)) % HASH_SIZE;
}

static struct cleave_cpuid_entry *find(struct clv_cpuid_table *t, u32 leaf, u32 subleaf)
{
	u32 i;

	for (i = t->head[hash(leaf)]; i; i = t->next[i - 1]) {
		struct cleave_cpuid_entry *e = &t->c.entries[i - 1];

		if (e->leaf == leaf && (!(e->flags & SUBLEAF) || e->subleaf == subleaf))
			return e;
	}
	return NULL;
}

static u32 *reg_of(struct cleave_cpuid_entry *e, int reg)
{
	return (u32 *)e + offsetof(struct cleave_cpuid_entry, eax) / sizeof(u32) + reg;
}

static u32 value(struct clv_cpuid_table *t, u32 leaf, u32 subleaf, int reg)
{
	struct cleave_cpuid_entry *e = find(t, leaf, subleaf);

	return e ? *reg_of(e, reg) : 0;
}

/* Entry i of t->c can be found from now on; -EINVAL if it answers what another does. */
static int index_entry(struct clv_cpuid_table *t, u32 i)
{
	struct cleave_cpuid_entry *o, *e = &t->c.entries[i];
	u8 *link = &t->head[hash(e->leaf)];

	for (; *link; link = &t->next[*link - 1]) {
		o = &t->c.entries[*link - 1];
		if (o->leaf == e->leaf &&
		    (!(o->flags & e->flags & SUBLEAF) || o->subleaf == e->subleaf))
			return -EINVAL;
	}
	*link = i + 1;
	return 0;
}

static void host_cpuid(u32 leaf, u32 subleaf, struct cleave_cpuid_entry *e)
{
	memset(e, 0, sizeof(*e));
	e->leaf = leaf;
	e->subleaf = subleaf;
	if (leaf <= cpuid_eax(leaf & 0x80000000))
		cpuid_count(leaf, subleaf, &e->eax, &e->ebx, &e->ecx, &e->edx);
}

static void offer(const struct cleave_cpuid_entry *e)
{
	struct clv_cpuid_table *t = &offered;

	if (WARN_ON_ONCE(t->c.count == CLEAVE_MAX_CPUID))
		return;
	t->c.entries[t->c.count] = *e;
	WARN_ON_ONCE(index_entry(t, t->c.count));
	t->c.count++;
}

static bool host_is_amd(void)
{
	return boot_cpu_data.x86_vendor == X86_VENDOR_AMD ||
	       boot_cpu_data.x86_vendor == X86_VENDOR_HYGON;
}

static void offer_copied(void)
{
	struct cleave_cpuid_entry e;
	int i;

	for (i = 0; i < ARRAY_SIZE(copied); i++) {
		host_cpuid(copied[i].leaf, copied[i].subleaf, &e);
		e.flags = copied[i].flags;
		e.eax &= copied[i].eax;
		e.ebx &= copied[i].ebx;
		e.ecx &= copied[i].ecx;
		e.edx &= copied[i].edx;
		offer(&e);
	}
	for (i = 0; i < ARRAY_SIZE(topology); i++)
		offer(&topology[i]);
}

static void offer_words(void)
{
	struct cleave_cpuid_entry host;
	const struct word *w;
	u32 v;

	for (w = words; w < words + ARRAY_SIZE(words); w++) {
		host_cpuid(w->leaf, w->subleaf, &host);
		v = *reg_of(&host, w->reg) & w->mask;
		if (w->kernel >= 0)
			v &= boot_cpu_data.x86_capability[w->kernel];
		*reg_of(find(&offered, w->leaf, w->subleaf), w->reg) = v | w->always;
	}
}

/* Leaf 0xd, SDM vol. 1 13.2: the components of what fpu.c can switch. */
static void offer_xsave(void)
{
	struct cleave_cpuid_entry e, *d0 = find(&offered, 0xd, 0);
	int i;

	d0->eax &= clv_fpu_xcr0();
	for (i = 2; i < XFEATURES; i++) {
		if (!(d0->eax & BIT(i)))
			continue;
		host_cpuid(0xd, i, &e);
		e.flags = SUBLEAF;
		e.ecx &= BIT(1);
		e.edx = 0;
		xcomp[i].size = e.eax;
		xcomp[i].offset = e.ebx;
		xcomp[i].align = e.ecx;
		offer(&e);
	}
}

/* What follows from the kernel's knowledge, or from other leaves. */
static void offer_fixed(void)
{
	struct cleave_cpuid_entry *e;

	e = find(&offered, 0x0, 0);
	e->eax = clamp_t(u32, e->eax, 0xd, 0x1f);
	find(&offered, 0x1, 0)->ebx |= 1 << 16;
	e = find(&offered, 0x7, 0);
	e->eax = min_t(u32, e->eax, 2);
	if (!(e->ecx & F(LA57))) {
		e = find(&offered, 0x80000008, 0);
		e->eax = (e->eax & 0xff) | 48 << 8;
	}
	e = find(&offered, 0x80000000, 0);
	e->eax = host_is_amd() ? 0x80000021 : 0x80000008;
	if (!host_is_amd())
		return;
	find(&offered, 0x80000001, 0)->edx |= value(&offered, 0x1, 0, EDX) & AMD_ALIASES;
	e = find(&offered, 0x80000021, 0);
	if (boot_cpu_has(X86_FEATURE_LFENCE_RDTSC))
		e->eax |= BIT(2);
	if (!boot_cpu_has_bug(X86_BUG_NULL_SEG))
		e->eax |= BIT(6);	/* a null selector clears the base */
}

static bool has(struct clv_cpuid_table *t, u32 feature)
{
	const struct word *w;

	for (w = words; w < words + ARRAY_SIZE(words); w++)
		if (w->kernel == feature >> 5)
			return value(t, w->leaf, w->subleaf, w->reg) >> (feature & 31) & 1;
	return false;
}

/* Register bits that are there with a feature. */
static const struct {
	u32 feature;
	u32 cr4, efer, spec_ctrl;
} feature_bits[] = {
	{ X86_FEATURE_VME, X86_CR4_VME | X86_CR4_PVI },
	{ X86_FEATURE_TSC, X86_CR4_TSD },
	{ X86_FEATURE_DE, X86_CR4_DE },
	{ X86_FEATURE_PSE, X86_CR4_PSE },
	{ X86_FEATURE_PAE, X86_CR4_PAE },
	{ X86_FEATURE_MCE, X86_CR4_MCE },
	{ X86_FEATURE_PGE, X86_CR4_PGE },
	{ X86_FEATURE_FXSR, X86_CR4_OSFXSR },
	{ X86_FEATURE_XMM, X86_CR4_OSXMMEXCPT },
	{ X86_FEATURE_UMIP, X86_CR4_UMIP },
	{ X86_FEATURE_LA57, X86_CR4_LA57 },
	{ X86_FEATURE_FSGSBASE, X86_CR4_FSGSBASE },
	{ X86_FEATURE_PCID, X86_CR4_PCIDE },
	{ X86_FEATURE_XSAVE, X86_CR4_OSXSAVE },
	{ X86_FEATURE_SMEP, X86_CR4_SMEP },
	{ X86_FEATURE_SMAP, X86_CR4_SMAP },
	{ X86_FEATURE_SYSCALL, 0, EFER_SCE },
	{ X86_FEATURE_LM, 0, EFER_LME | EFER_LMA },
	{ X86_FEATURE_NX, 0, EFER_NX },
	{ X86_FEATURE_FXSR_OPT, 0, EFER_FFXSR },
	{ X86_FEATURE_AUTOIBRS, 0, EFER_AUTOIBRS },
	{ X86_FEATURE_SPEC_CTRL, 0, 0, SPEC_CTRL_IBRS },
	{ X86_FEATURE_AMD_IBRS, 0, 0, SPEC_CTRL_IBRS },
	{ X86_FEATURE_INTEL_STIBP, 0, 0, SPEC_CTRL_STIBP },
	{ X86_FEATURE_AMD_STIBP, 0, 0, SPEC_CTRL_STIBP },
	{ X86_FEATURE_SPEC_CTRL_SSBD, 0, 0, SPEC_CTRL_SSBD },
	{ X86_FEATURE_AMD_SSBD, 0, 0, SPEC_CTRL_SSBD },
	{ PSFD, 0, 0, BIT(7) },			/* APM vol. 2 3.2.9 */
};

static void fill_caps(struct clv_cpuid_table *t, struct clv_cpuid_caps *c)
{
	const u32 vendor = value(t, 0x0, 0, EBX);
	int i;

	memset(c, 0, sizeof(*c));
	c->cr4_reserved = ~(u64)X86_CR4_PCE;
	c->efer_reserved = ~0ULL;
	for (i = 0; i < ARRAY_SIZE(feature_bits); i++) {
		if (!has(t, feature_bits[i].feature))
			continue;
		c->cr4_reserved &= ~(u64)feature_bits[i].cr4;
		c->efer_reserved &= ~(u64)feature_bits[i].efer;
		c->spec_ctrl_bits |= feature_bits[i].spec_ctrl;
	}
	c->spec_ctrl = c->spec_ctrl_bits;
	c->xcr0_allowed = XFEATURE_MASK_FP;
	if (has(t, X86_FEATURE_XSAVE))
		c->xcr0_allowed |= value(t, 0xd, 0, EAX);
	c->maxphyaddr = value(t, 0x80000008, 0, EAX) & 0xff ?: 36;
	c->linear_bits = has(t, X86_FEATURE_LA57) ? 57 : 48;
	c->x2apic = has(t, X86_FEATURE_X2APIC);
	c->tsc_deadline = has(t, X86_FEATURE_TSC_DEADLINE_TIMER);
	c->rdtscp = has(t, X86_FEATURE_RDTSCP);
	c->tsc_aux = c->rdtscp || has(t, X86_FEATURE_RDPID);
	c->ibpb = has(t, X86_FEATURE_SPEC_CTRL) || has(t, X86_FEATURE_AMD_IBPB);
	c->mce = has(t, X86_FEATURE_MCE) && has(t, X86_FEATURE_MCA);
	c->mtrr = has(t, X86_FEATURE_MTRR);
	c->tsc_adjust = has(t, X86_FEATURE_TSC_ADJUST);
	c->flush_l1d = has(t, X86_FEATURE_FLUSH_L1D);
	c->invpcid = has(t, X86_FEATURE_INVPCID);
	c->arch_caps = has(t, X86_FEATURE_ARCH_CAPABILITIES);
	c->amd = vendor == 0x68747541 || vendor == 0x6f677948;	/* "Auth", "Hygo" */
}

/* The host's table is built once, when first asked for. */
static struct clv_cpuid_table *offered_get(void)
{
	/* Pairs with the release below: who sees ready sees the table. */
	if (smp_load_acquire(&offered_ready))
		return &offered;
	mutex_lock(&offered_lock);
	if (!offered_ready) {
		offer_copied();
		offer_words();
		offer_xsave();
		offer_fixed();
		fill_caps(&offered, &offered_caps);
		/* Pairs with the acquire above. */
		smp_store_release(&offered_ready, true);
	}
	mutex_unlock(&offered_lock);
	return &offered;
}

int clv_cpuid_supported(struct cleave_cpuid *c)
{
	*c = offered_get()->c;
	return 0;
}

/* Registers that hold what a table likes: names, numbers, topology, caches. */
static u32 free_regs(u32 leaf, u32 subleaf)
{
	switch (leaf) {
	case 0x0:
	case 0x2:
	case 0x4:
	case 0xb:
	case 0x1f:
	case 0x40000000 ... 0x400000ff:
	case 0x80000000:
	case 0x80000002 ... 0x80000006:
	case 0x80000019:
	case 0x8000001d:
	case 0x8000001e:
		return BIT(EAX) | BIT(EBX) | BIT(ECX) | BIT(EDX);
	case 0x1:
	case 0x80000001:
		return BIT(EAX) | BIT(EBX);
	case 0xd:		/* sizes: put in at run time */
		return subleaf == 0 ? BIT(EBX) | BIT(ECX) : subleaf == 1 ? BIT(EBX) : 0;
	case 0x80000008:
		return BIT(ECX);
	default:
		return 0;
	}
}

/* May a table hold v where o is offered? */
static bool reg_ok(const struct cleave_cpuid_entry *e, int reg, u32 v, u32 o)
{
	const struct word *w;

	for (w = words; w < words + ARRAY_SIZE(words); w++)
		if (w->leaf == e->leaf && w->subleaf == e->subleaf && w->reg == reg)
			return !(v & ~(o | w->any));
	if (e->leaf == 0x7 && e->subleaf == 0 && reg == EAX)
		return v <= o;
	if (e->leaf == 0x80000008 && reg == EAX)	/* address widths */
		return (u8)v >= 32 && (u8)v <= (u8)o && (u8)(v >> 8) <= (u8)(o >> 8);
	return !v || v == o;
}

/* Whose ECX matters: one answer for all would be wrong for most. */
static bool has_subleaves(u32 leaf)
{
	return leaf == 0x4 || leaf == 0x7 || leaf == 0xb || leaf == 0xd || leaf == 0x1f ||
	       leaf == 0x8000001d;
}

static int check_entry(struct cleave_cpuid_entry *e)
{
	u32 free;
	int i;

	if (e->reserved || (e->flags & ~SUBLEAF) ||
	    (!(e->flags & SUBLEAF) && has_subleaves(e->leaf)))
		return -EINVAL;
	if (!(e->flags & SUBLEAF))
		e->subleaf = 0;
	free = free_regs(e->leaf, e->subleaf);
	for (i = EAX; i <= EDX; i++)
		if (!(free & BIT(i)) &&
		    !reg_ok(e, i, *reg_of(e, i), value(&offered, e->leaf, e->subleaf, i)))
			return -EINVAL;
	return 0;
}

int clv_cpuid_set(struct clv_vcpu *vcpu, const struct cleave_cpuid *c)
{
	struct clv_cpuid_table *t;
	int ret = -EINVAL;
	u32 i;

	lockdep_assert_held(&vcpu->mutex);
	if (c->reserved || c->count > CLEAVE_MAX_CPUID)
		return -EINVAL;
	t = kvzalloc(sizeof(*t), GFP_KERNEL_ACCOUNT);
	if (!t)
		return -ENOMEM;
	t->c.count = c->count;
	memcpy(t->c.entries, c->entries, c->count * sizeof(c->entries[0]));
	for (i = 0; i < t->c.count; i++)
		if (check_entry(&t->c.entries[i]) || index_entry(t, i))
			goto free;
	if (vcpu->exits) {
		ret = memcmp(&t->c, &vcpu->cpuid->c, sizeof(t->c)) ? -EBUSY : 0;
		goto free;
	}
	clv_cpuid_destroy(vcpu);
	vcpu->cpuid = t;
	fill_caps(t, &vcpu->caps);
	return 0;
free:
	kvfree(t);
	return ret;
}

int clv_cpuid_create(struct clv_vcpu *vcpu)
{
	vcpu->cpuid = offered_get();
	vcpu->caps = offered_caps;
	return 0;
}

void clv_cpuid_destroy(struct clv_vcpu *vcpu)
{
	if (vcpu->cpuid != &offered)
		kvfree(vcpu->cpuid);
}

/* Bytes of an XSAVE area for xcr0: SDM vol. 1 13.4.3 if compact, else 13.4.2. */
u32 clv_cpuid_xsave_size(u64 xcr0, bool compact)
{
	u32 size = 576;		/* legacy region and header */
	int i;

	offered_get();
	for (i = 2; i < XFEATURES; i++) {
		if (!(xcr0 & BIT(i)))
			continue;
		if (!compact)
			size = max(size, xcomp[i].offset + xcomp[i].size);
		else
			size = (xcomp[i].align ? ALIGN(size, 64) : size) + xcomp[i].size;
	}
	return size;
}

/* What follows from the guest's own state. */
static void patch(struct clv_vcpu *vcpu, u32 subleaf, struct cleave_cpuid_entry *e)
{
	switch (e->leaf) {
	case 0x1:
		clv_regs_need(vcpu, CLV_REG_CRS);
		e->ebx = (e->ebx & 0xffffff) | vcpu->id << 24;
		e->ecx &= ~F(OSXSAVE);
		if (vcpu->sregs.cr4 & X86_CR4_OSXSAVE)
			e->ecx |= F(OSXSAVE);
		fallthrough;
	case 0x80000001:
		if (!(clv_lapic_base_get(vcpu) & MSR_IA32_APICBASE_ENABLE))
			e->edx &= ~F(APIC);
		break;
	case 0xb:
	case 0x1f:
		e->edx = vcpu->id;
		break;
	case 0xd:
		if (subleaf == 0) {
			e->ebx = clv_cpuid_xsave_size(vcpu->xcr0, false);
			e->ecx = clv_cpuid_xsave_size(vcpu->caps.xcr0_allowed, false);
		} else if (subleaf == 1 && (e->eax & F(XSAVEC))) {
			e->ebx = clv_cpuid_xsave_size(vcpu->xcr0, true);
		}
		break;
	case 0x8000001e:
		e->eax = vcpu->id;
		break;
	}
}

void clv_cpuid_query(struct clv_vcpu *vcpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	struct cleave_cpuid_entry *found = find(vcpu->cpuid, *eax, *ecx), e = { 0 };

	if (found) {
		e = *found;
		patch(vcpu, *ecx, &e);
	}
	*eax = e.eax;
	*ebx = e.ebx;
	*ecx = e.ecx;
	*edx = e.edx;
}
