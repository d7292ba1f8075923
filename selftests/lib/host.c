// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#include "host.h"

unsigned int patience(void)
{
	const char *times = getenv("PATIENCE");

	return times && atoi(times) > 0 ? atoi(times) : 1;
}

/* The linker sends alarm() here, by which kselftest's harness limits a test. */
unsigned int __real_alarm(unsigned int seconds);
unsigned int __wrap_alarm(unsigned int seconds);
unsigned int __wrap_alarm(unsigned int seconds)
{
	return __real_alarm(seconds * patience());
}

void nap_us(unsigned int us)
{
	struct timespec ts = { .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };

	nanosleep(&ts, NULL);
}

int file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

long file_number(const char *path)
{
	FILE *f = fopen(path, "re");
	long n = -1;

	if (f && fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		fclose(f);
	return n;
}

long mem_free_kib(void)
{
	FILE *f = fopen("/proc/zoneinfo", "re");
	long pages = 0, n;
	char line[128];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, " pages free %ld", &n) == 1 || sscanf(line, " count: %ld", &n) == 1)
			pages += n;
	if (f)
		fclose(f);
	return pages * (getpagesize() / 1024);
}

#define CGROUPS	"/tmp/cgroups"

int own_cgroup(void)
{
	mkdir(CGROUPS, 0755);
	if (mount("none", CGROUPS, "cgroup2", 0, NULL) && errno != EBUSY)
		return -errno;
	mkdir(CGROUPS "/test", 0755);
	return file_write(CGROUPS "/cgroup.subtree_control", "+memory") ?:
	       file_write(CGROUPS "/test/cgroup.procs", "0");
}

void cgroup_settle(void)
{
	size_t size = 8 << 20;
	char *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	nap_us(2500000);
	if (mem == MAP_FAILED)
		return;
	madvise(mem, size, MADV_NOHUGEPAGE);
	for (size_t i = 0; i < size; i += 4096)
		mem[i] = 1;
	munmap(mem, size);
}

long kernel_bytes(void)
{
	char line[128];
	long n = -1;
	FILE *f;

	cgroup_settle();
	f = fopen(CGROUPS "/test/memory.stat", "re");
	while (f && n < 0 && fgets(line, sizeof(line), f))
		if (sscanf(line, "kernel %ld", &n) != 1)
			n = -1;
	if (f)
		fclose(f);
	return n;
}

bool module_there(void)
{
	return !access("/sys/module/cleave/refcnt", F_OK);
}

long module_refs(void)
{
	return file_number("/sys/module/cleave/refcnt");
}

static int insert(const char *path, const char *options)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), ret;

	if (fd < 0)
		return -errno;
	ret = syscall(SYS_finit_module, fd, options, 0) ? -errno : 0;
	close(fd);
	/* A symbol that the kernel has not is no file that is missing. */
	return ret == -ENOENT ? -ELIBACC : ret;
}

int module_load(void)
{
	const char *path = getenv("CLEAVE_KO");

	return insert(path ? path : "/cleave.ko", "");
}

int module_unload(void)
{
	return host_module_unload("cleave");
}

int host_module_load(const char *name, const char *options)
{
	const char *dir = getenv("CLEAVE_MODULES");
	char path[256];
	int ret;

	snprintf(path, sizeof(path), "%s/%s.ko", dir ? dir : "/modules", name);
	ret = insert(path, options);
	return ret == -EEXIST ? 0 : ret;
}

