// SPDX-License-Identifier: GPL-2.0
/* cleave: into a VT-x guest and out of it, and why it came out. */
#include <linux/kvm_host.h>
#include <linux/kvm_para.h>
#include <asm/apicdef.h>
#include <asm/cpu.h>
#include <asm/debugreg.h>
#include <asm/nospec-branch.h>
#include <asm/perf_event.h>
#include <asm/special_insns.h>
#include "../entry.h"
#include "vmcs.h"

/* Entries for which MOV DR stays free once it was used. */
#define DR_FREE_ENTRIES	64

#define DR6_QUIET	0xffff0ff0ULL
#define DR7_ENABLED	0xffULL

#define SHADOW		(GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)
#define PENDING_BS	BIT(14)		/* SDM vol. 3C table 25-4 */
#define NMI_UNBLOCKED	BIT(12)		/* by an IRET, SDM vol. 3C 28.2.3 */
#define EVENT_MASK	(INTR_INFO_VALID_MASK | INTR_INFO_INTR_TYPE_MASK | INTR_INFO_VECTOR_MASK)
#define REASON_GETSEC	11
#define X2APIC_ICR	(APIC_BASE_MSR + (APIC_ICR >> 4))

#define EVENT_NMI	(INTR_INFO_VALID_MASK | INTR_TYPE_NMI_INTR | X86_TRAP_NMI)
#define EVENT_MC	(INTR_INFO_VALID_MASK | INTR_TYPE_HARD_EXCEPTION | X86_TRAP_MC)

/* What an exit has: a qualification, an instruction's length, a cut-short delivery. */
#define Q	BIT(0)
#define LEN	BIT(1)
#define IDT	BIT(2)
#define GPA	BIT(3)
#define FAST	BIT(4)		/* may be: see is_fast() */
#define MODE	BIT(5)		/* asks for CPL and the width of code */

/* By reason; kind 0: see decode(). */
static const struct {
	u8 kind;
	u8 has;
} exits[] = {
	[EXIT_REASON_EXCEPTION_NMI] = { 0, Q | LEN | IDT }, [EXIT_REASON_DR_ACCESS] = { 0, Q },
	[EXIT_REASON_CR_ACCESS] = { 0, Q | LEN }, [EXIT_REASON_EPT_MISCONFIG] = { 0, IDT | GPA },
	[EXIT_REASON_INVALID_STATE ... EXIT_REASON_MSR_LOAD_FAIL] = { 0, Q },
	[EXIT_REASON_EXTERNAL_INTERRUPT] = { CLEAVE_KIND_HOST, FAST },
	[EXIT_REASON_INIT_SIGNAL ... EXIT_REASON_SIPI_SIGNAL] = { CLEAVE_KIND_HOST },
	[EXIT_REASON_PREEMPTION_TIMER] = { CLEAVE_KIND_HOST, FAST },
	[EXIT_REASON_TRIPLE_FAULT] = { CLEAVE_KIND_SHUTDOWN },
	[EXIT_REASON_INTERRUPT_WINDOW ... EXIT_REASON_NMI_WINDOW] = { CLEAVE_KIND_WINDOW },
	[EXIT_REASON_TASK_SWITCH] = { CLEAVE_KIND_TASK_SWITCH, Q | IDT },
	[EXIT_REASON_CPUID] = { CLEAVE_KIND_CPUID, LEN | FAST },
	[EXIT_REASON_HLT] = { CLEAVE_KIND_HLT, LEN }, [EXIT_REASON_RDPMC] = { CLEAVE_KIND_GP },
	[EXIT_REASON_INVD] = { CLEAVE_KIND_SKIP, LEN },
	[EXIT_REASON_WBINVD] = { CLEAVE_KIND_SKIP, LEN },
	[EXIT_REASON_VMCALL] = { CLEAVE_KIND_HYPERCALL, LEN | FAST | MODE },
	[EXIT_REASON_IO_INSTRUCTION] = { CLEAVE_KIND_IO, Q | LEN },
	[EXIT_REASON_MSR_READ] = { CLEAVE_KIND_RDMSR, LEN | FAST },
	[EXIT_REASON_MSR_WRITE] = { CLEAVE_KIND_WRMSR, LEN | FAST },
	[EXIT_REASON_EPT_VIOLATION] = { CLEAVE_KIND_STAGE2, Q | IDT | GPA },
	[EXIT_REASON_XSETBV] = { CLEAVE_KIND_XSETBV, LEN },
	/* Not offered: VMX, SMX, SGX, MONITOR. */
	[REASON_GETSEC] = { CLEAVE_KIND_UD }, [EXIT_REASON_MWAIT_INSTRUCTION] = { CLEAVE_KIND_UD },
	[EXIT_REASON_INVEPT] = { CLEAVE_KIND_UD }, [EXIT_REASON_INVVPID] = { CLEAVE_KIND_UD },
	[EXIT_REASON_MONITOR_INSTRUCTION] = { CLEAVE_KIND_UD },
	[EXIT_REASON_VMCLEAR ... EXIT_REASON_VMON] = { CLEAVE_KIND_UD },
	[EXIT_REASON_VMFUNC ... EXIT_REASON_ENCLS] = { CLEAVE_KIND_UD },
};

