// SPDX-License-Identifier: GPL-2.0
/* What a person reads when the guest dies, or presses Ctrl-A c. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "machine.h"

#define CR0_PE		(1ULL << 0)
#define CR0_PG		(1ULL << 31)
#define CR4_PAE		(1ULL << 5)
#define CR4_LA57	(1ULL << 12)
#define EFER_LMA	(1ULL << 10)
#define RFLAGS_VM	(1ULL << 17)

static const char *const exit_names[EXIT_KINDS] = {
	[CLEAVE_EXIT_NONE] = "none", [CLEAVE_EXIT_IO] = "port", [CLEAVE_EXIT_MMIO] = "mmio",
	[CLEAVE_EXIT_MSR] = "msr", [CLEAVE_EXIT_HLT] = "hlt", [CLEAVE_EXIT_SHUTDOWN] = "shutdown",
	[CLEAVE_EXIT_WINDOW] = "window", [CLEAVE_EXIT_EOI] = "eoi",
	[CLEAVE_EXIT_HYPERCALL] = "hypercall", [CLEAVE_EXIT_INSN] = "instruction",
	[CLEAVE_EXIT_FAULT] = "fault", [CLEAVE_EXIT_REFUSED] = "refused",
	[CLEAVE_EXIT_UNHANDLED] = "unhandled",
};

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

static uint64_t linear(const struct cleave_segment *seg, uint64_t offset,
		       const struct cleave_sregs *s)
{
	if ((s->efer & EFER_LMA) && (s->cs.ar & CLEAVE_AR_L))
		return offset;
	return (uint32_t)(seg->base + offset);
}

static int walk(struct machine *m, const struct cleave_state *st, uint64_t gva, uint64_t *gpa,
		struct cleave_event *fault)
{
	const struct cleave_walk w = {
		.mem = &m->mem, .sregs = &st->sregs, .rflags = st->regs.rflags,
	};

	return cleave_walk(&w, gva, CLEAVE_WALK_PEEK, gpa, fault, NULL);
}

/* Where a linear address leads, in words. */
static const char *where(struct machine *m, const struct cleave_state *st, uint64_t gva,
			 char *text, size_t size)
{
	struct cleave_event fault;
	uint64_t gpa;
	int ret = walk(m, st, gva, &gpa, &fault);

	if (ret == -ENXIO)
		snprintf(text, size, "not mapped: a page table lies outside memory");
	else if (ret)
		snprintf(text, size, "not mapped by the guest's page tables");
	else
		snprintf(text, size, "guest-physical 0x%" PRIx64 "%s", gpa,
			 cleave_mem_ptr(&m->mem, gpa, 1) ? "" : ", where there is no memory");
	return text;
}

static void print_segment(FILE *f, const char *name, const struct cleave_segment *s)
{
	fprintf(f, "  %-3s %04x  base %016" PRIx64 "  limit %08x  ar %05x%s\n", name, s->selector,
		(uint64_t)s->base, s->limit, s->ar, s->ar & CLEAVE_AR_UNUSABLE ? " unusable" : "");
}

static void print_registers(FILE *f, const struct cleave_regs *r, const struct cleave_sregs *s)
{
	static const char *const name[] = {
		"rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
		"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "flg",
	};
	const __u64 *value = &r->rax;
	size_t i;

	for (i = 0; i < ARRAY_SIZE(name); i++)
		fprintf(f, "  %-3s %016" PRIx64 "%s", name[i], (uint64_t)value[i],
			i % 3 == 2 ? "\n" : "");
	fprintf(f, "  cr0 %016" PRIx64 "  cr2 %016" PRIx64 "  cr3 %016" PRIx64 "\n",
		(uint64_t)s->cr0, (uint64_t)s->cr2, (uint64_t)s->cr3);
	fprintf(f, "  cr4 %016" PRIx64 "  cr8 %016" PRIx64 "  efer %" PRIx64 "\n",
		(uint64_t)s->cr4, (uint64_t)s->cr8, (uint64_t)s->efer);
	print_segment(f, "cs", &s->cs);
	print_segment(f, "ss", &s->ss);
	print_segment(f, "ds", &s->ds);
	print_segment(f, "es", &s->es);
	print_segment(f, "fs", &s->fs);
	print_segment(f, "gs", &s->gs);
	print_segment(f, "tr", &s->tr);
	print_segment(f, "ldt", &s->ldt);
	fprintf(f, "  gdt base %016" PRIx64 " limit %04x   idt base %016" PRIx64 " limit %04x\n",
		(uint64_t)s->gdt.base, s->gdt.limit, (uint64_t)s->idt.base, s->idt.limit);
}

