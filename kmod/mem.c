// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: guest memory: slots, the mmu notifier, stage-2 faults. No page is pinned and none
 * referenced: a stage-2 leaf is a copy of the host's page-table entry, and goes before that entry
 * does. A notifier first raises cmm->in_progress over its range, then zaps under the write side of
 * s2.lock; a fault holds the read side from its look at in_progress over its walk of the host's
 * page table to its clv_s2_map(). Why that needs no sequence count: Documentation/locking.rst.
 *
 * Locks: vm->s2.lock -> cmm->lock. Nothing is allocated under these: notifiers run below reclaim.
 */
#include <linux/hash.h>
#include <linux/mm.h>
#include <linux/mmu_notifier.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include "backend.h"
#include "insn.h"
#include "trace.h"

#define PTE_ADDR	GENMASK_ULL(51, 12)
#define FAULT_AROUND	16U		/* pages, a power of two */
#define STEP		0x4000UL	/* pages between two looks at who else wants the CPU */

/* The one notifier of a process, for all its VMs. */
struct clv_mm {
	struct mmu_notifier mn;
	spinlock_t lock;		/* spins below vm->s2.lock, and alone */
	struct list_head vms;		/* lock; who looks at one holds it there by vm->lookers */
	wait_queue_head_t last_look;	/* of a VM that ends */
	unsigned int in_progress;	/* lock to change, acquire to look */
	unsigned long start, end;	/* lock: of all in progress */
};

/*
 * But for what a backend says the tables look like the host's own: the nested walk runs in its
 * paging mode, and has 1 GiB pages if the host has them (APM vol. 2 15.25.3, 5.3.5).
 */
struct clv_s2_caps clv_s2_caps;

/* There are few, most often three: a plain search is the fast one. */
static const struct clv_slot *slot_find(const struct clv_vm *vm, u64 gfn)
{
	const struct clv_slot *s;

	for (s = vm->slots; s < vm->slots + vm->nr_slots; s++)
		if (gfn - s->gfn < s->npages)
			return s;
	return NULL;
}

static unsigned long slot_hva(const struct clv_slot *s, u64 gfn)
{
	return s->hva + ((gfn - s->gfn) << PAGE_SHIFT);
}

static bool slot_ok(const struct cleave_slot *a)
{
	u64 end = 1ULL << clv_s2_caps.gpa_bits;

	return a->slot < CLEAVE_MAX_SLOTS && !(a->flags & ~CLEAVE_SLOT_READONLY) &&
	       !a->reserved[0] && !a->reserved[1] && PAGE_ALIGNED(a->gpa | a->size | a->hva) &&
	       a->gpa < end && a->size <= end - a->gpa &&
	       a->size <= TASK_SIZE_MAX && a->hva <= TASK_SIZE_MAX - a->size;
}

static bool s2_range(struct clv_vm *vm, enum clv_s2_op op, u64 gfn, u64 n, void **free)
{
	bool hit = clv_s2_range(&vm->s2, op, gfn, n, free);

	trace_cleave_invalidate(gfn << PAGE_SHIFT, n << PAGE_SHIFT, op, hit);
	return hit;
}

static void s2_unlock(struct clv_vm *vm, bool flush, void **free) __releases(&vm->s2.lock)
{
	if (flush)
		clv_vm_flush_tlb(vm);
	write_unlock(&vm->s2.lock);
	clv_s2_free_tables(&vm->s2, free);
}

enum how { AT_ONCE, IN_STEPS, FOR_GOOD };

/*
 * The operation on what [start, end) of the owner's memory backs; flushes. But for AT_ONCE it gives
 * CPU and lock to others in between, and its result says nothing. No fault brings back what it has
 * unmapped already: an invalidation in progress, or vm->dead, keep those away.
 */
