// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: the ACPI tables as firmware takes them from fw_cfg: files, and a list of what
 * is to be done with them (QEMU's hw/acpi/bios-linker-loader.c has its format).
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include "boot.h"

#define FILE_NAME	56
#define CHECKSUM	9		/* of a table, in its header (ACPI 6.3, 5.2.6) */
#define RSDP_CHECKSUM	32		/* of all of it, 5.2.5.3 */
#define TABLE_ALIGN	64

enum {
	ALLOCATE	= 1,
	ADD_POINTER	= 2,
	ADD_CHECKSUM	= 3,
};

enum {
	ZONE_HIGH	= 1,
	ZONE_FSEG	= 2,		/* where an operating system looks for the RSDP */
};

struct command {
	uint32_t command;
	union {
		struct {
			char file[FILE_NAME];
			uint32_t align;
			uint8_t zone;
		} __attribute__((packed)) allocate;
		struct {
			char dest[FILE_NAME], src[FILE_NAME];
			uint32_t offset;
			uint8_t size;
		} __attribute__((packed)) pointer;
		struct {
			char file[FILE_NAME];
			uint32_t offset, start, length;
		} __attribute__((packed)) checksum;
		char all[124];
	};
} __attribute__((packed));
_Static_assert(sizeof(struct command) == 128, "firmware knows them by their size");

static void allocate(struct command *c, const char *file, uint32_t align, uint8_t zone)
{
	c->command = htole32(ALLOCATE);
	strcpy(c->allocate.file, file);
	c->allocate.align = htole32(align);
	c->allocate.zone = zone;
}

/* The RSDP and the tables behind it are a file each. */
static uint32_t in_file(uint32_t at, const char **file)
{
	*file = at < ACPI_RSDP_SIZE ? BOOT_FW_RSDP : BOOT_FW_TABLES;
	return at < ACPI_RSDP_SIZE ? at : at - TABLE_ALIGN;
}

/* What is there is an offset in the file, to which its address is added. */
static void add_pointer(struct command *c, const struct acpi_part *p)
{
	const char *file;
	uint32_t at = in_file(p->at, &file);

	c->command = htole32(ADD_POINTER);
	strcpy(c->pointer.dest, file);
	strcpy(c->pointer.src, BOOT_FW_TABLES);
	c->pointer.offset = htole32(at);
	c->pointer.size = p->size;
}

static void add_checksum(struct command *c, uint32_t start, uint32_t length, uint32_t offset)
{
	const char *file;
	uint32_t at = in_file(start, &file);

	c->command = htole32(ADD_CHECKSUM);
	strcpy(c->checksum.file, file);
	c->checksum.offset = htole32(at + offset);
	c->checksum.start = htole32(at);
	c->checksum.length = htole32(length);
}

static uint32_t commands(const struct acpi_tables *t, struct command *c)
{
	struct command *first = c;
	unsigned int i;

	allocate(c++, BOOT_FW_RSDP, 16, ZONE_FSEG);
	allocate(c++, BOOT_FW_TABLES, TABLE_ALIGN, ZONE_HIGH);
	for (i = 0; i < t->pointers; i++)
		add_pointer(c++, &t->pointer[i]);
	for (i = 0; i < t->tables; i++)
		add_checksum(c++, t->table[i].at, t->table[i].size, CHECKSUM);
	add_checksum(c++, 0, ACPI_RSDP_SIZE, RSDP_CHECKSUM);
	return (c - first) * sizeof(*c);
}

int boot_fw_acpi_build(const struct boot_params_in *in, struct boot_fw_acpi *a)
{
	struct acpi_tables t;
	/* The first table is at TABLE_ALIGN, and at 0 in its file. */
	int ret = acpi_tables(in, -(uint64_t)TABLE_ALIGN, &t);

	memset(a, 0, sizeof(*a));
	if (ret)
		return ret;
	a->rsdp_size = ACPI_RSDP_SIZE;
	a->tables_size = t.len - TABLE_ALIGN;
	a->rsdp = malloc(a->rsdp_size);
	a->tables = malloc(a->tables_size);
	a->loader = calloc(3 + t.pointers + t.tables, sizeof(struct command));
	if (!a->rsdp || !a->tables || !a->loader) {
		boot_fw_acpi_free(a);
		return -ENOMEM;
	}
	memcpy(a->rsdp, t.data, a->rsdp_size);
	memcpy(a->tables, t.data + TABLE_ALIGN, a->tables_size);
	a->loader_size = commands(&t, a->loader);
	return 0;
}

void boot_fw_acpi_free(struct boot_fw_acpi *a)
{
	free(a->rsdp);
	free(a->tables);
	free(a->loader);
	memset(a, 0, sizeof(*a));
}
