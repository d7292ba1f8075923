// SPDX-License-Identifier: GPL-2.0
/* cleave: which rule of a VM entry is broken: SDM vol. 3C chapter 27, of the fields in use. */
#include "vmcs.h"

#define FROM(bit)	(~0ULL << (bit))
#define EFER_NONE	(~(u64)(EFER_SCE | EFER_LME | EFER_LMA | EFER_NX))
#define CR4_CET		BIT_ULL(23)
#define DBG_BS		BIT(14)		/* SDM vol. 3C table 25-4 */
#define ANY_CODE	BIT_ULL(56)	/* IA32_VMX_BASIC, SDM vol. 3D A.1 */
#define EVENT		VM_ENTRY_INTR_INFO_FIELD
#define VALID		INTR_INFO_VALID_MASK
#define TYPE		(VALID | INTR_INFO_INTR_TYPE_MASK)
#define DELIVER		INTR_INFO_DELIVER_CODE_MASK
#define STATE		GUEST_INTERRUPTIBILITY_INFO
#define SHADOWS		(GUEST_INTR_STATE_STI | GUEST_INTR_STATE_MOV_SS)
#define DBG		GUEST_PENDING_DBG_EXCEPTIONS
#define PIN		PIN_BASED_VM_EXEC_CONTROL
#define PRIMARY		CPU_BASED_VM_EXEC_CONTROL
#define SECONDARY	SECONDARY_VM_EXEC_CONTROL
#define AR		GUEST_ES_AR_BYTES

/* Segments in the order of their fields, and groups of them. */
enum { ES, CS, SS, DS, FS, GS, LDTR, TR };
static const char segments[][6] = { "ES ", "CS ", "SS ", "DS ", "FS ", "GS ", "LDTR ", "TR " };
#define USER	(BIT(LDTR) - 1)
#define SYSTEM	(BIT(LDTR) | BIT(TR))

enum kind {
	BITS,		/* @set are 1, @clear are 0; beside that, or as these say: */
	CONTROL,	/* vmx_control_cap(@set) */
	CR0, CR4,	/* VMX operation */
	ERROR_CODE,	/* the event has one, or not */
	CS_DPL,		/* its type and SS.DPL */
	VM86_BASE,	/* the selector */
	PHYS,		/* nothing above physical addresses; */
	PDPTE,		/* if it is present */
	RANGE,		/* from @set to @clear */
	CANONICAL, RIP,
	AR_TYPE,	/* one of the bits of @set; */
	TYPES,		/* of memory, in each byte (SDM vol. 3A table 12-10) */
};

/* What is true of the VMCS, or of the segment that is looked at. */
enum {
	TIMER = BIT(0), NO_EXIT_MSR = BIT(1), NO_ENTRY_MSR = BIT(2), INJECT = BIT(3),
	EXTINT = BIT(4), NO_TYPE = BIT(5), NMI = BIT(6), HARD = BIT(7), DELIVERS = BIT(8),
	HOST_WP = BIT(9), PG = BIT(10), WP = BIT(11), PE = BIT(12), PAE = BIT(13), LMA = BIT(14),
	L = BIT(15), CS_DATA = BIT(16), VM86 = BIT(17), IF = BIT(18), TF = BIT(19),
	NO_SHADOW = BIT(20), BOTH = BIT(21), AD = BIT(22), USABLE = BIT(23), G = BIT(24),
};

