// SPDX-License-Identifier: GPL-2.0
/*
 * A guest reads and writes every MSR that a bitmap can name, and those of
 * hypervisors: each gives a value or #GP(0), or with CLEAVE_VM_EXIT_MSR, where
 * it is unknown, an exit; and the host's own are what they were.
 */
#define _GNU_SOURCE
#include <cpuid.h>
#include <stdio.h>
#include <string.h>
#include "kselftest_harness.h"
#include "health.h"

#define GPA_ENTRIES	0x100000
#define DONE		1
#define GP		(0x10000 | 13)		/* of vector 13 and error code 0 */

static const struct range {
	uint32_t first, count;
} ranges[] = {
	{ 0, 0x2000 }, { 0xc0000000, 0x2000 }, { 0xc0010000, 0x2000 },
	{ 0x40000000, 0x200 }, { 0x4b564d00, 0x10 },
};

#define RANGES	(sizeof(ranges) / sizeof(ranges[0]))

/* Of one MSR: what became of the access, and what was read or is to be written. */
struct entry {
	uint64_t result, value;
};

/* RBX: entries, ESI: the first index, EDI: how many. Exceptions go on at 8. */
#define SWEEP(before, insn, behind)					\
	"1:\tlea 8f(%rip), %rax\n\tmov %rax, " S(GPA_TRAP) "+72\n\t"	\
	before "mov %esi, %ecx\n\t" insn "\n\t" behind			\
	"movq $0, " S(GPA_TRAP) "+72\n\tmovq $" S(DONE) ", (%rbx)\n\tjmp 9f\n"	\
	"8:\tmov " S(GPA_TRAP) "+16, %rax\n\tshl $32, %rax\n\tor " S(GPA_TRAP) "+8, %rax\n\t" \
	"or $0x10000, %rax\n\tmov %rax, (%rbx)\n"			\
	"9:\tadd $16, %rbx\n\tinc %esi\n\tdec %edi\n\tjnz 1b\n\t" G_DONE

GUEST(read_all, 64, SWEEP("", "rdmsr", "mov %eax, 8(%rbx)\n\tmov %edx, 12(%rbx)\n\t"));
GUEST(write_all, 64, SWEEP("mov 8(%rbx), %eax\n\tmov 12(%rbx), %edx\n\t", "wrmsr", ""));

#define GPA_WRITE_ALL	(GPA_CODE + 0x800)

/* What a guest may read, and no more: the list of kmod/msr.c and the backends. */
enum who { ALL, INTEL, AMD, SPEC_CTRL, TSC_AUX, ARCH_CAPS, X2APIC };

static const struct allowed {
	uint32_t first, count;
	enum who who;
} allowed[] = {
	{ 0x10, 1 },			/* TSC */
	{ 0x17, 1, INTEL },		/* PLATFORM_ID */
	{ 0x1b, 1 },			/* APIC_BASE */
	{ 0x3a, 1, INTEL },		/* FEAT_CTL */
	{ 0x3b, 1 },			/* TSC_ADJUST */
	{ 0x48, 1, SPEC_CTRL },
	{ 0x8b, 1 },			/* UCODE_REV */
	{ 0xce, 1, INTEL },		/* PLATFORM_INFO */
	{ 0xfe, 1 },			/* MTRR_CAP */
	{ 0x10a, 1, ARCH_CAPS },
	{ 0x174, 3 },			/* SYSENTER_* */
	{ 0x179, 2 },			/* MCG_CAP, MCG_STATUS */
	{ 0x1a0, 1, INTEL },		/* MISC_ENABLE */
	{ 0x200, 16 }, { 0x250, 1 }, { 0x258, 2 }, { 0x268, 8 }, { 0x2ff, 1 },	/* MTRRs */
	{ 0x277, 1 },			/* PAT */
	{ 0x6e0, 1 },			/* TSC_DEADLINE */
	{ 0x802, 2, X2APIC }, { 0x808, 1, X2APIC }, { 0x80a, 1, X2APIC }, { 0x80d, 1, X2APIC },
	{ 0x80f, 26, X2APIC },		/* SVR, ISR, TMR, IRR, ESR */
	{ 0x830, 1, X2APIC }, { 0x832, 8, X2APIC }, { 0x83e, 1, X2APIC },
	{ 0x4b564d00, 2 }, { 0x4b564d03, 3 },	/* of KVM: clocks; steal time, EOI, polling */
	{ 0xc0000080, 5 },		/* EFER, STAR, LSTAR, CSTAR, SFMASK */
	{ 0xc0000100, 3 },		/* FS_BASE, GS_BASE, KERNEL_GS_BASE */
	{ 0xc0000103, 1, TSC_AUX },
	{ 0xc0010010, 1, AMD },		/* SYSCFG */
	{ 0xc0010015, 1, AMD },		/* HWCR */
	{ 0xc001001a, 1, AMD }, { 0xc001001d, 1, AMD },	/* TOP_MEM, TOP_MEM2 */
	{ 0xc001001f, 1, AMD },		/* NB_CFG */
	{ 0xc0010055, 1, AMD },		/* INT_PENDING */
	{ 0xc0010058, 1, AMD },		/* MMIO_CONF_BASE */
	{ 0xc0010140, 2, AMD },		/* OSVW */
	{ 0xc0011029, 1, AMD },		/* DE_CFG */
};

