/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Instance types: what `cleave launch --type` gives a guest of the host. A file of
 * sections, each a type, in lines of `key = value`:
 *
 *	[small]
 *	vcpus = 1
 *	memory = 512M
 *	cpu-share = 20		# per cent of each vCPU that are its own, always
 *	cpu-burst = 100		# and up to so many, where others leave them
 *	disk-rate = 50M		# bytes a second; without it, no limit
 *	network-rate = 12M
 */
#ifndef CLEAVE_TYPES_H
#define CLEAVE_TYPES_H

#include <stddef.h>
#include <stdint.h>

#define TYPES_FILE	"/etc/cleave/types.conf"
#define TYPES_MAX	64
#define TYPES_NAME_MAX	32		/* letters, digits, '.', '_', '-' */
#define TYPES_FILE_MAX	65536		/* bytes */
#define TYPES_VCPUS_MAX	254		/* CLEAVE_MAX_VCPUS */
#define TYPES_MEMORY_MIN	(16ULL << 20)
#define TYPES_MEMORY_MAX	(16ULL << 40)
#define TYPES_RATE_MIN	4096
#define TYPES_RATE_MAX	(1ULL << 40)

struct instance_type {
	char name[TYPES_NAME_MAX + 1];
	unsigned int vcpus;
	uint64_t memory;
	unsigned int share, burst;	/* 1 <= share <= burst <= 100 */
	uint64_t disk_rate, network_rate;	/* 0: no limit */
};

struct types {
	unsigned int count;
	struct instance_type type[TYPES_MAX];
};

/*
 * Text of len bytes, which need not end with a 0. 0, or -EINVAL with one line in err
 * that begins with the number of the culprit.
 */
int types_parse(const char *text, size_t len, struct types *t, char *err, size_t errlen);
/* 0, -errno with one line in err. */
int types_load(const char *path, struct types *t, char *err, size_t errlen);
/* NULL: there is none of that name. */
const struct instance_type *types_find(const struct types *t, const char *name);

#endif /* CLEAVE_TYPES_H */
