// SPDX-License-Identifier: GPL-2.0
#include <json-c/json.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "figures.h"
#include "../cmd/doc.h"

#define SAME	0.05		/* exits per operation that make no difference */

static const struct {
	const char *id, *name, *text, *how[GENERATIONS];
} ops[GEN_OPS] = {
	{ "line", "a line", "a line of 64 bytes to the console", {
		"UART: for each byte a look and a byte by ports",
		"one hypercall with the line's address",
		"a ring in shared memory that a thread watches",
	} },
	{ "block", "a block", "a block of 4 KiB to the disk", {
		"ATA by ports: 8 sectors, an interrupt each",
		"a ring and a doorbell, an interrupt when done",
		"the ring, watched from both sides",
	} },
	{ "tick", "a tick", "a timer set, its interrupt taken and ended", {
		"8254 and 8259 by ports",
		"local APIC by its page, EOI by a byte in memory",
		"TSC deadline by an MSR, EOI by the byte",
	} },
	{ "ipi", "an IPI", "an interrupt from one vCPU to another", {
		"ICR and EOI in the local APIC's page",
		"a hypercall, EOI by a byte in memory",
		"ICR by an MSR, EOI by the byte",
	} },
	{ "clock", "a look at the clock", "a look at the clock", {
		"ACPI timer by a port",
		"kvm-clock: TSC, and a page of factors",
		"the TSC itself",
	} },
};

static const char *const generations[GENERATIONS] = { "emulated", "paravirtual", "hardware" };

const char *gen_op_name(unsigned int op)
{
	return ops[op].name;
}

const char *gen_op_text(unsigned int op)
{
	return ops[op].text;
}

const char *gen_generation_name(unsigned int generation)
{
	return generations[generation];
}

const char *gen_how(const struct gen_figures *f, unsigned int op, unsigned int generation)
{
	if (op == GEN_OP_TICK && generation == 2 && !f->deadline)
		return "local APIC's count by an MSR, EOI by the byte";
	return ops[op].how[generation];
}

const char *gen_counted_name(enum gen_counted counted)
{
	return counted == GEN_TSC ? "TSC ticks" : "instructions";
}

const char *gen_counted_text(enum gen_counted counted)
{
	switch (counted) {
	case GEN_PERF:
		return "instructions of all threads, in guest, tool and kernel, by perf_event_open";
	case GEN_TSC_INSN:
		return "instructions, by the TSC: it counts one each on this host, as was tried";
	default:
		return "TSC ticks that pass, as the host counts no instructions for us";
	}
}

const char *gen_number(double n, char text[32])
{
	if (n >= 999500)
		snprintf(text, 32, "%.3g million", n / 1e6);
	else if (n >= 99.95 || n < 0.005 || fabs(n - round(n)) < 0.005)
		snprintf(text, 32, "%.0f", n < 0.005 ? 0 : n);
	else if (n >= 9.995)
		snprintf(text, 32, "%.1f", n);
	else
		snprintf(text, 32, "%.2f", n);
	return text;
}

static int by_cost(const void *a, const void *b)
{
	const struct gen_figure *x = a, *y = b;

	return x->cost < y->cost ? -1 : x->cost > y->cost;
}

struct gen_figure gen_median(struct gen_figure *runs, unsigned int n)
{
	qsort(runs, n, sizeof(*runs), by_cost);
	return runs[n / 2];
}

/* ---- what a step bought ---------------------------------------------------------- */

struct sentence {
	char *text;
	size_t size, used;
};

__attribute__((format(printf, 2, 3)))
static void say(struct sentence *s, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(s->text + s->used, s->size - s->used, fmt, ap);
	va_end(ap);
	if (n > 0)
		s->used += (size_t)n < s->size - s->used ? (size_t)n : s->size - s->used - 1;
}

enum change { FEWER, AS_MANY, MORE };

static enum change change_of(double before, double after)
{
	return after < before - SAME ? FEWER : after > before + SAME ? MORE : AS_MANY;
}

/* How an operation changed: in exits, or in those to user space where that is another story. */
static enum change change_to(const struct gen_figure *before, bool to_user)
{
	const struct gen_figure *after = before + 1;

	if (!to_user)
		return change_of(before->exits, after->exits);
	if (change_of(before->exits, before->to_user) == AS_MANY &&
	    change_of(after->exits, after->to_user) == AS_MANY)
		return AS_MANY;
	return change_of(before->to_user, after->to_user);
}

/* "an IPI from 4 to 1, ..." of the operations that changed so; false: none did. */
static bool say_list(struct sentence *s, const struct gen_figures *f, unsigned int generation,
		     enum change change, bool to_user, const char *before)
{
	unsigned int op, left = 0, said = 0;
	char from[32], to[32];

	for (op = 0; op < GEN_OPS; op++)
		left += change_to(&f->of[op][generation - 1], to_user) == change;
	for (op = 0; op < GEN_OPS && left; op++) {
		const struct gen_figure *a = &f->of[op][generation - 1], *b = a + 1;

		if (change_to(a, to_user) != change)
			continue;
		say(s, "%s%s", said++ == 0 ? before : left > 1 ? ", " : " and ", ops[op].name);
		if (change != AS_MANY)
			say(s, " from %s to %s", gen_number(to_user ? a->to_user : a->exits, from),
			    gen_number(to_user ? b->to_user : b->exits, to));
		left--;
	}
	return said;
}

