// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ring.h"

#define BEING_PUT	64		/* of a ring so much at a time, at most */
#define LOG_MAX		(64U << 20)	/* of a file that is read */

_Static_assert(sizeof(struct ring) == 64, "the header of the file");

void ring_init(struct ring *r, uint64_t size)
{
	memset(r, 0, sizeof(*r));
	memcpy(r->magic, RING_MAGIC, sizeof(RING_MAGIC));
	r->size = size;
}

void ring_put(struct ring *r, struct ring *file, const uint8_t *bytes, size_t n)
{
	uint64_t at, part, total = r->total + n;

	if (n > r->size) {
		bytes += n - r->size;
		n = r->size;
	}
	at = (total - n) % r->size;
	part = n < r->size - at ? n : r->size - at;
	memcpy(r->data + at, bytes, part);
	memcpy(r->data, bytes + part, n - part);
	r->total = total;
	if (!file)
		return;
	memcpy(file->data + at, bytes, part);
	memcpy(file->data, bytes + part, n - part);
	/* Last, so that a process that is killed here has put nothing that is not there. */
	__atomic_store_n(&file->total, total, __ATOMIC_RELEASE);
}

static uint64_t first(const struct ring *r)
{
	uint64_t kept = r->total > r->size ? r->total - r->size : 0;

	return kept > r->from ? kept : r->from;
}

size_t ring_get(const struct ring *r, uint64_t *pos, uint8_t *buf, size_t room, uint64_t *lost)
{
	uint64_t at, part;

	*lost = *pos < first(r) ? first(r) - *pos : 0;
	*pos += *lost;
	if (*pos >= r->total)
		return 0;
	if (room > r->total - *pos)
		room = r->total - *pos;
	at = *pos % r->size;
	part = room < r->size - at ? room : r->size - at;
	memcpy(buf, r->data + at, part);
	memcpy(buf + part, r->data, room - part);
	*pos += room;
	return room;
}

uint64_t ring_tail(const struct ring *r, unsigned int lines)
{
	uint64_t pos = r->total;

	if (!lines)
		return pos;
	/* Behind the newline of the line before them; the last byte ends one, or is of one. */
	while (pos > first(r)) {
		if (pos < r->total && r->data[(pos - 1) % r->size] == '\n' && !--lines)
			break;
		pos--;
	}
	return pos;
}

int ring_create(int dir, const char *name, struct ring **r)
{
	size_t size = sizeof(**r) + RING_DATA;
	int fd, ret;

	*r = NULL;
	if (dir < 0)
		fd = memfd_create("cleave-console", MFD_CLOEXEC);
	else
		fd = openat(dir, name, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	/* All of it now: a page that the file system has no room for later would be SIGBUS. */
	ret = -posix_fallocate(fd, 0, size);
	if (!ret) {
		*r = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		ret = *r == MAP_FAILED ? -errno : 0;
	}
	close(fd);
	if (ret) {
		*r = NULL;
		if (dir >= 0)
			unlinkat(dir, name, 0);
		return ret;
	}
	ring_init(*r, RING_DATA);
	return 0;
}

void ring_close(struct ring *r)
{
	if (r)
		munmap(r, sizeof(*r) + RING_DATA);
}

static int read_whole(int fd, void *to, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = read(fd, (char *)to + done, size - done);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (!n)
			return -EBADMSG;
		if (n > 0)
			done += n;
	}
	return 0;
}

int ring_load(int dir, const char *name, struct ring **r)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC), ret;
	struct ring now;
	struct stat st;

	*r = NULL;
	if (fd < 0)
		return -errno;
	ret = fstat(fd, &st) ? -errno : 0;
	if (!ret && (!S_ISREG(st.st_mode) || st.st_size <= (off_t)sizeof(**r) || st.st_size > LOG_MAX))
		ret = -EBADMSG;
	if (!ret) {
		*r = malloc(st.st_size);
		ret = *r ? read_whole(fd, *r, st.st_size) : -ENOMEM;
	}
	/* What was put meanwhile, and is being put, stands in the place of the oldest. */
	if (!ret && pread(fd, &now, sizeof(now), 0) != sizeof(now))
		ret = -EBADMSG;
	if (!ret && now.total - (*r)->total >= (*r)->size)
		(*r)->from = (*r)->total;
	else if (!ret)
		(*r)->from = now.total > (*r)->size ? now.total - (*r)->size + (*r)->size / BEING_PUT : 0;
	close(fd);
	if (!ret && (memcmp((*r)->magic, RING_MAGIC, sizeof(RING_MAGIC)) ||
		     (*r)->size != st.st_size - sizeof(**r)))
		ret = -EBADMSG;
	if (ret) {
		free(*r);
		*r = NULL;
	}
	return ret;
}
