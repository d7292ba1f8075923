// SPDX-License-Identifier: GPL-2.0
/* Exceptions: raised by guest code, by SET_STATE, by the delivery of one another. */
#define _GNU_SOURCE
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include "kselftest_harness.h"
#include "events.h"
#include "host.h"

#define RFLAGS_RF	(1u << 16)
#define RFLAGS_AC	(1u << 18)
#define PD_HOLE		0x400000u	/* the guest's tables map nothing there */
#define PD_TEST		0x600000u	/* as the test says */
#define SEL_ABSENT	0x48		/* a segment that is not present */
#define SEL_BEYOND	0x7f8		/* behind the GDT's end */
#define USER_STACK	0x60000

/* RBX says where the test expects it, the label 2. */
#define G_WHERE		"lea 2f(%rip), %rbx\n\t"
/* Goes on in ring 3 with these flags. */
#define G_USER(flags)	"pushq $" S(SEL_UDATA) "\n\tpushq $" S(USER_STACK) "\n\tpushq $" S(flags) \
			"\n\tpushq $" S(SEL_UCODE64) "\n\tlea 1f(%rip), %rax\n\tpush %rax\n\tiretq\n1:\t"

FIXTURE(exc) {
	struct vm vm;
	struct vcpu v;
};

FIXTURE_SETUP(exc)
{
	vm_create(&self->vm, 4 * RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
}

FIXTURE_TEARDOWN(exc)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

static uint64_t *pd_entry(struct vm *vm, uint64_t gva)
{
	return (uint64_t *)(vm->ram + GPA_PD) + (gva >> 21);
}

static void start(struct vcpu *v, const char *code, size_t len)
{
	struct vm *vm = v->vm;
	struct cleave_state st;

	vm_tables(vm);
	*pd_entry(vm, PD_HOLE) = 0;
	/* SEL_ABSENT, data, DPL 0. */
	*(uint64_t *)(vm->ram + GPA_GDT + SEL_ABSENT) = 0x00cf13000000ffff;
	vm_load(vm, GPA_CODE, code, len);
	vcpu_long(v, GPA_CODE);
	state_get(v, CLEAVE_SREGS, &st);
	st.sregs.gdt.limit = SEL_ABSENT + 7;
	state_must_set(v, CLEAVE_SREGS, &st);
	mp_set(v, CLEAVE_MP_RUNNABLE);
}

#define START(name)	start(&self->v, name, name##_end - name)

/* Raised at RBX, once, and the guest is there still. */
static struct trap_frame *raised(struct __test_metadata *_metadata, struct vcpu *v,
				 const char *code, size_t len, uint8_t vector, uint64_t error)
{
	struct trap_frame *f;

	start(v, code, len);
	f = vcpu_run_trap(v, vector);
	EXPECT_EQ(error, f->error);
	EXPECT_EQ(v->run->regs.rbx, f->rip);
	EXPECT_EQ(1, vm_trap(v->vm)->count);
	return f;
}

#define RAISED(name, vector, error) \
	raised(_metadata, &self->v, name, name##_end - name, vector, error)

/* ---- raised by instructions -------------------------------------------------- */

GUEST(x_de, 64, G_WHERE "xor %ecx, %ecx\n2:\tdiv %ecx\n\tud2\n\t");
GUEST(x_de_user, 64, G_USER(2) G_WHERE "xor %ecx, %ecx\n2:\tdiv %ecx\n\tud2\n\t");

TEST_F(exc, divide_error)
{
	struct trap_frame *f = RAISED(x_de, 0, 0);

	EXPECT_EQ(SEL_CODE64, f->cs);
	EXPECT_EQ(GPA_STACK, f->rsp);
	if (!on_qemu())		/* which pushes it for none of its own */
		EXPECT_EQ(RFLAGS_RF, f->rflags & RFLAGS_RF);
	f = RAISED(x_de_user, 0, 0);
	EXPECT_EQ(SEL_UCODE64, f->cs);
	EXPECT_EQ(SEL_UDATA, f->ss);
	EXPECT_EQ(USER_STACK, f->rsp);
}

GUEST(x_bp, 64, G_WHERE "int3\n2:\tnop\n\t");
GUEST(x_bp_user, 64, G_USER(2) G_WHERE "int3\n2:\tnop\n\t");
GUEST(x_int, 64, G_WHERE "int $0x77\n2:\tnop\n\t");

TEST_F(exc, breakpoint)
{
	struct trap_frame *f = RAISED(x_bp, 3, 0);

	EXPECT_EQ(0, f->rflags & RFLAGS_RF);
	RAISED(x_bp_user, 3, 0);
	RAISED(x_int, 0x77, 0);
}

/* From ring 3 through a gate for ring 0. */
GUEST(x_bp_dpl, 64, G_USER(2) G_WHERE "2:\tint3\n\tnop\n\t");
GUEST(x_int_dpl, 64, G_USER(2) G_WHERE "2:\tint $0x77\n\tnop\n\t");

/* Of a gate. QEMU counts gates of 16 bytes as two. */
static uint64_t gate_error(uint8_t vector, uint64_t got)
{
	return on_qemu() && got == vector * 16 + 2 ? got : vector * 8 + 2;
}

TEST_F(exc, gate_privilege)
{
	struct trap_frame *f;

	START(x_bp_dpl);
	vm_gate(&self->vm, 3, GPA_STUBS + 3 * 16, 0, 0);
	vm_gate(&self->vm, 0x77, GPA_STUBS + 0x77 * 16, 0, 0);
	f = vcpu_run_trap(&self->v, 13);
	EXPECT_EQ(gate_error(3, f->error), f->error);
	EXPECT_EQ(self->v.run->regs.rbx, f->rip);
	GUEST_LOAD(&self->vm, GPA_CODE, x_int_dpl);
	vcpu_long(&self->v, GPA_CODE);
	f = vcpu_run_trap(&self->v, 13);
	EXPECT_EQ(gate_error(0x77, f->error), f->error);
	EXPECT_EQ(self->v.run->regs.rbx, f->rip);
}

GUEST(x_ud, 64, G_WHERE "2:\tud2\n\t");
GUEST(x_nm, 64, "mov %cr0, %rax\n\tor $8, %al\n\tmov %rax, %cr0\n\t" G_WHERE "2:\tfninit\n\tud2\n\t");
GUEST(x_np, 64, G_WHERE "mov $" S(SEL_ABSENT) ", %eax\n2:\tmov %eax, %es\n\tud2\n\t");
GUEST(x_ss, 64, G_WHERE "mov $" S(SEL_ABSENT) ", %eax\n2:\tmov %eax, %ss\n\tud2\n\t");
GUEST(x_np_gate, 64, G_WHERE "2:\tint $0x78\n\tud2\n\t");
GUEST(x_gp_sel, 64, G_WHERE "mov $" S(SEL_BEYOND) ", %eax\n2:\tmov %eax, %es\n\tud2\n\t");
GUEST(x_gp_msr, 64, G_WHERE "mov $0x1234567, %ecx\n2:\trdmsr\n\tud2\n\t");
GUEST(x_gp_user, 64, G_USER(2) G_WHERE "2:\thlt\n\tud2\n\t");
GUEST(x_gp_port, 64, G_USER(2) G_WHERE "2:\tout %al, $0x10\n\tud2\n\t");
GUEST(x_gp_msr_user, 64, G_USER(2) G_WHERE "mov $0x10, %ecx\n2:\trdmsr\n\tud2\n\t");
GUEST(x_gp_canonical, 64, G_WHERE "mov $1, %eax\n\tshl $62, %rax\n2:\tmov (%rax), %ecx\n\tud2\n\t");
GUEST(x_mf, 64,
	"fninit\n\tpushq $0x37b\n\tfldcw (%rsp)\n\tfld1\n\tfldz\n\tfdivrp %st, %st(1)\n\t"
	G_WHERE "2:\tfwait\n\tud2\n\t");

TEST_F(exc, by_instruction)
{
	RAISED(x_ud, 6, 0);
	RAISED(x_nm, 7, 0);
	RAISED(x_np, 11, SEL_ABSENT);
	RAISED(x_ss, 12, SEL_ABSENT);
	RAISED(x_gp_sel, 13, SEL_BEYOND);
	RAISED(x_gp_msr, 13, 0);
	RAISED(x_gp_user, 13, 0);
	RAISED(x_gp_port, 13, 0);
	RAISED(x_gp_msr_user, 13, 0);
	RAISED(x_gp_canonical, 13, 0);
	RAISED(x_mf, 16, 0);
}

TEST_F(exc, gate_not_present)
{
	struct trap_frame *f;

	START(x_np_gate);
	self->vm.ram[GPA_IDT + 0x78 * 16 + 5] &= 0x7f;
	f = vcpu_run_trap(&self->v, 11);
	EXPECT_EQ(gate_error(0x78, f->error), f->error);
	EXPECT_EQ(self->v.run->regs.rbx, f->rip);
}

GUEST(x_ac, 64,
	"mov %cr0, %rax\n\tor $0x40000, %eax\n\tmov %rax, %cr0\n\t" G_USER(0x40002)
	G_WHERE "2:\tmov " S(GPA_DATA) "+1, %eax\n\tout %eax, $" S(PORT_DONE) "\n\t");
GUEST(x_xm, 64,
	"pushq $0x1d80\n\tldmxcsr (%rsp)\n\tmov $1, %eax\n\tcvtsi2sd %eax, %xmm0\n\t"
	"xorpd %xmm1, %xmm1\n\t" G_WHERE "2:\tdivsd %xmm1, %xmm0\n\t" G_DONE);

TEST_F(exc, alignment_check)
{
	if (on_qemu())
		SKIP(return, "QEMU has no alignment check");
	RAISED(x_ac, 17, 0);
}

TEST_F(exc, simd)
{
	if (on_qemu())
		SKIP(return, "QEMU raises no SIMD floating-point exception");
	RAISED(x_xm, 19, 0);
}

/* RDX: 0 reads, 1 writes, 2 jumps to RSI. */
#define G_ACCESS							\
	"mov %esi, %ebx\n\tcmp $2, %edx\n\tje 5f\n\t"			\
	"test %edx, %edx\n\tjnz 4f\n\t"					\
	"lea 3f(%rip), %rbx\n3:\tmov (%rsi), %eax\n\tud2\n"		\
	"4:\tlea 6f(%rip), %rbx\n6:\tmov %eax, (%rsi)\n\tud2\n"		\
	"5:\tjmp *%rsi\n\t"
GUEST(pf_kernel, 64, G_ACCESS);
GUEST(pf_user, 64, G_USER(2) G_ACCESS);

static void page_fault(struct __test_metadata *_metadata, struct vcpu *v, uint64_t entry, bool user,
		       int op, uint64_t error)
{
	uint64_t gva = PD_TEST + 0x1238;
	struct cleave_regs regs;
	struct cleave_state st;
	struct trap_frame *f;

	if (user)
		start(v, pf_user, pf_user_end - pf_user);
	else
		start(v, pf_kernel, pf_kernel_end - pf_kernel);
	*pd_entry(v->vm, gva) = entry;
	regs_get(v, &regs);
	regs.rdx = op;
	regs.rsi = gva;
	regs_set(v, &regs);
	f = vcpu_run_trap(v, 14);
	if (on_qemu() && (error & 8))	/* without P, there */
		f->error |= 1;
	EXPECT_EQ(error, f->error) {
		TH_LOG("entry %#lx, user %d, access %d", (long)entry, user, op);
	}
	EXPECT_EQ(v->run->regs.rbx, f->rip);
	EXPECT_EQ(gva, vm_trap(v->vm)->cr2);
	state_get(v, CLEAVE_SREGS, &st);
	EXPECT_EQ(gva, st.sregs.cr2);
}

TEST_F(exc, page_fault)
{
	const uint64_t leaf = PD_TEST | 0x80, nx = 1ull << 63;
	struct vcpu *v = &self->v;

	for (int user = 0; user < 2; user++) {
		page_fault(_metadata, v, 0, user, 0, user * 4);
		page_fault(_metadata, v, 0, user, 1, user * 4 | 2);
		page_fault(_metadata, v, 0, user, 2, user * 4 | 0x10);
		page_fault(_metadata, v, leaf | 5, user, 1, user * 4 | 3);
		page_fault(_metadata, v, leaf | 7 | nx, user, 2, user * 4 | 0x11);
		page_fault(_metadata, v, leaf | 7 | 1 << 13, user, 0, user * 4 | 9);
	}
	page_fault(_metadata, v, leaf | 3, true, 0, 5);
	page_fault(_metadata, v, leaf | 3, true, 1, 7);
	page_fault(_metadata, v, leaf | 3, true, 2, 0x15);
}

/* In protected mode of 32 bits, with gates of 8 bytes. */
#define GPA_IDT32	0x50000
#define GPA_H32		0x51000
GUEST(into_bound, 32,
	"mov $0x7fffffff, %eax\n\tadd $1, %eax\n\tinto\n\t"
	"mov $5, %ecx\n\tbound %ecx, " S(GPA_DATA) "+0x100\n\tnop\n\tnop\n\t"
	"xor %eax, %eax\n\tmov $0x48, %eax\n\tmov %eax, %es\n\tnop\n\t" G_DONE);
/* Logs vector, error and EIP; goes on two bytes behind #GP, six behind #BR. */
GUEST(handler32, 32,
	".macro entry v, e, skip\n\t.if \\e\n\t.else\n\tpush $0\n\t.endif\n\t"
	"addl $\\skip, 4(%esp)\n\tpush %eax\n\tpush %ecx\n\tmov " S(GPA_LOG) ", %ecx\n\t"
	"incl " S(GPA_LOG) "\n\tshl $4, %ecx\n\tmovl $\\v, " S(GPA_LOG) "+16(%ecx)\n\t"
	"mov 8(%esp), %eax\n\tmov %eax, " S(GPA_LOG) "+20(%ecx)\n\t"
	"mov 12(%esp), %eax\n\tmov %eax, " S(GPA_LOG) "+24(%ecx)\n\t"
	"pop %ecx\n\tpop %eax\n\tadd $4, %esp\n\tiret\n\t.endm\n\t"
	"entry 4, 0, 0\n\t.org handler32 + 128\n\tentry 5, 0, 6\n\t"
	".org handler32 + 256\n\tentry 13, 1, 2\n\t.purgem entry\n\t");

static void gate32(struct vm *vm, int vector, uint32_t handler)
{
	uint32_t *gate = (uint32_t *)(vm->ram + GPA_IDT32 + vector * 8);

	gate[0] = SEL_CODE32 << 16 | (handler & 0xffff);
	gate[1] = (handler & 0xffff0000) | 0x8e00;
}

TEST_F(exc, protected_mode)
{
	static const struct {
		uint32_t vector, error, rip;
	} expected[] = { { 4, 0, 9 }, { 5, 0, 20 }, { 13, 0x48, 31 } };
	uint32_t *log = (uint32_t *)(self->vm.ram + GPA_LOG);
	struct cleave_state st;

	vm_tables(&self->vm);
	GUEST_LOAD(&self->vm, GPA_CODE, into_bound);
	GUEST_LOAD(&self->vm, GPA_H32, handler32);
	gate32(&self->vm, 4, GPA_H32);
	gate32(&self->vm, 5, GPA_H32 + 128);
	gate32(&self->vm, 13, GPA_H32 + 256);
	*VM_DATA(&self->vm, uint32_t, 0x100) = 0;
	*VM_DATA(&self->vm, uint32_t, 0x104) = 4;
	vcpu_protected(&self->v, GPA_CODE);
	state_get(&self->v, CLEAVE_SREGS, &st);
	st.sregs.idt = (struct cleave_dtable){ .base = GPA_IDT32, .limit = 0x7ff };
	state_must_set(&self->v, CLEAVE_SREGS, &st);
	vcpu_run_done(&self->v);
	ASSERT_EQ(3, log[0]);
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(expected[i].vector, log[4 + 4 * i]);
		EXPECT_EQ(expected[i].error, log[5 + 4 * i]);
		EXPECT_EQ(GPA_CODE + expected[i].rip, log[6 + 4 * i]);
	}
}

/* ---- what the guest does not have ---------------------------------------------- */

static const struct {
	const char *name;
	uint8_t len, bytes[6];
	bool kernel;		/* in ring 3 its #GP may go first */
} hidden[] = {
	{ "vmxon", 4, { 0xf3, 0x0f, 0xc7, 0x36 } },
	{ "vmclear", 4, { 0x66, 0x0f, 0xc7, 0x36 } },
	{ "vmptrld", 3, { 0x0f, 0xc7, 0x36 } },
	{ "vmptrst", 3, { 0x0f, 0xc7, 0x3e } },
	{ "vmread", 3, { 0x0f, 0x78, 0xc0 } },
	{ "vmwrite", 3, { 0x0f, 0x79, 0xc0 } },
	{ "vmlaunch", 3, { 0x0f, 0x01, 0xc2 } },
	{ "vmresume", 3, { 0x0f, 0x01, 0xc3 } },
	{ "vmxoff", 3, { 0x0f, 0x01, 0xc4 } },
	{ "vmfunc", 3, { 0x0f, 0x01, 0xd4 } },
	{ "invept", 5, { 0x66, 0x0f, 0x38, 0x80, 0x06 } },
	{ "invvpid", 5, { 0x66, 0x0f, 0x38, 0x81, 0x06 } },
	{ "vmrun", 3, { 0x0f, 0x01, 0xd8 } },
	{ "vmload", 3, { 0x0f, 0x01, 0xda } },
	{ "vmsave", 3, { 0x0f, 0x01, 0xdb } },
	{ "stgi", 3, { 0x0f, 0x01, 0xdc } },
	{ "clgi", 3, { 0x0f, 0x01, 0xdd } },
	{ "skinit", 3, { 0x0f, 0x01, 0xde } },
	{ "invlpga", 3, { 0x0f, 0x01, 0xdf } },
	{ "monitor", 3, { 0x0f, 0x01, 0xc8 } },
	{ "mwait", 3, { 0x0f, 0x01, 0xc9 } },
	{ "getsec", 2, { 0x0f, 0x37 } },
	{ "encls", 3, { 0x0f, 0x01, 0xcf } },
	{ "rdpru", 3, { 0x0f, 0x01, 0xfd } },
	{ "xsetbv", 3, { 0x0f, 0x01, 0xd1 }, true },	/* without CR4.OSXSAVE */
	{ "rdpkru", 3, { 0x0f, 0x01, 0xee } },
};

GUEST(hidden_kernel, 64,
	"mov $" S(GPA_DATA) ", %esi\n\tmov %esi, %edi\n\tmov %esi, %eax\n\txor %ecx, %ecx\n\t"
	"xor %edx, %edx\n\t" G_WHERE "2:\t.fill 8, 1, 0x90\n\tud2\n\t");
GUEST(hidden_user, 64, G_USER(2)
	"mov $" S(GPA_DATA) ", %esi\n\tmov %esi, %edi\n\tmov %esi, %eax\n\txor %ecx, %ecx\n\t"
	"xor %edx, %edx\n\t" G_WHERE "2:\t.fill 8, 1, 0x90\n\tud2\n\t");

TEST_F(exc, hidden_instructions)
{
	struct vcpu *v = &self->v;

	for (int i = 0; i < 2 * sizeof(hidden) / sizeof(hidden[0]); i++) {
		bool user = i & 1;
		size_t size = user ? hidden_user_end - hidden_user :
				     hidden_kernel_end - hidden_kernel;
		struct trap_frame *f;

		if (user && hidden[i / 2].kernel)
			continue;
		start(v, user ? hidden_user : hidden_kernel, size);
		vm_load(&self->vm, GPA_CODE + size - 10, hidden[i / 2].bytes, hidden[i / 2].len);
		vcpu_run_out(v, PORT_TRAP);
		EXPECT_EQ(6, vm_trap(&self->vm)->vector) {
			TH_LOG("%s, ring %d", hidden[i / 2].name, user * 3);
		}
		f = (struct trap_frame *)(self->vm.ram + v->run->regs.rsp);
		EXPECT_EQ(v->run->regs.rbx, f->rip) {
			TH_LOG("%s, ring %d", hidden[i / 2].name, user * 3);
		}
	}
}

/* ---- raised by the test ----------------------------------------------------------- */

GUEST(nops, 64, G_DONE "nop\n\tnop\n\tnop\n\t" G_DONE "nop\n\t" G_DONE);

/* #BR is none that 64-bit code can have. */
static const uint8_t vectors[] = { 0, 1, 3, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 19 };

static bool has_error(uint8_t vector)
{
	return vector == 8 || (vector >= 10 && vector <= 14) || vector == 17;
}

static bool is_trap(uint8_t vector)
{
	return vector == 1 || vector == 3 || vector == 8;
}

static void inject_all(struct __test_metadata *_metadata, FIXTURE_DATA(exc) *self, bool injected)
{
	struct cleave_events ev;

	for (int i = 0; i < sizeof(vectors); i++) {
		struct cleave_event *e = injected ? &ev.injected : &ev.exception;
		uint8_t vector = vectors[i];
		struct trap_frame *f;
		uint64_t at;

		START(nops);
		vcpu_run_done(&self->v);
		at = self->v.run->regs.rip;
		memset(&ev, 0, sizeof(ev));
		e->type = CLEAVE_EVENT_EXCEPTION;
		e->vector = vector;
		if (has_error(vector)) {
			e->flags = CLEAVE_EVENT_ERROR;
			e->error_code = vector == 8 ? 0 : 0x128;
		}
		events_set(&self->v, &ev);
		events_get(&self->v, &ev);
		EXPECT_EQ(vector, e->vector);
		f = vcpu_run_trap(&self->v, vector);
		EXPECT_EQ(at, f->rip);
		EXPECT_EQ(has_error(vector) && vector != 8 ? 0x128 : 0, f->error);
		if (!is_trap(vector))
			EXPECT_EQ(RFLAGS_RF, f->rflags & RFLAGS_RF);
		events_get(&self->v, &ev);
		EXPECT_EQ(CLEAVE_EVENT_NONE, ev.injected.type);
		EXPECT_EQ(CLEAVE_EVENT_NONE, ev.exception.type);
		vcpu_run_done(&self->v);
		EXPECT_EQ(1, vm_trap(&self->vm)->count);
	}
}

TEST_F(exc, set_pending)
{
	inject_all(_metadata, self, false);
}

TEST_F(exc, set_injected)
{
	inject_all(_metadata, self, true);
}

TEST_F(exc, set_refused)
{
	static const struct cleave_event bad[] = {
		{ .type = CLEAVE_EVENT_EXCEPTION, .vector = 2 },
		{ .type = CLEAVE_EVENT_EXCEPTION, .vector = 32 },
		{ .type = CLEAVE_EVENT_EXCEPTION, .vector = 6, .flags = CLEAVE_EVENT_ERROR },
		{ .type = CLEAVE_EVENT_EXCEPTION, .vector = 6, .error_code = 1 },
		{ .type = CLEAVE_EVENT_EXCEPTION, .vector = 13, .flags = CLEAVE_EVENT_ERROR,
		  .error_code = 0x10000 },
		{ .type = CLEAVE_EVENT_EXCEPTION, .vector = 13, .flags = CLEAVE_EVENT_PAYLOAD },
		{ .type = CLEAVE_EVENT_EXCEPTION, .vector = 14, .payload = 1 },
		{ .type = CLEAVE_EVENT_EXCEPTION, .vector = 1, .flags = CLEAVE_EVENT_PAYLOAD,
		  .payload = 0x10 },
		{ .type = CLEAVE_EVENT_EXCEPTION, .vector = 6, .flags = 4 },
		{ .type = CLEAVE_EVENT_EXCEPTION, .vector = 6, .reserved = 1 },
		{ .type = 4 },
		{ .type = CLEAVE_EVENT_NONE, .vector = 6 },
		{ .type = CLEAVE_EVENT_NMI, .vector = 3 },
		{ .type = CLEAVE_EVENT_INTERRUPT, .vector = 0x50 },	/* RFLAGS.IF is clear */
	};
	struct cleave_state st;

	START(nops);
	for (int i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		for (int where = 0; where < 2; where++) {
			memset(&st, 0, sizeof(st));
			*(where ? &st.events.injected : &st.events.exception) = bad[i];
			EXPECT_EQ(-EINVAL, state_set(&self->v, CLEAVE_EVENTS, &st)) {
				TH_LOG("event %d", i);
			}
		}
	}
	vcpu_run_done(&self->v);
	EXPECT_EQ(0, vm_trap(&self->vm)->count);
}

/* CR2 and DR6 change when the exception is delivered, and not before. */
TEST_F(exc, payload)
{
	struct cleave_events ev = { 0 };
	struct cleave_state st;
	struct trap_frame *f;

	START(nops);
	state_get(&self->v, CLEAVE_SREGS, &st);
	st.sregs.cr2 = 0x1111;
	state_must_set(&self->v, CLEAVE_SREGS, &st);
	ev.exception = (struct cleave_event){
		.type = CLEAVE_EVENT_EXCEPTION, .vector = 14,
		.flags = CLEAVE_EVENT_ERROR | CLEAVE_EVENT_PAYLOAD,
		.error_code = 6, .payload = 0x7fff12345678,
	};
	events_set(&self->v, &ev);
	state_get(&self->v, CLEAVE_SREGS, &st);
	EXPECT_EQ(0x1111, st.sregs.cr2);
	f = vcpu_run_trap(&self->v, 14);
	EXPECT_EQ(6, f->error);
	EXPECT_EQ(0x7fff12345678, vm_trap(&self->vm)->cr2);
	/* Without one CR2 stays. */
	vcpu_run_done(&self->v);
	ev.exception.flags = CLEAVE_EVENT_ERROR;
	ev.exception.payload = 0;
	events_set(&self->v, &ev);
	vcpu_run_trap(&self->v, 14);
	EXPECT_EQ(0x7fff12345678, vm_trap(&self->vm)->cr2);

	START(nops);
	memset(&st.debug, 0, sizeof(st.debug));
	st.debug.dr6 = 0xffff0ff1;
	st.debug.dr7 = 0x400 | 1 << 13;		/* GD */
	state_must_set(&self->v, CLEAVE_DEBUG, &st);
	ev.exception = (struct cleave_event){
		.type = CLEAVE_EVENT_EXCEPTION, .vector = 1, .flags = CLEAVE_EVENT_PAYLOAD,
		.payload = 1 << 14 | 4,
	};
	events_set(&self->v, &ev);
	state_get(&self->v, CLEAVE_DEBUG, &st);
	EXPECT_EQ(0xffff0ff1, st.debug.dr6);
	vcpu_run_trap(&self->v, 1);
	state_get(&self->v, CLEAVE_DEBUG, &st);
	EXPECT_EQ(0xffff4ff4, st.debug.dr6);
	EXPECT_EQ(0x400, st.debug.dr7);
}

/* No error code in real mode, whatever the event says. */
GUEST(real_nops, 16, "nop\n1:\tjmp 1b\n\t");
GUEST(real_handler, 16, "mov %sp, %bp\n\tmov (%bp), %eax\n\t" G_DONE);

TEST_F(exc, set_in_real_mode)
{
	struct cleave_events ev = { 0 };

	GUEST_LOAD(&self->vm, GPA_CODE, real_nops);
	GUEST_LOAD(&self->vm, 0x20000, real_handler);
	vm_real_vector(&self->vm, 13, 0x2000, 0);
	vcpu_real(&self->v, GPA_CODE >> 4, 1);
	ev.exception = (struct cleave_event){
		.type = CLEAVE_EVENT_EXCEPTION, .vector = 13, .flags = CLEAVE_EVENT_ERROR,
		.error_code = 0x40,
	};
	events_set(&self->v, &ev);
	EXPECT_EQ((uint32_t)GPA_CODE << 12 | 1, vcpu_run_done(&self->v));
	EXPECT_EQ(0xfff0 - 6, self->v.run->regs.rsp);
}

/* ---- one while another is delivered -------------------------------------------------- */

static void bad_gate(struct vm *vm, uint8_t vector)
{
	uint16_t sel = SEL_BEYOND;

	memcpy(vm->ram + GPA_IDT + vector * 16 + 2, &sel, 2);
}

static void on_ist(struct vm *vm, uint8_t vector)
{
	vm_gate(vm, vector, GPA_STUBS + vector * 16, 1, 0);
}

GUEST(x_pf, 64, "2:\tmov " S(PD_HOLE) ", %eax\n\tud2\n\t");
GUEST(x_gp_no_stack, 64,
	"mov $" S(PD_HOLE) "+0x1000, %esp\n\t" G_WHERE "mov $0x1234567, %ecx\n2:\trdmsr\n\tud2\n\t");
GUEST(x_pf_no_stack, 64,
	"mov $" S(PD_HOLE) "+0x1000, %esp\n\t" G_WHERE "2:\tmov " S(PD_HOLE) ", %eax\n\tud2\n\t");

TEST_F(exc, contributory_twice)
{
	START(x_gp_msr);
	bad_gate(&self->vm, 13);
	EXPECT_EQ(0, vcpu_run_trap(&self->v, 8)->error);
	START(x_gp_sel);		/* not by an exit, but by the CPU itself */
	bad_gate(&self->vm, 13);
	EXPECT_EQ(0, vcpu_run_trap(&self->v, 8)->error);
	START(x_de);
	bad_gate(&self->vm, 0);
	EXPECT_EQ(0, vcpu_run_trap(&self->v, 8)->error);
}

TEST_F(exc, page_fault_then_other)
{
	START(x_pf);
	bad_gate(&self->vm, 14);
	EXPECT_EQ(0, vcpu_run_trap(&self->v, 8)->error);
	START(x_pf_no_stack);
	on_ist(&self->vm, 8);
	EXPECT_EQ(0, vcpu_run_trap(&self->v, 8)->error);
}

/* Not a double fault: the second is delivered, and says where the first was. */
TEST_F(exc, served_one_by_one)
{
	struct trap_frame *f;

	START(x_ud);
	bad_gate(&self->vm, 6);
	f = vcpu_run_trap(&self->v, 13);
	EXPECT_EQ(SEL_BEYOND | 1, f->error | on_qemu());	/* which leaves EXT out */
	EXPECT_EQ(self->v.run->regs.rbx, f->rip);
	/* As #PF while #GP is delivered. */
	START(x_gp_no_stack);
	on_ist(&self->vm, 14);
	f = vcpu_run_trap(&self->v, 14);
	EXPECT_EQ(2, f->error);
	EXPECT_EQ(self->v.run->regs.rbx, f->rip);
	EXPECT_EQ(PD_HOLE + 0x1000 - 8, vm_trap(&self->vm)->cr2);
	/* By software: EXT is clear. */
	START(x_int);
	bad_gate(&self->vm, 0x77);
	f = vcpu_run_trap(&self->v, 13);
	EXPECT_EQ(SEL_BEYOND, f->error);
	EXPECT_EQ(self->v.run->regs.rbx - 2, f->rip);
}

GUEST(sti_nops, 64, "sti\n\tnop\n\t" G_DONE "nop\n\tnop\n\tnop\n\t" G_DONE);

/* What the interrupt's delivery raises is delivered; the interrupt is gone. */
TEST_F(exc, while_interrupt_is_delivered)
{
	struct cleave_events ev = { .extint = 1, .extint_vector = 0x50 };
	struct trap_frame *f;
	uint64_t at;

	for (int nmi = 0; nmi < 2; nmi++) {
		START(sti_nops);
		bad_gate(&self->vm, nmi ? 2 : 0x50);
		vcpu_run_done(&self->v);
		at = self->v.run->regs.rip;
		if (nmi)
			MUST(ioctl(self->v.fd, CLEAVE_NMI));
		else
			events_set(&self->v, &ev);
		f = vcpu_run_trap(&self->v, 13);
		EXPECT_EQ(SEL_BEYOND | 1, f->error | on_qemu());
		EXPECT_EQ(at, f->rip);
		vcpu_run_done(&self->v);
		EXPECT_EQ(1, vm_trap(&self->vm)->count);
	}
}

TEST_F(exc, by_state_then_other)
{
	struct cleave_events ev = { 0 };

	START(nops);
	bad_gate(&self->vm, 13);
	ev.exception.type = CLEAVE_EVENT_EXCEPTION;
	ev.exception.vector = 13;
	ev.exception.flags = CLEAVE_EVENT_ERROR;
	events_set(&self->v, &ev);
	EXPECT_EQ(0, vcpu_run_trap(&self->v, 8)->error);
	START(nops);
	bad_gate(&self->vm, 8);
	ev.exception.vector = 8;
	events_set(&self->v, &ev);
	vcpu_run_exit(&self->v, CLEAVE_EXIT_SHUTDOWN);
}

GUEST(x_no_idt, 64, "pushq $0\n\tpushq $0\n\tlidt (%rsp)\n\tud2\n\t");

TEST_F(exc, shutdown)
{
	START(x_gp_msr);
	bad_gate(&self->vm, 13);
	bad_gate(&self->vm, 8);
	for (int i = 0; i < 3; i++) {
		vcpu_run_exit(&self->v, CLEAVE_EXIT_SHUTDOWN);
		EXPECT_EQ(CLEAVE_MP_SHUTDOWN, mp_get(&self->v));
	}
	START(x_pf_no_stack);		/* all by the CPU itself */
	vcpu_run_exit(&self->v, CLEAVE_EXIT_SHUTDOWN);
	EXPECT_EQ(CLEAVE_MP_SHUTDOWN, mp_get(&self->v));
	START(x_no_idt);
	vcpu_run_exit(&self->v, CLEAVE_EXIT_SHUTDOWN);
	/* A test can start it again. */
	RAISED(x_ud, 6, 0);
}

/* ---- single step ------------------------------------------------------------------------ */

GUEST(step, 64,
	"xor %ecx, %ecx\n\t" G_WHERE "pushf\n\torq $0x100, (%rsp)\n\tpopf\n2:\t"
	"nop\n\tinc %ecx\n\txor %eax, %eax\n\tcpuid\n\tnop\n\tout %al, $0x10\n\tin $0x10, %al\n\t"
	"mov $0x1b, %ecx\n\trdmsr\n\tnop\n\tpushf\n\tandq $~0x100, (%rsp)\n\tpopf\n\tnop\n\t" G_DONE);

TEST_F(exc, single_step)
{
	/* Behind each instruction from the first after POPF to the next POPF. */
	static const uint8_t at[] = { 1, 3, 5, 7, 8, 10, 12, 17, 19, 20, 21, 29, 30 };
	volatile struct log *log = vm_log(&self->vm);
	struct cleave_state st;
	uint64_t base;

	START(step);
	log_prepare(&self->vm);
	vcpu_run_out(&self->v, 0x10);
	vcpu_run_exit(&self->v, CLEAVE_EXIT_IO);
	base = GPA_CODE;
	vcpu_run_done(&self->v);
	state_get(&self->v, CLEAVE_DEBUG, &st);
	EXPECT_EQ(1u << 14, st.debug.dr6 & 0xe00f);
	EXPECT_EQ(sizeof(at), log->count);
	for (int i = 0; i < sizeof(at); i++) {
		/* CPUID has changed RBX: the place from the first entry. */
		EXPECT_EQ(1, log->e[i].vector);
		EXPECT_EQ(log->e[0].rip - 1 + at[i], log->e[i].rip);
	}
	EXPECT_LT(base, log->e[0].rip);
}

/* ---- storms: the thread comes back when it is told to --------------------------------------- */

static int ended(struct vcpu *v, void *arg)
{
	return 1;
}

/* In the guest for half a second without an exit to user space, and back at once. */
static bool storms(struct __test_metadata *_metadata, struct vcpu *v)
{
	struct runner r;
	uint64_t at;

	runner_start(&r, v, ended, NULL);
	nap_us(500000);
	if (r.exits) {
		runner_wait(&r);
		return false;
	}
	at = now_ns();
	runner_stop(&r);
	EXPECT_LT(now_ns() - at, SEC);
	return true;
}

/* The same in a process of its own, which is killed. */
static void killed_in_storm(struct __test_metadata *_metadata, void (*prepare)(struct vcpu *))
{
	uint64_t at;
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct vcpu v;
		struct vm vm;

		vm_create(&vm, 4 * RAM_SIZE, 0);
		vcpu_create(&vm, &v, 0);
		prepare(&v);
		for (;;)
			vcpu_run(&v);
	}
	nap_us(500000);
	at = now_ns();
	kill(pid, SIGKILL);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_LT(now_ns() - at, SEC);
}

