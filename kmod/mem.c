// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: guest memory: slots, the mmu notifier, stage-2 faults, and the
 * module's own reads and writes of it.
 *
 * Guest memory is the owner's memory. No page is pinned and none referenced:
 * a stage-2 leaf is a copy of the host's page-table entry, and goes before
 * that entry does. Why that holds:
 *
 *  - a notifier first raises cmm->in_progress over the range it is about to
 *    change, then zaps it in each VM under the write side of s2.lock;
 *  - a fault holds the read side from its look at in_progress over its walk of
 *    the host's page table to its clv_s2_map().
 *
 * A zap that comes after such a fault removes what the fault mapped. A fault
 * that comes after the zap sees in_progress, and backs off; or sees it lowered
 * again, and with that the host's new entries, which are written before. So
 * there is no sequence count to look at again.
 *
 * Locks: cmm->lock -> vm->s2.lock -> cmm->range_lock. Notifiers may not sleep
 * and run below reclaim, so nothing is allocated under these.
 */
#include <linux/highmem.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/sched/mm.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <asm/pgtable.h>
#include <asm/processor.h>
#include "backend.h"

/* The one notifier of a process, for all its VMs. */
struct clv_mm {
	struct mmu_notifier mn;
	rwlock_t lock;
	struct list_head vms;		/* lock */
	spinlock_t range_lock;
	unsigned int in_progress;	/* range_lock to change, acquire to look */
	unsigned long start, end;	/* range_lock: of all in progress */
};

/*
 * Without a word from the backend's init() the tables look like the host's
 * own: the nested walk runs in the host's paging mode, and has 1 GiB pages if
 * the host has them (APM vol. 2 15.25.3, 5.3.5).
 */
struct clv_s2_caps clv_s2_caps;

static u32 gpa_bits;		/* c */

/* ---- slots ------------------------------------------------------------------ */

/* There are few, most often three: a plain search is the fast one. */
static const struct clv_slot *slot_find(const struct clv_slots *slots, u64 gfn)
{
	u32 i;

	for (i = 0; i < slots->count; i++)
		if (gfn - slots->slot[i].gfn < slots->slot[i].npages)
			return &slots->slot[i];
	return NULL;
}

static unsigned long slot_hva(const struct clv_slot *s, u64 gfn)
{
	return s->hva + ((gfn - s->gfn) << PAGE_SHIFT);
}

/* The part of the slot that [start, end) of the owner's memory backs; false: none. */
static bool slot_range(const struct clv_slot *s, unsigned long start, unsigned long end,
		       u64 *gfn, u64 *n)
{
	unsigned long slot_end = s->hva + (s->npages << PAGE_SHIFT);

	start = max(start & PAGE_MASK, s->hva);
	end = min(end, slot_end);
	if (start >= end)
		return false;
	*gfn = s->gfn + ((start - s->hva) >> PAGE_SHIFT);
	*n = PAGE_ALIGN(end - start) >> PAGE_SHIFT;
	return true;
}

static int slot_check(const struct cleave_slot *a)
{
	if (a->slot >= CLEAVE_MAX_SLOTS || (a->flags & ~CLEAVE_SLOT_READONLY) ||
	    a->reserved[0] || a->reserved[1])
		return -EINVAL;
	if (!PAGE_ALIGNED(a->gpa | a->size | a->hva))
		return -EINVAL;
	if (a->gpa >> gpa_bits || a->size > (1ULL << gpa_bits) - a->gpa)
		return -EINVAL;
	if (a->size > TASK_SIZE_MAX || a->hva > TASK_SIZE_MAX - a->size)
		return -EINVAL;
	return 0;
}

/*
 * A copy of the slots in which @a->slot is what @a says; *was is what it is in
 * the old ones. ERR_PTR: -ENOENT, -EEXIST, -ENOMEM.
 */
