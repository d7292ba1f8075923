// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: guest registers: read, checked, set, reset, and what writes to
 * control registers do.
 *
 * What user space may set is what both VT-x and AMD-V enter with (SDM vol. 3C
 * 27.3.1, APM vol. 2 15.5.1), so that a state taken from one runs on the
 * other. PDPTEs are not part of it: they are in guest memory, and the backend
 * loads them where its CPU wants that (SDM vol. 3A 4.4.1).
 */
#include <asm/cpufeature.h>
#include <asm/fpu/types.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>
#include "backend.h"

#define CR0_BITS	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | \
			 X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | \
			 X86_CR0_PG)
#define CR3_NOFLUSH	BIT_ULL(63)
#define CR4_FLUSH	(X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PCIDE | \
			 X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_LA57)
#define RFLAGS_RESERVED	(~0ULL << 22 | BIT(15) | BIT(5) | BIT(3))
#define PDPTE_RESERVED	0x1e6ULL
#define DR6_WRITABLE	0xe00fULL
#define DR6_FIXED	0xffff0ff0ULL
#define DR7_WRITABLE	0xffff23ffULL
#define DR7_FIXED	0x400ULL
#define AR_BITS		(CLEAVE_AR_TYPE | CLEAVE_AR_S | CLEAVE_AR_DPL | CLEAVE_AR_P | \
			 CLEAVE_AR_AVL | CLEAVE_AR_L | CLEAVE_AR_DB | CLEAVE_AR_G | \
			 CLEAVE_AR_UNUSABLE)
#define AR_VM86		0xf3
#define ALL_GROUPS	(CLEAVE_REGS | CLEAVE_SREGS | CLEAVE_DEBUG | CLEAVE_XCRS | \
			 CLEAVE_EVENTS | CLEAVE_MP | CLEAVE_LAPIC)

/* Segments: SDM vol. 3C 27.3.1.2, the rules of an unrestricted guest. */

static u8 ar_type(const struct cleave_segment *s)
{
	return s->ar & CLEAVE_AR_TYPE;
}

static u8 ar_dpl(const struct cleave_segment *s)
{
	return (s->ar & CLEAVE_AR_DPL) >> 5;
}

static bool unusable(const struct cleave_segment *s)
{
	return s->ar & CLEAVE_AR_UNUSABLE;
}

/* Granularity: 4 KiB cannot end inside a page, bytes cannot reach beyond 1 MiB. */
static bool limit_ok(const struct cleave_segment *s)
{
	if (s->ar & CLEAVE_AR_G)
		return (s->limit & 0xfff) == 0xfff;
	return !(s->limit >> 20);
}

static bool present_ok(const struct cleave_segment *s, u32 system)
{
	return (s->ar & CLEAVE_AR_P) && (s->ar & CLEAVE_AR_S) == system && limit_ok(s);
}

static bool reserved_ok(const struct cleave_segment *s)
{
	return !(s->ar & ~AR_BITS) && !s->reserved[0] && !s->reserved[1] && !s->reserved[2];
}

static bool cs_ok(const struct cleave_sregs *s, bool lma)
{
	const struct cleave_segment *cs = &s->cs;
	u8 dpl = ar_dpl(cs), cpl = ar_dpl(&s->ss);

	if (unusable(cs) || !present_ok(cs, CLEAVE_AR_S) || cs->base >> 32)
		return false;
	if (lma && (cs->ar & CLEAVE_AR_L) && (cs->ar & CLEAVE_AR_DB))
		return false;
	switch (ar_type(cs)) {
	case 3:
		return dpl == 0 && cpl == 0;
	case 9:
	case 11:
		return dpl == cpl;
	case 13:
	case 15:
		return dpl <= cpl;
	default:
		return false;
	}
}

static bool ss_ok(const struct cleave_sregs *s)
{
	const struct cleave_segment *ss = &s->ss;

	if (!(s->cr0 & X86_CR0_PE) && ar_dpl(ss))
		return false;
	if (unusable(ss))
		return true;
	return (ar_type(ss) == 3 || ar_type(ss) == 7) && present_ok(ss, CLEAVE_AR_S) &&
	       !(ss->base >> 32);
}

/* Accessed, and readable if code. */
static bool data_ok(const struct cleave_segment *s)
{
	u8 type = ar_type(s);

	if (unusable(s))
		return true;
	return (type & 1) && (!(type & 8) || (type & 2)) && present_ok(s, CLEAVE_AR_S);
}

