/* SPDX-License-Identifier: GPL-2.0 */
/*
 * An io_uring that reads, writes and flushes, and does nothing else: seccomp does not see what
 * goes through one, so that it would open files and connect for a device that a guest has taken
 * over. The kernel holds it to this, whatever is written to its memory.
 */
#ifndef CLEAVE_VIRTIO_BLK_RING_H
#define CLEAVE_VIRTIO_BLK_RING_H

#include <liburing.h>

/* 0, or -errno: the host has no io_uring, or none that can be held to it; then there is none. */
int blk_ring_init(struct io_uring *ring, unsigned int entries);

#endif /* CLEAVE_VIRTIO_BLK_RING_H */
