// SPDX-License-Identifier: GPL-2.0
/* The seed for cloud-init, read back as ECMA-119 and Rock Ridge say. */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "unit.h"
#include "launch/seed.h"

static uint8_t *image;
static size_t size;

/* Both byte orders of a number, which must agree; its bounds. */
static uint32_t both(const uint8_t *p, unsigned int bytes)
{
	uint32_t le = 0, be = 0;
	unsigned int i;

	for (i = 0; i < bytes; i++) {
		le |= (uint32_t)p[i] << 8 * i;
		be = be << 8 | p[bytes + i];
	}
	CHECK_EQ(le, be);
	return le;
}

static const uint8_t *sector(uint32_t n, size_t len)
{
	CHECK(n >= 16 && (uint64_t)n * SEED_SECTOR + len <= size);
	return (uint64_t)n * SEED_SECTOR + len <= size ? image + (size_t)n * SEED_SECTOR : image;
}

/* The system use area of a directory record: the name that NM says, the mode of PX. */
static void system_use(const uint8_t *record, char *name, uint32_t *mode)
{
	const uint8_t *p = record + 33 + record[32] + !(record[32] & 1), *end = record + record[0];

	*name = 0;
	*mode = 0;
	while (end - p >= 4) {
		CHECK(p[2] >= 4 && p + p[2] <= end);
		CHECK_EQ(p[3], 1);
		if (p[2] < 4)
			return;
		if (!memcmp(p, "NM", 2)) {
			memcpy(name, p + 5, p[2] - 5);
			name[p[2] - 5] = 0;
		} else if (!memcmp(p, "PX", 2)) {
			CHECK_EQ(p[2], 44);
			*mode = both(p + 4, 4);
		} else if (!memcmp(p, "CE", 2)) {
			const uint8_t *er = sector(both(p + 4, 4), both(p + 20, 4));

			CHECK(!memcmp(er, "ER", 2) && er[2] == both(p + 20, 4));
			CHECK_EQ(8 + er[4] + er[5] + er[6], er[2]);
			CHECK(!memcmp(er + 8, "RRIP_1991A", 10));
		} else {
			CHECK(!memcmp(p, "SP\7\1\xbe\xef\0", 7));
			CHECK_EQ(record[33], 0);
		}
		p += p[2];
	}
}

/* The volume's descriptor; its root's record. */
static const uint8_t *volume(void)
{
	const uint8_t *pvd = sector(16, SEED_SECTOR), *le, *be;

	CHECK(!memcmp(pvd, "\1CD001\1", 7));
	CHECK(!memcmp(pvd + 40, "CIDATA                          ", 32));
	CHECK_EQ((size_t)both(pvd + 80, 4) * SEED_SECTOR, size);
	CHECK_EQ(both(pvd + 120, 2), 1u);
	CHECK_EQ(both(pvd + 124, 2), 1u);
	CHECK_EQ(both(pvd + 128, 2), (uint32_t)SEED_SECTOR);
	CHECK_EQ(both(pvd + 132, 4), 10u);
	CHECK_EQ(pvd[881], 1);
	CHECK(!memcmp(sector(17, SEED_SECTOR), "\377CD001\1", 7));
	le = sector(pvd[140], SEED_SECTOR);
	be = sector(pvd[151], SEED_SECTOR);
	CHECK(le[0] == 1 && le[2] == both(pvd + 158, 4) && le[6] == 1 && !le[7]);
	CHECK(be[0] == 1 && be[5] == both(pvd + 158, 4) && !be[6] && be[7] == 1);
	CHECK_EQ(pvd[156], 34);
	return pvd + 156;
}

