// SPDX-License-Identifier: GPL-2.0
/* The split virtqueue, with a driver that keeps the rules and one that breaks each. */
#include <errno.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "unit.h"
#include "virtio/queue.c"

#define PAGE	4096UL
#define RAM	(64 * PAGE)
#define DESC	0x1000UL
#define AVAIL	0x2000UL
#define USED	0x3000UL
#define TABLE	0x4000UL	/* indirect */
#define DATA	0x8000UL
#define ROM	0x100000UL

static uint8_t *ram;
static uint8_t rom[PAGE];
static struct cleave_mem mem;
static struct vq q;
static struct vq_chain c;
static struct vring vr;		/* the driver's view */

/* RAM with nothing before and behind it, so that who leaves it is found. */
static void setup(unsigned int size, bool indirect, bool event_idx)
{
	if (!ram) {
		ram = mmap(NULL, RAM + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (ram == MAP_FAILED || mprotect(ram + PAGE, RAM, PROT_READ | PROT_WRITE))
			abort();
		ram += PAGE;
	}
	memset(ram, 0, RAM);
	memset(&mem, 0, sizeof(mem));
	cleave_mem_add(&mem, 0, RAM, ram, 0);
	cleave_mem_add(&mem, ROM, sizeof(rom), rom, CLEAVE_MEM_READONLY);
	memset(&q, 0, sizeof(q));
	q.size = size;
	q.desc_gpa = DESC;
	q.avail_gpa = AVAIL;
	q.used_gpa = USED;
	CHECK_EQ(vq_enable(&q, &mem, indirect, event_idx), 0);
	vr.num = size;
	vr.desc = (void *)(ram + DESC);
	vr.avail = (void *)(ram + AVAIL);
	vr.used = (void *)(ram + USED);
}

static void desc(unsigned int i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	vr.desc[i] = (struct vring_desc){ addr, len, flags, next };
}

static void table(unsigned int i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	((struct vring_desc *)(ram + TABLE))[i] = (struct vring_desc){ addr, len, flags, next };
}

static void offer(uint16_t head)
{
	vr.avail->ring[vr.avail->idx % vr.num] = head;
	vr.avail->idx++;
}

/* The rule is broken, it is told, and nothing is taken any more. */
#define BREAKS(word)								\
	do {									\
		CHECK_EQ(vq_pop(&q, &c), -EPROTO);				\
		CHECK(q.broken && strstr(q.broken, word));			\
		CHECK_EQ(vq_pop(&q, &c), -EPROTO);				\
	} while (0)

UNIT_TEST(enable_checks_place_and_size)
{
	static const uint16_t sizes[] = { 0, 3, 24, 512, 65535, 32768 };
	struct vq bad;
	unsigned int i;

	setup(8, true, true);
	for (i = 0; i < 6; i++) {
		bad = q;
		bad.size = sizes[i];
		CHECK_EQ(vq_enable(&bad, &mem, false, false), -EINVAL);
	}
#define REFUSES(field, value)							\
	do {									\
		bad = q;							\
		bad.field = value;						\
		CHECK_EQ(vq_enable(&bad, &mem, false, false), -EINVAL);		\
	} while (0)
	REFUSES(desc_gpa, DESC + 8);
	REFUSES(avail_gpa, AVAIL + 1);
	REFUSES(used_gpa, USED + 2);
	REFUSES(desc_gpa, RAM - 16);
	REFUSES(desc_gpa, UINT64_MAX - 15);
	REFUSES(avail_gpa, RAM - 4);
	REFUSES(avail_gpa, RAM - 20);		/* used_event is not there */
	REFUSES(used_gpa, RAM - 68);		/* nor avail_event */
	REFUSES(used_gpa, ROM);
	bad = q;
	bad.avail_gpa = RAM - 22;
	bad.used_gpa = RAM - 72;
	CHECK_EQ(vq_enable(&bad, &mem, false, false), 0);
}

UNIT_TEST(chains_come_and_go)
{
	char buf[16];

	setup(8, false, false);
	CHECK_EQ(vq_pop(&q, &c), 0);
	memcpy(ram + DATA, "abcdef", 6);
	memcpy(ram + DATA + 0x100, "ghi", 3);
	desc(3, DATA, 6, VRING_DESC_F_NEXT, 1);
	desc(1, DATA + 0x100, 3, VRING_DESC_F_NEXT, 5);
	desc(5, DATA + 0x200, 4, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 6);
	desc(6, DATA + 0x300, 4, VRING_DESC_F_WRITE, 0);
	offer(3);
	CHECK_EQ(vq_pop(&q, &c), 1);
	CHECK(c.head == 3 && c.out == 2 && c.in == 2 && c.out_bytes == 9 && c.in_bytes == 8);
	CHECK_EQ(vq_read(&c, 4, buf, sizeof(buf)), 5);
	CHECK(!memcmp(buf, "efghi", 5));
	CHECK_EQ(vq_read(&c, 9, buf, 1), 0);
	CHECK_EQ(vq_write(&c, 2, "123456789", 9), 6);
	CHECK(!memcmp(ram + DATA + 0x200, "\0\0" "12", 4) && !memcmp(ram + DATA + 0x300, "3456\0", 5));
	CHECK_EQ(vq_pop(&q, &c), 0);
	vq_push(&q, 3, 8);
	CHECK(vr.used->idx == 1 && vr.used->ring[0].id == 3 && vr.used->ring[0].len == 8);
}

/* Several that belong together: none is seen before all are. */
UNIT_TEST(shown_at_once)
{
	setup(8, false, false);
	vq_put(&q, 3, 100);
	vq_put(&q, 1, 50);
	CHECK_EQ(vr.used->idx, 0);
	vq_show(&q);
	CHECK_EQ(vr.used->idx, 2);
	CHECK(vr.used->ring[0].id == 3 && vr.used->ring[0].len == 100 && vr.used->ring[1].id == 1);
	CHECK(vq_interrupts(&q));
}

UNIT_TEST(indexes_wrap)
{
	unsigned int i;

	setup(4, false, true);
	desc(2, DATA, 1, 0, 0);
	for (i = 0; i < 200000; i++) {
		offer(2);
		if (vq_pop(&q, &c) != 1 || c.head != 2)
			break;
		vq_push(&q, 2, i);
		if (vr.used->idx != (uint16_t)(i + 1) || vr.used->ring[i % 4].len != i)
			break;
	}
	CHECK_EQ(i, 200000);
}

UNIT_TEST(slices)
{
	struct iovec in[3] = { { ram, 4 }, { ram + 10, 2 }, { ram + 20, 6 } }, out[VQ_SIZE_MAX];

	CHECK_EQ(vq_slice(in, 3, 0, 12, out), 3);
	CHECK_EQ(vq_slice(in, 3, 5, 4, out), 2);
	CHECK(out[0].iov_base == ram + 11 && out[0].iov_len == 1);
	CHECK(out[1].iov_base == ram + 20 && out[1].iov_len == 3);
	CHECK_EQ(vq_slice(in, 3, 12, 1, out), 0);
	CHECK_EQ(vq_slice(in, 3, 4, 0, out), 0);
	CHECK_EQ(vq_slice(in, 3, 4, 100, out), 2);
}

/* ---- broken rules ------------------------------------------------------------------- */

UNIT_TEST(head_outside)
{
	setup(8, false, false);
	offer(8);
	BREAKS("head");
}

UNIT_TEST(next_outside)
{
	setup(8, false, false);
	desc(0, DATA, 1, VRING_DESC_F_NEXT, 8);
	offer(0);
	BREAKS("next one");
}

UNIT_TEST(too_many_offered)
{
	setup(8, false, false);
	vr.avail->idx = 9;
	BREAKS("more chains");
}

UNIT_TEST(loops)
{
	setup(8, true, false);
	desc(0, DATA, 1, VRING_DESC_F_NEXT, 1);
	desc(1, DATA, 1, VRING_DESC_F_NEXT, 0);
	offer(0);
	BREAKS("loop");
	setup(8, true, false);
	desc(0, TABLE, 32, VRING_DESC_F_INDIRECT, 0);
	table(0, DATA, 1, VRING_DESC_F_NEXT, 1);
	table(1, DATA, 0, VRING_DESC_F_NEXT, 1);
	offer(0);
	BREAKS("loop");
}

UNIT_TEST(longest_chain)
{
	unsigned int i;

	setup(256, true, false);
	for (i = 0; i < 256; i++)
		desc(i, DATA, 1, i < 255 ? VRING_DESC_F_NEXT : 0, i + 1);
	offer(0);
	CHECK_EQ(vq_pop(&q, &c), 1);
	CHECK_EQ(c.out, 256);
	setup(256, true, false);
	desc(0, TABLE, 257 * 16, VRING_DESC_F_INDIRECT, 0);
	for (i = 0; i < 257; i++)
		table(i, DATA, 1, i < 255 ? VRING_DESC_F_NEXT : 0, i + 1);
	offer(0);
	CHECK_EQ(vq_pop(&q, &c), 1);
	CHECK_EQ(c.out, 256);
	table(255, DATA, 1, VRING_DESC_F_NEXT, 256);
	offer(0);
	BREAKS("longer");
}

UNIT_TEST(buffers_outside)
{
	static const struct { uint64_t addr; uint32_t len; uint16_t flags; } bad[] = {
		{ RAM, 1, 0 }, { RAM - 1, 2, 0 }, { UINT64_MAX, 2, 0 }, { DATA, UINT32_MAX, 0 },
		{ ROM, 1, VRING_DESC_F_WRITE }, { RAM - 1, 2, VRING_DESC_F_WRITE },
		{ ROM + PAGE - 1, 2, 0 },
	};
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		setup(8, false, false);
		desc(0, bad[i].addr, bad[i].len, bad[i].flags, 0);
		offer(0);
		BREAKS("not in the guest's memory");
	}
	setup(8, false, false);
	desc(0, ROM, PAGE, 0, 0);
	offer(0);
	CHECK_EQ(vq_pop(&q, &c), 1);
}

