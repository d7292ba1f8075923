// SPDX-License-Identifier: GPL-2.0
/* A guest's process goes into a cgroup of its own, by --slice. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../launch/cgroup.h"
#include "cmd.h"

/* As io.max takes it: each disk once. */
static void add_disk(struct cgroup_limits *l, const char *path)
{
	dev_t disk = *path ? cgroup_disk(path) : 0;
	unsigned int i;

	for (i = 0; i < l->disks && l->disk[i] != disk; i++)
		;
	if (disk && i == l->disks && i < CGROUP_DISKS)
		l->disk[l->disks++] = disk;
}

/* An overlay that is not there yet will be on the disk that its directory is on. */
static void add_overlay(struct cgroup_limits *l, const char *path)
{
	char dir[PATH_MAX];
	char *slash;

	if (access(path, F_OK) == 0) {
		add_disk(l, path);
		return;
	}
	snprintf(dir, sizeof(dir), "%s", path);
	slash = strrchr(dir, '/');
	if (slash)
		slash[slash == dir] = 0;
	add_disk(l, slash ? dir : ".");
}

static void describe(const struct run_args *a, struct cgroup_limits *l)
{
	unsigned int i;

	cgroup_limits(l, a->cpus, a->memory, a->slice.share, a->slice.burst);
	l->disk_rate = a->slice.disk_rate;
	for (i = 0; i < a->virtio.disks; i++) {
		add_disk(l, a->virtio.disk[i].path);
		if (a->virtio.disk[i].overlay[0])
			add_overlay(l, a->virtio.disk[i].overlay);
	}
}

/* More than there is: each still has its part, but not the share that it was promised. */
static void oversold(const struct cgroup *g)
{
	unsigned long sold = cgroup_sold(g), there = 100UL * sysconf(_SC_NPROCESSORS_ONLN);

	if (sold > there)
		complain("limits: shares of %lu%% of a CPU are promised, the host has %lu%%: where all are busy each gets less, in proportion",
			 sold, there);
}

int slice_enter(const struct run_args *a)
{
	struct cgroup_limits limits;
	char err[PATH_MAX + 512];
	struct cgroup g;
	int ret, tell;

	if (!a->slice.there || a->no_limits)
		return 0;
	describe(a, &limits);
	ret = cgroup_open(&g, err, sizeof(err));
	if (ret) {
		complain("%s", err);
		return ret;
	}
	cgroup_sweep(&g);
	ret = cgroup_watch_begin(&g, a->name, &tell);
	if (ret) {
		complain("limits: a process: %s; see ulimit -u and ulimit -n", strerror(-ret));
	} else {
		ret = cgroup_enter(&g, a->name, &limits, err, sizeof(err));
		cgroup_watch(tell);
		if (ret)
			complain("%s", err);
		else
			oversold(&g);
	}
	cgroup_close(&g);
	return ret;
}
