// SPDX-License-Identifier: GPL-2.0
/* The loaders: what they put where, and that no file can make them do worse than say why. */
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "unit.h"
#include "boot.h"

#define MIB	(1ULL << 20)
#define HDR	offsetof(struct boot_params, hdr)

static char kernel_path[64], initrd_path[64];
static struct cleave_mem mem;
static uint8_t *host[2];
static struct boot_range ram[2];
static struct boot_params_in in;
static struct boot_result out;
static char err[256];

static void write_file(const char *path, const void *data, size_t len)
{
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY, 0600);

	if (fd < 0 || write(fd, data, len) != (ssize_t)len)
		abort();
	close(fd);
}

__attribute__((constructor(101))) static void init(void)
{
	snprintf(kernel_path, sizeof(kernel_path), "/tmp/clvtest-kernel.%d", getpid());
	snprintf(initrd_path, sizeof(initrd_path), "/tmp/clvtest-initrd.%d", getpid());
}

__attribute__((destructor)) static void fini(void)
{
	unlink(kernel_path);
	unlink(initrd_path);
}

/* Loads kernel_path into fresh memory; initrd of this size if not 0. */
static int load(uint64_t memory, size_t initrd, const char *cmdline)
{
	unsigned int n = boot_ram(memory, ram);
	uint8_t *data;
	int rc;

	memset(&mem, 0, sizeof(mem));
	for (unsigned int i = 0; i < n; i++) {
		host[i] = mmap(NULL, ram[i].size, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (host[i] == MAP_FAILED || cleave_mem_add(&mem, ram[i].gpa, ram[i].size, host[i], 0))
			abort();
	}
	if (initrd) {
		data = malloc(initrd);
		memset(data, 0x77, initrd);
		write_file(initrd_path, data, initrd);
		free(data);
	}
	in = (struct boot_params_in){
		.kernel = kernel_path, .initrd = initrd ? initrd_path : NULL, .cmdline = cmdline,
		.memory = memory, .cpus = 1, .plain = cmdline,
	};
	err[0] = 0;
	rc = boot_load(&in, &mem, &out, err, sizeof(err));
	CHECK(!rc == !err[0]);
	CHECK(!strchr(err, '\n'));
	return rc;
}

static void unload(void)
{
	for (unsigned int i = 0; i < mem.count; i++)
		munmap(mem.range[i].host, mem.range[i].size);
}

/* The load fails with this errno and a line that has both words. */
static void refuse(int rc, int want, const char *a, const char *b)
{
	if (rc != want || !strstr(err, a) || !strstr(err, b))
		unit_fail("%d, not %d, says: %s", rc, want, err);
	unload();
}

/* ---- a bzImage ---- */

#define SETUP	(4 + 1) * 512
#define BODY	65536

static struct {
	uint8_t bytes[SETUP + BODY];
} image;

static struct setup_header *bzimage(void)
{
	struct setup_header *h = (void *)(image.bytes + HDR);

	memset(&image, 0, sizeof(image));
	for (unsigned int i = 0; i < BODY; i++)
		image.bytes[SETUP + i] = i * 7;
	h->setup_sects = 4;
	h->boot_flag = 0xaa55;
	h->jump = 0x6aeb;
	h->header = 0x53726448;
	h->version = 0x20f;
	h->loadflags = LOADED_HIGH;
	h->syssize = BODY / 16;
	h->initrd_addr_max = 0x7fffffff;
	h->kernel_alignment = 0x200000;
	h->relocatable_kernel = 1;
	h->xloadflags = XLF_KERNEL_64;
	h->cmdline_size = 2047;
	h->pref_address = 0x1000000;
	h->init_size = 0x800000;
	return h;
}

static int load_bz(uint64_t memory, size_t initrd, const char *cmdline)
{
	write_file(kernel_path, &image, sizeof(image));
	return load(memory, initrd, cmdline);
}

UNIT_TEST(bzimage_64bit)
{
	struct boot_params zp;
	uint64_t e;

	bzimage();
	REQUIRE(!load_bz(64 * MIB, 5000, "console=ttyS0"));
	CHECK(strstr(out.protocol, "64-bit"));
	CHECK_EQ(out.kernel_gpa, 0x1000000);
	CHECK_EQ(out.kernel_end, 0x1800000);
	CHECK_EQ(out.regs.rip, 0x1000200);
	CHECK_EQ(out.regs.rsi, BOOT_ZERO_PAGE);
	CHECK_EQ(out.regs.rflags, 2);
	CHECK(!memcmp(host[0] + 0x1000000, image.bytes + SETUP, BODY));
	CHECK_EQ(out.initrd_gpa, 64 * MIB - 8192);
	CHECK_EQ(host[0][out.initrd_gpa + 4999], 0x77);
	CHECK_EQ(host[0][out.initrd_gpa + 5000], 0);
	memcpy(&zp, host[0] + BOOT_ZERO_PAGE, sizeof(zp));
	CHECK_EQ(zp.hdr.type_of_loader, 0xff);
	CHECK_EQ(zp.hdr.ramdisk_image, out.initrd_gpa);
	CHECK_EQ(zp.hdr.ramdisk_size, 5000);
	CHECK(!strcmp((char *)host[0] + zp.hdr.cmd_line_ptr, "console=ttyS0"));
	CHECK_EQ(zp.acpi_rsdp_addr, ACPI_BASE);
	CHECK_EQ(zp.sentinel, 0);
	CHECK_EQ(zp.hdr.init_size, 0x800000);
	CHECK(!memcmp(host[0] + ACPI_BASE, "RSD PTR ", 8));
	/* identity map: the last 2 MiB page below 4 GiB */
	memcpy(&e, host[0] + out.sregs.cr3, 8);
	memcpy(&e, host[0] + (e & ~0xfffULL) + 8 * 3, 8);
	memcpy(&e, host[0] + (e & ~0xfffULL) + 8 * 511, 8);
	CHECK_EQ(e, 0xffe00083);
	memcpy(&e, host[0] + out.sregs.gdt.base + out.sregs.cs.selector, 8);
	CHECK_EQ(e, 0x00af9b000000ffffULL);
	CHECK_EQ(out.sregs.cs.ar, 0xa09b);
	CHECK_EQ(out.sregs.tr.ar, 0x8b);
	CHECK_EQ(out.sregs.efer, 0x500);
	CHECK_EQ(out.sregs.apic_base, 0xfee00900);
	unload();
}

UNIT_TEST(bzimage_32bit)
{
	bzimage()->xloadflags = 0;
	REQUIRE(!load_bz(64 * MIB, 0, NULL));
	CHECK(strstr(out.protocol, "32-bit"));
	CHECK_EQ(out.regs.rip, 0x1000000);
	CHECK_EQ(out.sregs.cr0, 0x11);
	CHECK_EQ(out.sregs.cs.ar, 0xc09b);
	CHECK_EQ(out.initrd_size, 0);
	unload();
}

UNIT_TEST(memory_map)
{
	struct boot_params zp;
	uint64_t total = 0, end = 0;

	bzimage();
	REQUIRE(!load_bz(5ULL << 30, 4096, ""));
	CHECK_EQ(mem.count, 2);
	CHECK_EQ(out.initrd_gpa, 0x80000000 - 4096);	/* initrd_addr_max, not the end of RAM */
	memcpy(&zp, host[0] + BOOT_ZERO_PAGE, sizeof(zp));
	CHECK_EQ(zp.e820_entries, 6);
	for (unsigned int i = 0; i < zp.e820_entries; i++) {
		struct boot_e820_entry e;

		memcpy(&e, &zp.e820_table[i], sizeof(e));
		CHECK(e.addr >= end);
		end = e.addr + e.size;
		if (e.addr < 0x100000 && end > 0xa0000)
			CHECK(e.type != E820_RAM);
		if (e.type == E820_RAM)
			total += e.size;
		if (e.type == E820_ACPI)
			CHECK(e.addr == 0xe0000);
	}
	CHECK_EQ(end, 0x180000000ULL);
	CHECK_EQ(total, (5ULL << 30) - (0x100000 - BOOT_EBDA));
	unload();
}

UNIT_TEST(little_memory)
{
	bzimage();			/* does not fit at 16 MiB: goes to 2 MiB */
	REQUIRE(!load_bz(20 * MIB, 0, NULL));
	CHECK_EQ(out.kernel_gpa, 0x200000);
	unload();
	refuse(load_bz(20 * MIB, 12 * MIB, NULL), -ENOMEM, "12 MiB", "--memory");
	bzimage()->relocatable_kernel = 0;
	refuse(load_bz(20 * MIB, 0, NULL), -ENOMEM, "24 MiB", "--memory 40M");
	refuse(load_bz(1 * MIB, 0, NULL), -EINVAL, "16 MiB", "--memory");
	refuse(load_bz(64 * MIB + 1, 0, NULL), -EINVAL, "pages", "--memory");
	bzimage()->initrd_addr_max = 0x1ffffff;
	refuse(load_bz(64 * MIB, 10 * MIB, NULL), -EFBIG, "32 MiB", "smaller");
}

UNIT_TEST(bad_bzimages)
{
	char line[3000];

	memset(line, 'a', sizeof(line));
	line[2999] = 0;
	bzimage();
	refuse(load_bz(64 * MIB, 0, line), -E2BIG, "2999", "2047");
	bzimage()->boot_flag = 0;
	refuse(load_bz(64 * MIB, 0, NULL), -ENOEXEC, "0xaa55", "copy it again");
	bzimage()->version = 0x20a;
	refuse(load_bz(64 * MIB, 0, NULL), -ENOEXEC, "2.10", "--firmware");
	bzimage()->loadflags = 0;
	refuse(load_bz(64 * MIB, 0, NULL), -ENOEXEC, "zImage", "bzImage");
	bzimage()->syssize = BODY / 16 + 1;
	refuse(load_bz(64 * MIB, 0, NULL), -ENOEXEC, "truncated", "copy it again");
	bzimage()->syssize = 0;
	refuse(load_bz(64 * MIB, 0, NULL), -ENOEXEC, "0 bytes", "copy it again");
	bzimage()->syssize = ~0U;
	refuse(load_bz(64 * MIB, 0, NULL), -ENOEXEC, "not RAM", "another");
	bzimage()->pref_address = ~0ULL - 4096;
	((struct setup_header *)(image.bytes + HDR))->relocatable_kernel = 0;
	refuse(load_bz(64 * MIB, 0, NULL), -ENOEXEC, "not RAM", "another");
	bzimage()->pref_address = 0x10000;
	((struct setup_header *)(image.bytes + HDR))->kernel_alignment = 3;
	refuse(load_bz(64 * MIB, 0, NULL), -ENOEXEC, "not RAM", "another");
}

UNIT_TEST(not_kernels)
{
	static uint8_t f[4096];

	write_file(kernel_path, f, 0);
	refuse(load(64 * MIB, 0, NULL), -ENOEXEC, "empty", kernel_path);
	write_file(kernel_path, "#!/bin/sh\n", 10);
	refuse(load(64 * MIB, 0, NULL), -ENOEXEC, "not a Linux kernel", "bzImage");
	memcpy(f, "\x1f\x8b", 2);
	write_file(kernel_path, f, sizeof(f));
	refuse(load(64 * MIB, 0, NULL), -ENOEXEC, "gzip", "unpack");
	memcpy(f, "MZ", 2);
	memcpy(f + 0x38, "ARM\x64", 4);
	write_file(kernel_path, f, sizeof(f));
	refuse(load(64 * MIB, 0, NULL), -ENOEXEC, "arm64", "x86");
	memcpy(f, "070701", 6);
	memset(f + 0x38, 0, 4);
	write_file(kernel_path, f, sizeof(f));
	refuse(load(64 * MIB, 0, NULL), -ENOEXEC, "cpio", "bzImage");
	unlink(kernel_path);
	refuse(load(64 * MIB, 0, NULL), -ENOENT, "No such file", kernel_path);
	mkdir(kernel_path, 0700);
	refuse(load(64 * MIB, 0, NULL), -EINVAL, "regular file", kernel_path);
	rmdir(kernel_path);
	mkfifo(kernel_path, 0600);
	refuse(load(64 * MIB, 0, NULL), -EINVAL, "regular file", kernel_path);
	unlink(kernel_path);
	bzimage();
	write_file(kernel_path, &image, sizeof(image));
	load(64 * MIB, 100, NULL);
	unload();
	write_file(initrd_path, f, 0);
	in.initrd = initrd_path;
	CHECK_EQ(boot_load(&in, &(struct cleave_mem){ 0 }, &out, err, sizeof(err)), -EINVAL);
	unlink(initrd_path);
}

/* ---- ELF ---- */

static struct {
	Elf64_Ehdr eh;
	Elf64_Phdr ph[3];
	uint8_t note[32];
	uint8_t text[4096];
} elf;

static void make_elf(bool pvh)
{
	Elf64_Nhdr n = { 4, 8, 18 };
	uint64_t entry = 0x1000010;

	memset(&elf, 0, sizeof(elf));
	memcpy(elf.eh.e_ident, ELFMAG, 4);
	elf.eh.e_ident[EI_CLASS] = ELFCLASS64;
	elf.eh.e_ident[EI_DATA] = ELFDATA2LSB;
	elf.eh.e_type = ET_EXEC;
	elf.eh.e_machine = EM_X86_64;
	elf.eh.e_entry = 0x1000000;
	elf.eh.e_phoff = offsetof(typeof(elf), ph);
	elf.eh.e_phentsize = sizeof(Elf64_Phdr);
	elf.eh.e_phnum = 3;
	elf.ph[0] = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_offset = offsetof(typeof(elf), text), .p_filesz = 4096,
		.p_memsz = 8192, .p_paddr = 0x1000000, .p_vaddr = 0xffffffff81000000ULL,
	};
	elf.ph[1] = (Elf64_Phdr){
		.p_type = PT_LOAD, .p_offset = offsetof(typeof(elf), text), .p_filesz = 16,
		.p_memsz = 16, .p_paddr = 0x1400000,
	};
	elf.ph[2] = (Elf64_Phdr){
		.p_type = pvh ? PT_NOTE : PT_NULL, .p_offset = offsetof(typeof(elf), note), .p_filesz = 24,
	};
	memcpy(elf.note, &n, 12);
	memcpy(elf.note + 12, "Xen", 4);
	memcpy(elf.note + 16, &entry, 8);
	memset(elf.text, 0x90, sizeof(elf.text));
}

