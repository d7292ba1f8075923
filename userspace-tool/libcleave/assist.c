// SPDX-License-Identifier: GPL-2.0
/* libcleave: carries out one guest instruction that met a device. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "assist.h"
#include "x86.h"

#define CACHE_ENTRIES	128		/* a power of 2 */
#define INSN_MAX	15

/* A decoded instruction, and what must still be so for it to be used again. */
struct entry {
	uint64_t lin, cr3, env;		/* see env_of() */
	const uint8_t *host;		/* its bytes; NULL: they came with the exit */
	bool wide;			/* 16 bytes can be read there */
	uint64_t mask[2];		/* of bytes[], those of the instruction */
	uint8_t bytes[INSN_MAX + 1];
	struct insn insn;		/* len 0: the entry is empty */
	struct cleave_walk_trace trace;
};

struct cleave_assist_cache {
	struct entry entry[CACHE_ENTRIES];
	struct entry fresh;		/* kept unless its bytes are in two pages */
};

int cleave_assist_init(struct cleave_assist *a)
{
	a->cache = calloc(1, sizeof(*a->cache));
	return a->cache ? 0 : -ENOMEM;
}

void cleave_assist_free(struct cleave_assist *a)
{
	free(a->cache);
	a->cache = NULL;
}

static unsigned int code_size(const struct cleave_sregs *s)
{
	if ((s->efer & X86_EFER_LMA) && (s->cs.ar & CLEAVE_AR_L))
		return 8;
	return s->cs.ar & CLEAVE_AR_DB ? 4 : 2;
}

/* All that the meaning of code at a linear address depends on, but CR3: no two bits meet. */
static uint64_t env_of(const struct assist_ctx *c)
{
	const struct cleave_sregs *s = c->s;

	return (s->cr0 & (X86_CR0_PG | X86_CR0_WP)) |
	       (s->cr4 & (X86_CR4_PSE | X86_CR4_PAE | X86_CR4_LA57 | X86_CR4_SMEP)) |
	       (s->efer & (X86_EFER_LMA | X86_EFER_NXE)) |
	       (uint64_t)c->mode << 32 | (uint64_t)c->user << 40;
}

static bool trace_holds(const struct cleave_walk_trace *t)
{
	unsigned int i = t->count;

	if (t->width == 4) {
		while (i--)
			if (__atomic_load_n((const uint32_t *)t->entry[i], __ATOMIC_RELAXED) !=
			    t->value[i])
				return false;
		return true;
	}
	while (i--)
		if (__atomic_load_n((const uint64_t *)t->entry[i], __ATOMIC_RELAXED) != t->value[i])
			return false;
	return true;
}

static bool bytes_hold(const struct entry *e)
{
	uint64_t now[2], then[2];

	if (!e->wide)
		return !memcmp(e->host, e->bytes, e->insn.len);
	memcpy(now, e->host, 16);
	memcpy(then, e->bytes, 16);
	return !(((now[0] ^ then[0]) & e->mask[0]) | ((now[1] ^ then[1]) & e->mask[1]));
}

static bool still_valid(const struct entry *e)
{
	return e->host && trace_holds(&e->trace) && bytes_hold(e);
}

static int unknown(struct assist_ctx *c, const struct entry *e, unsigned int n)
{
	char insn[64], hex[2 * INSN_MAX + 1];
	unsigned int len = n;
	const char *text = insn;

	if (insn_format(e->bytes, n, c->mode, c->r->rip, insn, sizeof(insn), &len))
		text = "no valid instruction";
	for (unsigned int i = 0; i < len; i++)
		snprintf(hex + 2 * i, 3, "%02x", e->bytes[i]);
	snprintf(c->a->text, sizeof(c->a->text), "%s (bytes %s)", text, len ? hex : "none");
	return -EOPNOTSUPP;
}

