// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: ACPI tables of the machine (ACPI 6.3): an ordinary PC with fixed
 * power-management ports, a power button, COM1 and a clock, and with a PCI bus if need be.
 */
#include <errno.h>
#include <string.h>
#include "boot.h"

#define CREATOR		"CLV "

static void put(struct acpi_tables *t, uint32_t at, uint64_t v, unsigned int size)
{
	for (unsigned int i = 0; i < size; i++)
		t->data[at + i] = v >> 8 * i;
}

/* The address of what is at target. */
static void put_address(struct acpi_tables *t, uint32_t at, uint32_t target, unsigned int size)
{
	put(t, at, t->base + target, size);
	t->pointer[t->pointers].at = at;
	t->pointer[t->pointers++].size = size;
}

static void append(struct acpi_tables *t, const void *p, uint32_t n)
{
	memcpy(t->data + t->len, p, n);
	t->len += n;
}

static void append_int(struct acpi_tables *t, uint64_t v, unsigned int size)
{
	put(t, t->len, v, size);
	t->len += size;
}

static uint8_t checksum(const uint8_t *p, uint32_t n)
{
	uint8_t sum = 0;

	while (n--)
		sum += *p++;
	return -sum;
}

static uint32_t begin(struct acpi_tables *t, const char *signature, uint8_t revision)
{
	uint32_t at = (t->len + 63) & ~63U;

	t->len = at;
	append(t, signature, 4);
	append_int(t, 0, 4);			/* length, by end() */
	append_int(t, revision, 2);		/* and checksum */
	append(t, "CLEAVE" "CLEAVE  ", 14);	/* OEMID, OEM table id */
	append_int(t, 1, 4);
	append(t, CREATOR, 4);
	append_int(t, 1, 4);
	return at;
}

static void end(struct acpi_tables *t, uint32_t at)
{
	put(t, at + 4, t->len - at, 4);
	t->table[t->tables].at = at;
	t->table[t->tables++].size = t->len - at;
	t->data[at + 9] = checksum(t->data + at, t->len - at);
}

/* ---- AML, chapter 20 ---- */

/* PkgLength in its 2-byte form, filled by aml_end(). */
static uint32_t aml_begin(struct acpi_tables *t)
{
	t->len += 2;
	return t->len - 2;
}

static void aml_end(struct acpi_tables *t, uint32_t at)
{
	uint32_t n = t->len - at;

	t->data[at] = 0x40 | (n & 15);
	t->data[at + 1] = n >> 4;
}

static void aml_name(struct acpi_tables *t, const char *seg)
{
	append_int(t, 0x08, 1);			/* NameOp */
	append(t, seg, 4);
}

/* Name (_HID, EisaId ("PNPxxxx")) */
static void aml_hid(struct acpi_tables *t, uint16_t pnp)
{
	aml_name(t, "_HID");
	append(t, "\x0c\x41\xd0", 3);		/* DWordPrefix, EISA id "PNP" */
	append_int(t, pnp >> 8 | pnp << 8, 2);
}

/* Device (seg) { _HID PNPxxxx, _UID 0, _STA 0xf, _CRS: ports, one ISA interrupt } */
static void aml_device(struct acpi_tables *t, const char *seg, uint16_t pnp, uint16_t port,
		       uint8_t ports, uint8_t irq)
{
	uint32_t dev, buf;

	append(t, "\x5b\x82", 2);		/* DeviceOp */
	dev = aml_begin(t);
	append(t, seg, 4);
	aml_hid(t, pnp);
	aml_name(t, "_UID");
	append_int(t, 0x00, 1);			/* ZeroOp */
	aml_name(t, "_STA");
	append(t, "\x0a\x0f", 2);		/* BytePrefix: present, enabled, shown, working */
	aml_name(t, "_CRS");
	append_int(t, 0x11, 1);			/* BufferOp */
	buf = aml_begin(t);
	append(t, "\x0a\x0d", 2);		/* 13 bytes, 6.4.2: */
	append(t, "\x47\x01", 2);		/* I/O ports, 16-bit decode */
	append_int(t, port, 2);
	append_int(t, port, 2);
	append_int(t, 1, 1);
	append_int(t, ports, 1);
	append_int(t, 0x22, 1);			/* IRQ, edge, active high */
	append_int(t, 1U << irq, 2);
	append(t, "\x79\x00", 2);		/* end, checksum not used */
	aml_end(t, buf);
	aml_end(t, dev);
}

