// SPDX-License-Identifier: GPL-2.0
/*
 * qcow2 images, read (QEMU's docs/interop/qcow2.txt): versions 2 and 3, clusters
 * compressed by zlib. What is not known is refused when the image is opened, and so are
 * backing files: an image does not choose which of the host's files a guest reads.
 */
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "block.h"

#define MAGIC		0x514649fbU
#define L1_MAX		(32U << 20)	/* bytes; as QEMU has it */
#define SIZE_MAX_BITS	56
#define L2_TABLES	16		/* that are kept */
#define OFFSET_MASK	0x00fffffffffffe00ULL
#define COMPRESSED	(1ULL << 62)
#define ALL_ZEROS	(1ULL << 0)	/* version 3 */
#define INCOMPATIBLE_DIRTY (1ULL << 0)	/* reference counts, which are not read */

/* What is looked at of it. */
struct header {
	uint32_t version, cluster_bits, crypt_method, l1_size;
	uint64_t backing_offset, size, l1_offset, incompatible;
};

struct qcow2 {
	struct block b;
	int fd;
	uint64_t file_size;
	uint32_t version, bits, l1_entries;
	uint64_t *l1;			/* host's byte order */
	pthread_mutex_t lock;		/* what follows */
	struct {
		uint64_t offset;	/* in the file; 0: none */
		uint64_t *table;	/* big-endian */
	} l2[L2_TABLES];
	unsigned int next;		/* of l2, to be replaced */
	uint64_t unpacked_entry;	/* of the compressed cluster in unpacked; 0: none */
	uint8_t *unpacked, *packed;
};

static uint64_t cluster_size(const struct qcow2 *q)
{
	return 1ULL << q->bits;
}

/* ---- where a byte is ------------------------------------------------------------------ */

/* Lock held. NULL: the file is shorter, or cannot be read: *ret. */
static const uint64_t *l2_table(struct qcow2 *q, uint64_t offset, int *ret)
{
	unsigned int i;

	for (i = 0; i < L2_TABLES; i++)
		if (q->l2[i].offset == offset)
			return q->l2[i].table;
	i = q->next++ % L2_TABLES;
	q->l2[i].offset = 0;
	if (!q->l2[i].table)
		q->l2[i].table = malloc(cluster_size(q));
	*ret = q->l2[i].table ? block_pread(q->fd, q->l2[i].table, cluster_size(q), offset) : -ENOMEM;
	if (*ret)
		return NULL;
	q->l2[i].offset = offset;
	return q->l2[i].table;
}

/* The entry of the cluster that at is in; 0: it reads as zeros. Lock held. */
static int entry_of(struct qcow2 *q, uint64_t at, uint64_t *entry)
{
	uint64_t cluster = at >> q->bits, per_table = cluster_size(q) / 8, l2;
	const uint64_t *table;
	int ret = 0;

	*entry = 0;
	if (cluster / per_table >= q->l1_entries)
		return -EIO;
	l2 = q->l1[cluster / per_table] & OFFSET_MASK;
	if (!l2)
		return 0;
	if (l2 % cluster_size(q))
		return -EIO;
	table = l2_table(q, l2, &ret);
	if (!table)
		return ret;
	*entry = be64toh(table[cluster % per_table]);
	return 0;
}

/* Raw deflate, as much as makes a cluster. */
static int inflate_all(struct qcow2 *q, size_t len)
{
	z_stream z = {
		.next_in = q->packed, .avail_in = len,
		.next_out = q->unpacked, .avail_out = cluster_size(q),
	};
	int ret;

	if (inflateInit2(&z, -12) != Z_OK)
		return -ENOMEM;
	ret = inflate(&z, Z_FINISH);
	inflateEnd(&z);
	/* The last sector may hold another cluster's bytes, too. */
	return (ret == Z_STREAM_END || ret == Z_BUF_ERROR) && !z.avail_out ? 0 : -EIO;
}

/* Lock held. */
static int unpack(struct qcow2 *q, uint64_t entry)
{
	unsigned int shift = 62 - (q->bits - 8);
	uint64_t offset = entry & ((1ULL << shift) - 1);
	uint64_t sectors = (entry & (COMPRESSED - 1)) >> shift;
	uint64_t len = (sectors + 1) * BLOCK_SECTOR - offset % BLOCK_SECTOR;
	int ret;

	if (q->unpacked_entry == entry)
		return 0;
	q->unpacked_entry = 0;
	if (offset >= q->file_size)
		return -EIO;
	if (len > q->file_size - offset)
		len = q->file_size - offset;
	if (len > 2 * cluster_size(q))
		return -EIO;
	ret = block_pread(q->fd, q->packed, len, offset);
	if (!ret)
		ret = inflate_all(q, len);
	if (!ret)
		q->unpacked_entry = entry;
	return ret;
}

/* ---- reading --------------------------------------------------------------------------- */

/* len bytes at at, within one cluster. */
static int read_part(struct qcow2 *q, uint64_t at, void *buf, size_t len)
{
	uint64_t in = at & (cluster_size(q) - 1), entry, offset;
	int ret;

	pthread_mutex_lock(&q->lock);
	ret = entry_of(q, at, &entry);
	if (!ret && (entry & COMPRESSED)) {
		ret = unpack(q, entry);
		if (!ret)
			memcpy(buf, q->unpacked + in, len);
		pthread_mutex_unlock(&q->lock);
		return ret;
	}
	pthread_mutex_unlock(&q->lock);
	if (ret)
		return ret;
	offset = entry & OFFSET_MASK;
	if (!offset || (q->version >= 3 && (entry & ALL_ZEROS))) {
		memset(buf, 0, len);
		return 0;
	}
	return offset % cluster_size(q) ? -EIO : block_pread(q->fd, buf, len, offset + in);
}