#define ON(fact, field, bits)	{ fact, field, bits, bits }
static const struct {
	u32 fact, field, mask, is;
} facts[] = {
	{ NO_EXIT_MSR, VM_EXIT_MSR_LOAD_COUNT, -1 }, { NO_ENTRY_MSR, VM_ENTRY_MSR_LOAD_COUNT, -1 },
	ON(INJECT, EVENT, VALID), ON(DELIVERS, EVENT, VALID | DELIVER),
	{ EXTINT, EVENT, TYPE, VALID }, { NMI, EVENT, TYPE, VALID | INTR_TYPE_NMI_INTR },
	{ NO_TYPE, EVENT, TYPE, VALID | INTR_TYPE_RESERVED }, { NO_SHADOW, STATE, SHADOWS, 0 },
	{ HARD, EVENT, TYPE, VALID | INTR_TYPE_HARD_EXCEPTION }, ON(BOTH, STATE, SHADOWS),
	ON(TIMER, PIN, PIN_BASED_VMX_PREEMPTION_TIMER), ON(HOST_WP, HOST_CR0, X86_CR0_WP),
	ON(WP, GUEST_CR0, X86_CR0_WP), ON(PG, GUEST_CR0, X86_CR0_PG), ON(PE, GUEST_CR0, X86_CR0_PE),
	ON(PAE, GUEST_CR4, X86_CR4_PAE), ON(LMA, VM_ENTRY_CONTROLS, VM_ENTRY_IA32E_MODE),
	ON(L, GUEST_CS_AR_BYTES, CLEAVE_AR_L), { CS_DATA, GUEST_CS_AR_BYTES, 8, 0 },
	ON(VM86, GUEST_RFLAGS, X86_EFLAGS_VM), ON(IF, GUEST_RFLAGS, X86_EFLAGS_IF),
	ON(TF, GUEST_RFLAGS, X86_EFLAGS_TF),
};

/* Applies where all of @when is true and nothing of @unless; to each of @segs. */
struct rule {
	const char *name;
	u32 field;
	enum kind kind;
	u32 when, unless;
	u64 set, clear;
	u32 segs;
};