static int load_elf(size_t initrd)
{
	write_file(kernel_path, &elf, sizeof(elf));
	return load(64 * MIB, initrd, "quiet");
}

UNIT_TEST(pvh)
{
	struct {
		uint32_t magic, version, flags, modules;
		uint64_t modlist, cmdline, rsdp, memmap;
		uint32_t entries, reserved;
	} si;
	uint64_t mod[4], map[3];

	make_elf(true);
	REQUIRE(!load_elf(3000));
	CHECK(strstr(out.protocol, "PVH"));
	CHECK_EQ(out.regs.rip, 0x1000010);
	CHECK_EQ(out.regs.rbx, BOOT_ZERO_PAGE);
	CHECK_EQ(out.sregs.cr0 & 0x80000001, 1);
	CHECK_EQ(out.kernel_end, 0x1400010);
	CHECK(host[0][0x1000000] == 0x90 && host[0][0x1001000] == 0 && host[0][0x140000f] == 0x90);
	memcpy(&si, host[0] + BOOT_ZERO_PAGE, sizeof(si));
	CHECK_EQ(si.magic, 0x336ec578);
	CHECK_EQ(si.version, 1);
	CHECK_EQ(si.rsdp, ACPI_BASE);
	CHECK(!strcmp((char *)host[0] + si.cmdline, "quiet"));
	CHECK_EQ(si.modules, 1);
	memcpy(mod, host[0] + si.modlist, sizeof(mod));
	CHECK_EQ(mod[0], out.initrd_gpa);
	CHECK_EQ(mod[1], 3000);
	CHECK_EQ(si.entries, 5);
	memcpy(map, host[0] + si.memmap + 4 * 24, sizeof(map));
	CHECK_EQ(map[0], 0x100000);
	CHECK_EQ(map[1], 63 * MIB);
	CHECK_EQ(map[2], 1);
	unload();
}

