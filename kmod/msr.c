// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: the MSRs a guest may read and write. An allow-list: no value of a
 * guest reaches an MSR of the host but the commands of write_command().
 */
#include <asm/cpufeature.h>
#include <asm/msr.h>
#include <asm/nospec-branch.h>
#include <asm/tsc.h>
#include "backend.h"

#define MTRR_CAP	(BIT(10) | BIT(8) | 8)	/* WC, fixed ranges, eight variable ones */
#define MTRR_DEF_BITS	(BIT(11) | BIT(10) | 0xff)
#define MTRR_MASK_VALID	BIT(11)
#define MISC_ENABLE_RW	(MSR_IA32_MISC_ENABLE_FAST_STRING | MSR_IA32_MISC_ENABLE_TM1 | \
			 MSR_IA32_MISC_ENABLE_ENHANCED_SPEEDSTEP | \
			 MSR_IA32_MISC_ENABLE_XTPR_DISABLE)
#define MISC_ENABLE_RO	(MSR_IA32_MISC_ENABLE_BTS_UNAVAIL | MSR_IA32_MISC_ENABLE_PEBS_UNAVAIL)
#define HWCR_TSC_FREQ	BIT(24)			/* the TSC counts at the P0 frequency */
/* TlbCacheDis, FFDis, IgnneEm, McStatusWrEn: nothing here depends on them. */
#define HWCR_RW		(BIT(3) | BIT(6) | BIT(8) | BIT(18))
#define MCG_STATUS_BITS	(BIT(0) | BIT(1) | BIT(2))

/* ---- time ------------------------------------------------------------------ */

u64 clv_guest_tsc(struct clv_vm *vm)
{
	return rdtsc_ordered() + READ_ONCE(vm->tsc_offset);
}

void clv_tsc_push(struct clv_vcpu *vcpu)
{
	vcpu->tsc_pushed = READ_ONCE(vcpu->vm->tsc_offset) + vcpu->tsc_adjust;
	clv_backend->tsc_offset(vcpu, vcpu->tsc_pushed);
}

/*
 * User space sets the VM's clock, a guest only its own CPU's, which is what
 * IA32_TSC_ADJUST then says (SDM vol. 3B 17.17.3).
 */
static void tsc_set(struct clv_vcpu *vcpu, u64 val, bool host)
{
	u64 delta = val - (clv_guest_tsc(vcpu->vm) + vcpu->tsc_adjust);

	if (host)
		WRITE_ONCE(vcpu->vm->tsc_offset, vcpu->vm->tsc_offset + delta);
	else
		vcpu->tsc_adjust += delta;
}

/* ---- memory types ------------------------------------------------------------ */

/* Each byte of val is one of the memory types in the set. */
static bool types_ok(u64 val, u32 set)
{
	int i;

	for (i = 0; i < 8; i++, val >>= 8)
		if ((val & 0xff) > 7 || !(set & BIT(val & 7)))
			return false;
	return true;
}

#define PAT_TYPES	0xf3	/* UC, WC, WT, WP, WB, UC-: SDM vol. 3A table 11-10 */
#define MTRR_TYPES	0x73	/* UC, WC, WT, WP, WB: SDM vol. 3A table 11-8 */

static u64 *mtrr_of(struct clv_vcpu *vcpu, u32 msr)
{
	switch (msr) {
	case MTRRphysBase_MSR(0) ... MTRRphysMask_MSR(7):
		return &vcpu->mtrr.var[msr - MTRRphysBase_MSR(0)];
	case MSR_MTRRfix64K_00000:
		return &vcpu->mtrr.fixed[0];
	case MSR_MTRRfix16K_80000 ... MSR_MTRRfix16K_A0000:
		return &vcpu->mtrr.fixed[1 + msr - MSR_MTRRfix16K_80000];
	case MSR_MTRRfix4K_C0000 ... MSR_MTRRfix4K_F8000:
		return &vcpu->mtrr.fixed[3 + msr - MSR_MTRRfix4K_C0000];
	case MSR_MTRRdefType:
		return &vcpu->mtrr.def_type;
	default:
		return NULL;
	}
}