/* An address space of 16, 32 or 64 bits that the bridge produces, 6.4.3.5. */
static void aml_space(struct acpi_tables *t, uint8_t tag, uint8_t type, uint8_t specific, uint64_t base,
		      uint64_t size)
{
	unsigned int width = tag == 0x88 ? 2 : tag == 0x87 ? 4 : 8;

	append_int(t, tag, 1);
	append_int(t, 3 + 5 * width, 2);
	append_int(t, type, 1);
	append_int(t, 0x0c, 1);			/* both ends are fixed */
	append_int(t, specific, 1);
	append_int(t, 0, width);		/* granularity */
	append_int(t, base, width);
	append_int(t, base + size - 1, width);
	append_int(t, 0, width);		/* translation */
	append_int(t, size, width);
}

/* Name (_CRS, Buffer () { ... end tag }); *buf and *size for aml_resources_end(). */
static void aml_resources(struct acpi_tables *t, uint32_t *buf, uint32_t *size)
{
	aml_name(t, "_CRS");
	append_int(t, 0x11, 1);			/* BufferOp */
	*buf = aml_begin(t);
	append_int(t, 0x0b, 1);			/* WordPrefix */
	*size = t->len;
	append_int(t, 0, 2);
}

static void aml_resources_end(struct acpi_tables *t, uint32_t buf, uint32_t size)
{
	append(t, "\x79\x00", 2);		/* end, checksum not used */
	put(t, size, t->len - size - 2, 2);
	aml_end(t, buf);
}

/* What PCI0 passes on: bus 0, all ports but those of mechanism 1, the windows of BARs. */
static void aml_windows(struct acpi_tables *t, uint64_t memory)
{
	struct boot_range high = boot_pci_high(memory);
	uint32_t buf, size;

	aml_resources(t, &buf, &size);
	aml_space(t, 0x88, 2, 0, 0, 1);
	append(t, "\x47\x01\xf8\x0c\xf8\x0c\x01\x08", 8);	/* it takes 0xcf8 to 0xcff itself */
	aml_space(t, 0x88, 1, 3, 0, 0xcf8);
	aml_space(t, 0x88, 1, 3, 0xd00, 0xf300);
	aml_space(t, 0x87, 0, 1, BOOT_PCI_LOW, BOOT_PCI_LOW_SIZE);
	aml_space(t, 0x8a, 0, 1, high.gpa, high.size);
	aml_resources_end(t, buf, size);
}

/* 6.2.13: of each slot INTA, by the number of the interrupt. */
static void aml_prt(struct acpi_tables *t, const uint8_t *lines)
{
	uint32_t all, one, i;

	aml_name(t, "_PRT");
	append_int(t, 0x12, 1);			/* PackageOp */
	all = aml_begin(t);
	t->len++;
	t->data[all + 2] = 0;
	for (i = 0; i < BOOT_PCI_SLOTS; i++) {
		if (!lines[i])
			continue;
		t->data[all + 2]++;
		append_int(t, 0x12, 1);
		one = aml_begin(t);
		append(t, "\x04\x0c", 2);	/* of 4: all functions of the slot, */
		append_int(t, i << 16 | 0xffff, 4);
		append(t, "\x00\x00\x0a", 3);	/* INTA, no link device, */
		append_int(t, lines[i], 1);
		aml_end(t, one);
	}
	aml_end(t, all);
}

