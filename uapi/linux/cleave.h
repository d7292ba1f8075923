/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * cleave: the interface between the kernel module and user space.
 *
 * Every structure is the same on 32 and 64 bit, has no hidden padding and
 * no bool. The size of a structure travels in its ioctl number: a shorter one
 * from an older program is taken as followed by zeros, a longer one from a
 * newer program is refused with -E2BIG unless what the module does not know
 * is zero, so structures grow at their end only. Unknown flags and nonzero
 * reserved fields are -EINVAL, unknown commands -ENOTTY, bad pointers -EFAULT,
 * no memory for a copy of the argument -ENOMEM. -EIO is a file descriptor used
 * by another process than the one that created the VM or after that process is
 * gone, and a CLEAVE_RUN while the host goes down.
 */
#ifndef _UAPI_LINUX_CLEAVE_H
#define _UAPI_LINUX_CLEAVE_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* Limits that do not depend on the host; the host's are in struct cleave_info. */
#define CLEAVE_MAX_VCPUS	254
#define CLEAVE_MAX_SLOTS	128
#define CLEAVE_MAX_CPUID	128
#define CLEAVE_MAX_MSRS		128
#define CLEAVE_MAX_IRQFDS	1024
#define CLEAVE_MAX_IOEVENTFDS	256

/* ---- /dev/cleave -------------------------------------------------------- */

/* struct cleave_info.vendor */
#define CLEAVE_VENDOR_VMX	1
#define CLEAVE_VENDOR_SVM	2

/* struct cleave_info.features: what this module offers, never a version. */
#define CLEAVE_FEATURE_EXIT_HLT		(1ULL << 0)	/* CLEAVE_VM_EXIT_HLT */
#define CLEAVE_FEATURE_EXIT_MSR		(1ULL << 1)	/* CLEAVE_VM_EXIT_MSR */
#define CLEAVE_FEATURE_EXIT_HYPERCALL	(1ULL << 2)	/* CLEAVE_VM_EXIT_HYPERCALL */
#define CLEAVE_FEATURE_LAPIC		(1ULL << 3)	/* local APIC in the kernel */
#define CLEAVE_FEATURE_TSC_DEADLINE	(1ULL << 4)	/* its timer has that mode */
#define CLEAVE_FEATURE_RECORDER		(1ULL << 5)	/* struct cleave_recorder, CLEAVE_FREEZE */
#define CLEAVE_FEATURE_PV		(1ULL << 6)	/* by CPUID 0x40000001, CLEAVE_MSR_CLOCK */
#define CLEAVE_FEATURE_IRQFD		(1ULL << 7)	/* CLEAVE_IRQFD */
#define CLEAVE_FEATURE_IOEVENTFD	(1ULL << 8)	/* CLEAVE_IOEVENTFD */

/**
 * struct cleave_info - what the host and the module can do
 * @features: CLEAVE_FEATURE_* bits
 * @vendor: CLEAVE_VENDOR_*
 * @max_vcpus: vCPU ids are below this, per VM
 * @max_slots: slot numbers are below this, per VM
 * @gpa_bits: guest-physical addresses are below 1 << @gpa_bits
 * @run_size: bytes to mmap() from a vCPU fd
 * @tsc_khz: frequency of the TSC, host and guest, in kHz
 * @xcr0: XCR0 bits a guest may set
 * @fpu_size: bytes of struct cleave_fpu.region that the host's XSAVE uses
 * @recorder_size: bytes to mmap() behind those, read-only
 */
struct cleave_info {
	__u64 features;
	__u32 vendor;
	__u32 max_vcpus;
	__u32 max_slots;
	__u32 gpa_bits;
	__u32 run_size;
	__u32 tsc_khz;
	__u64 xcr0;
	__u32 fpu_size;
	__u32 recorder_size;
};

/* struct cleave_cpuid_entry.flags */
#define CLEAVE_CPUID_SUBLEAF	(1U << 0)	/* @subleaf counts; else any matches */

/**
 * struct cleave_cpuid_entry - the answer to one CPUID leaf
 * @leaf: EAX of the question
 * @subleaf: ECX of the question, if CLEAVE_CPUID_SUBLEAF
 * @flags: CLEAVE_CPUID_*
 * @eax: answer
 * @ebx: answer
 * @ecx: answer
 * @edx: answer
 * @reserved: zero
 */
struct cleave_cpuid_entry {
	__u32 leaf;
	__u32 subleaf;
	__u32 flags;
	__u32 eax;
	__u32 ebx;
	__u32 ecx;
	__u32 edx;
	__u32 reserved;
};

/**
 * struct cleave_cpuid - a CPUID table
 * @count: entries used
 * @reserved: zero
 * @entries: the answers, in any order, no (leaf, subleaf) twice
 *
 * CLEAVE_GET_CPUID on /dev/cleave fills it with what host and module offer;
 * CLEAVE_SET_CPUID on a vCPU takes one. A leaf that is not in the table reads
 * as zeros. Bits that follow the guest's own state (OSXSAVE, the local APIC's
 * id and enable bit, sizes in leaf 0xd) are put in by the module.
 */