static bool vm_range(struct clv_vm *vm, enum clv_s2_op op, unsigned long start, unsigned long end,
		     enum how how)
{
	bool hit = false, flushes = op == CLV_S2_UNMAP || op == CLV_S2_PROTECT;
	rwlock_t *lock = &vm->s2.lock;
	unsigned long from, to;
	struct clv_slot *s;
	void *free = NULL;
	u64 gfn, n;

	write_lock(lock);
	for (s = vm->slots; s < vm->slots + vm->nr_slots; s++) {
		for (from = start & PAGE_MASK; ; from += n << PAGE_SHIFT) {
			from = max(from, s->hva);	/* of another slot, maybe, by now */
			to = min(end, s->hva + (s->npages << PAGE_SHIFT));
			if (from >= to)
				break;
			gfn = s->gfn + ((from - s->hva) >> PAGE_SHIFT);
			n = min(DIV_ROUND_UP(to - from, PAGE_SIZE), STEP - gfn % STEP);
			hit |= s2_range(vm, op, gfn, n, &free);
			/* With PREEMPT_RT a lock does not tell that others wait. */
			if (how == AT_ONCE || !(IS_ENABLED(CONFIG_PREEMPT_RT) || need_resched() ||
						rwlock_is_contended(lock)))
				continue;
			s2_unlock(vm, hit && flushes, &free);
			hit = false;
			cond_resched();
			write_lock(lock);
		}
	}
	s2_unlock(vm, hit && flushes, &free);
	return hit;
}

int clv_mem_set_slot(struct clv_vm *vm, const struct cleave_slot *args)
{
	struct clv_slot new = { 0 }, *slot;
	void *free = NULL;
	bool hit;

	lockdep_assert_held(&vm->lock);
	if (!slot_ok(args))
		return -EINVAL;
	if (args->size)
		new = (struct clv_slot) {
			.gfn = args->gpa >> PAGE_SHIFT, .npages = args->size >> PAGE_SHIFT,
			.hva = args->hva, .flags = args->flags };
	/* Changed with vm->lock held only: stable here without s2.lock. */
	for (slot = vm->slots; slot < vm->slots + vm->nr_slots; slot++)
		if (slot != &vm->slots[args->slot] && new.gfn < slot->gfn + slot->npages &&
		    slot->gfn < new.gfn + new.npages)
			return -EEXIST;
	slot = &vm->slots[array_index_nospec(args->slot, CLEAVE_MAX_SLOTS)];
	if (!new.npages && !slot->npages)
		return -ENOENT;

	/* Most of it so: the rest, under one lock, is what vCPUs bring back meanwhile. */
	vm_range(vm, CLV_S2_UNMAP, slot->hva, slot->hva + (slot->npages << PAGE_SHIFT), IN_STEPS);
	write_lock(&vm->s2.lock);
	hit = s2_range(vm, CLV_S2_UNMAP, slot->gfn, slot->npages, &free);
	*slot = new;
	vm->nr_slots = max(vm->nr_slots, args->slot + 1);
	vm->slots_gen++;
	s2_unlock(vm, hit, &free);
	return 0;
}

static struct clv_mm *to_cmm(struct mmu_notifier *mn)
{
	return container_of(mn, struct clv_mm, mn);
}

static bool cmm_range(struct clv_mm *cmm, enum clv_s2_op op, unsigned long start, unsigned long end,
		      enum how how)
{
	struct clv_vcpu *vcpu;
	struct clv_vm *vm;
	bool hit = false;
	u32 i;

	spin_lock(&cmm->lock);
	list_for_each_entry(vm, &cmm->vms, cmm_node) {
		/* It ends: nothing runs there, and it waits for who looks already. */
		if (!kref_read(&vm->ref))
			continue;
		vm->lookers++;
		spin_unlock(&cmm->lock);
		if (how == FOR_GOOD)
			WRITE_ONCE(vm->dead, true);
		hit |= vm_range(vm, op, start, end, how);
		if (how == FOR_GOOD)
			clv_for_each_vcpu(i, vcpu, vm)
				clv_vcpu_kick(vcpu);
		spin_lock(&cmm->lock);
		if (!--vm->lookers)
			wake_up(&cmm->last_look);
	}
	spin_unlock(&cmm->lock);
	return hit;
}

