// SPDX-License-Identifier: GPL-2.0
/* The ACPI tables, read back by a parser that shares nothing with their writer. */
#include <errno.h>
#include "unit.h"
#include "boot.h"

static uint8_t ram[1 << 20];
static struct cleave_mem mem;
static uint64_t rsdp;

static uint64_t get(const uint8_t *p, unsigned int n)
{
	uint64_t v = 0;

	while (n--)
		v = v << 8 | p[n];
	return v;
}

static bool sums_to_zero(const uint8_t *p, uint32_t n)
{
	uint8_t sum = 0;

	while (n--)
		sum += *p++;
	return !sum;
}

static const uint8_t *lines;		/* of PCI slots */

static int build(uint32_t cpus)
{
	const struct boot_params_in in = { .memory = 5ULL << 30, .cpus = cpus, .pci_lines = lines };

	memset(ram, 0, sizeof(ram));
	memset(&mem, 0, sizeof(mem));
	cleave_mem_add(&mem, 0, sizeof(ram), ram, 0);
	return acpi_build(&mem, &in, &rsdp);
}

/* A table by its address, checked: signature, length, sum, inside the ACPI range. */
static const uint8_t *table(uint64_t gpa, const char *signature)
{
	const uint8_t *p = ram + gpa;
	uint32_t len;

	if (gpa < ACPI_BASE || gpa + 36 > ACPI_END || memcmp(p, signature, 4)) {
		unit_fail("no %s at %#llx", signature, (long long)gpa);
		abort();
	}
	len = get(p + 4, 4);
	CHECK(len >= 36 && gpa + len <= ACPI_END);
	CHECK(sums_to_zero(p, len));
	CHECK(!memcmp(p + 10, "CLEAVE", 6));
	return p;
}

/* What the XSDT leads to. */
static const uint8_t *find(const char *signature)
{
	const uint8_t *x = table(get(ram + rsdp + 24, 8), "XSDT");

	for (uint32_t i = 36; i < get(x + 4, 4); i += 8)
		if (!memcmp(ram + get(x + i, 8), signature, 4))
			return table(get(x + i, 8), signature);
	unit_fail("no %s in the XSDT", signature);
	abort();
}

UNIT_TEST(root_pointer)
{
	CHECK_EQ(build(1), 0);
	CHECK_EQ(rsdp, ACPI_BASE);
	CHECK_EQ(rsdp & 15, 0);			/* found by a scan, too */
	CHECK(!memcmp(ram + rsdp, "RSD PTR ", 8));
	CHECK(sums_to_zero(ram + rsdp, 20) && sums_to_zero(ram + rsdp, 36));
	CHECK_EQ(ram[rsdp + 15], 2);
	CHECK_EQ(get(ram + rsdp + 20, 4), 36);
	for (unsigned int i = 0; i < ACPI_BASE; i++)
		if (ram[i]) {
			unit_fail("wrote at %#x", i);
			break;
		}
}

UNIT_TEST(fadt)
{
	const uint8_t *f, *facs;

	build(1);
	f = find("FACP");
	CHECK_EQ(f[8], 6);
	CHECK_EQ(get(f + 4, 4), 276);
	facs = ram + get(f + 36, 4);
	CHECK(!memcmp(facs, "FACS", 4));
	CHECK_EQ(get(facs + 4, 4), 64);
	CHECK_EQ(get(f + 36, 4) & 63, 0);
	CHECK_EQ(get(f + 40, 4), get(f + 140, 8));
	table(get(f + 40, 4), "DSDT");
	CHECK_EQ(get(f + 46, 2), 9);
	CHECK_EQ(get(f + 48, 4), 0);			/* SMI_CMD */
	CHECK_EQ(get(f + 56, 4), 0x600);
	CHECK_EQ(get(f + 64, 4), 0x604);
	CHECK_EQ(get(f + 76, 4), 0x608);
	CHECK(f[88] == 4 && f[89] == 2 && f[91] == 4);
	CHECK_EQ(get(f + 112, 4) >> 20 & 1, 0);		/* hardware-reduced */
	CHECK_EQ(get(f + 112, 4) >> 10 & 1, 1);		/* reset register */
	CHECK_EQ(get(f + 112, 4) >> 4 & 3, 2);		/* power button fixed, no sleep button */
	CHECK_EQ(get(f + 112, 4) >> 8 & 1, 1);		/* 32-bit timer */
	CHECK(f[116] == 1 && f[117] == 8 && get(f + 120, 8) == 0xcf9);
	CHECK_EQ(f[128], 6);
	CHECK(f[148] == 1 && f[149] == 32 && get(f + 152, 8) == 0x600);
	CHECK(f[172] == 1 && f[173] == 16 && get(f + 176, 8) == 0x604);
	CHECK(f[208] == 1 && f[209] == 32 && get(f + 212, 8) == 0x608);
}

