// SPDX-License-Identifier: GPL-2.0
/* The flight recorder, the counters beside it, and the tracepoints. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "kselftest_harness.h"
#include "host.h"

#define PAGE		4096ul
#define TRACING		"/sys/kernel/tracing/"

FIXTURE(recorder) {
	struct vm vm;
	struct vcpu v;
	const struct cleave_recorder *r;
};

static void *map(struct vcpu *v, int prot, int flags, uint64_t page, size_t size)
{
	return mmap(NULL, size, prot, flags, v->fd, page * PAGE);
}

FIXTURE_SETUP(recorder)
{
	vm_create(&self->vm, RAM_SIZE, CLEAVE_VM_EXIT_MSR | CLEAVE_VM_EXIT_HYPERCALL);
	vcpu_create(&self->vm, &self->v, 0);
	self->r = map(&self->v, PROT_READ, MAP_SHARED, 1, sizeof(*self->r));
	ASSERT_NE(MAP_FAILED, self->r);
}

FIXTURE_TEARDOWN(recorder)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

/* While another thread's vCPU runs. */
#define READ_COUNT(r)	__atomic_load_n(&(r)->count, __ATOMIC_ACQUIRE)

/* i from the newest, which is 0. */
static const struct cleave_record *last(const struct cleave_recorder *r, uint64_t i)
{
	return &r->records[(r->count - 1 - i) % CLEAVE_RECORDS];
}

static int freeze(struct vcpu *v, uint32_t frozen)
{
	struct cleave_freeze f = { .frozen = frozen };

	return xioctl(v->fd, CLEAVE_FREEZE, &f);
}

/* What came from the host in between is no part of what a guest did. */
static unsigned int collect(const struct cleave_recorder *r, uint64_t from,
			    const struct cleave_record **found, unsigned int max)
{
	unsigned int n = 0;

	for (; from < r->count && n < max; from++) {
		const struct cleave_record *e = &r->records[from % CLEAVE_RECORDS];

		if (e->kind > CLEAVE_KIND_HOST && e->kind != CLEAVE_KIND_STAGE2)
			found[n++] = e;
	}
	return n;
}

TEST_F(recorder, new)
{
	EXPECT_EQ(sizeof(*self->r), dev_info().recorder_size);
	EXPECT_EQ(CLEAVE_FEATURE_RECORDER, dev_info().features & CLEAVE_FEATURE_RECORDER);
	for (size_t i = 0; i < sizeof(*self->r); i++)
		ASSERT_EQ(0, ((const uint8_t *)self->r)[i]);
}

