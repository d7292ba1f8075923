// SPDX-License-Identifier: GPL-2.0
/*
 * Which rule of VMRUN's is broken: from a legal VMCB of each mode, that breaks
 * none, each rule in turn must be named with the APM's section, the field, its
 * value, and what would be legal.
 */
#include "unit.h"
#include <asm/asm.h>
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include "../../kmod/svm/svm_check.c"

static struct vmcb vmcb;
static struct svm_vcpu svm = { .vmcb = &vmcb };
static struct vmcb_save_area *const s = &vmcb.save;
static struct vmcb_control_area *const c = &vmcb.control;

static u64 unit_rdmsr(u32 msr)
{
	abort();
}

static void unit_wrmsr(u32 msr, u64 val)
{
	abort();
}

enum mode { REAL, PROTECTED, PAE, LONG, VM86, MODES };

static void legal(enum mode mode)
{
	memset(&vmcb, 0, sizeof(vmcb));
	boot_cpu_data.x86_phys_bits = 40;
	svm.injected = 0;
	svm.vcpu.caps.cr4_reserved = ~0x3006ffULL;
	svm.vcpu.caps.efer_reserved = ~0xd01ULL;
	c->intercepts[INTERCEPT_WORD4] = 1;
	c->msrpm_base_pa = (1ULL << 40) - 0x2000;
	c->iopm_base_pa = (1ULL << 40) - 0x3000;
	c->asid = 1;
	c->nested_cr3 = 0x123000;
	s->g_pat = 0x7040600070406;
	s->efer = EFER_SVME | (mode == LONG ? 0xd01 : 0);
	s->cr0 = X86_CR0_ET | (mode == REAL ? 0 : X86_CR0_PE) |
		 (mode == LONG || mode == PAE ? X86_CR0_PG | X86_CR0_WP : 0);
	s->cr3 = 0xfffffff018;
	s->cr4 = X86_CR4_MCE | (mode == LONG || mode == PAE ? X86_CR4_PAE : 0);
	s->dr6 = 0xffff0ff0;
	s->dr7 = 0x400;
	s->rflags = mode == VM86 ? 0x20202 : 0x202;
	s->cs.attrib = mode == LONG ? 0xa9b : mode == REAL ? 0x9b : 0xc9b;
}

static bool check(struct cleave_refusal *r)
{
	memset(r, 0, sizeof(*r));
	return svm_check(&svm.vcpu, r);
}

UNIT_TEST(legal_states_break_none)
{
	static const u32 events[] = {
		0, 0x300 | X86_TRAP_NMI, 0x80000021, 0x80000202, 0x8000030e, 0x80000b0d, 0x80000480,
	};
	struct cleave_refusal r;
	int mode, i;

	for (mode = 0; mode < MODES; mode++) {
		legal(mode);
		for (i = 0; i < ARRAY_SIZE(events); i++) {
			svm.injected = events[i];
			if (check(&r))
				unit_fail("mode %d: %s, %s, %s", mode, r.section, r.field, r.legal);
		}
		/* Without LME and PG both, CS.L is not L; nor is PAE asked for. */
		s->cs.attrib |= mode == LONG ? 0 : 0x600;
		CHECK(!check(&r));
	}
	legal(PROTECTED);
	s->efer |= EFER_LME;
	s->cs.attrib = 0x69b;
	s->cr0 |= X86_CR0_CD | X86_CR0_NW;
	svm.injected = 0x80000304;
	CHECK(!check(&r));
	c->msrpm_base_pa |= 0xfff;	/* the CPU does not look at these */
	CHECK(!check(&r));
}

/* From the legal state, one statement. */
#define BAD(mode, change, val, sec, name, what) do {			\
	struct cleave_refusal r_;					\
									\
	legal(mode);							\
	CHECK(!check(&r_));						\
	change;								\
	if (!check(&r_) || strcmp(r_.section, "APM vol. 2 " sec) || strcmp(r_.field, name) || \
	    strcmp(r_.legal, what) || r_.value != (val))		\
		unit_fail("%s: %s, %s, %s, %#llx", #change, r_.section, r_.field, r_.legal, \
			  (unsigned long long)r_.value);		\
} while (0)

#define TYPES	"its type (bits 10:8) must be 0, 2, 3 or 4"
#define VECTORS	"its vector must be 0, 1, 3-8, 10-14, 16-19, 21 or 28-30"

