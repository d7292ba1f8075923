/* SPDX-License-Identifier: GPL-2.0 */
/* Numbers by a seed, the same on each machine. */
#ifndef SELFTESTS_RNG_H
#define SELFTESTS_RNG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static inline uint32_t rng_below(struct rng *r, uint32_t n)
{
	return (uint32_t)rng_next(r) % n;
}

/* One time in n. */
static inline bool rng_once_in(struct rng *r, uint32_t n)
{
	return !rng_below(r, n);
}

static inline void rng_fill(struct rng *r, void *buf, size_t len)
{
	uint8_t *p = buf;

	while (len--)
		*p++ = rng_next(r) >> 24;
}

#define RNG_PICK(r, array)	((array)[rng_below(r, sizeof(array) / sizeof((array)[0]))])

#endif