/* To be read and no more, whole, and not by a child. */
TEST_F(recorder, mapping)
{
	size_t size = sizeof(*self->r);
	int status;
	pid_t pid;

	EXPECT_EQ(MAP_FAILED, map(&self->v, PROT_READ | PROT_WRITE, MAP_SHARED, 1, size));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(MAP_FAILED, map(&self->v, PROT_READ | PROT_EXEC, MAP_SHARED, 1, size));
	EXPECT_EQ(MAP_FAILED, map(&self->v, PROT_READ, MAP_PRIVATE, 1, size));
	EXPECT_EQ(MAP_FAILED, map(&self->v, PROT_READ, MAP_SHARED, 1, size - PAGE));
	EXPECT_EQ(MAP_FAILED, map(&self->v, PROT_READ, MAP_SHARED, 1, size + PAGE));
	EXPECT_EQ(MAP_FAILED, map(&self->v, PROT_READ, MAP_SHARED, 0, size + PAGE));
	EXPECT_EQ(MAP_FAILED, map(&self->v, PROT_READ, MAP_SHARED, 2, size - PAGE));
	EXPECT_EQ(-1, mprotect((void *)self->r, size, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid)
		_exit(self->r->count != 0);	/* not there: SIGSEGV */
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

/* The pages are there as long as the mapping, whatever happens to the vCPU. */
TEST_F(recorder, outlives_its_vcpu)
{
	struct vcpu v;
	struct vm vm;
	const struct cleave_recorder *r;

	vm_create(&vm, RAM_SIZE, 0);
	vcpu_create(&vm, &v, 0);
	r = map(&v, PROT_READ, MAP_SHARED, 1, sizeof(*r));
	ASSERT_NE(MAP_FAILED, r);
	vcpu_destroy(&v);
	vm_destroy(&vm);
	EXPECT_EQ(0, r->count);
	EXPECT_EQ(0, munmap((void *)r, sizeof(*r)));
}

GUEST(of_each, 64,
	"mov $0x40001234, %eax\n\tmov $5, %ecx\n\tcpuid\n\t"
	"mov $0x1b, %ecx\n\trdmsr\n\t"
	"mov $0x12345678, %ecx\n\trdmsr\n\twrmsr\n\t"
	"in $0x71, %al\n\tout %eax, $0x80\n\t"
	"mov %cr4, %rax\n\txor $8, %al\n\tmov %rax, %cr4\n\t"
	"mov $77, %eax\n\tvmcall\n\t" G_DONE);
GUEST(of_each_amd, 64,
	"mov $0x40001234, %eax\n\tmov $5, %ecx\n\tcpuid\n\t"
	"mov $0x1b, %ecx\n\trdmsr\n\t"
	"mov $0x12345678, %ecx\n\trdmsr\n\twrmsr\n\t"
	"in $0x71, %al\n\tout %eax, $0x80\n\t"
	"mov %cr4, %rax\n\txor $8, %al\n\tmov %rax, %cr4\n\t"
	"mov $77, %eax\n\tvmmcall\n\t" G_DONE);

/* What each exit was, was about, and where it went. */
TEST_F(recorder, records)
{
	static const struct {
		uint32_t kind, exit;
		uint64_t detail;
		uint8_t len;		/* of the instructions to the next one's */
	} expected[] = {
		{ CLEAVE_KIND_CPUID, 0, 0x0000000540001234, 7 },
		{ CLEAVE_KIND_RDMSR, 0, 0x1b, 7 },
		{ CLEAVE_KIND_RDMSR, CLEAVE_EXIT_MSR, 0x12345678, 2 },
		{ CLEAVE_KIND_WRMSR, CLEAVE_EXIT_MSR, 0x12345678, 2 },
		{ CLEAVE_KIND_IO, CLEAVE_EXIT_IO, 0x71 | 1 << 16 | 1 << 24, 2 },
		{ CLEAVE_KIND_IO, CLEAVE_EXIT_IO, 0x80 | 4 << 16, 7 },
		{ CLEAVE_KIND_CR_WRITE, 0, 4, 8 },
		{ CLEAVE_KIND_HYPERCALL, CLEAVE_EXIT_HYPERCALL, 77, 3 },
		{ CLEAVE_KIND_IO, CLEAVE_EXIT_IO, PORT_DONE | 4 << 16, 0 },
	};
	const struct cleave_record *e[16];
	unsigned int n = 0, found;
	uint64_t rip = GPA_CODE + 10;

	if (dev_info().vendor == CLEAVE_VENDOR_SVM)
		GUEST_LONG(&self->v, of_each_amd);
	else
		GUEST_LONG(&self->v, of_each);
	while (self->v.run->exit != CLEAVE_EXIT_IO || self->v.run->io.port != PORT_DONE) {
		ASSERT_EQ(0, vcpu_run(&self->v));
		ASSERT_GT(16, n++);
	}
	found = collect(self->r, 0, e, 16);
	/* AMD-V reads CR4 with an exit: what the guest has in it differs from the CPU's. */
	for (unsigned int i = 0; i < found; i++)
		if (e[i]->kind == CLEAVE_KIND_CR_READ)
			memmove(&e[i], &e[i + 1], (--found - i) * sizeof(e[0]));
	ASSERT_EQ(sizeof(expected) / sizeof(expected[0]), found);
	for (unsigned int i = 0; i < found; i++) {
		EXPECT_EQ(expected[i].kind, e[i]->kind) {
			TH_LOG("record %u", i);
		}
		EXPECT_EQ(expected[i].exit, e[i]->exit);
		EXPECT_EQ(expected[i].detail, e[i]->detail);
		EXPECT_EQ(rip, e[i]->rip) {
			TH_LOG("record %u", i);
		}
		EXPECT_EQ(0, e[i]->raised);
		EXPECT_EQ(0, e[i]->entered_type);
		EXPECT_EQ(0, e[i]->reserved);
		EXPECT_TRUE(!i || e[i]->tsc > e[i - 1]->tsc);
		rip += expected[i].len;
	}
	EXPECT_EQ(e[found - 1], last(self->r, 0));
	EXPECT_EQ(self->v.run->raw_reason, last(self->r, 0)->raw_reason);
	EXPECT_EQ(self->v.run->raw_info[0], last(self->r, 0)->raw_info[0]);
	EXPECT_EQ(1, self->r->kinds[CLEAVE_KIND_CPUID]);
	EXPECT_EQ(2, self->r->kinds[CLEAVE_KIND_RDMSR]);
	EXPECT_EQ(3, self->r->kinds[CLEAVE_KIND_IO]);
	EXPECT_EQ(3, self->r->exits[CLEAVE_EXIT_IO]);
	EXPECT_EQ(2, self->r->exits[CLEAVE_EXIT_MSR]);
	EXPECT_EQ(1, self->r->exits[CLEAVE_EXIT_HYPERCALL]);
	EXPECT_EQ(0, self->r->exits[CLEAVE_EXIT_SHUTDOWN]);
}

/* Raised by one exit, injected by the entry behind it. */
GUEST(raises, 64, "mov $0x12345678, %ecx\n\trdmsr\n\tud2\n\t");

TEST_F(recorder, events)
{
	const struct cleave_recorder *r;
	const struct cleave_record *e, *end;
	struct vcpu v;
	struct vm vm;

	GUEST_SIMPLE(&vm, &v, raises);	/* where an unknown MSR is #GP */
	r = map(&v, PROT_READ, MAP_SHARED, 1, sizeof(*r));
	ASSERT_NE(MAP_FAILED, r);
	vcpu_run_trap(&v, 13);
	e = r->records;
	for (end = e + r->count; e < end && e->kind != CLEAVE_KIND_RDMSR; e++)
		;
	ASSERT_LT(e, end);
	EXPECT_EQ(0, e->exit);
	EXPECT_EQ(1, e->raised);
	EXPECT_EQ(13, e->raised_vector);
	/* Again, where a page for the handler was missing. */
	EXPECT_GE(r->events[CLEAVE_EVENT_EXCEPTION], 1);
	/* Whatever the entry ended by, be it the host's. */
	while (++e < end && !e->entered_type)
		;
	ASSERT_LT(e, end);
	EXPECT_EQ(CLEAVE_EVENT_EXCEPTION, e->entered_type);
	EXPECT_EQ(13, e->entered_vector);
	munmap((void *)r, sizeof(*r));
	vcpu_destroy(&v);
	vm_destroy(&vm);
}

GUEST(many, 64, "1:\tmov %esi, %eax\n\tcpuid\n\tinc %esi\n\tcmp $1000, %esi\n\tjb 1b\n\t" G_DONE);

/* The ring has the newest; counters go on when it is full. */
TEST_F(recorder, wraps)
{
	uint64_t leaf = 999;

	GUEST_LONG(&self->v, many);
	vcpu_run_done(&self->v);
	EXPECT_EQ(1000, self->r->kinds[CLEAVE_KIND_CPUID]);
	EXPECT_GE(self->r->count, 1001);
	EXPECT_EQ(CLEAVE_KIND_IO, last(self->r, 0)->kind);
	for (unsigned int i = 1; i < CLEAVE_RECORDS; i++) {
		if (last(self->r, i)->kind != CLEAVE_KIND_CPUID)
			continue;
		ASSERT_EQ(leaf, (uint32_t)last(self->r, i)->detail);
		leaf--;
	}
	EXPECT_LT(leaf, 999 - CLEAVE_RECORDS / 2);
}

TEST_F(recorder, frozen_by_request)
{
	struct cleave_freeze bad[] = { { .frozen = 2 }, { .reserved = 1 } };
	uint64_t count, cpuids;

	GUEST_LONG(&self->v, many);
	vcpu_run_done(&self->v);
	EXPECT_EQ(-EINVAL, xioctl(self->v.fd, CLEAVE_FREEZE, &bad[0]));
	EXPECT_EQ(-EINVAL, xioctl(self->v.fd, CLEAVE_FREEZE, &bad[1]));
	EXPECT_EQ(0, self->r->frozen);
	EXPECT_EQ(0, freeze(&self->v, 1));
	EXPECT_EQ(1, self->r->frozen);
	count = self->r->count;
	cpuids = self->r->kinds[CLEAVE_KIND_CPUID];
	GUEST_LONG(&self->v, many);
	vcpu_run_done(&self->v);
	EXPECT_EQ(count, self->r->count);
	EXPECT_EQ(cpuids + 1000, self->r->kinds[CLEAVE_KIND_CPUID]);
	EXPECT_EQ(0, freeze(&self->v, 0));
	GUEST_LONG(&self->v, many);
	vcpu_run_done(&self->v);
	EXPECT_GE(self->r->count, count + 1001);
}

GUEST(forever, 64, "1:\tmov $0x80, %eax\n\tcpuid\n\tjmp 1b\n\t");

/* Another thread reads it, stops it and lets it go on, while the vCPU runs. */
TEST_F(recorder, while_it_runs)
{
	struct runner r;
	uint64_t count;

	GUEST_LONG(&self->v, forever);
	runner_start(&r, &self->v, NULL, NULL);
	EXPECT_TRUE(WAIT_FOR(READ_COUNT(self->r) > 1000, 10000));
	EXPECT_EQ(0, freeze(&self->v, 1));
	nap_us(20000);		/* one record may be on its way */
	count = READ_COUNT(self->r);
	for (unsigned int i = 0; i < CLEAVE_RECORDS; i++) {
		ASSERT_TRUE(self->r->records[i].kind <= CLEAVE_KIND_UNHANDLED);
		if (self->r->records[i].kind == CLEAVE_KIND_CPUID)
			ASSERT_EQ(0x80, (uint32_t)self->r->records[i].detail);
	}
	nap_us(20000);
	EXPECT_EQ(count, READ_COUNT(self->r));
	EXPECT_EQ(0, freeze(&self->v, 0));
	EXPECT_TRUE(WAIT_FOR(READ_COUNT(self->r) > count, 10000));
	runner_stop(&r);
}

/* No IDT: the first exception ends it, and what led there stays. */
GUEST(dies, 64, "mov $7, %eax\n\tcpuid\n\tlidt 1f(%rip)\n\tud2\n1:\t.fill 10, 1, 0\n\t");

TEST_F(recorder, frozen_at_shutdown)
{
	uint64_t count;

	GUEST_LONG(&self->v, dies);
	vcpu_run_exit(&self->v, CLEAVE_EXIT_SHUTDOWN);
	EXPECT_EQ(1, self->r->frozen);
	EXPECT_EQ(CLEAVE_KIND_SHUTDOWN, last(self->r, 0)->kind);
	EXPECT_EQ(CLEAVE_EXIT_SHUTDOWN, last(self->r, 0)->exit);
	EXPECT_EQ(1, self->r->kinds[CLEAVE_KIND_CPUID]);
	count = self->r->count;
	/* Another try does not push out what led there. */
	vcpu_run_exit(&self->v, CLEAVE_EXIT_SHUTDOWN);
	EXPECT_EQ(count, self->r->count);
	EXPECT_EQ(2, self->r->exits[CLEAVE_EXIT_SHUTDOWN]);
}

/* ---- tracepoints ------------------------------------------------------------- */

static bool trace_line(const char *text, const char *event, const char *fields)
{
	char name[64];
	const char *line;

	snprintf(name, sizeof(name), ": %s: ", event);
	for (line = strstr(text, name); line; line = strstr(line + 1, name)) {
		const char *end = strchr(line, '\n'), *at = strstr(line, fields);

		if (at && (!end || at < end))
			return true;
	}
	return false;
}

GUEST(traced, 64,
	"mov $3, %eax\n\tcpuid\n\tmov $0x12345678, %ecx\n\trdmsr\n\t"
	"mov 0x150000, %rax\n\t" G_DONE);

TEST_F(recorder, tracepoints)
{
	char *text = calloc(1, 1 << 20);
	struct cleave_slot none = { .slot = 9 };
	struct vcpu v;
	struct vm vm;
	ssize_t n;
	int fd;

	if (access(TRACING "events/cleave", F_OK))
		SKIP(return, "no tracefs");
	ASSERT_EQ(0, file_write(TRACING "trace", ""));
	ASSERT_EQ(0, file_write(TRACING "events/cleave/enable", "1"));
	GUEST_SIMPLE(&vm, &v, traced);	/* where an unknown MSR is #GP */
	vcpu_run_trap(&v, 13)->rip += 2;
	vcpu_run_done(&v);
	vm_slot(&vm, 0, 0, 0, RAM_SIZE, vm.ram);
	xioctl(vm.fd, CLEAVE_SET_SLOT, &none);
	ASSERT_EQ(0, file_write(TRACING "events/cleave/enable", "0"));
	fd = open(TRACING "trace", O_RDONLY);
	ASSERT_GE(fd, 0);
	for (size_t at = 0; (n = read(fd, text + at, (1 << 20) - 1 - at)) > 0; at += n)
		;
	close(fd);
	EXPECT_TRUE(trace_line(text, "cleave_entry", "vcpu=0 rip=0x10000"));
	EXPECT_TRUE(trace_line(text, "cleave_exit", "vcpu=0 kind=2 exit=0 rip=0x10005"));
	EXPECT_TRUE(trace_line(text, "cleave_exit", "kind=4 exit=1"));
	EXPECT_TRUE(trace_line(text, "cleave_fault", "vcpu=0 gpa=0x150000 flags=0x0"));
	EXPECT_TRUE(trace_line(text, "cleave_fault", "error=0"));
	EXPECT_TRUE(trace_line(text, "cleave_invalidate", "gpa=0x0 size=0x200000 op=unmap hit=1"));
	EXPECT_TRUE(trace_line(text, "cleave_inject", "vcpu=0 type=3 vector=13 error_code=0x0"));
	free(text);
	vcpu_destroy(&v);
	vm_destroy(&vm);
}

TEST_HARNESS_MAIN
