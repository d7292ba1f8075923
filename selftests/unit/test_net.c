// SPDX-License-Identifier: GPL-2.0
/* What lies behind a network device: addresses that are put in and out, names, and TCP inside. */
#include <arpa/inet.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"
#include "../../userspace-tool/net/user.c"
#include "net/inside.h"

static uint16_t sum(const uint8_t *p, size_t len, uint32_t start)
{
	for (; len > 1; p += 2, len -= 2)
		start += get16(p);
	if (len)
		start += *p << 8;
	while (start >> 16)
		start = (start & 0xffff) + (start >> 16);
	return ~start;
}

/* Of TCP or UDP at p, n bytes, in the packet ip: 0 if it is right. */
static uint16_t sum_of(const uint8_t *ip, const uint8_t *p, size_t n)
{
	return sum(p, n, ip[9] + n + get16(ip + 12) + get16(ip + 14) + get16(ip + 16) + get16(ip + 18));
}

/* A frame with n bytes behind TCP's or UDP's header; its bytes. options: of IP, in words. */
static size_t make_frame(uint8_t *f, uint8_t protocol, uint32_t from, uint32_t to, uint16_t from_port, uint16_t to_port,
		   size_t n, unsigned int options)
{
	uint8_t *ip = f + 14, *p = ip + 20 + 4 * options;
	size_t header = protocol == IPPROTO_TCP ? 20 : 8;

	memset(f, 0, 14 + 20 + 4 * options + header);
	put16(f + 12, ETHERNET_IPV4);
	ip[0] = 0x45 + options;
	memset(ip + 20, 1, 4 * options);
	put16(ip + 2, 20 + 4 * options + header + n);
	ip[8] = 64;
	ip[9] = protocol;
	put32(ip + 12, from);
	put32(ip + 16, to);
	put16(ip + 10, sum(ip, 20 + 4 * options, 0));
	put16(p, from_port);
	put16(p + 2, to_port);
	if (protocol == IPPROTO_TCP)
		p[12] = 0x50;
	else
		put16(p + 4, 8 + n);
	put16(p + (protocol == IPPROTO_TCP ? 16 : 6), sum_of(ip, p, header + n));
	return 14 + 20 + 4 * options + header + n;
}

/* ---- rewriting --------------------------------------------------------------------------- */

UNIT_TEST(addresses_and_their_checksums)
{
	static const uint32_t address[] = { 0, 0xffffffff, 0x0a000203, 0x7f000035, 0xffff0000, 0x0000ffff, 0x80000001 };
	uint8_t f[256];
	struct ipv4 ip;
	unsigned int i, j, k;

	for (i = 0; i < 7 * 7 * 64; i++) {
		uint8_t protocol = i & 1 ? IPPROTO_TCP : IPPROTO_UDP;
		size_t n = i % 33, len;

		for (j = 0; j < sizeof(f); j++)
			f[j] = j * i;
		j = i / 64 % 7;
		k = i / 64 / 7;
		len = make_frame(f, protocol, address[j], 0x01020304, 1000 + i, 53, n, i % 3);
		CHECK(ipv4_parse(f, len, &ip));
		CHECK(ip.from == address[j] && ip.to == 0x01020304 && ip.from_port == 1000 + i && ip.to_port == 53);
		ipv4_set_from(&ip, address[k]);
		ipv4_set_to(&ip, address[j]);
		CHECK(get32(f + 26) == address[k] && get32(f + 30) == address[j]);
		if (sum(f + 14, (f[14] & 15) * 4, 0) || sum_of(f + 14, ip.checksum - (i & 1 ? 16 : 6), (i & 1 ? 20 : 8) + n))
			unit_fail("from %x to %x: checksum", address[j], address[k]);
	}
	/* UDP without one stays without. */
	make_frame(f, IPPROTO_UDP, 1, 2, 3, 4, 5, 0);
	put16(f + 40, 0);
	CHECK(ipv4_parse(f, 47, &ip));
	ipv4_set_to(&ip, 77);
	CHECK(!get16(f + 40) && !sum(f + 14, 20, 0));
}

