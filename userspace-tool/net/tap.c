// SPDX-License-Identifier: GPL-2.0
/* An interface of the host's that ends in a guest (Documentation/networking/tuntap.rst). */
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "net.h"

#define TUN	"/dev/net/tun"

static ssize_t tap_send(struct net_backend *b, const struct iovec *iov, unsigned int n)
{
	ssize_t ret = writev(b->fd, iov, n);

	if (ret >= 0)
		return ret;
	/* Of an interface that was removed, the file is in a bad state: forever. */
	if (errno == EBADFD || errno == EPIPE)
		return -ENODEV;
	return errno == EINTR ? -EAGAIN : -errno;
}

static ssize_t tap_receive(struct net_backend *b, const struct iovec *iov, unsigned int n)
{
	ssize_t ret = readv(b->fd, iov, n);

	if (ret > 0)
		return ret;
	return ret < 0 && (errno == EAGAIN || errno == EINTR) ? -EAGAIN : -ENODEV;
}

/* What it does not take off, the guest does not get: the device looks at each header. */
static void tap_offload(struct net_backend *b, uint64_t guest)
{
	unsigned int flags = 0;

	if (guest & 1ULL << VIRTIO_NET_F_GUEST_CSUM) {
		flags = TUN_F_CSUM;
		if (guest & 1ULL << VIRTIO_NET_F_GUEST_TSO4)
			flags |= TUN_F_TSO4;
		if (guest & 1ULL << VIRTIO_NET_F_GUEST_TSO6)
			flags |= TUN_F_TSO6;
	}
	ioctl(b->fd, TUNSETOFFLOAD, flags);
}

static void tap_close(struct net_backend *b)
{
	close(b->fd);
	free(b);
}

static const struct net_ops plain = {
	.name = "tap", .send = tap_send, .receive = tap_receive, .close = tap_close,
};

static const struct net_ops offloading = {
	.name = "tap", .send = tap_send, .receive = tap_receive, .offload = tap_offload, .close = tap_close,
};

struct net_backend *net_tap_of(int fd, uint16_t mtu, bool offloads)
{
	struct net_backend *b = calloc(1, sizeof(*b));

	if (b) {
		b->ops = offloads ? &offloading : &plain;
		b->fd = fd;
		b->mtu = mtu;
	}
	return b;
}

/* ---- opening one --------------------------------------------------------------------- */

static int attach(int fd, const char *name, short flags)
{
	struct ifreq r = { .ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | flags };

	strcpy(r.ifr_name, name);
	return ioctl(fd, TUNSETIFF, &r) ? -errno : 0;
}

static const char *advice(int error)
{
	switch (error) {
	case -EPERM:
		return "only root makes one; `sudo ip tuntap add NAME mode tap user $USER` makes one for you";
	case -EBUSY:
		return "another guest or program has it; give another one";
	case -EINVAL:
		return "it is no TAP interface; give one that `ip tuntap` lists, or a new name";
	}
	return "see `ip tuntap`";
}

static int up(int sock, const char *name)
{
	struct ifreq r = { 0 };

	strcpy(r.ifr_name, name);
	if (ioctl(sock, SIOCGIFFLAGS, &r))
		return -errno;
	r.ifr_flags |= IFF_UP;
	return ioctl(sock, SIOCSIFFLAGS, &r) ? -errno : 0;
}

/* One that was made here goes with the guest. */
static void settle(const char *name, bool made, uint16_t *mtu)
{
	struct ifreq r = { 0 };
	int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (sock < 0)
		return;
	strcpy(r.ifr_name, name);
	r.ifr_mtu = *mtu;
	if (made && *mtu)
		ioctl(sock, SIOCSIFMTU, &r);
	if (made)
		up(sock, name);
	if (!*mtu && !ioctl(sock, SIOCGIFMTU, &r) && r.ifr_mtu >= NET_MTU_MIN && r.ifr_mtu <= NET_MTU_MAX)
		*mtu = r.ifr_mtu;
	close(sock);
}

int net_tap(const char *name, uint16_t mtu, struct net_backend **b, char *err, size_t errlen)
{
	int fd = open(TUN, O_RDWR | O_NONBLOCK | O_CLOEXEC), size = NET_HEADER, ret;
	bool made = !if_nametoindex(name);

	*err = 0;
	if (fd < 0) {
		ret = -errno;
		snprintf(err, errlen, "%s: %s; `modprobe tun` makes it", TUN, strerror(-ret));
		return ret;
	}
	ret = attach(fd, name, 0);
	if (ret == -EINVAL && !made)
		ret = attach(fd, name, IFF_MULTI_QUEUE);
	if (!ret && ioctl(fd, TUNSETVNETHDRSZ, &size))
		ret = -errno;
	if (ret) {
		snprintf(err, errlen, "tap=%s: %s; %s", name, strerror(-ret), advice(ret));
		close(fd);
		return ret;
	}
	settle(name, made, &mtu);
	*b = net_tap_of(fd, mtu, !ioctl(fd, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6));
	if (*b)
		return 0;
	snprintf(err, errlen, "tap=%s: the host is out of memory; free some", name);
	close(fd);
	return -ENOMEM;
}
