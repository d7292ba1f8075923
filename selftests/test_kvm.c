// SPDX-License-Identifier: GPL-2.0
/*
 * Beside KVM: the CPU is one's or the other's, whoever comes second is told so
 * and finds it free when the first one has gone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>
#include "kselftest_harness.h"
#include "host.h"

GUEST(sum, 64, "xor %eax, %eax\n1:\tadd %rcx, %rax\n\tloop 1b\n\t" G_DONE);

static int load(const char *name)
{
	const char *dir = getenv("CLEAVE_MODULES");
	char path[256];
	int fd, ret;

	snprintf(path, sizeof(path), "%s/%s.ko", dir ?: "/modules", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, "", 0) ? -errno : 0;
	close(fd);
	return ret == -EEXIST ? 0 : ret;
}

static int unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

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

static bool works(void)
{
	struct cleave_regs regs;
	struct vcpu v;
	struct vm vm;
	bool good;

	GUEST_SIMPLE(&vm, &v, sum);
	regs_get(&v, &regs);
	regs.rcx = 1000;
	regs_set(&v, &regs);
	good = vcpu_run_done(&v) == 500500;
	vcpu_destroy(&v);
	vm_destroy(&vm);
	return good;
}

FIXTURE(kvm) {
	const char *vendor, *module;
	bool vmx;
	bool at_load;		/* KVM takes the CPU when it is loaded */
};

FIXTURE_SETUP(kvm)
{
	struct utsname u;
	int major, minor;

	self->vmx = dev_info().vendor == CLEAVE_VENDOR_VMX;
	self->vendor = self->vmx ? "kvm-intel" : "kvm-amd";
	self->module = self->vmx ? "kvm_intel" : "kvm_amd";
	uname(&u);
	ASSERT_EQ(2, sscanf(u.release, "%d.%d", &major, &minor));
	self->at_load = major > 6 || (major == 6 && minor >= 12);
	if (load("irqbypass") || load("kvm"))
		SKIP(return, "no kvm.ko for this kernel");
}

FIXTURE_TEARDOWN(kvm)
{
	unload(self->module);
	unload("kvm");
	unload("irqbypass");
}

TEST_F(kvm, loaded_first)
{
	int ours, theirs;

	if (load(self->vendor))
		SKIP(return, "KVM's vendor module cannot be loaded");
	if (self->at_load) {
		EXPECT_EQ(-EBUSY, cleave_create());
		ASSERT_EQ(0, unload(self->module));
		EXPECT_TRUE(works());
		return;
	}
	for (int i = 0; i < 20; i++) {
		ours = cleave_create();
		ASSERT_GE(ours, 0);
		EXPECT_EQ(-EBUSY, kvm_create());
		/* Its crash callback is the one that covers our CPUs. */
		if (self->vmx) {
			EXPECT_LT(unload(self->module), 0);
		}
		EXPECT_TRUE(works());
		close(ours);
		theirs = kvm_create();
		ASSERT_GE(theirs, 0);
		EXPECT_EQ(-EBUSY, cleave_create());
		close(theirs);
	}
	EXPECT_TRUE(works());
	EXPECT_EQ(0, unload(self->module));
	EXPECT_TRUE(works());
}

TEST_F(kvm, loaded_while_a_guest_lives)
{
	int ours = cleave_create(), ret;

	ASSERT_GE(ours, 0);
	ret = load(self->vendor);
	/* On VT-x cleave says so; on AMD-V KVM may be loaded, and finds out when it needs the CPU. */
	if (self->vmx) {
		EXPECT_EQ(-EBUSY, ret);
	} else {
		EXPECT_EQ(self->at_load, ret < 0);
	}
	EXPECT_TRUE(works());
	close(ours);
	if (!ret)
		EXPECT_EQ(0, unload(self->module));
	EXPECT_EQ(0, load(self->vendor));
	EXPECT_EQ(0, unload(self->module));
	EXPECT_TRUE(works());
}

TEST_HARNESS_MAIN
