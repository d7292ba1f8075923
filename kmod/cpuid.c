// SPDX-License-Identifier: GPL-2.0
/* cleave: CPUID: what host and module offer, what of it a guest may have, the answer at an exit. */
#include <linux/kvm_para.h>
#include <linux/slab.h>
#include <asm/processor.h>
#include "backend.h"

enum { EAX, EBX, ECX, EDX };

#define F(name)		(1U << (X86_FEATURE_##name & 31))
#define PSFD		(13 * 32 + 28)	/* 6.1 has no name for it */
#define XFEATURES	8		/* XCR0 bits 0 to 7: no more is offered */
#define SUBLEAF		CLEAVE_CPUID_SUBLEAF
#define HASH_SIZE	64
#define KVMK		0x4b4d564bU
#define VMKV		0x564b4d56U
#define PV_FEATURES	(BIT(KVM_FEATURE_CLOCKSOURCE2) | BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT) | \
			 BIT(KVM_FEATURE_PV_EOI) | BIT(KVM_FEATURE_PV_UNHALT) | \
			 BIT(KVM_FEATURE_PV_SEND_IPI) | BIT(KVM_FEATURE_POLL_CONTROL) | \
			 BIT(KVM_FEATURE_PV_SCHED_YIELD) | (IS_ENABLED(CONFIG_SCHED_INFO) ? \
			 BIT(KVM_FEATURE_STEAL_TIME) | BIT(KVM_FEATURE_PV_TLB_FLUSH) : 0))
#define AMD_ALIASES	0x0183f3ffU	/* of leaf 1 EDX in 0x80000001 EDX, APM vol. 3 E.4.2 */

struct clv_cpuid_table {
	struct cleave_cpuid c;
	u8 head[HASH_SIZE];		/* entry + 1, or 0 */
	u8 next[CLEAVE_MAX_CPUID];
};

/* A register of bits. Offered: what CPU and kernel both have of mask; and what the module does. */
struct word {
	u32 leaf;
	u8 subleaf, reg;
	s8 kernel;		/* index in x86_capability[], or -1 */
	u32 mask;
	u32 always;		/* offered whatever the CPU says */
	u32 any;		/* free: put in at run time, or without effect */
};

