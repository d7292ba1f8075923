// SPDX-License-Identifier: GPL-2.0
/* The local APIC's timer in each mode, as a guest in x2APIC mode uses it, and the TSC. */
#define _GNU_SOURCE
#include <pthread.h>
#include <time.h>
#include <sys/ioctl.h>
#include "kselftest_harness.h"
#include "host.h"

#define VECTOR		0x40
#define MODE_ONESHOT	0u
#define MODE_PERIODIC	(1u << 17)
#define MODE_DEADLINE	(2u << 17)
#define MASKED		(1u << 16)
#define X2APIC_LVTT	0x832
#define X2APIC_TMICT	0x838
#define X2APIC_TMCCT	0x839
#define X2APIC_TDCR	0x83e
#define TSC_DEADLINE	0x6e0
#define DIVIDE_BY_1	0xb
#define IRR_WORD(v)	((0x200 + (v) / 32 * 0x10) / 4)

/* MSR in ECX from EAX, EDX clear. */
#define WRMSR(msr)	"mov $" S(msr) ", %ecx\n\txor %edx, %edx\n\twrmsr\n\t"
#define RDMSR(msr)	"mov $" S(msr) ", %ecx\n\trdmsr\n\t"
#define RDTSC(reg)	"rdtsc\n\tshl $32, %rdx\n\tor %rdx, %rax\n\tmov %rax, %" #reg "\n\t"
/* Guest code: RBX LVT, RSI initial count, RDI divider; then R8 is the TSC when it was set. */
#define START_TIMER							\
	"mov %edi, %eax\n\t" WRMSR(X2APIC_TDCR)				\
	"mov %ebx, %eax\n\t" WRMSR(X2APIC_LVTT)				\
	RDTSC(r8)							\
	"mov %esi, %eax\n\t" WRMSR(X2APIC_TMICT)

FIXTURE(timer) {
	struct vm vm;
	struct vcpu v;
	uint64_t khz;		/* of the TSC */
};

/*
 * The module's timers go by the host's clock, guests measure by their TSC. What
 * the kernel of an emulated host took for its frequency while the machine was
 * busy may be some per cent too much.
 */
static uint64_t tsc_khz(void)
{
	uint64_t khz = dev_info().tsc_khz, best = 0;

	/* The TSC is read within the other clock's interval: interruptions only make it less. */
	for (int i = 0; i < 5; i++) {
		uint64_t ns = now_ns(), tsc = __builtin_ia32_rdtsc(), found;

		nap_us(4000);
		tsc = __builtin_ia32_rdtsc() - tsc;
		found = tsc * 1000000 / (now_ns() - ns);
		best = found > best ? found : best;
	}
	return best < khz ? best : khz;
}

FIXTURE_SETUP(timer)
{
	self->khz = tsc_khz();
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	vm_tables(&self->vm);
	tick_prepare(&self->vm, VECTOR);
	vcpu_long(&self->v, GPA_CODE);
	vcpu_x2apic(&self->v);
}

FIXTURE_TEARDOWN(timer)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

#define LOAD(code)	GUEST_LOAD(&self->vm, GPA_CODE, code)
#define TICKS()		(*VM_DATA(&self->vm, uint64_t, TICK_COUNT))
#define TICK_AT()	(*VM_DATA(&self->vm, uint64_t, TICK_TSC))

static void arguments(struct vcpu *v, uint32_t lvt, uint64_t count, uint32_t divider, uint64_t rdx)
{
	struct cleave_regs regs;

	regs_get(v, &regs);
	regs.rip = GPA_CODE;
	regs.rbx = lvt;
	regs.rsi = count;
	regs.rdi = divider;
	regs.rbp = rdx;
	regs_set(v, &regs);
}

/* RBP ticks, asleep in between; then R9 is the TSC, R10 the ticks. */
GUEST(sleep_ticks, 64,
	START_TIMER "sti\n"
	"1:\thlt\n\tcmp %rbp, " S(GPA_DATA) "\n\tjb 1b\n\tcli\n\t"
	RDTSC(r9) "xor %eax, %eax\n\t" G_DONE);

/* The same without HLT: the guest is interrupted while it computes. */
GUEST(spin_ticks, 64,
	START_TIMER "sti\n"
	"1:\tpause\n\tcmp %rbp, " S(GPA_DATA) "\n\tjb 1b\n\tcli\n\t"
	RDTSC(r9) "xor %eax, %eax\n\t" G_DONE);

