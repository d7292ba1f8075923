// SPDX-License-Identifier: GPL-2.0
/*
 * The paravirtual interface of KVM: what CPUID leaf 0x40000001 says is there, and nothing else;
 * whatever addresses the guest gives; and it goes on in another VM.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <time.h>
#include "kselftest_harness.h"
#include "events.h"
#include "host.h"

#define WALL_CLOCK	0x4b564d00
#define CLOCK		0x4b564d01
#define STEAL		0x4b564d03
#define EOI		0x4b564d04
#define POLL		0x4b564d05
#define HC_KICK		5
#define HC_IPI		10
#define HC_YIELD	11
#define ENOSYS_KVM	(-1000)

#define F_CLOCK		(1u << 3)
#define F_STEAL		(1u << 5)
#define F_EOI		(1u << 6)
#define F_UNHALT	(1u << 7)
#define F_TLB		(1u << 9)
#define F_IPI		(1u << 11)
#define F_POLL		(1u << 12)
#define F_YIELD		(1u << 13)
#define F_STABLE	(1u << 24)
#define F_ALL		(F_CLOCK | F_STEAL | F_EOI | F_UNHALT | F_TLB | F_IPI | F_POLL | F_YIELD | F_STABLE)

#define GPA_CLOCK	0x100000u	/* struct clock of vCPU n: n * 64 above */
#define GPA_STEAL	0x101000u	/* struct steal alike */
#define GPA_EOI		0x102000u
#define GPA_LONE_STEAL	0x20000000u	/* a page with nothing around */
#define GPA_BLOB	0x110000u	/* vCPU n's code: n pages above */
#define GPA_CALL	0x120000u

struct clock {
	uint32_t version, pad;
	uint64_t tsc, ns;
	uint32_t mul;
	int8_t shift;
	uint8_t flags, pad2[2];
};

struct steal {
	uint64_t steal;
	uint32_t version, flags;
	uint8_t preempted;
};

#define CLOCK_OF(vm, n)	((volatile struct clock *)((vm)->ram + GPA_CLOCK + (n) * 64))
#define STEAL_OF(vm, n)	((volatile struct steal *)((vm)->ram + GPA_STEAL + (n) * 64))

GUEST(wrmsr, 64, "wrmsr\n\t" G_DONE);
GUEST(rdmsr, 64, "rdmsr\n\tshl $32, %rdx\n\tor %rdx, %rax\n\tmov %rax, %r8\n\t" G_DONE);
GUEST(vmcall, 64, "vmcall\n\tmov %rax, %r8\n\t" G_DONE);
GUEST(counts, 64, "1:\tincq " S(GPA_DATA) "\n\tjmp 1b\n\t");
GUEST(halts, 64, "cli\n\thlt\n\t" G_DONE);
GUEST(vmmcall, 64, "vmmcall\n\tmov %rax, %r8\n\t" G_DONE);

FIXTURE(pv) {
	struct vm vm;
	struct vcpu v[3];
	bool amd;
};

#define VCPUS	3

static int cpuid_features(struct vcpu *v, uint32_t eax)
{
	struct cleave_cpuid *c = calloc(1, sizeof(*c));
	int dev = dev_open(), ret;

	MUST(ioctl(dev, CLEAVE_GET_CPUID, c));
	close(dev);
	for (uint32_t i = 0; i < c->count; i++)
		if (c->entries[i].leaf == 0x40000001)
			c->entries[i].eax = eax;
	ret = xioctl(v->fd, CLEAVE_SET_CPUID, c);
	free(c);
	return ret;
}

static void start_at(struct vcpu *v, const char *code, size_t len, uint64_t gpa)
{
	struct cleave_state st = { .mp.state = CLEAVE_MP_RUNNABLE };
	struct cleave_regs regs;

	vm_load(v->vm, gpa, code, len);
	vcpu_long(v, gpa);
	state_must_set(v, CLEAVE_MP, &st);
	regs_get(v, &regs);
	regs.rsp = GPA_STACK + v->id * 0x1000;
	regs.rbx = v->id;
	regs_set(v, &regs);
}

#define START(v, name)	start_at(v, name, (size_t)(name##_end - name), GPA_BLOB + (v)->id * 0x1000)

static void machine(struct vm *vm, struct vcpu *v, int n)
{
	vm_create(vm, RAM_SIZE, 0);
	vm_tables(vm);
	for (int i = 0; i < n; i++) {
		vcpu_create(vm, &v[i], i);
		vcpu_long(&v[i], GPA_BLOB);
		vcpu_x2apic(&v[i]);
	}
}

FIXTURE_SETUP(pv)
{
	self->amd = dev_info().vendor == CLEAVE_VENDOR_SVM;
	ASSERT_TRUE(dev_info().features & CLEAVE_FEATURE_PV);
	machine(&self->vm, self->v, VCPUS);
}

FIXTURE_TEARDOWN(pv)
{
	for (int i = 0; i < VCPUS; i++)
		vcpu_destroy(&self->v[i]);
	vm_destroy(&self->vm);
}

/* The vector of the exception that it was, or -1. */
static int run_insn(struct vcpu *v, const char *code, size_t len, struct cleave_regs *in)
{
	struct cleave_regs regs;

	start_at(v, code, len, GPA_CALL + v->id * 0x1000);
	regs_get(v, &regs);
	regs.rax = in->rax;
	regs.rbx = in->rbx;
	regs.rcx = in->rcx;
	regs.rdx = in->rdx;
	regs.rsi = in->rsi;
	regs_set(v, &regs);
	MUST(vcpu_run(v));
	if (v->run->exit != CLEAVE_EXIT_IO)
		DIE("exit %u", v->run->exit);
	if (v->run->io.port == PORT_TRAP)
		return v->run->io.data & 0xff;
	regs_get(v, in);
	return -1;
}

#define RUN_INSN(v, name, in)	run_insn(v, name, (size_t)(name##_end - name), in)

/* By the guest. -1, or the exception. */
static int write_msr(struct vcpu *v, uint32_t msr, uint64_t val)
{
	struct cleave_regs r = { .rcx = msr, .rax = (uint32_t)val, .rdx = val >> 32 };

	return RUN_INSN(v, wrmsr, &r);
}

static int read_msr(struct vcpu *v, uint32_t msr, uint64_t *val)
{
	struct cleave_regs r = { .rcx = msr };
	int vector = RUN_INSN(v, rdmsr, &r);

	*val = r.r8;
	return vector;
}

static int64_t hypercall(FIXTURE_DATA(pv) *self, struct vcpu *v, uint64_t nr, uint64_t a0,
			 uint64_t a1, uint64_t a2, uint64_t a3)
{
	struct cleave_regs r = { .rax = nr, .rbx = a0, .rcx = a1, .rdx = a2, .rsi = a3 };
	int vector = self->amd ? RUN_INSN(v, vmmcall, &r) : RUN_INSN(v, vmcall, &r);

	return vector < 0 ? (int64_t)r.r8 : -1000000 - vector;
}

/* ---- what is there --------------------------------------------------------- */

