/* SPDX-License-Identifier: GPL-2.0 */
/* Instances: what `cleave launch` makes and starts, between its files. */
#ifndef CLEAVE_LAUNCH_H
#define CLEAVE_LAUNCH_H

#include "cmd.h"
#include "launch/store.h"

struct launch_args {
	const char *name, *type, *image, *keys, *user_data, *net, *types;	/* or NULL */
	bool no_limits, wait, json;
	unsigned int wait_s;
};

struct instance {
	char name[STORE_NAME + 1];
	char dir[PATH_MAX];
	char type[ARGS_TYPE_NAME + 1], image[STORE_NAME + 1], login[STORE_LOGIN + 1];
	int lock;			/* of dir, while it is made and started; or -1 */
	unsigned int port;		/* of the host's, that leads to its SSH; 0: none */
};

/* instance.c. The first two: 0 or a status after one line on stderr. */
/* Where it is, or would be. */
int instance_at(const char *command, const char *name, struct instance *i);
/* Makes it, all or nothing. */
int instance_make(const struct launch_args *a, struct instance *i);
/* The options of --net that it is started with: 0 or -errno. */
int instance_put_net(const char *dir, const char *net);
/* What it was made of. False: there is none. */
bool instance_read(struct instance *i);
bool instance_runs(const char *name);

#endif /* CLEAVE_LAUNCH_H */
