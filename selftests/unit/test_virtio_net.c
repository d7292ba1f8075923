// SPDX-License-Identifier: GPL-2.0
/* The network device by a driver that is a guest's, over a socket in place of a TAP interface. */
#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include "unit.h"
#include "virtio_driver.h"
#include "net/net.h"
#include "net/rewrite.h"
#include "virtio/bucket.h"

#define BIT(f)		(1ULL << VIRTIO_NET_F_##f)
#define RX		0
#define TX		1
#define CONTROL		2
#define ROOM		(D_DATA + 0x20000)

static int peer;
static atomic_uint gone, offloads;
static struct bucket *rate_in, *rate_out;

int __real_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	unsigned long arg;

	va_start(ap, request);
	arg = va_arg(ap, unsigned long);
	va_end(ap);
	if (request != TUNSETOFFLOAD)
		return __real_ioctl(fd, request, arg);
	atomic_store(&offloads, arg);
	return 0;
}

static void on_gone(void *ctx)
{
	atomic_fetch_add(&gone, 1);
}

static void plug(struct net_backend *b, const struct net_service *service)
{
	struct net_params p = {
		.backend = b, .mac = { 2, 0, 0, 1, 2, 3 }, .service = service, .gone = on_gone,
	};

	atomic_store(&gone, 0);
	p.in = rate_in;
	p.out = rate_out;
	d_plug(virtio_net(d_memory(), &p));
}

static void plug_socket(bool offload)
{
	int pair[2];

	signal(SIGPIPE, SIG_IGN);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair))
		abort();
	peer = pair[0];
	atomic_store(&offloads, 0xff);
	plug(net_tap_of(pair[1], 1400, offload), NULL);
}

static void unplug(void)
{
	d_unplug();
	close(peer);
}

static uint64_t counter(const char *name)
{
	unsigned int i;

	for (i = 0; dr.d->ops->counters[i]; i++)
		if (!strcmp(dr.d->ops->counters[i], name))
			return atomic_load(&dr.d->counter[i]);
	unit_fail("no counter %s", name);
	return 0;
}

static bool counts(const char *name, uint64_t value)
{
	unsigned int i;

	for (i = 0; i < 5000 && counter(name) != value; i++)
		d_pause();
	return counter(name) == value;
}

/* The next frame at the other end, within seconds: bytes. */
static ssize_t hear(uint8_t *buf, size_t len)
{
	unsigned int i;
	ssize_t n = -1;

	for (i = 0; i < 5000 && n < 0; i++) {
		n = recv(peer, buf, len, 0);
		if (n < 0)
			d_pause();
	}
	return n;
}

/* A frame of len bytes behind a header, from the guest. */
static void send_frame(const struct virtio_net_hdr_v1 *h, uint32_t len)
{
	static const struct virtio_net_hdr_v1 none;
	uint32_t i;

	memcpy(dr.ram + D_DATA, h ?: &none, sizeof(none));
	for (i = 0; i < len; i++)
		dr.ram[D_DATA + NET_HEADER + i] = i * 7;
	d_offer(TX, (const struct d_part[]){ { D_DATA, NET_HEADER + 5, false }, { D_DATA + NET_HEADER + 5, len - 5, false } },
		2);
	d_kick(TX);
	CHECK_EQ(d_wait(TX), 0);
}

static void give_room(unsigned int buffers, uint32_t len)
{
	unsigned int i;

	for (i = 0; i < buffers; i++)
		d_offer(RX, (const struct d_part[]){ { ROOM + i * len, len, true } }, 1);
	d_kick(RX);
}

/* A frame for the guest. */
static void say(const struct virtio_net_hdr_v1 *h, uint32_t len)
{
	static uint8_t frame[NET_FRAME];
	uint32_t i;

	memset(frame, 0, NET_HEADER);
	if (h)
		memcpy(frame, h, sizeof(*h));
	for (i = 0; i < len; i++)
		frame[NET_HEADER + i] = i * 3;
	CHECK_EQ(send(peer, frame, NET_HEADER + len, 0), NET_HEADER + len);
}

static bool is_frame(const uint8_t *p, uint32_t len, unsigned int step)
{
	uint32_t i;

	for (i = 0; i < len; i++)
		if (p[i] != (uint8_t)(i * step))
			return false;
	return true;
}