static const struct {
	uint32_t msr, feature;
	uint64_t good, bad;
} msrs[] = {
	{ WALL_CLOCK, F_CLOCK, GPA_CLOCK + 0x800, GPA_CLOCK + 0x801 },
	{ CLOCK, F_CLOCK, GPA_CLOCK | 1, GPA_CLOCK | 3 },
	{ STEAL, F_STEAL, GPA_STEAL | 1, GPA_STEAL | 0x21 },
	{ EOI, F_EOI, GPA_EOI | 1, GPA_EOI | 3 },
	{ POLL, F_POLL, 0, 2 },
};

#define MSRS	(int)(sizeof(msrs) / sizeof(msrs[0]))

static void expect_features(FIXTURE_DATA(pv) *self, struct __test_metadata *_metadata,
			    struct vcpu *v, uint32_t features)
{
	uint64_t val;

	for (int i = 0; i < MSRS; i++) {
		bool there = features & msrs[i].feature;

		EXPECT_EQ(there ? -1 : 13, read_msr(v, msrs[i].msr, &val));
		EXPECT_EQ(there ? 0 : -EINVAL, msr_get(v, msrs[i].msr, &val));
		EXPECT_EQ(there ? -1 : 13, write_msr(v, msrs[i].msr, msrs[i].good));
		EXPECT_EQ(there ? 0 : -EINVAL, msr_set(v, msrs[i].msr, msrs[i].good));
		EXPECT_EQ(there ? -1 : 13, read_msr(v, msrs[i].msr, &val));
		if (there)
			EXPECT_EQ(msrs[i].good, val);
		EXPECT_EQ(13, write_msr(v, msrs[i].msr, msrs[i].bad));
		EXPECT_EQ(-EINVAL, msr_set(v, msrs[i].msr, msrs[i].bad));
	}
	EXPECT_EQ(features & F_UNHALT ? 0 : ENOSYS_KVM, hypercall(self, v, HC_KICK, 0, 77, 0, 0));
	EXPECT_EQ(features & F_IPI ? 0 : ENOSYS_KVM, hypercall(self, v, HC_IPI, 1, 0, 77, 0x40));
	EXPECT_EQ(features & F_YIELD ? 0 : ENOSYS_KVM, hypercall(self, v, HC_YIELD, 77, 0, 0, 0));
	/* Of KVM, and never here: async page faults, migration control; clock pairing. */
	EXPECT_EQ(13, read_msr(v, 0x4b564d02, &val));
	EXPECT_EQ(13, read_msr(v, 0x4b564d06, &val));
	EXPECT_EQ(13, read_msr(v, 0x4b564d08, &val));
	EXPECT_EQ(ENOSYS_KVM, hypercall(self, v, 9, 0, 0, 0, 0));
	/* User space's alone. */
	EXPECT_EQ(13, read_msr(v, CLEAVE_MSR_CLOCK, &val));
	EXPECT_EQ(13, write_msr(v, CLEAVE_MSR_CLOCK, 0));
}

TEST_F(pv, all_offered)
{
	for (int bit = 0; bit < 32; bit++)
		EXPECT_EQ(F_ALL >> bit & 1, cpuid_offered(0x40000001, 0, bit));
	expect_features(self, _metadata, &self->v[0], F_ALL);
}

TEST_F(pv, as_cpuid_says)
{
	/* Each alone, none, and what the module does not have. */
	static const uint32_t sets[] = {
		F_CLOCK, F_STEAL, F_EOI, F_UNHALT, F_TLB, F_IPI, F_POLL, F_YIELD, 0, ~F_ALL,
	};

	for (unsigned int i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
		struct vcpu v;

		vcpu_create(&self->vm, &v, VCPUS + i);
		vcpu_long(&v, GPA_BLOB);
		ASSERT_EQ(0, cpuid_features(&v, sets[i]));
		expect_features(self, _metadata, &v, sets[i] & F_ALL);
		vcpu_destroy(&v);
	}
}

/* Another signature: the leaf's bits are somebody else's. */
/* What was set is gone with the feature: no page is written that nobody could take back. */
TEST_F(pv, cpuid_after_msrs)
{
	struct runner r = { 0 };
	struct vcpu v;
	struct vm vm;

	vm_create(&vm, RAM_SIZE, 0);
	vm_tables(&vm);
	vcpu_create(&vm, &v, 0);
	memset(vm.ram + GPA_CLOCK, 0x5a, 3 * 4096);
	for (int i = 0; i < MSRS; i++)
		ASSERT_EQ(0, msr_set(&v, msrs[i].msr, msrs[i].good));
	ASSERT_EQ(0, cpuid_features(&v, 0));
	vcpu_long(&v, GPA_BLOB);
	START(&v, halts);
	runner_start(&r, &v, NULL, NULL);
	nap_us(20000);
	runner_stop(&r);
	EXPECT_EQ(0, r.exits);
	for (int i = 0; i < 3 * 4096; i++)
		ASSERT_EQ(0x5a, vm.ram[GPA_CLOCK + i]);
	vcpu_destroy(&v);
	vm_destroy(&vm);
}

TEST_F(pv, signature)
{
	struct cleave_cpuid *c = calloc(1, sizeof(*c));
	int dev = dev_open();

	MUST(ioctl(dev, CLEAVE_GET_CPUID, c));
	close(dev);
	for (uint32_t i = 0; i < c->count; i++)
		if (c->entries[i].leaf == 0x40000000)
			c->entries[i].ecx ^= 1;
	ASSERT_EQ(0, xioctl(self->v[0].fd, CLEAVE_SET_CPUID, c));
	free(c);
	expect_features(self, _metadata, &self->v[0], 0);
}

/* ---- the clock ------------------------------------------------------------- */

/* Reads the clock of vCPU RBX to R8, the TSC to R9, as a kernel does. */
#define READ_CLOCK							\
	"mov %ebx, %esi\n\tshl $6, %esi\n\tadd $" S(GPA_CLOCK) ", %esi\n"	\
	"7:\tmov (%rsi), %r10d\n\ttest $1, %r10d\n\tjnz 7b\n\t"		\
	"lfence\n\trdtsc\n\tshl $32, %rdx\n\tor %rdx, %rax\n\tmov %rax, %r9\n\t"	\
	"sub 8(%rsi), %rax\n\tmovb 28(%rsi), %cl\n\tshl %cl, %rax\n\t"	\
	"mov 24(%rsi), %r8d\n\tmul %r8\n\tshrd $32, %rdx, %rax\n\tadd 16(%rsi), %rax\n\t" \
	"mov %rax, %r8\n\tcmp (%rsi), %r10d\n\tjne 7b\n\t"

GUEST(ask_clock, 64, "1:\t" READ_CLOCK G_DONE "jmp 1b\n\t");

static uint64_t raw_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC_RAW, &ts);
	return ts.tv_sec * SEC + ts.tv_nsec;
}

/* The guest's clock against the host's, as near as one of many looks gets. */
static int64_t clock_ahead(struct vcpu *v, uint64_t *within)
{
	int64_t ahead = 0;

	*within = ~0ull;
	for (int i = 0; i < 200; i++) {
		uint64_t before = raw_ns(), after;

		vcpu_run_done(v);
		after = raw_ns();
		if (after - before >= *within)
			continue;
		*within = after - before;
		ahead = (int64_t)(v->run->regs.r8 - before - *within / 2);
	}
	return ahead;
}

