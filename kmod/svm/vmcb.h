/* SPDX-License-Identifier: GPL-2.0 */
/* cleave: what AMD-V's files share. The VMCB is as in <asm/svm.h> (APM vol. 2 appendix B). */
#ifndef CLV_SVM_VMCB_H
#define CLV_SVM_VMCB_H

#include <asm/svm.h>
#include "../backend.h"

/* VMCB clean bits, APM vol. 2 15.15.3: set is unchanged since the last entry. */
#define CLEAN_INTERCEPTS	BIT(0)	/* and TSC offset */
#define CLEAN_ASID		BIT(2)
#define CLEAN_INTR		BIT(3)	/* int_ctl, int_vector */
#define CLEAN_NP		BIT(4)	/* nested_cr3, g_pat */
#define CLEAN_CR		BIT(5)	/* CR0, CR3, CR4, EFER */
#define CLEAN_DR		BIT(6)	/* DR6, DR7 */
#define CLEAN_DT		BIT(7)	/* GDTR, IDTR */
#define CLEAN_SEG		BIT(8)	/* CS, DS, SS, ES, CPL */
#define CLEAN_CR2		BIT(9)
#define CLEAN_ALL		(BIT(10) - 1)

/*
 * #DB and #AC, which a guest can raise without end inside the CPU while it delivers them, #MC,
 * which is the host's, and #GP, which hidden instructions raise where they should #UD.
 */
#define SVM_EXCEPTIONS	((u32)(BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC) | \
			       BIT(X86_TRAP_GP)))

/* One CPU's part: used on it alone, with preemption or IRQs off. */
struct svm_cpu {
	u64 hsave_pa;		/* c: where VMRUN keeps the host's state */
	u64 host_pa;		/* c: where VMSAVE keeps it; VMCB format */
	u64 asid_gen;		/* ASIDs given before this generation are void */
	u32 asid_min, asid_max, asid_next;
	u64 last_vcpu;		/* svm_vcpu.uid of who ran last: IBPB */
	u64 tsc_aux_host, tsc_aux; /* the host's value, and what the MSR holds */
};

DECLARE_PER_CPU(struct svm_cpu, svm_cpu);
extern bool svm_on_tcg;		/* c: this CPU is QEMU's emulation */

struct svm_vcpu {
	struct clv_vcpu vcpu;
	struct vmcb *vmcb;	/* c */
	u64 vmcb_pa;		/* c */
	u64 uid;		/* c: never used twice, unlike addresses */
	int cpu;		/* whose caches know the VMCB, or -1 */
	u64 asid_gen;		/* of control.asid; 0: needs a new one */
	u64 host_debugctl;	/* of this entry */

	/* Zeros after a reset, this and all that follows. */
	u32 windows;		/* CLV_WINDOW_* asked for */
	u32 injected;		/* control.event_inj of the last entry */
	u32 injected_error;
	u64 entry_rip;		/* of the last entry */
	bool nmi_iret;		/* the IRET that ends NMI's mask is at iret_rip, not done yet */
	u64 iret_rip;

	/* One instruction under TF, until an NMI can go in; see step_begin(). */
	bool stepping;
	bool step_tf;		/* the guest had TF set itself */
	u64 step_dr6;

	/* MOV DR is free for so many entries more, then trapped again. */
	u32 dr_free;
};

static inline struct svm_vcpu *to_svm(struct clv_vcpu *vcpu)
{
	return container_of(vcpu, struct svm_vcpu, vcpu);
}

static inline void svm_dirty(struct svm_vcpu *svm, u32 clean_bits)
{
	svm->vmcb->control.clean &= ~clean_bits;
}

/* bit: INTERCEPT_* of <asm/svm.h> */
static inline void svm_intercept(struct svm_vcpu *svm, u32 bit, bool on)
{
	u32 *word = &svm->vmcb->control.intercepts[bit / 32];
	u32 val = on ? *word | BIT(bit % 32) : *word & ~BIT(bit % 32);

	if (val != *word) {
		*word = val;
		svm_dirty(svm, CLEAN_INTERCEPTS);
	}
}

/* All MOV to and from DR0 to DR7. */
static inline void svm_intercept_dr(struct svm_vcpu *svm, bool on)
{
	svm->vmcb->control.intercepts[INTERCEPT_DR] = on ? 0x00ff00ff : 0;
	svm_dirty(svm, CLEAN_INTERCEPTS);
}

/* Behind an exit, before anything is dirty: what clv_code64() says, without a pull. */
static inline bool svm_code64(struct clv_vcpu *vcpu)
{
	const struct vmcb_save_area *s = &to_svm(vcpu)->vmcb->save;

	return (s->efer & EFER_LMA) && (s->cs.attrib & SVM_SELECTOR_L_MASK);
}

/* vmenter.S. 0, or -1 if this CPU has SVM switched off because the host goes down. */
int svm_vmenter(struct cleave_regs *regs, u64 vmcb_pa, u64 host_pa,
		u32 guest_spec_ctrl, u32 host_spec_ctrl);

/* svm_run.c */
void svm_enter(struct clv_vcpu *vcpu, bool again);
void svm_decode_exit(struct clv_vcpu *vcpu, struct clv_exit *exit);
void svm_inject(struct clv_vcpu *vcpu, u32 event, u32 error_code, u32 windows);

/* svm_state.c. MSRs that VMLOAD and VMSAVE switch: the guest's own, no exit. Ends with index 0. */
struct svm_msr {
	u32 index;
	u32 offset;	/* in struct vmcb_save_area */
};

extern const struct svm_msr svm_msrs[];
void svm_regs_pull(struct clv_vcpu *vcpu, u32 groups);
void svm_regs_push(struct clv_vcpu *vcpu, u32 groups);
u64 *svm_msr_field(struct clv_vcpu *vcpu, u32 msr);

/* svm_check.c */
bool svm_check(struct clv_vcpu *vcpu, struct cleave_refusal *r);

#endif /* CLV_SVM_VMCB_H */
