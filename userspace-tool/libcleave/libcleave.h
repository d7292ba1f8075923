/* SPDX-License-Identifier: GPL-2.0 */
/*
 * libcleave: the ABI of /dev/cleave as functions, guest memory as a table, a
 * walk of the guest's page tables, the instruction assist, the flight
 * recorder, names and symbols for people. Nothing here prints or exits. Functions return >= 0 or -errno unless they say otherwise.
 */
#ifndef LIBCLEAVE_H
#define LIBCLEAVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/cleave.h>

/* ---- api.c: one function per ioctl ---------------------------------------- */

int cleave_open(const char *path);			/* NULL: /dev/cleave */
int cleave_info(int dev, struct cleave_info *info);
int cleave_get_cpuid(int dev, struct cleave_cpuid *cpuid);
int cleave_create_vm(int dev, uint64_t flags);		/* the VM's fd */

int cleave_create_vcpu(int vm, uint32_t id);		/* the vCPU's fd */
int cleave_set_slot(int vm, const struct cleave_slot *slot);
int cleave_msi(int vm, uint64_t address, uint32_t data);
int cleave_irqfd(int vm, const struct cleave_irqfd *irqfd);
int cleave_ioeventfd(int vm, const struct cleave_ioeventfd *ioeventfd);

int cleave_run(int vcpu);
int cleave_get_state(int vcpu, struct cleave_state *state);
int cleave_set_state(int vcpu, const struct cleave_state *state);
int cleave_get_fpu(int vcpu, struct cleave_fpu *fpu);
int cleave_set_fpu(int vcpu, const struct cleave_fpu *fpu);
int cleave_get_msrs(int vcpu, struct cleave_msrs *msrs);
int cleave_set_msrs(int vcpu, struct cleave_msrs *msrs);
int cleave_set_cpuid(int vcpu, const struct cleave_cpuid *cpuid);
int cleave_lapic_access(int vcpu, struct cleave_lapic_access *access);
int cleave_kick(int vcpu);
int cleave_nmi(int vcpu);
int cleave_freeze(int vcpu, bool frozen);

int cleave_map_run(int vcpu, size_t run_size, struct cleave_run **run);
void cleave_unmap_run(struct cleave_run *run, size_t run_size);
/* Read-only; the sizes are those of struct cleave_info. */
int cleave_map_recorder(int vcpu, const struct cleave_info *info, const struct cleave_recorder **rec);
void cleave_unmap_recorder(const struct cleave_recorder *rec, const struct cleave_info *info);

/* ---- mem.c: guest-physical ranges and where they are in this process ------- */

#define CLEAVE_MEM_RANGES	16
#define CLEAVE_MEM_READONLY	(1U << 0)	/* guest stores go to the device models */

struct cleave_range {
	uint64_t gpa;
	uint64_t size;
	uint8_t *host;
	uint32_t flags;			/* CLEAVE_MEM_* */
};

/* Not changed while vCPUs run. */
struct cleave_mem {
	unsigned int count;
	struct cleave_range range[CLEAVE_MEM_RANGES];
};

/* -EEXIST: overlaps another; -ENOSPC: table full; -EINVAL: empty or wraps. */
int cleave_mem_add(struct cleave_mem *mem, uint64_t gpa, uint64_t size, void *host, uint32_t flags);
/* len bytes at gpa within one range, or NULL. */
void *cleave_mem_ptr(const struct cleave_mem *mem, uint64_t gpa, uint64_t len);
/* The same for a store by the guest: NULL for read-only ranges too. */
void *cleave_mem_wptr(const struct cleave_mem *mem, uint64_t gpa, uint64_t len);
/* Across adjacent ranges; -EFAULT, with nothing done, if a byte is in none. */
int cleave_mem_read(const struct cleave_mem *mem, uint64_t gpa, void *buf, uint64_t len);
int cleave_mem_write(const struct cleave_mem *mem, uint64_t gpa, const void *buf, uint64_t len);

/* ---- walk.c: the guest's page tables --------------------------------------- */

#define CLEAVE_WALK_WRITE	(1U << 0)
#define CLEAVE_WALK_FETCH	(1U << 1)
#define CLEAVE_WALK_USER	(1U << 2)	/* CPL is 3 */
#define CLEAVE_WALK_IMPLICIT	(1U << 3)	/* by the CPU itself: RFLAGS.AC does not lift SMAP */
#define CLEAVE_WALK_PEEK	(1U << 4)	/* a debugger looks: no permissions, no A/D bits */

/* The entries that a walk used, to see cheaply whether it still holds. */
struct cleave_walk_trace {
	unsigned int count;
	unsigned int width;		/* 4 or 8 bytes */
	const void *entry[6];
	uint64_t value[6];
};

struct cleave_walk {
	const struct cleave_mem *mem;
	const struct cleave_sregs *sregs;
	uint64_t rflags;
	uint32_t phys_bits;		/* the guest's MAXPHYADDR; 0: 52 */
};

/*
 * Linear address to guest-physical address. 0; -EFAULT: *fault is the
 * exception (#PF, or #GP when gva is not canonical); -ENXIO: a table lies
 * outside memory. Sets accessed and dirty bits. trace may be NULL. Protection
 * keys are not looked at: what exits to user space has passed the CPU's check.
 */
