// SPDX-License-Identifier: GPL-2.0
/* The metadata service: what cloud-init asks and gets, and requests that are none. */
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>

#include "unit.h"
#include "launch/metadata.h"

#define KEYS	"# mine\nssh-ed25519 AAAA me@here\r\n\nssh-rsa BBBB \"and\" more\n"
#define TOKEN	"0123456789abcdef0123456789abcdef"

static struct metadata m = {
	.instance_id = "i-1", .hostname = "web-1", .type = "small", .image = "debian",
	.keys = KEYS, .keys_len = sizeof(KEYS) - 1, .user_data = "#cloud-config\n\0x", .user_data_len = 16,
	.token = TOKEN,
};
static struct metadata_reply reply;
static ssize_t taken;

/* The status of the answer to all of it; 0: it is not whole. In a block of its own size, for ASan. */
static int raw(const char *text, size_t len)
{
	char *copy = malloc(len ?: 1);
	int status = 0;

	memcpy(copy, text, len);
	free(reply.data);
	reply.data = NULL;
	taken = metadata_answer(&m, copy, len, &reply);
	free(copy);
	if (taken > 0)
		sscanf(reply.data, "HTTP/1.1 %d ", &status);
	return status;
}

static int ask(const char *text)
{
	return raw(text, strlen(text));
}

static int get(const char *path)
{
	char text[512];

	snprintf(text, sizeof(text), "GET %s HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n", path);
	return ask(text);
}

static const char *body(void)
{
	char *p = reply.data ? strstr(reply.data, "\r\n\r\n") : NULL;

	return p ? p + 4 : "?";
}

/* That this is there, with this body, whose length is told. */
static bool has(const char *path, const char *want)
{
	char length[64];

	snprintf(length, sizeof(length), "\r\nContent-Length: %zu\r\n", strlen(want));
	if (get(path) == 200 && !strcmp(body(), want) && strstr(reply.data, length))
		return true;
	printf("# %s: %s\n", path, reply.data ? reply.data : "nothing");
	return false;
}

UNIT_TEST(the_tree_of_ec2)
{
	CHECK(has("/", "2009-04-04\n2016-09-02\n2018-09-24\n2021-03-23\nlatest"));
	CHECK(has("/latest", "meta-data\nuser-data"));
	CHECK(has("/2009-04-04/", "meta-data\nuser-data"));
	CHECK(has("/latest/meta-data/", "ami-id\nami-launch-index\nhostname\ninstance-id\ninstance-type\n"
		  "local-hostname\npublic-keys/"));
	CHECK(has("/latest/meta-data/instance-id", "i-1"));
	CHECK(has("/2021-03-23/meta-data/local-hostname", "web-1"));
	CHECK(has("/latest/meta-data/instance-type?x=y", "small"));
	CHECK(has("http://169.254.169.254/latest/meta-data/ami-id", "debian"));
	CHECK_EQ(get("/latest/meta-data/local-ipv4"), 404);
	m.address = "10.0.2.15";
	CHECK(has("/latest/meta-data/local-ipv4", "10.0.2.15"));
	m.address = NULL;
	CHECK_EQ(get("/latest/meta-data/instance-idx"), 404);
	CHECK_EQ(get("/latest/meta-datax"), 404);
	CHECK_EQ(get("/latest/meta-data//instance-id"), 404);
	CHECK_EQ(get("/latest/meta-data/../user-data"), 404);
	CHECK_EQ(get("/1066-10-14/meta-data/"), 404);
	CHECK_EQ(get("//latest"), 404);
}

