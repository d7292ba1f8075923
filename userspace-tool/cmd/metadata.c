// SPDX-License-Identifier: GPL-2.0
/* What the metadata service of a guest tells: --metadata, the directory of an instance. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cmd.h"
#include "launch/metadata.h"
#include "launch/nocloud.h"
#include "launch/seed.h"
#include "launch/service.h"
#include "launch/store.h"
#include "net/net.h"

static struct metadata metadata;
static struct net_service service;
static char id[STORE_NAME + 1], hostname[STORE_NAME + 1], type[ARGS_TYPE_NAME + 1], image[STORE_NAME + 1];

/* A file that may be missing. False, and said: it cannot be read. */
static bool optional(const char *dir, const char *file, size_t max, char **data, size_t *size)
{
	char path[PATH_MAX];

	*data = NULL;
	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= PATH_MAX || access(path, F_OK))
		return true;
	*data = file_read("--metadata", path, max, size);
	return *data;
}

static bool make_token(char token[METADATA_TOKEN + 1])
{
	unsigned char random[METADATA_TOKEN / 2];
	size_t i;

	if (getrandom(random, sizeof(random), 0) != sizeof(random))
		return false;
	for (i = 0; i < sizeof(random); i++)
		sprintf(token + 2 * i, "%02x", random[i]);
	return true;
}

int metadata_service(const struct run_args *a, const struct net_service **s)
{
	char *keys = NULL, *user_data = NULL;

	*s = NULL;
	if (!a->metadata)
		return 0;
	if (!store_get(a->metadata, "instance.conf", "id", id, sizeof(id)) ||
	    !store_get(a->metadata, "instance.conf", "hostname", hostname, sizeof(hostname)) ||
	    !nocloud_instance_id(id) || !nocloud_hostname(hostname)) {
		complain("--metadata %s: its instance.conf has no id and no hostname; give the directory of an instance that `cleave launch` has made",
			 a->metadata);
		return -EINVAL;
	}
	store_get(a->metadata, "instance.conf", "type", type, sizeof(type));
	store_get(a->metadata, "instance.conf", "image", image, sizeof(image));
	metadata = (struct metadata){
		.instance_id = id, .hostname = hostname, .type = *type ? type : NULL,
		.image = *image ? image : NULL,
	};
	if (!optional(a->metadata, "keys", NOCLOUD_KEYS_MAX, &keys, &metadata.keys_len) ||
	    !optional(a->metadata, "user-data", SEED_SIZE_MAX, &user_data, &metadata.user_data_len)) {
		free(keys);
		return -EIO;
	}
	/* What net/user.c gives the only guest there. */
	if (a->virtio.nets && !a->virtio.net[0].tap[0])
		metadata.address = "10.0.2.15";
	metadata.keys = keys;
	metadata.user_data = user_data;
	if (!make_token(metadata.token)) {
		complain("--metadata: no random numbers: %s", strerror(errno));
		return -EIO;
	}
	service_init(&service, &metadata);
	*s = &service;
	return 0;
}
