// SPDX-License-Identifier: GPL-2.0
/*
 * One thread serves all clients and waits for none of them: what a client
 * sends or takes slowly, or not at all, costs its own slot until a timeout.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "hub.h"
#include "report.h"
#include "runtime.h"
#include "sandbox.h"

#define NAMES	100	/* that are tried for a guest whose user chose none */

enum client_state {
	CLIENT_FREE,
	CLIENT_READS,		/* its request comes in */
	CLIENT_WAITS,		/* for the vCPUs to tell their state */
	CLIENT_PAUSES,		/* for the vCPUs to be out */
	CLIENT_STAYS,		/* for the guest's end */
	CLIENT_WRITES,		/* its answer goes out */
	CLIENT_CONSOLE,		/* it has the console, in place of lines */
};

struct client {
	enum client_state state;
	int fd;
	bool last;		/* hang up after the answer */
	bool asked;		/* waits: for the survey that is under way, not the next one */
	bool console, writer;	/* it will have the console, or has */
	unsigned int exits;	/* that it wants */
	uint64_t pos;		/* of the console's next byte for it */
	size_t in_len, out_len, sent;
	uint64_t deadline;	/* ms */
	char *out;
	char in[CONTROL_REQUEST_MAX];
};

struct control {
	struct machine *m;
	struct runtime runtime;
	char name[ARGS_NAME_MAX + 1];
	int listen, wake;
	pthread_t thread;
	bool started;
	atomic_bool stop;
	struct survey survey;
	struct hub hub;		/* if m->hub is set */
	pthread_mutex_t lock;	/* answer */
	char *answer;		/* of the vCPU that told last */
	struct client client[CONTROL_CLIENTS];
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void wake(struct control *c)
{
	uint64_t one = 1;

	while (write(c->wake, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void control_wake(struct machine *m)
{
	wake(m->control);
}

/* ---- clients ---------------------------------------------------------------------- */

static void client_drop(struct client *cl)
{
	close(cl->fd);
	free(cl->out);
	memset(cl, 0, sizeof(*cl));
}

static void client_wait(struct client *cl, enum client_state state)
{
	cl->state = state;
	cl->deadline = state == CLIENT_STAYS || state == CLIENT_CONSOLE ? UINT64_MAX : now_ms() + CONTROL_TIMEOUT_MS;
}

static size_t clients_in(const struct control *c, enum client_state state)
{
	size_t i, n = 0;

	for (i = 0; i < CONTROL_CLIENTS; i++)
		n += c->client[i].state == state;
	return n;
}

/* text, to be freed, is the answer; NULL: there was no memory for it. */
static void client_answer(struct client *cl, char *text)
{
	size_t len = text ? strlen(text) : 0;

	if (!text) {
		client_drop(cl);
		return;
	}
	text[len] = '\n';	/* in the place of the zero byte */
	cl->out = text;
	cl->out_len = len + 1;
	cl->sent = 0;
	client_wait(cl, CLIENT_WRITES);
}

static void client_answer_doc(struct client *cl, struct json_object *doc)
{
	const char *text = json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PLAIN);

	client_answer(cl, text ? strdup(text) : NULL);
	json_object_put(doc);
}

static void client_refuse(struct client *cl, const char *why)
{
	struct json_object *doc = json_object_new_object();

	doc_text(doc, "error", why);
	client_answer_doc(cl, doc);
}

/* For all who wait for it, unless one is under way: then they wait for the next. */
static void ask_vcpus(struct control *c)
{
	unsigned int exits = 0;
	bool waits = false;
	size_t i;

	for (i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *cl = &c->client[i];

		if (cl->state != CLIENT_WAITS || cl->asked)
			continue;
		waits = true;
		exits = cl->exits > exits ? cl->exits : exits;
	}
	if (!waits || !survey_ask(&c->survey, c->m, exits))
		return;
	for (i = 0; i < CONTROL_CLIENTS; i++)
		c->client[i].asked |= c->client[i].state == CLIENT_WAITS;
}

/* ---- requests ------------------------------------------------------------------- */

static void client_say(struct client *cl, const char *key, const char *value)
{
	struct json_object *doc = json_object_new_object();

	doc_text(doc, key, value);
	client_answer_doc(cl, doc);
}

static void on_stat(struct control *c, struct client *cl, struct json_object *request)
{
	client_answer_doc(cl, counters_build(c->m));
}

static void on_status(struct control *c, struct client *cl, struct json_object *request)
{
	client_answer_doc(cl, status_build(c->m));
}

static void on_explain(struct control *c, struct client *cl, struct json_object *request)
{
	uint64_t exits = CLEAVE_RECORDS;

	if (json_object_object_get_ex(request, "exits", NULL))
		exits = doc_get_count(request, "exits");
	client_wait(cl, CLIENT_WAITS);
	cl->exits = exits < CLEAVE_RECORDS ? exits : CLEAVE_RECORDS;
	cl->asked = false;
	ask_vcpus(c);
}

/* All who wait for the guest to stand still, once it does. */
static void take_pause(struct control *c)
{
	size_t i;

	if (pause_state(c->m) != PAUSE_STOPPED)
		return;
	for (i = 0; i < CONTROL_CLIENTS; i++)
		if (c->client[i].state == CLIENT_PAUSES)
			client_say(&c->client[i], "state", "paused");
}

static void on_pause(struct control *c, struct client *cl, struct json_object *request)
{
	if (!atomic_load(&c->m->started)) {
		client_refuse(cl, "its CPUs do not run yet; try again");
		return;
	}
	client_wait(cl, CLIENT_PAUSES);
	if (pause_state(c->m) == PAUSE_NONE)
		pause_ask(c->m);
	take_pause(c);
}

static void pauses_over(struct control *c, const char *why)
{
	size_t i;

	for (i = 0; i < CONTROL_CLIENTS; i++)
		if (c->client[i].state == CLIENT_PAUSES)
			client_refuse(&c->client[i], why);
}

static void on_resume(struct control *c, struct client *cl, struct json_object *request)
{
	int ret = pause_end(c->m);

	pauses_over(c, "it was told to go on meanwhile");
	if (ret)
		client_refuse(cl, "it goes on, but its clocks could not be set back: it sees that time has passed");
	else
		client_say(cl, "state", "running");
}

static void on_powerbutton(struct control *c, struct client *cl, struct json_object *request)
{
	if (pause_state(c->m) != PAUSE_NONE) {
		client_refuse(cl, "it is paused and cannot heed its power button; resume it first");
		return;
	}
	pthread_mutex_lock(&c->m->lock);
	pm_power_button(&c->m->pm);
	pthread_mutex_unlock(&c->m->lock);
	client_say(cl, "button", "pressed");
}

static void on_kill(struct control *c, struct client *cl, struct json_object *request)
{
	client_say(cl, "state", "ending");
	machine_end(c->m, M_KILLED);
}

/* They are served for as long as they like, so some room is left for the others. */
static void on_wait(struct control *c, struct client *cl, struct json_object *request)
{
	if (clients_in(c, CLIENT_STAYS) < CONTROL_WAITERS)
		client_wait(cl, CLIENT_STAYS);
	else
		client_refuse(cl, "too many wait for its end already; ask for its status now and then");
}

/* ---- the console ------------------------------------------------------------------ */

#define CONSOLE_CHUNK	8192

static void on_console(struct control *c, struct client *cl, struct json_object *request)
{
	size_t i, writers = 0, all = 0;
	uint64_t lines = CONTROL_LINES;

	for (i = 0; i < CONTROL_CLIENTS; i++) {
		all += c->client[i].console;
		writers += c->client[i].writer;
	}
	if (!c->m->hub) {
		client_refuse(cl, "its console is the terminal that it was started from; `cleave run --detach` starts guests without one");
		return;
	}
	if (all >= CONTROL_CONSOLES) {
		client_refuse(cl, "too many have its console already; detach one of them by Ctrl-A d");
		return;
	}
	if (json_object_object_get_ex(request, "lines", NULL))
		lines = doc_get_count(request, "lines");
	cl->console = true;
	cl->writer = doc_get_bool(request, "write") && !writers;
	cl->pos = hub_tail(&c->hub, lines < UINT32_MAX ? lines : UINT32_MAX);
	client_say(cl, "console", cl->writer ? "writer" : "reader");
}

/* The next piece of it, to cl->out. */
static void console_fill(struct control *c, struct client *cl)
{
	uint64_t lost;
	size_t n = 0, got;

	cl->sent = cl->out_len = 0;
	if (!cl->out)
		cl->out = malloc(CONSOLE_CHUNK);
	if (!cl->out) {
		client_drop(cl);
		return;
	}
	got = hub_get(&c->hub, &cl->pos, (uint8_t *)cl->out, CONSOLE_CHUNK - 64, &lost);
	if (lost) {
		char text[64];

		n = snprintf(text, sizeof(text), "\r\n[cleave: %llu bytes were lost]\r\n",
			     (unsigned long long)lost);
		memmove(cl->out + n, cl->out, got);
		memcpy(cl->out, text, n);
	}
	cl->out_len = n + got;
}

/* Until it takes no more, or there is no more. */
static void console_serve(struct control *c, struct client *cl)
{
	while (cl->state == CLIENT_CONSOLE) {
		ssize_t n;

		if (cl->sent == cl->out_len)
			console_fill(c, cl);
		if (cl->state != CLIENT_CONSOLE || cl->sent == cl->out_len)
			return;
		n = send(cl->fd, cl->out + cl->sent, cl->out_len - cl->sent, MSG_NOSIGNAL);
		if (n > 0)
			cl->sent += n;
		else if (errno == EAGAIN)
			return;
		else if (errno != EINTR)
			client_drop(cl);
	}
}

/* What waits for room in the guest's pipe. */
static void console_input(struct control *c, struct client *cl)
{
	size_t done = cl->writer ? hub_input(&c->hub, cl->in, cl->in_len) : cl->in_len;

	cl->in_len -= done;
	memmove(cl->in, cl->in + done, cl->in_len);
}

static void console_read(struct control *c, struct client *cl)
{
	ssize_t n = recv(cl->fd, cl->in + cl->in_len, sizeof(cl->in) - cl->in_len, 0);

	if (n > 0) {
		cl->in_len += n;
		console_input(c, cl);
	} else if (!n || (errno != EAGAIN && errno != EINTR)) {
		client_drop(cl);
	}
}

/* Of one that has the console: while its bytes wait for room no more are taken. */
static short console_events(const struct client *cl)
{
	return (cl->in_len < sizeof(cl->in) ? POLLIN : 0) | (cl->sent < cl->out_len ? POLLOUT : 0);
}

static void console_served(struct control *c, struct client *cl, short revents)
{
	if (revents & (POLLERR | POLLNVAL)) {
		client_drop(cl);
		return;
	}
	if (revents & (POLLIN | POLLHUP))
		console_read(c, cl);
	else if (cl->in_len)
		console_input(c, cl);
	console_serve(c, cl);
}

/* ---- which there are ---------------------------------------------------------------- */

static void on_version(struct control *c, struct client *cl, struct json_object *request);

static const struct {
	const char *name;
	void (*fn)(struct control *c, struct client *cl, struct json_object *request);
} commands[] = {
	{ "version", on_version },
	{ "status", on_status },
	{ "stat", on_stat },
	{ "explain", on_explain },
	{ "pause", on_pause },
	{ "resume", on_resume },
	{ "powerbutton", on_powerbutton },
	{ "kill", on_kill },
	{ "wait", on_wait },
	{ "console", on_console },
};

static void on_version(struct control *c, struct client *cl, struct json_object *request)
{
	struct json_object *doc = json_object_new_object(), *list;
	size_t i;

	doc_count(doc, "api", CONTROL_API);
	list = doc_array(doc, "commands");
	for (i = 0; i < ARRAY_SIZE(commands); i++)
		json_object_array_add(list, json_object_new_string(commands[i].name));
	client_answer_doc(cl, doc);
}

static void client_request(struct control *c, struct client *cl, const char *line, size_t len)
{
	struct json_object *request = doc_parse(line, len);
	const char *command = doc_get_text(request, "command");
	size_t i;

	if (!request) {
		cl->last = true;
		client_refuse(cl, "not a JSON object on a line of its own");
	} else if (!command) {
		client_refuse(cl, "no \"command\"; the answer to \"version\" lists what there is");
	} else {
		for (i = 0; i < ARRAY_SIZE(commands) && strcmp(command, commands[i].name); i++)
			;
		if (i < ARRAY_SIZE(commands))
			commands[i].fn(c, cl, request);
		else
			client_refuse(cl, "no such command; the answer to \"version\" lists what there is");
	}
	json_object_put(request);
}

/* Takes the first whole line that has come. */
static void client_lines(struct control *c, struct client *cl)
{
	char line[CONTROL_REQUEST_MAX], *end = memchr(cl->in, '\n', cl->in_len);
	size_t len = end ? end - cl->in : 0;

	if (!end && cl->in_len == sizeof(cl->in)) {
		cl->last = true;
		client_refuse(cl, "the request is too long");
	}
	if (!end)
		return;
	memcpy(line, cl->in, len);
	cl->in_len -= len + 1;
	memmove(cl->in, end + 1, cl->in_len);
	client_request(c, cl, line, len);
}

static void client_read(struct control *c, struct client *cl)
{
	ssize_t n = recv(cl->fd, cl->in + cl->in_len, sizeof(cl->in) - cl->in_len, 0);

	if (n <= 0) {
		if (!n || (errno != EAGAIN && errno != EINTR))
			client_drop(cl);
		return;
	}
	cl->in_len += n;
	client_lines(c, cl);
}

static void client_write(struct control *c, struct client *cl)
{
	ssize_t n = send(cl->fd, cl->out + cl->sent, cl->out_len - cl->sent, MSG_NOSIGNAL);

	if (n < 0) {
		if (errno != EAGAIN && errno != EINTR)
			client_drop(cl);
		return;
	}
	cl->sent += n;
	if (cl->sent < cl->out_len)
		return;
	free(cl->out);
	cl->out = NULL;
	cl->out_len = cl->sent = 0;
	if (cl->last) {
		client_drop(cl);
		return;
	}
	if (cl->console) {
		client_wait(cl, CLIENT_CONSOLE);
		console_served(c, cl, 0);
		return;
	}
	client_wait(cl, CLIENT_READS);
	client_lines(c, cl);
}

static void client_events(struct control *c, struct client *cl, short revents)
{
	if (cl->state == CLIENT_CONSOLE)
		console_served(c, cl, revents);
	else if (cl->state == CLIENT_READS && (revents & (POLLIN | POLLHUP | POLLERR)))
		client_read(c, cl);
	else if (cl->state == CLIENT_WRITES && (revents & (POLLOUT | POLLHUP | POLLERR)))
		client_write(c, cl);
	else if (cl->state != CLIENT_FREE && (revents & (POLLHUP | POLLERR)))
		client_drop(cl);
}

#define NOT_IN_TIME "a CPU did not stop in time: does anyone read the guest's console?"

/* A vCPU that does not come out of a write: its console's reader does not read. */
static void client_late(struct control *c, struct client *cl)
{
	if (cl->state == CLIENT_PAUSES) {
		/* For all of them: nobody wants a guest that stops at some later time. */
		pause_end(c->m);
		pauses_over(c, NOT_IN_TIME);
	} else if (cl->state == CLIENT_WAITS) {
		cl->last = true;
		client_refuse(cl, NOT_IN_TIME);
	} else if (cl->state != CLIENT_FREE) {
		client_drop(cl);
	}
}

/* ---- the thread -------------------------------------------------------------------- */

static void take_answer(struct control *c)
{
	char *text;
	size_t i;

	pthread_mutex_lock(&c->lock);
	text = c->answer;
	c->answer = NULL;
	pthread_mutex_unlock(&c->lock);
	for (i = 0; text && i < CONTROL_CLIENTS; i++)
		if (c->client[i].state == CLIENT_WAITS && c->client[i].asked)
			client_answer(&c->client[i], strdup(text));
	if (text)
		ask_vcpus(c);
	free(text);
}

static void accept_one(struct control *c, struct client *cl)
{
	int fd = accept4(c->listen, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd < 0) {
		/* Out of descriptors, say: not at once again. */
		if (errno != EAGAIN)
			poll(NULL, 0, 100);
		return;
	}
	memset(cl, 0, sizeof(*cl));
	cl->fd = fd;
	client_wait(cl, CLIENT_READS);
}

/* Waits, and does what there is to do. */
static void serve_once(struct control *c)
{
	static const short events[] = {
		[CLIENT_READS] = POLLIN, [CLIENT_WRITES] = POLLOUT, [CLIENT_CONSOLE] = 0,
	};
	struct pollfd fd[CONTROL_CLIENTS + 3];
	bool blocked = false;
	uint64_t now = now_ms(), until = UINT64_MAX, count;
	struct client *room = NULL;
	size_t i;

	for (i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *cl = &c->client[i];

		fd[i] = (struct pollfd){ .fd = -1 };
		if (cl->state == CLIENT_FREE) {
			room = cl;
			continue;
		}
		fd[i] = (struct pollfd){ .fd = cl->fd, .events = events[cl->state] };
		if (cl->state == CLIENT_CONSOLE)
			fd[i].events = console_events(cl);
		blocked |= cl->state == CLIENT_CONSOLE && cl->in_len;
		until = cl->deadline < until ? cl->deadline : until;
	}
	fd[i] = (struct pollfd){ .fd = c->wake, .events = POLLIN };
	fd[i + 1] = (struct pollfd){ .fd = room ? c->listen : -1, .events = POLLIN };
	fd[i + 2] = (struct pollfd){ .fd = blocked ? c->hub.input[1] : -1, .events = POLLOUT };
	if (poll(fd, CONTROL_CLIENTS + 3, until == UINT64_MAX ? -1 : until > now ? (int)(until - now) : 0) < 0)
		return;
	if (fd[CONTROL_CLIENTS].revents && read(c->wake, &count, sizeof(count)) > 0) {
		take_answer(c);
		take_pause(c);
	}
	now = now_ms();
	for (i = 0; i < CONTROL_CLIENTS; i++) {
		client_events(c, &c->client[i], fd[i].revents);
		if (c->client[i].state != CLIENT_FREE && c->client[i].deadline <= now)
			client_late(c, &c->client[i]);
	}
	if (fd[CONTROL_CLIENTS + 1].revents)
		accept_one(c, room);
}

static void *control_thread(void *arg)
{
	struct control *c = arg;
	size_t i;

	pthread_setname_np(pthread_self(), "control");
	sandbox_thread(SANDBOX_CONTROL);
	while (!atomic_load(&c->stop))
		serve_once(c);
	for (i = 0; i < CONTROL_CLIENTS; i++) {
		struct client *cl = &c->client[i];

		if (cl->state == CLIENT_STAYS)
			client_answer_doc(cl, status_end(c->m));
		else if (cl->state == CLIENT_CONSOLE)
			console_serve(c, cl);
		cl->last = true;
		if (cl->state == CLIENT_WRITES)
			client_write(c, cl);	/* as far as it goes at once */
		if (cl->state != CLIENT_FREE)
			client_drop(cl);
	}
	return NULL;
}

/* ---- for the rest of the machine ------------------------------------------------------ */

static int claim(struct control *c, char *name, size_t size, bool chosen)
{
	char stem[ARGS_NAME_MAX + 1];
	unsigned int i;

	snprintf(stem, sizeof(stem), "%.*s", ARGS_NAME_MAX - 4, name);
	for (i = 2; ; i++) {
		c->listen = runtime_claim(&c->runtime, name);
		if (c->listen != -EADDRINUSE || chosen || i == NAMES)
			break;
		snprintf(name, size, "%s-%u", stem, i);
	}
	snprintf(c->name, sizeof(c->name), "%s", name);
	return c->listen < 0 ? c->listen : 0;
}

static void console_wakes(void *control)
{
	wake(control);
}

int control_keep_console(struct machine *m)
{
	struct control *c = m->control;
	char file[ARGS_NAME_MAX + 8];
	int ret;

	if (!c) {
		complain("--detach: nobody could find this guest again; make room for its socket, or run it without --detach");
		return -ENOENT;
	}
	snprintf(file, sizeof(file), "%s.log", c->name);
	ret = hub_open(&c->hub, c->runtime.dir, file, console_wakes, c);
	if (ret) {
		complain("%s/%s: %s; free some space there, or run the guest without --detach",
			 c->runtime.path, file, strerror(-ret));
		return ret;
	}
	m->hub = &c->hub;
	return 0;
}

int control_directory(struct machine *m)
{
	return m->control ? m->control->runtime.dir : -1;
}

static void control_free(struct control *c)
{
	if (c->m->hub == &c->hub) {
		c->m->hub = NULL;
		hub_close(&c->hub);
	}
	if (c->listen >= 0)
		close(c->listen);
	if (c->wake >= 0)
		close(c->wake);
	runtime_close(&c->runtime);
	survey_drop(&c->survey);
	pthread_mutex_destroy(&c->lock);
	free(c->answer);
	free(c);
}

int control_claim(struct machine *m, char *name, size_t size, bool chosen)
{
	struct control *c = calloc(1, sizeof(*c));
	char err[PATH_MAX + 256];
	int ret;

	if (!c) {
		complain("the host is out of memory; free some");
		return -ENOMEM;
	}
	c->m = m;
	c->listen = c->runtime.dir = -1;
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->survey.lock, NULL);
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ret = runtime_open(&c->runtime, true, err, sizeof(err));
	if (!ret) {
		ret = claim(c, name, size, chosen);
		snprintf(err, sizeof(err), "%s/%s.sock: %s", c->runtime.path, name, strerror(-ret));
	}
	if (!ret && c->wake >= 0) {
		m->control = c;
		return 0;
	}
	control_free(c);
	if (ret == -EADDRINUSE) {
		complain("--name %s: a guest of that name runs; give another name, or end that one", name);
		return ret;
	}
	complain("%s; the guest runs, but no `cleave` command will find it", err);
	return 0;
}

void control_stop(struct machine *m)
{
	struct control *c = m->control;

	if (!c)
		return;
	m->control = NULL;
	runtime_release(&c->runtime, c->name);
	atomic_store(&c->stop, true);
	wake(c);
	if (c->started)
		pthread_join(c->thread, NULL);
	control_free(c);
}

void control_start(struct machine *m)
{
	struct control *c = m->control;
	int ret = c ? pthread_create(&c->thread, NULL, control_thread, c) : 0;

	if (c)
		c->started = !ret;
	if (!ret)
		return;
	complain("a thread: %s; the guest runs, but no `cleave` command will find it",
		 strerror(ret));
	control_stop(m);
}

void control_serve(struct vcpu *v)
{
	struct control *c = v->m->control;
	struct json_object *doc = c ? survey_tell(&c->survey, v) : NULL;
	const char *text;

	if (!doc)
		return;
	text = json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PLAIN);
	pthread_mutex_lock(&c->lock);
	free(c->answer);
	c->answer = text ? strdup(text) : NULL;
	pthread_mutex_unlock(&c->lock);
	json_object_put(doc);
	wake(c);
}

void control_died(struct machine *m, struct json_object *report)
{
	struct control *c = m->control;
	const char *text;
	int ret;

	if (!c)
		return;
	text = json_object_to_json_string_ext(report, JSON_C_TO_STRING_PLAIN);
	ret = text ? runtime_save(&c->runtime, c->name, text) : -ENOMEM;
	if (ret)
		complain("%s/%s.json: %s; `cleave explain` will not know of this", c->runtime.path,
			 c->name, strerror(-ret));
	else
		complain("%s: `cleave explain %s` tells it again, --symbols names the functions", c->name,
			 c->name);
}
