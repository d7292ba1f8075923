// SPDX-License-Identifier: GPL-2.0
/*
 * Debian's own kernel with disks, random numbers, ports and a balloon: what it writes to its
 * disk is in the file, by its own account and by a look from here; and what it has been told is
 * flushed is there when the tool is killed.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include "kselftest_harness.h"
#include "host.h"

#define MIB		(1UL << 20)
#define DISK		(32 * MIB)
#define BOOT_MS		120000
#define OUTPUT		(1 << 18)

struct tool {
	pid_t pid;
	int fd;			/* what it says */
	size_t len, shown;
	char out[OUTPUT];
};

static char dir[64], disk[80], base[80], overlay[80], other[80], port[80];
static char kernel[300], initrd[300];

/* ---- files ------------------------------------------------------------------------------ */

static void make_file(const char *path, size_t size, uint32_t seed)
{
	static uint32_t buf[65536];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	for (size_t at = 0; at < size; at += sizeof(buf)) {
		for (size_t i = 0; i < sizeof(buf) / 4; i++) {
			seed = seed * 1664525 + 1013904223;
			buf[i] = seed;
		}
		if (write(fd, buf, sizeof(buf)) != sizeof(buf))
			DIE("%s: no room", path);
	}
	close(fd);
}

/* As sha256sum in the guest says it. */
static void sum_of(const char *path, char sum[65])
{
	char command[120];
	FILE *f;

	snprintf(command, sizeof(command), "sha256sum %s", path);
	f = popen(command, "re");
	if (!f || fscanf(f, "%64s", sum) != 1)
		DIE("sha256sum");
	pclose(f);
}

/* Do len bytes at offset say line over and over? */
static bool says(const char *path, const char *line, uint64_t offset, size_t len)
{
	size_t n = strlen(line), i;
	char *buf = malloc(len);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool ok = pread(fd, buf, len, offset) == (ssize_t)len;

	for (i = 0; ok && i < len; i++)
		ok = buf[i] == (i % (n + 1) == n ? '\n' : line[i % (n + 1)]);
	close(fd);
	free(buf);
	return ok;
}

/* ---- the tool --------------------------------------------------------------------------- */

/* The which-th of those that have drivers to go with them. */
static bool find_kernel(int which)
{
	const char *guests = getenv("CLEAVE_GUESTS") ?: "/guest";
	struct dirent **list;
	int n = scandir(guests, &list, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		snprintf(kernel, sizeof(kernel), "%s/%s/vmlinuz", guests, list[i]->d_name);
		snprintf(initrd, sizeof(initrd), "%s/%s/virtio", guests, list[i]->d_name);
		if (list[i]->d_name[0] != '.' && !access(kernel, R_OK) && !access(initrd, R_OK) && !which--)
			return true;
	}
	return false;
}

/* cleave run with these words behind the usual ones. */
static void start(struct tool *t, const char *append, char *const words[])
{
	const char *argv[40] = { "cleave", "run", "--kernel", kernel, "--initrd", initrd, "--memory", "384M",
				 "--name", "virtio", "--append", append };
	int n = 12, fd[2];

	while (*words)
		argv[n++] = *words++;
	memset(t, 0, sizeof(*t));
	if (pipe2(fd, O_CLOEXEC))
		DIE("pipe");
	t->pid = fork();
	if (!t->pid) {
		int null = open("/dev/null", O_RDONLY);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(null, 0);
		dup2(fd[1], 1);
		dup2(fd[1], 2);
		execvp("cleave", (char *const *)argv);
		_exit(127);
	}
	close(fd[1]);
	t->fd = fd[0];
}

/* What has come by now; lines go to our output as comments. False: no more will. */
static bool more(struct tool *t)
{
	struct pollfd fd = { .fd = t->fd, .events = POLLIN };
	char *end, line[40] = "";
	ssize_t n;

	if (poll(&fd, 1, 100) <= 0 || t->len == sizeof(t->out) - 1)
		return true;
	n = read(t->fd, t->out + t->len, sizeof(t->out) - 1 - t->len);
	if (n <= 0)
		return false;
	t->len += n;
	while ((end = memchr(t->out + t->shown, '\n', t->len - t->shown))) {
		if (!strstr(strncpy(line, t->out + t->shown, sizeof(line) - 1), "flushed"))
			printf("# %.*s\n", (int)(end - t->out - t->shown), t->out + t->shown);
		t->shown = end + 1 - t->out;
	}
	return true;
}

static bool said(const struct tool *t, const char *text)
{
	return strstr(t->out, text) != NULL;
}

static bool hear(struct tool *t, const char *text)
{
	uint64_t until = now_ns() + BOOT_MS * MS * patience();

	while (!said(t, text) && now_ns() < until)
		if (!more(t))
			break;
	return said(t, text);
}

