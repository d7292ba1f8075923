// SPDX-License-Identifier: GPL-2.0
/* Interrupts and NMIs: when they are taken, in which order, and what holds them off. */
#define _GNU_SOURCE
#include <sys/ioctl.h>
#include "kselftest_harness.h"
#include "events.h"
#include "host.h"

#define VEC		0x50
#define MMIO_GPA	0x40000000u

/* RBX says where the test expects it, the label 2. */
#define G_WHERE	"lea 2f(%rip), %rbx\n\t"

#define EXPECT_LOG(i, v, at) do {					\
	EXPECT_EQ(v, vm_log(&self->vm)->e[i].vector);			\
	EXPECT_EQ(at, vm_log(&self->vm)->e[i].rip);			\
} while (0)

/*
 * QEMU forgets the interrupt shadow at VM entry, and so loses it when the
 * host's tick falls in it: once in a hundred times.
 */
#define QEMU_FORGOT(cond) do {						\
	if ((cond) && on_qemu() && tries++ < 5)				\
		goto again;						\
} while (0)

FIXTURE(irq) {
	struct vm vm;
	struct vcpu v;
};

FIXTURE_SETUP(irq)
{
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
}

FIXTURE_TEARDOWN(irq)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

#define START(name) do {						\
	GUEST_LONG(&self->v, name);					\
	vcpu_x2apic(&self->v);						\
	log_prepare(&self->vm);						\
} while (0)

static uint64_t count(struct vm *vm)
{
	return vm_log(vm)->count;
}

static int msi(struct vm *vm, uint32_t data)
{
	return vm_msi(vm, MSI_ADDRESS(0), data);
}

static void nmi(struct vcpu *v)
{
	MUST(ioctl(v->fd, CLEAVE_NMI));
}

static int stop_at_exit(struct vcpu *v, void *arg)
{
	return 1;
}

/* ---- interrupt shadow ----------------------------------------------------- */

GUEST(sti_nop, 64, "cli\n\t" G_WHERE G_DONE "nop\n\tsti\n\tnop\n2:\tnop\n\tnop\n\t" G_DONE);

TEST_F(irq, sti)
{
	int tries = 0;

again:
	START(sti_nop);
	vcpu_run_done(&self->v);
	ASSERT_EQ(1, msi(&self->vm, VEC));
	vcpu_run_done(&self->v);
	QEMU_FORGOT(vm_log(&self->vm)->e[0].rip == self->v.run->regs.rbx - 1);
	ASSERT_EQ(1, count(&self->vm));
	EXPECT_LOG(0, VEC, self->v.run->regs.rbx);
}

/* The shadow of STI reaches the CLI behind it: nothing is taken in between. */
GUEST(sti_cli, 64,
	"cli\n\t" G_WHERE G_DONE "mov $20, %ecx\n1:\tsti\n\tcli\n\tloop 1b\n\t" G_DONE
	"pushf\n\torq $0x200, (%rsp)\n\tpopf\n2:\tnop\n\t" G_DONE);

TEST_F(irq, sti_cli_popf)
{
	int tries = 0;

again:
	START(sti_cli);
	vcpu_run_done(&self->v);
	ASSERT_EQ(1, msi(&self->vm, VEC));
	vcpu_run_done(&self->v);
	QEMU_FORGOT(count(&self->vm));
	EXPECT_EQ(0, count(&self->vm));
	/* POPF has no shadow. */
	vcpu_run_done(&self->v);
	ASSERT_EQ(1, count(&self->vm));
	EXPECT_LOG(0, VEC, self->v.run->regs.rbx);
}

GUEST(sti_hlt, 64, "cli\n\t" G_WHERE G_DONE "sti\n\thlt\n2:\tnop\n\t" G_DONE);

TEST_F(irq, sti_hlt)
{
	struct runner r;
	int tries = 0;

again:
	START(sti_hlt);
	mp_set(&self->v, CLEAVE_MP_RUNNABLE);
	vcpu_run_done(&self->v);
	ASSERT_EQ(1, msi(&self->vm, VEC));
	runner_start(&r, &self->v, stop_at_exit, NULL);
	WAIT_FOR(r.exits, 3000);
	runner_stop(&r);
	QEMU_FORGOT(vm_log(&self->vm)->e[0].rip == self->v.run->regs.rbx - 1);
	ASSERT_EQ(1, r.exits);
	ASSERT_EQ(1, count(&self->vm));
	EXPECT_LOG(0, VEC, self->v.run->regs.rbx);
}

/* An exit in the shadow, at an instruction that runs again: memory comes there. */
GUEST(ss_load, 64,
	"mov %ss, %eax\n\t" G_WHERE "sti\n\tnop\n\t" G_DONE "mov %eax, %ss\n\t"
	"mov " S(MMIO_GPA) ", %ecx\n2:\tnop\n\t" G_DONE);
GUEST(sti_load, 64,
	"cli\n\t" G_WHERE G_DONE "sti\n\tmov " S(MMIO_GPA) ", %ecx\n2:\tnop\n\t" G_DONE);

/* To the exit of that instruction; false where QEMU has forgotten the shadow by then. */
static bool at_mmio(FIXTURE_DATA(irq) *self)
{
	struct cleave_events ev;

	log_prepare(&self->vm);
	vcpu_x2apic(&self->v);
	vcpu_run_done(&self->v);
	vcpu_run_exit(&self->v, CLEAVE_EXIT_MMIO);
	events_get(&self->v, &ev);
	return ev.shadow || !on_qemu();
}

