// SPDX-License-Identifier: GPL-2.0
/* libcleave: how an instruction under assistance reaches registers, memory and ports. */
#include <errno.h>
#include <string.h>
#include "assist.h"
#include "x86.h"

int assist_raise(struct assist_ctx *c, uint8_t vector)
{
	bool error = vector >= X86_SS && (c->s->cr0 & X86_CR0_PE);

	c->a->fault = (struct cleave_event){
		.type = CLEAVE_EVENT_EXCEPTION, .vector = vector,
		.flags = error ? CLEAVE_EVENT_ERROR : 0,
	};
	return CLEAVE_ASSIST_FAULT;
}

uint64_t assist_reg(const struct assist_ctx *c, unsigned int reg, unsigned int size)
{
	return c->gpr[reg] & assist_mask(size);
}

/* 32-bit results clear the upper half, shorter ones leave it (SDM vol. 1 3.4.1.1). */
void assist_reg_set(struct assist_ctx *c, unsigned int reg, unsigned int size, uint64_t v)
{
	uint64_t keep = size >= 4 ? 0 : ~assist_mask(size);

	c->gpr[reg] = (c->gpr[reg] & keep) | (v & assist_mask(size));
}

/* SDM vol. 3A 5.3 to 5.5: limit and type; in real and virtual-8086 mode the limit alone. */
static bool segment_allows(const struct assist_ctx *c, unsigned int seg, uint64_t off,
			   unsigned int size, bool write)
{
	const struct cleave_segment *s = &c->s->cs + seg;
	uint64_t last = off + size - 1;

	if ((c->s->cr0 & X86_CR0_PE) && !(c->r->rflags & X86_VM)) {
		bool code = s->ar & 8, rw = s->ar & 2;

		if (s->ar & CLEAVE_AR_UNUSABLE)
			return false;
		if (code ? write || !rw : write && !rw)
			return false;
		if (!code && (s->ar & 4))
			return off > s->limit &&
			       last <= (s->ar & CLEAVE_AR_DB ? 0xffffffff : 0xffff);
	}
	return last <= s->limit;
}

static int linear(struct assist_ctx *c, unsigned int seg, uint64_t off, unsigned int size,
		  bool write, uint64_t *lin)
{
	const struct cleave_segment *s = &c->s->cs + seg;

	if (c->mode == 8) {
		*lin = off + (seg == SEG_FS || seg == SEG_GS ? s->base : 0);
		if (x86_canonical(*lin, c->s->cr4) && x86_canonical(*lin + size - 1, c->s->cr4))
			return 0;
	} else {
		*lin = (uint32_t)(s->base + off);
		if (segment_allows(c, seg, off, size, write))
			return 0;
	}
	return assist_raise(c, seg == SEG_SS ? X86_SS : X86_GP);
}

/*
 * The exit's gpa is the answer without a walk for the access that caused it.
 * That is the only memory operand, when the page offset fits; a store needs the
 * exit to have been one, for its permission.
 */
static bool take_hint(struct assist_ctx *c, uint64_t lin, bool write)
{
	const struct cleave_run *run = c->run;

	if (!c->hint)
		return false;
	if (write && !(run->mmio.flags & CLEAVE_ACCESS_WRITE))
		return false;
	if (c->in->kind == INSN_MOVS || c->in->kind == INSN_CMPS ||
	    (c->in->kind >= INSN_PUSH && c->in->kind <= INSN_JMP))
		return false;
	return !((lin ^ run->mmio.gpa) & 4095);
}

static int translate(struct assist_ctx *c, uint64_t lin, bool write, uint64_t *gpa)
{
	int rc = 0;

	if (c->tlb[write].valid && c->tlb[write].lin == (lin & ~4095ULL)) {
		*gpa = c->tlb[write].gpa | (lin & 4095);
		return 0;
	}
	if (take_hint(c, lin, write))
		*gpa = c->run->mmio.gpa;
	else
		rc = cleave_walk(&c->w, lin, c->user | (write ? CLEAVE_WALK_WRITE : 0), gpa,
				 &c->a->fault, NULL);
	c->hint = false;
	if (rc)
		return rc == -EFAULT ? CLEAVE_ASSIST_FAULT : rc;
	c->tlb[write].valid = true;
	c->tlb[write].lin = lin & ~4095ULL;
	c->tlb[write].gpa = *gpa & ~4095ULL;
	return 0;
}

int assist_locate(struct assist_ctx *c, unsigned int seg, uint64_t off, unsigned int size,
		  bool write, struct place *p)
{
	unsigned int first = size;
	uint64_t lin;
	int rc = linear(c, seg, off, size, write, &lin);

	if (rc)
		return rc;
	if ((lin & 4095) + size > 4096) {
		first = 4096 - (lin & 4095);
		c->hint = false;
	}
	p->len[0] = first;
	p->len[1] = size - first;
	rc = translate(c, lin, write, &p->gpa[0]);
	if (!rc && p->len[1]) {
		lin += first;
		rc = translate(c, c->mode == 8 ? lin : (uint32_t)lin, write, &p->gpa[1]);
	}
	return rc;
}

