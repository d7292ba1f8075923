// SPDX-License-Identifier: GPL-2.0
/* The local APIC by its page: CLEAVE_LAPIC_ACCESS, as user space does it for a guest in xAPIC mode. */
#define _GNU_SOURCE
#include <sys/ioctl.h>
#include "kselftest_harness.h"
#include "host.h"

#define PAGE_GPA	0xfee00000u
#define ID		0x20
#define VERSION		0x30
#define TPR		0x80
#define APR		0x90
#define PPR		0xa0
#define EOI		0xb0
#define RRR		0xc0
#define LDR		0xd0
#define DFR		0xe0
#define SVR		0xf0
#define ISR		0x100
#define TMR		0x180
#define IRR		0x200
#define ESR		0x280
#define ICR		0x300
#define ICR2		0x310
#define LVTT		0x320
#define LVT_THERMAL	0x330
#define LVT_PERF	0x340
#define LVT0		0x350
#define LVT1		0x360
#define LVT_ERROR	0x370
#define TMICT		0x380
#define TMCCT		0x390
#define TDCR		0x3e0
#define SELF_IPI	0x3f0

#define MASKED		0x10000u
#define ENABLED		0x1ffu
#define SELF		0x40000u
#define ALL		0x80000u
#define OTHERS		0xc0000u
#define LOGICAL		0x800u
#define LOWEST		0x100u
#define WORD(v)		((v) / 32 * 0x10)
#define BIT_OF(v)	(1u << (v) % 32)

FIXTURE(xapic) {
	struct vm vm;
	struct vcpu v;
};

FIXTURE_SETUP(xapic)
{
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
}

FIXTURE_TEARDOWN(xapic)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

static uint32_t get(struct vcpu *v, uint32_t offset)
{
	uint32_t val;

	MUST(lapic_read(v, offset, &val));
	return val;
}

static void put(struct vcpu *v, uint32_t offset, uint32_t val)
{
	MUST(lapic_write(v, offset, val));
}

static bool requested(struct vcpu *v, uint8_t vector)
{
	return get(v, IRR + WORD(vector)) & BIT_OF(vector);
}

static bool in_service(struct vcpu *v, uint8_t vector)
{
	return get(v, ISR + WORD(vector)) & BIT_OF(vector);
}

/*
 * Guest code reaches the page by EBX = its address and these two; each is two
 * bytes, and xapic_run() carries it out.
 */
#define STORE	"mov %eax, (%rbx)\n\t"
#define LOAD	"mov (%rbx), %eax\n\t"
#define AT(off)	"mov $0xfee00000 + " S(off) ", %ebx\n\t"

/* Runs the guest until it does what is no access to the page. */
static void xapic_run(struct vcpu *v)
{
	struct cleave_run *run = v->run;
	uint8_t *insn;
	uint32_t val;

	for (;;) {
		MUST(vcpu_run(v) ? -1 : 0);
		if (run->exit != CLEAVE_EXIT_MMIO || (run->mmio.gpa & ~0xfffull) != PAGE_GPA)
			return;
		insn = v->vm->ram + run->regs.rip;
		if (insn[1] != 0x03 || (insn[0] != 0x89 && insn[0] != 0x8b))
			DIE("no access of ours at %#llx", run->regs.rip);
		if ((insn[0] == 0x89) != !!(run->mmio.flags & CLEAVE_ACCESS_WRITE))
			DIE("flags %#x at %#llx", run->mmio.flags, run->regs.rip);
		if (insn[0] == 0x89) {
			put(v, run->mmio.gpa & 0xfff, run->regs.rax);
		} else {
			val = get(v, run->mmio.gpa & 0xfff);
			run->regs.rax = val;
		}
		run->regs.rip += 2;
		run->dirty = CLEAVE_REGS;
	}
}

static uint32_t xapic_done(struct vcpu *v)
{
	xapic_run(v);
	if (v->run->exit != CLEAVE_EXIT_IO || v->run->io.port != PORT_DONE) {
		vcpu_dump(v);
		DIE("expected OUT to port %#x", PORT_DONE);
	}
	return v->run->io.data;
}