TEST_F(pv, clock_keeps_time)
{
	struct vcpu *v = &self->v[0];
	volatile struct clock *c = CLOCK_OF(&self->vm, 0);
	uint64_t khz = dev_info().tsc_khz, within, within2, since = raw_ns(), ns;
	int64_t ahead, drift, limit;

	c->version = 0xffffffff;	/* whatever is there */
	ASSERT_EQ(-1, write_msr(v, CLOCK, GPA_CLOCK | 1));
	START(v, ask_clock);
	ahead = clock_ahead(v, &within);
	EXPECT_EQ(0, c->version & 1);
	EXPECT_EQ(0, c->flags & ~1);
	printf("# TSC of %lu kHz, %sstable: shift %d, mul %#x\n", khz, c->flags ? "" : "un",
	       c->shift, c->mul);
	/* 10^12 ticks, to the millionth: the frequency. */
	ns = (unsigned __int128)1000000000000ull * c->mul * (1ull << c->shift) >> 32;
	EXPECT_LT(ns - 1000000000000000000ull / khz + 1000000000000ull / khz,
		  2 * (1000000000000ull / khz));
	nap_us(2000000);
	drift = clock_ahead(v, &within2) - ahead;
	limit = within + within2 + (raw_ns() - since) / 100000;
	printf("# drift %ld ns in %llu ms, looked at within %lu and %lu ns\n", drift,
	       (raw_ns() - since) / MS, within, within2);
	EXPECT_LT(drift < 0 ? -drift : drift, limit);
	/* It starts with the VM. */
	EXPECT_LT(v->run->regs.r8, 600 * SEC);
	ASSERT_EQ(0, msr_get(v, CLEAVE_MSR_CLOCK, &ns));
	vcpu_run_done(v);
	EXPECT_LE(ns, v->run->regs.r8 + 1000);
	EXPECT_LT(v->run->regs.r8 - ns, SEC);
}

/* Set, it goes on from there, in steps of nothing else: not with the TSC of VM or vCPU. */
TEST_F(pv, clock_is_set)
{
	struct vcpu *v = &self->v[0];
	uint64_t before, now, tsc, at[] = { 1000 * SEC, 0, 1ull << 60 };

	ASSERT_EQ(-1, write_msr(v, CLOCK, GPA_CLOCK | 1));
	START(v, ask_clock);
	for (int i = 0; i < 3; i++) {
		/* By way of another vCPU: it is the VM's. */
		ASSERT_EQ(0, msr_set(&self->v[1], CLEAVE_MSR_CLOCK, at[i]));
		vcpu_run_done(v);
		EXPECT_GE(v->run->regs.r8, at[i]);
		EXPECT_LT(v->run->regs.r8, at[i] + 10 * SEC);
	}
	before = v->run->regs.r8;
	ASSERT_EQ(0, msr_get(v, 0x10, &tsc));
	ASSERT_EQ(0, msr_set(v, 0x10, tsc + (1ull << 50)));
	vcpu_run_done(v);
	now = v->run->regs.r8;
	EXPECT_GE(v->run->regs.r9, 1ull << 50);
	EXPECT_GE(now, before);
	EXPECT_LT(now, before + 10 * SEC);
	ASSERT_EQ(-1, write_msr(v, 0x3b, 1ull << 51));
	START(v, ask_clock);
	vcpu_run_done(v);
	EXPECT_GE(v->run->regs.r9, 1ull << 51);
	EXPECT_GE(v->run->regs.r8, now);
	EXPECT_LT(v->run->regs.r8, now + 10 * SEC);
}

/* Guests read one vCPU's structure on all, if its flag is set. */
TEST_F(pv, clock_of_tscs_that_differ)
{
	uint64_t adjust;
	uint8_t stable;

	if (msr_get(&self->v[0], 0x3b, &adjust))
		SKIP(return, "no IA32_TSC_ADJUST in this host");
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, msr_set(&self->v[i], 0x3b, 0));
		ASSERT_EQ(-1, write_msr(&self->v[i], CLOCK, (GPA_CLOCK + i * 64) | 1));
	}
	/* Where the host's TSC is not stable it is never set. */
	stable = CLOCK_OF(&self->vm, 0)->flags;
	EXPECT_EQ(stable, CLOCK_OF(&self->vm, 1)->flags);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(-1, write_msr(&self->v[1 - i], 0x3b, 1ull << 40));
		ASSERT_EQ(0, msr_set(&self->v[2], 0x3b, (uint64_t)i << 40));
		for (int k = 0; k < 2; k++)
			ASSERT_EQ(-1, write_msr(&self->v[k], POLL, 1));
		EXPECT_EQ(i ? stable : 0, CLOCK_OF(&self->vm, 0)->flags);
		EXPECT_EQ(i ? stable : 0, CLOCK_OF(&self->vm, 1)->flags);
	}
}

TEST_F(pv, wall_clock)
{
	volatile uint32_t *w = (uint32_t *)(self->vm.ram + GPA_CLOCK + 0x800);
	struct timespec ts;
	uint64_t ns, wall;

	w[0] = 7;
	ASSERT_EQ(0, msr_get(&self->v[0], CLEAVE_MSR_CLOCK, &ns));
	clock_gettime(CLOCK_REALTIME, &ts);
	ASSERT_EQ(-1, write_msr(&self->v[0], WALL_CLOCK, GPA_CLOCK + 0x800));
	EXPECT_EQ(0, w[0] & 1);
	EXPECT_LT(w[2], SEC);
	wall = w[1] * SEC + w[2] + ns;
	EXPECT_LT(wall - (ts.tv_sec * SEC + ts.tv_nsec) + SEC, 2 * SEC);
	/* Setting it again, as after a migration, writes nothing. */
	w[1] = 0;
	ASSERT_EQ(0, msr_set(&self->v[0], WALL_CLOCK, GPA_CLOCK + 0x800));
	ASSERT_EQ(-1, write_msr(&self->v[0], POLL, 1));
	EXPECT_EQ(0, w[1]);
}

/*
 * Each vCPU looks at its clock, and at the latest that any has seen (VM_DATA 0): how much earlier
 * is its own at most (VM_DATA 0x10)? VM_DATA 0x20 + 8n counts.
 */
GUEST(race_clock, 64,
	"1:\tmov " S(GPA_DATA) ", %r11\n\tlfence\n\t" READ_CLOCK
	"mov %r11, %rax\n\tsub %r8, %rax\n\tjle 3f\n\t"
	"cmp " S(GPA_DATA) "+0x10, %rax\n\tjle 3f\n\tmov %rax, " S(GPA_DATA) "+0x10\n"
	"3:\tmov " S(GPA_DATA) ", %rax\n"
	"4:\tcmp %rax, %r8\n\tjle 5f\n\tlock cmpxchg %r8, " S(GPA_DATA) "\n\tjne 4b\n"
	"5:\tincq " S(GPA_DATA) "+0x20(,%rbx,8)\n\tjmp 1b\n\t");

static int any_exit(struct vcpu *v, void *arg)
{
	return 1;
}

