// SPDX-License-Identifier: GPL-2.0
/*
 * Every kind of IPI in x2APIC mode, sent by a guest to forty vCPUs in three
 * clusters (SDM vol. 3A 11.6, 11.12.10), and how long a wake-up from HLT takes.
 */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/ioctl.h>
#include "kselftest_harness.h"
#include "host.h"

#define N		40
#define ALL_OF_THEM	((1ULL << N) - 1)
#define VECTOR		0x91
#define BOOT		0x9000		/* where a SIPI of vector 9 starts */
#define IRR		0x200

#define LOWEST		0x100u
#define NMI		0x400u
#define INIT		0x4500u
#define SIPI		0x4600u
#define LOGICAL		0x800u
#define SELF		0x40000u
#define ALL		0x80000u
#define OTHERS		0xc0000u

FIXTURE(ipi) {
	struct vm vm;
	struct vcpu v[N];
	struct cleave_state st;
};

/* Writes the ICR with RDX:RSI, again and again; an NMI to the sender itself is counted. */
#define NMIS		VM_DATA(&self->vm, uint64_t, 0x100)
GUEST(took_nmi, 64, "incq " S(GPA_DATA) "+0x100\n\tiretq\n\t");
GUEST(sender, 64, "1:\tmov $0x830, %ecx\n\tmov %esi, %eax\n\twrmsr\n\t" G_DONE "jmp 1b\n\t");

FIXTURE_SETUP(ipi)
{
	vm_create(&self->vm, RAM_SIZE, 0);
	vm_tables(&self->vm);
	GUEST_LOAD(&self->vm, GPA_CODE, sender);
	GUEST_LOAD(&self->vm, GPA_HANDLER + 0xc00, took_nmi);
	vm_gate(&self->vm, 2, GPA_HANDLER + 0xc00, 0, 0);
	for (int i = 0; i < N; i++) {
		vcpu_create(&self->vm, &self->v[i], i);
		vcpu_x2apic(&self->v[i]);
	}
}

FIXTURE_TEARDOWN(ipi)
{
	for (int i = 0; i < N; i++)
		vcpu_destroy(&self->v[i]);
	vm_destroy(&self->vm);
}

static void send(FIXTURE_DATA(ipi) *self, int from, uint32_t dest, uint32_t low)
{
	struct vcpu *v = &self->v[from];
	struct cleave_regs regs;

	vcpu_long(v, GPA_CODE);
	state_get(v, CLEAVE_MP, &self->st);
	self->st.mp.state = CLEAVE_MP_RUNNABLE;
	state_must_set(v, CLEAVE_MP, &self->st);
	regs_get(v, &regs);
	regs.rsi = low;
	regs.rdx = dest;
	regs_set(v, &regs);
	vcpu_run_done(v);
}

/* Who has the vector requested, as a mask; it is cleared. */
static uint64_t who(FIXTURE_DATA(ipi) *self, uint8_t vector)
{
	uint32_t *irr = &self->st.lapic.regs[(IRR + vector / 32 * 0x10) / 4], bit = 1u << vector % 32;
	uint64_t mask = 0;

	for (int i = 0; i < N; i++) {
		state_get(&self->v[i], CLEAVE_LAPIC, &self->st);
		if (!(*irr & bit))
			continue;
		mask |= 1ULL << i;
		*irr &= ~bit;
		state_must_set(&self->v[i], CLEAVE_LAPIC, &self->st);
	}
	return mask;
}

/* Who has an NMI pending; it is cleared. */
static uint64_t who_nmi(FIXTURE_DATA(ipi) *self)
{
	uint64_t mask = 0;

	for (int i = 0; i < N; i++) {
		state_get(&self->v[i], CLEAVE_EVENTS, &self->st);
		if (!self->st.events.nmi_pending)
			continue;
		mask |= 1ULL << i;
		self->st.events.nmi_pending = 0;
		state_must_set(&self->v[i], CLEAVE_EVENTS, &self->st);
	}
	return mask;
}

static uint64_t fixed(FIXTURE_DATA(ipi) *self, int from, uint32_t dest, uint32_t how)
{
	send(self, from, dest, how | VECTOR);
	return who(self, VECTOR);
}

static uint64_t nmi(FIXTURE_DATA(ipi) *self, int from, uint32_t dest, uint32_t how)
{
	uint64_t before = *NMIS;

	send(self, from, dest, how | NMI);
	/* Whoever sends one to itself has it before it is done. */
	return who_nmi(self) | (*NMIS - before) << from;
}