TEST_F(xapic, reset_values)
{
	static const struct {
		uint32_t offset, val;
	} reset[] = {
		{ ID, 0 }, { TPR, 0 }, { APR, 0 }, { PPR, 0 }, { RRR, 0 }, { LDR, 0 },
		{ DFR, ~0u }, { SVR, 0xff }, { ESR, 0 }, { ICR, 0 }, { ICR2, 0 },
		{ LVTT, MASKED }, { LVT_THERMAL, MASKED }, { LVT_PERF, MASKED },
		{ LVT0, MASKED }, { LVT1, MASKED }, { LVT_ERROR, MASKED },
		{ TMICT, 0 }, { TMCCT, 0 }, { TDCR, 0 },
	};
	struct vcpu v7;

	for (int i = 0; i < sizeof(reset) / sizeof(reset[0]); i++) {
		EXPECT_EQ(reset[i].val, get(&self->v, reset[i].offset)) {
			TH_LOG("register %#x", reset[i].offset);
		}
	}
	for (uint32_t i = 0; i < 8; i++) {
		EXPECT_EQ(0, get(&self->v, ISR + i * 0x10));
		EXPECT_EQ(0, get(&self->v, TMR + i * 0x10));
		EXPECT_EQ(0, get(&self->v, IRR + i * 0x10));
	}
	/* An integrated APIC with six entries. */
	EXPECT_EQ(0x10, get(&self->v, VERSION) & 0xf0);
	EXPECT_EQ(5, get(&self->v, VERSION) >> 16 & 0xff);
	vcpu_create(&self->vm, &v7, 7);
	EXPECT_EQ(7u << 24, get(&v7, ID));
	vcpu_destroy(&v7);
}

/* What stays of all ones and of zeros; the others do not change at all. */
TEST_F(xapic, writable_bits)
{
	static const struct {
		uint32_t offset, ones, zeros;
	} bits[] = {
		{ TPR, 0xff, 0 }, { LDR, 0xff000000, 0 }, { DFR, ~0u, 0x0fffffff },
		{ ICR2, 0xff000000, 0 }, { LVT_THERMAL, 0x107ff, 0 },
		{ LVT_PERF, 0x107ff, 0 }, { LVT0, 0x1a7ff, 0 }, { LVT1, 0x1a7ff, 0 },
		{ LVT_ERROR, 0x100ff, 0 }, { TMICT, ~0u, 0 }, { TDCR, 0xb, 0 },
	};
	static const uint32_t fixed[] = { ID, VERSION, APR, PPR, RRR, TMCCT };
	uint32_t before;

	put(&self->v, SVR, ENABLED);
	for (int i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
		put(&self->v, bits[i].offset, ~0u);
		EXPECT_EQ(bits[i].ones, get(&self->v, bits[i].offset)) {
			TH_LOG("register %#x", bits[i].offset);
		}
		put(&self->v, bits[i].offset, 0);
		EXPECT_EQ(bits[i].zeros, get(&self->v, bits[i].offset));
	}
	for (int i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
		before = get(&self->v, fixed[i]);
		put(&self->v, fixed[i], ~before);
		EXPECT_EQ(before, get(&self->v, fixed[i]));
	}
	for (uint32_t off = ISR; off < ESR; off += 0x10) {
		put(&self->v, off, ~0u);
		EXPECT_EQ(0, get(&self->v, off));
	}
	/* The timer's modes: one-shot, periodic, and, if offered, the deadline. */
	put(&self->v, LVTT, 0x20000 | MASKED | 0x40);
	EXPECT_EQ(0x20000 | MASKED | 0x40, get(&self->v, LVTT));
	put(&self->v, LVTT, 0x40000 | MASKED | 0x40);
	EXPECT_EQ((cpuid_offered(1, 2, 24) ? 0x40000 : 0) | MASKED | 0x40, get(&self->v, LVTT));
}

