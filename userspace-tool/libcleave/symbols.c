// SPDX-License-Identifier: GPL-2.0
/*
 * libcleave: code symbols of a kernel, from System.map or from the symbol table
 * of an ELF file. Every offset and size of the file is checked before it is used.
 */
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "libcleave.h"

#define MAP_MAX		(64ULL << 20)	/* bytes of a System.map */
#define TABLE_MAX	(256ULL << 20)	/* bytes of an ELF file's table */
#define SYMBOLS_MAX	(4U << 20)
#define NAME_MAX_LEN	511U
/* A symbol without a size ends here at the latest. */
#define REACH		(1ULL << 20)

struct symbol {
	uint64_t address, size;		/* size 0: not known */
	size_t name;			/* in names */
	unsigned int rank;		/* of two at one address the lower one is shown */
};

struct cleave_symbols {
	struct symbol *list;		/* by address */
	size_t count, room;
	char *names;
	size_t names_len, names_room;
};

struct file {
	int fd;
	uint64_t size;
	const char *path;
	char *err;
	size_t errlen;
};

static int fail(struct file *f, int error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct file *f, int error, const char *fmt, ...)
{
	va_list ap;
	int n = snprintf(f->err, f->errlen, "symbols %s: ", f->path);

	if (n >= 0 && (size_t)n < f->errlen) {
		va_start(ap, fmt);
		vsnprintf(f->err + n, f->errlen - n, fmt, ap);
		va_end(ap);
	}
	return error;
}

static int damaged(struct file *f, const char *what)
{
	return fail(f, -ENOEXEC, "%s makes no sense: the file is damaged; copy it again", what);
}

static void *grow(void *p, size_t *room, size_t need, size_t unit)
{
	size_t n = *room ? *room : 1024;

	while (n < need)
		n *= 2;
	if (n == *room)
		return p;
	p = realloc(p, n * unit);
	if (p)
		*room = n;
	return p;
}

/* Names that no linker writes are left out. */
static bool printable(const char *name, size_t len)
{
	if (!len || len > NAME_MAX_LEN)
		return false;
	for (size_t i = 0; i < len; i++)
		if (name[i] <= ' ' || name[i] > '~')
			return false;
	return true;
}

static int add(struct file *f, struct cleave_symbols *s, struct symbol sym, const char *name,
	       size_t len)
{
	void *p;

	if (!printable(name, len))
		return 0;
	if (s->count == SYMBOLS_MAX)
		return fail(f, -EFBIG, "more than %u symbols; give a kernel's own file", SYMBOLS_MAX);
	p = grow(s->list, &s->room, s->count + 1, sizeof(*s->list));
	if (!p)
		return fail(f, -ENOMEM, "out of memory; free some");
	s->list = p;
	p = grow(s->names, &s->names_room, s->names_len + len + 1, 1);
	if (!p)
		return fail(f, -ENOMEM, "out of memory; free some");
	s->names = p;
	sym.name = s->names_len;
	memcpy(s->names + s->names_len, name, len);
	s->names[s->names_len + len] = 0;
	s->names_len += len + 1;
	s->list[s->count++] = sym;
	return 0;
}

/* [off, off + len) of the file in new memory, with a zero byte behind it. */
static int slurp(struct file *f, uint64_t off, uint64_t len, const char *what, char **buf)
{
	uint64_t done = 0;

	*buf = NULL;
	if (off > f->size || len > f->size - off)
		return damaged(f, what);
	if (len > TABLE_MAX)
		return fail(f, -EFBIG, "%s has %llu bytes, more than any kernel's; give vmlinux or System.map",
			    what, (unsigned long long)len);
	*buf = malloc(len + 1);
	if (!*buf)
		return fail(f, -ENOMEM, "out of memory; free some");
	while (done < len) {
		ssize_t n = pread(f->fd, *buf + done, len - done, off + done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			free(*buf);
			*buf = NULL;
			return n < 0 ? fail(f, -errno, "cannot be read: %s", strerror(errno)) :
				fail(f, -EIO, "became shorter while it was read; try again");
		}
		done += n;
	}
	(*buf)[len] = 0;
	return 0;
}

/*
 * ---- System.map: "ffffffff81000000 T _text" a line, as in /proc/kallsyms, where
 * the name of a module may follow
 */

