// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: what happens at an exit. The backend has said what it was; here one
 * switch decides: answer it, give it to the guest, or to user space. The only
 * writer of the run page.
 */
#include <linux/kvm_para.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>
#include "backend.h"

#define DR6_BS	BIT(14)

/* Behind the instruction: no interrupt shadow, no RF, and #DB if it was stepped. */
static void skip(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	clv_regs_touch(vcpu, CLV_REG_RFLAGS);
	vcpu->regs.rflags &= ~(u64)X86_EFLAGS_RF;
	clv_set_rip(vcpu, exit->next_rip);
	clv_backend->shadow_set(vcpu, 0);
	if (vcpu->regs.rflags & X86_EFLAGS_TF) {
		struct cleave_event ev = {
			.type = CLEAVE_EVENT_EXCEPTION,
			.vector = X86_TRAP_DB,
			.flags = CLEAVE_EVENT_PAYLOAD,
			.payload = DR6_BS,
		};

		clv_queue_event(vcpu, &ev);
	}
}

/* Fills the run page's common part. The kind's own part is written before. */
void clv_exit_to_user(struct clv_vcpu *vcpu, u32 kind, const struct clv_exit *exit)
{
	struct cleave_run *run = vcpu->run;
	u64 valid = CLEAVE_REGS | (READ_ONCE(run->want) & CLEAVE_SREGS);

	if (kind == CLEAVE_EXIT_MMIO || kind == CLEAVE_EXIT_INSN ||
	    (kind == CLEAVE_EXIT_IO && exit->io.string))
		valid |= CLEAVE_SREGS;
	clv_regs_need(vcpu, CLV_REG_RIP | CLV_REG_RSP | CLV_REG_RFLAGS);
	run->regs = vcpu->regs;
	if (valid & CLEAVE_SREGS)
		clv_sregs_get(vcpu, &run->sregs);
	run->valid = valid;
	run->window = clv_interrupt_allowed(vcpu);
	if (exit) {
		run->raw_reason = exit->raw_reason;
		run->raw_info[0] = exit->raw_info[0];
		run->raw_info[1] = exit->raw_info[1];
		run->rip = exit->rip;
	} else {
		run->raw_reason = 0;
		run->raw_info[0] = 0;
		run->raw_info[1] = 0;
		run->rip = vcpu->regs.rip;
	}
	run->exit = kind;
}

static enum clv_next to_user(struct clv_vcpu *vcpu, u32 kind, const struct clv_exit *exit)
{
	clv_exit_to_user(vcpu, kind, exit);
	return CLV_TO_USER;
}

static enum clv_next do_cpuid(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	u32 eax = vcpu->regs.rax, ebx, ecx = vcpu->regs.rcx, edx;

	clv_cpuid_query(vcpu, &eax, &ebx, &ecx, &edx);
	vcpu->regs.rax = eax;
	vcpu->regs.rbx = ebx;
	vcpu->regs.rcx = ecx;
	vcpu->regs.rdx = edx;
	skip(vcpu, exit);
	return CLV_RESUME;
}

static enum clv_next do_hlt(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	skip(vcpu, exit);
	if (vcpu->vm->flags & CLEAVE_VM_EXIT_HLT)
		return to_user(vcpu, CLEAVE_EXIT_HLT, exit);
	WRITE_ONCE(vcpu->mp_state, CLEAVE_MP_HALTED);
	return CLV_RESUME;
}

static enum clv_next do_io(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	struct cleave_run *run = vcpu->run;
	u64 mask = GENMASK_ULL(exit->io.size * 8 - 1, 0);

	memset(&run->mmio, 0, sizeof(run->mmio));	/* of the same union, and larger */
	run->io.port = exit->io.port;
	run->io.size = exit->io.size;
	if (!exit->io.in)
		run->io.flags = CLEAVE_ACCESS_WRITE;
	if (exit->io.string) {
		run->io.flags |= CLEAVE_ACCESS_STRING;
		return to_user(vcpu, CLEAVE_EXIT_IO, exit);
	}
	if (exit->io.in) {
		vcpu->pending = CLV_PENDING_IN;
		vcpu->pending_size = exit->io.size;
	} else {
		run->io.data = vcpu->regs.rax & mask;
	}
	skip(vcpu, exit);
	return to_user(vcpu, CLEAVE_EXIT_IO, exit);
}

