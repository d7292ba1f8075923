// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>
#include <string.h>

#include "net/net.h"
#include "service.h"

#define CONNECTIONS	32
#define BUFFERED	(4 * METADATA_REQUEST_MAX)	/* that a client sends ahead of its answers */

struct connection {
	const struct metadata *m;
	unsigned int *open;
	struct metadata_reply reply;	/* data: or NULL */
	size_t sent, len;
	bool ends;
	char in[BUFFERED];
};

struct service {
	const struct metadata *m;
	unsigned int open;
};

static void *on_open(void *ctx)
{
	struct service *s = ctx;
	struct connection *c = s->open < CONNECTIONS ? calloc(1, sizeof(*c)) : NULL;

	if (!c)
		return NULL;
	c->m = s->m;
	c->open = &s->open;
	s->open++;
	return c;
}

static void on_close(void *conn)
{
	struct connection *c = conn;

	--*c->open;
	free(c->reply.data);
	free(c);
}

/* The next answer, if a whole request is there. False: it ends. */
static bool answer(struct connection *c)
{
	ssize_t n = metadata_answer(c->m, c->in, c->len, &c->reply);

	if (n < 0)
		return false;
	if (!n)
		return true;
	c->len -= n;
	memmove(c->in, c->in + n, c->len);
	c->sent = 0;
	c->ends = c->reply.close;
	return true;
}

static ssize_t on_input(void *conn, const void *data, size_t len, void *out, size_t room)
{
	struct connection *c = conn;
	size_t n;

	if (c->ends && !c->reply.data)
		return -1;
	if (!c->ends) {
		if (len > BUFFERED - c->len)
			return -1;
		if (len)
			memcpy(c->in + c->len, data, len);
		c->len += len;
	}
	if (!c->reply.data && !answer(c))
		return -1;
	if (!c->reply.data)
		return 0;
	n = c->reply.len - c->sent < room ? c->reply.len - c->sent : room;
	memcpy(out, c->reply.data + c->sent, n);
	c->sent += n;
	if (c->sent == c->reply.len) {
		free(c->reply.data);
		c->reply.data = NULL;
	}
	return n;
}

void service_init(struct net_service *s, const struct metadata *m)
{
	static struct service service;

	service.m = m;
	*s = (struct net_service){ .open = on_open, .input = on_input, .close = on_close, .ctx = &service };
}
