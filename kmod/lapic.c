// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: the local APIC, SDM vol. 3A chapter 11, APM vol. 2 chapter 16.
 *
 * The register file belongs to vcpu->mutex. What other vCPUs, message senders
 * and the timer touch are IRR and TMR bits, the pending errors, irr_pending
 * and timer_fired, all atomically; they read TPR, LDR, DFR, SVR, the error
 * LVT and the base as they find them, like messages on a bus would.
 * A sender sets TMR before IRR, IRR before irr_pending, and that before
 * CLV_REQ_EVENT; the vCPU looks in the opposite order.
 *
 * Offered: version 0x14, six LVT entries, no CMCI, no suppression of EOI
 * broadcasts (SVR bit 12 is reserved). The APIC id is the vCPU's id and
 * read-only. The page stays at 0xfee00000: another base is #GP, as for an
 * address that the bus does not decode.
 */
#include <linux/hrtimer.h>
#include <linux/ktime.h>
#include <linux/lockdep.h>
#include <linux/math64.h>
#include <linux/slab.h>
#include <asm/apicdef.h>
#include <asm/msr-index.h>
#include <asm/tsc.h>
#include "clv.h"

#define LAPIC_VERSION	0x00050014
#define X2APIC_MSR	0x800
#define VECTOR_WORDS	(256 / 64)
#define TIMER_MODE	(3 << 17)

/*
 * The bus clock is 1 GHz, so that a tick is a nanosecond. A period below
 * MIN_PERIOD_NS is taken as that long: a guest cannot make the host program
 * its own timer every few nanoseconds. Ticks missed meanwhile become one.
 */
#define MIN_PERIOD_NS	20000

struct clv_lapic {
	u64 base;			/* a: v to change */
	u32 regs[64];			/* a: v to change; the plain registers, by offset / 16 */
	u32 icr_high;			/* v: x2APIC mode */
	unsigned long irr[VECTOR_WORDS]; /* a */
	unsigned long tmr[VECTOR_WORDS]; /* a */
	unsigned long isr[VECTOR_WORDS]; /* v */
	unsigned long eoi[VECTOR_WORDS]; /* v: level-triggered EOIs that nobody took yet */
	int nr_eoi;			/* v: bits in eoi */
	int isr_high;			/* a: v to change; highest vector in service, or -1 */
	bool irr_pending;		/* a: false only if irr is empty */
	atomic_t esr_pending;		/* a: errors since ESR was written */
	int timer_fired;		/* a: look at the timer */
	struct hrtimer timer;		/* its callback only says "look" */
	ktime_t target;			/* v: when the count reaches 0, or 0 if it is stopped */
	u64 tsc_deadline;		/* v */
	struct clv_vcpu *vcpu;		/* c */
};

static bool take_fixed(struct clv_vcpu *vcpu, u8 vector, bool level);

static u32 reg(const struct clv_lapic *l, u32 off)
{
	return READ_ONCE(l->regs[off >> 4]);
}

static void reg_put(struct clv_lapic *l, u32 off, u32 val)
{
	WRITE_ONCE(l->regs[off >> 4], val);
}

static bool is_enabled(const struct clv_lapic *l)
{
	return READ_ONCE(l->base) & MSR_IA32_APICBASE_ENABLE;
}

static bool is_x2apic(const struct clv_lapic *l)
{
	return READ_ONCE(l->base) & X2APIC_ENABLE;
}

/* Takes fixed interrupts; NMI, INIT and SIPI come through in any case (11.4.7.2). */
static bool takes_fixed(const struct clv_lapic *l)
{
	return is_enabled(l) && (reg(l, APIC_SPIV) & APIC_SPIV_APIC_ENABLED);
}

static int highest(const unsigned long *bits)
{
	unsigned long w;
	int i;

	for (i = VECTOR_WORDS - 1; i >= 0; i--) {
		w = READ_ONCE(bits[i]);
		if (w)
			return i * 64 + __fls(w);
	}
	return -1;
}

/* 11.8.3.1 */
static u32 ppr(const struct clv_lapic *l)
{
	int isr_high = READ_ONCE(l->isr_high);
	u32 isrv = isr_high < 0 ? 0 : isr_high;
	u32 tpr = reg(l, APIC_TASKPRI);

	return tpr >> 4 >= isrv >> 4 ? tpr : isrv & 0xf0;
}

/* 11.12.10.2 */
static u32 x2apic_ldr(u32 id)
{
	return (id >> 4) << 16 | 1U << (id & 0xf);
}

/*
 * v held, irr just emptied or about to be read as empty: whoever sets a bit
 * that is not seen here sets irr_pending after our store.
 */
static void irr_settle(struct clv_lapic *l)
{
	WRITE_ONCE(l->irr_pending, false);
	smp_mb(); /* pairs with test_and_set_bit() in take_fixed() */
	if (highest(l->irr) >= 0)
		WRITE_ONCE(l->irr_pending, true);
}

/* TPR or ISR went down: the run loop looks again. */
static void recheck(struct clv_vcpu *vcpu)
{
	if (clv_lapic_pending(vcpu) >= 0)
		set_bit(CLV_REQ_EVENT, &vcpu->requests);
}

