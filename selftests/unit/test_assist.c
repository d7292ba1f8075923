// SPDX-License-Identifier: GPL-2.0
/*
 * The instruction assist against the CPU itself: each instruction runs natively
 * on a page of this process and by the assist on a device whose guest-linear
 * address is the same, from the same registers and flags.
 */
#include <errno.h>
#include <sys/mman.h>
#include "unit.h"
#include "libcleave.h"
#include "../../userspace-tool/libcleave/x86.h"

/* Where things are, as host, guest-linear and guest-physical address alike. */
#define CODE	0x10000000ULL
#define STACK	0x18000000ULL
#define RAM	0x1c000000ULL		/* two pages, in both worlds */
#define DATA	0x20000000ULL		/* two pages: memory natively, a device for the guest */
#define TABLES	0x30000000ULL
#define SIZE	8192

static uint8_t device[SIZE];
static struct cleave_mem mem;
static struct cleave_assist as;
static struct cleave_run run;
static struct cleave_fpu fpu;
static unsigned int reads, writes, ports;
static uint64_t last_gpa, last_size;
static uint32_t port_data, port_nr;

static int mmio_read(void *opaque, uint64_t gpa, void *data, unsigned int size)
{
	reads++;
	last_gpa = gpa;
	last_size = size;
	if (gpa - DATA > SIZE - size)
		return -ENODEV;
	memcpy(data, device + (gpa - DATA), size);
	return 0;
}

static int mmio_write(void *opaque, uint64_t gpa, const void *data, unsigned int size)
{
	writes++;
	last_gpa = gpa;
	last_size = size;
	if (gpa - DATA > SIZE - size)
		return -ENODEV;
	memcpy(device + (gpa - DATA), data, size);
	return 0;
}

static int pio_in(void *opaque, uint16_t port, uint32_t *data, unsigned int size)
{
	ports++;
	port_nr = port;
	*data = port_data++;
	return 0;
}

static int pio_out(void *opaque, uint16_t port, uint32_t data, unsigned int size)
{
	ports++;
	port_nr = port;
	port_data = data;
	last_size = size;
	return 0;
}

static int fpu_get(void *opaque, struct cleave_fpu *f)
{
	*f = fpu;
	return 0;
}

static int fpu_set(void *opaque, const struct cleave_fpu *f)
{
	fpu = *f;
	return 0;
}

static void *map_at(uint64_t at, size_t size, int prot)
{
	void *p = mmap((void *)at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (p != (void *)at)
		abort();
	return p;
}

/* Identity tables of 2 MiB pages for the first GiB, but 4 KiB ones around DATA. */
static void page_tables(void)
{
	uint64_t *t = (uint64_t *)TABLES;

	memset(t, 0, 4 * 4096);
	t[0] = (TABLES + 0x1000) | 7;
	t[512] = (TABLES + 0x2000) | 7;
	for (uint64_t i = 0; i < 512; i++)
		t[1024 + i] = i << 21 | 0x87;
	t[1024 + (DATA >> 21)] = (TABLES + 0x3000) | 7;
	for (uint64_t i = 0; i < 512; i++)
		t[1536 + i] = (DATA + (i << 12)) | 7;
}

__attribute__((constructor(101))) static void init(void)
{
	map_at(CODE, SIZE, PROT_READ | PROT_WRITE | PROT_EXEC);
	map_at(STACK, SIZE, PROT_READ | PROT_WRITE);
	map_at(RAM, SIZE, PROT_READ | PROT_WRITE);
	map_at(DATA, SIZE, PROT_READ | PROT_WRITE);
	map_at(TABLES, 4 * 4096, PROT_READ | PROT_WRITE);
	cleave_mem_add(&mem, CODE, SIZE, (void *)CODE, 0);
	cleave_mem_add(&mem, STACK, SIZE, (void *)STACK, 0);
	cleave_mem_add(&mem, RAM, SIZE, (void *)RAM, 0);
	cleave_mem_add(&mem, TABLES, 4 * 4096, (void *)TABLES, 0);
	as = (struct cleave_assist){
		.mem = &mem, .phys_bits = 46, .mmio_read = mmio_read, .mmio_write = mmio_write,
		.pio_in = pio_in, .pio_out = pio_out, .fpu_get = fpu_get, .fpu_set = fpu_set,
	};
	if (cleave_assist_init(&as))
		abort();
}

__attribute__((destructor)) static void fini(void)
{
	cleave_assist_free(&as);
}

/* A fresh vCPU: mode 8 is 64-bit, 4 protected and 2 real mode. */
static void vcpu(unsigned int mode, const void *code, size_t len)
{
	struct cleave_segment data = { .limit = 0xffffffff, .ar = 0xc093 };

	page_tables();
	memset(&run, 0, sizeof(run));
	run.exit = CLEAVE_EXIT_INSN;
	run.regs.rip = CODE;
	run.regs.rflags = 2;
	run.regs.rsp = STACK + SIZE;
	run.sregs.cs = run.sregs.ds = run.sregs.es = run.sregs.fs = run.sregs.gs = run.sregs.ss = data;
	run.sregs.tr = (struct cleave_segment){ .limit = 0x67, .ar = 0x8b };
	run.sregs.cs.ar = mode == 8 ? 0xa09b : mode == 4 ? 0xc09b : 0x9b;
	run.sregs.cr0 = mode == 2 ? 0 : X86_CR0_PE;
	if (mode == 2) {
		run.sregs.ss.ar = 0x93;
		run.sregs.cs.base = CODE;
		run.regs.rip = 0;
	} else if (mode == 8) {
		run.sregs.cr0 |= X86_CR0_PG | X86_CR0_WP;
		run.sregs.cr3 = TABLES;
		run.sregs.cr4 = X86_CR4_PAE | X86_CR4_OSFXSR;
		run.sregs.efer = X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE;
	}
	memset(device, 0, sizeof(device));
	reads = writes = ports = 0;
	memcpy((void *)CODE, code, len);
}
#define VCPU(mode, code) vcpu(mode, code, sizeof(code) - 1)

static void expect_fault(uint8_t vector, bool error, uint32_t code)
{
	struct cleave_regs before = run.regs;

	CHECK_EQ(cleave_assist(&as, &run), CLEAVE_ASSIST_FAULT);
	CHECK_EQ(as.fault.type, CLEAVE_EVENT_EXCEPTION);
	CHECK_EQ(as.fault.vector, vector);
	CHECK_EQ(!!(as.fault.flags & CLEAVE_EVENT_ERROR), error);
	CHECK_EQ(as.fault.error_code, code);
	CHECK(!memcmp(&before, &run.regs, sizeof(before)));
}

/* ---- against the CPU ---- */

struct row {
	const uint8_t *start, *end;
	const char *text;
};

extern const struct row __start_insn_table[], __stop_insn_table[];

#define INSN(text) asm(".pushsection .rodata\n1: " text "\n2: .byte 0xc3\n3: .asciz \"" text "\"\n" \
	".popsection\n.pushsection insn_table,\"aw\"\n.quad 1b, 2b, 3b\n.popsection")