/* Interrupts on for R10 ticks of the TSC. */
GUEST(wait_tsc, 64,
	"sti\n\t" RDTSC(r11) "add %r10, %r11\n"
	"1:\tpause\n\t" RDTSC(rax) "cmp %r11, %rax\n\tjb 1b\n\tcli\n\t" G_DONE);

static void wait_ms(struct vcpu *v, uint64_t khz, uint64_t ms)
{
	struct cleave_regs regs;

	GUEST_LOAD(v->vm, GPA_CODE, wait_tsc);
	regs_get(v, &regs);
	regs.rip = GPA_CODE;
	regs.r10 = ms * khz;
	regs_set(v, &regs);
	vcpu_run_done(v);
}

/* us microseconds, not less, and not much more. */
#define EXPECT_TOOK_US(ticks, us) do {						\
	EXPECT_GE((ticks) * 1000 / self->khz + 1, (uint64_t)(us));		\
	EXPECT_LT((ticks) * 1000 / self->khz, (uint64_t)(us) + 2000000);	\
} while (0)

TEST_F(timer, one_shot)
{
	static const uint64_t us[] = { 1, 100, 20000, 200000 };

	for (int i = 0; i < 4; i++) {
		LOAD(sleep_ticks);
		*VM_DATA(&self->vm, uint64_t, TICK_COUNT) = 0;
		arguments(&self->v, VECTOR, us[i] * 1000, DIVIDE_BY_1, 1);
		vcpu_run_done(&self->v);
		EXPECT_TOOK_US(TICK_AT() - self->v.run->regs.r8, us[i]);
		EXPECT_GE(self->v.run->regs.r9, TICK_AT());
		/* Once. */
		wait_ms(&self->v, self->khz, us[i] / 500 + 10);
		EXPECT_EQ(1, TICKS());
	}
}

TEST_F(timer, while_computing)
{
	LOAD(spin_ticks);
	arguments(&self->v, VECTOR, 30000000, DIVIDE_BY_1, 1);
	vcpu_run_done(&self->v);
	EXPECT_TOOK_US(TICK_AT() - self->v.run->regs.r8, 30000);
}

TEST_F(timer, periodic)
{
	uint64_t n;

	LOAD(sleep_ticks);
	arguments(&self->v, VECTOR | MODE_PERIODIC, 5000000, DIVIDE_BY_1, 40);
	vcpu_run_done(&self->v);
	EXPECT_LE(40, TICKS());	/* another may come before CLI */
	EXPECT_TOOK_US(TICK_AT() - self->v.run->regs.r8, 40 * 5000);
	/* It goes on by itself, and ends with an initial count of 0. */
	wait_ms(&self->v, self->khz, 100);
	n = TICKS();
	EXPECT_GT(n, 40);
	ASSERT_EQ(0, msr_set(&self->v, X2APIC_TMICT, 0));
	wait_ms(&self->v, self->khz, 1);
	n = TICKS();
	wait_ms(&self->v, self->khz, 30);
	EXPECT_EQ(n, TICKS());
}

/* Where in a period of us microseconds that began at start the next tick will be. */
static uint64_t next_tick_us(struct vcpu *v, uint64_t khz, uint64_t start, uint64_t us)
{
	uint64_t before, after, least = UINT64_MAX, next = 0;
	struct cleave_state st;

	/* Of several looks at two clocks that with the least between. */
	for (int i = 0; i < 50; i++) {
		MUST(msr_get(v, 0x10, &before));
		state_get(v, CLEAVE_LAPIC, &st);
		MUST(msr_get(v, 0x10, &after));
		if (after - before >= least)
			continue;
		least = after - before;
		next = ((before + after) / 2 - start) * 1000 / khz + st.lapic.timer_left / 1000;
	}
	return next % us;
}

/* Ticks keep their grid: being late for one does not move the next. */
/* Ticks keep the phase of the first one. A busy host delays some of them, not most. */
TEST_F(timer, periodic_keeps_time)
{
	uint64_t start, phase[9], off;
	int best = 0;

	LOAD(spin_ticks);
	arguments(&self->v, VECTOR | MODE_PERIODIC, 20000000, DIVIDE_BY_1, 1);
	vcpu_run_done(&self->v);
	start = self->v.run->regs.r8;
	for (int i = 0; i < 9; i++) {
		phase[i] = next_tick_us(&self->v, self->khz, start, 20000) % 20000;
		nap_us(25000);
		wait_ms(&self->v, self->khz, 1);
	}
	for (int i = 0; i < 9; i++) {
		int near = 0;

		for (int j = 0; j < 9; j++) {
			off = (phase[j] + 20000 - phase[i]) % 20000;
			near += off < 2000 || off > 18000;
		}
		best = near > best ? near : best;
	}
	EXPECT_LE(6, best);
}