static void in_shadow(struct __test_metadata *_metadata, FIXTURE_DATA(irq) *self, uint8_t vector)
{
	struct cleave_events ev;
	uint32_t *page = mem_alloc(4096, 4096);

	page[0] = 0x600d;
	EXPECT_EQ(0, self->v.run->window);
	events_get(&self->v, &ev);
	EXPECT_NE(0, ev.shadow);
	if (vector == 2)
		nmi(&self->v);
	else
		ASSERT_EQ(1, msi(&self->vm, vector));
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, MMIO_GPA, 4096, page));
	vcpu_run_done(&self->v);
	EXPECT_EQ(0x600d, self->v.run->regs.rcx);
	if (on_qemu()) {	/* not SKIP(): it would forget what failed so far */
		TH_LOG("not looked at: where it came, as QEMU forgets the shadow");
		return;
	}
	ASSERT_EQ(1, count(&self->vm));
	EXPECT_LOG(0, vector, self->v.run->regs.rbx);
	events_get(&self->v, &ev);
	EXPECT_EQ(0, ev.shadow);
}

#define IN_SHADOW(name, vector) do {					\
	int tries = 0;							\
									\
	do								\
		GUEST_LONG(&self->v, name);				\
	while (!at_mmio(self) && tries++ < 5);				\
	in_shadow(_metadata, self, vector);				\
} while (0)

TEST_F(irq, exit_behind_mov_ss)
{
	IN_SHADOW(ss_load, VEC);
}

TEST_F(irq, exit_behind_sti)
{
	IN_SHADOW(sti_load, VEC);
}

TEST_F(irq, nmi_behind_mov_ss)
{
	IN_SHADOW(ss_load, 2);
}

/* An exit by the instruction in the shadow ends it. */
GUEST(ss_cpuid, 64,
	"mov %ss, %esi\n\tsti\n\tnop\n\t" G_DONE "mov %esi, %ss\n\tcpuid\n\t" G_WHERE
	"mov %esi, %ss\n\tout %eax, $" S(PORT_DONE) "\n2:\tnop\n\t" G_DONE);

TEST_F(irq, exit_ends_shadow)
{
	struct cleave_events ev;

	START(ss_cpuid);
	vcpu_run_done(&self->v);
	vcpu_run_done(&self->v);
	EXPECT_EQ(1, self->v.run->window);
	events_get(&self->v, &ev);
	EXPECT_EQ(0, ev.shadow);
	ASSERT_EQ(1, msi(&self->vm, VEC));
	vcpu_run_done(&self->v);
	ASSERT_EQ(1, count(&self->vm));
	EXPECT_LOG(0, VEC, self->v.run->regs.rbx);
}

/* A shadow that the test sets. */
GUEST(two_nops, 64, G_WHERE "sti\n\tnop\n\t" G_DONE "nop\n2:\tnop\n\t" G_DONE);

TEST_F(irq, shadow_by_state)
{
	struct cleave_events ev = { 0 };

	if (on_qemu())
		SKIP(return, "QEMU forgets the interrupt shadow at VM entry");
	for (ev.shadow = CLEAVE_SHADOW_STI; ev.shadow <= CLEAVE_SHADOW_MOV_SS; ev.shadow <<= 1) {
		START(two_nops);
		vcpu_run_done(&self->v);
		EXPECT_EQ(1, self->v.run->window);
		events_set(&self->v, &ev);
		ASSERT_EQ(1, msi(&self->vm, VEC));
		vcpu_run_done(&self->v);
		ASSERT_EQ(1, count(&self->vm));
		EXPECT_LOG(0, VEC, self->v.run->regs.rbx);
	}
}

/* ---- the window ----------------------------------------------------------- */

GUEST(window, 64,
	"cli\n\t" G_WHERE G_DONE "mov $10, %ecx\n1:\tloop 1b\n\tsti\n\tnop\n2:\tnop\n\t" G_DONE
	"cli\n\tnop\n\t" G_DONE "ud2\n\t");

TEST_F(irq, window)
{
	int tries = 0;

again:
	self->v.run->request = 0;
	START(window);
	vcpu_run_done(&self->v);
	EXPECT_EQ(0, self->v.run->window);
	self->v.run->request = CLEAVE_RUN_WINDOW;
	for (int i = 0; i < 3; i++) {		/* open, and open still */
		vcpu_run_exit(&self->v, CLEAVE_EXIT_WINDOW);
		QEMU_FORGOT(self->v.run->regs.rip == self->v.run->regs.rbx - 1);
		EXPECT_EQ(1, self->v.run->window);
		EXPECT_EQ(self->v.run->regs.rbx, self->v.run->regs.rip);
	}
	self->v.run->request = 0;
	vcpu_run_done(&self->v);
	EXPECT_EQ(1, self->v.run->window);
	EXPECT_EQ(0, count(&self->vm));
	/* It closes without one: the next exit is the guest's. */
	rip_set(&self->v, self->v.run->regs.rip + 1);
	vcpu_run_done(&self->v);
}

TEST_F(irq, window_closed)
{
	struct cleave_regs regs;

	START(window);
	vcpu_run_done(&self->v);
	self->v.run->request = CLEAVE_RUN_WINDOW;
	regs_get(&self->v, &regs);
	regs.rflags &= ~RFLAGS_IF;
	regs.rip = GPA_CODE;
	regs_set(&self->v, &regs);
	vcpu_run_done(&self->v);
	EXPECT_EQ(0, self->v.run->window);
}

