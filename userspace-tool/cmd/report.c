// SPDX-License-Identifier: GPL-2.0
/* A guest's state as a document. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "report.h"

#define CR0_PE		(1ULL << 0)
#define CR0_PG		(1ULL << 31)
#define CR4_PAE		(1ULL << 5)
#define CR4_LA57	(1ULL << 12)
#define EFER_LMA	(1ULL << 10)
#define RFLAGS_VM	(1ULL << 17)

#define RECORDS_IN_ALL	8192U	/* in a report, to keep it below 16 MiB */

static const char *mode(const struct cleave_regs *r, const struct cleave_sregs *s)
{
	if (!(s->cr0 & CR0_PE))
		return "real mode";
	if (s->efer & EFER_LMA)
		return s->cs.ar & CLEAVE_AR_L ? "64-bit mode" : "compatibility mode";
	if (r->rflags & RFLAGS_VM)
		return "virtual-8086 mode";
	return s->cs.ar & CLEAVE_AR_DB ? "32-bit protected mode" : "16-bit protected mode";
}

static const char *paging(const struct cleave_sregs *s)
{
	if (!(s->cr0 & CR0_PG))
		return "paging off";
	if (s->efer & EFER_LMA)
		return s->cr4 & CR4_LA57 ? "5-level paging" : "4-level paging";
	return s->cr4 & CR4_PAE ? "PAE paging" : "32-bit paging";
}

uint64_t report_linear(const struct cleave_segment *seg, uint64_t offset,
		       const struct cleave_sregs *s)
{
	if ((s->efer & EFER_LMA) && (s->cs.ar & CLEAVE_AR_L))
		return offset;
	return (uint32_t)(seg->base + offset);
}

int report_walk(struct machine *m, const struct cleave_state *st, uint64_t gva, uint64_t *gpa)
{
	const struct cleave_walk w = {
		.mem = &m->mem, .sregs = &st->sregs, .rflags = st->regs.rflags,
	};
	struct cleave_event fault;

	return cleave_walk(&w, gva, CLEAVE_WALK_PEEK, gpa, &fault, NULL);
}

/* Where the code's linear address leads, in words. */
static void describe_place(struct json_object *cpu, struct machine *m,
			   const struct cleave_state *st)
{
	uint64_t gpa;
	int ret = report_walk(m, st, report_linear(&st->sregs.cs, st->regs.rip, &st->sregs), &gpa);

	if (ret == -ENXIO)
		doc_text(cpu, "leads_to", "not mapped: a page table lies outside memory");
	else if (ret)
		doc_text(cpu, "leads_to", "not mapped by the guest's page tables");
	else
		doc_print(cpu, "leads_to", "guest-physical 0x%" PRIx64 "%s", gpa,
			  cleave_mem_ptr(&m->mem, gpa, 1) ? "" : ", where there is no memory");
}

static void describe_segment(struct json_object *list, const char *name,
			     const struct cleave_segment *s)
{
	struct json_object *o = doc_object(list, name);

	doc_hex(o, "selector", s->selector);
	doc_hex(o, "base", s->base);
	doc_hex(o, "limit", s->limit);
	doc_hex(o, "ar", s->ar);
	doc_bool(o, "unusable", s->ar & CLEAVE_AR_UNUSABLE);
}

static void describe_table(struct json_object *cpu, const char *name,
			   const struct cleave_dtable *t)
{
	struct json_object *o = doc_object(cpu, name);

	doc_hex(o, "base", t->base);
	doc_hex(o, "limit", t->limit);
}

static void describe_registers(struct json_object *cpu, const struct cleave_regs *r,
			       const struct cleave_sregs *s)
{
	static const char *const name[] = {
		"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
		"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
	};
	struct json_object *o = doc_object(cpu, "registers");
	const __u64 *value = &r->rax;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(name); i++)
		doc_hex(o, name[i], value[i]);
	doc_hex(o, "cr0", s->cr0);
	doc_hex(o, "cr2", s->cr2);
	doc_hex(o, "cr3", s->cr3);
	doc_hex(o, "cr4", s->cr4);
	doc_hex(o, "cr8", s->cr8);
	doc_hex(o, "efer", s->efer);
	o = doc_object(cpu, "segments");
	describe_segment(o, "cs", &s->cs);
	describe_segment(o, "ss", &s->ss);
	describe_segment(o, "ds", &s->ds);
	describe_segment(o, "es", &s->es);
	describe_segment(o, "fs", &s->fs);
	describe_segment(o, "gs", &s->gs);
	describe_segment(o, "tr", &s->tr);
	describe_segment(o, "ldt", &s->ldt);
	describe_table(cpu, "gdt", &s->gdt);
	describe_table(cpu, "idt", &s->idt);
}