/* A breakpoint on the first instruction of the handler of breakpoints. */
static void prepare_db_code(struct vcpu *v)
{
	struct cleave_state st = { 0 };

	start(v, nops, nops_end - nops);
	on_ist(v->vm, 1);
	st.debug.db[0] = GPA_STUBS + 16;
	st.debug.db[1] = GPA_CODE + 4;
	st.debug.dr6 = 0xffff0ff0;
	st.debug.dr7 = 0x400 | 0xf;
	state_must_set(v, CLEAVE_DEBUG, &st);
	vcpu_run_done(v);
}

/* On the stack that its delivery writes to. */
static void prepare_db_stack(struct vcpu *v)
{
	struct cleave_state st = { 0 };
	uint64_t stack;

	start(v, nops, nops_end - nops);
	on_ist(v->vm, 1);
	memcpy(&stack, v->vm->ram + GPA_TSS + 36, 8);
	st.debug.db[0] = stack - 8;
	st.debug.db[1] = GPA_CODE + 4;
	st.debug.dr6 = 0xffff0ff0;
	st.debug.dr7 = 0x400 | 0xf | 0xb << 16;		/* eight bytes, read or written */
	state_must_set(v, CLEAVE_DEBUG, &st);
	vcpu_run_done(v);
}

/* The handler of a step steps itself. */
GUEST(step_loop, 64, "pushf\n\torq $0x100, (%rsp)\n\tpopf\n\tnop\n\tud2\n\t");
static void prepare_step(struct vcpu *v)
{
	start(v, step_loop, step_loop_end - step_loop);
	vm_gate(v->vm, 1, GPA_CODE, 1, 0);
}