/* Ticks that nobody was there for are one, whose state can be read, set, and goes on. */
TEST_F(timer, periodic_while_stopped)
{
	struct cleave_state st;
	uint64_t n;

	LOAD(spin_ticks);
	arguments(&self->v, VECTOR | MODE_PERIODIC, 20000000, DIVIDE_BY_1, 1);
	vcpu_run_done(&self->v);
	for (int i = 0; i < 3; i++) {
		n = TICKS();
		nap_us(70000);
		state_get(&self->v, CLEAVE_LAPIC, &st);
		EXPECT_TRUE(st.lapic.regs[IRR_WORD(VECTOR)] & 1u << VECTOR % 32);
		EXPECT_LT(0, st.lapic.timer_left);
		EXPECT_LE(st.lapic.timer_left, 20000000);
		state_must_set(&self->v, CLEAVE_LAPIC, &st);
		wait_ms(&self->v, self->khz, 1);
		EXPECT_LE(n + 1, TICKS());
		EXPECT_GE(n + 3, TICKS());
		n = TICKS();
		for (int k = 0; k < 40 && TICKS() < n + 2; k++)
			wait_ms(&self->v, self->khz, 25);
		EXPECT_LE(n + 2, TICKS());
	}
}

TEST_F(timer, dividers)
{
	static const uint32_t divider[] = { 0, 1, 2, 3, 8, 9, 10, 11 };

	for (uint32_t i = 0; i < 8; i++) {
		uint32_t shift = (i + 1) % 8;

		LOAD(sleep_ticks);
		*VM_DATA(&self->vm, uint64_t, TICK_COUNT) = 0;
		arguments(&self->v, VECTOR, 500000, divider[i], 1);
		vcpu_run_done(&self->v);
		EXPECT_TOOK_US(TICK_AT() - self->v.run->regs.r8, 500 << shift);
	}
}

/* RBX TSC-deadline LVT, RSI ticks of the TSC from now, RBP times. Minimum lateness in R12. */
GUEST(deadlines, 64,
	"mov %ebx, %eax\n\t" WRMSR(X2APIC_LVTT) "mfence\n\t"
	"xor %r13d, %r13d\n\tmov $-1, %r12\n"
	"1:\t" RDTSC(r8) "add %rsi, %r8\n\t"
	"mov %r8d, %eax\n\tmov %r8, %rdx\n\tshr $32, %rdx\n\t"
	"mov $" S(TSC_DEADLINE) ", %ecx\n\twrmsr\n\t"
	"inc %r13\n\tsti\n"
	"2:\thlt\n\tcmp %r13, " S(GPA_DATA) "\n\tjb 2b\n\tcli\n\t"
	"mov " S(GPA_DATA) "+8, %r9\n\tsub %r8, %r9\n\tjs 3f\n\t"
	"cmp %r12, %r9\n\tcmovb %r9, %r12\n\t"
	"mov $" S(TSC_DEADLINE) ", %ecx\n\trdmsr\n\tor %edx, %eax\n\tjnz 4f\n\t"
	"cmp %rbp, %r13\n\tjb 1b\n\t"
	"xor %eax, %eax\n\t" G_DONE
	"3:\tmov $1, %eax\n\t" G_DONE		/* early */
	"4:\tmov $2, %eax\n\t" G_DONE);		/* still armed */

TEST_F(timer, deadline)
{
	static const uint64_t us[] = { 0, 1, 50, 3000 };

	for (int i = 0; i < 4; i++) {
		LOAD(deadlines);
		*VM_DATA(&self->vm, uint64_t, TICK_COUNT) = 0;
		arguments(&self->v, VECTOR | MODE_DEADLINE, us[i] * self->khz / 1000, 0, 30);
		EXPECT_EQ(0, vcpu_run_done(&self->v));
		EXPECT_EQ(30, TICKS());
		/* The least late of thirty was not seconds late. */
		EXPECT_LT(self->v.run->regs.r12, self->khz * 1000);
	}
}

