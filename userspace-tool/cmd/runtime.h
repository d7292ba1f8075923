/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The directory where this user's guests are found by their names: N.sock of
 * a guest that lives, N.json, its last report, of one that died.
 */
#ifndef CLEAVE_RUNTIME_H
#define CLEAVE_RUNTIME_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

struct runtime {
	int dir;		/* or -1 */
	char path[PATH_MAX];
};

/*
 * $XDG_RUNTIME_DIR/cleave, else /run/cleave for root, else /tmp/cleave-UID:
 * this user's and closed to others. 0 or -errno with one line in err; -ENOENT:
 * it is not there, and create is false: r knows no guest then.
 */
int runtime_open(struct runtime *r, bool create, char *err, size_t errlen);
void runtime_close(struct runtime *r);

/*
 * Takes the name: a socket that listens; forgets a guest of that name that is
 * gone. -EADDRINUSE: a guest that lives has it.
 */
int runtime_claim(const struct runtime *r, const char *name);
void runtime_release(const struct runtime *r, const char *name);	/* a name that was claimed */
/* -ENOENT: no such guest; -ECONNREFUSED: its process is gone; waits timeout_ms at most. */
int runtime_connect(const struct runtime *r, const char *name, int timeout_ms);
int runtime_save(const struct runtime *r, const char *name, const char *text);
/* The text, to be freed, ends with a zero byte. 0 or -errno. */
int runtime_load(const struct runtime *r, const char *name, char **text, size_t *len);
/* What there is of a guest. */
struct runtime_entry {
	char name[65];
	bool socket, report;
};

/* All of them by name, to be freed; how many, or -errno. */
int runtime_entries(const struct runtime *r, struct runtime_entry **entries);
/* "a, b, c" of those that live or died here, cut to fit; empty if there are none. */
void runtime_list(const struct runtime *r, char *text, size_t size);

#endif /* CLEAVE_RUNTIME_H */
