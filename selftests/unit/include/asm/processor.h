/* SPDX-License-Identifier: GPL-2.0 */
#ifndef UNIT_PROCESSOR_H
#define UNIT_PROCESSOR_H

#include "cpufeature.h"

/* The test's. */
static void unit_cpuid(u32 leaf, u32 subleaf, u32 r[4]);

static inline void cpuid_count(u32 leaf, u32 subleaf, u32 *a, u32 *b, u32 *c, u32 *d)
{
	u32 r[4];

	unit_cpuid(leaf, subleaf, r);
	*a = r[0];
	*b = r[1];
	*c = r[2];
	*d = r[3];
}

static inline u32 cpuid_eax(u32 leaf)
{
	u32 r[4];

	unit_cpuid(leaf, 0, r);
	return r[0];
}

#endif /* UNIT_PROCESSOR_H */
