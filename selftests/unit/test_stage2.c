// SPDX-License-Identifier: GPL-2.0
/*
 * Stage-2 tables of both formats against a model that knows one leaf per
 * page, and against a walker that reads entries as the manuals say the CPU
 * does (SDM vol. 3C 29.3.2, APM vol. 2 5.3 and 15.25), bit by bit.
 */
#include <pthread.h>
#include "unit.h"
#include "../../kmod/stage2.c"

/* ---- the CPU -------------------------------------------------------------- */

#define CPU_BAD		-1	/* an entry that the CPU would refuse */
#define CPU_ABSENT	0

struct cpu_page {
	u64 pfn;
	bool r, w, x, accessed, dirty;
};

static u64 cpu_bits(u64 e, int hi, int lo)
{
	return e >> lo & ((1ULL << (hi - lo + 1)) - 1);
}

static bool cpu_ept_ok(u64 e, int level, bool leaf)
{
	if ((e & 3) == 2)				/* W without R */
		return false;
	if (!leaf)
		return (e & 7) == 7 && !cpu_bits(e, 7, 3) && !cpu_bits(e, 63, 52);
	return cpu_bits(e, 5, 3) == 6 && cpu_bits(e, 6, 6) == 1 && !cpu_bits(e, 63, 52) &&
	       (level == 1 ? !cpu_bits(e, 7, 7) : !cpu_bits(e, 9 * level + 2, 12));
}

static bool cpu_npt_ok(u64 e, int level, bool leaf)
{
	if ((e & 4) != 4 || cpu_bits(e, 4, 3) || cpu_bits(e, 62, 52) || cpu_bits(e, 8, 8))
		return false;				/* user, write-back, no global */
	if (!leaf)
		return (e & 3) == 3 && !(e >> 63);
	return level == 1 ? !cpu_bits(e, 7, 7) : !cpu_bits(e, 9 * level + 2, 12);
}

/* Level of the leaf, or CPU_ABSENT, or CPU_BAD. touch: 0, or CLV_S2_R, CLV_S2_W. */
static int cpu_walk(struct clv_s2 *s2, u64 gfn, u32 touch, struct cpu_page *pg)
{
	bool ept = s2->fmt == &clv_s2_ept;
	u64 table = s2->root_hpa;

	for (int level = s2->caps.levels; level >= 1; level--) {
		u64 *p = (u64 *)table + (gfn >> (9 * (level - 1)) & 511);
		u64 e = *p;
		bool leaf = level == 1 || (e >> 7 & 1);

		if (!(e & (ept ? 7 : 1)))
			return e ? CPU_BAD : CPU_ABSENT;
		if ((leaf && level > 3) || !(ept ? cpu_ept_ok : cpu_npt_ok)(e, level, leaf))
			return CPU_BAD;
		if (!leaf) {
			if (touch)
				__atomic_fetch_or(p, ept ? 1 << 8 : 1 << 5, __ATOMIC_SEQ_CST);
			table = cpu_bits(e, 51, 12) << 12;
			continue;
		}
		if (touch && s2->caps.ad)
			__atomic_fetch_or(p, ept ? 1 << 8 : 1 << 5, __ATOMIC_SEQ_CST);
		if (touch == CLV_S2_W && s2->caps.ad)
			__atomic_fetch_or(p, ept ? 1 << 9 : 1 << 6, __ATOMIC_SEQ_CST);
		e = *p;
		*pg = (struct cpu_page){
			.pfn = cpu_bits(e, 51, 12) + (gfn & ((1ULL << 9 * (level - 1)) - 1)),
			.r = ept ? e & 1 : true,
			.w = e >> 1 & 1,
			.x = ept ? e >> 2 & 1 : !(e >> 63),
			.accessed = ept ? e >> 8 & 1 : e >> 5 & 1,
			.dirty = ept ? e >> 9 & 1 : e >> 6 & 1,
		};
		return level;
	}
	return CPU_BAD;
}

/* ---- the model: every leaf by its first page, in two windows -------------- */

