// SPDX-License-Identifier: GPL-2.0
/* What test suites written for QEMU find in its pc-testdev. */
#include <string.h>

#include "dev.h"

void testdev_irq_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct testdev *t = dev;

	t->irq(t->ctx, offset, value);
}

uint64_t testdev_latch_read(void *dev, uint64_t offset, unsigned int size)
{
	struct testdev *t = dev;

	return t->latch >> (8 * offset);
}

void testdev_latch_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct testdev *t = dev;
	uint64_t mask = ((1ULL << (8 * size)) - 1) << (8 * offset);

	t->latch = (t->latch & ~mask) | (value << (8 * offset) & mask);
}

void testdev_flush_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct testdev *t = dev;

	t->flush(t->ctx, value & ~0xfffULL);
}

/* The bytes of an access that are in the window. */
static unsigned int inside(uint64_t offset, unsigned int size)
{
	return size < TESTDEV_MMIO_SIZE - offset ? size : TESTDEV_MMIO_SIZE - offset;
}

uint64_t testdev_mmio_read(void *dev, uint64_t offset, unsigned int size)
{
	struct testdev *t = dev;
	uint64_t value = 0;

	memcpy(&value, t->mmio + offset, inside(offset, size));
	return value;
}

void testdev_mmio_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct testdev *t = dev;

	memcpy(t->mmio + offset, &value, inside(offset, size));
}
