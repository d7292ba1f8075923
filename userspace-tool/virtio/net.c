// SPDX-License-Identifier: GPL-2.0
/*
 * Network device (virtio 1.2, 5.1): one pair of queues. Frames go from the guest's memory to
 * the back end and back without a copy here; the header of each is looked at, as it tells
 * the host's kernel where to write checksums.
 */
#include <errno.h>
#include <linux/virtio_net.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "../net/inside.h"
#include "bucket.h"
#include "vhost.h"

#define QUEUE_SIZE	256
#define RX		0
#define TX		1
#define CONTROL		2
#define LOOK_MS		1000	/* how often, with vhost, whether the interface is there */
#define BURST		128	/* frames, before the driver is told, and a reset is seen */
#define HELD		64	/* receive buffers that are held, */
#define SEGMENTS	1023	/* and their parts: what readv() takes, with one of ours */
#define ETHERNET	14
#define FRAME_PLAIN	(NET_HEADER + ETHERNET + 4)	/* and MTU bytes, if it is not cut by the guest */
#define NUM_BUFFERS	10	/* in the header */

#define BIT(f)		(1ULL << VIRTIO_NET_F_##f)
#define GUEST_OFFLOADS	(BIT(GUEST_CSUM) | BIT(GUEST_TSO4) | BIT(GUEST_TSO6))

_Static_assert(sizeof(struct virtio_net_hdr_mrg_rxbuf) == NET_HEADER, "the header of virtio 1");

enum {
	RX_FRAMES, RX_BYTES, RX_DROPPED, TX_FRAMES, TX_BYTES, TX_DROPPED, BAD_HEADERS,
};

static const char *const counters[] = {
	"rx_frames", "rx_bytes", "rx_dropped", "tx_frames", "tx_bytes", "tx_dropped", "bad_headers", NULL
};

struct held {
	uint16_t head;
	unsigned int segments;
	uint64_t bytes;
};

/* What is the receiver's: buffers that the driver has given, and what one frame has beyond them. */
struct receiver {
	bool told;			/* the backend, what the guest takes off */
	bool late;			/* frames wait for the rate */
	bool merge;
	uint64_t guest;			/* GUEST_OFFLOADS of now */
	unsigned int held, segments;
	uint64_t room;			/* bytes of them */
	uint64_t pending;		/* bytes of a frame that has had no room yet; or 0 */
	uint64_t at;			/* of them, how many are where they belong */
	struct held buffer[HELD];
	struct iovec iov[SEGMENTS + 1];
	uint8_t rest[NET_FRAME];
	struct vq_chain chain;
};

struct sender {
	bool holds;			/* chain waits for the backend */
	bool late;			/* frames wait for the rate */
	struct vq_chain chain;
	struct iovec iov[VQ_SIZE_MAX + 1];
	uint8_t frame[NET_FRAME];	/* for the service */
};

struct net {
	struct vdev d;
	struct net_params as;
	struct net_inside *inside;	/* or NULL */
	struct virtio_net_config config;
	atomic_bool gone;
	struct receiver rx;
	struct sender tx;
};

static void count(struct net *n, unsigned int what, uint64_t by)
{
	atomic_fetch_add_explicit(&n->d.counter[what], by, memory_order_relaxed);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ULL + t.tv_nsec;
}

/* May a frame pass now, by that rate? */
static bool passes(struct bucket *b)
{
	return !b || !bucket_wait(b, now_ns());
}

static void pay(struct bucket *b, uint64_t len)
{
	if (b)
		bucket_take(b, now_ns(), len);
}

/* ms until one may pass, which is tried again then. */
static int time_left(struct bucket *b)
{
	return bucket_wait(b, now_ns()) / 1000000 + 1;
}

static void went(struct net *n)
{
	if (atomic_exchange(&n->gone, true))
		return;
	vdev_config_begin(&n->d);
	n->config.status &= ~VIRTIO_NET_S_LINK_UP;
	vdev_config_end(&n->d);
	if (n->as.gone)
		n->as.gone(n->as.ctx);
}

