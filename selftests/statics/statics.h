/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The entry and exit code of the built module, read as the processor of a given
 * host will run it: see main.c.
 */
#ifndef STATICS_H
#define STATICS_H

#include <elf.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <Zydis/Zydis.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* By their numbers in instructions, and in struct cleave_regs. */
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15, REGS };

/*
 * What the kernel has made of a processor's bugs and its own command line
 * (X86_FEATURE_ and X86_BUG_ of its asm/cpufeatures.h).
 */
enum flag {
	F_MSR_SPEC_CTRL, F_KERNEL_IBRS, F_RSB_VMEXIT, F_RSB_VMEXIT_LITE, F_CALL_DEPTH,
	F_CLEAR_BHB, F_CLEAR_CPU_BUF, F_CLEAR_CPU_BUF_VM, F_UNRET, F_SRSO_ALIAS,
	F_ENTRY_IBPB, F_IBPB_ON_VMEXIT, F_V_SPEC_CTRL, F_USE_IBPB, F_IBPB_EXIT_TO_USER, F_DIV0,
	F_BP_SPEC_REDUCE, F_ALWAYS, FLAGS
};

#define FLAG(f)		(1U << F_##f)

/* The module as it was built. */
struct reloc {
	uint64_t at;
	int sec;		/* of the target; 0: another module's, or the kernel's */
	const char *name;	/* of the symbol, "" for a section's */
	int64_t off, addend;	/* of the target from its section, and from that symbol */
};

struct section {
	const char *name;
	const uint8_t *data;
	uint64_t size;
	struct reloc *relocs;	/* sorted */
	int nr;
};

struct alt {
	int sec;
	uint64_t at, repl;
	int repl_sec, id, len, repl_len;
	bool invert, direct_call;
};

struct ko {
	struct section *secs;
	int nr;
	const Elf64_Sym *syms;
	const char *strings;
	int nr_syms;
	struct alt *alts;
	int nr_alts;
	int ids[FLAGS];		/* of each flag in this kernel, or -1 */
};

/* An instruction as it stands after patching. */
struct insn {
	int sec;
	uint64_t at;
	ZydisDecodedInstruction z;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	const struct reloc *disp, *imm;		/* in those fields */
	int next, target;			/* what follows, where it branches to; or -1 */
	int label;				/* where a static key makes it jump to, or -1 */
	int handler;				/* where a fault of it goes on, or -1 */
	/* By a mutation: it is left out; or something comes before it that does this, READS and so on. */
	bool gone;
	uint32_t extra;
};

struct code {
	const struct ko *ko;
	uint32_t flags;
	struct insn *insns;
	int nr, start, nr_own;		/* own: the function itself, less its cold part */
	int sec;
	uint8_t *image[64];		/* patched sections, by number */
	struct reloc *relocs[64];
	int nr_relocs[64];
};

void ko_load(struct ko *ko, const char *path, const char *cpufeatures);
const char *flag_name(enum flag f);
/* A function named NAME; with CALLS, the one that calls that. Dies if it is not there. */
void code_read(struct code *c, const struct ko *ko, uint32_t flags, const char *name,
	       const char *calls);
/* Is a part of it an alternative by a flag that is none of ours? */
bool code_is_unknown(const struct code *c);
void code_free(struct code *c);
const char *code_text(const struct code *c, int i);	/* one instruction, for people */
/* Does section NAME (of references) name this place? With no section: any. */
bool ko_names_site(const struct ko *ko, const char *name, int sec, uint64_t at);
/* The symbol by which a call or jump leaves the module, or "". */
const char *insn_goes_to(const struct insn *in);
/* Is it a call of that function, of the module's or not? */
bool insn_calls(const struct code *c, int i, const char *name);
bool insn_is_branch(const struct insn *in);
void die(const char *fmt, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* What a register or a slot of the stack holds, as far as it matters. */
enum kind {
	ANY, CONST,
	HOST,			/* what the host had in that register at the function's start */
	GUEST,			/* what the guest left in it */
	FIELD,			/* read from the guest's saved register */
	STACK,			/* an address: n bytes above RSP at the function's start */
	CODE,			/* the address of instruction n */
};

struct val {
	enum kind kind;
	int64_t n;
};

/* What a step did. */
enum {
	READS = 1 << 0, WRITES = 1 << 1,	/* memory, the stack's included */
	GS = 1 << 2,
	JCC = 1 << 3,
	CALLS = 1 << 4,				/* code of the kernel, which returns by RET */
	FILLS = 1 << 5,				/* call of the next instruction but an INT3 */
	RETS = 1 << 6,
	INDIRECT = 1 << 7,
};

struct step {
	int i;
	uint32_t did;
	ZydisMnemonic m;
	const char *sym;	/* called, or of the memory operand */
	struct val rax, rcx, rdx;	/* before it */
	struct val a, b;	/* its operands, where they are looked at */
	bool guest_in_regs;	/* a value of the guest's in any of them, before it */
	bool gif, interrupts;	/* after it */
	struct val spec_ctrl;	/* after it; HOST of the argument that it came from */
};

#define STEPS	512
#define PATHS	64

struct path {
	int nr;
	int enter, exit;	/* VMRUN, VMLAUNCH, VMRESUME, and the first step behind the exit; or -1 */
	int fault;		/* the instruction that faulted, or -1 */
	struct val regs_in[REGS], saved[REGS], regs_out[REGS];
	struct val host_rsp, host_rip;	/* written to the VMCS, at the entry */
	int64_t rsp_enter;
	bool same_spec;		/* it is assumed that both SPEC_CTRL are the same */
	int launched;		/* it is assumed so: 1, not so: 0 */
	const char *error;	/* what could not be followed */
	struct step steps[STEPS];	/* last, as copies leave out what is not used */
};

struct paths {
	struct path *p;
	int nr;
};

struct vendor {
	const char *name;
	bool svm;
	int guest_spec, host_spec;	/* registers of the arguments */
	uint32_t flags;			/* those that its code looks at */
};

extern const struct vendor vendors[2];

void walk(struct paths *out, const struct code *c, const struct vendor *v);

/* Of the assembler: NULL, or what is wrong on that path. */
struct rule {
	const char *name;
	int vendors;		/* 1: SVM, 2: VMX */
	uint32_t flags;		/* one of them asks for it; 0: always */
	const char *(*check)(const struct path *p, const struct code *c, const struct vendor *v);
	/* Of which paths: those that are followed to their end, and the guest was entered; … */
	enum { ENTERED, ALL, BROKEN } paths;	/* … or not; or all, to see why not */
};

extern const struct rule rules[];
extern const int nr_rules;

/* Of a function in C: no way from `from` to `to` that does not pass `via`. */
struct flow_rule {
	const char *name;
	int vendor;		/* 0: SVM, 1: VMX */
	const char *function, *calls;
	uint32_t flags, without;
	bool (*from)(const struct code *c, int i);	/* NULL: the start */
	bool (*via)(const struct code *c, int i);
	bool (*to)(const struct code *c, int i);
	/* Which way a conditional branch goes, if that is what the rule supposes: 0, 1; else -1. */
	int (*taken)(const struct code *c, int i);
};

extern const struct flow_rule flow_rules[];
extern const int nr_flow_rules;

struct sites {
	int returns, indirect;
};

/* NULL if all is well with the module's returns and indirect branches; UNLISTED breaks it. */
const char *sites_check(const struct ko *ko, bool unlisted, struct sites *n);

/* NULL if it holds, or what does not. */
const char *flow_check(const struct flow_rule *r, const struct code *c);

#endif
