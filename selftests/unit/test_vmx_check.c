// SPDX-License-Identifier: GPL-2.0
/*
 * Which rule of a VM entry is broken: from a legal state of each mode, that
 * breaks none, each rule in turn must be named with the SDM's section, the
 * field, its value, and what would be legal. And each rule is needed for that.
 */
#include "unit.h"
#include <asm/asm.h>
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>
#include "../../kmod/vmx/vmcs.h"

static u64 vmcs[0x8000];	/* by field */
static u64 basic;

static u64 fake_vmread(u32 field)
{
	if (field >= ARRAY_SIZE(vmcs))
		abort();
	return vmcs[field];
}

static u64 unit_rdmsr(u32 msr)
{
	CHECK_EQ(msr, MSR_IA32_VMX_BASIC);
	return basic;
}

static void unit_wrmsr(u32 msr, u64 val)
{
	CHECK_EQ(msr, 0);
}

/* The rules are to be changed here. */
#define vmcs_read	fake_vmread
#define const
#include "../../kmod/vmx/vmx_check.c"
#undef const

static const u64 control_caps[VMX_CONTROLS] = {
	[VMX_PIN] = 0x7f00000016, [VMX_PRIMARY] = 0xfff9fffe0401e172,
	[VMX_SECONDARY] = 0x001fffff00000000, [VMX_EXIT] = 0x007fffff00036dff,
	[VMX_ENTRY] = 0x0000ffff000011ff,
};

struct clv_s2_caps clv_s2_caps;
struct vmx_caps vmx_caps = {
	.cr0_fixed0 = X86_CR0_NE, .cr0_fixed1 = U32_MAX,
	.cr4_fixed0 = X86_CR4_VMXE, .cr4_fixed1 = 0xb767ff,
};

u64 vmx_control_cap(int i)
{
	return control_caps[i];
}

bool clv_cpu_on = true;

void vmx_vcpu_load(struct clv_vcpu *vcpu)
{
}

void vmx_insn_failed(const char *insn, unsigned long field)
{
	abort();
}

enum mode { REAL, PROTECTED, PAE_MODE, LONG, V86, MODES, V86_LONG };

#define SEL(seg)	(GUEST_ES_SELECTOR + 2 * (seg))
#define BASE(seg)	(GUEST_ES_BASE + 2 * (seg))
#define LIMIT(seg)	(GUEST_ES_LIMIT + 2 * (seg))
#define ACCESS(seg)	(GUEST_ES_AR_BYTES + 2 * (seg))

static void segment(int seg, u16 sel, u64 base, u32 limit, u32 ar)
{
	vmcs[SEL(seg)] = sel;
	vmcs[BASE(seg)] = base;
	vmcs[LIMIT(seg)] = limit;
	vmcs[ACCESS(seg)] = ar;
}

static void controls_and_host(void)
{
	vmcs[PIN_BASED_VM_EXEC_CONTROL] = 0x7f;
	vmcs[CPU_BASED_VM_EXEC_CONTROL] = 0xb5a1fffa;
	vmcs[SECONDARY_VM_EXEC_CONTROL] = SECONDARY_EXEC_ENABLE_EPT |
		SECONDARY_EXEC_UNRESTRICTED_GUEST | SECONDARY_EXEC_ENABLE_VPID;
	vmcs[VM_EXIT_CONTROLS] = 0x36fff;
	vmcs[VM_ENTRY_CONTROLS] = 0xd1ff;
	vmcs[MSR_BITMAP] = 0x5000;
	vmcs[EPT_POINTER] = 0x600005e;
	vmcs[VIRTUAL_PROCESSOR_ID] = 1;
	vmcs[VM_EXIT_MSR_LOAD_ADDR] = 0x7010;
	vmcs[VM_ENTRY_MSR_LOAD_ADDR] = 0x7020;
	vmcs[HOST_CR0] = 0x80050033;
	vmcs[HOST_CR3] = 0x12345000;
	vmcs[HOST_CR4] = 0x3726e0;
	vmcs[HOST_IA32_PAT] = 0x407050600070106;
	vmcs[HOST_IA32_EFER] = 0xd01;
	vmcs[HOST_CS_SELECTOR] = 0x10;
	vmcs[HOST_SS_SELECTOR] = 0x18;
	vmcs[HOST_TR_SELECTOR] = 0x40;
	vmcs[HOST_GS_BASE] = 0xffff888000000000;
	vmcs[HOST_FS_BASE] = 0x7fffffffffff;
	vmcs[HOST_RIP] = 0xffffffff81000000;
}

