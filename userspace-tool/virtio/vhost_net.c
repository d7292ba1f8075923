// SPDX-License-Identifier: GPL-2.0
/* The data queues of a network device by the host's vhost-net: between them and a TAP interface. */
#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <unistd.h>

#include "vhost.h"

#define RINGS	2
/* What it has to know of; offloads are the interface's. */
#define KNOWN	(VDEV_RING_FEATURES | 1ULL << VIRTIO_NET_F_MRG_RXBUF)

struct vhost_net {
	struct vhost v;
	int tap;
};

/* The interface is plugged in, or, at the end or if one ring failed, out. */
static int switch_on(struct vhost *v, bool on)
{
	struct vhost_vring_file file = { .fd = on ? ((struct vhost_net *)v)->tap : -1 };
	int ret = 0;

	for (file.index = 0; file.index < RINGS && !ret; file.index++)
		ret = vhost_kernel_command(v, VHOST_NET_SET_BACKEND, &file);
	return ret;
}

struct vhost *vhost_net_new(const struct cleave_mem *mem, int fd, int tap, int *error)
{
	struct vhost_net *n = calloc(1, sizeof(*n));
	uint64_t features;

	*error = -ENOMEM;
	if (!n) {
		close(fd);
		return NULL;
	}
	n->tap = tap;
	n->v.ops = &vhost_kernel;
	n->v.fd = fd;
	n->v.err = -1;
	n->v.rings = RINGS;
	n->v.switch_on = switch_on;
	*error = vhost_kernel_open(&n->v, mem);
	if (!*error)
		*error = n->v.ops->features(&n->v, &features);
	if (!*error && !(features >> VIRTIO_F_VERSION_1 & 1))
		*error = -EOPNOTSUPP;
	if (!*error) {
		n->v.known = features & KNOWN;
		return &n->v;
	}
	vhost_net_free(&n->v);
	return NULL;
}

uint64_t vhost_net_offers(const struct vhost *v, uint64_t offered)
{
	return (offered & ~KNOWN) | (offered & v->known);
}

void vhost_net_free(struct vhost *v)
{
	vhost_detach(v);
	free(v);
}
