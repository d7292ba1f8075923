// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: multiboot 1 (specification 0.6.96): ELF, or any file whose header has
 * the addresses; the information that a kernel gets by EBX.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "boot.h"

#define HEADER_MAGIC	0x1badb002
#define LOADER_MAGIC	0x2badb002

#define WANTS_KNOWN	0x0007		/* aligned modules, memory, a video mode: if there is one */
#define WANTS_MASK	0xffff
#define HAS_ADDRESSES	0x10000

#define INFO_MEMORY	(1U << 0)
#define INFO_CMDLINE	(1U << 2)
#define INFO_MODULES	(1U << 3)
#define INFO_MMAP	(1U << 6)
#define INFO_LOADER	(1U << 9)

#define MODULES_MAX	64
#define INFO_MAP	(BOOT_ZERO_PAGE + 0x400)
#define INFO_NAME	(BOOT_ZERO_PAGE + 0x800)

struct mb_header {
	uint32_t magic, flags, checksum;
	uint32_t header_addr, load_addr, load_end_addr, bss_end_addr, entry_addr;
};

struct mb_info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name;
	uint32_t apm_table, vbe[4], framebuffer[7];
};

struct mb_module {
	uint32_t start, end, string, reserved;
};

struct mb_mmap {
	uint32_t size;			/* of the rest */
	uint64_t addr, length;
	uint32_t type;
} __attribute__((packed));

/* Strings one behind the other from BOOT_CMDLINE on. */
struct mb_strings {
	struct boot_ctx *ctx;
	uint64_t used;
};

int multiboot_find(const struct boot_ctx *ctx)
{
	uint32_t word[3];

	for (unsigned int at = 0; at + sizeof(word) <= BOOT_HEADER_SIZE; at += 4) {
		memcpy(word, ctx->header + at, sizeof(word));
		if (word[0] == HEADER_MAGIC && !(uint32_t)(word[0] + word[1] + word[2]))
			return at;
	}
	return -1;
}

/* Without an end the rest of the file is loaded, without one of the BSS there is none. */
static int load_by_addresses(struct boot_ctx *ctx, const struct mb_header *h, unsigned int at)
{
	uint64_t before = h->header_addr - h->load_addr, offset = at - before, size, end;
	const char *path = ctx->kernel.path;
	int rc;

	if (h->load_addr > h->header_addr || before > at)
		return boot_fail(ctx, -ENOEXEC, "kernel %s: its multiboot header, at byte %u, is to be at "
				 "%#x of what is loaded at %#x, which begins before the file; link it anew",
				 path, at, h->header_addr, h->load_addr);
	size = h->load_end_addr ? (uint64_t)h->load_end_addr - h->load_addr : ctx->kernel.size - offset;
	end = (uint64_t)h->load_addr + size;
	if (h->load_end_addr && h->load_end_addr < h->load_addr)
		return boot_fail(ctx, -ENOEXEC, "kernel %s: its multiboot header ends at %#x what begins at "
				 "%#x; link it anew", path, h->load_end_addr, h->load_addr);
	if (h->bss_end_addr > end)
		end = h->bss_end_addr;
	rc = boot_check_room(ctx, h->load_addr, end);
	if (!rc)
		rc = boot_read_guest(ctx, &ctx->kernel, offset, h->load_addr, size);
	ctx->out->kernel_gpa = h->load_addr;
	ctx->out->kernel_end = end;
	return rc;
}

/* Where it is, or 0: no room. */
static uint32_t put_string(struct mb_strings *s, const char *a, const char *b)
{
	char text[BOOT_CMDLINE_MAX];
	int len = snprintf(text, sizeof(text), "%s%s%s", a, *b ? " " : "", b);
	uint32_t gpa = BOOT_CMDLINE + s->used;

	if (len < 0 || (uint64_t)len + 1 > BOOT_CMDLINE_MAX - s->used ||
	    cleave_mem_write(s->ctx->mem, gpa, text, len + 1))
		return 0;
	s->used += len + 1;
	return gpa;
}

/* One of "PATH ARGUMENTS", as high as it fits below *top. */
static int load_module(struct boot_ctx *ctx, char *word, uint64_t *top, struct mb_module *mod)
{
	char *space = strchr(word, ' ');
	struct boot_file f = { .fd = -1 };
	uint64_t low = ctx->out->kernel_end, gpa;
	int rc;

	if (space)
		*space = 0;
	rc = boot_open(ctx, &f, "module", word);
	gpa = (*top - f.size) & ~4095ULL;
	if (low < BOOT_HOLE_END)
		low = BOOT_HOLE_END;
	if (!rc && (f.size > *top || gpa < low))
		rc = boot_fail(ctx, -ENOMEM, "module %s: its %llu bytes do not fit into %llu MiB with the "
			       "kernel and what comes before it; give more --memory", word,
			       (unsigned long long)f.size, (unsigned long long)ctx->in->memory >> 20);
	if (!rc)
		rc = boot_read_guest(ctx, &f, 0, gpa, f.size);
	if (f.fd >= 0)
		close(f.fd);
	if (space)
		*space = ' ';
	mod->start = gpa;
	mod->end = gpa + f.size;
	*top = gpa;
	return rc;
}

