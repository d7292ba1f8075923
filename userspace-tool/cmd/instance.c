// SPDX-License-Identifier: GPL-2.0
/* An instance's directory: from a type, an image, and keys. */
#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "launch.h"
#include "launch/nocloud.h"
#include "launch/seed.h"
#include "launch/types.h"
#include "runtime.h"

int instance_at(const char *command, const char *name, struct instance *i)
{
	char path[PATH_MAX], err[PATH_MAX + 256];

	memset(i, 0, sizeof(*i));
	i->lock = -1;
	if (!nocloud_hostname(name) || strlen(name) > STORE_NAME) {
		complain("%s: %.80s: cannot be an instance's name, as it is its host name; give 1 to 63 letters, digits and '-', which is neither first nor last",
			 command, name);
		return STATUS_USAGE;
	}
	strcpy(i->name, name);
	if (store_directory("instances", false, path, err, sizeof(err))) {
		complain("%s: %s", command, err);
		return STATUS_ERROR;
	}
	if (snprintf(i->dir, sizeof(i->dir), "%s/%s", path, name) >= PATH_MAX) {
		complain("%s: %s: too long a path; set XDG_DATA_HOME to a shorter one", command, path);
		return STATUS_ERROR;
	}
	return 0;
}

bool instance_read(struct instance *i)
{
	char port[16], net[8];

	if (!store_get(i->dir, "instance.conf", "type", i->type, sizeof(i->type)))
		return false;
	store_get(i->dir, "instance.conf", "image", i->image, sizeof(i->image));
	store_get(i->dir, "instance.conf", "login", i->login, sizeof(i->login));
	store_get(i->dir, "port", "ssh", port, sizeof(port));
	/* With a network of its own choice it has none. */
	i->port = store_get(i->dir, "net", "net", net, sizeof(net)) ? 0 : strtoul(port, NULL, 10);
	return true;
}

bool instance_runs(const char *name)
{
	char err[PATH_MAX + 256];
	struct runtime r;
	int fd;

	if (runtime_open(&r, false, err, sizeof(err)))
		return false;
	fd = runtime_connect(&r, name, 0);
	if (fd >= 0)
		close(fd);
	runtime_close(&r);
	return fd >= 0 || fd == -EAGAIN;
}

/* ---- what it is made of ---------------------------------------------------------------- */

struct parts {
	const struct launch_args *a;
	struct instance *i;
	const struct instance_type *type;
	struct image image;
	char id[STORE_NAME + 1];
	char *keys, *user_data;		/* keys: or NULL */
	size_t keys_len, user_data_len;
};

/* All public keys of ~/.ssh, one behind the other; NULL, and said. */
static char *own_keys(size_t *len)
{
	char pattern[PATH_MAX], *all = malloc(NOCLOUD_KEYS_MAX + 1), *one;
	const char *home = getenv("HOME");
	glob_t g = { 0 };
	size_t i, n;

	*len = 0;
	snprintf(pattern, sizeof(pattern), "%s/.ssh/*.pub", home ? home : "");
	if (all && home && !glob(pattern, 0, NULL, &g)) {
		for (i = 0; i < g.gl_pathc; i++) {
			one = file_read("launch", g.gl_pathv[i], NOCLOUD_KEYS_MAX - *len, &n);
			if (!one)
				continue;
			memcpy(all + *len, one, n);
			*len += n;
			if (n && one[n - 1] != '\n')
				all[(*len)++] = '\n';
			free(one);
		}
		globfree(&g);
	}
	if (all && *len)
		return all;
	free(all);
	complain("launch: %s: there is no key; make one by ssh-keygen, or give --ssh-key or --user-data", pattern);
	return NULL;
}

static bool find_keys(struct parts *p)
{
	const char *from = p->a->keys ? p->a->keys : "~/.ssh/*.pub";
	char err[160];

	if (p->a->user_data) {
		p->user_data = file_read("launch", p->a->user_data, SEED_SIZE_MAX, &p->user_data_len);
		if (!p->user_data || !p->a->keys)
			return p->user_data;
	}
	p->keys = p->a->keys ? file_read("launch", p->a->keys, NOCLOUD_KEYS_MAX, &p->keys_len) :
			       own_keys(&p->keys_len);
	if (!p->keys || p->a->user_data)
		return p->keys;
	p->user_data = nocloud_user_data(p->keys, p->keys_len, err, sizeof(err));
	if (p->user_data)
		p->user_data_len = strlen(p->user_data);
	else
		complain("launch: %s: %s", from, err);
	return p->user_data;
}

static bool find_parts(struct parts *p)
{
	static struct types types;
	const char *file = p->a->types ? p->a->types : TYPES_FILE;
	char err[PATH_MAX + 256];
	uint64_t number;

	if (types_load(file, &types, err, sizeof(err))) {
		complain("launch: %s; cleave(1) tells the form, under \"cleave types\"", err);
		return false;
	}
	p->type = types_find(&types, p->a->type);
	if (!p->type) {
		complain("launch: --type %.40s: is not in %s; `cleave types` lists those there are", p->a->type, file);
		return false;
	}
	if (store_image(p->a->image, &p->image, err, sizeof(err))) {
		complain("launch: --image %s", err);
		return false;
	}
	if (strchr(p->image.dir, ',') || strchr(p->i->dir, ',')) {
		complain("launch: %s: a path with a ',' cannot be a disk's; move it", p->image.dir);
		return false;
	}
	/* Another each time: cloud-init sets up each once. */
	if (getrandom(&number, sizeof(number), 0) != sizeof(number)) {
		complain("launch: no random numbers: %s", strerror(errno));
		return false;
	}
	snprintf(p->id, sizeof(p->id), "i-%016" PRIx64, number);
	return find_keys(p);
}