UNIT_TEST(what_is_no_packet)
{
	uint8_t f[256], *exact;
	struct ipv4 ip;
	size_t len, i;

	len = make_frame(f, IPPROTO_TCP, 1, 2, 3, 4, 8, 0);
	for (i = 0; i < len; i++) {
		exact = malloc(i ?: 1);
		memcpy(exact, f, i);
		CHECK(!ipv4_parse(exact, i, &ip));
		free(exact);
	}
	f[14] = 0x44;
	CHECK(!ipv4_parse(f, len, &ip));
	f[14] = 0x65;
	CHECK(!ipv4_parse(f, len, &ip));
	f[14] = 0x4f;
	CHECK(!ipv4_parse(f, len, &ip));
	/* Too short for ports, and a fragment that has none: no ports, no checksum. */
	make_frame(f, IPPROTO_UDP, 1, 2, 3, 4, 0, 0);
	put16(f + 16, 27);
	CHECK(ipv4_parse(f, 41, &ip) && !ip.checksum && !ip.from_port);
	make_frame(f, IPPROTO_UDP, 1, 2, 3, 4, 0, 0);
	put16(f + 20, 1);
	CHECK(ipv4_parse(f, 42, &ip) && !ip.checksum && ip.fragment);
}

/* ---- names -------------------------------------------------------------------------------- */

UNIT_TEST(resolv_conf)
{
	static const struct {
		const char *text;
		uint32_t address;
	} rows[] = {
		{ "", 0 },
		{ "search example.org\nnameserver 10.1.2.3\nnameserver 10.1.2.4\n", 0x0a010203 },
		{ "nameserver fe80::1%eth0\nnameserver ::1\nnameserver\t127.0.0.53", 0x7f000035 },
		{ "# nameserver 1.2.3.4\n;nameserver 1.2.3.4\nnameserver nonsense\n", 0 },
	};
	char path[] = "/tmp/test_net.XXXXXX";
	int fd = mkstemp(path);
	unsigned int i;

	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		CHECK(!ftruncate(fd, 0) && pwrite(fd, rows[i].text, strlen(rows[i].text), 0) == (ssize_t)strlen(rows[i].text));
		CHECK_EQ(net_name_server(path), rows[i].address);
	}
	unlink(path);
	close(fd);
	CHECK_EQ(net_name_server(path), 0);
}

UNIT_TEST(name_server)
{
	static struct user u = { .dns = 0x7f000035, .limit = 100 };
	unsigned int bit;
	uint8_t f[256];
	size_t len;

	len = make_frame(f, IPPROTO_UDP, GUEST, NAME_SERVER, 4000, 53, 20, 0);
	CHECK(passes(&u, f, len));
	CHECK(get32(f + 30) == 0x7f000035 && !sum_of(f + 14, f + 34, 28));
	/* To who has asked by that address comes the answer from it; to nobody else. */
	len = make_frame(f, IPPROTO_UDP, 0x7f000035, GUEST, 53, 4000, 20, 0);
	from_name_server(&u, f, len);
	CHECK(get32(f + 26) == NAME_SERVER && !sum_of(f + 14, f + 34, 28));
	len = make_frame(f, IPPROTO_TCP, 0x7f000035, GUEST, 53, 4000, 20, 0);
	from_name_server(&u, f, len);
	CHECK_EQ(get32(f + 26), 0x7f000035);
	len = make_frame(f, IPPROTO_UDP, 0x7f000035, GUEST, 54, 4000, 20, 0);
	from_name_server(&u, f, len);
	CHECK_EQ(get32(f + 26), 0x7f000035);
	/* Never to libslirp by that address: it would open a file. */
	len = make_frame(f, IPPROTO_TCP, GUEST, NAME_SERVER, 4000, 80, 20, 0);
	CHECK(!passes(&u, f, len));
	len = make_frame(f, IPPROTO_UDP, GUEST, NAME_SERVER, 4000, 53, 20, 0);
	put16(f + 20, 0x2000);
	CHECK(!passes(&u, f, len));
	len = make_frame(f, IPPROTO_ICMP, GUEST, HOST, 0, 0, 20, 0);
	CHECK(passes(&u, f, len));
	put16(f + 20, 0x4000);
	CHECK(passes(&u, f, len));
	for (bit = 0; bit < 16; bit++) {
		put16(f + 20, 1 << bit);
		CHECK_EQ(passes(&u, f, len), bit == 14);
	}
	u.dns = 0;
	len = make_frame(f, IPPROTO_UDP, GUEST, NAME_SERVER, 4000, 53, 20, 0);
	CHECK(!passes(&u, f, len));
	/* The guest's own choice of the same server is left alone. */
	u.dns = 0x08080808;
	len = make_frame(f, IPPROTO_UDP, GUEST, NAME_SERVER, 5000, 53, 20, 0);
	CHECK(passes(&u, f, len));
	len = make_frame(f, IPPROTO_UDP, GUEST, 0x08080808, 5000, 53, 20, 0);
	CHECK(passes(&u, f, len));
	len = make_frame(f, IPPROTO_UDP, 0x08080808, GUEST, 53, 5000, 20, 0);
	from_name_server(&u, f, len);
	CHECK_EQ(get32(f + 26), 0x08080808);
	/* IPv6, and the host's loopback, do not pass; nor new connections beyond the limit. */
	put16(f + 12, 0x86dd);
	CHECK(!passes(&u, f, len));
	len = make_frame(f, IPPROTO_TCP, GUEST, 0x7f000001, 4000, 80, 0, 0);
	CHECK(!passes(&u, f, len));
	u.sockets = 100;
	len = make_frame(f, IPPROTO_TCP, GUEST, 0x08080808, 4000, 80, 0, 0);
	CHECK(passes(&u, f, len));
	f[47] = 2;
	CHECK(!passes(&u, f, len));
	u.sockets = 99;
	CHECK(passes(&u, f, len));
}

