// SPDX-License-Identifier: GPL-2.0
/*
 * A network behind the host's sockets, by libslirp: without rights. IPv4 alone. The name server
 * of that network is the host's by another address, which is put in and out here: libslirp
 * would look for it in a file, which the sandbox does not open.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <slirp/libslirp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "net.h"
#include "rewrite.h"

#define NETWORK		0x0a000200U	/* 10.0.2.0/24 */
#define HOST		(NETWORK + 2)
#define NAME_SERVER	(NETWORK + 3)
#define GUEST		(NETWORK + 15)
#define DNS_PORT	53
#define DHCP_PORT	67
#define WAITING		(1U << 20)	/* bytes of frames that the guest has no room for */

struct frame {
	struct frame *next;
	size_t len;
	uint8_t data[];
};

struct user {
	struct net_backend b;
	Slirp *slirp;
	bool alone;			/* net_user.alone */
	uint32_t dns;
	struct frame *first, **last;
	size_t waiting;
	struct pollfd *fds;
	unsigned int count, size;
	unsigned int sockets, limit;
	/* By protocol and port of the guest's: it asks the name server by that address of ours. */
	uint8_t asks[2][65536 / 8];
	uint8_t frame[NET_FRAME];
};

/* ---- from the guest ------------------------------------------------------------------- */

static bool to_name_server(struct user *u, struct ipv4 *ip)
{
	uint8_t *asks = &u->asks[ip->protocol == IPPROTO_TCP][ip->from_port / 8], bit = 1 << ip->from_port % 8;

	if (ip->to == u->dns)
		*asks &= ~bit;
	if (ip->to != NAME_SERVER)
		return true;
	if (!u->dns || ip->to_port != DNS_PORT)
		return false;
	*asks |= bit;
	ipv4_set_to(ip, u->dns);
	return true;
}

/*
 * What libslirp gets: nothing that it would send to the host's own addresses unasked; and no
 * fragments, as 4.7 writes to where they say when it puts those together that overlap.
 */
static bool passes(struct user *u, uint8_t *frame, size_t len)
{
	uint16_t type = ethernet_type(frame, len);
	struct ipv4 ip;

	if (type == ETHERNET_ARP)
		return true;
	if (type != ETHERNET_IPV4 || !ipv4_parse(frame, len, &ip) || ip.fragment ||
	    ip.to >> 24 == 127 || !(ip.to >> 24))
		return false;
	/* To libslirp the host's loopback, but for DHCP, which is its own. */
	if (ip.to == 0xffffffff && !(ip.protocol == IPPROTO_UDP && ip.to_port == DHCP_PORT))
		return false;
	/* What is no question for a connection answers one, which came by hostfwd=. */
	if (u->alone && (ip.to & 0xffffff00) == NETWORK && ip.to != NAME_SERVER &&
	    (ip.syn || (ip.protocol == IPPROTO_UDP && ip.to_port != DHCP_PORT)))
		return false;
	/* The tool needs files, too: to be stopped, for example. */
	if (u->sockets >= u->limit && (ip.protocol != IPPROTO_TCP || ip.syn))
		return false;
	return (ip.protocol != IPPROTO_TCP && ip.protocol != IPPROTO_UDP) || to_name_server(u, &ip);
}

static ssize_t user_send(struct net_backend *b, const struct iovec *iov, unsigned int n)
{
	struct user *u = (struct user *)b;
	size_t len = 0;

	for (; n; n--, iov++) {
		if (iov->iov_len > sizeof(u->frame) - len)
			return -EMSGSIZE;
		memcpy(u->frame + len, iov->iov_base, iov->iov_len);
		len += iov->iov_len;
	}
	if (!passes(u, u->frame + NET_HEADER, len - NET_HEADER))
		return -EPERM;
	slirp_input(u->slirp, u->frame + NET_HEADER, len - NET_HEADER);
	return len;
}

/* ---- to the guest ----------------------------------------------------------------------- */

