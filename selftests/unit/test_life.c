// SPDX-License-Identifier: GPL-2.0
/*
 * `cleave stop`, `kill`, `pause` and `resume` with guests that are processes of
 * a few lines: some heed their button, some do not, some do not even answer.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "unit.h"
#include "cmd/life.c"
#include "cmd/ps.c"

static char home[64], said[4096];

void complain(const char *fmt, ...)
{
	size_t n = strlen(said);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(said + n, sizeof(said) - n, fmt, ap);
	va_end(ap);
	n = strlen(said);
	snprintf(said + n, sizeof(said) - n, "\n");
}

/* ---- guests --------------------------------------------------------------------------- */

enum {
	HEEDS		= 1,	/* so many presses later; 0: never */
	DIES		= 0x10,	/* by a crash, instead */
	STUBBORN	= 0x20,	/* does not end by a request */
	MUTE		= 0x40,	/* answers nothing */
	WORDLESS	= 0x80,	/* ends without telling how */
};

static bool has(const char *line, const char *command)
{
	return strstr(line, command);
}

static void put(int fd, const char *text)
{
	if (write(fd, text, strlen(text)) < 0)
		_exit(1);
}

/* Up to the newline. */
static bool take(int fd, char *line, size_t size)
{
	size_t n = 0;

	while (n < size - 1 && read(fd, line + n, 1) == 1)
		if (line[n++] == '\n')
			return true;
	return false;
}

static void guest_ends(int waits, const char *outcome, int kind)
{
	char text[128];

	snprintf(text, sizeof(text), "{\"outcome\":\"%s\"}\n", outcome);
	if (waits >= 0 && !(kind & WORDLESS))
		put(waits, text);
	_exit(0);
}

/* One connection after the other, but for the one that waits. */
static void guest_main(struct runtime *r, const char *name, int kind)
{
	int listener = runtime_claim(r, name), waits = -1, presses = kind & 15;
	bool paused = true;

	fcntl(listener, F_SETFL, 0);
	if (kind & MUTE)
		for (;;)
			pause();
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		char line[256] = "";

		if (!take(fd, line, sizeof(line)))
			goto next;
		if (has(line, "\"wait\"")) {
			waits = fd;
			continue;
		}
		if (has(line, "\"kill\"") && !(kind & STUBBORN)) {
			put(fd, "{\"state\":\"ending\"}\n");
			guest_ends(waits, "killed", kind);
		}
		if (has(line, "\"powerbutton\"") && paused) {
			put(fd, "{\"error\":\"it is paused\"}\n");
		} else if (has(line, "\"powerbutton\"")) {
			put(fd, "{}\n");
			if (presses && !--presses)
				guest_ends(waits, kind & DIES ? "crash" : "off", kind);
		} else if (has(line, "\"status\"")) {
			put(fd, "{\"name\":\"x\",\"state\":\"running\",\"cpus\":2,\"memory\":16777216}\n");
		} else {
			paused = has(line, "\"pause\"");
			put(fd, "{}\n");
		}
next:
		close(fd);
	}
}

static pid_t guest(const char *name, int kind)
{
	struct runtime r;
	pid_t pid = fork();
	int fd, i;

	if (!pid) {
		if (runtime_open(&r, true, said, sizeof(said)))
			_exit(1);
		guest_main(&r, name, kind);
	}
	for (i = 0; i < 1000; i++, usleep(1000)) {
		if (runtime_open(&r, false, said, sizeof(said)))
			continue;
		fd = runtime_connect(&r, name, 0);
		runtime_close(&r);
		if (fd < 0)
			continue;
		close(fd);
		break;
	}
	return pid;
}

/* It has ended, by that signal, or by itself. */
static bool ended(pid_t pid, int sig)
{
	int status;

	return waitpid(pid, &status, WNOHANG) == pid &&
	       (sig ? WIFSIGNALED(status) && WTERMSIG(status) == sig : WIFEXITED(status));
}

static void begin(void)
{
	strcpy(home, "/tmp/cleave-life-XXXXXX");
	if (!mkdtemp(home))
		abort();
	setenv("XDG_RUNTIME_DIR", home, 1);
}

