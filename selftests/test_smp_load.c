// SPDX-License-Identifier: GPL-2.0
/* Eight VMs at once: each gets on, in its own memory and with its own registers. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "kselftest_harness.h"
#include "host.h"

#define N		8
#define MEM		0x280000
#define PATTERN_GPA	0x200000
#define PATTERN_SIZE	(MEM - PATTERN_GPA)
#define VECTOR		0x40

/*
 * RBX is the VM's number. Fills its pages with a pattern of it and the round,
 * reads it back, counts at VM_DATA 0x10; a word that is not right is counted
 * at 0x18, with its address at 0x20. One word of each 256 bytes.
 */
GUEST(pattern, 64,
	"xor %r15d, %r15d\n"
	"1:\tinc %r15\n\tmov %rbx, %r14\n\tshl $48, %r14\n\tor %r15, %r14\n\tmovq %r14, %xmm3\n\t"
	"mov $" S(PATTERN_GPA) ", %edi\n"
	"2:\tmov %r14, %rax\n\tadd %rdi, %rax\n\tmov %rax, (%rdi)\n\tadd $256, %edi\n\t"
	"cmp $" S(MEM) ", %edi\n\tjb 2b\n\t"
	"mov $" S(PATTERN_GPA) ", %edi\n"
	"3:\tmovq %xmm3, %rax\n\tadd %rdi, %rax\n\tcmp %rax, (%rdi)\n\tje 4f\n\t"
	"incq " S(GPA_DATA) "+0x18\n\tmov %rdi, " S(GPA_DATA) "+0x20\n"
	"4:\tadd $256, %edi\n\tcmp $" S(MEM) ", %edi\n\tjb 3b\n\t"
	"incq " S(GPA_DATA) "+0x10\n\tjmp 1b\n\t");

/* Exits that the kernel answers, one after the other; RBX must survive in R12. */
GUEST(exits, 64,
	"mov %rbx, %r12\n"
	"1:\txor %eax, %eax\n\tcpuid\n\tmov $0x10, %ecx\n\trdmsr\n\tmov %cr8, %rax\n\t"
	"test %rax, %rax\n\tjnz 2f\n\tincq " S(GPA_DATA) "+0x10\n\tjmp 1b\n"
	"2:\tincq " S(GPA_DATA) "+0x18\n\tjmp 1b\n\t");

/* Exits to user space with the VM's number. */
GUEST(outs, 64,
	"1:\tmov %ebx, %eax\n\tout %eax, $0x80\n\tincq " S(GPA_DATA) "+0x10\n\tjmp 1b\n\t");

/* A timer each millisecond, asleep in between. */
GUEST(ticks, 64,
	"mov $0x83e, %ecx\n\tmov $0xb, %eax\n\txor %edx, %edx\n\twrmsr\n\t"
	"mov $0x832, %ecx\n\tmov $0x20040, %eax\n\twrmsr\n\t"
	"mov $0x838, %ecx\n\tmov $1000000, %eax\n\twrmsr\n\tsti\n"
	"1:\thlt\n\tlock incq " S(GPA_DATA) "+0x10\n\tjmp 1b\n\t");

#define COUNT(vm)	(*VM_DATA(vm, uint64_t, 0x10))
#define WRONG(vm)	(*VM_DATA(vm, uint64_t, 0x18))
#define WHERE(vm)	(*VM_DATA(vm, uint64_t, 0x20))

FIXTURE(load) {
	struct vm vm[N];
	struct vcpu v[N];
	struct runner r[N];
	uint64_t last[N];
};

FIXTURE_SETUP(load)
{
}

FIXTURE_TEARDOWN(load)
{
}

/* An OUT tells the number of the VM that it came from. */
static int own_number(struct vcpu *v, void *arg)
{
	if (v->run->exit == CLEAVE_EXIT_IO && v->run->io.data == (uintptr_t)arg)
		return 0;
	vcpu_dump(v);
	WRONG(v->vm)++;
	return 1;
}

static void start(FIXTURE_DATA(load) *self, int i, const char *code, size_t len, int cpu)
{
	struct cleave_regs regs;

	vm_create(&self->vm[i], MEM, 0);
	vcpu_create(&self->vm[i], &self->v[i], 0);
	vm_tables(&self->vm[i]);
	vm_load(&self->vm[i], GPA_CODE, code, len);
	vcpu_long(&self->v[i], GPA_CODE);
	vcpu_x2apic(&self->v[i]);
	tick_prepare(&self->vm[i], VECTOR);
	regs_get(&self->v[i], &regs);
	regs.rbx = i + 1;
	regs_set(&self->v[i], &regs);
	runner_start(&self->r[i], &self->v[i], own_number, (void *)(uintptr_t)(i + 1));
	if (cpu >= 0)
		thread_pin(self->r[i].thread, cpu);
}

#define START(i, code, cpu)	start(self, i, code, (size_t)(code##_end - code), cpu)

/* Every one counts on, within some seconds. */
static void all_get_on(struct __test_metadata *_metadata, FIXTURE_DATA(load) *self)
{
	for (int i = 0; i < N; i++)
		self->last[i] = COUNT(&self->vm[i]);
	for (int i = 0; i < N; i++)
		EXPECT_TRUE(WAIT_FOR(COUNT(&self->vm[i]) > self->last[i], 8000));
}

static void stop(struct __test_metadata *_metadata, FIXTURE_DATA(load) *self)
{
	for (int i = 0; i < N; i++) {
		runner_stop(&self->r[i]);
		EXPECT_EQ(0, self->r[i].error);
		EXPECT_EQ(0, WRONG(&self->vm[i])) {
			TH_LOG("VM %d at %#llx", i, (unsigned long long)WHERE(&self->vm[i]));
		}
		vcpu_destroy(&self->v[i]);
	}
}