TEST_F(timer, deadline_disarmed)
{
	uint64_t tsc, val;

	/* In the other modes the deadline is 0 and cannot be set. */
	ASSERT_EQ(0, msr_set(&self->v, X2APIC_LVTT, VECTOR));
	ASSERT_EQ(0, msr_set(&self->v, TSC_DEADLINE, 1));
	ASSERT_EQ(0, msr_get(&self->v, TSC_DEADLINE, &val));
	EXPECT_EQ(0, val);
	ASSERT_EQ(0, msr_set(&self->v, X2APIC_LVTT, VECTOR | MODE_DEADLINE));
	/* Nor is there a count in this one. */
	ASSERT_EQ(0, msr_set(&self->v, X2APIC_TMICT, 1000));
	ASSERT_EQ(0, msr_get(&self->v, X2APIC_TMICT, &val));
	EXPECT_EQ(0, val);
	wait_ms(&self->v, self->khz, 5);
	EXPECT_EQ(0, TICKS());
	ASSERT_EQ(0, msr_get(&self->v, 0x10, &tsc));
	ASSERT_EQ(0, msr_set(&self->v, TSC_DEADLINE, tsc + 40 * self->khz));
	ASSERT_EQ(0, msr_get(&self->v, TSC_DEADLINE, &val));
	EXPECT_EQ(tsc + 40 * self->khz, val);
	ASSERT_EQ(0, msr_set(&self->v, TSC_DEADLINE, 0));
	wait_ms(&self->v, self->khz, 80);
	EXPECT_EQ(0, TICKS());
	/* A change of mode disarms too. */
	ASSERT_EQ(0, msr_get(&self->v, 0x10, &tsc));
	ASSERT_EQ(0, msr_set(&self->v, TSC_DEADLINE, tsc + 40 * self->khz));
	ASSERT_EQ(0, msr_set(&self->v, X2APIC_LVTT, VECTOR));
	wait_ms(&self->v, self->khz, 80);
	EXPECT_EQ(0, TICKS());
	/* The third mode does not exist. */
	EXPECT_EQ(-EINVAL, msr_set(&self->v, X2APIC_LVTT, VECTOR | MODE_PERIODIC | MODE_DEADLINE));
}

/* A deadline far away: the guest sleeps or works, and the host's arithmetic does not overflow. */
GUEST(sleep_for_good, 64,
	"sti\n1:\thlt\n\tjmp 1b\n\t");
GUEST(work_for_good, 64,
	"sti\n1:\tincq " S(GPA_DATA) "+64\n\tjmp 1b\n\t");

TEST_F(timer, far_away)
{
	static const uint64_t deadline[] = { 1ull << 52, 1ull << 63, ~0ull };
	volatile uint64_t *work = VM_DATA(&self->vm, uint64_t, 64);
	struct runner r;

	ASSERT_EQ(0, msr_set(&self->v, X2APIC_LVTT, VECTOR | MODE_DEADLINE));
	for (int i = 0; i < 6; i++) {
		uint64_t before = *work;

		if (i < 3)
			LOAD(work_for_good);
		else
			LOAD(sleep_for_good);
		rip_set(&self->v, GPA_CODE);
		ASSERT_EQ(0, msr_set(&self->v, TSC_DEADLINE, deadline[i % 3]));
		runner_start(&r, &self->v, NULL, NULL);
		nap_us(30000);
		runner_stop(&r);
		EXPECT_EQ(0, r.error);
		EXPECT_EQ(0, TICKS());
		if (i < 3)
			EXPECT_GT(*work, before + 100);
	}
	ASSERT_EQ(0, msr_set(&self->v, X2APIC_LVTT, VECTOR | MODE_PERIODIC));
	ASSERT_EQ(0, msr_set(&self->v, X2APIC_TDCR, 10));	/* by 128 */
	ASSERT_EQ(0, msr_set(&self->v, X2APIC_TMICT, 0xffffffff));
	runner_start(&r, &self->v, NULL, NULL);
	nap_us(30000);
	runner_stop(&r);
	EXPECT_EQ(0, TICKS());
}

