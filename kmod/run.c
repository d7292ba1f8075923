// SPDX-License-Identifier: GPL-2.0
/* cleave: CLEAVE_RUN, the loop around the guest. One way in, one way out. */
#include <linux/sched/stat.h>
#include <linux/vtime.h>
#include "entry.h"
#include "compat.h"
#include "trace.h"

/*
 * Where virtualization is off there is no VMCS to read: on a CPU that comes or
 * goes, which this thread is not on for long, or while the host goes down.
 */
void clv_regs_pull(struct clv_vcpu *vcpu, u32 groups)
{
	bool loaded = vcpu->loaded;

	if (!loaded) {
		preempt_disable();
		while (!clv_host_cpu_enabled()) {
			preempt_enable();
			if (READ_ONCE(clv_rebooting) || fatal_signal_pending(current))
				return;
			schedule_timeout_killable(1);
			preempt_disable();
		}
		static_call(clv_vcpu_load)(vcpu);
	}
	clv_backend->regs_pull(vcpu, groups);
	vcpu->avail |= groups;
	if (!loaded)
		preempt_enable();
}

void clv_vcpu_kick(struct clv_vcpu *vcpu)
{
	int cpu;

	/*
	 * After the request bit; pairs with the barrier in enter(). Who is in the guest does
	 * not sleep, and looks at its requests behind another barrier before it does.
	 */
	smp_mb__after_atomic();
	preempt_disable();
	cpu = READ_ONCE(vcpu->cpu);
	if (cpu < 0)
		rcuwait_wake_up(&vcpu->wait);
	else if (cpu != smp_processor_id() && cpu_online(cpu))
		smp_send_reschedule(cpu);
	preempt_enable();
}

static void ack_kick(void *unused)
{
}

void clv_vm_flush_tlb(struct clv_vm *vm)
{
	struct clv_vcpu *vcpu;
	u32 i;

	lockdep_assert_held_write(&vm->s2.lock);
	atomic64_inc(&vm->tlb_gen);
	/* Either we see its CPU below, or the vCPU sees the new tlb_gen. */
	smp_mb__after_atomic();
	preempt_disable();
	cpumask_clear(vm->kick_mask);
	clv_for_each_vcpu(i, vcpu, vm) {
		int cpu = READ_ONCE(vcpu->cpu);

		if (cpu >= 0)
			cpumask_set_cpu(cpu, vm->kick_mask);
	}
	/* Returns when each has left the guest: IRQs are off from entry to exit. */
	smp_call_function_many(vm->kick_mask, ack_kick, NULL, true);
	preempt_enable();
}

/* Takes the run page's registers over: a copy first, then checks on the copy. */
static int take_dirty(struct clv_vcpu *vcpu, u64 dirty)
{
	enum clv_pending pending = vcpu->pending;	/* it goes into these registers */
	struct cleave_state st;
	int ret;

	if (!dirty)
		return 0;
	if (dirty & ~(CLEAVE_REGS | CLEAVE_SREGS))
		return -EINVAL;
	st.groups = dirty;
	st.reserved = 0;
	if (dirty & CLEAVE_REGS)
		memcpy(&st.regs, &vcpu->run->regs, sizeof(st.regs));
	if (dirty & CLEAVE_SREGS)
		memcpy(&st.sregs, &vcpu->run->sregs, sizeof(st.sregs));
	barrier();
	ret = clv_state_set(vcpu, &st);
	vcpu->pending = pending;
	return ret;
}

/* INIT and SIPI, SDM vol. 3A 9.4.3: an INIT goes first. */
static void take_init_sipi(struct clv_vcpu *vcpu)
{
	if (test_and_clear_bit(CLV_REQ_INIT, &vcpu->requests)) {
		clv_state_reset(vcpu, true);
		clv_lapic_reset(vcpu, true);
		WRITE_ONCE(vcpu->mp_state, vcpu->id ? CLEAVE_MP_WAIT_SIPI : CLEAVE_MP_RUNNABLE);
	}
	/* Senders leave the vector alone as long as the bit is set. */
	if (test_bit_acquire(CLV_REQ_SIPI, &vcpu->requests)) {
		u8 vector = READ_ONCE(vcpu->sipi_vector);

		if (!test_and_clear_bit(CLV_REQ_SIPI, &vcpu->requests) ||
		    vcpu->mp_state != CLEAVE_MP_WAIT_SIPI)
			return;
		clv_regs_touch(vcpu, CLV_REG_SEGS | CLV_REG_RIP);
		vcpu->sregs.cs.selector = vector << 8;
		vcpu->sregs.cs.base = (u32)vector << 12;
		vcpu->regs.rip = 0;
		WRITE_ONCE(vcpu->mp_state, CLEAVE_MP_RUNNABLE);
	}
}