static struct clv_slots *slots_build(const struct clv_slots *old, const struct cleave_slot *a,
				     struct clv_slot *was)
{
	struct clv_slot add = {
		.id = a->slot,
		.flags = a->flags,
		.gfn = a->gpa >> PAGE_SHIFT,
		.npages = a->size >> PAGE_SHIFT,
		.hva = a->hva,
	};
	struct clv_slots *new;
	int ret = -EEXIST;
	u32 i;

	new = kvzalloc(struct_size(new, slot, old->count + 1), GFP_KERNEL_ACCOUNT);
	if (!new)
		return ERR_PTR(-ENOMEM);
	for (i = 0; i < old->count; i++) {
		const struct clv_slot *s = &old->slot[i];

		if (s->id == add.id)
			*was = *s;
		else if (add.npages && add.gfn < s->gfn + s->npages &&
			 s->gfn < add.gfn + add.npages)
			goto fail;
		else
			new->slot[new->count++] = *s;
	}
	if (add.npages)
		new->slot[new->count++] = add;
	ret = -ENOENT;
	if (!add.npages && !was->npages)
		goto fail;
	return new;
fail:
	kvfree(new);
	return ERR_PTR(ret);
}

int clv_mem_set_slot(struct clv_vm *vm, const struct cleave_slot *args)
{
	struct clv_slot was = { 0 };
	struct clv_slots *old, *new;
	void *free = NULL;
	int ret;

	lockdep_assert_held(&vm->lock);
	ret = slot_check(args);
	if (ret)
		return ret;
	/* Replaced with vm->lock held only: stable here without s2.lock. */
	old = vm->slots;
	new = slots_build(old, args, &was);
	if (IS_ERR(new))
		return PTR_ERR(new);

	write_lock(&vm->s2.lock);
	vm->slots = new;
	if (was.npages && clv_s2_unmap(&vm->s2, was.gfn, was.npages, &free))
		clv_vm_flush_tlb(vm);
	write_unlock(&vm->s2.lock);
	clv_s2_free_tables(&vm->s2, &free);
	kvfree(old);
	return 0;
}

/* ---- mmu notifier ------------------------------------------------------------ */

static struct clv_mm *to_cmm(struct mmu_notifier *mn)
{
	return container_of(mn, struct clv_mm, mn);
}

/* Takes [start, end) of the owner's memory, or write access to it, from the guest. */
static void vm_revoke(struct clv_vm *vm, unsigned long start, unsigned long end, bool write_only)
{
	struct clv_s2 *s2 = &vm->s2;
	void *free = NULL;
	bool flush = false;
	u64 gfn, n;
	u32 i;

	write_lock(&s2->lock);
	for (i = 0; i < vm->slots->count; i++) {
		if (!slot_range(&vm->slots->slot[i], start, end, &gfn, &n))
			continue;
		if (write_only)
			flush |= clv_s2_write_protect(s2, gfn, n);
		else
			flush |= clv_s2_unmap(s2, gfn, n, &free);
	}
	if (flush)
		clv_vm_flush_tlb(vm);
	write_unlock(&s2->lock);
	clv_s2_free_tables(s2, &free);
}

static int mn_range_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	/* The pages stay, and lose no more than write access (fork, writeback). */
	bool write_only = range->event == MMU_NOTIFY_PROTECTION_PAGE;
	struct clv_mm *cmm = to_cmm(mn);
	struct clv_vm *vm;

	spin_lock(&cmm->range_lock);
	if (!cmm->in_progress) {
		cmm->start = range->start;
		cmm->end = range->end;
	} else {
		cmm->start = min(cmm->start, range->start);
		cmm->end = max(cmm->end, range->end);
	}
	WRITE_ONCE(cmm->in_progress, cmm->in_progress + 1);
	spin_unlock(&cmm->range_lock);

	read_lock(&cmm->lock);
	list_for_each_entry(vm, &cmm->vms, cmm_node)
		vm_revoke(vm, range->start, range->end, write_only);
	read_unlock(&cmm->lock);
	return 0;
}

