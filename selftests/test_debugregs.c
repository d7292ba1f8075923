// SPDX-License-Identifier: GPL-2.0
/* Debug registers: the guest's work in the guest, the owner's in the owner, and neither sees the other's. */
#define _GNU_SOURCE
#include <linux/hw_breakpoint.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "kselftest_harness.h"
#include "host.h"

#define DB		1
#define DR6_FIXED	0xffff0ff0u
#define DR7_FIXED	0x400u
#define DR6_BD		(1u << 13)
#define DR6_BS		(1u << 14)
#define DR7_GD		(1u << 13)
#define RF		(1u << 16)
#define EXEC		0u
#define WRITE		1u
#define ACCESS		3u
/* DR7 bits of breakpoint n: enabled, of the type, length 1, 2, 8 or 4 as 0 to 3. */
#define DR7_BP(n, type, len)	(2u << 2 * (n) | ((type) | (len) << 2) << (16 + 4 * (n)))

/* An address of this blob as the guest has it when loaded at GPA_CODE. */
#define AT(name, label)	(GPA_CODE + (uint64_t)(label - name))

/*
 * QEMU's emulated AMD-V loads DR7 at entry and exit without setting the
 * breakpoints in it: they hit only where a MOV to DR7 was, on that CPU, and a
 * MOV elsewhere meanwhile can crash it. So guests here arm and disarm their
 * own, on one CPU, and what must do otherwise is skipped there.
 */

/* R8 to R11 to DR0 to DR3, R13 to DR7. */
#define ARM	"mov %r8, %dr0\n\tmov %r9, %dr1\n\tmov %r10, %dr2\n\tmov %r11, %dr3\n\tmov %r13, %dr7\n\t"
#define DISARM	"mov $0x400, %eax\n\tmov %rax, %dr7\n\t"

FIXTURE(debug) {
	struct vm vm;
	struct vcpu v;
};

FIXTURE_SETUP(debug)
{
	pin_to(0);
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	vm_tables(&self->vm);
}

FIXTURE_TEARDOWN(debug)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

#define LOAD(code) do {						\
	GUEST_LOAD(&self->vm, GPA_CODE, code);			\
	vcpu_long(&self->v, GPA_CODE);				\
} while (0)

static void debug_set(struct vcpu *v, const uint64_t *db, uint64_t dr7)
{
	struct cleave_state st = { 0 };

	for (int i = 0; i < 4; i++)
		st.debug.db[i] = db[i];
	st.debug.dr6 = DR6_FIXED;
	st.debug.dr7 = dr7;
	state_must_set(v, CLEAVE_DEBUG, &st);
}

static uint64_t dr6_get(struct vcpu *v)
{
	struct cleave_state st;

	state_get(v, CLEAVE_DEBUG, &st);
	return st.debug.dr6;
}

/* Runs to the next #DB, whose handler has set RF and goes on with the next run. */
static uint64_t next_db(struct vcpu *v)
{
	struct trap_frame *f = vcpu_run_trap(v, DB);

	f->rflags |= RF;
	return f->rip;
}

/* All registers to R8 to R13, then again after RCX exits. */
GUEST(read_all, 64,
	"1:\txor %eax, %eax\n\tmov %rcx, %rbp\n\tcpuid\n\tmov %rbp, %rcx\n\tdec %rcx\n\tjns 1b\n\t"
	"mov %dr0, %r8\n\tmov %dr1, %r9\n\tmov %dr2, %r10\n\tmov %dr3, %r11\n\t"
	"mov %dr6, %r12\n\tmov %dr7, %r13\n\t" G_DONE);
GUEST(write_all, 64,
	"mov %r8, %dr0\n\tmov %r9, %dr1\n\tmov %r10, %dr2\n\tmov %r11, %dr3\n\t"
	"mov %r12, %dr6\n\tmov %r13, %dr7\n\t" G_DONE);

