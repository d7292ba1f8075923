// SPDX-License-Identifier: GPL-2.0
/* --net and its keys. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

struct error {
	char *text;
	size_t len;
};

static int fail(struct error *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static int fail(struct error *e, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(e->text, e->len, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* A decimal number up to max and nothing else; 0: it is none. */
static unsigned int number(const char *text, unsigned int max)
{
	size_t n = strspn(text, "0123456789");
	unsigned long value = n && n <= 6 && !text[n] ? strtoul(text, NULL, 10) : 0;

	return value <= max ? value : 0;
}

static int parse_tap(const char *value, struct net_args *a, struct error *e)
{
	size_t n = strlen(value), i;
	bool ok = n && n <= ARGS_INTERFACE && strcmp(value, ".") && strcmp(value, "..");

	for (i = 0; ok && i < n; i++)
		ok = value[i] > ' ' && value[i] <= '~' && !strchr("/:%", value[i]);
	if (!ok)
		return fail(e, "--net tap=%s: no name of an interface; give 1 to %u characters, as `ip tuntap` shows",
			    value, ARGS_INTERFACE);
	strcpy(a->tap, value);
	return 0;
}

static int parse_mac(const char *value, struct net_args *a, struct error *e)
{
	unsigned int i, n = 0;
	bool ok = strlen(value) == 17;

	for (i = 0; ok && i < 6; i++) {
		char byte[3] = { value[3 * i], value[3 * i + 1] }, *end;

		ok = strspn(byte, "0123456789abcdefABCDEF") == 2 && value[3 * i + 2] == (i < 5 ? ':' : 0);
		a->mac[i] = strtoul(byte, &end, 16);
		n |= a->mac[i];
	}
	if (!ok || !n || (a->mac[0] & 1))
		return fail(e, "--net mac=%s: no address of one interface; give one like 02:00:00:12:34:56", value);
	a->has_mac = true;
	return 0;
}

static int parse_mtu(const char *value, struct net_args *a, struct error *e)
{
	a->user.mtu = number(value, NET_MTU_MAX);
	if (a->user.mtu < NET_MTU_MIN)
		return fail(e, "--net mtu=%s: no size of packets; give %u to %u", value, NET_MTU_MIN, NET_MTU_MAX);
	return 0;
}

static int parse_vhost(const char *value, struct net_args *a, struct error *e)
{
	if (!a->tap[0])
		return fail(e, "--net user: vhost= is for tap= alone; leave it out");
	a->vhost = !strcmp(value, "on") ? VHOST_ON : VHOST_OFF;
	if (a->vhost == VHOST_OFF && strcmp(value, "off"))
		return fail(e, "--net vhost=%s: is neither on nor off; give one of them", value);
	return 0;
}

/* tcp:[ADDRESS:]PORT:GUESTPORT */
static int parse_forward(char *value, struct net_args *a, struct error *e)
{
	struct net_forward f = { .address = { htonl(INADDR_LOOPBACK) } };
	char text[64], *rest = text, *word[4] = { 0 };
	unsigned int n = 0;
	bool ok;

	if (a->user.forwards == NET_FORWARDS)
		return fail(e, "--net hostfwd=: more than %u; give fewer", NET_FORWARDS);
	snprintf(text, sizeof(text), "%s", value);
	while (rest && n < 4)
		word[n++] = strsep(&rest, ":");
	ok = strlen(value) < sizeof(text) && !rest && n >= 3 && !strcmp(word[0], "tcp") &&
	     (n == 3 || inet_pton(AF_INET, word[1], &f.address) == 1);
	if (ok) {
		f.port = number(word[n - 2], UINT16_MAX);
		f.guest_port = number(word[n - 1], UINT16_MAX);
	}
	if (!ok || !f.port || !f.guest_port)
		return fail(e, "--net hostfwd=%s: is not tcp:[ADDRESS:]PORT:GUESTPORT; give for example hostfwd=tcp:2222:22",
			    value);
	a->user.forward[a->user.forwards++] = f;
	return 0;
}

static int parse_key(char *word, struct net_args *a, struct error *e)
{
	char *value = strchr(word, '=');

	if (!value)
		return fail(e, "--net: %s is no key with a value; give mac=, mtu=, for tap vhost=, for user hostfwd=, dns=, host=, restrict=",
			    *word ? word : "an empty word");
	*value++ = 0;
	if (!strcmp(word, "mac"))
		return parse_mac(value, a, e);
	if (!strcmp(word, "mtu"))
		return parse_mtu(value, a, e);
	if (!strcmp(word, "vhost"))
		return parse_vhost(value, a, e);
	if (strcmp(word, "hostfwd") && strcmp(word, "dns") && strcmp(word, "host") && strcmp(word, "restrict"))
		return fail(e, "--net: %s= is none of mac=, mtu=, vhost=, hostfwd=, dns=, host=, restrict=; give one of these",
			    word);
	if (a->tap[0])
		return fail(e, "--net tap=%s: %s= is for user alone; leave it out", a->tap, word);
	if (!strcmp(word, "hostfwd"))
		return parse_forward(value, a, e);
	if (!strcmp(word, "dns")) {
		if (inet_pton(AF_INET, value, &a->user.dns) != 1 || !a->user.dns.s_addr)
			return fail(e, "--net dns=%s: no IPv4 address; give one of a name server's", value);
		return 0;
	}
	if (strcmp(value, "on") && strcmp(value, "off"))
		return fail(e, "--net %s=%s: is neither on nor off; give one of them", word, value);
	if (!strcmp(word, "host"))
		a->user.alone = !strcmp(value, "off");
	else
		a->user.restricted = !strcmp(value, "on");
	return 0;
}

int args_net(const char *text, struct virtio_args *v, char *err, size_t errlen)
{
	struct net_args *a = &v->net[v->nets];
	struct error e = { err, errlen };
	char *copy, *next, *word;
	unsigned int i;
	int ret = 0;

	if (v->nets == ARGS_NETS)
		return fail(&e, "--net: more than %u interfaces; give fewer", ARGS_NETS);
	copy = strdup(text);
	if (!copy)
		return fail(&e, "--net: the host is out of memory; free some");
	next = copy;
	memset(a, 0, sizeof(*a));
	word = strsep(&next, ",");
	if (!strncmp(word, "tap=", 4))
		ret = parse_tap(word + 4, a, &e);
	else if (strcmp(word, "user"))
		ret = fail(&e, "--net %s: is neither user nor tap=NAME; give one of them first", word);
	while (!ret && (word = strsep(&next, ",")))
		ret = parse_key(word, a, &e);
	free(copy);
	for (i = 0; !ret && a->tap[0] && i < v->nets; i++)
		if (!strcmp(v->net[i].tap, a->tap))
			ret = fail(&e, "--net tap=%s: is given twice; leave one out", a->tap);
	if (!ret)
		v->nets++;
	return ret;
}
