// SPDX-License-Identifier: GPL-2.0
/*
 * cleave: what a guest that knows it is one gets by the interface of KVM
 * (Documentation/virt/kvm/x86/{cpuid,msr,hypercalls}.rst): clock, steal time, EOI without an exit,
 * IPIs to many, flushes that a vCPU which is not running owes, kick, yield, poll control. What
 * CPUID leaf 0x40000001 of the guest does not say is not there.
 *
 * The guest chooses where its pages are, may take them away at any time and write to them what it
 * likes. Nothing here depends on what is in them but what the guest's own processor does next, and
 * what could not be written is written before a later entry.
 */
#include <linux/clocksource.h>
#include <linux/kvm_para.h>
#include <linux/math64.h>
#include <linux/sched/task.h>
#include <linux/timekeeping.h>
#include <asm/apicdef.h>
#include <asm/pvclock-abi.h>
#include <asm/tsc.h>
#include "backend.h"

#define ENABLED		1ULL		/* bit 0 of the MSRs; the others are the address */

/* With sleep, as a TSC that goes on counts it (msr.rst, system_time), and as even as the TSC. */
static u64 host_ns(void)
{
	return ktime_to_ns(ktime_mono_to_any(ktime_get_raw(), TK_OFFS_BOOT));
}

/*
 * From ns at tsc on the clock goes with the TSC: one pair for all vCPUs, so that they never differ.
 * Where the host found its TSCs to differ, with the host's clock. clock.lock held.
 */
static u64 clock_at(const struct clv_vm *vm, u64 tsc)
{
	const struct clv_clock *c = &vm->clock;

	if (check_tsc_unstable())
		return c->ns + host_ns() - c->host;
	return c->ns + mul_u64_u32_shr((tsc - c->tsc) << c->shift, c->mul, 32);
}

static u64 clock_get(struct clv_vm *vm)
{
	u64 ns;

	raw_spin_lock_irq(&vm->clock.lock);
	ns = clock_at(vm, clv_vm_tsc(vm));
	raw_spin_unlock_irq(&vm->clock.lock);
	return ns;
}

static void clock_set(struct clv_vm *vm, u64 ns)
{
	raw_spin_lock_irq(&vm->clock.lock);
	vm->clock.tsc = clv_vm_tsc(vm);
	vm->clock.host = host_ns();
	vm->clock.ns = ns;
	raw_spin_unlock_irq(&vm->clock.lock);
}

void clv_pv_vm_create(struct clv_vm *vm)
{
	u32 shift;

	raw_spin_lock_init(&vm->clock.lock);
	clocks_calc_mult_shift(&vm->clock.mul, &shift, tsc_khz, NSEC_PER_MSEC, 0);
	vm->clock.shift = 32 - shift;
	clock_set(vm, 0);
}

/* The guest's TSC moves, its clock does not. */
void clv_pv_tsc_moved(struct clv_vm *vm, u64 delta)
{
	raw_spin_lock_irq(&vm->clock.lock);
	WRITE_ONCE(vm->tsc_offset, vm->tsc_offset + delta);
	vm->clock.tsc += delta;
	raw_spin_unlock_irq(&vm->clock.lock);
}

/*
 * A structure whose readers try again when its version is odd, or has changed: odd, contents, even.
 * The version goes on from what the guest has there, so that it is new after a migration, too.
 */
static int put_versioned(struct clv_vcpu *vcpu, u64 gpa, void *data, u32 len, u32 *version)
{
	u64 at = gpa + ((void *)version - data);
	int ret;

	*version = (*version + 1) | 1;
	ret = clv_mem_write(vcpu->vm, at, version, sizeof(*version));
	smp_wmb();	/* odd before the contents change */
	ret = ret ?: clv_mem_write(vcpu->vm, gpa, data, len);
	smp_wmb();	/* and even after that */
	++*version;
	return ret ?: clv_mem_write(vcpu->vm, at, version, sizeof(*version));
}

