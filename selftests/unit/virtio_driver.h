/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A driver for tests of virtio devices: it knows the registers by their offsets, and
 * shares nothing with the device's side but the bus.
 */
#ifndef VIRTIO_DRIVER_H
#define VIRTIO_DRIVER_H

#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "virtio/virtio.h"

#define D_RAM	(1UL << 20)
#define D_RINGS	0x10000UL	/* of queue 0; each has D_STEP */
#define D_STEP	0x4000UL
#define D_DATA	0x80000UL
#define D_SIZE	64		/* entries of a queue */

struct driver {
	struct bus mmio;
	struct pci pci;
	struct virtio_pci fn;
	struct virtio_host host;
	struct cleave_mem mem;
	pthread_mutex_t lock;		/* the machine's */
	struct vdev *d;
	uint8_t *ram;
	uint64_t bar;
	atomic_uint msis, last_data, levels[24];
	int eventfd[VDEV_QUEUES];	/* by ioeventfd */
	unsigned int eventfds;
	/* Of tests of devices that others serve: their memory, before it is made, or 0; or NULL. */
	int ram_fd;
	int (*irqfd)(void *ctx, int fd, uint64_t address, uint32_t data, bool assign);
	uint64_t features;
	uint16_t next_free[VDEV_QUEUES], used[VDEV_QUEUES];
};

static struct driver dr;

static void d_lock(void *ctx)
{
	pthread_mutex_lock(&dr.lock);
}

static void d_unlock(void *ctx)
{
	pthread_mutex_unlock(&dr.lock);
}

static void d_msi(void *ctx, uint64_t address, uint32_t data)
{
	atomic_store(&dr.last_data, data);
	atomic_fetch_add(&dr.msis, 1);
}

static int d_ioeventfd(void *ctx, uint64_t gpa, int fd, bool assign)
{
	unsigned int i = (gpa - dr.bar) % 0x1000 / 4;

	dr.eventfds += assign ? 1 : -1;
	dr.eventfd[i] = assign ? fd : -1;
	return 0;
}

static void d_irq(void *ctx, unsigned int nr, bool level)
{
	atomic_store(&dr.levels[nr], level);
}

static uint64_t d_get(uint64_t offset, unsigned int size)
{
	uint64_t value;

	d_lock(NULL);
	value = bus_read(&dr.mmio, dr.bar + offset, size);
	d_unlock(NULL);
	return value;
}

static void d_set(uint64_t offset, unsigned int size, uint64_t value)
{
	d_lock(NULL);
	bus_write(&dr.mmio, dr.bar + offset, size, value);
	d_unlock(NULL);
}

static uint64_t d_config(unsigned int offset, unsigned int size)
{
	uint64_t value;

	d_lock(NULL);
	value = pci_ecam_read(&dr.pci, 1 << 15 | offset, size);
	d_unlock(NULL);
	return value & (size == 4 ? UINT32_MAX : (1U << 8 * size) - 1);
}

static void d_set_config(unsigned int offset, unsigned int size, uint64_t value)
{
	d_lock(NULL);
	pci_ecam_write(&dr.pci, 1 << 15 | offset, size, value);
	d_unlock(NULL);
}

static void d_pause(void)
{
	const struct timespec ms = { .tv_nsec = 1000000 };

	nanosleep(&ms, NULL);
}

