// SPDX-License-Identifier: GPL-2.0
/* Sequences: made half by what makes sense and half at random, and changed. */
#include <string.h>
#include <sys/mman.h>
#include "ioctl.h"

#define COMMAND(name, on)	[OP_##name] = { #name, CLEAVE_##name, on }

const struct command op_info[OP_KINDS] = {
	COMMAND(INFO, ON_DEV), COMMAND(GET_CPUID, ON_DEV), COMMAND(CREATE_VM, ON_DEV),
	COMMAND(CREATE_VCPU, ON_VM), COMMAND(SET_SLOT, ON_VM), COMMAND(MSI, ON_VM),
	COMMAND(IRQFD, ON_VM), COMMAND(IOEVENTFD, ON_VM),
	COMMAND(RUN, ON_VCPU), COMMAND(GET_STATE, ON_VCPU), COMMAND(SET_STATE, ON_VCPU),
	COMMAND(GET_FPU, ON_VCPU), COMMAND(SET_FPU, ON_VCPU), COMMAND(GET_MSRS, ON_VCPU),
	COMMAND(SET_MSRS, ON_VCPU), COMMAND(SET_CPUID, ON_VCPU), COMMAND(LAPIC_ACCESS, ON_VCPU),
	COMMAND(KICK, ON_VCPU), COMMAND(NMI, ON_VCPU), COMMAND(FREEZE, ON_VCPU),
	[OP_IOCTL] = { "ioctl", 0, ON_VCPU },
	[OP_CLOSE] = { "close", 0, ON_VCPU },
	[OP_CLOSE_FD] = { "close_fd", 0, ON_NONE },
	[OP_DUP] = { "dup", 0, ON_VCPU },
	[OP_DUP2] = { "dup2", 0, ON_VCPU },
	[OP_READ] = { "read", 0, ON_VCPU },
	[OP_WRITE] = { "write", 0, ON_VCPU },
	[OP_POLL] = { "poll", 0, ON_VCPU },
	[OP_LSEEK] = { "lseek", 0, ON_VCPU },
	[OP_MMAP_RUN] = { "mmap_run", 0, ON_VCPU },
	[OP_MMAP_RECORDER] = { "mmap_recorder", 0, ON_VCPU },
	[OP_MMAP_ANY] = { "mmap_any", 0, ON_VCPU },
	[OP_MUNMAP_RUN] = { "munmap_run", 0, ON_VCPU },
	[OP_FORK] = { "fork", 0, ON_VCPU },
	[OP_FORK_KILL] = { "fork_kill", 0, ON_NONE },
	[OP_MUNMAP] = { "munmap", 0, ON_NONE },
	[OP_MMAP] = { "mmap", 0, ON_NONE },
	[OP_MPROTECT] = { "mprotect", 0, ON_NONE },
	[OP_MADVISE] = { "madvise", 0, ON_NONE },
	[OP_MREMAP] = { "mremap", 0, ON_NONE },
	[OP_TRUNCATE] = { "truncate", 0, ON_NONE },
	[OP_RUN_PAGE] = { "run_page", 0, ON_VCPU },
	[OP_RUN_STORM] = { "run_storm", 0, ON_VCPU },
	[OP_ARG_STORM] = { "arg_storm", 0, ON_NONE },
	[OP_POKE] = { "poke", 0, ON_NONE },
	[OP_SCRIPT] = { "script", 0, ON_NONE },
	[OP_CODE] = { "code", 0, ON_NONE },
	[OP_NAP] = { "nap", 0, ON_NONE },
};