TEST_F(xapic, bad_arguments)
{
	struct cleave_lapic_access good = { .offset = TPR }, a;

	for (int i = 0; i < 16; i++) {
		a = good;
		a.offset = TPR + i;
		EXPECT_EQ(i ? -EINVAL : 0, xioctl(self->v.fd, CLEAVE_LAPIC_ACCESS, &a));
	}
	a = good;
	a.offset = 0x1000;
	EXPECT_EQ(-EINVAL, xioctl(self->v.fd, CLEAVE_LAPIC_ACCESS, &a));
	a.offset = 0x80000080;
	EXPECT_EQ(-EINVAL, xioctl(self->v.fd, CLEAVE_LAPIC_ACCESS, &a));
	a = good;
	a.write = 2;
	EXPECT_EQ(-EINVAL, xioctl(self->v.fd, CLEAVE_LAPIC_ACCESS, &a));
	a = good;
	a.reserved = 1;
	EXPECT_EQ(-EINVAL, xioctl(self->v.fd, CLEAVE_LAPIC_ACCESS, &a));
}

/* What is not there reads as 0 and is an error that ESR has after it was written. */
TEST_F(xapic, missing_registers)
{
	static const uint32_t offset[] = { 0, 0x10, 0x40, 0x2f0, 0x3f0, 0x400, 0x500, 0xff0 };

	put(&self->v, SVR, ENABLED);
	for (int i = 0; i < sizeof(offset) / sizeof(offset[0]); i++) {
		EXPECT_EQ(0, get(&self->v, offset[i]));
		EXPECT_EQ(0, get(&self->v, ESR));
		put(&self->v, ESR, 0);
		EXPECT_EQ(0x80, get(&self->v, ESR));
		put(&self->v, ESR, 0);
		EXPECT_EQ(0, get(&self->v, ESR));
		put(&self->v, offset[i], ~0u);
		put(&self->v, ESR, 0);
		EXPECT_EQ(0x80, get(&self->v, ESR));
		put(&self->v, ESR, 0);
	}
}

TEST_F(xapic, no_page_in_other_modes)
{
	struct cleave_state st;
	uint32_t val;

	vcpu_x2apic(&self->v);
	EXPECT_EQ(-ENXIO, lapic_read(&self->v, ID, &val));
	EXPECT_EQ(-ENXIO, lapic_write(&self->v, EOI, 0));
	state_get(&self->v, CLEAVE_SREGS, &st);
	st.sregs.apic_base &= ~(uint64_t)(APIC_BASE_ENABLE | APIC_BASE_X2APIC);
	state_must_set(&self->v, CLEAVE_SREGS, &st);
	EXPECT_EQ(-ENXIO, lapic_read(&self->v, ID, &val));
	/* Enabled again it is as after reset. */
	st.sregs.apic_base |= APIC_BASE_ENABLE;
	state_must_set(&self->v, CLEAVE_SREGS, &st);
	EXPECT_EQ(0xff, get(&self->v, SVR));
}

TEST_F(xapic, software_disabled)
{
	/* LVT entries stay masked, interrupts are not taken. */
	put(&self->v, LVT0, 0x30);
	EXPECT_EQ(MASKED | 0x30, get(&self->v, LVT0));
	put(&self->v, ICR, SELF | 0x51);
	EXPECT_FALSE(requested(&self->v, 0x51));
	put(&self->v, SVR, ENABLED);
	put(&self->v, LVT0, 0x30);
	EXPECT_EQ(0x30, get(&self->v, LVT0));
	put(&self->v, ICR, SELF | 0x51);
	EXPECT_TRUE(requested(&self->v, 0x51));
	put(&self->v, SVR, 0xff);
	EXPECT_EQ(MASKED | 0x30, get(&self->v, LVT0));
	/* What was requested stays so. */
	EXPECT_TRUE(requested(&self->v, 0x51));
}

/* The handler of a test: notes the APIC's state at its begin and behind its EOI. */
GUEST(take_one, 64,
	"sti\n1:\thlt\n\tcmpl $0, " S(GPA_DATA) "\n\tje 1b\n\tcli\n\t" G_DONE);
GUEST(noting_handler, 64,
	"push %rax\n\tpush %rbx\n\t"
	AT(ISR + 0x20) LOAD "mov %eax, " S(GPA_DATA) "+4\n\t"
	AT(IRR + 0x20) LOAD "mov %eax, " S(GPA_DATA) "+8\n\t"
	AT(PPR) LOAD "mov %eax, " S(GPA_DATA) "+12\n\t"
	AT(EOI) "xor %eax, %eax\n\t" STORE
	AT(ISR + 0x20) LOAD "mov %eax, " S(GPA_DATA) "+16\n\t"
	AT(PPR) LOAD "mov %eax, " S(GPA_DATA) "+20\n\t"
	"incl " S(GPA_DATA) "\n\tpop %rbx\n\tpop %rax\n\tiretq\n\t");

