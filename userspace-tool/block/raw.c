// SPDX-License-Identifier: GPL-2.0
/* A file or block device whose bytes are the disk's. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "block.h"

static int raw_read(struct block *b, uint64_t offset, const struct iovec *iov, unsigned int n)
{
	return block_preadv(b->raw_fd, offset, iov, n);
}

static int raw_write(struct block *b, uint64_t offset, const struct iovec *iov, unsigned int n)
{
	return block_pwritev(b->raw_fd, offset, iov, n);
}

static int raw_flush(struct block *b)
{
	return block_synced(b, fdatasync(b->raw_fd) ? -errno : 0);
}

static int raw_zero(struct block *b, uint64_t offset, uint64_t len, bool unmap)
{
	return block_zero_fd(b, b->raw_fd, offset, len, unmap);
}

static int raw_discard(struct block *b, uint64_t offset, uint64_t len)
{
	return block_discard_fd(b->raw_fd, offset, len);
}

static void raw_close(struct block *b)
{
	close(b->raw_fd);
	free(b);
}

static const struct block_ops ops = {
	.format = "raw", .read = raw_read, .write = raw_write, .flush = raw_flush,
	.zero = raw_zero, .discard = raw_discard, .close = raw_close,
};

int raw_open(struct block_file *f, bool readonly, struct block **b, char *err, size_t errlen)
{
	struct block *raw;
	int ret = 0;

	if (!f->size || f->size % BLOCK_SECTOR)
		ret = block_fail(err, errlen, -EINVAL,
				 "%s: %llu bytes are no whole sectors of %u; `truncate -s %%%u %s` appends what is missing",
				 f->path, (unsigned long long)f->size, BLOCK_SECTOR, BLOCK_SECTOR, f->path);
	raw = ret ? NULL : malloc(sizeof(*raw));
	if (!raw) {
		close(f->fd);
		return ret ? ret : block_fail(err, errlen, -ENOMEM, "%s: the host is out of memory", f->path);
	}
	*raw = (struct block){ .ops = &ops, .size = f->size, .readonly = readonly, .raw_fd = f->fd };
	*b = raw;
	return 0;
}
