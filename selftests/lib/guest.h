/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Guests for the tests: a VM with memory at 0, the tables that each mode of
 * the processor needs, and handlers that record an exception. Functions that
 * return void end the test with a line that says why when they cannot do what
 * they are for; functions that return int give 0 or -errno and leave the
 * judgement to the test.
 */
#ifndef SELFTESTS_GUEST_H
#define SELFTESTS_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/cleave.h>

/* Guest-physical layout; all below 1 MiB so that real mode reaches it. */
#define GPA_IVT		0x0000
#define GPA_GDT		0x1000
#define GPA_IDT		0x2000		/* long mode, 256 gates */
#define GPA_TSS		0x3000
#define GPA_PML4	0x4000		/* identity for 4 GiB, 2 MiB pages, user too */
#define GPA_PDPT	0x5000
#define GPA_PD		0x6000		/* four */
#define GPA_STUBS	0xa000		/* 256 of 16 bytes */
#define GPA_HANDLER	0xb000
#define GPA_TRAP	0xc000		/* struct trap */
#define GPA_DATA	0xd000		/* to 0xffff: the test's */
#define GPA_CODE	0x10000
#define GPA_STACK	0x80000		/* top; vCPU n's is n pages above */
#define RAM_SIZE	0x200000

/* Selectors. */
#define SEL_CODE32	0x08
#define SEL_DATA	0x10
#define SEL_CODE64	0x18
#define SEL_CODE16	0x20
#define SEL_DATA16	0x28
#define SEL_UCODE64	0x33
#define SEL_UDATA	0x3b
#define SEL_TSS		0x40

/* Ports by which guest code speaks to the test. */
#define PORT_TRAP	0xe0		/* an exception without fixup; AL is the vector */
#define PORT_DONE	0xf0

#define RFLAGS_TF	(1u << 8)
#define RFLAGS_IF	(1u << 9)
#define CR0_PE		(1u << 0)
#define CR0_MP		(1u << 1)
#define CR0_EM		(1u << 2)
#define CR0_TS		(1u << 3)
#define CR0_ET		(1u << 4)
#define CR0_NE		(1u << 5)
#define CR0_WP		(1u << 16)
#define CR0_AM		(1u << 18)
#define CR0_PG		(1u << 31)
#define CR4_DE		(1u << 3)
#define CR4_PAE		(1u << 5)
#define CR4_OSFXSR	(1u << 9)
#define CR4_OSXMMEXCPT	(1u << 10)
#define CR4_VMXE	(1u << 13)
#define CR4_OSXSAVE	(1u << 18)
#define EFER_SCE	(1u << 0)
#define EFER_LME	(1u << 8)
#define EFER_LMA	(1u << 10)
#define EFER_NXE	(1u << 11)
#define EFER_SVME	(1u << 12)
#define APIC_BASE_X2APIC	0x400u
#define APIC_BASE_ENABLE	0x800u

/*
 * What the common handler writes at GPA_TRAP. With fixup set it goes on there
 * and clears fixup; else it exits by PORT_TRAP and returns by IRETQ to what
 * the test leaves in the frame.
 */
struct trap {
	uint64_t count, vector, error, rip, cs, rflags, rsp, ss, cr2, fixup;
};

struct trap_frame {
	uint64_t rax, vector, error, rip, cs, rflags, rsp, ss;
};

struct vm {
	int fd;
	uint8_t *ram;
	size_t ram_size;
};

struct vcpu {
	int fd;
	uint32_t id;
	struct vm *vm;
	struct cleave_run *run;
	size_t run_size;
};

