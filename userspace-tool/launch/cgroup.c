// SPDX-License-Identifier: GPL-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cgroup.h"

#define WEIGHT_MAX	10000
#define MEMORY_FIXED	(64ULL << 20)	/* of the tool */
#define MEMORY_VCPU	(2ULL << 20)
#define TEXT		65536

static const char *const controllers[] = { "cpu", "memory", "pids", "io" };
#define NEEDED	3	/* of these: without io the tool alone limits disks */

/* ---- pure --------------------------------------------------------------------------- */

void cgroup_limits(struct cgroup_limits *l, unsigned int vcpus, uint64_t memory, unsigned int share,
		   unsigned int burst)
{
	uint64_t weight = (uint64_t)share * vcpus;

	memset(l, 0, sizeof(*l));
	/* A whole CPU is 100, as is what nobody has set. */
	l->weight = weight < 1 ? 1 : weight > WEIGHT_MAX ? WEIGHT_MAX : weight;
	l->quota = (uint64_t)CGROUP_PERIOD / 100 * burst * vcpus;
	l->burst = burst < 100 ? l->quota : 0;
	/* Page tables are 1/512 of it, the host's and the guest's. */
	l->memory = memory + memory / 64 + MEMORY_FIXED + MEMORY_VCPU * vcpus;
	/* Threads: of vCPUs, of devices, and io_uring's. */
	l->pids = 256 + 16 * vcpus;
}

bool cgroup_own(const char *text, char path[PATH_MAX])
{
	while (*text) {
		size_t n = strcspn(text, "\n");

		if (n > 3 && n < PATH_MAX && !strncmp(text, "0::/", 4)) {
			memcpy(path, text + 3, n - 3);
			path[n - 3] = 0;
			return true;
		}
		text += n + !!text[n];
	}
	return false;
}

/* proc(5): ID PARENT DEV ROOT POINT OPTIONS [FIELD]... - TYPE SOURCE OPTIONS */
bool cgroup_mount(const char *text, char path[PATH_MAX])
{
	while (*text) {
		size_t n = strcspn(text, "\n");
		char point[PATH_MAX], line[PATH_MAX + 512], *type;
		bool whole = n < sizeof(line);

		snprintf(line, sizeof(line), "%.*s", (int)(whole ? n : 0), text);
		type = strstr(line, " - cgroup2 ");
		if (type && sscanf(line, "%*s %*s %*s %*s %4095s", point) == 1 && *point == '/' &&
		    !strchr(point, '\\')) {
			strcpy(path, point);
			return true;
		}
		text += n + !!text[n];
	}
	return false;
}

bool cgroup_has_word(const char *text, const char *word)
{
	size_t n, len = strlen(word);

	for (; *text; text += n + !!text[n]) {
		n = strcspn(text, " \n");
		if (n == len && !memcmp(text, word, n))
			return true;
	}
	return false;
}

/* ---- files ----------------------------------------------------------------------------- */

static int put(int dir, const char *file, const char *value)
{
	int fd = openat(dir, file, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		ret = -errno;
	if (fd >= 0)
		close(fd);
	return ret;
}

/* A text, as much of it as there is room for. */
static int get(int dir, const char *file, char *text, size_t size)
{
	int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, size - 1);
	int ret = n < 0 ? -errno : 0;

	text[n < 0 ? 0 : n] = 0;
	if (fd >= 0)
		close(fd);
	return ret;
}

static bool populated(int dir)
{
	char text[256];

	/* "populated 1": below it, too. One that cannot be read is left alone. */
	return get(dir, "cgroup.events", text, sizeof(text)) || !strstr(text, "populated 0");
}

