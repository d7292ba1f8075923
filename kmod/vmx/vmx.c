// SPDX-License-Identifier: GPL-2.0
/* cleave: VT-x (SDM vol. 3C). What the CPU can, its part, each vCPU's VMCS, what exits. */
#include <linux/mm.h>
#include <linux/sched/smt.h>
#include <linux/slab.h>
#include <asm/nospec-branch.h>
#include <asm/perf_event.h>
#include <asm/tlbflush.h>
#include <asm/tsc.h>
#include "vmcs.h"

#define BASIC_TRUE_CTLS	BIT_ULL(55)	/* IA32_VMX_BASIC, SDM vol. 3D A.1 */
#define CR4_FRED	BIT_ULL(32)
#define EPT_NEED	(VMX_EPT_PAGE_WALK_4_BIT | VMX_EPTP_WB_BIT | VMX_EPT_INVEPT_BIT | \
			 VMX_EPT_EXTENT_CONTEXT_BIT | VMX_EPT_EXTENT_GLOBAL_BIT)

/* An exit that often at least: Bochs 2.7 has none by interrupts if entered with IF clear. */
#define PREEMPT_MS		5

/* SDM vol. 3C 25.6 to 25.8: what cleave cannot do without, and what it is glad of. */
static const struct vmx_control {
	const char *name;
	u32 msr, need, wish;
} vmx_controls[VMX_CONTROLS] = {
	[VMX_PIN] = { "pin-based controls", MSR_IA32_VMX_TRUE_PINBASED_CTLS,
		PIN_BASED_EXT_INTR_MASK | PIN_BASED_NMI_EXITING | PIN_BASED_VIRTUAL_NMIS,
		PIN_BASED_VMX_PREEMPTION_TIMER },
	[VMX_PRIMARY] = { "primary controls", MSR_IA32_VMX_TRUE_PROCBASED_CTLS,
		CPU_BASED_HLT_EXITING | CPU_BASED_MWAIT_EXITING | CPU_BASED_RDPMC_EXITING |
		CPU_BASED_CR8_LOAD_EXITING | CPU_BASED_CR8_STORE_EXITING |
		CPU_BASED_MOV_DR_EXITING | CPU_BASED_UNCOND_IO_EXITING |
		CPU_BASED_USE_MSR_BITMAPS | CPU_BASED_MONITOR_EXITING |
		CPU_BASED_USE_TSC_OFFSETTING | CPU_BASED_ACTIVATE_SECONDARY_CONTROLS },
	[VMX_SECONDARY] = { "secondary controls", MSR_IA32_VMX_PROCBASED_CTLS2,
		SECONDARY_EXEC_ENABLE_EPT | SECONDARY_EXEC_UNRESTRICTED_GUEST |
		SECONDARY_EXEC_ENABLE_VPID,
		SECONDARY_EXEC_ENABLE_RDTSCP | SECONDARY_EXEC_ENABLE_INVPCID |
		SECONDARY_EXEC_WBINVD_EXITING | SECONDARY_EXEC_ENCLS_EXITING },
	[VMX_EXIT] = { "exit controls", MSR_IA32_VMX_TRUE_EXIT_CTLS,
		VM_EXIT_HOST_ADDR_SPACE_SIZE | VM_EXIT_SAVE_DEBUG_CONTROLS |
		VM_EXIT_LOAD_IA32_PAT | VM_EXIT_LOAD_IA32_EFER },
	[VMX_ENTRY] = { "entry controls", MSR_IA32_VMX_TRUE_ENTRY_CTLS,
		VM_ENTRY_LOAD_DEBUG_CONTROLS | VM_ENTRY_LOAD_IA32_PAT | VM_ENTRY_LOAD_IA32_EFER },
};

DEFINE_PER_CPU(struct vmx_cpu, vmx_cpu);
struct vmx_caps vmx_caps;
static u8 *msr_bitmap;		/* for all guests: what one may touch, every one may */

void vmx_insn_failed(const char *insn, unsigned long field)
{
	if (!READ_ONCE(clv_rebooting))
		WARN_ONCE(1, "cleave: %s of field %lx failed", insn, field);
}

u64 vmx_control_cap(int i)
{
	u64 val;

	rdmsrl(vmx_controls[i].msr, val);
	return val;
}

