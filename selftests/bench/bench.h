/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The same guests on KVM and on cleave, in one host: how many instructions one
 * operation costs. See Documentation/performance.rst.
 */
#ifndef SELFTESTS_BENCH_H
#define SELFTESTS_BENCH_H

#include <stdbool.h>
#include <stdint.h>
#include "host.h"

#define BENCH_VCPUS	2
#define BATCH		16	/* operations between two looks at the TSC */
#define BENCH_HANDLERS	0x30000
#define BENCH_CODE(vcpu)	(GPA_CODE + (vcpu) * 0x1000u)

/* A VM of one of the two. vm.ram is the guest's memory in any case; the rest is the hypervisor's own. */
struct machine {
	const struct hypervisor *hv;
	struct vm vm;
	struct vcpu vcpus[BENCH_VCPUS];	/* of cleave */
	struct kvm_run *run[BENCH_VCPUS];
	int fd[BENCH_VCPUS];
	unsigned int vcpus_count;
};

struct hypervisor {
	const char *name;
	void (*create)(struct machine *m);	/* memory, tables, vCPUs */
	/* Long mode, x2APIC mode, RSI as given, all else zero. */
	void (*start)(struct machine *m, unsigned int vcpu, uint64_t rip, uint64_t rsi);
	/* To the next access to a port: which one; -EINTR: a signal; -EIO: something else. */
	int (*run)(struct machine *m, unsigned int vcpu);
	void (*destroy)(struct machine *m);
};

extern const struct hypervisor bench_kvm, bench_cleave;

/* What a guest says of a batch, at GPA_DATA. */
struct batch {
	uint64_t ticks;		/* of the TSC */
	uint64_t own;		/* what of them the guest has spent waiting */
	uint64_t other;		/* and the other vCPU, in instructions */
};

#define BENCH_READY	0x200	/* at GPA_DATA; not zero: vCPU 1 takes interrupts */

struct blob {
	const char *start, *end;
};

/* RSI of the code: ticks of a millisecond. */
struct row {
	const char *name;
	unsigned int cpus;	/* of the host */
	unsigned int operations;	/* in a batch */
	struct blob code[BENCH_VCPUS];	/* by vCPU; none: it is not there */
};

extern const struct row bench_rows[];
extern const unsigned int bench_rows_count;
void bench_load(struct machine *m, const struct row *row);	/* code, handlers */

#endif
