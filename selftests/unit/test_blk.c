// SPDX-License-Identifier: GPL-2.0
/*
 * A disk's device on a bad day: a host that does not write what is to be flushed, a kernel that
 * takes no requests, and a driver or a machine that ends with all of a ring still to be done.
 */
#include <linux/falloc.h>

#include "unit.h"
#include "blk_driver.h"

#define ZEROES	(1ULL << VIRTIO_BLK_F_WRITE_ZEROES)
#define RANGES	16
#define PIECE	(2UL << 20)

/* ---- the host -------------------------------------------------------------------------- */

static struct {
	atomic_uint refuses, submits;	/* calls of io_uring_submit() that take nothing; all of them */
	atomic_bool no_ranges;		/* fallocate() is not there */
	atomic_uint ranges;		/* its calls otherwise */
	atomic_uint slow;		/* ms that a write takes */
	atomic_bool gate;		/* writes wait while it is closed */
	atomic_uint writes;
	atomic_ulong longest;
} host;

int __real_io_uring_submit(void *ring);
int __real_fallocate(int fd, int mode, off_t offset, off_t len);
ssize_t __real_pwritev(int fd, const struct iovec *iov, int n, off_t offset);

static void pauses(unsigned int ms)
{
	while (ms--)
		d_pause();
}

int __wrap_io_uring_submit(void *ring)
{
	atomic_fetch_add(&host.submits, 1);
	if (!atomic_load(&host.refuses))
		return __real_io_uring_submit(ring);
	atomic_fetch_sub(&host.refuses, 1);
	return -EAGAIN;
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
	unsigned int ms = atomic_load(&host.slow);

	if (!atomic_load(&host.no_ranges)) {
		atomic_fetch_add(&host.ranges, 1);
		pauses(ms);
		return __real_fallocate(fd, mode, offset, len);
	}
	errno = EOPNOTSUPP;
	return -1;
}

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	unsigned int ms = atomic_load(&host.slow);
	unsigned long len = 0;
	int i;

	for (i = 0; i < n; i++)
		len += iov[i].iov_len;
	if (len > atomic_load(&host.longest))
		atomic_store(&host.longest, len);
	atomic_fetch_add(&host.writes, 1);
	for (; ms || atomic_load(&host.gate); ms -= !!ms)
		d_pause();
	return __real_pwritev(fd, iov, n, offset);
}

