// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: the ioctl interface. A table per kind of fd; the only place where
 * arguments are copied from and to user space.
 */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "backend.h"

/* What a row needs before its function is called. */
#define ROW_VM_LOCK	BIT(0)		/* vm->lock */
#define ROW_VCPU_LOCK	BIT(1)		/* vcpu->mutex */
#define ROW_OUT_ALWAYS	BIT(2)		/* copy out after -EINVAL too */

struct clv_ioctl {
	u32 cmd;			/* size and direction in it are ours */
	u32 flags;
	long (*fn)(void *object, void *arg);
};

static_assert(sizeof(struct cleave_info) == 48);
static_assert(sizeof(struct cleave_cpuid) == 8 + 32 * CLEAVE_MAX_CPUID);
static_assert(sizeof(struct cleave_create_vm) == 16);
static_assert(sizeof(struct cleave_create_vcpu) == 16);
static_assert(sizeof(struct cleave_slot) == 48);
static_assert(sizeof(struct cleave_msi) == 16);
static_assert(sizeof(struct cleave_regs) == 144);
static_assert(sizeof(struct cleave_sregs) == 280);
static_assert(sizeof(struct cleave_debug) == 48);
static_assert(sizeof(struct cleave_events) == 40);
static_assert(sizeof(struct cleave_lapic) == 1048);
static_assert(sizeof(struct cleave_state) == 1592);
static_assert(sizeof(struct cleave_fpu) == 12288);
static_assert(sizeof(struct cleave_msrs) == 8 + 16 * CLEAVE_MAX_MSRS);
static_assert(sizeof(struct cleave_lapic_access) == 16);
static_assert(sizeof(struct cleave_run) == 1008);
static_assert(sizeof(struct cleave_record) == 64);
static_assert(sizeof(struct cleave_recorder) == 20480);
static_assert(sizeof(struct cleave_freeze) == 8);

/* The rows call by void pointers; each function knows what they are. */
#define ROW(name, call)							\
static long row_##name(void *object, void *arg)				\
{									\
	return call;							\
}

ROW(dev_info, clv_info(arg))
ROW(dev_get_cpuid, clv_cpuid_supported(arg))
ROW(dev_create_vm, clv_vm_create(arg))
ROW(vm_create_vcpu, clv_vcpu_create(object, arg))
ROW(vm_set_slot, clv_mem_set_slot(object, arg))
ROW(vm_msi, clv_vm_msi(object, arg))
ROW(vcpu_run, clv_run(object))
ROW(vcpu_get_state, clv_state_get(object, arg))
ROW(vcpu_set_state, clv_vcpu_set_state(object, arg))
ROW(vcpu_get_fpu, clv_fpu_get(object, arg))
ROW(vcpu_set_fpu, clv_fpu_set(object, arg))
ROW(vcpu_get_msrs, clv_vcpu_msrs(object, arg, false))
ROW(vcpu_set_msrs, clv_vcpu_msrs(object, arg, true))
ROW(vcpu_set_cpuid, clv_vcpu_set_cpuid(object, arg))
ROW(vcpu_lapic_access, clv_lapic_access(object, arg))
ROW(vcpu_kick, clv_vcpu_request(object, CLV_REQ_KICK))
ROW(vcpu_nmi, clv_vcpu_nmi(object))
ROW(vcpu_freeze, clv_recorder_freeze(object, arg))

static const struct clv_ioctl dev_table[] = {
	{ CLEAVE_INFO, 0, row_dev_info },
	{ CLEAVE_GET_CPUID, 0, row_dev_get_cpuid },
	{ CLEAVE_CREATE_VM, 0, row_dev_create_vm },
};

static const struct clv_ioctl vm_table[] = {
	{ CLEAVE_CREATE_VCPU, ROW_VM_LOCK, row_vm_create_vcpu },
	{ CLEAVE_SET_SLOT, ROW_VM_LOCK, row_vm_set_slot },
	{ CLEAVE_MSI, 0, row_vm_msi },
};

static const struct clv_ioctl vcpu_table[] = {
	{ CLEAVE_RUN, ROW_VCPU_LOCK, row_vcpu_run },
	{ CLEAVE_GET_STATE, ROW_VCPU_LOCK, row_vcpu_get_state },
	{ CLEAVE_SET_STATE, ROW_VCPU_LOCK, row_vcpu_set_state },
	{ CLEAVE_GET_FPU, ROW_VCPU_LOCK, row_vcpu_get_fpu },
	{ CLEAVE_SET_FPU, ROW_VCPU_LOCK, row_vcpu_set_fpu },
	{ CLEAVE_GET_MSRS, ROW_VCPU_LOCK | ROW_OUT_ALWAYS, row_vcpu_get_msrs },
	{ CLEAVE_SET_MSRS, ROW_VCPU_LOCK | ROW_OUT_ALWAYS, row_vcpu_set_msrs },
	{ CLEAVE_SET_CPUID, ROW_VCPU_LOCK, row_vcpu_set_cpuid },
	{ CLEAVE_LAPIC_ACCESS, ROW_VCPU_LOCK, row_vcpu_lapic_access },
	{ CLEAVE_KICK, 0, row_vcpu_kick },
	{ CLEAVE_NMI, 0, row_vcpu_nmi },
	{ CLEAVE_FREEZE, 0, row_vcpu_freeze },
};

#define CMD_KEY(cmd)	((cmd) & ~IOCSIZE_MASK)

static const struct clv_ioctl *find_row(const struct clv_ioctl *table, size_t n, u32 cmd)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (CMD_KEY(table[i].cmd) == CMD_KEY(cmd) &&
		    !_IOC_SIZE(table[i].cmd) == !_IOC_SIZE(cmd))
			return &table[i];
	return NULL;
}

static int copy_out(void __user *user, size_t usize, const void *buf, size_t ksize)
{
	if (copy_to_user(user, buf, min(usize, ksize)))
		return -EFAULT;
	if (usize > ksize && clear_user(user + ksize, usize - ksize))
		return -EFAULT;
	return 0;
}

/* The row's lock around its function. */
static long call_row(const struct clv_ioctl *row, struct clv_vm *vm, struct clv_vcpu *vcpu,
		     void *arg)
{
	void *object = vcpu ? (void *)vcpu : vm;
	struct mutex *lock = row->flags & ROW_VM_LOCK ? &vm->lock :
			     row->flags & ROW_VCPU_LOCK ? &vcpu->mutex : NULL;
	long ret;

	if (lock && mutex_lock_interruptible(lock))
		return -EINTR;
	ret = row->fn(object, arg);
	if (lock)
		mutex_unlock(lock);
	return ret;
}

static long dispatch(const struct clv_ioctl *table, size_t n, struct clv_vm *vm,
		     struct clv_vcpu *vcpu, u32 cmd, unsigned long uarg)
{
	const struct clv_ioctl *row = find_row(table, n, cmd);
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
	    (ret >= 0 || (ret == -EINVAL && (row->flags & ROW_OUT_ALWAYS)))) {
		int err = copy_out(user, usize, buf, ksize);

		if (err)
			ret = err;
	}
out:
	kvfree(buf);
	return ret;
}

static long dev_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return dispatch(dev_table, ARRAY_SIZE(dev_table), NULL, NULL, cmd, arg);
}

static long vm_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return dispatch(vm_table, ARRAY_SIZE(vm_table), file->private_data, NULL, cmd, arg);
}

static long vcpu_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct clv_vcpu *vcpu = file->private_data;

	return dispatch(vcpu_table, ARRAY_SIZE(vcpu_table), vcpu->vm, vcpu, cmd, arg);
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
