// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "pci.h"

#define ADDRESS_ENABLE	(1U << 31)
#define ADDRESS_VALID	(ADDRESS_ENABLE | 0x00fffffc)
#define COMMAND_WRITABLE (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | \
			  PCI_COMMAND_PARITY | PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)
#define SMALL_BAR	0x100000U	/* up to here even a 64-bit BAR is put below 4 GiB */

unsigned int pci_line(unsigned int slot)
{
	static const uint8_t lines[] = { 5, 10, 11 };

	return lines[slot % sizeof(lines)];
}

/* ---- interrupts -------------------------------------------------------------------- */

static bool asserts(const struct pci_function *fn)
{
	return fn->level && !(pci_get(fn->config, PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE);
}

/* A line is up while any of its functions holds it. */
static void update_line(struct pci *pci, unsigned int line)
{
	bool level = false;
	unsigned int i;

	for (i = 0; i < PCI_SLOTS; i++)
		level |= pci->fn[i] && pci->fn[i]->line == line && asserts(pci->fn[i]);
	pci->irq(pci->ctx, line, level);
}

void pci_intx(struct pci_function *fn, bool level)
{
	if (fn->level == level)
		return;
	fn->level = level;
	update_line(fn->pci, fn->line);
}

/* ---- BARs -------------------------------------------------------------------------- */

static uint64_t window_read(void *dev, uint64_t offset, unsigned int size)
{
	struct pci_window *w = dev;

	return w->fn->read(w->fn->dev, w->bar, offset, size);
}

static void window_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pci_window *w = dev;

	w->fn->write(w->fn->dev, w->bar, offset, size, value);
}

/* Where the guest wants it. Address 0 is what a BAR has that nobody has set. */
static uint64_t wanted(const struct pci_function *fn, unsigned int bar)
{
	const struct pci_bar *b = &fn->bar[bar];
	uint64_t at;

	if (!(pci_get(fn->config, PCI_COMMAND, 2) & PCI_COMMAND_MEMORY))
		return PCI_NOWHERE;
	at = pci_get(fn->config, PCI_BASE_ADDRESS_0 + 4 * bar, b->wide ? 8 : 4) & ~15ULL;
	return at && at + b->size - 1 >= at ? at : PCI_NOWHERE;
}

static void place(struct pci_function *fn, unsigned int bar, uint64_t at)
{
	const struct bus_range range = {
		at, fn->bar[bar].size, 8, &fn->window[bar], window_read, window_write
	};

	/* What is there already keeps the place, until it goes. */
	if (bus_add(fn->pci->mmio, &range))
		return;
	fn->bar[bar].at = at;
	if (fn->moved)
		fn->moved(fn->dev, bar, PCI_NOWHERE, at);
}

static void displace(struct pci_function *fn, unsigned int bar)
{
	uint64_t from = fn->bar[bar].at;

	bus_remove(fn->pci->mmio, from);
	fn->bar[bar].at = PCI_NOWHERE;
	if (fn->moved)
		fn->moved(fn->dev, bar, from, PCI_NOWHERE);
}

/* fn's BARs leave first; then all that want a place get it, if it is free. */
static void settle(struct pci *pci, struct pci_function *fn)
{
	unsigned int i, bar;

	for (bar = 0; bar < PCI_BARS; bar++)
		if (fn->bar[bar].size && fn->bar[bar].at != PCI_NOWHERE &&
		    fn->bar[bar].at != wanted(fn, bar))
			displace(fn, bar);
	for (i = 0; i < PCI_SLOTS; i++) {
		fn = pci->fn[i];
		for (bar = 0; fn && bar < PCI_BARS; bar++)
			if (fn->bar[bar].size && fn->bar[bar].at == PCI_NOWHERE &&
			    wanted(fn, bar) != PCI_NOWHERE)
				place(fn, bar, wanted(fn, bar));
	}
}

void pci_memory_bar(struct pci_function *fn, unsigned int bar, uint64_t size, bool wide)
{
	unsigned int at = PCI_BASE_ADDRESS_0 + 4 * bar;

	fn->bar[bar] = (struct pci_bar){ .size = size, .wide = wide, .at = PCI_NOWHERE };
	pci_set(fn->config, at, 4, wide ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0);
	pci_set(fn->writable, at, wide ? 8 : 4, ~(size - 1));
}

static uint64_t allocate(struct pci_range *r, uint64_t size)
{
	uint64_t at = (r->base + r->used + size - 1) & ~(size - 1);

	if (at < r->base || at - r->base > r->size || size > r->size - (at - r->base))
		return PCI_NOWHERE;
	r->used = at - r->base + size;
	return at;
}

static int assign(struct pci *pci, struct pci_function *fn)
{
	unsigned int bar;
	uint64_t at;

	for (bar = 0; bar < PCI_BARS; bar++) {
		struct pci_bar *b = &fn->bar[bar];

		if (!b->size)
			continue;
		at = allocate(b->wide && b->size > SMALL_BAR ? &pci->high : &pci->low, b->size);
		if (at == PCI_NOWHERE)
			return -ENOSPC;
		pci_set(fn->config, PCI_BASE_ADDRESS_0 + 4 * bar, b->wide ? 8 : 4,
			at | (fn->config[PCI_BASE_ADDRESS_0 + 4 * bar] & 15));
	}
	return 0;
}

int pci_start(struct pci *pci)
{
	unsigned int i;

	for (i = 0; i < PCI_SLOTS; i++) {
		struct pci_function *fn = pci->fn[i];

		if (!fn)
			continue;
		if (assign(pci, fn))
			return -ENOSPC;
		fn->config[PCI_COMMAND] |= PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
		settle(pci, fn);
	}
	return 0;
}

