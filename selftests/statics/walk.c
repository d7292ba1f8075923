// SPDX-License-Identifier: GPL-2.0
/*
 * Walks all paths through the assembler: what each register and each slot of the
 * stack holds is known as far as it comes from the arguments, the guest, or a
 * constant. A branch whose condition is not known is followed both ways, as are
 * a refused entry and a fault where the exception table has one.
 */
#include <stdlib.h>
#include <string.h>
#include "statics.h"

#define SLOTS		40
#define HOST_RSP	0x6c14		/* SDM vol. 3D appendix B */
#define HOST_RIP	0x6c16
#define SPEC_CTRL	0x48

enum cond { UNKNOWN, YES, NO };

struct state {
	struct val reg[REGS];
	struct val slot[SLOTS];		/* n: 8 * (n + 1) bytes below the RSP that the function got */
	int at;				/* the next instruction */
	/* Flags: what ZF and CF are, or what they depend on. */
	enum cond zf, cf;
	struct val cmp[2];
	bool cmp_known, bit_known;	/* ZF is cmp[0] == cmp[1], CF is bit 0 of VMX's second argument */
	bool gif, interrupts;
	struct val spec_ctrl;
	struct path path;	/* last, see copy() */
};

static const struct vendor *vendor;
static const struct code *code;
static struct paths *paths;

static int reg_nr(ZydisRegister reg)
{
	ZydisRegister big = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);

	return ZydisRegisterGetClass(big) == ZYDIS_REGCLASS_GPR64 ? ZydisRegisterGetId(big) : -1;
}

static bool same(struct val a, struct val b)
{
	return a.kind != ANY && a.kind == b.kind && a.n == b.n;
}

static void finish(struct state *s, const char *error)
{
	if (paths->nr == PATHS)
		return;		/* the last one says so */
	if (paths->nr == PATHS - 1)
		error = "there are too many paths";
	memcpy(s->path.regs_out, s->reg, sizeof(s->reg));
	s->path.error = error;
	memcpy(&paths->p[paths->nr++], &s->path,
	       offsetof(struct path, steps) + s->path.nr * sizeof(s->path.steps[0]));
}

/* The slot of the stack that an operand names, or NULL. */
static struct val *stack_slot(struct state *s, const ZydisDecodedOperand *op)
{
	int base = reg_nr(op->mem.base), n;
	int64_t at;

	if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || base < 0 || s->reg[base].kind != STACK ||
	    op->mem.index != ZYDIS_REGISTER_NONE)
		return NULL;
	at = s->reg[base].n + op->mem.disp.value;
	n = -at / 8 - 1;
	return at >= 0 || at % 8 || n >= SLOTS ? NULL : &s->slot[n];
}

/* The guest's saved register that an operand names, or -1. */
static int field(const struct state *s, const ZydisDecodedOperand *op)
{
	int base = reg_nr(op->mem.base);

	if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || base < 0 || s->reg[base].kind != HOST ||
	    s->reg[base].n != RDI || op->mem.index != ZYDIS_REGISTER_NONE ||
	    op->mem.disp.value < 0 || op->mem.disp.value >= REGS * 8 || op->mem.disp.value % 8)
		return -1;
	return op->mem.disp.value / 8;
}

static struct val value(struct state *s, const ZydisDecodedOperand *op)
{
	struct val *slot = stack_slot(s, op), v = { ANY };
	int nr;

	if (op->type == ZYDIS_OPERAND_TYPE_IMMEDIATE) {
		v = (struct val){ CONST, op->imm.value.s };
	} else if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		nr = reg_nr(op->reg.value);
		if (nr >= 0 && op->size >= 32)
			v = s->reg[nr];
	} else if (slot) {
		v = *slot;
	} else {
		nr = field(s, op);
		if (nr >= 0)
			v = (struct val){ FIELD, nr };
	}
	return v;
}

