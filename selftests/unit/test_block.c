// SPDX-License-Identifier: GPL-2.0
/* Disk images: raw files, qcow2, overlays, and files that are none of them. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "unit.h"
#include "block/block.h"

#define SECTOR	512
#define KIB	1024UL

static char dir[] = "/tmp/test_block.XXXXXX", path[64], other[64], err[8192];

static void in_dir(void)
{
	static bool made;

	if (!made && !mkdtemp(dir))
		abort();
	made = true;
	snprintf(path, sizeof(path), "%s/disk", dir);
	snprintf(other, sizeof(other), "%s/overlay", dir);
	unlink(path);
	unlink(other);
}

__attribute__((destructor)) static void clean(void)
{
	unlink(path);
	unlink(other);
	rmdir(dir);
}

/* ---- a host whose disks fail, and one that has block devices --------------------------- */

static struct {
	unsigned int syncs, fails;	/* so many; the one of this number fails, once */
	bool device;			/* the disk is one */
	bool swap;			/* once it was opened, the overlay's file has its name */
} host;

int __real_fdatasync(int fd);
int __real_fstat(int fd, struct stat *st);
int __real_ioctl(int fd, unsigned long what, void *arg);

int __wrap_fdatasync(int fd)
{
	if (++host.syncs != host.fails)
		return __real_fdatasync(fd);
	errno = EIO;
	return -1;
}

int __wrap_fstat(int fd, struct stat *st)
{
	struct stat disk;

	if (__real_fstat(fd, st))
		return -1;
	if (stat(path, &disk) || st->st_ino != disk.st_ino)
		return 0;
	if (host.device) {
		st->st_mode = S_IFBLK | 0600;
		st->st_size = 0;
	}
	if (host.swap && rename(other, path))
		abort();
	host.swap = false;
	return 0;
}

int __wrap_ioctl(int fd, unsigned long what, ...)
{
	struct stat st;
	va_list ap;
	void *arg;

	va_start(ap, what);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (!host.device || what != BLKGETSIZE64)
		return __real_ioctl(fd, what, arg);
	if (__real_fstat(fd, &st))
		return -1;
	*(uint64_t *)arg = st.st_size;
	return 0;
}

/* A file of that size, each sector of which says its number. */
static void make_raw(uint64_t size)
{
	uint64_t sector[SECTOR / 8];
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	uint64_t i;
	unsigned int j;

	for (i = 0; i < size / SECTOR; i++) {
		for (j = 0; j < SECTOR / 8; j++)
			sector[j] = i + 1;
		if (pwrite(fd, sector, SECTOR, i * SECTOR) != SECTOR)
			abort();
	}
	if (ftruncate(fd, size) || close(fd))
		abort();
}

static int open_image(enum block_format format, bool readonly, bool overlay, struct block **b)
{
	const struct block_params p = { path, format, readonly, overlay ? other : NULL };

	*err = 0;
	*b = NULL;
	return block_open(&p, b, err, sizeof(err));
}

static int get(struct block *b, uint64_t offset, void *buf, size_t len)
{
	/* In two pieces that end in no round place. */
	const struct iovec iov[] = { { buf, len / 3 }, { (uint8_t *)buf + len / 3, len - len / 3 } };

	return b->ops->read(b, offset, iov, 2);
}

static int put(struct block *b, uint64_t offset, const void *buf, size_t len)
{
	const struct iovec iov[] = {
		{ (void *)buf, len / 3 }, { (uint8_t *)buf + len / 3, len - len / 3 }
	};

	return b->ops->write(b, offset, iov, 2);
}

/* What the disk ought to have. */
static uint8_t *want, *have;
static uint64_t disk_size;

static void want_raw(uint64_t size)
{
	uint64_t i;

	free(want);
	free(have);
	disk_size = size;
	want = malloc(size);
	have = malloc(size);
	for (i = 0; i < size / 8; i++)
		((uint64_t *)want)[i] = i / (SECTOR / 8) + 1;
}

