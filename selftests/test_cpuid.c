// SPDX-License-Identifier: GPL-2.0
/*
 * CPUID as a guest reads it: the table that was set and nothing else, but for
 * what follows from the guest's own state; and what is hidden is not there.
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "kselftest_harness.h"
#include "host.h"

enum { EAX, EBX, ECX, EDX };

#define OSXSAVE		(1u << 27)	/* of leaf 1 ECX */
#define XSAVE		(1u << 26)
#define MAX_QUESTIONS	256

/* RSI: questions, ECX of them: EAX and ECX in, four registers out. */
struct question {
	uint32_t leaf, subleaf, r[4], unused[2];
};

#define GPA_QUESTIONS	0x100000
#define ASK							\
	"mov $" S(GPA_QUESTIONS) ", %esi\n\tmov %ecx, %edi\n"	\
	"7:\tmov (%rsi), %eax\n\tmov 4(%rsi), %ecx\n\tcpuid\n\t"	\
	"mov %eax, 8(%rsi)\n\tmov %ebx, 12(%rsi)\n\t"		\
	"mov %ecx, 16(%rsi)\n\tmov %edx, 20(%rsi)\n\t"		\
	"add $32, %esi\n\tdec %edi\n\tjnz 7b\n\t" G_DONE

GUEST(ask, 64, ASK);

FIXTURE(cpuid) {
	struct cleave_cpuid offered, table;
	struct vm vm;
	struct vcpu v;
	struct question *q;
	int n;
};

FIXTURE_SETUP(cpuid)
{
	int dev = dev_open();

	ASSERT_EQ(0, xioctl(dev, CLEAVE_GET_CPUID, &self->offered));
	close(dev);
	self->table = self->offered;
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	self->q = (struct question *)(self->vm.ram + GPA_QUESTIONS);
	GUEST_LONG(&self->v, ask);
}

FIXTURE_TEARDOWN(cpuid)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

static int set(struct vcpu *v, const struct cleave_cpuid *c)
{
	return xioctl(v->fd, CLEAVE_SET_CPUID, (void *)c);
}

static struct cleave_cpuid_entry *entry(struct cleave_cpuid *c, uint32_t leaf, uint32_t subleaf)
{
	for (uint32_t i = 0; i < c->count; i++) {
		struct cleave_cpuid_entry *e = &c->entries[i];

		if (e->leaf == leaf &&
		    (!(e->flags & CLEAVE_CPUID_SUBLEAF) || e->subleaf == subleaf))
			return e;
	}
	return NULL;
}

static uint32_t *reg(struct cleave_cpuid_entry *e, int r)
{
	return &e->eax + r;
}

static uint32_t offers(FIXTURE_DATA(cpuid) *self, uint32_t leaf, uint32_t subleaf, int r)
{
	struct cleave_cpuid_entry *e = entry(&self->offered, leaf, subleaf);

	return e ? *reg(e, r) : 0;
}

static void ask_of(FIXTURE_DATA(cpuid) *self, uint32_t leaf, uint32_t subleaf)
{
	if (self->n == MAX_QUESTIONS)
		DIE("too many questions");
	self->q[self->n++] = (struct question){ .leaf = leaf, .subleaf = subleaf };
}

/* Asks them all, from the start of the code. */
static void answers(FIXTURE_DATA(cpuid) *self, struct vcpu *v)
{
	struct cleave_regs regs;

	regs_get(v, &regs);
	regs.rip = GPA_CODE;
	regs.rcx = self->n;
	regs_set(v, &regs);
	vcpu_run_done(v);
}

/* Bytes of an XSAVE area for these components, by the table itself. */
static uint32_t area(struct cleave_cpuid *c, uint64_t xcr0, bool compact)
{
	uint32_t size = 576;

	for (int i = 2; i < 63; i++) {
		struct cleave_cpuid_entry *e = xcr0 >> i & 1 ? entry(c, 0xd, i) : NULL;

		if (!e)
			continue;
		if (compact)
			size = (e->ecx & 2 ? (size + 63) & ~63u : size) + e->eax;
		else if (size < e->ebx + e->eax)
			size = e->ebx + e->eax;
	}
	return size;
}

