// SPDX-License-Identifier: GPL-2.0
/* The flight recorder's exits as a document. */
#include <inttypes.h>
#include <string.h>

#include "report.h"

#define EFER_LMA	(1ULL << 10)
#define MSR_LSTAR	0xc0000082
#define GATE_SIZE	16

void records_instruction(struct json_object *o, struct machine *m, const struct cleave_regs *regs,
			 const struct cleave_sregs *sregs)
{
	uint64_t gva = report_linear(&sregs->cs, regs->rip, sregs);
	char text[128], hex[3 * 15 + 1] = "";
	unsigned int len = 0;
	uint8_t bytes[15];
	size_t n = cleave_peek(&m->mem, sregs, gva, bytes, sizeof(bytes)), i;

	if (!n)
		strcpy(text, "(not mapped)");
	else if (cleave_disasm(&m->mem, regs, sregs, text, sizeof(text), &len))
		strcpy(text, "(no instruction)");
	if (n > (len ? len : 8))
		n = len ? len : 8;
	for (i = 0; i < n; i++)
		sprintf(hex + 3 * i, "%02x%s", bytes[i], i + 1 < n ? " " : "");
	doc_text(o, "bytes", hex);
	doc_text(o, "instruction", text);
}

/* SDM vol. 3C table 28-7; APM vol. 2 15.25.6, the error code in EXITINFO1. */
static const char *access_kind(const struct machine *m, uint64_t info)
{
	if (m->info.vendor == CLEAVE_VENDOR_VMX)
		return info & 4 ? "fetch" : info & 2 ? "write" : "read";
	return info & 0x10 ? "fetch" : info & 2 ? "write" : "read";
}

/* Of this machine, or else of any PC. */
static const char *port_name(unsigned int port)
{
	return port - PM1A_EVT_PORT < 12 ? "ACPI PM" : cleave_port_name(port);
}

static void about_port(struct json_object *o, uint64_t detail)
{
	unsigned int port = detail & 0xffff, size = detail >> 16 & 0xff;
	const char *name = port_name(port), *how = detail & 1 << 24 ? "in" : "out";

	doc_hex(o, "port", port);
	doc_count(o, "size", size);
	doc_text(o, "direction", how);
	doc_print(o, "about", "%s 0x%x%s%s%s, %u byte%s", how, port, name ? " (" : "",
		  name ? name : "", name ? ")" : "", size, size == 1 ? "" : "s");
}

static void about_msr(struct json_object *o, uint32_t index)
{
	const char *name = cleave_msr_name(index);

	doc_hex(o, "msr", index);
	doc_print(o, "about", "0x%x%s%s%s", index, name ? " (" : "", name ? name : "",
		  name ? ")" : "");
}

static void about_vector(struct json_object *o, const char *key, unsigned int vector)
{
	const char *name = cleave_vector_name(vector);

	if (name)
		doc_text(o, key, name);
	else
		doc_print(o, key, "vector %u", vector);
}

/* What it was about: for programs by a member of its own, for people as text. */
static void about(struct json_object *o, const struct machine *m, const struct cleave_record *r)
{
	const char *how;

	switch (r->kind) {
	case CLEAVE_KIND_CPUID:
		doc_hex(o, "leaf", (uint32_t)r->detail);
		doc_hex(o, "subleaf", r->detail >> 32);
		doc_print(o, "about", "leaf 0x%x, subleaf 0x%x", (uint32_t)r->detail,
			  (uint32_t)(r->detail >> 32));
		return;
	case CLEAVE_KIND_IO:
		about_port(o, r->detail);
		return;
	case CLEAVE_KIND_RDMSR:
	case CLEAVE_KIND_WRMSR:
		about_msr(o, r->detail);
		return;
	case CLEAVE_KIND_HYPERCALL:
		doc_hex(o, "number", r->detail);
		doc_print(o, "about", "number 0x%" PRIx64, (uint64_t)r->detail);
		return;
	case CLEAVE_KIND_CR_READ:
	case CLEAVE_KIND_CR_WRITE:
		doc_count(o, "cr", r->detail);
		doc_print(o, "about", "CR%" PRIu64, (uint64_t)r->detail);
		return;
	case CLEAVE_KIND_STAGE2:
		how = access_kind(m, r->raw_info[0]);
		doc_hex(o, "gpa", r->detail);
		doc_text(o, "access", how);
		doc_print(o, "about", "gpa 0x%" PRIx64 ", %s", (uint64_t)r->detail, how);
		return;
	case CLEAVE_KIND_EXCEPTION:
		doc_count(o, "vector", r->detail);
		about_vector(o, "about", r->detail);
	}
}