static int mn_range_start(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	/* The pages stay, and lose no more than write access (fork, writeback). */
	bool protect = range->event == MMU_NOTIFY_PROTECTION_PAGE;
	struct clv_mm *cmm = to_cmm(mn);

	spin_lock(&cmm->lock);
	cmm->start = cmm->in_progress ? min(cmm->start, range->start) : range->start;
	cmm->end = cmm->in_progress ? max(cmm->end, range->end) : range->end;
	WRITE_ONCE(cmm->in_progress, cmm->in_progress + 1);
	spin_unlock(&cmm->lock);
	cmm_range(cmm, protect ? CLV_S2_PROTECT : CLV_S2_UNMAP, range->start, range->end,
		  mmu_notifier_range_blockable(range) ? IN_STEPS : AT_ONCE);
	return 0;
}

static void mn_range_end(struct mmu_notifier *mn, const struct mmu_notifier_range *range)
{
	struct clv_mm *cmm = to_cmm(mn);

	spin_lock(&cmm->lock);
	WARN_ON_ONCE(!cmm->in_progress);
	/* Release: who sees it lowered sees what the host wrote before. */
	smp_store_release(&cmm->in_progress, cmm->in_progress - 1);
	spin_unlock(&cmm->lock);
}

/* Without a TLB flush, as on x86: pages look idle a bit early. No accessed bits: aging unmaps. */
static int mn_clear_young(struct mmu_notifier *mn, struct mm_struct *mm,
			  unsigned long start, unsigned long end)
{
	return cmm_range(to_cmm(mn), clv_s2_caps.ad ? CLV_S2_CLEAR_YOUNG : CLV_S2_UNMAP,
			 start, end, AT_ONCE);
}

static int mn_test_young(struct mmu_notifier *mn, struct mm_struct *mm, unsigned long address)
{
	return cmm_range(to_cmm(mn), CLV_S2_TEST_YOUNG, address, address + 1, AT_ONCE);
}

/* The owner is gone, or executes another program: its pages are freed next. */
static void mn_release(struct mmu_notifier *mn, struct mm_struct *mm)
{
	cmm_range(to_cmm(mn), CLV_S2_UNMAP, 0, ULONG_MAX, FOR_GOOD);
}

static struct mmu_notifier *mn_alloc(struct mm_struct *mm)
{
	struct clv_mm *cmm = kzalloc(sizeof(*cmm), GFP_KERNEL_ACCOUNT);

	if (!cmm)
		return ERR_PTR(-ENOMEM);
	INIT_LIST_HEAD(&cmm->vms);
	init_waitqueue_head(&cmm->last_look);
	spin_lock_init(&cmm->lock);
	return &cmm->mn;
}

static void mn_free(struct mmu_notifier *mn)
{
	kfree(to_cmm(mn));
}

static const struct mmu_notifier_ops clv_mn_ops = {
	.invalidate_range_start = mn_range_start, .invalidate_range_end = mn_range_end,
	.clear_flush_young = mn_clear_young, .clear_young = mn_clear_young,
	.test_young = mn_test_young, .release = mn_release,
	.alloc_notifier = mn_alloc, .free_notifier = mn_free,
};

/*
 * The largest leaf around gfn that lies in the slot, has its place in the owner's memory too, and
 * that no invalidation in progress touches; 0: gfn's own page is touched. s2.lock held.
 */