/* What the guest must read: the table, and what follows from its state. */
static void expected(struct cleave_cpuid *c, uint32_t leaf, uint32_t subleaf, uint32_t id,
		     uint64_t xcr0, bool osxsave, uint32_t r[4])
{
	struct cleave_cpuid_entry *e = entry(c, leaf, subleaf), *d = entry(c, 0xd, 0);

	for (int i = 0; i < 4; i++)
		r[i] = e ? *reg(e, i) : 0;
	if (!e)
		return;
	if (leaf == 1) {
		r[EBX] = (r[EBX] & 0xffffff) | id << 24;
		r[ECX] = (r[ECX] & ~OSXSAVE) | (osxsave ? OSXSAVE : 0);
	}
	if (leaf == 0xb || leaf == 0x1f)
		r[EDX] = id;
	if (leaf == 0x8000001e)
		r[EAX] = id;
	if (leaf == 0xd && subleaf == 0) {
		r[EBX] = area(c, xcr0, false);
		r[ECX] = area(c, d ? d->eax : 1, false);
	}
	if (leaf == 0xd && subleaf == 1 && (r[EAX] & 2))
		r[EBX] = area(c, xcr0, true);
}

static void expect_answers(FIXTURE_DATA(cpuid) *self, struct __test_metadata *_metadata,
			   uint32_t id, uint64_t xcr0, bool osxsave)
{
	for (int i = 0; i < self->n; i++) {
		struct question *q = &self->q[i];
		uint32_t r[4];

		expected(&self->table, q->leaf, q->subleaf, id, xcr0, osxsave, r);
		for (int j = 0; j < 4; j++) {
			EXPECT_EQ(r[j], q->r[j]) {
				TH_LOG("leaf %#x subleaf %#x register %d", q->leaf, q->subleaf, j);
			}
		}
	}
}

static void ask_table(FIXTURE_DATA(cpuid) *self)
{
	for (uint32_t i = 0; i < self->table.count; i++) {
		const struct cleave_cpuid_entry *e = &self->table.entries[i];

		ask_of(self, e->leaf, e->subleaf);
		if (!(e->flags & CLEAVE_CPUID_SUBLEAF))	/* ECX does not count */
			ask_of(self, e->leaf, 0x12345678);
	}
}

/* Of all that is offered; without a table it is that, too. */
TEST_F(cpuid, as_offered)
{
	ask_table(self);
	EXPECT_GT(self->n, 15);
	answers(self, &self->v);
	expect_answers(self, _metadata, 0, 1, false);
}

static void add(struct cleave_cpuid *c, uint32_t leaf, uint32_t subleaf, uint32_t flags,
		uint32_t val)
{
	struct cleave_cpuid_entry *e = entry(c, leaf, subleaf);

	if (!e)
		e = &c->entries[c->count++];
	*e = (struct cleave_cpuid_entry){ leaf, subleaf, flags, val, val + 1, val + 2, val + 3 };
}

/* Leaves that hold what user space likes, and others that it left out. */
TEST_F(cpuid, as_set)
{
	struct cleave_cpuid_entry *e;

	add(&self->table, 0x40000000, 0, 0, 0x11111111);
	add(&self->table, 0x40000001, 0, 0, 0x22222222);
	add(&self->table, 0x4, 0, CLEAVE_CPUID_SUBLEAF, 0x33333330);
	add(&self->table, 0x4, 3, CLEAVE_CPUID_SUBLEAF, 0x44444440);
	add(&self->table, 0xb, 1, CLEAVE_CPUID_SUBLEAF, 0x55555550);
	add(&self->table, 0x80000003, 0, 0, 0x66666660);
	add(&self->table, 0x8000001e, 0, 0, 0x77777770);
	e = entry(&self->table, 0x80000004, 0);
	ASSERT_NE(NULL, e);
	*e = self->table.entries[--self->table.count];
	ASSERT_EQ(0, set(&self->v, &self->table));
	vcpu_long(&self->v, GPA_CODE);
	ask_table(self);
	ask_of(self, 0x80000004, 0);
	ask_of(self, 0x4, 1);
	ask_of(self, 0x4, 4);
	ask_of(self, 0x40000002, 0);
	answers(self, &self->v);
	expect_answers(self, _metadata, 0, 1, false);
}