/* Of the vCPU's own sources: those that are edge-triggered and fixed. */
static void lvt_fire(struct clv_vcpu *vcpu, u32 off)
{
	u32 lvt = reg(vcpu->lapic, off);

	if (!(lvt & APIC_LVT_MASKED))
		take_fixed(vcpu, lvt, false);
}

/* 11.5.3: one error interrupt until ESR is written. Any context. */
static void set_error(struct clv_vcpu *vcpu, u32 error)
{
	if (!atomic_fetch_or(error, &vcpu->lapic->esr_pending))
		lvt_fire(vcpu, APIC_LVTERR);
}

/* Any context. set_error() comes back here once at most. */
static bool take_fixed(struct clv_vcpu *vcpu, u8 vector, bool level)
{
	struct clv_lapic *l = vcpu->lapic;

	if (!takes_fixed(l))
		return false;
	if (vector < 16) {
		set_error(vcpu, APIC_ESR_RECVILL);
		return false;
	}
	if (level != test_bit(vector, l->tmr)) {
		if (level)
			set_bit(vector, l->tmr);
		else
			clear_bit(vector, l->tmr);
	}
	/* Fully ordered: TMR before, irr_pending after. */
	test_and_set_bit(vector, l->irr);
	WRITE_ONCE(l->irr_pending, true);
	smp_mb__before_atomic(); /* the request shows what was stored */
	clv_vcpu_request(vcpu, CLV_REQ_EVENT);
	return true;
}

int clv_lapic_pending(struct clv_vcpu *vcpu)
{
	struct clv_lapic *l = vcpu->lapic;
	int vector;

	if (likely(!READ_ONCE(l->irr_pending)))
		return -1;
	vector = highest(l->irr);
	if (vector < 0 || vector >> 4 <= ppr(l) >> 4 || !is_enabled(l))
		return -1;
	return vector;
}

void clv_lapic_ack(struct clv_vcpu *vcpu, u8 vector)
{
	struct clv_lapic *l = vcpu->lapic;

	clear_bit(vector, l->irr);
	__set_bit(vector, l->isr);
	WRITE_ONCE(l->isr_high, vector);
	if (highest(l->irr) < 0)
		irr_settle(l);
}

static void eoi(struct clv_vcpu *vcpu)
{
	struct clv_lapic *l = vcpu->lapic;
	int vector = l->isr_high;

	if (vector < 0)
		return;
	__clear_bit(vector, l->isr);
	WRITE_ONCE(l->isr_high, highest(l->isr));
	if (test_bit(vector, l->tmr) && !__test_and_set_bit(vector, l->eoi))
		l->nr_eoi++;
	recheck(vcpu);
}

int clv_lapic_take_eoi(struct clv_vcpu *vcpu)
{
	struct clv_lapic *l = vcpu->lapic;
	int vector;

	if (likely(!l->nr_eoi))
		return -1;
	vector = highest(l->eoi);
	__clear_bit(vector, l->eoi);
	l->nr_eoi--;
	return vector;
}

struct msg {
	u32 dest;
	u32 shorthand;		/* APIC_DEST_SELF, ALLINC, ALLBUT or 0 */
	u32 mode;		/* APIC_DM_* */
	u8 vector;
	bool logical;
	bool level;
	bool lowest;		/* to one of those that match */
};

/* 11.6.2, 11.12.10. The receiver's mode says how it reads the destination. */
static bool matches(const struct clv_vcpu *vcpu, const struct clv_vcpu *src, const struct msg *m)
{
	const struct clv_lapic *l = vcpu->lapic;
	u32 ldr, dest = m->dest;

	if (m->shorthand)
		return m->shorthand == APIC_DEST_ALLINC ||
		       (m->shorthand == APIC_DEST_SELF) == (vcpu == src);
	if (dest == U32_MAX)
		return true;
	if (is_x2apic(l)) {
		ldr = x2apic_ldr(vcpu->id);
		return m->logical ? dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff) :
				    dest == vcpu->id;
	}
	if (dest >= 0xff)
		return dest == 0xff;
	if (!m->logical)
		return dest == vcpu->id;
	ldr = reg(l, APIC_LDR) >> 24;
	switch (reg(l, APIC_DFR) >> 28) {
	case 0xf:
		return dest & ldr;
	case 0:
		return dest >> 4 == ldr >> 4 && (dest & ldr & 0xf);
	default:
		return false;
	}
}

/*
 * 11.6.2.4: the lowest processor priority gets it. Where to begin follows the
 * vector, so that among equals not always the first does.
 */
static struct clv_vcpu *arbitrate(struct clv_vm *vm, const struct clv_vcpu *src,
				  const struct msg *m)
{
	u32 i, p, n = smp_load_acquire(&vm->nr_vcpus), least = U32_MAX;
	struct clv_vcpu *vcpu, *best = NULL;

	for (i = 0; i < n; i++) {
		vcpu = clv_vcpu_by_id(vm, (m->vector + i) % n);
		if (!vcpu || !takes_fixed(vcpu->lapic) || !matches(vcpu, src, m))
			continue;
		p = ppr(vcpu->lapic);
		if (p < least) {
			least = p;
			best = vcpu;
		}
	}
	return best;
}

