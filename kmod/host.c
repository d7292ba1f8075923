// SPDX-License-Identifier: GPL-2.0
/* cleave: virtualization on and off, on every CPU: VMs, hotplug, suspend, reboot, crash. */
#include <linux/cpu.h>
#include <linux/module.h>
#include <linux/reboot.h>
#include <asm/mce.h>
#include <asm/ptrace.h>
#include <asm/reboot.h>
#include "backend.h"
#include "compat.h"

static DEFINE_MUTEX(host_lock);
static unsigned int users;		/* host_lock: VMs alive */
static enum cpuhp_state hp_state;	/* c */
/* Ours to switch off, because we switched it on. Changed with IRQs off on that CPU. */
DEFINE_PER_CPU(bool, clv_cpu_on);

/* Set once the host goes down: faulting VMRUN and the like are no bugs then. */
bool clv_rebooting;
u64 clv_tsc_lost;

/* The host's handler, as if it had struck user space. */
void clv_host_machine_check(void)
{
#ifdef CONFIG_X86_MCE
	struct pt_regs regs = { .cs = __USER_CS, .flags = X86_EFLAGS_IF };

	do_machine_check(&regs);
#endif
}

/* IRQs off. *error keeps the first failure of any CPU. */
static void cpu_enable(void *error)
{
	int ret;

	if (__this_cpu_read(clv_cpu_on))
		return;
	ret = clv_backend->cpu_enable();
	if (ret)
		atomic_cmpxchg((atomic_t *)error, 0, ret);
	else
		__this_cpu_write(clv_cpu_on, true);
}

static void cpu_disable(void *unused)
{
	if (__this_cpu_xchg(clv_cpu_on, false))
		clv_backend->cpu_disable();
}

static int enable_here(void)
{
	atomic_t error = ATOMIC_INIT(0);
	unsigned long flags;

	local_irq_save(flags);
	cpu_enable(&error);
	local_irq_restore(flags);
	if (atomic_read(&error))
		pr_err("cleave: CPU %u did not enable virtualization: %d\n",
		       raw_smp_processor_id(), atomic_read(&error));
	return atomic_read(&error);
}

static int hp_online(unsigned int cpu)
{
	int error = 0;

	mutex_lock(&host_lock);
	if (users && !READ_ONCE(clv_rebooting))
		error = enable_here();
	mutex_unlock(&host_lock);
	return error;
}

/* User threads may still be here: the run loop looks at clv_cpu_on before each entry. */
static int hp_offline(unsigned int cpu)
{
	mutex_lock(&host_lock);
	smp_call_function_single(cpu, cpu_disable, NULL, 1);
	mutex_unlock(&host_lock);
	return 0;
}

/* Deep sleep resets the TSC (SDM vol. 3B 18.17); the guests' go on from where they were. */
static u64 tsc_at_suspend;

/* One CPU is left, IRQs are off, and host_lock's holder, if any, is frozen. */
static int sys_suspend(CLV_SYSCORE_ARG)
{
	cpu_disable(NULL);
	tsc_at_suspend = rdtsc();
	return 0;
}

static void sys_resume(CLV_SYSCORE_ARG)
{
	u64 now = rdtsc();

	if (now < tsc_at_suspend)
		WRITE_ONCE(clv_tsc_lost, clv_tsc_lost + tsc_at_suspend - now);
	if (READ_ONCE(users))
		enable_here();
}

CLV_SYSCORE_DEFINE(.suspend = sys_suspend, .resume = sys_resume);

/* Reboot, power-off and kexec, for which syscore has no word in 6.1. CPUs may still come. */
static int reboot_notify(struct notifier_block *nb, unsigned long action, void *data)
{
	mutex_lock(&host_lock);
	WRITE_ONCE(clv_rebooting, true);
	on_each_cpu(cpu_disable, NULL, 1);
	mutex_unlock(&host_lock);
	return NOTIFY_OK;
}

static struct notifier_block reboot_nb = { .notifier_call = reboot_notify };

/*
 * On each CPU when the host crashes or restarts in an emergency, maybe from an NMI: no locks. A CPU
 * in VMX operation ignores INIT (SDM vol. 3C 24.8), which would hang the restart. On AMD-V only a
 * clear GIF holds INIT off (APM vol. 2 15.17), and it is set again before anything can crash: no
 * callback there, and so no wait for RCU when the last VM goes.
 */
static void emergency_disable(void)
{
	WRITE_ONCE(clv_rebooting, true);
	cpu_disable(NULL);
}