TEST_F(timer, count_down)
{
	uint64_t count, last = 1000000000;

	ASSERT_EQ(0, msr_set(&self->v, X2APIC_TDCR, DIVIDE_BY_1));
	ASSERT_EQ(0, msr_set(&self->v, X2APIC_LVTT, VECTOR | MASKED));
	ASSERT_EQ(0, msr_set(&self->v, X2APIC_TMICT, last));
	for (int i = 0; i < 50; i++) {
		ASSERT_EQ(0, msr_get(&self->v, X2APIC_TMCCT, &count));
		EXPECT_LT(count, last);
		last = count;
		nap_us(1000);
	}
	EXPECT_LT(count, 1000000000 - 50 * 1000000);
	WAIT_FOR(!msr_get(&self->v, X2APIC_TMCCT, &count) && !count, 5000);
	EXPECT_EQ(0, count);
	ASSERT_EQ(0, msr_set(&self->v, X2APIC_LVTT, VECTOR | MASKED | MODE_PERIODIC));
	ASSERT_EQ(0, msr_set(&self->v, X2APIC_TMICT, 2000000));
	for (int i = 0, up = 0; i < 1000; i++) {
		last = count;
		ASSERT_EQ(0, msr_get(&self->v, X2APIC_TMCCT, &count));
		ASSERT_LE(count, 2000000);
		up += count > last;
		if (up == 5)
			break;
		nap_us(100);
		ASSERT_NE(999, i);
	}
	/* Nothing came of it, as it was masked. */
	wait_ms(&self->v, self->khz, 5);
	EXPECT_EQ(0, TICKS());
}

/* Interrupts off: the tick waits in IRR, and comes when they are on. */
GUEST(late_sti, 64,
	START_TIMER
	"1:\tmov $0x822, %ecx\n\trdmsr\n\tbt $0, %eax\n\tjnc 1b\n\t"
	"mov " S(GPA_DATA) ", %rbp\n\tsti\n\tnop\n\tmov " S(GPA_DATA) ", %rax\n\t" G_DONE);

TEST_F(timer, interrupts_off)
{
	LOAD(late_sti);
	arguments(&self->v, VECTOR, 2000000, DIVIDE_BY_1, 0);
	EXPECT_EQ(1, vcpu_run_done(&self->v));
	EXPECT_EQ(0, self->v.run->regs.rbp);
}

/* HLT with interrupts off is for good, whatever is pending. */
GUEST(halt_off, 64, START_TIMER "1:\thlt\n\tjmp 1b\n\t");

TEST_F(timer, halted_with_interrupts_off)
{
	struct cleave_state st;
	struct runner r;

	LOAD(halt_off);
	arguments(&self->v, VECTOR, 1000000, DIVIDE_BY_1, 0);
	runner_start(&r, &self->v, NULL, NULL);
	nap_us(100000);
	runner_stop(&r);
	state_get(&self->v, CLEAVE_MP | CLEAVE_LAPIC, &st);
	EXPECT_EQ(CLEAVE_MP_HALTED, st.mp.state);
	EXPECT_EQ(1u << VECTOR % 32, st.lapic.regs[IRR_WORD(VECTOR)]);
	EXPECT_EQ(0, TICKS());
}

/* A guest that sleeps uses no time of the host's. */
TEST_F(timer, sleep_is_free)
{
	struct timespec a, b;
	int64_t used;

	LOAD(sleep_ticks);
	arguments(&self->v, VECTOR | MODE_PERIODIC, 100000000, DIVIDE_BY_1, 6);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &a);
	vcpu_run_done(&self->v);
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &b);
	EXPECT_TOOK_US(TICK_AT() - self->v.run->regs.r8, 600000);
	used = (b.tv_sec - a.tv_sec) * 1000000000 + b.tv_nsec - a.tv_nsec;
	EXPECT_LT(used, 200 * (int64_t)MS);
}

/* A period of a nanosecond: the guest gets on, and the host is not asked for it. */
GUEST(work_under_ticks, 64,
	START_TIMER "sti\n"
	"1:\tpause\n\tdec %rbp\n\tjnz 1b\n\tcli\n\t" G_DONE);

