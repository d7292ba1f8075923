// SPDX-License-Identifier: GPL-2.0
/* The metadata service. Input: what a guest sends on one connection. */
#include "launch/metadata.h"
#include "tool.h"

#define KEYS	"ssh-ed25519 AAAA me\n# no\n\nssh-rsa BBBB\n"

/* What every reply promises: a status, and a body of the length that it tells. */
static void look_at(const struct metadata_reply *r)
{
	const char *end, *length;
	unsigned int status;

	PROMISE(r->len > 20 && sscanf(r->data, "HTTP/1.1 %3u ", &status) == 1);
	PROMISE(status == 200 || (status >= 400 && status <= 505));
	end = memmem(r->data, r->len, "\r\n\r\n", 4);
	length = memmem(r->data, r->len, "Content-Length: ", 16);
	PROMISE(end && length && length < end);
	end += 4;
	PROMISE((size_t)(r->data + r->len - end) == strtoul(length + 16, NULL, 10) || end == r->data + r->len);
	PROMISE(!!memmem(r->data, end - r->data, "Connection: close", 17) == r->close);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct metadata m = {
		.instance_id = "i-1", .hostname = "host", .type = "small", .keys = KEYS,
		.keys_len = sizeof(KEYS) - 1, .user_data = "#!\n", .user_data_len = 3,
		.token = "0123456789abcdef0123456789abcdef",
	};
	struct metadata_reply reply, whole;

	while (size) {
		ssize_t n = metadata_answer(&m, (const char *)data, size, &reply);

		PROMISE(n >= 0 && (size_t)n <= size);
		PROMISE(n || size < METADATA_REQUEST_MAX);
		if (!n)
			break;
		look_at(&reply);
		/* What follows a request does not change its answer; without its last byte there is none. */
		if (!reply.close) {
			PROMISE(!metadata_answer(&m, (const char *)data, n - 1, &whole));
			PROMISE(metadata_answer(&m, (const char *)data, n, &whole) == n);
			PROMISE(whole.len == reply.len && !memcmp(whole.data, reply.data, whole.len));
			free(whole.data);
		}
		free(reply.data);
		if (reply.close)
			break;
		data += n;
		size -= n;
	}
	return 0;
}