/* Absent leaves read as zeros, whatever the host has there, and whatever the highest leaf is. */
TEST_F(cpuid, absent)
{
	static const uint32_t leaves[] = {
		0x3, 0x5, 0x8, 0x9, 0xa, 0xc, 0xe, 0xf, 0x10, 0x11, 0x12, 0x14, 0x15, 0x16, 0x17,
		0x18, 0x19, 0x1a, 0x1c, 0x1d, 0x1e, 0x20, 0x23, 0xff, 0x1000, 0x3fffffff,
		0x40000002, 0x40000010, 0x400000ff, 0x40000100, 0x4fffffff, 0x7fffffff,
		0x80000009, 0x8000000a, 0x8000001a, 0x8000001b, 0x8000001c, 0x8000001f, 0x80000020,
		0x80000022, 0x80000026, 0x8fffffff, 0x80860000, 0xc0000000, 0xc0000001, 0xffffffff,
	};

	for (unsigned int i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++)
		for (uint32_t subleaf = 0; subleaf < 3; subleaf++)
			ask_of(self, leaves[i], subleaf);
	ask_of(self, 0x7, 3);
	ask_of(self, 0x7, ~0u);
	ask_of(self, 0xb, 2);
	ask_of(self, 0xd, 8);
	ask_of(self, 0xd, 9);
	ask_of(self, 0xd, 62);
	ask_of(self, 0xd, ~0u);
	answers(self, &self->v);
	for (int i = 0; i < self->n; i++)
		EXPECT_EQ(NULL, entry(&self->offered, self->q[i].leaf, self->q[i].subleaf));
	expect_answers(self, _metadata, 0, 1, false);
}

/* Nothing at all: not even the guest's own state. */
TEST_F(cpuid, empty)
{
	ask_table(self);
	self->table.count = 0;
	ASSERT_EQ(0, set(&self->v, &self->table));
	vcpu_real(&self->v, GPA_CODE >> 4, 0);
	for (int i = 0; i < self->n; i++) {
		struct question *q = &self->q[i];

		memset(q->r, 0xff, sizeof(q->r));
	}
	/* Without long mode: in real mode, one by one. */
	for (int i = 0; i < self->n; i++) {
		static const uint8_t code[] = { 0x0f, 0xa2, 0xe6, PORT_DONE };
		struct question *q = &self->q[i];
		struct cleave_regs regs;

		memcpy(self->vm.ram + GPA_CODE, code, sizeof(code));
		regs_get(&self->v, &regs);
		regs.rip = 0;
		regs.rax = q->leaf;
		regs.rcx = q->subleaf;
		regs_set(&self->v, &regs);
		vcpu_run_done(&self->v);
		regs = self->v.run->regs;
		q->r[EAX] = regs.rax;
		q->r[EBX] = regs.rbx;
		q->r[ECX] = regs.rcx;
		q->r[EDX] = regs.rdx;
	}
	expect_answers(self, _metadata, 0, 1, false);
}

