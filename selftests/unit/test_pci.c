// SPDX-License-Identifier: GPL-2.0
/* The PCI bus, driven as a guest's kernel drives it. */
#include <errno.h>
#include <linux/pci_regs.h>

#include "unit.h"
#include "../../userspace-tool/dev/bus.c"
#include "../../userspace-tool/dev/msix.c"
#include "../../userspace-tool/dev/pci.c"

#define LOW	0xc0000000ULL
#define HIGH	0x400000000ULL

static struct bus mmio;
static struct pci pci;
static struct pci_function fn[2];
static struct msix msix;
static unsigned int msis, levels[24], moves;
static uint64_t msi_address, moved_to, moved_from, written;
static uint32_t msi_data;

static void t_irq(void *ctx, unsigned int nr, bool level)
{
	levels[nr] = level;
}

static uint64_t t_read(void *dev, unsigned int bar, uint64_t offset, unsigned int size)
{
	return (uintptr_t)dev << 16 | bar << 12 | offset;
}

static void t_write(void *dev, unsigned int bar, uint64_t offset, unsigned int size, uint64_t value)
{
	written = value;
}

static void t_moved(void *dev, unsigned int bar, uint64_t from, uint64_t to)
{
	moves++;
	moved_from = from;
	moved_to = to;
}

static void t_send(void *ctx, uint64_t address, uint32_t data)
{
	msis++;
	msi_address = address;
	msi_data = data;
}

/* Two functions; the second has a large BAR, too. */
static void setup(void)
{
	static const struct pci_id id = { 0x1af4, 0x1042, 0x1af4, 0x1100, 1, 0x018000 };

	memset(&mmio, 0, sizeof(mmio));
	memset(&pci, 0, sizeof(pci));
	memset(fn, 0, sizeof(fn));
	memset(levels, 0, sizeof(levels));
	msis = moves = 0;
	pci.mmio = &mmio;
	pci.irq = t_irq;
	pci.low = (struct pci_range){ LOW, 0x100000, 0 };
	pci.high = (struct pci_range){ HIGH, 1ULL << 34, 0 };
	pci_init(&pci);
	for (unsigned int i = 0; i < 2; i++) {
		fn[i].dev = (void *)(uintptr_t)(i + 1);
		fn[i].read = t_read;
		fn[i].write = t_write;
		fn[i].moved = t_moved;
		CHECK_EQ(pci_add(&pci, &fn[i], &id), 0);
		pci_memory_bar(&fn[i], 0, 0x8000, true);
	}
	pci_memory_bar(&fn[1], 2, 1ULL << 30, true);
	msix.send = t_send;
	msix_init(&msix, 3);
	msix_capability(&fn[0], &msix, 0, 0x4000, 0x5000);
	CHECK_EQ(pci_start(&pci), 0);
}

static uint64_t get_config(unsigned int slot, unsigned int offset, unsigned int size)
{
	pci_address_write(&pci, 0, 4, 1U << 31 | slot << 11 | (offset & ~3U));
	return pci_data_read(&pci, offset & 3, size) & (size < 4 ? (1U << 8 * size) - 1 : UINT32_MAX);
}

static void set_config(unsigned int slot, unsigned int offset, unsigned int size, uint32_t value)
{
	pci_address_write(&pci, 0, 4, 1U << 31 | slot << 11 | (offset & ~3U));
	pci_data_write(&pci, offset & 3, size, value);
}

