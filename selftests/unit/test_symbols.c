// SPDX-License-Identifier: GPL-2.0
/* Symbols of a kernel: found in good files, and nothing worse than an error in broken ones. */
#include <stdint.h>

#include "unit.h"
#include "../../userspace-tool/libcleave/symbols.c"

static struct cleave_symbols *syms;
static char err[512];

/* What cleave_symbols_open() says of a file with these bytes. */
static int open_bytes(const void *bytes, size_t len)
{
	char path[] = "/tmp/cleave-symbols-XXXXXX";
	int fd = mkstemp(path), ret;

	if (fd < 0 || write(fd, bytes, len) != (ssize_t)len)
		return -1;
	close(fd);
	err[0] = 0;
	ret = cleave_symbols_open(path, &syms, err, sizeof(err));
	unlink(path);
	return ret;
}

/* Refused, in one line that says what to do. */
#define REFUSED(ret, why)						\
	do {								\
		CHECK_EQ(ret, -ENOEXEC);				\
		CHECK(!syms && strstr(err, why));			\
		CHECK(strchr(err, ';') && !strchr(err, '\n'));		\
	} while (0)

static const char *name_of(uint64_t address)
{
	static char text[1024];
	uint64_t offset;
	const char *name = cleave_symbols_find(syms, address, &offset);

	if (!name)
		return "";
	snprintf(text, sizeof(text), "%s+0x%llx", name, (unsigned long long)offset);
	return text;
}

UNIT_TEST(map)
{
	static const char text[] =
		"0000000000000000 A fixed_percpu_data\n"
		"ffffffff81000000 t local\n"
		"ffffffff81000000 T _text\n"
		"ffffffff81001000 T second\n"
		"ffffffff81001000 D data_beside_it\n"
		"ffffffff81002000 W no name\n"	/* that a linker writes */
		"ffffffff81300000 t of_module\t[ext4]\n"
		"\n"
		"ffffffff81000800 t between";		/* out of order, and no newline */
	uint64_t address;

	REQUIRE(!open_bytes(text, sizeof(text) - 1));
	CHECK_EQ(cleave_symbols_count(syms), 5);
	CHECK(!strcmp(name_of(0xffffffff81300001), "of_module+0x1"));
	CHECK(!strcmp(name_of(0xffffffff81000000), "_text+0x0"));
	CHECK(!strcmp(name_of(0xffffffff810007ff), "_text+0x7ff"));
	CHECK(!strcmp(name_of(0xffffffff81000801), "between+0x1"));
	CHECK(!strcmp(name_of(0xffffffff81002000), "second+0x1000"));
	CHECK(!strcmp(name_of(0xffffffff80ffffff), ""));
	CHECK(!strcmp(name_of(0xffffffff81001000 + REACH), ""));
	CHECK(!strcmp(name_of(UINT64_MAX), ""));
	CHECK(!strcmp(name_of(0x10), ""));
	CHECK(cleave_symbols_address(syms, "local", &address) && address == 0xffffffff81000000);
	CHECK(!cleave_symbols_address(syms, "data_beside_it", &address));
	cleave_symbols_free(syms);
}

UNIT_TEST(map_at_the_end_of_addresses)
{
	static const char text[] = "ffffffffffffffff T last\n0000000000000000 T first\n";

	REQUIRE(!open_bytes(text, sizeof(text) - 1));
	CHECK(!strcmp(name_of(UINT64_MAX), "last+0x0"));
	CHECK(!strcmp(name_of(0), "first+0x0"));
	cleave_symbols_free(syms);
}

UNIT_TEST(map_broken)
{
	static const char *const bad[] = {
		"hello\n", "ffffffff81000000\n", "ffffffff81000000 T\n", "ffffffff81000000 T \n",
		"ffffffff81000000Tname\n", "fff T name\n", "xfffffff81000000 T name\n",
		"ffffffff810000001 T name\n", "ffffffff81000000 T_name\n",
		"ffffffff81000000 T good\nffffffff8100",
	};
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		REFUSED(open_bytes(bad[i], strlen(bad[i])), "System.map");
	CHECK_EQ(open_bytes("", 0), -ENOENT);
	CHECK_EQ(open_bytes("ffffffff81000000 D data\n", 24), -ENOENT);
	CHECK_EQ(open_bytes("ffffffff81000000 T \033[2J\n", 24), -ENOENT);
	CHECK_EQ(open_bytes("\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20), -ENOEXEC);
}

UNIT_TEST(map_long_name)
{
	static char text[20000];

	memset(text, 'a', sizeof(text));
	memcpy(text, "ffffffff81000000 T ", 19);
	memcpy(text + 10000, "\nffffffff81000010 T fine\n", 25);
	REQUIRE(!open_bytes(text, 10025));
	CHECK(!strcmp(name_of(0xffffffff81000010), "fine+0x0"));
	CHECK_EQ(cleave_symbols_count(syms), 1);
	cleave_symbols_free(syms);
}

UNIT_TEST(no_file)
{
	CHECK_EQ(cleave_symbols_open("/nowhere/vmlinux", &syms, err, sizeof(err)), -ENOENT);
	CHECK(!syms && strstr(err, "/nowhere/vmlinux"));
	CHECK_EQ(cleave_symbols_open("/tmp", &syms, err, sizeof(err)), -EINVAL);
	CHECK_EQ(cleave_symbols_open("/dev/zero", &syms, err, sizeof(err)), -EINVAL);
}

/* ---- ELF: sections null, text, symtab, strtab ------------------------------------- */

struct image {
	Elf64_Ehdr head;
	Elf64_Shdr section[4];
	Elf64_Sym sym[6];
	char strings[40];
};

static struct image make(void)
{
	struct image im = {
		.head = {
			.e_ident = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1 },
			.e_type = ET_EXEC, .e_machine = EM_X86_64,
			.e_shoff = offsetof(struct image, section), .e_shnum = 4,
			.e_shentsize = sizeof(Elf64_Shdr),
		},
		.section = {
			{ 0 },
			{ .sh_type = SHT_PROGBITS, .sh_flags = SHF_ALLOC | SHF_EXECINSTR },
			{ .sh_type = SHT_SYMTAB, .sh_offset = offsetof(struct image, sym),
			  .sh_size = sizeof(im.sym), .sh_entsize = sizeof(Elf64_Sym), .sh_link = 3 },
			{ .sh_type = SHT_STRTAB, .sh_offset = offsetof(struct image, strings),
			  .sh_size = sizeof(im.strings) },
		},
		.sym = {
			{ 0 },
			{ 1, ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 0, 1, 0x1000, 0x20 },
			{ 7, ELF64_ST_INFO(STB_LOCAL, STT_FUNC), 0, 1, 0x1100, 0 },
			{ 14, ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT), 0, 1, 0x1200, 8 },
			{ 14, ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 0, SHN_UNDEF, 0x1300, 8 },
			{ 19, ELF64_ST_INFO(STB_GLOBAL, STT_NOTYPE), 0, 1, 0x1000, 0 },
		},
	};

	/* No zero byte at the end. */
	memcpy(im.strings, "\0start\0second\0data\0alias\0xxxxxxxxxxxxxxx", sizeof(im.strings));
	return im;
}