UNIT_TEST(vmlinux)
{
	struct boot_params zp;

	make_elf(false);
	elf.eh.e_entry = 0xffffffff81000040ULL;		/* virtual: its segment says where */
	REQUIRE(!load_elf(0));
	CHECK_EQ(out.regs.rip, 0x1000040);
	CHECK_EQ(out.regs.rsi, BOOT_ZERO_PAGE);
	CHECK_EQ(out.sregs.efer, 0x500);
	memcpy(&zp, host[0] + BOOT_ZERO_PAGE, sizeof(zp));
	CHECK_EQ(zp.hdr.header, 0x53726448);
	CHECK_EQ(zp.e820_entries, 5);
	unload();
}

UNIT_TEST(bad_elves)
{
	make_elf(true);
	elf.eh.e_machine = EM_AARCH64;
	refuse(load_elf(0), -ENOEXEC, "architecture", "183");
	make_elf(true);
	elf.eh.e_type = ET_REL;
	refuse(load_elf(0), -ENOEXEC, "not linked", "vmlinux");
	make_elf(true);
	elf.eh.e_phnum = 0xffff;
	refuse(load_elf(0), -ENOEXEC, "65535", "damaged");
	make_elf(true);
	elf.eh.e_phoff = ~0ULL - 8;
	refuse(load_elf(0), -ENOEXEC, "truncated", "copy it again");
	make_elf(true);
	elf.ph[0].p_filesz = 9000;
	refuse(load_elf(0), -ENOEXEC, "segment 0", "copy it again");
	make_elf(true);
	elf.ph[0].p_offset = sizeof(elf) - 100;
	refuse(load_elf(0), -ENOEXEC, "truncated", "copy it again");
	make_elf(true);
	elf.ph[0].p_memsz = 1ULL << 40;
	refuse(load_elf(0), -ENOEXEC, "not RAM", "another");
	make_elf(true);
	elf.ph[0].p_memsz = 1ULL << 30;
	refuse(load_elf(0), -ENOMEM, "1040 MiB", "--memory");
	make_elf(true);
	elf.ph[0].p_paddr = ~0ULL - 10;
	refuse(load_elf(0), -ENOEXEC, "not RAM", "another");
	make_elf(true);
	elf.ph[0].p_paddr = BOOT_ZERO_PAGE;
	refuse(load_elf(0), -ENOEXEC, "not RAM", "another");
	make_elf(false);
	elf.eh.e_entry = 0x1000;
	refuse(load_elf(0), -ENOEXEC, "entry point", "0");
	make_elf(true);
	elf.note[4] = 0xff;				/* longer than the segment: no note */
	elf.note[7] = 0xff;
	REQUIRE(!load_elf(0));
	CHECK(strstr(out.protocol, "vmlinux"));
	unload();
	make_elf(true);
	elf.ph[0].p_type = elf.ph[1].p_type = PT_NULL;
	refuse(load_elf(0), -ENOEXEC, "no segment", "vmlinux");
}

