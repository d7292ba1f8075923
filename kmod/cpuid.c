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
#define XFEATURES	8	/* XCR0 bits 0 to 7: no more is offered */
#define SUBLEAF		CLEAVE_CPUID_SUBLEAF
#define HASH_SIZE	64

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
	u8 subleaf;
	u8 reg;
	s8 kernel;		/* index in x86_capability[], or -1 */
	u32 mask;
	u32 always;		/* offered whatever the CPU says */
	u32 any;		/* a table may have it or not: put in at run time, or without effect */
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
	/* The low bits are AMD's copy of leaf 1's, see offer_fixed(). */
	{ 0x80000001, 0, EDX, CPUID_8000_0001_EDX,
	  F(SYSCALL) | F(NX) | F(MMXEXT) | F(FXSR_OPT) | F(GBPAGES) | F(RDTSCP) | F(LM) |
	  F(3DNOWEXT) | F(3DNOW) },
	{ 0x80000007, 0, EDX, -1, BIT(8) /* invariant TSC */ },
	{ 0x80000008, 0, EBX, CPUID_8000_0008_EBX,
	  F(CLZERO) | F(XSAVEERPTR) | F(WBNOINVD) | F(AMD_IBPB) | F(AMD_IBRS) | F(AMD_STIBP) |
	  BIT(16) | F(AMD_STIBP_ALWAYS_ON) | BIT(18) | BIT(19) /* how IBRS is best used */ |
	  F(AMD_SSBD) | F(AMD_SSB_NO) | BIT(28) /* PSFD */ | F(BTC_NO) | F(AMD_IBPB_RET) },
	{ 0x8000001a, 0, EAX, -1, BIT(0) | BIT(1) | BIT(2) /* FP128, MOVU, FP256 */ },
	{ 0x80000021, 0, EAX, -1,
	  BIT(0) /* NO_NESTED_DATA_BP */ | BIT(2) /* LFENCE_RDTSC */ | BIT(5) /* VERW_CLEAR */ |
	  BIT(6) /* NULL_SEL_CLR_BASE */ | F(AUTOIBRS) | F(IBPB_BRTYPE) | F(SRSO_NO) |
	  BIT(30) /* SRSO_USER_KERNEL_NO */ },
	{ 0x80000021, 0, ECX, -1, BIT(1) | BIT(2) /* TSA_SQ_NO, TSA_L1_NO */ },
};

#define AMD_ALIASES	0x0183f3ffU	/* APM vol. 3 E.4.2: leaf 1 EDX bits in 0x80000001 EDX */

/* The host's numbers in these go to the guest as they are. */
static const u32 copied[] = {
	0x0, 0x2, 0x80000000, 0x80000002, 0x80000003, 0x80000004, 0x80000005, 0x80000006,
	0x80000019,
};

static DEFINE_MUTEX(offered_lock);
static bool offered_ready;
static struct clv_cpuid_table offered;
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
	switch (reg) {
	case EAX:
		return &e->eax;
	case EBX:
		return &e->ebx;
	case ECX:
		return &e->ecx;
	default:
		return &e->edx;
	}
}

static u32 value(struct clv_cpuid_table *t, u32 leaf, u32 subleaf, int reg)
{
	struct cleave_cpuid_entry *e = find(t, leaf, subleaf);

	return e ? *reg_of(e, reg) : 0;
}

/* Entry i of t->c becomes visible; -EINVAL if it answers what another does. */
static int index_entry(struct clv_cpuid_table *t, u32 i)
{
	struct cleave_cpuid_entry *e = &t->c.entries[i];
	u8 *link = &t->head[hash(e->leaf)];

	for (; *link; link = &t->next[*link - 1]) {
		struct cleave_cpuid_entry *o = &t->c.entries[*link - 1];

		if (o->leaf == e->leaf && (!(o->flags & e->flags & SUBLEAF) ||
					   o->subleaf == e->subleaf))
			return -EINVAL;
	}
	*link = i + 1;
	return 0;
}

static const struct word *word_of(u32 leaf, u32 subleaf, int reg)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (words[i].leaf == leaf && words[i].subleaf == subleaf && words[i].reg == reg)
			return &words[i];
	return NULL;
}

/* ---- what is offered ------------------------------------------------------ */

static void host_cpuid(u32 leaf, u32 subleaf, struct cleave_cpuid_entry *e)
{
	memset(e, 0, sizeof(*e));
	e->leaf = leaf;
	if (leaf <= cpuid_eax(leaf & 0x80000000))
		cpuid_count(leaf, subleaf, &e->eax, &e->ebx, &e->ecx, &e->edx);
}

