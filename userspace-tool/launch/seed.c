// SPDX-License-Identifier: GPL-2.0
/*
 * ECMA-119 (ISO 9660), whose sections are named here; SUSP and RRIP 1.12 for the names.
 * Sectors: 16 for the system; the volume's descriptor and the end of descriptors; two
 * path tables; the root; where SUSP is continued; the files.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "seed.h"

enum { AT_VOLUME = 16, AT_END, AT_PATHS_LE, AT_PATHS_BE, AT_ROOT, AT_CONTINUED, AT_FILES };

#define PATHS_SIZE	10		/* of a table with the root alone */
#define RECORD_FIXED	33		/* 9.1: what is before the name */
#define FLAG_DIRECTORY	2
#define MODE_DIRECTORY	040555
#define MODE_FILE	0100444
#define RRIP_ID		"RRIP_1991A"
#define RRIP_DESCRIPTION "THE ROCK RIDGE INTERCHANGE PROTOCOL PROVIDES SUPPORT FOR POSIX FILE SYSTEM SEMANTICS"
#define RRIP_SOURCE	"PLEASE CONTACT DISC PUBLISHER FOR SPECIFICATION SOURCE."

/* 7.2.3, 7.3.3: both byte orders. */
static void both16(uint8_t *p, uint16_t v)
{
	p[0] = p[3] = v;
	p[1] = p[2] = v >> 8;
}

static void le32(uint8_t *p, uint32_t v)
{
	p[0] = v;
	p[1] = v >> 8;
	p[2] = v >> 16;
	p[3] = v >> 24;
}

static void be32(uint8_t *p, uint32_t v)
{
	le32(p, __builtin_bswap32(v));
}

static void both32(uint8_t *p, uint32_t v)
{
	le32(p, v);
	be32(p + 4, v);
}

/* 7.4: filled with spaces. */
static void text(uint8_t *p, size_t room, const char *what)
{
	size_t n = strlen(what);

	memset(p, ' ', room);
	memcpy(p, what, n < room ? n : room);
}

/* 9.1.5: the first of 1980, in UTC, as FAT has for no time. */
static void no_time(uint8_t *p)
{
	static const uint8_t time[7] = { 80, 1, 1 };

	memcpy(p, time, sizeof(time));
}

static uint32_t sectors(size_t size)
{
	return (size + SEED_SECTOR - 1) / SEED_SECTOR;
}

/* ---- entries of SUSP, behind a directory record's name ---------------------------- */

static uint8_t *susp(uint8_t *p, const char *sig, uint8_t len)
{
	memcpy(p, sig, 2);
	p[2] = len;
	p[3] = 1;
	return p + 4;
}

/* RRIP 4.1.1: POSIX attributes. */
static uint8_t *entry_px(uint8_t *p, uint32_t mode, uint32_t links, uint32_t serial)
{
	uint8_t *q = susp(p, "PX", 44);

	both32(q, mode);
	both32(q + 8, links);
	both32(q + 16, 0);		/* user, group: root */
	both32(q + 24, 0);
	both32(q + 32, serial);
	return p + 44;
}

static uint8_t *entry_nm(uint8_t *p, const char *name)
{
	size_t n = strlen(name);
	uint8_t *q = susp(p, "NM", 5 + n);

	*q++ = 0;
	memcpy(q, name, n);
	return q + n;
}

/* SUSP 5.3, 5.1: in the root's own record alone; ER has no room there. */
static uint8_t *entries_of_root(uint8_t *p, size_t continued)
{
	uint8_t *q = susp(p, "SP", 7);

	q[0] = 0xbe;
	q[1] = 0xef;
	q[2] = 0;
	q = susp(p + 7, "CE", 28);
	both32(q, AT_CONTINUED);
	both32(q + 8, 0);
	both32(q + 16, continued);
	return p + 7 + 28;
}

/* SUSP 5.5: which extension this is; its length. */
static size_t entry_er(uint8_t *p)
{
	static const char id[] = RRIP_ID, des[] = RRIP_DESCRIPTION, src[] = RRIP_SOURCE;
	size_t len = 8 + sizeof(id) - 1 + sizeof(des) - 1 + sizeof(src) - 1;
	uint8_t *q = susp(p, "ER", len);

	q[0] = sizeof(id) - 1;
	q[1] = sizeof(des) - 1;
	q[2] = sizeof(src) - 1;
	q[3] = 1;
	q += 4;
	memcpy(q, id, sizeof(id) - 1);
	memcpy(q + sizeof(id) - 1, des, sizeof(des) - 1);
	memcpy(q + sizeof(id) + sizeof(des) - 2, src, sizeof(src) - 1);
	return len;
}

/* ---- directory records -------------------------------------------------------------- */

