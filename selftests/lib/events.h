/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest whose handlers write down what came and where, and go on: the common
 * handler of vm_tables() replaced. Long mode; vectors from LOG_EOI up are the
 * local APIC's and end with an EOI in x2APIC mode.
 */
#ifndef SELFTESTS_EVENTS_H
#define SELFTESTS_EVENTS_H

#include "guest.h"

#define GPA_LOG		0x62000		/* struct log */
#define LOG_EOI		0x30
#define LOG_MAX		200

struct log {
	uint64_t count;
	uint64_t unused;
	struct {
		uint64_t vector, rip;
	} e[LOG_MAX];
};

/* After GUEST_LONG(). */
void log_prepare(struct vm *vm);
static inline volatile struct log *vm_log(struct vm *vm)
{
	return (volatile struct log *)(vm->ram + GPA_LOG);
}

/* Sets what is on its way; ev is whole. */
void events_set(struct vcpu *vcpu, const struct cleave_events *ev);
void events_get(struct vcpu *vcpu, struct cleave_events *ev);
/* Is the host QEMU's own emulation, with its deviations from the manuals? */
bool on_qemu(void);
void mp_set(struct vcpu *vcpu, uint32_t state);
uint32_t mp_get(struct vcpu *vcpu);

#endif