/* The interrupt of a PIC, at the window and before it. */
static void extint_is_taken(struct __test_metadata *_metadata, FIXTURE_DATA(irq) *self,
			    bool at_window)
{
	struct cleave_events ev = { .extint = 1, .extint_vector = 0x21 };
	int tries = 0;

again:
	START(window);
	vcpu_run_done(&self->v);
	if (at_window) {
		self->v.run->request = CLEAVE_RUN_WINDOW;
		vcpu_run_exit(&self->v, CLEAVE_EXIT_WINDOW);
		self->v.run->request = 0;
	}
	ev.extint = 1;
	events_set(&self->v, &ev);
	events_get(&self->v, &ev);
	EXPECT_EQ(1, ev.extint);
	vcpu_run_done(&self->v);
	QEMU_FORGOT(vm_log(&self->vm)->e[0].rip == self->v.run->regs.rbx - 1);
	ASSERT_EQ(1, count(&self->vm));
	EXPECT_LOG(0, 0x21, self->v.run->regs.rbx);
	events_get(&self->v, &ev);
	EXPECT_EQ(0, ev.extint);
}

TEST_F(irq, extint_at_window)
{
	extint_is_taken(_metadata, self, true);
}

TEST_F(irq, extint_before_window)
{
	extint_is_taken(_metadata, self, false);
}

/* No window while something else is on its way; one when its handler is back. */
TEST_F(irq, window_behind_exception)
{
	struct cleave_events ev = { 0 };

	START(two_nops);
	vcpu_run_done(&self->v);
	ev.exception.type = CLEAVE_EVENT_EXCEPTION;
	ev.exception.vector = 6;
	events_set(&self->v, &ev);
	self->v.run->request = CLEAVE_RUN_WINDOW;
	vcpu_run_exit(&self->v, CLEAVE_EXIT_WINDOW);
	ASSERT_EQ(1, count(&self->vm));
	EXPECT_LOG(0, 6, self->v.run->regs.rip);
}

/* Nor while one that was given before waits: that would never get its turn. */
TEST_F(irq, window_behind_extint)
{
	struct cleave_events ev = { .extint = 1, .extint_vector = 0x21 };

	START(two_nops);
	vcpu_run_done(&self->v);
	self->v.run->request = CLEAVE_RUN_WINDOW;
	vcpu_run_exit(&self->v, CLEAVE_EXIT_WINDOW);
	events_set(&self->v, &ev);
	vcpu_run_exit(&self->v, CLEAVE_EXIT_WINDOW);
	ASSERT_EQ(1, count(&self->vm));
	EXPECT_LOG(0, 0x21, self->v.run->regs.rip);
}

/* The window opens in HLT: a guest that sleeps can be interrupted. It sleeps on if it is not. */
TEST_F(irq, window_in_halt)
{
	struct cleave_events ev = { .extint = 1, .extint_vector = 0x22 };
	int tries = 0;

again:
	self->v.run->request = 0;
	START(sti_hlt);
	vcpu_run_done(&self->v);
	self->v.run->request = CLEAVE_RUN_WINDOW;
	for (int i = 0; i < 2; i++) {
		vcpu_run_exit(&self->v, CLEAVE_EXIT_WINDOW);
		QEMU_FORGOT(self->v.run->regs.rip == self->v.run->regs.rbx - 1);
		EXPECT_EQ(self->v.run->regs.rbx, self->v.run->regs.rip);
		EXPECT_EQ(CLEAVE_MP_HALTED, mp_get(&self->v));
	}
	self->v.run->request = 0;
	events_set(&self->v, &ev);
	vcpu_run_done(&self->v);
	ASSERT_EQ(1, count(&self->vm));
	EXPECT_LOG(0, 0x22, self->v.run->regs.rbx);
}

/* ---- NMI ------------------------------------------------------------------ */

/* With the common handler of vm_tables(), which exits. */
GUEST(nops, 64, "cli\n\t" G_DONE "nop\n\tnop\n\tnop\n\t" G_DONE "nop\n\t" G_DONE);

TEST_F(irq, nmi_masked_until_iret)
{
	struct cleave_events ev;
	struct trap_frame *f;
	uint64_t at;

	GUEST_LONG(&self->v, nops);
	vcpu_run_done(&self->v);
	at = self->v.run->regs.rip;
	nmi(&self->v);
	f = vcpu_run_trap(&self->v, 2);
	EXPECT_EQ(at, f->rip);
	events_get(&self->v, &ev);
	EXPECT_EQ(1, ev.nmi_masked);
	EXPECT_EQ(0, ev.nmi_pending);
	/* However many come meanwhile, one waits. */
	for (int i = 0; i < 3; i++)
		nmi(&self->v);
	events_get(&self->v, &ev);
	EXPECT_EQ(1, ev.nmi_pending);
	/* It comes behind IRET, before the next instruction, and is the last. */
	f = vcpu_run_trap(&self->v, 2);
	EXPECT_EQ(at, f->rip);
	EXPECT_EQ(GPA_STACK, f->rsp);
	EXPECT_EQ(2, f->rflags & (RFLAGS_TF | RFLAGS_IF | 2));
	events_get(&self->v, &ev);
	EXPECT_EQ(1, ev.nmi_masked);
	EXPECT_EQ(0, ev.nmi_pending);
	vcpu_run_done(&self->v);
	EXPECT_EQ(2, vm_trap(&self->vm)->count);
	events_get(&self->v, &ev);
	EXPECT_EQ(0, ev.nmi_masked);
	/* And after all that one more. */
	at = self->v.run->regs.rip;
	nmi(&self->v);
	f = vcpu_run_trap(&self->v, 2);
	EXPECT_EQ(at, f->rip);
	vcpu_run_done(&self->v);
}

/* Two that came before it could take any. */
/* Who reads the events, changes one and sets them does not undo what came meanwhile. */
TEST_F(irq, nmi_between_get_and_set)
{
	struct cleave_state st;
	struct cleave_events ev;

	state_get(&self->v, CLEAVE_EVENTS, &st);
	nmi(&self->v);
	state_must_set(&self->v, CLEAVE_EVENTS, &st);
	events_get(&self->v, &ev);
	EXPECT_EQ(1, ev.nmi_pending);
}

