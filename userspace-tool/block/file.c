// SPDX-License-Identifier: GPL-2.0
/* Files that are images, and opening one by its format. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block.h"

#define ZEROS	65536
#define ZERO_RANGE (64U << 20)	/* of a block device the kernel may write them, and is not interrupted */

int block_fail(char *err, size_t errlen, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, errlen, fmt, ap);
	va_end(ap);
	return error;
}

static int file_size(struct block_file *f, char *err, size_t errlen)
{
	struct stat st;

	if (fstat(f->fd, &st))
		return block_fail(err, errlen, -errno, "%s: %s", f->path, strerror(errno));
	f->size = st.st_size;
	if (S_ISREG(st.st_mode))
		return 0;
	if (!S_ISBLK(st.st_mode))
		return block_fail(err, errlen, -EINVAL,
				  "%s: neither a file nor a block device; name one of these", f->path);
	if (ioctl(f->fd, BLKGETSIZE64, &f->size))
		return block_fail(err, errlen, -errno, "%s: its size cannot be told: %s", f->path,
				  strerror(errno));
	return 0;
}

int block_open_file(struct block_file *f, const char *path, bool readonly, char *err, size_t errlen)
{
	int ret;

	f->path = path;
	f->fd = open(path, (readonly ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (f->fd < 0) {
		ret = -errno;
		return block_fail(err, errlen, ret, "%s: %s; %s", path, strerror(-ret), readonly ?
				  "check the path and its permissions" :
				  "check the path and its permissions, or add ro");
	}
	ret = file_size(f, err, errlen);
	/* To open it must not wait; to read it must, or io_uring would tell of EAGAIN. */
	if (!ret && fcntl(f->fd, F_SETFL, 0))
		ret = block_fail(err, errlen, -errno, "%s: %s", path, strerror(errno));
	/* Lasts as long as the file is open: no lock is left behind by who is killed. */
	if (!ret && flock(f->fd, (readonly ? LOCK_SH : LOCK_EX) | LOCK_NB)) {
		ret = errno == EWOULDBLOCK ? -EBUSY : -errno;
		block_fail(err, errlen, ret, "%s: %s", path, ret == -EBUSY ?
			   "another guest uses it; end that one, give both ro, or each an overlay" :
			   strerror(-ret));
	}
	if (ret)
		close(f->fd);
	return ret;
}

/* ---- all bytes, or an error ----------------------------------------------------------- */

int block_pread(int fd, void *buf, size_t len, uint64_t offset)
{
	const struct iovec iov = { buf, len };

	return block_preadv(fd, offset, &iov, 1);
}

int block_pwrite(int fd, const void *buf, size_t len, uint64_t offset)
{
	const struct iovec iov = { (void *)buf, len };

	return block_pwritev(fd, offset, &iov, 1);
}

void *block_at(const struct iovec *iov, unsigned int n, uint64_t at, size_t *len)
{
	for (; n; n--, iov++) {
		if (at < iov->iov_len) {
			*len = iov->iov_len - at;
			return (uint8_t *)iov->iov_base + at;
		}
		at -= iov->iov_len;
	}
	*len = 0;
	return NULL;
}

static int all(int fd, uint64_t offset, const struct iovec *iov, unsigned int n, bool write)
{
	uint64_t done = 0;
	size_t len;
	ssize_t got;
	void *p;

	/* Whole at first; what is left over, if that was cut short, piece by piece. */
	got = write ? pwritev(fd, iov, n, offset) : preadv(fd, iov, n, offset);
	if (got < 0 && errno != EINTR)
		return -errno;
	done = got > 0 ? got : 0;
	while ((p = block_at(iov, n, done, &len))) {
		got = write ? pwrite(fd, p, len, offset + done) : pread(fd, p, len, offset + done);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got ? -errno : -EIO;
		done += got;
	}
	return 0;
}

int block_preadv(int fd, uint64_t offset, const struct iovec *iov, unsigned int n)
{
	return all(fd, offset, iov, n, false);
}

int block_pwritev(int fd, uint64_t offset, const struct iovec *iov, unsigned int n)
{
	return all(fd, offset, iov, n, true);
}

static bool zero_range(int fd, uint64_t offset, uint64_t len, bool unmap)
{
	return (unmap && !fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len)) ||
	       !fallocate(fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset, len);
}

int block_zero_fd(struct block *b, int fd, uint64_t offset, uint64_t len, bool unmap)
{
	static const uint8_t zeros[ZEROS];
	bool ranges = true;
	size_t n;
	int ret;

	for (; len; len -= n, offset += n) {
		if (b->unwanted && b->unwanted(b->ctx))
			return -ECANCELED;
		n = len < ZERO_RANGE ? len : ZERO_RANGE;
		ranges = ranges && zero_range(fd, offset, n, unmap);
		if (ranges)
			continue;
		n = n < ZEROS ? n : ZEROS;
		ret = block_pwrite(fd, zeros, n, offset);
		if (ret)
			return ret;
	}
	return 0;
}

/* Advice: what the file cannot do is no error. */
int block_discard_fd(int fd, uint64_t offset, uint64_t len)
{
	if (!fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, len) ||
	    errno == EOPNOTSUPP || errno == ENOSYS)
		return 0;
	return -errno;
}

