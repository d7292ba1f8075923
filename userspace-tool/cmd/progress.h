/* SPDX-License-Identifier: GPL-2.0 */
/* A line on stderr about what takes more than two seconds, and goes on. */
#ifndef CLEAVE_PROGRESS_H
#define CLEAVE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what;
	uint64_t said;		/* monotonic ms, of the last line, or the begin */
	bool terminal, open;	/* open: the line has no end yet */
};

void progress_begin(struct progress *p, const char *what);
/* Whether it is time to say something. */
bool progress_due(struct progress *p);
void progress_say(struct progress *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool progress_bytes(void *progress, uint64_t done, uint64_t all);	/* true */
void progress_end(struct progress *p);

#endif /* CLEAVE_PROGRESS_H */
