// SPDX-License-Identifier: GPL-2.0
/* Virtio over PCI, rng and blk, by a driver that is a guest's; their threads run. */
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include "unit.h"
#include "blk_driver.h"
#include "virtio/bucket.h"

#define V1		(1ULL << VIRTIO_F_VERSION_1)
#define EVENT		(1ULL << VIRTIO_RING_F_EVENT_IDX)
#define INDIRECT	(1ULL << VIRTIO_RING_F_INDIRECT_DESC)

/* ---- the transport, by the device that does least ---------------------------------- */

static void plug_rng(void)
{
	d_plug(virtio_rng(d_memory()));
}

/* The capabilities of 4.1.4, found as a driver finds them: where each structure is. */
UNIT_TEST(capabilities)
{
	unsigned int at, seen = 0, type, n = 0;

	plug_rng();
	CHECK_EQ(d_config(0, 4), 0x10441af4);
	CHECK(d_config(PCI_REVISION_ID, 1) >= 1);
	CHECK(d_config(PCI_STATUS, 2) & PCI_STATUS_CAP_LIST);
	for (at = d_config(PCI_CAPABILITY_LIST, 1); at && n++ < 20; at = d_config(at + 1, 1)) {
		if (d_config(at, 1) != PCI_CAP_ID_VNDR)
			continue;
		type = d_config(at + 3, 1);
		seen |= 1 << type;
		CHECK(d_config(at + 2, 1) >= 16);
		if (type != 5)
			CHECK(d_config(at + 4, 1) == 0 && d_config(at + 8, 4) + d_config(at + 12, 4) <= 0x8000);
		if (type == 1)
			CHECK(d_config(at + 8, 4) == 0 && d_config(at + 12, 4) >= 56);
		if (type == 2)
			CHECK(d_config(at + 16, 4) == 4 && d_config(at + 8, 4) == 0x3000);
	}
	CHECK_EQ(seen, 1 << 1 | 1 << 2 | 1 << 3 | 1 << 5);	/* rng has no configuration */
	d_unplug();
}

UNIT_TEST(negotiation)
{
	plug_rng();
	CHECK_EQ(d_negotiate(V1), 0x0b);
	CHECK_EQ(dr.features, V1 | EVENT | INDIRECT);
	d_set(0x0c, 4, 0);			/* too late */
	CHECK_EQ(d_get(0x0c, 4), 1);
	CHECK_EQ(d_negotiate(0), 0x03);		/* not 1.0: refused */
	CHECK_EQ(d_negotiate(V1 | 1ULL << 40), 0x03);	/* what was not offered */
	d_set(0x14, 1, 0x07);			/* nor does it run then */
	CHECK_EQ(d_get(0x14, 1), 0x03);
	d_set(0x00, 4, 2);
	CHECK_EQ(d_get(0x04, 4), 0);
	d_reset();
	CHECK(d_get(0x12, 2) == 1 && d_get(0x18, 2) == 64 && d_get(0x1a, 2) == 0xffff);
	d_set(0x16, 2, 1);			/* a queue that is not there */
	CHECK(d_get(0x18, 2) == 0 && d_get(0x1c, 2) == 0);
	d_set(0x1c, 2, 1);
	d_set(0x16, 2, 65535);
	d_set(0x20, 4, 1);
	d_set(0x10, 2, 2);			/* vectors that are not there */
	CHECK_EQ(d_get(0x10, 2), 0xffff);
	/* Addresses by halves, or at once. */
	d_set(0x16, 2, 0);
	d_set(0x20, 4, 0x1000);
	d_set(0x24, 4, 2);
	CHECK(d_get(0x20, 4) == 0x1000 && d_get(0x24, 4) == 2);
	d_set(0x28, 8, 0x700003000);
	d_set(0x30, 8, 0x900004000);
	CHECK(d_get(0x28, 4) == 0x3000 && d_get(0x2c, 4) == 7 && d_get(0x30, 8) == 0x900004000);
	d_unplug();
}

