// SPDX-License-Identifier: GPL-2.0
/*
 * bench: KVM, then cleave, for each row that is for as many CPUs as the host has; a line for each:
 *   ##bench NAME|KVM|SPREAD|CLEAVE|SPREAD
 * bench NAME KVM|cleave: that one without an end, for who wants to see where they go.
 * in instructions per operation: the median of many batches, and between which quartiles half of
 * them are, in hundredths of it.
 *
 * The TSC of the test hosts counts instructions: QEMU's, with -icount, those of all CPUs, one after
 * the other; Bochs' is the mean of its CPUs, who take turns. So where two vCPUs run on two CPUs
 * the sum over both is counted. Two vCPUs that halt are on one CPU, which is never idle then.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "bench.h"

#define WARM_UP		8
#define BATCHES		101

static bool profiled;

struct result {
	double median, spread;
};

struct other {
	struct machine *m;
	int cpu;
	volatile bool stop;
	pthread_t thread;
};

static void on_signal(int sig)
{
}

/* vCPU 1 has nothing to say to user space. */
static void *run_other(void *arg)
{
	struct other *o = arg;
	int ret = 0;

	pin_to(o->cpu);
	while (!o->stop && (ret = o->m->hv->run(o->m, 1)) == -EINTR)
		;
	if (!o->stop)
		DIE("vCPU 1 of %s left by %d", o->m->hv->name, ret);
	return NULL;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static struct result summary(double *per)
{
	struct result r;

	qsort(per, BATCHES, sizeof(*per), compare);
	r.median = per[BATCHES / 2];
	r.spread = 100 * (per[BATCHES * 3 / 4] - per[BATCHES / 4]) / r.median;
	return r;
}

static void run_batches(struct machine *m, const struct row *row, double *per)
{
	const struct batch *b = (const struct batch *)(m->vm.ram + GPA_DATA);
	double ticks = emulated_by_bochs() ? row->cpus : 1;

	for (int i = -WARM_UP; i < BATCHES; i++) {
		int port;

		while ((port = m->hv->run(m, 0)) != PORT_DONE)
			if (port < 0 || port == PORT_TRAP)
				DIE("%s: vCPU 0 of %s left by %d, exception %lu", row->name, m->hv->name,
				    port, vm_trap(&m->vm)->vector);
		if (i >= 0)
			per[i] = (ticks * b->ticks - b->own - b->other) / row->operations;
	}
}

static struct result measure(const struct hypervisor *hv, const struct row *row)
{
	struct machine m = { .hv = hv, .vcpus_count = row->code[1].start ? 2 : 1 };
	uint64_t ms = emulated_by_bochs() ? 50000 : 1000000;
	struct other other = { .m = &m, .cpu = row->cpus > 1 ? sysconf(_SC_NPROCESSORS_CONF) - 1 : 0 };
	double per[BATCHES];

	hv->create(&m);
	bench_load(&m, row);
	for (unsigned int i = 0; i < m.vcpus_count; i++)
		hv->start(&m, i, BENCH_CODE(i), ms);
	if (m.vcpus_count > 1 && pthread_create(&other.thread, NULL, run_other, &other))
		DIE("no thread");
	while (m.vcpus_count > 1 && !*VM_DATA(&m.vm, uint64_t, BENCH_READY))
		nap_us(1000);
	do {
		run_batches(&m, row, per);
	} while (profiled);
	other.stop = true;
	if (m.vcpus_count > 1) {
		pthread_kill(other.thread, SIGUSR1);
		pthread_join(other.thread, NULL);
	}
	hv->destroy(&m);
	return summary(per);
}

/* Which rows, on which of the two: all, or by the arguments. */
static void run_row(const struct row *row, char **argv)
{
	struct result kvm, cleave;

	if (profiled) {
		if (!strcmp(argv[1], row->name))
			measure(strcmp(argv[2], "KVM") ? &bench_cleave : &bench_kvm, row);
		return;
	}
	kvm = measure(&bench_kvm, row);
	cleave = measure(&bench_cleave, row);
	printf("##bench %s|%.1f|%.2f|%.1f|%.2f\n", row->name, kvm.median, kvm.spread,
	       cleave.median, cleave.spread);
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = on_signal };
	int last = sysconf(_SC_NPROCESSORS_CONF) - 1;
	int ret = module_load();

	setbuf(stdout, NULL);
	if (ret)
		DIE("cleave.ko: %d", ret);
	/* Else KVM's timers are early, and it waits for the rest, which would count. */
	ret = kvm_load("lapic_timer_advance_ns=0");
	if (ret)
		DIE("KVM: %d", ret);
	sigaction(SIGUSR1, &act, NULL);
	pin_to(0);
	/* See bench.sh: the others stay off. */
	if (last && !cpu_online(last) && cpu_set_online(last, true))
		DIE("no CPU %d", last);
	profiled = argc == 3;
	for (unsigned int i = 0; i < bench_rows_count; i++)
		if ((bench_rows[i].cpus > 1) == (last > 0))
			run_row(&bench_rows[i], argv);
	kvm_unload();
	return module_unload() ? 1 : 0;
}
