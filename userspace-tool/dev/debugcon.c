// SPDX-License-Identifier: GPL-2.0
/* A port that takes text: QEMU's isa-debugcon. */
#include "dev.h"

#define PRESENT		0xe9	/* what firmware looks for, whatever the port */

uint64_t debugcon_read(void *dev, uint64_t offset, unsigned int size)
{
	return PRESENT;
}

void debugcon_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct debugcon *d = dev;

	d->tx(d->tx_ctx, value);
}
