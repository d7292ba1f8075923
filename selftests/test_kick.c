// SPDX-License-Identifier: GPL-2.0
/* CLEAVE_RUN ends early for a kick, for a signal, for CLEAVE_RUN_IMMEDIATE, and for nothing else. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include "kselftest_harness.h"
#include "host.h"

/* Far above what a loaded emulator needs, far below a person's patience. */
#define SOON	(2 * SEC)

/* Counts in memory, without an exit. */
GUEST(spin, 64, "1:\tlock incq " S(GPA_DATA) "\n\tjmp 1b\n\t");
/* Counts, with an exit that the kernel answers at each turn. */
GUEST(spin_cpuid, 64, "1:\tlock incq " S(GPA_DATA) "\n\txor %eax, %eax\n\tcpuid\n\tjmp 1b\n\t");
GUEST(halt, 64, "cli\n1:\tlock incq " S(GPA_DATA) "\n\thlt\n\tjmp 1b\n\t");
/* Every page of the second MiB, over and over. */
GUEST(touch, 64,
	"2:\tmov $0x100000, %ebx\n"
	"1:\tlock incq " S(GPA_DATA) "\n\tincl (%rbx)\n\tadd $0x1000, %ebx\n\t"
	"cmp $0x200000, %ebx\n\tjb 1b\n\tjmp 2b\n\t");

/* One call of CLEAVE_RUN in a thread, and when it came back. */
struct once {
	struct vcpu *v;
	pthread_t thread;
	int result;
	uint32_t exit;
	volatile uint64_t returned;
};

static void *once_main(void *arg)
{
	struct once *o = arg;

	o->result = vcpu_run(o->v);
	o->exit = o->v->run->exit;
	o->returned = now_ns();
	return NULL;
}

static void once_start(struct once *o, struct vcpu *v)
{
	memset(o, 0, sizeof(*o));
	o->v = v;
	MUST(-pthread_create(&o->thread, NULL, once_main, o));
}

static void on_signal(int sig)
{
}

static void take_signals(void)
{
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGALRM, &sa, NULL);
}

static uint64_t counter(struct vm *vm)
{
	return *VM_DATA(vm, uint64_t, 0);
}

/* The guest runs, or is asleep by now. */
static bool settled(struct vm *vm)
{
	bool up = WAIT_FOR(counter(vm), 5000);

	nap_us(50000);
	return up;
}

enum how { BY_KICK, BY_SIGNAL };

static void interrupt(struct once *o, enum how how)
{
	if (how == BY_KICK)
		MUST(ioctl(o->v->fd, CLEAVE_KICK));
	else
		pthread_kill(o->thread, SIGUSR1);
}

FIXTURE(kick) {
	struct vm vm;
	struct vcpu v;
};

FIXTURE_VARIANT(kick) {
	enum how how;
};

FIXTURE_VARIANT_ADD(kick, by_ioctl) { .how = BY_KICK };
FIXTURE_VARIANT_ADD(kick, by_signal) { .how = BY_SIGNAL };

FIXTURE_SETUP(kick)
{
	take_signals();
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
}

FIXTURE_TEARDOWN(kick)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

/* Interrupted ten times. moves: the guest gets on in between, else it does nothing. */
static void interrupted(struct __test_metadata *_metadata, FIXTURE_DATA(kick) *self,
			enum how how, bool moves)
{
	uint64_t before = 0, at;
	struct once o;

	for (int i = 0; i < 10; i++) {
		once_start(&o, &self->v);
		ASSERT_TRUE(moves ? WAIT_FOR(counter(&self->vm) > before, 5000) :
				    settled(&self->vm));
		ASSERT_EQ(0, o.returned);
		at = now_ns();
		interrupt(&o, how);
		pthread_join(o.thread, NULL);
		ASSERT_EQ(-EINTR, o.result);
		ASSERT_EQ(CLEAVE_EXIT_NONE, o.exit);
		EXPECT_LT(o.returned - at, SOON);
		before = counter(&self->vm);
		if (!moves)
			EXPECT_EQ(1, before);
	}
}

TEST_F(kick, spinning)
{
	GUEST_LONG(&self->v, spin);
	interrupted(_metadata, self, variant->how, true);
}

TEST_F(kick, exiting)
{
	GUEST_LONG(&self->v, spin_cpuid);
	interrupted(_metadata, self, variant->how, true);
}

TEST_F(kick, touching_memory)
{
	GUEST_LONG(&self->v, touch);
	interrupted(_metadata, self, variant->how, true);
}

TEST_F(kick, halted)
{
	struct cleave_state st;

	GUEST_LONG(&self->v, halt);
	interrupted(_metadata, self, variant->how, false);
	state_get(&self->v, CLEAVE_MP, &st);
	EXPECT_EQ(CLEAVE_MP_HALTED, st.mp.state);
}