struct cleave_cpuid {
	__u32 count;
	__u32 reserved;
	struct cleave_cpuid_entry entries[CLEAVE_MAX_CPUID];
};

/* struct cleave_create_vm.flags */
#define CLEAVE_VM_EXIT_HLT		(1ULL << 0)	/* HLT exits instead of waiting */
#define CLEAVE_VM_EXIT_MSR		(1ULL << 1)	/* unknown MSRs exit instead of #GP */
#define CLEAVE_VM_EXIT_HYPERCALL	(1ULL << 2)	/* unknown hypercalls exit, not -ENOSYS */

/**
 * struct cleave_create_vm - argument of CLEAVE_CREATE_VM
 * @flags: CLEAVE_VM_*
 * @reserved: zero
 *
 * Returns a VM fd (O_CLOEXEC). The VM belongs to the calling process: its
 * memory is the guest's memory, and only it may use the fd.
 * Errors: -EBUSY virtualization is in use by another hypervisor, or the host
 * goes down; -EIO a CPU refused to be enabled (the kernel log says so); -EINTR a
 * signal came first; -EINVAL; -ENOMEM; -EMFILE.
 */
struct cleave_create_vm {
	__u64 flags;
	__u64 reserved;
};

/* ---- VM fd -------------------------------------------------------------- */

/**
 * struct cleave_create_vcpu - argument of CLEAVE_CREATE_VCPU
 * @id: the vCPU's number and its initial APIC id, below cleave_info.max_vcpus
 * @flags: zero
 * @reserved: zero
 *
 * Returns a vCPU fd (O_CLOEXEC). vCPU 0 is the bootstrap processor: runnable,
 * in the reset state of SDM vol. 3A table 10-1; all others wait for INIT and
 * SIPI. Errors: -EEXIST the id is taken; -EINVAL; -ENOMEM; -EMFILE.
 */
struct cleave_create_vcpu {
	__u32 id;
	__u32 flags;
	__u64 reserved;
};

/* struct cleave_slot.flags */
#define CLEAVE_SLOT_READONLY	(1U << 0)	/* guest writes exit as MMIO */

/**
 * struct cleave_slot - argument of CLEAVE_SET_SLOT: one range of guest memory
 * @slot: its number, below cleave_info.max_slots
 * @flags: CLEAVE_SLOT_*
 * @gpa: guest-physical start, page aligned
 * @size: bytes, page aligned; 0 deletes the slot
 * @hva: start in the calling process's memory, page aligned; need not be
 *	mapped yet
 * @reserved: zero
 *
 * Sets, moves, changes or deletes the slot, under running vCPUs; when it
 * returns no vCPU uses the old one. Errors: -EEXIST overlaps another slot;
 * -EINVAL; -ENOENT deleting what is not there; -ENOMEM.
 */
struct cleave_slot {
	__u32 slot;
	__u32 flags;
	__u64 gpa;
	__u64 size;
	__u64 hva;
	__u64 reserved[2];
};

/**
 * struct cleave_msi - argument of CLEAVE_MSI: a message to the local APICs
 * @address: message address (SDM vol. 3A 11.11.1), in 0xfeexxxxx; the high
 *	half holds destination bits 31:8 in bits 63:40 as for x2APIC
 * @data: message data (SDM vol. 3A 11.11.2)
 * @flags: zero
 *
 * Returns the number of local APICs that took it, 0 when none did.
 * Errors: -EINVAL.
 */
struct cleave_msi {
	__u64 address;
	__u32 data;
	__u32 flags;
};

/* struct cleave_irqfd.flags */
#define CLEAVE_IRQFD_DEASSIGN	(1U << 0)
#define CLEAVE_IRQFD_RESAMPLE	(1U << 1)	/* @resample_fd counts */

/**
 * struct cleave_irqfd - argument of CLEAVE_IRQFD: a message by each signal of an eventfd
 * @fd: an eventfd. While it is assigned its signals are taken from its count, and the
 *	message is sent, as by CLEAVE_MSI, where the signal is made: without user space
 * @resample_fd: an eventfd, with CLEAVE_IRQFD_RESAMPLE: it is signalled at the EOI of
 *	the message's vector, by any vCPU, of which CLEAVE_EXIT_EOI does not tell then. Who
 *	has a line that is still up signals @fd again. Else zero
 * @flags: CLEAVE_IRQFD_*
 * @data: message data, as of struct cleave_msi; with CLEAVE_IRQFD_RESAMPLE
 *	level-triggered and asserted (bits 15 and 14)
 * @address: message address, as of struct cleave_msi
 * @reserved: zero
 *
 * Assigned again, the same @fd changes its message: each signal sends either the old or the
 * new one. A count that is there already is a signal. Deassigned, for which all but
 * @fd and @flags are zero, no message is under way any more when it returns. An @fd of
 * which the last descriptor is closed is deassigned by that; so are all by the VM's end.
 * Errors: -EINVAL, also for a @fd that is no eventfd; -EBADF; -EEXIST it has another
 * @resample_fd, or none, or has one; -ENOENT it is not assigned; -ENOSPC there are
 * CLEAVE_MAX_IRQFDS; -ENOMEM.
 */
