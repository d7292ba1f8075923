// SPDX-License-Identifier: GPL-2.0
/* A flight recorder. Input: how many records are wanted, the head, some records. */
#include "cmd/doc.h"
#include "cmd/machine.h"
#include "tool.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct cleave_recorder rec;
	static struct cleave_record out[CLEAVE_RECORDS];
	struct input in = { data, size };
	struct json_object *o = json_object_new_object();
	unsigned int max, n;
	uint64_t count;

	memset(&rec, 0, sizeof(rec));
	max = take8(&in) * 2;
	rec.count = take64(&in);
	if (take8(&in) & 1)	/* as the module leaves it: near a turn of the ring */
		rec.count %= 4 * CLEAVE_RECORDS;
	rec.frozen = take8(&in);
	take(&in, rec.kinds, sizeof(rec.kinds));
	take(&in, rec.exits, sizeof(rec.exits));
	for (int i = 0; in.left && i < CLEAVE_RECORDS; i++)
		take(&in, &rec.records[i], sizeof(rec.records[i]));
	n = cleave_records(&rec, out, max, &count);
	PROMISE(n <= max && n <= CLEAVE_RECORDS && n <= count && count == rec.count);
	for (unsigned int i = 0; i < n; i++) {
		PROMISE(!memcmp(&out[i], &rec.records[(count - n + i) % CLEAVE_RECORDS], sizeof(out[i])));
		cleave_kind_name(out[i].kind);
		cleave_exit_name(out[i].exit);
		cleave_event_name(out[i].entered_type);
		cleave_vector_name(out[i].entered_vector);
		cleave_msr_name(out[i].detail);
		cleave_port_name(out[i].detail);
	}
	counters_describe(o, &rec);
	PROMISE(json_object_to_json_string(o));
	json_object_put(o);
	return 0;
}
