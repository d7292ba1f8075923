// SPDX-License-Identifier: GPL-2.0
/* cleave: into an AMD-V guest and out of it, and why it came out. */
#include <linux/kvm_host.h>
#include <asm/debugreg.h>
#include <asm/nospec-branch.h>
#include <asm/processor.h>
#include "../compat.h"
#include "../insn.h"
#include "../entry.h"
#include "vmcb.h"

/* Entries for which MOV DR stays free once it was used. */
#define DR_FREE_ENTRIES	64

/* Intercepted during a step. INT3 and INTO are not: RIP would be at them. */
#define STEP_EXCEPTIONS	(~(u32)(BIT(X86_TRAP_BP) | BIT(X86_TRAP_OF)))

/* With CLV_WINDOW_*: step over the interrupt shadow instead. */
#define WINDOW_STEP	BIT(2)

/* The flush that is due, and a new ASID where the old one is void. Used up, they start anew. */
static void asid_update(struct svm_vcpu *svm, struct svm_cpu *cpu)
{
	struct vmcb_control_area *c = &svm->vmcb->control;

	if (svm->vcpu.flush) {
		svm->vcpu.flush = false;
		if (static_cpu_has(X86_FEATURE_FLUSHBYASID))
			c->tlb_ctl = TLB_CONTROL_FLUSH_ASID;
		else
			svm->asid_gen = 0;
	}
	if (svm->asid_gen == cpu->asid_gen)
		return;
	if (cpu->asid_next > cpu->asid_max) {
		cpu->asid_gen++;
		cpu->asid_next = cpu->asid_min;
		c->tlb_ctl = TLB_CONTROL_FLUSH_ALL_ASID;
	}
	svm->asid_gen = cpu->asid_gen;
	c->asid = cpu->asid_next++;
	svm_dirty(svm, CLEAN_ASID);
}

/* What this CPU needs to know before it runs this vCPU, and not the one before. */
static void cpu_prepare(struct svm_vcpu *svm, struct svm_cpu *cpu)
{
	u64 tsc_offset = clv_tsc_offset(&svm->vcpu);
	struct vmcb *vmcb = svm->vmcb;

	if (cpu->last_vcpu != svm->uid) {
		cpu->last_vcpu = svm->uid;
		indirect_branch_prediction_barrier();
	}
	asid_update(svm, cpu);
	if ((static_cpu_has(X86_FEATURE_RDTSCP) || static_cpu_has(X86_FEATURE_RDPID)) &&
	    cpu->tsc_aux != svm->vcpu.tsc_aux) {
		cpu->tsc_aux = svm->vcpu.tsc_aux;
		wrmsrl(MSR_TSC_AUX, cpu->tsc_aux);
	}
	if (vmcb->control.tsc_offset != tsc_offset) {
		vmcb->control.tsc_offset = tsc_offset;
		svm_dirty(svm, CLEAN_INTERCEPTS);
	}
	if (vmcb->save.g_pat != svm->vcpu.pat) {
		vmcb->save.g_pat = svm->vcpu.pat;
		svm_dirty(svm, CLEAN_NP);
	}
	if (static_cpu_has(X86_FEATURE_V_SPEC_CTRL))
		vmcb->save.spec_ctrl = svm->vcpu.spec_ctrl;
	/* Not switched by VMRUN without LBR virtualization (APM vol. 2 15.23). */
	svm->host_debugctl = __rdmsr(MSR_IA32_DEBUGCTLMSR);
	if (svm->host_debugctl)
		wrmsrl(MSR_IA32_DEBUGCTLMSR, 0);
}

/* Are DR0 to DR3 the guest's while it runs? */
static bool dr_enter(struct svm_vcpu *svm)
{
	const u64 *db = svm->vcpu.debug.db;
	int i;

	if (svm->dr_free && !--svm->dr_free)
		svm_intercept_dr(svm, true);
	if (!svm->dr_free && !(svm->vmcb->save.dr7 & DR7_BP_EN_MASK))
		return false;
	if (hw_breakpoint_active())
		set_debugreg(0, 7);
	for (i = 0; i < 4; i++)
		set_debugreg(db[i], i);
	return true;
}

