/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A host CPU that the test makes up. The numbers of features and MSRs are the
 * kernel's: asm/cpufeatures.h and asm/msr-index.h come from its headers.
 */
#ifndef UNIT_CPUFEATURE_H
#define UNIT_CPUFEATURE_H

#include "../shim.h"
#include <asm/cpufeatures.h>

enum {
	CPUID_1_EDX = 0,
	CPUID_8000_0001_EDX = 1,
	CPUID_1_ECX = 4,
	CPUID_8000_0001_ECX = 6,
	CPUID_7_0_EBX = 9,
	CPUID_D_1_EAX = 10,
	CPUID_7_1_EAX = 12,
	CPUID_8000_0008_EBX = 13,
	CPUID_6_EAX = 14,
	CPUID_7_ECX = 16,
	CPUID_7_EDX = 18,
	CPUID_8000_0021_EAX = 20,
};

#define X86_VENDOR_INTEL	0
#define X86_VENDOR_AMD		2
#define X86_VENDOR_HYGON	9

struct cpuinfo_x86 {
	u8 x86_vendor;
	u8 x86_virt_bits, x86_phys_bits;
	u32 microcode;
	u32 x86_capability[NCAPINTS + NBUGINTS];
};

static struct cpuinfo_x86 boot_cpu_data __attribute__((unused));

#define boot_cpu_has(f)		(boot_cpu_data.x86_capability[(f) / 32] >> ((f) % 32) & 1)
#define boot_cpu_has_bug	boot_cpu_has

#define XFEATURE_MASK_FP	1
#define XFEATURE_MASK_SSE	2
#define XFEATURE_MASK_FPSSE	3
#define XFEATURE_MASK_YMM	4
#define XFEATURE_MASK_AVX512	0xe0

#endif /* UNIT_CPUFEATURE_H */
