/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The guest of `cleave bench generations`: the same work with the devices of a
 * PC, with paravirtual ones, and with what needs the hypervisor least. 64-bit,
 * identity mapped, copied to GEN_CODE; GS is the vCPU's box. It parks at a port
 * and is told there what to do next, and how often.
 */
#include "layout.h"

#define COM1		0x3f8
#define PM_TIMER	0x608
#define LAPIC		0xfee00000
#define LAPIC_EOI	0x0b0
#define LAPIC_SVR	0x0f0
#define LAPIC_ICR	0x300
#define LAPIC_LVTT	0x320
#define LAPIC_TMICT	0x380
#define LAPIC_TDCR	0x3e0
#define X2APIC(reg)	(0x800 + ((reg) >> 4))
#define MSR_APIC_BASE	0x1b
#define MSR_DEADLINE	0x6e0
#define MSR_PV_CLOCK	0x4b564d01
#define MSR_PV_EOI	0x4b564d04
#define HC_SEND_IPI	10

	.macro	to_port port, value
	mov	$\port, %edx
	mov	$\value, %al
	outb	%al, %dx
	.endm

	.macro	write_msr msr, value
	mov	$\msr, %ecx
	mov	$\value, %eax
	xor	%edx, %edx
	wrmsr
	.endm

	/* Until the counter is no more what it was: R14. */
	.macro	await counter
8:	cmp	%r14, \counter
	jne	9f
	pause
	jmp	8b
9:
	.endm

	.section .rodata
	.code64
	.balign	16
	.globl	gen_guest, gen_guest_end, gen_gates
gen_guest:
1:	mov	$GEN_PORT_PARK, %edx
	outl	%eax, %dx
	mov	%gs:BOX_FN, %eax
	mov	%gs:BOX_ROUNDS, %r15
	lea	functions(%rip), %rdx
	movslq	(%rdx, %rax, 4), %rax
	add	%rdx, %rax
	call	*%rax
	jmp	1b

	.balign	4
functions:
	.long	nothing - functions, listen - functions
	.long	setup1 - functions, setup2 - functions, setup3 - functions
	.long	line1 - functions, line2 - functions, line3 - functions
	.long	block1 - functions, block2 - functions, block3 - functions
	.long	tick1 - functions, tick2 - functions, tick3 - functions
	.long	ipi1 - functions, ipi2 - functions, ipi3 - functions
	.long	clock1 - functions, clock2 - functions, clock3 - functions

/* ---- without work: what all the rest costs ---------------------------------------- */

nothing:
	dec	%r15
	jnz	nothing
	ret

/* Of vCPU 1: takes interrupts, as a CPU that has something to do. */
listen:
	movl	$1, SHARED_LISTENS
1:	pause
	cmpl	$0, SHARED_LISTEN
	jne	1b
	movl	$0, SHARED_LISTENS
	ret

/* ---- setup, by each vCPU ------------------------------------------------------------ */

/* The 8259 pair, the 8254 as a one-shot timer, the local APIC by its page. */
setup1:
	mov	$LAPIC, %edi
	movl	$0x1ff, LAPIC_SVR(%rdi)
	cmpl	$0, %gs:BOX_ID
	jne	1f
	to_port	0x20, 0x11
	to_port	0x21, GEN_VEC_PIC
	to_port	0x21, 0x04
	to_port	0x21, 0x01
	to_port	0xa0, 0x11
	to_port	0xa1, GEN_VEC_PIC2
	to_port	0xa1, 0x02
	to_port	0xa1, 0x01
	to_port	0x21, 0xfa		/* all but 0, 2 and 14 are masked */
	to_port	0xa1, 0xbf
	to_port	0x43, 0x30		/* channel 0, both bytes, mode 0 */
1:	sti
	ret

