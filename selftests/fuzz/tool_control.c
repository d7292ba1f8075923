// SPDX-License-Identifier: GPL-2.0
/*
 * Requests to a guest's process. Input: pieces of a length and as many bytes, which
 * a client sends one by one; the vCPU answers between two of them, or later.
 */
#include "cmd/control.c"
#include "tool.h"

static bool asked;

void complain(const char *fmt, ...)
{
}

void machine_kick(struct machine *m)
{
	asked = true;
}

struct json_object *report_vcpu(struct vcpu *v, unsigned int exits)
{
	PROMISE(exits <= CLEAVE_RECORDS);
	return json_object_new_object();
}

struct json_object *report_alive(struct machine *m, struct json_object **part)
{
	struct json_object *doc = json_object_new_object();

	for (uint32_t i = 0; i < m->cpus; i++)
		json_object_array_add(doc_array(doc, "vcpus"), part[i]);
	return doc;
}

struct json_object *counters_build(struct machine *m)
{
	return json_object_new_object();
}

static enum pause_state paused;

void pause_ask(struct machine *m)
{
	paused = PAUSE_PENDING;
	asked = true;
}

enum pause_state pause_state(struct machine *m)
{
	return paused;
}

int pause_end(struct machine *m)
{
	paused = PAUSE_NONE;
	return 0;
}

int sandbox_thread(enum sandbox_thread kind)
{
	return 0;
}

void pm_power_button(struct pm *pm)
{
	PROMISE(paused == PAUSE_NONE);
}

bool machine_end(struct machine *m, enum outcome why)
{
	atomic_store(&m->outcome, why);
	return true;
}

static size_t answers;

/* Whole lines, each a JSON object. */
static void check_answers(int fd)
{
	static char buf[65536];
	ssize_t n = recv(fd, buf, sizeof(buf), 0);
	char *p = buf, *end;

	while (n > 0 && p < buf + n) {
		struct json_object *doc;

		end = memchr(p, '\n', buf + n - p);
		PROMISE(end);
		doc = doc_parse(p, end - p);
		PROMISE(doc);
		json_object_put(doc);
		answers++;
		p = end + 1;
	}
}

static void serve(struct control *c, struct machine *m, int fd, bool vcpu)
{
	struct client *cl = &c->client[0];

	for (int i = 0; i < 100; i++) {
		enum client_state before = cl->state;

		if (vcpu && asked) {
			asked = false;
			for (uint32_t j = 0; j < m->cpus; j++)
				control_serve(&m->vcpu[j]);
			if (paused == PAUSE_PENDING)
				paused = PAUSE_STOPPED;
			take_answer(c);
			take_pause(c);
		}
		if (cl->state == CLIENT_READS)
			client_events(c, cl, POLLIN);
		else if (cl->state == CLIENT_WRITES)
			client_events(c, cl, POLLOUT);
		PROMISE(cl->in_len <= sizeof(cl->in));
		check_answers(fd);
		if (cl->state == CLIENT_FREE || (cl->state == before && before != CLIENT_WRITES))
			break;
	}
	/* Who fills it has been told that it is too long. */
	PROMISE(cl->state != CLIENT_READS || cl->in_len < sizeof(cl->in));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct run_args args;
	static struct machine m;
	static struct vcpu cpus[2] = { { .m = &m }, { .m = &m, .id = 1 } };
	struct control *c = calloc(1, sizeof(*c));
	struct input in = { data, size };
	size_t lines = 0;
	int fd[2];

	PROMISE(c && !socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd));
	c->m = &m;
	m.vcpu = cpus;
	m.cpus = 2;
	m.args = &args;
	paused = PAUSE_NONE;
	atomic_store(&m.started, 1);
	atomic_store(&m.outcome, M_RUNS);
	m.control = c;
	c->listen = c->runtime.dir = -1;
	c->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&c->lock, NULL);
	pthread_mutex_init(&c->survey.lock, NULL);
	c->client[0].fd = fd[0];
	client_wait(&c->client[0], CLIENT_READS);
	answers = 0;
	asked = false;
	while (in.left && c->client[0].state != CLIENT_FREE) {
		size_t n = take8(&in), late;

		late = n & 1;
		n = n < in.left ? n : in.left;
		for (size_t i = 0; i < n; i++)
			lines += in.p[i] == '\n';
		if (n && send(fd[1], in.p, n, MSG_NOSIGNAL) < 0)
			break;
		in.p += n;
		in.left -= n;
		serve(c, &m, fd[1], !late);
	}
	serve(c, &m, fd[1], true);
	/* One for each line, and one to who sends no end of it. */
	PROMISE(answers <= lines + 1);
	if (c->client[0].state != CLIENT_FREE)
		client_drop(&c->client[0]);
	close(fd[1]);
	control_free(c);
	return 0;
}
