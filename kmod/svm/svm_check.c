// SPDX-License-Identifier: GPL-2.0
/* cleave: which of VMRUN's rules (APM vol. 2 15.5.1) the VMCB breaks, of the fields in use. */
#include <linux/mem_encrypt.h>
#include "vmcb.h"

#define HIGH_HALF	GENMASK_ULL(63, 32)
#define CR4_CET		BIT_ULL(23)
#define EXCEPTIONS	0x702f7dfb	/* vectors that are one, APM vol. 2 table 8-1 */
#define MSRPM_SIZE	0x2000
#define IOPM_SIZE	0x3000

/* Where it applies: @set are 1 and @clear 0; or, with @legal, it is broken. */
struct rule {
	bool applies;
	const char *section, *field;
	u64 value, set, clear;
	const char *legal;
};

bool svm_check(struct clv_vcpu *vcpu, struct cleave_refusal *out)
{
	const struct svm_vcpu *svm = to_svm(vcpu);
	const struct vmcb_control_area *c = &svm->vmcb->control;
	const struct vmcb_save_area *s = &svm->vmcb->save;
	u64 high = ~0ULL << boot_cpu_data.x86_phys_bits;
	u64 msrpm = __sme_clr(c->msrpm_base_pa), iopm = __sme_clr(c->iopm_base_pa);
	bool paged = (s->efer & EFER_LME) && (s->cr0 & X86_CR0_PG);
	bool cs_l = paged && (s->cs.attrib & SVM_SELECTOR_L_MASK);
	u32 event = svm->injected, type = event & SVM_EVTINJ_TYPE_MASK, vector = (u8)event;
	bool valid = event >> 31, exception = valid && type == SVM_EVTINJ_TYPE_EXEPT;
	const struct rule rules[] = {
		{ true, "15.5.1", "EFER", s->efer, EFER_SVME },
		{ !(s->cr0 & X86_CR0_CD), "15.5.1", "CR0, without CD", s->cr0, 0, X86_CR0_NW },
		{ true, "15.5.1", "CR0", s->cr0, 0, HIGH_HALF },
		{ true, "15.5.1", "CR3", s->cr3, 0, high },
		{ true, "15.5.1", "CR4", s->cr4, 0, vcpu->caps.cr4_reserved & ~X86_CR4_MCE },
		{ true, "15.5.1", "DR6", s->dr6, 0, HIGH_HALF },
		{ true, "15.5.1", "DR7", s->dr7, 0, HIGH_HALF },
		{ true, "15.5.1", "EFER", s->efer, 0, vcpu->caps.efer_reserved & ~EFER_SVME },
		{ paged, "15.5.1", "CR4, with LME and PG", s->cr4, X86_CR4_PAE },
		{ paged, "15.5.1", "CR0, with LME and PG", s->cr0, X86_CR0_PE },
		{ cs_l, "15.5.1", "CS attributes, with L", s->cs.attrib, 0, SVM_SELECTOR_DB_MASK },
		{ !(s->cr0 & X86_CR0_WP), "15.5.1", "CR4, without CR0.WP", s->cr4, 0, CR4_CET },
		{ true, "15.5.1", "intercepts at 0x10", c->intercepts[INTERCEPT_WORD4],
		  BIT(INTERCEPT_VMRUN % 32) },
		{ ((msrpm & PAGE_MASK) + MSRPM_SIZE - 1) & high, "15.5.1", "MSRPM_BASE_PA", msrpm,
		  .legal = "its 8 KiB must be below the end of physical addresses" },
		{ ((iopm & PAGE_MASK) + IOPM_SIZE - 1) & high, "15.5.1", "IOPM_BASE_PA", iopm,
		  .legal = "its 12 KiB must be below the end of physical addresses" },
		{ valid && (type == 1 << SVM_EVTINJ_TYPE_SHIFT || type > SVM_EVTINJ_TYPE_SOFT),
		  "15.20", "EVENTINJ", event,
		  .legal = "its type (bits 10:8) must be 0, 2, 3 or 4" },
		{ exception && (vector > 31 || !(EXCEPTIONS >> vector & 1)), "15.20", "EVENTINJ",
		  event, .legal = "its vector must be 0, 1, 3-8, 10-14, 16-19, 21 or 28-30" },
		{ exception && cs_l && (vector == X86_TRAP_OF || vector == X86_TRAP_BR), "15.20",
		  "EVENTINJ", event, .legal = "its vector cannot be 4 or 5 in 64-bit code" },
		{ !c->asid, "15.5.1", "ASID", c->asid,
		  .legal = "must not be 0, which is the host's" },
		{ true, "15.25.4", "nCR3", __sme_clr(c->nested_cr3), 0, high },
		{ !clv_types_ok(s->g_pat, CLV_PAT_TYPES), "15.25.4", "G_PAT", s->g_pat,
		  .legal = "each byte must be 0, 1, 4, 5, 6 or 7" },
	}, *r;

	for (r = rules; r < rules + ARRAY_SIZE(rules); r++) {
		u64 set = r->set & ~r->value, clear = r->value & r->clear;

		if (!r->applies || (!r->legal && !set && !clear))
			continue;
		snprintf(out->section, sizeof(out->section), "APM vol. 2 %s", r->section);
		strscpy(out->field, r->field, sizeof(out->field));
		snprintf(out->legal, sizeof(out->legal), r->legal ?: clear ?
			 "bits 0x%llx must be 0" : "bits 0x%llx must be 1", clear ?: set);
		out->value = r->value;
		return true;
	}
	return false;
}
