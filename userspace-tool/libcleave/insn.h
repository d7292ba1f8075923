/* SPDX-License-Identifier: GPL-2.0 */
/* libcleave: a decoded instruction, small enough to keep, and its arithmetic. */
#ifndef LIBCLEAVE_INSN_H
#define LIBCLEAVE_INSN_H

#include "libcleave.h"

enum insn_kind {
	INSN_MOV, INSN_MOVSX, INSN_MOVBE, INSN_ALU, INSN_UNARY, INSN_SHIFT, INSN_DSHIFT,
	INSN_XCHG, INSN_XADD, INSN_CMPXCHG, INSN_CMPXCHG8B, INSN_BT, INSN_SETCC, INSN_CMOV,
	INSN_PUSH, INSN_POP, INSN_CALL, INSN_JMP, INSN_IN, INSN_OUT, INSN_SMSW, INSN_LMSW,
	INSN_NOP, INSN_VMOV,
	/* string instructions last */
	INSN_MOVS, INSN_STOS, INSN_LODS, INSN_CMPS, INSN_SCAS, INSN_INS, INSN_OUTS,
};

/* struct insn.sub */
enum { ALU_ADD, ALU_OR, ALU_ADC, ALU_SBB, ALU_AND, ALU_SUB, ALU_XOR, ALU_CMP, ALU_TEST };
enum { UNARY_NOT, UNARY_NEG, UNARY_INC, UNARY_DEC };
enum { SHIFT_ROL, SHIFT_ROR, SHIFT_RCL, SHIFT_RCR, SHIFT_SHL, SHIFT_SHR, SHIFT_SAR };
enum { DSHIFT_LEFT, DSHIFT_RIGHT };
enum { BIT_TEST, BIT_SET, BIT_RESET, BIT_COMPLEMENT };

enum { OP_NONE, OP_GPR, OP_MEM, OP_IMM, OP_SEG, OP_VEC };

#define INSN_NOREG	0xff
#define INSN_RIP	16		/* as base */
enum { SEG_CS, SEG_DS, SEG_ES, SEG_FS, SEG_GS, SEG_SS };	/* as in struct cleave_sregs */

struct insn_op {
	uint8_t type;			/* OP_* */
	uint8_t reg;			/* of struct cleave_regs, SEG_* or XMM number */
	uint8_t size;			/* bytes */
	uint8_t high;			/* AH, CH, DH, BH */
};

struct insn {
	uint8_t kind, sub, len;
	uint8_t mem;			/* operand that is in memory, or INSN_NOREG */
	uint8_t asize;			/* address size: 2, 4, 8 bytes */
	uint8_t rep;			/* last of 0xf2, 0xf3, or 0 */
	uint8_t lock, writes;		/* the memory operand is stored to */
	uint8_t seg, base, index, scale;
	uint8_t aligned, vex;		/* vector moves */
	uint8_t plain;			/* MOV, memory and a register (not AH..BH) or constant */
	struct insn_op op[3];
	int64_t disp;
	uint64_t imm;
};

/*
 * mode: code size, 2, 4 or 8 bytes. 0; -EAGAIN: n bytes are too few;
 * -EINVAL: no instruction; -EOPNOTSUPP: none that assist.c carries out.
 */
int insn_decode(struct insn *in, const uint8_t *bytes, size_t n, unsigned int mode);
int insn_format(const uint8_t *bytes, size_t n, unsigned int mode, uint64_t rip, char *text,
		size_t size, unsigned int *len);

/*
 * Done by the host's own CPU, so that every flag, the undefined ones too, is
 * what a CPU gives. size in bytes; *flags is RFLAGS, its arithmetic bits change.
 */
uint64_t alu_binary(unsigned int op, uint64_t d, uint64_t s, unsigned int size, uint64_t *flags);
uint64_t alu_unary(unsigned int op, uint64_t d, unsigned int size, uint64_t *flags);
uint64_t alu_shift(unsigned int op, uint64_t d, uint8_t count, unsigned int size, uint64_t *flags);
uint64_t alu_dshift(unsigned int op, uint64_t d, uint64_t s, uint8_t count, unsigned int size,
		    uint64_t *flags);

#endif /* LIBCLEAVE_INSN_H */