static const struct rule rules[] = {
	{ "27.2.1.1 pin-based controls", PIN, CONTROL, 0, 0, VMX_PIN },
	{ "27.2.1.1 primary controls", PRIMARY, CONTROL, 0, 0, VMX_PRIMARY },
	{ "27.2.1.1 secondary controls", SECONDARY, CONTROL, 0, 0, VMX_SECONDARY },
	{ "27.2.1.1 CR3-target count", CR3_TARGET_COUNT, RANGE, 0, 0, 0, 4 },
	{ "27.2.1.1 MSR bitmap", MSR_BITMAP, PHYS, 0, 0, 0, 0xfff },
	{ "27.2.1.1 pin-based controls", PIN, BITS, 0, 0, PIN_BASED_NMI_EXITING },
	{ "27.2.1.1 VPID", VIRTUAL_PROCESSOR_ID, RANGE, 0, 0, 1, 0xffff },
	{ "27.2.1.1 EPTP", EPT_POINTER, PHYS, 0, 0, VMX_EPTP_MT_WB | VMX_EPTP_PWL_4, 0xfa1 },
	{ "27.2.1.1 EPTP", EPT_POINTER, BITS, 0, AD, 0, VMX_EPTP_AD_ENABLE_BIT },
	{ "27.2.1.1 secondary controls", SECONDARY, BITS, 0, 0, SECONDARY_EXEC_ENABLE_EPT },
	{ "27.2.1.2 exit controls", VM_EXIT_CONTROLS, CONTROL, 0, 0, VMX_EXIT },
	{ "27.2.1.2 exit controls, without preemption timer", VM_EXIT_CONTROLS, BITS, 0, TIMER, 0,
	  VM_EXIT_SAVE_VMX_PREEMPTION_TIMER },
	{ "27.2.1.2 exit MSR-load area", VM_EXIT_MSR_LOAD_ADDR, PHYS, 0, NO_EXIT_MSR, 0, 15 },
	{ "27.2.1.3 entry controls", VM_ENTRY_CONTROLS, CONTROL, 0, 0, VMX_ENTRY },
	{ "27.2.1.3 entry MSR-load area", VM_ENTRY_MSR_LOAD_ADDR, PHYS, 0, NO_ENTRY_MSR, 0, 15 },
	{ "27.2.1.3 event's type", EVENT, BITS, NO_TYPE, 0, 0, INTR_TYPE_RESERVED },
	{ "27.2.1.3 NMI's vector", EVENT, BITS, NMI, 0, X86_TRAP_NMI, 0xfd },
	{ "27.2.1.3 exception's vector", EVENT, BITS, HARD, 0, 0, 0xe0 },
	{ "27.2.1.3 event", EVENT, ERROR_CODE, INJECT, 0, 0, 0x7ffff000 },
	{ "27.2.1.3 error code", VM_ENTRY_EXCEPTION_ERROR_CODE, BITS, DELIVERS, 0, 0, FROM(16) },
	{ "27.2.1.3 entry controls, outside SMM", VM_ENTRY_CONTROLS, BITS, 0, 0, 0,
	  VM_ENTRY_SMM | VM_ENTRY_DEACT_DUAL_MONITOR },
	{ "27.2.2 host CR0", HOST_CR0, CR0, 0, 0, X86_CR0_PE | X86_CR0_PG },
	{ "27.2.2 host CR4", HOST_CR4, CR4 },
	{ "27.2.2 host CR4, without CR0.WP", HOST_CR4, BITS, 0, HOST_WP, 0, CR4_CET },
	{ "27.2.2 host CR3", HOST_CR3, PHYS },
	{ "27.2.2 host SYSENTER_ESP", HOST_IA32_SYSENTER_ESP, CANONICAL },
	{ "27.2.2 host SYSENTER_EIP", HOST_IA32_SYSENTER_EIP, CANONICAL },
	{ "27.2.2 host PAT", HOST_IA32_PAT, TYPES, 0, 0, CLV_PAT_TYPES },
	{ "27.2.2 host EFER", HOST_IA32_EFER, BITS, 0, 0, EFER_LMA | EFER_LME, EFER_NONE },
	{ "27.2.3 host selector", HOST_ES_SELECTOR, BITS, 0, 0, 0, 7, USER },
	{ "27.2.3 TR host selector", HOST_TR_SELECTOR, BITS, 0, 0, 0, 7 },
	{ "27.2.3 CS host selector", HOST_CS_SELECTOR, RANGE, 0, 0, 8, 0xfff8 },
	{ "27.2.3 TR host selector", HOST_TR_SELECTOR, RANGE, 0, 0, 8, 0xfff8 },
	{ "27.2.3 host FS base", HOST_FS_BASE, CANONICAL },
	{ "27.2.3 host GS base", HOST_GS_BASE, CANONICAL },
	{ "27.2.3 host GDTR base", HOST_GDTR_BASE, CANONICAL },
	{ "27.2.3 host IDTR base", HOST_IDTR_BASE, CANONICAL },
	{ "27.2.3 host TR base", HOST_TR_BASE, CANONICAL },
	{ "27.2.4 exit controls", VM_EXIT_CONTROLS, BITS, 0, 0, VM_EXIT_HOST_ADDR_SPACE_SIZE },
	{ "27.2.4 host CR4", HOST_CR4, BITS, 0, 0, X86_CR4_PAE },
	{ "27.2.4 host RIP", HOST_RIP, CANONICAL },
	{ "27.3.1.1 CR0", GUEST_CR0, CR0 },
	{ "27.3.1.1 CR0, with PG", GUEST_CR0, BITS, PG, 0, X86_CR0_PE },
	{ "27.3.1.1 CR4", GUEST_CR4, CR4 },
	{ "27.3.1.1 CR4, without CR0.WP", GUEST_CR4, BITS, 0, WP, 0, CR4_CET },
	{ "27.3.1.1 DEBUGCTL", GUEST_IA32_DEBUGCTL, BITS, 0, 0, 0, ~0xffc3ULL },
	{ "27.3.1.1 CR0, in IA-32e mode", GUEST_CR0, BITS, LMA, 0, X86_CR0_PG },
	{ "27.3.1.1 CR4, in IA-32e mode", GUEST_CR4, BITS, LMA, 0, X86_CR4_PAE },
	{ "27.3.1.1 CR4, outside IA-32e mode", GUEST_CR4, BITS, 0, LMA, 0, X86_CR4_PCIDE },
	{ "27.3.1.1 CR3", GUEST_CR3, PHYS },
	{ "27.3.1.1 DR7", GUEST_DR7, BITS, 0, 0, 0, FROM(32) },
	{ "27.3.1.1 SYSENTER_ESP", GUEST_SYSENTER_ESP, CANONICAL },
	{ "27.3.1.1 SYSENTER_EIP", GUEST_SYSENTER_EIP, CANONICAL },
	{ "27.3.1.1 PAT", GUEST_IA32_PAT, TYPES, 0, 0, CLV_PAT_TYPES },
	{ "27.3.1.1 EFER", GUEST_IA32_EFER, BITS, 0, 0, 0, EFER_NONE },
	{ "27.3.1.1 EFER, in IA-32e mode", GUEST_IA32_EFER, BITS, LMA, 0, EFER_LMA | EFER_LME },
	{ "27.3.1.1 EFER, outside IA-32e mode", GUEST_IA32_EFER, BITS, 0, LMA, 0, EFER_LMA },
	{ "27.3.1.1 EFER, paging but not IA-32e", GUEST_IA32_EFER, BITS, PG, LMA, 0, EFER_LME },
	{ "27.3.1.2 selector", GUEST_ES_SELECTOR, BITS, USABLE, 0, 0, 4, SYSTEM },
	{ "27.3.1.2 base", GUEST_ES_BASE, VM86_BASE, VM86, 0, 0, 0, USER },
	{ "27.3.1.2 base", GUEST_ES_BASE, CANONICAL, 0, 0, 0, 0, BIT(FS) | BIT(GS) | BIT(TR) },
	{ "27.3.1.2 base", GUEST_ES_BASE, CANONICAL, USABLE, 0, 0, 0, BIT(LDTR) },
	{ "27.3.1.2 base", GUEST_ES_BASE, BITS, USABLE, 0, 0, FROM(32), BIT(FS) - 1 },
	{ "27.3.1.2 limit", GUEST_ES_LIMIT, RANGE, VM86, 0, 0xffff, 0xffff, USER },
	{ "27.3.1.2 access rights", AR, RANGE, VM86, 0, 0xf3, 0xf3, USER },
	{ "27.3.1.2 access rights", AR, AR_TYPE, 0, 0, 0xaa08, 0, BIT(CS) },
	{ "27.3.1.2 access rights", AR, AR_TYPE, USABLE, 0, 0x88, 0, BIT(SS) },
	{ "27.3.1.2 access rights", AR, AR_TYPE, USABLE, 0, 0x88aa, 0, USER ^ BIT(CS) ^ BIT(SS) },
	{ "27.3.1.2 access rights", AR, CS_DPL, 0, VM86, 0, 0, BIT(CS) },
	{ "27.3.1.2 access rights, CS data", AR, BITS, CS_DATA, VM86, 0, CLEAVE_AR_DPL, BIT(SS) },
	{ "27.3.1.2 access rights, without CR0.PE", AR, BITS, 0, PE, 0, CLEAVE_AR_DPL, BIT(SS) },
	{ "27.3.1.2 access rights", AR, BITS, USABLE, 0, 0x90, 0xfffe0f00, USER },
	{ "27.3.1.2 access rights, with L", AR, BITS, LMA | L, 0, 0, CLEAVE_AR_DB, BIT(CS) },
	{ "27.3.1.2 access rights, in IA-32e mode", AR, AR_TYPE, LMA, 0, 0x800, 0, BIT(TR) },
	{ "27.3.1.2 access rights", AR, AR_TYPE, 0, 0, 0x808, 0, BIT(TR) },
	{ "27.3.1.2 access rights", AR, AR_TYPE, USABLE, 0, 4, 0, BIT(LDTR) },
	{ "27.3.1.2 access rights", AR, BITS, USABLE, 0, CLEAVE_AR_P, 0xffff0f10, SYSTEM },
	{ "27.3.1.2 limit, with G", GUEST_ES_LIMIT, BITS, USABLE | G, 0, 0xfff, 0, USER | SYSTEM },
	{ "27.3.1.2 limit, no G", GUEST_ES_LIMIT, BITS, USABLE, G, 0, FROM(20), USER | SYSTEM },
	{ "27.3.1.3 GDTR base", GUEST_GDTR_BASE, CANONICAL },
	{ "27.3.1.3 IDTR base", GUEST_IDTR_BASE, CANONICAL },
	{ "27.3.1.3 GDTR limit", GUEST_GDTR_LIMIT, BITS, 0, 0, 0, FROM(16) },
	{ "27.3.1.3 IDTR limit", GUEST_IDTR_LIMIT, BITS, 0, 0, 0, FROM(16) },
	{ "27.3.1.4 RIP, outside IA-32e mode", GUEST_RIP, BITS, 0, LMA, 0, FROM(32) },
	{ "27.3.1.4 RIP, without CS.L", GUEST_RIP, BITS, 0, L, 0, FROM(32) },
	{ "27.3.1.4 RIP", GUEST_RIP, RIP },
	{ "27.3.1.4 RFLAGS", GUEST_RFLAGS, BITS, 0, 0, X86_EFLAGS_FIXED, ~0x3f7fd7ULL },
	{ "27.3.1.4 RFLAGS, in IA-32e mode", GUEST_RFLAGS, BITS, LMA, 0, 0, X86_EFLAGS_VM },
	{ "27.3.1.4 RFLAGS, with an interrupt", GUEST_RFLAGS, BITS, EXTINT, 0, X86_EFLAGS_IF },
	{ "27.3.1.5 activity", GUEST_ACTIVITY_STATE, RANGE, 0, 0, 0, 3 },
	{ "27.3.1.5 interruptibility", STATE, BITS, 0, 0, 0, ~0xbULL },
	{ "27.3.1.5 both shadows", STATE, BITS, BOTH, 0, 0, SHADOWS },
	{ "27.3.1.5 STI's shadow, without IF", STATE, BITS, 0, IF, 0, GUEST_INTR_STATE_STI },
	{ "27.3.1.5 shadow of an interrupt", STATE, BITS, EXTINT, 0, 0, SHADOWS },
	{ "27.3.1.5 shadow or mask of an NMI", STATE, BITS, NMI, 0, 0, SHADOWS | BIT(3) },
	{ "27.3.1.5 pending #DB", DBG, BITS, 0, 0, 0, ~0x1500fULL },
	{ "27.3.1.5 pending #DB, with TF in a shadow", DBG, BITS, TF, NO_SHADOW, DBG_BS },
	{ "27.3.1.5 pending #DB, without TF in a shadow", DBG, BITS, 0, TF | NO_SHADOW, 0, DBG_BS },
	{ "27.3.1.5 VMCS link pointer", VMCS_LINK_POINTER, RANGE, 0, 0, ~0ULL, ~0ULL },
	{ "27.3.1.6 PDPTE 0", GUEST_PDPTR0, PDPTE, PG | PAE, LMA, 0, 0x1e6 },
	{ "27.3.1.6 PDPTE 1", GUEST_PDPTR1, PDPTE, PG | PAE, LMA, 0, 0x1e6 },
	{ "27.3.1.6 PDPTE 2", GUEST_PDPTR2, PDPTE, PG | PAE, LMA, 0, 0x1e6 },
	{ "27.3.1.6 PDPTE 3", GUEST_PDPTR3, PDPTE, PG | PAE, LMA, 0, 0x1e6 },
};