static bool as_wanted(struct block *b)
{
	memset(have, 0xee, disk_size);
	return !get(b, 0, have, disk_size) && !memcmp(have, want, disk_size);
}

static void scribble(struct block *b, uint64_t offset, size_t len, uint8_t byte)
{
	memset(want + offset, byte, len);
	CHECK_EQ(put(b, offset, want + offset, len), 0);
}

UNIT_TEST(raw_files)
{
	struct block *b, *second;

	in_dir();
	make_raw(256 * KIB);
	want_raw(256 * KIB);
	REQUIRE(!open_image(BLOCK_ANY, false, false, &b));
	CHECK(b->size == 256 * KIB && !b->readonly && b->raw_fd >= 0);
	CHECK(as_wanted(b));
	scribble(b, 1024, 4096, 'a');
	CHECK_EQ(b->ops->zero(b, 8192, 4096, true), 0);
	CHECK_EQ(b->ops->zero(b, 16384, 512, false), 0);
	memset(want + 8192, 0, 4096);
	memset(want + 16384, 0, 512);
	CHECK(as_wanted(b));
	CHECK_EQ(b->ops->discard(b, 32768, 4096), 0);
	CHECK_EQ(b->ops->flush(b), 0);
	/* One writer. */
	CHECK_EQ(open_image(BLOCK_ANY, false, false, &second), -EBUSY);
	CHECK(strstr(err, "another guest uses it"));
	CHECK_EQ(open_image(BLOCK_ANY, true, false, &second), -EBUSY);
	b->ops->close(b);
	REQUIRE(!open_image(BLOCK_ANY, true, false, &b));
	CHECK_EQ(open_image(BLOCK_ANY, true, false, &second), 0);
	CHECK(second->readonly);
	second->ops->close(second);
	/* Shorter than it was: an error, no loop. */
	CHECK_EQ(truncate(path, 4096), 0);
	CHECK_EQ(get(b, 0, have, 8192), -EIO);
	b->ops->close(b);
}

UNIT_TEST(what_is_no_disk)
{
	struct block *b;

	in_dir();
	CHECK_EQ(open_image(BLOCK_ANY, false, false, &b), -ENOENT);
	CHECK(strstr(err, path) && strstr(err, "check"));
	make_raw(512);
	CHECK_EQ(truncate(path, 1000), 0);
	CHECK_EQ(open_image(BLOCK_ANY, false, false, &b), -EINVAL);
	CHECK(strstr(err, "truncate -s %512"));
	CHECK_EQ(truncate(path, 0), 0);
	CHECK_EQ(open_image(BLOCK_ANY, false, false, &b), -EINVAL);
	CHECK_EQ(open_image(BLOCK_QCOW2, true, false, &b), -EINVAL);
	unlink(path);
	CHECK_EQ(mkfifo(path, 0600), 0);
	CHECK_EQ(open_image(BLOCK_ANY, true, false, &b), -EINVAL);	/* and it does not wait */
	unlink(path);
	CHECK_EQ(mkdir(path, 0700), 0);
	CHECK_EQ(open_image(BLOCK_ANY, true, false, &b), -EINVAL);
	rmdir(path);
}

/* ---- qcow2 ---------------------------------------------------------------------------- */

#define CLUSTER	(64 * KIB)

static uint8_t qcow2[8 * CLUSTER];
static size_t qcow2_len;

static void be(unsigned int at, unsigned int size, uint64_t value)
{
	while (size--) {
		qcow2[at + size] = value;
		value >>= 8;
	}
}

