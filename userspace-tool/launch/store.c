// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store.h"

#define CONF_MAX	65536

bool store_name(const char *name)
{
	size_t n = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return n && !name[n] && n <= STORE_NAME && *name != '.' && *name != '-';
}

/* ---- directories ---------------------------------------------------------------------- */

static int base(char path[PATH_MAX])
{
	const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
	int n;

	if (!geteuid())
		n = snprintf(path, PATH_MAX, STORE_SYSTEM);
	else if (data && *data == '/')
		n = snprintf(path, PATH_MAX, "%s/cleave", data);
	else if (home && *home == '/')
		n = snprintf(path, PATH_MAX, "%s/.local/share/cleave", home);
	else
		return -ENOENT;
	return n < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* With those above it. */
static int make(char *path, mode_t mode)
{
	char *p = path;
	int ret;

	while ((p = strchr(p + 1, '/'))) {
		*p = 0;
		ret = mkdir(path, 0755) && errno != EEXIST && errno != EROFS ? -errno : 0;
		*p = '/';
		if (ret)
			return ret;
	}
	return mkdir(path, mode) && errno != EEXIST ? -errno : 0;
}

int store_directory(const char *kind, bool create, char path[PATH_MAX], char *err, size_t errlen)
{
	size_t n;
	int ret = base(path);

	if (ret) {
		snprintf(err, errlen, "no directory for %s; set HOME, or XDG_DATA_HOME", kind);
		return ret;
	}
	n = strlen(path);
	if ((size_t)snprintf(path + n, PATH_MAX - n, "/%s", kind) >= PATH_MAX - n) {
		snprintf(err, errlen, "%s: too long a path; set XDG_DATA_HOME to a shorter one", path);
		return -ENAMETOOLONG;
	}
	/* Of instances: keys of others are nobody's business. */
	ret = create ? make(path, strcmp(kind, "instances") ? 0755 : 0700) : 0;
	if (ret)
		snprintf(err, errlen, "%s: %s; make it, or set XDG_DATA_HOME", path, strerror(-ret));
	return ret;
}

static int by_name(const void *a, const void *b)
{
	return strverscmp(a, b);
}

static int add_names(const char *path, char (**names)[STORE_NAME + 1], int count)
{
	DIR *dir = opendir(path);
	struct dirent *e;
	int i;

	while (dir && (e = readdir(dir))) {
		void *more;

		if (!store_name(e->d_name))
			continue;
		for (i = 0; i < count && strcmp((*names)[i], e->d_name); i++)
			;
		if (i < count)
			continue;
		more = realloc(*names, (count + 1) * sizeof(**names));
		if (!more)
			break;
		*names = more;
		strcpy((*names)[count++], e->d_name);
	}
	if (dir)
		closedir(dir);
	return count;
}

int store_list(const char *kind, char (**names)[STORE_NAME + 1])
{
	char path[PATH_MAX], err[PATH_MAX + 64];
	int count = 0;

	*names = NULL;
	if (!store_directory(kind, false, path, err, sizeof(err)))
		count = add_names(path, names, count);
	snprintf(path, sizeof(path), STORE_SYSTEM "/%s", kind);
	if (geteuid() && !strcmp(kind, "images"))
		count = add_names(path, names, count);
	if (count)
		qsort(*names, count, sizeof(**names), by_name);
	return count;
}

/* ---- files ------------------------------------------------------------------------------ */

int store_put(const char *dir, const char *file, const void *data, size_t size)
{
	char path[PATH_MAX], new[PATH_MAX];
	const char *p = data;
	ssize_t n = 0;
	int fd, ret = 0;

	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= PATH_MAX ||
	    snprintf(new, sizeof(new), "%s/.%s.new", dir, file) >= PATH_MAX)
		return -ENAMETOOLONG;
	fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (fd < 0)
		return -errno;
	for (; size && n >= 0; p += n, size -= n) {
		n = write(fd, p, size);
		if (n < 0 && errno == EINTR)
			n = 0;
	}
	if (n < 0 || fsync(fd))
		ret = -errno;
	if (close(fd) && !ret)
		ret = -errno;
	if (!ret && rename(new, path))
		ret = -errno;
	if (ret)
		unlink(new);
	return ret;
}

bool store_get(const char *dir, const char *file, const char *key, char *value, size_t size)
{
	char path[PATH_MAX], line[2048];
	bool found = false;
	size_t n = strlen(key);
	FILE *f;

	*value = 0;
	if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= PATH_MAX)
		return false;
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		found = !strncmp(line, key, n) && !strncmp(line + n, " = ", 3);
		if (found)
			snprintf(value, size, "%s", line + n + 3);
	}
	if (f)
		fclose(f);
	return found;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path) ? -errno : 0;
}

int store_remove(const char *dir)
{
	int ret = nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);

	return ret == -1 ? -errno : ret;
}

int store_retire(const char *dir)
{
	const char *name = strrchr(dir, '/') + 1;
	char old[PATH_MAX];
	int ret;

	if (snprintf(old, sizeof(old), "%.*s.%s.old", (int)(name - dir), dir, name) >= PATH_MAX)
		return -ENAMETOOLONG;
	ret = store_remove(old);	/* of a removal that was ended */
	if (ret && ret != -ENOENT)
		return ret;
	if (rename(dir, old))
		return -errno;
	return store_remove(old);
}

int store_lock(const char *dir)
{
	struct stat now, locked;
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (flock(fd, LOCK_EX | LOCK_NB))
		ret = errno == EWOULDBLOCK ? -EBUSY : -errno;
	/* Or it was another's, who has moved it away meanwhile. */
	else if (fstat(fd, &locked) || stat(dir, &now) || now.st_ino != locked.st_ino || now.st_dev != locked.st_dev)
		ret = -EBUSY;
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

/* ---- images ------------------------------------------------------------------------------- */

static bool in_image(const struct image *image, const char *file, char path[PATH_MAX])
{
	return snprintf(path, PATH_MAX, "%s/%s", image->dir, file) < PATH_MAX && !access(path, F_OK);
}

static bool read_image(struct image *image)
{
	char path[PATH_MAX];
	struct stat st;

	image->qcow2 = in_image(image, "disk.qcow2", image->disk);
	if (!image->qcow2 && !in_image(image, "disk.raw", image->disk))
		return false;
	image->initrd = in_image(image, "initrd", path);
	image->size = stat(image->disk, &st) ? 0 : st.st_size;
	store_get(image->dir, "image.conf", "login", image->login, sizeof(image->login));
	store_get(image->dir, "image.conf", "append", image->append, sizeof(image->append));
	return true;
}

int store_image(const char *name, struct image *image, char *err, size_t errlen)
{
	char path[PATH_MAX];
	int ret;

	memset(image, 0, sizeof(*image));
	ret = store_directory("images", false, path, err, errlen);
	if (ret)
		return ret;
	if (store_name(name)) {
		strcpy(image->name, name);
		if (snprintf(image->dir, PATH_MAX, "%s/%s", path, name) < PATH_MAX && read_image(image))
			return 0;
		snprintf(image->dir, PATH_MAX, STORE_SYSTEM "/images/%s", name);
		if (read_image(image))
			return 0;
	}
	snprintf(err, errlen, "%.80s: there is no such image; `cleave images` lists those there are, `cleave images add` adds one",
		 name);
	return -ENOENT;
}
