// SPDX-License-Identifier: GPL-2.0
/*
 * Copy on write over an image that is only read. The file, which is sparse: a header; a
 * bit for each block, 1: the block is here; the blocks, each where it is on the disk. A
 * block's bit goes to the file behind its data, by a flush: what was flushed is there
 * whenever the process or the host dies, and what was not is as it was or as it was to be.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block.h"

#define MAGIC		"cleaveov"
#define VERSION		1
#define BLOCK		4096U
#define SIZE_MAX_BYTES	(16ULL << 40)	/* its bits are in memory */
/*
 * A block device's node is new at each boot, and its time says nothing of writes. In place of
 * the time there is a sum of what the disk has at both ends: partition tables, and the super
 * block of a first file system, which Linux writes to when it is mounted.
 */
#define NS_SUM		UINT64_MAX	/* base_ns: base_seconds is that sum */
#define ENDS		(4ULL << 20)

struct header {			/* little-endian */
	char magic[8];
	uint32_t version, block;
	uint64_t size;			/* of the disk */
	uint64_t bits_at, data_at;
	uint64_t base_seconds, base_ns;	/* when the base was written to last; or below */
};

struct overlay {
	struct block b;
	struct block *base;
	int fd;
	uint64_t bits_at, data_at, bits_size;
	pthread_mutex_t lock;		/* what follows; held to write */
	uint8_t *bits;
	uint8_t *dirty;			/* a byte for each BLOCK of bits that the file has not */
	bool unsynced;			/* data, too */
	uint8_t copy[BLOCK];
};

static uint64_t round_up(uint64_t n)
{
	return (n + BLOCK - 1) / BLOCK * BLOCK;
}

static bool is_here(const struct overlay *o, uint64_t block)
{
	return o->bits[block / 8] >> block % 8 & 1;
}

/* Lock held. */
static void set_here(struct overlay *o, uint64_t first, uint64_t count)
{
	uint64_t i;

	for (i = first; i < first + count; i++) {
		if (is_here(o, i))
			continue;
		o->bits[i / 8] |= 1 << i % 8;
		o->dirty[i / 8 / BLOCK] = 1;
	}
}

/* ---- reading ------------------------------------------------------------------------- */

/* From at on, the bytes that are all here, or all in the base. */
static uint64_t run_of(struct overlay *o, uint64_t at, uint64_t len, bool *here)
{
	uint64_t block = at / BLOCK, end;

	pthread_mutex_lock(&o->lock);
	*here = is_here(o, block);
	do
		end = ++block * BLOCK;
	while (end < at + len && is_here(o, block) == *here);
	pthread_mutex_unlock(&o->lock);
	return end < at + len ? end - at : len;
}

static int overlay_read(struct block *b, uint64_t offset, const struct iovec *iov, unsigned int n)
{
	struct overlay *o = (struct overlay *)b;
	uint64_t done = 0;
	struct iovec part;
	size_t len;
	bool here;
	void *p;
	int ret = 0;

	while (!ret && (p = block_at(iov, n, done, &len))) {
		len = run_of(o, offset + done, len, &here);
		part = (struct iovec){ p, len };
		if (here)
			ret = block_pread(o->fd, p, len, o->data_at + offset + done);
		else
			ret = o->base->ops->read(o->base, offset + done, &part, 1);
		done += len;
	}
	return ret;
}

/* ---- writing: lock held ----------------------------------------------------------------- */

/* p NULL: zeros. A part of a block that is not here brings the rest of it along. */
static int write_partial(struct overlay *o, uint64_t at, const void *p, size_t len)
{
	uint64_t block = at / BLOCK, start = block * BLOCK;
	size_t room = o->b.size - start < BLOCK ? o->b.size - start : BLOCK;
	struct iovec iov = { o->copy, room };
	int ret;

	if (is_here(o, block))
		ret = block_pread(o->fd, o->copy, room, o->data_at + start);
	else
		ret = o->base->ops->read(o->base, start, &iov, 1);
	if (ret)
		return ret;
	if (p)
		memcpy(o->copy + (at - start), p, len);
	else
		memset(o->copy + (at - start), 0, len);
	ret = block_pwrite(o->fd, o->copy, room, o->data_at + start);
	if (!ret)
		set_here(o, block, 1);
	return ret;
}

/* How much of len at at is one piece: the rest of a block, or whole blocks. */
static size_t piece(uint64_t at, uint64_t len)
{
	uint64_t in = at % BLOCK;

	if (in || len < BLOCK)
		return BLOCK - in < len ? BLOCK - in : len;
	return len - len % BLOCK;
}

