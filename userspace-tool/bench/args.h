/* SPDX-License-Identifier: GPL-2.0 */
#ifndef CLEAVE_BENCH_ARGS_H
#define CLEAVE_BENCH_ARGS_H

#include <stdbool.h>
#include <stddef.h>

struct bench_args {
	const char *json, *svg;		/* or NULL */
	unsigned int rounds;
	bool help;
};

/* 0, or -EINVAL with one line in err. argv[0] is "bench". */
int bench_args(int argc, char **argv, struct bench_args *a, char *err, size_t errlen);

#endif /* CLEAVE_BENCH_ARGS_H */
