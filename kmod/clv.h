/* SPDX-License-Identifier: GPL-2.0 */
/*
 * cleave: the objects of the neutral core, who owns them, and the functions
 * that its files offer one another.
 *
 * Locks, outermost first: cpus_read_lock -> host lock -> vm->lock ->
 * vcpu->mutex -> vm->s2.lock -> clv_mm's lock; vm->clock.lock, vcpu->events_lock alone.
 * Legend of the fields:
 *   c  constant once the object can be reached
 *   h  host lock (host.c)
 *   l  vm->lock
 *   v  vcpu->mutex: the thread in CLEAVE_RUN, or one that waits for it
 *   s  vm->s2.lock, read side to look, write side to change
 *   a  atomic, or READ_ONCE/WRITE_ONCE with the ordering said beside it
 */
#ifndef CLV_H
#define CLV_H

#include <linux/cpumask.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/mm_types.h>
#include <linux/mutex.h>
#include <linux/nospec.h>
#include <linux/percpu.h>
#include <linux/preempt.h>
#include <linux/rcuwait.h>
#include <asm/cpufeature.h>
#include <asm/fpu/api.h>
#include <asm/fpu/types.h>
#include <asm/msr.h>
#include <asm/processor-flags.h>
#include <asm/trapnr.h>
#include "../uapi/linux/cleave.h"
#include "stage2.h"

struct clv_vcpu;
struct clv_lapic;
struct clv_cpuid_table;
struct clv_mm;			/* mem.c: the mmu notifier of one process */

/* gfn, gfn + npages are in range and do not wrap; no two overlap; zeros: not set. */
struct clv_slot {
	u64 gfn;
	u64 npages;
	unsigned long hva;
	u32 flags;		/* CLEAVE_SLOT_* */
};

struct clv_vm {
	struct kref ref;
	u64 flags;			/* c: CLEAVE_VM_* */
	struct mm_struct *mm;		/* c: whose memory; held by mmgrab() */
	struct mutex lock;
	/* l to add, acquire to look; never removed while the VM lives */
	struct clv_vcpu *vcpus[CLEAVE_MAX_VCPUS];
	u32 nr_vcpus;			/* a: highest id + 1; written under l after vcpus[] */

	struct clv_s2 s2;		/* stage-2 tables and their lock */
	struct clv_slot slots[CLEAVE_MAX_SLOTS];	/* s, by number */
	u32 nr_slots;			/* s: highest number ever set + 1 */
	u64 slots_gen;			/* s: how often they have changed, from 1 on */
	struct clv_mm *cmm;		/* c */
	struct list_head cmm_node;	/* clv_mm's lock */
	u32 lookers;			/* clv_mm's lock: notifiers at work on it; it stays */
	bool dead;			/* a: the mm is gone */

	struct list_head irqfds, ioeventfds;	/* l to change; a vCPU's events_lock to walk */
	u32 nr_irqfds, nr_ioeventfds;	/* l */

	u64 tsc_offset;			/* a: guest TSC - host TSC, before IA32_TSC_ADJUST */
	struct clv_clock {		/* pv.c: its lock, but for mul and shift, c */
		raw_spinlock_t lock;
		u32 mul, shift;		/* ns = (TSC << shift) * mul >> 32 */
		u64 tsc, ns, host;	/* the guest's clock was ns at that TSC and host clock */
	} clock;
	atomic64_t tlb_gen;		/* a: raised by clv_vm_flush_tlb() */
	cpumask_var_t kick_mask;	/* s: clv_vm_flush_tlb()'s scratch */
};

/* What to be told about; to backend->inject(). */
#define CLV_WINDOW_INT	BIT(0)
#define CLV_WINDOW_NMI	BIT(1)