/* 0, or -EINTR to leave the loop. */
static int take_requests(struct clv_vcpu *vcpu)
{
	if (!READ_ONCE(vcpu->requests))
		return 0;
	if (test_and_clear_bit(CLV_REQ_KICK, &vcpu->requests))
		return -EINTR;
	take_init_sipi(vcpu);
	clear_bit(CLV_REQ_EVENT, &vcpu->requests);
	clear_bit(CLV_REQ_EOI, &vcpu->requests);
	if (test_and_clear_bit(CLV_REQ_CLOCK, &vcpu->requests))
		vcpu->pv.clock_due = true;
	if (test_and_clear_bit(CLV_REQ_NMI, &vcpu->requests))
		clv_events_take_nmis(vcpu);
	/* The bit was cleared before what it announces is looked at. */
	smp_mb__after_atomic();
	return 0;
}

/* What the exit was about; the registers are as the guest left them. */
static __always_inline u64 detail(const struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	const struct cleave_regs *regs = &vcpu->regs;

	switch (exit->kind) {
	case CLEAVE_KIND_CPUID:		return (u32)regs->rax | regs->rcx << 32;
	case CLEAVE_KIND_IO:
		return exit->io.port | exit->io.size << 16 | (exit->io.in ? BIT(24) : 0);
	case CLEAVE_KIND_RDMSR:
	case CLEAVE_KIND_WRMSR:		return (u32)regs->rcx;
	case CLEAVE_KIND_HYPERCALL:	return regs->rax;
	case CLEAVE_KIND_CR_READ:
	case CLEAVE_KIND_CR_WRITE:	return exit->cr.nr;
	case CLEAVE_KIND_EXCEPTION:	return exit->event.vector;
	default:			return exit->gpa;
	}
}

/* Before it is handled: what the handler may change is kept. */
static __always_inline void record_begin(struct clv_vcpu *vcpu, const struct clv_exit *exit)
{
	struct cleave_recorder *rec = vcpu->recorder;
	struct cleave_record *r = READ_ONCE(rec->frozen) ? &vcpu->lost :
				  &rec->records[rec->count % CLEAVE_RECORDS];

	vcpu->record = r;
	r->tsc = rdtsc();
	r->rip = exit->rip;
	r->raw_reason = exit->raw_reason;
	r->raw_info[0] = exit->raw_info[0];
	r->raw_info[1] = exit->raw_info[1];
	r->detail = detail(vcpu, exit);
	r->kind = exit->kind;
	r->exit = 0;
	r->entered_type = exit->entered_type;
	r->entered_vector = exit->entered_vector;
	r->raised = 0;
	r->raised_vector = 0;
	rec->kinds[exit->kind]++;
	rec->events[exit->entered_type]++;
}

static __always_inline void record_end(struct clv_vcpu *vcpu)
{
	struct cleave_recorder *rec = vcpu->recorder;
	struct cleave_record *r = vcpu->record;

	if (vcpu->events.exception.type) {
		r->raised = 1;
		r->raised_vector = vcpu->events.exception.vector;
	}
	trace_cleave_exit(vcpu->id, r);
	if (r != &vcpu->lost)
		smp_store_release(&rec->count, rec->count + 1); /* who sees it sees the record */
	vcpu->record = &vcpu->lost;
}

static __always_inline enum clv_next handle(struct clv_vcpu *vcpu)
{
	enum clv_next next;

	record_begin(vcpu, &vcpu->exit);
	next = clv_handle_exit(vcpu, &vcpu->exit);
	record_end(vcpu);
	return next;
}

/* A look for what ends HLT, before sleep: the first one, and the longest. */
#define POLL_MIN_NS	10000U
#define POLL_MAX_NS	200000U

