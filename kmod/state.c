// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: guest registers: read, checked, set, reset; writes to control registers. What user space
 * may set is what both VT-x and AMD-V enter with (SDM vol. 3C 27.3.1, APM vol. 2 15.5.1): a state
 * taken from one runs on the other. PDPTEs are not part of it: they are in memory.
 */
#include "backend.h"

#define CR0_BITS	(X86_CR0_PE | X86_CR0_MP | X86_CR0_EM | X86_CR0_TS | X86_CR0_ET | \
			 X86_CR0_NE | X86_CR0_WP | X86_CR0_AM | X86_CR0_NW | X86_CR0_CD | \
			 X86_CR0_PG)
#define CR4_FLUSH	(X86_CR4_PSE | X86_CR4_PAE | X86_CR4_PGE | X86_CR4_PCIDE | \
			 X86_CR4_SMEP | X86_CR4_SMAP | X86_CR4_LA57)
#define RFLAGS_RESERVED	(~0ULL << 22 | BIT(15) | BIT(5) | BIT(3))
#define PDPTE_RESERVED	0x1e6ULL
#define PDPTE_ACCESSED	BIT_ULL(5)	/* QEMU's AMD-V sets it */
#define DR6_FIXED	0xffff0ff0ULL
#define DR7_WRITABLE	0xffff23ffULL
#define DR7_FIXED	0x400ULL
#define AR_RESERVED	0xfffe0f00
#define AR_L_DB		(CLEAVE_AR_L | CLEAVE_AR_DB)
#define AR_CONFORMING	4
#define AR_VM86		0xf3
#define ALL_GROUPS	(CLEAVE_REGS | CLEAVE_SREGS | CLEAVE_DEBUG | CLEAVE_XCRS | \
			 CLEAVE_EVENTS | CLEAVE_MP | CLEAVE_LAPIC)

#define CODE_TYPES	(BIT(9) | BIT(11) | BIT(13) | BIT(15) | BIT(3))
#define DATA_TYPES	(BIT(1) | BIT(3) | BIT(5) | BIT(7) | BIT(11) | BIT(15))

/* SDM vol. 3C 27.3.1.2 for an unrestricted guest, in the order of struct cleave_sregs. */
static const struct seg_rule {
	u32 types;		/* that may be in AR: accessed, and readable if code */
	u32 s;			/* CLEAVE_AR_S, or a system segment */
	bool needed;		/* cannot be unusable */
	bool base64;		/* canonical; else below 4 GiB */
} seg_rules[8] = {
	{ CODE_TYPES, CLEAVE_AR_S, .needed = true },		/* CS */
	{ DATA_TYPES, CLEAVE_AR_S },				/* DS */
	{ DATA_TYPES, CLEAVE_AR_S },				/* ES */
	{ DATA_TYPES, CLEAVE_AR_S, .base64 = true },		/* FS */
	{ DATA_TYPES, CLEAVE_AR_S, .base64 = true },		/* GS */
	{ BIT(3) | BIT(7), CLEAVE_AR_S },			/* SS */
	{ BIT(3) | BIT(11), 0, .needed = true, .base64 = true },	/* TR */
	{ BIT(2), 0, .base64 = true },				/* LDTR */
};

static u8 ar_type(const struct cleave_segment *s)
{
	return s->ar & CLEAVE_AR_TYPE;
}

static bool segment_ok(struct clv_vcpu *vcpu, const struct cleave_segment *s,
		       const struct seg_rule *r)
{
	if ((s->ar & AR_RESERVED) || memchr_inv(s->reserved, 0, sizeof(s->reserved)))
		return false;
	if (s->ar & CLEAVE_AR_UNUSABLE)
		return !r->needed;
	if (!(BIT(ar_type(s)) & r->types) || !(s->ar & CLEAVE_AR_P) ||
	    (s->ar & CLEAVE_AR_S) != r->s || (!r->s && (s->selector & 4)))
		return false;
	/* 4 KiB cannot end inside a page, bytes cannot reach beyond 1 MiB. */
	if (s->ar & CLEAVE_AR_G ? ~s->limit & 0xfff : s->limit >> 20)
		return false;
	return r->base64 ? clv_canonical(vcpu, s->base) : !(s->base >> 32);
}