UNIT_TEST(both_ways)
{
	uint8_t buf[2000];

	plug_socket(false);
	d_start(BIT(MAC) | BIT(MTU) | BIT(STATUS), 2);
	CHECK_EQ(dr.features & (BIT(CSUM) | BIT(GUEST_CSUM) | BIT(HOST_TSO4) | BIT(CTRL_VQ)), 0);
	CHECK(d_get(0x2000, 4) == 0x01000002 && d_get(0x2004, 2) == 0x0302);
	CHECK(d_get(0x2006, 2) == VIRTIO_NET_S_LINK_UP && d_get(0x200a, 2) == 1400);
	send_frame(NULL, 60);
	CHECK_EQ(hear(buf, sizeof(buf)), NET_HEADER + 60);
	CHECK(is_frame(buf + NET_HEADER, 60, 7));
	/* In a buffer of two parts, and with its header in both. */
	d_offer(RX, (const struct d_part[]){ { ROOM, 7, true }, { ROOM + 7, 1600, true } }, 2);
	d_kick(RX);
	say(NULL, 1300);
	CHECK_EQ(d_wait(RX), NET_HEADER + 1300);
	CHECK(is_frame(dr.ram + ROOM + NET_HEADER, 1300, 3));
	CHECK(dr.ram[ROOM + 10] == 1 && !dr.ram[ROOM + 11]);
	/* What comes first waits for the driver's buffers. */
	say(NULL, 100);
	say(NULL, 200);
	d_pause();
	give_room(2, 1600);
	CHECK(d_wait(RX) == NET_HEADER + 100 && d_wait(RX) == NET_HEADER + 200);
	CHECK(counts("rx_frames", 3) && counter("rx_bytes") == 1600 && counter("tx_bytes") == 60);
	/* Too long for a buffer that is not one of several; and no frame. */
	give_room(1, 256);
	say(NULL, 300);
	say(NULL, 8);
	say(NULL, 30);
	CHECK_EQ(d_wait(RX), NET_HEADER + 30);
	CHECK(counts("rx_dropped", 2));
	unplug();
}

UNIT_TEST(chains_that_are_too_short)
{
	plug_socket(false);
	d_start(0, 2);
	/* A header and nothing that is a frame: given back. */
	d_offer(TX, (const struct d_part[]){ { D_DATA, NET_HEADER + 13, false } }, 1);
	d_kick(TX);
	CHECK_EQ(d_wait(TX), 0);
	CHECK_EQ(counter("bad_headers"), 1);
	/* One that is longer than any is. */
	d_offer(TX, (const struct d_part[]){ { D_DATA, 60000, false }, { D_DATA, 6000, false } }, 2);
	d_kick(TX);
	CHECK_EQ(d_wait(TX), 0);
	CHECK_EQ(counter("bad_headers"), 2);
	atomic_store(&dr.last_data, 0);
	d_offer(TX, (const struct d_part[]){ { D_DATA, NET_HEADER - 1, false } }, 1);
	d_kick(TX);
	CHECK(d_message(0x40));
	CHECK(d_get(0x14, 1) & VIRTIO_CONFIG_S_NEEDS_RESET);
	d_start(0, 2);
	atomic_store(&dr.last_data, 0);
	give_room(1, NET_HEADER - 1);
	CHECK(d_message(0x40));
	CHECK(d_get(0x14, 1) & VIRTIO_CONFIG_S_NEEDS_RESET);
	/* And after a reset all is well. */
	d_start(0, 2);
	give_room(1, 100);
	say(NULL, 50);
	CHECK_EQ(d_wait(RX), NET_HEADER + 50);
	unplug();
}

