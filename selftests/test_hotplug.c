// SPDX-License-Identifier: GPL-2.0
/* CPUs go offline and come back under running VMs, pinned to them and not. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ioctl.h>
#include "kselftest_harness.h"
#include "host.h"

#define CPU		1
#define VECTOR		0x40
#define ROUNDS		4

/*
 * Counts at VM_DATA 0x10; at 0x18 how often the TSC went back, at 0x20 how
 * often a register was not what it was.
 */
GUEST(watch, 64,
	"mov $0x123456789abcdef0, %r12\n\tmov %r12, %r13\n\tmovq %r12, %xmm7\n\txor %r10d, %r10d\n"
	"1:\tlock incq " S(GPA_DATA) "+0x10\n\t"
	"rdtsc\n\tshl $32, %rdx\n\tor %rdx, %rax\n\tcmp %r10, %rax\n\tjae 2f\n\t"
	"incq " S(GPA_DATA) "+0x18\n"
	"2:\tmov %rax, %r10\n\tmovq %xmm7, %rax\n\t"
	"cmp %rax, %r12\n\tjne 3f\n\tcmp %r13, %r12\n\tje 1b\n"
	"3:\tincq " S(GPA_DATA) "+0x20\n\tjmp 1b\n\t");

/* Asleep but for the ticks of a timer with a period of 2 ms. */
GUEST(ticks, 64,
	"mov $0x83e, %ecx\n\tmov $0xb, %eax\n\txor %edx, %edx\n\twrmsr\n\t"
	"mov $0x832, %ecx\n\tmov $0x20040, %eax\n\twrmsr\n\t"
	"mov $0x838, %ecx\n\tmov $2000000, %eax\n\twrmsr\n\tsti\n"
	"1:\thlt\n\tlock incq " S(GPA_DATA) "+0x10\n\tjmp 1b\n\t");

GUEST(sum, 64, "xor %eax, %eax\n1:\tadd %rcx, %rax\n\tloop 1b\n\t" G_DONE);

#define COUNT(vm)	(*VM_DATA(vm, uint64_t, 0x10))
#define TSC_BACK(vm)	(*VM_DATA(vm, uint64_t, 0x18))
#define WRONG(vm)	(*VM_DATA(vm, uint64_t, 0x20))

enum { N = 4 };		/* 0 and 1 compute, 2 and 3 sleep; odd ones are pinned to CPU */

FIXTURE(hotplug) {
	struct vm vm[N];
	struct vcpu v[N];
	struct runner r[N];
};

FIXTURE_SETUP(hotplug)
{
	if (access("/sys/devices/system/cpu/cpu1/online", W_OK) || !cpu_online(CPU))
		SKIP_SETUP("no second CPU that can go");
	pin_to(0);
}

FIXTURE_TEARDOWN(hotplug)
{
	cpu_set_online(CPU, true);
}

static void start(FIXTURE_DATA(hotplug) *self)
{
	for (int i = 0; i < N; i++) {
		vm_create(&self->vm[i], RAM_SIZE, 0);
		vcpu_create(&self->vm[i], &self->v[i], 0);
		if (i < 2) {
			GUEST_LONG(&self->v[i], watch);
		} else {
			GUEST_LONG(&self->v[i], ticks);
			vcpu_x2apic(&self->v[i]);
			tick_prepare(&self->vm[i], VECTOR);
		}
		runner_start(&self->r[i], &self->v[i], NULL, NULL);
		if (i & 1) {
			thread_pin(self->r[i].thread, CPU);
		} else {
			cpu_set_t both;

			CPU_ZERO(&both);
			CPU_SET(0, &both);
			CPU_SET(CPU, &both);
			pthread_setaffinity_np(self->r[i].thread, sizeof(both), &both);
		}
	}
}

static void all_get_on(struct __test_metadata *_metadata, FIXTURE_DATA(hotplug) *self)
{
	uint64_t before[N];

	for (int i = 0; i < N; i++)
		before[i] = COUNT(&self->vm[i]);
	for (int i = 0; i < N; i++)
		EXPECT_TRUE(WAIT_FOR(COUNT(&self->vm[i]) > before[i] + 5, 5000));
}

static void stop(struct __test_metadata *_metadata, FIXTURE_DATA(hotplug) *self)
{
	for (int i = 0; i < N; i++) {
		runner_stop(&self->r[i]);
		EXPECT_EQ(0, self->r[i].error);
		EXPECT_EQ(0, self->r[i].exits);
		EXPECT_EQ(0, TSC_BACK(&self->vm[i]));
		EXPECT_EQ(0, WRONG(&self->vm[i]));
		vcpu_destroy(&self->v[i]);
		vm_destroy(&self->vm[i]);
	}
}

