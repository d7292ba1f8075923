// SPDX-License-Identifier: GPL-2.0
/* Options of devices whose queues the host's kernel or another process serves. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

static int fail(char *err, size_t errlen, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int fail(char *err, size_t errlen, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, errlen, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* ---- --share ------------------------------------------------------------------------------ */

static int parse_tag(const char *tag, struct share_args *s, char *err, size_t errlen)
{
	size_t i, n = strlen(tag);

	if (!n || n > ARGS_TAG)
		return fail(err, errlen, "--share: the tag '%s' has %zu characters; give tag= with 1 to %u", tag, n,
			    ARGS_TAG);
	for (i = 0; i < n; i++)
		if (tag[i] <= ' ' || tag[i] > '~')
			return fail(err, errlen, "--share: the tag has a character that is not printable ASCII; give tag= with letters and digits");
	strcpy(s->tag, tag);
	return 0;
}

/* The last part of a path, in place. */
static const char *last_part(char *path)
{
	size_t n = strlen(path);
	char *slash;

	while (n > 1 && path[n - 1] == '/')
		path[--n] = 0;
	slash = strrchr(path, '/');
	return slash && slash[1] ? slash + 1 : slash ? "root" : path;
}

static int parse_share(char *next, struct share_args *s, char *err, size_t errlen)
{
	char *word = strsep(&next, ","), path[PATH_MAX];
	int ret = 0;

	if (!*word || strlen(word) >= PATH_MAX)
		return fail(err, errlen, "--share: %s path; give a directory", *word ? "too long a" : "an empty");
	strcpy(s->path, word);
	while (!ret && (word = strsep(&next, ","))) {
		if (!strcmp(word, "ro"))
			s->readonly = true;
		else if (!strncmp(word, "tag=", 4))
			ret = parse_tag(word + 4, s, err, errlen);
		else
			ret = fail(err, errlen, "--share: %s is none of ro, tag=; give one of these",
				   *word ? word : "an empty word");
	}
	if (!ret && !s->tag[0]) {
		strcpy(path, s->path);
		ret = parse_tag(last_part(path), s, err, errlen);
	}
	return ret;
}

int args_share(const char *text, struct virtio_args *v, char *err, size_t errlen)
{
	struct share_args *s = &v->share[v->shares];
	unsigned int i;
	char *copy;
	int ret;

	if (v->shares == ARGS_SHARES)
		return fail(err, errlen, "--share: more than %u folders; give fewer", ARGS_SHARES);
	copy = strdup(text);
	if (!copy)
		return fail(err, errlen, "--share: the host is out of memory; free some");
	memset(s, 0, sizeof(*s));
	ret = parse_share(copy, s, err, errlen);
	free(copy);
	if (ret)
		return ret;
	for (i = 0; i < v->shares; i++)
		if (!strcmp(v->share[i].tag, s->tag))
			return fail(err, errlen, "--share: two with the tag %s; give one of them another tag=", s->tag);
	v->shares++;
	return 0;
}

/* ---- --vsock ------------------------------------------------------------------------------ */

int args_vsock(const char *text, struct virtio_args *v, char *err, size_t errlen)
{
	const char *number = strncmp(text, "cid=", 4) ? "" : text + 4;
	unsigned long long cid;
	char *end;

	errno = 0;
	cid = strtoull(number, &end, 0);
	if (*number < '0' || *number > '9' || *end || errno || cid < ARGS_CID_MIN || cid > ARGS_CID_MAX) {
		return fail(err, errlen, "--vsock %s: no number from %u to %u; give for example cid=%u", text,
			    ARGS_CID_MIN, ARGS_CID_MAX, ARGS_CID_MIN);
	}
	v->cid = cid;
	return 0;
}