TEST_F(debug, reset_values)
{
	struct cleave_state st;

	state_get(&self->v, CLEAVE_DEBUG, &st);
	for (int i = 0; i < 4; i++)
		EXPECT_EQ(0, st.debug.db[i]);
	EXPECT_EQ(DR6_FIXED, st.debug.dr6);
	EXPECT_EQ(DR7_FIXED, st.debug.dr7);
	LOAD(read_all);
	vcpu_run_done(&self->v);
	EXPECT_EQ(0, self->v.run->regs.r8);
	EXPECT_EQ(0, self->v.run->regs.r9);
	EXPECT_EQ(0, self->v.run->regs.r10);
	EXPECT_EQ(0, self->v.run->regs.r11);
	EXPECT_EQ(DR6_FIXED, self->v.run->regs.r12);
	EXPECT_EQ(DR7_FIXED, self->v.run->regs.r13);
}

/* Written by the guest, they stay, for as many exits as there may be, and user space sees them. */
TEST_F(debug, read_and_write)
{
	static const uint64_t exits[] = { 0, 1, 70, 400 };
	/* Types and lengths of breakpoints; and, where they can be, some of them enabled. */
	const uint64_t dr7[] = { 0xf1110300, emulated_by_tcg() ? 0 : DR7_BP(0, WRITE, 3) | DR7_BP(3, ACCESS, 2) };
	struct cleave_state st;

	for (int i = 0; i < 8; i++) {
		uint64_t base = 0x10203040506000 + i * 0x100000;

		LOAD(write_all);
		state_get(&self->v, CLEAVE_REGS, &st);
		st.regs.r8 = base;
		st.regs.r9 = base + 0x1000;
		st.regs.r10 = base + 0x2000;
		st.regs.r11 = base + 0x3000;
		st.regs.r12 = DR6_FIXED | DR6_BS | 5;
		st.regs.r13 = dr7[i / 4];
		regs_set(&self->v, &st.regs);
		vcpu_run_done(&self->v);
		state_get(&self->v, CLEAVE_DEBUG, &st);
		for (int j = 0; j < 4; j++)
			EXPECT_EQ(base + j * 0x1000, st.debug.db[j]);
		EXPECT_EQ(DR6_FIXED | DR6_BS | 5, st.debug.dr6);
		EXPECT_EQ(dr7[i / 4] | DR7_FIXED, st.debug.dr7);
		LOAD(read_all);
		state_get(&self->v, CLEAVE_REGS, &st);
		st.regs.rcx = exits[i % 4];
		regs_set(&self->v, &st.regs);
		vcpu_run_done(&self->v);
		EXPECT_EQ(base, self->v.run->regs.r8);
		EXPECT_EQ(base + 0x1000, self->v.run->regs.r9);
		EXPECT_EQ(base + 0x2000, self->v.run->regs.r10);
		EXPECT_EQ(base + 0x3000, self->v.run->regs.r11);
		EXPECT_EQ(DR6_FIXED | DR6_BS | 5, self->v.run->regs.r12);
		EXPECT_EQ(dr7[i / 4] | DR7_FIXED, self->v.run->regs.r13);
	}
}

/* As user space sets them, the guest reads them: fixed bits are as they must be. */
TEST_F(debug, set_by_user_space)
{
	static const uint64_t db[] = { 1, 1ull << 46, 0xffff800000000000, ~0ull };
	struct cleave_state st;

	LOAD(read_all);
	debug_set(&self->v, db, 0);
	vcpu_run_done(&self->v);
	EXPECT_EQ(db[0], self->v.run->regs.r8);
	EXPECT_EQ(db[1], self->v.run->regs.r9);
	EXPECT_EQ(db[2], self->v.run->regs.r10);
	EXPECT_EQ(db[3], self->v.run->regs.r11);
	memset(&st, 0, sizeof(st));
	st.debug.dr6 = 0xf;
	state_must_set(&self->v, CLEAVE_DEBUG, &st);
	LOAD(read_all);
	vcpu_run_done(&self->v);
	EXPECT_EQ(0, self->v.run->regs.r8);
	EXPECT_EQ(DR6_FIXED | 0xf, self->v.run->regs.r12);
	EXPECT_EQ(DR7_FIXED, self->v.run->regs.r13);
}

