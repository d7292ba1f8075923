// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: what happens at an exit. The backend has said what it was; here one switch decides:
 * answer it, give it to the guest, or to user space. The only writer of the run page.
 */
#include <linux/kvm_para.h>
#include <asm/debugreg.h>
#include "backend.h"
#include "trace.h"

static noinline void queue_step(struct clv_vcpu *vcpu)
{
	clv_queue_event(vcpu, &(struct cleave_event) {
		.type = CLEAVE_EVENT_EXCEPTION, .vector = X86_TRAP_DB,
		.flags = CLEAVE_EVENT_PAYLOAD, .payload = DR_STEP });
}

/* Behind the instruction: no interrupt shadow, no RF, and #DB if it was stepped. */
static enum clv_next skip(struct clv_vcpu *vcpu, u64 next_rip)
{
	vcpu->dirty |= CLV_REG_RIP;
	if (vcpu->regs.rflags & X86_EFLAGS_RF) {
		vcpu->dirty |= CLV_REG_RFLAGS;
		vcpu->regs.rflags &= ~(u64)X86_EFLAGS_RF;
	}
	vcpu->regs.rip = next_rip;
	vcpu->events.shadow = 0;
	if (vcpu->regs.rflags & X86_EFLAGS_TF)
		queue_step(vcpu);
	return CLV_RESUME;
}

static enum clv_next raise(struct clv_vcpu *vcpu, u8 vector)
{
	clv_queue_exception(vcpu, vector);
	return CLV_RESUME;
}

/* The instruction is done, or was #GP(0). */
static enum clv_next skip_or_gp(struct clv_vcpu *vcpu, u64 next_rip, bool gp)
{
	return gp ? raise(vcpu, X86_TRAP_GP) : skip(vcpu, next_rip);
}

static u64 edx_eax(struct clv_vcpu *vcpu)
{
	return vcpu->regs.rdx << 32 | (u32)vcpu->regs.rax;
}

static void set_edx_eax(struct clv_vcpu *vcpu, u64 val)
{
	vcpu->regs.rax = (u32)val;
	vcpu->regs.rdx = val >> 32;
}

/* Fills the run page's common part. The kind's own part is written before. */
enum clv_next clv_exit_to_user(struct clv_vcpu *vcpu, u32 kind, const struct clv_exit *exit)
{
	struct cleave_run *run = vcpu->run;
	u64 valid = CLEAVE_REGS | (READ_ONCE(run->want) & CLEAVE_SREGS);

	if (kind == CLEAVE_EXIT_MMIO || kind == CLEAVE_EXIT_INSN ||
	    (kind == CLEAVE_EXIT_IO && exit->io.string))
		valid |= CLEAVE_SREGS;
	run->regs = vcpu->regs;
	if (valid & CLEAVE_SREGS)
		clv_sregs_get(vcpu, &run->sregs);
	run->valid = valid;
	run->window = clv_interrupt_allowed(vcpu);
	run->raw_reason = exit ? exit->raw_reason : 0;
	run->raw_info[0] = exit ? exit->raw_info[0] : 0;
	run->raw_info[1] = exit ? exit->raw_info[1] : 0;
	run->rip = exit ? exit->rip : vcpu->regs.rip;
	run->exit = kind;
	clv_recorder_left(vcpu, kind);
	return CLV_TO_USER;
}

void clv_eoi_to_user(struct clv_vcpu *vcpu, u8 vector)
{
	vcpu->run->eoi = (typeof(vcpu->run->eoi)) { .vector = vector };
	clv_exit_to_user(vcpu, CLEAVE_EXIT_EOI, NULL);
}

static noinline enum clv_next do_cpuid(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	struct cleave_cpuid_entry e = { .leaf = vcpu->regs.rax, .subleaf = vcpu->regs.rcx };

	clv_cpuid_query(vcpu, &e);
	vcpu->regs.rax = e.eax;
	vcpu->regs.rbx = e.ebx;
	vcpu->regs.rcx = e.ecx;
	vcpu->regs.rdx = e.edx;
	return skip(vcpu, exit->next_rip);
}

