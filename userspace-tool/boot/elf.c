// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: ELF kernels: PVH (a note names the 32-bit entry), or vmlinux by its
 * 64-bit entry and the zero page.
 */
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <string.h>
#include "boot.h"

#define PHNUM_MAX		64
#define NOTES_MAX		65536
#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define HVM_START_MAGIC		0x336ec578

/* xen/include/public/arch-x86/hvm/start_info.h describes these three. */
struct hvm_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist, cmdline, rsdp, memmap;
	uint32_t memmap_entries, reserved;
};

struct hvm_module {
	uint64_t gpa, size, cmdline, reserved;
};

struct hvm_memmap {
	uint64_t addr, size;
	uint32_t type, reserved;
};

static int check_header(struct boot_ctx *ctx, const Elf64_Ehdr *eh, unsigned int phnum,
			unsigned int phentsize, bool is64)
{
	const char *path = ctx->kernel.path;

	if (eh->e_ident[EI_DATA] != ELFDATA2LSB ||
	    (eh->e_machine != EM_X86_64 && eh->e_machine != EM_386))
		return boot_fail(ctx, -ENOEXEC, "kernel %s: an ELF file for another architecture "
				 "(e_machine %u), not x86; use an x86 kernel", path, eh->e_machine);
	if (eh->e_type != ET_EXEC && eh->e_type != ET_DYN)
		return boot_fail(ctx, -ENOEXEC, "kernel %s: an ELF object that is not linked (a module?); "
				 "give vmlinux or a bzImage", path);
	if (!phnum || phnum > PHNUM_MAX ||
	    phentsize != (is64 ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)))
		return boot_fail(ctx, -ENOEXEC, "kernel %s: %u program headers of %u bytes make no "
				 "sense: the file is damaged; copy it again", path, phnum, phentsize);
	return 0;
}

/* Reads the headers, the 32-bit ones made 64-bit. */
static int read_headers(struct boot_ctx *ctx, Elf64_Ehdr *eh, Elf64_Phdr ph[PHNUM_MAX])
{
	Elf32_Ehdr e32;
	Elf32_Phdr p32;
	bool is64 = ctx->header[EI_CLASS] == ELFCLASS64;
	int rc;

	memcpy(eh, ctx->header, sizeof(*eh));
	memcpy(&e32, ctx->header, sizeof(e32));
	if (!is64 && ctx->header[EI_CLASS] != ELFCLASS32)
		return boot_fail(ctx, -ENOEXEC, "kernel %s: ELF class %u is neither 32 nor 64 bit: the "
				 "file is damaged; copy it again", ctx->kernel.path, ctx->header[EI_CLASS]);
	if (!is64) {
		eh->e_entry = e32.e_entry;
		eh->e_phoff = e32.e_phoff;
		eh->e_phnum = e32.e_phnum;
		eh->e_phentsize = e32.e_phentsize;
	}
	rc = check_header(ctx, eh, eh->e_phnum, eh->e_phentsize, is64);
	if (rc)
		return rc;
	if (is64)
		return boot_read(ctx, &ctx->kernel, eh->e_phoff, ph, eh->e_phnum * sizeof(*ph));
	for (unsigned int i = 0; i < eh->e_phnum; i++) {
		rc = boot_read(ctx, &ctx->kernel, eh->e_phoff + i * sizeof(p32), &p32, sizeof(p32));
		if (rc)
			return rc;
		ph[i] = (Elf64_Phdr){
			.p_type = p32.p_type, .p_flags = p32.p_flags, .p_offset = p32.p_offset,
			.p_vaddr = p32.p_vaddr, .p_paddr = p32.p_paddr, .p_filesz = p32.p_filesz,
			.p_memsz = p32.p_memsz, .p_align = p32.p_align,
		};
	}
	return 0;
}

static int load_segments(struct boot_ctx *ctx, const Elf64_Ehdr *eh, const Elf64_Phdr *ph)
{
	uint64_t start = UINT64_MAX, end = 0;

	for (unsigned int i = 0; i < eh->e_phnum; i++) {
		uint64_t last = ph[i].p_paddr + ph[i].p_memsz;
		int rc;

		if (ph[i].p_type != PT_LOAD || !ph[i].p_memsz)
			continue;
		if (ph[i].p_filesz > ph[i].p_memsz)
			return boot_fail(ctx, -ENOEXEC, "kernel %s: segment %u has more bytes in the file "
					 "than in memory: damaged; copy it again", ctx->kernel.path, i);
		rc = boot_check_room(ctx, ph[i].p_paddr, last);
		if (!rc)
			rc = boot_read_guest(ctx, &ctx->kernel, ph[i].p_offset, ph[i].p_paddr,
					     ph[i].p_filesz);
		if (rc)
			return rc;
		start = ph[i].p_paddr < start ? ph[i].p_paddr : start;
		end = last > end ? last : end;
	}
	if (!end)
		return boot_fail(ctx, -ENOEXEC, "kernel %s: no segment to load; give vmlinux or a bzImage",
				 ctx->kernel.path);
	ctx->out->kernel_gpa = start;
	ctx->out->kernel_end = end;
	return 0;
}

/* 4 or 8 bytes of XEN_ELFNOTE_PHYS32_ENTRY; 0: not there. */
static uint64_t find_entry_note(const uint8_t *notes, uint64_t size)
{
	uint64_t off = 0;

	while (size - off >= sizeof(Elf64_Nhdr)) {
		Elf64_Nhdr n;
		uint64_t name = off + sizeof(n), desc, entry = 0;

		memcpy(&n, notes + off, sizeof(n));
		desc = name + (((uint64_t)n.n_namesz + 3) & ~3ULL);
		off = desc + (((uint64_t)n.n_descsz + 3) & ~3ULL);
		if (off > size)
			return 0;
		if (n.n_type == XEN_ELFNOTE_PHYS32_ENTRY && n.n_namesz == 4 &&
		    !memcmp(notes + name, "Xen", 4) && (n.n_descsz == 4 || n.n_descsz == 8)) {
			memcpy(&entry, notes + desc, n.n_descsz);
			return entry;
		}
	}
	return 0;
}

