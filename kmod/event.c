// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: which event the guest gets next. Order: what an exit cut short,
 * exceptions, NMI, interrupts of a PIC, interrupts of the local APIC (SDM
 * vol. 3A 6.9, APM vol. 2 8.5).
 */
#include <asm/trapnr.h>
#include <asm/processor-flags.h>
#include "backend.h"

#define DR6_B		0xfULL		/* which breakpoint */
#define DR6_PAYLOAD	0xe00fULL	/* and BD, BS, BT */
#define DR7_GD		BIT(13)

/* Exceptions that push an error code in protected mode (SDM vol. 3A table 6-1). */
#define ERROR_CODE_VECTORS	(BIT(X86_TRAP_DF) | BIT(X86_TRAP_TS) | BIT(X86_TRAP_NP) | \
				 BIT(X86_TRAP_SS) | BIT(X86_TRAP_GP) | BIT(X86_TRAP_PF) | \
				 BIT(X86_TRAP_AC))

enum exc_class { EXC_BENIGN, EXC_CONTRIBUTORY, EXC_PAGE_FAULT };

/* SDM vol. 3A table 6-4 */
static enum exc_class exc_class(u8 vector)
{
	switch (vector) {
	case X86_TRAP_PF:
		return EXC_PAGE_FAULT;
	case X86_TRAP_DE:
	case X86_TRAP_TS:
	case X86_TRAP_NP:
	case X86_TRAP_SS:
	case X86_TRAP_GP:
		return EXC_CONTRIBUTORY;
	default:
		return EXC_BENIGN;
	}
}

/* Faults push RFLAGS with RF set; traps and aborts do not (SDM vol. 3B 17.3.1.1). */
static bool exc_is_fault(const struct cleave_event *ev)
{
	switch (ev->vector) {
	case X86_TRAP_DB:
	case X86_TRAP_BP:
	case X86_TRAP_OF:
	case X86_TRAP_DF:
	case X86_TRAP_MC:
		return false;
	default:
		return true;
	}
}

/* SDM vol. 3A table 6-5: the second exception while the first is delivered. */
static void queue(struct clv_vcpu *vcpu, const struct cleave_event *ev)
{
	struct cleave_event *first = &vcpu->injected;
	enum exc_class a, b;

	if (first->type != CLEAVE_EVENT_EXCEPTION)
		first = &vcpu->exception;
	if (first->type != CLEAVE_EVENT_EXCEPTION) {
		vcpu->exception = *ev;
		return;
	}
	if (first->vector == X86_TRAP_DF) {
		memset(first, 0, sizeof(*first));
		WRITE_ONCE(vcpu->mp_state, CLEAVE_MP_SHUTDOWN);
		return;
	}
	a = exc_class(first->vector);
	b = exc_class(ev->vector);
	if ((a == EXC_CONTRIBUTORY && b == EXC_CONTRIBUTORY) ||
	    (a == EXC_PAGE_FAULT && b != EXC_BENIGN)) {
		memset(&vcpu->injected, 0, sizeof(vcpu->injected));
		vcpu->exception = (struct cleave_event) {
			.type = CLEAVE_EVENT_EXCEPTION,
			.vector = X86_TRAP_DF,
			.flags = CLEAVE_EVENT_ERROR,
		};
		return;
	}
	/* Serially: the first comes again when its instruction runs again. */
	memset(&vcpu->injected, 0, sizeof(vcpu->injected));
	vcpu->exception = *ev;
}

void clv_queue_event(struct clv_vcpu *vcpu, const struct cleave_event *ev)
{
	queue(vcpu, ev);
}

void clv_queue_exception(struct clv_vcpu *vcpu, u8 vector)
{
	struct cleave_event ev = { .type = CLEAVE_EVENT_EXCEPTION, .vector = vector };

	queue(vcpu, &ev);
}

