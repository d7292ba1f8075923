// SPDX-License-Identifier: GPL-2.0
/* The module cannot be unloaded while something of it is in use, can be after, and comes back. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include "kselftest_harness.h"
#include "host.h"

GUEST(sum, 64, "xor %eax, %eax\n1:\tadd %rcx, %rax\n\tloop 1b\n\t" G_DONE);
GUEST(spin, 64, "1:\tlock incq " S(GPA_DATA) "\n\tjmp 1b\n\t");

/* The module is loaded before and after each test, whatever came of it. */
FIXTURE(module) {
	int reason;	/* why it cannot be loaded */
};

FIXTURE_SETUP(module)
{
	const char *path = getenv("CLEAVE_KO");

	if (access(path ? path : "/cleave.ko", R_OK))
		SKIP_SETUP("no cleave.ko in $CLEAVE_KO");
	if (module_refs() > 0)
		SKIP_SETUP("the module is in use");
	self->reason = module_there() ? 0 : module_load();
	ASSERT_EQ(0, self->reason);
}

FIXTURE_TEARDOWN(module)
{
	if (!module_there())
		ASSERT_EQ(0, module_load());
}

static uint32_t run_sum(struct vcpu *v, uint32_t n)
{
	struct cleave_regs regs;

	regs_get(v, &regs);
	regs.rip = GPA_CODE;
	regs.rcx = n;
	regs_set(v, &regs);
	return vcpu_run_done(v);
}

static bool has_line(const char *path, const char *word)
{
	char line[512];
	FILE *f = fopen(path, "re");
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = strstr(line, word);
	if (f)
		fclose(f);
	return found;
}

TEST_F(module, clean_after)
{
	ASSERT_EQ(0, module_unload());
	EXPECT_FALSE(module_there());
	EXPECT_EQ(-1, access("/dev/cleave", F_OK));
	EXPECT_EQ(-1, access("/sys/class/misc/cleave", F_OK));
	EXPECT_FALSE(has_line("/proc/modules", "cleave"));
	EXPECT_FALSE(has_line("/proc/misc", "cleave"));
	EXPECT_FALSE(has_line("/sys/devices/system/cpu/hotplug/states", "cleave"));
	EXPECT_EQ(-ENOENT, module_unload());
	ASSERT_EQ(0, module_load());
	EXPECT_EQ(0, access("/dev/cleave", R_OK | W_OK));
	EXPECT_EQ(-EEXIST, module_load());
}

TEST_F(module, refused_while_open)
{
	int dev = dev_open();

	EXPECT_EQ(-EWOULDBLOCK, module_unload());
	close(dev);
	EXPECT_EQ(0, module_unload());
}

/* VM, vCPU and the run page's mapping hold it, each alone. */
TEST_F(module, refused_while_a_vm_lives)
{
	struct vcpu v;
	struct vm vm;

	GUEST_SIMPLE(&vm, &v, sum);
	EXPECT_EQ(-EWOULDBLOCK, module_unload());
	EXPECT_EQ(55, run_sum(&v, 10));
	EXPECT_EQ(-EWOULDBLOCK, module_unload());
	close(vm.fd);
	EXPECT_EQ(-EWOULDBLOCK, module_unload());
	EXPECT_EQ(5050, run_sum(&v, 100));
	close(v.fd);
	EXPECT_EQ(-EWOULDBLOCK, module_unload());
	EXPECT_EQ(5050, (uint32_t)v.run->regs.rax);
	munmap(v.run, v.run_size);
	EXPECT_EQ(0, module_refs());
	EXPECT_EQ(0, module_unload());
}

TEST_F(module, refused_while_a_vm_alone_lives)
{
	struct vm vm;

	vm_create(&vm, RAM_SIZE, 0);
	EXPECT_EQ(-EWOULDBLOCK, module_unload());
	vm_destroy(&vm);
	EXPECT_EQ(0, module_unload());
}

