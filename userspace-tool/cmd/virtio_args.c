// SPDX-License-Identifier: GPL-2.0
/* --disk, --console, --balloon and their keys. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../block/block.h"
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

static int parse_path(const char *key, const char *value, char path[PATH_MAX], char *err, size_t errlen)
{
	if (!*value || strlen(value) >= PATH_MAX)
		return fail(err, errlen, "--disk %s: %s path; give a file", key, *value ? "too long a" : "an empty");
	strcpy(path, value);
	return 0;
}

static int parse_serial(const char *value, struct disk_args *d, char *err, size_t errlen)
{
	size_t i, n = strlen(value);

	if (!n || n > ARGS_SERIAL)
		return fail(err, errlen, "--disk serial=%s: has %zu characters; give 1 to %u", value, n, ARGS_SERIAL);
	for (i = 0; i < n; i++)
		if (value[i] <= ' ' || value[i] > '~')
			return fail(err, errlen, "--disk serial=: has a character that is not printable ASCII; give letters and digits");
	strcpy(d->serial, value);
	return 0;
}

static int parse_key(char *word, struct disk_args *d, char *err, size_t errlen)
{
	char *value = strchr(word, '=');

	if (!value) {
		if (strcmp(word, "ro"))
			return fail(err, errlen, "--disk: %s is none of ro, format=, serial=, overlay=; give one of these",
				    *word ? word : "an empty word");
		d->readonly = true;
		return 0;
	}
	*value++ = 0;
	if (!strcmp(word, "overlay"))
		return parse_path("overlay=", value, d->overlay, err, errlen);
	if (!strcmp(word, "serial"))
		return parse_serial(value, d, err, errlen);
	if (strcmp(word, "format"))
		return fail(err, errlen, "--disk: %s= is none of ro, format=, serial=, overlay=; give one of these", word);
	d->format = !strcmp(value, "raw") ? BLOCK_RAW : BLOCK_QCOW2;
	if (d->format == BLOCK_QCOW2 && strcmp(value, "qcow2"))
		return fail(err, errlen, "--disk format=%s: no format that is known; give raw or qcow2", value);
	return 0;
}

int args_disk(const char *text, struct virtio_args *v, char *err, size_t errlen)
{
	struct disk_args *d = &v->disk[v->disks];
	char *copy, *next, *word;
	int ret;

	if (v->disks == ARGS_DISKS)
		return fail(err, errlen, "--disk: more than %u disks; give fewer", ARGS_DISKS);
	copy = strdup(text);
	if (!copy)
		return fail(err, errlen, "--disk: the host is out of memory; free some");
	next = copy;
	memset(d, 0, sizeof(*d));
	word = strsep(&next, ",");
	ret = parse_path("FILE", word, d->path, err, errlen);
	while (!ret && (word = strsep(&next, ",")))
		ret = parse_key(word, d, err, errlen);
	free(copy);
	if (!ret && d->readonly && d->overlay[0])
		ret = fail(err, errlen, "--disk: ro and overlay=: an overlay is for what is written; leave one of them out");
	if (!ret)
		v->disks++;
	return ret;
}

/* ---- --console, --balloon ------------------------------------------------------------ */

static int parse_port(char *word, struct port_args *p, char *err, size_t errlen)
{
	char *value = strchr(word, '=');
	size_t i, n = value ? strlen(++value) : 0;

	if (!strncmp(word, "socket=", 7)) {
		if (!n || n > ARGS_SOCKET)
			return fail(err, errlen, "--console socket=: the path has %zu characters; give 1 to %u", n,
				    ARGS_SOCKET);
		strcpy(p->socket, value);
		return 0;
	}
	if (strncmp(word, "name=", 5))
		return fail(err, errlen, "--console: %s is none of terminal, socket=PATH, name=NAME; give one of these",
			    *word ? word : "an empty word");
	if (!n || n > ARGS_PORT_NAME)
		return fail(err, errlen, "--console name=: has %zu characters; give 1 to %u", n, ARGS_PORT_NAME);
	for (i = 0; i < n; i++)
		if (value[i] <= ' ' || value[i] > '~')
			return fail(err, errlen, "--console name=: has a character that is not printable ASCII; give letters and digits");
	strcpy(p->name, value);
	return 0;
}

int args_console(const char *text, struct virtio_args *v, char *err, size_t errlen)
{
	struct port_args *p = &v->port[v->ports];
	char *copy, *next, *word;
	bool terminal = false;
	unsigned int i;
	int ret = 0;

	if (v->ports == ARGS_PORTS)
		return fail(err, errlen, "--console: more than %u ports; give fewer", ARGS_PORTS);
	copy = strdup(text);
	if (!copy)
		return fail(err, errlen, "--console: the host is out of memory; free some");
	memset(p, 0, sizeof(*p));
	next = copy;
	while (!ret && (word = strsep(&next, ","))) {
		if (!strcmp(word, "terminal"))
			terminal = true;
		else
			ret = parse_port(word, p, err, errlen);
	}
	free(copy);
	if (ret)
		return ret;
	if (terminal == !!p->socket[0])
		return fail(err, errlen, "--console %s: both of terminal and socket=PATH, or neither; give one of the two", text);
	if (terminal && p->name[0])
		return fail(err, errlen, "--console terminal: is a console, which has no name; leave out name=");
	for (i = 0; i < v->ports; i++)
		if (!strcmp(v->port[i].socket, p->socket))
			return fail(err, errlen, "--console %s: is another port's already; give it once", text);
	v->ports++;
	return 0;
}

int args_balloon(const char *text, struct virtio_args *v, char *err, size_t errlen)
{
	v->balloon = true;
	v->balloon_bytes = 0;
	if (text && args_size(text, &v->balloon_bytes))
		return fail(err, errlen, "--balloon %s: not a size; give for example --balloon=128M", text);
	return 0;
}
