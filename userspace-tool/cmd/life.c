// SPDX-License-Identifier: GPL-2.0
/* `cleave stop`, `kill`, `pause` and `resume`, of one guest or several at once. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

#include "cmd.h"
#include "control.h"
#include "runtime.h"

#define GRACE_MS	3000	/* for a process to end by itself that was asked to */
#define KILL_MS		10000	/* and by SIGKILL, with all the memory it has to give back */
#define PRESS_MS	5000	/* a button that nobody listened to yet is pressed again */

struct target {
	const char *name;
	int fd;			/* stays open: which hears of the end; or -1 */
	int process;		/* pidfd, or -1 */
	bool ended, killed;
	int status;		/* of this command, for it */
	const char *state;	/* that it is in now, or NULL */
	char why[1024];		/* if status is not 0 */
};

struct life {
	const struct life_args *args;
	struct runtime runtime;
	struct target *target;
	unsigned int count;
};

static void help(const char *command)
{
	static const char *const what[][2] = {
		{ "stop",
		  "Presses the power button of guests, again every 5 seconds, and kills those that\n"
		  "have not powered off in time. One that is paused is resumed for it.\n\n"
		  "  -t, --timeout S      seconds until it is killed (default: 60)\n" },
		{ "kill", "Ends guests at once, as pulling the plug does.\n\n" },
		{ "pause",
		  "Makes guests stand still: their CPUs do not run, and no time passes for them, but\n"
		  "on their real-time clock. Returns when that is so.\n\n" },
		{ "resume", "Lets guests go on that `cleave pause` has stopped.\n\n" },
	};
	size_t i;

	printf("usage: cleave %s NAME... [OPTION]...\n", command);
	for (i = 0; i < ARRAY_SIZE(what); i++)
		if (!strcmp(command, what[i][0]))
			printf("%s", what[i][1]);
	printf("  -a, --all            all guests of this user that live\n"
	       "  -j, --json           an array of JSON objects: what became of each\n"
	       "  -h, --help           this\n\n"
	       "Exit status: 0; 1 it could not be done; 2 wrong usage; %u no such guest%s.\n"
	       "Of several guests that of the first which has another than 0.\n",
	       STATUS_NO_GUEST, strcmp(command, "stop") ? "" : "; 3 it died; 6 it was\nkilled");
}

/* ---- several at once ------------------------------------------------------------------ */

static void failed(struct life *l, struct target *t, int error, struct json_object *answer)
{
	t->status = client_why(&l->runtime, t->name, error, answer, t->why, sizeof(t->why));
}

/* One request to each that has not failed yet; each has this time, and all have it together. */
static void ask_each(struct life *l, const char *request, unsigned int ms, const char *state)
{
	struct timespec end = client_until(ms);
	struct json_object *answer;
	int *fd = calloc(l->count + 1, sizeof(*fd)), ret;
	unsigned int i;

	for (i = 0; fd && i < l->count; i++)
		fd[i] = l->target[i].status || l->target[i].ended ? -1 :
			client_begin(&l->runtime, l->target[i].name, request, &end);
	for (i = 0; fd && i < l->count; i++) {
		struct target *t = &l->target[i];

		if (t->status || t->ended)
			continue;
		answer = NULL;
		ret = fd[i] < 0 ? fd[i] : client_end(fd[i], &end, &answer);
		if (ret)
			failed(l, t, ret, answer);
		else
			t->state = state;
		json_object_put(answer);
		if (fd[i] >= 0)
			close(fd[i]);
	}
	free(fd);
}

/* A connection to each and its process; with the request, whose answer comes at the end. */
static void hold_each(struct life *l, const char *request)
{
	struct timespec end = client_until(GRACE_MS);
	unsigned int i;
	pid_t pid;

	for (i = 0; i < l->count; i++) {
		struct target *t = &l->target[i];

		if (t->status)
			continue;
		t->fd = client_begin(&l->runtime, t->name, request, &end);
		if (t->fd < 0) {
			failed(l, t, t->fd, NULL);
			continue;
		}
		t->process = client_process(t->fd, &pid);
		if (t->process < 0) {
			t->status = STATUS_ERROR;
			snprintf(t->why, sizeof(t->why),
				 "its process cannot be seen from here; try where it was started");
		}
	}
}