/* PCI0, and what tells an operating system that ECAM is not to be given away. */
static void aml_pci(struct acpi_tables *t, const struct boot_params_in *in)
{
	uint32_t dev, buf, size;

	append(t, "\x5b\x82", 2);		/* DeviceOp */
	dev = aml_begin(t);
	append(t, "PCI0", 4);
	aml_hid(t, 0x0a03);
	aml_name(t, "_UID");
	append_int(t, 0x00, 1);
	aml_name(t, "_BBN");
	append_int(t, 0x00, 1);
	aml_windows(t, in->memory);
	aml_prt(t, in->pci_lines);
	aml_end(t, dev);

	append(t, "\x5b\x82", 2);
	dev = aml_begin(t);
	append(t, "ECAM", 4);
	aml_hid(t, 0x0c02);
	aml_name(t, "_UID");
	append_int(t, 0x00, 1);
	aml_resources(t, &buf, &size);
	append(t, "\x86\x09\x00\x01", 4);	/* memory, fixed, read and write */
	append_int(t, BOOT_ECAM, 4);
	append_int(t, BOOT_ECAM_SIZE, 4);
	aml_resources_end(t, buf, size);
	aml_end(t, dev);
}

static uint32_t dsdt(struct acpi_tables *t, const struct boot_params_in *in)
{
	uint32_t at = begin(t, "DSDT", 2), scope;

	append(t, "\x08\\_S5_\x12", 7);		/* Name (\_S5, Package (4) */
	scope = aml_begin(t);
	append(t, "\x04\x0a", 2);
	append_int(t, ACPI_S5_TYPE, 1);
	append(t, "\x0a", 1);
	append_int(t, ACPI_S5_TYPE, 1);
	append_int(t, 0, 2);
	aml_end(t, scope);
	append_int(t, 0x10, 1);			/* Scope (\_SB) */
	scope = aml_begin(t);
	append(t, "\\_SB_", 5);
	aml_device(t, "COM1", 0x0501, COM1_PORT, 8, COM1_IRQ);
	aml_device(t, "RTC_", 0x0b00, RTC_PORT, 2, RTC_IRQ);
	if (in->pci_lines)
		aml_pci(t, in);
	aml_end(t, scope);
	end(t, at);
	return at;
}

/* 5.2.10: no header, no checksum. */
static uint32_t facs(struct acpi_tables *t)
{
	uint32_t at = (t->len + 63) & ~63U;

	memcpy(t->data + at, "FACS", 4);
	put(t, at + 4, 64, 4);
	t->data[at + 32] = 2;
	t->len = at + 64;
	return at;
}

/* Generic address, 5.2.3.2: an I/O port. */
static void gas(struct acpi_tables *t, uint32_t at, uint16_t port, uint8_t bytes, uint8_t access)
{
	t->data[at] = 1;
	t->data[at + 1] = bytes * 8;
	t->data[at + 3] = access;
	put(t, at + 4, port, 8);
}

/* 5.2.9. No SMI command port: ACPI mode from the start. */
static uint32_t fadt(struct acpi_tables *t, uint32_t facs_at, uint32_t dsdt_at)
{
	uint32_t at = begin(t, "FACP", 6);

	t->len = at + 276;
	put_address(t, at + 36, facs_at, 4);
	put_address(t, at + 40, dsdt_at, 4);
	put(t, at + 46, ACPI_SCI_IRQ, 2);
	put(t, at + 56, PM1A_EVT_PORT, 4);
	put(t, at + 64, PM1A_CNT_PORT, 4);
	put(t, at + 76, PM_TMR_PORT, 4);
	t->data[at + 88] = 4;			/* bytes of PM1a_EVT, PM1a_CNT, PM_TMR */
	t->data[at + 89] = 2;
	t->data[at + 91] = 4;
	put(t, at + 96, 0xffff, 2);		/* no C2, no C3 */
	put(t, at + 98, 0xffff, 2);
	t->data[at + 108] = 0x32;		/* century, in the clock's RAM */
	put(t, at + 109, 0x05, 2);		/* legacy devices, no VGA, no 8042 */
	/* WBINVD, C1, no sleep button, RTC not fixed, 32-bit timer, reset register */
	put(t, at + 112, 1 << 0 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 8 | 1 << 10, 4);
	gas(t, at + 116, ACPI_RESET_PORT, 1, 1);
	t->data[at + 128] = ACPI_RESET_VALUE;
	t->data[at + 131] = 3;			/* 6.3 */
	put_address(t, at + 140, dsdt_at, 8);
	gas(t, at + 148, PM1A_EVT_PORT, 4, 2);
	gas(t, at + 172, PM1A_CNT_PORT, 2, 2);
	gas(t, at + 208, PM_TMR_PORT, 4, 3);
	end(t, at);
	return at;
}