/* A state that each CPU enters. */
static void legal(enum mode mode)
{
	bool paged = mode == LONG || mode == PAE_MODE;
	int i;

	memset(vmcs, 0, sizeof(vmcs));
	basic = 0;
	controls_and_host();
	vmcs[GUEST_CR0] = X86_CR0_NE | X86_CR0_ET | (mode == REAL ? 0 : X86_CR0_PE) |
			  (paged ? X86_CR0_PG | X86_CR0_WP : 0);
	vmcs[GUEST_CR3] = 0x3fffffffffe0;
	vmcs[GUEST_CR4] = X86_CR4_VMXE | X86_CR4_MCE | (paged ? X86_CR4_PAE : 0);
	vmcs[GUEST_DR7] = 0x400;
	vmcs[GUEST_IA32_PAT] = 0x7040600070406;
	vmcs[GUEST_IA32_EFER] = mode == LONG ? 0xd01 : mode == PAE_MODE ? EFER_NX : EFER_SCE;
	vmcs[VM_ENTRY_CONTROLS] |= mode == LONG ? VM_ENTRY_IA32E_MODE : 0;
	vmcs[GUEST_RIP] = 0xfff0;
	vmcs[GUEST_RFLAGS] = 0x202;
	vmcs[VMCS_LINK_POINTER] = ~0ULL;
	vmcs[GUEST_GDTR_LIMIT] = 0xffff;
	vmcs[GUEST_IDTR_LIMIT] = 0xfff;
	for (i = ES; i <= GS; i++)
		segment(i, 0x10, 0, 0xffffffff, 0xc093);
	segment(CS, 0x8, 0, 0xffffffff, mode == LONG ? 0xa09b : 0xc09b);
	segment(LDTR, 0x48, 0x2000, 0xff, 0x82);
	segment(TR, 0x40, 0x3000, 0x67, 0x8b);
	vmcs[GUEST_PDPTR0] = 0x3fffffffffe00001 & ~(~0ULL << 46);
	vmcs[GUEST_PDPTR1] = 0x1e6;	/* not present: anything */
	for (i = ES; mode == REAL && i <= GS; i++)
		segment(i, 0x10, 0, 0xffff, i == CS ? 0x9b : 0x93);
	for (i = ES; mode == V86 && i <= GS; i++)
		segment(i, 0x1000 + i, 0x10000 + i * 16, 0xffff, 0xf3);
	if (mode == V86)
		vmcs[GUEST_RFLAGS] |= X86_EFLAGS_VM;
	if (mode == LONG)
		vmcs[GUEST_RIP] = 0xffffffff81000000;
	boot_cpu_data.x86_virt_bits = 48;
	boot_cpu_data.x86_phys_bits = 46;
	clv_s2_caps.ad = true;
}

/* The legal state, with at most three other legal changes, and a last one that is not. */
struct test {
	int line;
	enum mode mode;
	struct {
		u32 field;
		u64 val;
	} also[3], bad;
	const char *section, *field, *legal;
};

#define BAD(mode, field, val, ...)		{ __LINE__, mode, {}, { field, val }, __VA_ARGS__ }
#define BAD1(mode, f, v, field, val, ...)	{ __LINE__, mode, { { f, v } }, { field, val }, __VA_ARGS__ }
#define BAD2(mode, f, v, g, w, field, val, ...)	\
	{ __LINE__, mode, { { f, v }, { g, w } }, { field, val }, __VA_ARGS__ }
#define BAD3(mode, f, v, g, w, h, x, field, val, ...)	\
	{ __LINE__, mode, { { f, v }, { g, w }, { h, x } }, { field, val }, __VA_ARGS__ }
#define C1	"27.2.1.1"
#define C2	"27.2.1.2"
#define C3	"27.2.1.3"
#define H1	"27.2.2"
#define H2	"27.2.3"
#define H3	"27.2.4"
#define G1	"27.3.1.1"
#define G2	"27.3.1.2"
#define G3	"27.3.1.3"
#define G4	"27.3.1.4"
#define G5	"27.3.1.5"
#define G6	"27.3.1.6"
#define EVENT_INTR	0x80000021
#define EVENT_NMI	0x80000202
#define EVENT_GP	0x80000b0d
#define EVENT_UD	0x80000306
#define EQUAL47		"bits 63:47 must be equal"
#define PAT_BYTES	"each byte must be one of 0 1 4 5 6 7"

