// SPDX-License-Identifier: GPL-2.0
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "progress.h"

#define EVERY_MS	2000

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void progress_begin(struct progress *p, const char *what)
{
	*p = (struct progress){ .what = what, .said = now_ms(), .terminal = isatty(STDERR_FILENO) };
}

bool progress_due(struct progress *p)
{
	return now_ms() - p->said >= EVERY_MS;
}

/* On a terminal in the place of the line before. */
void progress_say(struct progress *p, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "%scleave: %s: %s%s", p->terminal ? "\r\033[K" : "", p->what, text, p->terminal ? "" : "\n");
	fflush(stderr);
	p->open = p->terminal;
	p->said = now_ms();
}

bool progress_bytes(void *progress, uint64_t done, uint64_t all)
{
	struct progress *p = progress;

	if (progress_due(p))
		progress_say(p, "%" PRIu64 " of %" PRIu64 " MiB", done >> 20, all >> 20);
	return true;
}

void progress_end(struct progress *p)
{
	if (p->open)
		fputc('\n', stderr);
	p->open = false;
}
