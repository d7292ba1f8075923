// SPDX-License-Identifier: GPL-2.0
/* Instance types: what the file may say, and what is said of one that is wrong. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"
#include "launch/types.h"

#define BASE	"vcpus = 2\nmemory = 1G\n"

static struct types t;
static char err[256];

static int parse(const char *text)
{
	strcpy(err, "");
	return types_parse(text, strlen(text), &t, err, sizeof(err));
}

/* That it is wrong, in which line, and the words that tell why. */
static bool wrong(const char *text, unsigned int line, const char *words)
{
	char want[32];

	snprintf(want, sizeof(want), "line %u: ", line);
	if (parse(text) == -EINVAL && !strncmp(err, want, strlen(want)) && strstr(err, words) &&
	    !strchr(err, '\n'))
		return true;
	printf("# \"%.60s\": %s\n", text, err);
	return false;
}

UNIT_TEST(all_that_a_type_has)
{
	const struct instance_type *type;

	REQUIRE(!parse("# the types\n\n[small-1.2_x]   # a small one\r\n\tvcpus=3\n memory =  512M \n"
		       "cpu-share = 20%\ncpu-burst = 60\ndisk-rate = 50M\nnetwork-rate = 12K\n"
		       "[big]\n" BASE));
	CHECK_EQ(t.count, 2u);
	type = types_find(&t, "small-1.2_x");
	REQUIRE(type);
	CHECK_EQ(type->vcpus, 3u);
	CHECK_EQ(type->memory, 512ULL << 20);
	CHECK_EQ(type->share, 20u);
	CHECK_EQ(type->burst, 60u);
	CHECK_EQ(type->disk_rate, 50ULL << 20);
	CHECK_EQ(type->network_rate, 12ULL << 10);
	CHECK(!types_find(&t, "small"));
	CHECK(!types_find(&t, ""));
}

/* Nothing is carried over from the type before. */
UNIT_TEST(what_is_not_said)
{
	const struct instance_type *type;

	REQUIRE(!parse("[a]\n" BASE "cpu-share = 10\ncpu-burst = 20\ndisk-rate = 1M\nnetwork-rate = 1M\n"
		       "[b]\n" BASE "[c]\n" BASE "cpu-share = 30\n[d]\ncpu-burst = 40\n" BASE));
	type = types_find(&t, "b");
	REQUIRE(type);
	CHECK(type->share == 100 && type->burst == 100);
	CHECK(!type->disk_rate && !type->network_rate);
	type = types_find(&t, "c");
	CHECK(type && type->share == 30 && type->burst == 100);
	type = types_find(&t, "d");
	CHECK(type && type->share == 40 && type->burst == 40);
}

UNIT_TEST(the_text_around_it)
{
	CHECK(!parse("[a]\n" BASE "# no newline at the end"));
	CHECK(!parse("[ a ]\n" BASE));
	CHECK(!parse("\n\n\n[a]\nvcpus = 1\nmemory = 16M"));
	CHECK(wrong("", 0, "no type"));
	CHECK(wrong("# nothing\n", 1, "no type"));
	CHECK(wrong("[a]\n" BASE "\033[31m = 1\n", 4, "control character"));
	CHECK(wrong("[a]\nvcpus = 1\rmemory = 16M\n", 2, "control character"));
	CHECK_EQ(types_parse("[a]\nv\0pus = 1\n", 14, &t, err, sizeof(err)), -EINVAL);
	CHECK(strstr(err, "line 2: has a control character"));
}

UNIT_TEST(wrong_sections)
{
	CHECK(wrong("[a\n" BASE, 1, "brackets"));
	CHECK(wrong("[a] b\n" BASE, 1, "brackets"));
	CHECK(wrong("[]\n" BASE, 1, "cannot be a type's name"));
	CHECK(wrong("[.a]\n" BASE, 1, "cannot be a type's name"));
	CHECK(wrong("[-a]\n" BASE, 1, "cannot be a type's name"));
	CHECK(wrong("[a/b]\n" BASE, 1, "cannot be a type's name"));
	CHECK(wrong("[a23456789012345678901234567890123]\n" BASE, 1, "cannot be a type's name"));
	CHECK(!parse("[a2345678901234567890123456789012]\n" BASE));
	CHECK(wrong("[a]\n" BASE "[b]\n" BASE "[a]\n" BASE, 7, "[a] is there already"));
}

/* The section's own line is named, whatever comes behind it. */
UNIT_TEST(sections_that_lack_something)
{
	CHECK(wrong("[a]\nvcpus = 1\n\n[b]\n" BASE, 1, "[a] has no memory"));
	CHECK(wrong("[a]\n" BASE "\n[b]\nmemory = 1G\n", 5, "[b] has no vcpus"));
	CHECK(wrong("[a]\n" BASE "cpu-share = 50\ncpu-burst = 49\n", 1, "more than its cpu-burst of 49"));
	CHECK(wrong("[a]\nvcpus = 1\nmemory = 16777217\n", 1, "4 KiB"));
}

UNIT_TEST(wrong_lines)
{
	CHECK(wrong("vcpus = 1\n", 1, "before the first type"));
	CHECK(wrong("[a]\nvcpus 1\n", 2, "key = value"));
	CHECK(wrong("[a]\nvCPUs = 1\n", 2, "no key \"vCPUs\""));
	CHECK(wrong("[a]\n= 1\n", 2, "no key \"\""));
	CHECK(wrong("[a]\nvcpus = 1\nvcpus = 1\n", 3, "vcpus is there already in [a]"));
}

