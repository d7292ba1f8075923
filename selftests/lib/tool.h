/* SPDX-License-Identifier: GPL-2.0 */
/* `cleave run` with one of the kernels that there are, and what it says. */
#ifndef SELFTESTS_TOOL_H
#define SELFTESTS_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define TOOL_BOOT_MS	120000
#define TOOL_OUTPUT	(1 << 18)

struct tool {
	pid_t pid;
	int fd;			/* what it says */
	size_t len, shown;
	char out[TOOL_OUTPUT];
};

extern char tool_kernel[300];

/* The which-th kernel of those that have drivers to go with them. */
bool tool_find_kernel(int which);
/* cleave run --name NAME with these words behind the usual ones; NULL behind the last. */
void tool_start(struct tool *t, const char *name, const char *append, char *const words[]);
/* What has come by now; lines go to our output as comments, but those with quiet in them. False: no more will. */
bool tool_more(struct tool *t, const char *quiet);
bool tool_said(const struct tool *t, const char *text);
/* Waits until it has said that, for as long as a boot may take. */
bool tool_hear(struct tool *t, const char *text, const char *quiet);
/* Its exit status, or -signal, once it has said all. */
int tool_finish(struct tool *t, const char *quiet);
/* Or kills it. */
void tool_kill(struct tool *t);
/* The number behind the last of this text, or -1. */
int tool_last(const struct tool *t, const char *text);
/* The number behind key in what `cleave stat` says of the device; -1: none. */
long tool_stat(const char *name, const char *device, const char *key);
/* A unix socket, once somebody listens there. */
int tool_dial(const char *path);

#endif
