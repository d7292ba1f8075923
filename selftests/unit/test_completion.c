// SPDX-License-Identifier: GPL-2.0
/* What shells offer behind `cleave`: by the scripts that are installed, and the tool that was built. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "unit.h"

#define SCRIPTS	TOP "/userspace-tool/completion"

static char out[65536];

/* Its output, lines sorted. */
static const char *run(const char *fmt, ...)
{
	char command[4096] = "export PATH=" TOP "/userspace-tool:$PATH LC_ALL=C; exec 2>&1; ";
	size_t n = strlen(command);
	va_list ap;
	FILE *f;

	va_start(ap, fmt);
	vsnprintf(command + n, sizeof(command) - n, fmt, ap);
	va_end(ap);
	f = popen(command, "r");
	if (!f)
		abort();
	n = fread(out, 1, sizeof(out) - 1, f);
	out[n] = 0;
	pclose(f);
	return out;
}

/* What bash offers for these words, the last of which is begun. */
static const char *bash(const char *words)
{
	return run("bash -c '. %s/cleave.bash; COMP_WORDS=(cleave %s); "
		   "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _cleave; "
		   "printf \"%%s\\n\" \"${COMPREPLY[@]}\"' | sort", SCRIPTS, words);
}

static bool is(const char *got, const char *want)
{
	if (!strcmp(got, want))
		return true;
	printf("# got: %s# want: %s", got, want);
	return false;
}

static bool has(const char *got, const char *line)
{
	char text[256];

	snprintf(text, sizeof(text), "%s\n", line);
	for (const char *p = got; p; p = strchr(p, '\n') ? strchr(p, '\n') + 1 : NULL)
		if (!strncmp(p, text, strlen(text)))
			return true;
	printf("# no '%s' in: %s\n", line, got);
	return false;
}

static char commands[32][32];
static unsigned int count;

/* As its source lists them, not as its help is read by the scripts. */
static void find_commands(void)
{
	char *p, *save;

	run("sed -nE 's/^\t\\{ \"([a-z]+)\",\\t+cmd_.*/\\1/p' " TOP "/userspace-tool/cmd/main.c");
	for (p = strtok_r(out, "\n", &save); p && count < 32; p = strtok_r(NULL, "\n", &save))
		snprintf(commands[count++], sizeof(commands[0]), "%s", p);
}

UNIT_TEST(bash_commands)
{
	char want[1024] = "", *sorted;

	find_commands();
	CHECK(count >= 11);
	for (unsigned int i = 0; i < count; i++)
		snprintf(want + strlen(want), sizeof(want) - strlen(want), "%s\n", commands[i]);
	sorted = strdup(run("printf '%s' | sort", want));
	CHECK(is(bash("\"\""), sorted));
	CHECK(is(bash("ex"), "explain\n"));
	CHECK(is(bash("frob"), "\n"));
	free(sorted);
}

/* Each option that a command takes: what --help tells is what it takes, too. */
UNIT_TEST(bash_options)
{
	CHECK(has(bash("run --"), "--kernel") && has(out, "--detach") && has(out, "--config") &&
	      has(out, "--pv") && has(out, "--help"));
	CHECK(is(bash("stop --"), "--all\n--help\n--json\n--timeout\n"));
	CHECK(is(bash("console --r"), "--read-only\n"));
	for (unsigned int i = 0; i < count; i++) {
		char words[64], *list, *p, *save;

		if (!strcmp(commands[i], "bench") || !strcmp(commands[i], "doctor"))
			continue;	/* their options are not listed line by line */
		snprintf(words, sizeof(words), "%s --", commands[i]);
		list = strdup(bash(words));
		CHECK(has(list, "--help"));
		for (p = strtok_r(list, "\n", &save); p; p = strtok_r(NULL, "\n", &save))
			if (strstr(run("cleave %s %s 2>&1 </dev/null", commands[i], p), "no such option"))
				unit_fail("%s %s: %s", commands[i], p, out);
		free(list);
	}
}

UNIT_TEST(bash_values)
{
	CHECK(has(bash("run --device \"\""), "fw-cfg") && has(out, "testdev"));
	CHECK(has(bash("run --pv st"), "steal"));
	CHECK(has(bash("run --kernel /etc/pass"), "/etc/passwd"));
	CHECK(has(bash("run --kernel = /etc/pass"), "/etc/passwd"));
	CHECK(has(bash("run -i /etc/pass"), "/etc/passwd"));
	CHECK(has(bash("run --share /et"), "/etc") && is(bash("run --share /etc/pass"), "\n"));
	CHECK(is(bash("stop --timeout \"\""), "\n"));
	CHECK(is(bash("bench \"\""), "generations\n"));
}

static char home[] = "/tmp/cleave-completion-XXXXXX";

/* Names of guests there are: one that is gone is one. */
static void guest(const char *name)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	char path[80];

	snprintf(path, sizeof(path), "%s/cleave", home);
	if (mkdir(path, 0700) && errno != EEXIST)
		abort();
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/cleave/%s.sock", home, name);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)))
		abort();
	close(fd);
}

UNIT_TEST(names_of_guests)
{
	if (!mkdtemp(home))
		abort();
	setenv("XDG_RUNTIME_DIR", home, 1);
	CHECK(is(bash("stop \"\""), "\n"));
	guest("web-1");
	guest("db-1");
	CHECK(is(bash("stop \"\""), "db-1\nweb-1\n"));
	CHECK(is(bash("stop --timeout 5 w"), "web-1\n"));
	CHECK(is(bash("stop --all w"), "web-1\n"));
	CHECK(is(bash("explain w"), "web-1\n"));
}

UNIT_TEST(fish)
{
#define FISH	"HOME=%s fish -N -c 'source " SCRIPTS "/cleave.fish; complete -C \"cleave %s\"' | cut -f1 | sort"
	CHECK(has(run(FISH, home, "st"), "stop") && has(out, "stat"));
	CHECK(is(run(FISH, home, "stop w"), "web-1\n"));
	CHECK(is(run(FISH, home, "stop --"), "--all\n--help\n--json\n--timeout\n"));
	CHECK(has(run(FISH, home, "run --kernel /etc/passw"), "/etc/passwd"));
}

/* Its functions need a line editor: here they are run with what it would tell them. */
UNIT_TEST(zsh)
{
#define ZSH	"zsh -f -c 'compadd() { shift; print -l -- \"$@\" }; _files() { echo FILES }; "	\
		"words=(cleave %s); CURRENT=$#words; source " SCRIPTS "/_cleave'"
	CHECK(has(run(ZSH, "\"\""), "pause"));
	CHECK(has(run(ZSH, "stop \"\""), "web-1"));
	CHECK(has(run(ZSH, "stop --"), "--timeout"));
	CHECK(is(run(ZSH, "run \"\""), "FILES\n"));
	run("rm -rf %s", home);
}

/* The unit, as `make install` puts it. */
UNIT_TEST(systemd_unit)
{
	run("d=$(mktemp -d); sed 's|@bindir@|" TOP "/userspace-tool|' " TOP
	    "/userspace-tool/systemd/cleave@.service.in >$d/cleave@x.service; "
	    "systemd-analyze verify --man=no --generators=no $d/cleave@x.service; echo $?; rm -r $d");
	CHECK(is(out, "0\n"));
}
