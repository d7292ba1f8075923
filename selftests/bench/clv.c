// SPDX-License-Identifier: GPL-2.0
/* A machine of cleave's. */
#include <errno.h>
#include "bench.h"

static void create(struct machine *m)
{
	vm_create(&m->vm, RAM_SIZE, 0);
	vm_tables(&m->vm);
	for (unsigned int i = 0; i < m->vcpus_count; i++)
		vcpu_create(&m->vm, &m->vcpus[i], i);
}

static void start(struct machine *m, unsigned int vcpu, uint64_t rip, uint64_t rsi)
{
	struct vcpu *v = &m->vcpus[vcpu];
	struct cleave_state st;

	vcpu_long(v, rip);
	vcpu_x2apic(v);
	state_get(v, CLEAVE_REGS | CLEAVE_MP, &st);
	st.regs.rsi = rsi;
	st.mp.state = CLEAVE_MP_RUNNABLE;
	state_must_set(v, CLEAVE_REGS | CLEAVE_MP, &st);
}

static int run(struct machine *m, unsigned int vcpu)
{
	struct vcpu *v = &m->vcpus[vcpu];

	int ret = vcpu_run(v);

	if (!ret && v->run->exit == CLEAVE_EXIT_IO)
		return v->run->io.port;
	if (ret == -EINTR)
		return ret;
	vcpu_dump(v);
	return -EIO;
}

static void destroy(struct machine *m)
{
	for (unsigned int i = 0; i < m->vcpus_count; i++)
		vcpu_destroy(&m->vcpus[i]);
	vm_destroy(&m->vm);
}

const struct hypervisor bench_cleave = { "cleave", create, start, run, destroy };