static int overlay_write(struct block *b, uint64_t offset, const struct iovec *iov, unsigned int n)
{
	struct overlay *o = (struct overlay *)b;
	uint64_t done = 0;
	size_t len;
	void *p;
	int ret = 0;

	pthread_mutex_lock(&o->lock);
	o->unsynced = true;
	while (!ret && (p = block_at(iov, n, done, &len))) {
		len = piece(offset + done, len);
		if (len % BLOCK) {
			ret = write_partial(o, offset + done, p, len);
		} else {
			ret = block_pwrite(o->fd, p, len, o->data_at + offset + done);
			if (!ret)
				set_here(o, (offset + done) / BLOCK, len / BLOCK);
		}
		done += len;
	}
	pthread_mutex_unlock(&o->lock);
	return ret;
}

static int overlay_zero(struct block *b, uint64_t offset, uint64_t len, bool unmap)
{
	struct overlay *o = (struct overlay *)b;
	size_t part;
	int ret = 0;

	pthread_mutex_lock(&o->lock);
	o->unsynced = true;
	for (; len && !ret; len -= part, offset += part) {
		part = piece(offset, len);
		if (part % BLOCK) {
			ret = write_partial(o, offset, NULL, part);
		} else {
			ret = block_zero_fd(b, o->fd, o->data_at + offset, part, true);
			if (!ret)
				set_here(o, offset / BLOCK, part / BLOCK);
		}
	}
	pthread_mutex_unlock(&o->lock);
	return ret;
}

/* Of whole blocks; one that is not here stays the base's. */
static int overlay_discard(struct block *b, uint64_t offset, uint64_t len)
{
	struct overlay *o = (struct overlay *)b;
	uint64_t from = round_up(offset), to = (offset + len) / BLOCK * BLOCK;
	int ret = 0;

	pthread_mutex_lock(&o->lock);
	o->unsynced = true;
	if (from < to)
		ret = block_discard_fd(o->fd, o->data_at + from, to - from);
	pthread_mutex_unlock(&o->lock);
	return ret;
}

static int sync_file(struct overlay *o)
{
	return block_synced(&o->b, fdatasync(o->fd) ? -errno : 0);
}

/* Data first; then the bits that say that it is there. */
static int overlay_flush(struct block *b)
{
	struct overlay *o = (struct overlay *)b;
	uint64_t i;
	int ret;

	pthread_mutex_lock(&o->lock);
	ret = o->unsynced ? sync_file(o) : block_synced(b, 0);
	for (i = 0; i < o->bits_size / BLOCK && !ret; i++) {
		if (!o->dirty[i])
			continue;
		ret = block_pwrite(o->fd, o->bits + i * BLOCK, BLOCK, o->bits_at + i * BLOCK);
		o->unsynced = true;
	}
	if (!ret && o->unsynced)
		ret = sync_file(o);
	if (!ret) {
		memset(o->dirty, 0, o->bits_size / BLOCK);
		o->unsynced = false;
	}
	pthread_mutex_unlock(&o->lock);
	return ret;
}

static void overlay_close(struct block *b)
{
	struct overlay *o = (struct overlay *)b;

	o->base->ops->close(o->base);
	pthread_mutex_destroy(&o->lock);
	free(o->bits);
	free(o->dirty);
	close(o->fd);
	free(o);
}

static const struct block_ops ops = {
	.format = "overlay", .read = overlay_read, .write = overlay_write, .flush = overlay_flush,
	.zero = overlay_zero, .discard = overlay_discard, .close = overlay_close,
};

/* ---- opening ------------------------------------------------------------------------------- */

/* FNV-1a, by words. */
static int sum_part(struct block *base, uint64_t at, uint64_t end, uint64_t *sum)
{
	uint64_t words[BLOCK_SECTOR / 8];
	const struct iovec iov = { words, sizeof(words) };
	unsigned int i;
	int ret = 0;

	for (; at < end && !ret; at += BLOCK_SECTOR) {
		ret = base->ops->read(base, at, &iov, 1);
		for (i = 0; i < BLOCK_SECTOR / 8 && !ret; i++)
			*sum = (*sum ^ le64toh(words[i])) * 0x100000001b3ULL;
	}
	return ret;
}

static int sum_ends(struct block *base, uint64_t *sum)
{
	uint64_t first = base->size < ENDS ? base->size : ENDS;
	uint64_t last = base->size - first < ENDS ? first : base->size - ENDS;
	int ret;

	*sum = 0xcbf29ce484222325ULL;
	ret = sum_part(base, 0, first, sum);
	return ret ? ret : sum_part(base, last, base->size, sum);
}

