/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A seed for cloud-init: what its NoCloud data source reads, an ISO 9660 file system of
 * a few files in its root, by the label CIDATA. Names as they are by Rock Ridge; by
 * ISO 9660 alone they are FILE0 and so on. No time of now is in it: the same files are
 * the same image.
 */
#ifndef CLEAVE_SEED_H
#define CLEAVE_SEED_H

#include <stddef.h>
#include <stdint.h>

#define SEED_FILES_MAX	8
#define SEED_NAME_MAX	64		/* printable, without '/' */
#define SEED_SIZE_MAX	(16U << 20)	/* of one file */
#define SEED_SECTOR	2048

struct seed_file {
	const char *name;
	const void *data;
	size_t size;
};

/* 0 with the image in *image, to be freed; -EINVAL, -EFBIG, -ENOMEM. */
int seed_make(const struct seed_file *file, unsigned int count, void **image, size_t *size);

#endif /* CLEAVE_SEED_H */