static int fault_level(struct clv_vm *vm, const struct clv_slot *slot, u64 gfn, bool busy)
{
	u64 host_gfn = slot_hva(slot, gfn) >> PAGE_SHIFT, start = 0, end = 0;
	int level;

	if (busy) {
		spin_lock(&vm->cmm->lock);
		start = vm->cmm->start >> PAGE_SHIFT;
		end = ((vm->cmm->end - 1) >> PAGE_SHIFT) + 1;
		spin_unlock(&vm->cmm->lock);
	}
	for (level = clv_s2_caps.max_leaf; level > 0; level--) {
		u64 n = clv_s2_pages(level), first = gfn & ~(n - 1), host = host_gfn & ~(n - 1);

		if (((gfn ^ host_gfn) & (n - 1)) || first < slot->gfn ||
		    first + n > slot->gfn + slot->npages)
			continue;
		if (end <= host || start >= host + n)
			break;
	}
	return level;
}

/* What the host's page table says of an address. */
struct host_leaf {
	u64 *entry;
	u64 e;			/* what *entry was */
	u64 pfn;		/* of the address, not of the leaf's start */
	int level;		/* as CLV_S2_* */
};

/*
 * Walks the page table of current->mm, whose levels have one format (SDM vol. 3A 4.5.4). As for
 * get_user_pages_fast() IRQs off keep it: tables go after an IPI to, or an RCU grace period of,
 * each CPU that uses the mm. False: no leaf is there.
 */
static bool host_walk(struct mm_struct *mm, unsigned long hva, struct host_leaf *h)
{
	u64 *table = (u64 *)mm->pgd, mask;

	for (h->level = pgtable_l5_enabled() ? 5 : 4; ; h->level--) {
		mask = clv_s2_pages(h->level) - 1;
		h->entry = &table[(hva >> PAGE_SHIFT) / (mask + 1) % PTRS_PER_PTE];
		h->e = READ_ONCE(*h->entry);
		if (!(h->e & _PAGE_PRESENT))
			return false;
		if (h->level == CLV_S2_4K || (h->e & _PAGE_PSE))
			break;
		table = __va(h->e & PTE_PFN_MASK);
	}
	h->pfn = ((h->e & PTE_PFN_MASK) >> PAGE_SHIFT & ~mask) | (hva >> PAGE_SHIFT & mask);
	return true;
}

/*
 * What a guest may do with a page; 0: nothing. It gets ordinary memory only, write-back, encrypted
 * if the host encrypts, whose life the host's notifiers describe: no device memory, no page tables
 * of a driver's own making. The zero page is special but never goes away. Writable only where the
 * host's entry is dirty: a guest's writes do not make it so, and clean pages are just dropped.
 */
static u32 host_prot(const struct clv_slot *slot, const struct host_leaf *h)
{
	u64 cache = _PAGE_PWT | _PAGE_PCD | (h->level == CLV_S2_4K ? _PAGE_PAT : _PAGE_PAT_LARGE);
	u64 write = _PAGE_RW | _PAGE_DIRTY;

	if (!(h->e & _PAGE_USER) || (h->e & cache) || (h->e & sme_me_mask) != sme_me_mask ||
	    !pfn_valid(h->pfn) ||
	    ((h->e & (_PAGE_SPECIAL | _PAGE_DEVMAP)) && !is_zero_pfn(h->pfn)))
		return 0;
	if ((slot->flags & CLEAVE_SLOT_READONLY) || (h->e & write) != write)
		return CLV_S2_R | CLV_S2_X;
	return CLV_S2_R | CLV_S2_W | CLV_S2_X;
}

/*
 * Maps the present neighbours in the aligned block around gfn, whose leaf of 4 KiB was just mapped,
 * as far as the host's table or leaf at hand reaches. Same locks as host_walk().
 */