UNIT_TEST(random_numbers)
{
	const struct d_part part[] = { { D_DATA, 32, true }, { D_DATA + 0x1000, 32, true } };
	static const uint8_t zeros[32];
	unsigned int before, i;

	plug_rng();
	d_start(EVENT, 1);
	CHECK_EQ(dr.eventfds, 1);
	before = atomic_load(&dr.msis);
	d_offer(0, part, 2);
	d_kick(0);
	CHECK_EQ(d_wait(0), 64);
	CHECK(memcmp(dr.ram + D_DATA, zeros, 32) && memcmp(dr.ram + D_DATA + 0x1000, zeros, 32));
	CHECK(d_message(0x41));
	CHECK(atomic_load(&dr.msis) > before);
	/* By the eventfd that the kernel would signal. */
	for (i = 0; i < 200; i++) {
		uint64_t one = 1;

		d_offer(0, part, 1);
		CHECK_EQ(write(dr.eventfd[0], &one, 8), 8);
		CHECK_EQ(d_wait(0), 32);
	}
	/* No end of buffers: as much as it gives at once. */
	d_offer(0, (const struct d_part[]){ { 0, D_RINGS - 1, true } }, 1);
	d_kick(0);
	CHECK_EQ(d_wait(0), 4096);
	d_unplug();
}

UNIT_TEST(interrupt_line)
{
	const struct d_part part = { D_DATA, 8, true };
	unsigned int line = pci_line(1), i;

	plug_rng();
	d_start(0, 1);
	d_set_config(0x42, 2, 0);		/* MSI-X off */
	d_offer(0, &part, 1);
	d_kick(0);
	for (i = 0; i < 5000 && !atomic_load(&dr.levels[line]); i++)
		d_pause();
	CHECK(atomic_load(&dr.levels[line]));
	CHECK_EQ(d_get(0x1000, 1), 1);
	CHECK(!atomic_load(&dr.levels[line]));
	CHECK_EQ(d_get(0x1000, 1), 0);
	d_wait(0);
	/* It goes by a reset, too. */
	d_offer(0, &part, 1);
	d_kick(0);
	for (i = 0; i < 5000 && !atomic_load(&dr.levels[line]); i++)
		d_pause();
	d_reset();
	for (i = 0; i < 5000 && atomic_load(&dr.levels[line]); i++)
		d_pause();
	CHECK(!atomic_load(&dr.levels[line]));
	/* Nothing is due when the driver may begin anew, and what comes then is its own. */
	d_start(0, 1);
	d_set_config(0x42, 2, 0);
	d_offer(0, &part, 1);
	d_kick(0);
	d_wait(0);
	for (i = 0; i < 5000 && !atomic_load(&dr.levels[line]); i++)
		d_pause();
	pthread_mutex_lock(&dr.d->lock);
	vdev_clear(dr.d);
	CHECK_EQ(dr.fn.isr, 0);
	dr.fn.isr = 1;
	pthread_mutex_unlock(&dr.d->lock);
	dr.d->transport->was_reset(dr.d);
	CHECK_EQ(d_get(0x1000, 1), 1);
	d_unplug();
}

UNIT_TEST(window_in_configuration_space)
{
	unsigned int at = 0, i;

	plug_rng();
	for (i = d_config(PCI_CAPABILITY_LIST, 1); i; i = d_config(i + 1, 1))
		if (d_config(i, 1) == PCI_CAP_ID_VNDR && d_config(i + 3, 1) == 5)
			at = i;
	REQUIRE(at);
	d_set_config(at + 8, 4, 0x12);
	d_set_config(at + 12, 4, 2);
	CHECK_EQ(d_config(at + 16, 2), 1);	/* num_queues */
	d_set_config(at + 8, 4, 0x14);
	d_set_config(at + 12, 4, 1);
	d_set_config(at + 16, 1, 1);
	CHECK_EQ(d_get(0x14, 1), 1);
	/* Nothing is behind these. */
	d_set_config(at + 12, 4, 3);
	d_set_config(at + 16, 4, 0);
	d_set_config(at + 8, 4, 0xfffffffc);
	d_set_config(at + 12, 4, 4);
	d_set_config(at + 16, 4, 0);
	d_set_config(at + 4, 1, 2);
	d_set_config(at + 8, 4, 0x14);
	d_set_config(at + 12, 4, 1);
	d_set_config(at + 16, 1, 0);
	CHECK_EQ(d_get(0x14, 1), 1);
	d_unplug();
}