static bool segments_ok(struct clv_vcpu *vcpu, const struct cleave_sregs *s, u64 rflags)
{
	const struct cleave_segment *cs = &s->cs, *seg = cs;	/* cs to ldt: eight in a row */
	u8 dpl = cs->ar & CLEAVE_AR_DPL, cpl = s->ss.ar & CLEAVE_AR_DPL;	/* in place: 6:5 */
	bool lma = s->efer & EFER_LMA;
	int i;

	for (i = 0; i < 8; i++)
		if (!segment_ok(vcpu, &seg[i], &seg_rules[i]))
			return false;
	/* These bases are there even if the segments are unusable. */
	if (!clv_canonical(vcpu, s->fs.base) || !clv_canonical(vcpu, s->gs.base))
		return false;
	if (lma && (ar_type(&s->tr) == 3 || (cs->ar & AR_L_DB) == AR_L_DB))
		return false;
	if (rflags & X86_EFLAGS_VM) {
		for (i = 0; i < 6; i++)
			if (seg[i].base != seg[i].selector << 4 || seg[i].limit != 0xffff ||
			    seg[i].ar != AR_VM86)
				return false;
		return true;
	}
	if (!(s->cr0 & X86_CR0_PE) && cpl)
		return false;
	if (ar_type(cs) == 3)
		return dpl == 0 && cpl == 0;
	return ar_type(cs) & AR_CONFORMING ? dpl <= cpl : dpl == cpl;
}

static bool dtable_ok(struct clv_vcpu *vcpu, const struct cleave_dtable *d)
{
	return clv_canonical(vcpu, d->base) && !memchr_inv(d->reserved, 0, sizeof(d->reserved));
}

static bool cr0_ok(u64 cr0)
{
	return !(cr0 >> 32) && (!(cr0 & X86_CR0_PG) || (cr0 & X86_CR0_PE)) &&
	       (!(cr0 & X86_CR0_NW) || (cr0 & X86_CR0_CD));
}

/* SDM vol. 3A 4.1.1, 4.10.1: what long mode asks of CR4, and what asks for it. */
static bool cr4_fits(u64 cr4, bool lma)
{
	return lma ? cr4 & X86_CR4_PAE : !(cr4 & X86_CR4_PCIDE);
}

static bool sregs_ok(struct clv_vcpu *vcpu, const struct cleave_sregs *s, u64 rflags)
{
	bool lma = s->efer & EFER_LMA;

	if (!cr0_ok(s->cr0) || (s->cr0 & ~(u64)CR0_BITS) || s->cr3 >> vcpu->caps.maxphyaddr ||
	    (s->cr4 & vcpu->caps.cr4_reserved) || (s->efer & vcpu->caps.efer_reserved) ||
	    lma != ((s->efer & EFER_LME) && (s->cr0 & X86_CR0_PG)) || !cr4_fits(s->cr4, lma))
		return false;
	return segments_ok(vcpu, s, rflags) && dtable_ok(vcpu, &s->gdt) && s->cr8 <= 15 &&
	       dtable_ok(vcpu, &s->idt) && !clv_lapic_base_check(vcpu, s->apic_base, true);
}

/* RIP and RFLAGS, SDM vol. 3C 27.3.1.4. */
static bool regs_ok(struct clv_vcpu *vcpu, const struct cleave_regs *r,
		    const struct cleave_sregs *s)
{
	bool lma = s->efer & EFER_LMA;

	if ((r->rflags & RFLAGS_RESERVED) ||
	    ((r->rflags & X86_EFLAGS_VM) && (lma || !(s->cr0 & X86_CR0_PE))))
		return false;
	return lma && (s->cs.ar & CLEAVE_AR_L) ? clv_canonical(vcpu, r->rip) : !(r->rip >> 32);
}

/*
 * The registers as they would be then. An interrupt on its way needs RFLAGS.IF, and so does STI's
 * shadow (SDM vol. 3C 27.3.1.4, 27.3.1.5); 64-bit code has no #OF and #BR (APM vol. 2 15.20).
 */