/* 9.1, as far as its name; where the entries of SUSP begin. */
static uint8_t *record(uint8_t *p, uint32_t at, uint32_t size, uint8_t flags, const char *name,
		       size_t name_len)
{
	both32(p + 2, at);
	both32(p + 10, size);
	no_time(p + 18);
	p[25] = flags;
	both16(p + 28, 1);
	p[32] = name_len;
	memcpy(p + RECORD_FIXED, name, name_len);
	/* 9.1.12: of an even length. */
	return p + RECORD_FIXED + name_len + !(name_len & 1);
}

/* Its length, which is even, too. */
static uint8_t *end_record(uint8_t *p, uint8_t *end)
{
	*p = (end - p + 1) & ~1;
	return p + *p;
}

static void root_directory(uint8_t *p, uint8_t *continued, const struct seed_file *file,
			   unsigned int count)
{
	uint32_t at = AT_FILES;
	uint8_t *q;
	unsigned int i;

	q = record(p, AT_ROOT, SEED_SECTOR, FLAG_DIRECTORY, "\0", 1);
	q = entries_of_root(q, entry_er(continued));
	p = end_record(p, entry_px(q, MODE_DIRECTORY, 2, 1));
	q = record(p, AT_ROOT, SEED_SECTOR, FLAG_DIRECTORY, "\1", 1);
	p = end_record(p, entry_px(q, MODE_DIRECTORY, 2, 1));
	for (i = 0; i < count; i++) {
		char name[] = "FILE0.;1";

		name[4] += i;
		q = record(p, file[i].size ? at : 0, file[i].size, 0, name, sizeof(name) - 1);
		q = entry_px(q, MODE_FILE, 1, 2 + i);
		p = end_record(p, entry_nm(q, file[i].name));
		at += sectors(file[i].size);
	}
}

/* ---- the volume ----------------------------------------------------------------------- */

/* 9.4: the root, whose parent it is itself. */
static void path_table(uint8_t *p, bool big)
{
	p[0] = 1;
	(big ? be32 : le32)(p + 2, AT_ROOT);
	p[big ? 7 : 6] = 1;
}

/* 8.4 */
static void volume(uint8_t *p, uint32_t total)
{
	static const unsigned int times[] = { 813, 830, 847, 864 };
	unsigned int i;

	memcpy(p, "\1CD001\1", 7);
	text(p + 8, 32, "");
	text(p + 40, 32, "CIDATA");
	both32(p + 80, total);
	both16(p + 120, 1);		/* one volume, of which this is the first */
	both16(p + 124, 1);
	both16(p + 128, SEED_SECTOR);
	both32(p + 132, PATHS_SIZE);
	le32(p + 140, AT_PATHS_LE);
	be32(p + 148, AT_PATHS_BE);
	end_record(p + 156, record(p + 156, AT_ROOT, SEED_SECTOR, FLAG_DIRECTORY, "\0", 1));
	text(p + 190, 623, "");
	/* 8.4.26.1: no time is digits of zero. */
	for (i = 0; i < 4; i++)
		memset(p + times[i], '0', 16);
	p[881] = 1;
	memcpy(p + SEED_SECTOR, "\377CD001\1", 7);
}

static bool name_is_good(const struct seed_file *file, unsigned int i)
{
	const char *p, *name = file[i].name;

	if (!*name || strlen(name) > SEED_NAME_MAX || !strcmp(name, ".") || !strcmp(name, ".."))
		return false;
	for (p = name; *p; p++)
		if (*p <= ' ' || *p > '~' || *p == '/')
			return false;
	while (i--)
		if (!strcmp(name, file[i].name))
			return false;
	return true;
}

int seed_make(const struct seed_file *file, unsigned int count, void **image, size_t *size)
{
	uint32_t total = AT_FILES, at = AT_FILES;
	unsigned int i;
	uint8_t *p;

	if (count > SEED_FILES_MAX)
		return -EINVAL;
	for (i = 0; i < count; i++) {
		if (!name_is_good(file, i))
			return -EINVAL;
		if (file[i].size > SEED_SIZE_MAX)
			return -EFBIG;
		total += sectors(file[i].size);
	}
	p = calloc(total, SEED_SECTOR);
	if (!p)
		return -ENOMEM;
	volume(p + AT_VOLUME * SEED_SECTOR, total);
	path_table(p + AT_PATHS_LE * SEED_SECTOR, false);
	path_table(p + AT_PATHS_BE * SEED_SECTOR, true);
	root_directory(p + AT_ROOT * SEED_SECTOR, p + AT_CONTINUED * SEED_SECTOR, file, count);
	for (i = 0; i < count; i++) {
		if (file[i].size)
			memcpy(p + (size_t)at * SEED_SECTOR, file[i].data, file[i].size);
		at += sectors(file[i].size);
	}
	*image = p;
	*size = (size_t)total * SEED_SECTOR;
	return 0;
}
