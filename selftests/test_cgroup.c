// SPDX-License-Identifier: GPL-2.0
/*
 * What a process takes of the kernel's memory by its guests is its cgroup's, ends with it, and
 * is bounded: by the cgroup, by its descriptors, by the interface.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "kselftest_harness.h"
#include "host.h"

#define MIB		0x100000ull
#define PAGE		0x1000ull
#define ROOT		"/tmp/cgroup"
#define GROUP		ROOT "/cleave-test"
#define GPA_BIG		0x40000000ull		/* below 4 GiB: GUEST_LONG's tables have it */
#define SLACK		(MIB / 2)		/* what the kernel counts late */

/* Reads, or writes if RCX is 1, a word of each page from RBX to RSI; RDI: how far they are apart. */
GUEST(sweep, 64,
	"1:\tmov (%rbx), %rax\n\tcmp $1, %ecx\n\tjne 2f\n\tmov %rbx, (%rbx)\n"
	"2:\tadd %rdi, %rbx\n\tcmp %rsi, %rbx\n\tjb 1b\n\t" G_DONE);

static bool group_write(const char *file, const char *text)
{
	char path[128];

	snprintf(path, sizeof(path), GROUP "/%s", file);
	return !file_write(path, text);
}

/* Of a file that has a name and a number a line; without a name, its only number. */
static long long group_number(const char *file, const char *name)
{
	char path[128], key[64];
	long long n = -1;
	FILE *f;

	snprintf(path, sizeof(path), GROUP "/%s", file);
	f = fopen(path, "re");
	if (!f)
		return -1;
	if (!name && fscanf(f, "%lld", &n) != 1)
		n = -1;
	while (name && fscanf(f, "%63s %lld", key, &n) == 2 && strcmp(key, name))
		n = -1;
	fclose(f);
	return n;
}

static long long group_bytes(void)
{
	return group_number("memory.stat", "kernel");
}

static long long group_bytes_now(void)
{
	cgroup_settle();
	return group_bytes();
}

static void guest_sweep(struct vcpu *v, uint64_t size, bool write, uint64_t apart)
{
	struct cleave_regs regs;

	regs_get(v, &regs);
	regs.rip = GPA_CODE;
	regs.rbx = GPA_BIG;
	regs.rsi = GPA_BIG + size;
	regs.rcx = write;
	regs.rdi = apart;
	regs_set(v, &regs);
	vcpu_run_done(v);
}

/* Small pages, nothing of it there. */
static void *big_slot(struct vm *vm, uint64_t size)
{
	void *mem = mem_alloc(size, 2 * MIB);

	madvise(mem, size, MADV_NOHUGEPAGE);
	if (vm_slot(vm, 1, 0, GPA_BIG, size, mem))
		DIE("slot refused");
	return mem;
}

/* NULL, or why there is none. */
static const char *group_create(void)
{
	mkdir(ROOT, 0755);
	if (mount("none", ROOT, "cgroup2", 0, NULL) && access(ROOT "/cgroup.procs", F_OK))
		return "no cgroup v2";
	file_write(ROOT "/cgroup.subtree_control", "+memory");
	rmdir(GROUP);
	if (mkdir(GROUP, 0755))
		DIE("no group: errno %d", errno);
	return group_bytes() < 0 ? "no memory controller that tells the kernel's part" : NULL;
}

/* Goes only when nobody is in it any more. */
static bool group_destroy(void)
{
	bool gone = WAIT_FOR(!rmdir(GROUP) || errno == ENOENT, 5000);

	umount(ROOT);
	return gone;
}

/* The function in a process of the group; its end. */
static int in_group(void (*work)(void *), void *arg)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		if (!group_write("cgroup.procs", "0"))
			DIE("cannot join the group");
		work(arg);
		_exit(0);
	}
	if (waitpid(pid, &status, 0) != pid)
		DIE("waitpid");
	return status;
}

struct charged {
	long long before, vcpus, tables, mapped, after;
};

#define VCPUS	32
#define MAPPED	(512 * MIB)

static void charge(void *arg)
{
	static struct vcpu v[VCPUS];
	struct charged *c = arg;
	struct vm vm;
	void *mem;

	/* It takes pages from the guest, to see who comes for them, and so tables. */
	file_write("/proc/sys/kernel/numa_balancing", "0");
	vm_create(&vm, RAM_SIZE, 0);	/* what the first one brings is not measured */
	vm_destroy(&vm);
	c->before = group_bytes_now();
	vm_create(&vm, RAM_SIZE, 0);
	vm_tables(&vm);
	for (int i = 0; i < VCPUS; i++)
		vcpu_create(&vm, &v[i], i);
	GUEST_LONG(&v[0], sweep);
	mem = big_slot(&vm, MAPPED);
	c->vcpus = group_bytes_now();
	/* The host's own tables come first. */
	MUST(madvise(mem, MAPPED, 22 /* MADV_POPULATE_READ */));
	guest_sweep(&v[0], PAGE, false, PAGE);
	c->tables = group_bytes_now();
	guest_sweep(&v[0], MAPPED, false, 16 * PAGE);
	c->mapped = group_bytes_now();
	munmap(mem, MAPPED);
	for (int i = 0; i < VCPUS; i++)
		vcpu_destroy(&v[i]);
	vm_destroy(&vm);
	c->after = group_bytes_now();
}