/* Guests use one vCPU's pair on all (arch/x86/entry/vdso): its flag says this of their TSCs. */
static bool tscs_match(const struct clv_vcpu *one)
{
	struct clv_vcpu *vcpu;
	u32 i;

	clv_for_each_vcpu(i, vcpu, one->vm)
		if (READ_ONCE(vcpu->tsc_adjust) != one->tsc_adjust)
			return false;
	return true;
}

/* It, or a TSC: all that was written of it is void, and timers may be due. */
void clv_pv_clock_changed(struct clv_vm *vm)
{
	struct clv_vcpu *vcpu;
	u32 i;

	clv_for_each_vcpu(i, vcpu, vm) {
		clv_lapic_timer_look(vcpu);
		clv_vcpu_request(vcpu, CLV_REQ_CLOCK);
	}
}

static void clock_write(struct clv_vcpu *vcpu)
{
	struct clv_vm *vm = vcpu->vm;
	u64 gpa = vcpu->pv.clock & ~ENABLED;
	struct pvclock_vcpu_time_info t = {
		.tsc_to_system_mul = vm->clock.mul, .tsc_shift = vm->clock.shift };
	bool stable = !check_tsc_unstable();

	raw_spin_lock_irq(&vm->clock.lock);
	t.tsc_timestamp = stable ? vm->clock.tsc : clv_vm_tsc(vm);
	t.system_time = stable ? vm->clock.ns : clock_at(vm, t.tsc_timestamp);
	vcpu->pv.clock_cpu = stable ? -1 : smp_processor_id();
	raw_spin_unlock_irq(&vm->clock.lock);
	t.tsc_timestamp += vcpu->tsc_adjust;
	t.flags = stable && tscs_match(vcpu) ? PVCLOCK_TSC_STABLE_BIT : 0;
	vcpu->pv.clock_jiffies = jiffies;
	vcpu->pv.clock_due = clv_mem_read(vm, gpa, &t.version, sizeof(t.version)) ||
			     put_versioned(vcpu, gpa, &t, sizeof(t), &t.version);
}

/* Of an unstable TSC what was written holds on one CPU, and for a while. */
static bool clock_is_old(const struct clv_vcpu *vcpu)
{
	return vcpu->pv.clock_due ||
	       (check_tsc_unstable() && (vcpu->pv.clock_cpu != raw_smp_processor_id() ||
					 time_after(jiffies, vcpu->pv.clock_jiffies + HZ)));
}

/* The time of day when the clock was 0. Once: the guest asks again when it wants to know. */
static void wall_clock_write(struct clv_vcpu *vcpu, u64 gpa)
{
	struct pvclock_wall_clock wc = { 0 };

	wc.sec = div_u64_rem(ktime_get_real_ns() - clock_get(vcpu->vm), NSEC_PER_SEC, &wc.nsec);
	if (!clv_mem_read(vcpu->vm, gpa, &wc.version, sizeof(wc.version)))
		put_versioned(vcpu, gpa, &wc, sizeof(wc), &wc.version);
}

#ifdef CONFIG_SCHED_INFO
#define RUN_DELAY	(current->sched_info.run_delay)
#else
#define RUN_DELAY	0ULL			/* cpuid.c does not offer it */
#endif
#define PREEMPTED	offsetof(struct kvm_steal_time, preempted)

/*
 * The vCPU is about to not run. Between two instructions of the guest alone: who sees the byte set
 * leaves a flush to the next entry, and nothing that was found by an old translation may be used
 * after that. Never twice without an entry in between, which would wipe out such a flush.
 */
void clv_pv_preempted(struct clv_vcpu *vcpu)
{
	u8 preempted = KVM_VCPU_PREEMPTED;

	if (!(vcpu->pv.steal & ENABLED) || vcpu->pv.steal_due)
		return;
	vcpu->pv.steal_due = true;
	vcpu->pv.told = !clv_mem_write(vcpu->vm, (vcpu->pv.steal & ~ENABLED) + PREEMPTED,
				       &preempted, sizeof(preempted));
}

/*
 * The byte is taken by an exchange: a flush asked for before it is done here, after it nobody asks.
 * -errno: it cannot be, and others, but where no slot is, would leave flushes to a past entry.
 */