static struct json_object *describe(struct machine *m, const struct cleave_state *st,
				    const struct cleave_record *r, uint64_t last)
{
	struct json_object *o = json_object_new_object();
	const char *kind = cleave_kind_name(r->kind), *exit = cleave_exit_name(r->exit);
	struct cleave_regs regs = st->regs;
	char text[32];

	regs.rip = r->rip;
	if (m->info.tsc_khz) {
		double us = (double)(last - r->tsc) * 1000 / m->info.tsc_khz;

		snprintf(text, sizeof(text), "%.3f", us);
		json_object_object_add(o, "us_before_last", json_object_new_double_s(us, text));
	}
	doc_hex(o, "tsc", r->tsc);
	doc_hex(o, "rip", r->rip);
	if (kind)
		doc_text(o, "kind", kind);
	else
		doc_print(o, "kind", "%u", r->kind);
	about(o, m, r);
	doc_hex(o, "raw_reason", r->raw_reason);
	doc_hex(o, "raw_info_1", r->raw_info[0]);
	doc_hex(o, "raw_info_2", r->raw_info[1]);
	if (r->exit != CLEAVE_EXIT_NONE)
		doc_text(o, "to_user", exit ? exit : "unknown");
	if (r->entered_type == CLEAVE_EVENT_EXCEPTION)
		about_vector(o, "injected", r->entered_vector);
	else if (r->entered_type == CLEAVE_EVENT_NMI)
		doc_text(o, "injected", "NMI");
	else if (r->entered_type != CLEAVE_EVENT_NONE)
		doc_print(o, "injected", "interrupt 0x%02x", r->entered_vector);
	if (r->raised)
		about_vector(o, "raised", r->raised_vector);
	records_instruction(o, m, &regs, &st->sregs);
	return o;
}

void records_describe(struct json_object *cpu, struct vcpu *v, const struct cleave_state *st,
		      unsigned int max)
{
	struct cleave_record list[CLEAVE_RECORDS];
	struct json_object *array;
	unsigned int n, i;
	uint64_t count;

	n = cleave_records(v->recorder, list, max, &count);
	doc_count(cpu, "recorded", count);
	array = doc_array(cpu, "last_exits");
	for (i = 0; i < n; i++)
		json_object_array_add(array, describe(v->m, st, &list[i], list[n - 1].tsc));
}

/* Offset of the handler in a 64-bit gate (SDM vol. 3A 6.14.1); 0: none. */
static uint64_t handler(struct machine *m, const struct cleave_sregs *s, unsigned int vector)
{
	uint32_t gate[4];

	if (s->idt.limit < vector * GATE_SIZE + GATE_SIZE - 1 ||
	    cleave_peek(&m->mem, s, s->idt.base + vector * GATE_SIZE, gate, sizeof(gate)) !=
	    sizeof(gate) || !(gate[1] & 0x8000))
		return 0;
	return (gate[0] & 0xffff) | (gate[1] & 0xffff0000) | (uint64_t)gate[2] << 32;
}

void records_anchors(struct json_object *cpu, struct vcpu *v, const struct cleave_state *st)
{
	struct cleave_msrs msrs = { .count = 1, .entries = { { .index = MSR_LSTAR } } };
	struct json_object *o = doc_object(cpu, "anchors");
	uint64_t address;

	if (!(st->sregs.efer & EFER_LMA))
		return;
	if (cleave_get_msrs(v->fd, &msrs) >= 0 && msrs.entries[0].value)
		doc_hex(o, "lstar", msrs.entries[0].value);
	address = handler(v->m, &st->sregs, 13);
	if (address)
		doc_hex(o, "gate_13", address);
	address = handler(v->m, &st->sregs, 14);
	if (address)
		doc_hex(o, "gate_14", address);
}