static bool vm86_ok(const struct cleave_sregs *s)
{
	const struct cleave_segment *seg[] = { &s->cs, &s->ss, &s->ds, &s->es, &s->fs, &s->gs };
	int i;

	for (i = 0; i < ARRAY_SIZE(seg); i++)
		if (seg[i]->base != seg[i]->selector << 4 || seg[i]->limit != 0xffff ||
		    seg[i]->ar != AR_VM86)
			return false;
	return true;
}

static bool system_ok(const struct cleave_sregs *s, bool lma)
{
	const struct cleave_segment *tr = &s->tr, *ldt = &s->ldt;

	if (unusable(tr) || (ar_type(tr) != 11 && (lma || ar_type(tr) != 3)) ||
	    !present_ok(tr, 0) || (tr->selector & 4))
		return false;
	return unusable(ldt) || (ar_type(ldt) == 2 && present_ok(ldt, 0) && !(ldt->selector & 4));
}

static bool segments_ok(struct clv_vcpu *vcpu, const struct cleave_sregs *s, u64 rflags)
{
	const struct cleave_segment *seg = &s->cs;	/* cs to ldt: eight in a row */
	bool lma = s->efer & EFER_LMA;
	int i;

	for (i = 0; i < 8; i++)
		if (!reserved_ok(&seg[i]))
			return false;
	if (!system_ok(s, lma))
		return false;
	if (!clv_canonical(vcpu, s->fs.base) || !clv_canonical(vcpu, s->gs.base) ||
	    !clv_canonical(vcpu, s->tr.base) ||
	    (!unusable(&s->ldt) && !clv_canonical(vcpu, s->ldt.base)))
		return false;
	if (rflags & X86_EFLAGS_VM)
		return vm86_ok(s);
	return cs_ok(s, lma) && ss_ok(s) && data_ok(&s->ds) && data_ok(&s->es) &&
	       data_ok(&s->fs) && data_ok(&s->gs) &&
	       (unusable(&s->ds) || !(s->ds.base >> 32)) &&
	       (unusable(&s->es) || !(s->es.base >> 32));
}

static bool dtable_ok(struct clv_vcpu *vcpu, const struct cleave_dtable *d)
{
	return clv_canonical(vcpu, d->base) && !d->reserved[0] && !d->reserved[1] &&
	       !d->reserved[2];
}

static bool cr0_ok(u64 cr0)
{
	if ((cr0 & X86_CR0_PG) && !(cr0 & X86_CR0_PE))
		return false;
	return !(cr0 >> 32) && (!(cr0 & X86_CR0_NW) || (cr0 & X86_CR0_CD));
}

static bool cr3_ok(struct clv_vcpu *vcpu, u64 cr3)
{
	return !(cr3 >> vcpu->caps.maxphyaddr);
}

static bool paging_ok(struct clv_vcpu *vcpu, const struct cleave_sregs *s)
{
	bool lma = s->efer & EFER_LMA;

	if (!cr0_ok(s->cr0) || (s->cr0 & ~(u64)CR0_BITS) || !cr3_ok(vcpu, s->cr3) ||
	    (s->cr4 & vcpu->caps.cr4_reserved) || (s->efer & vcpu->caps.efer_reserved))
		return false;
	if (lma != ((s->efer & EFER_LME) && (s->cr0 & X86_CR0_PG)))
		return false;
	if (lma && !(s->cr4 & X86_CR4_PAE))
		return false;
	return lma || !(s->cr4 & X86_CR4_PCIDE);
}

static bool sregs_ok(struct clv_vcpu *vcpu, const struct cleave_sregs *s, u64 rflags)
{
	return paging_ok(vcpu, s) && segments_ok(vcpu, s, rflags) && dtable_ok(vcpu, &s->gdt) &&
	       dtable_ok(vcpu, &s->idt) && s->cr8 <= 15 &&
	       !clv_lapic_base_check(vcpu, s->apic_base, true);
}