/* 5.2.12. APIC ids are below 255: local APIC entries serve x2APIC mode too. */
static uint32_t madt(struct acpi_tables *t, uint32_t cpus)
{
	uint32_t at = begin(t, "APIC", 5);

	append_int(t, LAPIC_BASE, 4);
	append_int(t, 1, 4);			/* PCs' two 8259s */
	for (uint32_t i = 0; i < cpus; i++) {
		append_int(t, 8 << 8 | 0, 2);
		append_int(t, i << 8 | i, 2);	/* processor uid, APIC id */
		append_int(t, 1, 4);		/* enabled */
	}
	append_int(t, 12 << 8 | 1, 2);		/* I/O APIC, id 0, interrupts from 0 on */
	append_int(t, 0, 2);
	append_int(t, IOAPIC_BASE, 4);
	append_int(t, 0, 4);
	append_int(t, 10 << 8 | 2, 2);		/* ISA 0 is input 2, as the bus says */
	append_int(t, 0, 2);
	append_int(t, 2, 4);
	append_int(t, 0, 2);
	append_int(t, 10 << 8 | 2, 2);		/* the SCI: level, active high */
	append_int(t, ACPI_SCI_IRQ << 8, 2);
	append_int(t, ACPI_SCI_IRQ, 4);
	append_int(t, 0xd, 2);
	append_int(t, 6 << 8 | 4, 2);		/* NMI: LINT1 of all */
	append_int(t, 0xff, 1);
	append_int(t, 0, 2);
	append_int(t, 1, 1);
	end(t, at);
	return at;
}

/* PCI Firmware Specification 3.2, 4.1.2: ECAM of bus 0. */
static uint32_t mcfg(struct acpi_tables *t)
{
	uint32_t at = begin(t, "MCFG", 1);

	append_int(t, 0, 8);
	append_int(t, BOOT_ECAM, 8);
	append_int(t, 0, 4);			/* segment 0, buses 0 to 0 */
	append_int(t, 0, 4);
	end(t, at);
	return at;
}

int acpi_tables(const struct boot_params_in *in, uint64_t base, struct acpi_tables *t)
{
	uint32_t facs_at, dsdt_at, list[3], n = 0, i, xsdt_at;

	if (!in->cpus || in->cpus > CLEAVE_MAX_VCPUS)
		return -EINVAL;
	memset(t, 0, sizeof(*t));
	t->base = base;
	t->len = ACPI_RSDP_SIZE;
	facs_at = facs(t);
	dsdt_at = dsdt(t, in);
	list[n++] = fadt(t, facs_at, dsdt_at);
	list[n++] = madt(t, in->cpus);
	if (in->pci_lines)
		list[n++] = mcfg(t);
	xsdt_at = begin(t, "XSDT", 1);
	for (i = 0; i < n; i++) {
		t->len += 8;
		put_address(t, t->len - 8, list[i], 8);
	}
	end(t, xsdt_at);

	memcpy(t->data, "RSD PTR ", 8);		/* 5.2.5.3 */
	memcpy(t->data + 9, "CLEAVE", 6);
	t->data[15] = 2;
	put(t, 20, ACPI_RSDP_SIZE, 4);
	put_address(t, 24, xsdt_at, 8);
	t->data[8] = checksum(t->data, 20);
	t->data[32] = checksum(t->data, ACPI_RSDP_SIZE);
	return 0;
}

int acpi_build(const struct cleave_mem *mem, const struct boot_params_in *in, uint64_t *rsdp)
{
	struct acpi_tables t;
	int ret = acpi_tables(in, ACPI_BASE, &t);

	*rsdp = ACPI_BASE;
	return ret ?: cleave_mem_write(mem, ACPI_BASE, t.data, t.len);
}