UNIT_TEST(merged_buffers)
{
	unsigned int i, at = 0;

	plug_socket(false);
	d_start(BIT(MRG_RXBUF), 2);
	give_room(8, 128);
	say(NULL, 500);
	for (i = 0; i < 4; i++) {
		CHECK_EQ(d_wait(RX), i < 3 ? 128 : 512 - 3 * 128);
		/* All are seen with the first. */
		CHECK_EQ(__atomic_load_n(&d_used(RX)->idx, __ATOMIC_ACQUIRE), 4);
	}
	CHECK(dr.ram[ROOM + 10] == 4 && is_frame(dr.ram + ROOM + NET_HEADER, 500, 3));
	say(NULL, 20);
	CHECK_EQ(d_wait(RX), NET_HEADER + 20);
	CHECK_EQ(dr.ram[ROOM + 4 * 128 + 10], 1);
	/* Three are left: a frame that needs five waits for two more, in order. */
	say(NULL, 600);
	say(NULL, 21);
	for (i = 0; i < 50; i++)
		d_pause();
	CHECK_EQ(__atomic_load_n(&d_used(RX)->idx, __ATOMIC_ACQUIRE), 5);
	for (i = 0; i < 3; i++)
		d_offer(RX, (const struct d_part[]){ { ROOM + (8 + i) * 128, 128, true } }, 1);
	d_kick(RX);
	for (i = 0; i < 5; i++)
		at += d_wait(RX);
	CHECK_EQ(at, NET_HEADER + 600);
	CHECK(dr.ram[ROOM + 5 * 128 + 10] == 5 && is_frame(dr.ram + ROOM + 5 * 128 + NET_HEADER, 600, 3));
	CHECK_EQ(d_wait(RX), NET_HEADER + 21);
	/* More than all buffers together is lost, and they are not. */
	give_room(60, NET_HEADER);
	say(NULL, 2000);
	say(NULL, 14);
	for (i = 0; i < 50; i++)
		d_pause();
	d_reset();
	d_start(BIT(MRG_RXBUF), 2);
	give_room(1, 100);
	CHECK_EQ(d_wait(RX), NET_HEADER + 14);
	unplug();
}

/* Buffers of 12 bytes, more than are held: the frame is dropped, the next one comes. */
UNIT_TEST(tiny_buffers)
{
	unsigned int i;

	plug_socket(false);
	d_start(BIT(MRG_RXBUF), 2);
	give_room(D_SIZE - 1, NET_HEADER);
	say(NULL, 1400);
	for (i = 0; i < 20; i++)
		d_pause();
	CHECK_EQ(counter("rx_frames"), 0);
	give_room(1, NET_HEADER);
	CHECK(counts("rx_dropped", 1));
	say(NULL, 20);
	for (i = 0; i < 3; i++)
		CHECK(d_wait(RX) > 0);
	unplug();
}

/* ---- offloads ------------------------------------------------------------------------------- */

#define OFFLOADS	(BIT(CSUM) | BIT(HOST_TSO4) | BIT(GUEST_CSUM) | BIT(GUEST_TSO4) | BIT(GUEST_TSO6))

UNIT_TEST(headers_of_the_guest)
{
	static const struct {
		struct virtio_net_hdr_v1 h;
		bool goes;
	} rows[] = {
		{ { .flags = 1, .csum_start = 34, .csum_offset = 16 }, true },
		{ { .flags = 1, .csum_start = 84, .csum_offset = 14 }, true },
		{ { .flags = 1, .csum_start = 84, .csum_offset = 15 }, false },
		{ { .flags = 1, .csum_start = 0xffff, .csum_offset = 0xffff }, false },
		{ { .flags = 1, .csum_start = 13, .csum_offset = 0 }, false },
		{ { .flags = 1, .gso_type = 1, .gso_size = 40, .hdr_len = 54, .csum_start = 34, .csum_offset = 16 }, true },
		{ { .flags = 0, .gso_type = 1, .gso_size = 40, .hdr_len = 54 }, false },
		{ { .flags = 1, .gso_type = 1, .gso_size = 0, .csum_start = 34, .csum_offset = 16 }, false },
		{ { .flags = 1, .gso_type = 1, .gso_size = 40, .hdr_len = 101, .csum_start = 34, .csum_offset = 16 }, false },
		{ { .flags = 1, .gso_type = 4, .gso_size = 40, .csum_start = 34, .csum_offset = 16 }, false },	/* TSO6 */
		{ { .flags = 1, .gso_type = 3, .gso_size = 40, .csum_start = 34, .csum_offset = 6 }, false },	/* UFO */
		{ { .flags = 1, .gso_type = 0x81, .gso_size = 40, .csum_start = 34, .csum_offset = 16 }, false },	/* ECN */
	};
	struct virtio_net_hdr_v1 h;
	uint8_t buf[200];
	unsigned int i, bad = 0;

	plug_socket(true);
	d_start(OFFLOADS, 3);
	for (i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		send_frame(&rows[i].h, 100);
		bad += !rows[i].goes;
		if (counter("bad_headers") != bad)
			unit_fail("header %u", i);
		if (!rows[i].goes)
			continue;
		CHECK_EQ(hear(buf, sizeof(buf)), NET_HEADER + 100);
		CHECK(!memcmp(buf, &rows[i].h, sizeof(h)));
	}
	/* Fields without a meaning, and flags that are the host's, do not go to the kernel. */
	send_frame(&(const struct virtio_net_hdr_v1){ .flags = 6, .hdr_len = 9, .gso_size = 9, .csum_start = 9,
						       .csum_offset = 9, .num_buffers = 9 }, 100);
	CHECK_EQ(hear(buf, sizeof(buf)), NET_HEADER + 100);
	CHECK(is_frame(buf, NET_HEADER, 0));
	/* A driver that has not asked for checksums leaves none. */
	d_start(0, 3);
	send_frame(&rows[0].h, 100);
	CHECK_EQ(counter("bad_headers"), bad + 1);
	unplug();
}

