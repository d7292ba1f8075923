// SPDX-License-Identifier: GPL-2.0
/* A module's file: sections, relocations, alternatives, and the code after patching. */
#include <err.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include "statics.h"

void die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("Bail out! ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	exit(1);
}

static const struct {
	const char *name;
	bool optional;		/* some kernels do not know it */
} flag_names[FLAGS] = {
	[F_MSR_SPEC_CTRL] = { "X86_FEATURE_MSR_SPEC_CTRL" },
	[F_KERNEL_IBRS] = { "X86_FEATURE_KERNEL_IBRS" },
	[F_RSB_VMEXIT] = { "X86_FEATURE_RSB_VMEXIT" },
	[F_RSB_VMEXIT_LITE] = { "X86_FEATURE_RSB_VMEXIT_LITE" },
	[F_CALL_DEPTH] = { "X86_FEATURE_CALL_DEPTH", true },
	[F_CLEAR_BHB] = { "X86_FEATURE_CLEAR_BHB_LOOP_ON_VMEXIT" },
	[F_CLEAR_CPU_BUF] = { "X86_FEATURE_CLEAR_CPU_BUF" },
	[F_CLEAR_CPU_BUF_VM] = { "X86_FEATURE_CLEAR_CPU_BUF_VM" },
	[F_UNRET] = { "X86_FEATURE_UNRET" },
	[F_SRSO_ALIAS] = { "X86_FEATURE_SRSO_ALIAS" },
	[F_ENTRY_IBPB] = { "X86_FEATURE_ENTRY_IBPB" },
	[F_IBPB_ON_VMEXIT] = { "X86_FEATURE_IBPB_ON_VMEXIT" },
	[F_V_SPEC_CTRL] = { "X86_FEATURE_V_SPEC_CTRL" },
	[F_USE_IBPB] = { "X86_FEATURE_USE_IBPB" },
	[F_IBPB_EXIT_TO_USER] = { "X86_FEATURE_IBPB_EXIT_TO_USER" },
	[F_DIV0] = { "X86_BUG_DIV0" },
	[F_BP_SPEC_REDUCE] = { "X86_FEATURE_SRSO_BP_SPEC_REDUCE", true },
	[F_ALWAYS] = { "X86_FEATURE_ALWAYS" },
};

const char *flag_name(enum flag f)
{
	return strchr(strchr(flag_names[f].name, '_') + 1, '_') + 1;
}

/* `#define X86_FEATURE_X (w*32 + b)`, `#define X86_BUG_X X86_BUG(w*32 + b)`, and NCAPINTS. */
static void read_flags(struct ko *ko, const char *path)
{
	char line[512], name[64];
	int word, bit, bugs = -1, f;
	FILE *file = fopen(path, "r");

	if (!file)
		die("%s cannot be read", path);
	for (f = 0; f < FLAGS; f++)
		ko->ids[f] = -1;
	while (fgets(line, sizeof(line), file)) {
		int id = -1;

		if (sscanf(line, "#define NCAPINTS %d", &word) == 1)
			bugs = word * 32;
		if (sscanf(line, "#define %63s ( %d * 32 + %d )", name, &word, &bit) == 3)
			id = word * 32 + bit;
		else if (sscanf(line, "#define %63s X86_BUG( %d*32 + %d)", name, &word, &bit) == 3)
			id = bugs + word * 32 + bit;
		for (f = 0; id >= 0 && f < FLAGS; f++)
			if (!strcmp(name, flag_names[f].name))
				ko->ids[f] = id;
	}
	fclose(file);
	for (f = 0; f < FLAGS; f++)
		if (ko->ids[f] < 0 && !flag_names[f].optional)
			die("%s does not define %s", path, flag_names[f].name);
}