FIXTURE(msr) {
	struct vm vm;
	struct vcpu v;
	struct entry *entries;
	bool amd, msr_module;
	struct health before;
};

FIXTURE_VARIANT(msr) {
	uint64_t flags;
	bool x2apic;
};

FIXTURE_VARIANT_ADD(msr, faults) { };
FIXTURE_VARIANT_ADD(msr, exits) { .flags = CLEAVE_VM_EXIT_MSR };
FIXTURE_VARIANT_ADD(msr, faults_x2apic) { .x2apic = true };

/* ---- the host's ---------------------------------------------------------- */

/* The guest's CPU is of the host's vendor. */
static bool is_amd(void)
{
	uint32_t eax, ebx, ecx, edx;

	__cpuid(0, eax, ebx, ecx, edx);
	return ebx == signature_AMD_ebx || ebx == 0x6f677948;	/* "Hygo" */
}

static void expect_host(FIXTURE_DATA(msr) *self, struct __test_metadata *_metadata)
{
	struct health now;

	health_read(&now);
	EXPECT_EQ(0, health_compare(&self->before, &now));
}

/* ---- the guest's --------------------------------------------------------- */

FIXTURE_SETUP(msr)
{
	self->msr_module = msr_module_load();
	self->amd = is_amd();
	health_read(&self->before);
	if (!self->before.readable[0])
		printf("# no /dev/cpu/N/msr: the host's are looked at by what a process sees\n");
	vm_create(&self->vm, RAM_SIZE, variant->flags);
	vcpu_create(&self->vm, &self->v, 0);
	self->entries = (struct entry *)(self->vm.ram + GPA_ENTRIES);
	GUEST_LONG(&self->v, read_all);
	GUEST_LOAD(&self->vm, GPA_WRITE_ALL, write_all);
	if (variant->x2apic)
		vcpu_x2apic(&self->v);
}

FIXTURE_TEARDOWN(msr)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
	if (self->msr_module)
		msr_module_unload();
}

static bool there(enum who who, bool amd, bool x2apic)
{
	switch (who) {
	case ALL:
		return true;
	case INTEL:
		return !amd;
	case AMD:
		return amd;
	case SPEC_CTRL:		/* IBRS, STIBP, SSBD, PSFD, by either vendor's bits */
		return cpuid_offered(7, 3, 26) || cpuid_offered(7, 3, 27) ||
		       cpuid_offered(7, 3, 31) || cpuid_offered(0x80000008, 1, 14) ||
		       cpuid_offered(0x80000008, 1, 15) || cpuid_offered(0x80000008, 1, 24) ||
		       cpuid_offered(0x80000008, 1, 28);
	case TSC_AUX:
		return cpuid_offered(0x80000001, 3, 27) || cpuid_offered(7, 2, 22);
	case ARCH_CAPS:
		return cpuid_offered(7, 3, 29);
	case X2APIC:
		return x2apic;
	}
	return false;
}

