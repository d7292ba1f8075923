/* SPDX-License-Identifier: GPL-2.0 */
/* cleave: the entry into an AMD-V guest, and the only VMRUN. */
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/cpufeatures.h>
#include <asm/msr-index.h>
#include <asm/nospec-branch.h>
#include "../compat.h"

/* The stack while the guest runs. */
#define S_REGS		0
#define S_VMCB		8
#define S_HOST		16
#define S_GUEST_SPEC	24
#define S_HOST_SPEC	32

/* RCX to R15 from or to RAX's struct cleave_regs; RAX and RSP travel in the VMCB. */
.macro GPRS op
.set off, 8
.irp r, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15
.ifnc \r, rsp
.ifc \op, load
	mov	off(%rax), %\r
.else
	mov	%\r, off(%rax)
.endif
.endif
.set off, off + 8
.endr
.endm

.macro SWITCH_SPEC_CTRL from, to
	mov	\to, %eax
	cmp	\from, %eax
	je	.Lsame\@
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	xor	%edx, %edx
	wrmsr
.Lsame\@:
.endm

.section .noinstr.text, "ax"

/*
 * int svm_vmenter(struct cleave_regs *regs, u64 vmcb_pa, u64 host_pa,
 *		   u32 guest_spec_ctrl, u32 host_spec_ctrl)
 *
 * IRQs off before and after. GIF is clear from CLGI to STGI, so that nothing of the host, NMIs
 * included, meets the guest's GS base, SPEC_CTRL or branch predictor. RFLAGS.IF is set in between:
 * with V_INTR_MASKING its value at VMRUN is what masks physical interrupts in the guest (APM vol. 2
 * 15.21.1). STI stands well before VMRUN, as the guest must not inherit its shadow. A pending NMI
 * comes in at STGI.
 */
SYM_FUNC_START(svm_vmenter)
	push	%rbp
	mov	%rsp, %rbp
.irp r, r15, r14, r13, r12, rbx, r8, rcx, rdx, rsi, rdi
	push	%\r
.endr

.Lclgi:	clgi
	sti

	/*
	 * Kept at each entry, not once a load: an interrupt between two entries
	 * may have loaded another LDT.
	 */
	mov	%rdx, %rax
	vmsave	%rax

	/* What the divider shows of the quotient before; an NMI's handler may divide as well. */
	ALTERNATIVE "", "xor %eax, %eax; xor %edx, %edx; mov $1, %ecx; div %ecx", X86_BUG_DIV0

	/* No RET or indirect branch from here to VMRUN. */
	SWITCH_SPEC_CTRL S_HOST_SPEC(%rsp), S_GUEST_SPEC(%rsp)
	mov	S_VMCB(%rsp), %rax
	vmload	%rax
	mov	S_REGS(%rsp), %rax
	GPRS load
	mov	S_VMCB(%rsp), %rax
	VM_CLEAR_CPU_BUFFERS
	vmrun	%rax

	/* RAX and RSP are the host's again, all else is the guest's. */
	mov	S_REGS(%rsp), %rax
	GPRS store

	/* Nothing of the guest stays in a register that code may speculate with. */
.irp r, ecx, edx, ebx, ebp, esi, edi, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d
	xor	%\r, %\r
.endr

	mov	S_VMCB(%rsp), %rax
	vmsave	%rax
	mov	S_HOST(%rsp), %rax
	vmload	%rax

	/* Before any RET. */
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT

	SWITCH_SPEC_CTRL S_GUEST_SPEC(%rsp), S_HOST_SPEC(%rsp)
	CLV_UNTRAIN_RET_VM
	cli
	stgi
	xor	%eax, %eax
.Lout:
	add	$40, %rsp
.irp r, rbx, r12, r13, r14, r15, rbp
	pop	%\r
.endr
	RET

	/*
	 * SVM may have been switched off on this CPU by a host that goes down, but not any more
	 * once GIF is clear: no other instruction here can fault but by a bug.
	 */
.Lclgi_fault:
	cmpb	$0, clv_rebooting(%rip)
	je	.Lbug
	mov	$-1, %eax
	jmp	.Lout
.Lbug:
	ud2
	_ASM_EXTABLE(.Lclgi, .Lclgi_fault)
SYM_FUNC_END(svm_vmenter)