TEST_F(exc, debug_storm_step)
{
	prepare_step(&self->v);
	EXPECT_TRUE(storms(_metadata, &self->v));
	killed_in_storm(_metadata, prepare_step);
}

TEST_F(exc, debug_storm_code)
{
	if (on_qemu())
		SKIP(return, "QEMU arms no breakpoints at VM entry");
	prepare_db_code(&self->v);
	EXPECT_TRUE(storms(_metadata, &self->v));
	killed_in_storm(_metadata, prepare_db_code);
}

TEST_F(exc, debug_storm_stack)
{
	if (on_qemu())
		SKIP(return, "QEMU arms no breakpoints at VM entry");
	prepare_db_stack(&self->v);
	EXPECT_TRUE(storms(_metadata, &self->v));
	killed_in_storm(_metadata, prepare_db_stack);
}

/*
 * #AC of ring 3, handled in ring 3, on a stack that is not aligned: of 32
 * bits, as delivery aligns the stack in long mode.
 */
GUEST(ac_storm, 32,
	"mov %cr0, %eax\n\tor $0x40000, %eax\n\tmov %eax, %cr0\n\t"
	"push $0x3b\n\tpush $" S(USER_STACK) "-3\n\tpush $0x43002\n\tpush $0x53\n\t"
	"push $0x10000 + 1f - ac_storm\n\tiret\n1:\tmov " S(GPA_DATA) "+1, %eax\n\t" G_DONE);

