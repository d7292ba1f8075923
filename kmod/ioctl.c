// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: the ioctl interface. The commands, and the only place where
 * arguments are copied from and to user space.
 */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "backend.h"

/* Whose command it is, and what it needs before its function is called. */
#define ON_DEV		BIT(0)
#define ON_VM		BIT(1)
#define ON_VCPU		BIT(2)
#define VM_LOCK		BIT(3)		/* vm->lock */
#define VCPU_LOCK	BIT(4)		/* vcpu->mutex */
#define OUT_ALWAYS	BIT(5)		/* copy out after -EINVAL too */

/* The rows call by void pointers; each function knows what they are. */
#define ROW(name, call)							\
static long row_##name(void *object, void *arg)				\
{									\
	return call;							\
}

ROW(info, clv_info(arg))
ROW(get_cpuid, clv_cpuid_supported(arg))
ROW(create_vm, clv_vm_create(arg))
ROW(create_vcpu, clv_vcpu_create(object, arg))
ROW(set_slot, clv_mem_set_slot(object, arg))
ROW(msi, clv_lapic_msi_ok(arg) ? clv_lapic_msi(object, arg) : -EINVAL)
ROW(irqfd, clv_irqfd(object, arg))
ROW(ioeventfd, clv_ioeventfd(object, arg))
ROW(run, clv_run(object))
ROW(get_state, clv_state_get(object, arg))
ROW(set_state, clv_state_set(object, arg))
ROW(get_fpu, clv_fpu_get(object, arg))
ROW(set_fpu, clv_fpu_set(object, arg))
ROW(get_msrs, clv_vcpu_msrs(object, arg, false))
ROW(set_msrs, clv_vcpu_msrs(object, arg, true))
ROW(set_cpuid, clv_cpuid_set(object, arg))
ROW(lapic_access, clv_lapic_access(object, arg))
ROW(kick, clv_vcpu_request(object, CLV_REQ_KICK))
ROW(nmi, clv_vcpu_nmi(object))
ROW(freeze, clv_recorder_freeze(object, arg))

static const struct clv_ioctl {
	u32 cmd;			/* size and direction in it are ours */
	u32 flags;
	long (*fn)(void *object, void *arg);
} table[] = {
	{ CLEAVE_INFO, ON_DEV, row_info },
	{ CLEAVE_GET_CPUID, ON_DEV, row_get_cpuid },
	{ CLEAVE_CREATE_VM, ON_DEV, row_create_vm },
	{ CLEAVE_CREATE_VCPU, ON_VM | VM_LOCK, row_create_vcpu },
	{ CLEAVE_SET_SLOT, ON_VM | VM_LOCK, row_set_slot },
	{ CLEAVE_MSI, ON_VM, row_msi },
	{ CLEAVE_IRQFD, ON_VM | VM_LOCK, row_irqfd },
	{ CLEAVE_IOEVENTFD, ON_VM | VM_LOCK, row_ioeventfd },
	{ CLEAVE_RUN, ON_VCPU | VCPU_LOCK, row_run },
	{ CLEAVE_GET_STATE, ON_VCPU | VCPU_LOCK, row_get_state },
	{ CLEAVE_SET_STATE, ON_VCPU | VCPU_LOCK, row_set_state },
	{ CLEAVE_GET_FPU, ON_VCPU | VCPU_LOCK, row_get_fpu },
	{ CLEAVE_SET_FPU, ON_VCPU | VCPU_LOCK, row_set_fpu },
	{ CLEAVE_GET_MSRS, ON_VCPU | VCPU_LOCK | OUT_ALWAYS, row_get_msrs },
	{ CLEAVE_SET_MSRS, ON_VCPU | VCPU_LOCK | OUT_ALWAYS, row_set_msrs },
	{ CLEAVE_SET_CPUID, ON_VCPU | VCPU_LOCK, row_set_cpuid },
	{ CLEAVE_LAPIC_ACCESS, ON_VCPU | VCPU_LOCK, row_lapic_access },
	{ CLEAVE_KICK, ON_VCPU, row_kick },
	{ CLEAVE_NMI, ON_VCPU, row_nmi },
	{ CLEAVE_FREEZE, ON_VCPU, row_freeze },
};

