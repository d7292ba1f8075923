// SPDX-License-Identifier: GPL-2.0
/* The log of a console: what is kept, what is lost, and files that are none. */
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "unit.h"
#include "../../userspace-tool/cmd/ring.c"

static struct ring *ring_of(uint64_t size)
{
	struct ring *r = calloc(1, sizeof(*r) + size);

	if (!r)
		abort();
	ring_init(r, size);
	return r;
}

static void put(struct ring *r, const char *text)
{
	ring_put(r, NULL, (const uint8_t *)text, strlen(text));
}

static void put_to(struct ring *file, struct ring *r, const char *text)
{
	ring_put(r, file, (const uint8_t *)text, strlen(text));
}

static const char *get(struct ring *r, uint64_t *pos, size_t room, uint64_t *lost)
{
	static char text[128];

	text[ring_get(r, pos, (uint8_t *)text, room, lost)] = 0;
	return text;
}

UNIT_TEST(keeps_the_last)
{
	struct ring *r = ring_of(8);
	uint64_t pos = 0, lost;

	CHECK(!strcmp(get(r, &pos, 99, &lost), "") && !lost && !pos);
	put(r, "abc");
	CHECK(!strcmp(get(r, &pos, 2, &lost), "ab") && !lost && pos == 2);
	CHECK(!strcmp(get(r, &pos, 99, &lost), "c") && pos == 3);
	put(r, "defgh");
	CHECK(!strcmp(get(r, &pos, 99, &lost), "defgh") && !lost);
	put(r, "ijk");
	put(r, "lmnop");
	CHECK(!strcmp(get(r, &pos, 99, &lost), "ijklmnop") && !lost && pos == 16);
	put(r, "0123456789");
	CHECK(!strcmp(get(r, &pos, 3, &lost), "234") && lost == 2);
	CHECK(!strcmp(get(r, &pos, 99, &lost), "56789") && !lost);
	pos = 0;
	CHECK(!strcmp(get(r, &pos, 99, &lost), "23456789") && lost == 18);
	/* What a client asks for that never was. */
	pos = 1000;
	CHECK(!strcmp(get(r, &pos, 99, &lost), "") && !lost);
	free(r);
}

/* Against the simplest model there is: the whole stream. */
UNIT_TEST(as_the_whole_stream)
{
	static uint8_t all[70000];
	struct ring *r = ring_of(61);
	uint64_t pos[3] = { 0 }, total = 0, lost, seed = 1, was;
	uint8_t buf[128];

	for (int i = 0; i < 3000; i++) {
		size_t n, k;

		seed = seed * 6364136223846793005ULL + 1442695040888963407ULL;
		n = (seed >> 33) % 23 * (seed >> 60 ? 1 : 5);
		for (k = 0; k < n; k++)
			all[total + k] = seed >> (k % 50);
		if (total + n > sizeof(all))
			break;
		ring_put(r, NULL, all + total, n);
		total += n;
		k = i % 3;
		was = pos[k];
		n = ring_get(r, &pos[k], buf, (seed >> 40) % 100, &lost);
		CHECK_EQ(pos[k], was + lost + n);
		CHECK(!lost || was + lost == total - 61);
		CHECK(!memcmp(buf, all + pos[k] - n, n));
		CHECK(n || pos[k] == total || (seed >> 40) % 100 == 0);
	}
	CHECK_EQ(r->total, total);
	free(r);
}

UNIT_TEST(last_lines)
{
	struct ring *r = ring_of(16);

	CHECK_EQ(ring_tail(r, 5), 0);
	put(r, "one\ntwo\nthr");
	CHECK_EQ(ring_tail(r, 0), 11);
	CHECK_EQ(ring_tail(r, 1), 8);
	CHECK_EQ(ring_tail(r, 2), 4);
	CHECK_EQ(ring_tail(r, 3), 0);
	CHECK_EQ(ring_tail(r, ~0U), 0);
	put(r, "ee\n");
	CHECK_EQ(ring_tail(r, 1), 8);
	CHECK_EQ(ring_tail(r, 2), 4);
	put(r, "a line that is too long");
	CHECK_EQ(ring_tail(r, 3), r->total - 16);
	put(r, "\n\n\n");
	CHECK_EQ(ring_tail(r, 1), r->total - 1);
	CHECK_EQ(ring_tail(r, 2), r->total - 2);
	free(r);
}

static char dir_path[64];
static int dir;

static void begin(void)
{
	strcpy(dir_path, "/tmp/cleave-ring-XXXXXX");
	if (!mkdtemp(dir_path))
		abort();
	dir = open(dir_path, O_RDONLY | O_DIRECTORY);
}

static void end(void)
{
	char command[128];

	close(dir);
	snprintf(command, sizeof(command), "rm -rf %s", dir_path);
	if (system(command))
		abort();
}

