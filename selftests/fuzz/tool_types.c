// SPDX-License-Identifier: GPL-2.0
/* Files of instance types. Input: the file. */
#include <errno.h>

#include "launch/types.h"
#include "tool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct types t;
	char err[256] = "";
	unsigned int i;
	int ret = types_parse((const char *)data, size, &t, err, sizeof(err));

	PROMISE(t.count <= TYPES_MAX);
	if (ret) {
		PROMISE(ret == -EINVAL && !strncmp(err, "line ", 5));
		one_line(err, sizeof(err));
		for (const char *p = err; *p; p++)
			PROMISE((unsigned char)*p >= ' ' || *p == '\t');
		return 0;
	}
	PROMISE(t.count);
	for (i = 0; i < t.count; i++) {
		const struct instance_type *p = &t.type[i];

		PROMISE(*p->name && strlen(p->name) <= TYPES_NAME_MAX && !strchr(p->name, '/'));
		PROMISE(types_find(&t, p->name) == p);
		PROMISE(p->vcpus >= 1 && p->vcpus <= TYPES_VCPUS_MAX);
		PROMISE(p->memory >= TYPES_MEMORY_MIN && p->memory <= TYPES_MEMORY_MAX && !(p->memory % 4096));
		PROMISE(p->share >= 1 && p->share <= p->burst && p->burst <= 100);
		PROMISE(!p->disk_rate || (p->disk_rate >= TYPES_RATE_MIN && p->disk_rate <= TYPES_RATE_MAX));
		PROMISE(!p->network_rate || (p->network_rate >= TYPES_RATE_MIN && p->network_rate <= TYPES_RATE_MAX));
	}
	return 0;
}
