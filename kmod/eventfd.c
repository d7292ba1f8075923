// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: events without user space. An irqfd makes messages to the local APICs of an eventfd's
 * signals, an ioeventfd makes signals of what the guest writes. Both lists change under vm->lock;
 * who else may be at an entry, and what it must outlive, is in Documentation/locking.rst.
 */
#include <linux/eventfd.h>
#include <linux/file.h>
#include <linux/poll.h>
#include <linux/rculist.h>
#include <linux/slab.h>
#include <asm/apicdef.h>
#include "backend.h"
#include "compat.h"
#include "insn.h"

struct clv_irqfd {
	struct list_head node;
	struct clv_vm *vm;		/* c */
	struct eventfd_ctx *source;	/* c: a reference */
	struct eventfd_ctx *resample;	/* c: a reference, or NULL */
	struct cleave_msi msi;		/* queue's lock; data: also READ_ONCE */
	wait_queue_head_t *queue;	/* c: of source */
	wait_queue_entry_t wait;	/* in queue until source is closed */
	poll_table pt;
};

struct clv_ioeventfd {
	struct list_head node;
	struct cleave_ioeventfd args;	/* c; fd: 0 */
	struct eventfd_ctx *target;	/* c: a reference */
};

/* vm->lock held. What has left the lists is no vCPU's any more when it returns. */
static void unlink(struct clv_vm *vm, struct list_head *node)
{
	struct clv_vcpu *vcpu;
	u32 i;

	lockdep_assert_held(&vm->lock);
	list_del_rcu(node);
	clv_for_each_vcpu(i, vcpu, vm) {
		spin_lock(&vcpu->events_lock);
		spin_unlock(&vcpu->events_lock);
	}
}

/* source's count becomes 0, or one less if it is a semaphore: a signal is one message at most. */
static int irqfd_wake(wait_queue_entry_t *wait, unsigned int mode, int sync, void *key)
{
	struct clv_irqfd *fd = container_of(wait, struct clv_irqfd, wait);
	__poll_t events = key_to_poll(key);
	u64 count;

	if (events & EPOLLIN) {
		eventfd_ctx_do_read(fd->source, &count);
		clv_lapic_msi(fd->vm, &fd->msi);
	}
	/* Its last descriptor is closed: that ends it, but for the memory. */
	if (events & EPOLLHUP)
		list_del_init_careful(&wait->entry);
	return 0;
}

static void irqfd_queue(struct file *file, wait_queue_head_t *queue, poll_table *pt)
{
	struct clv_irqfd *fd = container_of(pt, struct clv_irqfd, pt);

	fd->queue = queue;
	add_wait_queue(queue, &fd->wait);
}

/* Waits for a callback, and for vCPUs that look at it. */
static int irqfd_destroy(struct clv_irqfd *fd)
{
	remove_wait_queue(fd->queue, &fd->wait);
	unlink(fd->vm, &fd->node);
	fd->vm->nr_irqfds--;
	if (fd->resample)
		eventfd_ctx_put(fd->resample);
	eventfd_ctx_put(fd->source);
	kfree(fd);
	return 0;
}

static void irqfds_destroy(struct clv_vm *vm, bool closed_only)
{
	struct clv_irqfd *fd, *next;

	list_for_each_entry_safe(fd, next, &vm->irqfds, node)
		if (!closed_only || list_empty_careful(&fd->wait.entry))
			irqfd_destroy(fd);
}

/* A signal from before the irqfd is not lost. */
static int irqfd_set(struct clv_irqfd *fd, const struct cleave_msi *msi)
{
	u64 count;

	spin_lock_irq(&fd->queue->lock);
	fd->msi.address = msi->address;
	WRITE_ONCE(fd->msi.data, msi->data);
	eventfd_ctx_do_read(fd->source, &count);
	if (count)
		clv_lapic_msi(fd->vm, msi);
	spin_unlock_irq(&fd->queue->lock);
	return 0;
}

/* Takes the references over, if it succeeds. file keeps source open until it is in place. */
static int irqfd_create(struct clv_vm *vm, struct file *file, struct eventfd_ctx *source,
			struct eventfd_ctx *resample, const struct cleave_msi *msi)
{
	struct clv_irqfd *fd;