static enum clv_next do_hlt(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	skip(vcpu, exit->next_rip);
	if (vcpu->vm->flags & CLEAVE_VM_EXIT_HLT)
		return clv_exit_to_user(vcpu, CLEAVE_EXIT_HLT, exit);
	WRITE_ONCE(vcpu->mp_state, CLEAVE_MP_HALTED);
	return CLV_RESUME;
}

static enum clv_next do_io(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	struct cleave_run *run = vcpu->run;

	if (clv_ioeventfd_out(vcpu, exit))
		return skip(vcpu, exit->next_rip);
	run->io = (typeof(run->io)) {
		.port = exit->io.port, .size = exit->io.size,
		.flags = exit->io.in ? 0 : CLEAVE_ACCESS_WRITE };
	if (exit->io.string) {
		run->io.flags |= CLEAVE_ACCESS_STRING;
		return clv_exit_to_user(vcpu, CLEAVE_EXIT_IO, exit);
	}
	if (exit->io.in) {
		vcpu->pending = CLV_PENDING_IN;
		vcpu->pending_size = exit->io.size;
	} else {
		run->io.data = vcpu->regs.rax & GENMASK(exit->io.size * 8 - 1, 0);
	}
	skip(vcpu, exit->next_rip);
	return clv_exit_to_user(vcpu, CLEAVE_EXIT_IO, exit);
}

static noinline enum clv_next unknown_msr(struct clv_vcpu *vcpu, const struct clv_exit *exit,
					  bool write)
{
	if (!(vcpu->vm->flags & CLEAVE_VM_EXIT_MSR))
		return raise(vcpu, X86_TRAP_GP);
	vcpu->run->msr = (typeof(vcpu->run->msr)) {
		.index = vcpu->regs.rcx, .flags = write ? CLEAVE_ACCESS_WRITE : 0,
		.data = write ? edx_eax(vcpu) : 0 };
	vcpu->pending = write ? CLV_PENDING_WRMSR : CLV_PENDING_RDMSR;
	vcpu->pending_rip = exit->next_rip;
	return clv_exit_to_user(vcpu, CLEAVE_EXIT_MSR, exit);
}

static noinline enum clv_next do_rdmsr(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	u64 val;
	int ret = clv_msr_get(vcpu, vcpu->regs.rcx, &val, false);

	if (ret == -ENOENT)
		return unknown_msr(vcpu, exit, false);
	if (!ret)
		set_edx_eax(vcpu, val);
	return skip_or_gp(vcpu, exit->next_rip, ret);
}

static noinline enum clv_next do_wrmsr(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	u32 msr = vcpu->regs.rcx;
	u64 val = edx_eax(vcpu);
	int ret = clv_msr_is_lapic(msr) ? clv_lapic_msr_set(vcpu, msr, val) :
					  clv_msr_set(vcpu, msr, val, false);

	return ret == -ENOENT ? unknown_msr(vcpu, exit, true) :
				skip_or_gp(vcpu, exit->next_rip, ret);
}

/* Number in RAX, arguments in RBX, RCX, RDX, RSI, result in RAX, as on KVM. */
static noinline enum clv_next do_hypercall(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	struct cleave_regs *r = &vcpu->regs;
	u64 mask = exit->mode.code64 ? ~0ULL : ~0U, nr = r->rax & mask, result = -KVM_ENOSYS;
	u64 args[] = { r->rbx & mask, r->rcx & mask, r->rdx & mask, r->rsi & mask };
	bool user = false;

	skip(vcpu, exit->next_rip);
	if (exit->mode.cpl)
		result = -KVM_EPERM;
	else if (!clv_pv_hypercall(vcpu, nr, args, exit->mode.code64, &result))
		user = vcpu->vm->flags & CLEAVE_VM_EXIT_HYPERCALL;
	if (!user) {
		r->rax = result & mask;
		return CLV_RESUME;
	}
	vcpu->run->hypercall.nr = nr;
	memcpy(vcpu->run->hypercall.args, args, sizeof(args));
	return clv_exit_to_user(vcpu, CLEAVE_EXIT_HYPERCALL, exit);
}

