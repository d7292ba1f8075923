// SPDX-License-Identifier: GPL-2.0
/* cleave: from files to guest memory and the first registers. */
#include <asm/bootparam.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "boot.h"

#define MIB(x)		(((x) + (1ULL << 20) - 1) >> 20)
#define CODE_SEL	0x10
#define DATA_SEL	0x18
#define TSS_SEL		0x20
#define PCI_HIGH_SIZE	(16ULL << 30)

int boot_fail(struct boot_ctx *ctx, int error, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(ctx->err, ctx->errlen, fmt, ap);
	va_end(ap);
	return error;
}

unsigned int boot_ram(uint64_t memory, struct boot_range range[2])
{
	range[0] = (struct boot_range){ 0, memory < BOOT_LOW_END ? memory : BOOT_LOW_END };
	if (memory <= BOOT_LOW_END)
		return 1;
	range[1] = (struct boot_range){ BOOT_HIGH_START, memory - BOOT_LOW_END };
	return 2;
}

struct boot_range boot_pci_high(uint64_t memory)
{
	struct boot_range ram[2], *last = &ram[boot_ram(memory, ram) - 1];
	uint64_t end = last->gpa + last->size;

	return (struct boot_range){ (end + PCI_HIGH_SIZE - 1) & ~(PCI_HIGH_SIZE - 1), PCI_HIGH_SIZE };
}

unsigned int boot_memory_map(const struct boot_params_in *in, struct boot_e820 map[BOOT_E820_MAX])
{
	struct boot_range ram[2];
	unsigned int n = 0, ranges = boot_ram(in->memory, ram);

	map[n++] = (struct boot_e820){ 0, BOOT_EBDA, E820_RAM };
	map[n++] = (struct boot_e820){ BOOT_EBDA, ACPI_BASE - BOOT_EBDA, E820_RESERVED };
	map[n++] = (struct boot_e820){ ACPI_BASE, ACPI_END - ACPI_BASE, E820_ACPI };
	map[n++] = (struct boot_e820){ ACPI_END, BOOT_HOLE_END - ACPI_END, E820_RESERVED };
	map[n++] = (struct boot_e820){ BOOT_HOLE_END, ram[0].size - BOOT_HOLE_END, E820_RAM };
	if (in->pci_lines)
		map[n++] = (struct boot_e820){ BOOT_ECAM, BOOT_ECAM_SIZE, E820_RESERVED };
	if (ranges > 1)
		map[n++] = (struct boot_e820){ ram[1].gpa, ram[1].size, E820_RAM };
	return n;
}

