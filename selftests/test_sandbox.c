// SPDX-License-Identifier: GPL-2.0
/*
 * The tool's sandbox where the kernel has all of it: files by Landlock, and a device's thread among
 * others, which opens a file. The filters themselves are in unit/test_sandbox.c.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "kselftest_harness.h"
#include "host.h"
#include "../userspace-tool/cmd/landlock.c"
#include "../userspace-tool/cmd/seccomp.c"

FIXTURE(sandbox) {
	char path[64];
	int dir;
};

FIXTURE_SETUP(sandbox)
{
	if (!seccomp_there() || syscall(__NR_landlock_create_ruleset, NULL, 0, 1) < 0)
		SKIP_SETUP("this kernel has no seccomp, or no Landlock");
	strcpy(self->path, "/tmp/sandbox-XXXXXX");
	ASSERT_NE(NULL, mkdtemp(self->path));
	self->dir = open(self->path, O_RDONLY | O_DIRECTORY);
	ASSERT_GE(self->dir, 0);
}

FIXTURE_TEARDOWN(sandbox)
{
	close(self->dir);
	rmdir(self->path);
}

/* What is open stays open; of the rest the directory is left. */
TEST_F(sandbox, files)
{
	int open_before = open("/proc/self/status", O_RDONLY), fd, status;
	char c;
	pid_t pid = fork();

	if (!pid) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || landlock_enter(&self->dir, 1))
			_exit(1);
		if (open("/proc/self/status", O_RDONLY) >= 0 || errno != EACCES)
			_exit(2);
		if (open("/dev/null", O_RDWR) < 0 || read(open_before, &c, 1) != 1)
			_exit(3);
		fd = openat(self->dir, "N.json.new", O_WRONLY | O_CREAT | O_EXCL, 0600);
		if (fd < 0 || write(fd, "{}", 2) != 2 || renameat(self->dir, "N.json.new", self->dir, "N.json") ||
		    unlinkat(self->dir, "N.json", 0))
			_exit(4);
		if (!mkdirat(self->dir, "d", 0700) || !symlinkat("/", self->dir, "s") || !mknod("/tmp/n", S_IFIFO, 0))
			_exit(5);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_TRUE(WIFEXITED(status));
	EXPECT_EQ(0, WEXITSTATUS(status));
	close(open_before);
}

static void *device_thread(void *arg)
{
	if (seccomp_enter(SANDBOX_DEVICE, false))
		_exit(6);
	*(int *)arg = open("/etc/passwd", O_RDONLY);
	_exit(7);
}

static int err_fd;

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	char text[512];

	if (write(err_fd, text, seccomp_tell(info, "web-1", text, sizeof(text))) < 0)
		_exit(8);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* The whole process ends, and says of what. */
TEST_F(sandbox, a_device_that_opens_a_file)
{
	struct sigaction die = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };
	int err[2], status, fd;
	char text[512] = "";
	pthread_t thread;
	pid_t pid;

	ASSERT_EQ(0, pipe(err));
	pid = fork();
	if (!pid) {
		err_fd = err[1];
		sigaction(SIGSYS, &die, NULL);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		pthread_create(&thread, NULL, device_thread, &fd);
		pthread_join(thread, NULL);
		_exit(9);
	}
	close(err[1]);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_TRUE(WIFSIGNALED(status)) TH_LOG("status %d", WEXITSTATUS(status));
	EXPECT_EQ(SIGSYS, WTERMSIG(status));
	EXPECT_LT(0, read(err[0], text, sizeof(text) - 1));
	EXPECT_NE(NULL, strstr(text, "cleave: web-1: a device thread made system call 257 (openat), which the sandbox forbids"))
		TH_LOG("%s", text);
	close(err[0]);
}

TEST_HARNESS_MAIN
