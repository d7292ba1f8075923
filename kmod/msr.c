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

#define MTRR_VAR_FIRST	0x200			/* base of the first variable range */
#define MTRR_VAR_LAST	0x20f			/* mask of the eighth */
#define MTRR_FIX_64K	0x250
#define MTRR_FIX_16K	0x258			/* two, eight of 4 KiB: SDM vol. 3A 12.11.2.2 */
#define MTRR_FIX_4K	0x268
#define MTRR_DEF_TYPE	0x2ff
#define MTRR_CAP_MSR	0xfe
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
 * IA32_TSC_ADJUST then says (SDM vol. 3B 18.17.3).
 */
static void tsc_set(struct clv_vcpu *vcpu, u64 val, bool host)
{
	u64 delta = val - (clv_guest_tsc(vcpu->vm) + vcpu->tsc_adjust);
	struct clv_vm *vm = vcpu->vm;
	u32 i;

	if (!host) {
		vcpu->tsc_adjust += delta;
		clv_lapic_tsc_changed(vcpu);
		return;
	}
	WRITE_ONCE(vm->tsc_offset, vm->tsc_offset + delta);
	clv_for_each_vcpu(i, vcpu, vm)
		clv_lapic_tsc_changed(vcpu);
}

/* Each byte of val is one of the memory types in the set. */
static bool types_ok(u64 val, u32 set)
{
	int i;

	for (i = 0; i < 8; i++, val >>= 8)
		if ((val & 0xff) > 7 || !(set & BIT(val & 7)))
			return false;
	return true;
}

#define PAT_TYPES	0xf3	/* UC, WC, WT, WP, WB, UC-: SDM vol. 3A table 12-10 */
#define MTRR_TYPES	0x73	/* UC, WC, WT, WP, WB: SDM vol. 3A table 12-8 */

static u64 *mtrr_of(struct clv_vcpu *vcpu, u32 msr)
{
	switch (msr) {
	case MTRR_VAR_FIRST ... MTRR_VAR_LAST:
		return &vcpu->mtrr.var[msr - MTRR_VAR_FIRST];
	case MTRR_FIX_64K:
		return &vcpu->mtrr.fixed[0];
	case MTRR_FIX_16K ... MTRR_FIX_16K + 1:
		return &vcpu->mtrr.fixed[1 + msr - MTRR_FIX_16K];
	case MTRR_FIX_4K ... MTRR_FIX_4K + 7:
		return &vcpu->mtrr.fixed[3 + msr - MTRR_FIX_4K];
	case MTRR_DEF_TYPE:
		return &vcpu->mtrr.def_type;
	default:
		return NULL;
	}
}

/* SDM vol. 3A 12.11.2 */
static bool mtrr_ok(struct clv_vcpu *vcpu, u32 msr, u64 val)
{
	u64 high = ~0ULL << vcpu->caps.maxphyaddr;

	if (msr == MTRR_DEF_TYPE)
		return !(val & ~(u64)MTRR_DEF_BITS) && types_ok(val & 0xff, MTRR_TYPES);
	if (msr > MTRR_VAR_LAST)
		return types_ok(val, MTRR_TYPES);
	if (msr & 1)
		return !(val & (high | (MTRR_MASK_VALID - 1)));
	return !(val & (high | 0xf00)) && types_ok(val & 0xff, MTRR_TYPES);
}

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

/* The values of power-on; INIT changes none of them (SDM vol. 3A table 10-1). */
void clv_msr_reset(struct clv_vcpu *vcpu)
{
	vcpu->pat = 0x0007040600070406ULL;	/* SDM vol. 3A table 12-12 */
	vcpu->spec_ctrl = 0;
	vcpu->tsc_aux = 0;
	vcpu->tsc_adjust = 0;
	vcpu->misc_enable = MSR_IA32_MISC_ENABLE_FAST_STRING | MISC_ENABLE_RO;
	vcpu->mcg_status = 0;
	vcpu->hwcr = HWCR_TSC_FREQ;
	vcpu->ucode_rev = boot_cpu_data.microcode;
	/* IA32_BIOS_SIGN_ID has the revision in its high half, AMD's patch level in its low one. */
	if (boot_cpu_data.x86_vendor == X86_VENDOR_INTEL)
		vcpu->ucode_rev <<= 32;
	vcpu->arch_caps = arch_caps();
	memset(&vcpu->mtrr, 0, sizeof(vcpu->mtrr));
}