TEST_F(irq, two_nmis)
{
	struct cleave_events ev;

	START(nops);
	vcpu_run_done(&self->v);
	for (int i = 0; i < 4; i++)
		nmi(&self->v);
	events_get(&self->v, &ev);
	EXPECT_EQ(2, ev.nmi_pending);
	vcpu_run_done(&self->v);
	EXPECT_EQ(2, count(&self->vm));
	EXPECT_LOG(0, 2, vm_log(&self->vm)->e[1].rip);
}

/* One comes while the handler of the first spins, in the guest all along. */
GUEST(nmi_spin, 64,
	"lock incq " S(GPA_DATA) "\n\tcmpq $1, " S(GPA_DATA) "\n\tjne 2f\n"
	"movl $1, " S(GPA_DATA) "+8\n"
	"1:\tpause\n\tcmpl $0, " S(GPA_DATA) "+16\n\tje 1b\n\t"
	"mov " S(GPA_DATA) ", %rax\n\tmov %rax, " S(GPA_DATA) "+24\n"
	"2:\tiretq\n\t");

TEST_F(irq, nmi_while_handler_runs)
{
	struct runner r;

	GUEST_LONG(&self->v, nops);
	GUEST_LOAD(&self->vm, 0x20000, nmi_spin);
	vm_gate(&self->vm, 2, 0x20000, 0, 0);
	vcpu_run_done(&self->v);
	nmi(&self->v);
	runner_start(&r, &self->v, stop_at_exit, NULL);
	ASSERT_TRUE(WAIT_FOR(*VM_DATA(&self->vm, uint32_t, 8), 3000));
	nmi(&self->v);
	nap_us(20000);
	EXPECT_EQ(1, *VM_DATA(&self->vm, uint64_t, 0));
	*VM_DATA(&self->vm, uint32_t, 16) = 1;
	runner_wait(&r);
	EXPECT_EQ(CLEAVE_EXIT_IO, self->v.run->exit);
	EXPECT_EQ(2, *VM_DATA(&self->vm, uint64_t, 0));
	EXPECT_EQ(1, *VM_DATA(&self->vm, uint64_t, 24));
}

/* The IRET of an exception in the handler ends the mask too (SDM vol. 3A 6.7.1). */
GUEST(nmi_int3, 64,
	"lock incq " S(GPA_DATA) "\n\tcmpq $1, " S(GPA_DATA) "\n\tjne 1f\n\t"
	"out %al, $0x10\n\tint3\n2:\tnop\n\tmov " S(GPA_DATA) ", %rax\n\t"
	"mov %rax, " S(GPA_DATA) "+8\n1:\tiretq\n\t");

TEST_F(irq, nmi_iret_of_exception)
{
	START(nops);
	GUEST_LOAD(&self->vm, 0x20000, nmi_int3);
	vm_gate(&self->vm, 2, 0x20000, 0, 0);
	vcpu_run_done(&self->v);
	nmi(&self->v);
	vcpu_run_out(&self->v, 0x10);
	nmi(&self->v);
	vcpu_run_done(&self->v);
	EXPECT_EQ(1, count(&self->vm));
	EXPECT_EQ(2, *VM_DATA(&self->vm, uint64_t, 0));
	EXPECT_EQ(2, *VM_DATA(&self->vm, uint64_t, 8));	/* it came inside the first */
}

/* A mask that the test sets holds until the guest's IRET, whatever it returns from. */
GUEST(iret_here, 64,
	G_DONE "nop\n\t" G_DONE "mov %rsp, %rcx\n\tmov %ss, %eax\n\tpush %rax\n\tpush %rcx\n\tpushf\n\t"
	"mov %cs, %eax\n\tpush %rax\n\t" G_WHERE "push %rbx\n\tiretq\n\tud2\n2:\tnop\n\t" G_DONE);

TEST_F(irq, nmi_mask_by_state)
{
	struct cleave_events ev = { .nmi_masked = 1 };

	START(iret_here);
	vcpu_run_done(&self->v);
	events_set(&self->v, &ev);
	nmi(&self->v);
	vcpu_run_done(&self->v);
	EXPECT_EQ(0, count(&self->vm));
	events_get(&self->v, &ev);
	EXPECT_EQ(1, ev.nmi_masked);
	EXPECT_EQ(1, ev.nmi_pending);
	vcpu_run_done(&self->v);
	ASSERT_EQ(1, count(&self->vm));
	EXPECT_LOG(0, 2, self->v.run->regs.rbx);
}

/* An IRET that faults: if not that, then the IRET of the fault's handler ends the mask. */
GUEST(iret_fault, 64,
	G_WHERE G_DONE "mov %rsp, %rcx\n\tmov %ss, %eax\n\tpush %rax\n\tpush %rcx\n\tpushf\n\t"
	"pushq $" S(SEL_DATA) "\n\tpush %rbx\n2:\tiretq\n\t" G_DONE);
GUEST(count_here, 64, "lock incq " S(GPA_DATA) "\n\tiretq\n\t");