TEST_F_TIMEOUT(pv, clock_never_goes_back, 120)
{
	struct runner r[VCPUS];
	uint64_t limit = CLOCK_OF(&self->vm, 0)->flags ? 0 : 2 * MS, at;

	for (int i = 0; i < VCPUS; i++) {
		ASSERT_EQ(-1, write_msr(&self->v[i], CLOCK, (GPA_CLOCK + i * 64) | 1));
		START(&self->v[i], race_clock);
	}
	for (int i = 0; i < VCPUS; i++)
		runner_start(&r[i], &self->v[i], any_exit, NULL);
	for (int round = 0; round < 40; round++) {
		at = *VM_DATA(&self->vm, uint64_t, 0x20);
		for (int i = 0; i < VCPUS && cpu_online(1); i++)
			thread_pin(r[i].thread, (i + round) % 2);
		nap_us(20000);
		ASSERT_TRUE(WAIT_FOR(*VM_DATA(&self->vm, uint64_t, 0x20) > at || r[0].exits, 20000));
	}
	for (int i = 0; i < VCPUS; i++) {
		runner_stop(&r[i]);
		EXPECT_EQ(0, r[i].error);
		EXPECT_EQ(0, r[i].exits);
		EXPECT_GT(*VM_DATA(&self->vm, uint64_t, 0x20 + i * 8), 10);
	}
	if (CLOCK_OF(&self->vm, 0)->flags)
		limit = 0;
	printf("# back by %lu ns at most\n", *VM_DATA(&self->vm, uint64_t, 0x10));
	EXPECT_LE(*VM_DATA(&self->vm, uint64_t, 0x10), limit);
}

/* ---- steal time, and what hangs on it ---------------------------------------- */

static void burn(void)
{
	volatile uint64_t x = 0;

	for (;;)
		x++;
}

GUEST(spin, 64, "1:\tincq " S(GPA_DATA) "\n\tpause\n\tjmp 1b\n\t");

/* Its version is even, and what it says, once the vCPU is in the guest. */
static uint64_t stolen(FIXTURE_DATA(pv) *self, int n)
{
	volatile struct steal *s = STEAL_OF(&self->vm, n);
	uint32_t version;
	uint64_t val;

	do {
		version = s->version;
		val = s->steal;
	} while (version & 1 || version != s->version);
	return val;
}

/* Such a kernel takes the CPU from the module, too, which has no time to tell the guest. */
static bool preempts_itself(void)
{
	struct utsname u;

	MUST(uname(&u));
	return strstr(u.version, "PREEMPT") && !strstr(u.version, "PREEMPT_DYNAMIC");
}

TEST_F_TIMEOUT(pv, steal_time, 60)
{
	volatile struct steal *s = STEAL_OF(&self->vm, 0);
	volatile uint64_t *count = VM_DATA(&self->vm, uint64_t, 0);
	struct runner r;
	uint64_t at;
	pid_t other;

	s->steal = 1000;	/* it goes on from there */
	s->version = 41;
	ASSERT_EQ(-1, write_msr(&self->v[0], STEAL, GPA_STEAL | 1));
	START(&self->v[0], spin);
	runner_start(&r, &self->v[0], any_exit, NULL);
	thread_pin(r.thread, 0);
	EXPECT_TRUE(WAIT_FOR(*count > 1000, 10000));
	EXPECT_TRUE(WAIT_FOR(s->preempted == 0, 10000));
	at = stolen(self, 0);
	EXPECT_GE(at, 1000);
	EXPECT_LT(at, 30 * SEC);
	other = MUST(fork());
	if (!other) {
		pin_to(0);
		burn();
	}
	EXPECT_TRUE(WAIT_FOR(stolen(self, 0) > at + 50 * MS, 20000));
	/* While it waits it says so. */
	EXPECT_TRUE(preempts_itself() || WAIT_FOR(s->preempted & 1, 20000));
	EXPECT_TRUE(WAIT_FOR(!(s->preempted & 1), 20000));
	kill(other, SIGKILL);
	waitpid(other, NULL, 0);
	EXPECT_EQ(0, s->flags);
	runner_stop(&r);
	EXPECT_EQ(0, r.error);
	EXPECT_EQ(0, r.exits);
	printf("# %llu ms stolen\n", stolen(self, 0) / MS);
}

/*
 * vCPU 0 reads 0x140000 through a page of its own, halts with interrupts off until a kick, and
 * reads again: of what page that is another vCPU has changed meanwhile, and asked for the flush.
 */
#define GPA_PT		0x130000u
#define GPA_A		0x140000u
#define GPA_B		0x150000u

GUEST(stale, 64,
	"1:\tmov 0x140000, %r8\n\tincq " S(GPA_DATA) "\n\thlt\n\tmov 0x140000, %r9\n\t" G_DONE
	"jmp 1b\n\t");

static void tables_for_stale(struct vm *vm)
{
	volatile uint64_t *pd = (uint64_t *)(vm->ram + GPA_PD), *pt = (uint64_t *)(vm->ram + GPA_PT);

	for (int i = 0; i < 512; i++)
		pt[i] = i * 4096ull | 0x67;
	pd[0] = GPA_PT | 0x67;
}

TEST_F_TIMEOUT(pv, tlb_flush, 60)
{
	volatile uint64_t *pte = (uint64_t *)(self->vm.ram + GPA_PT) + GPA_A / 4096;
	volatile uint64_t *count = VM_DATA(&self->vm, uint64_t, 0);
	volatile struct steal *s = STEAL_OF(&self->vm, 0);
	struct vcpu *v = &self->v[0];
	struct runner r;
	uint8_t preempted = 1;
	uint64_t at;

	*(uint64_t *)(self->vm.ram + GPA_A) = 0xa;
	*(uint64_t *)(self->vm.ram + GPA_B) = 0xb;
	tables_for_stale(&self->vm);
	ASSERT_EQ(-1, write_msr(v, STEAL, GPA_STEAL | 1));
	START(v, stale);
	for (int i = 0; i < 50; i++) {
		*pte = GPA_A | 0x67;
		at = *count;
		runner_start(&r, v, any_exit, NULL);
		ASSERT_TRUE(WAIT_FOR(*count > at && s->preempted == 1, 10000));
		*pte = GPA_B | 0x67;
		preempted = 1;
		ASSERT_TRUE(__atomic_compare_exchange_n(&s->preempted, &preempted, 3, false,
							__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST));
		EXPECT_EQ(0, hypercall(self, &self->v[1], HC_KICK, 0, 0, 0, 0));
		runner_wait(&r);
		ASSERT_EQ(CLEAVE_EXIT_IO, v->run->exit);
		EXPECT_EQ(0xb, v->run->regs.r9);
		EXPECT_EQ(0, s->preempted);
		*pte = GPA_A | 0x67;	/* with a flush by CR3 */
		START(v, stale);
		EXPECT_EQ(0, i == 49 ? 0 : msr_set(v, STEAL, GPA_STEAL | 1));
	}
}

/*
 * Others leave flushes to a vCPU that says it does not run. Where that cannot be taken back it is
 * not entered: its user space is told why.
 */
