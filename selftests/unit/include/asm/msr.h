/* SPDX-License-Identifier: GPL-2.0 */
#ifndef UNIT_MSR_H
#define UNIT_MSR_H

#include "../shim.h"
#include <asm/msr-index.h>

/* The test's: what reaches the host's MSRs and its clock. */
static void unit_wrmsr(u32 msr, u64 val);
static u64 unit_rdmsr(u32 msr);
static u64 unit_tsc __attribute__((unused));

#define wrmsrl(msr, val)	unit_wrmsr(msr, val)
#define rdmsrl(msr, val)	((val) = unit_rdmsr(msr))
#define rdtsc_ordered()		unit_tsc
#define rdtsc()			unit_tsc

#endif /* UNIT_MSR_H */
