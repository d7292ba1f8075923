/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The machine of `cleave bench generations`: a guest of two vCPUs, the PC's
 * devices, rings. vCPU 0 runs on the main thread, vCPU 1 on one of its own; a
 * third waits for the 8254 and says how far it is, a fourth, in the last
 * generation, watches the rings.
 */
#ifndef CLEAVE_BENCH_GENERATIONS_H
#define CLEAVE_BENCH_GENERATIONS_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "../dev/dev.h"
#include "../libcleave/libcleave.h"
#include "figures.h"
#include "layout.h"

#define GEN_VCPUS	2

/* ---- devices.c: where the work arrives. Plain logic ------------------------------- */

/* What came since gen_sink_reset(): all is counted, the last ones are kept. */
struct gen_sink {
	uint64_t lines, blocks, odd;	/* odd: of another size, or to nowhere */
	unsigned int at;		/* bytes of a line that comes by single ones */
	uint8_t line[GEN_DISK_BLOCKS][GEN_LINE_SIZE];
	uint8_t disk[GEN_DISK_BLOCKS][GEN_BLOCK_SIZE];
};

void gen_sink_reset(struct gen_sink *s);
void gen_sink_byte(void *sink, uint8_t byte);
void gen_sink_line(struct gen_sink *s, const void *line, uint64_t len);
void gen_sink_block(struct gen_sink *s, uint64_t block, const void *data, uint64_t len);
/* The work as the guest has it before it puts numbers in, and with the number seq. */
void gen_make_line(uint8_t line[GEN_LINE_SIZE], uint64_t seq);
void gen_make_block(uint8_t block[GEN_BLOCK_SIZE], uint64_t seq);
/* Those numbered after first and to last, and no others: 0, or how many are missing or wrong. */
uint64_t gen_sink_bad_lines(const struct gen_sink *s, uint64_t first, uint64_t last);
uint64_t gen_sink_bad_blocks(const struct gen_sink *s, uint64_t first, uint64_t last);

/* A disk that knows WRITE SECTORS (ATA/ATAPI-4, 8.45), by 28-bit sector numbers. */
struct gen_ata {
	struct irq_line irq;
	struct gen_sink *sink;
	uint8_t count, status, device;
	uint8_t address[3];
	unsigned int left, at;		/* sectors to come, bytes of this one */
	uint8_t block[GEN_BLOCK_SIZE];
};

uint64_t gen_ata_read(void *ata, uint64_t offset, unsigned int size);
void gen_ata_write(void *ata, uint64_t offset, unsigned int size, uint64_t value);

/* In guest memory: the guest may do to it what it likes. */
struct gen_ring {
	uint32_t avail, pad1[15];
	uint32_t used, pad2[15];
	struct {
		uint64_t gpa;
		uint32_t len, block;
	} desc[RING_SLOTS];
};

/* Takes all there is, lines or blocks; how many, or -EINVAL for a ring that is none. */
int gen_ring_take(struct gen_ring *ring, const struct cleave_mem *mem, struct gen_sink *sink,
		  bool blocks);

/* ---- measure.c ----------------------------------------------------------------------- */

struct gen_meter {
	int perf;			/* or -1 */
	enum gen_counted counted;
};

/* What there is to read at one moment. */
struct gen_reading {
	uint64_t exits, to_user, interrupts, cost, ns;
};

/* Before any thread is started, as it counts in those that come. */
void gen_meter_start(struct gen_meter *m);
void gen_meter_stop(struct gen_meter *m);
void gen_meter_read(const struct gen_meter *m, struct gen_reading *r);
/* Adds a vCPU's counters. */
void gen_count_exits(const struct cleave_recorder *rec, struct gen_reading *r);
/* What came between two. */
struct gen_reading gen_spent(const struct gen_reading *from, const struct gen_reading *to);
/* Per operation: spent, less what it takes to do nothing. */
struct gen_figure gen_figure_of(const struct gen_reading *spent, const struct gen_reading *nothing,
				unsigned int rounds);

/* ---- guest.c ------------------------------------------------------------------------- */

struct gen;

struct gen_vcpu {
	struct gen *gen;
	uint32_t id;
	int fd;
	struct cleave_run *run;
	const struct cleave_recorder *recorder;
	struct cleave_assist assist;
};

struct gen {
	int dev, vm;
	struct cleave_info info;
	uint8_t *ram;
	struct cleave_mem mem;
	struct gen_vcpu vcpu[GEN_VCPUS];
	cpu_set_t cpus;		/* of the host, that this process may use */

	pthread_mutex_t lock;	/* what follows */
	pthread_cond_t parked;
	bool work, end;		/* vCPU 1 is to run; its thread is to end */
	struct dev_clock clock;
	struct bus pio;
	struct uart uart;
	struct pic pic;
	struct pit pit;
	struct pm pm;
	struct gen_ata ata;
	uint64_t sleeps_until;	/* the watch */

	struct gen_sink sink;	/* the running generation's alone */
	int wake;		/* eventfd: the watch looks again */
	atomic_int failed;	/* -errno: the first that went wrong; the guest is out of control */
	const char *_Atomic what;	/* and what that was */
	atomic_bool watched;	/* the rings, by a thread */
	_Atomic uint64_t started;	/* ns at which the guest was told what to do; 0: it is parked */
	const char *_Atomic doing;	/* for people */
	atomic_uint step, steps;
	pthread_t vcpu1, watch, poller;
	bool vcpu1_started, watch_started;
};

/* 0 or -errno, after one line on stderr. */
int gen_create(struct gen *g);
void gen_destroy(struct gen *g);
int gen_start_threads(struct gen *g);	/* threads.c */
void gen_stop_threads(struct gen *g);
int gen_run_vcpu(struct gen_vcpu *v);	/* until it parks */
/* Those that follow give 0 or -errno, and gen_fail() has it. A job of program.S, by vCPU 0 or 1. */
int gen_job(struct gen *g, unsigned int id, uint32_t fn, uint64_t rounds);
/* vCPU 1 takes IPIs from here on, until it is told to stop. */
int gen_listen(struct gen *g, bool on);
int gen_watch_rings(struct gen *g, bool on);
/* The first one counts; ends both vCPUs' jobs. */
int gen_fail(struct gen *g, int error, const char *what);

static inline uint64_t gen_now(struct gen *g)
{
	return dev_now(&g->clock);
}

static inline volatile uint64_t *gen_u64(struct gen *g, uint64_t gpa)
{
	return (volatile uint64_t *)(g->ram + gpa);
}

static inline volatile uint32_t *gen_u32(struct gen *g, uint64_t gpa)
{
	return (volatile uint32_t *)(g->ram + gpa);
}

/* ---- generations.c -------------------------------------------------------------------- */

#define GEN_ROUNDS	200
#define GEN_ROUNDS_MAX	1000000

/* 0 or -errno, after one line on stderr. */
int generations_measure(unsigned int rounds, struct gen_figures *f);

#endif /* CLEAVE_BENCH_GENERATIONS_H */
