/* SPDX-License-Identifier: GPL-2.0 */
/* What of the host a guest must not change: read before, compared behind it. */
#ifndef SELFTESTS_HEALTH_H
#define SELFTESTS_HEALTH_H

#include "host.h"

#define HEALTH_MSRS	26
#define HEALTH_CPUS	8

struct health_tables {
	struct __attribute__((packed)) {
		uint16_t limit;
		uint64_t base;
	} gdt, idt;
	uint16_t ldt, tr;
};

struct health {
	uint64_t msr[HEALTH_CPUS][HEALTH_MSRS];
	uint32_t readable[HEALTH_CPUS];		/* a bit for each of these */
	uint64_t xcr0[HEALTH_CPUS];		/* 0: no XSAVE */
	uint32_t tsc_aux[HEALTH_CPUS];		/* 0: no RDTSCP */
	struct health_tables tables[HEALTH_CPUS];
	unsigned long fs, gs;			/* bases of the thread that reads */
	long tainted;				/* by a warning, say */
};

extern const uint32_t health_msrs[HEALTH_MSRS];

/* The host's own MSRs become readable, if msr.ko is to be had: was it loaded here? */
bool msr_module_load(void);
void msr_module_unload(void);
/* Of each CPU that this thread may run on. */
void health_read(struct health *h);
/* How many differ; one line for each. */
int health_compare(const struct health *before, const struct health *now);

#endif
