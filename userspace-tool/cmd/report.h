/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is told of a guest, alive or dead: one document, built here from the
 * vCPUs' states and flight recorders, and one text made of it.
 */
#ifndef CLEAVE_REPORT_H
#define CLEAVE_REPORT_H

#include <stdio.h>

#include "doc.h"
#include "machine.h"

#define REPORT_EXITS	16	/* that people see unless they ask for more */

/* ---- report.c: a vCPU's part is built by its own thread, or when that has ended ----- */

/* exits: newest records, at most; the more CPUs there are, the fewer they are. */
struct json_object *report_vcpu(struct vcpu *v, unsigned int exits);
/* Of a guest that lives; takes the parts, by CPU. */
struct json_object *report_alive(struct machine *m, struct json_object **part);
/* By v. error: what CLEAVE_RUN or the assist returned; 0: run->exit says it all. */
struct json_object *report_dead(struct vcpu *v, int error);
uint64_t report_linear(const struct cleave_segment *seg, uint64_t offset,
		       const struct cleave_sregs *s);
/* As cleave_walk() with CLEAVE_WALK_PEEK. */
int report_walk(struct machine *m, const struct cleave_state *st, uint64_t gva, uint64_t *gpa);

/* ---- records.c: the last exits, decoded, and where a kernel was put --------------- */

void records_describe(struct json_object *cpu, struct vcpu *v, const struct cleave_state *st,
		      unsigned int max);
/* Addresses that a kernel's symbols have names for; see symbolize.c. */
void records_anchors(struct json_object *cpu, struct vcpu *v, const struct cleave_state *st);
/* Bytes and text of the instruction at regs->rip. */
void records_instruction(struct json_object *o, struct machine *m, const struct cleave_regs *regs,
			 const struct cleave_sregs *sregs);

/* ---- why.c ------------------------------------------------------------------------ */

void why_died(struct json_object *why, struct vcpu *v, const struct cleave_state *st, int error);

#endif /* CLEAVE_REPORT_H */