#define HALF	(1ULL << 19)		/* 2 GiB each: two 1 GiB leaves fit */
#define PAGES	(2 * HALF)

struct model_page {
	u64 pfn;			/* of this page */
	u8 level;			/* 0: not mapped */
	u8 prot;
	bool accessed;			/* kept at the leaf's first page */
};

static struct model_page *model;
static struct clv_s2 s2;
static struct clv_s2_cache cache;
static unsigned int seed;

static u64 rnd(u64 below)
{
	/* xorshift32: the same sequence everywhere */
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return below ? seed % below : 0;
}

/* The second window ends where the tables do. */
static u64 to_gfn(u64 i)
{
	return i < HALF ? i : clv_s2_pages(s2.caps.levels + 1) - PAGES + i;
}

static u64 leaf_start(u64 i)
{
	return i & ~(clv_s2_pages(model[i].level) - 1);
}

static void setup(const struct clv_s2_format *fmt, int levels, int max_leaf, bool ad)
{
	model = calloc(PAGES, sizeof(*model));
	CHECK_EQ(clv_s2_create(&s2, fmt, &(struct clv_s2_caps) { levels, max_leaf, ad, 0 }), 0);
	CHECK_EQ(clv_s2_cache_fill(&cache), 0);
	seed = 2463534242u;
}

static void teardown(void)
{
	void *free_tables = NULL;

	write_lock(&s2.lock);
	clv_s2_range(&s2, CLV_S2_UNMAP, 0, clv_s2_pages(s2.caps.levels + 1), &free_tables);
	write_unlock(&s2.lock);
	clv_s2_free_tables(&s2, &free_tables);
	CHECK_EQ(atomic_long_read(&s2.tables), 1);
	clv_s2_destroy(&s2);
	clv_s2_cache_free(&cache);
	CHECK_EQ(unit_pages, 0);
	CHECK_EQ(atomic_long_read(&s2.tables), 0);
	free(model);
	model = NULL;
}

/* What clv_s2_map() must answer, and the model after it. */
static int model_map(u64 i, u64 pfn, int level, u32 prot)
{
	u64 n = clv_s2_pages(level);
	struct model_page *m = &model[i];

	prot |= CLV_S2_R;
	if (m->level > level)
		return m->pfn == pfn && !(prot & ~m->prot) ? 0 : -EAGAIN;
	if (m->level == level && m->pfn != pfn)
		return -EAGAIN;
	for (u64 k = 0; m->level != level && k < n; k++)
		if (m[k].level)
			return -EAGAIN;
	for (u64 k = 0; k < n; k++) {
		bool fresh = !m[k].level;

		m[k].pfn = pfn + k;
		m[k].prot = fresh ? prot : m[k].prot | prot;
		m[k].level = level;
	}
	return 0;
}

static int do_map(u64 i, u64 pfn, int level, u32 prot)
{
	int ret;

	CHECK_EQ(clv_s2_cache_fill(&cache), 0);
	read_lock(&s2.lock);
	ret = clv_s2_map(&s2, to_gfn(i), pfn, level, prot, &cache);
	read_unlock(&s2.lock);
	return ret;
}

static bool do_range(enum clv_s2_op op, u64 gfn, u64 n)
{
	void *free = NULL;
	bool ret;

	write_lock(&s2.lock);
	ret = clv_s2_range(&s2, op, gfn, n, &free);
	write_unlock(&s2.lock);
	CHECK(!free || op == CLV_S2_UNMAP);
	clv_s2_free_tables(&s2, &free);
	CHECK(!free);
	return ret;
}

static bool do_unmap(u64 gfn, u64 n)
{
	return do_range(CLV_S2_UNMAP, gfn, n);
}

static bool do_age(u64 gfn, u64 n, bool clear)
{
	return do_range(clear ? CLV_S2_CLEAR_YOUNG : CLV_S2_TEST_YOUNG, gfn, n);
}

static bool model_unmap(u64 i, u64 n)
{
	bool hit = false;
	u64 end = i + n;

	while (i < end) {
		u64 len = 1;

		if (model[i].level) {
			u64 start = leaf_start(i);

			len = clv_s2_pages(model[i].level) - (i - start);
			memset(&model[start], 0, sizeof(*model) * (len + i - start));
			hit = true;
		}
		i += len;
	}
	return hit;
}

