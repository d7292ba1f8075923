// SPDX-License-Identifier: GPL-2.0
/*
 * A vCPU's whole state, taken out, put into a fresh vCPU of another VM and
 * continued: the guest does not notice. And what cannot be put in.
 */
#define _GNU_SOURCE
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "kselftest_harness.h"
#include "host.h"

#define ALL	(CLEAVE_REGS | CLEAVE_SREGS | CLEAVE_DEBUG | CLEAVE_XCRS | CLEAVE_EVENTS |	\
		 CLEAVE_MP | CLEAVE_LAPIC)
#define VECTOR	0x40
#define TSC	0x10

/* All there is of a vCPU. */
struct whole {
	struct cleave_state st;
	struct cleave_fpu fpu;
	struct cleave_msrs msrs;
};

/* Those that are in no group and that a guest of either vendor may have; TSC_ADJUST before TSC. */
static const uint32_t msr_list[] = {
	0x3b, TSC, 0x174, 0x175, 0x176, 0x277, 0x2ff, 0x200, 0x201, 0x202, 0x203, 0x204, 0x205,
	0x206, 0x207, 0x208, 0x209, 0x20a, 0x20b, 0x20c, 0x20d, 0x20e, 0x20f, 0x250, 0x258, 0x259,
	0x268, 0x269, 0x26a, 0x26b, 0x26c, 0x26d, 0x26e, 0x26f, 0x48, 0x17a, 0x1a0, 0xc0000081,
	0xc0000082, 0xc0000083, 0xc0000084, 0xc0000102, 0xc0000103, 0xc0010015,
};

static void whole_get(struct vcpu *v, struct whole *w)
{
	uint64_t val;

	memset(w, 0, sizeof(*w));
	state_get(v, ALL, &w->st);
	MUST(ioctl(v->fd, CLEAVE_GET_FPU, &w->fpu));
	for (int i = 0; i < sizeof(msr_list) / sizeof(msr_list[0]); i++) {
		if (msr_get(v, msr_list[i], &val))
			continue;
		w->msrs.entries[w->msrs.count].index = msr_list[i];
		w->msrs.entries[w->msrs.count++].value = val;
	}
}

/* The LAPIC last: its timer counts from there. */
static void whole_set(struct vcpu *v, struct whole *w)
{
	MUST(ioctl(v->fd, CLEAVE_SET_MSRS, &w->msrs));
	MUST(ioctl(v->fd, CLEAVE_SET_FPU, &w->fpu));
	state_must_set(v, ALL, &w->st);
}

/* Another VM with a copy of the memory and a fresh vCPU goes on from here. */
static void move(struct vm *vm, struct vcpu *v, uint64_t flags)
{
	static struct whole w;
	struct vm to;
	struct vcpu v_to;

	whole_get(v, &w);
	vm_create(&to, vm->ram_size, flags);
	memcpy(to.ram, vm->ram, vm->ram_size);
	vcpu_create(&to, &v_to, v->id);
	whole_set(&v_to, &w);
	vcpu_destroy(v);
	vm_destroy(vm);
	*vm = to;
	*v = v_to;
	v->vm = vm;
}

FIXTURE(state) {
	struct vm vm;
	struct vcpu v;
};

FIXTURE_SETUP(state)
{
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	vm_tables(&self->vm);
}

FIXTURE_TEARDOWN(state)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

#define LOAD(code) do {						\
	GUEST_LOAD(&self->vm, GPA_CODE, code);			\
	vcpu_long(&self->v, GPA_CODE);				\
} while (0)
#define MOVE()	move(&self->vm, &self->v, 0)

/* ---- continued elsewhere -------------------------------------------------------- */

/*
 * A chain of rounds: each mixes all that the vCPU holds into R15 and changes
 * it. An OUT to 0x80 at the end of each, RCX rounds.
 */
#define MIX(reg)	"rol $7, %r15\n\txor %" #reg ", %r15\n\t"
#define MIX_MSR(msr)							\
	"mov $" S(msr) ", %ecx\n\trdmsr\n\tshl $32, %rdx\n\tor %rdx, %rax\n\t" MIX(rax)	\
	"mov %r15, %rax\n\tshl $17, %rax\n\tshr $18, %rax\n\tmov %rax, %rdx\n\tshr $32, %rdx\n\twrmsr\n\t"