/* DR4 and DR5 are DR6 and DR7, or nothing with CR4.DE. */
GUEST(aliases, 64,
	"mov %dr4, %r8\n\tmov %dr5, %r9\n\tmov %cr4, %rax\n\tor $8, %eax\n\tmov %rax, %cr4\n\t"
	"mov %dr4, %r8\n\t" G_DONE);

TEST_F(debug, aliases)
{
	static const uint64_t db[4];
	struct cleave_regs regs;

	LOAD(aliases);
	debug_set(&self->v, db, DR7_BP(1, WRITE, 0));
	vcpu_run_trap(&self->v, 6);
	regs_get(&self->v, &regs);
	EXPECT_EQ(DR6_FIXED, regs.r8);
	EXPECT_EQ(DR7_FIXED | DR7_BP(1, WRITE, 0), regs.r9);
}

static void arguments(struct vcpu *v, const uint64_t *db, uint64_t dr7, uint64_t rcx, uint64_t rbx)
{
	struct cleave_regs regs;

	regs_get(v, &regs);
	regs.r8 = db[0];
	regs.r9 = db[1];
	regs.r10 = db[2];
	regs.r11 = db[3];
	regs.r13 = dr7;
	regs.rcx = rcx;
	regs.rbx = rbx;
	regs_set(v, &regs);
}

/* RCX rounds with breakpoints. */
GUEST(steps, 64,
	".globl steps_a, steps_b, steps_c\n"
	"mov %rcx, %rbp\n\t" ARM "nop\n"
	"steps_a:\tinc %rax\n\txor %eax, %eax\n"
	"steps_b:\tcpuid\n\tnop\n"
	"steps_c:\tout %al, $0x80\n\tnop\n\tdec %rbp\n\tjnz steps_a\n\t" DISARM G_DONE);
extern const char steps_a[], steps_b[], steps_c[];

/* A fault before the instruction, also where it is one that exits. */
TEST_F(debug, instruction_breakpoints)
{
	uint64_t a = AT(steps, steps_a), b = AT(steps, steps_b), c = AT(steps, steps_c);
	const uint64_t db[] = { a, b, c, 0 };

	LOAD(steps);
	arguments(&self->v, db, DR7_BP(0, EXEC, 0) | DR7_BP(1, EXEC, 0) | DR7_BP(2, EXEC, 0), 50, 0);
	for (int i = 0; i < 50; i++) {
		ASSERT_EQ(a, next_db(&self->v));
		EXPECT_EQ(1, dr6_get(&self->v) & 0xf);
		ASSERT_EQ(b, next_db(&self->v));
		EXPECT_EQ(2, dr6_get(&self->v) & 0xf);
		ASSERT_EQ(c, next_db(&self->v));
		EXPECT_EQ(4, dr6_get(&self->v) & 0xf);
		vcpu_run_out(&self->v, 0x80);
	}
	vcpu_run_done(&self->v);
	/* Off: nothing stops it. */
	LOAD(steps);
	arguments(&self->v, db, DR7_FIXED, 3, 0);
	for (int i = 0; i < 3; i++)
		vcpu_run_out(&self->v, 0x80);
	vcpu_run_done(&self->v);
}

/* RBX is an address; each access is followed by a NOP at which a trap for it says to be. */
GUEST(accesses, 64,
	".globl acc_1, acc_2, acc_3, acc_4\n"
	ARM "movb $1, (%rbx)\n"
	"acc_1:\tnop\n\tmovb (%rbx), %al\n"
	"acc_2:\tnop\n\tmovq $7, -4(%rbx)\n"
	"acc_3:\tnop\n\tincl 4(%rbx)\n"
	"acc_4:\tnop\n\tmovl $0, 8(%rbx)\n\tmovb $0, -1(%rbx)\n\t" DISARM G_DONE);
extern const char acc_1[], acc_2[], acc_3[], acc_4[];