UNIT_TEST(broken_driver)
{
	plug_rng();
	d_start(0, 1);
	d_avail(0)->ring[0] = 99;
	d_avail(0)->idx = 1;
	d_kick(0);
	CHECK(d_message(0x40));			/* the configuration's vector */
	CHECK_EQ(d_get(0x14, 1), 0x4f);
	CHECK(dr.d->broken && strstr(dr.d->broken, "head"));
	/* A reset mends it. */
	d_start(0, 1);
	d_offer(0, (const struct d_part[]){ { D_DATA, 8, true } }, 1);
	d_kick(0);
	CHECK_EQ(d_wait(0), 8);
	/* Rings that are nowhere. */
	CHECK_EQ(d_negotiate(V1), 0x0b);
	d_set(0x16, 2, 0);
	d_set(0x24, 4, 0xffffffff);
	d_set(0x1c, 2, 1);
	CHECK_EQ(d_get(0x1c, 2), 0);
	CHECK_EQ(d_get(0x14, 1), 0x4b);
	/* No queue at all, and running. */
	CHECK_EQ(d_negotiate(V1), 0x0b);
	d_set(0x14, 1, 0x0f);
	d_kick(0);
	d_unplug();
}

UNIT_TEST(moved_while_it_runs)
{
	plug_rng();
	d_start(0, 1);
	d_set_config(0x10, 4, 0xc0080000);
	dr.bar = 0xc0080000;
	CHECK_EQ(dr.eventfds, 1);
	d_offer(0, (const struct d_part[]){ { D_DATA, 8, true } }, 1);
	d_kick(0);
	CHECK_EQ(d_wait(0), 8);
	d_set_config(PCI_COMMAND, 2, 0);
	CHECK_EQ(dr.eventfds, 0);
	d_set_config(PCI_COMMAND, 2, 2);
	d_unplug();
}

/* ---- blk ------------------------------------------------------------------------------- */

static void reads_and_writes(void)
{
	static uint8_t zeros[8192];
	unsigned int i;

	plug_blk(false, 1);
	d_start(FLUSH | 1ULL << VIRTIO_BLK_F_DISCARD | 1ULL << VIRTIO_BLK_F_WRITE_ZEROES, 1);
	CHECK_EQ(d_get(0x2000, 8), DISK / 512);
	for (i = 0; i < 8192; i++)
		dr.ram[BUFFER + i] = i * 7 + i / 512;
	CHECK_EQ(request(VIRTIO_BLK_T_OUT, 100, BUFFER, 8192), VIRTIO_BLK_S_OK);
	CHECK(on_disk(100, dr.ram + BUFFER, 8192));
	CHECK_EQ(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
	CHECK_EQ(request(VIRTIO_BLK_T_IN, 101, BUFFER + 0x10000, 4096), VIRTIO_BLK_S_OK);
	CHECK(!memcmp(dr.ram + BUFFER + 0x10000, dr.ram + BUFFER + 512, 4096));
	CHECK_EQ(request(VIRTIO_BLK_T_GET_ID, 0, BUFFER + 0x20000, 20), VIRTIO_BLK_S_OK);
	CHECK(!memcmp(dr.ram + BUFFER + 0x20000, "serial-17\0\0\0\0\0\0\0\0\0\0\0\0", 21));
	/* The last sector, and what is behind it. */
	CHECK_EQ(request(VIRTIO_BLK_T_OUT, DISK / 512 - 1, BUFFER, 512), VIRTIO_BLK_S_OK);
	CHECK_EQ(request(VIRTIO_BLK_T_IN, DISK / 512 - 1, BUFFER, 1024), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(VIRTIO_BLK_T_OUT, DISK / 512, BUFFER, 512), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(VIRTIO_BLK_T_IN, UINT64_MAX / 512, BUFFER, 512), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(VIRTIO_BLK_T_OUT, 1ULL << 55, BUFFER, 512), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(VIRTIO_BLK_T_OUT, 0, BUFFER, 100), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(77, 0, BUFFER, 512), VIRTIO_BLK_S_UNSUPP);
	/* Zeros. */
	memcpy(dr.ram + BUFFER, &(struct virtio_blk_discard_write_zeroes){ 100, 8, 1 }, 16);
	CHECK_EQ(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, BUFFER, 16), VIRTIO_BLK_S_OK);
	CHECK(on_disk(100, zeros, 4096));
	CHECK(!on_disk(108, zeros, 4096));
	memcpy(dr.ram + BUFFER, &(struct virtio_blk_discard_write_zeroes){ 108, 8, 0 }, 16);
	CHECK_EQ(request(VIRTIO_BLK_T_DISCARD, 0, BUFFER, 16), VIRTIO_BLK_S_OK);
	memcpy(dr.ram + BUFFER, &(struct virtio_blk_discard_write_zeroes){ DISK / 512, 1, 0 }, 16);
	CHECK_EQ(request(VIRTIO_BLK_T_DISCARD, 0, BUFFER, 16), VIRTIO_BLK_S_IOERR);
	memcpy(dr.ram + BUFFER, &(struct virtio_blk_discard_write_zeroes){ 0, 1, 2 }, 16);
	CHECK_EQ(request(VIRTIO_BLK_T_DISCARD, 0, BUFFER, 16), VIRTIO_BLK_S_UNSUPP);
	CHECK_EQ(request(VIRTIO_BLK_T_DISCARD, 0, BUFFER, 15), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(VIRTIO_BLK_T_DISCARD, 0, BUFFER, 16 * 17), VIRTIO_BLK_S_IOERR);
	d_unplug();
}