/* All records of the root; those of files are as in file[]. */
static void look(const struct seed_file *file, unsigned int count)
{
	const uint8_t *root = volume(), *p, *end;
	unsigned int n = 0;
	uint32_t mode, top = 0;
	char name[256];

	p = sector(both(root + 2, 4), both(root + 10, 4));
	end = p + both(root + 10, 4);
	for (; p < end && *p; p += *p, n++) {
		uint32_t at = both(p + 2, 4), len = both(p + 10, 4);

		CHECK(p + *p <= end && !(*p & 1));
		system_use(p, name, &mode);
		if (n < 2) {
			CHECK_EQ(at, both(root + 2, 4));
			CHECK(p[32] == 1 && p[33] == n && p[25] == 2);
			CHECK_EQ(mode, 040555u);
			continue;
		}
		REQUIRE(n - 2 < count);
		CHECK(!strcmp(name, file[n - 2].name));
		CHECK_EQ(mode, 0100444u);
		CHECK_EQ((size_t)len, file[n - 2].size);
		CHECK(!len || !memcmp(sector(at, len), file[n - 2].data, len));
		/* One behind the other. */
		CHECK(!len || at >= top);
		top = len ? at + (len + SEED_SECTOR - 1) / SEED_SECTOR : top;
	}
	CHECK_EQ(n, count + 2);
}

static void check(const struct seed_file *file, unsigned int count)
{
	void *made;

	CHECK_EQ(seed_make(file, count, &made, &size), 0);
	image = made;
	look(file, count);
	free(made);
}

UNIT_TEST(what_cloud_init_reads)
{
	const struct seed_file file[] = {
		{ "meta-data", "instance-id: a\n", 15 },
		{ "user-data", "#cloud-config\n", 14 },
		{ "network-config", "version: 2\n", 11 },
	};

	check(file, 3);
}

UNIT_TEST(sizes_about_a_sector)
{
	static uint8_t data[3 * SEED_SECTOR + 1];
	unsigned int i;

	for (i = 0; i < sizeof(data); i++)
		data[i] = i * 7 + i / 256;
	for (i = 0; i < 4; i++) {
		const struct seed_file file[] = {
			{ "a", data, i * SEED_SECTOR }, { "b", NULL, 0 },
			{ "c", data + 1, i ? i * SEED_SECTOR - 1 : 1 }, { "d", data, i * SEED_SECTOR + 1 },
		};

		check(file, 4);
	}
	check(NULL, 0);
}

UNIT_TEST(as_many_as_there_may_be)
{
	static char names[SEED_FILES_MAX + 1][SEED_NAME_MAX + 2];
	struct seed_file file[SEED_FILES_MAX + 1];
	unsigned int i;
	void *made;

	for (i = 0; i <= SEED_FILES_MAX; i++) {
		memset(names[i], 'a' + i, SEED_NAME_MAX);
		file[i] = (struct seed_file){ names[i], names[i], SEED_NAME_MAX };
	}
	check(file, SEED_FILES_MAX);
	CHECK_EQ(seed_make(file, SEED_FILES_MAX + 1, &made, &size), -EINVAL);
	names[3][SEED_NAME_MAX] = 'x';
	CHECK_EQ(seed_make(file, SEED_FILES_MAX, &made, &size), -EINVAL);
}

UNIT_TEST(what_is_refused)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "a b", "a\n", "\xc3\xa4", "\x7f" };
	struct seed_file file[2] = { { "a", "x", 1 }, { "a", "y", 1 } };
	unsigned int i;
	void *made;

	CHECK_EQ(seed_make(file, 2, &made, &size), -EINVAL);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		file[1].name = bad[i];
		CHECK_EQ(seed_make(file, 2, &made, &size), -EINVAL);
	}
	file[1].name = "b";
	file[1].size = SEED_SIZE_MAX + 1;
	CHECK_EQ(seed_make(file, 2, &made, &size), -EFBIG);
}

UNIT_TEST(the_same_each_time)
{
	const struct seed_file file = { "user-data", "x", 1 };
	void *a, *b;
	size_t n;

	REQUIRE(!seed_make(&file, 1, &a, &size) && !seed_make(&file, 1, &b, &n));
	CHECK(n == size && !memcmp(a, b, n));
	free(a);
	free(b);
}