TEST_F(pv, preempted_cannot_be_taken)
{
	struct steal *s = mem_alloc(4096, 4096);
	struct vcpu *v = &self->v[0];
	struct runner r = { 0 };

	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA_LONE_STEAL, 4096, s));
	ASSERT_EQ(-1, write_msr(v, STEAL, GPA_LONE_STEAL | 1));
	START(v, halts);
	runner_start(&r, v, any_exit, NULL);
	ASSERT_TRUE(WAIT_FOR(*(volatile uint8_t *)&s->preempted == 1, 10000));
	runner_stop(&r);
	ASSERT_EQ(0, mprotect(s, 4096, PROT_READ));
	START(v, counts);
	ASSERT_EQ(0, vcpu_run(v));
	EXPECT_EQ(CLEAVE_EXIT_FAULT, v->run->exit);
	EXPECT_EQ(GPA_LONE_STEAL + offsetof(struct steal, preempted), v->run->fault.gpa);
	EXPECT_EQ(CLEAVE_ACCESS_WRITE, v->run->fault.flags);
	EXPECT_EQ(EFAULT, v->run->fault.error);
	EXPECT_EQ(0, *VM_DATA(&self->vm, uint64_t, 0));
	ASSERT_EQ(0, mprotect(s, 4096, PROT_READ | PROT_WRITE));
	runner_start(&r, v, any_exit, NULL);
	EXPECT_TRUE(WAIT_FOR(*VM_DATA(&self->vm, volatile uint64_t, 0) > 1000, 10000));
	runner_stop(&r);
	EXPECT_EQ(0, r.exits);
	EXPECT_EQ(0, s->preempted & 2);
	/* Nobody sees the byte where nothing is: it runs. */
	START(v, halts);
	runner_start(&r, v, any_exit, NULL);
	ASSERT_TRUE(WAIT_FOR(*(volatile uint8_t *)&s->preempted == 1, 10000));
	runner_stop(&r);
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA_LONE_STEAL, 0, NULL));
	START(v, counts);
	*VM_DATA(&self->vm, uint64_t, 0) = 0;
	runner_start(&r, v, any_exit, NULL);
	EXPECT_TRUE(WAIT_FOR(*VM_DATA(&self->vm, volatile uint64_t, 0) > 1000, 10000));
	runner_stop(&r);
	EXPECT_EQ(0, r.exits);
}

/* The MSR is all that says where a flush is owed: who sets it anew has it done. */
TEST_F(pv, steal_moved)
{
	volatile uint64_t *pte = (uint64_t *)(self->vm.ram + GPA_PT) + GPA_A / 4096;
	volatile struct steal *s = STEAL_OF(&self->vm, 0);
	struct vcpu *v = &self->v[0];
	struct runner r = { 0 };

	*(uint64_t *)(self->vm.ram + GPA_A) = 0xa;
	*(uint64_t *)(self->vm.ram + GPA_B) = 0xb;
	tables_for_stale(&self->vm);
	*pte = GPA_A | 0x67;
	ASSERT_EQ(-1, write_msr(v, STEAL, GPA_STEAL | 1));
	START(v, stale);
	runner_start(&r, v, any_exit, NULL);
	ASSERT_TRUE(WAIT_FOR(s->preempted == 1, 10000));
	runner_stop(&r);
	*pte = GPA_B | 0x67;
	s->preempted = 3;
	ASSERT_EQ(0, msr_set(v, STEAL, 0));
	EXPECT_EQ(0, hypercall(self, &self->v[1], HC_KICK, 0, 0, 0, 0));
	vcpu_run_done(v);
	EXPECT_EQ(0xb, v->run->regs.r9);
}

/* ---- EOI -------------------------------------------------------------------- */

#define GPA_HANDLE	0x160000u

/* VM_DATA 0: interrupts, 8: that needed no EOI; 0x10: what to do with it in the handler. */
GUEST(handle, 64,
	"push %rax\n\tpush %rcx\n\tpush %rdx\n\tincq " S(GPA_DATA) "\n\t"
	"cmpq $0, " S(GPA_DATA) "+0x10\n\tje 1f\n\tmovq $0, " S(GPA_DATA) "+0x10\n\t"
	"xor %eax, %eax\n\tcpuid\n"	/* an exit in between */
	"1:\tbtrl $0, " S(GPA_EOI) "\n\tjnc 2f\n\tincq " S(GPA_DATA) "+8\n\tjmp 3f\n"
	"2:\txor %eax, %eax\n\txor %edx, %edx\n\tmov $0x80b, %ecx\n\twrmsr\n"
	"3:\tpop %rdx\n\tpop %rcx\n\tpop %rax\n\tiretq\n\t");

/* An IPI to itself of each vector in RAX, at once; then RBX tells that all were taken. */
GUEST(self_ipi, 64,
	"1:\tcli\n\tmov %r8d, %eax\n"
	"2:\tmov $0x83f, %ecx\n\txor %edx, %edx\n\tmovzbl %al, %r9d\n\txchg %eax, %r9d\n\twrmsr\n\t"
	"mov %r9d, %eax\n\tshr $8, %eax\n\tjnz 2b\n\t"
	"sti\n\tnop\n\tnop\n\tcli\n\t" G_DONE "jmp 1b\n\t");

GUEST(window, 64, "sti\n\tnop\n\tnop\n\tcli\n\t" G_DONE);

static void expect_idle(struct __test_metadata *_metadata, struct vcpu *v)
{
	struct cleave_state st;

	state_get(v, CLEAVE_LAPIC, &st);
	for (int i = 0; i < 8; i++) {
		EXPECT_EQ(0, st.lapic.regs[0x100 / 4 + i * 4]);	/* ISR */
		EXPECT_EQ(0, st.lapic.regs[0x200 / 4 + i * 4]);	/* IRR */
	}
}

static void send_self(struct vcpu *v, uint32_t vectors)
{
	struct cleave_regs regs;

	regs_get(v, &regs);
	regs.r8 = vectors;
	regs_set(v, &regs);
	vcpu_run_done(v);
}

TEST_F(pv, eoi)
{
	struct vcpu *v = &self->v[0];
	volatile uint64_t *taken = VM_DATA(&self->vm, uint64_t, 0), *quiet = taken + 1;
	volatile uint64_t *exits = taken + 2;

	vm_load(&self->vm, GPA_HANDLE, handle, handle_end - handle);
	vm_gate(&self->vm, 0x40, GPA_HANDLE, 0, 0);
	vm_gate(&self->vm, 0x50, GPA_HANDLE, 0, 0);
	/* Without it no byte is set. */
	START(v, self_ipi);
	send_self(v, 0x40);
	EXPECT_EQ(1, *taken);
	EXPECT_EQ(0, *quiet);
	ASSERT_EQ(-1, write_msr(v, EOI, GPA_EOI | 1));
	START(v, self_ipi);
	for (int i = 1; i <= 20; i++) {
		send_self(v, 0x40);
		EXPECT_EQ(1 + i, *taken);
		EXPECT_EQ(i, *quiet);
		EXPECT_EQ(0, self->vm.ram[GPA_EOI]);
		expect_idle(_metadata, v);
	}
	/* The first of two has another one to let in; the second has none. */
	send_self(v, 0x4050);
	EXPECT_EQ(23, *taken);
	EXPECT_EQ(21, *quiet);
	expect_idle(_metadata, v);
	/* An exit in the middle, and it is as if nothing had been. */
	*exits = 1;
	send_self(v, 0x40);
	EXPECT_EQ(24, *taken);
	EXPECT_EQ(22, *quiet);
	expect_idle(_metadata, v);
	/* Level-triggered ones have an EOI that others wait for. */
	ASSERT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(0), MSI_LEVEL | 0x50));
	START(v, window);
	vcpu_run_exit(v, CLEAVE_EXIT_EOI);
	EXPECT_EQ(0x50, v->run->eoi.vector);
	vcpu_run_done(v);
	EXPECT_EQ(25, *taken);
	EXPECT_EQ(22, *quiet);
}