UNIT_TEST(bzimage_without_its_last_bytes)
{
	bzimage();
	write_file(kernel_path, &image, sizeof(image) - 15);
	REQUIRE(!load(64 * MIB, 0, NULL));
	CHECK(!memcmp(host[0] + 0x1000000, image.bytes + SETUP, BODY - 15));
	CHECK_EQ(host[0][0x1000000 + BODY - 15], 0);
	unload();
	write_file(kernel_path, &image, sizeof(image) - 16);
	refuse(load(64 * MIB, 0, NULL), -ENOEXEC, "truncated", "copy it again");
	write_file(kernel_path, &image, SETUP - 4);
	refuse(load(64 * MIB, 0, NULL), -ENOEXEC, "truncated", "copy it again");
}

/* ---- multiboot ---- */

static uint8_t mb[12000];

/* At that byte, with addresses if load is not 0. */
static uint32_t *make_multiboot(unsigned int at, uint32_t flags, uint32_t load)
{
	uint32_t *h = (uint32_t *)(mb + at);

	for (unsigned int i = 0; i < sizeof(mb); i++)
		mb[i] = i * 5;
	h[0] = 0x1badb002;
	h[1] = flags | (load ? 0x10000 : 0);
	h[2] = -(h[0] + h[1]);
	h[3] = load + at;
	h[4] = load;
	h[5] = h[6] = 0;
	h[7] = load + 0x40;
	return h;
}