TEST_F(irq, nmi_iret_faults)
{
	struct cleave_events ev = { .nmi_masked = 1, .nmi_pending = 1 };

	GUEST_LONG(&self->v, iret_fault);
	GUEST_LOAD(&self->vm, 0x20000, count_here);
	vm_gate(&self->vm, 2, 0x20000, 0, 0);
	vcpu_run_done(&self->v);
	events_set(&self->v, &ev);
	vm_trap(&self->vm)->fixup = self->v.run->regs.rbx + 2;
	vcpu_run_done(&self->v);
	EXPECT_EQ(1, vm_trap(&self->vm)->count);
	EXPECT_EQ(13, vm_trap(&self->vm)->vector);
	EXPECT_EQ(SEL_DATA, vm_trap(&self->vm)->error);
	EXPECT_EQ(self->v.run->regs.rbx, vm_trap(&self->vm)->rip);
	EXPECT_EQ(1, *VM_DATA(&self->vm, uint64_t, 0));
	events_get(&self->v, &ev);
	EXPECT_EQ(0, ev.nmi_masked);
	EXPECT_EQ(0, ev.nmi_pending);
}

GUEST(cli_hlt, 64, "cli\n\t" G_WHERE G_DONE "hlt\n2:\tnop\n\t" G_DONE);

/* HLT with interrupts off: an interrupt does not end it, an NMI does. */
TEST_F(irq, halt_interrupts_off)
{
	struct runner r;

	START(cli_hlt);
	vcpu_run_done(&self->v);
	runner_start(&r, &self->v, stop_at_exit, NULL);
	nap_us(20000);
	ASSERT_EQ(1, msi(&self->vm, VEC));
	nap_us(20000);
	EXPECT_EQ(0, r.exits);
	nmi(&self->v);
	runner_wait(&r);
	EXPECT_EQ(PORT_DONE, self->v.run->io.port);
	ASSERT_EQ(1, count(&self->vm));
	EXPECT_LOG(0, 2, self->v.run->regs.rbx);
}

TEST_F(irq, halt_ends_by_message)
{
	struct runner r;

	START(sti_hlt);
	vcpu_run_done(&self->v);
	runner_start(&r, &self->v, stop_at_exit, NULL);
	nap_us(20000);
	EXPECT_EQ(0, r.exits);
	ASSERT_EQ(1, msi(&self->vm, VEC));
	runner_wait(&r);
	ASSERT_EQ(1, count(&self->vm));
	EXPECT_LOG(0, VEC, self->v.run->regs.rbx);
}

/* ---- order ---------------------------------------------------------------- */

/* All wait behind interrupts that are off; then one after the other. */
GUEST(all_at_once, 64, "cli\n\t" G_DONE "sti\n\tnop\n\tnop\n\tnop\n\t" G_DONE);

TEST_F(irq, priorities)
{
	static const uint8_t expected[] = { 2, 6, 0x21, 0xf1, 0x6f, 0x61, 0x52, 0x51, 0x40 };
	struct cleave_events ev = { .extint = 1, .extint_vector = 0x21, .nmi_pending = 1 };
	int tries = 0;
	uint64_t at;

again:
	START(all_at_once);
	vcpu_run_done(&self->v);
	at = self->v.run->regs.rip;
	ev.exception.type = CLEAVE_EVENT_EXCEPTION;
	ev.exception.vector = 6;
	events_set(&self->v, &ev);
	ASSERT_EQ(1, msi(&self->vm, 0x51));
	ASSERT_EQ(1, msi(&self->vm, 0x61));
	ASSERT_EQ(1, msi(&self->vm, 0x40));
	ASSERT_EQ(1, msi(&self->vm, 0xf1));
	ASSERT_EQ(1, msi(&self->vm, 0x6f));
	ASSERT_EQ(1, msi(&self->vm, 0x52));
	ASSERT_EQ(1, msi(&self->vm, 0x52));	/* twice is once */
	vcpu_run_done(&self->v);
	QEMU_FORGOT(vm_log(&self->vm)->e[2].rip == at + 1);
	EXPECT_EQ(sizeof(expected), count(&self->vm));
	for (int i = 0; i < sizeof(expected); i++)
		EXPECT_EQ(expected[i], vm_log(&self->vm)->e[i].vector);
	/*
	 * The exception went first, the NMI before its handler's first
	 * instruction, the interrupts behind STI's shadow, one by one.
	 */
	EXPECT_LOG(0, 2, GPA_STUBS + 6 * 16);
	EXPECT_LOG(1, 6, at);
	for (int i = 2; i < sizeof(expected); i++)
		EXPECT_EQ(at + 2, vm_log(&self->vm)->e[i].rip);
}

/* Vector 0x60's handler lets others in: higher classes only, until its EOI. */
GUEST(nesting, 64,
	"push %rax\n\tpush %rcx\n\tpush %rdx\n\tmov $0x83f, %ecx\n\txor %edx, %edx\n\t"
	"mov $0x6f, %eax\n\twrmsr\n\tmov $0x41, %eax\n\twrmsr\n\tsti\n\tnop\n\t"
	"mov " S(GPA_LOG) ", %rax\n\tmov %rax, " S(GPA_DATA) "\n\t"
	"mov $0x71, %eax\n\twrmsr\n\tnop\n\t"
	"mov " S(GPA_LOG) ", %rax\n\tmov %rax, " S(GPA_DATA) "+8\n\t"
	"mov $0x80a, %ecx\n\trdmsr\n\tmov %eax, " S(GPA_DATA) "+16\n\t"
	"cli\n\tmov $0x80b, %ecx\n\txor %eax, %eax\n\twrmsr\n\t"
	"pop %rdx\n\tpop %rcx\n\tpop %rax\n\tiretq\n\t");