/* A port of the host's that is taken is told. */
UNIT_TEST(forwarding)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	struct net_user as = { .forwards = 1 };
	struct net_backend *b;
	socklen_t len = sizeof(a);
	char err[300];

	CHECK(!bind(fd, (struct sockaddr *)&a, len) && !listen(fd, 1) && !getsockname(fd, (struct sockaddr *)&a, &len));
	as.forward[0] = (struct net_forward){ a.sin_addr, ntohs(a.sin_port), 22 };
	CHECK_EQ(net_user(&as, &b, err, sizeof(err)), -EADDRINUSE);
	CHECK(strstr(err, "hostfwd=tcp:127.0.0.1:") && strstr(err, "give another port"));
	close(fd);
	CHECK_EQ(net_user(&as, &b, err, sizeof(err)), 0);
	fd = socket(AF_INET, SOCK_STREAM, 0);
	CHECK_EQ(connect(fd, (struct sockaddr *)&a, len), 0);
	close(fd);
	b->ops->close(b);
}

/* ---- TCP inside ---------------------------------------------------------------------------- */

#define FIN 1
#define SYN 2
#define RST 4
#define ACK 16

static struct net_inside *t;
static uint64_t now;
static unsigned int open_count, answer_left;
static char heard[70000];
static size_t heard_len;
static bool refuses, hangs_up;

static void *on_open(void *ctx)
{
	if (refuses)
		return NULL;
	open_count++;
	return &open_count;
}

/* It answers what has been asked for by answer_left, in letters. */
static ssize_t on_input(void *conn, const void *data, size_t len, void *out, size_t room)
{
	size_t n = answer_left < room ? answer_left : room, i;

	CHECK(room >= NET_SERVICE_ROOM);
	if (len)
		memcpy(heard + heard_len, data, len);
	heard_len += len;
	for (i = 0; i < n; i++)
		((char *)out)[i] = 'a' + (answer_left - i) % 26;
	answer_left -= n;
	return !n && hangs_up ? -1 : (ssize_t)n;
}

static void on_close(void *conn)
{
	open_count--;
}

static const struct net_service service = { on_open, on_input, on_close, NULL };

struct peer {
	uint16_t port, window;
	uint32_t next, theirs;
};