static int load_mb(size_t initrd)
{
	write_file(kernel_path, mb, sizeof(mb));
	return load(64 * MIB, initrd, "one two");
}

static uint32_t guest32(uint64_t gpa)
{
	uint32_t v;

	memcpy(&v, host[0] + gpa, 4);
	return v;
}

UNIT_TEST(multiboot_addresses)
{
	uint32_t info, size = 0, map, *h;
	char text[128];

	h = make_multiboot(8176, 3, 0x200000);		/* the header's last words are behind its 8 KiB */
	h[3] = 0x200000 + 8176;
	make_multiboot(4096, 3, 0x200000);
	REQUIRE(!load_mb(0));
	CHECK(strstr(out.protocol, "multiboot"));
	CHECK_EQ(out.regs.rax, 0x2badb002);
	CHECK_EQ(out.regs.rip, 0x200040);
	CHECK_EQ(out.sregs.cr0 & 0x80000001, 1);
	CHECK_EQ(out.kernel_end, 0x200000 + sizeof(mb));
	CHECK(!memcmp(host[0] + 0x200000, mb, sizeof(mb)));
	info = out.regs.rbx;
	CHECK_EQ(guest32(info), 1 | 4 | 64 | 512);
	CHECK_EQ(guest32(info + 4), 636);
	CHECK_EQ(guest32(info + 8), 63 << 10);
	snprintf(text, sizeof(text), "%s one two", kernel_path);
	CHECK(!strcmp((char *)host[0] + guest32(info + 16), text));
	CHECK(!strcmp((char *)host[0] + guest32(info + 64), "cleave"));
	map = guest32(info + 48);
	for (uint32_t at = 0; at < guest32(info + 44); at += guest32(map + at) + 4) {
		CHECK_EQ(guest32(map + at), 20);
		if (guest32(map + at + 20) == 1)
			size += guest32(map + at + 12);
	}
	CHECK_EQ(size, 64 * MIB - (0x100000 - BOOT_EBDA));
	unload();
	h = make_multiboot(64, 0, 0x30000);		/* low, a part of the file, a BSS */
	h[3] = 0x30000;
	h[5] = 0x30000 + 4096;
	h[6] = 0x30000 + 8192;
	REQUIRE(!load_mb(0));
	CHECK_EQ(out.kernel_gpa, 0x30000);
	CHECK_EQ(out.kernel_end, 0x32000);
	CHECK(!memcmp(host[0] + 0x30000, mb + 64, 4096));
	CHECK_EQ(host[0][0x31000], 0);
	unload();
}

