// SPDX-License-Identifier: GPL-2.0
/* Images, instances and their files: where they are found, and how they are copied. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"
#include "launch/store.h"

static char home[] = "/tmp/cleave-store-XXXXXX";
static char err[PATH_MAX + 256];

/* As somebody who is not root: whoever runs this. */
uid_t __wrap_geteuid(void)
{
	return 1000;
}

static const char *at(const char *fmt, ...)
{
	static char path[4][PATH_MAX];
	static unsigned int next;
	char *p = path[next++ % 4];
	size_t n = sprintf(p, "%s/", home);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p + n, PATH_MAX - n, fmt, ap);
	va_end(ap);
	return p;
}

static void file(const char *path, const char *text, off_t where)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	if (fd < 0 || pwrite(fd, text, strlen(text), where) != (ssize_t)strlen(text))
		abort();
	close(fd);
}

UNIT_TEST(names)
{
	CHECK(store_name("debian-12.5_x") && store_name("a"));
	CHECK(!store_name("") && !store_name(".new") && !store_name("-x") && !store_name("a/b") && !store_name(".."));
	CHECK(store_name("a23456789012345678901234567890123456789012345678901234567890123"));
	CHECK(!store_name("a234567890123456789012345678901234567890123456789012345678901234"));
}

UNIT_TEST(directories)
{
	char path[PATH_MAX], want[PATH_MAX];
	struct stat st;

	REQUIRE(mkdtemp(home));
	unsetenv("XDG_DATA_HOME");
	setenv("HOME", home, 1);
	CHECK_EQ(store_directory("images", false, path, err, sizeof(err)), 0);
	snprintf(want, sizeof(want), "%s/.local/share/cleave/images", home);
	CHECK(!strcmp(path, want));
	CHECK(access(path, F_OK));
	setenv("XDG_DATA_HOME", at("data"), 1);
	CHECK_EQ(store_directory("instances", true, path, err, sizeof(err)), 0);
	CHECK(!strcmp(path, at("data/cleave/instances")));
	CHECK(!stat(path, &st) && (st.st_mode & 0777) == 0700);
	CHECK_EQ(store_directory("images", true, path, err, sizeof(err)), 0);
	CHECK_EQ(store_directory("images", true, path, err, sizeof(err)), 0);
	setenv("XDG_DATA_HOME", "relative", 1);
	unsetenv("HOME");
	CHECK_EQ(store_directory("images", false, path, err, sizeof(err)), -ENOENT);
	CHECK(strstr(err, "set HOME"));
	setenv("XDG_DATA_HOME", "/proc/nothing", 1);
	CHECK(store_directory("images", true, path, err, sizeof(err)) < 0 && strstr(err, "/proc/nothing/cleave/images: "));
	setenv("XDG_DATA_HOME", at("data"), 1);
}

UNIT_TEST(texts)
{
	char value[32];

	CHECK_EQ(store_put(home, "conf", "a = one two\nab = 2\nempty = \n", 28), 0);
	CHECK(store_get(home, "conf", "a", value, sizeof(value)) && !strcmp(value, "one two"));
	CHECK(store_get(home, "conf", "ab", value, sizeof(value)) && !strcmp(value, "2"));
	CHECK(store_get(home, "conf", "empty", value, sizeof(value)) && !*value);
	CHECK(!store_get(home, "conf", "b", value, sizeof(value)) && !*value);
	CHECK(!store_get(home, "none", "a", value, sizeof(value)));
	CHECK(store_get(home, "conf", "a", value, 4) && !strcmp(value, "one"));
	CHECK_EQ(store_put(home, "conf", "a = 3\n", 6), 0);
	CHECK(store_get(home, "conf", "a", value, sizeof(value)) && !strcmp(value, "3"));
	CHECK_EQ(store_put(at("no"), "conf", "", 0), -ENOENT);
	CHECK(access(at(".conf.new"), F_OK));
}

UNIT_TEST(images)
{
	char (*list)[STORE_NAME + 1];
	struct image image;

	CHECK_EQ(store_image("debian", &image, err, sizeof(err)), -ENOENT);
	CHECK(strstr(err, "debian: there is no such image") && strstr(err, "cleave images add"));
	CHECK_EQ(store_image("../x", &image, err, sizeof(err)), -ENOENT);
	CHECK(!mkdir(at("data/cleave/images/debian"), 0755) && !mkdir(at("data/cleave/images/.half.new"), 0755));
	CHECK_EQ(store_image("debian", &image, err, sizeof(err)), -ENOENT);
	file(at("data/cleave/images/debian/disk.raw"), "x", 4095);
	file(at("data/cleave/images/debian/image.conf"), "login = me\nappend = root=/dev/vda\n", 0);
	CHECK_EQ(store_image("debian", &image, err, sizeof(err)), 0);
	CHECK(!image.qcow2 && !image.initrd && image.size == 4096);
	CHECK(!strcmp(image.login, "me") && !strcmp(image.append, "root=/dev/vda"));
	CHECK(!strcmp(image.disk, at("data/cleave/images/debian/disk.raw")));
	file(at("data/cleave/images/debian/initrd"), "x", 0);
	file(at("data/cleave/images/debian/disk.qcow2"), "x", 0);
	CHECK_EQ(store_image("debian", &image, err, sizeof(err)), 0);
	CHECK(image.qcow2 && image.initrd && image.size == 1);
	CHECK(store_list("images", &list) >= 1);
	free(list);
	CHECK_EQ(store_list("instances", &list), 0);
	free(list);
}