GUEST(chain, 64,
	"mov %rcx, %rbp\n\tfninit\n\tfldpi\n\tfldl2e\n\tmov $0x9e3779b97f4a7c15, %r15\n\t"
	"movq %r15, %xmm0\n\tmovq %r15, %xmm15\n\tmov $0x1234, %ebx\n\tmov %rbx, %r14\n\t"
	"mov %r15, %r8\n\tmov %r15, %r9\n\tnot %r9\n\tlea 1(%r15), %r10\n\tlea 2(%r15), %r11\n\t"
	"lea 3(%r15), %r12\n\tlea 4(%r15), %r13\n\tlea 5(%r15), %rsi\n\tlea 6(%r15), %rdi\n"
	"1:\t" MIX(rbx) MIX(rsi) MIX(rdi) MIX(r8) MIX(r9) MIX(r10) MIX(r11) MIX(r12) MIX(r13) MIX(r14)
	MIX(rsp) MIX(rbp)
	"add %r15, %rbx\n\tadd %r15, %rsi\n\tadd %r15, %rdi\n\tadd %r15, %r8\n\tadd %r15, %r9\n\t"
	"add %r15, %r10\n\tadd %r15, %r11\n\tadd %r15, %r12\n\tadd %r15, %r13\n\tadd %r15, %r14\n\t"
	/* x87: two registers deep all the time, with rounding */
	"fxch\n\tfadd %st(1), %st\n\tfldpi\n\tfdivrp\n\tfstl " S(GPA_DATA) "\n\t"
	"mov " S(GPA_DATA) ", %rax\n\t" MIX(rax)
	"fnstsw %ax\n\tmovzwl %ax, %eax\n\t" MIX(rax)
	/* SSE */
	"movq %r15, %xmm3\n\tpaddq %xmm3, %xmm0\n\tpshufd $0x1b, %xmm0, %xmm0\n\t"
	"pxor %xmm0, %xmm15\n\tmovq %xmm15, %rax\n\t" MIX(rax)
	/* segment bases, system call registers, CR2, CR8, DR0, DR6 */
	MIX_MSR(0xc0000100) MIX_MSR(0xc0000101) MIX_MSR(0xc0000102) MIX_MSR(0xc0000082)
	MIX_MSR(0xc0000083) MIX_MSR(0x175) MIX_MSR(0x176)
	"mov %cr2, %rax\n\t" MIX(rax) "mov %r15, %cr2\n\t"
	"mov %cr8, %rax\n\t" MIX(rax) "mov %r15, %rax\n\tand $15, %eax\n\tmov %rax, %cr8\n\t"
	"mov %dr0, %rax\n\t" MIX(rax) "mov %r15, %dr0\n\t"
	"mov %dr3, %rax\n\t" MIX(rax) "mov %r14, %dr3\n\t"
	"mov %dr6, %rax\n\t" MIX(rax) "mov %r15d, %eax\n\tand $0xf, %eax\n\tmov %rax, %dr6\n\t"
	"mov %cr0, %rax\n\t" MIX(rax) "mov %cr4, %rax\n\t" MIX(rax)
	/* flags, and the hidden parts of segments */
	"pushfq\n\tpop %rax\n\t" MIX(rax)
	"mov $" S(SEL_DATA) ", %eax\n\tlsl %eax, %eax\n\t" MIX(rax)
	"xor %eax, %eax\n\tstr %ax\n\t" MIX(rax) "sidt " S(GPA_DATA) "+16\n\t"
	"mov " S(GPA_DATA) "+16, %rax\n\t" MIX(rax)
	"mov %r15d, %eax\n\tout %eax, $0x80\n\t"
	"dec %rbp\n\tjnz 1b\n\tmov %r15d, %eax\n\t" G_DONE);

static uint64_t run_chain(FIXTURE_DATA(state) *self, int rounds, int every)
{
	struct cleave_regs regs;

	LOAD(chain);
	regs_get(&self->v, &regs);
	regs.rcx = rounds;
	regs_set(&self->v, &regs);
	for (int i = 1; i <= rounds; i++) {
		vcpu_run_out(&self->v, 0x80);
		if (every && i % every == 0)
			MOVE();
	}
	vcpu_run_done(&self->v);
	return self->v.run->regs.r15;
}

TEST_F(state, computation)
{
	uint64_t expected = run_chain(self, 40, 0);
	struct cleave_state st = { 0 };

	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	vm_tables(&self->vm);
	EXPECT_EQ(expected, run_chain(self, 40, 1));
	/* It depends on what is moved: other values, another result. */
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	vm_tables(&self->vm);
	st.debug.db[3] = 1;
	state_must_set(&self->v, CLEAVE_DEBUG, &st);
	EXPECT_NE(expected, run_chain(self, 40, 3));
}

/* Interrupted anywhere, not only at its exits. */
GUEST(sum, 64, "xor %eax, %eax\n1:\tadd %rcx, %rax\n\trol %rax\n\tloop 1b\n\t" G_DONE);

static int at_exit(struct vcpu *v, void *arg)
{
	return 1;
}

static uint64_t run_sum(FIXTURE_DATA(state) *self, int moves)
{
	struct cleave_regs regs;
	struct runner r;
	int moved = 0;

	LOAD(sum);
	regs_get(&self->v, &regs);
	regs.rcx = 20000000;
	regs_set(&self->v, &regs);
	while (moved < moves) {
		runner_start(&r, &self->v, at_exit, NULL);
		nap_us(2000);
		runner_stop(&r);
		if (r.exits)
			DIE("it was done before it was moved %d times", moves);
		MOVE();
		moved++;
	}
	vcpu_run_done(&self->v);
	return self->v.run->regs.rax;
}

TEST_F(state, interrupted)
{
	uint64_t expected = run_sum(self, 0);

	EXPECT_EQ(expected, run_sum(self, 5));
}

/* AVX registers and XCR0. */
GUEST(avx, 64,
	"mov %cr4, %rax\n\tor $0x40000, %eax\n\tmov %rax, %cr4\n\t"
	"mov $7, %eax\n\txor %edx, %edx\n\txor %ecx, %ecx\n\txsetbv\n\t"
	"vmovdqu " S(GPA_DATA) ", %ymm0\n\tvmovdqa %ymm0, %ymm13\n\tout %al, $0x80\n\t"
	"vmovdqu %ymm13, " S(GPA_DATA) "+32\n\tvmovdqu %ymm0, " S(GPA_DATA) "+64\n\t"
	"xor %ecx, %ecx\n\txgetbv\n\t" G_DONE);

TEST_F(state, avx)
{
	uint8_t *data = self->vm.ram + GPA_DATA;

	if (!(dev_info().xcr0 & 4))
		SKIP(return, "no AVX");
	for (int i = 0; i < 32; i++)
		data[i] = 3 * i + 1;
	LOAD(avx);
	vcpu_run_out(&self->v, 0x80);
	MOVE();
	data = self->vm.ram + GPA_DATA;
	EXPECT_EQ(7, vcpu_run_done(&self->v));
	EXPECT_EQ(0, memcmp(data, data + 32, 32));
	EXPECT_EQ(0, memcmp(data, data + 64, 32));
}

