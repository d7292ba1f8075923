// SPDX-License-Identifier: GPL-2.0
/* libcleave: what people call the numbers of <linux/cleave.h> and of the architecture. */
#include <stdio.h>
#include "libcleave.h"

#define COUNT(a)	(sizeof(a) / sizeof((a)[0]))

static const char *const kinds[] = {
	[CLEAVE_KIND_NONE] = "internal", [CLEAVE_KIND_HOST] = "host",
	[CLEAVE_KIND_CPUID] = "cpuid", [CLEAVE_KIND_HLT] = "hlt", [CLEAVE_KIND_IO] = "port",
	[CLEAVE_KIND_RDMSR] = "rdmsr", [CLEAVE_KIND_WRMSR] = "wrmsr",
	[CLEAVE_KIND_HYPERCALL] = "hypercall", [CLEAVE_KIND_CR_READ] = "cr-read",
	[CLEAVE_KIND_CR_WRITE] = "cr-write", [CLEAVE_KIND_XSETBV] = "xsetbv",
	[CLEAVE_KIND_STAGE2] = "stage2", [CLEAVE_KIND_EXCEPTION] = "exception",
	[CLEAVE_KIND_WINDOW] = "window", [CLEAVE_KIND_SKIP] = "skip", [CLEAVE_KIND_UD] = "ud",
	[CLEAVE_KIND_GP] = "gp", [CLEAVE_KIND_TASK_SWITCH] = "task-switch",
	[CLEAVE_KIND_INSN] = "instruction", [CLEAVE_KIND_SHUTDOWN] = "shutdown",
	[CLEAVE_KIND_REFUSED] = "refused", [CLEAVE_KIND_MCE] = "machine-check",
	[CLEAVE_KIND_UNHANDLED] = "unhandled",
};

static const char *const exits[] = {
	[CLEAVE_EXIT_NONE] = "none", [CLEAVE_EXIT_IO] = "port", [CLEAVE_EXIT_MMIO] = "mmio",
	[CLEAVE_EXIT_MSR] = "msr", [CLEAVE_EXIT_HLT] = "hlt", [CLEAVE_EXIT_SHUTDOWN] = "shutdown",
	[CLEAVE_EXIT_WINDOW] = "window", [CLEAVE_EXIT_EOI] = "eoi",
	[CLEAVE_EXIT_HYPERCALL] = "hypercall", [CLEAVE_EXIT_INSN] = "instruction",
	[CLEAVE_EXIT_FAULT] = "fault", [CLEAVE_EXIT_REFUSED] = "refused",
	[CLEAVE_EXIT_UNHANDLED] = "unhandled",
};

static const char *const events[] = {
	[CLEAVE_EVENT_NONE] = "none", [CLEAVE_EVENT_INTERRUPT] = "interrupt",
	[CLEAVE_EVENT_NMI] = "NMI", [CLEAVE_EVENT_EXCEPTION] = "exception",
};

static const char *const mp_states[] = {
	[CLEAVE_MP_RUNNABLE] = "running", [CLEAVE_MP_HALTED] = "halted",
	[CLEAVE_MP_WAIT_INIT] = "waits for INIT", [CLEAVE_MP_WAIT_SIPI] = "waits for SIPI",
	[CLEAVE_MP_SHUTDOWN] = "shut down",
};

/* SDM vol. 3A table 6-1, APM vol. 2 table 8-1. */
static const char *const vectors[] = {
	"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", NULL, "#TS", "#NP", "#SS",
	"#GP", "#PF", NULL, "#MF", "#AC", "#MC", "#XM", "#VE", "#CP", [28] = "#HV", "#VC", "#SX",
};

