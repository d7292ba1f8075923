// SPDX-License-Identifier: GPL-2.0
/*
 * What the process that runs a guest has of the CPU for itself is as it was
 * after each exit: segments of its LDT, bases, I/O permissions, descriptor
 * tables, ways into the kernel, its CPU's number, CR4. The guest has junk in all of
 * them, and the thread moves between CPUs.
 */
#define _GNU_SOURCE
#include <asm/ldt.h>
#include <asm/prctl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/io.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include "kselftest_harness.h"
#include "host.h"

#define ROUNDS		(emulated_by_bochs() ? 300 : 1000)
#define MOVE		10		/* exits on a CPU before the thread moves on */
#define PORT_MINE	0x80		/* the port of POST codes: nobody minds */
#define PORT_NOT_MINE	0x81
#define LDT_SEL(n)	((n) << 3 | 7)	/* LDT, RPL 3 */

#define G_WRMSR(index)	"mov $" #index ", %ecx\n\twrmsr\n\t"

/*
 * EDX:EAX is canonical and another in each round. Tables that are nowhere are
 * loaded last: this guest has no exceptions.
 */
GUEST(junk, 64,
	"lgdt gdt_ptr(%rip)\n\tmov $0x50, %eax\n\tlldt %ax\n\t"
	"mov $0x3b, %eax\n\tmov %eax, %ds\n\tmov %eax, %es\n\tmov %eax, %fs\n\tmov %eax, %gs\n\t"
	"1:\tlgdt no_gdt(%rip)\n\tlidt no_idt(%rip)\n\t"
	"inc %r8d\n\tmov %r8d, %eax\n\tshl $12, %eax\n\tmov $0x7abc, %edx\n\t"
	G_WRMSR(0xc0000081) G_WRMSR(0xc0000082) G_WRMSR(0xc0000083)
	G_WRMSR(0xc0000100) G_WRMSR(0xc0000101) G_WRMSR(0xc0000102)
	G_WRMSR(0x175) G_WRMSR(0x176)
	"xor %edx, %edx\n\t" G_WRMSR(0xc0000084) G_WRMSR(0x174)
	"cmpl $0, has_aux(%rip)\n\tje 2f\n\t" G_WRMSR(0xc0000103)
	"2:\tswapgs\n\tmov %r8d, %eax\n\tout %eax, $" S(PORT_DONE) "\n\tjmp 1b\n"
	"has_aux:\t.long 1\n"
	"gdt_ptr:\t.short 0x5f\n\t.quad " S(GPA_GDT) "\n"
	"no_gdt:\t.short 0xabc\n\t.quad 0x123456789000\n"
	"no_idt:\t.short 0x123\n\t.quad 0x234567890000\n\t");

FIXTURE(owner) {
	struct vm vm;
	struct vcpu v;
	int cpus;
};

FIXTURE_SETUP(owner)
{
	uint64_t *gdt;

	while (self->cpus < 4 && cpu_online(self->cpus))
		self->cpus++;
	GUEST_SIMPLE(&self->vm, &self->v, junk);
	if (!cpuid_offered(0x80000001, 3, 27))
		memset(memmem(self->vm.ram + GPA_CODE, 4096, "\1\0\0\0\x5f\0", 6), 0, 4);
	gdt = (uint64_t *)(self->vm.ram + GPA_GDT);
	gdt[10] = 0x0000820000000fff | (uint64_t)GPA_DATA << 16;	/* an LDT */
	gdt[11] = 0;
}

FIXTURE_TEARDOWN(owner)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

/* Without errno, which is behind FS. */
static inline long raw(long nr, long a, long b, long c)
{
	long ret;

	asm volatile("syscall" : "=a"(ret) : "a"(nr), "D"(a), "S"(b), "d"(c)
		     : "rcx", "r11", "memory");
	return ret;
}

static inline int run_raw(struct vcpu *v)
{
	return raw(SYS_ioctl, v->fd, CLEAVE_RUN, 0);
}

/* The guest did its round, which is the i-th, from 0. */
#define ASSERT_ROUND(i, v) do {						\
	ASSERT_EQ(CLEAVE_EXIT_IO, (v)->run->exit);			\
	ASSERT_EQ(PORT_DONE, (v)->run->io.port);			\
	ASSERT_EQ((i) + 1, (v)->run->io.data);				\
} while (0)

static inline void move_raw(int cpu)
{
	unsigned long mask = 1ul << cpu;

	raw(SYS_sched_setaffinity, 0, sizeof(mask), (long)&mask);
}

static int cpu_of(int round, int cpus)
{
	return round / MOVE % cpus;
}

/* A page whose first word is that, where a descriptor's 32-bit base can be. */
static uint32_t *low_page(uint32_t word)
{
	uint32_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);

	if (p == MAP_FAILED)
		DIE("no page below 4 GiB");
	*p = word;
	return p;
}

