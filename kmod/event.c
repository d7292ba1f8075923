// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: which event the guest gets next. Order: what an exit cut short, exceptions, NMI,
 * interrupts of a PIC, interrupts of the local APIC (SDM vol. 3A 6.9, APM vol. 2 8.5).
 */
#include "entry.h"
#include "trace.h"

#define DR6_B		0xfULL		/* which breakpoint */
#define DR7_GD		BIT(13)
#define EXCEPTIONS	0x000f7dfb	/* 0, 1, 3 to 8, 10 to 14, 16 to 19 */

/*
 * An event as both vendors have it in their VMCB or VMCS: vector, type in 10:8, with an error code
 * in 11, valid in 31 (APM vol. 2 15.20, SDM vol. 3C 25.8.3); by struct cleave_event.type.
 */
#define WORD_ERROR	BIT(11)
#define WORD_VALID	BIT(31)
#define WORD_TYPE	(WORD_VALID | 7 << 8)
static const u32 event_types[] = {
	[CLEAVE_EVENT_INTERRUPT] = WORD_VALID, [CLEAVE_EVENT_NMI] = WORD_VALID | 2 << 8,
	[CLEAVE_EVENT_EXCEPTION] = WORD_VALID | 3 << 8,
};

/* Of the second class in SDM vol. 3A table 6-4; page faults are the third. */
#define CONTRIBUTORY	(BIT(X86_TRAP_DE) | BIT(X86_TRAP_TS) | BIT(X86_TRAP_NP) | \
			 BIT(X86_TRAP_SS) | BIT(X86_TRAP_GP))

/* All others are faults, and push RFLAGS with RF set (SDM vol. 3B 17.3.1.1). */
#define NO_FAULTS	(BIT(X86_TRAP_DB) | BIT(X86_TRAP_BP) | BIT(X86_TRAP_OF) | \
			 BIT(X86_TRAP_DF) | BIT(X86_TRAP_MC))

/* SDM vol. 3A table 6-5 */
static bool is_double_fault(u8 first, u8 second)
{
	if (first == X86_TRAP_PF)
		return BIT(second) & (CONTRIBUTORY | BIT(X86_TRAP_PF));
	return (BIT(first) & CONTRIBUTORY) && (BIT(second) & CONTRIBUTORY);
}

static struct cleave_event exception(u8 vector)
{
	return (struct cleave_event) {
		.type = CLEAVE_EVENT_EXCEPTION, .vector = vector,
		.flags = BIT(vector) & CLV_ERROR_CODE_VECTORS ? CLEAVE_EVENT_ERROR : 0,
	};
}

void clv_queue_event(struct clv_vcpu *vcpu, const struct cleave_event *ev)
{
	struct cleave_event *at = &vcpu->events.injected, first;

	if (at->type == CLEAVE_EVENT_NONE)
		at = &vcpu->events.exception;
	/* Lost: an interrupt, as on a CPU; an exception comes again when its instruction does. */
	first = *at;
	memset(at, 0, sizeof(*at));
	if (first.type != CLEAVE_EVENT_EXCEPTION)
		vcpu->events.exception = *ev;
	else if (first.vector == X86_TRAP_DF)
		WRITE_ONCE(vcpu->mp_state, CLEAVE_MP_SHUTDOWN);
	else if (is_double_fault(first.vector, ev->vector))
		vcpu->events.exception = exception(X86_TRAP_DF);
	else
		vcpu->events.exception = *ev;
}

void clv_queue_exception(struct clv_vcpu *vcpu, u8 vector)
{
	struct cleave_event ev = exception(vector);

	clv_queue_event(vcpu, &ev);
}

