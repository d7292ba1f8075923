// SPDX-License-Identifier: GPL-2.0
/* Where lines and blocks arrive, by bytes, by sectors, by rings, and are compared. */
#include <errno.h>
#include <string.h>

#include "generations.h"

#define ATA_READY	0x40
#define ATA_WANTS_DATA	0x08
#define ATA_ERROR	0x01
#define ATA_WRITE	0x30

_Static_assert(offsetof(struct gen_ring, used) == RING_USED, "the guest's ring");
_Static_assert(offsetof(struct gen_ring, desc) == RING_DESC, "the guest's ring");
_Static_assert(sizeof(((struct gen_ring *)0)->desc[0]) == 16, "the guest's ring");

/* ---- the sink --------------------------------------------------------------------- */

void gen_sink_reset(struct gen_sink *s)
{
	memset(s, 0, sizeof(*s));
}

void gen_sink_line(struct gen_sink *s, const void *line, uint64_t len)
{
	if (len != GEN_LINE_SIZE) {
		s->odd++;
		return;
	}
	memcpy(s->line[s->lines++ % GEN_DISK_BLOCKS], line, GEN_LINE_SIZE);
}

void gen_sink_byte(void *sink, uint8_t byte)
{
	struct gen_sink *s = sink;

	s->line[s->lines % GEN_DISK_BLOCKS][s->at++] = byte;
	if (s->at < GEN_LINE_SIZE)
		return;
	s->at = 0;
	s->lines++;
}

void gen_sink_block(struct gen_sink *s, uint64_t block, const void *data, uint64_t len)
{
	if (len != GEN_BLOCK_SIZE || block >= GEN_DISK_BLOCKS) {
		s->odd++;
		return;
	}
	memcpy(s->disk[block], data, GEN_BLOCK_SIZE);
	s->blocks++;
}

void gen_make_line(uint8_t line[GEN_LINE_SIZE], uint64_t seq)
{
	static const char text[] = "aaaaaaaa: a line of sixty-four bytes, as a kernel prints them.\r\n";
	unsigned int i;

	_Static_assert(sizeof(text) == GEN_LINE_SIZE + 1, "a line");
	memcpy(line, text, GEN_LINE_SIZE);
	for (i = GEN_LINE_STAMP; i--; seq >>= 4)
		line[i] = 'a' + (seq & 15);
}

void gen_make_block(uint8_t block[GEN_BLOCK_SIZE], uint64_t seq)
{
	unsigned int i;

	for (i = 0; i < GEN_BLOCK_SIZE; i++)
		block[i] = i * 7 + (i >> 8) * 31;
	for (i = 0; i < GEN_BLOCK_SIZE; i += GEN_SECTOR)
		memcpy(block + i, &seq, sizeof(seq));
}

/* Of all that came the last ones are there to be looked at. */
static uint64_t oldest(uint64_t first, uint64_t last)
{
	return last - first > GEN_DISK_BLOCKS ? last - GEN_DISK_BLOCKS : first;
}

static uint64_t distance(uint64_t a, uint64_t b)
{
	return a > b ? a - b : b - a;
}

uint64_t gen_sink_bad_lines(const struct gen_sink *s, uint64_t first, uint64_t last)
{
	uint64_t bad = distance(s->lines, last - first) + s->odd + !!s->at, seq;
	uint8_t line[GEN_LINE_SIZE];

	for (seq = oldest(first, last) + 1; seq <= last; seq++) {
		gen_make_line(line, seq);
		bad += !!memcmp(line, s->line[(seq - first - 1) % GEN_DISK_BLOCKS], sizeof(line));
	}
	return bad;
}

uint64_t gen_sink_bad_blocks(const struct gen_sink *s, uint64_t first, uint64_t last)
{
	uint64_t bad = distance(s->blocks, last - first) + s->odd, seq;
	uint8_t block[GEN_BLOCK_SIZE];

	for (seq = oldest(first, last) + 1; seq <= last; seq++) {
		gen_make_block(block, seq);
		bad += !!memcmp(block, s->disk[seq % GEN_DISK_BLOCKS], sizeof(block));
	}
	return bad;
}

/* ---- the disk by ports -------------------------------------------------------------- */

enum { R_DATA, R_ERROR, R_COUNT, R_LOW, R_MID, R_HIGH, R_DEVICE, R_COMMAND };

uint64_t gen_ata_read(void *ata, uint64_t offset, unsigned int size)
{
	struct gen_ata *a = ata;

	if (offset == R_COMMAND)
		irq_set(&a->irq, false);
	return offset == R_COMMAND ? a->status : 0;
}

static void ata_command(struct gen_ata *a, uint8_t command)
{
	irq_set(&a->irq, false);
	a->left = a->at = 0;
	a->status = ATA_READY | ATA_ERROR;
	/* Whole blocks alone: that is all there is to it here. */
	if (command != ATA_WRITE || a->count != GEN_BLOCK_SIZE / GEN_SECTOR) {
		irq_set(&a->irq, true);
		return;
	}
	a->left = a->count;
	a->status = ATA_READY | ATA_WANTS_DATA;
}

/* An interrupt for each sector; the last one says that all is written. */
static void ata_data(struct gen_ata *a, uint16_t word)
{
	uint32_t sector = a->address[0] | a->address[1] << 8 | a->address[2] << 16;

	if (!a->left)
		return;
	memcpy(a->block + a->at, &word, sizeof(word));
	a->at += sizeof(word);
	if (a->at % GEN_SECTOR)
		return;
	if (!--a->left) {
		gen_sink_block(a->sink, sector / (GEN_BLOCK_SIZE / GEN_SECTOR), a->block, a->at);
		a->status = ATA_READY;
	}
	irq_set(&a->irq, true);
}

void gen_ata_write(void *ata, uint64_t offset, unsigned int size, uint64_t value)
{
	struct gen_ata *a = ata;

	switch (offset) {
	case R_DATA:
		ata_data(a, value);
		break;
	case R_COUNT:
		a->count = value;
		break;
	case R_LOW:
	case R_MID:
	case R_HIGH:
		a->address[offset - R_LOW] = value;
		break;
	case R_DEVICE:
		a->device = value;
		break;
	case R_COMMAND:
		ata_command(a, value);
	}
}

/* ---- rings ---------------------------------------------------------------------------- */

/* Each field is read once, as the guest may change it meanwhile. */
int gen_ring_take(struct gen_ring *ring, const struct cleave_mem *mem, struct gen_sink *sink,
		  bool blocks)
{
	uint32_t avail = __atomic_load_n(&ring->avail, __ATOMIC_ACQUIRE), used = ring->used, n;

	if (avail - used > RING_SLOTS)
		return -EINVAL;
	for (n = 0; used != avail; n++) {
		volatile const uint64_t *gpa = &ring->desc[used % RING_SLOTS].gpa;
		volatile const uint32_t *len = &ring->desc[used % RING_SLOTS].len;
		uint32_t size = len[0], block = len[1];
		const void *data = cleave_mem_ptr(mem, *gpa, size);

		if (!data)
			return -EINVAL;
		if (blocks)
			gen_sink_block(sink, block, data, size);
		else
			gen_sink_line(sink, data, size);
		__atomic_store_n(&ring->used, ++used, __ATOMIC_RELEASE);
	}
	return n;
}
