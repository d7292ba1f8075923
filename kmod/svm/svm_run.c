// SPDX-License-Identifier: GPL-2.0
/* cleave: into an AMD-V guest and out of it, and why it came out. */
#include <linux/kvm_host.h>
#include <asm/cpufeature.h>
#include <asm/debugreg.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>
#include <asm/processor.h>
#include <asm/trapnr.h>
#include "../compat.h"
#include "insn.h"
#include "vmcb.h"

/* Entries for which MOV DR stays free once it was used. */
#define DR_FREE_ENTRIES	64

/* Bits of DR6 that #DB sets; the rest is 1, or other CPUs' (APM vol. 2 13.1.1.3). */
#define DR6_EVENTS	0xe00fULL
#define DR6_QUIET	0xffff0ff0ULL
#define DR7_ENABLED	0xffULL

/* Intercepted during a step. INT3 and INTO are not: RIP would be at them. */
#define STEP_EXCEPTIONS	(~(u32)(BIT(X86_TRAP_BP) | BIT(X86_TRAP_OF)))

#define ERROR_CODE_VECTORS	(BIT(X86_TRAP_DF) | BIT(X86_TRAP_TS) | BIT(X86_TRAP_NP) | \
				 BIT(X86_TRAP_SS) | BIT(X86_TRAP_GP) | BIT(X86_TRAP_PF) | \
				 BIT(X86_TRAP_AC))

/* EXITINFO1 of an NPF, APM vol. 2 15.25.6 */
#define NPF_WRITE	BIT_ULL(1)
#define NPF_RESERVED	BIT_ULL(3)
#define NPF_FETCH	BIT_ULL(4)
#define NPF_WALK	BIT_ULL(33)

/* ---- before and behind the guest ---------------------------------------- */