static bool both_ok(struct clv_vcpu *vcpu, const struct cleave_regs *r,
		    const struct cleave_sregs *s, const struct cleave_events *ev)
{
	const struct cleave_events *e = ev ?: &vcpu->events;
	const struct cleave_sregs *sregs = s ?: &vcpu->sregs;
	u64 rflags = r ? r->rflags : vcpu->regs.rflags;

	clv_regs_need(vcpu, CLV_REG_SEGS | CLV_REG_CRS);
	if ((r || s) && !regs_ok(vcpu, r ?: &vcpu->regs, sregs))
		return false;
	if ((sregs->efer & EFER_LMA) && (sregs->cs.ar & CLEAVE_AR_L) &&
	    ((e->exception.vector | 1) == X86_TRAP_BR || ((e->injected.vector | 1) == X86_TRAP_BR &&
	      e->injected.type == CLEAVE_EVENT_EXCEPTION)))
		return false;
	/* A new RFLAGS.VM alone asks for other segments than those that are there. */
	if (!(s ? sregs_ok(vcpu, s, rflags) :
	      !((rflags ^ vcpu->regs.rflags) & X86_EFLAGS_VM) || segments_ok(vcpu, sregs, rflags)))
		return false;
	if (rflags & X86_EFLAGS_IF)
		return true;
	return e->injected.type != CLEAVE_EVENT_INTERRUPT &&
	       !(ev && (ev->shadow & CLEAVE_SHADOW_STI));
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

	if ((xcr0 & ~vcpu->caps.xcr0_allowed) || !(xcr0 & XFEATURE_MASK_FP) ||
	    ((xcr0 & XFEATURE_MASK_YMM) && !(xcr0 & XFEATURE_MASK_SSE)))
		return false;
	return !avx512 || (avx512 == XFEATURE_MASK_AVX512 && (xcr0 & XFEATURE_MASK_YMM));
}

int clv_state_get(struct clv_vcpu *vcpu, struct cleave_state *st)
{
	u64 groups = st->groups;

	lockdep_assert_held(&vcpu->mutex);
	if ((groups & ~ALL_GROUPS) || st->reserved)
		return -EINVAL;
	memset(st, 0, sizeof(*st));
	st->groups = groups;
	if (groups & CLEAVE_REGS)
		st->regs = vcpu->regs;
	if (groups & CLEAVE_SREGS)
		clv_sregs_get(vcpu, &st->sregs);
	if (groups & CLEAVE_DEBUG)
		st->debug = vcpu->debug;
	if (groups & CLEAVE_XCRS)
		st->xcrs.xcr0 = vcpu->xcr0;
	if (groups & CLEAVE_EVENTS) {
		clv_events_take_nmis(vcpu);
		st->events = vcpu->events;
	}
	if (groups & CLEAVE_MP) {
		st->mp.state = vcpu->mp_state;
		st->mp.sipi_vector = READ_ONCE(vcpu->sipi_vector);
		st->mp.kicked = READ_ONCE(vcpu->pv.kicked);
	}
	if (groups & CLEAVE_LAPIC)
		clv_lapic_get(vcpu, &st->lapic);
	return 0;
}

