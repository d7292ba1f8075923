// SPDX-License-Identifier: GPL-2.0
/* `cleave types`: the instance types that there are. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

#include "cmd.h"
#include "doc.h"
#include "launch/types.h"

static void help(void)
{
	printf("usage: cleave types [OPTION]...\n"
	       "Lists the instance types of %s: what each gives a guest.\n\n"
	       "  -f, --file FILE  another file\n"
	       "  -j, --json       a JSON array\n"
	       "  -h, --help       this\n\n"
	       "Exit status: 0; 1 the file cannot be read or is wrong; 2 wrong usage.\n", TYPES_FILE);
}

/* "512M", in the largest unit that is whole. */
static const char *size_text(uint64_t n, char buf[24])
{
	static const char units[] = "\0KMGT";
	unsigned int i = 0;

	while (n && !(n % 1024) && i < 4) {
		n /= 1024;
		i++;
	}
	snprintf(buf, 24, "%" PRIu64 "%.1s", n, units + i);
	return buf;
}

static void print_text(const struct types *t)
{
	unsigned int i;

	printf("%-16s %5s %8s %9s %9s %8s %8s\n", "TYPE", "VCPUS", "MEMORY", "CPU-SHARE", "CPU-BURST",
	       "DISK", "NETWORK");
	for (i = 0; i < t->count; i++) {
		const struct instance_type *p = &t->type[i];
		char memory[24], disk[24], network[24];

		printf("%-16s %5u %8s %8u%% %8u%% %8s %8s\n", p->name, p->vcpus,
		       size_text(p->memory, memory), p->share, p->burst,
		       p->disk_rate ? size_text(p->disk_rate, disk) : "-",
		       p->network_rate ? size_text(p->network_rate, network) : "-");
	}
}

static void rate(struct json_object *o, const char *key, uint64_t value)
{
	if (value)
		doc_count(o, key, value);
	else
		json_object_object_add(o, key, NULL);
}

static void print_json(const struct types *t)
{
	struct json_object *array = json_object_new_array(), *o;
	unsigned int i;

	for (i = 0; i < t->count; i++) {
		const struct instance_type *p = &t->type[i];

		o = json_object_new_object();
		doc_text(o, "name", p->name);
		doc_count(o, "vcpus", p->vcpus);
		doc_count(o, "memory", p->memory);
		doc_count(o, "cpu_share", p->share);
		doc_count(o, "cpu_burst", p->burst);
		rate(o, "disk_rate", p->disk_rate);
		rate(o, "network_rate", p->network_rate);
		json_object_array_add(array, o);
	}
	printf("%s\n", json_object_to_json_string_ext(array, JSON_C_TO_STRING_PRETTY));
	json_object_put(array);
}

int cmd_types(int argc, char **argv)
{
	static const struct option options[] = {
		{ "file", required_argument, NULL, 'f' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	static struct types types;
	const char *file = TYPES_FILE;
	bool json = false;
	char err[512];
	int opt;

	while ((opt = getopt_long(argc, argv, "f:jh", options, NULL)) != -1) {
		switch (opt) {
		case 'f':
			file = optarg;
			break;
		case 'j':
			json = true;
			break;
		case 'h':
			help();
			return 0;
		default:
			return STATUS_USAGE;
		}
	}
	if (optind < argc) {
		complain("types: %s: no argument is wanted; `cleave types --help` tells the options", argv[optind]);
		return STATUS_USAGE;
	}
	if (types_load(file, &types, err, sizeof(err))) {
		complain("types: %s; cleave(1) tells the form, under \"cleave types\"", err);
		return STATUS_ERROR;
	}
	if (json)
		print_json(&types);
	else
		print_text(&types);
	return 0;
}
