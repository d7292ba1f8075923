// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "virtio.h"

static void reset_queue(struct vdev_queue *q)
{
	memset(&q->vq, 0, sizeof(q->vq));
	q->vq.size = q->max;
	q->vector = MSIX_NONE;
	q->enabled = false;
}

int vdev_init(struct vdev *d, unsigned int queue_size)
{
	unsigned int i;
	bool failed = false;

	pthread_mutex_init(&d->lock, NULL);
	d->config_vector = MSIX_NONE;
	for (i = 0; i < VDEV_QUEUES; i++)
		d->queue[i].kick = d->worker[i].wake = -1;
	for (i = 0; i < d->queues; i++) {
		d->queue[i].max = queue_size;
		reset_queue(&d->queue[i]);
		d->queue[i].kick = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		failed |= d->queue[i].kick < 0;
	}
	for (i = 0; i < d->workers; i++) {
		d->worker[i].d = d;
		d->worker[i].index = i;
		d->worker[i].wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		failed |= d->worker[i].wake < 0;
	}
	return failed ? -errno : 0;
}

void vdev_exit(struct vdev *d)
{
	unsigned int i;

	for (i = 0; i < d->queues; i++)
		if (d->queue[i].kick >= 0)
			close(d->queue[i].kick);
	for (i = 0; i < d->workers; i++)
		if (d->worker[i].wake >= 0)
			close(d->worker[i].wake);
	pthread_mutex_destroy(&d->lock);
}

/* ---- registers --------------------------------------------------------------------- */

uint32_t vdev_offers(const struct vdev *d)
{
	return d->offered_select < 2 ? d->offered >> (32 * d->offered_select) : 0;
}

/* After FEATURES_OK the driver does not change its mind (3.1.1). */
void vdev_accept(struct vdev *d, uint32_t features)
{
	unsigned int shift = 32 * (d->accepted_select & 1);

	if (d->accepted_select > 1 || (d->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return;
	d->accepted = (d->accepted & ~(0xffffffffULL << shift)) | (uint64_t)features << shift;
}

void vdev_clear(struct vdev *d)
{
	unsigned int i;

	if (d->ops->reset)
		d->ops->reset(d);
	/* Before the driver sees that it may begin anew. */
	if (d->transport)
		d->transport->clear(d);
	for (i = 0; i < d->queues; i++)
		reset_queue(&d->queue[i]);
	d->accepted = 0;
	d->offered_select = d->accepted_select = 0;
	d->queue_select = 0;
	d->config_vector = MSIX_NONE;
	d->resetting = false;
	d->status = 0;
}

/* From now on workers use the queues. */
static void run(struct vdev *d)
{
	unsigned int i;

	for (i = 0; i < d->workers; i++)
		d->worker[i].active = d->worker[i].started;
	for (i = d->active = 0; i < d->workers; i++)
		d->active += d->worker[i].active;
	vdev_wake(d);
}

/*
 * A reset while workers use queues is over when the last one has let go of them: only
 * then 0 is read back, which the driver waits for (4.1.4.3.1). No vCPU waits here.
 */
void vdev_set_status(struct vdev *d, uint8_t status)
{
	uint8_t added = status & ~d->status;

	if (d->resetting)
		return;
	if (!status) {
		d->resetting = d->active;
		if (d->resetting)
			vdev_wake(d);
		else
			vdev_clear(d);
		return;
	}
	if ((added & VIRTIO_CONFIG_S_FEATURES_OK) &&
	    ((d->accepted & ~d->offered) || !vdev_has(d, VIRTIO_F_VERSION_1)))
		added &= ~VIRTIO_CONFIG_S_FEATURES_OK;
	if (!((d->status | added) & VIRTIO_CONFIG_S_FEATURES_OK))
		added &= ~VIRTIO_CONFIG_S_DRIVER_OK;
	/* Bits are added one by one, and taken away by a reset alone (2.1.1). */
	d->status |= added & ~VIRTIO_CONFIG_S_NEEDS_RESET;
	if (added & VIRTIO_CONFIG_S_DRIVER_OK)
		run(d);
}

void vdev_enable_queue(struct vdev *d, unsigned int i)
{
	struct vdev_queue *q = &d->queue[i];

	if (q->enabled || !(d->status & VIRTIO_CONFIG_S_FEATURES_OK) ||
	    (d->status & VIRTIO_CONFIG_S_DRIVER_OK))
		return;
	q->enabled = !vq_enable(&q->vq, d->mem, vdev_has(d, VIRTIO_RING_F_INDIRECT_DESC),
				vdev_has(d, VIRTIO_RING_F_EVENT_IDX));
	if (q->enabled)
		return;
	d->broken = "a queue's rings are not aligned, or not in the guest's memory (2.7)";
	d->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* ---- by workers ---------------------------------------------------------------------- */

void vdev_broken(struct vdev *d, const char *rule)
{
	bool first;

	pthread_mutex_lock(&d->lock);
	first = !(d->status & VIRTIO_CONFIG_S_NEEDS_RESET);
	d->broken = rule;
	d->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	pthread_mutex_unlock(&d->lock);
	if (first && d->transport)
		d->transport->interrupt(d, &d->config_vector, true);
}

void vdev_broken_queue(struct vdev *d, unsigned int queue, const char *rule)
{
	d->queue[queue].vq.broken = rule;
	vdev_broken(d, rule);
}

bool vdev_pop(struct vdev *d, unsigned int queue, struct vq_chain *c)
{
	struct vdev_queue *q = &d->queue[queue];
	bool was = q->vq.broken;
	int ret;

	if (!q->enabled)
		return false;
	ret = vq_pop(&q->vq, c);
	if (ret < 0 && !was)
		vdev_broken(d, q->vq.broken);
	if (ret == 1)
		atomic_fetch_add_explicit(&q->chains, 1, memory_order_relaxed);
	return ret == 1;
}

void vdev_done(struct vdev *d, unsigned int queue)
{
	struct vdev_queue *q = &d->queue[queue];

	if (!vq_interrupts(&q->vq))
		return;
	atomic_fetch_add_explicit(&q->interrupts, 1, memory_order_relaxed);
	if (d->transport)
		d->transport->interrupt(d, &q->vector, false);
}

void vdev_config_begin(struct vdev *d)
{
	pthread_mutex_lock(&d->lock);
}

void vdev_config_end(struct vdev *d)
{
	bool runs = d->status & VIRTIO_CONFIG_S_DRIVER_OK;

	d->generation++;
	pthread_mutex_unlock(&d->lock);
	if (runs && d->transport)
		d->transport->interrupt(d, &d->config_vector, true);
}
