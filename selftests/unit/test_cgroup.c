// SPDX-License-Identifier: GPL-2.0
/* Limits of instances: figures, the kernel's texts, and groups in a tree of files in their place. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"
#include "launch/cgroup.h"

static const struct {
	const char *name, *text;
} files[] = {
	{ "cgroup.procs", "" }, { "cgroup.events", "populated 0\nfrozen 0\n" }, { "cpu.weight", "" },
	{ "cpu.max", "" }, { "cpu.max.burst", "" }, { "memory.max", "" },
	{ "pids.max", "" }, { "io.max", "" }, { "cgroup.controllers", "cpu memory pids io" },
	{ "cgroup.subtree_control", "" },
};

#define FILES	(sizeof(files) / sizeof(files[0]))

static char root[] = "/tmp/cleave-cgroup-XXXXXX";
static const char *missing = "";	/* the kernel has no such file */
static char err[PATH_MAX + 512];
static struct cgroup g;

static void put(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		abort();
	close(fd);
}

static const char *file(const char *fmt, ...)
{
	static char path[2 * PATH_MAX];
	size_t n = sprintf(path, "%s/", root);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path + n, sizeof(path) - n, fmt, ap);
	va_end(ap);
	return path;
}

static bool holds(const char *path, const char *text)
{
	char got[512] = "";
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, got, sizeof(got) - 1);

	if (fd >= 0)
		close(fd);
	if (n >= 0 && !strcmp(got, text))
		return true;
	printf("# %s: \"%s\", not \"%s\"\n", path, got, text);
	return false;
}

/* A group has its files from the start, which do not keep it. */
int __real_mkdirat(int dir, const char *name, mode_t mode);
int __wrap_mkdirat(int dir, const char *name, mode_t mode)
{
	char path[2 * PATH_MAX];
	size_t i;
	int fd;

	if (__real_mkdirat(dir, name, mode))
		return -1;
	for (i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/%s", name, files[i].name);
		if (!strcmp(files[i].name, missing))
			continue;
		fd = openat(dir, path, O_WRONLY | O_CREAT, 0600);
		if (fd < 0 || write(fd, files[i].text, strlen(files[i].text)) < 0)
			abort();
		close(fd);
	}
	return 0;
}

int __real_unlinkat(int dir, const char *name, int flags);
int __wrap_unlinkat(int dir, const char *name, int flags)
{
	char path[2 * PATH_MAX], text[64] = "";
	size_t i;
	int fd;

	snprintf(path, sizeof(path), "%s/cgroup.events", name);
	fd = openat(dir, path, O_RDONLY);
	if (fd >= 0) {
		if (read(fd, text, sizeof(text) - 1) < 0)
			abort();
		close(fd);
	}
	if (strstr(text, "populated 1")) {
		errno = EBUSY;
		return -1;
	}
	for (i = 0; i < FILES; i++) {
		snprintf(path, sizeof(path), "%s/%s", name, files[i].name);
		__real_unlinkat(dir, path, 0);
	}
	return __real_unlinkat(dir, name, flags);
}

UNIT_TEST(figures)
{
	struct cgroup_limits l;

	cgroup_limits(&l, 1, 512 << 20, 20, 50);
	CHECK_EQ(l.weight, 20);
	CHECK_EQ(l.quota, 50000);
	CHECK_EQ(l.burst, 50000);
	CHECK(l.memory > 576ULL << 20 && l.memory < 640ULL << 20);
	cgroup_limits(&l, 4, 8ULL << 30, 100, 100);
	CHECK_EQ(l.weight, 400);
	CHECK_EQ(l.quota, 400000);
	CHECK_EQ(l.burst, 0);
	cgroup_limits(&l, 254, 1ULL << 44, 100, 100);
	CHECK_EQ(l.weight, 10000);
	CHECK_EQ(l.quota, 25400000);
	CHECK(l.memory > 1ULL << 44 && l.pids > 2 * 254);
	cgroup_limits(&l, 1, 16 << 20, 1, 1);
	CHECK_EQ(l.weight, 1);
	CHECK_EQ(l.quota, 1000);	/* the least that the kernel takes */
	CHECK(!l.disks && !l.disk_rate);
}

UNIT_TEST(own)
{
	char path[PATH_MAX];

	CHECK(cgroup_own("0::/user.slice/x.scope\n", path) && !strcmp(path, "/user.slice/x.scope"));
	CHECK(cgroup_own("4:memory:/a\n1:name=systemd:/b\n0::/\n", path) && !strcmp(path, "/"));
	CHECK(cgroup_own("0::/end", path) && !strcmp(path, "/end"));
	CHECK(!cgroup_own("", path));
	CHECK(!cgroup_own("4:memory:/a\n", path));
	CHECK(!cgroup_own("0::\n0::../x\n", path));
}

#define MOUNT	"31 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"