/* What the event changes besides RIP and the stack, when it goes in. */
static void apply_payload(struct clv_vcpu *vcpu, struct cleave_event *ev)
{
	if (ev->flags & CLEAVE_EVENT_PAYLOAD) {
		if (ev->vector == X86_TRAP_PF) {
			clv_regs_touch(vcpu, CLV_REG_CRS);
			vcpu->sregs.cr2 = ev->payload;
		} else if (ev->vector == X86_TRAP_DB) {
			clv_regs_touch(vcpu, CLV_REG_DEBUG);
			vcpu->debug.dr6 &= ~DR6_B;
			vcpu->debug.dr6 |= ev->payload;
			vcpu->debug.dr7 &= ~(u64)DR7_GD;
		}
		ev->flags &= ~CLEAVE_EVENT_PAYLOAD;
		ev->payload = 0;
	}
	if (!(BIT(ev->vector) & NO_FAULTS)) {
		clv_regs_touch(vcpu, CLV_REG_RFLAGS);
		vcpu->regs.rflags |= X86_EFLAGS_RF;
	}
}

/* May an interrupt go in, as far as RFLAGS.IF and shadows are asked? */
static bool is_open(struct clv_vcpu *vcpu)
{
	return (vcpu->regs.rflags & X86_EFLAGS_IF) && !vcpu->events.shadow;
}

/* One more of user space's: the one that it gave last goes in first. */
bool clv_interrupt_allowed(struct clv_vcpu *vcpu)
{
	return !vcpu->events.extint && vcpu->events.injected.type == CLEAVE_EVENT_NONE &&
	       vcpu->events.exception.type == CLEAVE_EVENT_NONE && is_open(vcpu);
}

/* Which of NMI and interrupt waits and can go in: CLEAVE_EVENT_*, and the interrupt's vector. */
static u8 ready_event(struct clv_vcpu *vcpu, int *vector)
{
	const struct cleave_events *ev = &vcpu->events;

	if (ev->nmi_pending && !ev->nmi_masked && !ev->shadow)
		return CLEAVE_EVENT_NMI;
	if (!is_open(vcpu))
		return CLEAVE_EVENT_NONE;
	*vector = ev->extint ? ev->extint_vector : clv_lapic_pending(vcpu);
	return *vector >= 0 ? CLEAVE_EVENT_INTERRUPT : CLEAVE_EVENT_NONE;
}

/* Injected until an exit shows that it was delivered: again if an entry is called off. */
void clv_events_choose(struct clv_vcpu *vcpu)
{
	struct cleave_event *ev = &vcpu->events.injected;
	int vector;

	if (!ev->type && vcpu->events.exception.type) {
		*ev = vcpu->events.exception;
		memset(&vcpu->events.exception, 0, sizeof(vcpu->events.exception));
		apply_payload(vcpu, ev);
	} else if (!ev->type) {
		ev->type = ready_event(vcpu, &vector);
		if (ev->type == CLEAVE_EVENT_NMI) {
			ev->vector = X86_TRAP_NMI;
			vcpu->events.nmi_pending--;
			vcpu->events.nmi_masked = true;
		} else if (ev->type == CLEAVE_EVENT_INTERRUPT) {
			ev->vector = vector;
			if (vcpu->events.extint)
				vcpu->events.extint = 0;
			else
				clv_lapic_ack(vcpu, ev->vector);
		}
	}
	vcpu->lapic_busy = clv_lapic_has_irr(vcpu);
	vcpu->waits = vcpu->lapic_busy && clv_lapic_pending(vcpu) >= 0;
}

/*
 * The event whose delivery the exit cut short. Software's, which are of other types, are forgotten,
 * as RIP is still at their instruction and it will run again.
 */
void clv_events_requeue(struct clv_vcpu *vcpu, u32 word, u32 error)
{
	struct cleave_event *ev = &vcpu->events.injected;
	u8 type = CLEAVE_EVENT_EXCEPTION;

	if (likely(!(word & WORD_VALID)))
		return;
	while (type && event_types[type] != (word & WORD_TYPE))
		type--;
	if (!type)
		return;
	ev->type = type;
	ev->vector = word;
	if (word & WORD_ERROR) {
		ev->flags = CLEAVE_EVENT_ERROR;
		ev->error_code = error;
	}
	if (type == CLEAVE_EVENT_NMI)
		vcpu->events.nmi_masked = true;
}

