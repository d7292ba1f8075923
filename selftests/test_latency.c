// SPDX-License-Identifier: GPL-2.0
/*
 * What guests cost their host in time: they die at once whatever they do, others on their CPU get
 * on, and changes to their memory hold nobody up. Times are measured against a plain process's.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "kselftest_harness.h"
#include "host.h"

#define VECTOR		0x40
#define GPA_ISR		(GPA_CODE + 0x800)	/* what the gates of a storm lead to */
#define FAR		0x40000000ull		/* no memory there */
#define ZAPPED		0x100000		/* to the end of RAM_SIZE */
#define MIB		0x100000ull
#define PAGE		0x1000ull

GUEST(spin, 64, "1:\tjmp 1b\n\t");
GUEST(spin_open, 64, "sti\n1:\tjmp 1b\n\t");
GUEST(halt, 64, "cli\n1:\thlt\n\tjmp 1b\n\t");
GUEST(exits, 64, "1:\txor %eax, %eax\n\tcpuid\n\tjmp 1b\n\t");
GUEST(to_user, 64, "1:\t" G_DONE "jmp 1b\n\t");
GUEST(mmio, 64, "1:\tmov 0x40000000, %eax\n\tjmp 1b\n\t");
GUEST(single_step, 64, "pushf\n\torl $0x100, (%rsp)\n\tpopf\n1:\tjmp 1b\n\t");
GUEST(undefined, 64, "1:\tud2\n\tjmp 1b\n\t");
GUEST(no_page, 64, "mov $0x200000000, %rbx\n1:\tmov (%rbx), %eax\n\tjmp 1b\n\t");
GUEST(iret, 64, "iretq\n\t");
GUEST(iret_error, 64, "add $8, %rsp\n\tiretq\n\t");

/* #AC from user mode, again and again: QEMU has none, and spins. */
GUEST(misaligned, 64,
	"mov %cr0, %rax\n\tor $" S(CR0_AM) ", %rax\n\tmov %rax, %cr0\n\t"
	"mov %rsp, %rax\n\tpush $" S(SEL_UDATA) "\n\tpush %rax\n\tpush $0x40002\n\t"
	"push $" S(SEL_UCODE64) "\n\tlea 1f(%rip), %rax\n\tpush %rax\n\tiretq\n"
	"1:\tmov " S(GPA_DATA) "+1, %eax\n\tjmp 1b\n\t");

/* The table takes its own entry away; the handler puts it back. */
GUEST(tables, 64,
	"mov $" S(GPA_PD) "+800, %ebx\n\tmov $0xc800000, %ecx\n"
	"1:\tandq $-2, (%rbx)\n\tinvlpg (%rcx)\n\tlea (%rcx), %rdx\n\ttestb $0, (%rdx)\n\tjmp 1b\n\t");
GUEST(tables_isr, 64, "orq $1, " S(GPA_PD) "+800\n\tadd $8, %rsp\n\tiretq\n\t");

GUEST(eoi, 64,
	"push %rax\n\tpush %rcx\n\tpush %rdx\n\t"
	"xor %eax, %eax\n\txor %edx, %edx\n\tmov $0x80b, %ecx\n\twrmsr\n\t"
	"pop %rdx\n\tpop %rcx\n\tpop %rax\n\tiretq\n\t");
GUEST(timer, 64,
	"xor %edx, %edx\n\tmov $0x83e, %ecx\n\tmov $0xb, %eax\n\twrmsr\n\t"
	"mov $0x832, %ecx\n\tmov $0x20040, %eax\n\twrmsr\n\t"
	"mov $0x838, %ecx\n\tmov $1, %eax\n\twrmsr\n\tsti\n1:\tjmp 1b\n\t");
GUEST(ipis, 64,
	"sti\n1:\txor %edx, %edx\n\tmov $0x830, %ecx\n\tmov $0xc0040, %eax\n\twrmsr\n\tjmp 1b\n\t");

/* Each page of the second MiB, over and over, while another thread takes them away. */
GUEST(touch, 64,
	"2:\tmov $0x100000, %ebx\n1:\tincl (%rbx)\n\tadd $0x1000, %ebx\n\t"
	"cmp $0x200000, %ebx\n\tjb 1b\n\tjmp 2b\n\t");

struct storm {
	const char *name, *code, *end;
	const char *isr, *isr_end;
	uint8_t vector;
	int vcpus;
	bool zapped;
};

#define CODE(n)		.name = #n, .code = n, .end = n##_end
#define ISR(v, n)	.vector = v, .isr = n, .isr_end = n##_end

