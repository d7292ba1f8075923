// SPDX-License-Identifier: GPL-2.0
/*
 * What the CPU refuses to enter, the module's check must name: fields of the
 * VMCS or VMCB are changed for one entry (poke.ko), and both must agree. Where
 * the CPU, being emulated, forgives, the output says so, and that is no
 * agreement. After each, the vCPU runs on.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include "kselftest_harness.h"
#include "poke/poke.h"
#include "host.h"

/* Runs in each mode but virtual-8086, where OUT asks the TSS, and QEMU's looks wrong. */
GUEST(out_for_ever, 64, "1:\tout %al, $" S(PORT_DONE) "\n\tjmp 1b\n\t");
GUEST(store_for_ever, 16, "1:\tmovb %al, 0\n\tjmp 1b\n\t");

#define GPA_STORE	(GPA_CODE + 0x100)
#define GPA_HOLE	0xa0000		/* no memory from there on */

enum mode { LONG, PROTECTED, PAE, REAL, VM86 };

/* The last field is the one that is named. */
struct bad {
	enum mode mode;
	const char *section, *field;
	struct poke_field fields[POKE_FIELDS];
};

#define NOT		{ POKE_NONE }
#define BAD(mode, section, name, field, clear, set)	\
	{ mode, section, name, { NOT, NOT, { field, 0, clear, set } } }
#define BAD2(mode, section, name, f, c, s, field, clear, set)	\
	{ mode, section, name, { NOT, { f, 0, c, s }, { field, 0, clear, set } } }
#define BAD3(mode, section, name, f, c, s, g, d, t, field, clear, set)	\
	{ mode, section, name, { { f, 0, c, s }, { g, 0, d, t }, { field, 0, clear, set } } }
/* Another field is named for it, whose value is not this one's. */
#define ELSEWHERE(mode, section, name, field, clear, set)	\
	{ mode, section, name, { NOT, { field, 0, clear, set }, NOT } }

#define ALL		(~0ull)
#define B(n)		(1ull << (n))

/* ---- VT-x: SDM vol. 3D appendix B ---------------------------------------- */

#define EVENT		0x4016
#define STATE		0x4824
#define PENDING		0x6822
#define GUEST_CR0	0x6800
#define GUEST_CR3	0x6802
#define GUEST_CR4	0x6804
#define GUEST_EFER	0x2806
#define GUEST_RFLAGS	0x6820
#define ES		0
#define CS		2
#define SS		4
#define DS		6
#define FS		8
#define GS		10
#define LDTR		12
#define TR		14
#define SELECTOR(seg)	(0x800 + (seg))
#define LIMIT(seg)	(0x4800 + (seg))
#define AR(seg)		(0x4814 + (seg))
#define BASE(seg)	(0x6806 + (seg))
#define BAD_ADDRESS	B(62)

#define V(section)	"SDM vol. 3C " section
#define C1		V("27.2.1.1")
#define C2		V("27.2.1.2")
#define C3		V("27.2.1.3")
#define H1		V("27.2.2")
#define H2		V("27.2.3")
#define G1		V("27.3.1.1")
#define G2		V("27.3.1.2")
#define G3		V("27.3.1.3")
#define G4		V("27.3.1.4")
#define G5		V("27.3.1.5")
#define G6		V("27.3.1.6")

static const struct bad vmx_controls[] = {
	BAD(LONG, C1, "pin-based controls", 0x4000, 0, B(31)),
	BAD(LONG, C1, "pin-based controls", 0x4000, B(3), 0),
	BAD(LONG, C1, "primary controls", 0x4002, B(1), 0),
	BAD(LONG, C1, "secondary controls", 0x401e, B(1), 0),
	BAD(LONG, C1, "CR3-target count", 0x400a, 0, 5),
	BAD(LONG, C1, "MSR bitmap", 0x2004, 0, B(11)),
	BAD(LONG, C1, "MSR bitmap", 0x2004, 0, BAD_ADDRESS),
	BAD(LONG, C1, "VPID", 0x0000, 0xffff, 0),
	BAD(LONG, C1, "EPTP", 0x201a, 7, 5),
	BAD(LONG, C1, "EPTP", 0x201a, 0x38, 0x10),
	BAD(LONG, C1, "EPTP", 0x201a, 0, B(10)),
	BAD(LONG, C1, "EPTP", 0x201a, 0, BAD_ADDRESS),
	BAD(LONG, C2, "exit controls", 0x400c, 0, B(31)),
	BAD2(LONG, C2, "exit controls, without preemption timer", 0x4000, B(6), 0, 0x400c, 0, B(22)),
	BAD2(LONG, C2, "exit MSR-load area", 0x4010, 0, 1, 0x2008, 0, 8),
	BAD(LONG, C3, "entry controls", 0x4012, B(4), 0),
	BAD(LONG, C3, "entry controls", 0x4012, 0, B(31)),
	BAD2(LONG, C3, "entry MSR-load area", 0x4014, 0, 1, 0x200a, 0, 4),
	BAD(LONG, V("27.2.4"), "exit controls", 0x400c, B(9), 0),
};

