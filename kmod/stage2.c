// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: stage-2 page tables: create, map, unmap, protect, age. Under the read side of s2->lock
 * entries become leaves or tables, and leaves gain permissions; all else needs the write side. So
 * what was found under either side stays until the lock is dropped, and a table can be walked
 * without a reference. The CPU itself sets accessed and dirty bits at any time, so every change is
 * an atomic exchange.
 *
 * Large leaves are never split and tables never folded in place: clv_s2_map() refuses with -EAGAIN,
 * the caller unmaps and maps anew. There is nothing that the next fault does not bring back.
 */
#include <linux/gfp.h>
#include <linux/lockdep.h>
#include <linux/mem_encrypt.h>
#include <linux/mm.h>
#include "stage2.h"

#define S2_ENTRIES	512
#define S2_ADDR_MASK	GENMASK_ULL(51, 12)

/* SDM vol. 3C tables 29-1 to 29-7. Write-back (6 in 5:3), no PAT (bit 6): no device is mapped. */
const struct clv_s2_format clv_s2_ept = {
	.present = BIT_ULL(0) | BIT_ULL(1) | BIT_ULL(2),
	.bits_r = BIT_ULL(0), .bits_w = BIT_ULL(1), .bits_x = BIT_ULL(2),
	.leaf = BIT_ULL(7), .accessed = BIT_ULL(8), .memtype = 6ULL << 3 | BIT_ULL(6),
	.table = BIT_ULL(0) | BIT_ULL(1) | BIT_ULL(2),
};

/* APM vol. 2 15.25.5: as in long mode, all are user accesses. The host's PAT entry 0 is WB. */
const struct clv_s2_format clv_s2_npt = {
	.present = BIT_ULL(0),
	.bits_r = BIT_ULL(0) | BIT_ULL(2), .bits_w = BIT_ULL(1), .bits_nx = BIT_ULL(63),
	.leaf = BIT_ULL(7), .accessed = BIT_ULL(5), .table = BIT_ULL(0) | BIT_ULL(1) | BIT_ULL(2),
};

/* These two, and no other, store an entry. */
static inline bool s2_cmpxchg(u64 *p, u64 *old, u64 new)
{
	return try_cmpxchg(p, old, new);
}

static inline u64 s2_xchg(u64 *p, u64 new)
{
	return xchg(p, new);
}

static inline unsigned int s2_index(u64 gfn, int level)
{
	return gfn >> (9 * (level - 1)) & (S2_ENTRIES - 1);
}

static inline bool s2_present(const struct clv_s2 *s2, u64 e)
{
	return e & s2->fmt->present;
}

static inline bool s2_is_leaf(const struct clv_s2 *s2, u64 e, int level)
{
	return level == CLV_S2_4K || (e & s2->fmt->leaf);
}

static inline u64 *s2_table(u64 e)
{
	return __va(__sme_clr(e) & S2_ADDR_MASK);
}

static inline u64 s2_pfn(u64 e)
{
	return (__sme_clr(e) & S2_ADDR_MASK) >> PAGE_SHIFT;
}

static u64 s2_grant(const struct clv_s2_format *fmt, u64 e, u32 prot)
{
	if (prot & CLV_S2_W)
		e |= fmt->bits_w;
	if (prot & CLV_S2_X)
		e = (e | fmt->bits_x) & ~fmt->bits_nx;
	return e;
}

/* Write without read is a misconfiguration in EPT (SDM vol. 3C 29.3.3.1): R is always there. */
static u64 s2_make_leaf(const struct clv_s2_format *fmt, u64 pfn, int level, u32 prot)
{
	u64 e = __sme_set(pfn << PAGE_SHIFT) | fmt->memtype | fmt->bits_r | fmt->bits_nx;

	if (level > CLV_S2_4K)
		e |= fmt->leaf;
	return s2_grant(fmt, e, prot);
}