/* A new ASID where the old one is void. Used-up ASIDs start a new generation. */
static void asid_update(struct svm_vcpu *svm, struct svm_cpu *cpu)
{
	struct vmcb_control_area *c = &svm->vmcb->control;

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

void svm_tlb_flush(struct clv_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	if (static_cpu_has(X86_FEATURE_FLUSHBYASID))
		svm->vmcb->control.tlb_ctl = TLB_CONTROL_FLUSH_ASID;
	else
		svm->asid_gen = 0;
}

/* What this CPU needs to know before it runs this vCPU, and not the one before. */
static void cpu_prepare(struct svm_vcpu *svm, struct svm_cpu *cpu)
{
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
	if (vmcb->save.g_pat != svm->vcpu.pat) {
		vmcb->save.g_pat = svm->vcpu.pat;
		svm_dirty(svm, CLEAN_NP);
	}
	if (static_cpu_has(X86_FEATURE_V_SPEC_CTRL))
		vmcb->save.spec_ctrl = svm->vcpu.spec_ctrl;
	/* Not switched by VMRUN without LBR virtualization (APM vol. 2 15.23). */
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
	if (!svm->dr_free && !(svm->vmcb->save.dr7 & DR7_ENABLED))
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
	if (svm->vmcb->save.dr6 != DR6_QUIET)
		set_debugreg(DR6_QUIET, 6);
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
	struct vmcb *vmcb = svm->vmcb;
	bool shadow = vmcb->control.int_state & SVM_INTERRUPT_SHADOW_MASK;

	if (vmcb->control.event_inj) {
		/* Nothing holds it off behind that event's delivery: this ends the guest there. */
		if (!svm->nmi_masked)
			clv_send_reschedule(smp_processor_id());
		return;
	}
	if (svm->nmi_masked ? !svm->nmi_iret : !shadow)
		return;
	svm->stepping = true;
	svm->step_tf = vmcb->save.rflags & X86_EFLAGS_TF;
	svm->step_dr6 = vmcb->save.dr6;
	svm->step_exceptions = vmcb->control.intercepts[INTERCEPT_EXCEPTION];
	vmcb->control.intercepts[INTERCEPT_EXCEPTION] = STEP_EXCEPTIONS;
	vmcb->save.rflags |= X86_EFLAGS_TF;
	svm_dirty(svm, CLEAN_INTERCEPTS);
}

/* A finished IRET has loaded RFLAGS whole; any other way TF is still ours. */
static void step_end(struct svm_vcpu *svm)
{
	struct vmcb *vmcb = svm->vmcb;
	bool iret_done = svm->nmi_iret && vmcb->save.rip != svm->iret_rip;

	vmcb->control.intercepts[INTERCEPT_EXCEPTION] = svm->step_exceptions;
	svm_dirty(svm, CLEAN_INTERCEPTS);
	if (!svm->step_tf && !iret_done)
		vmcb->save.rflags &= ~(u64)X86_EFLAGS_TF;
}

static noinstr int enter_guest(struct svm_vcpu *svm, u64 host_pa, u32 guest_spec, u32 host_spec)
{
	int ret;

	guest_state_enter_irqoff();
	amd_clear_divider();
	ret = svm_vmenter(&svm->vcpu.regs, svm->vmcb_pa, host_pa, guest_spec, host_spec);
	guest_state_exit_irqoff();
	return ret;
}

static void after_guest(struct svm_vcpu *svm)
{
	struct clv_vcpu *vcpu = &svm->vcpu;
	struct vmcb_control_area *c = &svm->vmcb->control;
	const struct vmcb_save_area *s = &svm->vmcb->save;

	if (svm->host_debugctl)
		wrmsrl(MSR_IA32_DEBUGCTLMSR, svm->host_debugctl);
	if (cpu_feature_enabled(X86_FEATURE_IBPB_EXIT_TO_USER))
		this_cpu_write(x86_ibpb_exit_to_user, true);
	if (svm->stepping)
		step_end(svm);
	if (svm->nmi_iret && s->rip != svm->iret_rip) {
		svm->nmi_masked = false;
		svm->nmi_iret = false;
	}
	if (c->exit_code == SVM_EXIT_EXCP_BASE + X86_TRAP_MC)
		clv_host_machine_check();
	vcpu->regs.rax = s->rax;
	vcpu->regs.rsp = s->rsp;
	vcpu->regs.rip = s->rip;
	vcpu->regs.rflags = s->rflags;
	vcpu->avail = CLV_REG_RIP | CLV_REG_RSP | CLV_REG_RFLAGS;
	c->event_inj = 0;
	if (c->exit_code != (u32)SVM_EXIT_ERR) {
		c->tlb_ctl = TLB_CONTROL_DO_NOTHING;
		c->clean = static_cpu_has(X86_FEATURE_VMCBCLEAN) ? CLEAN_ALL : 0;
	} else {
		/* Not entered: the flush is still due, and nothing is cached. */
		svm->asid_gen = 0;
		c->clean = 0;
	}
}

void svm_enter(struct clv_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct svm_cpu *cpu = this_cpu_ptr(&svm_cpu);
	struct vmcb *vmcb = svm->vmcb;
	u32 host_spec = 0, guest_spec = 0;
	bool dr;

	cpu_prepare(svm, cpu);
	if (static_cpu_has(X86_FEATURE_MSR_SPEC_CTRL) &&
	    !static_cpu_has(X86_FEATURE_V_SPEC_CTRL)) {
		host_spec = this_cpu_read(x86_spec_ctrl_current);
		guest_spec = vcpu->spec_ctrl;
	}
	svm->stepping = false;
	if (svm->windows & CLV_WINDOW_NMI)
		step_begin(svm);
	vmcb->save.rax = vcpu->regs.rax;
	svm->injected = vmcb->control.event_inj;
	svm->injected_error = vmcb->control.event_inj_err;
	svm->entry_rip = vmcb->save.rip;
	dr = dr_enter(svm);

	if (enter_guest(svm, cpu->host_pa, guest_spec, host_spec)) {
		/* The loop sees that the host goes down before it enters again. */
		vmcb->control.exit_code = SVM_EXIT_INTR;
		vmcb->control.exit_int_info = svm->injected;
		vmcb->control.exit_int_info_err = svm->injected_error;
	}
	dr_leave(svm, dr);
	after_guest(svm);
}

/* ---- events -------------------------------------------------------------- */

void svm_inject(struct clv_vcpu *vcpu, const struct cleave_event *ev)
{
	struct vmcb_control_area *c = &to_svm(vcpu)->vmcb->control;
	u32 inj = 0;

	switch (ev->type) {
	case CLEAVE_EVENT_INTERRUPT:
		inj = SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_INTR | ev->vector;
		break;
	case CLEAVE_EVENT_NMI:
		inj = SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_NMI | X86_TRAP_NMI;
		break;
	case CLEAVE_EVENT_EXCEPTION:
		inj = SVM_EVTINJ_VALID | SVM_EVTINJ_TYPE_EXEPT | ev->vector;
		if (ev->flags & CLEAVE_EVENT_ERROR)
			inj |= SVM_EVTINJ_VALID_ERR;
		break;
	default:
		break;
	}
	c->event_inj = inj;
	c->event_inj_err = ev->error_code;
}

u32 svm_blocked(struct clv_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	u32 blocked = 0;

	clv_regs_need(vcpu, CLV_REG_RFLAGS);
	if (svm->vmcb->control.int_state & SVM_INTERRUPT_SHADOW_MASK)
		blocked = CLV_BLOCK_INT | CLV_BLOCK_NMI;
	if (!(vcpu->regs.rflags & X86_EFLAGS_IF))
		blocked |= CLV_BLOCK_INT;
	if (svm->nmi_masked)
		blocked |= CLV_BLOCK_NMI;
	return blocked;
}

/*
 * The window for interrupts is an intercepted virtual interrupt of the highest
 * priority. The one for NMIs is IRET's intercept, armed with the mask, and
 * step_begin().
 */
void svm_set_window(struct clv_vcpu *vcpu, u32 windows)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_control_area *c = &svm->vmcb->control;

	if ((windows ^ svm->windows) & CLV_WINDOW_INT) {
		c->int_ctl &= ~V_IRQ_INJECTION_BITS_MASK;
		if (windows & CLV_WINDOW_INT)
			c->int_ctl |= V_IRQ_MASK | V_INTR_PRIO_MASK | V_IGN_TPR_MASK;
		svm_intercept(svm, INTERCEPT_VINTR, windows & CLV_WINDOW_INT);
		svm_dirty(svm, CLEAN_INTR);
	}
	svm->windows = windows;
}