static const struct bad vmx_events[] = {
	BAD(LONG, C3, "event's type", EVENT, ALL, 0x80000121),
	BAD(LONG, C3, "NMI's vector", EVENT, ALL, 0x80000203),
	BAD(LONG, C3, "exception's vector", EVENT, ALL, 0x80000326),
	BAD(LONG, C3, "event", EVENT, ALL, 0x8000030d),
	BAD(LONG, C3, "event", EVENT, ALL, 0x80000b06),
	BAD(REAL, C3, "event", EVENT, ALL, 0x80000b0d),
	BAD(LONG, C3, "event", EVENT, ALL, 0x80001306),
	BAD2(LONG, C3, "error code", EVENT, ALL, 0x80000b0d, 0x4018, 0, B(16)),
	BAD2(LONG, G4, "RFLAGS, with an interrupt", EVENT, ALL, 0x80000021, GUEST_RFLAGS, B(9), 0),
	BAD3(LONG, G5, "shadow of an interrupt", EVENT, ALL, 0x80000021, GUEST_RFLAGS, 0, B(9),
	     STATE, 0, B(1)),
	BAD2(LONG, G5, "shadow or mask of an NMI", EVENT, ALL, 0x80000202, STATE, 0, B(1)),
	BAD2(LONG, G5, "shadow or mask of an NMI", EVENT, ALL, 0x80000202, STATE, 0, B(3)),
};

static const struct bad vmx_host[] = {
	BAD(LONG, H1, "host CR0", 0x6c00, B(5), 0),
	BAD(LONG, H1, "host CR0", 0x6c00, 0, B(40)),
	BAD(LONG, H1, "host CR4", 0x6c04, B(13), 0),
	BAD(LONG, H1, "host CR3", 0x6c02, 0, B(60)),
	BAD(LONG, H1, "host SYSENTER_ESP", 0x6c10, ALL, BAD_ADDRESS),
	BAD(LONG, H1, "host SYSENTER_EIP", 0x6c12, ALL, BAD_ADDRESS),
	BAD(LONG, H1, "host PAT", 0x2c00, 0xff, 2),
	BAD(LONG, H1, "host EFER", 0x2c02, 0, B(1)),
	BAD(LONG, H1, "host EFER", 0x2c02, B(10), 0),
	BAD(LONG, H2, "CS host selector", 0xc02, 0, 3),
	BAD(LONG, H2, "SS host selector", 0xc04, 0, 4),
	BAD(LONG, H2, "DS host selector", 0xc06, 0, 3),
	BAD(LONG, H2, "ES host selector", 0xc00, 0, 3),
	BAD(LONG, H2, "FS host selector", 0xc08, 0, 3),
	BAD(LONG, H2, "GS host selector", 0xc0a, 0, 3),
	BAD(LONG, H2, "TR host selector", 0xc0c, 0, 3),
	BAD(LONG, H2, "CS host selector", 0xc02, ALL, 0),
	BAD(LONG, H2, "TR host selector", 0xc0c, ALL, 0),
	BAD(LONG, H2, "host FS base", 0x6c06, ALL, BAD_ADDRESS),
	BAD(LONG, H2, "host GS base", 0x6c08, ALL, BAD_ADDRESS),
	BAD(LONG, H2, "host GDTR base", 0x6c0c, ALL, BAD_ADDRESS),
	BAD(LONG, H2, "host IDTR base", 0x6c0e, ALL, BAD_ADDRESS),
	BAD(LONG, H2, "host TR base", 0x6c0a, ALL, BAD_ADDRESS),
	BAD(LONG, V("27.2.4"), "host CR4", 0x6c04, B(5), 0),
};

