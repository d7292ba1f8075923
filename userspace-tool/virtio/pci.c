// SPDX-License-Identifier: GPL-2.0
/*
 * Virtio over PCI (virtio 1.2, 4.1), without what came before 1.0. One BAR of memory has
 * all: common configuration, ISR, device configuration, a word for each queue's kicks,
 * and MSI-X.
 */
#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include "virtio.h"

#define BAR		0
#define BAR_SIZE	0x8000U
#define COMMON		0x0000U
#define COMMON_SIZE	0x40U		/* with 1.2's queue_notify_data and queue_reset */
#define ISR		0x1000U
#define DEVICE		0x2000U
#define NOTIFY		0x3000U
#define NOTIFY_STEP	4U
#define TABLE		0x4000U
#define PBA		0x5000U
#define AREA		0x1000U

#define ISR_QUEUE	1
#define ISR_CONFIG	2

/* ---- interrupts --------------------------------------------------------------------- */

/* Machine's lock held. */
static void update_line(struct virtio_pci *p)
{
	bool level;

	pthread_mutex_lock(&p->d->lock);
	level = p->isr && !p->msix.enabled;
	pthread_mutex_unlock(&p->d->lock);
	pci_intx(&p->fn, level);
}

static void on_interrupt(struct vdev *d, const uint16_t *vector, bool config)
{
	struct virtio_pci *p = d->transport_data;
	bool msix;

	pthread_mutex_lock(&d->lock);
	msix = p->msix.enabled;
	if (msix)
		msix_raise(&p->msix, *vector);
	else
		p->isr |= config ? ISR_QUEUE | ISR_CONFIG : ISR_QUEUE;
	pthread_mutex_unlock(&d->lock);
	if (msix)
		return;
	p->host->lock(p->host->ctx);
	update_line(p);
	p->host->unlock(p->host->ctx);
}

static void on_clear(struct vdev *d)
{
	struct virtio_pci *p = d->transport_data;

	p->isr = 0;
}

static void on_reset(struct vdev *d)
{
	struct virtio_pci *p = d->transport_data;

	p->host->lock(p->host->ctx);
	update_line(p);
	p->host->unlock(p->host->ctx);
}

static const struct vdev_transport transport = { on_interrupt, on_clear, on_reset };

/* ---- common configuration (4.1.4.3) ---------------------------------------------------- */

static uint16_t valid_vector(const struct virtio_pci *p, uint16_t vector)
{
	return vector < p->msix.count ? vector : MSIX_NONE;
}

/* All of it as it reads now; a read takes its part. Device's lock held. */
static uint64_t common_read(struct virtio_pci *p, unsigned int offset, unsigned int size)
{
	struct vdev *d = p->d;
	struct vdev_queue *q = d->queue_select < d->queues ? &d->queue[d->queue_select] : NULL;
	struct virtio_pci_common_cfg c = {
		.device_feature_select = d->offered_select,
		.device_feature = vdev_offers(d),
		.guest_feature_select = d->accepted_select,
		.msix_config = d->config_vector,
		.num_queues = d->queues,
		.device_status = d->status,
		.config_generation = d->generation,
		.queue_select = d->queue_select,
	};
	uint8_t all[COMMON_SIZE] = { 0 };

	if (d->accepted_select < 2)
		c.guest_feature = d->accepted >> (32 * d->accepted_select);
	if (q) {
		c.queue_size = q->vq.size;
		c.queue_msix_vector = q->vector;
		c.queue_enable = q->enabled;
		c.queue_notify_off = d->queue_select;
		c.queue_desc_lo = q->vq.desc_gpa;
		c.queue_desc_hi = q->vq.desc_gpa >> 32;
		c.queue_avail_lo = q->vq.avail_gpa;
		c.queue_avail_hi = q->vq.avail_gpa >> 32;
		c.queue_used_lo = q->vq.used_gpa;
		c.queue_used_hi = q->vq.used_gpa >> 32;
	} else {
		c.queue_msix_vector = MSIX_NONE;
	}
	memcpy(all, &c, sizeof(c));
	return offset + size <= sizeof(all) ? pci_get(all, offset, size) : 0;
}

static void set_half(uint64_t *address, bool high, uint32_t value)
{
	*address = high ? (*address & 0xffffffff) | (uint64_t)value << 32 :
			  (*address & ~0xffffffffULL) | value;
}

/* Of the selected queue, which is not in use. */
static void queue_write(struct virtio_pci *p, unsigned int offset, unsigned int size, uint64_t value)
{
	struct vdev *d = p->d;
	struct vdev_queue *q = &d->queue[d->queue_select];
	bool word = size == 2;

	if (offset == VIRTIO_PCI_COMMON_Q_MSIX && word)
		q->vector = valid_vector(p, value);
	if (q->enabled)
		return;
	if (offset == VIRTIO_PCI_COMMON_Q_SIZE && word) {
		/* Any other is for vq_enable() to refuse. */
		if (value <= q->max)
			q->vq.size = value;
	} else if (offset == VIRTIO_PCI_COMMON_Q_ENABLE && word && value == 1) {
		vdev_enable_queue(d, d->queue_select);
	} else if (offset >= VIRTIO_PCI_COMMON_Q_DESCLO && offset <= VIRTIO_PCI_COMMON_Q_USEDHI && size == 4) {
		uint64_t *at[] = { &q->vq.desc_gpa, &q->vq.avail_gpa, &q->vq.used_gpa };

		if (!(offset % 4))
			set_half(at[(offset - VIRTIO_PCI_COMMON_Q_DESCLO) / 8], offset & 4, value);
	}
}