/* RIP and RFLAGS, SDM vol. 3C 27.3.1.4. */
static bool regs_ok(struct clv_vcpu *vcpu, const struct cleave_regs *r,
		    const struct cleave_sregs *s)
{
	bool lma = s->efer & EFER_LMA;

	if (r->rflags & RFLAGS_RESERVED)
		return false;
	if ((r->rflags & X86_EFLAGS_VM) && (lma || !(s->cr0 & X86_CR0_PE)))
		return false;
	if (lma && (s->cs.ar & CLEAVE_AR_L))
		return clv_canonical(vcpu, r->rip);
	return !(r->rip >> 32);
}

/*
 * The registers as they would be then. An interrupt on its way needs
 * RFLAGS.IF, and so does STI's shadow (SDM vol. 3C 27.3.1.4, 27.3.1.5).
 */
static bool both_ok(struct clv_vcpu *vcpu, const struct cleave_regs *r,
		    const struct cleave_sregs *s, const struct cleave_events *ev)
{
	u8 type = ev ? ev->injected.type : vcpu->injected.type;
	u64 rflags;

	clv_regs_need(vcpu, (r ? 0 : CLV_REG_RIP) | CLV_REG_RFLAGS |
			    (s ? 0 : CLV_REG_SEGS | CLV_REG_CRS));
	rflags = r ? r->rflags : vcpu->regs.rflags;
	if ((r || s) && !regs_ok(vcpu, r ?: &vcpu->regs, s ?: &vcpu->sregs))
		return false;
	if (s && !sregs_ok(vcpu, s, rflags))
		return false;
	/* A new RFLAGS.VM asks for other segments than those that are there. */
	if (!s && ((rflags ^ vcpu->regs.rflags) & X86_EFLAGS_VM) &&
	    !segments_ok(vcpu, &vcpu->sregs, rflags))
		return false;
	if (rflags & X86_EFLAGS_IF)
		return true;
	return type != CLEAVE_EVENT_INTERRUPT && !(ev && (ev->shadow & CLEAVE_SHADOW_STI));
}

static void set_regs(struct clv_vcpu *vcpu, const struct cleave_regs *r)
{
	const u32 groups = CLV_REG_RIP | CLV_REG_RSP | CLV_REG_RFLAGS;
	u32 shadow;

	vcpu->regs = *r;
	vcpu->regs.rflags |= X86_EFLAGS_FIXED;
	vcpu->avail |= groups;
	vcpu->dirty |= groups;
	if (!(r->rflags & X86_EFLAGS_IF)) {
		shadow = clv_backend->shadow_get(vcpu);
		if (shadow & CLEAVE_SHADOW_STI)
			clv_backend->shadow_set(vcpu, shadow & ~CLEAVE_SHADOW_STI);
	}
}

/* s has passed sregs_ok(). */
static void set_sregs(struct clv_vcpu *vcpu, const struct cleave_sregs *s)
{
	WARN_ON_ONCE(clv_lapic_base_set(vcpu, s->apic_base, true));
	clv_lapic_cr8_set(vcpu, s->cr8);
	vcpu->sregs = *s;
	vcpu->sregs.cr0 |= X86_CR0_ET;
	vcpu->avail |= CLV_REG_SEGS | CLV_REG_CRS;
	vcpu->dirty |= CLV_REG_SEGS | CLV_REG_CRS;
	vcpu->pdptes_stale = true;	/* the guest's memory may come later */
	vcpu->flush_guest = true;
}

int clv_regs_take(struct clv_vcpu *vcpu, const struct cleave_regs *r, const struct cleave_sregs *s)
{
	if (!both_ok(vcpu, r, s, NULL))
		return -EINVAL;
	if (s)
		set_sregs(vcpu, s);
	if (r)
		set_regs(vcpu, r);
	return 0;
}

void clv_sregs_get(struct clv_vcpu *vcpu, struct cleave_sregs *s)
{
	clv_regs_need(vcpu, CLV_REG_SEGS | CLV_REG_CRS);
	*s = vcpu->sregs;
	s->cr8 = clv_lapic_cr8_get(vcpu);
	s->apic_base = clv_lapic_base_get(vcpu);
}

/* SDM vol. 1 13.3: AVX needs SSE, and AVX-512 is three components and AVX, or none. */
static bool xcr0_ok(struct clv_vcpu *vcpu, u64 xcr0)
{
	u64 avx512 = xcr0 & XFEATURE_MASK_AVX512;

	if ((xcr0 & ~vcpu->caps.xcr0_allowed) || !(xcr0 & XFEATURE_MASK_FP))
		return false;
	if ((xcr0 & XFEATURE_MASK_YMM) && !(xcr0 & XFEATURE_MASK_SSE))
		return false;
	return !avx512 || (avx512 == XFEATURE_MASK_AVX512 && (xcr0 & XFEATURE_MASK_YMM));
}