/* 1 if it was taken. SMI, remote read and ExtINT have nobody here to take them. */
static int deliver(struct clv_vcpu *vcpu, const struct msg *m)
{
	switch (m->mode) {
	case APIC_DM_FIXED:
	case APIC_DM_LOWEST:
		return take_fixed(vcpu, m->vector, m->level);
	case APIC_DM_NMI:
		atomic_inc(&vcpu->nmi_queued);
		smp_mb__before_atomic(); /* the request shows the count */
		clv_vcpu_request(vcpu, CLV_REQ_NMI);
		return 1;
	case APIC_DM_INIT:
		/* A SIPI from before it is void; the vCPU takes INIT first. */
		clear_bit(CLV_REQ_SIPI, &vcpu->requests);
		clv_vcpu_request(vcpu, CLV_REQ_INIT);
		return 1;
	case APIC_DM_STARTUP:
		if (test_bit(CLV_REQ_SIPI, &vcpu->requests))
			return 1;	/* the first one starts it */
		WRITE_ONCE(vcpu->sipi_vector, m->vector);
		smp_mb__before_atomic(); /* the request shows the vector */
		clv_vcpu_request(vcpu, CLV_REQ_SIPI);
		return 1;
	default:
		return 0;
	}
}

/* Any context; src is NULL but for IPIs. Returns how many took it. */
static int send_msg(struct clv_vm *vm, const struct clv_vcpu *src, const struct msg *m)
{
	struct clv_vcpu *vcpu;
	int taken = 0;
	u32 i;

	/* Most messages: to one APIC by its id, which is the vCPU's. */
	if (!m->shorthand && !m->logical && m->dest < 0xff) {
		vcpu = clv_vcpu_by_id(vm, m->dest);
		return vcpu ? deliver(vcpu, m) : 0;
	}
	if (m->lowest) {
		vcpu = arbitrate(vm, src, m);
		return vcpu ? deliver(vcpu, m) : 0;
	}
	clv_for_each_vcpu(i, vcpu, vm) {
		if (matches(vcpu, src, m))
			taken += deliver(vcpu, m);
	}
	return taken;
}

/*
 * 11.6.1 and table 11-3: IPIs are edge-triggered whatever the trigger mode
 * says, INIT level de-assert has no effect since the Pentium 4, and only fixed
 * ones can be sent to the sender by shorthand.
 */
static void icr_send(struct clv_vcpu *vcpu, u32 low, u32 dest)
{
	struct msg m = {
		.dest = dest,
		.shorthand = low & APIC_DEST_ALLBUT,
		.mode = low & APIC_DM_FIXED_MASK,
		.vector = low,
		.logical = low & APIC_DEST_LOGICAL,
	};

	m.lowest = m.mode == APIC_DM_LOWEST;
	if (m.mode == APIC_DM_INIT && (low & (APIC_INT_LEVELTRIG | APIC_INT_ASSERT)) ==
				      APIC_INT_LEVELTRIG)
		return;
	if (m.mode != APIC_DM_FIXED &&
	    (m.shorthand == APIC_DEST_SELF || m.shorthand == APIC_DEST_ALLINC))
		return;
	if (m.mode <= APIC_DM_LOWEST && m.vector < 16)
		set_error(vcpu, APIC_ESR_SENDILL);
	send_msg(vcpu->vm, vcpu, &m);
}

/*
 * SDM vol. 3A 11.11: data is laid out like the ICR's low half. A redirection
 * hint sends it to one of the APICs; a level-triggered de-assert is no news.
 */
int clv_lapic_msi(struct clv_vm *vm, u64 address, u32 data)
{
	struct msg m = {
		.dest = ((address >> 32) & 0xffffff00) | ((address >> 12) & 0xff),
		.mode = data & APIC_DM_FIXED_MASK,
		.vector = data,
		.logical = address & BIT(2),
		.level = data & APIC_INT_LEVELTRIG,
	};

	if ((address & 0xfffff00000ULL) != APIC_DEFAULT_PHYS_BASE)
		return -EINVAL;
	if (m.level && !(data & APIC_INT_ASSERT))
		return 0;
	m.lowest = m.mode == APIC_DM_LOWEST || (m.mode == APIC_DM_FIXED && (address & BIT(3)));
	return send_msg(vm, NULL, &m);
}

static u32 timer_mode(const struct clv_lapic *l)
{
	return reg(l, APIC_LVTT) & TIMER_MODE;
}

/* Divide configuration, figure 11-10: bits 3, 1, 0 count 2, 4 .. 128, 1. */
static u32 timer_shift(u32 tdcr)
{
	return (((tdcr & 8) >> 1 | (tdcr & 3)) + 1) & 7;
}