static int steal_write(struct clv_vcpu *vcpu)
{
	struct { u64 steal; u32 version, flags; } st;	/* struct kvm_steal_time, up to the byte */
	struct clv_pv *pv = &vcpu->pv;
	u64 gpa = pv->steal & ~ENABLED, delay = RUN_DELAY;
	u8 preempted = 0;
	int ret = clv_mem_xchg(vcpu->vm, gpa + PREEMPTED, &preempted, false);

	pv->steal_due = ret;
	vcpu->flush |= ret || (preempted & KVM_VCPU_FLUSH_TLB);
	if (ret)
		return pv->told && ret != -ENOENT ? ret : 0;
	pv->told = false;
	if (clv_mem_read(vcpu->vm, gpa, &st, sizeof(st)))
		return 0;
	/* What another thread waited for is not this vCPU's loss. */
	if (pv->delayed == current && delay > pv->run_delay)
		st.steal += delay - pv->run_delay;
	pv->delayed = current;
	pv->run_delay = delay;
	st.flags = 0;
	pv->steal_due = put_versioned(vcpu, gpa, &st, sizeof(st), &st.version);
	return 0;
}

static bool steal_is_old(const struct clv_vcpu *vcpu)
{
	return (vcpu->pv.steal & ENABLED) && (vcpu->pv.steal_due || vcpu->pv.delayed != current ||
					      vcpu->pv.run_delay != RUN_DELAY);
}

/*
 * Sets the byte that tells the guest to clear it instead of writing to the EOI register: while what
 * it has in service needs no more of the local APIC than that. Sleeps unless it has to be now. 0,
 * or why it could not be set.
 */
int clv_pv_arm(struct clv_vcpu *vcpu, bool now)
{
	u8 set = 1;
	int ret;

	if (!(vcpu->pv.eoi & ENABLED) || vcpu->pv.eoi_armed || !clv_lapic_eoi_is_quiet(vcpu))
		return 0;
	ret = clv_mem_xchg(vcpu->vm, vcpu->pv.eoi & ~ENABLED, &set, now);
	vcpu->pv.eoi_armed = !ret;
	return ret;
}

/*
 * May sleep. -errno: not to be entered, as what other vCPUs believe of this one at *gpa cannot be
 * made true.
 */
int clv_pv_enter(struct clv_vcpu *vcpu, u64 *gpa)
{
	struct clv_pv *pv = &vcpu->pv;
	int ret = 0;

	if ((pv->clock & ENABLED) && clock_is_old(vcpu))
		clock_write(vcpu);
	if (steal_is_old(vcpu))
		ret = steal_write(vcpu);
	*gpa = (pv->steal & ~ENABLED) + PREEMPTED;
	if (!ret)
		clv_pv_arm(vcpu, false);
	return ret;
}

/*
 * Behind each entry, done or called off: before anybody looks at the local APIC. What cannot be
 * taken back counts as it is, and stays armed while it is set. Sleeps, or, if it has to be now,
 * false: nothing was done.
 */
bool clv_pv_leave(struct clv_vcpu *vcpu, bool now)
{
	u64 gpa = vcpu->pv.eoi & ~ENABLED;
	u8 pending = 0;
	int ret = clv_mem_xchg(vcpu->vm, gpa, &pending, now);

	if (ret && now)
		return false;
	if (ret && clv_mem_read(vcpu->vm, gpa, &pending, sizeof(pending)))
		pending = 0;
	vcpu->pv.eoi_armed = ret && (pending & 1);
	if (!(pending & 1))
		clv_lapic_eoi(vcpu);
	else
		vcpu->lapic_busy |= now;	/* it is to be set again */
	return true;
}

int clv_pv_clock_msr(struct clv_vcpu *vcpu, u64 *val, bool set)
{
	if (!set) {
		*val = clock_get(vcpu->vm);
		return 0;
	}
	clock_set(vcpu->vm, *val);
	clv_pv_clock_changed(vcpu->vm);
	return 0;
}

