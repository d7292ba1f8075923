/* SPDX-License-Identifier: GPL-2.0 */
/*
 * /dev/cleave_poke: changes fields of the VMCS or VMCB for one entry of the
 * calling thread's vCPU. write() of a struct poke asks for it, read() gives it
 * back with what came of it. What is poked is put back before the thread's
 * next entry.
 */
#ifndef SELFTESTS_POKE_H
#define SELFTESTS_POKE_H

#include <linux/types.h>

#define POKE_FIELDS	3

/* struct poke_field.field beside a VMCS field, or offset | size << 16 in the VMCB */
#define POKE_NONE	0xffffffffu
#define POKE_MSR_LOAD	0xfffffffeu	/* one entry: index in @clear, value in @set */

/* struct poke.state */
#define POKE_ASKED	0	/* there was no entry yet */
#define POKE_ENTERED	1	/* the CPU took it */
#define POKE_REFUSED	2
#define POKE_LOST	3	/* the module has written the field before the entry */

struct poke_field {
	__u32 field, reserved;
	__u64 clear, set;	/* in: changes to the bits */
	__u64 old, poked;	/* out */
};

struct poke {
	struct poke_field fields[POKE_FIELDS];
	__u32 state, reserved;
};

#endif
