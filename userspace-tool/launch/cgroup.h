/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Limits of instances, by cgroup v2: each has a group of its own, beside the others', so
 * that their weights count against one another. Root's are in /cleave; a user's in
 * `cleave` of the uppermost group that is delegated to the user and that this process is
 * below, as a process cannot be moved to another's.
 */
#ifndef CLEAVE_CGROUP_H
#define CLEAVE_CGROUP_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CGROUP_NAME	"cleave"
#define CGROUP_PERIOD	100000		/* us, of cpu.max */
#define CGROUP_DISKS	16

struct cgroup_limits {
	unsigned int weight;		/* cpu.weight */
	uint64_t quota, burst;		/* us of CPU time a period; and saved for later */
	uint64_t memory;		/* bytes, with what the tool and the module need */
	unsigned int pids;
	uint64_t disk_rate;		/* bytes a second; 0: no limit */
	unsigned int disks;
	dev_t disk[CGROUP_DISKS];
};

/* ---- pure --------------------------------------------------------------------------- */

/* share and burst: per cent of each vCPU. Of disks there are none. */
void cgroup_limits(struct cgroup_limits *l, unsigned int vcpus, uint64_t memory, unsigned int share,
		   unsigned int burst);
/* Of /proc/self/cgroup and /proc/self/mountinfo; false: there is no cgroup v2. */
bool cgroup_own(const char *text, char path[PATH_MAX]);
bool cgroup_mount(const char *text, char path[PATH_MAX]);
/* Is word one of those of text, which blanks separate? */
bool cgroup_has_word(const char *text, const char *word);

/* ---- the host's ----------------------------------------------------------------------- */

struct cgroup {
	int parent, fd;			/* directories, or -1 */
	char path[PATH_MAX];		/* the parent's */
	char name[NAME_MAX + 1];
};

/* 0 or -errno with one line in err, which says what to do. */
int cgroup_open(struct cgroup *g, char *err, size_t errlen);
void cgroup_close(struct cgroup *g);
/* Makes the group, and moves this process there; takes the place of one that nobody is in. */
int cgroup_enter(struct cgroup *g, const char *name, const struct cgroup_limits *l, char *err, size_t errlen);
/* Removes it; -EBUSY: somebody is in it. */
int cgroup_remove(const struct cgroup *g, const char *name);
/* Those of which nobody is left: of instances that were killed, with who watched over them. */
void cgroup_sweep(const struct cgroup *g);
/* The sum of all their weights. */
unsigned long cgroup_sold(const struct cgroup *g);
/* The disk that a file is on, or that it is; 0: none that can be limited. */
dev_t cgroup_disk(const char *path);

/*
 * A process of its own that removes the group once nobody is in it any more, however
 * that came. Begun before cgroup_enter(), so that it is not in the group itself, and told of
 * it after. begin: 0 or -errno; the descriptor for the other in *tell.
 */
int cgroup_watch_begin(const struct cgroup *g, const char *name, int *tell);
void cgroup_watch(int tell);

#endif /* CLEAVE_CGROUP_H */
