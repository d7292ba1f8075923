// SPDX-License-Identifier: GPL-2.0
/* A port whose write ends the guest with a status: QEMU's isa-debug-exit. */
#include "dev.h"

void debugexit_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct debugexit *d = dev;

	d->exit(d->ctx, value << 1 | 1);	/* of the 8 bits that a status has */
}