/* Four clusters: data, none, compressed, zeros; and half a one more, of data. */
static void make_qcow2(unsigned int version)
{
	z_stream z = { 0 };
	unsigned int i;

	memset(qcow2, 0, sizeof(qcow2));
	want_raw(4 * CLUSTER + CLUSTER / 2);
	memcpy(qcow2, "QFI\xfb", 4);
	be(4, 4, version);
	be(20, 4, 16);
	be(24, 8, disk_size);
	be(36, 4, 1);
	be(40, 8, CLUSTER);
	be(100, 4, 104);
	be(CLUSTER, 8, 2 * CLUSTER | 1ULL << 63);
	be(2 * CLUSTER, 8, 3 * CLUSTER | 1ULL << 63);
	memcpy(qcow2 + 3 * CLUSTER, want, CLUSTER);
	memset(want + CLUSTER, 0, CLUSTER);
	/* Compressed: at a byte that begins no sector. */
	deflateInit2(&z, 9, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY);
	z.next_in = want + 2 * CLUSTER;
	z.avail_in = CLUSTER;
	z.next_out = qcow2 + 4 * CLUSTER + 100;
	z.avail_out = CLUSTER;
	deflate(&z, Z_FINISH);
	i = (100 + z.total_out + SECTOR - 1) / SECTOR - 1;
	be(2 * CLUSTER + 16, 8, 1ULL << 62 | (uint64_t)i << 54 | (4 * CLUSTER + 100));
	deflateEnd(&z);
	be(2 * CLUSTER + 24, 8, version == 3 ? 5 * CLUSTER | 1 : 0);
	memset(qcow2 + 5 * CLUSTER, 'x', CLUSTER);
	memset(want + 3 * CLUSTER, 0, CLUSTER);
	be(2 * CLUSTER + 32, 8, 6 * CLUSTER);
	memcpy(qcow2 + 6 * CLUSTER, want + 4 * CLUSTER, CLUSTER / 2);
	qcow2_len = 7 * CLUSTER;
}

static void save(void)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);

	if (write(fd, qcow2, qcow2_len) != (ssize_t)qcow2_len || close(fd))
		abort();
}

UNIT_TEST(qcow2_images)
{
	struct block *b;
	unsigned int version;

	for (version = 2; version <= 3; version++) {
		in_dir();
		make_qcow2(version);
		save();
		REQUIRE(!open_image(BLOCK_QCOW2, true, false, &b));
		CHECK(b->size == disk_size && b->readonly && b->raw_fd < 0);
		CHECK(as_wanted(b));
		CHECK(!get(b, 2 * CLUSTER + 1000, have, 3000) &&
		      !memcmp(have, want + 2 * CLUSTER + 1000, 3000));
		b->ops->close(b);
	}
	CHECK_EQ(open_image(BLOCK_QCOW2, false, false, &b), -EROFS);
	CHECK(strstr(err, "overlay="));
	CHECK_EQ(open_image(BLOCK_ANY, false, false, &b), -EINVAL);
	CHECK(strstr(err, "format="));
	REQUIRE(!open_image(BLOCK_RAW, false, false, &b));
	b->ops->close(b);
}

static void refused(const char *word)
{
	struct block *b;

	save();
	CHECK_EQ(open_image(BLOCK_QCOW2, true, false, &b), -EINVAL);
	if (!strstr(err, word))
		unit_fail("'%s' says no '%s'", err, word);
}

UNIT_TEST(qcow2_refused)
{
	static const struct { unsigned int at, size; uint64_t value; const char *word; } bad[] = {
		{ 4, 4, 4, "version" }, { 8, 8, 4096, "backing file" }, { 20, 4, 8, "clusters" },
		{ 20, 4, 22, "clusters" }, { 24, 8, 0, "size" }, { 24, 8, UINT64_MAX - 511, "size" },
		{ 24, 8, 1000, "size" }, { 32, 4, 1, "encrypted" }, { 36, 4, 0, "L1" },
		{ 36, 4, UINT32_MAX, "L1" }, { 40, 8, 7 * CLUSTER, "L1" }, { 40, 8, 8, "L1" },
		{ 40, 8, UINT64_MAX - CLUSTER + 1, "L1" }, { 72, 8, 2, "features" }, { 72, 8, 8, "features" },
		{ 72, 8, 16, "features" }, { 24, 8, 1ULL << 40, "L1" },
	};
	unsigned int i;

	in_dir();
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		make_qcow2(3);
		be(bad[i].at, bad[i].size, bad[i].value);
		refused(bad[i].word);
	}
	make_qcow2(3);
	qcow2_len = 60;
	refused("cut short");
}

