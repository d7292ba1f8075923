/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Disk images. Functions return 0 or -errno; those that open one say in err what, why
 * and what to do next. An image may be used by several threads at once. Files are
 * hostile input but for raw ones, in which the guest may do as it likes.
 */
#ifndef CLEAVE_BLOCK_H
#define CLEAVE_BLOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define BLOCK_SECTOR	512U

enum block_format {
	BLOCK_ANY,		/* raw, unless it looks like something else: then refused */
	BLOCK_RAW,
	BLOCK_QCOW2,
};

struct block;

struct block_ops {
	const char *format;
	/* All bytes, within the image's size. */
	int (*read)(struct block *b, uint64_t offset, const struct iovec *iov, unsigned int n);
	int (*write)(struct block *b, uint64_t offset, const struct iovec *iov, unsigned int n);
	int (*flush)(struct block *b);	/* what was written before is there after a power failure */
	int (*zero)(struct block *b, uint64_t offset, uint64_t len, bool unmap);
	int (*discard)(struct block *b, uint64_t offset, uint64_t len);
	void (*close)(struct block *b);	/* without a flush */
};

struct block {
	const struct block_ops *ops;
	uint64_t size;			/* bytes, a multiple of BLOCK_SECTOR */
	bool readonly;			/* then write, zero and discard are not called */
	int raw_fd;			/* its bytes are this file's, one by one; or -1 */
	atomic_bool lost;		/* block_synced() */
	const char *path;		/* of the file that is written to */
	/* Or NULL: nobody waits for what is under way any more, and it ends early by -ECANCELED. */
	bool (*unwanted)(void *ctx);
	void *ctx;
};

struct block_params {
	const char *path;		/* as long as the image is there */
	enum block_format format;
	bool readonly;
	const char *overlay;		/* what is written goes there; or NULL. As long, too */
};

int block_open(const struct block_params *p, struct block **b, char *err, size_t errlen);
/*
 * The number of the partition that a GPT says has the root file system, from 1: the first of that
 * type for x86-64, or the only one of Linux's. 0: there is none, or no GPT.
 */
unsigned int gpt_root(struct block *b);
/*
 * What fdatasync() has said, 0 or -errno, of which a flush ends by what is returned. After one
 * that failed the kernel takes the pages for clean that it could not write, and the next one
 * would succeed: so none does any more.
 */
int block_synced(struct block *b, int result);
/* If it is set: the first of them has failed, with that. By any thread. */
extern void (*block_lost)(const struct block *b, int error);

/* ---- between the files here ----------------------------------------------------------- */

struct block_file {
	int fd;
	uint64_t size;
	const char *path;
};

int block_fail(char *err, size_t errlen, int error, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Opens and locks it: one writer, or readers. Files and block devices. */
int block_open_file(struct block_file *f, const char *path, bool readonly, char *err, size_t errlen);
int block_pread(int fd, void *buf, size_t len, uint64_t offset);	/* all of it, or -EIO at the end */
int block_pwrite(int fd, const void *buf, size_t len, uint64_t offset);
int block_preadv(int fd, uint64_t offset, const struct iovec *iov, unsigned int n);
int block_pwritev(int fd, uint64_t offset, const struct iovec *iov, unsigned int n);
int block_zero_fd(struct block *b, int fd, uint64_t offset, uint64_t len, bool unmap);
int block_discard_fd(int fd, uint64_t offset, uint64_t len);
int block_sync_directory(const char *path);	/* that of the file: its name is there after a power failure */
/* Over the whole of iov: where byte at is, and how many follow it there. */
void *block_at(const struct iovec *iov, unsigned int n, uint64_t at, size_t *len);
/* A file that was opened; it is the image's, or closed if that fails. */
int raw_open(struct block_file *f, bool readonly, struct block **b, char *err, size_t errlen);
bool qcow2_is(const struct block_file *f);
int qcow2_open(struct block_file *f, struct block **b, char *err, size_t errlen);
/* base, which was opened from that, is the overlay's, or closed if that fails. */
int overlay_open(const char *path, struct block *base, const struct block_file *from, struct block **b, char *err,
		 size_t errlen);

#endif /* CLEAVE_BLOCK_H */
