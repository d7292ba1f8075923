// SPDX-License-Identifier: GPL-2.0
/*
 * What is measured, as guests. Each does BATCH operations, says what they took at GPA_DATA, ends
 * the batch by PORT_DONE, and does the next when it is run again. R12 counts operations, R13 is the
 * TSC at the start, R14 what the guest has waited, R15 the interrupts that came; handlers change
 * RAX, RCX and RDX.
 *
 * A guest that waits for an interrupt counts the instructions of its own loop, and they are
 * subtracted: how long it waits does not count. With PAUSE in it QEMU goes on to the other CPU.
 */
#include <string.h>
#include "bench.h"

#define PV_EOI		0xd0c0		/* the byte of KVM's MSR_KVM_PV_EOI_EN */
#define COUNT		0xd100		/* interrupts of vCPU 1, where vCPU 0 looks for them */
#define SPINS		0xd180		/* instructions that vCPU 1 has waited */
#define READY		GPA_DATA + BENCH_READY

#define VECTOR		0x41
#define VECTOR_PV	0x42
#define VECTOR_TIMED	0x43
#define VECTOR_COUNTED	0x44
#define VECTOR_COUNTED_PV 0x45

#define TICKS		GPA_DATA
#define OWN		GPA_DATA + 8
#define OTHER		GPA_DATA + 16

/* Lower halves: RCX of a WRMSR, RAX of it. */
#define WRMSR(msr, val)	"mov $" S(msr) ", %ecx\n\tmov $" S(val) ", %eax\n\txor %edx, %edx\n\twrmsr\n\t"
#define X2APIC_SVR	0x80f
#define X2APIC_EOI	0x80b
#define X2APIC_ICR	0x830
#define X2APIC_LVTT	0x832
#define X2APIC_SELF	0x83f
#define TSC_DEADLINE	0x6e0
#define KVM_PV_EOI_EN	0x4b564d04

#define TSC		"rdtsc\n\tshl $32, %rdx\n\tor %rdx, %rax\n\t"
#define EOI		WRMSR(X2APIC_EOI, 0)
#define APIC_ON		WRMSR(X2APIC_SVR, 0x1ff)

#define BATCHES(prepare, operation)					\
	APIC_ON prepare							\
	"9:\tmov $" S(BATCH) ", %r12d\n\txor %r14d, %r14d\n\t"		\
	"mov " S(SPINS) ", %r10\n\t" TSC "mov %rax, %r13\n"		\
	"1:\t" operation "dec %r12d\n\tjnz 1b\n\t" TSC			\
	"sub %r13, %rax\n\tmov %rax, " S(TICKS) "\n\tmov %r14, " S(OWN) "\n\t"	\
	"mov " S(SPINS) ", %rax\n\tsub %r10, %rax\n\tmov %rax, " S(OTHER) "\n\t"	\
	G_DONE "jmp 9b\n\t"

GUEST(h_eoi, 64, EOI "inc %r15\n\tiretq\n\t");
GUEST(h_pv, 64,
	"btrl $0, " S(PV_EOI) "\n\tjc 1f\n\t" EOI "1:\tinc %r15\n\tiretq\n\t");
/* All but the EOI itself is called waiting. */
GUEST(h_timed, 64,
	TSC "mov %rax, %r8\n\tsub %rbx, %rax\n\tadd %rax, %r14\n\t" EOI TSC "mov %rax, %rbx\n\t"
	"inc %r15\n\tiretq\n\t");
GUEST(h_counted, 64, EOI "incq " S(COUNT) "\n\tiretq\n\t");
GUEST(h_counted_pv, 64,
	"btrl $0, " S(PV_EOI) "\n\tjc 1f\n\t" EOI "1:\tincq " S(COUNT) "\n\tiretq\n\t");

GUEST(g_cpuid, 64, BATCHES("", "xor %eax, %eax\n\tcpuid\n\t"));
GUEST(g_hypercall, 64, BATCHES("", "mov $0x1000, %eax\n\tvmcall\n\t"));
GUEST(g_rdmsr, 64, BATCHES("", "mov $0xfe, %ecx\n\trdmsr\n\t"));
GUEST(g_out, 64, BATCHES("", "out %eax, $0xf1\n\t"));
GUEST(g_in, 64, BATCHES("", "in $0xf1, %eax\n\t"));