/* Exceptions that push an error code in protected mode (SDM vol. 3A table 6-1). */
#define CLV_ERROR_CODE_VECTORS	(BIT(X86_TRAP_DF) | BIT(X86_TRAP_TS) | BIT(X86_TRAP_NP) | \
				 BIT(X86_TRAP_SS) | BIT(X86_TRAP_GP) | BIT(X86_TRAP_PF) | \
				 BIT(X86_TRAP_AC))

/* B0 to B3, BD, BS, BT: what #DB sets in DR6 (SDM vol. 3B 18.2.3, APM vol. 2 13.1.1.3). */
#define CLV_DR6_EVENTS	0xe00fULL

/* Groups of cached registers: bits of clv_vcpu.avail and .dirty. */
#define CLV_REG_RIP	BIT(0)
#define CLV_REG_RSP	BIT(1)
#define CLV_REG_RFLAGS	BIT(2)
#define CLV_REG_SEGS	BIT(3)		/* segments, GDTR, IDTR */
#define CLV_REG_CRS	BIT(4)		/* CR0, CR2, CR3, CR4, EFER */
#define CLV_REG_DEBUG	BIT(5)		/* DR0-3, DR6, DR7 */
#define CLV_REG_ALL	(BIT(6) - 1)
/* Always here outside backend->enter(), as RAX to R15 are. */
#define CLV_REG_KEPT	(CLV_REG_RIP | CLV_REG_RSP | CLV_REG_RFLAGS | CLV_REG_DEBUG)

/* clv_vcpu.requests */
#define CLV_REQ_KICK	0		/* CLEAVE_KICK: leave with -EINTR */
#define CLV_REQ_INIT	1		/* INIT came */
#define CLV_REQ_SIPI	2		/* SIPI came, vector in sipi_vector */
#define CLV_REQ_NMI	3		/* an NMI came: move nmi_queued to events */
#define CLV_REQ_EVENT	4		/* the local APIC may have something new */
#define CLV_REQ_CLOCK	5		/* vm->clock is new */
#define CLV_REQ_EOI	6		/* of a level-triggered interrupt, for who raised it */

/* What the next CLEAVE_RUN has to complete first. */
enum clv_pending {
	CLV_PENDING_NONE,
	CLV_PENDING_IN,			/* run->io.data to RAX */
	CLV_PENDING_RDMSR,		/* run->msr.data to EDX:EAX, RIP */
	CLV_PENDING_WRMSR,		/* RIP */
};

/* Behind an exit. */
enum clv_stay {
	CLV_LEAVE,			/* it may have to sleep */
	CLV_STAY,			/* it is decoded and handled with IRQs off */
	CLV_STAY_IRQ,			/* so, once the interrupt that made it is let in */
};

/*
 * One exit, vendor facts made neutral. decode_exit() fills it but for what the core does and what
 * the kind does not have: those that some kinds do not have, but all do fill, are zero then.
 */
struct clv_exit {
	u8 kind;			/* CLEAVE_KIND_* */
	u8 entered_type, entered_vector; /* what the entry before it injected; the core's */
	bool walk;			/* CLEAVE_KIND_STAGE2: by the guest's page walk */
	u32 access;			/* CLEAVE_KIND_STAGE2: that faulted: CLV_S2_R, W or X */
	u64 raw_reason;			/* VMX exit reason or SVM EXITCODE */
	u64 raw_info[2];		/* exit qualification and 0, or EXITINFO1 and 2 */
	u64 rip;			/* of the instruction */
	u64 next_rip;			/* behind it, truncated to the code size; 0: not known */
	u64 gpa;			/* CLEAVE_KIND_STAGE2 */
	/* Not filled by other kinds. */
	union {
		struct {
			u16 port;
			u8 size;
			bool in, string;
		} io;			/* CLEAVE_KIND_IO */
		struct {
			u8 nr;
			u8 gpr;		/* index into struct cleave_regs */
			u64 value;
		} cr;			/* CLEAVE_KIND_CR_* */
		struct {
			u8 cpl;
			bool code64;
		} mode;			/* CLEAVE_KIND_HYPERCALL */
		struct cleave_event event; /* CLEAVE_KIND_EXCEPTION */
	};
};

