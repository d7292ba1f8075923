/* SPDX-License-Identifier: GPL-2.0 */
/* The figures of `cleave bench generations`, and how they are shown. Plain logic. */
#ifndef CLEAVE_BENCH_FIGURES_H
#define CLEAVE_BENCH_FIGURES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum gen_op { GEN_OP_LINE, GEN_OP_BLOCK, GEN_OP_TICK, GEN_OP_IPI, GEN_OP_CLOCK, GEN_OPS };

#define GENERATIONS	3

/* What gen_figure.cost counts. */
enum gen_counted {
	GEN_PERF,		/* instructions, by perf_event_open() */
	GEN_TSC_INSN,		/* TSC ticks of a host where each is an instruction */
	GEN_TSC,		/* TSC ticks */
};

/* Per operation. */
struct gen_figure {
	double exits;		/* by the guest's own doing */
	double to_user;		/* those of them that user space answers */
	double interrupts;	/* exits for the host's interrupts: its timer, kicks */
	double cost;		/* gen_counted */
	double ns;
};

struct gen_figures {
	const char *vendor;
	uint32_t tsc_khz;
	unsigned int cpus;	/* of the host, for this process */
	unsigned int rounds;
	enum gen_counted counted;
	bool deadline;		/* the guest has a TSC deadline timer */
	struct gen_figure of[GEN_OPS][GENERATIONS];
};

const char *gen_op_name(unsigned int op);		/* "a line" */
const char *gen_op_text(unsigned int op);		/* "a line of 64 bytes to the console" */
const char *gen_generation_name(unsigned int generation);
const char *gen_how(const struct gen_figures *f, unsigned int op, unsigned int generation);
const char *gen_counted_name(enum gen_counted counted);	/* "instructions" */
const char *gen_counted_text(enum gen_counted counted);	/* the whole truth */

/* n as short as people read it: "0", "0.25", "12.5", "1234", "1.23 million". */
const char *gen_number(double n, char text[32]);
/* One sentence: what the step from generation - 1 to generation bought. */
void gen_sentence(const struct gen_figures *f, unsigned int generation, char *text, size_t size);

/* The figures of the median of n runs, by cost. */
struct gen_figure gen_median(struct gen_figure *runs, unsigned int n);

void gen_print(FILE *out, const struct gen_figures *f);
void gen_json(FILE *out, const struct gen_figures *f);
void gen_svg(FILE *out, const struct gen_figures *f);

#endif /* CLEAVE_BENCH_FIGURES_H */