UNIT_TEST(multiboot_modules)
{
	char list[256];
	uint32_t info, mod;

	make_multiboot(0, 3, 0x200000);
	write_file(kernel_path, mb, sizeof(mb));
	write_file(initrd_path, "module", 7);
	snprintf(list, sizeof(list), "%s a=1 b,%s", initrd_path, kernel_path);
	load(64 * MIB, 0, "");
	in.initrd = list;
	REQUIRE(!boot_load(&in, &mem, &out, err, sizeof(err)));
	info = out.regs.rbx;
	CHECK_EQ(guest32(info) & 8, 8);
	CHECK_EQ(guest32(info + 20), 2);
	mod = guest32(info + 24);
	CHECK_EQ(guest32(mod + 4) - guest32(mod), 7);
	CHECK_EQ(guest32(mod) % 4096, 0);
	CHECK(!strcmp((char *)host[0] + guest32(mod), "module"));
	snprintf(list, sizeof(list), "%s a=1 b", initrd_path);
	CHECK(!strcmp((char *)host[0] + guest32(mod + 8), list));
	CHECK_EQ(guest32(mod + 20) - guest32(mod + 16), sizeof(mb));
	CHECK(!memcmp(host[0] + guest32(mod + 16), mb, sizeof(mb)));
	CHECK(!strcmp((char *)host[0] + guest32(mod + 24), kernel_path));
	in.initrd = "/nowhere x";
	refuse(boot_load(&in, &mem, &out, err, sizeof(err)), -ENOENT, "module /nowhere", "check");
	refuse(load_mb(63 * MIB), -ENOMEM, "do not fit", "--memory");
}

UNIT_TEST(multiboot_elf)
{
	make_elf(false);
	memcpy(elf.text + 8, make_multiboot(0, 3, 0), 12);
	elf.eh.e_entry = 0xffffffff81000040ULL;
	REQUIRE(!load_elf(0));
	CHECK(strstr(out.protocol, "multiboot ELF"));
	CHECK_EQ(out.regs.rip, 0x1000040);
	CHECK_EQ(out.sregs.efer, 0);
	unload();
	elf.eh.e_entry = 0x1000;
	refuse(load_elf(0), -ENOEXEC, "entry point", "link it anew");
	elf.text[12]++;					/* a checksum that is wrong: none */
	elf.eh.e_entry = 0x1000000;
	REQUIRE(!load_elf(0));
	CHECK(strstr(out.protocol, "vmlinux"));
	unload();
}

