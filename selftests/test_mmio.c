// SPDX-License-Identifier: GPL-2.0
/* Device memory: exits with the right fields, and instructions of each kind by the assist. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/ioctl.h>
#include "kselftest_harness.h"
#include "assisted.h"

#define DEV	S(DEV_GPA_)
#define DEV_GPA_	0x40000000	/* DEV_GPA, for the assembler */
#define RO_GPA	0x50000000u
#define PATTERN	0x8899aabbccddeeffull

FIXTURE(mmio) {
	struct vm vm;
	struct vcpu v;
	struct dev *d;
	uint8_t *ro;
};

FIXTURE_SETUP(mmio)
{
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	self->d = dev_create(&self->v);
	self->ro = mem_alloc(0x2000, 4096);
	ASSERT_EQ(0, vm_slot(&self->vm, 1, CLEAVE_SLOT_READONLY, RO_GPA, 0x2000, self->ro));
	ASSERT_EQ(0, cleave_mem_add(&self->d->mem, RO_GPA, 0x2000, self->ro, CLEAVE_MEM_READONLY));
	for (int i = 0; i < DEV_SIZE; i++)
		self->d->bytes[i] = i * 37 + (i >> 8);
}

FIXTURE_TEARDOWN(mmio)
{
	dev_destroy(self->d);
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

static uint64_t dev_val(struct dev *d, unsigned int off, unsigned int size)
{
	uint64_t v = 0;

	memcpy(&v, d->bytes + off, size);
	return v;
}

/* Starts blob with RBX at the device's offset and RAX as given. */
static void start(struct dev *d, const char *code, size_t len, uint64_t rbx, uint64_t rax)
{
	struct cleave_regs regs;

	vm_tables(d->v->vm);
	vm_load(d->v->vm, GPA_CODE, code, len);
	vcpu_long(d->v, GPA_CODE);
	regs_get(d->v, &regs);
	regs.rbx = rbx;
	regs.rax = rax;
	regs.rdi = rbx;
	regs.rsi = rbx;
	regs_set(d->v, &regs);
	d->count = 0;
	d->exits = 0;
}

#define START(name, rbx, rax)	start(self->d, name, name##_end - name, rbx, rax)

#define EXPECT_ACCESS(i, w, at, n) do {					\
	ASSERT_GT(self->d->count, (unsigned int)(i));			\
	EXPECT_EQ(w, self->d->log[i].write);				\
	EXPECT_EQ(at, self->d->log[i].addr);				\
	EXPECT_EQ(n, self->d->log[i].size);				\
} while (0)

/* ---- the exit ------------------------------------------------------------------ */

GUEST(load, 64, "mov (%rbx), %eax\n\t" G_DONE);
GUEST(store, 64, "mov %eax, (%rbx)\n\t" G_DONE);
GUEST(jump, 64, "jmp *%rbx\n\t");

TEST_F(mmio, exit)
{
	struct cleave_run *r = self->v.run;
	const uint64_t at = DEV_GPA + 0xabd;

	for (int i = 0; i < 3; i++) {
		if (i == 0)
			START(load, at, 0);
		else if (i == 1)
			START(store, at, 0);
		else
			START(jump, at, 0);
		for (int n = 0; n < 2; n++) {		/* with nothing done the same again */
			vcpu_run_exit(&self->v, CLEAVE_EXIT_MMIO);
			EXPECT_EQ(at, r->mmio.gpa);
			EXPECT_EQ(i == 0 ? 0 : i == 1 ? CLEAVE_ACCESS_WRITE : CLEAVE_ACCESS_FETCH,
				  r->mmio.flags);
			EXPECT_EQ(CLEAVE_REGS | CLEAVE_SREGS, r->valid);
			EXPECT_EQ(i == 2 ? at : GPA_CODE, r->regs.rip);
			EXPECT_EQ(at, r->regs.rbx);
			EXPECT_EQ(GPA_PML4, r->sregs.cr3);
		}
	}
}

