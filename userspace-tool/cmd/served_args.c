// SPDX-License-Identifier: GPL-2.0
/* Options of devices whose queues the host's kernel or another process serves. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"

int args_vsock(const char *text, struct virtio_args *v, char *err, size_t errlen)
{
	const char *number = strncmp(text, "cid=", 4) ? "" : text + 4;
	unsigned long long cid;
	char *end;

	errno = 0;
	cid = strtoull(number, &end, 0);
	if (*number < '0' || *number > '9' || *end || errno || cid < ARGS_CID_MIN || cid > ARGS_CID_MAX) {
		snprintf(err, errlen, "--vsock %s: no number from %u to %u; give for example cid=%u", text,
			 ARGS_CID_MIN, ARGS_CID_MAX, ARGS_CID_MIN);
		return -EINVAL;
	}
	v->cid = cid;
	return 0;
}