UNIT_TEST(public_keys)
{
	CHECK(has("/latest/meta-data/public-keys/", "0=key-0\n1=key-1"));
	CHECK(has("/latest/meta-data/public-keys/0/", "openssh-key"));
	CHECK(has("/latest/meta-data/public-keys/0/openssh-key", "ssh-ed25519 AAAA me@here"));
	CHECK(has("/latest/meta-data/public-keys/1/openssh-key", "ssh-rsa BBBB \"and\" more"));
	CHECK_EQ(get("/latest/meta-data/public-keys/2/openssh-key"), 404);
	CHECK_EQ(get("/latest/meta-data/public-keys/-1/openssh-key"), 404);
	CHECK_EQ(get("/latest/meta-data/public-keys/18446744073709551616/openssh-key"), 404);
	CHECK_EQ(get("/latest/meta-data/public-keys/0/id"), 404);
	CHECK_EQ(get("/latest/meta-data/public-keys0"), 404);
	m.keys = NULL;
	CHECK(has("/latest/meta-data/public-keys/", ""));
	m.keys = KEYS;
}

/* Bytes, not a string. */
UNIT_TEST(user_data)
{
	CHECK_EQ(get("/latest/user-data"), 200);
	CHECK(reply.len > 16 && !memcmp(reply.data + reply.len - 16, m.user_data, 16));
	CHECK(strstr(reply.data, "\r\nContent-Length: 16\r\n"));
	CHECK_EQ(get("/user-data"), 200);
	m.user_data = NULL;
	CHECK_EQ(get("/latest/user-data"), 404);
	CHECK(has("/latest/", "meta-data"));
	m.user_data = "";
	m.user_data_len = 0;
	CHECK(has("/latest/user-data", ""));
}

UNIT_TEST(files_of_nocloud)
{
	CHECK(has("/meta-data", "{ \"instance-id\": \"i-1\", \"local-hostname\": \"web-1\" }\n"));
	CHECK(has("/vendor-data", ""));
	CHECK_EQ(get("/network-config"), 404);
}

#define TTL	"X-aws-ec2-metadata-token-ttl-seconds: "
#define PUT	"PUT /latest/api/token HTTP/1.1\r\nHost: x\r\n"

UNIT_TEST(tokens)
{
	CHECK_EQ(ask(PUT "x-aws-EC2-metadata-token-TTL-seconds:\t 300 \r\n\r\n"), 200);
	CHECK(!strcmp(body(), TOKEN) && strstr(reply.data, "\r\n" TTL "300\r\n"));
	CHECK_EQ(ask(PUT TTL "21600\r\nContent-Length: 0\r\n\r\n"), 200);
	CHECK_EQ(ask(PUT "\r\n"), 400);
	CHECK_EQ(ask(PUT TTL "0\r\n\r\n"), 400);
	CHECK_EQ(ask(PUT TTL "21601\r\n\r\n"), 400);
	CHECK_EQ(ask(PUT TTL "99999999999999999999999999999\r\n\r\n"), 400);
	CHECK_EQ(ask(PUT TTL "300\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n"), 403);
	CHECK_EQ(ask("PUT /latest/meta-data HTTP/1.1\r\n" TTL "300\r\n\r\n"), 405);
	CHECK_EQ(ask("GET /latest/meta-data/instance-id HTTP/1.1\r\nX-aws-ec2-metadata-token: " TOKEN "\r\n\r\n"), 200);
	CHECK_EQ(ask("GET / HTTP/1.1\r\nX-aws-ec2-metadata-token: " TOKEN "0\r\n\r\n"), 401);
	CHECK_EQ(ask("GET / HTTP/1.1\r\nX-aws-ec2-metadata-token:\r\n\r\n"), 401);
	CHECK_EQ(get("/latest/api/token"), 404);
}

UNIT_TEST(methods)
{
	CHECK_EQ(ask("HEAD /latest/meta-data/instance-id HTTP/1.1\r\n\r\n"), 200);
	CHECK(!*body() && strstr(reply.data, "\r\nContent-Length: 3\r\n"));
	CHECK_EQ(ask("POST / HTTP/1.1\r\n\r\n"), 405);
	CHECK(strstr(reply.data, "\r\nAllow: GET, HEAD, PUT\r\n"));
	CHECK_EQ(ask("get / HTTP/1.1\r\n\r\n"), 405);
}