#define NOTE(i)	(*VM_DATA(&self->vm, uint32_t, 4 * (i)))

static void prepare(FIXTURE_DATA(xapic) *self)
{
	GUEST_LONG(&self->v, take_one);
	GUEST_LOAD(&self->vm, 0x20000, noting_handler);
	vm_gate(&self->vm, 0x51, 0x20000, 0, 0);
	put(&self->v, SVR, ENABLED);
}

TEST_F(xapic, self_ipi)
{
	prepare(self);
	put(&self->v, ICR, SELF | 0x51);
	EXPECT_TRUE(requested(&self->v, 0x51));
	EXPECT_FALSE(in_service(&self->v, 0x51));
	xapic_done(&self->v);
	EXPECT_EQ(1, NOTE(0));
	EXPECT_EQ(BIT_OF(0x51), NOTE(1));	/* in service */
	EXPECT_EQ(0, NOTE(2));			/* requested no more */
	EXPECT_EQ(0x50, NOTE(3));
	EXPECT_EQ(0, NOTE(4));			/* after EOI */
	EXPECT_EQ(0, NOTE(5));
	EXPECT_EQ(SELF | 0x51, get(&self->v, ICR));
}

/* From the guest's own code, by id. */
GUEST(send_to_self, 64,
	AT(SVR) "mov $0x1ff, %eax\n\t" STORE
	AT(ICR2) "xor %eax, %eax\n\t" STORE
	"sti\n\t" AT(ICR) "mov $0x4051, %eax\n\t" STORE
	"1:\tpause\n\tcmpl $0, " S(GPA_DATA) "\n\tje 1b\n\tcli\n\t" G_DONE);

TEST_F(xapic, guest_sends)
{
	GUEST_LONG(&self->v, send_to_self);
	GUEST_LOAD(&self->vm, 0x20000, noting_handler);
	vm_gate(&self->vm, 0x51, 0x20000, 0, 0);
	xapic_done(&self->v);
	EXPECT_EQ(1, NOTE(0));
	EXPECT_EQ(BIT_OF(0x51), NOTE(1));
}

TEST_F(xapic, eoi_by_access)
{
	struct cleave_state st;

	prepare(self);
	state_get(&self->v, CLEAVE_LAPIC, &st);
	st.lapic.regs[(ISR + WORD(0x51)) / 4] |= BIT_OF(0x51);
	st.lapic.regs[(ISR + WORD(0xa2)) / 4] |= BIT_OF(0xa2);
	state_must_set(&self->v, CLEAVE_LAPIC, &st);
	EXPECT_EQ(0xa0, get(&self->v, PPR));
	put(&self->v, EOI, 0);
	EXPECT_FALSE(in_service(&self->v, 0xa2));
	EXPECT_TRUE(in_service(&self->v, 0x51));
	EXPECT_EQ(0x50, get(&self->v, PPR));
	put(&self->v, EOI, 0);
	EXPECT_EQ(0, get(&self->v, PPR));
	put(&self->v, EOI, 0);		/* of nothing */
	EXPECT_EQ(0, get(&self->v, PPR));
}

/* A level-triggered one: user space hears of its EOI. */
TEST_F(xapic, eoi_of_a_level)
{
	prepare(self);
	ASSERT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(0), MSI_LEVEL | 0x51));
	EXPECT_TRUE(requested(&self->v, 0x51));
	EXPECT_EQ(BIT_OF(0x51), get(&self->v, TMR + WORD(0x51)));
	xapic_run(&self->v);
	EXPECT_EQ(CLEAVE_EXIT_EOI, self->v.run->exit);
	EXPECT_EQ(0x51, self->v.run->eoi.vector);
	xapic_done(&self->v);
	/* An edge-triggered one of the same vector: it does not. */
	NOTE(0) = 0;
	put(&self->v, ICR, SELF | 0x51);
	EXPECT_EQ(0, get(&self->v, TMR + WORD(0x51)));
	rip_set(&self->v, GPA_CODE);
	xapic_done(&self->v);
	EXPECT_EQ(1, NOTE(0));
}