FIXTURE(cgroup) {
	long refs;
};

FIXTURE_SETUP(cgroup)
{
	const char *why = group_create();

	if (why) {
		group_destroy();
		SKIP_SETUP("%s", why);
	}
	self->refs = module_refs();
}

FIXTURE_TEARDOWN(cgroup)
{
	EXPECT_TRUE(WAIT_FOR(module_refs() == self->refs, 5000));
	EXPECT_TRUE(group_destroy());
}

/* The largest parts of a vCPU, and a table for each 2 MiB. */
TEST_F_TIMEOUT(cgroup, pays, 120)
{
	struct charged *c = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct cleave_info info = dev_info();

	ASSERT_EQ(0, in_group(charge, c));
	printf("# kernel memory: %lld, with vCPUs %lld, host's tables %lld, mapped %lld, without %lld\n",
	       c->before, c->vcpus, c->tables, c->mapped, c->after);
	EXPECT_GE(c->vcpus - c->before, VCPUS * (info.recorder_size + info.run_size));
	EXPECT_GE(c->mapped - c->tables, MAPPED / (2 * MIB) * PAGE);
	EXPECT_LT(c->after, c->before + SLACK);
}

static void *run_forever(void *arg)
{
	for (;;)
		vcpu_run(arg);
	return NULL;
}

GUEST(fill, 64, "1:\tmov $0x40000000, %ebx\n2:\tmov %rbx, (%rbx)\n\tadd $0x1000, %ebx\n\t"
	"cmp $0x60000000, %ebx\n\tjb 2b\n\tjmp 1b\n\t");

static void fill_memory(void *arg)
{
	struct cleave_state st = { 0 };
	static struct vcpu v[2];
	pthread_t thread;
	struct vm vm;

	vm_create(&vm, RAM_SIZE, 0);
	vm_tables(&vm);
	vm_load(&vm, GPA_CODE, fill, fill_end - fill);
	big_slot(&vm, MAPPED);
	for (int i = 0; i < 2; i++) {
		vcpu_create(&vm, &v[i], i);
		vcpu_long(&v[i], GPA_CODE);
		state_must_set(&v[i], CLEAVE_MP, &st);
	}
	MUST(-pthread_create(&thread, NULL, run_forever, &v[1]));
	run_forever(&v[0]);
}

/* Guests that map all zeros: tables, and nothing else, until there is no memory. */
static void fill_tables(void *arg)
{
	struct vcpu v;
	struct vm vm;
	void *mem;

	mem = mem_alloc(MAPPED, 2 * MIB);
	madvise(mem, MAPPED, MADV_NOHUGEPAGE);
	for (;;) {
		GUEST_SIMPLE(&vm, &v, sweep);
		MUST(vm_slot(&vm, 1, 0, GPA_BIG, MAPPED, mem));
		guest_sweep(&v, MAPPED, false, 2 * MIB);
	}
}

#define TOLD	3

static void fill_objects(void *arg)
{
	struct rlimit limit = { 4096, 4096 };
	struct cleave_create_vm args = { 0 };
	int dev = dev_open(), vm = -1, ret;

	MUST(setrlimit(RLIMIT_NOFILE, &limit));
	for (int i = 0; ; i++) {
		struct cleave_create_vcpu vcpu = { .id = i % 64 };

		if (!vcpu.id)
			vm = MUST(ioctl(dev, CLEAVE_CREATE_VM, &args));
		ret = xioctl(vm, CLEAVE_CREATE_VCPU, &vcpu);
		if (ret == -ENOMEM)
			_exit(TOLD);		/* and not killed for it: as good */
		if (ret < 0)
			DIE("vCPU %d: %d", i, ret);
	}
}

FIXTURE(oom) {
	long refs;
};

FIXTURE_VARIANT(oom) {
	void (*work)(void *arg);
	const char *max;
};

FIXTURE_VARIANT_ADD(oom, memory) { .work = fill_memory, .max = "48M" };
FIXTURE_VARIANT_ADD(oom, tables) { .work = fill_tables, .max = "24M" };
FIXTURE_VARIANT_ADD(oom, objects) { .work = fill_objects, .max = "24M" };

FIXTURE_SETUP(oom)
{
	const char *why = group_create();

	if (why) {
		group_destroy();
		SKIP_SETUP("%s", why);
	}
	group_write("memory.max", variant->max);
	group_write("memory.swap.max", "0");
	self->refs = module_refs();
}