/* Looks for ms at most; how many have not ended. */
static unsigned int wait_each(struct life *l, unsigned int ms)
{
	struct timespec end = client_until(ms), now;
	struct pollfd *fd = calloc(l->count + 1, sizeof(*fd));
	unsigned int i, left = 0;
	long long wait = ms;

	while (fd) {
		for (i = left = 0; i < l->count; i++) {
			struct target *t = &l->target[i];

			t->ended |= fd[i].fd > 0 && fd[i].revents;
			fd[i] = (struct pollfd){ .fd = t->ended || t->process < 0 ? -1 : t->process,
						 .events = POLLIN };
			left += fd[i].fd >= 0;
		}
		clock_gettime(CLOCK_MONOTONIC, &now);
		wait = (end.tv_sec - now.tv_sec) * 1000LL + (end.tv_nsec - now.tv_nsec) / 1000000;
		if (!left || wait < 0 || (poll(fd, l->count, wait) < 0 && errno != EINTR))
			break;
	}
	free(fd);
	return left;
}

static void kill_each(struct life *l)
{
	unsigned int i;

	ask_each(l, "{\"command\":\"kill\"}", GRACE_MS, NULL);
	for (i = 0; i < l->count; i++) {
		struct target *t = &l->target[i];

		if (t->process < 0 || t->ended)
			continue;
		t->killed = true;
		t->status = 0;	/* whether it answered or not */
	}
	if (wait_each(l, GRACE_MS))
		for (i = 0; i < l->count; i++)
			if (l->target[i].process >= 0 && !l->target[i].ended)
				pidfd_send_signal(l->target[i].process, SIGKILL, NULL, 0);
	wait_each(l, KILL_MS);
	for (i = 0; i < l->count; i++) {
		struct target *t = &l->target[i];

		if (t->killed && t->ended) {
			t->state = "killed";
		} else if (t->killed) {
			t->status = STATUS_ERROR;
			snprintf(t->why, sizeof(t->why),
				 "does not end even by SIGKILL; see `dmesg` for what its process waits for");
		}
	}
}

/* ---- the commands ----------------------------------------------------------------------- */

static void do_kill(struct life *l)
{
	hold_each(l, "{\"command\":\"wait\"}");
	kill_each(l);
}

/* How it ended, which it has told in its last moment. */
static void outcome(struct target *t)
{
	static const char *const known[] = {
		"off", "reset", "ended", "signal", "exit", "crash", "failed", "killed",
	};
	struct timespec now = client_until(0);
	struct json_object *answer = NULL;
	const char *text;
	size_t i;

	t->status = 0;	/* a last button came too late */
	t->state = NULL;
	if (!client_end(t->fd, &now, &answer)) {
		text = doc_get_text(answer, "outcome");
		for (i = 0; text && i < ARRAY_SIZE(known); i++)
			if (!strcmp(text, known[i]))
				t->state = known[i];
	}
	json_object_put(answer);
	if (!t->state) {
		t->state = "gone";
		t->status = STATUS_ERROR;
		snprintf(t->why, sizeof(t->why), "its process ended without a word; see `dmesg` for who killed it");
	} else if (!strcmp(t->state, "crash")) {
		t->status = STATUS_CRASH;
		snprintf(t->why, sizeof(t->why), "the guest died; `cleave explain %s` tells why", t->name);
	}
}

/* Asks each to power off; one that does not answer will not, and is killed as others are. */
static void press_each(struct life *l)
{
	unsigned int i;

	ask_each(l, "{\"command\":\"powerbutton\"}", GRACE_MS, NULL);
	for (i = 0; i < l->count; i++)
		if (l->target[i].process >= 0)
			l->target[i].status = 0;
}

static void do_stop(struct life *l)
{
	uint64_t left = (uint64_t)l->args->timeout * 1000, step;
	unsigned int i;

	hold_each(l, "{\"command\":\"wait\"}");
	ask_each(l, "{\"command\":\"resume\"}", GRACE_MS, NULL);
	do {
		press_each(l);
		step = left < PRESS_MS ? left : PRESS_MS;
		left -= step;
	} while (wait_each(l, step) && left);
	for (i = 0; i < l->count; i++) {
		struct target *t = &l->target[i];

		if (t->ended)
			outcome(t);
	}
	kill_each(l);
	for (i = 0; i < l->count; i++) {
		struct target *t = &l->target[i];

		if (t->killed && t->ended && !t->status) {
			t->status = STATUS_KILLED;
			snprintf(t->why, sizeof(t->why), "did not power off in %u s, and was killed",
				 l->args->timeout);
		}
	}
}

