/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The last bytes of a stream, in a file of fixed size that is mapped: whoever
 * put them there may be killed at any moment, and they are kept.
 */
#ifndef CLEAVE_RING_H
#define CLEAVE_RING_H

#include <stddef.h>
#include <stdint.h>

#define RING_MAGIC	"cleave log 1\n"
#define RING_DATA	(256U << 10)	/* bytes that are kept */

/* The file. */
struct ring {
	char magic[16];
	uint64_t size;			/* of data */
	uint64_t total;			/* bytes that were ever put; the next one goes to total % size */
	uint64_t from;			/* nothing before that is kept, whatever total says */
	uint8_t reserved[24];
	uint8_t data[];
};

void ring_init(struct ring *r, uint64_t size);
/* file: NULL, or one of that size whose contents others may change: it is only written to. */
void ring_put(struct ring *r, struct ring *file, const uint8_t *bytes, size_t n);
/*
 * Bytes from *pos on, which moves behind them; at most room. *lost: so many
 * before them are not kept any more.
 */
size_t ring_get(const struct ring *r, uint64_t *pos, uint8_t *buf, size_t room, uint64_t *lost);
/* Where the last so many lines begin. A line that is not ended counts. */
uint64_t ring_tail(const struct ring *r, unsigned int lines);

/* A new file, without a name if dir is -1, mapped; to be unmapped by ring_close(). 0 or -errno. */
int ring_create(int dir, const char *name, struct ring **r);
/* A file that may hold anything, and may be written to: checked, and copied, to be freed. 0, -errno, -EBADMSG. */
int ring_load(int dir, const char *name, struct ring **r);
void ring_close(struct ring *r);

#endif /* CLEAVE_RING_H */