static int ldt_set(int n, void *base)
{
	struct user_desc d = {
		.entry_number = n, .base_addr = (uintptr_t)base, .limit = 0xfff, .seg_32bit = 1,
		.useable = 1,
	};

	return syscall(SYS_modify_ldt, 1, &d, sizeof(d));
}

struct segments {
	uint16_t ds, es, fs, gs;
	uint32_t fs_word, gs_word;
	int ret;
};

/* One exit with the LDT's segments loaded, and what they are behind it. No TLS in between. */
static void __attribute__((noinline)) run_with_segments(struct vcpu *v, int cpu, struct segments *s)
{
	unsigned long fs_base = 0, gs_base = 0;

	raw(SYS_arch_prctl, ARCH_GET_FS, (long)&fs_base, 0);
	raw(SYS_arch_prctl, ARCH_GET_GS, (long)&gs_base, 0);
	asm volatile("mov %0, %%fs\n\tmov %1, %%gs\n\tmov %2, %%ds\n\tmov %3, %%es"
		     : : "r"(LDT_SEL(2)), "r"(LDT_SEL(3)), "r"(LDT_SEL(0)), "r"(LDT_SEL(1)));
	move_raw(cpu);
	s->ret = run_raw(v);
	asm volatile("mov %%ds, %0" : "=r"(s->ds));
	asm volatile("mov %%es, %0" : "=r"(s->es));
	asm volatile("mov %%fs, %0" : "=r"(s->fs));
	asm volatile("mov %%gs, %0" : "=r"(s->gs));
	asm volatile("movl %%fs:0, %0" : "=r"(s->fs_word));
	asm volatile("movl %%gs:0, %0" : "=r"(s->gs_word));
	asm volatile("mov %0, %%fs\n\tmov %0, %%gs\n\tmov %0, %%ds\n\tmov %0, %%es" : : "r"(0));
	raw(SYS_arch_prctl, ARCH_SET_FS, fs_base, 0);
	raw(SYS_arch_prctl, ARCH_SET_GS, gs_base, 0);
}

TEST_F_TIMEOUT(owner, segments_of_its_ldt, 120)
{
	uint32_t *pages[4];

	for (int i = 0; i < 4; i++) {
		pages[i] = low_page(0xabcd0000 + i);
		if (ldt_set(i, pages[i]))
			SKIP(return, "the kernel has no LDTs");
	}
	for (int i = 0; i < ROUNDS; i++) {
		struct segments s = { 0 };

		run_with_segments(&self->v, cpu_of(i, self->cpus), &s);
		ASSERT_EQ(0, s.ret);
		ASSERT_EQ(LDT_SEL(0), s.ds);
		ASSERT_EQ(LDT_SEL(1), s.es);
		ASSERT_EQ(LDT_SEL(2), s.fs);
		ASSERT_EQ(LDT_SEL(3), s.gs);
		ASSERT_EQ(0xabcd0002, s.fs_word);
		ASSERT_EQ(0xabcd0003, s.gs_word);
		ASSERT_ROUND(i, &self->v);
	}
}

/* Bases that no selector has. */
TEST_F_TIMEOUT(owner, bases, 120)
{
	unsigned long tls, fs, gs, mine = 0x123456789000;
	int ret;

	ASSERT_EQ(0, syscall(SYS_arch_prctl, ARCH_GET_FS, &tls));
	for (int i = 0; i < ROUNDS; i++) {
		mine += 0x1000;
		move_raw(cpu_of(i, self->cpus));
		raw(SYS_arch_prctl, ARCH_SET_GS, mine + 0x800, 0);
		raw(SYS_arch_prctl, ARCH_SET_FS, mine, 0);
		ret = run_raw(&self->v);
		raw(SYS_arch_prctl, ARCH_GET_FS, (long)&fs, 0);
		raw(SYS_arch_prctl, ARCH_GET_GS, (long)&gs, 0);
		raw(SYS_arch_prctl, ARCH_SET_FS, tls, 0);
		ASSERT_EQ(0, ret);
		ASSERT_ROUND(i, &self->v);
		ASSERT_EQ(mine, fs);
		ASSERT_EQ(mine + 0x800, gs);
	}
}

static sigjmp_buf fault;

static void on_fault(int sig)
{
	siglongjmp(fault, sig);
}

/* Is it let through? The TSS' limit and the bitmap behind it decide. */
static bool port_works(uint16_t port)
{
	uint8_t val;

	if (sigsetjmp(fault, 1))
		return false;
	asm volatile("inb %1, %0" : "=a"(val) : "Nd"(port));
	return true;
}