/* Registers of feature bits, and bits of them that a table may have in any case. */
static const struct word {
	uint32_t leaf, subleaf;
	int reg;
	uint32_t any;
	uint32_t hidden;	/* of what nobody is offered */
} words[] = {
	/* DTES64, MONITOR, DS-CPL, VMX, SMX, EST, TM2, CNXT, SDBG, xTPR, PDCM, DCA */
	{ 0x1, 0, ECX, OSXSAVE, 0x0004cdfc },
	/* PSN, DS, ACPI, TM, PBE */
	{ 0x1, 0, EDX, 1u << 28, 1u << 18 | 1u << 21 | 1u << 22 | 1u << 29 | 1u << 31 },
	{ 0x6, 0, EAX, 0, ~4u }, { 0x6, 0, EBX, 0, ~0u }, { 0x6, 0, ECX, 0, ~0u },
	/* SGX, RDT-M, MPX, RDT-A, PT */
	{ 0x7, 0, EBX, 0, 1u << 2 | 1u << 12 | 1u << 14 | 1u << 15 | 1u << 25 },
	/* PKU, OSPKE, WAITPKG, CET_SS, TME, MAWAU, KL, ENQCMD, SGX_LC, PKS */
	{ 0x7, 0, ECX, 0, 7u << 3 | 1u << 7 | 1u << 13 | 0x1fu << 17 | 1u << 23 | 7u << 29 },
	/* UINTR, HYBRID, PCONFIG, ARCH_LBR, CET_IBT, AMX, CORE_CAPABILITIES */
	{ 0x7, 0, EDX, 0, 1u << 5 | 1u << 15 | 7u << 18 | 1u << 22 | 3u << 24 | 1u << 30 },
	{ 0x7, 1, EAX, 0, 1u << 17 | 1u << 19 | 1u << 21 | 1u << 22 | 1u << 26 },
	{ 0xd, 0, EAX, 0, ~0xe7u }, { 0xd, 0, EDX, 0, ~0u }, { 0xd, 1, EAX, 0, ~7u },
	/* SVM, SKINIT, extended APIC space, OSVW, IBS, WDT, LWP, counters, MONITORX */
	{ 0x80000001, 0, ECX, 2, 0x3f8ab60c },
	{ 0x80000001, 0, EDX, 0, 0 },
	{ 0x80000007, 0, EBX, 0, ~0u }, { 0x80000007, 0, EDX, 0, ~(1u << 8) },
	{ 0x80000008, 0, EBX, 0, 1u << 4 | 1u << 6 | 1u << 8 | 1u << 13 },
	{ 0x80000021, 0, EAX, 0, 0 },
};

#define WORDS	((int)(sizeof(words) / sizeof(words[0])))

/* Each bit by itself: what is not offered is refused, what is may be left out. */
TEST_F_TIMEOUT(cpuid, not_offered, 120)
{
	int refused = 0, left_out = 0;

	for (int i = 0; i < WORDS; i++) {
		const struct word *w = &words[i];
		uint32_t offered = offers(self, w->leaf, w->subleaf, w->reg);

		if (!entry(&self->offered, w->leaf, w->subleaf))
			continue;
		for (int bit = 0; bit < 32; bit++) {
			uint32_t *r;
			bool ok = (offered | w->any) >> bit & 1;

			self->table = self->offered;
			r = reg(entry(&self->table, w->leaf, w->subleaf), w->reg);
			*r |= 1u << bit;
			EXPECT_EQ(ok ? 0 : -EINVAL, set(&self->v, &self->table)) {
				TH_LOG("leaf %#x subleaf %u register %d bit %d", w->leaf,
				       w->subleaf, w->reg, bit);
			}
			refused += !ok;
			if (!(offered >> bit & 1))
				continue;
			*r &= ~(1u << bit);
			EXPECT_EQ(0, set(&self->v, &self->table)) {
				TH_LOG("without leaf %#x subleaf %u register %d bit %d", w->leaf,
				       w->subleaf, w->reg, bit);
			}
			left_out++;
		}
	}
	EXPECT_GT(refused, 200);
	EXPECT_GT(left_out, 40);
}

