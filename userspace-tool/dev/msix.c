// SPDX-License-Identifier: GPL-2.0
#include <linux/pci_regs.h>
#include <string.h>

#include "pci.h"

void msix_init(struct msix *m, unsigned int count)
{
	unsigned int i;

	m->count = count;
	m->enabled = m->masked = false;
	m->pending = 0;
	memset(m->entry, 0, sizeof(m->entry));
	for (i = 0; i < MSIX_VECTORS; i++)
		m->entry[i].control = PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

void msix_capability(struct pci_function *fn, struct msix *m, unsigned int bar, uint32_t table,
		     uint32_t pba)
{
	unsigned int at = pci_capability(fn, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);

	pci_set(fn->config, at + PCI_MSIX_FLAGS, 2, m->count - 1);
	pci_set(fn->writable, at + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	pci_set(fn->config, at + PCI_MSIX_TABLE, 4, table | bar);
	pci_set(fn->config, at + PCI_MSIX_PBA, 4, pba | bar);
}

static bool is_masked(const struct msix *m, unsigned int vector)
{
	return m->masked || (m->entry[vector].control & PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

bool msix_open(const struct msix *m, unsigned int vector)
{
	return m->enabled && vector < m->count && !is_masked(m, vector);
}

static void flush(struct msix *m)
{
	unsigned int i;

	for (i = 0; m->enabled && m->pending && i < m->count; i++) {
		if (!(m->pending >> i & 1) || is_masked(m, i))
			continue;
		m->pending &= ~(1ULL << i);
		m->send(m->ctx, m->entry[i].address, m->entry[i].data);
	}
}

void msix_control(struct msix *m, uint16_t control)
{
	m->enabled = control & PCI_MSIX_FLAGS_ENABLE;
	m->masked = control & PCI_MSIX_FLAGS_MASKALL;
	if (!m->enabled)
		m->pending = 0;
	flush(m);
}

void msix_raise(struct msix *m, unsigned int vector)
{
	if (!m->enabled || vector >= m->count)
		return;
	m->pending |= 1ULL << vector;
	flush(m);
}

/* Two 32-bit halves, so that each width goes the same way. Narrower ones are not defined. */
static uint32_t table_read32(struct msix *m, uint64_t offset)
{
	unsigned int i = offset / PCI_MSIX_ENTRY_SIZE;

	if (i >= m->count)
		return 0;
	switch (offset % PCI_MSIX_ENTRY_SIZE) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		return m->entry[i].address;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		return m->entry[i].address >> 32;
	case PCI_MSIX_ENTRY_DATA:
		return m->entry[i].data;
	default:
		return m->entry[i].control;
	}
}

static void table_write32(struct msix *m, uint64_t offset, uint32_t value)
{
	unsigned int i = offset / PCI_MSIX_ENTRY_SIZE;

	if (i >= m->count)
		return;
	switch (offset % PCI_MSIX_ENTRY_SIZE) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		m->entry[i].address = (m->entry[i].address & ~0xffffffffULL) | (value & ~3U);
		break;
	case PCI_MSIX_ENTRY_UPPER_ADDR:
		m->entry[i].address = (m->entry[i].address & 0xffffffff) | (uint64_t)value << 32;
		break;
	case PCI_MSIX_ENTRY_DATA:
		m->entry[i].data = value;
		break;
	default:
		m->entry[i].control = value & PCI_MSIX_ENTRY_CTRL_MASKBIT;
		flush(m);
	}
}

uint64_t msix_table_read(struct msix *m, uint64_t offset, unsigned int size)
{
	if (size < 4 || offset % size)
		return UINT64_MAX;
	return table_read32(m, offset) | (size == 8 ? (uint64_t)table_read32(m, offset + 4) << 32 : 0);
}

void msix_table_write(struct msix *m, uint64_t offset, unsigned int size, uint64_t value)
{
	if (size < 4 || offset % size)
		return;
	table_write32(m, offset, value);
	if (size == 8)
		table_write32(m, offset + 4, value >> 32);
}

uint64_t msix_pba_read(struct msix *m, uint64_t offset, unsigned int size)
{
	return offset < 8 ? m->pending >> (8 * offset) : 0;
}
