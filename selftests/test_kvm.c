// SPDX-License-Identifier: GPL-2.0
/*
 * Beside KVM: the CPU is one's or the other's, whoever comes second is told so
 * and finds it free when the first one has gone. On VT-x from Linux 6.12 on, KVM
 * must not even be loaded: there is one callback for a crash, and each needs it.
 * $KVM_ALTERNATIONS: how often they take turns. A thousand need some minutes.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "kselftest_harness.h"
#include "host.h"

GUEST(sum, 64, "xor %eax, %eax\n1:\tadd %rcx, %rax\n\tloop 1b\n\t" G_DONE);

/* The same in real mode, for KVM. */
GUEST(real_sum, 16, "xor %eax, %eax\n1:\tadd %ecx, %eax\n\tloop 1b\n\t" G_DONE);

/* KVM's VM, or -errno. */
static int kvm_create(void)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), vm;

	if (kvm < 0)
		return -errno;
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		vm = -errno;
	close(kvm);
	return vm;
}

static int cleave_create(void)
{
	struct cleave_create_vm args = { 0 };
	int dev = dev_open(), vm = xioctl(dev, CLEAVE_CREATE_VM, &args);

	close(dev);
	return vm;
}

/* A VM of cleave that adds up to n, and goes. */
static bool works(uint32_t n)
{
	struct cleave_regs regs;
	struct vcpu v;
	struct vm vm;
	bool good;

	GUEST_SIMPLE(&vm, &v, sum);
	regs_get(&v, &regs);
	regs.rcx = n;
	regs_set(&v, &regs);
	good = vcpu_run_done(&v) == n * (n + 1) / 2;
	vcpu_destroy(&v);
	vm_destroy(&vm);
	return good;
}

/* A VM of KVM's that does; while it lives, cleave is refused. */
static bool kvm_works(uint32_t n)
{
	struct kvm_userspace_memory_region slot = { .memory_size = 0x10000 };
	struct kvm_regs regs = { .rflags = 2, .rip = 0x1000, .rcx = n };
	int vm = MUST(kvm_create()), v = MUST(ioctl(vm, KVM_CREATE_VCPU, 0)), kvm;
	uint8_t *ram = mem_alloc(slot.memory_size, 4096);
	struct kvm_sregs sregs;
	struct kvm_run *run;
	size_t size;
	bool good;

	kvm = MUST(open("/dev/kvm", O_RDWR | O_CLOEXEC));
	size = MUST(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	close(kvm);
	run = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, v, 0);
	if (run == MAP_FAILED)
		DIE("KVM's run page: errno %d", errno);
	memcpy(ram + regs.rip, real_sum, real_sum_end - real_sum);
	slot.userspace_addr = (uintptr_t)ram;
	MUST(ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot));
	MUST(ioctl(v, KVM_GET_SREGS, &sregs));
	sregs.cs.base = 0;
	sregs.cs.selector = 0;
	MUST(ioctl(v, KVM_SET_SREGS, &sregs));
	MUST(ioctl(v, KVM_SET_REGS, &regs));
	MUST(ioctl(v, KVM_RUN, 0));
	good = run->exit_reason == KVM_EXIT_IO && run->io.port == PORT_DONE &&
	       *(uint32_t *)((uint8_t *)run + run->io.data_offset) == n * (n + 1) / 2 &&
	       cleave_create() == -EBUSY;
	munmap(run, size);
	close(v);
	close(vm);
	munmap(ram, slot.memory_size);
	return good;
}

/* What both change of the CPU, and system calls need. */
static const uint32_t host_msrs[] = {
	0x174, 0x175, 0x176,				/* SYSENTER */
	0x277,						/* PAT */
	0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084,	/* EFER, STAR... */
	0xc0000103,					/* TSC_AUX */
};

enum { MSRS = sizeof(host_msrs) / sizeof(host_msrs[0]), CPUS = 2 };

static void host_look(int fd[CPUS], uint64_t val[CPUS][MSRS])
{
	for (int cpu = 0; cpu < CPUS; cpu++)
		for (int i = 0; i < MSRS; i++)
			if (pread(fd[cpu], &val[cpu][i], 8, host_msrs[i]) != 8)
				val[cpu][i] = 0;
}

static char kernel_log[1 << 20];