static const struct test tests[] = {
	BAD(LONG, PIN, 0x7b, C1, "pin-based controls", "bits 0x4 must be 1"),
	BAD(LONG, PIN, 0xff, C1, "pin-based controls", "bits 0x80 must be 0"),
	BAD(REAL, PRIMARY, 0xb5a1fff8, C1, "primary controls", "bits 0x2 must be 1"),
	BAD(REAL, PRIMARY, 0xb5a7fffa, C1, "primary controls", "bits 0x60000 must be 0"),
	BAD(REAL, SECONDARY, 0xa000a2, C1, "secondary controls", "bits 0xa00000 must be 0"),
	BAD(LONG, CR3_TARGET_COUNT, 5, C1, "CR3-target count", "must be from 0x0 to 0x4"),
	BAD(LONG, MSR_BITMAP, 0x5800, C1, "MSR bitmap", "bits 0x800 must be 0"),
	BAD(LONG, MSR_BITMAP, 0x400000005000, C1, "MSR bitmap", "bits 0x400000000000 must be 0"),
	BAD(LONG, PIN, 0x77, C1, "pin-based controls", "bits 0x8 must be 1"),
	BAD(LONG, VIRTUAL_PROCESSOR_ID, 0, C1, "VPID", "must be from 0x1 to 0xffff"),
	BAD(LONG, EPT_POINTER, 0x600005f, C1, "EPTP", "bits 0x1 must be 0"),
	BAD(LONG, EPT_POINTER, 0x600005a, C1, "EPTP", "bits 0x4 must be 1"),
	BAD(LONG, EPT_POINTER, 0x600007e, C1, "EPTP", "bits 0x20 must be 0"),
	BAD(LONG, EPT_POINTER, 0x60000de, C1, "EPTP", "bits 0x80 must be 0"),
	BAD(LONG, EPT_POINTER, 1ULL << 46 | 0x600005e, C1, "EPTP", "bits 0x400000000000 must be 0"),
	BAD(LONG, SECONDARY, 0xa0, C1, "secondary controls", "bits 0x2 must be 1"),

	BAD(LONG, VM_EXIT_CONTROLS, 0x36ffe, C2, "exit controls", "bits 0x1 must be 1"),
	BAD(LONG, VM_EXIT_CONTROLS, 0x836fff, C2, "exit controls", "bits 0x800000 must be 0"),
	BAD1(LONG, PIN, 0x3f, VM_EXIT_CONTROLS, 0x436fff, C2,
	     "exit controls, without preemption timer", "bits 0x400000 must be 0"),
	BAD1(LONG, VM_EXIT_MSR_LOAD_COUNT, 1, VM_EXIT_MSR_LOAD_ADDR, 0x7018, C2,
	     "exit MSR-load area", "bits 0x8 must be 0"),
	BAD1(LONG, VM_EXIT_MSR_LOAD_COUNT, 1, VM_EXIT_MSR_LOAD_ADDR, 1ULL << 63, C2,
	     "exit MSR-load area", "bits 0x8000000000000000 must be 0"),

	BAD(LONG, VM_ENTRY_CONTROLS, 0xd3fe, C3, "entry controls", "bits 0x1 must be 1"),
	BAD(LONG, VM_ENTRY_CONTROLS, 0x1d3ff, C3, "entry controls", "bits 0x10000 must be 0"),
	BAD1(LONG, VM_ENTRY_MSR_LOAD_COUNT, 1, VM_ENTRY_MSR_LOAD_ADDR, 0x7021, C3,
	     "entry MSR-load area", "bits 0x1 must be 0"),
	BAD(LONG, EVENT, 0x80000120, C3, "event's type", "bits 0x100 must be 0"),
	BAD(LONG, EVENT, 0x80000203, C3, "NMI's vector", "bits 0x1 must be 0"),
	BAD(LONG, EVENT, 0x80000200, C3, "NMI's vector", "bits 0x2 must be 1"),
	BAD(LONG, EVENT, 0x80000326, C3, "exception's vector", "bits 0x20 must be 0"),
	BAD(LONG, EVENT, 0x8000030d, C3, "event", "bits 0x800 must be 1"),
	BAD(LONG, EVENT, 0x80000b06, C3, "event", "bits 0x800 must be 0"),
	BAD(REAL, EVENT, EVENT_GP, C3, "event", "bits 0x800 must be 0"),
	BAD(LONG, EVENT, 0x80000821, C3, "event", "bits 0x800 must be 0"),
	BAD(LONG, EVENT, 0x80001021, C3, "event", "bits 0x1000 must be 0"),
	BAD1(LONG, EVENT, EVENT_GP, VM_ENTRY_EXCEPTION_ERROR_CODE, 0x10008, C3, "error code",
	     "bits 0x10000 must be 0"),
	BAD(LONG, VM_ENTRY_CONTROLS, 0xd3ff | VM_ENTRY_SMM, C3, "entry controls, outside SMM",
	    "bits 0x400 must be 0"),
	BAD(LONG, VM_ENTRY_CONTROLS, 0xdbff, C3, "entry controls, outside SMM", "bits 0x800 must be 0"),

	BAD(LONG, HOST_CR0, 0x80050013, H1, "host CR0", "bits 0x20 must be 1"),
	BAD(LONG, HOST_CR0, 0x50032, H1, "host CR0", "bits 0x80000001 must be 1"),
	BAD(LONG, HOST_CR0, 0x180050033, H1, "host CR0", "bits 0x100000000 must be 0"),
	BAD(LONG, HOST_CR4, 0x3706e0, H1, "host CR4", "bits 0x2000 must be 1"),
	BAD(LONG, HOST_CR4, 0x37a6e0, H1, "host CR4", "bits 0x8000 must be 0"),
	BAD1(LONG, HOST_CR0, 0x80040033, HOST_CR4, 0xb726e0, H1, "host CR4, without CR0.WP",
	     "bits 0x800000 must be 0"),
	BAD(LONG, HOST_CR3, 1ULL << 63, H1, "host CR3", "bits 0x8000000000000000 must be 0"),
	BAD(LONG, HOST_IA32_SYSENTER_ESP, 1ULL << 47, H1, "host SYSENTER_ESP", EQUAL47),
	BAD(LONG, HOST_IA32_SYSENTER_EIP, 1ULL << 63, H1, "host SYSENTER_EIP", EQUAL47),
	BAD(LONG, HOST_IA32_PAT, 2, H1, "host PAT", PAT_BYTES),
	BAD(LONG, HOST_IA32_EFER, 0x1d01, H1, "host EFER", "bits 0x1000 must be 0"),
	BAD(LONG, HOST_IA32_EFER, 0x801, H1, "host EFER", "bits 0x500 must be 1"),

	BAD(LONG, HOST_CS_SELECTOR, 0x13, H2, "CS host selector", "bits 0x3 must be 0"),
	BAD(LONG, HOST_SS_SELECTOR, 0x1c, H2, "SS host selector", "bits 0x4 must be 0"),
	BAD(LONG, HOST_DS_SELECTOR, 0x2b, H2, "DS host selector", "bits 0x3 must be 0"),
	BAD(LONG, HOST_ES_SELECTOR, 1, H2, "ES host selector", "bits 0x1 must be 0"),
	BAD(LONG, HOST_FS_SELECTOR, 2, H2, "FS host selector", "bits 0x2 must be 0"),
	BAD(LONG, HOST_GS_SELECTOR, 7, H2, "GS host selector", "bits 0x7 must be 0"),
	BAD(LONG, HOST_TR_SELECTOR, 0x44, H2, "TR host selector", "bits 0x4 must be 0"),
	BAD(LONG, HOST_CS_SELECTOR, 0, H2, "CS host selector", "must be from 0x8 to 0xfff8"),
	BAD(LONG, HOST_TR_SELECTOR, 0, H2, "TR host selector", "must be from 0x8 to 0xfff8"),
	BAD(LONG, HOST_FS_BASE, 1ULL << 47, H2, "host FS base", EQUAL47),
	BAD(LONG, HOST_GS_BASE, 1ULL << 63, H2, "host GS base", EQUAL47),
	BAD(LONG, HOST_GDTR_BASE, 1ULL << 63, H2, "host GDTR base", EQUAL47),
	BAD(LONG, HOST_IDTR_BASE, 1ULL << 63, H2, "host IDTR base", EQUAL47),
	BAD(LONG, HOST_TR_BASE, 1ULL << 63, H2, "host TR base", EQUAL47),

	BAD(LONG, VM_EXIT_CONTROLS, 0x36dff, H3, "exit controls", "bits 0x200 must be 1"),
	BAD(LONG, HOST_CR4, 0x3726c0, H3, "host CR4", "bits 0x20 must be 1"),
	BAD(LONG, HOST_RIP, 0x800000000000, H3, "host RIP", EQUAL47),

	BAD(REAL, GUEST_CR0, X86_CR0_ET, G1, "CR0", "bits 0x20 must be 1"),
	BAD(LONG, GUEST_CR0, 0x180010031, G1, "CR0", "bits 0x100000000 must be 0"),
	BAD(REAL, GUEST_CR0, 0x80000030, G1, "CR0, with PG", "bits 0x1 must be 1"),
	BAD(PROTECTED, GUEST_CR4, 0, G1, "CR4", "bits 0x2000 must be 1"),
	BAD(PROTECTED, GUEST_CR4, 0xa000, G1, "CR4", "bits 0x8000 must be 0"),
	BAD(PROTECTED, GUEST_CR4, 0x802000, G1, "CR4, without CR0.WP", "bits 0x800000 must be 0"),
	BAD(LONG, GUEST_IA32_DEBUGCTL, 0x20, G1, "DEBUGCTL", "bits 0x20 must be 0"),
	BAD(LONG, GUEST_CR0, X86_CR0_PE | X86_CR0_NE, G1, "CR0, in IA-32e mode",
	    "bits 0x80000000 must be 1"),
	BAD(LONG, GUEST_CR4, X86_CR4_VMXE, G1, "CR4, in IA-32e mode", "bits 0x20 must be 1"),
	BAD(PAE_MODE, GUEST_CR4, 0x22020, G1, "CR4, outside IA-32e mode", "bits 0x20000 must be 0"),
	BAD(LONG, GUEST_CR3, 1ULL << 46, G1, "CR3", "bits 0x400000000000 must be 0"),
	BAD(REAL, GUEST_DR7, 0x100000400, G1, "DR7", "bits 0x100000000 must be 0"),
	BAD(LONG, GUEST_SYSENTER_ESP, 1ULL << 47, G1, "SYSENTER_ESP", EQUAL47),
	BAD(LONG, GUEST_SYSENTER_EIP, 1ULL << 47, G1, "SYSENTER_EIP", EQUAL47),
	BAD(LONG, GUEST_IA32_PAT, 0x0300000000000000, G1, "PAT", PAT_BYTES),
	BAD(LONG, GUEST_IA32_PAT, 0x08, G1, "PAT", PAT_BYTES),
	BAD(LONG, GUEST_IA32_EFER, 0x1d01, G1, "EFER", "bits 0x1000 must be 0"),
	BAD(LONG, GUEST_IA32_EFER, 0x901, G1, "EFER, in IA-32e mode", "bits 0x400 must be 1"),
	BAD(LONG, GUEST_IA32_EFER, 0xc01, G1, "EFER, in IA-32e mode", "bits 0x100 must be 1"),
	BAD(REAL, GUEST_IA32_EFER, EFER_LMA, G1, "EFER, outside IA-32e mode", "bits 0x400 must be 0"),
	BAD(PAE_MODE, GUEST_IA32_EFER, EFER_LME, G1, "EFER, paging but not IA-32e",
	    "bits 0x100 must be 0"),

	BAD(LONG, SEL(TR), 0x44, G2, "TR selector", "bits 0x4 must be 0"),
	BAD(REAL, SEL(LDTR), 0x4c, G2, "LDTR selector", "bits 0x4 must be 0"),
	BAD(V86, BASE(CS), 0x10000, G2, "CS base", "bits 0x10 must be 1"),
	BAD(V86, BASE(GS), 0x100010050, G2, "GS base", "bits 0x100000000 must be 0"),
	BAD(LONG, BASE(FS), 1ULL << 47, G2, "FS base", EQUAL47),
	BAD1(LONG, ACCESS(GS), 0x10000, BASE(GS), 1ULL << 47, G2, "GS base", EQUAL47),
	BAD(LONG, BASE(TR), 1ULL << 47, G2, "TR base", EQUAL47),
	BAD(LONG, BASE(LDTR), 1ULL << 47, G2, "LDTR base", EQUAL47),
	BAD(LONG, BASE(CS), 1ULL << 32, G2, "CS base", "bits 0x100000000 must be 0"),
	BAD(REAL, BASE(SS), 1ULL << 32, G2, "SS base", "bits 0x100000000 must be 0"),
	BAD(PROTECTED, BASE(DS), 1ULL << 63, G2, "DS base", "bits 0x8000000000000000 must be 0"),
	BAD(PAE_MODE, BASE(ES), 1ULL << 32, G2, "ES base", "bits 0x100000000 must be 0"),
	BAD(V86, LIMIT(DS), 0xfffff, G2, "DS limit", "must be 0xffff"),
	BAD(V86, ACCESS(SS), 0x93, G2, "SS access rights", "must be 0xf3"),
	BAD(LONG, ACCESS(CS), 0xa098, G2, "CS access rights", "type must be one of 3 9 11 13 15"),
	BAD(LONG, ACCESS(SS), 0xc091, G2, "SS access rights", "type must be one of 3 7"),
	BAD(LONG, ACCESS(DS), 0xc092, G2, "DS access rights", "type must be one of 1 3 5 7 11 15"),
	BAD(LONG, ACCESS(GS), 0xc099, G2, "GS access rights", "type must be one of 1 3 5 7 11 15"),
	BAD(LONG, ACCESS(CS), 0xa0fb, G2, "CS access rights", "bits 0x60 must be 0"),
	BAD2(LONG, ACCESS(SS), 0xc0f3, ACCESS(CS), 0xa0fb, ACCESS(CS), 0xa0db, G2,
	     "CS access rights", "bits 0x20 must be 1"),
	BAD2(LONG, ACCESS(SS), 0xc0b3, ACCESS(CS), 0xa09f, ACCESS(CS), 0xa0ff, G2,
	     "CS access rights", "bits 0x40 must be 0"),
	BAD(PROTECTED, ACCESS(CS), 0xc0b3, G2, "CS access rights", "bits 0x20 must be 0"),
	BAD1(PROTECTED, ACCESS(CS), 0xc093, ACCESS(SS), 0xc0f3, G2,
	     "SS access rights, CS data", "bits 0x60 must be 0"),
	BAD1(REAL, ACCESS(CS), 0x9f, ACCESS(SS), 0xf3, G2, "SS access rights, without CR0.PE",
	     "bits 0x60 must be 0"),
	BAD(LONG, ACCESS(CS), 0xa08b, G2, "CS access rights", "bits 0x10 must be 1"),
	BAD(LONG, ACCESS(ES), 0xc013, G2, "ES access rights", "bits 0x80 must be 1"),
	BAD(LONG, ACCESS(FS), 0xc193, G2, "FS access rights", "bits 0x100 must be 0"),
	BAD(LONG, ACCESS(DS), 0x2c093, G2, "DS access rights", "bits 0x20000 must be 0"),
	BAD(LONG, ACCESS(CS), 0xe09b, G2, "CS access rights, with L", "bits 0x4000 must be 0"),
	BAD(LONG, ACCESS(TR), 0x83, G2, "TR access rights, in IA-32e mode", "type must be one of 11"),
	BAD(REAL, ACCESS(TR), 0x89, G2, "TR access rights", "type must be one of 3 11"),
	BAD(REAL, ACCESS(TR), 0x1008b, G2, "TR access rights", "bits 0x10000 must be 0"),
	BAD(LONG, ACCESS(TR), 0x9b, G2, "TR access rights", "bits 0x10 must be 0"),
	BAD(LONG, ACCESS(LDTR), 0x8b, G2, "LDTR access rights", "type must be one of 2"),
	BAD(LONG, ACCESS(LDTR), 0x2, G2, "LDTR access rights", "bits 0x80 must be 1"),
	BAD(LONG, ACCESS(LDTR), 0x482, G2, "LDTR access rights", "bits 0x400 must be 0"),
	BAD(LONG, LIMIT(DS), 0xfffff7ff, G2, "DS limit, with G", "bits 0x800 must be 1"),
	BAD(REAL, LIMIT(SS), 0x10ffff, G2, "SS limit, no G", "bits 0x100000 must be 0"),
	BAD(REAL, LIMIT(TR), 0x80000067, G2, "TR limit, no G", "bits 0x80000000 must be 0"),

	BAD(LONG, GUEST_GDTR_BASE, 1ULL << 47, G3, "GDTR base", EQUAL47),
	BAD(LONG, GUEST_IDTR_BASE, 1ULL << 47, G3, "IDTR base", EQUAL47),
	BAD(LONG, GUEST_GDTR_LIMIT, 0x10000, G3, "GDTR limit", "bits 0x10000 must be 0"),
	BAD(LONG, GUEST_IDTR_LIMIT, 0x1ffff, G3, "IDTR limit", "bits 0x10000 must be 0"),

	BAD(REAL, GUEST_RIP, 0x100000000, G4, "RIP, outside IA-32e mode", "bits 0x100000000 must be 0"),
	BAD2(LONG, ACCESS(CS), 0xc09b, GUEST_RIP, 0x1000, GUEST_RIP, 0x100000000, G4, "RIP, without CS.L",
	     "bits 0x100000000 must be 0"),
	BAD(LONG, GUEST_RIP, 1ULL << 48, G4, "RIP", "bits 63:48 must be equal"),
	BAD(LONG, GUEST_RFLAGS, 0, G4, "RFLAGS", "bits 0x2 must be 1"),
	BAD(LONG, GUEST_RFLAGS, 0x2a, G4, "RFLAGS", "bits 0x28 must be 0"),
	BAD(LONG, GUEST_RFLAGS, 0x408002, G4, "RFLAGS", "bits 0x408000 must be 0"),
	BAD(V86_LONG, GUEST_RFLAGS, 0x20002, G4, "RFLAGS, in IA-32e mode", "bits 0x20000 must be 0"),
	BAD1(LONG, EVENT, EVENT_INTR, GUEST_RFLAGS, 2, G4, "RFLAGS, with an interrupt",
	     "bits 0x200 must be 1"),

	BAD(LONG, GUEST_ACTIVITY_STATE, 4, G5, "activity", "must be from 0x0 to 0x3"),
	BAD(LONG, STATE, 4, G5, "interruptibility", "bits 0x4 must be 0"),
	BAD(LONG, STATE, 0x10, G5, "interruptibility", "bits 0x10 must be 0"),
	BAD(LONG, STATE, 3, G5, "both shadows", "bits 0x3 must be 0"),
	BAD1(LONG, GUEST_RFLAGS, 2, STATE, 1, G5, "STI's shadow, without IF", "bits 0x1 must be 0"),
	BAD1(LONG, EVENT, EVENT_INTR, STATE, 2, G5, "shadow of an interrupt", "bits 0x2 must be 0"),
	BAD1(LONG, EVENT, EVENT_NMI, STATE, 1, G5, "shadow or mask of an NMI", "bits 0x1 must be 0"),
	BAD1(LONG, EVENT, EVENT_NMI, STATE, 8, G5, "shadow or mask of an NMI", "bits 0x8 must be 0"),
	BAD(LONG, DBG, 0x8010, G5, "pending #DB", "bits 0x8010 must be 0"),
	BAD3(LONG, STATE, 1, GUEST_RFLAGS, 0x302, DBG, 0x4000, DBG, 0, G5,
	     "pending #DB, with TF in a shadow", "bits 0x4000 must be 1"),
	BAD1(LONG, STATE, 2, DBG, 0x4000, G5, "pending #DB, without TF in a shadow",
	     "bits 0x4000 must be 0"),
	BAD(LONG, VMCS_LINK_POINTER, 0x1000, G5, "VMCS link pointer", "must be 0xffffffffffffffff"),

	BAD(PAE_MODE, GUEST_PDPTR0, 0x1003, G6, "PDPTE 0", "bits 0x2 must be 0"),
	BAD(PAE_MODE, GUEST_PDPTR1, 0x1101, G6, "PDPTE 1", "bits 0x100 must be 0"),
	BAD(PAE_MODE, GUEST_PDPTR2, 0x1021, G6, "PDPTE 2", "bits 0x20 must be 0"),
	BAD(PAE_MODE, GUEST_PDPTR3, 1ULL << 63 | 1, G6, "PDPTE 3",
	    "bits 0x8000000000000000 must be 0"),
};

