// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: which rule of a VM entry the VMCS breaks: SDM vol. 3C chapter 27's
 * checks of the fields and controls that cleave uses.
 */
#include <linux/kernel.h>
#include <asm/msr.h>
#include <asm/processor.h>
#include <asm/trapnr.h>
#include "vmcs.h"

#define HIGH_HALF	GENMASK_ULL(63, 32)
#define ABOVE_16	GENMASK_ULL(63, 16)
#define EFER_NONE	(~(u64)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NX))
#define CR4_CET		BIT_ULL(23)
#define PENDING_BS	BIT(14)
#define EVENT		VM_ENTRY_INTR_INFO_FIELD
#define STATE		GUEST_INTERRUPTIBILITY_INFO
#define SHADOW		(GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)
#define EPTP_BITS	(VMX_EPTP_MT_WB | VMX_EPTP_PWL_4)
#define ERROR_CODES	(BIT(X86_TRAP_DF) | BIT(X86_TRAP_TS) | BIT(X86_TRAP_NP) | \
			 BIT(X86_TRAP_SS) | BIT(X86_TRAP_GP) | BIT(X86_TRAP_PF) | \
			 BIT(X86_TRAP_AC))

enum kind {
	BITS,
	CANONICAL,
	PHYSICAL,	/* and @clear clear */
	TYPES,		/* of memory, a byte each: SDM vol. 3A table 12-10 */
};

/* When a rule applies: all of these. */
enum {
	ALWAYS, LMA = BIT(0), NOT_LMA = BIT(1), CODE64 = BIT(2), NOT_CODE64 = BIT(3),
	PG = BIT(4), NOT_WP = BIT(5), LME = BIT(6), NOT_LME = BIT(7), NO_VM86 = BIT(8),
	INJECT = BIT(9), EXTINT = BIT(10), NMI = BIT(11), EXCEPTION = BIT(12),
	NO_SUCH_TYPE = BIT(13), CODE = BIT(14), NO_CODE = BIT(15), NOT_IF = BIT(16),
	TF = BIT(17), NOT_TF = BIT(18), IN_SHADOW = BIT(19), BOTH_SHADOWS = BIT(20),
	NO_VPID = BIT(21),
};

/* Then @set are set and @clear clear in the field. */
struct rule {
	const char *section;
	const char *name;
	u32 field;
	enum kind kind;
	u32 when;
	u64 set, clear;
};

