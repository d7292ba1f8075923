// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: a kernel that firmware starts in real mode: the files, and where they
 * go by the 16-bit boot protocol (Documentation/arch/x86/boot.rst).
 */
#include <asm/bootparam.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "boot.h"

#define HDR_OFFSET	offsetof(struct boot_params, hdr)
#define PROTOCOL_MIN	0x202	/* with a pointer to the command line */
#define SETUP_GPA	0x10000
#define CMDLINE_GPA	0x20000
#define KERNEL_GPA	0x100000
#define INITRD_MAX	0x37ffffff	/* before protocol 2.03 */
#define FIRMWARE_TOP	(1ULL << 20)	/* at the end of RAM: firmware's */
#define LOADER_TYPE	0xb0		/* QEMU, whose interface it is */

static int read_all(struct boot_ctx *ctx, struct boot_file *f, uint64_t off, uint64_t len, void **data)
{
	*data = malloc(len ?: 1);
	if (!*data)
		return boot_fail(ctx, -ENOMEM, "%s %s: the host has no memory for its %llu bytes; free some",
				 f->what, f->path, (unsigned long long)len);
	return boot_read(ctx, f, off, *data, len);
}

static int place_initrd(struct boot_ctx *ctx, struct boot_fw_kernel *k, struct setup_header *hdr)
{
	uint64_t max = hdr->version >= 0x203 ? hdr->initrd_addr_max : INITRD_MAX, low, gpa;
	uint64_t top = ctx->low_end - FIRMWARE_TOP;
	int rc = boot_open(ctx, &ctx->initrd, "initrd", ctx->in->initrd);

	if (rc)
		return rc;
	if (top > max)
		top = max;
	low = KERNEL_GPA + k->kernel_size;
	gpa = (top - ctx->initrd.size) & ~4095ULL;
	if (ctx->initrd.size > top || gpa < low)
		return boot_fail(ctx, -ENOMEM, "initrd %s: its %llu bytes do not fit between the kernel and "
				 "%#llx; give more --memory", ctx->in->initrd,
				 (unsigned long long)ctx->initrd.size, (unsigned long long)top);
	k->initrd_gpa = gpa;
	k->initrd_size = ctx->initrd.size;
	hdr->ramdisk_image = gpa;
	hdr->ramdisk_size = k->initrd_size;
	return read_all(ctx, &ctx->initrd, 0, k->initrd_size, &k->initrd);
}

static int load(struct boot_ctx *ctx, struct boot_fw_kernel *k)
{
	struct boot_file *f = &ctx->kernel;
	struct setup_header hdr;
	int rc = boot_open(ctx, f, "kernel", ctx->in->kernel);

	if (!rc)
		rc = boot_read(ctx, f, HDR_OFFSET, &hdr, sizeof(hdr));
	if (rc)
		return rc;
	if (hdr.header != 0x53726448 || hdr.version < PROTOCOL_MIN || !(hdr.loadflags & LOADED_HIGH))
		return boot_fail(ctx, -ENOEXEC, "kernel %s: no bzImage, which is all that firmware starts by "
				 "fw_cfg; give one, or start it without --firmware", f->path);
	k->setup_size = ((hdr.setup_sects ?: 4) + 1) * 512;
	if (f->size <= k->setup_size || f->size > ctx->low_end)
		return boot_fail(ctx, -ENOEXEC, "kernel %s: %llu bytes with %u of set-up code make no sense, or "
				 "no room in memory; copy it again, or give more --memory", f->path,
				 (unsigned long long)f->size, k->setup_size);
	k->kernel_size = f->size - k->setup_size;
	k->setup_gpa = SETUP_GPA;
	k->cmdline_gpa = CMDLINE_GPA;
	k->kernel_gpa = KERNEL_GPA;
	hdr.cmd_line_ptr = CMDLINE_GPA;
	hdr.type_of_loader = LOADER_TYPE;
	hdr.loadflags |= CAN_USE_HEAP;
	hdr.heap_end_ptr = CMDLINE_GPA - SETUP_GPA - 0x200;
	if (ctx->in->initrd)
		rc = place_initrd(ctx, k, &hdr);
	if (!rc)
		rc = read_all(ctx, f, 0, k->setup_size, &k->setup);
	if (!rc)
		rc = read_all(ctx, f, k->setup_size, k->kernel_size, &k->kernel);
	/* What of the header was changed; an older one ends before the rest. */
	if (!rc)
		memcpy((char *)k->setup + HDR_OFFSET, &hdr, offsetof(struct setup_header, initrd_addr_max));
	return rc;
}

int boot_fw_kernel_load(const struct boot_params_in *in, struct boot_fw_kernel *k, char *err,
			size_t errlen)
{
	struct boot_ctx ctx = {
		.in = in, .err = err, .errlen = errlen, .kernel.fd = -1, .initrd.fd = -1,
	};
	struct boot_range ram[2];
	int rc;

	memset(k, 0, sizeof(*k));
	boot_ram(in->memory, ram);
	ctx.low_end = ram[0].size;
	rc = load(&ctx, k);
	if (ctx.kernel.fd >= 0)
		close(ctx.kernel.fd);
	if (ctx.initrd.fd >= 0)
		close(ctx.initrd.fd);
	if (rc)
		boot_fw_kernel_free(k);
	return rc;
}

void boot_fw_kernel_free(struct boot_fw_kernel *k)
{
	free(k->setup);
	free(k->kernel);
	free(k->initrd);
	memset(k, 0, sizeof(*k));
}
