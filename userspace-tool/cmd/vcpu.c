// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <string.h>

#include "control.h"
#include "render.h"
#include "report.h"

#define LAPIC_SIZE	0x1000U

/* ---- what the assist asks for ------------------------------------------------- */

static bool in_lapic(uint64_t gpa)
{
	return gpa - LAPIC_BASE < LAPIC_SIZE;
}

/*
 * The page has a register every 16 bytes; the three words between read as
 * zeros. Narrow and wide accesses go by 32-bit words.
 */
static int lapic_read(struct machine *m, uint64_t gpa, uint64_t *value)
{
	struct cleave_lapic_access a = { .offset = (gpa - LAPIC_BASE) & ~15U };
	int ret = 0;

	if (!(gpa & 12))
		ret = cleave_lapic_access(m->vcpu, &a);
	*value = (uint64_t)a.value >> (8 * (gpa & 3));
	return ret < 0 ? ret : 0;
}

static int on_mmio_read(void *opaque, uint64_t gpa, void *data, unsigned int size)
{
	struct machine *m = opaque;
	uint64_t value;
	int ret = 0;

	if (in_lapic(gpa)) {
		ret = lapic_read(m, gpa, &value);
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
	struct machine *m = opaque;
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
		ret = cleave_lapic_access(m->vcpu, &a);
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
	struct machine *m = opaque;

	pthread_mutex_lock(&m->lock);
	*data = bus_read(&m->pio, port, size);
	machine_recheck(m);
	pthread_mutex_unlock(&m->lock);
	return 0;
}

static int on_pio_out(void *opaque, uint16_t port, uint32_t data, unsigned int size)
{
	struct machine *m = opaque;

	pthread_mutex_lock(&m->lock);
	bus_write(&m->pio, port, size, data);
	machine_recheck(m);
	pthread_mutex_unlock(&m->lock);
	if (m->tx_count)
		console_flush(m);
	return 0;
}

static int on_fpu_get(void *opaque, struct cleave_fpu *fpu)
{
	struct machine *m = opaque;

	return cleave_get_fpu(m->vcpu, fpu);
}

static int on_fpu_set(void *opaque, const struct cleave_fpu *fpu)
{
	struct machine *m = opaque;

	return cleave_set_fpu(m->vcpu, fpu);
}

/* ---- exits --------------------------------------------------------------------- */

static int vcpu_assist(struct machine *m)
{
	struct cleave_state state = { .groups = CLEAVE_EVENTS };
	int ret = cleave_assist(&m->assist, m->run);

	if (ret != CLEAVE_ASSIST_FAULT)
		return ret;
	ret = cleave_get_state(m->vcpu, &state);
	if (ret < 0)
		return ret;
	state.events.exception = m->assist.fault;
	return cleave_set_state(m->vcpu, &state);
}

static int vcpu_port(struct machine *m)
{
	struct cleave_run *run = m->run;

	if (run->io.flags & CLEAVE_ACCESS_STRING)
		return vcpu_assist(m);
	if (run->io.flags & CLEAVE_ACCESS_WRITE)
		return on_pio_out(m, run->io.port, run->io.data, run->io.size);
	return on_pio_in(m, run->io.port, &run->io.data, run->io.size);
}

/* 0: go on; -errno, or 1 for an exit that ends the guest. */
static int vcpu_exit(struct machine *m)
{
	struct cleave_run *run = m->run;

	switch (run->exit) {
	case CLEAVE_EXIT_IO:
		return vcpu_port(m);
	case CLEAVE_EXIT_MMIO:
	case CLEAVE_EXIT_INSN:
		return vcpu_assist(m);
	case CLEAVE_EXIT_EOI:
		pthread_mutex_lock(&m->lock);
		ioapic_eoi(&m->ioapic, run->eoi.vector);
		pthread_mutex_unlock(&m->lock);
		return 0;
	case CLEAVE_EXIT_NONE:
	case CLEAVE_EXIT_WINDOW:
		return 0;
	}
	return 1;
}

/* error: as report_dead() takes it. */
static void vcpu_died(struct machine *m, int error)
{
	struct json_object *doc = report_dead(m, error);

	console_stop(m);
	console_newline(m);
	render_report(stderr, doc, REPORT_EXITS);
	control_died(m, doc);
	json_object_put(doc);
	machine_end(m, M_CRASH);
}

/* Somebody wants to see the state: what the last exit asked for is done by now. */
static void vcpu_interrupted(struct machine *m)
{
	struct json_object *doc;

	control_serve(m);
	if (!atomic_exchange(&m->show, false))
		return;
	doc = report_alive(m, REPORT_EXITS);
	console_newline(m);
	render_report(stderr, doc, REPORT_EXITS);
	json_object_put(doc);
}

void vcpu_loop(struct machine *m)
{
	int ret;

	m->assist.mem = &m->mem;
	m->assist.opaque = m;
	m->assist.mmio_read = on_mmio_read;
	m->assist.mmio_write = on_mmio_write;
	m->assist.pio_in = on_pio_in;
	m->assist.pio_out = on_pio_out;
	m->assist.fpu_get = on_fpu_get;
	m->assist.fpu_set = on_fpu_set;
	if (cleave_assist_init(&m->assist)) {
		complain("the host is out of memory; free some");
		machine_end(m, M_FAILED);
	}
	while (atomic_load(&m->outcome) == M_RUNS) {
		ret = cleave_run(m->vcpu);
		if (ret == -EINTR || ret == -EAGAIN) {
			vcpu_interrupted(m);
			continue;
		}
		if (ret >= 0)
			ret = vcpu_exit(m);
		if (ret && atomic_load(&m->outcome) == M_RUNS)
			vcpu_died(m, ret);
	}
	atomic_store(&m->vcpu_done, true);
}