/* fd: the base's file. */
static int layout(struct block *base, int fd, struct header *h)
{
	uint64_t bits = round_up((base->size + BLOCK * 8 - 1) / (BLOCK * 8));
	uint64_t seconds, ns;
	struct stat st;
	int ret = fstat(fd, &st) ? -errno : 0;

	if (ret)
		return ret;
	seconds = st.st_mtim.tv_sec;
	ns = st.st_mtim.tv_nsec;
	if (S_ISBLK(st.st_mode)) {
		ret = sum_ends(base, &seconds);
		ns = NS_SUM;
	}
	*h = (struct header){
		.version = htole32(VERSION), .block = htole32(BLOCK), .size = htole64(base->size),
		.bits_at = htole64(BLOCK), .data_at = htole64(BLOCK + bits),
		.base_seconds = htole64(seconds), .base_ns = htole64(ns),
	};
	memcpy(h->magic, MAGIC, sizeof(h->magic));
	return ret;
}

/* A new file: the header last, so that it has one only when it is whole. */
static int create(int fd, const char *path, const struct header *h, uint64_t size)
{
	int ret = ftruncate(fd, le64toh(h->data_at) + size) ? -errno : block_pwrite(fd, h, sizeof(*h), 0);

	if (!ret && fsync(fd))
		ret = -errno;
	/* Else what is flushed to it may have no name after a power failure. */
	return ret ? ret : block_sync_directory(path);
}

/* Is it an overlay, and of this base? All of a header follows from the base. */
static int check(const struct block_file *f, const struct header *want, const char *base_path, char *err,
		 size_t errlen)
{
	struct header h;

	if (f->size < sizeof(h) || block_pread(f->fd, &h, sizeof(h), 0) || memcmp(h.magic, MAGIC, 8))
		return block_fail(err, errlen, -EINVAL,
				  "%s: is there and no overlay of cleave's; name another file, or one that is not there",
				  f->path);
	if (h.version != want->version || h.block != want->block || h.bits_at != want->bits_at ||
	    h.data_at != want->data_at || h.size != want->size ||
	    f->size < le64toh(want->data_at) + le64toh(want->size))
		return block_fail(err, errlen, -EINVAL,
				  "%s: the overlay of another disk than %s, or cut short; name the one that it was made for",
				  f->path, base_path);
	if (h.base_seconds != want->base_seconds || h.base_ns != want->base_ns)
		return block_fail(err, errlen, -ESTALE,
				  "%s: %s has been written to since this overlay was made, so that the two do not fit; name a new overlay",
				  f->path, base_path);
	return 0;
}

static int open_file(struct block_file *f, const char *path, const struct header *h, const char *base_path,
		     char *err, size_t errlen)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600), ret;

	if (fd >= 0) {
		ret = create(fd, path, h, le64toh(h->size));
		close(fd);
		if (ret) {
			unlink(path);
			return block_fail(err, errlen, ret, "overlay=%s: %s; make room, or name another place",
					  path, strerror(-ret));
		}
	} else if (errno != EEXIST) {
		return block_fail(err, errlen, -errno, "overlay=%s: %s; check the path and its permissions",
				  path, strerror(errno));
	}
	ret = block_open_file(f, path, false, err, errlen);
	if (ret)
		return ret;
	ret = check(f, h, base_path, err, errlen);
	if (ret)
		close(f->fd);
	return ret;
}

static int load(struct overlay *o, const struct header *h)
{
	o->bits_at = le64toh(h->bits_at);
	o->data_at = le64toh(h->data_at);
	o->unsynced = true;		/* what a run that was killed has written may be in memory only */
	o->bits_size = o->data_at - o->bits_at;
	o->bits = malloc(o->bits_size);
	o->dirty = calloc(o->bits_size / BLOCK, 1);
	if (!o->bits || !o->dirty)
		return -ENOMEM;
	return block_pread(o->fd, o->bits, o->bits_size, o->bits_at);
}

int overlay_open(const char *path, struct block *base, const struct block_file *from, struct block **b, char *err,
		 size_t errlen)
{
	struct overlay *o = calloc(1, sizeof(*o));
	struct block_file f = { .fd = -1 };
	const char *base_path = from->path;
	struct header h;
	int ret = o ? layout(base, from->fd, &h) : -ENOMEM;

	*err = 0;
	if (!ret && base->size > SIZE_MAX_BYTES)
		ret = block_fail(err, errlen, -EFBIG, "overlay=%s: the disk is larger than 16 TiB", path);
	if (!ret)
		ret = open_file(&f, path, &h, base_path, err, errlen);
	if (ret) {
		free(o);
		base->ops->close(base);
		return *err ? ret : block_fail(err, errlen, ret, "%s: %s", base_path, strerror(-ret));
	}
	o->b = (struct block){ .ops = &ops, .size = base->size, .raw_fd = -1 };
	o->base = base;
	o->fd = f.fd;
	pthread_mutex_init(&o->lock, NULL);
	ret = load(o, &h);
	if (ret) {
		overlay_close(&o->b);
		return block_fail(err, errlen, ret, "overlay=%s: %s", path, strerror(-ret));
	}
	*b = &o->b;
	return 0;
}
