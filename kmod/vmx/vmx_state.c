// SPDX-License-Identifier: GPL-2.0
/* cleave: guest registers between their neutral form and the VMCS. */
#include "vmcs.h"

/* Bits that a guest changes without an exit. */
#define CR0_OWNED	X86_CR0_TS

static u64 cr4_owned(struct clv_vcpu *vcpu)
{
	return X86_CR4_PGE & ~vcpu->caps.cr4_reserved;
}

/* The VMCS has ES, CS, SS, DS, FS, GS, LDTR, TR side by side in each group (SDM vol. 3D B). */
static const u8 seg_field[] = { 2, 6, 0, 8, 10, 4, 14, 12 };

static void pull_segs(struct cleave_sregs *sregs)
{
	struct cleave_segment *s = &sregs->cs;	/* to ldt: eight in a row */
	int i;

	for (i = 0; i < ARRAY_SIZE(seg_field); i++)
		s[i] = (struct cleave_segment) {
			.selector = vmcs_read(GUEST_ES_SELECTOR + seg_field[i]),
			.base = vmcs_read(GUEST_ES_BASE + seg_field[i]),
			.limit = vmcs_read(GUEST_ES_LIMIT + seg_field[i]),
			.ar = vmcs_read(GUEST_ES_AR_BYTES + seg_field[i]),
		};
	sregs->gdt.base = vmcs_read(GUEST_GDTR_BASE);
	sregs->gdt.limit = vmcs_read(GUEST_GDTR_LIMIT);
	sregs->idt.base = vmcs_read(GUEST_IDTR_BASE);
	sregs->idt.limit = vmcs_read(GUEST_IDTR_LIMIT);
}

static void push_segs(const struct cleave_sregs *sregs)
{
	const struct cleave_segment *s = &sregs->cs;
	int i;

	for (i = 0; i < ARRAY_SIZE(seg_field); i++) {
		vmcs_write(GUEST_ES_SELECTOR + seg_field[i], s[i].selector);
		vmcs_write(GUEST_ES_BASE + seg_field[i], s[i].base);
		vmcs_write(GUEST_ES_LIMIT + seg_field[i], s[i].limit);
		vmcs_write(GUEST_ES_AR_BYTES + seg_field[i], s[i].ar);
	}
	vmcs_write(GUEST_GDTR_BASE, sregs->gdt.base);
	vmcs_write(GUEST_GDTR_LIMIT, sregs->gdt.limit);
	vmcs_write(GUEST_IDTR_BASE, sregs->idt.base);
	vmcs_write(GUEST_IDTR_LIMIT, sregs->idt.limit);
}

/* PAE paging outside long mode: PDPTEs are registers, and in the VMCS (SDM vol. 3A 4.4.1). */
static bool has_pdptes(const struct cleave_sregs *s)
{
	return (s->cr0 & X86_CR0_PG) && (s->cr4 & X86_CR4_PAE) && !(s->efer & EFER_LMA);
}

static void pull_crs(struct clv_vcpu *vcpu)
{
	struct cleave_sregs *s = &vcpu->sregs;
	u64 cr4 = cr4_owned(vcpu);
	int i;

	s->cr0 = (vmcs_read(GUEST_CR0) & CR0_OWNED) |
		 (vmcs_read(CR0_READ_SHADOW) & ~(u64)CR0_OWNED);
	s->cr4 = (vmcs_read(GUEST_CR4) & cr4) | (vmcs_read(CR4_READ_SHADOW) & ~cr4);
	s->cr3 = vmcs_read(GUEST_CR3);
	s->efer = vmcs_read(GUEST_IA32_EFER);
	for (i = 0; has_pdptes(s) && i < 4; i++)
		vcpu->pdpte[i] = vmcs_read(GUEST_PDPTR0 + 2 * i);
}

/*
 * The real CR0 and CR4 have what VMX operation demands, CD and NW clear, as caching is not the
 * guest's to switch off, and MCE set, as machine checks are the host's; it reads the shadow.
 */