/* A walk to a page of 64-bit code: where its entries are, and what they said. */
struct clv_trail {
	u64 cr3, la57, page;		/* the guest's */
	u64 slots_gen;			/* vm->slots_gen before it; 0: no walk */
	u32 steps;
	struct {
		unsigned long hva;
		u64 entry;
	} step[5];
	unsigned long hva;		/* of the page */
};

#define CLV_TRAIL_BITS	3

struct clv_vcpu {
	struct clv_vm *vm;		/* c; a reference */
	u32 id;				/* c */
	struct mutex mutex;
	spinlock_t events_lock;		/* eventfd.c */
	struct cleave_run *run;		/* c: one page, shared with user space */
	struct cleave_recorder *recorder; /* c: pages that user space may read; v to write */
	struct cleave_record *record;	/* v: where that of this exit goes: into the recorder, or */
	struct cleave_record lost;	/* v: if that is frozen, or no exit is handled */

	/* registers (v) */
	struct cleave_regs regs;
	struct cleave_sregs sregs;	/* cr8 and apic_base live in the local APIC */
	struct cleave_debug debug;
	u32 avail;			/* CLV_REG_*: the copy here is right */
	u32 dirty;			/* CLV_REG_*: it must go to the CPU before entry */
	u64 pdpte[4];			/* with CLV_REG_CRS, while PAE paging is in use */
	bool pdptes_stale;		/* pdpte[] is to be read from guest memory before entry */
	u64 spec_ctrl;			/* IA32_SPEC_CTRL as the guest wrote it */
	u64 tsc_aux, pat, misc_enable, mcg_status, hwcr, ucode_rev, arch_caps;
	struct clv_mtrr {		/* stored, no effect: the host's types rule */
		u64 var[16];		/* base, mask, base, ... */
		u64 fixed[11];
		u64 def_type;
	} mtrr;
	u64 tsc_adjust;			/* IA32_TSC_ADJUST: this vCPU's share of the offset */
	bool flush;			/* v: the next entry flushes the guest's translations */

	struct cleave_events events;	/* v; shadow, nmi_masked: the CPU's from entry to exit */
	bool want_window;		/* v: CLEAVE_RUN_WINDOW of this run */
	bool waits;			/* v: an interrupt that cannot go in yet */
	bool quiet;			/* v: the backend knows of no window or mask */
	bool lapic_busy;		/* v: IRR had something, or timer or PV EOI to look at */
	u32 mp_state;			/* v to change, READ_ONCE to look: CLEAVE_MP_* */
	u8 sipi_vector;			/* a: published by CLV_REQ_SIPI */

	/* run loop */
	enum clv_pending pending;	/* v */
	u32 pending_size;		/* v: of an IN */
	u64 pending_rip;		/* v: where RIP goes then */
	unsigned long requests;		/* a: set_bit(), then clv_vcpu_kick() */
	int cpu;			/* a: guest's, or -1; store, smp_mb(), look at requests */
	u64 tlb_gen;			/* v: of the last flush done */
	atomic_t nmi_queued;		/* a */
	struct rcuwait wait;		/* who sleeps in HLT */
	u32 poll_ns;			/* v: how long HLT looks before it does */
	struct clv_s2_cache s2_cache;	/* v: table pages for a fault */
	struct clv_trail trails[1 << CLV_TRAIL_BITS];	/* v: by a hash of the page; clv_fetch() */