static void print_code(FILE *f, struct machine *m, const struct cleave_state *st)
{
	uint64_t gva = linear(&st->sregs.cs, st->regs.rip, &st->sregs);
	char text[128], place[96];
	unsigned int len = 0;
	uint8_t bytes[15];
	size_t n, i;

	fprintf(f, "  at            %04x:%016" PRIx64 ", %s\n", st->sregs.cs.selector,
		(uint64_t)st->regs.rip, where(m, st, gva, place, sizeof(place)));
	fprintf(f, "  mode          %s, %s, CPL %u\n", mode(&st->regs, &st->sregs),
		paging(&st->sregs), (st->sregs.ss.ar & CLEAVE_AR_DPL) >> 5);
	n = cleave_peek(&m->mem, &st->sregs, gva, bytes, sizeof(bytes));
	if (cleave_disasm(&m->mem, &st->regs, &st->sregs, text, sizeof(text), &len))
		strcpy(text, n ? "(no instruction)" : "(no memory there)");
	fprintf(f, "  instruction   ");
	for (i = 0; i < n && i < (len ? len : 8); i++)
		fprintf(f, "%02x ", bytes[i]);
	fprintf(f, "  %s\n", text);
}

static void print_event(FILE *f, const char *what, const struct cleave_event *e)
{
	static const char *const type[] = { "none", "interrupt", "NMI", "exception" };

	if (e->type == CLEAVE_EVENT_NONE || e->type > CLEAVE_EVENT_EXCEPTION)
		return;
	fprintf(f, "  %-13s %s, vector %u", what, type[e->type], e->vector);
	if (e->flags & CLEAVE_EVENT_ERROR)
		fprintf(f, ", error code 0x%x", e->error_code);
	if (e->flags & CLEAVE_EVENT_PAYLOAD)
		fprintf(f, ", address 0x%" PRIx64, (uint64_t)e->payload);
	fprintf(f, "\n");
}

/* Why a CPU shuts down: it could not deliver an exception, nor the #DF for that. */
static void hint_shutdown(FILE *f, struct machine *m, const struct cleave_state *st)
{
	const struct cleave_sregs *s = &st->sregs;
	struct cleave_event fault;
	uint64_t gpa, rip = linear(&s->cs, st->regs.rip, s);
	uint64_t rsp = linear(&s->ss, st->regs.rsp, s);
	bool found = false;

	if (s->idt.limit == 0) {
		fprintf(f, "  hint          the IDT is empty: an exception came before the kernel had set one up, or it wants a reset (reboot=t)\n");
		return;
	}
	if (walk(m, st, s->idt.base, &gpa, &fault)) {
		fprintf(f, "  hint          the IDT is not mapped: no exception can be delivered\n");
		found = true;
	}
	if (walk(m, st, s->gdt.base, &gpa, &fault)) {
		fprintf(f, "  hint          the GDT is not mapped: no handler's code segment can be loaded\n");
		found = true;
	}
	if (walk(m, st, rip, &gpa, &fault)) {
		fprintf(f, "  hint          the code is not mapped: a jump went wild, or CR3 is wrong\n");
		found = true;
	}
	if (walk(m, st, rsp - 8, &gpa, &fault)) {
		fprintf(f, "  hint          the stack is not mapped: an exception had nowhere to go\n");
		found = true;
	}
	if (!found)
		fprintf(f, "  hint          CR2 and the instruction above tell the first exception; earlyprintk=ttyS0 may show more\n");
}

static void why_access(FILE *f, uint64_t gpa, uint32_t flags)
{
	fprintf(f, "  access        guest-physical 0x%" PRIx64 ", %s%s%s\n", gpa,
		flags & CLEAVE_ACCESS_FETCH ? "fetch" :
		flags & CLEAVE_ACCESS_WRITE ? "write" : "read",
		flags & CLEAVE_ACCESS_WALK ? ", by the guest's page walk" : "",
		flags & CLEAVE_ACCESS_READONLY ? ", to read-only memory" : "");
}

/* An instruction that user space was to carry out and could not. */
static void why_assist(FILE *f, struct machine *m, int error)
{
	const struct cleave_run *run = m->run;

	fprintf(f, "  what          %s: %s\n", error == -EOPNOTSUPP ?
		"an instruction at a device that this tool does not know" :
		"an instruction at a device could not be carried out",
		m->assist.text[0] ? m->assist.text : strerror(-error));
	if (run->exit != CLEAVE_EXIT_MMIO)
		return;
	why_access(f, run->mmio.gpa, run->mmio.flags);
	if (run->mmio.flags & (CLEAVE_ACCESS_FETCH | CLEAVE_ACCESS_WALK))
		fprintf(f, "  hint          no memory and no device is there: a wild jump, a wrong page table, or --memory is too small\n");
}

