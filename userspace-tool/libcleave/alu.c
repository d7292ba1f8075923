// SPDX-License-Identifier: GPL-2.0
/* libcleave: arithmetic with its flags, by the host's own CPU. */
#include "insn.h"
#include "x86.h"

/* CF goes in by BT; LAHF and SETO bring the six flags out. */
#define CF_IN		"btl $0, %k[f]\n\t"
#define FLAGS_OUT	"\n\tlahf\n\tseto %%al"

#define BINARY(op, type) do {						\
	type r_ = (type)d;						\
									\
	asm(CF_IN op " %[s], %[d]" FLAGS_OUT				\
	    : [d] "+q"(r_), "=&a"(ax)					\
	    : [s] "q"((type)s), [f] "r"((uint32_t)*flags) : "cc");	\
	d = r_;								\
} while (0)

#define UNARY(op, type) do {						\
	type r_ = (type)d;						\
									\
	asm(CF_IN op " %[d]" FLAGS_OUT					\
	    : [d] "+q"(r_), "=&a"(ax)					\
	    : [f] "r"((uint32_t)*flags) : "cc");			\
	d = r_;								\
} while (0)

#define SHIFT(op, type) do {						\
	type r_ = (type)d;						\
									\
	asm(CF_IN op " %%cl, %[d]" FLAGS_OUT				\
	    : [d] "+q"(r_), "=&a"(ax)					\
	    : "c"(count), [f] "r"((uint32_t)*flags) : "cc");		\
	d = r_;								\
} while (0)

#define DSHIFT(op, type) do {						\
	type r_ = (type)d;						\
									\
	asm(CF_IN op " %%cl, %[s], %[d]" FLAGS_OUT			\
	    : [d] "+r"(r_), "=&a"(ax)					\
	    : [s] "r"((type)s), "c"(count), [f] "r"((uint32_t)*flags)	\
	    : "cc");							\
	d = r_;								\
} while (0)

#define BY_SIZE(macro, op) do {						\
	switch (size) {							\
	case 1: macro(op, uint8_t); break;				\
	case 2: macro(op, uint16_t); break;				\
	case 4: macro(op, uint32_t); break;				\
	default: macro(op, uint64_t); break;				\
	}								\
} while (0)

static void merge(uint64_t *flags, uint32_t ax, uint64_t mask)
{
	uint64_t got = (ax >> 8 & 0xff) | (ax & 1 ? X86_OF : 0);

	*flags = (*flags & ~mask) | (got & mask);
}

uint64_t alu_binary(unsigned int op, uint64_t d, uint64_t s, unsigned int size, uint64_t *flags)
{
	uint32_t ax;

	switch (op) {
	case ALU_ADD: BY_SIZE(BINARY, "add"); break;
	case ALU_OR: BY_SIZE(BINARY, "or"); break;
	case ALU_ADC: BY_SIZE(BINARY, "adc"); break;
	case ALU_SBB: BY_SIZE(BINARY, "sbb"); break;
	case ALU_AND: BY_SIZE(BINARY, "and"); break;
	case ALU_SUB: BY_SIZE(BINARY, "sub"); break;
	case ALU_XOR: BY_SIZE(BINARY, "xor"); break;
	case ALU_CMP: BY_SIZE(BINARY, "cmp"); break;
	default: BY_SIZE(BINARY, "test"); break;
	}
	merge(flags, ax, X86_ARITH);
	return d;
}

uint64_t alu_unary(unsigned int op, uint64_t d, unsigned int size, uint64_t *flags)
{
	uint32_t ax;

	switch (op) {
	case UNARY_NOT:
		return ~d;
	case UNARY_NEG: BY_SIZE(UNARY, "neg"); break;
	case UNARY_INC: BY_SIZE(UNARY, "inc"); break;
	default: BY_SIZE(UNARY, "dec"); break;
	}
	merge(flags, ax, X86_ARITH);
	return d;
}

uint64_t alu_shift(unsigned int op, uint64_t d, uint8_t count, unsigned int size, uint64_t *flags)
{
	uint32_t ax;

	if (!(count & (size == 8 ? 63 : 31)))
		return d;
	switch (op) {
	case SHIFT_ROL: BY_SIZE(SHIFT, "rol"); break;
	case SHIFT_ROR: BY_SIZE(SHIFT, "ror"); break;
	case SHIFT_RCL: BY_SIZE(SHIFT, "rcl"); break;
	case SHIFT_RCR: BY_SIZE(SHIFT, "rcr"); break;
	case SHIFT_SHL: BY_SIZE(SHIFT, "shl"); break;
	case SHIFT_SHR: BY_SIZE(SHIFT, "shr"); break;
	default: BY_SIZE(SHIFT, "sar"); break;
	}
	merge(flags, ax, op <= SHIFT_RCR ? X86_CF | X86_OF : X86_ARITH);
	return d;
}

uint64_t alu_dshift(unsigned int op, uint64_t d, uint64_t s, uint8_t count, unsigned int size,
		    uint64_t *flags)
{
	uint32_t ax;

	if (!(count & (size == 8 ? 63 : 31)))
		return d;
	if (op == DSHIFT_LEFT) {
		switch (size) {
		case 2: DSHIFT("shld", uint16_t); break;
		case 4: DSHIFT("shld", uint32_t); break;
		default: DSHIFT("shld", uint64_t); break;
		}
	} else {
		switch (size) {
		case 2: DSHIFT("shrd", uint16_t); break;
		case 4: DSHIFT("shrd", uint32_t); break;
		default: DSHIFT("shrd", uint64_t); break;
		}
	}
	merge(flags, ax, X86_ARITH);
	return d;
}