/* From the initial count to 0, in ns. */
static u64 timer_span(const struct clv_lapic *l)
{
	u64 span = (u64)reg(l, APIC_TMICT) << timer_shift(reg(l, APIC_TDCR));

	if (span && timer_mode(l) == APIC_LVT_TIMER_PERIODIC)
		return max_t(u64, span, MIN_PERIOD_NS);
	return span;
}

static u32 timer_count(const struct clv_lapic *l)
{
	u32 shift = timer_shift(reg(l, APIC_TDCR));
	u64 span = timer_span(l);
	s64 left;

	if (!l->target)
		return 0;
	left = l->target - ktime_get();
	if (left <= 0) {
		if (timer_mode(l) != APIC_LVT_TIMER_PERIODIC || !span)
			return 0;
		left = span - -left % span;
	}
	return min_t(u64, (left + (1U << shift) - 1) >> shift, reg(l, APIC_TMICT));
}

/*
 * ns until the guest's TSC has reached the deadline, rounded up; 0: it has.
 * 2^40 ms is as far as anybody will wait, and keeps the quotient in 64 bits.
 */
static u64 deadline_left(struct clv_vcpu *vcpu)
{
	u64 now = clv_guest_tsc(vcpu->vm) + vcpu->tsc_adjust;
	u64 deadline = vcpu->lapic->tsc_deadline;

	if (deadline <= now)
		return 0;
	return mul_u64_u64_div_u64(min_t(u64, deadline - now, (u64)tsc_khz << 40),
				   NSEC_PER_MSEC, tsc_khz) + 1;
}

/*
 * v held. Delivers the timer interrupt if it is due, and sets the hrtimer to
 * what comes next. Nothing but the guest's programming and the time counts,
 * so a call too many, by a timer set for what has changed since, is harmless,
 * and a host clock that runs ahead of the TSC makes no deadline come early.
 * The hrtimer is not pinned: it goes with CPUs that go, and a kick reaches the
 * vCPU from wherever it fires.
 */
static void timer_run(struct clv_vcpu *vcpu)
{
	struct clv_lapic *l = vcpu->lapic;
	ktime_t now = ktime_get(), next;
	u64 span;
	bool due;

	if (l->tsc_deadline) {
		u64 left = deadline_left(vcpu);

		due = !left;
		next = due ? 0 : ktime_add_ns(now, left);
		if (due)
			l->tsc_deadline = 0;
	} else {
		due = l->target && l->target <= now;
		if (due) {
			span = timer_mode(l) == APIC_LVT_TIMER_PERIODIC ? timer_span(l) : 0;
			l->target = span ? now + span - (u64)(now - l->target) % span : 0;
		}
		next = l->target;
	}
	if (next)
		hrtimer_start(&l->timer, next, HRTIMER_MODE_ABS_HARD);
	else
		hrtimer_try_to_cancel(&l->timer);
	if (due)
		lvt_fire(vcpu, APIC_LVTT);
}

/* Hardirq. Never restarts itself: timer_run() on the vCPU's thread does. */
static enum hrtimer_restart timer_callback(struct hrtimer *timer)
{
	struct clv_lapic *l = container_of(timer, struct clv_lapic, timer);

	clv_lapic_tsc_changed(l->vcpu);
	return HRTIMER_NORESTART;
}

void clv_lapic_tsc_changed(struct clv_vcpu *vcpu)
{
	WRITE_ONCE(vcpu->lapic->timer_fired, 1);
	smp_mb__before_atomic(); /* the request shows timer_fired */
	clv_vcpu_request(vcpu, CLV_REQ_EVENT);
}

void clv_lapic_timer_sync(struct clv_vcpu *vcpu)
{
	struct clv_lapic *l = vcpu->lapic;

	/* Cleared before the time is looked at: what fires later is seen later. */
	if (unlikely(READ_ONCE(l->timer_fired)) && xchg(&l->timer_fired, 0))
		timer_run(vcpu);
}

/*
 * 11.5.4.1: the mode change disarms. Only to and from the deadline: between
 * one-shot and periodic the count goes on, as firmware relies on.
 */
static void lvtt_write(struct clv_vcpu *vcpu, u32 val)
{
	struct clv_lapic *l = vcpu->lapic;

	if ((val ^ reg(l, APIC_LVTT)) & APIC_LVT_TIMER_TSCDEADLINE) {
		l->target = 0;
		l->tsc_deadline = 0;
		reg_put(l, APIC_TMICT, 0);
	}
	reg_put(l, APIC_LVTT, val);
	timer_run(vcpu);
}

static void tmict_write(struct clv_vcpu *vcpu, u32 val)
{
	struct clv_lapic *l = vcpu->lapic;

	if (timer_mode(l) == APIC_LVT_TIMER_TSCDEADLINE)
		return;
	reg_put(l, APIC_TMICT, val);
	l->target = val ? ktime_add_ns(ktime_get(), timer_span(l)) : 0;
	timer_run(vcpu);
}

/* What is left of the count goes on at the new speed. */
static void tdcr_write(struct clv_vcpu *vcpu, u32 val)
{
	struct clv_lapic *l = vcpu->lapic;
	u64 count = timer_count(l);

	reg_put(l, APIC_TDCR, val);
	if (l->target)
		l->target = ktime_add_ns(ktime_get(), count << timer_shift(val));
	timer_run(vcpu);
}

