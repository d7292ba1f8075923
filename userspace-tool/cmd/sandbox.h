/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the process of a guest may still do once the guest is set up: no root
 * privileges, no new ones, no files but those of its runtime directory
 * (Landlock), and of each kind of thread the system calls that it needs
 * (seccomp). A device model that a guest has taken over can open nothing and
 * start nothing; and connect to nothing, but that of --net user, which is to.
 */
#ifndef CLEAVE_SANDBOX_H
#define CLEAVE_SANDBOX_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sandbox_thread {
	SANDBOX_VCPU,		/* runs the guest and most device models */
	SANDBOX_IO,		/* terminal, signals, deadlines */
	SANDBOX_CONTROL,	/* the socket for other commands, and their consoles */
	SANDBOX_DEVICE,		/* a device's own: files, sockets and eventfds that are open */
	SANDBOX_NET,		/* a network device's without a TAP interface: IPv4 sockets of its own */
	SANDBOX_MAIN,		/* waits for the end, and cleans up */
	SANDBOX_KINDS,
};

struct machine;

/* ---- sandbox.c -------------------------------------------------------------------- */

/*
 * Root becomes that user, by name or number, and all that comes is his: before
 * files are made, after those are open that only root may open. 0 or -errno
 * after one line on stderr.
 */
int sandbox_user(const char *user);
/*
 * Of the process, before it has threads. keep: the runtime directory, or -1; as
 * the above. 0 or -errno after one line on stderr.
 */
int sandbox_enter(struct machine *m, int keep);
/* By each thread, once it has its name, which is a file to others; harmless without the above. 0 or -errno. */
int sandbox_thread(enum sandbox_thread kind);

/* ---- landlock.c -------------------------------------------------------------------- */

/* Files below these directories alone, from now on. 0; -EOPNOTSUPP: not in this kernel; -errno. */
int landlock_enter(const int *keep, size_t count);

/* ---- seccomp.c --------------------------------------------------------------------- */

struct sock_filter;

#define SECCOMP_PROGRAM	512	/* instructions at most */

/* The filter for a kind of thread; how many instructions. exec: mappings may be executable. */
size_t seccomp_build(enum sandbox_thread kind, bool exec, struct sock_filter *program);
bool seccomp_there(void);
int seccomp_enter(enum sandbox_thread kind, bool exec);
/* A line about a call that was refused, to buf; async-signal-safe. SIGSYS of another source: 0. */
size_t seccomp_tell(const siginfo_t *info, const char *name, char *buf, size_t size);

#endif /* CLEAVE_SANDBOX_H */
