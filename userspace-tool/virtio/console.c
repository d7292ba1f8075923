// SPDX-License-Identifier: GPL-2.0
/*
 * Console device (virtio 1.2, 5.3): one port, or several with names. Each is a stream of
 * bytes by a file descriptor; what a guest sends to one that nobody has open is lost, as
 * it is on a serial line.
 */
#include <errno.h>
#include <linux/virtio_console.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "virtio.h"

#define QUEUE_SIZE	64
#define CONTROL_RX	2
#define CONTROL_TX	3
#define PIECE		256	/* bytes that a writer of the machine's gets at once */

enum {
	BYTES_IN, BYTES_OUT, CONTROL_IN, CONTROL_OUT,
};

static const char *const counters[] = { "bytes_in", "bytes_out", "control_in", "control_out", NULL };

/* What the driver is to be told of a port, in this order; a bit each. */
enum {
	TELL_ADD, TELL_CONSOLE, TELL_NAME, TELL_SIZE, TELL_OPEN, TELL_COUNT,
};

struct port {
	struct console_port as;
	unsigned int tell;		/* 1 << TELL_* */
	bool ready, guest_open;
	bool reading, writing;		/* rx, tx hold a chain that is not done */
	uint64_t written;		/* bytes of tx */
	struct vq_chain rx, tx;
};

struct console {
	struct vdev d;
	unsigned int ports;
	bool multiport;			/* as negotiated: the worker's */
	bool fresh;			/* under the lock: reset since the worker looked */
	bool sized;			/* under the lock: the size has changed */
	bool size_known;
	struct virtio_console_config config;
	struct vq_chain chain;
	struct port port[CONSOLE_PORTS];
};

static unsigned int rx_queue(unsigned int port)
{
	return port ? 2 * port + 2 : 0;
}

static void count(struct console *c, unsigned int what, uint64_t n)
{
	atomic_fetch_add_explicit(&c->d.counter[what], n, memory_order_relaxed);
}

static bool is_open(const struct port *p)
{
	return p->as.write || p->as.fd >= 0;
}

/* ---- control messages ---------------------------------------------------------------- */

static uint32_t message(struct console *c, unsigned int i, unsigned int what, uint8_t *buf)
{
	struct port *p = &c->port[i];
	struct virtio_console_control m = { .id = i, .value = 1 };
	uint32_t extra = 0;
	uint16_t size[2];

	switch (what) {
	case TELL_ADD:
		m.event = VIRTIO_CONSOLE_PORT_ADD;
		break;
	case TELL_CONSOLE:
		m.event = VIRTIO_CONSOLE_CONSOLE_PORT;
		break;
	case TELL_NAME:
		m.event = VIRTIO_CONSOLE_PORT_NAME;
		extra = strlen(p->as.name);
		memcpy(buf + sizeof(m), p->as.name, extra);
		break;
	case TELL_SIZE:
		m.event = VIRTIO_CONSOLE_RESIZE;
		pthread_mutex_lock(&c->d.lock);
		size[0] = c->config.cols;
		size[1] = c->config.rows;
		pthread_mutex_unlock(&c->d.lock);
		extra = sizeof(size);
		memcpy(buf + sizeof(m), size, extra);
		break;
	case TELL_OPEN:
		m.event = VIRTIO_CONSOLE_PORT_OPEN;
		m.value = is_open(p);
		break;
	}
	memcpy(buf, &m, sizeof(m));
	return sizeof(m) + extra;
}

/* As far as the driver has room for them: true, there was too little. */
static bool tell(struct console *c)
{
	uint8_t buf[sizeof(struct virtio_console_control) + CONSOLE_NAME + 1];
	unsigned int i, what;
	bool more = false;
	uint32_t len;

	for (i = 0; i < c->ports && !more; i++) {
		struct port *p = &c->port[i];

		for (what = 0; what < TELL_COUNT; what++) {
			if (!(p->tell >> what & 1) || (what != TELL_ADD && !p->ready))
				continue;
			more = !vdev_pop(&c->d, CONTROL_RX, &c->chain);
			if (more)
				break;
			len = message(c, i, what, buf);
			vq_push(&c->d.queue[CONTROL_RX].vq, c->chain.head, vq_write(&c->chain, 0, buf, len));
			p->tell &= ~(1U << what);
			count(c, CONTROL_OUT, 1);
		}
	}
	vdev_done(&c->d, CONTROL_RX);
	return more;
}