static void say(struct peer *p, uint8_t flags, const char *text, size_t len)
{
	uint8_t f[2000], *exact;

	memcpy(f + 54, text ?: "", len);
	make_frame(f, IPPROTO_TCP, 0x0a00020f, NET_SERVICE_ADDRESS, p->port, 80, len, 0);
	memcpy(f, "\2ours.", 6);
	memcpy(f + 6, "\2peer.", 6);
	put32(f + 38, p->next);
	put32(f + 42, p->theirs);
	f[47] = flags;
	put16(f + 48, p->window);
	exact = malloc(54 + len);
	memcpy(exact, f, 54 + len);
	CHECK(net_inside_takes(exact, 42));
	net_inside_input(t, exact, 54 + len, now);
	free(exact);
}

/* The next segment: bytes behind the headers, or -1. What it is, is checked. */
static ssize_t listen_to(struct peer *p, uint8_t *flags, char *data)
{
	uint8_t f[NET_INSIDE_FRAME], *ip = f + 14, *tcp = f + 34;
	size_t len = net_inside_output(t, f, now), n;

	if (!len)
		return -1;
	n = len - 54;
	CHECK(get16(ip + 2) == len - 14 && !sum(ip, 20, 0) && !sum_of(ip, tcp, len - 34));
	CHECK(!memcmp(f, "\2peer.", 6) && !memcmp(f + 6, "\2ours.", 6));
	CHECK(get32(ip + 12) == NET_SERVICE_ADDRESS && get16(tcp) == 80 && get16(tcp + 2) == p->port);
	*flags = tcp[13];
	if (*flags & SYN) {
		CHECK(tcp[12] == 0x60 && n == 4 && get32(tcp + 20) == (0x02040000 | 1460));
		p->theirs = get32(tcp + 4) + 1;
		return 0;
	}
	if (data)
		memcpy(data, tcp + 20, n);
	if (!(*flags & RST) && get32(tcp + 4) != p->theirs)
		return -2;
	p->theirs += n + (*flags & FIN ? 1 : 0);
	return n;
}

static struct peer begin(uint16_t port)
{
	struct peer p = { .port = port, .window = 60000, .next = 0xfffffff0 };
	uint8_t flags;

	say(&p, SYN, NULL, 0);
	CHECK_EQ(listen_to(&p, &flags, NULL), 0);
	CHECK_EQ(flags, SYN | ACK);
	p.next++;
	say(&p, ACK, NULL, 0);
	CHECK_EQ(listen_to(&p, &flags, NULL), -1);
	return p;
}

static void start(void)
{
	t = net_inside_new(&service);
	now = 1000;
	heard_len = answer_left = 0;
	refuses = hangs_up = false;
}

static void stop(void)
{
	net_inside_free(t);
	CHECK_EQ(open_count, 0);
}

UNIT_TEST(a_request)
{
	struct peer p;
	char data[2000];
	uint8_t flags;
	ssize_t n;

	start();
	p = begin(4000);
	CHECK(open_count == 1 && net_inside_timeout(t, now) == -1);
	answer_left = 3000;
	say(&p, ACK, "GET / ", 6);
	p.next += 6;
	CHECK(heard_len == 6 && !memcmp(heard, "GET / ", 6));
	/* No more at once than the default says, as it named no MSS; in order, with all of it. */
	for (n = 0; n < 3000; ) {
		ssize_t part = listen_to(&p, &flags, data);

		CHECK(part > 0 && part <= 536);
		CHECK_EQ(data[0], 'a' + (3000 - n) % 26);
		n += part;
	}
	CHECK(n == 3000 && listen_to(&p, &flags, data) == -1);
	say(&p, ACK, NULL, 0);
	CHECK_EQ(net_inside_timeout(t, now), -1);
	/* It hangs up; and so do we. */
	say(&p, FIN | ACK, NULL, 0);
	p.next++;
	CHECK_EQ(listen_to(&p, &flags, data), 0);
	CHECK(flags == (FIN | ACK) && open_count == 1);
	say(&p, ACK, NULL, 0);
	CHECK_EQ(listen_to(&p, &flags, data), -1);
	CHECK_EQ(open_count, 0);
	stop();
}

