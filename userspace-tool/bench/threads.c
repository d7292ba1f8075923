// SPDX-License-Identifier: GPL-2.0
/* The threads beside vCPU 0's: vCPU 1, the watch on the 8254 and on time, the rings' poller. */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>
#include <x86intrin.h>

#include "generations.h"
#include "../cmd/cmd.h"

#define GLANCE_NS	(200 * NS_PER_SEC / 1000)	/* so often the watch looks at all */
#define SAY_NS		(2 * NS_PER_SEC)
#define STUCK_NS	(600 * NS_PER_SEC)	/* no host is that slow */
#define IDLE_LOOKS	64			/* at the rings, before others get the CPU */

/* The host CPU of that number among those that this process may use, if there are so many. */
static void only_cpu(const struct gen *g, int number, cpu_set_t *one)
{
	int cpu, seen = 0;

	*one = g->cpus;
	if (CPU_COUNT(&g->cpus) <= number)
		return;
	for (cpu = 0; seen <= number; cpu++)
		seen += !!CPU_ISSET(cpu, &g->cpus);
	CPU_ZERO(one);
	CPU_SET(cpu - 1, one);
}

/* vCPU 0 has the first host CPU, what works for it beside it the second, the watch any. */
static int start(pthread_t *thread, bool *started, const cpu_set_t *cpus, void *(*fn)(void *),
		 struct gen *g)
{
	pthread_attr_t attr;
	int ret;

	pthread_attr_init(&attr);
	pthread_attr_setaffinity_np(&attr, sizeof(*cpus), cpus);
	ret = pthread_create(thread, &attr, fn, g);
	pthread_attr_destroy(&attr);
	*started = !ret;
	return ret ? gen_fail(g, -ret, "a thread; see ulimit -u") : 0;
}

static void *vcpu1_thread(void *arg)
{
	struct gen *g = arg;

	pthread_mutex_lock(&g->lock);
	for (;;) {
		while (!g->work && !g->end)
			pthread_cond_wait(&g->parked, &g->lock);
		if (g->end)
			break;
		pthread_mutex_unlock(&g->lock);
		gen_run_vcpu(&g->vcpu[1]);
		pthread_mutex_lock(&g->lock);
		g->work = false;
		pthread_cond_broadcast(&g->parked);
	}
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

/* A word every two seconds, and an end to a guest that has none. */
static void tell(struct gen *g, uint64_t *said)
{
	uint64_t now = gen_now(g), started = atomic_load(&g->started);
	const char *doing = atomic_load(&g->doing);

	if (started && now > started && now - started > STUCK_NS)
		gen_fail(g, -ETIMEDOUT, "the guest: no end to it");
	if (!doing || now - *said < SAY_NS)
		return;
	*said = now;
	complain("%s, step %u of %u", doing, atomic_load(&g->step), atomic_load(&g->steps));
}

static void *watch_thread(void *arg)
{
	struct gen *g = arg;
	struct pollfd fd = { .fd = g->wake, .events = POLLIN };
	uint64_t said = gen_now(g), until, now, count;
	bool due, end;

	prctl(PR_SET_TIMERSLACK, 1UL);
	do {
		struct timespec ts;

		pthread_mutex_lock(&g->lock);
		pit_tick(&g->pit);
		due = pic_output(&g->pic);
		until = g->sleeps_until = pit_deadline(&g->pit);
		end = g->end;
		pthread_mutex_unlock(&g->lock);
		if (due)
			cleave_kick(g->vcpu[0].fd);
		tell(g, &said);
		now = gen_now(g);
		until = until < now + GLANCE_NS ? until : now + GLANCE_NS;
		ts = (struct timespec){ .tv_nsec = until > now ? until - now : 0 };
		if (!end && ppoll(&fd, 1, &ts, NULL) > 0 && read(g->wake, &count, sizeof(count)) < 0)
			end = errno != EAGAIN && errno != EINTR;
	} while (!end);
	return NULL;
}

static void *poller_thread(void *arg)
{
	struct gen *g = arg;
	unsigned int idle = 0;
	int lines, blocks;

	while (atomic_load(&g->watched)) {
		lines = gen_ring_take((void *)gen_u32(g, GEN_LINE_RING), &g->mem, &g->sink, false);
		blocks = gen_ring_take((void *)gen_u32(g, GEN_BLOCK_RING), &g->mem, &g->sink, true);
		if (lines < 0 || blocks < 0) {
			gen_fail(g, -EINVAL, "the guest's ring");
			break;
		}
		idle = lines + blocks ? 0 : idle + 1;
		if (idle)
			_mm_pause();
		if (idle && idle % IDLE_LOOKS == 0)
			sched_yield();
	}
	return NULL;
}

int gen_watch_rings(struct gen *g, bool on)
{
	bool was = atomic_exchange(&g->watched, on), started = true;
	cpu_set_t second;
	int ret = 0;

	only_cpu(g, 1, &second);
	if (on && !was)
		ret = start(&g->poller, &started, &second, poller_thread, g);
	if (!started)
		atomic_store(&g->watched, false);
	if (!on && was)
		pthread_join(g->poller, NULL);
	return ret;
}

int gen_start_threads(struct gen *g)
{
	cpu_set_t first, second;

	only_cpu(g, 0, &first);
	only_cpu(g, 1, &second);
	if (sched_setaffinity(0, sizeof(first), &first))
		return gen_fail(g, -errno, "sched_setaffinity");
	return start(&g->vcpu1, &g->vcpu1_started, &second, vcpu1_thread, g) ?:
	       start(&g->watch, &g->watch_started, &g->cpus, watch_thread, g);
}

void gen_stop_threads(struct gen *g)
{
	uint64_t one = 1;

	gen_watch_rings(g, false);
	if (g->ram)
		*gen_u32(g, SHARED_LISTEN) = 0;
	pthread_mutex_lock(&g->lock);
	g->end = true;
	pthread_cond_broadcast(&g->parked);
	pthread_mutex_unlock(&g->lock);
	if (g->watch_started && write(g->wake, &one, sizeof(one)) == sizeof(one))
		pthread_join(g->watch, NULL);
	if (g->vcpu1_started)
		pthread_join(g->vcpu1, NULL);
}