static void prepare_ac(struct vcpu *v)
{
	struct vm *vm = v->vm;
	struct cleave_state st;
	uint32_t *gate = (uint32_t *)(vm->ram + GPA_IDT32 + 17 * 8);

	vm_tables(vm);
	*(uint64_t *)(vm->ram + GPA_GDT + 0x50) = 0x00cffb000000ffff;	/* user code, 32 bits */
	GUEST_LOAD(vm, GPA_CODE, ac_storm);
	gate[0] = 0x53 << 16 | (GPA_H32 & 0xffff);
	gate[1] = (GPA_H32 & 0xffff0000) | 0xee00;
	vcpu_protected(v, GPA_CODE);
	state_get(v, CLEAVE_SREGS, &st);
	st.sregs.gdt.limit = 0x57;
	st.sregs.idt = (struct cleave_dtable){ .base = GPA_IDT32, .limit = 0x7ff };
	state_must_set(v, CLEAVE_SREGS, &st);
}

TEST_F(exc, alignment_storm)
{
	if (on_qemu())
		SKIP(return, "QEMU has no alignment check");
	prepare_ac(&self->v);
	storms(_metadata, &self->v);	/* it may end by filling memory with frames */
	killed_in_storm(_metadata, prepare_ac);
}

/* A handler that faults at once, for ever. */
GUEST(x_ud_loop, 64, "ud2\n\t");
static void prepare_ud(struct vcpu *v)
{
	start(v, x_ud_loop, x_ud_loop_end - x_ud_loop);
	vm_gate(v->vm, 6, GPA_CODE, 1, 0);
}