/* Tables in device memory: nobody can walk them, and the exit says so. */
TEST_F(mmio, page_tables_in_device_memory)
{
	struct cleave_state st;

	START(load, 0x1000, 0);
	state_get(&self->v, CLEAVE_SREGS, &st);
	st.sregs.cr3 = DEV_GPA;
	state_must_set(&self->v, CLEAVE_SREGS, &st);
	vcpu_run_exit(&self->v, CLEAVE_EXIT_MMIO);
	EXPECT_EQ(CLEAVE_ACCESS_WALK, self->v.run->mmio.flags & CLEAVE_ACCESS_WALK);
	EXPECT_EQ(DEV_GPA, self->v.run->mmio.gpa & ~0xfffull);
	EXPECT_EQ(-ENXIO, cleave_assist(&self->d->a, self->v.run));
}

/* ---- reads and writes of each width ----------------------------------------------- */

GUEST(read_1, 64, "mov (%rbx), %al\n\t" G_DONE);
GUEST(read_2, 64, "mov (%rbx), %ax\n\t" G_DONE);
GUEST(read_4, 64, "mov (%rbx), %eax\n\t" G_DONE);
GUEST(read_8, 64, "mov (%rbx), %rax\n\t" G_DONE);
GUEST(write_1, 64, "mov %al, (%rbx)\n\t" G_DONE);
GUEST(write_2, 64, "mov %ax, (%rbx)\n\t" G_DONE);
GUEST(write_4, 64, "mov %eax, (%rbx)\n\t" G_DONE);
GUEST(write_8, 64, "mov %rax, (%rbx)\n\t" G_DONE);
GUEST(const_1, 64, "movb $0x5a, (%rbx)\n\t" G_DONE);
GUEST(const_2, 64, "movw $0x5a5b, (%rbx)\n\t" G_DONE);
GUEST(const_4, 64, "movl $0x5a5b5c5d, (%rbx)\n\t" G_DONE);
GUEST(const_8, 64, "movq $-2, (%rbx)\n\t" G_DONE);