TEST_F(debug, data_breakpoints)
{
	uint64_t gpa = 0x150000;
	const uint64_t db[] = { gpa, gpa, gpa, gpa };

	for (int n = 0; n < 4; n++) {
		/* Writes to one byte: the first and the third access. */
		LOAD(accesses);
		arguments(&self->v, db, DR7_BP(n, WRITE, 0), 0, gpa);
		EXPECT_EQ(AT(accesses, acc_1), next_db(&self->v));
		EXPECT_EQ(1 << n, dr6_get(&self->v) & 0xf);
		EXPECT_EQ(AT(accesses, acc_3), next_db(&self->v));
		vcpu_run_done(&self->v);
		/* Any access to eight bytes: all four. */
		LOAD(accesses);
		arguments(&self->v, db, DR7_BP(n, ACCESS, 2), 0, gpa);
		EXPECT_EQ(AT(accesses, acc_1), next_db(&self->v));
		EXPECT_EQ(AT(accesses, acc_2), next_db(&self->v));
		EXPECT_EQ(1 << n, dr6_get(&self->v) & 0xf);
		EXPECT_EQ(AT(accesses, acc_3), next_db(&self->v));
		EXPECT_EQ(AT(accesses, acc_4), next_db(&self->v));
		vcpu_run_done(&self->v);
		/* Four bytes, written: not the last but one. */
		LOAD(accesses);
		arguments(&self->v, db, DR7_BP(n, WRITE, 3), 0, gpa);
		EXPECT_EQ(AT(accesses, acc_1), next_db(&self->v));
		EXPECT_EQ(AT(accesses, acc_3), next_db(&self->v));
		vcpu_run_done(&self->v);
	}
}

/* Breakpoints that user space set are the guest's as well. */
GUEST(unarmed, 64, "nop\n\tmovl $1, (%rbx)\n\tnop\n\t" G_DONE);

TEST_F(debug, set_by_user_space_hit)
{
	const uint64_t db[] = { GPA_CODE + 1, 0, 0, 0x150000 };

	if (emulated_by_tcg())
		SKIP(return, "the emulator does not load breakpoints at entry");
	/* First the page: Bochs' exit for one loses RF, which it should set (SDM vol. 3C 28.3.3). */
	LOAD(unarmed);
	arguments(&self->v, db, 0, 0, 0x150000);
	vcpu_run_done(&self->v);
	LOAD(unarmed);
	arguments(&self->v, db, 0, 0, 0x150000);
	debug_set(&self->v, db, DR7_BP(0, EXEC, 0) | DR7_BP(3, WRITE, 3));
	EXPECT_EQ(GPA_CODE + 1, next_db(&self->v));
	EXPECT_EQ(1, dr6_get(&self->v) & 0xf);
	EXPECT_EQ(GPA_CODE + 7, next_db(&self->v));
	EXPECT_EQ(8, dr6_get(&self->v) & 0xf);
	vcpu_run_done(&self->v);
}

/* RFLAGS.TF: each instruction, those that the module or user space carries out as well. */
GUEST(stepped, 64,
	"pushfq\n\torl $0x100, (%rsp)\n\tpopfq\n"
	".globl st_1, st_2, st_3, st_4, st_5, st_6, st_7, st_8\n\t"
	"nop\n"
	"st_1:\txor %eax, %eax\n"
	"st_2:\tcpuid\n"
	"st_3:\tmov $0x10, %ecx\n"
	"st_4:\trdmsr\n"
	"st_5:\tmov %cr0, %rax\n"
	"st_6:\tmov %rax, %cr0\n"
	"st_7:\tout %al, $0x80\n"
	"st_8:\tjmp st_8\n\t");
extern const char st_1[], st_2[], st_3[], st_4[], st_5[], st_6[], st_7[], st_8[];

TEST_F(debug, single_step)
{
	uint64_t at[] = {
		AT(stepped, st_1), AT(stepped, st_2), AT(stepped, st_3), AT(stepped, st_4),
		AT(stepped, st_5), AT(stepped, st_6), AT(stepped, st_7),
	};

	LOAD(stepped);
	for (int i = 0; i < 7; i++) {
		EXPECT_EQ(at[i], next_db(&self->v));
		EXPECT_EQ(DR6_BS, dr6_get(&self->v) & DR6_BS);
	}
	vcpu_run_out(&self->v, 0x80);
	EXPECT_EQ(AT(stepped, st_8), next_db(&self->v));
	EXPECT_EQ(AT(stepped, st_8), next_db(&self->v));
}