TEST_F(exc, invalid_opcode_storm)
{
	prepare_ud(&self->v);
	EXPECT_TRUE(storms(_metadata, &self->v));
	killed_in_storm(_metadata, prepare_ud);
}

/* ---- delivery that meets pages which are not mapped yet ------------------------------------- */

/* Takes all of the VM's memory from its tables. */
static void unmap_all(struct vm *vm)
{
	MUST(mprotect(vm->ram, vm->ram_size, PROT_NONE));
	MUST(mprotect(vm->ram, vm->ram_size, PROT_READ | PROT_WRITE));
}

GUEST(cold, 64,
	"sti\n\tnop\n\t" G_DONE "nop\n\tnop\n\t" G_DONE		/* 0: by the test */
	"2:\tud2\n\t" G_DONE					/* 7 */
	"mov $0x1234567, %ecx\n\trdmsr\n\t" G_DONE		/* 11, at 16 */
	"int3\n\t" G_DONE					/* 20 */
	"int $0x77\n\t" G_DONE					/* 23 */
	"mov " S(PD_HOLE) ", %eax\n\t" G_DONE);			/* 27 */

static void cold_one(struct __test_metadata *_metadata, FIXTURE_DATA(exc) *self, uint8_t vector,
		     uint64_t at, unsigned int skip, uint64_t error, uint64_t rsp)
{
	struct cleave_regs regs;
	struct trap_frame *f;

	regs_get(&self->v, &regs);
	regs.rsp = rsp;
	regs_set(&self->v, &regs);
	vm_trap(&self->vm)->count = 0;
	unmap_all(&self->vm);
	f = vcpu_run_trap(&self->v, vector);
	EXPECT_EQ(at, f->rip) {
		TH_LOG("vector %u, stack %#lx", vector, (long)rsp);
	}
	EXPECT_EQ(error, f->error);
	EXPECT_EQ(rsp, f->rsp);
	f->rip += skip;
	unmap_all(&self->vm);
	vcpu_run_done(&self->v);
	EXPECT_EQ(1, vm_trap(&self->vm)->count);
}

