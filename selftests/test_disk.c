// SPDX-License-Identifier: GPL-2.0
/*
 * What a real disk must survive: a tool that is killed and a host whose power goes while a guest
 * writes to its file system, which recovers with all that the guest was told is there; a host
 * without room; and a disk that does not answer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "kselftest_harness.h"
#include "host.h"
#include "nbd.h"
#include "tool.h"

#define MIB	(1UL << 20)
#define DISK	(32 * MIB)
#define APPEND	"console=ttyS0 quiet panic=-1 cleave.virtio="

static char dir[64], small[80], base[96], overlay[96], left[96];

static int command(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Its exit status. */
static int command(const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int status;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	status = system(text);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void make_disk(const char *path, bool file_system)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, DISK) || close(fd))
		DIE("%s", path);
	if (file_system && command("mkfs.ext4 -q -F %s", path))
		DIE("mkfs.ext4");
}

FIXTURE(disk) {
	struct tool t, count;
};

FIXTURE_SETUP(disk)
{
	if (emulated_by_bochs())
		SKIP_SETUP("minutes there, and the same devices as on AMD-V");
	if (!tool_find_kernel(0))
		DIE("no kernel for a guest, with its drivers");
	snprintf(dir, sizeof(dir), "/tmp/disk.%d", getpid());
	snprintf(small, sizeof(small), "%s/small", dir);
	snprintf(base, sizeof(base), "%s/base", dir);
	snprintf(overlay, sizeof(overlay), "%s/overlay", dir);
	snprintf(left, sizeof(left), "%s/left", dir);
	if (mkdir(dir, 0700) || mkdir(small, 0700))
		DIE("%s", dir);
}

FIXTURE_TEARDOWN(disk)
{
	umount2(small, MNT_DETACH);
	command("rm -rf %s", dir);
}

/* A guest that writes records to this disk; back when the next-th one is told of. */
static void write_records(struct __test_metadata *_metadata, struct tool *t, char *word, int next)
{
	char *words[] = { "--disk", word, NULL }, text[64];

	snprintf(text, sizeof(text), "recorded %d\r", next);
	tool_start(t, "disk", APPEND "records", words);
	ASSERT_TRUE(tool_hear(t, text, "recorded"));
}

/* How many records another guest finds. */
static int count_records(struct __test_metadata *_metadata, struct tool *t, char *word)
{
	char *words[] = { "--disk", word, NULL };

	tool_start(t, "disk", APPEND "count", words);
	EXPECT_EQ(0, tool_finish(t, NULL));
	return tool_last(t, "cleave guest: records ");
}

/* ---- kill -9 -------------------------------------------------------------------------------- */

static void killed(struct __test_metadata *_metadata, FIXTURE_DATA(disk) *self, char *word)
{
	int told = -1;

	for (int round = 0; round < 3; round++) {
		write_records(_metadata, &self->t, word, told + 10 + 7 * round);
		nap_us(now_ns() % 200000);
		tool_kill(&self->t);
		told = tool_last(&self->t, "recorded ");
		EXPECT_LT(told, count_records(_metadata, &self->count, word));
		EXPECT_TRUE(tool_said(&self->count, "recovery complete"));
		TH_LOG("killed behind record %d", told);
	}
}

TEST_F_TIMEOUT(disk, killed, 900)
{
	char word[200];

	make_disk(base, true);
	snprintf(word, sizeof(word), "%s,format=raw", base);
	killed(_metadata, self, word);
	EXPECT_EQ(0, command("fsck.ext4 -f -n %s >/dev/null", base));
}

TEST_F_TIMEOUT(disk, killed_over_an_overlay, 900)
{
	char word[200];

	make_disk(base, true);
	snprintf(word, sizeof(word), "%s,overlay=%s", base, overlay);
	killed(_metadata, self, word);
	/* Nothing has come to the file below it. */
	snprintf(word, sizeof(word), "%s,format=raw", base);
	EXPECT_EQ(0, count_records(_metadata, &self->count, word));
}

/* ---- the host's power ------------------------------------------------------------------------- */

