// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "args.h"
#include "generations.h"

static int parse_rounds(const char *text, unsigned int *rounds, char *err, size_t errlen)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || !n || n > GEN_ROUNDS_MAX) {
		snprintf(err, errlen, "--rounds %s: not a number of operations; give one from 1 to %u",
			 text, GEN_ROUNDS_MAX);
		return -EINVAL;
	}
	*rounds = n;
	return 0;
}

static int parse_words(int argc, char **argv, const struct bench_args *a, char *err, size_t errlen)
{
	const char *first = optind < argc ? argv[optind] : NULL;

	if (!first)
		snprintf(err, errlen, "bench: of what? `cleave bench generations` is what there is; `cleave bench --help` tells more");
	else if (strcmp(first, "generations"))
		snprintf(err, errlen, "bench %s: there is no such benchmark; give generations", first);
	else if (optind + 1 < argc)
		snprintf(err, errlen, "%s: one word too many; `cleave bench --help` lists the options",
			 argv[optind + 1]);
	else if (a->json && a->svg && !strcmp(a->json, "-") && !strcmp(a->svg, "-"))
		snprintf(err, errlen, "--svg -: standard output has the JSON already; give a file for one");
	else
		return 0;
	return -EINVAL;
}

int bench_args(int argc, char **argv, struct bench_args *a, char *err, size_t errlen)
{
	static const struct option options[] = {
		{ "json", required_argument, NULL, 'j' },
		{ "svg", required_argument, NULL, 's' },
		{ "rounds", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	*a = (struct bench_args){ .rounds = GEN_ROUNDS };
	opterr = 0;
	optind = 0;	/* GNU: start anew */
	while ((opt = getopt_long(argc, argv, ":j:s:r:h", options, NULL)) != -1) {
		switch (opt) {
		case 'j':
			a->json = optarg;
			break;
		case 's':
			a->svg = optarg;
			break;
		case 'r':
			if (parse_rounds(optarg, &a->rounds, err, errlen))
				return -EINVAL;
			break;
		case 'h':
			a->help = true;
			break;
		default:
			snprintf(err, errlen, opt == ':' ? "%s: a value is missing; `cleave bench --help` tells which" :
				 "%s: no such option; `cleave bench --help` lists them", argv[optind - 1]);
			return -EINVAL;
		}
	}
	return a->help ? 0 : parse_words(argc, argv, a, err, errlen);
}
