// SPDX-License-Identifier: GPL-2.0
/*
 * For tests of what a CPU refuses: a probe around cleave's vmx_enter() or
 * svm_enter(). Never shipped.
 */
#include <linux/fs.h>
#include <linux/kprobes.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/uaccess.h>
#include "svm/vmcb.h"
#include "vmx/vmcs.h"
#include "poke.h"

static struct poke poke;
static struct task_struct *poker;	/* compared alone */
static bool asked, put_back;
static bool svm;
static struct vmcb before;		/* as it was entered with */

/* vmcs.h calls it. */
void vmx_insn_failed(const char *insn, unsigned long field)
{
	pr_err("poke: %s of field %lx failed\n", insn, field);
}

static u64 get(struct clv_vcpu *vcpu, u32 field)
{
	u64 val = 0;

	if (field == POKE_MSR_LOAD)
		return vmcs_read(VM_ENTRY_MSR_LOAD_COUNT);
	if (!svm)
		return vmcs_read(field);
	memcpy(&val, (void *)to_svm(vcpu)->vmcb + (u16)field, field >> 16);
	return val;
}

static void set(struct clv_vcpu *vcpu, u32 field, u64 val)
{
	if (field == POKE_MSR_LOAD) {
		vmcs_write(VM_ENTRY_MSR_LOAD_COUNT, val);
	} else if (!svm) {
		vmcs_write(field, val);
	} else {
		memcpy((void *)to_svm(vcpu)->vmcb + (u16)field, &val, field >> 16);
		to_svm(vcpu)->vmcb->control.clean = 0;
	}
}

static void do_poke(struct clv_vcpu *vcpu)
{
	struct poke_field *f;

	for (f = poke.fields; f < poke.fields + POKE_FIELDS; f++) {
		if (f->field == POKE_NONE)
			continue;
		f->old = get(vcpu, f->field);
		f->poked = (f->old & ~f->clear) | f->set;
		if (f->field == POKE_MSR_LOAD) {
			f->poked = 1;
			to_vmx(vcpu)->entry_load[0] = (struct vmx_msr_entry) {
				f->clear, f->clear >> 32, f->set };
		}
		set(vcpu, f->field, f->poked);
	}
}

/* What the CPU changed itself is left as it is. */
static void do_put_back(struct clv_vcpu *vcpu)
{
	struct poke_field *f;

	for (f = poke.fields; f < poke.fields + POKE_FIELDS; f++)
		if (f->field != POKE_NONE && get(vcpu, f->field) == f->poked)
			set(vcpu, f->field, f->old);
	put_back = false;
}

/* IRQs are off, and the VMCS is current. */
static int on_enter(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	struct clv_vcpu *vcpu = (void *)regs->di;

	if (current != poker)
		return 1;
	if (put_back)
		do_put_back(vcpu);
	if (!asked)
		return 1;
	do_poke(vcpu);
	if (svm) {
		before = *to_svm(vcpu)->vmcb;
		before.save.rax = vcpu->regs.rax;
	}
	*(struct clv_vcpu **)ri->data = vcpu;
	return 0;
}

/*
 * QEMU 7.2 overwrites the guest's state with the host's where it refuses before
 * it has loaded it. What was entered with is put there again.
 */
static void undo_qemu(struct clv_vcpu *vcpu)
{
	struct vmcb *vmcb = to_svm(vcpu)->vmcb;

	vmcb->save = before.save;
	vmcb->control.int_ctl = before.control.int_ctl;
	vmcb->control.int_state = before.control.int_state;
	vcpu->regs.rax = before.save.rax;
	vcpu->regs.rsp = before.save.rsp;
	vcpu->regs.rip = before.save.rip;
	vcpu->regs.rflags = before.save.rflags;
}

static bool was_refused(struct clv_vcpu *vcpu)
{
	if (svm)
		return to_svm(vcpu)->vmcb->control.exit_code == (u32)SVM_EXIT_ERR;
	return to_vmx(vcpu)->failed || (to_vmx(vcpu)->reason & VMX_EXIT_REASONS_FAILED_VMENTRY);
}

static int on_return(struct kretprobe_instance *ri, struct pt_regs *regs)
{
	struct clv_vcpu *vcpu = *(struct clv_vcpu **)ri->data;
	struct poke_field *f;

	asked = false;
	if (!was_refused(vcpu)) {
		poke.state = POKE_ENTERED;
		do_put_back(vcpu);
		return 0;
	}
	if (svm)
		undo_qemu(vcpu);
	poke.state = POKE_REFUSED;
	/* svm_enter() clears the event, whatever comes of it. */
	for (f = poke.fields; f < poke.fields + POKE_FIELDS; f++)
		if (f->field != POKE_NONE && get(vcpu, f->field) != f->poked &&
		    !(svm && (u16)f->field == offsetof(struct vmcb, control.event_inj)))
			poke.state = POKE_LOST;
	put_back = true;	/* the check is yet to come */
	return 0;
}

static struct kretprobe probe = {
	.handler = on_return,
	.entry_handler = on_enter,
	.data_size = sizeof(struct clv_vcpu *),
};

static ssize_t poke_write(struct file *file, const char __user *buf, size_t len, loff_t *pos)
{
	if (len != sizeof(poke) || put_back)
		return -EINVAL;
	poker = NULL;
	if (copy_from_user(&poke, buf, len))
		return -EFAULT;
	poke.state = POKE_ASKED;
	asked = true;
	poker = current;
	return len;
}

static ssize_t poke_read(struct file *file, char __user *buf, size_t len, loff_t *pos)
{
	if (len != sizeof(poke))
		return -EINVAL;
	return copy_to_user(buf, &poke, len) ? -EFAULT : len;
}

static const struct file_operations fops = {
	.owner = THIS_MODULE,
	.write = poke_write,
	.read = poke_read,
};

static struct miscdevice dev = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "cleave_poke",
	.fops = &fops,
};

static int __init poke_init(void)
{
	int ret;

	svm = boot_cpu_data.x86_vendor == X86_VENDOR_AMD ||
	      boot_cpu_data.x86_vendor == X86_VENDOR_HYGON;
	probe.kp.symbol_name = svm ? "svm_enter" : "vmx_enter";
	ret = register_kretprobe(&probe);
	if (ret)
		return ret;
	ret = misc_register(&dev);
	if (ret)
		unregister_kretprobe(&probe);
	return ret;
}

static void __exit poke_exit(void)
{
	misc_deregister(&dev);
	unregister_kretprobe(&probe);
}

module_init(poke_init);
module_exit(poke_exit);
MODULE_DESCRIPTION("changes of VMCS and VMCB for cleave's tests");
MODULE_LICENSE("GPL");