/* Nothing is set before all is checked. */
int clv_state_set(struct clv_vcpu *vcpu, const struct cleave_state *st)
{
	u64 groups = st->groups;
	const struct cleave_regs *r = groups & CLEAVE_REGS ? &st->regs : NULL;
	const struct cleave_sregs *s = groups & CLEAVE_SREGS ? &st->sregs : NULL;
	const struct cleave_events *ev = groups & CLEAVE_EVENTS ? &st->events : NULL;

	lockdep_assert_held(&vcpu->mutex);
	if ((groups & ~ALL_GROUPS) || st->reserved || (ev && !clv_events_ok(ev)) ||
	    ((r || s || ev) && !both_ok(vcpu, r, s, ev)) ||
	    ((groups & CLEAVE_DEBUG) && ((st->debug.dr6 >> 32) || (st->debug.dr7 >> 32))) ||
	    ((groups & CLEAVE_XCRS) && !xcr0_ok(vcpu, st->xcrs.xcr0)) ||
	    ((groups & CLEAVE_MP) && (st->mp.state > CLEAVE_MP_SHUTDOWN || st->mp.kicked > 1 ||
				      memchr_inv(st->mp.reserved, 0, sizeof(st->mp.reserved)))) ||
	    ((groups & CLEAVE_LAPIC) && clv_lapic_check(vcpu, &st->lapic)))
		return -EINVAL;
	if (s) {
		WARN_ON_ONCE(clv_lapic_base_set(vcpu, s->apic_base, true));
		clv_lapic_cr8_set(vcpu, s->cr8);
		clv_regs_touch(vcpu, CLV_REG_SEGS | CLV_REG_CRS);
		vcpu->sregs = *s;
		vcpu->sregs.cr0 |= X86_CR0_ET;
		vcpu->pdptes_stale = true;	/* the guest's memory may come later */
		vcpu->flush = true;
	}
	if (r) {
		vcpu->dirty |= CLV_REG_RIP | CLV_REG_RSP | CLV_REG_RFLAGS;
		vcpu->regs = *r;
		vcpu->regs.rflags |= X86_EFLAGS_FIXED;
		if (!(r->rflags & X86_EFLAGS_IF))
			vcpu->events.shadow &= ~CLEAVE_SHADOW_STI;
		vcpu->pending = CLV_PENDING_NONE;	/* it was for the old ones */
	}
	if (groups & CLEAVE_DEBUG) {
		clv_regs_touch(vcpu, CLV_REG_DEBUG);
		vcpu->debug = st->debug;
		vcpu->debug.dr6 = (st->debug.dr6 & CLV_DR6_EVENTS) | DR6_FIXED;
		vcpu->debug.dr7 = (st->debug.dr7 & DR7_WRITABLE) | DR7_FIXED;
	}
	if (groups & CLEAVE_XCRS)
		vcpu->xcr0 = st->xcrs.xcr0;
	if (ev)
		clv_events_set(vcpu, ev);
	if (groups & CLEAVE_MP) {
		WRITE_ONCE(vcpu->mp_state, st->mp.state);
		WRITE_ONCE(vcpu->sipi_vector, st->mp.sipi_vector);
		WRITE_ONCE(vcpu->pv.kicked, st->mp.kicked);
	}
	if (groups & CLEAVE_LAPIC)
		clv_lapic_set(vcpu, &st->lapic);
	return 0;
}

#define RESET_SEG(type)	{ .limit = 0xffff, .ar = (type) }

static const struct cleave_sregs sregs_reset = {
	.cs = { .base = 0xffff0000, .limit = 0xffff, .ar = 0x9b, .selector = 0xf000 },
	.ds = RESET_SEG(0x93), .es = RESET_SEG(0x93), .ss = RESET_SEG(0x93),
	.fs = RESET_SEG(0x93), .gs = RESET_SEG(0x93), .tr = RESET_SEG(0x8b), .ldt = RESET_SEG(0x82),
	.gdt.limit = 0xffff, .idt.limit = 0xffff, .cr0 = X86_CR0_CD | X86_CR0_NW | X86_CR0_ET,
};

/* SDM vol. 3A table 10-1. mp_state, the FPU and the local APIC are their owners'. */
void clv_state_reset(struct clv_vcpu *vcpu, bool init)
{
	struct cleave_cpuid_entry version = { .leaf = 1 };
	u64 cr0 = sregs_reset.cr0;

	if (init) {	/* the cache stays as it is */
		clv_regs_need(vcpu, CLV_REG_CRS);
		cr0 &= vcpu->sregs.cr0 | X86_CR0_ET;
	}
	vcpu->avail = CLV_REG_ALL;
	vcpu->dirty = CLV_REG_ALL;
	vcpu->sregs = sregs_reset;
	vcpu->sregs.cr0 = cr0;
	vcpu->debug = (struct cleave_debug) { .dr6 = DR6_FIXED, .dr7 = DR7_FIXED };
	vcpu->flush = true;
	vcpu->pending = CLV_PENDING_NONE;
	memset(&vcpu->events, 0, sizeof(vcpu->events));
	clv_pv_reset(vcpu);
	clv_cpuid_query(vcpu, &version);
	vcpu->regs = (struct cleave_regs) {
		.rip = 0xfff0, .rflags = X86_EFLAGS_FIXED, .rdx = version.eax };
	if (!init)
		clv_msr_reset(vcpu);
}

/*
 * PAE paging outside long mode: what the CPU does with the four PDPTEs when CR0 or CR4 is written
 * (SDM vol. 3A 4.4.1), as it does itself at a MOV to CR3. What is not memory holds none.
 */