/* ---- its files ---------------------------------------------------------------------------- */

static int put_seed(const struct parts *p, const char *dir)
{
	struct seed_file file[2] = { { .name = "meta-data" }, { .name = "user-data" } };
	char *meta = nocloud_meta_data(p->id, p->i->name);
	void *image = NULL;
	size_t size;
	int ret = -ENOMEM;

	if (meta) {
		file[0].data = meta;
		file[0].size = strlen(meta);
		file[1].data = p->user_data;
		file[1].size = p->user_data_len;
		ret = seed_make(file, 2, &image, &size);
	}
	if (!ret)
		ret = store_put(dir, "seed.iso", image, size);
	free(image);
	free(meta);
	return ret;
}

/* What `cleave run` starts it by, at its final place. */
static int put_options(const struct parts *p, const char *dir)
{
	const struct instance_type *t = p->type;
	const struct image *image = &p->image;
	char *text = NULL;
	size_t size;
	FILE *f = open_memstream(&text, &size);
	int ret = -ENOMEM;

	if (!f)
		return ret;
	fprintf(f, "# Of `cleave launch`, which starts it by this again.\nkernel = %s/kernel\n", image->dir);
	if (image->initrd)
		fprintf(f, "initrd = %s/initrd\n", image->dir);
	fprintf(f, "append = %s\ncpus = %u\nmemory = %" PRIu64 "K\n", image->append, t->vcpus, t->memory >> 10);
	fprintf(f, "disk = %s,format=%s,overlay=%s/disk.overlay\ndisk = %s/seed.iso,ro,format=raw\nrng\n",
		image->disk, image->qcow2 ? "qcow2" : "raw", p->i->dir, p->i->dir);
	fprintf(f, "slice = type=%s,cpu-share=%u,cpu-burst=%u", t->name, t->share, t->burst);
	if (t->disk_rate)
		fprintf(f, ",disk-rate=%" PRIu64, t->disk_rate);
	if (t->network_rate)
		fprintf(f, ",network-rate=%" PRIu64, t->network_rate);
	fputc('\n', f);
	if (!fclose(f))
		ret = store_put(dir, "run.conf", text, size);
	free(text);
	return ret;
}

int instance_put_net(const char *dir, const char *net)
{
	char text[1024];
	int n = snprintf(text, sizeof(text), "net = %s\n", net);

	return n < (int)sizeof(text) && !strchr(net, '\n') ? store_put(dir, "net", text, n) : -EINVAL;
}

static int put_files(const struct parts *p, const char *dir)
{
	char text[512];
	int n = snprintf(text, sizeof(text), "id = %s\nhostname = %s\ntype = %s\nimage = %s\nlogin = %s\n", p->id,
			 p->i->name, p->type->name, p->image.name, p->image.login);
	int ret = put_seed(p, dir) ?: put_options(p, dir);

	if (!ret && p->a->net)
		ret = instance_put_net(dir, p->a->net);
	if (!ret && p->keys)
		ret = store_put(dir, "keys", p->keys, p->keys_len);
	if (!ret)
		ret = store_put(dir, "user-data", p->user_data, p->user_data_len);
	return ret ?: store_put(dir, "instance.conf", text, n);
}

int instance_make(const struct launch_args *a, struct instance *i)
{
	struct parts p = { .a = a, .i = i };
	char path[PATH_MAX], new[PATH_MAX], err[PATH_MAX + 256];
	int ret = STATUS_ERROR, error;

	if (!find_parts(&p))
		goto out;
	if (store_directory("instances", true, path, err, sizeof(err))) {
		complain("launch: %s", err);
		goto out;
	}
	if (snprintf(new, sizeof(new), "%s/.%s.new", path, i->name) >= PATH_MAX)
		goto out;
	/* Of one that was ended, unless it goes on. */
	i->lock = store_lock(new);
	if (i->lock >= 0) {
		store_remove(new);
		close(i->lock);
	}
	error = i->lock < 0 && i->lock != -ENOENT ? i->lock : mkdir(new, 0700) ? -errno : 0;
	i->lock = error ? error : store_lock(new);
	if (i->lock == -EBUSY) {
		complain("launch: %s: another `cleave launch` makes it now; wait for its end", i->name);
		goto out;
	}
	error = i->lock < 0 ? i->lock : put_files(&p, new);
	if (!error && rename(new, i->dir))
		error = -errno;
	if (error) {
		complain("launch: %s: %s; make room there, or set XDG_DATA_HOME", i->dir, strerror(-error));
		store_remove(new);
		goto out;
	}
	ret = instance_read(i) ? 0 : STATUS_ERROR;
out:
	free(p.keys);
	free(p.user_data);
	return ret;
}
