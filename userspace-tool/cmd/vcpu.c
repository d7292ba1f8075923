// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>

#include "control.h"
#include "render.h"
#include "report.h"
#include "sandbox.h"

#define LAPIC_SIZE	0x1000U
#define VCPU_STACK	(1UL << 20)	/* of a thread; strict overcommit counts it */

/* ---- what the assist asks for ------------------------------------------------- */

static bool in_lapic(uint64_t gpa)
{
	return gpa - LAPIC_BASE < LAPIC_SIZE;
}

/*
 * The page has a register every 16 bytes; the three words between read as
 * zeros. Narrow and wide accesses go by 32-bit words.
 */
static int lapic_read(struct vcpu *v, uint64_t gpa, uint64_t *value)
{
	struct cleave_lapic_access a = { .offset = (gpa - LAPIC_BASE) & ~15U };
	int ret = 0;

	if (!(gpa & 12))
		ret = cleave_lapic_access(v->fd, &a);
	*value = (uint64_t)a.value >> (8 * (gpa & 3));
	return ret < 0 ? ret : 0;
}

static int on_mmio_read(void *opaque, uint64_t gpa, void *data, unsigned int size)
{
	struct vcpu *v = opaque;
	struct machine *m = v->m;
	uint64_t value;
	int ret = 0;

	if (in_lapic(gpa)) {
		ret = lapic_read(v, gpa, &value);
	} else {
		pthread_mutex_lock(&m->lock);
		value = bus_read(&m->mmio, gpa, size);
		pthread_mutex_unlock(&m->lock);
	}
	memcpy(data, &value, size);
	return ret;
}