static void describe_event(struct json_object *cpu, const char *key, const struct cleave_event *e)
{
	const char *type = cleave_event_name(e->type);
	struct json_object *o;

	if (e->type == CLEAVE_EVENT_NONE || !type)
		return;
	o = doc_object(cpu, key);
	doc_text(o, "type", type);
	doc_count(o, "vector", e->vector);
	if (e->type == CLEAVE_EVENT_EXCEPTION && cleave_vector_name(e->vector))
		doc_text(o, "name", cleave_vector_name(e->vector));
	if (e->flags & CLEAVE_EVENT_ERROR)
		doc_hex(o, "error_code", e->error_code);
	if (e->flags & CLEAVE_EVENT_PAYLOAD)
		doc_hex(o, "address", e->payload);
}

static void get_state(struct vcpu *v, struct cleave_state *st)
{
	int ret;

	/* Nobody else holds the vCPU for long; a second kick may interrupt. */
	do {
		memset(st, 0, sizeof(*st));
		st->groups = CLEAVE_REGS | CLEAVE_SREGS | CLEAVE_EVENTS | CLEAVE_MP;
		ret = cleave_get_state(v->fd, st);
	} while (ret == -EINTR);
	if (ret < 0) {
		/* What came with the exit is better than nothing. */
		st->regs = v->run->regs;
		st->sregs = v->run->sregs;
	}
}

static struct json_object *describe_cpu(struct vcpu *v, const struct cleave_state *st,
					unsigned int exits)
{
	struct json_object *cpu = json_object_new_object();
	const char *mp = cleave_mp_name(st->mp.state);
	struct machine *m = v->m;

	doc_count(cpu, "id", v->id);
	doc_text(cpu, "mp", mp ? mp : "unknown");
	doc_text(cpu, "mode", mode(&st->regs, &st->sregs));
	doc_text(cpu, "paging", paging(&st->sregs));
	doc_count(cpu, "cpl", (st->sregs.ss.ar & CLEAVE_AR_DPL) >> 5);
	doc_hex(cpu, "cs", st->sregs.cs.selector);
	doc_hex(cpu, "rip", st->regs.rip);
	describe_place(cpu, m, st);
	records_instruction(cpu, m, &st->regs, &st->sregs);
	describe_event(cpu, "in_delivery", &st->events.injected);
	describe_event(cpu, "waiting", &st->events.exception);
	describe_registers(cpu, &st->regs, &st->sregs);
	records_anchors(cpu, v, st);
	counters_describe(doc_object(cpu, "counters"), v->recorder);
	records_describe(cpu, v, st, exits);
	return cpu;
}

static struct json_object *describe_guest(struct machine *m, const char *status)
{
	struct json_object *doc = json_object_new_object();
	time_t now = time(NULL);
	struct tm tm;
	char text[32] = "";

	if (gmtime_r(&now, &tm))
		strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	doc_text(doc, "name", m->args->name);
	doc_text(doc, "status", status);
	doc_text(doc, "time", text);
	doc_count(doc, "pid", getpid());
	doc_text(doc, "kernel", m->args->kernel);
	doc_count(doc, "memory", m->args->memory);
	doc_text(doc, "processor", m->info.vendor == CLEAVE_VENDOR_VMX ? "VT-x" : "AMD-V");
	doc_count(doc, "tsc_khz", m->info.tsc_khz);
	return doc;
}

struct json_object *report_vcpu(struct vcpu *v, unsigned int exits)
{
	unsigned int most = RECORDS_IN_ALL / v->m->cpus;
	struct cleave_state st;

	get_state(v, &st);
	return describe_cpu(v, &st, exits < most ? exits : most);
}

static void add_parts(struct json_object *doc, struct machine *m, struct json_object **part)
{
	struct json_object *list = doc_array(doc, "vcpus");
	uint32_t i;

	for (i = 0; i < m->cpus; i++)
		json_object_array_add(list, part[i]);
}

struct json_object *report_alive(struct machine *m, struct json_object **part)
{
	const char *status = "halted", *mp;
	struct json_object *doc;
	bool pausing;
	uint32_t i;

	pthread_mutex_lock(&m->pausing.lock);
	pausing = m->pausing.wanted;
	pthread_mutex_unlock(&m->pausing.lock);
	for (i = 0; i < m->cpus; i++) {
		mp = doc_get_text(part[i], "mp");
		if (mp && !strcmp(mp, cleave_mp_name(CLEAVE_MP_RUNNABLE)))
			status = "running";
	}
	if (pausing)
		status = "paused";
	doc = describe_guest(m, status);
	add_parts(doc, m, part);
	return doc;
}

struct json_object *report_dead(struct vcpu *v, int error)
{
	struct json_object *doc = describe_guest(v->m, "dead"), *part[CLEAVE_MAX_VCPUS];
	struct cleave_state st;
	uint32_t i;

	get_state(v, &st);
	why_died(doc_object(doc, "why"), v, &st, error);
	for (i = 0; i < v->m->cpus; i++)
		part[i] = i == v->id ? describe_cpu(v, &st, CLEAVE_RECORDS) :
				       report_vcpu(&v->m->vcpu[i], CLEAVE_RECORDS);
	add_parts(doc, v->m, part);
	return doc;
}
