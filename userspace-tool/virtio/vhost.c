// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vhost.h"

int vhost_attach(struct vhost *v, struct vdev *d)
{
	unsigned int i;

	v->err = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (v->err < 0)
		return -errno;
	for (i = 0; i < v->rings; i++) {
		d->queue[i].call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (d->queue[i].call < 0)
			return -errno;
	}
	return 0;
}

void vhost_detach(struct vhost *v)
{
	if (v->ops)
		v->ops->close(v);
	if (v->err >= 0)
		close(v->err);
	v->err = -1;
}

static bool taken(int fd)
{
	uint64_t count;

	return read(fd, &count, sizeof(count)) == sizeof(count);
}

/* It serves no more: the driver is told that the device needs a reset, which will not help. */
static void dies(struct vhost *v, struct vdev *d, const char *why)
{
	v->dead = why;
	v->running = false;
	v->ops->close(v);	/* and with that uses no memory of ours */
	if (v->died)
		v->died(v->ctx, why);
	vdev_broken(d, why);
}

/* ---- start, stop --------------------------------------------------------------------------- */

static int give_all(struct vhost *v, struct vdev *d)
{
	unsigned int i;
	int ret = 0;

	for (i = 0; i < v->rings && !ret; i++) {
		struct vdev_queue *q = &d->queue[i];
		const struct vhost_ring r = {
			.index = i, .size = q->vq.size, .base = q->vq.next_avail,
			.desc = q->vq.desc, .avail = q->vq.avail, .used = q->vq.used,
			.kick = q->kick, .call = q->call, .err = v->err,
		};

		if (q->enabled)
			ret = v->ops->give(v, &r);
	}
	return ret;
}

/* A driver that leaves a queue out gets a device that does not run, as vhost has all or none. */
static bool complete(const struct vhost *v, const struct vdev *d)
{
	unsigned int i;

	for (i = 0; i < v->rings; i++)
		if (!d->queue[i].enabled)
			return false;
	return true;
}

static void start(struct vhost *v, struct vdev *d)
{
	unsigned int i;
	int ret;

	v->tried = true;
	if (v->dead || !complete(v, d)) {
		vdev_broken(d, v->dead ?: "a queue is missing that the host serves");
		return;
	}
	ret = v->ops->accept(v, (v->known ? d->accepted & v->known : d->accepted) | v->more);
	if (!ret)
		ret = give_all(v, d);
	if (!ret)
		ret = v->ops->run(v, true);
	if (ret) {
		dies(v, d, "who serves the queues has refused them");
		return;
	}
	v->running = true;
	/* What the driver has made available before it is looked at now. */
	for (i = 0; i < v->rings; i++)
		vdev_kick(d, i);
}

void vhost_drain(struct vhost *v, struct vdev *d)
{
	unsigned int i;
	uint16_t base;
	int ret = 0;

	if (v->running) {
		ret = v->ops->run(v, false);
		for (i = 0; i < v->rings && !ret; i++) {
			ret = v->ops->take(v, i, &base);
			if (!ret)
				d->queue[i].vq.next_avail = d->queue[i].vq.next_used = base;
		}
	}
	if (ret)
		dies(v, d, "who serves the queues does not give them back");
	v->running = v->tried = false;
	/* Signals that nobody has taken are of what is over now. */
	for (i = 0; i < v->rings; i++)
		taken(d->queue[i].call);
	taken(v->err);
}

/* ---- while it runs --------------------------------------------------------------------------- */

void vhost_work(struct vhost *v, struct vdev *d)
{
	unsigned int i;

	if (!v->tried)
		start(v, d);
	if (v->running && v->ops->alive && !v->ops->alive(v))
		dies(v, d, "who serves the queues has gone");
	for (i = 0; i < v->rings; i++) {
		struct vdev_queue *q = &d->queue[i];

		if (!taken(q->call))
			continue;
		atomic_fetch_add_explicit(&q->interrupts, 1, memory_order_relaxed);
		if (d->transport)
			d->transport->interrupt(d, &q->vector, false);
	}
	if (taken(v->err))
		vdev_broken(d, "who serves the queues has found a ring broken");
}

/* Where the kernel takes a queue's signals this thread does not: it is woken when that ends. */
unsigned int vhost_wait(struct vhost *v, struct vdev *d, struct pollfd *fds)
{
	unsigned int i, n = 0;

	pthread_mutex_lock(&d->lock);
	for (i = 0; i < v->rings; i++)
		if (!d->queue[i].irqfd)
			fds[n++] = (struct pollfd){ .fd = d->queue[i].call, .events = POLLIN };
	pthread_mutex_unlock(&d->lock);
	fds[n++] = (struct pollfd){ .fd = v->err, .events = POLLIN };
	if (v->running && v->ops->alive)
		fds[n++] = (struct pollfd){ .fd = v->fd, .events = POLLIN };
	return n;
}