/* One move for each size that has one, so that other vCPUs see no half of it. */
static void copy(void *to, const void *from, unsigned int n)
{
	switch (n) {
	case 1: memcpy(to, from, 1); break;
	case 2: memcpy(to, from, 2); break;
	case 4: memcpy(to, from, 4); break;
	case 8: memcpy(to, from, 8); break;
	default: memcpy(to, from, n); break;
	}
}

/* The largest access of 1, 2, 4 or 8 bytes within n. */
static unsigned int access_size(unsigned int n)
{
	return n >= 8 ? 8 : n >= 4 ? 4 : n >= 2 ? 2 : 1;
}

int assist_place_read(struct assist_ctx *c, const struct place *p, void *buf)
{
	uint8_t *to = buf;

	for (int i = 0; i < 2 && p->len[i]; i++) {
		uint64_t gpa = p->gpa[i];
		unsigned int left = p->len[i], n;
		const void *ram = cleave_mem_ptr(c->w.mem, gpa, left);

		if (ram) {
			copy(to, ram, left);
			to += left;
			continue;
		}
		for (; left; left -= n, gpa += n, to += n) {
			int rc;

			n = access_size(left);
			rc = c->a->mmio_read(c->a->opaque, gpa, to, n);
			if (rc)
				return rc;
		}
	}
	return 0;
}

int assist_place_write(struct assist_ctx *c, const struct place *p, const void *buf)
{
	const uint8_t *from = buf;

	for (int i = 0; i < 2 && p->len[i]; i++) {
		uint64_t gpa = p->gpa[i];
		unsigned int left = p->len[i], n;
		void *ram = cleave_mem_wptr(c->w.mem, gpa, left);

		if (ram) {
			copy(ram, from, left);
			from += left;
			continue;
		}
		for (; left; left -= n, gpa += n, from += n) {
			int rc;

			n = access_size(left);
			rc = c->a->mmio_write(c->a->opaque, gpa, from, n);
			if (rc)
				return rc;
		}
	}
	return 0;
}

#define SWAP(type, name) do {						\
	type seen_ = (type)old;						\
									\
	asm volatile("lock cmpxchg %[v], %[m]"				\
		     : "+a"(seen_), [m] "+m"(*(struct { type t; } __attribute__((packed)) *)ram), \
		       "=@ccz"(won)					\
		     : [v] "q"((type)v) : "memory");			\
} while (0)

int assist_place_swap(struct assist_ctx *c, const struct place *p, uint64_t old, uint64_t v)
{
	void *ram = p->len[1] ? NULL : cleave_mem_wptr(c->w.mem, p->gpa[0], p->len[0]);
	bool won;

	if (!ram)
		return assist_place_write(c, p, &v);
	switch (p->len[0]) {
	case 1: SWAP(uint8_t, b); break;
	case 2: SWAP(uint16_t, w); break;
	case 4: SWAP(uint32_t, l); break;
	default: SWAP(uint64_t, q); break;
	}
	return won ? 0 : ASSIST_AGAIN;
}

/* As the CPU reads its own tables: a supervisor's access, whatever the CPL. */
static int system_read16(struct assist_ctx *c, uint64_t lin, uint16_t *v)
{
	uint8_t b[2];

	for (int i = 0; i < 2; i++) {
		uint64_t gpa;
		const uint8_t *p;
		int rc = cleave_walk(&c->w, lin + i, CLEAVE_WALK_IMPLICIT, &gpa, &c->a->fault, NULL);

		if (rc)
			return rc == -EFAULT ? CLEAVE_ASSIST_FAULT : rc;
		p = cleave_mem_ptr(c->w.mem, gpa, 1);
		if (!p)
			return -ENXIO;
		b[i] = *p;
	}
	*v = b[0] | b[1] << 8;
	return 0;
}

/* SDM vol. 1 19.5.2: IOPL, then the bitmap of the TSS. */
int assist_port_allowed(struct assist_ctx *c, uint16_t port, unsigned int size)
{
	const struct cleave_segment *tr = &c->s->tr;
	unsigned int cpl = (c->s->ss.ar & CLEAVE_AR_DPL) >> 5;
	uint16_t base, bits;
	uint64_t off;
	int rc;

	if (!(c->s->cr0 & X86_CR0_PE))
		return 0;
	if (!(c->r->rflags & X86_VM) && cpl <= (c->r->rflags >> 12 & 3))
		return 0;
	if ((tr->ar & (CLEAVE_AR_UNUSABLE | CLEAVE_AR_S | 13)) != 9 || tr->limit < 0x67)
		return assist_raise(c, X86_GP);
	rc = system_read16(c, tr->base + 0x66, &base);
	if (rc)
		return rc;
	off = base + port / 8;
	if (off + 1 > tr->limit)
		return assist_raise(c, X86_GP);
	rc = system_read16(c, tr->base + off, &bits);
	if (rc)
		return rc;
	return bits >> (port & 7) & ((1U << size) - 1) ? assist_raise(c, X86_GP) : 0;
}