#define LVT_MASK	(APIC_LVT_MASKED | APIC_VECTOR_MASK)
#define LINT_MASK	(LVT_MASK | APIC_MODE_MASK | APIC_LVT_LEVEL_TRIGGER | APIC_INPUT_POLARITY)
#define ICR_MASK	(APIC_DEST_ALLBUT | APIC_INT_LEVELTRIG | APIC_INT_ASSERT | \
			 APIC_DEST_LOGICAL | APIC_MODE_MASK | APIC_VECTOR_MASK)

/* How a register is reached: as an MSR (table 11-6), in the page (table 11-1). */
#define MSR_R		BIT(0)
#define MSR_W		BIT(1)
#define PAGE_R		BIT(2)
#define PAGE_W		BIT(3)
#define BOTH_R		(MSR_R | PAGE_R)
#define BOTH_RW		(BOTH_R | MSR_W | PAGE_W)

static const struct lapic_reg {
	u8 access;
	u32 writable;		/* the bits that software can set */
	u32 shown;		/* other bits that a read may show */
} lapic_regs[64] = {
#define REG(off, ...)	[(off) >> 4] = { __VA_ARGS__ }
#define REG8(off, ...)	[(off) >> 4 ... ((off) >> 4) + 7] = { __VA_ARGS__ }
	REG(APIC_ID, BOTH_R, 0, U32_MAX),
	REG(APIC_LVR, BOTH_R, 0, U32_MAX),
	REG(APIC_TASKPRI, BOTH_RW, 0xff),
	REG(APIC_ARBPRI, PAGE_R),		/* reads as 0, as RRR */
	REG(APIC_PROCPRI, BOTH_R, 0, 0xff),
	REG(APIC_EOI, MSR_W | PAGE_R | PAGE_W),
	REG(APIC_RRR, PAGE_R),
	REG(APIC_LDR, BOTH_R | PAGE_W, 0xff000000, U32_MAX),
	REG(APIC_DFR, PAGE_R | PAGE_W, 0xf0000000, U32_MAX),
	REG(APIC_SPIV, BOTH_RW,
	    APIC_SPIV_FOCUS_DISABLED | APIC_SPIV_APIC_ENABLED | APIC_VECTOR_MASK),
	REG8(APIC_ISR, BOTH_R, 0, U32_MAX),
	REG8(APIC_TMR, BOTH_R, 0, U32_MAX),
	REG8(APIC_IRR, BOTH_R, 0, U32_MAX),
	REG(APIC_ESR, BOTH_RW, 0, 0xff),
	REG(APIC_ICR, BOTH_RW, ICR_MASK),
	REG(APIC_ICR2, PAGE_R | PAGE_W, 0xff000000),
	REG(APIC_LVTT, BOTH_RW, LVT_MASK | TIMER_MODE),
	REG(APIC_LVTTHMR, BOTH_RW, LVT_MASK | APIC_MODE_MASK),
	REG(APIC_LVTPC, BOTH_RW, LVT_MASK | APIC_MODE_MASK),
	REG(APIC_LVT0, BOTH_RW, LINT_MASK),
	REG(APIC_LVT1, BOTH_RW, LINT_MASK),
	REG(APIC_LVTERR, BOTH_RW, LVT_MASK),
	REG(APIC_TMICT, BOTH_RW, U32_MAX),
	REG(APIC_TMCCT, BOTH_R, 0, U32_MAX),
	REG(APIC_TDCR, BOTH_RW, 0xb),
	REG(APIC_SELF_IPI, MSR_W, 0xff),
};

static bool is_lvt(u32 off)
{
	return off >= APIC_LVTT && off <= APIC_LVTERR;
}

static u32 write_mask(const struct clv_vcpu *vcpu, u32 off)
{
	u32 mask = lapic_regs[off >> 4].writable;

	return off == APIC_LVTT && !vcpu->caps.tsc_deadline ?
	       mask & ~APIC_LVT_TIMER_TSCDEADLINE : mask;
}

/* Read-only bits within: written values do not count, nor fault. */
static u32 ignored_mask(u32 off)
{
	return is_lvt(off) ? APIC_SEND_PENDING |
	       (off == APIC_LVT0 || off == APIC_LVT1 ? APIC_LVT_REMOTE_IRR : 0) : 0;
}

static u32 bits_read(const unsigned long *bits, u32 i)
{
	return READ_ONCE(bits[i / 2]) >> (i % 2 * 32);
}

/* off can be read in the page. */
static u32 reg_read(struct clv_vcpu *vcpu, u32 off)
{
	struct clv_lapic *l = vcpu->lapic;

	switch (off) {
	case APIC_ID:
		return is_x2apic(l) ? vcpu->id : vcpu->id << 24;
	case APIC_LVR:
		return LAPIC_VERSION;
	case APIC_PROCPRI:
		return ppr(l);
	case APIC_LDR:
		return is_x2apic(l) ? x2apic_ldr(vcpu->id) : reg(l, APIC_LDR);
	case APIC_ISR ... APIC_ISR + 0x70:
		return bits_read(l->isr, (off - APIC_ISR) >> 4);
	case APIC_TMR ... APIC_TMR + 0x70:
		return bits_read(l->tmr, (off - APIC_TMR) >> 4);
	case APIC_IRR ... APIC_IRR + 0x70:
		return bits_read(l->irr, (off - APIC_IRR) >> 4);
	case APIC_TMCCT:
		return timer_count(l);
	default:
		return reg(l, off);
	}
}