/* DR7.GD: the next MOV of a debug register is a fault, in which GD is off. */
GUEST(general_detect, 64, "nop\n\tmov %dr0, %rax\n\tmov $5, %eax\n\t" G_DONE);

TEST_F(debug, general_detect)
{
	static const uint64_t db[4];
	struct cleave_state st;

	if (emulated_by_tcg())
		SKIP(return, "the emulator does not know DR7.GD");
	LOAD(general_detect);
	debug_set(&self->v, db, DR7_GD);
	EXPECT_EQ(GPA_CODE + 1, next_db(&self->v));
	state_get(&self->v, CLEAVE_DEBUG, &st);
	EXPECT_EQ(DR6_BD, st.debug.dr6 & DR6_BD);
	EXPECT_EQ(DR7_FIXED, st.debug.dr7);
	EXPECT_EQ(5, vcpu_run_done(&self->v));
}

/* Two guests in turn on one CPU, each with its own. */
GUEST(compare_forever, 64,
	"mov %r8, %dr0\n\tmov %r9, %dr3\n\tmov %r13, %dr7\n"
	"1:\tout %al, $0x80\n\tmov %dr0, %rax\n\tcmp %r8, %rax\n\tjne 2f\n\t"
	"mov %dr3, %rax\n\tcmp %r9, %rax\n\tjne 2f\n\tmov %dr7, %rax\n\tcmp %r13, %rax\n\tje 1b\n"
	"2:\tmov $1, %eax\n\t" G_DONE);

TEST(two_guests_in_turn)
{
	struct vm vm[2];
	struct vcpu v[2];
	struct cleave_regs regs;

	pin_to(0);
	for (uint64_t i = 0; i < 2; i++) {
		GUEST_SIMPLE(&vm[i], &v[i], compare_forever);
		regs_get(&v[i], &regs);
		regs.r8 = 0x1000 + i;
		regs.r9 = 0x2000 + i;
		regs.r13 = DR7_FIXED | (i && !emulated_by_tcg() ? DR7_BP(0, WRITE, 0) : 0);
		regs_set(&v[i], &regs);
	}
	for (int round = 0; round < 300; round++)
		for (int i = 0; i < 2; i++)
			vcpu_run_out(&v[i], 0x80);
	for (int i = 0; i < 2; i++) {
		vcpu_destroy(&v[i]);
		vm_destroy(&vm[i]);
	}
}

/* ---- the owner's ----------------------------------------------------------- */

/* A watch of this thread's own writes to the address; user mode only. */
static int watch(void *address)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_BREAKPOINT,
		.size = sizeof(attr),
		.bp_type = HW_BREAKPOINT_W,
		.bp_addr = (uintptr_t)address,
		.bp_len = HW_BREAKPOINT_LEN_4,
		.exclude_kernel = 1,
		.exclude_hv = 1,
	};

	return syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static uint64_t hits(int fd)
{
	uint64_t n = 0;

	MUST(read(fd, &n, sizeof(n)));
	return n;
}

/* Memory of the owner at an address that the guest has too. */
#define COMMON		0x160000ul

