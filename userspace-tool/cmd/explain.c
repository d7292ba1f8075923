// SPDX-License-Identifier: GPL-2.0
/* `cleave explain`: what a guest does, or why it died. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "control.h"
#include "render.h"
#include "runtime.h"
#include "symbolize.h"

static void help(void)
{
	printf("usage: cleave explain NAME [OPTION]...\n"
	       "Tells the state of a guest that runs, or why one died: where, by which rule, and\n"
	       "what its CPU did last. NAME is that of `cleave run --name`. A guest that runs\n"
	       "runs on.\n\n"
	       "  -e, --exits N        so many of the last exits, at most %u (default: %u)\n"
	       "  -s, --symbols FILE   the guest kernel's System.map or vmlinux: functions by name\n"
	       "      --slide N        how far that kernel has moved itself (KASLR), 0x...\n"
	       "                       (default: found from the guest's registers and IDT)\n"
	       "  -j, --json           the same as a JSON object\n"
	       "  -h, --help           this\n\n"
	       "Exit status: 0; 1 it could not be told; 2 wrong usage; %u no such guest.\n",
	       ARGS_EXITS_MAX, ARGS_EXITS, STATUS_NO_GUEST);
}

/* Of one that is gone; an error leaves *doc NULL. */
static int load(const struct runtime *r, const char *name, struct json_object **doc)
{
	char *text;
	size_t len;
	int ret = runtime_load(r, name, &text, &len);

	if (ret)
		return ret;
	*doc = doc_parse(text, len);
	free(text);
	return *doc ? 0 : -EPROTO;
}

static int ask(const struct runtime *r, const struct explain_args *a, struct json_object **doc)
{
	char request[64];
	int error, ret;

	snprintf(request, sizeof(request), "{\"command\":\"explain\",\"exits\":%u}", a->exits);
	error = client_ask(r, a->name, request, doc);
	if (error != -ENOENT && error != -ECONNREFUSED && error != -EPIPE)
		return error;
	ret = load(r, a->name, doc);
	/* That its process was killed says more than that there is no report. */
	return ret == -ENOENT ? error : ret;
}

/* The newest exits alone, as many as were asked for. */
static void trim(struct json_object *doc, unsigned int exits)
{
	size_t i, n;

	for (i = 0; i < doc_length(doc, "vcpus"); i++) {
		struct json_object *list = NULL, *cpu = doc_element(doc, "vcpus", i);

		n = doc_length(cpu, "last_exits");
		if (n > exits && json_object_object_get_ex(cpu, "last_exits", &list))
			json_object_array_del_idx(list, 0, n - exits);
	}
}

static int tell(struct json_object *doc, const struct explain_args *a)
{
	struct cleave_symbols *symbols = NULL;
	char err[PATH_MAX + 256];

	trim(doc, a->exits);
	if (a->symbols) {
		if (cleave_symbols_open(a->symbols, &symbols, err, sizeof(err))) {
			complain("%s", err);
			return STATUS_ERROR;
		}
		symbolize(doc, symbols, a->symbols, a->slid ? &a->slide : NULL);
		cleave_symbols_free(symbols);
	}
	if (a->json)
		puts(json_object_to_json_string_ext(doc, JSON_C_TO_STRING_PRETTY |
						    JSON_C_TO_STRING_NOSLASHESCAPE));
	else
		render_report(stdout, doc, a->exits, true);
	if (!fflush(stdout))
		return 0;
	complain("stdout: %s", strerror(errno));
	return STATUS_ERROR;
}

int cmd_explain(int argc, char **argv)
{
	struct json_object *doc = NULL;
	struct explain_args a;
	char err[PATH_MAX + 256];
	struct runtime r;
	int ret;

	if (args_explain(argc, argv, &a, err, sizeof(err))) {
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
	ret = ask(&r, &a, &doc);
	ret = ret ? client_failed(&r, a.name, ret, doc) : tell(doc, &a);
	json_object_put(doc);
	runtime_close(&r);
	return ret;
}