UNIT_TEST(elf)
{
	struct image im = make();
	uint64_t address;

	REQUIRE(!open_bytes(&im, sizeof(im)));
	CHECK_EQ(cleave_symbols_count(syms), 3);
	CHECK(!strcmp(name_of(0x1000), "start+0x0"));
	CHECK(!strcmp(name_of(0x101f), "start+0x1f"));
	CHECK(!strcmp(name_of(0x1020), ""));
	CHECK(!strcmp(name_of(0x1234), "second+0x134"));
	CHECK(cleave_symbols_address(syms, "alias", &address) && address == 0x1000);
	cleave_symbols_free(syms);
}

UNIT_TEST(elf_broken)
{
	struct image im = make();

	im.head.e_shoff = UINT64_MAX - 8;
	REFUSED(open_bytes(&im, sizeof(im)), "section table");
	im = make();
	im.section[2].sh_offset = sizeof(im);
	REFUSED(open_bytes(&im, sizeof(im)), "symbol table");
	im = make();
	im.section[2].sh_size = UINT64_MAX;
	REFUSED(open_bytes(&im, sizeof(im)), "symbol table");
	im = make();
	im.section[2].sh_link = 4;
	REFUSED(open_bytes(&im, sizeof(im)), "symbol table");
	im = make();
	im.section[2].sh_entsize = 0;
	REFUSED(open_bytes(&im, sizeof(im)), "symbol table");
	im = make();
	im.section[3].sh_size = sizeof(im);
	REFUSED(open_bytes(&im, sizeof(im)), "string table");
	im = make();
	im.section[3].sh_type = SHT_PROGBITS;
	REFUSED(open_bytes(&im, sizeof(im)), "string table");
	im = make();
	im.head.e_machine = EM_AARCH64;
	REFUSED(open_bytes(&im, sizeof(im)), "64-bit x86");
	REFUSED(open_bytes(&im, 20), "ELF header");
}

UNIT_TEST(elf_stripped)
{
	struct image im = make();

	im.section[2].sh_type = SHT_NULL;
	CHECK_EQ(open_bytes(&im, sizeof(im)), -ENOENT);
	CHECK(strstr(err, "stripped"));
	im = make();
	im.head.e_shnum = 0;
	CHECK_EQ(open_bytes(&im, sizeof(im)), -ENOENT);
}

/* Names that start behind the strings, or in the last byte; odd section numbers. */
UNIT_TEST(elf_symbols_broken)
{
	struct image im = make();

	im.sym[1].st_name = sizeof(im.strings);
	im.sym[2].st_name = UINT32_MAX;
	im.sym[5].st_name = sizeof(im.strings) - 1;
	REQUIRE(!open_bytes(&im, sizeof(im)));
	CHECK_EQ(cleave_symbols_count(syms), 1);
	CHECK(!strcmp(name_of(0x1000), "x+0x0"));
	cleave_symbols_free(syms);
	im = make();
	im.sym[1].st_shndx = 0xffff;
	im.sym[2].st_shndx = SHN_ABS;
	im.sym[5].st_shndx = 4;
	CHECK_EQ(open_bytes(&im, sizeof(im)), -ENOENT);
}

/* Whatever one wrong byte or an early end makes of it: no more than an error. */
UNIT_TEST(elf_any_byte)
{
	static const uint8_t values[] = { 0, 1, 0x7f, 0x80, 0xff };
	struct image good = make(), im;
	size_t i, j;

	for (i = 0; i < sizeof(im); i++) {
		for (j = 0; j < sizeof(values); j++) {
			im = good;
			((uint8_t *)&im)[i] = values[j];
			if (!open_bytes(&im, sizeof(im))) {
				name_of(0x1010);
				cleave_symbols_free(syms);
			}
		}
		CHECK(open_bytes(&good, i));
	}
}
