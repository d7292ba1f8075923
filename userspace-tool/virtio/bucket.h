/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A rate that several threads share: what is taken is paid for by time. It may be taken
 * ahead by BUCKET_AHEAD, so that few wait for little; a piece that is larger than that
 * passes whole, and the next waits the longer.
 */
#ifndef CLEAVE_BUCKET_H
#define CLEAVE_BUCKET_H

#include <stdatomic.h>
#include <stdint.h>

#define BUCKET_AHEAD	100000000ULL	/* ns */

struct bucket {
	uint64_t rate;			/* units a second; 0: no limit */
	_Atomic uint64_t paid;		/* ns: until when time has been taken */
};

/* How many ns from now on until something may be taken; 0: it may be now. */
uint64_t bucket_wait(struct bucket *b, uint64_t now);
void bucket_take(struct bucket *b, uint64_t now, uint64_t units);

#endif /* CLEAVE_BUCKET_H */
