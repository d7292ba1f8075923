/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Queues that another serves in the device's place: the host's kernel (vhost_kernel.c), or
 * another process (vhost_user.c). The device keeps its registers and checks the rings' places;
 * kicks go from the guest to who serves, by vdev_queue.kick, and interrupts the other way, by
 * vdev_queue.call, without this process where the transport can have it so. All but
 * opening is the device's thread's.
 */
#ifndef CLEAVE_VIRTIO_VHOST_H
#define CLEAVE_VIRTIO_VHOST_H

#include "virtio.h"

#define VHOST_RINGS	8	/* that one serves */
#define VHOST_FDS	(VHOST_RINGS + 2)	/* that vhost_wait() needs at most */
_Static_assert(VHOST_FDS <= VDEV_FDS, "vhost_wait()");

/* A ring as who serves it takes it: places in this process, checked by vq_enable(). */
struct vhost_ring {
	unsigned int index;
	uint16_t size, base;		/* base: the next entry of the available ring */
	const void *desc, *avail;
	void *used;
	int kick, call, err;
};

struct vhost;

/* Who serves. 0 or -errno; after an error of take() or run() nothing but close() is called. */
struct vhost_ops {
	int (*features)(struct vhost *v, uint64_t *features);
	int (*accept)(struct vhost *v, uint64_t features);
	int (*give)(struct vhost *v, const struct vhost_ring *r);
	int (*run)(struct vhost *v, bool on);	/* after the first give(), before the first take() */
	int (*take)(struct vhost *v, unsigned int ring, uint16_t *base);	/* it is not used any more */
	bool (*alive)(struct vhost *v);		/* or NULL: it lives as long as this process */
	void (*close)(struct vhost *v);
};

struct vhost {
	const struct vhost_ops *ops;
	int fd;
	unsigned int rings;		/* the first ones of the device's queues */
	uint64_t more;			/* features beside the device's that it is told are accepted */
	uint64_t known;			/* of the device's, those that it is told; 0: all */
	int err;			/* eventfd: it has given a ring up */
	bool tried, running;		/* since the driver has set the device up */
	const char *dead;		/* NULL, or why it serves no more */
	void (*died)(void *ctx, const char *why);	/* or NULL: says so; by the device's thread */
	void *ctx;
	/* vhost_kernel.c: what run() is, of its kind of device */
	int (*switch_on)(struct vhost *v, bool on);
	struct vhost_shared shared;	/* vhost_user.c */
};

/* ---- vhost.c: by a device ------------------------------------------------------------- */

/* After vdev_init(): the first queues are v's; ops, fd, rings are set. v is the device's from now on. */
int vhost_attach(struct vhost *v, struct vdev *d);
void vhost_detach(struct vhost *v);	/* the device's threads have ended; harmless without the above */
/* What vdev_ops.work(), wait() and drain() do for these queues. */
void vhost_work(struct vhost *v, struct vdev *d);
unsigned int vhost_wait(struct vhost *v, struct vdev *d, struct pollfd *fds);
void vhost_drain(struct vhost *v, struct vdev *d);

/* ---- vhost_kernel.c: linux/vhost.h ------------------------------------------------------- */

extern const struct vhost_ops vhost_kernel;
/* Its owner is this process, whose memory that is. fd, switch_on are set. */
int vhost_kernel_open(struct vhost *v, const struct cleave_mem *mem);
/* One more, of a kind of device: 0 or -errno. */
int vhost_kernel_command(struct vhost *v, unsigned long nr, void *arg);

/* ---- vhost_net.c: by a network device --------------------------------------------------- */

/* What is left of features that a device would offer by itself. */
uint64_t vhost_net_offers(const struct vhost *v, uint64_t offered);
void vhost_net_free(struct vhost *v);	/* as vhost_detach(), and frees it */

/* ---- vhost_user.c: another process -------------------------------------------------------- */

extern const struct vhost_ops vhost_user;
/* fd, a socket, and shared are set. -EOPNOTSUPP: it lacks what is needed; or that of its answers. */
int vhost_user_open(struct vhost *v, const struct cleave_mem *mem);

#endif /* CLEAVE_VIRTIO_VHOST_H */
