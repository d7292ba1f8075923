/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Virtio devices (virtio 1.2). A device has one thread, or one for each of its queues,
 * that does its work; vCPUs only write its registers. Locks, outermost first: the
 * machine's, a device's. Nobody holds either for I/O.
 */
#ifndef CLEAVE_VIRTIO_H
#define CLEAVE_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>

#include "../dev/pci.h"
#include "queue.h"

#define VDEV_QUEUES	40
#define VDEV_FDS	16	/* that a worker waits for beside its queues */
#define VDEV_COUNTERS	8
#define VDEV_RING_FEATURES (1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_RING_F_INDIRECT_DESC | \
			    1ULL << VIRTIO_RING_F_EVENT_IDX)

struct vdev;

/* One of each kind of device. A worker is one of the device's threads, by number. */
struct vdev_ops {
	const char *name;
	uint16_t id;			/* VIRTIO_ID_* */
	uint32_t class;			/* PCI's */
	const char *const *counters;	/* names of vdev.counter, NULL behind the last */
	/* All that can be done now; the device runs. By the worker. */
	void (*work)(struct vdev *d, unsigned int worker);
	/* Or NULL: what else to wait for: how many, at most VDEV_FDS. By the worker. */
	unsigned int (*wait)(struct vdev *d, unsigned int worker, struct pollfd *fds);
	/* Or NULL: poll() of these and of what is the device's own. Its result. By the worker. */
	int (*poll)(struct vdev *d, unsigned int worker, struct pollfd *fds, unsigned int n);
	/* Or NULL: ends what is under way: no more guest memory is used. By the worker. */
	void (*drain)(struct vdev *d, unsigned int worker);
	/* Or NULL: the driver has reset the device. Lock held. */
	void (*reset)(struct vdev *d);
	/* Or NULL: the driver has written to config, which is as before. Lock held. */
	void (*config_write)(struct vdev *d, unsigned int offset, const void *data, unsigned int size);
	void (*destroy)(struct vdev *d);	/* frees it; its threads have ended */
};

struct vdev_queue {
	struct vq vq;
	uint16_t max, vector;
	bool enabled;
	bool direct;			/* its kicks come by an ioeventfd */
	int kick;			/* eventfd */
	atomic_ullong kicks, chains, interrupts;
};

struct vdev_worker {
	struct vdev *d;
	unsigned int index;
	pthread_t thread;
	bool started, active;		/* active: it may use queues; under the lock */
	int wake;			/* eventfd */
};

/* How the device reaches the driver: by its transport. */
struct vdev_transport {
	void (*interrupt)(struct vdev *d, const uint16_t *vector, bool config);	/* no lock held */
	void (*clear)(struct vdev *d);		/* no interrupt is due any more; lock held */
	void (*was_reset)(struct vdev *d);					/* no lock held */
};

struct vdev {
	const struct vdev_ops *ops;
	const struct cleave_mem *mem;
	const struct vdev_transport *transport;
	void *transport_data;
	char label[32];			/* "blk 0", for people */
	uint64_t offered;
	void *config;			/* what the driver reads; changed under the lock */
	unsigned int config_size;
	unsigned int queues, workers;
	bool sockets;			/* its threads make connections of their own */
	atomic_ullong counter[VDEV_COUNTERS];

	pthread_mutex_t lock;		/* what follows; queues' rings are their workers' */
	uint64_t accepted;
	uint32_t offered_select, accepted_select;
	uint8_t status, generation;
	uint16_t queue_select, config_vector;
	bool resetting, stop;
	unsigned int active;		/* workers that may use queues */
	const char *broken;		/* what the driver did wrong last */
	struct vdev_queue queue[VDEV_QUEUES];
	struct vdev_worker worker[VDEV_QUEUES];
};

/* ---- device.c: what the driver sees ------------------------------------------- */

/* ops, mem, offered, config, queues, workers are set. One worker, or one a queue. -errno */
int vdev_init(struct vdev *d, unsigned int queue_size);
void vdev_exit(struct vdev *d);			/* its threads have ended */
static inline bool vdev_has(const struct vdev *d, unsigned int feature)
{
	return d->accepted >> feature & 1;
}

/* Registers. Lock held. */
void vdev_set_status(struct vdev *d, uint8_t status);
void vdev_accept(struct vdev *d, uint32_t features);	/* of accepted_select */
uint32_t vdev_offers(const struct vdev *d);		/* of offered_select */
void vdev_enable_queue(struct vdev *d, unsigned int i);

