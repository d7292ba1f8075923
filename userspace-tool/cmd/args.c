// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <getopt.h>
#include <glob.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "config.h"

#define PAGE	4096
#ifndef ARGS_SEABIOS
#define ARGS_SEABIOS	"/usr/share/seabios/bios.bin"	/* Debian's package seabios */
#endif

/* Options without a letter. */
enum {
	OPT_CONFIG = 256,
	OPT_DETACH,
	OPT_USER,
	OPT_NO_SANDBOX,
};

int args_size(const char *text, uint64_t *size)
{
	unsigned int shift = 0;
	uint64_t n;
	char *end;

	if (*text < '0' || *text > '9')
		return -EINVAL;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	switch (*end) {
	case 'k': case 'K':
		shift = 10;
		break;
	case 'm': case 'M':
		shift = 20;
		break;
	case 'g': case 'G':
		shift = 30;
		break;
	case 't': case 'T':
		shift = 40;
		break;
	}
	if (shift)
		end++;
	if (shift && (!strcmp(end, "iB") || !strcmp(end, "B")))
		end = "";
	if (*end)
		return -EINVAL;
	if (n > UINT64_MAX >> shift)
		return -ERANGE;
	*size = n << shift;
	return 0;
}

int args_newest(const char *pattern, char path[PATH_MAX])
{
	const char *best = NULL;
	glob_t g;
	size_t i;

	if (glob(pattern, 0, NULL, &g))
		return -ENOENT;
	for (i = 0; i < g.gl_pathc; i++)
		if (!best || strverscmp(best, g.gl_pathv[i]) < 0)
			best = g.gl_pathv[i];
	snprintf(path, PATH_MAX, "%s", best);
	globfree(&g);
	return 0;
}