/* Which came when: each handler adds its vector to a list. */
GUEST(list_handler, 64,
	"push %rax\n\tpush %rbx\n\tpush %rcx\n\t"
	"mov " S(GPA_DATA) ", %ecx\n\tmov 24(%rsp), %rax\n\t"
	"mov %eax, " S(GPA_DATA) "+4(,%rcx,4)\n\tincl " S(GPA_DATA) "\n\t"
	AT(EOI) "xor %eax, %eax\n\t" STORE
	"pop %rcx\n\tpop %rbx\n\tpop %rax\n\tadd $8, %rsp\n\tiretq\n\t");
GUEST(wait_for_rcx, 64,
	"sti\n1:\tpause\n\tcmp %ecx, " S(GPA_DATA) "\n\tjb 1b\n\tcli\n\t" G_DONE);

/* push $vector; jmp to the handler */
static void list_vector(struct vm *vm, uint8_t vector)
{
	uint32_t gpa = 0x21000 + vector * 16, rel = 0x20000 - (gpa + 10);
	uint8_t *p = vm->ram + gpa;

	p[0] = 0x68;
	p[1] = vector;
	p[2] = p[3] = p[4] = 0;
	p[5] = 0xe9;
	memcpy(p + 6, &rel, 4);
	vm_gate(vm, vector, gpa, 0, 0);
}

static void prepare_list(FIXTURE_DATA(xapic) *self, uint32_t count)
{
	struct cleave_regs regs;

	GUEST_LONG(&self->v, wait_for_rcx);
	GUEST_LOAD(&self->vm, 0x20000, list_handler);
	for (int i = 32; i < 256; i++)
		list_vector(&self->vm, i);
	put(&self->v, SVR, ENABLED);
	regs_get(&self->v, &regs);
	regs.rcx = count;
	regs_set(&self->v, &regs);
}

TEST_F(xapic, highest_first)
{
	static const uint8_t sent[] = { 0x61, 0xf0, 0x31, 0x9f, 0x62, 0x20 };
	static const uint8_t taken[] = { 0xf0, 0x9f, 0x62, 0x61, 0x31, 0x20 };

	prepare_list(self, 6);
	for (int i = 0; i < 6; i++)
		put(&self->v, ICR, SELF | sent[i]);
	xapic_done(&self->v);
	for (int i = 0; i < 6; i++)
		EXPECT_EQ(taken[i], NOTE(1 + i));
}

TEST_F(xapic, every_vector)
{
	prepare_list(self, 224);
	for (int i = 32; i < 256; i++)
		put(&self->v, ICR, SELF | i);
	xapic_done(&self->v);
	EXPECT_EQ(224, NOTE(0));
	for (int i = 0; i < 224; i++)
		EXPECT_EQ(255 - i, NOTE(1 + i));
}

/* TPR holds back what is not above it, and lets go when lowered. */
TEST_F(xapic, task_priority)
{
	struct cleave_state st;

	prepare_list(self, 1);
	put(&self->v, TPR, 0x65);
	EXPECT_EQ(0x65, get(&self->v, PPR));
	state_get(&self->v, CLEAVE_SREGS, &st);
	EXPECT_EQ(6, st.sregs.cr8);
	put(&self->v, ICR, SELF | 0x6f);
	put(&self->v, ICR, SELF | 0x71);
	xapic_done(&self->v);
	EXPECT_EQ(1, NOTE(0));
	EXPECT_EQ(0x71, NOTE(1));
	EXPECT_TRUE(requested(&self->v, 0x6f));
	put(&self->v, TPR, 0x5f);
	state_get(&self->v, CLEAVE_REGS, &st);
	st.regs.rip = GPA_CODE;
	st.regs.rcx = 2;
	regs_set(&self->v, &st.regs);
	xapic_done(&self->v);
	EXPECT_EQ(0x6f, NOTE(2));
	/* By CR8, too. */
	put(&self->v, TPR, 0xf0);
	put(&self->v, ICR, SELF | 0xef);
	state_get(&self->v, CLEAVE_REGS | CLEAVE_SREGS, &st);
	st.regs.rip = GPA_CODE;
	st.regs.rcx = 3;
	st.sregs.cr8 = 0xd;
	state_must_set(&self->v, CLEAVE_REGS | CLEAVE_SREGS, &st);
	EXPECT_EQ(0xd0, get(&self->v, TPR));
	xapic_done(&self->v);
	EXPECT_EQ(0xef, NOTE(3));
}

