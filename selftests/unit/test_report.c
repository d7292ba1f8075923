// SPDX-License-Identifier: GPL-2.0
/* What is told of a guest: as JSON, and as text made of it; with a machine and a recorder made up. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "unit.h"
#include "cmd/render.h"
#include "cmd/report.h"
#include "cmd/symbolize.h"

#define RAM_SIZE	0x200000
#define CODE		0x1000

static struct run_args args = { .name = "web-1", .kernel = "/boot/vmlinuz", .memory = 512 << 20 };
static struct machine m;
static struct vcpu cpus[3];
static struct cleave_run run;
static struct cleave_recorder rec, recs[3];
static struct cleave_state st;	/* of them all, */
static uint64_t rips[3];	/* but for RIP, if it is not zero, */
static uint32_t mps[3];		/* and this */
static uint64_t lstar;
static uint8_t ram[RAM_SIZE];
static char *text;
static size_t text_len;

/* ---- instead of the module --------------------------------------------------------- */

int cleave_get_state(int vcpu, struct cleave_state *out)
{
	*out = st;
	if (rips[vcpu])
		out->regs.rip = rips[vcpu];
	if (mps[vcpu])
		out->mp.state = mps[vcpu];
	return 0;
}

int cleave_get_msrs(int vcpu, struct cleave_msrs *msrs)
{
	msrs->entries[0].value = lstar;
	return 0;
}

/* ---- a 32-bit guest without paging, at "cpuid; out 0x80, al; ud2" ----------------------- */

static const uint8_t code[] = { 0x0f, 0xa2, 0xe6, 0x80, 0x0f, 0x0b };

static void begin(void)
{
	memset(&m, 0, sizeof(m));
	memset(&run, 0, sizeof(run));
	memset(&rec, 0, sizeof(rec));
	memset(recs, 0, sizeof(recs));
	memset(rips, 0, sizeof(rips));
	memset(mps, 0, sizeof(mps));
	memset(&st, 0, sizeof(st));
	lstar = 0;
	memset(ram, 0, sizeof(ram));
	memcpy(ram + CODE, code, sizeof(code));
	m.args = &args;
	m.vcpu = cpus;
	m.cpus = 1;
	for (int i = 0; i < 3; i++)
		cpus[i] = (struct vcpu){
			.m = &m, .id = i, .fd = i, .run = &run, .recorder = i ? &recs[i] : &rec,
		};
	m.info.vendor = CLEAVE_VENDOR_SVM;
	m.info.tsc_khz = 1000000;
	cleave_mem_add(&m.mem, 0, RAM_SIZE, ram, 0);
	st.regs.rip = CODE + 4;
	st.regs.rax = 0x1122334455667788;
	st.sregs.cr0 = 1;
	st.sregs.cs = (struct cleave_segment){ .selector = 8, .limit = ~0U, .ar = 0xc09b };
	st.sregs.ss = (struct cleave_segment){ .selector = 16, .limit = ~0U, .ar = 0xc093 };
	st.sregs.ldt.ar = CLEAVE_AR_UNUSABLE;
	st.regs.rsp = 0x8000;
	st.sregs.idt.base = 0x2000;
	st.sregs.idt.limit = 0x7ff;
	st.sregs.gdt.base = 0x3000;
}

static struct cleave_record *record(uint32_t kind, uint64_t rip, uint64_t detail)
{
	struct cleave_record *r = &rec.records[rec.count++ % CLEAVE_RECORDS];

	*r = (struct cleave_record){
		.tsc = 1000000 + 2500 * rec.count, .rip = rip, .kind = kind, .detail = detail,
	};
	rec.kinds[kind % CLEAVE_KINDS]++;
	return r;
}

static struct json_object *alive(unsigned int exits)
{
	struct json_object *part[3];

	for (uint32_t i = 0; i < m.cpus; i++)
		part[i] = report_vcpu(&cpus[i], exits);
	return report_alive(&m, part);
}

