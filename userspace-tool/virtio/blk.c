// SPDX-License-Identifier: GPL-2.0
/*
 * Block device (virtio 1.2, 5.2). Each queue has a thread and an io_uring of its own. What
 * is no plain file under the disk, and a host without io_uring, has the thread itself read
 * and write.
 */
#include <errno.h>
#include <liburing.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "../block/block.h"
#include "bucket.h"
#include "virtio.h"

#define QUEUE_SIZE	256
#define SEGMENTS	(QUEUE_SIZE - 2)	/* beside the header and the status */
#define RANGES		16			/* of a discard request */
#define RANGE_SECTORS	(1U << 22)		/* of one of them: 2 GiB */
#define COST_MIN	4096			/* bytes that a request costs of a rate */

enum {
	READS, WRITES, FLUSHES, DISCARDS, BYTES_READ, BYTES_WRITTEN, ERRORS,
};

static const char *const counters[] = {
	"reads", "writes", "flushes", "discards", "bytes_read", "bytes_written", "errors", NULL
};

struct request {
	struct request *next;		/* of those that are free */
	uint16_t head;
	uint32_t type;
	uint8_t *status;		/* in the guest's memory */
	uint64_t offset, len, done;
	unsigned int segments;
	struct iovec iov[VQ_SIZE_MAX];	/* the data */
	struct iovec rest[VQ_SIZE_MAX];	/* what is left of it */
};

struct blk_queue {
	struct io_uring ring;
	bool uring;
	unsigned int in_flight, to_submit;
	struct request *free;
	int timer;			/* of one that is throttled; or -1 */
	bool throttled;			/* requests wait for the rate */
	struct request request[QUEUE_SIZE];
	struct vq_chain chain;
};

struct blk {
	struct vdev d;
	struct block *image;
	struct virtio_blk_config config;
	char serial[BLK_SERIAL];
	struct bucket *rate;		/* or NULL */
	struct blk_queue *queue[VDEV_QUEUES];
};

static void count(struct blk *b, unsigned int what, uint64_t n)
{
	atomic_fetch_add_explicit(&b->d.counter[what], n, memory_order_relaxed);
}

/* ---- the rate, of all disks together --------------------------------------------------- */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Zeros cost what they take on the disk at worst, the rest what comes and goes. */
static void pay(struct blk *b, uint64_t len)
{
	if (b->rate)
		bucket_take(b->rate, now_ns(), len > COST_MIN ? len : COST_MIN);
}

/* False: not now; the timer will tell. */
static bool may_begin(struct blk *b, struct blk_queue *q)
{
	uint64_t wait = b->rate ? bucket_wait(b->rate, now_ns()) : 0;
	const struct itimerspec at = { .it_value = { wait / 1000000000, wait % 1000000000 } };

	/* Without its timer, which does not happen, it goes on. */
	q->throttled = wait && !timerfd_settime(q->timer, 0, &at, NULL);
	return !q->throttled;
}

/* ---- the end of a request ------------------------------------------------------------ */

static void finish(struct blk *b, unsigned int i, struct request *r, int error)
{
	struct blk_queue *q = b->queue[i];
	bool in = r->type == VIRTIO_BLK_T_IN || r->type == VIRTIO_BLK_T_GET_ID;

	*r->status = !error ? VIRTIO_BLK_S_OK : error == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
	if (error)
		count(b, ERRORS, 1);
	else if (r->type == VIRTIO_BLK_T_IN)
		count(b, BYTES_READ, r->len);
	else if (r->type == VIRTIO_BLK_T_OUT)
		count(b, BYTES_WRITTEN, r->len);
	vq_push(&b->d.queue[i].vq, r->head, 1 + (in && !error ? r->len : 0));
	r->next = q->free;
	q->free = r;
}

/* ---- by io_uring ----------------------------------------------------------------------- */

