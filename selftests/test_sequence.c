// SPDX-License-Identifier: GPL-2.0
/*
 * One guest program has the same exits on every processor: in the same order,
 * with the same fields and registers, by the one list below. What is the vendor's
 * own in the run page, raw_reason and raw_info, is left out, and what APM vol. 2
 * 15.14.3 leaves undefined at a shutdown.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include "kselftest_harness.h"
#include "guest.h"

#define DEV		0x40000000
#define ROM		0x50000000
#define UNKNOWN_MSR	0x12345678

/* RIPs are told by labels: each step notes where it is in R15. */
#define STEP(n, insn)	"lea 1f(%rip), %r15\n\tmov $" #n ", %r14d\n1:\t" insn "\n\t"

GUEST(program, 64,
	"mov $0x1122334455667788, %rax\n\tmov $" S(DEV) ", %ebx\n\tmov $0x3f8, %edx\n\t"
	"mov $" S(GPA_DATA) ", %esi\n\tmov $" S(GPA_DATA) "+64, %edi\n\tmov $3, %ecx\n\t"
	STEP(0, "out %al, $0x80")
	STEP(1, "out %ax, %dx")
	STEP(2, "out %eax, %dx")
	STEP(3, "in %dx, %al")
	STEP(4, "in $0x71, %eax")
	STEP(5, "rep outsb")
	STEP(6, "rep insl")
	STEP(7, "mov %rax, 8(%rbx)")
	STEP(8, "movzbl 0x123(%rbx), %eax")
	STEP(9, "movl $5, 0x40(%rbx)")
	STEP(10, "movb $7, " S(ROM))
	STEP(11, "mov $" S(UNKNOWN_MSR) ", %ecx")
	STEP(12, "rdmsr")
	STEP(13, "wrmsr")
	STEP(14, "mov %cr0, %rax")
	STEP(15, "mov %rax, %cr0")
	STEP(16, "mov %cr4, %rax")
	STEP(17, "mov %rax, %cr4")
	STEP(18, "mov %cr3, %rax")
	STEP(19, "mov %rax, %cr3")
	STEP(20, "mov $9, %eax")
	STEP(21, "mov %rax, %cr8")
	STEP(22, "xor %eax, %eax")
	STEP(23, "cpuid")
	STEP(24, "wbinvd")
	STEP(25, "pause")
	STEP(26, "clts")
	"mov $0x4d, %eax\n\txor %ebx, %ebx\n\tmov $1, %ecx\n\tmov $2, %edx\n\tmov $3, %esi\n\t"
	STEP(27, ".byte 0x0f, 0x01, 0xd9")
	STEP(28, "mov $0x10, %ecx")
	STEP(29, "rdtsc\n\txor %eax, %eax\n\txor %edx, %edx")
	STEP(30, "hlt")
	STEP(31, "mov $" S(DEV) "+0x2000, %ebx")
	STEP(32, "jmp *%rbx")
	STEP(33, "lidt no_idt(%rip)")
	STEP(34, "ud2")
	"no_idt:\t.fill 10, 1, 0\n\t");

