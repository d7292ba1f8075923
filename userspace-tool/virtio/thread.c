// SPDX-License-Identifier: GPL-2.0
/* The threads of a device. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "virtio.h"

#define STACK	(256UL << 10)

static void signal_fd(int fd)
{
	uint64_t one = 1;

	while (write(fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void vdev_wake(struct vdev *d)
{
	unsigned int i;

	for (i = 0; i < d->workers; i++)
		signal_fd(d->worker[i].wake);
}

void vdev_kick(struct vdev *d, unsigned int queue)
{
	if (queue < d->queues)
		signal_fd(d->queue[queue].kick);
}

enum verdict {
	IDLE,
	RUN,
	STOP,
};

/* Lets go of the queues if the driver or the machine wants that. */
static enum verdict worker_state(struct vdev_worker *w)
{
	struct vdev *d = w->d;
	bool leave, stop, reset = false;

	pthread_mutex_lock(&d->lock);
	leave = w->active && (d->resetting || d->stop);
	stop = d->stop;
	pthread_mutex_unlock(&d->lock);
	if (leave) {
		if (d->ops->drain)
			d->ops->drain(d, w->index);
		pthread_mutex_lock(&d->lock);
		w->active = false;
		reset = !--d->active && d->resetting;
		if (reset)
			vdev_clear(d);
		pthread_mutex_unlock(&d->lock);
	}
	if (reset && d->transport)
		d->transport->was_reset(d);
	if (stop)
		return STOP;
	pthread_mutex_lock(&d->lock);
	leave = !w->active;
	pthread_mutex_unlock(&d->lock);
	return leave ? IDLE : RUN;
}

/* The eventfds of its queues, and what else the device waits for. */
static void worker_wait(struct vdev_worker *w, bool runs)
{
	struct pollfd fds[1 + VDEV_QUEUES + VDEV_FDS];
	struct vdev_queue *from[VDEV_QUEUES + 1];
	struct vdev *d = w->d;
	unsigned int i, n = 0;
	uint64_t count;

	fds[n++] = (struct pollfd){ .fd = w->wake, .events = POLLIN };
	for (i = w->index; runs && i < d->queues; i += d->workers) {
		from[n] = &d->queue[i];
		fds[n++] = (struct pollfd){ .fd = d->queue[i].kick, .events = POLLIN };
	}
	i = n;
	if (runs && d->ops->wait)
		n += d->ops->wait(d, w->index, fds + n);
	if ((runs && d->ops->poll ? d->ops->poll(d, w->index, fds, n) : poll(fds, n, -1)) < 0)
		return;
	while (i--)
		if ((fds[i].revents & POLLIN) && read(fds[i].fd, &count, sizeof(count)) > 0 && i)
			atomic_fetch_add_explicit(&from[i]->kicks, count, memory_order_relaxed);
}

void (*vdev_thread_begins)(const struct vdev *d);

static void *worker_thread(void *arg)
{
	struct vdev_worker *w = arg;
	enum verdict now;
	char name[16];

	/* By the thread itself: that of another is a file, which the sandbox does not open. */
	snprintf(name, sizeof(name), "%.11s/%u", w->d->label, w->index % 100);
	pthread_setname_np(pthread_self(), name);
	if (vdev_thread_begins)
		vdev_thread_begins(w->d);
	while ((now = worker_state(w)) != STOP) {
		if (now == RUN)
			w->d->ops->work(w->d, w->index);
		worker_wait(w, now == RUN);
	}
	return NULL;
}

int vdev_start(struct vdev *d)
{
	pthread_attr_t attr;
	unsigned int i;
	int ret = 0;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK);
	for (i = 0; i < d->workers && !ret; i++) {
		ret = pthread_create(&d->worker[i].thread, &attr, worker_thread, &d->worker[i]);
		d->worker[i].started = !ret;
	}
	pthread_attr_destroy(&attr);
	if (ret)
		vdev_stop(d);
	return -ret;
}

void vdev_stop(struct vdev *d)
{
	unsigned int i;

	pthread_mutex_lock(&d->lock);
	d->stop = true;
	pthread_mutex_unlock(&d->lock);
	vdev_wake(d);
	for (i = 0; i < d->workers; i++) {
		if (d->worker[i].started)
			pthread_join(d->worker[i].thread, NULL);
		d->worker[i].started = false;
	}
}
