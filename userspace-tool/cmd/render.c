// SPDX-License-Identifier: GPL-2.0
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "cmd.h"
#include "render.h"

#define NAME_COLUMNS	48	/* a longer function's name moves its own line alone */

void render_print(FILE *f, const char *fmt, ...)
{
	char line[1024], *p;
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	/* Cut, it is a line all the same. */
	if (n >= (int)sizeof(line) && fmt[strlen(fmt) - 1] == '\n')
		line[sizeof(line) - 2] = '\n';
	for (p = line; *p; p++)
		if ((*p < ' ' || *p > '~') && !(*p == '\n' && !p[1]))
			*p = '?';
	fputs(line, f);
}

/* "  key           text": nothing if there is no text. */
static void put_line(FILE *f, const char *key, const char *text)
{
	if (text)
		render_print(f, "  %-13s %s\n", key, text);
}

static const char *text_or(struct json_object *o, const char *key, const char *otherwise)
{
	const char *text = doc_get_text(o, key);

	return text ? text : otherwise;
}

static void put_head(FILE *f, struct json_object *doc)
{
	const char *status = text_or(doc, "status", "?"), *name = text_or(doc, "name", "?");

	if (!strcmp(status, "dead"))
		render_print(f, "cleave: %s: the guest died\n", name);
	else if (!strcmp(status, "halted"))
		render_print(f, "cleave: %s: halted: %s for an interrupt\n", name,
			     doc_length(doc, "vcpus") > 1 ? "all its CPUs wait" : "its CPU waits");
	else
		render_print(f, "cleave: %s: %s\n", name, status);
}

static void put_why(FILE *f, struct json_object *why)
{
	struct json_object *rule = doc_get_object(why, "rule"), *exit = doc_get_object(why, "exit");
	struct json_object *hint;
	size_t i;

	put_line(f, "what", doc_get_text(why, "what"));
	if (rule) {
		render_print(f, "  %-13s %s: %s\n", "rule", text_or(rule, "section", "?"),
			     text_or(rule, "field", "?"));
		put_line(f, "value", doc_get_text(rule, "value"));
		put_line(f, "legal", doc_get_text(rule, "legal"));
	}
	put_line(f, "access", doc_get_text(why, "access"));
	for (i = 0; i < doc_length(why, "hints"); i++) {
		hint = doc_element(why, "hints", i);
		put_line(f, "hint", json_object_get_string(hint));
	}
	if (exit)
		render_print(f, "  %-13s %s, reason %s, information %s %s\n", "exit",
			     text_or(exit, "name", "?"), text_or(exit, "reason", "?"),
			     text_or(exit, "information_1", "?"), text_or(exit, "information_2", "?"));
}

static void put_guest(FILE *f, struct json_object *doc)
{
	struct json_object *symbols = doc_get_object(doc, "symbols");

	render_print(f, "  %-13s %s, %" PRIu64 " MiB, %s, pid %" PRIu64 ", %s\n", "guest",
		     text_or(doc, "kernel", "?"), doc_get_count(doc, "memory") >> 20,
		     text_or(doc, "processor", "?"), doc_get_count(doc, "pid"),
		     text_or(doc, "time", "?"));
	if (symbols)
		render_print(f, "  %-13s %s, moved by %s: %s\n", "symbols", text_or(symbols, "file", "?"),
			     text_or(symbols, "slide", "?"), text_or(symbols, "slide_from", "?"));
}

static void put_event(FILE *f, const char *key, struct json_object *e)
{
	const char *name = doc_get_text(e, "name"), *code = doc_get_text(e, "error_code");
	const char *address = doc_get_text(e, "address");

	if (e)
		render_print(f, "  %-13s %s, vector %" PRIu64 "%s%s%s%s%s%s\n", key,
			     text_or(e, "type", "?"), doc_get_count(e, "vector"), name ? " " : "",
			     name ? name : "", code ? ", error code " : "", code ? code : "",
			     address ? ", address " : "", address ? address : "");
}