/* Paravirtual EOI and clock; the timer is the local APIC's, still by its page. */
setup2:
	mov	%gs:BOX_ID, %eax
	imul	$GEN_BOX_SIZE, %eax, %eax
	add	$GEN_BOX + BOX_EOI + 1, %eax
	xor	%edx, %edx
	mov	$MSR_PV_EOI, %ecx
	wrmsr
	cmpl	$0, %gs:BOX_ID
	jne	1f
	to_port	0x21, 0xff
	to_port	0xa1, 0xff
	write_msr MSR_PV_CLOCK, GEN_CLOCK + 1
	mov	$LAPIC, %edi
	movl	$0xb, LAPIC_TDCR(%rdi)	/* by 1 */
	movl	$GEN_VEC_TIMER, LAPIC_LVTT(%rdi)
1:	ret

/* The local APIC by MSRs, its timer by the TSC. */
setup3:
	mov	$MSR_APIC_BASE, %ecx
	rdmsr
	or	$0xc00, %eax
	wrmsr
	movl	$1, %gs:BOX_X2APIC
	cmpl	$0, SHARED_DEADLINE
	je	1f
	write_msr X2APIC(LAPIC_LVTT), GEN_VEC_TIMER + (2 << 17)
1:	ret

/* ---- a line ----------------------------------------------------------------------- */

/* The next number, in letters at the line's end first. */
stamp_line:
	incq	SHARED_SEQ
	mov	SHARED_SEQ, %eax
	mov	$GEN_LINE_STAMP, %ecx
1:	mov	%eax, %edx
	and	$15, %edx
	add	$'a', %edx
	mov	%dl, GEN_LINE - 1(%rcx)
	shr	$4, %eax
	loop	1b
	ret

line1:
	call	stamp_line
	mov	$GEN_LINE, %esi
	mov	$GEN_LINE_SIZE, %ecx
1:	mov	$COM1 + 5, %edx
	inb	%dx, %al
	test	$0x20, %al		/* room for a byte */
	jz	1b
	mov	$COM1, %edx
	mov	(%rsi), %al
	outb	%al, %dx
	inc	%esi
	dec	%ecx
	jnz	1b
	dec	%r15
	jnz	line1
	ret

line2:
	call	stamp_line
	mov	$GEN_HYPERCALL, %eax
	mov	$GEN_LINE, %ebx
	mov	$GEN_LINE_SIZE, %ecx
	call	hypercall
	dec	%r15
	jnz	line2
	ret

hypercall:
	cmpl	$0, SHARED_SVM
	jne	1f
	vmcall
	ret
1:	vmmcall
	ret

/* Into a slot, so that the next line can be made while this one is taken. */
line3:
	call	stamp_line
1:	mov	GEN_LINE_RING + RING_AVAIL, %eax
	mov	%eax, %edx
	sub	GEN_LINE_RING + RING_USED, %edx
	cmp	$RING_SLOTS, %edx
	jb	2f
	pause
	jmp	1b
2:	mov	%eax, %edi
	and	$RING_SLOTS - 1, %edi
	mov	%edi, %edx
	shl	$4, %edx		/* a descriptor's size */
	shl	$6, %edi		/* a line's */
	add	$GEN_LINE_SLOTS, %edi
	mov	%rdi, GEN_LINE_RING + RING_DESC(%rdx)
	movl	$GEN_LINE_SIZE, GEN_LINE_RING + RING_DESC + 8(%rdx)
	mov	$GEN_LINE, %esi
	mov	$GEN_LINE_SIZE / 8, %ecx
	rep movsq
	inc	%eax
	mov	%eax, GEN_LINE_RING + RING_AVAIL
	dec	%r15
	jnz	line3
3:	cmp	%eax, GEN_LINE_RING + RING_USED
	je	4f
	pause
	jmp	3b
4:	ret

/* ---- a block ---------------------------------------------------------------------- */

/* The next number to each sector; ESI: which block of the disk. */
stamp_block:
	incq	SHARED_SEQ
	mov	SHARED_SEQ, %rax
	mov	$GEN_BLOCK, %edi
1:	mov	%rax, (%rdi)
	add	$GEN_SECTOR, %edi
	cmp	$GEN_BLOCK + GEN_BLOCK_SIZE, %edi
	jb	1b
	mov	%eax, %esi
	and	$GEN_DISK_BLOCKS - 1, %esi
	ret