/* SDM vol. 3A 11.11.2 */
static bool mtrr_ok(struct clv_vcpu *vcpu, u32 msr, u64 val)
{
	u64 high = ~0ULL << vcpu->caps.maxphyaddr;

	if (msr == MSR_MTRRdefType)
		return !(val & ~(u64)MTRR_DEF_BITS) && types_ok(val & 0xff, MTRR_TYPES);
	if (msr > MTRRphysMask_MSR(7))
		return types_ok(val, MTRR_TYPES);
	if (msr & 1)
		return !(val & (high | (MTRR_MASK_VALID - 1)));
	return !(val & (high | 0xf00)) && types_ok(val & 0xff, MTRR_TYPES);
}

/* ---- power-on ------------------------------------------------------------------ */

static const struct {
	u32 bug;
	u64 bit;
} immune[] = {
	{ X86_BUG_CPU_MELTDOWN, ARCH_CAP_RDCL_NO },
	{ X86_BUG_SPEC_STORE_BYPASS, ARCH_CAP_SSB_NO },
	{ X86_BUG_MDS, ARCH_CAP_MDS_NO },
	{ X86_BUG_TAA, ARCH_CAP_TAA_NO },
	{ X86_BUG_ITLB_MULTIHIT, ARCH_CAP_PSCHANGE_MC_NO },
	{ X86_BUG_GDS, ARCH_CAP_GDS_NO },
	{ X86_BUG_RFDS, ARCH_CAP_RFDS_NO },
};

/* Properties of the CPU that hold in a guest as well, without an MSR to go with them. */
#define ARCH_CAPS_HOST	(ARCH_CAP_RDCL_NO | ARCH_CAP_IBRS_ALL | ARCH_CAP_RSBA | ARCH_CAP_SSB_NO | \
			 ARCH_CAP_MDS_NO | ARCH_CAP_PSCHANGE_MC_NO | ARCH_CAP_TAA_NO | \
			 ARCH_CAP_SBDR_SSDP_NO | ARCH_CAP_FBSDP_NO | ARCH_CAP_PSDP_NO | \
			 ARCH_CAP_FB_CLEAR | ARCH_CAP_RRSBA | ARCH_CAP_BHI_NO | \
			 ARCH_CAP_PBRSB_NO | ARCH_CAP_GDS_NO | ARCH_CAP_RFDS_NO | \
			 ARCH_CAP_RFDS_CLEAR | ARCH_CAP_ITS_NO)

/* What IA32_ARCH_CAPABILITIES can say here: the CPU, and what the kernel knows of it. */
static u64 arch_caps(void)
{
	u64 caps = 0;
	int i;

	if (!boot_cpu_has(X86_FEATURE_ARCH_CAPABILITIES))
		return 0;
	rdmsrl(MSR_IA32_ARCH_CAPABILITIES, caps);
	caps &= ARCH_CAPS_HOST;
	for (i = 0; i < ARRAY_SIZE(immune); i++)
		if (!boot_cpu_has_bug(immune[i].bug))
			caps |= immune[i].bit;
	return caps;
}

/* The values of power-on; INIT changes none of them (SDM vol. 3A table 9-1). */
void clv_msr_reset(struct clv_vcpu *vcpu)
{
	vcpu->pat = 0x0007040600070406ULL;	/* SDM vol. 3A table 11-12 */
	vcpu->spec_ctrl = 0;
	vcpu->tsc_aux = 0;
	vcpu->tsc_adjust = 0;
	vcpu->misc_enable = MSR_IA32_MISC_ENABLE_FAST_STRING | MISC_ENABLE_RO;
	vcpu->mcg_status = 0;
	vcpu->hwcr = 0;
	vcpu->ucode_rev = boot_cpu_data.microcode;
	/* IA32_BIOS_SIGN_ID has the revision in its high half, AMD's patch level in its low one. */
	if (boot_cpu_data.x86_vendor == X86_VENDOR_INTEL)
		vcpu->ucode_rev <<= 32;
	vcpu->arch_caps = arch_caps();
	memset(&vcpu->mtrr, 0, sizeof(vcpu->mtrr));
}

/* ---- reads ------------------------------------------------------------------- */