TEST_F(irq, nesting)
{
	START(all_at_once);
	GUEST_LOAD(&self->vm, 0x20000, nesting);
	vm_gate(&self->vm, 0x60, 0x20000, 0, 0);
	vcpu_run_done(&self->v);
	ASSERT_EQ(1, msi(&self->vm, 0x60));
	vcpu_run_done(&self->v);
	EXPECT_EQ(0, *VM_DATA(&self->vm, uint64_t, 0));
	EXPECT_EQ(1, *VM_DATA(&self->vm, uint64_t, 8));
	EXPECT_EQ(0x60, *VM_DATA(&self->vm, uint32_t, 16));	/* PPR */
	EXPECT_EQ(3, count(&self->vm));
	EXPECT_EQ(0x71, vm_log(&self->vm)->e[0].vector);
	EXPECT_EQ(0x6f, vm_log(&self->vm)->e[1].vector);
	EXPECT_EQ(0x41, vm_log(&self->vm)->e[2].vector);
}

/* ---- the local APIC -------------------------------------------------------- */

TEST_F(irq, messages_not_taken)
{
	uint64_t val;

	START(all_at_once);
	vcpu_run_done(&self->v);
	EXPECT_EQ(0, vm_msi(&self->vm, MSI_ADDRESS(1), VEC));
	EXPECT_EQ(0, vm_msi(&self->vm, MSI_ADDRESS(0) | 1ull << 40, VEC));
	EXPECT_EQ(0, vm_msi(&self->vm, MSI_ADDRESS(2) | 4, VEC));	/* logical */
	EXPECT_EQ(0, msi(&self->vm, 0x8000 | VEC));			/* level, de-asserted */
	EXPECT_EQ(0, msi(&self->vm, 0x0f));
	EXPECT_EQ(-EINVAL, vm_msi(&self->vm, 0xfed00000, VEC));
	/* The vector that cannot be is in ESR, once ESR was written. */
	ASSERT_EQ(0, msr_set(&self->v, 0x828, 0));
	ASSERT_EQ(0, msr_get(&self->v, 0x828, &val));
	EXPECT_EQ(0x40, val);
	/* Switched off by software. */
	ASSERT_EQ(0, msr_set(&self->v, 0x80f, 0xff));
	EXPECT_EQ(0, msi(&self->vm, VEC));
	ASSERT_EQ(0, msr_set(&self->v, 0x80f, 0x1ff));
	vcpu_run_done(&self->v);
	EXPECT_EQ(0, count(&self->vm));
	EXPECT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(1) | 4, VEC));
}

GUEST(task_priority, 64,
	"cli\n\tmov $5, %eax\n\tmov %rax, %cr8\n\tmov $0x808, %ecx\n\trdmsr\n\tmov %eax, %esi\n\t"
	"sti\n\tmov %cr8, %rax\n\t" G_DONE "nop\n\tnop\n\t" G_DONE
	G_WHERE "mov $4, %eax\n\tmov %rax, %cr8\n2:\tnop\n\t" G_DONE
	"mov $0x808, %ecx\n\tmov $0xf0, %eax\n\txor %edx, %edx\n\twrmsr\n\tmov %cr8, %rax\n\t" G_DONE
	"nop\n\tnop\n\t" G_DONE G_WHERE "xor %eax, %eax\n\tmov %rax, %cr8\n2:\tnop\n\t" G_DONE);

TEST_F(irq, task_priority)
{
	struct cleave_state st;

	START(task_priority);
	EXPECT_EQ(5, vcpu_run_done(&self->v));
	EXPECT_EQ(0x50, self->v.run->regs.rsi);
	state_get(&self->v, CLEAVE_SREGS, &st);
	EXPECT_EQ(5, st.sregs.cr8);
	ASSERT_EQ(1, msi(&self->vm, 0x5f));
	ASSERT_EQ(1, msi(&self->vm, 0x60));
	vcpu_run_done(&self->v);
	ASSERT_EQ(1, count(&self->vm));
	EXPECT_EQ(0x60, vm_log(&self->vm)->e[0].vector);
	vcpu_run_done(&self->v);
	ASSERT_EQ(2, count(&self->vm));
	EXPECT_LOG(1, 0x5f, self->v.run->regs.rbx);
	/* The highest: nothing comes through. */
	EXPECT_EQ(0xf, vcpu_run_done(&self->v));
	ASSERT_EQ(1, msi(&self->vm, 0xff));
	ASSERT_EQ(1, msi(&self->vm, 0xef));
	vcpu_run_done(&self->v);
	EXPECT_EQ(2, count(&self->vm));
	vcpu_run_done(&self->v);
	ASSERT_EQ(4, count(&self->vm));
	EXPECT_LOG(2, 0xff, self->v.run->regs.rbx);
	EXPECT_LOG(3, 0xef, self->v.run->regs.rbx);
}

/* CR8 by SET_STATE lets through what waited, in a guest that sleeps too. */
TEST_F(irq, task_priority_by_state)
{
	struct cleave_state st;
	struct runner r;

	START(sti_hlt);
	state_get(&self->v, CLEAVE_SREGS, &st);
	st.sregs.cr8 = 15;
	state_must_set(&self->v, CLEAVE_SREGS, &st);
	vcpu_run_done(&self->v);
	ASSERT_EQ(1, msi(&self->vm, VEC));
	runner_start(&r, &self->v, stop_at_exit, NULL);
	nap_us(20000);
	EXPECT_EQ(0, r.exits);
	runner_stop(&r);
	EXPECT_EQ(CLEAVE_MP_HALTED, mp_get(&self->v));
	st.sregs.cr8 = 4;
	state_must_set(&self->v, CLEAVE_SREGS, &st);
	vcpu_run_done(&self->v);
	ASSERT_EQ(1, count(&self->vm));
	EXPECT_LOG(0, VEC, self->v.run->regs.rbx);
}

/* Level-triggered: the EOI is told, and what is still asserted comes again. */
GUEST(wait_two, 64,
	"sti\n1:\tpause\n\tcmpl $2, " S(GPA_LOG) "\n\tjb 1b\n\t" G_DONE
	"1:\tpause\n\tcmpl $4, " S(GPA_LOG) "\n\tjb 1b\n\t" G_DONE "nop\n\t" G_DONE);