/* The preemption timer counts at another rate (AAT59, AAU65: first Core i3-i7; E3-1220 v2). */
static bool has_odd_timer(void)
{
	u32 eax = cpuid_eax(1) & 0x0fff3fff;

	return eax == 0x20652 || eax == 0x20655 || eax == 0x306a8;
}

/* In order: the secondary controls' MSR is there if a primary one is. NULL: all are there. */
static const char *no_controls(void)
{
	u32 *found = vmx_caps.controls, lack;
	int i;

	for (i = 0; i < VMX_CONTROLS; i++) {
		const struct vmx_control *c = &vmx_controls[i];
		u64 cap = vmx_control_cap(i);

		found[i] = (u32)cap | ((c->need | c->wish) & (u32)(cap >> 32));
		if (i == VMX_PIN && has_odd_timer())
			found[i] &= ~PIN_BASED_VMX_PREEMPTION_TIMER;
		/* Nobody handles an exit of MOV to or from CR3. */
		if (i == VMX_PRIMARY &&
		    (found[i] & (CPU_BASED_CR3_LOAD_EXITING | CPU_BASED_CR3_STORE_EXITING)))
			return "this CPU's VT-x cannot leave CR3 to guests";
		lack = c->need & ~found[i];
		if (!lack)
			continue;
		pr_err("cleave: VT-x %s lack bits %x\n", c->name, lack);
		if (i != VMX_SECONDARY)
			return "this CPU's VT-x lacks EPT or other controls";
		if (lack & SECONDARY_EXEC_ENABLE_EPT)
			return "this CPU has VT-x but no EPT";
		if (lack & SECONDARY_EXEC_UNRESTRICTED_GUEST)
			return "this CPU has VT-x but no unrestricted guest";
		return "this CPU has VT-x but no VPID";
	}
	return NULL;
}

/* VMENTER_L1D_FLUSH_AUTO is l1tf=, by which "off" switches it off. */
static bool must_flush_l1d(void)
{
	return boot_cpu_has_bug(X86_BUG_L1TF) && l1tf_vmx_mitigation != VMENTER_L1D_FLUSH_NEVER &&
	       l1tf_vmx_mitigation != VMENTER_L1D_FLUSH_NOT_REQUIRED &&
	       (l1tf_vmx_mitigation != VMENTER_L1D_FLUSH_AUTO ||
		l1tf_mitigation != L1TF_MITIGATION_OFF);
}

/* What stage2.c may build, from IA32_VMX_EPT_VPID_CAP (SDM vol. 3D A.10). */
static void ept_caps(u64 cap)
{
	clv_s2_caps.levels = 4;
	clv_s2_caps.max_leaf = cap & VMX_EPT_1GB_PAGE_BIT ? CLV_S2_1G :
			       cap & VMX_EPT_2MB_PAGE_BIT ? CLV_S2_2M : CLV_S2_4K;
	clv_s2_caps.ad = cap & VMX_EPT_AD_BIT;
	/* Large ones machine-check ("iTLB multihit"), unless the kernel was told not to care. */
	if (boot_cpu_has_bug(X86_BUG_ITLB_MULTIHIT) && itlb_multihit_kvm_mitigation)
		clv_s2_caps.max_leaf = CLV_S2_4K;
}