	/* parts */
	struct clv_lapic *lapic;	/* c */
	struct clv_pv {			/* v: pv.c */
		u64 wall_clock, clock, steal, eoi, poll;	/* the MSRs */
		bool clock_due, steal_due;	/* to be written before the next entry */
		bool eoi_armed;			/* the guest may have cleared the byte */
		bool told;			/* others may see that it does not run */
		bool kicked;			/* a: by a hypercall; ends HLT */
		int clock_cpu;			/* where alone the clock is right, or -1 */
		unsigned long clock_jiffies;	/* when it was written */
		u64 run_delay;			/* of this task, counted as stolen until here: */
		const struct task_struct *delayed;
	} pv;
	struct task_struct *runner;	/* a: in CLEAVE_RUN, or NULL; see clv_pv_hypercall() */
	struct fpu_guest fpu;		/* v: in the CPU during CLEAVE_RUN */
	u64 xcr0;			/* v */
	struct clv_exit exit;		/* v: the last one */
	enum clv_stay stay;		/* v: what it needs before the next entry */
	bool loaded;			/* v: vcpu_load() done, preemption off */
	struct preempt_notifier preempt; /* v: during CLEAVE_RUN */
	unsigned long rcu_told;		/* v: jiffies when RCU was last told of a quiescent state */
	u64 wake_tsc;			/* v: an entry ends at that guest TSC; 0: at none */
	struct clv_cpuid_table *cpuid;	/* v: never NULL */
	struct clv_cpuid_caps {		/* v: what state.c and msr.c ask of it */
		u64 cr4_reserved;	/* CR4 bits that are #GP */
		u64 efer_reserved;
		u64 xcr0_allowed;
		u64 spec_ctrl_bits;	/* of IA32_SPEC_CTRL that exist */
		u8 maxphyaddr;
		u8 linear_bits;		/* 48, or 57 with LA57 */
		bool x2apic, tsc_deadline, rdtscp, tsc_aux, tsc_adjust, mce, mtrr;
		bool spec_ctrl, ibpb, flush_l1d, arch_caps, amd, invpcid;
		bool pv_clock, pv_steal, pv_eoi, pv_unhalt, pv_ipi, pv_poll, pv_yield;
	} caps;
	bool has_run;			/* v: entered at least once */
};

/* Accessors: a register is pulled when first asked for, and pushed before entry. */
void clv_regs_pull(struct clv_vcpu *vcpu, u32 groups);	/* run.c */

static inline void clv_regs_need(struct clv_vcpu *vcpu, u32 groups)
{
	if (unlikely(groups & ~vcpu->avail))
		clv_regs_pull(vcpu, groups & ~vcpu->avail);
}

/* The caller changes vcpu->regs, sregs or debug next. */
static inline void clv_regs_touch(struct clv_vcpu *vcpu, u32 groups)
{
	clv_regs_need(vcpu, groups);
	vcpu->dirty |= groups;
}

static inline bool clv_code64(struct clv_vcpu *vcpu)
{
	clv_regs_need(vcpu, CLV_REG_SEGS | CLV_REG_CRS);
	/* EFER.LMA */
	return (vcpu->sregs.efer & BIT(10)) && (vcpu->sregs.cs.ar & CLEAVE_AR_L);
}

/* As the CPU checks addresses in descriptors and MSRs: by its widest mode (SDM vol. 1 3.3.7.1). */
static inline bool clv_canonical(const struct clv_vcpu *vcpu, u64 addr)
{
	u32 shift = 64 - vcpu->caps.linear_bits;

	return (u64)((s64)(addr << shift) >> shift) == addr;
}

#define CLV_PAT_TYPES	0xf3	/* UC, WC, WT, WP, WB, UC-: SDM vol. 3A table 12-10, APM2 7.8.1 */

/* Each byte of val is one of the memory types in the set. */
static inline bool clv_types_ok(u64 val, u32 set)
{
	int i;

	for (i = 0; i < 8; i++, val >>= 8)
		if ((val & 0xff) > 7 || !(set & BIT(val & 7)))
			return false;
	return true;
}

/* CS.RPL is no privilege level in real mode; SS.DPL always is (SDM 3C 25.4.1, APM2 15.5.1). */
static inline unsigned int clv_cpl(struct clv_vcpu *vcpu)
{
	clv_regs_need(vcpu, CLV_REG_SEGS);
	return (vcpu->sregs.ss.ar & CLEAVE_AR_DPL) >> 5;
}