static void fault_around(struct clv_vcpu *vcpu, const struct clv_slot *slot, u64 gfn,
			 const struct host_leaf *h)
{
	u64 reach = h->level == CLV_S2_4K ? PTRS_PER_PTE - 1 : clv_s2_pages(h->level) - 1;
	u64 host_gfn = slot_hva(slot, gfn) >> PAGE_SHIFT;
	u64 back = min3(gfn & (FAULT_AROUND - 1), gfn - slot->gfn, host_gfn & reach);
	u64 on = min3(~gfn & (FAULT_AROUND - 1), slot->gfn + slot->npages - 1 - gfn,
		      ~host_gfn & reach);
	s64 i;

	for (i = -(s64)back; i <= (s64)on; i++) {
		struct host_leaf n = *h;
		u32 prot;

		n.pfn += i;
		if (h->level == CLV_S2_4K) {
			n.e = READ_ONCE(h->entry[i]);
			n.pfn = (n.e & PTE_PFN_MASK) >> PAGE_SHIFT;
		}
		prot = n.e & _PAGE_PRESENT ? host_prot(slot, &n) : 0;
		if (i && prot)
			clv_s2_map(&vcpu->vm->s2, gfn + i, n.pfn, CLV_S2_4K, prot, &vcpu->s2_cache);
	}
}

/* As fault_try(), with s2.lock held and IRQs off. -EEXIST: something else is mapped there. */
static int fault_map(struct clv_vcpu *vcpu, const struct clv_slot *slot, u64 gfn, u32 access,
		     int level, bool around)
{
	struct host_leaf h;
	u32 prot;
	int ret;

	if (!host_walk(vcpu->vm->mm, slot_hva(slot, gfn), &h))
		return -ENXIO;
	prot = host_prot(slot, &h);
	if (!prot)
		return -EFAULT;
	if (access & ~prot)
		return -ENXIO;
	/* -EAGAIN for a large leaf: smaller ones are there, add to them. */
	level = min(level, h.level);
	do {
		u64 mask = clv_s2_pages(level) - 1;

		ret = clv_s2_map(&vcpu->vm->s2, gfn & ~mask, h.pfn & ~mask, level, prot,
				 &vcpu->s2_cache);
	} while (ret == -EAGAIN && --level);
	if (!ret && level == CLV_S2_4K && around)
		fault_around(vcpu, slot, gfn, &h);
	return ret == -EAGAIN ? -EEXIST : ret;
}

/* As clv_mem_fault(); -ENXIO: the host has to fault the page in first. */
static int fault_try(struct clv_vcpu *vcpu, u64 gfn, u32 access, bool around, unsigned long *hva)
{
	struct clv_vm *vm = vcpu->vm;
	const struct clv_slot *slot;
	unsigned long flags;
	int level, ret = -ENOENT;
	bool busy;

	read_lock(&vm->s2.lock);
	slot = slot_find(vm, gfn);
	if (!slot)
		goto unlock;
	*hva = slot_hva(slot, gfn);
	ret = -EROFS;
	if ((access & CLV_S2_W) && (slot->flags & CLEAVE_SLOT_READONLY))
		goto unlock;
	/* Before the walk: see the top of this file. Pairs with mn_range_end(). */
	busy = smp_load_acquire(&vm->cmm->in_progress);
	level = fault_level(vm, slot, gfn, busy);
	ret = -EAGAIN;
	if (!level || READ_ONCE(vm->dead))
		goto unlock;
	local_irq_save(flags);
	ret = fault_map(vcpu, slot, gfn, access, level, around && !busy);
	local_irq_restore(flags);
unlock:
	read_unlock(&vm->s2.lock);
	if (ret != -EEXIST)
		return ret;
	/* A notifier should have removed what is there; so the guest goes on whatever happened. */
	vm_range(vm, CLV_S2_UNMAP, *hva, *hva + PAGE_SIZE, AT_ONCE);
	return -EAGAIN;
}

/* As the owner's own access would. */
static int host_fault(struct mm_struct *mm, unsigned long hva, bool write)
{
	bool unlocked = false;
	int ret;

	if (mmap_read_lock_killable(mm))
		return -EINTR;
	ret = fixup_user_fault(mm, hva, write ? FAULT_FLAG_WRITE : 0, &unlocked);
	mmap_read_unlock(mm);
	return ret;
}

