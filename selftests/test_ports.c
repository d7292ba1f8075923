// SPDX-License-Identifier: GPL-2.0
/* Every port in every width, in and out; string instructions by the assist. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/ioctl.h>
#include "kselftest_harness.h"
#include "assisted.h"

#define PATTERN		0x1122334455667788ull

FIXTURE(ports) {
	struct vm vm;
	struct vcpu v;
	struct dev *d;
};

FIXTURE_SETUP(ports)
{
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	self->d = dev_create(&self->v);
}

FIXTURE_TEARDOWN(ports)
{
	dev_destroy(self->d);
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

/* ---- all of them ------------------------------------------------------------- */

/* R9, R10, R11: RAX after the last IN of each width. */
GUEST(all_ports, 64,
	"1:\tmov %r8, %rax\n\tout %al, %dx\n\tout %ax, %dx\n\tout %eax, %dx\n\t"
	"in %dx, %al\n\tmov %rax, %r9\n\tmov %r8, %rax\n\t"
	"in %dx, %ax\n\tmov %rax, %r10\n\tmov %r8, %rax\n\t"
	"in %dx, %eax\n\tmov %rax, %r11\n\t"
	"inc %edx\n\tcmp $0x10000, %edx\n\tjb 1b\n\thlt\n\t");

struct accessed {
	bool out;
	uint8_t size;
};

static uint32_t answer(uint32_t port, unsigned int size)
{
	return (port + 1) * 0x9e3779b1u ^ size << 12;
}

static uint64_t merged(uint64_t rax, uint32_t data, unsigned int size)
{
	if (size == 4)
		return data;
	return size == 2 ? (rax & ~0xffffull) | (data & 0xffff) : (rax & ~0xffull) | (data & 0xff);
}

static bool io_is(const struct cleave_run *r, uint32_t port, const struct accessed *a)
{
	uint64_t mask = a->size == 4 ? 0xffffffff : (1u << 8 * a->size) - 1;

	return r->exit == CLEAVE_EXIT_IO && r->io.port == port && r->io.size == a->size &&
	       r->io.flags == (a->out ? CLEAVE_ACCESS_WRITE : 0) && !r->io.reserved &&
	       !r->io.reserved2 && r->io.data == (a->out ? PATTERN & mask : 0) &&
	       r->valid == CLEAVE_REGS && r->regs.rdx == port && r->regs.rip > r->rip &&
	       r->regs.rip <= r->rip + 2;
}

static const struct accessed order[] = {
	{ true, 1 }, { true, 2 }, { true, 4 }, { false, 1 }, { false, 2 }, { false, 4 },
};

/* The six accesses of one port; -1, or the one that was not as it should be. */
static int one_port(struct vcpu *v, uint32_t port, bool first)
{
	struct cleave_run *r = v->run;

	for (int i = 0; i < 6; i++) {
		if (vcpu_run(v) || !io_is(r, port, &order[i]))
			return i;
		if (!order[i].out)
			r->io.data = answer(port, order[i].size);
		/* What the port before and the widths before gave. */
		if ((i == 0 && !first && r->regs.r11 != merged(PATTERN, answer(port - 1, 4), 4)) ||
		    (i == 4 && r->regs.r9 != merged(PATTERN, answer(port, 1), 1)) ||
		    (i == 5 && r->regs.r10 != merged(PATTERN, answer(port, 2), 2)))
			return i;
	}
	return -1;
}

TEST_F_TIMEOUT(ports, all, 200)
{
	struct cleave_regs regs;
	int bad;

	GUEST_LONG(&self->v, all_ports);
	regs_get(&self->v, &regs);
	regs.r8 = PATTERN;
	regs_set(&self->v, &regs);
	for (uint32_t port = 0; port < 0x10000; port++) {
		bad = one_port(&self->v, port, !port);
		if (bad < 0)
			continue;
		vcpu_dump(&self->v);
		ASSERT_EQ(-1, bad) {
			TH_LOG("port %#x", port);
		}
	}
}

/* ---- one at a time -------------------------------------------------------------- */

/* Every encoding: RIP behind it in each. */
GUEST(encodings, 64,
	"mov $0x1234, %edx\n\t"
	"in $0x10, %al\n\tin $0x10, %ax\n\tin $0x10, %eax\n\tout %al, $0x10\n\t"
	".byte 0x48; in $0x10, %eax\n\t"		/* REX.W: as without */
	".byte 0x66, 0x66; in %dx, %al\n\t"
	".byte 0xf3, 0x2e; out %eax, %dx\n\t"
	".byte 0x67, 0x66; .byte 0x40; in %dx, %eax\n\t" /* 16 bits, with REX */
	G_DONE);