	if (vm->nr_irqfds >= CLEAVE_MAX_IRQFDS)
		return -ENOSPC;
	fd = kzalloc(sizeof(*fd), GFP_KERNEL_ACCOUNT);
	if (!fd)
		return -ENOMEM;
	*fd = (struct clv_irqfd) { .vm = vm, .source = source, .resample = resample, .msi = *msi };
	init_waitqueue_func_entry(&fd->wait, irqfd_wake);
	init_poll_funcptr(&fd->pt, irqfd_queue);
	list_add_tail_rcu(&fd->node, &vm->irqfds);
	vm->nr_irqfds++;
	vfs_poll(file, &fd->pt);
	return irqfd_set(fd, msi);
}

static bool irqfd_ok(const struct cleave_irqfd *a, const struct cleave_msi *msi)
{
	const u32 level = APIC_INT_LEVELTRIG | APIC_INT_ASSERT;

	if (a->reserved || (a->resample_fd && a->flags != CLEAVE_IRQFD_RESAMPLE))
		return false;
	if (a->flags == CLEAVE_IRQFD_DEASSIGN)
		return !a->address && !a->data;
	if (a->flags == CLEAVE_IRQFD_RESAMPLE && (a->data & level) != level)
		return false;
	return !(a->flags & ~CLEAVE_IRQFD_RESAMPLE) && clv_lapic_msi_ok(msi);
}

int clv_irqfd(struct clv_vm *vm, const struct cleave_irqfd *args)
{
	struct cleave_msi msi = { .address = args->address, .data = args->data };
	struct eventfd_ctx *source, *resample = NULL;
	struct clv_irqfd *fd, *found = NULL;
	struct file *file;
	int ret;

	if (!irqfd_ok(args, &msi))
		return -EINVAL;
	file = eventfd_fget(args->fd);
	if (IS_ERR(file))
		return PTR_ERR(file);
	if (args->flags & CLEAVE_IRQFD_RESAMPLE)
		resample = eventfd_ctx_fdget(args->resample_fd);
	ret = PTR_ERR_OR_ZERO(resample);
	if (ret)
		goto put_file;
	source = eventfd_ctx_fileget(file);
	irqfds_destroy(vm, true);
	list_for_each_entry(fd, &vm->irqfds, node)
		if (fd->source == source)
			found = fd;
	if (args->flags & CLEAVE_IRQFD_DEASSIGN)
		ret = found ? irqfd_destroy(found) : -ENOENT;
	else if (found)
		ret = found->resample == resample ? irqfd_set(found, &msi) : -EEXIST;
	else
		ret = irqfd_create(vm, file, source, resample, &msi);
	if (ret || found) {	/* else it has the references */
		eventfd_ctx_put(source);
		if (resample)
			eventfd_ctx_put(resample);
	}
put_file:
	fput(file);
	return ret;
}

bool clv_irqfd_eoi(struct clv_vcpu *vcpu, u8 vector)
{
	struct clv_irqfd *fd;
	bool found = false;

	spin_lock(&vcpu->events_lock);
	list_for_each_entry_lockless(fd, &vcpu->vm->irqfds, node) {
		/* Not of one whose source is closed: it is none any more. */
		if (fd->resample && !list_empty_careful(&fd->wait.entry) &&
		    (u8)READ_ONCE(fd->msi.data) == vector) {
			clv_eventfd_signal(fd->resample);
			found = true;
		}
	}
	spin_unlock(&vcpu->events_lock);
	return found;
}

static bool ioeventfd_ok(const struct cleave_ioeventfd *a)
{
	bool pio = a->flags & CLEAVE_IOEVENTFD_PIO;

	if (a->reserved || a->flags >= CLEAVE_IOEVENTFD_DATAMATCH << 1 ||
	    ((a->flags & CLEAVE_IOEVENTFD_DEASSIGN) && a->fd) ||
	    a->address >> (pio ? 16 : clv_s2_caps.gpa_bits))
		return false;
	if (a->size > (pio ? 4 : 8) || (a->size & (a->size - 1)) || a->address % (a->size ?: 1))
		return false;
	if (!(a->flags & CLEAVE_IOEVENTFD_DATAMATCH))
		return !a->data;
	return a->size && !(a->data & ~GENMASK_ULL(a->size * 8 - 1, 0));
}

/* Is there a write that both would have? */
static bool collide(const struct cleave_ioeventfd *a, const struct cleave_ioeventfd *b)
{
	return a->address == b->address && !((a->flags ^ b->flags) & CLEAVE_IOEVENTFD_PIO) &&
	       (!a->size || !b->size || a->size == b->size) &&
	       (!(a->flags & b->flags & CLEAVE_IOEVENTFD_DATAMATCH) || a->data == b->data);
}