/* An exit leaves DR7 with all breakpoints off and DR6 the guest's. */
static void dr_leave(struct svm_vcpu *svm, bool loaded)
{
	int i;

	for (i = 0; loaded && i < 4; i++)
		get_debugreg(svm->vcpu.debug.db[i], i);
	if (svm->vmcb->save.dr6 != DR6_RESERVED)
		set_debugreg(DR6_RESERVED, 6);
	if (hw_breakpoint_active())
		hw_breakpoint_restore();
}

/*
 * Steps over what holds an NMI off: the IRET of the one before, or an
 * interrupt shadow. Exceptions are intercepted meanwhile, so that no
 * handler of the guest finds a TF on its stack that the guest did not set.
 */
static void step_begin(struct svm_vcpu *svm)
{
	struct cleave_events *ev = &svm->vcpu.events;
	struct vmcb *vmcb = svm->vmcb;
	bool nmi = svm->windows & CLV_WINDOW_NMI;

	svm->stepping = false;
	if (vmcb->control.event_inj) {
		/* Nothing holds it off behind that event's delivery: this ends the guest there. */
		if (nmi && (!ev->nmi_masked || svm->nmi_iret))
			smp_send_reschedule(smp_processor_id());
		return;
	}
	if (!(svm->windows & WINDOW_STEP) &&
	    !(nmi && (ev->nmi_masked ? svm->nmi_iret : ev->shadow)))
		return;
	svm->stepping = true;
	svm->step_tf = vmcb->save.rflags & X86_EFLAGS_TF;
	svm->step_dr6 = vmcb->save.dr6;
	vmcb->control.intercepts[INTERCEPT_EXCEPTION] = STEP_EXCEPTIONS;
	vmcb->save.rflags |= X86_EFLAGS_TF;
	svm_dirty(svm, CLEAN_INTERCEPTS);
}

/* A finished IRET ends the NMI's mask. It has loaded RFLAGS whole; else TF is still ours. */
static void step_end(struct svm_vcpu *svm)
{
	struct vmcb *vmcb = svm->vmcb;
	bool iret_done = svm->nmi_iret && vmcb->save.rip != svm->iret_rip;

	if (svm->stepping) {
		vmcb->control.intercepts[INTERCEPT_EXCEPTION] = SVM_EXCEPTIONS;
		svm_dirty(svm, CLEAN_INTERCEPTS);
		if (!svm->step_tf && !iret_done)
			vmcb->save.rflags &= ~(u64)X86_EFLAGS_TF;
	}
	if (iret_done) {
		svm->vcpu.events.nmi_masked = false;
		svm->nmi_iret = false;
	}
}

/*
 * QEMU's emulated VMRUN delivers an interrupt of EVENTINJ, and leaves it in exception_index: when
 * it has to leave its loop before the next exit it delivers that once more. Where the guest takes
 * the interrupt at once V_IRQ does the same (APM vol. 2 15.21.4), and does it once.
 */
static bool virq_begin(struct svm_vcpu *svm)
{
	struct vmcb_control_area *c = &svm->vmcb->control;

	if (!svm_on_tcg || svm->windows || svm->vcpu.events.shadow ||
	    !(svm->vmcb->save.rflags & X86_EFLAGS_IF) ||
	    (c->event_inj & ~SVM_EVTINJ_VEC_MASK) != (SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_INTR))
		return false;
	c->int_vector = c->event_inj & SVM_EVTINJ_VEC_MASK;
	c->int_ctl |= V_IRQ_MASK | V_INTR_PRIO_MASK | V_IGN_TPR_MASK;
	c->event_inj = 0;
	svm_dirty(svm, CLEAN_INTR);
	return true;
}