/* 11.4.7.2: while software-disabled, LVT entries stay masked. */
static void lvt_mask_all(struct clv_lapic *l)
{
	u32 off;

	for (off = APIC_LVTT; off <= APIC_LVTERR; off += 0x10)
		reg_put(l, off, reg(l, off) | APIC_LVT_MASKED);
}

/* val has only bits of write_mask(); dest is the ICR's. */
static void reg_write(struct clv_vcpu *vcpu, u32 off, u32 val, u32 dest)
{
	struct clv_lapic *l = vcpu->lapic;

	if (is_lvt(off) && !(reg(l, APIC_SPIV) & APIC_SPIV_APIC_ENABLED))
		val |= APIC_LVT_MASKED;
	switch (off) {
	case APIC_TASKPRI:
		reg_put(l, off, val);
		recheck(vcpu);
		break;
	case APIC_EOI:
		eoi(vcpu);
		break;
	case APIC_SPIV:
		reg_put(l, off, val);
		if (!(val & APIC_SPIV_APIC_ENABLED))
			lvt_mask_all(l);
		break;
	case APIC_DFR:
		reg_put(l, off, val | 0x0fffffff);
		break;
	case APIC_ESR:
		reg_put(l, off, atomic_xchg(&l->esr_pending, 0));
		break;
	case APIC_ICR:
		reg_put(l, off, val);
		icr_send(vcpu, val, dest);
		break;
	case APIC_SELF_IPI:
		icr_send(vcpu, val | APIC_DEST_SELF | APIC_DM_FIXED, 0);
		break;
	case APIC_LVTT:
		lvtt_write(vcpu, val);
		break;
	case APIC_TMICT:
		tmict_write(vcpu, val);
		break;
	case APIC_TDCR:
		tdcr_write(vcpu, val);
		break;
	default:
		reg_put(l, off, val);
	}
}

static bool has_msr(const struct clv_lapic *l, u32 msr, u8 access)
{
	return is_x2apic(l) && msr >= X2APIC_MSR && msr <= X2APIC_MSR + 0x3f &&
	       (lapic_regs[msr - X2APIC_MSR].access & access);
}

int clv_lapic_msr_get(struct clv_vcpu *vcpu, u32 msr, u64 *val)
{
	struct clv_lapic *l = vcpu->lapic;
	u32 off = (msr - X2APIC_MSR) << 4;

	lockdep_assert_held(&vcpu->mutex);
	clv_lapic_timer_sync(vcpu);
	if (msr == MSR_IA32_TSC_DEADLINE) {
		if (!vcpu->caps.tsc_deadline)
			return -EINVAL;
		*val = l->tsc_deadline;
		return 0;
	}
	if (!has_msr(l, msr, MSR_R))
		return -EINVAL;
	*val = reg_read(vcpu, off);
	if (off == APIC_ICR)
		*val |= (u64)l->icr_high << 32;
	return 0;
}

int clv_lapic_msr_set(struct clv_vcpu *vcpu, u32 msr, u64 val)
{
	struct clv_lapic *l = vcpu->lapic;
	u32 off = (msr - X2APIC_MSR) << 4, mask;

	lockdep_assert_held(&vcpu->mutex);
	clv_lapic_timer_sync(vcpu);
	if (msr == MSR_IA32_TSC_DEADLINE) {
		if (!vcpu->caps.tsc_deadline)
			return -EINVAL;
		if (timer_mode(l) == APIC_LVT_TIMER_TSCDEADLINE) {
			l->tsc_deadline = val;
			timer_run(vcpu);
		}
		return 0;
	}
	if (!has_msr(l, msr, MSR_W))
		return -EINVAL;
	/* 11.12.1.3: reserved bits are #GP, the timer mode 3 is taken as one. */
	mask = write_mask(vcpu, off);
	if (((u32)val & ~(mask | ignored_mask(off))) || (off != APIC_ICR && val >> 32) ||
	    (off == APIC_LVTT && (val & TIMER_MODE) == TIMER_MODE))
		return -EINVAL;
	if (off == APIC_ICR)
		l->icr_high = val >> 32;
	reg_write(vcpu, off, val & mask, val >> 32);
	return 0;
}

/*
 * -ENXIO: the page is not there, as the APIC is disabled or in x2APIC mode
 * (11.12.2); the access goes to what is behind it on the bus.
 */