/* A guest that runs does not notice. */
TEST_F(module, refused_while_running)
{
	struct vcpu v;
	struct vm vm;
	struct runner r;
	uint64_t n;

	GUEST_SIMPLE(&vm, &v, spin);
	runner_start(&r, &v, NULL, NULL);
	ASSERT_TRUE(WAIT_FOR(*VM_DATA(&vm, uint64_t, 0), 5000));
	for (int i = 0; i < 50; i++) {
		EXPECT_EQ(-EWOULDBLOCK, module_unload());
		nap_us(1000);
	}
	n = *VM_DATA(&vm, uint64_t, 0);
	EXPECT_TRUE(WAIT_FOR(*VM_DATA(&vm, uint64_t, 0) > n, 3000));
	runner_stop(&r);
	EXPECT_EQ(0, r.error);
	vcpu_destroy(&v);
	vm_destroy(&vm);
}

TEST_F(module, count_of_users)
{
	enum { N = 20 };
	static struct vm vm[N];
	static struct vcpu v[N];

	for (int i = 0; i < N; i++)
		GUEST_SIMPLE(&vm[i], &v[i], sum);
	EXPECT_GE(module_refs(), N);
	for (int i = 0; i < N; i++) {
		vcpu_destroy(&v[i]);
		vm_destroy(&vm[i]);
	}
	EXPECT_EQ(0, module_refs());
}

static void load_and_use(struct __test_metadata *_metadata, uint32_t times)
{
	for (uint32_t i = 0; i < times; i++) {
		struct vcpu v;
		struct vm vm;

		GUEST_SIMPLE(&vm, &v, sum);
		ASSERT_EQ((i + 1) * (i + 2) / 2, run_sum(&v, i + 1));
		vcpu_destroy(&v);
		vm_destroy(&vm);
		ASSERT_EQ(0, module_unload());
		ASSERT_EQ(0, module_load());
	}
}

TEST_F_TIMEOUT(module, again_and_again, 120)
{
	const uint32_t times = emulated_by_bochs() ? 10 : 20;

	load_and_use(_metadata, times);
	/* A page a time. */
	EXPECT_TRUE(MEMORY_RETURNS(times * 4, 8, load_and_use(_metadata, times)));
}

struct users {
	volatile bool stop;
	volatile uint64_t created, absent, other;
};

static void *users_main(void *arg)
{
	struct cleave_create_vm args = { 0 };
	struct cleave_create_vcpu vcpu = { 0 };
	struct users *u = arg;
	int dev, vm;

	while (!u->stop) {
		dev = open("/dev/cleave", O_RDWR | O_CLOEXEC);
		if (dev < 0) {
			u->absent++;
			continue;
		}
		vm = ioctl(dev, CLEAVE_CREATE_VM, &args);
		if (vm < 0) {
			u->other++;
		} else {
			close(ioctl(vm, CLEAVE_CREATE_VCPU, &vcpu));
			close(vm);
			u->created++;
		}
		close(dev);
		nap_us(u->created % 8 * 500);
	}
	return NULL;
}

/* Loaded and unloaded while others open it. */
TEST_F_TIMEOUT(module, race_with_users, 120)
{
	uint64_t start = now_ns(), unloaded = 0, refused = 0;
	struct users u = { 0 };
	pthread_t thread;
	int ret;

	ASSERT_EQ(0, pthread_create(&thread, NULL, users_main, &u));
	/* On a slow host it is unloaded a few times a second, and needs longer to meet a user. */
	while (now_ns() - start < 3 * SEC || (!refused && now_ns() - start < 60 * SEC)) {
		ret = module_unload();
		if (ret == -EWOULDBLOCK) {
			refused++;
			continue;
		}
		ASSERT_EQ(0, ret);
		unloaded++;
		ASSERT_EQ(0, module_load());
		nap_us(2000);
	}
	u.stop = true;
	pthread_join(thread, NULL);
	EXPECT_GT(unloaded, 0);
	EXPECT_GT(refused, 0);
	EXPECT_GT(u.created, 0);
	EXPECT_EQ(0, u.other);
	EXPECT_EQ(0, module_refs());
}

TEST_HARNESS_MAIN
