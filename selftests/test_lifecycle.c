// SPDX-License-Identifier: GPL-2.0
/* VMs and vCPUs are created and closed in every order, often and many at once. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include "kselftest_harness.h"
#include "host.h"

/* The sum of 1 to RCX. */
GUEST(sum, 64,
	"xor %eax, %eax\n"
	"1:\tadd %rcx, %rax\n\tloop 1b\n\t" G_DONE "ud2\n\t");

GUEST(spin, 64, "out %eax, $" S(PORT_DONE) "\n1:\tjmp 1b\n\t");

GUEST(counts, 64, "out %eax, $" S(PORT_DONE) "\n1:\tincl " S(GPA_DATA) "\n\tjmp 1b\n\t");

static uint32_t run_sum(struct vcpu *v, uint32_t n)
{
	struct cleave_regs regs;

	regs_get(v, &regs);
	regs.rip = GPA_CODE;
	regs.rcx = n;
	regs_set(v, &regs);
	return vcpu_run_done(v);
}

TEST(vcpu_closed_first)
{
	struct vm vm;
	struct vcpu v;

	GUEST_SIMPLE(&vm, &v, sum);
	EXPECT_EQ(5050, run_sum(&v, 100));
	vcpu_destroy(&v);
	vm_destroy(&vm);
}

TEST(vcpu_outlives_vm_fd)
{
	struct vm vm;
	struct vcpu v;

	GUEST_SIMPLE(&vm, &v, sum);
	ASSERT_EQ(0, close(vm.fd));
	EXPECT_EQ(5050, run_sum(&v, 100));
	EXPECT_EQ(500500, run_sum(&v, 1000));
	vcpu_destroy(&v);
	munmap(vm.ram, vm.ram_size);
}

TEST(run_page_closed_last)
{
	struct vm vm;
	struct vcpu v;

	GUEST_SIMPLE(&vm, &v, sum);
	EXPECT_EQ(55, run_sum(&v, 10));
	ASSERT_EQ(0, close(v.fd));
	ASSERT_EQ(0, close(vm.fd));
	EXPECT_EQ(CLEAVE_EXIT_IO, v.run->exit);
	munmap(v.run, v.run_size);
}

TEST(duplicate_fds)
{
	struct vm vm;
	struct vcpu v;
	int vm2, v2;

	GUEST_SIMPLE(&vm, &v, sum);
	vm2 = dup(vm.fd);
	v2 = dup(v.fd);
	close(vm.fd);
	close(v.fd);
	v.fd = v2;
	EXPECT_EQ(55, run_sum(&v, 10));
	close(vm2);
	EXPECT_EQ(5050, run_sum(&v, 100));
	vcpu_destroy(&v);
}

TEST(memory_gone_before_vm)
{
	struct vm vm;
	struct vcpu v;

	GUEST_SIMPLE(&vm, &v, sum);
	EXPECT_EQ(55, run_sum(&v, 10));
	ASSERT_EQ(0, munmap(vm.ram, vm.ram_size));
	vm.ram_size = 0;
	vcpu_run_exit(&v, CLEAVE_EXIT_FAULT);
	vcpu_destroy(&v);
	close(vm.fd);
}

TEST(all_vcpus_of_a_vm)
{
	struct cleave_info info = dev_info();
	struct vcpu *v = calloc(info.max_vcpus, sizeof(*v));
	struct vm vm;

	vm_create(&vm, RAM_SIZE, 0);
	for (unsigned int i = 0; i < info.max_vcpus; i++)
		vcpu_create(&vm, &v[info.max_vcpus - 1 - i], info.max_vcpus - 1 - i);
	vm_tables(&vm);
	GUEST_LOAD(&vm, GPA_CODE, sum);
	vcpu_long(&v[0], GPA_CODE);
	EXPECT_EQ(55, run_sum(&v[0], 10));
	/* The others wait for INIT. */
	for (unsigned int i = 1; i < info.max_vcpus; i++) {
		struct cleave_state st;

		state_get(&v[i], CLEAVE_MP, &st);
		ASSERT_EQ(CLEAVE_MP_WAIT_INIT, st.mp.state);
	}
	for (unsigned int i = 0; i < info.max_vcpus; i += 2)
		vcpu_destroy(&v[i]);
	close(vm.fd);
	for (unsigned int i = 1; i < info.max_vcpus; i += 2)
		vcpu_destroy(&v[i]);
}

