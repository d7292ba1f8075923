// SPDX-License-Identifier: GPL-2.0
/*
 * libcleave's assist: any bytes as an instruction, any registers and page tables.
 * Input: choices, registers to change, entries of the page tables, the code. Each
 * runs twice, the second time from the cache: the same must come of it.
 */
#include <errno.h>
#include "libcleave.h"
#include "libcleave/x86.h"
#include "tool.h"

#define PAGE	4096u
#define RAM	0x8000u			/* of the guest, at 0: tables, code, data */
#define RO_GPA	0x10000u		/* a page that cannot be written */
#define ROOT	0x1000u			/* page tables: four pages, by any paging mode */
#define CODE	0x5000u
#define RFLAGS	0x3f7fd5u		/* those that are there */

struct world {
	uint8_t ram[RAM], ro[PAGE];
	struct cleave_run run;
	struct cleave_fpu fpu;
	uint64_t trace;			/* of what the devices saw */
	unsigned int accesses;
};

static struct world *w;
static struct cleave_mem mem;

/* ---- devices --------------------------------------------------------------------- */

static void saw(uint64_t a, uint64_t b, unsigned int size, bool write)
{
	w->trace = w->trace * 0x100000001b3 + a * 31 + b + size * 2 + write;
	w->accesses++;
}

static void check_mmio(uint64_t gpa, unsigned int size, bool write)
{
	PROMISE(size == 1 || size == 2 || size == 4 || size == 8);
	PROMISE((gpa & (PAGE - 1)) + size <= PAGE);
	PROMISE(write ? !cleave_mem_wptr(&mem, gpa, size) : !cleave_mem_ptr(&mem, gpa, size));
}

static int mmio_read(void *opaque, uint64_t gpa, void *data, unsigned int size)
{
	uint64_t v = gpa * 0x9e3779b97f4a7c15;

	check_mmio(gpa, size, false);
	saw(gpa, 0, size, false);
	memcpy(data, &v, size);
	return gpa >> 40 == 0xbad ? -EIO : 0;
}

static int mmio_write(void *opaque, uint64_t gpa, const void *data, unsigned int size)
{
	uint64_t v = 0;

	check_mmio(gpa, size, true);
	memcpy(&v, data, size);
	saw(gpa, v, size, true);
	return 0;
}

static int pio_in(void *opaque, uint16_t port, uint32_t *data, unsigned int size)
{
	PROMISE(size == 1 || size == 2 || size == 4);
	saw(port, 1, size, false);
	*data = 0x12345678 ^ w->accesses;
	return 0;
}

static int pio_out(void *opaque, uint16_t port, uint32_t data, unsigned int size)
{
	PROMISE(size == 1 || size == 2 || (size == 4 && 1));
	PROMISE(size == 4 || !(data >> 8 * size));
	saw(port, data, size, true);
	return 0;
}

static int fpu_get(void *opaque, struct cleave_fpu *fpu)
{
	*fpu = w->fpu;
	return 0;
}

static int fpu_set(void *opaque, const struct cleave_fpu *fpu)
{
	w->fpu = *fpu;
	return 0;
}

/* ---- the guest ----------------------------------------------------------------------- */

static struct cleave_segment segment(uint32_t ar)
{
	return (struct cleave_segment){ .limit = 0xffffffff, .ar = ar };
}

/* Real, protected, 32-bit, PAE and long mode, with four and five levels. */
static void set_mode(unsigned int mode)
{
	static const uint64_t cr4[] = { 0, 0, X86_CR4_PSE, X86_CR4_PAE, X86_CR4_PAE,
					X86_CR4_PAE | X86_CR4_LA57 };
	struct cleave_sregs *s = &w->run.sregs;

	s->cs = segment(mode >= 4 ? 0xa09b : mode ? 0xc09b : 0x9b);
	s->ds = s->es = s->fs = s->gs = s->ss = segment(mode ? 0xc093 : 0x93);
	s->tr = (struct cleave_segment){ .base = 0x7000, .limit = 0x67, .ar = 0x8b };
	s->cr0 = (mode ? X86_CR0_PE : 0) | (mode > 1 ? X86_CR0_PG | X86_CR0_WP : 0);
	s->cr3 = ROOT;
	s->cr4 = cr4[mode] | X86_CR4_OSFXSR;
	s->efer = mode >= 4 ? X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE : 0;
}