int clv_mem_fault(struct clv_vcpu *vcpu, u64 gpa, u32 access, unsigned long *hva)
{
	u64 gfn = gpa >> PAGE_SHIFT;
	int ret;

	*hva = 0;
	ret = clv_s2_cache_fill(&vcpu->s2_cache) ?: fault_try(vcpu, gfn, access, true, hva);
	/* The page is new to the host, and its neighbours are: not worth a look. */
	if (ret == -ENXIO)
		ret = host_fault(vcpu->vm->mm, *hva, access & CLV_S2_W) ?:
		      fault_try(vcpu, gfn, access, false, hva);
	return ret == -ENXIO || ret == -EINTR ? -EAGAIN : ret;
}

/* Reads within a page, which is at *hva then. */
static int read_at(struct clv_vm *vm, u64 gpa, void *buf, u32 len, unsigned long *hva)
{
	const struct clv_slot *slot;

	read_lock(&vm->s2.lock);
	slot = slot_find(vm, gpa >> PAGE_SHIFT);
	if (slot)
		*hva = slot_hva(slot, gpa >> PAGE_SHIFT) + offset_in_page(gpa);
	read_unlock(&vm->s2.lock);
	if (!slot)
		return -ENOENT;
	return copy_from_user(buf, (void __user *)*hva, len) ? -EFAULT : 0;
}

int clv_mem_read(struct clv_vm *vm, u64 gpa, void *buf, u32 len)
{
	unsigned long hva;

	return read_at(vm, gpa, buf, len, &hva);
}

/* XCHG, as it cannot be kept from coming to an end as CMPXCHG can. Faults are not handled. */
static int user_xchg(u8 __user *p, u8 *val)
{
	int ret = -EFAULT;

	if (!user_access_begin(p, sizeof(*p)))
		return -EFAULT;
	asm volatile("1:\txchgb %b0, %2\n\txor %1, %1\n2:\n" _ASM_EXTABLE_UA(1b, 2b)
		     : "+q" (*val), "+r" (ret), "+m" (*(__force u8 *)p));
	user_access_end();
	return ret;
}

/*
 * The one place where the module changes guest memory, a page at most; xchg: a byte, whose old
 * value comes back in buf. Under s2.lock, so that nothing is written where no slot is any more;
 * hence faults are done in between, a few. Who takes the page away again and again has the loss.
 * now: nobody and no fault is waited for.
 */
static int change(struct clv_vm *vm, u64 gpa, void *buf, u32 len, bool xchg, bool now)
{
	const struct clv_slot *slot;
	int ret, tries = 3;

	/* Whose read_unlock() may let interrupts in. */
	if (now && IS_ENABLED(CONFIG_PREEMPT_RT))
		return -EAGAIN;
	do {
		unsigned long hva = 0;

		ret = -ENOENT;
		if (!read_trylock(&vm->s2.lock)) {
			if (now)
				return -EAGAIN;
			read_lock(&vm->s2.lock);
		}
		slot = slot_find(vm, gpa >> PAGE_SHIFT);
		if (slot) {
			ret = -EROFS;
			hva = slot_hva(slot, gpa >> PAGE_SHIFT) + offset_in_page(gpa);
		}
		if (slot && !(slot->flags & CLEAVE_SLOT_READONLY)) {
			pagefault_disable();
			ret = xchg ? user_xchg((u8 __user *)hva, buf) :
				     copy_to_user_nofault((void __user *)hva, buf, len);
			pagefault_enable();
		}
		read_unlock(&vm->s2.lock);
		if (ret != -EFAULT || now || !tries--)
			return ret;
		ret = host_fault(vm->mm, hva, true);
	} while (!ret);
	return ret;
}

int clv_mem_write(struct clv_vm *vm, u64 gpa, void *buf, u32 len)
{
	u32 first = min_t(u32, len, PAGE_SIZE - offset_in_page(gpa));
	int ret = change(vm, gpa, buf, first, false, false);

	return ret || first == len ? ret :
	       change(vm, gpa + first, buf + first, len - first, false, false);
}