static void mn_range_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct clv_mm *cmm = to_cmm(mn);

	spin_lock(&cmm->range_lock);
	WARN_ON_ONCE(!cmm->in_progress);
	/* Release: who sees it lowered sees what the host wrote before. */
	smp_store_release(&cmm->in_progress, cmm->in_progress - 1);
	spin_unlock(&cmm->range_lock);
}

/*
 * Accessed bits are cleared without a TLB flush, as the host does on x86: a
 * page looks idle a little too soon. Without such bits aging unmaps.
 */
static bool vm_young(struct clv_vm *vm, unsigned long start, unsigned long end, bool clear)
{
	struct clv_s2 *s2 = &vm->s2;
	bool young = false;
	u64 gfn, n;
	u32 i;

	if (s2->ad)
		read_lock(&s2->lock);
	else
		write_lock(&s2->lock);
	for (i = 0; i < vm->slots->count; i++)
		if (slot_range(&vm->slots->slot[i], start, end, &gfn, &n))
			young |= clv_s2_age(s2, gfn, n, clear);
	if (s2->ad) {
		read_unlock(&s2->lock);
		return young;
	}
	if (young && clear)
		clv_vm_flush_tlb(vm);
	write_unlock(&s2->lock);
	return young;
}

static int cmm_young(struct mmu_notifier *mn, unsigned long start, unsigned long end, bool clear)
{
	struct clv_mm *cmm = to_cmm(mn);
	struct clv_vm *vm;
	bool young = false;

	read_lock(&cmm->lock);
	list_for_each_entry(vm, &cmm->vms, cmm_node)
		young |= vm_young(vm, start, end, clear);
	read_unlock(&cmm->lock);
	return young;
}

static int mn_clear_young(struct mmu_notifier *mn, struct mm_struct *mm,
			  unsigned long start, unsigned long end)
{
	return cmm_young(mn, start, end, true);
}

static int mn_test_young(struct mmu_notifier *mn, struct mm_struct *mm, unsigned long address)
{
	return cmm_young(mn, address, address + 1, false);
}

/* The owner is gone, or executes another program: its pages are freed next. */
static void mn_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	struct clv_mm *cmm = to_cmm(mn);
	struct clv_vcpu *vcpu;
	struct clv_vm *vm;
	u32 i;

	read_lock(&cmm->lock);
	list_for_each_entry(vm, &cmm->vms, cmm_node) {
		WRITE_ONCE(vm->dead, true);
		vm_revoke(vm, 0, ULONG_MAX, false);
		clv_for_each_vcpu(i, vcpu, vm)
			clv_vcpu_kick(vcpu);
	}
	read_unlock(&cmm->lock);
}

static struct mmu_notifier *mn_alloc(struct mm_struct *mm)
{
	struct clv_mm *cmm = kzalloc(sizeof(*cmm), GFP_KERNEL_ACCOUNT);

	if (!cmm)
		return ERR_PTR(-ENOMEM);
	rwlock_init(&cmm->lock);
	INIT_LIST_HEAD(&cmm->vms);
	spin_lock_init(&cmm->range_lock);
	return &cmm->mn;
}

static void mn_free(struct mmu_notifier *mn)
{
	kfree(to_cmm(mn));
}

static const struct mmu_notifier_ops clv_mn_ops = {
	.invalidate_range_start = mn_range_start,
	.invalidate_range_end = mn_range_end,
	.clear_flush_young = mn_clear_young,
	.clear_young = mn_clear_young,
	.test_young = mn_test_young,
	.release = mn_release,
	.alloc_notifier = mn_alloc,
	.free_notifier = mn_free,
};

/*
 * The largest leaf around hva, up to @level, that no invalidation in progress
 * touches; 0: hva's own page is touched. s2.lock held.
 */
