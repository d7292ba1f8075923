// SPDX-License-Identifier: GPL-2.0
/* `cleave stat`: how often a guest left its CPU, and for what. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "control.h"
#include "render.h"
#include "runtime.h"

static volatile sig_atomic_t stopped;

static void on_stop(int sig)
{
	stopped = 1;
}

static void help(void)
{
	printf("usage: cleave stat NAME [OPTION]...\n"
	       "Counts what a running guest leaves its CPU for, by kind, what of it goes to user\n"
	       "space, and the events that went in. NAME is that of `cleave run --name`.\n\n"
	       "  -l, --live [SECONDS] again every so many seconds (default: 1) with rates, until\n"
	       "                       Ctrl-C, or until the guest ends\n"
	       "  -j, --json           a JSON object; with --live one a line\n"
	       "  -h, --help           this\n\n"
	       "Exit status: 0; 1 it could not be told; 2 wrong usage; %u no such guest.\n",
	       STATUS_NO_GUEST);
}

/* ---- rates: per second, between two documents ------------------------------------- */

/* Counts of now, as rates since before; the same members. */
static struct json_object *rates_of(struct json_object *now, struct json_object *before, double seconds)
{
	struct json_object *out = json_object_new_object();

	json_object_object_foreach(now, key, value) {
		uint64_t old = doc_get_count(before, key);
		char text[32];
		double rate;

		if (!json_object_is_type(value, json_type_int) || !strcmp(key, "id"))
			continue;
		rate = (double)(json_object_get_uint64(value) - old) / seconds;
		snprintf(text, sizeof(text), "%.1f", rate);
		json_object_object_add(out, key, json_object_new_double_s(rate, text));
	}
	return out;
}

static void add_rates_to(struct json_object *now, struct json_object *before, double seconds)
{
	static const char *const part[] = { "kinds", "to_user", "injected" };
	struct json_object *out;
	size_t i;

	if (!now)
		return;
	out = rates_of(now, before, seconds);
	for (i = 0; i < ARRAY_SIZE(part); i++) {
		struct json_object *o = doc_get_object(now, part[i]);

		if (o)
			json_object_object_add(out, part[i],
					       rates_of(o, doc_get_object(before, part[i]), seconds));
	}
	json_object_object_add(now, "rates", out);
}

static void add_rates(struct json_object *now, struct json_object *before)
{
	double seconds = (double)(doc_get_count(now, "monotonic_us") -
				  doc_get_count(before, "monotonic_us")) / 1e6;
	size_t i;

	if (seconds <= 0)
		return;
	add_rates_to(doc_get_object(now, "vm"), doc_get_object(before, "vm"), seconds);
	for (i = 0; i < doc_length(now, "vcpus"); i++)
		add_rates_to(doc_element(now, "vcpus", i), doc_element(before, "vcpus", i), seconds);
}

/* ---- text --------------------------------------------------------------------------- */

static const char *rate(struct json_object *rates, const char *key, char text[32])
{
	struct json_object *value;

	*text = 0;
	if (rates && json_object_object_get_ex(rates, key, &value))
		snprintf(text, 32, "%12.1f/s", json_object_get_double(value));
	return text;
}

static void put_part(FILE *f, struct json_object *o, const char *title, const char *total,
		     const char *part)
{
	struct json_object *rates = doc_get_object(o, "rates"), *list = doc_get_object(o, part);
	struct json_object *list_rates = doc_get_object(rates, part);
	char text[32];

	render_print(f, "  %-28s %16" PRIu64 " %s\n", title, doc_get_count(o, total),
		     rate(rates, total, text));
	if (!list)
		return;
	json_object_object_foreach(list, key, value)
		render_print(f, "    %-26s %16" PRIu64 " %s\n", key, json_object_get_uint64(value),
			     rate(list_rates, key, text));
}

static void put_counters(FILE *f, struct json_object *o)
{
	put_part(f, o, "exits", "exits", "kinds");
	put_part(f, o, "exits to user space", "exits_to_user", "to_user");
	put_part(f, o, "events injected", "events_injected", "injected");
}

/* One line. */
static void put_cpu(FILE *f, struct json_object *cpu)
{
	static const char *const total[] = { "exits", "exits_to_user", "events_injected" };
	struct json_object *rates = doc_get_object(cpu, "rates");
	char text[32];
	size_t i;

	render_print(f, "  CPU %-4" PRIu64, doc_get_count(cpu, "id"));
	for (i = 0; i < ARRAY_SIZE(total); i++)
		render_print(f, " %16" PRIu64 " %14s", doc_get_count(cpu, total[i]),
			     rate(rates, total[i], text));
	fputc('\n', f);
}

