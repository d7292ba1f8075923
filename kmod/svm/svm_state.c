// SPDX-License-Identifier: GPL-2.0
/* cleave: guest registers between their neutral form and the VMCB. */
#include "vmcb.h"

/*
 * VMCB attributes are bits 55:52 and 47:40 of a descriptor (APM vol. 2 15.5), the neutral form
 * leaves a gap between the two and has a bit for "unusable", which is a clear P bit here.
 */
static struct cleave_segment from_vmcb(const struct vmcb_seg *v)
{
	return (struct cleave_segment) {
		.selector = v->selector, .base = v->base, .limit = v->limit,
		.ar = (v->attrib & 0xff) | (v->attrib & 0xf00) << 4 |
		      (v->attrib & SVM_SELECTOR_P_MASK ? 0 : CLEAVE_AR_UNUSABLE) };
}

static struct vmcb_seg to_vmcb(const struct cleave_segment *s)
{
	return (struct vmcb_seg) {
		.selector = s->selector, .base = s->base, .limit = s->limit,
		.attrib = ((s->ar & 0xff) | (s->ar >> 4 & 0xf00)) &
			  ~(s->ar & CLEAVE_AR_UNUSABLE ? SVM_SELECTOR_P_MASK : 0) };
}

#define SAVE(field)	offsetof(struct vmcb_save_area, field)

/* In the order of struct cleave_sregs. */
static const u16 segs[] = {
	SAVE(cs), SAVE(ds), SAVE(es), SAVE(fs), SAVE(gs), SAVE(ss), SAVE(tr), SAVE(ldtr),
};

static void pull_segs(struct cleave_sregs *s, struct vmcb_save_area *v)
{
	struct cleave_segment *seg = &s->cs;
	int i;

	for (i = 0; i < ARRAY_SIZE(segs); i++)
		seg[i] = from_vmcb((void *)v + segs[i]);
	/* CS.G may be missing, TR not be marked busy, SS.DPL is CPL's alone. */
	if (s->cs.limit > 0xfffff)
		s->cs.ar |= CLEAVE_AR_G;
	s->tr.ar |= 2;
	s->ss.ar = (s->ss.ar & ~CLEAVE_AR_DPL) | v->cpl << 5;
	s->gdt = (struct cleave_dtable) { .base = v->gdtr.base, .limit = v->gdtr.limit };
	s->idt = (struct cleave_dtable) { .base = v->idtr.base, .limit = v->idtr.limit };
}

static void push_segs(struct svm_vcpu *svm)
{
	const struct cleave_sregs *s = &svm->vcpu.sregs;
	const struct cleave_segment *seg = &s->cs;
	struct vmcb_save_area *v = &svm->vmcb->save;
	int i;

	for (i = 0; i < ARRAY_SIZE(segs); i++)
		*(struct vmcb_seg *)((void *)v + segs[i]) = to_vmcb(&seg[i]);
	v->cpl = (s->ss.ar & CLEAVE_AR_DPL) >> 5;
	v->gdtr = (struct vmcb_seg) { .base = s->gdt.base, .limit = s->gdt.limit };
	v->idtr = (struct vmcb_seg) { .base = s->idt.base, .limit = s->idt.limit };
	svm_dirty(svm, CLEAN_SEG | CLEAN_DT);
}

/*
 * The real CR0 has CD and NW clear, as caching is not the guest's to switch off, the real CR4 has
 * MCE set, as machine checks are the host's. Writes exit always, so what the guest sees is known;
 * reads exit while there is a difference to see.
 */
static void push_crs(struct svm_vcpu *svm)
{
	const struct cleave_sregs *s = &svm->vcpu.sregs;
	struct vmcb_save_area *v = &svm->vmcb->save;

	v->cr0 = s->cr0 & ~(X86_CR0_CD | X86_CR0_NW);
	v->cr2 = s->cr2;
	v->cr3 = s->cr3;
	v->cr4 = s->cr4 | X86_CR4_MCE;
	v->efer = s->efer | EFER_SVME;
	/*
	 * QEMU's emulated #VMEXIT loads the host's CR0 first, and leaves the guest's where that
	 * one has EFER.LME, but neither paging nor PAE: the host is lost then. Without paging LME
	 * does nothing, and what the guest reads is not this one.
	 */
	if (svm_on_tcg && !(s->cr0 & X86_CR0_PG))
		v->efer &= ~(u64)EFER_LME;
	svm_intercept(svm, INTERCEPT_CR0_READ, v->cr0 != s->cr0);
	svm_intercept(svm, INTERCEPT_CR4_READ, v->cr4 != s->cr4);
	svm_dirty(svm, CLEAN_CR | CLEAN_CR2);
}

void svm_regs_pull(struct clv_vcpu *vcpu, u32 groups)
{
	struct vmcb_save_area *v = &to_svm(vcpu)->vmcb->save;

	if (groups & CLV_REG_SEGS)
		pull_segs(&vcpu->sregs, v);
	/* CR0, CR4 and EFER are as they were pushed: all writes of them exit. */
	if (groups & CLV_REG_CRS) {
		vcpu->sregs.cr2 = v->cr2;
		vcpu->sregs.cr3 = v->cr3;
	}
}

void svm_regs_push(struct clv_vcpu *vcpu, u32 groups)
{
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_save_area *v = &svm->vmcb->save;

	v->rip = vcpu->regs.rip;	/* always here, CLV_REG_KEPT */
	v->rsp = vcpu->regs.rsp;
	v->rflags = vcpu->regs.rflags;
	if (groups & CLV_REG_SEGS)
		push_segs(svm);
	if (groups & CLV_REG_CRS)
		push_crs(svm);
	if (groups & CLV_REG_DEBUG) {
		v->dr6 = vcpu->debug.dr6;
		v->dr7 = vcpu->debug.dr7;
		svm_dirty(svm, CLEAN_DR);
	}
}

const struct svm_msr svm_msrs[] = {
	{ MSR_STAR, SAVE(star) }, { MSR_LSTAR, SAVE(lstar) }, { MSR_CSTAR, SAVE(cstar) },
	{ MSR_SYSCALL_MASK, SAVE(sfmask) }, { MSR_KERNEL_GS_BASE, SAVE(kernel_gs_base) },
	{ MSR_IA32_SYSENTER_CS, SAVE(sysenter_cs) }, { MSR_IA32_SYSENTER_ESP, SAVE(sysenter_esp) },
	{ MSR_IA32_SYSENTER_EIP, SAVE(sysenter_eip) },
	{ MSR_FS_BASE, SAVE(fs.base) }, { MSR_GS_BASE, SAVE(gs.base) },
	{}
};

/* FS and GS bases are cached with the segments: the core does not ask for those. */
u64 *svm_msr_field(struct clv_vcpu *vcpu, u32 msr)
{
	const struct svm_msr *m;

	for (m = svm_msrs; m->index; m++)
		if (m->index == msr)
			return (void *)&to_svm(vcpu)->vmcb->save + m->offset;
	return NULL;
}