/* What the host's kernel has not been told to flush is gone, in part, and not in order. */
TEST_F_TIMEOUT(disk, power_goes, 900)
{
	int told = -1;

	make_disk(left, true);
	for (int round = 0; round < 3; round++) {
		struct nbd *n = nbd_plug(left);
		unsigned long flushes;
		char word[200];

		if (!n)
			SKIP(return, "this kernel has no nbd");
		write_records(_metadata, &self->t, "/dev/nbd0,format=raw", told + 10 + 7 * round);
		nap_us(now_ns() % 200000);
		tool_more(&self->t, "recorded");
		flushes = nbd_flushes(n);
		told = tool_last(&self->t, "recorded ");
		nbd_cut(n, left, now_ns());
		tool_kill(&self->t);
		nbd_unplug(n);
		EXPECT_LE(9 + 7 * round, flushes);
		snprintf(word, sizeof(word), "%s,format=raw", left);
		EXPECT_LT(told, count_records(_metadata, &self->count, word));
		EXPECT_TRUE(tool_said(&self->count, "recovery complete"));
		TH_LOG("without power behind record %d, %lu flushes", told, flushes);
	}
	EXPECT_EQ(0, command("fsck.ext4 -f -n %s >/dev/null", left));
}

/* ---- no room ------------------------------------------------------------------------------------ */

static bool ticks(struct tool *t)
{
	int from = tool_last(t, "tick ");

	return WAIT_FOR((tool_more(t, "tick"), tool_last(t, "tick ") > from + 2), 60000);
}

/* A guest that writes 12 MiB has 4 MiB; and 64 later. */
static void no_room(struct __test_metadata *_metadata, struct tool *t, char *word, const char *file)
{
	char *words[] = { "--disk", word, NULL };

	tool_start(t, "disk", APPEND "write", words);
	ASSERT_TRUE(tool_hear(t, "no room for what the guest writes, which waits", "tick"));
	EXPECT_TRUE(tool_said(t, file));
	EXPECT_TRUE(ticks(t));
	EXPECT_LT(0, tool_stat("disk", "blk 0", "waiting_for_room"));
	EXPECT_EQ(0, tool_stat("disk", "blk 0", "errors"));
	EXPECT_EQ(0, command("cleave pause disk"));
	EXPECT_EQ(0, command("cleave resume disk"));
	EXPECT_TRUE(ticks(t));
	EXPECT_FALSE(tool_said(t, "cleave guest: written"));
	EXPECT_EQ(0, mount("none", small, "tmpfs", MS_REMOUNT, "size=64M"));
	EXPECT_TRUE(tool_hear(t, "there is room again", "tick"));
	EXPECT_EQ(0, tool_finish(t, "tick"));
	EXPECT_TRUE(tool_said(t, "cleave guest: as it was written"));
}

TEST_F_TIMEOUT(disk, no_room, 600)
{
	char file[100], word[128];

	ASSERT_EQ(0, mount("none", small, "tmpfs", 0, "size=4M"));
	snprintf(file, sizeof(file), "%s/disk", small);
	snprintf(word, sizeof(word), "%s,format=raw", file);
	make_disk(file, false);
	no_room(_metadata, &self->t, word, file);
}

TEST_F_TIMEOUT(disk, no_room_for_an_overlay, 600)
{
	char file[100], word[256];

	ASSERT_EQ(0, mount("none", small, "tmpfs", 0, "size=4M"));
	make_disk(base, false);
	snprintf(file, sizeof(file), "%s/overlay", small);
	snprintf(word, sizeof(word), "%s,overlay=%s", base, file);
	no_room(_metadata, &self->t, word, file);
}

/* It can be ended meanwhile, at once. */
TEST_F_TIMEOUT(disk, ended_without_room, 300)
{
	char file[100], word[128], *words[] = { "--disk", word, NULL };
	uint64_t since;

	ASSERT_EQ(0, mount("none", small, "tmpfs", 0, "size=4M"));
	snprintf(file, sizeof(file), "%s/disk", small);
	snprintf(word, sizeof(word), "%s,format=raw", file);
	make_disk(file, false);
	tool_start(&self->t, "disk", APPEND "write", words);
	ASSERT_TRUE(tool_hear(&self->t, "no room for what the guest writes", "tick"));
	since = now_ns();
	kill(self->t.pid, SIGTERM);
	EXPECT_EQ(128 + SIGTERM, tool_finish(&self->t, "tick"));
	EXPECT_GT(5 * SEC * patience(), now_ns() - since);
}