static const struct storm storms[] = {
	{ CODE(spin) },
	{ CODE(spin_open) },
	{ CODE(halt) },
	{ CODE(exits) },
	{ CODE(to_user) },
	{ CODE(mmio) },
	{ CODE(single_step), ISR(1, iret) },
	{ CODE(undefined), ISR(6, iret) },
	{ CODE(no_page), ISR(14, iret_error) },
	{ CODE(misaligned), ISR(17, iret_error) },
	{ CODE(tables), ISR(14, tables_isr) },
	{ CODE(timer), ISR(VECTOR, eoi) },
	{ CODE(ipis), ISR(VECTOR, eoi), .vcpus = 4 },
	{ CODE(touch), .zapped = true },
	{ CODE(spin), .vcpus = 4 },
};

#define N_STORMS	(sizeof(storms) / sizeof(storms[0]))

static volatile int *at_work;	/* shared: set once all is there */

static void *run_forever(void *arg)
{
	for (;;)
		vcpu_run(arg);
	return NULL;
}

static void *zap_forever(void *arg)
{
	struct vm *vm = arg;

	for (;;)
		madvise(vm->ram + ZAPPED, vm->ram_size - ZAPPED, MADV_DONTNEED);
	return NULL;
}

/* Does not return. */
static void live(const struct storm *s)
{
	struct cleave_state st = { 0 };
	static struct vcpu v[4];
	pthread_t thread;
	struct vm vm;

	vm_create(&vm, RAM_SIZE, 0);
	vm_tables(&vm);
	vm_load(&vm, GPA_CODE, s->code, s->end - s->code);
	if (s->isr) {
		vm_load(&vm, GPA_ISR, s->isr, s->isr_end - s->isr);
		vm_gate(&vm, s->vector, GPA_ISR, 0, 0);
	}
	for (int i = 0; i < (s->vcpus ?: 1); i++) {
		vcpu_create(&vm, &v[i], i);
		vcpu_long(&v[i], GPA_CODE);
		vcpu_x2apic(&v[i]);
		state_must_set(&v[i], CLEAVE_MP, &st);
		if (i)
			MUST(-pthread_create(&thread, NULL, run_forever, &v[i]));
	}
	if (s->zapped)
		MUST(-pthread_create(&thread, NULL, zap_forever, &vm));
	*at_work = 1;
	run_forever(&v[0]);
}

/*
 * When a process ends that has an mmu notifier the kernel waits for an SRCU grace period, which a
 * real-time kernel does not expedite: there the process to compare with has a VM too.
 */
static void compute(void)
{
	struct vm vm;

	if (file_number("/sys/kernel/realtime") == 1)
		vm_create(&vm, RAM_SIZE, 0);
	*at_work = 1;
	asm volatile("1: jmp 1b");
}

/* A process on that CPU; without a storm one that computes. */
static pid_t start(const struct storm *s, int cpu)
{
	pid_t pid;

	*at_work = 0;
	pid = fork();
	if (pid)
		return pid;
	pin_to(cpu);
	if (s)
		live(s);
	compute();
	return 0;
}