/* host.c: virtualization on and off, per CPU */
int clv_host_init(void);
void clv_host_exit(void);
int clv_host_get(void);			/* first VM: on; may sleep */
void clv_host_put(void);		/* last VM: off */
DECLARE_PER_CPU(bool, clv_cpu_on);
void clv_host_machine_check(void);	/* IRQs off, behind a guest that one has ended */
extern bool clv_rebooting;		/* a: the host goes down */
extern u64 clv_tsc_lost;		/* a: what suspends took from the host's TSC */

/* Preemption off: may this CPU enter a guest? */
static inline bool clv_host_cpu_enabled(void)
{
	return __this_cpu_read(clv_cpu_on);
}

/* vm.c, vcpu.c */
extern const struct file_operations clv_dev_fops, clv_vm_fops, clv_vcpu_fops;	/* ioctl.c */
int clv_info(struct cleave_info *info);
int clv_vcpu_mmap(struct file *file, struct vm_area_struct *vma);
int clv_vcpu_msrs(struct clv_vcpu *vcpu, struct cleave_msrs *m, bool set);
int clv_vm_create(const struct cleave_create_vm *args);		/* fd or -errno */
void clv_vm_put(struct clv_vm *vm);
int clv_vcpu_create(struct clv_vm *vm, const struct cleave_create_vcpu *args);
void clv_vcpu_destroy(struct clv_vcpu *vcpu);	/* by the last put of the VM */

/* Lookup that needs no lock: NULL if there is none. */
static inline struct clv_vcpu *clv_vcpu_by_id(struct clv_vm *vm, u32 id)
{
	if (id >= CLEAVE_MAX_VCPUS)
		return NULL;
	/* Guests choose it: not beyond the array by speculation either. */
	id = array_index_nospec(id, CLEAVE_MAX_VCPUS);
	/* Pairs with the release in clv_vcpu_create(): complete if seen. */
	return smp_load_acquire(&vm->vcpus[id]);
}

/* The first vCPU from *i on, *i behind it; NULL behind the last. */
static inline struct clv_vcpu *clv_vcpu_next(struct clv_vm *vm, u32 *i)
{
	struct clv_vcpu *vcpu = NULL;

	while (!vcpu && *i < READ_ONCE(vm->nr_vcpus))
		vcpu = clv_vcpu_by_id(vm, (*i)++);
	return vcpu;
}

#define clv_for_each_vcpu(i, vcpu, vm)	\
	for ((i) = 0; ((vcpu) = clv_vcpu_next(vm, &(i))); )

/* run.c */
int clv_run(struct clv_vcpu *vcpu);		/* CLEAVE_RUN; v held */
/* Brings the vCPU out of the guest or out of HLT to look at its requests. Any context. */
void clv_vcpu_kick(struct clv_vcpu *vcpu);

static inline int clv_vcpu_request(struct clv_vcpu *vcpu, int req)
{
	/* Who sees the request sees what was stored before; pairs with take_requests(). */
	smp_mb__before_atomic();
	set_bit(req, &vcpu->requests);
	clv_vcpu_kick(vcpu);
	return 0;
}

static inline int clv_vcpu_nmi(struct clv_vcpu *vcpu)
{
	atomic_inc(&vcpu->nmi_queued);
	return clv_vcpu_request(vcpu, CLV_REQ_NMI);
}

/* s2.lock held for writing, IRQs on. Then no vCPU uses a translation from before it. */
void clv_vm_flush_tlb(struct clv_vm *vm);

/* exit.c */
enum clv_next {
	CLV_NONE,		/* it is to be handled yet */
	CLV_RESUME,		/* enter again */
	CLV_TO_USER,		/* the run page is filled, CLEAVE_RUN returns 0 */
};