/* ---- configuration space ------------------------------------------------------------- */

static uint64_t config_read(struct pci *pci, unsigned int slot, unsigned int offset, unsigned int size)
{
	struct pci_function *fn = pci->fn[slot];

	if (!fn || offset + size > PCI_CONFIG_SIZE)
		return UINT64_MAX;
	if (fn->config_read)
		fn->config_read(fn->dev, offset, size);
	pci_set(fn->config, PCI_STATUS, 1, PCI_STATUS_CAP_LIST * !!fn->config[PCI_CAPABILITY_LIST] |
		PCI_STATUS_INTERRUPT * fn->level);
	return pci_get(fn->config, offset, size);
}

static void config_write(struct pci *pci, unsigned int slot, unsigned int offset, unsigned int size,
			 uint64_t value)
{
	struct pci_function *fn = pci->fn[slot];
	unsigned int i;

	if (!fn || offset + size > PCI_CONFIG_SIZE)
		return;
	for (i = offset; i < offset + size; i++) {
		fn->config[i] = (fn->config[i] & ~fn->writable[i]) | (value & fn->writable[i]);
		value >>= 8;
	}
	if (offset < PCI_CARDBUS_CIS && offset + size > PCI_COMMAND)
		settle(pci, fn);
	if (offset < PCI_STATUS && offset + size > PCI_COMMAND && fn->line)
		update_line(pci, fn->line);
	if (fn->config_written)
		fn->config_written(fn->dev, offset, size);
}

uint64_t pci_address_read(void *dev, uint64_t offset, unsigned int size)
{
	struct pci *pci = dev;

	return size == 4 ? pci->address : UINT64_MAX;
}

void pci_address_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pci *pci = dev;

	if (size == 4)
		pci->address = value & ADDRESS_VALID;
}

/* Of bus 0, functions 0: the slot, or PCI_SLOTS. */
static unsigned int addressed(const struct pci *pci)
{
	if (!(pci->address & ADDRESS_ENABLE) || (pci->address & 0x00ff0700))
		return PCI_SLOTS;
	return pci->address >> 11 & (PCI_SLOTS - 1);
}

uint64_t pci_data_read(void *dev, uint64_t offset, unsigned int size)
{
	struct pci *pci = dev;
	unsigned int slot = addressed(pci);

	return slot == PCI_SLOTS ? UINT64_MAX : config_read(pci, slot, (pci->address & 0xfc) + offset, size);
}

void pci_data_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pci *pci = dev;
	unsigned int slot = addressed(pci);

	if (slot != PCI_SLOTS)
		config_write(pci, slot, (pci->address & 0xfc) + offset, size, value);
}

/* 4 KiB a function, 8 functions a slot. */
uint64_t pci_ecam_read(void *dev, uint64_t offset, unsigned int size)
{
	return offset & 0x7000 ? UINT64_MAX : config_read(dev, offset >> 15, offset & 0xfff, size);
}

void pci_ecam_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	if (!(offset & 0x7000))
		config_write(dev, offset >> 15, offset & 0xfff, size, value);
}

/* ---- building ------------------------------------------------------------------------ */

unsigned int pci_capability(struct pci_function *fn, uint8_t id, unsigned int len)
{
	unsigned int at = fn->caps_end;

	fn->config[fn->last_cap] = at;
	fn->config[at] = id;
	fn->last_cap = at + 1;
	fn->caps_end = (at + len + 3) & ~3U;
	return at;
}

int pci_add(struct pci *pci, struct pci_function *fn, const struct pci_id *id)
{
	unsigned int slot = 0, i;

	while (slot < PCI_SLOTS && pci->fn[slot])
		slot++;
	if (slot == PCI_SLOTS)
		return -ENOSPC;
	fn->pci = pci;
	fn->slot = slot;
	memset(fn->config, 0, sizeof(fn->config));
	memset(fn->writable, 0, sizeof(fn->writable));
	fn->last_cap = PCI_CAPABILITY_LIST;
	fn->caps_end = 0x40;
	pci_set(fn->config, PCI_VENDOR_ID, 2, id->vendor);
	pci_set(fn->config, PCI_DEVICE_ID, 2, id->device);
	pci_set(fn->config, PCI_REVISION_ID, 4, id->revision | id->class << 8);
	pci_set(fn->config, PCI_SUBSYSTEM_VENDOR_ID, 2, id->subvendor);
	pci_set(fn->config, PCI_SUBSYSTEM_ID, 2, id->subdevice);
	pci_set(fn->writable, PCI_COMMAND, 2, COMMAND_WRITABLE);
	if (slot) {
		fn->line = pci_line(slot);
		fn->config[PCI_INTERRUPT_PIN] = 1;
		fn->config[PCI_INTERRUPT_LINE] = fn->line;
		fn->writable[PCI_INTERRUPT_LINE] = 0xff;
	}
	for (i = 0; i < PCI_BARS; i++)
		fn->window[i] = (struct pci_window){ fn, i };
	pci->fn[slot] = fn;
	return 0;
}

void pci_init(struct pci *pci)
{
	/* Red Hat's number for a host bridge without registers of its own. */
	static const struct pci_id bridge = {
		.vendor = 0x1b36, .device = 0x0008, .class = 0x060000, .subvendor = 0x1af4, .subdevice = 0x1100,
	};

	pci_add(pci, &pci->bridge, &bridge);
}
