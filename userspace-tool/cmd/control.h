/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The socket by which other commands ask the process of a guest;
 * Documentation/api.rst has the protocol.
 */
#ifndef CLEAVE_CONTROL_H
#define CLEAVE_CONTROL_H

#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include "doc.h"

#define CONTROL_API		1	/* more when what there is changes its meaning */
#define CONTROL_REQUEST_MAX	4096	/* bytes of a request, with its newline */
#define CONTROL_CLIENTS		32	/* served at a time; more wait */
#define CONTROL_WAITERS		8	/* of those at most wait for the guest's end, */
#define CONTROL_CONSOLES	16	/* and have its console */
#define CONTROL_LINES		20	/* of it that are shown first, unless asked for others */
#define CONTROL_TIMEOUT_MS	10000	/* for a request to come, or an answer to be taken */

struct machine;
struct vcpu;
struct control;

/* ---- control.c: in the process of the guest -------------------------------------- */

/*
 * Takes the guest's name: the one chosen by its user, or, if none was, name or
 * name-2, name-3 ... which it then becomes. 0; -EADDRINUSE after one line on
 * stderr. If there is no place for a socket the guest can do without: 0 after
 * a warning, and m->control stays NULL.
 */
int control_claim(struct machine *m, char *name, size_t size, bool chosen);
/*
 * The guest's console is a log in the runtime directory, and for those who ask
 * for it: m->hub is set. 0, or -errno after one line on stderr.
 */
int control_keep_console(struct machine *m);
/* The runtime directory, or -1. */
int control_directory(struct machine *m);
void control_start(struct machine *m);	/* the thread; signals are masked already */
void control_stop(struct machine *m);	/* gives the name back; harmless without a start */
/* By v's thread whenever CLEAVE_RUN was interrupted. */
void control_serve(struct vcpu *v);
void control_wake(struct machine *m);	/* the last vCPU is out: see pause_ask() */
/* Keeps the report of a guest that died, for `cleave explain`. */
void control_died(struct machine *m, struct json_object *report);

/* ---- client.c: in the process that asks -------------------------------------------- */

struct runtime;

/* 0, or the exit status after one line on stderr. */
int client_open(struct runtime *r);
/*
 * One request, one answer. 0; -ENOENT, -ECONNREFUSED as runtime_connect();
 * -EPIPE: it ended before it answered; -ETIMEDOUT; -EPROTO: what came is no
 * answer; -EREMOTEIO: it refused, *answer says why in "error".
 */
int client_ask(const struct runtime *r, const char *name, const char *request,
	       struct json_object **answer);
/*
 * The two halves of client_ask(): a connection to which the request is sent, or
 * -errno; its answer until end, by CLOCK_MONOTONIC. The caller closes it.
 */
int client_begin(const struct runtime *r, const char *name, const char *request,
		 const struct timespec *end);
int client_end(int fd, const struct timespec *end, struct json_object **answer);
/* The same, when other bytes follow the answer: they are left. */
int client_head(int fd, const struct timespec *end, struct json_object **answer);
/* In so many ms. */
struct timespec client_until(uint64_t ms);
/*
 * The process at the other end, whether it answers or not: a pidfd, and its
 * number. -ESRCH: it is gone, or of another PID namespace.
 */
int client_process(int fd, pid_t *pid);
/* What an error of client_ask() means, in a line; the exit status for it. */
int client_why(const struct runtime *r, const char *name, int error, struct json_object *answer,
	       char *text, size_t size);
/* One line on stderr for an error of client_ask(); the exit status for it. */
int client_failed(const struct runtime *r, const char *name, int error,
		  struct json_object *answer);

#endif /* CLEAVE_CONTROL_H */
