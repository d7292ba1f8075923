// SPDX-License-Identifier: GPL-2.0
#include "bucket.h"

#define SECOND	1000000000ULL
#define DEBT_MAX	(3600 * SECOND)

uint64_t bucket_wait(struct bucket *b, uint64_t now)
{
	uint64_t paid = atomic_load_explicit(&b->paid, memory_order_relaxed);

	return b->rate && paid > now + BUCKET_AHEAD ? paid - now - BUCKET_AHEAD : 0;
}

void bucket_take(struct bucket *b, uint64_t now, uint64_t units)
{
	uint64_t old = atomic_load_explicit(&b->paid, memory_order_relaxed), paid, cost;

	if (!b->rate)
		return;
	/* Whole seconds apart from their parts, as the product of all is longer than 64 bits. */
	cost = units / b->rate < DEBT_MAX / SECOND ?
	       units / b->rate * SECOND + (uint64_t)((double)(units % b->rate) / b->rate * SECOND) : DEBT_MAX;
	do {
		paid = (old > now ? old : now) + cost;
		if (paid > now + DEBT_MAX)
			paid = now + DEBT_MAX;
	} while (!atomic_compare_exchange_weak_explicit(&b->paid, &old, paid, memory_order_relaxed,
							memory_order_relaxed));
}
