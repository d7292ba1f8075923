// SPDX-License-Identifier: GPL-2.0
/* Which partition a GPT says has the root file system, and tables that mean harm. */
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include "unit.h"
#include "block/block.h"

#define SECTORS	64

static const uint8_t root[16] = {	/* 4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709 */
	0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09
};

static const uint8_t data[16] = {	/* 0FC63DAF-8483-4772-8E79-3D69D8477DE4 */
	0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4
};

static const uint8_t bios[16] = {	/* 21686148-6449-6E6F-744E-656564454649 */
	0x48, 0x61, 0x68, 0x21, 0x49, 0x64, 0x6f, 0x6e, 0x74, 0x4e, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49
};

static uint8_t bytes[SECTORS * BLOCK_SECTOR];
static uint64_t fails_at;		/* 0: nowhere */

static int read_bytes(struct block *b, uint64_t offset, const struct iovec *iov, unsigned int n)
{
	/* What the interface promises its images. */
	if (n != 1 || offset > b->size || iov->iov_len > b->size - offset)
		abort();
	if (fails_at && fails_at >= offset && fails_at < offset + iov->iov_len)
		return -EIO;
	memcpy(iov->iov_base, bytes + offset, iov->iov_len);
	return 0;
}

static const struct block_ops ops = { .format = "test", .read = read_bytes };
static struct block disk = { .ops = &ops };

static void table(uint64_t at, uint32_t count, uint32_t size)
{
	uint8_t *h = bytes + BLOCK_SECTOR;

	memset(bytes, 0, sizeof(bytes));
	disk.size = sizeof(bytes);
	fails_at = 0;
	memcpy(h, "EFI PART", 8);
	at = htole64(at);
	count = htole32(count);
	size = htole32(size);
	memcpy(h + 72, &at, 8);
	memcpy(h + 80, &count, 4);
	memcpy(h + 84, &size, 4);
}

static void entry(unsigned int number, uint64_t at, uint32_t size, const uint8_t type[16])
{
	memcpy(bytes + at * BLOCK_SECTOR + (number - 1) * size, type, 16);
}

UNIT_TEST(found)
{
	table(2, 128, 128);
	CHECK_EQ(gpt_root(&disk), 0);
	entry(1, 2, 128, bios);
	entry(2, 2, 128, root);
	CHECK_EQ(gpt_root(&disk), 2);
	/* By its type, among others of Linux's. */
	entry(1, 2, 128, data);
	entry(3, 2, 128, data);
	CHECK_EQ(gpt_root(&disk), 2);
	/* Numbers are places, with gaps. */
	table(5, 16, 256);
	entry(14, 5, 256, bios);
	entry(16, 5, 256, root);
	CHECK_EQ(gpt_root(&disk), 16);
}

UNIT_TEST(by_being_the_only_one)
{
	table(2, 128, 128);
	entry(1, 2, 128, bios);
	entry(5, 2, 128, data);
	CHECK_EQ(gpt_root(&disk), 5);
	entry(6, 2, 128, data);
	CHECK_EQ(gpt_root(&disk), 0);
}

UNIT_TEST(not_counted)
{
	/* Behind the last one that the table says it has, and behind what is looked at. */
	table(2, 1, 128);
	entry(2, 2, 128, root);
	CHECK_EQ(gpt_root(&disk), 0);
	table(2, 0xffffffff, 128);
	entry(128, 2, 128, root);
	CHECK_EQ(gpt_root(&disk), 128);
	table(2, 0xffffffff, 128);
	entry(129, 2, 128, root);
	CHECK_EQ(gpt_root(&disk), 0);
}

UNIT_TEST(harm)
{
	static const uint64_t places[] = { SECTORS, SECTORS + 1, 1ULL << 55, 1ULL << 63, UINT64_MAX };
	static const uint32_t sizes[] = { 0, 1, 127, 4097, 0x80000000, 0xffffffff };
	unsigned int i;

	for (i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		table(places[i], 128, 128);
		CHECK_EQ(gpt_root(&disk), 0);
	}
	for (i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		table(2, 128, sizes[i]);
		entry(1, 2, 128, root);
		CHECK_EQ(gpt_root(&disk), 0);
	}
	/* It goes on behind the disk's end. */
	table(SECTORS - 1, 128, 128);
	entry(4, SECTORS - 1, 128, data);
	CHECK_EQ(gpt_root(&disk), 0);
	/* The disk ends in its header, or has none. */
	table(2, 128, 128);
	entry(1, 2, 128, root);
	for (disk.size = 0; disk.size <= 2 * BLOCK_SECTOR; disk.size += BLOCK_SECTOR)
		CHECK_EQ(gpt_root(&disk), 0);
	table(2, 128, 128);
	entry(1, 2, 128, root);
	bytes[BLOCK_SECTOR] = 'e';
	CHECK_EQ(gpt_root(&disk), 0);
}

UNIT_TEST(unreadable)
{
	table(2, 128, 128);
	entry(1, 2, 128, root);
	fails_at = BLOCK_SECTOR + 8;
	CHECK_EQ(gpt_root(&disk), 0);
	fails_at = 2 * BLOCK_SECTOR;
	CHECK_EQ(gpt_root(&disk), 0);
}