TEST_F(timer, period_is_clamped)
{
	uint64_t most = 0, at;
	struct cleave_state st;

	if (emulated_by_bochs())
		SKIP(return, "the shortest period, 10 us, is 500 instructions: fewer than a tick takes");
	ASSERT_EQ(0, msr_set(&self->v, X2APIC_TDCR, DIVIDE_BY_1));
	ASSERT_EQ(0, msr_set(&self->v, X2APIC_LVTT, VECTOR | MASKED | MODE_PERIODIC));
	ASSERT_EQ(0, msr_set(&self->v, X2APIC_TMICT, 1));
	/* A look takes longer than a period on a busy machine: until one is early. */
	for (int i = 0; i < 100000 && most <= 100; i++) {
		state_get(&self->v, CLEAVE_LAPIC, &st);
		if (st.lapic.timer_left > most)
			most = st.lapic.timer_left;
	}
	/* What is left of a period was never more than 1 ns, were it one; nor where KCSAN delays looks. */
	if (patience() == 1)
		EXPECT_GT(most, 100);
	LOAD(work_under_ticks);
	arguments(&self->v, VECTOR | MODE_PERIODIC, 1, DIVIDE_BY_1, 20000);
	at = now_ns();
	vcpu_run_done(&self->v);
	at = now_ns() - at;
	EXPECT_GT(TICKS(), 0);
	EXPECT_LE(TICKS(), at / 10000);
}

/* Many timers at once, and their ends: VMs that go while their timers are due. */
TEST(timers_of_vms_that_go)
{
	for (int i = 0; i < 60; i++) {
		struct vm vm;
		struct vcpu v;

		vm_create(&vm, 0, 0);
		vcpu_create(&vm, &v, 0);
		vcpu_x2apic(&v);
		ASSERT_EQ(0, msr_set(&v, X2APIC_TDCR, DIVIDE_BY_1));
		ASSERT_EQ(0, msr_set(&v, X2APIC_LVTT, VECTOR | (i & 1 ? MODE_PERIODIC : 0)));
		ASSERT_EQ(0, msr_set(&v, X2APIC_TMICT, 1 + i * 20000));
		nap_us(i * 10);
		vcpu_destroy(&v);
		vm_destroy(&vm);
	}
}

/* R8 readings of the TSC, with an exit in between at each 16th: how often it went back. */
GUEST(tsc_readings, 64,
	"xor %r9d, %r9d\n\txor %r10d, %r10d\n"
	"1:\t" RDTSC(rax) "cmp %r10, %rax\n\tjae 2f\n\tinc %r9\n"
	"2:\tmov %rax, %r10\n\t"
	"test $15, %r8b\n\tjnz 3f\n\txor %eax, %eax\n\tcpuid\n"
	"3:\tdec %r8\n\tjnz 1b\n\tmov %r9d, %eax\n\t" G_DONE);

struct shaker {
	pthread_t thread;
	volatile bool stop;
	volatile uint64_t moves;
};

static void *shaker_main(void *arg)
{
	struct shaker *s = arg;

	while (!s->stop) {
		thread_pin(s->thread, s->moves++ % 2);
		nap_us(1000);
	}
	return NULL;
}

TEST_F(timer, tsc_does_not_go_back)
{
	struct shaker s = { .thread = pthread_self() };
	struct cleave_regs regs;
	pthread_t thread;

	LOAD(tsc_readings);
	regs_get(&self->v, &regs);
	regs.r8 = 200000;
	regs_set(&self->v, &regs);
	if (cpu_online(1))
		ASSERT_EQ(0, pthread_create(&thread, NULL, shaker_main, &s));
	EXPECT_EQ(0, vcpu_run_done(&self->v));
	if (cpu_online(1) || s.moves) {
		s.stop = true;
		pthread_join(thread, NULL);
		EXPECT_GT(s.moves, 10);
	}
}

/* Two vCPUs pass the newest reading to one another: none reads an older one. */
GUEST(tsc_relay, 64,
	"xor %r9d, %r9d\n"
	"1:\tmov " S(GPA_DATA) ", %r10\n\tlfence\n\t" RDTSC(r11)
	"cmp %r10, %r11\n\tjae 2f\n\tinc %r9\n"
	"2:\tmov %r11, " S(GPA_DATA) "\n\t"
	"dec %r8\n\tjnz 1b\n\tmov %r9d, %eax\n\t" G_DONE);

static int relay_exit(struct vcpu *v, void *arg)
{
	*(int *)arg = v->run->exit == CLEAVE_EXIT_IO ? v->run->io.data : -1;
	return 1;
}

