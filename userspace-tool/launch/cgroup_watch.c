// SPDX-License-Identifier: GPL-2.0
/* Who removes a group when all of its processes have ended, by themselves or not. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cgroup.h"

/* Standard files are nobody's, and who waits for others to be closed waits for the guest alone. */
static void alone(const int *keep, unsigned int n)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	long fd, max = sysconf(_SC_OPEN_MAX);
	unsigned int i;

	for (fd = 0; fd < 3; fd++)
		if (null >= 0)
			dup2(null, fd);
	for (fd = 3; fd < (max < 65536 ? max : 65536); fd++) {
		for (i = 0; i < n && keep[i] != fd; i++)
			;
		if (i == n)
			close(fd);
	}
	setsid();
	if (chdir("/"))
		return;
	prctl(PR_SET_NAME, "cleave-slice");
}

/* parent is a descriptor of this process's own: its lock is not the other's. */
static void watch(int parent, const char *name, int told)
{
	char file[NAME_MAX + 32], text[256], byte;
	struct pollfd fd = { .events = POLLPRI };
	ssize_t n;

	/* Or it is closed, as the process has ended. */
	while (read(told, &byte, 1) < 0 && errno == EINTR)
		;
	snprintf(file, sizeof(file), "%s/cgroup.events", name);
	fd.fd = openat(parent, file, O_RDONLY | O_CLOEXEC);
	while (fd.fd >= 0) {
		n = pread(fd.fd, text, sizeof(text) - 1, 0);
		if (n <= 0)
			break;
		text[n] = 0;
		if (strstr(text, "populated 0"))
			break;
		poll(&fd, 1, -1);
	}
	/* The next of that name stays: somebody is in it whenever nobody has the lock. */
	if (!flock(parent, LOCK_EX))
		unlinkat(parent, name, AT_REMOVEDIR);
}

int cgroup_watch_begin(const struct cgroup *g, const char *name, int *tell)
{
	int fd[2], keep[2];
	pid_t child;

	if (pipe2(fd, O_CLOEXEC))
		return -errno;
	child = fork();
	if (child < 0) {
		int ret = -errno;

		close(fd[0]);
		close(fd[1]);
		return ret;
	}
	if (!child) {
		keep[0] = fd[0];
		keep[1] = openat(g->parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		alone(keep, 2);
		if (keep[1] >= 0)
			watch(keep[1], name, fd[0]);
		_exit(0);
	}
	close(fd[0]);
	*tell = fd[1];
	return 0;
}

void cgroup_watch(int tell)
{
	char byte = 0;

	/* That it has ended is no reason to end. */
	if (write(tell, &byte, 1) < 0)
		errno = 0;
	close(tell);
}