TEST_F(irq, level_triggered_eoi)
{
	START(wait_two);
	for (int i = 1; i <= 2; i++) {
		ASSERT_EQ(1, msi(&self->vm, MSI_LEVEL | VEC));
		vcpu_run_exit(&self->v, CLEAVE_EXIT_EOI);
		EXPECT_EQ(VEC, self->v.run->eoi.vector);
		EXPECT_EQ(i, count(&self->vm));
	}
	vcpu_run_done(&self->v);
	/* Two in service at a time: each EOI is told once, the later one first. */
	ASSERT_EQ(1, msi(&self->vm, MSI_LEVEL | 0x68));
	ASSERT_EQ(1, msi(&self->vm, MSI_LEVEL | 0x42));
	vcpu_run_exit(&self->v, CLEAVE_EXIT_EOI);
	EXPECT_EQ(0x68, self->v.run->eoi.vector);
	vcpu_run_exit(&self->v, CLEAVE_EXIT_EOI);
	EXPECT_EQ(0x42, self->v.run->eoi.vector);
	vcpu_run_done(&self->v);
	/* The same vector, edge-triggered now: no exit. */
	ASSERT_EQ(1, msi(&self->vm, VEC));
	vcpu_run_done(&self->v);
	EXPECT_EQ(5, count(&self->vm));
}

/* Self IPI by its register, by shorthand, and by its own id. */
GUEST(self_ipi, 64,
	"sti\n\txor %edx, %edx\n\t"
	"mov $0x83f, %ecx\n\tmov $0x41, %eax\n\twrmsr\n\tnop\n\t"
	"mov $0x830, %ecx\n\tmov $0x44042, %eax\n\twrmsr\n\tnop\n\t"
	"mov $0x04043, %eax\n\twrmsr\n\tnop\n\t"
	"mov $0x84044, %eax\n\twrmsr\n\tnop\n\t"	/* all, self included */
	"mov $0xc4045, %eax\n\twrmsr\n\tnop\n\t"	/* all others: nobody */
	"mov $0x04846, %eax\n\tmov $1, %edx\n\twrmsr\n\tnop\n\t" /* logical */
	"mov $0x04047, %eax\n\tmov $0xffffffff, %edx\n\twrmsr\n\tnop\n\t" /* broadcast */
	"rdmsr\n\tmov %rdx, %rbx\n\t" G_DONE);

TEST_F(irq, self_ipi)
{
	static const uint8_t expected[] = { 0x41, 0x42, 0x43, 0x44, 0x46, 0x47 };

	START(self_ipi);
	EXPECT_EQ(0x04047, vcpu_run_done(&self->v));
	EXPECT_EQ(0xffffffff, self->v.run->regs.rbx);
	ASSERT_EQ(sizeof(expected), count(&self->vm));
	for (int i = 0; i < sizeof(expected); i++)
		EXPECT_EQ(expected[i], vm_log(&self->vm)->e[i].vector);
}

/* ---- two vCPUs --------------------------------------------------------------- */

#define CODE1	0x20000
#define BOOT1	0x30000		/* where a SIPI of vector 0x30 starts */

FIXTURE(smp) {
	struct vm vm;
	struct vcpu v, v1;
	struct runner r;
};

FIXTURE_SETUP(smp)
{
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	vcpu_create(&self->vm, &self->v1, 1);
}

FIXTURE_TEARDOWN(smp)
{
	vcpu_destroy(&self->v1);
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

GUEST(spin1, 64, "sti\n1:\tlock incq " S(GPA_DATA) "\n\tjmp 1b\n\t");
GUEST(halt1, 64, "sti\n\tlock incq " S(GPA_DATA) "\n1:\thlt\n\tjmp 1b\n\t");
/* Forty times the ICR in RDX:RSI, each waited for. */
GUEST(send_forty, 64,
	"xor %ebx, %ebx\n1:\tmov $0x830, %ecx\n\tmov %esi, %eax\n\twrmsr\n"
	"2:\tpause\n\tcmp %rbx, " S(GPA_LOG) "\n\tje 2b\n\tinc %rbx\n\tcmp $40, %ebx\n\tjb 1b\n\t"
	G_DONE);

static void second_vcpu(struct vcpu *v, bool spin)
{
	if (spin)
		GUEST_LOAD(v->vm, CODE1, spin1);
	else
		GUEST_LOAD(v->vm, CODE1, halt1);
	vcpu_long(v, CODE1);
	vcpu_x2apic(v);
	mp_set(v, CLEAVE_MP_RUNNABLE);
}

static void forty_ipis(struct __test_metadata *_metadata, FIXTURE_DATA(smp) *self, bool spin,
		       uint32_t icr, uint32_t dest)
{
	struct cleave_regs regs;

	START(send_forty);
	second_vcpu(&self->v1, spin);
	regs_get(&self->v, &regs);
	regs.rsi = icr;
	regs.rdx = dest;
	regs_set(&self->v, &regs);
	runner_start(&self->r, &self->v1, NULL, NULL);
	ASSERT_TRUE(WAIT_FOR(*VM_DATA(&self->vm, uint64_t, 0), 3000));
	vcpu_run_done(&self->v);
	runner_stop(&self->r);
	EXPECT_EQ(0, self->r.error);
	EXPECT_EQ(40, count(&self->vm));
	for (int i = 0; i < 40; i++)
		EXPECT_EQ(icr & 0x700 ? 2 : icr & 0xff, vm_log(&self->vm)->e[i].vector);
}

TEST_F(smp, ipi_to_running)
{
	forty_ipis(_metadata, self, true, 0x4000 | VEC, 1);
}

TEST_F(smp, ipi_to_halted)
{
	forty_ipis(_metadata, self, false, 0x4000 | VEC, 1);
}

TEST_F(smp, ipi_to_others)
{
	forty_ipis(_metadata, self, true, 0xc4000 | VEC, 0);
}

TEST_F(smp, ipi_logical)
{
	forty_ipis(_metadata, self, false, 0x4800 | VEC, 2);
}

TEST_F(smp, nmi_ipi)
{
	forty_ipis(_metadata, self, true, 0x4400, 1);
}

TEST_F(smp, message_to_both)
{
	START(wait_two);
	second_vcpu(&self->v1, false);
	runner_start(&self->r, &self->v1, NULL, NULL);
	ASSERT_TRUE(WAIT_FOR(*VM_DATA(&self->vm, uint64_t, 0), 3000));
	EXPECT_EQ(2, vm_msi(&self->vm, MSI_ADDRESS(3) | 4, VEC));
	vcpu_run_done(&self->v);
	runner_stop(&self->r);
	EXPECT_EQ(2, count(&self->vm));
}

/* A level-triggered message is told by the vCPU that took it. */
static int stop_at_eoi(struct vcpu *v, void *arg)
{
	return v->run->exit == CLEAVE_EXIT_EOI;
}

TEST_F(smp, level_triggered_eoi)
{
	START(nops);
	second_vcpu(&self->v1, true);
	runner_start(&self->r, &self->v1, stop_at_eoi, NULL);
	ASSERT_TRUE(WAIT_FOR(*VM_DATA(&self->vm, uint64_t, 0), 3000));
	ASSERT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(1), MSI_LEVEL | VEC));
	runner_wait(&self->r);
	EXPECT_EQ(CLEAVE_EXIT_EOI, self->v1.run->exit);
	EXPECT_EQ(VEC, self->v1.run->eoi.vector);
}

