// SPDX-License-Identifier: GPL-2.0
/* --slice and its keys. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../launch/types.h"
#include "cmd.h"

_Static_assert(ARGS_TYPE_NAME == TYPES_NAME_MAX, "--slice type=");

static int fail(char *err, size_t errlen, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int fail(char *err, size_t errlen, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, errlen, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int parse_type(const char *value, struct slice_args *s, char *err, size_t errlen)
{
	if (!args_name(value) || strlen(value) > ARGS_TYPE_NAME)
		return fail(err, errlen, "--slice type=: no name of a type; give 1 to %u letters, digits, '.', '_', '-'",
			    ARGS_TYPE_NAME);
	strcpy(s->type, value);
	return 0;
}

static int parse_percent(const char *key, const char *value, unsigned int *to, char *err, size_t errlen)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	if (*value < '0' || *value > '9' || *end || !n || n > 100)
		return fail(err, errlen, "--slice %s=%s: not per cent of a vCPU; give 1 to 100", key, value);
	*to = n;
	return 0;
}

static int parse_rate(const char *key, const char *value, uint64_t *to, char *err, size_t errlen)
{
	if (args_size(value, to) || *to < TYPES_RATE_MIN || *to > TYPES_RATE_MAX)
		return fail(err, errlen, "--slice %s=%s: not bytes a second; give 4K to 1T, for example 50M", key,
			    value);
	return 0;
}

static int parse_key(char *word, struct slice_args *s, char *err, size_t errlen)
{
	char *value = strchr(word, '=');

	if (value)
		*value++ = 0;
	if (value && !strcmp(word, "type"))
		return parse_type(value, s, err, errlen);
	if (value && !strcmp(word, "cpu-share"))
		return parse_percent(word, value, &s->share, err, errlen);
	if (value && !strcmp(word, "cpu-burst"))
		return parse_percent(word, value, &s->burst, err, errlen);
	if (value && !strcmp(word, "disk-rate"))
		return parse_rate(word, value, &s->disk_rate, err, errlen);
	if (value && !strcmp(word, "network-rate"))
		return parse_rate(word, value, &s->network_rate, err, errlen);
	return fail(err, errlen, "--slice: %s is none of type=, cpu-share=, cpu-burst=, disk-rate=, network-rate=; give one of these",
		    *word ? word : "an empty word");
}

int args_slice(const char *text, struct slice_args *s, char *err, size_t errlen)
{
	char *copy = strdup(text), *next = copy, *word;
	int ret = 0;

	if (!copy)
		return fail(err, errlen, "--slice: the host is out of memory; free some");
	memset(s, 0, sizeof(*s));
	while (!ret && (word = strsep(&next, ",")))
		ret = parse_key(word, s, err, errlen);
	free(copy);
	if (ret)
		return ret;
	/* Alone, each says the other, as in types.conf. */
	s->burst = s->burst ?: 100;
	s->share = s->share ?: s->burst;
	if (s->share > s->burst)
		return fail(err, errlen, "--slice: cpu-share=%u is more than cpu-burst=%u; raise the one or lower the other",
			    s->share, s->burst);
	s->there = true;
	return 0;
}