static struct vmx_vcpu vmx;

/* Virtual-8086 mode in long mode: no state before it is legal. */
static void start(const struct test *t)
{
	int i;

	if (t->mode != V86_LONG) {
		legal(t->mode);
	} else {
		legal(V86);
		vmcs[GUEST_CR0] |= X86_CR0_PG;
		vmcs[GUEST_CR4] |= X86_CR4_PAE;
		vmcs[GUEST_IA32_EFER] = 0xd01;
		vmcs[VM_ENTRY_CONTROLS] |= VM_ENTRY_IA32E_MODE;
	}
	for (i = 0; i < ARRAY_SIZE(t->also); i++)
		if (t->also[i].field)
			vmcs[t->also[i].field] = t->also[i].val;
}

static bool check(struct cleave_refusal *r)
{
	bool found;

	memset(r, 0, sizeof(*r));
	found = vmx_check(&vmx.vcpu, r);
	return found;
}

/* Is it told what the test expects? */
static bool told(const struct test *t, struct cleave_refusal *r)
{
	char section[sizeof(r->section)];

	start(t);
	vmcs[t->bad.field] = t->bad.val;
	snprintf(section, sizeof(section), "SDM vol. 3C %s", t->section);
	return check(r) && !strcmp(r->section, section) && !strcmp(r->field, t->field) &&
	       !strcmp(r->legal, t->legal) && r->value == t->bad.val;
}