/*
 * The host's counters must not count in the guest unless they are meant to,
 * nor write PEBS records to addresses that are the guest's there. PEBS is
 * switched off before the entry, as a record may still be on its way.
 */
static void perf_update(struct vmx_vcpu *vmx)
{
	struct perf_guest_switch_msr *m;
	int nr = 0, n = 0;

	/* NULL: guests have no PEBS, whose MSRs would be loaded for nothing at each entry. */
	for (m = perf_guest_get_msrs(&nr, NULL); nr > 0 && n < VMX_MSR_LOADS; m++, nr--) {
		if (m->host == m->guest)
			continue;
		if (m->msr == MSR_IA32_PEBS_ENABLE)
			wrmsrl(m->msr, 0);
		vmx->entry_load[n] = (struct vmx_msr_entry) { m->msr, 0, m->guest };
		vmx->exit_load[n++] = (struct vmx_msr_entry) { m->msr, 0, m->host };
	}
	vmcs_update(VM_ENTRY_MSR_LOAD_COUNT, &vmx->written.entry_loads, n);
	vmcs_update(VM_EXIT_MSR_LOAD_COUNT, &vmx->written.exit_loads, n);
}

/* What no exit changes that is handled with IRQs off. */
static void write_rare_fields(struct vmx_vcpu *vmx)
{
	struct vmx_written *w = &vmx->written;

	vmcs_update(TSC_OFFSET, &w->tsc_offset, clv_tsc_offset(&vmx->vcpu));
	vmcs_update(GUEST_IA32_PAT, &w->pat, vmx->vcpu.pat);
	vmcs_update(GUEST_SYSENTER_CS, &w->sysenter_cs, vmx->msrs[VMX_SYSENTER_CS]);
	vmcs_update(GUEST_SYSENTER_ESP, &w->sysenter_esp, vmx->msrs[VMX_SYSENTER_ESP]);
	vmcs_update(GUEST_SYSENTER_EIP, &w->sysenter_eip, vmx->msrs[VMX_SYSENTER_EIP]);
}

static noinline void cpu_prepare(struct vmx_vcpu *vmx)
{
	/* INVEPT flushes what is cached by way of this EPT whatever its VPID (29.4.3.1). */
	if (vmx->vcpu.flush) {
		vmx->vcpu.flush = false;
		vmx_invept(VMX_EPT_EXTENT_CONTEXT, vmx_eptp(&vmx->vcpu));
	}
	perf_update(vmx);
	vmx_host_leave(vmx);
	vmx->host_debugctl = __rdmsr(MSR_IA32_DEBUGCTLMSR);
	write_rare_fields(vmx);
}

