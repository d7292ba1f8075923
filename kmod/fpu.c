// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: the guest's FPU, SSE and AVX state, which is in the CPU for the whole of CLEAVE_RUN, and
 * XCR0, which is the guest's only from entry to exit. Not offered, nor in reach, are PKRU, AMX,
 * CET: WRPKRU needs CR4.PKE, which is reserved, and XRSTOR loads only what XCR0 and IA32_XSS have
 * (SDM vol. 1 13.8), where those bits are clear.
 */
#include <linux/sched.h>
#include <asm/fpu/xcr.h>
#include "clv.h"

#define XCR0_OFFERED	(XFEATURE_MASK_FPSSE | XFEATURE_MASK_YMM | XFEATURE_MASK_AVX512)
#define SW_RESERVED	464	/* bytes 464 to 511 of the legacy region belong to software */

static u64 host_xcr0 __read_mostly;	/* what the kernel has on every CPU since boot */
static u64 host_xss __read_mostly;

u64 clv_fpu_xcr0(void)
{
	u64 xcr0;

	if (!boot_cpu_has(X86_FEATURE_XSAVE))
		return XFEATURE_MASK_FP;
	xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK) & XCR0_OFFERED;
	if ((xcr0 & XFEATURE_MASK_AVX512) != XFEATURE_MASK_AVX512)
		xcr0 &= ~(u64)XFEATURE_MASK_AVX512;
	return xcr0;
}

/* SDM vol. 3A table 10-1: not what FNINIT makes. INIT leaves all of it, XCR0 too. */
static const struct {
	struct fxregs_state fx;
	struct xstate_header header;
} power_on = {
	.fx = { .cwd = 0x40, .twd = 0xff, .mxcsr = MXCSR_DEFAULT },
	.header = { .xfeatures = XFEATURE_MASK_FPSSE },
};

int clv_fpu_create(struct clv_vcpu *vcpu)
{
	u32 pkru;

	if (boot_cpu_has(X86_FEATURE_XSAVE))
		host_xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);
	if (boot_cpu_has(X86_FEATURE_XSAVES))
		rdmsrl(MSR_IA32_XSS, host_xss);
	if (!fpu_alloc_guest_fpstate(&vcpu->fpu))
		return -ENOMEM;
	vcpu->xcr0 = XFEATURE_MASK_FP;
	WARN_ON_ONCE(fpu_copy_uabi_to_guest_fpstate(&vcpu->fpu, &power_on,
						    XFEATURE_MASK_FPSSE, &pkru));
	return 0;
}

/*
 * IRQs off. Without CR4.OSXSAVE all that XCR0 governs is #UD; only state.c writes CR4, so sregs has
 * that bit right even while the group is not here. XSAVES is not offered, but AMD-V cannot
 * intercept it: IA32_XSS must be clear, or XRSTORS writes supervisor state of the host.
 */
void clv_fpu_enter(struct clv_vcpu *vcpu)
{
	lockdep_assert_irqs_disabled();
	/* The thread was scheduled away, or the kernel used the FPU. */
	if (test_thread_flag(TIF_NEED_FPU_LOAD))
		switch_fpu_return();
	if ((vcpu->sregs.cr4 & X86_CR4_OSXSAVE) && vcpu->xcr0 != host_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, vcpu->xcr0);
	if (unlikely(host_xss))
		wrmsrl(MSR_IA32_XSS, 0);
}

/* A CPU exits at XSETBV (APM vol. 2 15.9, SDM vol. 3C 26.1.2), QEMU's emulated AMD-V does not. */
void clv_fpu_leave(struct clv_vcpu *vcpu)
{
	u64 xcr0 = vcpu->xcr0;

	if (unlikely(host_xss))
		wrmsrl(MSR_IA32_XSS, host_xss);
	if (!(vcpu->sregs.cr4 & X86_CR4_OSXSAVE))
		return;
	if (boot_cpu_has(X86_FEATURE_HYPERVISOR)) {
		xcr0 = xgetbv(XCR_XFEATURE_ENABLED_MASK);
		if (unlikely(xcr0 != vcpu->xcr0))
			vcpu->xcr0 = xcr0 & vcpu->caps.xcr0_allowed;
	}
	if (xcr0 != host_xcr0)
		xsetbv(XCR_XFEATURE_ENABLED_MASK, host_xcr0);
}

/* Not in CLEAVE_RUN: the state is in memory. */
int clv_fpu_get(struct clv_vcpu *vcpu, struct cleave_fpu *f)
{
	lockdep_assert_held(&vcpu->mutex);
	fpu_copy_guest_fpstate_to_uabi(&vcpu->fpu, f->region, sizeof(f->region),
				       vcpu->caps.xcr0_allowed | XFEATURE_MASK_FPSSE, 0);
	memset(f->region + SW_RESERVED, 0, sizeof(struct fxregs_state) - SW_RESERVED);
	return 0;
}

/* The kernel checks MXCSR, with the mask that the CPU has. */
int clv_fpu_set(struct clv_vcpu *vcpu, const struct cleave_fpu *f)
{
	u64 allowed = vcpu->caps.xcr0_allowed | XFEATURE_MASK_FPSSE;
	struct xstate_header header;
	u32 pkru;

	lockdep_assert_held(&vcpu->mutex);
	memcpy(&header, f->region + sizeof(struct fxregs_state), sizeof(header));
	if ((header.xfeatures & ~allowed) || header.xcomp_bv ||
	    memchr_inv(header.reserved, 0, sizeof(header.reserved)))
		return -EINVAL;
	return fpu_copy_uabi_to_guest_fpstate(&vcpu->fpu, f->region, allowed, &pkru);
}