TEST_F(ipi, physical)
{
	static const int to[] = { 0, 1, 15, 16, 17, 31, 32, N - 1 };

	for (int i = 0; i < ARRAY_SIZE(to); i++) {
		EXPECT_EQ(1ULL << to[i], fixed(self, 3, to[i], 0));
		EXPECT_EQ(1ULL << to[i], nmi(self, 17, to[i], 0));
	}
	EXPECT_EQ(0, fixed(self, 0, N, 0));
	/* No broadcast in this mode, though it is one in the other. */
	EXPECT_EQ(0, fixed(self, 0, 0xff, 0));
	EXPECT_EQ(0, fixed(self, 0, 0x10003, 0));
}

TEST_F(ipi, broadcast)
{
	EXPECT_EQ(ALL_OF_THEM, fixed(self, 5, ~0u, 0));
	EXPECT_EQ(ALL_OF_THEM, fixed(self, 35, ~0u, LOGICAL));
	EXPECT_EQ(ALL_OF_THEM, nmi(self, 5, ~0u, 0));
}

TEST_F(ipi, shorthands)
{
	static const int from[] = { 0, 16, N - 1 };

	for (int i = 0; i < ARRAY_SIZE(from); i++) {
		uint64_t me = 1ULL << from[i];

		/* Whatever the destination field says. */
		EXPECT_EQ(me, fixed(self, from[i], 7, SELF));
		EXPECT_EQ(ALL_OF_THEM, fixed(self, from[i], 7, ALL));
		EXPECT_EQ(ALL_OF_THEM ^ me, fixed(self, from[i], 7, OTHERS));
		EXPECT_EQ(ALL_OF_THEM ^ me, nmi(self, from[i], 7, OTHERS));
		/* Table 11-3: to the sender only what is fixed. */
		EXPECT_EQ(0, nmi(self, from[i], 7, SELF));
		EXPECT_EQ(0, nmi(self, from[i], 7, ALL));
	}
}

/* The cluster is the id without its low four bits; these say which bit of the mask. */
TEST_F(ipi, logical_cluster)
{
	EXPECT_EQ(1ULL << 0, fixed(self, 1, 0x00001, LOGICAL));
	EXPECT_EQ(0xffffULL, fixed(self, 1, 0x0ffff, LOGICAL));
	EXPECT_EQ(0xa5a5ULL << 16, fixed(self, 20, 0x1a5a5, LOGICAL));
	EXPECT_EQ(0x81ULL << 32, fixed(self, 20, 0x20081, LOGICAL));
	EXPECT_EQ(0xffULL << 32, fixed(self, 20, 0x2ffff, LOGICAL));
	EXPECT_EQ(0, fixed(self, 0, 0x10000, LOGICAL));
	EXPECT_EQ(0, fixed(self, 0, 0x3ffff, LOGICAL));
	EXPECT_EQ(0x8001ULL << 16, nmi(self, 0, 0x18001, LOGICAL));
}

/* To the one of them whose task priority is the lowest, wherever it is in the mask. */
TEST_F(ipi, lowest_priority)
{
	static const int best[] = { 16, 23, 31 };

	for (int i = 0; i < ARRAY_SIZE(best); i++) {
		for (int j = 16; j < 32; j++)
			ASSERT_EQ(0, msr_set(&self->v[j], 0x808, j == best[i] ? 0x20 : 0x80));
		EXPECT_EQ(1ULL << best[i], fixed(self, 2, 0x1ffff, LOGICAL | LOWEST));
		/* Of those that the mask names. */
		EXPECT_EQ(1ULL << 18, fixed(self, 2, 0x10004, LOGICAL | LOWEST));
	}
	EXPECT_EQ(0, fixed(self, 2, 0x3ffff, LOGICAL | LOWEST));
	/* Broadcast, too: exactly one takes it. */
	EXPECT_EQ(1, __builtin_popcountll(fixed(self, 2, ~0u, LOWEST)));
	EXPECT_EQ(1, __builtin_popcountll(fixed(self, 2, 0, OTHERS | LOWEST)));
}

GUEST(started, 16, "mov %cs, %ax\n\tmovzwl %ax, %eax\n\t" G_DONE "1:\thlt\n\tjmp 1b\n\t");

/* It waits in CLEAVE_RUN, and nothing has come. */
static bool waits(struct vcpu *v)
{
	struct cleave_state st;
	struct runner r = { 0 };

	runner_start(&r, v, NULL, NULL);
	nap_us(20000);
	runner_stop(&r);
	state_get(v, CLEAVE_MP, &st);
	return !r.exits && !r.error && st.mp.state == CLEAVE_MP_WAIT_INIT;
}

