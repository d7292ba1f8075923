// SPDX-License-Identifier: GPL-2.0
/*
 * Queues that another process serves: vhost-user (QEMU's docs/interop/vhost-user.rst), as the
 * front end. Each message waits for its answer, and for no longer than a limit; a peer that
 * answers something else is not spoken to any more.
 */
#include <errno.h>
#include <linux/vhost.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "vhost.h"

#define LIMIT_MS	5000
#define PROTOCOL_FEATURES 30		/* of features */
#define VERSION		1U		/* of a message's flags */
#define REPLY		4U
#define NEED_REPLY	8U
#define REPLY_ACK	(1ULL << 3)	/* protocol features */
#define REGIONS		8		/* of memory, at most */

enum request {
	GET_FEATURES = 1,
	SET_FEATURES = 2,
	SET_OWNER = 3,
	SET_MEM_TABLE = 5,
	SET_VRING_NUM = 8,
	SET_VRING_ADDR = 9,
	SET_VRING_BASE = 10,
	GET_VRING_BASE = 11,
	SET_VRING_KICK = 12,
	SET_VRING_CALL = 13,
	SET_VRING_ERR = 14,
	GET_PROTOCOL_FEATURES = 15,
	SET_PROTOCOL_FEATURES = 16,
	SET_VRING_ENABLE = 18,
};

struct header {
	uint32_t request, flags, size;
};

struct region {
	uint64_t gpa, size, address, offset;
};

struct table {
	uint32_t count, padding;
	struct region region[REGIONS];
};

struct message {
	struct header head;
	union {
		uint64_t u64;
		struct vhost_vring_state state;
		struct vhost_vring_addr addr;
		struct table table;
	};
} __attribute__((packed));

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

/* ---- messages ------------------------------------------------------------------------------ */