static enum clv_next msr_to_user(struct clv_vcpu *vcpu, const struct clv_exit *exit, bool write)
{
	struct cleave_run *run = vcpu->run;

	memset(&run->msr, 0, sizeof(run->msr));
	run->msr.index = vcpu->regs.rcx;
	if (write) {
		run->msr.flags = CLEAVE_ACCESS_WRITE;
		run->msr.data = (vcpu->regs.rdx << 32) | (u32)vcpu->regs.rax;
	}
	vcpu->pending = write ? CLV_PENDING_WRMSR : CLV_PENDING_RDMSR;
	vcpu->pending_rip = exit->next_rip;
	return to_user(vcpu, CLEAVE_EXIT_MSR, exit);
}

static enum clv_next do_msr(struct clv_vcpu *vcpu, const struct clv_exit *exit, bool write)
{
	u32 msr = vcpu->regs.rcx;
	u64 val = 0;
	int ret;

	if (write)
		ret = clv_msr_set(vcpu, msr, (vcpu->regs.rdx << 32) | (u32)vcpu->regs.rax, false);
	else
		ret = clv_msr_get(vcpu, msr, &val, false);
	if (ret == -ENOENT && (vcpu->vm->flags & CLEAVE_VM_EXIT_MSR))
		return msr_to_user(vcpu, exit, write);
	if (ret) {
		clv_queue_exception_err(vcpu, X86_TRAP_GP, 0);
		return CLV_RESUME;
	}
	if (!write) {
		vcpu->regs.rax = (u32)val;
		vcpu->regs.rdx = val >> 32;
	}
	skip(vcpu, exit);
	return CLV_RESUME;
}

/* Number in RAX, arguments in RBX, RCX, RDX, RSI, result in RAX, as on KVM. */
static enum clv_next do_hypercall(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	struct cleave_run *run = vcpu->run;
	u64 mask = clv_code64(vcpu) ? ~0ULL : ~0U;

	skip(vcpu, exit);
	if (clv_cpl(vcpu)) {
		vcpu->regs.rax = -KVM_EPERM & mask;
		return CLV_RESUME;
	}
	if (!(vcpu->vm->flags & CLEAVE_VM_EXIT_HYPERCALL)) {
		vcpu->regs.rax = -KVM_ENOSYS & mask;
		return CLV_RESUME;
	}
	run->hypercall.nr = vcpu->regs.rax & mask;
	run->hypercall.args[0] = vcpu->regs.rbx & mask;
	run->hypercall.args[1] = vcpu->regs.rcx & mask;
	run->hypercall.args[2] = vcpu->regs.rdx & mask;
	run->hypercall.args[3] = vcpu->regs.rsi & mask;
	return to_user(vcpu, CLEAVE_EXIT_HYPERCALL, exit);
}

static u64 *gpr(struct clv_vcpu *vcpu, u8 nr)
{
	return (u64 *)&vcpu->regs + (nr & 15);
}

static enum clv_next do_cr_write(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	int ret;

	switch (exit->cr.nr) {
	case 0:
		ret = clv_cr0_write(vcpu, exit->cr.value);
		break;
	case 3:
		ret = clv_cr3_write(vcpu, exit->cr.value);
		break;
	case 4:
		ret = clv_cr4_write(vcpu, exit->cr.value);
		break;
	case 8:
		ret = exit->cr.value & ~0xfULL ? -EINVAL : 0;
		if (!ret)
			clv_lapic_cr8_set(vcpu, exit->cr.value);
		break;
	default:
		clv_queue_exception(vcpu, X86_TRAP_UD);
		return CLV_RESUME;
	}
	if (ret)
		clv_queue_exception_err(vcpu, X86_TRAP_GP, 0);
	else
		skip(vcpu, exit);
	return CLV_RESUME;
}