/* ATA, WRITE SECTORS: eight times 256 words, an interrupt after each. */
block1:
	call	stamp_block
	shl	$3, %esi
	to_port	GEN_PORT_ATA + 2, 8
	mov	%esi, %eax
	mov	$GEN_PORT_ATA + 3, %edx
	outb	%al, %dx
	shr	$8, %eax
	inc	%edx
	outb	%al, %dx
	shr	$8, %eax
	inc	%edx
	outb	%al, %dx
	to_port	GEN_PORT_ATA + 6, 0xe0
	to_port	GEN_PORT_ATA + 7, 0x30
1:	inb	%dx, %al
	and	$0x88, %al		/* not busy, wants data */
	cmp	$0x08, %al
	jne	1b
	mov	$GEN_BLOCK, %esi
2:	mov	SHARED_DEVICE, %r14
	mov	$GEN_SECTOR / 2, %ecx
	mov	$GEN_PORT_ATA, %edx
	rep outsw
	await	SHARED_DEVICE
	cmp	$GEN_BLOCK + GEN_BLOCK_SIZE, %esi
	jb	2b
	dec	%r15
	jnz	block1
	ret

/* To the ring; EAX: how far it is filled then. */
offer_block:
	call	stamp_block
	mov	GEN_BLOCK_RING + RING_AVAIL, %eax
	mov	%eax, %edx
	and	$RING_SLOTS - 1, %edx
	shl	$4, %edx
	movq	$GEN_BLOCK, GEN_BLOCK_RING + RING_DESC(%rdx)
	movl	$GEN_BLOCK_SIZE, GEN_BLOCK_RING + RING_DESC + 8(%rdx)
	mov	%esi, GEN_BLOCK_RING + RING_DESC + 12(%rdx)
	inc	%eax
	mov	%eax, GEN_BLOCK_RING + RING_AVAIL
	ret

block2:
	mov	SHARED_DEVICE, %r14
	call	offer_block
	mov	$GEN_PORT_BELL, %edx
	outl	%eax, %dx
	await	SHARED_DEVICE
	dec	%r15
	jnz	block2
	ret

block3:
	call	offer_block
1:	cmp	%eax, GEN_BLOCK_RING + RING_USED
	je	2f
	pause
	jmp	1b
2:	dec	%r15
	jnz	block3
	ret

/* ---- a tick: the timer is set, its interrupt taken and ended ------------------------ */

tick1:
	mov	SHARED_TICKS, %r14
	to_port	0x40, 15		/* as short as Linux makes it */
	to_port	0x40, 0
	await	SHARED_TICKS
	dec	%r15
	jnz	tick1
	ret

tick2:
	mov	SHARED_TICKS, %r14
	mov	$LAPIC, %edi
	movl	$1, LAPIC_TMICT(%rdi)
	await	SHARED_TICKS
	dec	%r15
	jnz	tick2
	ret

tick3:
	mov	SHARED_TICKS, %r14
	cmpl	$0, SHARED_DEADLINE
	je	1f
	rdtsc
	mov	$MSR_DEADLINE, %ecx
	jmp	2f
1:	mov	$1, %eax
	xor	%edx, %edx
	mov	$X2APIC(LAPIC_TMICT), %ecx
2:	wrmsr
	await	SHARED_TICKS
	dec	%r15
	jnz	tick3
	ret

/* ---- an IPI to vCPU 1, which listens; done when its handler ran ---------------------- */

ipi1:
	mov	SHARED_IPIS, %r14
	mov	$LAPIC, %edi
1:	mov	LAPIC_ICR(%rdi), %eax
	test	$0x1000, %eax		/* the one before is on its way */
	jnz	1b
	movl	$1 << 24, LAPIC_ICR + 0x10(%rdi)
	movl	$GEN_VEC_IPI, LAPIC_ICR(%rdi)
	await	SHARED_IPIS
	dec	%r15
	jnz	ipi1
	ret

ipi2:
	mov	SHARED_IPIS, %r14
	mov	$HC_SEND_IPI, %eax
	mov	$1, %ebx		/* a bit map of APIC ids, */
	xor	%ecx, %ecx
	mov	$1, %edx		/* from this one on */
	mov	$GEN_VEC_IPI, %esi
	call	hypercall
	await	SHARED_IPIS
	dec	%r15
	jnz	ipi2
	ret