/* Of a timer that is due the entry injects what it has to, and ends (SDM vol. 3C 26.5.1). */
static u64 preempt_timer(struct vmx_vcpu *vmx)
{
	s64 left;

	if (!vmx->vcpu.wake_tsc)
		return vmx_caps.preempt_timer;
	left = vmx->vcpu.wake_tsc - vmx->written.tsc_offset - rdtsc();
	if (left <= 0)
		return 0;
	return min_t(u64, (left >> vmx_caps.preempt_shift) + 1, vmx_caps.preempt_timer);
}

static void write_fields(struct vmx_vcpu *vmx)
{
	struct vmx_written *w = &vmx->written;
	u32 state = vmx->vcpu.events.shadow;
	u64 dbg;

	BUILD_BUG_ON(CLEAVE_SHADOW_STI != GUEST_INTR_STATE_STI ||
		     CLEAVE_SHADOW_MOV_SS != GUEST_INTR_STATE_MOV_SS);
	/* Injecting an NMI sets the mask, and must not find it set (27.3.1.5). */
	if (vmx->vcpu.events.nmi_masked && vmx->injected != EVENT_NMI)
		state |= GUEST_INTR_STATE_NMI;
	/*
	 * Within a shadow a step in progress must be pending (SDM vol. 3C 27.3.1.5).
	 * Who ends a shadow has queued the #DB that it held off.
	 */
	if (unlikely((state | w->interruptibility) & SHADOW)) {
		dbg = state & SHADOW ? vmcs_read(GUEST_PENDING_DBG_EXCEPTIONS) & ~PENDING_BS : 0;
		if ((state & SHADOW) && (vmx->vcpu.regs.rflags & X86_EFLAGS_TF))
			dbg |= PENDING_BS;
		vmcs_write(GUEST_PENDING_DBG_EXCEPTIONS, dbg);
	}
	vmcs_update(GUEST_INTERRUPTIBILITY_INFO, &w->interruptibility, state);
	if (w->injected != vmx->injected) {
		w->injected = vmx->injected;
		vmcs_write(VM_ENTRY_INTR_INFO_FIELD, vmx->injected);
		vmcs_write(VM_ENTRY_EXCEPTION_ERROR_CODE, vmx->injected_error);
	}
	vmcs_update(CPU_BASED_VM_EXEC_CONTROL, &w->primary, vmx->primary);
	if (clv_timed_entry)
		vmcs_update(VMX_PREEMPTION_TIMER_VALUE, &w->preempt_timer, preempt_timer(vmx));
}

/*
 * Are DR0 to DR3 the guest's while it runs? DR6 need not be while MOV DR exits:
 * #DB does too, and leaves it alone. DR7 is switched by the VMCS.
 */
static bool dr_enter(struct vmx_vcpu *vmx)
{
	const struct cleave_debug *d = &vmx->vcpu.debug;
	int i;

	if (vmx->dr_free && !--vmx->dr_free)
		vmx->primary |= CPU_BASED_MOV_DR_EXITING;
	if (!vmx->dr_free && !(d->dr7 & DR7_ENABLED))
		return false;
	if (hw_breakpoint_active())
		set_debugreg(0, 7);
	for (i = 0; i < 4; i++)
		set_debugreg(d->db[i], i);
	if (vmx->dr_free)
		set_debugreg(d->dr6, 6);
	return true;
}

/* An exit leaves DR7 with all breakpoints off. */
static void dr_leave(struct vmx_vcpu *vmx, bool loaded)
{
	struct cleave_debug *d = &vmx->vcpu.debug;
	int i;

	for (i = 0; loaded && i < 4; i++)
		get_debugreg(d->db[i], i);
	if (vmx->dr_free) {
		get_debugreg(d->dr6, 6);
		d->dr7 = vmcs_read(GUEST_DR7);
		if (d->dr6 != DR6_QUIET)
			set_debugreg(DR6_QUIET, 6);
	}
	if (hw_breakpoint_active())
		hw_breakpoint_restore();
}

/*
 * The exit by an NMI leaves NMIs blocked until the next IRET (SDM vol. 3C
 * 28.5.5). INT 2 goes through the IDT's gate, so its handler finds the stack
 * and the frame that it expects of an NMI, and its IRET ends the blocking.
 */