static void heard(struct console *c, const struct virtio_console_control *m)
{
	unsigned int i;

	count(c, CONTROL_IN, 1);
	if (m->event == VIRTIO_CONSOLE_DEVICE_READY && m->value == 1)
		for (i = 0; i < c->ports; i++)
			c->port[i].tell |= 1U << TELL_ADD;
	if (m->id >= c->ports)
		return;
	if (m->event == VIRTIO_CONSOLE_PORT_READY && m->value == 1) {
		struct port *p = &c->port[m->id];

		p->ready = true;
		p->tell |= 1U << TELL_OPEN;
		if (p->as.console)
			p->tell |= 1U << TELL_CONSOLE;
		if (p->as.write && c->size_known)
			p->tell |= 1U << TELL_SIZE;
		if (p->as.name[0])
			p->tell |= 1U << TELL_NAME;
	} else if (m->event == VIRTIO_CONSOLE_PORT_OPEN) {
		c->port[m->id].guest_open = m->value;
	}
}

static void control(struct console *c)
{
	struct vq *q = &c->d.queue[CONTROL_TX].vq;
	struct virtio_console_control m;

	if (!c->d.queue[CONTROL_TX].enabled || !c->d.queue[CONTROL_RX].enabled)
		return;
	do {
		while (vdev_pop(&c->d, CONTROL_TX, &c->chain)) {
			if (vq_read(&c->chain, 0, &m, sizeof(m)) == sizeof(m))
				heard(c, &m);
			vq_push(q, c->chain.head, 0);
		}
		vdev_done(&c->d, CONTROL_TX);
	} while (vq_want_kick(q));
	while (tell(c) && vq_want_kick(&c->d.queue[CONTROL_RX].vq))
		;
}

/* ---- bytes --------------------------------------------------------------------------- */

static void hang_up(struct port *p)
{
	close(p->as.fd);
	p->as.fd = -1;
	p->tell |= 1U << TELL_OPEN;
}