/* Waits for vCPUs that signal it. */
static int ioeventfd_destroy(struct clv_vm *vm, struct clv_ioeventfd *e)
{
	unlink(vm, &e->node);
	vm->nr_ioeventfds--;
	eventfd_ctx_put(e->target);
	kfree(e);
	return 0;
}

int clv_ioeventfd(struct clv_vm *vm, const struct cleave_ioeventfd *args)
{
	bool deassign = args->flags & CLEAVE_IOEVENTFD_DEASSIGN;
	struct cleave_ioeventfd key = *args;
	struct eventfd_ctx *target;
	struct clv_ioeventfd *e;

	if (!ioeventfd_ok(args))
		return -EINVAL;
	key.flags &= ~CLEAVE_IOEVENTFD_DEASSIGN;
	key.fd = 0;
	list_for_each_entry(e, &vm->ioeventfds, node) {
		if (deassign && !memcmp(&key, &e->args, sizeof(key)))
			return ioeventfd_destroy(vm, e);
		if (!deassign && collide(&key, &e->args))
			return -EEXIST;
	}
	if (deassign)
		return -ENOENT;
	if (vm->nr_ioeventfds >= CLEAVE_MAX_IOEVENTFDS)
		return -ENOSPC;
	target = eventfd_ctx_fdget(args->fd);
	if (IS_ERR(target))
		return PTR_ERR(target);
	e = kzalloc(sizeof(*e), GFP_KERNEL_ACCOUNT);
	if (!e) {
		eventfd_ctx_put(target);
		return -ENOMEM;
	}
	*e = (struct clv_ioeventfd) { .args = key, .target = target };
	vm->nr_ioeventfds++;
	list_add_tail_rcu(&e->node, &vm->ioeventfds);
	return 0;
}

/* Signals who is for the guest's write w. Of unknown size: is there one, maybe? */
static bool write_event(struct clv_vcpu *vcpu, const struct cleave_ioeventfd *w)
{
	struct list_head *list = &vcpu->vm->ioeventfds;
	struct clv_ioeventfd *e;
	bool found = false;

	if (list_empty(list))
		return false;
	spin_lock(&vcpu->events_lock);
	list_for_each_entry_lockless(e, list, node) {
		found = collide(&e->args, w);
		if (!found)
			continue;
		if (w->size)
			clv_eventfd_signal(e->target);
		break;
	}
	spin_unlock(&vcpu->events_lock);
	return found;
}

bool clv_ioeventfd_out(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	return !exit->io.in && !exit->io.string && write_event(vcpu, &(struct cleave_ioeventfd) {
		.flags = CLEAVE_IOEVENTFD_PIO | CLEAVE_IOEVENTFD_DATAMATCH,
		.address = exit->io.port, .size = exit->io.size,
		.data = vcpu->regs.rax & GENMASK(exit->io.size * 8 - 1, 0) });
}

/* By the instruction, if it did the write, not a page walk or an event's delivery, on one page. */
u8 clv_ioeventfd_store(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	struct cleave_ioeventfd w = { .address = exit->gpa };
	const struct cleave_sregs *s = &vcpu->sregs;
	struct clv_store st;
	u8 buf[CLV_INSN_MAX];
	int n;

	if (!(exit->access & CLV_S2_W) || exit->walk || !write_event(vcpu, &w) ||
	    vcpu->events.injected.type || !clv_code64(vcpu))
		return 0;
	n = clv_fetch(vcpu, &(struct clv_code) {
		.cr0 = s->cr0, .cr3 = s->cr3, .cr4 = s->cr4, .efer = s->efer,
		.linear = vcpu->regs.rip, .code64 = true }, buf);
	if (n <= 0 || !clv_store_parse(buf, n, &vcpu->regs, &st) ||
	    offset_in_page(st.addr ^ exit->gpa) || offset_in_page(st.addr) + st.size > PAGE_SIZE)
		return 0;
	w.size = st.size;
	w.data = st.value;
	w.flags = CLEAVE_IOEVENTFD_DATAMATCH;
	return write_event(vcpu, &w) ? st.len : 0;
}

/* The last reference is gone, so no vCPU runs; signals still come, until here. */
void clv_eventfd_vm_destroy(struct clv_vm *vm)
{
	struct clv_ioeventfd *e, *next;

	mutex_lock(&vm->lock);
	irqfds_destroy(vm, false);
	list_for_each_entry_safe(e, next, &vm->ioeventfds, node)
		ioeventfd_destroy(vm, e);
	mutex_unlock(&vm->lock);
}
