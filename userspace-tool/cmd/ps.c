// SPDX-License-Identifier: GPL-2.0
/* `cleave ps`: the guests of this user, those that are gone and left something too. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "control.h"
#include "render.h"
#include "runtime.h"

#define ANSWER_MS	2000	/* for all together */

static void ps_help(void)
{
	printf("usage: cleave ps [NAME]... [OPTION]...\n"
	       "Lists this user's guests: name, process, state, how long its CPUs have been there,\n"
	       "CPUs, memory, type of instance, and what it has started. States: starting, running,\n"
	       "pausing, paused, ending; silent: its process does not answer; dead: it died,\n"
	       "`cleave explain` tells why; gone: its process was killed, and only its name is left.\n\n"
	       "  -j, --json           an array of JSON objects\n"
	       "  -h, --help           this\n\n"
	       "Exit status: 0; 1 they could not be listed; 2 wrong usage; %u no guest of a NAME.\n",
	       STATUS_NO_GUEST);
}

/* ---- what is known of each --------------------------------------------------------- */

struct asked {
	int fd;			/* or -errno */
	bool wanted;
	struct json_object *doc;
};

static void without_answer(struct asked *a, const struct runtime_entry *e, int error)
{
	pid_t pid = 0;
	int pidfd = a->fd >= 0 ? client_process(a->fd, &pid) : -ESRCH;
	bool there = pidfd >= 0 || error == -ETIMEDOUT || error == -EPROTO || error == -EREMOTEIO;

	if (pidfd >= 0)
		close(pidfd);
	json_object_put(a->doc);
	a->doc = json_object_new_object();
	doc_text(a->doc, "name", e->name);
	doc_text(a->doc, "state", there ? "silent" : e->report ? "dead" : "gone");
	if (there && pid)
		doc_count(a->doc, "pid", pid);
}

/* All at once: one whose process is stopped costs no more time than many. */
static void ask_all(const struct runtime *r, const struct runtime_entry *e, struct asked *a, int count)
{
	struct timespec end = client_until(ANSWER_MS);
	int i, ret;

	for (i = 0; i < count; i++)
		a[i].fd = !a[i].wanted ? -ENOENT : e[i].socket ?
			client_begin(r, e[i].name, "{\"command\":\"status\"}", &end) : -ENOENT;
	for (i = 0; i < count; i++) {
		ret = a[i].fd < 0 ? a[i].fd : client_end(a[i].fd, &end, &a[i].doc);
		if (ret && a[i].wanted)
			without_answer(&a[i], &e[i], ret);
		if (a[i].fd >= 0)
			close(a[i].fd);
	}
}

/* ---- text --------------------------------------------------------------------------- */

static const char *duration(uint64_t ms, char text[32])
{
	uint64_t s = ms / 1000;

	if (s >= 86400)
		snprintf(text, 32, "%" PRIu64 "d%02" PRIu64 "h", s / 86400, s / 3600 % 24);
	else if (s >= 3600)
		snprintf(text, 32, "%" PRIu64 "h%02" PRIu64 "m", s / 3600, s / 60 % 60);
	else if (s >= 60)
		snprintf(text, 32, "%" PRIu64 "m%02" PRIu64 "s", s / 60, s % 60);
	else
		snprintf(text, 32, "%" PRIu64 ".%" PRIu64 "s", s, ms / 100 % 10);
	return text;
}

static void put_count(const char *fmt, uint64_t n)
{
	char text[24] = "-";

	if (n)
		snprintf(text, sizeof(text), "%" PRIu64, n);
	printf(fmt, text);
}

static void put_line(struct json_object *doc)
{
	const char *what = doc_get_text(doc, "what"), *state = doc_get_text(doc, "state"), *type;
	bool answers = doc_get_count(doc, "cpus");
	char text[32];

	render_print(stdout, "%-24s ", doc_get_text(doc, "name"));
	put_count("%7s ", doc_get_count(doc, "pid"));
	render_print(stdout, "%-9s ", state ? state : "?");
	printf("%8s ", answers ? duration(doc_get_count(doc, "uptime_ms"), text) : "-");
	put_count("%4s ", doc_get_count(doc, "cpus"));
	put_count("%8s  ", doc_get_count(doc, "memory") >> 20);
	type = doc_get_text(doc_get_object(doc, "slice"), "type");
	render_print(stdout, "%-8s ", type ? type : "-");
	render_print(stdout, "%s\n", what ? what : "-");
}

static int show(struct asked *a, int count, bool json)
{
	struct json_object *list = json_object_new_array();
	int i;

	if (!json)
		printf("%-24s %7s %-9s %8s %4s %8s  %-8s %s\n", "NAME", "PID", "STATE", "UPTIME", "CPUS",
		       "MEM MiB", "TYPE", "WHAT");
	for (i = 0; i < count; i++) {
		if (!a[i].wanted)
			continue;
		if (json)
			json_object_array_add(list, json_object_get(a[i].doc));
		else
			put_line(a[i].doc);
	}
	if (json)
		puts(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PRETTY |
						    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(list);
	if (!fflush(stdout))
		return 0;
	complain("stdout: %s", strerror(errno));
	return STATUS_ERROR;
}

/* Names that there are none of are told; the others are listed. */
static int choose_entries(struct asked *a, const struct runtime_entry *e, int count, const struct life_args *args)
{
	int i, status = 0;
	unsigned int k;

	for (i = 0; i < count; i++)
		a[i].wanted = !args->count;
	for (k = 0; k < args->count; k++) {
		for (i = 0; i < count && strcmp(e[i].name, args->names[k]); i++)
			;
		if (i < count) {
			a[i].wanted = true;
			continue;
		}
		complain("%s: no such guest; `cleave ps` lists those there are", args->names[k]);
		status = STATUS_NO_GUEST;
	}
	return status;
}

int cmd_ps(int argc, char **argv)
{
	struct runtime_entry *entries = NULL;
	struct life_args args;
	char err[PATH_MAX + 256];
	struct asked *asked;
	struct runtime r;
	int count, i, ret, failed;

	if (args_life(argc, argv, &args, err, sizeof(err))) {
		complain("%s", err);
		return STATUS_USAGE;
	}
	if (args.help) {
		ps_help();
		return 0;
	}
	ret = client_open(&r);
	if (ret)
		return ret;
	count = runtime_entries(&r, &entries);
	asked = calloc(count > 0 ? count : 1, sizeof(*asked));
	if (count < 0 || !asked) {
		complain("the host is out of memory; free some");
		ret = STATUS_ERROR;
	} else {
		ret = choose_entries(asked, entries, count, &args);
		ask_all(&r, entries, asked, count);
		failed = show(asked, count, args.json);
		ret = failed ?: ret;
	}
	for (i = 0; asked && i < count; i++)
		json_object_put(asked[i].doc);
	free(asked);
	free(entries);
	runtime_close(&r);
	return ret;
}