/*
 * Each table's first entry leads to the next page and the last one's to memory, page
 * by page; the second half of the last is devices.
 */
static void set_tables(unsigned int mode, struct input *in)
{
	static const unsigned int levels[] = { 0, 0, 2, 3, 4, 5 };
	uint32_t *t32 = (uint32_t *)(w->ram + ROOT);
	uint64_t *t = (uint64_t *)(w->ram + ROOT);
	unsigned int n = levels[mode], changes = take8(in) & 7;

	if (n > 4) {		/* of five, the first is its own second */
		t[1] = 0;
		n = 4;
	}
	for (unsigned int i = 0; i + 1 < n; i++)
		t[512 * i] = (ROOT + PAGE * (i + 1)) | (n == 3 && !i ? 1 : 7);
	for (unsigned int i = 0; i < 512 && n > 2; i++)
		t[512 * (n - 1) + i] = (i < 17 ? i : 0x40000 + i) * PAGE | 7;
	if (n == 2)
		t32[0] = (ROOT + PAGE) | 7;
	for (unsigned int i = 0; i < 1024 && n == 2; i++)
		t32[1024 + i] = (i < 17 ? i : 0x40000 + i) * PAGE | 7;
	while (changes--) {
		unsigned int at = take8(in);

		t[(at & 3) * 512 + (at >> 2)] = take64(in);
	}
}

static void set_registers(struct input *in)
{
	static const uint64_t likely[] = {
		0, 1, 0x5800, 0x6ffc, 0x7ff8, 0x10ffc, 0x11000, 0x1fffe, 0xfee000b0, 0xffff,
		0x7fffffff, 0xffffffff, 0x7ffffffffffc, 0xffff800000000000, ~0ull, 0xbad0000000008,
	};
	uint64_t *regs = (uint64_t *)&w->run.regs, *sregs = (uint64_t *)&w->run.sregs;
	unsigned int changes = take8(in);

	for (unsigned int i = 0; i < 16; i++)
		regs[i] = likely[(i * 5 + changes) & 15];
	w->run.regs.rip = CODE + take8(in) % 32;
	w->run.regs.rsp = 0x7f00;
	w->run.regs.rflags = 2 | (take64(in) & RFLAGS);
	for (changes &= 7; changes; changes--) {
		unsigned int at = take8(in), how = take8(in);
		uint64_t v = how & 64 ? likely[how & 15] : how & 32 ? take64(in) : 1ull << (how & 63);

		if (at & 0x80)
			sregs[(at & 0x7f) % (sizeof(w->run.sregs) / 8)] ^= v;
		else
			regs[at % 16] = v;
	}
}

static void set_exit(struct input *in)
{
	static const uint32_t exits[] = { CLEAVE_EXIT_INSN, CLEAVE_EXIT_MMIO, CLEAVE_EXIT_MMIO, CLEAVE_EXIT_IO };

	w->run.exit = exits[take8(in) & 3];
	if (w->run.exit == CLEAVE_EXIT_IO) {
		w->run.io.flags = CLEAVE_ACCESS_STRING;
		return;
	}
	w->run.mmio.flags = take8(in) & 31;
	/* Not memory that could be written, or there would have been no exit. */
	w->run.mmio.gpa = (w->run.mmio.flags & 1 ? RO_GPA : 0x40000000) | (take64(in) & 0xfff);
}

/* ---- promises ---------------------------------------------------------------------------- */

static void check_fault(const struct cleave_assist *a)
{
	const struct cleave_event *f = &a->fault;

	PROMISE(f->type == CLEAVE_EVENT_EXCEPTION && f->vector < 32);
	PROMISE(1u << f->vector & (1 << 1 | 1 << 6 | 1 << 7 | 1 << 12 | 1 << 13 | 1 << 14));
	PROMISE(!(f->flags & ~(CLEAVE_EVENT_ERROR | CLEAVE_EVENT_PAYLOAD)));
	PROMISE(f->vector < 8 ? !(f->flags & CLEAVE_EVENT_ERROR) : f->error_code < 0x8000);
}

