/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A disk of the host's, /dev/nbd0, that is this process's: it can stop answering, and it can lose
 * its power, when it keeps what was flushed and any part of the rest.
 */
#ifndef SELFTESTS_NBD_H
#define SELFTESTS_NBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nbd;

/* With the bytes of that file; NULL: this kernel has no nbd. */
struct nbd *nbd_plug(const char *file);
void nbd_hold(struct nbd *n, bool hold);	/* no answers until it is over */
unsigned long nbd_held(struct nbd *n);		/* requests that wait for one */
unsigned long nbd_flushes(struct nbd *n);
/* From here on it forgets all; what there is left goes to the file. */
void nbd_cut(struct nbd *n, const char *file, uint32_t seed);
void nbd_unplug(struct nbd *n);			/* nobody has it open; it answers */

#endif
