// SPDX-License-Identifier: GPL-2.0
/*
 * libcleave: what each instruction does. All that can fault comes before the
 * first change of a register, so that a fault leaves them as they were.
 */
#include <errno.h>
#include <string.h>
#include "assist.h"
#include "x86.h"

#define FXSAVE_XMM	160		/* SDM vol. 1 table 10-2 */
#define XSAVE_BV	512		/* 13.4.2 */
#define XSAVE_YMM_HIGH	576		/* 13.4.3, CPUID 0xd.2 EBX */
#define XSAVE_SSE	(1ULL << 1)
#define XSAVE_AVX	(1ULL << 2)

static int64_t sign_extend(uint64_t v, unsigned int size)
{
	unsigned int shift = 64 - 8 * size;

	return (int64_t)(v << shift) >> shift;
}

static int get(struct assist_ctx *c, unsigned int i, uint64_t *v)
{
	const struct insn_op *op = &c->in->op[i];
	int rc;

	switch (op->type) {
	case OP_GPR:
		*v = (c->gpr[op->reg] >> 8 * op->high) & assist_mask(op->size);
		return 0;
	case OP_IMM:
		*v = c->in->imm;
		return 0;
	case OP_SEG:
		*v = (&c->s->cs + op->reg)->selector;
		return 0;
	case OP_MEM:
		*v = 0;
		rc = assist_place_read(c, &c->place, v);
		c->old = *v;
		return rc;
	default:
		return -EOPNOTSUPP;
	}
}

static int put(struct assist_ctx *c, unsigned int i, uint64_t v)
{
	const struct insn_op *op = &c->in->op[i];

	switch (op->type) {
	case OP_GPR:
		if (op->high)
			c->gpr[op->reg] = (c->gpr[op->reg] & ~0xff00ULL) | (v & 0xff) << 8;
		else
			assist_reg_set(c, op->reg, op->size, v);
		return 0;
	case OP_MEM:
		if (c->in->lock)
			return assist_place_swap(c, &c->place, c->old, v);
		return assist_place_write(c, &c->place, &v);
	default:
		return -EOPNOTSUPP;
	}
}

/* The bit that BT and its kin mean, counted from the operand. */
static int64_t bit_index(const struct assist_ctx *c)
{
	const struct insn_op *op = &c->in->op[1];

	if (op->type == OP_IMM)
		return c->in->imm & (8 * c->in->op[0].size - 1);
	return sign_extend(c->gpr[op->reg], op->size);
}

static int locate_operand(struct assist_ctx *c)
{
	const struct insn *in = c->in;
	unsigned int size = in->op[in->mem].size;
	int64_t adjust = 0;

	if (in->kind == INSN_BT)	/* a register reaches beyond the operand */
		adjust = (bit_index(c) >> (size == 2 ? 4 : size == 4 ? 5 : 6)) * size;
	else if (in->kind == INSN_POP && in->base == 4)
		adjust = size;		/* RSP counts after the pop */
	return assist_locate(c, in->seg, assist_effective(c, adjust), size, in->writes, &c->place);
}

/* SDM vol. 2 appendix B.1.4.7: the condition codes. */
static bool condition(uint64_t f, unsigned int code)
{
	bool sf_of = !!(f & X86_SF) != !!(f & X86_OF);
	bool r;

	switch (code >> 1) {
	case 0: r = f & X86_OF; break;
	case 1: r = f & X86_CF; break;
	case 2: r = f & X86_ZF; break;
	case 3: r = f & (X86_CF | X86_ZF); break;
	case 4: r = f & X86_SF; break;
	case 5: r = f & X86_PF; break;
	case 6: r = sf_of; break;
	default: r = sf_of || (f & X86_ZF); break;
	}
	return r != (code & 1);
}

static int exec_mov(struct assist_ctx *c)
{
	const struct insn *in = c->in;
	uint64_t v;
	int rc = get(c, 1, &v);

	if (rc)
		return rc;
	if (in->kind == INSN_MOVSX)
		v = sign_extend(v, in->op[1].size);
	else if (in->kind == INSN_MOVBE)
		v = __builtin_bswap64(v) >> (64 - 8 * in->op[0].size);
	else if (in->kind == INSN_CMOV && !condition(c->r->rflags, in->sub))
		return get(c, 0, &v) ?: put(c, 0, v);	/* clears the upper half all the same */
	return put(c, 0, v);
}

static int exec_arith(struct assist_ctx *c)
{
	const struct insn *in = c->in;
	unsigned int size = in->op[0].size;
	uint64_t flags = c->r->rflags, d, s = 0, count = 0;
	bool store = true;
	int rc = get(c, 0, &d);

	if (!rc && in->kind != INSN_UNARY)
		rc = get(c, 1, &s);
	if (!rc && in->kind == INSN_DSHIFT)
		rc = get(c, 2, &count);
	if (rc)
		return rc;
	switch (in->kind) {
	case INSN_ALU:
		store = in->sub != ALU_CMP && in->sub != ALU_TEST;
		d = alu_binary(in->sub, d, s, size, &flags);
		break;
	case INSN_UNARY:
		d = alu_unary(in->sub, d, size, &flags);
		break;
	case INSN_SHIFT:
		d = alu_shift(in->sub, d, s, size, &flags);
		break;
	default:
		d = alu_dshift(in->sub, d, s, count, size, &flags);
		break;
	}
	if (store)
		rc = put(c, 0, d);
	if (!rc)
		c->r->rflags = flags;
	return rc;
}

