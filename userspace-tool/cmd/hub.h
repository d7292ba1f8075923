/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The console of a guest that no terminal belongs to: what it writes is kept in
 * a ring, from which any number of readers take it, each at its own pace, and
 * what one writer sends comes to it by a pipe. Nobody makes the guest wait.
 */
#ifndef CLEAVE_HUB_H
#define CLEAVE_HUB_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

#include "ring.h"

struct hub {
	pthread_mutex_t lock;		/* ring */
	struct ring *ring;
	struct ring *file;		/* a copy, for those who come when the process has ended */
	int input[2];			/* pipe: to the guest, and what the guest's input comes from */
	atomic_bool hungry;		/* a reader has all there is, and waits */
	void (*wake)(void *ctx);	/* it is to look again */
	void *ctx;
};

/* The ring in dir. 0 or -errno. */
int hub_open(struct hub *h, int dir, const char *name, void (*wake)(void *ctx), void *ctx);
void hub_close(struct hub *h);
/* By any thread; waits for no reader. */
void hub_put(struct hub *h, const void *bytes, size_t n);
/* The same of a process that dies, by a signal's handler: whoever holds the lock. */
void hub_last_words(struct hub *h, const void *bytes, size_t n);
/* As ring_get(). Nothing: the hub wakes when there is more. */
size_t hub_get(struct hub *h, uint64_t *pos, uint8_t *buf, size_t room, uint64_t *lost);
uint64_t hub_tail(struct hub *h, unsigned int lines);
/* How many of the bytes the pipe took, perhaps none. */
size_t hub_input(struct hub *h, const void *bytes, size_t n);
/* A stream whose text goes to the ring, line by line; NULL: no memory. */
FILE *hub_stream(struct hub *h);

#endif /* CLEAVE_HUB_H */
