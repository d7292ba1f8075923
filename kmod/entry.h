/* SPDX-License-Identifier: GPL-2.0 */
/* cleave: how the core calls the backend around each entry, and what the kernel is told of it. */
#ifndef CLV_ENTRY_H
#define CLV_ENTRY_H

#include <linux/context_tracking.h>
#include <linux/ftrace.h>
#include <linux/jiffies.h>
#include <linux/rcupdate.h>
#include <linux/static_call.h>
#include "backend.h"

/* Hooks of each entry, called by static_call(clv_HOOK)(): no indirect branch. */
DECLARE_STATIC_CALL(clv_vcpu_load, *clv_svm_backend.vcpu_load);
DECLARE_STATIC_CALL(clv_enter, *clv_svm_backend.enter);
DECLARE_STATIC_CALL(clv_decode_exit, *clv_svm_backend.decode_exit);
DECLARE_STATIC_CALL(clv_regs_push, *clv_svm_backend.regs_push);
DECLARE_STATIC_CALL(clv_inject, *clv_svm_backend.inject);

/*
 * guest_state_enter_irqoff(), but for RCU, which takes a guest for a quiescent state as it does
 * user mode: it is told once a jiffy. It does not ask more often, as the tick ends the guest.
 */
static __always_inline void clv_guest_state_enter(struct clv_vcpu *vcpu)
{
	instrumentation_begin();
	trace_hardirqs_on_prepare();
	lockdep_hardirqs_on_prepare();
	if (!context_tracking_guest_enter() && (vcpu->rcu_told ^ jiffies)) {
		vcpu->rcu_told = jiffies;
		rcu_note_context_switch(false);
	}
	instrumentation_end();
	lockdep_hardirqs_on(CALLER_ADDR0);
}

#endif /* CLV_ENTRY_H */