/* What guest kernels read on AMD without a net; the values of a CPU without the feature. */
static int get_amd(struct clv_vcpu *vcpu, u32 msr, u64 *val)
{
	if (!vcpu->caps.amd)
		return -ENOENT;
	*val = 0;
	switch (msr) {
	case MSR_K7_HWCR:
		*val = vcpu->hwcr | HWCR_TSC_FREQ;
		return 0;
	case MSR_AMD64_DE_CFG:		/* LFENCE waits, if it does on the host */
		if (boot_cpu_has(X86_FEATURE_LFENCE_RDTSC))
			*val = BIT(MSR_AMD64_DE_CFG_LFENCE_SERIALIZE_BIT);
		return 0;
	case MSR_AMD64_SYSCFG:
	case MSR_K8_TOP_MEM1:
	case MSR_K8_TOP_MEM2:
	case MSR_AMD64_NB_CFG:
	case MSR_K8_INT_PENDING_MSG:
	case MSR_FAM10H_MMIO_CONF_BASE:
	case MSR_AMD64_OSVW_ID_LENGTH:
	case MSR_AMD64_OSVW_STATUS:
		return 0;
	default:
		return -ENOENT;
	}
}

static int get_intel(struct clv_vcpu *vcpu, u32 msr, u64 *val)
{
	if (vcpu->caps.amd)
		return -ENOENT;
	switch (msr) {
	case MSR_IA32_MISC_ENABLE:
		*val = vcpu->misc_enable;
		return 0;
	case MSR_IA32_FEAT_CTL:
		*val = FEAT_CTL_LOCKED;
		return 0;
	case MSR_PLATFORM_INFO:
	case MSR_IA32_PLATFORM_ID:
		*val = 0;
		return 0;
	case MSR_IA32_ARCH_CAPABILITIES:
		*val = vcpu->arch_caps;
		return vcpu->caps.arch_caps ? 0 : -ENOENT;
	default:
		return -ENOENT;
	}
}

static int get_core(struct clv_vcpu *vcpu, u32 msr, u64 *val)
{
	const struct clv_cpuid_caps *caps = &vcpu->caps;
	u64 *mtrr;

	switch (msr) {
	case MSR_IA32_TSC:
		*val = clv_guest_tsc(vcpu->vm) + vcpu->tsc_adjust;
		return 0;
	case MSR_IA32_TSC_ADJUST:
		*val = vcpu->tsc_adjust;
		return caps->tsc_adjust ? 0 : -ENOENT;
	case MSR_IA32_APICBASE:
		*val = clv_lapic_base_get(vcpu);
		return 0;
	case MSR_EFER:
		clv_regs_need(vcpu, CLV_REG_CRS);
		*val = vcpu->sregs.efer;
		return 0;
	case MSR_FS_BASE:
	case MSR_GS_BASE:
		clv_regs_need(vcpu, CLV_REG_SEGS);
		*val = msr == MSR_FS_BASE ? vcpu->sregs.fs.base : vcpu->sregs.gs.base;
		return 0;
	case MSR_IA32_CR_PAT:
		*val = vcpu->pat;
		return 0;
	case MSR_IA32_SPEC_CTRL:
		*val = vcpu->spec_ctrl;
		return caps->spec_ctrl ? 0 : -ENOENT;
	case MSR_TSC_AUX:
		*val = vcpu->tsc_aux;
		return caps->rdtscp ? 0 : -ENOENT;
	case MSR_IA32_UCODE_REV:
		*val = vcpu->ucode_rev;
		return 0;
	case MSR_IA32_MCG_CAP:		/* no banks, no MCG_CTL */
		*val = 0;
		return caps->mce ? 0 : -ENOENT;
	case MSR_IA32_MCG_STATUS:
		*val = vcpu->mcg_status;
		return caps->mce ? 0 : -ENOENT;
	case MSR_MTRRcap:
		*val = MTRR_CAP;
		return caps->mtrr ? 0 : -ENOENT;
	}
	mtrr = caps->mtrr ? mtrr_of(vcpu, msr) : NULL;
	if (mtrr) {
		*val = *mtrr;
		return 0;
	}
	if (get_amd(vcpu, msr, val) && get_intel(vcpu, msr, val))
		return -ENOENT;
	return 0;
}

static bool is_x2apic(u32 msr)
{
	return msr >= 0x800 && msr <= 0x8ff;
}

