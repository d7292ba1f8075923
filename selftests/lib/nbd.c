// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/nbd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include "host.h"
#include "nbd.h"

#define SECTOR	512

/* A sector that was written since the last flush. */
struct pending {
	struct pending *next;
	uint64_t at;
	uint8_t data[SECTOR];
};

struct nbd {
	int dev, kernel, server;	/* the device, the two ends */
	pthread_t device_thread, server_thread;
	size_t size;
	pthread_mutex_t lock;		/* what follows */
	pthread_cond_t cond;
	bool hold, off;
	unsigned long held, flushes;
	uint8_t *now, *durable;		/* as it reads, and as it is without power */
	struct pending *first, **last;
};

/* ---- the server: lock held ------------------------------------------------------------------ */

static void drop(struct nbd *n, bool (*stays)(uint32_t *), uint32_t *seed)
{
	struct pending *p;

	while ((p = n->first)) {
		n->first = p->next;
		if (stays(seed))
			memcpy(n->durable + p->at, p->data, SECTOR);
		free(p);
	}
	n->last = &n->first;
}

static bool all(uint32_t *seed)
{
	return true;
}

static bool some(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed >> 31;
}

static void written(struct nbd *n, uint64_t at, size_t len)
{
	for (; len; len -= SECTOR, at += SECTOR) {
		struct pending *p = malloc(sizeof(*p));

		if (!p)
			DIE("no memory");
		*p = (struct pending){ .at = at };
		memcpy(p->data, n->now + at, SECTOR);
		*n->last = p;
		n->last = &p->next;
	}
}

static void flush(struct nbd *n)
{
	n->flushes++;
	if (!n->off)
		drop(n, all, NULL);
}

/* ---- the server --------------------------------------------------------------------------------- */

static bool receive(int fd, void *buf, size_t len)
{
	return recv(fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

/* Until it is unplugged. */
static void *serve(void *arg)
{
	struct nbd *n = arg;
	struct nbd_request r;

	while (receive(n->server, &r, sizeof(r))) {
		struct nbd_reply reply = { .magic = htobe32(NBD_REPLY_MAGIC) };
		uint32_t type = be32toh(r.type) & 0xffff, len = be32toh(r.len);
		uint64_t at = be64toh(r.from);

		memcpy(reply.handle, r.handle, sizeof(reply.handle));
		if (type == NBD_CMD_DISC)
			break;
		if ((type == NBD_CMD_READ || type == NBD_CMD_WRITE) && (at > n->size || len > n->size - at))
			DIE("nbd: %u bytes at %lu", len, (unsigned long)at);
		if (type == NBD_CMD_WRITE && !receive(n->server, n->now + at, len))
			break;
		pthread_mutex_lock(&n->lock);
		n->held++;
		while (n->hold)
			pthread_cond_wait(&n->cond, &n->lock);
		n->held--;
		if (type == NBD_CMD_WRITE && !n->off)
			written(n, at, len);
		else if (type == NBD_CMD_FLUSH)
			flush(n);
		pthread_mutex_unlock(&n->lock);
		if (send(n->server, &reply, sizeof(reply), MSG_NOSIGNAL) != sizeof(reply) ||
		    (type == NBD_CMD_READ && send(n->server, n->now + at, len, MSG_NOSIGNAL) != len))
			break;
	}
	return NULL;
}

/* The kernel's side, which this thread is lent to. */
static void *device(void *arg)
{
	struct nbd *n = arg;

	ioctl(n->dev, NBD_DO_IT);
	ioctl(n->dev, NBD_CLEAR_SOCK);
	return NULL;
}

static size_t load(struct nbd *n, const char *file)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		DIE("%s", file);
	n->now = malloc(st.st_size);
	n->durable = malloc(st.st_size);
	if (!n->now || !n->durable || pread(fd, n->now, st.st_size, 0) != st.st_size)
		DIE("%s", file);
	memcpy(n->durable, n->now, st.st_size);
	close(fd);
	return st.st_size;
}

struct nbd *nbd_plug(const char *file)
{
	struct nbd *n;
	int pair[2];

	if (host_module_load("nbd", "nbds_max=1 max_part=0") || access("/dev/nbd0", R_OK))
		return NULL;
	n = calloc(1, sizeof(*n));
	pthread_mutex_init(&n->lock, NULL);
	pthread_cond_init(&n->cond, NULL);
	n->last = &n->first;
	n->size = load(n, file);
	MUST(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair));
	n->kernel = pair[0];
	n->server = pair[1];
	n->dev = MUST(open("/dev/nbd0", O_RDWR | O_CLOEXEC));
	MUST(ioctl(n->dev, NBD_SET_BLKSIZE, SECTOR));
	MUST(ioctl(n->dev, NBD_SET_SIZE_BLOCKS, n->size / SECTOR));
	MUST(ioctl(n->dev, NBD_SET_FLAGS, NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH));
	MUST(ioctl(n->dev, NBD_SET_SOCK, n->kernel));
	if (pthread_create(&n->server_thread, NULL, serve, n) || pthread_create(&n->device_thread, NULL, device, n))
		DIE("no thread");
	return n;
}

void nbd_hold(struct nbd *n, bool hold)
{
	pthread_mutex_lock(&n->lock);
	n->hold = hold;
	pthread_cond_broadcast(&n->cond);
	pthread_mutex_unlock(&n->lock);
}

unsigned long nbd_held(struct nbd *n)
{
	unsigned long held;

	pthread_mutex_lock(&n->lock);
	held = n->held;
	pthread_mutex_unlock(&n->lock);
	return held;
}

unsigned long nbd_flushes(struct nbd *n)
{
	unsigned long flushes;

	pthread_mutex_lock(&n->lock);
	flushes = n->flushes;
	pthread_mutex_unlock(&n->lock);
	return flushes;
}

void nbd_cut(struct nbd *n, const char *file, uint32_t seed)
{
	int fd = open(file, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	pthread_mutex_lock(&n->lock);
	n->off = true;
	drop(n, some, &seed);
	pthread_mutex_unlock(&n->lock);
	if (fd < 0 || pwrite(fd, n->durable, n->size, 0) != (ssize_t)n->size || close(fd))
		DIE("%s: no room", file);
}

void nbd_unplug(struct nbd *n)
{
	struct pending *p;

	ioctl(n->dev, NBD_DISCONNECT);
	shutdown(n->server, SHUT_RDWR);
	pthread_join(n->device_thread, NULL);
	pthread_join(n->server_thread, NULL);
	close(n->dev);
	close(n->kernel);
	close(n->server);
	while ((p = n->first)) {
		n->first = p->next;
		free(p);
	}
	free(n->now);
	free(n->durable);
	free(n);
}