UNIT_TEST(legal_states_break_none)
{
	struct cleave_refusal r;
	int i;

	for (i = 0; i < MODES; i++) {
		legal(i);
		if (check(&r))
			unit_fail("mode %d: %s, %s, %s", i, r.section, r.field, r.legal);
	}
	/* With what interrupts, NMIs, exceptions and unusable segments ask for. */
	legal(LONG);
	vmcs[EVENT] = EVENT_GP;
	vmcs[VM_ENTRY_EXCEPTION_ERROR_CODE] = 0xffff;
	vmcs[ACCESS(LDTR)] = CLEAVE_AR_UNUSABLE;
	vmcs[BASE(LDTR)] = ~0ULL >> 1;
	vmcs[ACCESS(DS)] = CLEAVE_AR_UNUSABLE;
	vmcs[BASE(DS)] = ~0ULL;
	vmcs[LIMIT(DS)] = 1;
	vmcs[GUEST_RIP] = 1ULL << 47;	/* not canonical, which is not checked */
	CHECK(!check(&r));
	vmcs[EVENT] = EVENT_INTR;
	CHECK(!check(&r));
	vmcs[EVENT] = EVENT_NMI;
	CHECK(!check(&r));
	vmcs[EVENT] = EVENT_UD;
	vmcs[STATE] = 8;
	CHECK(!check(&r));
}