static bool model_protect(u64 i, u64 n)
{
	bool hit = false;
	u64 end = i + n, start, len;

	for (; i < end; i += len) {
		len = 1;
		if (!model[i].level)
			continue;
		start = leaf_start(i);
		len = clv_s2_pages(model[i].level) - (i - start);
		if (!(model[i].prot & CLV_S2_W))
			continue;
		hit = true;
		for (u64 k = start; k < i + len; k++)
			model[k].prot &= ~CLV_S2_W;
	}
	return hit;
}

static bool model_age(u64 i, u64 n, bool clear)
{
	bool hit = false;
	u64 end = i + n, start;

	for (; i < end; i = start + clv_s2_pages(model[i].level ? model[i].level : 1)) {
		start = model[i].level ? leaf_start(i) : i;
		if (!model[i].level)
			continue;
		if (model[start].accessed || !s2.caps.ad)
			hit = true;
		if (clear)
			model[start].accessed = false;
	}
	return hit;
}

/* Tables that the model's leaves need, root included: one per index prefix. */
static long model_tables(void)
{
	long count = 1;

	for (int l = 1; l < s2.caps.levels; l++) {
		u64 last = ~0ULL;

		for (u64 i = 0; i < PAGES; i++) {
			u64 key = to_gfn(i) >> (9 * l);

			if (model[i].level && model[i].level <= l && key != last) {
				last = key;
				count++;
			}
		}
	}
	return count;
}

static void check_page(u64 i)
{
	struct cpu_page pg = { 0 };
	struct model_page *m = &model[i];
	int level = cpu_walk(&s2, to_gfn(i), 0, &pg);

	CHECK_EQ(level, m->level);
	if (level <= 0)
		return;
	CHECK_EQ(pg.pfn, m->pfn);
	CHECK(pg.r);
	CHECK_EQ(pg.w, !!(m->prot & CLV_S2_W));
	CHECK_EQ(pg.x, !!(m->prot & CLV_S2_X));
	if (s2.caps.ad)
		CHECK_EQ(pg.accessed, model[leaf_start(i)].accessed);
}

static void check_all(void)
{
	/* Each page around where leaves begin and end, and a sample inside. */
	for (u64 i = 0; i < PAGES; i++)
		if (i % 512 < 2 || i % 512 > 509 || model[i].level == 1)
			check_page(i);
	CHECK_EQ(atomic_long_read(&s2.tables), model_tables());
	CHECK_EQ(unit_pages, atomic_long_read(&s2.tables) + cache.count);
}

/* ---- random sequences ------------------------------------------------------ */

static u64 random_index(int level)
{
	/* Crowded, so that things meet: four 2 MiB areas of each window. */
	u64 i = rnd(2) * HALF + rnd(4) * 512 * (rnd(3) ? 1 : 128) + rnd(512);

	return i & ~(clv_s2_pages(level) - 1);
}

static void random_range(u64 *i, u64 *n)
{
	static const u64 sizes[] = { 1, 3, 64, 511, 512, 513, 2048, 1 << 18, HALF };

	*i = rnd(8) ? random_index(1) : rnd(2) * HALF;
	*n = sizes[rnd(rnd(6) ? 6 : ARRAY_SIZE(sizes))];
	if ((*i & (HALF - 1)) + *n > HALF)
		*n = HALF - (*i & (HALF - 1));
}