int clv_mem_xchg(struct clv_vm *vm, u64 gpa, u8 *val, bool now)
{
	return change(vm, gpa, val, sizeof(*val), true, now);
}

/*
 * As the CPU walks (APM vol. 2 chapter 5), which has just fetched an instruction there: rights are
 * not checked again; what a guest changes meanwhile fools only itself. Entries go into the trail.
 */
static int gva_to_gpa(struct clv_vm *vm, const struct clv_code *c, u64 gva, u64 *gpa,
		      struct clv_trail *t)
{
	bool lma = c->efer & EFER_LMA, wide = lma || (c->cr4 & X86_CR4_PAE);
	int bits = wide ? 9 : 10, size = wide ? 8 : 4;	/* a level decides on; of an entry */
	int level = lma ? (c->cr4 & X86_CR4_LA57 ? 5 : 4) : wide ? 3 : 2;
	int max_leaf = lma ? 3 : wide || (c->cr4 & X86_CR4_PSE) ? 2 : 1;	/* by PS */
	u64 table = c->cr3 & (lma ? PTE_ADDR : wide ? 0xffffffe0 : 0xfffff000);

	*gpa = gva;
	if (!(c->cr0 & X86_CR0_PG))
		return 0;
	for (; level > 0; level--) {
		int shift = 12 + (level - 1) * bits;
		u64 index = gva >> shift & (BIT(bits) - 1), page = BIT_ULL(shift) - 1, addr = 0;

		if (read_at(vm, table + index * size, &addr, size, &t->step[t->steps].hva))
			return -ENOENT;
		t->step[t->steps++].entry = addr;
		if (!(addr & _PAGE_PRESENT))
			return -EFAULT;
		if (level == 1 || (level <= max_leaf && (addr & _PAGE_PSE))) {
			/* A 4 MiB page may lie above 4 GiB: 39:32 in 20:13 (APM vol. 2 5.2.2). */
			if (level == 2 && size == 4)
				addr = (addr & 0xffc00000) | (addr >> 13 & 0xff) << 32;
			*gpa = (addr & PTE_ADDR & ~page) | (gva & page);
			return 0;
		}
		table = addr & PTE_ADDR;
	}
	return -EFAULT;
}

/*
 * The bytes at the trail's end, if the walk would end there again: its entries are read again,
 * not believed. Faults are not handled. Slots lie in the owner's half, see slot_ok().
 */
static bool follow(struct clv_vm *vm, const struct clv_trail *t, const struct clv_code *c, u8 *buf)
{
	unsigned long from = t->hva + offset_in_page(c->linear);
	u64 entry, first, last;
	bool same = false;
	u32 i;

	if (t->page != (c->linear & PAGE_MASK) || t->cr3 != c->cr3 || !c->code64 ||
	    t->la57 != (c->cr4 & X86_CR4_LA57) || offset_in_page(from) > PAGE_SIZE - CLV_INSN_MAX)
		return false;
	read_lock(&vm->s2.lock);
	pagefault_disable();
	if (t->slots_gen == vm->slots_gen && user_access_begin((void __user *)from, CLV_INSN_MAX)) {
		for (i = 0; i < t->steps; i++) {
			unsafe_get_user(entry, (u64 __user *)t->step[i].hva, out);
			if (entry != t->step[i].entry)
				goto out;
		}
		unsafe_get_user(first, (u64 __user *)from, out);
		unsafe_get_user(last, (u64 __user *)(from + CLV_INSN_MAX - sizeof(last)), out);
		same = true;
out:
		user_access_end();
	}
	pagefault_enable();
	read_unlock(&vm->s2.lock);
	if (same) {
		memcpy(buf, &first, sizeof(first));
		memcpy(buf + CLV_INSN_MAX - sizeof(last), &last, sizeof(last));
	}
	return same;
}

