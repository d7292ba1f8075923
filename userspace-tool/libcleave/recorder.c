// SPDX-License-Identifier: GPL-2.0
/* libcleave: the flight recorder, read while the module writes it. */
#include <string.h>
#include "libcleave.h"

/* Data of the module's: volatile, so that each word is loaded once and now. */
static void copy_record(struct cleave_record *to, const struct cleave_record *from)
{
	const volatile uint64_t *s = (const volatile uint64_t *)from;
	uint64_t words[sizeof(*to) / 8];

	_Static_assert(sizeof(*to) % 8 == 0, "records are whole words");
	for (size_t i = 0; i < sizeof(words) / 8; i++)
		words[i] = s[i];
	memcpy(to, words, sizeof(*to));
}

unsigned int cleave_records(const struct cleave_recorder *rec, struct cleave_record *out,
			    unsigned int max, uint64_t *count)
{
	uint64_t end = __atomic_load_n(&rec->count, __ATOMIC_ACQUIRE), first, valid, i;

	if (max > CLEAVE_RECORDS)
		max = CLEAVE_RECORDS;
	first = end > max ? end - max : 0;
	for (i = first; i < end; i++)
		copy_record(&out[i - first], &rec->records[i % CLEAVE_RECORDS]);
	*count = end;
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	/*
	 * The next record goes where the one before the last 255 was; of a frozen
	 * recorder, too: the exit that was under way writes the rest of its own.
	 */
	valid = __atomic_load_n(&rec->count, __ATOMIC_RELAXED);
	valid = valid < CLEAVE_RECORDS ? 0 : valid - (CLEAVE_RECORDS - 1);
	if (valid <= first)
		return end - first;
	if (valid >= end)
		return 0;
	memmove(out, out + (valid - first), (end - valid) * sizeof(*out));
	return end - valid;
}