static void store(struct state *s, const ZydisDecodedOperand *op, struct val v)
{
	struct val *slot = stack_slot(s, op);
	int nr;

	if (op->type == ZYDIS_OPERAND_TYPE_REGISTER) {
		nr = reg_nr(op->reg.value);
		if (nr >= 0)
			s->reg[nr] = v;
	} else if (slot) {
		*slot = v;
	} else {
		nr = field(s, op);
		if (nr >= 0)
			s->path.saved[nr] = v;
	}
}

static struct val *push(struct state *s)
{
	s->reg[RSP].n -= 8;
	return s->reg[RSP].n < 0 && -s->reg[RSP].n / 8 <= SLOTS ? &s->slot[-s->reg[RSP].n / 8 - 1] : NULL;
}

static struct val pop(struct state *s)
{
	int n = -s->reg[RSP].n / 8 - 1;

	s->reg[RSP].n += 8;
	return n >= 0 && n < SLOTS ? s->slot[n] : (struct val){ ANY };
}

/* How the two compare, by what was assumed before on this path. */
static enum cond equal(const struct state *s, struct val a, struct val b)
{
	if (same(a, b))
		return YES;
	if (a.kind == CONST && b.kind == CONST)
		return NO;
	if ((a.kind == CONST && !a.n && b.kind == STACK) || (b.kind == CONST && !b.n && a.kind == STACK))
		return NO;
	if (s->path.same_spec && a.kind == HOST && b.kind == HOST &&
	    (a.n == vendor->guest_spec || a.n == vendor->host_spec) &&
	    (b.n == vendor->guest_spec || b.n == vendor->host_spec))
		return YES;
	return UNKNOWN;
}

static bool is_spec(struct val v)
{
	return v.kind == HOST && (v.n == vendor->guest_spec || v.n == vendor->host_spec);
}

/* What a conditional jump's side tells of the rest of this path. */
static void assume(struct state *s, bool zf, bool yes)
{
	if (zf && s->cmp_known && is_spec(s->cmp[0]) && is_spec(s->cmp[1]) && yes)
		s->path.same_spec = true;
	if (!zf && s->bit_known)
		s->path.launched = yes;
	if (zf)
		s->zf = yes ? YES : NO;
	else
		s->cf = yes ? YES : NO;
}

static void flags_of(struct state *s, const struct insn *in)
{
	const ZydisAccessedFlags *f = in->z.cpu_flags;
	uint32_t changed = f ? f->modified | f->set_0 | f->set_1 | f->undefined : 0;

	if (changed & ZYDIS_CPUFLAG_ZF) {
		s->zf = UNKNOWN;
		s->cmp_known = false;
	}
	if (changed & ZYDIS_CPUFLAG_CF) {
		s->cf = UNKNOWN;
		s->bit_known = false;
	}
}

static struct step *record(struct state *s, const struct insn *in)
{
	struct step *t = &s->path.steps[s->path.nr++];
	int i;