#define SIZES(op, rest) INSN(op "b " rest); INSN(op "w " rest); INSN(op "l " rest); INSN(op "q " rest)
#define REGS(op, tail) INSN(op "b %al, " tail); INSN(op "w %r8w, " tail); INSN(op "l %edx, " tail); \
	INSN(op "q %r15, " tail); INSN(op "b %ch, " tail); INSN(op "b %sil, " tail)
#define LOADS(op) INSN(op "b (%rbx), %dh"); INSN(op "b 3(%rbx), %r9b"); INSN(op "w (%rbx), %bp"); \
	INSN(op "l -7(%rbx,%r10,4), %eax"); INSN(op "q 5(%rbx), %r11")
#define BOTH(op) REGS(op, "(%rbx)"); LOADS(op); SIZES(op, "$0x55, 2(%rbx)"); INSN(op "l $-3, (%rbx)"); \
	INSN(op "q $-0x7654321, (%rbx)")
#define BINARY(op) BOTH(op); INSN("lock " op "l %ecx, (%rbx)"); INSN("lock " op "q $-9, (%rbx)")
#define SHIFT(op) SIZES(op, "$1, (%rbx)"); SIZES(op, "%cl, (%rbx)"); SIZES(op, "$5, 1(%rbx)")
#define BITS(op) INSN(op "w %dx, (%rbx)"); INSN(op "l %edx, (%rbx)"); INSN(op "q %rdx, (%rbx)"); \
	INSN(op "l $37, (%rbx)"); INSN(op "q $61, (%rbx)"); INSN(op "w $9, (%rbx)")
#define STRING(op) INSN(op "b"); INSN(op "w"); INSN(op "l"); INSN(op "q")