static void check_result(const struct world *was, const struct cleave_assist *a, int rc)
{
	const struct cleave_run *run = &w->run;
	bool stepped = rc == CLEAVE_ASSIST_FAULT && a->fault.vector == X86_DB;

	PROMISE(rc == CLEAVE_ASSIST_DONE || rc == CLEAVE_ASSIST_FAULT || rc == -EOPNOTSUPP ||
		rc == -ENXIO || rc == -EIO);
	PROMISE(!(run->dirty & ~(uint64_t)(CLEAVE_REGS | CLEAVE_SREGS)));
	PROMISE(!((run->regs.rflags ^ was->run.regs.rflags) & ~(uint64_t)(RFLAGS | 2)));
	PROMISE(!memcmp(w->ro, was->ro, PAGE));
	if (rc == CLEAVE_ASSIST_FAULT)
		check_fault(a);
	if (rc < 0)
		PROMISE(rc == -EIO || (*a->text && memchr(a->text, 0, sizeof(a->text))));
	/* Who changes registers says so. */
	if (!(run->dirty & CLEAVE_REGS) && rc != CLEAVE_ASSIST_FAULT && rc != -EIO)
		PROMISE(!memcmp(&run->regs, &was->run.regs, sizeof(run->regs)));
	if (!(run->dirty & CLEAVE_SREGS))
		PROMISE(!memcmp(&run->sregs, &was->run.sregs, sizeof(run->sregs)));
	/* An instruction that is not done is where it was. */
	if (rc && !stepped)
		PROMISE(run->regs.rip == was->run.regs.rip);
}

static void check_walk(uint64_t gva, uint32_t access)
{
	struct cleave_walk walk = { &mem, &w->run.sregs, w->run.regs.rflags, 40 };
	struct cleave_walk_trace trace;
	struct cleave_event fault = { 0 };
	uint64_t gpa = 0;
	int rc = cleave_walk(&walk, gva, access, &gpa, &fault, &trace);

	PROMISE(rc == 0 || rc == -EFAULT || rc == -ENXIO);
	if (!rc)
		PROMISE(((gpa ^ gva) & (PAGE - 1)) == 0 && gpa < 1ull << 52);
	if (rc == -EFAULT)
		PROMISE(fault.vector == X86_PF_VECTOR || fault.vector == X86_GP);
	PROMISE(trace.count <= 5);
}

static void look_at_text(void)
{
	unsigned int len = 0;
	char text[64];

	if (!cleave_disasm(&mem, &w->run.regs, &w->run.sregs, text, sizeof(text), &len))
		PROMISE(len && len <= 15 && memchr(text, 0, sizeof(text)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world *now, *was, *first;
	struct cleave_assist a = {
		.mem = &mem, .phys_bits = 40, .mmio_read = mmio_read, .mmio_write = mmio_write,
		.pio_in = pio_in, .pio_out = pio_out, .fpu_get = fpu_get, .fpu_set = fpu_set,
	};
	struct input in = { data, size };
	unsigned int mode = take8(&in) % 6;
	struct cleave_event fault;
	int rc;

	if (!now) {
		now = malloc(sizeof(*now));
		was = malloc(sizeof(*was));
		first = malloc(sizeof(*first));
		PROMISE(!cleave_mem_add(&mem, 0, RAM, now->ram, 0));
		PROMISE(!cleave_mem_add(&mem, RO_GPA, PAGE, now->ro, CLEAVE_MEM_READONLY));
	}
	w = now;
	memset(w, 0, sizeof(*w));
	set_mode(mode);
	set_tables(mode, &in);
	set_registers(&in);
	set_exit(&in);
	take(&in, w->ram + w->run.regs.rip % RAM % (RAM - 16), 16);
	take(&in, w->fpu.region, 1024);
	check_walk(take64(&in), take8(&in) & 31);
	look_at_text();
	*was = *w;
	PROMISE(!cleave_assist_init(&a));
	rc = cleave_assist(&a, &w->run);
	check_result(was, &a, rc);
	*first = *w;
	fault = a.fault;
	*w = *was;
	PROMISE(cleave_assist(&a, &w->run) == rc);
	PROMISE(!memcmp(w, first, sizeof(*w)));
	PROMISE(rc != CLEAVE_ASSIST_FAULT || !memcmp(&fault, &a.fault, sizeof(fault)));
	cleave_assist_free(&a);
	return 0;
}