static int fail(char *err, size_t errlen, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(err, errlen, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int parse_memory(const char *text, struct run_args *a, char *err, size_t errlen)
{
	int ret = args_size(text, &a->memory);

	if (ret == -ERANGE)
		return fail(err, errlen, "--memory %s: too large for any machine; give for example 512M", text);
	if (ret)
		return fail(err, errlen, "--memory %s: not a size; give for example 512M or 2G", text);
	if (a->memory % PAGE)
		return fail(err, errlen, "--memory %s: not a multiple of 4K; give for example 512M", text);
	return 0;
}

static int parse_cpus(const char *text, struct run_args *a, char *err, size_t errlen)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (*text < '0' || *text > '9' || *end || !n)
		return fail(err, errlen, "--cpus %s: not a number of CPUs; give one from 1 to %u", text,
			    ARGS_CPUS_MAX);
	if (n > ARGS_CPUS_MAX)
		return fail(err, errlen, "--cpus %s: a guest has %u CPUs at most; give one from 1 to %u",
			    text, ARGS_CPUS_MAX, ARGS_CPUS_MAX);
	a->cpus = n;
	return 0;
}

/* Paravirtual features by name; Documentation/virt/kvm/x86/cpuid.rst numbers them. */
static int parse_pv(const char *text, struct run_args *a, char *err, size_t errlen)
{
	static const struct {
		const char *name;
		uint64_t bits;		/* features, hints << 32 */
	} names[] = {
		{ "none", 0 }, { "all", UINT32_MAX }, { "clock", 1 << 3 | 1 << 24 },
		{ "steal", 1 << 5 }, { "eoi", 1 << 6 }, { "unhalt", 1 << 7 }, { "tlb", 1 << 9 },
		{ "ipi", 1 << 11 }, { "poll", 1 << 12 }, { "yield", 1 << 13 },
		{ "realtime", 1ULL << 32 },
	};
	size_t i, n;

	a->pv = a->hints = 0;
	for (;; text += n + 1) {
		n = strcspn(text, ",");
		for (i = 0; i < ARRAY_SIZE(names); i++)
			if (strlen(names[i].name) == n && !strncmp(names[i].name, text, n))
				break;
		if (i == ARRAY_SIZE(names))
			return fail(err, errlen, "--pv %.*s: no paravirtual feature; give none, all, or some of clock,steal,eoi,ipi,tlb,unhalt,yield,poll, and realtime",
				    (int)n, text);
		a->pv |= names[i].bits;
		a->hints |= names[i].bits >> 32;
		if (!text[n])
			return 0;
	}
}

static int parse_path(const char *what, const char *text, size_t len, char path[PATH_MAX], char *err,
		      size_t errlen)
{
	if (!len || len >= PATH_MAX)
		return fail(err, errlen, "%s: %s path; give a file", what, len ? "too long a" : "an empty");
	memcpy(path, text, len);
	path[len] = 0;
	return 0;
}

/* FILE[,addr=N] */
static int parse_flat(const char *text, struct run_args *a, char *err, size_t errlen)
{
	const char *comma = strrchr(text, ',');
	char *end;

	if (comma && strncmp(comma, ",addr=", 6))
		comma = NULL;
	a->flat_gpa = ARGS_FLAT_ADDRESS;
	if (comma) {
		errno = 0;
		a->flat_gpa = strtoull(comma + 6, &end, 0);
		if (comma[6] < '0' || comma[6] > '9' || *end || errno || a->flat_gpa > 0xfffff)
			return fail(err, errlen, "--flat %s: addr= is no address below 1 MiB; give for example addr=0x7c00",
				    text);
	}
	return parse_path("--flat", text, comma ? (size_t)(comma - text) : strlen(text), a->flat, err,
			  errlen);
}

static bool name_char(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '.' || c == '_' || c == '-';
}

bool args_name(const char *text)
{
	size_t n = strlen(text), i;

	for (i = 0; i < n; i++)
		if (!name_char(text[i]))
			return false;
	return n && n <= ARGS_NAME_MAX && *text != '.' && *text != '-';
}

static int parse_name(const char *what, const char *text, char name[ARGS_NAME_MAX + 1], char *err,
		      size_t errlen)
{
	if (!args_name(text))
		return fail(err, errlen, "%s: no name for a guest; give 1 to %u letters, digits, '.', '_' and '-', of which '.' and '-' do not come first",
			    what, ARGS_NAME_MAX);
	strcpy(name, text);
	return 0;
}

/* The name, without its path and "vmlinuz-", of what starts. */
static void default_name(struct run_args *a)
{
	const char *path = a->kernel[0] ? a->kernel : a->flat[0] ? a->flat :
			   a->boots_disk ? a->virtio.disk[0].path : a->firmware;
	const char *base = strrchr(path, '/');
	size_t i;

	base = base ? base + 1 : path;
	if (!strncmp(base, "vmlinuz-", 8) && base[8])
		base += 8;
	for (i = 0; base[i] && i < ARGS_NAME_MAX; i++)
		a->name[i] = name_char(base[i]) ? base[i] : '_';
	a->name[i] = 0;
	if (!args_name(a->name))
		a->name[0] = '_';
}

/* A disk is started as a PC starts it: by its own boot loader, with which SeaBIOS begins. */
static int boot_disk(struct run_args *a, char *err, size_t errlen)
{
	if (a->append)
		return fail(err, errlen, "--append: belongs to a kernel, and here the disk's boot loader starts one; give --kernel too, or leave it out");
	if (access(ARGS_SEABIOS, R_OK)) {
		fail(err, errlen, "--disk %s: without --kernel its boot loader starts it, by SeaBIOS, and there is no " ARGS_SEABIOS "; apt-get install seabios, or give --kernel and --initrd",
		     a->virtio.disk[0].path);
		return -ENOENT;
	}
	strcpy(a->firmware, ARGS_SEABIOS);
	a->boots_disk = true;
	a->devices.there[DEV_FW_CFG] = true;
	return 0;
}

static int find_kernel(struct run_args *a, char *err, size_t errlen)
{
	if (!args_newest("/boot/vmlinuz-*-cloud-amd64", a->kernel) || !args_newest("/boot/vmlinuz-*", a->kernel))
		return 0;
	fail(err, errlen, "no --kernel given and none in /boot; give one, or apt-get install linux-image-cloud-amd64");
	return -ENOENT;
}

static int defaults(struct run_args *a, char *err, size_t errlen)
{
	bool nothing = !a->kernel[0] && !a->flat[0] && !a->firmware[0];
	int ret;

	if (a->flat[0] && (a->kernel[0] || a->firmware[0]))
		return fail(err, errlen, "--flat: starts the guest alone; leave out --kernel and --firmware");
	if (a->firmware[0] && a->kernel[0] && !a->devices.there[DEV_FW_CFG])
		return fail(err, errlen, "--firmware and --kernel: firmware finds a kernel by fw_cfg; add --device fw-cfg");
	if (a->initrd && !a->kernel[0] && (!nothing || a->virtio.disks))
		return fail(err, errlen, "--initrd: belongs to a kernel, and there is none; give --kernel too");
	if (nothing) {
		ret = a->virtio.disks ? boot_disk(a, err, errlen) : find_kernel(a, err, errlen);
		if (ret)
			return ret;
	}
	if (a->virtio.balloon_bytes && a->virtio.balloon_bytes >= a->memory)
		return fail(err, errlen, "--balloon: all of --memory; give less than that");
	if (!a->append)
		a->append = ARGS_APPEND;
	if (!a->name[0])
		default_name(a);
	return 0;
}

static int parse_option(int opt, const char *arg, struct run_args *a, char *err, size_t errlen)
{
	switch (opt) {
	case 'k':
		return parse_path("--kernel", arg, strlen(arg), a->kernel, err, errlen);
	case 'f':
		return parse_path("--firmware", arg, strlen(arg), a->firmware, err, errlen);
	case 'F':
		return parse_flat(arg, a, err, errlen);
	case 'd':
		a->list_devices |= !strcmp(arg, "help");
		return a->list_devices ? 0 : args_device(arg, &a->devices, err, errlen);
	case 'D':
		return args_disk(arg, &a->virtio, err, errlen);
	case 'r':
		a->virtio.rng = true;
		return 0;
	case 'C':
		return args_console(arg, &a->virtio, err, errlen);
	case 'N':
		return args_net(arg, &a->virtio, err, errlen);
	case 'b':
		return args_balloon(arg, &a->virtio, err, errlen);
	case 'i':
		a->initrd = arg;
		return 0;
	case 'a':
		a->append = arg;
		return 0;
	case 'm':
		return parse_memory(arg, a, err, errlen);
	case 'c':
		return parse_cpus(arg, a, err, errlen);
	case 'p':
		return parse_pv(arg, a, err, errlen);
	case 'n':
		a->named = true;
		return parse_name("--name", arg, a->name, err, errlen);
	case OPT_DETACH:
		a->detach = true;
		return 0;
	case OPT_USER:
		a->user = arg;
		return 0;
	case OPT_NO_SANDBOX:
		a->no_sandbox = true;
		return 0;
	case 'h':
		a->help = true;
	}
	return 0;
}

static const struct option run_options[] = {
	{ "kernel", required_argument, NULL, 'k' },
	{ "initrd", required_argument, NULL, 'i' },
	{ "append", required_argument, NULL, 'a' },
	{ "memory", required_argument, NULL, 'm' },
	{ "cpus", required_argument, NULL, 'c' },
	{ "pv", required_argument, NULL, 'p' },
	{ "name", required_argument, NULL, 'n' },
	{ "firmware", required_argument, NULL, 'f' },
	{ "flat", required_argument, NULL, 'F' },
	{ "device", required_argument, NULL, 'd' },
	{ "disk", required_argument, NULL, 'D' },
	{ "net", required_argument, NULL, 'N' },
	{ "rng", no_argument, NULL, 'r' },
	{ "console", required_argument, NULL, 'C' },
	{ "balloon", optional_argument, NULL, 'b' },
	{ "config", required_argument, NULL, OPT_CONFIG },
	{ "detach", no_argument, NULL, OPT_DETACH },
	{ "user", required_argument, NULL, OPT_USER },
	{ "no-sandbox", no_argument, NULL, OPT_NO_SANDBOX },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

/* A line of --config, as an option. */
static int config_option(const char *name, char *value, struct run_args *a, char *err, size_t errlen)
{
	size_t i;

	for (i = 0; run_options[i].name && strcmp(run_options[i].name, name); i++)
		;
	if (!run_options[i].name || run_options[i].val == 'h' || run_options[i].val == OPT_CONFIG)
		return fail(err, errlen, "%s: no such option; `cleave run --help` lists them", name);
	if (run_options[i].has_arg == optional_argument && (!value || !*value))
		return parse_option(run_options[i].val, NULL, a, err, errlen);
	if (run_options[i].has_arg) {
		if (!value || !*value)
			return fail(err, errlen, "%s: a value is missing; give %s = VALUE", name, name);
		return parse_option(run_options[i].val, value, a, err, errlen);
	}
	if (value && !strcmp(value, "no"))
		return 0;
	if (value && strcmp(value, "yes"))
		return fail(err, errlen, "%s: %s is neither yes nor no; give one of them", name, value);
	return parse_option(run_options[i].val, NULL, a, err, errlen);
}

/* What comes behind it on the command line counts more. The text stays, as options point to it. */
static int parse_config(const char *path, struct run_args *a, char *err, size_t errlen)
{
	char *text, *name, *value, why[512];
	unsigned int nr = 0;
	int ret;

	if (a->config)
		return fail(err, errlen, "--config %s: is the second one; give one file", path);
	ret = config_read(path, &text, err, errlen);
	if (ret)
		return ret;
	a->config = text;
	while ((ret = config_line(&text, &nr, &name, &value)) > 0) {
		ret = config_option(name, value, a, why, sizeof(why));
		if (ret)
			return fail(err, errlen, "%s:%u: %s", path, nr, why);
	}
	return ret ? fail(err, errlen, "%s:%u: no option before the '='; give NAME = VALUE", path, nr) : 0;
}

int args_run(int argc, char **argv, struct run_args *a, char *err, size_t errlen)
{
	int opt, ret;

	memset(a, 0, sizeof(*a));
	a->memory = ARGS_MEMORY;
	a->cpus = 1;
	a->pv = ~0U;
	opterr = 0;
	optind = 0;	/* GNU: start anew */
	while ((opt = getopt_long(argc, argv, ":k:i:a:m:c:n:f:d:h", run_options, NULL)) != -1) {
		if (opt == ':')
			return fail(err, errlen, "%s: a value is missing; `cleave run --help` tells which",
				    argv[optind - 1]);
		if (opt == '?')
			return fail(err, errlen, "%s: no such option; `cleave run --help` lists them",
				    argv[optind - 1]);
		ret = opt == OPT_CONFIG ? parse_config(optarg, a, err, errlen) :
		      parse_option(opt, optarg, a, err, errlen);
		if (ret)
			return ret;
	}
	if (a->help || a->list_devices)
		return 0;
	if (optind < argc)
		return fail(err, errlen, "%s: not an option; give a kernel with --kernel %s",
			    argv[optind], argv[optind]);
	return defaults(a, err, errlen);
}

/* ---- commands that name a guest ---------------------------------------------- */

/* The one word that is no option. */
static int only_name(const char *command, int argc, char **argv, char name[ARGS_NAME_MAX + 1],
		     char *err, size_t errlen)
{
	if (optind == argc)
		return fail(err, errlen, "%s: of which guest? Give its name; `cleave %s --help` tells more",
			    command, command);
	if (optind + 1 < argc)
		return fail(err, errlen, "%s: one word too many; give one guest's name",
			    argv[optind + 1]);
	return parse_name(argv[optind], argv[optind], name, err, errlen);
}

static int bad_option(int opt, char **argv, char *err, size_t errlen)
{
	return fail(err, errlen, opt == ':' ? "%s: a value is missing; `cleave %s --help` tells which" :
		    "%s: no such option; `cleave %s --help` lists them", argv[optind - 1], argv[0]);
}

static int parse_number(const char *what, const char *text, uint64_t max, uint64_t *n, char *err,
			size_t errlen)
{
	char *end;

	errno = 0;
	*n = strtoull(text, &end, 0);
	if (*text < '0' || *text > '9' || *end || errno || *n > max)
		return fail(err, errlen, "%s %s: not a number from 0 to 0x%llx; `cleave explain --help` tells more",
			    what, text, (unsigned long long)max);
	return 0;
}

int args_explain(int argc, char **argv, struct explain_args *a, char *err, size_t errlen)
{
	static const struct option options[] = {
		{ "symbols", required_argument, NULL, 's' },
		{ "slide", required_argument, NULL, 'S' },
		{ "exits", required_argument, NULL, 'e' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	uint64_t exits = ARGS_EXITS;
	int opt, ret = 0;

	memset(a, 0, sizeof(*a));
	opterr = 0;
	optind = 0;	/* GNU: start anew */
	while (!ret && (opt = getopt_long(argc, argv, ":s:e:jh", options, NULL)) != -1) {
		if (opt == 's')
			a->symbols = optarg;
		else if (opt == 'e')
			ret = parse_number("--exits", optarg, ARGS_EXITS_MAX, &exits, err, errlen);
		else if (opt == 'S')
			ret = parse_number("--slide", optarg, UINT64_MAX, &a->slide, err, errlen);
		else if (opt == 'j')
			a->json = true;
		else if (opt == 'h')
			a->help = true;
		else
			ret = bad_option(opt, argv, err, errlen);
		a->slid |= opt == 'S';
	}
	a->exits = exits;
	if (ret || a->help)
		return ret;
	if (a->slid && !a->symbols)
		return fail(err, errlen, "--slide: moves symbols, and there are none; give --symbols too");
	return only_name("explain", argc, argv, a->name, err, errlen);
}

/* Seconds, from 0.1 to a day. */
static bool parse_interval(const char *text, unsigned int *ms)
{
	char *end;
	double s = strtod(text, &end);

	if (*text < '0' || *text > '9' || *end || !(s >= 0.1 && s <= 86400))
		return false;
	*ms = s * 1000;
	return true;
}

int args_stat(int argc, char **argv, struct stat_args *a, char *err, size_t errlen)
{
	static const struct option options[] = {
		{ "live", optional_argument, NULL, 'l' },
		{ "json", no_argument, NULL, 'j' },
		{ "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 },
	};
	int opt;

	memset(a, 0, sizeof(*a));
	a->interval_ms = 1000;
	opterr = 0;
	optind = 0;	/* GNU: start anew */
	while ((opt = getopt_long(argc, argv, ":l::jh", options, NULL)) != -1) {
		switch (opt) {
		case 'l':
			a->live = true;
			/* The next word may be the seconds, too. */
			if (!optarg && optind < argc && parse_interval(argv[optind], &a->interval_ms))
				optind++;
			else if (optarg && !parse_interval(optarg, &a->interval_ms))
				return fail(err, errlen, "--live %s: not seconds from 0.1 to 86400; give for example 2",
					    optarg);
			break;
		case 'j':
			a->json = true;
			break;
		case 'h':
			a->help = true;
			break;
		default:
			return bad_option(opt, argv, err, errlen);
		}
	}
	return a->help ? 0 : only_name("stat", argc, argv, a->name, err, errlen);
}