static void end(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", home);
	if (system(command))
		abort();
}

static char printed[8192];

/* The command's exit status; what it printed, and said. */
static int command(int (*fn)(int argc, char **argv), int argc, char **argv)
{
	int keep = dup(STDOUT_FILENO), file = memfd_create("out", MFD_CLOEXEC), status;

	fflush(stdout);
	dup2(file, STDOUT_FILENO);
	said[0] = 0;
	status = fn(argc, argv);
	fflush(stdout);
	dup2(keep, STDOUT_FILENO);
	close(keep);
	memset(printed, 0, sizeof(printed));
	if (pread(file, printed, sizeof(printed) - 1, 0) < 0)
		abort();
	close(file);
	return status;
}

#define DO(fn, ...)							\
	({								\
		char *argv[] = { __VA_ARGS__, NULL };			\
									\
		command(fn, ARRAY_SIZE(argv) - 1, argv);		\
	})

static bool says(const char *text)
{
	if (strstr(said, text))
		return true;
	printf("# not '%s' but: %s\n", text, said);
	return false;
}

static bool prints(const char *text)
{
	if (strstr(printed, text))
		return true;
	printf("# not '%s' but: %.200s\n", text, printed);
	return false;
}

/* ---- tests ------------------------------------------------------------------------------ */

UNIT_TEST(nobody)
{
	begin();
	CHECK_EQ(DO(cmd_life, "stop", "--all"), 0);
	CHECK_EQ(DO(cmd_ps, "ps", "--json"), 0);
	CHECK(prints("[\n]"));
	CHECK_EQ(DO(cmd_life, "kill", "a", "--json"), STATUS_NO_GUEST);
	CHECK(says("a: no such guest") && prints("\"status\":5"));
	CHECK_EQ(DO(cmd_ps, "ps", "a"), STATUS_NO_GUEST);
	CHECK_EQ(DO(cmd_life, "pause", "a"), STATUS_NO_GUEST);
	CHECK_EQ(DO(cmd_life, "resume", "../a"), STATUS_USAGE);
	end();
}

UNIT_TEST(pause_and_resume)
{
	pid_t a, b;

	begin();
	a = guest("a", HEEDS);
	b = guest("b", HEEDS);
	CHECK_EQ(DO(cmd_life, "pause", "a", "nobody", "b", "--json"), STATUS_NO_GUEST);
	CHECK(says("nobody: no such guest; ") && says("knows a, b"));
	CHECK(prints("\"state\":\"paused\"") && prints("\"error\":"));
	CHECK_EQ(DO(cmd_life, "resume", "--all"), 0);
	CHECK(!*printed && !*said);
	CHECK_EQ(DO(cmd_life, "kill", "a", "b", "--json"), 0);
	CHECK(prints("\"state\":\"killed\""));
	CHECK(ended(a, 0) && ended(b, 0));
	end();
}

/* Together, so that the slowest of them says how long it takes. */
UNIT_TEST(stop_each_kind)
{
	pid_t heeds, twice, never, dies, wordless;

	begin();
	heeds = guest("a-heeds", HEEDS);
	twice = guest("b-twice", HEEDS + 1);
	CHECK_EQ(DO(cmd_life, "stop", "--all", "--json"), 0);
	CHECK(prints("\"state\":\"off\"") && !strstr(printed, "killed") && !*said);
	CHECK(ended(heeds, 0) && ended(twice, 0));

	never = guest("c-never", 0);
	dies = guest("d-dies", HEEDS | DIES);
	wordless = guest("e-wordless", HEEDS | WORDLESS);
	CHECK_EQ(DO(cmd_life, "stop", "d-dies", "e-wordless", "c-never", "-t", "1"), STATUS_CRASH);
	CHECK(says("d-dies: the guest died; `cleave explain d-dies`"));
	CHECK(says("e-wordless: its process ended without a word"));
	CHECK(says("c-never: did not power off in 1 s, and was killed"));
	CHECK(ended(never, 0) && ended(dies, 0) && ended(wordless, 0));
	never = guest("c-never", 0);
	CHECK_EQ(DO(cmd_life, "stop", "c-never", "-t", "0"), STATUS_KILLED);
	CHECK(ended(never, 0));
	end();
}