static const struct bad vmx_crs[] = {
	BAD(LONG, G1, "CR0", GUEST_CR0, B(5), 0),
	BAD(LONG, G1, "CR0", GUEST_CR0, 0, B(40)),
	BAD(LONG, G1, "CR0, with PG", GUEST_CR0, B(0), 0),
	BAD(REAL, G1, "CR0, with PG", GUEST_CR0, 0, B(31)),
	BAD(LONG, G1, "CR4", GUEST_CR4, B(13), 0),
	BAD(LONG, G1, "CR4", GUEST_CR4, 0, B(40)),
	BAD(LONG, G1, "CR4, in IA-32e mode", GUEST_CR4, B(5), 0),
	BAD(PROTECTED, G1, "CR4, outside IA-32e mode", GUEST_CR4, 0, B(17)),
	BAD(LONG, G1, "DEBUGCTL", 0x2802, 0, B(5)),
	BAD(LONG, G1, "CR3", GUEST_CR3, 0, B(60)),
	BAD(LONG, G1, "DR7", 0x681a, 0, B(32)),
	BAD(LONG, G1, "SYSENTER_ESP", 0x6824, ALL, BAD_ADDRESS),
	BAD(LONG, G1, "SYSENTER_EIP", 0x6826, ALL, BAD_ADDRESS),
	BAD(LONG, G1, "PAT", 0x2804, 0xff, 3),
	BAD(LONG, G1, "EFER", GUEST_EFER, 0, B(1)),
	BAD(LONG, G1, "EFER, in IA-32e mode", GUEST_EFER, B(10), 0),
	BAD(LONG, G1, "EFER, in IA-32e mode", GUEST_EFER, B(8), 0),
	BAD(REAL, G1, "EFER, outside IA-32e mode", GUEST_EFER, 0, B(10)),
	BAD(PAE, G1, "EFER, paging but not IA-32e", GUEST_EFER, 0, B(8)),
	BAD(PAE, G6, "PDPTE 0", 0x280a, 0, B(1)),
	BAD(PAE, G6, "PDPTE 1", 0x280c, 0, B(5) | 1),
	BAD(PAE, G6, "PDPTE 2", 0x280e, 0, B(8) | 1),
	BAD(PAE, G6, "PDPTE 3", 0x2810, 0, BAD_ADDRESS | 1),
};

static const struct bad vmx_segments[] = {
	BAD(LONG, G2, "TR selector", SELECTOR(TR), 0, 4),
	BAD(LONG, G2, "FS base", BASE(FS), ALL, BAD_ADDRESS),
	BAD(LONG, G2, "GS base", BASE(GS), ALL, BAD_ADDRESS),
	BAD(LONG, G2, "TR base", BASE(TR), ALL, BAD_ADDRESS),
	BAD(LONG, G2, "CS base", BASE(CS), 0, B(32)),
	BAD(PROTECTED, G2, "SS base", BASE(SS), 0, B(32)),
	BAD(PROTECTED, G2, "DS base", BASE(DS), 0, B(33)),
	BAD(REAL, G2, "ES base", BASE(ES), 0, B(32)),
	BAD(LONG, G2, "CS access rights", AR(CS), 1, 0),
	BAD(PROTECTED, G2, "SS access rights", AR(SS), 2, 0),
	BAD(PROTECTED, G2, "DS access rights", AR(DS), 1, 0),
	BAD(LONG, G2, "FS access rights", AR(FS), 15, 9),
	BAD(LONG, G2, "CS access rights", AR(CS), 0, 0x60),
	BAD(REAL, G2, "CS access rights", AR(CS), 15, 0x63),
	BAD2(REAL, G2, "SS access rights, without CR0.PE", AR(CS), 0, 15, AR(SS), 0, 0x60),
	BAD2(PROTECTED, G2, "SS access rights, CS data", AR(CS), 15, 3, AR(SS), 0, 0x60),
	BAD(LONG, G2, "CS access rights", AR(CS), B(4), 0),
	BAD(LONG, G2, "CS access rights", AR(CS), B(7), 0),
	BAD(PROTECTED, G2, "ES access rights", AR(ES), B(7), 0),
	BAD(PROTECTED, G2, "GS access rights", AR(GS), 0, B(9)),
	BAD(LONG, G2, "CS access rights, with L", AR(CS), 0, B(14)),
	BAD(LONG, G2, "TR access rights, in IA-32e mode", AR(TR), 15, 3),
	BAD(REAL, G2, "TR access rights", AR(TR), 15, 9),
	BAD(LONG, G2, "TR access rights", AR(TR), 0, B(16)),
	BAD(LONG, G2, "TR access rights", AR(TR), 0, B(4)),
	BAD(LONG, G2, "LDTR access rights", AR(LDTR), ALL, 0x8b),
	BAD(LONG, G2, "CS limit, with G", LIMIT(CS), 1, 0),
	BAD(REAL, G2, "DS limit, no G", LIMIT(DS), 0, B(20)),
	BAD(LONG, G2, "TR limit, no G", LIMIT(TR), 0, B(31)),
	BAD(VM86, G2, "CS base", BASE(CS), 0, 1),
	BAD(VM86, G2, "GS limit", LIMIT(GS), 1, 0),
	BAD(VM86, G2, "SS access rights", AR(SS), 0x60, 0),
	BAD(LONG, G3, "GDTR base", 0x6816, ALL, BAD_ADDRESS),
	BAD(LONG, G3, "IDTR base", 0x6818, ALL, BAD_ADDRESS),
	BAD(LONG, G3, "GDTR limit", 0x4810, 0, B(16)),
	BAD(LONG, G3, "IDTR limit", 0x4812, 0, B(31)),
};

