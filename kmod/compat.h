/* SPDX-License-Identifier: GPL-2.0 */
/* cleave: what differs between kernel versions, and nowhere else. */
#ifndef CLV_COMPAT_H
#define CLV_COMPAT_H

#include <linux/version.h>

#ifndef __ASSEMBLY__
#include <linux/mm.h>
#include <linux/sched/signal.h>
#include <linux/syscore_ops.h>
#include <linux/task_work.h>
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <trace/events/ipi.h>	/* smp_send_reschedule(), since 6.4 */

/* Some 6.12 stable kernels have a newer registration, with a context: Kbuild looks. */
#ifdef CLV_HAVE_REGISTER_SYSCORE
#define CLV_SYSCORE_ARG		void *unused
#define CLV_SYSCORE_DEFINE(...)						\
static const struct syscore_ops clv_syscore_ops = { __VA_ARGS__ };	\
static struct syscore clv_syscore = { .ops = &clv_syscore_ops }
#else
#define CLV_SYSCORE_ARG		void
#define CLV_SYSCORE_DEFINE(...)	static struct syscore_ops clv_syscore = { __VA_ARGS__ }
#define register_syscore	register_syscore_ops
#define unregister_syscore	unregister_syscore_ops
#endif

static inline void clv_vm_flags_mod(struct vm_area_struct *vma, vm_flags_t set, vm_flags_t clear)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 8, 0)
#define clv_eventfd_signal(ctx)	eventfd_signal(ctx)
#else
#define clv_eventfd_signal(ctx)	eventfd_signal(ctx, 1)
#endif

/* From load to unload; later ones have it while they have VMX on, which excludes ours. */
#define CLV_KVM_HAS_CALLBACK	(LINUX_VERSION_CODE < KERNEL_VERSION(6, 12, 0))

/* What some kernels count on to be set while guests run (SRSO). */
static inline void clv_bp_spec_reduce(bool on)
{
#ifdef X86_FEATURE_SRSO_BP_SPEC_REDUCE
	int (*change)(u32 msr, u8 bit) = on ? msr_set_bit : msr_clear_bit;

	if (cpu_feature_enabled(X86_FEATURE_SRSO_BP_SPEC_REDUCE))
		change(MSR_ZEN4_BP_CFG, MSR_ZEN4_BP_CFG_BP_SPEC_REDUCE_BIT);
#endif
}

/* Work on the way to user space that cannot wait for the guest to leave by itself. */
static inline bool clv_work_needs_user(void)
{
	if (!test_thread_flag(TIF_NOTIFY_RESUME))
		return false;
#ifdef CONFIG_MEMCG
	if (current->memcg_nr_pages_over_high)
		return true;
#endif
	return task_work_pending(current);
}

#else /* __ASSEMBLY__ */

/* Behind an exit, before any RET: what the host's CPU bugs ask for. */
.macro CLV_UNTRAIN_RET_VM
#ifdef UNTRAIN_RET_VM
	UNTRAIN_RET_VM
#else
	UNTRAIN_RET
	ALTERNATIVE "", "call entry_ibpb", X86_FEATURE_IBPB_ON_VMEXIT
#endif
.endm

#endif /* __ASSEMBLY__ */
#endif /* CLV_COMPAT_H */
