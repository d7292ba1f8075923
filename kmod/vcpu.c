// SPDX-License-Identifier: GPL-2.0
/* cleave: virtual CPUs: creation, end, the run page, MSRs by ioctl. */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/slab.h>
#include "backend.h"
#include "compat.h"

/* Also of one that has got no further than half of its parts. */
void clv_vcpu_destroy(struct clv_vcpu *vcpu)
{
	clv_lapic_destroy(vcpu);
	fpu_free_guest_fpstate(&vcpu->fpu);
	clv_cpuid_destroy(vcpu);
	clv_s2_cache_free(&vcpu->s2_cache);
	/* Who has them mapped keeps the pages. */
	if (vcpu->recorder)
		free_pages_exact(vcpu->recorder, sizeof(*vcpu->recorder));
	free_page((unsigned long)vcpu->run);
	clv_backend->vcpu_free(vcpu);
}

/* NULL: no memory. */
static struct clv_vcpu *vcpu_alloc(struct clv_vm *vm, u32 id)
{
	struct clv_vcpu *vcpu = clv_backend->vcpu_alloc(vm);

	if (!vcpu)
		return NULL;
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->cpu = -1;
	vcpu->record = &vcpu->lost;
	mutex_init(&vcpu->mutex);
	spin_lock_init(&vcpu->events_lock);
	rcuwait_init(&vcpu->wait);
	clv_cpuid_create(vcpu);
	vcpu->run = (struct cleave_run *)get_zeroed_page(GFP_KERNEL_ACCOUNT);
	vcpu->recorder = alloc_pages_exact(sizeof(*vcpu->recorder),
					   GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!vcpu->run || !vcpu->recorder || clv_fpu_create(vcpu) || clv_lapic_create(vcpu)) {
		clv_vcpu_destroy(vcpu);
		return NULL;
	}
	clv_state_reset(vcpu, false);
	clv_lapic_reset(vcpu, false);
	vcpu->mp_state = id ? CLEAVE_MP_WAIT_INIT : CLEAVE_MP_RUNNABLE;
	clv_backend->vcpu_reset(vcpu);
	return vcpu;
}

/* vm->lock held. The fd is installed last: from then on user space has it. */
int clv_vcpu_create(struct clv_vm *vm, const struct cleave_create_vcpu *args)
{
	struct clv_vcpu *vcpu;
	struct file *file;
	int fd;

	lockdep_assert_held(&vm->lock);
	if (args->flags || args->reserved || args->id >= CLEAVE_MAX_VCPUS)
		return -EINVAL;
	if (clv_vcpu_by_id(vm, args->id))
		return -EEXIST;
	vcpu = vcpu_alloc(vm, args->id);
	if (!vcpu)
		return -ENOMEM;

	fd = get_unused_fd_flags(O_RDWR | O_CLOEXEC);
	if (fd < 0)
		goto destroy;
	file = anon_inode_getfile("cleave-vcpu", &clv_vcpu_fops, vcpu, O_RDWR | O_CLOEXEC);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		fd = PTR_ERR(file);
		goto destroy;
	}
	kref_get(&vm->ref);
	/* Release: whoever sees the vCPU sees it complete. */
	smp_store_release(&vm->vcpus[args->id], vcpu);
	if (args->id >= vm->nr_vcpus)	/* after vcpus[], for who counts up to it */
		smp_store_release(&vm->nr_vcpus, args->id + 1);
	fd_install(fd, file);
	return fd;
destroy:
	clv_vcpu_destroy(vcpu);
	return fd;
}

/* Page 0 is the run page; the recorder, for reading alone, is behind it. */
int clv_vcpu_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct clv_vcpu *vcpu = file->private_data;
	bool recorder = vma->vm_pgoff == 1;
	void *page = recorder ? (void *)vcpu->recorder : vcpu->run;
	unsigned long addr, size = recorder ? sizeof(*vcpu->recorder) : PAGE_SIZE;
	int ret = 0;

	if (vma->vm_mm != vcpu->vm->mm)
		return -EIO;
	if (vma->vm_pgoff > 1 || vma->vm_end - vma->vm_start != size ||
	    !(vma->vm_flags & VM_SHARED) || (vma->vm_flags & VM_EXEC))
		return -EINVAL;
	if (recorder && (vma->vm_flags & VM_WRITE))
		return -EACCES;
	clv_vm_flags_mod(vma, VM_DONTCOPY | VM_DONTEXPAND, recorder ? VM_MAYWRITE : 0);
	for (addr = vma->vm_start; addr < vma->vm_end && !ret; addr += PAGE_SIZE, page += PAGE_SIZE)
		ret = vm_insert_page(vma, addr, virt_to_page(page));
	return ret;
}

int clv_vcpu_msrs(struct clv_vcpu *vcpu, struct cleave_msrs *m, bool set)
{
	u32 count = m->count;

	m->done = 0;
	if (count > CLEAVE_MAX_MSRS)
		return -EINVAL;
	for (; m->done < count; m->done++) {
		struct cleave_msr_entry *e = &m->entries[m->done];

		if (e->reserved || (set ? clv_msr_set(vcpu, e->index, e->value, true) :
					  clv_msr_get(vcpu, e->index, &e->value, true)))
			return -EINVAL;
	}
	return 0;
}