static const struct rule rules[] = {
	{ "27.2.1.1", "pin-based controls", PIN_BASED_VM_EXEC_CONTROL, BITS, ALWAYS,
	  PIN_BASED_NMI_EXITING | PIN_BASED_VIRTUAL_NMIS },
	{ "27.2.1.1", "MSR bitmap", MSR_BITMAP, PHYSICAL, ALWAYS, 0, 0xfff },
	{ "27.2.1.1", "EPTP", EPT_POINTER, PHYSICAL, ALWAYS, EPTP_BITS, 0xfa1 },
	{ "27.2.1.1", "VPID", VIRTUAL_PROCESSOR_ID, BITS, NO_VPID, 0xffff },
	{ "27.2.1.2", "exit's MSR-load address", VM_EXIT_MSR_LOAD_ADDR, PHYSICAL, ALWAYS, 0, 15 },
	{ "27.2.1.3", "entry's MSR-load address", VM_ENTRY_MSR_LOAD_ADDR, PHYSICAL, ALWAYS, 0, 15 },
	{ "27.2.1.3", "event's type", EVENT, BITS, NO_SUCH_TYPE, 0, 0x700 },
	{ "27.2.1.3", "event", EVENT, BITS, INJECT, 0, 0x7ffff000 },
	{ "27.2.1.3", "NMI's vector", EVENT, BITS, NMI, 2, 0xfd },
	{ "27.2.1.3", "exception's vector", EVENT, BITS, EXCEPTION, 0, 0xe0 },
	{ "27.2.1.3", "event, by its vector and CR0.PE", EVENT, BITS, CODE, 0x800 },
	{ "27.2.1.3", "event without error code", EVENT, BITS, NO_CODE, 0, 0x800 },
	{ "27.2.1.3", "error code", VM_ENTRY_EXCEPTION_ERROR_CODE, BITS, CODE, 0, ABOVE_16 },
	{ "27.2.2", "host CR0", HOST_CR0, BITS, ALWAYS, X86_CR0_PE | X86_CR0_PG | X86_CR0_NE },
	{ "27.2.2", "host CR4", HOST_CR4, BITS, ALWAYS, X86_CR4_PAE | X86_CR4_VMXE },
	{ "27.2.2", "host CR3", HOST_CR3, PHYSICAL },
	{ "27.2.2", "host SYSENTER_ESP", HOST_IA32_SYSENTER_ESP, CANONICAL },
	{ "27.2.2", "host SYSENTER_EIP", HOST_IA32_SYSENTER_EIP, CANONICAL },
	{ "27.2.2", "host PAT", HOST_IA32_PAT, TYPES },
	{ "27.2.2", "host EFER", HOST_IA32_EFER, BITS, ALWAYS, EFER_LMA | EFER_LME, EFER_NONE },
	{ "27.2.3", "host CS", HOST_CS_SELECTOR, BITS, ALWAYS, __KERNEL_CS, 7 },
	{ "27.2.3", "host TR", HOST_TR_SELECTOR, BITS, ALWAYS, GDT_ENTRY_TSS * 8, 7 },
	{ "27.2.3", "host FS base", HOST_FS_BASE, CANONICAL },
	{ "27.2.3", "host GS base", HOST_GS_BASE, CANONICAL },
	{ "27.2.3", "host GDTR base", HOST_GDTR_BASE, CANONICAL },
	{ "27.2.3", "host IDTR base", HOST_IDTR_BASE, CANONICAL },
	{ "27.2.3", "host TR base", HOST_TR_BASE, CANONICAL },
	{ "27.2.4", "host RIP", HOST_RIP, CANONICAL },
	{ "27.3.1.1", "CR0, with PG", GUEST_CR0, BITS, PG, X86_CR0_PE },
	{ "27.3.1.1", "CR0, in IA-32e mode", GUEST_CR0, BITS, LMA, X86_CR0_PG },
	{ "27.3.1.1", "CR4, in IA-32e mode", GUEST_CR4, BITS, LMA, X86_CR4_PAE },
	{ "27.3.1.1", "CR4, outside IA-32e mode", GUEST_CR4, BITS, NOT_LMA, 0, X86_CR4_PCIDE },
	{ "27.3.1.1", "CR4, without CR0.WP", GUEST_CR4, BITS, NOT_WP, 0, CR4_CET },
	{ "27.3.1.1", "CR3", GUEST_CR3, PHYSICAL },
	{ "27.3.1.1", "DEBUGCTL", GUEST_IA32_DEBUGCTL, BITS, ALWAYS, 0, ~0xffc3ULL },
	{ "27.3.1.1", "DR7", GUEST_DR7, BITS, ALWAYS, 0, HIGH_HALF },
	{ "27.3.1.1", "SYSENTER_ESP", GUEST_SYSENTER_ESP, CANONICAL },
	{ "27.3.1.1", "SYSENTER_EIP", GUEST_SYSENTER_EIP, CANONICAL },
	{ "27.3.1.1", "PAT", GUEST_IA32_PAT, TYPES },
	{ "27.3.1.1", "EFER", GUEST_IA32_EFER, BITS, ALWAYS, 0, EFER_NONE },
	{ "27.3.1.1", "EFER, in IA-32e mode", GUEST_IA32_EFER, BITS, LMA, EFER_LMA },
	{ "27.3.1.1", "EFER, outside IA-32e mode", GUEST_IA32_EFER, BITS, NOT_LMA, 0, EFER_LMA },
	{ "27.3.1.1", "EFER, with LME and PG", GUEST_IA32_EFER, BITS, PG | LME, EFER_LMA },
	{ "27.3.1.1", "EFER, with PG, no LME", GUEST_IA32_EFER, BITS, PG | NOT_LME, 0, EFER_LMA },
	{ "27.3.1.3", "GDTR base", GUEST_GDTR_BASE, CANONICAL },
	{ "27.3.1.3", "IDTR base", GUEST_IDTR_BASE, CANONICAL },
	{ "27.3.1.3", "GDTR limit", GUEST_GDTR_LIMIT, BITS, ALWAYS, 0, ABOVE_16 },
	{ "27.3.1.3", "IDTR limit", GUEST_IDTR_LIMIT, BITS, ALWAYS, 0, ABOVE_16 },
	{ "27.3.1.4", "RIP", GUEST_RIP, CANONICAL, CODE64 },
	{ "27.3.1.4", "RIP, outside 64-bit code", GUEST_RIP, BITS, NOT_CODE64, 0, HIGH_HALF },
	{ "27.3.1.4", "RFLAGS", GUEST_RFLAGS, BITS, ALWAYS, X86_EFLAGS_FIXED, ~0x3f7fd7ULL },
	{ "27.3.1.4", "RFLAGS, in this mode", GUEST_RFLAGS, BITS, NO_VM86, 0, X86_EFLAGS_VM },
	{ "27.3.1.4", "RFLAGS, with an interrupt", GUEST_RFLAGS, BITS, EXTINT, X86_EFLAGS_IF },
	{ "27.3.1.5", "activity", GUEST_ACTIVITY_STATE, BITS, ALWAYS, 0, ~0ULL },
	{ "27.3.1.5", "interruptibility", STATE, BITS, ALWAYS, 0, ~0x1fULL },
	{ "27.3.1.5", "both shadows", STATE, BITS, BOTH_SHADOWS, 0, SHADOW },
	{ "27.3.1.5", "STI's shadow, without IF", STATE, BITS, NOT_IF, 0, 1 },
	{ "27.3.1.5", "shadow of an interrupt", STATE, BITS, EXTINT, 0, SHADOW },
	{ "27.3.1.5", "shadow or mask of an NMI", STATE, BITS, NMI, 0, SHADOW | 8 },
	{ "27.3.1.5", "pending #DB, with TF in a shadow", GUEST_PENDING_DBG_EXCEPTIONS, BITS,
	  IN_SHADOW | TF, PENDING_BS },
	{ "27.3.1.5", "pending #DB, without TF in a shadow", GUEST_PENDING_DBG_EXCEPTIONS, BITS,
	  IN_SHADOW | NOT_TF, 0, PENDING_BS },
	{ "27.3.1.5", "VMCS link pointer", VMCS_LINK_POINTER, BITS, ALWAYS, ~0ULL },
};