int clv_lapic_access(struct clv_vcpu *vcpu, struct cleave_lapic_access *a)
{
	struct clv_lapic *l = vcpu->lapic;
	u32 off = a->offset, val;

	lockdep_assert_held(&vcpu->mutex);
	if (off & ~0xff0 || a->write > 1 || a->reserved)
		return -EINVAL;
	if (!is_enabled(l) || is_x2apic(l))
		return -ENXIO;
	clv_lapic_timer_sync(vcpu);
	if (off >= 0x400 || !(lapic_regs[off >> 4].access & PAGE_R)) {
		set_error(vcpu, APIC_ESR_ILLREGA);
		if (!a->write)
			a->value = 0;
	} else if (!a->write) {
		a->value = reg_read(vcpu, off);
	} else if (lapic_regs[off >> 4].access & PAGE_W) {
		val = a->value & write_mask(vcpu, off);
		/* Nothing faults here: the reserved timer mode becomes one-shot. */
		if (off == APIC_LVTT && (val & TIMER_MODE) == TIMER_MODE)
			val &= ~TIMER_MODE;
		reg_write(vcpu, off, val, reg(l, APIC_ICR2) >> 24);
	}
	return 0;
}

u64 clv_lapic_cr8_get(struct clv_vcpu *vcpu)
{
	return reg(vcpu->lapic, APIC_TASKPRI) >> 4;
}

void clv_lapic_cr8_set(struct clv_vcpu *vcpu, u64 cr8)
{
	reg_put(vcpu->lapic, APIC_TASKPRI, (cr8 & 0xf) << 4);
	recheck(vcpu);
}

/* 11.4.7.1. v held, or nobody else has the vCPU yet. */
static void regs_reset(struct clv_vcpu *vcpu)
{
	struct clv_lapic *l = vcpu->lapic;
	u32 i;

	for (i = 0; i < ARRAY_SIZE(l->regs); i++)
		WRITE_ONCE(l->regs[i], 0);
	reg_put(l, APIC_DFR, U32_MAX);
	reg_put(l, APIC_SPIV, 0xff);
	lvt_mask_all(l);
	for (i = 0; i < VECTOR_WORDS; i++) {
		WRITE_ONCE(l->irr[i], 0);
		WRITE_ONCE(l->tmr[i], 0);
		l->isr[i] = 0;
		l->eoi[i] = 0;
	}
	l->nr_eoi = 0;
	WRITE_ONCE(l->isr_high, -1);
	irr_settle(l);
	atomic_set(&l->esr_pending, 0);
	l->icr_high = 0;
	l->target = 0;
	l->tsc_deadline = 0;
	timer_run(vcpu);
}

int clv_lapic_create(struct clv_vcpu *vcpu)
{
	struct clv_lapic *l = kzalloc(sizeof(*l), GFP_KERNEL_ACCOUNT);

	if (!l)
		return -ENOMEM;
	l->vcpu = vcpu;
	hrtimer_init(&l->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_HARD);
	l->timer.function = timer_callback;
	vcpu->lapic = l;
	clv_lapic_reset(vcpu, false);
	return 0;
}

/* No vCPU and no message can reach it any more; waits for the callback. */
void clv_lapic_destroy(struct clv_vcpu *vcpu)
{
	hrtimer_cancel(&vcpu->lapic->timer);
	kfree(vcpu->lapic);
	vcpu->lapic = NULL;
}

/* INIT keeps the base, and with it the mode (11.12.5.1). */
void clv_lapic_reset(struct clv_vcpu *vcpu, bool init)
{
	if (!init)
		WRITE_ONCE(vcpu->lapic->base, APIC_DEFAULT_PHYS_BASE | MSR_IA32_APICBASE_ENABLE |
			   (vcpu->id ? 0 : MSR_IA32_APICBASE_BSP));
	regs_reset(vcpu);
}

u64 clv_lapic_base_get(struct clv_vcpu *vcpu)
{
	return READ_ONCE(vcpu->lapic->base);
}

/*
 * SDM figures 11-5 and 11-27. The BSP bit says who vCPU 0 is and does not
 * change. The host may make transitions that a guest may not.
 */
int clv_lapic_base_check(struct clv_vcpu *vcpu, u64 base, bool host)
{
	const u64 mode = X2APIC_ENABLE | MSR_IA32_APICBASE_ENABLE;
	u64 old = clv_lapic_base_get(vcpu);

	if ((base & ~(mode | MSR_IA32_APICBASE_BSP)) != APIC_DEFAULT_PHYS_BASE ||
	    !(base & MSR_IA32_APICBASE_BSP) != !!vcpu->id)
		return -EINVAL;
	if ((base & X2APIC_ENABLE) &&
	    (!(base & MSR_IA32_APICBASE_ENABLE) || !vcpu->caps.x2apic))
		return -EINVAL;
	if (host || !((base ^ old) & mode))
		return 0;
	/* x2APIC is entered from xAPIC and left to disabled. */
	if (base & X2APIC_ENABLE)
		return old & MSR_IA32_APICBASE_ENABLE ? 0 : -EINVAL;
	return (old & X2APIC_ENABLE) && (base & MSR_IA32_APICBASE_ENABLE) ? -EINVAL : 0;
}

