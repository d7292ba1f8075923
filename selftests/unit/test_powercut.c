// SPDX-License-Identifier: GPL-2.0
/*
 * The host's power goes while a guest writes. Between disk images and the kernel stands a disk
 * that keeps what an fdatasync() has confirmed, and of what was written since any part, sector by
 * sector, in any order; a new file has a name once its directory was synced. Behind each cut all
 * that a flush has confirmed must be there, and each sector be as the guest has written it.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "unit.h"
#include "block/block.h"

#define SECTOR	512U
#define SECTORS	1003U			/* of the disk: its last block is not whole */
#define FILE_MAX (2U << 20)
#define PENDING	65536U
#define ROUNDS	150U

static char dir[] = "/tmp/test_powercut.XXXXXX", base[64], path[64], err[8192];

/* ---- the host's disk ---------------------------------------------------------------------- */

static struct {
	bool on;
	uint8_t durable[FILE_MAX];
	uint64_t size, durable_size;
	bool named;			/* its directory has it */
	unsigned int fails;		/* so many fdatasync() from now fail */
	unsigned int count;		/* of: sectors written since the last fdatasync() */
	struct {
		uint32_t sector;
		uint8_t data[SECTOR];
	} pending[PENDING];
} host;

static uint32_t seed = 1;

static uint32_t chance(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

ssize_t __real_pwritev(int fd, const struct iovec *iov, int n, off_t offset);
ssize_t __real_pwrite(int fd, const void *buf, size_t len, off_t offset);
int __real_fallocate(int fd, int mode, off_t offset, off_t len);
int __real_ftruncate(int fd, off_t size);

static bool is_ours(int fd)
{
	struct stat a, b;

	return host.on && !fstat(fd, &a) && !stat(path, &b) && a.st_ino == b.st_ino;
}

static void written(int fd, uint64_t offset, uint64_t len)
{
	uint64_t s;

	if (!is_ours(fd) || !len)
		return;
	for (s = offset / SECTOR; s <= (offset + len - 1) / SECTOR; s++) {
		if (host.count == PENDING || s >= FILE_MAX / SECTOR)
			abort();
		memset(host.pending[host.count].data, 0, SECTOR);
		host.pending[host.count].sector = s;
		if (pread(fd, host.pending[host.count++].data, SECTOR, s * SECTOR) < 0)
			abort();
	}
}

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int n, off_t offset)
{
	ssize_t done = __real_pwritev(fd, iov, n, offset);

	written(fd, offset, done > 0 ? done : 0);
	return done;
}

ssize_t __wrap_pwrite(int fd, const void *buf, size_t len, off_t offset)
{
	ssize_t done = __real_pwrite(fd, buf, len, offset);

	written(fd, offset, done > 0 ? done : 0);
	return done;
}

int __wrap_fallocate(int fd, int mode, off_t offset, off_t len)
{
	int ret = __real_fallocate(fd, mode, offset, len);

	written(fd, offset, ret ? 0 : len);
	return ret;
}

int __wrap_ftruncate(int fd, off_t size)
{
	if (is_ours(fd))
		host.size = size;
	return __real_ftruncate(fd, size);
}

/* One that fails leaves the pages clean all the same. */
static int sync_host(bool fail)
{
	for (unsigned int i = 0; i < host.count && !fail; i++)
		memcpy(host.durable + host.pending[i].sector * SECTOR, host.pending[i].data, SECTOR);
	host.count = 0;
	host.durable_size = host.size;
	errno = EIO;
	return fail ? -1 : 0;
}

int __wrap_fdatasync(int fd)
{
	bool fail = host.fails && !--host.fails;

	return is_ours(fd) ? sync_host(fail) : 0;
}

int __wrap_fsync(int fd)
{
	struct stat st;

	if (!fstat(fd, &st) && S_ISDIR(st.st_mode)) {
		host.named = true;
		return 0;
	}
	return is_ours(fd) ? sync_host(false) : 0;
}

