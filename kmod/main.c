// SPDX-License-Identifier: GPL-2.0
/* cleave: module load and unload. The chain of what is set up, and nothing else. */
#include <linux/miscdevice.h>
#include <linux/mmu_notifier.h>
#include <linux/module.h>
#include "entry.h"

const struct clv_backend *clv_backend;

DEFINE_STATIC_CALL_NULL(clv_vcpu_load, *clv_svm_backend.vcpu_load);
DEFINE_STATIC_CALL_NULL(clv_enter, *clv_svm_backend.enter);
DEFINE_STATIC_CALL_NULL(clv_decode_exit, *clv_svm_backend.decode_exit);
DEFINE_STATIC_CALL_NULL(clv_regs_push, *clv_svm_backend.regs_push);
DEFINE_STATIC_CALL_NULL(clv_inject, *clv_svm_backend.inject);

static struct miscdevice clv_misc = {
	.minor = MISC_DYNAMIC_MINOR, .name = "cleave", .fops = &clv_dev_fops, .mode = 0660,
};

static int choose_backend(void)
{
	const char *why = "this CPU has neither AMD-V nor VT-x";

	switch (boot_cpu_data.x86_vendor) {
	case X86_VENDOR_AMD:
	case X86_VENDOR_HYGON:
		clv_backend = &clv_svm_backend;
		break;
	case X86_VENDOR_INTEL:
	case X86_VENDOR_CENTAUR:
	case X86_VENDOR_ZHAOXIN:
		clv_backend = &clv_vmx_backend;
		break;
	}
	if (clv_backend)
		why = clv_backend->refusal();
	/* Timers and clocks divide by it. */
	if (!why && !tsc_khz)
		why = "the kernel could not measure this machine's TSC";
	if (!why) {
		static_call_update(clv_vcpu_load, clv_backend->vcpu_load);
		static_call_update(clv_enter, clv_backend->enter);
		static_call_update(clv_decode_exit, clv_backend->decode_exit);
		static_call_update(clv_regs_push, clv_backend->regs_push);
		static_call_update(clv_inject, clv_backend->inject);
		return 0;
	}
	pr_err("cleave: %s; run \"cleave doctor\" for what to do\n", why);
	return clv_backend ? -EOPNOTSUPP : -ENODEV;
}

static int __init clv_init(void)
{
	int ret = choose_backend() ?: clv_backend->init();

	if (ret)
		return ret;
	clv_cpuid_init();
	clv_mem_init();
	ret = clv_host_init();
	if (ret)
		goto backend_exit;
	ret = misc_register(&clv_misc);
	if (ret)
		goto host_exit;
	pr_info("cleave: ready, using %s\n", clv_backend->name);
	return 0;
host_exit:
	clv_host_exit();
backend_exit:
	clv_backend->exit();
	return ret;
}

static void __exit clv_exit(void)
{
	misc_deregister(&clv_misc);
	clv_host_exit();
	/* The notifiers of VMs that are gone are freed behind an SRCU grace period. */
	mmu_notifier_synchronize();
	clv_backend->exit();
}

module_init(clv_init);
module_exit(clv_exit);

MODULE_LICENSE("GPL");
MODULE_AUTHOR("The cleave developers");
MODULE_DESCRIPTION("A small hypervisor on VT-x and AMD-V");