int clv_lapic_base_set(struct clv_vcpu *vcpu, u64 base, bool host)
{
	int ret = clv_lapic_base_check(vcpu, base, host);

	lockdep_assert_held(&vcpu->mutex);
	if (ret)
		return ret;
	WRITE_ONCE(vcpu->lapic->base, base);
	if (!(base & MSR_IA32_APICBASE_ENABLE))
		regs_reset(vcpu);	/* 11.4.3 */
	return 0;
}

void clv_lapic_get(struct clv_vcpu *vcpu, struct cleave_lapic *st)
{
	struct clv_lapic *l = vcpu->lapic;
	u32 off;

	lockdep_assert_held(&vcpu->mutex);
	clv_lapic_timer_sync(vcpu);
	memset(st, 0, sizeof(*st));
	for (off = 0; off < 0x400; off += 0x10) {
		if (lapic_regs[off >> 4].access & PAGE_R)
			st->regs[off / 4] = reg_read(vcpu, off);
	}
	st->icr_high = l->icr_high;
	st->tsc_deadline = l->tsc_deadline;
	if (l->target)
		st->timer_left = max_t(s64, l->target - ktime_get(), 1);
}

/* The bits that a register can ever show. */
static u32 state_mask(const struct clv_vcpu *vcpu, u32 off)
{
	const struct lapic_reg *r = &lapic_regs[off >> 4];

	if (!(r->access & PAGE_R))
		return 0;
	if (off == APIC_ISR || off == APIC_TMR || off == APIC_IRR)
		return 0xffff0000;	/* no vectors below 16 */
	return r->shown | write_mask(vcpu, off);
}

/*
 * The mode may be set by the same call, before or after: id and LDR are good
 * in the form of either mode. Registers that follow from others (PPR, the
 * current count) may hold anything.
 */
int clv_lapic_check(struct clv_vcpu *vcpu, const struct cleave_lapic *st)
{
	const u32 *regs = st->regs;
	u32 i, ldr = regs[APIC_LDR / 4], mode = regs[APIC_LVTT / 4] & TIMER_MODE;
	u64 span = (u64)regs[APIC_TMICT / 4] << timer_shift(regs[APIC_TDCR / 4]);

	for (i = 0; i < ARRAY_SIZE(st->regs); i++) {
		if (regs[i] & ~(i % 4 ? 0 : state_mask(vcpu, i * 4)))
			return -EINVAL;
	}
	if ((regs[APIC_ID / 4] != vcpu->id && regs[APIC_ID / 4] != vcpu->id << 24) ||
	    regs[APIC_LVR / 4] != LAPIC_VERSION ||
	    ((ldr & 0x00ffffff) && ldr != x2apic_ldr(vcpu->id)) ||
	    (~regs[APIC_DFR / 4] & 0x0fffffff))
		return -EINVAL;
	for (i = APIC_LVTT; i <= APIC_LVTERR; i += 0x10) {
		if (!(regs[APIC_SPIV / 4] & APIC_SPIV_APIC_ENABLED) &&
		    !(regs[i / 4] & APIC_LVT_MASKED))
			return -EINVAL;
	}
	if (mode == TIMER_MODE || st->timer_pending > 1)
		return -EINVAL;
	if (mode == APIC_LVT_TIMER_TSCDEADLINE)
		return st->timer_left ? -EINVAL : 0;
	if (span)
		span = max_t(u64, span, MIN_PERIOD_NS);
	return st->tsc_deadline || st->timer_left > span ? -EINVAL : 0;
}

static void bits_write(unsigned long *bits, const u32 *regs)
{
	int i;

	for (i = 0; i < VECTOR_WORDS; i++)
		WRITE_ONCE(bits[i], regs[i * 8] | (u64)regs[i * 8 + 4] << 32);
}

/* st has passed clv_lapic_check(). Messages meanwhile may be lost to it. */
void clv_lapic_set(struct clv_vcpu *vcpu, const struct cleave_lapic *st)
{
	struct clv_lapic *l = vcpu->lapic;
	u32 off;

	lockdep_assert_held(&vcpu->mutex);
	regs_reset(vcpu);
	for (off = 0; off < 0x400; off += 0x10) {
		if (lapic_regs[off >> 4].access & PAGE_W)
			reg_put(l, off, st->regs[off / 4]);
	}
	/* In the form of x2APIC mode it follows from the id. */
	reg_put(l, APIC_LDR, reg(l, APIC_LDR) & 0xff000000);
	bits_write(l->isr, &st->regs[APIC_ISR / 4]);
	WRITE_ONCE(l->isr_high, highest(l->isr));
	bits_write(l->tmr, &st->regs[APIC_TMR / 4]);
	bits_write(l->irr, &st->regs[APIC_IRR / 4]);
	irr_settle(l);
	l->icr_high = st->icr_high;
	l->tsc_deadline = st->tsc_deadline;
	if (st->timer_left)
		l->target = ktime_add_ns(ktime_get(), st->timer_left);
	if (st->timer_pending)
		lvt_fire(vcpu, APIC_LVTT);
	timer_run(vcpu);
	set_bit(CLV_REQ_EVENT, &vcpu->requests);
}