/* ---- headers ------------------------------------------------------------------------- */

static uint64_t gso_feature(unsigned int type, bool to_guest)
{
	switch (type) {
	case VIRTIO_NET_HDR_GSO_TCPV4:
		return to_guest ? BIT(GUEST_TSO4) : BIT(HOST_TSO4);
	case VIRTIO_NET_HDR_GSO_TCPV6:
		return to_guest ? BIT(GUEST_TSO6) : BIT(HOST_TSO6);
	}
	return 0;
}

/* What the guest asks of the host's kernel (5.1.6.2), which fills in no field that is 0 here. */
static bool header_holds(const struct net *n, struct virtio_net_hdr_v1 *h, uint64_t len)
{
	h->num_buffers = 0;
	h->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	if (h->flags) {
		if (!vdev_has(&n->d, VIRTIO_NET_F_CSUM) ||
		    (uint64_t)h->csum_start + h->csum_offset + sizeof(uint16_t) > len || h->csum_start < ETHERNET)
			return false;
	} else {
		h->csum_start = h->csum_offset = 0;
	}
	if (h->gso_type == VIRTIO_NET_HDR_GSO_NONE) {
		h->gso_size = h->hdr_len = 0;
		return true;
	}
	return (n->d.accepted & gso_feature(h->gso_type, false)) && h->flags && h->gso_size &&
	       h->hdr_len <= len;
}

/* May the guest get that? It may have been in the queue since another driver ran. */
static bool guest_takes(const struct receiver *rx, const struct virtio_net_hdr_v1 *h)
{
	if ((h->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) && !(rx->guest & BIT(GUEST_CSUM)))
		return false;
	return h->gso_type == VIRTIO_NET_HDR_GSO_NONE || (rx->guest & gso_feature(h->gso_type, true));
}

/* ---- to the guest ------------------------------------------------------------------------ */

/* The bytes at offset of what is held: how many were copied. */
static uint64_t copy(struct receiver *rx, uint64_t offset, void *buf, uint64_t len, bool write)
{
	unsigned int i;
	uint64_t done = 0;

	for (i = 0; i < rx->segments && done < len; i++) {
		uint64_t part = rx->iov[i].iov_len;
		uint8_t *p = rx->iov[i].iov_base;

		if (offset >= part) {
			offset -= part;
			continue;
		}
		p += offset;
		part = part - offset < len - done ? part - offset : len - done;
		memcpy(write ? p : (uint8_t *)buf + done, write ? (uint8_t *)buf + done : p, part);
		offset = 0;
		done += part;
	}
	return done;
}

/* One more buffer; false: there is none, or no place for it. */
static bool hold(struct net *n)
{
	struct receiver *rx = &n->rx;
	struct vq_chain *c = &rx->chain;

	if (rx->held == HELD || rx->segments + VQ_SIZE_MAX > SEGMENTS || !vdev_pop(&n->d, RX, c))
		return false;
	if (c->in_bytes < NET_HEADER) {
		vdev_broken_queue(&n->d, RX, "a receive buffer has no room for a header (5.1.6.3.1)");
		return false;
	}
	rx->buffer[rx->held++] = (struct held){ c->head, c->in, c->in_bytes };
	memcpy(rx->iov + rx->segments, c->iov + c->out, c->in * sizeof(c->iov[0]));
	rx->segments += c->in;
	rx->room += c->in_bytes;
	return true;
}

/* Room for the longest frame that is to be expected, if the driver has given as much. */
static void hold_enough(struct net *n)
{
	struct receiver *rx = &n->rx;
	bool cut = rx->guest & (BIT(GUEST_TSO4) | BIT(GUEST_TSO6));
	uint64_t want = cut ? NET_FRAME : FRAME_PLAIN + (n->config.mtu ?: 1500);

	while (rx->merge ? rx->room < want : !rx->held)
		if (!hold(n))
			break;
}