FIXTURE_TEARDOWN(oom)
{
	EXPECT_TRUE(WAIT_FOR(module_refs() == self->refs, 5000));
	EXPECT_TRUE(group_destroy());
}

/* The cgroup's limit ends the owner, in the middle of whatever it is, and all comes back. */
TEST_F_TIMEOUT(oom, ends_the_owner, 280)
{
	int rounds = 0, told = 0;

	EXPECT_TRUE(MEMORY_RETURNS(512, 8, ({
		int status = in_group(variant->work, NULL);

		if (WIFEXITED(status) && WEXITSTATUS(status) == TOLD)
			told++;
		else
			ASSERT_EQ(SIGKILL, status);
		ASSERT_TRUE(WAIT_FOR(module_refs() == self->refs, 5000));
		rounds++;
		/* By nobody else. */
		ASSERT_EQ(rounds - told, group_number("memory.events", "oom_kill"));
	})));
	printf("# %d rounds, %d told, %lld bytes left\n", rounds, told, group_bytes_now());
	EXPECT_LT(group_bytes_now(), 2 * SLACK);
}

/* ---- other limits ------------------------------------------------------------- */

#define FILES	(emulated_by_bochs() ? 200 : 1500)

/* VMs, or vCPUs of ever new VMs, and no slot left free, until there is no descriptor any more. */
static void no_descriptors(bool vcpus)
{
	struct rlimit limit = { FILES, FILES };
	struct cleave_create_vm args = { 0 };
	void *mem = mem_alloc(PAGE, PAGE);
	int dev = dev_open(), vm = -1, ret;

	MUST(setrlimit(RLIMIT_NOFILE, &limit));
	for (uint32_t i = 0; ; i++) {
		struct cleave_create_vcpu vcpu = { .id = i };

		if (!vcpus || vm < 0 || i == CLEAVE_MAX_VCPUS) {
			vcpu.id = i = 0;
			ret = xioctl(dev, CLEAVE_CREATE_VM, &args);
			if (ret < 0)
				break;
			vm = ret;
			for (uint32_t slot = 0; slot <= CLEAVE_MAX_SLOTS; slot++) {
				struct cleave_slot s = {
					.slot = slot, .gpa = slot * PAGE, .size = PAGE,
					.hva = (uintptr_t)mem,
				};

				ret = xioctl(vm, CLEAVE_SET_SLOT, &s);
				if (ret != (slot < CLEAVE_MAX_SLOTS ? 0 : -EINVAL))
					DIE("slot %u: %d", slot, ret);
			}
		}
		if (!vcpus)
			continue;
		ret = xioctl(vm, CLEAVE_CREATE_VCPU, &vcpu);
		if (ret < 0)
			break;
	}
	_exit(ret == -EMFILE ? 0 : 1);
}

FIXTURE(descriptors) {
	long refs;
};

FIXTURE_VARIANT(descriptors) {
	bool vcpus;
};

FIXTURE_VARIANT_ADD(descriptors, of_vms) { };
FIXTURE_VARIANT_ADD(descriptors, of_vcpus) { .vcpus = true };

FIXTURE_SETUP(descriptors)
{
	self->refs = module_refs();
}

FIXTURE_TEARDOWN(descriptors)
{
	EXPECT_TRUE(WAIT_FOR(module_refs() == self->refs, 5000));
}

/* A process that creates until it has no descriptor any more: all of it has ended. */
static bool run_out(bool vcpus, long refs)
{
	pid_t pid = fork();
	int status;

	if (!pid)
		no_descriptors(vcpus);
	return waitpid(pid, &status, 0) == pid && !status &&
	       WAIT_FOR(module_refs() == refs, 10000);
}

/*
 * The one that gets no descriptor any more leaves nothing. In each round it would be a page at
 * least; the kernel's own caches come and go by up to three pages too, but do not grow each time.
 */
TEST_F_TIMEOUT(descriptors, run_out, 280)
{
	enum { ROUNDS = 8, TIMES = 3 };
	const long limit = ROUNDS / 2 * PAGE;
	long before, lost = limit;

	ASSERT_EQ(0, own_cgroup());
	/* This round is for what the kernel keeps at hand. */
	ASSERT_TRUE(run_out(variant->vcpus, self->refs));
	before = kernel_bytes();
	ASSERT_GT(before, 0);
	for (int time = 0; time < TIMES && lost >= limit; time++) {
		for (int i = 0; i < ROUNDS; i++)
			ASSERT_TRUE(run_out(variant->vcpus, self->refs));
		lost = kernel_bytes() - before;
		printf("# %ld bytes of %ld\n", lost, before);
		before += lost;
	}
	EXPECT_LT(lost, limit);
}

TEST_HARNESS_MAIN