static uint8_t command(uint8_t class, uint8_t cmd, uint64_t value, uint32_t len)
{
	dr.ram[D_DATA] = class;
	dr.ram[D_DATA + 1] = cmd;
	memcpy(dr.ram + D_DATA + 2, &value, 8);
	dr.ram[D_DATA + 64] = 0x55;
	d_offer(CONTROL, (const struct d_part[]){ { D_DATA, len, false }, { D_DATA + 64, 1, true } }, 2);
	d_kick(CONTROL);
	CHECK_EQ(d_wait(CONTROL), 1);
	return dr.ram[D_DATA + 64];
}

UNIT_TEST(what_the_guest_takes_off)
{
	const struct virtio_net_hdr_v1 sum = { .flags = 1, .csum_start = 34, .csum_offset = 16 };
	const struct virtio_net_hdr_v1 large = { .flags = 1, .gso_type = 1, .gso_size = 1000, .csum_start = 34 };
	const uint8_t class = VIRTIO_NET_CTRL_GUEST_OFFLOADS, set = VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET;

	plug_socket(true);
	d_start(BIT(GUEST_CSUM) | BIT(GUEST_TSO4) | BIT(CTRL_VQ) | BIT(CTRL_GUEST_OFFLOADS), 3);
	give_room(8, 1600);
	say(&large, 1500);
	CHECK_EQ(d_wait(RX), NET_HEADER + 1500);
	CHECK_EQ(atomic_load(&offloads), TUN_F_CSUM | TUN_F_TSO4);
	CHECK_EQ(dr.ram[ROOM + 1], 1);
	CHECK_EQ(command(class, set, BIT(GUEST_CSUM), 10), VIRTIO_NET_OK);
	CHECK_EQ(atomic_load(&offloads), TUN_F_CSUM);
	say(&large, 1500);	/* was in the queue */
	say(&sum, 60);
	CHECK_EQ(d_wait(RX), NET_HEADER + 60);
	CHECK_EQ(counter("rx_dropped"), 1);
	CHECK_EQ(command(class, set, BIT(GUEST_TSO6), 10), VIRTIO_NET_ERR);
	CHECK_EQ(command(class, set, 0, 9), VIRTIO_NET_ERR);
	CHECK_EQ(command(class, set, 0, 1), VIRTIO_NET_ERR);
	CHECK_EQ(command(class, 1, 0, 10), VIRTIO_NET_ERR);
	CHECK_EQ(command(VIRTIO_NET_CTRL_RX, 0, 1, 3), VIRTIO_NET_ERR);
	CHECK_EQ(command(class, set, 0, 10), VIRTIO_NET_OK);
	CHECK_EQ(atomic_load(&offloads), 0);
	say(&sum, 60);
	say(NULL, 61);
	CHECK_EQ(d_wait(RX), NET_HEADER + 61);
	/* Another driver, another time. */
	d_start(BIT(GUEST_CSUM), 3);
	give_room(1, 1600);
	say(&sum, 62);
	CHECK_EQ(d_wait(RX), NET_HEADER + 62);
	CHECK_EQ(atomic_load(&offloads), TUN_F_CSUM);
	unplug();
}

/* ---- the other end ---------------------------------------------------------------------------- */