/* Leaves that the module knows nothing of can be there, with nothing in them. */
TEST_F(cpuid, unknown_leaves)
{
	static const uint32_t leaves[] = {
		0x3, 0xa, 0x10, 0x12, 0x14, 0x8000000a, 0x8000001f, 0xc0000001,
	};

	for (unsigned int i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++)
		for (int r = 0; r < 4; r++) {
			struct cleave_cpuid_entry *e = &self->table.entries[self->offered.count];

			self->table = self->offered;
			self->table.count++;
			*e = (struct cleave_cpuid_entry){ .leaf = leaves[i] };
			EXPECT_EQ(0, set(&self->v, &self->table));
			*reg(e, r) = 1;
			EXPECT_EQ(-EINVAL, set(&self->v, &self->table)) {
				TH_LOG("leaf %#x register %d", leaves[i], r);
			}
		}
	/* Nor is one twice, nor one that has subleaves without saying which. */
	self->table = self->offered;
	self->table.entries[self->table.count++] = *entry(&self->offered, 1, 0);
	EXPECT_EQ(-EINVAL, set(&self->v, &self->table));
	self->table = self->offered;
	entry(&self->table, 7, 0)->flags = 0;
	EXPECT_EQ(-EINVAL, set(&self->v, &self->table));
}

TEST_F(cpuid, after_a_run)
{
	ASSERT_EQ(0, set(&self->v, &self->table));
	vcpu_long(&self->v, GPA_CODE);
	ask_of(self, 1, 0);
	answers(self, &self->v);
	EXPECT_EQ(0, set(&self->v, &self->table));
	entry(&self->table, 1, 0)->ecx &= ~1u;
	entry(&self->table, 1, 0)->edx ^= 1u << 28;
	EXPECT_EQ(-EBUSY, set(&self->v, &self->table));
	self->table = self->offered;
	self->table.count--;
	EXPECT_EQ(-EBUSY, set(&self->v, &self->table));
	self->table = self->offered;
	answers(self, &self->v);
	expect_answers(self, _metadata, 0, 1, false);
}

/* The guest reads none of them. */
TEST_F(cpuid, hidden)
{
	for (int i = 0; i < WORDS; i++)
		ask_of(self, words[i].leaf, words[i].subleaf);
	answers(self, &self->v);
	for (int i = 0; i < WORDS; i++) {
		EXPECT_EQ(0, self->q[i].r[words[i].reg] & words[i].hidden) {
			TH_LOG("leaf %#x subleaf %u register %d", words[i].leaf, words[i].subleaf,
			       words[i].reg);
		}
	}
	EXPECT_EQ(1, self->q[0].r[ECX] >> 31);	/* a hypervisor is */
}

/* With OSXSAVE set, XCR0 as in EBX, asks, and clears OSXSAVE. */
GUEST(with_xsave, 64,
	"mov %cr4, %rax\n\tor $0x40000, %eax\n\tmov %rax, %cr4\n\t"
	"mov %ecx, %r8d\n\tmov %ebx, %eax\n\txor %edx, %edx\n\txor %ecx, %ecx\n\txsetbv\n\t"
	"mov %r8d, %ecx\n\t" ASK
	"mov %cr4, %rax\n\tand $0xfffbffff, %eax\n\tmov %rax, %cr4\n\tmov $1, %ecx\n\t" ASK);

TEST_F(cpuid, follows_cr4_and_xcr0)
{
	uint64_t xcr0 = dev_info().xcr0;
	uint64_t values[] = { 1, 3, 7, 0xe7 };
	struct cleave_regs regs;

	if (!(offers(self, 1, 0, ECX) & XSAVE))
		SKIP(return, "the host has no XSAVE");
	GUEST_LOAD(&self->vm, GPA_CODE, with_xsave);
	for (int i = 0; i < 4; i++) {
		if (values[i] & ~xcr0)
			continue;
		self->n = 0;
		ask_of(self, 1, 0);
		ask_table(self);
		regs_get(&self->v, &regs);
		regs.rbx = values[i];
		regs_set(&self->v, &regs);
		answers(self, &self->v);
		expect_answers(self, _metadata, 0, values[i], true);
		vcpu_run_done(&self->v);
		self->n = 1;
		expect_answers(self, _metadata, 0, values[i], false);
	}
}