/* Rendered from the document as the other process gets it; text is it then. */
static struct json_object *told(struct json_object *doc, size_t exits)
{
	const char *json = json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PLAIN);
	struct json_object *again = doc_parse(json, strlen(json));
	char *direct;
	size_t len;
	FILE *f;

	free(text);
	f = open_memstream(&text, &text_len);
	render_report(f, again, exits, true);
	fclose(f);
	f = open_memstream(&direct, &len);
	render_report(f, doc, exits, true);
	fclose(f);
	CHECK(again && !strcmp(text, direct));
	free(direct);
	json_object_put(doc);
	return again;
}

#define SAYS(what)	CHECK(strstr(text, what))
#define SAYS_NOT(what)	CHECK(!strstr(text, what))

static struct json_object *last_exit(struct json_object *doc, size_t i)
{
	return doc_element(doc_element(doc, "vcpus", 0), "last_exits", i);
}

static bool is(struct json_object *o, const char *key, const char *value)
{
	const char *got = doc_get_text(o, key);

	if (got && !strcmp(got, value))
		return true;
	printf("# %s: %s\n", key, got ? got : "(none)");
	return false;
}

/* ---- why ------------------------------------------------------------------------------- */

static void dead(int error)
{
	json_object_put(told(report_dead(&cpus[0], error), 16));
}

UNIT_TEST(triple_fault)
{
	begin();
	run.exit = CLEAVE_EXIT_SHUTDOWN;
	run.raw_reason = 0x7f;
	st.sregs.idt.limit = 0;
	dead(0);
	SAYS("cleave: web-1: the guest died\n");
	SAYS("  what          triple fault: ");
	SAYS("  hint          the IDT is empty: ");
	SAYS("  exit          shutdown, reason 0x7f, information 0x0 0x0\n");
	SAYS("  guest         /boot/vmlinuz, 512 MiB, AMD-V, pid ");
	SAYS("  at            0008:0000000000001004, guest-physical 0x1004\n");
	SAYS("  mode          32-bit protected mode, paging off, CPL 0\n");
	SAYS("  instruction   0f 0b  ud2\n");
	SAYS("  rax    1122334455667788  rcx");
	SAYS("  ldt 0000  base 0000000000000000  limit 00000000  ar 10000 unusable\n");
	SAYS("idt base 0000000000002000 limit 0000\n");
}

/* With paging, by what its tables lack. */
UNIT_TEST(triple_fault_hints)
{
	uint32_t *directory = (uint32_t *)(ram + 0x10000), *table = (uint32_t *)(ram + 0x11000);
	unsigned int i;

	begin();
	run.exit = CLEAVE_EXIT_SHUTDOWN;
	st.sregs.cr0 = 0x80000001;
	st.sregs.cr3 = 0x10000;
	directory[0] = 0x11000 | 3;
	for (i = 0; i < 512; i++)
		table[i] = i << 12 | 3;
	dead(0);
	SAYS("hint          CR2 and the instruction above");
	table[2] = 0;
	dead(0);
	SAYS("hint          the IDT is not mapped");
	table[3] = 0;
	dead(0);
	SAYS("hint          the IDT is not mapped");
	SAYS("hint          the GDT is not mapped");
	table[7] = 0;
	dead(0);
	SAYS("hint          the stack is not mapped");
	SAYS_NOT("the code is not mapped");
	table[1] = 0;
	dead(0);
	SAYS("hint          the code is not mapped");
	SAYS(", not mapped by the guest's page tables\n");
	SAYS("  instruction   (not mapped)\n");
	directory[0] = 0xfffff000 | 3;
	dead(0);
	SAYS(", not mapped: a page table lies outside memory\n");
}

UNIT_TEST(refused)
{
	struct json_object *doc, *rule;

	begin();
	run.exit = CLEAVE_EXIT_REFUSED;
	strcpy(run.refused.section, "SDM vol. 3C 27.3.1.2");
	strcpy(run.refused.field, "CS access rights");
	memset(run.refused.legal, 'x', sizeof(run.refused.legal));	/* never ends */
	run.refused.value = 0xfedcba9876543210;
	doc = told(report_dead(&cpus[0], 0), 16);
	rule = doc_get_object(doc_get_object(doc, "why"), "rule");
	CHECK(is(rule, "section", "SDM vol. 3C 27.3.1.2"));
	CHECK(is(rule, "field", "CS access rights"));
	CHECK(is(rule, "value", "0xfedcba9876543210"));
	CHECK(strlen(doc_get_text(rule, "legal")) == sizeof(run.refused.legal) - 1);
	SAYS("  what          the processor refused the guest's state\n");
	SAYS("  rule          SDM vol. 3C 27.3.1.2: CS access rights\n");
	SAYS("  value         0xfedcba9876543210\n");
	SAYS("  legal         xxx");
	json_object_put(doc);
	run.refused.section[0] = 0;
	dead(0);
	SAYS("by a rule that the module does not check\n");
	SAYS_NOT("  rule ");
}

