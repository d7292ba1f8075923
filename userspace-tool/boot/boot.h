/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Loaders: what guest memory and vCPU 0 look like when a kernel starts, and
 * the ACPI tables that describe the machine to it. Files are hostile input.
 */
#ifndef CLEAVE_BOOT_H
#define CLEAVE_BOOT_H

#include <stddef.h>
#include <stdint.h>
#include "../libcleave/libcleave.h"

/* ---- the machine's map: loaders, ACPI and device models agree on it --------- */

#define BOOT_LOW_END		0xc0000000ULL	/* RAM from 0 to here at most, */
#define BOOT_HIGH_START		0x100000000ULL	/* the rest from here */
#define BOOT_MEMORY_MIN		(16ULL << 20)
#define BOOT_HOLE_START		0xa0000		/* reserved in e820, RAM behind it */
#define BOOT_HOLE_END		0x100000
#define BOOT_EBDA		0x9f000		/* e820 usable ends here */
#define BOOT_GDT		0x1000
#define BOOT_ZERO_PAGE		0x2000		/* boot_params or hvm_start_info */
#define BOOT_MODULES		0x3000		/* PVH module list, memory map */
#define BOOT_PAGE_TABLES	0x4000		/* PML4, PDPT, 4 page directories */
#define BOOT_CMDLINE		0x10000
#define BOOT_CMDLINE_MAX	0x10000
#define ACPI_BASE		0xe0000		/* RSDP first */
#define ACPI_END		0xf0000

#define IOAPIC_BASE		0xfec00000U
#define LAPIC_BASE		0xfee00000U
#define PM1A_EVT_PORT		0x600		/* status, enable: 2 bytes each */
#define PM1A_CNT_PORT		0x604
#define PM_TMR_PORT		0x608		/* 3.579545 MHz, 32 bits */
#define ACPI_SCI_IRQ		9		/* level, active high */
#define ACPI_S5_TYPE		5		/* SLP_TYP of power-off in PM1a_CNT */
#define ACPI_RESET_PORT		0xcf9
#define ACPI_RESET_VALUE	6
#define COM1_PORT		0x3f8
#define COM1_IRQ		4
#define BOOT_ROM_END		0x100000000ULL	/* firmware ends here, */
#define BOOT_ROM_MAX		(8ULL << 20)	/* behind at most this much of it, */
#define BOOT_ROM_COPY		0x20000		/* and its last bytes are below 1 MiB too */
#define BOOT_FLAT_ADDRESS	0x7c00		/* where a BIOS has a boot sector */
#define RTC_PORT		0x70
#define RTC_IRQ			8
/* Of a machine with PCI: */
#define BOOT_PCI_LOW		0xc0000000U	/* BARs below 4 GiB */
#define BOOT_PCI_LOW_SIZE	0x20000000U
#define BOOT_ECAM		0xe0000000U	/* configuration space of bus 0 */
#define BOOT_ECAM_SIZE		0x100000U
#define BOOT_PCI_SLOTS		32

struct boot_range {
	uint64_t gpa;
	uint64_t size;
};

/* RAM ranges of a machine with this much memory: 1 or 2. */
unsigned int boot_ram(uint64_t memory, struct boot_range range[2]);
/* BARs above 4 GiB: behind RAM. */
struct boot_range boot_pci_high(uint64_t memory);

/* ---- loading ---------------------------------------------------------------- */

/*
 * mem must hold RAM as boot_ram(memory) lays it out, zeroed; with firmware,
 * memory of its size that ends at BOOT_ROM_END, too. One of three starts:
 * firmware, else flat, else kernel.
 */
struct boot_params_in {
	const char *kernel;		/* path: bzImage, multiboot, PVH ELF or vmlinux ELF */
	const char *initrd;		/* path, or NULL; multiboot: "PATH[ ARGUMENTS][,PATH...]" */
	const char *cmdline;		/* or NULL */
	uint64_t memory;		/* bytes, page aligned */
	uint32_t cpus;
	/* The interrupt that each slot's INTA has, 0: nothing is there; NULL: there is no PCI. */
	const uint8_t *pci_lines;
	const char *plain;		/* command line of what is no Linux, or NULL */
	const char *firmware;		/* path, or NULL */
	const char *flat;		/* path of an image that starts in real mode, or NULL */
	uint64_t flat_gpa;		/* and where it is loaded and entered */
};

/* Start state of vCPU 0; the groups CLEAVE_REGS and CLEAVE_SREGS. */
struct boot_result {
	bool reset;			/* no registers: the vCPU starts as reset leaves it */
	struct cleave_regs regs;
	struct cleave_sregs sregs;
	const char *protocol;		/* "bzImage, 64-bit entry" ..., static */
	uint64_t kernel_gpa, kernel_end;
	uint64_t initrd_gpa, initrd_size;
	uint64_t rsdp;
};

/*
 * Loads everything into guest memory. 0 or -errno with one line in err: what,
 * why and what to do. Nothing is left behind but what was written to mem.
 */
int boot_load(const struct boot_params_in *in, const struct cleave_mem *mem,
	      struct boot_result *out, char *err, size_t errlen);

/* fwkernel.c: a bzImage and its initrd for firmware, which finds them by fw_cfg. */
struct boot_fw_kernel {
	void *setup, *kernel, *initrd;
	uint32_t setup_size, kernel_size, initrd_size;
	uint32_t setup_gpa, kernel_gpa, initrd_gpa, cmdline_gpa;
};