UNIT_TEST(each_rule_is_named)
{
	struct cleave_refusal r;
	const struct test *t;

	for (t = tests; t < tests + ARRAY_SIZE(tests); t++) {
		start(t);
		if (t->mode < MODES && check(&r))
			unit_fail("line %d: %s, %s, %s before the change", t->line, r.section,
				  r.field, r.legal);
		if (!told(t, &r))
			unit_fail("line %d: %s, %s, %s, %#llx", t->line, r.section, r.field,
				  r.legal, (unsigned long long)r.value);
	}
}

/* Without it some test fails. */
UNIT_TEST(each_rule_is_needed)
{
	struct cleave_refusal r;
	int i, j;

	for (i = 0; i < ARRAY_SIZE(rules); i++) {
		struct rule whole = rules[i];

		rules[i] = (struct rule) { whole.name, whole.field };
		for (j = 0; j < ARRAY_SIZE(tests) && told(&tests[j], &r); j++)
			;
		rules[i] = whole;
		if (j == ARRAY_SIZE(tests) && whole.unless != AD)
			unit_fail("rule %d, %s: no test needs it", i, whole.name);
	}
}

UNIT_TEST(what_the_cpu_can)
{
	struct cleave_refusal r;

	legal(LONG);
	clv_s2_caps.ad = false;
	CHECK(check(&r) && !strcmp(r.field, "EPTP") && !strcmp(r.legal, "bits 0x40 must be 0"));
	vmcs[EPT_POINTER] &= ~0x40ULL;
	CHECK(!check(&r));
	/* Exceptions with an error code or without, as one likes, but for real mode. */
	legal(LONG);
	basic = 1ULL << 56;
	vmcs[EVENT] = 0x8000030d;
	CHECK(!check(&r));
	vmcs[EVENT] = 0x80000b06;
	CHECK(!check(&r));
	legal(REAL);
	basic = 1ULL << 56;
	vmcs[EVENT] = EVENT_GP;
	CHECK(check(&r) && !strcmp(r.legal, "bits 0x800 must be 0"));
	/* 57-bit linear, 52-bit physical addresses. */
	legal(LONG);
	vmcs[GUEST_GDTR_BASE] = 1ULL << 55;
	vmcs[GUEST_CR3] = 1ULL << 51;
	CHECK(check(&r) && !strcmp(r.field, "CR3"));
	boot_cpu_data.x86_phys_bits = 52;
	CHECK(check(&r) && !strcmp(r.field, "GDTR base"));
	boot_cpu_data.x86_virt_bits = 57;
	CHECK(!check(&r));
	vmcs[GUEST_GDTR_BASE] = 1ULL << 56;
	CHECK(check(&r) && !strcmp(r.legal, "bits 63:56 must be equal"));
}