/* The power goes, and comes back; how: 0 nothing has got there, 1 all, 2 any, 3 the front, 4 the rest. */
static void cut(unsigned int how)
{
	unsigned int front = 64 * 1024 / SECTOR / 8;	/* an overlay's header and bits are before that */
	int fd;

	for (unsigned int i = 0; i < host.count; i++)
		if (how == 1 || (how == 2 && chance(2)) || (how == 3 && host.pending[i].sector < front) ||
		    (how == 4 && host.pending[i].sector >= front))
			memcpy(host.durable + host.pending[i].sector * SECTOR, host.pending[i].data, SECTOR);
	host.count = 0;
	host.size = host.durable_size;
	host.on = false;
	unlink(path);
	if (!host.named)
		return;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	if (fd < 0 || __real_ftruncate(fd, host.size) ||
	    __real_pwrite(fd, host.durable, host.size, 0) != (ssize_t)host.size || close(fd))
		abort();
	host.on = true;
}

/* ---- what the guest knows ------------------------------------------------------------------ */

struct sector {
	uint32_t number, version;
	uint32_t fill[SECTOR / 4 - 2];
};

static struct {
	uint32_t flushed, latest;	/* versions */
	uint32_t zeroed;		/* the last version that is zeros; 0: none */
	bool discarded;			/* it may be anything until it is written to */
} known[SECTORS];

static uint32_t version;
static struct sector buf[SECTORS];

static void make(struct sector *s, uint32_t number, uint32_t v)
{
	s->number = number;
	s->version = v;
	for (unsigned int i = 0; i < SECTOR / 4 - 2; i++)
		s->fill[i] = number * 31 + v;
}

static bool is_whole(const struct sector *s, uint32_t number)
{
	struct sector want;

	make(&want, number, s->version);
	return !memcmp(&want, s, sizeof(want));
}

static void forget_all(void)
{
	version = 0;
	memset(known, 0, sizeof(known));
}

static void do_write(struct block *b)
{
	unsigned int n = 1 + chance(24), at = chance(SECTORS - n), first = chance(n + 1);
	const struct iovec iov[] = { { buf, first * SECTOR }, { buf + first, (n - first) * SECTOR } };

	version++;
	for (unsigned int i = 0; i < n; i++) {
		make(&buf[i], at + i, version);
		known[at + i].latest = version;
		known[at + i].discarded = false;
	}
	CHECK_EQ(b->ops->write(b, (uint64_t)at * SECTOR, iov, 2), 0);
}

static void do_zero(struct block *b)
{
	unsigned int n = 1 + chance(24), at = chance(SECTORS - n);

	version++;
	for (unsigned int i = 0; i < n; i++) {
		known[at + i].latest = known[at + i].zeroed = version;
		known[at + i].discarded = false;
	}
	CHECK_EQ(b->ops->zero(b, (uint64_t)at * SECTOR, n * SECTOR, chance(2)), 0);
}

static void do_discard(struct block *b)
{
	unsigned int n = 1 + chance(24), at = chance(SECTORS - n);

	version++;
	for (unsigned int i = 0; i < n; i++) {
		known[at + i].zeroed = version;
		known[at + i].discarded = true;
	}
	CHECK_EQ(b->ops->discard(b, (uint64_t)at * SECTOR, n * SECTOR), 0);
}

static void do_flush(struct block *b)
{
	if (b->ops->flush(b))
		return;
	for (unsigned int i = 0; i < SECTORS; i++)
		known[i].flushed = known[i].latest;
}