/* The same for every guest of its vendor: what kernels read without a net. */
static int get_fixed(struct clv_vcpu *vcpu, u32 msr, u64 *val)
{
	const struct clv_cpuid_caps *caps = &vcpu->caps;

	*val = 0;
	switch (msr) {
	case MTRR_CAP_MSR:
		*val = MTRR_CAP;
		return caps->mtrr ? 0 : -ENOENT;
	case MSR_IA32_MCG_CAP:			/* no banks, no MCG_CTL */
		return caps->mce ? 0 : -ENOENT;
	case MSR_IA32_FEAT_CTL:
		*val = FEAT_CTL_LOCKED;
		fallthrough;
	case MSR_PLATFORM_INFO:
	case MSR_IA32_PLATFORM_ID:
		return caps->amd ? -ENOENT : 0;
	case MSR_AMD64_DE_CFG:			/* LFENCE waits, if it does on the host */
		if (boot_cpu_has(X86_FEATURE_LFENCE_RDTSC))
			*val = BIT(MSR_AMD64_DE_CFG_LFENCE_SERIALIZE_BIT);
		fallthrough;
	case MSR_AMD64_SYSCFG:
	case MSR_K8_TOP_MEM1:
	case MSR_K8_TOP_MEM2:
	case MSR_AMD64_NB_CFG:
	case MSR_K8_INT_PENDING_MSG:
	case MSR_FAM10H_MMIO_CONF_BASE:
	case MSR_AMD64_OSVW_ID_LENGTH:
	case MSR_AMD64_OSVW_STATUS:
		return caps->amd ? 0 : -ENOENT;
	default:
		return -ENOENT;
	}
}

/*
 * Registers that are a field of the vCPU, if its CPU has them. The backend
 * looks at pat, spec_ctrl and tsc_aux before each entry.
 */
static u64 *field_of(struct clv_vcpu *vcpu, u32 msr)
{
	const struct clv_cpuid_caps *caps = &vcpu->caps;

	switch (msr) {
	case MSR_IA32_TSC_ADJUST:
		return caps->tsc_adjust ? &vcpu->tsc_adjust : NULL;
	case MSR_IA32_CR_PAT:
		return &vcpu->pat;
	case MSR_IA32_SPEC_CTRL:
		return caps->spec_ctrl ? &vcpu->spec_ctrl : NULL;
	case MSR_TSC_AUX:
		return caps->tsc_aux ? &vcpu->tsc_aux : NULL;
	case MSR_IA32_UCODE_REV:
		return &vcpu->ucode_rev;
	case MSR_IA32_MCG_STATUS:
		return caps->mce ? &vcpu->mcg_status : NULL;
	case MSR_IA32_MISC_ENABLE:
		return caps->amd ? NULL : &vcpu->misc_enable;
	case MSR_IA32_ARCH_CAPABILITIES:
		return caps->arch_caps ? &vcpu->arch_caps : NULL;
	case MSR_K7_HWCR:
		return caps->amd ? &vcpu->hwcr : NULL;
	default:
		return caps->mtrr ? mtrr_of(vcpu, msr) : NULL;
	}
}