UNIT_TEST(blk_by_io_uring)
{
	reads_and_writes();
}

UNIT_TEST(blk_by_threads)
{
	without_uring = true;
	reads_and_writes();
	without_uring = false;
}

UNIT_TEST(blk_readonly)
{
	plug_blk(true, 1);
	d_start(1ULL << VIRTIO_BLK_F_RO | FLUSH, 1);
	CHECK(!(dr.features >> VIRTIO_BLK_F_DISCARD & 1));
	CHECK_EQ(request(VIRTIO_BLK_T_OUT, 0, BUFFER, 512), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, BUFFER, 16), VIRTIO_BLK_S_IOERR);
	CHECK_EQ(request(VIRTIO_BLK_T_IN, 0, BUFFER, 512), VIRTIO_BLK_S_OK);
	CHECK_EQ(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
	d_unplug();
}

UNIT_TEST(blk_without_header)
{
	plug_blk(false, 1);
	d_start(FLUSH, 1);
	d_offer(0, (const struct d_part[]){ { HEADER, 15, false }, { STATUS, 1, true } }, 2);
	d_kick(0);
	CHECK(d_message(0x40));
	CHECK(dr.d->broken && strstr(dr.d->broken, "header"));
	d_start(FLUSH, 1);
	d_offer(0, (const struct d_part[]){ { HEADER, 16, false } }, 1);
	d_kick(0);
	CHECK(d_message(0x40));
	d_unplug();
}

/* All queues at once, many requests each, in pieces; each sector ends as it was written. */
UNIT_TEST(blk_queues)
{
	unsigned int i, q, round;

	plug_blk(false, 4);
	d_start(FLUSH | EVENT, 4);
	CHECK_EQ(d_get(0x12, 2), 4);
	for (round = 0; round < 50; round++) {
		for (q = 0; q < 4; q++) {
			for (i = 0; i < 16; i++) {
				uint64_t at = BUFFER + (q * 16 + i) * 1024;

				memset(dr.ram + at, round * 64 + q * 16 + i, 1024);
				offer(q, VIRTIO_BLK_T_OUT, (q * 16 + i) * 2, at, 1024, q * 16 + i);
				if (i % 5 == 0)
					d_kick(q);
			}
			d_kick(q);
		}
		for (q = 0; q < 4; q++)
			for (i = 0; i < 16; i++)
				CHECK_EQ(d_wait(q), 1);
		for (i = 0; i < 64; i++)
			CHECK_EQ(dr.ram[STATUS + i], 0);
		CHECK(on_disk(0, dr.ram + BUFFER, 65536));
	}
	d_unplug();
}