static int pvh_entry(struct boot_ctx *ctx, const Elf64_Ehdr *eh, const Elf64_Phdr *ph,
		     uint64_t *entry)
{
	uint8_t notes[NOTES_MAX];

	*entry = 0;
	for (unsigned int i = 0; i < eh->e_phnum && !*entry; i++) {
		int rc;

		if (ph[i].p_type != PT_NOTE || ph[i].p_filesz > sizeof(notes))
			continue;
		rc = boot_read(ctx, &ctx->kernel, ph[i].p_offset, notes, ph[i].p_filesz);
		if (rc)
			return rc;
		*entry = find_entry_note(notes, ph[i].p_filesz);
	}
	return 0;
}

static void start_pvh(struct boot_ctx *ctx, uint64_t entry)
{
	struct hvm_start_info si = {
		.magic = HVM_START_MAGIC, .version = 1, .cmdline = BOOT_CMDLINE, .rsdp = ctx->out->rsdp,
	};
	struct hvm_module mod = { .gpa = ctx->out->initrd_gpa, .size = ctx->out->initrd_size };
	struct boot_e820 map[BOOT_E820_MAX];
	struct hvm_memmap mm[BOOT_E820_MAX] = { 0 };

	si.memmap_entries = boot_memory_map(ctx->in, map);
	for (unsigned int i = 0; i < si.memmap_entries; i++)
		mm[i] = (struct hvm_memmap){ map[i].addr, map[i].size, map[i].type, 0 };
	si.memmap = BOOT_MODULES + sizeof(mod);
	if (mod.size) {
		si.nr_modules = 1;
		si.modlist = BOOT_MODULES;
	}
	cleave_mem_write(ctx->mem, BOOT_MODULES, &mod, sizeof(mod));
	cleave_mem_write(ctx->mem, si.memmap, mm, sizeof(mm));
	cleave_mem_write(ctx->mem, BOOT_ZERO_PAGE, &si, sizeof(si));
	ctx->out->protocol = "PVH ELF, 32-bit entry";
	ctx->out->regs.rbx = BOOT_ZERO_PAGE;
	boot_enter_32(ctx, entry);
}

static void start_vmlinux(struct boot_ctx *ctx, uint64_t entry)
{
	struct setup_header hdr = {
		.boot_flag = 0xaa55, .header = 0x53726448, .version = 0x20f, .loadflags = LOADED_HIGH,
		.kernel_alignment = 0x1000000, .cmdline_size = BOOT_CMDLINE_MAX - 1,
	};

	boot_zero_page(ctx, &hdr);
	ctx->out->protocol = "vmlinux ELF, 64-bit entry";
	ctx->out->regs.rsi = BOOT_ZERO_PAGE;
	boot_enter_64(ctx, entry);
}

/* The entry in guest-physical memory: some linkers leave it virtual. 0: in no segment. */
static uint64_t physical_entry(const Elf64_Ehdr *eh, const Elf64_Phdr *ph)
{
	for (unsigned int i = 0; i < eh->e_phnum; i++) {
		if (ph[i].p_type != PT_LOAD)
			continue;
		if (eh->e_entry - ph[i].p_paddr < ph[i].p_memsz)
			return eh->e_entry;
		if (eh->e_entry - ph[i].p_vaddr < ph[i].p_memsz)
			return eh->e_entry - ph[i].p_vaddr + ph[i].p_paddr;
	}
	return 0;
}

int elf_load_segments(struct boot_ctx *ctx, uint64_t *entry)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph[PHNUM_MAX];
	int rc = read_headers(ctx, &eh, ph);

	if (!rc)
		rc = load_segments(ctx, &eh, ph);
	if (!rc)
		*entry = physical_entry(&eh, ph);
	return rc;
}

int elf_load(struct boot_ctx *ctx)
{
	Elf64_Ehdr eh;
	Elf64_Phdr ph[PHNUM_MAX];
	uint64_t pvh, entry;
	int rc = read_headers(ctx, &eh, ph);

	if (!rc)
		rc = pvh_entry(ctx, &eh, ph, &pvh);
	if (!rc)
		rc = load_segments(ctx, &eh, ph);
	if (rc)
		return rc;
	entry = pvh ? pvh : physical_entry(&eh, ph);
	if (!pvh && ctx->header[EI_CLASS] != ELFCLASS64)
		return boot_fail(ctx, -ENOEXEC, "kernel %s: a 32-bit ELF file without a PVH note; give a "
				 "bzImage, or build it with CONFIG_PVH=y", ctx->kernel.path);
	if (entry < ctx->out->kernel_gpa || entry >= ctx->out->kernel_end)
		return boot_fail(ctx, -ENOEXEC, "kernel %s: its entry point %#llx is in no segment; give "
				 "vmlinux or a bzImage", ctx->kernel.path, (unsigned long long)entry);
	rc = boot_place_initrd(ctx, ctx->out->kernel_end, BOOT_LOW_END);
	if (!rc)
		rc = boot_place_cmdline(ctx, 2047);	/* COMMAND_LINE_SIZE of Linux, less the NUL */
	if (rc)
		return rc;
	if (pvh)
		start_pvh(ctx, entry);
	else
		start_vmlinux(ctx, entry);
	return 0;
}
