// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: the local APIC, SDM vol. 3A chapter 11, APM vol. 2 chapter 16.
 *
 * Other vCPUs, devices and the timer change IRR, TMR, the pending errors and
 * timer_fired, atomically, and then make a request. The rest is changed under
 * vcpu->mutex, and they read it as they find it, like messages on a bus would.
 *
 * Offered: version 0x14, six LVT entries, no CMCI, no suppression of EOI
 * broadcasts. The APIC id is the vCPU's id and read-only. The page stays at
 * 0xfee00000: another base is #GP, as for an address the bus does not decode.
 */
#include <linux/hrtimer.h>
#include <linux/math64.h>
#include <linux/slab.h>
#include <asm/apicdef.h>
#include <asm/tsc.h>
#include "clv.h"

#define LAPIC_VERSION	0x00050014
#define VECTOR_WORDS	(256 / 64)
#define TIMER_MODE	(3 << 17)

/*
 * The bus clock is 1 GHz: a tick is a nanosecond. Shorter periods are taken as
 * this long, so that a guest cannot keep the host busy programming its timer.
 */
#define MIN_PERIOD_NS	20000

bool clv_timed_entry;

struct clv_lapic {
	u64 base;			/* a: v to change */
	union {
		u32 regs[64];		/* a: v to change; by offset / 16, but those that follow */
		unsigned long bits[32];	/* a: the same memory, for ISR, TMR and IRR */
	};
	u32 icr_high;			/* v: x2APIC mode */
	unsigned long eoi[VECTOR_WORDS]; /* v: level-triggered EOIs that nobody took yet */
	atomic_t esr_pending;		/* a: errors since ESR was written */
	int timer_fired;		/* a: look at the timer */
	struct hrtimer timer;		/* its callback only says "look" */
	ktime_t target;			/* v: when the timer is due, or 0 if it is stopped */
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

/* off: APIC_ISR, TMR or IRR */
static unsigned long *bits(struct clv_lapic *l, u32 off)
{
	return &l->bits[off >> 5];
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

static __always_inline int highest(const unsigned long *bits)
{
	unsigned long w;
	int i;

	/* Asked before each entry, and mostly there is none. */
	if (likely(!(READ_ONCE(bits[0]) | READ_ONCE(bits[1]) | READ_ONCE(bits[2]) |
		     READ_ONCE(bits[3]))))
		return -1;
	for (i = VECTOR_WORDS - 1; i >= 0; i--) {
		w = READ_ONCE(bits[i]);
		if (w)
			return i * 64 + __fls(w);
	}
	return -1;
}

/* 11.8.3.1 */
static u32 ppr(struct clv_lapic *l)
{
	u32 isrv = max(highest(bits(l, APIC_ISR)), 0);
	u32 tpr = reg(l, APIC_TASKPRI);

	return tpr >> 4 >= isrv >> 4 ? tpr : isrv & 0xf0;
}

/* 11.12.10.2 */
static u32 x2apic_ldr(u32 id)
{
	return (id >> 4) << 16 | 1U << (id & 0xf);
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

/*
 * Any context, but who is not the vCPU's own thread has to make a request: that one looks at IRR
 * before it enters. set_error() comes back here once at most.
 */
static bool accept(struct clv_vcpu *vcpu, u8 vector, bool level)
{
	struct clv_lapic *l = vcpu->lapic;

	if (!takes_fixed(l))
		return false;
	if (vector < 16) {
		set_error(vcpu, APIC_ESR_RECVILL);
		return false;
	}
	assign_bit(vector, bits(l, APIC_TMR), level);
	smp_mb__before_atomic(); /* who sees the bit in IRR sees that in TMR */
	set_bit(vector, bits(l, APIC_IRR));
	return true;
}

/* v held */
static void accept_own(struct clv_vcpu *vcpu, u8 vector)
{
	accept(vcpu, vector, false);
	vcpu->lapic_busy = true;
}

static bool take_fixed(struct clv_vcpu *vcpu, u8 vector, bool level)
{
	bool taken = accept(vcpu, vector, level);

	if (taken)
		clv_vcpu_request(vcpu, CLV_REQ_EVENT);
	return taken;
}

int clv_lapic_pending(struct clv_vcpu *vcpu)
{
	struct clv_lapic *l = vcpu->lapic;
	int vector = highest(bits(l, APIC_IRR));

	return vector >= 0 && vector >> 4 > ppr(l) >> 4 && is_enabled(l) ? vector : -1;
}

void clv_lapic_ack(struct clv_vcpu *vcpu, u8 vector)
{
	clear_bit(vector, bits(vcpu->lapic, APIC_IRR));
	set_bit(vector, bits(vcpu->lapic, APIC_ISR));
}

void clv_lapic_eoi(struct clv_vcpu *vcpu)
{
	struct clv_lapic *l = vcpu->lapic;
	int vector = highest(bits(l, APIC_ISR));

	if (vector < 0)
		return;
	clear_bit(vector, bits(l, APIC_ISR));
	if (unlikely(test_bit(vector, bits(l, APIC_TMR)))) {
		__set_bit(vector, l->eoi);
		set_bit(CLV_REQ_EOI, &vcpu->requests);
	}
}

/* One interrupt in service, edge-triggered, and none that waits for its end. */
bool clv_lapic_eoi_is_quiet(struct clv_vcpu *vcpu)
{
	struct clv_lapic *l = vcpu->lapic;
	int vector = highest(bits(l, APIC_ISR));

	return vector >= 0 && !test_bit(vector, bits(l, APIC_TMR)) &&
	       highest(bits(l, APIC_IRR)) < 0;
}

bool clv_lapic_has_irr(struct clv_vcpu *vcpu)
{
	return highest(bits(vcpu->lapic, APIC_IRR)) >= 0;
}

int clv_lapic_take_eoi(struct clv_vcpu *vcpu)
{
	int vector = highest(vcpu->lapic->eoi);

	if (unlikely(vector >= 0))
		__clear_bit(vector, vcpu->lapic->eoi);
	return vector;
}

/*
 * Messages have the form of the ICR: icr is its low half, dest the destination.
 * Is this one for vcpu? Its own mode says how dest is read (11.6.2, 11.12.10).
 */
static bool matches(const struct clv_vcpu *vcpu, const struct clv_vcpu *src, u32 icr, u32 dest)
{
	const struct clv_lapic *l = vcpu->lapic;
	u32 ldr, shorthand = icr & APIC_DEST_ALLBUT;

	if (shorthand)
		return shorthand == APIC_DEST_ALLINC ||
		       (shorthand == APIC_DEST_SELF) == (vcpu == src);
	if (dest == U32_MAX || (dest == 0xff && !is_x2apic(l)))
		return true;
	if (!(icr & APIC_DEST_LOGICAL))
		return dest == vcpu->id;
	if (is_x2apic(l)) {
		ldr = x2apic_ldr(vcpu->id);
		return dest >> 16 == ldr >> 16 && (dest & ldr & 0xffff);
	}
	ldr = reg(l, APIC_LDR) >> 24;
	if (reg(l, APIC_DFR) == APIC_DFR_FLAT)
		return dest < 0xff && (dest & ldr);
	return reg(l, APIC_DFR) == APIC_DFR_CLUSTER && dest >> 4 == ldr >> 4 && (dest & ldr & 0xf);
}

/* SMI, remote read and ExtINT have nobody here to take them. */
int clv_lapic_deliver(struct clv_vcpu *vcpu, u32 icr)
{
	u32 mode = icr & APIC_DM_FIXED_MASK;

	if (mode <= APIC_DM_LOWEST)
		return take_fixed(vcpu, icr, icr & APIC_INT_LEVELTRIG);
	switch (mode) {
	case APIC_DM_NMI:
		clv_vcpu_nmi(vcpu);
		return 1;
	case APIC_DM_INIT:
		/* A SIPI from before it is void; the vCPU takes INIT first. */
		clear_bit(CLV_REQ_SIPI, &vcpu->requests);
		clv_vcpu_request(vcpu, CLV_REQ_INIT);
		return 1;
	case APIC_DM_STARTUP:
		if (test_bit(CLV_REQ_SIPI, &vcpu->requests))
			return 1;	/* the first one starts it */
		WRITE_ONCE(vcpu->sipi_vector, (u8)icr);
		clv_vcpu_request(vcpu, CLV_REQ_SIPI);
		return 1;
	default:
		return 0;
	}
}

/*
 * The lowest processor priority gets what is for one of several (11.6.2.4); of equals the
 * first from the vector on, so that it is not always the same one.
 */
static noinline int send_to_many(struct clv_vm *vm, const struct clv_vcpu *src, u32 icr, u32 dest)
{
	u32 i, n = READ_ONCE(vm->nr_vcpus), first = 0;
	struct clv_vcpu *vcpu, *best = NULL;
	int taken = 0;

	/* Linux' choice in x2APIC mode: some of a cluster. Small ones may be an xAPIC's, too. */
	if (!(icr & APIC_DEST_ALLBUT) && dest > 0xff && dest != U32_MAX) {
		first = dest >> 16 << 4;
		n = clamp_t(s32, n - first, 0, 16);
	}
	for (i = 0; i < n; i++) {
		vcpu = clv_vcpu_by_id(vm, first + ((icr & APIC_VECTOR_MASK) + i) % n);
		if (!vcpu || !matches(vcpu, src, icr, dest))
			continue;
		if ((icr & APIC_DM_FIXED_MASK) != APIC_DM_LOWEST)
			taken += clv_lapic_deliver(vcpu, icr);
		else if (takes_fixed(vcpu->lapic) && (!best || ppr(vcpu->lapic) < ppr(best->lapic)))
			best = vcpu;
	}
	return best ? clv_lapic_deliver(best, icr) : taken;
}

/* Any context; src is NULL but for IPIs. Returns how many took it. */
static int send_msg(struct clv_vm *vm, const struct clv_vcpu *src, u32 icr, u32 dest)
{
	struct clv_vcpu *vcpu;

	/* Most messages: to one APIC by its id, which is the vCPU's. */
	if ((icr & (APIC_DEST_ALLBUT | APIC_DEST_LOGICAL)) || dest >= 0xff)
		return send_to_many(vm, src, icr, dest);
	vcpu = clv_vcpu_by_id(vm, dest);
	return vcpu ? clv_lapic_deliver(vcpu, icr) : 0;
}

/*
 * 11.6.1 and table 11-3: IPIs are edge-triggered whatever the trigger mode
 * says, INIT level de-assert has no effect since the Pentium 4, and only fixed
 * ones can be sent to the sender by shorthand.
 */
static void icr_send(struct clv_vcpu *vcpu, u32 icr, u32 dest)
{
	u32 shorthand = icr & APIC_DEST_ALLBUT, mode = icr & APIC_DM_FIXED_MASK;

	if (mode == APIC_DM_INIT && (icr & APIC_INT_LEVELTRIG) && !(icr & APIC_INT_ASSERT))
		return;
	if (mode != APIC_DM_FIXED && (shorthand == APIC_DEST_SELF || shorthand == APIC_DEST_ALLINC))
		return;
	if (mode <= APIC_DM_LOWEST && (icr & APIC_VECTOR_MASK) < 16)
		set_error(vcpu, APIC_ESR_SENDILL);
	if (shorthand == APIC_DEST_SELF)
		accept_own(vcpu, icr);
	else
		send_msg(vcpu->vm, vcpu, icr & ~APIC_INT_LEVELTRIG, dest);
}

/* In 0xfeexxxxx, and with destination bits 31:8 in 63:40. */
bool clv_lapic_msi_ok(const struct cleave_msi *msi)
{
	return !msi->flags && (msi->address & 0xfffff00000ULL) == APIC_DEFAULT_PHYS_BASE;
}

/*
 * SDM vol. 3A 11.11: data is laid out like the ICR's low half. A redirection
 * hint sends it to one of the APICs; a level-triggered de-assert is no news.
 */
int clv_lapic_msi(struct clv_vm *vm, const struct cleave_msi *msi)
{
	u64 address = msi->address;
	u32 data = msi->data, dest = (address >> 32 & 0xffffff00) | (address >> 12 & 0xff);
	u32 icr = data & (APIC_VECTOR_MASK | APIC_DM_FIXED_MASK | APIC_INT_LEVELTRIG);

	if ((data & APIC_INT_LEVELTRIG) && !(data & APIC_INT_ASSERT))
		return 0;
	if (address & BIT(2))
		icr |= APIC_DEST_LOGICAL;
	if ((address & BIT(3)) && (data & APIC_DM_FIXED_MASK) == APIC_DM_FIXED)
		icr |= APIC_DM_LOWEST;
	return send_msg(vm, NULL, icr, dest);
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

/* From the initial count to 0, in ns; of a periodic timer never 0. */
static u64 timer_span(const struct clv_lapic *l)
{
	u64 span = (u64)reg(l, APIC_TMICT) << timer_shift(reg(l, APIC_TDCR));

	return timer_mode(l) == APIC_LVT_TIMER_PERIODIC ? max_t(u64, span, MIN_PERIOD_NS) : span;
}

static u32 timer_count(const struct clv_lapic *l)
{
	u32 shift = timer_shift(reg(l, APIC_TDCR));
	s64 left = l->target && !l->tsc_deadline ? l->target - ktime_get() : 0;
	u64 span = timer_span(l);

	if (left < 0)	/* due, and not looked at yet */
		left = timer_mode(l) == APIC_LVT_TIMER_PERIODIC ? span - -left % span : 0;
	return min_t(u64, (left + (1U << shift) - 1) >> shift, reg(l, APIC_TMICT));
}

/*
 * ns until the guest's TSC has reached the deadline, rounded up; 0: it has.
 * 2^40 ms is as far as anybody will wait, and keeps the quotient in 64 bits.
 */
static u64 deadline_left(struct clv_vcpu *vcpu)
{
	u64 now = clv_guest_tsc(vcpu);
	u64 deadline = vcpu->lapic->tsc_deadline;

	if (deadline <= now)
		return 0;
	return mul_u64_u64_div_u64(min_t(u64, deadline - now, (u64)tsc_khz << 40),
				   NSEC_PER_MSEC, tsc_khz) + 1;
}

/*
 * v held. Delivers the timer interrupt if it is due, and sets what comes next: the end of the next
 * entry where the CPU can do that, else, and for a sleep, the hrtimer; not pinned, as a kick
 * reaches the vCPU from any CPU. A call too many, by a timer set for what has changed since, is
 * harmless, and a host clock that runs ahead of the TSC makes no deadline come early.
 */
static void timer_run(struct clv_vcpu *vcpu, bool sleeps)
{
	struct clv_lapic *l = vcpu->lapic;
	bool timed = clv_timed_entry && !sleeps, due = false;
	u64 tsc = clv_guest_tsc(vcpu), span;
	ktime_t now;

	vcpu->wake_tsc = 0;
	if (l->tsc_deadline) {
		due = l->tsc_deadline <= tsc;
		if (due)
			l->tsc_deadline = 0;
		else if (clv_timed_entry)	/* signed distances, see preempt_timer() */
			vcpu->wake_tsc = tsc + min_t(u64, l->tsc_deadline - tsc, S64_MAX);
		l->target = due || timed ? 0 : ktime_add_ns(ktime_get(), deadline_left(vcpu));
	} else if (l->target) {
		now = ktime_get();
		span = timer_span(l);
		due = l->target <= now;
		if (due)
			l->target = timer_mode(l) == APIC_LVT_TIMER_PERIODIC ?
				    now + span - (u64)(now - l->target) % span : 0;
		if (l->target && clv_timed_entry)
			vcpu->wake_tsc = tsc + 1 + mul_u64_u64_div_u64(l->target - now, tsc_khz,
								       NSEC_PER_MSEC);
	}
	if (l->target && !timed)
		hrtimer_start(&l->timer, l->target, HRTIMER_MODE_ABS_HARD);
	else if (hrtimer_is_queued(&l->timer))
		hrtimer_try_to_cancel(&l->timer);
	if (due && !(reg(l, APIC_LVTT) & APIC_LVT_MASKED))
		accept_own(vcpu, reg(l, APIC_LVTT));
}

/* Hardirq. Never restarts itself: timer_run() on the vCPU's thread does. */
static enum hrtimer_restart timer_callback(struct hrtimer *timer)
{
	struct clv_vcpu *vcpu = container_of(timer, struct clv_lapic, timer)->vcpu;

	clv_lapic_timer_look(vcpu);
	clv_vcpu_request(vcpu, CLV_REQ_EVENT);
	return HRTIMER_NORESTART;
}

void clv_lapic_timer_look(struct clv_vcpu *vcpu)
{
	WRITE_ONCE(vcpu->lapic->timer_fired, 1);
}

void clv_lapic_timer_sync(struct clv_vcpu *vcpu, bool sleeps)
{
	struct clv_lapic *l = vcpu->lapic;

	/* Cleared before the time is looked at: what fires later is seen later. */
	if (unlikely(READ_ONCE(l->timer_fired)) && xchg(&l->timer_fired, 0))
		timer_run(vcpu, sleeps);
	else if (sleeps && vcpu->wake_tsc)
		timer_run(vcpu, true);
}

/* off: the timer's LVT entry, initial count or divider. */
static void timer_write(struct clv_vcpu *vcpu, u32 off, u32 val)
{
	struct clv_lapic *l = vcpu->lapic;
	u64 count = timer_count(l);
	u32 changed = val ^ reg(l, off);

	if (off == APIC_TMICT && timer_mode(l) == APIC_LVT_TIMER_TSCDEADLINE)
		return;
	reg_put(l, off, val);
	if (off == APIC_TMICT) {
		l->target = val ? ktime_add_ns(ktime_get(), timer_span(l)) : 0;
	} else if (off == APIC_TDCR && l->target) {
		/* What is left of the count goes on at the new speed. */
		l->target = ktime_add_ns(ktime_get(), count << timer_shift(val));
	} else if (off == APIC_LVTT && (changed & APIC_LVT_TIMER_TSCDEADLINE)) {
		/* 11.5.4.1; between one-shot and periodic the count goes on. */
		l->target = 0;
		l->tsc_deadline = 0;
		reg_put(l, APIC_TMICT, 0);
	}
	timer_run(vcpu, false);
}

#define LVT_MASK	(APIC_LVT_MASKED | APIC_VECTOR_MASK)
#define LINT_MASK	(LVT_MASK | APIC_MODE_MASK | APIC_LVT_LEVEL_TRIGGER | APIC_INPUT_POLARITY)
#define SPIV_MASK	(APIC_SPIV_FOCUS_DISABLED | APIC_SPIV_APIC_ENABLED | APIC_VECTOR_MASK)
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
	u32 ignored;		/* other bits that a WRMSR may have set */
} lapic_regs[64] = {
	[APIC_ID >> 4] = { BOTH_R, 0, U32_MAX }, [APIC_LVR >> 4] = { BOTH_R, 0, U32_MAX },
	[APIC_TASKPRI >> 4] = { BOTH_RW, 0xff }, [APIC_PROCPRI >> 4] = { BOTH_R, 0, 0xff },
	[APIC_ARBPRI >> 4] = { PAGE_R }, [APIC_RRR >> 4] = { PAGE_R },	/* read as 0 */
	[APIC_EOI >> 4] = { MSR_W | PAGE_R | PAGE_W },
	[APIC_LDR >> 4] = { BOTH_R | PAGE_W, 0xff000000, U32_MAX },
	[APIC_DFR >> 4] = { PAGE_R | PAGE_W, 0xf0000000, U32_MAX },
	[APIC_SPIV >> 4] = { BOTH_RW, SPIV_MASK },
	/* No vectors below 16. */
	[APIC_ISR >> 4] = { BOTH_R, 0, 0xffff0000 }, [APIC_TMR >> 4] = { BOTH_R, 0, 0xffff0000 },
	[APIC_IRR >> 4] = { BOTH_R, 0, 0xffff0000 },
	[(APIC_ISR >> 4) + 1 ... (APIC_ISR >> 4) + 7] = { BOTH_R, 0, U32_MAX },
	[(APIC_TMR >> 4) + 1 ... (APIC_TMR >> 4) + 7] = { BOTH_R, 0, U32_MAX },
	[(APIC_IRR >> 4) + 1 ... (APIC_IRR >> 4) + 7] = { BOTH_R, 0, U32_MAX },
	[APIC_ESR >> 4] = { BOTH_RW, 0, 0xff }, [APIC_ICR >> 4] = { BOTH_RW, ICR_MASK },
	[APIC_ICR2 >> 4] = { PAGE_R | PAGE_W, 0xff000000 },
	[APIC_LVTT >> 4] = { BOTH_RW, LVT_MASK | TIMER_MODE, 0, APIC_SEND_PENDING },
	[APIC_LVTTHMR >> 4] = { BOTH_RW, LVT_MASK | APIC_MODE_MASK, 0, APIC_SEND_PENDING },
	[APIC_LVTPC >> 4] = { BOTH_RW, LVT_MASK | APIC_MODE_MASK, 0, APIC_SEND_PENDING },
	[APIC_LVT0 >> 4] = { BOTH_RW, LINT_MASK, 0, APIC_SEND_PENDING | APIC_LVT_REMOTE_IRR },
	[APIC_LVT1 >> 4] = { BOTH_RW, LINT_MASK, 0, APIC_SEND_PENDING | APIC_LVT_REMOTE_IRR },
	[APIC_LVTERR >> 4] = { BOTH_RW, LVT_MASK, 0, APIC_SEND_PENDING },
	[APIC_TMICT >> 4] = { BOTH_RW, U32_MAX }, [APIC_TMCCT >> 4] = { BOTH_R, 0, U32_MAX },
	[APIC_TDCR >> 4] = { BOTH_RW, 0xb }, [APIC_SELF_IPI >> 4] = { MSR_W, 0xff },
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

/* The timer mode that does not exist. */
static bool bad_mode(u32 off, u32 val)
{
	return off == APIC_LVTT && (val & TIMER_MODE) == TIMER_MODE;
}

/* off is in the page. */
static u32 reg_read(struct clv_vcpu *vcpu, u32 off)
{
	struct clv_lapic *l = vcpu->lapic;

	switch (off) {
	case APIC_ID:
		return is_x2apic(l) ? vcpu->id : vcpu->id << 24;
	case APIC_LDR:
		return is_x2apic(l) ? x2apic_ldr(vcpu->id) : reg(l, APIC_LDR);
	case APIC_PROCPRI:	return ppr(l);
	case APIC_TMCCT:	return timer_count(l);
	default:		return reg(l, off);
	}
}

/* val has only bits of write_mask(). */
static void reg_write(struct clv_vcpu *vcpu, u32 off, u32 val)
{
	struct clv_lapic *l = vcpu->lapic;
	u32 i;

	if (off == APIC_EOI) {
		clv_lapic_eoi(vcpu);
		return;
	}
	if (off == APIC_ICR) {
		reg_put(l, off, val);
		icr_send(vcpu, val, is_x2apic(l) ? l->icr_high : reg(l, APIC_ICR2) >> 24);
		return;
	}
	if (is_lvt(off) && !(reg(l, APIC_SPIV) & APIC_SPIV_APIC_ENABLED))
		val |= APIC_LVT_MASKED;
	switch (off) {
	case APIC_SPIV:
		reg_put(l, off, val);
		/* 11.4.7.2: while software-disabled, LVT entries stay masked. */
		for (i = APIC_LVTT; i <= APIC_LVTERR && !(val & APIC_SPIV_APIC_ENABLED); i += 0x10)
			reg_put(l, i, reg(l, i) | APIC_LVT_MASKED);
		break;
	case APIC_DFR:
		reg_put(l, off, val | 0x0fffffff);
		break;
	case APIC_ESR:
		reg_put(l, off, atomic_xchg(&l->esr_pending, 0));
		break;
	case APIC_SELF_IPI:
		icr_send(vcpu, val | APIC_DEST_SELF | APIC_DM_FIXED, 0);
		break;
	case APIC_LVTT:
	case APIC_TMICT:
	case APIC_TDCR:
		timer_write(vcpu, off, val);
		break;
	default:
		reg_put(l, off, val);
	}
}

static bool has_msr(const struct clv_lapic *l, u32 msr, u8 access)
{
	return is_x2apic(l) && msr >= APIC_BASE_MSR && msr <= APIC_BASE_MSR + 0x3f &&
	       (lapic_regs[msr - APIC_BASE_MSR].access & access);
}

int clv_lapic_msr_get(struct clv_vcpu *vcpu, u32 msr, u64 *val)
{
	struct clv_lapic *l = vcpu->lapic;
	u32 off = (msr - APIC_BASE_MSR) << 4;

	lockdep_assert_held(&vcpu->mutex);
	clv_lapic_timer_sync(vcpu, false);
	if (msr == MSR_IA32_TSC_DEADLINE) {
		*val = l->tsc_deadline;
		return vcpu->caps.tsc_deadline ? 0 : -EINVAL;
	}
	if (!has_msr(l, msr, MSR_R))
		return -EINVAL;
	*val = reg_read(vcpu, off) | (off == APIC_ICR ? (u64)l->icr_high << 32 : 0);
	return 0;
}

/* 11.12.1.3: reserved bits are #GP, the timer mode that does not exist is taken as one. */
int clv_lapic_msr_set(struct clv_vcpu *vcpu, u32 msr, u64 val)
{
	struct clv_lapic *l = vcpu->lapic;
	u32 off = (msr - APIC_BASE_MSR) << 4, mask;

	lockdep_assert_held(&vcpu->mutex);
	if (unlikely(READ_ONCE(l->timer_fired)))
		clv_lapic_timer_sync(vcpu, false);
	if (msr == MSR_IA32_TSC_DEADLINE) {
		if (!vcpu->caps.tsc_deadline)
			return -EINVAL;
		if (timer_mode(l) == APIC_LVT_TIMER_TSCDEADLINE) {
			l->tsc_deadline = val;
			l->target = 0;
			timer_run(vcpu, false);
		}
		return 0;
	}
	if (!has_msr(l, msr, MSR_W))
		return -EINVAL;
	mask = write_mask(vcpu, off);
	if (((u32)val & ~(mask | lapic_regs[off >> 4].ignored)) || bad_mode(off, val) ||
	    (off != APIC_ICR && val >> 32))
		return -EINVAL;
	if (off == APIC_ICR)
		l->icr_high = val >> 32;
	reg_write(vcpu, off, val & mask);
	return 0;
}

/*
 * -ENXIO: the page is not there, as the APIC is disabled or in x2APIC mode
 * (11.12.2); the access goes to what is behind it on the bus. Nothing faults
 * here: the timer mode that does not exist becomes one-shot.
 */
int clv_lapic_access(struct clv_vcpu *vcpu, struct cleave_lapic_access *a)
{
	struct clv_lapic *l = vcpu->lapic;
	u32 off = a->offset, val;
	u8 access;

	lockdep_assert_held(&vcpu->mutex);
	if (off & ~0xff0 || a->write > 1 || a->reserved)
		return -EINVAL;
	if (!is_enabled(l) || is_x2apic(l))
		return -ENXIO;
	clv_lapic_timer_sync(vcpu, false);
	access = off < 0x400 ? lapic_regs[off >> 4].access : 0;
	if (!(access & PAGE_R))
		set_error(vcpu, APIC_ESR_ILLREGA);
	if (!a->write) {
		a->value = access & PAGE_R ? reg_read(vcpu, off) : 0;
	} else if (access & PAGE_W) {
		val = a->value & write_mask(vcpu, off);
		reg_write(vcpu, off, bad_mode(off, val) ? val & ~TIMER_MODE : val);
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
}

/* It has no registers before the first clv_lapic_reset(). */
int clv_lapic_create(struct clv_vcpu *vcpu)
{
	struct clv_lapic *l = kzalloc(sizeof(*l), GFP_KERNEL_ACCOUNT);

	if (!l)
		return -ENOMEM;
	l->vcpu = vcpu;
	hrtimer_init(&l->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_HARD);
	l->timer.function = timer_callback;
	vcpu->lapic = l;
	return 0;
}

/* No vCPU and no message can reach it any more; waits for the callback. */
void clv_lapic_destroy(struct clv_vcpu *vcpu)
{
	if (vcpu->lapic)
		hrtimer_cancel(&vcpu->lapic->timer);
	kfree(vcpu->lapic);
}

/* 11.4.7.1; INIT keeps the base, and with it the mode (11.12.5.1). */
void clv_lapic_reset(struct clv_vcpu *vcpu, bool init)
{
	struct clv_lapic *l = vcpu->lapic;
	u32 i;

	if (!init)
		WRITE_ONCE(l->base, APIC_DEFAULT_PHYS_BASE | MSR_IA32_APICBASE_ENABLE |
				    (vcpu->id ? 0 : MSR_IA32_APICBASE_BSP));
	for (i = 0; i < ARRAY_SIZE(l->regs); i++)
		WRITE_ONCE(l->regs[i], 0);
	reg_put(l, APIC_LVR, LAPIC_VERSION);
	reg_put(l, APIC_DFR, APIC_DFR_FLAT);
	reg_write(vcpu, APIC_SPIV, 0xff);
	memset(l->eoi, 0, sizeof(l->eoi));
	atomic_set(&l->esr_pending, 0);
	l->icr_high = 0;
	l->target = 0;
	l->tsc_deadline = 0;
	timer_run(vcpu, false);
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
	bool on = base & MSR_IA32_APICBASE_ENABLE, x2apic = base & X2APIC_ENABLE;
	u64 fixed = APIC_DEFAULT_PHYS_BASE | (vcpu->id ? 0 : MSR_IA32_APICBASE_BSP);

	if ((base & ~(u64)(X2APIC_ENABLE | MSR_IA32_APICBASE_ENABLE)) != fixed ||
	    (x2apic && (!on || !vcpu->caps.x2apic)))
		return -EINVAL;
	/* x2APIC is entered from xAPIC and left to disabled. */
	if (!host && (x2apic ? !is_enabled(vcpu->lapic) : on && is_x2apic(vcpu->lapic)))
		return -EINVAL;
	return 0;
}

int clv_lapic_base_set(struct clv_vcpu *vcpu, u64 base, bool host)
{
	int ret = clv_lapic_base_check(vcpu, base, host);

	lockdep_assert_held(&vcpu->mutex);
	if (ret)
		return ret;
	WRITE_ONCE(vcpu->lapic->base, base);
	if (!(base & MSR_IA32_APICBASE_ENABLE))
		clv_lapic_reset(vcpu, true);	/* 11.4.3 */
	return 0;
}

void clv_lapic_get(struct clv_vcpu *vcpu, struct cleave_lapic *st)
{
	struct clv_lapic *l = vcpu->lapic;
	u32 off;

	lockdep_assert_held(&vcpu->mutex);
	clv_lapic_timer_look(vcpu);	/* no entry has, of late */
	clv_lapic_timer_sync(vcpu, false);
	memset(st, 0, sizeof(*st));
	for (off = 0; off < 0x400; off += 0x10)
		st->regs[off / 4] = reg_read(vcpu, off);
	st->icr_high = l->icr_high;
	st->tsc_deadline = l->tsc_deadline;
	if (l->target && !l->tsc_deadline)
		st->timer_left = max_t(s64, l->target - ktime_get(), 1);
}

/*
 * The mode may be set by the same call, before or after: id and LDR are good in the form of either
 * mode. Registers that follow from others (PPR, the current count) may hold anything.
 */
int clv_lapic_check(struct clv_vcpu *vcpu, const struct cleave_lapic *st)
{
	const u32 *regs = st->regs;
	u32 i, mask, ldr = regs[APIC_LDR / 4], mode = regs[APIC_LVTT / 4] & TIMER_MODE;
	u64 span = (u64)regs[APIC_TMICT / 4] << timer_shift(regs[APIC_TDCR / 4]);
	bool on = regs[APIC_SPIV / 4] & APIC_SPIV_APIC_ENABLED;

	for (i = 0; i < ARRAY_SIZE(st->regs); i++) {
		mask = 0;	/* what the register can ever show */
		if (i % 4 == 0 && (lapic_regs[i / 4].access & PAGE_R))
			mask = lapic_regs[i / 4].shown | write_mask(vcpu, i * 4);
		if ((regs[i] & ~mask) ||
		    (mask && is_lvt(i * 4) && !on && !(regs[i] & APIC_LVT_MASKED)))
			return -EINVAL;
	}
	if ((regs[APIC_ID / 4] != vcpu->id && regs[APIC_ID / 4] != vcpu->id << 24) ||
	    regs[APIC_LVR / 4] != LAPIC_VERSION ||
	    ((ldr & 0x00ffffff) && ldr != x2apic_ldr(vcpu->id)) ||
	    (~regs[APIC_DFR / 4] & 0x0fffffff) || mode == TIMER_MODE || st->timer_pending > 1)
		return -EINVAL;
	if (mode == APIC_LVT_TIMER_TSCDEADLINE)
		return st->timer_left ? -EINVAL : 0;
	if (span)
		span = max_t(u64, span, MIN_PERIOD_NS);
	return st->tsc_deadline || st->timer_left > span ? -EINVAL : 0;
}

/* st has passed clv_lapic_check(). Messages meanwhile may be lost to it. */
void clv_lapic_set(struct clv_vcpu *vcpu, const struct cleave_lapic *st)
{
	struct clv_lapic *l = vcpu->lapic;
	u32 off;

	lockdep_assert_held(&vcpu->mutex);
	clv_lapic_reset(vcpu, true);
	for (off = 0; off < 0x400; off += 0x10)
		reg_put(l, off, st->regs[off / 4]);
	/* In the form of x2APIC mode it follows from the id. */
	reg_put(l, APIC_LDR, reg(l, APIC_LDR) & 0xff000000);
	l->icr_high = st->icr_high;
	l->tsc_deadline = st->tsc_deadline;
	if (st->timer_left)
		l->target = ktime_add_ns(ktime_get(), st->timer_left);
	if (st->timer_pending)
		lvt_fire(vcpu, APIC_LVTT);
	timer_run(vcpu, false);
}