enum clv_next clv_handle_exit(struct clv_vcpu *vcpu, struct clv_exit *exit);
void clv_complete_pending(struct clv_vcpu *vcpu);
/* CLV_TO_USER; exit may be NULL */
enum clv_next clv_exit_to_user(struct clv_vcpu *vcpu, u32 kind, const struct clv_exit *exit);
enum clv_next clv_exit_fault(struct clv_vcpu *vcpu, u64 gpa, unsigned long hva, u32 flags, int err,
			     const struct clv_exit *exit);
void clv_eoi_to_user(struct clv_vcpu *vcpu, u8 vector);

/* record.c: the flight recorder and the counters */
int clv_recorder_freeze(struct clv_vcpu *vcpu, const struct cleave_freeze *f);	/* no lock */
void clv_recorder_left(struct clv_vcpu *vcpu, u32 exit);	/* CLEAVE_EXIT_* to user space */

/* state.c */
int clv_state_get(struct clv_vcpu *vcpu, struct cleave_state *st);
int clv_state_set(struct clv_vcpu *vcpu, const struct cleave_state *st);
void clv_sregs_get(struct clv_vcpu *vcpu, struct cleave_sregs *s);
void clv_pdptes_load(struct clv_vcpu *vcpu);	/* may sleep */
void clv_state_reset(struct clv_vcpu *vcpu, bool init);	/* power-on or INIT, SDM 3A table 10-1 */
/* What a MOV to CRn, XSETBV by the guest does: 0, or -EINVAL for #GP(0). */
int clv_cr0_write(struct clv_vcpu *vcpu, u64 val);
int clv_cr4_write(struct clv_vcpu *vcpu, u64 val);
int clv_efer_write(struct clv_vcpu *vcpu, u64 val);
int clv_xcr0_write(struct clv_vcpu *vcpu, u64 val);

/* event.c */
void clv_queue_event(struct clv_vcpu *vcpu, const struct cleave_event *ev);
void clv_events_take_nmis(struct clv_vcpu *vcpu);
void clv_queue_exception(struct clv_vcpu *vcpu, u8 vector);	/* error code, if any: 0 */
void clv_events_choose(struct clv_vcpu *vcpu);	/* what goes in at the next entry */
void clv_events_requeue(struct clv_vcpu *vcpu, u32 word, u32 error);	/* what an exit cut short */
void clv_events_deliver(struct clv_vcpu *vcpu);	/* before entry: injects, asks for a window */
bool clv_interrupt_allowed(struct clv_vcpu *vcpu);
bool clv_has_wake_event(struct clv_vcpu *vcpu);		/* would end HLT; any context */
bool clv_events_ok(const struct cleave_events *ev);
void clv_events_set(struct clv_vcpu *vcpu, const struct cleave_events *ev);

/* mem.c */
void clv_mem_init(void);
int clv_mem_vm_create(struct clv_vm *vm);		/* notifier, empty slots, tables */
void clv_mem_vm_destroy(struct clv_vm *vm);
int clv_mem_set_slot(struct clv_vm *vm, const struct cleave_slot *args);	/* l held */

/*
 * A stage-2 fault; access is CLV_S2_R/W/X. May sleep. 0: mapped; -EAGAIN: enter again; -ENOENT: no
 * slot; -EROFS: write to a read-only one; else what the host, with no page at *hva, answered with.
 */
int clv_mem_fault(struct clv_vcpu *vcpu, u64 gpa, u32 access, unsigned long *hva);
/* Reads within a page of guest memory; 0, -EFAULT (host), -ENOENT (no slot). May sleep. */
int clv_mem_read(struct clv_vm *vm, u64 gpa, void *buf, u32 len);
/* Writes, by the owner; -EROFS (slot), too. May sleep; nothing is written once a slot has gone. */
int clv_mem_write(struct clv_vm *vm, u64 gpa, void *buf, u32 len);
/* The same of a byte, atomically; now: without sleep, -EAGAIN or -EFAULT where that needs one. */
int clv_mem_xchg(struct clv_vm *vm, u64 gpa, u8 *val, bool now);