UNIT_TEST(other_deaths)
{
	begin();
	run.exit = CLEAVE_EXIT_MSR;
	run.msr.index = 0x123;
	run.msr.flags = CLEAVE_ACCESS_WRITE;
	dead(1);
	SAYS("write of MSR 0x123 left the module");
	run.exit = CLEAVE_EXIT_FAULT;
	run.fault.gpa = 0x5000;
	run.fault.hva = 0x7f0000005000;
	run.fault.flags = CLEAVE_ACCESS_WRITE;
	run.fault.error = EFAULT;
	dead(1);
	SAYS("could not provide a page of guest memory: Bad address");
	SAYS("  access        guest-physical 0x5000, write\n");
	SAYS("host address 0x7f0000005000");
	run.exit = CLEAVE_EXIT_MMIO;
	run.mmio.gpa = 0xfed00000;
	run.mmio.flags = CLEAVE_ACCESS_FETCH;
	strcpy(cpus[0].assist.text, "fsin");
	dead(-EOPNOTSUPP);
	SAYS("an instruction at a device that this tool does not know: fsin");
	SAYS("  access        guest-physical 0xfed00000, fetch\n");
	SAYS("a wild jump");
	run.exit = CLEAVE_EXIT_NONE;
	dead(-EIO);
	SAYS("CLEAVE_RUN failed: Input/output error");
	run.exit = 77;
	dead(1);
	SAYS("an exit that nobody asked for");
	SAYS("  exit          unknown, ");
}

UNIT_TEST(of_one_that_lives)
{
	struct json_object *doc;

	begin();
	st.events.injected = (struct cleave_event){
		.type = CLEAVE_EVENT_EXCEPTION, .vector = 14, .error_code = 2, .payload = 0xdead000,
		.flags = CLEAVE_EVENT_ERROR | CLEAVE_EVENT_PAYLOAD,
	};
	doc = told(alive(16), 16);
	CHECK(is(doc, "status", "running"));
	SAYS("cleave: web-1: running\n");
	SAYS("  in delivery   exception, vector 14 #PF, error code 0x2, address 0xdead000\n");
	SAYS_NOT("waiting");
	SAYS_NOT("what ");
	json_object_put(doc);
	st.mp.state = CLEAVE_MP_HALTED;
	doc = told(alive(16), 16);
	CHECK(is(doc, "status", "halted"));
	SAYS("cleave: web-1: halted");
	json_object_put(doc);
}

static void three_cpus(void)
{
	begin();
	m.cpus = 3;
	rips[1] = CODE;
	rips[2] = CODE + 2;
	mps[1] = CLEAVE_MP_HALTED;
	mps[2] = CLEAVE_MP_WAIT_SIPI;
	rec.kinds[CLEAVE_KIND_CPUID] = 7;
	recs[1].kinds[CLEAVE_KIND_HLT] = 1000;
	recs[2].kinds[CLEAVE_KIND_HLT] = 5;
}

