/* SPDX-License-Identifier: GPL-2.0 */
/*
 * cleave: how long an intercepted instruction is and which register it names, for CPUs without
 * next-RIP save and decode assists; and what a plain store writes, for ioeventfds. No decoder:
 * what is not listed here is refused. Also built in user space by the unit tests.
 */
#ifndef CLV_INSN_H
#define CLV_INSN_H

#include <linux/types.h>
#include "../uapi/linux/cleave.h"

#define CLV_INSN_MAX	15U

/* clv_insn.opcode: bytes as a number; of 0f 01 the third is part of it if it names no memory. */
#define CLV_OP_HLT		0xf4
#define CLV_OP_CLTS		0x0f06
#define CLV_OP_INVD		0x0f08
#define CLV_OP_WBINVD		0x0f09
#define CLV_OP_GROUP7_MEM	0x0f01		/* LMSW, SMSW and others with memory */
#define CLV_OP_CR_READ		0x0f20
#define CLV_OP_CR_WRITE		0x0f22
#define CLV_OP_WRMSR		0x0f30
#define CLV_OP_RDMSR		0x0f32
#define CLV_OP_CPUID		0x0fa2
#define CLV_OP_MONITOR		0x0f01c8
#define CLV_OP_MWAIT		0x0f01c9
#define CLV_OP_XSETBV		0x0f01d1
#define CLV_OP_VMRUN		0x0f01d8	/* to INVLPGA: SVM's instructions */
#define CLV_OP_VMMCALL		0x0f01d9
#define CLV_OP_INVLPGA		0x0f01df
#define CLV_OP_LMSW		0x0f01f0	/* and the seven after it, one a register */

/* What clv_insn_parse() found. */
struct clv_insn {
	u32 opcode;	/* CLV_OP_* */
	u8 len;		/* bytes, prefixes included */
	u8 rm;		/* ModRM.rm with REX.B: the general register, in encoding order */
};

/* The n bytes at buf. False: none of these, too long, not all there. CLV_OP_GROUP7_MEM: no len. */
bool clv_insn_parse(const u8 *buf, unsigned int n, bool code64, struct clv_insn *in);

struct clv_store {
	u64 addr, value;	/* linear; zero above size */
	u8 size, len;		/* 1, 2, 4, 8; of the instruction */
};

/*
 * Parses what is at regs->rip in 64-bit code: MOV of a general register or an immediate to memory
 * (88, 89, c6, c7), but by FS, GS or a 32-bit address. False: anything else, or not all there.
 */
bool clv_store_parse(const u8 *buf, unsigned int n, const struct cleave_regs *regs,
		     struct clv_store *st);

#endif /* CLV_INSN_H */