static int cmm_quiet_level(struct clv_mm *cmm, unsigned long hva, int level)
{
	spin_lock(&cmm->range_lock);
	for (; cmm->in_progress && level > 0; level--) {
		unsigned long size = clv_s2_pages(level) << PAGE_SHIFT;
		unsigned long base = hva & ~(size - 1);

		if (cmm->end <= base || cmm->start >= base + size)
			break;
	}
	spin_unlock(&cmm->range_lock);
	return level;
}

/* ---- stage-2 faults ----------------------------------------------------------- */

#define FAULT_AROUND	16U		/* pages, a power of two */
#define FAULT_TRIES	8

/* How one try ended. */
enum try_result {
	TRY_DONE,
	TRY_BUSY,		/* an invalidation in progress: come back */
	TRY_NO_SLOT,
	TRY_READONLY,
	TRY_ABSENT,		/* the host has to fault the page in first */
	TRY_REFUSED,		/* not memory that a guest can have */
	TRY_CONFLICT,		/* stage 2 has something else there */
};

/* What the host's page table says of an address. */
struct host_leaf {
	u64 pfn;		/* of the address, not of the leaf's start */
	u64 flags;		/* _PAGE_* */
	int level;		/* 1, 2, 3 as CLV_S2_* */
	pte_t *ptep;		/* level 1 */
};

/*
 * Walks the page table of current->mm. IRQs off keeps it from being freed,
 * as for get_user_pages_fast(): tables go only after an IPI to, or an RCU
 * grace period of, each CPU that uses the mm. False: no leaf is there.
 */
static bool host_walk(struct mm_struct *mm, unsigned long hva, struct host_leaf *h)
{
	pgd_t *pgdp = pgd_offset(mm, hva), pgd = READ_ONCE(*pgdp);
	p4d_t *p4dp, p4d;
	pud_t *pudp, pud;
	pmd_t *pmdp, pmd;
	pte_t pte;

	if (pgd_none(pgd) || pgd_bad(pgd))
		return false;
	p4dp = p4d_offset_lockless(pgdp, pgd, hva);
	p4d = READ_ONCE(*p4dp);
	if (p4d_none(p4d) || p4d_bad(p4d))
		return false;

	pudp = pud_offset_lockless(p4dp, p4d, hva);
	pud = READ_ONCE(*pudp);
	h->flags = pud_flags(pud);
	h->level = CLV_S2_1G;
	h->pfn = pud_pfn(pud) + ((hva & ~PUD_MASK) >> PAGE_SHIFT);
	if (!(h->flags & _PAGE_PRESENT))
		return false;
	if (pud_leaf(pud))
		return true;

	pmdp = pmd_offset_lockless(pudp, pud, hva);
	pmd = READ_ONCE(*pmdp);
	h->flags = pmd_flags(pmd);
	h->level = CLV_S2_2M;
	h->pfn = pmd_pfn(pmd) + ((hva & ~PMD_MASK) >> PAGE_SHIFT);
	if (!(h->flags & _PAGE_PRESENT))
		return false;
	if (pmd_leaf(pmd))
		return true;

	h->ptep = pte_offset_kernel(&pmd, hva);
	pte = READ_ONCE(*h->ptep);
	h->flags = pte_flags(pte);
	h->level = CLV_S2_4K;
	h->pfn = pte_pfn(pte);
	return h->flags & _PAGE_PRESENT;
}

/*
 * May a guest have this page? Ordinary memory only, write-back, encrypted if
 * the host encrypts, whose life the host's notifiers describe: no device
 * memory, no page tables of a driver's own making. The zero page is special
 * but never goes away.
 */
static bool host_leaf_ok(const struct host_leaf *h)
{
	u64 cache = _PAGE_PWT | _PAGE_PCD |
		    (h->level == CLV_S2_4K ? _PAGE_PAT : _PAGE_PAT_LARGE);

	if (!(h->flags & _PAGE_USER) || (h->flags & cache))
		return false;
	if ((h->flags & sme_me_mask) != sme_me_mask)
		return false;
	if ((h->flags & (_PAGE_SPECIAL | _PAGE_DEVMAP)) && !is_zero_pfn(h->pfn))
		return false;
	return pfn_valid(h->pfn);
}