ipi3:
	mov	SHARED_IPIS, %r14
	mov	$X2APIC(LAPIC_ICR), %ecx
	mov	$GEN_VEC_IPI, %eax
	mov	$1, %edx
	wrmsr
	await	SHARED_IPIS
	dec	%r15
	jnz	ipi3
	ret

/* ---- a look at the clock -------------------------------------------------------------- */

	/* \read gives it in RAX; it must not go back. */
	.macro	look read
	mov	SHARED_LAST, %r14
1:	\read
	cmp	%r14, %rax
	jae	2f
	incq	SHARED_BACK
2:	mov	%rax, %r14
	dec	%r15
	jnz	1b
	mov	%rax, SHARED_LAST
	ret
	.endm

	.macro	read_tsc
	rdtsc
	shl	$32, %rdx
	or	%rdx, %rax
	.endm

	/* 32 bits, which last for 20 minutes. */
	.macro	read_pm_timer
	mov	$PM_TIMER, %edx
	inl	%dx, %eax
	.endm

clock1:	look	read_pm_timer
clock2:	look	"call read_pv_clock"
clock3:	look	read_tsc

/* struct pvclock_vcpu_time_info: version, TSC at 8, ns at 16, factor at 24, shift at 28. */
read_pv_clock:
	mov	GEN_CLOCK, %r8d
	read_tsc
	sub	GEN_CLOCK + 8, %rax
	movsbl	GEN_CLOCK + 28, %ecx
	test	%ecx, %ecx
	js	1f
	shl	%cl, %rax
	jmp	2f
1:	neg	%ecx
	shr	%cl, %rax
2:	mov	GEN_CLOCK + 24, %edx
	mul	%rdx
	shrd	$32, %rdx, %rax
	add	GEN_CLOCK + 16, %rax
	cmp	GEN_CLOCK, %r8d
	jne	read_pv_clock
	test	$1, %r8d
	jnz	read_pv_clock
	ret

/* ---- interrupts ------------------------------------------------------------------------ */

	/* The end first: who waits for the counter may send the next one then. */
	.macro	handler name, counter
\name:	push	%rax
	push	%rcx
	push	%rdx
	call	end_of_interrupt
	incq	\counter
	pop	%rdx
	pop	%rcx
	pop	%rax
	iretq
	.endm

	handler	on_timer, SHARED_TICKS
	handler	on_ipi, %gs:BOX_IPIS
	handler	on_block, SHARED_DEVICE

/* The byte, where the hypervisor has set it; else the register. */
end_of_interrupt:
	btrl	$0, %gs:BOX_EOI
	jc	2f
	cmpl	$0, %gs:BOX_X2APIC
	jne	1f
	mov	$LAPIC, %eax
	movl	$0, LAPIC_EOI(%rax)
	ret
1:	write_msr X2APIC(LAPIC_EOI), 0
2:	ret

on_pit:
	push	%rax
	push	%rdx
	incq	SHARED_TICKS
	jmp	1f

/* The status register, read, takes the disk's interrupt away. */
on_ata:
	push	%rax
	push	%rdx
	mov	$GEN_PORT_ATA + 7, %edx
	inb	%dx, %al
	incq	SHARED_DEVICE
	to_port	0xa0, 0x20
1:	to_port	0x20, 0x20
	pop	%rdx
	pop	%rax
	iretq

/* Whatever else comes is a mistake: a port that nobody has told anything. */
stray:
	mov	$GEN_PORT_PARK + 1, %edx
	outl	%eax, %dx
	jmp	stray
gen_guest_end:

	/* struct gen_gate: a vector, and where its handler is; vector 0 is for all others. */
	.balign	4
gen_gates:
	.long	GEN_VEC_PIC, on_pit - gen_guest
	.long	GEN_VEC_PIC2 + GEN_ATA_IRQ - 8, on_ata - gen_guest
	.long	GEN_VEC_TIMER, on_timer - gen_guest
	.long	GEN_VEC_IPI, on_ipi - gen_guest
	.long	GEN_VEC_BLOCK, on_block - gen_guest
	.long	0, stray - gen_guest

	.section .note.GNU-stack, "", @progbits
