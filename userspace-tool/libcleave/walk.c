// SPDX-License-Identifier: GPL-2.0
/* libcleave: the walk of a guest's page tables, SDM vol. 3A chapter 4. */
#include <errno.h>
#include <string.h>
#include "libcleave.h"
#include "x86.h"

#define PTE_P		(1ULL << 0)
#define PTE_W		(1ULL << 1)
#define PTE_U		(1ULL << 2)
#define PTE_A		(1ULL << 5)
#define PTE_D		(1ULL << 6)
#define PTE_PS		(1ULL << 7)
#define PTE_NX		(1ULL << 63)
#define PTE_ADDR	0x000ffffffffff000ULL
#define PTE_RETRIES	64	/* races with other vCPUs before a fault that the guest retries */

#define ERR_P		(1U << 0)
#define ERR_W		(1U << 1)
#define ERR_U		(1U << 2)
#define ERR_RSVD	(1U << 3)
#define ERR_I		(1U << 4)

/* One walk under way. */
struct step {
	const struct cleave_walk *w;
	struct cleave_walk_trace *t;
	uint64_t gva;
	uint32_t access;
	int levels;			/* 2: 32-bit, 3: PAE, 4 and 5: long mode */
	int level;			/* of the leaf, when it was found */
	uint64_t leaf;
	uint64_t at[6];			/* where the entries of t are */
	uint64_t perm;			/* PTE_W, PTE_U: all levels grant; PTE_NX: one denies */
};

static int page_fault(const struct step *s, uint32_t code, struct cleave_event *fault)
{
	const struct cleave_sregs *sr = s->w->sregs;

	if (s->access & CLEAVE_WALK_WRITE)
		code |= ERR_W;
	if (s->access & CLEAVE_WALK_USER)
		code |= ERR_U;
	if ((s->access & CLEAVE_WALK_FETCH) &&
	    ((sr->cr4 & X86_CR4_SMEP) || (s->levels > 2 && (sr->efer & X86_EFER_NXE))))
		code |= ERR_I;
	*fault = (struct cleave_event){
		.type = CLEAVE_EVENT_EXCEPTION, .vector = X86_PF_VECTOR,
		.flags = CLEAVE_EVENT_ERROR | CLEAVE_EVENT_PAYLOAD,
		.error_code = code, .payload = s->gva,
	};
	return -EFAULT;
}

static unsigned int level_shift(const struct step *s, int level)
{
	return 12 + (s->levels == 2 ? 10 : 9) * (level - 1);
}

static bool is_leaf(const struct step *s, uint64_t e)
{
	if (s->level == 1)
		return true;
	if (!(e & PTE_PS))
		return false;
	if (s->levels == 2)
		return s->w->sregs->cr4 & X86_CR4_PSE;
	return s->level == 2 || (s->level == 3 && s->levels > 3);
}

/* SDM vol. 3A 4.3 to 4.5, and the tables of entry formats there. */
static uint64_t reserved_bits(const struct step *s, bool leaf)
{
	unsigned int phys = s->w->phys_bits ? s->w->phys_bits : 52;
	uint64_t rsvd = (1ULL << 52) - (1ULL << phys);

	if (s->levels == 2) {
		if (s->level == 1 || !leaf)
			return 0;
		rsvd = 1ULL << 21;	/* PSE-36: address bits 39:32 in 20:13 */
		return phys >= 40 ? rsvd : rsvd | ((1ULL << 21) - (1ULL << (phys - 32 + 13)));
	}
	if (s->levels == 3)
		rsvd |= 0x7ffULL << 52;
	if (s->levels == 3 && s->level == 3)
		return rsvd | PTE_NX | 0x1e6;
	if (!(s->w->sregs->efer & X86_EFER_NXE))
		rsvd |= PTE_NX;
	if (s->level > 3)
		rsvd |= PTE_PS;
	if (leaf && s->level > 1)
		rsvd |= (1ULL << level_shift(s, s->level)) - (1ULL << 13);
	return rsvd;
}

static uint64_t load_entry(const void *p, unsigned int width)
{
	return width == 8 ? __atomic_load_n((const uint64_t *)p, __ATOMIC_RELAXED) :
			    __atomic_load_n((const uint32_t *)p, __ATOMIC_RELAXED);
}

static bool replace_entry(const struct cleave_walk_trace *t, unsigned int i, uint64_t e)
{
	void *p = (void *)t->entry[i];
	uint64_t old = t->value[i];
	uint32_t old32 = old;

	if (t->width == 8)
		return __atomic_compare_exchange_n((uint64_t *)p, &old, e, false, __ATOMIC_RELAXED,
						   __ATOMIC_RELAXED);
	return __atomic_compare_exchange_n((uint32_t *)p, &old32, e, false, __ATOMIC_RELAXED,
					   __ATOMIC_RELAXED);
}

