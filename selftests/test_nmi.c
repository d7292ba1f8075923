// SPDX-License-Identifier: GPL-2.0
/*
 * The host's NMIs while guests run: none is lost or late, and no guest is hurt.
 * From nmi.ko, which sends each when the one before has come in; and from a
 * performance counter at full rate, where the host has one (QEMU's and Bochs'
 * emulation has not).
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/perf_event.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "kselftest_harness.h"
#include "host.h"
#include "nmi/nmi.h"

/* Registers, SSE state and the stack stay what they are; counts at VM_DATA 0x10, faults at 0x18. */
#define WATCH(exit)							\
	"mov $0x123456789abcdef0, %r12\n\tmov %r12, %r13\n\tmovq %r12, %xmm7\n\t"	\
	"mov %rsp, %r14\n\tpush %r12\n"					\
	"1:\tlock incq " S(GPA_DATA) "+0x10\n\t" exit			\
	"movq %xmm7, %rax\n\tcmp %rax, %r12\n\tjne 2f\n\tcmp %r13, %r12\n\tjne 2f\n\t"	\
	"pop %rax\n\tcmp %rax, %r12\n\tjne 2f\n\tcmp %rsp, %r14\n\tjne 2f\n\t"	\
	"push %r12\n\tjmp 1b\n"						\
	"2:\tincq " S(GPA_DATA) "+0x18\n\thlt\n\tjmp 2b\n\t"

GUEST(computes, 64, WATCH(""));
GUEST(exits, 64, WATCH("xor %eax, %eax\n\txor %ecx, %ecx\n\tcpuid\n\t"));

#define COUNT(vm)	(*VM_DATA(vm, uint64_t, 0x10))
#define WRONG(vm)	(*VM_DATA(vm, uint64_t, 0x18))

enum { PER_CPU = 2, MAX = 16 };

FIXTURE(nmi) {
	struct vm vm[MAX];
	struct vcpu v[MAX];
	struct runner r[MAX];
	int n, cpus;
};

/* On each CPU one that stays in the guest, and one that leaves it all the time. */
FIXTURE_SETUP(nmi)
{
	while (self->cpus * PER_CPU < MAX && cpu_online(self->cpus))
		self->cpus++;
	for (int i = 0; i < self->cpus * PER_CPU; i++, self->n++) {
		vm_create(&self->vm[i], RAM_SIZE, 0);
		vcpu_create(&self->vm[i], &self->v[i], 0);
		if (i % PER_CPU)
			GUEST_LONG(&self->v[i], exits);
		else
			GUEST_LONG(&self->v[i], computes);
		runner_start(&self->r[i], &self->v[i], NULL, NULL);
		thread_pin(self->r[i].thread, i / PER_CPU);
	}
	for (int i = 0; i < self->n; i++)
		ASSERT_TRUE(WAIT_FOR(COUNT(&self->vm[i]) > 5, 20000));
}

FIXTURE_TEARDOWN(nmi)
{
	uint64_t before[MAX];

	for (int i = 0; i < self->n; i++)
		before[i] = COUNT(&self->vm[i]);
	for (int i = 0; i < self->n; i++) {
		EXPECT_TRUE(WAIT_FOR(COUNT(&self->vm[i]) > before[i], 20000));
		runner_stop(&self->r[i]);
		/* A guest that got an NMI itself would have left by its handler. */
		EXPECT_EQ(0, self->r[i].error);
		EXPECT_EQ(0, self->r[i].exits);
		EXPECT_EQ(0, WRONG(&self->vm[i]));
		vcpu_destroy(&self->v[i]);
		vm_destroy(&self->vm[i]);
	}
}

/* NMIs that CPUs have had, of /proc/interrupts. */
static uint64_t nmis(int cpu)
{
	FILE *f = fopen("/proc/interrupts", "re");
	char line[1024], *p;
	uint64_t n = 0;

	while (f && fgets(line, sizeof(line), f)) {
		p = strstr(line, "NMI:");
		if (!p)
			continue;
		for (p += 4; cpu >= 0; cpu--)
			n = strtoull(p, &p, 10);
		break;
	}
	if (f)
		fclose(f);
	return n;
}

TEST_F_TIMEOUT(nmi, one_by_one, 600)
{
	const uint32_t count = emulated_by_bochs() ? 200 : 2000;
	int fd, ret = host_module_load("nmi", "");

	if (ret == -ENOENT)
		SKIP(return, "no nmi.ko in $CLEAVE_MODULES");
	ASSERT_EQ(0, ret);
	fd = open("/dev/cleave_nmi", O_WRONLY | O_CLOEXEC);
	ASSERT_GE(fd, 0);
	/* From a CPU to itself, and to each other one, whose guests run. */
	for (int from = 0; from < self->cpus; from++) {
		pin_to(from);
		for (int to = 0; to < self->cpus; to++) {
			struct nmi_order order = { to, count };
			uint64_t before = nmis(to);

			EXPECT_EQ(sizeof(order), write(fd, &order, sizeof(order))) {
				TH_LOG("from CPU %d to %d: errno %d", from, to, errno);
			}
			EXPECT_GE(nmis(to), before + count);
		}
	}
	close(fd);
	ASSERT_EQ(0, host_module_unload("nmi"));
}

static int perf_open(unsigned long tid, int cpu, uint64_t period)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE, .size = sizeof(attr),
		.config = PERF_COUNT_HW_CPU_CYCLES,
		.sample_period = period, .sample_type = PERF_SAMPLE_IP,
	};

	return syscall(SYS_perf_event_open, &attr, tid, cpu, -1, PERF_FLAG_FD_CLOEXEC);
}

/* As `perf record -a -e cycles` does, as often as the kernel lets it. */
TEST_F_TIMEOUT(nmi, of_a_counter, 600)
{
	uint64_t before[MAX], took = 0;
	int fd[MAX];

	file_write("/proc/sys/kernel/perf_event_max_sample_rate", "1000000");
	file_write("/proc/sys/kernel/perf_cpu_time_max_percent", "0");
	for (int cpu = 0; cpu < self->cpus; cpu++) {
		fd[cpu] = perf_open(-1, cpu, 20000);
		if (fd[cpu] < 0)
			SKIP(return, "no performance counters here");
		before[cpu] = nmis(cpu);
	}
	sleep(10);
	for (int cpu = 0; cpu < self->cpus; cpu++) {
		took = nmis(cpu) - before[cpu];
		EXPECT_GT(took, 1000);
		close(fd[cpu]);
	}
}

TEST_HARNESS_MAIN
