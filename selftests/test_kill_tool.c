// SPDX-License-Identifier: GPL-2.0
/*
 * cleave run is killed while it boots Debian's kernel, at moments all over the boot: nothing of it
 * is left. KILL_ROUNDS in the environment says how often, KILL_SEED at which moments.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include "kselftest_harness.h"
#include "host.h"

#define BATCH		10

static uint32_t seed;

static uint32_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

static int number_of(const char *name, int otherwise)
{
	const char *text = getenv(name);

	return text && atoi(text) > 0 ? atoi(text) : otherwise;
}

/* A directory in $CLEAVE_GUESTS, whichever comes first by name. */
static void guest_kernel(char *path, size_t size)
{
	const char *dir = getenv("CLEAVE_GUESTS");
	struct dirent **list;
	int n = scandir(dir ?: "/guest", &list, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		snprintf(path, size, "%s/%s/vmlinuz", dir ?: "/guest", list[i]->d_name);
		if (list[i]->d_name[0] != '.' && !access(path, R_OK))
			return;
	}
	DIE("no kernel for a guest");
}

static pid_t tool_start(void)
{
	char kernel[512], initrd[256];
	const char *dir = getenv("CLEAVE_GUESTS");
	pid_t pid;
	int null;

	guest_kernel(kernel, sizeof(kernel));
	snprintf(initrd, sizeof(initrd), "%s/initramfs", dir ?: "/guest");
	pid = fork();
	if (pid)
		return pid;
	null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	execlp("cleave", "cleave", "run", "--kernel", kernel, "--initrd", initrd, "--memory", "256M",
	       "--append", "console=ttyS0 panic=-1 cleave.auto", NULL);
	_exit(127);
}

/* Are there processes of that name? */
static bool process_there(const char *name)
{
	char path[300], comm[32];
	struct dirent *e;
	bool found = false;
	DIR *proc = opendir("/proc");

	while (proc && (e = readdir(proc))) {
		FILE *f;

		snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
		f = atoi(e->d_name) > 0 ? fopen(path, "re") : NULL;
		if (!f)
			continue;
		if (fscanf(f, "%31s", comm) == 1 && !strcmp(comm, name))
			found = true;
		fclose(f);
	}
	if (proc)
		closedir(proc);
	return found;
}

FIXTURE(tool) {
	long refs;
	bool kvm;		/* is there, to ask whether the CPUs are free */
};

FIXTURE_SETUP(tool)
{
	/* Later ones have the CPUs from load on, unless told otherwise. */
	int ret = kvm_load("enable_virt_at_load=0");

	self->refs = module_refs();
	EXPECT_TRUE(!ret || kvm_not_here(ret))
		TH_LOG("KVM cannot be loaded: %s", strerror(-ret));
	self->kvm = !ret;
	seed = number_of("KILL_SEED", 1);
}

FIXTURE_TEARDOWN(tool)
{
	kvm_unload();
}

/* KVM refuses a CPU that somebody has switched virtualization on, and looks at each. */
static int kvm_finds_them_free(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm, ret;

	if (kvm < 0)
		return -errno;
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	ret = vm < 0 ? -errno : 0;
	if (vm >= 0)
		close(vm);
	close(kvm);
	return ret;
}

/* Killed after so many us; false: it had ended by itself. */
static bool kill_at(struct __test_metadata *_metadata, FIXTURE_DATA(tool) *self, uint64_t us)
{
	pid_t pid = tool_start();
	int status;

	nap_us(us);
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WAIT_FOR(module_refs() == self->refs, 10000));
	ASSERT_FALSE(process_there("cleave"));
	if (self->kvm)
		ASSERT_EQ(0, kvm_finds_them_free()) TH_LOG("killed after %llu us",
							    (unsigned long long)us);
	return WIFSIGNALED(status);
}

/* As many as take three minutes, at half a boot each. */
static int rounds_in_time(uint64_t boot_us)
{
	uint64_t n = 360000000 / boot_us;

	return n < 2 ? 2 : n > 20 ? 20 : n;
}

TEST_F_TIMEOUT(tool, killed_at_any_time, 100000)
{
	int rounds, batch, killed = 0, status;
	long before = 0, lost, free;
	bool kept = false;
	uint64_t boot;
	pid_t pid;

	ASSERT_EQ(0, own_cgroup());
	boot = now_ns();
	pid = tool_start();
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(0, status);
	boot = (now_ns() - boot) / 1000;
	rounds = number_of("KILL_ROUNDS", rounds_in_time(boot));
	batch = rounds < BATCH ? rounds : BATCH;
	/* The first batch is for what the kernel keeps at hand: stacks, for one. */
	for (int i = -batch; i < rounds; i += batch) {
		free = mem_free_kib();
		/* Each of so many parts of the boot once in a batch, at a moment by chance. */
		for (int k = 0; k < batch; k++)
			killed += kill_at(_metadata, self, boot * k / batch + rnd() % (boot / batch));
		/* What is no kernel's memory, as the guest's: a batch in which none is lost. */
		kept |= WAIT_FOR(free - mem_free_kib() < 1024, 2000);
		if (i < 0)
			before = kernel_bytes();
	}
	lost = kernel_bytes() - before;
	ASSERT_GT(before, 0);
	printf("# a boot takes %llu ms; %d killed, KVM was %sasked; %ld bytes of %ld\n",
	       (unsigned long long)boot / 1000, killed, self->kvm ? "" : "not ", lost, before);
	EXPECT_TRUE(kept);
	EXPECT_LT(lost, 16 * 4096);
	EXPECT_GE(killed, rounds / 2);
}

TEST_HARNESS_MAIN