TEST_F(exc, cold_memory)
{
	struct cleave_events ev = { .extint = 1, .extint_vector = 0x50 };

	START(cold);
	/* Frames that lie in one page, and across two. */
	for (uint64_t rsp = 0x7e000; rsp < 0x7e050; rsp += 0x10) {
		uint64_t at;

		rip_set(&self->v, GPA_CODE);
		vcpu_run_done(&self->v);
		at = self->v.run->regs.rip;
		events_set(&self->v, &ev);
		cold_one(_metadata, self, 0x50, at, 0, 0, rsp);
		rip_set(&self->v, at);
		MUST(ioctl(self->v.fd, CLEAVE_NMI));
		cold_one(_metadata, self, 2, at, 0, 0, rsp);
		memset(&ev, 0, sizeof(ev));
		rip_set(&self->v, at);
		ev.exception.type = CLEAVE_EVENT_EXCEPTION;
		ev.exception.vector = 12;
		ev.exception.flags = CLEAVE_EVENT_ERROR;
		ev.exception.error_code = 0x48;
		events_set(&self->v, &ev);
		cold_one(_metadata, self, 12, at, 0, 0x48, rsp);
		at += 4;
		cold_one(_metadata, self, 6, at, 2, 0, rsp);
		at += 4 + 5;
		cold_one(_metadata, self, 13, at, 2, 0, rsp);
		at += 4 + 1;
		cold_one(_metadata, self, 3, at, 0, 0, rsp);
		at += 2 + 2;
		cold_one(_metadata, self, 0x77, at, 0, 0, rsp);
		at += 2;
		cold_one(_metadata, self, 14, at, 7, 0, rsp);
		ev = (struct cleave_events){ .extint = 1, .extint_vector = 0x50 };
	}
}