static bool mp_ok(const struct cleave_mp *mp)
{
	return mp->state <= CLEAVE_MP_SHUTDOWN && !mp->reserved[0] && !mp->reserved[1] &&
	       !mp->reserved[2];
}

int clv_state_get(struct clv_vcpu *vcpu, struct cleave_state *st)
{
	u64 groups = st->groups;

	lockdep_assert_held(&vcpu->mutex);
	if ((groups & ~ALL_GROUPS) || st->reserved)
		return -EINVAL;
	memset(st, 0, sizeof(*st));
	st->groups = groups;
	if (groups & CLEAVE_REGS) {
		clv_regs_need(vcpu, CLV_REG_RIP | CLV_REG_RSP | CLV_REG_RFLAGS);
		st->regs = vcpu->regs;
	}
	if (groups & CLEAVE_SREGS)
		clv_sregs_get(vcpu, &st->sregs);
	if (groups & CLEAVE_DEBUG) {
		clv_regs_need(vcpu, CLV_REG_DEBUG);
		st->debug = vcpu->debug;
	}
	if (groups & CLEAVE_XCRS)
		st->xcrs.xcr0 = vcpu->xcr0;
	if (groups & CLEAVE_EVENTS)
		clv_events_get(vcpu, &st->events);
	if (groups & CLEAVE_MP) {
		st->mp.state = vcpu->mp_state;
		st->mp.sipi_vector = READ_ONCE(vcpu->sipi_vector);
	}
	if (groups & CLEAVE_LAPIC)
		clv_lapic_get(vcpu, &st->lapic);
	return 0;
}

static int state_check(struct clv_vcpu *vcpu, const struct cleave_state *st)
{
	const u8 both = CLEAVE_SHADOW_STI | CLEAVE_SHADOW_MOV_SS;
	u64 groups = st->groups;

	if ((groups & ~ALL_GROUPS) || st->reserved)
		return -EINVAL;
	if ((groups & CLEAVE_EVENTS) &&
	    (clv_events_check(vcpu, &st->events) || (st->events.shadow & both) == both))
		return -EINVAL;
	if ((groups & (CLEAVE_REGS | CLEAVE_SREGS | CLEAVE_EVENTS)) &&
	    !both_ok(vcpu, groups & CLEAVE_REGS ? &st->regs : NULL,
		     groups & CLEAVE_SREGS ? &st->sregs : NULL,
		     groups & CLEAVE_EVENTS ? &st->events : NULL))
		return -EINVAL;
	if ((groups & CLEAVE_DEBUG) && ((st->debug.dr6 >> 32) || (st->debug.dr7 >> 32)))
		return -EINVAL;
	if ((groups & CLEAVE_XCRS) && !xcr0_ok(vcpu, st->xcrs.xcr0))
		return -EINVAL;
	if ((groups & CLEAVE_MP) && !mp_ok(&st->mp))
		return -EINVAL;
	return groups & CLEAVE_LAPIC ? clv_lapic_check(vcpu, &st->lapic) : 0;
}

static void set_debug(struct clv_vcpu *vcpu, const struct cleave_debug *d)
{
	vcpu->debug = *d;
	vcpu->debug.dr6 = (d->dr6 & DR6_WRITABLE) | DR6_FIXED;
	vcpu->debug.dr7 = (d->dr7 & DR7_WRITABLE) | DR7_FIXED;
	vcpu->avail |= CLV_REG_DEBUG;
	vcpu->dirty |= CLV_REG_DEBUG;
}

int clv_state_set(struct clv_vcpu *vcpu, const struct cleave_state *st)
{
	u64 groups = st->groups;

	lockdep_assert_held(&vcpu->mutex);
	if (state_check(vcpu, st))
		return -EINVAL;
	if (groups & CLEAVE_SREGS)
		set_sregs(vcpu, &st->sregs);
	if (groups & CLEAVE_REGS)
		set_regs(vcpu, &st->regs);
	if (groups & CLEAVE_DEBUG)
		set_debug(vcpu, &st->debug);
	if (groups & CLEAVE_XCRS)
		vcpu->xcr0 = st->xcrs.xcr0;
	if (groups & CLEAVE_EVENTS)
		clv_events_set(vcpu, &st->events);
	if (groups & CLEAVE_MP) {
		WRITE_ONCE(vcpu->mp_state, st->mp.state);
		WRITE_ONCE(vcpu->sipi_vector, st->mp.sipi_vector);
	}
	if (groups & CLEAVE_LAPIC)
		clv_lapic_set(vcpu, &st->lapic);
	return 0;
}