struct cleave_irqfd {
	__s32 fd;
	__s32 resample_fd;
	__u32 flags;
	__u32 data;
	__u64 address;
	__u64 reserved;
};

/* struct cleave_ioeventfd.flags */
#define CLEAVE_IOEVENTFD_DEASSIGN	(1U << 0)
#define CLEAVE_IOEVENTFD_PIO		(1U << 1)	/* @address is a port */
#define CLEAVE_IOEVENTFD_DATAMATCH	(1U << 2)	/* @data counts */

/**
 * struct cleave_ioeventfd - argument of CLEAVE_IOEVENTFD: a signal by each write of the guest
 * @address: guest-physical address, or port, at which the write starts; a multiple of @size
 * @data: with CLEAVE_IOEVENTFD_DATAMATCH what is written, else zero: anything
 * @size: bytes of the write: 1, 2, 4, and 8 to memory; 0: any
 * @fd: the eventfd to signal; zero with CLEAVE_IOEVENTFD_DEASSIGN
 * @flags: CLEAVE_IOEVENTFD_*
 * @reserved: zero
 *
 * A write to no slot, or to a read-only one, that matches signals the eventfd, and the
 * guest goes on without an exit to user space. To memory this is so for a plain MOV of a
 * general register or an immediate, in 64-bit code; to a port for OUT. Writes by other
 * instructions are exits, as reads are: user space that carries them out writes to the
 * eventfd itself. Deassigned, with the same values, no vCPU signals it any more when it
 * returns. Closing the eventfd does not deassign it.
 * Errors: -EINVAL, also for @data wider than @size, and a @fd that is no eventfd; -EBADF;
 * -EEXIST a write could match this one and another; -ENOENT it is not assigned; -ENOSPC there
 * are CLEAVE_MAX_IOEVENTFDS; -ENOMEM.
 */
struct cleave_ioeventfd {
	__u64 address;
	__u64 data;
	__u32 size;
	__s32 fd;
	__u32 flags;
	__u32 reserved;
};

/* ---- vCPU state --------------------------------------------------------- */

/* Groups of register state, in masks. */
#define CLEAVE_REGS	(1ULL << 0)	/* struct cleave_regs */
#define CLEAVE_SREGS	(1ULL << 1)	/* struct cleave_sregs */
#define CLEAVE_DEBUG	(1ULL << 2)	/* struct cleave_debug */
#define CLEAVE_XCRS	(1ULL << 3)	/* struct cleave_xcrs */
#define CLEAVE_EVENTS	(1ULL << 4)	/* struct cleave_events */
#define CLEAVE_MP	(1ULL << 5)	/* struct cleave_mp */
#define CLEAVE_LAPIC	(1ULL << 6)	/* struct cleave_lapic */

/**
 * struct cleave_regs - general-purpose registers, in their encoding's order
 * @rax: number 0
 * @rcx: number 1
 * @rdx: number 2
 * @rbx: number 3
 * @rsp: number 4
 * @rbp: number 5
 * @rsi: number 6
 * @rdi: number 7
 * @r8: number 8
 * @r9: number 9
 * @r10: number 10
 * @r11: number 11
 * @r12: number 12
 * @r13: number 13
 * @r14: number 14
 * @r15: number 15
 * @rip: instruction pointer (offset in CS)
 * @rflags: flags; bit 1 is always set
 */
struct cleave_regs {
	__u64 rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi;
	__u64 r8, r9, r10, r11, r12, r13, r14, r15;
	__u64 rip, rflags;
};

/* struct cleave_segment.ar: access rights as in SDM vol. 3C table 25-2. */
#define CLEAVE_AR_TYPE		0x0000000f
#define CLEAVE_AR_S		0x00000010
#define CLEAVE_AR_DPL		0x00000060
#define CLEAVE_AR_P		0x00000080
#define CLEAVE_AR_AVL		0x00001000
#define CLEAVE_AR_L		0x00002000
#define CLEAVE_AR_DB		0x00004000
#define CLEAVE_AR_G		0x00008000
#define CLEAVE_AR_UNUSABLE	0x00010000

/**
 * struct cleave_segment - a segment register with its hidden part
 * @base: linear base
 * @limit: in bytes, granularity applied
 * @ar: CLEAVE_AR_*
 * @selector: visible part
 * @reserved: zero
 */
struct cleave_segment {
	__u64 base;
	__u32 limit;
	__u32 ar;
	__u16 selector;
	__u16 reserved[3];
};

/**
 * struct cleave_dtable - GDTR or IDTR
 * @base: linear base
 * @limit: in bytes
 * @reserved: zero
 */
struct cleave_dtable {
	__u64 base;
	__u16 limit;
	__u16 reserved[3];
};