int clv_s2_create(struct clv_s2 *s2, const struct clv_s2_format *fmt,
		  const struct clv_s2_caps *caps)
{
	s2->root = (u64 *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	if (!s2->root)
		return -ENOMEM;
	rwlock_init(&s2->lock);
	s2->fmt = fmt;
	s2->root_hpa = __sme_set(__pa(s2->root));
	s2->caps = *caps;
	atomic_long_set(&s2->tables, 1);
	return 0;
}

void clv_s2_destroy(struct clv_s2 *s2)
{
	free_page((unsigned long)s2->root);
	WARN_ON_ONCE(!atomic_long_dec_and_test(&s2->tables));
}

int clv_s2_cache_fill(struct clv_s2_cache *c)
{
	while (c->count < CLV_S2_CACHE) {
		c->page[c->count] = (void *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
		if (!c->page[c->count])
			return -ENOMEM;
		c->count++;
	}
	return 0;
}

void clv_s2_cache_free(struct clv_s2_cache *c)
{
	while (c->count)
		free_page((unsigned long)c->page[--c->count]);
}

/* The entry at *p; if none, a table is put there. 0: none, and the cache is empty. */
static u64 s2_fetch_table(struct clv_s2 *s2, u64 *p, struct clv_s2_cache *c)
{
	u64 e = READ_ONCE(*p);
	u64 new;

	while (!s2_present(s2, e)) {
		if (!c->count)
			return 0;
		/* A full barrier: the zeroes are seen before the table is. */
		new = __sme_set(__pa(c->page[c->count - 1])) | s2->fmt->table;
		if (s2_cmpxchg(p, &e, new)) {
			c->count--;
			atomic_long_inc(&s2->tables);
			return new;
		}
	}
	return e;
}

int clv_s2_map(struct clv_s2 *s2, u64 gfn, u64 pfn, int level, u32 prot, struct clv_s2_cache *c)
{
	u64 *table = s2->root;
	u64 *p, e, new;
	int l;

	lockdep_assert_held(&s2->lock);
	if (WARN_ON_ONCE(level > s2->caps.max_leaf || gfn >= clv_s2_pages(s2->caps.levels + 1) ||
			 ((gfn | pfn) & (clv_s2_pages(level) - 1))))
		return -EINVAL;

	for (l = s2->caps.levels; l > level; l--) {
		e = s2_fetch_table(s2, &table[s2_index(gfn, l)], c);
		if (!e)
			return -ENOMEM;
		/* A leaf serves if it already gives gfn what the caller wants. */
		if (s2_is_leaf(s2, e, l))
			return s2_pfn(e) + (gfn & (clv_s2_pages(l) - 1)) == pfn &&
			       s2_grant(s2->fmt, e, prot) == e ? 0 : -EAGAIN;
		table = s2_table(e);
	}

	p = &table[s2_index(gfn, level)];
	e = READ_ONCE(*p);
	do {
		if (s2_present(s2, e) && (!s2_is_leaf(s2, e, level) || s2_pfn(e) != pfn))
			return -EAGAIN;
		new = s2_present(s2, e) ? s2_grant(s2->fmt, e, prot) :
					  s2_make_leaf(s2->fmt, pfn, level, prot);
	} while (new != e && !s2_cmpxchg(p, &e, new));
	return 0;
}

struct s2_walk {
	struct clv_s2 *s2;
	enum clv_s2_op op;
	void **free;		/* CLV_S2_UNMAP: tables taken out */
	bool hit;		/* something was changed, or young */
};

static bool s2_clear_bits(u64 *p, u64 e, u64 bits)
{
	do {
		if (!(e & bits))
			return false;
	} while (!s2_cmpxchg(p, &e, e & ~bits));
	return true;
}

static bool s2_do_leaf(struct s2_walk *w, u64 *p, u64 e)
{
	const struct clv_s2_format *fmt = w->s2->fmt;

	switch (w->op) {
	case CLV_S2_UNMAP:
		s2_xchg(p, 0);
		return true;
	case CLV_S2_PROTECT:	return s2_clear_bits(p, e, fmt->bits_w);
	case CLV_S2_TEST_YOUNG:	return !w->s2->caps.ad || (e & fmt->accessed);
	default:		return s2_clear_bits(p, e, fmt->accessed);	/* CLEAR_YOUNG */
	}
}

static bool s2_empty(const struct clv_s2 *s2, const u64 *table)
{
	int i;

	for (i = 0; i < S2_ENTRIES; i++)
		if (s2_present(s2, table[i]))
			return false;
	return true;
}

/*
 * As deep as there are levels. A table that unmapping has emptied, or takes whole, is chained for
 * clv_s2_free_tables(). A CPU may walk it until the TLBs are flushed: the link is page aligned, so
 * entry 0 reads as not present in either format.
 */
static void s2_walk_table(struct s2_walk *w, u64 *table, int level, u64 gfn, u64 end)
{
	u64 pages = clv_s2_pages(level), next;

	for (; gfn < end; gfn = next) {
		u64 *p = &table[s2_index(gfn, level)], *child;
		u64 e = READ_ONCE(*p);
		bool whole;

		next = min((gfn & ~(pages - 1)) + pages, end);
		if (!s2_present(w->s2, e))
			continue;
		if (s2_is_leaf(w->s2, e, level)) {
			w->hit |= s2_do_leaf(w, p, e);
			continue;
		}
		child = s2_table(e);
		whole = w->op == CLV_S2_UNMAP && next - gfn == pages;
		/* The leaves of a table that goes whole go with it. */
		if (!whole || level > CLV_S2_2M)
			s2_walk_table(w, child, level - 1, gfn, next);
		if (!whole && (w->op != CLV_S2_UNMAP || !s2_empty(w->s2, child)))
			continue;
		s2_xchg(p, 0);
		s2_xchg(&child[0], (u64)(unsigned long)*w->free);
		*w->free = child;
		w->hit = true;
	}
}

bool clv_s2_range(struct clv_s2 *s2, enum clv_s2_op op, u64 gfn, u64 n, void **free)
{
	struct s2_walk w = { .s2 = s2, .op = op, .free = free };
	u64 limit = clv_s2_pages(s2->caps.levels + 1);

	lockdep_assert_held_write(&s2->lock);
	if (gfn < limit)
		s2_walk_table(&w, s2->root, s2->caps.levels, gfn, gfn + min(n, limit - gfn));
	return w.hit;
}

void clv_s2_free_tables(struct clv_s2 *s2, void **free)
{
	while (*free) {
		u64 *table = *free;

		*free = (void *)(unsigned long)table[0];
		free_page((unsigned long)table);
		atomic_long_dec(&s2->tables);
	}
}
