// SPDX-License-Identifier: GPL-2.0
/*
 * Kernels: bzImage, multiboot, PVH ELF, vmlinux; firmware, flat images, and kernels for
 * firmware. Input: options, then the file.
 */
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
	bool multiboot = out->protocol && !strncmp(out->protocol, "multiboot", 9);

	PROMISE(out->protocol && out->kernel_end <= memory);
	PROMISE(out->kernel_gpa >= BOOT_HOLE_END ||
		(multiboot && out->kernel_gpa >= 0x20000 && out->kernel_end <= BOOT_EBDA));
	PROMISE(out->kernel_gpa < out->kernel_end);
	PROMISE(multiboot ? out->initrd_size >= initrd_size : out->initrd_size == initrd_size);
	if (initrd_size) {
		PROMISE(out->initrd_gpa >= out->kernel_end && !(out->initrd_gpa % PAGE));
		PROMISE(out->initrd_gpa + initrd_size <= memory);
	}
	PROMISE(out->sregs.cr0 & 1);
	PROMISE(out->regs.rflags == 2 && !(out->regs.rip >> 32));
}

/* What starts in real mode, by bits 7:5 of the options: firmware, flat, a kernel for firmware. */
static void real_mode(unsigned int which, struct boot_params_in *in, struct cleave_mem *mem, size_t size)
{
	struct boot_fw_kernel k;
	struct boot_result out;
	char err[512] = "";
	int ret;

	if (which == 3) {
		ret = boot_fw_kernel_load(in, &k, err, sizeof(err));
		if (!ret) {
			PROMISE(k.setup && k.kernel && k.setup_size + (uint64_t)k.kernel_size == size);
			PROMISE(!in->initrd || (k.initrd && k.initrd_gpa >= BOOT_HOLE_END));
			boot_fw_kernel_free(&k);
		}
	} else {
		if (which == 1)
			in->firmware = in->kernel;
		else
			in->flat = in->kernel;
		in->flat_gpa = size * 37;
		ret = boot_load(in, mem, &out, err, sizeof(err));
		PROMISE(ret || out.reset == (which == 1));
	}
	PROMISE(ret <= 0);
	if (ret)
		one_line(err, sizeof(err));
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
	static uint8_t rom[4 * PAGE];
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
	PROMISE(!cleave_mem_add(&mem, BOOT_ROM_END - sizeof(rom), sizeof(rom), rom, CLEAVE_MEM_READONLY));
	params.plain = params.cmdline;
	if (options >> 5) {
		real_mode(options >> 5, &params, &mem, in.left);
		return 0;
	}
	ret = boot_load(&params, &mem, &out, err, sizeof(err));
	PROMISE(ret <= 0);
	if (ret)
		one_line(err, sizeof(err));
	else
		check_loaded(&out, memory, initrd_size);
	return 0;
}