/* Is it in the kernel's log, behind a mark if there is one? */
static bool log_has(const char *mark, const char *text)
{
	int n = klogctl(3, kernel_log, sizeof(kernel_log) - 1);
	const char *from;

	kernel_log[n > 0 ? n : 0] = 0;
	from = strstr(kernel_log, mark);
	return from && strstr(from, text);
}

/* cleave is refused, and the log says so; again, as the kernel limits how much it says. */
static bool refused_with(const char *text)
{
	bool found = false;

	for (int i = 0; i < 8 && !found; i++) {
		char mark[64];

		snprintf(mark, sizeof(mark), "test_kvm: mark %llu", (unsigned long long)now_ns());
		MUST(file_write("/dev/kmsg", mark));
		if (cleave_create() != -EBUSY)
			return false;
		found = log_has(mark, text);
		if (!found)
			sleep(1);
	}
	return found;
}

/* Does the command print both? */
static bool prints(const char *command, const char *a, const char *b)
{
	FILE *f = popen(command, "r");
	char out[8192] = "";
	size_t n;

	if (!f)
		return false;
	n = fread(out, 1, sizeof(out) - 1, f);
	out[n] = 0;
	pclose(f);
	if (strstr(out, a) && strstr(out, b))
		return true;
	printf("# %s says: %s\n", command, out);
	return false;
}

FIXTURE(kvm) {
	const char *module;
	bool vmx;
	bool at_load;		/* KVM takes the CPU when it is loaded, if not told otherwise */
	int msr[CPUS];
	uint64_t before[CPUS][MSRS];
};

FIXTURE_SETUP(kvm)
{
	struct utsname u;
	int major, minor, ret;
	char path[64];

	self->vmx = dev_info().vendor == CLEAVE_VENDOR_VMX;
	self->module = kvm_module();
	uname(&u);
	ASSERT_EQ(2, sscanf(u.release, "%d.%d", &major, &minor));
	self->at_load = major > 6 || (major == 6 && minor >= 12);
	ret = kvm_core_load("");
	if (ret == -ENOENT)
		SKIP_SETUP("no kvm.ko for this kernel");
	ASSERT_EQ(0, ret);
	host_module_load("msr", "");
	for (int cpu = 0; cpu < CPUS; cpu++) {
		snprintf(path, sizeof(path), "/dev/cpu/%d/msr", cpu);
		WAIT_FOR(!access(path, R_OK), 2000);
		self->msr[cpu] = open(path, O_RDONLY | O_CLOEXEC);
		ASSERT_GE(self->msr[cpu], 0);
	}
	host_look(self->msr, self->before);
}

/* The host's MSRs are what they were. */
static bool host_same(FIXTURE_DATA(kvm) *self)
{
	uint64_t now[CPUS][MSRS];
	bool same = true;

	host_look(self->msr, now);
	for (int cpu = 0; cpu < CPUS; cpu++)
		for (int i = 0; i < MSRS; i++)
			if (now[cpu][i] != self->before[cpu][i]) {
				printf("# MSR %#x of CPU %d was %#llx, is %#llx\n", host_msrs[i], cpu,
				       (unsigned long long)self->before[cpu][i],
				       (unsigned long long)now[cpu][i]);
				same = false;
			}
	return same;
}

FIXTURE_TEARDOWN(kvm)
{
	kvm_unload();
	for (int cpu = 0; cpu < CPUS; cpu++)
		close(self->msr[cpu]);
	host_module_unload("msr");
}

/* KVM that waits for a VM, on kernels where it need not. */
static int kvm_load_idle(FIXTURE_DATA(kvm) *self)
{
	if (!self->at_load)
		return kvm_load("");
	return host_module_unload("kvm") ?: kvm_load("enable_virt_at_load=0");
}

/* Who holds the CPU, and how to get it, by the kernel's log and by the tool. */
static void expect_told(struct __test_metadata *_metadata, FIXTURE_DATA(kvm) *self)
{
	char text[96], command[64];

	snprintf(text, sizeof(text), "cleave: %s has the CPU: stop its guests, or modprobe -r %s",
		 self->module, self->module);
	snprintf(command, sizeof(command), "modprobe -r %s", self->module);
	EXPECT_TRUE(refused_with(text));
	EXPECT_TRUE(prints("cleave doctor 2>&1", self->module, command));
	EXPECT_TRUE(prints("cleave run --kernel $(ls ${CLEAVE_GUESTS:-/guest}/*/vmlinuz | head -n 1) 2>&1",
			   self->module, command));
}

