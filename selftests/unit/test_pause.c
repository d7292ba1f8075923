// SPDX-License-Identifier: GPL-2.0
/* A guest that is paused, with threads of vCPUs that are made up. */
#include <poll.h>

#include "unit.h"
#include "cmd/pause.c"

#define CPUS	4

static struct machine m;
static struct vcpu cpus[CPUS];
static atomic_uint kicked[CPUS];	/* CLEAVE_KICK: kept for the next CLEAVE_RUN */
static atomic_uint work[CPUS];		/* that the guest does */
static atomic_uint served[CPUS];
static atomic_uint wakes;
static atomic_bool hangs;		/* CPU 0 is in a write that does not end */
static unsigned int clock_stops, clock_starts;
static uint64_t tsc = 1000, pv_clock = 500;
static unsigned int msrs_asked;
static int msrs_fail;

void machine_kick(struct machine *machine)
{
	for (int i = 0; i < CPUS; i++)
		atomic_store(&kicked[i], 1);
	pause_kicked(machine);
}

void control_wake(struct machine *machine)
{
	atomic_fetch_add(&wakes, 1);
}

void machine_clock_stop(struct machine *machine)
{
	clock_stops++;
}

void machine_clock_go_on(struct machine *machine)
{
	clock_starts++;
}

/* They take the vCPU's mutex: who asks while one runs would wait. */
int cleave_get_msrs(int vcpu, struct cleave_msrs *msrs)
{
	CHECK_EQ(vcpu, 100);
	msrs_asked = msrs->count;
	CHECK_EQ(msrs->entries[0].index, MSR_TSC);
	msrs->entries[0].value = tsc;
	if (msrs->count > 1)
		msrs->entries[1].value = pv_clock;
	return msrs_fail ? msrs_fail : (int)msrs->count;
}

int cleave_set_msrs(int vcpu, struct cleave_msrs *msrs)
{
	CHECK_EQ(msrs->entries[0].index, MSR_TSC);
	tsc = msrs->entries[0].value;
	/* Behind the TSC, as that does not move the clock. */
	if (msrs->count > 1) {
		CHECK_EQ(msrs->entries[1].index, CLEAVE_MSR_CLOCK);
		pv_clock = msrs->entries[1].value;
	}
	return msrs->count;
}

static void serve(struct vcpu *v)
{
	atomic_fetch_add(&served[v->id], 1);
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;

	while (atomic_load(&m.outcome) == M_RUNS) {
		if (!v->id && atomic_load(&hangs)) {
			poll(NULL, 0, 1);
			continue;
		}
		if (atomic_exchange(&kicked[v->id], 0)) {
			serve(v);
			pause_park(v, serve);
			continue;
		}
		atomic_fetch_add(&work[v->id], 1);
		sched_yield();
	}
	return NULL;
}

static void begin(void)
{
	memset(&m, 0, sizeof(m));
	pause_init(&m);
	m.vcpu = cpus;
	m.cpus = CPUS;
	m.info.features = CLEAVE_FEATURE_PV;
	clock_stops = clock_starts = msrs_fail = 0;
	for (int i = 0; i < CPUS; i++) {
		cpus[i] = (struct vcpu){ .m = &m, .id = i, .fd = 100 + i };
		if (pthread_create(&cpus[i].thread, NULL, vcpu_thread, &cpus[i]))
			abort();
	}
}

static void end(void)
{
	atomic_store(&m.outcome, M_OFF);
	machine_kick(&m);
	for (int i = 0; i < CPUS; i++)
		pthread_join(cpus[i].thread, NULL);
	CHECK_EQ(m.pausing.parked, 0);
	pause_destroy(&m);
	atomic_store(&m.outcome, M_RUNS);
}

static bool reaches(enum pause_state state)
{
	for (int i = 0; i < 10000; i++) {
		if (pause_state(&m) == state)
			return true;
		poll(NULL, 0, 1);
	}
	return false;
}