/* One check, and where its result goes. */
struct check {
	struct cleave_refusal *found;
	u32 now;		/* what of @when is true */
};

static u32 either(bool cond, u32 yes, u32 no)
{
	return cond ? yes : no;
}

static u32 conditions(void)
{
	u32 info = vmcs_read(EVENT), type = info & INTR_INFO_INTR_TYPE_MASK;
	u32 state = vmcs_read(STATE), now;
	u64 cr0 = vmcs_read(GUEST_CR0), rflags = vmcs_read(GUEST_RFLAGS);
	bool lma = vmcs_read(VM_ENTRY_CONTROLS) & VM_ENTRY_IA32E_MODE, pe = cr0 & X86_CR0_PE, code;

	now = either(lma, LMA, NOT_LMA) | either(cr0 & X86_CR0_PG, PG, 0) |
	      either(lma && (vmcs_read(GUEST_CS_AR_BYTES) & CLEAVE_AR_L), CODE64, NOT_CODE64) |
	      either(vmcs_read(GUEST_IA32_EFER) & EFER_LME, LME, NOT_LME) |
	      either(cr0 & X86_CR0_WP, 0, NOT_WP) | either(lma || !pe, NO_VM86, 0) |
	      either(rflags & X86_EFLAGS_TF, TF, NOT_TF) |
	      either(rflags & X86_EFLAGS_IF, 0, NOT_IF) | either(state & SHADOW, IN_SHADOW, 0) |
	      either((state & SHADOW) == SHADOW, BOTH_SHADOWS, 0) |
	      either(vmcs_read(VIRTUAL_PROCESSOR_ID), 0, NO_VPID);
	if (!(info & INTR_INFO_VALID_MASK))
		return now;
	code = type == INTR_TYPE_HARD_EXCEPTION && pe && (ERROR_CODES >> (info & 31) & 1);
	return now | INJECT | either(code, CODE, NO_CODE) |
	       either(type == INTR_TYPE_EXT_INTR, EXTINT, 0) |
	       either(type == INTR_TYPE_NMI_INTR, NMI, 0) |
	       either(type == INTR_TYPE_HARD_EXCEPTION, EXCEPTION, 0) |
	       either(type == INTR_TYPE_RESERVED || type == INTR_TYPE_OTHER_EVENT, NO_SUCH_TYPE, 0);
}

