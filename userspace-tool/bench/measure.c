// SPDX-License-Identifier: GPL-2.0
/* What an operation costs: exits from the flight recorder, instructions, time. */
#include <linux/perf_event.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

#include "generations.h"

#define TRIES	7
#define LOOPS	20000

/* ---- does the TSC count instructions? ---------------------------------------------- */

/*
 * Two loops of ten instructions a turn: one that each processor takes its time for, as
 * each multiplication waits for the one before, and one of which none waits for anything.
 */
static uint64_t slow_loop(void)
{
	uint64_t start = __rdtsc(), n = LOOPS, x = 3;

	asm volatile("1:	imul %1, %1\n\timul %1, %1\n\timul %1, %1\n\timul %1, %1\n\t"
		     "imul %1, %1\n\timul %1, %1\n\timul %1, %1\n\timul %1, %1\n\t"
		     "dec %0\n\tjnz 1b" : "+r" (n), "+r" (x) :: "cc");
	return __rdtsc() - start;
}

static uint64_t fast_loop(void)
{
	uint64_t start = __rdtsc(), n = LOOPS;

	asm volatile("1:	nop\n\tnop\n\tnop\n\tnop\n\tnop\n\tnop\n\tnop\n\tnop\n\t"
		     "dec %0\n\tjnz 1b" : "+r" (n) :: "cc");
	return __rdtsc() - start;
}

/* The shortest of some, as interrupts make others longer. */
static uint64_t shortest(uint64_t (*loop)(void))
{
	uint64_t best = UINT64_MAX, n;
	int i;

	for (i = 0; i < TRIES; i++) {
		n = loop();
		best = n < best ? n : best;
	}
	return best;
}

static bool one_each(uint64_t ticks)
{
	return ticks > LOOPS * 10 * 98 / 100 && ticks < LOOPS * 10 * 102 / 100;
}

/* ---- the meter ------------------------------------------------------------------------ */

void gen_meter_start(struct gen_meter *m)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HARDWARE,
		.size = sizeof(attr),
		.config = PERF_COUNT_HW_INSTRUCTIONS,
		.inherit = 1,
		.exclude_hv = 1,
	};

	m->perf = syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
	if (m->perf >= 0)
		m->counted = GEN_PERF;
	else if (one_each(shortest(slow_loop)) && one_each(shortest(fast_loop)))
		m->counted = GEN_TSC_INSN;
	else
		m->counted = GEN_TSC;
}

void gen_meter_stop(struct gen_meter *m)
{
	if (m->perf >= 0)
		close(m->perf);
}

void gen_meter_read(const struct gen_meter *m, struct gen_reading *r)
{
	struct timespec ts;
	uint64_t count;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	r->ns = (uint64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
	if (m->perf >= 0 && read(m->perf, &count, sizeof(count)) == sizeof(count))
		r->cost = count;
	else
		r->cost = __rdtsc();
}

void gen_count_exits(const struct cleave_recorder *rec, struct gen_reading *r)
{
	unsigned int i;

	for (i = 1; i < CLEAVE_KINDS; i++)
		*(i == CLEAVE_KIND_HOST ? &r->interrupts : &r->exits) +=
			__atomic_load_n(&rec->kinds[i], __ATOMIC_RELAXED);
	/* An interrupt's window is asked for by the tool, and no doing of the guest's. */
	for (i = 1; i < 32; i++)
		if (i != CLEAVE_EXIT_WINDOW)
			r->to_user += __atomic_load_n(&rec->exits[i], __ATOMIC_RELAXED);
}

struct gen_reading gen_spent(const struct gen_reading *from, const struct gen_reading *to)
{
	return (struct gen_reading){
		.exits = to->exits - from->exits,
		.to_user = to->to_user - from->to_user,
		.interrupts = to->interrupts - from->interrupts,
		.cost = to->cost - from->cost,
		.ns = to->ns - from->ns,
	};
}

/* Nothing at times takes longer than something: by an interrupt of the host's. */
static double per(uint64_t spent, uint64_t nothing, unsigned int rounds)
{
	return spent > nothing ? (double)(spent - nothing) / rounds : 0;
}

struct gen_figure gen_figure_of(const struct gen_reading *spent, const struct gen_reading *nothing,
				unsigned int rounds)
{
	return (struct gen_figure){
		.exits = per(spent->exits, nothing->exits, rounds),
		.to_user = per(spent->to_user, nothing->to_user, rounds),
		.interrupts = per(spent->interrupts, nothing->interrupts, rounds),
		.cost = per(spent->cost, nothing->cost, rounds),
		.ns = per(spent->ns, nothing->ns, rounds),
	};
}