static const struct word words[] = {
	{ 0x1, 0, ECX, CPUID_1_ECX, F(XMM3) | F(PCLMULQDQ) | F(SSSE3) | F(FMA) | F(CX16) | F(PCID) |
	  F(XMM4_1) | F(XMM4_2) | F(MOVBE) | F(POPCNT) | F(AES) | F(XSAVE) | F(AVX) | F(F16C) |
	  F(RDRAND),
	  .always = F(X2APIC) | F(TSC_DEADLINE_TIMER) | F(HYPERVISOR), .any = F(OSXSAVE) },
	{ 0x1, 0, EDX, CPUID_1_EDX, F(FPU) | F(VME) | F(DE) | F(PSE) | F(TSC) | F(MSR) | F(PAE) |
	  F(CX8) | F(SEP) | F(PGE) | F(CMOV) | F(PAT) | F(PSE36) | F(CLFLUSH) | F(MMX) | F(FXSR) |
	  F(XMM) | F(XMM2) | F(SELFSNOOP),
	  .always = F(MCE) | F(APIC) | F(MTRR) | F(MCA), .any = F(HT) },
	{ 0x6, 0, EAX, CPUID_6_EAX, .always = F(ARAT) },
	{ 0x7, 0, EBX, CPUID_7_0_EBX, F(FSGSBASE) | F(BMI1) | F(HLE) | F(AVX2) |
	  F(FDP_EXCPTN_ONLY) | F(SMEP) | F(BMI2) | F(ERMS) | F(INVPCID) | F(RTM) | F(ZERO_FCS_FDS) |
	  F(AVX512F) | F(AVX512DQ) | F(RDSEED) | F(ADX) | F(SMAP) | F(AVX512IFMA) | F(CLFLUSHOPT) |
	  F(CLWB) | F(AVX512PF) | F(AVX512ER) | F(AVX512CD) | F(SHA_NI) | F(AVX512BW) | F(AVX512VL),
	  .always = F(TSC_ADJUST) },
	{ 0x7, 0, ECX, CPUID_7_ECX, BIT(0) /* PREFETCHWT1 */ | F(AVX512VBMI) | F(UMIP) |
	  F(AVX512_VBMI2) | F(GFNI) | F(VAES) | F(VPCLMULQDQ) | F(AVX512_VNNI) | F(AVX512_BITALG) |
	  F(AVX512_VPOPCNTDQ) | F(LA57) | F(RDPID) | F(CLDEMOTE) | F(MOVDIRI) | F(MOVDIR64B) },
	{ 0x7, 0, EDX, CPUID_7_EDX, F(AVX512_4VNNIW) | F(AVX512_4FMAPS) | F(FSRM) |
	  F(AVX512_VP2INTERSECT) | F(MD_CLEAR) | F(SERIALIZE) | F(AVX512_FP16) | F(SPEC_CTRL) |
	  F(INTEL_STIBP) | F(FLUSH_L1D) | F(ARCH_CAPABILITIES) | F(SPEC_CTRL_SSBD) },
	{ 0x7, 1, EAX, CPUID_7_1_EAX, BIT(0) | BIT(1) | BIT(2) /* SHA512, SM3, SM4 */ |
	  F(AVX_VNNI) | F(AVX512_BF16) | BIT(7) /* CMPCCXADD */ |
	  BIT(10) | BIT(11) | BIT(12) /* FZRM, FSRS, FSRC */ | BIT(23) /* AVX_IFMA */ },
	{ 0x7, 1, EDX, -1, BIT(4) /* AVX_VNNI_INT8 */ | BIT(5) /* AVX_NE_CONVERT */ |
	  BIT(10) /* AVX_VNNI_INT16 */ | BIT(14) /* PREFETCHI */ },
	{ 0x7, 2, EDX, -1, BIT(5) /* MCDT_NO */ },
	/* One package of one core of one thread; user space says more if it likes. */
	{ 0xb, 0, EBX, -1, .always = 1 }, { 0xb, 0, ECX, -1, .always = 0x100 },
	{ 0xb, 1, EAX, -1, .always = 8 }, { 0xb, 1, EBX, -1, .always = 1 },
	{ 0xb, 1, ECX, -1, .always = 0x201 },
	{ 0xd, 0, EAX, -1, XFEATURE_MASK_FPSSE | XFEATURE_MASK_YMM | XFEATURE_MASK_AVX512 },
	{ 0xd, 0, EBX, -1, .any = ~0U }, { 0xd, 0, ECX, -1, .any = ~0U },
	{ 0xd, 1, EBX, -1, .any = ~0U },
	{ 0xd, 1, EAX, CPUID_D_1_EAX, F(XSAVEOPT) | F(XSAVEC) | F(XGETBV1) },
	/* "KVMKVMKVM", and what pv.c does. */
	{ 0x40000000, 0, EAX, -1, .always = 0x40000001 },
	{ 0x40000000, 0, EBX, -1, .always = KVMK }, { 0x40000000, 0, ECX, -1, .always = VMKV },
	{ 0x40000000, 0, EDX, -1, .always = 'M' },
	{ 0x40000001, 0, EAX, -1, .always = PV_FEATURES },
	{ 0x80000001, 0, ECX, CPUID_8000_0001_ECX, F(LAHF_LM) | F(ABM) | F(SSE4A) | F(MISALIGNSSE) |
	  F(3DNOWPREFETCH) | F(XOP) | F(FMA4) | F(TBM) | F(TOPOEXT), .any = F(CMP_LEGACY) },
	{ 0x80000001, 0, EDX, CPUID_8000_0001_EDX, F(SYSCALL) | F(NX) | F(MMXEXT) | F(FXSR_OPT) |
	  F(GBPAGES) | F(RDTSCP) | F(LM) | F(3DNOWEXT) | F(3DNOW) },
	{ 0x80000007, 0, EDX, -1, BIT(8) /* invariant TSC */ },
	{ 0x80000008, 0, EBX, CPUID_8000_0008_EBX, F(CLZERO) | F(XSAVEERPTR) | F(WBNOINVD) |
	  F(AMD_IBPB) | F(AMD_IBRS) | F(AMD_STIBP) | BIT(16) | F(AMD_STIBP_ALWAYS_ON) | BIT(18) |
	  BIT(19) /* how IBRS is best used */ | F(AMD_SSBD) | F(AMD_SSB_NO) | BIT(28) /* PSFD */ |
	  F(BTC_NO) | F(AMD_IBPB_RET) },
	{ 0x80000021, 0, EAX, CPUID_8000_0021_EAX, BIT(0) /* NO_NESTED_DATA_BP */ |
	  BIT(5) /* VERW_CLEAR */ | F(AUTOIBRS) | F(IBPB_BRTYPE) | F(SRSO_NO) |
	  BIT(30) /* SRSO_USER_KERNEL_NO */ },
	{ 0x80000021, 0, ECX, -1, BIT(1) | BIT(2) /* TSA_SQ_NO, TSA_L1_NO */ },
};

