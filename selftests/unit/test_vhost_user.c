// SPDX-License-Identifier: GPL-2.0
/*
 * Queues that another process serves, by a peer of the test's own at the other end of a socket
 * pair: it answers as vhost-user has it, or as it should not; the device goes on waiting for no
 * longer than it says, and tells the driver.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_fs.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"
#include "virtio_driver.h"

#define V1		(1ULL << VIRTIO_F_VERSION_1)
#define EVENT		(1ULL << VIRTIO_RING_F_EVENT_IDX)
#define PROTOCOL	(1ULL << 30)
#define REQUESTS	32

/* As it goes over the socket: numbers of docs/interop/vhost-user.rst. */
struct wire {
	uint32_t request, flags, size;
	union {
		uint64_t u64;
		uint32_t u32[2];
		struct vhost_vring_addr addr;
		uint8_t bytes[300];
	};
} __attribute__((packed));

enum evil {
	GOOD,
	OTHER_REQUEST,		/* is answered */
	NO_REPLY_FLAG,
	OTHER_VERSION,
	TOO_LONG,
	TOO_SHORT,
	HUGE,
	HALF_A_HEADER,		/* and then its end */
	HALF_AN_ANSWER,		/* the same */
	REFUSED,
	SILENT,
	SLOW,			/* a byte a second */
	GONE,
	OTHER_RING,		/* of GET_VRING_BASE */
	HUGE_BASE,
	EVILS,
};

static struct peer {
	pthread_t thread;
	int fd;
	uint32_t at;			/* the request at which it is */
	enum evil evil;
	uint64_t features, protocol;	/* that it offers */
	/* What it has been told. */
	uint64_t accepted, protocol_accepted;
	atomic_uint count[REQUESTS];
	struct wire table;
	uint8_t *ram;			/* by the table's first descriptor */
	struct peer_ring {
		unsigned int num, base, enabled;
		struct vhost_vring_addr addr;
		int kick, call, err;
	} ring[2];
} peer;

/* ---- the peer ------------------------------------------------------------------------------ */

static void answer(const struct wire *m, uint64_t value)
{
	struct wire a = { m->request, 5, 8, { .u64 = value } };
	size_t n = 20, i;

	switch (m->request == peer.at ? peer.evil : GOOD) {
	case OTHER_REQUEST:
		a.request++;
		break;
	case NO_REPLY_FLAG:
		a.flags = 1;
		break;
	case OTHER_VERSION:
		a.flags = 6;
		break;
	case TOO_LONG:
		a.size = 16;
		n = 28;
		break;
	case TOO_SHORT:
		a.size = 4;
		n = 16;
		break;
	case HUGE:
		a.size = 0xffffffff;
		n = sizeof(a);
		break;
	case HALF_A_HEADER:
		n = 5;
		break;
	case HALF_AN_ANSWER:
		n = 15;
		break;
	case REFUSED:
		a.u64 = 1;
		break;
	case SILENT:
		return;
	case SLOW:
		for (i = 0; i < 20; i++) {
			if (send(peer.fd, (uint8_t *)&a + i, 1, MSG_NOSIGNAL) != 1)
				return;
			usleep(400000);
		}
		return;
	case GONE:
		n = 0;
		break;
	case OTHER_RING:
		a.u32[0]++;
		break;
	case HUGE_BASE:
		a.u32[1] = 0x10000;
		break;
	default:
		break;
	}
	if (n && send(peer.fd, &a, n, MSG_NOSIGNAL) != (ssize_t)n)
		return;
	if (m->request == peer.at && (peer.evil == HALF_A_HEADER || peer.evil == HALF_AN_ANSWER || peer.evil == GONE))
		shutdown(peer.fd, SHUT_RDWR);
}