/* Real mode with a segment that kept a limit of 4 GiB. */
GUEST(big_real, 16,
	"mov $0x150000, %ebx\n\taddr32 movl $0x1234, (%ebx)\n\tout %al, $0x80\n\t"
	"addr32 mov (%ebx), %eax\n\tcall 1f\n\tshl $16, %eax\n\tmov %cs, %ax\n\t" G_DONE
	"1:\tret\n\t");

TEST_F(state, real_mode)
{
	struct cleave_state st;

	GUEST_LOAD(&self->vm, GPA_CODE, big_real);
	vcpu_real(&self->v, GPA_CODE >> 4, 0);
	state_get(&self->v, CLEAVE_SREGS, &st);
	st.sregs.ds.limit = 0xffffffff;
	st.sregs.ds.ar |= CLEAVE_AR_G;
	state_must_set(&self->v, CLEAVE_SREGS, &st);
	vcpu_run_out(&self->v, 0x80);
	MOVE();
	EXPECT_EQ(0x12341000, vcpu_run_done(&self->v));
}

/* Protected mode with PAE paging. */
GUEST(pae, 32,
	"mov 0x40000123, %ebx\n\tout %al, $0x80\n\tmov 0x40000124, %eax\n\tshl $16, %eax\n\tor %ebx, %eax\n\t"
	G_DONE);

TEST_F(state, pae)
{
	uint64_t *pdpt = (uint64_t *)(self->vm.ram + 0x100020);
	uint64_t *dir = (uint64_t *)(self->vm.ram + 0x101000);
	struct cleave_state st;

	pdpt[0] = 0x101001;
	pdpt[1] = 0x101001;
	dir[0] = 0x83;
	self->vm.ram[0x123] = 0x47;
	self->vm.ram[0x124] = 0x11;
	GUEST_LOAD(&self->vm, GPA_CODE, pae);
	vcpu_protected(&self->v, GPA_CODE);
	state_get(&self->v, CLEAVE_SREGS, &st);
	st.sregs.cr3 = 0x100020;
	st.sregs.cr4 = CR4_PAE;
	st.sregs.cr0 |= CR0_PG;
	state_must_set(&self->v, CLEAVE_SREGS, &st);
	vcpu_run_out(&self->v, 0x80);
	MOVE();
	EXPECT_EQ(0x111147, vcpu_run_done(&self->v) & 0xffffff);
}

/* User mode: the privilege level is part of it. */
GUEST(user, 64, "mov %cs, %eax\n\tint $0x80\n\tcli\n\t");

TEST_F(state, user_mode)
{
	struct cleave_state st;
	struct trap_frame *f;

	LOAD(user);
	state_get(&self->v, CLEAVE_SREGS, &st);
	st.sregs.cs.selector = SEL_UCODE64;
	st.sregs.cs.ar |= CLEAVE_AR_DPL;
	st.sregs.ss.selector = SEL_UDATA;
	st.sregs.ss.ar |= CLEAVE_AR_DPL;
	st.sregs.ds = st.sregs.es = st.sregs.ss;
	state_must_set(&self->v, CLEAVE_SREGS, &st);
	MOVE();
	f = vcpu_run_trap(&self->v, 0x80);
	EXPECT_EQ(SEL_UCODE64, f->cs);
	MOVE();
	f = vcpu_run_trap(&self->v, 13);	/* CLI is not for it */
	EXPECT_EQ(SEL_UCODE64, f->cs);
	EXPECT_EQ(SEL_UDATA, f->ss);
}

/* An interrupt that waits for RFLAGS.IF; one in service; one behind it. */
GUEST(late_interrupt, 64,
	"out %al, $0x80\n\tsti\n\tnop\n\tcli\n\tmov " S(GPA_DATA) ", %eax\n\t" G_DONE);

TEST_F(state, interrupt_pending)
{
	LOAD(late_interrupt);
	vcpu_x2apic(&self->v);
	tick_prepare(&self->vm, VECTOR);
	tick_prepare(&self->vm, VECTOR + 1);
	vcpu_run_out(&self->v, 0x80);
	ASSERT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(0), VECTOR));
	ASSERT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(0), VECTOR + 1));
	MOVE();
	EXPECT_EQ(2, vcpu_run_done(&self->v));
}

GUEST(slow_handler, 64,
	"incl " S(GPA_DATA) "+4\n\tout %al, $0x81\n\t"
	"push %rax\n\tpush %rcx\n\tpush %rdx\n\t"
	"xor %eax, %eax\n\txor %edx, %edx\n\tmov $0x80b, %ecx\n\twrmsr\n\t"
	"pop %rdx\n\tpop %rcx\n\tpop %rax\n\tiretq\n\t");

TEST_F(state, interrupt_in_service)
{
	LOAD(late_interrupt);
	vcpu_x2apic(&self->v);
	GUEST_LOAD(&self->vm, 0x20000, slow_handler);
	vm_gate(&self->vm, VECTOR, 0x20000, 0, 0);
	tick_prepare(&self->vm, VECTOR + 1);
	vcpu_run_out(&self->v, 0x80);
	ASSERT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(0), VECTOR));
	vcpu_run_out(&self->v, 0x81);
	/* Of the same priority class: it must wait for the EOI. */
	ASSERT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(0), VECTOR + 1));
	MOVE();
	EXPECT_EQ(0, *VM_DATA(&self->vm, uint32_t, 0));
	EXPECT_EQ(1, vcpu_run_done(&self->v));
	EXPECT_EQ(1, *VM_DATA(&self->vm, uint32_t, 4));
}

