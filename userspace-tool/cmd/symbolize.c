// SPDX-License-Identifier: GPL-2.0
#include <inttypes.h>
#include <stdio.h>

#include "cmd.h"
#include "symbolize.h"

/* Linux moves itself by multiples of this (CONFIG_PHYSICAL_ALIGN). */
#define SLIDE_UNIT	(2ULL << 20)

/* What a running Linux has put where records_anchors() looks. */
static const struct {
	const char *anchor, *what, *symbol;
} anchors[] = {
	{ "lstar", "IA32_LSTAR", "entry_SYSCALL_64" },
	{ "gate_14", "the IDT's gate 14", "asm_exc_page_fault" },
	{ "gate_14", "the IDT's gate 14", "page_fault" },
	{ "gate_13", "the IDT's gate 13", "asm_exc_general_protection" },
	{ "gate_13", "the IDT's gate 13", "general_protection" },
};

static bool find_slide(struct json_object *report, const struct cleave_symbols *symbols,
		       uint64_t *slide, struct json_object *out)
{
	struct json_object *found = doc_get_object(doc_element(report, "vcpus", 0), "anchors");
	size_t i;

	for (i = 0; i < ARRAY_SIZE(anchors); i++) {
		uint64_t is = doc_get_hex(found, anchors[i].anchor), was;

		if (!is || !cleave_symbols_address(symbols, anchors[i].symbol, &was) ||
		    (is - was) % SLIDE_UNIT)
			continue;
		*slide = is - was;
		doc_print(out, "slide_from", "%s is %s", anchors[i].what, anchors[i].symbol);
		return true;
	}
	return false;
}

static void name(struct json_object *o, const struct cleave_symbols *symbols, uint64_t slide)
{
	uint64_t offset;
	const char *symbol = cleave_symbols_find(symbols, doc_get_hex(o, "rip") - slide, &offset);

	if (symbol)
		doc_print(o, "symbol", "%s+0x%" PRIx64, symbol, offset);
}

void symbolize(struct json_object *report, const struct cleave_symbols *symbols, const char *file,
	       const uint64_t *slide)
{
	struct json_object *out = doc_object(report, "symbols");
	uint64_t by = slide ? *slide : 0;
	size_t i, j;

	doc_text(out, "file", file);
	if (slide)
		doc_text(out, "slide_from", "--slide");
	else if (!find_slide(report, symbols, &by, out))
		doc_text(out, "slide_from", "not known, so taken as not moved; names are wrong if the kernel moved itself (KASLR): boot it with nokaslr, or give --slide");
	doc_hex(out, "slide", by);
	for (i = 0; i < doc_length(report, "vcpus"); i++) {
		struct json_object *cpu = doc_element(report, "vcpus", i);

		name(cpu, symbols, by);
		for (j = 0; j < doc_length(cpu, "last_exits"); j++)
			name(doc_element(cpu, "last_exits", j), symbols, by);
	}
}