int clv_fetch(struct clv_vcpu *vcpu, const struct clv_code *c, u8 *buf)
{
	struct clv_trail *t = &vcpu->trails[hash_64(c->linear >> PAGE_SHIFT, CLV_TRAIL_BITS)];
	u64 mask = c->code64 ? ~0ULL : U32_MAX, gva, gpa;
	struct clv_trail walk = { .slots_gen = READ_ONCE(vcpu->vm->slots_gen) };
	u32 done, n;
	int ret;

	if (follow(vcpu->vm, t, c, buf))
		return CLV_INSN_MAX;
	/* By pages; an instruction may well end on the first. */
	for (done = 0; done < CLV_INSN_MAX; done += n) {
		gva = (c->linear + done) & mask;
		n = min_t(u32, CLV_INSN_MAX - done, 0x1000 - (gva & 0xfff));
		walk.steps = 0;
		ret = gva_to_gpa(vcpu->vm, c, gva, &gpa, &walk);
		if (!ret && read_at(vcpu->vm, gpa, buf + done, n, &walk.hva))
			ret = -ENOENT;
		if (ret)
			return done ? done : ret;
	}
	if (n == CLV_INSN_MAX && c->code64) {
		walk.page = c->linear & PAGE_MASK;
		walk.hva &= PAGE_MASK;
		walk.cr3 = c->cr3;
		walk.la57 = c->cr4 & X86_CR4_LA57;
		*t = walk;
	}
	return done;
}

int clv_mem_vm_create(struct clv_vm *vm)
{
	int ret = clv_s2_create(&vm->s2, clv_backend->s2_format, &clv_s2_caps);
	struct mmu_notifier *mn;

	if (ret)
		return ret;
	mn = mmu_notifier_get(&clv_mn_ops, vm->mm);
	if (IS_ERR(mn)) {
		clv_s2_destroy(&vm->s2);
		return PTR_ERR(mn);
	}
	vm->cmm = to_cmm(mn);
	vm->slots_gen = 1;
	spin_lock(&vm->cmm->lock);
	list_add(&vm->cmm_node, &vm->cmm->vms);
	spin_unlock(&vm->cmm->lock);
	return 0;
}

/* No vCPU runs, but all still exist: until this returns a notifier may flush or kick them. */
void clv_mem_vm_destroy(struct clv_vm *vm)
{
	struct clv_mm *cmm = vm->cmm;

	spin_lock(&cmm->lock);
	wait_event_cmd(cmm->last_look, !vm->lookers, spin_unlock(&cmm->lock),
		       spin_lock(&cmm->lock));
	list_del(&vm->cmm_node);
	spin_unlock(&cmm->lock);
	mmu_notifier_put(&cmm->mn);
	vm_range(vm, CLV_S2_UNMAP, 0, ULONG_MAX, IN_STEPS);	/* slots have all that is mapped */
	clv_s2_destroy(&vm->s2);
}

/*
 * Addresses of a guest are as wide as CPUID 0x80000008 says (APM vol. 3 E.4.7;
 * EAX[23:16], if not zero, is what a nested guest can have), which is not
 * boot_cpu_data.x86_phys_bits: memory encryption takes bits from the host's.
 */
void clv_mem_init(void)
{
	u32 eax = cpuid_eax(0x80000008);

	if (!clv_s2_caps.levels) {
		clv_s2_caps.levels = pgtable_l5_enabled() ? 5 : 4;
		clv_s2_caps.max_leaf = boot_cpu_has(X86_FEATURE_GBPAGES) ? CLV_S2_1G : CLV_S2_2M;
		clv_s2_caps.ad = true;
	}
	clv_s2_caps.gpa_bits = min_t(u32, eax & 0xff, clv_s2_caps.levels == 5 ? 52 : 48);
	if (eax & 0xff0000)
		clv_s2_caps.gpa_bits = min_t(u32, clv_s2_caps.gpa_bits, eax >> 16 & 0xff);
}