bool svm_nmi_masked_get(struct clv_vcpu *vcpu)
{
	return to_svm(vcpu)->nmi_masked;
}

void svm_nmi_masked_set(struct clv_vcpu *vcpu, bool masked)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	svm->nmi_masked = masked;
	svm->nmi_iret = false;
	svm_intercept(svm, INTERCEPT_IRET, masked);
}

/*
 * The event whose delivery the exit cut short. INT n, INT3 and INTO are
 * forgotten, as RIP is still at them and they will run again; not so an
 * exception of that vector that came from EVENTINJ.
 */
static void requeue(struct svm_vcpu *svm, u32 info, u32 error)
{
	struct cleave_event *ev = &svm->vcpu.injected;
	bool ours = info == svm->injected && svm->vmcb->save.rip == svm->entry_rip;

	if (!(info & SVM_EXITINTINFO_VALID))
		return;
	ev->vector = info & SVM_EXITINTINFO_VEC_MASK;
	switch (info & SVM_EXITINTINFO_TYPE_MASK) {
	case SVM_EXITINTINFO_TYPE_INTR:
		ev->type = CLEAVE_EVENT_INTERRUPT;
		return;
	case SVM_EXITINTINFO_TYPE_NMI:
		ev->type = CLEAVE_EVENT_NMI;
		return;
	case SVM_EXITINTINFO_TYPE_EXEPT:
		if (!ours && (ev->vector == X86_TRAP_BP || ev->vector == X86_TRAP_OF))
			break;
		ev->type = CLEAVE_EVENT_EXCEPTION;
		if (info & SVM_EXITINTINFO_VALID_ERR) {
			ev->flags = CLEAVE_EVENT_ERROR;
			ev->error_code = error;
		}
		return;
	default:
		break;
	}
	memset(ev, 0, sizeof(*ev));
}

/* ---- what it was --------------------------------------------------------- */

/* The instruction at RIP from its bytes. False: exit->kind says what instead. */
static bool read_insn(struct clv_vcpu *vcpu, struct clv_exit *exit, struct svm_insn *in)
{
	u8 buf[SVM_INSN_MAX];
	int n = svm_fetch(vcpu, buf);

	if (n > 0 && svm_insn_parse(buf, n, svm_code64(&to_svm(vcpu)->vmcb->save), in))
		return true;
	/* Unmapped by another vCPU since: the guest shall fault on it itself. */
	exit->kind = n == -EFAULT ? CLV_X_RESUME : CLV_X_INSN;
	return false;
}