/* How often each is chosen, in the part that several threads run. */
static const uint8_t weights[OP_KINDS] = {
	[OP_INFO] = 1, [OP_GET_CPUID] = 1, [OP_CREATE_VM] = 4, [OP_CREATE_VCPU] = 8,
	[OP_SET_SLOT] = 14, [OP_MSI] = 12, [OP_IRQFD] = 16, [OP_IOEVENTFD] = 10, [OP_RUN] = 60, [OP_GET_STATE] = 8,
	[OP_SET_STATE] = 24, [OP_GET_FPU] = 3, [OP_SET_FPU] = 6, [OP_GET_MSRS] = 5,
	[OP_SET_MSRS] = 10, [OP_SET_CPUID] = 6, [OP_LAPIC_ACCESS] = 12, [OP_KICK] = 5,
	[OP_NMI] = 6, [OP_FREEZE] = 2, [OP_IOCTL] = 2, [OP_CLOSE] = 7, [OP_CLOSE_FD] = 1,
	[OP_DUP] = 1, [OP_DUP2] = 1, [OP_READ] = 1, [OP_WRITE] = 1, [OP_POLL] = 1, [OP_LSEEK] = 1,
	[OP_MMAP_RUN] = 5, [OP_MMAP_RECORDER] = 2, [OP_MMAP_ANY] = 1, [OP_MUNMAP_RUN] = 1,
	[OP_FORK] = 3, [OP_FORK_KILL] = 2, [OP_MUNMAP] = 5, [OP_MMAP] = 3, [OP_MPROTECT] = 6,
	[OP_MADVISE] = 10, [OP_MREMAP] = 1, [OP_TRUNCATE] = 1, [OP_RUN_PAGE] = 14,
	[OP_RUN_STORM] = 6, [OP_ARG_STORM] = 4, [OP_POKE] = 6, [OP_SCRIPT] = 14, [OP_CODE] = 10,
	[OP_NAP] = 2,
};

uint64_t rng_next(struct rng *r)
{
	r->x ^= r->x << 13;
	r->x ^= r->x >> 7;
	r->x ^= r->x << 17;
	return r->x * 0x2545f4914f6cdd1dull;
}

static uint32_t below(struct rng *r, uint32_t n)
{
	return (rng_next(r) >> 32) % n;
}

static bool one_in(struct rng *r, uint32_t n)
{
	return !below(r, n);
}

/* Numbers at which checks are wrong, if they are. */
static uint64_t edge_number(struct rng *r)
{
	static const uint64_t known[] = {
		0, 1, 2, 3, 15, 16, 127, 128, 253, 254, 255, 256, 0xfff, 0x1000, 0x7fffffff,
		0x80000000, 0xffffffff, 0x100000000, 0x7fffffffffff, 0x800000000000,
		0xffff800000000000, 0xffff888000000000, 0xffffffff81000000, 0x7fffffffffffffff,
		0x8000000000000000, ~0ull, 0xfee00000, 0xfee01000, 0xfffffffff000,
		RAM, BIG, FILE_MEM, RUN_PAGES, SHARED_ARG,
	};
	uint64_t bit = 1ull << below(r, 64);

	switch (below(r, 6)) {
	case 0:
		return known[below(r, sizeof(known) / sizeof(known[0]))];
	case 1:
		return bit;
	case 2:
		return bit - 1;
	case 3:
		return rng_next(r) & (bit - 1);
	case 4:
		return rng_next(r);
	default:
		return below(r, 16);
	}
}

static void patch_add(struct rng *r, struct op *op, uint32_t size)
{
	struct patch *p;

	if (op->patches == MAX_PATCHES || !size)
		return;
	p = &op->patch[op->patches++];
	p->size = 1 << below(r, 4);
	/* Most structures say in their first words what the rest is. */
	p->off = below(r, one_in(r, 2) && size > 64 ? 64 : size) & ~(p->size - 1);
	p->val = edge_number(r) & (p->size == 8 ? ~0ull : (1ull << p->size * 8) - 1);
}

/* What the kind's numbers mean is said in ioctl_model.c and ioctl_exec.c. */
static void numbers(struct rng *r, struct op *op)
{
	op->a = edge_number(r);
	op->b = edge_number(r);
	switch (op->kind) {
	case OP_CREATE_VM:
		op->a = below(r, 8);
		break;
	case OP_CREATE_VCPU:
		op->a = one_in(r, 8) ? edge_number(r) : below(r, 4);
		op->base = below(r, VCPUS);
		break;
	case OP_RUN:
		op->base = one_in(r, 3) ? below(r, 4) : 0;
		op->a = 1 + below(r, 24);
		break;
	case OP_SET_SLOT:
		op->base = below(r, 10);
		op->a = below(r, 4);
		break;
	case OP_GET_STATE:
		op->a = below(r, 128);
		break;
	case OP_SET_STATE:
		op->base = below(r, 8);
		op->a = one_in(r, 3) ? 127 : below(r, 128);
		break;
	case OP_MSI:
	case OP_IRQFD:
	case OP_IOEVENTFD:
	case OP_LAPIC_ACCESS:
	case OP_GET_MSRS:
	case OP_SET_MSRS:
	case OP_SET_CPUID:
	case OP_SCRIPT:
		op->base = below(r, 8);
		op->a = rng_next(r);
		break;
	case OP_CODE:
	case OP_FREEZE:
		op->a = below(r, 8);
		break;
	case OP_MUNMAP: case OP_MMAP: case OP_MPROTECT: case OP_MADVISE: case OP_MREMAP:
	case OP_POKE:
		op->base = below(r, 16);
		op->a = rng_next(r);
		break;
	}
}

