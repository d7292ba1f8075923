/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fuzzing of the module by system calls: sequences of calls that several threads of a process make
 * at once, over a small world of VMs, vCPUs and memory. A sequence is made of small structures that
 * say the same in each run; a call's argument is a sensible one, made by the model, with patches.
 */
#ifndef SELFTESTS_FUZZ_IOCTL_H
#define SELFTESTS_FUZZ_IOCTL_H

#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include "host.h"

enum {
	MAX_OPS = 64,
	MAX_PATCHES = 4,
	THREADS = 3,		/* numbers 1 to 3; 0 is what is made before they start */
	VMS = 3,
	VCPUS = 6,
	EVENTS = 4,
	MAX_KEPT = 1024,
	MAX_ERRNO = 134,
	MAX_EXIT = 16,
	PC_SLOTS = 1 << 16,
};

/* The commands first, in the order of commands[]. */
enum kind {
	OP_INFO, OP_GET_CPUID, OP_CREATE_VM, OP_CREATE_VCPU, OP_SET_SLOT, OP_MSI, OP_IRQFD,
	OP_IOEVENTFD, OP_RUN,
	OP_GET_STATE, OP_SET_STATE, OP_GET_FPU, OP_SET_FPU, OP_GET_MSRS, OP_SET_MSRS,
	OP_SET_CPUID, OP_LAPIC_ACCESS, OP_KICK, OP_NMI, OP_FREEZE,
	OP_COMMANDS,
	/* a: the whole number of a command, known or not */
	OP_IOCTL = OP_COMMANDS,
	OP_CLOSE, OP_CLOSE_FD, OP_DUP, OP_DUP2, OP_READ, OP_WRITE, OP_POLL, OP_LSEEK,
	OP_MMAP_RUN, OP_MMAP_RECORDER, OP_MMAP_ANY, OP_MUNMAP_RUN,
	OP_FORK, OP_FORK_KILL,
	OP_MUNMAP, OP_MMAP, OP_MPROTECT, OP_MADVISE, OP_MREMAP, OP_TRUNCATE,
	OP_RUN_PAGE, OP_RUN_STORM, OP_ARG_STORM, OP_POKE, OP_SCRIPT, OP_CODE,
	OP_NAP,
	OP_KINDS
};

enum on { ON_DEV, ON_VM, ON_VCPU, ON_NONE };

/* Where an argument lies. */
enum where { AT_OWN, AT_NULL, AT_KERNEL, AT_EDGE, AT_READ_ONLY, AT_SHARED, WHERES };

struct patch {
	uint16_t off;
	uint8_t size;		/* 1, 2, 4, 8 */
	uint64_t val;
};

struct op {
	uint8_t kind;
	uint8_t thread;
	uint8_t on;		/* whose descriptor */
	uint8_t obj;		/* which */
	uint8_t base;		/* the model's variant of the argument */
	uint8_t where;
	int16_t grow;		/* by how much the size in the command's number is wrong */
	uint8_t patches;
	struct patch patch[MAX_PATCHES];
	uint64_t a, b;
};

struct seq {
	uint32_t ops;
	struct op op[MAX_OPS];
};

/* What was reached, beside results. */
enum state {
	WAS_SEVERAL_IN_GUEST, WAS_KILLED, WAS_KICKED, WAS_CLOSED_UNDER_IT,
	WAS_UNMAPPED_UNDER_IT, WAS_PROTECTED_UNDER_IT, WAS_ADVISED_UNDER_IT,
	WAS_MOVED_SLOT_UNDER_IT, WAS_RUN_PAGE_CHANGED, WAS_ARGS_CHANGED,
	WAS_FOREIGN, STATES
};

extern const char *const state_names[STATES];