/**
 * struct cleave_sregs - segments, tables and control registers
 * @cs: code
 * @ds: data
 * @es: extra
 * @fs: FS
 * @gs: GS
 * @ss: stack
 * @tr: task register
 * @ldt: LDTR
 * @gdt: GDTR
 * @idt: IDTR
 * @cr0: control registers, as the guest sees them
 * @cr2: page-fault address
 * @cr3: root of the guest's page tables
 * @cr4: more control bits
 * @cr8: task priority, 0 to 15
 * @efer: IA32_EFER as the guest sees it
 * @apic_base: IA32_APIC_BASE
 */
struct cleave_sregs {
	struct cleave_segment cs, ds, es, fs, gs, ss, tr, ldt;
	struct cleave_dtable gdt, idt;
	__u64 cr0, cr2, cr3, cr4, cr8;
	__u64 efer;
	__u64 apic_base;
};

/**
 * struct cleave_debug - debug registers
 * @db: DR0 to DR3
 * @dr6: status
 * @dr7: control
 */
struct cleave_debug {
	__u64 db[4];
	__u64 dr6;
	__u64 dr7;
};

/**
 * struct cleave_xcrs - extended control registers
 * @xcr0: subset of cleave_info.xcr0
 */
struct cleave_xcrs {
	__u64 xcr0;
};

/* struct cleave_event.type */
#define CLEAVE_EVENT_NONE	0
#define CLEAVE_EVENT_INTERRUPT	1	/* external, acknowledged already */
#define CLEAVE_EVENT_NMI	2
#define CLEAVE_EVENT_EXCEPTION	3

/* struct cleave_event.flags */
#define CLEAVE_EVENT_ERROR	(1U << 0)	/* @error_code is pushed */
#define CLEAVE_EVENT_PAYLOAD	(1U << 1)	/* @payload: to CR2 (#PF) or DR6 (#DB) */

/**
 * struct cleave_event - one event to deliver
 * @type: CLEAVE_EVENT_*
 * @vector: of an interrupt or exception
 * @flags: CLEAVE_EVENT_*
 * @reserved: zero
 * @error_code: of an exception that has one
 * @payload: address for #PF, bits to set in DR6 for #DB
 */
struct cleave_event {
	__u8 type;
	__u8 vector;
	__u8 flags;
	__u8 reserved;
	__u32 error_code;
	__u64 payload;
};

/* struct cleave_events.shadow */
#define CLEAVE_SHADOW_STI	(1U << 0)
#define CLEAVE_SHADOW_MOV_SS	(1U << 1)

/**
 * struct cleave_events - what is on its way to the guest
 * @injected: whose delivery an exit cut short; goes first, unconditionally
 * @exception: raised and not delivered yet
 * @nmi_pending: NMIs waiting, 0 to 2; setting it takes none away that came since it was read
 * @nmi_masked: 1 between the delivery of an NMI and IRET
 * @shadow: CLEAVE_SHADOW_*, interrupts held off for one instruction; none with an
 *	interrupt or NMI in @injected
 * @extint: 1 if the interrupt @extint_vector from a PIC waits (not from the
 *	local APIC); its delivery clears it
 * @extint_vector: vector
 * @reserved: zero
 */
struct cleave_events {
	struct cleave_event injected;
	struct cleave_event exception;
	__u8 nmi_pending;
	__u8 nmi_masked;
	__u8 shadow;
	__u8 extint;
	__u8 extint_vector;
	__u8 reserved[3];
};

/* struct cleave_mp.state */
#define CLEAVE_MP_RUNNABLE	0
#define CLEAVE_MP_HALTED	1	/* in HLT */
#define CLEAVE_MP_WAIT_INIT	2	/* after reset, not the bootstrap processor */
#define CLEAVE_MP_WAIT_SIPI	3	/* after INIT */
#define CLEAVE_MP_SHUTDOWN	4	/* triple fault */

/**
 * struct cleave_mp - multiprocessor state
 * @state: CLEAVE_MP_*
 * @sipi_vector: of the SIPI that started it last
 * @kicked: 1: KVM_HC_KICK_CPU has come, and ends the HLT that it is in or the next
 * @reserved: zero
 */
struct cleave_mp {
	__u32 state;
	__u8 sipi_vector;
	__u8 kicked;
	__u8 reserved[2];
};

/**
 * struct cleave_lapic - local APIC
 * @regs: the register page's first KiB, as the guest reads it in xAPIC mode,
 *	register at offset N in regs[N / 4]; the id register holds the x2APIC
 *	id in x2APIC mode
 * @icr_high: high half of the 64-bit ICR in x2APIC mode
 * @timer_pending: timer interrupts due and not taken yet
 * @tsc_deadline: IA32_TSC_DEADLINE
 * @timer_left: ns until the one-shot or periodic timer fires; 0 when it is
 *	not running
 */
struct cleave_lapic {
	__u32 regs[256];
	__u32 icr_high;
	__u32 timer_pending;
	__u64 tsc_deadline;
	__u64 timer_left;
};