static const char *vmx_refusal(void)
{
	const char *why;
	u64 feat, basic, cap, misc;

	if (!(cpuid_ecx(1) & BIT(X86_FEATURE_VMX % 32)))
		return "this CPU has no VT-x (VMX is not in CPUID)";
	if (rdmsrl_safe(MSR_IA32_FEAT_CTL, &feat) || !(feat & FEAT_CTL_LOCKED))
		return "the firmware left IA32_FEATURE_CONTROL unlocked: enable VT-x in its setup";
	if (!(feat & FEAT_CTL_VMX_ENABLED_OUTSIDE_SMX))
		return "VT-x is disabled in the firmware setup (IA32_FEATURE_CONTROL)";
	/* There INT 2 is not how an NMI comes in. */
	if (__read_cr4() & CR4_FRED)
		return "this kernel runs with FRED: start it with fred=off";
	rdmsrl(MSR_IA32_VMX_BASIC, basic);
	vmx_caps.revision = vmx_basic_vmcs_revision_id(basic);
	/* Without true controls MOV to and from CR3 would exit. */
	why = basic & BASIC_TRUE_CTLS ? no_controls() :
					"this CPU has VT-x but no EPT, or no true controls";
	if (why)
		return why;
	rdmsrl(MSR_IA32_VMX_EPT_VPID_CAP, cap);
	if (~cap & EPT_NEED)
		return "this CPU's EPT lacks 4 levels, write-back or INVEPT";
	ept_caps(cap);
	rdmsrl(MSR_IA32_VMX_CR0_FIXED0, vmx_caps.cr0_fixed0);
	rdmsrl(MSR_IA32_VMX_CR0_FIXED1, vmx_caps.cr0_fixed1);
	rdmsrl(MSR_IA32_VMX_CR4_FIXED0, vmx_caps.cr4_fixed0);
	rdmsrl(MSR_IA32_VMX_CR4_FIXED1, vmx_caps.cr4_fixed1);
	rdmsrl(MSR_IA32_VMX_MISC, misc);
	vmx_caps.preempt_shift = misc & 31;
	vmx_caps.preempt_timer = (u64)tsc_khz * PREEMPT_MS >> vmx_caps.preempt_shift;
	clv_timed_entry = vmx_caps.controls[VMX_PIN] & PIN_BASED_VMX_PREEMPTION_TIMER;
	vmx_caps.l1d_flush = must_flush_l1d();
	if (vmx_caps.l1d_flush && !boot_cpu_has(X86_FEATURE_FLUSH_L1D))
		return "this CPU leaks to guests (L1TF): update microcode, or boot with l1tf=off";
	if (vmx_caps.l1d_flush && sched_smt_active() &&
	    l1tf_mitigation != L1TF_MITIGATION_FLUSH_NOWARN)
		pr_warn("cleave: a guest can read what its core's other thread uses (L1TF): boot with nosmt\n");
	/* With unrestricted guest these two are free (SDM vol. 3D A.7). */
	vmx_caps.cr0_fixed0 &= ~(u64)(X86_CR0_PE | X86_CR0_PG);
	return NULL;
}

static void *alloc_vmcs(gfp_t gfp)
{
	u32 *page = (u32 *)get_zeroed_page(gfp);

	if (page)
		*page = vmx_caps.revision;
	return page;
}

static void vmx_exit(void)
{
	int cpu;

	for_each_possible_cpu(cpu)
		free_page((unsigned long)per_cpu(vmx_cpu, cpu).vmxon);
	free_page((unsigned long)msr_bitmap);
}

static int vmx_init(void)
{
	int cpu, ret;

	/* vmenter.S takes them for an array. */
	BUILD_BUG_ON(offsetof(struct cleave_regs, rax) || offsetof(struct cleave_regs, rdi) != 56 ||
		     offsetof(struct cleave_regs, r15) != 120);
	msr_bitmap = (u8 *)__get_free_page(GFP_KERNEL);
	ret = msr_bitmap ? 0 : -ENOMEM;
	for_each_possible_cpu(cpu) {
		struct vmx_cpu *c = &per_cpu(vmx_cpu, cpu);

		INIT_LIST_HEAD(&c->vmcss);
		c->vmxon = alloc_vmcs(GFP_KERNEL);
		if (!c->vmxon)
			ret = -ENOMEM;
	}
	if (ret) {
		vmx_exit();
		return ret;
	}
	/* FS_BASE, GS_BASE, KERNEL_GS_BASE, C0000100 on, are a guest's: read and write (25.6.9). */
	memset(msr_bitmap, 0xff, PAGE_SIZE);
	msr_bitmap[0x400 + 0x100 / 8] &= ~7;
	msr_bitmap[0xc00 + 0x100 / 8] &= ~7;
	return 0;
}

static int vmx_cpu_enable(void)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	u64 pa = __pa(c->vmxon);

	if (cr4_read_shadow() & X86_CR4_VMXE)
		return -EBUSY;
	intel_pt_handle_vmx(1);
	cr4_set_bits(X86_CR4_VMXE);
	/* #GP where the firmware did not do this CPU as it did the first. */
	asm goto("stc\n1: vmxon %0\n2: jna %l[failed]\n" _ASM_EXTABLE(1b, 2b)
		 : : "m" (pa) : "cc", "memory" : failed);
	/* Whoever had this CPU before may have used the same tags. */
	vmx_invept(VMX_EPT_EXTENT_GLOBAL, 0);
	c->current_vmcs = NULL;
	vmx_host_cpu_enable();
	return 0;