/* More than is kept, to a peer with little room. */
UNIT_TEST(a_long_answer)
{
	unsigned int total = 0, rounds = 0;
	struct peer p;
	char data[2000];
	uint8_t flags;
	ssize_t n;

	start();
	hangs_up = true;
	p = begin(4000);
	p.window = 1000;
	answer_left = 1000000;
	say(&p, ACK, "x", 1);
	p.next++;
	do {
		unsigned int flight = 0;

		flags = 0;
		while ((n = listen_to(&p, &flags, data)) >= 0) {
			if (n && data[0] != (char)('a' + (1000000 - total) % 26))
				unit_fail("at %u", total);
			flight += n;
			total += n;
			if (flags & FIN)
				break;
		}
		CHECK(n != -2 && flight <= 1000);
		now += 5;
		say(&p, ACK, NULL, 0);
	} while (!(flags & FIN) && ++rounds < 5000);
	CHECK(total == 1000000 && (flags & FIN));
	CHECK_EQ(open_count, 1);
	say(&p, FIN | ACK, NULL, 0);
	listen_to(&p, &flags, data);
	CHECK_EQ(open_count, 0);
	stop();
}

UNIT_TEST(what_is_lost_is_sent_again)
{
	struct peer p, before;
	char data[2000];
	uint8_t flags;
	unsigned int i;

	start();
	/* The answer to a SYN. */
	p = (struct peer){ .port = 4001, .window = 1000, .next = 5 };
	say(&p, SYN, NULL, 0);
	listen_to(&p, &flags, NULL);
	CHECK_EQ(net_inside_timeout(t, now), 200);
	CHECK_EQ(listen_to(&p, &flags, NULL), -1);
	now += 200;
	CHECK_EQ(net_inside_timeout(t, now), 0);
	CHECK(!listen_to(&p, &flags, NULL) && flags == (SYN | ACK));
	p.next++;
	say(&p, ACK, NULL, 0);
	/* Data of theirs: once more, and twice, and what is early. */
	say(&p, ACK, "abc", 3);
	say(&p, ACK, "abcd", 4);
	CHECK(heard_len == 4 && !memcmp(heard, "abcd", 4));
	p.next += 10;
	say(&p, ACK, "late", 4);
	CHECK_EQ(heard_len, 4);
	p.next -= 6;
	listen_to(&p, &flags, data);
	/* Data of ours. */
	answer_left = 100;
	say(&p, ACK, "q", 1);
	p.next++;
	before = p;
	CHECK_EQ(listen_to(&p, &flags, data), 100);
	p = before;
	now += 199;
	CHECK_EQ(listen_to(&p, &flags, data), -1);
	now += 1;
	CHECK_EQ(listen_to(&p, &flags, data), 100);
	/* Nobody hears: an end, in time. */
	for (i = 0; i < 1000 && open_count; i++) {
		p = before;
		now += net_inside_timeout(t, now) < 0 ? 0 : net_inside_timeout(t, now);
		listen_to(&p, &flags, data);
	}
	CHECK_EQ(open_count, 0);
	CHECK_EQ(net_inside_timeout(t, now), -1);
	stop();
}

/* A window that is shut is asked for, byte by byte, without a busy loop. */
UNIT_TEST(no_window)
{
	struct peer p;
	char data[2000];
	uint8_t flags;

	start();
	p = begin(4000);
	p.window = 0;
	answer_left = 50;
	say(&p, ACK, "x", 1);
	p.next++;
	CHECK_EQ(listen_to(&p, &flags, data), 0);	/* that it has come */
	CHECK_EQ(listen_to(&p, &flags, data), -1);
	CHECK(net_inside_timeout(t, now) > 0);
	now += net_inside_timeout(t, now);
	CHECK_EQ(listen_to(&p, &flags, data), 1);
	CHECK_EQ(listen_to(&p, &flags, data), -1);
	CHECK(net_inside_timeout(t, now) > 200);
	p.window = 1000;
	say(&p, ACK, NULL, 0);
	CHECK_EQ(listen_to(&p, &flags, data), 49);
	stop();
}

