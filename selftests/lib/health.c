// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <asm/prctl.h>
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "health.h"

#define MSR_EFER	0xc0000080

/* EFER without SVME, which is ours. */
const uint32_t health_msrs[HEALTH_MSRS] = {
	0x1b, 0x3b, 0x48, 0x174, 0x175, 0x176, 0x1a0, 0x1d9, 0x200, 0x201, 0x250, 0x277, 0x2ff,
	0xda0, MSR_EFER, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101,
	0xc0000102, 0xc0000103, 0xc0010010, 0xc0010015, 0xc0011029,
};

bool msr_module_load(void)
{
	return access("/dev/cpu/0/msr", R_OK) && !host_module_load("msr", "") &&
	       WAIT_FOR(!access("/dev/cpu/0/msr", R_OK), 2000);
}

void msr_module_unload(void)
{
	host_module_unload("msr");
}

/* A bit for each that can be read. */
static uint32_t read_msrs(int cpu, uint64_t *val)
{
	uint32_t readable = 0;
	char path[32];
	int fd;

	snprintf(path, sizeof(path), "/dev/cpu/%d/msr", cpu);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	for (int i = 0; fd >= 0 && i < HEALTH_MSRS; i++) {
		if (pread(fd, &val[i], 8, health_msrs[i]) != 8)
			continue;
		readable |= 1u << i;
		if (health_msrs[i] == MSR_EFER)
			val[i] &= ~(uint64_t)EFER_SVME;
	}
	if (fd >= 0)
		close(fd);
	return readable;
}

static bool has_rdtscp(void)
{
	uint32_t eax, ebx, ecx, edx = 0;

	return __get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx) && edx >> 27 & 1;
}

static bool has_xsave(void)
{
	uint32_t eax, ebx, ecx = 0, edx;

	return __get_cpuid(1, &eax, &ebx, &ecx, &edx) && ecx >> 27 & 1;
}

/* Where UMIP hides them the kernel tells the same of all. */
static void read_tables(struct health_tables *t)
{
	memset(t, 0, sizeof(*t));
	asm volatile("sgdt %0" : "=m"(t->gdt));
	asm volatile("sidt %0" : "=m"(t->idt));
	asm volatile("sldt %0" : "=m"(t->ldt));
	asm volatile("str %0" : "=m"(t->tr));
}

void health_read(struct health *h)
{
	cpu_set_t mine;

	memset(h, 0, sizeof(*h));
	MUST(sched_getaffinity(0, sizeof(mine), &mine));
	for (int cpu = 0; cpu < HEALTH_CPUS; cpu++) {
		uint32_t low, high;

		if (!CPU_ISSET(cpu, &mine))
			continue;
		/* On that CPU: what belongs to a thread is this one's. */
		pin_to(cpu);
		h->readable[cpu] = read_msrs(cpu, h->msr[cpu]);
		read_tables(&h->tables[cpu]);
		if (has_rdtscp())
			asm volatile("rdtscp" : "=c"(h->tsc_aux[cpu]) : : "rax", "rdx");
		if (has_xsave()) {
			asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
			h->xcr0[cpu] = (uint64_t)high << 32 | low;
		}
	}
	MUST(sched_setaffinity(0, sizeof(mine), &mine));
	MUST(syscall(SYS_arch_prctl, ARCH_GET_FS, &h->fs));
	MUST(syscall(SYS_arch_prctl, ARCH_GET_GS, &h->gs));
	h->tainted = file_number("/proc/sys/kernel/tainted");
}

static int differs(const char *what, uint32_t index, int cpu, uint64_t before, uint64_t now)
{
	if (before == now)
		return 0;
	printf("# %s %#x of CPU %d: %#llx, was %#llx\n", what, index, cpu,
	       (unsigned long long)now, (unsigned long long)before);
	return 1;
}

/* A VM exit leaves the IDT's limit 0xffff (SDM vol. 3C 28.5.2), where no vector reaches beyond 0xfff. */
static int compare_tables(const struct health_tables *a, const struct health_tables *b, int cpu)
{
	return differs("GDT limit", 0, cpu, a->gdt.limit, b->gdt.limit) +
	       differs("GDT", 0, cpu, a->gdt.base, b->gdt.base) +
	       (b->idt.limit == 0xffff ? 0 : differs("IDT limit", 0, cpu, a->idt.limit, b->idt.limit)) +
	       differs("IDT", 0, cpu, a->idt.base, b->idt.base) +
	       differs("LDT", 0, cpu, a->ldt, b->ldt) + differs("TR", 0, cpu, a->tr, b->tr);
}

int health_compare(const struct health *before, const struct health *now)
{
	int n = differs("FS base", 0, -1, before->fs, now->fs) +
		differs("GS base", 0, -1, before->gs, now->gs) +
		differs("the kernel is tainted", 0, -1, before->tainted, now->tainted);

	for (int cpu = 0; cpu < HEALTH_CPUS; cpu++) {
		n += differs("which MSRs can be read", 0, cpu, before->readable[cpu], now->readable[cpu]);
		for (int i = 0; i < HEALTH_MSRS; i++)
			n += differs("MSR", health_msrs[i], cpu, before->msr[cpu][i], now->msr[cpu][i]);
		n += differs("XCR", 0, cpu, before->xcr0[cpu], now->xcr0[cpu]);
		n += differs("TSC_AUX", 0, cpu, before->tsc_aux[cpu], now->tsc_aux[cpu]);
		n += compare_tables(&before->tables[cpu], &now->tables[cpu], cpu);
	}
	return n;
}
