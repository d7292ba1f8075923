// SPDX-License-Identifier: GPL-2.0
/* libcleave: one function per ioctl of <linux/cleave.h>. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "libcleave.h"

static int call(int fd, unsigned long cmd, const void *arg)
{
	int rc = ioctl(fd, cmd, arg);

	return rc < 0 ? -errno : rc;
}

int cleave_open(const char *path)
{
	int fd = open(path ? path : "/dev/cleave", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

int cleave_info(int dev, struct cleave_info *info)
{
	return call(dev, CLEAVE_INFO, info);
}

int cleave_get_cpuid(int dev, struct cleave_cpuid *cpuid)
{
	return call(dev, CLEAVE_GET_CPUID, cpuid);
}

int cleave_create_vm(int dev, uint64_t flags)
{
	struct cleave_create_vm args = { .flags = flags };

	return call(dev, CLEAVE_CREATE_VM, &args);
}

int cleave_create_vcpu(int vm, uint32_t id)
{
	struct cleave_create_vcpu args = { .id = id };

	return call(vm, CLEAVE_CREATE_VCPU, &args);
}

int cleave_set_slot(int vm, const struct cleave_slot *slot)
{
	return call(vm, CLEAVE_SET_SLOT, slot);
}

int cleave_msi(int vm, uint64_t address, uint32_t data)
{
	struct cleave_msi args = { .address = address, .data = data };

	return call(vm, CLEAVE_MSI, &args);
}

int cleave_irqfd(int vm, const struct cleave_irqfd *irqfd)
{
	return call(vm, CLEAVE_IRQFD, irqfd);
}

int cleave_ioeventfd(int vm, const struct cleave_ioeventfd *ioeventfd)
{
	return call(vm, CLEAVE_IOEVENTFD, ioeventfd);
}

int cleave_run(int vcpu)
{
	return call(vcpu, CLEAVE_RUN, NULL);
}

int cleave_get_state(int vcpu, struct cleave_state *state)
{
	return call(vcpu, CLEAVE_GET_STATE, state);
}

int cleave_set_state(int vcpu, const struct cleave_state *state)
{
	return call(vcpu, CLEAVE_SET_STATE, state);
}

int cleave_get_fpu(int vcpu, struct cleave_fpu *fpu)
{
	return call(vcpu, CLEAVE_GET_FPU, fpu);
}

int cleave_set_fpu(int vcpu, const struct cleave_fpu *fpu)
{
	return call(vcpu, CLEAVE_SET_FPU, fpu);
}

int cleave_get_msrs(int vcpu, struct cleave_msrs *msrs)
{
	return call(vcpu, CLEAVE_GET_MSRS, msrs);
}

int cleave_set_msrs(int vcpu, struct cleave_msrs *msrs)
{
	return call(vcpu, CLEAVE_SET_MSRS, msrs);
}

int cleave_set_cpuid(int vcpu, const struct cleave_cpuid *cpuid)
{
	return call(vcpu, CLEAVE_SET_CPUID, cpuid);
}

int cleave_lapic_access(int vcpu, struct cleave_lapic_access *access)
{
	return call(vcpu, CLEAVE_LAPIC_ACCESS, access);
}

int cleave_kick(int vcpu)
{
	return call(vcpu, CLEAVE_KICK, NULL);
}

int cleave_nmi(int vcpu)
{
	return call(vcpu, CLEAVE_NMI, NULL);
}

int cleave_freeze(int vcpu, bool frozen)
{
	struct cleave_freeze args = { .frozen = frozen };

	return call(vcpu, CLEAVE_FREEZE, &args);
}

int cleave_map_run(int vcpu, size_t run_size, struct cleave_run **run)
{
	void *p;

	if (run_size < sizeof(**run))
		return -EINVAL;
	p = mmap(NULL, run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (p == MAP_FAILED)
		return -errno;
	*run = p;
	return 0;
}

void cleave_unmap_run(struct cleave_run *run, size_t run_size)
{
	munmap(run, run_size);
}

int cleave_map_recorder(int vcpu, const struct cleave_info *info, const struct cleave_recorder **rec)
{
	void *p;

	if (info->recorder_size < sizeof(**rec))
		return -EINVAL;
	p = mmap(NULL, info->recorder_size, PROT_READ, MAP_SHARED, vcpu, info->run_size);
	if (p == MAP_FAILED)
		return -errno;
	*rec = p;
	return 0;
}

void cleave_unmap_recorder(const struct cleave_recorder *rec, const struct cleave_info *info)
{
	munmap((void *)rec, info->recorder_size);
}
