/* SPDX-License-Identifier: GPL-2.0 */
/* The PCI bus of the machine, and the devices on it. */
#ifndef CLEAVE_CMD_VIRTIO_H
#define CLEAVE_CMD_VIRTIO_H

#include "../virtio/virtio.h"
#include "machine.h"

#define VIRTIO_DEVICES	(PCI_SLOTS - 1)

struct virtio_devices {
	struct pci pci;
	struct virtio_host host;
	uint8_t lines[BOOT_PCI_SLOTS];
	unsigned int count;
	struct vdev *device[VIRTIO_DEVICES];
	struct virtio_pci function[VIRTIO_DEVICES];
};

#endif /* CLEAVE_CMD_VIRTIO_H */
