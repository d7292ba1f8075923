// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store.h"

#define CHUNK	(4U << 20)

struct copy {
	int from, to;
	uint64_t all;
	char *buf;
	bool (*progress)(void *ctx, uint64_t done, uint64_t all);
	void *ctx;
};

static int write_at(int fd, const char *buf, size_t len, uint64_t at)
{
	while (len) {
		ssize_t n = pwrite(fd, buf, len, at);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			buf += n;
			len -= n;
			at += n;
		}
	}
	return 0;
}

static int copy_range(struct copy *c, uint64_t at, uint64_t end)
{
	ssize_t n;
	int ret;

	while (at < end) {
		n = pread(c->from, c->buf, end - at < CHUNK ? end - at : CHUNK, at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;	/* it has become shorter */
		ret = write_at(c->to, c->buf, n, at);
		if (ret)
			return ret;
		at += n;
		if (c->progress && !c->progress(c->ctx, at, c->all))
			return -EINTR;
	}
	return 0;
}

/* Piece by piece of data; a file system that knows no holes has one piece. */
static int copy_data(struct copy *c)
{
	off_t at = 0, data, hole;
	int ret;

	if (ftruncate(c->to, c->all))
		return -errno;
	while ((uint64_t)at < c->all) {
		data = lseek(c->from, at, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			return 0;
		if (data < 0)
			return copy_range(c, at, c->all);
		hole = lseek(c->from, data, SEEK_HOLE);
		if (hole < 0)
			hole = c->all;
		ret = copy_range(c, data, hole);
		if (ret)
			return ret;
		at = hole;
	}
	return 0;
}

int store_copy(const char *from, const char *to, bool (*progress)(void *ctx, uint64_t done, uint64_t all), void *ctx)
{
	struct copy c = { .progress = progress, .ctx = ctx };
	struct stat st;
	int ret = 0;

	c.from = open(from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (c.from < 0)
		return -errno;
	c.to = -1;
	c.buf = malloc(CHUNK);
	if (fstat(c.from, &st))
		ret = -errno;
	else if (!S_ISREG(st.st_mode))
		ret = S_ISDIR(st.st_mode) ? -EISDIR : -EINVAL;
	else if (!c.buf)
		ret = -ENOMEM;
	if (!ret) {
		c.all = st.st_size;
		c.to = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
		ret = c.to < 0 ? -errno : 0;
	}
	/* Where the file system shares blocks, nothing is copied. */
	if (!ret && ioctl(c.to, FICLONE, c.from))
		ret = copy_data(&c);
	if (!ret && fsync(c.to))
		ret = -errno;
	if (c.to >= 0) {
		close(c.to);
		if (ret)
			unlink(to);
	}
	close(c.from);
	free(c.buf);
	return ret;
}
