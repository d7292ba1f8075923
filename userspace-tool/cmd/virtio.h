/* SPDX-License-Identifier: GPL-2.0 */
/* The PCI bus of the machine, and the devices on it. */
#ifndef CLEAVE_CMD_VIRTIO_H
#define CLEAVE_CMD_VIRTIO_H

#include "../virtio/bucket.h"
#include "../virtio/virtio.h"
#include "machine.h"

#define VIRTIO_DEVICES	(PCI_SLOTS - 1)

struct virtio_devices {
	struct pci pci;
	struct virtio_host host;
	uint8_t lines[BOOT_PCI_SLOTS];
	struct vdev *console;		/* of device[], or NULL */
	struct bucket disk_rate;	/* of all disks together */
	unsigned int count;
	struct vdev *device[VIRTIO_DEVICES];
	struct virtio_pci function[VIRTIO_DEVICES];
};

/* ports.c: the ports of --console. 0 or -errno after one line on stderr. */
int ports_open(struct machine *m, struct console_port port[CONSOLE_PORTS]);
void ports_close(struct console_port *port, unsigned int n);	/* before a device has them */

#endif /* CLEAVE_CMD_VIRTIO_H */