UNIT_TEST(bad_multiboots)
{
	uint32_t *h;

	make_multiboot(0, 8, 0x200000);
	refuse(load_mb(0), -ENOEXEC, "demands", "0x10008");
	make_multiboot(0, 3, 0);
	refuse(load_mb(0), -ENOEXEC, "neither ELF", "link it as ELF");
	h = make_multiboot(32, 0, 0x200000);
	h[3] = 0x200000 + 33;				/* would begin before the file */
	refuse(load_mb(0), -ENOEXEC, "before the file", "link it anew");
	h[3] = 0x1fffff;
	refuse(load_mb(0), -ENOEXEC, "before the file", "link it anew");
	h = make_multiboot(0, 0, 0x200000);
	h[5] = 0x1fffff;
	refuse(load_mb(0), -ENOEXEC, "ends at", "link it anew");
	h[5] = 0x200000 + sizeof(mb) + 1;
	refuse(load_mb(0), -ENOEXEC, "truncated", "copy it again");
	h[5] = 0;
	h[6] = 0xf0000000;
	refuse(load_mb(0), -ENOEXEC, "not RAM", "another");
	h[6] = 0x8000000;
	refuse(load_mb(0), -ENOMEM, "128 MiB", "--memory");
	h[6] = 0;
	h[7] = 0x200000 + sizeof(mb);
	refuse(load_mb(0), -ENOEXEC, "entry point", "link it anew");
	make_multiboot(0, 0, 0x1000);			/* where the loader's own data is */
	refuse(load_mb(0), -ENOEXEC, "not RAM", "another");
	make_multiboot(0, 0, 0x9e000);
	refuse(load_mb(0), -ENOEXEC, "not RAM", "another");
}

/* ---- real mode ---- */

static uint8_t *rom;

