// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <getopt.h>
#include <glob.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

#define PAGE	4096

int args_size(const char *text, uint64_t *size)
{
	unsigned int shift = 0;
	uint64_t n;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	switch (*end) {
	case 'k': case 'K':
		shift = 10;
		break;
	case 'm': case 'M':
		shift = 20;
		break;
	case 'g': case 'G':
		shift = 30;
		break;
	case 't': case 'T':
		shift = 40;
		break;
	}
	if (shift)
		end++;
	if (shift && (!strcmp(end, "iB") || !strcmp(end, "B")))
		end = "";
	if (*end)
		return -EINVAL;
	if (n > UINT64_MAX >> shift)
		return -ERANGE;
	*size = n << shift;
	return 0;
}

int args_newest(const char *pattern, char path[PATH_MAX])
{
	const char *best = NULL;
	glob_t g;
	size_t i;

	if (glob(pattern, 0, NULL, &g))
		return -ENOENT;
	for (i = 0; i < g.gl_pathc; i++)
		if (!best || strverscmp(best, g.gl_pathv[i]) < 0)
			best = g.gl_pathv[i];
	snprintf(path, PATH_MAX, "%s", best);
	globfree(&g);
	return 0;
}

static int fail(char *err, size_t errlen, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, errlen, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int parse_memory(const char *text, struct run_args *a, char *err, size_t errlen)
{
	int ret = args_size(text, &a->memory);

	if (ret == -ERANGE)
		return fail(err, errlen, "--memory %s: too large for any machine; give for example 512M", text);
	if (ret)
		return fail(err, errlen, "--memory %s: not a size; give for example 512M or 2G", text);
	if (a->memory % PAGE)
		return fail(err, errlen, "--memory %s: not a multiple of 4K; give for example 512M", text);
	return 0;
}

static int parse_cpus(const char *text, struct run_args *a, char *err, size_t errlen)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || !n)
		return fail(err, errlen, "--cpus %s: not a number of CPUs; give 1", text);
	if (n > 1)
		return fail(err, errlen, "--cpus %s: guests have one CPU so far; give 1", text);
	a->cpus = n;
	return 0;
}

static int parse_name(const char *text, struct run_args *a, char *err, size_t errlen)
{
	size_t n = strlen(text), i;

	if (!n || n >= sizeof(a->name))
		return fail(err, errlen, "--name: has %zu characters; give 1 to %zu", n, sizeof(a->name) - 1);
	for (i = 0; i < n; i++)
		if (text[i] <= ' ' || text[i] > '~' || text[i] == '/')
			return fail(err, errlen, "--name: has a space, a slash or an unprintable character; give letters, digits, '-', '.' and '_'");
	memcpy(a->name, text, n + 1);
	return 0;
}

/* The kernel's name without path and "vmlinuz-". */
static void default_name(struct run_args *a)
{
	const char *base = strrchr(a->kernel, '/');
	size_t i;

	base = base ? base + 1 : a->kernel;
	if (!strncmp(base, "vmlinuz-", 8) && base[8])
		base += 8;
	for (i = 0; base[i] && i < sizeof(a->name) - 1; i++)
		a->name[i] = base[i] > ' ' && base[i] <= '~' ? base[i] : '_';
	a->name[i] = 0;
}

static int defaults(struct run_args *a, char *err, size_t errlen)
{
	if (!a->kernel[0] && args_newest("/boot/vmlinuz-*-cloud-amd64", a->kernel) &&
	    args_newest("/boot/vmlinuz-*", a->kernel)) {
		fail(err, errlen, "no --kernel given and none in /boot; give one, or apt-get install linux-image-cloud-amd64");
		return -ENOENT;
	}
	if (!a->name[0])
		default_name(a);
	return 0;
}

static int parse_option(int opt, const char *arg, struct run_args *a, char *err, size_t errlen)
{
	switch (opt) {
	case 'k':
		if (!*arg || strlen(arg) >= sizeof(a->kernel))
			return fail(err, errlen, "--kernel: %s path; give a kernel's file",
				    *arg ? "too long a" : "an empty");
		strcpy(a->kernel, arg);
		return 0;
	case 'i':
		a->initrd = arg;
		return 0;
	case 'a':
		a->append = arg;
		return 0;
	case 'm':
		return parse_memory(arg, a, err, errlen);
	case 'c':
		return parse_cpus(arg, a, err, errlen);
	case 'n':
		return parse_name(arg, a, err, errlen);
	case 'h':
		a->help = true;
	}
	return 0;
}

int args_run(int argc, char **argv, struct run_args *a, char *err, size_t errlen)
{
	static const struct option options[] = {
		{ "kernel", required_argument, NULL, 'k' },
		{ "initrd", required_argument, NULL, 'i' },
		{ "append", required_argument, NULL, 'a' },
		{ "memory", required_argument, NULL, 'm' },
		{ "cpus", required_argument, NULL, 'c' },
		{ "name", required_argument, NULL, 'n' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int opt, ret;

	memset(a, 0, sizeof(*a));
	a->append = ARGS_APPEND;
	a->memory = ARGS_MEMORY;
	a->cpus = 1;
	opterr = 0;
	optind = 0;	/* GNU: start anew */
	while ((opt = getopt_long(argc, argv, ":k:i:a:m:c:n:h", options, NULL)) != -1) {
		if (opt == ':')
			return fail(err, errlen, "%s: a value is missing; `cleave run --help` tells which",
				    argv[optind - 1]);
		if (opt == '?')
			return fail(err, errlen, "%s: no such option; `cleave run --help` lists them",
				    argv[optind - 1]);
		ret = parse_option(opt, optarg, a, err, errlen);
		if (ret)
			return ret;
	}
	if (a->help)
		return 0;
	if (optind < argc)
		return fail(err, errlen, "%s: not an option; give a kernel with --kernel %s",
			    argv[optind], argv[optind]);
	return defaults(a, err, errlen);
}