static noinstr int enter_guest(struct vmx_vcpu *vmx, u32 guest_spec, u32 host_spec)
{
	struct clv_vcpu *vcpu = &vmx->vcpu;
	int ret;

	clv_guest_state_enter(vcpu);
	if (native_read_cr2() != vcpu->sregs.cr2)
		native_write_cr2(vcpu->sregs.cr2);
	/* At every entry: which exits put secrets into the cache is not tracked. */
	if (vmx_caps.l1d_flush)
		native_wrmsrl(MSR_IA32_FLUSH_CMD, L1D_FLUSH);
	ret = vmx_vmenter(&vcpu->regs, vmx->launched, guest_spec, host_spec);
	vcpu->sregs.cr2 = native_read_cr2();
	vmx->intr_info = 0;
	if (!ret) {
		vmx->reason = vmcs_read(VM_EXIT_REASON);
		if (vmx->reason == EXIT_REASON_EXCEPTION_NMI)
			vmx->intr_info = vmcs_read(VM_EXIT_INTR_INFO);
		if ((vmx->intr_info & EVENT_MASK) == EVENT_NMI)
			asm volatile("int $2");
	}
	guest_state_exit_irqoff();
	return ret;
}

/*
 * Nothing of these sleeps, whatever the values, but some WRMSRs, and to yield to another vCPU.
 * Nor does one take long: not what wakes many.
 */
static bool is_fast(const struct clv_vcpu *vcpu, u16 reason)
{
	const struct cleave_regs *r = &vcpu->regs;

	switch (reason) {
	case EXIT_REASON_MSR_WRITE:
		return clv_msr_is_lapic(r->rcx) &&
		       ((u32)r->rcx != X2APIC_ICR ||
			(!(r->rax & APIC_DEST_ALLBUT) && (u32)r->rdx != U32_MAX));
	case EXIT_REASON_VMCALL:
		return (u32)r->rax != KVM_HC_SCHED_YIELD &&
		       ((u32)r->rax != KVM_HC_SEND_IPI || (!r->rcx && hweight64(r->rbx) <= 8));
	default:
		return true;
	}
}

/* VMREADs only what an exit of this reason has. */
static void read_exit(struct vmx_vcpu *vmx, u8 has)
{
	vmx->qualification = has & Q ? vmcs_read(EXIT_QUALIFICATION) : 0;
	vmx->insn_len = has & LEN ? vmcs_read(VM_EXIT_INSTRUCTION_LEN) : 0;
	vmx->vectoring = has & IDT ? vmcs_read(IDT_VECTORING_INFO_FIELD) : 0;
	if (vmx->vectoring & VECTORING_INFO_DELIVER_CODE_MASK)
		vmx->vectoring_error = vmcs_read(IDT_VECTORING_ERROR_CODE);
	if (vmx->intr_info & INTR_INFO_DELIVER_CODE_MASK)
		vmx->intr_error = vmcs_read(VM_EXIT_INTR_ERROR_CODE);
	vmx->gpa = has & GPA ? vmcs_read(GUEST_PHYSICAL_ADDRESS) : 0;
}