static void virq_end(struct svm_vcpu *svm)
{
	struct vmcb_control_area *c = &svm->vmcb->control;

	/*
	 * Not delivered; if cut short, QEMU takes it for an exception. If the guest has had one
	 * on the way it is lost, as clv_queue_event() says.
	 */
	if ((c->int_ctl & V_IRQ_MASK) && (svm->vmcb->save.rip == svm->entry_rip ||
					  !(u8)(c->exit_int_info ^ svm->injected)))
		c->exit_int_info = svm->injected;
	c->int_ctl &= ~V_IRQ_INJECTION_BITS_MASK;
	svm_dirty(svm, CLEAN_INTR);
}

static noinstr int enter_guest(struct svm_vcpu *svm, u64 host_pa, u32 guest_spec, u32 host_spec)
{
	int ret;

	clv_guest_state_enter(&svm->vcpu);
	ret = svm_vmenter(&svm->vcpu.regs, svm->vmcb_pa, host_pa, guest_spec, host_spec);
	guest_state_exit_irqoff();
	return ret;
}

/* Decoding may have to fetch the instruction: CLV_LEAVE, but for the host's interrupts. */
void svm_enter(struct clv_vcpu *vcpu, bool again)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct svm_cpu *cpu = this_cpu_ptr(&svm_cpu);
	struct vmcb_control_area *c = &svm->vmcb->control;
	struct vmcb_save_area *s = &svm->vmcb->save;
	u32 host_spec = 0, guest_spec = 0;
	bool dr, virq, entered;

	cpu_prepare(svm, cpu);
	if (static_cpu_has(X86_FEATURE_MSR_SPEC_CTRL) && !static_cpu_has(X86_FEATURE_V_SPEC_CTRL)) {
		host_spec = this_cpu_read(x86_spec_ctrl_current);
		guest_spec = vcpu->spec_ctrl;
	}
	c->int_state = vcpu->events.shadow ? SVM_INTERRUPT_SHADOW_MASK : 0;
	step_begin(svm);
	s->rax = vcpu->regs.rax;
	svm->injected = c->event_inj;
	svm->injected_error = c->event_inj_err;
	svm->entry_rip = s->rip;
	virq = virq_begin(svm);
	dr = dr_enter(svm);

	entered = !enter_guest(svm, cpu->host_pa, guest_spec, host_spec);
	/* The loop sees that the host goes down before it enters again. */
	if (!entered)
		c->exit_code = SVM_EXIT_INTR;
	dr_leave(svm, dr);
	if (svm->host_debugctl)
		wrmsrl(MSR_IA32_DEBUGCTLMSR, svm->host_debugctl);
	if (cpu_feature_enabled(X86_FEATURE_IBPB_EXIT_TO_USER))
		this_cpu_write(x86_ibpb_exit_to_user, true);
	step_end(svm);
	/*
	 * One bit for both kinds here (APM vol. 2 15.21.5). With IF clear it cannot
	 * be STI's; with IF set STI's is the likely one, and the milder.
	 */
	vcpu->events.shadow = !(c->int_state & SVM_INTERRUPT_SHADOW_MASK) ? 0 :
			      s->rflags & X86_EFLAGS_IF ? CLEAVE_SHADOW_STI : CLEAVE_SHADOW_MOV_SS;
	if (c->exit_code == SVM_EXIT_EXCP_BASE + X86_TRAP_MC)
		clv_host_machine_check();
	vcpu->stay = entered && c->exit_code == SVM_EXIT_INTR ? CLV_STAY_IRQ : CLV_LEAVE;
	vcpu->regs.rax = s->rax;
	vcpu->regs.rsp = s->rsp;
	vcpu->regs.rip = s->rip;
	vcpu->regs.rflags = s->rflags;
	vcpu->debug.dr6 = s->dr6;
	vcpu->debug.dr7 = s->dr7;
	vcpu->avail = CLV_REG_KEPT;
	c->event_inj = 0;
	if (entered && c->exit_code != (u32)SVM_EXIT_ERR) {
		c->tlb_ctl = TLB_CONTROL_DO_NOTHING;
		c->clean = static_cpu_has(X86_FEATURE_VMCBCLEAN) ? CLEAN_ALL : 0;
	} else {
		/* The flush and the event are still due, and nothing is cached. */
		if (c->tlb_ctl == TLB_CONTROL_FLUSH_ALL_ASID)
			cpu->asid_next = cpu->asid_max + 1;	/* whoever comes next */
		svm->asid_gen = 0;
		c->clean = 0;
		c->exit_int_info = svm->injected;
		c->exit_int_info_err = svm->injected_error;
	}
	if (virq)
		virq_end(svm);
}