TEST_F(hotplug, under_running_vms)
{
	start(self);
	for (int i = 0; i < ROUNDS; i++) {
		all_get_on(_metadata, self);
		ASSERT_EQ(0, cpu_set_online(CPU, false));
		all_get_on(_metadata, self);
		ASSERT_EQ(0, cpu_set_online(CPU, true));
		/* The kernel took their pins when the CPU went. */
		for (int j = 1; j < N; j += 2)
			thread_pin(self->r[j].thread, CPU);
	}
	all_get_on(_metadata, self);
	stop(_metadata, self);
}

/* A guest that runs to its end on the CPU. */
static bool runs_on(int cpu)
{
	struct cleave_regs regs;
	struct vcpu v;
	struct vm vm;
	bool good;

	pin_to(cpu);
	GUEST_SIMPLE(&vm, &v, sum);
	regs_get(&v, &regs);
	regs.rcx = 1000;
	regs_set(&v, &regs);
	good = vcpu_run_done(&v) == 500500 && sched_getcpu() == cpu;
	vcpu_destroy(&v);
	vm_destroy(&vm);
	pin_to(0);
	return good;
}

/* The CPU was away when the first VM came: it can run it when it is back. */
TEST_F(hotplug, first_vm_while_away)
{
	struct vm vm;
	struct vcpu v;
	struct cleave_regs regs;

	ASSERT_EQ(0, cpu_set_online(CPU, false));
	GUEST_SIMPLE(&vm, &v, sum);
	ASSERT_EQ(0, cpu_set_online(CPU, true));
	regs_get(&v, &regs);
	regs.rcx = 1000;
	regs_set(&v, &regs);
	pin_to(CPU);
	EXPECT_EQ(500500, vcpu_run_done(&v));
	EXPECT_EQ(CPU, sched_getcpu());
	pin_to(0);
	vcpu_destroy(&v);
	vm_destroy(&vm);
}

/* It was away when the last one went: it comes back with virtualization off, ready to be used. */
TEST_F(hotplug, last_vm_while_away)
{
	struct vm vm;

	for (int i = 0; i < 2; i++) {
		vm_create(&vm, RAM_SIZE, 0);
		ASSERT_EQ(0, cpu_set_online(CPU, false));
		vm_destroy(&vm);
		ASSERT_EQ(0, cpu_set_online(CPU, true));
		EXPECT_TRUE(runs_on(CPU));
		EXPECT_TRUE(runs_on(0));
	}
}

/* The vCPU ran on the CPU last, and is read, freed and run elsewhere while it is away. */
TEST_F(hotplug, vcpu_left_behind)
{
	struct cleave_state st;
	struct vcpu v[2];
	struct vm vm[2];

	pin_to(CPU);
	for (int i = 0; i < 2; i++) {
		GUEST_SIMPLE(&vm[i], &v[i], sum);
		state_get(&v[i], CLEAVE_REGS, &st);
		st.regs.rcx = 10;
		regs_set(&v[i], &st.regs);
		EXPECT_EQ(55, vcpu_run_done(&v[i]));
	}
	pin_to(0);
	ASSERT_EQ(0, cpu_set_online(CPU, false));
	state_get(&v[0], CLEAVE_REGS | CLEAVE_SREGS | CLEAVE_DEBUG | CLEAVE_EVENTS, &st);
	EXPECT_EQ(55, st.regs.rax);
	EXPECT_EQ(GPA_PML4, st.sregs.cr3);
	st.regs.rip = GPA_CODE;
	st.regs.rcx = 100;
	regs_set(&v[0], &st.regs);
	EXPECT_EQ(5050, vcpu_run_done(&v[0]));
	vcpu_destroy(&v[1]);
	vm_destroy(&vm[1]);
	ASSERT_EQ(0, cpu_set_online(CPU, true));
	pin_to(CPU);
	st.regs.rip = GPA_CODE;
	st.regs.rcx = 1000;
	regs_set(&v[0], &st.regs);
	EXPECT_EQ(500500, vcpu_run_done(&v[0]));
	pin_to(0);
	vcpu_destroy(&v[0]);
	vm_destroy(&vm[0]);
}

/* Unloaded and loaded while the CPU is away. */
TEST_F(hotplug, module_reloaded_while_away)
{
	const char *path = getenv("CLEAVE_KO");

	if (access(path ? path : "/cleave.ko", R_OK) || module_refs())
		SKIP(return, "the module cannot be unloaded");
	ASSERT_EQ(0, cpu_set_online(CPU, false));
	ASSERT_EQ(0, module_unload());
	ASSERT_EQ(0, module_load());
	EXPECT_TRUE(runs_on(0));
	ASSERT_EQ(0, cpu_set_online(CPU, true));
	EXPECT_TRUE(runs_on(CPU));
}

struct maker {
	volatile bool stop;
	volatile uint64_t made, bad;
};