void clv_queue_exception_err(struct clv_vcpu *vcpu, u8 vector, u32 error)
{
	struct cleave_event ev = {
		.type = CLEAVE_EVENT_EXCEPTION,
		.vector = vector,
		.flags = CLEAVE_EVENT_ERROR,
		.error_code = error,
	};

	queue(vcpu, &ev);
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
	if (exc_is_fault(ev)) {
		clv_regs_touch(vcpu, CLV_REG_RFLAGS);
		vcpu->regs.rflags |= X86_EFLAGS_RF;
	}
}

bool clv_interrupt_allowed(struct clv_vcpu *vcpu)
{
	return vcpu->injected.type == CLEAVE_EVENT_NONE &&
	       vcpu->exception.type == CLEAVE_EVENT_NONE &&
	       !(clv_backend->blocked(vcpu) & CLV_BLOCK_INT);
}

static void choose(struct clv_vcpu *vcpu)
{
	u32 blocked;
	int vector;

	if (vcpu->exception.type) {
		vcpu->injected = vcpu->exception;
		memset(&vcpu->exception, 0, sizeof(vcpu->exception));
		apply_payload(vcpu, &vcpu->injected);
		return;
	}
	if (!vcpu->nmi_pending && !vcpu->extint && clv_lapic_pending(vcpu) < 0)
		return;
	blocked = clv_backend->blocked(vcpu);
	if (vcpu->nmi_pending && !(blocked & CLV_BLOCK_NMI)) {
		vcpu->nmi_pending--;
		vcpu->injected.type = CLEAVE_EVENT_NMI;
		vcpu->injected.vector = X86_TRAP_NMI;
		clv_backend->nmi_masked_set(vcpu, true);
		return;
	}
	if (blocked & CLV_BLOCK_INT)
		return;
	vector = vcpu->extint ? vcpu->extint_vector : clv_lapic_pending(vcpu);
	if (vector < 0)
		return;
	if (vcpu->extint)
		vcpu->extint = 0;
	else
		clv_lapic_ack(vcpu, vector);
	vcpu->injected.type = CLEAVE_EVENT_INTERRUPT;
	vcpu->injected.vector = vector;
}

/*
 * With an error code exactly if the exception has one, and never in real mode
 * (SDM vol. 3C 27.2.1.3): the mode may have changed since it was queued.
 */
static void inject(struct clv_vcpu *vcpu)
{
	struct cleave_event ev = vcpu->injected;

	if (ev.type == CLEAVE_EVENT_EXCEPTION) {
		clv_regs_need(vcpu, CLV_REG_CRS);
		ev.flags = 0;
		if ((vcpu->sregs.cr0 & X86_CR0_PE) && (ERROR_CODE_VECTORS & BIT(ev.vector)))
			ev.flags = CLEAVE_EVENT_ERROR;
	}
	clv_backend->inject(vcpu, &ev);
}

/*
 * vcpu->injected stays set until an exit shows that it was delivered, so an
 * entry that is called off just injects it again.
 */
void clv_events_deliver(struct clv_vcpu *vcpu)
{
	u32 windows = 0;

	if (vcpu->injected.type == CLEAVE_EVENT_NONE)
		choose(vcpu);
	inject(vcpu);
	if (vcpu->nmi_pending)
		windows |= CLV_WINDOW_NMI;
	if (vcpu->want_window || vcpu->extint || clv_lapic_pending(vcpu) >= 0)
		windows |= CLV_WINDOW_INT;
	clv_backend->set_window(vcpu, windows);
}

/* NMIs that others sent: two at most wait, as one is latched while one runs. */
void clv_events_take_nmis(struct clv_vcpu *vcpu)
{
	u32 n = vcpu->nmi_pending + atomic_xchg(&vcpu->nmi_queued, 0);

	vcpu->nmi_pending = min(n, clv_backend->nmi_masked_get(vcpu) ? 1U : 2U);
}

bool clv_has_wake_event(struct clv_vcpu *vcpu)
{
	u32 blocked;

	if (vcpu->injected.type || vcpu->exception.type)
		return true;
	if (!vcpu->nmi_pending && !vcpu->extint && clv_lapic_pending(vcpu) < 0)
		return false;
	blocked = clv_backend->blocked(vcpu);
	return (vcpu->nmi_pending && !(blocked & CLV_BLOCK_NMI)) ||
	       ((vcpu->extint || clv_lapic_pending(vcpu) >= 0) && !(blocked & CLV_BLOCK_INT));
}

