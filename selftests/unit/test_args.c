// SPDX-License-Identifier: GPL-2.0
/* The options of `cleave run`. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "unit.h"
#include "../../userspace-tool/cmd/args.c"

static struct run_args a;
static char err[256];

#define RUN(...)							\
	({								\
		char *argv[] = { "run", ##__VA_ARGS__, NULL };		\
									\
		err[0] = 0;						\
		args_run(sizeof(argv) / sizeof(argv[0]) - 1, argv, &a,	\
			 err, sizeof(err));				\
	})

/* Refused, in one line that says why and what to do. */
#define REFUSED(why, ...)						\
	do {								\
		CHECK_EQ(RUN(__VA_ARGS__), -EINVAL);			\
		CHECK(strstr(err, why));				\
		CHECK(strchr(err, ';') && !strchr(err, '\n'));		\
	} while (0)

static int64_t size_of(const char *text)
{
	uint64_t size = 0;
	int ret = args_size(text, &size);

	return ret ? ret : (int64_t)size;
}

UNIT_TEST(sizes)
{
	CHECK_EQ(size_of("0"), 0);
	CHECK_EQ(size_of("4096"), 4096);
	CHECK_EQ(size_of("64K"), 65536);
	CHECK_EQ(size_of("64k"), 65536);
	CHECK_EQ(size_of("512M"), 512LL << 20);
	CHECK_EQ(size_of("512MiB"), 512LL << 20);
	CHECK_EQ(size_of("2GB"), 2LL << 30);
	CHECK_EQ(size_of("3g"), 3LL << 30);
	CHECK_EQ(size_of("1T"), 1LL << 40);
}

UNIT_TEST(sizes_refused)
{
	static const char *const bad[] = {
		"", "M", "-1", "+1", " 1", "1 ", "1.5G", "0x100", "12X", "1MM", "1MiBB", "1B", "1iB", "12M3",
	};
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_EQ(size_of(bad[i]), -EINVAL);
	CHECK_EQ(size_of("18446744073709551616"), -ERANGE);
	CHECK_EQ(size_of("18446744073709551615K"), -ERANGE);
	CHECK_EQ(size_of("16777216T"), -ERANGE);
}

UNIT_TEST(options)
{
	CHECK_EQ(RUN("--kernel", "/x/vmlinuz-6.1.0", "--initrd=/i", "--append", "quiet a=b",
		     "--memory", "1G", "--cpus", "1", "--name", "web-1"), 0);
	CHECK(!strcmp(a.kernel, "/x/vmlinuz-6.1.0"));
	CHECK(!strcmp(a.initrd, "/i"));
	CHECK(!strcmp(a.append, "quiet a=b"));
	CHECK(!strcmp(a.name, "web-1"));
	CHECK_EQ(a.memory, 1 << 30);
	CHECK_EQ(a.cpus, 1);
}

UNIT_TEST(options_defaults)
{
	CHECK_EQ(RUN("-k", "/x/vmlinuz-6.1.0"), 0);
	CHECK(!a.initrd);
	CHECK(!strcmp(a.append, ARGS_APPEND));
	CHECK(!strcmp(a.name, "6.1.0"));
	CHECK_EQ(a.memory, 512 << 20);
	CHECK_EQ(a.cpus, 1);
	CHECK_EQ(RUN("-k", "my kernel\n"), 0);
	CHECK(!strcmp(a.name, "my_kernel_"));
	CHECK_EQ(RUN("-k", "vmlinuz-"), 0);
	CHECK(!strcmp(a.name, "vmlinuz-"));
}

UNIT_TEST(options_refused)
{
	static char longish[PATH_MAX + 2];

	memset(longish, 'a', sizeof(longish) - 1);
	REFUSED("--cpus 2", "-k", "k", "--cpus", "2");
	REFUSED("--cpus 0", "-k", "k", "--cpus", "0");
	REFUSED("--cpus -1", "-k", "k", "--cpus=-1");
	REFUSED("--cpus 1x", "-k", "k", "--cpus", "1x");
	REFUSED("not a size", "-k", "k", "--memory", "lots");
	REFUSED("too large", "-k", "k", "--memory", "99999999T");
	REFUSED("multiple of 4K", "-k", "k", "--memory", "1000001");
	REFUSED("no such option", "--kernal", "k");
	REFUSED("no such option", "-z");
	REFUSED("value is missing", "--kernel");
	REFUSED("value is missing", "-k", "k", "-m");
	REFUSED("empty path", "--kernel", "");
	REFUSED("too long", "--kernel", longish);
	REFUSED("--name", "-k", "k", "--name", "");
	REFUSED("--name", "-k", "k", "--name", "a b");
	REFUSED("--name", "-k", "k", "--name", longish);
	REFUSED("not an option", "/boot/vmlinuz");
}

UNIT_TEST(options_help)
{
	CHECK_EQ(RUN("--help"), 0);
	CHECK(a.help);
	CHECK_EQ(RUN("-h", "junk"), 0);
	CHECK(a.help);
}

UNIT_TEST(newest_kernel)
{
	static const char *const names[] = {
		"vmlinuz-6.1.0-9-cloud-amd64", "vmlinuz-6.1.0-56-cloud-amd64", "vmlinuz-6.0.0-99-cloud-amd64",
	};
	char dir[] = "/tmp/cleave-args-XXXXXX", path[PATH_MAX], pattern[64];
	unsigned int i;

	REQUIRE(mkdtemp(dir));
	snprintf(pattern, sizeof(pattern), "%s/vmlinuz-*", dir);
	CHECK_EQ(args_newest(pattern, path), -ENOENT);
	for (i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		close(open(path, O_CREAT | O_WRONLY, 0600));
	}
	CHECK_EQ(args_newest(pattern, path), 0);
	CHECK(strstr(path, "6.1.0-56"));
	for (i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}