/* As firmware starts a second processor. */
GUEST(init_sipi, 64,
	"mov $0x830, %ecx\n\tmov $1, %edx\n\tmov $0x4500, %eax\n\twrmsr\n\t"
	"mov $0x4630, %eax\n\twrmsr\n\tmov $0x4631, %eax\n\twrmsr\n\t" G_DONE
	"mov $0x830, %ecx\n\tmov $1, %edx\n\tmov $0x4632, %eax\n\twrmsr\n\t" G_DONE
	"mov $0x830, %ecx\n\tmov $0x4500, %eax\n\twrmsr\n\t" G_DONE);
GUEST(boot1, 16,
	"mov %cs, %ax\n\tmovzwl %ax, %eax\n\tout %eax, $" S(PORT_DONE) "\n\t"
	"mov $0xd00, %bx\n\tmov %bx, %ds\n1:\tlock incl 0\n\tjmp 1b\n\t");

TEST_F(smp, init_sipi)
{
	struct cleave_state st;

	START(init_sipi);
	GUEST_LOAD(&self->vm, BOOT1, boot1);
	EXPECT_EQ(CLEAVE_MP_WAIT_INIT, mp_get(&self->v1));
	runner_start(&self->r, &self->v1, stop_at_exit, NULL);
	vcpu_run_done(&self->v);
	runner_wait(&self->r);
	ASSERT_EQ(CLEAVE_EXIT_IO, self->v1.run->exit);
	EXPECT_EQ(0x3000, self->v1.run->io.data);	/* the second SIPI did nothing */
	state_get(&self->v1, CLEAVE_SREGS | CLEAVE_MP, &st);
	EXPECT_EQ(BOOT1, st.sregs.cs.base);
	EXPECT_EQ(CLEAVE_MP_RUNNABLE, st.mp.state);
	/* A running one takes no SIPI, but INIT, wherever it is. */
	runner_start(&self->r, &self->v1, stop_at_exit, NULL);
	ASSERT_TRUE(WAIT_FOR(*VM_DATA(&self->vm, uint32_t, 0), 3000));
	vcpu_run_done(&self->v);
	*VM_DATA(&self->vm, uint32_t, 0) = 0;
	ASSERT_TRUE(WAIT_FOR(*VM_DATA(&self->vm, uint32_t, 0), 3000));
	vcpu_run_done(&self->v);
	nap_us(50000);
	*VM_DATA(&self->vm, uint32_t, 0) = 0;
	nap_us(50000);
	EXPECT_EQ(0, *VM_DATA(&self->vm, uint32_t, 0));
	runner_stop(&self->r);
	EXPECT_EQ(0, self->r.exits);
	state_get(&self->v1, CLEAVE_REGS | CLEAVE_SREGS | CLEAVE_MP, &st);
	EXPECT_EQ(CLEAVE_MP_WAIT_SIPI, st.mp.state);
	EXPECT_EQ(0xfff0, st.regs.rip);
	EXPECT_EQ(0xf000, st.sregs.cs.selector);
}

/* Before INIT a SIPI means nothing; after it, one that came with it does. */
TEST_F(smp, sipi_needs_init)
{
	GUEST_LOAD(&self->vm, BOOT1, boot1);
	runner_start(&self->r, &self->v1, stop_at_exit, NULL);
	EXPECT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(1), MSI_SIPI | 0x31));
	nap_us(20000);
	EXPECT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(1), MSI_INIT));
	nap_us(20000);
	EXPECT_EQ(0, self->r.exits);
	EXPECT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(1), MSI_SIPI | 0x30));
	runner_wait(&self->r);
	EXPECT_EQ(0x3000, self->v1.run->io.data);
}

TEST_HARNESS_MAIN