void gen_sentence(const struct gen_figures *f, unsigned int generation, char *text, size_t size)
{
	struct sentence s = { .text = text, .size = size };
	double before = 0, after = 0;
	bool fewer, more;
	unsigned int op;

	*text = 0;
	say(&s, "From %s to %s: ", generations[generation - 1], generations[generation]);
	fewer = say_list(&s, f, generation, FEWER, false, "exits fall for ");
	more = say_list(&s, f, generation, MORE, false, fewer ? ", rise for " : "exits rise for ");
	say_list(&s, f, generation, AS_MANY, false,
		 fewer || more ? ", stay for " : "exits stay for ");
	say_list(&s, f, generation, FEWER, true, "; those to user space fall for ");
	for (op = 0; op < GEN_OPS; op++) {
		before += f->of[op][generation - 1].cost;
		after += f->of[op][generation].cost;
	}
	if (after <= 0 || before <= 0)
		say(&s, "; too little was counted to compare");
	else if (before >= after * 1.05)
		say(&s, "; one of each takes %.1f times fewer %s", before / after,
		    gen_counted_name(f->counted));
	else if (after >= before * 1.05)
		say(&s, "; one of each takes %.1f times the %s", after / before,
		    gen_counted_name(f->counted));
	else
		say(&s, "; one of each takes as many %s", gen_counted_name(f->counted));
	say(&s, ".");
}

/* ---- text and JSON ---------------------------------------------------------------- */

void gen_print(FILE *out, const struct gen_figures *f)
{
	char text[1024];
	unsigned int op, g;

	fprintf(out, "%s, %u host CPU%s, the median of three times %u operations\n", f->vendor,
		f->cpus, f->cpus == 1 ? "" : "s", f->rounds);
	fprintf(out, "counted: %s\n", gen_counted_text(f->counted));
	if (f->cpus < 2)
		fprintf(out, "one CPU for all: who waits for another thread waits for the scheduler\n");
	fprintf(out, "\n%-63s %9s %9s %9s %13s %10s\n", "per operation", "exits", "to user",
		"by host", gen_counted_name(f->counted), "us");
	for (op = 0; op < GEN_OPS; op++) {
		fprintf(out, "%s\n", ops[op].text);
		for (g = 0; g < GENERATIONS; g++) {
			const struct gen_figure *x = &f->of[op][g];

			fprintf(out, "  %u %-11s  %-47s %9.2f %9.2f %9.2f %13.0f %10.3f\n", g + 1,
				generations[g], gen_how(f, op, g), x->exits, x->to_user,
				x->interrupts, x->cost, x->ns / 1000);
		}
	}
	fputc('\n', out);
	for (g = 1; g < GENERATIONS; g++) {
		gen_sentence(f, g, text, sizeof(text));
		fprintf(out, "%s\n", text);
	}
}

static void add_number(struct json_object *o, const char *key, double n)
{
	char text[32];

	snprintf(text, sizeof(text), "%.3f", n);
	json_object_object_add(o, key, json_object_new_double_s(n, text));
}

static struct json_object *json_generation(const struct gen_figures *f, unsigned int op,
					   unsigned int g)
{
	struct json_object *o = json_object_new_object();
	const struct gen_figure *x = &f->of[op][g];

	doc_count(o, "generation", g + 1);
	doc_text(o, "name", generations[g]);
	doc_text(o, "how", gen_how(f, op, g));
	add_number(o, "exits", x->exits);
	add_number(o, "exits_to_user", x->to_user);
	add_number(o, "host_interrupts", x->interrupts);
	add_number(o, "cost", x->cost);
	add_number(o, "ns", x->ns);
	return o;
}

void gen_json(FILE *out, const struct gen_figures *f)
{
	struct json_object *doc = json_object_new_object(), *list, *one, *all;
	char text[1024];
	unsigned int op, g;

	doc_text(doc, "vendor", f->vendor);
	doc_count(doc, "host_cpus", f->cpus);
	doc_count(doc, "tsc_khz", f->tsc_khz);
	doc_count(doc, "rounds", f->rounds);
	doc_text(doc, "counted", gen_counted_name(f->counted));
	doc_text(doc, "counted_by", f->counted == GEN_PERF ? "perf" : "tsc");
	list = doc_array(doc, "operations");
	for (op = 0; op < GEN_OPS; op++) {
		one = json_object_new_object();
		doc_text(one, "operation", ops[op].id);
		doc_text(one, "what", ops[op].text);
		all = doc_array(one, "generations");
		for (g = 0; g < GENERATIONS; g++)
			json_object_array_add(all, json_generation(f, op, g));
		json_object_array_add(list, one);
	}
	list = doc_array(doc, "steps");
	for (g = 1; g < GENERATIONS; g++) {
		gen_sentence(f, g, text, sizeof(text));
		json_object_array_add(list, json_object_new_string(text));
	}
	fprintf(out, "%s\n", json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PRETTY |
							     JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(doc);
}