static void push_crs(struct clv_vcpu *vcpu)
{
	const struct cleave_sregs *s = &vcpu->sregs;
	u64 cr0 = (s->cr0 | vmx_caps.cr0_fixed0) & vmx_caps.cr0_fixed1;
	u64 cr4 = (s->cr4 | vmx_caps.cr4_fixed0 | X86_CR4_MCE) & vmx_caps.cr4_fixed1;
	int i;

	vmcs_write(GUEST_CR0, cr0 & ~(u64)(X86_CR0_CD | X86_CR0_NW));
	vmcs_write(CR0_READ_SHADOW, s->cr0);
	vmcs_write(CR0_GUEST_HOST_MASK, ~(u64)CR0_OWNED);
	vmcs_write(GUEST_CR4, cr4);
	vmcs_write(CR4_READ_SHADOW, s->cr4);
	vmcs_write(CR4_GUEST_HOST_MASK, ~cr4_owned(vcpu));
	vmcs_write(GUEST_CR3, s->cr3);
	vmcs_write(GUEST_IA32_EFER, s->efer);
	vmcs_write(VM_ENTRY_CONTROLS, vmx_caps.controls[VMX_ENTRY] |
		   (s->efer & EFER_LMA ? VM_ENTRY_IA32E_MODE : 0));
	for (i = 0; has_pdptes(s) && i < 4; i++)
		vmcs_write(GUEST_PDPTR0 + 2 * i, vcpu->pdpte[i]);
}

void vmx_regs_pull(struct clv_vcpu *vcpu, u32 groups)
{
	if (groups & CLV_REG_SEGS)
		pull_segs(&vcpu->sregs);
	if (groups & CLV_REG_CRS)
		pull_crs(vcpu);
	/* CR2: vmx_enter() keeps it right. */
}

static noinline void push_others(struct clv_vcpu *vcpu, u32 groups)
{
	if (groups & CLV_REG_RSP)
		vmcs_write(GUEST_RSP, vcpu->regs.rsp);
	if (groups & CLV_REG_RFLAGS)
		vmcs_write(GUEST_RFLAGS, vcpu->regs.rflags);
	if (groups & CLV_REG_SEGS)
		push_segs(&vcpu->sregs);
	if (groups & CLV_REG_CRS) {
		push_crs(vcpu);
		to_vmx(vcpu)->msrs_stale = true;	/* EFER.SCE */
	}
	if (groups & CLV_REG_DEBUG)
		vmcs_write(GUEST_DR7, vcpu->debug.dr7);
}

void vmx_regs_push(struct clv_vcpu *vcpu, u32 groups)
{
	if (unlikely(groups & ~CLV_REG_RIP))
		push_others(vcpu, groups);
	if (groups & CLV_REG_RIP)
		vmcs_write(GUEST_RIP, vcpu->regs.rip);
}

/* Guest writes to them exit. FS and GS bases are cached with the segments: the core's. */
const u32 vmx_msrs[VMX_MSRS] = {
	[VMX_STAR] = MSR_STAR, [VMX_LSTAR] = MSR_LSTAR, [VMX_SFMASK] = MSR_SYSCALL_MASK,
	[VMX_CSTAR] = MSR_CSTAR, [VMX_KERNEL_GS_BASE] = MSR_KERNEL_GS_BASE,
	[VMX_SYSENTER_CS] = MSR_IA32_SYSENTER_CS, [VMX_SYSENTER_ESP] = MSR_IA32_SYSENTER_ESP,
	[VMX_SYSENTER_EIP] = MSR_IA32_SYSENTER_EIP,
};

u64 *vmx_msr_field(struct clv_vcpu *vcpu, u32 msr)
{
	int i;

	to_vmx(vcpu)->msrs_stale = true;	/* the caller may change it */
	for (i = 0; i < VMX_MSRS; i++)
		if (vmx_msrs[i] == msr)
			return &to_vmx(vcpu)->msrs[i];
	return NULL;
}