static int by_place(const void *a, const void *b)
{
	const struct reloc *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

/* Targets of PC-relative ones are counted from the field, and are 4 off in most instructions. */
static void read_relocs(struct ko *ko, const uint8_t *file, const Elf64_Shdr *sh)
{
	struct section *sec = &ko->secs[sh->sh_info];
	const Elf64_Rela *rela = (const void *)(file + sh->sh_offset);
	int i, n = sh->sh_size / sizeof(*rela);

	sec->relocs = calloc(n, sizeof(*sec->relocs));
	sec->nr = n;
	for (i = 0; i < n; i++) {
		const Elf64_Sym *sym = &ko->syms[ELF64_R_SYM(rela[i].r_info)];
		struct reloc *r = &sec->relocs[i];

		r->at = rela[i].r_offset;
		r->off = r->addend = rela[i].r_addend;
		r->name = ELF64_ST_TYPE(sym->st_info) == STT_SECTION ? "" :
			  ko->strings + sym->st_name;
		if (sym->st_shndx != SHN_UNDEF && sym->st_shndx < SHN_LORESERVE) {
			r->sec = sym->st_shndx;
			r->off += sym->st_value;
		}
	}
	qsort(sec->relocs, n, sizeof(*sec->relocs), by_place);
}

static int find_section(const struct ko *ko, const char *name)
{
	int i;

	for (i = 1; i < ko->nr; i++)
		if (!strcmp(ko->secs[i].name, name) && ko->secs[i].data)
			return i;
	return 0;
}

static const struct reloc *reloc_at(const struct reloc *r, int nr, uint64_t at)
{
	struct reloc key = { .at = at };

	return bsearch(&key, r, nr, sizeof(*r), by_place);
}

/*
 * struct alt_instr: two offsets, the feature's number, from 6.3 on 16 bits of
 * flags behind it, and two lengths. Before, bit 15 of the number inverts it.
 */
static void read_alternatives(struct ko *ko)
{
	const struct section *s = &ko->secs[find_section(ko, ".altinstructions")];
	int i, size;

	if (s->nr < 4)
		die("no .altinstructions");
	size = s->relocs[2].at - s->relocs[0].at;
	if ((size != 12 && size != 14) || s->size % size)
		die("an alternative of %d bytes is not known", size);
	ko->nr_alts = s->size / size;
	ko->alts = calloc(ko->nr_alts, sizeof(*ko->alts));
	for (i = 0; i < ko->nr_alts; i++) {
		const uint8_t *p = s->data + i * size;
		const struct reloc *orig = reloc_at(s->relocs, s->nr, i * size);
		const struct reloc *repl = reloc_at(s->relocs, s->nr, i * size + 4);
		struct alt *a = &ko->alts[i];

		if (!orig || !repl || !orig->sec || !repl->sec)
			die("alternative %d has no place", i);
		a->sec = orig->sec;
		a->at = orig->off;
		a->repl_sec = repl->sec;
		/* Counted from that field, which is not the entry's start. */
		a->repl = repl->off;
		a->id = p[8] | p[9] << 8;
		if (size == 12) {
			a->invert = a->id & 0x8000;
			a->id &= 0x7fff;
		} else {
			a->invert = p[10] & 1;
			a->direct_call = p[10] & 2;
		}
		a->len = p[size - 2];
		a->repl_len = p[size - 1];
	}
}

void ko_load(struct ko *ko, const char *path, const char *cpufeatures)
{
	int fd = open(path, O_RDONLY), i;
	const Elf64_Ehdr *eh;
	const Elf64_Shdr *sh;
	const uint8_t *file;
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		die("%s cannot be read", path);
	file = mmap(NULL, st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	eh = (const void *)file;
	if (file == MAP_FAILED || st.st_size < (off_t)sizeof(*eh) ||
	    memcmp(eh->e_ident, ELFMAG, SELFMAG) || eh->e_type != ET_REL)
		die("%s is no module", path);
	sh = (const void *)(file + eh->e_shoff);
	ko->nr = eh->e_shnum;
	ko->secs = calloc(ko->nr, sizeof(*ko->secs));
	for (i = 0; i < ko->nr; i++) {
		ko->secs[i].name = (const char *)file + sh[eh->e_shstrndx].sh_offset + sh[i].sh_name;
		ko->secs[i].size = sh[i].sh_size;
		if (sh[i].sh_type == SHT_PROGBITS)
			ko->secs[i].data = file + sh[i].sh_offset;
		if (sh[i].sh_type == SHT_SYMTAB) {
			ko->syms = (const void *)(file + sh[i].sh_offset);
			ko->nr_syms = sh[i].sh_size / sizeof(*ko->syms);
			ko->strings = (const char *)file + sh[sh[i].sh_link].sh_offset;
		}
	}
	for (i = 0; i < ko->nr; i++)
		if (sh[i].sh_type == SHT_RELA)
			read_relocs(ko, file, &sh[i]);
	read_flags(ko, cpufeatures);
	read_alternatives(ko);
}

bool ko_names_site(const struct ko *ko, const char *name, int sec, uint64_t at)
{
	const struct section *s = &ko->secs[find_section(ko, name)];
	int i;

	for (i = 0; i < s->nr; i++)
		if (!sec || (s->relocs[i].sec == sec && (uint64_t)s->relocs[i].off == at))
			return true;
	return false;
}

static bool wanted(const struct code *c, const struct alt *a)
{
	bool have = false;
	int f;

	for (f = 0; f < FLAGS; f++)
		if (c->ko->ids[f] == a->id && (c->flags & 1U << f))
			have = true;
	return have != a->invert && !a->direct_call;
}

bool code_is_unknown(const struct code *c)
{
	const struct insn *first = &c->insns[c->start], *last = &c->insns[c->start + c->nr_own - 1];
	int i, f;

	for (i = 0; i < c->ko->nr_alts; i++) {
		const struct alt *a = &c->ko->alts[i];

		if (a->sec != c->sec || a->at < first->at || a->at > last->at)
			continue;
		for (f = 0; f < FLAGS && c->ko->ids[f] != a->id; f++)
			;
		if (f == FLAGS)
			return true;
	}
	return false;
}

/* As apply_alternatives() does, but that references stay symbolic, and move with the bytes. */
static void patch(struct code *c, int sec)
{
	const struct section *s = &c->ko->secs[sec];
	struct reloc *relocs;
	int i, k, n = s->nr;

	c->image[sec] = malloc(s->size);
	memcpy(c->image[sec], s->data, s->size);
	relocs = calloc(s->nr + 4 * c->ko->nr_alts, sizeof(*relocs));
	memcpy(relocs, s->relocs, s->nr * sizeof(*relocs));
	for (i = 0; i < c->ko->nr_alts; i++) {
		const struct alt *a = &c->ko->alts[i];
		const struct section *from = &c->ko->secs[a->repl_sec];

		if (a->sec != sec || !wanted(c, a))
			continue;
		memset(c->image[sec] + a->at, 0x90, a->len);
		memcpy(c->image[sec] + a->at, from->data + a->repl, a->repl_len);
		for (k = 0; k < n; k++)
			if (relocs[k].at >= a->at && relocs[k].at < a->at + a->len)
				relocs[k--] = relocs[--n];
		for (k = 0; k < from->nr; k++)
			if (from->relocs[k].at >= a->repl && from->relocs[k].at < a->repl + a->repl_len) {
				if (n >= s->nr + 4 * c->ko->nr_alts)
					die("too many relocations in alternatives");
				relocs[n] = from->relocs[k];
				relocs[n++].at += a->at - a->repl;
			}
	}
	qsort(relocs, n, sizeof(*relocs), by_place);
	c->relocs[sec] = relocs;
	c->nr_relocs[sec] = n;
}

static int find_insn(const struct code *c, int sec, uint64_t at)
{
	int i;

	for (i = 0; i < c->nr; i++)
		if (c->insns[i].sec == sec && c->insns[i].at == at)
			return i;
	return -1;
}

/* From `at` to `end`, or to where control does not go on. The number of the first one. */
static int decode_run(struct code *c, int sec, uint64_t at, uint64_t end)
{
	static ZydisDecoder decoder;
	int first = c->nr;

	if (!c->image[sec])
		patch(c, sec);
	ZydisDecoderInit(&decoder, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	while (at < (end ? end : c->ko->secs[sec].size) && find_insn(c, sec, at) < 0) {
		struct insn *in;

		c->insns = realloc(c->insns, (c->nr + 1) * sizeof(*in));
		in = &c->insns[c->nr++];
		memset(in, 0, sizeof(*in));
		in->sec = sec;
		in->at = at;
		in->next = in->target = in->label = in->handler = -1;
		if (ZYAN_FAILED(ZydisDecoderDecodeFull(&decoder, c->image[sec] + at,
						       c->ko->secs[sec].size - at, &in->z, in->op)))
			die("%s+%#lx is no instruction", c->ko->secs[sec].name, at);
		if (in->z.raw.disp.size)
			in->disp = reloc_at(c->relocs[sec], c->nr_relocs[sec], at + in->z.raw.disp.offset);
		if (in->z.raw.imm[0].size)
			in->imm = reloc_at(c->relocs[sec], c->nr_relocs[sec], at + in->z.raw.imm[0].offset);
		at += in->z.length;
		if (!end && (in->z.mnemonic == ZYDIS_MNEMONIC_JMP || in->z.mnemonic == ZYDIS_MNEMONIC_RET ||
			     in->z.mnemonic == ZYDIS_MNEMONIC_UD2))
			break;
	}
	return first;
}

bool insn_is_branch(const struct insn *in)
{
	return in->z.meta.category == ZYDIS_CATEGORY_COND_BR ||
	       in->z.meta.category == ZYDIS_CATEGORY_UNCOND_BR ||
	       in->z.meta.category == ZYDIS_CATEGORY_CALL;
}

/* Where a direct branch or a LEA of code goes; false: out of the module, or nowhere. */
static bool place_of(const struct insn *in, int *sec, uint64_t *at)
{
	bool lea = in->z.mnemonic == ZYDIS_MNEMONIC_LEA && in->op[1].mem.base == ZYDIS_REGISTER_RIP;
	const struct reloc *r = lea ? in->disp : in->imm;
	int64_t rel = lea ? in->op[1].mem.disp.value : in->op[0].imm.value.s;

	if (!lea && (!insn_is_branch(in) || in->op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE))
		return false;
	if (r && !r->sec)
		return false;
	*sec = r ? r->sec : in->sec;
	*at = r ? r->off + 4 : in->at + in->z.length + rel;
	return true;
}

/*
 * The other place of a table's entry for that instruction: of its exceptions, or
 * of the jumps that static keys make. Both have two relative references; STEP
 * is the entry's relocations.
 */
static const struct reloc *other_place(const struct code *c, const struct insn *in,
				       const char *table, int step)
{
	const struct section *t = &c->ko->secs[find_section(c->ko, table)];
	int i;

	for (i = 0; i + 1 < t->nr; i += step)
		if (t->relocs[i].sec == in->sec && (uint64_t)t->relocs[i].off == in->at)
			return &t->relocs[i + 1];
	return NULL;
}

static void link_insns(struct code *c)
{
	int i;

	for (i = 0; i < c->nr; i++) {
		const struct reloc *label = other_place(c, &c->insns[i], "__jump_table", 3);
		const struct reloc *handler = other_place(c, &c->insns[i], "__ex_table", 2);
		uint64_t at;
		int sec;

		if (label)
			c->insns[i].label = find_insn(c, label->sec, label->off);
		if (handler)
			c->insns[i].handler = find_insn(c, handler->sec, handler->off);
		c->insns[i].next = find_insn(c, c->insns[i].sec, c->insns[i].at + c->insns[i].z.length);
		if (place_of(&c->insns[i], &sec, &at))
			c->insns[i].target = find_insn(c, sec, at);
	}
}

/* Is that place a function's start? Then it is called, and not a part of this one. */
static bool starts_function(const struct ko *ko, int sec, uint64_t at)
{
	int i;

	for (i = 0; i < ko->nr_syms; i++)
		if (ELF64_ST_TYPE(ko->syms[i].st_info) == STT_FUNC && ko->syms[i].st_shndx == sec &&
		    ko->syms[i].st_value == at && !strstr(ko->strings + ko->syms[i].st_name, ".cold"))
			return true;
	return false;
}

static void code_of(struct code *c, const Elf64_Sym *sym)
{
	const struct reloc *r;
	uint64_t at;
	int i, sec;

	c->sec = sym->st_shndx;
	c->start = decode_run(c, c->sec, sym->st_value, sym->st_value + sym->st_size);
	c->nr_own = c->nr;
	/* Its cold part is elsewhere. */
	for (i = 0; i < c->nr; i++) {
		r = other_place(c, &c->insns[i], "__jump_table", 3);
		if (r && find_insn(c, r->sec, r->off) < 0)
			decode_run(c, r->sec, r->off, 0);
		if (place_of(&c->insns[i], &sec, &at) && c->insns[i].z.mnemonic != ZYDIS_MNEMONIC_LEA &&
		    find_insn(c, sec, at) < 0 && !starts_function(c->ko, sec, at))
			decode_run(c, sec, at, 0);
	}
	link_insns(c);
}

void code_free(struct code *c)
{
	int i;

	for (i = 0; i < (int)ARRAY_SIZE(c->image); i++) {
		free(c->image[i]);
		free(c->relocs[i]);
	}
	free(c->insns);
	memset(c, 0, sizeof(*c));
}

void code_read(struct code *c, const struct ko *ko, uint32_t flags, const char *name,
	       const char *calls)
{
	int i, n;

	for (i = 0; i < ko->nr_syms; i++) {
		const Elf64_Sym *sym = &ko->syms[i];

		if (ELF64_ST_TYPE(sym->st_info) != STT_FUNC || strcmp(ko->strings + sym->st_name, name))
			continue;
		if (sym->st_shndx >= ARRAY_SIZE(c->image))
			die("%s is in section %d", name, sym->st_shndx);
		memset(c, 0, sizeof(*c));
		c->ko = ko;
		c->flags = flags | FLAG(ALWAYS);
		code_of(c, sym);
		for (n = 0; n < c->nr; n++)
			if (!calls || insn_calls(c, n, calls))
				return;
		code_free(c);
	}
	die("no function %s%s%s", name, calls ? " that calls " : "", calls ? calls : "");
}

const char *insn_goes_to(const struct insn *in)
{
	const struct reloc *r = in->imm ? in->imm : in->disp;

	return insn_is_branch(in) && r && !r->sec ? r->name : "";
}

bool insn_calls(const struct code *c, int i, const char *name)
{
	const struct insn *in = &c->insns[i];
	const struct ko *ko = c->ko;
	uint64_t at;
	int k, sec;

	if (in->gone || in->z.meta.category != ZYDIS_CATEGORY_CALL)
		return false;
	if (!strcmp(insn_goes_to(in), name))
		return true;
	for (k = 0; place_of(in, &sec, &at) && k < ko->nr_syms; k++)
		if (ko->syms[k].st_shndx == sec && ko->syms[k].st_value == at &&
		    !strcmp(ko->strings + ko->syms[k].st_name, name))
			return true;
	return false;
}

const char *code_text(const struct code *c, int i)
{
	static char text[160];
	const struct insn *in = &c->insns[i];
	const struct reloc *r = in->imm ? in->imm : in->disp;
	static ZydisFormatter formatter;
	char buf[96] = "?";

	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_ATT);
	ZydisFormatterFormatInstruction(&formatter, &in->z, in->op, in->z.operand_count_visible,
					buf, sizeof(buf), in->at, NULL);
	snprintf(text, sizeof(text), "%s%s%s%s at %s+%#lx", buf, r && *r->name ? " (" : "",
		 r && *r->name ? r->name : "", r && *r->name ? ")" : "", c->ko->secs[in->sec].name, in->at);
	return text;
}