UNIT_TEST(each_rule_is_named)
{
	int i;

	BAD(LONG, s->efer = 0xd01, 0xd01, "15.5.1", "EFER", "bits 0x1000 must be 1");
	BAD(LONG, s->cr0 |= X86_CR0_NW, s->cr0, "15.5.1", "CR0, without CD",
	    "bits 0x20000000 must be 0");
	BAD(REAL, s->cr0 |= 1ULL << 32, s->cr0, "15.5.1", "CR0", "bits 0x100000000 must be 0");
	BAD(LONG, s->cr3 = 1ULL << 40, 1ULL << 40, "15.5.1", "CR3", "bits 0x10000000000 must be 0");
	BAD(LONG, s->cr4 |= 1 << 13, s->cr4, "15.5.1", "CR4", "bits 0x2000 must be 0");
	BAD(REAL, s->cr4 |= 1ULL << 63, s->cr4, "15.5.1", "CR4", "bits 0x8000000000000000 must be 0");
	BAD(LONG, s->dr6 |= 1ULL << 32, s->dr6, "15.5.1", "DR6", "bits 0x100000000 must be 0");
	BAD(LONG, s->dr7 |= 1ULL << 63, s->dr7, "15.5.1", "DR7", "bits 0x8000000000000000 must be 0");
	BAD(LONG, s->efer |= 2, s->efer, "15.5.1", "EFER", "bits 0x2 must be 0");
	BAD(LONG, s->cr4 = 0, 0, "15.5.1", "CR4, with LME and PG", "bits 0x20 must be 1");
	BAD(LONG, s->cr0 = 0x80010010, s->cr0, "15.5.1", "CR0, with LME and PG", "bits 0x1 must be 1");
	BAD(LONG, s->cs.attrib |= 0x400, 0xe9b, "15.5.1", "CS attributes, with L",
	    "bits 0x400 must be 0");
	BAD(PROTECTED, (svm.vcpu.caps.cr4_reserved = 0, s->cr4 |= CR4_CET), s->cr4, "15.5.1",
	    "CR4, without CR0.WP", "bits 0x800000 must be 0");
	BAD(LONG, c->intercepts[INTERCEPT_WORD4] = 0xfffe, 0xfffe, "15.5.1", "intercepts at 0x10",
	    "bits 0x1 must be 1");
	BAD(LONG, c->msrpm_base_pa += 0x1000, c->msrpm_base_pa, "15.5.1", "MSRPM_BASE_PA",
	    "its 8 KiB must be below the end of physical addresses");
	BAD(LONG, c->iopm_base_pa += 0x1000, c->iopm_base_pa, "15.5.1", "IOPM_BASE_PA",
	    "its 12 KiB must be below the end of physical addresses");
	BAD(LONG, svm.injected = 0x80000121, 0x80000121, "15.20", "EVENTINJ", TYPES);
	for (i = 5; i < 8; i++)
		BAD(LONG, svm.injected = 0x80000000 | i << 8, 0x80000000 | i << 8, "15.20",
		    "EVENTINJ", TYPES);
	for (i = 0; i < 256; i++)
		if (i == 2 || i == 9 || i == 15 || i == 20 || (i >= 22 && i <= 27) || i > 30)
			BAD(LONG, svm.injected = 0x80000300 | i, 0x80000300 | i, "15.20",
			    "EVENTINJ", VECTORS);
	for (i = 4; i < 6; i++)
		BAD(LONG, svm.injected = 0x80000300 | i, 0x80000300 | i, "15.20", "EVENTINJ",
		    "its vector cannot be 4 or 5 in 64-bit code");
	BAD(LONG, c->asid = 0, 0, "15.5.1", "ASID", "must not be 0, which is the host's");
	BAD(LONG, c->nested_cr3 |= 1ULL << 52, c->nested_cr3, "15.25.4", "nCR3",
	    "bits 0x10000000000000 must be 0");
	BAD(LONG, s->g_pat = 2, 2, "15.25.4", "G_PAT", "each byte must be 0, 1, 4, 5, 6 or 7");
	BAD(LONG, s->g_pat = 3ULL << 56, 3ULL << 56, "15.25.4", "G_PAT",
	    "each byte must be 0, 1, 4, 5, 6 or 7");
	BAD(LONG, s->g_pat = 0x800, 0x800, "15.25.4", "G_PAT",
	    "each byte must be 0, 1, 4, 5, 6 or 7");
}

UNIT_TEST(first_of_several)
{
	struct cleave_refusal r;

	legal(LONG);
	c->asid = 0;
	s->dr7 = ~0ULL;
	CHECK(check(&r) && !strcmp(r.field, "DR7"));
	s->efer = 0;
	CHECK(check(&r) && !strcmp(r.field, "EFER") && !strcmp(r.legal, "bits 0x1000 must be 1"));
}
