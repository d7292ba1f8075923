// SPDX-License-Identifier: GPL-2.0
/* A rate: what passes in which time, and who waits how long. */
#include <pthread.h>
#include <stdbool.h>

#include "unit.h"
#include "virtio/bucket.h"

#define SECOND	1000000000ULL
#define MIB	(1ULL << 20)

/* Units that pass in that time, in such pieces, by one who waits as told. */
static uint64_t passes(struct bucket *b, uint64_t from, uint64_t time, uint64_t piece)
{
	uint64_t now = from, sum = 0, wait;

	while (now < from + time) {
		wait = bucket_wait(b, now);
		if (wait) {
			now += wait;
			continue;
		}
		bucket_take(b, now, piece);
		sum += piece;
	}
	return sum;
}

/* Within a piece, and what may be taken ahead. */
static bool is_rate(uint64_t rate, uint64_t piece, uint64_t seconds)
{
	struct bucket b = { .rate = rate };
	uint64_t sum = passes(&b, 5 * SECOND, seconds * SECOND, piece);

	if (sum >= rate * seconds && sum <= rate * seconds + rate / 10 + piece + rate / 1000)
		return true;
	printf("# %llu of %llu\n", (unsigned long long)sum, (unsigned long long)(rate * seconds));
	return false;
}

UNIT_TEST(rates)
{
	CHECK(is_rate(4096, 512, 60));
	CHECK(is_rate(4096, 4096, 60));
	CHECK(is_rate(50 * MIB, 4096, 4));
	CHECK(is_rate(50 * MIB, 17 * MIB, 30));
	CHECK(is_rate(1ULL << 40, 1 << 30, 10));
	CHECK(is_rate(1000003, 7, 2));
}

UNIT_TEST(no_limit)
{
	struct bucket b = { 0 };

	bucket_take(&b, 1, ~0ULL);
	CHECK_EQ(bucket_wait(&b, 1), 0);
}

/* Time that nobody used is not saved. */
UNIT_TEST(after_a_pause)
{
	struct bucket b = { .rate = MIB };

	passes(&b, SECOND, SECOND, 4096);
	CHECK(passes(&b, 1000 * SECOND, SECOND, 4096) <= MIB + MIB / 10 + 8192);
}

UNIT_TEST(a_large_piece)
{
	struct bucket b = { .rate = MIB };

	CHECK_EQ(bucket_wait(&b, SECOND), 0);
	bucket_take(&b, SECOND, 3 * MIB);
	CHECK_EQ(bucket_wait(&b, SECOND), 3 * SECOND - BUCKET_AHEAD);
	CHECK_EQ(bucket_wait(&b, 4 * SECOND - BUCKET_AHEAD), 0);
	/* No sum is too much for it, and none keeps it for ever. */
	bucket_take(&b, SECOND, ~0ULL);
	bucket_take(&b, SECOND, ~0ULL);
	CHECK(bucket_wait(&b, SECOND) <= 3600 * SECOND);
	CHECK(bucket_wait(&b, SECOND) > 3000 * SECOND);
}

static struct bucket shared = { .rate = MIB };

static void *taker(void *arg)
{
	unsigned int i;

	for (i = 0; i < 100000; i++)
		bucket_take(&shared, SECOND, 100);
	return NULL;
}

/* Nothing that one takes is lost to another. */
UNIT_TEST(several_at_once)
{
	uint64_t want = 4 * 100000ULL * (100 * SECOND / MIB);
	pthread_t thread[4];
	unsigned int i;

	for (i = 0; i < 4; i++)
		REQUIRE(!pthread_create(&thread[i], NULL, taker, NULL));
	for (i = 0; i < 4; i++)
		pthread_join(thread[i], NULL);
	CHECK_EQ(bucket_wait(&shared, SECOND), want - BUCKET_AHEAD);
}
