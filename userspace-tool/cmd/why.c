// SPDX-License-Identifier: GPL-2.0
/* Why a guest died, and what may have led there. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "report.h"

static void hint(struct json_object *why, const char *text)
{
	struct json_object *list;

	if (!json_object_object_get_ex(why, "hints", &list))
		list = doc_array(why, "hints");
	json_object_array_add(list, json_object_new_string(text));
}

/* Why a CPU shuts down: it could not deliver an exception, nor the #DF for that. */
static void hint_shutdown(struct json_object *why, struct machine *m,
			  const struct cleave_state *st)
{
	const struct cleave_sregs *s = &st->sregs;
	uint64_t gpa, rip = report_linear(&s->cs, st->regs.rip, s);
	uint64_t rsp = report_linear(&s->ss, st->regs.rsp, s);
	bool found = false;

	if (s->idt.limit == 0) {
		hint(why, "the IDT is empty: an exception came before the kernel had set one up, or it wants a reset (reboot=t)");
		return;
	}
	if (report_walk(m, st, s->idt.base, &gpa)) {
		hint(why, "the IDT is not mapped: no exception can be delivered");
		found = true;
	}
	if (report_walk(m, st, s->gdt.base, &gpa)) {
		hint(why, "the GDT is not mapped: no handler's code segment can be loaded");
		found = true;
	}
	if (report_walk(m, st, rip, &gpa)) {
		hint(why, "the code is not mapped: a jump went wild, or CR3 is wrong");
		found = true;
	}
	if (report_walk(m, st, rsp - 8, &gpa)) {
		hint(why, "the stack is not mapped: an exception had nowhere to go");
		found = true;
	}
	if (!found)
		hint(why, "CR2 and the instruction above tell the first exception; earlyprintk=ttyS0 may show more");
}

static void why_access(struct json_object *why, uint64_t gpa, uint32_t flags)
{
	doc_print(why, "access", "guest-physical 0x%" PRIx64 ", %s%s%s", gpa,
		  flags & CLEAVE_ACCESS_FETCH ? "fetch" :
		  flags & CLEAVE_ACCESS_WRITE ? "write" : "read",
		  flags & CLEAVE_ACCESS_WALK ? ", by the guest's page walk" : "",
		  flags & CLEAVE_ACCESS_READONLY ? ", to read-only memory" : "");
}

/* An instruction that user space was to carry out and could not. */
static void why_assist(struct json_object *why, struct vcpu *v, int error)
{
	const struct cleave_run *run = v->run;

	doc_print(why, "what", "%s: %s", error == -EOPNOTSUPP ?
		  "an instruction at a device that this tool does not know" :
		  "an instruction at a device could not be carried out",
		  v->assist.text[0] ? v->assist.text : strerror(-error));
	if (run->exit != CLEAVE_EXIT_MMIO)
		return;
	why_access(why, run->mmio.gpa, run->mmio.flags);
	if (run->mmio.flags & (CLEAVE_ACCESS_FETCH | CLEAVE_ACCESS_WALK))
		hint(why, "no memory and no device is there: a wild jump, a wrong page table, or --memory is too small");
}

static void why_refused(struct json_object *why, const struct cleave_refusal *r)
{
	struct json_object *rule;

	if (!r->section[0]) {
		doc_text(why, "what", "the processor refused the guest's state, by a rule that the module does not check");
		return;
	}
	doc_text(why, "what", "the processor refused the guest's state");
	rule = doc_object(why, "rule");
	doc_print(rule, "section", "%.47s", r->section);
	doc_print(rule, "field", "%.63s", r->field);
	doc_hex(rule, "value", r->value);
	doc_print(rule, "legal", "%.127s", r->legal);
}

static void why_fault(struct json_object *why, const struct cleave_run *run)
{
	char text[160];

	doc_print(why, "what", "the host could not provide a page of guest memory: %s",
		  strerror(run->fault.error));
	why_access(why, run->fault.gpa, run->fault.flags);
	snprintf(text, sizeof(text), "host address 0x%" PRIx64 "; EFAULT: it was unmapped; ENOMEM, EHWPOISON: see the host's dmesg",
		 (uint64_t)run->fault.hva);
	hint(why, text);
}

static void why_exit(struct json_object *why, struct vcpu *v, const struct cleave_state *st)
{
	const struct cleave_run *run = v->run;

	switch (run->exit) {
	case CLEAVE_EXIT_SHUTDOWN:
		doc_text(why, "what", "triple fault: the CPU could not deliver an exception and shut down");
		hint_shutdown(why, v->m, st);
		return;
	case CLEAVE_EXIT_HLT:
		doc_text(why, "what", "HLT left the module, which should wait itself");
		return;
	case CLEAVE_EXIT_MSR:
		doc_print(why, "what", "%s of MSR 0x%x left the module unasked for",
			  run->msr.flags & CLEAVE_ACCESS_WRITE ? "write" : "read", run->msr.index);
		return;
	case CLEAVE_EXIT_HYPERCALL:
		doc_print(why, "what", "hypercall %" PRIu64 " left the module unasked for",
			  (uint64_t)run->hypercall.nr);
		return;
	case CLEAVE_EXIT_FAULT:
		why_fault(why, run);
		return;
	case CLEAVE_EXIT_REFUSED:
		why_refused(why, &run->refused);
		return;
	}
	doc_text(why, "what", "an exit that nobody asked for");
}

void why_died(struct json_object *why, struct vcpu *v, const struct cleave_state *st, int error)
{
	const struct cleave_run *run = v->run;
	const char *name = cleave_exit_name(run->exit);
	struct json_object *exit;

	if (error < 0 && run->exit == CLEAVE_EXIT_NONE)
		doc_print(why, "what", "CLEAVE_RUN failed: %s; `dmesg | grep cleave` may tell more",
			  strerror(-error));
	else if (error < 0)
		why_assist(why, v, error);
	else
		why_exit(why, v, st);
	doc_count(why, "cpu", v->id);
	exit = doc_object(why, "exit");
	doc_text(exit, "name", name ? name : "unknown");
	doc_hex(exit, "reason", run->raw_reason);
	doc_hex(exit, "information_1", run->raw_info[0]);
	doc_hex(exit, "information_2", run->raw_info[1]);
}
