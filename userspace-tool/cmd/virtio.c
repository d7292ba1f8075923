// SPDX-License-Identifier: GPL-2.0
/* The devices of virtio, and what they need of the machine. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../block/block.h"
#include "sandbox.h"
#include "virtio.h"

#define BLK_QUEUES_MAX	8
_Static_assert(ARGS_SERIAL == BLK_SERIAL, "--disk serial=");
_Static_assert(BOOT_PCI_SLOTS == PCI_SLOTS, "_PRT");

/* ---- what they ask for ----------------------------------------------------------- */

static void on_lock(void *ctx)
{
	pthread_mutex_lock(&((struct machine *)ctx)->lock);
}

static void on_unlock(void *ctx)
{
	pthread_mutex_unlock(&((struct machine *)ctx)->lock);
}

/* What the guest has put there may be no message: then nobody gets it, as on a bus. */
static void on_msi(void *ctx, uint64_t address, uint32_t data)
{
	cleave_msi(((struct machine *)ctx)->vm, address, data);
}

static int on_ioeventfd(void *ctx, uint64_t gpa, int fd, bool assign)
{
	struct machine *m = ctx;
	const struct cleave_ioeventfd e = {
		.address = gpa, .fd = assign ? fd : 0, .flags = assign ? 0 : CLEAVE_IOEVENTFD_DEASSIGN,
	};
	int ret;

	if (!(m->info.features & CLEAVE_FEATURE_IOEVENTFD))
		return -ENOTTY;
	do
		ret = cleave_ioeventfd(m->vm, &e);
	while (ret == -EINTR);
	return ret;
}

/* 32 bits at 0xcf8 are PCI's; bytes of it are the reset register, 0xcf9. */
static uint64_t port_read(void *dev, uint64_t offset, unsigned int size)
{
	struct machine *m = dev;

	return size == 4 ? pci_address_read(&m->virtio->pci, offset, size) :
			   pm_reset_read(&m->pm, offset, size);
}

static void port_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct machine *m = dev;

	if (size == 4)
		pci_address_write(&m->virtio->pci, offset, size, value);
	else
		pm_reset_write(&m->pm, offset, size, value);
}

/* ---- the bus ---------------------------------------------------------------------- */

static int add_bus(struct machine *m)
{
	struct virtio_devices *v = calloc(1, sizeof(*v));
	struct boot_range high = boot_pci_high(m->args->memory);
	const struct bus_range address = { PCI_CONFIG_PORT, 4, 4, m, port_read, port_write };
	struct bus_range data = { PCI_CONFIG_DATA, 4, 4, NULL, pci_data_read, pci_data_write };
	struct bus_range ecam = { BOOT_ECAM, BOOT_ECAM_SIZE, 4, NULL, pci_ecam_read, pci_ecam_write };

	if (!v) {
		complain("the host is out of memory; free some");
		return -ENOMEM;
	}
	m->virtio = v;
	data.dev = ecam.dev = &v->pci;
	v->host = (struct virtio_host){ m, on_lock, on_unlock, on_msi, on_ioeventfd };
	v->pci.mmio = &m->mmio;
	v->pci.irq = machine_irq;
	v->pci.ctx = m;
	v->pci.low = (struct pci_range){ BOOT_PCI_LOW, BOOT_PCI_LOW_SIZE, 0 };
	v->pci.high = (struct pci_range){ high.gpa, high.size, 0 };
	pci_init(&v->pci);
	bus_remove(&m->pio, PCI_CONFIG_PORT);
	bus_add(&m->pio, &address);
	bus_add(&m->pio, &data);
	bus_add(&m->mmio, &ecam);
	return 0;
}

/* d: NULL: there was no memory, or too few files could be opened. */
static int add_device(struct machine *m, struct vdev *d, const char *option, unsigned int number)
{
	struct virtio_devices *v = m->virtio;
	struct virtio_pci *p = &v->function[v->count];

	if (!d) {
		complain("%s: the host is out of memory, or ulimit -n is met; free some, or raise it", option);
		return -ENOMEM;
	}
	snprintf(d->label, sizeof(d->label), "%s %u", d->ops->name, number);
	v->device[v->count] = d;
	if (v->count == VIRTIO_DEVICES - 1 || virtio_pci_add(p, &v->pci, d, &v->host)) {
		complain("%s: the PCI bus is full; give at most %u devices", option, VIRTIO_DEVICES - 1);
		d->ops->destroy(d);
		v->device[v->count] = NULL;
		return -ENOSPC;
	}
	v->lines[p->fn.slot] = p->fn.line;
	v->count++;
	return 0;
}