static void put_code(FILE *f, struct json_object *cpu)
{
	const char *bytes = doc_get_text(cpu, "bytes");

	render_print(f, "  %-13s %04" PRIx64 ":%016" PRIx64 ", %s\n", "at", doc_get_hex(cpu, "cs"),
		     doc_get_hex(cpu, "rip"), text_or(cpu, "leads_to", "?"));
	put_line(f, "symbol", doc_get_text(cpu, "symbol"));
	render_print(f, "  %-13s %s, %s, CPL %" PRIu64 "\n", "mode", text_or(cpu, "mode", "?"),
		     text_or(cpu, "paging", "?"), doc_get_count(cpu, "cpl"));
	render_print(f, "  %-13s %s%s%s\n", "instruction", bytes ? bytes : "", bytes && *bytes ? "  " : "",
		     text_or(cpu, "instruction", "?"));
	put_event(f, "in delivery", doc_get_object(cpu, "in_delivery"));
	put_event(f, "waiting", doc_get_object(cpu, "waiting"));
}

static void put_registers(FILE *f, struct json_object *cpu)
{
	static const char *const name[] = {
		"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11",
		"r12", "r13", "r14", "r15", "rip", "rflags", "cr0", "cr2", "cr3", "cr4", "cr8", "efer",
	};
	static const char *const segment[] = { "cs", "ss", "ds", "es", "fs", "gs", "tr", "ldt" };
	struct json_object *o = doc_get_object(cpu, "registers");
	struct json_object *gdt = doc_get_object(cpu, "gdt"), *idt = doc_get_object(cpu, "idt");
	size_t i;

	for (i = 0; i < ARRAY_SIZE(name); i++)
		render_print(f, "  %-6s %016" PRIx64 "%s", name[i], doc_get_hex(o, name[i]),
			     i % 3 == 2 ? "\n" : "");
	o = doc_get_object(cpu, "segments");
	for (i = 0; i < ARRAY_SIZE(segment); i++) {
		struct json_object *s = doc_get_object(o, segment[i]);

		render_print(f, "  %-3s %04" PRIx64 "  base %016" PRIx64 "  limit %08" PRIx64 "  ar %05" PRIx64 "%s\n",
			     segment[i], doc_get_hex(s, "selector"), doc_get_hex(s, "base"),
			     doc_get_hex(s, "limit"), doc_get_hex(s, "ar"),
			     doc_get_bool(s, "unusable") ? " unusable" : "");
	}
	render_print(f, "  gdt base %016" PRIx64 " limit %04" PRIx64 "   idt base %016" PRIx64 " limit %04" PRIx64 "\n",
		     doc_get_hex(gdt, "base"), doc_get_hex(gdt, "limit"), doc_get_hex(idt, "base"),
		     doc_get_hex(idt, "limit"));
}

/* "  key           12: name 10, other 2" */
static void put_counters(FILE *f, const char *key, uint64_t total, struct json_object *parts)
{
	const char *comma = "";

	render_print(f, "  %-13s %" PRIu64, key, total);
	if (parts) {
		json_object_object_foreach(parts, name, value) {
			render_print(f, "%s%s %" PRIu64, *comma ? comma : ": ", name,
				     json_object_get_uint64(value));
			comma = ", ";
		}
	}
	render_print(f, "\n");
}