/* From in->kernel and in->initrd; otherwise as boot_load(). */
int boot_fw_kernel_load(const struct boot_params_in *in, struct boot_fw_kernel *k, char *err,
			size_t errlen);
void boot_fw_kernel_free(struct boot_fw_kernel *k);

/* fwacpi.c: the ACPI tables for firmware, which puts them where it likes. */
#define BOOT_FW_RSDP	"etc/acpi/rsdp"
#define BOOT_FW_TABLES	"etc/acpi/tables"
#define BOOT_FW_LOADER	"etc/table-loader"

struct boot_fw_acpi {
	void *rsdp, *tables, *loader;	/* files of fw_cfg */
	uint32_t rsdp_size, tables_size, loader_size;
};

/* 0, -EINVAL: more CPUs than there may be, or -ENOMEM. */
int boot_fw_acpi_build(const struct boot_params_in *in, struct boot_fw_acpi *a);
void boot_fw_acpi_free(struct boot_fw_acpi *a);

/* ---- acpi.c ------------------------------------------------------------------ */

/* For in->memory, in->cpus and in->pci_lines, from ACPI_BASE on; *rsdp is where they start. */
int acpi_build(const struct cleave_mem *mem, const struct boot_params_in *in, uint64_t *rsdp);

/* ---- between the files here --------------------------------------------------- */

#define ACPI_TABLES_MAX		8192	/* bounded by CLEAVE_MAX_VCPUS */
#define ACPI_RSDP_SIZE		36
#define ACPI_POINTERS		8

/* All tables, the RSDP first, for memory from base on. */
struct acpi_tables {
	uint64_t base;
	uint8_t data[ACPI_TABLES_MAX];
	uint32_t len;
	unsigned int pointers, tables;
	/* Where in them addresses of others are, little-endian; and those that have a checksum. */
	struct acpi_part {
		uint32_t at, size;
	} pointer[ACPI_POINTERS], table[ACPI_POINTERS];
};

/* -EINVAL: more CPUs than there may be. */
int acpi_tables(const struct boot_params_in *in, uint64_t base, struct acpi_tables *t);

struct boot_file {
	const char *what;		/* "kernel", "initrd" */
	const char *path;
	int fd;
	uint64_t size;
};

#define BOOT_HEADER_SIZE	8192	/* multiboot's header is in these */

struct boot_ctx {
	const struct boot_params_in *in;
	const struct cleave_mem *mem;
	struct boot_result *out;
	struct boot_file kernel, initrd;	/* initrd.fd < 0: none */
	uint8_t header[BOOT_HEADER_SIZE];	/* of the kernel, zeros behind its end */
	uint64_t low_end;			/* of RAM below 4 GiB */
	bool low_allowed;			/* kernels below BOOT_EBDA, behind what is ours */
	char *err;
	size_t errlen;
};

struct boot_e820 {
	uint64_t addr, size;
	uint32_t type;
} __attribute__((packed));

#define BOOT_E820_MAX	8
#define E820_RAM	1
#define E820_RESERVED	2
#define E820_ACPI	3

/* Fills ctx->err by the format and returns error. */
int boot_fail(struct boot_ctx *ctx, int error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
unsigned int boot_memory_map(const struct boot_params_in *in, struct boot_e820 map[BOOT_E820_MAX]);
/* f->fd is closed by the caller, if it is not -1, whatever this returns. */
int boot_open(struct boot_ctx *ctx, struct boot_file *f, const char *what, const char *path);
/* Bytes of the file into buf, or into guest memory. */
int boot_read(struct boot_ctx *ctx, const struct boot_file *f, uint64_t off, void *buf, uint64_t len);
int boot_read_guest(struct boot_ctx *ctx, const struct boot_file *f, uint64_t off, uint64_t gpa,
		    uint64_t len);
/* Says how much memory it takes when [gpa, end) is not RAM below 4 GiB. */
int boot_check_room(struct boot_ctx *ctx, uint64_t gpa, uint64_t end);
/* As high as it fits between low and max. */
int boot_place_initrd(struct boot_ctx *ctx, uint64_t low, uint64_t max);
int boot_place_cmdline(struct boot_ctx *ctx, uint64_t max);
/* The zero page, with *hdr in it; kernel and initrd are placed already. */
struct setup_header;
void boot_zero_page(struct boot_ctx *ctx, const struct setup_header *hdr);
void boot_enter_64(struct boot_ctx *ctx, uint64_t rip);	/* identity maps 4 GiB */
void boot_enter_32(struct boot_ctx *ctx, uint64_t rip);	/* flat, paging off */
void boot_enter_16(struct boot_ctx *ctx, uint64_t gpa);	/* real mode, zero segments but CS */
int bzimage_load(struct boot_ctx *ctx);
int elf_load(struct boot_ctx *ctx);
/* The segments alone; *entry is guest-physical. */
int elf_load_segments(struct boot_ctx *ctx, uint64_t *entry);
/* Where in the file the multiboot header is, or -1. */
int multiboot_find(const struct boot_ctx *ctx);
int multiboot_load(struct boot_ctx *ctx, unsigned int offset);
int firmware_load(struct boot_ctx *ctx);
int flat_load(struct boot_ctx *ctx);

#endif /* CLEAVE_BOOT_H */