static void *maker_main(void *arg)
{
	struct maker *m = arg;
	struct cleave_regs regs;

	while (!m->stop) {
		struct vcpu v;
		struct vm vm;

		GUEST_SIMPLE(&vm, &v, sum);
		regs_get(&v, &regs);
		regs.rcx = 100;
		regs_set(&v, &regs);
		if (vcpu_run_done(&v) != 5050)
			m->bad++;
		vcpu_destroy(&v);
		vm_destroy(&vm);
		m->made++;
	}
	return NULL;
}

/* First and last VMs come and go while CPUs do. */
TEST_F(hotplug, against_creation)
{
	struct maker m = { 0 };
	pthread_t thread;
	uint64_t made;

	ASSERT_EQ(0, pthread_create(&thread, NULL, maker_main, &m));
	thread_pin(thread, 0);
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_EQ(0, cpu_set_online(CPU, false));
		made = m.made;
		EXPECT_TRUE(WAIT_FOR(m.made > made, 5000));
		ASSERT_EQ(0, cpu_set_online(CPU, true));
	}
	m.stop = true;
	pthread_join(thread, NULL);
	EXPECT_EQ(0, m.bad);
	EXPECT_TRUE(runs_on(CPU));
}

/*
 * vCPUs that pass the newest TSC to one another at VM_DATA 0; at 8 rounds of all of them, at 0x10
 * how often one has read an older one.
 */
GUEST(relay, 64,
	"1:\tmov " S(GPA_DATA) ", %r10\n\tlfence\n\trdtsc\n\tshl $32, %rdx\n\tor %rdx, %rax\n\t"
	"cmp %r10, %rax\n\tjae 2f\n\tlock incq " S(GPA_DATA) "+0x10\n"
	"2:\tmov %rax, " S(GPA_DATA) "\n\tlock incq " S(GPA_DATA) "+8\n\tjmp 1b\n\t");

enum { RELAYS = 3 };

struct relay {
	struct vm vm;
	struct vcpu v[RELAYS];
	struct runner r[RELAYS];
	volatile uint64_t *rounds, *back;
};

static void relay_start(struct relay *re)
{
	struct cleave_state st = { .mp.state = CLEAVE_MP_RUNNABLE };

	vm_create(&re->vm, RAM_SIZE, 0);
	re->rounds = VM_DATA(&re->vm, uint64_t, 8);
	re->back = VM_DATA(&re->vm, uint64_t, 0x10);
	for (int i = 0; i < RELAYS; i++) {
		vcpu_create(&re->vm, &re->v[i], i);
		GUEST_LONG(&re->v[i], relay);
		state_must_set(&re->v[i], CLEAVE_MP, &st);
		runner_start(&re->r[i], &re->v[i], NULL, NULL);
	}
}

static bool relay_gets_on(struct relay *re)
{
	uint64_t before = *re->rounds;

	return WAIT_FOR(*re->rounds > before + 1000, 10000);
}

static void relay_stop(struct __test_metadata *_metadata, struct relay *re)
{
	EXPECT_TRUE(relay_gets_on(re));
	for (int i = 0; i < RELAYS; i++) {
		runner_stop(&re->r[i]);
		EXPECT_EQ(0, re->r[i].error);
		EXPECT_EQ(0, re->r[i].exits);
		vcpu_destroy(&re->v[i]);
	}
	EXPECT_EQ(0, *re->back);
	vm_destroy(&re->vm);
}

/* The vCPUs of one guest move off the CPU and back to it. */
TEST_F(hotplug, one_tsc_for_all_vcpus)
{
	struct relay re;

	relay_start(&re);
	for (int i = 0; i < ROUNDS; i++) {
		EXPECT_TRUE(relay_gets_on(&re));
		ASSERT_EQ(0, cpu_set_online(CPU, false));
		EXPECT_TRUE(relay_gets_on(&re));
		ASSERT_EQ(0, cpu_set_online(CPU, true));
		for (int j = 0; j < RELAYS; j++)
			thread_pin(re.r[j].thread, j & 1 ? CPU : 0);
	}
	relay_stop(_metadata, &re);
}

/* The machine sleeps and wakes up with a guest that runs, twice: its TSCs never go back. */
TEST(suspend)
{
	struct relay re;

	if (emulated_by_bochs() || access("/sys/class/rtc/rtc0/wakealarm", W_OK) ||
	    file_write("/sys/power/mem_sleep", "deep"))
		SKIP(return, "this machine does not sleep, or would not wake up");
	relay_start(&re);
	for (int i = 0; i < 2; i++) {
		EXPECT_TRUE(relay_gets_on(&re));
		ASSERT_EQ(0, file_write("/sys/class/rtc/rtc0/wakealarm", "+3"));
		ASSERT_EQ(0, file_write("/sys/power/state", "mem"));
	}
	relay_stop(_metadata, &re);
}

TEST_HARNESS_MAIN