UNIT_TEST(refused)
{
	struct peer p = { .port = 4000, .window = 100, .next = 100 };
	uint8_t flags, f[NET_INSIDE_FRAME];

	start();
	/* Another port, no connection, a service that does not want one, an end in the middle. */
	say(&p, ACK, "x", 1);
	CHECK(!listen_to(&p, &flags, NULL) && (flags & RST));
	refuses = true;
	say(&p, SYN, NULL, 0);
	CHECK(!listen_to(&p, &flags, NULL) && flags == (RST | ACK));
	make_frame(f, IPPROTO_TCP, 1, NET_SERVICE_ADDRESS, 4000, 81, 0, 0);
	f[47] = SYN;
	net_inside_input(t, f, 54, now);
	CHECK(net_inside_output(t, f, now) == 54 && f[47] == (RST | ACK) && get16(f + 34) == 81);
	refuses = false;
	p = begin(4000);
	say(&p, RST, NULL, 0);
	CHECK_EQ(open_count, 0);
	/* One that is closed takes nothing more. */
	hangs_up = true;
	p = begin(4000);
	say(&p, ACK, "x", 1);
	p.next++;
	CHECK(!listen_to(&p, &flags, NULL) && (flags & FIN));
	say(&p, ACK, "y", 1);
	CHECK(!listen_to(&p, &flags, NULL) && (flags & RST));
	CHECK_EQ(open_count, 0);
	stop();
}

/* More than there are entries: those go that have been still for longest. And floods of all kinds. */
UNIT_TEST(many_connections)
{
	struct peer first;
	uint8_t f[300];
	unsigned int i, seed = 1;

	start();
	first = begin(1000);
	for (i = 1; i < NET_INSIDE_CONNECTIONS; i++) {
		now++;
		begin(1000 + i);
	}
	now++;
	say(&first, ACK, "x", 1);
	CHECK(open_count == NET_INSIDE_CONNECTIONS && heard_len == 1);
	listen_to(&first, f, NULL);
	begin(3000);
	CHECK_EQ(open_count, NET_INSIDE_CONNECTIONS);
	first.next++;
	say(&first, ACK, "y", 1);
	CHECK_EQ(heard_len, 2);
	for (i = 0; i < 100000; i++) {
		unsigned int len = make_frame(f, IPPROTO_TCP, 1, NET_SERVICE_ADDRESS, i % 5, 80, i % 60, 0);
		uint8_t *exact;

		seed = seed * 1664525 + 1013904223;
		put32(f + 38, i % 3 ? seed >> 30 : seed);
		f[47] = seed >> 8;
		f[46] = i % 7 ? 0x50 : seed >> 16;
		if (heard_len > 60000)
			heard_len = 0;
		answer_left = i % 100;
		hangs_up = i % 11 == 0;
		now += seed >> 24;
		exact = malloc(len);
		memcpy(exact, f, len);
		net_inside_input(t, exact, len, now);
		free(exact);
		if (i % 2)
			net_inside_output(t, (uint8_t[NET_INSIDE_FRAME]){ 0 }, now);
	}
	stop();
}

UNIT_TEST(address_resolution)
{
	uint8_t f[NET_INSIDE_FRAME] = "\377\377\377\377\377\377\2peer.\10\6\0\1\10\0\6\4\0\1\2peer.";

	start();
	put32(f + 28, 0x0a00020f);
	put32(f + 38, NET_SERVICE_ADDRESS + 1);
	CHECK(!net_inside_takes(f, 42));
	put32(f + 38, NET_SERVICE_ADDRESS);
	CHECK(net_inside_takes(f, 42) && !net_inside_takes(f, 41));
	net_inside_input(t, f, 42, now);
	memset(f, 0, sizeof(f));
	CHECK_EQ(net_inside_output(t, f, now), 42);
	CHECK(!memcmp(f, "\2peer.", 6) && get16(f + 20) == 2 && get32(f + 28) == NET_SERVICE_ADDRESS);
	CHECK(!memcmp(f + 6, f + 22, 6) && !memcmp(f + 32, "\2peer.", 6) && get32(f + 38) == 0x0a00020f);
	stop();
}