/**
 * struct cleave_state - argument of CLEAVE_GET_STATE and CLEAVE_SET_STATE
 * @groups: which of the following to read or set, CLEAVE_REGS and so on
 * @reserved: zero
 * @regs: with CLEAVE_REGS
 * @sregs: with CLEAVE_SREGS
 * @debug: with CLEAVE_DEBUG
 * @xcrs: with CLEAVE_XCRS
 * @events: with CLEAVE_EVENTS
 * @mp: with CLEAVE_MP
 * @lapic: with CLEAVE_LAPIC
 *
 * Setting checks all groups first and then sets all, or none: -EINVAL for a
 * value that no CPU of this guest's CPUID could hold. Both wait for the vCPU
 * to come out of CLEAVE_RUN (-EINTR if a signal comes first).
 */
struct cleave_state {
	__u64 groups;
	__u64 reserved;
	struct cleave_regs regs;
	struct cleave_sregs sregs;
	struct cleave_debug debug;
	struct cleave_xcrs xcrs;
	struct cleave_events events;
	struct cleave_mp mp;
	struct cleave_lapic lapic;
};

/**
 * struct cleave_fpu - argument of CLEAVE_GET_FPU and CLEAVE_SET_FPU
 * @region: XSAVE area in the standard, uncompacted format (SDM vol. 1 13.4)
 *
 * Setting: -EINVAL if XSTATE_BV or MXCSR has bits the guest cannot have.
 */
struct cleave_fpu {
	__u8 region[12288];
};

/*
 * The VM's paravirtual clock (KVM_FEATURE_CLOCKSOURCE2) in ns, as an MSR that no guest has, of each
 * vCPU: it goes on from the value that was set last. 0 when the VM is created.
 */
#define CLEAVE_MSR_CLOCK	0x636c7600

/**
 * struct cleave_msr_entry - one model-specific register
 * @index: ECX of RDMSR
 * @reserved: zero
 * @value: EDX:EAX
 */
struct cleave_msr_entry {
	__u32 index;
	__u32 reserved;
	__u64 value;
};

/**
 * struct cleave_msrs - argument of CLEAVE_GET_MSRS and CLEAVE_SET_MSRS
 * @count: entries to read or set
 * @done: out: entries read or set; the first refused one is entries[@done]
 * @entries: the registers
 *
 * Returns 0 when all were done; -EINVAL, with @done written back, when one
 * is unknown or its value is refused.
 */
struct cleave_msrs {
	__u32 count;
	__u32 done;
	struct cleave_msr_entry entries[CLEAVE_MAX_MSRS];
};

/**
 * struct cleave_lapic_access - argument of CLEAVE_LAPIC_ACCESS
 * @offset: of the register in the xAPIC page, 16-byte aligned
 * @write: 1 to write @value, 0 to read it
 * @value: in or out
 * @reserved: zero
 *
 * What the guest's access to the xAPIC page does, for user space that has
 * decoded it. Wakes and interrupts as the guest's own would.
 */
struct cleave_lapic_access {
	__u32 offset;
	__u32 write;
	__u32 value;
	__u32 reserved;
};

/* ---- the run page ------------------------------------------------------- */

/* struct cleave_run.request */
#define CLEAVE_RUN_IMMEDIATE	(1U << 0)	/* complete the last exit, do not enter: -EINTR */
/* Exit when an interrupt could be taken; one in CLEAVE_EVENTS goes first. */
#define CLEAVE_RUN_WINDOW	(1U << 1)

/* struct cleave_run.exit */
#define CLEAVE_EXIT_NONE	0	/* CLEAVE_RUN returned an error */
#define CLEAVE_EXIT_IO		1	/* port access; complete by run->io.data */
#define CLEAVE_EXIT_MMIO	2	/* no slot, or a write to a read-only one: decode, do */
#define CLEAVE_EXIT_MSR		3	/* unknown MSR; complete by run->msr */
#define CLEAVE_EXIT_HLT		4	/* HLT, RIP behind it */
#define CLEAVE_EXIT_SHUTDOWN	5	/* triple fault */
#define CLEAVE_EXIT_WINDOW	6	/* the asked-for window is open */
#define CLEAVE_EXIT_EOI		7	/* EOI of a level-triggered vector */
#define CLEAVE_EXIT_HYPERCALL	8	/* RIP behind it; result goes to RAX */
#define CLEAVE_EXIT_INSN	9	/* an instruction for user space to carry out */
#define CLEAVE_EXIT_FAULT	10	/* the host could not provide the page */
#define CLEAVE_EXIT_REFUSED	11	/* no entry: guest or host state, controls, MSR loading */
#define CLEAVE_EXIT_UNHANDLED	12	/* an exit that nobody asked for */

/* struct cleave_run.io.flags, .mmio.flags, .msr.flags, .fault.flags */
#define CLEAVE_ACCESS_WRITE	(1U << 0)	/* OUT, store, WRMSR */
#define CLEAVE_ACCESS_FETCH	(1U << 1)	/* instruction fetch */
#define CLEAVE_ACCESS_STRING	(1U << 2)	/* INS, OUTS: as CLEAVE_EXIT_INSN, RIP at it */
#define CLEAVE_ACCESS_READONLY	(1U << 3)	/* store to a CLEAVE_SLOT_READONLY slot */
#define CLEAVE_ACCESS_WALK	(1U << 4)	/* of the guest's page tables, not data */