void clv_events_deliver(struct clv_vcpu *vcpu)
{
	const struct cleave_event *ev = &vcpu->events.injected;
	u32 windows = 0, word = event_types[ev->type] | ev->vector;

	/*
	 * With an error code exactly if the exception has one, and never in real mode
	 * (SDM vol. 3C 27.2.1.3): the mode may have changed since it was queued.
	 */
	if (ev->type == CLEAVE_EVENT_EXCEPTION) {
		clv_regs_need(vcpu, CLV_REG_CRS);
		if ((vcpu->sregs.cr0 & X86_CR0_PE) && (CLV_ERROR_CODE_VECTORS & BIT(ev->vector)))
			word |= WORD_ERROR;
	}
	if (ev->type)
		trace_cleave_inject(vcpu->id, ev);
	if (vcpu->events.nmi_pending)
		windows |= CLV_WINDOW_NMI;
	if (vcpu->want_window || vcpu->events.extint || vcpu->waits)
		windows |= CLV_WINDOW_INT;
	static_call(clv_inject)(vcpu, word, ev->error_code, windows);
	vcpu->quiet = !windows && !vcpu->events.nmi_masked;
}

/* NMIs that others sent: two at most wait, as one is latched while one runs. */
void clv_events_take_nmis(struct clv_vcpu *vcpu)
{
	u32 n = vcpu->events.nmi_pending + atomic_xchg(&vcpu->nmi_queued, 0);

	vcpu->events.nmi_pending = min(n, vcpu->events.nmi_masked ? 1U : 2U);
}

bool clv_has_wake_event(struct clv_vcpu *vcpu)
{
	int vector;

	return vcpu->events.injected.type || vcpu->events.exception.type ||
	       ready_event(vcpu, &vector) || READ_ONCE(vcpu->pv.kicked);
}

/*
 * SDM vol. 3C 27.2.1.3, APM vol. 2 15.20: what a CPU refuses to inject, as are vectors without an
 * exception, or with one that no guest has: #VE, #CP, those of SEV.
 */
static bool event_ok(const struct cleave_event *ev)
{
	bool error = ev->flags & CLEAVE_EVENT_ERROR, payload = ev->flags & CLEAVE_EVENT_PAYLOAD;

	if (ev->reserved || (ev->flags & ~(CLEAVE_EVENT_ERROR | CLEAVE_EVENT_PAYLOAD)))
		return false;
	if (ev->type != CLEAVE_EVENT_EXCEPTION)
		return !ev->flags && !ev->error_code && !ev->payload &&
		       (ev->type == CLEAVE_EVENT_INTERRUPT ||
			(ev->type == CLEAVE_EVENT_NMI && ev->vector == X86_TRAP_NMI) ||
			(ev->type == CLEAVE_EVENT_NONE && !ev->vector));
	if (ev->vector > 31 || !(EXCEPTIONS & BIT(ev->vector)) ||
	    (error && !(CLV_ERROR_CODE_VECTORS & BIT(ev->vector))) ||
	    (payload && ev->vector != X86_TRAP_PF && ev->vector != X86_TRAP_DB))
		return false;
	if (ev->vector == X86_TRAP_DB && (ev->payload & ~CLV_DR6_EVENTS))
		return false;
	return ev->error_code <= (error ? U16_MAX : 0) && (payload || !ev->payload);
}

/* No interrupt or NMI goes in within a shadow (SDM vol. 3C 27.3.1.5). */
bool clv_events_ok(const struct cleave_events *ev)
{
	if (ev->shadow && ev->injected.type && ev->injected.type != CLEAVE_EVENT_EXCEPTION)
		return false;
	return event_ok(&ev->injected) && event_ok(&ev->exception) &&
	       (!ev->exception.type || ev->exception.type == CLEAVE_EVENT_EXCEPTION) &&
	       ev->nmi_pending <= 2 && ev->nmi_masked <= 1 && ev->extint <= 1 &&
	       ev->shadow <= CLEAVE_SHADOW_MOV_SS &&	/* one of them at most */
	       !ev->reserved[0] && !ev->reserved[1] && !ev->reserved[2];
}

void clv_events_set(struct clv_vcpu *vcpu, const struct cleave_events *ev)
{
	vcpu->events = *ev;	/* NMIs sent since they were read stay queued */
	if (vcpu->events.injected.type == CLEAVE_EVENT_EXCEPTION)
		apply_payload(vcpu, &vcpu->events.injected);
}