int clv_msr_get(struct clv_vcpu *vcpu, u32 msr, u64 *val, bool host)
{
	int ret;

	*val = 0;
	if (is_x2apic(msr))
		return vcpu->caps.x2apic ? clv_lapic_msr_get(vcpu, msr, val) : -ENOENT;
	if (msr == MSR_IA32_TSC_DEADLINE)
		return vcpu->caps.tsc_deadline ? clv_lapic_msr_get(vcpu, msr, val) : -ENOENT;
	ret = get_core(vcpu, msr, val);
	return ret == -ENOENT ? clv_backend->msr_get(vcpu, msr, val) : ret;
}

/* ---- writes ------------------------------------------------------------------ */

/* Barriers that the guest asks for: the host's CPU carries them out. */
static int write_command(struct clv_vcpu *vcpu, u32 msr, u64 val, bool host)
{
	bool offered = msr == MSR_IA32_PRED_CMD ? vcpu->caps.ibpb : vcpu->caps.flush_l1d;

	if (!offered)
		return -ENOENT;
	if (val & ~1ULL)
		return -EINVAL;
	/* PRED_CMD_IBPB and L1D_FLUSH are both bit 0. */
	if (val && !host)
		wrmsrl(msr, 1);
	return 0;
}

static int set_amd(struct clv_vcpu *vcpu, u32 msr, u64 val)
{
	u64 now;

	if (!vcpu->caps.amd)
		return -ENOENT;
	switch (msr) {
	case MSR_K7_HWCR:
		if (val & ~(u64)(HWCR_RW | HWCR_TSC_FREQ))
			return -EINVAL;
		vcpu->hwcr = val & HWCR_RW;
		return 0;
	case MSR_AMD64_NB_CFG:		/* extended configuration space by CF8: not here */
		return 0;
	default:
		/* What is known, but fixed, can be written with what it holds. */
		if (get_amd(vcpu, msr, &now))
			return -ENOENT;
		return val == now ? 0 : -EINVAL;
	}
}

static int set_intel(struct clv_vcpu *vcpu, u32 msr, u64 val, bool host)
{
	u64 now;

	if (vcpu->caps.amd)
		return -ENOENT;
	switch (msr) {
	case MSR_IA32_MISC_ENABLE:
		if (val & ~(u64)(MISC_ENABLE_RW | MISC_ENABLE_RO))
			return -EINVAL;
		vcpu->misc_enable = (val & MISC_ENABLE_RW) | MISC_ENABLE_RO;
		return 0;
	case MSR_IA32_ARCH_CAPABILITIES:	/* user space may claim less */
		if (!vcpu->caps.arch_caps)
			return -ENOENT;
		if (!host || (val & ~arch_caps()))
			return -EINVAL;
		vcpu->arch_caps = val;
		return 0;
	default:
		if (get_intel(vcpu, msr, &now))
			return -ENOENT;
		return host && val == now ? 0 : -EINVAL;
	}
}

static int set_base(struct clv_vcpu *vcpu, struct cleave_segment *seg, u64 val)
{
	if (!clv_canonical(vcpu, val))
		return -EINVAL;
	clv_regs_touch(vcpu, CLV_REG_SEGS);
	seg->base = val;
	return 0;
}

static int set_ucode_rev(struct clv_vcpu *vcpu, u64 val, bool host)
{
	if (host)
		vcpu->ucode_rev = val;
	/* A guest writes 0, as SDM vol. 3A 9.11.7.1 says, before it reads. */
	return host || !val ? 0 : -EINVAL;
}

static int set_tsc_adjust(struct clv_vcpu *vcpu, u64 val)
{
	if (!vcpu->caps.tsc_adjust)
		return -ENOENT;
	vcpu->tsc_adjust = val;
	return 0;
}

static int set_mcg_status(struct clv_vcpu *vcpu, u64 val, bool host)
{
	if (!vcpu->caps.mce)
		return -ENOENT;
	/* Software may only clear it (SDM vol. 3B 15.3.1.2). */
	if (val & ~(host ? MCG_STATUS_BITS : 0ULL))
		return -EINVAL;
	vcpu->mcg_status = val;
	return 0;
}