/* From ring 3, with the TSS, the GDT and the stack of ring 0 as cold. */
TEST_F(exc, cold_memory_user)
{
	struct trap_frame *f;

	START(x_de_user);
	unmap_all(&self->vm);
	f = vcpu_run_trap(&self->v, 0);
	EXPECT_EQ(self->v.run->regs.rbx, f->rip);
	EXPECT_EQ(SEL_UCODE64, f->cs);
	EXPECT_EQ(1, vm_trap(&self->vm)->count);
}

/* An IDT where no memory is: user space is told, and the guest is not lost. */
TEST_F(exc, no_memory_for_idt)
{
	struct cleave_state st;
	struct trap_frame *f;

	START(x_ud);
	state_get(&self->v, CLEAVE_SREGS, &st);
	st.sregs.idt.base = 0x40000000;
	state_must_set(&self->v, CLEAVE_SREGS, &st);
	for (int i = 0; i < 3; i++) {
		vcpu_run_exit(&self->v, CLEAVE_EXIT_MMIO);
		EXPECT_EQ(0x40000000 + 6 * 16, self->v.run->mmio.gpa & ~15ull);
	}
	st.sregs.idt.base = GPA_IDT;
	state_must_set(&self->v, CLEAVE_SREGS, &st);
	f = vcpu_run_trap(&self->v, 6);
	EXPECT_EQ(self->v.run->regs.rbx, f->rip);
	EXPECT_EQ(1, vm_trap(&self->vm)->count);
}

TEST_HARNESS_MAIN