static void random_step(void)
{
	static const u32 prots[] = { CLV_S2_R, CLV_S2_R | CLV_S2_W, CLV_S2_R | CLV_S2_X,
				     CLV_S2_R | CLV_S2_W | CLV_S2_X };
	struct cpu_page pg;
	u64 i, n, pfn;
	bool got;
	int level;

	switch (rnd(16)) {
	case 0 ... 8: {
		u32 prot = prots[rnd(4)];

		level = rnd(40) ? 1 : 2;
		if (!rnd(400))
			level = 3;
		if (level > s2.caps.max_leaf)
			level = s2.caps.max_leaf;
		i = random_index(level);
		/* Mostly what would be there already, sometimes another page. */
		pfn = (rnd(20) ? i : i ^ (1 << 18)) + (1ULL << 30);
		CHECK_EQ(do_map(i, pfn, level, prot), model_map(i, pfn, level, prot));
		break;
	}
	case 9 ... 10:
		random_range(&i, &n);
		CHECK_EQ(do_unmap(to_gfn(i), n), model_unmap(i, n));
		break;
	case 11:
		random_range(&i, &n);
		CHECK_EQ(do_range(CLV_S2_PROTECT, to_gfn(i), n), model_protect(i, n));
		break;
	case 12 ... 14:
		i = random_index(1);
		if (cpu_walk(&s2, to_gfn(i), rnd(2) ? CLV_S2_W : CLV_S2_R, &pg) > 0)
			model[leaf_start(i)].accessed = true;
		break;
	default:
		random_range(&i, &n);
		n = min_t(u64, n, 2048);
		got = rnd(2);
		if (got && !s2.caps.ad)
			got = false;
		CHECK_EQ(do_age(to_gfn(i), n, got), model_age(i, n, got));
	}
}

static void random_run(const struct clv_s2_format *fmt, int levels, int max_leaf, bool ad)
{
	setup(fmt, levels, max_leaf, ad);
	for (int i = 0; i < 60000 && !unit_failures; i++) {
		random_step();
		if (i % 6000 == 0)
			check_all();
	}
	check_all();
	/* In two goes that cut what is mapped, all of it; the root is left. */
	do_unmap(0, 777);
	do_unmap(777, clv_s2_pages(s2.caps.levels + 1));
	CHECK_EQ(atomic_long_read(&s2.tables), 1);
	memset(model, 0, sizeof(*model) * PAGES);
	check_all();
	teardown();
}

UNIT_TEST(random_ept_4_levels)
{
	random_run(&clv_s2_ept, 4, CLV_S2_1G, true);
}

UNIT_TEST(random_ept_5_levels_no_ad)
{
	random_run(&clv_s2_ept, 5, CLV_S2_1G, false);
}

UNIT_TEST(random_ept_4k_only)
{
	random_run(&clv_s2_ept, 4, CLV_S2_4K, true);
}

UNIT_TEST(random_npt_4_levels)
{
	random_run(&clv_s2_npt, 4, CLV_S2_1G, true);
}

UNIT_TEST(random_npt_5_levels)
{
	random_run(&clv_s2_npt, 5, CLV_S2_2M, true);
}

/* ---- single behaviours, each in all shapes ---------------------------------- */

static const struct shape {
	const struct clv_s2_format *fmt;
	int levels;
} shapes[] = {
	{ &clv_s2_ept, 4 }, { &clv_s2_ept, 5 }, { &clv_s2_npt, 4 }, { &clv_s2_npt, 5 },
};

#define for_each_shape(s)						\
	for (const struct shape *s = shapes; s < shapes + ARRAY_SIZE(shapes); s++)

UNIT_TEST(leaf_of_each_size)
{
	for_each_shape(s) {
		for (int level = 1; level <= 3; level++) {
			u64 n = clv_s2_pages(level);
			u64 gfn = n * 3;		/* index 3 of its table */
			struct cpu_page pg;

			setup(s->fmt, s->levels, CLV_S2_1G, true);
			read_lock(&s2.lock);
			CHECK_EQ(clv_s2_map(&s2, gfn, n * 5, level, CLV_S2_W, &cache), 0);
			read_unlock(&s2.lock);
			CHECK_EQ(atomic_long_read(&s2.tables), 1 + s->levels - level);
			CHECK_EQ(cpu_walk(&s2, gfn - 1, 0, &pg), CPU_ABSENT);
			CHECK_EQ(cpu_walk(&s2, gfn, 0, &pg), level);
			CHECK_EQ(pg.pfn, n * 5);
			CHECK(pg.r && pg.w && !pg.x && !pg.accessed && !pg.dirty);
			CHECK_EQ(cpu_walk(&s2, gfn + n - 1, CLV_S2_W, &pg), level);
			CHECK_EQ(pg.pfn, n * 6 - 1);
			CHECK(pg.accessed && pg.dirty);
			CHECK_EQ(cpu_walk(&s2, gfn + n, 0, &pg), CPU_ABSENT);
			/* One page of it: a leaf goes whole, its tables with it. */
			CHECK(do_unmap(gfn + n / 2, 1));
			CHECK_EQ(cpu_walk(&s2, gfn, 0, &pg), CPU_ABSENT);
			CHECK_EQ(atomic_long_read(&s2.tables), 1);
			CHECK(!do_unmap(gfn, n));
			teardown();
		}
	}
}

