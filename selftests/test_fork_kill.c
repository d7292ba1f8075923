// SPDX-License-Identifier: GPL-2.0
/* Processes with guests are killed outright, hundreds of times: the host is as before. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "kselftest_harness.h"
#include "host.h"

/* What a guest does when the axe falls. */
GUEST(spin, 64, "1:\tjmp 1b\n\t");
GUEST(exits, 64, "1:\txor %eax, %eax\n\tcpuid\n\tjmp 1b\n\t");
GUEST(asleep, 64, "1:\thlt\n\tjmp 1b\n\t");
GUEST(touch, 64,
	"2:\tmov $0x100000, %ebx\n1:\tincl (%rbx)\n\tadd $0x1000, %ebx\n\t"
	"cmp $0x200000, %ebx\n\tjb 1b\n\tjmp 2b\n\t");
GUEST(to_user, 64, "1:\t" G_DONE "jmp 1b\n\t");
GUEST(sum, 64, "xor %eax, %eax\n1:\tadd %rcx, %rax\n\tloop 1b\n\t" G_DONE);

static const struct {
	const char *code, *end;
} work[] = {
	{ spin, spin_end }, { exits, exits_end }, { asleep, asleep_end }, { touch, touch_end },
	{ to_user, to_user_end },
};

static void *run_forever(void *arg)
{
	for (;;)
		vcpu_run(arg);
	return NULL;
}

static volatile int *at_work;	/* shared: set once all is created */

/* Does not return. */
static void live(int what, int vcpus)
{
	static struct vcpu v[4];
	struct cleave_state st = { 0 };
	pthread_t thread;
	struct vm vm;

	vm_create(&vm, RAM_SIZE, 0);
	vm_tables(&vm);
	vm_load(&vm, GPA_CODE, work[what].code, work[what].end - work[what].code);
	for (int i = 0; i < vcpus; i++) {
		vcpu_create(&vm, &v[i], i);
		vcpu_long(&v[i], GPA_CODE);
		state_must_set(&v[i], CLEAVE_MP, &st);
		if (i)
			MUST(-pthread_create(&thread, NULL, run_forever, &v[i]));
	}
	if (at_work)
		*at_work = 1;
	run_forever(&v[0]);
}

static bool well(void)
{
	struct cleave_regs regs;
	struct vcpu v;
	struct vm vm;
	bool good;

	GUEST_SIMPLE(&vm, &v, sum);
	regs_get(&v, &regs);
	regs.rcx = 100000;
	regs_set(&v, &regs);
	good = vcpu_run_done(&v) == (uint32_t)(100000ull * 100001 / 2);
	vcpu_destroy(&v);
	vm_destroy(&vm);
	return good;
}

static unsigned int pseudo_random(void)
{
	static unsigned int x = 2463534242;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	return x;
}

/* Lives at most so many microseconds and dies, n times; counted from when all is there, or from birth. */
static void kill_many(struct __test_metadata *_metadata, int n, int vcpus, bool wait, int us)
{
	at_work = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < n; i++) {
		pid_t pid;
		int status;

		*at_work = 0;
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid)
			live(i % (sizeof(work) / sizeof(work[0])), vcpus);
		ASSERT_TRUE(!wait || WAIT_FOR(*at_work, 5000));
		nap_us(pseudo_random() % us);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_TRUE(WIFSIGNALED(status));
	}
	munmap((void *)at_work, 4096);
	at_work = NULL;
}

/* A leak of one page by each would be that many KiB. */
#define LEAK_KIB(n)	((n) * 4)

static void as_before(struct __test_metadata *_metadata, long refs)
{
	EXPECT_TRUE(WAIT_FOR(module_refs() == refs, 5000));
	EXPECT_TRUE(well());
}

/* While they make their VM, mostly, or while it runs: 512 times together. */
FIXTURE(killed) {
	long refs;
};

FIXTURE_VARIANT(killed) {
	bool at_work;
	int us;
};

FIXTURE_VARIANT_ADD(killed, early) { .us = 8000 };
FIXTURE_VARIANT_ADD(killed, soon) { .us = 3000 };
FIXTURE_VARIANT_ADD(killed, at_work) { .at_work = true, .us = 2000 };
FIXTURE_VARIANT_ADD(killed, at_once) { .at_work = true, .us = 100 };

FIXTURE_SETUP(killed)
{
	self->refs = module_refs();
	ASSERT_GE(self->refs, 0);
}

FIXTURE_TEARDOWN(killed)
{
}

TEST_F_TIMEOUT(killed, often, 120)
{
	kill_many(_metadata, 64, 1, variant->at_work, variant->us);
	EXPECT_TRUE(MEMORY_RETURNS(LEAK_KIB(64), 8,
		    kill_many(_metadata, 64, 1, variant->at_work, variant->us)));
	as_before(_metadata, self->refs);
}

TEST(killed_with_four_vcpus)
{
	long refs = module_refs();

	kill_many(_metadata, 10, 4, true, 2000);
	EXPECT_TRUE(MEMORY_RETURNS(LEAK_KIB(30), 8, kill_many(_metadata, 30, 4, true, 2000)));
	as_before(_metadata, refs);
}

/* Several at once, in one blow. */
TEST(killed_as_a_group)
{
	long refs = module_refs();

	for (int round = 0; round < 10; round++) {
		pid_t group = 0, pid;
		int status;

		for (int i = 0; i < 8; i++) {
			pid = fork();
			ASSERT_GE(pid, 0);
			if (!pid) {
				setpgid(0, group);
				live(i % 5, 2);
			}
			if (!group)
				group = pid;
			setpgid(pid, group);
		}
		nap_us(20000);
		ASSERT_EQ(0, kill(-group, SIGKILL));
		for (int i = 0; i < 8; i++) {
			ASSERT_GT(waitpid(-group, &status, 0), 0);
			EXPECT_TRUE(WIFSIGNALED(status));
		}
		EXPECT_EQ(-1, waitpid(-group, &status, 0));
	}
	EXPECT_TRUE(WAIT_FOR(module_refs() == refs, 5000));
	EXPECT_TRUE(well());
}

/* The process forks while its guest runs, and is killed; the child has the descriptors still. */
TEST(descriptors_left_with_a_child)
{
	long refs = module_refs();
	int status, gate[2];

	for (int i = 0; i < 20; i++) {
		pid_t pid, grandchild = 0;

		ASSERT_EQ(0, pipe(gate));
		pid = fork();
		ASSERT_GE(pid, 0);
		if (!pid) {
			static struct vcpu v;
			static struct vm vm;
			pthread_t thread;

			GUEST_SIMPLE(&vm, &v, touch);
			MUST(-pthread_create(&thread, NULL, run_forever, &v));
			nap_us(2000);
			grandchild = fork();
			if (!grandchild) {
				/* Not its own: nothing but closing it. */
				if (vcpu_run(&v) != -EIO)
					_exit(1);
				for (;;)
					pause();
			}
			MUST(write(gate[1], &grandchild, sizeof(grandchild)));
			for (;;)
				pause();
		}
		ASSERT_EQ(sizeof(grandchild), read(gate[0], &grandchild, sizeof(grandchild)));
		nap_us(3000);
		EXPECT_GT(module_refs(), refs);
		ASSERT_EQ(0, kill(pid, SIGKILL));
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, kill(grandchild, SIGKILL));
		close(gate[0]);
		close(gate[1]);
	}
	EXPECT_TRUE(WAIT_FOR(module_refs() == refs, 5000));
	EXPECT_TRUE(well());
}

TEST_HARNESS_MAIN