/* False: this line is none of a System.map. */
static bool map_line(const char *line, size_t len, struct symbol *sym, char *type,
		     const char **name, size_t *name_len)
{
	const char *end;
	size_t i = 0;

	sym->address = 0;
	for (; i < len && i < 16; i++) {
		char c = line[i];
		int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

		if (digit < 0)
			break;
		sym->address = sym->address << 4 | digit;
	}
	if (i < 8 || len < i + 4 || line[i] != ' ' || line[i + 2] != ' ')
		return false;
	*type = line[i + 1];
	*name = line + i + 3;
	end = memchr(*name, '\t', len - i - 3);
	*name_len = end ? end - *name : (ssize_t)(len - i - 3);
	return true;
}

static int read_map(struct file *f, struct cleave_symbols *s)
{
	char *text, *p, *end;
	int ret = 0;

	if (f->size > MAP_MAX)
		return fail(f, -EFBIG, "%llu bytes are too many for a System.map, and it is no ELF file; give vmlinux or System.map",
			    (unsigned long long)f->size);
	ret = slurp(f, 0, f->size, "the text", &text);
	for (p = text; !ret && p < text + f->size; p = end + 1) {
		const char *name;
		struct symbol sym = { 0 };
		size_t len;
		char type;

		end = memchr(p, '\n', text + f->size - p);
		if (!end)
			end = text + f->size;
		if (end == p)
			continue;
		if (!map_line(p, end - p, &sym, &type, &name, &len)) {
			ret = fail(f, -ENOEXEC, "neither an ELF file nor a System.map (lines of address, type, name); give vmlinux or System.map");
			break;
		}
		sym.rank = type == 'T' ? 0 : 1;
		/* Code alone: addresses of per-CPU data are small numbers. */
		if (strchr("TtWw", type))
			ret = add(f, s, sym, name, len);
	}
	free(text);
	return ret;
}

/* ---- ELF ---------------------------------------------------------------------------- */

struct elf {
	Elf64_Ehdr head;
	Elf64_Shdr *section;
	char *section_memory;
	char *table, *strings;
	uint64_t count, strings_len;
};

static int read_sections(struct file *f, struct elf *e)
{
	char *head;
	int ret = slurp(f, 0, sizeof(e->head), "the ELF header", &head);

	if (ret)
		return ret;
	memcpy(&e->head, head, sizeof(e->head));
	free(head);
	if (e->head.e_ident[EI_CLASS] != ELFCLASS64 || e->head.e_ident[EI_DATA] != ELFDATA2LSB ||
	    e->head.e_machine != EM_X86_64)
		return fail(f, -ENOEXEC, "an ELF file, but not for 64-bit x86; give the guest's own vmlinux or System.map");
	if (!e->head.e_shnum || e->head.e_shentsize != sizeof(Elf64_Shdr))
		return fail(f, -ENOENT, "has no sections, so no symbols (stripped?); give an unstripped vmlinux, or System.map");
	ret = slurp(f, e->head.e_shoff, (uint64_t)e->head.e_shnum * sizeof(Elf64_Shdr),
		    "the section table", &e->section_memory);
	e->section = (Elf64_Shdr *)e->section_memory;
	return ret;
}

static int read_tables(struct file *f, struct elf *e)
{
	const Elf64_Shdr *table = NULL, *strings;
	unsigned int i;
	int ret;

	for (i = 0; i < e->head.e_shnum && !table; i++)
		if (e->section[i].sh_type == SHT_SYMTAB)
			table = &e->section[i];
	if (!table)
		return fail(f, -ENOENT, "has no symbol table (stripped?); give an unstripped vmlinux, or System.map");
	if (table->sh_entsize != sizeof(Elf64_Sym) || table->sh_link >= e->head.e_shnum)
		return damaged(f, "the symbol table's header");
	strings = &e->section[table->sh_link];
	if (strings->sh_type != SHT_STRTAB)
		return damaged(f, "the string table's header");
	ret = slurp(f, table->sh_offset, table->sh_size, "the symbol table", &e->table);
	if (!ret)
		ret = slurp(f, strings->sh_offset, strings->sh_size, "the string table", &e->strings);
	e->count = table->sh_size / sizeof(Elf64_Sym);
	e->strings_len = strings->sh_size;
	return ret;
}