static int open_directory(int dir, const char *path)
{
	return openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* ---- the parent ------------------------------------------------------------------------- */

static bool may_write(const char *path, const char *file)
{
	char full[PATH_MAX + 32];

	snprintf(full, sizeof(full), "%s/%s", path, file);
	return !access(full, W_OK);
}

/*
 * path: the mount point, and own below it, which becomes the uppermost group on that way
 * that this user may use. False: there is none.
 */
static bool find_delegated(char path[PATH_MAX], const char *own)
{
	size_t at = strlen(path);

	for (;;) {
		if (may_write(path, "cgroup.procs") && may_write(path, "cgroup.subtree_control") &&
		    may_write(path, ""))
			return true;
		own += strspn(own, "/");
		if (!*own)
			return false;
		at += snprintf(path + at, PATH_MAX - at, "/%.*s", (int)strcspn(own, "/"), own);
		if (at >= PATH_MAX)
			return false;
		own += strcspn(own, "/");
	}
}

/* Those below dir get what is needed, and io if it can be had. */
static int enable(int dir, const char *path, char *err, size_t errlen)
{
	char there[256], word[16];
	size_t i;
	int ret;

	get(dir, "cgroup.controllers", there, sizeof(there));
	for (i = 0; i < sizeof(controllers) / sizeof(controllers[0]); i++) {
		if (!cgroup_has_word(there, controllers[i])) {
			if (i >= NEEDED)
				continue;
			snprintf(err, errlen, "limits: %s has no controller %s; let systemd delegate cpu, memory, pids, io (`systemctl edit user@.service`: [Service] Delegate=yes) or boot with cgroup v2 alone, or give --no-limits",
				 path, controllers[i]);
			return -ENOTSUP;
		}
		snprintf(word, sizeof(word), "+%s", controllers[i]);
		ret = put(dir, "cgroup.subtree_control", word);
		if (ret && i < NEEDED) {
			snprintf(err, errlen, "limits: %s/cgroup.subtree_control: %s for %s; %s, or give --no-limits",
				 path, word, strerror(-ret), ret == -EBUSY ?
				 "a group with processes of its own can have none below it: start cleave by `systemd-run --user --scope`" :
				 "use sudo");
			return ret;
		}
	}
	return 0;
}

/* Where this user's groups go. */
static int choose(char path[PATH_MAX], char *err, size_t errlen)
{
	char *text = malloc(TEXT), own[PATH_MAX] = "";
	bool mounted = false;

	if (text && !get(AT_FDCWD, "/proc/self/mountinfo", text, TEXT))
		mounted = cgroup_mount(text, path);
	if (mounted && !get(AT_FDCWD, "/proc/self/cgroup", text, TEXT))
		cgroup_own(text, own);
	free(text);
	if (!mounted) {
		snprintf(err, errlen, "limits: no cgroup v2 is mounted; `mount -t cgroup2 none /sys/fs/cgroup`, or give --no-limits");
		return -ENOENT;
	}
	if (!geteuid() || find_delegated(path, own))
		return 0;
	snprintf(err, errlen, "limits: this process's cgroup, %s, is not delegated to its user; start it by `systemd-run --user --scope cleave ...`, or use sudo, or give --no-limits",
		 own);
	return -EPERM;
}

int cgroup_open(struct cgroup *g, char *err, size_t errlen)
{
	int above, ret;

	g->parent = g->fd = -1;
	ret = choose(g->path, err, errlen);
	if (ret)
		return ret;
	above = open_directory(AT_FDCWD, g->path);
	ret = above < 0 ? -errno : 0;
	if (ret)
		goto failed;
	ret = enable(above, g->path, err, errlen);
	if (ret) {
		close(above);
		return ret;
	}
	/* Who may open it may hold its lock. */
	if (mkdirat(above, CGROUP_NAME, 0700) && errno != EEXIST)
		ret = -errno;
	strncat(g->path, "/" CGROUP_NAME, PATH_MAX - strlen(g->path) - 1);
	if (!ret)
		g->parent = open_directory(above, CGROUP_NAME);
	if (!ret && (g->parent < 0 || fchmod(g->parent, 0700)))
		ret = -errno;
	close(above);
	if (ret)
		goto failed;
	ret = enable(g->parent, g->path, err, errlen);
	if (ret)
		cgroup_close(g);
	return ret;
failed:
	snprintf(err, errlen, "limits: %s: %s; use sudo, or give --no-limits", g->path, strerror(-ret));
	return ret;
}

void cgroup_close(struct cgroup *g)
{
	if (g->fd >= 0)
		close(g->fd);
	if (g->parent >= 0)
		close(g->parent);
	g->parent = g->fd = -1;
}

/* ---- one group ---------------------------------------------------------------------------- */

int cgroup_remove(const struct cgroup *g, const char *name)
{
	return unlinkat(g->parent, name, AT_REMOVEDIR) ? -errno : 0;
}

/* Under the lock that cgroup_enter() has between making one and being in it. */
void cgroup_sweep(const struct cgroup *g)
{
	int fd = open_directory(g->parent, "."), child;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;
	bool locked;

	if (!dir) {
		if (fd >= 0)
			close(fd);
		return;
	}
	locked = !flock(g->parent, LOCK_EX);
	while (locked && (e = readdir(dir))) {
		if (*e->d_name == '.')
			continue;
		child = open_directory(g->parent, e->d_name);
		if (child < 0)
			continue;
		if (!populated(child))
			cgroup_remove(g, e->d_name);
		close(child);
	}
	flock(g->parent, LOCK_UN);
	closedir(dir);
}

unsigned long cgroup_sold(const struct cgroup *g)
{
	int fd = open_directory(g->parent, ".");
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	unsigned long sum = 0;
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		char file[NAME_MAX + 16], text[32];

		snprintf(file, sizeof(file), "%s/cpu.weight", e->d_name);
		if (*e->d_name != '.' && !get(g->parent, file, text, sizeof(text)))
			sum += strtoul(text, NULL, 10);
	}
	if (dir)
		closedir(dir);
	else if (fd >= 0)
		close(fd);
	return sum;
}