static bool broken(struct cleave_refusal *out, const struct rule *r, int seg, u32 now)
{
	u64 val = vmcs_read(r->field + 2 * seg), low = r->set, high = r->clear, cap;
	u64 ss_dpl = vmcs_read(GUEST_SS_AR_BYTES) & CLEAVE_AR_DPL;
	const char *name = strchr(r->name, ' ') + 1, *how = NULL;
	int i, n;

	switch (r->kind) {
	case BITS:
		break;
	case CONTROL:
		cap = vmx_control_cap(low);
		low = (u32)cap;
		high = ~cap >> 32;
		break;
	case CR0:
	case CR4:
		low |= r->kind == CR0 ? vmx_caps.cr0_fixed0 : vmx_caps.cr4_fixed0;
		high = ~(r->kind == CR0 ? vmx_caps.cr0_fixed1 : vmx_caps.cr4_fixed1);
		break;
	case ERROR_CODE:
		rdmsrl(MSR_IA32_VMX_BASIC, cap);
		if (~now & (HARD | PE))
			high |= DELIVER;
		else if (!(cap & ANY_CODE))
			*(CLV_ERROR_CODE_VECTORS >> (val & 31) & 1 ? &low : &high) |= DELIVER;
		break;
	case CS_DPL:		/* data: 0; conforming code: at most SS.DPL; else that */
		low = !(val & 8) ? 0 : val & 4 ? min(val & CLEAVE_AR_DPL, ss_dpl) : ss_dpl;
		high = CLEAVE_AR_DPL & ~low;
		break;
	case VM86_BASE:
		low = vmcs_read(GUEST_ES_SELECTOR + 2 * seg) << 4;
		high = ~low;
		break;
	case PHYS:
	case PDPTE:
		cap = high | FROM(boot_cpu_data.x86_phys_bits);
		high = r->kind == PHYS || (val & 1) ? cap : 0;
		break;
	case RANGE:
		if (val < low || val > high)
			how = low == high ? "must be 0x%llx" : "must be from 0x%llx to 0x%llx";
		break;
	case CANONICAL:
	case RIP:		/* the check is looser by a bit */
		low = boot_cpu_data.x86_virt_bits - (r->kind == CANONICAL);
		if ((u64)((s64)val >> low) + 1 > 1)
			how = "bits 63:%llu must be equal";
		break;
	case AR_TYPE:
		how = low >> (val & 15) & 1 ? NULL : "type must be one of";
		break;
	case TYPES:
		how = clv_types_ok(val, low) ? NULL : "each byte must be one of";
		break;
	}
	if (r->kind < RANGE && ((val & high) || (~val & low))) {
		how = val & high ? "bits 0x%llx must be 0" : "bits 0x%llx must be 1";
		low = val & high ?: ~val & low;
	}
	if (!how)
		return false;
	out->value = val;
	snprintf(out->section, sizeof(out->section), "SDM vol. 3C %.*s", (int)(name - r->name - 1),
		 r->name);
	snprintf(out->field, sizeof(out->field), "%s%s", r->segs ? segments[seg] : "", name);
	n = snprintf(out->legal, sizeof(out->legal), how, low, high);
	for (i = 0; i < 16 && r->kind >= AR_TYPE; i++)
		if (low >> i & 1)
			n += snprintf(out->legal + n, sizeof(out->legal) - n, " %d", i);
	return true;
}

