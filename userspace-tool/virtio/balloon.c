// SPDX-License-Identifier: GPL-2.0
/*
 * Memory balloon (virtio 1.2, 5.5): pages that the guest gives up, or tells that they are
 * free, go back to the host, and come again as zeros when they are touched.
 */
#include <linux/virtio_balloon.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "virtio.h"

#define PAGE		4096ULL
#define QUEUE_SIZE	128
#define AT_ONCE		256	/* page numbers */
#define LONGEST		(4U << 20)	/* bytes of them in a chain; the rest is not looked at */

enum {
	INFLATE, DEFLATE, REPORT,	/* the others are not offered: drivers number those that are */
	QUEUES,
};

enum {
	INFLATED, DEFLATED, REPORTED,
};

static const char *const counters[] = {
	"inflated_bytes", "deflated_bytes", "reported_bytes", NULL
};

struct balloon {
	struct vdev d;
	struct virtio_balloon_config config;
	struct vq_chain chain;
};

static void count(struct balloon *b, unsigned int what, uint64_t n)
{
	atomic_fetch_add_explicit(&b->d.counter[what], n, memory_order_relaxed);
}

/* Pages of this process that lie in a range of the guest's whole. */
static void give_back(void *p, uint64_t len)
{
	uint64_t from = ((uintptr_t)p + PAGE - 1) & ~(PAGE - 1), to = ((uintptr_t)p + len) & ~(PAGE - 1);

	/* The first for memory that another process has, too: it is no other's business else. */
	if (from < to && madvise((void *)from, to - from, MADV_REMOVE))
		madvise((void *)from, to - from, MADV_DONTNEED);
}

/* Numbers of pages, of 4 KiB each; neighbours go together. */
static void inflate(struct balloon *b, const struct vq_chain *c)
{
	uint64_t at, start = 0, end = 0, gpa;
	uint32_t pfn[AT_ONCE];
	size_t n, i;
	void *p;

	for (at = 0; at < LONGEST; at += n * sizeof(pfn[0])) {
		n = vq_read(c, at, pfn, sizeof(pfn)) / sizeof(pfn[0]);
		if (!n)
			break;
		for (i = 0; i < n; i++) {
			gpa = pfn[i] * PAGE;
			if (!cleave_mem_wptr(b->d.mem, gpa, PAGE))
				continue;
			count(b, INFLATED, PAGE);
			if (gpa == end && cleave_mem_wptr(b->d.mem, start, gpa + PAGE - start)) {
				end += PAGE;
				continue;
			}
			p = end ? cleave_mem_wptr(b->d.mem, start, end - start) : NULL;
			if (p)
				give_back(p, end - start);
			start = gpa;
			end = gpa + PAGE;
		}
	}
	p = end ? cleave_mem_wptr(b->d.mem, start, end - start) : NULL;
	if (p)
		give_back(p, end - start);
}

static void deflate(struct balloon *b, const struct vq_chain *c)
{
	count(b, DEFLATED, c->out_bytes / sizeof(uint32_t) * PAGE);
}

/* Ranges of free pages, as buffers to be written; none is used before they are given back. */
static void report(struct balloon *b, const struct vq_chain *c)
{
	unsigned int i;

	for (i = c->out; i < c->out + c->in; i++)
		give_back(c->iov[i].iov_base, c->iov[i].iov_len);
	count(b, REPORTED, c->in_bytes);
}

static void serve(struct balloon *b, unsigned int i, void (*what)(struct balloon *b, const struct vq_chain *c))
{
	struct vq *q = &b->d.queue[i].vq;

	if (!b->d.queue[i].enabled)
		return;
	do {
		vq_no_kick(q);
		while (vdev_pop(&b->d, i, &b->chain)) {
			what(b, &b->chain);
			vq_push(q, b->chain.head, 0);
		}
		vdev_done(&b->d, i);
	} while (vq_want_kick(q));
}

static void balloon_work(struct vdev *d, unsigned int worker)
{
	struct balloon *b = (struct balloon *)d;

	serve(b, INFLATE, inflate);
	serve(b, DEFLATE, deflate);
	serve(b, REPORT, report);
}

static void balloon_write(struct vdev *d, unsigned int offset, const void *data, unsigned int size)
{
	struct balloon *b = (struct balloon *)d;

	if (offset == offsetof(struct virtio_balloon_config, actual) && size == sizeof(b->config.actual))
		memcpy(&b->config.actual, data, size);
}

static void balloon_destroy(struct vdev *d)
{
	vdev_exit(d);
	free(d);
}

static const struct vdev_ops ops = {
	.name = "balloon", .id = VIRTIO_ID_BALLOON, .class = 0x00ff00, .counters = counters,
	.work = balloon_work, .config_write = balloon_write, .destroy = balloon_destroy,
};

struct vdev *virtio_balloon(const struct cleave_mem *mem, uint64_t bytes)
{
	struct balloon *b = calloc(1, sizeof(*b));

	if (!b)
		return NULL;
	b->config.num_pages = bytes / PAGE;
	b->d.ops = &ops;
	b->d.mem = mem;
	b->d.config = &b->config;
	b->d.config_size = offsetof(struct virtio_balloon_config, actual) + sizeof(b->config.actual);
	b->d.offered = VDEV_RING_FEATURES | 1ULL << VIRTIO_BALLOON_F_DEFLATE_ON_OOM |
		       1ULL << VIRTIO_BALLOON_F_REPORTING;
	b->d.queues = QUEUES;
	b->d.workers = 1;
	if (!vdev_init(&b->d, QUEUE_SIZE))
		return &b->d;
	balloon_destroy(&b->d);
	return NULL;
}