static int exec_xchg(struct assist_ctx *c)
{
	unsigned int mem = c->in->mem == 1 ? 1 : 0;
	uint64_t flags = c->r->rflags, a, b;
	int rc = get(c, mem, &a);

	if (!rc)
		rc = get(c, !mem, &b);
	if (rc)
		return rc;
	if (c->in->kind == INSN_XADD)
		rc = put(c, mem, alu_binary(ALU_ADD, a, b, c->in->op[0].size, &flags));
	else
		rc = put(c, mem, b);
	if (rc)
		return rc;
	c->r->rflags = flags;
	return put(c, !mem, a);
}

static int exec_cmpxchg(struct assist_ctx *c)
{
	unsigned int size = c->in->op[0].size;
	uint64_t flags = c->r->rflags, d, s;
	bool same;
	int rc = get(c, 0, &d);

	if (!rc)
		rc = get(c, 1, &s);
	if (rc)
		return rc;
	same = assist_reg(c, 0, size) == d;
	alu_binary(ALU_CMP, assist_reg(c, 0, size), d, size, &flags);
	rc = put(c, 0, same ? s : d);		/* a CPU always stores */
	if (rc)
		return rc;
	if (!same)
		assist_reg_set(c, 0, size, d);
	c->r->rflags = flags;
	return 0;
}

static int exec_cmpxchg8b(struct assist_ctx *c)
{
	uint64_t want = assist_reg(c, 2, 4) << 32 | assist_reg(c, 0, 4), d;
	uint64_t with = assist_reg(c, 1, 4) << 32 | assist_reg(c, 3, 4);
	int rc = get(c, 0, &d);

	if (!rc)
		rc = put(c, 0, d == want ? with : d);
	if (rc)
		return rc;
	if (d == want) {
		c->r->rflags |= X86_ZF;
		return 0;
	}
	c->r->rflags &= ~X86_ZF;
	assist_reg_set(c, 0, 4, d);
	assist_reg_set(c, 2, 4, d >> 32);
	return 0;
}

static int exec_bt(struct assist_ctx *c)
{
	unsigned int bit = bit_index(c) & (8 * c->in->op[0].size - 1);
	uint64_t v;
	int rc = get(c, 0, &v);
	bool set = v >> bit & 1;

	if (rc)
		return rc;
	if (c->in->sub == BIT_SET)
		v |= 1ULL << bit;
	else if (c->in->sub == BIT_RESET)
		v &= ~(1ULL << bit);
	else if (c->in->sub == BIT_COMPLEMENT)
		v ^= 1ULL << bit;
	if (c->in->sub != BIT_TEST)
		rc = put(c, 0, v);
	if (!rc)
		c->r->rflags = (c->r->rflags & ~X86_CF) | set;
	return rc;
}

static unsigned int stack_size(const struct assist_ctx *c)
{
	return c->mode == 8 ? 8 : c->s->ss.ar & CLEAVE_AR_DB ? 4 : 2;
}

static int push(struct assist_ctx *c, uint64_t v, unsigned int size)
{
	unsigned int width = stack_size(c);
	uint64_t sp = (c->r->rsp - size) & assist_mask(width);
	struct place p;
	int rc = assist_locate(c, SEG_SS, sp, size, true, &p);

	if (!rc)
		rc = assist_place_write(c, &p, &v);
	if (!rc)
		assist_reg_set(c, 4, width, sp);
	return rc;
}

static int exec_pop(struct assist_ctx *c)
{
	unsigned int size = c->in->op[0].size, width = stack_size(c);
	struct place p;
	uint64_t v = 0;
	int rc = assist_locate(c, SEG_SS, assist_reg(c, 4, width), size, false, &p);

	if (!rc)
		rc = assist_place_read(c, &p, &v);
	if (!rc && c->in->mem == 0)
		rc = put(c, 0, v);
	if (rc)
		return rc;
	assist_reg_set(c, 4, width, c->r->rsp + size);
	return c->in->mem == 0 ? 0 : put(c, 0, v);
}

static int exec_branch(struct assist_ctx *c)
{
	uint64_t target;
	int rc = get(c, 0, &target);

	if (rc)
		return rc;
	if (c->mode == 8 ? !x86_canonical(target, c->s->cr4) : target > c->s->cs.limit)
		return assist_raise(c, X86_GP);
	if (c->in->kind == INSN_CALL)
		rc = push(c, c->next, c->in->op[0].size);
	if (!rc)
		c->next = target;
	return rc;
}