UNIT_TEST(permissions_are_added_and_taken)
{
	for_each_shape(s) {
		struct cpu_page pg;

		setup(s->fmt, s->levels, CLV_S2_1G, true);
		CHECK_EQ(do_map(7, 700, 1, CLV_S2_R), 0);
		CHECK_EQ(cpu_walk(&s2, 7, CLV_S2_R, &pg), 1);
		CHECK(!pg.w && !pg.x);
		CHECK_EQ(do_map(7, 700, 1, CLV_S2_R | CLV_S2_X), 0);
		CHECK_EQ(do_map(7, 700, 1, CLV_S2_R | CLV_S2_W), 0);
		CHECK_EQ(cpu_walk(&s2, 7, CLV_S2_W, &pg), 1);
		CHECK(pg.w && pg.x && pg.accessed && pg.dirty);
		/* Less than is there: nothing is lost. */
		CHECK_EQ(do_map(7, 700, 1, CLV_S2_R), 0);
		CHECK_EQ(cpu_walk(&s2, 7, 0, &pg), 1);
		CHECK(pg.w && pg.x);
		CHECK(do_range(CLV_S2_PROTECT, 0, 100));
		CHECK(!do_range(CLV_S2_PROTECT, 0, 100));
		CHECK_EQ(cpu_walk(&s2, 7, 0, &pg), 1);
		CHECK(!pg.w && pg.x && pg.accessed && pg.dirty);
		CHECK_EQ(pg.pfn, 700);
		teardown();
	}
}

UNIT_TEST(what_is_in_the_way)
{
	for_each_shape(s) {
		setup(s->fmt, s->levels, CLV_S2_1G, true);
		CHECK_EQ(do_map(512, 1024, 2, CLV_S2_R | CLV_S2_X), 0);
		/* below a larger leaf */
		CHECK_EQ(do_map(515, 1027, 1, CLV_S2_R), 0);
		CHECK_EQ(do_map(515, 1027, 1, CLV_S2_W), -EAGAIN);
		CHECK_EQ(do_map(515, 1028, 1, CLV_S2_R), -EAGAIN);
		/* a larger one above it, and another page in its place */
		CHECK_EQ(do_map(0, 0, 3, CLV_S2_R), -EAGAIN);
		CHECK_EQ(do_map(512, 2048, 2, CLV_S2_R), -EAGAIN);
		CHECK_EQ(do_map(3, 4, 1, CLV_S2_R), 0);
		CHECK_EQ(do_map(3, 5, 1, CLV_S2_R), -EAGAIN);
		CHECK_EQ(do_map(0, 0, 2, CLV_S2_R), -EAGAIN);
		CHECK(do_unmap(3, 1));
		CHECK_EQ(do_map(0, 0, 2, CLV_S2_R), 0);
		teardown();
	}
}