/**
 * struct cleave_refusal - the rule of the manual that the entry breaks
 * @section: of the manual, "SDM vol. 3C 27.3.1.2"; empty if the module found
 *	no broken rule
 * @field: "CS access rights"
 * @legal: what the value would have to be, in words
 * @value: of the field
 *
 * Texts end with a zero byte.
 */
struct cleave_refusal {
	char section[48];
	char field[64];
	char legal[128];
	__u64 value;
};

/**
 * struct cleave_run - page 0 of a vCPU fd's mmap(), shared with the module
 * @request: in: CLEAVE_RUN_*, read once when CLEAVE_RUN starts
 * @reserved: in: zero
 * @want: in: groups (CLEAVE_REGS, CLEAVE_SREGS) to fill at every exit
 * @dirty: in: groups user space changed here since the exit; taken over and
 *	cleared by the next CLEAVE_RUN (-EINVAL if it refuses the values)
 * @valid: out: groups filled at this exit
 * @exit: out: CLEAVE_EXIT_*
 * @window: out: 1 if the guest could take an interrupt now
 * @raw_reason: out: the vendor's exit reason or code, for people
 * @raw_info: out: exit qualification or EXITINFO1, EXITINFO2, for people
 * @rip: out: of the exit (before it is moved behind the instruction)
 * @regs: in and out
 * @sregs: in and out
 * @io: CLEAVE_EXIT_IO
 * @mmio: CLEAVE_EXIT_MMIO, CLEAVE_EXIT_INSN
 * @msr: CLEAVE_EXIT_MSR
 * @hypercall: CLEAVE_EXIT_HYPERCALL
 * @eoi: CLEAVE_EXIT_EOI
 * @fault: CLEAVE_EXIT_FAULT
 * @refused: CLEAVE_EXIT_REFUSED
 * @padding: room for exits to come
 *
 * Both sides may write it at any time: the module reads every field once and
 * trusts none of them twice. regs are valid at every exit; sregs too at
 * exits that ask for an instruction to be carried out (MMIO, INSN, string
 * I/O) and when wanted.
 */
struct cleave_run {
	__u32 request;
	__u32 reserved;
	__u64 want;
	__u64 dirty;

	__u64 valid;
	__u32 exit;
	__u32 window;
	__u64 raw_reason;
	__u64 raw_info[2];
	__u64 rip;

	struct cleave_regs regs;
	struct cleave_sregs sregs;

	union {
		/*
		 * One element of @size bytes (1, 2, 4) at @port. OUT: in
		 * @data. IN: user space puts it there; the next CLEAVE_RUN
		 * moves it to RAX. RIP is behind the instruction already.
		 * With CLEAVE_ACCESS_STRING nothing is done yet.
		 */
		struct {
			__u16 port;
			__u8 size;
			__u8 reserved;
			__u32 flags;
			__u32 data;
			__u32 reserved2;
		} io;
		/*
		 * RIP is at the instruction.
		 * User space carries it out and changes registers by dirty.
		 */
		struct {
			__u64 gpa;
			__u32 flags;
			__u32 reserved;
		} mmio;
		/*
		 * User space puts what RDMSR reads in @data, or sets @error
		 * to raise #GP(0). RIP moves at the next CLEAVE_RUN.
		 */
		struct {
			__u32 index;
			__u32 flags;
			__u64 data;
			__u32 error;
			__u32 reserved;
		} msr;
		/* Number and arguments by the KVM convention; see regs. */
		struct {
			__u64 nr;
			__u64 args[4];
		} hypercall;
		struct {
			__u32 vector;
			__u32 reserved;
		} eoi;
		/* @error: errno, positive, that the host answered with. */
		struct {
			__u64 gpa;
			__u64 hva;
			__u32 flags;
			__u32 error;
		} fault;
		struct cleave_refusal refused;
		__u8 padding[512];
	};
};

/* ---- the flight recorder ------------------------------------------------ */

/*
 * struct cleave_record.kind: what an exit was, by the same name on both
 * vendors, whatever the processor calls it.
 */