/* While nobody else wants the CPU: an interrupt that comes soon is cheaper met than woken for. */
static void poll(struct clv_vcpu *vcpu, u64 start)
{
	while (!READ_ONCE(vcpu->requests) && !READ_ONCE(vcpu->vm->dead) &&
	       single_task_running() && !need_resched() && !signal_pending(current) &&
	       ktime_get_ns() - start < vcpu->poll_ns)
		cpu_relax();
}

/*
 * Until there is a request; 0 or -EINTR. A HLT that a longer look would have spared the sleep
 * makes the next look longer, one that lasts makes it shorter, down to none.
 */
static int wait_for_request(struct clv_vcpu *vcpu)
{
	bool halted = vcpu->mp_state == CLEAVE_MP_HALTED;
	u64 start = halted ? ktime_get_ns() : 0, took;
	int ret;

	if (halted && (vcpu->pv.poll & 1))
		poll(vcpu, start);
	ret = rcuwait_wait_event(&vcpu->wait, READ_ONCE(vcpu->requests) ||
				 READ_ONCE(vcpu->vm->dead), TASK_INTERRUPTIBLE);
	if (!halted || ret)
		return ret;
	took = ktime_get_ns() - start;
	if (took > POLL_MAX_NS)
		vcpu->poll_ns = vcpu->poll_ns > POLL_MIN_NS ? vcpu->poll_ns / 2 : 0;
	else if (took > vcpu->poll_ns)
		vcpu->poll_ns = clamp(vcpu->poll_ns * 2, POLL_MIN_NS, POLL_MAX_NS);
	return 0;
}

enum { READY_USER, READY_ENTER, READY_AGAIN };	/* or -errno */

/* Is the vCPU to be entered, or the run page filled? Sleeps where it is neither. */
static int get_ready(struct clv_vcpu *vcpu)
{
	int ret, vector;

	if (READ_ONCE(vcpu->vm->dead) || READ_ONCE(clv_rebooting))
		return -EIO;
	if (signal_pending(current))
		return -EINTR;
	if (clv_work_needs_user()) {
		/* Done on the way to user mode; without a handler to run, then here again. */
		set_thread_flag(TIF_SIGPENDING);
		return -ERESTARTNOHAND;
	}
	if (need_resched())
		clv_pv_preempted(vcpu);
	cond_resched();
	ret = take_requests(vcpu);
	if (ret)
		return ret;
	do
		vector = clv_lapic_take_eoi(vcpu);
	while (unlikely(vector >= 0) && clv_irqfd_eoi(vcpu, vector));
	if (vector >= 0) {
		clv_eoi_to_user(vcpu, vector);
		return READY_USER;
	}
	clv_lapic_timer_sync(vcpu, vcpu->mp_state != CLEAVE_MP_RUNNABLE);
	if (vcpu->mp_state == CLEAVE_MP_HALTED && clv_has_wake_event(vcpu)) {
		WRITE_ONCE(vcpu->pv.kicked, false);
		WRITE_ONCE(vcpu->mp_state, CLEAVE_MP_RUNNABLE);
	}
	if (vcpu->mp_state == CLEAVE_MP_SHUTDOWN) {
		/* No exit of the CPU's, if the event logic found it. */
		vcpu->exit = (struct clv_exit) { CLEAVE_KIND_SHUTDOWN, .rip = vcpu->regs.rip };
		handle(vcpu);
		return READY_USER;
	}
	if (vcpu->want_window && vcpu->mp_state <= CLEAVE_MP_HALTED &&
	    clv_interrupt_allowed(vcpu)) {
		clv_exit_to_user(vcpu, CLEAVE_EXIT_WINDOW, NULL);
		return READY_USER;
	}
	if (vcpu->mp_state == CLEAVE_MP_RUNNABLE)
		return READY_ENTER;
	clv_pv_preempted(vcpu);
	ret = wait_for_request(vcpu);
	return ret ? ret : READY_AGAIN;
}

/* IRQs off, vcpu->cpu is set. Has anything come since it was looked at? */
static bool must_not_enter(struct clv_vcpu *vcpu)
{
	return READ_ONCE(vcpu->requests) || need_resched() || signal_pending(current) ||
	       clv_work_needs_user() || !clv_host_cpu_enabled() || READ_ONCE(vcpu->vm->dead) ||
	       (vcpu->pv.clock_cpu >= 0 && vcpu->pv.clock_cpu != smp_processor_id());
}

static void unload(struct clv_vcpu *vcpu)
{
	vcpu->loaded = false;
	preempt_enable();
}