/* Where an instruction is, and how the guest finds its page. */
struct clv_code {
	u64 cr0, cr3, cr4, efer, linear;
	bool code64;
};

/* Its bytes, how many: 1 to CLV_INSN_MAX; -EFAULT: #PF; -ENOENT: not in a slot. May sleep. */
int clv_fetch(struct clv_vcpu *vcpu, const struct clv_code *c, u8 *buf);

/* lapic.c */
int clv_lapic_create(struct clv_vcpu *vcpu);
void clv_lapic_destroy(struct clv_vcpu *vcpu);
void clv_lapic_reset(struct clv_vcpu *vcpu, bool init);
int clv_lapic_pending(struct clv_vcpu *vcpu);	/* vector above PPR, or -1; any context */
void clv_lapic_ack(struct clv_vcpu *vcpu, u8 vector);	/* IRR to ISR */
/* Due timer to IRR: after CLV_REQ_EVENT, before pending; v. sleeps: no entry can end when due. */
void clv_lapic_timer_sync(struct clv_vcpu *vcpu, bool sleeps);
void clv_lapic_timer_look(struct clv_vcpu *vcpu);	/* it may be due; any context */
extern bool clv_timed_entry;		/* c: this CPU's entries end by vcpu->wake_tsc */
u64 clv_lapic_cr8_get(struct clv_vcpu *vcpu);
void clv_lapic_cr8_set(struct clv_vcpu *vcpu, u64 cr8);
u64 clv_lapic_base_get(struct clv_vcpu *vcpu);
int clv_lapic_base_check(struct clv_vcpu *vcpu, u64 base, bool host);
int clv_lapic_base_set(struct clv_vcpu *vcpu, u64 base, bool host);
/* x2APIC registers 0x800-0x8ff and IA32_TSC_DEADLINE; -EINVAL is #GP(0). */
int clv_lapic_msr_get(struct clv_vcpu *vcpu, u32 msr, u64 *val);
int clv_lapic_msr_set(struct clv_vcpu *vcpu, u32 msr, u64 val);
int clv_lapic_access(struct clv_vcpu *vcpu, struct cleave_lapic_access *a);
int clv_lapic_deliver(struct clv_vcpu *vcpu, u32 icr);	/* 1 if it was taken; any context */
bool clv_lapic_eoi_is_quiet(struct clv_vcpu *vcpu);	/* would change nothing but ISR */
bool clv_lapic_has_irr(struct clv_vcpu *vcpu);
void clv_lapic_eoi(struct clv_vcpu *vcpu);
int clv_lapic_take_eoi(struct clv_vcpu *vcpu);	/* of a level-triggered vector, or -1 */
bool clv_lapic_msi_ok(const struct cleave_msi *msi);
int clv_lapic_msi(struct clv_vm *vm, const struct cleave_msi *msi);	/* it is; any context */
void clv_lapic_get(struct clv_vcpu *vcpu, struct cleave_lapic *l);
int clv_lapic_check(struct clv_vcpu *vcpu, const struct cleave_lapic *l);
void clv_lapic_set(struct clv_vcpu *vcpu, const struct cleave_lapic *l);

/* pv.c: KVM's paravirtual interface; v held */
void clv_pv_vm_create(struct clv_vm *vm);
void clv_pv_tsc_moved(struct clv_vm *vm, u64 delta);	/* adds it to vm->tsc_offset */
void clv_pv_reset(struct clv_vcpu *vcpu);
int clv_pv_clock_msr(struct clv_vcpu *vcpu, u64 *val, bool set);	/* CLEAVE_MSR_CLOCK; 0 */
void clv_pv_msr_written(struct clv_vcpu *vcpu, u32 msr, bool host);	/* any; its field has it */
bool clv_pv_hypercall(struct clv_vcpu *vcpu, u64 nr, const u64 *args, bool code64, u64 *result);
void clv_pv_clock_changed(struct clv_vm *vm);
void clv_pv_cpuid_changed(struct clv_vcpu *vcpu);
int clv_pv_enter(struct clv_vcpu *vcpu, u64 *gpa);	/* if clv_pv_has_pages() */
bool clv_pv_leave(struct clv_vcpu *vcpu, bool now);	/* if pv.eoi_armed */
int clv_pv_arm(struct clv_vcpu *vcpu, bool now);	/* the EOI of clv_pv_enter() */
void clv_pv_preempted(struct clv_vcpu *vcpu);

