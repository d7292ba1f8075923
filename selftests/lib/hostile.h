/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guests that mean harm: code, tables and registers by a seed. What they touch is
 * there: memory, a slot that cannot be written, one whose memory the host has
 * lost, the local APIC, and nothing.
 */
#ifndef SELFTESTS_HOSTILE_H
#define SELFTESTS_HOSTILE_H

#include "guest.h"
#include "rng.h"

enum hostile_mode {
	HOSTILE_REAL,
	HOSTILE_PROTECTED,		/* without paging, 32-bit and PAE paging, virtual-8086 */
	HOSTILE_LONG,			/* 64-bit and compatibility mode, of both privileges */
	HOSTILE_WILD,			/* any of them, with more changes */
	HOSTILE_MODES,
};

#define HOSTILE_RO_GPA		0x40000000u
#define HOSTILE_LOST_GPA	0x50000000u
#define HOSTILE_SLOT_SIZE	0x10000u
#define HOSTILE_RO_SLOT		1
#define HOSTILE_LOST_SLOT	2
#define HOSTILE_HIGH_SLOT	3
#define HOSTILE_CODE_SIZE	0x4000u

struct hostile {
	struct vm *vm;
	struct rng *rng;
	enum hostile_mode mode;
	unsigned int bits;		/* of the code: 16, 32, 64 */
	bool tcg;			/* leave out what crashes QEMU */
};

/* Code and tables; a mode of HOSTILE_WILD is settled here. */
void hostile_memory(struct hostile *h);
/*
 * Registers and all else that can be set: valid ones of the mode, changed at random
 * as far as the module takes that. How often it refused is counted.
 */
void hostile_state(struct hostile *h, struct vcpu *vcpu, uint64_t *refused);
/* Nothing that QEMU dies of, see hostile.c. */
void hostile_spare(bool tcg, struct cleave_regs *r, struct cleave_sregs *s);
/* What a run page's sregs or regs may become. */
void hostile_mutate(struct rng *rng, void *words, size_t len, unsigned int times);
uint64_t hostile_value(struct rng *rng);
void hostile_events(struct rng *rng, struct cleave_events *ev);

#endif
