// SPDX-License-Identifier: GPL-2.0
/* What is told of a guest's slice. */
#include "cmd.h"
#include "doc.h"

static void rate(struct json_object *o, const char *key, uint64_t value)
{
	if (value)
		doc_count(o, key, value);
	else
		json_object_object_add(o, key, NULL);
}

void slice_describe(const struct run_args *a, struct json_object *doc)
{
	const struct slice_args *s = &a->slice;
	struct json_object *o;

	if (!s->there)
		return;
	o = doc_object(doc, "slice");
	if (s->type[0])
		doc_text(o, "type", s->type);
	doc_count(o, "cpu_share", s->share);
	doc_count(o, "cpu_burst", s->burst);
	rate(o, "disk_rate", s->disk_rate);
	rate(o, "network_rate", s->network_rate);
	doc_bool(o, "limits", !a->no_limits);
}