/* Goes down to the leaf. 0, -EFAULT or -ENXIO. */
static int descend(struct step *s, struct cleave_event *fault)
{
	const struct cleave_sregs *sr = s->w->sregs;
	unsigned int width = s->levels == 2 ? 4 : 8;
	uint64_t table = s->levels == 2 ? sr->cr3 & 0xfffff000 :
			 s->levels == 3 ? sr->cr3 & 0xffffffe0 : sr->cr3 & PTE_ADDR;

	s->t->count = 0;
	s->t->width = width;
	s->perm = PTE_W | PTE_U;
	for (s->level = s->levels; ; s->level--) {
		uint64_t index = s->gva >> level_shift(s, s->level) & (4096 / width - 1);
		const void *p = cleave_mem_ptr(s->w->mem, table + index * width, width);
		uint64_t e;
		bool leaf;

		if (!p)
			return -ENXIO;
		e = load_entry(p, width);
		s->at[s->t->count] = table + index * width;
		s->t->entry[s->t->count] = p;
		s->t->value[s->t->count++] = e;
		if (!(e & PTE_P))
			return page_fault(s, 0, fault);
		leaf = is_leaf(s, e);
		if (!(s->access & CLEAVE_WALK_PEEK) && (e & reserved_bits(s, leaf)))
			return page_fault(s, ERR_P | ERR_RSVD, fault);
		if (s->levels != 3 || s->level != 3) {	/* a PDPTE of PAE has no permissions */
			s->perm &= e | PTE_NX;
			s->perm |= e & PTE_NX;
		}
		if (leaf) {
			s->leaf = e;
			return 0;
		}
		table = width == 8 ? e & PTE_ADDR : e & 0xfffff000;
	}
}

/* SDM vol. 3A 4.6. */
static bool allowed(const struct step *s)
{
	const struct cleave_sregs *sr = s->w->sregs;
	uint32_t access = s->access;

	if ((access & CLEAVE_WALK_FETCH) && (s->perm & PTE_NX))
		return false;
	if (access & CLEAVE_WALK_USER)
		return (s->perm & PTE_U) && (!(access & CLEAVE_WALK_WRITE) || (s->perm & PTE_W));
	if ((access & CLEAVE_WALK_WRITE) && !(s->perm & PTE_W) && (sr->cr0 & X86_CR0_WP))
		return false;
	if (!(s->perm & PTE_U))
		return true;
	if (access & CLEAVE_WALK_FETCH)
		return !(sr->cr4 & X86_CR4_SMEP);
	return !(sr->cr4 & X86_CR4_SMAP) ||
	       ((s->w->rflags & X86_AC) && !(access & CLEAVE_WALK_IMPLICIT));
}

/* False: an entry changed meanwhile. Tables in read-only memory keep their bits. */
static bool set_accessed_dirty(struct step *s)
{
	for (unsigned int i = 0; i < s->t->count; i++) {
		uint64_t e = s->t->value[i];
		uint64_t want = e | PTE_A;

		if (s->levels == 3 && i == 0)
			continue;
		if (i == s->t->count - 1 && (s->access & CLEAVE_WALK_WRITE))
			want |= PTE_D;
		if (want == e || !cleave_mem_wptr(s->w->mem, s->at[i], s->t->width))
			continue;
		if (!replace_entry(s->t, i, want))
			return false;
		s->t->value[i] = want;
	}
	return true;
}

static uint64_t leaf_address(const struct step *s)
{
	uint64_t mask = (1ULL << level_shift(s, s->level)) - 1;
	uint64_t e = s->leaf;

	if (s->levels == 2 && s->level == 2)
		return (e & 0xffc00000) | (e >> 13 & 0xff) << 32 | (s->gva & mask);
	return (e & PTE_ADDR & ~mask) | (s->gva & mask);
}

int cleave_walk(const struct cleave_walk *w, uint64_t gva, uint32_t access, uint64_t *gpa,
		struct cleave_event *fault, struct cleave_walk_trace *trace)
{
	const struct cleave_sregs *sr = w->sregs;
	struct cleave_walk_trace local;
	struct step s = { .w = w, .t = trace ? trace : &local, .gva = gva, .access = access };
	bool lma = sr->efer & X86_EFER_LMA;
	int rc;

	s.t->count = 0;
	if (!lma)
		s.gva = (uint32_t)gva;
	if (!(sr->cr0 & X86_CR0_PG)) {
		*gpa = s.gva;
		return 0;
	}
	if (lma && !x86_canonical(gva, sr->cr4)) {
		*fault = (struct cleave_event){ .type = CLEAVE_EVENT_EXCEPTION, .vector = X86_GP,
						.flags = CLEAVE_EVENT_ERROR };
		return -EFAULT;
	}
	s.levels = lma ? (sr->cr4 & X86_CR4_LA57 ? 5 : 4) : sr->cr4 & X86_CR4_PAE ? 3 : 2;
	for (int i = 0; i < PTE_RETRIES; i++) {
		rc = descend(&s, fault);
		if (rc)
			return rc;
		if (!(access & CLEAVE_WALK_PEEK)) {
			if (!allowed(&s))
				return page_fault(&s, ERR_P, fault);
			if (!set_accessed_dirty(&s))
				continue;
		}
		*gpa = leaf_address(&s);
		return 0;
	}
	return page_fault(&s, 0, fault);
}

size_t cleave_peek(const struct cleave_mem *mem, const struct cleave_sregs *sregs, uint64_t gva,
		   void *buf, size_t len)
{
	struct cleave_walk w = { .mem = mem, .sregs = sregs };
	struct cleave_event fault;
	size_t done = 0;

	while (done < len) {
		uint64_t at = gva + done, gpa;
		size_t n = 4096 - (at & 4095);
		const void *p;

		if (n > len - done)
			n = len - done;
		if (cleave_walk(&w, at, CLEAVE_WALK_PEEK, &gpa, &fault, NULL))
			break;
		p = cleave_mem_ptr(mem, gpa, n);
		if (!p)
			break;
		memcpy((uint8_t *)buf + done, p, n);
		done += n;
	}
	return done;
}