TEST_F(ports, encodings)
{
	static const struct {
		uint16_t port;
		uint8_t size, len;
		bool out;
	} expected[] = {
		{ 0x10, 1, 2 }, { 0x10, 2, 3 }, { 0x10, 4, 2 }, { 0x10, 1, 2, true }, { 0x10, 4, 3 },
		{ 0x1234, 1, 3 }, { 0x1234, 4, 3, true }, { 0x1234, 2, 4 },
	};
	uint64_t at = GPA_CODE + 5;

	GUEST_LONG(&self->v, encodings);
	for (int i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		vcpu_run_exit(&self->v, CLEAVE_EXIT_IO);
		EXPECT_EQ(expected[i].port, self->v.run->io.port);
		EXPECT_EQ(expected[i].size, self->v.run->io.size) {
			TH_LOG("encoding %d", i);
		}
		EXPECT_EQ(expected[i].out ? CLEAVE_ACCESS_WRITE : 0, self->v.run->io.flags);
		EXPECT_EQ(at, self->v.run->rip);
		at += expected[i].len;
		EXPECT_EQ(at, self->v.run->regs.rip);
	}
	vcpu_run_done(&self->v);
}

GUEST(in_byte, 64,
	"mov $0x1122334455667788, %rax\n\tin $0x10, %al\n\tmov %rax, %rbx\n\t" G_DONE
	"in $0x10, %ax\n\tmov %rax, %rbx\n\t" G_DONE "in $0x10, %eax\n\tmov %rax, %rbx\n\t" G_DONE);

/* Bits of the answer beyond the width do not count. */
TEST_F(ports, in_merges)
{
	static const uint64_t expected[] = {
		0x11223344556677dd, 0x112233445566ccdd, 0xaabbccdd,
	};

	GUEST_LONG(&self->v, in_byte);
	for (int i = 0; i < 3; i++) {
		vcpu_run_exit(&self->v, CLEAVE_EXIT_IO);
		EXPECT_EQ(0x10, self->v.run->io.port);
		self->v.run->io.data = 0xaabbccdd;
		vcpu_run_done(&self->v);
		EXPECT_EQ(expected[i], self->v.run->regs.rbx);
	}
}

/* Registers that user space changes at the exit are the ones it merges into. */
TEST_F(ports, in_and_new_registers)
{
	GUEST_LONG(&self->v, in_byte);
	vcpu_run_exit(&self->v, CLEAVE_EXIT_IO);
	self->v.run->regs.rax = ~0ull;
	self->v.run->regs.rcx = 0xc0de;
	self->v.run->dirty = CLEAVE_REGS;
	self->v.run->io.data = 0x11;
	vcpu_run_done(&self->v);
	EXPECT_EQ(~0xeeull, self->v.run->regs.rbx);
	EXPECT_EQ(0xc0de, self->v.run->regs.rcx);
}

/* The answer counts when the vCPU runs again, and once. */
TEST_F(ports, in_is_completed_once)
{
	struct cleave_regs regs;

	GUEST_LONG(&self->v, in_byte);
	vcpu_run_exit(&self->v, CLEAVE_EXIT_IO);
	regs_get(&self->v, &regs);
	EXPECT_EQ(PATTERN, regs.rax);
	self->v.run->io.data = 0xee;
	MUST(ioctl(self->v.fd, CLEAVE_KICK));
	EXPECT_EQ(-EINTR, vcpu_run(&self->v));
	self->v.run->io.data = 0x77;
	vcpu_run_done(&self->v);
	EXPECT_EQ(0x11223344556677eeull, self->v.run->regs.rbx);
}

/* What the map does not allow never gets here. */
GUEST(user_ports, 64,
	"mov $" S(SEL_TSS) ", %eax\n\tltr %ax\n\t"
	"pushq $" S(SEL_UDATA) "\n\tpushq $0x60000\n\tpushq $2\n\tpushq $" S(SEL_UCODE64) "\n\t"
	"lea 1f(%rip), %rax\n\tpush %rax\n\tiretq\n1:\t"
	"mov $0x71, %edx\n\tin %dx, %al\n\tin %dx, %ax\n\tdec %edx\n\tin %dx, %al\n\tud2\n\t");