#define AB	(BIT(EAX) | BIT(EBX))
#define ABCD	(AB | BIT(ECX) | BIT(EDX))

/* What else is offered or free. A leaf that is not here is what the words say, or nothing. */
static const struct leaf {
	u32 first, last;
	u8 offered;		/* how many subleaves */
	bool subleaves;		/* ECX matters: one answer for all would be wrong for most */
	u8 copied;		/* registers that go from the host's leaf to the guest */
	u8 free;		/* registers that hold what a table likes */
} leaves[] = {
	{ 0x0, 0x0, 1, false, ABCD, ABCD }, { 0x1, 0x1, 1, false, AB, AB },
	{ 0x2, 0x2, 1, false, ABCD, ABCD }, { 0x4, 0x4, 0, true, 0, ABCD }, { 0x6, 0x6, 1 },
	{ 0x7, 0x7, 3, true }, { 0xb, 0xb, 2, true, 0, ABCD }, { 0xd, 0xd, 2, true },
	{ 0x1f, 0x1f, 0, true, 0, ABCD }, { 0x40000000, 0x40000001, 1, false, 0, ABCD },
	{ 0x40000002, 0x400000ff, 0, false, 0, ABCD },
	{ 0x80000000, 0x80000000, 1, false, 0, ABCD }, { 0x80000001, 0x80000001, 1, false, AB, AB },
	{ 0x80000002, 0x80000006, 1, false, ABCD, ABCD }, { 0x80000007, 0x80000007, 1 },
	{ 0x80000008, 0x80000008, 1, false, BIT(EAX), BIT(ECX) },
	{ 0x80000019, 0x80000019, 0, false, 0, ABCD }, { 0x8000001d, 0x8000001d, 0, true, 0, ABCD },
	{ 0x8000001e, 0x8000001e, 0, false, 0, ABCD }, { 0x80000021, 0x80000021, 1 },
};

static struct clv_cpuid_table offered;	/* constant after clv_cpuid_init() */
static struct clv_cpuid_caps offered_caps;

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

static bool has(struct clv_cpuid_table *t, u32 feature)
{
	const struct word *w;

	for (w = words; w < words + ARRAY_SIZE(words); w++)
		if (w->kernel == feature >> 5)
			return value(t, w->leaf, w->subleaf, w->reg) >> (feature & 31) & 1;
	return false;
}

static void host_cpuid(u32 leaf, u32 subleaf, struct cleave_cpuid_entry *e)
{
	memset(e, 0, sizeof(*e));
	e->leaf = leaf;
	e->subleaf = subleaf;
	if (leaf <= cpuid_eax(leaf & 0x80000000))
		cpuid_count(leaf, subleaf, &e->eax, &e->ebx, &e->ecx, &e->edx);
}

static bool host_is_amd(void)
{
	return boot_cpu_data.x86_vendor == X86_VENDOR_AMD ||
	       boot_cpu_data.x86_vendor == X86_VENDOR_HYGON;
}

static const struct word *word_of(u32 leaf, u32 subleaf, int reg)
{
	const struct word *w;

	for (w = words; w < words + ARRAY_SIZE(words); w++)
		if (w->leaf == leaf && w->subleaf == subleaf && w->reg == reg)
			return w;
	return NULL;
}

static void offer(const struct leaf *l, u32 leaf, u32 subleaf)
{
	struct cleave_cpuid_entry *e = &offered.c.entries[offered.c.count];
	int reg;

	host_cpuid(leaf, subleaf, e);
	e->flags = l->subleaves ? SUBLEAF : 0;
	for (reg = EAX; reg <= EDX; reg++) {
		const struct word *w = word_of(leaf, subleaf, reg);
		u32 mask = l->copied & BIT(reg) ? ~0U : 0;

		if (w)
			mask = w->kernel < 0 ? w->mask :
			       w->mask & boot_cpu_data.x86_capability[w->kernel];
		*reg_of(e, reg) = (*reg_of(e, reg) & mask) | (w ? w->always : 0);
	}
	WARN_ON_ONCE(index_entry(&offered, offered.c.count++));
}

