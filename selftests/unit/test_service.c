// SPDX-License-Identifier: GPL-2.0
/* The metadata service on connections: answers that leave in pieces, and clients that send too much. */
#include <stdbool.h>

#include "unit.h"
#include "launch/service.h"
#include "net/net.h"

#define GET(path)	"GET " path " HTTP/1.1\r\nHost: x\r\n\r\n"

static char user_data[100000];
static struct metadata m = {
	.instance_id = "i-1", .hostname = "web", .user_data = user_data, .user_data_len = sizeof(user_data),
	.token = "t",
};
static struct net_service s;
static char out[300000];
static size_t len;
static bool closed;

/* As the back end does: the bytes, and then none until there is no answer. */
static void send_to(void *c, const char *data, size_t n, size_t room)
{
	ssize_t ret = s.input(c, data, n, out + len, room);

	while (ret > 0) {
		CHECK((size_t)ret <= room && len + ret < sizeof(out));
		len += ret;
		ret = s.input(c, NULL, 0, out + len, room);
	}
	closed |= ret < 0;
}

static void *begin(void)
{
	service_init(&s, &m);
	len = 0;
	closed = false;
	memset(out, 0, sizeof(out));
	return s.open(s.ctx);
}

UNIT_TEST(answers)
{
	static const char ask[] = GET("/latest/meta-data/instance-id") GET("/latest/meta-data/hostname");
	void *c = begin();
	size_t i;

	REQUIRE(c);
	for (i = 0; i < sizeof(ask) - 1; i++)
		send_to(c, ask + i, 1, 16384);
	CHECK(strstr(out, "\r\n\r\ni-1HTTP/1.1 200 ") && !strcmp(out + len - 7, "\r\n\r\nweb") && !closed);
	/* Both at once. */
	len = 0;
	memset(out, 0, sizeof(out));
	send_to(c, ask, sizeof(ask) - 1, 16384);
	CHECK(strstr(out, "\r\n\r\ni-1HTTP/1.1 200 ") && !strcmp(out + len - 7, "\r\n\r\nweb") && !closed);
	s.close(c);
}

UNIT_TEST(in_pieces)
{
	void *c = begin();

	REQUIRE(c);
	memset(user_data, 'u', sizeof(user_data));
	send_to(c, GET("/latest/user-data"), strlen(GET("/latest/user-data")), 777);
	CHECK(len > sizeof(user_data) && !memcmp(out + len - sizeof(user_data), user_data, sizeof(user_data)));
	CHECK(!closed);
	s.close(c);
}

UNIT_TEST(hangs_up)
{
	void *c = begin();

	REQUIRE(c);
	send_to(c, "nonsense\r\n\r\n" GET("/"), 12 + strlen(GET("/")), 16384);
	CHECK(closed && strstr(out, "HTTP/1.1 400 ") && !strstr(out, "200"));
	CHECK(s.input(c, GET("/"), 5, out, 100) < 0);
	s.close(c);
	/* In the middle of an answer. */
	c = begin();
	CHECK_EQ(s.input(c, GET("/latest/user-data"), strlen(GET("/latest/user-data")), out, 100), 100);
	s.close(c);
}

/* One that never reads its answers may not fill our memory. */
UNIT_TEST(too_much)
{
	void *c = begin();
	unsigned int i;
	ssize_t ret = 0;

	REQUIRE(c);
	for (i = 0; i < 100000 && ret >= 0; i++)
		ret = s.input(c, GET("/latest/user-data"), strlen(GET("/latest/user-data")), out, 1);
	CHECK(ret < 0 && i < 2000);
	s.close(c);
}

UNIT_TEST(too_many)
{
	void *c[100];
	unsigned int i, n;

	for (n = 0; n < 100 && (c[n] = n ? s.open(s.ctx) : begin()); n++)
		;
	CHECK(n >= 8 && n < 100);
	s.close(c[0]);
	c[0] = s.open(s.ctx);
	CHECK(c[0]);
	for (i = 0; i < n; i++)
		if (c[i])
			s.close(c[i]);
}