/* A vCPU asleep, to be woken by a timer that was set before it was moved. */
GUEST(sleep_once, 64,
	"mov $0x83e, %ecx\n\tmov $0xb, %eax\n\txor %edx, %edx\n\twrmsr\n\t"
	"mov $0x832, %ecx\n\tmov %ebx, %eax\n\twrmsr\n\t"
	"mov $0x838, %ecx\n\tmov $300000000, %eax\n\twrmsr\n\t"
	"sti\n1:\thlt\n\tcmpl $0, " S(GPA_DATA) "\n\tje 1b\n\tcli\n\t" G_DONE);
GUEST(sleep_to_deadline, 64,
	"mov $0x832, %ecx\n\tmov %ebx, %eax\n\txor %edx, %edx\n\twrmsr\n\tmfence\n\t"
	"rdtsc\n\tshl $32, %rdx\n\tor %rdx, %rax\n\tadd %rsi, %rax\n\tmov %rax, %r8\n\t"
	"mov %rax, %rdx\n\tshr $32, %rdx\n\tmov $0x6e0, %ecx\n\twrmsr\n\t"
	"sti\n1:\thlt\n\tcmpl $0, " S(GPA_DATA) "\n\tje 1b\n\tcli\n\t" G_DONE);

static void sleeper(struct __test_metadata *_metadata, FIXTURE_DATA(state) *self, bool deadline)
{
	uint64_t khz = dev_info().tsc_khz, at = now_ns();
	struct cleave_state st;
	struct runner r;

	LOAD(sleep_once);
	if (deadline)
		LOAD(sleep_to_deadline);
	vcpu_x2apic(&self->v);
	tick_prepare(&self->vm, VECTOR);
	state_get(&self->v, CLEAVE_REGS, &st);
	st.regs.rbx = VECTOR | (deadline ? 2 << 17 : 0);
	st.regs.rsi = 300 * khz;
	regs_set(&self->v, &st.regs);
	runner_start(&r, &self->v, NULL, NULL);
	nap_us(50000);
	runner_stop(&r);
	state_get(&self->v, CLEAVE_MP | CLEAVE_LAPIC, &st);
	ASSERT_EQ(CLEAVE_MP_HALTED, st.mp.state);
	EXPECT_EQ(deadline, st.lapic.tsc_deadline != 0);
	EXPECT_EQ(!deadline, st.lapic.timer_left > 100 * MS);
	MOVE();
	EXPECT_EQ(0, *VM_DATA(&self->vm, uint64_t, TICK_COUNT));
	vcpu_run_done(&self->v);
	EXPECT_EQ(1, *VM_DATA(&self->vm, uint64_t, TICK_COUNT));
	EXPECT_GE(now_ns() - at, 295 * MS);
	EXPECT_LT(now_ns() - at, 3 * SEC);
	if (deadline)
		EXPECT_GE(*VM_DATA(&self->vm, uint64_t, TICK_TSC), self->v.run->regs.r8);
}

TEST_F(state, asleep_with_a_timer)
{
	sleeper(_metadata, self, false);
}

TEST_F(state, asleep_to_a_deadline)
{
	sleeper(_metadata, self, true);
}

/* In an NMI's handler, with another NMI that waits for its IRET. */
GUEST(nmi_handler, 64, "incl " S(GPA_DATA) "\n\tout %al, $0x81\n\tiretq\n\t");
GUEST(spin_for_two, 64,
	"out %al, $0x80\n1:\tpause\n\tcmpl $2, " S(GPA_DATA) "\n\tjb 1b\n\t" G_DONE);

TEST_F(state, nmi_masked)
{
	struct cleave_state st;

	LOAD(spin_for_two);
	GUEST_LOAD(&self->vm, 0x20000, nmi_handler);
	vm_gate(&self->vm, 2, 0x20000, 0, 0);
	vcpu_run_out(&self->v, 0x80);
	ASSERT_EQ(0, ioctl(self->v.fd, CLEAVE_NMI));
	vcpu_run_out(&self->v, 0x81);
	ASSERT_EQ(0, ioctl(self->v.fd, CLEAVE_NMI));
	state_get(&self->v, CLEAVE_EVENTS, &st);
	EXPECT_EQ(1, st.events.nmi_masked);
	EXPECT_EQ(1, st.events.nmi_pending);
	MOVE();
	state_get(&self->v, CLEAVE_EVENTS, &st);
	EXPECT_EQ(1, st.events.nmi_masked);
	EXPECT_EQ(1, st.events.nmi_pending);
	EXPECT_EQ(1, *VM_DATA(&self->vm, uint32_t, 0));
	vcpu_run_out(&self->v, 0x81);
	MOVE();
	vcpu_run_done(&self->v);
	EXPECT_EQ(2, *VM_DATA(&self->vm, uint32_t, 0));
}

/* STI's shadow: the instruction behind it goes before the interrupt. */
GUEST(two_incs, 64, "inc %ebx\n\tinc %ebx\n\tmov %ebx, %eax\n\t" G_DONE);

