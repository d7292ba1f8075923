/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The metadata service of a guest, at 169.254.169.254: HTTP/1.1 (RFC 9110, 9112) over the
 * tree that cloud-init reads of EC2, and the files of its NoCloud source. Bytes in, bytes
 * out; what comes is hostile input.
 *
 *	/VERSION/meta-data/...	VERSION: latest, or one that / lists
 *	/VERSION/user-data
 *	/latest/api/token	PUT: a token, which is good as long as the guest runs
 *	/meta-data, /user-data, /vendor-data	NoCloud's
 */
#ifndef CLEAVE_METADATA_H
#define CLEAVE_METADATA_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define METADATA_REQUEST_MAX	8192	/* bytes, its body too */
#define METADATA_TOKEN		32	/* characters */

struct metadata {
	const char *instance_id, *hostname;	/* as nocloud.h has them */
	const char *type, *image, *address;	/* each: or NULL */
	const char *keys;			/* as a file of public keys; or NULL */
	size_t keys_len;
	const void *user_data;			/* or NULL */
	size_t user_data_len;
	char token[METADATA_TOKEN + 1];		/* nobody but the guest knows it */
};

struct metadata_reply {
	char *data;		/* to be freed */
	size_t len;
	bool close;		/* nothing that comes behind the request is looked at */
};

/*
 * len bytes that a connection has brought and nobody has taken. How many are taken now,
 * for which the reply goes out; 0: the request is not whole, which it is or wrong from
 * METADATA_REQUEST_MAX bytes on; -ENOMEM.
 */
ssize_t metadata_answer(const struct metadata *m, const char *in, size_t len, struct metadata_reply *reply);

#endif /* CLEAVE_METADATA_H */