static const struct bad vmx_state[] = {
	BAD(PROTECTED, G4, "RIP, outside IA-32e mode", 0x681e, 0, B(32)),
	BAD(LONG, G4, "RIP", 0x681e, 0, B(62)),
	BAD(LONG, G4, "RFLAGS", GUEST_RFLAGS, 2, 0),
	BAD(LONG, G4, "RFLAGS", GUEST_RFLAGS, 0, B(3)),
	BAD(LONG, G4, "RFLAGS", GUEST_RFLAGS, 0, B(22)),
	ELSEWHERE(PROTECTED, G2, "ES base", GUEST_RFLAGS, 0, B(17)),
	BAD(LONG, G5, "activity", 0x4826, 0, 8),
	BAD(LONG, G5, "interruptibility", STATE, 0, B(2)),
	BAD(LONG, G5, "interruptibility", STATE, 0, B(31)),
	BAD(LONG, G5, "both shadows", STATE, 0, 3),
	BAD(LONG, G5, "STI's shadow, without IF", STATE, 0, 1),
	BAD(LONG, G5, "pending #DB", PENDING, 0, B(4)),
	BAD2(LONG, G5, "pending #DB, without TF in a shadow", STATE, 0, 2, PENDING, 0, B(14)),
	BAD(LONG, G5, "VMCS link pointer", 0x2800, ALL, B(62)),
	BAD(LONG, V("27.4"), "entry MSR-load 1, MSR 0xc0000100", POKE_MSR_LOAD, 0xc0000100, 0),
	BAD(LONG, V("27.4"), "entry MSR-load 1, MSR 0x808", POKE_MSR_LOAD, 0x808, 0),
	BAD(LONG, V("27.4"), "entry MSR-load 1, MSR 0xc0000081", POKE_MSR_LOAD, B(32) | 0xc0000081, 0),
	BAD(LONG, V("27.4"), "entry MSR-load 1, MSR 0x277", POKE_MSR_LOAD, 0x277, 2),
};

/* ---- AMD-V: APM vol. 2 appendix B ----------------------------------------- */

#define AT(offset, size)	((offset) | (size) << 16)
#define SAVE(offset, size)	AT(0x400 + (offset), size)
#define SVM_EFER	SAVE(0xd0, 8)
#define SVM_CR0		SAVE(0x158, 8)
#define SVM_CR3		SAVE(0x150, 8)
#define SVM_CR4		SAVE(0x148, 8)
#define SVM_DR6		SAVE(0x168, 8)
#define SVM_DR7		SAVE(0x160, 8)
#define SVM_CS_ATTRIB	SAVE(0x12, 2)
#define SVM_EVENT	AT(0xa8, 4)
#define A(section)	"APM vol. 2 " section
#define A1		A("15.5.1")
#define A2		A("15.20")
#define A3		A("15.25.4")