/* Reads up to the end of the page, *n bytes are in e->bytes afterwards. */
static int fetch_page(struct assist_ctx *c, struct entry *e, uint64_t lin, unsigned int *n)
{
	unsigned int left = 4096 - (lin & 4095);
	unsigned int len = left < INSN_MAX - *n ? left : INSN_MAX - *n;
	uint64_t gpa;
	int rc = cleave_walk(&c->w, lin, CLEAVE_WALK_FETCH | c->user, &gpa, &c->a->fault, &e->trace);

	if (rc == -EFAULT)
		return CLEAVE_ASSIST_FAULT;
	e->host = rc ? NULL : cleave_mem_ptr(c->w.mem, gpa, len);
	if (!e->host) {
		snprintf(c->a->text, sizeof(c->a->text), "code at linear address %#llx: %s is outside memory",
			 (unsigned long long)lin, rc ? "a page table" : "it");
		return -ENXIO;
	}
	memcpy(e->bytes + *n, e->host, len);
	*n += len;
	return 0;
}

/* Fills *e. The bytes are read once and decoded from the copy. */
static int fetch(struct assist_ctx *c, struct entry *e, uint64_t lin)
{
	unsigned int n = 0;
	int rc;

	e->insn.len = 0;
	e->host = NULL;
	e->lin = lin;
	e->cr3 = c->s->cr3;
	e->env = env_of(c);
	rc = fetch_page(c, e, lin, &n);
	if (rc)
		return rc;
	rc = insn_decode(&e->insn, e->bytes, n, c->mode);
	if (rc == -EAGAIN && n < INSN_MAX) {
		rc = fetch_page(c, e, lin + n, &n);
		if (rc)
			return rc;
		e->host = NULL;
		rc = insn_decode(&e->insn, e->bytes, n, c->mode);
	}
	if (!rc && c->mode != 8 && c->r->rip + e->insn.len - 1 > c->s->cs.limit) {
		e->insn.len = 0;
		return assist_raise(c, X86_GP);
	}
	if (!rc)
		return 0;
	e->insn.len = 0;
	return unknown(c, e, n);
}

static int miss(struct assist_ctx *c, struct entry *keep, uint64_t lin)
{
	struct entry *e = &c->a->cache->fresh;
	int rc = fetch(c, e, lin);
	unsigned int len = e->insn.len;

	c->in = &e->insn;
	if (rc || !e->host)
		return rc;
	e->wide = (lin & 4095) <= 4096 - 16;
	e->mask[0] = assist_mask(len);
	e->mask[1] = len > 8 ? assist_mask(len - 8) : 0;
	*keep = *e;
	return 0;
}

static int find_insn(struct assist_ctx *c)
{
	uint64_t lin = (c->mode == 8 ? 0 : c->s->cs.base) + c->r->rip;
	struct entry *e;

	if (c->mode != 8)
		lin = (uint32_t)lin;
	e = &c->a->cache->entry[(lin ^ lin >> 7) & (CACHE_ENTRIES - 1)];
	if (e->lin == lin && e->cr3 == c->s->cr3 && e->insn.len && e->env == env_of(c) &&
	    still_valid(e)) {
		c->a->hits++;
		c->in = &e->insn;
		return 0;
	}
	c->a->misses++;
	return miss(c, e, lin);
}

/* The exit's own gpa saves a walk, for the one access that can only be it. */
static bool hint_for(const struct cleave_run *run)
{
	return run->exit == CLEAVE_EXIT_MMIO &&
	       !(run->mmio.flags & (CLEAVE_ACCESS_WALK | CLEAVE_ACCESS_FETCH));
}

/*
 * The commonest case, without a walk: 64-bit code moves a register or constant
 * to or from the place that the exit names. The CPU has checked segment and
 * paging of this access. False: nothing done.
 */