/*
 * The window for interrupts is an intercepted virtual interrupt of the highest priority. The one
 * for NMIs is IRET's intercept, armed with the mask, and step_begin().
 */
static void set_window(struct clv_vcpu *vcpu, u32 windows)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_control_area *c = &svm->vmcb->control;

	/*
	 * QEMU's emulated VMRUN forgets the interrupt shadow (APM vol. 2 15.21.5),
	 * so this window would open within STI; HLT.
	 */
	if ((windows & CLV_WINDOW_INT) && vcpu->events.shadow && svm_on_tcg)
		windows ^= CLV_WINDOW_INT | WINDOW_STEP;
	if ((windows ^ svm->windows) & CLV_WINDOW_INT) {
		c->int_ctl &= ~V_IRQ_INJECTION_BITS_MASK;
		if (windows & CLV_WINDOW_INT)
			c->int_ctl |= V_IRQ_MASK | V_INTR_PRIO_MASK | V_IGN_TPR_MASK;
		svm_intercept(svm, INTERCEPT_VINTR, windows & CLV_WINDOW_INT);
		svm_dirty(svm, CLEAN_INTR);
	}
	svm->windows = windows;
	/* Elsewhere by new state from user space, that IRET ends no mask. */
	svm->nmi_iret &= vcpu->events.nmi_masked && vcpu->regs.rip == svm->iret_rip;
	svm_intercept(svm, INTERCEPT_IRET, vcpu->events.nmi_masked && !svm->nmi_iret);
}

void svm_inject(struct clv_vcpu *vcpu, u32 event, u32 error_code, u32 windows)
{
	struct vmcb_control_area *c = &to_svm(vcpu)->vmcb->control;

	c->event_inj = event;
	c->event_inj_err = error_code;
	set_window(vcpu, windows);
}

/*
 * INT3 and INTO that were cut short look like exceptions here, and are to be forgotten as INT n is;
 * not so an exception of that vector that came from EVENTINJ.
 */
static void requeue(struct svm_vcpu *svm, u32 info, u32 error)
{
	u8 vector = info & SVM_EXITINTINFO_VEC_MASK;
	bool ours = info == svm->injected && svm->vmcb->save.rip == svm->entry_rip;

	if (ours || (info & SVM_EVTINJ_TYPE_MASK) != SVM_EVTINJ_TYPE_EXEPT ||
	    (vector != X86_TRAP_BP && vector != X86_TRAP_OF))
		clv_events_requeue(&svm->vcpu, info, error);
}

/* As wide as the guest's code: 64 or 32 bits. */
static u64 narrow(struct clv_vcpu *vcpu, u64 val)
{
	return svm_code64(vcpu) ? val : (u32)val;
}

/* The CPU's own next RIP, if it has one to give: zero by erratum at times. */
static bool next_rip_saved(struct clv_vcpu *vcpu, struct clv_exit *exit)
{
	if (static_cpu_has(X86_FEATURE_NRIPS))
		exit->next_rip = to_svm(vcpu)->vmcb->control.next_rip;
	return exit->next_rip;
}

