// SPDX-License-Identifier: GPL-2.0
/*
 * Hostile guests: random code and registers, page tables, events, answers of user
 * space, in each mode, on several vCPUs; and the host is what it was after each.
 *
 * A case is a seed: `test_fuzz_guest SEED` runs one again. FUZZ_SEED has other
 * cases, FUZZ_SECONDS as many as there is time for.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "kselftest_harness.h"
#include "assisted.h"
#include "health.h"
#include "hostile.h"

#define VCPUS		3
#define ACTIONS		16		/* of the thread that watches, a case */
#define ROUNDS		8		/* of new registers, a vCPU */
#define EXITS		48		/* a round */
#define EXIT_KINDS	(CLEAVE_EXIT_UNHANDLED + 1)

static const char *const exit_names[EXIT_KINDS] = {
	"none", "io", "mmio", "msr", "hlt", "shutdown", "window", "eoi", "hypercall", "insn",
	"fault", "refused", "unhandled",
};

static const char *const kind_names[] = {
	"none", "host", "cpuid", "hlt", "io", "rdmsr", "wrmsr", "hypercall", "cr_read", "cr_write",
	"xsetbv", "stage2", "exception", "window", "skip", "ud", "gp", "task_switch", "insn",
	"shutdown", "refused", "mce", "unhandled",
};

#define KINDS	(sizeof(kind_names) / sizeof(kind_names[0]))

/* Of all tests, which are processes of their own. */
static struct totals {
	uint64_t cases, runs, refused_state, refused_run, interrupted, assisted;
	uint64_t exits[EXIT_KINDS], kinds[CLEAVE_KINDS], events[4];
	uint64_t latency;		/* ns from the last kick to the end */
	uint64_t limit;			/* that it may take */
	uint64_t ns;
} *totals;

#define ADD(field, n)	__atomic_fetch_add(&totals->field, n, __ATOMIC_RELAXED)

struct fuzz_case;

struct fuzz_vcpu {
	struct vcpu v;
	struct fuzz_case *c;
	struct rng rng;
	struct hostile h;
	pthread_t thread;
	struct cleave_assist assist;
	volatile bool done;
};

struct fuzz_case {
	uint64_t seed;
	struct rng rng;
	struct vm vm;
	struct cleave_mem mem;
	void *ro, *lost;
	unsigned int vcpus;
	bool scribble;			/* to run pages, while the guest runs */
	volatile bool stop;
	int failures;
	struct fuzz_vcpu vcpu[VCPUS];
};

