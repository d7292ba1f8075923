/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest whose devices are the test's: exits that ask for an instruction go
 * through libcleave's assist, and what it does is written down. A header, as
 * most tests do not link libcleave.
 */
#ifndef SELFTESTS_ASSISTED_H
#define SELFTESTS_ASSISTED_H

#include <libcleave.h>
#include "events.h"

#define DEV_GPA		0x40000000u
#define DEV_SIZE	0x3000u
#define DEV_LOG		16384

struct dev_access {
	bool write, port;
	uint8_t size;
	uint64_t addr, data;
};

struct dev {
	struct vcpu *v;
	struct cleave_mem mem;
	struct cleave_assist a;
	uint8_t bytes[DEV_SIZE];	/* registers that keep what is written */
	uint32_t in;			/* what ports read as; counts up */
	unsigned int count, faults, exits;
	struct dev_access log[DEV_LOG];
};

static inline void dev_note(struct dev *d, bool port, bool write, uint64_t addr, uint64_t data,
			    unsigned int size)
{
	if (d->count < DEV_LOG)
		d->log[d->count] = (struct dev_access){ write, port, size, addr, data };
	d->count++;
}

static inline int dev_mmio(struct dev *d, uint64_t gpa, void *data, unsigned int size, bool write)
{
	uint64_t val = 0;

	/* One access never reaches over a page's end. */
	if (size > 8 || (size & (size - 1)) || (gpa & 4095) + size > 4096)
		return -EFBIG;
	if (gpa >= DEV_GPA && gpa + size <= DEV_GPA + DEV_SIZE) {
		if (write)
			memcpy(d->bytes + gpa - DEV_GPA, data, size);
		else
			memcpy(data, d->bytes + gpa - DEV_GPA, size);
	} else if (!write) {
		memset(data, 0xff, size);
	}
	memcpy(&val, data, size);
	dev_note(d, false, write, gpa, val, size);
	return 0;
}

static inline int dev_read(void *opaque, uint64_t gpa, void *data, unsigned int size)
{
	return dev_mmio(opaque, gpa, data, size, false);
}

static inline int dev_write(void *opaque, uint64_t gpa, const void *data, unsigned int size)
{
	return dev_mmio(opaque, gpa, (void *)data, size, true);
}

static inline int dev_in(void *opaque, uint16_t port, uint32_t *data, unsigned int size)
{
	struct dev *d = opaque;

	*data = d->in++;
	dev_note(d, true, false, port, *data, size);
	return 0;
}

static inline int dev_out(void *opaque, uint16_t port, uint32_t data, unsigned int size)
{
	dev_note(opaque, true, true, port, data, size);
	return 0;
}

static inline int dev_fpu_get(void *opaque, struct cleave_fpu *fpu)
{
	return xioctl(((struct dev *)opaque)->v->fd, CLEAVE_GET_FPU, fpu);
}

static inline int dev_fpu_set(void *opaque, const struct cleave_fpu *fpu)
{
	return xioctl(((struct dev *)opaque)->v->fd, CLEAVE_SET_FPU, (void *)fpu);
}

static inline struct dev *dev_create(struct vcpu *v)
{
	struct dev *d = calloc(1, sizeof(*d));

	d->v = v;
	MUST(cleave_mem_add(&d->mem, 0, v->vm->ram_size, v->vm->ram, 0));
	d->a = (struct cleave_assist){
		.mem = &d->mem, .opaque = d, .mmio_read = dev_read, .mmio_write = dev_write,
		.pio_in = dev_in, .pio_out = dev_out,
		.fpu_get = dev_fpu_get, .fpu_set = dev_fpu_set,
	};
	if (cleave_assist_init(&d->a))
		DIE("no memory");
	return d;
}

static inline void dev_destroy(struct dev *d)
{
	cleave_assist_free(&d->a);
	free(d);
}

static inline bool dev_wanted(const struct cleave_run *r)
{
	return r->exit == CLEAVE_EXIT_MMIO || r->exit == CLEAVE_EXIT_INSN ||
	       (r->exit == CLEAVE_EXIT_IO && (r->io.flags & CLEAVE_ACCESS_STRING));
}

/* Carries out what the last exit asks for. */
static inline void dev_assist(struct dev *d)
{
	struct cleave_run *r = d->v->run;
	struct cleave_events ev;
	int rc;

	if ((r->valid & (CLEAVE_REGS | CLEAVE_SREGS)) != (CLEAVE_REGS | CLEAVE_SREGS))
		DIE("exit %u without registers", r->exit);
	d->exits++;
	rc = cleave_assist(&d->a, r);
	if (rc < 0) {
		vcpu_dump(d->v);
		DIE("cleave_assist: %d: %s", rc, d->a.text);
	}
	if (rc != CLEAVE_ASSIST_FAULT)
		return;
	d->faults++;
	events_get(d->v, &ev);
	ev.exception = d->a.fault;
	events_set(d->v, &ev);
}

/* To an exit that is not the assist's. */
static inline uint32_t dev_run(struct dev *d)
{
	for (;;) {
		int ret = vcpu_run(d->v);

		if (ret)
			DIE("CLEAVE_RUN: %d", ret);
		if (!dev_wanted(d->v->run))
			return d->v->run->exit;
		dev_assist(d);
	}
}

/* To PORT_DONE; gives its data. */
static inline uint32_t dev_done(struct dev *d)
{
	struct cleave_run *r = d->v->run;

	if (dev_run(d) != CLEAVE_EXIT_IO || r->io.port != PORT_DONE) {
		vcpu_dump(d->v);
		DIE("the guest went astray");
	}
	return r->io.data;
}

#endif