/* SDM vol. 3A table 10-1. mp_state, the FPU and the local APIC are their owners'. */
void clv_state_reset(struct clv_vcpu *vcpu, bool init)
{
	const struct cleave_segment data = { .limit = 0xffff, .ar = 0x93 };
	u32 eax = 1, ebx, ecx = 0, edx;
	struct cleave_sregs *s = &vcpu->sregs;
	u64 cr0 = X86_CR0_CD | X86_CR0_NW;

	if (init) {
		clv_regs_need(vcpu, CLV_REG_CRS);
		cr0 &= s->cr0;
	}
	vcpu->avail = CLV_REG_ALL;
	vcpu->dirty = CLV_REG_ALL;
	memset(&vcpu->regs, 0, sizeof(vcpu->regs));
	memset(s, 0, sizeof(*s));
	s->cs = data;
	s->cs.selector = 0xf000;
	s->cs.base = 0xffff0000;
	s->cs.ar = 0x9b;
	s->ds = data;
	s->es = data;
	s->fs = data;
	s->gs = data;
	s->ss = data;
	s->tr = (struct cleave_segment) { .limit = 0xffff, .ar = 0x8b };
	s->ldt = (struct cleave_segment) { .limit = 0xffff, .ar = 0x82 };
	s->gdt.limit = 0xffff;
	s->idt.limit = 0xffff;
	s->cr0 = cr0 | X86_CR0_ET;
	vcpu->debug = (struct cleave_debug) { .dr6 = DR6_FIXED, .dr7 = DR7_FIXED };
	vcpu->regs.rip = 0xfff0;
	vcpu->regs.rflags = X86_EFLAGS_FIXED;
	vcpu->flush_guest = true;
	vcpu->pending = CLV_PENDING_NONE;
	memset(&vcpu->injected, 0, sizeof(vcpu->injected));
	memset(&vcpu->exception, 0, sizeof(vcpu->exception));
	vcpu->nmi_pending = 0;
	vcpu->extint = 0;
	clv_cpuid_query(vcpu, &eax, &ebx, &ecx, &edx);
	vcpu->regs.rdx = eax;
	if (init) {
		clv_backend->shadow_set(vcpu, 0);
		clv_backend->nmi_masked_set(vcpu, false);
	} else {
		clv_msr_reset(vcpu);
	}
}

/* EFER.LMA follows CR0.PG (SDM vol. 3A 10.8.5). */
static void update_lma(struct clv_vcpu *vcpu)
{
	struct cleave_sregs *s = &vcpu->sregs;

	s->efer &= ~(u64)EFER_LMA;
	if ((s->efer & EFER_LME) && (s->cr0 & X86_CR0_PG))
		s->efer |= EFER_LMA;
}

/*
 * PAE paging outside long mode: what the CPU does with the four PDPTEs when a
 * control register is written (SDM vol. 3A 4.4.1). What is not memory holds none.
 */
static int pdptes_take(struct clv_vcpu *vcpu, u64 cr0, u64 cr3, u64 cr4)
{
	u64 reserved = ~0ULL << vcpu->caps.maxphyaddr | PDPTE_RESERVED;
	u64 pdpte[4];
	int i;

	if (!(cr0 & X86_CR0_PG) || !(cr4 & X86_CR4_PAE) || (vcpu->sregs.efer & EFER_LME))
		return 0;
	if (clv_mem_read(vcpu->vm, cr3 & 0xffffffe0, pdpte, sizeof(pdpte)))
		memset(pdpte, 0, sizeof(pdpte));
	for (i = 0; i < 4; i++)
		if ((pdpte[i] & 1) && (pdpte[i] & reserved))
			return -EINVAL;
	memcpy(vcpu->pdpte, pdpte, sizeof(pdpte));
	return 0;
}

