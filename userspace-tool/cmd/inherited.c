// SPDX-License-Identifier: GPL-2.0
/*
 * Descriptors that the caller has left open. They may be meant, as /dev/fd/N among the
 * arguments, but only until all files are open: what a guest's process holds for as
 * long as the guest lives is a lock that is not let go, a pipe that does not end, and a
 * file that a device model could write to.
 */
#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include "machine.h"

static int *list;
static size_t count;

void inherited_note(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *e;
	int *more, fd;

	while (dir && (e = readdir(dir))) {
		fd = atoi(e->d_name);
		if (fd <= STDERR_FILENO || fd == dirfd(dir))
			continue;
		more = realloc(list, (count + 1) * sizeof(*list));
		if (!more)
			break;
		list = more;
		list[count++] = fd;
	}
	if (dir)
		closedir(dir);
}

void inherited_close(void)
{
	while (count)
		close(list[--count]);
	free(list);
	list = NULL;
}