static void madt_of(uint32_t cpus)
{
	unsigned int lapics = 0, ioapics = 0, overrides = 0, nmis = 0;
	const uint8_t *m;
	uint32_t len;

	CHECK_EQ(build(cpus), 0);
	m = find("APIC");
	len = get(m + 4, 4);
	CHECK_EQ(get(m + 36, 4), 0xfee00000);
	for (const uint8_t *e = m + 44; e < m + len; e += e[1]) {
		REQUIRE(e[1] >= 6 && e + e[1] <= m + len);
		switch (e[0]) {
		case 0:
			CHECK(e[1] == 8 && e[2] == lapics && e[3] == lapics && get(e + 4, 4) == 1);
			lapics++;
			break;
		case 1:
			CHECK(e[1] == 12 && get(e + 4, 4) == 0xfec00000 && get(e + 8, 4) == 0);
			ioapics++;
			break;
		case 2:
			CHECK(e[1] == 10 && e[2] == 0);
			if (e[3] == 0)
				CHECK(get(e + 4, 4) == 2 && get(e + 8, 2) == 0);
			else
				CHECK(e[3] == 9 && get(e + 4, 4) == 9 && get(e + 8, 2) == 0xd);
			overrides++;
			break;
		case 4:
			CHECK(e[1] == 6 && e[2] == 0xff && e[5] == 1);
			nmis++;
			break;
		default:
			unit_fail("entry %u", e[0]);
		}
	}
	CHECK_EQ(lapics, cpus);
	CHECK(ioapics == 1 && overrides == 2 && nmis == 1);
}

UNIT_TEST(madt)
{
	madt_of(1);
	madt_of(4);
	madt_of(CLEAVE_MAX_VCPUS);
}

/* ---- a little AML: names, packages, buffers, scopes, devices ---- */

static unsigned int pkg_length(const uint8_t *p, unsigned int *n)
{
	unsigned int more = p[0] >> 6, len = more ? p[0] & 15 : p[0] & 63;

	*n = 1 + more;
	for (unsigned int i = 0; i < more; i++)
		len |= p[1 + i] << (4 + 8 * i);
	return len;
}

/* One data object: its size; integers to *v. */
static unsigned int data_object(const uint8_t *p, const uint8_t *end, uint64_t *v)
{
	unsigned int n;

	switch (p[0]) {
	case 0x00:
	case 0x01:
		*v = p[0];
		return 1;
	case 0x0a:
		*v = p[1];
		return 2;
	case 0x0c:
		*v = get(p + 1, 4);
		return 5;
	case 0x11:
	case 0x12:
		n = pkg_length(p + 1, &n);
		CHECK(p + 1 + n <= end);
		return 1 + n;
	default:
		unit_fail("data object %#x", p[0]);
		abort();
	}
}

struct device {
	uint64_t hid, sta;
	const uint8_t *crs, *prt;
};

static struct device devices[4];
static unsigned int device_count;
static const uint8_t *s5;

static void terms(const uint8_t *p, const uint8_t *end, struct device *dev)
{
	while (p < end) {
		unsigned int n, len;
		uint64_t v = 0;

		switch (p[0]) {
		case 0x08:				/* Name */
			p++;
			if (p[0] == '\\')
				p++;
			len = data_object(p + 4, end, &v);
			if (!memcmp(p, "_S5_", 4))
				s5 = p + 4;
			else if (dev && !memcmp(p, "_HID", 4))
				dev->hid = v;
			else if (dev && !memcmp(p, "_STA", 4))
				dev->sta = v;
			else if (dev && !memcmp(p, "_CRS", 4))
				dev->crs = p + 4;
			else if (dev && !memcmp(p, "_PRT", 4))
				dev->prt = p + 4;
			else
				CHECK(dev && (!memcmp(p, "_UID", 4) || !memcmp(p, "_BBN", 4)));
			p += 4 + len;
			break;
		case 0x10:				/* Scope */
			len = pkg_length(p + 1, &n);
			REQUIRE(p + 1 + len <= end);
			CHECK(!memcmp(p + 1 + n, "\\_SB_", 5));
			terms(p + 1 + n + 5, p + 1 + len, NULL);
			p += 1 + len;
			break;
		case 0x5b:				/* Device */
			REQUIRE(p[1] == 0x82 && device_count < 4);
			len = pkg_length(p + 2, &n);
			REQUIRE(p + 2 + len <= end);
			terms(p + 2 + n + 4, p + 2 + len, &devices[device_count++]);
			p += 2 + len;
			break;
		default:
			unit_fail("opcode %#x", p[0]);
			return;
		}
	}
	CHECK(p == end);
}