/* Of several CPUs each has a line; one that runs is enough for the guest to. */
UNIT_TEST(several_cpus)
{
	struct json_object *doc;
	char *one = NULL;
	size_t len;
	FILE *f;

	three_cpus();
	doc = told(alive(16), 16);
	CHECK(is(doc, "status", "running"));
	CHECK_EQ(doc_length(doc, "vcpus"), 3);
	for (int i = 0; i < 3; i++)
		CHECK_EQ(doc_get_count(doc_element(doc, "vcpus", i), "id"), i);
	CHECK(is(doc_element(doc, "vcpus", 0), "rip", "0x1004"));
	CHECK(is(doc_element(doc, "vcpus", 1), "rip", "0x1000"));
	SAYS("  CPU 0         running       0008:0000000000001004             7 exits  ud2\n");
	SAYS("  CPU 1         halted        0008:0000000000001000          1000 exits  cpuid\n");
	SAYS("\nCPU 0\n");
	SAYS("\nCPU 2\n");
	SAYS("  exits         1000: hlt 1000\n");
	f = open_memstream(&one, &len);
	render_report(f, doc, 16, false);
	fclose(f);
	CHECK(strstr(one, "  CPU 2 ") && !strstr(one, "\nCPU 0\n") && !strstr(one, "rax"));
	CHECK(strstr(one, "`cleave explain web-1` tells each CPU's"));
	free(one);
	json_object_put(doc);
	mps[0] = CLEAVE_MP_HALTED;
	doc = told(alive(16), 16);
	CHECK(is(doc, "status", "halted"));
	SAYS("halted: all its CPUs wait for an interrupt\n");
	json_object_put(doc);
}

/* The one that died is told in full to who does not want all. */
UNIT_TEST(one_of_several_died)
{
	struct json_object *doc;
	char *one = NULL;
	size_t len;
	FILE *f;

	three_cpus();
	run.exit = CLEAVE_EXIT_SHUTDOWN;
	doc = report_dead(&cpus[1], 0);
	CHECK_EQ(doc_get_count(doc_get_object(doc, "why"), "cpu"), 1);
	f = open_memstream(&one, &len);
	render_report(f, doc, 16, false);
	fclose(f);
	CHECK(strstr(one, "the guest died") && strstr(one, "triple fault"));
	CHECK(strstr(one, "\nCPU 1, which died\n") && strstr(one, "hlt 1000"));
	CHECK(strstr(one, "  CPU 0 ") && !strstr(one, "\nCPU 0\n") && !strstr(one, "\nCPU 2"));
	free(one);
	doc = told(doc, 16);
	SAYS("\nCPU 0\n");
	SAYS("\nCPU 1, which died\n");
	json_object_put(doc);
}

/* As a whole a guest's report stays below what its readers take. */
UNIT_TEST(records_of_many_cpus)
{
	static struct vcpu many[CLEAVE_MAX_VCPUS];
	struct json_object *doc;
	const char *json;

	begin();
	for (int i = 0; i < 1000; i++)
		record(CLEAVE_KIND_IO, CODE, 0x3f8 | 4 << 16 | 1 << 24)->exit = CLEAVE_EXIT_IO;
	m.vcpu = many;
	m.cpus = CLEAVE_MAX_VCPUS;
	for (int i = 0; i < CLEAVE_MAX_VCPUS; i++)
		many[i] = (struct vcpu){ .m = &m, .id = i, .run = &run, .recorder = &rec };
	run.exit = CLEAVE_EXIT_SHUTDOWN;
	doc = report_dead(&many[77], 0);
	CHECK_EQ(doc_length(doc, "vcpus"), CLEAVE_MAX_VCPUS);
	CHECK_EQ(doc_length(doc_element(doc, "vcpus", 77), "last_exits"), CLEAVE_RECORDS - 1);
	CHECK_EQ(doc_length(doc_element(doc, "vcpus", 0), "last_exits"), 32);
	json = json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PLAIN);
	CHECK(strlen(json) < 15 << 20);
	json_object_put(doc);
}

UNIT_TEST(counters)
{
	struct json_object *doc;

	three_cpus();
	doc = counters_build(&m);
	CHECK_EQ(doc_get_count(doc_get_object(doc, "vm"), "exits"), 1012);
	CHECK_EQ(doc_get_count(doc_get_object(doc_get_object(doc, "vm"), "kinds"), "hlt"), 1005);
	CHECK_EQ(doc_length(doc, "vcpus"), 3);
	CHECK_EQ(doc_get_count(doc_element(doc, "vcpus", 2), "id"), 2);
	CHECK_EQ(doc_get_count(doc_element(doc, "vcpus", 2), "exits"), 5);
	json_object_put(doc);
}

/* ---- the last exits ------------------------------------------------------------------------ */