/* In the manual's order: controls, host, guest. */
UNIT_TEST(first_of_several)
{
	struct cleave_refusal r;

	legal(LONG);
	vmcs[GUEST_RFLAGS] = 0;
	vmcs[GUEST_CR3] = ~0ULL;
	CHECK(check(&r) && !strcmp(r.field, "CR3"));
	vmcs[HOST_RIP] = 1ULL << 63;
	CHECK(check(&r) && !strcmp(r.field, "host RIP"));
	vmcs[VIRTUAL_PROCESSOR_ID] = 0;
	CHECK(check(&r) && !strcmp(r.field, "VPID"));
}

UNIT_TEST(msr_loading)
{
	static const struct {
		u32 index, reserved;
		const char *legal;
	} loads[] = {
		{ MSR_FS_BASE, 0, "must be an MSR that entries load" },
		{ MSR_GS_BASE, 0, "must be an MSR that entries load" },
		{ 0x8ff, 0, "must be an MSR that entries load" },
		{ MSR_IA32_SMM_MONITOR_CTL, 0, "must be an MSR that entries load" },
		{ MSR_STAR, 1, "bits 63:32 of its index must be 0" },
		{ MSR_EFER, 0, "must be what WRMSR takes" },
	};
	struct cleave_refusal r;
	char field[sizeof(r.field)];
	int i;

	legal(LONG);
	vmx.reason = VMX_EXIT_REASONS_FAILED_VMENTRY | EXIT_REASON_MSR_LOAD_FAIL;
	for (i = 0; i < ARRAY_SIZE(loads); i++) {
		vmx.qualification = i + 1;
		vmx.entry_load[i] = (struct vmx_msr_entry) { loads[i].index, loads[i].reserved, i };
		snprintf(field, sizeof(field), "entry MSR-load %d, MSR 0x%x", i + 1, loads[i].index);
		CHECK(check(&r));
		CHECK(!strcmp(r.section, "SDM vol. 3C 27.4") && !strcmp(r.field, field) &&
		      !strcmp(r.legal, loads[i].legal));
		CHECK_EQ(r.value, i);
	}
	/* What no CPU says. */
	vmx.qualification = 0;
	CHECK(check(&r));
	vmx.qualification = ~0ULL;
	CHECK(check(&r));
	vmx.reason = 0;
}

/* A VMfail that no rule explains has its number at least; a guest state does not. */
UNIT_TEST(unexplained)
{
	struct cleave_refusal r;

	legal(LONG);
	vmx.reason = VMX_EXIT_REASONS_FAILED_VMENTRY | EXIT_REASON_INVALID_STATE;
	CHECK(!check(&r));
	CHECK_EQ(r.section[0], 0);
	vmx.failed = true;
	vmx.qualification = 7;
	CHECK(check(&r));
	CHECK(!strcmp(r.section, "SDM vol. 3C 31.4") && !strcmp(r.field, "VM-instruction error"));
	CHECK_EQ(r.value, 7);
	vmx.failed = false;
}