/* By the fields' own widths (4.1.3.1). Machine's and device's lock held. */
static void common_write_field(struct virtio_pci *p, unsigned int offset, unsigned int size, uint64_t value)
{
	struct vdev *d = p->d;

	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:
		if (size == 4)
			d->offered_select = value;
		break;
	case VIRTIO_PCI_COMMON_GFSELECT:
		if (size == 4)
			d->accepted_select = value;
		break;
	case VIRTIO_PCI_COMMON_GF:
		if (size == 4)
			vdev_accept(d, value);
		break;
	case VIRTIO_PCI_COMMON_MSIX:
		if (size == 2)
			d->config_vector = valid_vector(p, value);
		break;
	case VIRTIO_PCI_COMMON_STATUS:
		if (size == 1)
			vdev_set_status(d, value);
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:
		if (size == 2)
			d->queue_select = value;
		break;
	default:
		if (d->queue_select < d->queues)
			queue_write(p, offset, size, value);
	}
}

/* A 64-bit field is two of 32 bits, which some drivers write at once. */
static void common_write(struct virtio_pci *p, unsigned int offset, unsigned int size, uint64_t value)
{
	if (size == 8 && !(offset % 8)) {
		common_write_field(p, offset, 4, (uint32_t)value);
		common_write_field(p, offset + 4, 4, value >> 32);
	} else {
		common_write_field(p, offset, size, value);
	}
}

/* ---- device configuration (4.1.4.6), ISR (4.1.4.5) ---------------------------------------- */

static uint64_t device_read(struct vdev *d, unsigned int offset, unsigned int size)
{
	return offset + size <= d->config_size ? pci_get(d->config, offset, size) : 0;
}

static void device_write(struct vdev *d, unsigned int offset, unsigned int size, uint64_t value)
{
	if (offset + size <= d->config_size && d->ops->config_write)
		d->ops->config_write(d, offset, &value, size);
}

static uint64_t isr_read(struct virtio_pci *p)
{
	uint8_t isr = p->isr;

	p->isr = 0;
	return isr;
}

/* ---- the BAR: machine's lock held ---------------------------------------------------------- */

static uint64_t bar_read(void *dev, unsigned int bar, uint64_t offset, unsigned int size)
{
	struct virtio_pci *p = dev;
	unsigned int in = offset % AREA;
	uint64_t value = 0;

	pthread_mutex_lock(&p->d->lock);
	switch (offset - in) {
	case COMMON:
		value = common_read(p, in, size);
		break;
	case ISR:
		value = in ? 0 : isr_read(p);
		break;
	case DEVICE:
		value = device_read(p->d, in, size);
		break;
	case TABLE:
		value = msix_table_read(&p->msix, in, size);
		break;
	case PBA:
		value = msix_pba_read(&p->msix, in, size);
		break;
	}
	pthread_mutex_unlock(&p->d->lock);
	if (offset - in == ISR)
		update_line(p);
	return value;
}

static void bar_write(void *dev, unsigned int bar, uint64_t offset, unsigned int size, uint64_t value)
{
	struct virtio_pci *p = dev;
	unsigned int in = offset % AREA;

	if (offset - in == NOTIFY) {
		vdev_kick(p->d, in / NOTIFY_STEP);
		return;
	}
	pthread_mutex_lock(&p->d->lock);
	if (offset - in == COMMON)
		common_write(p, in, size, value);
	else if (offset - in == DEVICE)
		device_write(p->d, in, size, value);
	else if (offset - in == TABLE)
		msix_table_write(&p->msix, in, size, value);
	pthread_mutex_unlock(&p->d->lock);
	if (offset - in == COMMON)
		update_line(p);
}

/* Kicks go to where the BAR is. What has none exits, and comes by bar_write(). */
static void bar_moved(void *dev, unsigned int bar, uint64_t from, uint64_t to)
{
	struct virtio_pci *p = dev;
	unsigned int i;

	for (i = 0; i < p->d->queues; i++) {
		struct vdev_queue *q = &p->d->queue[i];
		uint64_t offset = NOTIFY + i * NOTIFY_STEP;

		if (from != PCI_NOWHERE && q->direct)
			p->host->ioeventfd(p->host->ctx, from + offset, q->kick, false);
		q->direct = to != PCI_NOWHERE &&
			    !p->host->ioeventfd(p->host->ctx, to + offset, q->kick, true);
	}
}

/* ---- configuration space: machine's lock held ------------------------------------------------ */