/* ---- behind a power failure ------------------------------------------------------------ */

void (*block_lost)(const struct block *b, int error);

int block_synced(struct block *b, int result)
{
	if (result && !atomic_exchange(&b->lost, true) && block_lost)
		block_lost(b, result);
	return atomic_load(&b->lost) ? -EIO : 0;
}

int block_sync_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	char dir[PATH_MAX] = ".";
	int fd, ret;

	if (slash)
		snprintf(dir, sizeof(dir), "%.*s", (int)(slash == path ? 1 : slash - path), path);
	fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* Files may be made in one that may not be read. */
	if (fd < 0)
		return errno == EACCES ? 0 : -errno;
	/* EINVAL: a file system that has nothing to do for it. */
	ret = fsync(fd) && errno != EINVAL ? -errno : 0;
	close(fd);
	return ret;
}

/* ---- by format ------------------------------------------------------------------------- */

static int open_format(struct block_file *f, const struct block_params *p, bool readonly, struct block **b,
		       char *err, size_t errlen)
{
	bool qcow2 = qcow2_is(f);
	int ret = 0;

	if (p->format == BLOCK_ANY && qcow2)
		ret = block_fail(err, errlen, -EINVAL,
				 "%s: looks like a qcow2 image; say which it is: format=qcow2 or format=raw",
				 p->path);
	else if (p->format == BLOCK_QCOW2 && !qcow2)
		ret = block_fail(err, errlen, -EINVAL, "%s: no qcow2 image; leave out format=qcow2", p->path);
	else if (p->format == BLOCK_QCOW2 && !readonly)
		ret = block_fail(err, errlen, -EROFS,
				 "%s: qcow2 images are only read; give ro, or overlay=FILE for what is written",
				 p->path);
	if (ret) {
		close(f->fd);
		return ret;
	}
	return p->format == BLOCK_QCOW2 ? qcow2_open(f, b, err, errlen) :
					  raw_open(f, readonly, b, err, errlen);
}

int block_open(const struct block_params *p, struct block **b, char *err, size_t errlen)
{
	bool readonly = p->readonly || p->overlay || p->format == BLOCK_QCOW2;
	struct block_file f;
	struct block *base;
	int ret = block_open_file(&f, p->path, readonly, err, errlen);

	if (ret)
		return ret;
	ret = open_format(&f, p, p->readonly || p->overlay, &base, err, errlen);
	if (!ret && p->overlay)
		ret = overlay_open(p->overlay, base, &f, &base, err, errlen);
	if (ret)
		return ret;
	base->path = p->overlay ? p->overlay : p->path;
	*b = base;
	return 0;
}