static void let_go(struct receiver *rx, unsigned int buffers)
{
	unsigned int i, segments = 0;

	for (i = 0; i < buffers; i++) {
		segments += rx->buffer[i].segments;
		rx->room -= rx->buffer[i].bytes;
	}
	rx->held -= buffers;
	rx->segments -= segments;
	memmove(rx->buffer, rx->buffer + buffers, rx->held * sizeof(rx->buffer[0]));
	memmove(rx->iov, rx->iov + segments, rx->segments * sizeof(rx->iov[0]));
}

/* A frame that has room: to the driver with it. All its buffers are seen at once. */
static void give(struct net *n, uint64_t len)
{
	struct receiver *rx = &n->rx;
	uint64_t left = len;
	uint16_t buffers = 0;

	while (left) {
		struct held *b = &rx->buffer[buffers++];
		uint64_t part = b->bytes < left ? b->bytes : left;

		vq_put(&n->d.queue[RX].vq, b->head, part);
		left -= part;
	}
	copy(rx, NUM_BUFFERS, &buffers, sizeof(buffers), true);
	vq_show(&n->d.queue[RX].vq);
	let_go(rx, buffers);
	pay(n->as.in, len);
	count(n, RX_FRAMES, 1);
	count(n, RX_BYTES, len - NET_HEADER);
}

/* False: the frame that is pending waits for more buffers. */
static bool finish(struct net *n)
{
	struct receiver *rx = &n->rx;

	while (rx->merge && rx->room < rx->pending && hold(n))
		;
	rx->at += copy(rx, rx->at, rx->rest + sizeof(rx->rest) - (rx->pending - rx->at), rx->pending - rx->at, true);
	if (rx->at == rx->pending) {
		give(n, rx->pending);
	} else if (rx->merge && rx->held < HELD && rx->segments + VQ_SIZE_MAX <= SEGMENTS) {
		return false;
	} else {
		count(n, RX_DROPPED, 1);	/* and the buffers have another one */
	}
	rx->pending = 0;
	return true;
}

static ssize_t next_frame(struct net *n)
{
	struct receiver *rx = &n->rx;
	ssize_t len = -EAGAIN;

	rx->iov[rx->segments] = (struct iovec){ rx->rest, sizeof(rx->rest) };
	if (n->inside) {
		memset(rx->rest, 0, NET_HEADER);
		len = net_inside_output(n->inside, rx->rest + NET_HEADER, now_ms());
		if (len) {
			len += NET_HEADER;
			copy(rx, 0, rx->rest, len, true);
			if (rx->room < (uint64_t)len)
				memmove(rx->rest, rx->rest + rx->room, len - rx->room);
			return len;
		}
		len = -EAGAIN;
	}
	if (!atomic_load(&n->gone))
		len = n->as.backend->ops->receive(n->as.backend, rx->iov, rx->segments + 1);
	if (len == -ENODEV)
		went(n);
	return len;
}

/* The next frame: false: there is none. */
static bool receive_one(struct net *n)
{
	struct receiver *rx = &n->rx;
	struct virtio_net_hdr_v1 h;
	ssize_t len = next_frame(n);
	uint64_t over;

	if (len < 0)
		return false;
	copy(rx, 0, &h, sizeof(h), false);
	if (len < NET_HEADER + ETHERNET || len > NET_FRAME || !guest_takes(rx, &h)) {
		count(n, RX_DROPPED, 1);
		return true;
	}
	if ((uint64_t)len <= rx->room) {
		give(n, len);
		return true;
	}
	/* Its end is at the end of rest, wherever it is to go. */
	over = len - rx->room;
	memmove(rx->rest + sizeof(rx->rest) - over, rx->rest, over);
	rx->pending = len;
	rx->at = rx->room;
	return finish(n);
}