BOTH("mov"); INSN("movabs 0x20000010, %al"); INSN("movabs 0x20000011, %rax");
INSN("movabs %eax, 0x20000012"); INSN("movabs %ax, 0x20000013");
INSN("mov %ds, (%rbx)"); INSN("movnti %edx, (%rbx)"); INSN("movnti %r9, (%rbx)");
INSN("movzbl (%rbx), %eax"); INSN("movzbw (%rbx), %r8w"); INSN("movzwl (%rbx), %ebp");
INSN("movzwq (%rbx), %rdx"); INSN("movsbl (%rbx), %eax"); INSN("movsbw (%rbx), %cx");
INSN("movsbq 1(%rbx), %r12"); INSN("movswl (%rbx), %r13d"); INSN("movswq (%rbx), %rax");
INSN("movslq (%rbx), %r14"); INSN("movl (%ebx), %edx"); INSN("movw %dx, 8(%rbx,%r10)");
BINARY("add"); BINARY("or"); BINARY("adc"); BINARY("sbb"); BINARY("and"); BINARY("sub"); BINARY("xor");
BOTH("cmp"); REGS("test", "(%rbx)"); SIZES("test", "$0x71, (%rbx)");
SIZES("not", "(%rbx)"); SIZES("neg", "(%rbx)"); SIZES("inc", "(%rbx)"); SIZES("dec", "(%rbx)");
INSN("lock incl (%rbx)"); INSN("lock negq (%rbx)"); INSN("lock notb (%rbx)");
SHIFT("rol"); SHIFT("ror"); SHIFT("rcl"); SHIFT("rcr"); SHIFT("shl"); SHIFT("shr"); SHIFT("sar");
INSN("shldl $7, %edx, (%rbx)"); INSN("shldq %cl, %rdx, (%rbx)"); INSN("shrdl %cl, %edx, (%rbx)");
INSN("shrdw $3, %dx, (%rbx)"); INSN("shrdq $63, %r8, (%rbx)");
REGS("xchg", "(%rbx)"); REGS("xadd", "(%rbx)"); REGS("lock xadd", "(%rbx)");
REGS("cmpxchg", "(%rbx)"); REGS("lock cmpxchg", "(%rbx)");
INSN("cmpxchg8b (%rbx)"); INSN("lock cmpxchg8b (%rbx)");
BITS("bt"); BITS("bts"); BITS("btr"); BITS("btc"); INSN("lock btsl %edx, (%rbx)");
INSN("seto (%rbx)"); INSN("setc (%rbx)"); INSN("setz (%rbx)"); INSN("setbe (%rbx)");
INSN("sets (%rbx)"); INSN("setp (%rbx)"); INSN("setl (%rbx)"); INSN("setle (%rbx)");
INSN("setno (%rbx)"); INSN("seta (%rbx)"); INSN("setge (%rbx)"); INSN("setg (%rbx)");
INSN("cmovzl (%rbx), %eax"); INSN("cmovnzq (%rbx), %r8"); INSN("cmovlw (%rbx), %dx");
STRING("movs"); STRING("stos"); STRING("lods"); STRING("cmps"); STRING("scas");
STRING("rep movs"); STRING("rep stos"); STRING("rep lods"); STRING("repe cmps"); STRING("repne cmps");
STRING("repe scas"); STRING("repne scas"); INSN("addr32 rep movsl"); INSN("addr32 rep stosb");
INSN("prefetcht0 (%rbx)"); INSN("clflush (%rbx)");

struct native {
	uint64_t gpr[16];
	uint64_t flags;
};

struct native native_regs;
uint64_t native_host_rsp;
void *native_code = (void *)CODE;
void native_run(void);

asm(".text\n"
    "native_run:\n"
    "	push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
    "	mov %rsp, native_host_rsp(%rip)\n"
    "	lea native_regs(%rip), %rdi\n"
    "	pushq 128(%rdi)\n"
    "	mov 0(%rdi), %rax; mov 8(%rdi), %rcx; mov 16(%rdi), %rdx; mov 24(%rdi), %rbx\n"
    "	mov 40(%rdi), %rbp; mov 48(%rdi), %rsi; mov 64(%rdi), %r8; mov 72(%rdi), %r9\n"
    "	mov 80(%rdi), %r10; mov 88(%rdi), %r11; mov 96(%rdi), %r12; mov 104(%rdi), %r13\n"
    "	mov 112(%rdi), %r14; mov 120(%rdi), %r15; mov 56(%rdi), %rdi\n"
    "	popfq\n"
    "	call *native_code(%rip)\n"
    "	mov %rdi, native_regs+56(%rip)\n"
    "	pushfq\n"
    "	cld\n"
    "	lea native_regs(%rip), %rdi\n"
    "	popq 128(%rdi)\n"
    "	mov %rax, 0(%rdi); mov %rcx, 8(%rdi); mov %rdx, 16(%rdi); mov %rbx, 24(%rdi)\n"
    "	mov %rbp, 40(%rdi); mov %rsi, 48(%rdi); mov %r8, 64(%rdi); mov %r9, 72(%rdi)\n"
    "	mov %r10, 80(%rdi); mov %r11, 88(%rdi); mov %r12, 96(%rdi); mov %r13, 104(%rdi)\n"
    "	mov %r14, 112(%rdi); mov %r15, 120(%rdi)\n"
    "	pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
    "	ret\n");

static uint64_t seed = 0x9e3779b97f4a7c15ULL;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static bool starts(const char *text, const char *with)
{
	if (!strncmp(text, "lock ", 5))
		text += 5;
	return !strncmp(text, with, strlen(with));
}

/* The flags that the manual defines after this instruction. */
static uint64_t defined_flags(const char *t)
{
	if (starts(t, "bt"))
		return X86_CF | X86_ZF;
	if (starts(t, "sh") || starts(t, "sa"))
		return X86_ARITH & ~(X86_AF | X86_OF);
	if (starts(t, "ro") || starts(t, "rc"))
		return X86_ARITH & ~X86_OF;
	if (starts(t, "and") || starts(t, "or") || starts(t, "xor") || starts(t, "test"))
		return X86_ARITH & ~X86_AF;
	return X86_ARITH | X86_DF;
}