static void set_next_rip(struct clv_vcpu *vcpu, struct clv_exit *exit, u64 next)
{
	exit->next_rip = svm_code64(&to_svm(vcpu)->vmcb->save) ? next : (u32)next;
}

/* The CPU's own next RIP, if it has one to give: zero by erratum at times. */
static bool next_rip_saved(struct clv_vcpu *vcpu, struct clv_exit *exit)
{
	const struct vmcb_control_area *c = &to_svm(vcpu)->vmcb->control;

	if (!static_cpu_has(X86_FEATURE_NRIPS) || !c->next_rip)
		return false;
	exit->next_rip = c->next_rip;
	return true;
}

/* An exit by an instruction whose opcode is known and of which only the length counts. */
static void decode_insn(struct clv_vcpu *vcpu, struct clv_exit *exit,
			enum clv_exit_kind kind, u32 opcode)
{
	struct svm_insn in;

	exit->kind = kind;
	if (next_rip_saved(vcpu, exit) || !read_insn(vcpu, exit, &in))
		return;
	/* QEMU 7.2 gives an INVD the exit code of WBINVD. */
	if (in.opcode == SVM_OP_INVD)
		in.opcode = SVM_OP_WBINVD;
	if (in.opcode == opcode)
		set_next_rip(vcpu, exit, exit->rip + in.len);
	else
		exit->kind = CLV_X_INSN;
}

static u64 gpr_value(struct clv_vcpu *vcpu, u8 gpr)
{
	u64 val = ((u64 *)&vcpu->regs)[gpr & 15];

	return svm_code64(&to_svm(vcpu)->vmcb->save) ? val : (u32)val;
}

/* MOV CR, CLTS and LMSW by their bytes; SMSW and memory operands are for user space. */
static void decode_cr_insn(struct clv_vcpu *vcpu, struct clv_exit *exit)
{
	const u64 lmsw_bits = X86_CR0_MP | X86_CR0_EM | X86_CR0_TS;
	u64 cr0 = to_svm(vcpu)->cr0;
	struct svm_insn in;

	if (!read_insn(vcpu, exit, &in))
		return;
	if (!next_rip_saved(vcpu, exit))
		set_next_rip(vcpu, exit, exit->rip + in.len);
	exit->cr.gpr = in.rm;
	if (in.opcode == SVM_OP_CR_READ && exit->kind == CLV_X_CR_READ) {
		exit->cr.nr = in.reg;
	} else if (in.opcode == SVM_OP_CR_WRITE && exit->kind == CLV_X_CR_WRITE) {
		exit->cr.nr = in.reg;
		exit->cr.value = gpr_value(vcpu, in.rm);
	} else if (in.opcode == SVM_OP_CLTS && exit->kind == CLV_X_CR_WRITE) {
		exit->cr.value = cr0 & ~(u64)X86_CR0_TS;
	} else if ((in.opcode & ~7U) == SVM_OP_LMSW && exit->kind == CLV_X_CR_WRITE) {
		/* It can set PE but not clear it (APM vol. 3, LMSW). */
		exit->cr.value = (cr0 & ~lmsw_bits) |
				 (gpr_value(vcpu, in.rm) & (lmsw_bits | X86_CR0_PE));
	} else {
		exit->kind = CLV_X_INSN;
	}
}

/* EXITINFO1 with decode assists: bit 63 for MOV CR, 3:0 its GPR (APM vol. 2 15.33.1). */
static void decode_cr(struct clv_vcpu *vcpu, struct clv_exit *exit, u32 code)
{
	exit->kind = code >= SVM_EXIT_WRITE_CR0 ? CLV_X_CR_WRITE : CLV_X_CR_READ;
	exit->cr.nr = code & 15;
	if (!static_cpu_has(X86_FEATURE_DECODEASSISTS) || !(exit->raw_info[0] & BIT_ULL(63)) ||
	    !next_rip_saved(vcpu, exit)) {
		decode_cr_insn(vcpu, exit);
		return;
	}
	exit->cr.gpr = exit->raw_info[0] & SVM_EXITINFO_REG_MASK;
	exit->cr.value = gpr_value(vcpu, exit->cr.gpr);
}