static const struct bad svm_save[] = {
	BAD(LONG, A1, "EFER", SVM_EFER, B(12), 0),
	BAD(LONG, A1, "EFER", SVM_EFER, 0, B(1)),
	BAD(REAL, A1, "EFER", SVM_EFER, 0, B(60)),
	BAD(LONG, A1, "CR0, without CD", SVM_CR0, 0, B(29)),
	BAD(LONG, A1, "CR0", SVM_CR0, 0, B(32)),
	BAD(REAL, A1, "CR0", SVM_CR0, 0, B(63)),
	BAD(LONG, A1, "CR3", SVM_CR3, 0, B(60)),
	BAD(PROTECTED, A1, "CR3", SVM_CR3, 0, B(60)),
	BAD(LONG, A1, "CR4", SVM_CR4, 0, B(13)),
	BAD(REAL, A1, "CR4", SVM_CR4, 0, B(40)),
	BAD(LONG, A1, "DR6", SVM_DR6, 0, B(32)),
	BAD(LONG, A1, "DR7", SVM_DR7, 0, B(63)),
	BAD(PAE, A1, "DR7", SVM_DR7, 0, B(32)),
	BAD(VM86, A1, "DR7", SVM_DR7, 0, B(33)),
	BAD(LONG, A1, "CR4, with LME and PG", SVM_CR4, B(5), 0),
	BAD(LONG, A1, "CR0, with LME and PG", SVM_CR0, B(0), 0),
	BAD(LONG, A1, "CS attributes, with L", SVM_CS_ATTRIB, 0, B(10)),
	BAD(LONG, A3, "G_PAT", SAVE(0x268, 8), 0xff, 2),
};

static const struct bad svm_controls[] = {
	BAD(LONG, A1, "intercepts at 0x10", AT(0x10, 4), B(0), 0),
	BAD(LONG, A1, "MSRPM_BASE_PA", AT(0x48, 8), 0, B(51)),
	BAD(LONG, A1, "IOPM_BASE_PA", AT(0x40, 8), 0, B(51)),
	BAD(LONG, A1, "ASID", AT(0x58, 4), ALL, 0),
	BAD(LONG, A3, "nCR3", AT(0xb0, 8), 0, B(62)),
	BAD(LONG, A2, "EVENTINJ", SVM_EVENT, ALL, 0x80000121),
	BAD(LONG, A2, "EVENTINJ", SVM_EVENT, ALL, 0x80000521),
	BAD(LONG, A2, "EVENTINJ", SVM_EVENT, ALL, 0x80000621),
	BAD(LONG, A2, "EVENTINJ", SVM_EVENT, ALL, 0x80000721),
	BAD(LONG, A2, "EVENTINJ", SVM_EVENT, ALL, 0x80000302),
	BAD(LONG, A2, "EVENTINJ", SVM_EVENT, ALL, 0x8000031f),
	BAD(REAL, A2, "EVENTINJ", SVM_EVENT, ALL, 0x80000320),
};

/* ---- the tests ------------------------------------------------------------- */

#define GROUPS		(sizeof(groups) / sizeof(*groups))
#define GROUP(vendor, controls, list)	\
	{ vendor, controls, list, sizeof(list) / sizeof(*(list)) }

static const struct {
	uint32_t vendor;
	bool controls;		/* or the host's state; else the guest's */
	const struct bad *bad;
	int count;
} groups[] = {
	GROUP(CLEAVE_VENDOR_VMX, true, vmx_controls),
	GROUP(CLEAVE_VENDOR_VMX, true, vmx_events),
	GROUP(CLEAVE_VENDOR_VMX, true, vmx_host),
	GROUP(CLEAVE_VENDOR_VMX, false, vmx_crs),
	GROUP(CLEAVE_VENDOR_VMX, false, vmx_segments),
	GROUP(CLEAVE_VENDOR_VMX, false, vmx_state),
	GROUP(CLEAVE_VENDOR_SVM, true, svm_controls),
	GROUP(CLEAVE_VENDOR_SVM, false, svm_save),
};

#define ALL_STATE	(CLEAVE_REGS | CLEAVE_SREGS | CLEAVE_DEBUG | CLEAVE_EVENTS | CLEAVE_MP)

FIXTURE(refused) {
	struct vm vm;
	struct vcpu v;
	const struct cleave_recorder *rec;
	struct cleave_state power_on;
	int poke;
	uint32_t named[128];	/* fields that were refused */
	int nr_named;
};