UNIT_TEST(mounts)
{
	static char line[2 * PATH_MAX];
	char path[PATH_MAX];

	CHECK(cgroup_mount("24 1 8:1 / / rw - ext4 /dev/sda1 rw\n" MOUNT, path) && !strcmp(path, "/sys/fs/cgroup"));
	CHECK(!cgroup_mount("", path));
	CHECK(!cgroup_mount("24 1 8:1 / / rw - ext4 /dev/sda1 rw", path));
	CHECK(!cgroup_mount("31 24 0:26 / /a\\040b rw - cgroup2 none rw\n", path));
	memset(line, 'x', sizeof(line) - 1);
	strcpy(line + sizeof(line) - 20, " - cgroup2 a b\n");
	CHECK(!cgroup_mount(line, path));
	strcat(strcpy(line + PATH_MAX, "\n"), MOUNT);
	CHECK(cgroup_mount(line, path));
}

UNIT_TEST(words)
{
	CHECK(cgroup_has_word("cpuset cpu io memory\n", "cpu") && cgroup_has_word("cpu", "cpu"));
	CHECK(cgroup_has_word("cpuset cpu io memory\n", "memory"));
	CHECK(!cgroup_has_word("cpuset io\n", "cpu") && !cgroup_has_word("", "cpu"));
}

/* ---- groups --------------------------------------------------------------------------- */

static void tree(void)
{
	g.fd = -1;
	g.parent = open(root, O_RDONLY | O_DIRECTORY);
	strcpy(g.path, root);
	missing = "";
}

static int enter(const char *name, unsigned int share)
{
	struct cgroup_limits l;
	int ret;

	cgroup_limits(&l, 2, 64 << 20, share, 50);
	l.disk_rate = 1 << 20;
	l.disk[l.disks++] = makedev(8, 16);
	ret = cgroup_enter(&g, name, &l, err, sizeof(err));
	if (g.fd >= 0)
		close(g.fd);
	g.fd = -1;
	return ret;
}

UNIT_TEST(entered)
{
	if (!mkdtemp(root))
		abort();
	tree();
	put(file("cpu.weight"), "");
	CHECK_EQ(enter("web-1", 40), 0);
	/* All together have ten times what they were promised, among what is beside them. */
	CHECK(holds(file("cpu.weight"), "800"));
	CHECK(holds(file("web-1/cpu.weight"), "80"));
	CHECK(holds(file("web-1/cpu.max"), "100000 100000"));
	CHECK(holds(file("web-1/cpu.max.burst"), "100000"));
	CHECK(holds(file("web-1/io.max"), "8:16 rbps=1048576 wbps=1048576"));
	CHECK(holds(file("web-1/cgroup.procs"), "0"));
}

/* An old kernel, or a file system without a disk: the rest holds. */
UNIT_TEST(what_may_be_missing)
{
	missing = "cpu.max.burst";
	CHECK_EQ(enter("old", 10), 0);
	missing = "io.max";
	CHECK_EQ(enter("tmpfs", 10), 0);
	missing = "cpu.max";
	CHECK_EQ(enter("none", 10), -ENOENT);
	CHECK(strstr(err, "none/cpu.max: ") && strstr(err, "--no-limits") && !strchr(err, '\n'));
	CHECK(access(file("none"), F_OK));
	missing = "";
}

UNIT_TEST(in_the_place_of)
{
	put(file("web-1/memory.max"), "5");
	CHECK_EQ(enter("web-1", 10), 0);
	CHECK(holds(file("web-1/memory.max"), "139460608"));
	put(file("web-1/cgroup.events"), "populated 1\n");
	CHECK_EQ(enter("web-1", 10), -EBUSY);
	CHECK(strstr(err, "web-1: has processes") && !strchr(err, '\n'));
	CHECK_EQ(cgroup_remove(&g, "web-1"), -EBUSY);
}

UNIT_TEST(swept)
{
	cgroup_sweep(&g);
	CHECK(!access(file("web-1"), F_OK) && access(file("old"), F_OK) && access(file("tmpfs"), F_OK));
	put(file("web-1/cpu.weight"), "150\n");
	CHECK_EQ(enter("other", 25), 0);
	CHECK_EQ(cgroup_sold(&g), 200);
	put(file("web-1/cgroup.events"), "populated 0\n");
	CHECK_EQ(cgroup_remove(&g, "web-1"), 0);
	CHECK_EQ(cgroup_remove(&g, "other"), 0);
}

static int watched(const char *name)
{
	int status = -1;

	for (unsigned int i = 0; i < 500 && !access(file("%s", name), F_OK); i++)
		poll(NULL, 0, 10);
	if (wait(&status) < 0)
		return -1;
	return access(file("%s", name), F_OK) ? status : -1;
}

UNIT_TEST(watched_to_its_end)
{
	int tell;

	CHECK_EQ(cgroup_watch_begin(&g, "short", &tell), 0);
	CHECK_EQ(enter("short", 10), 0);
	poll(NULL, 0, 50);
	CHECK(!access(file("short"), F_OK));
	cgroup_watch(tell);
	CHECK_EQ(watched("short"), 0);
	/* Who should have told has died before. */
	CHECK_EQ(cgroup_watch_begin(&g, "never", &tell), 0);
	close(tell);
	CHECK_EQ(watched("never"), 0);
}

UNIT_TEST(disks)
{
	CHECK_EQ(cgroup_disk("/nowhere/at/all"), 0);
	CHECK_EQ(cgroup_disk("/proc/self/stat"), 0);
	cgroup_close(&g);
	CHECK(g.parent < 0 && !unlink(file("cpu.weight")) && !rmdir(root));
}