/* ns from SIGKILL to its end; 0: it does not end. */
static uint64_t kill_and_wait(pid_t pid)
{
	uint64_t at = now_ns();
	pid_t got = 0;
	int status;

	kill(pid, SIGKILL);
	while (!got && now_ns() - at < 20 * SEC) {
		got = waitpid(pid, &status, WNOHANG);
		if (!got)
			nap_us(50);
	}
	return got == pid ? now_ns() - at : 0;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t median(uint64_t *of, int n)
{
	qsort(of, n, sizeof(*of), by_value);
	return of[n / 2];
}

#define KILLS	7

/* The median of so many; 0: one did not end. */
static uint64_t time_to_die(const struct storm *s)
{
	uint64_t took[KILLS];

	for (int i = 0; i < KILLS; i++) {
		pid_t pid = start(s, 0);

		if (!WAIT_FOR(*at_work, 20000))
			return 0;
		nap_us(20000);
		took[i] = kill_and_wait(pid);
		if (!took[i])
			return 0;
	}
	return median(took, KILLS);
}

FIXTURE(latency) {
	long refs;
	int cpus;
};

FIXTURE_SETUP(latency)
{
	at_work = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	self->refs = module_refs();
	self->cpus = cpu_online(1) ? 2 : 1;
}

FIXTURE_TEARDOWN(latency)
{
	EXPECT_TRUE(WAIT_FOR(module_refs() == self->refs, 5000));
}

/* In 10 ms, and as much more as a process that only computes shows this machine to be slow. */
TEST_F_TIMEOUT(latency, killed_in_every_state, 280)
{
	uint64_t plain, took;

	pin_to(self->cpus - 1);
	plain = time_to_die(NULL);
	ASSERT_GT(plain, 0);
	for (int i = 0; i < N_STORMS; i++) {
		took = time_to_die(&storms[i]);
		printf("# %s: %llu us, a process that computes: %llu us\n", storms[i].name,
		       (unsigned long long)took / 1000, (unsigned long long)plain / 1000);
		ASSERT_GT(took, 0) TH_LOG("%s does not die", storms[i].name);
		/* A slow host takes longer for all that is behind a guest's end, too. */
		EXPECT_LT(took, 10 * MS + (patience() > 1 || emulated_by_bochs() ? 24 : 3) * plain)
			TH_LOG("%s", storms[i].name);
	}
}

/*
 * The end of a VM waits for nothing: no grace period, on no kernel. (That of the last one does on
 * VT-x, where it gives the kernel's crash callback back.)
 */
TEST_F(latency, closed_at_once)
{
	uint64_t took[KILLS];
	struct vm vm, other;
	struct vcpu v;

	vm_create(&other, RAM_SIZE, 0);
	for (int i = 0; i < KILLS; i++) {
		GUEST_SIMPLE(&vm, &v, to_user);
		vcpu_run_done(&v);
		took[i] = now_ns();
		vcpu_destroy(&v);
		vm_destroy(&vm);
		took[i] = now_ns() - took[i];
	}
	vm_destroy(&other);
	took[0] = median(took, KILLS);
	printf("# %llu us\n", (unsigned long long)took[0] / 1000);
	EXPECT_LT(took[0], 10 * MS * patience() * (emulated_by_bochs() ? 2 : 1));
}

#define WAKEUPS	40

/* How late a thread of the highest priority comes to the CPU that it shares, at the median. */
static uint64_t lateness(void)
{
	struct sched_param fifo = { .sched_priority = 50 }, other = { 0 };
	struct timespec at;
	uint64_t late[WAKEUPS];

	MUST(sched_setscheduler(0, SCHED_FIFO, &fifo));
	for (int i = 0; i < WAKEUPS; i++) {
		uint64_t when = now_ns() + MS;

		at.tv_sec = when / SEC;
		at.tv_nsec = when % SEC;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
		late[i] = now_ns() - when;
	}
	MUST(sched_setscheduler(0, SCHED_OTHER, &other));
	return median(late, WAKEUPS);
}

/* Of work that is done in the time it gets; per second of real time. */
static uint64_t progress(void)
{
	uint64_t start = now_ns(), end = start + 300 * MS, done = 0;

	while (now_ns() < end)
		done++;
	return done * SEC / (now_ns() - start);
}

/* Beside one process or storm that has the CPU too. */
struct share {
	uint64_t late, done;
};

static struct share share_with(const struct storm *s)
{
	struct share sh = { 0 };
	pid_t pid = start(s, 0);

	if (!WAIT_FOR(*at_work, 20000))
		DIE("the storm did not begin");
	sh.late = lateness();
	sh.done = progress();
	if (!kill_and_wait(pid))
		DIE("the storm did not end");
	return sh;
}

#define TICK	(5 * MS)	/* 250 Hz, and then it runs */
#define TRIES	4	/* the machine below may be busy with something else */

/*
 * On one CPU with the storm, a thread of ordinary priority gets at least half of its share of
 * what it has beside a process that computes, and one of high priority comes within a tick.
 */
TEST_F_TIMEOUT(latency, others_get_on, 280)
{
	struct share plain, got;
	bool late, poor;

	pin_to(0);
	plain = share_with(NULL);
	for (int i = 0; i < N_STORMS; i++) {
		int threads = (storms[i].vcpus ?: 1) + storms[i].zapped;

		late = poor = true;
		for (int try = 0; try < TRIES && (late || poor); try++) {
			got = share_with(&storms[i]);
			late &= got.late >= 3 * plain.late + TICK;
			poor &= got.done * (threads + 1) <= plain.done;
		}
		printf("# %s: late %llu us, %llu times; beside a process: %llu us, %llu times\n",
		       storms[i].name, (unsigned long long)got.late / 1000,
		       (unsigned long long)got.done, (unsigned long long)plain.late / 1000,
		       (unsigned long long)plain.done);
		EXPECT_FALSE(late) TH_LOG("%s", storms[i].name);
		EXPECT_FALSE(poor) TH_LOG("%s", storms[i].name);
	}
}

/* ---- memory, many GiB of it in small pages ---------------------------------- */

#define GPA_BIG		0x100000000ull
/* Slots with the same memory: a change to it costs cleave as many times what it costs the kernel. */
#define BIG_SLOTS	4

/* Reads a word of each 16th page from RBX to RSI: the kernel maps their neighbours. */
GUEST(read_all, 64,
	"1:\tmov (%rbx), %rax\n\tadd $0x10000, %rbx\n\tcmp %rsi, %rbx\n\tjb 1b\n\t" G_DONE);

struct big {
	struct vm vm;
	struct vcpu v;
	uint8_t *mem;
	size_t size, span;	/* of the memory; of what the guest sees of it */
	pid_t child;
};

/* The guest has page tables for it, and so has the host; it is all the one page of zeros. */
static void big_create(struct big *b, size_t size)
{
	uint64_t *pml4, *pdpt;

	GUEST_SIMPLE(&b->vm, &b->v, read_all);
	pml4 = (uint64_t *)(b->vm.ram + GPA_PML4);
	pdpt = (uint64_t *)(b->vm.ram + (pml4[0] & ~0xfffull));
	/* 1 GiB pages of the guest's: where it has none of them, 2 MiB ones in its RAM. */
	for (size_t i = 0; i < size >> 30; i++) {
		uint64_t pd = 0x100000 + i * PAGE, *e = (uint64_t *)(b->vm.ram + pd);

		pdpt[4 + i] = pd | 7;
		for (int k = 0; k < 512; k++)
			e[k] = (GPA_BIG + (i << 30) + ((uint64_t)k << 21)) | 0x87;
	}
	b->span = size;
	b->size = size / BIG_SLOTS;
	b->mem = mem_alloc(b->size, 2 * MIB);
	madvise(b->mem, b->size, MADV_NOHUGEPAGE);
	*b->mem = 0;		/* it has pages of its own: a fork copies its tables */
	for (int i = 0; i < BIG_SLOTS; i++)
		MUST(vm_slot(&b->vm, 1 + i, 0, GPA_BIG + i * b->size, b->size, b->mem));
}

static void big_fill(struct big *b)
{
	struct cleave_regs regs;

	MUST(madvise(b->mem, b->size, 22 /* MADV_POPULATE_READ */));
	regs_get(&b->v, &regs);
	regs.rip = GPA_CODE;
	regs.rbx = GPA_BIG;
	regs.rsi = GPA_BIG + b->span;
	regs_set(&b->v, &regs);
	vcpu_run_done(&b->v);
}

static void big_fork(struct big *b)
{
	b->child = fork();
	if (!b->child)
		for (;;)
			pause();
}

static void big_unmap(struct big *b)
{
	MUST(madvise(b->mem, b->size, MADV_DONTNEED));
	*b->mem = 0;
}

/* Of another process, as a fork of this one's memory stops its threads. */
struct watch {
	volatile bool on, off;
	volatile uint64_t worst;
};

/* How long a thread of high priority waits for the CPU at most. Does not return. */
static void watch_main(struct watch *w)
{
	struct sched_param fifo = { .sched_priority = 50 };
	struct timespec at;
	uint64_t when, now;

	MUST(sched_setscheduler(0, SCHED_FIFO, &fifo));
	for (;;) {
		when = now_ns() + MS / 2;
		at.tv_sec = when / SEC;
		at.tv_nsec = when % SEC;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
		now = now_ns();
		if (w->on && now - when > w->worst)
			w->worst = now - when;
		if (w->off) {
			w->on = false;
			w->off = false;
		}
	}
}

FIXTURE(big) {
	struct big b;
	struct watch *w;
	pid_t watcher;
};

FIXTURE_VARIANT(big) {
	void (*change)(struct big *b);
	int rounds;
};

FIXTURE_VARIANT_ADD(big, forked) { .change = big_fork, .rounds = 6 };
FIXTURE_VARIANT_ADD(big, unmapped) { .change = big_unmap, .rounds = 4 };

FIXTURE_SETUP(big)
{
	pin_to(0);
	self->w = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	self->watcher = fork();
	if (!self->watcher)
		watch_main(self->w);
	big_create(&self->b, (emulated_by_bochs() ? 1 : 4) * 1024 * MIB);
}

FIXTURE_TEARDOWN(big)
{
	kill(self->watcher, SIGKILL);
	waitpid(self->watcher, NULL, 0);
	vcpu_destroy(&self->b.v);
	vm_destroy(&self->b.vm);
}

/* The guest's entries are gone through in steps: less than a tenth of the whole at a time. */
TEST_F_TIMEOUT(big, holds_nobody_up, 280)
{
	bool in_time = false;
	uint64_t took;
	int status;

	for (int i = 0; i < variant->rounds && !in_time; i++) {
		big_fill(&self->b);
		self->w->worst = 0;
		self->w->on = true;
		took = now_ns();
		variant->change(&self->b);
		took = now_ns() - took;
		self->w->off = true;
		ASSERT_TRUE(WAIT_FOR(!self->w->on, 5000));
		printf("# late %llu us of %llu us\n", (unsigned long long)self->w->worst / 1000,
		       (unsigned long long)took / 1000);
		in_time = self->w->worst < took / 10;
		if (self->b.child) {
			kill(self->b.child, SIGKILL);
			ASSERT_EQ(self->b.child, waitpid(self->b.child, &status, 0));
		}
	}
	EXPECT_TRUE(in_time);
}

TEST_HARNESS_MAIN
