// SPDX-License-Identifier: GPL-2.0
/* libcleave: string instructions, a bounded number of iterations at a time. */
#include "assist.h"
#include "x86.h"

#define RAX	0
#define RCX	1
#define RDX	2
#define RSI	6
#define RDI	7

static int source(struct assist_ctx *c, struct place *p)
{
	return assist_locate(c, c->in->seg, assist_reg(c, RSI, c->in->asize), c->in->op[0].size,
			     false, p);
}

static int destination(struct assist_ctx *c, bool write, struct place *p)
{
	return assist_locate(c, SEG_ES, assist_reg(c, RDI, c->in->asize), c->in->op[0].size,
			     write, p);
}

static void advance(struct assist_ctx *c, unsigned int reg)
{
	unsigned int size = c->in->op[0].size;
	uint64_t by = c->r->rflags & X86_DF ? -(uint64_t)size : size;

	assist_reg_set(c, reg, c->in->asize, c->gpr[reg] + by);
}

/* MOVS, STOS, LODS. */
static int move(struct assist_ctx *c)
{
	unsigned int kind = c->in->kind, size = c->in->op[0].size;
	struct place from, to;
	uint64_t v = c->r->rax;
	int rc = 0;

	if (kind != INSN_STOS)
		rc = source(c, &from);
	if (!rc && kind != INSN_LODS)
		rc = destination(c, true, &to);
	if (!rc && kind != INSN_STOS)
		rc = assist_place_read(c, &from, &v);
	if (!rc && kind != INSN_LODS)
		rc = assist_place_write(c, &to, &v);
	if (rc)
		return rc;
	if (kind == INSN_LODS)
		assist_reg_set(c, RAX, size, v);
	if (kind != INSN_STOS)
		advance(c, RSI);
	if (kind != INSN_LODS)
		advance(c, RDI);
	return 0;
}

/* CMPS, SCAS. */
static int compare(struct assist_ctx *c)
{
	struct place from, to;
	uint64_t a = c->r->rax, b = 0, flags = c->r->rflags;
	int rc = 0;

	if (c->in->kind == INSN_CMPS)
		rc = source(c, &from);
	if (!rc)
		rc = destination(c, false, &to);
	if (!rc && c->in->kind == INSN_CMPS)
		rc = assist_place_read(c, &from, &a);
	if (!rc)
		rc = assist_place_read(c, &to, &b);
	if (rc)
		return rc;
	alu_binary(ALU_CMP, a, b, c->in->op[0].size, &flags);
	c->r->rflags = flags;
	if (c->in->kind == INSN_CMPS)
		advance(c, RSI);
	advance(c, RDI);
	return 0;
}

/* INS, OUTS. */
static int transfer(struct assist_ctx *c)
{
	unsigned int size = c->in->op[0].size;
	bool in = c->in->kind == INSN_INS;
	uint16_t port = assist_reg(c, RDX, 2);
	uint32_t data = 0;
	struct place p;
	int rc = assist_port_allowed(c, port, size);

	if (!rc)
		rc = in ? destination(c, true, &p) : source(c, &p);
	if (!rc && !in)
		rc = assist_place_read(c, &p, &data);
	if (!rc)
		rc = in ? c->a->pio_in(c->a->opaque, port, &data, size) :
			  c->a->pio_out(c->a->opaque, port, data, size);
	if (!rc && in)
		rc = assist_place_write(c, &p, &data);
	if (!rc)
		advance(c, in ? RDI : RSI);
	return rc;
}

static int step(struct assist_ctx *c)
{
	switch (c->in->kind) {
	case INSN_CMPS:
	case INSN_SCAS:
		return compare(c);
	case INSN_INS:
	case INSN_OUTS:
		return transfer(c);
	default:
		return move(c);
	}
}

int assist_string(struct assist_ctx *c)
{
	const struct insn *in = c->in;
	unsigned int left = c->w.rflags & X86_TF ? 1 : CLEAVE_ASSIST_CHUNK;
	uint64_t count = assist_reg(c, RCX, in->asize);

	if (!in->rep)
		return step(c);
	while (count) {
		int rc;

		if (!left--)
			return ASSIST_MORE;
		rc = step(c);
		if (rc)
			return rc;
		assist_reg_set(c, RCX, in->asize, --count);
		c->run->dirty |= CLEAVE_REGS;
		if ((in->kind == INSN_CMPS || in->kind == INSN_SCAS) &&
		    !(c->r->rflags & X86_ZF) == (in->rep == 0xf3))
			break;
	}
	return 0;
}
