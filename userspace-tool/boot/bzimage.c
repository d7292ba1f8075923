// SPDX-License-Identifier: GPL-2.0
/* cleave: the Linux/x86 boot protocol, 64-bit or 32-bit entry (Documentation/arch/x86/boot.rst). */
#include <asm/bootparam.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>
#include "boot.h"

#define HDR_OFFSET	offsetof(struct boot_params, hdr)
#define PROTOCOL_MIN	0x20c

/* The header goes to 0x202 + the byte at 0x201; what an older kernel lacks is zero. */
static int read_header(struct boot_ctx *ctx, struct setup_header *hdr)
{
	size_t len = 0x202 + ctx->header[0x201] - HDR_OFFSET;

	memset(hdr, 0, sizeof(*hdr));
	memcpy(hdr, ctx->header + HDR_OFFSET, len < sizeof(*hdr) ? len : sizeof(*hdr));
	if (hdr->boot_flag != 0xaa55)
		return boot_fail(ctx, -ENOEXEC, "kernel %s: boot signature %#x, not 0xaa55: the file is "
				 "damaged; copy it again", ctx->kernel.path, hdr->boot_flag);
	if (hdr->version < PROTOCOL_MIN)
		return boot_fail(ctx, -ENOEXEC, "kernel %s: boot protocol %u.%02u, older than 2.12; use "
				 "Linux 3.8 or newer, or start it by firmware: --firmware, --device fw-cfg", ctx->kernel.path, hdr->version >> 8,
				 hdr->version & 0xff);
	if (!(hdr->loadflags & LOADED_HIGH))
		return boot_fail(ctx, -ENOEXEC, "kernel %s: a zImage, which loads low; use a bzImage",
				 ctx->kernel.path);
	return 0;
}

/* Where the kernel asks to be, else, if it can be moved, as low as it fits. */
static int choose_address(struct boot_ctx *ctx, const struct setup_header *hdr, uint64_t size,
			  uint64_t *gpa)
{
	uint64_t need = hdr->init_size > size ? hdr->init_size : size;
	uint64_t align = hdr->kernel_alignment, low;

	*gpa = hdr->pref_address;
	if (hdr->relocatable_kernel && align && !(align & (align - 1))) {
		low = (BOOT_HOLE_END + align - 1) & ~(align - 1);
		if (*gpa < BOOT_HOLE_END || *gpa > ctx->low_end || need > ctx->low_end - *gpa)
			*gpa = low;
	}
	if (*gpa + need < *gpa)
		need = ~*gpa;
	ctx->out->kernel_end = *gpa + need;
	return boot_check_room(ctx, *gpa, *gpa + need);
}

int bzimage_load(struct boot_ctx *ctx)
{
	struct setup_header hdr;
	uint64_t setup, size, there, gpa;
	int rc = read_header(ctx, &hdr);

	if (rc)
		return rc;
	setup = ((hdr.setup_sects ? hdr.setup_sects : 4) + 1) * 512;
	size = (uint64_t)hdr.syssize * 16;
	if (size < 0x1000)
		return boot_fail(ctx, -ENOEXEC, "kernel %s: a header with %llu bytes of kernel behind it; "
				 "copy it again", ctx->kernel.path, (unsigned long long)size);
	rc = choose_address(ctx, &hdr, size, &gpa);
	/* It is counted in paragraphs of 16 bytes, and not each builder fills the last. */
	there = ctx->kernel.size > setup ? ctx->kernel.size - setup : 0;
	if (there > size - 16 && there < size)
		size = there;
	if (!rc)
		rc = boot_read_guest(ctx, &ctx->kernel, setup, gpa, size);
	if (!rc)
		rc = boot_place_initrd(ctx, ctx->out->kernel_end, (uint64_t)hdr.initrd_addr_max + 1);
	if (!rc)
		rc = boot_place_cmdline(ctx, hdr.cmdline_size);
	if (rc)
		return rc;
	ctx->out->kernel_gpa = gpa;
	hdr.code32_start = gpa;
	boot_zero_page(ctx, &hdr);
	ctx->out->regs.rsi = BOOT_ZERO_PAGE;
	if (hdr.xloadflags & XLF_KERNEL_64) {
		ctx->out->protocol = "bzImage, 64-bit entry";
		boot_enter_64(ctx, gpa + 0x200);
	} else {
		ctx->out->protocol = "bzImage, 32-bit entry";
		boot_enter_32(ctx, gpa);
	}
	return 0;
}