/* May the field become val? Sets what is fixed in it. */
static bool field_ok(struct clv_vcpu *vcpu, u32 msr, u64 *val, bool host)
{
	switch (msr) {
	case MSR_IA32_TSC_ADJUST:
		return true;
	case MSR_IA32_CR_PAT:
		return types_ok(*val, PAT_TYPES);
	case MSR_IA32_SPEC_CTRL:
		return !(*val & ~vcpu->caps.spec_ctrl_bits);
	case MSR_TSC_AUX:
		return !(*val >> 32);
	case MSR_IA32_UCODE_REV:
		return host;
	case MSR_IA32_MCG_STATUS:	/* a guest may only clear it, SDM vol. 3B 16.3.1.2 */
		return !(*val & ~(host ? MCG_STATUS_BITS : 0ULL));
	case MSR_IA32_MISC_ENABLE:
		if (*val & ~(u64)(MISC_ENABLE_RW | MISC_ENABLE_RO))
			return false;
		*val |= MISC_ENABLE_RO;
		return true;
	case MSR_IA32_ARCH_CAPABILITIES:	/* user space may claim less */
		return host && !(*val & ~arch_caps());
	case MSR_K7_HWCR:
		if (*val & ~(u64)(HWCR_RW | HWCR_TSC_FREQ))
			return false;
		*val |= HWCR_TSC_FREQ;
		return true;
	default:
		return mtrr_ok(vcpu, msr, *val);
	}
}

static bool is_lapic(u32 msr)
{
	return (msr >= 0x800 && msr <= 0x8ff) || msr == MSR_IA32_TSC_DEADLINE;
}

int clv_msr_get(struct clv_vcpu *vcpu, u32 msr, u64 *val, bool host)
{
	u64 *field;
	int ret;

	*val = 0;
	if (is_lapic(msr))
		return clv_lapic_msr_get(vcpu, msr, val);
	switch (msr) {
	case MSR_IA32_TSC:
		*val = clv_guest_tsc(vcpu->vm) + vcpu->tsc_adjust;
		return 0;
	case MSR_IA32_APICBASE:
		*val = clv_lapic_base_get(vcpu);
		return 0;
	case MSR_EFER:
		clv_regs_need(vcpu, CLV_REG_CRS);
		*val = vcpu->sregs.efer;
		return 0;
	}
	field = field_of(vcpu, msr);
	if (field) {
		*val = *field;
		return 0;
	}
	ret = clv_backend->msr_get(vcpu, msr, val);
	return ret == -ENOENT ? get_fixed(vcpu, msr, val) : ret;
}

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

static int write_field(struct clv_vcpu *vcpu, u32 msr, u64 *field, u64 val, bool host)
{
	/* Before it reads the revision a guest writes 0 (SDM vol. 3A 10.11.7.1). */
	if (msr == MSR_IA32_UCODE_REV && !host && !val)
		return 0;
	if (!field_ok(vcpu, msr, &val, host))
		return -EINVAL;
	*field = val;
	if (msr == MSR_IA32_TSC_ADJUST)
		clv_lapic_tsc_changed(vcpu);
	return 0;
}

/* MSRs of the backend alone: values that the CPU would refuse (SDM vol. 4 2.1). */
static bool backend_ok(struct clv_vcpu *vcpu, u32 msr, u64 val)
{
	switch (msr) {
	case MSR_LSTAR:
	case MSR_CSTAR:
	case MSR_FS_BASE:
	case MSR_GS_BASE:
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

int clv_msr_set(struct clv_vcpu *vcpu, u32 msr, u64 val, bool host)
{
	u64 *field, now;
	int ret;

	if (is_lapic(msr))
		return clv_lapic_msr_set(vcpu, msr, val);
	switch (msr) {
	case MSR_IA32_TSC:
		tsc_set(vcpu, val, host);
		return 0;
	case MSR_IA32_APICBASE:
		return clv_lapic_base_set(vcpu, val, host);
	case MSR_EFER:
		return clv_efer_write(vcpu, val);
	case MSR_IA32_PRED_CMD:
	case MSR_IA32_FLUSH_CMD:
		return write_command(vcpu, msr, val, host);
	}
	field = field_of(vcpu, msr);
	if (field)
		return write_field(vcpu, msr, field, val, host);
	if (!backend_ok(vcpu, msr, val))
		return -EINVAL;
	ret = clv_backend->msr_set(vcpu, msr, val);
	if (ret != -ENOENT || get_fixed(vcpu, msr, &now))
		return ret;
	/* Extended configuration space by port 0xcf8 is not here to be switched. */
	return val == now || msr == MSR_AMD64_NB_CFG ? 0 : -EINVAL;
}