UNIT_TEST(exits)
{
	struct json_object *doc, *e;
	struct cleave_record *r;

	begin();
	record(CLEAVE_KIND_CPUID, CODE, 7 | 1ULL << 32);
	r = record(CLEAVE_KIND_IO, CODE + 2, 0x80 | 1 << 16);
	r->exit = CLEAVE_EXIT_IO;
	rec.exits[CLEAVE_EXIT_IO] = 1;
	r = record(CLEAVE_KIND_UD, CODE + 4, 0);
	r->entered_type = CLEAVE_EVENT_INTERRUPT;
	r->entered_vector = 0x30;
	r->raised = 1;
	r->raised_vector = 6;
	rec.events[CLEAVE_EVENT_INTERRUPT] = 1;
	record(CLEAVE_KIND_HLT, 0x80000000, 0);
	doc = told(alive(CLEAVE_RECORDS), 16);
	e = last_exit(doc, 0);
	CHECK(is(e, "kind", "cpuid") && is(e, "leaf", "0x7") && is(e, "subleaf", "0x1"));
	CHECK(is(e, "rip", "0x1000") && is(e, "bytes", "0f a2") && is(e, "instruction", "cpuid"));
	e = last_exit(doc, 1);
	CHECK(is(e, "kind", "port") && is(e, "port", "0x80") && is(e, "direction", "out"));
	CHECK(is(e, "to_user", "port") && doc_get_count(e, "size") == 1);
	e = last_exit(doc, 2);
	CHECK(is(e, "injected", "interrupt 0x30") && is(e, "raised", "#UD"));
	e = last_exit(doc, 3);
	CHECK(is(e, "instruction", "(not mapped)") && !last_exit(doc, 4));
	SAYS("  exits         4: cpuid 1, hlt 1, port 1, ud 1\n");
	SAYS("  to user space 1: port 1\n");
	SAYS("  injected      1: interrupt 1\n");
	SAYS("the last 4 of 4");
	SAYS("         7.500  0000000000001000  cpuid      cpuid | leaf 0x7, subleaf 0x1\n");
	SAYS("         5.000  0000000000001002  port       out 0x80, al | out 0x80 (POST), 1 byte | to user space: port\n");
	SAYS("         2.500  0000000000001004  ud         ud2 | interrupt 0x30 was injected | raised #UD\n");
	SAYS("         0.000  0000000080000000  hlt        (not mapped)\n");
	json_object_put(doc);
}

UNIT_TEST(exits_of_each_kind)
{
	static const struct {
		uint32_t kind;
		uint64_t detail, info;
		const char *name, *about;
	} all[] = {
		{ CLEAVE_KIND_HOST, 0, 0, "host", NULL },
		{ CLEAVE_KIND_IO, 0x3f8 | 4 << 16 | 1 << 24, 0, "port", "in 0x3f8 (COM1), 4 bytes" },
		{ CLEAVE_KIND_IO, 0x601 | 2 << 16, 0, "port", "out 0x601 (ACPI PM), 2 bytes" },
		{ CLEAVE_KIND_IO, 0x60c | 1 << 16, 0, "port", "out 0x60c, 1 byte" },
		{ CLEAVE_KIND_RDMSR, 0xc0000080, 0, "rdmsr", "0xc0000080 (IA32_EFER)" },
		{ CLEAVE_KIND_WRMSR, 0x12345, 0, "wrmsr", "0x12345" },
		{ CLEAVE_KIND_HYPERCALL, 5, 0, "hypercall", "number 0x5" },
		{ CLEAVE_KIND_CR_READ, 3, 0, "cr-read", "CR3" },
		{ CLEAVE_KIND_CR_WRITE, 8, 0, "cr-write", "CR8" },
		{ CLEAVE_KIND_STAGE2, 0xfec00000, 4, "stage2", "gpa 0xfec00000, read" },
		{ CLEAVE_KIND_STAGE2, 0x5000, 6, "stage2", "gpa 0x5000, write" },
		{ CLEAVE_KIND_STAGE2, 0x5000, 0x14, "stage2", "gpa 0x5000, fetch" },
		{ CLEAVE_KIND_EXCEPTION, 14, 0, "exception", "#PF" },
		{ CLEAVE_KIND_EXCEPTION, 15, 0, "exception", "vector 15" },
		{ CLEAVE_KIND_SHUTDOWN, 0, 0, "shutdown", NULL },
		{ 30, 0, 0, "30", NULL },
		{ 99, 0, 0, "99", NULL },
	};
	unsigned int i, n = sizeof(all) / sizeof(all[0]);
	struct json_object *doc;

	begin();
	for (i = 0; i < n; i++)
		record(all[i].kind, CODE, all[i].detail)->raw_info[0] = all[i].info;
	rec.records[0].exit = 99;
	doc = told(alive(CLEAVE_RECORDS), CLEAVE_RECORDS);
	for (i = 0; i < n; i++) {
		CHECK(is(last_exit(doc, i), "kind", all[i].name));
		if (all[i].about)
			CHECK(is(last_exit(doc, i), "about", all[i].about));
		else
			CHECK(!doc_get_text(last_exit(doc, i), "about"));
	}
	CHECK(is(last_exit(doc, 0), "to_user", "unknown"));
	json_object_put(doc);
	/* VT-x tells the access by other bits, and a TSC may be of unknown frequency. */
	m.info.vendor = CLEAVE_VENDOR_VMX;
	m.info.tsc_khz = 0;
	rec.records[9].raw_info[0] = 1;
	rec.records[10].raw_info[0] = 2;
	rec.records[11].raw_info[0] = 4;
	doc = told(alive(CLEAVE_RECORDS), CLEAVE_RECORDS);
	CHECK(is(last_exit(doc, 9), "access", "read") && is(last_exit(doc, 10), "access", "write"));
	CHECK(is(last_exit(doc, 11), "access", "fetch"));
	SAYS("             ?  0000000000001000  host");
	json_object_put(doc);
}