static void answer(struct port *p)
{
	p->as.fd = accept4(p->as.listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (p->as.fd >= 0)
		p->tell |= 1U << TELL_OPEN;
}

/* Does the port's reader take any? */
static bool listens(const struct console *c, const struct port *p)
{
	return p->as.fd >= 0 && (!c->multiport || p->guest_open);
}

static void receive(struct console *c, unsigned int i)
{
	struct port *p = &c->port[i];
	unsigned int queue = rx_queue(i);
	struct vq *q = &c->d.queue[queue].vq;
	ssize_t n;

	if (!c->d.queue[queue].enabled)
		return;
	while (listens(c, p)) {
		p->reading = p->reading || vdev_pop(&c->d, queue, &p->rx);
		if (!p->reading) {
			if (vq_want_kick(q))
				continue;
			break;
		}
		n = p->rx.in ? readv(p->as.fd, p->rx.iov + p->rx.out, p->rx.in) : 0;
		if (p->rx.in && n < 0 && (errno == EAGAIN || errno == EINTR))
			break;
		if (p->rx.in && n <= 0) {
			hang_up(p);
			break;
		}
		vq_push(q, p->rx.head, n);
		p->reading = false;
		count(c, BYTES_IN, n);
	}
	vdev_done(&c->d, queue);
}

/* True: all of the chain has gone, wherever to. */
static bool send_chain(struct console *c, struct port *p)
{
	uint8_t buf[PIECE];
	size_t len;
	ssize_t n;

	while (p->written < p->tx.out_bytes && is_open(p)) {
		if (vdev_leaves(&c->d))
			return false;
		len = vq_read(&p->tx, p->written, buf, sizeof(buf));
		if (p->as.write)
			n = p->as.write(p->as.ctx, buf, len);
		else
			n = send(p->as.fd, buf, len, MSG_NOSIGNAL);
		if (n < 0 && (errno == EAGAIN || errno == EINTR) && !p->as.write)
			return false;
		if (n < 0 && !p->as.write)
			hang_up(p);
		if (n < 0)
			break;
		p->written += n;
		count(c, BYTES_OUT, n);
	}
	return true;
}

static void transmit(struct console *c, unsigned int i)
{
	struct port *p = &c->port[i];
	unsigned int queue = rx_queue(i) + 1;
	struct vq *q = &c->d.queue[queue].vq;

	if (!c->d.queue[queue].enabled)
		return;
	do {
		for (;;) {
			if (!p->writing) {
				p->writing = vdev_pop(&c->d, queue, &p->tx);
				p->written = 0;
			}
			if (!p->writing || !send_chain(c, p))
				break;
			vq_push(q, p->tx.head, 0);
			p->writing = false;
		}
		vdev_done(&c->d, queue);
	} while (vq_want_kick(q) && !p->writing);
}

/* ---- the device ------------------------------------------------------------------------ */

/* What happened under the lock since the last time. */
static void look(struct console *c)
{
	bool fresh, sized;
	unsigned int i;

	pthread_mutex_lock(&c->d.lock);
	fresh = c->fresh;
	sized = c->sized;
	c->fresh = c->sized = false;
	c->size_known = c->config.cols;
	c->multiport = vdev_has(&c->d, VIRTIO_CONSOLE_F_MULTIPORT);
	pthread_mutex_unlock(&c->d.lock);
	for (i = 0; i < c->ports; i++) {
		struct port *p = &c->port[i];

		if (fresh) {
			p->tell = 0;
			p->ready = p->guest_open = p->reading = p->writing = false;
		}
		if (sized && p->as.write)
			p->tell |= 1U << TELL_SIZE;
	}
}

static void console_work(struct vdev *d, unsigned int worker)
{
	struct console *c = (struct console *)d;
	unsigned int i;

	look(c);
	for (i = 0; i < c->ports; i++)
		if (c->port[i].as.listen >= 0 && c->port[i].as.fd < 0)
			answer(&c->port[i]);
	/* Before bytes, as it opens ports; and behind them, as they tell of who hangs up. */
	if (c->multiport)
		control(c);
	for (i = 0; i < (c->multiport ? c->ports : 1); i++) {
		transmit(c, i);
		receive(c, i);
	}
	if (c->multiport)
		control(c);
}

static unsigned int console_wait(struct vdev *d, unsigned int worker, struct pollfd *fds)
{
	struct console *c = (struct console *)d;
	unsigned int i, n = 0;

	for (i = 0; i < c->ports; i++) {
		struct port *p = &c->port[i];
		short events = (p->reading && listens(c, p) ? POLLIN : 0) |
			       (p->writing && !p->as.write ? POLLOUT : 0);

		if (p->as.fd >= 0 && events)
			fds[n++] = (struct pollfd){ .fd = p->as.fd, .events = events };
		else if (p->as.fd < 0 && p->as.listen >= 0)
			fds[n++] = (struct pollfd){ .fd = p->as.listen, .events = POLLIN };
	}
	return n;
}

static void console_reset(struct vdev *d)
{
	((struct console *)d)->fresh = true;
}

static void console_destroy(struct vdev *d)
{
	struct console *c = (struct console *)d;
	unsigned int i;

	for (i = 0; i < c->ports; i++) {
		if (c->port[i].as.fd >= 0)
			close(c->port[i].as.fd);
		if (c->port[i].as.listen >= 0)
			close(c->port[i].as.listen);
	}
	vdev_exit(d);
	free(c);
}

static const struct vdev_ops ops = {
	.name = "console", .id = VIRTIO_ID_CONSOLE, .class = 0x078000, .counters = counters,
	.work = console_work, .wait = console_wait, .reset = console_reset, .destroy = console_destroy,
};

void virtio_console_resize(struct vdev *d, uint16_t cols, uint16_t rows)
{
	struct console *c = (struct console *)d;

	vdev_config_begin(d);
	c->config.cols = cols;
	c->config.rows = rows;
	c->sized = true;
	vdev_config_end(d);
	vdev_wake(d);
}

struct vdev *virtio_console(const struct cleave_mem *mem, const struct console_port *ports, unsigned int n)
{
	struct console *c = calloc(1, sizeof(*c));
	unsigned int i;

	if (!c)
		return NULL;
	for (i = 0; i < n; i++)
		c->port[i].as = ports[i];
	c->ports = n;
	c->config.max_nr_ports = n;
	c->d.ops = &ops;
	c->d.mem = mem;
	c->d.config = &c->config;
	c->d.config_size = sizeof(c->config);
	c->d.offered = VDEV_RING_FEATURES | 1ULL << VIRTIO_CONSOLE_F_SIZE;
	/* One console alone has its size in the configuration, which drivers agree on. */
	if (n > 1 || !ports[0].console || ports[0].name[0])
		c->d.offered |= 1ULL << VIRTIO_CONSOLE_F_MULTIPORT;
	c->d.queues = c->d.offered >> VIRTIO_CONSOLE_F_MULTIPORT & 1 ? 2 * n + 2 : 2;
	c->d.workers = 1;
	if (!vdev_init(&c->d, QUEUE_SIZE))
		return &c->d;
	c->ports = 0;
	console_destroy(&c->d);
	return NULL;
}
