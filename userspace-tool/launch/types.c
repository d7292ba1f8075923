// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "types.h"

#define LINE_MAX_LEN	200

enum unit { PLAIN, PERCENT, BYTES };

static const struct key {
	const char *name;
	enum unit unit;
	uint64_t min, max;
	bool demanded;
} keys[] = {
	{ "vcpus",		PLAIN,	 1, TYPES_VCPUS_MAX, true },
	{ "memory",		BYTES,	 TYPES_MEMORY_MIN, TYPES_MEMORY_MAX, true },
	{ "cpu-share",		PERCENT, 1, 100, false },
	{ "cpu-burst",		PERCENT, 1, 100, false },
	{ "disk-rate",		BYTES,	 TYPES_RATE_MIN, TYPES_RATE_MAX, false },
	{ "network-rate",	BYTES,	 TYPES_RATE_MIN, TYPES_RATE_MAX, false },
};

enum { VCPUS, MEMORY, SHARE, BURST, DISK, NETWORK, KEYS };

struct parser {
	struct types *types;
	unsigned int line, header;	/* header: the line of the section's */
	uint64_t value[KEYS];
	bool given[KEYS];
	char *err;
	size_t errlen;
};

static int fail(struct parser *p, unsigned int line, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct parser *p, unsigned int line, const char *fmt, ...)
{
	int n = snprintf(p->err, p->errlen, "line %u: ", line);
	va_list ap;

	if (n < 0 || (size_t)n >= p->errlen)
		return -EINVAL;
	va_start(ap, fmt);
	vsnprintf(p->err + n, p->errlen - n, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static bool blank(char c)
{
	return c == ' ' || c == '\t';
}

/* In place, what surrounds text taken away. */
static char *trim(char *text)
{
	char *end;

	while (blank(*text))
		text++;
	end = text + strlen(text);
	while (end > text && blank(end[-1]))
		end--;
	*end = 0;
	return text;
}

/* What errors quote of it may go to a terminal. */
static bool is_text(const char *line, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++)
		if (((unsigned char)line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f)
			return false;
	return true;
}

static bool is_name(const char *text)
{
	size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return n && !text[n] && n <= TYPES_NAME_MAX && *text != '.' && *text != '-';
}

/* Digits, and a unit; anything else is none. */
static bool number(const char *text, enum unit unit, uint64_t *value)
{
	static const char letters[] = "KMGT";
	const char *p = text, *letter;
	uint64_t n = 0;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(n, 10, &n) || __builtin_add_overflow(n, *p - '0', &n))
			return false;
	if (p == text)
		return false;
	if (unit == PERCENT && *p == '%')
		p++;
	letter = unit == BYTES && *p ? strchr(letters, *p) : NULL;
	if (letter) {
		if (__builtin_mul_overflow(n, 1ULL << (10 * (letter - letters + 1)), &n))
			return false;
		p++;
	}
	*value = n;
	return !*p;
}

/* The section that ends here is whole. */
static int finish(struct parser *p)
{
	struct instance_type *t;
	unsigned int i;

	if (!p->types->count)
		return 0;
	t = &p->types->type[p->types->count - 1];
	for (i = 0; i < KEYS; i++)
		if (keys[i].demanded && !p->given[i])
			return fail(p, p->header, "[%s] has no %s: add a line `%s = N`", t->name,
				    keys[i].name, keys[i].name);
	t->vcpus = p->value[VCPUS];
	t->memory = p->value[MEMORY];
	/* Alone, each says the other: what is not limited is one's own. */
	t->burst = p->given[BURST] ? p->value[BURST] : 100;
	t->share = p->given[SHARE] ? p->value[SHARE] : t->burst;
	t->disk_rate = p->value[DISK];
	t->network_rate = p->value[NETWORK];
	if (t->share > t->burst)
		return fail(p, p->header, "[%s] has a cpu-share of %u, more than its cpu-burst of %u: "
			    "raise the one or lower the other", t->name, t->share, t->burst);
	/* As the kernel maps it. */
	if (t->memory % 4096)
		return fail(p, p->header, "[%s] has a memory that is no whole number of 4 KiB pages",
			    t->name);
	return 0;
}

static int section(struct parser *p, char *line)
{
	char *end = strchr(line, ']'), *name;
	int ret = finish(p);

	if (ret)
		return ret;
	if (!end || *trim(end + 1))
		return fail(p, p->line, "a type begins with its name in brackets alone, as [small]");
	*end = 0;
	name = trim(line + 1);
	if (!is_name(name))
		return fail(p, p->line, "\"%.40s\" cannot be a type's name: 1 to %u letters, digits, '.', '_', '-'",
			    name, TYPES_NAME_MAX);
	if (types_find(p->types, name))
		return fail(p, p->line, "[%s] is there already: take one of them away", name);
	if (p->types->count == TYPES_MAX)
		return fail(p, p->line, "more than %u types", TYPES_MAX);
	p->header = p->line;
	memset(p->given, 0, sizeof(p->given));
	memset(p->value, 0, sizeof(p->value));
	strcpy(p->types->type[p->types->count++].name, name);
	return 0;
}

static int bad_value(struct parser *p, const struct key *key, const char *text)
{
	static const char *const what[] = { "a number", "per cent", "bytes, with K, M, G or T" };
	uint64_t min = key->min, max = key->max;
	const char *unit = "";

	if (key->unit == BYTES && min >= 1 << 20) {
		min >>= 20;
		max >>= 20;
		unit = "M";
	} else if (key->unit == BYTES) {
		min >>= 10;
		max >>= 10;
		unit = "K";
	}
	return fail(p, p->line, "%s = %.40s: want %s, %llu%s to %llu%s", key->name, text, what[key->unit],
		    (unsigned long long)min, unit, (unsigned long long)max, unit);
}

static int assignment(struct parser *p, char *line)
{
	char *equals = strchr(line, '='), *name, *text;
	unsigned int i;

	if (!equals)
		return fail(p, p->line, "\"%.40s\": want `key = value`, or a type's [name]", line);
	*equals = 0;
	name = trim(line);
	text = trim(equals + 1);
	for (i = 0; i < KEYS && strcmp(name, keys[i].name); i++)
		;
	if (i == KEYS)
		return fail(p, p->line, "there is no key \"%.40s\": vcpus, memory, cpu-share, cpu-burst, disk-rate, network-rate",
			    name);
	if (!p->types->count)
		return fail(p, p->line, "%s stands before the first type's [name]", name);
	if (p->given[i])
		return fail(p, p->line, "%s is there already in [%s]: take one of them away", name,
			    p->types->type[p->types->count - 1].name);
	if (!number(text, keys[i].unit, &p->value[i]) || p->value[i] < keys[i].min ||
	    p->value[i] > keys[i].max)
		return bad_value(p, &keys[i], text);
	p->given[i] = true;
	return 0;
}

static int parse_line(struct parser *p, char *line)
{
	char *comment = strchr(line, '#');

	if (comment)
		*comment = 0;
	line = trim(line);
	if (!*line)
		return 0;
	return *line == '[' ? section(p, line) : assignment(p, line);
}

int types_parse(const char *text, size_t len, struct types *t, char *err, size_t errlen)
{
	struct parser p = { .types = t, .err = err, .errlen = errlen };
	const char *end = text + len;
	int ret;

	memset(t, 0, sizeof(*t));
	while (text < end) {
		const char *nl = memchr(text, '\n', end - text);
		size_t n = (nl ? nl : end) - text;
		char line[LINE_MAX_LEN + 1];

		p.line++;
		if (n > LINE_MAX_LEN)
			return fail(&p, p.line, "longer than %u characters", LINE_MAX_LEN);
		memcpy(line, text, n);
		if (n && line[n - 1] == '\r')
			n--;
		line[n] = 0;
		ret = is_text(line, n) ? parse_line(&p, line) :
		      fail(&p, p.line, "has a control character in it: this is no text");
		if (ret)
			return ret;
		text = nl ? nl + 1 : end;
	}
	ret = finish(&p);
	if (!ret && !t->count)
		ret = fail(&p, p.line, "no type: a section such as [small] is one");
	return ret;
}

int types_load(const char *path, struct types *t, char *err, size_t errlen)
{
	char text[TYPES_FILE_MAX + 1], why[256];
	size_t len = 0;
	ssize_t n = 1;
	int fd, ret = 0;

	/* A FIFO must not keep us waiting. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	while (fd >= 0 && n > 0 && len < sizeof(text)) {
		n = read(fd, text + len, sizeof(text) - len);
		len += n > 0 ? n : 0;
	}
	if (fd < 0 || n < 0)
		ret = -errno;
	if (fd >= 0)
		close(fd);
	if (ret) {
		snprintf(err, errlen, "%s: %s", path, strerror(-ret));
		return ret;
	}
	if (len > TYPES_FILE_MAX) {
		snprintf(err, errlen, "%s: longer than %u bytes", path, TYPES_FILE_MAX);
		return -EFBIG;
	}
	ret = types_parse(text, len, t, why, sizeof(why));
	if (ret)
		snprintf(err, errlen, "%s: %s", path, why);
	return ret;
}

const struct instance_type *types_find(const struct types *t, const char *name)
{
	unsigned int i;

	for (i = 0; i < t->count; i++)
		if (!strcmp(t->type[i].name, name))
			return &t->type[i];
	return NULL;
}