/* Which of the range may be read. */
static void allow(const struct range *r, bool amd, bool x2apic, bool *may)
{
	memset(may, 0, r->count);
	for (unsigned int i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		const struct allowed *a = &allowed[i];

		if (a->first - r->first < r->count && there(a->who, amd, x2apic))
			memset(may + (a->first - r->first), 1, a->count);
	}
}

/* Registers that are no MSR without x2APIC mode are known all the same, as is a command. */
static bool known(uint32_t index)
{
	return (index >= 0x800 && index <= 0x8ff) || index == 0x6e0;
}

#define ANSWER(index)	(0x1234567800000000ull | (index))

/* The range, one by one; what left to user space is counted in exits[]. */
static void sweep(FIXTURE_DATA(msr) *self, struct __test_metadata *_metadata,
		  const struct range *r, bool write, uint8_t *exits)
{
	struct cleave_run *run = self->v.run;
	struct cleave_regs regs;

	memset(exits, 0, r->count);
	regs_get(&self->v, &regs);
	regs.rip = write ? GPA_WRITE_ALL : GPA_CODE;
	regs.rbx = GPA_ENTRIES;
	regs.rsi = r->first;
	regs.rdi = r->count;
	regs_set(&self->v, &regs);
	for (;;) {
		uint32_t i;

		ASSERT_EQ(0, vcpu_run(&self->v));
		if (run->exit != CLEAVE_EXIT_MSR)
			break;
		i = run->msr.index - r->first;
		ASSERT_EQ((uint32_t)run->regs.rsi, run->msr.index);
		ASSERT_EQ(write ? CLEAVE_ACCESS_WRITE : 0, run->msr.flags);
		ASSERT_EQ(write ? self->entries[i].value : 0, run->msr.data);
		exits[i]++;
		run->msr.error = i & 1;
		if (!write)
			run->msr.data = ANSWER(run->msr.index);
	}
	if (run->exit != CLEAVE_EXIT_IO || run->io.port != PORT_DONE)
		vcpu_dump(&self->v);
	ASSERT_EQ(CLEAVE_EXIT_IO, run->exit);
	ASSERT_EQ(PORT_DONE, run->io.port);
	ASSERT_EQ(r->first + r->count, (uint32_t)run->regs.rsi);
}

/* A value, or #GP(0), or what user space said. */
static void expect_results(FIXTURE_DATA(msr) *self, struct __test_metadata *_metadata,
			   const struct range *r, bool exit_msr, const uint8_t *exits)
{
	for (uint32_t i = 0; i < r->count; i++) {
		uint64_t result = self->entries[i].result;

		ASSERT_TRUE(result == DONE || result == GP) {
			TH_LOG("MSR %#x: %#lx", r->first + i, result);
		}
		ASSERT_LE(exits[i], exit_msr) {
			TH_LOG("MSR %#x", r->first + i);
		}
		if (exits[i])
			ASSERT_EQ(i & 1 ? GP : DONE, result);
	}
}

/* By the list: what reads, and what is unknown. */
static void expect_list(FIXTURE_DATA(msr) *self, struct __test_metadata *_metadata,
			const struct range *r, bool exit_msr, const uint8_t *exits, const bool *may)
{
	for (uint32_t i = 0; i < r->count; i++) {
		uint32_t index = r->first + i;

		EXPECT_EQ(exit_msr && !may[i] && !known(index), exits[i]) {
			TH_LOG("MSR %#x", index);
		}
		if (exits[i] && !(i & 1))
			EXPECT_EQ(ANSWER(index), self->entries[i].value);
		if (exits[i])
			continue;
		EXPECT_EQ(may[i] ? DONE : GP, self->entries[i].result) {
			TH_LOG("MSR %#x", index);
		}
	}
}