UNIT_TEST(configuration_both_ways)
{
	setup();
	CHECK_EQ(get_config(0, 0, 4), 0x00081b36);
	CHECK_EQ(get_config(0, 8, 4) >> 8, 0x060000);
	CHECK_EQ(get_config(1, 0, 4), 0x10421af4);
	CHECK_EQ(get_config(2, 0x2c, 4), 0x11001af4);
	CHECK_EQ(get_config(3, 0, 4), UINT32_MAX);
	CHECK_EQ(get_config(1, 10, 2), 0x0180);
	CHECK_EQ(get_config(1, 0x3d, 1), 1);
	CHECK_EQ(get_config(1, 0x3c, 1), pci_line(1));
	for (unsigned int i = 0; i < 256; i += 4)
		CHECK_EQ((uint32_t)pci_ecam_read(&pci, 1 << 15 | i, 4), get_config(1, i, 4));
	CHECK_EQ(pci_ecam_read(&pci, 1 << 15 | 0x100, 4), UINT64_MAX);
	CHECK_EQ(pci_ecam_read(&pci, 1 << 15 | 0xfe, 4), UINT64_MAX);
	CHECK_EQ(pci_ecam_read(&pci, 1 << 15 | 1 << 12, 4), UINT64_MAX);
	pci_ecam_write(&pci, 1 << 15 | 0x3c, 1, 0x77);
	CHECK_EQ(get_config(1, 0x3c, 1), 0x77);
	/* Bus 1, function 1, and an address that is not enabled: nobody. */
	pci_address_write(&pci, 0, 4, 1U << 31 | 1 << 16);
	CHECK_EQ(pci_data_read(&pci, 0, 4), UINT64_MAX);
	pci_address_write(&pci, 0, 4, 1U << 31 | 1 << 8);
	CHECK_EQ(pci_data_read(&pci, 0, 4), UINT64_MAX);
	pci_address_write(&pci, 0, 4, 0);
	CHECK_EQ(pci_data_read(&pci, 0, 4), UINT64_MAX);
	pci_address_write(&pci, 0, 4, UINT32_MAX);
	CHECK_EQ(pci_address_read(&pci, 0, 4), 0x80fffffc);
	pci_address_write(&pci, 0, 1, 0);
	CHECK_EQ(pci_address_read(&pci, 0, 4), 0x80fffffc);
	/* What is not writable stays. */
	set_config(1, 0, 4, 0);
	set_config(1, 0x34, 4, 0);
	CHECK_EQ(get_config(1, 0, 4), 0x10421af4);
	CHECK_EQ(get_config(1, 0x34, 1), 0x40);
	CHECK(get_config(1, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
	CHECK(!(get_config(2, PCI_STATUS, 2) & PCI_STATUS_CAP_LIST));
}

UNIT_TEST(bars_are_assigned)
{
	setup();
	CHECK_EQ(get_config(1, 0x10, 4), LOW | 4);
	CHECK_EQ(get_config(1, 0x14, 4), 0);
	CHECK_EQ(get_config(2, 0x10, 4), (LOW + 0x8000) | 4);
	CHECK_EQ(get_config(2, 0x18, 4), 4);
	CHECK_EQ(get_config(2, 0x1c, 4), HIGH >> 32);
	CHECK_EQ(bus_read(&mmio, LOW + 0x10, 4), 1 << 16 | 0x10);
	CHECK_EQ(bus_read(&mmio, LOW + 0x8010, 4), 2 << 16 | 0x10);
	CHECK_EQ(bus_read(&mmio, HIGH + 4, 4), 2 << 16 | 2 << 12 | 4);
	pci.low.size = 0x8000;
	pci.low.used = pci.high.used = 0;
	CHECK_EQ(pci_start(&pci), -ENOSPC);
}

UNIT_TEST(bars_are_sized_and_moved)
{
	setup();
	set_config(1, PCI_COMMAND, 2, 0);
	CHECK_EQ(bus_read(&mmio, LOW, 4), UINT32_MAX);
	CHECK(moved_from == LOW && moved_to == PCI_NOWHERE);
	set_config(1, 0x10, 4, UINT32_MAX);
	set_config(1, 0x14, 4, UINT32_MAX);
	CHECK_EQ(get_config(1, 0x10, 4), 0xffff8004);
	CHECK_EQ(get_config(1, 0x14, 4), UINT32_MAX);
	set_config(1, 0x18, 4, UINT32_MAX);
	CHECK_EQ(get_config(1, 0x18, 4), 0);
	set_config(1, 0x10, 4, 0xd0001234);
	set_config(1, 0x14, 4, 5);
	moves = 0;
	set_config(1, PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	CHECK(moves == 1 && moved_to == 0x5d0000000);
	CHECK_EQ(bus_read(&mmio, 0x5d0000010, 4), 1 << 16 | 0x10);
	/* Moved while it is enabled; to where nothing can be it is nowhere. */
	set_config(1, 0x14, 4, 6);
	CHECK_EQ(bus_read(&mmio, 0x6d0000010, 4), 1 << 16 | 0x10);
	CHECK_EQ(bus_read(&mmio, 0x5d0000010, 4), UINT32_MAX);
	set_config(1, 0x14, 4, 0);
	set_config(1, 0x10, 4, 0);
	CHECK_EQ(fn[0].bar[0].at, PCI_NOWHERE);
}

UNIT_TEST(a_place_that_is_taken)
{
	setup();
	set_config(1, 0x10, 4, LOW + 0x8000);
	CHECK_EQ(fn[0].bar[0].at, PCI_NOWHERE);
	CHECK_EQ(bus_read(&mmio, LOW + 0x8000, 4), 2 << 16);
	set_config(2, 0x10, 4, LOW + 0x20000);	/* it goes, and the other one gets it */
	CHECK_EQ(bus_read(&mmio, LOW + 0x8000, 4), 1 << 16);
	CHECK_EQ(bus_read(&mmio, LOW + 0x20000, 4), 2 << 16);
}

UNIT_TEST(shared_lines)
{
	setup();
	fn[1].line = fn[0].line;
	pci_intx(&fn[0], true);
	pci_intx(&fn[1], true);
	CHECK(levels[pci_line(1)]);
	CHECK(get_config(1, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	pci_intx(&fn[0], false);
	CHECK(levels[pci_line(1)]);
	set_config(2, PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	CHECK(!levels[pci_line(1)]);
	set_config(2, PCI_COMMAND, 2, 0);
	CHECK(levels[pci_line(1)]);
	pci_intx(&fn[1], false);
	CHECK(!levels[pci_line(1)]);
}

UNIT_TEST(msix_messages)
{
	setup();
	CHECK_EQ(get_config(1, 0x40, 4), 0x00020011);
	CHECK_EQ(get_config(1, 0x44, 4), 0x4000);
	CHECK_EQ(get_config(1, 0x48, 4), 0x5000);
	msix_table_write(&msix, 16, 8, 0x00000001fee00008);
	msix_table_write(&msix, 24, 4, 0x41);
	msix_raise(&msix, 1);
	CHECK(!msis && !msix.pending);		/* not enabled: lost */
	msix_control(&msix, PCI_MSIX_FLAGS_ENABLE);
	msix_raise(&msix, 1);
	CHECK(!msis);
	CHECK_EQ(msix_pba_read(&msix, 0, 8), 2);
	msix_table_write(&msix, 28, 4, 0);
	CHECK(msis == 1 && msi_address == 0x1fee00008 && msi_data == 0x41);
	CHECK_EQ(msix_pba_read(&msix, 0, 8), 0);
	msix_control(&msix, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	msix_raise(&msix, 1);
	CHECK_EQ(msis, 1);
	msix_control(&msix, PCI_MSIX_FLAGS_ENABLE);
	CHECK_EQ(msis, 2);
	msix_raise(&msix, 3);
	msix_raise(&msix, MSIX_NONE);
	CHECK_EQ(msis, 2);
	CHECK_EQ(msix_table_read(&msix, 16, 8), 0x1fee00008);
	CHECK_EQ(msix_table_read(&msix, 24, 8), 0x41);
	CHECK_EQ(msix_table_read(&msix, 44, 4), 1);
	CHECK_EQ(msix_table_read(&msix, 48, 4), 0);
	msix_table_write(&msix, 0x1000, 4, 1);
	msix_table_write(&msix, 17, 4, 1);
	msix_table_write(&msix, 16, 2, 1);
	CHECK_EQ(msix_table_read(&msix, 16, 4), 0xfee00008);
}

UNIT_TEST(all_slots)
{
	static struct pci_function more[PCI_SLOTS];
	static const struct pci_id id = { 0x1af4, 0x1042, 0x1af4, 0x1100, 1, 0x018000 };
	unsigned int n = 0;

	setup();
	while (n < PCI_SLOTS && !pci_add(&pci, &more[n], &id))
		n++;
	CHECK_EQ(n, PCI_SLOTS - 3);
}
