// SPDX-License-Identifier: GPL-2.0
/* KCOV: which code of the module a thread's calls went through, where the kernel can tell. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ioctl.h"

#define KCOV_INIT_TRACE	_IOR('c', 1, unsigned long)
#define KCOV_ENABLE	_IO('c', 100)
#define KCOV_TRACE_PC	0
#define TRACE_WORDS	(32u << 10)

uint64_t *cover_open(void)
{
	int fd = open("/sys/kernel/debug/kcov", O_RDWR | O_CLOEXEC);
	uint64_t *trace;

	if (fd < 0)
		return NULL;
	MUST(ioctl(fd, KCOV_INIT_TRACE, (unsigned long)TRACE_WORDS));
	trace = mmap(NULL, TRACE_WORDS * 8, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (trace == MAP_FAILED)
		DIE("KCOV's buffer cannot be mapped: errno %d", errno);
	MUST(ioctl(fd, KCOV_ENABLE, KCOV_TRACE_PC));
	/* Out of reach of calls that close what they guess. */
	MUST(fcntl(fd, F_DUPFD_CLOEXEC, 200));
	close(fd);
	__atomic_store_n(&fuzz->traced, 1, __ATOMIC_RELAXED);
	return trace;
}

void cover_reset(uint64_t *trace)
{
	if (trace)
		__atomic_store_n(&trace[0], 0, __ATOMIC_RELAXED);
}

/* Kernel text lies in 2 GiB: half an address names it. False: it was there. */
static bool pc_add(uint32_t pc)
{
	uint32_t i = pc * 2654435761u >> 16;

	for (int n = 0; n < PC_SLOTS; n++, i = (i + 1) % PC_SLOTS) {
		uint32_t old = __atomic_load_n(&fuzz->pc[i], __ATOMIC_RELAXED);

		if (!old && __atomic_compare_exchange_n(&fuzz->pc[i], &old, pc, false,
							__ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return true;
		if (old == pc)
			return false;
	}
	return false;
}

uint32_t cover_take(uint64_t *trace)
{
	uint32_t fresh = 0;
	uint64_t n;

	if (!trace)
		return 0;
	n = __atomic_load_n(&trace[0], __ATOMIC_RELAXED);
	for (uint64_t i = 1; i <= n && i < TRACE_WORDS; i++)
		fresh += pc_add(trace[i]);
	__atomic_fetch_add(&fuzz->pcs, fresh, __ATOMIC_RELAXED);
	return fresh;
}

static int by_number(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

/* One offset in the module a line, for addr2line or objdump on a cleave.ko of the same build. */
void cover_report(FILE *f)
{
	char line[32] = "";
	FILE *text = fopen("/sys/module/cleave/sections/.text", "re");
	uint64_t base;

	if (text && !fgets(line, sizeof(line), text))
		line[0] = 0;
	if (text)
		fclose(text);
	base = strtoull(line, NULL, 0);
	qsort(fuzz->pc, PC_SLOTS, sizeof(fuzz->pc[0]), by_number);
	for (int i = 0; i < PC_SLOTS; i++)
		if (fuzz->pc[i])
			fprintf(f, "%#x\n", fuzz->pc[i] - (uint32_t)base);
}