/* The timer by the page, interrupting and then asleep. */
GUEST(page_timer, 64,
	AT(SVR) "mov $0x1ff, %eax\n\t" STORE
	AT(TDCR) "mov $0xb, %eax\n\t" STORE
	AT(LVTT) "mov $0x51, %eax\n\t" STORE
	AT(TMICT) "mov $5000000, %eax\n\t" STORE
	"sti\n1:\thlt\n\tcmpl $0, " S(GPA_DATA) "\n\tje 1b\n\tcli\n\t"
	AT(TMCCT) LOAD "mov %eax, %edi\n\t" G_DONE
	"movl $0, " S(GPA_DATA) "\n\t"
	AT(LVTT) "mov $0x20051, %eax\n\t" STORE
	AT(TMICT) "mov $2000000, %eax\n\t" STORE
	"sti\n1:\thlt\n\tcmpl $10, " S(GPA_DATA) "\n\tjb 1b\n\tcli\n\t"
	AT(TMICT) "xor %eax, %eax\n\t" STORE G_DONE);

TEST_F(xapic, timer)
{
	uint64_t at;

	GUEST_LONG(&self->v, page_timer);
	GUEST_LOAD(&self->vm, 0x20000, noting_handler);
	vm_gate(&self->vm, 0x51, 0x20000, 0, 0);
	at = now_ns();
	xapic_done(&self->v);
	EXPECT_GE(now_ns() - at, 5 * MS);
	EXPECT_EQ(1, NOTE(0));
	EXPECT_EQ(0, self->v.run->regs.rdi);
	at = now_ns();
	xapic_done(&self->v);
	EXPECT_GE(now_ns() - at, 20 * MS);
	EXPECT_GE(NOTE(0), 10);
}

/* Destinations of the ICR, with three others. */
FIXTURE(many) {
	struct vm vm;
	struct vcpu v[4];
};

FIXTURE_SETUP(many)
{
	vm_create(&self->vm, RAM_SIZE, 0);
	for (int i = 0; i < 4; i++) {
		vcpu_create(&self->vm, &self->v[i], i);
		put(&self->v[i], SVR, ENABLED);
	}
}

FIXTURE_TEARDOWN(many)
{
	for (int i = 0; i < 4; i++)
		vcpu_destroy(&self->v[i]);
	vm_destroy(&self->vm);
}

/* Who has the vector requested, as a mask; it is cleared. */
static uint32_t who(struct vcpu *v, uint8_t vector)
{
	struct cleave_state st;
	uint32_t mask = 0;

	for (int i = 0; i < 4; i++) {
		if (!requested(&v[i], vector))
			continue;
		mask |= 1 << i;
		state_get(&v[i], CLEAVE_LAPIC, &st);
		st.lapic.regs[(IRR + WORD(vector)) / 4] &= ~BIT_OF(vector);
		state_must_set(&v[i], CLEAVE_LAPIC, &st);
	}
	return mask;
}

static uint32_t send(FIXTURE_DATA(many) *self, int from, uint32_t dest, uint32_t low)
{
	put(&self->v[from], ICR2, dest << 24);
	put(&self->v[from], ICR, low);
	return who(self->v, low);
}

TEST_F(many, physical)
{
	for (int from = 0; from < 4; from++) {
		for (int to = 0; to < 4; to++)
			EXPECT_EQ(1u << to, send(self, from, to, 0x91));
		EXPECT_EQ(0, send(self, from, 4, 0x91));
		EXPECT_EQ(0, send(self, from, 0xfe, 0x91));
		EXPECT_EQ(0xf, send(self, from, 0xff, 0x91));
	}
}