static void random_state(const char *text)
{
	uint8_t *d = (uint8_t *)DATA;
	uint64_t same = rnd();

	for (unsigned int i = 0; i < SIZE; i++)
		d[i] = same & 1 ? rnd() & 1 : rnd();
	for (unsigned int i = 0; i < 16; i++)
		native_regs.gpr[i] = rnd();
	native_regs.gpr[3] = DATA + 4096 - 32 + rnd() % 64;
	native_regs.gpr[10] = rnd() % 16;
	native_regs.gpr[6] = DATA + 2000 + rnd() % 64;
	native_regs.gpr[7] = DATA + 3900 + rnd() % 300;
	if (strstr(text, "rep"))
		native_regs.gpr[1] = rnd() % 24;
	if (starts(text, "bt"))
		native_regs.gpr[2] = (int64_t)(rnd() % 1024) - 512;
	if (starts(text, "cmpxchg") && same & 2) {
		memcpy(&native_regs.gpr[0], (void *)native_regs.gpr[3], 8);
		memcpy(&native_regs.gpr[2], (void *)(native_regs.gpr[3] + 4), 4);
	}
	native_regs.flags = 0x202 | (rnd() & (X86_ARITH | X86_DF));
}

/* Carries out the instruction from the native state before, compares with the one after. */
static void compare(const struct row *r, const struct native *before, const uint8_t *memory)
{
	__u64 *gpr = &run.regs.rax;
	int bad = -1;

	for (int k = 0; k < 16; k++)
		if (k != 4)
			gpr[k] = before->gpr[k];
	run.regs.rip = CODE;
	run.regs.rflags = before->flags;
	run.dirty = 0;
	memcpy(device, memory, SIZE);
	reads = writes = 0;
	CHECK_EQ(cleave_assist(&as, &run), CLEAVE_ASSIST_DONE);
	for (int k = 0; k < 16; k++)
		if (k != 4 && gpr[k] != native_regs.gpr[k])
			bad = k;
	if (bad >= 0)
		unit_fail("%s: register %d is %llx, not %llx", r->text, bad, (long long)gpr[bad],
			  (long long)native_regs.gpr[bad]);
	if ((run.regs.rflags ^ native_regs.flags) & defined_flags(r->text))
		unit_fail("%s: flags %llx, not %llx", r->text, (long long)run.regs.rflags,
			  (long long)native_regs.flags);
	if (memcmp(device, (void *)DATA, SIZE))
		unit_fail("%s: memory differs", r->text);
	if (run.regs.rip != CODE + (r->end - r->start))
		unit_fail("%s: RIP %llx", r->text, (long long)run.regs.rip);
	if (run.dirty != CLEAVE_REGS)
		unit_fail("%s: dirty %llx", r->text, (long long)run.dirty);
}

UNIT_TEST(same_as_native)
{
	unsigned int rows = 0, hinted = 0;

	for (const struct row *r = __start_insn_table; r < __stop_insn_table; r++, rows++) {
		for (int i = 0; i < 60; i++) {
			static uint8_t memory[SIZE];
			struct native before;

			vcpu(8, r->start, r->end - r->start + 1);
			random_state(r->text);
			before = native_regs;
			memcpy(memory, (void *)DATA, SIZE);
			native_run();
			compare(r, &before, memory);
			if (reads + writes == 0 || reads > 1 || writes > 1 || (last_gpa & 4095) > 4088)
				continue;
			/* once more, as the exit that this access is: its gpa is given */
			run.exit = CLEAVE_EXIT_MMIO;
			run.mmio.gpa = last_gpa;
			run.mmio.flags = writes ? CLEAVE_ACCESS_WRITE : 0;
			compare(r, &before, memory);
			hinted++;
		}
	}
	printf("# %u instructions, %u times with the gpa of an exit\n", rows, hinted);
	CHECK(rows > 300);
	CHECK(hinted > 5000);
}

/* ---- by hand ---- */

UNIT_TEST(segments_and_bases)
{
	VCPU(8, "\x64\x8b\x03");			/* mov eax, fs:[rbx] */
	run.sregs.fs.base = DATA;
	run.sregs.ds.base = 0x5000;			/* has no meaning in 64-bit mode */
	run.regs.rbx = 8;
	device[8] = 0x77;
	run.regs.rax = ~0ULL;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(run.regs.rax, 0x77);

	VCPU(8, "\x8b\x05\x00\x00\x00\x10");		/* mov eax, [rip + 0x10000000] */
	device[6] = 0x66;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(run.regs.rax, 0x66);

	VCPU(2, "\x26\x8b\x00");			/* mov ax, es:[bx + si] */
	run.sregs.es.base = DATA;
	run.regs.rbx = 0x1fff8;				/* 16-bit addresses wrap */
	run.regs.rsi = 0x10;
	run.regs.rax = 0x11110000;
	device[8] = 0x34;
	device[9] = 0x12;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(run.regs.rax, 0x11111234);
	CHECK_EQ(run.regs.rip, 3);

	VCPU(4, "\x88\x83\x00\x00\x00\x20");		/* mov [ebx + 0x20000000], al */
	run.regs.rbx = 0xffffffff00000005ULL;
	run.regs.rax = 0xab;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(device[5], 0xab);
}