/* During CLEAVE_RUN: the thread gives the CPU away between an exit and an entry. */
static void sched_out(struct preempt_notifier *pn, struct task_struct *next)
{
	clv_backend->vcpu_put(container_of(pn, struct clv_vcpu, preempt));
}

static void sched_in(struct preempt_notifier *pn, int cpu)
{
}

static struct preempt_ops preempt_ops = { .sched_in = sched_in, .sched_out = sched_out };

/* No event to come, as far as is known: what comes from elsewhere makes a request, too. */
static __always_inline bool is_quiet(struct clv_vcpu *vcpu)
{
	const struct cleave_events *ev = &vcpu->events;

	return !(ev->injected.type | ev->exception.type | ev->nmi_pending | ev->nmi_masked |
		 ev->extint | vcpu->lapic_busy);
}

/*
 * Behind an exit that has been handled: is there nothing for get_ready() to do but to take these
 * requests? What comes later is one, which must_not_enter() sees, as it does all else.
 */
static __always_inline bool can_go_on(struct clv_vcpu *vcpu, unsigned long but)
{
	return !(READ_ONCE(vcpu->requests) & ~but) && !vcpu->want_window &&
	       vcpu->mp_state == CLEAVE_MP_RUNNABLE;
}

/* With IRQs off in a row: what is to come on this CPU does not wait for longer. */
#define FAST_EXITS	64

static __always_inline void push(struct clv_vcpu *vcpu, bool quiet)
{
	if (!quiet || !vcpu->quiet) {
		vcpu->waits &= !quiet;
		clv_events_deliver(vcpu);
	}
	trace_cleave_entry(vcpu->id, vcpu->regs.rip);
	if (vcpu->dirty) {
		static_call(clv_regs_push)(vcpu, vcpu->dirty);
		vcpu->dirty = 0;
	}
}

static enum clv_next handle_last(struct clv_vcpu *vcpu)
{
	struct cleave_event *ev = &vcpu->events.injected;

	vcpu->exit.entered_type = ev->type;
	vcpu->exit.entered_vector = ev->vector;
	memset(ev, 0, sizeof(*ev));
	static_call(clv_decode_exit)(vcpu, &vcpu->exit);
	return handle(vcpu);
}

/*
 * IRQs off, behind an exit that vcpu->stay says is handled without sleep: done here, and the guest
 * entered again by the caller? Nothing else has changed since the entry but by requests, as whoever
 * else wants something of this thread or this CPU sends an interrupt, which ends the guest. An
 * interrupt for the guest is chosen here, and the byte of its PV EOI is set and taken back, unless
 * that memory is away.
 */
static bool go_on(struct clv_vcpu *vcpu, enum clv_next *next)
{
	bool quiet;

	if (vcpu->pv.eoi_armed && !clv_pv_leave(vcpu, true))
		return false;
	*next = handle_last(vcpu);
	if (*next != CLV_RESUME || need_resched() || !can_go_on(vcpu, BIT(CLV_REQ_EVENT)))
		return false;
	if (READ_ONCE(vcpu->requests)) {
		clear_bit(CLV_REQ_EVENT, &vcpu->requests);
		smp_mb__after_atomic();		/* as in take_requests() */
		vcpu->lapic_busy = true;
	}
	quiet = is_quiet(vcpu);
	if (!quiet) {
		clv_lapic_timer_sync(vcpu, false);
		clv_events_choose(vcpu);
		if ((vcpu->pv.eoi & 1) && clv_pv_arm(vcpu, true))
			return false;
	}
	push(vcpu, quiet);
	return true;
}

/* IRQs off: into the guest, and again as long as they can stay off. Returns how often. */
static int enter_in_a_row(struct clv_vcpu *vcpu, int n, enum clv_next *next)
{
	u64 gen = atomic64_read(&vcpu->vm->tlb_gen);
	bool again = false;

	vcpu->flush |= vcpu->tlb_gen != gen;
	vcpu->tlb_gen = gen;
	clv_fpu_enter(vcpu);
	do {
		*next = CLV_NONE;
		static_call(clv_enter)(vcpu, again);
		again = true;
	} while (++n < FAST_EXITS && vcpu->stay == CLV_STAY && go_on(vcpu, next));
	clv_fpu_leave(vcpu);
	return n;
}

