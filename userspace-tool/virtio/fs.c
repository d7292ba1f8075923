// SPDX-License-Identifier: GPL-2.0
/* File system device (virtio 1.2, 5.11), whose queues a process serves that speaks vhost-user. */
#include <errno.h>
#include <linux/virtio_fs.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vhost.h"

#define QUEUES	2	/* of urgent requests, and of the others */
#define SIZE	256
_Static_assert(FS_TAG == sizeof(((struct virtio_fs_config *)0)->tag), "tag");

struct fs {
	struct vdev d;
	struct vhost v;
	struct virtio_fs_config config;
};

static struct fs *of(struct vdev *d)
{
	return (struct fs *)d;
}

static void fs_work(struct vdev *d, unsigned int worker)
{
	vhost_work(&of(d)->v, d);
}

static unsigned int fs_wait(struct vdev *d, unsigned int worker, struct pollfd *fds)
{
	return vhost_wait(&of(d)->v, d, fds);
}

static void fs_drain(struct vdev *d, unsigned int worker)
{
	vhost_drain(&of(d)->v, d);
}

static void fs_destroy(struct vdev *d)
{
	vhost_detach(&of(d)->v);
	vdev_exit(d);
	free(d);
}

static const struct vdev_ops ops = {
	.name = "fs", .id = VIRTIO_ID_FS, .class = 0x018000,
	.work = fs_work, .wait = fs_wait, .drain = fs_drain, .destroy = fs_destroy,
};

static int set_up(struct fs *f)
{
	int ret = vdev_init(&f->d, SIZE);

	if (!ret)
		ret = vhost_attach(&f->v, &f->d);
	if (!ret)
		ret = vhost_user_open(&f->v, f->d.mem);
	if (!ret)
		ret = f->v.ops->features(&f->v, &f->d.offered);
	f->d.offered &= VDEV_RING_FEATURES;
	if (!ret && !(f->d.offered >> VIRTIO_F_VERSION_1 & 1))
		ret = -EOPNOTSUPP;
	return ret;
}

struct vdev *virtio_fs(const struct cleave_mem *mem, int fd, const struct vhost_shared *shared,
		       const char *tag, void (*died)(void *ctx, const char *why), void *ctx, int *error)
{
	struct fs *f = calloc(1, sizeof(*f));

	*error = -ENOMEM;
	if (!f) {
		close(fd);
		return NULL;
	}
	f->v.ops = &vhost_user;
	f->v.fd = fd;
	f->v.err = -1;
	f->v.rings = QUEUES;
	f->v.shared = *shared;
	f->v.died = died;
	f->v.ctx = ctx;
	memcpy(f->config.tag, tag, strnlen(tag, FS_TAG));
	f->config.num_request_queues = QUEUES - 1;
	f->d.ops = &ops;
	f->d.mem = mem;
	f->d.config = &f->config;
	f->d.config_size = sizeof(f->config);
	f->d.queues = QUEUES;
	f->d.workers = 1;
	*error = set_up(f);
	if (!*error)
		return &f->d;
	fs_destroy(&f->d);
	return NULL;
}
