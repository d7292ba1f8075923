// SPDX-License-Identifier: GPL-2.0
/*
 * Debian's own kernel with a network: behind the sockets of the tool, and by a TAP interface,
 * which is removed in the end. What goes over it is compared at both ends.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <net/if.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include "kselftest_harness.h"
#include "host.h"
#include "tool.h"

#define BYTES	(1UL << 20)
#define ECHOED	65536
#define TAP	"clv0"

static void say_all(char *buf, size_t len, const char *line)
{
	size_t n = strlen(line);

	for (size_t i = 0; i < len; i++)
		buf[i] = i % (n + 1) == n ? '\n' : line[i % (n + 1)];
}

static bool send_all(int fd, const char *buf, size_t len)
{
	for (ssize_t n; len; buf += n, len -= n) {
		n = send(fd, buf, len, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
	}
	return true;
}

static size_t receive_all(int fd, char *buf, size_t len)
{
	size_t got = 0;

	for (ssize_t n; got < len; got += n) {
		n = recv(fd, buf + got, len - got, 0);
		if (n <= 0)
			break;
	}
	return got;
}

/* ---- who the guest talks to ---------------------------------------------------------------- */

static int listener(int type, uint32_t address, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(address) }, .sin_port = htons(port) };
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || (type == SOCK_STREAM && listen(fd, 4)))
		DIE("port %u", port);
	return fd;
}

static void serve(int fd, bool sends)
{
	static char buf[BYTES + 1], right[BYTES];
	size_t n;

	say_all(right, BYTES, sends ? "from the host" : "from the guest");
	for (;;) {
		int s = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (sends) {
			send_all(s, right, BYTES);
		} else {
			n = receive_all(s, buf, sizeof(buf));
			if (n == BYTES && !memcmp(buf, right, BYTES))
				send_all(s, "right\n", 6);
		}
		close(s);
	}
}

/* Any name of any type: one address. */
static void answer_names(int fd)
{
	static const uint8_t answer[] = { 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 9, 8, 7 };
	struct sockaddr_in a;
	socklen_t len = sizeof(a);
	uint8_t q[600];
	ssize_t n;

	while ((n = recvfrom(fd, q, 512, 0, (struct sockaddr *)&a, &len)) > 12) {
		bool ipv4 = q[n - 3] == 1;

		q[2] |= 0x80;
		q[7] = ipv4;
		q[9] = q[11] = 0;
		memcpy(q + n, answer, sizeof(answer));
		sendto(fd, q, n + (ipv4 ? sizeof(answer) : 0), 0, (struct sockaddr *)&a, len);
		len = sizeof(a);
	}
}

static pid_t helper(int fd, int what)
{
	pid_t pid = fork();

	if (pid) {
		close(fd);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (what == 2)
		answer_names(fd);
	else
		serve(fd, what);
	_exit(1);
}

static void command(const char *text)
{
	if (system(text))
		DIE("%s", text);
}

FIXTURE(net) {
	struct tool t;
	pid_t helper[3];
};

FIXTURE_SETUP(net)
{
	command("ip link set lo up");
	self->helper[0] = helper(listener(SOCK_STREAM, INADDR_ANY, 7002), 0);
	self->helper[1] = helper(listener(SOCK_STREAM, INADDR_ANY, 7001), 1);
	self->helper[2] = helper(listener(SOCK_DGRAM, INADDR_LOOPBACK, 53), 2);
}

FIXTURE_TEARDOWN(net)
{
	for (int i = 0; i < 3; i++) {
		kill(self->helper[i], SIGKILL);
		waitpid(self->helper[i], NULL, 0);
	}
}

/* ---- tests ----------------------------------------------------------------------------------- */

/* A connection to the guest's port 22, which sends back what it gets. */
static void echo(struct __test_metadata *_metadata, uint32_t address, uint16_t port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(address) }, .sin_port = htons(port) };
	static char sent[ECHOED], got[ECHOED];
	const struct timeval limit = { 60 * patience() };
	bool same = false;

	say_all(sent, ECHOED, "to the guest and back");
	/* It has said that it listens before it does. */
	for (int i = 0; i < 20 && !same; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		same = !connect(fd, (struct sockaddr *)&a, sizeof(a)) && send_all(fd, sent, ECHOED) &&
		       receive_all(fd, got, ECHOED) == ECHOED && !memcmp(sent, got, ECHOED);
		close(fd);
		if (!same)
			nap_us(500000);
	}
	EXPECT_TRUE(same);
}