static int on_mmio_write(void *opaque, uint64_t gpa, const void *data, unsigned int size)
{
	struct vcpu *v = opaque;
	struct machine *m = v->m;
	uint64_t value = 0;
	int ret;

	memcpy(&value, data, size);
	if (in_lapic(gpa)) {
		struct cleave_lapic_access a = {
			.offset = gpa - LAPIC_BASE, .write = 1, .value = value,
		};

		/* Other than a register's 32 bits: undefined (SDM 3A 11.4.1); ignored. */
		if ((gpa & 15) || size < 4)
			return 0;
		ret = cleave_lapic_access(v->fd, &a);
		return ret < 0 ? ret : 0;
	}
	pthread_mutex_lock(&m->lock);
	bus_write(&m->mmio, gpa, size, value);
	machine_recheck(m);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int on_pio_in(void *opaque, uint16_t port, uint32_t *data, unsigned int size)
{
	struct vcpu *v = opaque;
	struct machine *m = v->m;

	pthread_mutex_lock(&m->lock);
	*data = bus_read(&m->pio, port, size);
	machine_recheck(m);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int on_pio_out(void *opaque, uint16_t port, uint32_t data, unsigned int size)
{
	struct vcpu *v = opaque;
	struct machine *m = v->m;

	pthread_mutex_lock(&m->lock);
	bus_write(&m->pio, port, size, data);
	machine_recheck(m);
	pthread_mutex_unlock(&m->lock);
	console_flush(m);
	return 0;
}

static int on_fpu_get(void *opaque, struct cleave_fpu *fpu)
{
	struct vcpu *v = opaque;

	return cleave_get_fpu(v->fd, fpu);
}

static int on_fpu_set(void *opaque, const struct cleave_fpu *fpu)
{
	struct vcpu *v = opaque;

	return cleave_set_fpu(v->fd, fpu);
}

/* ---- exits --------------------------------------------------------------------- */

static int vcpu_assist(struct vcpu *v)
{
	struct cleave_state state = { .groups = CLEAVE_EVENTS };
	int ret = cleave_assist(&v->assist, v->run);

	if (ret != CLEAVE_ASSIST_FAULT)
		return ret;
	ret = cleave_get_state(v->fd, &state);
	if (ret < 0)
		return ret;
	state.events.exception = v->assist.fault;
	return cleave_set_state(v->fd, &state);
}

static int vcpu_port(struct vcpu *v)
{
	struct cleave_run *run = v->run;

	if (run->io.flags & CLEAVE_ACCESS_STRING)
		return vcpu_assist(v);
	if (run->io.flags & CLEAVE_ACCESS_WRITE)
		return on_pio_out(v, run->io.port, run->io.data, run->io.size);
	return on_pio_in(v, run->io.port, &run->io.data, run->io.size);
}

/* 0: go on; -errno, or 1 for an exit that ends the guest. */
static int vcpu_exit(struct vcpu *v)
{
	struct machine *m = v->m;

	switch (v->run->exit) {
	case CLEAVE_EXIT_IO:
		return vcpu_port(v);
	case CLEAVE_EXIT_MMIO:
	case CLEAVE_EXIT_INSN:
		return vcpu_assist(v);
	case CLEAVE_EXIT_EOI:
		pthread_mutex_lock(&m->lock);
		ioapic_eoi(&m->ioapic, v->run->eoi.vector);
		pthread_mutex_unlock(&m->lock);
		return 0;
	case CLEAVE_EXIT_NONE:
	case CLEAVE_EXIT_WINDOW:
		return 0;
	}
	return 1;
}

/* Somebody wants to see the state: what the last exit asked for is done by now. */
static void vcpu_interrupted(struct vcpu *v)
{
	struct machine *m = v->m;
	struct json_object *doc;

	control_serve(v);
	doc = survey_tell(&m->shown, v);
	if (!doc)
		return;
	console_newline(m);
	render_report(stderr, doc, REPORT_EXITS, false);
	json_object_put(doc);
}

/* ---- threads -------------------------------------------------------------------- */

static void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;
	struct machine *m = v->m;
	char name[16];
	int ret;

	/* By the thread itself: that of another is a file, which the sandbox does not open. */
	snprintf(name, sizeof(name), "cpu %u", v->id);
	pthread_setname_np(pthread_self(), name);
	sandbox_thread(SANDBOX_VCPU);
	while (atomic_load(&m->outcome) == M_RUNS) {
		ret = extint_offer(v) ?: cleave_run(v->fd);
		if (ret == -EINTR || ret == -EAGAIN) {
			vcpu_interrupted(v);
			pause_park(v, vcpu_interrupted);
			continue;
		}
		if (ret >= 0)
			ret = vcpu_exit(v);
		/* Others are kicked out first; who waits for all then tells why. */
		if (ret && machine_end(m, M_CRASH)) {
			m->dead = v;
			m->dead_error = ret;
		}
	}
	pthread_mutex_lock(&m->kick_lock);
	v->runs = false;
	pthread_mutex_unlock(&m->kick_lock);
	atomic_fetch_sub(&m->vcpus_left, 1);
	return NULL;
}

static int vcpu_prepare(struct vcpu *v)
{
	v->assist.mem = &v->m->mem;
	v->assist.opaque = v;
	v->assist.mmio_read = on_mmio_read;
	v->assist.mmio_write = on_mmio_write;
	v->assist.pio_in = on_pio_in;
	v->assist.pio_out = on_pio_out;
	v->assist.fpu_get = on_fpu_get;
	v->assist.fpu_set = on_fpu_set;
	if (!cleave_assist_init(&v->assist))
		return 0;
	complain("CPU %u of %u: the host is out of memory; free some, or ask for fewer --cpus",
		 v->id, v->m->cpus);
	return -ENOMEM;
}

/* kick_lock: nobody signals a thread whose name is not known yet. */
static int vcpu_start(struct vcpu *v, const pthread_attr_t *attr)
{
	struct machine *m = v->m;
	int ret;

	pthread_mutex_lock(&m->kick_lock);
	atomic_fetch_add(&m->vcpus_left, 1);
	ret = pthread_create(&v->thread, attr, vcpu_thread, v);
	v->started = v->runs = !ret;
	if (ret)
		atomic_fetch_sub(&m->vcpus_left, 1);
	pthread_mutex_unlock(&m->kick_lock);
	if (ret)
		complain("a thread for CPU %u of %u: %s; see ulimit -u, the cgroup's pids.max and ulimit -v, or ask for fewer --cpus",
			 v->id, m->cpus, strerror(ret));
	return -ret;
}

void vcpus_wait(struct machine *m)
{
	uint32_t i;

	for (i = 0; i < m->cpus; i++)
		if (m->vcpu[i].started)
			pthread_join(m->vcpu[i].thread, NULL);
}

/* The last one to start is CPU 0, which the others wait for: no guest runs before all are there. */
int vcpus_start(struct machine *m)
{
	pthread_attr_t attr;
	uint32_t i;
	int ret = 0;

	for (i = 0; i < m->cpus && !ret; i++)
		ret = vcpu_prepare(&m->vcpu[i]);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, VCPU_STACK);
	for (i = m->cpus; i-- && !ret; )
		ret = vcpu_start(&m->vcpu[i], &attr);
	pthread_attr_destroy(&attr);
	if (ret) {
		machine_end(m, M_FAILED);
		vcpus_wait(m);
	} else {
		atomic_store(&m->started, status_now());
	}
	return ret;
}