void clv_events_get(struct clv_vcpu *vcpu, struct cleave_events *ev)
{
	clv_events_take_nmis(vcpu);
	memset(ev, 0, sizeof(*ev));
	ev->injected = vcpu->injected;
	ev->exception = vcpu->exception;
	ev->nmi_pending = vcpu->nmi_pending;
	ev->nmi_masked = clv_backend->nmi_masked_get(vcpu);
	ev->shadow = clv_backend->shadow_get(vcpu);
	ev->extint = vcpu->extint;
	ev->extint_vector = vcpu->extint_vector;
}

/*
 * SDM vol. 3C 27.2.1.3, APM vol. 2 15.20: what a CPU refuses to inject, and
 * #MC and vectors without an exception, which no CPU would have on its way.
 */
static int check_event(const struct cleave_event *ev)
{
	bool error = ev->flags & CLEAVE_EVENT_ERROR;

	if (ev->reserved || (ev->flags & ~(CLEAVE_EVENT_ERROR | CLEAVE_EVENT_PAYLOAD)))
		return -EINVAL;
	switch (ev->type) {
	case CLEAVE_EVENT_NONE:
		return ev->vector || ev->flags || ev->error_code || ev->payload ? -EINVAL : 0;
	case CLEAVE_EVENT_INTERRUPT:
		return ev->flags || ev->error_code || ev->payload ? -EINVAL : 0;
	case CLEAVE_EVENT_NMI:
		return ev->vector != X86_TRAP_NMI || ev->flags || ev->error_code || ev->payload ?
		       -EINVAL : 0;
	case CLEAVE_EVENT_EXCEPTION:
		if (ev->vector > 31 || ev->vector == X86_TRAP_NMI)
			return -EINVAL;
		if (error && !(ERROR_CODE_VECTORS & BIT(ev->vector)))
			return -EINVAL;
		if (error ? ev->error_code >> 16 : ev->error_code)
			return -EINVAL;
		if ((ev->flags & CLEAVE_EVENT_PAYLOAD) && ev->vector != X86_TRAP_PF &&
		    ev->vector != X86_TRAP_DB)
			return -EINVAL;
		if (!(ev->flags & CLEAVE_EVENT_PAYLOAD) && ev->payload)
			return -EINVAL;
		if (ev->vector == X86_TRAP_DB && (ev->payload & ~DR6_PAYLOAD))
			return -EINVAL;
		return 0;
	default:
		return -EINVAL;
	}
}

int clv_events_check(struct clv_vcpu *vcpu, const struct cleave_events *ev)
{
	if (check_event(&ev->injected) || check_event(&ev->exception))
		return -EINVAL;
	if (ev->exception.type != CLEAVE_EVENT_NONE &&
	    ev->exception.type != CLEAVE_EVENT_EXCEPTION)
		return -EINVAL;
	if (ev->nmi_pending > 2 || ev->nmi_masked > 1 || ev->extint > 1 ||
	    (ev->shadow & ~(CLEAVE_SHADOW_STI | CLEAVE_SHADOW_MOV_SS)))
		return -EINVAL;
	if (ev->reserved[0] || ev->reserved[1] || ev->reserved[2])
		return -EINVAL;
	return 0;
}

void clv_events_set(struct clv_vcpu *vcpu, const struct cleave_events *ev)
{
	vcpu->injected = ev->injected;
	vcpu->exception = ev->exception;
	atomic_set(&vcpu->nmi_queued, 0);
	vcpu->nmi_pending = ev->nmi_pending;
	vcpu->extint = ev->extint;
	vcpu->extint_vector = ev->extint_vector;
	clv_backend->nmi_masked_set(vcpu, ev->nmi_masked);
	clv_backend->shadow_set(vcpu, ev->shadow);
	if (vcpu->injected.type == CLEAVE_EVENT_EXCEPTION)
		apply_payload(vcpu, &vcpu->injected);
}