/* Checked value: the backend's copy if it has one, and ours. */
static int set_both(struct clv_vcpu *vcpu, u32 msr, u64 *ours, u64 val)
{
	int ret = clv_backend->msr_set(vcpu, msr, val);

	if (ret && ret != -ENOENT)
		return ret;
	*ours = val;
	return 0;
}

/* MSRs that the backend keeps and whose values a CPU checks (SDM vol. 4 2.1). */
static bool backend_ok(struct clv_vcpu *vcpu, u32 msr, u64 val)
{
	switch (msr) {
	case MSR_LSTAR:
	case MSR_CSTAR:
	case MSR_KERNEL_GS_BASE:
	case MSR_IA32_SYSENTER_ESP:
	case MSR_IA32_SYSENTER_EIP:
		return clv_canonical(vcpu, val);
	case MSR_SYSCALL_MASK:
		return !(val >> 32);
	case MSR_IA32_DEBUGCTLMSR:
		return !(val & ~(u64)DEBUGCTLMSR_BTF);
	default:
		return true;
	}
}

static int set_mtrr(struct clv_vcpu *vcpu, u32 msr, u64 val)
{
	u64 *mtrr = vcpu->caps.mtrr ? mtrr_of(vcpu, msr) : NULL;

	if (!mtrr)
		return -ENOENT;
	if (!mtrr_ok(vcpu, msr, val))
		return -EINVAL;
	*mtrr = val;
	return 0;
}

static int set_others(struct clv_vcpu *vcpu, u32 msr, u64 val, bool host)
{
	int ret = set_mtrr(vcpu, msr, val);

	if (ret == -ENOENT)
		ret = set_amd(vcpu, msr, val);
	if (ret == -ENOENT)
		ret = set_intel(vcpu, msr, val, host);
	if (ret != -ENOENT)
		return ret;
	return backend_ok(vcpu, msr, val) ? clv_backend->msr_set(vcpu, msr, val) : -EINVAL;
}

int clv_msr_set(struct clv_vcpu *vcpu, u32 msr, u64 val, bool host)
{
	const struct clv_cpuid_caps *caps = &vcpu->caps;

	if (is_x2apic(msr))
		return caps->x2apic ? clv_lapic_msr_set(vcpu, msr, val) : -ENOENT;
	switch (msr) {
	case MSR_IA32_TSC_DEADLINE:
		return caps->tsc_deadline ? clv_lapic_msr_set(vcpu, msr, val) : -ENOENT;
	case MSR_IA32_TSC:
		tsc_set(vcpu, val, host);
		return 0;
	case MSR_IA32_TSC_ADJUST:
		return set_tsc_adjust(vcpu, val);
	case MSR_IA32_APICBASE:
		return clv_lapic_base_set(vcpu, val, host);
	case MSR_EFER:
		return clv_efer_write(vcpu, val);
	case MSR_FS_BASE:
		return set_base(vcpu, &vcpu->sregs.fs, val);
	case MSR_GS_BASE:
		return set_base(vcpu, &vcpu->sregs.gs, val);
	case MSR_IA32_CR_PAT:
		return types_ok(val, PAT_TYPES) ? set_both(vcpu, msr, &vcpu->pat, val) : -EINVAL;
	case MSR_IA32_SPEC_CTRL:
		if (!caps->spec_ctrl)
			return -ENOENT;
		return val & ~caps->spec_ctrl_bits ? -EINVAL :
			set_both(vcpu, msr, &vcpu->spec_ctrl, val);
	case MSR_IA32_PRED_CMD:
	case MSR_IA32_FLUSH_CMD:
		return write_command(vcpu, msr, val, host);
	case MSR_TSC_AUX:
		if (!caps->rdtscp)
			return -ENOENT;
		return val >> 32 ? -EINVAL : set_both(vcpu, msr, &vcpu->tsc_aux, val);
	case MSR_IA32_UCODE_REV:
		return set_ucode_rev(vcpu, val, host);
	case MSR_IA32_MCG_CAP:
		return caps->mce ? (host && !val ? 0 : -EINVAL) : -ENOENT;
	case MSR_IA32_MCG_STATUS:
		return set_mcg_status(vcpu, val, host);
	case MSR_MTRRcap:
		return caps->mtrr ? (host && val == MTRR_CAP ? 0 : -EINVAL) : -ENOENT;
	default:
		return set_others(vcpu, msr, val, host);
	}
}