/* True: there may be more to do at once. */
static bool receive(struct net *n)
{
	struct receiver *rx = &n->rx;
	struct vq *q = &n->d.queue[RX].vq;
	unsigned int i;
	bool more = true;

	if (!n->d.queue[RX].enabled)
		return false;
	vq_no_kick(q);
	for (i = 0; i < BURST && more; i++) {
		rx->late = !passes(n->as.in);
		more = !rx->late && (!rx->pending || finish(n));
		if (rx->late)
			continue;
		if (more)
			hold_enough(n);
		if (!more || !rx->held) {
			more = vq_want_kick(q);
			continue;
		}
		more = receive_one(n);
	}
	vdev_done(&n->d, RX);
	return more;
}

/* ---- from the guest ------------------------------------------------------------------------ */

static bool for_the_service(struct net *n, uint64_t len)
{
	struct sender *tx = &n->tx;
	uint8_t head[NET_INSIDE_HEAD];
	size_t got = vq_read(&tx->chain, NET_HEADER, head, sizeof(head));

	if (!net_inside_takes(head, got))
		return false;
	got = vq_read(&tx->chain, NET_HEADER, tx->frame, len);
	net_inside_input(n->inside, tx->frame, got, now_ms());
	return true;
}

/* False: it goes later, or never: the queue has stopped. */
static bool send_one(struct net *n)
{
	struct sender *tx = &n->tx;
	struct virtio_net_hdr_v1 h;
	uint64_t len = tx->chain.out_bytes - NET_HEADER;
	unsigned int parts;
	ssize_t ret;

	if (tx->chain.out_bytes < NET_HEADER) {
		vdev_broken_queue(&n->d, TX, "a frame without a header (5.1.6.2)");
		return false;
	}
	vq_read(&tx->chain, 0, &h, sizeof(h));
	if (len < ETHERNET || len > NET_FRAME - NET_HEADER || !header_holds(n, &h, len)) {
		count(n, BAD_HEADERS, 1);
		return true;
	}
	ret = len;
	if (!n->inside || !for_the_service(n, len)) {
		tx->iov[0] = (struct iovec){ &h, sizeof(h) };
		parts = 1 + vq_slice(tx->chain.iov, tx->chain.out, NET_HEADER, len, tx->iov + 1);
		ret = atomic_load(&n->gone) ? -ENETDOWN : n->as.backend->ops->send(n->as.backend, tx->iov, parts);
	}
	if (ret == -EAGAIN)
		return false;
	if (ret == -ENODEV)
		went(n);
	count(n, ret < 0 ? TX_DROPPED : TX_FRAMES, 1);
	if (ret >= 0)
		count(n, TX_BYTES, len);
	return true;
}

static bool transmit(struct net *n)
{
	struct sender *tx = &n->tx;
	struct vq *q = &n->d.queue[TX].vq;
	unsigned int i;
	bool more = true;

	if (!n->d.queue[TX].enabled)
		return false;
	vq_no_kick(q);
	for (i = 0; i < BURST && more; i++) {
		tx->late = !passes(n->as.out);
		more = !tx->late;
		if (tx->late)
			continue;
		tx->holds = tx->holds || vdev_pop(&n->d, TX, &tx->chain);
		if (!tx->holds) {
			more = vq_want_kick(q);
			continue;
		}
		more = send_one(n);
		if (!more)
			continue;
		pay(n->as.out, tx->chain.out_bytes);
		vq_push(q, tx->chain.head, 0);
		tx->holds = false;
	}
	if (q->broken)
		tx->holds = false;
	vdev_done(&n->d, TX);
	return more;
}

/* ---- control (5.1.6.5) ------------------------------------------------------------------------ */