static void after_guest(struct vmx_vcpu *vmx)
{
	struct clv_vcpu *vcpu = &vmx->vcpu;
	struct cleave_events *ev = &vcpu->events;
	u16 reason = vmx->reason;
	u8 has = reason < ARRAY_SIZE(exits) ? exits[reason].has : 0;
	u32 state;

	vcpu->regs.rip = vmcs_read(GUEST_RIP);
	vcpu->regs.rsp = vmcs_read(GUEST_RSP);
	vcpu->regs.rflags = vmcs_read(GUEST_RFLAGS);
	vcpu->avail = CLV_REG_KEPT;
	if (unlikely(has & MODE)) {
		vmx->cpl = (vmcs_read(GUEST_SS_AR_BYTES) & CLEAVE_AR_DPL) >> 5;
		vmx->code64 = (vmcs_read(GUEST_CS_AR_BYTES) & CLEAVE_AR_L) &&
			      (vmcs_read(GUEST_IA32_EFER) & EFER_LMA);
	}
	/* Not with counters that stop for the guest, see perf_update(). */
	if ((has & FAST) && vmx->reason == reason && !vmx->written.entry_loads &&
	    is_fast(vcpu, reason)) {
		/* The longest entry of all ends to let interrupts in: PREEMPT_MS. */
		vcpu->stay = reason == EXIT_REASON_EXTERNAL_INTERRUPT ||
			     (reason == EXIT_REASON_PREEMPTION_TIMER &&
			      vmx->written.preempt_timer == vmx_caps.preempt_timer) ?
			     CLV_STAY_IRQ : CLV_STAY;
		vmx->insn_len = has & LEN ? vmcs_read(VM_EXIT_INSTRUCTION_LEN) : 0;
	} else {
		vcpu->stay = CLV_LEAVE;
		read_exit(vmx, has);
		if (reason == EXIT_REASON_MCE_DURING_VMENTRY ||
		    (vmx->intr_info & EVENT_MASK) == EVENT_MC)
			clv_host_machine_check();
		if (vmx->reason & VMX_EXIT_REASONS_FAILED_VMENTRY) {
			vmx->written.injected = ~0ULL;	/* written again, with its error code */
			return;		/* neither launched nor delivered */
		}
	}
	vmx->launched = true;
	vmx->injected = 0;
	vmx->written.injected = 0;	/* not valid any more */
	state = vmcs_read(GUEST_INTERRUPTIBILITY_INFO);
	vmx->written.interruptibility = state;
	ev->shadow = state & SHADOW;
	ev->nmi_masked = !!(state & GUEST_INTR_STATE_NMI);
	/* An IRET has ended the mask, and will run again for the lack of a page. */
	if (reason == EXIT_REASON_EPT_VIOLATION &&
	    (vmx->qualification & NMI_UNBLOCKED) && !(vmx->vectoring & VECTORING_INFO_VALID_MASK))
		ev->nmi_masked = true;
}

void vmx_enter(struct clv_vcpu *vcpu, bool again)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u32 host_spec = 0, guest_spec = 0;
	bool dr;
	int ret;

	if (!again)
		cpu_prepare(vmx);
	dr = dr_enter(vmx);
	write_fields(vmx);
	if (static_cpu_has(X86_FEATURE_MSR_SPEC_CTRL)) {
		host_spec = this_cpu_read(x86_spec_ctrl_current);
		guest_spec = vcpu->spec_ctrl;
	}
	ret = enter_guest(vmx, guest_spec, host_spec);

	/* An exit leaves DEBUGCTL 0 (SDM vol. 3C 28.5.1). */
	if (unlikely(vmx->host_debugctl))
		wrmsrl(MSR_IA32_DEBUGCTLMSR, vmx->host_debugctl);
	dr_leave(vmx, dr);
	if (cpu_feature_enabled(X86_FEATURE_IBPB_EXIT_TO_USER))
		this_cpu_write(x86_ibpb_exit_to_user, true);
	vmx->failed = ret > 0;
	if (!ret) {
		after_guest(vmx);
		return;
	}
	/* Not entered. The loop sees it if it is because the host goes down. */
	vcpu->stay = CLV_LEAVE;
	vmx->written.injected = ~0ULL;
	vmx->reason = VMX_EXIT_REASONS_FAILED_VMENTRY | EXIT_REASON_EXTERNAL_INTERRUPT;
	vmx->qualification = vmcs_read(VM_INSTRUCTION_ERROR);
	vmx->insn_len = 0;
}

/*
 * #BP and #OF are hardware exceptions here, too: those have no instruction
 * length, and what is pushed is RIP as it stands, as on the other vendor.
 *
 * The NMI window may be open in STI's shadow (SDM vol. 3C 26.2), where an NMI
 * cannot go in: wait for the shadow's end then, which IF being set makes the
 * interrupt window.
 */