UNIT_TEST(faults_leave_registers)
{
	uint64_t *t = (uint64_t *)TABLES;

	VCPU(8, "\x48\x89\x03");			/* mov [rbx], rax */
	run.regs.rbx = 1ULL << 47;
	expect_fault(X86_GP, true, 0);
	VCPU(8, "\x48\x89\x04\x24");			/* mov [rsp], rax */
	run.regs.rsp = 1ULL << 47;
	expect_fault(X86_SS, true, 0);

	VCPU(8, "\x48\x89\x03");			/* second page of two is missing */
	t[1536 + 1] = 0;
	run.regs.rbx = DATA + 4093;
	expect_fault(X86_PF_VECTOR, true, 2);
	CHECK_EQ(as.fault.payload, DATA + 4096);
	CHECK_EQ(writes, 0);
	run.sregs.ss.ar |= CLEAVE_AR_DPL;
	t[1536] &= ~4ULL;				/* supervisor only */
	run.regs.rbx = DATA;
	expect_fault(X86_PF_VECTOR, true, 1 | 2 | 4);
	CHECK_EQ(as.fault.payload, DATA);

	VCPU(4, "\x89\x03");				/* mov [ebx], eax */
	run.sregs.ds.limit = DATA + 2;
	run.regs.rbx = DATA;
	expect_fault(X86_GP, true, 0);
	run.sregs.ds.limit = 0xffffffff;
	run.sregs.ds.ar &= ~2U;				/* read-only */
	expect_fault(X86_GP, true, 0);
	run.sregs.ds.ar = CLEAVE_AR_UNUSABLE;
	expect_fault(X86_GP, true, 0);
	VCPU(4, "\x89\x03");				/* expand-down: only above the limit */
	run.sregs.ds.ar = 0xc097;
	run.sregs.ds.limit = DATA - 1;
	run.regs.rbx = DATA;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	run.regs.rip = CODE;
	run.sregs.ds.limit = DATA;
	expect_fault(X86_GP, true, 0);
	VCPU(2, "\x89\x07");				/* mov [bx], ax: #GP has no error code in real mode */
	run.sregs.ds.limit = 0xffff;
	run.regs.rbx = 0xffff;
	expect_fault(X86_GP, false, 0);
	VCPU(8, "\x8b\x03");				/* fetch from a page that is gone */
	t[1024 + (CODE >> 21)] = 0;
	expect_fault(X86_PF_VECTOR, true, 16);
}

UNIT_TEST(rep_is_bounded_and_restarts_at_faults)
{
	uint64_t *t = (uint64_t *)TABLES;

	VCPU(8, "\xf3\xaa");				/* rep stosb */
	run.regs.rax = 0x5a;
	run.regs.rcx = 5000;
	run.regs.rdi = DATA + 100;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(run.regs.rip, CODE);
	CHECK_EQ(run.regs.rcx, 5000 - CLEAVE_ASSIST_CHUNK);
	CHECK_EQ(run.dirty, CLEAVE_REGS);
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(run.regs.rip, CODE + 2);
	CHECK_EQ(run.regs.rcx, 0);
	CHECK(device[99] == 0 && device[100] == 0x5a && device[5099] == 0x5a && !device[5100]);

	VCPU(8, "\xf3\x48\xab");			/* rep stosq into a missing page */
	t[1536 + 1] = 0;
	run.regs.rcx = 16;
	run.regs.rdi = DATA + 4096 - 24;
	CHECK_EQ(cleave_assist(&as, &run), CLEAVE_ASSIST_FAULT);
	CHECK_EQ(as.fault.vector, X86_PF_VECTOR);
	CHECK_EQ(as.fault.payload, DATA + 4096);
	CHECK_EQ(run.regs.rcx, 13);
	CHECK_EQ(run.regs.rdi, DATA + 4096);
	CHECK_EQ(run.regs.rip, CODE);
	CHECK_EQ(run.dirty, CLEAVE_REGS);

	VCPU(8, "\xf3\xa4");				/* count 0 touches nothing */
	run.regs.rdi = 1ULL << 47;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(run.regs.rip, CODE + 2);

	VCPU(8, "\x67\xf3\xaa");			/* ecx, edi: upper halves do not count */
	run.regs.rcx = 0x100000002ULL;
	run.regs.rdi = 0xff00000000ULL + DATA;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(run.regs.rdi, DATA + 2);
	CHECK_EQ(run.regs.rcx, 0);
}