static int load_modules(struct boot_ctx *ctx, struct mb_strings *strings, struct mb_info *info)
{
	char text[BOOT_CMDLINE_MAX], *next = text, *word;
	struct mb_module mod[MODULES_MAX] = { 0 };
	uint64_t top = ctx->low_end;
	int rc;

	if (strlen(ctx->in->initrd) >= sizeof(text))
		return boot_fail(ctx, -E2BIG, "--initrd: %zu characters are too many; name fewer modules",
				 strlen(ctx->in->initrd));
	strcpy(text, ctx->in->initrd);
	while ((word = strsep(&next, ","))) {
		if (info->mods_count == MODULES_MAX)
			return boot_fail(ctx, -E2BIG, "--initrd: more than %u modules; name fewer", MODULES_MAX);
		rc = load_module(ctx, word, &top, &mod[info->mods_count]);
		if (rc)
			return rc;
		mod[info->mods_count].string = put_string(strings, word, "");
		if (!mod[info->mods_count++].string)
			return boot_fail(ctx, -E2BIG, "--initrd: the modules' arguments are too long; "
					 "shorten them");
	}
	ctx->out->initrd_gpa = top;
	ctx->out->initrd_size = ctx->low_end - top;
	info->flags |= INFO_MODULES;
	info->mods_addr = BOOT_MODULES;
	return cleave_mem_write(ctx->mem, BOOT_MODULES, mod, sizeof(mod));
}

static void put_map(struct boot_ctx *ctx, struct mb_info *info)
{
	struct boot_e820 map[BOOT_E820_MAX];
	struct mb_mmap mm[BOOT_E820_MAX];
	unsigned int n = boot_memory_map(ctx->in, map);

	for (unsigned int i = 0; i < n; i++)
		mm[i] = (struct mb_mmap){ sizeof(mm[i]) - 4, map[i].addr, map[i].size, map[i].type };
	cleave_mem_write(ctx->mem, INFO_MAP, mm, n * sizeof(mm[0]));
	info->mmap_addr = INFO_MAP;
	info->mmap_length = n * sizeof(mm[0]);
}

static int start(struct boot_ctx *ctx, uint64_t entry)
{
	struct mb_info info = {
		.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MMAP | INFO_LOADER,
		.mem_lower = BOOT_EBDA >> 10, .mem_upper = (ctx->low_end - BOOT_HOLE_END) >> 10,
		.boot_loader_name = INFO_NAME,
	};
	struct mb_strings strings = { .ctx = ctx };
	int rc = 0;

	info.cmdline = put_string(&strings, ctx->kernel.path, ctx->in->plain ? ctx->in->plain : "");
	if (!info.cmdline)
		return boot_fail(ctx, -E2BIG, "command line: more than %u characters; shorten --append",
				 BOOT_CMDLINE_MAX - 1);
	if (ctx->in->initrd)
		rc = load_modules(ctx, &strings, &info);
	if (rc)
		return rc;
	put_map(ctx, &info);
	cleave_mem_write(ctx->mem, INFO_NAME, "cleave", 7);
	cleave_mem_write(ctx->mem, BOOT_ZERO_PAGE, &info, sizeof(info));
	boot_enter_32(ctx, entry);
	ctx->out->regs.rax = LOADER_MAGIC;
	ctx->out->regs.rbx = BOOT_ZERO_PAGE;
	return 0;
}

int multiboot_load(struct boot_ctx *ctx, unsigned int offset)
{
	struct mb_header h = { 0 };
	uint64_t entry;
	int rc;

	ctx->low_allowed = true;
	memcpy(&h, ctx->header + offset,
	       BOOT_HEADER_SIZE - offset < sizeof(h) ? BOOT_HEADER_SIZE - offset : sizeof(h));
	if (h.flags & WANTS_MASK & ~WANTS_KNOWN)
		return boot_fail(ctx, -ENOEXEC, "kernel %s: its multiboot header demands what this loader "
				 "does not know (flags %#x); use another kernel", ctx->kernel.path, h.flags);
	if (h.flags & HAS_ADDRESSES) {
		ctx->out->protocol = "multiboot, addresses in its header";
		rc = load_by_addresses(ctx, &h, offset);
		entry = h.entry_addr;
	} else if (!memcmp(ctx->header, "\177ELF", 4)) {
		ctx->out->protocol = "multiboot ELF";
		rc = elf_load_segments(ctx, &entry);
	} else {
		return boot_fail(ctx, -ENOEXEC, "kernel %s: multiboot, but neither ELF nor with addresses in "
				 "its header; link it as ELF", ctx->kernel.path);
	}
	if (rc)
		return rc;
	if (entry < ctx->out->kernel_gpa || entry >= ctx->out->kernel_end)
		return boot_fail(ctx, -ENOEXEC, "kernel %s: its entry point %#llx is in nothing that was "
				 "loaded; link it anew", ctx->kernel.path, (unsigned long long)entry);
	return start(ctx, entry);
}