static void bad_luck(struct rng *r, struct op *op)
{
	switch (below(r, 4)) {
	case 0:
		op->where = below(r, WHERES);
		break;
	case 1:
		op->grow = (int)below(r, 256) - 128;
		break;
	case 2:
		op->on = below(r, ON_NONE);
		break;
	default:
		op->obj = below(r, VCPUS);
	}
}

static void op_make(struct rng *r, struct op *op, enum kind kind, uint32_t thread)
{
	const struct command *c = &op_info[kind];
	uint32_t n;

	memset(op, 0, sizeof(*op));
	op->kind = kind;
	op->thread = thread;
	op->on = c->on;
	/* The first of each is what most is about. */
	op->obj = one_in(r, 16) ? below(r, VCPUS) : c->on == ON_VCPU ? below(r, 2) : 0;
	if (kind == OP_CREATE_VM)
		op->obj = below(r, VMS);
	if (kind >= OP_CLOSE && kind <= OP_LSEEK)
		op->on = one_in(r, 3) ? below(r, ON_NONE) : c->on;
	numbers(r, op);
	if (c->cmd && one_in(r, 10))
		bad_luck(r, op);
	if (c->cmd && _IOC_SIZE(c->cmd) && one_in(r, 12))
		op->where = AT_SHARED;
	/* Half of them as the model says. */
	if (one_in(r, 2))
		return;
	n = kind == OP_RUN_PAGE || kind == OP_RUN_STORM ? sizeof(struct cleave_run) :
	    _IOC_SIZE(c->cmd);
	for (uint32_t i = 1 + below(r, MAX_PATCHES); i; i--)
		patch_add(r, op, n);
}

static enum kind any_kind(struct rng *r)
{
	static uint32_t sum;
	uint32_t n;
	int k;

	if (!sum)
		for (k = 0; k < OP_KINDS; k++)
			sum += weights[k];
	n = below(r, sum);
	for (k = 0; n >= weights[k]; k++)
		n -= weights[k];
	return k;
}

static struct op *append(struct seq *s)
{
	return s->ops < MAX_OPS ? &s->op[s->ops++] : &s->op[MAX_OPS - 1];
}

/* A call of the beginning, mostly as the model has it. */
static void setup(struct rng *r, struct seq *s, enum kind kind, uint8_t obj, uint8_t base,
		  uint64_t a)
{
	struct op *op = append(s);

	op_make(r, op, kind, 0);
	if (!one_in(r, 24)) {
		op->patches = 0;
		op->where = AT_OWN;
		op->grow = 0;
		op->on = op_info[kind].on;
	}
	op->obj = obj;
	op->base = base;
	op->a = a;
}

static void setup_vcpu(struct rng *r, struct seq *s, uint8_t vm, uint8_t vcpu, uint64_t id)
{
	setup(r, s, OP_CREATE_VCPU, vm, vcpu, id);
	setup(r, s, OP_MMAP_RUN, vcpu, 0, 0);
	if (one_in(r, 8))
		setup(r, s, OP_MMAP_RECORDER, vcpu, 0, 0);
	if (one_in(r, 4))
		setup(r, s, OP_SET_CPUID, vcpu, below(r, 8), rng_next(r));
	if (!one_in(r, 8))
		setup(r, s, OP_SET_STATE, vcpu, 1 + below(r, 6), 127);
}

