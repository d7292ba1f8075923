// SPDX-License-Identifier: GPL-2.0
/* `cleave bench`: figures of this host. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../bench/args.h"
#include "../bench/generations.h"
#include "cmd.h"

static void help(void)
{
	printf("usage: cleave bench generations [OPTION]...\n"
	       "A small guest does the same work three times over: with a PC's emulated devices,\n"
	       "with paravirtual ones, and with the hardware doing what it can. Tells for each\n"
	       "what an operation takes: exits, those of them to user space, exits for interrupts\n"
	       "of the host, instructions (or TSC ticks, where the host counts none), time; and\n"
	       "what each step bought.\n\n"
	       "  -j, --json FILE      the figures as a JSON object (-: standard output)\n"
	       "  -s, --svg FILE       the figures drawn (-: standard output)\n"
	       "  -r, --rounds N       operations in each of three runs (default: %u)\n"
	       "  -h, --help           this\n\n"
	       "Exit status: 0; 1 it could not be measured, or the work did not arrive; 2 wrong\n"
	       "usage.\n", GEN_ROUNDS);
}

/* What is in the way is said before minutes are spent; the file keeps what it has till then. */
static FILE *open_out(const char *option, const char *path)
{
	FILE *f;
	int fd;

	if (!strcmp(path, "-"))
		return stdout;
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	f = fd < 0 ? NULL : fdopen(fd, "w");
	if (!f)
		complain("%s %s: %s; give a file that can be written", option, path, strerror(errno));
	return f;
}

/* 0 or a status. */
static int put(FILE *f, const char *path, const struct gen_figures *figures,
	       void (*show)(FILE *out, const struct gen_figures *figures))
{
	int ret = 0;

	if (!f)
		return 0;
	if (f != stdout && ftruncate(fileno(f), 0) && errno != EINVAL)	/* EINVAL: a pipe */
		ret = -1;
	show(f, figures);
	if (fflush(f) || ferror(f))
		ret = -1;
	if (ret)
		complain("%s: %s; give a place with room", path, strerror(errno));
	return ret ? STATUS_ERROR : 0;
}

static int bench_generations(const struct bench_args *a)
{
	struct gen_figures figures;
	FILE *json = NULL, *svg = NULL;
	int ret = 0;

	if (a->json)
		json = open_out("--json", a->json);
	if (a->svg && (json || !a->json))
		svg = open_out("--svg", a->svg);
	if ((a->json && !json) || (a->svg && !svg))
		ret = STATUS_ERROR;
	else if (generations_measure(a->rounds, &figures))
		ret = STATUS_ERROR;
	if (!ret && json != stdout && svg != stdout)
		ret = put(stdout, "stdout", &figures, gen_print);
	if (!ret)
		ret = put(json, a->json, &figures, gen_json);
	if (!ret)
		ret = put(svg, a->svg, &figures, gen_svg);
	if (json && json != stdout)
		fclose(json);
	if (svg && svg != stdout)
		fclose(svg);
	return ret;
}

int cmd_bench(int argc, char **argv)
{
	struct bench_args a;
	char err[512];

	if (bench_args(argc, argv, &a, err, sizeof(err))) {
		complain("%s", err);
		return STATUS_USAGE;
	}
	if (a.help) {
		help();
		return 0;
	}
	return bench_generations(&a);
}