static void submit(struct blk *b, struct blk_queue *q, struct request *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);
	unsigned int n = r->segments;
	struct iovec *iov = r->iov;

	/* There are as many as requests. */
	if (r->done) {
		n = vq_slice(r->iov, r->segments, r->done, r->len - r->done, r->rest);
		iov = r->rest;
	}
	if (r->type == VIRTIO_BLK_T_FLUSH)
		io_uring_prep_fsync(sqe, b->image->raw_fd, IORING_FSYNC_DATASYNC);
	else if (r->type == VIRTIO_BLK_T_IN)
		io_uring_prep_readv(sqe, b->image->raw_fd, iov, n, r->offset + r->done);
	else
		io_uring_prep_writev(sqe, b->image->raw_fd, iov, n, r->offset + r->done);
	/* Whoever asks for no flushes has all writes flushed (5.2.6.2). */
	if (r->type == VIRTIO_BLK_T_OUT && !vdev_has(&b->d, VIRTIO_BLK_F_FLUSH))
		sqe->rw_flags = RWF_DSYNC;
	io_uring_sqe_set_data(sqe, r);
	q->in_flight++;
	q->to_submit++;
}

static void completed(struct blk *b, unsigned int i, struct request *r, int result)
{
	struct blk_queue *q = b->queue[i];

	q->in_flight--;
	if (result == -EINTR || result == -EAGAIN) {
		submit(b, q, r);
		return;
	}
	if (result < 0 || r->type == VIRTIO_BLK_T_FLUSH) {
		finish(b, i, r, result);
		return;
	}
	r->done += result;
	if (r->done >= r->len)
		finish(b, i, r, 0);
	else if (!result)	/* the file has become shorter */
		finish(b, i, r, -EIO);
	else
		submit(b, q, r);
}

static void reap(struct blk *b, unsigned int i)
{
	struct blk_queue *q = b->queue[i];
	struct io_uring_cqe *cqe;

	while (q->uring && !io_uring_peek_cqe(&q->ring, &cqe)) {
		struct request *r = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&q->ring, cqe);
		completed(b, i, r, result);
	}
}

/* What the kernel does not take now it takes once others are done. */
static void push_out(struct blk_queue *q)
{
	int n;

	if (!q->to_submit)
		return;
	n = io_uring_submit(&q->ring);
	if (n > 0)
		q->to_submit -= (unsigned int)n < q->to_submit ? (unsigned int)n : q->to_submit;
}

/* ---- requests ---------------------------------------------------------------------------- */

static int check_range(const struct blk *b, uint64_t sector, uint64_t len)
{
	if (len % BLOCK_SECTOR || sector > b->image->size / BLOCK_SECTOR ||
	    len > b->image->size - sector * BLOCK_SECTOR)
		return -EIO;
	return 0;
}

static int read_write(struct blk *b, struct request *r)
{
	int ret;

	if (r->type == VIRTIO_BLK_T_IN)
		return b->image->ops->read(b->image, r->offset, r->iov, r->segments);
	ret = b->image->ops->write(b->image, r->offset, r->iov, r->segments);
	return ret || vdev_has(&b->d, VIRTIO_BLK_F_FLUSH) ? ret : b->image->ops->flush(b->image);
}

/* Discard and write zeroes: ranges follow the header. */
static int ranges(struct blk *b, struct request *r, const struct vq_chain *c)
{
	struct virtio_blk_discard_write_zeroes range;
	uint64_t at = sizeof(struct virtio_blk_outhdr), bytes = c->out_bytes - at;
	bool zero = r->type == VIRTIO_BLK_T_WRITE_ZEROES;
	int ret = bytes && !(bytes % sizeof(range)) && bytes / sizeof(range) <= RANGES ? 0 : -EIO;

	if (b->image->readonly)
		return -EIO;
	for (; !ret && at < c->out_bytes; at += sizeof(range)) {
		uint64_t len;

		vq_read(c, at, &range, sizeof(range));
		len = (uint64_t)range.num_sectors * BLOCK_SECTOR;
		if (range.flags & ~(zero ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0))
			return -EOPNOTSUPP;
		ret = range.num_sectors > RANGE_SECTORS ? -EIO : check_range(b, range.sector, len);
		if (ret || !len)
			continue;
		if (zero)
			pay(b, len);
		ret = zero ? b->image->ops->zero(b->image, range.sector * BLOCK_SECTOR, len, range.flags) :
			     b->image->ops->discard(b->image, range.sector * BLOCK_SECTOR, len);
	}
	if (!ret && !vdev_has(&b->d, VIRTIO_BLK_F_FLUSH))
		ret = b->image->ops->flush(b->image);
	return ret;
}