TEST_F(state, interrupt_shadow)
{
	struct cleave_state st;
	struct trap *t;

	for (int shadow = 0; shadow < 2; shadow++) {
		vm_tables(&self->vm);
		LOAD(two_incs);
		vcpu_x2apic(&self->v);
		ASSERT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(0), VECTOR));
		state_get(&self->v, CLEAVE_REGS | CLEAVE_EVENTS, &st);
		st.regs.rflags |= RFLAGS_IF;
		st.events.shadow = shadow ? CLEAVE_SHADOW_STI : 0;
		state_must_set(&self->v, CLEAVE_REGS | CLEAVE_EVENTS, &st);
		MOVE();
		state_get(&self->v, CLEAVE_EVENTS, &st);
		EXPECT_EQ(shadow ? CLEAVE_SHADOW_STI : 0, st.events.shadow);
		vcpu_run_trap(&self->v, VECTOR);
		t = vm_trap(&self->vm);
		/* QEMU's emulated AMD-V does not load the shadow at entry. */
		EXPECT_EQ(GPA_CODE + (emulated_by_tcg() ? 0 : 2 * shadow), t->rip);
		state_get(&self->v, CLEAVE_LAPIC, &st);
		memset(&st.lapic.regs[0x100 / 4], 0, 0x80);	/* no longer in service */
		state_must_set(&self->v, CLEAVE_LAPIC, &st);
	}
}

/* Events that are on their way: an exception, an interrupt acknowledged, one of a PIC. */
TEST_F(state, events_on_their_way)
{
	struct cleave_state st;
	struct trap_frame *f;

	LOAD(two_incs);
	state_get(&self->v, CLEAVE_EVENTS, &st);
	st.events.exception.type = CLEAVE_EVENT_EXCEPTION;
	st.events.exception.vector = 14;
	st.events.exception.flags = CLEAVE_EVENT_ERROR | CLEAVE_EVENT_PAYLOAD;
	st.events.exception.error_code = 2;
	st.events.exception.payload = 0x123456789000;
	state_must_set(&self->v, CLEAVE_EVENTS, &st);
	MOVE();
	f = vcpu_run_trap(&self->v, 14);
	EXPECT_EQ(2, f->error);
	EXPECT_EQ(GPA_CODE, f->rip);
	EXPECT_EQ(0x123456789000, vm_trap(&self->vm)->cr2);
	EXPECT_EQ(2, vcpu_run_done(&self->v));

	LOAD(two_incs);
	state_get(&self->v, CLEAVE_REGS | CLEAVE_EVENTS, &st);
	st.regs.rflags |= RFLAGS_IF;
	st.events.injected.type = CLEAVE_EVENT_INTERRUPT;
	st.events.injected.vector = 0x99;
	st.events.extint = 1;
	st.events.extint_vector = 0x77;
	state_must_set(&self->v, CLEAVE_REGS | CLEAVE_EVENTS, &st);
	MOVE();
	f = vcpu_run_trap(&self->v, 0x99);
	EXPECT_EQ(GPA_CODE, f->rip);
	MOVE();
	f = vcpu_run_trap(&self->v, 0x77);
	EXPECT_EQ(GPA_CODE, f->rip);
	EXPECT_EQ(2, vcpu_run_done(&self->v));
	state_get(&self->v, CLEAVE_EVENTS, &st);
	EXPECT_EQ(0, st.events.extint);
	EXPECT_EQ(0, st.events.injected.type);
}

/* The clock goes on, not back, and MSRs that a guest has set are there. */
GUEST(clock_guest, 64,
	"rdtsc\n\tshl $32, %rdx\n\tor %rax, %rdx\n\tmov %rdx, %r8\n\tout %al, $0x80\n\t"
	"rdtsc\n\tshl $32, %rdx\n\tor %rax, %rdx\n\tmov %rdx, %r9\n\t" G_DONE);

TEST_F(state, clock)
{
	uint64_t khz = dev_info().tsc_khz;

	LOAD(clock_guest);
	ASSERT_EQ(0, msr_set(&self->v, TSC, 1ull << 45));
	if (cpuid_offered(7, 1, 1))
		ASSERT_EQ(0, msr_set(&self->v, 0x3b, 12345 * khz));
	vcpu_run_out(&self->v, 0x80);
	EXPECT_GE(self->v.run->regs.r8, 1ull << 45);
	MOVE();
	vcpu_run_done(&self->v);
	EXPECT_GE(self->v.run->regs.r9, self->v.run->regs.r8);
	EXPECT_LT(self->v.run->regs.r9, self->v.run->regs.r8 + 5000 * khz);
}

/* Waiting for SIPI, with the memory of one: a SIPI starts it where it is now. */
GUEST(started, 16, "mov %cs, %ax\n\tmovzwl %ax, %eax\n\t" G_DONE);

TEST(waiting_for_sipi)
{
	struct vm vm;
	struct vcpu v;
	struct cleave_state st = { 0 };

	vm_create(&vm, RAM_SIZE, 0);
	vcpu_create(&vm, &v, 3);
	GUEST_LOAD(&vm, 0x9000, started);
	st.mp.state = CLEAVE_MP_WAIT_SIPI;
	state_must_set(&v, CLEAVE_MP, &st);
	move(&vm, &v, 0);
	state_get(&v, CLEAVE_MP, &st);
	EXPECT_EQ(CLEAVE_MP_WAIT_SIPI, st.mp.state);
	ASSERT_EQ(1, vm_msi(&vm, MSI_ADDRESS(3), MSI_SIPI | 9));
	EXPECT_EQ(0x900, vcpu_run_done(&v));
	vcpu_destroy(&v);
	vm_destroy(&vm);
}

TEST_F(state, shut_down)
{
	struct cleave_state st;

	LOAD(two_incs);
	state_get(&self->v, CLEAVE_SREGS, &st);
	st.sregs.idt.limit = 0;
	state_must_set(&self->v, CLEAVE_SREGS, &st);
	self->vm.ram[GPA_CODE] = 0xcc;		/* INT3, and no table */
	vcpu_run_exit(&self->v, CLEAVE_EXIT_SHUTDOWN);
	MOVE();
	vcpu_run_exit(&self->v, CLEAVE_EXIT_SHUTDOWN);
}