static void offer(struct cleave_cpuid_entry e, u32 subleaf, u32 flags)
{
	struct clv_cpuid_table *t = &offered;

	if (WARN_ON_ONCE(t->c.count == CLEAVE_MAX_CPUID))
		return;
	e.subleaf = subleaf;
	e.flags = flags;
	t->c.entries[t->c.count] = e;
	WARN_ON_ONCE(index_entry(t, t->c.count));
	t->c.count++;
}

static bool host_is_amd(void)
{
	return boot_cpu_data.x86_vendor == X86_VENDOR_AMD ||
	       boot_cpu_data.x86_vendor == X86_VENDOR_HYGON;
}

static void offer_words(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		const struct word *w = &words[i];
		struct cleave_cpuid_entry host, *e = find(&offered, w->leaf, w->subleaf);
		u32 v;

		host_cpuid(w->leaf, w->subleaf, &host);
		v = *reg_of(&host, w->reg) & w->mask;
		if (w->kernel >= 0)
			v &= boot_cpu_data.x86_capability[w->kernel];
		v |= w->always;
		if (!e && v) {
			struct cleave_cpuid_entry zero = { .leaf = w->leaf };
			bool sub = w->leaf == 0x7 || w->leaf == 0xd;

			offer(zero, w->subleaf, sub ? SUBLEAF : 0);
			e = find(&offered, w->leaf, w->subleaf);
		}
		if (e)
			*reg_of(e, w->reg) = v;
	}
}

/* Leaf 0xd, SDM vol. 1 13.2: the components of what fpu.c can switch. */
static void offer_xsave(void)
{
	struct cleave_cpuid_entry e, *d0 = find(&offered, 0xd, 0);
	u64 xcr0 = clv_fpu_xcr0();
	int i;

	if (!d0)
		return;
	d0->eax &= xcr0;
	for (i = 2; i < XFEATURES; i++) {
		if (!(d0->eax & BIT(i)))
			continue;
		host_cpuid(0xd, i, &e);
		e.ecx &= BIT(1);
		xcomp[i].size = e.eax;
		xcomp[i].offset = e.ebx;
		xcomp[i].align = e.ecx;
		offer(e, i, SUBLEAF);
	}
}

/* One package of one core of one thread; user space says more if it likes. */
static void offer_topology(void)
{
	struct cleave_cpuid_entry smt = { .leaf = 0xb, .ebx = 1, .ecx = 0x100 };
	struct cleave_cpuid_entry core = { .leaf = 0xb, .eax = 8, .ebx = 1, .ecx = 0x201 };
	u32 leaf = host_is_amd() ? 0x8000001d : 0x4;
	struct cleave_cpuid_entry e;
	u32 i;

	offer(smt, 0, SUBLEAF);
	offer(core, 1, SUBLEAF);
	for (i = 0; i < 8; i++) {
		host_cpuid(leaf, i, &e);
		if (!(e.eax & 0x1f))
			break;
		e.eax &= 0x3fff;	/* not shared, one core */
		offer(e, i, SUBLEAF);
	}
}

/* What follows from the kernel's knowledge, or from other leaves. */
static void offer_fixed(void)
{
	struct cleave_cpuid_entry e = { .leaf = 0x80000021 }, *p;
	u32 max = 0x80000008;

	p = find(&offered, 0x80000001, 0);
	if (p && host_is_amd())
		p->edx |= value(&offered, 0x1, 0, EDX) & AMD_ALIASES;
	if (host_is_amd()) {
		p = find(&offered, 0x80000021, 0);
		if (boot_cpu_has(X86_FEATURE_LFENCE_RDTSC))
			e.eax |= BIT(2);
		if (!boot_cpu_has_bug(X86_BUG_NULL_SEG))
			e.eax |= BIT(6);
		if (p)
			p->eax |= e.eax;
		else if (e.eax)
			offer(e, 0, 0);
		max = find(&offered, 0x80000021, 0) ? 0x80000021 : 0x8000001e;
	}
	p = find(&offered, 0x80000000, 0);
	if (p)
		p->eax = max;
	p = find(&offered, 0x0, 0);
	if (p)
		p->eax = clamp_t(u32, p->eax, 0xd, 0x1f);
}

