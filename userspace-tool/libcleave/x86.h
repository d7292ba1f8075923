/* SPDX-License-Identifier: GPL-2.0 */
/* libcleave: bits of the architecture that its files share. */
#ifndef LIBCLEAVE_X86_H
#define LIBCLEAVE_X86_H

#include <stdint.h>

#define X86_CF		(1ULL << 0)
#define X86_PF		(1ULL << 2)
#define X86_AF		(1ULL << 4)
#define X86_ZF		(1ULL << 6)
#define X86_SF		(1ULL << 7)
#define X86_TF		(1ULL << 8)
#define X86_DF		(1ULL << 10)
#define X86_OF		(1ULL << 11)
#define X86_RF		(1ULL << 16)
#define X86_VM		(1ULL << 17)
#define X86_AC		(1ULL << 18)
#define X86_ARITH	(X86_CF | X86_PF | X86_AF | X86_ZF | X86_SF | X86_OF)

#define X86_CR0_PE	(1ULL << 0)
#define X86_CR0_EM	(1ULL << 2)
#define X86_CR0_TS	(1ULL << 3)
#define X86_CR0_ET	(1ULL << 4)
#define X86_CR0_WP	(1ULL << 16)
#define X86_CR0_PG	(1ULL << 31)
#define X86_CR4_PSE	(1ULL << 4)
#define X86_CR4_PAE	(1ULL << 5)
#define X86_CR4_OSFXSR	(1ULL << 9)
#define X86_CR4_UMIP	(1ULL << 11)
#define X86_CR4_LA57	(1ULL << 12)
#define X86_CR4_SMEP	(1ULL << 20)
#define X86_CR4_SMAP	(1ULL << 21)
#define X86_EFER_LME	(1ULL << 8)
#define X86_EFER_LMA	(1ULL << 10)
#define X86_EFER_NXE	(1ULL << 11)

#define X86_DB		1
#define X86_UD		6
#define X86_NM		7
#define X86_SS		12
#define X86_GP		13
#define X86_PF_VECTOR	14
#define X86_DR6_BS	(1ULL << 14)

/* Linear addresses are sign-extended from bit 47, or 56 with CR4.LA57. */
static inline int x86_canonical(uint64_t gva, uint64_t cr4)
{
	unsigned int shift = cr4 & X86_CR4_LA57 ? 7 : 16;

	return (uint64_t)((int64_t)(gva << shift) >> shift) == gva;
}

#endif /* LIBCLEAVE_X86_H */