/* As one reads it: what comes out, at which step, with which fields. */
static const char *const expected[] = {
	"0 io port 80 size 1 flags 1 data 88 rip+2 window 0 valid 1 regs 8a757a82",
	"1 io port 3f8 size 2 flags 1 data 7788 rip+2 window 0 valid 1 regs db8ae4dc",
	"2 io port 3f8 size 4 flags 1 data 55667788 rip+1 window 0 valid 1 regs e4b9e18e",
	"3 io port 3f8 size 1 flags 0 data 0 rip+1 window 0 valid 1 regs c45d830d",
	"4 io port 71 size 4 flags 0 data 0 rip+2 window 0 valid 1 regs 3857a26c",
	"5 io port 3f8 size 1 flags 5 data 0 rip+0 window 0 valid 3 regs 07b1049e",
	"6 io port 3f8 size 4 flags 4 data 0 rip+0 window 0 valid 3 regs 9b5a84cc",
	"7 mmio gpa 40000008 flags 1 rip+0 window 0 valid 3 regs cabe8e82",
	"8 mmio gpa 40000123 flags 0 rip+0 window 0 valid 3 regs 1b109d32",
	"9 mmio gpa 40000040 flags 1 rip+0 window 0 valid 3 regs 835441b7",
	"10 mmio gpa 50000000 flags 9 rip+0 window 0 valid 3 regs a1e83e18",
	"12 msr 12345678 flags 0 data 0 rip+0 window 0 valid 1 regs 96747b26",
	"13 msr 12345678 flags 1 data 55667788 rip+0 window 0 valid 1 regs 409db398",
	"27 hypercall 4d args 0 1 2 3 rip+3 window 0 valid 1 regs dd81bc84",
	"30 hlt rip+1 window 0 valid 1 regs a3646711",
	"32 mmio gpa 40002000 flags 2 rip: 40002000 window 0 valid 3 regs f5175adf",
	"34 shutdown regs 08221ebe",
};

FIXTURE(sequence) {
	struct vm vm;
	struct vcpu v;
	uint8_t *rom;
};

FIXTURE_SETUP(sequence)
{
	vm_create(&self->vm, RAM_SIZE, CLEAVE_VM_EXIT_HLT | CLEAVE_VM_EXIT_MSR |
				       CLEAVE_VM_EXIT_HYPERCALL);
	vcpu_create(&self->vm, &self->v, 0);
	self->rom = mem_alloc(4096, 4096);
	ASSERT_EQ(0, vm_slot(&self->vm, 1, CLEAVE_SLOT_READONLY, ROM, 4096, self->rom));
}

FIXTURE_TEARDOWN(sequence)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

/* FNV-1a of all general registers. */
static uint32_t hash(const struct cleave_regs *regs)
{
	const uint8_t *p = (const uint8_t *)regs;
	uint32_t h = 2166136261u;

	for (unsigned int i = 0; i < offsetof(struct cleave_regs, rip); i++)
		h = (h ^ p[i]) * 16777619u;
	return h;
}

/* What an exit says, in words. */
static void describe(const struct cleave_run *r, char *text, size_t size)
{
	uint64_t step = r->regs.r14, start = r->regs.r15, behind = r->regs.rip - start;
	char what[160] = "?", rip[32];

	if (r->exit == CLEAVE_EXIT_IO)
		snprintf(what, sizeof(what), "io port %x size %u flags %x data %x", r->io.port,
			 r->io.size, r->io.flags, r->io.data);
	if (r->exit == CLEAVE_EXIT_MMIO)
		snprintf(what, sizeof(what), "mmio gpa %llx flags %x", r->mmio.gpa, r->mmio.flags);
	if (r->exit == CLEAVE_EXIT_MSR)
		snprintf(what, sizeof(what), "msr %x flags %x data %llx", r->msr.index, r->msr.flags,
			 r->msr.data);
	if (r->exit == CLEAVE_EXIT_HYPERCALL)
		snprintf(what, sizeof(what), "hypercall %llx args %llx %llx %llx %llx",
			 r->hypercall.nr, r->hypercall.args[0], r->hypercall.args[1],
			 r->hypercall.args[2], r->hypercall.args[3]);
	if (r->exit == CLEAVE_EXIT_HLT)
		snprintf(what, sizeof(what), "hlt");
	if (behind < 16)
		snprintf(rip, sizeof(rip), "rip+%llu", (unsigned long long)behind);
	else
		snprintf(rip, sizeof(rip), "rip: %llx", r->regs.rip);
	snprintf(text, size, "%llu %s %s window %u valid %llx regs %08x", (unsigned long long)step,
		 what, rip, r->window, r->valid, hash(&r->regs));
	if (r->exit == CLEAVE_EXIT_SHUTDOWN)
		snprintf(text, size, "%llu shutdown regs %08x", (unsigned long long)step,
			 hash(&r->regs));
}

