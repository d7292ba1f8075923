/* SPDX-License-Identifier: GPL-2.0 */
/*
 * cleave: what the core asks of a vendor's backend. The vendor decodes, the
 * core decides. Every hook has two real implementations, and one file of the core
 * calls it but for vcpu_reset (also cpuid.c); enter() has one caller.
 */
#ifndef CLV_BACKEND_H
#define CLV_BACKEND_H

#include "clv.h"

/**
 * struct clv_backend - one vendor
 * @name: "vmx" or "svm"
 * @vendor: CLEAVE_VENDOR_*
 * @blocks_init: a CPU that is enabled ignores INIT
 * @s2_format: of its stage-2 tables
 * @refusal: why this CPU of the vendor's cannot be a host, or NULL. Asks the CPU itself: the kernel
 *	clears its feature bits where the firmware has disabled them
 * @init: allocates what each possible CPU needs; module load
 * @exit: frees it
 * @cpu_enable: VMXON or EFER.SVME on this CPU, IRQs off; -EBUSY: it is on already; -EIO: refused
 * @cpu_disable: undoes @cpu_enable; IRQs off, also from NMI on a crash
 * @vcpu_alloc: a zeroed struct with struct clv_vcpu, its VMCS or VMCB; NULL for -ENOMEM
 * @vcpu_free: undoes it; the vCPU is not loaded on any CPU
 * @vcpu_reset: control fields, intercepts, after clv_state_reset() has written the registers; also
 *	after CLEAVE_SET_CPUID
 * @vcpu_load: makes it current on this CPU; preemption off
 * @vcpu_put: undoes what must not stay when another thread runs, or user mode; preemption off,
 *	maybe with the scheduler's lock held
 * @enter: one entry and exit; IRQs off before and after. NMIs and machine checks that ended the
 *	guest are handled inside. Does the flush that vcpu->flush asks for. Fills what CLV_REG_KEPT
 *	says, and puts that and what else it fills for free into vcpu->avail; vcpu->stay: what
 *	may follow with IRQs off. again: they have been off since the entry before, on this CPU
 * @decode_exit: after @enter, preemption on, or IRQs off by vcpu->stay: what happened. Moves an
 *	event whose delivery was cut
 *	short to vcpu->events.injected
 * @regs_pull: fills CLV_REG_SEGS and CLV_REG_CRS from the VMCS or VMCB
 * @regs_push: writes the groups there
 * @inject: the event to deliver at the next entry, as the VMCB and the VMCS have it; 0: none.
 *	windows, CLV_WINDOW_*: exit as soon as one opens; 0: none
 * @msr_field: where an MSR is that the vendor switches; NULL if it is none
 * @check: the first rule of the manual that the guest state breaks; false if none
 */
struct clv_backend {
	const char *name;
	u32 vendor;
	bool blocks_init;
	const struct clv_s2_format *s2_format;

	const char *(*refusal)(void);
	int (*init)(void);
	void (*exit)(void);
	int (*cpu_enable)(void);
	void (*cpu_disable)(void);

	struct clv_vcpu *(*vcpu_alloc)(struct clv_vm *vm);
	void (*vcpu_free)(struct clv_vcpu *vcpu);
	void (*vcpu_reset)(struct clv_vcpu *vcpu);
	void (*vcpu_load)(struct clv_vcpu *vcpu);
	void (*vcpu_put)(struct clv_vcpu *vcpu);
	void (*enter)(struct clv_vcpu *vcpu, bool again);
	void (*decode_exit)(struct clv_vcpu *vcpu, struct clv_exit *exit);

	void (*regs_pull)(struct clv_vcpu *vcpu, u32 groups);
	void (*regs_push)(struct clv_vcpu *vcpu, u32 groups);
	void (*inject)(struct clv_vcpu *vcpu, u32 event, u32 error_code, u32 windows);
	u64 *(*msr_field)(struct clv_vcpu *vcpu, u32 msr);
	bool (*check)(struct clv_vcpu *vcpu, struct cleave_refusal *r);
};

extern const struct clv_backend clv_svm_backend, clv_vmx_backend;
extern const struct clv_backend *clv_backend;	/* c: chosen at load; main.c */

#endif /* CLV_BACKEND_H */