static enum clv_next do_cr_read(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	u64 val;

	clv_regs_need(vcpu, CLV_REG_CRS | CLV_REG_RSP);
	switch (exit->cr.nr) {
	case 0:
		val = vcpu->sregs.cr0;
		break;
	case 3:
		val = vcpu->sregs.cr3;
		break;
	case 4:
		val = vcpu->sregs.cr4;
		break;
	case 8:
		val = clv_lapic_cr8_get(vcpu);
		break;
	default:
		clv_queue_exception(vcpu, X86_TRAP_UD);
		return CLV_RESUME;
	}
	*gpr(vcpu, exit->cr.gpr) = clv_code64(vcpu) ? val : (u32)val;
	if ((exit->cr.gpr & 15) == 4)
		vcpu->dirty |= CLV_REG_RSP;
	skip(vcpu, exit);
	return CLV_RESUME;
}

static enum clv_next do_xsetbv(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	u64 val = (vcpu->regs.rdx << 32) | (u32)vcpu->regs.rax;

	clv_regs_need(vcpu, CLV_REG_CRS);
	if (!(vcpu->sregs.cr4 & X86_CR4_OSXSAVE))
		clv_queue_exception(vcpu, X86_TRAP_UD);
	else if (clv_cpl(vcpu) || (u32)vcpu->regs.rcx || clv_xcr0_write(vcpu, val))
		clv_queue_exception_err(vcpu, X86_TRAP_GP, 0);
	else
		skip(vcpu, exit);
	return CLV_RESUME;
}

static void fill_mmio(struct clv_vcpu *vcpu, const struct clv_exit *exit, u32 flags)
{
	struct cleave_run *run = vcpu->run;

	memset(&run->mmio, 0, sizeof(run->mmio));
	run->mmio.gpa = exit->gpa;
	run->mmio.gva = exit->gva;
	run->mmio.gva_valid = exit->gva_valid;
	run->mmio.flags = flags;
	run->mmio.insn_len = min_t(u8, exit->insn_len, sizeof(run->mmio.insn));
	memcpy(run->mmio.insn, exit->insn, run->mmio.insn_len);
}

static u32 access_flags(const struct clv_exit *exit)
{
	return (exit->access & CLV_S2_W ? CLEAVE_ACCESS_WRITE : 0) |
	       (exit->access & CLV_S2_X ? CLEAVE_ACCESS_FETCH : 0) |
	       (exit->walk ? CLEAVE_ACCESS_WALK : 0);
}

static enum clv_next do_stage2(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	struct cleave_run *run = vcpu->run;
	unsigned long hva = 0;
	u32 flags = access_flags(exit);
	int err = 0;

	switch (clv_mem_fault(vcpu, exit->gpa, exit->access, &hva, &err)) {
	case CLV_FAULT_DONE:
	case CLV_FAULT_RETRY:
		return CLV_RESUME;
	case CLV_FAULT_READONLY:
		flags |= CLEAVE_ACCESS_READONLY;
		fallthrough;
	case CLV_FAULT_MMIO:
		fill_mmio(vcpu, exit, flags);
		return to_user(vcpu, CLEAVE_EXIT_MMIO, exit);
	case CLV_FAULT_HOST:
		break;
	}
	memset(&run->fault, 0, sizeof(run->fault));
	run->fault.gpa = exit->gpa;
	run->fault.hva = hva;
	run->fault.flags = flags;
	run->fault.error = -err;
	return to_user(vcpu, CLEAVE_EXIT_FAULT, exit);
}

static enum clv_next do_refused(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	struct cleave_run *run = vcpu->run;
	char rule[sizeof(run->refused.rule)] = "";
	u64 value = 0;

	if (!clv_backend->check(vcpu, rule, sizeof(rule), &value))
		strscpy(rule, "refused by a rule that this module does not check", sizeof(rule));
	memcpy(run->refused.rule, rule, sizeof(rule));
	run->refused.value = value;
	return to_user(vcpu, CLEAVE_EXIT_REFUSED, exit);
}

