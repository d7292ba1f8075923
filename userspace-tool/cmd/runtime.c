// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "cmd.h"
#include "runtime.h"

#define BACKLOG		16
#define REPORT_MAX	(16U << 20)

/* ---- the directory --------------------------------------------------------------- */

static int fail(char *err, size_t errlen, int error, const char *path, const char *what)
{
	snprintf(err, errlen, "%s: %s", path, what);
	return error;
}

/* The one above must be there; root's may be made. */
static void choose(char path[PATH_MAX])
{
	const char *xdg = getenv("XDG_RUNTIME_DIR");
	struct stat st;

	/* Root's guests are in one place, whether a login or a service has started them. */
	if (xdg && !geteuid() && !strncmp(xdg, "/run/user/", strlen("/run/user/")))
		xdg = NULL;
	if (xdg && *xdg == '/' && !stat(xdg, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid() &&
	    snprintf(path, PATH_MAX, "%s/cleave", xdg) < PATH_MAX)
		return;
	if (geteuid()) {
		snprintf(path, PATH_MAX, "/tmp/cleave-%u", geteuid());
		return;
	}
	strcpy(path, "/run/cleave");
}

int runtime_open(struct runtime *r, bool create, char *err, size_t errlen)
{
	struct stat st;

	choose(r->path);
	if (create && !geteuid() && !strcmp(r->path, "/run/cleave"))
		mkdir("/run", 0755);
	if (create && mkdir(r->path, 0700) && errno != EEXIST)
		return fail(err, errlen, -errno, r->path, strerror(errno));
	r->dir = open(r->path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (r->dir < 0)
		return fail(err, errlen, -errno, r->path, strerror(errno));
	if (!fstat(r->dir, &st) && st.st_uid == geteuid() && !(st.st_mode & 077))
		return 0;
	runtime_close(r);
	return fail(err, errlen, -EPERM, r->path,
		    "belongs to someone else, or is open to others; remove it, or set XDG_RUNTIME_DIR to a directory of your own");
}

void runtime_close(struct runtime *r)
{
	if (r->dir >= 0)
		close(r->dir);
	r->dir = -1;
}

static int by_name(const void *a, const void *b)
{
	return strverscmp(((const struct runtime_entry *)a)->name,
			  ((const struct runtime_entry *)b)->name);
}

/* Adds what a file's name says to the entry of its guest. */
static int note(struct runtime_entry **list, size_t *count, char *file)
{
	struct runtime_entry *e, *more;
	char *dot = strrchr(file, '.');
	size_t i;

	if (!dot || (strcmp(dot, ".sock") && strcmp(dot, ".json")))
		return 0;
	*dot = 0;
	if (!args_name(file))
		return 0;
	for (i = 0; i < *count && strcmp((*list)[i].name, file); i++)
		;
	if (i == *count) {
		more = realloc(*list, (i + 1) * sizeof(**list));
		if (!more)
			return -ENOMEM;
		*list = more;
		memset(&more[i], 0, sizeof(more[i]));
		strcpy(more[i].name, file);
		++*count;
	}
	e = &(*list)[i];
	e->socket |= dot[1] == 's';
	e->report |= dot[1] == 'j';
	return 0;
}

int runtime_entries(const struct runtime *r, struct runtime_entry **entries)
{
	int fd = r->dir < 0 ? -1 : openat(r->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), ret = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	size_t count = 0;

	_Static_assert(sizeof((*entries)->name) == ARGS_NAME_MAX + 1, "a name");
	*entries = NULL;
	while (dir && !ret && (e = readdir(dir)))
		ret = note(entries, &count, e->d_name);
	if (dir)
		closedir(dir);
	else if (fd >= 0)
		close(fd);
	if (ret) {
		free(*entries);
		*entries = NULL;
		return ret;
	}
	if (count)
		qsort(*entries, count, sizeof(**entries), by_name);
	return count;
}

void runtime_list(const struct runtime *r, char *text, size_t size)
{
	struct runtime_entry *list;
	int count = runtime_entries(r, &list), i;
	size_t used = 0;

	for (i = 0; i < count; i++) {
		int n = snprintf(text + used, size - used, "%s%s", used ? ", " : "", list[i].name);

		if (n < 0 || (size_t)n >= size - used)
			break;
		used += n;
	}
	text[used] = 0;
	if (count > 0)
		free(list);
}

/* ---- sockets ----------------------------------------------------------------------- */

/* By the directory's descriptor: its path may be longer than a socket's can be. */
static void address(const struct runtime *r, const char *name, struct sockaddr_un *a)
{
	memset(a, 0, sizeof(*a));
	a->sun_family = AF_UNIX;
	snprintf(a->sun_path, sizeof(a->sun_path), "/proc/self/fd/%d/%s.sock", r->dir, name);
}

static void file_name(char *path, size_t size, const char *name, const char *ext)
{
	snprintf(path, size, "%s%s", name, ext);
}

int runtime_connect(const struct runtime *r, const char *name, int timeout_ms)
{
	struct sockaddr_un a;
	int fd, error, waited;

	if (r->dir < 0)
		return -ENOENT;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	address(r, name, &a);
	/* EAGAIN: its queue is full, so it lives; poll() does not wait for room in it. */
	for (waited = 0; connect(fd, (struct sockaddr *)&a, sizeof(a)); waited += 10) {
		error = -errno;
		if (error != -EAGAIN || waited >= timeout_ms) {
			close(fd);
			return error;
		}
		poll(NULL, 0, 10);
	}
	return fd;
}

static int listen_there(const struct runtime *r, const char *name)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error;
	struct sockaddr_un a;

	if (fd < 0)
		return -errno;
	address(r, name, &a);
	if (!bind(fd, (struct sockaddr *)&a, sizeof(a)) && !listen(fd, BACKLOG))
		return fd;
	error = -errno;
	close(fd);
	return error;
}

/* Under the directory's lock, so that of two that start at once one gets it. */
int runtime_claim(const struct runtime *r, const char *name)
{
	char path[NAME_MAX + 1];
	int fd;

	while (flock(r->dir, LOCK_EX))
		if (errno != EINTR)
			return -errno;
	fd = runtime_connect(r, name, 0);
	if (fd >= 0)
		close(fd);
	if (fd >= 0 || fd == -EAGAIN)
		fd = -EADDRINUSE;
	/* Nobody listens: what is left of a process that was killed. */
	file_name(path, sizeof(path), name, ".sock");
	if (fd == -ECONNREFUSED)
		unlinkat(r->dir, path, 0);
	if (fd == -ECONNREFUSED || fd == -ENOENT)
		fd = listen_there(r, name);
	if (fd >= 0) {
		file_name(path, sizeof(path), name, ".json");
		unlinkat(r->dir, path, 0);
	}
	flock(r->dir, LOCK_UN);
	return fd;
}

void runtime_release(const struct runtime *r, const char *name)
{
	char path[NAME_MAX + 1];

	file_name(path, sizeof(path), name, ".sock");
	unlinkat(r->dir, path, 0);
}

/* ---- reports of the dead ------------------------------------------------------------- */

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno != EINTR)
			return -errno;
		if (n > 0) {
			text += n;
			len -= n;
		}
	}
	return 0;
}