/* A vCPU that waits for INIT, and one that waits for SIPI. */
TEST_F(kick, waiting_to_start)
{
	struct cleave_state st;
	struct vcpu v1;
	struct once o;

	vcpu_create(&self->vm, &v1, 1);
	for (uint32_t state = CLEAVE_MP_WAIT_INIT; state <= CLEAVE_MP_WAIT_SIPI; state++) {
		memset(&st, 0, sizeof(st));
		st.mp.state = state;
		state_must_set(&v1, CLEAVE_MP, &st);
		once_start(&o, &v1);
		nap_us(50000);
		ASSERT_EQ(0, o.returned);
		interrupt(&o, variant->how);
		pthread_join(o.thread, NULL);
		EXPECT_EQ(-EINTR, o.result);
		state_get(&v1, CLEAVE_MP, &st);
		EXPECT_EQ(state, st.mp.state);
	}
	vcpu_destroy(&v1);
}

/* The sum of 1 to RCX, for the price of many interruptions. */
GUEST(sum, 64, "xor %eax, %eax\n1:\tadd %rcx, %rax\n\tdec %rcx\n\tjnz 1b\n\t" G_DONE);

struct storm {
	struct once *o;
	enum how how;
	volatile bool stop;
};

static void *storm_main(void *arg)
{
	struct storm *s = arg;

	while (!s->stop) {
		interrupt(s->o, s->how);
		nap_us(500);
	}
	return NULL;
}

TEST_F(kick, storm)
{
	struct once o = { .v = &self->v, .thread = pthread_self() };
	struct storm s = { .o = &o, .how = variant->how };
	uint64_t n = 30000000, interrupted = 0;
	struct cleave_regs regs;
	pthread_t thread;
	int r;

	GUEST_LONG(&self->v, sum);
	regs_get(&self->v, &regs);
	regs.rcx = n;
	regs_set(&self->v, &regs);
	ASSERT_EQ(0, pthread_create(&thread, NULL, storm_main, &s));
	while ((r = vcpu_run(&self->v)) == -EINTR)
		interrupted++;
	s.stop = true;
	pthread_join(thread, NULL);
	ASSERT_EQ(0, r);
	EXPECT_EQ(CLEAVE_EXIT_IO, self->v.run->exit);
	EXPECT_EQ(n * (n + 1) / 2, self->v.run->regs.rax);
	EXPECT_GT(interrupted, 3);
}

FIXTURE(run) {
	struct vm vm;
	struct vcpu v;
};

FIXTURE_SETUP(run)
{
	take_signals();
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
}

FIXTURE_TEARDOWN(run)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

GUEST(two_outs, 64, "mov $1, %eax\n\t" G_DONE "mov $2, %eax\n\t" G_DONE);

/* A kick is not lost when nobody runs; several are one. */
TEST_F(run, kicked_before)
{
	GUEST_LONG(&self->v, two_outs);
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, xioctl(self->v.fd, CLEAVE_KICK, NULL));
	EXPECT_EQ(-EINTR, vcpu_run(&self->v));
	EXPECT_EQ(CLEAVE_EXIT_NONE, self->v.run->exit);
	EXPECT_EQ(1, vcpu_run_done(&self->v));
	EXPECT_EQ(2, vcpu_run_done(&self->v));
}

/* What is blocked does not interrupt, however pending it is. */
TEST_F(run, blocked_signal)
{
	sigset_t set;

	GUEST_LONG(&self->v, two_outs);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	raise(SIGUSR1);
	EXPECT_EQ(1, vcpu_run_done(&self->v));
	EXPECT_EQ(2, vcpu_run_done(&self->v));
	sigpending(&set);
	EXPECT_EQ(1, sigismember(&set, SIGUSR1));
}

/* An interval timer of the owner's: every signal is seen, no work is lost. */
TEST_F(run, interval_timer)
{
	struct itimerval every = { { 0, 1000 }, { 0, 1000 } }, off = { 0 };
	uint64_t n = 20000000, interrupted = 0;
	struct cleave_regs regs;
	int r;

	GUEST_LONG(&self->v, sum);
	regs_get(&self->v, &regs);
	regs.rcx = n;
	regs_set(&self->v, &regs);
	setitimer(ITIMER_REAL, &every, NULL);
	while ((r = vcpu_run(&self->v)) == -EINTR)
		interrupted++;
	setitimer(ITIMER_REAL, &off, NULL);
	ASSERT_EQ(0, r);
	EXPECT_EQ(n * (n + 1) / 2, self->v.run->regs.rax);
	EXPECT_GT(interrupted, 3);
}

GUEST(in_then_count, 64,
	"mov $0x11223344556677aa, %rax\n\tin $0x10, %al\n\tlock incq " S(GPA_DATA) "\n\t"
	G_DONE);