enum clv_next clv_handle_exit(struct clv_vcpu *vcpu, struct clv_exit *exit)
{
	switch (exit->kind) {
	case CLV_X_RESUME:
	case CLV_X_HOST:
	case CLV_X_MCE:
	case CLV_X_WINDOW:	/* the loop looks before each entry */
		return CLV_RESUME;
	case CLV_X_CPUID:
		return do_cpuid(vcpu, exit);
	case CLV_X_HLT:
		return do_hlt(vcpu, exit);
	case CLV_X_IO:
		return do_io(vcpu, exit);
	case CLV_X_RDMSR:
		return do_msr(vcpu, exit, false);
	case CLV_X_WRMSR:
		return do_msr(vcpu, exit, true);
	case CLV_X_HYPERCALL:
		return do_hypercall(vcpu, exit);
	case CLV_X_CR_READ:
		return do_cr_read(vcpu, exit);
	case CLV_X_CR_WRITE:
		return do_cr_write(vcpu, exit);
	case CLV_X_XSETBV:
		return do_xsetbv(vcpu, exit);
	case CLV_X_STAGE2:
		return do_stage2(vcpu, exit);
	case CLV_X_EXCEPTION:
		clv_queue_event(vcpu, &exit->event);
		return CLV_RESUME;
	case CLV_X_SKIP:
		skip(vcpu, exit);
		return CLV_RESUME;
	case CLV_X_UD:
		clv_queue_exception(vcpu, X86_TRAP_UD);
		return CLV_RESUME;
	case CLV_X_GP:
		clv_queue_exception_err(vcpu, X86_TRAP_GP, 0);
		return CLV_RESUME;
	case CLV_X_INSN:
		fill_mmio(vcpu, exit, access_flags(exit));
		return to_user(vcpu, CLEAVE_EXIT_INSN, exit);
	case CLV_X_SHUTDOWN:
		WRITE_ONCE(vcpu->mp_state, CLEAVE_MP_SHUTDOWN);
		return to_user(vcpu, CLEAVE_EXIT_SHUTDOWN, exit);
	case CLV_X_REFUSED:
		return do_refused(vcpu, exit);
	case CLV_X_TASK_SWITCH:
	case CLV_X_UNHANDLED:
		break;
	}
	return to_user(vcpu, CLEAVE_EXIT_UNHANDLED, exit);
}

/* What the last exit left for user space to fill in. */
void clv_complete_pending(struct clv_vcpu *vcpu)
{
	struct cleave_run *run = vcpu->run;
	struct clv_exit exit = { .next_rip = vcpu->pending_rip };
	enum clv_pending pending = vcpu->pending;
	u64 data;

	vcpu->pending = CLV_PENDING_NONE;
	switch (pending) {
	case CLV_PENDING_NONE:
		return;
	case CLV_PENDING_IN:
		data = READ_ONCE(run->io.data);
		/* A 32-bit result clears the upper half, a smaller one keeps the rest. */
		if (vcpu->pending_size == 4)
			vcpu->regs.rax = (u32)data;
		else if (vcpu->pending_size == 2)
			vcpu->regs.rax = (vcpu->regs.rax & ~0xffffULL) | (u16)data;
		else
			vcpu->regs.rax = (vcpu->regs.rax & ~0xffULL) | (u8)data;
		return;
	case CLV_PENDING_RDMSR:
	case CLV_PENDING_WRMSR:
		if (READ_ONCE(run->msr.error)) {
			clv_queue_exception_err(vcpu, X86_TRAP_GP, 0);
			return;
		}
		if (pending == CLV_PENDING_RDMSR) {
			data = READ_ONCE(run->msr.data);
			vcpu->regs.rax = (u32)data;
			vcpu->regs.rdx = data >> 32;
		}
		skip(vcpu, &exit);
		return;
	}
}
