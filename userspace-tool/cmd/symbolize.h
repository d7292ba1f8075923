/* SPDX-License-Identifier: GPL-2.0 */
/* Puts function+offset beside the instruction pointers of a report. */
#ifndef CLEAVE_SYMBOLIZE_H
#define CLEAVE_SYMBOLIZE_H

#include "../libcleave/libcleave.h"
#include "doc.h"

/* slide: how far the kernel lies from where the file says; NULL: found, if it can be. */
void symbolize(struct json_object *report, const struct cleave_symbols *symbols, const char *file,
	       const uint64_t *slide);

#endif /* CLEAVE_SYMBOLIZE_H */