UNIT_TEST(the_exits_gpa_is_used_once)
{
	uint64_t *t = (uint64_t *)TABLES;

	VCPU(8, "\xf3\xaa");				/* a hint must not serve the next page too */
	t[1536 + 1] = (RAM + 4096) | 7;
	run.exit = CLEAVE_EXIT_MMIO;
	run.mmio.gpa = DATA + 0x10;
	run.mmio.flags = CLEAVE_ACCESS_WRITE;
	run.regs.rax = 0x99;
	run.regs.rcx = 4096;
	run.regs.rdi = DATA + 0x10;
	memset((void *)RAM, 0, SIZE);
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(device[0x10], 0x99);
	CHECK_EQ(device[0xf], 0);
	CHECK_EQ(*(uint8_t *)(RAM + 4096 + 0xf), 0x99);

	VCPU(8, "\x89\x03");				/* the walk is saved: its tables say no */
	t[1536] = 0;
	run.exit = CLEAVE_EXIT_MMIO;
	run.mmio.gpa = DATA + 4;
	run.mmio.flags = CLEAVE_ACCESS_WRITE;
	run.regs.rbx = DATA + 4;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(last_gpa, DATA + 4);
	run.regs.rip = CODE;
	run.mmio.flags = 0;				/* a store is not what the exit allowed */
	expect_fault(X86_PF_VECTOR, true, 2);
	run.mmio.flags = CLEAVE_ACCESS_WRITE | CLEAVE_ACCESS_WALK;
	expect_fault(X86_PF_VECTOR, true, 2);
}

UNIT_TEST(cache_sees_new_code_and_new_tables)
{
	uint64_t *t = (uint64_t *)TABLES;
	uint64_t hits;

	VCPU(8, "\x88\x03");				/* mov [rbx], al */
	run.regs.rbx = DATA;
	run.regs.rax = 1;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	hits = as.hits;
	run.regs.rip = CODE;
	run.regs.rax = 2;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(as.hits, hits + 1);
	CHECK_EQ(device[0], 2);
	run.regs.rip = CODE;
	*(uint8_t *)(CODE + 1) = 0x0b;			/* now mov [rbx], cl */
	run.regs.rcx = 3;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(as.hits, hits + 1);
	CHECK_EQ(device[0], 3);
	run.regs.rip = CODE;				/* the page of the code becomes another */
	memcpy((void *)STACK, "\x88\x13", 2);
	t[1024 + (CODE >> 21)] = STACK | 0x87;
	run.regs.rdx = 4;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(as.hits, hits + 1);
	CHECK_EQ(device[0], 4);
	/* the tail of a long instruction counts too: mov qword [rbx + disp32], imm32 */
	memcpy((void *)STACK, "\x48\xc7\x83\x00\x00\x00\x00\x01\x00\x00\x00", 11);
	for (int i = 1; i < 4; i++) {
		*(uint8_t *)(STACK + 10) = i;
		run.regs.rip = CODE;
		CHECK_EQ(cleave_assist(&as, &run), 0);
		CHECK_EQ(device[3], i);
	}
}

UNIT_TEST(code_across_two_pages)
{
	uint64_t *t = (uint64_t *)TABLES;

	VCPU(8, "");
	memcpy((void *)(CODE + 4094), "\xc7\x03\x44\x33\x22\x11", 6);	/* mov dword [rbx], imm */
	run.regs.rip = CODE + 4094;
	run.regs.rbx = DATA;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK(!memcmp(device, "\x44\x33\x22\x11", 4));
	t[1024 + (CODE >> 21)] = (TABLES + 0x3000) | 7;	/* 4 KiB pages: the second is missing */
	t[1536] = CODE | 7;
	t[1536 + 1] = 0;
	run.regs.rip = CODE + 4094;
	expect_fault(X86_PF_VECTOR, true, 16);
	CHECK_EQ(as.fault.payload, CODE + 4096);
}

UNIT_TEST(byte_swap)
{
	VCPU(8, "\x66\x0f\x38\xf0\x03");		/* movbe ax, [rbx] */
	run.regs.rbx = DATA;
	run.regs.rax = ~0ULL;
	device[0] = 0x12;
	device[1] = 0x34;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(run.regs.rax, 0xffffffffffff1234ULL);
	VCPU(8, "\x48\x0f\x38\xf1\x03");		/* movbe [rbx], rax */
	run.regs.rbx = DATA;
	run.regs.rax = 0x0102030405060708ULL;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK(!memcmp(device, "\1\2\3\4\5\6\7\10", 8));
}

UNIT_TEST(stack)
{
	uint64_t v = STACK + 0x123, *sp = (uint64_t *)(STACK + SIZE - 8);

	VCPU(8, "\xff\x33");				/* push [rbx] */
	memcpy(device, &v, 8);
	run.regs.rbx = DATA;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(run.regs.rsp, STACK + SIZE - 8);
	CHECK_EQ(*sp, v);
	memcpy((void *)CODE, "\xff\x13", 2);		/* call [rbx] */
	run.regs.rip = CODE;
	run.regs.rsp = STACK + SIZE;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(run.regs.rip, v);
	CHECK_EQ(*sp, CODE + 2);
	memcpy((void *)CODE, "\xff\x23", 2);		/* jmp [rbx] */
	run.regs.rip = CODE;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(run.regs.rip, v);
	CHECK_EQ(run.regs.rsp, STACK + SIZE - 8);
	memcpy((void *)CODE, "\x8f\x43\x08", 3);	/* pop [rbx + 8] */
	run.regs.rip = CODE;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(run.regs.rsp, STACK + SIZE);
	v = CODE + 2;
	CHECK(!memcmp(device + 8, &v, 8));
	run.regs.rip = CODE;				/* a bad target changes nothing */
	memcpy((void *)CODE, "\xff\x13", 2);
	device[7] = 0x80;
	expect_fault(X86_GP, true, 0);
	/* pop [esp]: the address counts after the pop */
	VCPU(4, "\x8f\x04\x24");
	run.regs.rsp = DATA - 4;
	cleave_mem_add(&mem, DATA - 4096, 4096, (void *)STACK, 0);
	*(uint32_t *)(STACK + 4092) = 0xcafe;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(run.regs.rsp, DATA);
	CHECK_EQ(device[0] | device[1] << 8, 0xcafe);
	mem.count--;
}