/* ---- what is read is what was set -------------------------------------------------- */

TEST_F(state, what_is_set_is_read)
{
	struct cleave_state st, now;

	LOAD(chain);
	state_get(&self->v, CLEAVE_REGS, &st);
	st.regs.rcx = 3;
	regs_set(&self->v, &st.regs);
	vcpu_run_out(&self->v, 0x80);
	for (uint64_t group = 1; group <= CLEAVE_LAPIC; group <<= 1) {
		state_get(&self->v, group, &st);
		state_must_set(&self->v, group, &st);
		state_get(&self->v, group, &now);
		EXPECT_EQ(0, memcmp(&st, &now, sizeof(st))) {
			TH_LOG("group %#llx", (unsigned long long)group);
		}
	}
}

/* A group that was not asked for is zero in what is read, and not looked at in what is set. */
TEST_F(state, groups_alone)
{
	struct cleave_state st, before, after, zero = { 0 };

	LOAD(two_incs);
	state_get(&self->v, ALL, &before);
	state_get(&self->v, 0, &st);
	EXPECT_EQ(0, memcmp(&st, &zero, sizeof(st)));
	memset(&st, 0xff, sizeof(st));
	st.reserved = 0;
	EXPECT_EQ(0, state_set(&self->v, 0, &st));
	memset(&st.regs, 0, sizeof(st.regs));
	st.regs.rax = 5;
	st.regs.rflags = 2;
	EXPECT_EQ(0, state_set(&self->v, CLEAVE_REGS, &st));
	state_get(&self->v, ALL, &after);
	EXPECT_EQ(5, after.regs.rax);
	after.regs = before.regs;
	EXPECT_EQ(0, memcmp(&before, &after, sizeof(before)));
}

/* ---- what cannot be set --------------------------------------------------------- */

/*
 * The group with the change is refused; so is it together with all other
 * groups, which are then changed as little.
 */
static void refused(struct __test_metadata *_metadata, struct vcpu *v, uint64_t group,
		    const struct cleave_state *good, struct cleave_state *bad, int line)
{
	struct cleave_state now;

	EXPECT_EQ(-EINVAL, state_set(v, group, bad)) {
		TH_LOG("line %d", line);
	}
	bad->regs.r15 ^= 1;
	bad->sregs.cr2 ^= 1;
	bad->debug.db[2] ^= 1;
	bad->lapic.regs[0x80 / 4] ^= 0x10;
	EXPECT_EQ(-EINVAL, state_set(v, ALL, bad)) {
		TH_LOG("line %d", line);
	}
	state_get(v, ALL, &now);
	EXPECT_EQ(0, memcmp(&now, good, sizeof(now))) {
		TH_LOG("line %d", line);
	}
	*bad = *good;
}

FIXTURE(refuse) {
	struct vm vm;
	struct vcpu v;
	struct cleave_state good, bad;
};

FIXTURE_SETUP(refuse)
{
	GUEST_SIMPLE(&self->vm, &self->v, two_incs);
	state_get(&self->v, ALL, &self->good);
	self->good.regs.r15 = 0x1515;
	self->good.lapic.regs[0xf0 / 4] = 0x1ff;
	self->good.lapic.regs[0x350 / 4] = 0x31;	/* an LVT entry that is not masked */
	state_must_set(&self->v, ALL, &self->good);
	state_get(&self->v, ALL, &self->good);
	self->bad = self->good;
}

FIXTURE_TEARDOWN(refuse)
{
	/* Nothing that was refused did harm. */
	EXPECT_EQ(2, vcpu_run_done(&self->v));
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

#define REFUSED(group, change) do {						\
	struct cleave_state *b = &self->bad;					\
	change;									\
	refused(_metadata, &self->v, group, &self->good, b, __LINE__);		\
} while (0)
#define BAD_REGS(change)	REFUSED(CLEAVE_REGS, b->regs.change)
#define BAD_SREGS(change)	REFUSED(CLEAVE_SREGS, b->sregs.change)
#define BAD_EVENTS(change)	REFUSED(CLEAVE_EVENTS, b->events.change)
#define BAD_LAPIC(reg, val)	REFUSED(CLEAVE_LAPIC, b->lapic.regs[(reg) / 4] = (val))

TEST_F(refuse, frame)
{
	struct cleave_state st = self->good;

	for (int bit = 7; bit < 64; bit++)
		EXPECT_EQ(-EINVAL, state_set(&self->v, 1ull << bit, &st));
	st.reserved = 1;
	EXPECT_EQ(-EINVAL, state_set(&self->v, CLEAVE_REGS, &st));
	st.groups = CLEAVE_REGS;
	EXPECT_EQ(-EINVAL, xioctl(self->v.fd, CLEAVE_GET_STATE, &st));
	st.groups = 1ull << 40;
	st.reserved = 0;
	EXPECT_EQ(-EINVAL, xioctl(self->v.fd, CLEAVE_GET_STATE, &st));
}

TEST_F(refuse, registers)
{
	BAD_REGS(rflags |= 1 << 3);
	BAD_REGS(rflags |= 1 << 5);
	BAD_REGS(rflags |= 1 << 15);
	BAD_REGS(rflags |= 1ull << 22);
	BAD_REGS(rflags |= 1ull << 63);
	BAD_REGS(rflags |= 1 << 17);			/* VM in long mode */
	BAD_REGS(rip = 1ull << 47);
	BAD_REGS(rip = 1ull << 63);
}