/* Entries and exits, until one is to be handled, if *next is CLV_NONE. False: called off. */
static bool enter(struct clv_vcpu *vcpu, bool quiet, enum clv_next *next)
{
	int n = 0;

	if (unlikely(vcpu->pdptes_stale))
		clv_pdptes_load(vcpu);
	preempt_disable();
	if (unlikely(!clv_host_cpu_enabled())) {
		preempt_enable();
		/* It goes down, and its hotplug thread may be of lower priority. */
		schedule_timeout_interruptible(1);
		return false;
	}
	static_call(clv_vcpu_load)(vcpu);
	vcpu->loaded = true;
	push(vcpu, quiet);
	local_irq_disable();
	WRITE_ONCE(vcpu->cpu, smp_processor_id());
	/* Who asks for something after this sees the CPU and kicks. */
	smp_mb();
	if (must_not_enter(vcpu)) {
		WRITE_ONCE(vcpu->cpu, -1);
		local_irq_enable();
		unload(vcpu);
		return false;
	}
	vtime_account_guest_enter();
	do {
		n = enter_in_a_row(vcpu, n, next);
		/* A tick that ended it is the guest's time still; STI waits for an instruction. */
		local_irq_enable();
		vcpu->has_run = true;
		local_irq_disable();
	} while (*next == CLV_NONE && n < FAST_EXITS && vcpu->stay == CLV_STAY_IRQ &&
		 go_on(vcpu, next) && !must_not_enter(vcpu));
	vtime_account_guest_exit();
	/* Release: who sees it outside sees what the guest wrote. */
	smp_store_release(&vcpu->cpu, -1);
	local_irq_enable();
	unload(vcpu);
	return true;
}

static int loop(struct clv_vcpu *vcpu)
{
	bool entered, quiet = false;
	enum clv_next next;
	u64 gpa;
	int ret;

	for (;;) {
		if (!quiet) {
			ret = get_ready(vcpu);
			if (ret <= READY_USER)
				return ret;
			if (ret == READY_AGAIN)
				continue;
			clv_events_choose(vcpu);
		}
		ret = clv_pv_has_pages(vcpu) ? clv_pv_enter(vcpu, &gpa) : 0;
		if (ret == -EINTR)
			return ret;
		if (ret) {
			clv_exit_fault(vcpu, gpa, 0, CLEAVE_ACCESS_WRITE, ret, NULL);
			return 0;
		}
		entered = enter(vcpu, quiet, &next);
		quiet = false;
		if (vcpu->pv.eoi_armed)
			clv_pv_leave(vcpu, false);
		if (!entered)
			continue;
		if (next == CLV_NONE)
			next = handle_last(vcpu);
		if (next == CLV_TO_USER)
			return 0;
		quiet = can_go_on(vcpu, 0) && is_quiet(vcpu);
	}
}

int clv_run(struct clv_vcpu *vcpu)
{
	struct cleave_run *run = vcpu->run;
	u32 request = READ_ONCE(run->request);
	u64 dirty = READ_ONCE(run->dirty);
	int ret;

	lockdep_assert_held(&vcpu->mutex);
	run->exit = CLEAVE_EXIT_NONE;
	if ((request & ~(CLEAVE_RUN_IMMEDIATE | CLEAVE_RUN_WINDOW)) || READ_ONCE(run->reserved) ||
	    (READ_ONCE(run->want) & ~(CLEAVE_REGS | CLEAVE_SREGS)))
		return -EINVAL;
	ret = take_dirty(vcpu, dirty);
	if (ret)
		return ret;
	run->dirty = 0;
	clv_complete_pending(vcpu);
	if (request & CLEAVE_RUN_IMMEDIATE)
		return -EINTR;
	vcpu->want_window = request & CLEAVE_RUN_WINDOW;

	WRITE_ONCE(vcpu->runner, current);
	fpu_swap_kvm_fpstate(&vcpu->fpu, true);
	preempt_notifier_init(&vcpu->preempt, &preempt_ops);
	preempt_disable();
	preempt_notifier_register(&vcpu->preempt);
	preempt_enable();
	ret = loop(vcpu);
	preempt_disable();
	preempt_notifier_unregister(&vcpu->preempt);
	clv_backend->vcpu_put(vcpu);
	preempt_enable();
	fpu_swap_kvm_fpstate(&vcpu->fpu, false);
	WRITE_ONCE(vcpu->runner, NULL);
	return ret;
}