#define SIZES(kind) {							\
	{ kind##_1, kind##_1_end }, { kind##_2, kind##_2_end },		\
	{ kind##_4, kind##_4_end }, { kind##_8, kind##_8_end },		\
}

TEST_F(mmio, read)
{
	const char *const code[][2] = SIZES(read);

	for (int i = 0; i < 4; i++) {
		unsigned int size = 1 << i;
		uint64_t val, mask = size == 8 ? ~0ull : (1ull << 8 * size) - 1;

		for (unsigned int off = 0; off < 3; off++) {	/* aligned, and not */
			start(self->d, code[i][0], code[i][1] - code[i][0], DEV_GPA + 8 + off, PATTERN);
			dev_done(self->d);
			val = dev_val(self->d, 8 + off, size);
			EXPECT_EQ(size >= 4 ? val : (PATTERN & ~mask) | val, self->v.run->regs.rax);
			ASSERT_EQ(1, self->d->count);
			EXPECT_ACCESS(0, false, DEV_GPA + 8 + off, size);
		}
	}
}

TEST_F(mmio, write)
{
	const char *const code[][2] = SIZES(write);

	for (int i = 0; i < 4; i++) {
		unsigned int size = 1 << i;
		uint64_t mask = size == 8 ? ~0ull : (1ull << 8 * size) - 1;

		for (unsigned int off = 0; off < 3; off++) {
			uint64_t before = dev_val(self->d, 16 + off, 8);

			start(self->d, code[i][0], code[i][1] - code[i][0], DEV_GPA + 16 + off,
			      PATTERN + off);
			dev_done(self->d);
			EXPECT_EQ((before & ~mask) | ((PATTERN + off) & mask),
				  dev_val(self->d, 16 + off, 8));
			ASSERT_EQ(1, self->d->count);
			EXPECT_ACCESS(0, true, DEV_GPA + 16 + off, size);
		}
	}
}

TEST_F(mmio, write_constant)
{
	const char *const code[][2] = SIZES(const);
	const uint64_t val[] = { 0x5a, 0x5a5b, 0x5a5b5c5d, -2 };

	for (int i = 0; i < 4; i++) {
		start(self->d, code[i][0], code[i][1] - code[i][0], DEV_GPA + 0x20, 0);
		dev_done(self->d);
		EXPECT_EQ(val[i], dev_val(self->d, 0x20, 1 << i));
		EXPECT_ACCESS(0, true, DEV_GPA + 0x20, 1 << i);
	}
}

GUEST(extend, 64,
	"movzbl (%rbx), %eax\n\tmovsbq 1(%rbx), %rcx\n\tmovzwl 2(%rbx), %edx\n\t"
	"movswl 4(%rbx), %esi\n\tmovslq 8(%rbx), %rdi\n\tmovsbw 6(%rbx), %r8w\n\t"
	"mov %ah, 0x10(%rbx)\n\tmov 0x11(%rbx), %dh\n\t" G_DONE);

TEST_F(mmio, extend)
{
	struct cleave_regs *r = &self->v.run->regs;

	START(extend, DEV_GPA, 0);
	for (int i = 0; i < 0x20; i++)
		self->d->bytes[i] = 0x81 + i;
	dev_done(self->d);
	EXPECT_EQ(0x81, r->rax);
	EXPECT_EQ(0xffffffffffffff82, r->rcx);
	EXPECT_EQ(0x9283, r->rdx);		/* DH: offset 0x11 */
	EXPECT_EQ(0xffff8685, r->rsi);
	EXPECT_EQ(0xffffffff8c8b8a89, r->rdi);
	EXPECT_EQ(0xff87, r->r8);
	EXPECT_EQ(0, self->d->bytes[0x10]);
	EXPECT_EQ(8, self->d->count);
}

/* Vector registers: two accesses of eight bytes. */
GUEST(vector, 64,
	"movups (%rbx), %xmm1\n\tmovaps %xmm1, 0x100(%rbx)\n\tmovq %xmm1, %rax\n\tmovd 0x20(%rbx), %xmm2\n\t"
	"movd %xmm2, %ecx\n\t" G_DONE);

TEST_F(mmio, vector)
{
	START(vector, DEV_GPA, 0);
	dev_done(self->d);
	EXPECT_EQ(dev_val(self->d, 0, 8), self->v.run->regs.rax);
	EXPECT_EQ(dev_val(self->d, 0x20, 4), self->v.run->regs.rcx);
	EXPECT_EQ(0, memcmp(self->d->bytes, self->d->bytes + 0x100, 16));
	EXPECT_EQ(5, self->d->count);
}

/* ---- read, modify, write ---------------------------------------------------------------- */

/* Natively on memory at RBX, R8 bytes before the device: the same must come out. */
#define G_RMW								\
	"addl %eax, (%rbx)\n\tpushf\n\tpop %r9\n\torb $0x81, 4(%rbx)\n\t"	\
	"andw %ax, 6(%rbx)\n\tpushf\n\tpop %r10\n\txorq %rax, 8(%rbx)\n\t"	\
	"incl 16(%rbx)\n\tdecb 20(%rbx)\n\tnotw 22(%rbx)\n\tnegq 24(%rbx)\n\t"	\
	"pushf\n\tpop %r11\n\tmov %rax, %rcx\n\txchg %ecx, 32(%rbx)\n\t"	\
	"mov %rax, %rdx\n\tlock xaddl %edx, 36(%rbx)\n\t"		\
	"btsl $3, 40(%rbx)\n\tpushf\n\tpop %r12\n\tshll $5, 44(%rbx)\n\t"	\
	"adcl $7, 48(%rbx)\n\tsbbb $1, 52(%rbx)\n\tcmpl %eax, 56(%rbx)\n\t"	\
	"pushf\n\tpop %r13\n\ttestb $0x10, 60(%rbx)\n\tpushf\n\tpop %r14\n\t"	\
	"push %rax\n\tmov 64(%rbx), %eax\n\tmov $0x1234, %esi\n\t"	\
	"lock cmpxchgl %esi, 64(%rbx)\n\tsetz 68(%rbx)\n\t"		\
	"cmpxchgl %esi, 72(%rbx)\n\tpushf\n\tpop %r15\n\tmov %rax, %rdi\n\tpop %rax\n\t" G_DONE
GUEST(rmw, 64, G_RMW);

#define ARITH	0x8d5		/* CF PF AF ZF SF OF */

TEST_F(mmio, read_modify_write)
{
	struct cleave_regs native, *r = &self->v.run->regs;
	uint8_t *mem = self->vm.ram + GPA_DATA;

	memcpy(mem, self->d->bytes, 80);
	START(rmw, GPA_DATA, PATTERN);
	dev_done(self->d);
	EXPECT_EQ(0, self->d->count);
	native = *r;
	START(rmw, DEV_GPA, PATTERN);
	dev_done(self->d);
	EXPECT_EQ(0, memcmp(mem, self->d->bytes, 80));
	EXPECT_EQ(native.rcx, r->rcx);
	EXPECT_EQ(native.rdx, r->rdx);
	EXPECT_EQ(native.rdi, r->rdi);
	EXPECT_EQ(native.r9 & ARITH, r->r9 & ARITH);
	EXPECT_EQ(native.r10 & (ARITH & ~0x10), r->r10 & (ARITH & ~0x10));
	EXPECT_EQ(native.r11 & ARITH, r->r11 & ARITH);
	EXPECT_EQ(native.r12 & 1, r->r12 & 1);
	EXPECT_EQ(native.r13 & ARITH, r->r13 & ARITH);
	EXPECT_EQ(native.r14 & 0xc4, r->r14 & 0xc4);
	EXPECT_EQ(native.r15 & ARITH, r->r15 & ARITH);
	EXPECT_GT(self->d->count, 30);
}

/* ---- strings ------------------------------------------------------------------------------ */

GUEST(stosb, 64, "rep stosb\n\t" G_DONE);
GUEST(stosq, 64, "rep stosq\n\t" G_DONE);
GUEST(movsl, 64, "rep movsl\n\t" G_DONE);
GUEST(movsb, 64, "rep movsb\n\t" G_DONE);
GUEST(lods, 64, "lodsq\n\t" G_DONE);
GUEST(scas, 64, "repne scasb\n\t" G_DONE);
GUEST(cmps, 64, "repe cmpsb\n\t" G_DONE);

static void string_regs(struct dev *d, uint64_t rdi, uint64_t rsi, uint64_t rcx)
{
	struct cleave_regs regs;

	regs_get(d->v, &regs);
	regs.rdi = rdi;
	regs.rsi = rsi;
	regs.rcx = rcx;
	regs_set(d->v, &regs);
}

TEST_F(mmio, stos)
{
	START(stosb, DEV_GPA + 5, 0x77);
	string_regs(self->d, DEV_GPA + 5, 0, 9);
	dev_done(self->d);
	ASSERT_EQ(9, self->d->count);
	for (int i = 0; i < 9; i++) {
		EXPECT_ACCESS(i, true, DEV_GPA + 5 + i, 1);
		EXPECT_EQ(0x77, self->d->bytes[5 + i]);
	}
	EXPECT_EQ(DEV_GPA + 14, self->v.run->regs.rdi);
	EXPECT_EQ(0, self->v.run->regs.rcx);
	/* Over the device's pages. */
	START(stosq, 0, PATTERN);
	string_regs(self->d, DEV_GPA + 0xff0, 0, 0x204);
	dev_done(self->d);
	EXPECT_EQ(0x204, self->d->count);
	for (int i = 0; i < 0x204; i++)
		ASSERT_EQ(PATTERN, dev_val(self->d, 0xff0 + 8 * i, 8));
}

/* From the device, to it, and from one place in it to another. */
TEST_F(mmio, movs)
{
	for (int i = 0; i < 0x40; i++)
		self->vm.ram[GPA_DATA + i] = 0x40 + i;
	START(movsl, 0, 0);
	string_regs(self->d, DEV_GPA + 0x100, GPA_DATA, 8);
	dev_done(self->d);
	ASSERT_EQ(8, self->d->count);
	EXPECT_EQ(0, memcmp(self->d->bytes + 0x100, self->vm.ram + GPA_DATA, 32));
	EXPECT_ACCESS(7, true, DEV_GPA + 0x11c, 4);
	START(movsl, 0, 0);
	string_regs(self->d, GPA_DATA + 0x100, DEV_GPA, 8);
	dev_done(self->d);
	ASSERT_EQ(8, self->d->count);
	EXPECT_EQ(0, memcmp(self->d->bytes, self->vm.ram + GPA_DATA + 0x100, 32));
	EXPECT_ACCESS(0, false, DEV_GPA, 4);
	START(movsb, 0, 0);
	string_regs(self->d, DEV_GPA + 0x801, DEV_GPA + 3, 5);
	dev_done(self->d);
	ASSERT_EQ(10, self->d->count);
	EXPECT_EQ(0, memcmp(self->d->bytes + 3, self->d->bytes + 0x801, 5));
	EXPECT_ACCESS(0, false, DEV_GPA + 3, 1);
	EXPECT_ACCESS(1, true, DEV_GPA + 0x801, 1);
	EXPECT_EQ(DEV_GPA + 8, self->v.run->regs.rsi);
}

/* It begins in memory and runs into the device: the first part is the CPU's own. */
TEST_F(mmio, movs_runs_into_device)
{
	uint64_t *pd = (uint64_t *)(self->vm.ram + GPA_PD);

	START(movsb, 0, 0);
	pd[1] = DEV_GPA | 0x87;		/* 2 MiB to 4 MiB */
	string_regs(self->d, 0x200000 - 16, GPA_DATA, 32);
	for (int i = 0; i < 32; i++)
		self->vm.ram[GPA_DATA + i] = 0xa0 + i;
	dev_done(self->d);
	EXPECT_EQ(0, memcmp(self->vm.ram + 0x200000 - 16, self->vm.ram + GPA_DATA, 16));
	EXPECT_EQ(0, memcmp(self->d->bytes, self->vm.ram + GPA_DATA + 16, 16));
	EXPECT_EQ(16, self->d->count);
	EXPECT_EQ(0x200000 + 16, self->v.run->regs.rdi);
	EXPECT_EQ(0, self->v.run->regs.rcx);
}

TEST_F(mmio, lods_scas_cmps)
{
	START(lods, DEV_GPA + 0x18, 0);
	dev_done(self->d);
	EXPECT_EQ(dev_val(self->d, 0x18, 8), self->v.run->regs.rax);
	memset(self->d->bytes, 1, 0x40);
	self->d->bytes[0x21] = 2;
	START(scas, DEV_GPA, 2);
	string_regs(self->d, DEV_GPA, 0, 0x40);
	dev_done(self->d);
	EXPECT_EQ(DEV_GPA + 0x22, self->v.run->regs.rdi);
	EXPECT_EQ(0x40 - 0x22, self->v.run->regs.rcx);
	memset(self->vm.ram + GPA_DATA, 1, 0x40);
	START(cmps, 0, 0);
	string_regs(self->d, DEV_GPA, GPA_DATA, 0x40);
	dev_done(self->d);
	EXPECT_EQ(0x40 - 0x22, self->v.run->regs.rcx);
	EXPECT_EQ(1, self->v.run->regs.rflags & 0x41);		/* 1 is below 2 */
}

/* ---- where pages meet ------------------------------------------------------------------------- */

TEST_F(mmio, over_two_device_pages)
{
	const char *const rd[][2] = SIZES(read), *const wr[][2] = SIZES(write);

	for (int i = 1; i < 4; i++) {
		unsigned int size = 1 << i;
		uint64_t mask = size == 8 ? ~0ull : (1ull << 8 * size) - 1;

		for (unsigned int off = 0x1000 - size + 1; off < 0x1000; off++) {
			start(self->d, rd[i][0], rd[i][1] - rd[i][0], DEV_GPA + off, 0);
			dev_done(self->d);
			EXPECT_EQ(dev_val(self->d, off, size), self->v.run->regs.rax);
			EXPECT_LE(2, self->d->count);
			start(self->d, wr[i][0], wr[i][1] - wr[i][0], DEV_GPA + off, PATTERN * off);
			dev_done(self->d);
			EXPECT_EQ((PATTERN * off) & mask, dev_val(self->d, off, size));
			EXPECT_LE(2, self->d->count);
		}
	}
}

/* Four bytes in memory, four in the device; and the other way round. */
TEST_F(mmio, memory_meets_device)
{
	uint64_t *pd = (uint64_t *)(self->vm.ram + GPA_PD), val;

	START(write_8, 0x200000 - 4, PATTERN);
	pd[1] = DEV_GPA | 0x87;
	dev_done(self->d);
	EXPECT_EQ((uint32_t)PATTERN, *(uint32_t *)(self->vm.ram + 0x200000 - 4));
	EXPECT_EQ(PATTERN >> 32, dev_val(self->d, 0, 4));
	ASSERT_EQ(1, self->d->count);
	EXPECT_ACCESS(0, true, DEV_GPA, 4);
	START(read_8, 0x200000 - 4, 0);
	pd[1] = DEV_GPA | 0x87;
	dev_done(self->d);
	EXPECT_EQ(PATTERN, self->v.run->regs.rax);
	ASSERT_EQ(1, self->d->count);
	/* The device's last bytes, then memory: 4 MiB behind 4 MiB less 2. */
	START(read_8, 0x400000 - 3, 0);
	pd[1] = DEV_GPA | 0x87;
	pd[2] = 0x87;
	memcpy(&val, self->vm.ram, 8);
	dev_done(self->d);
	EXPECT_EQ(val << 24 | 0xffffff, self->v.run->regs.rax);
}

/* The second page is not there: #PF, and nothing was done to the first. */
TEST_F(mmio, second_page_faults)
{
	uint64_t *pd = (uint64_t *)(self->vm.ram + GPA_PD);
	struct trap_frame *f;

	START(write_8, DEV_GPA + 0x200000 - 4, PATTERN);
	pd[(DEV_GPA >> 21) + 1] = 0;
	ASSERT_EQ(CLEAVE_EXIT_IO, dev_run(self->d));
	ASSERT_EQ(PORT_TRAP, self->v.run->io.port);
	EXPECT_EQ(14, vm_trap(&self->vm)->vector);
	EXPECT_EQ(2, vm_trap(&self->vm)->error);
	EXPECT_EQ(DEV_GPA + 0x200000, vm_trap(&self->vm)->cr2);
	EXPECT_EQ(0, self->d->count);
	f = (struct trap_frame *)(self->vm.ram + self->v.run->regs.rsp);
	EXPECT_EQ(GPA_CODE, f->rip);
}

/* The instruction itself lies in two pages, both mapped elsewhere than at their addresses. */
TEST_F(mmio, instruction_over_two_pages)
{
	uint64_t *pd = (uint64_t *)(self->vm.ram + GPA_PD);

	START(const_4, DEV_GPA, 0);
	pd[1] = 0x87;			/* 2 MiB to 4 MiB is 0 to 2 MiB again */
	/* Its last two bytes are the first of memory. */
	memcpy(self->vm.ram + 0x200000 - 4, const_4, 4);
	memcpy(self->vm.ram, const_4 + 4, const_4_end - const_4 - 4);
	rip_set(&self->v, 0x200000 - 4);
	dev_done(self->d);
	EXPECT_EQ(0x5a5b5c5d, dev_val(self->d, 0, 4));
}

/* ---- read-only slots ----------------------------------------------------------------------------- */

TEST_F(mmio, read_only_slot)
{
	struct cleave_run *r = self->v.run;

	memset(self->ro, 0x3c, 0x2000);
	/* Reads are the CPU's own. */
	START(read_8, RO_GPA + 0x10, 0);
	dev_done(self->d);
	EXPECT_EQ(0x3c3c3c3c3c3c3c3c, r->regs.rax);
	EXPECT_EQ(0, self->d->exits);
	/* A store exits, whether the page was read before or not, and changes nothing. */
	for (uint64_t off = 0x10; off < 0x2000; off += 0x1000) {
		START(write_4, RO_GPA + off, 0x11223344);
		vcpu_run_exit(&self->v, CLEAVE_EXIT_MMIO);
		EXPECT_EQ(CLEAVE_ACCESS_WRITE | CLEAVE_ACCESS_READONLY, r->mmio.flags);
		EXPECT_EQ(RO_GPA + off, r->mmio.gpa);
		dev_assist(self->d);
		dev_done(self->d);
		ASSERT_EQ(1, self->d->count);
		EXPECT_ACCESS(0, true, RO_GPA + off, 4);
		EXPECT_EQ(0x11223344, self->d->log[0].data);
		EXPECT_EQ(0x3c, self->ro[off]);
	}
	/* Read, modify, write: what it read is the memory's. */
	START(rmw, RO_GPA, 1);
	dev_done(self->d);
	EXPECT_EQ(0x3c3c3c3d, self->d->log[0].data);
	EXPECT_TRUE(self->d->log[0].write);
	EXPECT_EQ(0x3c, self->ro[0]);
}

/* ---- other ways to get there ---------------------------------------------------------------------- */

GUEST(stack, 64,
	"mov %rsp, %r15\n\tmov %rbx, %rsp\n\tpush %rax\n\tpushq $0x12\n\tpop %rcx\n\tpop %rdx\n\t"
	"mov %r15, %rsp\n\tpushq 0x40(%rbx)\n\tpopq 0x48(%rbx)\n\t" G_DONE);
GUEST(indirect, 64,
	"lea 1f(%rip), %rax\n\tmov %rax, (%rbx)\n\tjmp *(%rbx)\n\tud2\n"
	"1:\tlea 2f(%rip), %rax\n\tmov %rax, (%rbx)\n\tcall *(%rbx)\n\tmov $3, %eax\n\t" G_DONE
	"2:\tret\n\t");
GUEST(addressing, 64,
	"mov $0xc0000101, %ecx\n\tmov $" DEV ", %eax\n\txor %edx, %edx\n\twrmsr\n\t"
	"mov %gs:0x10, %r8d\n\tmov $4, %ecx\n\tmov -0x20(%rbx,%rcx,8), %r9d\n\t"
	"mov $1, %esi\n\tshl $32, %rsi\n\tadd %rbx, %rsi\n\tmov 8(%esi), %r10d\n\t"
	"movabs " DEV "+0x38, %al\n\tmov " DEV "+0x3c, %r11d\n\t" G_DONE);

TEST_F(mmio, stack)
{
	START(stack, DEV_GPA + 0x80, PATTERN);
	dev_done(self->d);
	EXPECT_EQ(0x12, self->v.run->regs.rcx);
	EXPECT_EQ(PATTERN, self->v.run->regs.rdx);
	EXPECT_EQ(PATTERN, dev_val(self->d, 0x78, 8));
	EXPECT_EQ(0x12, dev_val(self->d, 0x70, 8));
	EXPECT_EQ(dev_val(self->d, 0xc0, 8), dev_val(self->d, 0xc8, 8));
	EXPECT_EQ(GPA_STACK, self->v.run->regs.rsp);
	EXPECT_EQ(6, self->d->count);
}

TEST_F(mmio, indirect)
{
	START(indirect, DEV_GPA, 0);
	EXPECT_EQ(3, dev_done(self->d));
	EXPECT_EQ(4, self->d->count);
}

/* GS, index and scale, 32-bit addresses, absolute ones of 64 and of 32 bits. */
TEST_F(mmio, addressing)
{
	struct cleave_regs *r = &self->v.run->regs;

	START(addressing, DEV_GPA, 0);
	dev_done(self->d);
	EXPECT_EQ(dev_val(self->d, 0x10, 4), r->r8);
	EXPECT_EQ(dev_val(self->d, 0, 4), r->r9);
	EXPECT_EQ(dev_val(self->d, 8, 4), r->r10);
	EXPECT_EQ(dev_val(self->d, 0x38, 1), r->rax & 0xff);
	EXPECT_EQ(dev_val(self->d, 0x3c, 4), r->r11);
	EXPECT_EQ(5, self->d->count);
}

GUEST(protected_load, 32, "mov " DEV "+4, %eax\n\tmov %ax, " DEV "+0x10\n\t" G_DONE);

TEST_F(mmio, protected_mode)
{
	GUEST_LOAD(&self->vm, GPA_CODE, protected_load);
	vcpu_protected(&self->v, GPA_CODE);
	EXPECT_EQ(dev_val(self->d, 4, 4), dev_done(self->d));
	EXPECT_EQ(dev_val(self->d, 4, 2), dev_val(self->d, 0x10, 2));
}

GUEST(real_load, 16,
	"mov $0xb800, %ax\n\tmov %ax, %es\n\tmov %es:2, %bx\n\tmovw $0x0741, %es:4\n\t"
	"movzwl %bx, %eax\n\t" G_DONE);

TEST_F(mmio, real_mode)
{
	struct cleave_slot hole = { .slot = 0 };

	/* Memory ends below 0xb8000. */
	ASSERT_EQ(0, xioctl(self->vm.fd, CLEAVE_SET_SLOT, &hole));
	ASSERT_EQ(0, vm_slot(&self->vm, 0, 0, 0, 0xa0000, self->vm.ram));
	self->d->mem.range[0].size = 0xa0000;
	GUEST_LOAD(&self->vm, GPA_CODE, real_load);
	vcpu_real(&self->v, GPA_CODE >> 4, 0);
	EXPECT_EQ(0xffff, dev_done(self->d));
	ASSERT_EQ(2, self->d->count);
	EXPECT_ACCESS(0, false, 0xb8002, 2);
	EXPECT_ACCESS(1, true, 0xb8004, 2);
	EXPECT_EQ(0x0741, self->d->log[1].data);
}

/* Stepped: #DB behind each, as for any instruction. */
GUEST(stepped, 64,
	"pushf\n\torq $0x100, (%rsp)\n\tpopf\n\tmov (%rbx), %eax\n1:\tmov %eax, 8(%rbx)\n2:\t"
	"pushf\n\tandq $~0x100, (%rsp)\n\tpopf\n\tnop\n\t" G_DONE);

TEST_F(mmio, single_step)
{
	START(stepped, DEV_GPA, 0);
	log_prepare(&self->vm);
	dev_done(self->d);
	EXPECT_EQ(2, self->d->count);
	EXPECT_EQ(dev_val(self->d, 0, 4), dev_val(self->d, 8, 4));
	/* Two accesses, PUSHF, AND, POPF. */
	EXPECT_EQ(5, vm_log(&self->vm)->count);
	EXPECT_EQ(2, vm_log(&self->vm)->e[0].rip - (GPA_CODE + 10));
	EXPECT_EQ(3, vm_log(&self->vm)->e[1].rip - vm_log(&self->vm)->e[0].rip);
}

TEST_HARNESS_MAIN
