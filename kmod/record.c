// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: the flight recorder: a vCPU's last exits and its counters, in pages that user space may
 * map and read while the vCPU runs. Written by the vCPU's own thread; what is in the pages is never
 * read back to decide anything but where the next record goes.
 */
#include "backend.h"
#define CREATE_TRACE_POINTS
#include "trace.h"

int clv_recorder_freeze(struct clv_vcpu *vcpu, const struct cleave_freeze *f)
{
	if (f->frozen > 1 || f->reserved)
		return -EINVAL;
	WRITE_ONCE(vcpu->recorder->frozen, f->frozen);
	return 0;
}

/* What the exit was about; the registers are as the guest left them. */
static u64 detail(const struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	const struct cleave_regs *regs = &vcpu->regs;

	switch (exit->kind) {
	case CLEAVE_KIND_CPUID:		return (u32)regs->rax | regs->rcx << 32;
	case CLEAVE_KIND_IO:
		return exit->io.port | exit->io.size << 16 | (exit->io.in ? BIT(24) : 0);
	case CLEAVE_KIND_RDMSR:
	case CLEAVE_KIND_WRMSR:		return (u32)regs->rcx;
	case CLEAVE_KIND_HYPERCALL:	return regs->rax;
	case CLEAVE_KIND_CR_READ:
	case CLEAVE_KIND_CR_WRITE:	return exit->cr.nr;
	case CLEAVE_KIND_EXCEPTION:	return exit->event.vector;
	default:			return exit->gpa;
	}
}

void clv_record_begin(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	struct cleave_recorder *rec = vcpu->recorder;
	struct cleave_record *r = READ_ONCE(rec->frozen) ? &vcpu->lost :
				  &rec->records[rec->count % CLEAVE_RECORDS];

	vcpu->record = r;
	r->tsc = rdtsc();
	r->rip = exit->rip;
	r->raw_reason = exit->raw_reason;
	r->raw_info[0] = exit->raw_info[0];
	r->raw_info[1] = exit->raw_info[1];
	r->detail = detail(vcpu, exit);
	r->kind = exit->kind;
	r->exit = 0;
	r->entered_type = exit->entered_type;
	r->entered_vector = exit->entered_vector;
	r->raised = 0;
	r->raised_vector = 0;
	rec->kinds[exit->kind]++;
	rec->events[exit->entered_type]++;
}

void clv_record_end(struct clv_vcpu *vcpu)
{
	struct cleave_recorder *rec = vcpu->recorder;
	struct cleave_record *r = vcpu->record;

	if (vcpu->events.exception.type) {
		r->raised = 1;
		r->raised_vector = vcpu->events.exception.vector;
	}
	trace_cleave_exit(vcpu->id, r);
	if (r != &vcpu->lost)
		smp_store_release(&rec->count, rec->count + 1); /* who sees it sees the record */
	vcpu->record = &vcpu->lost;
}

void clv_recorder_left(struct clv_vcpu *vcpu, u32 exit)
{
	vcpu->record->exit = exit;
	vcpu->recorder->exits[exit]++;
	if (exit == CLEAVE_EXIT_SHUTDOWN || exit == CLEAVE_EXIT_REFUSED)
		WRITE_ONCE(vcpu->recorder->frozen, 1);
}
