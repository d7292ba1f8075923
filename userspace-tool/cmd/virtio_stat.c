// SPDX-License-Identifier: GPL-2.0
/* What `cleave stat` tells of virtio devices. */
#include "doc.h"
#include "virtio.h"

static const char *state(const struct vdev *d)
{
	if (d->resetting)
		return "resetting";
	if (d->status & VIRTIO_CONFIG_S_NEEDS_RESET)
		return "needs reset";
	if (d->status & VIRTIO_CONFIG_S_DRIVER_OK)
		return "running";
	return d->status ? "being set up" : "reset";
}

static void describe_queue(struct json_object *list, struct vdev_queue *q)
{
	struct json_object *o = json_object_new_object();

	doc_count(o, "size", q->enabled ? q->vq.size : 0);
	doc_count(o, "chains", atomic_load(&q->chains));
	doc_count(o, "kicks", atomic_load(&q->kicks));
	doc_count(o, "interrupts", atomic_load(&q->interrupts));
	doc_bool(o, "ioeventfd", q->direct);
	if (q->call >= 0)
		doc_bool(o, "irqfd", q->irqfd);
	json_object_array_add(list, o);
}

static void describe_device(struct json_object *list, struct vdev *d)
{
	struct json_object *o = json_object_new_object(), *part;
	unsigned int i;

	doc_text(o, "device", d->label);
	pthread_mutex_lock(&d->lock);
	doc_text(o, "state", state(d));
	doc_hex(o, "features", d->accepted);
	if (d->broken)
		doc_text(o, "broken", d->broken);
	part = doc_object(o, "counters");
	for (i = 0; d->ops->counters && d->ops->counters[i]; i++)
		doc_count(part, d->ops->counters[i], atomic_load(&d->counter[i]));
	part = doc_array(o, "queues");
	for (i = 0; i < d->queues; i++)
		describe_queue(part, &d->queue[i]);
	pthread_mutex_unlock(&d->lock);
	json_object_array_add(list, o);
}

void virtio_describe(struct machine *m, struct json_object *doc)
{
	struct virtio_devices *v = m->virtio;
	struct json_object *list;
	unsigned int i;

	if (!v)
		return;
	list = doc_array(doc, "devices");
	for (i = 0; i < v->count; i++)
		describe_device(list, v->device[i]);
}