TEST_F(ports, permission_map)
{
	uint64_t *tss = (uint64_t *)(self->vm.ram + GPA_GDT + SEL_TSS);
	struct trap_frame *f;
	uint16_t base = 0x68;

	GUEST_LONG(&self->v, user_ports);
	/* Port 0x71 alone. */
	memcpy(self->vm.ram + GPA_TSS + 0x66, &base, 2);
	memset(self->vm.ram + GPA_TSS + base, 0xff, 0x20);
	self->vm.ram[GPA_TSS + base + 0x71 / 8] &= ~2;
	/* Not busy, with the map: QEMU looks at the map of no other. */
	*tss = (*tss & ~0x2000000ffffull) | (base + 0x1f);
	vcpu_run_exit(&self->v, CLEAVE_EXIT_IO);
	EXPECT_EQ(0x71, self->v.run->io.port);
	EXPECT_EQ(1, self->v.run->io.size);
	f = vcpu_run_trap(&self->v, 13);	/* two bytes reach 0x72 */
	EXPECT_EQ(0, f->error);
	f->rip += 2;
	f = vcpu_run_trap(&self->v, 13);	/* port 0x70 */
	EXPECT_EQ(0, f->error);
	f->rip += 1;
	vcpu_run_trap(&self->v, 6);
}

/* ---- strings ------------------------------------------------------------------------ */

GUEST(outs, 64, "rep outsb\n\t" G_DONE "rep outsw\n\t" G_DONE "rep outsl\n\t" G_DONE
		"outsl\n\t" G_DONE);
GUEST(ins, 64, "rep insb\n\t" G_DONE "rep insw\n\t" G_DONE "rep insl\n\t" G_DONE "insl\n\t" G_DONE);

/* With nothing done about it the exit comes again, the same. */
TEST_F(ports, string_exit)
{
	struct cleave_regs regs;
	struct cleave_run *r = self->v.run;

	for (int i = 0; i < 2; i++) {
		GUEST_LONG(&self->v, outs);
		if (i)
			GUEST_LOAD(&self->vm, GPA_CODE, ins);
		regs_get(&self->v, &regs);
		regs.rdx = 0x3f8;
		regs.rcx = 5;
		regs.rsi = GPA_DATA;
		regs.rdi = GPA_DATA;
		regs_set(&self->v, &regs);
		for (int n = 0; n < 3; n++) {
			vcpu_run_exit(&self->v, CLEAVE_EXIT_IO);
			EXPECT_EQ(0x3f8, r->io.port);
			EXPECT_EQ(1, r->io.size);
			EXPECT_EQ(CLEAVE_ACCESS_STRING | (i ? 0 : CLEAVE_ACCESS_WRITE), r->io.flags);
			EXPECT_EQ(CLEAVE_REGS | CLEAVE_SREGS, r->valid);
			EXPECT_EQ(GPA_CODE, r->regs.rip);
			EXPECT_EQ(GPA_CODE, r->rip);
			EXPECT_EQ(5, r->regs.rcx);
			EXPECT_EQ(0, r->io.data);
		}
		EXPECT_EQ(SEL_CODE64, r->sregs.cs.selector);
	}
}

static void string_regs(struct vcpu *v, uint64_t rcx, uint64_t addr, uint64_t flags)
{
	struct cleave_regs regs;

	regs_get(v, &regs);
	regs.rdx = 0x1f0;
	regs.rcx = rcx;
	regs.rsi = addr;
	regs.rdi = addr;
	regs.rflags = 2 | flags;
	regs_set(v, &regs);
}

TEST_F(ports, outs)
{
	const uint64_t counts[] = { 7, 5, 3, 1 };
	const uint8_t sizes[] = { 1, 2, 4, 4 };

	GUEST_LONG(&self->v, outs);
	for (int i = 0; i < 64; i++)
		self->vm.ram[GPA_DATA + i] = i * 7;
	for (int i = 0; i < 4; i++) {
		self->d->count = 0;
		string_regs(&self->v, i < 3 ? counts[i] : 9, GPA_DATA + 1, 0);
		dev_done(self->d);
		ASSERT_EQ(counts[i], self->d->count);
		for (int n = 0; n < counts[i]; n++) {
			uint64_t val = 0;

			memcpy(&val, self->vm.ram + GPA_DATA + 1 + n * sizes[i], sizes[i]);
			EXPECT_TRUE(self->d->log[n].port && self->d->log[n].write);
			EXPECT_EQ(0x1f0, self->d->log[n].addr);
			EXPECT_EQ(sizes[i], self->d->log[n].size);
			EXPECT_EQ(val, self->d->log[n].data & (~0ull >> (64 - 8 * sizes[i])));
		}
		EXPECT_EQ(i < 3 ? 0 : 9, self->v.run->regs.rcx);
		EXPECT_EQ(GPA_DATA + 1 + counts[i] * sizes[i], self->v.run->regs.rsi);
		EXPECT_EQ(GPA_DATA + 1, self->v.run->regs.rdi);
	}
}