/* The instruction at RIP, and next_rip, from its bytes. False: exit->kind says what instead. */
static bool read_insn(struct clv_vcpu *vcpu, struct clv_exit *exit, struct clv_insn *in)
{
	const struct vmcb_save_area *s = &to_svm(vcpu)->vmcb->save;
	bool code64 = svm_code64(vcpu);
	u8 buf[CLV_INSN_MAX];
	int n = clv_fetch(vcpu, &(struct clv_code) {
		.cr0 = s->cr0, .cr3 = s->cr3, .cr4 = s->cr4, .efer = s->efer,
		.linear = s->rip + (code64 ? 0 : s->cs.base), .code64 = code64 }, buf);

	if (n > 0 && clv_insn_parse(buf, n, code64, in)) {
		exit->next_rip = narrow(vcpu, exit->rip + in->len);
		return true;
	}
	/* Unmapped by another vCPU since: the guest shall fault on it itself. */
	exit->kind = n == -EFAULT ? CLEAVE_KIND_NONE : CLEAVE_KIND_INSN;
	return false;
}

/* With an opcode: an exit by that instruction, of which only the length counts. */
static void decode_insn(struct clv_vcpu *vcpu, struct clv_exit *exit, u8 kind, u32 opcode)
{
	struct clv_insn in;

	exit->kind = kind;
	if (!opcode || next_rip_saved(vcpu, exit) || !read_insn(vcpu, exit, &in))
		return;
	/* QEMU 7.2 gives an INVD the exit code of WBINVD. */
	if (in.opcode != opcode && !(in.opcode == CLV_OP_INVD && opcode == CLV_OP_WBINVD))
		exit->kind = CLEAVE_KIND_INSN;
}

/* MOV CR, CLTS and LMSW; SMSW and memory operands are for user space. */
static void decode_cr(struct clv_vcpu *vcpu, struct clv_exit *exit, u32 code)
{
	const u64 lmsw_bits = X86_CR0_MP | X86_CR0_EM | X86_CR0_TS;
	bool write = code >= SVM_EXIT_WRITE_CR0;
	const u32 mov = write ? CLV_OP_CR_WRITE : CLV_OP_CR_READ;
	u64 cr0 = vcpu->sregs.cr0, info = exit->raw_info[0];
	struct clv_insn in = { .opcode = mov, .rm = info & SVM_EXITINFO_REG_MASK };

	exit->kind = write ? CLEAVE_KIND_CR_WRITE : CLEAVE_KIND_CR_READ;
	exit->cr.nr = code & 15;
	/* EXITINFO1 with decode assists: bit 63 for MOV CR, 3:0 its GPR (APM vol. 2 15.33.1). */
	if (!(static_cpu_has(X86_FEATURE_DECODEASSISTS) && (info & BIT_ULL(63)) &&
	      next_rip_saved(vcpu, exit)) && !read_insn(vcpu, exit, &in))
		return;
	exit->cr.gpr = in.rm;
	exit->cr.value = narrow(vcpu, ((u64 *)&vcpu->regs)[in.rm & 15]);
	if (in.opcode == mov)
		return;
	if (write && in.opcode == CLV_OP_CLTS)
		exit->cr.value = cr0 & ~(u64)X86_CR0_TS;
	else if (write && (in.opcode & ~7U) == CLV_OP_LMSW)
		/* It can set PE but not clear it (APM vol. 3, LMSW). */
		exit->cr.value = (cr0 & ~lmsw_bits) | (exit->cr.value & (lmsw_bits | X86_CR0_PE));
	else
		exit->kind = CLEAVE_KIND_INSN;
}

/* EXITINFO1 is a page fault's error code and more, APM vol. 2 15.25.6. */
static void decode_npf(struct clv_exit *exit)
{
	u64 info = exit->raw_info[0];

	/* A broken table of ours, or a guest address beyond what nested paging reaches. */
	if (info & PFERR_RSVD_MASK) {
		pr_warn_ratelimited("cleave: nested fault on reserved bits at %#llx\n",
				    exit->raw_info[1]);
		exit->kind = CLEAVE_KIND_UNHANDLED;
		return;
	}
	exit->kind = CLEAVE_KIND_STAGE2;
	exit->gpa = exit->raw_info[1];
	exit->walk = info & PFERR_GUEST_PAGE_MASK;
	exit->access = info & PFERR_WRITE_MASK ? CLV_S2_W :
		       (info & PFERR_FETCH_MASK) && !exit->walk ? CLV_S2_X : CLV_S2_R;
}