/* The buffer of the socket is empty, as all before was answered: it takes this at once. */
static int send_message(struct vhost *v, const struct message *m, const int *fds, unsigned int n)
{
	union {
		struct cmsghdr head;
		char space[CMSG_SPACE(REGIONS * sizeof(int))];
	} control = { 0 };
	struct iovec iov = { (void *)m, sizeof(m->head) + m->head.size };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t sent;

	if (n) {
		msg.msg_control = &control;
		msg.msg_controllen = CMSG_SPACE(n * sizeof(int));
		control.head = (struct cmsghdr){
			.cmsg_len = CMSG_LEN(n * sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS,
		};
		memcpy(CMSG_DATA(&control.head), fds, n * sizeof(int));
	}
	do
		sent = sendmsg(v->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
	while (sent < 0 && errno == EINTR);
	if (sent < 0)
		return -errno;
	return (size_t)sent == iov.iov_len ? 0 : -EPIPE;
}

/* All of len bytes until then, or -errno. */
static int receive_bytes(struct vhost *v, void *buf, size_t len, int64_t until)
{
	struct pollfd fd = { .fd = v->fd, .events = POLLIN };
	int64_t left;
	ssize_t n;

	while (len) {
		left = until - now_ms();
		if (left <= 0)
			return -ETIMEDOUT;
		if (poll(&fd, 1, left) <= 0)
			continue;
		n = recv(v->fd, buf, len, MSG_DONTWAIT);
		if (!n)
			return -EPIPE;
		if (n < 0 && errno != EINTR && errno != EAGAIN)
			return -errno;
		if (n > 0) {
			buf = (uint8_t *)buf + n;
			len -= n;
		}
	}
	return 0;
}

/* The answer to request, with a payload of that size and no other. */
static int receive_message(struct vhost *v, struct message *m, uint32_t request, uint32_t size)
{
	int64_t until = now_ms() + LIMIT_MS;
	int ret = receive_bytes(v, &m->head, sizeof(m->head), until);

	if (ret)
		return ret;
	if (m->head.request != request || m->head.flags != (VERSION | REPLY) || m->head.size != size)
		return -EPROTO;
	return receive_bytes(v, &m->u64, size, until);
}

/* m's payload is set already; the answer is that it was done. */
static int tell(struct vhost *v, struct message *m, uint32_t request, uint32_t size, const int *fds,
		unsigned int n)
{
	struct message answer;
	int ret;

	m->head = (struct header){ request, VERSION | NEED_REPLY, size };
	ret = send_message(v, m, fds, n);
	if (!ret)
		ret = receive_message(v, &answer, request, sizeof(answer.u64));
	return ret ? ret : answer.u64 ? -EREMOTEIO : 0;
}

static int tell_u64(struct vhost *v, uint32_t request, uint64_t value)
{
	struct message m = { .u64 = value };

	return tell(v, &m, request, sizeof(m.u64), NULL, 0);
}

static int tell_state(struct vhost *v, uint32_t request, unsigned int ring, unsigned int num)
{
	struct message m = { .state = { ring, num } };

	return tell(v, &m, request, sizeof(m.state), NULL, 0);
}

/* An eventfd of a ring; its number is in the low byte. */
static int tell_fd(struct vhost *v, uint32_t request, unsigned int ring, int fd)
{
	struct message m = { .u64 = ring };

	return tell(v, &m, request, sizeof(m.u64), &fd, 1);
}

static int ask_u64(struct vhost *v, uint32_t request, uint64_t *value)
{
	struct message m = { .head = { request, VERSION, 0 } };
	int ret = send_message(v, &m, NULL, 0);

	if (!ret)
		ret = receive_message(v, &m, request, sizeof(m.u64));
	if (!ret)
		*value = m.u64;
	return ret;
}

/* ---- setting up ---------------------------------------------------------------------------- */

static int set_protocol(struct vhost *v)
{
	struct message m = { .head = { SET_PROTOCOL_FEATURES, VERSION, sizeof(m.u64) }, .u64 = REPLY_ACK };
	uint64_t features;
	int ret = ask_u64(v, GET_FEATURES, &features);

	if (!ret && !(features >> PROTOCOL_FEATURES & 1))
		return -EOPNOTSUPP;
	if (!ret)
		ret = ask_u64(v, GET_PROTOCOL_FEATURES, &features);
	if (!ret && !(features & REPLY_ACK))
		return -EOPNOTSUPP;
	return ret ? ret : send_message(v, &m, NULL, 0);
}

static bool is_shared(const struct vhost_shared *s, const void *p)
{
	return (const uint8_t *)p >= s->base && (const uint8_t *)p < s->base + s->size;
}

static int set_memory(struct vhost *v, const struct cleave_mem *mem)
{
	struct message m = { 0 };
	int fds[REGIONS];
	unsigned int i, n = 0;

	for (i = 0; i < mem->count && n < REGIONS; i++) {
		const struct cleave_range *r = &mem->range[i];

		if (!is_shared(&v->shared, r->host))
			continue;
		m.table.region[n] = (struct region){
			r->gpa, r->size, (uintptr_t)r->host, r->host - v->shared.base,
		};
		fds[n++] = v->shared.fd;
	}
	m.table.count = n;
	return tell(v, &m, SET_MEM_TABLE, offsetof(struct table, region) + n * sizeof(struct region), fds, n);
}

int vhost_user_open(struct vhost *v, const struct cleave_mem *mem)
{
	struct message owner = { 0 };
	int ret = set_protocol(v);

	v->more = 1ULL << PROTOCOL_FEATURES;
	if (!ret)
		ret = tell(v, &owner, SET_OWNER, 0, NULL, 0);
	return ret ? ret : set_memory(v, mem);
}

/* ---- struct vhost_ops ------------------------------------------------------------------------ */

static int user_features(struct vhost *v, uint64_t *features)
{
	return ask_u64(v, GET_FEATURES, features);
}

static int user_accept(struct vhost *v, uint64_t features)
{
	return tell_u64(v, SET_FEATURES, features);
}

static int user_give(struct vhost *v, const struct vhost_ring *r)
{
	struct message m = {
		.addr = {
			.index = r->index, .desc_user_addr = (uintptr_t)r->desc,
			.used_user_addr = (uintptr_t)r->used, .avail_user_addr = (uintptr_t)r->avail,
		},
	};
	int ret;

	/* In what the guest only reads: its peer does not have that. */
	if (!is_shared(&v->shared, r->desc) || !is_shared(&v->shared, r->avail) || !is_shared(&v->shared, r->used))
		return -EFAULT;
	ret = tell_state(v, SET_VRING_NUM, r->index, r->size);
	if (!ret)
		ret = tell_state(v, SET_VRING_BASE, r->index, r->base);
	if (!ret)
		ret = tell(v, &m, SET_VRING_ADDR, sizeof(m.addr), NULL, 0);
	if (!ret)
		ret = tell_fd(v, SET_VRING_CALL, r->index, r->call);
	if (!ret)
		ret = tell_fd(v, SET_VRING_ERR, r->index, r->err);
	return ret ? ret : tell_fd(v, SET_VRING_KICK, r->index, r->kick);
}

/* A ring that is taken is not enabled any more. */
static int user_run(struct vhost *v, bool on)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; on && i < v->rings && !ret; i++)
		ret = tell_state(v, SET_VRING_ENABLE, i, 1);
	return ret;
}

static int user_take(struct vhost *v, unsigned int ring, uint16_t *base)
{
	struct message m = {
		.head = { GET_VRING_BASE, VERSION, sizeof(m.state) }, .state = { .index = ring },
	};
	int ret = send_message(v, &m, NULL, 0);

	if (!ret)
		ret = receive_message(v, &m, GET_VRING_BASE, sizeof(m.state));
	if (!ret && (m.state.index != ring || m.state.num > UINT16_MAX))
		ret = -EPROTO;
	if (!ret)
		*base = m.state.num;
	return ret;
}

/* It says nothing that it is not asked. */
static bool user_alive(struct vhost *v)
{
	char c;

	return recv(v->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT) < 0 && (errno == EAGAIN || errno == EINTR);
}

static void user_close(struct vhost *v)
{
	if (v->fd >= 0)
		close(v->fd);
	v->fd = -1;
}

const struct vhost_ops vhost_user = {
	.features = user_features, .accept = user_accept, .give = user_give, .run = user_run,
	.take = user_take, .alive = user_alive, .close = user_close,
};