/* Its handler ends interrupts by the byte alone, if that is set: then no other way is right. */
GUEST(ticks, 64,
	"mov $0x83e, %ecx\n\tmov $0xb, %eax\n\txor %edx, %edx\n\twrmsr\n\t"
	"mov $0x832, %ecx\n\tmov $0x20040, %eax\n\twrmsr\n\t"
	"mov $0x838, %ecx\n\tmov $1000000, %eax\n\twrmsr\n\tsti\n1:\tjmp 1b\n\t");
GUEST(handle_tick, 64,
	"push %rax\n\tpush %rcx\n\tpush %rdx\n\tincq " S(GPA_DATA) "\n\t"
	"btrl $0, " S(GPA_LONE_STEAL) "\n\tjc 3f\n\t"
	"xor %eax, %eax\n\txor %edx, %edx\n\tmov $0x80b, %ecx\n\twrmsr\n"
	"3:\tpop %rdx\n\tpop %rcx\n\tpop %rax\n\tiretq\n\t");

/* Whatever becomes of its page, who says that it has ended an interrupt has. */
TEST_F_TIMEOUT(pv, eoi_write_protected, 120)
{
	volatile uint64_t *taken = VM_DATA(&self->vm, uint64_t, 0);
	uint8_t *page = mem_alloc(4096, 4096);
	struct vcpu *v = &self->v[0];
	struct runner r = { 0 };
	uint64_t at;

	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA_LONE_STEAL, 4096, page));
	vm_load(&self->vm, GPA_HANDLE, handle_tick, handle_tick_end - handle_tick);
	vm_gate(&self->vm, 0x40, GPA_HANDLE, 0, 0);
	ASSERT_EQ(-1, write_msr(v, EOI, GPA_LONE_STEAL | 1));
	START(v, ticks);
	runner_start(&r, v, NULL, NULL);	/* an exit for the page's sake is run again */
	for (int i = 0; i < 100; i++) {
		at = *taken;
		ASSERT_TRUE(WAIT_FOR(*taken > at + 1, 20000));
		ASSERT_EQ(0, mprotect(page, 4096, PROT_READ));
		nap_us(1 + i * 7 % 300);
		ASSERT_EQ(0, mprotect(page, 4096, PROT_READ | PROT_WRITE));
	}
	at = *taken;
	EXPECT_TRUE(WAIT_FOR(*taken > at + 3, 20000));
	runner_stop(&r);
	EXPECT_EQ(0, r.error);
}

/* ---- hypercalls -------------------------------------------------------------- */

GUEST(sleeper, 64, "1:\tsti\n\thlt\n\tlock incq " S(GPA_DATA) "+0x20(,%rbx,8)\n\tjmp 1b\n\t");

static uint64_t woken(FIXTURE_DATA(pv) *self, int i)
{
	return *VM_DATA(&self->vm, uint64_t, 0x20 + i * 8);
}

TEST_F(pv, send_ipi)
{
	volatile uint64_t *ticks = VM_DATA(&self->vm, uint64_t, TICK_COUNT);
	struct vcpu *v = &self->v[0];
	struct runner r[VCPUS];

	tick_prepare(&self->vm, 0x40);
	vm_gate(&self->vm, 2, GPA_TICK, 0, 0);
	for (int i = 1; i < VCPUS; i++) {
		START(&self->v[i], sleeper);
		runner_start(&r[i], &self->v[i], any_exit, NULL);
	}
	/* To both, and to some that are not there: of any 128 bits. */
	EXPECT_EQ(2, hypercall(self, v, HC_IPI, ~1ull, ~0ull, 0, 0x40));
	EXPECT_TRUE(WAIT_FOR(*ticks == 2 && woken(self, 1) == 1 && woken(self, 2) == 1, 10000));
	EXPECT_EQ(1, hypercall(self, v, HC_IPI, 1, 0, 2, 0x40));
	EXPECT_TRUE(WAIT_FOR(*ticks == 3 && woken(self, 2) == 2, 10000));
	EXPECT_EQ(1, hypercall(self, v, HC_IPI, 2, ~0ull, 1, 0x400));	/* NMI */
	EXPECT_TRUE(WAIT_FOR(*ticks == 4 && woken(self, 2) == 3, 10000));
	EXPECT_EQ(1, woken(self, 1));
	EXPECT_EQ(0, hypercall(self, v, HC_IPI, 0, 0, 0, 0x40));
	EXPECT_EQ(0, hypercall(self, v, HC_IPI, ~0ull, ~0ull, ~0ull, 0x40));
	EXPECT_EQ(0, hypercall(self, v, HC_IPI, ~0ull, ~0ull, ~0ull - 64, 0x40));
	EXPECT_EQ(0, hypercall(self, v, HC_IPI, ~0ull, ~0ull, 255, 0x40));	/* no broadcast */
	/* Shorthands, logical destinations, what no ICR has. */
	EXPECT_EQ(-22, hypercall(self, v, HC_IPI, 2, 0, 0, 0x40 | 0x80000));
	EXPECT_EQ(-22, hypercall(self, v, HC_IPI, 2, 0, 0, 0x40 | 0x800));
	EXPECT_EQ(-22, hypercall(self, v, HC_IPI, 2, 0, 0, 0x40 | 1ull << 40));
	EXPECT_EQ(4, *ticks);
	for (int i = 1; i < VCPUS; i++) {
		runner_stop(&r[i]);
		EXPECT_EQ(0, r[i].error);
	}
}

GUEST(halted, 64, "1:\tcli\n\thlt\n\tlock incq " S(GPA_DATA) "+0x20(,%rbx,8)\n\tjmp 1b\n\t");

TEST_F(pv, kick)
{
	struct cleave_state st;
	struct runner r;

	/* One that comes before the HLT is kept, and moves with the vCPU. */
	ASSERT_EQ(0, hypercall(self, &self->v[0], HC_KICK, 0, 1, 0, 0));
	state_get(&self->v[1], CLEAVE_MP, &st);
	EXPECT_EQ(1, st.mp.kicked);
	st.mp.kicked = 0;
	st.mp.state = CLEAVE_MP_RUNNABLE;
	state_must_set(&self->v[1], CLEAVE_MP, &st);
	START(&self->v[1], halted);
	runner_start(&r, &self->v[1], any_exit, NULL);
	nap_us(50000);
	EXPECT_EQ(0, woken(self, 1));
	for (int i = 1; i <= 20; i++) {
		EXPECT_EQ(0, hypercall(self, &self->v[0], HC_KICK, 0, 1, 0, 0));
		EXPECT_TRUE(WAIT_FOR(woken(self, 1) == i, 10000));
		nap_us(2000);
		EXPECT_EQ(i, woken(self, 1));
	}
	runner_stop(&r);
	st.mp.state = CLEAVE_MP_HALTED;
	st.mp.kicked = 1;
	state_must_set(&self->v[1], CLEAVE_MP, &st);
	runner_start(&r, &self->v[1], any_exit, NULL);
	EXPECT_TRUE(WAIT_FOR(woken(self, 1) == 21, 10000));
	runner_stop(&r);
	EXPECT_EQ(0, r.error);
}