/* Memory for a device that is made next; RAM has nothing around it. */
static const struct cleave_mem *d_memory(void)
{
	uint8_t *area;

	if (!dr.ram) {
		area = mmap(NULL, D_RAM + 8192, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (area == MAP_FAILED || mprotect(area + 4096, D_RAM, PROT_READ | PROT_WRITE))
			abort();
		dr.ram = area + 4096;
		if (dr.ram_fd && (ftruncate(dr.ram_fd, D_RAM) ||
				  mmap(dr.ram, D_RAM, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, dr.ram_fd,
				       0) == MAP_FAILED))
			abort();
		pthread_mutex_init(&dr.lock, NULL);
		cleave_mem_add(&dr.mem, 0, D_RAM, dr.ram, 0);
	}
	memset(dr.ram, 0, D_RAM);
	return &dr.mem;
}

/* Puts the device on a bus of its own and starts its threads. */
static void d_plug(struct vdev *d)
{
	if (!d)
		abort();
	memset(&dr.mmio, 0, sizeof(dr.mmio));
	memset(&dr.pci, 0, sizeof(dr.pci));
	memset(&dr.fn, 0, sizeof(dr.fn));
	dr.d = d;
	dr.bar = 0xc0000000;
	dr.eventfds = 0;
	dr.host = (struct virtio_host){ NULL, d_lock, d_unlock, d_msi, d_ioeventfd, dr.irqfd };
	dr.pci.mmio = &dr.mmio;
	dr.pci.irq = d_irq;
	dr.pci.low = (struct pci_range){ dr.bar, 1 << 20, 0 };
	pci_init(&dr.pci);
	if (virtio_pci_add(&dr.fn, &dr.pci, d, &dr.host) || pci_start(&dr.pci) || vdev_start(d))
		abort();
}

static void d_unplug(void)
{
	vdev_stop(dr.d);
	dr.d->ops->destroy(dr.d);
}

static void d_reset(void)
{
	unsigned int i;

	d_set(0x14, 1, 0);
	for (i = 0; i < 5000 && d_get(0x14, 1); i++)
		d_pause();
	CHECK_EQ(d_get(0x14, 1), 0);
}

/* Up to FEATURES_OK; what the device then says. */
static uint8_t d_negotiate(uint64_t features)
{
	d_reset();
	d_set(0x14, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	d_set(0x14, 1, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	d_set(0x00, 4, 1);
	dr.features = d_get(0x04, 4) << 32;
	d_set(0x00, 4, 0);
	dr.features |= d_get(0x04, 4);
	d_set(0x08, 4, 0);
	d_set(0x0c, 4, features);
	d_set(0x08, 4, 1);
	d_set(0x0c, 4, features >> 32);
	d_set(0x14, 1, 0x0b);
	return d_get(0x14, 1);
}

static void d_queue(unsigned int i)
{
	uint64_t at = D_RINGS + i * D_STEP;

	memset(dr.ram + at, 0, D_STEP);
	dr.next_free[i] = dr.used[i] = 0;
	d_set(0x16, 2, i);
	d_set(0x18, 2, D_SIZE);
	d_set(0x1a, 2, i + 1);
	d_set(0x20, 4, at);
	d_set(0x24, 4, 0);
	d_set(0x28, 4, at + 0x1000);
	d_set(0x2c, 4, 0);
	d_set(0x30, 4, at + 0x2000);
	d_set(0x34, 4, 0);
	d_set(0x1c, 2, 1);
}

/* MSI-X: vector i sends data 0x40 + i. */
static void d_msix(unsigned int vectors)
{
	unsigned int i;

	for (i = 0; i < vectors; i++) {
		d_set(0x4000 + 16 * i, 8, 0xfee00000);
		d_set(0x4008 + 16 * i, 8, 0x40 + i);
	}
	d_set_config(0x42, 2, 0x8000);
	d_set(0x10, 2, 0);
}

static void d_start(uint64_t features, unsigned int queues)
{
	unsigned int i;

	CHECK_EQ(d_negotiate(1ULL << VIRTIO_F_VERSION_1 | features), 0x0b);
	d_msix(queues + 1);
	for (i = 0; i < queues; i++)
		d_queue(i);
	d_set(0x14, 1, 0x0f);
	CHECK_EQ(d_get(0x14, 1), 0x0f);
}

static struct vring_desc *d_desc(unsigned int queue)
{
	return (struct vring_desc *)(dr.ram + D_RINGS + queue * D_STEP);
}

static struct vring_avail *d_avail(unsigned int queue)
{
	return (struct vring_avail *)(dr.ram + D_RINGS + queue * D_STEP + 0x1000);
}

static struct vring_used *d_used(unsigned int queue)
{
	return (struct vring_used *)(dr.ram + D_RINGS + queue * D_STEP + 0x2000);
}

struct d_part {
	uint64_t gpa;
	uint32_t len;
	bool write;
};

/* A chain of n parts, offered and not kicked; its head. */
static uint16_t d_offer(unsigned int queue, const struct d_part *part, unsigned int n)
{
	struct vring_avail *a = d_avail(queue);
	uint16_t head = dr.next_free[queue], i;

	for (i = 0; i < n; i++) {
		struct vring_desc *d = &d_desc(queue)[(head + i) % D_SIZE];

		*d = (struct vring_desc){
			part[i].gpa, part[i].len,
			(part[i].write ? VRING_DESC_F_WRITE : 0) | (i + 1 < n ? VRING_DESC_F_NEXT : 0),
			(head + i + 1) % D_SIZE,
		};
	}
	dr.next_free[queue] = (head + n) % D_SIZE;
	a->ring[a->idx % D_SIZE] = head;
	__atomic_store_n(&a->idx, a->idx + 1, __ATOMIC_RELEASE);
	return head;
}

static void d_kick(unsigned int queue)
{
	d_set(0x3000 + 4 * queue, 2, queue);
}

/* The next used element, within seconds: its length, or -1. */
static int64_t d_wait(unsigned int queue)
{
	struct vring_used *u = d_used(queue);
	unsigned int i;

	for (i = 0; i < 10000; i++) {
		if (__atomic_load_n(&u->idx, __ATOMIC_ACQUIRE) != dr.used[queue])
			return u->ring[dr.used[queue]++ % D_SIZE].len;
		d_pause();
	}
	return -1;
}

static bool d_message(unsigned int data)
{
	unsigned int i;

	for (i = 0; i < 5000; i++) {
		if (atomic_load(&dr.last_data) == data)
			return true;
		d_pause();
	}
	return false;
}

#endif