static unsigned int all(atomic_uint *count)
{
	unsigned int sum = 0;

	for (int i = 0; i < CPUS; i++)
		sum += atomic_load(&count[i]);
	return sum;
}

UNIT_TEST(stands_still)
{
	unsigned int before;

	begin();
	CHECK_EQ(pause_state(&m), PAUSE_NONE);
	CHECK_EQ(pause_end(&m), 0);	/* nothing to end */
	CHECK_EQ(clock_starts, 0);
	atomic_store(&wakes, 0);
	pause_ask(&m);
	CHECK(reaches(PAUSE_STOPPED));
	CHECK(atomic_load(&wakes) >= 1);
	CHECK_EQ(clock_stops, 1);
	CHECK_EQ(msrs_asked, 2);
	before = all(work);
	tsc += 7777;		/* the host's goes on */
	pv_clock += 3333;
	poll(NULL, 0, 30);
	CHECK_EQ(all(work), before);
	CHECK_EQ(pause_end(&m), 0);
	CHECK_EQ(tsc, 1000);
	CHECK_EQ(pv_clock, 500);
	CHECK_EQ(clock_starts, 1);
	CHECK_EQ(pause_state(&m), PAUSE_NONE);
	for (int i = 0; i < 1000 && all(work) == before; i++)
		poll(NULL, 0, 1);
	CHECK(all(work) > before);
	end();
}

/* Who asks for the state of a guest that is paused gets it, as often as he asks. */
UNIT_TEST(tells_its_state)
{
	unsigned int was[CPUS];

	begin();
	pause_ask(&m);
	REQUIRE(reaches(PAUSE_STOPPED));
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < CPUS; i++)
			was[i] = atomic_load(&served[i]);
		machine_kick(&m);
		for (int i = 0; i < CPUS; i++) {
			for (int k = 0; k < 10000 && atomic_load(&served[i]) == was[i]; k++)
				poll(NULL, 0, 1);
			CHECK(atomic_load(&served[i]) > was[i]);
		}
		CHECK_EQ(pause_state(&m), PAUSE_STOPPED);
	}
	pause_end(&m);
	end();
}

UNIT_TEST(one_does_not_come_out)
{
	begin();
	atomic_store(&hangs, true);
	poll(NULL, 0, 5);
	pause_ask(&m);
	poll(NULL, 0, 30);
	CHECK_EQ(pause_state(&m), PAUSE_PENDING);
	CHECK_EQ(clock_stops, 0);
	CHECK_EQ(pause_end(&m), 0);
	CHECK_EQ(clock_starts, 0);
	CHECK_EQ(pause_state(&m), PAUSE_NONE);
	/* And late, when it is still wanted. */
	pause_ask(&m);
	atomic_store(&hangs, false);
	CHECK(reaches(PAUSE_STOPPED));
	pause_end(&m);
	end();
}

UNIT_TEST(ends_while_paused)
{
	begin();
	pause_ask(&m);
	CHECK(reaches(PAUSE_STOPPED));
	end();
}

/* Without a clock to set, or with one that cannot be set: it is said. */
UNIT_TEST(clocks)
{
	begin();
	m.info.features = 0;
	pause_ask(&m);
	CHECK(reaches(PAUSE_STOPPED));
	CHECK_EQ(msrs_asked, 1);
	CHECK_EQ(pause_end(&m), 0);
	msrs_fail = -EIO;
	pause_ask(&m);
	CHECK(reaches(PAUSE_STOPPED));
	CHECK_EQ(pause_end(&m), -EIO);
	CHECK_EQ(clock_stops, clock_starts);	/* the devices go on all the same */
	end();
}

UNIT_TEST(many_times)
{
	begin();
	for (int i = 0; i < 2000; i++) {
		pause_ask(&m);
		if (i % 3) {
			if (!reaches(PAUSE_STOPPED))
				break;
		}
		pause_end(&m);
	}
	CHECK_EQ(clock_stops, clock_starts);
	pause_ask(&m);
	CHECK(reaches(PAUSE_STOPPED));
	end();
}
