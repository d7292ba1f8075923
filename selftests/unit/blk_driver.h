/* SPDX-License-Identifier: GPL-2.0 */
/* A driver of a disk, for tests: requests, and the file that is the disk. */
#ifndef BLK_DRIVER_H
#define BLK_DRIVER_H

#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <unistd.h>

#include "virtio_driver.h"
#include "block/block.h"

#define FLUSH	(1ULL << VIRTIO_BLK_F_FLUSH)
#define DISK	(4UL << 20)
#define HEADER	0x1000UL	/* in the guest's memory */
#define STATUS	0x1800UL
#define BUFFER	D_DATA

static char path[] = "/tmp/test_blk.XXXXXX";
static bool without_uring;

int __real_io_uring_queue_init(unsigned int entries, void *ring, unsigned int flags);

int __wrap_io_uring_queue_init(unsigned int entries, void *ring, unsigned int flags)
{
	return without_uring ? -ENOSYS : __real_io_uring_queue_init(entries, ring, flags);
}

static struct block *image(bool readonly)
{
	struct block_params p = { path, BLOCK_RAW, readonly, NULL };
	static bool made;
	char err[8192];
	struct block *b;
	int fd;

	if (!made) {
		fd = mkstemp(path);
		made = fd >= 0 && !ftruncate(fd, DISK) && !close(fd);
	}
	if (!made || block_open(&p, &b, err, sizeof(err)))
		abort();
	return b;
}

__attribute__((destructor)) static void clean(void)
{
	unlink(path);
}

static void plug_blk(bool readonly, unsigned int queues)
{
	d_plug(virtio_blk(d_memory(), image(readonly), "serial-17", queues));
}

static void header(uint32_t type, uint64_t sector, unsigned int slot)
{
	struct virtio_blk_outhdr h = { .type = type, .sector = sector };

	memcpy(dr.ram + HEADER + 16 * slot, &h, sizeof(h));
	dr.ram[STATUS + slot] = 0xaa;
}

static void offer(unsigned int queue, uint32_t type, uint64_t sector, uint64_t gpa, uint32_t len,
		  unsigned int slot)
{
	const struct d_part part[] = {
		{ HEADER + 16 * slot, 16, false },
		{ gpa, len, type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID },
		{ STATUS + slot, 1, true },
	};

	header(type, sector, slot);
	if (len)
		d_offer(queue, part, 3);
	else
		d_offer(queue, (const struct d_part[]){ part[0], part[2] }, 2);
}

/* One request, to its end: its status. */
static int request(uint32_t type, uint64_t sector, uint64_t gpa, uint32_t len)
{
	int64_t used;

	offer(0, type, sector, gpa, len, 0);
	d_kick(0);
	used = d_wait(0);
	if (used != 1 + (type == VIRTIO_BLK_T_IN && !dr.ram[STATUS] ? len :
			 type == VIRTIO_BLK_T_GET_ID ? (len < 20 ? len : 20) : 0))
		unit_fail("type %u: used length %lld", type, (long long)used);
	return dr.ram[STATUS];
}

static bool on_disk(uint64_t sector, const void *data, size_t len)
{
	static uint8_t buf[DISK];
	int fd = open(path, O_RDONLY);
	bool same = fd >= 0 && pread(fd, buf, len, sector * 512) == (ssize_t)len && !memcmp(buf, data, len);

	close(fd);
	return same;
}

#endif