static inline bool clv_pv_has_pages(const struct clv_vcpu *vcpu)
{
	return (vcpu->pv.clock | vcpu->pv.steal | vcpu->pv.eoi) & 1;
}

/* eventfd.c */
int clv_irqfd(struct clv_vm *vm, const struct cleave_irqfd *args);	/* l held */
int clv_ioeventfd(struct clv_vm *vm, const struct cleave_ioeventfd *args);	/* l held */
/* True, or the instruction's length: an eventfd was signalled, that is all. May sleep. */
bool clv_irqfd_eoi(struct clv_vcpu *vcpu, u8 vector);
bool clv_ioeventfd_out(struct clv_vcpu *vcpu, const struct clv_exit *exit);
u8 clv_ioeventfd_store(struct clv_vcpu *vcpu, const struct clv_exit *exit);
void clv_eventfd_vm_destroy(struct clv_vm *vm);

/* fpu.c, cpuid.c, msr.c */
u64 clv_fpu_xcr0(void);				/* what a guest may set */
int clv_fpu_create(struct clv_vcpu *vcpu);
void clv_fpu_enter(struct clv_vcpu *vcpu);	/* IRQs off, around backend->enter() */
void clv_fpu_leave(struct clv_vcpu *vcpu);
int clv_fpu_get(struct clv_vcpu *vcpu, struct cleave_fpu *f);
int clv_fpu_set(struct clv_vcpu *vcpu, const struct cleave_fpu *f);
void clv_cpuid_init(void);			/* module load, before all others */
/* The table before CLEAVE_SET_CPUID: all that is offered. */
void clv_cpuid_create(struct clv_vcpu *vcpu);
void clv_cpuid_destroy(struct clv_vcpu *vcpu);
int clv_cpuid_supported(struct cleave_cpuid *c);	/* CLEAVE_GET_CPUID */
/* -EINVAL: not offered; -EBUSY: has run with another one. */
int clv_cpuid_set(struct clv_vcpu *vcpu, const struct cleave_cpuid *c);
void clv_cpuid_query(struct clv_vcpu *vcpu, struct cleave_cpuid_entry *e);	/* in: its leaves */

/* 0; -EINVAL: #GP(0); -ENOENT: nobody knows it. host: by ioctl, not the guest. */
int clv_msr_get(struct clv_vcpu *vcpu, u32 msr, u64 *val, bool host);
int clv_msr_set(struct clv_vcpu *vcpu, u32 msr, u64 val, bool host);
void clv_msr_reset(struct clv_vcpu *vcpu);	/* of a new vCPU, which is all zeros */
u32 clv_cpuid_xsave_size(u64 xcr0, bool compact);	/* bytes of an XSAVE area */

static inline bool clv_msr_is_lapic(u32 msr)
{
	return (msr >= 0x800 && msr <= 0x8ff) || msr == MSR_IA32_TSC_DEADLINE;
}

/* The one place where time enters a guest; the VM's is before IA32_TSC_ADJUST. */
u64 clv_vm_tsc(const struct clv_vm *vm);
u64 clv_guest_tsc(const struct clv_vcpu *vcpu);

/* Guest TSC - host TSC. */
static inline u64 clv_tsc_offset(const struct clv_vcpu *vcpu)
{
	return READ_ONCE(vcpu->vm->tsc_offset) + vcpu->tsc_adjust + READ_ONCE(clv_tsc_lost);
}

#endif /* CLV_H */