TEST_F(run, immediate)
{
	struct cleave_regs regs;

	GUEST_LONG(&self->v, in_then_count);
	self->v.run->request = CLEAVE_RUN_IMMEDIATE;
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(-EINTR, vcpu_run(&self->v));
		EXPECT_EQ(CLEAVE_EXIT_NONE, self->v.run->exit);
	}
	regs_get(&self->v, &regs);
	EXPECT_EQ(GPA_CODE, regs.rip);
	self->v.run->request = 0;
	vcpu_run_exit(&self->v, CLEAVE_EXIT_IO);
	ASSERT_EQ(0x10, self->v.run->io.port);
	ASSERT_EQ(0, self->v.run->io.flags);
	/* The exit is completed, and nothing else done. */
	self->v.run->io.data = 0x5c;
	self->v.run->request = CLEAVE_RUN_IMMEDIATE;
	EXPECT_EQ(-EINTR, vcpu_run(&self->v));
	regs_get(&self->v, &regs);
	EXPECT_EQ(0x112233445566775cull, regs.rax);
	self->v.run->io.data = 0x99;
	EXPECT_EQ(-EINTR, vcpu_run(&self->v));
	regs_get(&self->v, &regs);
	EXPECT_EQ(0x112233445566775cull, regs.rax);
	EXPECT_EQ(0, counter(&self->vm));
	self->v.run->request = 0;
	EXPECT_EQ(0x5566775c, vcpu_run_done(&self->v));
	EXPECT_EQ(1, counter(&self->vm));
}

/* Registers in the run page are taken over even when the guest is not entered. */
TEST_F(run, immediate_takes_registers)
{
	struct cleave_regs regs;

	GUEST_LONG(&self->v, two_outs);
	vcpu_run_done(&self->v);
	self->v.run->regs.rbx = 0xb0b;
	self->v.run->dirty = CLEAVE_REGS;
	self->v.run->request = CLEAVE_RUN_IMMEDIATE;
	EXPECT_EQ(-EINTR, vcpu_run(&self->v));
	EXPECT_EQ(0, self->v.run->dirty);
	regs_get(&self->v, &regs);
	EXPECT_EQ(0xb0b, regs.rbx);
	self->v.run->request = 0;
	EXPECT_EQ(2, vcpu_run_done(&self->v));
}

static void *run_forever(void *arg)
{
	for (;;)
		vcpu_run(arg);
	return NULL;
}

/* A process whose guest runs the code in two vCPUs, each with a thread of its own. */
static pid_t guest_process(struct vm *shared, const char *code, size_t len)
{
	pid_t pid = fork();
	static struct vcpu v[2];
	struct cleave_state st;
	pthread_t thread;
	struct vm vm;

	if (pid)
		return pid;
	vm_create(&vm, 0, 0);
	vm.ram = shared->ram;
	vm.ram_size = shared->ram_size;
	MUST(vm_slot(&vm, 0, 0, 0, vm.ram_size, vm.ram));
	vm_tables(&vm);
	vm_load(&vm, GPA_CODE, code, len);
	for (int i = 0; i < 2; i++) {
		vcpu_create(&vm, &v[i], i);
		vcpu_long(&v[i], GPA_CODE);
		memset(&st, 0, sizeof(st));
		state_must_set(&v[i], CLEAVE_MP, &st);
		MUST(-pthread_create(&thread, NULL, run_forever, &v[i]));
	}
	for (;;)
		pause();
}

static void shared_ram(struct vm *vm)
{
	memset(vm, 0, sizeof(*vm));
	vm->ram_size = RAM_SIZE;
	vm->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
}

static void killed_soon(struct __test_metadata *_metadata, const char *code, size_t len)
{
	for (int i = 0; i < 5; i++) {
		struct vm vm;
		uint64_t at;
		int status;
		pid_t pid;

		shared_ram(&vm);
		pid = guest_process(&vm, code, len);
		ASSERT_GT(pid, 0);
		ASSERT_TRUE(settled(&vm));
		at = now_ns();
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_LT(now_ns() - at, SOON);
		EXPECT_TRUE(WIFSIGNALED(status));
		at = counter(&vm);
		nap_us(20000);
		EXPECT_EQ(at, counter(&vm));
		munmap(vm.ram, vm.ram_size);
	}
}

#define KILLED_SOON(code)	killed_soon(_metadata, code, code##_end - code)

TEST(killed_spinning)
{
	KILLED_SOON(spin);
}

TEST(killed_exiting)
{
	KILLED_SOON(spin_cpuid);
}

TEST(killed_halted)
{
	KILLED_SOON(halt);
}

TEST(killed_touching_memory)
{
	KILLED_SOON(touch);
}

/* A stopped process's guest stands still. */
TEST(stopped_and_continued)
{
	struct vm vm;
	uint64_t n;
	int status;
	pid_t pid;

	shared_ram(&vm);
	pid = guest_process(&vm, spin, spin_end - spin);
	ASSERT_GT(pid, 0);
	ASSERT_TRUE(settled(&vm));
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(0, kill(pid, SIGSTOP));
		ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
		ASSERT_TRUE(WIFSTOPPED(status));
		n = counter(&vm);
		nap_us(50000);
		EXPECT_EQ(n, counter(&vm));
		ASSERT_EQ(0, kill(pid, SIGCONT));
		EXPECT_TRUE(WAIT_FOR(counter(&vm) > n, 3000));
	}
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
}

TEST_HARNESS_MAIN
