// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: the host's state around a VT-x guest. An exit loads what the VMCS says and spoils the
 * rest: segment limits, LDTR, DS and ES, the MSRs of SYSCALL (SDM vol. 3C 28.5).
 */
#include <linux/user-return-notifier.h>
#include <asm/cpu_entry_area.h>
#include <asm/desc.h>
#include <asm/mmu_context.h>
#include "vmcs.h"

/* MSRs that only user mode looks at: the first ones of vmx_msrs[], and TSC_AUX. */
#define SYSCALL_URETS	(VMX_SFMASK + 1)
#define URETS		(SYSCALL_URETS + 1)

struct uret {
	struct user_return_notifier urn;
	bool registered;
	const struct vmx_vcpu *guest;	/* whose values are here, or NULL */
	u64 host[URETS], now[URETS];
};

static DEFINE_PER_CPU(struct uret, urets);

static u32 uret_msr(int i)
{
	return i < SYSCALL_URETS ? vmx_msrs[i] : MSR_TSC_AUX;
}

static void uret_write(struct uret *u, int i, u64 val)
{
	if (u->now[i] == val)
		return;
	u->now[i] = val;
	wrmsrl(uret_msr(i), val);
}

/* On the way to user mode, on the CPU where it was registered. */
static void uret_restore(struct user_return_notifier *urn)
{
	struct uret *u = container_of(urn, struct uret, urn);
	unsigned long flags;
	int i;

	/* Against the same by vmx_host_cpu_disable(), in an interrupt. */
	local_irq_save(flags);
	if (u->registered) {
		u->registered = false;
		u->guest = NULL;
		user_return_notifier_unregister(urn);
		for (i = 0; i < URETS; i++)
			uret_write(u, i, u->host[i]);
	}
	local_irq_restore(flags);
}

/* IRQs off. The guest's values, until this CPU goes to user mode. */
static void uret_load(struct vmx_vcpu *vmx)
{
	struct uret *u = this_cpu_ptr(&urets);
	struct clv_vcpu *vcpu = &vmx->vcpu;
	int i;

	if (likely(u->guest == vmx && !vmx->msrs_stale &&
		   (!vcpu->caps.tsc_aux || u->now[SYSCALL_URETS] == vcpu->tsc_aux)))
		return;
	u->guest = vmx;
	vmx->msrs_stale = false;
	if (!u->registered) {
		u->urn.on_user_return = uret_restore;
		u->registered = true;
		user_return_notifier_register(&u->urn);
	}
	for (i = 0; (vcpu->sregs.efer & EFER_SCE) && i < SYSCALL_URETS; i++)
		uret_write(u, i, vmx->msrs[i]);
	if (vcpu->caps.tsc_aux)
		uret_write(u, SYSCALL_URETS, vcpu->tsc_aux);
}

/* What is the same for all threads on a CPU (SDM vol. 3C 25.5). */
void vmx_host_new_cpu(void)
{
	struct cpu_entry_area *cea = get_cpu_entry_area(smp_processor_id());
	const struct vmx_field fields[] = {
		{ HOST_GDTR_BASE, (unsigned long)get_current_gdt_ro() },
		{ HOST_TR_BASE, (unsigned long)&cea->tss.x86_tss },
		{ HOST_TR_SELECTOR, GDT_ENTRY_TSS * 8 },
		{ HOST_CS_SELECTOR, __KERNEL_CS }, { HOST_SS_SELECTOR, __KERNEL_DS },
		{ HOST_DS_SELECTOR, 0 }, { HOST_ES_SELECTOR, 0 },
		{ HOST_FS_SELECTOR, 0 }, { HOST_GS_SELECTOR, 0 },
		{ HOST_GS_BASE, native_read_msr(MSR_GS_BASE) },
		{ HOST_IA32_SYSENTER_CS, native_read_msr(MSR_IA32_SYSENTER_CS) },
		{ HOST_IA32_SYSENTER_ESP, native_read_msr(MSR_IA32_SYSENTER_ESP) },
		{ HOST_IA32_SYSENTER_EIP, native_read_msr(MSR_IA32_SYSENTER_EIP) },
		{ HOST_IA32_PAT, native_read_msr(MSR_IA32_CR_PAT) },
		{ HOST_IA32_EFER, native_read_msr(MSR_EFER) }, { HOST_CR0, read_cr0() },
	};
	struct desc_ptr idt;

	store_idt(&idt);
	vmcs_write(HOST_IDTR_BASE, idt.address);
	vmcs_write_all(fields, ARRAY_SIZE(fields));
}

void vmx_host_leave(struct vmx_vcpu *vmx)
{
	u16 ldt;

	if (!vmx->host_away) {
		savesegment(ds, vmx->host_ds);
		savesegment(es, vmx->host_es);
		savesegment(fs, vmx->host_fs);
		savesegment(gs, vmx->host_gs);
		store_ldt(vmx->host_ldt);
		rdmsrl(MSR_FS_BASE, vmx->host_fs_base);
		rdmsrl(MSR_KERNEL_GS_BASE, vmx->host_kernel_gs_base);
		wrmsrl(MSR_KERNEL_GS_BASE, vmx->msrs[VMX_KERNEL_GS_BASE]);
		vmx->host_away = true;
	} else {
		/* An exit has cleared it; another thread of the process may have made one since. */
		store_ldt(ldt);
		if (ldt)
			vmx->host_ldt = ldt;
	}
	vmcs_update(HOST_FS_BASE, &vmx->written.host_fs_base, vmx->host_fs_base);
	vmcs_update(HOST_CR3, &vmx->written.host_cr3, __get_current_cr3_fast());
	vmcs_update(HOST_CR4, &vmx->written.host_cr4, cr4_read_shadow());
	uret_load(vmx);
}

/* Selectors first: loading one writes the base behind it. */
void vmx_vcpu_put(struct clv_vcpu *vcpu)
{
	struct vmx_vcpu *vmx = to_vmx(vcpu);
	unsigned long flags;

	if (!vmx->host_away)
		return;
	vmx->host_away = false;
	rdmsrl(MSR_KERNEL_GS_BASE, vmx->msrs[VMX_KERNEL_GS_BASE]);
	if (vmx->host_ldt)
		asm volatile("lldt %0" : : "r" (vmx->host_ldt));
	if (vmx->host_ds | vmx->host_es) {
		loadsegment(ds, vmx->host_ds);
		loadsegment(es, vmx->host_es);
	}
	local_irq_save(flags);
	if (vmx->host_gs)
		load_gs_index(vmx->host_gs);
	if (vmx->host_fs) {
		loadsegment(fs, vmx->host_fs);
		wrmsrl(MSR_FS_BASE, vmx->host_fs_base);
	}
	wrmsrl(MSR_KERNEL_GS_BASE, vmx->host_kernel_gs_base);
	local_irq_restore(flags);
	/* An exit leaves the GDT's limit at 64 KiB and the TSS's at 0x67 (28.5.2). */
	invalidate_tss_limit();
	load_fixmap_gdt(smp_processor_id());
}

/* A CPU that was off has them as it came up. */
void vmx_host_cpu_enable(void)
{
	struct uret *u = this_cpu_ptr(&urets);
	int i;

	for (i = 0; i < URETS; i++) {
		rdmsrl_safe(uret_msr(i), &u->host[i]);
		u->now[i] = u->host[i];
	}
}

/* Not in a crash: nothing returns to user mode then, and the list may be half changed. */
void vmx_host_cpu_disable(void)
{
	struct uret *u = this_cpu_ptr(&urets);

	if (u->registered && !in_nmi())
		uret_restore(&u->urn);
}