/* Code for a guest, position independent; GUEST_LOAD() copies it. */
#define GUEST(name, bits, text)						\
	extern const char name[], name##_end[];				\
	asm(".pushsection .rodata\n\t.balign 16\n\t.code" #bits "\n"	\
	    ".globl " #name ", " #name "_end\n"				\
	    #name ":\n" text "\n" #name "_end:\n\t.code64\n\t.popsection\n")

#define GUEST_LOAD(vm, gpa, name)					\
	vm_load(vm, gpa, name, (size_t)(name##_end - name))

#define S_(x) #x
#define S(x) S_(x)

/* Ends the guest's part of a test with the value in EAX. */
#define G_DONE	"out %eax, $" S(PORT_DONE) "\n\t"

void die(const char *file, int line, const char *fmt, ...)
	__attribute__((noreturn, format(printf, 3, 4)));
#define DIE(...)	die(__FILE__, __LINE__, __VA_ARGS__)
/* An expression that must not be negative; errno is printed. */
#define MUST(expr) ({							\
	long must_ = (long)(expr);					\
	if (must_ < 0)							\
		DIE("%s: errno %d", #expr, errno);			\
	must_; })

/* ioctl() that gives its result or -errno. */
int xioctl(int fd, unsigned long cmd, void *arg);

int dev_open(void);
struct cleave_info dev_info(void);
void *mem_alloc(size_t size, size_t align);

/* flags: CLEAVE_VM_*. ram 0: a VM without memory; else slot 0 at gpa 0. */
void vm_create(struct vm *vm, size_t ram, uint64_t flags);
void vm_destroy(struct vm *vm);
int vm_slot(struct vm *vm, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size, void *hva);
void vm_load(struct vm *vm, uint64_t gpa, const void *code, size_t len);
void vm_tables(struct vm *vm);		/* GDT, IDT, TSS, page tables, handlers */
void vm_gate(struct vm *vm, uint8_t vector, uint64_t handler, uint8_t ist, uint8_t dpl);
void vm_real_vector(struct vm *vm, uint8_t vector, uint16_t cs, uint16_t ip);
int vm_msi(struct vm *vm, uint64_t address, uint32_t data);
static inline struct trap *vm_trap(struct vm *vm)
{
	return (struct trap *)(vm->ram + GPA_TRAP);
}

#define VM_DATA(vm, type, off)	((volatile type *)((vm)->ram + GPA_DATA + (off)))

void vcpu_create(struct vm *vm, struct vcpu *vcpu, uint32_t id);
void vcpu_destroy(struct vcpu *vcpu);

/* Modes: registers as after a boot loader, interrupts off, all else zero. */
void vcpu_real(struct vcpu *vcpu, uint16_t cs, uint16_t ip);
void vcpu_protected(struct vcpu *vcpu, uint32_t eip);
void vcpu_long(struct vcpu *vcpu, uint64_t rip);
void vcpu_x2apic(struct vcpu *vcpu);	/* enabled, in x2APIC mode, SVR 0x1ff */

void state_get(struct vcpu *vcpu, uint64_t groups, struct cleave_state *st);
int state_set(struct vcpu *vcpu, uint64_t groups, struct cleave_state *st);
void state_must_set(struct vcpu *vcpu, uint64_t groups, struct cleave_state *st);
void regs_get(struct vcpu *vcpu, struct cleave_regs *regs);
void regs_set(struct vcpu *vcpu, const struct cleave_regs *regs);
void rip_set(struct vcpu *vcpu, uint64_t rip);
int msr_get(struct vcpu *vcpu, uint32_t index, uint64_t *val);
int msr_set(struct vcpu *vcpu, uint32_t index, uint64_t val);

int vcpu_run(struct vcpu *vcpu);			/* 0 or -errno */
void vcpu_run_exit(struct vcpu *vcpu, uint32_t exit);	/* runs to that very exit */
uint32_t vcpu_run_out(struct vcpu *vcpu, uint16_t port); /* to an OUT there; its data */
uint32_t vcpu_run_done(struct vcpu *vcpu);		/* to PORT_DONE */
struct trap_frame *vcpu_run_trap(struct vcpu *vcpu, uint8_t vector); /* to that exception */
void vcpu_dump(struct vcpu *vcpu);
void recorder_dump(struct vcpu *vcpu);			/* the last exits, the newest at the end */

/* Writes the code of a long-mode guest at GPA_CODE and puts the vCPU there. */
#define GUEST_LONG(vcpu, name) do {					\
	vm_tables((vcpu)->vm);						\
	GUEST_LOAD((vcpu)->vm, GPA_CODE, name);				\
	vcpu_long(vcpu, GPA_CODE);					\
} while (0)

/* A VM with RAM_SIZE of memory and vCPU 0 at the start of a long-mode blob. */
#define GUEST_SIMPLE(vm, vcpu, name) do {				\
	vm_create(vm, RAM_SIZE, 0);					\
	vcpu_create(vm, vcpu, 0);					\
	GUEST_LONG(vcpu, name);						\
} while (0)

/*
 * A long-mode guest that does memory accesses for the test. prepare puts it at
 * GPA_CODE; each call runs one access and gives the exit: CLEAVE_EXIT_IO when
 * it was done, or what came in its way (the next call starts anew).
 */
void access_prepare(struct vcpu *vcpu);
uint32_t guest_read(struct vcpu *vcpu, uint64_t gpa, uint64_t *val);
uint32_t guest_write(struct vcpu *vcpu, uint64_t gpa, uint64_t val);
/* One word per page: writes val + page number; or counts the pages that differ from that. */
uint32_t guest_fill(struct vcpu *vcpu, uint64_t gpa, uint64_t size, uint64_t val);
uint32_t guest_check(struct vcpu *vcpu, uint64_t gpa, uint64_t size, uint64_t val, uint64_t *bad);

/* A thread that calls CLEAVE_RUN until it is told to stop. */
struct runner {
	struct vcpu *vcpu;
	unsigned long thread;		/* pthread_t */
	volatile bool stop;
	volatile uint64_t exits;
	volatile int error;		/* what CLEAVE_RUN gave, but for -EINTR */
	/* Called after each exit; nonzero ends the thread. May be NULL: any exit is run over. */
	int (*exit)(struct vcpu *vcpu, void *arg);
	void *arg;
};

void runner_start(struct runner *r, struct vcpu *vcpu,
		  int (*exit)(struct vcpu *vcpu, void *arg), void *arg);
void runner_wait(struct runner *r);	/* until exit() ended it */
void runner_stop(struct runner *r);	/* by CLEAVE_KICK */

uint64_t now_ns(void);
void pin_to(int cpu);			/* the calling thread */
bool cpu_online(int cpu);

#endif