int boot_open(struct boot_ctx *ctx, struct boot_file *f, const char *what, const char *path)
{
	struct stat st;

	f->what = what;
	f->path = path;
	f->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (f->fd < 0)
		return boot_fail(ctx, -errno, "%s %s: %s; check the path and its permissions", what,
				 path, strerror(errno));
	if (fstat(f->fd, &st))
		return boot_fail(ctx, -errno, "%s %s: %s", what, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return boot_fail(ctx, -EINVAL, "%s %s: not a regular file; name the file itself",
				 what, path);
	f->size = st.st_size;
	if (!f->size)
		return boot_fail(ctx, -ENOEXEC, "%s %s: the file is empty; copy it again", what, path);
	return 0;
}

int boot_read(struct boot_ctx *ctx, const struct boot_file *f, uint64_t off, void *buf, uint64_t len)
{
	uint64_t done = 0;

	if (off > f->size || len > f->size - off)
		return boot_fail(ctx, -ENOEXEC,
				 "%s %s: truncated: it has %llu bytes and needs %llu; copy it again",
				 f->what, f->path, (unsigned long long)f->size,
				 (unsigned long long)(off + len < off ? ~0ULL : off + len));
	while (done < len) {
		ssize_t n = pread(f->fd, (char *)buf + done, len - done, off + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return boot_fail(ctx, -errno, "%s %s: cannot be read: %s", f->what, f->path,
					 strerror(errno));
		if (!n)
			return boot_fail(ctx, -ENOEXEC, "%s %s: became shorter while it was read; try again",
					 f->what, f->path);
		done += n;
	}
	return 0;
}

int boot_read_guest(struct boot_ctx *ctx, const struct boot_file *f, uint64_t off, uint64_t gpa,
		    uint64_t len)
{
	void *to = cleave_mem_wptr(ctx->mem, gpa, len);

	if (!to)
		return boot_fail(ctx, -EFAULT, "%s %s: guest memory at %#llx is missing", f->what,
				 f->path, (unsigned long long)gpa);
	return boot_read(ctx, f, off, to, len);
}

int boot_check_room(struct boot_ctx *ctx, uint64_t gpa, uint64_t end)
{
	if (gpa >= BOOT_HOLE_END && end >= gpa && end <= ctx->low_end)
		return 0;
	if (ctx->low_allowed && gpa >= BOOT_CMDLINE + BOOT_CMDLINE_MAX && end >= gpa && end <= BOOT_EBDA)
		return 0;
	if (gpa < BOOT_HOLE_END || end < gpa || end > BOOT_LOW_END)
		return boot_fail(ctx, -ENOEXEC,
				 "kernel %s: wants to be at %#llx to %#llx, which is not RAM of this machine; "
				 "use another kernel", ctx->kernel.path, (unsigned long long)gpa,
				 (unsigned long long)end);
	return boot_fail(ctx, -ENOMEM, "too little memory: %llu MiB, but the kernel %s takes %llu MiB; "
			 "give --memory %lluM or more", (unsigned long long)MIB(ctx->in->memory),
			 ctx->kernel.path, (unsigned long long)MIB(end),
			 (unsigned long long)MIB(end + ctx->initrd.size) + 16);
}

int boot_place_initrd(struct boot_ctx *ctx, uint64_t low, uint64_t max)
{
	const struct boot_file *f = &ctx->initrd;
	uint64_t top = ctx->low_end < max ? ctx->low_end : max, gpa;

	if (f->fd < 0)
		return 0;
	low = (low + 4095) & ~4095ULL;
	gpa = (top - f->size) & ~4095ULL;
	if (f->size > top || gpa < low) {
		if (f->size > max || max - f->size < low)
			return boot_fail(ctx, -EFBIG, "initrd %s: its %llu MiB do not fit below %llu MiB, "
					 "where the kernel wants it; make it smaller", f->path,
					 (unsigned long long)MIB(f->size), (unsigned long long)MIB(max));
		return boot_fail(ctx, -ENOMEM, "too little memory: %llu MiB, but the kernel takes %llu MiB "
				 "and the initrd %s %llu MiB; give --memory %lluM or more",
				 (unsigned long long)MIB(ctx->in->memory), (unsigned long long)MIB(low),
				 f->path, (unsigned long long)MIB(f->size),
				 (unsigned long long)MIB(low + f->size) + 16);
	}
	ctx->out->initrd_gpa = gpa;
	ctx->out->initrd_size = f->size;
	return boot_read_guest(ctx, f, 0, gpa, f->size);
}

int boot_place_cmdline(struct boot_ctx *ctx, uint64_t max)
{
	const char *text = ctx->in->cmdline ? ctx->in->cmdline : "";
	size_t len = strlen(text);

	if (max > BOOT_CMDLINE_MAX - 1)
		max = BOOT_CMDLINE_MAX - 1;
	if (len > max)
		return boot_fail(ctx, -E2BIG, "command line: %zu characters, but the kernel takes %llu; "
				 "shorten --append", len, (unsigned long long)max);
	return cleave_mem_write(ctx->mem, BOOT_CMDLINE, text, len + 1);
}

void boot_zero_page(struct boot_ctx *ctx, const struct setup_header *hdr)
{
	struct boot_e820 map[BOOT_E820_MAX];
	struct boot_params zp;
	unsigned int n = boot_memory_map(ctx->in, map);

	memset(&zp, 0, sizeof(zp));
	zp.hdr = *hdr;
	zp.hdr.type_of_loader = 0xff;
	zp.hdr.vid_mode = 0xffff;
	zp.hdr.cmd_line_ptr = BOOT_CMDLINE;
	zp.hdr.ramdisk_image = ctx->out->initrd_gpa;	/* below 4 GiB both */
	zp.hdr.ramdisk_size = ctx->out->initrd_size;
	zp.hdr.setup_data = 0;
	zp.acpi_rsdp_addr = ctx->out->rsdp;
	zp.e820_entries = n;
	memcpy(zp.e820_table, map, n * sizeof(map[0]));
	cleave_mem_write(ctx->mem, BOOT_ZERO_PAGE, &zp, sizeof(zp));
}

static struct cleave_segment flat(uint16_t selector, uint32_t ar)
{
	return (struct cleave_segment){ .selector = selector, .limit = 0xffffffff, .ar = ar };
}

/* Flat segments, their descriptors in the GDT, a busy TSS as VM entry asks (SDM 3C 27.3.1.2). */
static void flat_segments(struct boot_ctx *ctx, bool code64)
{
	uint64_t gdt[6] = { 0, 0, 0, 0x00cf93000000ffffULL, 0x00008b000000ffffULL, 0 };
	struct cleave_sregs *s = &ctx->out->sregs;

	gdt[CODE_SEL / 8] = code64 ? 0x00af9b000000ffffULL : 0x00cf9b000000ffffULL;
	cleave_mem_write(ctx->mem, BOOT_GDT, gdt, sizeof(gdt));
	s->gdt.base = BOOT_GDT;
	s->gdt.limit = sizeof(gdt) - 1;
	s->idt.limit = 0;
	s->cs = flat(CODE_SEL, code64 ? 0xa09b : 0xc09b);
	s->ds = s->es = s->fs = s->gs = s->ss = flat(DATA_SEL, 0xc093);
	s->tr = (struct cleave_segment){ .selector = TSS_SEL, .limit = 0xffff, .ar = 0x8b };
	s->ldt = (struct cleave_segment){ .ar = CLEAVE_AR_UNUSABLE };
	s->cr0 = 0x11;		/* PE, ET */
	s->apic_base = LAPIC_BASE | 0x900;	/* enabled, bootstrap processor */
	ctx->out->regs.rflags = 2;
}

void boot_enter_32(struct boot_ctx *ctx, uint64_t rip)
{
	flat_segments(ctx, false);
	ctx->out->regs.rip = rip;
}

void boot_enter_16(struct boot_ctx *ctx, uint64_t gpa)
{
	struct cleave_sregs *s = &ctx->out->sregs;
	const struct cleave_segment data = { .limit = 0xffff, .ar = 0x93 };

	flat_segments(ctx, false);
	s->ds = s->es = s->fs = s->gs = s->ss = s->cs = data;
	s->cs.ar = 0x9b;
	if (gpa >> 16) {
		s->cs.selector = gpa >> 4;
		s->cs.base = gpa & ~15ULL;
		gpa &= 15;
	}
	s->gdt = (struct cleave_dtable){ .limit = 0xffff };
	s->idt = (struct cleave_dtable){ .limit = 0x3ff };
	s->tr.selector = 0;
	s->cr0 = 0x10;		/* ET */
	ctx->out->regs.rip = gpa;
	ctx->out->regs.rsp = BOOT_FLAT_ADDRESS;
}

void boot_enter_64(struct boot_ctx *ctx, uint64_t rip)
{
	struct cleave_sregs *s = &ctx->out->sregs;
	uint64_t table[512] = { BOOT_PAGE_TABLES + 0x1003 };

	flat_segments(ctx, true);
	cleave_mem_write(ctx->mem, BOOT_PAGE_TABLES, table, sizeof(table));
	for (unsigned int i = 0; i < 512; i++)
		table[i] = i < 4 ? BOOT_PAGE_TABLES + 0x2003 + i * 0x1000 : 0;
	cleave_mem_write(ctx->mem, BOOT_PAGE_TABLES + 0x1000, table, sizeof(table));
	for (uint64_t i = 0; i < 4 * 512; i++) {
		table[i % 512] = i << 21 | 0x83;	/* present, writable, 2 MiB */
		if (i % 512 == 511)
			cleave_mem_write(ctx->mem, BOOT_PAGE_TABLES + 0x2000 + (i / 512) * 0x1000,
					 table, sizeof(table));
	}
	s->cr3 = BOOT_PAGE_TABLES;
	s->cr4 = 0x20;				/* PAE */
	s->cr0 = 0x80000011;			/* PG, ET, PE */
	s->efer = 0x500;			/* LME, LMA */
	ctx->out->regs.rip = rip;
}

static int not_a_kernel(struct boot_ctx *ctx)
{
	const uint8_t *h = ctx->header;
	const char *what = "not a Linux kernel image";

	if (!memcmp(h + 0x38, "ARM\x64", 4))
		what = "a kernel for arm64, not for x86";
	else if (!memcmp(h + 0x38, "RSC\x05", 4))
		what = "a kernel for RISC-V, not for x86";
	else if (!memcmp(h + 4, "zimg", 4))
		what = "an EFI zboot image, which is not for x86";
	else if (h[0] == 0x1f && h[1] == 0x8b)
		what = "a gzip file; unpack it first";
	else if (!memcmp(h, "\xfd" "7zXZ", 5) || !memcmp(h, "\x28\xb5\x2f\xfd", 4))
		what = "an xz or zstd file; unpack it first";
	else if (!memcmp(h, "070701", 6))
		what = "a cpio archive (an initrd?)";
	return boot_fail(ctx, -ENOEXEC, "kernel %s: %s; give a bzImage such as /boot/vmlinuz-*, "
			 "or an ELF vmlinux", ctx->kernel.path, what);
}

static int check_memory(struct boot_ctx *ctx)
{
	struct boot_range ram[2];
	unsigned int ranges;

	if (ctx->in->memory < BOOT_MEMORY_MIN || (ctx->in->memory & 4095))
		return boot_fail(ctx, -EINVAL, "memory: %llu bytes, but it takes whole pages and at "
				 "least %llu MiB; change --memory", (unsigned long long)ctx->in->memory,
				 (unsigned long long)MIB(BOOT_MEMORY_MIN));
	ranges = boot_ram(ctx->in->memory, ram);
	for (unsigned int i = 0; i < ranges; i++)
		if (!cleave_mem_wptr(ctx->mem, ram[i].gpa, ram[i].size))
			return boot_fail(ctx, -EINVAL, "guest memory at %#llx is not set up",
					 (unsigned long long)ram[i].gpa);
	ctx->low_end = ram[0].size;
	return 0;
}

static int load_kernel(struct boot_ctx *ctx)
{
	int rc = boot_open(ctx, &ctx->kernel, "kernel", ctx->in->kernel), multiboot;
	uint32_t magic;

	if (!rc)
		rc = boot_read(ctx, &ctx->kernel, 0, ctx->header,
			       ctx->kernel.size < BOOT_HEADER_SIZE ? ctx->kernel.size : BOOT_HEADER_SIZE);
	if (rc)
		return rc;
	memcpy(&magic, ctx->header + 0x202, sizeof(magic));
	multiboot = magic == 0x53726448 ? -1 : multiboot_find(ctx);	/* "HdrS" */
	if (multiboot >= 0)
		return multiboot_load(ctx, multiboot);
	if (ctx->in->initrd)
		rc = boot_open(ctx, &ctx->initrd, "initrd", ctx->in->initrd);
	if (rc)
		return rc;
	if (!memcmp(ctx->header, "\177ELF", 4))
		return elf_load(ctx);
	if (magic == 0x53726448)
		return bzimage_load(ctx);
	return not_a_kernel(ctx);
}

static int load(struct boot_ctx *ctx)
{
	int rc = check_memory(ctx);

	if (rc)
		return rc;
	if (ctx->in->firmware)
		return firmware_load(ctx);
	rc = acpi_build(ctx->mem, ctx->in, &ctx->out->rsdp);
	if (rc)
		return boot_fail(ctx, rc, "%u CPUs: the ACPI tables have room for %u; change --cpus",
				 ctx->in->cpus, CLEAVE_MAX_VCPUS);
	return ctx->in->flat ? flat_load(ctx) : load_kernel(ctx);
}

int boot_load(const struct boot_params_in *in, const struct cleave_mem *mem,
	      struct boot_result *out, char *err, size_t errlen)
{
	struct boot_ctx ctx = {
		.in = in, .mem = mem, .out = out, .err = err, .errlen = errlen,
		.kernel.fd = -1, .initrd.fd = -1,
	};
	int rc;

	memset(out, 0, sizeof(*out));
	rc = load(&ctx);
	if (ctx.kernel.fd >= 0)
		close(ctx.kernel.fd);
	if (ctx.initrd.fd >= 0)
		close(ctx.initrd.fd);
	return rc;
}