/* Its exit status, once it has said all. */
static int finish(struct tool *t)
{
	uint64_t until = now_ns() + BOOT_MS * MS * patience();
	int status = -1;

	while (now_ns() < until && more(t))
		;
	if (now_ns() >= until)
		kill(t->pid, SIGKILL);
	waitpid(t->pid, &status, 0);
	close(t->fd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static int dial(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	bool there = false;

	strcpy(address.sun_path, path);
	if (!WAIT_FOR((there = there || !connect(fd, (struct sockaddr *)&address, sizeof(address))), 30000))
		DIE("%s: nobody listens", path);
	return fd;
}

static bool nobody_listens(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), ret;

	strcpy(address.sun_path, path);
	ret = connect(fd, (struct sockaddr *)&address, sizeof(address)) ? errno : 0;
	close(fd);
	return ret == ECONNREFUSED;
}

/* The number behind key in what `cleave stat` says of the device. */
static long stat_number(const char *device, const char *key)
{
	static char text[65536];
	char word[80];
	FILE *f = popen("cleave stat virtio --json", "re");
	size_t n = fread(text, 1, sizeof(text) - 1, f);
	char *p;

	pclose(f);
	text[n] = 0;
	snprintf(word, sizeof(word), "\"device\":\"%s\"", device);
	p = strstr(text, word);
	snprintf(word, sizeof(word), "\"%s\":", key);
	p = p ? strstr(p, word) : NULL;
	return !p ? -1 : !strncmp(p + strlen(word), "true", 4) ? 1 : atol(p + strlen(word));
}

/* ---- tests ------------------------------------------------------------------------------- */

FIXTURE(virtio) {
	struct tool t;
};

FIXTURE_SETUP(virtio)
{
	if (!find_kernel(0))
		DIE("no kernel for a guest, with its drivers");
	snprintf(dir, sizeof(dir), "/tmp/virtio.%d", getpid());
	if (mkdir(dir, 0700))
		DIE("%s", dir);
	snprintf(disk, sizeof(disk), "%s/disk", dir);
	snprintf(base, sizeof(base), "%s/base", dir);
	snprintf(overlay, sizeof(overlay), "%s/overlay", dir);
	snprintf(other, sizeof(other), "%s/other", dir);
	snprintf(port, sizeof(port), "%s/port", dir);
}

FIXTURE_TEARDOWN(virtio)
{
	unlink(disk);
	unlink(base);
	unlink(overlay);
	unlink(other);
	unlink(port);
	rmdir(dir);
}

static void io(struct __test_metadata *_metadata, struct tool *t, const char *more_words, char *cpus)
{
	char before[65], after[65], text[256], append[256], sums[2][65];
	char *words[] = {
		"--cpus", cpus, "--disk", NULL, "--disk", NULL, "--disk", NULL, "--rng", "--console", "terminal",
		"--console", NULL, "--balloon=32M", NULL,
	};
	char d[3][200], p[200];
	int fd;

	make_file(disk, DISK, 1);
	make_file(base, 8 * MIB, 2);
	make_file(other, 1 * MIB, 3);
	sum_of(disk, sums[0]);
	sum_of(other, sums[1]);
	sum_of(base, before);
	snprintf(d[0], sizeof(d[0]), "%s,serial=cleave-1,format=raw", disk);
	snprintf(d[1], sizeof(d[1]), "%s,overlay=%s", base, overlay);
	snprintf(d[2], sizeof(d[2]), "%s,ro", other);
	snprintf(p, sizeof(p), "socket=%s,name=org.cleave.test", port);
	words[3] = d[0];
	words[5] = d[1];
	words[7] = d[2];
	words[12] = p;
	snprintf(append, sizeof(append), "console=ttyS0 loglevel=5 panic=-1 cleave.auto cleave.virtio=io %s", more_words);
	start(t, append, words);
	fd = dial(port);
	for (size_t got = 0; got < strlen("hello from the guest\n"); ) {
		struct pollfd ready = { .fd = fd, .events = POLLIN };

		ASSERT_TRUE(more(t));
		if (poll(&ready, 1, 0) != 1)
			continue;
		ssize_t n = read(fd, text + got, sizeof(text) - 1 - got);

		ASSERT_LT(0, n);
		got += n;
		text[got] = 0;
	}
	EXPECT_STREQ("hello from the guest\n", text);
	EXPECT_LT(0, stat_number("blk 0", "flushes"));
	EXPECT_LE((long)(3 * MIB / 2), stat_number("blk 0", "bytes_written"));
	EXPECT_LT(0, stat_number("rng 0", "bytes"));
	EXPECT_TRUE(WAIT_FOR(stat_number("balloon 0", "inflated_bytes") >= (long)(32 * MIB), 20000));
	EXPECT_LT(0, stat_number("balloon 0", "reported_bytes"));
	EXPECT_EQ(1, stat_number("blk 0", "ioeventfd"));
	EXPECT_EQ(20, write(fd, "hello from the host\n", 20));
	EXPECT_EQ(0, finish(t));
	close(fd);
	EXPECT_TRUE(said(t, "cleave guest: all is well"));
	EXPECT_FALSE(said(t, "FAILED"));
	EXPECT_TRUE(said(t, "cleave guest: this is hvc0"));
	snprintf(text, sizeof(text), "sum vda %s", sums[0]);
	EXPECT_TRUE(said(t, text));
	snprintf(text, sizeof(text), "sum vdc %s", sums[1]);
	EXPECT_TRUE(said(t, text));
	EXPECT_TRUE(says(disk, "cleave was here", 2 * MIB, 1 * MIB));
	EXPECT_TRUE(says(disk, "cpu 1", (128 + 16) * 32768, 524288));
	EXPECT_TRUE(nobody_listens(port));
	sum_of(base, after);
	EXPECT_STREQ(before, after);
	sum_of(other, after);
	EXPECT_STREQ(sums[1], after);
}

/* By each kernel that there is. */
TEST_F_TIMEOUT(virtio, disks_and_more, 900)
{
	for (int i = 0; find_kernel(i) && (!i || !emulated_by_bochs()); i++) {
		TH_LOG("%s", kernel);
		io(_metadata, &self->t, "", "2");
		unlink(overlay);
	}
}

/* Interrupts by INTx, through the I/O APIC. */
TEST_F_TIMEOUT(virtio, without_messages, 600)
{
	if (emulated_by_bochs())
		SKIP(return, "minutes there, and the same devices as on AMD-V");
	io(_metadata, &self->t, "pci=nomsi", "1");
}

/* And through the 8259A pair. */
TEST_F_TIMEOUT(virtio, without_io_apic, 600)
{
	if (emulated_by_bochs())
		SKIP(return, "minutes there, and the same devices as on AMD-V");
	io(_metadata, &self->t, "pci=nomsi noapic", "1");
}

/* kill -9 in the middle of writes, behind the block of that number: which was flushed last. */
static int killed(struct __test_metadata *_metadata, struct tool *t, char *word, int behind)
{
	char *words[] = { "--disk", word, NULL }, text[64], *p;
	int last = -1, status;

	snprintf(text, sizeof(text), "flushed %d\r", behind);
	start(t, "console=ttyS0 quiet panic=-1 cleave.virtio=flush", words);
	EXPECT_TRUE(hear(t, text));
	kill(t->pid, SIGKILL);
	while (more(t))
		;
	close(t->fd);
	EXPECT_EQ(t->pid, waitpid(t->pid, &status, 0));
	EXPECT_TRUE(WIFSIGNALED(status));
	for (p = t->out; (p = strstr(p, "flushed ")); p++)
		last = atoi(p + 8);
	EXPECT_LE(behind, last);
	return last;
}

/* What the guest was told is flushed is there. */
TEST_F_TIMEOUT(virtio, killed_while_it_writes, 600)
{
	char text[64], word[100];
	int last;

	if (emulated_by_bochs())
		SKIP(return, "minutes there, and the same devices as on AMD-V");
	make_file(disk, DISK, 4);
	snprintf(word, sizeof(word), "%s,format=raw", disk);
	for (int round = 0; round < 3; round++) {
		last = killed(_metadata, &self->t, word, 20 + 7 * round);
		for (int i = 0; i <= last; i++) {
			snprintf(text, sizeof(text), "block %d", i);
			ASSERT_TRUE(says(disk, text, 4096 * i, 4096)) TH_LOG("block %d of %d is not there", i, last);
		}
	}
}

/* In an overlay, too: the block, and the bit that says so; by its format (block/overlay.c). */
TEST_F_TIMEOUT(virtio, killed_over_an_overlay, 600)
{
	uint64_t bits_at, data_at;
	char text[64], word[200];
	uint8_t bits[4096];
	int fd, last;

	if (emulated_by_bochs())
		SKIP(return, "minutes there, and the same devices as on AMD-V");
	make_file(base, DISK, 5);
	snprintf(word, sizeof(word), "%s,overlay=%s", base, overlay);
	for (int round = 0; round < 3; round++) {
		last = killed(_metadata, &self->t, word, 20 + 7 * round);
		fd = open(overlay, O_RDONLY | O_CLOEXEC);
		ASSERT_EQ(8, pread(fd, &bits_at, 8, 24));
		ASSERT_EQ(8, pread(fd, &data_at, 8, 32));
		ASSERT_EQ(sizeof(bits), pread(fd, bits, sizeof(bits), bits_at));
		close(fd);
		for (int i = 0; i <= last; i++) {
			snprintf(text, sizeof(text), "block %d", i);
			ASSERT_TRUE(bits[i / 8] >> i % 8 & 1) TH_LOG("block %d of %d is the base's", i, last);
			ASSERT_TRUE(says(overlay, text, data_at + 4096 * i, 4096));
		}
	}
}

TEST_HARNESS_MAIN