int host_module_unload(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

const char *kvm_module(void)
{
	return dev_info().vendor == CLEAVE_VENDOR_VMX ? "kvm_intel" : "kvm_amd";
}

int kvm_core_load(const char *options)
{
	int ret = host_module_load("ccp", "");	/* some builds of kvm-amd need it */

	if (ret && ret != -ENOENT)
		return ret;
	return host_module_load("irqbypass", "") ?: host_module_load("kvm", options);
}

int kvm_load(const char *options)
{
	bool vmx = dev_info().vendor == CLEAVE_VENDOR_VMX;

	return kvm_core_load(options) ?: host_module_load(vmx ? "kvm-intel" : "kvm-amd", "");
}

/* With PREEMPT_RT KVM wants a constant TSC, which QEMU has not. */
bool kvm_not_here(int ret)
{
	struct utsname u;

	MUST(uname(&u));
	return ret == -ENOENT || (ret == -EOPNOTSUPP && strstr(u.version, "PREEMPT_RT"));
}

void kvm_unload(void)
{
	const char *const names[] = { "kvm_amd", "kvm_intel", "kvm", "irqbypass", "ccp" };

	for (int i = 0; i < 5; i++)
		host_module_unload(names[i]);
}

bool emulated_by_tcg(void)
{
	uint32_t eax = 0x40000000, ebx, ecx = 0, edx;

	asm volatile("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
	return ebx == 0x54474354 && ecx == 0x43544743 && edx == 0x47435447;	/* TCGTCGTCGTCG */
}

bool emulated_by_bochs(void)
{
	char line[64] = "";
	FILE *f = fopen("/sys/class/dmi/id/bios_version", "re");

	if (f && !fgets(line, sizeof(line), f))
		line[0] = 0;
	if (f)
		fclose(f);
	return !strncmp(line, "Bochs", 5);
}

int cpu_set_online(int cpu, bool online)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	return file_write(path, online ? "1" : "0");
}

void thread_pin(unsigned long thread, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	pthread_setaffinity_np(thread, sizeof(set), &set);
}

void vm_create_shared(struct vm *vm, size_t ram, uint64_t flags)
{
	vm_create(vm, 0, flags);
	vm->ram_size = ram;
	vm->ram = mmap(NULL, ram, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (vm->ram == MAP_FAILED || vm_slot(vm, 0, 0, 0, ram, vm->ram))
		DIE("slot 0 of %zu shared bytes refused", ram);
}

static int lapic_access(struct vcpu *vcpu, uint32_t offset, uint32_t write, uint32_t *val)
{
	struct cleave_lapic_access a = { .offset = offset, .write = write, .value = *val };
	int ret = xioctl(vcpu->fd, CLEAVE_LAPIC_ACCESS, &a);

	*val = a.value;
	return ret;
}

int lapic_write(struct vcpu *vcpu, uint32_t offset, uint32_t val)
{
	return lapic_access(vcpu, offset, 1, &val);
}

int lapic_read(struct vcpu *vcpu, uint32_t offset, uint32_t *val)
{
	*val = 0;
	return lapic_access(vcpu, offset, 0, val);
}

bool cpuid_offered(uint32_t leaf, int reg, int bit)
{
	struct cleave_cpuid *c = calloc(1, sizeof(*c));
	int dev = dev_open();
	bool found = false;

	MUST(ioctl(dev, CLEAVE_GET_CPUID, c));
	close(dev);
	for (uint32_t i = 0; i < c->count; i++)
		if (c->entries[i].leaf == leaf && c->entries[i].subleaf == 0)
			found = (&c->entries[i].eax)[reg] >> bit & 1;
	free(c);
	return found;
}

GUEST(guest_tick, 64,
	"push %rax\n\tpush %rcx\n\tpush %rdx\n\t"
	"rdtsc\n\tshl $32, %rdx\n\tor %rdx, %rax\n\t"
	"mov %rax, " S(GPA_DATA) "+" S(TICK_TSC) "\n\t"
	"lock incq " S(GPA_DATA) "+" S(TICK_COUNT) "\n\t"
	"xor %eax, %eax\n\txor %edx, %edx\n\tmov $0x80b, %ecx\n\twrmsr\n\t"
	"pop %rdx\n\tpop %rcx\n\tpop %rax\n\tiretq\n\t");

void tick_prepare(struct vm *vm, uint8_t vector)
{
	GUEST_LOAD(vm, GPA_TICK, guest_tick);
	vm_gate(vm, vector, GPA_TICK, 0, 0);
}