static enum clv_next do_cr_write(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	u64 val = exit->cr.value;

	switch (exit->cr.nr) {
	case 0:	return skip_or_gp(vcpu, exit->next_rip, clv_cr0_write(vcpu, val));
	case 4:	return skip_or_gp(vcpu, exit->next_rip, clv_cr4_write(vcpu, val));
	case 8:
		if (val <= 0xf)
			clv_lapic_cr8_set(vcpu, val);
		return skip_or_gp(vcpu, exit->next_rip, val > 0xf);
	default: return raise(vcpu, X86_TRAP_UD);
	}
}

static enum clv_next do_cr_read(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	u64 *gpr = (u64 *)&vcpu->regs + (exit->cr.gpr & 15), val;
	u8 nr = exit->cr.nr;

	if (nr != 0 && nr != 4 && nr != 8)
		return raise(vcpu, X86_TRAP_UD);
	clv_regs_need(vcpu, CLV_REG_CRS);
	val = nr == 0 ? vcpu->sregs.cr0 : nr == 4 ? vcpu->sregs.cr4 : clv_lapic_cr8_get(vcpu);
	*gpr = clv_code64(vcpu) ? val : (u32)val;
	if (gpr == &vcpu->regs.rsp)
		vcpu->dirty |= CLV_REG_RSP;
	return skip(vcpu, exit->next_rip);
}

static enum clv_next do_xsetbv(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	clv_regs_need(vcpu, CLV_REG_CRS);
	if (!(vcpu->sregs.cr4 & X86_CR4_OSXSAVE))
		return raise(vcpu, X86_TRAP_UD);
	return skip_or_gp(vcpu, exit->next_rip, clv_cpl(vcpu) || (u32)vcpu->regs.rcx ||
						clv_xcr0_write(vcpu, edx_eax(vcpu)));
}

static void fill_mmio(struct clv_vcpu *vcpu, const struct clv_exit *exit, u32 flags)
{
	vcpu->run->mmio = (typeof(vcpu->run->mmio)) { .gpa = exit->gpa, .flags = flags };
}

static u32 access_flags(const struct clv_exit *exit)
{
	return (exit->access & CLV_S2_W ? CLEAVE_ACCESS_WRITE : 0) |
	       (exit->access & CLV_S2_X ? CLEAVE_ACCESS_FETCH : 0) |
	       (exit->walk ? CLEAVE_ACCESS_WALK : 0);
}

/* The host refuses the owner's memory there; err: -errno. */
enum clv_next clv_exit_fault(struct clv_vcpu *vcpu, u64 gpa, unsigned long hva, u32 flags, int err,
			     const struct clv_exit *exit)
{
	vcpu->run->fault = (typeof(vcpu->run->fault)) {
		.gpa = gpa, .hva = hva, .flags = flags, .error = -err };
	return clv_exit_to_user(vcpu, CLEAVE_EXIT_FAULT, exit);
}

static enum clv_next do_stage2(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	unsigned long hva = 0;
	u32 flags = access_flags(exit);
	int err = clv_mem_fault(vcpu, exit->gpa, exit->access, &hva);
	u8 len;

	trace_cleave_fault(vcpu->id, exit->gpa, flags, hva, -err);
	switch (err) {
	case 0:
	case -EAGAIN:
		return CLV_RESUME;
	case -EROFS:
		flags |= CLEAVE_ACCESS_READONLY;
		fallthrough;
	case -ENOENT:
		len = clv_ioeventfd_store(vcpu, exit);
		if (len)
			return skip(vcpu, exit->rip + len);
		fill_mmio(vcpu, exit, flags);
		return clv_exit_to_user(vcpu, CLEAVE_EXIT_MMIO, exit);
	}
	return clv_exit_fault(vcpu, exit->gpa, hva, flags, err, exit);
}