UNIT_TEST(it_vanishes)
{
	plug_socket(true);
	d_start(BIT(STATUS), 3);
	give_room(4, 1600);
	say(NULL, 60);
	CHECK_EQ(d_wait(RX), NET_HEADER + 60);
	atomic_store(&dr.last_data, 0);
	close(peer);
	CHECK(d_message(0x40));
	CHECK_EQ(d_get(0x2006, 2), 0);
	CHECK_EQ(atomic_load(&gone), 1);
	/* The guest's driver does not see a queue that hangs, or a device that is broken. */
	send_frame(NULL, 60);
	send_frame(NULL, 60);
	CHECK(counter("tx_dropped") == 2 && !(d_get(0x14, 1) & VIRTIO_CONFIG_S_NEEDS_RESET));
	d_start(BIT(STATUS), 3);
	give_room(4, 1600);
	send_frame(NULL, 60);
	CHECK(d_get(0x2006, 2) == 0 && atomic_load(&gone) == 1);
	d_unplug();
}

/* It is the sender that finds out. */
UNIT_TEST(it_vanishes_while_the_guest_sends)
{
	plug_socket(false);
	d_start(BIT(STATUS), 2);
	close(peer);
	send_frame(NULL, 60);
	CHECK(d_get(0x2006, 2) == 0 && atomic_load(&gone) == 1 && counter("tx_dropped") == 1);
	d_unplug();
}

/* Frames that the other end has no room for wait, and a reset does not. */
UNIT_TEST(slow_peer)
{
	static uint8_t buf[65536];
	unsigned int i, sent = 0, got = 0;

	plug_socket(false);
	d_start(0, 2);
	memset(dr.ram + D_DATA, 0, NET_HEADER);
	while (sent < 60) {
		d_offer(TX, (const struct d_part[]){ { D_DATA, 16000, false } }, 1);
		sent++;
	}
	d_kick(TX);
	for (i = 0; i < 20; i++)
		d_pause();
	CHECK(__atomic_load_n(&d_used(TX)->idx, __ATOMIC_ACQUIRE) < 60);
	while (got < 60 && hear(buf, sizeof(buf)) == 16000)
		got++;
	CHECK_EQ(got, 60);
	for (i = 0; i < 60; i++)
		CHECK_EQ(d_wait(TX), 0);
	for (i = 0; i < 60; i++)
		d_offer(TX, (const struct d_part[]){ { D_DATA, 16000, false } }, 1);
	d_kick(TX);
	d_pause();
	d_start(0, 2);
	while (recv(peer, buf, sizeof(buf), 0) > 0)
		;
	send_frame(NULL, 60);
	CHECK_EQ(hear(buf, sizeof(buf)), NET_HEADER + 60);
	unplug();
}

/* A driver that offers more than a burst, and never waits: all comes, in order. */
UNIT_TEST(many)
{
	unsigned int i, round;
	uint8_t buf[200];

	plug_socket(false);
	d_start(1ULL << VIRTIO_RING_F_EVENT_IDX | BIT(MRG_RXBUF), 2);
	for (round = 0; round < 20; round++) {
		for (i = 0; i < D_SIZE; i++)
			d_offer(RX, (const struct d_part[]){ { ROOM + i * 128, 128, true } }, 1);
		d_kick(RX);
		for (i = 0; i < D_SIZE / 2; i++) {
			say(NULL, 14 + i);
			send_frame(NULL, 20 + i);
			CHECK_EQ(hear(buf, sizeof(buf)), NET_HEADER + 20 + i);
		}
		for (; i < D_SIZE; i++)
			say(NULL, 14 + i);
		for (i = 0; i < D_SIZE; i++)
			CHECK_EQ(d_wait(RX), NET_HEADER + 14 + i);
	}
	unplug();
}

static atomic_bool enough;

static void *offers_without_end(void *arg)
{
	while (!atomic_load(&enough)) {
		struct vring_used *u = d_used(TX);

		if ((uint16_t)(d_avail(TX)->idx - __atomic_load_n(&u->idx, __ATOMIC_ACQUIRE)) < D_SIZE / 2)
			d_offer(TX, (const struct d_part[]){ { D_DATA, 8, false }, { D_DATA, 16, false } }, 2);
	}
	return NULL;
}