/*
 * Writable only where the host's entry is dirty already: the guest's writes do
 * not set that bit, and a clean page may be dropped without being written out.
 */
static u32 fault_prot(const struct clv_slot *slot, const struct host_leaf *h)
{
	u64 need = _PAGE_RW | _PAGE_DIRTY;

	if (!(slot->flags & CLEAVE_SLOT_READONLY) && (h->flags & need) == need)
		return CLV_S2_R | CLV_S2_W | CLV_S2_X;
	return CLV_S2_R | CLV_S2_X;
}

/* The largest leaf that slot and alignment allow. */
static int slot_level(const struct clv_s2 *s2, const struct clv_slot *slot, u64 gfn)
{
	u64 offset = gfn ^ (slot_hva(slot, gfn) >> PAGE_SHIFT);
	int level;

	for (level = s2->max_leaf; level > CLV_S2_4K; level--) {
		u64 mask = clv_s2_pages(level) - 1;
		u64 first = gfn & ~mask;

		if (!(offset & mask) && first >= slot->gfn &&
		    first + mask < slot->gfn + slot->npages)
			break;
	}
	return level;
}

/*
 * Maps the present neighbours in the aligned block around gfn, whose leaf of
 * 4 KiB was just mapped, so the tables are there. Same locks as host_walk().
 */
static void fault_around(struct clv_s2 *s2, const struct clv_slot *slot, u64 gfn,
			 const struct host_leaf *h, struct clv_s2_cache *c)
{
	u64 first = max(gfn & ~(u64)(FAULT_AROUND - 1), slot->gfn);
	u64 last = min(gfn | (FAULT_AROUND - 1), slot->gfn + slot->npages - 1);
	unsigned long hva = slot_hva(slot, gfn);
	unsigned long host_mask = clv_s2_pages(h->level + (h->level == CLV_S2_4K)) * PAGE_SIZE - 1;
	u64 g;

	for (g = first; g <= last; g++) {
		struct host_leaf n = *h;

		/* Only as far as the page table, or the leaf, at hand reaches. */
		if (g == gfn || ((slot_hva(slot, g) ^ hva) & ~host_mask))
			continue;
		if (h->level == CLV_S2_4K) {
			pte_t pte = READ_ONCE(h->ptep[(s64)(g - gfn)]);

			n.flags = pte_flags(pte);
			n.pfn = pte_pfn(pte);
			if (!(n.flags & _PAGE_PRESENT) || !host_leaf_ok(&n))
				continue;
		} else {
			n.pfn += g - gfn;
		}
		clv_s2_map(s2, g, n.pfn, CLV_S2_4K, fault_prot(slot, &n), c);
	}
}

/* s2.lock held, IRQs off. */
static enum try_result fault_map(struct clv_vcpu *vcpu, const struct clv_slot *slot, u64 gfn,
				 u32 access, int level, bool around)
{
	struct clv_s2 *s2 = &vcpu->vm->s2;
	struct host_leaf h;
	int ret;
	u32 prot;

	if (!host_walk(vcpu->vm->mm, slot_hva(slot, gfn), &h))
		return TRY_ABSENT;
	if (!host_leaf_ok(&h))
		return TRY_REFUSED;
	prot = fault_prot(slot, &h);
	if (access & ~prot)
		return TRY_ABSENT;
	/* -EAGAIN for a large leaf: smaller ones are there, add to them. */
	for (level = min(level, h.level); ; level--) {
		u64 mask = clv_s2_pages(level) - 1;

		ret = clv_s2_map(s2, gfn & ~mask, h.pfn & ~mask, level, prot, &vcpu->s2_cache);
		if (ret != -EAGAIN || level == CLV_S2_4K)
			break;
	}
	if (ret == -EAGAIN)
		return TRY_CONFLICT;
	if (ret)
		return TRY_BUSY;
	if (level == CLV_S2_4K && around)
		fault_around(s2, slot, gfn, &h, &vcpu->s2_cache);
	return TRY_DONE;
}