static void check_device(const struct device *d, uint64_t hid, uint16_t port, uint8_t ports,
			 uint8_t irq)
{
	const uint8_t *b = d->crs;
	unsigned int n, len;

	CHECK_EQ(d->hid, hid);
	CHECK_EQ(d->sta, 0xf);
	REQUIRE(b && b[0] == 0x11);
	len = pkg_length(b + 1, &n);
	b += 1 + n;
	REQUIRE(b[0] == 0x0a);
	CHECK_EQ(b[1], len - n - 2);			/* declared and real size */
	b += 2;
	CHECK(b[0] == 0x47 && b[1] == 1 && get(b + 2, 2) == port && get(b + 4, 2) == port);
	CHECK(b[6] == 1 && b[7] == ports);
	CHECK(b[8] == 0x22 && get(b + 9, 2) == 1U << irq);
	CHECK(b[11] == 0x79);
}

UNIT_TEST(dsdt)
{
	const uint8_t *d;
	unsigned int n;
	uint64_t v = 0;

	build(1);
	d = table(get(find("FACP") + 40, 4), "DSDT");
	CHECK_EQ(d[8], 2);
	terms(d + 36, d + get(d + 4, 4), NULL);
	CHECK_EQ(device_count, 2);
	/* EISA ids: three letters in 5 bits each, four digits, big-endian */
	check_device(&devices[0], 0x0105d041, 0x3f8, 8, 4);
	check_device(&devices[1], 0x000bd041, 0x70, 2, 8);
	REQUIRE(s5 && s5[0] == 0x12);
	pkg_length(s5 + 1, &n);
	CHECK_EQ(s5[1 + n], 4);
	data_object(s5 + 2 + n, s5 + 32, &v);
	CHECK_EQ(v, ACPI_S5_TYPE);
}

/* Of an address space descriptor: base and size; the range it says is the one it has. */
static const uint8_t *space(const uint8_t *b, uint8_t tag, uint8_t type, uint64_t base, uint64_t size)
{
	unsigned int w = tag == 0x88 ? 2 : tag == 0x87 ? 4 : 8;

	CHECK(b[0] == tag && get(b + 1, 2) == 3 + 5 * w && b[3] == type && b[4] == 0x0c);
	CHECK_EQ(get(b + 6 + w, w), base);
	CHECK_EQ(get(b + 6 + 2 * w, w), base + size - 1);
	CHECK_EQ(get(b + 6 + 4 * w, w), size);
	return b + 6 + 5 * w;
}

UNIT_TEST(pci)
{
	static const uint8_t some[BOOT_PCI_SLOTS] = { [1] = 10, [2] = 11, [31] = 5 };
	const uint8_t *d, *b, *p;
	unsigned int n, len, i;

	lines = some;
	build(2);
	d = find("MCFG");
	CHECK(get(d + 4, 4) == 60 && get(d + 44, 8) == BOOT_ECAM && get(d + 52, 4) == 0);
	d = table(get(find("FACP") + 40, 4), "DSDT");
	device_count = 0;
	memset(devices, 0, sizeof(devices));
	terms(d + 36, d + get(d + 4, 4), NULL);
	REQUIRE(device_count == 4);
	CHECK_EQ(devices[2].hid, 0x030ad041);
	b = devices[2].crs;
	REQUIRE(b && b[0] == 0x11);
	len = pkg_length(b + 1, &n);
	REQUIRE(b[1 + n] == 0x0b);
	CHECK_EQ(get(b + 2 + n, 2), len - n - 3);
	p = space(b + 4 + n, 0x88, 2, 0, 1);
	CHECK(!memcmp(p, "\x47\x01\xf8\x0c\xf8\x0c\x01\x08", 8));
	p = space(p + 8, 0x88, 1, 0, 0xcf8);
	p = space(p, 0x88, 1, 0xd00, 0xf300);
	p = space(p, 0x87, 0, 0xc0000000, 0x20000000);
	p = space(p, 0x8a, 0, 16ULL << 30, 16ULL << 30);
	CHECK(p[0] == 0x79 && p + 2 == b + 1 + len);
	b = devices[2].prt;
	REQUIRE(b && b[0] == 0x12);
	pkg_length(b + 1, &n);
	CHECK_EQ(b[1 + n], 3);
	for (p = b + 2 + n, i = 0; i < BOOT_PCI_SLOTS; i++) {
		if (!some[i])
			continue;
		REQUIRE(p[0] == 0x12);
		len = pkg_length(p + 1, &n);
		CHECK(p[1 + n] == 4 && p[2 + n] == 0x0c && get(p + 3 + n, 4) == (i << 16 | 0xffff));
		CHECK(p[7 + n] == 0 && p[8 + n] == 0 && p[9 + n] == 0x0a && p[10 + n] == some[i]);
		p += 1 + len;
	}
	CHECK_EQ(devices[3].hid, 0x020cd041);
	lines = NULL;
	build(2);
	CHECK(memmem(ram + ACPI_BASE, ACPI_END - ACPI_BASE, "PCI0", 4) == NULL);
}

