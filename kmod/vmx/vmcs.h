/* SPDX-License-Identifier: GPL-2.0 */
/* cleave: what VT-x's files share. Fields and bits are <asm/vmx.h>'s (SDM vol. 3C 25 to 31). */
#ifndef CLV_VMX_VMCS_H
#define CLV_VMX_VMCS_H

#include <asm/asm.h>
#include <asm/vmx.h>
#include "../backend.h"

/* The control fields. */
enum { VMX_PIN, VMX_PRIMARY, VMX_SECONDARY, VMX_EXIT, VMX_ENTRY, VMX_CONTROLS };

/* What the CPU says; vmx.c. */
struct vmx_caps {
	u32 revision;		/* VMCS revision identifier */
	u32 controls[VMX_CONTROLS];
	u64 cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
	bool l1d_flush;		/* before each entry: L1 terminal fault */
	u32 preempt_timer, preempt_shift;	/* ticks of an entry, of 2^shift of the TSC */
};

extern struct vmx_caps vmx_caps;

/* One CPU's part: used on it alone, with preemption or IRQs off. */
struct vmx_cpu {
	void *vmxon;			/* c: a page */
	struct list_head vmcss;		/* active here: VMCLEAR before VMXOFF */
	struct vmx_vcpu *current_vmcs;	/* loaded by VMPTRLD, or NULL */
};

DECLARE_PER_CPU(struct vmx_cpu, vmx_cpu);

/* MSRs of the guest that are not in the VMCS, or in it at entry: vmx_vcpu.msrs. */
enum {
	VMX_STAR, VMX_LSTAR, VMX_SFMASK, VMX_CSTAR, VMX_KERNEL_GS_BASE,
	VMX_SYSENTER_CS, VMX_SYSENTER_ESP, VMX_SYSENTER_EIP, VMX_MSRS
};

extern const u32 vmx_msrs[VMX_MSRS];	/* their numbers; vmx_state.c */

#define VMX_MSR_LOADS	8

struct vmx_vcpu {
	struct clv_vcpu vcpu;
	void *vmcs;			/* c: a page */
	struct list_head node;		/* of vmx_cpu.vmcss, on that CPU alone */
	int cpu;			/* where the VMCS is active, or -1 */
	bool launched;			/* since its last VMCLEAR */
	bool setup;			/* control fields are to be written */

	/* What hooks ask for at any time; vmx_enter() writes what has changed. */
	u32 primary;			/* CPU_BASED_VM_EXEC_CONTROL */
	u32 injected, injected_error;	/* VM_ENTRY_INTR_INFO_FIELD of the next entry */
	u64 msrs[VMX_MSRS];
	bool msrs_stale;		/* this CPU may not have those of SYSCALL */
	/* What the VMCS has. */
	struct vmx_written {
		u64 primary, interruptibility, injected, tsc_offset, pat;
		u64 sysenter_cs, sysenter_esp, sysenter_eip, entry_loads, exit_loads;
		u64 host_cr3, host_cr4, host_fs_base, preempt_timer;
	} written;
	struct vmx_msr_entry entry_load[VMX_MSR_LOADS], exit_load[VMX_MSR_LOADS];

	/* The last exit; what it does not have is 0. */
	u32 reason, insn_len, intr_info, intr_error, vectoring, vectoring_error;
	u64 qualification, gpa;
	u8 cpl;				/* of a hypercall */
	bool code64;
	bool failed;			/* no exit: qualification is VM_INSTRUCTION_ERROR */

	/* The host's, from enter to put. */
	bool host_away;
	u16 host_ds, host_es, host_fs, host_gs, host_ldt;
	u64 host_fs_base, host_kernel_gs_base;
	u64 host_debugctl;		/* as long as IRQs stay off */
	u32 dr_free;			/* MOV DR is free for so many entries more */
};

static inline struct vmx_vcpu *to_vmx(struct clv_vcpu *vcpu)
{
	return container_of(vcpu, struct vmx_vcpu, vcpu);
}

/* One that fails, or faults as VMX is off, has done nothing. */
#define VMX_INSN(insn, args...) ({					\
	asm volatile("1: " insn "\n2:\n" _ASM_EXTABLE(1b, 2b)		\
		     : : args : "cc", "memory"); })

/* Reports one that must not fail, but when the host goes down. */
void vmx_insn_failed(const char *insn, unsigned long field);

/* The only VMREAD and VMWRITE. The VMCS is current. What the CPU does not have reads as 0. */
static __always_inline u64 vmcs_read(unsigned long field)
{
	u64 val = 0;

	asm volatile("1: vmread %1, %0\n2:\n" _ASM_EXTABLE(1b, 2b)
		     : "+r" (val) : "r" (field) : "cc");
	return val;
}

static __always_inline void vmcs_write(unsigned long field, u64 val)
{
	asm goto("stc\n1: vmwrite %1, %0\n2: jna %l[failed]\n" _ASM_EXTABLE(1b, 2b)
		 : : "r" (field), "r" (val) : "cc", "memory" : failed);
	return;
failed:
	vmx_insn_failed("VMWRITE", field);
}

struct vmx_field {
	u32 field;
	u64 val;
};

static inline void vmcs_write_all(const struct vmx_field *f, int n)
{
	for (; n; n--, f++)
		vmcs_write(f->field, f->val);
}

/* *written is what the field has. */
static inline void vmcs_update(unsigned long field, u64 *written, u64 val)
{
	if (*written == val)
		return;
	*written = val;
	vmcs_write(field, val);
}

/* type: VMX_EPT_EXTENT_* */
static inline void vmx_invept(u64 type, u64 eptp)
{
	struct { u64 eptp, zero; } desc = { eptp };

	VMX_INSN("invept %0, %1", "m" (desc), "r" (type));
}

/* vmenter.S: 0: it came out again; 1: VMfail; -1: faulted, VMX is off. */
int vmx_vmenter(struct cleave_regs *regs, bool launched, u32 guest_spec, u32 host_spec);

/* vmx.c */
extern bool itlb_multihit_kvm_mitigation;	/* the kernel's; no header has it */
/* SDM vol. 3D A.2: what must be 1 in the low half, what may be in the high one. */
u64 vmx_control_cap(int i);
u64 vmx_eptp(struct clv_vcpu *vcpu);
void vmx_vcpu_load(struct clv_vcpu *vcpu);

/* vmx_run.c */
void vmx_enter(struct clv_vcpu *vcpu, bool again);
void vmx_decode_exit(struct clv_vcpu *vcpu, struct clv_exit *exit);
void vmx_inject(struct clv_vcpu *vcpu, u32 event, u32 error_code, u32 windows);

/* vmx_state.c */
void vmx_regs_pull(struct clv_vcpu *vcpu, u32 groups);
void vmx_regs_push(struct clv_vcpu *vcpu, u32 groups);
u64 *vmx_msr_field(struct clv_vcpu *vcpu, u32 msr);

/* vmx_host.c: the host's state around a guest */
void vmx_host_new_cpu(void);			/* the VMCS is current, preemption off */
void vmx_host_leave(struct vmx_vcpu *vmx);	/* IRQs off, before the guest */
void vmx_vcpu_put(struct clv_vcpu *vcpu);	/* the host's again, before another thread runs */
void vmx_host_cpu_enable(void);			/* IRQs off */
void vmx_host_cpu_disable(void);		/* IRQs off */

/* vmx_check.c */
bool vmx_check(struct clv_vcpu *vcpu, struct cleave_refusal *r);

#endif /* CLV_VMX_VMCS_H */