/* names: columns that the names of functions take; 0: there are none. */
static void put_exit(FILE *f, struct json_object *e, size_t names)
{
	const char *about = doc_get_text(e, "about"), *to_user = doc_get_text(e, "to_user");
	const char *injected = doc_get_text(e, "injected"), *raised = doc_get_text(e, "raised");
	struct json_object *us;

	if (e && json_object_object_get_ex(e, "us_before_last", &us))
		render_print(f, "  %12s", json_object_get_string(us));
	else
		render_print(f, "  %12s", "?");
	render_print(f, "  %016" PRIx64, doc_get_hex(e, "rip"));
	if (names)
		render_print(f, " %-*s", (int)names, text_or(e, "symbol", ""));
	render_print(f, "  %-10s %s", text_or(e, "kind", "?"), text_or(e, "instruction", "?"));
	if (about)
		render_print(f, " | %s", about);
	if (injected)
		render_print(f, " | %s was injected", injected);
	if (raised)
		render_print(f, " | raised %s", raised);
	if (to_user)
		render_print(f, " | to user space: %s", to_user);
	render_print(f, "\n");
}

static void put_exits(FILE *f, struct json_object *cpu, size_t exits)
{
	struct json_object *c = doc_get_object(cpu, "counters");
	size_t n = doc_length(cpu, "last_exits"), names = 0, len, i, j;

	put_counters(f, "exits", doc_get_count(c, "exits"), doc_get_object(c, "kinds"));
	put_counters(f, "to user space", doc_get_count(c, "exits_to_user"),
		     doc_get_object(c, "to_user"));
	put_counters(f, "injected", doc_get_count(c, "events_injected"),
		     doc_get_object(c, "injected"));
	i = n > exits ? n - exits : 0;
	if (i == n)
		return;
	render_print(f, "  %-13s the last %zu of %" PRIu64 ", newest below: us before it, RIP, kind, instruction\n",
		     "last exits", n - i, doc_get_count(cpu, "recorded"));
	for (j = i; j < n; j++) {
		len = strlen(text_or(doc_element(cpu, "last_exits", j), "symbol", ""));
		names = len > names && len < NAME_COLUMNS ? len : names;
	}
	for (; i < n; i++)
		put_exit(f, doc_element(cpu, "last_exits", i), names);
}

static void put_cpu(FILE *f, struct json_object *cpu, size_t exits)
{
	put_code(f, cpu);
	put_registers(f, cpu);
	put_exits(f, cpu, exits);
}

/* A line of each CPU, where it is and in which state. */
static void put_cpus(FILE *f, struct json_object *doc)
{
	struct json_object *cpu;
	size_t i;

	for (i = 0; i < doc_length(doc, "vcpus"); i++) {
		cpu = doc_element(doc, "vcpus", i);
		render_print(f, "  CPU %-9" PRIu64 " %-13s %04" PRIx64 ":%016" PRIx64 "  %12" PRIu64 " exits  %s\n",
			     doc_get_count(cpu, "id"), text_or(cpu, "mp", "?"), doc_get_hex(cpu, "cs"),
			     doc_get_hex(cpu, "rip"),
			     doc_get_count(doc_get_object(cpu, "counters"), "exits"),
			     text_or(cpu, "symbol", text_or(cpu, "instruction", "?")));
	}
}

void render_report(FILE *f, struct json_object *doc, size_t exits, bool all)
{
	struct json_object *why = doc_get_object(doc, "why"), *cpu;
	size_t i, n = doc_length(doc, "vcpus");
	uint64_t dead = doc_get_count(why, "cpu");

	put_head(f, doc);
	put_why(f, why);
	put_guest(f, doc);
	if (n <= 1) {
		for (i = 0; i < n; i++)
			put_cpu(f, doc_element(doc, "vcpus", i), exits);
		return;
	}
	put_cpus(f, doc);
	for (i = 0; i < n; i++) {
		cpu = doc_element(doc, "vcpus", i);
		if (!all && !(why && doc_get_count(cpu, "id") == dead))
			continue;
		render_print(f, "CPU %" PRIu64 "%s\n", doc_get_count(cpu, "id"),
			     why && doc_get_count(cpu, "id") == dead ? ", which died" : "");
		put_cpu(f, cpu, exits);
	}
	if (!all)
		render_print(f, "  %-13s `cleave explain %s` tells each CPU's registers and last exits\n",
			     "more", text_or(doc, "name", "NAME"));
}
