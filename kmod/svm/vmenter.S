/* SPDX-License-Identifier: GPL-2.0 */
/* cleave: the entry into an AMD-V guest, and the only VMRUN. */
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/cpufeatures.h>
#include <asm/msr-index.h>
#include <asm/nospec-branch.h>
#include "../compat.h"

/* struct cleave_regs; svm.c checks them. RAX and RSP travel in the VMCB. */
#define R_RCX	8
#define R_RDX	16
#define R_RBX	24
#define R_RBP	40
#define R_RSI	48
#define R_RDI	56
#define R_R8	64

/* The stack while the guest runs. */
#define S_REGS		0
#define S_VMCB		8
#define S_HOST		16
#define S_GUEST_SPEC	24
#define S_HOST_SPEC	32

.section .noinstr.text, "ax"

/*
 * int svm_vmenter(struct cleave_regs *regs, u64 vmcb_pa, u64 host_pa,
 *		   u32 guest_spec_ctrl, u32 host_spec_ctrl)
 *
 * IRQs off before and after. GIF is clear from CLGI to STGI, so that nothing
 * of the host, NMIs included, meets the guest's GS base, SPEC_CTRL or branch
 * predictor. RFLAGS.IF is set in between: with V_INTR_MASKING its value at
 * VMRUN is what masks physical interrupts in the guest (APM vol. 2 15.21.1).
 * STI stands well before VMRUN, as the guest must not inherit its shadow. A
 * pending NMI comes in at STGI.
 */
SYM_FUNC_START(svm_vmenter)
	push	%rbp
	mov	%rsp, %rbp
	push	%r15
	push	%r14
	push	%r13
	push	%r12
	push	%rbx
	push	%r8
	push	%rcx
	push	%rdx
	push	%rsi
	push	%rdi

.Lclgi:	clgi
	sti

	/*
	 * Kept at each entry, not once a load: an interrupt between two entries
	 * may have loaded another LDT.
	 */
	mov	%rdx, %rax
	vmsave	%rax

	/* No RET or indirect branch from here to VMRUN. */
	cmp	%ecx, %r8d
	je	.Lguest_spec_done
	mov	%ecx, %eax
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	xor	%edx, %edx
	wrmsr
.Lguest_spec_done:

	mov	%rsi, %rax
	vmload	%rax

	mov	R_RCX(%rdi), %rcx
	mov	R_RDX(%rdi), %rdx
	mov	R_RBX(%rdi), %rbx
	mov	R_RBP(%rdi), %rbp
	mov	R_RSI(%rdi), %rsi
.set off, R_R8
.irp n, 8, 9, 10, 11, 12, 13, 14, 15
	mov	off(%rdi), %r\n
.set off, off + 8
.endr
	mov	R_RDI(%rdi), %rdi

	VM_CLEAR_CPU_BUFFERS
	vmrun	%rax

	/* RAX and RSP are the host's again, all else is the guest's. */
	mov	S_REGS(%rsp), %rax
	mov	%rcx, R_RCX(%rax)
	mov	%rdx, R_RDX(%rax)
	mov	%rbx, R_RBX(%rax)
	mov	%rbp, R_RBP(%rax)
	mov	%rsi, R_RSI(%rax)
	mov	%rdi, R_RDI(%rax)
.set off, R_R8
.irp n, 8, 9, 10, 11, 12, 13, 14, 15
	mov	%r\n, off(%rax)
.set off, off + 8
.endr

	mov	S_VMCB(%rsp), %rax
	vmsave	%rax
	mov	S_HOST(%rsp), %rax
	vmload	%rax

	/* Before any RET. */
	FILL_RETURN_BUFFER %rax, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT

	mov	S_HOST_SPEC(%rsp), %eax
	cmp	S_GUEST_SPEC(%rsp), %eax
	je	.Lhost_spec_done
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	xor	%edx, %edx
	wrmsr
.Lhost_spec_done:

	CLV_UNTRAIN_RET_VM

	/* Nothing of the guest stays in a register that code may speculate with. */
.irp r, ecx, edx, ebx, ebp, esi, edi, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d
	xor	%\r, %\r
.endr

	cli
	stgi
	xor	%eax, %eax
.Lout:
	add	$40, %rsp
	pop	%rbx
	pop	%r12
	pop	%r13
	pop	%r14
	pop	%r15
	pop	%rbp
	RET

	/*
	 * SVM may have been switched off on this CPU by a host that goes down,
	 * but not any more once GIF is clear: no other instruction here can
	 * fault but by a bug.
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