static enum try_result fault_try(struct clv_vcpu *vcpu, u64 gfn, u32 access, bool around,
				 unsigned long *hva)
{
	struct clv_vm *vm = vcpu->vm;
	const struct clv_slot *slot;
	enum try_result ret;
	unsigned long flags;
	bool quiet;
	int level;

	read_lock(&vm->s2.lock);
	slot = slot_find(vm->slots, gfn);
	if (!slot) {
		ret = TRY_NO_SLOT;
		goto unlock;
	}
	*hva = slot_hva(slot, gfn);
	ret = TRY_READONLY;
	if ((access & CLV_S2_W) && (slot->flags & CLEAVE_SLOT_READONLY))
		goto unlock;
	ret = TRY_BUSY;
	if (READ_ONCE(vm->dead))
		goto unlock;
	/* Before the walk: see the top of this file. Pairs with mn_range_end(). */
	quiet = !smp_load_acquire(&vm->cmm->in_progress);
	level = slot_level(&vm->s2, slot, gfn);
	if (!quiet)
		level = cmm_quiet_level(vm->cmm, *hva, level);
	if (!level)
		goto unlock;
	local_irq_save(flags);
	ret = fault_map(vcpu, slot, gfn, access, level, around && quiet);
	local_irq_restore(flags);
unlock:
	read_unlock(&vm->s2.lock);
	return ret;
}

/* Has the host fault the page in, as the owner's own access would. */
static int host_fault_in(struct mm_struct *mm, unsigned long hva, bool write)
{
	bool unlocked = false;
	int ret;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	ret = fixup_user_fault(mm, hva, write ? FAULT_FLAG_WRITE : 0, &unlocked);
	mmap_read_unlock(mm);
	return ret;
}

enum clv_fault_result clv_mem_fault(struct clv_vcpu *vcpu, u64 gpa, u32 access,
				    unsigned long *hva, int *err)
{
	u64 gfn = gpa >> PAGE_SHIFT;
	int tries;

	*hva = 0;
	for (tries = 0; tries < FAULT_TRIES; tries++) {
		*err = clv_s2_cache_fill(&vcpu->s2_cache);
		if (*err)
			return CLV_FAULT_HOST;
		/*
		 * Only a page that was there has neighbours worth a look: the
		 * others are new to the host as well.
		 */
		switch (fault_try(vcpu, gfn, access, !tries, hva)) {
		case TRY_DONE:
			return CLV_FAULT_DONE;
		case TRY_BUSY:
			return CLV_FAULT_RETRY;
		case TRY_NO_SLOT:
			return CLV_FAULT_MMIO;
		case TRY_READONLY:
			return CLV_FAULT_READONLY;
		case TRY_REFUSED:
			*err = -EFAULT;
			return CLV_FAULT_HOST;
		case TRY_CONFLICT:
			/*
			 * Another page, or a larger leaf with less permission:
			 * a notifier should have removed it. Do that here, so
			 * that the guest goes on whatever happened.
			 */
			vm_revoke(vcpu->vm, *hva, *hva + PAGE_SIZE, false);
			break;
		case TRY_ABSENT:
			*err = host_fault_in(vcpu->vm->mm, *hva, access & CLV_S2_W);
			if (*err == -EINTR || fatal_signal_pending(current))
				return CLV_FAULT_RETRY;
			if (*err)
				return CLV_FAULT_HOST;
		}
	}
	return CLV_FAULT_RETRY;
}

/* ---- the module's own accesses -------------------------------------------------- */