/* 1: under way; else what it ends with. */
static int carry_out(struct blk *b, struct blk_queue *q, struct request *r, const struct vq_chain *c,
		     uint64_t sector)
{
	bool in = r->type == VIRTIO_BLK_T_IN;
	int ret;

	switch (r->type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		count(b, in ? READS : WRITES, 1);
		r->len = in ? c->in_bytes - 1 : c->out_bytes - sizeof(struct virtio_blk_outhdr);
		ret = check_range(b, sector, r->len);
		if (ret || (!in && b->image->readonly))
			return -EIO;
		r->offset = sector * BLOCK_SECTOR;
		r->segments = in ? vq_slice(c->iov + c->out, c->in, 0, r->len, r->iov) :
				   vq_slice(c->iov, c->out, sizeof(struct virtio_blk_outhdr), r->len, r->iov);
		if (!r->len)
			return 0;
		break;
	case VIRTIO_BLK_T_FLUSH:
		count(b, FLUSHES, 1);
		if (b->image->readonly)
			return 0;
		break;
	case VIRTIO_BLK_T_GET_ID:
		r->len = vq_write(c, 0, b->serial, c->in_bytes - 1 < BLK_SERIAL ? c->in_bytes - 1 : BLK_SERIAL);
		return 0;
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		count(b, DISCARDS, 1);
		return ranges(b, r, c);
	default:
		return -EOPNOTSUPP;
	}
	if (q->uring) {
		submit(b, q, r);
		return 1;
	}
	return r->type == VIRTIO_BLK_T_FLUSH ? b->image->ops->flush(b->image) : read_write(b, r);
}

/* False: it is no request. */
static bool begin(struct blk *b, unsigned int i, const struct vq_chain *c)
{
	struct blk_queue *q = b->queue[i];
	struct virtio_blk_outhdr h;
	struct request *r = q->free;
	size_t len;
	int ret;

	if (c->out_bytes < sizeof(h) || !c->in_bytes) {
		vdev_broken_queue(&b->d, i, "a request without a header or a status byte (5.2.6)");
		return false;
	}
	vq_read(c, 0, &h, sizeof(h));
	q->free = r->next;
	r->head = c->head;
	r->type = h.type;
	r->len = r->done = 0;
	r->status = block_at(c->iov + c->out, c->in, c->in_bytes - 1, &len);
	ret = carry_out(b, q, r, c, h.sector);
	pay(b, r->len);
	if (ret <= 0)
		finish(b, i, r, ret);
	return true;
}

static void blk_work(struct vdev *d, unsigned int i)
{
	struct blk *b = (struct blk *)d;
	struct blk_queue *q = b->queue[i];
	struct vq *vq = &d->queue[i].vq;

	if (!d->queue[i].enabled)
		return;
	do {
		vq_no_kick(vq);
		reap(b, i);
		while (q->free && may_begin(b, q) && vdev_pop(d, i, &q->chain))
			if (!begin(b, i, &q->chain))
				break;
		push_out(q);
		reap(b, i);
		push_out(q);	/* the rest of what was done in part */
		vdev_done(d, i);
	} while (!q->throttled && vq_want_kick(vq) && q->free);
}

static unsigned int blk_wait(struct vdev *d, unsigned int i, struct pollfd *fds)
{
	struct blk_queue *q = ((struct blk *)d)->queue[i];
	unsigned int n = 0;

	if (q->uring && q->in_flight)
		fds[n++] = (struct pollfd){ .fd = q->ring.ring_fd, .events = POLLIN };
	if (q->throttled)
		fds[n++] = (struct pollfd){ .fd = q->timer, .events = POLLIN };
	return n;
}

static void blk_drain(struct vdev *d, unsigned int i)
{
	struct blk *b = (struct blk *)d;
	struct blk_queue *q = b->queue[i];
	struct io_uring_cqe *cqe;

	while (q->in_flight) {
		push_out(q);
		io_uring_wait_cqe(&q->ring, &cqe);
		reap(b, i);
	}
}

