// SPDX-License-Identifier: GPL-2.0
/* Command lines. Input: which command, then its words, each ended by a zero byte. */
#include "cmd/cmd.h"
#include "tool.h"

#define WORDS	24

static void check_size(const char *text)
{
	uint64_t n = 1;
	int ret = args_size(text, &n);

	PROMISE(ret <= 0);
	PROMISE(ret || (*text >= '0' && *text <= '9'));
}

static void run(int argc, char **argv, char *err, size_t room)
{
	struct run_args a;
	int ret = args_run(argc, argv, &a, err, room);

	free(a.config);
	PROMISE(ret <= 0 && (!ret || *err));
	if (ret || a.help || a.list_devices)
		return;
	PROMISE(args_name(a.name) && (a.kernel[0] || a.firmware[0] || a.flat[0]));
	PROMISE(a.devices.files <= ARGS_DEVICE_FILES && a.flat_gpa < 1 << 20);
	PROMISE(a.cpus && a.cpus <= ARGS_CPUS_MAX && !(a.memory % 4096));
}

static void explain(int argc, char **argv, char *err, size_t room)
{
	struct explain_args a;
	int ret = args_explain(argc, argv, &a, err, room);

	PROMISE(ret <= 0 && (!ret || *err));
	if (!ret && !a.help)
		PROMISE(args_name(a.name) && a.exits <= ARGS_EXITS_MAX && (!a.slid || a.symbols));
}

static void stat(int argc, char **argv, char *err, size_t room)
{
	struct stat_args a;
	int ret = args_stat(argc, argv, &a, err, room);

	PROMISE(ret <= 0 && (!ret || *err));
	if (!ret && !a.help)
		PROMISE(args_name(a.name) && a.interval_ms >= 100 && a.interval_ms <= 86400000);
}

static void life(int argc, char **argv, char *err, size_t room)
{
	struct life_args a;
	int ret = args_life(argc, argv, &a, err, room);

	PROMISE(ret <= 0 && (!ret || *err));
	if (ret || a.help)
		return;
	PROMISE(a.timeout <= 86400 && (a.count || a.all || !strcmp(argv[0], "ps")));
	for (unsigned int i = 0; i < a.count; i++)
		PROMISE(args_name(a.names[i]));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static char *const name[] = { "run", "explain", "stat", "stop", "ps" };
	char *argv[WORDS + 1], *copy, *p, err[512] = "";
	int argc = 1;

	if (size < 2)
		return 0;
	copy = malloc(size);
	memcpy(copy, data + 1, size - 1);
	copy[size - 1] = 0;
	argv[0] = name[data[0] % 5];
	for (p = copy; p < copy + size && argc < WORDS; p += strlen(p) + 1)
		argv[argc++] = p;
	argv[argc] = NULL;
	check_size(copy);
	switch (data[0] % 5) {
	case 0:
		run(argc, argv, err, sizeof(err));
		break;
	case 1:
		explain(argc, argv, err, sizeof(err));
		break;
	case 2:
		stat(argc, argv, err, sizeof(err));
		break;
	default:
		life(argc, argv, err, sizeof(err));
	}
	free(copy);
	return 0;
}