UNIT_TEST(wrong_values)
{
	CHECK(wrong("[a]\nvcpus = \n", 2, "want a number, 1 to 254"));
	CHECK(wrong("[a]\nvcpus = 0\n", 2, "1 to 254"));
	CHECK(wrong("[a]\nvcpus = 255\n", 2, "1 to 254"));
	CHECK(wrong("[a]\nvcpus = -1\n", 2, "1 to 254"));
	CHECK(wrong("[a]\nvcpus = 1K\n", 2, "1 to 254"));
	CHECK(wrong("[a]\nvcpus = 18446744073709551617\n", 2, "1 to 254"));
	CHECK(wrong("[a]\nmemory = 15M\n", 2, "16M to 16777216M"));
	CHECK(wrong("[a]\nmemory = 17T\n", 2, "16M to"));
	CHECK(wrong("[a]\nmemory = 16777217T\n", 2, "16M to"));
	CHECK(wrong("[a]\nmemory = 1GB\n", 2, "bytes, with K, M, G or T"));
	CHECK(wrong("[a]\nmemory = 1 G\n", 2, "bytes"));
	CHECK(wrong("[a]\nmemory = 50%\n", 2, "bytes"));
	CHECK(wrong("[a]\ncpu-share = 101\n", 2, "per cent, 1 to 100"));
	CHECK(wrong("[a]\ncpu-share = 0%\n", 2, "per cent"));
	CHECK(wrong("[a]\ncpu-burst = 1%%\n", 2, "per cent"));
	CHECK(wrong("[a]\ndisk-rate = 4095\n", 2, "4K to 1073741824K"));
	CHECK(wrong("[a]\nnetwork-rate = 0\n", 2, "4K to"));
}

UNIT_TEST(no_more_than_there_is_room_for)
{
	char text[TYPES_MAX * 48 + 64], line[256];
	unsigned int i, n = 0;

	for (i = 0; i < TYPES_MAX; i++)
		n += sprintf(text + n, "[t%u]\nvcpus = 1\nmemory = 16M\n", i);
	CHECK(!parse(text));
	CHECK_EQ(t.count, (unsigned int)TYPES_MAX);
	strcpy(text + n, "[more]\n");
	CHECK(wrong(text, TYPES_MAX * 3 + 1, "more than 64 types"));
	memset(line, ' ', sizeof(line));
	strcpy(line + 200, "\n");
	CHECK(wrong(line, 1, "no type"));
	strcpy(line + 199, "  \n");
	CHECK(wrong(line, 1, "longer than 200"));
}

/* A short room for the error is not overrun, whatever the words. */
UNIT_TEST(a_short_room)
{
	char small[12];

	memset(small, 'x', sizeof(small));
	CHECK_EQ(types_parse("[a]\nfrobnicate = 1\n", 19, &t, small, 10), -EINVAL);
	CHECK(small[9] == 0 && small[10] == 'x' && small[11] == 'x');
	CHECK_EQ(types_parse("oh", 2, &t, small, 4), -EINVAL);
	CHECK(small[3] == 0);
}

UNIT_TEST(files)
{
	char path[] = "/tmp/cleave-types-XXXXXX", *big = calloc(1, TYPES_FILE_MAX + 2);
	int fd = mkstemp(path);

	REQUIRE(fd >= 0 && big);
	CHECK_EQ(write(fd, "[a]\n" BASE, strlen("[a]\n" BASE)), (ssize_t)strlen("[a]\n" BASE));
	CHECK(!types_load(path, &t, err, sizeof(err)));
	CHECK(types_find(&t, "a"));
	CHECK_EQ(pwrite(fd, "?", 1, 0), 1);
	CHECK_EQ(types_load(path, &t, err, sizeof(err)), -EINVAL);
	CHECK(!strncmp(err, path, strlen(path)) && strstr(err, ": line 1: "));
	memset(big, '\n', TYPES_FILE_MAX + 1);
	memcpy(big, "[a]\n" BASE, strlen("[a]\n" BASE));
	CHECK_EQ(pwrite(fd, big, TYPES_FILE_MAX, 0), TYPES_FILE_MAX);
	CHECK(!types_load(path, &t, err, sizeof(err)));
	CHECK_EQ(pwrite(fd, big, TYPES_FILE_MAX + 1, 0), TYPES_FILE_MAX + 1);
	CHECK_EQ(types_load(path, &t, err, sizeof(err)), -EFBIG);
	close(fd);
	unlink(path);
	CHECK_EQ(types_load(path, &t, err, sizeof(err)), -ENOENT);
	CHECK(strstr(err, "No such file"));
	CHECK_EQ(types_load("/tmp", &t, err, sizeof(err)), -EISDIR);
	CHECK(!mkfifo(path, 0600));
	CHECK(types_load(path, &t, err, sizeof(err)) < 0);
	unlink(path);
	free(big);
}

/* The one that is installed. */
UNIT_TEST(ours)
{
	const char *path = "../../userspace-tool/launch/types.conf";

	if (access(path, R_OK))
		path = "userspace-tool/launch/types.conf";
	CHECK(!types_load(path, &t, err, sizeof(err)));
	CHECK(types_find(&t, "small"));
}
