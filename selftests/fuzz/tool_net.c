// SPDX-License-Identifier: GPL-2.0
/*
 * What a guest's frames meet behind its network device: addresses put in and out, TCP inside the
 * tool, and libslirp by way of the back end, which reaches nothing. Input: frames, each behind
 * its length and a byte of time.
 */
#include "net/inside.h"
#include "net/net.h"
#include "net/rewrite.h"
#include "tool.h"

static unsigned int open_count;

static void *on_open(void *ctx)
{
	open_count++;
	return ctx;
}

/* As much as the client's first byte says, or an end. */
static ssize_t on_input(void *conn, const void *data, size_t len, void *out, size_t room)
{
	size_t n = len ? *(const uint8_t *)data * 64 : 0;

	PROMISE(room >= NET_SERVICE_ROOM);
	if (n == 64)
		return -1;
	memset(out, 'a', n < room ? n : room);
	return n < room ? n : room;
}

static void on_close(void *conn)
{
	PROMISE(open_count--);
}

static void inside(struct net_inside *t, const uint8_t *frame, size_t len, uint64_t now)
{
	uint8_t out[NET_INSIDE_FRAME];
	unsigned int i;
	size_t n;

	if (net_inside_takes(frame, len))
		net_inside_input(t, frame, len, now);
	PROMISE(open_count <= NET_INSIDE_CONNECTIONS);
	for (i = 0; (n = net_inside_output(t, out, now)); i++)
		PROMISE(n >= 42 && n <= sizeof(out) && i < 4000);
	PROMISE(net_inside_timeout(t, now) != 0);
}

static void rewrite(uint8_t *frame, size_t len)
{
	struct ipv4 ip;

	if (!ipv4_parse(frame, len, &ip))
		return;
	ipv4_set_from(&ip, NET_SERVICE_ADDRESS);
	ipv4_set_to(&ip, 0xffffffff);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct net_service service = { on_open, on_input, on_close, &open_count };
	static const struct net_user user = { .restricted = true, .dns = { 0x0100007f } };
	struct input in = { data, size };
	struct net_inside *t = net_inside_new(&service);
	struct net_backend *b;
	uint64_t now = 1;
	char err[200];

	PROMISE(t && !net_user(&user, &b, err, sizeof(err)));
	while (in.left) {
		size_t len = take8(&in);
		uint8_t *frame, *copy = malloc(len ?: 1), got[2000];
		struct iovec iov = { NULL, NET_HEADER + len }, room = { got, sizeof(got) };

		now += take8(&in) * 8;
		PROMISE(copy);
		memset(copy, 0, len ?: 1);
		take(&in, copy, len);
		inside(t, copy, len, now);
		frame = calloc(1, NET_HEADER + len);
		PROMISE(frame);
		memcpy(frame + NET_HEADER, copy, len);
		iov.iov_base = frame;
		if (len >= 14)
			b->ops->send(b, &iov, 1);
		while (b->ops->receive(b, &room, 1) > 0)
			;
		rewrite(copy, len);
		free(copy);
		free(frame);
	}
	b->ops->close(b);
	net_inside_free(t);
	PROMISE(!open_count);
	return 0;
}