/* There is always one more to send: a reset is seen all the same. */
UNIT_TEST(a_driver_without_end)
{
	pthread_t thread;

	plug_socket(false);
	d_start(0, 2);
	atomic_store(&enough, false);
	CHECK(!pthread_create(&thread, NULL, offers_without_end, NULL));
	while (counter("bad_headers") < 5000)
		d_kick(TX);
	d_reset();
	atomic_store(&enough, true);
	pthread_join(thread, NULL);
	unplug();
}

/* ---- behind the host's sockets ------------------------------------------------------------------- */

#define HOST	0x0a000202U
#define GUEST	0x0a00020fU

static const uint8_t gateway[6] = { 0x52, 0x55, 10, 0, 2, 2 };

static uint16_t checksum(const uint8_t *p, size_t len)
{
	uint32_t sum = 0;

	for (; len > 1; p += 2, len -= 2)
		sum += get16(p);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return ~sum;
}

/* IPv4 with n bytes behind its header, which are there; at dr.ram + D_DATA + NET_HEADER. */
static void send_ip(uint32_t to, uint8_t protocol, uint32_t n)
{
	uint8_t *f = dr.ram + D_DATA + NET_HEADER, *ip = f + 14;

	memset(dr.ram + D_DATA, 0, NET_HEADER);
	memcpy(f, gateway, 6);
	memcpy(f + 6, (const uint8_t[]){ 2, 0, 0, 1, 2, 3 }, 6);
	put16(f + 12, ETHERNET_IPV4);
	memset(ip, 0, 20);
	ip[0] = 0x45;
	put16(ip + 2, 20 + n);
	ip[8] = 64;
	ip[9] = protocol;
	put32(ip + 12, GUEST);
	put32(ip + 16, to);
	put16(ip + 10, checksum(ip, 20));
	d_offer(TX, (const struct d_part[]){ { D_DATA, NET_HEADER + 34 + n, false } }, 1);
	d_kick(TX);
	CHECK_EQ(d_wait(TX), 0);
}

static void send_udp(uint32_t to, uint16_t port, const char *text)
{
	uint8_t *udp = dr.ram + D_DATA + NET_HEADER + 34;

	put16(udp, 4000);
	put16(udp + 2, port);
	put16(udp + 4, 8 + strlen(text));
	put16(udp + 6, 0);
	memcpy(udp + 8, text, strlen(text));
	send_ip(to, IPPROTO_UDP, 8 + strlen(text));
}

static void plug_user(const struct net_user *u, const struct net_service *service)
{
	struct net_backend *b;
	char err[200];

	CHECK_EQ(net_user(u, &b, err, sizeof(err)), 0);
	plug(b, service);
	d_start(BIT(MRG_RXBUF), 2);
	give_room(8, 1600);
}

/* The next IPv4 frame that the guest gets: its IP header. It tells who has the guest's address. */
static const uint8_t *next_ip(void)
{
	static unsigned int at;
	unsigned int i;

	for (i = 0; i < 20; i++) {
		uint8_t *f;

		at = dr.used[RX] % 8;
		if (d_wait(RX) < 0)
			return NULL;
		f = dr.ram + ROOM + at * 1600 + NET_HEADER;
		if (get16(f + 12) == ETHERNET_IPV4)
			return f + 14;
		/* An ARP request: answered with ourselves. */
		memcpy(dr.ram + D_DATA + NET_HEADER, f + 6, 6);
		memcpy(dr.ram + D_DATA + NET_HEADER + 6, (const uint8_t[]){ 2, 0, 0, 1, 2, 3 }, 6);
		memcpy(dr.ram + D_DATA + NET_HEADER + 12, f + 12, 8);
		put16(dr.ram + D_DATA + NET_HEADER + 20, 2);
		memcpy(dr.ram + D_DATA + NET_HEADER + 22, (const uint8_t[]){ 2, 0, 0, 1, 2, 3 }, 6);
		put32(dr.ram + D_DATA + NET_HEADER + 28, GUEST);
		memcpy(dr.ram + D_DATA + NET_HEADER + 32, f + 22, 10);
		d_offer(TX, (const struct d_part[]){ { D_DATA, NET_HEADER + 42, false } }, 1);
		d_kick(TX);
		CHECK_EQ(d_wait(TX), 0);
	}
	return NULL;
}

