// SPDX-License-Identifier: GPL-2.0
/* /dev/vda, past the page cache, by the kernel's own AIO: which has no thread of its own. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/aio_abi.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "guest.h"

#define DISK	(64U << 20)
#define DEPTH	16
#define LARGE	(128U << 10)

static int fd;
static aio_context_t context;
static uint8_t *buffer[DEPTH];

static bool disk_open(void)
{
	int i;

	for (i = 0; i < 100 && (fd = open("/dev/vda", O_RDWR | O_DIRECT)) < 0; i++)
		usleep(10000);
	if (fd < 0)
		return false;
	if (syscall(SYS_io_setup, DEPTH, &context))
		fail("io_setup");
	for (i = 0; i < DEPTH; i++) {
		buffer[i] = aligned_alloc(4096, LARGE);
		for (unsigned int j = 0; buffer[i] && j < LARGE; j++)
			buffer[i][j] = i + j;
		if (!buffer[i])
			fail("memory");
	}
	return true;
}

static void prepare(const struct row *row, struct iocb *cb, unsigned int slot, unsigned int nr)
{
	unsigned int places = DISK / row->size;

	*cb = (struct iocb){
		.aio_data = slot,
		.aio_lio_opcode = row->flags & ROW_WRITE ? IOCB_CMD_PWRITE : IOCB_CMD_PREAD,
		.aio_fildes = fd,
		.aio_buf = (uintptr_t)buffer[slot],
		.aio_nbytes = row->size,
		.aio_offset = (uint64_t)(row->flags & ROW_SEQUENTIAL ? nr % places : chance(places)) * row->size,
	};
}

/* As many as are done are replaced, all at once. */
static void keep_busy(const struct row *row)
{
	struct io_event events[DEPTH];
	struct iocb cb[DEPTH], *list[DEPTH];
	unsigned int begun = 0, done = 0, n = 0, i;
	long got;

	for (; n < row->depth; n++) {
		prepare(row, &cb[n], n, begun++);
		list[n] = &cb[n];
	}
	while (done < row->operations) {
		if (n && syscall(SYS_io_submit, context, n, list) != n)
			fail("io_submit");
		got = syscall(SYS_io_getevents, context, 1, DEPTH, events, NULL);
		if (got < 1)
			fail("io_getevents");
		done += got;
		for (i = n = 0; i < got; i++) {
			if (events[i].res != row->size)
				fail("I/O");
			if (begun == row->operations)
				continue;
			prepare(row, &cb[events[i].data], events[i].data, begun++);
			list[n++] = &cb[events[i].data];
		}
	}
}

static void one_by_one(const struct row *row)
{
	for (unsigned int i = 0; i < row->operations; i++) {
		struct iocb cb;
		ssize_t got;

		prepare(row, &cb, 0, i);
		got = row->flags & ROW_WRITE ? pwrite(fd, buffer[0], row->size, cb.aio_offset) :
					       pread(fd, buffer[0], row->size, cb.aio_offset);
		if (got != (ssize_t)row->size || (row->flags & ROW_FLUSH && fdatasync(fd)))
			fail("I/O");
	}
}

static void disk_batch(const struct row *row)
{
	if (row->depth > 1)
		keep_busy(row);
	else
		one_by_one(row);
}

static const struct row rows[] = {
	{ "read 4 KiB, random", 64, 4096, 1, 0 },
	{ "write 4 KiB, random", 64, 4096, 1, ROW_WRITE },
	{ "write 4 KiB and flush", 64, 4096, 1, ROW_WRITE | ROW_FLUSH },
	{ "read 4 KiB, random, 16 at once", 256, 4096, DEPTH, 0 },
	{ "write 4 KiB, random, 16 at once", 256, 4096, DEPTH, ROW_WRITE },
	{ "read 128 KiB, sequential", 32, LARGE, 1, ROW_SEQUENTIAL },
	{ "write 128 KiB, sequential", 32, LARGE, 1, ROW_SEQUENTIAL | ROW_WRITE },
};

const struct device disk = { disk_open, disk_batch, rows, sizeof(rows) / sizeof(rows[0]) };
