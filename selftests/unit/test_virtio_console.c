// SPDX-License-Identifier: GPL-2.0
/* The console device and its ports, and the balloon, by a driver that is a guest's. */
#include <errno.h>
#include <linux/virtio_balloon.h>
#include <linux/virtio_console.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "unit.h"
#include "virtio_driver.h"

#define MULTIPORT	(1ULL << VIRTIO_CONSOLE_F_MULTIPORT)
#define SIZE		(1ULL << VIRTIO_CONSOLE_F_SIZE)
#define CONTROL		(D_DATA + 0x40000)

static char out[4096];
static atomic_uint out_len;
static int pair[2], sock = -1;
static char path[] = "/tmp/test_virtio_console";

static atomic_bool slow;		/* a terminal that takes a ms for what it gets */

static ssize_t t_write(void *ctx, const void *data, size_t len)
{
	unsigned int at = atomic_load(&out_len);

	if (atomic_load(&slow)) {
		d_pause();
		return len;
	}
	memcpy(out + at, data, len);
	atomic_store(&out_len, at + len);
	return len;
}

/* A terminal, and with more than one port a socket that programs find by its name. */
static void plug(unsigned int ports)
{
	struct console_port port[2] = {
		{ .console = true, .fd = -1, .listen = -1, .write = t_write },
		{ .name = "org.cleave.test", .fd = -1, .listen = -1 },
	};
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair))
		abort();
	port[0].fd = pair[1];
	strcpy(address.sun_path, path);
	unlink(path);
	port[1].listen = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (bind(port[1].listen, (struct sockaddr *)&address, sizeof(address)) || listen(port[1].listen, 1))
		abort();
	if (ports < 2)
		close(port[1].listen);
	atomic_store(&out_len, 0);
	d_plug(virtio_console(d_memory(), port, ports));
}

static void unplug(void)
{
	d_unplug();
	close(pair[0]);
	unlink(path);
}

static void dial(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, path);
	sock = socket(AF_UNIX, SOCK_STREAM, 0);
	CHECK_EQ(connect(sock, (struct sockaddr *)&address, sizeof(address)), 0);
}

static void send_text(unsigned int queue, const char *text)
{
	memcpy(dr.ram + D_DATA, text, strlen(text));
	d_offer(queue, (const struct d_part[]){ { D_DATA, strlen(text), false } }, 1);
	d_kick(queue);
	CHECK_EQ(d_wait(queue), 0);
}

UNIT_TEST(one_console)
{
	const struct d_part room = { D_DATA + 0x1000, 16, true };

	plug(1);
	d_start(SIZE, 2);
	CHECK_EQ(dr.features & MULTIPORT, 0);
	send_text(1, "hello, ");
	send_text(1, "world");
	CHECK(atomic_load(&out_len) == 12 && !memcmp(out, "hello, world", 12));
	/* Keys wait for the driver's buffers, and are more than one holds. */
	CHECK_EQ(write(pair[0], "0123456789abcdefXYZ", 19), 19);
	d_pause();
	d_offer(0, &room, 1);
	d_kick(0);
	CHECK_EQ(d_wait(0), 16);
	CHECK(!memcmp(dr.ram + D_DATA + 0x1000, "0123456789abcdef", 16));
	d_offer(0, &room, 1);
	d_kick(0);
	CHECK_EQ(d_wait(0), 3);
	d_offer(0, &room, 1);
	d_kick(0);
	d_pause();
	CHECK_EQ(write(pair[0], "!", 1), 1);
	CHECK_EQ(d_wait(0), 1);
	/* The size, and that it has changed. */
	atomic_store(&dr.last_data, 0);
	virtio_console_resize(dr.d, 132, 50);
	CHECK(d_message(0x40));
	CHECK(d_get(0x2000, 2) == 132 && d_get(0x2002, 2) == 50);
	unplug();
}

/* ---- several ports ------------------------------------------------------------------------ */