TEST_F(cpuid, ids)
{
	static const uint32_t ids[] = { 1, 7, 200, 253 };

	for (unsigned int i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		struct cleave_state mp = { .mp.state = CLEAVE_MP_RUNNABLE };
		struct vcpu v;

		if (ids[i] >= dev_info().max_vcpus)
			continue;
		vcpu_create(&self->vm, &v, ids[i]);
		add(&self->table, 0x1f, 0, CLEAVE_CPUID_SUBLEAF, 0x10000);
		add(&self->table, 0x8000001e, 0, 0, 0x12345678);
		ASSERT_EQ(0, set(&v, &self->table));
		vcpu_long(&v, GPA_CODE);
		state_must_set(&v, CLEAVE_MP, &mp);
		self->n = 0;
		ask_table(self);
		answers(self, &v);
		expect_answers(self, _metadata, ids[i], 1, false);
		vcpu_destroy(&v);
	}
}

/* Instructions of what is hidden. */
static const struct insn {
	const char *name, *code;
} insns[] = {
	{ "VMXON", "\xf3\x0f\xc7\x30" }, { "VMPTRLD", "\x0f\xc7\x30" },
	{ "VMCLEAR", "\x66\x0f\xc7\x30" },
	{ "VMREAD", "\x0f\x78\xc8" }, { "VMWRITE", "\x0f\x79\xc8" }, { "VMLAUNCH", "\x0f\x01\xc2" },
	{ "VMRESUME", "\x0f\x01\xc3" }, { "VMXOFF", "\x0f\x01\xc4" },
	{ "INVEPT", "\x66\x0f\x38\x80\x08" }, { "INVVPID", "\x66\x0f\x38\x81\x08" },
	{ "VMRUN", "\x0f\x01\xd8" }, { "VMLOAD", "\x0f\x01\xda" }, { "VMSAVE", "\x0f\x01\xdb" },
	{ "STGI", "\x0f\x01\xdc" }, { "CLGI", "\x0f\x01\xdd" }, { "SKINIT", "\x0f\x01\xde" },
	{ "INVLPGA", "\x0f\x01\xdf" },
	{ "MONITOR", "\x0f\x01\xc8" }, { "MWAIT", "\x0f\x01\xc9" },
	{ "MONITORX", "\x0f\x01\xfa" }, { "MWAITX", "\x0f\x01\xfb" },
	{ "ENCLS", "\x0f\x01\xcf" }, { "GETSEC", "\x0f\x37" }, { "RDPKRU", "\x0f\x01\xee" },
	{ "XGETBV without OSXSAVE", "\x0f\x01\xd0" },
};

TEST_F(cpuid, hidden_instructions)
{
	for (unsigned int i = 0; i < sizeof(insns) / sizeof(insns[0]); i++) {
		struct cleave_regs regs;
		uint32_t vector;

		memset(self->vm.ram + GPA_CODE, 0x90, 16);
		memcpy(self->vm.ram + GPA_CODE, insns[i].code, strlen(insns[i].code));
		vcpu_long(&self->v, GPA_CODE);
		regs_get(&self->v, &regs);
		regs.rax = GPA_DATA;
		regs_set(&self->v, &regs);
		vector = vcpu_run_out(&self->v, PORT_TRAP);
		EXPECT_EQ(6, vector) {
			TH_LOG("%s", insns[i].name);
		}
		EXPECT_EQ(GPA_CODE, vm_trap(&self->vm)->rip);
	}
}