UNIT_TEST(written_before_read)
{
	setup(8, false, false);
	desc(0, DATA, 1, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 1);
	desc(1, DATA, 1, 0, 0);
	offer(0);
	BREAKS("comes behind");
}

UNIT_TEST(indirect_chains)
{
	setup(8, true, false);
	desc(0, DATA, 2, VRING_DESC_F_NEXT, 1);
	desc(1, TABLE, 32, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 0);
	table(0, DATA + 16, 3, VRING_DESC_F_NEXT, 1);
	table(1, DATA + 32, 4, VRING_DESC_F_WRITE, 0);
	offer(0);
	CHECK_EQ(vq_pop(&q, &c), 1);
	CHECK(c.out == 2 && c.in == 1 && c.out_bytes == 5 && c.in_bytes == 4);
	table(0, DATA + 16, 3, VRING_DESC_F_NEXT, 2);
	offer(0);
	BREAKS("next one");
	setup(8, true, false);
	desc(0, TABLE, 32, VRING_DESC_F_INDIRECT | VRING_DESC_F_NEXT, 1);
	offer(0);
	BREAKS("with a next one");
	setup(8, true, false);
	desc(0, TABLE, 24, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	BREAKS("whole descriptors");
	setup(8, true, false);
	desc(0, TABLE, 0, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	BREAKS("whole descriptors");
	setup(8, true, false);
	desc(0, RAM - 16, 32, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	BREAKS("table is not in");
	setup(8, true, false);
	desc(0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	table(0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	BREAKS("in an indirect table");
	setup(8, true, false);		/* the table is the queue's own */
	desc(0, DESC, 128, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	BREAKS("in an indirect table");
	setup(8, false, false);
	desc(0, TABLE, 16, VRING_DESC_F_INDIRECT, 0);
	offer(0);
	BREAKS("not negotiated");
}

/* ---- notifications ------------------------------------------------------------------ */

UNIT_TEST(interrupts_by_flag)
{
	setup(8, false, false);
	CHECK(!vq_interrupts(&q));
	vq_push(&q, 0, 0);
	CHECK(vq_interrupts(&q));
	CHECK(!vq_interrupts(&q));
	vr.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;
	vq_push(&q, 0, 0);
	CHECK(!vq_interrupts(&q));
}

UNIT_TEST(interrupts_by_event)
{
	setup(8, false, true);
	vring_used_event(&vr) = 0;
	vq_push(&q, 0, 0);
	CHECK(vq_interrupts(&q));		/* used index 0 is there */
	vring_used_event(&vr) = 2;
	vq_push(&q, 0, 0);
	CHECK(!vq_interrupts(&q));
	vq_push(&q, 0, 0);
	CHECK(vq_interrupts(&q));
	vr.avail->flags = VRING_AVAIL_F_NO_INTERRUPT;	/* does not count then (2.7.7.1) */
	vring_used_event(&vr) = 4;
	vq_push(&q, 0, 0);
	vq_push(&q, 0, 0);
	CHECK(vq_interrupts(&q));
}

UNIT_TEST(kicks)
{
	setup(8, false, false);
	vq_no_kick(&q);
	CHECK_EQ(vr.used->flags, VRING_USED_F_NO_NOTIFY);
	CHECK(!vq_want_kick(&q));
	CHECK_EQ(vr.used->flags, 0);
	desc(0, DATA, 1, 0, 0);
	offer(0);
	CHECK(vq_want_kick(&q));		/* it came in between */
	setup(8, false, true);
	desc(0, DATA, 1, 0, 0);
	offer(0);
	CHECK_EQ(vq_pop(&q, &c), 1);
	CHECK(!vq_want_kick(&q));
	CHECK_EQ(vring_avail_event(&vr), 1);
	vq_no_kick(&q);
	CHECK_EQ(vr.used->flags, 0);
	offer(9);
	CHECK_EQ(vq_pop(&q, &c), -EPROTO);
	CHECK(!vq_want_kick(&q));		/* or a device would look for ever */
}

/* ---- a ring that changes under the reader ---------------------------------------------- */

static atomic_bool racing;
static atomic_uint writes;	/* by the racer */

static void *racer(void *arg)
{
	static const struct vring_desc some[] = {
		{ DATA, 16, VRING_DESC_F_NEXT, 1 }, { RAM - 16, 16, 0, 0 }, { DATA, 0x7fffffff, 0, 0 },
		{ UINT64_MAX - 8, 16, VRING_DESC_F_WRITE, 0 }, { TABLE, 64, VRING_DESC_F_INDIRECT, 7 },
		{ DATA, 16, VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 60000 }, { TABLE, 16, 0, 0 },
	};
	unsigned int n = 0;

	while (atomic_load(&racing)) {
		volatile struct vring_desc *d = n & 1 ? &vr.desc[n % 8] :
			&((struct vring_desc *)(ram + TABLE))[n % 4];

		d->len = some[n % 7].len;
		d->addr = some[(n / 3) % 7].addr;
		d->flags = some[(n / 5) % 7].flags;
		d->next = some[n % 7].next;
		((volatile struct vring_avail *)vr.avail)->ring[n % 8] = n % 11;
		n++;
		atomic_fetch_add(&writes, 1);
	}
	return NULL;
}

/* One length alone, so that a second look at it would find the other one. */
static void *flipper(void *arg)
{
	volatile struct vring_desc *d = &vr.desc[0];

	while (atomic_load(&racing)) {
		d->len = 16;
		d->len = 0x7fffffff;
		atomic_fetch_add(&writes, 1);
	}
	return NULL;
}

static void race(void *(*writer)(void *arg))
{
	unsigned int i, j, taken = 0;
	pthread_t thread;

	setup(8, true, true);
	desc(0, DATA, 16, 0, 0);
	atomic_store(&racing, true);
	atomic_store(&writes, 0);
	REQUIRE(!pthread_create(&thread, NULL, writer, NULL));
	for (i = 0; i < 300000 || atomic_load(&writes) < 1000000; i++) {
		vr.avail->idx = q.next_avail + 1;
		q.broken = NULL;
		if (vq_pop(&q, &c) != 1)
			continue;
		taken++;
		if (c.out + c.in > 8)
			unit_fail("%u segments", c.out + c.in);
		for (j = 0; j < c.out + c.in; j++) {
			uint8_t *p = c.iov[j].iov_base;

			if (p < ram || p + c.iov[j].iov_len > ram + RAM)
				unit_fail("a segment outside: %p %zu", (void *)p, c.iov[j].iov_len);
		}
		vq_push(&q, c.head, 0);
	}
	atomic_store(&racing, false);
	pthread_join(thread, NULL);
	CHECK(taken > 100);
}

UNIT_TEST(changes_under_the_reader)
{
	race(racer);
}

UNIT_TEST(a_length_that_flips)
{
	race(flipper);
}
