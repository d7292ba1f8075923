// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: the bytes of an intercepted instruction, through the guest's own
 * page tables (APM vol. 2 chapter 5). The CPU has just fetched it, so rights
 * are not checked again; what a guest changes meanwhile fools only itself.
 */
#include <linux/minmax.h>
#include <asm/msr-index.h>
#include <asm/processor-flags.h>
#include "insn.h"
#include "vmcb.h"

#define PTE_P		BIT_ULL(0)
#define PTE_PS		BIT_ULL(7)
#define PTE_ADDR	GENMASK_ULL(51, 12)

/* How the guest's page tables are walked. */
struct walk {
	u64 table;
	int levels;
	int bits;	/* of the address that one level decides on */
	int max_leaf;	/* highest level at which PTE_PS makes a leaf */
};

static int gva_to_gpa(struct clv_vcpu *vcpu, u64 gva, u64 *gpa)
{
	const struct vmcb_save_area *s = &to_svm(vcpu)->vmcb->save;
	struct walk w;
	int level;

	*gpa = gva;
	if (!(s->cr0 & X86_CR0_PG))
		return 0;
	if (s->efer & EFER_LMA)
		w = (struct walk){ s->cr3 & PTE_ADDR, s->cr4 & X86_CR4_LA57 ? 5 : 4, 9, 3 };
	else if (s->cr4 & X86_CR4_PAE)
		w = (struct walk){ s->cr3 & 0xffffffe0, 3, 9, 2 };
	else
		w = (struct walk){ s->cr3 & 0xfffff000, 2, 10, s->cr4 & X86_CR4_PSE ? 2 : 1 };
	for (level = w.levels; level > 0; level--) {
		int shift = 12 + (level - 1) * w.bits, size = w.bits == 10 ? 4 : 8;
		u64 index = gva >> shift & (BIT(w.bits) - 1), page = BIT_ULL(shift) - 1, addr;
		__le64 raw = 0;

		if (clv_mem_read(vcpu->vm, w.table + index * size, &raw, size))
			return -ENOENT;
		addr = le64_to_cpu(raw);
		if (!(addr & PTE_P))
			return -EFAULT;
		if (level == 1 || (level <= w.max_leaf && (addr & PTE_PS))) {
			/* A 4 MiB page may lie above 4 GiB: 39:32 in 20:13 (APM vol. 2 5.2.2). */
			if (level == 2 && size == 4)
				addr = (addr & 0xffc00000) | (addr >> 13 & 0xff) << 32;
			*gpa = (addr & PTE_ADDR & ~page) | (gva & page);
			return 0;
		}
		w.table = addr & PTE_ADDR;
	}
	return -EFAULT;
}

int svm_fetch(struct clv_vcpu *vcpu, u8 *buf)
{
	const struct vmcb_save_area *s = &to_svm(vcpu)->vmcb->save;
	u64 start = s->rip, mask = ~0ULL, gva, gpa;
	u32 done, n;
	int ret;

	if (!svm_code64(vcpu)) {
		start += s->cs.base;
		mask = U32_MAX;
	}
	/* By pages; an instruction may well end on the first. */
	for (done = 0; done < SVM_INSN_MAX; done += n) {
		gva = (start + done) & mask;
		n = min_t(u32, SVM_INSN_MAX - done, 0x1000 - (gva & 0xfff));
		ret = gva_to_gpa(vcpu, gva, &gpa);
		if (!ret && clv_mem_read(vcpu->vm, gpa, buf + done, n))
			ret = -ENOENT;
		if (ret)
			return done ? done : ret;
	}
	return done;
}
