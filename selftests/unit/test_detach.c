// SPDX-License-Identifier: GPL-2.0
/* A process goes to the background: who started it is told when it runs, or why it does not. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "unit.h"
#include "cmd/detach.c"

static char line[512];

void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "%s\n", line);
}

static void no_wake(void *ctx)
{
}

static struct run_args args = { .name = "web-1" };
static struct machine m = { .args = &args };
static struct hub hub;

/* What whoever started it gets, of a guest that does this. stdout and stderr go to a file. */
static int start(void (*guest)(void), char *printed, size_t size)
{
	int file = memfd_create("out", MFD_CLOEXEC), status, result;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid) {
		dup2(file, STDOUT_FILENO);
		dup2(file, STDERR_FILENO);
		if (detach_begin(&status))
			_exit(status);
		guest();
		_exit(99);
	}
	if (waitpid(pid, &result, 0) != pid || !WIFEXITED(result))
		abort();
	memset(printed, 0, size);
	if (pread(file, printed, size - 1, 0) < 0)
		abort();
	close(file);
	return WEXITSTATUS(result);
}

static void fails(void)
{
	complain("no kernel");
	_exit(STATUS_ERROR);
}

static void killed(void)
{
	kill(getpid(), SIGKILL);
}

static char dir_path[64];

/* Writes its word to the log once it is alone, and what it was sent. */
static void runs(void)
{
	int dir = open(dir_path, O_RDONLY | O_DIRECTORY);
	char input[8] = "";

	if (hub_open(&hub, dir, "web-1.log", no_wake, NULL))
		_exit(1);
	m.hub = &hub;
	if (detach_input(&m))
		_exit(1);
	hub_input(&hub, "input", 5);
	detach_done(&m);
	if (read(STDIN_FILENO, input, sizeof(input) - 1) < 0)
		_exit(1);
	complain("said %s, leads %d", input, getsid(0) == getpid());
	printf("to nobody\n");
	detach_end(&m);
	complain("not in the log");
	hub_close(&hub);
	_exit(0);
}

UNIT_TEST(tells_how_it_went)
{
	char printed[512];

	CHECK_EQ(start(fails, printed, sizeof(printed)), STATUS_ERROR);
	CHECK(!strcmp(printed, "no kernel\n"));
	CHECK_EQ(start(killed, printed, sizeof(printed)), STATUS_SIGNAL + SIGKILL);
	CHECK(strstr(printed, "ended by signal 9, Killed, before the guest ran"));
}

UNIT_TEST(runs_in_the_background)
{
	char printed[512], command[128];
	uint8_t text[256] = "";
	struct ring *r = NULL;
	uint64_t pos = 0, lost;
	int dir, i;

	strcpy(dir_path, "/tmp/cleave-detach-XXXXXX");
	if (!mkdtemp(dir_path))
		abort();
	CHECK_EQ(start(runs, printed, sizeof(printed)), 0);
	CHECK(strstr(printed, "web-1: runs, pid ") && strstr(printed, "`cleave console web-1`"));
	CHECK(!strstr(printed, "to nobody") && !strstr(printed, "said"));
	dir = open(dir_path, O_RDONLY | O_DIRECTORY);
	for (i = 0; i < 5000; i++, poll(NULL, 0, 1)) {
		if (ring_load(dir, "web-1.log", &r))
			continue;
		if (r->total)
			break;
		free(r);
		r = NULL;
	}
	REQUIRE(r);
	ring_get(r, &pos, text, sizeof(text) - 1, &lost);
	CHECK(!strcmp((char *)text, "said input, leads 1\n"));
	free(r);
	close(dir);
	snprintf(command, sizeof(command), "rm -rf %s", dir_path);
	if (system(command))
		abort();
}
