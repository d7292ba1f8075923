// SPDX-License-Identifier: GPL-2.0
/*
 * Sequences in files. Of each call a line: the thread (0: before the others start), its name, and
 * what is not as usual: on=, obj=, base=, a=, b=, where=, grow=, and patches OFFSET:SIZE=VALUE.
 * Empty lines and what is behind # say nothing.
 */
#include <stdlib.h>
#include <string.h>
#include "ioctl.h"

void seq_print(FILE *f, const struct seq *s)
{
	for (uint32_t i = 0; i < s->ops; i++) {
		const struct op *op = &s->op[i];

		fprintf(f, "%u %s", op->thread, op_info[op->kind].name);
		if (op->on != op_info[op->kind].on)
			fprintf(f, " on=%u", op->on);
		if (op->obj)
			fprintf(f, " obj=%u", op->obj);
		if (op->base)
			fprintf(f, " base=%u", op->base);
		if (op->a)
			fprintf(f, " a=%#llx", (unsigned long long)op->a);
		if (op->b)
			fprintf(f, " b=%#llx", (unsigned long long)op->b);
		if (op->where)
			fprintf(f, " where=%u", op->where);
		if (op->grow)
			fprintf(f, " grow=%d", op->grow);
		for (int p = 0; p < op->patches; p++)
			fprintf(f, " %u:%u=%#llx", op->patch[p].off, op->patch[p].size,
				(unsigned long long)op->patch[p].val);
		fputc('\n', f);
	}
	fflush(f);
}

static bool parse_patch(const char *word, struct op *op)
{
	struct patch *p = &op->patch[op->patches];
	unsigned int off, size;
	int n = 0;

	if (op->patches == MAX_PATCHES || sscanf(word, "%u:%u=%n", &off, &size, &n) < 2 || !n)
		return false;
	p->off = off;
	p->size = size;
	p->val = strtoull(word + n, NULL, 0);
	op->patches++;
	return size == 1 || size == 2 || size == 4 || size == 8;
}

static bool parse_word(const char *word, struct op *op)
{
	const char *eq = strchr(word, '=');
	uint64_t val;

	if (!eq)
		return false;
	val = strtoull(eq + 1, NULL, 0);
#define NUMBER(name)	if (!strncmp(word, #name "=", sizeof(#name))) { op->name = val; return true; }
	NUMBER(on) NUMBER(obj) NUMBER(base) NUMBER(a) NUMBER(b) NUMBER(where) NUMBER(grow)
#undef NUMBER
	return parse_patch(word, op);
}

static bool parse_line(char *line, struct seq *s)
{
	char *save, *word = strtok_r(line, " \t\r", &save);
	struct op *op = &s->op[s->ops];

	if (!word)
		return true;
	if (s->ops == MAX_OPS)
		return false;
	memset(op, 0, sizeof(*op));
	op->thread = atoi(word);
	word = strtok_r(NULL, " \t\r", &save);
	if (!word || op->thread > THREADS)
		return false;
	while (op->kind < OP_KINDS && strcmp(op_info[op->kind].name, word))
		op->kind++;
	if (op->kind == OP_KINDS)
		return false;
	op->on = op_info[op->kind].on;
	while ((word = strtok_r(NULL, " \t\r", &save)))
		if (!parse_word(word, op))
			return false;
	s->ops++;
	return op->on <= ON_NONE && op->where < WHERES;
}

int seq_parse(const char *text, struct seq *s)
{
	char *copy = strdup(text), *at = copy, *line;
	int n = 0, wrong = 0;

	memset(s, 0, sizeof(*s));
	while (!wrong && (line = strsep(&at, "\n"))) {
		n++;
		line[strcspn(line, "#")] = 0;
		if (!parse_line(line, s))
			wrong = n;
	}
	free(copy);
	return wrong;
}
