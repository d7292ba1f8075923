// SPDX-License-Identifier: GPL-2.0
/* The network devices, and what they are plugged into. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "../net/net.h"
#include "virtio.h"

#define VHOST_NET	"/dev/vhost-net"

/*
 * The same for each run of a guest by that name, and hardly another one's. Without a name
 * others may be called so: then it is this run's.
 */
void net_mac(const char *name, bool named, unsigned int number, uint8_t mac[6])
{
	uint64_t hash = 0xcbf29ce484222325ULL;	/* FNV-1a */
	uint32_t salt[2] = { number, named ? 0 : getpid() };
	const uint8_t *p;

	for (p = (const uint8_t *)name; *p; p++)
		hash = (hash ^ *p) * 0x100000001b3ULL;
	for (p = (const uint8_t *)salt; p < (const uint8_t *)(salt + 2); p++)
		hash = (hash ^ *p) * 0x100000001b3ULL;
	hash ^= hash >> 32;
	memcpy(mac, &hash, 6);
	mac[0] = (mac[0] & ~1) | 2;	/* one interface's, administered locally */
}

static void on_gone(void *ctx)
{
	struct net_watch *w = ctx;

	console_newline(w->m);
	complain("--net tap=%s: the interface has gone, and the guest's link is down; start the guest anew once there is one",
		 w->tap);
}

/* Where it is there to be used, unless something else is said. 0 or -errno after one line. */
static int vhost_open(struct machine *m, const struct net_args *a, struct net_params *p)
{
	int fd, error = 0;

	if (!a->tap[0] || a->vhost == VHOST_OFF)
		return 0;
	if (p->service || p->in) {
		if (a->vhost == VHOST_AUTO)
			return 0;
		complain("--net tap=%s: vhost=on: the host's kernel knows neither --metadata nor a network-rate of --slice; leave out one of them",
			 a->tap);
		return -EINVAL;
	}
	fd = open(VHOST_NET, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		error = -errno;
	else
		p->vhost = vhost_net_new(&m->mem, fd, p->backend->fd, &error);
	if (!error || a->vhost == VHOST_AUTO)
		return 0;
	complain("--net tap=%s: " VHOST_NET ": %s; `sudo modprobe vhost_net`, join the group that `ls -l` shows, or leave out vhost=on",
		 a->tap, strerror(-error));
	return error;
}

int net_open(struct machine *m, unsigned int number, struct vdev **d)
{
	const struct net_args *a = &m->args->virtio.net[number];
	struct net_watch *w = &m->virtio->watch[number];
	bool limited = m->virtio->rate_in.rate;
	struct net_params p = {
		.service = number ? NULL : m->args->virtio.service, .in = limited ? &m->virtio->rate_in : NULL,
		.out = limited ? &m->virtio->rate_out : NULL, .gone = on_gone, .ctx = w,
	};
	char err[512];
	int ret;

	*w = (struct net_watch){ m, a->tap };
	if (a->tap[0])
		ret = net_tap(a->tap, a->user.mtu, &p.backend, err, sizeof(err));
	else
		ret = net_user(&a->user, &p.backend, err, sizeof(err));
	if (*err)
		complain("--net %s%s", a->tap[0] ? "" : "user: ", err);
	if (ret)
		return ret;
	if (a->has_mac)
		memcpy(p.mac, a->mac, sizeof(p.mac));
	else
		net_mac(m->args->name, m->args->named, number, p.mac);
	ret = vhost_open(m, a, &p);
	if (ret) {
		p.backend->ops->close(p.backend);
		return ret;
	}
	*d = virtio_net(&m->mem, &p);
	if (*d)
		(*d)->sockets = !a->tap[0];
	return 0;
}
