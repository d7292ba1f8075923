// SPDX-License-Identifier: GPL-2.0
/*
 * UEFI 2.10, 5.3: GUID partition tables. The types are the Discoverable Partitions
 * Specification's (UAPI Group).
 */
#include <endian.h>
#include <string.h>

#include "block.h"

#define ENTRY		128U		/* bytes at least */
#define ENTRY_MAX	4096U
#define ENTRIES_MAX	128U		/* that are looked at */

struct header {
	char signature[8];
	uint8_t not_looked_at[64];
	uint64_t entries_at;		/* in sectors */
	uint32_t entries, entry_size;
} __attribute__((packed));

/* GUIDs, whose first three fields are little-endian: of x86-64, and of any Linux file system. */
static const uint8_t root_type[16] = {
	0xe3, 0xbc, 0x68, 0x4f, 0xcd, 0xe8, 0xb1, 0x4d, 0x96, 0xe7, 0xfb, 0xca, 0xf9, 0x84, 0xb7, 0x09
};

static const uint8_t linux_type[16] = {
	0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4
};

static bool get(struct block *b, uint64_t at, void *buf, size_t len)
{
	const struct iovec iov = { buf, len };

	return at <= b->size && len <= b->size - at && !b->ops->read(b, at, &iov, 1);
}

unsigned int gpt_root(struct block *b)
{
	unsigned int count, i, linux_count = 0, linux_number = 0;
	struct header h;
	uint32_t size;
	uint64_t at;

	if (!get(b, BLOCK_SECTOR, &h, sizeof(h)) || memcmp(h.signature, "EFI PART", 8))
		return 0;
	at = le64toh(h.entries_at);
	size = le32toh(h.entry_size);
	count = le32toh(h.entries);
	if (at > b->size / BLOCK_SECTOR || size < ENTRY || size > ENTRY_MAX)
		return 0;
	for (i = 0; i < count && i < ENTRIES_MAX; i++) {
		uint8_t type[16];

		if (!get(b, at * BLOCK_SECTOR + (uint64_t)i * size, type, sizeof(type)))
			return 0;
		if (!memcmp(type, root_type, sizeof(type)))
			return i + 1;
		if (!memcmp(type, linux_type, sizeof(type))) {
			linux_count++;
			linux_number = i + 1;
		}
	}
	return linux_count == 1 ? linux_number : 0;
}
