// SPDX-License-Identifier: GPL-2.0
/* cleave: AMD-V (APM vol. 2 chapter 15). Each CPU's part, each vCPU's VMCB, what exits. */
#include <linux/cc_platform.h>
#include <linux/mem_encrypt.h>
#include <linux/slab.h>
#include <asm/debugreg.h>
#include "../compat.h"
#include "vmcb.h"

#define VM_CR_SVMDIS	BIT_ULL(4)	/* APM vol. 2 15.30.1 */
#define SVM_EDX_NP	BIT(0)		/* CPUID 8000000a EDX */
#define SVM_EDX_LOCK	BIT(2)

#define IOPM_ORDER	2		/* 3 pages, APM vol. 2 15.10.1 */
#define MSRPM_ORDER	1		/* 2 pages, APM vol. 2 15.11 */

DEFINE_PER_CPU(struct svm_cpu, svm_cpu);
bool svm_on_tcg __ro_after_init;

/* Maps for all guests, never changed: what one may touch, every one may. */
static u8 *iopm, *msrpm;
static atomic64_t last_uid;

static const char *svm_refusal(void)
{
	u64 vm_cr;

	if (cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT))
		return "this machine is an encrypted (SEV) guest, which cannot be a host";
	if (cpuid_eax(0x80000000) < SVM_CPUID_FUNC || !(cpuid_ecx(0x80000001) & BIT(2)))
		return "this CPU has no AMD-V (SVM is not in CPUID)";
	if (rdmsrl_safe(MSR_VM_CR, &vm_cr))
		return "AMD-V is in CPUID, but MSR VM_CR cannot be read";
	if (vm_cr & VM_CR_SVMDIS)
		return cpuid_edx(SVM_CPUID_FUNC) & SVM_EDX_LOCK ?
		       "AMD-V is disabled by the firmware and locked with a key (VM_CR.SVMDIS)" :
		       "AMD-V is disabled in the firmware setup (VM_CR.SVMDIS)";
	if (!(cpuid_edx(SVM_CPUID_FUNC) & SVM_EDX_NP))
		return "this CPU has AMD-V but no nested paging";
	return NULL;
}

/* A VMCB or save area, or 0. Not at a 2 MiB boundary: SNP hosts fault there (RMP check erratum). */
static u64 alloc_area(gfp_t gfp)
{
	struct page *pages = alloc_pages(gfp | __GFP_ZERO, 1);

	if (!pages)
		return 0;
	split_page(pages, 1);
	__free_page(pages);
	return __sme_pa(page_address(pages + 1));
}

static void free_area(u64 pa)
{
	if (pa)
		free_page((unsigned long)__va(__sme_clr(pa)));
}

static void svm_exit(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		free_area(per_cpu(svm_cpu, cpu).hsave_pa);
		free_area(per_cpu(svm_cpu, cpu).host_pa);
	}
	free_pages((unsigned long)iopm, IOPM_ORDER);
	free_pages((unsigned long)msrpm, MSRPM_ORDER);
}

static int svm_init(void)
{
	const struct svm_msr *m;
	int cpu;

	/* vmenter.S goes through them in this order. */
	BUILD_BUG_ON(offsetof(struct cleave_regs, rcx) != 8 ||
		     offsetof(struct cleave_regs, rsp) != 32 ||
		     offsetof(struct cleave_regs, rdi) != 56 ||
		     offsetof(struct cleave_regs, r15) != 120);
	svm_on_tcg = boot_cpu_has(X86_FEATURE_HYPERVISOR) &&
		     hypervisor_cpuid_base("TCGTCGTCGTCG", 0);
	iopm = (u8 *)__get_free_pages(GFP_KERNEL, IOPM_ORDER);
	msrpm = (u8 *)__get_free_pages(GFP_KERNEL, MSRPM_ORDER);
	if (!iopm || !msrpm)
		goto nomem;
	memset(iopm, 0xff, PAGE_SIZE << IOPM_ORDER);
	memset(msrpm, 0xff, PAGE_SIZE << MSRPM_ORDER);
	/* Two bits an MSR, set to exit; the second vector is that of c0000000. */
	for (m = svm_msrs; m->index; m++)
		msrpm[(m->index >> 30 ? 0x800 : 0) + (m->index & 0x1fff) / 4] &=
			~(3 << (m->index % 4 * 2));
	for_each_possible_cpu(cpu) {
		struct svm_cpu *c = &per_cpu(svm_cpu, cpu);

		c->hsave_pa = alloc_area(GFP_KERNEL);
		c->host_pa = alloc_area(GFP_KERNEL);
		if (!c->hsave_pa || !c->host_pa)
			goto nomem;
	}
	return 0;
nomem:
	svm_exit();
	return -ENOMEM;
}

static int svm_cpu_enable(void)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);
	u64 efer;

	rdmsrl(MSR_EFER, efer);
	if (efer & EFER_SVME)
		return -EBUSY;
	if (wrmsrl_safe(MSR_EFER, efer | EFER_SVME))
		return -EIO;
	wrmsrl(MSR_VM_HSAVE_PA, c->hsave_pa);
	if (boot_cpu_has(X86_FEATURE_TSCRATEMSR))
		wrmsr(MSR_AMD64_TSC_RATIO, 0, 1);	/* 1.0, in 8.32 */
	c->asid_min = 1;
	c->asid_max = cpuid_ebx(SVM_CPUID_FUNC) - 1;
	/* ASIDs below asid_min are for SEV guests, which may be tagged otherwise. */
	if (boot_cpu_has(X86_FEATURE_SEV) && cpuid_ecx(0x8000001f) < c->asid_max)
		c->asid_min = cpuid_ecx(0x8000001f) + 1;
	/* What the TLB holds from before is void: the first entry flushes all. */
	c->asid_gen++;
	c->asid_next = c->asid_max + 1;
	if (boot_cpu_has(X86_FEATURE_RDTSCP) || boot_cpu_has(X86_FEATURE_RDPID))
		rdmsrl(MSR_TSC_AUX, c->tsc_aux_host);
	c->tsc_aux = c->tsc_aux_host;
	c->last_vcpu = 0;
	clv_bp_spec_reduce(true);
	return 0;
}