/* Killed outright: what it put is there. */
UNIT_TEST(outlives_its_process)
{
	struct ring *r, *own = ring_of(RING_DATA);
	uint64_t pos = 0, lost;
	pid_t pid;

	begin();
	pid = fork();
	if (!pid) {
		if (ring_create(dir, "a.log", &r))
			_exit(1);
		for (int i = 0; i < 50000; i++)
			put_to(r, own, "a line of some length\n");
		put_to(r, own, "the last words");
		kill(getpid(), SIGKILL);
	}
	waitpid(pid, NULL, 0);
	REQUIRE(!ring_load(dir, "a.log", &r));
	CHECK_EQ(r->size, RING_DATA);
	CHECK_EQ(r->total, 50000 * 22 + 14);
	pos = r->total - 14;
	CHECK(!strcmp(get(r, &pos, 99, &lost), "the last words"));
	free(r);
	free(own);
	end();
}

/* Who may write to the file spoils the file. */
UNIT_TEST(file_that_others_write_to)
{
	struct ring *file, *own = ring_of(RING_DATA);
	uint64_t pos = 0, lost;

	begin();
	REQUIRE(!ring_create(dir, "a.log", &file));
	put_to(file, own, "one ");
	file->size = 0;
	file->total = ~0ULL - 3;
	file->from = 1ULL << 63;
	put_to(file, own, "two");
	CHECK(!strcmp(get(own, &pos, 99, &lost), "one two") && !memcmp(file->data, "one two", 7));
	ring_close(file);
	free(own);
	end();
}

/* Read while it is written to: nothing that is new stands where the oldest was. */
UNIT_TEST(read_while_written)
{
	struct ring *w = NULL, *r, *own = ring_of(RING_DATA);
	int status, torn = 0;
	pid_t pid;

	begin();
	REQUIRE(!ring_create(dir, "a.log", &w));
	pid = fork();
	if (!pid) {
		char text[32];

		for (unsigned int i = 0; ; i++) {
			snprintf(text, sizeof(text), "%08u\n", i);
			put_to(w, own, text);
		}
	}
	for (int i = 0; i < 300; i++) {
		uint64_t pos = 0, lost;
		unsigned int last = 0, n;
		char line[10] = "";

		REQUIRE(!ring_load(dir, "a.log", &r));
		ring_get(r, &pos, (uint8_t *)line, 0, &lost);
		pos = (pos + 8) / 9 * 9;
		while (ring_get(r, &pos, (uint8_t *)line, 9, &lost) == 9) {
			n = strtoul(line, NULL, 10);
			torn += last && n != last + 1;
			last = n;
		}
		free(r);
	}
	CHECK_EQ(torn, 0);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	ring_close(w);
	free(own);
	end();
}

static int load(const void *content, size_t size)
{
	int fd = openat(dir, "x.log", O_WRONLY | O_CREAT | O_TRUNC, 0600), ret;
	struct ring *r;

	if (write(fd, content, size) != (ssize_t)size)
		abort();
	close(fd);
	ret = ring_load(dir, "x.log", &r);
	free(r);
	return ret;
}

UNIT_TEST(files_that_are_none)
{
	struct {
		struct ring head;
		uint8_t data[32];
	} file;
	struct ring *r;

	begin();
	CHECK_EQ(ring_load(dir, "nothing", &r), -ENOENT);
	CHECK_EQ(ring_load(dir, ".", &r), -EBADMSG);
	CHECK_EQ(load("", 0), -EBADMSG);
	ring_init(&file.head, 32);
	memset(file.data, 'x', 32);
	CHECK_EQ(load(&file, sizeof(file)), 0);
	CHECK_EQ(load(&file, sizeof(file) - 1), -EBADMSG);
	CHECK_EQ(load(&file, sizeof(file.head)), -EBADMSG);
	file.head.size = 0;
	CHECK_EQ(load(&file, sizeof(file)), -EBADMSG);
	file.head.size = UINT64_MAX;
	CHECK_EQ(load(&file, sizeof(file)), -EBADMSG);
	file.head.size = 32;
	file.head.total = UINT64_MAX;	/* nonsense, but within bounds */
	CHECK_EQ(load(&file, sizeof(file)), 0);
	file.head.magic[3] ^= 1;
	CHECK_EQ(load(&file, sizeof(file)), -EBADMSG);
	CHECK(!symlinkat("x.log", dir, "link.log") && ring_load(dir, "link.log", &r) == -ELOOP);
	end();
}

/* No room for all of it: said at the start, and nothing is left. */
UNIT_TEST(no_room)
{
	struct ring *r;

	begin();
	CHECK_EQ(ring_create(-1, NULL, &r), 0);
	put(r, "without a name");
	ring_close(r);
	signal(SIGXFSZ, SIG_IGN);
	if (!fork()) {
		const struct rlimit limit = { 4096, 4096 };

		setrlimit(RLIMIT_FSIZE, &limit);
		_exit(ring_create(dir, "b.log", &r) == -EFBIG && !r && faccessat(dir, "b.log", F_OK, 0) ? 0 : 1);
	}
	{
		int status = -1;

		wait(&status);
		CHECK_EQ(status, 0);
	}
	end();
}