failed:
	cr4_clear_bits(X86_CR4_VMXE);
	intel_pt_handle_vmx(0);
	return -EIO;
}

/* Where it is active: what the CPU caches of the VMCS goes to memory. */
static void write_back(struct vmx_vcpu *vmx)
{
	u64 pa = __pa(vmx->vmcs);

	VMX_INSN("vmclear %0", "m" (pa));
	vmx->launched = false;
}

/* On the CPU where the VMCS is active, if it still is, IRQs off. */
static void vmcs_clear(void *arg)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	struct vmx_vcpu *vmx = arg;

	if (vmx->cpu != smp_processor_id())
		return;
	write_back(vmx);
	if (c->current_vmcs == vmx)
		c->current_vmcs = NULL;
	list_del(&vmx->node);
	/* Before who waits for it makes the VMCS active elsewhere. */
	smp_store_release(&vmx->cpu, -1);
}

/* Also from an NMI when the host crashes: what it interrupts does not go on. */
static void vmx_cpu_disable(void)
{
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	struct vmx_vcpu *vmx, *next;

	vmx_host_cpu_disable();
	if (!(__read_cr4() & X86_CR4_VMXE))
		return;
	list_for_each_entry_safe(vmx, next, &c->vmcss, node)
		vmcs_clear(vmx);
	VMX_INSN("vmxoff");
	cr4_clear_bits(X86_CR4_VMXE);
	intel_pt_handle_vmx(0);
}

static struct clv_vcpu *vmx_vcpu_alloc(struct clv_vm *vm)
{
	struct vmx_vcpu *vmx = kzalloc(sizeof(*vmx), GFP_KERNEL_ACCOUNT);

	if (vmx)
		vmx->vmcs = alloc_vmcs(GFP_KERNEL_ACCOUNT);
	if (!vmx || !vmx->vmcs) {
		kfree(vmx);
		return NULL;
	}
	vmx->cpu = -1;
	return &vmx->vcpu;
}

/* Makes the VMCS active nowhere. Preemption may be off, IRQs are on. */
static void vmcs_take_back(struct vmx_vcpu *vmx)
{
	int cpu = READ_ONCE(vmx->cpu);

	/* A CPU that went offline has cleared it itself. */
	if (cpu >= 0)
		smp_call_function_single(cpu, vmcs_clear, vmx, 1);
}

static void vmx_vcpu_free(struct clv_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	vmcs_take_back(vmx);
	free_page((unsigned long)vmx->vmcs);
	kfree(vmx);
}

/* The VMCS is written by the next load, when it is current. */
static void vmx_vcpu_reset(struct clv_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);

	vmx->setup = true;
	vmx->primary = vmx_caps.controls[VMX_PRIMARY];
	vmx->injected = 0;
	vmx->dr_free = 0;
	/* Which bits the guest owns depends on its CPUID. */
	clv_regs_touch(vcpu, CLV_REG_CRS);
}

u64 vmx_eptp(struct clv_vcpu *vcpu)
{
	return vcpu->vm->s2.root_hpa | VMX_EPTP_MT_WB | VMX_EPTP_PWL_4 |
	       (clv_s2_caps.ad ? VMX_EPTP_AD_ENABLE_BIT : 0);
}

/*
 * Exceptions that always exit: #DB and #AC, which a guest can raise without
 * end inside the CPU while it delivers them, and #MC, which is the host's.
 *
 * VPIDs need not differ between VMs, and INVVPID is never needed: with EPT all that the CPU caches
 * is tagged with the tables' root as well (SDM vol. 3C 29.4.2), and INVEPT goes by that alone.
 */