static unsigned int told;	/* messages that came, and buffers that went */

static void control(uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control m = { .id = id, .event = event, .value = value };

	memcpy(dr.ram + CONTROL, &m, sizeof(m));
	d_offer(3, (const struct d_part[]){ { CONTROL, sizeof(m), false } }, 1);
	d_kick(3);
	CHECK_EQ(d_wait(3), 0);
}

static void give_room(void)
{
	d_offer(2, (const struct d_part[]){ { CONTROL + 0x1000 + told * 256, 256, true } }, 1);
	d_kick(2);
}

/* The next message; what follows it is at the result. */
static const uint8_t *expect(uint32_t id, uint16_t event, uint16_t value)
{
	struct virtio_console_control m;
	const uint8_t *p = dr.ram + CONTROL + 0x1000 + told * 256;
	int64_t len;

	give_room();
	len = d_wait(2);
	memcpy(&m, p, sizeof(m));
	if (len < (int)sizeof(m) || m.id != id || m.event != event || m.value != value)
		unit_fail("message of %lld bytes: port %u, event %u, value %u; not %u, %u, %u", (long long)len,
			  m.id, m.event, m.value, id, event, value);
	told++;
	return p + sizeof(m);
}

static void start_ports(void)
{
	told = 0;
	d_start(SIZE | MULTIPORT, 6);
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect(0, VIRTIO_CONSOLE_PORT_ADD, 1);
	expect(1, VIRTIO_CONSOLE_PORT_ADD, 1);
	control(0, VIRTIO_CONSOLE_PORT_READY, 1);
	expect(0, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
	expect(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control(1, VIRTIO_CONSOLE_PORT_READY, 1);
	CHECK(!memcmp(expect(1, VIRTIO_CONSOLE_PORT_NAME, 1), "org.cleave.test", 15));
	expect(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
}

UNIT_TEST(several_ports)
{
	uint16_t size[2];
	char buf[16];

	plug(2);
	start_ports();
	CHECK(d_get(0x2004, 4) == 2 && (dr.features & MULTIPORT));
	send_text(5, "nobody reads this");	/* lost, and given back */
	dial();
	expect(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	send_text(5, "to you");
	CHECK(read(sock, buf, 16) == 6 && !memcmp(buf, "to you", 6));
	/* What comes before the guest has it open stays. */
	CHECK_EQ(write(sock, "to me", 5), 5);
	d_offer(4, (const struct d_part[]){ { D_DATA + 0x2000, 16, true } }, 1);
	d_kick(4);
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	CHECK_EQ(d_wait(4), 5);
	CHECK(!memcmp(dr.ram + D_DATA + 0x2000, "to me", 5));
	virtio_console_resize(dr.d, 80, 25);
	memcpy(size, expect(0, VIRTIO_CONSOLE_RESIZE, 1), 4);
	CHECK(size[0] == 80 && size[1] == 25);
	/* It hangs up, and another one calls. */
	d_offer(4, (const struct d_part[]){ { D_DATA + 0x2000, 16, true } }, 1);
	d_kick(4);
	close(sock);
	expect(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	dial();
	expect(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	CHECK_EQ(write(sock, "again", 5), 5);
	CHECK_EQ(d_wait(4), 5);
	/* A driver that starts anew is told all again. */
	told = 0;
	d_start(SIZE | MULTIPORT, 6);
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	expect(0, VIRTIO_CONSOLE_PORT_ADD, 1);
	expect(1, VIRTIO_CONSOLE_PORT_ADD, 1);
	/* Ports that are not there, messages that are none. */
	control(2, VIRTIO_CONSOLE_PORT_READY, 1);
	control(UINT32_MAX, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control(0, 999, 1);
	d_offer(3, (const struct d_part[]){ { CONTROL, 3, false } }, 1);
	d_kick(3);
	CHECK_EQ(d_wait(3), 0);
	close(sock);
	unplug();
}

/* A reader that does not read holds the port up, and not the device. */
UNIT_TEST(slow_reader)
{
	static char buf[65536];
	unsigned int i, got = 0;

	plug(2);
	start_ports();
	dial();
	expect(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	for (i = 0; i < 40; i++)
		d_offer(5, (const struct d_part[]){ { D_DATA, 16384, false } }, 1);
	d_kick(5);
	d_pause();
	send_text(1, "meanwhile");
	CHECK(atomic_load(&out_len) == 9);
	while (got < 40 * 16384) {
		ssize_t n = read(sock, buf, sizeof(buf));

		if (n <= 0)
			break;
		got += n;
	}
	CHECK_EQ(got, 40 * 16384);
	for (i = 0; i < 40; i++)
		CHECK_EQ(d_wait(5), 0);
	close(sock);
	unplug();
}

/* A chain may be longer than anyone lives: a reset, and the end, do not wait for it. */
UNIT_TEST(end_within_a_chain)
{
	struct d_part part[32];
	unsigned int i;

	for (i = 0; i < 32; i++)
		part[i] = (struct d_part){ D_DATA, D_RAM - D_DATA, false };
	plug(1);
	atomic_store(&slow, true);
	for (i = 0; i < 2; i++) {
		d_start(SIZE, 2);
		d_offer(1, part, 32);
		d_offer(1, part, 32);
		d_kick(1);
		while (!atomic_load(&dr.d->counter[1]))
			d_pause();
		if (!i)
			d_reset();
	}
	unplug();
	atomic_store(&slow, false);
	/* The next driver's bytes are its own. */
	plug(1);
	d_start(SIZE, 2);
	send_text(1, "again");
	CHECK(atomic_load(&out_len) == 5 && !memcmp(out, "again", 5));
	unplug();
}

/* ---- balloon ------------------------------------------------------------------------------ */

static bool is_zero(unsigned int page)
{
	static const uint8_t zeros[4096];

	return !memcmp(dr.ram + D_DATA + page * 4096, zeros, 4096);
}

UNIT_TEST(balloon)
{
	uint32_t pfn[] = { D_DATA / 4096, D_DATA / 4096 + 1, D_DATA / 4096 + 3, UINT32_MAX, D_RAM / 4096 };
	unsigned int i;

	d_plug(virtio_balloon(d_memory(), 64 << 20));
	d_start(1ULL << VIRTIO_BALLOON_F_REPORTING, 3);
	CHECK_EQ(d_get(0x2000, 4), 16384);
	memset(dr.ram + D_DATA, 'x', 8 * 4096);
	memcpy(dr.ram + 0x1000, pfn, sizeof(pfn));
	d_offer(0, (const struct d_part[]){ { 0x1000, sizeof(pfn), false } }, 1);
	d_kick(0);
	CHECK_EQ(d_wait(0), 0);
	for (i = 0; i < 8; i++)
		CHECK_EQ(is_zero(i), i == 0 || i == 1 || i == 3);
	CHECK_EQ(atomic_load(&dr.d->counter[0]), 3 * 4096);
	/* Free pages: of ranges that are no whole pages, those that are. */
	d_offer(2, (const struct d_part[]){ { D_DATA + 4 * 4096 + 1, 2 * 4096, true } }, 1);
	d_kick(2);
	CHECK_EQ(d_wait(2), 0);
	for (i = 4; i < 8; i++)
		CHECK_EQ(is_zero(i), i == 5);
	d_offer(1, (const struct d_part[]){ { 0x1000, 8, false } }, 1);
	d_kick(1);
	CHECK_EQ(d_wait(1), 0);
	d_set(0x2004, 4, 77);
	CHECK_EQ(d_get(0x2004, 4), 77);
	d_set(0x2000, 4, 1);			/* the device's */
	CHECK_EQ(d_get(0x2000, 4), 16384);
	d_unplug();
}
