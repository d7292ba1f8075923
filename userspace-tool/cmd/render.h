/* SPDX-License-Identifier: GPL-2.0 */
/* Documents as text for people. What a document lacks is left out. */
#ifndef CLEAVE_RENDER_H
#define CLEAVE_RENDER_H

#include <stdio.h>

#include "doc.h"

/*
 * What report.c builds, with the last exits that it holds, at most as many. Of
 * several CPUs each has a line; unless all are wanted, only the one that died
 * has more.
 */
void render_report(FILE *f, struct json_object *doc, size_t exits, bool all);
/* A line or part of one: control and other bytes than ASCII become '?'. */
void render_print(FILE *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif /* CLEAVE_RENDER_H */
