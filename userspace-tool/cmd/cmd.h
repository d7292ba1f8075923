/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of the `cleave` command offer one another. */
#ifndef CLEAVE_CMD_H
#define CLEAVE_CMD_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* Exit status; of `cleave run` also 128 + N: ended by signal N. Listed in cleave(1). */
#define STATUS_OFF	0	/* the guest powered off, or Ctrl-A x */
#define STATUS_ERROR	1	/* it could not start, or the host failed it */
#define STATUS_USAGE	2
#define STATUS_CRASH	3	/* the guest died */
#define STATUS_RESET	4	/* the guest asked for a reset */
#define STATUS_NO_GUEST	5	/* there is none of that name */
#define STATUS_SIGNAL	128
				/* and what a guest wrote to --device debug-exit */

/* main.c: one line on stderr, "cleave: ...". */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- args.c: options, without side effects but reading /boot ---------------- */

#define ARGS_MEMORY	(512ULL << 20)
#define ARGS_APPEND	"console=ttyS0 earlyprintk=ttyS0 panic=-1"

#define ARGS_NAME_MAX	64	/* of a guest: letters, digits, '.', '_', '-' */
#define ARGS_EXITS	16
#define ARGS_EXITS_MAX	256	/* CLEAVE_RECORDS */
#define ARGS_CPUS_MAX	254	/* CLEAVE_MAX_VCPUS */

#define ARGS_FLAT_ADDRESS	0x7c00	/* of --flat; BOOT_FLAT_ADDRESS */
#define ARGS_DEVICE_FILES	8
#define ARGS_FILE_NAME		55	/* of a file of fw_cfg */

enum args_device {
	DEV_DEBUG_EXIT,
	DEV_DEBUGCON,
	DEV_FW_CFG,
	DEV_TESTDEV,
	DEV_COUNT,
};

/* --device: what is there beside a PC's own. */
struct device_args {
	bool there[DEV_COUNT];
	uint16_t port[DEV_COUNT];
	unsigned int files;		/* of fw_cfg */
	struct {
		char name[ARGS_FILE_NAME + 1];
		char path[PATH_MAX];
	} file[ARGS_DEVICE_FILES];
};

struct run_args {
	char kernel[PATH_MAX];		/* or empty, with the next two */
	char firmware[PATH_MAX], flat[PATH_MAX];	/* or empty */
	uint64_t flat_gpa;
	struct device_args devices;
	bool list_devices;
	const char *initrd;		/* or NULL */
	const char *append;
	char name[ARGS_NAME_MAX + 1];
	bool named;			/* by --name */
	uint64_t memory;
	uint32_t cpus;
	uint32_t pv, hints;		/* KVM_FEATURE_*, KVM_HINTS_*: CPUID 0x40000001 */
	bool help;
};

/* What --device knows: the text that lists it. */
const char *args_device_list(void);
/* --device NAME[,KEY=VALUE...]: adds it. 0, or -EINVAL with one line in err. */
int args_device(const char *text, struct device_args *d, char *err, size_t errlen);
/* "512M", "1G", "65536K", bytes; -EINVAL, -ERANGE. */
int args_size(const char *text, uint64_t *size);
/* The newest kernel that a pattern such as /boot/vmlinuz-* names; -ENOENT. */
int args_newest(const char *pattern, char path[PATH_MAX]);
struct explain_args {
	char name[ARGS_NAME_MAX + 1];
	const char *symbols;		/* or NULL */
	uint64_t slide;			/* if slid */
	unsigned int exits;
	bool slid, json, help;
};

struct stat_args {
	char name[ARGS_NAME_MAX + 1];
	unsigned int interval_ms;
	bool live, json, help;
};

/* May a guest be called that? */
bool args_name(const char *text);
/* 0, or -EINVAL, -ENOENT with one line in err. argv[0] is the command. */
int args_explain(int argc, char **argv, struct explain_args *a, char *err, size_t errlen);
int args_stat(int argc, char **argv, struct stat_args *a, char *err, size_t errlen);
int args_run(int argc, char **argv, struct run_args *a, char *err, size_t errlen);

/* ---- the commands ----------------------------------------------------------- */

int cmd_run(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_types(int argc, char **argv);
int cmd_seed(int argc, char **argv);

#endif /* CLEAVE_CMD_H */