UNIT_TEST(unmap_takes_tables_with_it)
{
	for_each_shape(s) {
		setup(s->fmt, s->levels, CLV_S2_1G, true);
		for (u64 i = 0; i < 4 * 512; i++)
			CHECK_EQ(do_map(i, i, 1, CLV_S2_R), 0);
		CHECK_EQ(atomic_long_read(&s2.tables), s->levels - 1 + 4);
		CHECK(do_unmap(100, 512 - 100));	/* to the end of a table */
		CHECK_EQ(atomic_long_read(&s2.tables), s->levels - 1 + 4);
		CHECK(do_unmap(0, 100));		/* and the rest of it */
		CHECK_EQ(atomic_long_read(&s2.tables), s->levels - 1 + 3);
		CHECK(!do_unmap(0, 512));
		CHECK(do_unmap(511, 514));		/* one whole, one cut */
		CHECK_EQ(atomic_long_read(&s2.tables), s->levels - 1 + 2);
		CHECK(do_unmap(0, ~0ULL));
		CHECK_EQ(atomic_long_read(&s2.tables), 1);
		CHECK(!do_unmap(0, ~0ULL));
		teardown();
	}
}

/* The pages of a table taken out read as absent until they are freed. */
static void tables_wait_for_the_flush(const struct shape *s)
{
	void *free = NULL;
	u64 *leafs;

	setup(s->fmt, s->levels, CLV_S2_1G, true);
	for (u64 i = 0; i < 3 * 512; i++)
		CHECK_EQ(do_map(i, i, 1, CLV_S2_W), 0);
	leafs = s2.root;
	for (int l = s->levels; l > 1; l--)
		leafs = s2_table(leafs[0]);
	write_lock(&s2.lock);
	CHECK(clv_s2_range(&s2, CLV_S2_UNMAP, 0, 3 * 512, &free));
	CHECK(!s2_present(&s2, s2.root[0]));
	CHECK(!s2_present(&s2, leafs[0]));
	CHECK(s2_present(&s2, leafs[1]));	/* out of reach once flushed */
	CHECK_EQ(atomic_long_read(&s2.tables), s->levels - 1 + 3);
	write_unlock(&s2.lock);
	clv_s2_free_tables(&s2, &free);
	CHECK_EQ(atomic_long_read(&s2.tables), 1);
	teardown();
}

UNIT_TEST(tables_live_until_freed)
{
	for_each_shape(s)
		tables_wait_for_the_flush(s);
}

UNIT_TEST(age_with_and_without_the_cpu)
{
	for (int ad = 0; ad < 2; ad++) {
		struct cpu_page pg;

		setup(&clv_s2_ept, 4, CLV_S2_1G, ad);
		CHECK_EQ(do_map(0, 512, 2, CLV_S2_R), 0);
		CHECK(!do_age(512, 512, false));
		CHECK_EQ(do_age(5, 1, false), !ad);
		CHECK_EQ(cpu_walk(&s2, 9, CLV_S2_R, &pg), 2);
		CHECK(do_age(5, 1, false));
		if (ad) {
			CHECK(!do_age(512, 512, true));
			CHECK(do_age(5, 1, true));
			CHECK(!do_age(5, 1, true));
			CHECK_EQ(cpu_walk(&s2, 9, 0, &pg), 2);
		}
		teardown();
	}
}

UNIT_TEST(limits)
{
	for_each_shape(s) {
		u64 end = 1ULL << (9 * s->levels);
		struct cpu_page pg;

		setup(s->fmt, s->levels, CLV_S2_1G, true);
		read_lock(&s2.lock);
		CHECK_EQ(clv_s2_map(&s2, end - 1, (1ULL << 40) - 1, 1, CLV_S2_W, &cache), 0);
		read_unlock(&s2.lock);
		CHECK_EQ(cpu_walk(&s2, end - 1, 0, &pg), 1);
		CHECK_EQ(pg.pfn, (1ULL << 40) - 1);
		CHECK(!do_unmap(end, 1));
		CHECK(!do_unmap(~0ULL, ~0ULL));
		CHECK(!do_unmap(end - 1, 0));
		CHECK(do_unmap(end - 1, ~0ULL));
		teardown();
	}
}

