// SPDX-License-Identifier: GPL-2.0
/* Options of the commands that take guests by their names. */
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

#define TIMEOUT_MAX	86400

static int refuse(char *err, size_t errlen, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, errlen, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int parse_timeout(const char *text, unsigned int *seconds, char *err, size_t errlen)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || n > TIMEOUT_MAX)
		return refuse(err, errlen, "--timeout %s: not seconds from 0 to %u; give for example 30",
			      text, TIMEOUT_MAX);
	*seconds = n;
	return 0;
}

static int check_names(const char *command, const struct life_args *a, char *err, size_t errlen)
{
	bool lists = !strcmp(command, "ps");
	unsigned int i;

	if (a->all && a->count)
		return refuse(err, errlen, "--all: are all guests; leave out %s", a->names[0]);
	if (!a->all && !a->count && !lists)
		return refuse(err, errlen, "%s: which guests? Give their names, or --all; `cleave ps` lists them",
			      command);
	for (i = 0; i < a->count; i++)
		if (!args_name(a->names[i]))
			return refuse(err, errlen, "%s: no name for a guest; `cleave ps` lists those there are",
				      a->names[i]);
	return 0;
}

int args_life(int argc, char **argv, struct life_args *a, char *err, size_t errlen)
{
	static const struct option options[] = {
		{ "all", no_argument, NULL, 'a' },
		{ "timeout", required_argument, NULL, 't' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int opt, ret = 0;

	memset(a, 0, sizeof(*a));
	a->timeout = ARGS_STOP_TIMEOUT;
	opterr = 0;
	optind = 0;	/* GNU: start anew */
	while (!ret && (opt = getopt_long(argc, argv, ":at:jh", options, NULL)) != -1) {
		if (opt == 'a' && strcmp(argv[0], "ps"))
			a->all = true;
		else if (opt == 't' && !strcmp(argv[0], "stop"))
			ret = parse_timeout(optarg, &a->timeout, err, errlen);
		else if (opt == 'j')
			a->json = true;
		else if (opt == 'h')
			a->help = true;
		else
			return refuse(err, errlen, opt == ':' ?
				      "%s: a value is missing; `cleave %s --help` tells which" :
				      "%s: no such option; `cleave %s --help` lists them",
				      argv[optind - 1], argv[0]);
	}
	a->names = argv + optind;
	a->count = argc - optind;
	return ret ?: a->help ? 0 : check_names(argv[0], a, err, errlen);
}

int args_attach(int argc, char **argv, struct attach_args *a, char *err, size_t errlen)
{
	static const struct option options[] = {
		{ "lines", required_argument, NULL, 'n' },
		{ "read-only", no_argument, NULL, 'r' },
		{ "log", no_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	unsigned long n;
	char *end;
	int opt;

	memset(a, 0, sizeof(*a));
	a->lines = ARGS_LINES;
	opterr = 0;
	optind = 0;	/* GNU: start anew */
	while ((opt = getopt_long(argc, argv, ":n:rlh", options, NULL)) != -1) {
		if (opt == 'n') {
			n = strtoul(optarg, &end, 10);
			if (*optarg < '0' || *optarg > '9' || *end || n > ARGS_LINES_MAX)
				return refuse(err, errlen, "--lines %s: not a number from 0 to %u; give for example 100",
					      optarg, ARGS_LINES_MAX);
			a->lines = n;
		} else if (opt == 'r') {
			a->read_only = true;
		} else if (opt == 'l') {
			a->log = true;
		} else if (opt == 'h') {
			a->help = true;
		} else {
			return refuse(err, errlen, opt == ':' ?
				      "%s: a value is missing; `cleave %s --help` tells which" :
				      "%s: no such option; `cleave %s --help` lists them",
				      argv[optind - 1], argv[0]);
		}
	}
	if (a->help)
		return 0;
	if (optind + 1 != argc)
		return refuse(err, errlen, "console: whose? Give the name of one guest; `cleave ps` lists them");
	a->name = argv[optind];
	return args_name(a->name) ? 0 :
		refuse(err, errlen, "%s: no name for a guest; `cleave ps` lists those there are", a->name);
}
