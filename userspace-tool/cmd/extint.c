// SPDX-License-Identifier: GPL-2.0
/*
 * From the 8259A pair to vCPU 0, which firmware and kernels wire it to: its INTR
 * by the local APIC's LINT0 in ExtINT mode, by pin 0 of the I/O APIC in that
 * mode, or past a local APIC that is off. The vector is asked for (INTA) when the
 * vCPU can take it, and not sooner.
 */
#include <errno.h>

#include "machine.h"

#define APIC_LVT0	0x350
#define LVT_MODE	0x10700	/* masked, delivery mode */
#define LVT_EXTINT	0x700
#define APIC_ENABLED	(1U << 11)	/* IA32_APIC_BASE */

/* Does INTR reach the CPU? */
static int is_wired(struct vcpu *v, bool *wired)
{
	struct cleave_state state = { .groups = CLEAVE_LAPIC | CLEAVE_SREGS };
	int ret = cleave_get_state(v->fd, &state);

	*wired = ret >= 0 && (!(state.sregs.apic_base & APIC_ENABLED) ||
			      (state.lapic.regs[APIC_LVT0 / 4] & LVT_MODE) == LVT_EXTINT ||
			      ioapic_passes_extint(&v->m->ioapic));
	return ret < 0 ? ret : 0;
}

/* The window is open: the vector goes to the vCPU, unless one waits there already. */
static int inject(struct vcpu *v)
{
	struct cleave_state state = { .groups = CLEAVE_EVENTS };
	int ret = cleave_get_state(v->fd, &state);

	if (ret < 0 || state.events.extint)
		return ret < 0 ? ret : 0;
	state.events.extint = 1;
	state.events.extint_vector = pic_acknowledge(&v->m->pic);
	ret = cleave_set_state(v->fd, &state);
	return ret < 0 ? ret : 0;
}

/* A thread that does not run yet looks by itself, first of all. */
static void kick(struct vcpu *v)
{
	struct machine *m = v->m;

	pthread_mutex_lock(&m->kick_lock);
	if (v->runs && !pthread_equal(pthread_self(), v->thread))
		cleave_kick(v->fd);
	pthread_mutex_unlock(&m->kick_lock);
}

void extint_recheck(struct machine *m)
{
	bool on = pic_output(&m->pic);

	atomic_store(&m->pic_int, on);
	if (!on)
		m->pic_asked = false;
	else if (!m->pic_asked && m->cpus)
		kick(&m->vcpu[0]);
}

int extint_offer(struct vcpu *v)
{
	bool open = v->run->exit == CLEAVE_EXIT_WINDOW, wired = false;
	struct machine *m = v->m;
	int ret = 0;

	if (v->id || (!atomic_load(&m->pic_int) && !v->run->request))
		return 0;
	pthread_mutex_lock(&m->lock);
	if (pic_output(&m->pic))
		ret = is_wired(v, &wired);
	if (!ret && wired && open)
		ret = inject(v);
	atomic_store(&m->pic_int, pic_output(&m->pic));
	m->pic_asked = wired && atomic_load(&m->pic_int);
	v->run->request = m->pic_asked ? CLEAVE_RUN_WINDOW : 0;
	pthread_mutex_unlock(&m->lock);
	return ret;
}
