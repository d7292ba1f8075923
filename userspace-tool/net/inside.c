// SPDX-License-Identifier: GPL-2.0
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "inside.h"
#include "rewrite.h"

#define IP_HEADER	20
#define TCP_HEADER	20
#define HEADERS		(ETHERNET_HEADER + IP_HEADER + TCP_HEADER)
#define ARP_FRAME	42
#define MSS		(NET_INSIDE_FRAME - HEADERS)
#define MSS_DEFAULT	536
#define MSS_MIN		64
#define OUT		65536		/* bytes of an answer that are not acknowledged */
#define WINDOW		32768
#define RESEND_MS	200		/* the first time */
#define RESENDS		8
#define REPLIES		8

#define FIN		0x01
#define SYN		0x02
#define RST		0x04
#define PSH		0x08
#define ACK		0x10

struct connection {
	void *service;			/* NULL: the entry is free */
	uint8_t theirs[6], ours[6];
	uint32_t address;
	uint16_t port;
	bool established;		/* our SYN is acknowledged */
	bool more;			/* the service has more to answer */
	bool ending, ended;		/* FIN is behind the last byte; and acknowledged */
	bool they_ended;
	bool owes;			/* an acknowledgement */
	uint32_t next;			/* of theirs */
	uint32_t first, sent;		/* of ours: not acknowledged; not sent */
	uint32_t window;
	unsigned int mss, resends;
	uint64_t resend_at, used_at;
	size_t len;			/* of out, whose first byte is number first */
	uint8_t *out;
};

/* To what is no connection. */
struct reply {
	size_t len;
	uint8_t frame[HEADERS];
};

struct net_inside {
	struct net_service service;
	uint32_t number;		/* of the next connection's first byte */
	unsigned int turn, replies;
	struct reply reply[REPLIES];
	struct connection connection[NET_INSIDE_CONNECTIONS];
};

struct segment {
	const uint8_t *frame;
	uint32_t address, number, acknowledged;
	uint16_t port, window;
	uint8_t flags;
	unsigned int mss;
	const uint8_t *data;
	size_t len;
};

/* ---- frames ------------------------------------------------------------------------------ */

static uint32_t add_up(uint32_t sum, const uint8_t *p, size_t len)
{
	for (; len > 1; p += 2, len -= 2)
		sum += get16(p);
	if (len)
		sum += p[0] << 8;
	return sum;
}