UNIT_TEST(no_memory)
{
	for_each_shape(s) {
		for (int have = 0; have < s->levels; have++) {
			/* The first lot with the cache as it is, then as it should be. */
			setup(s->fmt, s->levels, CLV_S2_1G, true);
			while (cache.count > have)
				free_page((unsigned long)cache.page[--cache.count]);
			read_lock(&s2.lock);
			CHECK_EQ(clv_s2_map(&s2, 5, 5, 1, CLV_S2_R, &cache),
				 have == s->levels - 1 ? 0 : -ENOMEM);
			CHECK_EQ(cache.count, 0);
			CHECK_EQ(atomic_long_read(&s2.tables), 1 + have);
			read_unlock(&s2.lock);
			CHECK_EQ(do_map(5, 5, 1, CLV_S2_R), 0);
			CHECK_EQ(atomic_long_read(&s2.tables), s->levels);
			/* Tables that failed attempts left: no harm, gone with the range. */
			CHECK(do_unmap(0, clv_s2_pages(s2.caps.levels + 1)));
			CHECK_EQ(atomic_long_read(&s2.tables), 1);
			teardown();
		}
	}
	for (int n = 1; n <= CLV_S2_CACHE + 1; n++) {
		struct clv_s2_cache c = { 0 };

		unit_alloc_fail = n;
		CHECK_EQ(clv_s2_cache_fill(&c), n <= CLV_S2_CACHE ? -ENOMEM : 0);
		CHECK_EQ(c.count, min(n - 1, CLV_S2_CACHE));
		unit_alloc_fail = 0;
		CHECK_EQ(clv_s2_cache_fill(&c), 0);
		CHECK_EQ(c.count, CLV_S2_CACHE);
		clv_s2_cache_free(&c);
		CHECK_EQ(unit_pages, 0);
	}
	unit_alloc_fail = 1;
	CHECK_EQ(clv_s2_create(&s2, &clv_s2_npt, &(struct clv_s2_caps) { 4, CLV_S2_1G, true, 0 }), -ENOMEM);
	unit_alloc_fail = 0;
	CHECK_EQ(unit_pages, 0);
}

/* ---- faults in parallel: the read side is held once for all threads -------- */

#define THREADS	4

static void *map_in_parallel(void *arg)
{
	struct clv_s2_cache c = { 0 };
	struct cpu_page pg;
	u64 x = (u64)(unsigned long)arg * 7919 + 1;
	long bad = 0;

	for (int k = 0; k < 40000; k++) {
		u64 i;
		int ret;

		x = x * 6364136223846793005ULL + 1442695040888963407ULL;
		i = x >> 33 & 0x3fff;		/* 64 MiB: threads meet */
		clv_s2_cache_fill(&c);
		ret = clv_s2_map(&s2, i, i + 4096, 1, x >> 60 & 1 ? CLV_S2_W : CLV_S2_X, &c);
		bad += ret != 0;
		/* The CPUs use what is mapped meanwhile. */
		bad += cpu_walk(&s2, i, k % 2 ? CLV_S2_R : CLV_S2_W, &pg) != 1;
	}
	clv_s2_cache_free(&c);
	return (void *)bad;
}

UNIT_TEST(parallel_faults)
{
	for_each_shape(s) {
		pthread_t t[THREADS];
		long tables = s->levels - 1;
		struct cpu_page pg;

		setup(s->fmt, s->levels, CLV_S2_1G, true);
		clv_s2_cache_free(&cache);
		read_lock(&s2.lock);
		for (long i = 0; i < THREADS; i++)
			REQUIRE(!pthread_create(&t[i], NULL, map_in_parallel, (void *)i));
		for (long i = 0; i < THREADS; i++) {
			void *bad;

			pthread_join(t[i], &bad);
			CHECK_EQ((long)bad, 0);
		}
		read_unlock(&s2.lock);
		for (u64 i = 0; i < 0x4000; i++) {
			int level = cpu_walk(&s2, i, 0, &pg);

			CHECK(level == 1 || level == CPU_ABSENT);
			if (level == 1)
				CHECK_EQ(pg.pfn, i + 4096);
		}
		CHECK_EQ(atomic_long_read(&s2.tables), tables + 0x4000 / 512);
		CHECK_EQ(unit_pages, atomic_long_read(&s2.tables));
		CHECK(do_unmap(0, 0x4000));
		CHECK_EQ(atomic_long_read(&s2.tables), 1);
		teardown();
	}
}