static void from_name_server(struct user *u, uint8_t *frame, size_t len)
{
	struct ipv4 ip;

	if (!u->dns || !ipv4_parse(frame, len, &ip) || ip.from != u->dns || ip.from_port != DNS_PORT)
		return;
	if (u->asks[ip.protocol == IPPROTO_TCP][ip.to_port / 8] >> ip.to_port % 8 & 1)
		ipv4_set_from(&ip, NAME_SERVER);
}

/* What has no room is lost, as on a wire. */
static ssize_t on_packet(const void *data, size_t len, void *opaque)
{
	struct user *u = opaque;
	struct frame *f;

	if (len > NET_FRAME - NET_HEADER || u->waiting + len > WAITING)
		return len;
	f = malloc(sizeof(*f) + len);
	if (!f)
		return len;
	memcpy(f->data, data, len);
	from_name_server(u, f->data, len);
	f->len = len;
	f->next = NULL;
	*u->last = f;
	u->last = &f->next;
	u->waiting += len;
	return len;
}

static size_t spread(const struct iovec *iov, unsigned int n, const uint8_t *data, size_t len, size_t offset)
{
	size_t done = 0, part;

	for (; n && done < len; n--, iov++) {
		if (offset >= iov->iov_len) {
			offset -= iov->iov_len;
			continue;
		}
		part = iov->iov_len - offset < len - done ? iov->iov_len - offset : len - done;
		memcpy((uint8_t *)iov->iov_base + offset, data + done, part);
		offset = 0;
		done += part;
	}
	return done;
}

static ssize_t user_receive(struct net_backend *b, const struct iovec *iov, unsigned int n)
{
	static const uint8_t header[NET_HEADER];
	struct user *u = (struct user *)b;
	struct frame *f = u->first;
	size_t len;

	if (!f)
		return -EAGAIN;
	len = spread(iov, n, header, sizeof(header), 0);
	len += spread(iov, n, f->data, f->len, sizeof(header));
	u->waiting -= f->len;
	u->first = f->next;
	if (!u->first)
		u->last = &u->first;
	free(f);
	return len;
}

/* ---- sockets ----------------------------------------------------------------------------- */

static int add_poll(int fd, int events, void *opaque)
{
	struct user *u = opaque;
	struct pollfd *more;

	if (u->count == u->size) {
		more = realloc(u->fds, 2 * u->size * sizeof(*more));
		if (!more)
			return -1;
		u->fds = more;
		u->size *= 2;
	}
	u->fds[u->count] = (struct pollfd){
		.fd = fd,
		.events = (events & SLIRP_POLL_IN ? POLLIN : 0) | (events & SLIRP_POLL_OUT ? POLLOUT : 0) |
			  (events & SLIRP_POLL_PRI ? POLLPRI : 0),
	};
	return u->count++;
}

static int get_revents(int i, void *opaque)
{
	struct user *u = opaque;
	short r = i < 0 ? 0 : u->fds[i].revents;

	return (r & POLLIN ? SLIRP_POLL_IN : 0) | (r & POLLOUT ? SLIRP_POLL_OUT : 0) |
	       (r & POLLPRI ? SLIRP_POLL_PRI : 0) | (r & POLLERR ? SLIRP_POLL_ERR : 0) |
	       (r & POLLHUP ? SLIRP_POLL_HUP : 0);
}

static int user_poll(struct net_backend *b, struct pollfd *fds, unsigned int n, int timeout)
{
	struct user *u = (struct user *)b;
	uint32_t ms = timeout < 0 ? UINT32_MAX : (uint32_t)timeout;
	unsigned int i;
	int ret;

	u->count = 0;
	for (i = 0; i < n; i++) {
		if (add_poll(fds[i].fd, 0, u) < 0)
			return -1;
		u->fds[i].events = fds[i].events;
	}
	slirp_pollfds_fill(u->slirp, &ms, add_poll, u);
	u->sockets = u->count - n;
	ret = poll(u->fds, u->count, ms > INT32_MAX ? -1 : (int)ms);
	for (i = 0; i < n; i++)
		fds[i].revents = u->fds[i].revents;
	slirp_pollfds_poll(u->slirp, ret < 0, get_revents, u);
	return ret;
}

static int64_t on_clock(void *opaque)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Guests err; the device's counters show what was not sent. */
static void on_guest_error(const char *text, void *opaque)
{
}

