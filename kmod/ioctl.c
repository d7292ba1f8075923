// SPDX-License-Identifier: GPL-2.0
/* cleave: the ioctls, and the only place where arguments are copied from and to user space. */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "backend.h"

/* Whose command it is, which tells the lock that it wants: none, vm->lock, vcpu->mutex. */
#define ON_DEV		BIT(0)
#define ON_VM		BIT(1)
#define ON_VCPU		BIT(2)
#define NO_LOCK		BIT(3)
#define OUT_ALWAYS	BIT(4)		/* copy out after -EINVAL too */

static const struct clv_ioctl {
	u32 cmd;			/* size and direction in it are ours */
	u32 flags;
} table[] = {
	{ CLEAVE_INFO, ON_DEV }, { CLEAVE_GET_CPUID, ON_DEV }, { CLEAVE_CREATE_VM, ON_DEV },
	{ CLEAVE_CREATE_VCPU, ON_VM }, { CLEAVE_SET_SLOT, ON_VM }, { CLEAVE_MSI, ON_VM | NO_LOCK },
	{ CLEAVE_IRQFD, ON_VM }, { CLEAVE_IOEVENTFD, ON_VM },
	{ CLEAVE_RUN, ON_VCPU }, { CLEAVE_GET_STATE, ON_VCPU }, { CLEAVE_SET_STATE, ON_VCPU },
	{ CLEAVE_GET_FPU, ON_VCPU }, { CLEAVE_SET_FPU, ON_VCPU },
	{ CLEAVE_GET_MSRS, ON_VCPU | OUT_ALWAYS }, { CLEAVE_SET_MSRS, ON_VCPU | OUT_ALWAYS },
	{ CLEAVE_SET_CPUID, ON_VCPU }, { CLEAVE_LAPIC_ACCESS, ON_VCPU },
	{ CLEAVE_KICK, ON_VCPU | NO_LOCK }, { CLEAVE_NMI, ON_VCPU | NO_LOCK },
	{ CLEAVE_FREEZE, ON_VCPU | NO_LOCK },
};

/* By void pointers; each function knows what they are. */
static long call(u32 cmd, void *object, void *arg)
{
	switch (cmd) {
	case CLEAVE_INFO:		return clv_info(arg);
	case CLEAVE_GET_CPUID:		return clv_cpuid_supported(arg);
	case CLEAVE_CREATE_VM:		return clv_vm_create(arg);
	case CLEAVE_CREATE_VCPU:	return clv_vcpu_create(object, arg);
	case CLEAVE_SET_SLOT:		return clv_mem_set_slot(object, arg);
	case CLEAVE_MSI:
		return clv_lapic_msi_ok(arg) ? clv_lapic_msi(object, arg) : -EINVAL;
	case CLEAVE_IRQFD:		return clv_irqfd(object, arg);
	case CLEAVE_IOEVENTFD:		return clv_ioeventfd(object, arg);
	case CLEAVE_RUN:		return clv_run(object);
	case CLEAVE_GET_STATE:		return clv_state_get(object, arg);
	case CLEAVE_SET_STATE:		return clv_state_set(object, arg);
	case CLEAVE_GET_FPU:		return clv_fpu_get(object, arg);
	case CLEAVE_SET_FPU:		return clv_fpu_set(object, arg);
	case CLEAVE_GET_MSRS:		return clv_vcpu_msrs(object, arg, false);
	case CLEAVE_SET_MSRS:		return clv_vcpu_msrs(object, arg, true);
	case CLEAVE_SET_CPUID:		return clv_cpuid_set(object, arg);
	case CLEAVE_LAPIC_ACCESS:	return clv_lapic_access(object, arg);
	case CLEAVE_KICK:		return clv_vcpu_request(object, CLV_REQ_KICK);
	case CLEAVE_NMI:		return clv_vcpu_nmi(object);
	case CLEAVE_FREEZE:		return clv_recorder_freeze(object, arg);
	}
	return -ENOTTY;
}

#define CMD_KEY(cmd)	((cmd) & ~IOCSIZE_MASK)

static long dispatch(struct file *file, unsigned int cmd, unsigned long uarg)
{
	void *object = file->private_data, *buf = NULL;
	struct clv_vcpu *vcpu = file->f_op == &clv_vcpu_fops ? object : NULL;
	struct clv_vm *vm = vcpu ? vcpu->vm : file->f_op == &clv_vm_fops ? object : NULL;
	u32 on = vcpu ? ON_VCPU : vm ? ON_VM : ON_DEV;
	const struct clv_ioctl *row = table;
	void __user *user = (void __user *)uarg;
	size_t usize = _IOC_SIZE(cmd), ksize;
	struct mutex *lock = NULL;
	long ret = 0;

	while (!(row->flags & on) || CMD_KEY(row->cmd) != CMD_KEY(cmd) ||
	       !_IOC_SIZE(row->cmd) != !_IOC_SIZE(cmd))
		if (++row == table + ARRAY_SIZE(table))
			return -ENOTTY;
	if (vm && (vm->mm != current->mm || READ_ONCE(vm->dead)))
		return -EIO;
	ksize = _IOC_SIZE(row->cmd);
	if (ksize) {
		buf = kvzalloc(ksize, GFP_KERNEL_ACCOUNT);
		if (!buf)
			return -ENOMEM;
	}
	if (_IOC_DIR(cmd) & _IOC_WRITE)
		ret = copy_struct_from_user(buf, ksize, user, usize);
	if (vm && !(row->flags & NO_LOCK))
		lock = vcpu ? &vcpu->mutex : &vm->lock;
	if (!ret && lock && mutex_lock_interruptible(lock))
		ret = -EINTR;
	if (ret)
		goto out;
	ret = call(row->cmd, object, buf);
	if (lock)
		mutex_unlock(lock);
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

static int release(struct inode *inode, struct file *file)
{
	struct clv_vcpu *vcpu = file->private_data;

	clv_vm_put(file->f_op == &clv_vcpu_fops ? vcpu->vm : file->private_data);
	return 0;
}

#define COMMON_FOPS	.owner = THIS_MODULE, .unlocked_ioctl = dispatch, .llseek = noop_llseek, \
			.compat_ioctl = compat_ptr_ioctl

const struct file_operations clv_dev_fops = { COMMON_FOPS };
const struct file_operations clv_vm_fops = { COMMON_FOPS, .release = release };
const struct file_operations clv_vcpu_fops = {
	COMMON_FOPS, .release = release, .mmap = clv_vcpu_mmap,
};