/* Tables that lead nowhere are an error of that cluster. */
UNIT_TEST(qcow2_damaged)
{
	static const struct { unsigned int at; uint64_t value; } bad[] = {
		{ CLUSTER, 100 * CLUSTER }, { CLUSTER, 2 * CLUSTER + 512 }, { 2 * CLUSTER, 7 * CLUSTER },
		{ 2 * CLUSTER, 3 * CLUSTER + 512 }, { 2 * CLUSTER, 1ULL << 62 | 1ULL << 53 },
		{ 2 * CLUSTER, 1ULL << 62 | 0xffULL << 54 | 3 * CLUSTER },
		{ 2 * CLUSTER, 1ULL << 62 | (7 * CLUSTER - 1) },
	};
	struct block *b;
	unsigned int i;

	in_dir();
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		make_qcow2(3);
		be(bad[i].at, 8, bad[i].value);
		save();
		REQUIRE(!open_image(BLOCK_QCOW2, true, false, &b));
		CHECK_EQ(get(b, 0, have, 4096), -EIO);
		b->ops->close(b);
	}
}

/* ---- overlays ---------------------------------------------------------------------------- */

UNIT_TEST(overlays)
{
	struct block *b;
	uint64_t odd = 6 * 4096 + 1536;		/* the last block is not whole */
	struct stat before, after;
	unsigned int i;

	in_dir();
	make_raw(odd);
	want_raw(odd);
	CHECK_EQ(stat(path, &before), 0);
	REQUIRE(!open_image(BLOCK_RAW, false, true, &b));
	CHECK(!b->readonly && b->size == odd && b->raw_fd < 0);
	CHECK(as_wanted(b));
	scribble(b, 512, 512, 'a');		/* a part */
	scribble(b, 4096, 4096, 'b');		/* a whole */
	scribble(b, 3 * 4096 - 512, 4096 + 1024, 'c');	/* across */
	scribble(b, 6 * 4096, 512, 'd');
	scribble(b, 1024, 512, 'e');		/* where a part is here already */
	CHECK(as_wanted(b));
	CHECK_EQ(b->ops->zero(b, 5 * 4096 - 1024, 4096 + 1536, true), 0);
	memset(want + 5 * 4096 - 1024, 0, 4096 + 1536);
	CHECK(as_wanted(b));
	CHECK_EQ(b->ops->flush(b), 0);
	b->ops->close(b);
	for (i = 0; i < 2; i++) {
		REQUIRE(!open_image(BLOCK_RAW, false, true, &b));
		CHECK(as_wanted(b));
		CHECK_EQ(b->ops->flush(b), 0);
		b->ops->close(b);
	}
	CHECK_EQ(stat(path, &after), 0);
	CHECK(before.st_mtim.tv_sec == after.st_mtim.tv_sec && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
}

/* Killed without a flush: what was flushed is there, the rest is old or new, by the block. */
UNIT_TEST(overlay_without_flush)
{
	struct block *b;
	unsigned int i;

	in_dir();
	make_raw(64 * KIB);
	want_raw(64 * KIB);
	REQUIRE(!open_image(BLOCK_RAW, false, true, &b));
	scribble(b, 4096, 8192, 'a');
	CHECK_EQ(b->ops->flush(b), 0);
	memset(have, 'b', 16384);
	CHECK_EQ(put(b, 16384, have, 16384), 0);
	b->ops->close(b);			/* without a flush, as by SIGKILL */
	REQUIRE(!open_image(BLOCK_RAW, false, true, &b));
	CHECK_EQ(get(b, 0, have, disk_size), 0);
	CHECK(!memcmp(have, want, 16384) && !memcmp(have + 32768, want + 32768, 32768));
	for (i = 4; i < 8; i++)
		CHECK(!memcmp(have + i * 4096, want + i * 4096, 4096) || have[i * 4096] == 'b');
	/* The file does not say that it has what it may not have. */
	CHECK(!memcmp(have + 16384, want + 16384, 16384));
	b->ops->close(b);
}

UNIT_TEST(overlay_over_qcow2)
{
	struct block *b;

	in_dir();
	make_qcow2(3);
	save();
	REQUIRE(!open_image(BLOCK_QCOW2, false, true, &b));
	scribble(b, 2 * CLUSTER + 512, 1024, 'a');
	CHECK_EQ(b->ops->discard(b, 0, 0), 0);
	CHECK(as_wanted(b));
	CHECK_EQ(b->ops->flush(b), 0);
	b->ops->close(b);
	REQUIRE(!open_image(BLOCK_QCOW2, false, true, &b));
	CHECK(as_wanted(b));
	b->ops->close(b);
}

static void overlay_refused(int error, const char *word)
{
	struct block *b;

	CHECK_EQ(open_image(BLOCK_RAW, false, true, &b), error);
	if (!strstr(err, word))
		unit_fail("'%s' says no '%s'", err, word);
}

UNIT_TEST(overlays_refused)
{
	struct block *b, *second;
	struct timespec times[2] = { { 1, 0 }, { 1, 0 } };
	int fd;

	in_dir();
	make_raw(64 * KIB);
	REQUIRE(!open_image(BLOCK_RAW, false, true, &b));
	CHECK_EQ(open_image(BLOCK_RAW, false, true, &second), -EBUSY);
	b->ops->close(b);
	CHECK_EQ(truncate(other, 64 * KIB), 0);
	overlay_refused(-EINVAL, "cut short");
	unlink(other);
	REQUIRE(!open_image(BLOCK_RAW, false, true, &b));
	b->ops->close(b);
	utimensat(AT_FDCWD, path, times, 0);
	overlay_refused(-ESTALE, "written to since");
	make_raw(128 * KIB);
	overlay_refused(-EINVAL, "another disk");
	fd = open(other, O_RDWR | O_TRUNC);
	CHECK(fd >= 0 && write(fd, "precious data", 13) == 13 && !close(fd));
	overlay_refused(-EINVAL, "no overlay of cleave's");
	snprintf(other, sizeof(other), "%s/no/overlay", dir);
	overlay_refused(-ENOENT, "check the path");
	snprintf(other, sizeof(other), "%s/overlay", dir);
}

/* What was written may be the killed run's, in the page cache alone: it is flushed, too. */
UNIT_TEST(overlay_first_flush)
{
	struct block *b;

	in_dir();
	make_raw(64 * KIB);
	want_raw(64 * KIB);
	REQUIRE(!open_image(BLOCK_RAW, false, true, &b));
	scribble(b, 4096, 8192, 'a');
	b->ops->close(b);
	REQUIRE(!open_image(BLOCK_RAW, false, true, &b));
	host.syncs = 0;
	CHECK_EQ(b->ops->flush(b), 0);
	CHECK(host.syncs);
	host.syncs = 0;
	CHECK_EQ(b->ops->flush(b), 0);	/* nothing since */
	CHECK_EQ(host.syncs, 0);
	b->ops->close(b);
}

static unsigned int lost;
static const char *lost_path;

static void on_lost(const struct block *b, int error)
{
	lost += error == -EIO;
	lost_path = b->path;
}

/* The kernel tells once; what was lost stays lost, so no later flush says that all is there. */
UNIT_TEST(flush_that_failed)
{
	unsigned int way;
	struct block *b;

	block_lost = on_lost;
	/* Of a file; of an overlay's data; of its bits. */
	for (way = 0; way < 3; way++) {
		in_dir();
		make_raw(64 * KIB);
		want_raw(64 * KIB);
		REQUIRE(!open_image(BLOCK_RAW, false, way, &b));
		CHECK_EQ(b->ops->flush(b), 0);
		scribble(b, 4096, 8192, 'a');
		lost = host.syncs = 0;
		host.fails = way == 2 ? 2 : 1;
		CHECK_EQ(b->ops->flush(b), -EIO);
		CHECK_EQ(b->ops->flush(b), -EIO);
		scribble(b, 4096, 4096, 'b');
		CHECK_EQ(b->ops->flush(b), -EIO);
		CHECK_EQ(lost, 1);
		CHECK(lost_path && !strcmp(lost_path, way ? other : path));
		CHECK(as_wanted(b));
		b->ops->close(b);
		REQUIRE(!open_image(BLOCK_RAW, false, way, &b));
		CHECK_EQ(b->ops->flush(b), 0);
		b->ops->close(b);
	}
	host.fails = 0;
	block_lost = NULL;
}

static void write_base(uint64_t offset, uint64_t value)
{
	int fd = open(path, O_WRONLY);

	CHECK(fd >= 0 && pwrite(fd, &value, 8, offset) == 8 && !close(fd));
}

/* A device's node is new at each boot: what tells is what the disk has at its ends. */
UNIT_TEST(overlay_over_a_device)
{
	const struct timespec times[2] = { { 1, 0 }, { 1, 0 } };
	uint64_t size = 12 * KIB * KIB;
	struct block *b;

	in_dir();
	make_raw(size);
	want_raw(size);
	host.device = true;
	REQUIRE(!open_image(BLOCK_RAW, false, true, &b));
	CHECK_EQ(b->size, size);
	scribble(b, 4096, 8192, 'a');
	CHECK_EQ(b->ops->flush(b), 0);
	b->ops->close(b);
	utimensat(AT_FDCWD, path, times, 0);
	REQUIRE(!open_image(BLOCK_RAW, false, true, &b));
	CHECK(as_wanted(b));
	b->ops->close(b);
	write_base(1024 * KIB + 1024, 77);	/* a first partition's super block */
	overlay_refused(-ESTALE, "written to since");
	write_base(1024 * KIB + 1024, (1024 * KIB + 1024) / SECTOR + 1);
	write_base(size - 8, 77);
	overlay_refused(-ESTALE, "written to since");
	write_base(size - 8, size / SECTOR);
	REQUIRE(!open_image(BLOCK_RAW, false, true, &b));
	b->ops->close(b);
	/* What was made over a file does not fit a device, and the other way round. */
	host.device = false;
	overlay_refused(-ESTALE, "written to since");
	host.device = true;
	make_raw(4096);				/* less than both ends */
	unlink(other);
	REQUIRE(!open_image(BLOCK_RAW, false, true, &b));
	b->ops->close(b);
	write_base(8, 77);
	overlay_refused(-ESTALE, "written to since");
	host.device = false;
}

/* The base is the file that was opened, whatever has its name by then. */
UNIT_TEST(overlay_of_the_file_that_was_opened)
{
	const struct timespec times[2] = { { 1, 0 }, { 1, 0 } };
	struct block *b;
	char kept[64];

	in_dir();
	make_raw(64 * KIB);
	snprintf(kept, sizeof(kept), "%s/kept", dir);
	CHECK(!link(path, kept) && !mknod(other, S_IFREG | 0600, 0));
	utimensat(AT_FDCWD, other, times, 0);
	host.swap = true;
	REQUIRE(!open_image(BLOCK_RAW, false, true, &b));
	b->ops->close(b);
	CHECK_EQ(rename(kept, path), 0);
	CHECK_EQ(open_image(BLOCK_RAW, false, true, &b), 0);
	if (b)
		b->ops->close(b);
}
