/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the fuzzers of the tool share: input taken piece by piece, files that are
 * never on a disk, and a broken promise that ends the process as a fault does.
 */
#ifndef SELFTESTS_FUZZ_TOOL_H
#define SELFTESTS_FUZZ_TOOL_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PROMISE(cond) do {							\
	if (!(cond)) {								\
		fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #cond); \
		abort();							\
	}									\
} while (0)

struct input {
	const uint8_t *p;
	size_t left;
};

/* Zeros where there is no more. */
static inline void take(struct input *in, void *buf, size_t len)
{
	size_t n = len < in->left ? len : in->left;

	memset(buf, 0, len);
	if (n)
		memcpy(buf, in->p, n);
	in->p += n;
	in->left -= n;
}

static inline uint8_t take8(struct input *in)
{
	uint8_t v;

	take(in, &v, 1);
	return v;
}

static inline uint64_t take64(struct input *in)
{
	uint64_t v;

	take(in, &v, 8);
	return v;
}

/* A file with that content, whose path is in path[]. */
struct memory_file {
	int fd;
	char path[32];
};

static inline void file_make(struct memory_file *f)
{
	f->fd = memfd_create("fuzz", MFD_CLOEXEC);
	PROMISE(f->fd >= 0);
	snprintf(f->path, sizeof(f->path), "/proc/self/fd/%d", f->fd);
}

static inline void file_set(struct memory_file *f, const void *data, size_t len)
{
	PROMISE(!ftruncate(f->fd, 0));
	PROMISE(!len || pwrite(f->fd, data, len, 0) == (ssize_t)len);
}

/* One line that says something, as every error is. */
static inline void one_line(const char *text, size_t room)
{
	size_t len = strnlen(text, room);

	PROMISE(len && len < room && !memchr(text, '\n', len));
}

#endif
