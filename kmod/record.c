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

void clv_recorder_left(struct clv_vcpu *vcpu, u32 exit)
{
	vcpu->record->exit = exit;
	vcpu->recorder->exits[exit]++;
	if (exit == CLEAVE_EXIT_SHUTDOWN || exit == CLEAVE_EXIT_REFUSED)
		WRITE_ONCE(vcpu->recorder->frozen, 1);
}