UNIT_TEST(exits_are_the_newest)
{
	struct json_object *doc;
	unsigned int i;

	begin();
	for (i = 0; i < 1000; i++)
		record(CLEAVE_KIND_RDMSR, CODE, i);
	doc = told(alive(3), 2);
	CHECK(is(last_exit(doc, 0), "msr", "0x3e5") && is(last_exit(doc, 2), "msr", "0x3e7"));
	CHECK(!last_exit(doc, 3));
	SAYS("the last 2 of 1000");
	json_object_put(doc);
	/* The module may be writing the next one; as it may be when it is told not to. */
	doc = told(alive(CLEAVE_RECORDS), 2);
	CHECK(is(last_exit(doc, 0), "msr", "0x2e9") && is(last_exit(doc, 254), "msr", "0x3e7"));
	json_object_put(doc);
	rec.frozen = 1;
	doc = told(alive(CLEAVE_RECORDS), 2);
	CHECK(is(last_exit(doc, 0), "msr", "0x2e9") && is(last_exit(doc, 254), "msr", "0x3e7"));
	CHECK(!last_exit(doc, 255));
	json_object_put(doc);
	doc = told(alive(0), 16);
	SAYS_NOT("last exits");
	json_object_put(doc);
}

/* ---- symbols ---------------------------------------------------------------------------------- */

static struct json_object *symbols_told(const char *map, const uint64_t *slide)
{
	char path[] = "/tmp/cleave-report-XXXXXX", err[256];
	struct json_object *doc = alive(16);
	struct cleave_symbols *symbols;
	int fd = mkstemp(path);

	if (fd < 0 || write(fd, map, strlen(map)) < 0 ||
	    cleave_symbols_open(path, &symbols, err, sizeof(err)))
		return doc;
	close(fd);
	unlink(path);
	symbolize(doc, symbols, "System.map", slide);
	cleave_symbols_free(symbols);
	return told(doc, 16);
}

UNIT_TEST(symbols)
{
	uint64_t slide = 0x40000000 - 0x400000;

	begin();
	record(CLEAVE_KIND_CPUID, CODE, 0);
	json_object_put(symbols_told("0000000000001000 T start\n0000000000001004 t die\n", NULL));
	SAYS("  symbols       System.map, moved by 0x0: not known");
	SAYS("  symbol        die+0x0\n");
	SAYS("  0000000000001000 start+0x0  cpuid ");
	st.regs.rip = 0x40000010;
	json_object_put(symbols_told("0000000000400000 T high\n", &slide));
	SAYS("moved by 0x3fc00000: --slide");
	SAYS("  symbol        high+0x10\n");
}