#define CLEAVE_KIND_NONE	0	/* a debug register's first use, an NMI's end */
#define CLEAVE_KIND_HOST	1	/* interrupt or NMI of the host */
#define CLEAVE_KIND_CPUID	2	/* @detail: leaf in 31:0, subleaf in 63:32 */
#define CLEAVE_KIND_HLT		3
#define CLEAVE_KIND_IO		4	/* @detail: port in 15:0, size in 23:16, bit 24: IN */
#define CLEAVE_KIND_RDMSR	5	/* @detail: index */
#define CLEAVE_KIND_WRMSR	6	/* @detail: index */
#define CLEAVE_KIND_HYPERCALL	7	/* @detail: number */
#define CLEAVE_KIND_CR_READ	8	/* MOV from CR; @detail: which */
#define CLEAVE_KIND_CR_WRITE	9	/* MOV to CR, CLTS, LMSW; @detail: which */
#define CLEAVE_KIND_XSETBV	10
#define CLEAVE_KIND_STAGE2	11	/* page fault; @detail: guest-physical address */
#define CLEAVE_KIND_EXCEPTION	12	/* goes back to the guest; @detail: vector */
#define CLEAVE_KIND_WINDOW	13	/* an event that had to wait can go in now */
#define CLEAVE_KIND_SKIP	14	/* nothing to do: WBINVD, INVD */
#define CLEAVE_KIND_UD		15	/* #UD: not offered (VMX, SVM, MONITOR ...) */
#define CLEAVE_KIND_GP		16	/* #GP(0): RDPMC ... */
#define CLEAVE_KIND_TASK_SWITCH	17
#define CLEAVE_KIND_INSN	18	/* for user space to carry out */
#define CLEAVE_KIND_SHUTDOWN	19	/* triple fault */
#define CLEAVE_KIND_REFUSED	20	/* the processor refused the entry */
#define CLEAVE_KIND_MCE		21	/* machine check, handed to the host already */
#define CLEAVE_KIND_UNHANDLED	22
#define CLEAVE_KINDS		32	/* room in struct cleave_recorder.kinds */

/**
 * struct cleave_record - one exit
 * @tsc: the host's TSC behind it
 * @rip: of the instruction
 * @raw_reason: VMX exit reason or SVM EXITCODE
 * @raw_info: exit qualification and 0, or EXITINFO1 and EXITINFO2
 * @detail: what it was about, by its kind
 * @kind: CLEAVE_KIND_*
 * @exit: CLEAVE_EXIT_* by which it went to user space; 0: it stayed in the kernel
 * @entered_type: CLEAVE_EVENT_* that the entry before it injected
 * @entered_vector: and its vector
 * @raised: 1 if it made an exception for the guest, of @raised_vector
 * @raised_vector: see @raised
 * @reserved: zero
 */
struct cleave_record {
	__u64 tsc;
	__u64 rip;
	__u64 raw_reason;
	__u64 raw_info[2];
	__u64 detail;
	__u32 kind;
	__u32 exit;
	__u8 entered_type;
	__u8 entered_vector;
	__u8 raised;
	__u8 raised_vector;
	__u32 reserved;
};

#define CLEAVE_RECORDS		256

/**
 * struct cleave_recorder - a vCPU's last exits, and how many there were of each kind
 * @count: records written since the vCPU was made; the newest is in
 *	records[(@count - 1) % CLEAVE_RECORDS]
 * @frozen: 1: no records are written, by CLEAVE_FREEZE or after
 *	CLEAVE_EXIT_SHUTDOWN or CLEAVE_EXIT_REFUSED; counters go on
 * @reserved: zero
 * @kinds: exits by CLEAVE_KIND_*
 * @exits: exits to user space by CLEAVE_EXIT_*
 * @events: events injected by CLEAVE_EVENT_*
 * @padding: room for counters to come
 * @records: the ring
 *
 * At offset cleave_info.run_size of a vCPU fd, cleave_info.recorder_size
 * bytes, to be mapped read-only. The module writes while the vCPU runs: a
 * record is complete once @count says so, and until 255 more were written.
 */
struct cleave_recorder {
	__u64 count;
	__u32 frozen;
	__u32 reserved;
	__u64 kinds[CLEAVE_KINDS];
	__u64 exits[32];
	__u64 events[4];
	__u8 padding[3536];
	struct cleave_record records[CLEAVE_RECORDS];
};

/**
 * struct cleave_freeze - argument of CLEAVE_FREEZE
 * @frozen: 1 stops the flight recorder, 0 lets it go on
 * @reserved: zero
 *
 * At any time, by any thread of the owner, whether the vCPU runs or not.
 */
struct cleave_freeze {
	__u32 frozen;
	__u32 reserved;
};

/* ---- commands ----------------------------------------------------------- */

#define CLEAVE_IOC	0xce

/*
 * Each returns 0 unless it says otherwise, and a negative errno: those at the
 * top of this file, and what it names. "Waits": for the vCPU to come out of
 * another thread's CLEAVE_RUN, -EINTR if a signal comes first; CLEAVE_KICK
 * shortens that. All are for every thread of the process that owns the VM.
 */

/* on /dev/cleave */

/* What host and module can do, in struct cleave_info. */
#define CLEAVE_INFO		_IOR(CLEAVE_IOC, 0x00, struct cleave_info)
/* The CPUID table that host and module offer, and that a new vCPU has. */
#define CLEAVE_GET_CPUID	_IOR(CLEAVE_IOC, 0x01, struct cleave_cpuid)
/*
 * Returns a VM fd. The first VM switches virtualization on, on every CPU; the
 * last one's end switches it off. See struct cleave_create_vm for the errors.
 */
#define CLEAVE_CREATE_VM	_IOW(CLEAVE_IOC, 0x02, struct cleave_create_vm)

/* on a VM fd; all but CLEAVE_MSI take turns: -EINTR if a signal comes before it is theirs */