/* Some sequences are about what chance alone would seldom bring together. */
static void setup_guest(struct rng *r, struct seq *s, uint32_t threads)
{
	switch (below(r, 6)) {
	case 0:
		/* Interrupts whose end somebody waits for. */
		setup(r, s, OP_CODE, 0, 0, 7);
		setup(r, s, OP_SET_STATE, 0, 2, 127);
		setup(r, s, OP_MSI, 0, 7, rng_next(r) & ~0xff01ull);
		op_make(r, append(s), OP_RUN, 1);
		break;
	case 1:
		/* What the guest touches first is not there. */
		setup(r, s, OP_CODE, 0, 0, 2);
		setup(r, s, OP_MUNMAP, 0, 5, 1 << 30);
		break;
	case 2:
	case 3:
		/* The first thread is in the guest while the others do what they do. */
		if (threads == 1)
			break;
		setup(r, s, OP_CODE, 0, 0, 1);
		op_make(r, append(s), OP_RUN, 1);
		s->op[s->ops - 1].obj = 0;
		break;
	}
}

void seq_generate(struct rng *r, struct seq *s)
{
	uint32_t threads = 1 + below(r, THREADS), n = 6 + below(r, 26);

	memset(s, 0, sizeof(*s));
	setup(r, s, OP_CREATE_VM, 0, 0, below(r, 8));
	setup(r, s, OP_SET_SLOT, 0, 0, 0);
	if (one_in(r, 2))
		setup(r, s, OP_SET_SLOT, 0, 1 + below(r, 6), 1 + below(r, 3));
	setup(r, s, OP_CODE, 0, 0, one_in(r, 3) ? below(r, 8) : 0);
	setup(r, s, OP_SCRIPT, 0, below(r, 8), rng_next(r));
	setup_vcpu(r, s, 0, 0, 0);
	if (!one_in(r, 8))
		setup_vcpu(r, s, 0, 1, 1);
	setup_guest(r, s, threads);
	if (one_in(r, 6)) {
		setup(r, s, OP_CREATE_VM, 1, 0, below(r, 8));
		setup(r, s, OP_SET_SLOT, 1, 0, 0);
		setup_vcpu(r, s, 1, 2, 0);
	}
	while (n--)
		op_make(r, append(s), any_kind(r), 1 + below(r, threads));
}

static void op_mutate(struct rng *r, struct op *op)
{
	const struct command *c = &op_info[op->kind];

	switch (below(r, 8)) {
	case 0:
		op->thread = one_in(r, 8) ? 0 : 1 + below(r, THREADS);
		break;
	case 1:
		op->obj = below(r, VCPUS);
		break;
	case 2:
		op->base = below(r, 10);
		break;
	case 3:
		op->a = one_in(r, 2) ? edge_number(r) : op->a ^ 1ull << below(r, 64);
		break;
	case 4:
		op->b = edge_number(r);
		break;
	case 5:
		if (op->patches)
			op->patches--;
		break;
	case 6:
		bad_luck(r, op);
		break;
	default:
		patch_add(r, op, c->cmd ? _IOC_SIZE(c->cmd) : sizeof(struct cleave_run));
	}
}

static void insert(struct rng *r, struct seq *s, const struct op *op)
{
	uint32_t at;

	if (s->ops >= MAX_OPS)
		return;
	at = below(r, s->ops + 1);
	memmove(&s->op[at + 1], &s->op[at], (s->ops - at) * sizeof(s->op[0]));
	s->op[at] = *op;
	s->ops++;
}

void seq_mutate(struct rng *r, struct seq *s, const struct seq *other)
{
	struct op op;
	uint32_t at;

	for (uint32_t n = 1 + below(r, 6); n; n--) {
		at = s->ops ? below(r, s->ops) : 0;
		switch (s->ops ? below(r, 8) : 0) {
		case 0:
		case 1:
			op_make(r, &op, any_kind(r), 1 + below(r, THREADS));
			insert(r, s, &op);
			break;
		case 2:
			s->ops--;
			memmove(&s->op[at], &s->op[at + 1], (s->ops - at) * sizeof(s->op[0]));
			break;
		case 3:
			op = s->op[at];
			insert(r, s, &op);
			break;
		case 4:
			/* The tail of another behind the head of this one. */
			if (at < other->ops && one_in(r, 2)) {
				memcpy(&s->op[at], &other->op[at],
				       (other->ops - at) * sizeof(s->op[0]));
				s->ops = other->ops;
			}
			break;
		default:
			op_mutate(r, &s->op[at]);
		}
	}
}