/* The window on the BAR (4.1.4.9): is there something behind it? */
static bool window(struct virtio_pci *p, unsigned int *offset, unsigned int *size)
{
	const uint8_t *c = p->fn.config + p->window_at;

	*offset = pci_get(c, offsetof(struct virtio_pci_cap, offset), 4);
	*size = pci_get(c, offsetof(struct virtio_pci_cap, length), 4);
	return c[offsetof(struct virtio_pci_cap, bar)] == BAR && (*size == 1 || *size == 2 || *size == 4) &&
	       *offset < BAR_SIZE && !(*offset % *size);
}

static bool in_window_data(const struct virtio_pci *p, unsigned int offset, unsigned int size)
{
	unsigned int data = p->window_at + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);

	return offset < data + 4 && offset + size > data;
}

static void config_read(void *dev, unsigned int offset, unsigned int size)
{
	struct virtio_pci *p = dev;
	unsigned int at, n;

	if (in_window_data(p, offset, size) && window(p, &at, &n))
		pci_set(p->fn.config, p->window_at + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data), n,
			bar_read(p, BAR, at, n));
}

static void config_written(void *dev, unsigned int offset, unsigned int size)
{
	struct virtio_pci *p = dev;
	unsigned int at, n, flags = p->msix_at + PCI_MSIX_FLAGS;

	if (offset < flags + 2 && offset + size > flags) {
		pthread_mutex_lock(&p->d->lock);
		msix_control(&p->msix, pci_get(p->fn.config, flags, 2));
		pthread_mutex_unlock(&p->d->lock);
		update_line(p);
	}
	if (in_window_data(p, offset, size) && window(p, &at, &n))
		bar_write(p, BAR, at, n, pci_get(p->fn.config, p->window_at +
						 offsetof(struct virtio_pci_cfg_cap, pci_cfg_data), n));
}

static unsigned int capability(struct virtio_pci *p, uint8_t type, unsigned int len, uint32_t offset,
			       uint32_t length)
{
	unsigned int at = pci_capability(&p->fn, PCI_CAP_ID_VNDR, len);
	uint8_t *c = p->fn.config + at;

	c[offsetof(struct virtio_pci_cap, cap_len)] = len;
	c[offsetof(struct virtio_pci_cap, cfg_type)] = type;
	c[offsetof(struct virtio_pci_cap, bar)] = BAR;
	pci_set(c, offsetof(struct virtio_pci_cap, offset), 4, offset);
	pci_set(c, offsetof(struct virtio_pci_cap, length), 4, length);
	return at;
}

static void capabilities(struct virtio_pci *p)
{
	const unsigned int len = sizeof(struct virtio_pci_cap);
	unsigned int at;

	msix_capability(&p->fn, &p->msix, BAR, TABLE, PBA);
	p->msix_at = p->fn.last_cap - 1;
	capability(p, VIRTIO_PCI_CAP_COMMON_CFG, len, COMMON, COMMON_SIZE);
	capability(p, VIRTIO_PCI_CAP_ISR_CFG, len, ISR, 1);
	if (p->d->config_size)
		capability(p, VIRTIO_PCI_CAP_DEVICE_CFG, len, DEVICE, p->d->config_size);
	at = capability(p, VIRTIO_PCI_CAP_NOTIFY_CFG, sizeof(struct virtio_pci_notify_cap), NOTIFY,
			p->d->queues * NOTIFY_STEP);
	pci_set(p->fn.config, at + offsetof(struct virtio_pci_notify_cap, notify_off_multiplier), 4, NOTIFY_STEP);
	p->window_at = capability(p, VIRTIO_PCI_CAP_PCI_CFG, sizeof(struct virtio_pci_cfg_cap), 0, 0);
	at = p->window_at + offsetof(struct virtio_pci_cap, bar);
	pci_set(p->fn.writable, at, 1, 0xff);
	at = p->window_at + offsetof(struct virtio_pci_cap, offset);
	pci_set(p->fn.writable, at, 8, UINT64_MAX);
	at = p->window_at + offsetof(struct virtio_pci_cfg_cap, pci_cfg_data);
	pci_set(p->fn.writable, at, 4, UINT32_MAX);
}

static void on_send(void *ctx, uint64_t address, uint32_t data)
{
	struct virtio_pci *p = ctx;

	p->host->msi(p->host->ctx, address, data);
}

int virtio_pci_add(struct virtio_pci *p, struct pci *pci, struct vdev *d, const struct virtio_host *host)
{
	const struct pci_id id = {
		.vendor = 0x1af4, .device = 0x1040 + d->ops->id, .revision = 1,
		.subvendor = 0x1af4, .subdevice = 0x1100, .class = d->ops->class,
	};
	int ret;

	p->d = d;
	p->host = host;
	p->fn.dev = p;
	p->fn.read = bar_read;
	p->fn.write = bar_write;
	p->fn.moved = bar_moved;
	p->fn.config_read = config_read;
	p->fn.config_written = config_written;
	p->msix.send = on_send;
	p->msix.ctx = p;
	ret = pci_add(pci, &p->fn, &id);
	if (ret)
		return ret;
	msix_init(&p->msix, d->queues + 1);
	pci_memory_bar(&p->fn, BAR, BAR_SIZE, true);
	capabilities(p);
	d->transport = &transport;
	d->transport_data = p;
	return 0;
}