/* Until the lock is let go nobody takes it for one that is left over. */
static int make(struct cgroup *g, const char *name)
{
	int ret;

	if (mkdirat(g->parent, name, 0755)) {
		if (errno != EEXIST)
			return -errno;
		ret = cgroup_remove(g, name);
		if (ret && ret != -ENOENT)
			return ret;
		if (mkdirat(g->parent, name, 0755))
			return -errno;
	}
	g->fd = open_directory(g->parent, name);
	return g->fd < 0 ? -errno : 0;
}

static int limit(int dir, const struct cgroup_limits *l, const char **file)
{
	char value[6][96];
	const struct {
		const char *file;
		char *value;
		bool needed;
	} all[] = {
		{ "cpu.weight", value[0], true }, { "cpu.max", value[1], true },
		{ "cpu.max.burst", value[2], false },	/* since Linux 5.14 */
		{ "memory.max", value[3], true }, { "pids.max", value[4], true },
	};
	unsigned int i;
	int ret;

	snprintf(value[0], sizeof(value[0]), "%u", l->weight);
	snprintf(value[1], sizeof(value[0]), "%llu %u", (unsigned long long)l->quota, CGROUP_PERIOD);
	snprintf(value[2], sizeof(value[0]), "%llu", (unsigned long long)l->burst);
	snprintf(value[3], sizeof(value[0]), "%llu", (unsigned long long)l->memory);
	snprintf(value[4], sizeof(value[0]), "%u", l->pids);
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		*file = all[i].file;
		ret = put(dir, *file, all[i].value);
		if (ret && all[i].needed)
			return ret;
	}
	/* What it can limit: not all file systems have a disk of their own. The tool does, too. */
	for (i = 0; l->disk_rate && i < l->disks; i++) {
		snprintf(value[5], sizeof(value[0]), "%u:%u rbps=%llu wbps=%llu", major(l->disk[i]),
			 minor(l->disk[i]), (unsigned long long)l->disk_rate,
			 (unsigned long long)l->disk_rate);
		put(dir, "io.max", value[5]);
	}
	return 0;
}

/*
 * All of them together, among what else its user has: ten times what they were promised, so
 * that what is beside them, at its 100, does not starve. The least that there is, is enough.
 */
static void weigh(const struct cgroup *g)
{
	unsigned long weight = 10 * cgroup_sold(g);
	char value[32];

	snprintf(value, sizeof(value), "%lu", weight < 100 ? 100 : weight > 10000 ? 10000 : weight);
	put(g->parent, "cpu.weight", value);
}

int cgroup_enter(struct cgroup *g, const char *name, const struct cgroup_limits *l, char *err, size_t errlen)
{
	const char *file = "";
	int ret;

	while (flock(g->parent, LOCK_EX))
		if (errno != EINTR)
			break;
	ret = make(g, name);
	if (ret == -EBUSY || ret == -ENOTEMPTY) {
		snprintf(err, errlen, "limits: %s/%s: has processes of another instance of that name; end them, or give another name",
			 g->path, name);
		flock(g->parent, LOCK_UN);
		return ret;
	}
	if (!ret)
		ret = limit(g->fd, l, &file);
	if (!ret) {
		weigh(g);
		file = "cgroup.procs";
		ret = put(g->fd, file, "0");
	}
	if (ret) {
		snprintf(err, errlen, "limits: %s/%s/%s: %s; use sudo, or give --no-limits", g->path, name, file,
			 strerror(-ret));
		cgroup_remove(g, name);
	}
	flock(g->parent, LOCK_UN);
	return ret;
}

/* ---- disks --------------------------------------------------------------------------------- */

dev_t cgroup_disk(const char *path)
{
	char file[64], text[32];
	unsigned int major_nr, minor_nr;
	struct stat st;
	dev_t dev;

	if (stat(path, &st))
		return 0;
	dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	/* A partition is limited by its disk. */
	snprintf(file, sizeof(file), "/sys/dev/block/%u:%u/partition", major(dev), minor(dev));
	if (!access(file, F_OK)) {
		snprintf(file, sizeof(file), "/sys/dev/block/%u:%u/../dev", major(dev), minor(dev));
		if (get(AT_FDCWD, file, text, sizeof(text)) ||
		    sscanf(text, "%u:%u", &major_nr, &minor_nr) != 2)
			return 0;
		return makedev(major_nr, minor_nr);
	}
	return major(dev) ? dev : 0;
}