static void offer_all(void)
{
	struct cleave_cpuid_entry e;
	int i;

	for (i = 0; i < ARRAY_SIZE(copied); i++) {
		host_cpuid(copied[i], 0, &e);
		offer(e, 0, 0);
	}
	host_cpuid(0x1, 0, &e);
	e.ebx = (e.ebx & 0xffff) | 1 << 16;
	offer(e, 0, 0);
	host_cpuid(0x7, 0, &e);
	e.eax = min_t(u32, e.eax, 2);
	offer(e, 0, SUBLEAF);
	host_cpuid(0x80000001, 0, &e);
	offer(e, 0, 0);
	host_cpuid(0x80000008, 0, &e);
	e.ecx = 0;
	e.edx = 0;
	e.eax &= 0xffff;
	offer(e, 0, 0);
	offer_words();
	if (!(value(&offered, 0x7, 0, ECX) & F(LA57)))
		find(&offered, 0x80000008, 0)->eax = (e.eax & 0xff) | 48 << 8;
	offer_xsave();
	offer_topology();
	offer_fixed();
}

/* ---- what a table gives ---------------------------------------------------- */

static bool has(struct clv_cpuid_table *t, u32 feature)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(words); i++)
		if (words[i].kernel == (feature >> 5))
			return value(t, words[i].leaf, words[i].subleaf, words[i].reg) >>
			       (feature & 31) & 1;
	return false;
}

static const struct {
	u32 feature;
	u64 cr4;
} cr4_bits[] = {
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
};

static u64 efer_allowed(struct clv_cpuid_table *t)
{
	u64 efer = 0;

	if (has(t, X86_FEATURE_SYSCALL))
		efer |= EFER_SCE;
	if (has(t, X86_FEATURE_LM))
		efer |= EFER_LME | EFER_LMA;
	if (has(t, X86_FEATURE_NX))
		efer |= EFER_NX;
	if (has(t, X86_FEATURE_FXSR_OPT))
		efer |= EFER_FFXSR;
	if (value(t, 0x80000021, 0, EAX) & F(AUTOIBRS))
		efer |= EFER_AUTOIBRS;
	return efer;
}

static u64 spec_ctrl_bits(struct clv_cpuid_table *t)
{
	u64 bits = 0;

	if (has(t, X86_FEATURE_SPEC_CTRL) || has(t, X86_FEATURE_AMD_IBRS))
		bits |= SPEC_CTRL_IBRS;
	if (has(t, X86_FEATURE_INTEL_STIBP) || has(t, X86_FEATURE_AMD_STIBP))
		bits |= SPEC_CTRL_STIBP;
	if (has(t, X86_FEATURE_SPEC_CTRL_SSBD) || has(t, X86_FEATURE_AMD_SSBD))
		bits |= SPEC_CTRL_SSBD;
	if (value(t, 0x80000008, 0, EBX) & BIT(28))
		bits |= BIT(7);		/* PSFD, APM vol. 2 3.2.9 */
	return bits;
}

static void fill_caps(struct clv_cpuid_table *t, struct clv_cpuid_caps *c)
{
	u32 vendor = value(t, 0, 0, EBX);
	int i;

	memset(c, 0, sizeof(*c));
	c->cr4_reserved = ~(u64)X86_CR4_PCE;
	for (i = 0; i < ARRAY_SIZE(cr4_bits); i++)
		if (has(t, cr4_bits[i].feature))
			c->cr4_reserved &= ~cr4_bits[i].cr4;
	c->efer_reserved = ~efer_allowed(t);
	c->xcr0_allowed = XFEATURE_MASK_FP;
	if (has(t, X86_FEATURE_XSAVE))
		c->xcr0_allowed |= value(t, 0xd, 0, EAX);
	c->spec_ctrl_bits = spec_ctrl_bits(t);
	c->spec_ctrl = c->spec_ctrl_bits;
	c->ibpb = has(t, X86_FEATURE_SPEC_CTRL) || has(t, X86_FEATURE_AMD_IBPB);
	c->maxphyaddr = value(t, 0x80000008, 0, EAX) & 0xff ?: 36;
	c->linear_bits = has(t, X86_FEATURE_LA57) ? 57 : 48;
	c->x2apic = has(t, X86_FEATURE_X2APIC);
	c->tsc_deadline = has(t, X86_FEATURE_TSC_DEADLINE_TIMER);
	c->rdtscp = has(t, X86_FEATURE_RDTSCP) || has(t, X86_FEATURE_RDPID);
	c->nx = has(t, X86_FEATURE_NX);
	c->lm = has(t, X86_FEATURE_LM);
	c->mce = has(t, X86_FEATURE_MCE) && has(t, X86_FEATURE_MCA);
	c->mtrr = has(t, X86_FEATURE_MTRR);
	c->pcid = has(t, X86_FEATURE_PCID);
	c->tsc_adjust = has(t, X86_FEATURE_TSC_ADJUST);
	c->flush_l1d = has(t, X86_FEATURE_FLUSH_L1D);
	c->arch_caps = has(t, X86_FEATURE_ARCH_CAPABILITIES);
	c->amd = vendor == 0x68747541 || vendor == 0x6f677948;	/* "Auth", "Hygo" */
}