/* ---- the devices -------------------------------------------------------------------- */

static int add_disk(struct machine *m, unsigned int number)
{
	const struct disk_args *a = &m->args->virtio.disk[number];
	const struct block_params params = {
		.path = a->path, .format = a->format, .readonly = a->readonly,
		.overlay = a->overlay[0] ? a->overlay : NULL,
	};
	unsigned int queues = m->args->cpus < BLK_QUEUES_MAX ? m->args->cpus : BLK_QUEUES_MAX;
	char err[2 * PATH_MAX + 512];
	struct block *image;
	int ret = block_open(&params, &image, err, sizeof(err));

	if (ret) {
		complain("--disk %s", err);
		return ret;
	}
	return add_device(m, virtio_blk(&m->mem, image, a->serial, queues), "--disk", number);
}

static int add_net(struct machine *m, unsigned int number)
{
	struct vdev *d;
	int ret = net_open(m, number, &d);

	return ret ?: add_device(m, d, "--net", number);
}

static int add_console(struct machine *m)
{
	struct console_port port[CONSOLE_PORTS];
	unsigned int n = m->args->virtio.ports;
	struct vdev *d;
	int ret = ports_open(m, port);

	if (ret)
		return ret;
	d = virtio_console(&m->mem, port, n);
	if (!d)
		ports_close(port, n);
	ret = add_device(m, d, "--console", 0);
	if (!ret)
		m->virtio->console = d;
	virtio_resized(m);
	return ret;
}

void virtio_resized(struct machine *m)
{
	uint16_t cols, rows;

	if (m->virtio && m->virtio->console && m->keys >= 0 && console_size(&cols, &rows))
		virtio_console_resize(m->virtio->console, cols, rows);
}

int virtio_add(struct machine *m)
{
	const struct virtio_args *a = &m->args->virtio;
	unsigned int i;
	int ret;

	if (!a->disks && !a->rng && !a->ports && !a->balloon && !a->nets)
		return 0;
	ret = add_bus(m);
	for (i = 0; i < a->disks && !ret; i++)
		ret = add_disk(m, i);
	for (i = 0; i < a->nets && !ret; i++)
		ret = add_net(m, i);
	if (!ret && a->rng)
		ret = add_device(m, virtio_rng(&m->mem), "--rng", 0);
	if (!ret && a->ports)
		ret = add_console(m);
	if (!ret && a->balloon)
		ret = add_device(m, virtio_balloon(&m->mem, a->balloon_bytes), "--balloon", 0);
	return ret;
}

const uint8_t *virtio_lines(const struct machine *m)
{
	return m->virtio ? m->virtio->lines : NULL;
}

int virtio_connect(struct machine *m)
{
	struct boot_range high = boot_pci_high(m->args->memory);

	if (!m->virtio)
		return 0;
	if (m->info.gpa_bits < 64 && high.gpa + high.size > 1ULL << m->info.gpa_bits)
		m->virtio->pci.high.size = 0;
	if (!pci_start(&m->virtio->pci))
		return 0;
	complain("the PCI devices do not find room below 4 GiB, or below the end of guests' memory; give fewer, or less --memory");
	return -ENOSPC;
}

static void thread_begins(const struct vdev *d)
{
	sandbox_thread(d->sockets ? SANDBOX_NET : SANDBOX_DEVICE);
}

int virtio_start(struct machine *m)
{
	struct virtio_devices *v = m->virtio;
	unsigned int i;
	int ret = 0;

	vdev_thread_begins = thread_begins;
	for (i = 0; v && i < v->count && !ret; i++)
		ret = vdev_start(v->device[i]);
	if (ret)
		complain("a thread for %s: %s; see ulimit -u and the cgroup's pids.max", v->device[i - 1]->label,
			 strerror(-ret));
	return ret;
}

void virtio_stop(struct machine *m)
{
	struct virtio_devices *v = m->virtio;
	unsigned int i;

	for (i = 0; v && i < v->count; i++)
		vdev_stop(v->device[i]);
}

void virtio_remove(struct machine *m)
{
	struct virtio_devices *v = m->virtio;
	unsigned int i;

	for (i = 0; v && i < v->count; i++)
		v->device[i]->ops->destroy(v->device[i]);
	if (m->keys >= 0)
		close(m->keys);
	m->keys = -1;
	free(v);
	m->virtio = NULL;
}
