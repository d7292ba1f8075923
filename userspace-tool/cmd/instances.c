// SPDX-License-Identifier: GPL-2.0
/* `cleave instances`, and `cleave delete`. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "doc.h"
#include "launch.h"
#include "launch/cgroup.h"

static void help(bool delete)
{
	if (delete)
		printf("usage: cleave delete NAME... [OPTION]...\n"
		       "Removes instances that are stopped, with their disks.\n\n");
	else
		printf("usage: cleave instances [OPTION]...\n"
		       "Lists the instances that this user has launched and not deleted: name, type,\n"
		       "image, whether it runs, and the port of this host that leads to its SSH.\n\n"
		       "  -j, --json           a JSON array\n");
	printf("  -h, --help           this\n\n"
	       "Exit status: 0; 1 it could not be done; 2 wrong usage%s.\n", delete ? "; 5 no such instance" : "");
}

static int list(bool json)
{
	struct json_object *array = json_object_new_array(), *o;
	char (*names)[STORE_NAME + 1];
	int count = store_list("instances", &names), n;
	struct instance i;

	if (!json)
		printf("%-24s %-12s %-16s %-8s %5s\n", "NAME", "TYPE", "IMAGE", "STATE", "PORT");
	for (n = 0; n < count; n++) {
		const char *state;

		if (instance_at("instances", names[n], &i) || !instance_read(&i))
			continue;
		state = instance_runs(i.name) ? "running" : "stopped";
		o = json_object_new_object();
		doc_text(o, "name", i.name);
		doc_text(o, "type", i.type);
		doc_text(o, "image", i.image);
		doc_text(o, "state", state);
		doc_text(o, "login", i.login);
		doc_count(o, "port", i.port);
		doc_text(o, "path", i.dir);
		json_object_array_add(array, o);
		if (!json)
			printf("%-24s %-12s %-16s %-8s %5u\n", i.name, i.type, i.image, state, i.port);
	}
	if (json)
		puts(json_object_to_json_string_ext(array, JSON_C_TO_STRING_PRETTY |
						    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(array);
	free(names);
	if (!fflush(stdout))
		return 0;
	complain("stdout: %s", strerror(errno));
	return STATUS_ERROR;
}

/* Of one that was killed with who watched over it. -EBUSY: somebody is in it. */
static int remove_cgroup(const char *name)
{
	char err[PATH_MAX + 512];
	struct cgroup g;
	int ret;

	if (cgroup_open(&g, err, sizeof(err)))
		return 0;
	ret = cgroup_remove(&g, name);
	cgroup_close(&g);
	return ret;
}

/* Whoever has its disk, or is about to start it; asked beside its socket, which may be out of sight. */
static bool in_use(const struct instance *i)
{
	char disk[PATH_MAX];
	int fd;
	bool used;

	if (instance_runs(i->name) || remove_cgroup(i->name) == -EBUSY)
		return true;
	if (snprintf(disk, sizeof(disk), "%s/disk.overlay", i->dir) >= PATH_MAX)
		return true;
	fd = open(disk, O_RDONLY | O_CLOEXEC);
	used = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) && errno == EWOULDBLOCK;
	if (fd >= 0)
		close(fd);
	return used;
}

static int delete_one(const char *name)
{
	struct instance i;
	int ret = instance_at("delete", name, &i), lock;

	if (ret)
		return ret;
	if (!instance_read(&i)) {
		complain("delete: %s: no such instance; `cleave instances` lists those there are", name);
		return STATUS_NO_GUEST;
	}
	lock = store_lock(i.dir);
	if (lock == -EBUSY || in_use(&i)) {
		complain("delete: %s: runs, or is being started; `cleave stop %s` first", name, name);
		ret = STATUS_ERROR;
	} else {
		ret = lock < 0 ? lock : store_retire(i.dir);
		if (ret)
			complain("delete: %s: %s", i.dir, strerror(-ret));
		ret = ret ? STATUS_ERROR : 0;
	}
	if (lock >= 0)
		close(lock);
	return ret;
}

int cmd_instances(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { }
	};
	bool delete = !strcmp(argv[0], "delete"), json = false;
	int opt, ret = 0, one;

	while ((opt = getopt_long(argc, argv, delete ? "h" : "jh", options + delete, NULL)) != -1) {
		if (opt == 'h') {
			help(delete);
			return 0;
		}
		if (opt != 'j')
			return STATUS_USAGE;
		json = true;
	}
	if (!delete && optind == argc)
		return list(json);
	if (!delete || optind == argc) {
		complain(delete ? "delete: which? Give NAMEs; `cleave instances` lists them" :
			 "instances: no argument is wanted; `cleave instances --help` tells the options");
		return STATUS_USAGE;
	}
	for (; optind < argc; optind++) {
		one = delete_one(argv[optind]);
		ret = ret ?: one;
	}
	return ret;
}
