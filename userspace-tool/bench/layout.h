/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the guest of `cleave bench generations` and the tool agree on: where
 * things are in guest memory, ports, vectors. Numbers alone, for program.S too.
 */
#ifndef CLEAVE_BENCH_LAYOUT_H
#define CLEAVE_BENCH_LAYOUT_H

/* ---- guest memory ------------------------------------------------------------ */

#define GEN_GDT		0x1000
#define GEN_IDT		0x2000
#define GEN_PML4	0x3000
#define GEN_PDPT	0x4000
#define GEN_PD_LOW	0x5000		/* the first GiB, */
#define GEN_PD_HIGH	0x6000		/* and the fourth, where the local APIC is */
#define GEN_BOX		0x8000		/* a vCPU's own, by GS; */
#define GEN_BOX_SIZE	0x80
#define GEN_SHARED	0x8100
#define GEN_CLOCK	0x9000		/* kvm-clock of vCPU 0 */
#define GEN_BLOCK_RING	0xa000
#define GEN_LINE_RING	0xb000
#define GEN_LINE_SLOTS	0xc000		/* of the line ring */
#define GEN_LINE	0xd000
#define GEN_BLOCK	0xe000
#define GEN_CODE	0x10000
#define GEN_STACK	0x30000		/* top; vCPU 1's is a page above */
#define GEN_MEMORY	0x200000

/* The box: what the tool wants done. */
#define BOX_FN		0		/* GEN_FN_* */
#define BOX_X2APIC	4		/* the guest's own: the local APIC is reached by MSRs */
#define BOX_ROUNDS	8
#define BOX_EOI		16		/* the byte of paravirtual EOI */
#define BOX_ID		20
#define BOX_IPIS	24		/* that this vCPU took */

#define SHARED_TICKS	(GEN_SHARED + 0x00)	/* counted by handlers */
#define SHARED_IPIS	(GEN_BOX + GEN_BOX_SIZE + BOX_IPIS)	/* vCPU 1's */
#define SHARED_DEVICE	(GEN_SHARED + 0x40)
#define SHARED_LISTEN	(GEN_SHARED + 0xc0)	/* the tool: vCPU 1 is to wait for IPIs */
#define SHARED_LISTENS	(GEN_SHARED + 0x100)	/* vCPU 1: it does */
#define SHARED_SEQ	(GEN_SHARED + 0x140)	/* lines and blocks are numbered */
#define SHARED_BACK	(GEN_SHARED + 0x148)	/* how often the clock went back, */
#define SHARED_LAST	(GEN_SHARED + 0x150)	/* and its last value */
#define SHARED_SVM	(GEN_SHARED + 0x160)	/* the tool: hypercalls by VMMCALL */
#define SHARED_DEADLINE	(GEN_SHARED + 0x164)	/* the tool: there is a TSC deadline timer */

/* A ring: indices that only grow, 64 bytes apart, and descriptors. */
#define RING_AVAIL	0
#define RING_USED	64
#define RING_DESC	128		/* address 8, length 4, block 4 */
#define RING_SLOTS	16

#define GEN_LINE_SIZE	64
#define GEN_LINE_STAMP	8		/* letters that number it */
#define GEN_BLOCK_SIZE	4096
#define GEN_SECTOR	512		/* its first 8 bytes number it */
#define GEN_DISK_BLOCKS	64

/* ---- what it can be told to do ------------------------------------------------- */

#define GEN_FN_NOTHING	0
#define GEN_FN_LISTEN	1
#define GEN_FN_SETUP	2		/* + generation, from 0 */
#define GEN_FN_WORK	5		/* + operation * 3 + generation */

/* ---- ports, vectors ------------------------------------------------------------- */

#define GEN_PORT_PARK	0xf4		/* done: what next? */
#define GEN_PORT_BELL	0xc050		/* the block ring has something */
#define GEN_PORT_ATA	0x1f0
#define GEN_HYPERCALL	0x636c7601	/* line at RBX, RCX bytes */

#define GEN_VEC_PIC	0x20
#define GEN_VEC_PIC2	0x28
#define GEN_ATA_IRQ	14
#define GEN_VEC_TIMER	0x40
#define GEN_VEC_IPI	0x50
#define GEN_VEC_BLOCK	0x60

#endif /* CLEAVE_BENCH_LAYOUT_H */