TEST_F(refuse, control_registers)
{
	BAD_SREGS(cr0 &= ~(uint64_t)CR0_PE);
	BAD_SREGS(cr0 &= ~(uint64_t)CR0_PG);		/* EFER.LMA says otherwise */
	BAD_SREGS(cr0 |= 1u << 29);			/* NW without CD */
	BAD_SREGS(cr0 |= 1ull << 32);
	BAD_SREGS(cr0 |= 1u << 6);
	BAD_SREGS(cr4 &= ~(uint64_t)CR4_PAE);
	BAD_SREGS(cr4 |= CR4_VMXE);
	BAD_SREGS(cr4 |= 1u << 15);
	BAD_SREGS(cr4 |= 1ull << 63);
	BAD_SREGS(cr3 |= 1ull << 63);
	BAD_SREGS(cr3 |= 1ull << 52);
	BAD_SREGS(cr8 = 16);
	BAD_SREGS(efer &= ~(uint64_t)EFER_LMA);
	BAD_SREGS(efer &= ~(uint64_t)EFER_LME);
	BAD_SREGS(efer |= EFER_SVME);
	BAD_SREGS(efer |= 1ull << 63);
	BAD_SREGS(apic_base &= ~(uint64_t)0x100);	/* it is the bootstrap processor */
	BAD_SREGS(apic_base |= 0x1000);
	BAD_SREGS(apic_base |= 1);
	BAD_SREGS(apic_base ^= APIC_BASE_ENABLE | APIC_BASE_X2APIC);
}

TEST_F(refuse, segments)
{
	BAD_SREGS(cs.ar &= ~CLEAVE_AR_P);
	BAD_SREGS(cs.ar &= ~CLEAVE_AR_S);
	BAD_SREGS(cs.ar |= CLEAVE_AR_UNUSABLE);
	BAD_SREGS(cs.ar |= CLEAVE_AR_DB);		/* with L */
	BAD_SREGS(cs.ar ^= CLEAVE_AR_DPL);		/* not that of SS */
	BAD_SREGS(cs.ar |= 1 << 8);
	BAD_SREGS(cs.ar |= 1u << 31);
	BAD_SREGS(cs.ar = (b->sregs.cs.ar & ~CLEAVE_AR_TYPE) | 1);
	BAD_SREGS(cs.limit = 0xffff0000);		/* pages do not end so */
	BAD_SREGS(cs.ar &= ~CLEAVE_AR_G);		/* nor do bytes reach so far */
	BAD_SREGS(cs.base = 1ull << 32);
	BAD_SREGS(cs.reserved[1] = 1);
	BAD_SREGS(ds.base = 1ull << 32);
	BAD_SREGS(ds.ar &= ~1u);			/* not accessed */
	BAD_SREGS(ss.ar = (b->sregs.ss.ar & ~CLEAVE_AR_TYPE) | 0xb);
	BAD_SREGS(ss.ar |= CLEAVE_AR_DPL);
	BAD_SREGS(fs.base = 1ull << 47);
	BAD_SREGS(gs.base = 1ull << 62);
	BAD_SREGS(tr.ar |= CLEAVE_AR_UNUSABLE);
	BAD_SREGS(tr.ar = (b->sregs.tr.ar & ~CLEAVE_AR_TYPE) | 9);	/* not busy */
	BAD_SREGS(tr.ar = (b->sregs.tr.ar & ~CLEAVE_AR_TYPE) | 3);	/* 16-bit */
	BAD_SREGS(tr.selector |= 4);
	BAD_SREGS(tr.base = 1ull << 47);
	BAD_SREGS(ldt.ar = 0x9b);
	BAD_SREGS(gdt.base = 1ull << 47);
	BAD_SREGS(idt.base = 1ull << 63);
	BAD_SREGS(gdt.reserved[0] = 1);
	BAD_SREGS(idt.reserved[2] = 1);
}

TEST_F(refuse, debug_xcrs_mp)
{
	REFUSED(CLEAVE_DEBUG, b->debug.dr6 |= 1ull << 32);
	REFUSED(CLEAVE_DEBUG, b->debug.dr7 |= 1ull << 63);
	REFUSED(CLEAVE_XCRS, b->xcrs.xcr0 = 0);
	REFUSED(CLEAVE_XCRS, b->xcrs.xcr0 = 2);
	REFUSED(CLEAVE_XCRS, b->xcrs.xcr0 = 5);		/* AVX without SSE */
	REFUSED(CLEAVE_XCRS, b->xcrs.xcr0 = 0x23);	/* a third of AVX-512 */
	REFUSED(CLEAVE_XCRS, b->xcrs.xcr0 = 1ull << 63 | 3);
	REFUSED(CLEAVE_MP, b->mp.state = CLEAVE_MP_SHUTDOWN + 1);
	REFUSED(CLEAVE_MP, b->mp.state = ~0u);
	REFUSED(CLEAVE_MP, b->mp.reserved[1] = 1);
	REFUSED(CLEAVE_MP, b->mp.kicked = 2);
}