/* It comes byte by byte: no answer before the last. */
UNIT_TEST(in_pieces)
{
	static const char text[] = "PUT /latest/api/token HTTP/1.1\r\n" TTL "5\r\nContent-Length: 3\r\n\r\nabc";
	size_t i;

	for (i = 0; i < sizeof(text) - 1; i++) {
		CHECK_EQ(raw(text, i), 0);
		CHECK_EQ(taken, 0);
	}
	CHECK_EQ(raw(text, i), 200);
	CHECK_EQ(taken, i);
}

UNIT_TEST(one_after_the_other)
{
	static const char one[] = "GET /latest/meta-data/instance-id HTTP/1.1\r\n\r\n";
	char two[256];

	snprintf(two, sizeof(two), "%sGET /no HTTP/1.1\r\n\r\n", one);
	CHECK_EQ(ask(two), 200);
	CHECK_EQ(taken, sizeof(one) - 1);
	CHECK(!reply.close && strstr(reply.data, "\r\nConnection: keep-alive\r\n"));
	CHECK_EQ(ask(two + taken), 404);
	CHECK(!reply.close);
	CHECK_EQ(ask("GET / HTTP/1.1\r\nConnection: x , Close\r\n\r\nrest"), 200);
	CHECK(reply.close && strstr(reply.data, "\r\nConnection: close\r\n"));
	CHECK_EQ(ask("GET / HTTP/1.0\r\n\r\n"), 200);
	CHECK(reply.close);
	CHECK_EQ(ask("GET / HTTP/1.1\nHost: x\n\n"), 200);
}

UNIT_TEST(no_requests)
{
	static const char *const wrong[] = {
		"\r\n\r\n", "GET\r\n\r\n", "GET /\r\n\r\n", "GET  / HTTP/1.1\r\n\r\n", " / HTTP/1.1\r\n\r\n",
		"GET latest HTTP/1.1\r\n\r\n", "GET / x\r\n\r\n", "GET http://host HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nno colon\r\n\r\n", "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
		"GET / HTTP/1.1\r\n: x\r\n\r\n", "GET / HTTP/1.1\r\nA: b\r\n folded: x\r\n\r\n",
		"GET / HTTP/1.1\r\nA: \033[31m\r\n\r\n", "GET /\x7f HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "GET / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length:\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"GET / HTTP/1.1\r\nContent-Length: 18446744073709551616\r\n\r\n",
	};
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (ask(wrong[i]) != 400 || !reply.close || taken != (ssize_t)strlen(wrong[i]))
			unit_fail("%s: %s", wrong[i], reply.data);
	CHECK_EQ(raw("GET /\0 HTTP/1.1\r\n\r\n", 20), 400);
	CHECK_EQ(ask("GET / HTTP/2.0\r\n\r\n"), 505);
	CHECK_EQ(ask("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), 501);
	CHECK(reply.close);
}

UNIT_TEST(too_long)
{
	static char text[METADATA_REQUEST_MAX + 64];
	char line[128];

	memset(text, 'a', sizeof(text));
	memcpy(text, "GET /", 5);
	CHECK_EQ(raw(text, METADATA_REQUEST_MAX - 1), 0);
	CHECK_EQ(raw(text, METADATA_REQUEST_MAX), 431);
	CHECK(reply.close);
	/* Its end is there, but too late. */
	memcpy(text + METADATA_REQUEST_MAX - 2, " HTTP/1.1\r\n\r\n", 13);
	CHECK_EQ(raw(text, sizeof(text)), 431);
	snprintf(line, sizeof(line), "GET / HTTP/1.1\r\nContent-Length: %u\r\n\r\n", METADATA_REQUEST_MAX - 20);
	CHECK_EQ(ask(line), 413);
	CHECK_EQ(ask("GET / HTTP/1.1\r\nContent-Length: 100\r\n\r\n"), 0);
	free(reply.data);
	reply.data = NULL;
}
