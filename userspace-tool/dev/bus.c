// SPDX-License-Identifier: GPL-2.0
#include <errno.h>

#include "dev.h"

static struct bus_range *bus_find(struct bus *bus, uint64_t addr)
{
	unsigned int i;

	for (i = 0; i < bus->count; i++)
		if (addr - bus->range[i].base < bus->range[i].size)
			return &bus->range[i];
	return NULL;
}

int bus_add(struct bus *bus, const struct bus_range *range)
{
	unsigned int i;

	if (!range->size || range->base + range->size - 1 < range->base || !range->max)
		return -EINVAL;
	for (i = 0; i < bus->count; i++) {
		const struct bus_range *r = &bus->range[i];

		if (range->base < r->base + r->size && r->base < range->base + range->size)
			return -EEXIST;
	}
	if (bus->count == BUS_MAX_RANGES)
		return -ENOSPC;
	bus->range[bus->count++] = *range;
	return 0;
}

void bus_remove(struct bus *bus, uint64_t base)
{
	unsigned int i;

	for (i = 0; i < bus->count; i++) {
		if (bus->range[i].base != base)
			continue;
		bus->range[i] = bus->range[--bus->count];
		return;
	}
}

static uint64_t ones(unsigned int size)
{
	return size >= 8 ? UINT64_MAX : (1ULL << (8 * size)) - 1;
}

uint64_t bus_read(struct bus *bus, uint64_t addr, unsigned int size)
{
	struct bus_range *r = bus_find(bus, addr);
	uint64_t value = 0;
	unsigned int i;

	if (r && size <= r->max)
		return (r->read ? r->read(r->dev, addr - r->base, size) : UINT64_MAX) & ones(size);
	if (size == 1)
		return 0xff;
	for (i = 0; i < size; i++)
		value |= bus_read(bus, addr + i, 1) << (8 * i);
	return value;
}

void bus_write(struct bus *bus, uint64_t addr, unsigned int size, uint64_t value)
{
	struct bus_range *r = bus_find(bus, addr);
	unsigned int i;

	if (r && size <= r->max) {
		if (r->write)
			r->write(r->dev, addr - r->base, size, value & ones(size));
		return;
	}
	for (i = 0; size > 1 && i < size; i++)
		bus_write(bus, addr + i, 1, value >> (8 * i));
}
