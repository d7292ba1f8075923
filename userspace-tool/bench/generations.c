// SPDX-License-Identifier: GPL-2.0
/* Three generations of devices do the same work, one after the other, and are measured at it. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "generations.h"
#include "../cmd/cmd.h"

#define WARM_UP	8		/* operations that are not counted: pages, decoded instructions */
#define RUNS	3
#define STEPS	(GEN_OPS * GENERATIONS)

/* What guest and tool have of it so far. */
struct tally {
	uint64_t seq, ticks, ipis, device, back, last;
};

static struct tally tally_of(struct gen *g)
{
	return (struct tally){
		.seq = *gen_u64(g, SHARED_SEQ),
		.ticks = *gen_u64(g, SHARED_TICKS),
		.ipis = *gen_u64(g, SHARED_IPIS),
		.device = *gen_u64(g, SHARED_DEVICE),
		.back = *gen_u64(g, SHARED_BACK),
		.last = *gen_u64(g, SHARED_LAST),
	};
}

/* How much of the work did not arrive, or not as it was sent. */
static uint64_t missing(struct gen *g, unsigned int op, unsigned int generation,
			const struct tally *before, uint64_t rounds)
{
	static const unsigned int block_interrupts[] = { GEN_BLOCK_SIZE / GEN_SECTOR, 1, 0 };
	struct tally now = tally_of(g);
	uint64_t want = 0, got = 0;

	switch (op) {
	case GEN_OP_LINE:
		return gen_sink_bad_lines(&g->sink, before->seq, before->seq + rounds);
	case GEN_OP_BLOCK:
		want = rounds * block_interrupts[generation];
		got = now.device - before->device;
		return (want != got) + gen_sink_bad_blocks(&g->sink, before->seq, before->seq + rounds);
	case GEN_OP_TICK:
		want = rounds;
		got = now.ticks - before->ticks;
		break;
	case GEN_OP_IPI:
		want = rounds;
		got = now.ipis - before->ipis;
		break;
	case GEN_OP_CLOCK:
		got = now.back - before->back + (now.last <= before->last);
	}
	return want > got ? want - got : got - want;
}

static void read_all(struct gen *g, const struct gen_meter *m, struct gen_reading *r)
{
	unsigned int i;

	memset(r, 0, sizeof(*r));
	for (i = 0; i < GEN_VCPUS; i++)
		gen_count_exits(g->vcpu[i].recorder, r);
	gen_meter_read(m, r);
}

static int timed_job(struct gen *g, const struct gen_meter *m, uint32_t fn, uint64_t rounds,
		     struct gen_reading *spent)
{
	struct gen_reading from, to;
	int ret;

	read_all(g, m, &from);
	ret = gen_job(g, 0, fn, rounds);
	read_all(g, m, &to);
	*spent = gen_spent(&from, &to);
	return ret;
}

static int work(struct gen *g, const struct gen_meter *m, unsigned int op, unsigned int generation,
		uint64_t rounds, struct gen_reading *spent)
{
	uint32_t fn = GEN_FN_WORK + op * GENERATIONS + generation;
	struct tally before = tally_of(g);
	uint64_t bad;
	int ret = 0;

	gen_sink_reset(&g->sink);
	if (op == GEN_OP_IPI)
		ret = gen_listen(g, true);
	if (!ret)
		ret = timed_job(g, m, fn, rounds, spent);
	if (op == GEN_OP_IPI && !ret)
		ret = gen_listen(g, false);
	if (ret)
		return ret;
	bad = missing(g, op, generation, &before, rounds);
	if (!bad)
		return 0;
	complain("%s, %s: %" PRIu64 " of %" PRIu64 " did not arrive as they were sent; this is a bug of cleave's, and its figures are worth nothing",
		 gen_generation_name(generation), gen_op_text(op), bad, rounds);
	return -EPROTO;
}

static int one_step(struct gen *g, const struct gen_meter *m, unsigned int op,
		    unsigned int generation, const struct gen_reading *nothing,
		    struct gen_figures *f)
{
	struct gen_figure run[RUNS];
	struct gen_reading spent;
	bool rings = generation == GENERATIONS - 1 && (op == GEN_OP_LINE || op == GEN_OP_BLOCK);
	unsigned int i;
	int ret;

	/* Who watches where nothing comes takes the CPU from others. */
	ret = gen_watch_rings(g, rings);
	if (!ret)
		ret = work(g, m, op, generation, f->rounds < WARM_UP ? f->rounds : WARM_UP, &spent);
	for (i = 0; i < RUNS && !ret; i++) {
		ret = work(g, m, op, generation, f->rounds, &spent);
		run[i] = gen_figure_of(&spent, nothing, f->rounds);
	}
	if (!ret)
		f->of[op][generation] = gen_median(run, RUNS);
	return ret;
}

/* The least of some, as whatever comes in between makes it more. */
static int measure_nothing(struct gen *g, const struct gen_meter *m, struct gen_reading *least)
{
	struct gen_reading r;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < 2 * RUNS && !ret; i++) {
		ret = timed_job(g, m, GEN_FN_NOTHING, 1, &r);
		if (!i || r.cost < least->cost)
			*least = r;
	}
	least->interrupts = 0;
	return ret;
}

static int measure_all(struct gen *g, const struct gen_meter *m, struct gen_figures *f)
{
	static char label[STEPS][128];
	struct gen_reading nothing = { 0 };
	unsigned int op, generation, step = 0;
	int ret = measure_nothing(g, m, &nothing);

	atomic_store(&g->steps, STEPS);
	for (generation = 0; generation < GENERATIONS && !ret; generation++) {
		ret = gen_job(g, 1, GEN_FN_SETUP + generation, 0);
		if (!ret)
			ret = gen_job(g, 0, GEN_FN_SETUP + generation, 0);
		*gen_u64(g, SHARED_LAST) = 0;	/* another clock */
		for (op = 0; op < GEN_OPS && !ret; op++, step++) {
			snprintf(label[step], sizeof(label[step]), "%s: %s",
				 gen_generation_name(generation), gen_op_text(op));
			atomic_store(&g->step, step + 1);
			atomic_store(&g->doing, label[step]);
			ret = one_step(g, m, op, generation, &nothing, f);
		}
	}
	atomic_store(&g->doing, NULL);
	return ret;
}

static void tell_failure(struct gen *g)
{
	const char *what = atomic_load(&g->what);
	int error = atomic_load(&g->failed);

	if (error)
		complain("%s: %s; `dmesg | grep cleave` may tell more", what ? what : "the guest",
			 strerror(-error));
}

int generations_measure(unsigned int rounds, struct gen_figures *f)
{
	static struct gen g;
	struct gen_meter m;
	int ret;

	memset(f, 0, sizeof(*f));
	gen_meter_start(&m);
	ret = gen_create(&g);
	if (!ret) {
		f->vendor = g.info.vendor == CLEAVE_VENDOR_SVM ? "AMD-V" : "VT-x";
		f->tsc_khz = g.info.tsc_khz;
		f->cpus = CPU_COUNT(&g.cpus);
		f->rounds = rounds;
		f->counted = m.counted;
		f->deadline = g.info.features & CLEAVE_FEATURE_TSC_DEADLINE;
		ret = gen_start_threads(&g);
		if (!ret)
			ret = measure_all(&g, &m, f);
		if (ret)
			tell_failure(&g);
	}
	gen_destroy(&g);
	gen_meter_stop(&m);
	return ret;
}
