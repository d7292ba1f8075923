// SPDX-License-Identifier: GPL-2.0
/* System.map and the symbol tables of ELF files. Input: the file. */
#include "libcleave.h"
#include "tool.h"

static void look(const struct cleave_symbols *s, uint64_t address)
{
	uint64_t offset = 0, again;
	const char *name = cleave_symbols_find(s, address, &offset);

	if (!name)
		return;
	PROMISE(*name && strlen(name) < 512 && offset <= address);
	for (const char *p = name; *p; p++)
		PROMISE(*p > ' ' && *p <= '~');
	PROMISE(cleave_symbols_address(s, name, &again));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint64_t addresses[] = {
		0, 1, 0xfff, 0x401000, 0xffffffff81000000, 0xffffffff81000010, 0xffffffff82000000, ~0ull,
	};
	static struct memory_file f;
	struct cleave_symbols *s;
	char err[512] = "";
	int ret;

	if (!f.path[0])
		file_make(&f);
	file_set(&f, data, size);
	ret = cleave_symbols_open(f.path, &s, err, sizeof(err));
	PROMISE(ret <= 0);
	if (ret) {
		PROMISE(!s);
		one_line(err, sizeof(err));
		return 0;
	}
	PROMISE(cleave_symbols_count(s));
	for (size_t i = 0; i < sizeof(addresses) / sizeof(addresses[0]); i++)
		look(s, addresses[i]);
	for (size_t i = 0; i + 8 <= size && i < 64 * 8; i += 8) {
		uint64_t address;

		memcpy(&address, data + i, 8);
		look(s, address);
	}
	cleave_symbols_free(s);
	return 0;
}
