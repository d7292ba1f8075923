/* SPDX-License-Identifier: GPL-2.0 */
/* cleave: the entry into a VT-x guest, and the only VMLAUNCH and VMRESUME. */
#include <linux/linkage.h>
#include <asm/asm.h>
#include <asm/cpufeatures.h>
#include <asm/msr-index.h>
#include <asm/nospec-branch.h>
#include <asm/unwind_hints.h>
#include "../compat.h"

/* The stack while the guest runs. */
#define S_REGS		0
#define S_GUEST_SPEC	8
#define S_HOST_SPEC	16
#define S_RAX		24		/* scratch at the exit, then the result */

/* VMCS fields, SDM vol. 3D appendix B */
#define HOST_RSP	0x6c14
#define HOST_RIP	0x6c16

.section .noinstr.text, "ax"

/*
 * int vmx_vmenter(struct cleave_regs *regs, bool launched, u32 guest_spec,
 *		   u32 host_spec)
 *
 * IRQs off before and after. HOST_RSP and HOST_RIP are written here, so that
 * an exit goes on at .Lexit with this stack.
 */
SYM_FUNC_START(vmx_vmenter)
	push	%rbp
	mov	%rsp, %rbp
.irp r, %r15, %r14, %r13, %r12, %rbx, $0, %rcx, %rdx, %rdi
	push	\r
.endr

	mov	$HOST_RSP, %eax
.Lwrsp:	vmwrite	%rsp, %rax
	mov	$HOST_RIP, %eax
	lea	.Lexit(%rip), %r8
.Lwrip:	vmwrite	%r8, %rax

	/* No RET or indirect branch from here to the entry. */
	cmp	%ecx, %edx
	je	.Lguest_spec_done
	mov	%edx, %eax
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	xor	%edx, %edx
	wrmsr
.Lguest_spec_done:

	/* Carry: VMRESUME. Nothing below changes it: MOV no flag, VERW only ZF. */
	bt	$0, %esi

	/* struct cleave_regs is an array by number; RSP travels in the VMCS. */
.set off, 0
.irp r, ax, cx, dx, bx, sp, bp, si, di, 8, 9, 10, 11, 12, 13, 14, 15
.ifnc \r, sp
.ifnc \r, di
	mov	off(%rdi), %r\r
.endif
.endif
.set off, off + 8
.endr
	mov	7 * 8(%rdi), %rdi

	CLEAR_CPU_BUFFERS
	jnc	.Llaunch
	UNWIND_HINT_SAVE
.Lresume: vmresume
	jmp	.Lvmfail
.Llaunch: vmlaunch
	jmp	.Lvmfail

	/* RSP is the host's again, all else is the guest's. */
.Lexit:
	UNWIND_HINT_RESTORE
	ENDBR
	mov	%rax, S_RAX(%rsp)
	mov	S_REGS(%rsp), %rax
.set off, 8
.irp r, cx, dx, bx, sp, bp, si, di, 8, 9, 10, 11, 12, 13, 14, 15
.ifnc \r, sp
	mov	%r\r, off(%rax)
.endif
.set off, off + 8
.endr
	mov	S_RAX(%rsp), %rcx
	mov	%rcx, (%rax)
	movq	$0, S_RAX(%rsp)
	jmp	.Lhost

	/* CF or ZF: the guest was not entered, its registers have not changed. */
.Lvmfail:
	movq	$1, S_RAX(%rsp)

.Lhost:
	/* Nothing of the guest stays in a register that code may speculate with. */
.irp r, eax, ecx, edx, ebx, ebp, esi, edi, r8d, r9d, r10d, r11d, r12d, r13d, r14d, r15d
	xor	%\r, %\r
.endr

	/* Before any RET; the LITE form is for CPUs with PBRSB alone. */
	FILL_RETURN_BUFFER %rcx, RSB_CLEAR_LOOPS, X86_FEATURE_RSB_VMEXIT, \
			   X86_FEATURE_RSB_VMEXIT_LITE

	/*
	 * Where the kernel itself sets IBRS at each entry (RETBleed) it is the
	 * write that isolates, so it is due even if the values are the same:
	 * RBP is 0 here and never equals RSP.
	 */
	mov	S_HOST_SPEC(%rsp), %eax
	cmp	S_GUEST_SPEC(%rsp), %eax
	ALTERNATIVE "", "cmp %rsp, %rbp", X86_FEATURE_KERNEL_IBRS
	je	.Lhost_spec_done
	mov	$MSR_IA32_SPEC_CTRL, %ecx
	xor	%edx, %edx
	wrmsr
.Lhost_spec_done:
	/* No speculation past a branch that skipped the write. */
	ALTERNATIVE "", "lfence", X86_FEATURE_MSR_SPEC_CTRL
	CLEAR_BRANCH_HISTORY_VMEXIT

	mov	S_RAX(%rsp), %eax
	add	$32, %rsp
.irp r, rbx, r12, r13, r14, r15, rbp
	pop	%\r
.endr
	RET

	/* VMX may have been switched off on this CPU by a host that goes down. */
.Lfault:
	movq	$-1, S_RAX(%rsp)
	cmpb	$0, clv_rebooting(%rip)
	jne	.Lhost
	ud2
	_ASM_EXTABLE(.Lwrsp, .Lfault)
	_ASM_EXTABLE(.Lwrip, .Lfault)
	_ASM_EXTABLE(.Lresume, .Lfault)
	_ASM_EXTABLE(.Llaunch, .Lfault)
SYM_FUNC_END(vmx_vmenter)