static bool canonical(u64 val)
{
	u32 shift = 64 - boot_cpu_data.x86_virt_bits;

	return (u64)((s64)(val << shift) >> shift) == val;
}

static bool types_ok(u64 val)
{
	int i;

	for (i = 0; i < 8; i++, val >>= 8)
		if ((u8)val > 7 || !(0xf3 & BIT(val & 7)))
			return false;
	return true;
}

static bool broken(const struct check *c, const struct rule *r)
{
	u64 val = vmcs_read(r->field), clear = val & r->clear, set = r->set & ~val;
	const char *how;

	if (r->kind == PHYSICAL)
		clear |= val & (~0ULL << boot_cpu_data.x86_phys_bits);
	if (r->when & ~c->now)
		return false;
	if (clear)
		how = "bits 0x%llx must be 0";
	else if (set)
		how = "bits 0x%llx must be 1";
	else if (r->kind == CANONICAL && !canonical(val))
		how = "must be canonical";
	else if (r->kind == TYPES && !types_ok(val))
		how = "each byte must be 0, 1, 4, 5, 6 or 7";
	else
		return false;
	c->found->value = val;
	snprintf(c->found->section, sizeof(c->found->section), "SDM vol. 3C %s", r->section);
	strscpy(c->found->field, r->name, sizeof(c->found->field));
	snprintf(c->found->legal, sizeof(c->found->legal), how, clear ?: set);
	return true;
}

/* Whose bits the CPU tells at run time. */
static bool cpu_bits_broken(const struct check *c)
{
	const struct vmx_caps *v = &vmx_caps;
	const struct rule cr0 = { "27.3.1.1", "CR0", GUEST_CR0, BITS, ALWAYS,
				  v->cr0_fixed0, ~v->cr0_fixed1 };
	const struct rule cr4 = { "27.3.1.1", "CR4", GUEST_CR4, BITS, ALWAYS,
				  v->cr4_fixed0, ~v->cr4_fixed1 };
	struct rule pdpte = { "27.3.1.6", "PDPTE", GUEST_PDPTR0, PHYSICAL, PG | NOT_LMA, 0, 0x1e6 };
	bool pae = vmcs_read(GUEST_CR4) & X86_CR4_PAE;
	int i;

	for (i = 0; i < VMX_CONTROLS; i++) {
		const struct vmx_control *v = &vmx_controls[i];
		u64 cap = vmx_control_cap(i);
		const struct rule r = { v->section, v->name, v->field, BITS, ALWAYS,
					(u32)cap, ~cap >> 32 };

		if (broken(c, &r))
			return true;
	}
	for (; pae && pdpte.field <= GUEST_PDPTR3; pdpte.field += 2)
		if ((vmcs_read(pdpte.field) & 1) && broken(c, &pdpte))
			return true;
	return broken(c, &cr0) || broken(c, &cr4);
}

/* In the order of their fields; types they may have, by bit (SDM vol. 3C 27.3.1.2). */
enum { ES, CS, SS, DS, FS, GS, LDTR, TR, SEGS };
#define DATA_TYPES (BIT(1) | BIT(3) | BIT(5) | BIT(7) | BIT(11) | BIT(15))
static const struct {
	const char *name;
	u16 types;
} segs[SEGS] = {
	[ES] = { "ES", DATA_TYPES }, [DS] = { "DS", DATA_TYPES },
	[FS] = { "FS", DATA_TYPES }, [GS] = { "GS", DATA_TYPES },
	[CS] = { "CS", BIT(3) | BIT(9) | BIT(11) | BIT(13) | BIT(15) },
	[SS] = { "SS", BIT(3) | BIT(7) },
	[LDTR] = { "LDTR", BIT(2) }, [TR] = { "TR", BIT(3) | BIT(11) },
};

