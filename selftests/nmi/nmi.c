// SPDX-License-Identifier: GPL-2.0
/*
 * For test_nmi.c: /dev/cleave_nmi sends NMIs to CPUs, as an emulated host has no
 * performance counters to do it. Never shipped.
 *
 * write() of a struct nmi_order sends its NMIs one after the other, each when the
 * one before has come in; -ETIMEDOUT if one does not.
 */
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include <asm/apic.h>
#include <asm/irq_vectors.h>
#include <asm/nmi.h>
#include "nmi.h"

#define WAIT_US		5000000

static DEFINE_PER_CPU(atomic_t, sent);
static DEFINE_PER_CPU(atomic_t, seen);

/* Others' NMIs are left to them. */
static int handler(unsigned int type, struct pt_regs *regs)
{
	if (atomic_read(this_cpu_ptr(&seen)) == atomic_read(this_cpu_ptr(&sent)))
		return NMI_DONE;
	atomic_inc(this_cpu_ptr(&seen));
	return NMI_HANDLED;
}

static int send_one(int cpu)
{
	int n = atomic_inc_return(per_cpu_ptr(&sent, cpu)), us;

	preempt_disable();
	apic->send_IPI(cpu, NMI_VECTOR);
	preempt_enable();
	for (us = 0; us < WAIT_US; us++) {
		if (atomic_read(per_cpu_ptr(&seen, cpu)) == n)
			return 0;
		udelay(1);
		cond_resched();
	}
	atomic_dec(per_cpu_ptr(&sent, cpu));
	return -ETIMEDOUT;
}

static ssize_t nmi_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	struct nmi_order order;
	int ret = 0;
	u32 i;

	if (len != sizeof(order))
		return -EINVAL;
	if (copy_from_user(&order, buf, len))
		return -EFAULT;
	cpus_read_lock();
	if (order.cpu >= nr_cpu_ids || !cpu_online(order.cpu))
		ret = -EINVAL;
	for (i = 0; i < order.count && !ret; i++)
		ret = send_one(order.cpu);
	cpus_read_unlock();
	return ret ?: len;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.write = nmi_write,
};

static struct miscdevice dev = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "cleave_nmi",
	.fops = &fops,
};

static int __init nmi_init(void)
{
	int ret = register_nmi_handler(NMI_LOCAL, handler, 0, "cleave_nmi");

	if (ret)
		return ret;
	ret = misc_register(&dev);
	if (ret)
		unregister_nmi_handler(NMI_LOCAL, "cleave_nmi");
	return ret;
}

static void __exit nmi_exit(void)
{
	misc_deregister(&dev);
	unregister_nmi_handler(NMI_LOCAL, "cleave_nmi");
}

module_init(nmi_init);
module_exit(nmi_exit);
MODULE_DESCRIPTION("NMIs for cleave's tests");
MODULE_LICENSE("GPL");