static void decode_io(struct clv_vcpu *vcpu, struct clv_exit *exit)
{
	u64 info = exit->raw_info[0];

	exit->kind = CLV_X_IO;
	exit->io.port = info >> 16;
	exit->io.size = (info & SVM_IOIO_SIZE_MASK) >> SVM_IOIO_SIZE_SHIFT;
	exit->io.in = info & SVM_IOIO_TYPE_MASK;
	exit->io.string = info & SVM_IOIO_STR_MASK;
	set_next_rip(vcpu, exit, exit->raw_info[1]);
}

static void decode_npf(struct clv_vcpu *vcpu, struct clv_exit *exit)
{
	const struct vmcb_control_area *c = &to_svm(vcpu)->vmcb->control;
	u64 info = exit->raw_info[0];

	/* Reserved bits are set by nobody but us: a broken table. */
	if (WARN_ON_ONCE(info & NPF_RESERVED)) {
		exit->kind = CLV_X_UNHANDLED;
		return;
	}
	exit->kind = CLV_X_STAGE2;
	exit->gpa = exit->raw_info[1];
	exit->walk = info & NPF_WALK;
	if (info & NPF_WRITE)
		exit->access = CLV_S2_W;
	else if ((info & NPF_FETCH) && !exit->walk)
		exit->access = CLV_S2_X;
	else
		exit->access = CLV_S2_R;
	if (static_cpu_has(X86_FEATURE_DECODEASSISTS)) {
		exit->insn_len = min_t(u8, c->insn_len & 15, sizeof(exit->insn));
		memcpy(exit->insn, c->insn_bytes, exit->insn_len);
	}
}

/* The end of a step that the guest knows nothing of? Breakpoints it hit are its own. */
static bool is_our_step(struct svm_vcpu *svm)
{
	struct vmcb_save_area *s = &svm->vmcb->save;
	u64 fresh = s->dr6 & ~svm->step_dr6 & DR6_EVENTS;

	if (!svm->stepping || svm->step_tf)
		return false;
	s->dr6 &= ~(u64)DR_STEP | (svm->step_dr6 & DR_STEP);
	svm_dirty(svm, CLEAN_DR);
	return !(fresh & ~(u64)DR_STEP);
}

/*
 * Of SVM's instructions and MONITOR, which the guest does not have, the CPU
 * checks privilege and operands before their intercepts (APM vol. 2 15.9): a
 * #GP where the guest is due a #UD.
 */
static bool is_hidden_insn(struct clv_vcpu *vcpu)
{
	struct clv_exit ignored = {};
	struct svm_insn in;

	return read_insn(vcpu, &ignored, &in) &&
	       ((in.opcode >= SVM_OP_VMRUN && in.opcode <= SVM_OP_INVLPGA) ||
		in.opcode == SVM_OP_MONITOR || in.opcode == SVM_OP_MWAIT);
}

static void decode_exception(struct clv_vcpu *vcpu, struct clv_exit *exit, u8 vector)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	exit->kind = CLV_X_EXCEPTION;
	exit->event.type = CLEAVE_EVENT_EXCEPTION;
	exit->event.vector = vector;
	if (BIT(vector) & ERROR_CODE_VECTORS) {
		exit->event.flags = CLEAVE_EVENT_ERROR;
		exit->event.error_code = exit->raw_info[0];
	}
	switch (vector) {
	case X86_TRAP_MC:
		exit->kind = CLV_X_MCE;
		return;
	case X86_TRAP_GP:
		if (!exit->event.error_code && is_hidden_insn(vcpu))
			exit->kind = CLV_X_UD;
		return;
	case X86_TRAP_PF:	/* CR2 is not written yet (APM vol. 2 15.12.15) */
		exit->event.flags |= CLEAVE_EVENT_PAYLOAD;
		exit->event.payload = exit->raw_info[1];
		return;
	case X86_TRAP_DB:
		if (is_our_step(svm)) {
			exit->kind = CLV_X_WINDOW;
			return;
		}
		exit->event.flags = CLEAVE_EVENT_PAYLOAD;
		exit->event.payload = svm->vmcb->save.dr6 & DR6_EVENTS;
		return;
	}
}

/* The NMI handler is at its IRET: the mask ends behind it. */
static void decode_iret(struct svm_vcpu *svm, struct clv_exit *exit)
{
	svm->nmi_iret = true;
	svm->iret_rip = exit->rip;
	svm_intercept(svm, INTERCEPT_IRET, false);
	exit->kind = CLV_X_RESUME;
}