/* The host's table is built once, when first asked for. */
static void offered_get(void)
{
	if (smp_load_acquire(&offered_ready))
		return;
	mutex_lock(&offered_lock);
	if (!offered_ready) {
		offer_all();
		fill_caps(&offered, &offered_caps);
		smp_store_release(&offered_ready, true);
	}
	mutex_unlock(&offered_lock);
}

int clv_cpuid_supported(struct cleave_cpuid *c)
{
	offered_get();
	*c = offered.c;
	return 0;
}

/* ---- a table from user space ------------------------------------------------ */

/* Registers in which a table may hold what it likes: names, numbers, topology, caches. */
static u32 free_regs(u32 leaf, u32 subleaf)
{
	switch (leaf) {
	case 0x0:
	case 0x2:
	case 0x4:
	case 0xb:
	case 0x1f:
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

static bool reg_ok(const struct cleave_cpuid_entry *e, int reg, u32 v, u32 o)
{
	const struct word *w = word_of(e->leaf, e->subleaf, reg);

	if (w)
		return !(v & ~(o | w->any));
	if (e->leaf == 0x7 && e->subleaf == 0 && reg == EAX)
		return v <= o;
	if (e->leaf == 0x80000008 && reg == EAX)
		return v <= 0xffffff && (u8)v >= 32 && (u8)v <= (u8)o &&
		       (u8)(v >> 8) <= (u8)(o >> 8);
	return !v || v == o;
}

/* Whose ECX matters: an answer to all of them would be wrong for most. */
static bool has_subleaves(u32 leaf)
{
	return leaf == 0x4 || leaf == 0x7 || leaf == 0xb || leaf == 0xd || leaf == 0x1f ||
	       leaf == 0x8000001d;
}

static int check_entry(struct cleave_cpuid_entry *e)
{
	u32 free;
	int i;

	if (e->reserved || (e->flags & ~SUBLEAF))
		return -EINVAL;
	if (e->leaf >= 0x40000000 && e->leaf <= 0x400000ff)
		return 0;
	if (!(e->flags & SUBLEAF)) {
		if (has_subleaves(e->leaf))
			return -EINVAL;
		e->subleaf = 0;
	}
	free = free_regs(e->leaf, e->subleaf);
	for (i = EAX; i <= EDX; i++) {
		u32 v = *reg_of(e, i), o = value(&offered, e->leaf, e->subleaf, i);

		if (!(free & BIT(i)) && !reg_ok(e, i, v, o))
			return -EINVAL;
	}
	return 0;
}

static bool same_table(const struct cleave_cpuid *a, const struct cleave_cpuid *b)
{
	return a->count == b->count &&
	       !memcmp(a->entries, b->entries, a->count * sizeof(a->entries[0]));
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
	ret = 0;
	if (vcpu->exits) {
		ret = same_table(&t->c, &vcpu->cpuid->c) ? 0 : -EBUSY;
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
	offered_get();
	vcpu->cpuid = &offered;
	vcpu->caps = offered_caps;
	return 0;
}

void clv_cpuid_destroy(struct clv_vcpu *vcpu)
{
	if (vcpu->cpuid != &offered)
		kvfree(vcpu->cpuid);
	vcpu->cpuid = &offered;
}

/* ---- at an exit -------------------------------------------------------------- */

/* Bytes of an XSAVE area for xcr0: SDM vol. 1 13.4.3 (compact), else 13.4.2. */
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

static void patch_xsave(struct clv_vcpu *vcpu, u32 subleaf, struct cleave_cpuid_entry *e)
{
	if (subleaf == 0) {
		e->ebx = clv_cpuid_xsave_size(vcpu->xcr0, false);
		e->ecx = clv_cpuid_xsave_size(vcpu->caps.xcr0_allowed, false);
	} else if (subleaf == 1 && (e->eax & F(XSAVEC))) {
		e->ebx = clv_cpuid_xsave_size(vcpu->xcr0, true);
	}
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
		patch_xsave(vcpu, subleaf, e);
		break;
	case 0x8000001e:
		e->eax = vcpu->id;
		break;
	}
}

void clv_cpuid_query(struct clv_vcpu *vcpu, u32 *eax, u32 *ebx, u32 *ecx, u32 *edx)
{
	struct cleave_cpuid_entry *found = find(vcpu->cpuid, *eax, *ecx), e;

	if (!found) {
		*eax = 0;
		*ebx = 0;
		*ecx = 0;
		*edx = 0;
		return;
	}
	e = *found;
	patch(vcpu, *ecx, &e);
	*eax = e.eax;
	*ebx = e.ebx;
	*ecx = e.ecx;
	*edx = e.edx;
}