/* The driver resets with requests under way, over and over: none comes behind it. */
UNIT_TEST(blk_reset_under_way)
{
	unsigned int round, i;

	plug_blk(false, 2);
	for (round = 0; round < 50; round++) {
		d_start(FLUSH, 2);
		for (i = 0; i < 16; i++)
			offer(i & 1, VIRTIO_BLK_T_IN, i * 100, BUFFER + i * 8192, 8192, i);
		d_kick(0);
		d_kick(1);
		d_reset();
		memset(dr.ram + D_RINGS, 0x55, 2 * D_STEP);
		memset(dr.ram + BUFFER, 0x66, 16 * 8192);
		if (!(round % 10))
			d_pause();
		for (i = 0; i < 2 * D_STEP; i++)
			if (dr.ram[D_RINGS + i] != 0x55)
				break;
		CHECK_EQ(i, 2 * D_STEP);
		for (i = 0; i < 16 * 8192; i++)
			if (dr.ram[BUFFER + i] != 0x66)
				break;
		CHECK_EQ(i, 16 * 8192);
	}
	d_unplug();
}

/* A file that may not grow stands for a disk that is full: an error, and no end of the device. */
UNIT_TEST(blk_full_disk)
{
	struct rlimit old, small = { .rlim_cur = 8192, .rlim_max = RLIM_INFINITY };
	unsigned int way;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	small.rlim_max = old.rlim_max;
	for (way = 0; way < 2; way++) {
		without_uring = way;
		plug_blk(false, 1);
		d_start(FLUSH, 1);
		setrlimit(RLIMIT_FSIZE, &small);
		CHECK_EQ(request(VIRTIO_BLK_T_OUT, 0, BUFFER, 8192), VIRTIO_BLK_S_OK);
		CHECK_EQ(request(VIRTIO_BLK_T_OUT, 16, BUFFER, 4096), VIRTIO_BLK_S_IOERR);
		/* Half of it goes: that is an error, too. */
		CHECK_EQ(request(VIRTIO_BLK_T_OUT, 8, BUFFER, 8192), VIRTIO_BLK_S_IOERR);
		setrlimit(RLIMIT_FSIZE, &old);
		CHECK_EQ(request(VIRTIO_BLK_T_OUT, 16, BUFFER, 4096), VIRTIO_BLK_S_OK);
		CHECK_EQ(atomic_load(&dr.d->counter[6]), 2);
		d_unplug();
	}
	without_uring = false;
}

/* A read that takes long, of a pipe: the reset is not over before it is. */
UNIT_TEST(blk_reset_waits_for_the_disk)
{
	struct block *b = image(false);
	static uint8_t some[4096];
	int fd[2], file = b->raw_fd;
	unsigned int i;

	REQUIRE(!pipe(fd));
	memset(some, 0x77, sizeof(some));
	b->raw_fd = fd[0];
	d_plug(virtio_blk(d_memory(), b, "", 1));
	d_start(FLUSH, 1);
	offer(0, VIRTIO_BLK_T_IN, 0, BUFFER, 4096, 0);
	d_kick(0);
	for (i = 0; i < 5000 && !atomic_load(&dr.d->queue[0].chains); i++)
		d_pause();
	for (i = 0; i < 20; i++)
		d_pause();
	d_set(0x14, 1, 0);
	for (i = 0; i < 50; i++)
		d_pause();
	CHECK_EQ(d_get(0x14, 1), 0x0f);
	d_set(0x14, 1, 0x0f);			/* nothing counts meanwhile */
	CHECK_EQ(write(fd[1], some, sizeof(some)), 4096);
	for (i = 0; i < 5000 && d_get(0x14, 1); i++)
		d_pause();
	CHECK_EQ(d_get(0x14, 1), 0);
	CHECK_EQ(dr.ram[BUFFER + 4095], 0x77);
	/* A flush reaches the file: no pipe can be flushed. The machine ends with one under way. */
	d_start(FLUSH, 1);
	CHECK_EQ(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_IOERR);
	offer(0, VIRTIO_BLK_T_IN, 0, BUFFER, 4096, 0);
	d_kick(0);
	for (i = 0; i < 20; i++)
		d_pause();
	CHECK_EQ(write(fd[1], some, sizeof(some)), 4096);
	vdev_stop(dr.d);
	b->raw_fd = file;
	dr.d->ops->destroy(dr.d);
	close(fd[0]);
	close(fd[1]);
}