/* All are polled, each time. */
static void on_fd(int fd, void *opaque)
{
}

static void on_notify(void *opaque)
{
}

/* ---- making one ------------------------------------------------------------------------------ */

static void user_close(struct net_backend *b)
{
	struct user *u = (struct user *)b;
	struct frame *f;

	if (u->slirp)
		slirp_cleanup(u->slirp);
	while ((f = u->first)) {
		u->first = f->next;
		free(f);
	}
	free(u->fds);
	free(u);
}

static const struct net_ops ops = {
	.name = "user", .send = user_send, .receive = user_receive, .poll = user_poll, .close = user_close,
};

/* No timers: they are IPv6's. */
static const SlirpCb callbacks = {
	.send_packet = on_packet, .guest_error = on_guest_error, .clock_get_ns = on_clock,
	.register_poll_fd = on_fd, .unregister_poll_fd = on_fd, .notify = on_notify,
};

uint32_t net_name_server(const char *path)
{
	FILE *f = fopen(path, "re");
	char line[256], word[64];
	struct in_addr a = { 0 };
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "nameserver %63s", word) == 1 && inet_pton(AF_INET, word, &a) == 1;
	if (f)
		fclose(f);
	return found ? ntohl(a.s_addr) : 0;
}

static int forward(struct user *u, const struct net_forward *f, char *err, size_t errlen)
{
	char address[INET_ADDRSTRLEN];
	int error;

	if (!slirp_add_hostfwd(u->slirp, 0, f->address, f->port, (struct in_addr){ 0 }, f->guest_port))
		return 0;
	error = errno;
	inet_ntop(AF_INET, &f->address, address, sizeof(address));
	snprintf(err, errlen, "hostfwd=tcp:%s:%u:%u: %s; give another port, above 1023 if you are not root",
		 address, f->port, f->guest_port, strerror(error));
	return -error;
}

static struct user *make(const struct net_user *as)
{
	struct user *u = calloc(1, sizeof(*u));
	SlirpConfig config = {
		.version = 4, .restricted = as->restricted, .in_enabled = true,
		.disable_host_loopback = as->alone,
		.vnetwork = { htonl(NETWORK) }, .vnetmask = { htonl(0xffffff00) }, .vhost = { htonl(HOST) },
		.vdhcp_start = { htonl(GUEST) }, .vnameserver = { htonl(NAME_SERVER) },
		.if_mtu = as->mtu, .if_mru = as->mtu,
	};
	struct rlimit files;

	if (!u)
		return NULL;
	u->b = (struct net_backend){ .ops = &ops, .fd = -1, .one_thread = true, .mtu = as->mtu };
	u->last = &u->first;
	u->alone = as->alone;
	u->dns = as->dns.s_addr ? ntohl(as->dns.s_addr) : net_name_server("/etc/resolv.conf");
	/* As in another network of this kind: an address there is none of the host's here. */
	if ((u->dns & 0xffffff00) == NETWORK)
		u->dns = 0;
	u->limit = getrlimit(RLIMIT_NOFILE, &files) || files.rlim_cur > 65536 ? 32768 : files.rlim_cur / 2;
	u->size = 64;
	u->fds = calloc(u->size, sizeof(*u->fds));
	u->slirp = u->fds ? slirp_new(&config, &callbacks, u) : NULL;
	if (u->slirp)
		return u;
	user_close(&u->b);
	return NULL;
}

int net_user(const struct net_user *as, struct net_backend **b, char *err, size_t errlen)
{
	struct user *u = make(as);
	unsigned int i;
	int ret = 0;

	*err = 0;
	if (!u) {
		snprintf(err, errlen, "the host is out of memory; free some");
		return -ENOMEM;
	}
	for (i = 0; i < as->forwards && !ret; i++)
		ret = forward(u, &as->forward[i], err, errlen);
	if (ret) {
		user_close(&u->b);
		return ret;
	}
	if (!u->dns && !as->restricted)
		snprintf(err, errlen, "no IPv4 name server outside of 10.0.2.0/24 is given, nor named by /etc/resolv.conf: the guest has none; give dns=ADDRESS");
	*b = &u->b;
	return 0;
}
