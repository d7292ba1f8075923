// SPDX-License-Identifier: GPL-2.0
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"

static const struct command {
	const char *name;
	int (*fn)(int argc, char **argv);
	const char *help;
} commands[] = {
	{ "run",	cmd_run,	"boot a kernel as a guest, its console on this terminal" },
	{ "launch",	cmd_launch,	"start an instance of a type, from an image" },
	{ "instances",	cmd_instances,	"list the instances that were launched, those that are stopped too" },
	{ "delete",	cmd_instances,	"remove a stopped instance, with its disk" },
	{ "images",	cmd_images,	"list the images there are, add one, remove one" },
	{ "console",	cmd_console,	"attach this terminal to a guest that was started detached" },
	{ "ps",		cmd_ps,		"list this user's guests" },
	{ "stop",	cmd_life,	"press a guest's power button, and kill it if it does not heed that" },
	{ "kill",	cmd_life,	"end a guest at once" },
	{ "pause",	cmd_life,	"make a guest stand still, as if no time passed" },
	{ "resume",	cmd_life,	"let it go on" },
	{ "explain",	cmd_explain,	"what a guest does, or why it died" },
	{ "stat",	cmd_stat,	"count what a guest leaves its CPU for" },
	{ "types",	cmd_types,	"list the instance types, and what each gives a guest" },
	{ "seed",	cmd_seed,	"make a disk that tells cloud-init who a guest is, and who may log in" },
	{ "bench",	cmd_bench,	"measure emulated, paravirtual and hardware devices on this host" },
	{ "doctor",	cmd_doctor,	"what this host needs to run guests, and how to get it" },
};

#define COMMANDS	ARRAY_SIZE(commands)

void complain(const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	fprintf(stderr, "cleave: %s\n", line);
}

static void usage(FILE *f)
{
	size_t i;

	fprintf(f, "usage: cleave COMMAND [OPTION]...\n\n");
	for (i = 0; i < COMMANDS; i++)
		fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].help);
	fprintf(f, "\n`cleave COMMAND --help` tells the options; cleave(1) tells the rest.\n");
}

int main(int argc, char **argv)
{
	size_t i;

	if (argc < 2) {
		usage(stderr);
		return STATUS_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
		usage(stdout);
		return 0;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("cleave %s\n", VERSION);
		return 0;
	}
	for (i = 0; i < COMMANDS; i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].fn(argc - 1, argv + 1);
	complain("%s: there is no such command; `cleave --help` lists them", argv[1]);
	return STATUS_USAGE;
}
