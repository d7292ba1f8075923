// SPDX-License-Identifier: GPL-2.0
/*
 * Block device (virtio 1.2, 5.2). Each queue has a thread and an io_uring of its own. What
 * is no plain file under the disk, and a host without io_uring, has the thread itself read
 * and write. What the host has no room for waits until it has, and is tried every second.
 */
#include <errno.h>
#include <linux/virtio_blk.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "../block/block.h"
#include "blk_ring.h"
#include "bucket.h"
#include "virtio.h"

#define QUEUE_SIZE	256
#define SEGMENTS	(QUEUE_SIZE - 2)	/* beside the header and the status */
#define RANGES		16			/* of a discard request */
#define RANGE_SECTORS	(1U << 22)		/* of one of them: 2 GiB */
#define PIECE		(2U << 20)		/* bytes of a request at once: behind it a reset is seen */
#define AGAIN_MS	10			/* the kernel is asked again if it took nothing */
#define COST_MIN	4096			/* bytes that a request costs of a rate */

enum {
	READS, WRITES, FLUSHES, DISCARDS, BYTES_READ, BYTES_WRITTEN, ERRORS, WAITING_FOR_ROOM,
};

static const char *const counters[] = {
	"reads", "writes", "flushes", "discards", "bytes_read", "bytes_written", "errors",
	"waiting_for_room", NULL
};

struct request {
	struct request *next;		/* of those that are free, or held */
	bool held;			/* counted by WAITING_FOR_ROOM */
	uint16_t head;
	uint32_t type;
	uint8_t *status;		/* in the guest's memory */
	uint64_t offset, len, done;
	unsigned int segments;
	struct iovec iov[VQ_SIZE_MAX];	/* the data */
	struct iovec rest[VQ_SIZE_MAX];	/* what is left of it */
	unsigned int ranges;
	struct {
		uint64_t offset, len;
		bool unmap;
	} range[RANGES];
};

struct blk_queue {
	struct io_uring ring;
	bool uring;
	unsigned int in_flight, to_submit;
	struct request *free;
	struct request *held;		/* the host had no room for them */
	int retry;			/* timerfd: they are tried again */
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

static uint64_t rate_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* Zeros cost what they take on the disk at worst, the rest what comes and goes. */
static void pay(struct blk *b, uint64_t len)
{
	if (b->rate)
		bucket_take(b->rate, rate_now(), len > COST_MIN ? len : COST_MIN);
}

/* False: not now; the timer will tell. */
static bool may_begin(struct blk *b, struct blk_queue *q)
{
	uint64_t wait = b->rate ? bucket_wait(b->rate, rate_now()) : 0;
	const struct itimerspec at = { .it_value = { wait / 1000000000, wait % 1000000000 } };

	/* Without its timer, which does not happen, it goes on. */
	q->throttled = wait && !timerfd_settime(q->timer, 0, &at, NULL);
	return !q->throttled;
}

/* ---- the end of a request ------------------------------------------------------------ */

static void forget(struct blk_queue *q, struct request *r)
{
	r->held = false;
	r->next = q->free;
	q->free = r;
}

static void finish(struct blk *b, unsigned int i, struct request *r, int error)
{
	bool in = r->type == VIRTIO_BLK_T_IN || r->type == VIRTIO_BLK_T_GET_ID;

	*r->status = !error ? VIRTIO_BLK_S_OK : error == -EOPNOTSUPP ? VIRTIO_BLK_S_UNSUPP : VIRTIO_BLK_S_IOERR;
	if (error)
		count(b, ERRORS, 1);
	else if (r->type == VIRTIO_BLK_T_IN)
		count(b, BYTES_READ, r->len);
	else if (r->type == VIRTIO_BLK_T_OUT)
		count(b, BYTES_WRITTEN, r->len);
	vq_push(&b->d.queue[i].vq, r->head, 1 + (in && !error ? r->len : 0));
	if (r->held && atomic_fetch_sub(&b->d.counter[WAITING_FOR_ROOM], 1) == 1 && !error)
		vdev_tell(&b->d, VDEV_ROOM);
	forget(b->queue[i], r);
}

/* Or not the end: a guest that is told of an error gives up its file system. */
static void ended(struct blk *b, unsigned int i, struct request *r, int error)
{
	const struct itimerspec second = { .it_value = { .tv_sec = 1 } };
	struct blk_queue *q = b->queue[i];

	if (error != -ENOSPC && error != -EDQUOT) {
		finish(b, i, r, error);
		return;
	}
	if (!q->held)
		timerfd_settime(q->retry, 0, &second, NULL);
	r->next = q->held;
	q->held = r;
	if (!r->held && !atomic_fetch_add(&b->d.counter[WAITING_FOR_ROOM], 1))
		vdev_tell(&b->d, VDEV_NO_ROOM);
	r->held = true;
}

/* ---- by io_uring ----------------------------------------------------------------------- */

static void prepare(struct io_uring_sqe *sqe, bool in, int fd, const struct iovec *iov, unsigned int n,
		    uint64_t offset)
{
	/* Most are of one piece, for which the kernel need not look at an array. */
	if (n == 1 && iov->iov_len <= UINT32_MAX / 2)
		io_uring_prep_rw(in ? IORING_OP_READ : IORING_OP_WRITE, sqe, fd, iov->iov_base, iov->iov_len, offset);
	else
		io_uring_prep_rw(in ? IORING_OP_READV : IORING_OP_WRITEV, sqe, fd, iov, n, offset);
}

/* To rest: how many segments. */
static unsigned int next_piece(struct request *r)
{
	uint64_t len = r->len - r->done;

	return vq_slice(r->iov, r->segments, r->done, len < PIECE ? len : PIECE, r->rest);
}

static void submit(struct blk *b, struct blk_queue *q, struct request *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&q->ring);
	unsigned int n = r->segments;
	struct iovec *iov = r->iov;

