/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What a network device is plugged into. Frames come from the guest and go to it; each
 * stands behind a struct virtio_net_hdr_mrg_rxbuf, NET_HEADER bytes. What is in them is
 * hostile.
 */
#ifndef CLEAVE_NET_H
#define CLEAVE_NET_H

#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define NET_HEADER	12
#define NET_FRAME	65562	/* bytes of the longest one, with its header (5.1.6.3.1) */
#define NET_MTU_MIN	128
#define NET_MTU_MAX	65520

/* ---- back ends ------------------------------------------------------------------- */

struct net_backend;

/* By the device's threads: one that sends, one that does the rest; or one if the backend says so. */
struct net_ops {
	const char *name;
	/*
	 * One frame of the guest's, whose header has been checked. Or: -EAGAIN: later, once
	 * fd takes it; -ENODEV: never again; other: it is lost.
	 */
	ssize_t (*send)(struct net_backend *b, const struct iovec *iov, unsigned int n);
	/* The next frame for the guest, as far as there is room: bytes; -EAGAIN: none now; or -ENODEV. */
	ssize_t (*receive)(struct net_backend *b, const struct iovec *iov, unsigned int n);
	/* Or NULL: nothing is offloaded. guest: what it has accepted, 1 << VIRTIO_NET_F_GUEST_*. */
	void (*offload)(struct net_backend *b, uint64_t guest);
	/* Or NULL: poll(), that waits for what is the backend's own, too, and carries it out. */
	int (*poll)(struct net_backend *b, struct pollfd *fds, unsigned int n, int timeout);
	void (*close)(struct net_backend *b);
};

struct net_backend {
	const struct net_ops *ops;
	int fd;			/* to wait for; or -1 */
	bool one_thread;
	uint16_t mtu;		/* that the guest is told; 0: nothing */
};

/*
 * Those that open one: 0 or -errno, and in err what, why and what to do next; or with 0 something
 * to be said all the same, or nothing.
 */

/* An interface of the host's of that name, which is made if it is not there. */
int net_tap(const char *name, uint16_t mtu, struct net_backend **b, char *err, size_t errlen);
/* One that fd is: a TAP device, or a socket for packets; offloads: it has them. NULL: no memory. */
struct net_backend *net_tap_of(int fd, uint16_t mtu, bool offloads);

#define NET_FORWARDS	16

struct net_forward {
	struct in_addr address;		/* of the host's; 0: each */
	uint16_t port, guest_port;
};

/* A network of its own, behind the host's sockets: the guest is 10.0.2.15, the host 10.0.2.2. */
struct net_user {
	uint16_t mtu;			/* 0: 1500 */
	bool restricted;		/* nothing but what is forwarded, and a service */
	bool alone;			/* the host's loopback is not 10.0.2.2 */
	struct in_addr dns;		/* 0: the first one in /etc/resolv.conf */
	unsigned int forwards;
	struct net_forward forward[NET_FORWARDS];
};

int net_user(const struct net_user *u, struct net_backend **b, char *err, size_t errlen);

/* The first IPv4 address that a file like /etc/resolv.conf names, in host order; 0: none. */
uint32_t net_name_server(const char *path);

/* ---- a service inside the tool --------------------------------------------------- */

/*
 * What answers to connections of the guest's to NET_SERVICE_ADDRESS, TCP port
 * NET_SERVICE_PORT; by one thread. TCP is ours: the service sees bytes alone.
 */
#define NET_SERVICE_ADDRESS	0xa9fea9feU	/* 169.254.169.254 */
#define NET_SERVICE_PORT	80
#define NET_SERVICE_ROOM	16384		/* that there is, at least */

struct net_service {
	/* A connection; NULL: it is refused. */
	void *(*open)(void *ctx);
	/*
	 * Bytes of the client's, in order: bytes that it is answered, at most room; <0: it is
	 * closed, once it has been sent what was answered before. After each answer it is
	 * called again with no bytes, once there is room, until it answers none.
	 */
	ssize_t (*input)(void *conn, const void *data, size_t len, void *out, size_t room);
	void (*close)(void *conn);	/* it has ended, whoever has ended it */
	void *ctx;
};

#endif /* CLEAVE_NET_H */