TEST_F(ports, ins)
{
	const uint64_t counts[] = { 7, 5, 3, 1 };
	const uint8_t sizes[] = { 1, 2, 4, 4 };

	GUEST_LONG(&self->v, ins);
	for (int i = 0; i < 4; i++) {
		uint8_t *at = self->vm.ram + GPA_DATA + 1;

		memset(self->vm.ram + GPA_DATA, 0xcc, 64);
		self->d->count = 0;
		self->d->in = 0x04030201;
		string_regs(&self->v, i < 3 ? counts[i] : 9, GPA_DATA + 1, 0);
		dev_done(self->d);
		ASSERT_EQ(counts[i], self->d->count);
		for (int n = 0; n < counts[i]; n++) {
			uint32_t val = 0x04030201 + n;

			EXPECT_EQ(0, memcmp(&val, at + n * sizes[i], sizes[i]));
		}
		EXPECT_EQ(0xcc, at[-1]);
		EXPECT_EQ(0xcc, at[counts[i] * sizes[i]]);
		EXPECT_EQ(GPA_DATA + 1 + counts[i] * sizes[i], self->v.run->regs.rdi);
		EXPECT_EQ(GPA_DATA + 1, self->v.run->regs.rsi);
	}
}

/* Backwards. */
TEST_F(ports, ins_down)
{
	GUEST_LONG(&self->v, ins);
	rip_set(&self->v, GPA_CODE + 4);	/* REP INSW */
	self->d->in = 0x100;
	string_regs(&self->v, 4, GPA_DATA + 0x100, 1 << 10);
	dev_done(self->d);
	for (int n = 0; n < 4; n++)
		EXPECT_EQ(0x100 + n, *VM_DATA(&self->vm, uint16_t, 0x100 - 2 * n));
	EXPECT_EQ(GPA_DATA + 0x100 - 8, self->v.run->regs.rdi);
}

/* Nothing to do: nothing done. */
TEST_F(ports, count_zero)
{
	GUEST_LONG(&self->v, ins);
	string_regs(&self->v, 0, GPA_DATA, 0);
	dev_done(self->d);
	EXPECT_EQ(0, self->d->count);
	EXPECT_EQ(GPA_DATA, self->v.run->regs.rdi);
}

/* More than the assist does at a time, and over many pages; interrupts get in between. */
TEST_F(ports, long_string)
{
	struct cleave_regs regs;
	uint32_t n = 10000;

	GUEST_LONG(&self->v, ins);
	rip_set(&self->v, GPA_CODE + 9);	/* REP INSL */
	string_regs(&self->v, n, 0x100ffe, RFLAGS_IF);
	regs_get(&self->v, &regs);
	dev_done(self->d);
	EXPECT_EQ(n, self->d->count);
	EXPECT_GT(self->d->exits, n / CLEAVE_ASSIST_CHUNK);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t val;

		memcpy(&val, self->vm.ram + 0x100ffe + 4 * i, 4);
		ASSERT_EQ(i, val);
	}
}