/* Shared by all processes; counters are atomic. */
struct shared {
	uint64_t executions, ops, generated;
	uint64_t trespasses;	/* another process got through */
	uint64_t calls[OP_KINDS], good[OP_KINDS];
	uint64_t errors[OP_KINDS][MAX_ERRNO];
	uint64_t exits[MAX_EXIT];
	uint64_t states[STATES];
	/* coverage: pc[] is a hash table of addresses */
	uint32_t pcs;
	uint32_t pc[PC_SLOTS];
	uint32_t traced;	/* 1: the kernel says which code ran */
	/* sequences that reached new code */
	uint32_t kept;
	struct seq keep[MAX_KEPT];
	/* what each worker runs now, for who looks for a culprit */
	struct seq running[4];
};

extern struct shared *fuzz;
#define COUNT(what)	__atomic_fetch_add(&fuzz->what, 1, __ATOMIC_RELAXED)

/* ioctl_gen.c */
struct rng {
	uint64_t x;
};

struct command {
	const char *name;
	unsigned long cmd;	/* 0: no command */
	enum on on;
};

extern const struct command op_info[OP_KINDS];
uint64_t rng_next(struct rng *r);
void seq_generate(struct rng *r, struct seq *s);
void seq_mutate(struct rng *r, struct seq *s, const struct seq *other);

/* ioctl_text.c: the form in files. A line is a call: thread, name, and what is not 0. */
void seq_print(FILE *f, const struct seq *s);
int seq_parse(const char *text, struct seq *s);		/* 0, or the number of the wrong line */

/* ioctl_model.c: arguments, and the memory of the guests */
#define ARENA		0x1000000000ul	/* everything is at fixed addresses */
#define ARENA_SIZE	0x4000000ul
#define RAM		(ARENA)			/* code and tables */
#define BIG		(ARENA + 0x400000)	/* 4 MiB, huge pages */
#define BIG_SIZE	0x400000ul
#define FILE_MEM	(ARENA + 0x1000000)	/* a memfd, shared */
#define FILE_SIZE	0x40000ul
#define PRIVATE_MEM	(ARENA + 0x1100000)	/* the same one, private */
#define SPARE		(ARENA + 0x2000000)	/* to move to */
#define RUN_PAGES	(ARENA + 0x3000000)	/* of each vCPU, run page and recorder */
#define RUN_STRIDE	0x10000ul
#define SHARED_ARG	(ARENA + 0x3800000)	/* an argument that all threads write to */

struct world {
	int dev, memfd;
	int vm[VMS], vcpu[VCPUS];
	int event[EVENTS];		/* eventfds */
	uint32_t id[VCPUS];		/* of the vCPU that each was made as */
	uint32_t in_guest, in_vcpu[VCPUS];	/* threads in CLEAVE_RUN */
	uint32_t over;			/* the time is up */
};

extern struct world world;
void model_init(void);			/* once a process: reads states off a vCPU */
void model_memory(void);		/* the memory as each sequence finds it */
size_t model_arg(const struct op *op, void *buf, int fd);	/* its size */
void model_code(unsigned int which);	/* writes a guest program */
void model_script(uint64_t seed);	/* what the program called script does */

/* ioctl_exec.c */
struct thread {
	int id;
	unsigned long pthread;
	sigjmp_buf *escape;
	uint64_t *trace;		/* KCOV's, or NULL */
	uint8_t *arg;			/* a page that nobody else has, before one that is not there */
	uint32_t running;
	uint32_t fresh;			/* PCs that nobody had reached */
	struct seq *seq;
};

void exec_start(int worker);		/* once a process: threads, descriptors */
int exec_seq(const struct seq *s);	/* new PCs; -1: a thread does not come back */
extern unsigned int exec_slice_us;	/* how long a guest may run */

/* ioctl_cover.c */
uint64_t *cover_open(void);		/* the calling thread's, or NULL */
void cover_reset(uint64_t *trace);
uint32_t cover_take(uint64_t *trace);	/* how many were new */
void cover_report(FILE *f);

#endif
