// SPDX-License-Identifier: GPL-2.0
/*
 * All code of the module: returns and indirect branches are such as the kernel
 * patches when it loads it, to what this CPU wants (retpolines, return thunks,
 * ITS, SRSO). So each is in the table that the kernel goes by.
 */
#include <stdio.h>
#include <string.h>
#include "statics.h"

static bool is_code(const char *name)
{
	static const char *const names[] = {
		".text", ".text.unlikely", ".noinstr.text", ".init.text", ".exit.text",
		".altinstr_replacement", ".altinstr_aux",
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(names); i++)
		if (!strcmp(name, names[i]))
			return true;
	return false;
}

static const struct reloc *reloc_in(const struct section *s, uint64_t at, int len)
{
	int i;

	for (i = 0; i < s->nr && s->relocs[i].at < at + len; i++)
		if (s->relocs[i].at >= at)
			return &s->relocs[i];
	return NULL;
}

/* What is wrong with it, or NULL; counts what is right. UNLISTED: as if no table had anything. */
static const char *check_insn(const struct ko *ko, int sec, uint64_t at, const ZydisDecodedInstruction *z,
			      const ZydisDecodedOperand *op, bool unlisted, struct sites *n)
{
	bool branch = z->meta.category == ZYDIS_CATEGORY_CALL || z->meta.category == ZYDIS_CATEGORY_UNCOND_BR;
	const struct reloc *r;

	if (z->meta.category == ZYDIS_CATEGORY_RET && z->mnemonic == ZYDIS_MNEMONIC_RET)
		return "a bare return";
	if (!branch)
		return NULL;
	r = reloc_in(&ko->secs[sec], at, z->length);
	if (op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		/* Paravirt's, which become direct ones. */
		if (!r || strcmp(r->name, "pv_ops"))
			return "a bare indirect branch";
		n->indirect++;
		return NULL;
	}
	if (r && !strcmp(r->name, "__x86_return_thunk")) {
		n->returns++;
		return unlisted || !ko_names_site(ko, ".return_sites", sec, at) ? "a return in no table" : NULL;
	}
	if (r && !strncmp(r->name, "__x86_indirect_thunk_", 21)) {
		n->indirect++;
		return unlisted || !ko_names_site(ko, ".retpoline_sites", sec, at) ?
		       "an indirect branch in no table" : NULL;
	}
	return NULL;
}

const char *sites_check(const struct ko *ko, bool unlisted, struct sites *n)
{
	static char text[160];
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	ZydisDecodedInstruction z;
	ZydisDecoder decoder;
	const char *why;
	uint64_t at;
	int sec;

	memset(n, 0, sizeof(*n));
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	for (sec = 1; sec < ko->nr; sec++) {
		const struct section *s = &ko->secs[sec];

		if (!s->data || !is_code(s->name))
			continue;
		for (at = 0; at < s->size; at += z.length) {
			if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, s->data + at, s->size - at, &z, op)))
				die("%s+%#lx is no instruction", s->name, at);
			why = check_insn(ko, sec, at, &z, op, unlisted, n);
			if (why) {
				snprintf(text, sizeof(text), "%s at %s+%#lx", why, s->name, at);
				return text;
			}
		}
	}
	return n->returns && n->indirect ? NULL : "nothing was found";
}