/* STGI first: with GIF clear the INIT that restarts the CPU would be held off. */
static void svm_cpu_disable(void)
{
	u64 efer;

	rdmsrl(MSR_EFER, efer);
	if (!(efer & EFER_SVME))
		return;
	asm volatile("stgi" : : : "memory");
	clv_bp_spec_reduce(false);
	wrmsrl(MSR_VM_HSAVE_PA, 0);
	wrmsrl(MSR_EFER, efer & ~(u64)EFER_SVME);
}

static struct clv_vcpu *svm_vcpu_alloc(struct clv_vm *vm)
{
	struct svm_vcpu *svm = kzalloc(sizeof(*svm), GFP_KERNEL_ACCOUNT);

	if (svm)
		svm->vmcb_pa = alloc_area(GFP_KERNEL_ACCOUNT);
	if (!svm || !svm->vmcb_pa) {
		kfree(svm);
		return NULL;
	}
	svm->vmcb = __va(__sme_clr(svm->vmcb_pa));
	svm->uid = atomic64_inc_return(&last_uid);
	svm->cpu = -1;
	return &svm->vcpu;
}

static void svm_vcpu_free(struct clv_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	free_area(svm->vmcb_pa);
	kfree(svm);
}

static void svm_vcpu_reset(struct clv_vcpu *vcpu)
{
	static const u8 always[] = {
		INTERCEPT_CR0_WRITE, INTERCEPT_CR4_WRITE, INTERCEPT_CR8_READ, INTERCEPT_CR8_WRITE,
		INTERCEPT_INTR, INTERCEPT_NMI, INTERCEPT_SMI, INTERCEPT_INIT, INTERCEPT_RDPMC,
		INTERCEPT_CPUID, INTERCEPT_INVD, INTERCEPT_HLT, INTERCEPT_INVLPGA,
		INTERCEPT_IOIO_PROT, INTERCEPT_MSR_PROT, INTERCEPT_TASK_SWITCH,
		INTERCEPT_FERR_FREEZE, INTERCEPT_SHUTDOWN, INTERCEPT_VMRUN, INTERCEPT_VMMCALL,
		INTERCEPT_VMLOAD, INTERCEPT_VMSAVE, INTERCEPT_STGI, INTERCEPT_CLGI,
		INTERCEPT_SKINIT, INTERCEPT_WBINVD, INTERCEPT_MONITOR, INTERCEPT_MWAIT,
		INTERCEPT_MWAIT_COND, INTERCEPT_XSETBV, INTERCEPT_RDPRU,
	};
	struct svm_vcpu *svm = to_svm(vcpu);
	struct vmcb_control_area *c = &svm->vmcb->control;
	int i;

	memset(c, 0, sizeof(*c));
	for (i = 0; i < ARRAY_SIZE(always); i++)
		svm_intercept(svm, always[i], true);
	c->intercepts[INTERCEPT_EXCEPTION] = SVM_EXCEPTIONS;
	svm_intercept_dr(svm, true);
	svm_intercept(svm, INTERCEPT_RDTSCP, !vcpu->caps.rdtscp);
	c->iopm_base_pa = __sme_pa(iopm);
	c->msrpm_base_pa = __sme_pa(msrpm);
	c->int_ctl = V_INTR_MASKING_MASK;
	c->nested_ctl = SVM_NESTED_CTL_NP_ENABLE;
	c->nested_cr3 = __sme_set(vcpu->vm->s2.root_hpa);
	svm->asid_gen = 0;
	memset_startat(svm, 0, windows);
	/* Writes the CR intercepts that depend on the registers' values. */
	clv_regs_touch(vcpu, CLV_REG_CRS);
}

static void svm_vcpu_load(struct clv_vcpu *vcpu)
{
	struct svm_vcpu *svm = to_svm(vcpu);

	if (svm->cpu == smp_processor_id())
		return;
	/* Neither this CPU's ASIDs nor its copy of the VMCB are this vCPU's. */
	svm->cpu = smp_processor_id();
	svm->asid_gen = 0;
	svm->vmcb->control.clean = 0;
}

static void svm_vcpu_put(struct clv_vcpu *vcpu)
{
	struct svm_cpu *c = this_cpu_ptr(&svm_cpu);

	if (c->tsc_aux != c->tsc_aux_host) {
		c->tsc_aux = c->tsc_aux_host;
		wrmsrl(MSR_TSC_AUX, c->tsc_aux);
	}
}

const struct clv_backend clv_svm_backend = {
	.name = "svm", .vendor = CLEAVE_VENDOR_SVM, .s2_format = &clv_s2_npt,
	.refusal = svm_refusal, .init = svm_init, .exit = svm_exit,
	.cpu_enable = svm_cpu_enable, .cpu_disable = svm_cpu_disable,
	.vcpu_alloc = svm_vcpu_alloc, .vcpu_free = svm_vcpu_free, .vcpu_reset = svm_vcpu_reset,
	.vcpu_load = svm_vcpu_load, .vcpu_put = svm_vcpu_put,
	.enter = svm_enter, .decode_exit = svm_decode_exit,
	.regs_pull = svm_regs_pull, .regs_push = svm_regs_push, .inject = svm_inject,
	.msr_field = svm_msr_field, .check = svm_check,
};