/* A table without it: the instruction is not there either. */
TEST_F(cpuid, left_out)
{
	struct cleave_state st;
	uint64_t val;

	entry(&self->table, 0x80000001, 0)->edx &= ~(1u << 27);	/* RDTSCP */
	entry(&self->table, 0x7, 0)->ecx &= ~(1u << 22);	/* RDPID */
	entry(&self->table, 0x7, 0)->ebx &= ~(1u << 7);		/* SMEP */
	entry(&self->table, 1, 0)->ecx &= ~XSAVE;
	ASSERT_EQ(0, set(&self->v, &self->table));
	/* rdtscp; out %al, $PORT_DONE */
	memcpy(self->vm.ram + GPA_CODE, "\x0f\x01\xf9\xe6\xf0", 5);
	vcpu_long(&self->v, GPA_CODE);
	if (emulated_by_tcg())	/* which does not look at that intercept */
		vcpu_run_done(&self->v);
	else
		vcpu_run_trap(&self->v, 6);
	EXPECT_EQ(-EINVAL, msr_get(&self->v, 0xc0000103, &val));
	state_get(&self->v, CLEAVE_SREGS, &st);
	st.sregs.cr4 |= CR4_OSXSAVE;
	EXPECT_EQ(-EINVAL, state_set(&self->v, CLEAVE_SREGS, &st));
	st.sregs.cr4 ^= CR4_OSXSAVE | 1 << 20;
	EXPECT_EQ(-EINVAL, state_set(&self->v, CLEAVE_SREGS, &st));
	st.sregs.cr4 ^= 1 << 20;
	EXPECT_EQ(0, state_set(&self->v, CLEAVE_SREGS, &st));
}

/*
 * Where the CPU does not say how long an instruction was the module reads it, and remembers where
 * the guest's page tables led: not beyond a change of them, of the page, or of the slot behind.
 */
#define CODE_LINEAR	0x800000
#define CODE_PT		0x40000
#define CODE_SHORT	0x20000		/* cpuid; ret */
#define CODE_LONG	0x21000		/* cs cpuid; ret */
#define CALL_AT(page)							\
	"movl $" S(page) "+3, " S(CODE_PT) "\n\tinvlpg (%rbp)\n\txor %eax, %eax\n\tcall *%rbp\n\t"

GUEST(code_moves, 64,
	"mov $" S(CODE_LINEAR) ", %ebp\n\tmov $16, %r12d\n"
	"1:\t" CALL_AT(CODE_SHORT) CALL_AT(CODE_LONG)
	/* In place: 0f a2 c3 becomes 2e 0f a2 c3, and back. */
	"movl $0xc3a20f2e, " S(CODE_SHORT) "\n\t" CALL_AT(CODE_SHORT)
	"movl $0x90c3a20f, " S(CODE_SHORT) "\n\t" CALL_AT(CODE_SHORT)
	"dec %r12d\n\tjnz 1b\n\txor %eax, %eax\n\t" G_DONE);

static void code_pages(uint8_t *ram)
{
	uint64_t *pd = (uint64_t *)(ram + GPA_PD);

	memcpy(ram + CODE_SHORT, "\x0f\xa2\xc3\x90", 4);
	memcpy(ram + CODE_LONG, "\x2e\x0f\xa2\xc3", 4);
	pd[CODE_LINEAR >> 21] = CODE_PT | 3;
}

TEST_F(cpuid, of_code_that_moves)
{
	uint8_t *ram = self->vm.ram, *other = mem_alloc(RAM_SIZE, 4096);

	GUEST_LONG(&self->v, code_moves);
	code_pages(ram);
	EXPECT_EQ(0, vcpu_run_done(&self->v));

	/* The same addresses, other memory, and the pages' roles exchanged. */
	memcpy(other, ram, RAM_SIZE);
	memcpy(other + CODE_LONG, "\x0f\xa2\xc3\x90", 4);
	ASSERT_EQ(0, vm_slot(&self->vm, 0, 0, 0, 0, ram));
	ASSERT_EQ(0, vm_slot(&self->vm, 0, 0, 0, RAM_SIZE, other));
	rip_set(&self->v, GPA_CODE);
	EXPECT_EQ(0, vcpu_run_done(&self->v));
	munmap(other, RAM_SIZE);
}

TEST_HARNESS_MAIN
