// SPDX-License-Identifier: GPL-2.0
/*
 * A guest that stands still: each vCPU's thread is out of CLEAVE_RUN, with its
 * last exit completed, and stays out. No time passes for the guest meanwhile:
 * its TSCs, its paravirtual clock and the clock of its devices go on where they
 * were. The real-time clock alone keeps the host's time.
 */
#include <errno.h>
#include <string.h>

#include "control.h"
#include "machine.h"

#define MSR_TSC		0x10

void pause_init(struct machine *m)
{
	pthread_mutex_init(&m->pausing.lock, NULL);
	pthread_cond_init(&m->pausing.cond, NULL);
}

void pause_destroy(struct machine *m)
{
	pthread_cond_destroy(&m->pausing.cond);
	pthread_mutex_destroy(&m->pausing.lock);
}

void pause_kicked(struct machine *m)
{
	struct pausing *p = &m->pausing;

	pthread_mutex_lock(&p->lock);
	p->kicks++;
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->lock);
}

void pause_park(struct vcpu *v, void (*serve)(struct vcpu *v))
{
	struct machine *m = v->m;
	struct pausing *p = &m->pausing;
	unsigned int kicks;

	pthread_mutex_lock(&p->lock);
	if (!p->wanted) {
		pthread_mutex_unlock(&p->lock);
		return;
	}
	if (++p->parked == m->cpus)
		control_wake(m);
	while (p->wanted && atomic_load(&m->outcome) == M_RUNS) {
		kicks = p->kicks;
		pthread_mutex_unlock(&p->lock);
		serve(v);	/* who asks for its state is told */
		pthread_mutex_lock(&p->lock);
		while (p->wanted && kicks == p->kicks && atomic_load(&m->outcome) == M_RUNS)
			pthread_cond_wait(&p->cond, &p->lock);
	}
	p->parked--;
	pthread_mutex_unlock(&p->lock);
}

/* ---- by the thread of control.c alone ------------------------------------------- */

static void want(struct pausing *p, bool wanted)
{
	pthread_mutex_lock(&p->lock);
	p->wanted = wanted;
	p->kicks++;
	pthread_cond_broadcast(&p->cond);
	pthread_mutex_unlock(&p->lock);
}

void pause_ask(struct machine *m)
{
	want(&m->pausing, true);
	machine_kick(m);
}

/* No vCPU runs, so none of these waits. */
static int get_time(struct machine *m)
{
	struct cleave_msrs msrs = { .count = 2 };
	int ret;

	msrs.entries[0].index = MSR_TSC;
	msrs.entries[1].index = CLEAVE_MSR_CLOCK;
	if (!(m->info.features & CLEAVE_FEATURE_PV))
		msrs.count = 1;
	ret = cleave_get_msrs(m->vcpu[0].fd, &msrs);
	m->pausing.tsc = msrs.entries[0].value;
	m->pausing.clock = msrs.entries[1].value;
	return ret < 0 ? ret : 0;
}

/* User space sets the TSCs of all vCPUs by that of one; the clock does not move with them. */
static int set_time(struct machine *m)
{
	struct cleave_msrs msrs = { .count = 2 };
	int ret;

	msrs.entries[0].index = MSR_TSC;
	msrs.entries[0].value = m->pausing.tsc;
	msrs.entries[1].index = CLEAVE_MSR_CLOCK;
	msrs.entries[1].value = m->pausing.clock;
	if (!(m->info.features & CLEAVE_FEATURE_PV))
		msrs.count = 1;
	ret = cleave_set_msrs(m->vcpu[0].fd, &msrs);
	return ret < 0 ? ret : 0;
}

enum pause_state pause_state(struct machine *m)
{
	struct pausing *p = &m->pausing;
	bool wanted, all;

	if (p->stopped)
		return PAUSE_STOPPED;
	pthread_mutex_lock(&p->lock);
	wanted = p->wanted;
	all = p->parked == m->cpus;
	pthread_mutex_unlock(&p->lock);
	if (!wanted)
		return PAUSE_NONE;
	if (!all)
		return PAUSE_PENDING;
	p->error = get_time(m);
	machine_clock_stop(m);
	p->stopped = true;
	return PAUSE_STOPPED;
}

int pause_end(struct machine *m)
{
	struct pausing *p = &m->pausing;
	int ret = 0;

	if (p->stopped) {
		ret = p->error ?: set_time(m);
		machine_clock_go_on(m);
		p->stopped = false;
	}
	want(p, false);
	return ret;
}
