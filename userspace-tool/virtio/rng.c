// SPDX-License-Identifier: GPL-2.0
/* Entropy device (virtio 1.2, 5.4): the host's random numbers. */
#include <stdlib.h>
#include <sys/random.h>

#include "virtio.h"

#define AT_ONCE	4096U	/* bytes of a buffer that are filled, at most: the driver asks again */

enum {
	BYTES,
};

static const char *const counters[] = { [BYTES] = "bytes", NULL };

static uint32_t fill(struct vdev *d, struct vq_chain *c)
{
	uint8_t bytes[256];
	uint32_t done = 0;
	size_t n, len = c->in_bytes < AT_ONCE ? c->in_bytes : AT_ONCE;

	while (done < len) {
		n = len - done < sizeof(bytes) ? len - done : sizeof(bytes);
		if (getrandom(bytes, n, 0) != (ssize_t)n)
			break;
		done += vq_write(c, done, bytes, n);
	}
	atomic_fetch_add(&d->counter[BYTES], done);
	return done;
}

static void rng_work(struct vdev *d, unsigned int worker)
{
	struct vq *q = &d->queue[0].vq;
	struct vq_chain c;

	if (!d->queue[0].enabled)
		return;
	do {
		vq_no_kick(q);
		while (vdev_pop(d, 0, &c))
			vq_push(q, c.head, fill(d, &c));
		vdev_done(d, 0);
	} while (vq_want_kick(q));
}

static void rng_destroy(struct vdev *d)
{
	vdev_exit(d);
	free(d);
}

static const struct vdev_ops ops = {
	.name = "rng", .id = VIRTIO_ID_RNG, .class = 0x00ff00, .counters = counters,
	.work = rng_work, .destroy = rng_destroy,
};

struct vdev *virtio_rng(const struct cleave_mem *mem)
{
	struct vdev *d = calloc(1, sizeof(*d));

	if (!d)
		return NULL;
	d->ops = &ops;
	d->mem = mem;
	d->offered = VDEV_RING_FEATURES;
	d->queues = d->workers = 1;
	if (!vdev_init(d, 64))
		return d;
	rng_destroy(d);
	return NULL;
}