static uint16_t fold(uint32_t sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

struct place {
	const uint8_t *theirs, *ours;
	uint32_t address;
	uint16_t port, to_port;
};

/* Headers around a segment of len bytes, which is at frame + HEADERS. */
static size_t build(uint8_t *frame, const struct place *to, uint32_t number, uint32_t acknowledged, uint8_t flags,
		    uint16_t window, size_t len)
{
	uint8_t *ip = frame + ETHERNET_HEADER, *tcp = ip + IP_HEADER;

	memcpy(frame, to->theirs, 6);
	memcpy(frame + 6, to->ours, 6);
	put16(frame + 12, ETHERNET_IPV4);
	memset(ip, 0, IP_HEADER + TCP_HEADER);
	ip[0] = 0x45;
	put16(ip + 2, IP_HEADER + TCP_HEADER + len);
	put16(ip + 6, 0x4000);	/* not to be cut */
	ip[8] = 64;
	ip[9] = IPPROTO_TCP;
	put32(ip + 12, NET_SERVICE_ADDRESS);
	put32(ip + 16, to->address);
	put16(ip + 10, fold(add_up(0, ip, IP_HEADER)));
	put16(tcp, to->to_port);
	put16(tcp + 2, to->port);
	put32(tcp + 4, number);
	put32(tcp + 8, acknowledged);
	/* MSS, our only option, is 4 bytes of what is behind the header. */
	tcp[12] = (TCP_HEADER + (flags & SYN ? 4 : 0)) / 4 << 4;
	tcp[13] = flags;
	put16(tcp + 14, window);
	put16(tcp + 16, fold(add_up(add_up(IPPROTO_TCP + TCP_HEADER + len, ip + 12, 8), tcp, TCP_HEADER + len)));
	return HEADERS + len;
}

static struct reply *new_reply(struct net_inside *t)
{
	return t->replies < REPLIES ? &t->reply[t->replies++] : NULL;
}

static void refuse(struct net_inside *t, const struct segment *s, uint16_t to_port)
{
	const struct place to = { s->frame + 6, s->frame, s->address, s->port, to_port };
	uint32_t length = s->len + (s->flags & SYN ? 1 : 0) + (s->flags & FIN ? 1 : 0);
	struct reply *r = s->flags & RST ? NULL : new_reply(t);

	if (!r)
		return;
	if (s->flags & ACK)
		r->len = build(r->frame, &to, s->acknowledged, 0, RST, 0, 0);
	else
		r->len = build(r->frame, &to, 0, s->number + length, RST | ACK, 0, 0);
}

/* Who looks for the address on its own wire finds it, by a locally administered MAC address. */
static void answer_arp(struct net_inside *t, const uint8_t *frame)
{
	static const uint8_t mac[6] = { 0x02, 0x00, 0xa9, 0xfe, 0xa9, 0xfe };
	struct reply *r = new_reply(t);

	if (!r)
		return;
	memcpy(r->frame, frame + 6, 6);
	memcpy(r->frame + 6, mac, 6);
	memcpy(r->frame + 12, frame + 12, 8);
	put16(r->frame + 20, 2);
	memcpy(r->frame + 22, mac, 6);
	put32(r->frame + 28, NET_SERVICE_ADDRESS);
	memcpy(r->frame + 32, frame + 22, 10);
	r->len = ARP_FRAME;
}

static bool is_arp(const uint8_t *frame, size_t len)
{
	static const uint8_t request[8] = { 0, 1, 8, 0, 6, 4, 0, 1 };	/* of IPv4 over Ethernet */

	return len >= ARP_FRAME && ethernet_type(frame, len) == ETHERNET_ARP && !memcmp(frame + 14, request, 8) &&
	       get32(frame + 38) == NET_SERVICE_ADDRESS;
}

bool net_inside_takes(const uint8_t *head, size_t len)
{
	return is_arp(head, len) || (len >= ETHERNET_HEADER + IP_HEADER && ethernet_type(head, len) == ETHERNET_IPV4 &&
				     get32(head + 30) == NET_SERVICE_ADDRESS);
}

/* ---- connections --------------------------------------------------------------------------- */

static void drop(struct net_inside *t, struct connection *c)
{
	t->service.close(c->service);
	free(c->out);
	memset(c, 0, sizeof(*c));
}

static bool has_room(const struct connection *c)
{
	return !c->more && !c->ending && OUT - c->len >= NET_SERVICE_ROOM;
}

static void serve(struct net_inside *t, struct connection *c, const uint8_t *data, size_t len)
{
	ssize_t n;

	do {
		n = t->service.input(c->service, data, len, c->out + c->len, OUT - c->len);
		if (n < 0 || (size_t)n > OUT - c->len) {
			c->ending = true;
			n = 0;
		}
		c->len += n;
		len = 0;
	} while (n && OUT - c->len >= NET_SERVICE_ROOM);
	c->more = n;
}

static struct connection *find(struct net_inside *t, const struct segment *s)
{
	unsigned int i;

	for (i = 0; i < NET_INSIDE_CONNECTIONS; i++) {
		struct connection *c = &t->connection[i];

		if (c->service && c->address == s->address && c->port == s->port)
			return c;
	}
	return NULL;
}

/* A free entry, or that of the connection that has done nothing for longest. */
static struct connection *entry(struct net_inside *t)
{
	struct connection *c = &t->connection[0];
	unsigned int i;

	for (i = 0; i < NET_INSIDE_CONNECTIONS; i++) {
		if (!t->connection[i].service)
			return &t->connection[i];
		if (t->connection[i].used_at < c->used_at)
			c = &t->connection[i];
	}
	drop(t, c);
	return c;
}

static void begin(struct net_inside *t, const struct segment *s, uint64_t now)
{
	struct connection *c = entry(t);

	c->out = malloc(OUT);
	c->service = c->out ? t->service.open(t->service.ctx) : NULL;
	if (!c->service) {
		free(c->out);
		c->out = NULL;
		refuse(t, s, NET_SERVICE_PORT);
		return;
	}
	memcpy(c->ours, s->frame, 6);
	memcpy(c->theirs, s->frame + 6, 6);
	c->address = s->address;
	c->port = s->port;
	c->next = s->number + 1;
	c->first = c->sent = t->number;
	t->number += 1 << 24;
	c->window = s->window;
	c->mss = s->mss < MSS_MIN ? MSS_MIN : s->mss > MSS ? MSS : s->mss;
	c->used_at = now;
	c->resend_at = now + RESEND_MS;
}

/* How far the sequence goes: behind SYN, the bytes that there are, and FIN. */
static uint32_t end_of(const struct connection *c)
{
	if (!c->established)
		return c->first + 1;
	return c->first + c->len + (c->ending && !c->more && !c->ended ? 1 : 0);
}

/* What they have has gone from out. */
static void acknowledged(struct net_inside *t, struct connection *c, const struct segment *s, uint64_t now)
{
	uint32_t by = s->acknowledged - c->first;

	c->window = s->window;
	if (!by || by > end_of(c) - c->first)
		return;
	if (!c->established) {
		c->established = true;
	} else {
		c->ended = c->ended || by > c->len;
		if (by > c->len)
			by = c->len;
		memmove(c->out, c->out + by, c->len - by);
		c->len -= by;
	}
	c->first = s->acknowledged;
	if ((int32_t)(c->sent - c->first) < 0)
		c->sent = c->first;
	c->resends = 0;
	c->resend_at = now + RESEND_MS;
	if (c->more && OUT - c->len >= NET_SERVICE_ROOM) {
		serve(t, c, NULL, 0);
		c->owes = true;		/* the window may be open again */
	}
}

/* Bytes that come in order; others come again. */
static void received(struct net_inside *t, struct connection *c, const struct segment *s)
{
	uint32_t old = c->next - s->number;
	size_t len = s->len;

	if (!len && !(s->flags & FIN))
		return;
	c->owes = true;
	if (old > len || c->they_ended)
		return;
	if (old < len && c->ending) {
		refuse(t, s, NET_SERVICE_PORT);
		drop(t, c);
		return;
	}
	if (old < len && !has_room(c))
		return;
	if (old < len)
		serve(t, c, s->data + old, len - old);
	c->next += len - old;
	if (!(s->flags & FIN))
		return;
	c->next++;
	c->they_ended = true;
	c->ending = true;	/* behind what is still to be answered */
}

static void handle(struct net_inside *t, const struct segment *s, uint64_t now)
{
	struct connection *c = find(t, s);

	if (c && (s->flags & RST)) {
		if (s->number == c->next)
			drop(t, c);
		return;
	}
	/* The peer has begun anew; or did not get our answer to its SYN. */
	if (c && (s->flags & SYN) && s->number + 1 != c->next) {
		drop(t, c);
		c = NULL;
	}
	if (s->flags & SYN) {
		if (!c && !(s->flags & (ACK | RST)))
			begin(t, s, now);
		else if (c)
			c->owes = true;
		return;
	}
	if (!c || !(s->flags & ACK)) {
		refuse(t, s, NET_SERVICE_PORT);
		return;
	}
	c->used_at = now;
	acknowledged(t, c, s, now);
	if (c->established)
		received(t, c, s);
}

/* ---- input -------------------------------------------------------------------------------------- */

static unsigned int find_mss(const uint8_t *p, const uint8_t *end)
{
	while (p < end && *p) {
		if (*p == 1) {
			p++;
			continue;
		}
		if (end - p < 2 || p[1] < 2 || end - p < p[1])
			break;
		if (*p == 2 && p[1] == 4)
			return get16(p + 2);
		p += p[1];
	}
	return MSS_DEFAULT;
}

void net_inside_input(struct net_inside *t, const uint8_t *frame, size_t len, uint64_t now_ms)
{
	struct segment s = { .frame = frame };
	const uint8_t *tcp, *end;
	struct ipv4 ip;
	size_t header;

	if (is_arp(frame, len)) {
		answer_arp(t, frame);
		return;
	}
	/* It is only looked at. The link is memory: checksums may be left to it. */
	if (!ipv4_parse((uint8_t *)frame, len, &ip) || ip.fragment || ip.protocol != IPPROTO_TCP || !ip.checksum)
		return;
	tcp = ip.checksum - 16;
	end = ip.packet + get16(ip.packet + 2);
	header = (tcp[12] >> 4) * 4;
	if (header < TCP_HEADER || header > (size_t)(end - tcp))
		return;
	s.address = ip.from;
	s.port = ip.from_port;
	s.number = get32(tcp + 4);
	s.acknowledged = get32(tcp + 8);
	s.flags = tcp[13];
	s.window = get16(tcp + 14);
	s.data = tcp + header;
	s.len = end - s.data;
	s.mss = find_mss(tcp + TCP_HEADER, s.data);
	if (ip.to_port == NET_SERVICE_PORT)
		handle(t, &s, now_ms);
	else
		refuse(t, &s, ip.to_port);
}

/* ---- output ------------------------------------------------------------------------------------- */

/* All that was sent has not come, or there was no window: once more, from the first byte. */
static bool resend(struct net_inside *t, struct connection *c, uint64_t now)
{
	if (c->first == end_of(c) || now < c->resend_at)
		return true;
	if (c->resends == RESENDS) {
		drop(t, c);
		return false;
	}
	c->sent = c->first;
	c->resend_at = now + ((uint64_t)RESEND_MS << ++c->resends);
	return true;
}

static size_t output(struct connection *c, uint8_t *frame, uint64_t now)
{
	const struct place to = { c->theirs, c->ours, c->address, c->port, NET_SERVICE_PORT };
	uint16_t window = has_room(c) ? WINDOW : 0;
	uint32_t from = c->sent, done = from - c->first, most = c->window, len = 0;
	uint8_t flags = ACK;

	/* One byte asks for the window, each time that it is to be sent again. */
	if (!most && c->resends)
		most = 1;
	if (!c->established) {
		if (c->sent != c->first && !c->owes)
			return 0;
		frame[HEADERS] = 2;
		frame[HEADERS + 1] = 4;
		put16(frame + HEADERS + 2, MSS);
		c->owes = false;
		c->sent = c->first + 1;
		return build(frame, &to, c->first, c->next, SYN | ACK, WINDOW, 4);
	}
	if (done < c->len && done < most) {
		len = c->len - done < most - done ? c->len - done : most - done;
		if (len > c->mss)
			len = c->mss;
		memcpy(frame + HEADERS, c->out + done, len);
		flags |= PSH;
	}
	if (done + len == c->len && c->ending && !c->more && !c->ended)
		flags |= FIN;
	if (!len && !(flags & FIN) && !c->owes)
		return 0;
	if (c->sent == c->first && !c->resends)
		c->resend_at = now + RESEND_MS;
	c->owes = false;
	c->sent += len + (flags & FIN ? 1 : 0);
	return build(frame, &to, from, c->next, flags, window, len);
}

size_t net_inside_output(struct net_inside *t, uint8_t frame[NET_INSIDE_FRAME], uint64_t now_ms)
{
	unsigned int i;
	size_t len;

	if (t->replies) {
		len = t->reply[--t->replies].len;
		memcpy(frame, t->reply[t->replies].frame, len);
		return len;
	}
	for (i = 0; i < NET_INSIDE_CONNECTIONS; i++) {
		struct connection *c = &t->connection[(t->turn + i) % NET_INSIDE_CONNECTIONS];

		if (!c->service || !resend(t, c, now_ms))
			continue;
		len = output(c, frame, now_ms);
		if (c->ended && c->they_ended)
			drop(t, c);
		if (len) {
			t->turn += i;
			return len;
		}
	}
	return 0;
}

int net_inside_timeout(const struct net_inside *t, uint64_t now_ms)
{
	uint64_t first = UINT64_MAX;
	unsigned int i;

	for (i = 0; i < NET_INSIDE_CONNECTIONS; i++) {
		const struct connection *c = &t->connection[i];

		if (c->service && c->first != end_of(c) && c->resend_at < first)
			first = c->resend_at;
	}
	if (first == UINT64_MAX)
		return -1;
	return first > now_ms ? (int)(first - now_ms) : 0;
}

struct net_inside *net_inside_new(const struct net_service *service)
{
	struct net_inside *t = calloc(1, sizeof(*t));

	if (t) {
		t->service = *service;
		t->number = 1;
	}
	return t;
}

void net_inside_free(struct net_inside *t)
{
	unsigned int i;

	for (i = 0; i < NET_INSIDE_CONNECTIONS; i++)
		if (t->connection[i].service)
			drop(t, &t->connection[i]);
	free(t);
}
