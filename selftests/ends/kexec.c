// SPDX-License-Identifier: GPL-2.0
/*
 * A bzImage for kexec_load(2): the kernel entered in 64-bit mode, with its boot
 * parameters (Documentation/x86/boot.rst). kexec_file_load(2) would do it, and hash
 * every byte, which takes an emulated host minutes.
 */
#define _GNU_SOURCE
#include <asm/bootparam.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kexec.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "guest.h"
#include "ends.h"

#define PAGE		4096ull
#define UP(x, to)	(((x) + (to) - 1) / (to) * (to))
#define LOW		0x100000ull	/* what lies below is every kernel's */

enum { KERNEL, INITRD, PARAMS, CMDLINE, CODE, SEGMENTS };

struct image {
	struct kexec_segment seg[SEGMENTS];
	struct boot_params params;
};

/* movabs $params, %rsi; movabs $entry, %rax; jmp *%rax */
static uint8_t code[] = { 0x48, 0xbe, 0, 0, 0, 0, 0, 0, 0, 0, 0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0,
			  0xff, 0xe0 };

static void *file_read(const char *path, size_t *size)
{
	int fd = MUST(open(path, O_RDONLY | O_CLOEXEC));
	struct stat st;
	size_t done = 0;
	char *buf;

	MUST(fstat(fd, &st));
	*size = st.st_size;
	buf = mem_alloc(UP(*size, PAGE), PAGE);
	while (done < *size) {
		ssize_t n = MUST(read(fd, buf + done, *size - done));

		if (!n)
			DIE("%s: too short", path);
		done += n;
	}
	close(fd);
	return buf;
}

/* Memory for what runs after a crash, from /proc/iomem. */
static void crash_range(uint64_t *start, uint64_t *end)
{
	FILE *f = fopen("/proc/iomem", "re");
	unsigned long long a, b;
	char line[256];

	*start = *end = 0;
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "Crash kernel") && sscanf(line, " %llx-%llx", &a, &b) == 2) {
			*start = a;
			*end = b + 1;
		}
	if (f)
		fclose(f);
	if (!*end)
		DIE("no memory for a crash kernel: crashkernel= is missing");
}

static void e820_add(struct boot_params *p, uint64_t start, uint64_t end, uint32_t type)
{
	if (p->e820_entries == E820_MAX_ENTRIES_ZEROPAGE)
		DIE("more memory ranges than boot parameters can hold");
	p->e820_table[p->e820_entries++] =
		(struct boot_e820_entry){ .addr = start, .size = end - start, .type = type };
}

static bool memmap_line(int n, const char *what, char *buf, size_t size)
{
	char path[96];
	FILE *f;
	bool ok;

	snprintf(path, sizeof(path), "/sys/firmware/memmap/%d/%s", n, what);
	f = fopen(path, "re");
	ok = f && fgets(buf, size, f);
	if (f)
		fclose(f);
	return ok;
}

/* What the firmware said, but that a crash kernel has no RAM beside its own and the lowest. */
static void e820_fill(struct boot_params *p, bool crash, uint64_t start, uint64_t end)
{
	char a[32], b[32], type[64];

	for (int n = 0; memmap_line(n, "start", a, sizeof(a)); n++) {
		uint64_t first = strtoull(a, NULL, 16), last;
		bool ram;

		if (!memmap_line(n, "end", b, sizeof(b)) ||
		    !memmap_line(n, "type", type, sizeof(type)))
			DIE("no firmware memory map");
		last = strtoull(b, NULL, 16);
		ram = !strncmp(type, "System RAM", 10);
		if (!ram || !crash || last < LOW)
			e820_add(p, first, last + 1, ram ? 1 : !strncmp(type, "ACPI Tables", 11) ? 3 :
				 !strncmp(type, "ACPI Non", 8) ? 4 : 2);
	}
	if (crash)
		e820_add(p, start, end, 1);
}

static void segment(struct image *im, int i, void *buf, size_t size, uint64_t at, uint64_t room)
{
	im->seg[i] = (struct kexec_segment){ .buf = buf, .bufsz = size, .mem = (void *)at,
					     .memsz = UP(room, PAGE) };
}

void kexec_prepare(const char *kernel, const char *initrd, const char *words, bool crash)
{
	static struct image im;
	size_t size, initrd_size;
	uint8_t *file = file_read(kernel, &size), *rd = file_read(initrd, &initrd_size);
	struct setup_header *hdr = (struct setup_header *)(file + 0x1f1);
	size_t setup = ((hdr->setup_sects ?: 4) + 1) * 512;
	uint64_t start = hdr->pref_address, end = ~0ull, at, entry;

	if (memcmp(&hdr->header, "HdrS", 4) || !(hdr->xloadflags & XLF_KERNEL_64))
		DIE("%s: no 64-bit bzImage", kernel);
	if (crash)
		crash_range(&start, &end);
	at = UP(start, hdr->kernel_alignment);
	entry = at + 0x200;
	memcpy(&im.params.hdr, hdr, offsetof(struct setup_header, header) + file[0x201]);
	segment(&im, KERNEL, file + setup, size - setup, at, hdr->init_size);
	at += UP(hdr->init_size, PAGE);
	segment(&im, INITRD, rd, initrd_size, at, initrd_size);
	im.params.hdr.ramdisk_image = at;
	im.params.hdr.ramdisk_size = initrd_size;
	at += UP(initrd_size, PAGE);
	segment(&im, PARAMS, &im.params, sizeof(im.params), at, PAGE);
	memcpy(code + 2, &at, 8);
	memcpy(code + 12, &entry, 8);
	at += PAGE;
	segment(&im, CMDLINE, (void *)words, strlen(words) + 1, at, PAGE);
	im.params.hdr.cmd_line_ptr = at;
	im.params.hdr.type_of_loader = 0xff;
	at += PAGE;
	segment(&im, CODE, code, sizeof(code), at, PAGE);
	if (at + PAGE > end)
		DIE("the crash kernel needs %llu MiB", (unsigned long long)(at + PAGE - start) >> 20);
	e820_fill(&im.params, crash, start, end);
	MUST(syscall(SYS_kexec_load, at, SEGMENTS, im.seg,
		     KEXEC_ARCH_DEFAULT | (crash ? KEXEC_ON_CRASH : 0)));
}