/* -EACCES: write to a read-only slot. current->mm is vm->mm. May sleep. */
static int mem_access(struct clv_vm *vm, u64 gpa, void *buf, u32 len, bool write)
{
	while (len) {
		const struct clv_slot *slot;
		unsigned long hva, left;
		int ret = 0;
		u32 n = 0;

		read_lock(&vm->s2.lock);
		slot = slot_find(vm->slots, gpa >> PAGE_SHIFT);
		if (!slot) {
			ret = -ENOENT;
		} else if (write && (slot->flags & CLEAVE_SLOT_READONLY)) {
			ret = -EACCES;
		} else {
			hva = slot_hva(slot, gpa >> PAGE_SHIFT) + offset_in_page(gpa);
			n = min_t(u64, len, ((slot->gfn + slot->npages) << PAGE_SHIFT) - gpa);
		}
		read_unlock(&vm->s2.lock);
		if (ret)
			return ret;
		left = write ? copy_to_user((void __user *)hva, buf, n) :
			       copy_from_user(buf, (void __user *)hva, n);
		if (left)
			return -EFAULT;
		gpa += n;
		buf += n;
		len -= n;
	}
	return 0;
}

int clv_mem_read(struct clv_vm *vm, u64 gpa, void *buf, u32 len)
{
	return mem_access(vm, gpa, buf, len, false);
}

int clv_mem_write(struct clv_vm *vm, u64 gpa, const void *buf, u32 len)
{
	return mem_access(vm, gpa, (void *)buf, len, true);
}

/* ---- create, destroy -------------------------------------------------------------- */

int clv_mem_vm_create(struct clv_vm *vm)
{
	struct mmu_notifier *mn;
	int ret;

	vm->slots = kvzalloc(struct_size(vm->slots, slot, 0), GFP_KERNEL_ACCOUNT);
	if (!vm->slots)
		return -ENOMEM;
	ret = clv_s2_create(&vm->s2, clv_backend->s2_format, clv_s2_caps.levels,
			    clv_s2_caps.max_leaf, clv_s2_caps.ad);
	if (ret)
		goto free_slots;
	mn = mmu_notifier_get(&clv_mn_ops, vm->mm);
	if (IS_ERR(mn)) {
		ret = PTR_ERR(mn);
		goto destroy_s2;
	}
	vm->cmm = to_cmm(mn);
	write_lock(&vm->cmm->lock);
	list_add(&vm->cmm_node, &vm->cmm->vms);
	write_unlock(&vm->cmm->lock);
	return 0;
destroy_s2:
	clv_s2_destroy(&vm->s2);
free_slots:
	kvfree(vm->slots);
	return ret;
}

/*
 * No vCPU runs any more, but all still exist: until this returns a notifier
 * may flush or kick them.
 */
void clv_mem_vm_destroy(struct clv_vm *vm)
{
	write_lock(&vm->cmm->lock);
	list_del(&vm->cmm_node);
	write_unlock(&vm->cmm->lock);
	mmu_notifier_put(&vm->cmm->mn);
	clv_s2_destroy(&vm->s2);
	kvfree(vm->slots);
}

u32 clv_gpa_bits(void)
{
	return gpa_bits;
}

/*
 * Addresses of a guest are as wide as CPUID 0x80000008 says (APM vol. 3 E.4.7;
 * EAX[23:16], if not zero, is what a nested guest can have), which is not
 * boot_cpu_data.x86_phys_bits: memory encryption takes bits from the host's.
 */
int clv_mem_init(void)
{
	u32 eax = cpuid_eax(0x80000008);

	if (!clv_s2_caps.levels) {
		clv_s2_caps.levels = pgtable_l5_enabled() ? 5 : 4;
		clv_s2_caps.max_leaf = boot_cpu_has(X86_FEATURE_GBPAGES) ? CLV_S2_1G : CLV_S2_2M;
		clv_s2_caps.ad = true;
	}
	gpa_bits = min_t(u32, eax & 0xff, clv_s2_caps.levels == 5 ? 52 : 48);
	if (eax & 0xff0000)
		gpa_bits = min(gpa_bits, eax >> 16 & 0xff);
	return 0;
}

/* The notifiers of VMs that are gone are freed behind an SRCU grace period. */
void clv_mem_exit(void)
{
	mmu_notifier_synchronize();
}