/* After user space has set the registers: those it set wrong are not present. */
void clv_pdptes_load(struct clv_vcpu *vcpu)
{
	const struct cleave_sregs *s = &vcpu->sregs;

	vcpu->pdptes_stale = false;
	clv_regs_touch(vcpu, CLV_REG_CRS);
	if (pdptes_take(vcpu, s->cr0, s->cr3, s->cr4))
		memset(vcpu->pdpte, 0, sizeof(vcpu->pdpte));
}

int clv_cr0_write(struct clv_vcpu *vcpu, u64 val)
{
	struct cleave_sregs *s = &vcpu->sregs;
	bool pg = val & X86_CR0_PG;

	clv_regs_need(vcpu, CLV_REG_CRS);
	if (!cr0_ok(val))
		return -EINVAL;
	if (pg != !!(s->cr0 & X86_CR0_PG)) {
		bool code64 = clv_code64(vcpu);

		clv_regs_need(vcpu, CLV_REG_SEGS);
		/* SDM vol. 3A 10.8.5.1: not from a 64-bit segment, nor with a 16-bit TSS. */
		if (pg && (s->efer & EFER_LME) &&
		    (!(s->cr4 & X86_CR4_PAE) || (s->cs.ar & CLEAVE_AR_L) || ar_type(&s->tr) == 3))
			return -EINVAL;
		if (!pg && (code64 || (s->cr4 & X86_CR4_PCIDE)))
			return -EINVAL;
		vcpu->flush_guest = true;
	}
	if (pdptes_take(vcpu, val, s->cr3, s->cr4))
		return -EINVAL;
	s->cr0 = (val & CR0_BITS) | X86_CR0_ET;
	update_lma(vcpu);
	vcpu->dirty |= CLV_REG_CRS;
	return 0;
}

int clv_cr3_write(struct clv_vcpu *vcpu, u64 val)
{
	bool keep = false;

	clv_regs_touch(vcpu, CLV_REG_CRS);
	if (vcpu->sregs.cr4 & X86_CR4_PCIDE) {
		keep = val & CR3_NOFLUSH;
		val &= ~CR3_NOFLUSH;
	}
	if (!clv_code64(vcpu))
		val = (u32)val;
	if (!cr3_ok(vcpu, val) || pdptes_take(vcpu, vcpu->sregs.cr0, val, vcpu->sregs.cr4))
		return -EINVAL;
	vcpu->sregs.cr3 = val;
	vcpu->flush_guest |= !keep;
	return 0;
}

int clv_cr4_write(struct clv_vcpu *vcpu, u64 val)
{
	struct cleave_sregs *s = &vcpu->sregs;
	u64 changed;
	bool lma;

	clv_regs_need(vcpu, CLV_REG_CRS);
	changed = val ^ s->cr4;
	lma = s->efer & EFER_LMA;
	if (val & vcpu->caps.cr4_reserved)
		return -EINVAL;
	/* SDM vol. 2B "MOV - Move to/from Control Registers" */
	if (lma && (!(val & X86_CR4_PAE) || (changed & X86_CR4_LA57)))
		return -EINVAL;
	if ((changed & val & X86_CR4_PCIDE) && (!lma || (s->cr3 & 0xfff)))
		return -EINVAL;
	if (pdptes_take(vcpu, s->cr0, s->cr3, val))
		return -EINVAL;
	s->cr4 = val;
	vcpu->dirty |= CLV_REG_CRS;
	if (changed & CR4_FLUSH)
		vcpu->flush_guest = true;
	return 0;
}

int clv_efer_write(struct clv_vcpu *vcpu, u64 val)
{
	struct cleave_sregs *s = &vcpu->sregs;
	u64 changed;

	clv_regs_need(vcpu, CLV_REG_CRS);
	changed = val ^ s->efer;
	if (val & vcpu->caps.efer_reserved)
		return -EINVAL;
	if ((changed & EFER_LME) && (s->cr0 & X86_CR0_PG))
		return -EINVAL;
	s->efer = (val & ~(u64)EFER_LMA) | (s->efer & EFER_LMA);
	vcpu->dirty |= CLV_REG_CRS;
	if (changed & EFER_NX)
		vcpu->flush_guest = true;
	return 0;
}

int clv_xcr0_write(struct clv_vcpu *vcpu, u64 val)
{
	if (!xcr0_ok(vcpu, val))
		return -EINVAL;
	vcpu->xcr0 = val;
	return 0;
}
