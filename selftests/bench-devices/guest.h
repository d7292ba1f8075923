/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The init of a guest that measures its devices, on whichever hypervisor it is. See
 * Documentation/performance.rst.
 */
#ifndef BENCH_DEVICES_GUEST_H
#define BENCH_DEVICES_GUEST_H

#include <stdbool.h>
#include <stdint.h>

struct row {
	const char *name;
	unsigned int operations;	/* of a batch */
	unsigned int size, depth;	/* of an operation, bytes; how many are under way */
	unsigned int flags;
};

#define ROW_WRITE	1
#define ROW_SEQUENTIAL	2
#define ROW_FLUSH	4		/* behind each operation */

/* One for each kind of device; false: it is not there. */
struct device {
	bool (*open)(void);
	void (*batch)(const struct row *row);
	const struct row *rows;
	unsigned int count;
};

extern const struct device disk;

void fail(const char *what) __attribute__((noreturn));	/* says so, and powers off */
uint32_t chance(uint32_t n);				/* the same for everyone */

#endif
