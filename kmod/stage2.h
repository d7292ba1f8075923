/* SPDX-License-Identifier: GPL-2.0 */
/* cleave: stage-2 page tables, EPT or NPT by a format that is data. Also for the unit tests. */
#ifndef CLV_STAGE2_H
#define CLV_STAGE2_H

#include <linux/types.h>
#include <linux/spinlock.h>

/* Permissions and accesses. */
#define CLV_S2_R	BIT(0)
#define CLV_S2_W	BIT(1)
#define CLV_S2_X	BIT(2)

/* Levels: 1 maps 4 KiB, 2 maps 2 MiB, 3 maps 1 GiB; tables go to 4 or 5. */
#define CLV_S2_4K	1
#define CLV_S2_2M	2
#define CLV_S2_1G	3
#define CLV_S2_MAX_LEVEL 5

#define clv_s2_pages(level)	(1ULL << (9 * ((level) - 1)))	/* 4 KiB pages a leaf maps */

/* One vendor's entry format: SDM vol. 3C 29.3.2 (EPT), APM vol. 2 15.25 (NPT). */
struct clv_s2_format {
	u64 present;		/* any of these set: present */
	u64 bits_r, bits_w, bits_x;	/* what grants it */
	u64 bits_nx;		/* what denies execution (NPT) */
	u64 leaf;		/* large-page bit at levels 2 and 3 */
	u64 accessed;
	u64 memtype;		/* write-back, leaf entries (EPT memory type, ignore PAT) */
	u64 table;		/* permission bits of an entry that points to a table */
};

extern const struct clv_s2_format clv_s2_ept, clv_s2_npt;

/* What the CPUs of this host can walk; a backend's init() may say so, or clv_mem_init() does. */
struct clv_s2_caps {
	int levels;		/* 4 or 5 */
	int max_leaf;		/* CLV_S2_* */
	bool ad;		/* they set accessed and dirty bits */
	int gpa_bits;		/* width of a guest-physical address; clv_mem_init()'s */
};

extern struct clv_s2_caps clv_s2_caps;

/* Zeroed pages for tables, taken while the lock is held, filled while not. */
#define CLV_S2_CACHE	(CLV_S2_MAX_LEVEL - 1)
struct clv_s2_cache {
	int count;
	void *page[CLV_S2_CACHE];
};

struct clv_s2 {
	rwlock_t lock;		/* read: map; write: all else */
	const struct clv_s2_format *fmt;
	struct clv_s2_caps caps;
	u64 *root;
	u64 root_hpa;
	atomic_long_t tables;	/* table pages in use, root included */
};

int clv_s2_create(struct clv_s2 *s2, const struct clv_s2_format *fmt,
		  const struct clv_s2_caps *caps);
void clv_s2_destroy(struct clv_s2 *s2);		/* all is unmapped, no CPU walks it */
int clv_s2_cache_fill(struct clv_s2_cache *c);	/* -ENOMEM; may sleep */
void clv_s2_cache_free(struct clv_s2_cache *c);

/*
 * Maps one leaf, gfn and pfn aligned to it. Read side held. prot: CLV_S2_R, W, X; R is always
 * given. 0: mapped, or there already with these permissions or more (added to a leaf of this
 * level). -EAGAIN: another mapping is in the way (smaller ones; a larger one with less permission;
 * another page), and the caller maps smaller or unmaps. -ENOMEM: the cache ran empty.
 */
int clv_s2_map(struct clv_s2 *s2, u64 gfn, u64 pfn, int level, u32 prot, struct clv_s2_cache *c);

enum clv_s2_op {
	CLV_S2_UNMAP,		/* a larger leaf that reaches beyond goes whole */
	CLV_S2_PROTECT,		/* takes write permission away */
	CLV_S2_TEST_YOUNG,	/* was it accessed? without caps.ad all that is mapped was */
	CLV_S2_CLEAR_YOUNG,	/* the same, and forgets it; with caps.ad only */
};

/*
 * On what maps [gfn, gfn + n), write side held. True: something was there to change, or accessed;
 * after UNMAP and PROTECT the caller then flushes the TLBs before it drops the lock. Tables that
 * UNMAP emptied go to *free, and are given back by clv_s2_free_tables() after the flush.
 */
bool clv_s2_range(struct clv_s2 *s2, enum clv_s2_op op, u64 gfn, u64 n, void **free);
void clv_s2_free_tables(struct clv_s2 *s2, void **free);

#endif /* CLV_STAGE2_H */
