// SPDX-License-Identifier: GPL-2.0
/*
 * A guest whose process is in the background: a child does all the work, and
 * the process that was started waits until the guest runs, or could not start.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hub.h"
#include "machine.h"

static int ready = -1;		/* the child's end of the pipe */
static FILE *to_log;

/* In the parent: the child's word that the guest runs, or how the child ended. */
static int wait_for(pid_t child, int fd)
{
	int status;
	ssize_t n;
	char byte;

	do {
		n = read(fd, &byte, 1);
	} while (n < 0 && errno == EINTR);
	if (n == 1)
		return 0;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return STATUS_ERROR;
	if (!WIFSIGNALED(status))
		return WEXITSTATUS(status);
	complain("its process was ended by signal %d, %s, before the guest ran", WTERMSIG(status),
		 strsignal(WTERMSIG(status)));
	return STATUS_SIGNAL + WTERMSIG(status);
}

bool detach_begin(int *status)
{
	int fd[2];
	pid_t child;

	*status = STATUS_ERROR;
	if (pipe2(fd, O_CLOEXEC)) {
		complain("--detach: a pipe: %s; see ulimit -n", strerror(errno));
		return true;
	}
	child = fork();
	if (child < 0) {
		complain("--detach: a process: %s; see ulimit -u", strerror(errno));
	} else if (!child) {
		close(fd[0]);
		ready = fd[1];
		setsid();
		return false;
	} else {
		close(fd[1]);
		*status = wait_for(child, fd[0]);
	}
	return true;
}

int detach_input(struct machine *m)
{
	if (dup2(m->hub->input[0], STDIN_FILENO) >= 0)
		return 0;
	complain("--detach: standard input: %s; try again", strerror(errno));
	return -errno;
}

void detach_done(struct machine *m)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char byte = 0;

	complain("%s: runs, pid %d; `cleave console %s` attaches to it", m->args->name, getpid(),
		 m->args->name);
	to_log = hub_stream(m->hub);
	if (to_log)
		stderr = to_log;
	if (null >= 0) {
		dup2(null, STDOUT_FILENO);
		dup2(null, STDERR_FILENO);
		close(null);
	}
	if (write(ready, &byte, 1) < 0)
		complain("nobody waits for it any more");
	close(ready);
	ready = -1;
}

void detach_end(struct machine *m)
{
	if (!to_log)
		return;
	fflush(to_log);
	/* Nothing is said from here on. */
	stderr = fopen("/dev/null", "we") ?: stdout;
	fclose(to_log);
	to_log = NULL;
}