static atomic_uint told[2];

static void on_event(struct vdev *d, enum vdev_event what)
{
	atomic_fetch_add(&told[what], 1);
}

static void pauses(unsigned int ms)
{
	while (ms--)
		d_pause();
}

/* A full disk is /dev/full, until the file is put in its place. */
static struct block *full_image(int *file)
{
	struct block *b = image(false);
	int full = open("/dev/full", O_RDWR);

	*file = dup(b->raw_fd);
	if (*file < 0 || full < 0 || dup2(full, b->raw_fd) < 0)
		abort();
	close(full);
	return b;
}

/* Writes wait, and nothing else does; they end when there is room, and each is told of once. */
UNIT_TEST(blk_waits_for_room)
{
	unsigned int way, i;
	struct block *b;
	int file;

	vdev_tells = on_event;
	for (way = 0; way < 2; way++) {
		without_uring = way;
		atomic_store(&told[VDEV_NO_ROOM], 0);
		atomic_store(&told[VDEV_ROOM], 0);
		b = full_image(&file);
		d_plug(virtio_blk(d_memory(), b, "", 1));
		d_start(FLUSH, 1);
		memset(dr.ram + BUFFER, 'r', 3 * 4096);
		for (i = 0; i < 3; i++)
			offer(0, VIRTIO_BLK_T_OUT, 800 + 8 * i, BUFFER + 4096 * i, 4096, 1 + i);
		d_kick(0);
		CHECK_EQ(request(VIRTIO_BLK_T_IN, 0, BUFFER + 0x10000, 4096), VIRTIO_BLK_S_OK);
		pauses(1500);			/* tried again meanwhile */
		CHECK_EQ(atomic_load(&dr.d->counter[7]), 3);
		CHECK_EQ(d_used(0)->idx, 1);
		CHECK(dup2(file, b->raw_fd) >= 0);
		for (i = 0; i < 3; i++)
			CHECK_EQ(d_wait(0), 1);
		for (i = 0; i < 3; i++)
			CHECK_EQ(dr.ram[STATUS + 1 + i], VIRTIO_BLK_S_OK);
		CHECK(on_disk(800, dr.ram + BUFFER, 3 * 4096));
		CHECK_EQ(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
		for (i = 0; i < 1000 && !atomic_load(&told[VDEV_ROOM]); i++)
			d_pause();
		CHECK_EQ(atomic_load(&told[VDEV_NO_ROOM]), 1);
		CHECK_EQ(atomic_load(&told[VDEV_ROOM]), 1);
		CHECK_EQ(atomic_load(&dr.d->counter[7]), 0);
		CHECK_EQ(atomic_load(&dr.d->counter[6]), 0);
		d_unplug();
		close(file);
	}
	without_uring = false;
	vdev_tells = NULL;
}

/* A reset, and the end, do not wait for room; and what waited does not come later. */
UNIT_TEST(blk_reset_without_room)
{
	struct block *b;
	unsigned int i;
	int file;

	b = full_image(&file);
	d_plug(virtio_blk(d_memory(), b, "", 1));
	for (i = 0; i < 2; i++) {
		d_start(FLUSH, 1);
		offer(0, VIRTIO_BLK_T_OUT, 900, BUFFER, 4096, 0);
		d_kick(0);
		pauses(50);
		CHECK_EQ(atomic_load(&dr.d->counter[7]), 1);
		if (i)
			break;
		d_reset();
		CHECK_EQ(atomic_load(&dr.d->counter[7]), 0);
		memset(dr.ram + D_RINGS, 0x55, D_STEP);
		pauses(1200);
		CHECK_EQ(dr.ram[D_RINGS + 0x2002], 0x55);
		CHECK_EQ(dr.ram[STATUS], 0xaa);
	}
	d_unplug();
	close(file);
}

/* All of a guest's disk may be waiting: 64 chains here; reads go on when there is room. */
UNIT_TEST(blk_all_without_room)
{
	struct block *b;
	unsigned int i;
	int file;

	b = full_image(&file);
	d_plug(virtio_blk(d_memory(), b, "", 1));
	d_start(FLUSH, 1);
	for (i = 0; i < D_SIZE / 3; i++)
		offer(0, VIRTIO_BLK_T_OUT, 8 * i, BUFFER, 4096, 1 + i);
	d_kick(0);
	pauses(1100);
	CHECK_EQ(atomic_load(&dr.d->counter[7]), D_SIZE / 3);
	CHECK(dup2(file, b->raw_fd) >= 0);
	for (i = 0; i < D_SIZE / 3; i++)
		CHECK_EQ(d_wait(0), 1);
	d_unplug();
	close(file);
}

/* A disk that does not answer: the end of the machine is not waited for longer than that. */
UNIT_TEST(blk_end_has_a_limit)
{
	struct block *b = image(false);
	int fd[2], file = b->raw_fd;
	static uint8_t some[4096];
	struct timespec until;

	REQUIRE(!pipe(fd));
	b->raw_fd = fd[0];
	d_plug(virtio_blk(d_memory(), b, "", 1));
	d_start(FLUSH, 1);
	offer(0, VIRTIO_BLK_T_IN, 0, BUFFER, 4096, 0);
	d_kick(0);
	pauses(50);
	vdev_ask_stop(dr.d);
	clock_gettime(CLOCK_MONOTONIC, &until);
	CHECK(!vdev_join(dr.d, &until));
	until.tv_nsec += 200000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	CHECK(!vdev_join(dr.d, &until));
	CHECK_EQ(write(fd[1], some, sizeof(some)), 4096);
	until.tv_sec += 10;
	CHECK(vdev_join(dr.d, &until));
	b->raw_fd = file;
	dr.d->ops->destroy(dr.d);
	close(fd[0]);
	close(fd[1]);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ULL + ts.tv_nsec / 1000000;
}

static void at_a_rate(void)
{
	struct bucket rate = { .rate = 256 << 10 };
	uint64_t begin = now_ms(), took;
	struct vdev *d = virtio_blk(d_memory(), image(false), "", 1);
	unsigned int i;

	REQUIRE(d && !virtio_blk_rate(d, &rate));
	d_plug(d);
	d_start(FLUSH | 1ULL << VIRTIO_BLK_F_WRITE_ZEROES, 1);
	/* 128 KiB in half a second, but for what may be taken ahead, and the last. */
	memset(dr.ram + BUFFER, 0x5c, 32768);
	for (i = 0; i < 4; i++)
		CHECK_EQ(request(VIRTIO_BLK_T_OUT, 64 * i, BUFFER, 32768), VIRTIO_BLK_S_OK);
	took = now_ms() - begin;
	if (took < 270)
		unit_fail("128 KiB in %llu ms", (unsigned long long)took);
	CHECK(on_disk(192, dr.ram + BUFFER, 32768));
	/* Zeros are paid for as data is. */
	begin = now_ms();
	memcpy(dr.ram + BUFFER, &(struct virtio_blk_discard_write_zeroes){ 0, 128, 1 }, 16);
	CHECK_EQ(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, BUFFER, 16), VIRTIO_BLK_S_OK);
	CHECK_EQ(request(VIRTIO_BLK_T_IN, 0, BUFFER, 512), VIRTIO_BLK_S_OK);
	took = now_ms() - begin;
	if (took < 250)
		unit_fail("64 KiB of zeros in %llu ms", (unsigned long long)took);
	/* One that waits for the rate does not keep a reset waiting, nor the end. */
	bucket_take(&rate, now_ms() * 1000000, 64 << 20);
	offer(0, VIRTIO_BLK_T_IN, 0, BUFFER, 512, 0);
	d_kick(0);
	for (i = 0; i < 20; i++)
		d_pause();
	CHECK_EQ(dr.ram[STATUS], 0xaa);
	d_reset();
	d_start(FLUSH, 1);
	d_unplug();
}

UNIT_TEST(blk_at_a_rate)
{
	at_a_rate();
	without_uring = true;
	at_a_rate();
	without_uring = false;
}
