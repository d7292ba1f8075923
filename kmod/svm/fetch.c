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

struct walk {
	u64 table;
	int levels;
	int bits;	/* of the address that one level decides on */
	int max_leaf;	/* highest level at which PTE_PS makes a leaf */
};

/* False: paging is off. */
static bool walk_init(const struct vmcb_save_area *s, struct walk *w)
{
	if (!(s->cr0 & X86_CR0_PG))
		return false;
	if (s->efer & EFER_LMA)
		*w = (struct walk){ s->cr3 & PTE_ADDR, s->cr4 & X86_CR4_LA57 ? 5 : 4, 9, 3 };
	else if (s->cr4 & X86_CR4_PAE)
		*w = (struct walk){ s->cr3 & 0xffffffe0, 3, 9, 2 };
	else
		*w = (struct walk){ s->cr3 & 0xfffff000, 2, 10, s->cr4 & X86_CR4_PSE ? 2 : 1 };
	return true;
}

/* A 4 MiB page may lie above 4 GiB: bits 39:32 in 20:13 (APM vol. 2 5.2.2). */
static u64 leaf_addr(const struct walk *w, u64 pte, int level)
{
	if (w->bits == 10 && level == 2)
		return (pte & 0xffc00000) | ((pte >> 13 & 0xff) << 32);
	return pte & PTE_ADDR;
}

static int gva_to_gpa(struct clv_vcpu *vcpu, u64 gva, u64 *gpa)
{
	struct walk w;
	int level, shift, size;

	*gpa = gva;
	if (!walk_init(&to_svm(vcpu)->vmcb->save, &w))
		return 0;
	size = w.bits == 10 ? 4 : 8;
	for (level = w.levels; level > 0; level--) {
		__le64 raw = 0;
		u64 pte, page;

		shift = 12 + (level - 1) * w.bits;
		if (clv_mem_read(vcpu->vm, w.table + (gva >> shift & (BIT(w.bits) - 1)) * size,
				 &raw, size))
			return -ENOENT;
		pte = le64_to_cpu(raw);
		if (!(pte & PTE_P))
			return -EFAULT;
		if (level == 1 || (level <= w.max_leaf && (pte & PTE_PS))) {
			page = BIT_ULL(shift) - 1;
			*gpa = (leaf_addr(&w, pte, level) & ~page) | (gva & page);
			return 0;
		}
		w.table = pte & PTE_ADDR;
	}
	return -EFAULT;
}

/* Reads up to the end of the page. */
static int fetch_part(struct clv_vcpu *vcpu, u64 gva, u8 *buf, int n)
{
	u64 gpa;
	int ret;

	n = min_t(int, n, 0x1000 - (gva & 0xfff));
	ret = gva_to_gpa(vcpu, gva, &gpa);
	if (ret)
		return ret;
	return clv_mem_read(vcpu->vm, gpa, buf, n) ? -ENOENT : n;
}

int svm_fetch(struct clv_vcpu *vcpu, u8 *buf)
{
	const struct vmcb_save_area *s = &to_svm(vcpu)->vmcb->save;
	bool code64 = svm_code64(s);
	u64 gva = s->rip;
	int n, more;

	if (!code64)
		gva = (u32)(gva + s->cs.base);
	n = fetch_part(vcpu, gva, buf, SVM_INSN_MAX);
	if (n < 0 || n == SVM_INSN_MAX)
		return n;
	gva += n;
	if (!code64)
		gva = (u32)gva;
	/* The instruction may well end on the first page. */
	more = fetch_part(vcpu, gva, buf + n, SVM_INSN_MAX - n);
	return more < 0 ? n : n + more;
}