	/* There are as many as requests. */
	if (r->done || r->len > PIECE) {
		n = next_piece(r);
		iov = r->rest;
	}
	if (r->type == VIRTIO_BLK_T_FLUSH)
		io_uring_prep_fsync(sqe, b->image->raw_fd, IORING_FSYNC_DATASYNC);
	else
		prepare(sqe, r->type == VIRTIO_BLK_T_IN, b->image->raw_fd, iov, n, r->offset + r->done);
	/* Whoever asks for no flushes has all writes flushed (5.2.6.2). */
	if (r->type == VIRTIO_BLK_T_OUT && !vdev_has(&b->d, VIRTIO_BLK_F_FLUSH))
		sqe->rw_flags = RWF_DSYNC;
	io_uring_sqe_set_data(sqe, r);
	q->in_flight++;
	q->to_submit++;
}

/* What is left to do, unless nobody waits for it any more. */
static void go_on(struct blk *b, unsigned int i, struct request *r)
{
	if (vdev_leaves(&b->d))
		finish(b, i, r, -EIO);
	else
		submit(b, b->queue[i], r);
}

/* A write that is flushed with it may be the one that is told of another's loss. */
static int synced(struct blk *b, const struct request *r, int result)
{
	int ret;

	if (r->type != VIRTIO_BLK_T_OUT || vdev_has(&b->d, VIRTIO_BLK_F_FLUSH))
		return result;
	ret = block_synced(b->image, result == -EIO ? result : 0);
	return ret ? ret : result;
}