/* By workers; no lock held. */
/* The next chain: vq_pop(), but that a broken rule stops the device: true, there is one. */
bool vdev_pop(struct vdev *d, unsigned int queue, struct vq_chain *c);
/* Tells the driver of what was given back, if it wants to know. */
void vdev_done(struct vdev *d, unsigned int queue);
/* The driver has broken a rule of the device itself. */
void vdev_broken(struct vdev *d, const char *rule);
/* The same; and nothing is taken from the queue any more. */
void vdev_broken_queue(struct vdev *d, unsigned int queue, const char *rule);
/* config is changed between the two; the driver is told. */
void vdev_config_begin(struct vdev *d);
void vdev_config_end(struct vdev *d);

/* ---- thread.c -------------------------------------------------------------------- */

extern void (*vdev_thread_begins)(const struct vdev *d);	/* by each thread of a device, if it is set */
int vdev_start(struct vdev *d);			/* -errno: no thread; what has started stops */
void vdev_stop(struct vdev *d);			/* drains and ends them */
void vdev_wake(struct vdev *d);			/* the workers look at the state again */
void vdev_kick(struct vdev *d, unsigned int queue);	/* as the driver does */
/* The rest of a reset, by the last worker that lets go. Lock held. */
void vdev_clear(struct vdev *d);

/* ---- pci.c: virtio over PCI (4.1) ------------------------------------------------- */

/* What the transport needs of the machine. */
struct virtio_host {
	void *ctx;
	void (*lock)(void *ctx);
	void (*unlock)(void *ctx);
	void (*msi)(void *ctx, uint64_t address, uint32_t data);	/* by any thread */
	/* Writes at gpa signal fd, or no more. 0, or -errno: they exit. Machine's lock held. */
	int (*ioeventfd)(void *ctx, uint64_t gpa, int fd, bool assign);
};

struct virtio_pci {
	struct vdev *d;
	const struct virtio_host *host;
	struct pci_function fn;
	struct msix msix;		/* under the device's lock */
	uint8_t isr;
	unsigned int msix_at, window_at;	/* capabilities */
};

/* -ENOSPC: the bus has no slot free. */
int virtio_pci_add(struct virtio_pci *p, struct pci *pci, struct vdev *d, const struct virtio_host *host);

/* ---- devices: NULL without memory, and for what else they say ---------------------- */

struct vdev *virtio_rng(const struct cleave_mem *mem);

#define BLK_SERIAL	20

/* The image is the device's, or closed if that fails. serial: at most BLK_SERIAL bytes. */
struct block;
struct vdev *virtio_blk(const struct cleave_mem *mem, struct block *image, const char *serial,
			unsigned int queues);

#define CONSOLE_PORTS	8
#define CONSOLE_NAME	63

/* One stream of bytes. The device closes the descriptors. */
struct console_port {
	bool console;			/* hvc0, hvc1 ...; else /dev/vportNpM */
	char name[CONSOLE_NAME + 1];	/* of a port for programs, or empty */
	int fd;				/* non-blocking, a socket; -1: none now, or never */
	int listen;			/* accepts the next fd; or -1 */
	/* Or NULL: takes what the guest sends, instead of fd; may wait. Bytes, or -1 */
	ssize_t (*write)(void *ctx, const void *data, size_t len);
	void *ctx;
};

/* 1 to CONSOLE_PORTS of them. If it fails the descriptors stay the caller's. */
struct vdev *virtio_console(const struct cleave_mem *mem, const struct console_port *ports, unsigned int n);
/* The terminal of the ports with write() has that size now. By any thread. */
void virtio_console_resize(struct vdev *d, uint16_t cols, uint16_t rows);

/* bytes: what the guest is to give up. */
struct vdev *virtio_balloon(const struct cleave_mem *mem, uint64_t bytes);

struct net_backend;
struct net_service;

struct net_params {
	struct net_backend *backend;	/* the device's; or closed if that fails */
	uint8_t mac[6];
	const struct net_service *service;	/* that the guest reaches, or NULL */
	void (*gone)(void *ctx);	/* the backend has gone for good; by a thread of the device's */
	void *ctx;
};

struct vdev *virtio_net(const struct cleave_mem *mem, const struct net_params *p);

#endif /* CLEAVE_VIRTIO_H */