/* Carries the exit out, as far as the program depends on it: the same for all. */
static void carry_out(struct vcpu *v)
{
	static const uint8_t len[] = { [5] = 2, [6] = 2, [7] = 4, [8] = 7, [9] = 7, [10] = 8,
				       [32] = 2 };
	struct cleave_run *r = v->run;

	if (r->exit == CLEAVE_EXIT_IO)
		r->io.data = 0x55667788;
	if (r->exit == CLEAVE_EXIT_MSR)
		r->msr.data = 0x55667788;
	if (r->exit == CLEAVE_EXIT_MMIO || (r->io.flags & CLEAVE_ACCESS_STRING)) {
		r->regs.rip = r->regs.r15 + len[r->regs.r14];
		r->dirty = CLEAVE_REGS;
	}
}

TEST_F(sequence, of_exits)
{
	const unsigned int n = sizeof(expected) / sizeof(expected[0]);
	uint8_t *call;
	char text[256];

	GUEST_LONG(&self->v, program);
	/* The one thing that vendors have different instructions for. */
	call = memmem(self->vm.ram + GPA_CODE, 4096, "\x0f\x01\xd9", 3);
	ASSERT_NE(NULL, call);
	if (dev_info().vendor == CLEAVE_VENDOR_VMX)
		call[2] = 0xc1;
	for (unsigned int i = 0; i < n; i++) {
		ASSERT_EQ(0, vcpu_run(&self->v));
		describe(self->v.run, text, sizeof(text));
		ASSERT_STREQ(expected[i], text);
		if (self->v.run->exit != CLEAVE_EXIT_SHUTDOWN)
			EXPECT_EQ(self->v.run->rip, self->v.run->regs.r14 == 32 ?
				  DEV + 0x2000 : self->v.run->regs.r15);
		carry_out(&self->v);
	}
}

/* What the processor's own exits were: the kinds that no feature of a vendor saves. */
TEST_F(sequence, of_kinds)
{
	static const uint8_t kinds[] = {
		CLEAVE_KIND_IO, CLEAVE_KIND_IO, CLEAVE_KIND_IO, CLEAVE_KIND_IO, CLEAVE_KIND_IO,
		CLEAVE_KIND_IO, CLEAVE_KIND_IO, CLEAVE_KIND_RDMSR, CLEAVE_KIND_WRMSR,
		CLEAVE_KIND_CPUID, CLEAVE_KIND_HYPERCALL, CLEAVE_KIND_HLT, CLEAVE_KIND_SHUTDOWN,
	};
	const struct cleave_recorder *rec = mmap(NULL, sizeof(*rec), PROT_READ, MAP_SHARED,
						 self->v.fd, 4096);
	unsigned int at = 0;
	uint8_t *call;

	ASSERT_NE(MAP_FAILED, rec);
	GUEST_LONG(&self->v, program);
	call = memmem(self->vm.ram + GPA_CODE, 4096, "\x0f\x01\xd9", 3);
	if (dev_info().vendor == CLEAVE_VENDOR_VMX)
		call[2] = 0xc1;
	do {
		ASSERT_EQ(0, vcpu_run(&self->v));
		carry_out(&self->v);
	} while (self->v.run->exit != CLEAVE_EXIT_SHUTDOWN);
	for (uint64_t i = 0; i < rec->count; i++) {
		uint32_t kind = rec->records[i].kind;

		if (!memchr(kinds, kind, sizeof(kinds)))
			continue;
		ASSERT_LT(at, sizeof(kinds));
		EXPECT_EQ(kinds[at], kind) {
			TH_LOG("the %u.", at);
		}
		at++;
	}
	EXPECT_EQ(sizeof(kinds), at);
}

TEST_HARNESS_MAIN