static uint8_t carry_out(struct net *n, const struct vq_chain *c)
{
	struct virtio_net_ctrl_hdr h;
	uint64_t offloads;

	if (vq_read(c, 0, &h, sizeof(h)) != sizeof(h) || h.class != VIRTIO_NET_CTRL_GUEST_OFFLOADS ||
	    h.cmd != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET || c->out_bytes != sizeof(h) + sizeof(offloads))
		return VIRTIO_NET_ERR;
	vq_read(c, sizeof(h), &offloads, sizeof(offloads));
	if (offloads & ~(n->d.accepted & GUEST_OFFLOADS))
		return VIRTIO_NET_ERR;
	if (n->rx.guest == offloads)	/* the host's network would be locked for nothing */
		return VIRTIO_NET_OK;
	n->rx.guest = offloads;
	n->as.backend->ops->offload(n->as.backend, offloads);
	return VIRTIO_NET_OK;
}

/* As many as the queue holds, at most. */
static bool control(struct net *n)
{
	struct vq *q = &n->d.queue[CONTROL].vq;
	struct vq_chain *c = &n->rx.chain;
	unsigned int i;
	bool more = true;

	if (n->d.queues <= CONTROL || !n->d.queue[CONTROL].enabled)
		return false;
	for (i = 0; i < QUEUE_SIZE && more; i++) {
		if (vdev_pop(&n->d, CONTROL, c)) {
			uint8_t ack = carry_out(n, c);

			vq_push(q, c->head, vq_write(c, 0, &ack, sizeof(ack)));
		} else {
			more = vq_want_kick(q);
		}
	}
	vdev_done(&n->d, CONTROL);
	return more;
}

/* ---- the device --------------------------------------------------------------------------------- */

/* Queues i, i + workers... are a worker's: RX and CONTROL one's, TX another's, if there are two. */
static bool receives(const struct vdev *d, unsigned int worker)
{
	return !worker;
}

static bool sends(const struct vdev *d, unsigned int worker)
{
	return worker == TX % d->workers;
}

static void begin(struct net *n)
{
	struct receiver *rx = &n->rx;

	rx->told = true;
	rx->merge = vdev_has(&n->d, VIRTIO_NET_F_MRG_RXBUF);
	rx->guest = n->d.accepted & GUEST_OFFLOADS;
	if (n->as.backend->ops->offload)
		n->as.backend->ops->offload(n->as.backend, rx->guest);
}

/* Nobody else reads from the interface then, and so nobody hears that it has gone. */
static void look(struct net *n)
{
	struct pollfd fd = { .fd = n->as.backend->fd };

	if (!atomic_load(&n->gone) && poll(&fd, 1, 0) > 0 && (fd.revents & (POLLERR | POLLNVAL)))
		went(n);
}

static void net_work(struct vdev *d, unsigned int worker)
{
	struct net *n = (struct net *)d;
	bool more = false;

	if (receives(d, worker) && !n->rx.told)
		begin(n);
	if (n->as.vhost) {
		vhost_work(n->as.vhost, d);
		look(n);
		if (control(n))
			vdev_wake(d);
		return;
	}
	if (sends(d, worker))
		more |= transmit(n);
	if (receives(d, worker)) {
		more |= control(n);
		more |= receive(n);
	}
	if (more)
		vdev_wake(d);
}

static unsigned int net_wait(struct vdev *d, unsigned int worker, struct pollfd *fds)
{
	struct net *n = (struct net *)d;
	short events = (receives(d, worker) && n->rx.held && !n->rx.pending && !n->rx.late ? POLLIN : 0) |
		       (sends(d, worker) && n->tx.holds && !n->tx.late ? POLLOUT : 0);

	if (n->as.vhost)
		return vhost_wait(n->as.vhost, d, fds);
	if (!events || n->as.backend->fd < 0 || atomic_load(&n->gone))
		return 0;
	fds[0] = (struct pollfd){ .fd = n->as.backend->fd, .events = events };
	return 1;
}

