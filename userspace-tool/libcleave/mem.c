// SPDX-License-Identifier: GPL-2.0
/* libcleave: guest-physical ranges and where they are in this process. */
#include <errno.h>
#include <string.h>
#include "libcleave.h"

int cleave_mem_add(struct cleave_mem *mem, uint64_t gpa, uint64_t size, void *host, uint32_t flags)
{
	if (!size || gpa + size < gpa || !host || (flags & ~CLEAVE_MEM_READONLY))
		return -EINVAL;
	for (unsigned int i = 0; i < mem->count; i++) {
		const struct cleave_range *r = &mem->range[i];

		if (gpa < r->gpa + r->size && r->gpa < gpa + size)
			return -EEXIST;
	}
	if (mem->count == CLEAVE_MEM_RANGES)
		return -ENOSPC;
	mem->range[mem->count++] = (struct cleave_range){ gpa, size, host, flags };
	return 0;
}

static const struct cleave_range *range_of(const struct cleave_mem *mem, uint64_t gpa, uint64_t len)
{
	for (unsigned int i = 0; i < mem->count; i++) {
		const struct cleave_range *r = &mem->range[i];
		uint64_t off = gpa - r->gpa;

		if (off < r->size && len <= r->size - off)
			return r;
	}
	return NULL;
}

void *cleave_mem_ptr(const struct cleave_mem *mem, uint64_t gpa, uint64_t len)
{
	const struct cleave_range *r = range_of(mem, gpa, len);

	return r ? r->host + (gpa - r->gpa) : NULL;
}

void *cleave_mem_wptr(const struct cleave_mem *mem, uint64_t gpa, uint64_t len)
{
	const struct cleave_range *r = range_of(mem, gpa, len);

	return r && !(r->flags & CLEAVE_MEM_READONLY) ? r->host + (gpa - r->gpa) : NULL;
}

/* Copies range by range; with buf NULL it only looks whether all of it is there. */
static int transfer(const struct cleave_mem *mem, uint64_t gpa, void *buf, uint64_t len, bool write)
{
	uint64_t done = 0;

	if (gpa + len < gpa)
		return -EFAULT;
	while (done < len) {
		const struct cleave_range *r = range_of(mem, gpa + done, 1);
		uint64_t off, n;

		if (!r)
			return -EFAULT;
		off = gpa + done - r->gpa;
		n = r->size - off < len - done ? r->size - off : len - done;
		if (buf && write)
			memcpy(r->host + off, (uint8_t *)buf + done, n);
		else if (buf)
			memcpy((uint8_t *)buf + done, r->host + off, n);
		done += n;
	}
	return 0;
}

int cleave_mem_read(const struct cleave_mem *mem, uint64_t gpa, void *buf, uint64_t len)
{
	int rc = transfer(mem, gpa, NULL, len, false);

	return rc ? rc : transfer(mem, gpa, buf, len, false);
}

int cleave_mem_write(const struct cleave_mem *mem, uint64_t gpa, const void *buf, uint64_t len)
{
	int rc = transfer(mem, gpa, NULL, len, true);

	return rc ? rc : transfer(mem, gpa, (void *)buf, len, true);
}