static int exec_io(struct assist_ctx *c)
{
	unsigned int in = c->in->kind == INSN_IN;
	unsigned int size = c->in->op[!in].size;
	uint64_t port, v;
	uint32_t data;
	int rc = get(c, in, &port);

	if (!rc)
		rc = assist_port_allowed(c, port, size);
	if (rc)
		return rc;
	if (in) {
		rc = c->a->pio_in(c->a->opaque, port, &data, size);
		return rc ? rc : put(c, 0, data);
	}
	rc = get(c, 1, &v);
	return rc ? rc : c->a->pio_out(c->a->opaque, port, v & assist_mask(size), size);
}

static int exec_msw(struct assist_ctx *c)
{
	uint64_t v, cr0 = c->s->cr0;
	unsigned int cpl = c->s->ss.ar & CLEAVE_AR_DPL;
	int rc;

	if (c->in->kind == INSN_SMSW) {
		if (cpl && (c->s->cr4 & X86_CR4_UMIP))
			return assist_raise(c, X86_GP);
		return put(c, 0, cr0);
	}
	if (cpl)
		return assist_raise(c, X86_GP);
	rc = get(c, 0, &v);
	if (rc)
		return rc;
	c->s->cr0 = (cr0 & ~0xeULL) | (v & 0xf);	/* PE cannot be cleared */
	c->run->dirty |= CLEAVE_SREGS;
	return 0;
}

static int exec_vmov(struct assist_ctx *c)
{
	const struct insn *in = c->in;
	unsigned int size = in->op[in->mem].size, reg = in->op[!in->mem].reg;
	uint8_t buf[32] = { 0 };
	struct cleave_fpu fpu;
	uint8_t *xmm = &fpu.region[FXSAVE_XMM + 16 * reg];
	uint8_t *high = &fpu.region[XSAVE_YMM_HIGH + 16 * reg];
	uint64_t bv;
	int rc;

	if (!c->a->fpu_get || !c->a->fpu_set || size > sizeof(buf))
		return -EOPNOTSUPP;
	if (!in->vex && ((c->s->cr0 & X86_CR0_EM) || !(c->s->cr4 & X86_CR4_OSFXSR)))
		return assist_raise(c, X86_UD);
	if (c->s->cr0 & X86_CR0_TS)
		return assist_raise(c, X86_NM);
	if (in->aligned && (c->place.gpa[0] & (size - 1)))
		return assist_raise(c, X86_GP);
	rc = c->a->fpu_get(c->a->opaque, &fpu);
	if (rc)
		return rc;
	/* a component in its initial state is zero, whatever is in the region */
	memcpy(&bv, fpu.region + XSAVE_BV, sizeof(bv));
	if (!(bv & XSAVE_SSE))
		memset(fpu.region + FXSAVE_XMM, 0, 256);
	if (!(bv & XSAVE_AVX))
		memset(fpu.region + XSAVE_YMM_HIGH, 0, 256);
	if (in->mem == 0) {
		memcpy(buf, xmm, 16);
		memcpy(buf + 16, high, 16);
		return assist_place_write(c, &c->place, buf);
	}
	rc = assist_place_read(c, &c->place, buf);
	if (rc)
		return rc;
	memcpy(xmm, buf, 16);
	bv |= XSAVE_SSE;
	if (in->vex)
		memcpy(high, buf + 16, 16);
	if (size == 32)
		bv |= XSAVE_AVX;
	memcpy(fpu.region + XSAVE_BV, &bv, sizeof(bv));
	return c->a->fpu_set(c->a->opaque, &fpu);
}

int assist_execute(struct assist_ctx *c)
{
	const struct insn *in = c->in;
	uint64_t v;
	int rc;

	if (in->mem != INSN_NOREG && in->kind != INSN_NOP) {
		rc = locate_operand(c);
		if (rc)
			return rc;
	}
	switch (in->kind) {
	case INSN_MOV:
	case INSN_MOVSX:
	case INSN_MOVBE:
	case INSN_CMOV:
		return exec_mov(c);
	case INSN_ALU:
	case INSN_UNARY:
	case INSN_SHIFT:
	case INSN_DSHIFT:
		return exec_arith(c);
	case INSN_XCHG:
	case INSN_XADD:
		return exec_xchg(c);
	case INSN_CMPXCHG:
		return exec_cmpxchg(c);
	case INSN_CMPXCHG8B:
		return exec_cmpxchg8b(c);
	case INSN_BT:
		return exec_bt(c);
	case INSN_SETCC:
		return put(c, 0, condition(c->r->rflags, in->sub));
	case INSN_PUSH:
		rc = get(c, 0, &v);
		return rc ? rc : push(c, v, in->op[0].size);
	case INSN_POP:
		return exec_pop(c);
	case INSN_CALL:
	case INSN_JMP:
		return exec_branch(c);
	case INSN_IN:
	case INSN_OUT:
		return exec_io(c);
	case INSN_SMSW:
	case INSN_LMSW:
		return exec_msw(c);
	case INSN_NOP:
		return 0;
	case INSN_VMOV:
		return exec_vmov(c);
	default:
		return assist_string(c);
	}
}
