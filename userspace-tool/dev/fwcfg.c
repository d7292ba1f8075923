// SPDX-License-Identifier: GPL-2.0
/* What firmware asks about the machine: QEMU's fw_cfg, by ports and by DMA. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "dev.h"

#define ID_PORTS	1
#define ID_DMA		2
#define DMA_SIGNATURE	0x51454d5520434647ULL	/* "QEMU CFG" */

#define DMA_ERROR	0x01
#define DMA_READ	0x02
#define DMA_SKIP	0x04
#define DMA_SELECT	0x08
#define DMA_WRITE	0x10

struct dma_request {		/* big-endian */
	uint32_t control, length;
	uint64_t address;
};

void fwcfg_bytes(struct fwcfg *f, uint16_t key, const void *data, uint32_t size)
{
	f->item[key].data = data;
	f->item[key].size = size;
}

void fwcfg_number(struct fwcfg *f, uint16_t key, uint64_t value, uint32_t size)
{
	f->item[key].data = NULL;
	f->item[key].number = htole64(value);
	f->item[key].size = size;
}

int fwcfg_add_file(struct fwcfg *f, const char *name, const void *data, uint32_t size)
{
	struct fwcfg_file *file = &f->directory.file[f->files];
	unsigned int i;

	if (!*name || strlen(name) >= FWCFG_NAME)
		return -EINVAL;
	for (i = 0; i < f->files; i++)
		if (!strcmp(f->directory.file[i].name, name))
			return -EEXIST;
	if (f->files == FWCFG_FILES)
		return -ENOSPC;
	file->size = htobe32(size);
	file->key = htobe16(FWCFG_FILE_FIRST + f->files);
	strcpy(file->name, name);
	fwcfg_bytes(f, FWCFG_FILE_FIRST + f->files++, data, size);
	f->directory.count = htobe32(f->files);
	f->item[FWCFG_DIRECTORY].size = sizeof(f->directory.count) + f->files * sizeof(*file);
	return 0;
}

static void fwcfg_select(struct fwcfg *f, uint16_t key)
{
	f->key = key;
	f->offset = 0;
}

/* Up to len bytes of the item from the offset on: where, and how many. */
static const uint8_t *fwcfg_rest(const struct fwcfg *f, uint32_t *len)
{
	const uint8_t *data;

	if (f->key >= FWCFG_ITEMS || f->offset >= f->item[f->key].size) {
		*len = 0;
		return NULL;
	}
	data = f->item[f->key].data ?: (const void *)&f->item[f->key].number;
	if (*len > f->item[f->key].size - f->offset)
		*len = f->item[f->key].size - f->offset;
	return data + f->offset;
}

#define FWCFG_ZEROS_MAX	0x10000

/* len bytes at gpa: what is left of the item, and zeros behind it. */
static int fwcfg_dma_copy(struct fwcfg *f, uint64_t gpa, uint32_t len)
{
	static const uint8_t zeros[4096];
	uint32_t n = len;
	const uint8_t *from = fwcfg_rest(f, &n);

	/* Nobody reads that far behind an item, and it would keep all others waiting. */
	if (len - n > FWCFG_ZEROS_MAX)
		return -EINVAL;
	if (n && f->put(f->ctx, gpa, from, n))
		return -EFAULT;
	f->offset += n;
	for (gpa += n, len -= n; len; gpa += n, len -= n) {
		n = len < sizeof(zeros) ? len : sizeof(zeros);
		if (f->put(f->ctx, gpa, zeros, n))
			return -EFAULT;
	}
	return 0;
}

/* Nothing here can be written, which is an error in the answer. */
static void fwcfg_dma(struct fwcfg *f)
{
	uint64_t gpa = f->dma;
	struct dma_request r;
	uint32_t control, n;
	bool failed = false;

	f->dma = 0;
	if (f->get(f->ctx, gpa, &r, sizeof(r)))
		return;
	control = be32toh(r.control);
	n = be32toh(r.length);
	if (control & DMA_SELECT)
		fwcfg_select(f, control >> 16);
	if (control & DMA_READ) {
		failed = fwcfg_dma_copy(f, be64toh(r.address), n);
	} else if (control & DMA_WRITE) {
		failed = true;
	} else if (control & DMA_SKIP) {
		fwcfg_rest(f, &n);
		f->offset += n;
	}
	r.control = htobe32(failed ? DMA_ERROR : 0);
	f->put(f->ctx, gpa, &r.control, sizeof(r.control));
}

uint64_t fwcfg_read(void *dev, uint64_t offset, unsigned int size)
{
	struct fwcfg *f = dev;
	uint32_t n = 1;
	const uint8_t *byte;

	if (!offset || size != 1)
		return 0;
	byte = fwcfg_rest(f, &n);
	f->offset += n;
	return n ? *byte : 0;
}

void fwcfg_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	if (!offset && size == 2)
		fwcfg_select(dev, value);
}

/* The ports are big-endian; a read says that they are there. */
uint64_t fwcfg_dma_read(void *dev, uint64_t offset, unsigned int size)
{
	return htobe64(DMA_SIGNATURE) >> (8 * offset);
}

void fwcfg_dma_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct fwcfg *f = dev;

	if (size != 4)
		return;
	if (!offset) {
		f->dma = (uint64_t)be32toh(value) << 32;
	} else if (offset == 4) {
		f->dma |= be32toh(value);
		fwcfg_dma(f);
	}
}

void fwcfg_init(struct fwcfg *f)
{
	memset(f->item, 0, sizeof(f->item));
	memset(&f->directory, 0, sizeof(f->directory));
	f->files = 0;
	f->dma = 0;
	fwcfg_select(f, 0);
	fwcfg_bytes(f, FWCFG_SIGNATURE, "QEMU", 4);
	fwcfg_number(f, FWCFG_ID, ID_PORTS | ID_DMA, 4);
	fwcfg_bytes(f, FWCFG_DIRECTORY, &f->directory, sizeof(f->directory.count));
}