/* Leaf 0xd, SDM vol. 1 13.2: the components of what fpu.c can switch. */
static void offer_xsave(void)
{
	static const struct leaf component = { .subleaves = true, .copied = ABCD & ~BIT(EDX) };
	u32 *xcr0 = &find(&offered, 0xd, 0)->eax;
	int i;

	*xcr0 &= clv_fpu_xcr0();
	for (i = 2; i < XFEATURES; i++) {
		if (*xcr0 & BIT(i)) {
			offer(&component, 0xd, i);
			find(&offered, 0xd, i)->ecx &= BIT(1);
		}
	}
}

/* What follows from the kernel's knowledge, or from other leaves. */
static void offer_fixed(void)
{
	struct cleave_cpuid_entry *e, host;

	e = find(&offered, 0x0, 0);
	e->eax = clamp_t(u32, e->eax, 0xd, 0x1f);
	e = find(&offered, 0x1, 0);
	e->ebx = (e->ebx & 0xffff) | 1 << 16;
	host_cpuid(0x7, 0, &host);
	find(&offered, 0x7, 0)->eax = min_t(u32, host.eax, 2);
	e = find(&offered, 0x80000008, 0);
	e->eax &= 0xffff;
	if (!has(&offered, X86_FEATURE_LA57))
		e->eax = (e->eax & 0xff) | 48 << 8;
	find(&offered, 0x80000000, 0)->eax = host_is_amd() ? 0x80000021 : 0x80000008;
	if (!host_is_amd())
		return;
	find(&offered, 0x80000001, 0)->edx |= value(&offered, 0x1, 0, EDX) & AMD_ALIASES;
	e = find(&offered, 0x80000021, 0);
	if (boot_cpu_has(X86_FEATURE_LFENCE_RDTSC))
		e->eax |= BIT(2);
	if (!boot_cpu_has_bug(X86_BUG_NULL_SEG))
		e->eax |= BIT(6);	/* a null selector clears the base */
}

/* Register bits that are there with a feature. */
static const struct {
	u32 feature;
	u32 cr4, efer, spec_ctrl;
} feature_bits[] = {
#define CR4(name, bits)		{ X86_FEATURE_##name, bits }
#define EFER(name, bits)	{ X86_FEATURE_##name, 0, bits }
#define SPEC(name, bits)	{ X86_FEATURE_##name, 0, 0, SPEC_CTRL_##bits }
	CR4(VME, X86_CR4_VME | X86_CR4_PVI), CR4(TSC, X86_CR4_TSD), CR4(DE, X86_CR4_DE),
	CR4(PSE, X86_CR4_PSE), CR4(PAE, X86_CR4_PAE), CR4(MCE, X86_CR4_MCE), CR4(PGE, X86_CR4_PGE),
	CR4(FXSR, X86_CR4_OSFXSR), CR4(XMM, X86_CR4_OSXMMEXCPT), CR4(UMIP, X86_CR4_UMIP),
	CR4(LA57, X86_CR4_LA57), CR4(FSGSBASE, X86_CR4_FSGSBASE), CR4(PCID, X86_CR4_PCIDE),
	CR4(XSAVE, X86_CR4_OSXSAVE), CR4(SMEP, X86_CR4_SMEP), CR4(SMAP, X86_CR4_SMAP),
	EFER(SYSCALL, EFER_SCE), EFER(LM, EFER_LME | EFER_LMA), EFER(NX, EFER_NX),
	EFER(FXSR_OPT, EFER_FFXSR), EFER(AUTOIBRS, EFER_AUTOIBRS),
	SPEC(SPEC_CTRL, IBRS), SPEC(AMD_IBRS, IBRS), SPEC(INTEL_STIBP, STIBP),
	SPEC(AMD_STIBP, STIBP), SPEC(SPEC_CTRL_SSBD, SSBD), SPEC(AMD_SSBD, SSBD),
	{ PSFD, 0, 0, BIT(7) },			/* APM vol. 2 3.2.9 */
};

static void fill_caps(struct clv_cpuid_table *t, struct clv_cpuid_caps *c)
{
	const u32 vendor = value(t, 0x0, 0, EBX);
	u32 pv = 0;
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
	if (value(t, 0x40000000, 0, EBX) == KVMK && value(t, 0x40000000, 0, ECX) == VMKV &&
	    value(t, 0x40000000, 0, EDX) == 'M')
		pv = value(t, 0x40000001, 0, EAX) & PV_FEATURES;
	c->pv_clock = pv & BIT(KVM_FEATURE_CLOCKSOURCE2);
	c->pv_steal = pv & BIT(KVM_FEATURE_STEAL_TIME);
	c->pv_eoi = pv & BIT(KVM_FEATURE_PV_EOI);
	c->pv_unhalt = pv & BIT(KVM_FEATURE_PV_UNHALT);
	c->pv_ipi = pv & BIT(KVM_FEATURE_PV_SEND_IPI);
	c->pv_poll = pv & BIT(KVM_FEATURE_POLL_CONTROL);
	c->pv_yield = pv & BIT(KVM_FEATURE_PV_SCHED_YIELD);
	c->amd = vendor == 0x68747541 || vendor == 0x6f677948;	/* "Auth", "Hygo" */
}