TEST_F(timer, tsc_is_one_for_all_vcpus)
{
	struct cleave_state st;
	struct vcpu v[2] = { self->v };
	struct runner r[2];
	int back[2];

	vcpu_create(&self->vm, &v[1], 1);
	LOAD(tsc_relay);
	for (int i = 0; i < 2; i++) {
		vcpu_long(&v[i], GPA_CODE);
		state_get(&v[i], CLEAVE_REGS | CLEAVE_MP, &st);
		st.regs.r8 = 1000000;
		st.mp.state = CLEAVE_MP_RUNNABLE;
		state_must_set(&v[i], CLEAVE_REGS | CLEAVE_MP, &st);
	}
	for (int i = 0; i < 2; i++)
		runner_start(&r[i], &v[i], relay_exit, &back[i]);
	for (int i = 0; i < 2; i++) {
		runner_wait(&r[i]);
		EXPECT_EQ(0, back[i]);
	}
	vcpu_destroy(&v[1]);
}

GUEST(tsc_read, 64, RDTSC(r8) G_DONE);

TEST_F(timer, tsc_rate)
{
	uint64_t ns, tsc;

	LOAD(tsc_read);
	vcpu_run_done(&self->v);
	tsc = self->v.run->regs.r8;
	ns = now_ns();
	nap_us(400000);
	rip_set(&self->v, GPA_CODE);
	vcpu_run_done(&self->v);
	ns = now_ns() - ns;
	tsc = self->v.run->regs.r8 - tsc;
	EXPECT_GT(tsc, ns / 1000 * self->khz / 1000 * 95 / 100);
	EXPECT_LT(tsc, ns / 1000 * self->khz / 1000 * 105 / 100);
}

TEST_F(timer, tsc_as_set)
{
	static const uint64_t value[] = { 0, 1ull << 40, 1ull << 62 };
	uint64_t now;

	LOAD(tsc_read);
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, msr_set(&self->v, 0x10, value[i]));
		rip_set(&self->v, GPA_CODE);
		vcpu_run_done(&self->v);
		EXPECT_GE(self->v.run->regs.r8, value[i]);
		EXPECT_LT(self->v.run->regs.r8, value[i] + self->khz * 1000);
		ASSERT_EQ(0, msr_get(&self->v, 0x10, &now));
		EXPECT_GE(now, self->v.run->regs.r8);
		EXPECT_LT(now, value[i] + self->khz * 1000);
	}
}

/* By the guest's own WRMSR: IA32_TSC_ADJUST moves along, and the deadline with it. */
GUEST(tsc_write, 64,
	"xor %eax, %eax\n\tmov $0x100, %edx\n\tmov $0x10, %ecx\n\twrmsr\n\t"
	RDTSC(r8) "xor %eax, %eax\n\t" G_DONE);

TEST_F(timer, tsc_written_by_the_guest)
{
	LOAD(tsc_write);
	vcpu_run_done(&self->v);
	EXPECT_GE(self->v.run->regs.r8, 1ull << 40);
	EXPECT_LT(self->v.run->regs.r8, (1ull << 40) + self->khz * 1000);
	LOAD(deadlines);
	arguments(&self->v, VECTOR | MODE_DEADLINE, 10 * self->khz, 0, 5);
	EXPECT_EQ(0, vcpu_run_done(&self->v));
	/* Ten milliseconds of its TSC, and not a thousand seconds more. */
	EXPECT_LT(self->v.run->regs.r12, self->khz * 2000);
}

/* A deadline far off comes near when the TSC is set beyond it, by whom it may be. */
TEST_F(timer, tsc_set_beyond_a_deadline)
{
	static const uint32_t msr[] = { 0x10, 0x3b };	/* IA32_TSC, IA32_TSC_ADJUST */
	uint64_t tsc;

	for (int i = 0; i < 2; i++) {
		if (msr[i] == 0x3b && !cpuid_offered(7, 1, 1))
			continue;
		*VM_DATA(&self->vm, uint64_t, TICK_COUNT) = 0;
		ASSERT_EQ(0, msr_set(&self->v, X2APIC_LVTT, VECTOR | MODE_DEADLINE));
		ASSERT_EQ(0, msr_get(&self->v, 0x10, &tsc));
		ASSERT_EQ(0, msr_set(&self->v, TSC_DEADLINE, tsc + (1ull << 42)));
		wait_ms(&self->v, self->khz, 1);
		EXPECT_EQ(0, TICKS());
		ASSERT_EQ(0, msr_set(&self->v, msr[i], i ? 1ull << 43 : tsc + (1ull << 43)));
		wait_ms(&self->v, self->khz, 1);
		EXPECT_EQ(1, TICKS());
	}
}

TEST_HARNESS_MAIN