TEST_F(many, shorthands)
{
	for (int from = 0; from < 4; from++) {
		EXPECT_EQ(1u << from, send(self, from, 0, SELF | 0x92));
		EXPECT_EQ(0xf, send(self, from, 0, ALL | 0x92));
		EXPECT_EQ(0xfu ^ 1u << from, send(self, from, 0, OTHERS | 0x92));
	}
}

TEST_F(many, logical_flat)
{
	for (uint32_t i = 0; i < 4; i++)
		put(&self->v[i], LDR, 1u << (24 + i));
	for (uint32_t mask = 0; mask < 16; mask++)
		EXPECT_EQ(mask, send(self, 1, mask, LOGICAL | 0x93));
	EXPECT_EQ(0, send(self, 1, 0xf0, LOGICAL | 0x93));
	EXPECT_EQ(0xf, send(self, 1, 0xff, LOGICAL | 0x93));
	/* Lowest priority: to one of them, the least busy. */
	for (int i = 0; i < 4; i++)
		put(&self->v[i], TPR, i == 2 ? 0x20 : 0x80);
	EXPECT_EQ(1 << 2, send(self, 0, 0xf, LOGICAL | LOWEST | 0x93));
	EXPECT_EQ(1 << 3, send(self, 0, 0x8, LOGICAL | LOWEST | 0x93));
}

TEST_F(many, logical_cluster)
{
	/* 0 and 1 in cluster 1, 2 and 3 in cluster 2. */
	for (uint32_t i = 0; i < 4; i++) {
		put(&self->v[i], DFR, 0);
		put(&self->v[i], LDR, (i / 2 + 1) << 28 | 1u << (24 + i % 2));
	}
	EXPECT_EQ(0x3, send(self, 0, 0x13, LOGICAL | 0x94));
	EXPECT_EQ(0x2, send(self, 0, 0x12, LOGICAL | 0x94));
	EXPECT_EQ(0xc, send(self, 0, 0x2f, LOGICAL | 0x94));
	EXPECT_EQ(0x4, send(self, 0, 0x21, LOGICAL | 0x94));
	EXPECT_EQ(0, send(self, 0, 0x33, LOGICAL | 0x94));
	EXPECT_EQ(0xf, send(self, 0, 0xff, LOGICAL | 0x94));
}

GUEST(started, 16,
	"mov %cs, %ax\n\tmovzwl %ax, %eax\n\t" G_DONE);

/* INIT and SIPI by the page wake the others in real mode. */
TEST_F(many, init_and_sipi)
{
	struct cleave_state st;

	GUEST_LOAD(&self->vm, 0x9000, started);
	for (int i = 1; i < 4; i++) {
		put(&self->v[0], ICR2, i << 24);
		put(&self->v[0], ICR, 0x4609);		/* too early */
		put(&self->v[0], ICR, 0x4500);
		put(&self->v[0], ICR, 0x4609);
		EXPECT_EQ(0x900, vcpu_run_done(&self->v[i]));
		state_get(&self->v[i], CLEAVE_MP | CLEAVE_SREGS, &st);
		EXPECT_EQ(CLEAVE_MP_RUNNABLE, st.mp.state);
		EXPECT_EQ(9, st.mp.sipi_vector);
		EXPECT_EQ(0x9000, st.sregs.cs.base);
		/* The de-assertion of INIT is none. */
		put(&self->v[0], ICR, 0x8500);
		rip_set(&self->v[i], 0);
		EXPECT_EQ(0x900, vcpu_run_done(&self->v[i]));
	}
}

TEST_F(many, bad_vectors)
{
	/* Vectors below 16: an error for who sends and who receives. */
	EXPECT_EQ(0, send(self, 0, 1, 5));
	put(&self->v[0], ESR, 0);
	EXPECT_EQ(0x20, get(&self->v[0], ESR));
	put(&self->v[1], ESR, 0);
	EXPECT_EQ(0x40, get(&self->v[1], ESR));
	/* The error interrupt, of one's own. */
	put(&self->v[2], LVT_ERROR, 0xe1);
	send(self, 2, 3, 7);
	EXPECT_EQ(1 << 2, who(self->v, 0xe1));
}

TEST_HARNESS_MAIN