/* Until the interrupt has been. */
#define BEFORE		"mov %r15, %r11\n\t"
#define AWAIT		"2:\tadd $3, %r14\n\tcmp %r15, %r11\n\tje 2b\n\t"

GUEST(g_self, 64, BATCHES("sti\n\t", BEFORE WRMSR(X2APIC_SELF, VECTOR) AWAIT));
GUEST(g_self_pv, 64, BATCHES(
	WRMSR(KVM_PV_EOI_EN, PV_EOI + 1) "sti\n\t", BEFORE WRMSR(X2APIC_SELF, VECTOR_PV) AWAIT));
/* RBX: the TSC when the last EOI was done. */
GUEST(g_eoi, 64, APIC_ON "sti\n"
	"9:\tmov $" S(BATCH) ", %r12d\n\txor %r14d, %r14d\n\t" TSC "mov %rax, %r13\n\tmov %rax, %rbx\n"
	"1:\t" BEFORE WRMSR(X2APIC_SELF, VECTOR_TIMED) "2:\tcmp %r15, %r11\n\tje 2b\n\t"
	"dec %r12d\n\tjnz 1b\n\tsub %r13, %rbx\n\tmov %rbx, " S(TICKS) "\n\tmov %r14, " S(OWN) "\n\t"
	G_DONE "jmp 9b\n\t");

#define TIMER_ON	WRMSR(X2APIC_LVTT, 0x40000 + VECTOR)
#define ARM(ticks)							\
	TSC "add " ticks ", %rax\n\tmov %rax, %rdx\n\tshr $32, %rdx\n\tmov $" S(TSC_DEADLINE) ", %ecx\n\twrmsr\n\t"

GUEST(g_timer, 64, BATCHES(TIMER_ON "sti\n\t", BEFORE ARM("$20000") AWAIT));
GUEST(g_timer_pv, 64, BATCHES(
	WRMSR(KVM_PV_EOI_EN, PV_EOI + 1) WRMSR(X2APIC_LVTT, 0x40000 + VECTOR_PV) "sti\n\t",
	BEFORE ARM("$20000") AWAIT));
/* The way to the deadline is called waiting, whatever the host does meanwhile. */
GUEST(g_timer_hlt, 64, BATCHES(TIMER_ON, ARM("%rsi") "add %rsi, %r14\n\tsti\n\thlt\n\tcli\n\t"));

#define SEND(to, vector)						\
	"mov $" S(X2APIC_ICR) ", %ecx\n\tmov $" S(to) ", %edx\n\tmov $" S(vector) ", %eax\n\twrmsr\n\t"
#define SEND_PV(map, vector)						\
	"mov $10, %eax\n\tmov $" S(map) ", %ebx\n\txor %ecx, %ecx\n\txor %edx, %edx\n\t"	\
	"mov $" S(vector) ", %esi\n\tvmcall\n\t"
#define HALT		"sti\n\thlt\n\tcli\n\t"

/* Two halt until the other's interrupt, and send one. */
GUEST(g_ping, 64, BATCHES("", SEND(1, VECTOR) HALT));
GUEST(g_pong, 64, APIC_ON "incq " S(READY) "\n1:\t" HALT SEND(0, VECTOR) "jmp 1b\n\t");
GUEST(g_ping_pv, 64, BATCHES("", SEND_PV(2, VECTOR) HALT));
GUEST(g_pong_pv, 64, APIC_ON "incq " S(READY) "\n1:\t" HALT SEND_PV(1, VECTOR) "jmp 1b\n\t");