/* ---- making one --------------------------------------------------------------------------- */

static void blk_destroy(struct vdev *d)
{
	struct blk *b = (struct blk *)d;
	unsigned int i;

	for (i = 0; i < d->queues; i++) {
		if (b->queue[i] && b->queue[i]->uring)
			io_uring_queue_exit(&b->queue[i]->ring);
		if (b->queue[i] && b->queue[i]->timer >= 0)
			close(b->queue[i]->timer);
		free(b->queue[i]);
	}
	if (!b->image->readonly)
		b->image->ops->flush(b->image);
	b->image->ops->close(b->image);
	vdev_exit(d);
	free(b);
}

static const struct vdev_ops ops = {
	.name = "blk", .id = VIRTIO_ID_BLOCK, .class = 0x018000, .counters = counters, .work = blk_work,
	.wait = blk_wait, .drain = blk_drain, .destroy = blk_destroy,
};

static void describe(struct blk *b, unsigned int queues)
{
	b->config.capacity = b->image->size / BLOCK_SECTOR;
	b->config.seg_max = SEGMENTS;
	b->config.blk_size = BLOCK_SECTOR;
	b->config.physical_block_exp = 3;	/* 4 KiB: what files are written by */
	b->config.num_queues = queues;
	b->d.offered = VDEV_RING_FEATURES | 1ULL << VIRTIO_BLK_F_SEG_MAX | 1ULL << VIRTIO_BLK_F_BLK_SIZE |
		       1ULL << VIRTIO_BLK_F_TOPOLOGY | 1ULL << VIRTIO_BLK_F_FLUSH | 1ULL << VIRTIO_BLK_F_MQ;
	if (b->image->readonly) {
		b->d.offered |= 1ULL << VIRTIO_BLK_F_RO;
		return;
	}
	b->d.offered |= 1ULL << VIRTIO_BLK_F_DISCARD | 1ULL << VIRTIO_BLK_F_WRITE_ZEROES;
	b->config.max_discard_sectors = b->config.max_write_zeroes_sectors = RANGE_SECTORS;
	b->config.max_discard_seg = b->config.max_write_zeroes_seg = RANGES;
	b->config.discard_sector_alignment = 8;
	b->config.write_zeroes_may_unmap = 1;
}

static bool make_queue(struct blk *b, unsigned int i)
{
	struct blk_queue *q = b->queue[i] = calloc(1, sizeof(*q));
	unsigned int j;

	if (!q)
		return false;
	q->timer = -1;
	for (j = 0; j < QUEUE_SIZE; j++) {
		q->request[j].next = q->free;
		q->free = &q->request[j];
	}
	q->uring = b->image->raw_fd >= 0 && !io_uring_queue_init(QUEUE_SIZE, &q->ring, 0);
	return true;
}

struct vdev *virtio_blk(const struct cleave_mem *mem, struct block *image, const char *serial,
			unsigned int queues)
{
	struct blk *b = calloc(1, sizeof(*b));
	bool made = true;
	unsigned int i;

	if (!b) {
		image->ops->close(image);
		return NULL;
	}
	b->image = image;
	memcpy(b->serial, serial, strnlen(serial, BLK_SERIAL));
	b->d.ops = &ops;
	b->d.mem = mem;
	b->d.config = &b->config;
	b->d.config_size = sizeof(b->config);
	b->d.queues = b->d.workers = queues;
	describe(b, queues);
	made = !vdev_init(&b->d, QUEUE_SIZE);
	for (i = 0; i < queues; i++)
		made = made && make_queue(b, i);
	if (made)
		return &b->d;
	blk_destroy(&b->d);
	return NULL;
}

int virtio_blk_rate(struct vdev *d, struct bucket *rate)
{
	struct blk *b = (struct blk *)d;
	unsigned int i;

	for (i = 0; i < d->queues; i++) {
		b->queue[i]->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
		if (b->queue[i]->timer < 0)
			return -errno;
	}
	b->rate = rate;
	return 0;
}