void vmx_inject(struct clv_vcpu *vcpu, u32 event, u32 error_code, u32 windows)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	vmx->injected = event;
	vmx->injected_error = error_code;
	vmx->primary &= ~(CPU_BASED_INTR_WINDOW_EXITING | CPU_BASED_NMI_WINDOW_EXITING);
	if (windows & CLV_WINDOW_INT)
		vmx->primary |= CPU_BASED_INTR_WINDOW_EXITING;
	if (windows & CLV_WINDOW_NMI)
		vmx->primary |= vcpu->events.shadow & CLEAVE_SHADOW_STI ?
				CPU_BASED_INTR_WINDOW_EXITING : CPU_BASED_NMI_WINDOW_EXITING;
}

/* SDM vol. 3C table 28-3 */
static void decode_cr(struct clv_vcpu *vcpu, struct clv_exit *exit, u64 q)
{
	const u64 lmsw_bits = X86_CR0_MP | X86_CR0_EM | X86_CR0_TS;

	exit->kind = CLEAVE_KIND_CR_WRITE;
	exit->cr.nr = q & 15;
	exit->cr.gpr = q >> 8 & 15;
	clv_regs_need(vcpu, CLV_REG_CRS);
	switch (q >> 4 & 3) {
	case 0:
		exit->cr.value = ((u64 *)&vcpu->regs)[exit->cr.gpr];
		if (!clv_code64(vcpu))
			exit->cr.value = (u32)exit->cr.value;
		break;
	case 1:
		exit->kind = CLEAVE_KIND_CR_READ;
		break;
	case 2:	/* CLTS */
		exit->cr.value = vcpu->sregs.cr0 & ~(u64)X86_CR0_TS;
		break;
	case 3: /* LMSW: can set PE but not clear it */
		exit->cr.value = (vcpu->sregs.cr0 & ~lmsw_bits) |
				 (q >> 16 & (lmsw_bits | X86_CR0_PE));
	}
}

/* All other #AC are not the guest's own (SDM vol. 3A 6.15, "Alignment Check Exception"). */
static bool may_check_alignment(struct clv_vcpu *vcpu)
{
	clv_regs_need(vcpu, CLV_REG_CRS);
	return !boot_cpu_has(X86_FEATURE_SPLIT_LOCK_DETECT) ||
	       (clv_cpl(vcpu) == 3 && (vcpu->sregs.cr0 & X86_CR0_AM) &&
		(vcpu->regs.rflags & X86_EFLAGS_AC));
}

static void decode_exception(struct clv_vcpu *vcpu, struct clv_exit *exit, u64 q)
{
	u32 info = to_vmx(vcpu)->intr_info;

	exit->kind = CLEAVE_KIND_EXCEPTION;
	exit->event = (struct cleave_event) {
		CLEAVE_EVENT_EXCEPTION, info & INTR_INFO_VECTOR_MASK };
	if (info & INTR_INFO_DELIVER_CODE_MASK) {
		exit->event.flags = CLEAVE_EVENT_ERROR;
		exit->event.error_code = to_vmx(vcpu)->intr_error;
	}
	if ((info & EVENT_MASK) == EVENT_NMI) {
		exit->kind = CLEAVE_KIND_HOST;
	} else if ((info & EVENT_MASK) == EVENT_MC) {
		exit->kind = CLEAVE_KIND_MCE;
	} else if (exit->event.vector == X86_TRAP_DB) {
		exit->event.flags = CLEAVE_EVENT_PAYLOAD;
		exit->event.payload = q & CLV_DR6_EVENTS;	/* SDM vol. 3C table 28-1 */
		/* INT1 is a trap, but its exit comes before it. */
		if ((info & INTR_INFO_INTR_TYPE_MASK) == INTR_TYPE_PRIV_SW_EXCEPTION) {
			vcpu->regs.rip = exit->next_rip;
			vcpu->dirty |= CLV_REG_RIP;
		}
	} else if (exit->event.vector == X86_TRAP_AC && !may_check_alignment(vcpu)) {
		/* The host's split-lock detection: slowed down, or SIGBUS. Then again. */
		handle_guest_split_lock(exit->rip);
		exit->kind = CLEAVE_KIND_NONE;
	}
}

