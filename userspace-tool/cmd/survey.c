// SPDX-License-Identifier: GPL-2.0
#include <string.h>

#include "report.h"

bool survey_ask(struct survey *s, struct machine *m, unsigned int exits)
{
	bool free;

	pthread_mutex_lock(&s->lock);
	free = !s->left;
	if (free) {
		s->exits = exits;
		s->left = m->cpus;
		memset(s->told, 0, sizeof(s->told));
	}
	pthread_mutex_unlock(&s->lock);
	if (free)
		machine_kick(m);
	return free;
}

struct json_object *survey_tell(struct survey *s, struct vcpu *v)
{
	struct json_object *doc = NULL, *part;
	unsigned int exits;
	bool wanted;

	pthread_mutex_lock(&s->lock);
	wanted = s->left && !s->told[v->id];
	exits = s->exits;
	pthread_mutex_unlock(&s->lock);
	if (!wanted)
		return NULL;
	/* Other CPUs run on, or tell theirs. */
	part = report_vcpu(v, exits);
	pthread_mutex_lock(&s->lock);
	s->told[v->id] = true;
	s->part[v->id] = part;
	if (s->left == 1) {
		doc = report_alive(v->m, s->part);
		memset(s->part, 0, sizeof(s->part));
	}
	s->left--;
	pthread_mutex_unlock(&s->lock);
	return doc;
}

void survey_drop(struct survey *s)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(s->part); i++)
		json_object_put(s->part[i]);
	pthread_mutex_destroy(&s->lock);
}
