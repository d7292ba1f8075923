// SPDX-License-Identifier: GPL-2.0
/* I/O APIC: Intel 82093AA data sheet, version 0x20 with its EOI register. */
#include <string.h>

#include "dev.h"

#define REG_SELECT	0x00
#define REG_WINDOW	0x10
#define REG_EOI		0x40

#define IDX_ID		0x00
#define IDX_VERSION	0x01
#define IDX_ARBITRATION	0x02
#define IDX_RTE		0x10

#define VERSION		0x20

#define RTE_VECTOR	0xffULL
#define RTE_MODE	0x700ULL
#define RTE_MODE_LOWEST	0x100ULL
#define RTE_MODE_EXTINT	0x700ULL
#define RTE_LOGICAL	(1ULL << 11)
#define RTE_STATUS	(1ULL << 12)
#define RTE_REMOTE_IRR	(1ULL << 14)
#define RTE_LEVEL	(1ULL << 15)
#define RTE_MASKED	(1ULL << 16)
#define RTE_READONLY	(RTE_STATUS | RTE_REMOTE_IRR)
#define RTE_RESERVED	0x00fffffffffe0000ULL

/* Message format: SDM vol. 3A 11.11. Logical needs the redirection hint. */
static void ioapic_deliver(struct ioapic *io, unsigned int pin)
{
	uint64_t rte = io->rte[pin];
	uint64_t address = 0xfee00000ULL | (rte >> 56) << 12;
	uint32_t data = rte & (RTE_VECTOR | RTE_MODE);

	/* The vCPU asks the 8259A for the vector, see ioapic_passes_extint(). */
	if ((rte & RTE_MODE) == RTE_MODE_EXTINT)
		return;
	if (rte & RTE_LOGICAL)
		address |= 3 << 2;
	if (rte & RTE_LEVEL)
		data |= 3 << 14;
	/* Only what a local APIC ends by an EOI is in service meanwhile. */
	if (io->msi(io->ctx, address, data) > 0 && (rte & RTE_LEVEL) &&
	    (rte & RTE_MODE) <= RTE_MODE_LOWEST)
		io->rte[pin] |= RTE_REMOTE_IRR;
}

bool ioapic_passes_extint(const struct ioapic *io)
{
	return (io->rte[0] & (RTE_MODE | RTE_MASKED)) == RTE_MODE_EXTINT;
}

/* A level-triggered pin speaks when it is high, unmasked and not in service. */
static void ioapic_level(struct ioapic *io, unsigned int pin)
{
	uint64_t rte = io->rte[pin];

	if ((rte & RTE_LEVEL) && !(rte & (RTE_MASKED | RTE_REMOTE_IRR)) &&
	    (io->lines & (1U << pin)))
		ioapic_deliver(io, pin);
}

void ioapic_set(struct ioapic *io, unsigned int pin, bool level)
{
	uint32_t bit;
	bool rise;

	if (pin >= IOAPIC_PINS)
		return;
	bit = 1U << pin;
	rise = level && !(io->lines & bit);
	io->lines = level ? io->lines | bit : io->lines & ~bit;
	if (io->rte[pin] & RTE_LEVEL)
		ioapic_level(io, pin);
	else if (rise && !(io->rte[pin] & RTE_MASKED))
		ioapic_deliver(io, pin);
}

void ioapic_eoi(struct ioapic *io, uint8_t vector)
{
	unsigned int pin;

	for (pin = 0; pin < IOAPIC_PINS; pin++) {
		uint64_t rte = io->rte[pin];

		if (!(rte & RTE_LEVEL) || (rte & RTE_VECTOR) != vector)
			continue;
		io->rte[pin] &= ~RTE_REMOTE_IRR;
		ioapic_level(io, pin);
	}
}

static void ioapic_write_rte(struct ioapic *io, unsigned int index, uint32_t value)
{
	unsigned int pin = index / 2;
	uint64_t old = io->rte[pin], rte;

	rte = index & 1 ? (old & 0xffffffff) | (uint64_t)value << 32 :
			  (old & ~0xffffffffULL) | value;
	rte = (rte & ~(RTE_READONLY | RTE_RESERVED)) | (old & RTE_READONLY);
	/* Software turns a stuck level pin to edge and back to free it. */
	if (!(rte & RTE_LEVEL))
		rte &= ~RTE_REMOTE_IRR;
	io->rte[pin] = rte;
	ioapic_level(io, pin);
}

uint64_t ioapic_read(void *dev, uint64_t offset, unsigned int size)
{
	struct ioapic *io = dev;
	unsigned int rte = io->select - IDX_RTE;

	if (offset == REG_SELECT)
		return io->select;
	if (offset != REG_WINDOW)
		return 0;
	switch (io->select) {
	case IDX_ID:
	case IDX_ARBITRATION:
		return io->id;
	case IDX_VERSION:
		return (IOAPIC_PINS - 1) << 16 | VERSION;
	}
	if (io->select < IDX_RTE || rte / 2 >= IOAPIC_PINS)
		return 0;
	return (uint32_t)(io->rte[rte / 2] >> (32 * (rte & 1)));
}

void ioapic_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct ioapic *io = dev;

	switch (offset) {
	case REG_SELECT:
		io->select = value & 0xff;
		return;
	case REG_EOI:
		ioapic_eoi(io, value);
		return;
	case REG_WINDOW:
		break;
	default:
		return;
	}
	if (io->select == IDX_ID)
		io->id = value & 0x0f000000;
	else if (io->select >= IDX_RTE && (io->select - IDX_RTE) / 2 < IOAPIC_PINS)
		ioapic_write_rte(io, io->select - IDX_RTE, value);
}

void ioapic_init(struct ioapic *io)
{
	unsigned int pin;

	io->id = io->select = io->lines = 0;
	for (pin = 0; pin < IOAPIC_PINS; pin++)
		io->rte[pin] = RTE_MASKED;
}