static void why_exit(FILE *f, struct machine *m, const struct cleave_state *st)
{
	const struct cleave_run *run = m->run;

	switch (run->exit) {
	case CLEAVE_EXIT_SHUTDOWN:
		fprintf(f, "  what          triple fault: the CPU could not deliver an exception and shut down\n");
		hint_shutdown(f, m, st);
		return;
	case CLEAVE_EXIT_HLT:
		fprintf(f, "  what          HLT left the module, which should wait itself\n");
		return;
	case CLEAVE_EXIT_MSR:
		fprintf(f, "  what          %s of MSR 0x%x left the module unasked for\n",
			run->msr.flags & CLEAVE_ACCESS_WRITE ? "write" : "read", run->msr.index);
		return;
	case CLEAVE_EXIT_HYPERCALL:
		fprintf(f, "  what          hypercall %" PRIu64 " left the module unasked for\n",
			(uint64_t)run->hypercall.nr);
		return;
	case CLEAVE_EXIT_FAULT:
		fprintf(f, "  what          the host could not provide a page of guest memory: %s\n",
			strerror(run->fault.error));
		why_access(f, run->fault.gpa, run->fault.flags);
		fprintf(f, "  hint          host address 0x%" PRIx64 "; EFAULT: it was unmapped; ENOMEM, EHWPOISON: see the host's dmesg\n",
			(uint64_t)run->fault.hva);
		return;
	case CLEAVE_EXIT_REFUSED:
		if (!run->refused.section[0]) {
			fprintf(f, "  what          the processor refused the guest's state, by a rule that the module does not check\n");
			return;
		}
		fprintf(f, "  what          the processor refused the guest's state by %.47s: %.63s %.127s\n",
			run->refused.section, run->refused.field, run->refused.legal);
		fprintf(f, "  value         0x%" PRIx64 "\n", (uint64_t)run->refused.value);
		return;
	}
	fprintf(f, "  what          an exit that nobody asked for\n");
}

static void get_state(struct machine *m, struct cleave_state *st)
{
	int ret;

	memset(st, 0, sizeof(*st));
	st->groups = CLEAVE_REGS | CLEAVE_SREGS | CLEAVE_EVENTS;
	ret = cleave_get_state(m->vcpu, st);
	if (ret < 0) {
		/* What came with the exit is better than nothing. */
		st->regs = m->run->regs;
		st->sregs = m->run->sregs;
	}
}

void crash_page(FILE *f, struct machine *m, int error)
{
	const struct cleave_run *run = m->run;
	struct cleave_state st;

	get_state(m, &st);
	console_newline(m);
	fprintf(f, "cleave: %s: the guest died\n", m->args->name);
	if (error < 0 && run->exit == CLEAVE_EXIT_NONE)
		fprintf(f, "  what          CLEAVE_RUN failed: %s; `dmesg | grep cleave` may tell more\n",
			strerror(-error));
	else if (error < 0)
		why_assist(f, m, error);
	else
		why_exit(f, m, &st);
	fprintf(f, "  exit          %s, reason 0x%" PRIx64 ", information 0x%" PRIx64 " 0x%" PRIx64
		"\n", run->exit < EXIT_KINDS ? exit_names[run->exit] : "unknown",
		(uint64_t)run->raw_reason, (uint64_t)run->raw_info[0], (uint64_t)run->raw_info[1]);
	print_code(f, m, &st);
	print_event(f, "in delivery", &st.events.injected);
	print_event(f, "waiting", &st.events.exception);
	print_registers(f, &st.regs, &st.sregs);
}

void state_page(FILE *f, struct machine *m)
{
	struct cleave_state st;
	size_t i;

	get_state(m, &st);
	console_newline(m);
	fprintf(f, "cleave: %s: state of CPU 0\n", m->args->name);
	print_code(f, m, &st);
	print_registers(f, &st.regs, &st.sregs);
	fprintf(f, "  exits to the tool:");
	for (i = 1; i < EXIT_KINDS; i++)
		if (m->exits[i])
			fprintf(f, " %s %" PRIu64, exit_names[i], m->exits[i]);
	fprintf(f, "\n");
}