/* The end of a step that the guest knows nothing of? Breakpoints it hit are its own. */
static bool is_our_step(struct svm_vcpu *svm)
{
	u64 *dr6 = &svm->vcpu.debug.dr6, fresh = *dr6 & ~svm->step_dr6 & CLV_DR6_EVENTS;

	if (!svm->stepping || svm->step_tf)
		return false;
	*dr6 &= ~(u64)DR_STEP | (svm->step_dr6 & DR_STEP);
	svm->vcpu.dirty |= CLV_REG_DEBUG;
	return !(fresh & ~(u64)DR_STEP);
}

/*
 * Of SVM's instructions and MONITOR, which the guest does not have, the CPU checks privilege and
 * operands before their intercepts (APM vol. 2 15.9): a #GP where the guest is due a #UD.
 */
static bool is_hidden_insn(struct clv_vcpu *vcpu)
{
	struct clv_exit ignored = {};
	struct clv_insn in;

	return read_insn(vcpu, &ignored, &in) &&
	       ((in.opcode >= CLV_OP_VMRUN && in.opcode <= CLV_OP_INVLPGA) ||
		in.opcode == CLV_OP_MONITOR || in.opcode == CLV_OP_MWAIT);
}

static void decode_exception(struct clv_vcpu *vcpu, struct clv_exit *exit, u8 vector)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct cleave_event *ev = &exit->event;

	exit->kind = vector == X86_TRAP_MC ? CLEAVE_KIND_MCE : CLEAVE_KIND_EXCEPTION;
	*ev = (struct cleave_event) { CLEAVE_EVENT_EXCEPTION, vector };
	if (BIT(vector) & CLV_ERROR_CODE_VECTORS) {
		ev->flags = CLEAVE_EVENT_ERROR;
		ev->error_code = exit->raw_info[0];
	}
	if (vector == X86_TRAP_GP && !ev->error_code && is_hidden_insn(vcpu)) {
		exit->kind = CLEAVE_KIND_UD;
	} else if (vector == X86_TRAP_PF) {	/* CR2 is not written yet (APM vol. 2 15.12.15) */
		ev->flags |= CLEAVE_EVENT_PAYLOAD;
		ev->payload = exit->raw_info[1];
	} else if (vector == X86_TRAP_DB) {
		if (is_our_step(svm))
			exit->kind = CLEAVE_KIND_WINDOW;
		ev->flags = CLEAVE_EVENT_PAYLOAD;
		ev->payload = vcpu->debug.dr6 & CLV_DR6_EVENTS;
	}
}

/* Exits with one meaning, and the opcode of those whose instruction is then done with. */
static const struct {
	u8 kind;
	u32 opcode;
} exits[SVM_EXIT_RDPRU + 1] = {
	[SVM_EXIT_INTR ... SVM_EXIT_INIT] = { CLEAVE_KIND_HOST },
	[SVM_EXIT_SHUTDOWN] = { CLEAVE_KIND_SHUTDOWN }, [SVM_EXIT_RDPMC] = { CLEAVE_KIND_GP },
	[SVM_EXIT_CPUID] = { CLEAVE_KIND_CPUID, CLV_OP_CPUID },
	[SVM_EXIT_INVD] = { CLEAVE_KIND_SKIP, CLV_OP_INVD },
	[SVM_EXIT_HLT] = { CLEAVE_KIND_HLT, CLV_OP_HLT },
	[SVM_EXIT_TASK_SWITCH] = { CLEAVE_KIND_TASK_SWITCH },
	[SVM_EXIT_WBINVD] = { CLEAVE_KIND_SKIP, CLV_OP_WBINVD },
	[SVM_EXIT_XSETBV] = { CLEAVE_KIND_XSETBV, CLV_OP_XSETBV },
	/* Not offered. */
	[SVM_EXIT_INVLPGA] = { CLEAVE_KIND_UD }, [SVM_EXIT_VMRUN] = { CLEAVE_KIND_UD },
	[SVM_EXIT_VMLOAD ... SVM_EXIT_ICEBP] = { CLEAVE_KIND_UD },
	[SVM_EXIT_MONITOR ... SVM_EXIT_MWAIT_COND] = { CLEAVE_KIND_UD },
	[SVM_EXIT_RDPRU] = { CLEAVE_KIND_UD },
};

