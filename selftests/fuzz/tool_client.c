// SPDX-License-Identifier: GPL-2.0
/* What a guest's process answers to `cleave explain` and `cleave stat`. Input: that, and how it comes. */
#include <fcntl.h>
#include "cmd/client.c"
#include "tool.h"

static char line[4096];

void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct runtime nowhere = { .dir = -1, .path = "/nowhere" };
	struct json_object *answer = NULL;
	struct timespec end;
	char *text = NULL;
	int fd[2], ret, status;
	size_t len = 0;

	/* What a socket takes at once. */
	if (size > 65536)
		return 0;
	PROMISE(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd));
	PROMISE(!size || write(fd[1], data, size) == (ssize_t)size);
	close(fd[1]);
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += 5;
	ret = receive_line(fd[0], false, &text, &len, &end);
	close(fd[0]);
	PROMISE(ret == 0 || ret == -EPIPE);
	PROMISE(ret || (len + 1 == size && data[len] == '\n' && !memcmp(text, data, len)));
	if (!ret) {
		answer = doc_parse(text, len);
		ret = !answer ? -EPROTO : doc_get_text(answer, "error") ? -EREMOTEIO : 0;
		PROMISE(!answer || json_object_is_type(answer, json_type_object));
	}
	line[0] = 0;
	if (ret) {
		status = client_failed(&nowhere, "g", ret, answer);
		PROMISE(line[0] && (status == STATUS_ERROR || status == STATUS_NO_GUEST));
	}
	json_object_put(answer);
	free(text);
	return 0;
}
