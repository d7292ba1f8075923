// SPDX-License-Identifier: GPL-2.0
/* Real, protected, PAE, compatibility and long mode, and the guest's own ways between them. */
#define _GNU_SOURCE
#include <cpuid.h>
#include <sys/ioctl.h>
#include "kselftest_harness.h"
#include "guest.h"

/* An address of this blob as the guest has it when loaded at GPA_CODE. */
#define AT(name, label) S(GPA_CODE) " + " #label " - " #name

FIXTURE(modes) {
	struct vm vm;
	struct vcpu v;
};

FIXTURE_SETUP(modes)
{
	vm_create(&self->vm, 4 * RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	vm_tables(&self->vm);
}

FIXTURE_TEARDOWN(modes)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

/* 10! by 32-bit multiplication, through memory, call and string instructions. */
GUEST(real_compute, 16,
	"mov $1, %eax\n\tmov $10, %ecx\n"
	"1:\tmul %ecx\n\tdec %ecx\n\tjnz 1b\n\t"
	"push %eax\n\tcall 2f\n\tpop %eax\n\t"
	"mov $0xf00, %di\n\tstosl\n\tmov $0xf00, %si\n\txor %eax, %eax\n\tlodsl\n\t"
	G_DONE
	"2:\tmov $5, %bx\n\tret\n\t");

TEST_F(modes, real)
{
	GUEST_LOAD(&self->vm, GPA_CODE, real_compute);
	vcpu_real(&self->v, GPA_CODE >> 4, 0);
	EXPECT_EQ(3628800, vcpu_run_done(&self->v));
	EXPECT_EQ(3628800, *(uint32_t *)(self->vm.ram + 0xf00));
	EXPECT_EQ(5, self->v.run->regs.rbx);
}

/* EFER.LME long before paging or PAE is on: nothing but a bit yet. */
GUEST(real_lme, 16,
	"mov $0xc0000080, %ecx\n\trdmsr\n\tor $0x100, %ax\n\twrmsr\n\txor %eax, %eax\n\tcpuid\n\t"
	"mov $0xc0000080, %ecx\n\trdmsr\n\t" G_DONE);

TEST_F(modes, real_with_lme)
{
	struct cleave_state st;

	GUEST_LOAD(&self->vm, GPA_CODE, real_lme);
	vcpu_real(&self->v, GPA_CODE >> 4, 0);
	EXPECT_EQ(0x100, vcpu_run_done(&self->v));
	state_get(&self->v, CLEAVE_SREGS, &st);
	EXPECT_EQ(0x100, st.sregs.efer);
	EXPECT_EQ(0, st.sregs.cr4);
}

/* Segment arithmetic: the same byte by three segment:offset pairs, and the wrap of IP. */
GUEST(real_segments, 16,
	"mov $0x2000, %ax\n\tmov %ax, %ds\n\tmovb $0x5a, 0x10\n\t"
	"mov $0x2001, %ax\n\tmov %ax, %es\n\tmovzbl %es:0, %ebx\n\t"
	"mov $0x1f00, %ax\n\tmov %ax, %fs\n\tmovzbl %fs:0x1010, %ecx\n\t"
	"lcall $0x3000, $0x20\n\t"
	"shl $8, %ebx\n\tor %ecx, %ebx\n\tshl $16, %eax\n\tor %ebx, %eax\n\t" G_DONE);
GUEST(real_far, 16, "mov %cs, %ax\n\tlret\n\t");

TEST_F(modes, real_segments)
{
	GUEST_LOAD(&self->vm, GPA_CODE, real_segments);
	GUEST_LOAD(&self->vm, 0x30020, real_far);
	vcpu_real(&self->v, GPA_CODE >> 4, 0);
	EXPECT_EQ(0x30005a5a, vcpu_run_done(&self->v));
	EXPECT_EQ(0x5a, self->vm.ram[0x20010]);
}

/* INT, a fault and IRET through the interrupt vector table. */
GUEST(real_interrupts, 16,
	"xor %ebx, %ebx\n\tint $0x21\n\tint $0x21\n\tud2\n\t"
	"mov %ebx, %eax\n\t" G_DONE);
GUEST(real_int21, 16, "inc %bx\n\tiret\n\t");
GUEST(real_ud, 16,
	"or $0x1000, %bx\n\tmov %sp, %bp\n\taddw $2, (%bp)\n\tiret\n\t");

TEST_F(modes, real_interrupts)
{
	GUEST_LOAD(&self->vm, GPA_CODE, real_interrupts);
	GUEST_LOAD(&self->vm, 0x20000, real_int21);
	GUEST_LOAD(&self->vm, 0x20100, real_ud);
	vm_real_vector(&self->vm, 0x21, 0x2000, 0);
	vm_real_vector(&self->vm, 6, 0x2000, 0x100);
	vcpu_real(&self->v, GPA_CODE >> 4, 0);
	EXPECT_EQ(0x1002, vcpu_run_done(&self->v));
}

/* From the reset vector, with nothing set. */
GUEST(reset_jump, 16, "ljmp $0xf000, $0xe000\n\t");
GUEST(reset_main, 16, "mov %cs, %ax\n\tmovzwl %ax, %eax\n\t" G_DONE);

TEST_F(modes, reset_vector)
{
	uint8_t *rom = mem_alloc(0x10000, 4096);
	struct vcpu v;
	struct vm vm;

	vm_create(&vm, RAM_SIZE, 0);
	ASSERT_EQ(0, vm_slot(&vm, 1, CLEAVE_SLOT_READONLY, 0xffff0000, 0x10000, rom));
	memcpy(rom + 0xfff0, reset_jump, reset_jump_end - reset_jump);
	GUEST_LOAD(&vm, 0xfe000, reset_main);
	vcpu_create(&vm, &v, 0);
	EXPECT_EQ(0xf000, vcpu_run_done(&v));
}

/* Protected mode and back with a data segment that kept its limit of 4 GiB. */
GUEST(big_real, 16,
	"cli\n\tlgdtl %cs:(9f - big_real)\n\t"
	"mov %cr0, %eax\n\tor $1, %al\n\tmov %eax, %cr0\n\tjmp 1f\n"
	"1:\tmov $" S(SEL_DATA) ", %bx\n\tmov %bx, %ds\n\t"
	"and $0xfe, %al\n\tmov %eax, %cr0\n\tjmp 2f\n"
	"2:\tmov $0x150000, %ebx\n\taddr32 movl $0x12345678, (%ebx)\n\t"
	"xor %cx, %cx\n\tmov %cx, %ds\n\t"
	"addr32 mov (%ebx), %eax\n\t" G_DONE
	".balign 4\n9:\t.word 0x4f\n\t.long " S(GPA_GDT) "\n\t");

TEST_F(modes, big_real)
{
	GUEST_LOAD(&self->vm, GPA_CODE, big_real);
	vcpu_real(&self->v, GPA_CODE >> 4, 0);
	EXPECT_EQ(0x12345678, vcpu_run_done(&self->v));
	EXPECT_EQ(0x12345678, *(uint32_t *)(self->vm.ram + 0x150000));
}

GUEST(protected_compute, 32,
	"mov $1, %eax\n\tmov $12, %ecx\n"
	"1:\timul %ecx, %eax\n\tloop 1b\n\t"
	"push %eax\n\tcall 2f\n\tpop %eax\n\t" G_DONE
	"2:\tmov $0x150000, %edi\n\tmov 4(%esp), %edx\n\tmov %edx, (%edi)\n\tret\n\t");

TEST_F(modes, protected)
{
	GUEST_LOAD(&self->vm, GPA_CODE, protected_compute);
	vcpu_protected(&self->v, GPA_CODE);
	EXPECT_EQ(479001600, vcpu_run_done(&self->v));
	EXPECT_EQ(479001600, *(uint32_t *)(self->vm.ram + 0x150000));
}

/* 16-bit protected mode through a call into a 16-bit segment and back. */
GUEST(protected_16, 32,
	"xor %eax, %eax\n\tlcall $" S(SEL_CODE16) ", $0x2000\n\tadd $1, %eax\n\t" G_DONE);
GUEST(code_16, 16, "mov $0xfff0, %ax\n\tadd $0x0f, %ax\n\tlretl\n\t");

TEST_F(modes, protected_16)
{
	GUEST_LOAD(&self->vm, GPA_CODE, protected_16);
	GUEST_LOAD(&self->vm, 0x2000, code_16);
	vcpu_protected(&self->v, GPA_CODE);
	EXPECT_EQ(0x10000, vcpu_run_done(&self->v));
}

/* Two-level paging with a 4 KiB and a 4 MiB mapping of the same page. */
GUEST(paging_32, 32,
	"mov $0x100000, %eax\n\tmov %eax, %cr3\n\t"
	"mov %cr4, %eax\n\tor $0x10, %eax\n\tmov %eax, %cr4\n\t"
	"mov %cr0, %eax\n\tor $0x80000000, %eax\n\tmov %eax, %cr0\n\t"
	"movl $0x77, 0x00800123\n\t"		/* second directory entry: 4 KiB pages */
	"mov 0x00103123, %eax\n\t"		/* identity */
	"mov 0xc0103123, %ebx\n\t"		/* high */
	"shl $8, %ebx\n\tor %ebx, %eax\n\t" G_DONE);

TEST_F(modes, paging_32)
{
	uint32_t *dir = (uint32_t *)(self->vm.ram + 0x100000);
	uint32_t *table = (uint32_t *)(self->vm.ram + 0x101000);

	dir[0] = 0x83;			/* 4 MiB at 0 */
	dir[2] = 0x101003;
	dir[0x300] = 0x83;		/* at 0xc0000000 too */
	table[0] = 0x103003;
	GUEST_LOAD(&self->vm, GPA_CODE, paging_32);
	vcpu_protected(&self->v, GPA_CODE);
	EXPECT_EQ(0x7777, vcpu_run_done(&self->v));
	EXPECT_EQ(0x77, self->vm.ram[0x103123]);
	EXPECT_EQ(0x60, table[0] & 0x60);	/* accessed, dirty */
}

GUEST(paging_pae, 32,
	"mov $0x100000, %eax\n\tmov %eax, %cr3\n\t"
	"mov %cr4, %eax\n\tor $0x20, %eax\n\tmov %eax, %cr4\n\t"
	"mov %cr0, %eax\n\tor $0x80000000, %eax\n\tmov %eax, %cr0\n\t"
	"movl $0x55, 0x40000123\n\t"		/* by the second pointer */
	"mov 0x00103123, %eax\n\t" G_DONE
	/* The second pointer is changed in memory: only a load of CR3 makes it count. */
	"movl $0x105001, 0x100008\n\tmov %cr3, %eax\n\tmov %eax, %cr3\n\t"
	"mov 0x40000123, %eax\n\t" G_DONE);

TEST_F(modes, paging_pae)
{
	uint64_t *pdpt = (uint64_t *)(self->vm.ram + 0x100000);
	uint64_t *dir = (uint64_t *)(self->vm.ram + 0x101000);
	uint64_t *dir2 = (uint64_t *)(self->vm.ram + 0x102000);
	uint64_t *dir3 = (uint64_t *)(self->vm.ram + 0x105000);
	uint64_t *table = (uint64_t *)(self->vm.ram + 0x104000);

	pdpt[0] = 0x101001;
	pdpt[1] = 0x102001;
	dir[0] = 0x83;
	dir2[0] = 0x104003;
	table[0] = 0x103003;
	dir3[0] = 0x83;
	*(uint32_t *)(self->vm.ram + 0x123) = 0x99;
	GUEST_LOAD(&self->vm, GPA_CODE, paging_pae);
	vcpu_protected(&self->v, GPA_CODE);
	EXPECT_EQ(0x55, vcpu_run_done(&self->v));
	EXPECT_EQ(0x99, vcpu_run_done(&self->v));
}

/* A PAE guest put in place by the test rather than by the guest. */
GUEST(pae_body, 32, "mov 0x40000123, %eax\n\t" G_DONE);

TEST_F(modes, pae_by_state)
{
	uint64_t *pdpt = (uint64_t *)(self->vm.ram + 0x100020);
	uint64_t *dir = (uint64_t *)(self->vm.ram + 0x101000);
	struct cleave_state st;

	pdpt[0] = 0x101001;
	pdpt[1] = 0x101001;
	dir[0] = 0x83;
	*(uint32_t *)(self->vm.ram + 0x123) = 0x4711;
	GUEST_LOAD(&self->vm, GPA_CODE, pae_body);
	vcpu_protected(&self->v, GPA_CODE);
	state_get(&self->v, CLEAVE_SREGS, &st);
	st.sregs.cr3 = 0x100020;
	st.sregs.cr4 = CR4_PAE;
	st.sregs.cr0 |= CR0_PG;
	state_must_set(&self->v, CLEAVE_SREGS, &st);
	EXPECT_EQ(0x4711, vcpu_run_done(&self->v));
}

GUEST(long_compute, 64,
	"mov $1, %rax\n\tmov $20, %r8\n"
	"1:\timul %r8, %rax\n\tdec %r8\n\tjnz 1b\n\t"
	"mov %rax, %r15\n\tcall 2f\n\tshr $32, %rax\n\t" G_DONE
	"2:\tmov $0x150000, %r14\n\tmov %r15, (%r14)\n\tret\n\t");

TEST_F(modes, long_mode)
{
	GUEST_LOAD(&self->vm, GPA_CODE, long_compute);
	vcpu_long(&self->v, GPA_CODE);
	EXPECT_EQ(2432902008176640000ull >> 32, vcpu_run_done(&self->v));
	EXPECT_EQ(2432902008176640000ull, *(uint64_t *)(self->vm.ram + 0x150000));
	EXPECT_EQ(2432902008176640000ull, self->v.run->regs.r15);
}

/* Real to protected to long mode, then to compatibility mode, and all the way back. */
GUEST(every_mode, 16,
	"cli\n\tmov $0x1111, %eax\n\t" G_DONE
	"lgdtl %cs:(9f - every_mode)\n\t"
	"mov %cr0, %eax\n\tor $1, %eax\n\tmov %eax, %cr0\n\t"
	"ljmpl $" S(SEL_CODE32) ", $(" AT(every_mode, 1f) ")\n"
	".code32\n1:\tmov $" S(SEL_DATA) ", %ax\n\tmov %ax, %ds\n\tmov %ax, %es\n\tmov %ax, %ss\n\t"
	"mov $" S(GPA_STACK) ", %esp\n\tmov $0x2222, %eax\n\t" G_DONE
	"mov %cr4, %eax\n\tor $0x20, %eax\n\tmov %eax, %cr4\n\t"
	"mov $" S(GPA_PML4) ", %eax\n\tmov %eax, %cr3\n\t"
	"mov $0xc0000080, %ecx\n\trdmsr\n\tor $0x100, %eax\n\twrmsr\n\t"
	"mov %cr0, %eax\n\tor $0x80000000, %eax\n\tmov %eax, %cr0\n\t"
	"mov $0x3333, %eax\n\t" G_DONE		/* compatibility mode by now */
	"ljmp $" S(SEL_CODE64) ", $(" AT(every_mode, 2f) ")\n"
	".code64\n2:\tmov $0x123456789abc, %rbx\n\trdmsr\n\tmov %eax, %edi\n\t"
	"mov $0x4444, %eax\n\t" G_DONE
	"push $" S(SEL_CODE32) "\n\tpush $(" AT(every_mode, 3f) ")\n\tlretq\n"
	".code32\n3:\tmov $0x5555, %eax\n\t" G_DONE
	"mov %cr0, %eax\n\tand $0x7fffffff, %eax\n\tmov %eax, %cr0\n\t"
	"mov $0xc0000080, %ecx\n\trdmsr\n\tmov %eax, %esi\n\tand $~0x100, %eax\n\twrmsr\n\t"
	"ljmp $" S(SEL_CODE16) ", $(4f - every_mode + 0x2000)\n"	/* CODE16 has base 0 */
	".code16\n4:\tmov $" S(SEL_DATA16) ", %ax\n\tmov %ax, %ds\n\tmov %ax, %ss\n\t"
	"mov %cr0, %eax\n\tand $0xfe, %al\n\tmov %eax, %cr0\n\t"
	"ljmp $" S(GPA_CODE) " >> 4, $(5f - every_mode)\n"
	"5:\tmov $0x6666, %eax\n\t" G_DONE
	".balign 4\n9:\t.word 0x4f\n\t.long " S(GPA_GDT) "\n\t");

TEST_F(modes, every_mode)
{
	struct cleave_state st;

	GUEST_LOAD(&self->vm, GPA_CODE, every_mode);
	/* CODE16 reaches 64 KiB from 0: a second copy for the way back. */
	memset(self->vm.ram + GPA_IDT, 0, 0x1000);
	GUEST_LOAD(&self->vm, 0x2000, every_mode);
	vcpu_real(&self->v, GPA_CODE >> 4, 0);
	EXPECT_EQ(0x1111, vcpu_run_done(&self->v));
	EXPECT_EQ(0x2222, vcpu_run_done(&self->v));
	state_get(&self->v, CLEAVE_SREGS, &st);
	EXPECT_EQ(0xc000 | 0x9b, st.sregs.cs.ar & 0xf0ff);
	EXPECT_EQ(0xffffffff, st.sregs.cs.limit);
	EXPECT_EQ(0, st.sregs.efer & (EFER_LME | EFER_LMA));
	EXPECT_EQ(0x3333, vcpu_run_done(&self->v));
	state_get(&self->v, CLEAVE_SREGS, &st);
	EXPECT_EQ(EFER_LME | EFER_LMA, st.sregs.efer & (EFER_LME | EFER_LMA));
	EXPECT_EQ(0, st.sregs.cs.ar & CLEAVE_AR_L);
	EXPECT_EQ(0x4444, vcpu_run_done(&self->v));
	EXPECT_EQ(0x123456789abc, self->v.run->regs.rbx);
	EXPECT_EQ(EFER_LME | EFER_LMA, self->v.run->regs.rdi & (EFER_LME | EFER_LMA));
	state_get(&self->v, CLEAVE_SREGS, &st);
	EXPECT_EQ(CLEAVE_AR_L, st.sregs.cs.ar & CLEAVE_AR_L);
	EXPECT_EQ(0x5555, vcpu_run_done(&self->v));
	EXPECT_EQ(0x6666, vcpu_run_done(&self->v));
	EXPECT_EQ(EFER_LME, self->v.run->regs.rsi & (EFER_LME | EFER_LMA));
	state_get(&self->v, CLEAVE_SREGS, &st);
	EXPECT_EQ(0, st.sregs.efer);
	EXPECT_EQ(0, st.sregs.cr0 & (CR0_PE | CR0_PG));
	EXPECT_EQ(GPA_CODE >> 4, st.sregs.cs.selector);
	EXPECT_EQ(GPA_CODE, st.sregs.cs.base);
}

/* To user mode by IRETQ, back by INT and by SYSCALL. */
GUEST(rings, 64,
	"push $" S(SEL_UDATA) "\n\tpush $0x60000\n\tpush $2\n\tpush $" S(SEL_UCODE64) "\n\t"
	"lea 1f(%rip), %rax\n\tpush %rax\n\tiretq\n"
	"1:\tmov %cs, %ebx\n\tint $0x80\n\tud2\n\t");
GUEST(ring0_entry, 64,
	"mov %cs, %ecx\n\tmov %rsp, %rdx\n\tmov 8(%rsp), %rsi\n\t" G_DONE);

TEST_F(modes, user_mode)
{
	GUEST_LOAD(&self->vm, GPA_CODE, rings);
	GUEST_LOAD(&self->vm, 0x11000, ring0_entry);
	vm_gate(&self->vm, 0x80, 0x11000, 0, 3);
	vcpu_long(&self->v, GPA_CODE);
	vcpu_run_done(&self->v);
	EXPECT_EQ(SEL_UCODE64, self->v.run->regs.rbx & 0xffff);
	EXPECT_EQ(SEL_CODE64, self->v.run->regs.rcx & 0xffff);
	EXPECT_EQ(SEL_UCODE64, self->v.run->regs.rsi);
	/* The stack of the TSS, less the frame of five. */
	EXPECT_EQ(GPA_STACK - 0x8000 - 40, self->v.run->regs.rdx);
}

GUEST(syscall_user, 64,
	"mov $0xc0000081, %ecx\n\txor %eax, %eax\n\t"
	"mov $(0x23 << 16 | " S(SEL_CODE64) "), %edx\n\twrmsr\n\t"	/* STAR */
	"mov $0xc0000082, %ecx\n\tlea 2f(%rip), %rax\n\txor %edx, %edx\n\twrmsr\n\t"
	"mov $0xc0000084, %ecx\n\tmov $0x200, %eax\n\twrmsr\n\t"	/* FMASK: IF */
	"push $" S(SEL_UDATA) "\n\tpush $0x60000\n\tpush $0x202\n\tpush $" S(SEL_UCODE64) "\n\t"
	"lea 1f(%rip), %rax\n\tpush %rax\n\tiretq\n"
	"1:\tmov $42, %edi\n\tsyscall\n"
	"3:\tud2\n"
	"2:\tlea 3b(%rip), %rbx\n\tsub %rcx, %rbx\n\tpushf\n\tpop %rsi\n\tmov %rdi, %rax\n\t" G_DONE);

TEST_F(modes, syscall)
{
	struct cleave_state st;

	GUEST_LOAD(&self->vm, GPA_CODE, syscall_user);
	vcpu_long(&self->v, GPA_CODE);
	EXPECT_EQ(42, vcpu_run_done(&self->v));
	EXPECT_EQ(0, self->v.run->regs.rbx);		/* RCX was behind SYSCALL */
	EXPECT_EQ(0x202, self->v.run->regs.r11 & 0x202);
	EXPECT_EQ(0, self->v.run->regs.rsi & RFLAGS_IF);
	state_get(&self->v, CLEAVE_SREGS, &st);
	EXPECT_EQ(SEL_CODE64, st.sregs.cs.selector);
	EXPECT_EQ(SEL_CODE64 + 8, st.sregs.ss.selector);
}

/* The bases of FS, GS and the SWAPGS pair. */
GUEST(bases, 64,
	"mov $0xc0000100, %ecx\n\tmov $0x150000, %eax\n\txor %edx, %edx\n\twrmsr\n\t"
	"inc %ecx\n\tmov $0x151000, %eax\n\twrmsr\n\t"
	"inc %ecx\n\tmov $0x152000, %eax\n\twrmsr\n\t"
	"movb $1, %fs:0\n\tmovb $2, %gs:0\n\tswapgs\n\tmovb $3, %gs:0\n\t" G_DONE
	"swapgs\n\tmovb $4, %gs:1\n\t" G_DONE);

TEST_F(modes, segment_bases)
{
	struct cleave_state st;
	uint64_t val;

	GUEST_LOAD(&self->vm, GPA_CODE, bases);
	vcpu_long(&self->v, GPA_CODE);
	vcpu_run_done(&self->v);
	EXPECT_EQ(1, self->vm.ram[0x150000]);
	EXPECT_EQ(2, self->vm.ram[0x151000]);
	EXPECT_EQ(3, self->vm.ram[0x152000]);
	state_get(&self->v, CLEAVE_SREGS, &st);
	EXPECT_EQ(0x150000, st.sregs.fs.base);
	EXPECT_EQ(0x152000, st.sregs.gs.base);
	ASSERT_EQ(0, msr_get(&self->v, 0xc0000102, &val));
	EXPECT_EQ(0x151000, val);
	ASSERT_EQ(0, msr_get(&self->v, 0xc0000101, &val));
	EXPECT_EQ(0x152000, val);
	vcpu_run_done(&self->v);
	EXPECT_EQ(4, self->vm.ram[0x151001]);
}

/* Control registers read back as written; what may not be set is #GP(0). */
GUEST(cr_access, 64,
	"mov %rax, %cr0\n\tmov %cr0, %rbx\n\t" G_DONE);
GUEST(cr4_access, 64,
	"mov %rax, %cr4\n\tmov %cr4, %rbx\n\t" G_DONE);

static void cr_try(struct __test_metadata *_metadata, FIXTURE_DATA(modes) *self, bool cr4,
		   uint64_t val, bool ok)
{
	struct cleave_regs regs;

	vm_tables(&self->vm);
	if (cr4)
		GUEST_LOAD(&self->vm, GPA_CODE, cr4_access);
	else
		GUEST_LOAD(&self->vm, GPA_CODE, cr_access);
	vcpu_long(&self->v, GPA_CODE);
	regs_get(&self->v, &regs);
	regs.rax = val;
	regs_set(&self->v, &regs);
	if (ok) {
		vcpu_run_done(&self->v);
		EXPECT_EQ(val, self->v.run->regs.rbx);
	} else {
		struct trap_frame *f = vcpu_run_trap(&self->v, 13);

		EXPECT_EQ(0, f->error);
		EXPECT_EQ(GPA_CODE, f->rip);
	}
}

TEST_F(modes, control_registers)
{
	uint64_t cr0 = CR0_PE | CR0_ET | CR0_NE | CR0_PG;
	uint64_t cr4 = CR4_PAE | CR4_OSFXSR, some = 0x9c;		/* TSD DE PSE PGE */
	unsigned int eax, ebx, ecx, edx;

	__cpuid(1, eax, ebx, ecx, edx);
	if (edx & 2)
		some |= 3;						/* VME PVI */
	cr_try(_metadata, self, false, cr0, true);
	cr_try(_metadata, self, false, cr0 | CR0_MP | CR0_TS | CR0_WP | CR0_AM | CR0_EM, true);
	cr_try(_metadata, self, false, cr0 | 3u << 29, true);		/* NW, CD */
	cr_try(_metadata, self, false, cr0 | 1u << 30, true);		/* CD */
	cr_try(_metadata, self, false, cr0 & ~CR0_PE, false);
	cr_try(_metadata, self, false, cr0 & ~CR0_PG, false);		/* in 64-bit code */
	cr_try(_metadata, self, false, cr0 | 1u << 29, false);		/* NW without CD */
	cr_try(_metadata, self, false, cr0 | 1ull << 32, false);
	cr_try(_metadata, self, false, cr0 | 1ull << 63, false);
	cr_try(_metadata, self, true, cr4, true);
	cr_try(_metadata, self, true, cr4 | some, true);
	cr_try(_metadata, self, true, cr4 & ~CR4_PAE, false);
	cr_try(_metadata, self, true, cr4 | CR4_VMXE, false);
	cr_try(_metadata, self, true, cr4 | 1u << 15, false);
	cr_try(_metadata, self, true, cr4 | 1u << 31, false);
	cr_try(_metadata, self, true, cr4 | 1ull << 32, false);
}

/* CLTS, LMSW, SMSW. */
GUEST(small_cr0, 64,
	"mov %cr0, %rax\n\tor $8, %al\n\tmov %rax, %cr0\n\tsmsw %ebx\n\tclts\n\tsmsw %ecx\n\t"
	"mov $0xf, %eax\n\tlmsw %ax\n\tsmsw %esi\n\t"
	"mov $0x0, %eax\n\tlmsw %ax\n\tsmsw %edi\n\t" G_DONE);

TEST_F(modes, machine_status_word)
{
	GUEST_LOAD(&self->vm, GPA_CODE, small_cr0);
	vcpu_long(&self->v, GPA_CODE);
	vcpu_run_done(&self->v);
	EXPECT_EQ(CR0_TS, self->v.run->regs.rbx & CR0_TS);
	EXPECT_EQ(0, self->v.run->regs.rcx & CR0_TS);
	EXPECT_EQ(0xf, self->v.run->regs.rsi & 0xf);
	EXPECT_EQ(1, self->v.run->regs.rdi & 0xf);	/* LMSW does not clear PE */
}

TEST_HARNESS_MAIN