/* All sectors; behind a cut they are what the next round begins with. */
static void look(struct block *b, bool cut_before)
{
	static const struct sector zeros;
	const struct iovec iov = { buf, sizeof(buf) };

	REQUIRE(!b->ops->read(b, 0, &iov, 1));
	for (unsigned int i = 0; i < SECTORS; i++) {
		uint32_t from = cut_before ? known[i].flushed : known[i].latest, is = buf[i].version;
		bool zero = !memcmp(&buf[i], &zeros, SECTOR);

		if (zero)
			is = known[i].zeroed;
		else if (!is_whole(&buf[i], i))
			unit_fail("sector %u is torn", i);
		if (!known[i].discarded && (is < from || is > known[i].latest))
			unit_fail("sector %u is of version %u, not %u to %u", i, is, from, known[i].latest);
		if (!cut_before)
			continue;
		known[i].flushed = known[i].latest = is;
		known[i].discarded = false;
	}
}

/* ---- images -------------------------------------------------------------------------------- */

static void make_base(const char *file)
{
	int fd = open(file, O_RDWR | O_CREAT | O_TRUNC, 0600);

	for (unsigned int i = 0; i < SECTORS; i++)
		make(&buf[i], i, 0);
	if (fd < 0 || __real_pwrite(fd, buf, sizeof(buf), 0) != sizeof(buf) || close(fd))
		abort();
}

/* The disk is empty, or has the raw file with what the guest knows of it. */
static void begin(bool overlay)
{
	static bool made;

	if (!made && !mkdtemp(dir))
		abort();
	made = true;
	snprintf(base, sizeof(base), "%s/base", dir);
	snprintf(path, sizeof(path), "%s/disk", dir);
	unlink(path);
	memset(&host, 0, sizeof(host));
	forget_all();
	host.on = true;
	make_base(base);
	if (overlay)
		return;
	make_base(path);
	memcpy(host.durable, buf, sizeof(buf));
	host.size = host.durable_size = sizeof(buf);
	host.named = true;
}

__attribute__((destructor)) static void clean(void)
{
	unlink(base);
	unlink(path);
	rmdir(dir);
}

static struct block *open_image(bool overlay)
{
	const struct block_params p = { overlay ? base : path, BLOCK_RAW, false, overlay ? path : NULL };
	struct block *b;

	if (!block_open(&p, &b, err, sizeof(err)))
		return b;
	unit_fail("%s", err);
	return NULL;
}

static void act(struct block *b)
{
	switch (chance(12)) {
	case 0: case 1:
		do_flush(b);
		break;
	case 2:
		do_zero(b);
		break;
	case 3:
		do_discard(b);
		break;
	default:
		do_write(b);
	}
}

static void rounds(bool overlay)
{
	for (unsigned int round = 0; round < ROUNDS; round++) {
		struct block *b;

		if (round % 10 == 0)
			begin(overlay);
		b = open_image(overlay);
		REQUIRE(b);
		look(b, true);
		for (unsigned int i = chance(60); i; i--)
			act(b);
		if (round % 10 == 0)	/* as soon as there is something to lose */
			do_flush(b);
		look(b, false);
		b->ops->close(b);	/* without a flush: the host is off */
		cut(round % 5);
	}
}

UNIT_TEST(raw)
{
	rounds(false);
}

UNIT_TEST(overlay)
{
	rounds(true);
}

/* The host's disk fails once: no flush succeeds any more, as what it was for is lost. */
static void failing(bool overlay)
{
	for (unsigned int which = 1; which <= (overlay ? 2 : 1); which++) {
		struct block *b;

		begin(overlay);
		b = open_image(overlay);
		REQUIRE(b);
		do_write(b);
		do_flush(b);
		do_write(b);
		host.fails = which;
		CHECK_EQ(b->ops->flush(b), -EIO);
		CHECK_EQ(b->ops->flush(b), -EIO);
		do_write(b);
		CHECK_EQ(b->ops->flush(b), -EIO);
		b->ops->close(b);
		cut(1);
		b = open_image(overlay);
		REQUIRE(b);
		look(b, true);
		do_write(b);
		CHECK_EQ(b->ops->flush(b), 0);
		b->ops->close(b);
	}
}

UNIT_TEST(raw_on_a_disk_that_fails)
{
	failing(false);
}

UNIT_TEST(overlay_on_a_disk_that_fails)
{
	failing(true);
}