UNIT_TEST(port_io)
{
	VCPU(8, "\xf3\x6d");				/* rep insd */
	run.exit = CLEAVE_EXIT_IO;
	run.regs.rcx = 3;
	run.regs.rdx = 0xabc;
	run.regs.rdi = DATA;
	port_data = 0x11;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(ports, 3);
	CHECK_EQ(port_nr, 0xabc);
	CHECK(device[0] == 0x11 && device[4] == 0x12 && device[8] == 0x13);
	VCPU(8, "\x6e");				/* outsb */
	run.regs.rdx = 0x80;
	run.regs.rsi = DATA + 1;
	device[1] = 0x42;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(port_data, 0x42);
	CHECK_EQ(run.regs.rsi, DATA + 2);
	VCPU(8, "\xec");				/* in al, dx */
	run.regs.rax = 0xff00;
	run.regs.rdx = 0x61;
	port_data = 0x20;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(run.regs.rax, 0xff20);
	VCPU(8, "\x66\xe7\x92");			/* out 0x92, ax */
	run.regs.rax = 0xabcd1234;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(port_nr, 0x92);
	CHECK_EQ(port_data, 0x1234);
	CHECK_EQ(last_size, 2);
}

UNIT_TEST(port_permission)
{
	uint8_t *tss = (uint8_t *)RAM;

	VCPU(8, "\xee");				/* out dx, al, in ring 3 with IOPL 0 */
	run.sregs.ss.ar |= CLEAVE_AR_DPL;
	run.regs.rdx = 0x3f8;
	run.sregs.tr.base = RAM;
	expect_fault(X86_GP, true, 0);			/* no bitmap */
	memset(tss, 0, SIZE);
	tss[0x66] = 0x68;
	run.sregs.tr.limit = 0x68 + 0x80;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	tss[0x68 + 0x3f8 / 8] = 1;
	run.regs.rip = CODE;
	expect_fault(X86_GP, true, 0);
	run.regs.rflags |= 3 << 12;			/* IOPL 3 */
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(ports, 2);
}

UNIT_TEST(locked_in_ram)
{
	volatile uint32_t *m = (uint32_t *)RAM;

	VCPU(8, "\xf0\x0f\xc1\x0b");			/* lock xadd [rbx], ecx */
	*m = 40;
	run.regs.rbx = RAM;
	run.regs.rcx = 2;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(*m, 42);
	CHECK_EQ(run.regs.rcx, 40);
	VCPU(8, "\x87\x0b");				/* xchg [rbx], ecx */
	run.regs.rbx = RAM;
	run.regs.rcx = 7;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(*m, 7);
	CHECK_EQ(run.regs.rcx, 42);
	CHECK_EQ(reads + writes, 0);
}

UNIT_TEST(single_step_and_resume_flag)
{
	VCPU(8, "\xf3\xaa");
	run.regs.rflags |= X86_TF | X86_RF;
	run.regs.rcx = 2;
	run.regs.rdi = DATA;
	CHECK_EQ(cleave_assist(&as, &run), CLEAVE_ASSIST_FAULT);
	CHECK_EQ(as.fault.vector, X86_DB);
	CHECK_EQ(as.fault.flags, CLEAVE_EVENT_PAYLOAD);
	CHECK_EQ(as.fault.payload, X86_DR6_BS);
	CHECK_EQ(run.regs.rcx, 1);
	CHECK_EQ(run.regs.rip, CODE);
	CHECK_EQ(cleave_assist(&as, &run), CLEAVE_ASSIST_FAULT);
	CHECK_EQ(run.regs.rip, CODE + 2);
	CHECK_EQ(run.regs.rflags & X86_RF, 0);
	CHECK_EQ(run.dirty, CLEAVE_REGS);
}

UNIT_TEST(machine_status_word)
{
	VCPU(8, "\x0f\x01\x23");			/* smsw [rbx] */
	run.regs.rbx = DATA;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(device[0], run.sregs.cr0 & 0xff);
	VCPU(4, "\x0f\x01\x33");			/* lmsw [ebx]: TS on, PE stays */
	run.regs.rbx = DATA;
	device[0] = 8;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK_EQ(run.sregs.cr0 & 0xf, 9);
	CHECK_EQ(run.dirty, CLEAVE_REGS | CLEAVE_SREGS);
	run.regs.rip = CODE;
	run.sregs.ss.ar |= CLEAVE_AR_DPL;
	expect_fault(X86_GP, true, 0);
}

