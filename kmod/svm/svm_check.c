// SPDX-License-Identifier: GPL-2.0
/* cleave: which rule of VMRUN's the guest state breaks, APM vol. 2 15.5.1. */
#include <linux/kernel.h>
#include <linux/string.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>
#include "vmcb.h"

#define CR4_DEFINED	0xf71fffULL	/* APM vol. 2 3.1.3 */
#define EFER_DEFINED	0x36fd01ULL	/* APM vol. 2 3.1.7 */
#define HIGH_HALF	GENMASK_ULL(63, 32)

struct rule {
	bool broken;
	u64 value;
	const char *text;
};

/* APM vol. 2 15.20: event types, and exceptions that the mode can raise. */
static bool event_illegal(u32 ev, bool code64)
{
	u32 type = ev & SVM_EVTINJ_TYPE_MASK, vector = ev & SVM_EVTINJ_VEC_MASK;

	if (!(ev & SVM_EVTINJ_VALID))
		return false;
	if (type == SVM_EVTINJ_TYPE_EXEPT)
		return vector > 31 || vector == X86_TRAP_NMI ||
		       (code64 && (vector == X86_TRAP_OF || vector == X86_TRAP_BR));
	return type != SVM_EVTINJ_TYPE_INTR && type != SVM_EVTINJ_TYPE_NMI &&
	       type != SVM_EVTINJ_TYPE_SOFT;
}

/* Eight memory types, none of them reserved (APM vol. 2 7.8.1). */
static bool pat_illegal(u64 pat)
{
	int i;

	for (i = 0; i < 64; i += 8) {
		u8 type = pat >> i;

		if (type > 7 || type == 2 || type == 3)
			return true;
	}
	return false;
}

bool svm_check(struct clv_vcpu *vcpu, struct cleave_refusal *r)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	const struct vmcb_control_area *c = &svm->vmcb->control;
	const struct vmcb_save_area *s = &svm->vmcb->save;
	bool lme_pg = (s->efer & EFER_LME) && (s->cr0 & X86_CR0_PG);
	bool cs_l = s->cs.attrib & SVM_SELECTOR_L_MASK, cs_d = s->cs.attrib & SVM_SELECTOR_DB_MASK;
	u64 cr3_high = GENMASK_ULL(63, 0) << boot_cpu_data.x86_phys_bits;
	const struct rule rules[] = {
		{ !(s->efer & EFER_SVME), s->efer, "EFER.SVME is 0; must be 1" },
		{ s->efer & ~EFER_DEFINED, s->efer, "EFER has reserved bits set; must be 0" },
		{ !(s->cr0 & X86_CR0_CD) && (s->cr0 & X86_CR0_NW), s->cr0,
		  "CR0.CD is 0 and CR0.NW is 1; set CD or clear NW" },
		{ s->cr0 & HIGH_HALF, s->cr0, "CR0[63:32] are not 0" },
		{ s->cr4 & ~CR4_DEFINED, s->cr4, "CR4 has reserved bits set; must be 0" },
		{ lme_pg && (s->cr3 & cr3_high), s->cr3, "CR3 is above all physical addresses" },
		{ s->dr6 & HIGH_HALF, s->dr6, "DR6[63:32] are not 0" },
		{ s->dr7 & HIGH_HALF, s->dr7, "DR7[63:32] are not 0" },
		{ lme_pg && !(s->cr4 & X86_CR4_PAE), s->cr4,
		  "EFER.LME and CR0.PG are 1 and CR4.PAE is 0; long mode needs PAE" },
		{ lme_pg && !(s->cr0 & X86_CR0_PE), s->cr0,
		  "EFER.LME and CR0.PG are 1 and CR0.PE is 0; long mode needs PE" },
		{ lme_pg && cs_l && cs_d, s->cs.attrib,
		  "CS.L and CS.D are both 1 in long mode; clear one" },
		{ (s->cr4 & BIT_ULL(23)) && !(s->cr0 & X86_CR0_WP), s->cr4,
		  "CR4.CET is 1 and CR0.WP is 0; set WP" },
		{ !(c->intercepts[INTERCEPT_WORD4] & BIT(INTERCEPT_VMRUN % 32)),
		  c->intercepts[INTERCEPT_WORD4], "the VMRUN intercept is 0; must be 1" },
		{ !c->asid, c->asid, "ASID is 0, which is the host's" },
		{ event_illegal(svm->injected, lme_pg && cs_l), svm->injected,
		  "EVENTINJ asks for an event that cannot be (15.20)" },
		{ pat_illegal(s->g_pat), s->g_pat,
		  "G_PAT has a reserved memory type (15.25.4); legal are 0, 1, 4, 5, 6, 7" },
		{ c->nested_cr3 & 0xfff, c->nested_cr3, "nCR3 has reserved bits set (15.25.3)" },
	};
	int i;

	for (i = 0; i < ARRAY_SIZE(rules); i++) {
		if (!rules[i].broken)
			continue;
		strscpy(r->section, "APM vol. 2 15.5.1", sizeof(r->section));
		strscpy(r->legal, rules[i].text, sizeof(r->legal));
		r->value = rules[i].value;
		return true;
	}
	return false;
}