/* vCPUs 0 and 1 on one CPU take turns, RCX of them each: by waiting for VM_DATA 0 to be even or odd. */
GUEST(turns, 64,
	"1:\tmov " S(GPA_DATA) ", %rax\n\txor %rbx, %rax\n\ttest $1, %al\n\tjz 3f\n\t"
	"test %r12, %r12\n\tjz 1b\n\t"
	"push %rbx\n\tpush %rcx\n\tmov $11, %eax\n\txor $1, %ebx\n\t"
	"cmpq $2, %r12\n\tje 2f\n\tvmcall\n\tjmp 4f\n2:\tvmmcall\n4:\tpop %rcx\n\tpop %rbx\n\tjmp 1b\n"
	"3:\tincq " S(GPA_DATA) "\n\tdec %rcx\n\tjnz 1b\n\t" G_DONE);

#define TURNS	10

static uint64_t turns_take(FIXTURE_DATA(pv) *self, struct __test_metadata *_metadata, bool yields)
{
	struct runner r[2];
	uint64_t at;

	*VM_DATA(&self->vm, uint64_t, 0) = 0;
	for (int i = 0; i < 2; i++) {
		struct cleave_regs regs;

		START(&self->v[i], turns);
		regs_get(&self->v[i], &regs);
		regs.rcx = TURNS;
		regs.r12 = yields ? 1 + self->amd : 0;
		regs_set(&self->v[i], &regs);
	}
	at = now_ns();
	for (int i = 0; i < 2; i++)
		runner_start(&r[i], &self->v[i], any_exit, NULL);
	for (int i = 0; i < 2; i++) {
		runner_wait(&r[i]);
		EXPECT_EQ(0, r[i].error);
		EXPECT_EQ(CLEAVE_EXIT_IO, self->v[i].run->exit);
	}
	EXPECT_EQ(2 * TURNS, *VM_DATA(&self->vm, uint64_t, 0));
	return now_ns() - at;
}

TEST_F_TIMEOUT(pv, sched_yield, 120)
{
	struct vcpu *v = &self->v[0];
	uint64_t with, without;

	EXPECT_EQ(0, hypercall(self, v, HC_YIELD, 0, 0, 0, 0));	/* itself */
	EXPECT_EQ(0, hypercall(self, v, HC_YIELD, 1, 0, 0, 0));	/* runs nowhere */
	EXPECT_EQ(0, hypercall(self, v, HC_YIELD, ~0ull, 0, 0, 0));
	pin_to(0);	/* both */
	without = turns_take(self, _metadata, false);
	with = turns_take(self, _metadata, true);
	printf("# %d turns: %lu us, and %lu us with yields\n", 2 * TURNS, without / 1000,
	       with / 1000);
	/* In a debug kernel the way to yield costs more than it saves. */
	if (patience() == 1)
		EXPECT_LT(with, without / 2);
}

/* ---- moves ------------------------------------------------------------------- */

/* What one VM's vCPU has is set in another's, whose memory comes later. */
TEST_F(pv, migrates)
{
	static const uint64_t regs[][2] = {
		{ WALL_CLOCK, GPA_CLOCK + 0x800 }, { CLOCK, GPA_CLOCK | 1 }, { STEAL, GPA_STEAL | 1 },
		{ EOI, GPA_EOI | 1 }, { POLL, 0 },
	};
	struct vcpu *from = &self->v[0], to;
	uint64_t val, clock, tsc, got;
	uint32_t version;
	struct vm vm;

	for (int i = 0; i < 5; i++)
		ASSERT_EQ(-1, write_msr(from, regs[i][0], regs[i][1]));
	ASSERT_EQ(0, msr_set(from, CLEAVE_MSR_CLOCK, 5000 * SEC));
	START(from, ask_clock);
	vcpu_run_done(from);
	version = CLOCK_OF(&self->vm, 0)->version;
	ASSERT_EQ(0, msr_get(from, CLEAVE_MSR_CLOCK, &clock));
	ASSERT_EQ(0, msr_get(from, 0x10, &tsc));

	vm_create(&vm, 0, 0);
	vcpu_create(&vm, &to, 0);
	for (int i = 0; i < 5; i++) {
		ASSERT_EQ(0, msr_get(from, regs[i][0], &val));
		EXPECT_EQ(regs[i][1], val);
		ASSERT_EQ(0, msr_set(&to, regs[i][0], val));
		ASSERT_EQ(0, msr_get(&to, regs[i][0], &got));
		EXPECT_EQ(val, got);
	}
	ASSERT_EQ(0, msr_set(&to, 0x10, tsc));
	ASSERT_EQ(0, msr_set(&to, CLEAVE_MSR_CLOCK, clock));
	vm.ram = self->vm.ram;
	vm.ram_size = RAM_SIZE;
	/* A flush that it owed there it owes here. */
	STEAL_OF(&vm, 0)->preempted = 3;
	STEAL_OF(&vm, 0)->steal = 12345;
	ASSERT_EQ(0, vm_slot(&vm, 0, 0, 0, RAM_SIZE, vm.ram));
	START(&to, ask_clock);
	vcpu_run_done(&to);
	EXPECT_GE(to.run->regs.r8, clock);
	EXPECT_LT(to.run->regs.r8, clock + 10 * SEC);
	EXPECT_GE(to.run->regs.r9, tsc);
	EXPECT_LT(version, CLOCK_OF(&vm, 0)->version);
	EXPECT_EQ(0, STEAL_OF(&vm, 0)->preempted);
	/* It counts on from there: the host may have taken the CPU meanwhile. */
	EXPECT_LE(12345, STEAL_OF(&vm, 0)->steal);
	EXPECT_GT(12345 + 10 * SEC, STEAL_OF(&vm, 0)->steal);
	vcpu_destroy(&to);
	vm.ram = NULL;
	vm.ram_size = 0;
	vm_destroy(&vm);
}

/* INIT: no more is written where the pages were. */
TEST_F(pv, init)
{
	static const uint32_t all[] = { WALL_CLOCK, CLOCK, STEAL, EOI };
	struct vcpu *v = &self->v[1];
	struct runner r = { 0 };
	uint64_t val;

	for (int i = 0; i < MSRS; i++)
		ASSERT_EQ(0, msr_set(v, msrs[i].msr, msrs[i].good));
	ASSERT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(1), MSI_INIT));
	/* It takes the INIT, and waits for a SIPI. */
	runner_start(&r, v, NULL, NULL);
	nap_us(20000);
	runner_stop(&r);
	EXPECT_EQ(CLEAVE_MP_WAIT_SIPI, mp_get(v));
	for (int i = 0; i < 4; i++) {
		ASSERT_EQ(0, msr_get(v, all[i], &val));
		EXPECT_EQ(0, val);
	}
	ASSERT_EQ(0, msr_get(v, POLL, &val));
	EXPECT_EQ(1, val);
}

/* ---- wherever the guest likes ------------------------------------------------- */

#define GPA_RO		0x10000000u
#define GPA_LONE	0x20000000u	/* a page with nothing around */

