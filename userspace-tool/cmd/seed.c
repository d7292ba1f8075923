// SPDX-License-Identifier: GPL-2.0
/* `cleave seed`: a disk that tells a cloud image who it is, and who may log in. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd.h"
#include "launch/nocloud.h"
#include "launch/seed.h"

struct seed_args {
	const char *output, *hostname, *id, *keys, *user_data, *network_config;
};

static void help(void)
{
	printf("usage: cleave seed --output FILE [OPTION]...\n"
	       "Makes a disk that cloud-init reads in a guest (NoCloud: ISO 9660, label CIDATA).\n\n"
	       "  -o, --output FILE          the disk; one that is there is replaced\n"
	       "  -n, --hostname NAME        of the guest (default: cleave)\n"
	       "  -k, --ssh-key FILE         public keys that may log in, one a line\n"
	       "  -u, --user-data FILE       what cloud-init shall do, in place of --ssh-key\n"
	       "  -N, --network-config FILE  the network's, as cloud-init takes it (default: DHCP)\n"
	       "  -i, --instance-id ID       cloud-init sets up each once (default: the host's name)\n"
	       "  -h, --help                 this\n\n"
	       "Exit status: 0; 1 a file cannot be read or written, or is wrong; 2 wrong usage.\n");
}

static int usage(const char *why)
{
	complain("seed: %s; `cleave seed --help` tells the options", why);
	return STATUS_USAGE;
}

static int parse(int argc, char **argv, struct seed_args *a)
{
	static const struct option options[] = {
		{ "output", required_argument, NULL, 'o' },
		{ "hostname", required_argument, NULL, 'n' },
		{ "ssh-key", required_argument, NULL, 'k' },
		{ "user-data", required_argument, NULL, 'u' },
		{ "network-config", required_argument, NULL, 'N' },
		{ "instance-id", required_argument, NULL, 'i' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	int opt;

	*a = (struct seed_args){ .hostname = "cleave" };
	while ((opt = getopt_long(argc, argv, "o:n:k:u:N:i:h", options, NULL)) != -1) {
		const char **to = opt == 'o' ? &a->output : opt == 'n' ? &a->hostname :
				  opt == 'k' ? &a->keys : opt == 'u' ? &a->user_data :
				  opt == 'N' ? &a->network_config : opt == 'i' ? &a->id : NULL;

		if (opt == 'h') {
			help();
			exit(0);
		}
		if (!to)
			return STATUS_USAGE;
		*to = optarg;
	}
	if (optind < argc)
		return usage("no argument is wanted");
	if (!a->output)
		return usage("where to? --output FILE");
	if (!a->keys == !a->user_data)
		return usage("who may log in? --ssh-key FILE, or --user-data FILE, one of them");
	if (!nocloud_hostname(a->hostname))
		return usage("--hostname: 1 to 63 letters, digits and '-', which is neither first nor last");
	if (!a->id)
		a->id = a->hostname;
	if (!nocloud_instance_id(a->id))
		return usage("--instance-id: 1 to 63 letters, digits, '.', '_', '-'");
	return 0;
}

/* A new file in the place of the old, so that a guest which has that keeps it. */
static int write_file(const char *path, const void *data, size_t size)
{
	char *temporary = NULL;
	const char *p = data;
	ssize_t n = 0;
	int fd = -1;

	if (asprintf(&temporary, "%s.XXXXXX", path) >= 0)
		fd = mkstemp(temporary);
	for (; fd >= 0 && n >= 0 && size; p += n, size -= n)
		n = write(fd, p, size);
	if (fd < 0 || n < 0 || fchmod(fd, 0600) || close(fd) || rename(temporary, path)) {
		complain("seed: %s: %s", path, strerror(errno));
		if (fd >= 0)
			unlink(temporary);
		free(temporary);
		return STATUS_ERROR;
	}
	free(temporary);
	return 0;
}

/* What --ssh-key or --user-data says; NULL, and said. */
static char *user_data(const struct seed_args *a, size_t *size)
{
	char *keys, *text, err[160];

	if (a->user_data)
		return file_read("seed", a->user_data, SEED_SIZE_MAX, size);
	keys = file_read("seed", a->keys, NOCLOUD_KEYS_MAX, size);
	if (!keys)
		return NULL;
	text = nocloud_user_data(keys, *size, err, sizeof(err));
	if (text)
		*size = strlen(text);
	else
		complain("seed: %s: %s", a->keys, err);
	free(keys);
	return text;
}

int cmd_seed(int argc, char **argv)
{
	struct seed_file file[3] = { { .name = "meta-data" }, { .name = "user-data" }, { .name = "network-config" } };
	char *data[3] = { NULL };
	struct seed_args a;
	void *image = NULL;
	size_t size;
	unsigned int i, count = 2;
	int ret = parse(argc, argv, &a);

	if (ret)
		return ret;
	ret = STATUS_ERROR;
	data[0] = nocloud_meta_data(a.id, a.hostname);
	if (!data[0])
		goto out;
	file[0].size = strlen(data[0]);
	data[1] = user_data(&a, &file[1].size);
	if (!data[1])
		goto out;
	if (a.network_config) {
		data[2] = file_read("seed", a.network_config, SEED_SIZE_MAX, &file[2].size);
		if (!data[2])
			goto out;
		count = 3;
	}
	for (i = 0; i < count; i++)
		file[i].data = data[i];
	if (seed_make(file, count, &image, &size))
		complain("seed: no memory");
	else
		ret = write_file(a.output, image, size);
out:
	free(image);
	for (i = 0; i < 3; i++)
		free(data[i]);
	return ret;
}