static void obey(const struct wire *m, int fd)
{
	struct peer_ring *r = &peer.ring[m->u32[0] & 1];	/* all begin with it */

	switch (m->request) {
	case 1:
		answer(m, peer.features);
		return;
	case 2:
		peer.accepted = m->u64;
		break;
	case 5:
		peer.table = *m;
		peer.ram = mmap(NULL, D_RAM, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		close(fd);
		break;
	case 8:
		r->num = m->u32[1];
		break;
	case 9:
		r->addr = m->addr;
		break;
	case 10:
		r->base = m->u32[1];
		break;
	case 11:
		answer(m, m->u32[0] | 9ULL << 32);
		return;
	case 12:
		r->kick = fd;
		break;
	case 13:
		r->call = fd;
		break;
	case 14:
		r->err = fd;
		break;
	case 15:
		answer(m, peer.protocol);
		return;
	case 16:
		peer.protocol_accepted = m->u64;
		break;
	case 18:
		r->enabled = m->u32[1];
		break;
	}
	if (m->flags & 8)
		answer(m, 0);
}

/* One message and its first descriptor, or -1. */
static int hear(struct wire *m, int *fd)
{
	char space[CMSG_SPACE(8 * sizeof(int))];
	struct iovec iov = { m, 12 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof(space) };
	struct cmsghdr *c;

	*fd = -1;
	memset(m, 0, sizeof(*m));
	if (recvmsg(peer.fd, &msg, MSG_WAITALL | MSG_CMSG_CLOEXEC) != 12 || m->size > sizeof(m->bytes))
		return -1;
	c = CMSG_FIRSTHDR(&msg);
	if (c)
		memcpy(fd, CMSG_DATA(c), sizeof(*fd));
	return !m->size || recv(peer.fd, m->bytes, m->size, MSG_WAITALL) == m->size ? 0 : -1;
}

static void *peer_main(void *arg)
{
	struct wire m;
	int fd;

	while (!hear(&m, &fd)) {
		CHECK(m.request < REQUESTS && (m.flags & ~8U) == 1);
		atomic_fetch_add(&peer.count[m.request % REQUESTS], 1);
		obey(&m, fd);
	}
	shutdown(peer.fd, SHUT_RDWR);
	return NULL;
}

/* ---- the device ------------------------------------------------------------------------------ */

static atomic_uint deaths;

static void on_death(void *ctx, const char *why)
{
	CHECK(ctx == &peer && why);
	atomic_fetch_add(&deaths, 1);
}

static void meet(uint32_t at, enum evil evil)
{
	memset(&peer, 0, sizeof(peer));
	peer.at = at;
	peer.evil = evil;
	peer.features = V1 | EVENT | PROTOCOL | 1ULL << VHOST_F_LOG_ALL;
	peer.protocol = 0x8c2b;
	atomic_store(&deaths, 0);
}

static struct vdev *make(int *error)
{
	struct vhost_shared shared;
	int fd[2];

	if (!dr.ram_fd)
		dr.ram_fd = memfd_create("ram", MFD_CLOEXEC);
	d_memory();
	shared = (struct vhost_shared){ dr.ram_fd, dr.ram, D_RAM };
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd))
		abort();
	peer.fd = fd[1];
	if (pthread_create(&peer.thread, NULL, peer_main, NULL))
		abort();
	return virtio_fs(&dr.mem, fd[0], &shared, "home", on_death, &peer, error);
}

static void part(void)
{
	unsigned int i;

	pthread_join(peer.thread, NULL);
	close(peer.fd);
	if (peer.ram && peer.ram != MAP_FAILED)
		munmap(peer.ram, D_RAM);
	for (i = 0; i < 2; i++) {
		if (peer.ring[i].kick)
			close(peer.ring[i].kick);
		if (peer.ring[i].call)
			close(peer.ring[i].call);
		if (peer.ring[i].err)
			close(peer.ring[i].err);
	}
}

static void plug(void)
{
	int error = 0;
	struct vdev *d = make(&error);

	CHECK_EQ(error, 0);
	d_plug(d);
}

static void unplug(void)
{
	d_unplug();
	part();
}

static bool within(bool (*what)(void))
{
	unsigned int i;

	for (i = 0; i < 12000 && !what(); i++)
		d_pause();
	return what();
}