TEST_F_TIMEOUT(pv, any_address, 120)
{
	uint64_t places[] = {
		GPA_LONE - 4, GPA_LONE - 12, GPA_LONE - 64, GPA_LONE, GPA_LONE + 0xfc0,
		GPA_LONE + 0xff0, GPA_LONE + 0xffc, GPA_LONE + 0x1000, GPA_RO, GPA_RO + 0xffc,
		RAM_SIZE - 4, RAM_SIZE - 16, RAM_SIZE - 64, 0x30000000, 1ull << 36, 1ull << 47, 1ull << 52,
		~0ull << 2, ~0ull << 6, ~0ull << 4, ~0ull << 12, 0xfee00000, 0, 0x30001000,
	};
	uint8_t *ro = mem_alloc(4096, 4096), *lone = mem_alloc(3 * 4096, 4096);
	uint8_t *gone = mem_alloc(4096, 4096);
	struct vcpu *v = &self->v[0];
	uint64_t n = 0;

	memset(ro, 0x5a, 4096);
	memset(lone, 0x5a, 3 * 4096);
	ASSERT_EQ(0, vm_slot(&self->vm, 1, CLEAVE_SLOT_READONLY, GPA_RO, 4096, ro));
	ASSERT_EQ(0, vm_slot(&self->vm, 2, 0, GPA_LONE, 4096, lone + 4096));
	ASSERT_EQ(0, vm_slot(&self->vm, 3, 0, 0x30000000, 4096, gone));
	munmap(gone, 4096);	/* a slot of nothing */
	vm_load(&self->vm, GPA_HANDLE, handle, handle_end - handle);
	vm_gate(&self->vm, 0x40, GPA_HANDLE, 0, 0);
	for (unsigned int i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		uint64_t gpa = places[i];

		EXPECT_EQ(-1, write_msr(v, WALL_CLOCK, gpa & ~3ull));
		EXPECT_EQ(-1, write_msr(v, CLOCK, (gpa & ~3ull) | 1));
		EXPECT_EQ(-1, write_msr(v, STEAL, (gpa & ~63ull) | 1));
		EXPECT_EQ(-1, write_msr(v, EOI, (gpa & ~3ull) | 1));
		START(v, self_ipi);
		if (gpa != GPA_LONE && gpa != 0)
			send_self(v, 0x40);
		for (int j = 0; j < MSRS - 1; j++)
			EXPECT_EQ(-1, write_msr(v, msrs[j].msr, 0));
		/* Back to idle: an EOI that went to another byte. */
		vcpu_x2apic(v);
		struct cleave_state st;

		state_get(v, CLEAVE_LAPIC, &st);
		memset(st.lapic.regs + 0x40, 0, 0x80);
		state_must_set(v, CLEAVE_LAPIC, &st);
		n++;
	}
	EXPECT_EQ(sizeof(places) / sizeof(places[0]), n);
	for (int i = 0; i < 4096; i++)
		ASSERT_TRUE(ro[i] == 0x5a && lone[i] == 0x5a && lone[2 * 4096 + i] == 0x5a);
	/* In the lone page something was written, or the test says nothing. */
	EXPECT_NE(0x5a, lone[4096]);
}

/* Over the border of two slots whose memory lies apart. */
TEST_F(pv, page_edge)
{
	uint8_t *mem = mem_alloc(3 * 4096, 4096);
	struct vcpu *v = &self->v[0];
	struct clock c;

	memset(mem, 0x5a, 3 * 4096);
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA_LONE, 4096, mem + 2 * 4096));
	ASSERT_EQ(0, vm_slot(&self->vm, 2, 0, GPA_LONE + 4096, 4096, mem));
	ASSERT_EQ(-1, write_msr(v, CLOCK, (GPA_LONE + 4096 - 20) | 1));
	ASSERT_EQ(-1, write_msr(v, POLL, 1));
	memcpy(&c, mem + 3 * 4096 - 20, 20);
	memcpy((uint8_t *)&c + 20, mem, 12);
	EXPECT_EQ(0, c.version & 1);
	EXPECT_EQ(0, c.flags & ~1);
	EXPECT_NE(0x5a5a5a5a, c.mul);
	EXPECT_NE(0, c.mul);
	EXPECT_EQ(0x5a, mem[12]);
	EXPECT_EQ(0x5a, mem[3 * 4096 - 21]);
	EXPECT_EQ(0x5a, mem[4096]);
}

/* A timer each ms, whose handler says EOI by the byte, and the pages come and go. */
GUEST(busy, 64,
	"mov $0x83e, %ecx\n\tmov $0xb, %eax\n\txor %edx, %edx\n\twrmsr\n\t"
	"mov $0x832, %ecx\n\tmov $0x20040, %eax\n\twrmsr\n\t"
	"mov $0x838, %ecx\n\tmov $1000000, %eax\n\twrmsr\n\tsti\n"
	"1:\thlt\n\tlock incq " S(GPA_DATA) "+0x20\n\tmov $0x3b, %ecx\n\trdmsr\n\twrmsr\n\tjmp 1b\n\t");

#define ROUNDS		30

GUEST(handle_busy, 64,
	"push %rax\n\tpush %rcx\n\tpush %rdx\n\t"
	"xor %eax, %eax\n\txor %edx, %edx\n\tmov $0x80b, %ecx\n\twrmsr\n\t"
	"pop %rdx\n\tpop %rcx\n\tpop %rax\n\tiretq\n\t");

TEST_F_TIMEOUT(pv, slot_gone, 120)
{
	uint8_t *mem = mem_alloc(4096, 4096);
	struct vcpu *v = &self->v[0];
	struct runner r;
	uint64_t at;
	int bad = 0, written = 0;

	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA_LONE, 4096, mem));
	vm_load(&self->vm, GPA_HANDLE, handle_busy, handle_busy_end - handle_busy);
	vm_gate(&self->vm, 0x40, GPA_HANDLE, 0, 0);
	ASSERT_EQ(-1, write_msr(v, CLOCK, GPA_LONE | 1));
	ASSERT_EQ(-1, write_msr(v, STEAL, (GPA_LONE + 64) | 1));
	ASSERT_EQ(-1, write_msr(v, EOI, (GPA_LONE + 128) | 1));
	START(v, busy);
	runner_start(&r, v, any_exit, NULL);
	for (int i = 0; i < ROUNDS && !r.exits; i++) {
		at = *VM_DATA(&self->vm, uint64_t, 0x20);
		ASSERT_TRUE(WAIT_FOR(*VM_DATA(&self->vm, uint64_t, 0x20) > at + 3 || r.exits, 20000));
		written += ((struct clock *)mem)->mul != 0;
		/* Without the slot, the page is its owner's alone. */
		ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA_LONE, 0, NULL));
		memset(mem, 0, 4096);
		at = *VM_DATA(&self->vm, uint64_t, 0x20);
		ASSERT_TRUE(WAIT_FOR(*VM_DATA(&self->vm, uint64_t, 0x20) > at + 3 || r.exits, 20000));
		for (int j = 0; j < 4096; j++)
			bad += mem[j] != 0;
		ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA_LONE, 4096, mem));
	}
	runner_stop(&r);
	EXPECT_EQ(0, r.error);
	EXPECT_EQ(0, r.exits);
	EXPECT_EQ(0, bad);
	EXPECT_EQ(ROUNDS, written);
}

TEST_HARNESS_MAIN