	memset(t, 0, sizeof(*t));
	t->i = s->at;
	t->m = in->z.mnemonic;
	t->did = in->extra;
	t->sym = in->disp ? in->disp->name : insn_goes_to(in);
	t->rax = s->reg[RAX];
	t->rcx = s->reg[RCX];
	t->rdx = s->reg[RDX];
	t->gif = s->gif;
	t->interrupts = s->interrupts;
	t->spec_ctrl = s->spec_ctrl;
	for (i = 0; i < REGS; i++)
		if (s->reg[i].kind == GUEST || s->reg[i].kind == FIELD)
			t->guest_in_regs = true;
	for (i = 0; i < in->z.operand_count; i++) {
		const ZydisDecodedOperand *op = &in->op[i];

		if (op->type != ZYDIS_OPERAND_TYPE_MEMORY || op->mem.type != ZYDIS_MEMOP_TYPE_MEM ||
		    in->z.mnemonic == ZYDIS_MNEMONIC_NOP)
			continue;
		if (op->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
			t->did |= READS;
		if (op->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
			t->did |= WRITES;
		if (op->mem.segment == ZYDIS_REGISTER_GS || op->mem.segment == ZYDIS_REGISTER_FS)
			t->did |= GS;
	}
	t->a = value(s, &in->op[0]);
	t->b = value(s, &in->op[1]);
	return t;
}

static void run(struct state *s);

static struct state *copy_of(const struct state *s)
{
	struct state *copy = malloc(sizeof(*copy));

	memcpy(copy, s, offsetof(struct state, path.steps) + s->path.nr * sizeof(s->path.steps[0]));
	return copy;
}

/* Goes on in a copy, from there. */
static void fork_to(const struct state *s, int at, void (*change)(struct state *s))
{
	struct state *copy = copy_of(s);

	copy->at = at;
	if (change)
		change(copy);
	run(copy);
	free(copy);
}

static void jcc(struct state *s, const struct insn *in)
{
	ZydisMnemonic m = in->z.mnemonic;
	bool zf = m == ZYDIS_MNEMONIC_JZ || m == ZYDIS_MNEMONIC_JNZ;
	bool when = m == ZYDIS_MNEMONIC_JZ || m == ZYDIS_MNEMONIC_JB;
	enum cond c = zf ? s->zf : s->cf;
	struct state *copy;

	if (!zf && m != ZYDIS_MNEMONIC_JB && m != ZYDIS_MNEMONIC_JNB) {
		finish(s, "a conditional jump of this kind is not known");
		s->at = -1;
		return;
	}
	if (c == UNKNOWN && zf && s->cmp_known)
		c = equal(s, s->cmp[0], s->cmp[1]);
	if (c == UNKNOWN) {
		copy = copy_of(s);
		assume(copy, zf, when);
		copy->at = in->target;
		run(copy);
		free(copy);
		assume(s, zf, !when);
		s->at = in->next;
		return;
	}
	s->at = (c == YES) == when ? in->target : in->next;
}

static void faulted(struct state *s)
{
	s->path.fault = s->path.nr ? s->path.steps[s->path.nr - 1].i : 0;
}

/* A VMEXIT: all registers are the guest's but what the processor loads. */
static void exited(struct state *s)
{
	int i;

	for (i = 0; i < REGS; i++)
		if (i != RSP && !(vendor->svm && i == RAX))
			s->reg[i] = (struct val){ GUEST, i };
	s->zf = s->cf = UNKNOWN;
	s->cmp_known = s->bit_known = false;
	s->path.exit = s->path.nr;
	if (vendor->svm)
		return;
	s->reg[RSP] = s->path.host_rsp;
	s->at = s->path.host_rip.kind == CODE ? s->path.host_rip.n : -1;
	if (s->at < 0)
		s->path.error = "HOST_RIP is no address of this code";
}

static void enter(struct state *s, const struct insn *in)
{
	s->path.enter = s->path.nr - 1;
	s->path.rsp_enter = s->reg[RSP].n;
	memcpy(s->path.regs_in, s->reg, sizeof(s->reg));
	if (vendor->svm) {
		s->at = in->next;
		exited(s);
		return;
	}
	fork_to(s, in->next, exited);
	/* VMfail: nothing has changed but flags. */
	s->zf = s->cf = UNKNOWN;
	s->cmp_known = s->bit_known = false;
	s->at = in->next;
}

/* Of the kernel's: they change what the ABI of entry_ibpb() and its like says. */
static void call_out(struct state *s, const struct insn *in, struct step *t)
{
	t->did |= CALLS;
	if (in->op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
		t->did |= INDIRECT;
	s->reg[RAX] = s->reg[RCX] = s->reg[RDX] = (struct val){ ANY };
	s->zf = s->cf = UNKNOWN;
	s->cmp_known = s->bit_known = false;
	s->at = in->next;
}

static void do_call(struct state *s, const struct insn *in, struct step *t)
{
	struct val *slot;

	if (*insn_goes_to(in) || in->target < 0) {
		call_out(s, in, t);
		return;
	}
	/* Speculation to the return address must meet INT3. */
	if (in->next >= 0 && code->insns[in->next].z.mnemonic == ZYDIS_MNEMONIC_INT3 &&
	    !code->insns[in->next].gone)
		t->did |= FILLS;
	slot = push(s);
	if (slot)
		*slot = (struct val){ CODE, in->next };
	s->at = in->target;
}

/* False: the path ends here. */
static bool branch(struct state *s, const struct insn *in, struct step *t)
{
	switch (in->z.meta.category) {
	case ZYDIS_CATEGORY_COND_BR:
		t->did |= JCC;
		jcc(s, in);
		return s->at >= 0;
	case ZYDIS_CATEGORY_CALL:
		do_call(s, in, t);
		return true;
	case ZYDIS_CATEGORY_RET:
		t->did |= RETS;
		finish(s, NULL);
		return false;
	default:
		break;
	}
	if (in->op[0].type != ZYDIS_OPERAND_TYPE_IMMEDIATE)
		t->did |= INDIRECT;
	if (!strcmp(insn_goes_to(in), "__x86_return_thunk")) {
		t->did |= RETS;
		finish(s, NULL);
		return false;
	}
	s->at = in->target;
	if (s->at < 0)
		finish(s, "a jump leaves the function");
	return s->at >= 0;
}

static void move(struct state *s, const struct insn *in)
{
	struct val v = value(s, &in->op[1]);
	const struct reloc *r = in->disp;

	if (in->z.mnemonic == ZYDIS_MNEMONIC_LEA)
		v = in->target >= 0 && !r ? (struct val){ CODE, in->target } : (struct val){ ANY };
	store(s, &in->op[0], v);
}

static void arithmetic(struct state *s, const struct insn *in)
{
	struct val a = value(s, &in->op[0]), b = value(s, &in->op[1]), v = { ANY };
	bool reg = in->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER;

	flags_of(s, in);
	switch (in->z.mnemonic) {
	case ZYDIS_MNEMONIC_XOR:
		if (reg && in->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    in->op[0].reg.value == in->op[1].reg.value && in->op[0].size >= 32)
			v = (struct val){ CONST, 0 };
		break;
	case ZYDIS_MNEMONIC_ADD:
		if ((a.kind == STACK || a.kind == CONST) && b.kind == CONST)
			v = (struct val){ a.kind, a.n + b.n };
		break;
	case ZYDIS_MNEMONIC_DEC:
		if (a.kind == CONST) {
			v = (struct val){ CONST, a.n - 1 };
			s->zf = v.n ? NO : YES;
		}
		break;
	default:
		break;
	}
	store(s, &in->op[0], v);
}

static void vmwrite(struct state *s, const struct insn *in)
{
	struct val which = value(s, &in->op[0]), what = value(s, &in->op[1]);

	flags_of(s, in);
	if (which.kind == CONST && which.n == HOST_RSP)
		s->path.host_rsp = what;
	if (which.kind == CONST && which.n == HOST_RIP)
		s->path.host_rip = what;
}

static void compare(struct state *s, const struct insn *in)
{
	flags_of(s, in);
	s->cmp[0] = value(s, &in->op[0]);
	s->cmp[1] = value(s, &in->op[1]);
	s->cmp_known = in->z.mnemonic == ZYDIS_MNEMONIC_CMP;
	s->bit_known = in->z.mnemonic == ZYDIS_MNEMONIC_BT && same(s->cmp[0], (struct val){ HOST, RSI }) &&
		       same(s->cmp[1], (struct val){ CONST, 0 });
	if (!s->cmp_known)
		s->cmp[0].kind = ANY;
}

/* All that is no branch and no entry. */
static void plain(struct state *s, const struct insn *in)
{
	struct val *slot;
	int i;

	switch (in->z.mnemonic) {
	case ZYDIS_MNEMONIC_PUSH:
		{
			struct val v = value(s, &in->op[0]);

			slot = push(s);
			if (slot)
				*slot = v;
		}
		return;
	case ZYDIS_MNEMONIC_POP:
		store(s, &in->op[0], pop(s));
		return;
	case ZYDIS_MNEMONIC_MOV:
	case ZYDIS_MNEMONIC_LEA:
		move(s, in);
		return;
	case ZYDIS_MNEMONIC_XOR:
	case ZYDIS_MNEMONIC_ADD:
	case ZYDIS_MNEMONIC_DEC:
		arithmetic(s, in);
		return;
	case ZYDIS_MNEMONIC_CMP:
	case ZYDIS_MNEMONIC_BT:
		compare(s, in);
		return;
	case ZYDIS_MNEMONIC_VMWRITE:
		vmwrite(s, in);
		return;
	case ZYDIS_MNEMONIC_WRMSR:
		if (same(s->reg[RCX], (struct val){ CONST, SPEC_CTRL }))
			s->spec_ctrl = same(s->reg[RDX], (struct val){ CONST, 0 }) ? s->reg[RAX] :
				       (struct val){ ANY };
		return;
	case ZYDIS_MNEMONIC_CLGI:
	case ZYDIS_MNEMONIC_STGI:
		s->gif = in->z.mnemonic == ZYDIS_MNEMONIC_STGI;
		return;
	case ZYDIS_MNEMONIC_CLI:
	case ZYDIS_MNEMONIC_STI:
		s->interrupts = in->z.mnemonic == ZYDIS_MNEMONIC_STI;
		return;
	default:
		break;
	}
	flags_of(s, in);
	for (i = 0; i < in->z.operand_count; i++)
		if ((in->op[i].actions & ZYDIS_OPERAND_ACTION_MASK_WRITE) &&
		    in->op[i].type == ZYDIS_OPERAND_TYPE_REGISTER)
			store(s, &in->op[i], (struct val){ ANY });
}

static void run(struct state *s)
{
	while (s->at >= 0) {
		const struct insn *in = &code->insns[s->at];
		ZydisMnemonic m = in->z.mnemonic;
		struct step *t;

		if (in->gone) {
			s->at = in->next;
			continue;
		}
		if (s->path.nr == STEPS || s->reg[RSP].kind != STACK) {
			finish(s, s->path.nr == STEPS ? "it does not end" : "the stack is lost");
			return;
		}
		t = record(s, in);
		if (in->handler >= 0)
			fork_to(s, in->handler, faulted);
		if (m == ZYDIS_MNEMONIC_UD2)
			return;		/* a bug of ours; the host knows */
		if (m == ZYDIS_MNEMONIC_INT3) {
			finish(s, "it runs into INT3");
			return;
		}
		if (insn_is_branch(in) || m == ZYDIS_MNEMONIC_RET) {
			if (!branch(s, in, t))
				return;
		} else if (m == ZYDIS_MNEMONIC_VMRUN || m == ZYDIS_MNEMONIC_VMLAUNCH ||
			   m == ZYDIS_MNEMONIC_VMRESUME) {
			enter(s, in);
		} else {
			plain(s, in);
			s->at = in->next;
		}
		t->gif = s->gif;
		t->interrupts = s->interrupts;
		t->spec_ctrl = s->spec_ctrl;
	}
	finish(s, s->path.error ? s->path.error : "it runs out of the function");
}

void walk(struct paths *out, const struct code *c, const struct vendor *v)
{
	struct state *s = calloc(1, sizeof(*s));
	int i;

	if (!out->p)
		out->p = calloc(PATHS, sizeof(*out->p));
	out->nr = 0;
	paths = out;
	code = c;
	vendor = v;
	for (i = 0; i < REGS; i++)
		s->reg[i] = (struct val){ HOST, i };
	s->reg[RSP] = (struct val){ STACK, 0 };
	s->gif = true;
	s->spec_ctrl = (struct val){ HOST, v->host_spec };
	s->path.enter = s->path.exit = s->path.launched = s->path.fault = -1;
	s->at = c->start;
	run(s);
	free(s);
}