#define CMD_KEY(cmd)	((cmd) & ~IOCSIZE_MASK)

static const struct clv_ioctl *find_row(u32 on, u32 cmd)
{
	const struct clv_ioctl *row;

	for (row = table; row < table + ARRAY_SIZE(table); row++)
		if ((row->flags & on) && CMD_KEY(row->cmd) == CMD_KEY(cmd) &&
		    !_IOC_SIZE(row->cmd) == !_IOC_SIZE(cmd))
			return row;
	return NULL;
}

/* The row's lock around its function. */
static long call_row(const struct clv_ioctl *row, struct clv_vm *vm, struct clv_vcpu *vcpu,
		     void *arg)
{
	void *object = vcpu ? (void *)vcpu : vm;
	struct mutex *lock = row->flags & VM_LOCK ? &vm->lock :
			     row->flags & VCPU_LOCK ? &vcpu->mutex : NULL;
	long ret;

	if (lock && mutex_lock_interruptible(lock))
		return -EINTR;
	ret = row->fn(object, arg);
	if (lock)
		mutex_unlock(lock);
	return ret;
}

static long dispatch(struct clv_vm *vm, struct clv_vcpu *vcpu, u32 cmd, unsigned long uarg)
{
	const struct clv_ioctl *row = find_row(vcpu ? ON_VCPU : vm ? ON_VM : ON_DEV, cmd);
	void __user *user = (void __user *)uarg;
	size_t usize = _IOC_SIZE(cmd), ksize;
	void *buf = NULL;
	long ret;

	if (!row)
		return -ENOTTY;
	if (vm && (vm->mm != current->mm || READ_ONCE(vm->dead)))
		return -EIO;
	ksize = _IOC_SIZE(row->cmd);
	if (!ksize)
		return call_row(row, vm, vcpu, NULL);

	buf = kvzalloc(ksize, GFP_KERNEL_ACCOUNT);
	if (!buf)
		return -ENOMEM;
	if (_IOC_DIR(cmd) & _IOC_WRITE) {
		ret = copy_struct_from_user(buf, ksize, user, usize);
		if (ret)
			goto out;
	}
	ret = call_row(row, vm, vcpu, buf);
	if ((_IOC_DIR(cmd) & _IOC_READ) &&
	    (ret >= 0 || (ret == -EINVAL && (row->flags & OUT_ALWAYS)))) {
		if (copy_to_user(user, buf, min(usize, ksize)) ||
		    (usize > ksize && clear_user(user + ksize, usize - ksize)))
			ret = -EFAULT;
	}
out:
	kvfree(buf);
	return ret;
}

static long dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return dispatch(NULL, NULL, cmd, arg);
}

static long vm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return dispatch(file->private_data, NULL, cmd, arg);
}

static long vcpu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct clv_vcpu *vcpu = file->private_data;

	return dispatch(vcpu->vm, vcpu, cmd, arg);
}

static int vm_release(struct inode *inode, struct file *file)
{
	clv_vm_put(file->private_data);
	return 0;
}

static int vcpu_release(struct inode *inode, struct file *file)
{
	struct clv_vcpu *vcpu = file->private_data;

	clv_vm_put(vcpu->vm);
	return 0;
}

static int vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	return clv_vcpu_mmap(file->private_data, vma);
}

const struct file_operations clv_dev_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = dev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

const struct file_operations clv_vm_fops = {
	.owner = THIS_MODULE,
	.release = vm_release,
	.unlocked_ioctl = vm_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

const struct file_operations clv_vcpu_fops = {
	.owner = THIS_MODULE,
	.release = vcpu_release,
	.unlocked_ioctl = vcpu_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.mmap = vcpu_mmap,
	.llseek = noop_llseek,
};