static void fail(struct fuzz_case *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void fail(struct fuzz_case *c, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (__atomic_fetch_add(&c->failures, 1, __ATOMIC_RELAXED) < 4)
		printf("# case %#llx: %s\n", (unsigned long long)c->seed, text);
	fflush(stdout);
}

/* ---- CLEAVE_RUN, and what the thread finds behind it --------------------------- */

struct fx {
	uint8_t b[512];
} __attribute__((aligned(16)));

#define FX_MXCSR	24
#define FX_ST(n)	(32 + 16 * (n))
#define FX_XMM		160
#define FX_END		416

/* All registers in use, none in error. */
static void fx_pattern(struct rng *rng, struct fx *fx)
{
	uint32_t mxcsr = 0x1f80 | rng_below(rng, 4) << 13;

	memset(fx, 0, sizeof(*fx));
	fx->b[0] = 0x7f;
	fx->b[1] = 3 | rng_below(rng, 4) << 2;
	fx->b[4] = 0xff;
	memcpy(fx->b + FX_MXCSR, &mxcsr, 4);
	for (int i = 0; i < 8; i++) {
		rng_fill(rng, fx->b + FX_ST(i), 10);
		fx->b[FX_ST(i) + 7] |= 0x80;
		fx->b[FX_ST(i) + 9] &= 0x3f;
	}
	rng_fill(rng, fx->b + FX_XMM, FX_END - FX_XMM);
}

static bool fx_same(const struct fx *a, const struct fx *b)
{
	if (memcmp(a->b, b->b, 2) || memcmp(a->b + FX_MXCSR, b->b + FX_MXCSR, 4) ||
	    memcmp(a->b + FX_XMM, b->b + FX_XMM, FX_END - FX_XMM))
		return false;
	for (int i = 0; i < 8; i++)
		if (memcmp(a->b + FX_ST(i), b->b + FX_ST(i), 10))
			return false;
	return true;
}

static uint64_t selectors(void)
{
	uint16_t s[4];

	asm volatile("mov %%ds, %0" : "=r"(s[0]));
	asm volatile("mov %%es, %0" : "=r"(s[1]));
	asm volatile("mov %%fs, %0" : "=r"(s[2]));
	asm volatile("mov %%gs, %0" : "=r"(s[3]));
	return s[0] | (uint64_t)s[1] << 16 | (uint64_t)s[2] << 32 | (uint64_t)s[3] << 48;
}

static int run(struct fuzz_vcpu *f)
{
	struct fx mine, saved, after;
	uint64_t before = selectors();
	long ret;

	fx_pattern(&f->rng, &mine);
	asm volatile("fxsave64 %[saved]\n\tfxrstor64 %[mine]\n\tsyscall\n\t"
		     "fxsave64 %[after]\n\tfxrstor64 %[saved]"
		     : "=a"(ret), [saved] "=m"(saved), [after] "=m"(after)
		     : "a"(SYS_ioctl), "D"((long)f->v.fd), "S"((long)CLEAVE_RUN), "d"(0l), [mine] "m"(mine)
		     : "rcx", "r11", "memory");
	if (!fx_same(&mine, &after))
		fail(f->c, "FPU registers of the owner changed");
	if (selectors() != before)
		fail(f->c, "segment registers of the owner changed");
	ADD(runs, 1);
	return ret;
}

/* ---- user space, which answers as it likes ---------------------------------------- */

static bool is_lapic(uint64_t gpa)
{
	return gpa >> 12 == 0xfee00;
}

static int answer_read(void *opaque, uint64_t gpa, void *data, unsigned int size)
{
	struct fuzz_vcpu *f = opaque;
	uint32_t val = 0;

	rng_fill(&f->rng, data, size);
	if (!is_lapic(gpa))
		return 0;
	lapic_read(&f->v, gpa & 0xff0, &val);
	memcpy(data, &val, size < 4 ? size : 4);
	return 0;
}

static int answer_write(void *opaque, uint64_t gpa, const void *data, unsigned int size)
{
	struct fuzz_vcpu *f = opaque;
	uint32_t val = 0;

	memcpy(&val, data, size < 4 ? size : 4);
	if (is_lapic(gpa))
		lapic_write(&f->v, gpa & 0xff0, val);
	return rng_once_in(&f->rng, 64) ? -EIO : 0;
}

static int answer_in(void *opaque, uint16_t port, uint32_t *data, unsigned int size)
{
	*data = rng_next(&((struct fuzz_vcpu *)opaque)->rng);
	return 0;
}

static int answer_out(void *opaque, uint16_t port, uint32_t data, unsigned int size)
{
	return 0;
}

static int fpu_get(void *opaque, struct cleave_fpu *fpu)
{
	return xioctl(((struct fuzz_vcpu *)opaque)->v.fd, CLEAVE_GET_FPU, fpu);
}

static int fpu_set(void *opaque, const struct cleave_fpu *fpu)
{
	return xioctl(((struct fuzz_vcpu *)opaque)->v.fd, CLEAVE_SET_FPU, (void *)fpu);
}

static void set_event(struct fuzz_vcpu *f, const struct cleave_event *exception)
{
	struct cleave_state *st = calloc(1, sizeof(*st));

	state_get(&f->v, CLEAVE_EVENTS, st);
	if (exception)
		st->events.exception = *exception;
	else
		hostile_events(&f->rng, &st->events);
	ADD(refused_state, state_set(&f->v, CLEAVE_EVENTS, st) != 0);
	free(st);
}

/* By libcleave, from a copy: others may write to the page. False: it cannot. */
static bool assist(struct fuzz_vcpu *f)
{
	struct cleave_run *copy = malloc(sizeof(*copy));
	int rc;

	*copy = *f->v.run;
	copy->dirty = 0;
	rc = cleave_assist(&f->assist, copy);
	f->v.run->regs = copy->regs;
	f->v.run->sregs = copy->sregs;
	f->v.run->dirty = copy->dirty;
	free(copy);
	if (rc == CLEAVE_ASSIST_FAULT)
		set_event(f, &f->assist.fault);
	ADD(assisted, rc >= 0);
	return rc >= 0;
}

/* Wrong data, in the fields of the exit or anywhere. */
static void scribble(struct rng *rng, struct cleave_run *r)
{
	if (rng_once_in(rng, 4)) {
		r->request = rng_once_in(rng, 2) ? rng_below(rng, 4) : hostile_value(rng);
		r->want = rng_once_in(rng, 2) ? rng_below(rng, 4) : hostile_value(rng);
		r->dirty = rng_once_in(rng, 2) ? rng_below(rng, 4) : hostile_value(rng);
	}
	if (rng_once_in(rng, 8))
		rng_fill(rng, r, sizeof(*r));
	else
		hostile_mutate(rng, r, sizeof(*r), 8);
	hostile_spare(emulated_by_tcg(), &r->regs, &r->sregs);
}

/* The round goes on? */
static bool answer(struct fuzz_vcpu *f)
{
	struct cleave_run *r = f->v.run;
	struct rng *rng = &f->rng;
	uint32_t exit = r->exit;

	switch (exit) {
	case CLEAVE_EXIT_IO:
		r->io.data = rng_next(rng);
		if (!(r->io.flags & CLEAVE_ACCESS_STRING))
			break;
		return assist(f);
	case CLEAVE_EXIT_MMIO:
	case CLEAVE_EXIT_INSN:
		if (assist(f))
			break;
		/* Over it, however long it may be. */
		r->regs.rip++;
		r->dirty = CLEAVE_REGS;
		return !rng_once_in(rng, 8);
	case CLEAVE_EXIT_MSR:
		r->msr.data = rng_next(rng);
		r->msr.error = rng_below(rng, 3);
		break;
	case CLEAVE_EXIT_HYPERCALL:
		r->regs.rax = hostile_value(rng);
		r->dirty = CLEAVE_REGS;
		break;
	case CLEAVE_EXIT_WINDOW:
		r->request = 0;
		set_event(f, NULL);
		break;
	case CLEAVE_EXIT_FAULT:
	case CLEAVE_EXIT_REFUSED:
	case CLEAVE_EXIT_SHUTDOWN:
	case CLEAVE_EXIT_UNHANDLED:
		return rng_once_in(rng, 4);	/* again the same, most likely */
	}
	if (rng_once_in(rng, 32))
		scribble(rng, r);
	return true;
}

/* ---- threads ------------------------------------------------------------------------ */

static void tidy(struct cleave_run *r)
{
	r->request = rng_once_in(&(struct rng){ now_ns() }, 4) ? CLEAVE_RUN_WINDOW : 0;
	r->reserved = 0;
	r->want = 0;
	r->dirty = 0;
}

/* The same state, once more. */
static bool is_let_in(struct fuzz_vcpu *f)
{
	int ret;

	do {
		tidy(f->v.run);
		ret = run(f);
	} while (ret == -EINTR && !f->c->stop);
	return ret || f->v.run->exit != CLEAVE_EXIT_REFUSED;
}

/*
 * QEMU 7.2 has a MOV to CR3 of bits that are reserved end in VMEXIT_INVALID instead
 * of #GP, in the middle of a guest. Others may have changed the instruction since: then
 * there is none that ends so any more, while a state that is refused stays so.
 */
static bool is_qemus_cr3(struct fuzz_vcpu *f)
{
	struct cleave_state *st = calloc(1, sizeof(*st));
	uint8_t code[3] = { 0 };
	uint64_t at;

	if (!f->h.tcg || f->v.run->refused.section[0]) {
		free(st);
		return false;
	}
	state_get(&f->v, CLEAVE_REGS | CLEAVE_SREGS, st);
	at = st->regs.rip + (st->sregs.cs.ar & CLEAVE_AR_L ? 0 : st->sregs.cs.base);
	do
		cleave_peek(&f->c->mem, &st->sregs, at++, code, sizeof(code));
	while (code[0] >= 0x40 && code[0] <= 0x4f);
	free(st);
	return (code[0] == 0x0f && code[1] == 0x22 && (code[2] >> 3 & 7) == 3) || is_let_in(f);
}

/*
 * Bochs 2.7 wants the RPL of a non-conforming CS to be its DPL, which no rule asks for (SDM vol. 3C
 * 27.3.1.2), and which is not so between MOV to CR0 and the jump into protected mode.
 */
static bool is_bochs_cs(struct fuzz_vcpu *f)
{
	struct cleave_state *st = calloc(1, sizeof(*st));
	const struct cleave_segment *cs = &st->sregs.cs;
	bool is = false;

	if (emulated_by_bochs() && !f->v.run->refused.section[0]) {
		state_get(&f->v, CLEAVE_SREGS, st);
		is = (cs->ar & 0xd) == 9 && (cs->selector & 3) != (cs->ar & CLEAVE_AR_DPL) >> 5;
	}
	free(st);
	return is;
}

static void judge(struct fuzz_vcpu *f)
{
	const struct cleave_run *r = f->v.run;
	uint32_t exit = r->exit;

	if (exit >= EXIT_KINDS || (exit == CLEAVE_EXIT_NONE && !f->c->scribble)) {
		if (!f->c->scribble)
			fail(f->c, "exit %u", exit);
		return;
	}
	ADD(exits[exit], 1);
	if (exit != CLEAVE_EXIT_REFUSED || f->c->scribble || is_qemus_cr3(f) ||
	    is_bochs_cs(f))
		return;
	vcpu_dump(&f->v);
	fail(f->c, "entry refused: %.47s, %.63s, %.127s: %#llx", r->refused.section,
	     r->refused.field, r->refused.legal, r->refused.value);
}

/* Of a level-triggered interrupt, that is in service all at once. */
static void end_of_interrupt(struct fuzz_vcpu *f)
{
	struct cleave_state *st = calloc(1, sizeof(*st));

	state_get(&f->v, CLEAVE_LAPIC, st);
	st->lapic.regs[0x120 / 4] |= 2;		/* ISR and TMR: vector 0x41 */
	st->lapic.regs[0x1a0 / 4] |= 2;
	if (state_set(&f->v, CLEAVE_LAPIC, st) || lapic_write(&f->v, 0xb0, 0))
		ADD(refused_state, 1);
	free(st);
}

/* Runs from new registers until the round is over. */
static void one_round(struct fuzz_vcpu *f)
{
	uint64_t refused = 0;

	tidy(f->v.run);
	hostile_state(&f->h, &f->v, &refused);
	ADD(refused_state, refused);
	if (rng_once_in(&f->rng, 8))
		end_of_interrupt(f);
	for (int i = 0; i < EXITS && !f->c->stop; i++) {
		int ret = run(f);

		if (!ret) {
			judge(f);
			if (!answer(f))
				return;
		} else if (ret == -EINVAL) {
			ADD(refused_run, 1);
			tidy(f->v.run);
		} else if (ret == -EINTR) {
			ADD(interrupted, 1);
			if (rng_once_in(&f->rng, 2))
				return;
			if (rng_once_in(&f->rng, 2))
				set_event(f, NULL);
		} else {
			fail(f->c, "CLEAVE_RUN: %d", ret);
			return;
		}
	}
}

static void *vcpu_main(void *arg)
{
	struct fuzz_vcpu *f = arg;

	for (int i = 0; i < ROUNDS && !f->c->stop; i++)
		one_round(f);
	f->done = true;
	return NULL;
}

static bool all_done(const struct fuzz_case *c)
{
	for (unsigned int i = 0; i < c->vcpus; i++)
		if (!c->vcpu[i].done)
			return false;
	return true;
}

static void set_slot(struct fuzz_case *c, uint32_t slot, uint32_t flags, uint64_t gpa, void *hva)
{
	ADD(refused_state, vm_slot(&c->vm, slot, flags, gpa, HOSTILE_SLOT_SIZE, hva) != 0);
}

/* Something from outside, while they run. */
static void act(struct fuzz_case *c)
{
	static const uint32_t modes[] = { 0, 0, MSI_LEVEL, MSI_LEVEL, 0x100, MSI_NMI, MSI_INIT, MSI_SIPI };
	struct fuzz_vcpu *f = &c->vcpu[rng_below(&c->rng, c->vcpus)];
	struct rng *rng = &c->rng;

	switch (rng_below(rng, 16)) {
	case 0:
		MUST(ioctl(f->v.fd, CLEAVE_NMI));
		break;
	case 1: case 2: case 3: case 4:
		vm_msi(&c->vm, MSI_ADDRESS(rng_once_in(rng, 8) ? 0xff : f->v.id) | rng_below(rng, 4) << 2,
		       RNG_PICK(rng, modes) | (rng_once_in(rng, 8) ? rng_below(rng, 256) : 0x30 + rng_below(rng, 0x80)));
		break;
	case 5:
		vm_slot(&c->vm, HOSTILE_RO_SLOT, 0, 0, 0, NULL);
		set_slot(c, HOSTILE_RO_SLOT, CLEAVE_SLOT_READONLY, HOSTILE_RO_GPA, c->ro);
		break;
	case 6:
		set_slot(c, HOSTILE_RO_SLOT, rng_below(rng, 2), HOSTILE_RO_GPA + rng_below(rng, 2) * 0x1000, c->ro);
		break;
	case 7:	/* page tables and code too: zeros then */
		madvise(c->vm.ram + rng_below(rng, 0x1f8) * 4096, rng_below(rng, 8) * 4096, MADV_DONTNEED);
		break;
	case 8:
		hostile_mutate(rng, c->vm.ram + GPA_CODE, HOSTILE_CODE_SIZE, c->vcpu[0].h.tcg ? 0 : 8);
		break;
	case 9:
		hostile_mutate(rng, c->vm.ram + 0x100000, 0x10000, 16);
		break;
	case 10:
		if (c->scribble)
			scribble(rng, f->v.run);
		break;
	default:
		MUST(ioctl(f->v.fd, CLEAVE_KICK));
		break;
	}
}

/* Brings all out of CLEAVE_RUN, which must not take long. */
static void stop(struct fuzz_case *c)
{
	uint64_t start = now_ns(), limit = totals->limit, took;
	struct timespec ts;

	c->stop = true;
	for (unsigned int i = 0; i < c->vcpus; i++)
		MUST(ioctl(c->vcpu[i].v.fd, CLEAVE_KICK));
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec += limit / SEC + 1;
	for (unsigned int i = 0; i < c->vcpus; i++) {
		if (!pthread_timedjoin_np(c->vcpu[i].thread, NULL, &ts))
			continue;
		fail(c, "vCPU %u is not out of CLEAVE_RUN %llu ms after a kick", i,
		     (unsigned long long)(now_ns() - start) / MS);
		recorder_dump(&c->vcpu[i].v);
		for (int k = 0; getenv("FUZZ_VERBOSE") && k < HOSTILE_CODE_SIZE; k++)
			dprintf(2, "%s%02x", k % 64 ? "" : "\n", c->vm.ram[GPA_CODE + k]);
		_exit(1);
	}
	took = now_ns() - start;
	totals->latency = took > totals->latency ? took : totals->latency;
}

/* ---- cases ---------------------------------------------------------------------------- */

static void add_vcpu(struct fuzz_case *c, unsigned int i, const struct hostile *h)
{
	struct fuzz_vcpu *f = &c->vcpu[i];

	vcpu_create(&c->vm, &f->v, i);
	f->c = c;
	f->rng.state = c->seed * 8 + i + 1;
	f->h = *h;
	f->h.rng = &f->rng;
	f->assist = (struct cleave_assist){
		.mem = &c->mem, .opaque = f, .mmio_read = answer_read, .mmio_write = answer_write,
		.pio_in = answer_in, .pio_out = answer_out, .fpu_get = fpu_get, .fpu_set = fpu_set,
	};
	if (cleave_assist_init(&f->assist))
		DIE("no memory");
}

static void case_create(struct fuzz_case *c, uint64_t seed)
{
	struct hostile h = { .vm = &c->vm, .rng = &c->rng, .mode = seed % HOSTILE_MODES,
			     .tcg = emulated_by_tcg() };
	uint64_t high = (1ull << dev_info().gpa_bits) - HOSTILE_SLOT_SIZE;

	memset(c, 0, sizeof(*c));
	c->seed = c->rng.state = seed;
	c->vcpus = 1 + rng_below(&c->rng, VCPUS);
	c->scribble = rng_once_in(&c->rng, 4);
	vm_create(&c->vm, RAM_SIZE, rng_below(&c->rng, 8));
	c->ro = mem_alloc(HOSTILE_SLOT_SIZE, 4096);
	c->lost = mem_alloc(HOSTILE_SLOT_SIZE, 4096);
	mprotect(c->lost, HOSTILE_SLOT_SIZE, PROT_NONE);
	set_slot(c, HOSTILE_RO_SLOT, CLEAVE_SLOT_READONLY, HOSTILE_RO_GPA, c->ro);
	set_slot(c, HOSTILE_LOST_SLOT, 0, HOSTILE_LOST_GPA, c->lost);
	set_slot(c, HOSTILE_HIGH_SLOT, 0, high, c->ro);
	MUST(cleave_mem_add(&c->mem, 0, RAM_SIZE, c->vm.ram, 0));
	MUST(cleave_mem_add(&c->mem, HOSTILE_RO_GPA, HOSTILE_SLOT_SIZE, c->ro, CLEAVE_MEM_READONLY));
	hostile_memory(&h);
	memcpy(c->ro, c->vm.ram + GPA_CODE, HOSTILE_CODE_SIZE);
	for (unsigned int i = 0; i < c->vcpus; i++)
		add_vcpu(c, i, &h);
}

/* What the recorder has counted, and the end. */
static void case_destroy(struct fuzz_case *c)
{
	for (unsigned int i = 0; i < c->vcpus; i++) {
		struct fuzz_vcpu *f = &c->vcpu[i];
		struct cleave_recorder *rec = mmap(NULL, sizeof(*rec), PROT_READ, MAP_SHARED, f->v.fd,
						   f->v.run_size);

		if (rec == MAP_FAILED)
			DIE("mmap of the recorder: errno %d", errno);
		for (int k = 0; k < CLEAVE_KINDS; k++)
			totals->kinds[k] += rec->kinds[k];
		for (int k = 0; k < 4; k++)
			totals->events[k] += rec->events[k];
		munmap(rec, sizeof(*rec));
		cleave_assist_free(&f->assist);
		vcpu_destroy(&f->v);
	}
	vm_destroy(&c->vm);
	munmap(c->ro, HOSTILE_SLOT_SIZE);
	munmap(c->lost, HOSTILE_SLOT_SIZE);
}

/* How many things went wrong? */
static int case_run(uint64_t seed, const struct health *before)
{
	static struct fuzz_case c;
	struct health now;
	long refs = module_refs();
	uint64_t start = now_ns();

	if (getenv("FUZZ_VERBOSE"))
		dprintf(2, "# case %#llx\n", (unsigned long long)seed);
	case_create(&c, seed);
	for (unsigned int i = 0; i < c.vcpus; i++)
		if (pthread_create(&c.vcpu[i].thread, NULL, vcpu_main, &c.vcpu[i]))
			DIE("no thread");
	for (int i = 0; i < ACTIONS && !all_done(&c); i++) {
		nap_us(50 + rng_below(&c.rng, 400));
		act(&c);
	}
	stop(&c);
	case_destroy(&c);
	if (!WAIT_FOR(module_refs() == refs, 2000))
		fail(&c, "%ld references to the module, %ld before", module_refs(), refs);
	health_read(&now);
	if (health_compare(before, &now))
		fail(&c, "the host has changed");
	totals->cases++;
	totals->ns += now_ns() - start;
	return c.failures;
}

/* How long a kick takes of a guest that does nothing wrong, in the worst case of some. */
static uint64_t usual_latency(void)
{
	uint64_t worst = 0;
	struct runner r;
	struct vcpu v;
	struct vm vm;

	vm_create(&vm, RAM_SIZE, 0);
	vcpu_create(&vm, &v, 0);
	vm_tables(&vm);
	memcpy(vm.ram + GPA_CODE, "\xeb\xfe", 2);
	vcpu_long(&v, GPA_CODE);
	for (int i = 0; i < 10; i++) {
		uint64_t start;

		runner_start(&r, &v, NULL, NULL);
		nap_us(500);
		start = now_ns();
		runner_stop(&r);
		worst = now_ns() - start > worst ? now_ns() - start : worst;
	}
	vcpu_destroy(&v);
	vm_destroy(&vm);
	return worst;
}

/* ---- tests ------------------------------------------------------------------------------ */

#define CASES	24		/* of each mode */
#define ROUNDS_OF_MEMORY	4

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

static struct totals *totals_map(void)
{
	struct totals *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (t == MAP_FAILED)
		DIE("no memory");
	return t;
}

FIXTURE(fuzz) {
	struct health before;
	bool msr_module;
};

FIXTURE_VARIANT(fuzz) {
	enum hostile_mode mode;
};

FIXTURE_VARIANT_ADD(fuzz, real) { HOSTILE_REAL };
FIXTURE_VARIANT_ADD(fuzz, protected) { HOSTILE_PROTECTED };
FIXTURE_VARIANT_ADD(fuzz, long) { HOSTILE_LONG };
FIXTURE_VARIANT_ADD(fuzz, wild) { HOSTILE_WILD };

/* Of its own segments too. */
static void own_ldt(void)
{
	struct user_desc d = { .entry_number = 1, .limit = 0xfff, .seg_32bit = 1, .useable = 1 };

	if (!syscall(SYS_modify_ldt, 1, &d, sizeof(d)))
		asm volatile("mov %0, %%es" : : "r"(1 << 3 | 7));
}

FIXTURE_SETUP(fuzz)
{
	own_ldt();
	self->msr_module = msr_module_load();
	ASSERT_EQ(0, access("/dev/cpu/0/msr", R_OK));
	if (!totals->limit)
		totals->limit = SEC + 100 * usual_latency();
	health_read(&self->before);
}

FIXTURE_TEARDOWN(fuzz)
{
	if (self->msr_module)
		msr_module_unload();
}

/* For a part of the time, or a number of cases; no more once a few have failed. */
static int some_cases(FIXTURE_DATA(fuzz) *self, uint64_t *seed, uint64_t seconds)
{
	uint64_t until = now_ns() + seconds * SEC / HOSTILE_MODES / ROUNDS_OF_MEMORY;
	int failed = 0;

	for (int i = 0; failed < 4 && (seconds ? now_ns() < until : i < CASES / ROUNDS_OF_MEMORY); i++) {
		failed += case_run(*seed, &self->before) != 0;
		*seed += HOSTILE_MODES;
	}
	return failed;
}

/* The exits that there is no way to, or none in that emulator. */
static bool out_of_reach(uint32_t exit)
{
	bool vmx = dev_info().vendor == CLEAVE_VENDOR_VMX;

	switch (exit) {
	case CLEAVE_EXIT_NONE:
	case CLEAVE_EXIT_REFUSED:	/* a failure, where it comes */
		return true;
	case CLEAVE_EXIT_INSN:		/* the processor tells all that there is to know */
		return vmx;
	case CLEAVE_EXIT_UNHANDLED:	/* a task switch: QEMU 7.2 does not look at that intercept */
		return emulated_by_tcg();
	}
	return false;
}

/* They got everywhere. */
static bool all_came(void)
{
	bool all = totals->refused_state && totals->refused_run;

	for (uint32_t i = 0; i < EXIT_KINDS; i++)
		all &= totals->exits[i] || out_of_reach(i);
	for (int i = CLEAVE_EVENT_INTERRUPT; i <= CLEAVE_EVENT_EXCEPTION; i++)
		all &= totals->events[i] != 0;
	return all;
}

TEST_F_TIMEOUT(fuzz, guests, 1000000)
{
	uint64_t seed = env_number("FUZZ_SEED", 1) << 32 | variant->mode;
	bool returned = false;
	int failed = 0;

	/*
	 * A page a case that is not given back would show in each round; a kernel that keeps what is
	 * freed for a while shows as much in some, where there are few cases.
	 */
	for (int i = 0; !failed && (i < ROUNDS_OF_MEMORY || (!returned && i < 4 * ROUNDS_OF_MEMORY)); i++) {
		uint64_t cases = totals->cases;
		long before = mem_free_kib();

		failed = some_cases(self, &seed, env_number("FUZZ_SECONDS", 0));
		cases = totals->cases - cases;
		returned |= WAIT_FOR(before - mem_free_kib() < 4 * (long)cases, 2000);
	}
	/* What is rare may take some more. */
	for (int i = 0; variant->mode == HOSTILE_MODES - 1 && i < 40 && !failed && !all_came(); i++)
		failed = some_cases(self, &seed, 0);
	EXPECT_EQ(0, failed);
	EXPECT_TRUE(returned || failed);
}

FIXTURE(fuzzed) { };
FIXTURE_SETUP(fuzzed) { }
FIXTURE_TEARDOWN(fuzzed) { }

static void report(void)
{
	uint64_t exits = 0;

	for (int i = 0; i < CLEAVE_KINDS; i++)
		exits += totals->kinds[i];
	printf("# %llu guests, %llu runs, %llu exits of the processor, in %llu ms; %llu instructions assisted\n",
	       (unsigned long long)totals->cases, (unsigned long long)totals->runs, (unsigned long long)exits,
	       (unsigned long long)(totals->ns / MS), (unsigned long long)totals->assisted);
	printf("# refused: %llu states, %llu runs; interrupted: %llu runs; triple faults: %llu; out of the guest after %llu us at most\n",
	       (unsigned long long)totals->refused_state, (unsigned long long)totals->refused_run,
	       (unsigned long long)totals->interrupted,
	       (unsigned long long)totals->exits[CLEAVE_EXIT_SHUTDOWN],
	       (unsigned long long)(totals->latency / 1000));
	printf("# to user space:");
	for (int i = 1; i < EXIT_KINDS; i++)
		printf(" %s %llu", exit_names[i], (unsigned long long)totals->exits[i]);
	printf("\n# of the processor:");
	for (size_t i = 0; i < KINDS; i++)
		printf(" %s %llu", kind_names[i], (unsigned long long)totals->kinds[i]);
	printf("\n# injected: interrupts %llu, NMIs %llu, exceptions %llu\n",
	       (unsigned long long)totals->events[CLEAVE_EVENT_INTERRUPT],
	       (unsigned long long)totals->events[CLEAVE_EVENT_NMI],
	       (unsigned long long)totals->events[CLEAVE_EVENT_EXCEPTION]);
}

/* They got everywhere. Last. */
TEST_F(fuzzed, every_exit)
{
	report();
	for (uint32_t i = 0; i < EXIT_KINDS; i++) {
		EXPECT_TRUE(totals->exits[i] || out_of_reach(i)) {
			TH_LOG("no exit: %s", exit_names[i]);
		}
	}
	for (int i = CLEAVE_EVENT_INTERRUPT; i <= CLEAVE_EVENT_EXCEPTION; i++)
		EXPECT_NE(0, totals->events[i]);
	EXPECT_NE(0, totals->refused_state);
	EXPECT_NE(0, totals->refused_run);
}

/* One case again. */
static int replay(uint64_t seed)
{
	struct health before;
	int failures;

	own_ldt();
	msr_module_load();
	totals->limit = SEC + 100 * usual_latency();
	health_read(&before);
	failures = case_run(seed, &before);
	report();
	return failures ? 1 : 0;
}

static void __attribute__((constructor)) __constructor_order_last(void)
{
	if (!__constructor_order)
		__constructor_order = _CONSTRUCTOR_ORDER_BACKWARD;
}

int main(int argc, char **argv)
{
	totals = totals_map();
	if (argc > 1)
		return replay(strtoull(argv[1], NULL, 0));
	return test_harness_run(argc, argv);
}
