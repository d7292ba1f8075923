// SPDX-License-Identifier: GPL-2.0
/* A guest's counters as a document, read while it runs. */
#include <time.h>
#include <unistd.h>

#include "doc.h"
#include "machine.h"

#define ROOM(array)	ARRAY_SIZE(((struct cleave_recorder *)0)->array)

struct sums {
	uint64_t kinds[ROOM(kinds)], exits[ROOM(exits)], events[ROOM(events)];
};

static void add(uint64_t *to, const __u64 *from, size_t count)
{
	size_t i;

	for (i = 0; i < count; i++)
		to[i] += __atomic_load_n(&from[i], __ATOMIC_RELAXED);
}

static void add_sums(struct sums *to, const struct sums *from)
{
	uint64_t *t = (uint64_t *)to;
	const uint64_t *f = (const uint64_t *)from;
	size_t i;

	for (i = 0; i < sizeof(*to) / sizeof(*t); i++)
		t[i] += f[i];
}

static void sum(struct sums *s, const struct cleave_recorder *rec)
{
	add(s->kinds, rec->kinds, ROOM(kinds));
	add(s->exits, rec->exits, ROOM(exits));
	add(s->events, rec->events, ROOM(events));
}

/* Those from first on that are not zero, by their names, and their sum. */
static uint64_t name_all(struct json_object *o, const uint64_t *count, size_t first, size_t n,
			 const char *(*name)(uint32_t number))
{
	uint64_t total = 0;
	char number[24];
	size_t i;

	for (i = first; i < n; i++) {
		const char *text = name(i);

		total += count[i];
		if (!count[i])
			continue;
		if (!text)
			snprintf(number, sizeof(number), "%zu", i);
		doc_count(o, text ? text : number, count[i]);
	}
	return total;
}

static void describe(struct json_object *o, const struct sums *s)
{
	struct json_object *part[] = {
		json_object_new_object(), json_object_new_object(), json_object_new_object(),
	};

	doc_count(o, "exits", name_all(part[0], s->kinds, 0, ROOM(kinds), cleave_kind_name));
	/* Number 0 of the other two says that there was none. */
	doc_count(o, "exits_to_user", name_all(part[1], s->exits, 1, ROOM(exits), cleave_exit_name));
	doc_count(o, "events_injected",
		  name_all(part[2], s->events, 1, ROOM(events), cleave_event_name));
	json_object_object_add(o, "kinds", part[0]);
	json_object_object_add(o, "to_user", part[1]);
	json_object_object_add(o, "injected", part[2]);
}

void counters_describe(struct json_object *o, const struct cleave_recorder *rec)
{
	struct sums s = { 0 };

	sum(&s, rec);
	describe(o, &s);
}

struct json_object *counters_build(struct machine *m)
{
	struct json_object *doc = json_object_new_object(), *vm, *list, *cpu;
	struct timespec now;
	struct sums all = { 0 };
	uint32_t i;

	clock_gettime(CLOCK_MONOTONIC, &now);
	doc_text(doc, "name", m->args->name);
	doc_count(doc, "pid", getpid());
	doc_count(doc, "monotonic_us", (uint64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000);
	vm = doc_object(doc, "vm");
	list = doc_array(doc, "vcpus");
	for (i = 0; i < m->cpus; i++) {
		struct sums one = { 0 };

		sum(&one, m->vcpu[i].recorder);
		add_sums(&all, &one);
		cpu = json_object_new_object();
		doc_count(cpu, "id", i);
		describe(cpu, &one);
		json_object_array_add(list, cpu);
	}
	describe(vm, &all);
	virtio_describe(m, doc);
	slice_describe(m->args, doc);
	return doc;
}