UNIT_TEST(vector_moves)
{
	uint64_t bv = 2, big[4] = { 1, 2, 3, 4 };

	memset(&fpu, 0x5a, sizeof(fpu));
	memcpy(fpu.region + 512, &bv, 8);
	VCPU(8, "\xf3\x0f\x7f\x0b");			/* movdqu [rbx], xmm1 */
	run.regs.rbx = DATA + 3;
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK(device[2] == 0 && device[3] == 0x5a && device[18] == 0x5a && device[19] == 0);
	CHECK_EQ(writes, 2);
	VCPU(8, "\xc5\xfe\x6f\x13");			/* vmovdqu ymm2, [rbx] */
	run.regs.rbx = DATA;
	memcpy(device, big, 32);
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK(!memcmp(fpu.region + 160 + 32, big, 16) && !memcmp(fpu.region + 576 + 32, big + 2, 16));
	CHECK_EQ(fpu.region[512], 6);
	CHECK_EQ(fpu.region[576], 0);			/* was in its initial state */
	VCPU(8, "\xf3\x0f\x7e\x13");			/* movq xmm2, [rbx] clears the rest */
	run.regs.rbx = DATA;
	memset(device, 0x11, 16);
	CHECK_EQ(cleave_assist(&as, &run), 0);
	CHECK(fpu.region[192] == 0x11 && fpu.region[200] == 0);
	CHECK(!memcmp(fpu.region + 576 + 32, big + 2, 16));
	VCPU(8, "\x0f\x28\x13");			/* movaps xmm2, [rbx], not aligned */
	run.regs.rbx = DATA + 8;
	expect_fault(X86_GP, true, 0);
	run.sregs.cr0 |= X86_CR0_TS;
	expect_fault(X86_NM, false, 0);
	run.sregs.cr4 &= ~X86_CR4_OSFXSR;
	expect_fault(X86_UD, false, 0);
}

UNIT_TEST(what_it_does_not_know)
{
	uint64_t *t = (uint64_t *)TABLES;
	char text[64];
	unsigned int len;

	VCPU(8, "\xd8\x03");				/* fadd dword [rbx] */
	run.regs.rbx = DATA;
	CHECK_EQ(cleave_assist(&as, &run), -EOPNOTSUPP);
	CHECK(strstr(as.text, "fadd") && strstr(as.text, "d803"));
	CHECK_EQ(run.regs.rip, CODE);
	CHECK_EQ(run.dirty, 0);
	VCPU(8, "\x8e\x1b");				/* mov ds, [rbx] */
	CHECK_EQ(cleave_assist(&as, &run), -EOPNOTSUPP);
	VCPU(8, "\xff\x1b");				/* call far */
	CHECK_EQ(cleave_assist(&as, &run), -EOPNOTSUPP);
	VCPU(8, "\x0f\x20\xc0");			/* mov rax, cr0 */
	CHECK_EQ(cleave_assist(&as, &run), -EOPNOTSUPP);
	VCPU(8, "\x0f\x0b\xff\xff");
	CHECK_EQ(cleave_assist(&as, &run), -EOPNOTSUPP);
	VCPU(8, "\x8b\x03");				/* a device has no code */
	run.regs.rip = DATA;
	CHECK_EQ(cleave_assist(&as, &run), -ENXIO);
	CHECK(strstr(as.text, "outside memory"));
	VCPU(8, "\x8b\x03");
	t[0] = 0x7ffff007;
	CHECK_EQ(cleave_assist(&as, &run), -ENXIO);
	VCPU(8, "\x8b\x03");				/* an error of a device goes through */
	run.regs.rbx = DATA + SIZE;
	CHECK_EQ(cleave_assist(&as, &run), -ENODEV);
	CHECK_EQ(run.dirty, 0);
	CHECK_EQ(cleave_disasm(&mem, &run.regs, &run.sregs, text, sizeof(text), &len), 0);
	CHECK(!strcmp(text, "mov eax, [rbx]"));
	CHECK_EQ(len, 2);
}

/* Any bytes at all: no crash, and registers only change when it says so. */
UNIT_TEST(random_bytes)
{
	for (int i = 0; i < 200000; i++) {
		static const unsigned int modes[] = { 2, 4, 8 };
		uint64_t b[2] = { rnd(), rnd() };
		struct cleave_regs before;

		if (i % 8 == 0)
			vcpu(modes[i / 8 % 3], b, sizeof(b));
		else
			memcpy((void *)CODE, b, sizeof(b));
		run.regs = (struct cleave_regs){
			.rax = rnd(), .rcx = rnd() % 64, .rdx = rnd() % 512, .rbx = DATA + rnd() % SIZE,
			.rsp = STACK + SIZE - 64, .rbp = DATA + 128, .rsi = DATA + 64,
			.rdi = DATA + rnd() % SIZE, .rip = run.sregs.cs.base ? 0 : CODE, .rflags = 2,
		};
		run.dirty = 0;
		before = run.regs;
		if (cleave_assist(&as, &run) < 0 && !run.dirty)
			CHECK(!memcmp(&before, &run.regs, sizeof(before)));
	}
}