static void counters(struct __test_metadata *_metadata)
{
	EXPECT_LE((long)BYTES, tool_stat("net", "net 0", "rx_bytes"));
	EXPECT_LE((long)BYTES, tool_stat("net", "net 0", "tx_bytes"));
	EXPECT_EQ(0, tool_stat("net", "net 0", "bad_headers"));
	EXPECT_EQ(1, tool_stat("net", "net 0", "ioeventfd"));
}

/* In the sandbox, and with no right that a user has not. By each kernel that there is. */
TEST_F_TIMEOUT(net, user, 600)
{
	char *words[] = { "--net", "user,mac=02:00:00:12:34:56,hostfwd=tcp:7022:22,dns=127.0.0.1", NULL };

	for (int i = 0; tool_find_kernel(i) && (!i || !emulated_by_bochs()); i++) {
		TH_LOG("%s", tool_kernel);
		tool_start(&self->t, "net", "console=ttyS0 loglevel=5 panic=-1 cleave.auto cleave.net=user", words);
		EXPECT_TRUE(tool_hear(&self->t, "cleave guest: listens", NULL));
		counters(_metadata);
		echo(_metadata, INADDR_LOOPBACK, 7022);
		EXPECT_EQ(0, tool_finish(&self->t, NULL));
		EXPECT_TRUE(tool_said(&self->t, "cleave guest: all is well"));
		EXPECT_FALSE(tool_said(&self->t, "FAILED"));
	}
}

static bool tap_there(void)
{
	char path[300];

	if (!access("/dev/net/tun", F_OK))
		return true;
	snprintf(path, sizeof(path), "insmod %s/tun.ko", getenv("CLEAVE_MODULES") ?: "/modules");
	return !system(path) && !access("/dev/net/tun", F_OK);
}

static void by_tap(struct __test_metadata *_metadata, struct tool *t)
{
	char *words[] = { "--net", "tap=" TAP ",mac=02:00:00:12:34:56,mtu=1400", NULL };

	tool_start(t, "net", "console=ttyS0 loglevel=5 panic=-1 cleave.auto cleave.net=tap", words);
	ASSERT_TRUE(WAIT_FOR(if_nametoindex(TAP), 60000));
	command("ip addr add 192.0.2.1/24 dev " TAP);
	EXPECT_TRUE(tool_hear(t, "cleave guest: listens", NULL));
	counters(_metadata);
	/* Segments are cut by the host, and put together by the guest: none is as small as on a wire. */
	EXPECT_LT(1514 * tool_stat("net", "net 0", "tx_frames"), tool_stat("net", "net 0", "tx_bytes"));
	EXPECT_LT(1514 * tool_stat("net", "net 0", "rx_frames"), tool_stat("net", "net 0", "rx_bytes"));
	printf("# sent %ld frames, %ld bytes; got %ld, %ld\n", tool_stat("net", "net 0", "tx_frames"),
	       tool_stat("net", "net 0", "tx_bytes"), tool_stat("net", "net 0", "rx_frames"),
	       tool_stat("net", "net 0", "rx_bytes"));
	echo(_metadata, 0xc0000202, 22);
	EXPECT_TRUE(tool_hear(t, "cleave guest: cut me off", NULL));
	command("ip link del " TAP);
	EXPECT_EQ(0, tool_finish(t, NULL));
	EXPECT_TRUE(tool_said(t, "the interface has gone"));
	EXPECT_TRUE(tool_said(t, "ok: the link goes down"));
	EXPECT_TRUE(tool_said(t, "cleave guest: all is well"));
	EXPECT_FALSE(tool_said(t, "FAILED"));
}

/* And what became of it. */
TEST_F_TIMEOUT(net, tap_vanishes, 600)
{
	if (!tap_there())
		SKIP(return, "no tun.ko in $CLEAVE_MODULES");
	if (emulated_by_bochs())
		SKIP(return, "minutes there, and the same device as on AMD-V");
	ASSERT_TRUE(tool_find_kernel(0));
	by_tap(_metadata, &self->t);
}

TEST_HARNESS_MAIN