UNIT_TEST(user)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	const struct net_user u = { .dns = { htonl(0x7f000001) } };
	socklen_t len = sizeof(a);
	const uint8_t *ip;
	char buf[64];

	peer = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	CHECK(!bind(peer, (struct sockaddr *)&a, sizeof(a)) && !getsockname(peer, (struct sockaddr *)&a, &len));
	plug_user(&u, NULL);
	CHECK_EQ(dr.d->workers, 1);
	CHECK_EQ(dr.features & (BIT(CSUM) | BIT(CTRL_VQ)), 0);
	send_udp(HOST, ntohs(a.sin_port), "to the host");
	CHECK(hear((uint8_t *)buf, sizeof(buf)) == 11 && !memcmp(buf, "to the host", 11));
	CHECK(recv(peer, buf, 64, 0) < 0);
	/* Its own loopback, by that address, is not the guest's; nor is what libslirp makes of 0. */
	send_udp(0x7f000001, ntohs(a.sin_port), "no");
	send_udp(0, ntohs(a.sin_port), "no");
	send_udp(0x0a000203, ntohs(a.sin_port), "no");	/* the name server has one port */
	CHECK(counts("tx_dropped", 3));
	send_udp(HOST, ntohs(a.sin_port), "again");
	len = sizeof(a);
	while (recvfrom(peer, buf, sizeof(buf), 0, (struct sockaddr *)&a, &len) != 5)
		d_pause();
	CHECK_EQ(sendto(peer, "to the guest", 12, 0, (struct sockaddr *)&a, len), 12);
	ip = next_ip();
	CHECK(ip && get32(ip + 12) == HOST && get32(ip + 16) == GUEST && !memcmp(ip + 28, "to the guest", 12));
	unplug();
}

/* Nothing comes to the host's loopback, by whatever address of the network. */
static void does_not_reach_the_host(const struct net_user *u)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(a);
	char buf[64];
	unsigned int i;

	peer = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	CHECK(!bind(peer, (struct sockaddr *)&a, sizeof(a)) && !getsockname(peer, (struct sockaddr *)&a, &len));
	plug_user(u, NULL);
	send_udp(HOST, ntohs(a.sin_port), "to the host");
	send_udp(HOST + 77, ntohs(a.sin_port), "to the host");
	send_udp(0xffffffff, ntohs(a.sin_port), "to the host");
	for (i = 0; i < 100; i++)
		d_pause();
	CHECK(recv(peer, buf, sizeof(buf), 0) < 0);
	unplug();
}

UNIT_TEST(user_restricted)
{
	const struct net_user u = { .restricted = true };

	does_not_reach_the_host(&u);
}

UNIT_TEST(user_alone)
{
	const struct net_user u = { .alone = true };

	does_not_reach_the_host(&u);
}

/* A segment without data from port 22. */
static void send_tcp(uint32_t to, uint16_t port, uint8_t flags, uint32_t number, uint32_t acknowledged)
{
	uint8_t *tcp = dr.ram + D_DATA + NET_HEADER + 34, pseudo[32] = { 0 };

	memset(tcp, 0, 20);
	put16(tcp, 22);
	put16(tcp + 2, port);
	put32(tcp + 4, number);
	put32(tcp + 8, acknowledged);
	tcp[12] = 0x50;
	tcp[13] = flags;
	put16(tcp + 14, 8000);
	put32(pseudo, GUEST);
	put32(pseudo + 4, to);
	pseudo[9] = IPPROTO_TCP;
	pseudo[11] = 20;
	memcpy(pseudo + 12, tcp, 20);
	put16(tcp + 16, checksum(pseudo, 32));
	send_ip(to, IPPROTO_TCP, 20);
}

/* A socket on a port of its own of the host's loopback. */
static int tcp_socket(struct sockaddr_in *a)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	socklen_t len = sizeof(*a);

	*a = (struct sockaddr_in){ .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	CHECK(!bind(fd, (struct sockaddr *)a, sizeof(*a)) && !getsockname(fd, (struct sockaddr *)a, &len));
	return fd;
}