/* Returns a vCPU fd, under running vCPUs too. -EEXIST, -EINVAL, -ENOMEM, -EMFILE. */
#define CLEAVE_CREATE_VCPU	_IOW(CLEAVE_IOC, 0x20, struct cleave_create_vcpu)
/* Guest memory; running vCPUs leave the guest for it. -EEXIST, -EINVAL, -ENOENT. */
#define CLEAVE_SET_SLOT		_IOW(CLEAVE_IOC, 0x21, struct cleave_slot)
/* Returns how many local APICs took the message. Waits for no vCPU. -EINVAL. */
#define CLEAVE_MSI		_IOW(CLEAVE_IOC, 0x22, struct cleave_msi)
/* Interrupts by eventfds. -EINVAL, -EBADF, -EEXIST, -ENOENT, -ENOSPC, -ENOMEM. */
#define CLEAVE_IRQFD		_IOW(CLEAVE_IOC, 0x23, struct cleave_irqfd)
/* Eventfds by the guest's writes. -EINVAL, -EBADF, -EEXIST, -ENOENT, -ENOSPC, -ENOMEM. */
#define CLEAVE_IOEVENTFD	_IOW(CLEAVE_IOC, 0x24, struct cleave_ioeventfd)

/*
 * on a vCPU fd
 *
 * mmap() has the run page at offset 0, one page, and the flight recorder at
 * cleave_info.run_size, cleave_info.recorder_size bytes: -EINVAL for another
 * offset or size, MAP_PRIVATE or PROT_EXEC; -EACCES for a writable recorder;
 * -EIO in another process than the owner's. A child of fork() has neither.
 */

/*
 * Takes the run page's input over, completes the last exit and runs the guest.
 * 0: cleave_run.exit says what user space is to do. Waits for a CLEAVE_RUN of
 * another thread. Errors: -EINTR by a signal, CLEAVE_KICK or
 * CLEAVE_RUN_IMMEDIATE, run again; -EINVAL an unknown bit in request or want, or
 * registers in dirty that it refuses, nothing ran; -EIO the owner is gone, or
 * the host goes down. It sleeps while the vCPU is in HLT or waits for INIT or SIPI.
 */
#define CLEAVE_RUN		_IO(CLEAVE_IOC, 0x40)
/*
 * Groups of registers. Both wait. An exit that waits for its answer is completed
 * by CLEAVE_RUN_IMMEDIATE first, to read what the guest will see; to set
 * CLEAVE_REGS drops the answer. -EINVAL: an unknown group; a value that no CPU of
 * this CPUID could hold, nothing is set.
 */
#define CLEAVE_GET_STATE	_IOWR(CLEAVE_IOC, 0x41, struct cleave_state)
#define CLEAVE_SET_STATE	_IOW(CLEAVE_IOC, 0x42, struct cleave_state)
/* The XSAVE area. Both wait. -EINVAL: bits in it that the guest cannot have. */
#define CLEAVE_GET_FPU		_IOR(CLEAVE_IOC, 0x43, struct cleave_fpu)
#define CLEAVE_SET_FPU		_IOW(CLEAVE_IOC, 0x44, struct cleave_fpu)
/* MSRs. Both wait. -EINVAL at the first that is refused, the ones before it are done. */
#define CLEAVE_GET_MSRS		_IOWR(CLEAVE_IOC, 0x45, struct cleave_msrs)
#define CLEAVE_SET_MSRS		_IOWR(CLEAVE_IOC, 0x46, struct cleave_msrs)
/*
 * The guest's CPUID table, before the vCPU runs first. Waits. -EINVAL: more than
 * host and module offer, or a (leaf, subleaf) twice; -EBUSY: it has run with
 * another table; -ENOMEM.
 */
#define CLEAVE_SET_CPUID	_IOW(CLEAVE_IOC, 0x47, struct cleave_cpuid)
/*
 * The guest's access to its xAPIC page, for who has decoded it. Waits. -EINVAL: an
 * offset that is no multiple of 16 below 4096, write above 1; -ENXIO: the APIC is
 * disabled or in x2APIC mode, so that the page is none.
 */
#define CLEAVE_LAPIC_ACCESS	_IOWR(CLEAVE_IOC, 0x48, struct cleave_lapic_access)
/*
 * Brings the vCPU out of CLEAVE_RUN, or out of the next one if it is in none: that
 * returns -EINTR, once for however many kicks came before. Waits for nothing.
 */
#define CLEAVE_KICK		_IO(CLEAVE_IOC, 0x49)
/*
 * An NMI for the vCPU, which wakes it from HLT. Two wait at most, one while NMIs
 * are masked; more are lost. Waits for nothing.
 */
#define CLEAVE_NMI		_IO(CLEAVE_IOC, 0x4a)
/* Stops the flight recorder or lets it go on. Waits for nothing. -EINVAL. */
#define CLEAVE_FREEZE		_IOW(CLEAVE_IOC, 0x4b, struct cleave_freeze)

#endif /* _UAPI_LINUX_CLEAVE_H */