static void completed(struct blk *b, unsigned int i, struct request *r, int result)
{
	b->queue[i]->in_flight--;
	if (result == -EINTR || result == -EAGAIN) {
		go_on(b, i, r);
		return;
	}
	if (r->type == VIRTIO_BLK_T_FLUSH) {
		ended(b, i, r, block_synced(b->image, result));
		return;
	}
	result = synced(b, r, result);
	if (result < 0) {
		ended(b, i, r, result);
		return;
	}
	r->done += result;
	if (r->done >= r->len)
		ended(b, i, r, 0);
	else if (!result)	/* the file has become shorter */
		ended(b, i, r, -EIO);
	else
		go_on(b, i, r);
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

/* What the kernel does not take now it takes once others are done, or is asked again. */
static void push_out(struct blk_queue *q)
{
	int n;

	if (!q->to_submit)
		return;
	n = io_uring_submit(&q->ring);
	if (n > 0)
		q->to_submit -= (unsigned int)n < q->to_submit ? (unsigned int)n : q->to_submit;
}

/* It has taken none that there are: nothing tells when it will. */
static bool refused(const struct blk_queue *q)
{
	return q->in_flight && q->in_flight == q->to_submit;
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
	const struct block_ops *image = b->image->ops;
	bool in = r->type == VIRTIO_BLK_T_IN;
	unsigned int n;
	int ret = 0;

	for (; r->done < r->len && !ret; r->done += ret ? 0 : PIECE) {
		if (vdev_leaves(&b->d))
			return -ECANCELED;
		n = next_piece(r);
		ret = in ? image->read(b->image, r->offset + r->done, r->rest, n) :
			   image->write(b->image, r->offset + r->done, r->rest, n);
	}
	return ret || in || vdev_has(&b->d, VIRTIO_BLK_F_FLUSH) ? ret : image->flush(b->image);
}

/* Discard and write zeroes: ranges follow the header. */
static int take_ranges(struct blk *b, struct request *r, const struct vq_chain *c)
{
	struct virtio_blk_discard_write_zeroes range;
	uint64_t at = sizeof(struct virtio_blk_outhdr), bytes = c->out_bytes - at;
	bool zero = r->type == VIRTIO_BLK_T_WRITE_ZEROES;
	int ret = bytes && !(bytes % sizeof(range)) && bytes / sizeof(range) <= RANGES ? 0 : -EIO;

	if (b->image->readonly)
		return -EIO;
	for (r->ranges = 0; !ret && at < c->out_bytes; at += sizeof(range), r->ranges++) {
		uint64_t len;

		if (vdev_leaves(&b->d))
			return -ECANCELED;
		vq_read(c, at, &range, sizeof(range));
		len = (uint64_t)range.num_sectors * BLOCK_SECTOR;
		if (range.flags & ~(zero ? VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP : 0))
			return -EOPNOTSUPP;
		ret = range.num_sectors > RANGE_SECTORS ? -EIO : check_range(b, range.sector, len);
		r->range[r->ranges].offset = range.sector * BLOCK_SECTOR;
		r->range[r->ranges].len = len;
		r->range[r->ranges].unmap = range.flags;
	}
	return ret;
}

static int do_ranges(struct blk *b, struct request *r)
{
	const struct block_ops *image = b->image->ops;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < r->ranges && !ret; i++) {
		if (!r->range[i].len)
			continue;
		if (vdev_leaves(&b->d))
			return -ECANCELED;
		if (r->type == VIRTIO_BLK_T_WRITE_ZEROES && !r->held)
			pay(b, r->range[i].len);
		ret = r->type == VIRTIO_BLK_T_WRITE_ZEROES ?
		      image->zero(b->image, r->range[i].offset, r->range[i].len, r->range[i].unmap) :
		      image->discard(b->image, r->range[i].offset, r->range[i].len);
	}
	if (!ret && !vdev_has(&b->d, VIRTIO_BLK_F_FLUSH))
		ret = image->flush(b->image);
	return ret;
}

/* 1: under way; else what it ends with. */
static int start(struct blk *b, struct blk_queue *q, struct request *r)
{
	if (r->type == VIRTIO_BLK_T_DISCARD || r->type == VIRTIO_BLK_T_WRITE_ZEROES)
		return do_ranges(b, r);
	if (!q->uring)
		return r->type == VIRTIO_BLK_T_FLUSH ? b->image->ops->flush(b->image) : read_write(b, r);
	submit(b, q, r);
	return 1;
}

