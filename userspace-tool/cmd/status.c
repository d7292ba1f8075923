// SPDX-License-Identifier: GPL-2.0
/* A guest in a line: what `cleave ps` shows, and how it ended. */
#include <time.h>
#include <unistd.h>

#include "control.h"
#include "doc.h"
#include "machine.h"

uint64_t status_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

static const char *state_of(struct machine *m, uint64_t started)
{
	if (atomic_load(&m->outcome) != M_RUNS)
		return "ending";
	if (!started)
		return "starting";
	switch (pause_state(m)) {
	case PAUSE_STOPPED:
		return "paused";
	case PAUSE_PENDING:
		return "pausing";
	case PAUSE_NONE:
		break;
	}
	return "running";
}

/* What starts: of several files the one that the guest is known by. */
static const char *what_of(const struct run_args *a)
{
	return a->kernel[0] ? a->kernel : a->flat[0] ? a->flat : a->firmware;
}

struct json_object *status_build(struct machine *m)
{
	uint64_t started = atomic_load(&m->started);
	struct json_object *doc = json_object_new_object();

	doc_text(doc, "name", m->args->name);
	doc_count(doc, "pid", getpid());
	doc_text(doc, "state", state_of(m, started));
	doc_count(doc, "uptime_ms", started ? (status_now() - started) / 1000000 : 0);
	doc_count(doc, "cpus", m->cpus);
	doc_count(doc, "memory", m->args->memory);
	doc_text(doc, "what", what_of(m->args));
	slice_describe(m->args, doc);
	return doc;
}

struct json_object *status_end(struct machine *m)
{
	static const char *const name[] = {
		[M_RUNS] = "running", [M_OFF] = "off", [M_RESET] = "reset", [M_ENDED] = "ended",
		[M_SIGNAL] = "signal", [M_EXIT] = "exit", [M_CRASH] = "crash", [M_FAILED] = "failed",
		[M_KILLED] = "killed",
	};
	struct json_object *doc = json_object_new_object();
	int outcome = atomic_load(&m->outcome);

	doc_text(doc, "name", m->args->name);
	doc_text(doc, "outcome", name[outcome]);
	if (outcome == M_SIGNAL)
		doc_count(doc, "signal", m->signal);
	if (outcome == M_EXIT)
		doc_count(doc, "status", m->status);
	return doc;
}