static int qcow2_read(struct block *b, uint64_t offset, const struct iovec *iov, unsigned int n)
{
	struct qcow2 *q = (struct qcow2 *)b;
	uint64_t done = 0, room;
	size_t len;
	void *p;
	int ret = 0;

	while (!ret && (p = block_at(iov, n, done, &len))) {
		room = cluster_size(q) - ((offset + done) & (cluster_size(q) - 1));
		if (len > room)
			len = room;
		ret = read_part(q, offset + done, p, len);
		done += len;
	}
	return ret;
}

static int qcow2_flush(struct block *b)
{
	return 0;
}

static void qcow2_close(struct block *b)
{
	struct qcow2 *q = (struct qcow2 *)b;
	unsigned int i;

	for (i = 0; i < L2_TABLES; i++)
		free(q->l2[i].table);
	free(q->l1);
	free(q->packed);
	free(q->unpacked);
	pthread_mutex_destroy(&q->lock);
	close(q->fd);
	free(q);
}

static const struct block_ops ops = {
	.format = "qcow2", .read = qcow2_read, .flush = qcow2_flush, .close = qcow2_close,
};

/* ---- opening ---------------------------------------------------------------------------- */

bool qcow2_is(const struct block_file *f)
{
	uint32_t magic = 0;

	return f->size >= sizeof(magic) && !block_pread(f->fd, &magic, sizeof(magic), 0) &&
	       be32toh(magic) == MAGIC;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)p[0] << 24 | p[1] << 16 | p[2] << 8 | p[3];
}

static uint64_t get64(const uint8_t *p)
{
	return (uint64_t)get32(p) << 32 | get32(p + 4);
}

static int read_header(const struct block_file *f, struct header *h)
{
	uint8_t raw[104] = { 0 };
	size_t len = f->size < sizeof(raw) ? f->size : sizeof(raw);
	int ret = block_pread(f->fd, raw, len, 0);

	*h = (struct header){
		.version = get32(raw + 4), .backing_offset = get64(raw + 8),
		.cluster_bits = get32(raw + 20), .size = get64(raw + 24), .crypt_method = get32(raw + 32),
		.l1_size = get32(raw + 36), .l1_offset = get64(raw + 40),
	};
	if (h->version >= 3)
		h->incompatible = get64(raw + 72);
	return ret ? ret : len < 72 ? -EIO : 0;
}

/* What stands against it, or NULL. */
static const char *objection(const struct header *h, const struct block_file *f)
{
	uint64_t per_l1;

	if (h->version != 2 && h->version != 3)
		return "of a version that is not known; `qemu-img convert -O qcow2 -o compat=1.1` makes one that is";
	if (h->incompatible & ~INCOMPATIBLE_DIRTY)
		return "has features that are not known (zstd, extended L2, data file) or is marked corrupt; `qemu-img convert -O qcow2` makes one without";
	if (h->crypt_method)
		return "is encrypted; `qemu-img convert` makes one that is not";
	if (h->backing_offset)
		return "has a backing file, which is not followed; `qemu-img convert -O qcow2` makes one image of both, or give that file with overlay=";
	if (h->cluster_bits < 9 || h->cluster_bits > 21)
		return "is damaged: its clusters' size";
	if (!h->size || h->size >> SIZE_MAX_BITS || h->size % BLOCK_SECTOR)
		return "is damaged, or of no whole sectors: its size";
	per_l1 = 1ULL << (2 * h->cluster_bits - 3);
	if (h->l1_size > L1_MAX / 8 || h->l1_size < (h->size + per_l1 - 1) / per_l1)
		return "is damaged: its L1 table's size";
	if (h->l1_offset % (1U << h->cluster_bits) || h->l1_offset > f->size ||
	    h->l1_size * 8ULL > f->size - h->l1_offset)
		return "is damaged or cut short: its L1 table is not in the file";
	return NULL;
}

static int load(struct qcow2 *q, const struct block_file *f, const struct header *h)
{
	uint32_t i;
	int ret;

	q->fd = f->fd;
	q->file_size = f->size;
	q->version = h->version;
	q->bits = h->cluster_bits;
	q->l1_entries = h->l1_size;
	q->b = (struct block){ .ops = &ops, .size = h->size, .readonly = true, .raw_fd = -1 };
	pthread_mutex_init(&q->lock, NULL);
	q->l1 = malloc(h->l1_size * 8ULL);
	q->packed = malloc(2 * cluster_size(q));
	q->unpacked = malloc(cluster_size(q));
	if (!q->l1 || !q->packed || !q->unpacked)
		return -ENOMEM;
	ret = block_pread(f->fd, q->l1, h->l1_size * 8ULL, h->l1_offset);
	for (i = 0; i < h->l1_size && !ret; i++)
		q->l1[i] = be64toh(q->l1[i]);
	return ret;
}

int qcow2_open(struct block_file *f, struct block **b, char *err, size_t errlen)
{
	struct header h;
	int ret = read_header(f, &h);
	const char *why = ret ? "is cut short" : objection(&h, f);
	struct qcow2 *q;

	if (why) {
		close(f->fd);
		return block_fail(err, errlen, -EINVAL, "%s: %s", f->path, why);
	}
	q = calloc(1, sizeof(*q));
	if (!q) {
		close(f->fd);
		return block_fail(err, errlen, -ENOMEM, "%s: the host is out of memory", f->path);
	}
	ret = load(q, f, &h);
	if (ret) {
		qcow2_close(&q->b);
		return block_fail(err, errlen, ret, "%s: %s", f->path, strerror(-ret));
	}
	*b = &q->b;
	return 0;
}