static uint64_t last;

static bool watch(void *ctx, uint64_t done, uint64_t all)
{
	CHECK(done > last && done <= all && all == 9 << 20);
	last = done;
	return !ctx;
}

static bool same(const char *a, const char *b)
{
	static char x[9 << 20], y[sizeof(x)];
	int fa = open(a, O_RDONLY), fb = open(b, O_RDONLY);
	ssize_t n = read(fa, x, sizeof(x)), m = read(fb, y, sizeof(y));

	close(fa);
	close(fb);
	return n == sizeof(x) && m == n && !memcmp(x, y, n);
}

UNIT_TEST(copies)
{
	struct stat st;
	char some[65536];

	memset(some, 's', sizeof(some) - 1);
	some[sizeof(some) - 1] = 0;
	file(at("from"), some, 0);
	file(at("from"), some, 6 << 20);
	CHECK(!truncate(at("from"), 9 << 20));
	CHECK_EQ(store_copy(at("from"), at("to"), watch, NULL), 0);
	CHECK(same(at("from"), at("to")));
	CHECK(!stat(at("to"), &st) && st.st_blocks < 1 << 12);	/* the hole is one */
	CHECK_EQ(store_copy(at("from"), at("to"), NULL, NULL), -EEXIST);
	CHECK(!access(at("to"), F_OK));
	CHECK_EQ(store_copy(at("none"), at("new"), NULL, NULL), -ENOENT);
	CHECK_EQ(store_copy(home, at("new"), NULL, NULL), -EISDIR);
	CHECK_EQ(store_copy("/dev/zero", at("new"), NULL, NULL), -EINVAL);
	CHECK(access(at("new"), F_OK));
	last = 0;
	/* It is ended: what is there of it goes, unless nothing needed to be copied. */
	if (store_copy(at("from"), at("new"), watch, home) == -EINTR)
		CHECK(access(at("new"), F_OK));
}

/* A link out of it is removed, not what it leads to. */
UNIT_TEST(one_at_a_time)
{
	int fd, other;

	CHECK_EQ(store_lock(at("locked")), -ENOENT);
	CHECK(!mkdir(at("locked"), 0700));
	fd = store_lock(at("locked"));
	CHECK(fd >= 0);
	CHECK_EQ(store_lock(at("locked")), -EBUSY);
	/* Moved, it is locked still; and what is made in its place is another. */
	CHECK(!rename(at("locked"), "/tmp/cleave-store-moved"));
	CHECK_EQ(store_lock("/tmp/cleave-store-moved"), -EBUSY);
	CHECK(!mkdir(at("locked"), 0700));
	other = store_lock(at("locked"));
	CHECK(other >= 0 && !rmdir(at("locked")) && !rmdir("/tmp/cleave-store-moved"));
	close(other);
	close(fd);
}

/* Half removed, it has no name; and what that left does not stay. */
UNIT_TEST(retired)
{
	CHECK(!mkdir(at("gone"), 0700) && !mkdir(at(".gone.old"), 0700));
	file(at("gone/disk.raw"), "x", 0);
	file(at(".gone.old/disk.raw"), "x", 0);
	CHECK_EQ(store_retire(at("gone")), 0);
	CHECK(access(at("gone"), F_OK) && access(at(".gone.old"), F_OK));
	CHECK_EQ(store_retire(at("gone")), -ENOENT);
}

UNIT_TEST(removed)
{
	CHECK(!mkdir(at("gone"), 0700) && !mkdir(at("gone/below"), 0700));
	file(at("gone/below/file"), "x", 0);
	CHECK(!symlink(at("data"), at("gone/link")));
	CHECK_EQ(store_remove(at("gone")), 0);
	CHECK(access(at("gone"), F_OK) && !access(at("data/cleave/images/debian"), F_OK));
	CHECK_EQ(store_remove(at("gone")), -ENOENT);
	CHECK_EQ(store_remove(home), 0);
}
