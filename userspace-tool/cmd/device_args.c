// SPDX-License-Identifier: GPL-2.0
/* --device: the devices that are there if asked for, and their keys. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

static const struct device_kind {
	const char *name;
	uint16_t port;		/* 0: not to be chosen */
} kinds[DEV_COUNT] = {
	[DEV_DEBUG_EXIT] = { "debug-exit", 0xf4 },
	[DEV_DEBUGCON] = { "debugcon", 0xe9 },
	[DEV_FW_CFG] = { "fw-cfg" },
	[DEV_TESTDEV] = { "testdev" },
};

const char *args_device_list(void)
{
	return "debug-exit[,port=0xf4]\n"
	       "    a write of V to the port ends the guest, and cleave with status V << 1 | 1\n"
	       "debugcon[,port=0xe9]\n"
	       "    what is written to the port is shown on the console; SeaBIOS has 0x402\n"
	       "fw-cfg[,name=NAME,file=FILE]...\n"
	       "    QEMU's fw_cfg at ports 0x510 and 0x514: memory size, CPUs, with --firmware\n"
	       "    the kernel, initrd and command line, and files by name\n"
	       "testdev\n"
	       "    QEMU's pc-testdev: interrupt lines at port 0x2000, a latch at 0xe0, a page\n"
	       "    to unmap at 0xe4, memory by exits at 0xff000000\n";
}

static int fail(char *err, size_t errlen, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

static int fail(char *err, size_t errlen, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, errlen, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int parse_port(const char *device, const char *value, uint16_t *port, char *err, size_t errlen)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(value, &end, 0);
	if (*value < '0' || *value > '9' || *end || errno || !n || n > 0xffff)
		return fail(err, errlen, "--device %s: port=%s is not a port from 1 to 0xffff; give for example port=0xf4",
			    device, value);
	*port = n;
	return 0;
}

/* name= and then file=, a pair for each file. */
static int parse_file(const char *key, const char *value, struct device_args *d, char *err, size_t errlen)
{
	unsigned int n = d->files;

	if (n == ARGS_DEVICE_FILES)
		return fail(err, errlen, "--device fw-cfg: more than %u files; give fewer", ARGS_DEVICE_FILES);
	if (!strcmp(key, "name")) {
		if (!*value || strlen(value) > ARGS_FILE_NAME)
			return fail(err, errlen, "--device fw-cfg: name= has %zu characters; give 1 to %u",
				    strlen(value), ARGS_FILE_NAME);
		strcpy(d->file[n].name, value);
		return 0;
	}
	if (!d->file[n].name[0])
		return fail(err, errlen, "--device fw-cfg: file=%s has no name; give name=NAME before it", value);
	if (!*value || strlen(value) >= PATH_MAX)
		return fail(err, errlen, "--device fw-cfg: file=: %s path; give a file",
			    *value ? "too long a" : "an empty");
	strcpy(d->file[n].path, value);
	d->files++;
	return 0;
}

static int parse_key(enum args_device kind, char *word, struct device_args *d, char *err, size_t errlen)
{
	char *value = strchr(word, '=');

	if (value) {
		*value++ = 0;
		if (kinds[kind].port && !strcmp(word, "port"))
			return parse_port(kinds[kind].name, value, &d->port[kind], err, errlen);
		if (kind == DEV_FW_CFG && (!strcmp(word, "name") || !strcmp(word, "file")))
			return parse_file(word, value, d, err, errlen);
	}
	return fail(err, errlen, "--device %s: it has no key '%s'; `cleave run --device help` lists them",
		    kinds[kind].name, word);
}

int args_device(const char *text, struct device_args *d, char *err, size_t errlen)
{
	char *copy = strdup(text), *next = copy, *word = copy ? strsep(&next, ",") : NULL;
	unsigned int kind;
	int ret = 0;

	if (!copy) {
		fail(err, errlen, "the host is out of memory; free some");
		return -ENOMEM;
	}
	for (kind = 0; kind < DEV_COUNT && strcmp(kinds[kind].name, word); kind++)
		;
	if (kind == DEV_COUNT)
		ret = fail(err, errlen, "--device %s: no such device; `cleave run --device help` lists them", word);
	else if (d->there[kind])
		ret = fail(err, errlen, "--device %s: it is there already; give it once", word);
	if (!ret) {
		d->there[kind] = true;
		d->port[kind] = kinds[kind].port;
	}
	while (!ret && (word = strsep(&next, ",")))
		ret = parse_key(kind, word, d, err, errlen);
	if (!ret && kind == DEV_FW_CFG && d->files < ARGS_DEVICE_FILES && d->file[d->files].name[0])
		ret = fail(err, errlen, "--device fw-cfg: name=%s has no file; give file=FILE behind it",
			   d->file[d->files].name);
	free(copy);
	return ret;
}