static const struct {
	uint32_t first, last;
	const char *name;
} msrs[] = {
	{ 0x10, 0x10, "IA32_TSC" }, { 0x1b, 0x1b, "IA32_APIC_BASE" },
	{ 0x3a, 0x3a, "IA32_FEATURE_CONTROL" }, { 0x3b, 0x3b, "IA32_TSC_ADJUST" },
	{ 0x48, 0x48, "IA32_SPEC_CTRL" }, { 0x49, 0x49, "IA32_PRED_CMD" },
	{ 0x79, 0x79, "IA32_BIOS_UPDT_TRIG" }, { 0x8b, 0x8b, "IA32_BIOS_SIGN_ID" },
	{ 0xc1, 0xc8, "IA32_PMC" }, { 0xe7, 0xe7, "IA32_MPERF" }, { 0xe8, 0xe8, "IA32_APERF" },
	{ 0xfe, 0xfe, "IA32_MTRRCAP" }, { 0x10a, 0x10a, "IA32_ARCH_CAPABILITIES" },
	{ 0x10b, 0x10b, "IA32_FLUSH_CMD" }, { 0x174, 0x174, "IA32_SYSENTER_CS" },
	{ 0x175, 0x175, "IA32_SYSENTER_ESP" }, { 0x176, 0x176, "IA32_SYSENTER_EIP" },
	{ 0x179, 0x179, "IA32_MCG_CAP" }, { 0x17a, 0x17a, "IA32_MCG_STATUS" },
	{ 0x186, 0x18d, "IA32_PERFEVTSEL" }, { 0x198, 0x198, "IA32_PERF_STATUS" },
	{ 0x199, 0x199, "IA32_PERF_CTL" }, { 0x1a0, 0x1a0, "IA32_MISC_ENABLE" },
	{ 0x1d9, 0x1d9, "IA32_DEBUGCTL" }, { 0x200, 0x21f, "IA32_MTRR_PHYS" },
	{ 0x250, 0x250, "IA32_MTRR_FIX64K_00000" }, { 0x258, 0x259, "IA32_MTRR_FIX16K" },
	{ 0x268, 0x26f, "IA32_MTRR_FIX4K" }, { 0x277, 0x277, "IA32_PAT" },
	{ 0x2ff, 0x2ff, "IA32_MTRR_DEF_TYPE" }, { 0x345, 0x345, "IA32_PERF_CAPABILITIES" },
	{ 0x400, 0x47f, "IA32_MC" }, { 0x480, 0x493, "IA32_VMX" }, { 0x6e0, 0x6e0, "IA32_TSC_DEADLINE" },
	{ 0x802, 0x802, "x2APIC ID" }, { 0x808, 0x808, "x2APIC TPR" }, { 0x80b, 0x80b, "x2APIC EOI" },
	{ 0x80f, 0x80f, "x2APIC SVR" }, { 0x830, 0x830, "x2APIC ICR" },
	{ 0x832, 0x832, "x2APIC LVT timer" }, { 0x838, 0x838, "x2APIC timer initial count" },
	{ 0x839, 0x839, "x2APIC timer current count" }, { 0x83e, 0x83e, "x2APIC timer divide" },
	{ 0x800, 0x8ff, "x2APIC" }, { 0xda0, 0xda0, "IA32_XSS" },
	{ 0x4b564d00, 0x4b564dff, "KVM paravirtual" }, { 0xc0000080, 0xc0000080, "IA32_EFER" },
	{ 0xc0000081, 0xc0000081, "IA32_STAR" }, { 0xc0000082, 0xc0000082, "IA32_LSTAR" },
	{ 0xc0000083, 0xc0000083, "IA32_CSTAR" }, { 0xc0000084, 0xc0000084, "IA32_FMASK" },
	{ 0xc0000100, 0xc0000100, "IA32_FS_BASE" }, { 0xc0000101, 0xc0000101, "IA32_GS_BASE" },
	{ 0xc0000102, 0xc0000102, "IA32_KERNEL_GS_BASE" }, { 0xc0000103, 0xc0000103, "IA32_TSC_AUX" },
	{ 0xc0010000, 0xc0010007, "AMD PERF" }, { 0xc0010010, 0xc0010010, "AMD SYSCFG" },
	{ 0xc0010015, 0xc0010015, "AMD HWCR" }, { 0xc001001f, 0xc001001f, "AMD NB_CFG" },
	{ 0xc0010114, 0xc0010114, "AMD VM_CR" }, { 0xc0010117, 0xc0010117, "AMD VM_HSAVE_PA" },
	{ 0xc0011020, 0xc0011020, "AMD LS_CFG" }, { 0xc0011029, 0xc0011029, "AMD DE_CFG" },
};

/* Where PCs have had them since the AT. */
static const struct {
	uint16_t first, last;
	const char *name;
} ports[] = {
	{ 0x00, 0x0f, "DMA" }, { 0x20, 0x21, "PIC" }, { 0x40, 0x43, "PIT" }, { 0x60, 0x60, "i8042" },
	{ 0x61, 0x61, "port B" }, { 0x64, 0x64, "i8042" }, { 0x70, 0x71, "RTC" }, { 0x80, 0x80, "POST" },
	{ 0x81, 0x8f, "DMA pages" }, { 0x92, 0x92, "port A" }, { 0xa0, 0xa1, "PIC" },
	{ 0xc0, 0xdf, "DMA" }, { 0xf0, 0xf1, "FPU" }, { 0x170, 0x177, "IDE" }, { 0x1f0, 0x1f7, "IDE" },
	{ 0x2e8, 0x2ef, "COM4" }, { 0x2f8, 0x2ff, "COM2" }, { 0x378, 0x37a, "LPT1" },
	{ 0x3c0, 0x3df, "VGA" }, { 0x3e8, 0x3ef, "COM3" }, { 0x3f8, 0x3ff, "COM1" },
	{ 0x4d0, 0x4d1, "ELCR" }, { 0xcf9, 0xcf9, "reset" }, { 0xcf8, 0xcff, "PCI" },
};

static const char *lookup(const char *const *table, size_t count, uint32_t number)
{
	return number < count ? table[number] : NULL;
}

const char *cleave_kind_name(uint32_t kind)
{
	return lookup(kinds, COUNT(kinds), kind);
}

const char *cleave_exit_name(uint32_t exit)
{
	return lookup(exits, COUNT(exits), exit);
}

const char *cleave_event_name(uint32_t type)
{
	return lookup(events, COUNT(events), type);
}

const char *cleave_mp_name(uint32_t state)
{
	return lookup(mp_states, COUNT(mp_states), state);
}

const char *cleave_vector_name(uint32_t vector)
{
	return lookup(vectors, COUNT(vectors), vector);
}

const char *cleave_msr_name(uint32_t index)
{
	for (size_t i = 0; i < COUNT(msrs); i++)
		if (index >= msrs[i].first && index <= msrs[i].last)
			return msrs[i].name;
	return NULL;
}

const char *cleave_port_name(uint16_t port)
{
	for (size_t i = 0; i < COUNT(ports); i++)
		if (port >= ports[i].first && port <= ports[i].last)
			return ports[i].name;
	return NULL;
}