/* The owner finds each VM's pattern in its memory, of the last round or the one before. */
static void patterns(struct __test_metadata *_metadata, FIXTURE_DATA(load) *self)
{
	for (uint64_t i = 0; i < N; i++) {
		uint64_t bad = 0, round = COUNT(&self->vm[i]) + 1;

		for (uint64_t gpa = PATTERN_GPA; gpa < MEM; gpa += 256) {
			uint64_t val = *(uint64_t *)(self->vm[i].ram + gpa) - gpa - ((i + 1) << 48);

			bad += val != round && val != round - 1;
		}
		EXPECT_EQ(0, bad);
		vm_destroy(&self->vm[i]);
	}
}

TEST_F(load, eight_patterns)
{
	for (int i = 0; i < N; i++)
		START(i, pattern, -1);
	for (int i = 0; i < 4; i++)
		all_get_on(_metadata, self);
	stop(_metadata, self);
	patterns(_metadata, self);
}

/* All on one CPU, where each is entered with what the one before left there. */
TEST_F(load, eight_on_one_cpu)
{
	for (int i = 0; i < N; i += 2) {
		START(i, exits, 0);
		START(i + 1, pattern, 0);
	}
	for (int i = 0; i < 3; i++)
		all_get_on(_metadata, self);
	stop(_metadata, self);
}

/* Moved between the CPUs all the time. */
TEST_F(load, eight_that_move)
{
	uint64_t until;

	if (!cpu_online(1))
		SKIP(return, "one CPU");
	for (int i = 0; i < N; i++)
		START(i, pattern, i % 2);
	until = now_ns() + 3 * SEC;
	for (int round = 0; now_ns() < until; round++) {
		for (int i = 0; i < N; i++)
			thread_pin(self->r[i].thread, (i + round) % 2);
		nap_us(1000);
	}
	all_get_on(_metadata, self);
	stop(_metadata, self);
	patterns(_metadata, self);
}

TEST_F(load, eight_of_each_kind)
{
	for (int i = 0; i < N; i += 4) {
		START(i, pattern, -1);
		START(i + 1, exits, -1);
		START(i + 2, outs, -1);
		START(i + 3, ticks, -1);
	}
	for (int i = 0; i < 4; i++)
		all_get_on(_metadata, self);
	stop(_metadata, self);
}

/* Seven go on while an eighth comes and goes, and memory is taken from them all. */
TEST_F(load, comings_and_goings)
{
	uint64_t until = now_ns() + 3 * SEC;
	int lives = 0;

	for (int i = 0; i < N; i++)
		START(i, pattern, -1);
	/* Two at least, however slow the host is. */
	while (lives < 2 || (now_ns() < until && lives < 3 * N)) {
		int i = lives++ % N;

		EXPECT_TRUE(WAIT_FOR(COUNT(&self->vm[i]) > 0, 8000));
		runner_stop(&self->r[i]);
		EXPECT_EQ(0, WRONG(&self->vm[i]));
		vcpu_destroy(&self->v[i]);
		vm_destroy(&self->vm[i]);
		START(i, pattern, -1);
		madvise(self->vm[(i + 1) % N].ram + PATTERN_GPA, PATTERN_SIZE, MADV_COLD);
		madvise(self->vm[(i + 3) % N].ram + PATTERN_GPA, PATTERN_SIZE, MADV_NOHUGEPAGE);
	}
	EXPECT_GE(lives, 2);
	all_get_on(_metadata, self);
	stop(_metadata, self);
	patterns(_metadata, self);
}

/* One VM, four vCPUs, one counter: no increment is lost. RCX times. */
GUEST(increments, 64,
	"1:\tlock incq " S(GPA_DATA) "+0x10\n\tmov $1, %eax\n\tlock xadd %rax, 0x150000\n\t"
	"dec %rcx\n\tjnz 1b\n\t" G_DONE);

static int once(struct vcpu *v, void *arg)
{
	return 1;
}

TEST(four_vcpus_count_together)
{
	enum { VCPUS = 4, TIMES = 300000 };
	struct vm vm;
	struct vcpu v[VCPUS];
	struct runner r[VCPUS];
	struct cleave_state st;

	vm_create(&vm, RAM_SIZE, 0);
	vm_tables(&vm);
	GUEST_LOAD(&vm, GPA_CODE, increments);
	for (int i = 0; i < VCPUS; i++) {
		vcpu_create(&vm, &v[i], i);
		vcpu_long(&v[i], GPA_CODE);
		state_get(&v[i], CLEAVE_REGS | CLEAVE_MP, &st);
		st.mp.state = CLEAVE_MP_RUNNABLE;
		st.regs.rcx = TIMES;
		state_must_set(&v[i], CLEAVE_REGS | CLEAVE_MP, &st);
	}
	for (int i = 0; i < VCPUS; i++)
		runner_start(&r[i], &v[i], once, NULL);
	for (int i = 0; i < VCPUS; i++) {
		runner_wait(&r[i]);
		EXPECT_EQ(0, r[i].error);
		EXPECT_EQ(CLEAVE_EXIT_IO, v[i].run->exit);
		vcpu_destroy(&v[i]);
	}
	EXPECT_EQ(VCPUS * TIMES, COUNT(&vm));
	EXPECT_EQ(VCPUS * TIMES, *(uint64_t *)(vm.ram + 0x150000));
	vm_destroy(&vm);
}

TEST_HARNESS_MAIN