TEST_F_TIMEOUT(owner, io_permissions, 120)
{
	signal(SIGSEGV, on_fault);
	ASSERT_EQ(0, ioperm(PORT_MINE, 1, 1));
	for (int i = 0; i < ROUNDS; i++) {
		move_raw(cpu_of(i, self->cpus));
		ASSERT_EQ(0, vcpu_run(&self->v));
		ASSERT_ROUND(i, &self->v);
		ASSERT_TRUE(port_works(PORT_MINE));
		ASSERT_FALSE(port_works(PORT_NOT_MINE));
	}
	ASSERT_EQ(0, ioperm(PORT_MINE, 1, 0));
	ASSERT_EQ(0, vcpu_run(&self->v));
	ASSERT_FALSE(port_works(PORT_MINE));
	signal(SIGSEGV, SIG_DFL);
}

struct tables {
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} gdt, idt;
	uint16_t ldt, tr;
};

static void tables_read(struct tables *t)
{
	memset(t, 0, sizeof(*t));
	asm volatile("sgdt %0" : "=m"(t->gdt));
	asm volatile("sidt %0" : "=m"(t->idt));
	asm volatile("sldt %0" : "=m"(t->ldt));
	asm volatile("str %0" : "=m"(t->tr));
}

/* Where UMIP hides them the kernel tells the same of all. */
TEST_F_TIMEOUT(owner, tables, 120)
{
	struct tables before[4], now;

	for (int i = 0; i < self->cpus; i++) {
		move_raw(i);
		tables_read(&before[i]);
	}
	for (int i = 0; i < ROUNDS; i++) {
		int cpu = cpu_of(i, self->cpus);

		move_raw(cpu);
		ASSERT_EQ(0, vcpu_run(&self->v));
		ASSERT_ROUND(i, &self->v);
		tables_read(&now);
		ASSERT_EQ(before[cpu].gdt.limit, now.gdt.limit);
		ASSERT_EQ(before[cpu].gdt.base, now.gdt.base);
		ASSERT_EQ(before[cpu].idt.limit, now.idt.limit);
		ASSERT_EQ(before[cpu].idt.base, now.idt.base);
		ASSERT_EQ(before[cpu].ldt, now.ldt);
		ASSERT_EQ(before[cpu].tr, now.tr);
	}
}

static bool pid_by_int80(int *pid)
{
	if (sigsetjmp(fault, 1))
		return false;
	asm volatile("int $0x80" : "=a"(*pid) : "a"(20) : "r8", "r9", "r10", "r11", "memory");
	return true;
}

/* SYSCALL, the old gate, and what the vDSO tells without either. */
TEST_F_TIMEOUT(owner, system_calls, 120)
{
	int old = 0, me = getpid();
	bool has_old;

	signal(SIGSEGV, on_fault);
	has_old = pid_by_int80(&old) && old == me;
	if (!has_old)
		printf("# no int 0x80\n");
	for (int i = 0; i < ROUNDS; i++) {
		unsigned int cpu = cpu_of(i, self->cpus), vdso, aux;

		move_raw(cpu);
		ASSERT_EQ(0, vcpu_run(&self->v));
		ASSERT_ROUND(i, &self->v);
		vdso = sched_getcpu();
		ASSERT_EQ(cpu, vdso);
		if (cpuid_offered(0x80000001, 3, 27)) {
			asm volatile("rdtscp" : "=c"(aux) : : "rax", "rdx");
			ASSERT_EQ(cpu, aux & 0xfff);
		}
		ASSERT_EQ(me, syscall(SYS_getpid));
		if (has_old) {
			ASSERT_TRUE(pid_by_int80(&old));
			ASSERT_EQ(me, old);
		}
	}
	signal(SIGSEGV, SIG_DFL);
}

static bool rdtsc_works(void)
{
	if (sigsetjmp(fault, 1))
		return false;
	asm volatile("rdtsc" : : : "rax", "rdx");
	return true;
}

/* CR4.TSD is the thread's, and changes between exits. No clock of the vDSO's meanwhile. */
TEST_F_TIMEOUT(owner, time_stamps_disabled, 120)
{
	bool off = false, works;
	int ret;

	signal(SIGSEGV, on_fault);
	for (int i = 0; i < ROUNDS; i++) {
		if (i % 3 == 0) {
			off = !off;
			raw(SYS_prctl, PR_SET_TSC, off ? PR_TSC_SIGSEGV : PR_TSC_ENABLE, 0);
		}
		move_raw(cpu_of(i, self->cpus));
		ret = run_raw(&self->v);
		works = rdtsc_works();
		if (ret || works == off)
			raw(SYS_prctl, PR_SET_TSC, PR_TSC_ENABLE, 0);
		ASSERT_EQ(0, ret);
		ASSERT_EQ(!off, works);
		ASSERT_ROUND(i, &self->v);
	}
	raw(SYS_prctl, PR_SET_TSC, PR_TSC_ENABLE, 0);
	signal(SIGSEGV, SIG_DFL);
}

TEST_HARNESS_MAIN