int runtime_save(const struct runtime *r, const char *name, const char *text)
{
	char path[NAME_MAX + 1], new[NAME_MAX + 1];
	int fd, ret;

	file_name(path, sizeof(path), name, ".json");
	file_name(new, sizeof(new), name, ".json.new");
	unlinkat(r->dir, new, 0);
	fd = openat(r->dir, new, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	ret = write_all(fd, text, strlen(text));
	if (close(fd) && !ret)
		ret = -errno;
	if (!ret && renameat(r->dir, new, r->dir, path))
		ret = -errno;
	if (ret)
		unlinkat(r->dir, new, 0);
	return ret;
}

int runtime_load(const struct runtime *r, const char *name, char **text, size_t *len)
{
	char path[NAME_MAX + 1];
	struct stat st;
	int fd, ret = 0;

	if (r->dir < 0)
		return -ENOENT;
	file_name(path, sizeof(path), name, ".json");
	fd = openat(r->dir, path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*text = NULL;
	*len = 0;
	if (fstat(fd, &st))
		ret = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_size > REPORT_MAX)
		ret = -EINVAL;
	else
		*text = malloc(st.st_size + 1);
	if (!ret && !*text)
		ret = -ENOMEM;
	while (!ret && *len < (size_t)st.st_size) {
		ssize_t n = read(fd, *text + *len, st.st_size - *len);

		if (n > 0)
			*len += n;
		else if (!n || errno != EINTR)
			ret = n ? -errno : -EIO;
	}
	close(fd);
	if (ret)
		free(*text);
	else
		(*text)[*len] = 0;
	return ret;
}
