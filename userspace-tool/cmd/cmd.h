/* SPDX-License-Identifier: GPL-2.0 */
/* What the files of the `cleave` command offer one another. */
#ifndef CLEAVE_CMD_H
#define CLEAVE_CMD_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "../net/net.h"

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

/* Exit status; of `cleave run` also 128 + N: ended by signal N. Listed in cleave(1). */
#define STATUS_OFF	0	/* the guest powered off, or Ctrl-A x */
#define STATUS_ERROR	1	/* it could not start, or the host failed it */
#define STATUS_USAGE	2
#define STATUS_CRASH	3	/* the guest died */
#define STATUS_RESET	4	/* the guest asked for a reset */
#define STATUS_NO_GUEST	5	/* there is none of that name */
#define STATUS_KILLED	6	/* `cleave stop`: it did not power off in time, and was killed */
#define STATUS_SIGNAL	128
				/* and what a guest wrote to --device debug-exit */

/* main.c: one line on stderr, "cleave: ...". */
void complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- args.c: options, without side effects but looks for kernels and SeaBIOS -- */

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

#define ARGS_DISKS		16
#define ARGS_SERIAL		20	/* of a disk; BLK_SERIAL */

/* --disk */
struct disk_args {
	char path[PATH_MAX], overlay[PATH_MAX];	/* overlay: or empty */
	char serial[ARGS_SERIAL + 1];
	unsigned int format;			/* enum block_format */
	bool readonly;
};

#define ARGS_PORTS		8
#define ARGS_PORT_NAME		63
#define ARGS_SOCKET		107	/* sockaddr_un.sun_path */

/* --console */
struct port_args {
	char socket[ARGS_SOCKET + 1];	/* empty: the terminal */
	char name[ARGS_PORT_NAME + 1];	/* or empty: a console */
};

#define ARGS_NETS		8
#define ARGS_INTERFACE		15	/* IFNAMSIZ - 1 */

/* --net */
struct net_args {
	char tap[ARGS_INTERFACE + 1];	/* empty: user */
	bool has_mac;
	uint8_t mac[6];
	struct net_user user;		/* mtu, too, of the other */
};

/* The devices of virtio. */
struct virtio_args {
	unsigned int ports;
	struct port_args port[ARGS_PORTS];
	bool balloon;
	uint64_t balloon_bytes;
	unsigned int disks;
	struct disk_args disk[ARGS_DISKS];
	bool rng;
	unsigned int nets;
	struct net_args net[ARGS_NETS];
	const struct net_service *service;	/* that the guest reaches by each of them, or NULL */
};

struct run_args {
	char kernel[PATH_MAX];		/* or empty, with the next two */
	char firmware[PATH_MAX], flat[PATH_MAX];	/* or empty */
	uint64_t flat_gpa;
	bool boots_disk;		/* firmware is SeaBIOS, as there was a disk and nothing to start */
	struct device_args devices;
	struct virtio_args virtio;
	bool list_devices;
	const char *initrd;		/* or NULL */
	const char *append;
	char name[ARGS_NAME_MAX + 1];
	bool named;			/* by --name */
	uint64_t memory;
	uint32_t cpus;
	bool detach, no_sandbox;
	const char *user;		/* that root becomes, or NULL */
	char *config;			/* text of --config that others point to, or NULL */
	uint32_t pv, hints;		/* KVM_FEATURE_*, KVM_HINTS_*: CPUID 0x40000001 */
	bool help;
};

/* What --device knows: the text that lists it. */
const char *args_device_list(void);
/* --device NAME[,KEY=VALUE...]: adds it. 0, or -EINVAL with one line in err. */
int args_device(const char *text, struct device_args *d, char *err, size_t errlen);
/* --console terminal or socket=PATH[,name=NAME]; --balloon [SIZE]: likewise. */
int args_console(const char *text, struct virtio_args *v, char *err, size_t errlen);
int args_balloon(const char *text, struct virtio_args *v, char *err, size_t errlen);
/* --disk FILE[,KEY[=VALUE]...], as args_device(). */
int args_disk(const char *text, struct virtio_args *v, char *err, size_t errlen);
/* --net user|tap=NAME[,KEY=VALUE]..., likewise; net_args.c. */
int args_net(const char *text, struct virtio_args *v, char *err, size_t errlen);
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
/* ps, kill, stop, pause, resume: life_args.c */
#define ARGS_LINES		20
#define ARGS_LINES_MAX		100000
#define ARGS_STOP_TIMEOUT	60	/* s */

struct life_args {
	char **names;			/* in argv */
	unsigned int count;
	unsigned int timeout;		/* s */
	bool all, json, help;
};

struct attach_args {
	const char *name;
	unsigned int lines;		/* that are shown first */
	bool read_only, log, help;
};

int args_attach(int argc, char **argv, struct attach_args *a, char *err, size_t errlen);
int args_life(int argc, char **argv, struct life_args *a, char *err, size_t errlen);
int args_run(int argc, char **argv, struct run_args *a, char *err, size_t errlen);

/* ---- the commands ----------------------------------------------------------- */

int cmd_run(int argc, char **argv);
int cmd_doctor(int argc, char **argv);
int cmd_explain(int argc, char **argv);
int cmd_stat(int argc, char **argv);
int cmd_ps(int argc, char **argv);
int cmd_life(int argc, char **argv);	/* kill, stop, pause, resume */
int cmd_console(int argc, char **argv);
int cmd_bench(int argc, char **argv);
int cmd_types(int argc, char **argv);
int cmd_seed(int argc, char **argv);

#endif /* CLEAVE_CMD_H */