static bool plain_mov(struct assist_ctx *c, int *rc)
{
	const struct insn *in = c->in;
	const struct cleave_run *run = c->run;
	const struct insn_op *op = &in->op[!in->mem];
	unsigned int size = in->op[in->mem & 1].size;
	uint64_t lin, v = 0;

	if (!in->plain || !c->hint || c->mode != 8 || (run->mmio.flags & CLEAVE_ACCESS_READONLY) ||
	    in->writes != (run->mmio.flags & CLEAVE_ACCESS_WRITE))
		return false;
	lin = assist_effective(c, 0);
	if (in->seg == SEG_FS || in->seg == SEG_GS)
		lin += (&c->s->cs + in->seg)->base;
	if (((lin ^ run->mmio.gpa) & 4095) || (lin & 4095) + size > 4096)
		return false;
	if (in->writes) {
		v = op->type == OP_IMM ? in->imm : c->gpr[op->reg];
		*rc = c->a->mmio_write(c->a->opaque, run->mmio.gpa, &v, size);
		return true;
	}
	*rc = c->a->mmio_read(c->a->opaque, run->mmio.gpa, &v, size);
	if (!*rc && op->size >= 4)
		c->gpr[op->reg] = v;		/* zero-extended, MOVZX too */
	else if (!*rc)
		c->gpr[op->reg] = (c->gpr[op->reg] & ~assist_mask(op->size)) | v;
	return true;
}

int cleave_assist(struct cleave_assist *a, struct cleave_run *run)
{
	struct assist_ctx c;
	int rc;

	c.a = a;
	c.run = run;
	c.r = &run->regs;
	c.s = &run->sregs;
	c.gpr = &run->regs.rax;
	c.w = (struct cleave_walk){ a->mem, &run->sregs, run->regs.rflags, a->phys_bits };
	c.mode = code_size(c.s);
	c.user = (c.s->ss.ar & CLEAVE_AR_DPL) == CLEAVE_AR_DPL ? CLEAVE_WALK_USER : 0;
	c.hint = hint_for(run);
	c.tlb[0].valid = c.tlb[1].valid = false;

	rc = find_insn(&c);
	if (rc)
		return rc;
	c.next = c.r->rip + c.in->len;
	if (c.mode != 8)
		c.next = c.mode == 4 ? (uint32_t)c.next : (uint16_t)c.next;
	if (!plain_mov(&c, &rc))
		rc = assist_execute(&c);
	if (rc == ASSIST_AGAIN || rc == ASSIST_MORE) {
		run->dirty |= CLEAVE_REGS;
		if (rc == ASSIST_AGAIN || !(c.w.rflags & X86_TF))
			return CLEAVE_ASSIST_DONE;
		rc = 0;
	} else if (!rc) {
		c.r->rip = c.next;
		c.r->rflags &= ~X86_RF;
		run->dirty |= CLEAVE_REGS;
	}
	if (!rc && (c.w.rflags & X86_TF)) {
		a->fault = (struct cleave_event){
			.type = CLEAVE_EVENT_EXCEPTION, .vector = X86_DB,
			.flags = CLEAVE_EVENT_PAYLOAD, .payload = X86_DR6_BS,
		};
		return CLEAVE_ASSIST_FAULT;
	}
	if (rc == -EOPNOTSUPP || rc == -ENXIO) {
		struct entry e = { 0 };
		unsigned int n = cleave_peek(a->mem, c.s, (c.mode == 8 ? 0 : c.s->cs.base) +
					     c.r->rip, e.bytes, c.in->len);

		unknown(&c, &e, n);
	}
	return rc;
}

int cleave_disasm(const struct cleave_mem *mem, const struct cleave_regs *regs,
		  const struct cleave_sregs *sregs, char *text, size_t size, unsigned int *len)
{
	unsigned int mode = code_size(sregs);
	uint64_t lin = (mode == 8 ? 0 : sregs->cs.base) + regs->rip;
	uint8_t bytes[INSN_MAX];
	size_t n = cleave_peek(mem, sregs, mode == 8 ? lin : (uint32_t)lin, bytes, sizeof(bytes));

	return insn_format(bytes, n, mode, regs->rip, text, size, len);
}