/* INIT and SIPI to a cluster, and to all others at once, as a kernel may start its CPUs. */
TEST_F(ipi, init_and_sipi)
{
	GUEST_LOAD(&self->vm, BOOT, started);
	send(self, 0, 0x1ffff, LOGICAL | INIT);
	send(self, 0, 0x1ffff, LOGICAL | SIPI | BOOT >> 12);
	for (int i = 16; i < 32; i++)
		EXPECT_EQ(BOOT >> 4, vcpu_run_done(&self->v[i]));
	EXPECT_TRUE(waits(&self->v[1]));
	EXPECT_TRUE(waits(&self->v[15]));
	EXPECT_TRUE(waits(&self->v[32]));
	/* Table 11-3 has neither to the sender. */
	send(self, 0, 0, ALL | INIT);
	send(self, 0, 0, SELF | INIT);
	EXPECT_TRUE(waits(&self->v[1]));
	send(self, 0, 0, OTHERS | INIT);
	send(self, 0, 0, OTHERS | SIPI | BOOT >> 12);
	for (int i = 1; i < N; i++)
		EXPECT_EQ(BOOT >> 4, vcpu_run_done(&self->v[i]));
	/* Who sent them goes on; the others' APICs are off, which keeps no NMI away (11.4.7.2). */
	EXPECT_EQ(0, fixed(self, 0, 1, 0));
	EXPECT_EQ(1ULL << 1, nmi(self, 0, 1, 0));
}

/* ---- wake-ups ---------------------------------------------------------------------- */

#define ROUNDS		2000

/* Each halts until the other's interrupt, and sends one; RBX: to whom. Counts at GPA_DATA + 8 * RBX. */
GUEST(ping, 64,
	"mov $0x830, %ecx\n\tmov %ebx, %edx\n\ttest %edi, %edi\n\tjz 2f\n"
	"1:\tmov $0x40, %eax\n\twrmsr\n"
	"2:\tsti\n\thlt\n\tcli\n\tincq " S(GPA_DATA) "(, %rbx, 8)\n\tdec %esi\n\tjnz 1b\n\t"
	/* The last one is for who waits still. */
	"test %edi, %edi\n\tjnz 3f\n\tmov $0x40, %eax\n\twrmsr\n3:\t" G_DONE);
GUEST(eoi, 64,
	"push %rax\n\tpush %rcx\n\tpush %rdx\n\tmov $0x80b, %ecx\n\txor %eax, %eax\n\txor %edx, %edx\n\t"
	"wrmsr\n\tpop %rdx\n\tpop %rcx\n\tpop %rax\n\tiretq\n\t");

static void make_player(struct vcpu *v, bool first)
{
	struct cleave_regs regs;
	struct cleave_state st;

	vcpu_long(v, GPA_CODE);
	state_get(v, CLEAVE_MP, &st);
	st.mp.state = CLEAVE_MP_RUNNABLE;
	state_must_set(v, CLEAVE_MP, &st);
	regs_get(v, &regs);
	regs.rbx = first;
	regs.rdi = first;
	regs.rsi = ROUNDS;
	regs_set(v, &regs);
}

static int until_done(struct vcpu *v, void *arg)
{
	return v->run->exit == CLEAVE_EXIT_IO && v->run->io.port == PORT_DONE;
}

/* ns of one message: halt, IPI, wake-up, interrupt; on two CPUs or on one. */
static uint64_t ping_pong(FIXTURE_DATA(ipi) *self, bool spread)
{
	struct runner r = { 0 };
	uint64_t at;

	memset(self->vm.ram + GPA_DATA, 0, 16);
	make_player(&self->v[0], true);
	make_player(&self->v[1], false);
	pin_to(spread ? 1 : 0);
	runner_start(&r, &self->v[1], until_done, NULL);
	pin_to(0);
	at = now_ns();
	vcpu_run_done(&self->v[0]);
	runner_wait(&r);
	at = now_ns() - at;
	return at / (2 * ROUNDS);
}

/* None is lost, on two CPUs, where a halted vCPU looks for a while, and on one, where it must not. */
TEST_F(ipi, wake_ups)
{
	uint64_t two, one;

	GUEST_LOAD(&self->vm, GPA_CODE, ping);
	GUEST_LOAD(&self->vm, GPA_HANDLER + 0x800, eoi);
	vm_gate(&self->vm, 0x40, GPA_HANDLER + 0x800, 0, 0);
	two = ping_pong(self, cpu_online(1));
	EXPECT_EQ(ROUNDS, *VM_DATA(&self->vm, uint64_t, 0));
	EXPECT_EQ(ROUNDS, *VM_DATA(&self->vm, uint64_t, 8));
	one = ping_pong(self, false);
	EXPECT_EQ(ROUNDS, *VM_DATA(&self->vm, uint64_t, 0));
	EXPECT_EQ(ROUNDS, *VM_DATA(&self->vm, uint64_t, 8));
	TH_LOG("a message and its wake-up: %lu ns on two CPUs, %lu ns on one", two, one);
}

TEST_HARNESS_MAIN
