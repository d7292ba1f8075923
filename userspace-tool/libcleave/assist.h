/* SPDX-License-Identifier: GPL-2.0 */
/* libcleave: between assist.c, which finds the instruction, and execute.c. */
#ifndef LIBCLEAVE_ASSIST_H
#define LIBCLEAVE_ASSIST_H

#include "insn.h"

/* Results beside 0, CLEAVE_ASSIST_FAULT and -errno; RIP stays at the instruction. */
#define ASSIST_AGAIN	2		/* nothing done: another vCPU was faster */
#define ASSIST_MORE	3		/* a REP has iterations left */

/* Where an operand's bytes are: in one page, or in two. */
struct place {
	uint64_t gpa[2];
	unsigned int len[2];
};

/* One instruction under way. */
struct assist_ctx {
	struct cleave_assist *a;
	struct cleave_run *run;
	const struct insn *in;
	struct cleave_regs *r;
	struct cleave_sregs *s;
	__u64 *gpr;			/* r as an array */
	struct cleave_walk w;		/* rflags: before the instruction */
	unsigned int mode;		/* code size: 2, 4, 8 */
	uint32_t user;			/* CLEAVE_WALK_USER or 0 */
	bool hint;			/* run->mmio.gpa is not used yet */
	struct {
		bool valid;
		uint64_t lin, gpa;
	} tlb[2];			/* last page read, last page written */
	struct place place;		/* of the memory operand */
	uint64_t old;			/* what was read there */
	uint64_t next;			/* RIP afterwards */
};

int assist_raise(struct assist_ctx *c, uint8_t vector);
int assist_execute(struct assist_ctx *c);
int assist_string(struct assist_ctx *c);

/* access.c */
uint64_t assist_reg(const struct assist_ctx *c, unsigned int reg, unsigned int size);
void assist_reg_set(struct assist_ctx *c, unsigned int reg, unsigned int size, uint64_t v);
int assist_locate(struct assist_ctx *c, unsigned int seg, uint64_t off, unsigned int size,
		  bool write, struct place *p);
int assist_place_read(struct assist_ctx *c, const struct place *p, void *buf);
int assist_place_write(struct assist_ctx *c, const struct place *p, const void *buf);
/* Into RAM only if it still holds old: ASSIST_AGAIN if not. */
int assist_place_swap(struct assist_ctx *c, const struct place *p, uint64_t old, uint64_t v);
int assist_port_allowed(struct assist_ctx *c, uint16_t port, unsigned int size);

static inline uint64_t assist_mask(unsigned int size)
{
	return size >= 8 ? ~0ULL : (1ULL << 8 * size) - 1;
}

/* Offset of the memory operand in its segment. */
static inline uint64_t assist_effective(const struct assist_ctx *c, int64_t adjust)
{
	const struct insn *in = c->in;
	uint64_t off = in->disp + adjust;

	if (in->base == INSN_RIP)
		off += c->r->rip + in->len;
	else if (in->base != INSN_NOREG)
		off += c->gpr[in->base];
	if (in->index != INSN_NOREG)
		off += c->gpr[in->index] * in->scale;
	return off & assist_mask(in->asize);
}

#endif /* LIBCLEAVE_ASSIST_H */
