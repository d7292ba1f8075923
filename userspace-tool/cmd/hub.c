// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "hub.h"

int hub_open(struct hub *h, int dir, const char *name, void (*wake)(void *ctx), void *ctx)
{
	int ret;

	memset(h, 0, sizeof(*h));
	h->wake = wake;
	h->ctx = ctx;
	if (pipe2(h->input, O_CLOEXEC | O_NONBLOCK))
		return -errno;
	h->ring = calloc(1, sizeof(*h->ring) + RING_DATA);
	ret = h->ring ? ring_create(dir, name, &h->file) : -ENOMEM;
	if (ret) {
		free(h->ring);
		close(h->input[0]);
		close(h->input[1]);
		return ret;
	}
	ring_init(h->ring, RING_DATA);
	pthread_mutex_init(&h->lock, NULL);
	return 0;
}

void hub_close(struct hub *h)
{
	close(h->input[0]);
	close(h->input[1]);
	ring_close(h->file);
	free(h->ring);
	pthread_mutex_destroy(&h->lock);
}

void hub_put(struct hub *h, const void *bytes, size_t n)
{
	pthread_mutex_lock(&h->lock);
	ring_put(h->ring, h->file, bytes, n);
	pthread_mutex_unlock(&h->lock);
	if (atomic_load(&h->hungry) && atomic_exchange(&h->hungry, false))
		h->wake(h->ctx);
}

void hub_last_words(struct hub *h, const void *bytes, size_t n)
{
	/* Its holder may be this thread; a byte that another puts beside it is lost at worst. */
	pthread_mutex_trylock(&h->lock);
	ring_put(h->ring, h->file, bytes, n);
}

size_t hub_get(struct hub *h, uint64_t *pos, uint8_t *buf, size_t room, uint64_t *lost)
{
	size_t n;

	/* Before it looks: what is put behind its back wakes it. */
	atomic_store(&h->hungry, true);
	pthread_mutex_lock(&h->lock);
	n = ring_get(h->ring, pos, buf, room, lost);
	pthread_mutex_unlock(&h->lock);
	return n;
}

uint64_t hub_tail(struct hub *h, unsigned int lines)
{
	uint64_t pos;

	pthread_mutex_lock(&h->lock);
	pos = ring_tail(h->ring, lines);
	pthread_mutex_unlock(&h->lock);
	return pos;
}

size_t hub_input(struct hub *h, const void *bytes, size_t n)
{
	ssize_t done = write(h->input[1], bytes, n);

	return done > 0 ? done : 0;
}

static ssize_t stream_write(void *hub, const char *text, size_t n)
{
	hub_put(hub, text, n);
	return n;
}

FILE *hub_stream(struct hub *h)
{
	FILE *f = fopencookie(h, "w", (cookie_io_functions_t){ .write = stream_write });

	if (f)
		setvbuf(f, NULL, _IOLBF, BUFSIZ);
	return f;
}
