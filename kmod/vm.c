// SPDX-License-Identifier: GPL-2.0
/* cleave: virtual machines: creation, reference counts, end. */
#include <linux/anon_inodes.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <asm/tsc.h>
#include "backend.h"

int clv_info(struct cleave_info *info)
{
	*info = (struct cleave_info) {
		.features = CLEAVE_FEATURE_EXIT_HLT | CLEAVE_FEATURE_EXIT_MSR |
			    CLEAVE_FEATURE_EXIT_HYPERCALL | CLEAVE_FEATURE_LAPIC |
			    CLEAVE_FEATURE_TSC_DEADLINE | CLEAVE_FEATURE_RECORDER |
			    CLEAVE_FEATURE_PV | CLEAVE_FEATURE_IRQFD | CLEAVE_FEATURE_IOEVENTFD,
		.vendor = clv_backend->vendor, .gpa_bits = clv_s2_caps.gpa_bits,
		.max_vcpus = CLEAVE_MAX_VCPUS, .max_slots = CLEAVE_MAX_SLOTS,
		.run_size = PAGE_SIZE, .recorder_size = sizeof(struct cleave_recorder),
		.tsc_khz = tsc_khz, .xcr0 = clv_fpu_xcr0(),
		.fpu_size = clv_cpuid_xsave_size(clv_fpu_xcr0(), false),
	};
	return 0;
}

static void vm_release(struct kref *ref)
{
	struct clv_vm *vm = container_of(ref, struct clv_vm, ref);
	u32 i;

	/* No file is left, no vCPU runs. Until these two return eventfds and notifiers look. */
	clv_eventfd_vm_destroy(vm);
	clv_mem_vm_destroy(vm);
	for (i = 0; i < vm->nr_vcpus; i++)
		if (vm->vcpus[i])
			clv_vcpu_destroy(vm->vcpus[i]);
	clv_host_put();
	mmdrop(vm->mm);
	free_cpumask_var(vm->kick_mask);
	kvfree(vm);
}

void clv_vm_put(struct clv_vm *vm)
{
	kref_put(&vm->ref, vm_release);
}

int clv_vm_create(const struct cleave_create_vm *args)
{
	struct clv_vm *vm;
	int ret = -ENOMEM;

	if (args->reserved || (args->flags & ~(CLEAVE_VM_EXIT_HLT | CLEAVE_VM_EXIT_MSR |
					       CLEAVE_VM_EXIT_HYPERCALL)))
		return -EINVAL;
	vm = kvzalloc(sizeof(*vm), GFP_KERNEL_ACCOUNT);
	if (!vm)
		return -ENOMEM;
	kref_init(&vm->ref);
	mutex_init(&vm->lock);
	INIT_LIST_HEAD(&vm->irqfds);
	INIT_LIST_HEAD(&vm->ioeventfds);
	vm->flags = args->flags;
	atomic64_set(&vm->tlb_gen, 1);
	/* The guest's TSC starts at 0, as after power-on. */
	vm->tsc_offset = -rdtsc() - clv_tsc_lost;
	clv_pv_vm_create(vm);
	if (!zalloc_cpumask_var(&vm->kick_mask, GFP_KERNEL_ACCOUNT))
		goto free_vm;
	vm->mm = current->mm;
	mmgrab(vm->mm);
	ret = clv_host_get();
	if (ret)
		goto drop_mm;
	ret = clv_mem_vm_create(vm);
	if (ret)
		goto put_host;
	ret = anon_inode_getfd("cleave-vm", &clv_vm_fops, vm, O_RDWR | O_CLOEXEC);
	if (ret < 0)
		clv_vm_put(vm);
	return ret;
put_host:
	clv_host_put();
drop_mm:
	mmdrop(vm->mm);
	free_cpumask_var(vm->kick_mask);
free_vm:
	kvfree(vm);
	return ret;
}