static void wait_for(atomic_uint *n, unsigned int least)
{
	unsigned int i;

	for (i = 0; i < 5000 && atomic_load(n) < least; i++)
		d_pause();
	CHECK(atomic_load(n) >= least);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

/* ---- a flush that fails ------------------------------------------------------------------ */

static atomic_uint lost;

static void on_lost(const struct block *b, int error)
{
	atomic_fetch_add(&lost, 1);
}

/* No pipe can be flushed. */
static void break_disk(struct block *b, int *file)
{
	int fd[2];

	*file = dup(b->raw_fd);
	if (*file < 0 || pipe(fd) || dup2(fd[1], b->raw_fd) < 0)
		abort();
	close(fd[0]);
	close(fd[1]);
}

static void mend_disk(struct block *b, int file)
{
	if (dup2(file, b->raw_fd) < 0)
		abort();
	close(file);
}

UNIT_TEST(flush_that_failed)
{
	unsigned int way;
	struct block *b;
	int file;

	block_lost = on_lost;
	for (way = 0; way < 2; way++) {
		without_uring = way;
		atomic_store(&lost, 0);
		b = image(false);
		d_plug(virtio_blk(d_memory(), b, "", 2));
		d_start(FLUSH, 2);
		CHECK_EQ(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
		break_disk(b, &file);
		CHECK_EQ(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_IOERR);
		mend_disk(b, file);
		CHECK_EQ(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_IOERR);
		CHECK_EQ(request(VIRTIO_BLK_T_OUT, 0, BUFFER, 512), VIRTIO_BLK_S_OK);
		offer(1, VIRTIO_BLK_T_FLUSH, 0, 0, 0, 1);
		d_kick(1);
		CHECK_EQ(d_wait(1), 1);
		CHECK_EQ(dr.ram[STATUS + 1], VIRTIO_BLK_S_IOERR);
		/* A driver that asks for no flushes has each write flushed; none of them is any more. */
		d_start(0, 2);
		CHECK_EQ(request(VIRTIO_BLK_T_OUT, 0, BUFFER, 512), VIRTIO_BLK_S_IOERR);
		CHECK_EQ(request(VIRTIO_BLK_T_IN, 0, BUFFER, 512), VIRTIO_BLK_S_OK);
		CHECK_EQ(atomic_load(&lost), 1);
		d_unplug();
	}
	without_uring = false;
	block_lost = NULL;
}

/* ---- a kernel that takes nothing ---------------------------------------------------------- */

UNIT_TEST(refused_requests)
{
	unsigned int before;

	plug_blk(false, 1);
	d_start(FLUSH, 1);
	memset(dr.ram + BUFFER, 0x31, 4096);
	atomic_store(&host.refuses, 5);
	CHECK_EQ(request(VIRTIO_BLK_T_OUT, 64, BUFFER, 4096), VIRTIO_BLK_S_OK);
	CHECK(on_disk(64, dr.ram + BUFFER, 4096));
	CHECK_EQ(atomic_load(&host.refuses), 0);
	/* Not as fast as it can. */
	atomic_store(&host.refuses, 1000000);
	before = atomic_load(&host.submits);
	offer(0, VIRTIO_BLK_T_OUT, 128, BUFFER, 4096, 0);
	d_kick(0);
	pauses(200);
	CHECK(atomic_load(&host.submits) > before + 1 && atomic_load(&host.submits) < before + 100);
	/* A reset, and the end, wait for the kernel, and then they are over. */
	d_set(0x14, 1, 0);
	pauses(50);
	atomic_store(&host.refuses, 0);
	d_reset();
	d_start(FLUSH, 1);
	atomic_store(&host.refuses, 20);
	before = atomic_load(&host.submits);
	offer(0, VIRTIO_BLK_T_OUT, 192, BUFFER, 4096, 0);
	d_kick(0);
	wait_for(&host.submits, before + 1);
	d_unplug();
	CHECK_EQ(atomic_load(&host.refuses), 0);
}

/* ---- the end, with much to do ---------------------------------------------------------------- */

static char overlay[64];

static struct block *disk(bool with_overlay)
{
	struct block_params p = { path, BLOCK_RAW, false, overlay };
	char err[8192];
	struct block *b = image(false);

	if (!with_overlay)
		return b;
	b->ops->close(b);
	snprintf(overlay, sizeof(overlay), "%s.overlay", path);
	unlink(overlay);
	if (block_open(&p, &b, err, sizeof(err)))
		abort();
	unlink(overlay);
	return b;
}

/* A ring full of zeroes, or discards, each chain of them the disk 16 times over. */
static void offer_ranges(uint32_t type, atomic_uint *calls)
{
	struct virtio_blk_discard_write_zeroes *range = (void *)(dr.ram + BUFFER);
	unsigned int i;

	for (i = 0; i < RANGES; i++)
		range[i] = (struct virtio_blk_discard_write_zeroes){ .num_sectors = DISK / 512 };
	for (i = 0; i < D_SIZE / 3; i++)
		offer(0, type, 0, BUFFER, RANGES * sizeof(*range), i);
	atomic_store(calls, 0);
	d_kick(0);
	wait_for(calls, 2);
}

UNIT_TEST(end_within_zeroes)
{
	unsigned int way;
	uint64_t since;

	atomic_store(&host.no_ranges, true);
	for (way = 0; way < 2; way++) {
		d_plug(virtio_blk(d_memory(), disk(way), "", 1));
		d_start(FLUSH | ZEROES, 1);
		atomic_store(&host.slow, 2);
		since = now_ms();
		offer_ranges(VIRTIO_BLK_T_WRITE_ZEROES, &host.writes);
		d_reset();
		CHECK(now_ms() - since < 5000);
		/* The reset and the end come between two of the small writes. */
		atomic_store(&host.slow, 500);
		d_start(FLUSH | ZEROES, 1);
		offer_ranges(VIRTIO_BLK_T_WRITE_ZEROES, &host.writes);
		since = now_ms();
		d_unplug();
		CHECK(now_ms() - since < 5000);
		CHECK(atomic_load(&host.writes) <= 8);
		atomic_store(&host.slow, 0);
	}
	atomic_store(&host.no_ranges, false);
}

UNIT_TEST(end_within_discards)
{
	uint64_t since;

	plug_blk(false, 1);
	d_start(FLUSH | 1ULL << VIRTIO_BLK_F_DISCARD, 1);
	atomic_store(&host.slow, 200);
	offer_ranges(VIRTIO_BLK_T_DISCARD, &host.ranges);
	since = now_ms();
	d_reset();
	CHECK(now_ms() - since < 2000);
	d_unplug();
	CHECK(atomic_load(&host.ranges) < RANGES);
	atomic_store(&host.slow, 0);
}

/* A chain of the whole disk: the same 512 KiB eight times. */
static void offer_whole(uint32_t type)
{
	struct d_part part[10];
	unsigned int i;

	header(type, 0, 0);
	part[0] = (struct d_part){ HEADER, 16, false };
	for (i = 1; i < 9; i++)
		part[i] = (struct d_part){ BUFFER, D_RAM - BUFFER, type == VIRTIO_BLK_T_IN };
	part[9] = (struct d_part){ STATUS, 1, true };
	d_offer(0, part, 10);
	d_kick(0);
}

UNIT_TEST(long_requests)
{
	unsigned int way, i;

	for (way = 0; way < 2; way++) {
		without_uring = way;
		plug_blk(false, 1);
		d_start(FLUSH, 1);
		for (i = 0; i < D_RAM - BUFFER; i++)
			dr.ram[BUFFER + i] = i * 13 + i / 4096 + way;
		atomic_store(&host.longest, 0);
		offer_whole(VIRTIO_BLK_T_OUT);
		CHECK_EQ(d_wait(0), 1);
		CHECK_EQ(dr.ram[STATUS], VIRTIO_BLK_S_OK);
		for (i = 0; i < 8; i++)
			CHECK(on_disk(i * (D_RAM - BUFFER) / 512, dr.ram + BUFFER, D_RAM - BUFFER));
		CHECK(!way || atomic_load(&host.longest) == PIECE);
		offer_whole(VIRTIO_BLK_T_IN);
		CHECK_EQ(d_wait(0), DISK + 1);
		CHECK_EQ(dr.ram[STATUS], VIRTIO_BLK_S_OK);
		CHECK(on_disk(0, dr.ram + BUFFER, D_RAM - BUFFER));
		d_unplug();
	}
	without_uring = false;
}

UNIT_TEST(end_within_a_long_request)
{
	unsigned int i;

	without_uring = true;
	plug_blk(false, 1);
	d_start(FLUSH, 1);
	atomic_store(&host.writes, 0);
	atomic_store(&host.gate, true);
	offer_whole(VIRTIO_BLK_T_OUT);
	wait_for(&host.writes, 1);
	for (i = 1; i < 6; i++)
		offer(0, VIRTIO_BLK_T_IN, 0, BUFFER, 4096, i);
	d_set(0x14, 1, 0);
	atomic_store(&host.gate, false);
	d_reset();
	CHECK_EQ(atomic_load(&host.writes), 1);
	CHECK_EQ(atomic_load(&dr.d->queue[0].chains), 1);
	d_unplug();
	without_uring = false;
}

/* What has been done in part is not done to its end: the rest of this one never comes. */
UNIT_TEST(end_within_a_part)
{
	struct block *b = image(false);
	static uint8_t some[8192];
	int fd[2], file = b->raw_fd;
	unsigned int i;

	REQUIRE(!pipe(fd));
	b->raw_fd = fd[0];
	d_plug(virtio_blk(d_memory(), b, "", 1));
	d_start(FLUSH, 1);
	offer(0, VIRTIO_BLK_T_IN, 0, BUFFER, 8192, 0);
	d_kick(0);
	CHECK_EQ(write(fd[1], some, 1024), 1024);
	pauses(50);
	CHECK_EQ(dr.ram[STATUS], 0xaa);		/* it goes on, as it has to */
	d_set(0x14, 1, 0);
	pauses(50);
	CHECK_EQ(write(fd[1], some, 1024), 1024);
	for (i = 0; i < 5000 && d_get(0x14, 1); i++)
		d_pause();
	CHECK_EQ(d_get(0x14, 1), 0);
	CHECK_EQ(dr.ram[STATUS], VIRTIO_BLK_S_IOERR);
	CHECK_EQ(write(fd[1], some, 6144), 6144);
	vdev_stop(dr.d);
	b->raw_fd = file;
	dr.d->ops->destroy(dr.d);
	close(fd[0]);
	close(fd[1]);
}

static atomic_bool floods;

/* The ring is never empty. */
static void *flood(void *arg)
{
	struct vring_avail *a = d_avail(0);

	while (atomic_load(&floods)) {
		uint16_t room = D_SIZE / 2 - (uint16_t)(a->idx - __atomic_load_n(&d_used(0)->idx, __ATOMIC_ACQUIRE));

		if (room <= D_SIZE / 2)
			__atomic_store_n(&a->idx, a->idx + room, __ATOMIC_RELEASE);
	}
	return NULL;
}

UNIT_TEST(end_within_a_flood)
{
	struct block *b = image(false);
	pthread_t thread;
	unsigned int i;

	d_plug(virtio_blk(d_memory(), b, "", 1));
	d_start(FLUSH, 1);
	for (i = 0; i < D_SIZE / 2; i++)
		offer(0, VIRTIO_BLK_T_GET_ID, 0, 0, 0, i);
	d_avail(0)->idx = 0;
	for (i = 0; i < D_SIZE; i++)
		d_avail(0)->ring[i] = i % (D_SIZE / 2) * 2;
	atomic_store(&floods, true);
	REQUIRE(!pthread_create(&thread, NULL, flood, NULL));
	d_kick(0);
	pauses(20);
	d_reset();
	atomic_store(&floods, false);
	pthread_join(thread, NULL);
	d_unplug();
}