void clv_cpuid_init(void)
{
	const struct leaf *l;
	u32 leaf, subleaf;

	for (l = leaves; l < leaves + ARRAY_SIZE(leaves); l++)
		for (leaf = l->first; leaf <= l->last; leaf++)
			for (subleaf = 0; subleaf < l->offered; subleaf++)
				offer(l, leaf, subleaf);
	offer_xsave();
	offer_fixed();
	fill_caps(&offered, &offered_caps);
}

int clv_cpuid_supported(struct cleave_cpuid *c)
{
	*c = offered.c;
	return 0;
}

static const struct leaf *leaf_of(u32 leaf)
{
	static const struct leaf other;
	const struct leaf *l;

	for (l = leaves; l < leaves + ARRAY_SIZE(leaves); l++)
		if (leaf >= l->first && leaf <= l->last)
			return l;
	return &other;
}

/* May a table hold v where o is offered? */
static bool reg_ok(const struct cleave_cpuid_entry *e, int reg, u32 v, u32 o)
{
	const struct word *w = word_of(e->leaf, e->subleaf, reg);

	if (leaf_of(e->leaf)->free & BIT(reg))
		return true;
	if (w)
		return !(v & ~(o | w->any));
	if (e->leaf == 0x7 && e->subleaf == 0 && reg == EAX)
		return v <= o;
	if (e->leaf == 0x80000008 && reg == EAX)	/* address widths */
		return (u8)v >= 32 && (u8)v <= (u8)o && (u8)(v >> 8) <= (u8)(o >> 8);
	return !v || v == o;
}

static int check_entry(struct cleave_cpuid_entry *e)
{
	int i;

	if (e->reserved || (e->flags & ~SUBLEAF) ||
	    (!(e->flags & SUBLEAF) && leaf_of(e->leaf)->subleaves))
		return -EINVAL;
	if (!(e->flags & SUBLEAF))
		e->subleaf = 0;
	for (i = EAX; i <= EDX; i++)
		if (!reg_ok(e, i, *reg_of(e, i), value(&offered, e->leaf, e->subleaf, i)))
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
	if (vcpu->has_run) {
		ret = memcmp(&t->c, &vcpu->cpuid->c, sizeof(t->c)) ? -EBUSY : 0;
		goto free;
	}
	clv_cpuid_destroy(vcpu);
	vcpu->cpuid = t;
	fill_caps(t, &vcpu->caps);
	clv_pv_cpuid_changed(vcpu);
	clv_backend->vcpu_reset(vcpu);
	return 0;
free:
	kvfree(t);
	return ret;
}

void clv_cpuid_create(struct clv_vcpu *vcpu)
{
	vcpu->cpuid = &offered;
	vcpu->caps = offered_caps;
}

void clv_cpuid_destroy(struct clv_vcpu *vcpu)
{
	if (vcpu->cpuid != &offered)
		kvfree(vcpu->cpuid);
}

/* Bytes of an XSAVE area for xcr0: SDM vol. 1 13.4.3 if compact, else 13.4.2. */
u32 clv_cpuid_xsave_size(u64 xcr0, bool compact)
{
	const struct cleave_cpuid_entry *e;
	u32 size = 576;		/* legacy region and header */
	int i;

	for (i = 2; i < XFEATURES; i++) {
		e = xcr0 & BIT(i) ? find(&offered, 0xd, i) : NULL;
		if (!e)
			continue;
		if (!compact)
			size = max(size, e->ebx + e->eax);
		else
			size = (e->ecx & BIT(1) ? ALIGN(size, 64) : size) + e->eax;
	}
	return size;
}

void clv_cpuid_query(struct clv_vcpu *vcpu, struct cleave_cpuid_entry *e)
{
	const struct cleave_cpuid_entry *found = find(vcpu->cpuid, e->leaf, e->subleaf);
	u32 subleaf = e->subleaf;

	*e = found ? *found : (struct cleave_cpuid_entry) { 0 };
	/* What follows from the guest's own state. */
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