static enum clv_next do_refused(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	struct cleave_refusal r = { 0 };

	clv_backend->check(vcpu, &r);
	vcpu->run->refused = r;
	return clv_exit_to_user(vcpu, CLEAVE_EXIT_REFUSED, exit);
}

static noinline enum clv_next handle_other(struct clv_vcpu *vcpu, struct clv_exit *exit)
{
	switch (exit->kind) {
	case CLEAVE_KIND_HLT:		return do_hlt(vcpu, exit);
	case CLEAVE_KIND_IO:		return do_io(vcpu, exit);
	case CLEAVE_KIND_CR_READ:	return do_cr_read(vcpu, exit);
	case CLEAVE_KIND_CR_WRITE:	return do_cr_write(vcpu, exit);
	case CLEAVE_KIND_XSETBV:	return do_xsetbv(vcpu, exit);
	case CLEAVE_KIND_STAGE2:	return do_stage2(vcpu, exit);
	case CLEAVE_KIND_SKIP:		return skip(vcpu, exit->next_rip);
	case CLEAVE_KIND_GP:		return raise(vcpu, X86_TRAP_GP);
	case CLEAVE_KIND_UD:		return raise(vcpu, X86_TRAP_UD);
	case CLEAVE_KIND_REFUSED:	return do_refused(vcpu, exit);
	case CLEAVE_KIND_EXCEPTION:
		clv_queue_event(vcpu, &exit->event);
		return CLV_RESUME;
	case CLEAVE_KIND_INSN:
		fill_mmio(vcpu, exit, access_flags(exit));
		return clv_exit_to_user(vcpu, CLEAVE_EXIT_INSN, exit);
	case CLEAVE_KIND_SHUTDOWN:
		memset(&vcpu->events.injected, 0, sizeof(vcpu->events.injected));
		WRITE_ONCE(vcpu->mp_state, CLEAVE_MP_SHUTDOWN);
		return clv_exit_to_user(vcpu, CLEAVE_EXIT_SHUTDOWN, exit);
	default:			/* CLEAVE_KIND_TASK_SWITCH, CLEAVE_KIND_UNHANDLED */
		return clv_exit_to_user(vcpu, CLEAVE_EXIT_UNHANDLED, exit);
	}
}

/* The ones that come often are told apart first. */
enum clv_next clv_handle_exit(struct clv_vcpu *vcpu, struct clv_exit *exit)
{
	switch (exit->kind) {
	case CLEAVE_KIND_NONE:
	case CLEAVE_KIND_HOST:
	case CLEAVE_KIND_MCE:
	case CLEAVE_KIND_WINDOW:	/* the loop looks before each entry */
		return CLV_RESUME;
	case CLEAVE_KIND_CPUID:		return do_cpuid(vcpu, exit);
	case CLEAVE_KIND_RDMSR:		return do_rdmsr(vcpu, exit);
	case CLEAVE_KIND_WRMSR:		return do_wrmsr(vcpu, exit);
	case CLEAVE_KIND_HYPERCALL:	return do_hypercall(vcpu, exit);
	default:			return handle_other(vcpu, exit);
	}
}

/* What the last exit left for user space to fill in. */
void clv_complete_pending(struct clv_vcpu *vcpu)
{
	struct cleave_run *run = vcpu->run;
	enum clv_pending pending = vcpu->pending;
	u64 mask, error;

	vcpu->pending = CLV_PENDING_NONE;
	if (pending == CLV_PENDING_IN) {
		/* A 32-bit result clears the upper half, a smaller one keeps the rest. */
		mask = GENMASK_ULL(vcpu->pending_size * 8 - 1, 0);
		if (vcpu->pending_size == 4)
			vcpu->regs.rax = 0;
		vcpu->regs.rax = (vcpu->regs.rax & ~mask) | (READ_ONCE(run->io.data) & mask);
	} else if (pending != CLV_PENDING_NONE) {
		error = READ_ONCE(run->msr.error);
		if (pending == CLV_PENDING_RDMSR && !error)
			set_edx_eax(vcpu, READ_ONCE(run->msr.data));
		skip_or_gp(vcpu, vcpu->pending_rip, error);
	}
}
