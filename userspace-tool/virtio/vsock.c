// SPDX-License-Identifier: GPL-2.0
/* Socket device (virtio 1.2, 5.10), whose data queues are those of the host's vhost-vsock. */
#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_vsock.h>
#include <stdlib.h>
#include <unistd.h>

#include "vhost.h"

enum {
	RX,
	TX,
	EVENT,
	QUEUES,
};

#define RINGS	2	/* events are the device's: it has none, as a guest's CID never changes */
#define SIZE	256
#define SEQPACKET (1ULL << 1)	/* VIRTIO_VSOCK_F_SEQPACKET of later headers */

struct vsock {
	struct vdev d;
	struct vhost v;
	struct virtio_vsock_config config;
};

static struct vsock *of(struct vdev *d)
{
	return (struct vsock *)d;
}

static void vsock_work(struct vdev *d, unsigned int worker)
{
	vhost_work(&of(d)->v, d);
}

static unsigned int vsock_wait(struct vdev *d, unsigned int worker, struct pollfd *fds)
{
	return vhost_wait(&of(d)->v, d, fds);
}

static void vsock_drain(struct vdev *d, unsigned int worker)
{
	vhost_drain(&of(d)->v, d);
}

static void vsock_destroy(struct vdev *d)
{
	vhost_detach(&of(d)->v);
	vdev_exit(d);
	free(d);
}

static const struct vdev_ops ops = {
	.name = "vsock", .id = VIRTIO_ID_VSOCK, .class = 0x028000, .vhost = true,
	.work = vsock_work, .wait = vsock_wait, .drain = vsock_drain, .destroy = vsock_destroy,
};

static int switch_on(struct vhost *v, bool on)
{
	int start = on;

	return vhost_kernel_command(v, VHOST_VSOCK_SET_RUNNING, &start);
}

static int set_up(struct vsock *s, uint64_t cid, const char **what)
{
	int ret;

	*what = "eventfd";
	ret = vdev_init(&s->d, SIZE);
	if (!ret)
		ret = vhost_attach(&s->v, &s->d);
	if (ret)
		return ret;
	*what = "VHOST_SET_OWNER";
	ret = vhost_kernel_open(&s->v, s->d.mem);
	if (ret)
		return ret;
	*what = "VHOST_GET_FEATURES";
	ret = s->v.ops->features(&s->v, &s->d.offered);
	if (ret)
		return ret;
	s->d.offered &= VDEV_RING_FEATURES | SEQPACKET;
	*what = "VHOST_VSOCK_SET_GUEST_CID";
	return vhost_kernel_command(&s->v, VHOST_VSOCK_SET_GUEST_CID, &cid);
}

struct vdev *virtio_vsock(const struct cleave_mem *mem, int fd, uint64_t cid, int *error, const char **what)
{
	struct vsock *s = calloc(1, sizeof(*s));

	*what = "memory";
	*error = -ENOMEM;
	if (!s) {
		close(fd);
		return NULL;
	}
	s->v.ops = &vhost_kernel;
	s->v.fd = fd;
	s->v.err = -1;
	s->v.rings = RINGS;
	s->v.switch_on = switch_on;
	s->config.guest_cid = cid;
	s->d.ops = &ops;
	s->d.mem = mem;
	s->d.config = &s->config;
	s->d.config_size = sizeof(s->config);
	s->d.queues = QUEUES;
	s->d.workers = 1;
	*error = set_up(s, cid, what);
	if (!*error)
		return &s->d;
	vsock_destroy(&s->d);
	return NULL;
}