/* Reads all of a range by the list, and leaves the values where they are written from. */
static void read_range(FIXTURE_DATA(msr) *self, struct __test_metadata *_metadata,
		       const FIXTURE_VARIANT(msr) *variant, const struct range *r, const bool *may)
{
	static uint8_t exits[0x2000];

	sweep(self, _metadata, r, false, exits);
	expect_results(self, _metadata, r, variant->flags, exits);
	expect_list(self, _metadata, r, variant->flags, exits, may);
}

/* What a guest can read and not write: the revision of microcode, ARCH_CAPABILITIES. */
static bool read_only(uint32_t index)
{
	return index == 0x8b || index == 0x10a || (index >= 0x800 && index < 0x840);
}

TEST_F_TIMEOUT(msr, written_back, 300)
{
	static bool may[0x2000];
	static uint8_t exits[0x2000];

	for (unsigned int i = 0; i < RANGES; i++) {
		const struct range *r = &ranges[i];

		allow(r, self->amd, variant->x2apic, may);
		read_range(self, _metadata, variant, r, may);
		for (uint32_t j = 0; j < r->count; j++)
			if (!may[j])
				self->entries[j].value = 0x0123456789abcdefull ^ j;
		sweep(self, _metadata, r, true, exits);
		expect_results(self, _metadata, r, variant->flags, exits);
		for (uint32_t j = 0; j < r->count; j++) {
			if (!may[j] || read_only(r->first + j))
				continue;
			EXPECT_EQ(DONE, self->entries[j].result) {
				TH_LOG("MSR %#x: %#lx", r->first + j, self->entries[j].value);
			}
		}
	}
	expect_host(self, _metadata);
}

/* It counts, or is made of one that does, or belongs to the local APIC. */
static bool moves(uint32_t index)
{
	return index == 0x10 || index == 0x3b || index == 0x6e0 ||
	       (index >= 0x800 && index < 0x840);
}

static const uint64_t junk[] = {
	0x00005a5a5a5a5000, ~0ull, 0, 0x0606060606060606, 0x12345000, 1,
};

#define JUNK	(emulated_by_bochs() ? 3 : sizeof(junk) / sizeof(junk[0]))

/* Writes it to all of a range that was read; what is #GP changes nothing. How many took it? */
static int write_junk(FIXTURE_DATA(msr) *self, struct __test_metadata *_metadata,
		      const FIXTURE_VARIANT(msr) *variant, const struct range *r, uint64_t val)
{
	static uint8_t exits[0x2000];
	static struct entry before[0x2000], written[0x2000];
	int taken = 0;

	memcpy(before, self->entries, r->count * sizeof(before[0]));
	for (uint32_t i = 0; i < r->count; i++)
		self->entries[i].value = val;
	sweep(self, _metadata, r, true, exits);
	expect_results(self, _metadata, r, variant->flags, exits);
	memcpy(written, self->entries, r->count * sizeof(before[0]));
	sweep(self, _metadata, r, false, exits);
	expect_results(self, _metadata, r, variant->flags, exits);
	for (uint32_t i = 0; i < r->count; i++) {
		if (before[i].result != DONE || exits[i] || moves(r->first + i))
			continue;
		taken += written[i].result == DONE;
		if (written[i].result != GP)
			continue;
		EXPECT_EQ(before[i].value, self->entries[i].value) {
			TH_LOG("MSR %#x changed by %#lx, which was #GP", r->first + i, val);
		}
	}
	expect_host(self, _metadata);
	return taken;
}

/* Whatever values a guest thinks of. */
TEST_F_TIMEOUT(msr, of_junk, 300)
{
	static uint8_t exits[0x2000];
	int taken = 0;

	for (unsigned int i = 0; i < RANGES; i++) {
		sweep(self, _metadata, &ranges[i], false, exits);
		for (unsigned int j = 0; j < JUNK; j++)
			taken += write_junk(self, _metadata, variant, &ranges[i], junk[j]);
	}
	EXPECT_GT(taken, 50);
}

TEST_HARNESS_MAIN