#define KVM_LOADED(ret) do {							\
	int ret_ = (ret);							\
	if (kvm_not_here(ret_))							\
		SKIP(return, "KVM does not want this host");			\
	ASSERT_EQ(0, ret_);							\
} while (0)

TEST_F_TIMEOUT(kvm, loaded_first, 300)
{
	int theirs;

	KVM_LOADED(kvm_load(""));
	/* Before 6.12 it takes the CPU now. */
	theirs = kvm_create();
	ASSERT_GE(theirs, 0);
	EXPECT_EQ(-EBUSY, cleave_create());
	expect_told(_metadata, self);
	close(theirs);
	if (self->at_load) {
		EXPECT_EQ(-EBUSY, cleave_create());
	}
	EXPECT_TRUE(kvm_works(100));
	ASSERT_EQ(0, host_module_unload(self->module));
	EXPECT_TRUE(works(1000));
	EXPECT_TRUE(host_same(self));
}

/* With kvm.enable_virt_at_load=0 where there is that. */
TEST_F_TIMEOUT(kvm, loaded_first_and_idle, 300)
{
	KVM_LOADED(kvm_load_idle(self));
	EXPECT_TRUE(kvm_works(100));
	if (self->vmx && self->at_load) {
		EXPECT_EQ(-EBUSY, cleave_create());
		expect_told(_metadata, self);
	} else {
		int ours = cleave_create();

		ASSERT_GE(ours, 0);
		EXPECT_EQ(self->at_load ? -EIO : -EBUSY, kvm_create());
		/* Its crash callback is the one that covers our CPUs. */
		if (self->vmx) {
			EXPECT_LT(host_module_unload(self->module), 0);
		}
		EXPECT_TRUE(works(100));
		close(ours);
		EXPECT_TRUE(kvm_works(100));
	}
	ASSERT_EQ(0, host_module_unload(self->module));
	EXPECT_TRUE(works(1000));
	EXPECT_TRUE(host_same(self));
}

TEST_F_TIMEOUT(kvm, loaded_while_a_guest_lives, 300)
{
	int ours = cleave_create(), ret;
	char text[96];

	ASSERT_GE(ours, 0);
	ret = kvm_load("");
	if (kvm_not_here(ret)) {
		close(ours);
		SKIP(return, "KVM does not want this host");
	}
	/* On VT-x cleave says so; on AMD-V KVM may be loaded, and finds out when it needs the CPU. */
	if (self->vmx) {
		EXPECT_EQ(-EBUSY, ret);
	} else {
		EXPECT_EQ(self->at_load, ret < 0);
	}
	EXPECT_TRUE(works(1000));
	EXPECT_LT(kvm_create(), 0);
	close(ours);
	if (!ret)
		EXPECT_EQ(0, host_module_unload(self->module));
	EXPECT_EQ(0, kvm_load(""));
	EXPECT_TRUE(kvm_works(1000));
	EXPECT_EQ(0, host_module_unload(self->module));
	EXPECT_TRUE(works(1000));
	snprintf(text, sizeof(text), "cleave: stop its guests before %s, they have the CPU", self->module);
	EXPECT_TRUE(log_has("", text));
	EXPECT_TRUE(host_same(self));
}

/* By loading and unloading KVM where there is no other way. */
TEST_F_TIMEOUT(kvm, alternations, 3600)
{
	bool reload = self->vmx && self->at_load;
	const char *env = getenv("KVM_ALTERNATIONS");
	int n = env ? atoi(env) : !emulated_by_bochs() ? 100 : reload ? 3 : 10;

	ASSERT_GT(n, 0);
	if (!reload) {
		KVM_LOADED(kvm_load_idle(self));
	}
	for (int i = 1; i <= n; i++) {
		ASSERT_TRUE(works(i));
		if (reload) {
			ASSERT_EQ(0, kvm_load(""));
		}
		ASSERT_TRUE(kvm_works(i));
		if (reload) {
			ASSERT_EQ(0, host_module_unload(self->module));
		}
		/* A CPU that is left in VMX operation would be in use at the next turn. */
		ASSERT_TRUE(host_same(self));
	}
}

TEST_HARNESS_MAIN