/* What is in the byte of a new place already is taken up before anything else is put there. */
void clv_pv_msr_written(struct clv_vcpu *vcpu, u32 msr, bool host)
{
	struct clv_pv *pv = &vcpu->pv;

	if (msr == MSR_KVM_SYSTEM_TIME_NEW) {
		pv->clock_due = true;
		pv->clock_cpu = -1;
	}
	if (msr == MSR_KVM_STEAL_TIME) {
		/* What was owed by the old place is paid; what the new one says may be true. */
		pv->steal_due = true;
		pv->told = host;
		vcpu->flush = true;
	}
	if (msr == MSR_KVM_PV_EOI_EN)
		pv->eoi_armed = false;
	if (msr == MSR_KVM_WALL_CLOCK_NEW && !host)
		wall_clock_write(vcpu, pv->wall_clock);
}

/* Nothing is written for a guest that has no way to say where, nor to end it. */
void clv_pv_cpuid_changed(struct clv_vcpu *vcpu)
{
	struct clv_pv *pv = &vcpu->pv;

	if (!vcpu->caps.pv_clock) {
		pv->clock = 0;
		pv->clock_cpu = -1;
		pv->wall_clock = 0;
	}
	if (!vcpu->caps.pv_steal)
		pv->steal = 0;
	if (!vcpu->caps.pv_eoi)
		pv->eoi = 0;
	if (!vcpu->caps.pv_poll)
		pv->poll = 1;
}

/* Power-on and INIT: nobody writes any more where the guest had its pages. */
void clv_pv_reset(struct clv_vcpu *vcpu)
{
	vcpu->pv = (struct clv_pv) { .poll = 1, .clock_cpu = -1 };
}

/* To the APIC ids from first on whose bit is set in the map: how many took it. */
static u64 send_ipis(struct clv_vcpu *vcpu, const u64 *map, u32 bits, u64 first, u64 icr)
{
	struct clv_vcpu *target;
	u64 taken = 0, left;
	int word;

	if (icr & ~(u64)(APIC_VECTOR_MASK | APIC_DM_FIXED_MASK | APIC_INT_ASSERT))
		return -KVM_EINVAL;
	for (word = 0; word < 2 && first < CLEAVE_MAX_VCPUS; word++, first += bits)
		for (left = map[word]; left; left &= left - 1) {
			target = clv_vcpu_by_id(vcpu->vm, first + __ffs64(left));
			if (target)
				taken += clv_lapic_deliver(target, icr & ~APIC_INT_ASSERT);
		}
	return taken;
}

/* Ends the HLT that it is in, or the next one. */
static u64 kick(struct clv_vcpu *target)
{
	if (!target)
		return 0;
	WRITE_ONCE(target->pv.kicked, true);
	return clv_vcpu_request(target, CLV_REQ_EVENT);
}

/*
 * Its thread, if that waits for a CPU, gets what is left of this one's time. A runner's task_struct
 * is freed an RCU grace period after it has left CLEAVE_RUN at the earliest.
 */
static u64 yield_for(struct clv_vcpu *target)
{
	struct task_struct *task;

	rcu_read_lock();
	task = target ? READ_ONCE(target->runner) : NULL;
	if (task)
		get_task_struct(task);
	rcu_read_unlock();
	if (task) {
		if (task != current)
			yield_to(task, true);
		put_task_struct(task);
	}
	return 0;
}

/* CPL is 0. False: not offered, nor known. The result goes to RAX. */
bool clv_pv_hypercall(struct clv_vcpu *vcpu, u64 nr, const u64 *args, bool code64, u64 *result)
{
	if (nr == KVM_HC_SEND_IPI && vcpu->caps.pv_ipi)
		*result = send_ipis(vcpu, args, code64 ? 64 : 32, args[2], args[3]);
	else if (nr == KVM_HC_KICK_CPU && vcpu->caps.pv_unhalt)
		*result = kick(clv_vcpu_by_id(vcpu->vm, args[1]));
	else if (nr == KVM_HC_SCHED_YIELD && vcpu->caps.pv_yield)
		*result = yield_for(clv_vcpu_by_id(vcpu->vm, args[0]));
	else
		return false;
	return true;
}