static void decode(struct clv_vcpu *vcpu, struct clv_exit *exit, u64 q)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	u16 reason = vmx->reason;

	exit->kind = reason < ARRAY_SIZE(exits) ? exits[reason].kind : 0;
	switch (reason) {
	case EXIT_REASON_EXCEPTION_NMI:
		decode_exception(vcpu, exit, q);
		break;
	case EXIT_REASON_CR_ACCESS:
		decode_cr(vcpu, exit, q);
		break;
	case EXIT_REASON_DR_ACCESS:
		vmx->dr_free = DR_FREE_ENTRIES;
		vmx->primary &= ~CPU_BASED_MOV_DR_EXITING;
		break;
	case EXIT_REASON_IO_INSTRUCTION:
		/* SDM vol. 3C table 28-5 */
		exit->io.size = (q & 7) + 1;
		exit->io.in = q & BIT(3);
		exit->io.string = q & BIT(4);
		exit->io.port = q >> 16;
		break;
	case EXIT_REASON_EPT_VIOLATION:
		/* SDM vol. 3C table 28-7. The walk writes accessed and dirty bits (29.3.3.2). */
		exit->gpa = vmx->gpa;
		exit->walk = !(q & EPT_VIOLATION_GVA_TRANSLATED);
		exit->access = q & EPT_VIOLATION_ACC_WRITE ? CLV_S2_W :
			       q & EPT_VIOLATION_ACC_INSTR ? CLV_S2_X : CLV_S2_R;
		break;
	default:	/* a misconfigured EPT is our fault, nobody else writes it */
		WARN_ON_ONCE(reason == EXIT_REASON_EPT_MISCONFIG);
		if (!exit->kind)
			exit->kind = CLEAVE_KIND_UNHANDLED;
	}
}

void vmx_decode_exit(struct clv_vcpu *vcpu, struct clv_exit *exit)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	exit->kind = CLEAVE_KIND_NONE;
	exit->walk = false;
	exit->access = 0;
	exit->raw_reason = vmx->reason;
	exit->raw_info[0] = 0;
	exit->raw_info[1] = 0;
	exit->mode.cpl = vmx->cpl;
	exit->mode.code64 = vmx->code64;
	exit->rip = vcpu->regs.rip;
	exit->next_rip = vmx->insn_len ? exit->rip + vmx->insn_len : 0;
	exit->gpa = 0;
	/* Beyond 4 GiB it is one of 64-bit code, or wraps. */
	if (unlikely((exit->next_rip ^ exit->rip) >> 32) && vmx->insn_len && !clv_code64(vcpu))
		exit->next_rip = (u32)exit->next_rip;
	if (vmx->reason == EXIT_REASON_PREEMPTION_TIMER) {
		clv_lapic_timer_look(vcpu);
		vcpu->lapic_busy = true;
	}
	if (vcpu->stay) {
		exit->kind = exits[vmx->reason].kind;
		return;
	}
	exit->raw_info[0] = vmx->qualification;
	if (vmx->failed)
		exit->raw_reason = ~0ULL;
	if (vmx->reason & VMX_EXIT_REASONS_FAILED_VMENTRY)
		clv_events_requeue(vcpu, vmx->injected, vmx->injected_error);
	else
		clv_events_requeue(vcpu, vmx->vectoring, vmx->vectoring_error);
	/* A VMfail, or a failed entry whatever its reason; but not one that the host called off. */
	if (vmx->failed || ((vmx->reason & VMX_EXIT_REASONS_FAILED_VMENTRY) &&
			    (u16)vmx->reason != EXIT_REASON_EXTERNAL_INTERRUPT))
		exit->kind = CLEAVE_KIND_REFUSED;
	else
		decode(vcpu, exit, vmx->qualification);
}