static volatile uint32_t *common_page(void)
{
	void *p = mmap((void *)COMMON, 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	return p == (void *)COMMON ? p : NULL;
}

/* Writes to RBX RCX times, with an OUT between; DR0 is what it was, or 1 comes out. */
GUEST(write_common, 64,
	"1:\tincl (%rbx)\n\tout %al, $0x80\n\tmov %dr0, %rax\n\ttest %rax, %rax\n\tjnz 2f\n\t"
	"loop 1b\n\txor %eax, %eax\n\t" G_DONE
	"2:\tmov $1, %eax\n\t" G_DONE);

FIXTURE(owner) {
	struct vm vm;
	struct vcpu v;
	volatile uint32_t *word;
	int fd;
};

FIXTURE_SETUP(owner)
{
	struct cleave_regs regs;

	self->word = common_page();
	if (!self->word)
		SKIP_SETUP("that address is taken");
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	GUEST_LONG(&self->v, write_common);
	regs_get(&self->v, &regs);
	regs.rbx = COMMON;
	regs.rcx = 100;
	regs_set(&self->v, &regs);
	self->fd = watch((void *)self->word);
	if (self->fd < 0)
		SKIP_SETUP("no hardware breakpoints here");
	(*self->word)++;
	if (hits(self->fd) != 1)
		SKIP_SETUP("hardware breakpoints do not count here");
}

FIXTURE_TEARDOWN(owner)
{
	close(self->fd);
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

/* The owner's watch counts the owner's writes: all of them, and none of the guest's. */
TEST_F(owner, watch_survives)
{
	for (int i = 0; i < 100; i++) {
		vcpu_run_out(&self->v, 0x80);
		(*self->word)++;
		ASSERT_EQ(i + 2, hits(self->fd));
	}
	EXPECT_EQ(0, vcpu_run_done(&self->v));
	EXPECT_EQ(101, *self->word);
	EXPECT_EQ(100, *(uint32_t *)(self->vm.ram + COMMON));
	EXPECT_EQ(101, hits(self->fd));
}

/* Both watch the same address, each on its own side. */
TEST_F(owner, both_watch)
{
	static const uint64_t db[] = { 0, COMMON, 0, 0 };

	if (emulated_by_tcg())
		SKIP(return, "the emulator does not load breakpoints at entry");
	debug_set(&self->v, db, DR7_BP(1, WRITE, 3));
	for (int i = 0; i < 100; i++) {
		next_db(&self->v);
		EXPECT_EQ(2, dr6_get(&self->v) & 0xf);
		(*self->word)++;
		vcpu_run_out(&self->v, 0x80);
		(*self->word)++;
		ASSERT_EQ(2 * i + 3, hits(self->fd));
	}
	EXPECT_EQ(0, vcpu_run_done(&self->v));
	EXPECT_EQ(201, hits(self->fd));
}

static volatile int traps;

static void on_trap(int sig)
{
	traps++;
}

GUEST(out_forever, 64, "1:\tout %al, $0x80\n\tjmp 1b\n\t");

/* A guest's watch is not the owner's: it may write there as it likes. */
TEST_F(owner, guest_watch_stays_inside)
{
	struct sigaction sa = { .sa_handler = on_trap };
	static const uint64_t db[] = { COMMON, COMMON, COMMON, COMMON };

	close(self->fd);
	sigaction(SIGTRAP, &sa, NULL);
	GUEST_LOAD(&self->vm, GPA_CODE, out_forever);
	debug_set(&self->v, db, DR7_BP(0, WRITE, 3) | DR7_BP(1, ACCESS, 0) | DR7_BP(2, ACCESS, 3) |
		  DR7_BP(3, WRITE, 0));
	for (int i = 0; i < 200; i++) {
		vcpu_run_out(&self->v, 0x80);
		for (int j = 0; j < 10; j++)
			(*self->word)++;
	}
	EXPECT_EQ(0, traps);
	EXPECT_EQ(2001, *self->word);
	self->fd = watch((void *)self->word);
	(*self->word)++;
	EXPECT_EQ(1, hits(self->fd));
}

/* Interrupted and moved, too. */
static void *shake(void *arg)
{
	for (int i = 0; i < 300; i++) {
		thread_pin(*(pthread_t *)arg, i % 2);
		nap_us(500);
	}
	return NULL;
}

TEST_F(owner, watch_survives_migration)
{
	pthread_t me = pthread_self(), thread;
	struct cleave_regs regs;
	uint64_t n = hits(self->fd);

	if (!cpu_online(1))
		SKIP(return, "one CPU");
	regs_get(&self->v, &regs);
	regs.rcx = 1u << 30;
	regs_set(&self->v, &regs);
	ASSERT_EQ(0, pthread_create(&thread, NULL, shake, &me));
	for (int i = 0; i < 2000; i++) {
		vcpu_run_out(&self->v, 0x80);
		(*self->word)++;
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(n + 2000, hits(self->fd));
	EXPECT_EQ(2000, *(uint32_t *)(self->vm.ram + COMMON));
}

TEST_HARNESS_MAIN