/* Functions, and the labels of assembly beside them. */
static bool is_code(const struct elf *e, const Elf64_Sym *sym)
{
	unsigned int type = ELF64_ST_TYPE(sym->st_info);

	return (type == STT_FUNC || type == STT_NOTYPE) && sym->st_shndx < e->head.e_shnum &&
	       sym->st_shndx != SHN_UNDEF && (e->section[sym->st_shndx].sh_flags & SHF_EXECINSTR);
}

static int read_elf(struct file *f, struct cleave_symbols *s)
{
	struct elf e = { 0 };
	uint64_t i;
	int ret = read_sections(f, &e);

	if (!ret)
		ret = read_tables(f, &e);
	for (i = 0; !ret && i < e.count; i++) {
		struct symbol sym = { 0 };
		Elf64_Sym in;

		memcpy(&in, e.table + i * sizeof(in), sizeof(in));
		if (in.st_name >= e.strings_len || !is_code(&e, &in))
			continue;
		sym.address = in.st_value;
		sym.size = in.st_size;
		sym.rank = (ELF64_ST_TYPE(in.st_info) == STT_NOTYPE) * 2 +
			   (ELF64_ST_BIND(in.st_info) == STB_LOCAL);
		/* slurp() ended the strings with a zero byte. */
		ret = add(f, s, sym, e.strings + in.st_name,
			  strnlen(e.strings + in.st_name, NAME_MAX_LEN + 1));
	}
	free(e.section_memory);
	free(e.table);
	free(e.strings);
	return ret;
}

/* ---- */

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	if (x->address != y->address)
		return x->address < y->address ? -1 : 1;
	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	return x->name < y->name ? -1 : x->name > y->name;
}

static int open_file(struct file *f)
{
	struct stat st;

	f->fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (f->fd < 0)
		return fail(f, -errno, "%s; check the path and its permissions", strerror(errno));
	if (fstat(f->fd, &st))
		return fail(f, -errno, "%s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return fail(f, -EINVAL, "not a regular file; name vmlinux or System.map itself");
	f->size = st.st_size;
	return 0;
}

static int read_any(struct file *f, struct cleave_symbols *s)
{
	char magic[SELFMAG] = "";
	int ret;

	if (pread(f->fd, magic, SELFMAG, 0) == SELFMAG && !memcmp(magic, ELFMAG, SELFMAG))
		ret = read_elf(f, s);
	else
		ret = read_map(f, s);
	if (!ret && !s->count)
		ret = fail(f, -ENOENT, "holds no symbol of code; give the guest's vmlinux or System.map");
	return ret;
}

int cleave_symbols_open(const char *path, struct cleave_symbols **symbols, char *err,
			size_t errlen)
{
	struct file f = { .fd = -1, .path = path, .err = err, .errlen = errlen };
	struct cleave_symbols *s = calloc(1, sizeof(*s));
	int ret;

	*symbols = NULL;
	if (!s)
		return fail(&f, -ENOMEM, "out of memory; free some");
	ret = open_file(&f);
	if (!ret)
		ret = read_any(&f, s);
	if (f.fd >= 0)
		close(f.fd);
	if (ret) {
		cleave_symbols_free(s);
		return ret;
	}
	qsort(s->list, s->count, sizeof(*s->list), by_address);
	*symbols = s;
	return 0;
}

void cleave_symbols_free(struct cleave_symbols *s)
{
	if (!s)
		return;
	free(s->list);
	free(s->names);
	free(s);
}

size_t cleave_symbols_count(const struct cleave_symbols *s)
{
	return s->count;
}

/* How many of them are below address. */
static size_t below(const struct cleave_symbols *s, uint64_t address)
{
	size_t low = 0, high = s->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (s->list[middle].address < address)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

const char *cleave_symbols_find(const struct cleave_symbols *s, uint64_t address, uint64_t *offset)
{
	size_t n = address == UINT64_MAX ? s->count : below(s, address + 1);
	const struct symbol *sym;

	if (!n)
		return NULL;
	/* The first of those at that address. */
	sym = &s->list[below(s, s->list[n - 1].address)];
	*offset = address - sym->address;
	if (*offset >= (sym->size ? sym->size : REACH))
		return NULL;
	return s->names + sym->name;
}

bool cleave_symbols_address(const struct cleave_symbols *s, const char *name, uint64_t *address)
{
	for (size_t i = 0; i < s->count; i++) {
		if (!strcmp(s->names + s->list[i].name, name)) {
			*address = s->list[i].address;
			return true;
		}
	}
	return false;
}
