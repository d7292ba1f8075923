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
	struct vdev *console;		/* of device[], or NULL */
	unsigned int count;
	struct vdev *device[VIRTIO_DEVICES];
	struct virtio_pci function[VIRTIO_DEVICES];
};

/* ports.c: the ports of --console. 0 or -errno after one line on stderr. */
int ports_open(struct machine *m, struct console_port port[CONSOLE_PORTS]);
void ports_close(struct console_port *port, unsigned int n);	/* before a device has them */

/* served.c: devices whose queues the host's kernel or another process serves; as ports_open(). */
int vsock_open(struct machine *m, struct vdev **d);
int share_open(struct machine *m, unsigned int number, struct vdev **d);
/* virtiofsd.c: a socket to the process that serves that folder, or -errno after one line on stderr. */
int virtiofsd_start(const struct share_args *a, const char *user);
/* What the one that was started last has said on its end: a line, or nothing. */
void virtiofsd_said(char *line, size_t size);

#endif /* CLEAVE_CMD_VIRTIO_H */