/* Those that are held, if it is time. */
static void try_again(struct blk *b, unsigned int i)
{
	struct blk_queue *q = b->queue[i];
	struct request *r = q->held, *next;
	uint64_t times;
	int ret;

	if (!r || vdev_leaves(&b->d) || read(q->retry, &times, sizeof(times)) < 0)
		return;
	for (q->held = NULL; r; r = next) {
		next = r->next;
		ret = start(b, q, r);
		if (ret <= 0)
			ended(b, i, r, ret);
	}
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
		ret = take_ranges(b, r, c);
		if (ret)
			return ret;
		break;
	default:
		return -EOPNOTSUPP;
	}
	return start(b, q, r);
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
		ended(b, i, r, ret);
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
		try_again(b, i);
		while (q->free && !vdev_leaves(d) && may_begin(b, q) && vdev_pop(d, i, &q->chain))
			if (!begin(b, i, &q->chain))
				break;
		push_out(q);
		reap(b, i);
		push_out(q);	/* the rest of what was done in part */
		vdev_done(d, i);
	} while (!q->throttled && vq_want_kick(vq) && q->free && !vdev_leaves(d));
}

static unsigned int blk_wait(struct vdev *d, unsigned int i, struct pollfd *fds)
{
	struct blk_queue *q = ((struct blk *)d)->queue[i];
	unsigned int n = 0;

	if (q->uring && refused(q)) {	/* after a while, by what is always ready */
		poll(NULL, 0, AGAIN_MS);
		fds[n++] = (struct pollfd){ .fd = d->worker[i].wake, .events = POLLOUT };
	} else if (q->uring && q->in_flight) {
		fds[n++] = (struct pollfd){ .fd = q->ring.ring_fd, .events = POLLIN };
	}
	if (q->held)
		fds[n++] = (struct pollfd){ .fd = q->retry, .events = POLLIN };
	if (q->throttled)
		fds[n++] = (struct pollfd){ .fd = q->timer, .events = POLLIN };
	return n;
}

/* Who waits for room waits for nothing any more: the driver has been told of no success. */
static void blk_drain(struct vdev *d, unsigned int i)
{
	struct blk *b = (struct blk *)d;
	struct blk_queue *q = b->queue[i];
	struct io_uring_cqe *cqe;
	struct request *r;

	while (q->in_flight) {
		push_out(q);
		if (refused(q))
			poll(NULL, 0, AGAIN_MS);
		else
			io_uring_wait_cqe(&q->ring, &cqe);
		reap(b, i);
	}
	q->throttled = false;
	while ((r = q->held)) {
		q->held = r->next;
		atomic_fetch_sub(&d->counter[WAITING_FOR_ROOM], 1);
		forget(q, r);
	}
}

/* What an overlay has not told its file yet; all queues have ended. */
static void blk_end(struct vdev *d)
{
	struct blk *b = (struct blk *)d;

	if (!b->image->readonly)
		b->image->ops->flush(b->image);
}

/* ---- making one --------------------------------------------------------------------------- */

static void blk_destroy(struct vdev *d)
{
	struct blk *b = (struct blk *)d;
	unsigned int i;

	for (i = 0; i < d->queues; i++) {
		if (b->queue[i] && b->queue[i]->uring)
			io_uring_queue_exit(&b->queue[i]->ring);
		if (b->queue[i] && b->queue[i]->retry >= 0)
			close(b->queue[i]->retry);
		if (b->queue[i] && b->queue[i]->timer >= 0)
			close(b->queue[i]->timer);
		free(b->queue[i]);
	}
	b->image->ops->close(b->image);
	vdev_exit(d);
	free(b);
}

static const struct vdev_ops ops = {
	.name = "blk", .id = VIRTIO_ID_BLOCK, .class = 0x018000, .counters = counters, .work = blk_work,
	.wait = blk_wait, .drain = blk_drain, .end = blk_end, .destroy = blk_destroy,
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

static bool unwanted(void *ctx)
{
	return vdev_leaves(ctx);
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
	q->uring = b->image->raw_fd >= 0 && !blk_ring_init(&q->ring, QUEUE_SIZE);
	q->retry = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	return q->retry >= 0;
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
	image->unwanted = unwanted;
	image->ctx = &b->d;
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