/* Exits by an instruction that is then behind the guest, and its opcode. */
static const struct {
	u8 kind;
	u32 opcode;
} insn_exits[SVM_EXIT_RDPRU + 1] = {
	[SVM_EXIT_CPUID] = { CLV_X_CPUID, SVM_OP_CPUID },
	[SVM_EXIT_INVD] = { CLV_X_SKIP, SVM_OP_WBINVD },
	[SVM_EXIT_PAUSE] = { CLV_X_SKIP, SVM_OP_PAUSE },
	[SVM_EXIT_HLT] = { CLV_X_HLT, SVM_OP_HLT },
	[SVM_EXIT_VMMCALL] = { CLV_X_HYPERCALL, SVM_OP_VMMCALL },
	[SVM_EXIT_WBINVD] = { CLV_X_SKIP, SVM_OP_WBINVD },
	[SVM_EXIT_XSETBV] = { CLV_X_XSETBV, SVM_OP_XSETBV },
};

/* Exits with one meaning. What is not offered is #UD: SVM, MONITOR, RDPRU. */
static void decode_simple(struct clv_vcpu *vcpu, struct clv_exit *exit, u32 code)
{
	if (code < ARRAY_SIZE(insn_exits) && insn_exits[code].opcode) {
		decode_insn(vcpu, exit, insn_exits[code].kind, insn_exits[code].opcode);
		return;
	}
	switch (code) {
	case SVM_EXIT_INTR ... SVM_EXIT_INIT:
		exit->kind = CLV_X_HOST;
		return;
	case SVM_EXIT_RDPMC:
		exit->kind = CLV_X_GP;
		return;
	case SVM_EXIT_TASK_SWITCH:
		exit->kind = CLV_X_TASK_SWITCH;
		return;
	case SVM_EXIT_SHUTDOWN:
		exit->kind = CLV_X_SHUTDOWN;
		return;
	case SVM_EXIT_INVLPGA:
	case SVM_EXIT_VMRUN ... SVM_EXIT_RDPRU:
		exit->kind = CLV_X_UD;
		return;
	case (u32)SVM_EXIT_ERR:
		exit->kind = CLV_X_REFUSED;
		return;
	default:
		exit->kind = CLV_X_UNHANDLED;
		return;
	}
}

void svm_decode_exit(struct clv_vcpu *vcpu, struct clv_exit *exit)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	const struct vmcb_control_area *c = &svm->vmcb->control;
	u32 code = c->exit_code;

	exit->raw_reason = (s64)(s32)code;
	exit->raw_info[0] = c->exit_info_1;
	exit->raw_info[1] = c->exit_info_2;
	exit->rip = vcpu->regs.rip;
	if (code == (u32)SVM_EXIT_ERR)
		requeue(svm, svm->injected, svm->injected_error);
	else
		requeue(svm, c->exit_int_info, c->exit_int_info_err);

	switch (code) {
	case SVM_EXIT_READ_CR0 ... SVM_EXIT_WRITE_CR0 + 15:
		decode_cr(vcpu, exit, code);
		return;
	case SVM_EXIT_READ_DR0 ... SVM_EXIT_WRITE_DR0 + 15:
		svm->dr_free = DR_FREE_ENTRIES;
		svm_intercept_dr(svm, false);
		exit->kind = CLV_X_RESUME;
		return;
	case SVM_EXIT_EXCP_BASE ... SVM_EXIT_LAST_EXCP:
		decode_exception(vcpu, exit, code - SVM_EXIT_EXCP_BASE);
		return;
	case SVM_EXIT_VINTR:
		svm_set_window(vcpu, svm->windows & ~CLV_WINDOW_INT);
		exit->kind = CLV_X_WINDOW;
		return;
	case SVM_EXIT_IRET:
		decode_iret(svm, exit);
		return;
	case SVM_EXIT_IOIO:
		decode_io(vcpu, exit);
		return;
	case SVM_EXIT_MSR:
		if (exit->raw_info[0] & 1)
			decode_insn(vcpu, exit, CLV_X_WRMSR, SVM_OP_WRMSR);
		else
			decode_insn(vcpu, exit, CLV_X_RDMSR, SVM_OP_RDMSR);
		return;
	case SVM_EXIT_NPF:
		decode_npf(vcpu, exit);
		return;
	default:
		decode_simple(vcpu, exit, code);
		return;
	}
}
