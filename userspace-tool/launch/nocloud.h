/* SPDX-License-Identifier: GPL-2.0 */
/* What a seed says to cloud-init: an instance's name, and the keys that may log in. */
#ifndef CLEAVE_NOCLOUD_H
#define CLEAVE_NOCLOUD_H

#include <stdbool.h>
#include <stddef.h>

#define NOCLOUD_HOST_MAX	63
#define NOCLOUD_KEYS_MAX	65536	/* bytes, of all keys */

/* RFC 1123: one label of a host's name. */
bool nocloud_hostname(const char *name);
/* Letters, digits, '.', '_', '-': as cloud-init makes a folder of it. */
bool nocloud_instance_id(const char *id);
/* Texts, to be freed; NULL: no memory, or an argument that the two above refuse. */
char *nocloud_meta_data(const char *instance_id, const char *hostname);
/*
 * Of keys, text of len bytes as in a file of public keys or authorized_keys: one a
 * line, empty lines and those with # left out. NULL with one line in err: a line is no
 * key, there is none, or no memory.
 */
char *nocloud_user_data(const char *keys, size_t len, char *err, size_t errlen);

#endif /* CLEAVE_NOCLOUD_H */