static void vmcs_setup(struct vmx_vcpu *vmx)
{
	const u32 *controls = vmx_caps.controls;
	const struct clv_cpuid_caps *caps = &vmx->vcpu.caps;
	/* Without these the instructions are #UD, as on a CPU without them. */
	u32 hidden = (caps->tsc_aux ? 0 : SECONDARY_EXEC_ENABLE_RDTSCP) |
		     (caps->invpcid ? 0 : SECONDARY_EXEC_ENABLE_INVPCID);
	const struct vmx_field fields[] = {
		{ PIN_BASED_VM_EXEC_CONTROL, controls[VMX_PIN] },
		{ SECONDARY_VM_EXEC_CONTROL, controls[VMX_SECONDARY] & ~hidden },
		{ VM_EXIT_CONTROLS, controls[VMX_EXIT] },
		{ VIRTUAL_PROCESSOR_ID, vmx->vcpu.id + 1 }, { GUEST_PENDING_DBG_EXCEPTIONS, 0 },
		{ EXCEPTION_BITMAP, BIT(X86_TRAP_DB) | BIT(X86_TRAP_AC) | BIT(X86_TRAP_MC) },
		{ PAGE_FAULT_ERROR_CODE_MASK, 0 }, { PAGE_FAULT_ERROR_CODE_MATCH, 0 },
		{ CR3_TARGET_COUNT, 0 }, { VM_EXIT_MSR_STORE_COUNT, 0 },
		{ MSR_BITMAP, __pa(msr_bitmap) }, { VM_EXIT_MSR_LOAD_ADDR, __pa(vmx->exit_load) },
		{ VM_ENTRY_MSR_LOAD_ADDR, __pa(vmx->entry_load) },
		{ VMCS_LINK_POINTER, ~0ULL }, { EPT_POINTER, vmx_eptp(&vmx->vcpu) },
		{ GUEST_ACTIVITY_STATE, GUEST_ACTIVITY_ACTIVE }, { GUEST_IA32_DEBUGCTL, 0 },
	};

	vmcs_write_all(fields, ARRAY_SIZE(fields));
	if (controls[VMX_SECONDARY] & SECONDARY_EXEC_ENCLS_EXITING)
		vmcs_write(ENCLS_EXITING_BITMAP, ~0ULL);
	/* No value that a field can have: vmx_enter() writes them all. */
	memset(&vmx->written, 0xff, sizeof(vmx->written));
	vmx->setup = false;
}

/* What another guest taught this CPU's branch predictors is not for this one. */
static void make_current(struct vmx_vcpu *vmx, struct vmx_cpu *c)
{
	u64 pa = __pa(vmx->vmcs);

	c->current_vmcs = vmx;
	indirect_branch_prediction_barrier();
	asm goto("stc\n1: vmptrld %0\n2: jna %l[failed]\n" _ASM_EXTABLE(1b, 2b)
		 : : "m" (pa) : "cc", "memory" : failed);
	return;
failed:
	vmx_insn_failed("VMPTRLD", 0);
}

void vmx_vcpu_load(struct clv_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	struct vmx_cpu *c = this_cpu_ptr(&vmx_cpu);
	bool new_cpu = vmx->cpu != smp_processor_id();

	if (likely(c->current_vmcs == vmx && !vmx->setup))
		return;
	if (new_cpu) {
		vmcs_take_back(vmx);
		local_irq_disable();
		write_back(vmx);	/* makes it one, the first time (25.11.3) */
		WRITE_ONCE(vmx->cpu, smp_processor_id());
		list_add(&vmx->node, &c->vmcss);
		local_irq_enable();
		/* What this CPU cached of this EPT earlier may be old. */
		vcpu->flush = true;
		vmx->msrs_stale = true;
	}
	if (c->current_vmcs != vmx)
		make_current(vmx, c);
	if (new_cpu)
		vmx_host_new_cpu();
	if (vmx->setup)
		vmcs_setup(vmx);
}

const struct clv_backend clv_vmx_backend = {
	.name = "vmx", .vendor = CLEAVE_VENDOR_VMX, .s2_format = &clv_s2_ept, .blocks_init = true,
	.refusal = vmx_refusal, .init = vmx_init, .exit = vmx_exit,
	.cpu_enable = vmx_cpu_enable, .cpu_disable = vmx_cpu_disable,
	.vcpu_alloc = vmx_vcpu_alloc, .vcpu_free = vmx_vcpu_free, .vcpu_reset = vmx_vcpu_reset,
	.vcpu_load = vmx_vcpu_load, .vcpu_put = vmx_vcpu_put,
	.enter = vmx_enter, .decode_exit = vmx_decode_exit,
	.regs_pull = vmx_regs_pull, .regs_push = vmx_regs_push, .inject = vmx_inject,
	.msr_field = vmx_msr_field, .check = vmx_check,
};