/* The host reaches the guest at whose port it may, and the guest's answers go to where it asked from. */
UNIT_TEST(user_alone_forwarded)
{
	struct net_user u = { .alone = true, .forwards = 1 };
	struct sockaddr_in a;
	const uint8_t *ip;
	uint16_t port;
	unsigned int i;
	int fd;

	fd = tcp_socket(&a);
	u.forward[0] = (struct net_forward){ a.sin_addr, ntohs(a.sin_port), 22 };
	close(fd);
	peer = socket(AF_INET, SOCK_STREAM, 0);
	plug_user(&u, NULL);
	CHECK(!connect(peer, (struct sockaddr *)&a, sizeof(a)));
	ip = next_ip();
	REQUIRE(ip && ip[9] == IPPROTO_TCP && get32(ip + 12) == HOST && get16(ip + 22) == 22 && ip[33] == 0x02);
	port = get16(ip + 20);
	send_tcp(HOST, port, 0x12, 5000, get32(ip + 24) + 1);
	ip = next_ip();
	CHECK(ip && get32(ip + 12) == HOST && get16(ip + 20) == port && ip[33] == 0x10 && get32(ip + 28) == 5001);
	/* It asks for no connection of its own there. */
	fd = tcp_socket(&a);
	CHECK(!listen(fd, 1));
	send_tcp(HOST, ntohs(a.sin_port), 0x02, 7000, 0);
	for (i = 0; i < 100; i++)
		d_pause();
	CHECK(accept(fd, NULL, NULL) < 0);
	CHECK(counts("tx_dropped", 1));
	close(fd);
	unplug();
}

static unsigned int opened;

static void *service_open(void *ctx)
{
	opened++;
	return ctx;
}

static ssize_t service_input(void *conn, const void *data, size_t len, void *out, size_t room)
{
	memcpy(out, data ?: "", len);
	return len;
}

static void service_close(void *conn)
{
	opened--;
}

/* Whatever the back end, it is asked for by a frame. */
UNIT_TEST(service)
{
	static const struct net_service s = { service_open, service_input, service_close, &opened };
	const struct net_user u = { .restricted = true };
	uint8_t *tcp = dr.ram + D_DATA + NET_HEADER + 34;
	const uint8_t *ip;

	plug_user(&u, &s);
	peer = -1;
	tcp = dr.ram + D_DATA + NET_HEADER + 34;
	memset(tcp, 0, 20);
	put16(tcp, 4000);
	put16(tcp + 2, 80);
	put32(tcp + 4, 1000);
	tcp[12] = 0x50;
	tcp[13] = 2;
	put16(tcp + 14, 8000);
	send_ip(NET_SERVICE_ADDRESS, IPPROTO_TCP, 20);
	ip = next_ip();
	CHECK(ip && get32(ip + 12) == NET_SERVICE_ADDRESS && ip[33] == 0x12 && get32(ip + 28) == 1001);
	CHECK_EQ(checksum(ip, 20), 0);
	CHECK_EQ(opened, 1);
	d_unplug();
	CHECK_EQ(opened, 0);
}

static uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ULL + t.tv_nsec / 1000000;
}

/* 24 KB at 64 KiB/s, each way and both: a third of a second, but for what may be taken ahead. */
UNIT_TEST(at_a_rate)
{
	struct bucket in = { .rate = 65536 }, out = { .rate = 65536 };
	static uint8_t frame[2048];
	uint64_t begin, took;
	unsigned int i;

	rate_in = &in;
	rate_out = &out;
	plug_socket(false);
	d_start(1ULL << VIRTIO_NET_F_MRG_RXBUF, 2);
	begin = now_ms();
	for (i = 0; i < 24; i++) {
		send_frame(NULL, 1000);
		CHECK(hear(frame, sizeof(frame)) > 0);
	}
	took = now_ms() - begin;
	if (took < 200 || took > 5000)
		unit_fail("to the host in %llu ms", (unsigned long long)took);
	give_room(30, 2048);
	begin = now_ms();
	for (i = 0; i < 24; i++)
		say(NULL, 1000);
	CHECK(counts("rx_frames", 24));
	took = now_ms() - begin;
	if (took < 200 || took > 5000)
		unit_fail("to the guest in %llu ms", (unsigned long long)took);
	/* A reset, and the end, do not wait for it. */
	bucket_take(&in, now_ms() * 1000000, 1 << 30);
	bucket_take(&out, now_ms() * 1000000, 1 << 30);
	say(NULL, 100);
	d_reset();
	unplug();
	rate_in = rate_out = NULL;
}