/* One sends and waits, the other does nothing but to count that it came. */
#define COUNTED		"2:\tpause\n\tadd $4, %r14\n\tcmp " S(COUNT) ", %r11\n\tje 2b\n\t"
GUEST(g_sender, 64, BATCHES("", "mov " S(COUNT) ", %r11\n\t" SEND(1, VECTOR_COUNTED) COUNTED));
GUEST(g_sender_eoi, 64, BATCHES("", "mov " S(COUNT) ", %r11\n\t" SEND(1, VECTOR_COUNTED_PV) COUNTED));
GUEST(g_sender_pv, 64, BATCHES("", "mov " S(COUNT) ", %r11\n\t" SEND_PV(2, VECTOR_COUNTED) COUNTED));
GUEST(g_receiver, 64, APIC_ON "incq " S(READY) "\n\tsti\n1:\tpause\n\taddq $3, " S(SPINS) "\n\tjmp 1b\n\t");
GUEST(g_receiver_eoi, 64, WRMSR(KVM_PV_EOI_EN, PV_EOI + 1) APIC_ON "incq " S(READY) "\n\tsti\n1:\tpause\n\taddq $3, " S(SPINS) "\n\tjmp 1b\n\t");

#define CODE(name)	{ name, name##_end }

const struct row bench_rows[] = {
	{ "cpuid, in the kernel", 1, BATCH, { CODE(g_cpuid) } },
	{ "hypercall, in the kernel", 1, BATCH, { CODE(g_hypercall) } },
	{ "rdmsr, in the kernel", 1, BATCH, { CODE(g_rdmsr) } },
	{ "out, to user space", 1, BATCH, { CODE(g_out) } },
	{ "in, from user space", 1, BATCH, { CODE(g_in) } },
	{ "EOI", 1, BATCH, { CODE(g_eoi) } },
	{ "IPI to self", 1, BATCH, { CODE(g_self) } },
	{ "IPI to self, PV EOI", 1, BATCH, { CODE(g_self_pv) } },
	{ "timer interrupt", 1, BATCH, { CODE(g_timer) } },
	{ "timer interrupt, PV EOI", 1, BATCH, { CODE(g_timer_pv) } },
	{ "timer interrupt in HLT, late by", 1, BATCH, { CODE(g_timer_hlt) } },
	{ "IPI to a halted vCPU", 1, 2 * BATCH, { CODE(g_ping), CODE(g_pong) } },
	{ "IPI to a halted vCPU, PV", 1, 2 * BATCH, { CODE(g_ping_pv), CODE(g_pong_pv) } },
	{ "IPI to a running vCPU", 2, BATCH, { CODE(g_sender), CODE(g_receiver) } },
	{ "IPI to a running vCPU, PV EOI", 2, BATCH, { CODE(g_sender_eoi), CODE(g_receiver_eoi) } },
	{ "IPI to a running vCPU, PV", 2, BATCH, { CODE(g_sender_pv), CODE(g_receiver) } },
};

const unsigned int bench_rows_count = sizeof(bench_rows) / sizeof(bench_rows[0]);

/* An AMD-V guest's hypercall is VMMCALL. */
static void fix_hypercalls(uint8_t *code, size_t len)
{
	for (size_t i = 0; i + 2 < len; i++)
		if (!memcmp(code + i, "\x0f\x01\xc1", 3))
			code[i + 2] = 0xd9;
}

void bench_load(struct machine *m, const struct row *row)
{
	static const struct {
		uint8_t vector;
		struct blob code;
	} handlers[] = {
		{ VECTOR, CODE(h_eoi) }, { VECTOR_PV, CODE(h_pv) },
		{ VECTOR_TIMED, CODE(h_timed) }, { VECTOR_COUNTED, CODE(h_counted) },
		{ VECTOR_COUNTED_PV, CODE(h_counted_pv) },
	};

	for (unsigned int i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
		const struct blob *b = &handlers[i].code;
		uint64_t gpa = BENCH_HANDLERS + i * 0x100;

		vm_load(&m->vm, gpa, b->start, b->end - b->start);
		vm_gate(&m->vm, handlers[i].vector, gpa, 0, 0);
	}
	for (unsigned int i = 0; i < m->vcpus_count; i++) {
		const struct blob *b = &row->code[i];

		vm_load(&m->vm, BENCH_CODE(i), b->start, b->end - b->start);
		if (dev_info().vendor == CLEAVE_VENDOR_SVM)
			fix_hypercalls(m->vm.ram + BENCH_CODE(i), b->end - b->start);
	}
}
