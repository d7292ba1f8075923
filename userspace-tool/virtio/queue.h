/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The device's side of a split virtqueue (virtio 1.2, 2.7). All that the driver
 * writes is hostile: it may change while it is read, so each of its fields is read
 * once and checked before it is used, and a chain is taken over whole before a
 * device sees any of it. A queue belongs to one thread; two threads may have two.
 */
#ifndef CLEAVE_VIRTIO_QUEUE_H
#define CLEAVE_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "../libcleave/libcleave.h"

#define VQ_SIZE_MAX	256	/* entries of a queue, and segments of a chain */

struct vq {
	/* What the driver has set up, while the queue is not enabled. */
	uint64_t desc_gpa, avail_gpa, used_gpa;
	uint16_t size;

	/* The rest is vq_enable()'s and the queue's thread's. */
	const struct cleave_mem *mem;
	const void *desc;		/* host addresses of the three rings */
	const uint16_t *avail;		/* flags, idx, ring[size], used_event */
	uint8_t *used;			/* flags, idx, ring[size], avail_event */
	bool indirect, event_idx;	/* as negotiated */
	bool told_any;			/* told counts */
	uint16_t next_avail, next_used;
	uint16_t told;			/* next_used when the driver was last told */
	const char *broken;		/* the rule that the driver broke: nothing is taken any more */
};

/* A chain of descriptors: what the device reads, then what it writes. */
struct vq_chain {
	uint16_t head;
	unsigned int out, in;		/* segments: iov[0 .. out), iov[out .. out + in) */
	uint64_t out_bytes, in_bytes;
	struct iovec iov[VQ_SIZE_MAX];
};

/*
 * Takes the rings into use; mem does not change while they are. -EINVAL: no size,
 * not aligned, or not in memory that the guest may write.
 */
int vq_enable(struct vq *q, const struct cleave_mem *mem, bool indirect, bool event_idx);
/* 1: a chain; 0: there is none; -EPROTO: the driver broke a rule, q->broken says which. */
int vq_pop(struct vq *q, struct vq_chain *c);
/* Gives a chain back, of which the first written bytes of its last part were written. */
void vq_push(struct vq *q, uint16_t head, uint32_t written);
/* The same for several at once: the driver sees none before vq_show(), and then all. */
void vq_put(struct vq *q, uint16_t head, uint32_t written);
void vq_show(struct vq *q);
/* After vq_push(): does the driver want an interrupt for what it has not been told yet? */
bool vq_interrupts(struct vq *q);
/* Asks for a kick at the next chain; true: one is there already, look again. */
bool vq_want_kick(struct vq *q);
void vq_no_kick(struct vq *q);	/* a hint: kicks may come all the same */

/* Bytes of the first part, from offset on, to buf: how many there were. */
size_t vq_read(const struct vq_chain *c, uint64_t offset, void *buf, size_t len);
/* The same into the second part. */
size_t vq_write(const struct vq_chain *c, uint64_t offset, const void *buf, size_t len);
/* Of n segments, those of len bytes from offset on, to out: how many. */
unsigned int vq_slice(const struct iovec *iov, unsigned int n, uint64_t offset, uint64_t len,
		      struct iovec out[VQ_SIZE_MAX]);

#endif /* CLEAVE_VIRTIO_QUEUE_H */
