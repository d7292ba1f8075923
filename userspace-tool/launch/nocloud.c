// SPDX-License-Identifier: GPL-2.0
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nocloud.h"

#define LOWER	"abcdefghijklmnopqrstuvwxyz"
#define UPPER	"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS	"0123456789"

bool nocloud_hostname(const char *name)
{
	size_t n = strspn(name, LOWER UPPER DIGITS "-");

	return n && !name[n] && n <= NOCLOUD_HOST_MAX && *name != '-' && name[n - 1] != '-';
}

bool nocloud_instance_id(const char *id)
{
	size_t n = strspn(id, LOWER UPPER DIGITS "._-");

	return n && !id[n] && n <= NOCLOUD_HOST_MAX && *id != '.' && *id != '-';
}

char *nocloud_meta_data(const char *instance_id, const char *hostname)
{
	char *text;

	if (!nocloud_instance_id(instance_id) || !nocloud_hostname(hostname))
		return NULL;
	/* Quoted, as YAML takes some names for numbers or truths. */
	if (asprintf(&text, "{ \"instance-id\": \"%s\", \"local-hostname\": \"%s\" }\n", instance_id,
		     hostname) < 0)
		return NULL;
	return text;
}

/* A type, and the key in base64; what is behind it is a comment. */
static bool is_key(const char *line, size_t n)
{
	static const char *const types[] = { "ssh-", "ecdsa-", "sk-ssh-", "sk-ecdsa-" };
	size_t i, type, blob;

	for (i = 0; i < n; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			return false;
	for (i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (n > strlen(types[i]) && !memcmp(line, types[i], strlen(types[i])))
			break;
	if (i == sizeof(types) / sizeof(types[0]))
		return false;
	for (type = 0; type < n && line[type] != ' '; type++)
		;
	for (blob = type + 1; blob < n && line[blob] != ' '; blob++)
		if (!strchr(LOWER UPPER DIGITS "+/=", line[blob]))
			return false;
	return blob > type + 16;
}

/* As YAML and JSON quote it. */
static void put_quoted(FILE *f, const char *line, size_t n)
{
	fputs("  - \"", f);
	for (; n--; line++) {
		if (*line == '"' || *line == '\\')
			fputc('\\', f);
		fputc(*line, f);
	}
	fputs("\"\n", f);
}

/* How many keys; -1: a line is none, and err says which. */
static int put_keys(FILE *f, const char *keys, size_t len, char *err, size_t errlen)
{
	const char *end = keys + len;
	unsigned int line = 0;
	int count = 0;

	while (keys < end) {
		const char *nl = memchr(keys, '\n', end - keys), *next = nl ? nl + 1 : end;
		size_t n = (nl ? nl : end) - keys;

		line++;
		while (n && (keys[n - 1] == '\r' || keys[n - 1] == ' '))
			n--;
		if (n && *keys != '#') {
			if (!is_key(keys, n)) {
				snprintf(err, errlen, "line %u is no public key of SSH, as ssh-keygen writes to a .pub file",
					 line);
				return -1;
			}
			put_quoted(f, keys, n);
			count++;
		}
		keys = next;
	}
	return count;
}

char *nocloud_user_data(const char *keys, size_t len, char *err, size_t errlen)
{
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	int count = -1;

	snprintf(err, errlen, "no memory");
	if (f) {
		fputs("#cloud-config\nssh_authorized_keys:\n", f);
		count = put_keys(f, keys, len, err, errlen);
		if (!count)
			snprintf(err, errlen, "no key in it");
		if (fclose(f))
			count = -1;
	}
	if (count > 0)
		return text;
	free(text);
	return NULL;
}