void svm_decode_exit(struct clv_vcpu *vcpu, struct clv_exit *exit)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	const struct vmcb_control_area *c = &svm->vmcb->control;
	u64 info = c->exit_info_1;
	u32 code = c->exit_code;

	exit->kind = CLEAVE_KIND_NONE;
	exit->walk = false;
	exit->access = 0;
	exit->raw_reason = (s64)(s32)code;
	exit->raw_info[0] = info;
	exit->raw_info[1] = c->exit_info_2;
	exit->rip = vcpu->regs.rip;
	exit->next_rip = 0;
	exit->gpa = 0;
	requeue(svm, c->exit_int_info, c->exit_int_info_err);

	switch (code) {
	case SVM_EXIT_READ_CR0 ... SVM_EXIT_WRITE_CR0 + 15:
		decode_cr(vcpu, exit, code);
		break;
	case SVM_EXIT_READ_DR0 ... SVM_EXIT_WRITE_DR0 + 15:
		svm->dr_free = DR_FREE_ENTRIES;
		svm_intercept_dr(svm, false);
		break;
	case SVM_EXIT_EXCP_BASE ... SVM_EXIT_LAST_EXCP:
		decode_exception(vcpu, exit, code - SVM_EXIT_EXCP_BASE);
		break;
	case SVM_EXIT_VINTR:
		set_window(vcpu, svm->windows & ~CLV_WINDOW_INT);
		exit->kind = CLEAVE_KIND_WINDOW;
		break;
	case SVM_EXIT_IRET:	/* The NMI handler is at it: the mask ends behind it. */
		svm->nmi_iret = true;
		svm->iret_rip = exit->rip;
		break;
	case SVM_EXIT_IOIO:
		exit->kind = CLEAVE_KIND_IO;
		exit->io.port = info >> 16;
		exit->io.size = (info & SVM_IOIO_SIZE_MASK) >> SVM_IOIO_SIZE_SHIFT;
		exit->io.in = info & SVM_IOIO_TYPE_MASK;
		exit->io.string = info & SVM_IOIO_STR_MASK;
		exit->next_rip = narrow(vcpu, exit->raw_info[1]);
		break;
	case SVM_EXIT_MSR:
		decode_insn(vcpu, exit, info & 1 ? CLEAVE_KIND_WRMSR : CLEAVE_KIND_RDMSR,
			    info & 1 ? CLV_OP_WRMSR : CLV_OP_RDMSR);
		break;
	case SVM_EXIT_VMMCALL:
		exit->mode.cpl = svm->vmcb->save.cpl;
		exit->mode.code64 = svm_code64(vcpu);
		decode_insn(vcpu, exit, CLEAVE_KIND_HYPERCALL, CLV_OP_VMMCALL);
		break;
	case SVM_EXIT_NPF:
		decode_npf(exit);
		break;
	case (u32)SVM_EXIT_ERR:
		exit->kind = CLEAVE_KIND_REFUSED;
		break;
	default:
		if (code < ARRAY_SIZE(exits) && exits[code].kind)
			decode_insn(vcpu, exit, exits[code].kind, exits[code].opcode);
		else
			exit->kind = CLEAVE_KIND_UNHANDLED;
		break;
	}
}