/* Where a Linux has moved itself to is read from the guest. */
UNIT_TEST(symbols_slide)
{
	static const char map[] =
		"ffffffff81000000 T _text\nffffffff81a00000 T entry_SYSCALL_64\nffffffff81b00a80 T asm_exc_page_fault\n";
	uint32_t gate[4] = { 0x00100a80, 0xa9b08e00, 0xffffffff, 0 };

	begin();
	st.sregs.efer = 1 << 10;
	st.regs.rip = 0xffffffffa9000123;
	lstar = 0xffffffffa9a00000;
	json_object_put(symbols_told(map, NULL));
	SAYS("moved by 0x28000000: IA32_LSTAR is entry_SYSCALL_64");
	SAYS("  symbol        _text+0x123\n");
	/* Not by a whole number of steps: some other kernel's handler. */
	lstar += 0x1000;
	json_object_put(symbols_told(map, NULL));
	SAYS("not known");
	memcpy(ram + 0x2000 + 14 * 16, gate, sizeof(gate));
	st.sregs.cr0 = 0x80000001;	/* no page table maps the IDT */
	json_object_put(symbols_told(map, NULL));
	SAYS("not known");
	st.sregs.cr0 = 1;
	json_object_put(symbols_told(map, NULL));
	SAYS("moved by 0x28000000: the IDT's gate 14 is asm_exc_page_fault");
	st.sregs.idt.limit = 14 * 16 + 14;
	json_object_put(symbols_told(map, NULL));
	SAYS("not known");
}

/* ---- documents that something else wrote --------------------------------------------------------- */

UNIT_TEST(odd_documents)
{
	static const char *const odd[] = {
		"{}", "{\"vcpus\":[]}", "{\"vcpus\":[null,1,\"x\",{}]}", "{\"vcpus\":{}}",
		"{\"why\":1,\"symbols\":[],\"vcpus\":[{\"last_exits\":[null,{},[],7],\"counters\":5}]}",
		"{\"why\":{\"hints\":[null,{},1],\"rule\":{},\"exit\":{}},\"vcpus\":[{\"registers\":{\"rax\":7}}]}",
		"{\"vcpus\":[{\"counters\":{\"kinds\":{\"a\":null,\"b\":\"x\"}}}],\"name\":null,\"status\":3}",
		"{\"vcpus\":[{\"last_exits\":[{\"us_before_last\":null}]}]}",
	};
	unsigned int i;

	for (i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		struct json_object *doc = doc_parse(odd[i], strlen(odd[i]));

		REQUIRE(doc);
		json_object_put(told(doc, 16));
		SAYS("cleave: ?: ");
	}
	CHECK(!doc_parse("{} {}", 5) && !doc_parse("[]", 2) && !doc_parse("{", 1) && !doc_parse("", 0));
	CHECK(!doc_parse("{\"a\":[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]}", 50));
}

/* Nothing in a document moves the terminal's cursor or makes a line of its own. */
UNIT_TEST(odd_bytes)
{
	static const char odd[] =
		"{\"name\":\"a\\u001b[2J\\nb\\u009bc\\u007f\",\"status\":\"x\\r\",\"vcpus\":[{\"symbol\":\"\\u0000\\u0008\"}]}";
	struct json_object *doc = doc_parse(odd, strlen(odd));
	size_t i;

	REQUIRE(doc);
	json_object_put(told(doc, 16));
	SAYS("cleave: a?[2J?b??c?: x?\n");
	for (i = 0; i < text_len; i++)
		CHECK(text[i] == '\n' || (text[i] >= ' ' && text[i] <= '~'));
}

UNIT_TEST(long_texts)
{
	struct json_object *doc = json_object_new_object();
	char big[5000];

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	doc_text(doc, "name", "web-1");
	doc_text(doc, "status", "dead");
	doc_text(doc, "kernel", big);
	doc_text(doc_object(doc, "why"), "what", big);
	json_object_put(told(doc, 16));
	SAYS("the guest died\n  what          xxx");
	SAYS("xxx\n  guest         xxx");
	CHECK(text[text_len - 1] == '\n');
}