static void put_slice(FILE *f, struct json_object *slice)
{
	uint64_t disk = doc_get_count(slice, "disk_rate"), network = doc_get_count(slice, "network_rate");
	const char *type = doc_get_text(slice, "type");

	render_print(f, "  slice %s: %" PRIu64 "%% to %" PRIu64 "%% of each CPU", type ? type : "-",
		     doc_get_count(slice, "cpu_share"), doc_get_count(slice, "cpu_burst"));
	if (disk)
		render_print(f, ", disks %" PRIu64 " KiB/s", disk >> 10);
	if (network)
		render_print(f, ", network %" PRIu64 " KiB/s", network >> 10);
	render_print(f, "%s\n", doc_get_bool(slice, "limits") ? "" : ", not held (--no-limits)");
}

static void put_text(FILE *f, struct json_object *doc)
{
	struct json_object *slice = doc_get_object(doc, "slice");
	size_t i, n = doc_length(doc, "vcpus");

	render_print(f, "%s, pid %" PRIu64 ", %zu CPU%s\n", doc_get_text(doc, "name"),
		     doc_get_count(doc, "pid"), n, n == 1 ? "" : "s");
	if (slice)
		put_slice(f, slice);
	put_counters(f, doc_get_object(doc, "vm"));
	if (n <= 1)
		return;
	/* By kind they are in the JSON. */
	render_print(f, "  %-8s %16s %14s %16s %14s %16s %14s\n", "", "exits", "", "to user space", "",
		     "events injected", "");
	for (i = 0; i < n; i++)
		put_cpu(f, doc_element(doc, "vcpus", i));
}

/* ---- the command ---------------------------------------------------------------------- */

/* True: go on. A terminal's picture is painted over. */
static bool show(struct json_object *doc, const struct stat_args *a, bool first)
{
	bool paint = a->live && !a->json && isatty(STDOUT_FILENO);

	if (a->json) {
		puts(json_object_to_json_string_ext(doc, a->live ? JSON_C_TO_STRING_PLAIN :
						    JSON_C_TO_STRING_PRETTY));
	} else {
		if (paint)
			fputs("\033[H\033[J", stdout);
		else if (!first)
			putchar('\n');
		put_text(stdout, doc);
	}
	return !fflush(stdout);
}

static int stdout_failed(void)
{
	complain("stdout: %s", strerror(errno));
	return STATUS_ERROR;
}

/* The first document is there; the guest may end, which is no error. */
static int live(const struct runtime *r, const struct stat_args *a, struct json_object *doc)
{
	struct sigaction stop = { .sa_handler = on_stop };
	struct json_object *next = NULL;
	int ret = 0, status = 0;

	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGTERM, &stop, NULL);
	if (!show(doc, a, true))
		status = stdout_failed();
	while (!status && !stopped) {
		poll(NULL, 0, a->interval_ms);
		if (stopped)
			break;
		ret = client_ask(r, a->name, "{\"command\":\"stat\"}", &next);
		if (ret == -ENOENT || ret == -ECONNREFUSED || ret == -EPIPE ||
		    (!ret && doc_get_count(next, "pid") != doc_get_count(doc, "pid"))) {
			complain("%s: the guest has ended", a->name);
			break;
		}
		if (ret) {
			status = client_failed(r, a->name, ret, next);
			break;
		}
		add_rates(next, doc);
		if (!show(next, a, false))
			status = stdout_failed();
		json_object_put(doc);
		doc = next;
		next = NULL;
	}
	json_object_put(next);
	json_object_put(doc);
	return status;
}

int cmd_stat(int argc, char **argv)
{
	struct json_object *doc = NULL;
	char err[PATH_MAX + 256];
	struct stat_args a;
	struct runtime r;
	int ret;

	if (args_stat(argc, argv, &a, err, sizeof(err))) {
		complain("%s", err);
		return STATUS_USAGE;
	}
	if (a.help) {
		help();
		return 0;
	}
	ret = client_open(&r);
	if (ret)
		return ret;
	ret = client_ask(&r, a.name, "{\"command\":\"stat\"}", &doc);
	if (ret) {
		ret = client_failed(&r, a.name, ret, doc);
		json_object_put(doc);
	} else if (a.live) {
		ret = live(&r, &a, doc);
	} else {
		ret = show(doc, &a, true) ? 0 : stdout_failed();
		json_object_put(doc);
	}
	runtime_close(&r);
	return ret;
}