static void do_pause(struct life *l)
{
	/* Longer than the other side waits, so that it is heard why. */
	ask_each(l, "{\"command\":\"pause\"}", CONTROL_TIMEOUT_MS + 2000, "paused");
}

static void do_resume(struct life *l)
{
	ask_each(l, "{\"command\":\"resume\"}", CONTROL_TIMEOUT_MS + 2000, "running");
}

static const struct {
	const char *name;
	void (*fn)(struct life *l);
} commands[] = {
	{ "stop", do_stop },
	{ "kill", do_kill },
	{ "pause", do_pause },
	{ "resume", do_resume },
};

/* ---- which, and what became of them -------------------------------------------------------- */

/* All: those whose socket somebody listens to. */
static int choose(struct life *l)
{
	struct runtime_entry *e = NULL;
	int count = 0, i, fd;

	if (l->args->all)
		count = runtime_entries(&l->runtime, &e);
	l->target = calloc((count > 0 ? count : 0) + l->args->count + 1, sizeof(*l->target));
	if (count < 0 || !l->target) {
		free(e);
		complain("the host is out of memory; free some");
		return STATUS_ERROR;
	}
	for (i = 0; i < count; i++) {
		fd = e[i].socket ? runtime_connect(&l->runtime, e[i].name, 0) : -ENOENT;
		if (fd >= 0)
			close(fd);
		if (fd >= 0 || fd == -EAGAIN)
			l->target[l->count++].name = strdup(e[i].name);
	}
	for (i = 0; i < (int)l->args->count; i++)
		l->target[l->count++].name = strdup(l->args->names[i]);
	for (i = 0; i < (int)l->count; i++) {
		l->target[i].fd = l->target[i].process = -1;
		if (!l->target[i].name) {
			free(e);
			complain("the host is out of memory; free some");
			return STATUS_ERROR;
		}
	}
	free(e);
	return 0;
}

static int tell(struct life *l)
{
	struct json_object *list = json_object_new_array(), *doc;
	unsigned int i;
	int status = 0;

	for (i = 0; i < l->count; i++) {
		struct target *t = &l->target[i];

		doc = json_object_new_object();
		doc_text(doc, "name", t->name);
		if (t->state)
			doc_text(doc, "state", t->state);
		if (t->status) {
			complain("%s: %s", t->name, t->why);
			doc_text(doc, "error", t->why);
		}
		doc_count(doc, "status", t->status);
		json_object_array_add(list, doc);
		status = status ?: t->status;
	}
	if (l->args->json)
		puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PRETTY));
	json_object_put(list);
	if (!fflush(stdout))
		return status;
	complain("stdout: %s", strerror(errno));
	return STATUS_ERROR;
}

static void drop(struct life *l)
{
	unsigned int i;

	for (i = 0; i < l->count; i++) {
		free((char *)l->target[i].name);
		if (l->target[i].fd >= 0)
			close(l->target[i].fd);
		if (l->target[i].process >= 0)
			close(l->target[i].process);
	}
	free(l->target);
	runtime_close(&l->runtime);
}

int cmd_life(int argc, char **argv)
{
	struct life_args args;
	struct life l = { .args = &args };
	char err[PATH_MAX + 256];
	size_t i;
	int ret;

	if (args_life(argc, argv, &args, err, sizeof(err))) {
		complain("%s", err);
		return STATUS_USAGE;
	}
	if (args.help) {
		help(argv[0]);
		return 0;
	}
	ret = client_open(&l.runtime);
	if (ret)
		return ret;
	ret = choose(&l);
	for (i = 0; !ret && i < ARRAY_SIZE(commands); i++)
		if (!strcmp(argv[0], commands[i].name))
			commands[i].fn(&l);
	if (!ret)
		ret = tell(&l);
	drop(&l);
	return ret;
}