/* 0 for data, the CPL for code, not above it for conforming code. */
static u32 cs_dpl(u32 ar, u32 cpl)
{
	return !(ar & 8) ? 0 : !(ar & 4) ? cpl : min(ar & CLEAVE_AR_DPL, cpl);
}

static bool segment_broken(const struct check *c, int i)
{
	struct rule ar = { "27.3.1.2", segs[i].name, GUEST_ES_AR_BYTES + 2 * i };
	struct rule base = { "27.3.1.2", segs[i].name, GUEST_ES_BASE + 2 * i };
	struct rule limit = { "27.3.1.2", segs[i].name, GUEST_ES_LIMIT + 2 * i };
	struct rule sel = { "27.3.1.2", segs[i].name, GUEST_ES_SELECTOR + 2 * i };
	u32 val = vmcs_read(ar.field), cpl = vmcs_read(GUEST_SS_AR_BYTES) & CLEAVE_AR_DPL;
	u32 dpl = cs_dpl(val, cpl);
	bool type_ok = segs[i].types >> (val & CLEAVE_AR_TYPE) & 1, lma = c->now & LMA;

	if (i < LDTR && (vmcs_read(GUEST_RFLAGS) & X86_EFLAGS_VM)) {
		base.set = vmcs_read(sel.field) << 4;
		base.clear = ~base.set;
		limit.set = 0xffff;
		ar.set = 0xf3;
		ar.clear = ~ar.set;
		return broken(c, &ar) || broken(c, &base) || broken(c, &limit);
	}
	if (!(val & CLEAVE_AR_UNUSABLE)) {
		ar.set = CLEAVE_AR_P | (i < LDTR ? CLEAVE_AR_S : 0);
		ar.clear = 0xfffe0f00 | (CLEAVE_AR_S & ~ar.set) | (type_ok ? 0 : CLEAVE_AR_TYPE);
		sel.clear = i < LDTR ? 0 : 4;
		base.clear = i < FS ? HIGH_HALF : 0;
		limit.set = val & CLEAVE_AR_G ? 0xfff : 0;
		limit.clear = val & CLEAVE_AR_G ? 0 : ~0xfffffULL;
	}
	if (i == FS || i == GS || (i >= LDTR && !(val & CLEAVE_AR_UNUSABLE)))
		base.kind = CANONICAL;
	if (i == SS && !(vmcs_read(GUEST_CR0) & X86_CR0_PE))
		ar.clear |= CLEAVE_AR_DPL;
	if (i == CS || i == TR)
		ar.clear |= CLEAVE_AR_UNUSABLE;
	if (i == TR && lma)
		ar.set |= 8;		/* no 16-bit TSS */
	if (i == CS) {
		ar.set |= dpl;
		ar.clear |= CLEAVE_AR_DPL & ~dpl;
		ar.clear |= lma && (val & CLEAVE_AR_L) ? CLEAVE_AR_DB : 0;
	}
	return broken(c, &ar) || broken(c, &base) || broken(c, &limit) || broken(c, &sel);
}

bool vmx_check(struct clv_vcpu *vcpu, struct cleave_refusal *r)
{
	struct check c = { r };
	bool found;
	int i;

	preempt_disable();
	vmx_vcpu_load(vcpu);
	c.now = conditions();
	found = cpu_bits_broken(&c);
	for (i = 0; i < ARRAY_SIZE(rules) && !found; i++)
		found = broken(&c, &rules[i]);
	for (i = 0; i < SEGS && !found; i++)
		found = segment_broken(&c, i);
	vmx_vcpu_put(vcpu);
	preempt_enable();
	if (found || !to_vmx(vcpu)->failed)
		return found;
	r->value = to_vmx(vcpu)->qualification;
	strscpy(r->section, "SDM vol. 3C 31.4", sizeof(r->section));
	strscpy(r->field, "VM-instruction error", sizeof(r->field));
	return true;
}