static int net_poll(struct vdev *d, unsigned int worker, struct pollfd *fds, unsigned int count)
{
	struct net *n = (struct net *)d;
	bool room = n->rx.held && !n->rx.pending;
	int timeout = n->inside && room && !n->rx.late ? net_inside_timeout(n->inside, now_ms()) : -1;

	if (n->as.vhost)
		return poll(fds, count, atomic_load(&n->gone) ? -1 : LOOK_MS);
	if (receives(d, worker) && n->rx.late)
		timeout = time_left(n->as.in);
	if (sends(d, worker) && n->tx.late && (timeout < 0 || time_left(n->as.out) < timeout))
		timeout = time_left(n->as.out);
	if (n->as.backend->ops->poll)
		return n->as.backend->ops->poll(n->as.backend, fds, count, timeout);
	return poll(fds, count, timeout);
}

static void net_drain(struct vdev *d, unsigned int worker)
{
	struct net *n = (struct net *)d;

	if (n->as.vhost)
		vhost_drain(n->as.vhost, d);
	if (receives(d, worker)) {
		n->rx.told = n->rx.late = false;
		n->rx.held = n->rx.segments = 0;
		n->rx.room = n->rx.pending = 0;
	}
	if (sends(d, worker))
		n->tx.holds = n->tx.late = false;
}

static void net_destroy(struct vdev *d)
{
	struct net *n = (struct net *)d;

	if (n->as.vhost)
		vhost_net_free(n->as.vhost);
	n->as.backend->ops->close(n->as.backend);
	if (n->inside)
		net_inside_free(n->inside);
	vdev_exit(d);
	free(n);
}

static const struct vdev_ops ops = {
	.name = "net", .id = VIRTIO_ID_NET, .class = 0x020000, .counters = counters, .work = net_work,
	.wait = net_wait, .poll = net_poll, .drain = net_drain, .destroy = net_destroy,
};

static const struct vdev_ops vhost_ops = {
	.name = "net", .id = VIRTIO_ID_NET, .class = 0x020000, .counters = counters, .vhost = true,
	.work = net_work, .wait = net_wait, .poll = net_poll, .drain = net_drain, .destroy = net_destroy,
};

static void describe(struct net *n)
{
	const struct net_backend *b = n->as.backend;

	memcpy(n->config.mac, n->as.mac, sizeof(n->config.mac));
	n->config.status = VIRTIO_NET_S_LINK_UP;
	n->config.max_virtqueue_pairs = 1;
	n->config.mtu = b->mtu;
	n->d.offered = VDEV_RING_FEATURES | BIT(MAC) | BIT(STATUS) | BIT(MRG_RXBUF);
	if (b->mtu)
		n->d.offered |= BIT(MTU);
	n->d.queues = 2;
	if (!b->ops->offload)
		return;
	n->d.offered |= BIT(CSUM) | BIT(HOST_TSO4) | BIT(HOST_TSO6) | GUEST_OFFLOADS | BIT(CTRL_VQ) |
			BIT(CTRL_GUEST_OFFLOADS);
	n->d.queues = 3;
}

struct vdev *virtio_net(const struct cleave_mem *mem, const struct net_params *p)
{
	struct net *n = calloc(1, sizeof(*n));

	if (!n) {
		if (p->vhost)
			vhost_net_free(p->vhost);
		p->backend->ops->close(p->backend);
		return NULL;
	}
	n->as = *p;
	n->d.ops = p->vhost ? &vhost_ops : &ops;
	n->d.mem = mem;
	n->d.config = &n->config;
	n->d.config_size = offsetof(struct virtio_net_config, speed);
	describe(n);
	/* What answers inside is the sender's and the receiver's. */
	n->d.workers = p->backend->one_thread || p->service || p->vhost ? 1 : 2;
	if (p->vhost)
		n->d.offered = vhost_net_offers(p->vhost, n->d.offered);
	if (p->service)
		n->inside = net_inside_new(p->service);
	if (!vdev_init(&n->d, QUEUE_SIZE) && (n->inside || !p->service) &&
	    (!p->vhost || !vhost_attach(p->vhost, &n->d)))
		return &n->d;
	net_destroy(&n->d);
	return NULL;
}
