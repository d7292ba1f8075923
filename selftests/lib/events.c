// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <cpuid.h>
#include <string.h>
#include "events.h"

GUEST(guest_log, 64,
	"push %rax\n\tpush %rcx\n\tpush %rdx\n\tpush %rbx\n\t"
	"mov $1, %eax\n\tlock xadd %rax, " S(GPA_LOG) "\n\tshl $4, %rax\n\t"
	"mov 32(%rsp), %rbx\n\tmov 48(%rsp), %rcx\n\t"
	"mov %rbx, " S(GPA_LOG) "+16(%rax)\n\tmov %rcx, " S(GPA_LOG) "+24(%rax)\n\t"
	"cmp $" S(LOG_EOI) ", %ebx\n\tjb 1f\n\t"
	"xor %eax, %eax\n\txor %edx, %edx\n\tmov $0x80b, %ecx\n\twrmsr\n"
	"1:\tpop %rbx\n\tpop %rdx\n\tpop %rcx\n\tpop %rax\n\tadd $16, %rsp\n\tiretq\n\t");

void log_prepare(struct vm *vm)
{
	GUEST_LOAD(vm, GPA_HANDLER, guest_log);
	memset(vm->ram + GPA_LOG, 0, sizeof(struct log));
}

void events_set(struct vcpu *vcpu, const struct cleave_events *ev)
{
	struct cleave_state st = { .events = *ev };

	state_must_set(vcpu, CLEAVE_EVENTS, &st);
}

void events_get(struct vcpu *vcpu, struct cleave_events *ev)
{
	struct cleave_state st;

	state_get(vcpu, CLEAVE_EVENTS, &st);
	*ev = st.events;
}

bool on_qemu(void)
{
	uint32_t eax, sig[3];

	__cpuid(0x40000000, eax, sig[0], sig[1], sig[2]);
	return !memcmp(sig, "TCGTCGTCGTCG", 12);
}

void mp_set(struct vcpu *vcpu, uint32_t state)
{
	struct cleave_state st = { .mp.state = state };

	state_must_set(vcpu, CLEAVE_MP, &st);
}

uint32_t mp_get(struct vcpu *vcpu)
{
	struct cleave_state st;

	state_get(vcpu, CLEAVE_MP, &st);
	return st.mp.state;
}