TEST(many_vms)
{
	enum { N = 64 };
	static struct vm vm[N];
	static struct vcpu v[N];

	for (int i = 0; i < N; i++)
		GUEST_SIMPLE(&vm[i], &v[i], sum);
	for (int i = 0; i < N; i++)
		ASSERT_EQ((i + 2u) * (i + 1u) / 2, run_sum(&v[i], i + 1));
	for (int i = N - 1; i >= 0; i -= 2)
		vm_destroy(&vm[i]);
	for (int i = 0; i < N; i += 2)
		ASSERT_EQ(55, run_sum(&v[i], 10));
}

TEST(eight_in_turn)
{
	enum { N = 8 };
	static struct vm vm[N];
	static struct vcpu v[N];

	for (int i = 0; i < N; i++)
		GUEST_SIMPLE(&vm[i], &v[i], sum);
	for (uint32_t round = 1; round < 50; round++)
		for (uint32_t i = 0; i < N; i++)
			ASSERT_EQ((round + i) * (round + i + 1) / 2, run_sum(&v[i], round + i));
}

static void live_and_die(struct __test_metadata *_metadata, int times)
{
	for (int i = 0; i < times; i++) {
		struct vm vm;
		struct vcpu v;

		GUEST_SIMPLE(&vm, &v, sum);
		if (i % 10 == 0)
			ASSERT_EQ(55, run_sum(&v, 10));
		if (i % 2) {
			vcpu_destroy(&v);
			vm_destroy(&vm);
		} else {
			vm_destroy(&vm);
			vcpu_destroy(&v);
		}
	}
}

TEST(thousand_times)
{
	const int times = emulated_by_bochs() ? 100 : 500 / patience();

	live_and_die(_metadata, times);
	EXPECT_TRUE(MEMORY_RETURNS(times * 4, 8, live_and_die(_metadata, times)));
}

static void on_signal(int sig)
{
}

static void *run_once(void *arg)
{
	return (void *)(long)vcpu_run(arg);
}

/* The descriptors are closed while a thread is in the guest. */
TEST(closed_while_running)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct vm vm;
	struct vcpu v;
	pthread_t thread;
	void *result;

	sigaction(SIGUSR1, &sa, NULL);
	GUEST_SIMPLE(&vm, &v, counts);
	vcpu_run_done(&v);
	ASSERT_EQ(0, pthread_create(&thread, NULL, run_once, &v));
	ASSERT_TRUE(WAIT_FOR(*VM_DATA(&vm, uint32_t, 0), 10000));
	close(v.fd);
	close(vm.fd);
	munmap(v.run, v.run_size);
	usleep(50000);
	ASSERT_EQ(0, pthread_kill(thread, SIGUSR1));
	ASSERT_EQ(0, pthread_join(thread, &result));
	EXPECT_EQ(-EINTR, (long)result);
}

/* No descriptor left for the VM, then none for the vCPU. */
TEST(out_of_descriptors)
{
	struct cleave_create_vm vm_args = { 0 };
	struct cleave_create_vcpu vcpu_args = { 0 };
	struct rlimit limit = { 0, 0 };
	int dev = dev_open(), vm;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = dev + 1;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(-EMFILE, xioctl(dev, CLEAVE_CREATE_VM, &vm_args));
	limit.rlim_cur = dev + 2;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	vm = xioctl(dev, CLEAVE_CREATE_VM, &vm_args);
	ASSERT_GT(vm, 0);
	EXPECT_EQ(-EMFILE, xioctl(vm, CLEAVE_CREATE_VCPU, &vcpu_args));
	limit.rlim_cur = dev + 3;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	/* The refused one left its number free. */
	EXPECT_GT(xioctl(vm, CLEAVE_CREATE_VCPU, &vcpu_args), 0);
}

TEST_HARNESS_MAIN
