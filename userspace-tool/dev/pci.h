/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A PCI bus of single functions (PCI 3.0): configuration space by mechanism 1 and by
 * ECAM, memory BARs that the guest may move, INTx lines, MSI-X. Plain logic, as dev.h
 * has it; who has threads of its own takes a lock around its MSI-X.
 */
#ifndef CLEAVE_DEV_PCI_H
#define CLEAVE_DEV_PCI_H

#include "dev.h"

#define PCI_SLOTS		32
#define PCI_BARS		6
#define PCI_CONFIG_SIZE		256
#define PCI_CONFIG_DATA		0xcfc
#define PCI_ECAM_SIZE		0x100000ULL	/* one bus */
#define PCI_NOWHERE		UINT64_MAX
#define MSIX_VECTORS		64
#define MSIX_NONE		0xffff

struct pci;

struct pci_bar {
	uint64_t size;			/* a power of 2; 0: there is none */
	bool wide;			/* 64 bits: it takes the next BAR's place, too */
	uint64_t at;			/* where the bus has it, or PCI_NOWHERE */
};

struct pci_function {
	void *dev;
	uint64_t (*read)(void *dev, unsigned int bar, uint64_t offset, unsigned int size);
	void (*write)(void *dev, unsigned int bar, uint64_t offset, unsigned int size, uint64_t value);
	/* Or NULL: a BAR is elsewhere now; PCI_NOWHERE. */
	void (*moved)(void *dev, unsigned int bar, uint64_t from, uint64_t to);
	/* Or NULL: before bytes of the configuration are read, and after they were written. */
	void (*config_read)(void *dev, unsigned int offset, unsigned int size);
	void (*config_written)(void *dev, unsigned int offset, unsigned int size);

	struct pci *pci;		/* pci_add()'s, as what follows */
	unsigned int slot, line;	/* line: the interrupt's number */
	bool level;			/* what it puts on its line */
	unsigned int caps_end, last_cap;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE];
	struct pci_bar bar[PCI_BARS];
	struct pci_window {		/* a BAR's, on the bus */
		struct pci_function *fn;
		unsigned int bar;
	} window[PCI_BARS];
};

struct pci_range {
	uint64_t base, size, used;
};

struct pci {
	struct bus *mmio;
	void (*irq)(void *ctx, unsigned int nr, bool level);
	void *ctx;
	struct pci_range low, high;	/* for BARs below and above 4 GiB */
	uint32_t address;		/* CONFIG_ADDRESS */
	struct pci_function bridge;
	struct pci_function *fn[PCI_SLOTS];
};

struct pci_id {
	uint16_t vendor, device, subvendor, subdevice;
	uint8_t revision;
	uint32_t class;			/* 24 bits */
};

/* The interrupt of a slot's INTA: lines that PC devices leave free, the 8259A pair's too. */
unsigned int pci_line(unsigned int slot);

/* mmio, irq, ctx, low and high are set already. Puts the host bridge in slot 0. */
void pci_init(struct pci *pci);
/* Into the first free slot; fn's callbacks are set already. -ENOSPC. */
int pci_add(struct pci *pci, struct pci_function *fn, const struct pci_id *id);
/* Between pci_add() and pci_start(): the offset of the capability's id. len: all of it. */
unsigned int pci_capability(struct pci_function *fn, uint8_t id, unsigned int len);
void pci_memory_bar(struct pci_function *fn, unsigned int bar, uint64_t size, bool wide);
/* Gives all BARs their places, as firmware does. -ENOSPC: a window is too small. */
int pci_start(struct pci *pci);
void pci_intx(struct pci_function *fn, bool level);

uint64_t pci_address_read(void *dev, uint64_t offset, unsigned int size);	/* struct pci */
void pci_address_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);
uint64_t pci_data_read(void *dev, uint64_t offset, unsigned int size);
void pci_data_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);
uint64_t pci_ecam_read(void *dev, uint64_t offset, unsigned int size);
void pci_ecam_write(void *dev, uint64_t offset, unsigned int size, uint64_t value);

static inline void pci_set(uint8_t *config, unsigned int offset, unsigned int size, uint64_t value)
{
	while (size--) {
		config[offset++] = value;
		value >>= 8;
	}
}

static inline uint64_t pci_get(const uint8_t *config, unsigned int offset, unsigned int size)
{
	uint64_t value = 0;

	while (size--)
		value = value << 8 | config[offset + size];
	return value;
}

/* ---- msix.c: PCI 3.0, 6.8.2 ---------------------------------------------------- */

struct msix {
	void (*send)(void *ctx, uint64_t address, uint32_t data);
	void *ctx;
	unsigned int count;
	bool enabled, masked;		/* of the whole function */
	uint64_t pending;
	struct {
		uint64_t address;
		uint32_t data, control;
	} entry[MSIX_VECTORS];
};

void msix_init(struct msix *m, unsigned int count);	/* send, ctx are set already */
void msix_capability(struct pci_function *fn, struct msix *m, unsigned int bar, uint32_t table,
		     uint32_t pba);
/* After the capability's message control was written. */
void msix_control(struct msix *m, uint16_t control);
/* Sends, or keeps it while it is masked. A vector that is not there is none. */
void msix_raise(struct msix *m, unsigned int vector);
/* Would it be sent at once? Then its message is that of m->entry[vector]. */
bool msix_open(const struct msix *m, unsigned int vector);
uint64_t msix_table_read(struct msix *m, uint64_t offset, unsigned int size);
void msix_table_write(struct msix *m, uint64_t offset, unsigned int size, uint64_t value);
uint64_t msix_pba_read(struct msix *m, uint64_t offset, unsigned int size);

#endif /* CLEAVE_DEV_PCI_H */