/* The VMCS is current. */
static bool any_broken(struct cleave_refusal *out)
{
	u32 now = clv_s2_caps.ad ? AD : 0, ar, here;
	const struct rule *r;
	int i;

	for (i = 0; i < ARRAY_SIZE(facts); i++)
		if ((vmcs_read(facts[i].field) & facts[i].mask) == facts[i].is)
			now |= facts[i].fact;
	for (r = rules; r < rules + ARRAY_SIZE(rules); r++) {
		for (i = ES; i <= (r->segs ? TR : ES); i++) {
			ar = vmcs_read(AR + 2 * i);
			here = now | (ar & CLEAVE_AR_G ? G : 0);
			/* Of CS and TR all is checked, usable or not. */
			if (i == CS || i == TR || !(ar & CLEAVE_AR_UNUSABLE))
				here |= USABLE;
			if ((!r->segs || r->segs >> i & 1) && !(r->when & ~here) &&
			    !(r->unless & here) && broken(out, r, i, here))
				return true;
		}
	}
	return false;
}

/* SDM vol. 3C 27.4: the entry of the MSR-load area that the qualification names. */
static bool msr_load_failed(struct cleave_refusal *out, const struct vmx_vcpu *vmx)
{
	u64 nr = min_t(u64, vmx->qualification - 1, VMX_MSR_LOADS - 1);
	const struct vmx_msr_entry *e = &vmx->entry_load[nr];
	bool never = e->index == MSR_FS_BASE || e->index == MSR_GS_BASE ||
		     e->index >> 8 == 8 || e->index == MSR_IA32_SMM_MONITOR_CTL;

	out->value = e->value;
	strscpy(out->section, "SDM vol. 3C 27.4", sizeof(out->section));
	snprintf(out->field, sizeof(out->field), "entry MSR-load %llu, MSR 0x%x", nr + 1, e->index);
	strscpy(out->legal, e->reserved ? "bits 63:32 of its index must be 0" :
		never ? "must be an MSR that entries load" : "must be what WRMSR takes",
		sizeof(out->legal));
	return true;
}

bool vmx_check(struct clv_vcpu *vcpu, struct cleave_refusal *out)
{
	const struct vmx_vcpu *vmx = to_vmx(vcpu);
	bool found;

	if ((u16)vmx->reason == EXIT_REASON_MSR_LOAD_FAIL)
		return msr_load_failed(out, vmx);
	preempt_disable();
	/* A CPU that has just been switched off has no VMCS to look at. */
	found = clv_host_cpu_enabled();
	if (found) {
		vmx_vcpu_load(vcpu);
		found = any_broken(out);
	}
	preempt_enable();
	if (found || !vmx->failed)
		return found;
	out->value = vmx->qualification;
	strscpy(out->section, "SDM vol. 3C 31.4", sizeof(out->section));
	strscpy(out->field, "VM-instruction error", sizeof(out->field));
	strscpy(out->legal, "all rules that are checked hold", sizeof(out->legal));
	return true;
}