/* ---- a disk that does not answer ------------------------------------------------------------------ */

/* A guest whose write hangs. */
static struct nbd *hang(struct __test_metadata *_metadata, struct tool *t)
{
	char *words[] = { "--disk", "/dev/nbd0,format=raw", NULL };
	struct nbd *n;

	make_disk(base, false);
	n = nbd_plug(base);
	if (!n)
		return NULL;
	tool_start(t, "disk", APPEND "write", words);
	EXPECT_TRUE(tool_hear(t, "cleave guest: writes", "tick"));
	nbd_hold(n, true);
	EXPECT_TRUE(WAIT_FOR((tool_more(t, "tick"), nbd_held(n) > 0), 60000));
	return n;
}

/* The rest of the guest goes on, and is paused, and looked at; and the write is made when it answers. */
TEST_F_TIMEOUT(disk, hangs, 600)
{
	struct nbd *n = hang(_metadata, &self->t);
	int tick = -1;

	if (!n)
		SKIP(return, "this kernel has no nbd");
	EXPECT_TRUE(ticks(&self->t));
	EXPECT_LE(0, tool_stat("disk", "blk 0", "errors"));
	EXPECT_EQ(0, command("cleave pause disk"));
	while (tool_more(&self->t, "tick") && tool_last(&self->t, "tick ") != tick)
		tick = tool_last(&self->t, "tick ");
	nap_us(3000000);
	tool_more(&self->t, "tick");
	EXPECT_EQ(tick, tool_last(&self->t, "tick "));
	EXPECT_FALSE(tool_said(&self->t, "cleave guest: written"));
	EXPECT_EQ(0, command("cleave resume disk"));
	EXPECT_TRUE(ticks(&self->t));
	EXPECT_FALSE(tool_said(&self->t, "cleave guest: written"));
	nbd_hold(n, false);
	EXPECT_EQ(0, tool_finish(&self->t, "tick"));
	EXPECT_TRUE(tool_said(&self->t, "cleave guest: as it was written"));
	nbd_unplug(n);
}

/* Its end is told of in time, its name is free, and its process goes as soon as the kernel lets it. */
TEST_F_TIMEOUT(disk, ended_while_it_hangs, 600)
{
	struct nbd *n = hang(_metadata, &self->t);
	uint64_t since = now_ns();

	if (!n)
		SKIP(return, "this kernel has no nbd");
	kill(self->t.pid, SIGTERM);
	EXPECT_TRUE(tool_hear(&self->t, "blk 0 has work that does not end, and is not waited for after 10 s", "tick"));
	EXPECT_TRUE(tool_hear(&self->t, "disk: ended by Terminated", "tick"));
	EXPECT_GT(30 * SEC * patience(), now_ns() - since);
	EXPECT_EQ(1, command("cleave ps --json | grep -q '\"name\":\"disk\"'"));
	nbd_hold(n, false);
	EXPECT_EQ(128 + SIGTERM, tool_finish(&self->t, "tick"));
	nbd_unplug(n);
}

/* Who kills it is told what it waits for, in time. */
TEST_F_TIMEOUT(disk, killed_while_it_hangs, 600)
{
	struct nbd *n = hang(_metadata, &self->t);
	uint64_t since = now_ns();
	int status;

	if (!n)
		SKIP(return, "this kernel has no nbd");
	status = command("cleave kill disk");
	EXPECT_TRUE(status == 0 || status == 1);
	EXPECT_GT(40 * SEC * patience(), now_ns() - since);
	TH_LOG("cleave kill: status %d, after %d s", status, (int)((now_ns() - since) / SEC));
	nbd_hold(n, false);
	EXPECT_EQ(-SIGKILL, tool_finish(&self->t, "tick"));
	EXPECT_EQ(0, command("cleave ps --json | grep -q '\"state\":\"gone\"'"));
	nbd_unplug(n);
}

TEST_HARNESS_MAIN
