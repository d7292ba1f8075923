/* SPDX-License-Identifier: GPL-2.0 */
/* What gcc 12 leaves in an object that is compiled with -fprofile-arcs: gcc/gcov-io.h. */
#ifndef COVERAGE_GCOV_H
#define COVERAGE_GCOV_H

#include <linux/types.h>

#if __GNUC__ < 12 || __GNUC__ > 13
#error "struct gcov_info is another one in this gcc"
#endif

#define GCOV_COUNTERS		8
#define GCOV_DATA_MAGIC		0x67636461
#define GCOV_TAG_FUNCTION	0x01000000
#define GCOV_TAG_ARCS		0x01a10000

struct gcov_ctr_info {
	unsigned int num;
	s64 *values;
};

struct gcov_info;

/* The counters of arcs, as no other kind is asked for. */
struct gcov_fn_info {
	const struct gcov_info *key;
	unsigned int ident;
	unsigned int lineno_checksum;
	unsigned int cfg_checksum;
	struct gcov_ctr_info arcs;
};

struct gcov_info {
	unsigned int version;
	struct gcov_info *next;
	unsigned int stamp;
	unsigned int checksum;
	const char *filename;
	void (*merge[GCOV_COUNTERS])(s64 *counters, unsigned int n);
	unsigned int n_functions;
	struct gcov_fn_info **functions;
};

/* Linked first and last, and so the ends of the section of pointers. */
extern const struct gcov_info *coverage_first[];
extern const struct gcov_info *coverage_last[];

#endif