/* So often, within seconds: what starts a ring comes behind the last message. */
static bool kicked(int fd)
{
	struct pollfd ready = { .fd = fd, .events = POLLIN };
	uint64_t count;

	return poll(&ready, 1, 12000) == 1 && read(fd, &count, 8) == 8 && count == 1;
}

static bool runs(void)
{
	return atomic_load(&peer.count[18]) == 2;
}

static bool broken(void)
{
	return d_get(0x14, 1) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* As d_start(), of a device that may break at once. */
static void try_start(uint64_t features)
{
	unsigned int i;

	CHECK_EQ(d_negotiate(V1 | features), 0x0b);
	d_msix(3);
	for (i = 0; i < 2; i++)
		d_queue(i);
	d_set(0x14, 1, 0x0f);
}

UNIT_TEST(serves)
{
	uint64_t count;
	uint32_t *region;
	unsigned int i;

	meet(0, GOOD);
	plug();
	CHECK_EQ(d_config(0, 4), 0x105a1af4);
	CHECK(d_get(0x2000, 4) == 0x656d6f68 && !d_get(0x2004, 1) && d_get(0x2024, 4) == 1);
	CHECK_EQ(peer.protocol_accepted, 8);
	region = (uint32_t *)(peer.table.bytes + 8);
	CHECK(peer.table.u32[0] == 1 && peer.table.size == 40 && region[2] == D_RAM && !region[0] && !region[6]);
	d_start(EVENT, 2);
	CHECK(within(runs));
	CHECK(dr.features == (V1 | EVENT) && peer.accepted == (V1 | EVENT | PROTOCOL));
	for (i = 0; i < 2; i++) {
		const struct peer_ring *r = &peer.ring[i];

		CHECK(r->num == D_SIZE && !r->base && r->enabled == 1);
		CHECK(r->addr.desc_user_addr == (uintptr_t)dr.ram + D_RINGS + i * D_STEP);
		/* Both ends of all of them are the device's, and the memory is the guest's. */
		CHECK(kicked(r->kick));
		d_kick(i);
		CHECK(kicked(r->kick));
		atomic_store(&dr.last_data, 0);
		count = 1;
		CHECK_EQ(write(r->call, &count, 8), 8);
		CHECK(d_message(0x41 + i));
	}
	dr.ram[D_DATA] = 0x5a;
	CHECK(peer.ram != MAP_FAILED && peer.ram[D_DATA] == 0x5a);
	d_reset();
	CHECK_EQ(atomic_load(&peer.count[11]), 2);
	d_start(0, 2);
	unplug();
	CHECK(!atomic_load(&deaths));
}

/* Each answer of setting up, in each wrong way. */
UNIT_TEST(answers_wrong_when_it_is_met)
{
	const uint32_t requests[] = { 1, 15, 3, 5 };
	unsigned int i, e;
	int error;

	for (i = 0; i < 4; i++) {
		for (e = OTHER_REQUEST; e <= GONE; e++) {
			/* These two take as long as the limit; once is enough. */
			if (((e == SILENT || e == SLOW) && i != 1) || (e == REFUSED && i < 2))
				continue;
			meet(requests[i], e);
			error = 0;
			if (make(&error))
				unit_fail("request %u, evil %u: taken", requests[i], e);
			CHECK(error < 0);
			part();
		}
	}
}

UNIT_TEST(lacks_what_is_needed)
{
	unsigned int i;
	int error;

	for (i = 0; i < 3; i++) {
		meet(0, GOOD);
		if (i == 0)
			peer.features &= ~PROTOCOL;
		else if (i == 1)
			peer.protocol &= ~8ULL;
		else
			peer.features &= ~V1;
		error = 0;
		CHECK(!make(&error));
		CHECK_EQ(error, -EOPNOTSUPP);
		part();
	}
}

UNIT_TEST(answers_wrong_when_it_starts)
{
	const uint32_t requests[] = { 2, 8, 9, 10, 12, 13, 14, 18 };
	const enum evil evils[] = { OTHER_REQUEST, TOO_LONG, REFUSED, HALF_AN_ANSWER, GONE };
	unsigned int i, e;

	for (i = 0; i < 8; i++) {
		for (e = 0; e < 5; e++) {
			meet(requests[i], evils[e]);
			plug();
			try_start(0);
			CHECK(within(broken));
			CHECK(d_message(0x40) && atomic_load(&deaths) == 1);
			/* Nor does it run afterwards; nor is that said again. */
			d_reset();
			try_start(0);
			CHECK(within(broken));
			CHECK_EQ(atomic_load(&deaths), 1);
			unplug();
		}
	}
}

UNIT_TEST(does_not_give_rings_back)
{
	const enum evil evils[] = { OTHER_REQUEST, TOO_SHORT, GONE, OTHER_RING, HUGE_BASE, SILENT };
	unsigned int e;

	for (e = 0; e < 6; e++) {
		meet(11, evils[e]);
		plug();
		d_start(0, 2);
		CHECK(within(runs));
		d_set(0x14, 1, 0);
		for (int i = 0; i < 12000 && d_get(0x14, 1); i++)
			d_pause();
		CHECK_EQ(d_get(0x14, 1), 0);
		CHECK_EQ(atomic_load(&deaths), 1);
		unplug();
	}
}

/* Killed, or speaking without being asked, while the guest runs. */
UNIT_TEST(dies)
{
	unsigned int i;

	for (i = 0; i < 2; i++) {
		meet(0, GOOD);
		plug();
		d_start(0, 2);
		CHECK(within(runs));
		if (i)
			CHECK_EQ(send(peer.fd, "unasked", 7, MSG_NOSIGNAL), 7);
		else
			shutdown(peer.fd, SHUT_RDWR);
		CHECK(within(broken));
		CHECK(d_message(0x40));
		CHECK_EQ(atomic_load(&deaths), 1);
		d_kick(0);
		d_reset();
		CHECK_EQ(atomic_load(&deaths), 1);
		unplug();
	}
}

/* What only this process has is not told of. */
UNIT_TEST(rings_outside_shared_memory)
{
	static uint8_t rom[8192] __attribute__((aligned(4096)));
	struct vdev *d;
	int error;

	meet(0, GOOD);
	d = make(&error);
	cleave_mem_add(&dr.mem, 0x10000000, sizeof(rom), rom, CLEAVE_MEM_READONLY);
	d_plug(d);
	CHECK_EQ(d_negotiate(V1), 0x0b);
	d_msix(3);
	d_queue(0);
	d_set(0x16, 2, 1);
	d_set(0x20, 4, 0x10000000);
	d_set(0x28, 4, D_RINGS + 0x1000);
	d_set(0x30, 4, D_RINGS + 0x2000);
	d_set(0x1c, 2, 1);
	CHECK_EQ(d_get(0x1c, 2), 1);
	d_set(0x14, 1, 0x0f);
	CHECK(within(broken));
	CHECK(!peer.ring[1].num && !atomic_load(&peer.count[18]));
	unplug();
	dr.mem.count--;
}

/* What the guest gives up is the host's again, though the file that it is of stays. */
UNIT_TEST(balloon_of_shared_memory)
{
	const struct d_part pages = { D_DATA + 0x8000, 4, false };
	struct stat before, after;

	meet(0, GOOD);
	d_memory();
	dr.ram[D_DATA + 0x5000] = 0x5a;
	*(uint32_t *)(dr.ram + pages.gpa) = (D_DATA + 0x5000) >> 12;
	d_plug(virtio_balloon(&dr.mem, 0));
	d_start(0, 2);
	REQUIRE(!fstat(dr.ram_fd, &before));
	d_offer(0, &pages, 1);
	d_kick(0);
	CHECK_EQ(d_wait(0), 0);
	CHECK(!fstat(dr.ram_fd, &after) && after.st_blocks < before.st_blocks);
	CHECK(!dr.ram[D_DATA + 0x5000]);
	d_unplug();
}
