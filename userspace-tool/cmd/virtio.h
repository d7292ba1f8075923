/* SPDX-License-Identifier: GPL-2.0 */
/* The PCI bus of the machine, and the devices on it. */
#ifndef CLEAVE_CMD_VIRTIO_H
#define CLEAVE_CMD_VIRTIO_H

#include "../virtio/virtio.h"
#include "machine.h"

#define VIRTIO_DEVICES	(PCI_SLOTS - 1)

/* Of an interface, for the line that says that it has gone. */
struct net_watch {
	struct machine *m;
	const char *tap;
};

struct virtio_devices {
	struct pci pci;
	struct virtio_host host;
	uint8_t lines[BOOT_PCI_SLOTS];
	struct vdev *console;		/* of device[], or NULL */
	struct net_watch watch[ARGS_NETS];
	unsigned int count;
	struct vdev *device[VIRTIO_DEVICES];
	struct virtio_pci function[VIRTIO_DEVICES];
};

/* ports.c: the ports of --console. 0 or -errno after one line on stderr. */
int ports_open(struct machine *m, struct console_port port[CONSOLE_PORTS]);
void ports_close(struct console_port *port, unsigned int n);	/* before a device has them */

/* net.c: the device of that --net; *d is NULL for want of memory. 0 or -errno after one line. */
/* Of an interface that was given none. */
void net_mac(const char *name, bool named, unsigned int number, uint8_t mac[6]);
int net_open(struct machine *m, unsigned int number, struct vdev **d);

#endif /* CLEAVE_CMD_VIRTIO_H */