TEST_F(refuse, events)
{
	struct cleave_event exception = { .type = CLEAVE_EVENT_EXCEPTION, .vector = 6 };

	BAD_EVENTS(injected.type = 4);
	BAD_EVENTS(injected.vector = 1);		/* of nothing */
	BAD_EVENTS(injected = ((struct cleave_event){ .type = CLEAVE_EVENT_NMI, .vector = 3 }));
	BAD_EVENTS(injected = ((struct cleave_event){ .type = CLEAVE_EVENT_EXCEPTION, .vector = 32 }));
	/* Not what is an exception, or in 64-bit code; all others of these are taken. */
	for (int i = 0; i < 33; i++) {
		struct cleave_event e = { .type = CLEAVE_EVENT_EXCEPTION, .vector = i };

		if (i < 20 && i != 2 && i != 9 && i != 15 && i != 4 && i != 5)
			continue;
		BAD_EVENTS(injected = e);
		BAD_EVENTS(exception = e);
	}
	/* Interrupts are off. */
	BAD_EVENTS(injected = ((struct cleave_event){ .type = CLEAVE_EVENT_INTERRUPT, .vector = 99 }));
	BAD_EVENTS(exception = ((struct cleave_event){ .type = CLEAVE_EVENT_NMI, .vector = 2 }));
	for (int i = 0; i < 3; i++) {
		struct cleave_event e = exception;

		if (i == 0)
			e.flags = 4;
		else if (i == 1)
			e.flags = CLEAVE_EVENT_ERROR;	/* #UD has none */
		else
			e.flags = CLEAVE_EVENT_PAYLOAD;
		BAD_EVENTS(exception = e);
		BAD_EVENTS(injected = e);
	}
	exception.reserved = 1;
	BAD_EVENTS(exception = exception);
	exception.reserved = 0;
	exception.error_code = 1;
	BAD_EVENTS(exception = exception);
	exception.vector = 13;
	exception.flags = CLEAVE_EVENT_ERROR;
	exception.error_code = 0x10000;
	BAD_EVENTS(exception = exception);
	BAD_EVENTS(nmi_pending = 3);
	BAD_EVENTS(nmi_masked = 2);
	BAD_EVENTS(shadow = 3);				/* both */
	BAD_EVENTS(shadow = 4);
	BAD_EVENTS(shadow = 3);
	BAD_EVENTS(shadow = CLEAVE_SHADOW_STI);		/* interrupts are off */
	for (int shadow = 1; shadow <= 2; shadow++) {
		struct cleave_event nmi = { .type = CLEAVE_EVENT_NMI, .vector = 2 };
		struct cleave_event interrupt = { .type = CLEAVE_EVENT_INTERRUPT, .vector = 99 };

		REFUSED(CLEAVE_REGS | CLEAVE_EVENTS, (b->regs.rflags |= RFLAGS_IF,
			b->events.injected = nmi, b->events.shadow = shadow));
		REFUSED(CLEAVE_REGS | CLEAVE_EVENTS, (b->regs.rflags |= RFLAGS_IF,
			b->events.injected = interrupt, b->events.shadow = shadow));
	}
	BAD_EVENTS(extint = 2);
	BAD_EVENTS(reserved[0] = 1);
}

TEST_F(refuse, lapic)
{
	BAD_LAPIC(0x00, 1);
	BAD_LAPIC(0x24, 1);				/* between registers */
	BAD_LAPIC(0x20, 5 << 24);			/* another's id */
	BAD_LAPIC(0x30, 0x10);
	BAD_LAPIC(0x80, 0x100);
	BAD_LAPIC(0xd0, 0x123456);
	BAD_LAPIC(0xe0, 0x0fffffff & ~1u);
	BAD_LAPIC(0xf0, 0xff);				/* disabled: it would be masked */
	BAD_LAPIC(0xf0, 0x11ff);
	BAD_LAPIC(0x100, 1);				/* vectors below 16 */
	BAD_LAPIC(0x180, 0x8000);
	BAD_LAPIC(0x200, 2);
	BAD_LAPIC(0x280, 0x100);
	BAD_LAPIC(0x300, 1u << 20);
	BAD_LAPIC(0x310, 1);
	BAD_LAPIC(0x320, 1u << 15);
	BAD_LAPIC(0x320, 3u << 17);
	BAD_LAPIC(0x350, 1u << 11);
	BAD_LAPIC(0x3e0, 4);
	BAD_LAPIC(0x3f0, 1);
	REFUSED(CLEAVE_LAPIC, b->lapic.timer_left = 1);	/* of a timer that is off */
	REFUSED(CLEAVE_LAPIC, b->lapic.tsc_deadline = 1);
	REFUSED(CLEAVE_LAPIC, b->lapic.timer_pending = 2);
}

/* One that refuses lets those before it be set, and says which it was. */
TEST_F(refuse, msrs)
{
	struct cleave_msrs m = { .count = 4, .entries = {
		{ .index = 0xc0000081, .value = 0x1111 },
		{ .index = 0xc0000082, .value = 0x2222 },
		{ .index = 0xc0000083, .value = 1ull << 63 },	/* not canonical */
		{ .index = 0xc0000102, .value = 0x4444 },
	} };
	uint64_t val;

	EXPECT_EQ(-EINVAL, xioctl(self->v.fd, CLEAVE_SET_MSRS, &m));
	EXPECT_EQ(2, m.done);
	EXPECT_EQ(0, msr_get(&self->v, 0xc0000081, &val));
	EXPECT_EQ(0x1111, val);
	EXPECT_EQ(0, msr_get(&self->v, 0xc0000082, &val));
	EXPECT_EQ(0x2222, val);
	EXPECT_EQ(0, msr_get(&self->v, 0xc0000083, &val));
	EXPECT_EQ(0, val);
	EXPECT_EQ(0, msr_get(&self->v, 0xc0000102, &val));
	EXPECT_EQ(0, val);
	m.entries[0].reserved = 1;
	EXPECT_EQ(-EINVAL, xioctl(self->v.fd, CLEAVE_SET_MSRS, &m));
	EXPECT_EQ(0, m.done);
	m.entries[0].reserved = 0;
	m.count = CLEAVE_MAX_MSRS + 1;
	EXPECT_EQ(-EINVAL, xioctl(self->v.fd, CLEAVE_SET_MSRS, &m));
	EXPECT_EQ(-EINVAL, xioctl(self->v.fd, CLEAVE_GET_MSRS, &m));
}

TEST_HARNESS_MAIN