static int load_firmware(size_t size, size_t room)
{
	uint8_t *data = calloc(1, size + 1);

	for (size_t i = 0; i < size; i++)
		data[i] = i >> 10;
	write_file(kernel_path, data, size);
	free(data);
	load(64 * MIB, 0, NULL);
	rom = mmap(NULL, room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (rom == MAP_FAILED ||
	    cleave_mem_add(&mem, BOOT_ROM_END - room, room, rom, CLEAVE_MEM_READONLY))
		abort();
	in.firmware = kernel_path;
	err[0] = 0;
	return boot_load(&in, &mem, &out, err, sizeof(err));
}

UNIT_TEST(firmware)
{
	REQUIRE(!load_firmware(256 << 10, 256 << 10));
	CHECK(out.reset);
	CHECK(rom[0] == 0 && rom[0x3ffff] == 0xff);
	CHECK(host[0][0xe0000] == 0x80 && host[0][0xfffff] == 0xff && !host[0][0xdffff]);
	unload();
	REQUIRE(!load_firmware(64 << 10, 64 << 10));
	CHECK(!host[0][0xeffff] && host[0][0xf0400] == 1 && host[0][0xfffff] == 0x3f);
	unload();
	refuse(load_firmware(4095, 4096), -ENOEXEC, "4095 bytes", "whole pages");
	refuse(load_firmware(9 * MIB, 4096), -ENOEXEC, "at most 8 MiB", "ROM image");
	refuse(load_firmware(8192, 4096), -EFAULT, "changed", "again");
}

static int load_flat(size_t size, uint64_t gpa)
{
	static uint8_t data[0xa0000];

	memset(data, 0x90, sizeof(data));
	write_file(kernel_path, data, size);
	load(64 * MIB, 0, NULL);
	in.flat = kernel_path;
	in.flat_gpa = gpa;
	err[0] = 0;
	return boot_load(&in, &mem, &out, err, sizeof(err));
}

UNIT_TEST(flat)
{
	/* Whole, where the tables for other kinds of kernels are. */
	REQUIRE(!load_flat(0x2000, 0x500));
	for (int i = 0; i < 0x2000; i++)
		REQUIRE(host[0][0x500 + i] == 0x90);
	unload();
	REQUIRE(!load_flat(512, 0x7c00));
	CHECK_EQ(out.regs.rip, 0x7c00);
	CHECK_EQ(out.sregs.cs.base, 0);
	CHECK_EQ(out.sregs.cr0 & 0x80000001, 0);
	CHECK_EQ(out.sregs.ss.ar, 0x93);
	CHECK(host[0][0x7c00] == 0x90 && host[0][0x7dff] == 0x90 && !host[0][0x7e00]);
	unload();
	REQUIRE(!load_flat(0x10000, 0x12345));
	CHECK_EQ(out.sregs.cs.base, 0x12340);
	CHECK_EQ(out.sregs.cs.selector, 0x1234);
	CHECK_EQ(out.regs.rip, 5);
	unload();
	refuse(load_flat(0x9f000, 0x1000), -EFBIG, "0xa0000", "addr=");
	refuse(load_flat(16, 0x9f000), -EFBIG, "0x9f010", "addr=");
	refuse(load_flat(0, 0x7c00), -ENOEXEC, "empty", "copy it again");
}

UNIT_TEST(kernel_for_firmware)
{
	struct boot_fw_kernel k;
	struct setup_header h;

	bzimage()->version = 0x203;
	write_file(kernel_path, &image, sizeof(image));
	write_file(initrd_path, mb, 5000);
	load(64 * MIB, 0, NULL);
	in.initrd = initrd_path;
	REQUIRE(!boot_fw_kernel_load(&in, &k, err, sizeof(err)));
	CHECK_EQ(k.setup_size, SETUP);
	CHECK_EQ(k.kernel_size, BODY);
	CHECK_EQ(k.kernel_gpa, 0x100000);
	CHECK_EQ(k.initrd_size, 5000);
	CHECK_EQ(k.initrd_gpa, 63 * MIB - 8192);
	CHECK(!memcmp(k.kernel, image.bytes + SETUP, BODY) && !memcmp(k.initrd, mb, 5000));
	memcpy(&h, (char *)k.setup + HDR, sizeof(h));
	CHECK_EQ(h.cmd_line_ptr, k.cmdline_gpa);
	CHECK_EQ(h.ramdisk_image, k.initrd_gpa);
	CHECK_EQ(h.loadflags, LOADED_HIGH | CAN_USE_HEAP);
	CHECK_EQ(h.type_of_loader, 0xb0);
	boot_fw_kernel_free(&k);
	((struct setup_header *)(image.bytes + HDR))->version = 0x201;
	write_file(kernel_path, &image, sizeof(image));
	refuse(boot_fw_kernel_load(&in, &k, err, sizeof(err)), -ENOEXEC, "no bzImage", "--firmware");
	bzimage();
	write_file(kernel_path, &image, SETUP);
	CHECK_EQ(boot_fw_kernel_load(&in, &k, err, sizeof(err)), -ENOEXEC);
	write_file(kernel_path, &image, 100);
	CHECK_EQ(boot_fw_kernel_load(&in, &k, err, sizeof(err)), -ENOEXEC);
	CHECK(strstr(err, "truncated"));
}

/* Damaged in every way that chance finds: sanitizers watch. */
static void fuzz(void *file, size_t len, size_t head)
{
	static uint8_t copy[sizeof(image)];
	unsigned int seed = 1;

	for (int i = 0; i < 1500; i++) {
		memcpy(copy, file, len);
		for (int k = rand_r(&seed) % 6; k >= 0; k--) {
			size_t at = rand_r(&seed) % head;

			copy[at] = rand_r(&seed) & 1 ? rand_r(&seed) : 0xff;
		}
		write_file(kernel_path, copy, i & 7 ? len : rand_r(&seed) % len);
		load(64 * MIB, i & 1 ? 100 : 0, "x");
		unload();
	}
}

UNIT_TEST(fuzzed)
{
	bzimage();
	fuzz(image.bytes + 0, sizeof(image), 0x290);
	make_elf(true);
	fuzz(&elf, sizeof(elf), offsetof(typeof(elf), text));
	make_multiboot(16, 3, 0x200000);
	fuzz(mb, sizeof(mb), 64);
}