/* ---- by firmware ---- */

#define FW_RSDP_AT	(ACPI_BASE + 0x10)
#define FW_TABLES_AT	(ACPI_BASE + 0x1040)
#define FW_COMMAND	128

static struct boot_fw_acpi fw;

/* Where firmware has put the file that the name in a command says. */
static uint8_t *fw_file(const uint8_t *name, uint32_t *size)
{
	bool is_rsdp = !strcmp((const char *)name, "etc/acpi/rsdp");

	if (!is_rsdp && strcmp((const char *)name, "etc/acpi/tables")) {
		unit_fail("a file %.56s", name);
		abort();
	}
	*size = is_rsdp ? fw.rsdp_size : fw.tables_size;
	return ram + (is_rsdp ? FW_RSDP_AT : FW_TABLES_AT);
}

static void fw_pointer(const uint8_t *c)
{
	uint32_t to_size, size, at = get(c + 116, 4), n = c[120];
	uint8_t *file = fw_file(c + 4, &size), *to = fw_file(c + 60, &to_size);
	uint64_t v = get(file + at, n);

	CHECK(at + n <= size && v < to_size && (n == 4 || n == 8));
	for (v += to - ram; n--; v >>= 8)
		file[at++] = v;
}

static void fw_checksum(const uint8_t *c)
{
	uint32_t size, at = get(c + 60, 4), start = get(c + 64, 4), len = get(c + 68, 4);
	uint8_t *file = fw_file(c + 4, &size), sum = 0;

	CHECK(at < size && start < size && len <= size - start);
	for (; len; len--)
		sum += file[start + len - 1];
	file[at] -= sum;
}

/* What the commands say, in their order. */
static void fw_execute(void)
{
	unsigned int allocated = 0;
	const uint8_t *c;
	uint32_t size;

	CHECK(fw.loader_size && fw.loader_size % FW_COMMAND == 0);
	memset(ram, 0, sizeof(ram));
	for (c = fw.loader; c < (uint8_t *)fw.loader + fw.loader_size; c += FW_COMMAND) {
		switch (get(c, 4)) {
		case 1:
			CHECK_EQ(get(c + 60, 4), fw_file(c + 4, &size) == ram + FW_RSDP_AT ? 16 : 64);
			CHECK_EQ(c[64], fw_file(c + 4, &size) == ram + FW_RSDP_AT ? 2 : 1);
			memcpy(fw_file(c + 4, &size), size == fw.rsdp_size ? fw.rsdp : fw.tables, size);
			allocated++;
			break;
		case 2:
			CHECK_EQ(allocated, 2);
			fw_pointer(c);
			break;
		case 3:
			fw_checksum(c);
			break;
		default:
			unit_fail("command %llu", (long long)get(c, 4));
		}
	}
}

/* The same tables, but for where they are. */
UNIT_TEST(for_firmware)
{
	static const uint8_t some[BOOT_PCI_SLOTS] = { [1] = 10 };
	const struct boot_params_in in = { .memory = 5ULL << 30, .cpus = 3, .pci_lines = some };
	static uint8_t dsdt[8192];
	const uint8_t *f;
	uint32_t len;

	lines = some;
	CHECK_EQ(build(3), 0);
	f = table(get(find("FACP") + 40, 4), "DSDT");
	len = get(f + 4, 4);
	REQUIRE(len <= sizeof(dsdt));
	memcpy(dsdt, f, len);
	REQUIRE(!boot_fw_acpi_build(&in, &fw));
	fw_execute();
	rsdp = FW_RSDP_AT;
	CHECK(!memcmp(ram + rsdp, "RSD PTR ", 8));
	CHECK(sums_to_zero(ram + rsdp, 20) && sums_to_zero(ram + rsdp, 36));
	f = find("FACP");
	CHECK(!memcmp(ram + get(f + 36, 4), "FACS", 4) && get(f + 36, 4) % 64 == 0);
	CHECK_EQ(get(f + 40, 4), get(f + 140, 8));
	CHECK(!memcmp(table(get(f + 40, 4), "DSDT"), dsdt, len));
	CHECK_EQ(get(find("APIC") + 36, 4), 0xfee00000);
	CHECK_EQ(get(find("MCFG") + 44, 8), BOOT_ECAM);
	boot_fw_acpi_free(&fw);
	lines = NULL;
}

UNIT_TEST(bad_counts)
{
	CHECK_EQ(build(0), -EINVAL);
	CHECK_EQ(build(CLEAVE_MAX_VCPUS + 1), -EINVAL);
	CHECK_EQ(boot_fw_acpi_build(&(struct boot_params_in){ .memory = 1 << 30 }, &fw), -EINVAL);
	boot_fw_acpi_free(&fw);
}