static int pdptes_take(struct clv_vcpu *vcpu, u64 cr0, u64 cr4)
{
	u64 reserved = ~0ULL << vcpu->caps.maxphyaddr | PDPTE_RESERVED;
	u64 pdpte[4];
	int i;

	if (clv_backend->vendor == CLEAVE_VENDOR_SVM)
		reserved &= ~PDPTE_ACCESSED;
	if (!(cr0 & X86_CR0_PG) || !(cr4 & X86_CR4_PAE) || (vcpu->sregs.efer & EFER_LME))
		return 0;
	if (clv_mem_read(vcpu->vm, vcpu->sregs.cr3 & 0xffffffe0, pdpte, sizeof(pdpte)))
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
	if (pdptes_take(vcpu, s->cr0, s->cr4))
		memset(vcpu->pdpte, 0, sizeof(vcpu->pdpte));
}

/* The last checks, and the change: EFER.LMA follows CR0.PG (SDM vol. 3A 10.8.5). */
static int crs_take(struct clv_vcpu *vcpu, u64 cr0, u64 cr4)
{
	struct cleave_sregs *s = &vcpu->sregs;
	bool lma = (s->efer & EFER_LME) && (cr0 & X86_CR0_PG);

	if (!cr4_fits(cr4, lma) || pdptes_take(vcpu, cr0, cr4))
		return -EINVAL;
	if (((cr0 ^ s->cr0) & X86_CR0_PG) || ((cr4 ^ s->cr4) & CR4_FLUSH))
		vcpu->flush = true;
	s->cr0 = cr0;
	s->cr4 = cr4;
	s->efer = (s->efer & ~(u64)EFER_LMA) | (lma ? EFER_LMA : 0);
	vcpu->dirty |= CLV_REG_CRS;
	return 0;
}

/* SDM vol. 3A 10.8.5: PG changes neither in a 64-bit segment, nor with a 16-bit TSS. */
int clv_cr0_write(struct clv_vcpu *vcpu, u64 val)
{
	struct cleave_sregs *s = &vcpu->sregs;

	clv_regs_need(vcpu, CLV_REG_CRS);
	if (!cr0_ok(val))
		return -EINVAL;
	if (((val ^ s->cr0) & X86_CR0_PG) && (s->efer & EFER_LME)) {
		clv_regs_need(vcpu, CLV_REG_SEGS);
		if ((s->cs.ar & CLEAVE_AR_L) || ((val & X86_CR0_PG) && ar_type(&s->tr) == 3))
			return -EINVAL;
	}
	return crs_take(vcpu, (val & CR0_BITS) | X86_CR0_ET, s->cr4);
}

/* SDM vol. 2B "MOV - Move to/from Control Registers" */
int clv_cr4_write(struct clv_vcpu *vcpu, u64 val)
{
	struct cleave_sregs *s = &vcpu->sregs;
	u64 changed;

	clv_regs_need(vcpu, CLV_REG_CRS);
	changed = val ^ s->cr4;
	if ((val & vcpu->caps.cr4_reserved) || ((changed & X86_CR4_LA57) && (s->efer & EFER_LMA)) ||
	    ((changed & val & X86_CR4_PCIDE) && (s->cr3 & 0xfff)))
		return -EINVAL;
	return crs_take(vcpu, s->cr0, val);
}

int clv_efer_write(struct clv_vcpu *vcpu, u64 val)
{
	struct cleave_sregs *s = &vcpu->sregs;
	u64 changed;

	clv_regs_need(vcpu, CLV_REG_CRS);
	changed = val ^ s->efer;
	if ((val & vcpu->caps.efer_reserved) || ((changed & EFER_LME) && (s->cr0 & X86_CR0_PG)))
		return -EINVAL;
	s->efer = (val & ~(u64)EFER_LMA) | (s->efer & EFER_LMA);
	vcpu->dirty |= CLV_REG_CRS;
	if (changed & EFER_NX)
		vcpu->flush = true;
	return 0;
}

int clv_xcr0_write(struct clv_vcpu *vcpu, u64 val)
{
	if (!xcr0_ok(vcpu, val))
		return -EINVAL;
	vcpu->xcr0 = val;
	return 0;
}