/*
 * KVM warns where it finds the callback taken. Before 6.12 kvm_intel has it while it is loaded, for
 * all CPUs in VMX operation, and has to stay. Later it has it while it has a VM: it must be gone.
 */
static struct module *kvm;	/* host_lock: kvm_intel is held, if callback is not ours */
static bool callback_is_ours;	/* host_lock */
static bool kvm_coming;		/* host_lock: it was let in, and its init has not come to an end */
#define KVM_NAME	(clv_backend->vendor == CLEAVE_VENDOR_SVM ? "kvm_amd" : "kvm_intel")

static int emergency_get(void)
{
	struct kobject *kobj = kset_find_obj(THIS_MODULE->mkobj.kobj.kset, KVM_NAME);
	int ret = 0;

	/* Built in it has a kobject, and no module. Its init may have begun before our notifier. */
	kvm = kobj ? container_of(kobj, struct module_kobject, kobj)->mod : NULL;
	callback_is_ours = clv_backend->blocks_init && !kobj && !kvm_coming;
	if (callback_is_ours)
		cpu_emergency_register_virt_callback(emergency_disable);
	else if (clv_backend->blocks_init)
		ret = CLV_KVM_HAS_CALLBACK && !kvm_coming &&
		      (!kvm || READ_ONCE(kvm->state) == MODULE_STATE_LIVE) &&
		      try_module_get(kvm) ? 0 : -EBUSY;
	kobject_put(kobj);
	return ret;
}

static void emergency_put(void)
{
	if (callback_is_ours)
		cpu_emergency_unregister_virt_callback(emergency_disable);
	else if (clv_backend->blocks_init)
		module_put(kvm);
}

/* What is COMING has no kobject at first, and may be freed whoever holds it if its init fails. */
static int module_notify(struct notifier_block *nb, unsigned long action, void *data)
{
	struct module *mod = data;
	bool coming = action == MODULE_STATE_COMING, busy;

	if (strcmp(mod->name, KVM_NAME))
		return NOTIFY_DONE;
	mutex_lock(&host_lock);
	busy = coming && users;
	kvm_coming = coming && !busy;
	mutex_unlock(&host_lock);
	if (busy)
		pr_warn("cleave: stop its guests before %s, they have the CPU\n", mod->name);
	return notifier_from_errno(busy && clv_backend->blocks_init ? -EBUSY : 0);
}

static struct notifier_block module_nb = { .notifier_call = module_notify };

/* The crash callback is there before virtualization is on, and until it is off. */
static int enable_all(void)
{
	atomic_t error = ATOMIC_INIT(emergency_get());

	if (!atomic_read(&error)) {
		on_each_cpu(cpu_enable, &error, 1);
		if (!atomic_read(&error))
			return 0;
		on_each_cpu(cpu_disable, NULL, 1);
		emergency_put();
	}
	if (atomic_read(&error) == -EBUSY)
		pr_warn_ratelimited("cleave: %s has the CPU: stop its guests, or modprobe -r %s (since Linux 6.12 it takes it when it is loaded; on AMD-V not with kvm.enable_virt_at_load=0)\n",
				    kvm ? KVM_NAME : "another hypervisor", KVM_NAME);
	else
		pr_warn_ratelimited("cleave: the CPU refused to enable %s: %d\n",
				    clv_backend->name, atomic_read(&error));
	return atomic_read(&error);
}

int clv_host_get(void)
{
	int ret = 0;

	cpus_read_lock();
	mutex_lock(&host_lock);
	if (!users)
		ret = READ_ONCE(clv_rebooting) ? -EBUSY : enable_all();
	if (!ret)
		users++;
	mutex_unlock(&host_lock);
	cpus_read_unlock();
	return ret;
}

void clv_host_put(void)
{
	cpus_read_lock();
	mutex_lock(&host_lock);
	if (!--users) {
		on_each_cpu(cpu_disable, NULL, 1);
		emergency_put();
	}
	mutex_unlock(&host_lock);
	cpus_read_unlock();
}

int clv_host_init(void)
{
	int ret = cpuhp_setup_state_nocalls(CPUHP_AP_ONLINE_DYN, "cleave:online",
					    hp_online, hp_offline);

	if (ret < 0)
		return ret;
	hp_state = ret;
	preempt_notifier_inc();
	register_syscore(&clv_syscore);
	register_reboot_notifier(&reboot_nb);
	register_module_notifier(&module_nb);
	return 0;
}

void clv_host_exit(void)
{
	unregister_module_notifier(&module_nb);
	unregister_reboot_notifier(&reboot_nb);
	unregister_syscore(&clv_syscore);
	cpuhp_remove_state_nocalls(hp_state);
	preempt_notifier_dec();
}