FIXTURE_SETUP(refused)
{
	int ret = host_module_load("poke", "");

	if (ret == -ENOENT)
		SKIP_SETUP("no poke.ko in $CLEAVE_MODULES");
	ASSERT_EQ(0, ret);
	self->poke = open("/dev/cleave_poke", O_RDWR | O_CLOEXEC);
	ASSERT_GE(self->poke, 0);
	pin_to(0);		/* a new CPU would write some fields anew */
	vm_create(&self->vm, GPA_HOLE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	self->rec = mmap(NULL, sizeof(*self->rec), PROT_READ, MAP_SHARED, self->v.fd,
			 self->v.run_size);
	ASSERT_NE(MAP_FAILED, self->rec);
	vm_tables(&self->vm);
	GUEST_LOAD(&self->vm, GPA_CODE, out_for_ever);
	GUEST_LOAD(&self->vm, GPA_STORE, store_for_ever);
	state_get(&self->v, ALL_STATE, &self->power_on);
}

FIXTURE_TEARDOWN(refused)
{
	munmap((void *)self->rec, sizeof(*self->rec));
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
	close(self->poke);
	host_module_unload("poke");
}

static void set_pae(struct vm *vm, struct vcpu *v)
{
	struct cleave_state st;
	uint64_t *pdpt = (uint64_t *)(vm->ram + GPA_DATA);
	int i;

	for (i = 0; i < 4; i++)
		pdpt[i] = i ? 0 : (GPA_PD + i * 0x1000) | 1;
	vcpu_protected(v, GPA_CODE);
	state_get(v, CLEAVE_SREGS, &st);
	st.sregs.cr3 = GPA_DATA;
	st.sregs.cr4 |= CR4_PAE;
	st.sregs.cr0 |= CR0_PG;
	state_must_set(v, CLEAVE_SREGS, &st);
}

static void set_vm86(struct vcpu *v)
{
	struct cleave_state st;
	struct cleave_segment *s = &st.sregs.cs;	/* six in a row */
	int i;

	vcpu_protected(v, GPA_STORE - GPA_CODE);
	state_get(v, CLEAVE_REGS | CLEAVE_SREGS, &st);
	st.regs.rflags |= 1 << 17;
	st.regs.rsp = 0xfff0;
	for (i = 0; i < 6; i++) {
		s[i].base = i ? GPA_HOLE : GPA_CODE;
		s[i].selector = s[i].base >> 4;
		s[i].limit = 0xffff;
		s[i].ar = 0xf3;
	}
	state_must_set(v, CLEAVE_REGS | CLEAVE_SREGS, &st);
}

/* From whatever came before: in that mode, at the start of the code, nothing pending. */
static void start(FIXTURE_DATA(refused) *self, enum mode mode)
{
	state_must_set(&self->v, ALL_STATE, &self->power_on);
	switch (mode) {
	case LONG:
		return vcpu_long(&self->v, GPA_CODE);
	case PROTECTED:
		return vcpu_protected(&self->v, GPA_CODE);
	case PAE:
		return set_pae(&self->vm, &self->v);
	case REAL:
		return vcpu_real(&self->v, GPA_CODE >> 4, 0);
	case VM86:
		return set_vm86(&self->v);
	}
}

static void run_on(FIXTURE_DATA(refused) *self, enum mode mode)
{
	if (mode == VM86)
		vcpu_run_exit(&self->v, CLEAVE_EXIT_MMIO);
	else
		vcpu_run_done(&self->v);
}

/* What the processor itself says: which of its checks it was. */
static void expect_raw(struct __test_metadata *_metadata, const struct bad *b,
		       const struct cleave_run *run)
{
	uint64_t reason = ALL, info = run->raw_info[0];

	if (!strncmp(b->section, V("27.2.1"), strlen(V("27.2.1")))) {
		info = 7;
	} else if (!strncmp(b->section, V("27.2"), strlen(V("27.2")))) {
		info = 8;
	} else if (!strcmp(b->section, V("27.4"))) {
		reason = 0x80000022;
		info = 1;
	} else if (!strncmp(b->section, V(""), strlen(V("")))) {
		reason = 0x80000021;
	}
	EXPECT_EQ(reason, run->raw_reason);
	EXPECT_EQ(info, run->raw_info[0]);
}

/* The flight recorder stopped at the refusal, and goes on when told to. */
static void expect_frozen(FIXTURE_DATA(refused) *self, struct __test_metadata *_metadata)
{
	const struct cleave_recorder *rec = self->rec;
	const struct cleave_record *last = &rec->records[(rec->count - 1) % CLEAVE_RECORDS];
	struct cleave_freeze go_on = { .frozen = 0 };

	EXPECT_EQ(1, rec->frozen);
	EXPECT_EQ(CLEAVE_KIND_REFUSED, last->kind);
	EXPECT_EQ(CLEAVE_EXIT_REFUSED, last->exit);
	EXPECT_EQ(self->v.run->raw_reason, last->raw_reason);
	EXPECT_EQ(0, xioctl(self->v.fd, CLEAVE_FREEZE, &go_on));
	EXPECT_EQ(0, rec->frozen);
}

/* Was it refused? Then both must agree. */
static bool poke_once(FIXTURE_DATA(refused) *self, struct __test_metadata *_metadata,
		      const struct bad *b)
{
	const struct poke_field *named = &b->fields[POKE_FIELDS - 1];
	const struct cleave_refusal *r = &self->v.run->refused;
	struct poke p = { 0 };
	uint64_t count;

	start(self, b->mode);
	run_on(self, b->mode);
	memcpy(p.fields, b->fields, sizeof(p.fields));
	ASSERT_EQ(sizeof(p), write(self->poke, &p, sizeof(p)));
	ASSERT_EQ(0, vcpu_run(&self->v));
	ASSERT_EQ(sizeof(p), read(self->poke, &p, sizeof(p)));
	if (p.state == POKE_ENTERED) {
		printf("# the CPU forgives %s, %s: %#llx\n", b->section, b->field,
		       (unsigned long long)p.fields[POKE_FIELDS - 1].poked);
		EXPECT_NE(CLEAVE_EXIT_REFUSED, self->v.run->exit);
	} else {
		uint64_t value = named->field == POKE_MSR_LOAD ? named->set :
				 p.fields[POKE_FIELDS - 1].poked;

		if (strcmp(b->section, r->section) || strcmp(b->field, r->field))
			printf("# poked %s, %s; told %s, %s: %s, not %#llx\n", b->section,
			       b->field, r->section, r->field, r->legal, r->value);
		EXPECT_EQ(POKE_REFUSED, p.state);
		EXPECT_EQ(CLEAVE_EXIT_REFUSED, self->v.run->exit);
		EXPECT_STREQ(b->section, r->section);
		EXPECT_STREQ(b->field, r->field);
		EXPECT_NE(0, r->legal[0]);
		expect_raw(_metadata, b, self->v.run);
		if (named->field != POKE_NONE) {
			EXPECT_EQ(value, r->value);
		}
		expect_frozen(self, _metadata);
	}
	/* Put right, it runs on, and is recorded. */
	count = self->rec->count;
	start(self, b->mode);
	run_on(self, b->mode);
	run_on(self, b->mode);
	EXPECT_GE(self->rec->count, count + 2);
	return p.state == POKE_REFUSED;
}

/* The whole group; how many the CPU refused. */
static int run_group(FIXTURE_DATA(refused) *self, struct __test_metadata *_metadata, int group)
{
	int i, j, refused = 0;

	for (i = 0; i < groups[group].count; i++) {
		const struct bad *b = &groups[group].bad[i];
		uint32_t field = b->fields[POKE_FIELDS - 1].field;

		if (!poke_once(self, _metadata, b))
			continue;
		refused++;
		for (j = 0; j < self->nr_named && self->named[j] != field; j++)
			;
		if (j == self->nr_named && j < 128)
			self->named[self->nr_named++] = field;
	}
	return refused;
}

/* Of each group the CPU must refuse something. */
static void run_groups(FIXTURE_DATA(refused) *self, struct __test_metadata *_metadata, bool controls)
{
	int i;

	for (i = 0; i < GROUPS; i++)
		if (groups[i].vendor == dev_info().vendor && groups[i].controls == controls)
			EXPECT_GT(run_group(self, _metadata, i), 0);
}

TEST_F_TIMEOUT(refused, controls_and_host, 300)
{
	run_groups(self, _metadata, true);
}

TEST_F_TIMEOUT(refused, guest_state, 300)
{
	run_groups(self, _metadata, false);
}

TEST_F_TIMEOUT(refused, a_dozen_fields, 600)
{
	run_groups(self, _metadata, true);
	run_groups(self, _metadata, false);
	printf("# refused and named: %d fields\n", self->nr_named);
	EXPECT_GE(self->nr_named, 12);
}

TEST_HARNESS_MAIN
