// SPDX-License-Identifier: GPL-2.0
/* cleave: what starts in real mode: firmware at the reset vector, and flat images. */
#include <errno.h>
#include "boot.h"

/* Shown at the end of the first 4 GiB, and its last 128 KiB at the end of the first MiB. */
int firmware_load(struct boot_ctx *ctx)
{
	struct boot_file *f = &ctx->kernel;
	uint64_t copy;
	void *rom;
	int rc = boot_open(ctx, f, "firmware", ctx->in->firmware);

	if (rc)
		return rc;
	if (f->size % 4096 || f->size > BOOT_ROM_MAX)
		return boot_fail(ctx, -ENOEXEC, "firmware %s: %llu bytes, but it takes whole pages and at "
				 "most %llu MiB; give a ROM image such as /usr/share/seabios/bios.bin",
				 f->path, (unsigned long long)f->size, BOOT_ROM_MAX >> 20);
	rom = cleave_mem_ptr(ctx->mem, BOOT_ROM_END - f->size, f->size);
	if (!rom)
		return boot_fail(ctx, -EFAULT, "firmware %s: it changed while it was read; try again",
				 f->path);
	rc = boot_read(ctx, f, 0, rom, f->size);
	copy = f->size < BOOT_ROM_COPY ? f->size : BOOT_ROM_COPY;
	if (!rc)
		rc = boot_read_guest(ctx, f, f->size - copy, BOOT_HOLE_END - copy, copy);
	ctx->out->kernel_gpa = BOOT_ROM_END - f->size;
	ctx->out->kernel_end = BOOT_ROM_END;
	ctx->out->protocol = "firmware";
	ctx->out->reset = true;
	return rc;
}

int flat_load(struct boot_ctx *ctx)
{
	uint64_t gpa = ctx->in->flat_gpa, end;
	struct boot_file *f = &ctx->kernel;
	int rc = boot_open(ctx, f, "flat image", ctx->in->flat);

	if (rc)
		return rc;
	end = gpa + f->size;
	if (gpa >= BOOT_EBDA || end < gpa || end > BOOT_EBDA)
		return boot_fail(ctx, -EFBIG, "flat image %s: from %#llx to %#llx, but real mode has memory "
				 "up to %#x; give a lower addr= or a smaller image", f->path,
				 (unsigned long long)gpa, (unsigned long long)end, BOOT_EBDA);
	boot_enter_16(ctx, gpa);	/* which writes a GDT where the image may be */
	rc = boot_read_guest(ctx, f, 0, gpa, f->size);
	ctx->out->kernel_gpa = gpa;
	ctx->out->kernel_end = end;
	ctx->out->protocol = "flat image, real mode";
	return rc;
}