/* Neither a process that does not end when asked, nor one that is stopped. */
UNIT_TEST(kill_those_that_resist)
{
	pid_t stubborn, mute, stopped;

	begin();
	stubborn = guest("stubborn", STUBBORN);
	mute = guest("mute", MUTE);
	stopped = guest("stopped", HEEDS);
	kill(stopped, SIGSTOP);
	CHECK_EQ(DO(cmd_ps, "ps", "--json"), 0);
	CHECK(prints("\"state\":\"silent\"") && prints("\"state\":\"running\""));
	CHECK_EQ(DO(cmd_ps, "ps"), 0);
	CHECK(prints("mute ") && prints(" silent ") && prints("0.0s    2       16  -        -\n"));
	CHECK_EQ(DO(cmd_life, "kill", "stubborn", "mute", "stopped"), 0);
	CHECK(ended(stubborn, SIGKILL) && ended(mute, SIGKILL) && ended(stopped, SIGKILL));
	/* What they left is recognised. */
	CHECK_EQ(DO(cmd_ps, "ps", "mute", "--json"), 0);
	CHECK(prints("\"state\":\"gone\"") && !strstr(printed, "stopped"));
	CHECK_EQ(DO(cmd_life, "stop", "mute"), STATUS_NO_GUEST);
	CHECK(says("mute: its process was killed"));
	CHECK_EQ(DO(cmd_life, "stop", "--all"), 0);
	end();
}

UNIT_TEST(ps_of_a_dead_one)
{
	struct runtime r;

	begin();
	REQUIRE(!runtime_open(&r, true, said, sizeof(said)));
	CHECK_EQ(runtime_save(&r, "web-1", "{}"), 0);
	CHECK_EQ(DO(cmd_ps, "ps", "--json"), 0);
	CHECK(prints("\"state\":\"dead\""));
	CHECK_EQ(DO(cmd_life, "kill", "web-1"), STATUS_NO_GUEST);
	CHECK(says("`cleave explain web-1` tells why"));
	runtime_close(&r);
	end();
}

UNIT_TEST(durations)
{
	char text[32];

	CHECK(!strcmp(duration(0, text), "0.0s"));
	CHECK(!strcmp(duration(59999, text), "59.9s"));
	CHECK(!strcmp(duration(60000, text), "1m00s"));
	CHECK(!strcmp(duration(3599999, text), "59m59s"));
	CHECK(!strcmp(duration(3600000, text), "1h00m"));
	CHECK(!strcmp(duration(86400000ULL * 400 + 3600000, text), "400d01h"));
}

UNIT_TEST(usage)
{
	static char *const bad[][5] = {
		{ "stop" }, { "kill", "--all", "a" }, { "stop", "a", "-t" }, { "stop", "a", "-t", "x" },
		{ "stop", "a", "--timeout=-1" }, { "stop", "a", "-t", "86401" }, { "kill", "a", "-t", "1" },
		{ "pause", "" }, { "resume", "a b" }, { "kill", "--frobnicate" }, { "stop", ".a" },
	};
	struct life_args a;
	char err[512];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		int argc = 0;
		char *argv[6] = { NULL };

		for (; argc < 5 && bad[i][argc]; argc++)
			argv[argc] = bad[i][argc];
		err[0] = 0;
		CHECK_EQ(args_life(argc, argv, &a, err, sizeof(err)), -EINVAL);
		CHECK(strchr(err, ';') || strchr(err, '?'));
	}
	{
		char *argv[] = { "stop", "a", "-t", "7", "b", "--json", NULL };

		CHECK_EQ(args_life(6, argv, &a, err, sizeof(err)), 0);
		CHECK(a.count == 2 && !strcmp(a.names[0], "a") && !strcmp(a.names[1], "b"));
		CHECK(a.timeout == 7 && a.json && !a.all);
	}
	{
		char *argv[] = { "ps", "--all", NULL };

		CHECK_EQ(args_life(2, argv, &a, err, sizeof(err)), -EINVAL);
	}
}
