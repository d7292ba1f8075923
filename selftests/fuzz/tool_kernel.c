// SPDX-License-Identifier: GPL-2.0
/* Kernels: bzImage, PVH ELF, vmlinux. Input: options, then the file. */
#include "boot/boot.h"
#include "tool.h"

#define MIB	(1ull << 20)
#define PAGE	4096

static struct memory_file kernel, initrd;

/* RAM with nothing before and behind it, so that who leaves it is found. */
static uint8_t *ram(uint64_t size)
{
	static uint8_t *area;

	if (!area) {
		area = mmap(NULL, 128 * MIB + 2 * PAGE, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		PROMISE(area != MAP_FAILED);
	}
	PROMISE(!mprotect(area, 128 * MIB + 2 * PAGE, PROT_NONE));
	PROMISE(!madvise(area, 128 * MIB + 2 * PAGE, MADV_DONTNEED));
	PROMISE(!mprotect(area + PAGE, size, PROT_READ | PROT_WRITE));
	return area + PAGE;
}

static void check_loaded(const struct boot_result *out, uint64_t memory, size_t initrd_size)
{
	PROMISE(out->protocol && out->kernel_gpa >= BOOT_HOLE_END && out->kernel_end <= memory);
	PROMISE(out->kernel_gpa < out->kernel_end);
	PROMISE(out->initrd_size == initrd_size);
	if (initrd_size) {
		PROMISE(out->initrd_gpa >= out->kernel_end && !(out->initrd_gpa % PAGE));
		PROMISE(out->initrd_gpa + initrd_size <= memory);
	}
	PROMISE(out->sregs.cr0 & 1);
	PROMISE(out->regs.rflags == 2 && !(out->regs.rip >> 32));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t sizes[] = { 16 * MIB, 32 * MIB, 64 * MIB, 128 * MIB };
	static const size_t initrds[] = { 0, 1, 5000, 9 * MIB };
	struct input in = { data, size };
	uint8_t options = take8(&in);
	uint64_t memory = sizes[options & 3];
	size_t initrd_size = initrds[options >> 2 & 3];
	struct boot_params_in params = {
		.memory = memory, .cpus = 1, .cmdline = options & 16 ? "console=ttyS0" : NULL,
	};
	struct cleave_mem mem = { 0 };
	struct boot_result out;
	char err[512] = "";
	int ret;

	if (!kernel.path[0]) {
		file_make(&kernel);
		file_make(&initrd);
	}
	file_set(&kernel, in.p, in.left);
	PROMISE(!ftruncate(initrd.fd, initrd_size));
	params.kernel = kernel.path;
	params.initrd = initrd_size ? initrd.path : NULL;
	PROMISE(!cleave_mem_add(&mem, 0, memory, ram(memory), 0));
	ret = boot_load(&params, &mem, &out, err, sizeof(err));
	PROMISE(ret <= 0);
	if (ret)
		one_line(err, sizeof(err));
	else
		check_loaded(&out, memory, initrd_size);
	return 0;
}