/* A page that is not there in the middle: the guest's handler sees how far it came, and goes on. */
TEST_F(ports, string_meets_page_fault)
{
	uint64_t *pd = (uint64_t *)(self->vm.ram + GPA_PD);
	uint64_t at = 0x1ffff8;
	struct trap_frame *f;

	GUEST_LONG(&self->v, ins);
	rip_set(&self->v, GPA_CODE + 4);	/* REP INSW */
	/* The page of 2 MiB behind is the first one again, later. */
	pd[1] = 0;
	string_regs(&self->v, 10, at, 0);
	self->d->in = 0x200;
	ASSERT_EQ(CLEAVE_EXIT_IO, dev_run(self->d));
	ASSERT_EQ(PORT_TRAP, self->v.run->io.port);
	EXPECT_EQ(14, vm_trap(&self->vm)->vector);
	EXPECT_EQ(2, vm_trap(&self->vm)->error);
	EXPECT_EQ(0x200000, vm_trap(&self->vm)->cr2);
	EXPECT_EQ(4 + 1, self->d->count + self->d->faults);
	f = (struct trap_frame *)(self->vm.ram + self->v.run->regs.rsp);
	EXPECT_EQ(GPA_CODE + 4, f->rip);
	EXPECT_EQ(6, self->v.run->regs.rcx);
	EXPECT_EQ(0x200000, self->v.run->regs.rdi);
	pd[1] = 0x100000 & ~0x1fffffull;
	pd[1] |= 0x87;
	dev_done(self->d);
	EXPECT_EQ(10, self->d->count);
	for (int n = 0; n < 4; n++)
		EXPECT_EQ(0x200 + n, *(uint16_t *)(self->vm.ram + at + 2 * n));
	for (int n = 4; n < 10; n++)
		EXPECT_EQ(0x200 + n, *(uint16_t *)(self->vm.ram + 2 * (n - 4)));
}

/* Segments, address sizes, real mode. */
GUEST(outs_variants, 64,
	"mov $0xc0000100, %ecx\n\tmov $0x1000, %eax\n\txor %edx, %edx\n\twrmsr\n\t"	/* FS */
	"mov $0x1f0, %edx\n\tmov $" S(GPA_DATA) ", %esi\n\toutsb %fs:(%rsi), %dx\n\t"
	"mov $0xffffffff, %ecx\n\tshl $32, %rcx\n\tor $2, %rcx\n\t"
	"mov $0xabcd, %esi\n\tshl $32, %rsi\n\tor $" S(GPA_DATA) ", %rsi\n\t"
	"rep outsb (%esi), %dx\n\t" G_DONE);
GUEST(real_strings, 16,
	"mov $0x2000, %ax\n\tmov %ax, %es\n\tmov $0x1f0, %dx\n\tmov $4, %cx\n\tmov $0xfffe, %di\n\t"
	"cld\n\trep insb\n\tmov %di, %ax\n\tmovzwl %ax, %eax\n\t" G_DONE);

TEST_F(ports, outs_variants)
{
	GUEST_LONG(&self->v, outs_variants);
	self->vm.ram[GPA_DATA] = 0x31;
	self->vm.ram[GPA_DATA + 1] = 0x32;
	self->vm.ram[GPA_DATA + 0x1000] = 0x41;
	dev_done(self->d);
	ASSERT_EQ(3, self->d->count);
	EXPECT_EQ(0x41, self->d->log[0].data);
	EXPECT_EQ(0x31, self->d->log[1].data);
	EXPECT_EQ(0x32, self->d->log[2].data);
	EXPECT_EQ(GPA_DATA + 2, self->v.run->regs.rsi);		/* 32 bits, zero-extended */
	EXPECT_EQ(0, self->v.run->regs.rcx);
}

TEST_F(ports, real_mode)
{
	GUEST_LOAD(&self->vm, GPA_CODE, real_strings);
	vcpu_real(&self->v, GPA_CODE >> 4, 0);
	self->d->in = 0x51;
	EXPECT_EQ(2, dev_done(self->d));		/* DI has wrapped */
	EXPECT_EQ(0x51, self->vm.ram[0x2fffe]);
	EXPECT_EQ(0x52, self->vm.ram[0x2ffff]);
	EXPECT_EQ(0x53, self->vm.ram[0x20000]);
	EXPECT_EQ(0x54, self->vm.ram[0x20001]);
}

/* Between memory that is no memory and a port. */
TEST_F(ports, outs_from_device)
{
	GUEST_LONG(&self->v, outs);
	for (int i = 0; i < 4; i++)
		self->d->bytes[i] = 0x80 + i;
	string_regs(&self->v, 4, DEV_GPA, 0);
	dev_done(self->d);
	ASSERT_EQ(8, self->d->count);
	for (int i = 0; i < 4; i++) {
		EXPECT_FALSE(self->d->log[2 * i].port);
		EXPECT_EQ(DEV_GPA + i, self->d->log[2 * i].addr);
		EXPECT_TRUE(self->d->log[2 * i + 1].port);
		EXPECT_EQ(0x80 + i, self->d->log[2 * i + 1].data);
	}
}

TEST_HARNESS_MAIN