int cleave_walk(const struct cleave_walk *w, uint64_t gva, uint32_t access, uint64_t *gpa,
		struct cleave_event *fault, struct cleave_walk_trace *trace);
/* For people and debuggers: bytes of linear memory read, may be short. */
size_t cleave_peek(const struct cleave_mem *mem, const struct cleave_sregs *sregs, uint64_t gva,
		   void *buf, size_t len);

/* ---- assist.c: carries out one guest instruction --------------------------- */

#define CLEAVE_ASSIST_DONE	0	/* carried out, or one chunk of a REP: RIP at it still */
#define CLEAVE_ASSIST_FAULT	1	/* inject cleave_assist.fault (registers are right) */

#define CLEAVE_ASSIST_CHUNK	4096	/* iterations of a REP before it returns */

struct cleave_assist_cache;

/*
 * One per vCPU; not shared by threads. Zero it, set the callbacks, and give it
 * to cleave_assist_init(). Sizes are 1, 2, 4 or 8 (MMIO; never across a page),
 * 1, 2 or 4 (ports). A callback returns 0 or -errno, which ends the
 * instruction and is what cleave_assist() returns.
 */
struct cleave_assist {
	const struct cleave_mem *mem;
	uint32_t phys_bits;		/* the guest's MAXPHYADDR; 0: 52 */
	void *opaque;
	int (*mmio_read)(void *opaque, uint64_t gpa, void *data, unsigned int size);
	int (*mmio_write)(void *opaque, uint64_t gpa, const void *data, unsigned int size);
	int (*pio_in)(void *opaque, uint16_t port, uint32_t *data, unsigned int size);
	int (*pio_out)(void *opaque, uint16_t port, uint32_t data, unsigned int size);
	/* Both or none; without them vector registers are -EOPNOTSUPP. */
	int (*fpu_get)(void *opaque, struct cleave_fpu *fpu);
	int (*fpu_set)(void *opaque, const struct cleave_fpu *fpu);

	struct cleave_event fault;	/* out: with CLEAVE_ASSIST_FAULT; type is EXCEPTION */
	char text[128];			/* out: with -EOPNOTSUPP: the instruction, and where */
	uint64_t hits, misses;		/* of the decode cache */
	struct cleave_assist_cache *cache;
};

int cleave_assist_init(struct cleave_assist *a);	/* -ENOMEM */
void cleave_assist_free(struct cleave_assist *a);
/*
 * For CLEAVE_EXIT_MMIO, CLEAVE_EXIT_INSN and CLEAVE_EXIT_IO with
 * CLEAVE_ACCESS_STRING: carries out the instruction at run->regs.rip.
 * Needs run->regs and run->sregs; changes them and run->dirty. Returns
 * CLEAVE_ASSIST_*; -EOPNOTSUPP: nobody knows this instruction, see text;
 * -ENXIO: the code or the page tables are outside memory, see text.
 */
int cleave_assist(struct cleave_assist *a, struct cleave_run *run);
/* Text of the instruction at CS:RIP, for people; *len its length. -EINVAL: none there. */
int cleave_disasm(const struct cleave_mem *mem, const struct cleave_regs *regs,
		  const struct cleave_sregs *sregs, char *text, size_t size, unsigned int *len);

/* ---- recorder.c: the flight recorder ---------------------------------------- */

/*
 * The newest records, oldest first, at most max (and CLEAVE_RECORDS): how many.
 * The vCPU may run meanwhile; what it overwrote while they were copied is left
 * out. *count: records written in all.
 */
unsigned int cleave_records(const struct cleave_recorder *rec, struct cleave_record *out,
			    unsigned int max, uint64_t *count);

/* ---- names.c: NULL: it has none ---------------------------------------------- */

const char *cleave_kind_name(uint32_t kind);		/* CLEAVE_KIND_* */
const char *cleave_exit_name(uint32_t exit);		/* CLEAVE_EXIT_* */
const char *cleave_event_name(uint32_t type);		/* CLEAVE_EVENT_* */
const char *cleave_mp_name(uint32_t state);		/* CLEAVE_MP_* */
const char *cleave_vector_name(uint32_t vector);	/* of an exception: "#PF" */
const char *cleave_msr_name(uint32_t index);		/* of the register, or of its range */
const char *cleave_port_name(uint16_t port);		/* who is there in a PC */

/* ---- symbols.c: names for a kernel's addresses ------------------------------- */

struct cleave_symbols;

/*
 * A System.map, or an ELF file with a symbol table (vmlinux); the file is
 * hostile input. 0, or -errno with one line in err: what, why, what to do.
 */
int cleave_symbols_open(const char *path, struct cleave_symbols **symbols, char *err,
			size_t errlen);
void cleave_symbols_free(struct cleave_symbols *symbols);
size_t cleave_symbols_count(const struct cleave_symbols *symbols);
/* The code symbol that address is in, printable ASCII; NULL: none. */
const char *cleave_symbols_find(const struct cleave_symbols *symbols, uint64_t address,
				uint64_t *offset);
bool cleave_symbols_address(const struct cleave_symbols *symbols, const char *name,
			    uint64_t *address);

#endif /* LIBCLEAVE_H */
