// SPDX-License-Identifier: GPL-2.0
/* `cleave console`: this terminal and the console of a guest that was started detached. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include "cmd.h"
#include "control.h"
#include "ring.h"
#include "runtime.h"

#define CTRL_A		1

static struct termios saved;
static bool raw;
static volatile sig_atomic_t stopped;

static void help(void)
{
	printf("usage: cleave console NAME [OPTION]...\n"
	       "Attaches this terminal to the console of a guest that was started by `cleave run\n"
	       "--detach`, and shows its last lines first. One terminal at a time writes; others read.\n\n"
	       "  -n, --lines N        so many lines of what came before (default: %u)\n"
	       "  -r, --read-only      write nothing, and leave that to another\n"
	       "  -l, --log            print all that is kept, of a guest that has ended too, and leave\n"
	       "  -h, --help           this\n\n"
	       "Keys: Ctrl-A d detaches, Ctrl-A a sends Ctrl-A.\n"
	       "Exit status: 0 detached, or the guest has ended; 1 it could not be done; 2 wrong usage;\n"
	       "%u no such guest.\n", ARGS_LINES, STATUS_NO_GUEST);
}

/* ---- the terminal ------------------------------------------------------------------ */

static void terminal_restore(void)
{
	if (raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &saved);
	raw = false;
}

/* Output processing stays on, as in console.c. */
static void terminal_raw(void)
{
	struct termios t;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &saved))
		return;
	t = saved;
	t.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	t.c_lflag &= ~(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	atexit(terminal_restore);
	raw = !tcsetattr(STDIN_FILENO, TCSADRAIN, &t);
}

static void on_stop(int sig)
{
	stopped = sig;
}

/* ---- what goes and what comes --------------------------------------------------------- */

struct attached {
	const char *name;
	int fd;
	bool writer, open, escape;	/* open: stdin */
	size_t count;
	char out[4096];			/* to the guest */
};

static void type(struct attached *a, char byte)
{
	if (a->writer && a->count < sizeof(a->out))
		a->out[a->count++] = byte;
}

/* False: detach. */
static bool keys(struct attached *a, const char *bytes, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (!a->escape) {
			a->escape = raw && bytes[i] == CTRL_A;
			if (!a->escape)
				type(a, bytes[i]);
			continue;
		}
		a->escape = false;
		switch (bytes[i]) {
		case 'd':
			return false;
		case 'a':
		case CTRL_A:
			type(a, CTRL_A);
			break;
		default:
			complain("Ctrl-A d detaches, Ctrl-A a sends Ctrl-A");
		}
	}
	return true;
}

static bool take_keys(struct attached *a)
{
	char bytes[256];
	ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));

	if (n > 0)
		return keys(a, bytes, n);
	if (!n || (errno != EINTR && errno != EAGAIN))
		a->open = false;	/* it is shown all the same */
	return true;
}

static void send_keys(struct attached *a)
{
	ssize_t n = send(a->fd, a->out, a->count, MSG_NOSIGNAL);

	if (n > 0) {
		a->count -= n;
		memmove(a->out, a->out + n, a->count);
	}
}

/* 1: go on; 0: the guest has ended; -errno of stdout. */
static int show(struct attached *a)
{
	char bytes[8192];
	ssize_t n = recv(a->fd, bytes, sizeof(bytes), 0), done = 0;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 1;
	if (n <= 0)
		return 0;
	while (done < n && !stopped) {
		ssize_t k = write(STDOUT_FILENO, bytes + done, n - done);
		struct pollfd room = { .fd = STDOUT_FILENO, .events = POLLOUT };

		if (k >= 0)
			done += k;
		else if (errno == EAGAIN)
			poll(&room, 1, -1);
		else if (errno != EINTR)
			return -errno;
	}
	return 1;
}

static int attached(struct attached *a)
{
	int ret = 1;

	while (!stopped) {
		/* A file waits until what was read of it is sent; a terminal's Ctrl-A d does not. */
		struct pollfd fd[] = {
			{ .fd = a->fd, .events = POLLIN | (a->count ? POLLOUT : 0) },
			{ .fd = a->open && (raw || !a->count) ? STDIN_FILENO : -1, .events = POLLIN },
		};

		if (poll(fd, 2, -1) < 0)
			continue;
		if (fd[0].revents & (POLLIN | POLLHUP | POLLERR))
			ret = show(a);
		if (ret <= 0)
			break;
		if (fd[0].revents & POLLOUT)
			send_keys(a);
		if (fd[1].revents && !take_keys(a)) {
			terminal_restore();
			complain("%s: detached; it runs on", a->name);
			return 0;
		}
	}
	terminal_restore();
	if (ret < 0)
		complain("stdout: %s", strerror(-ret));
	else if (!ret)
		complain("%s: the guest has ended", a->name);
	return ret < 0 ? STATUS_ERROR : stopped ? STATUS_SIGNAL + stopped : 0;
}

/* ---- the command ------------------------------------------------------------------------ */

static int attach(const struct runtime *r, const struct attach_args *args)
{
	struct sigaction stop = { .sa_handler = on_stop };
	struct timespec end = client_until(CONTROL_TIMEOUT_MS + 2000);
	struct attached a = { .name = args->name, .open = true };
	struct json_object *answer = NULL;
	const char *role;
	char request[96];
	int ret;

	snprintf(request, sizeof(request), "{\"command\":\"console\",\"write\":%s,\"lines\":%u}",
		 args->read_only ? "false" : "true", args->lines);
	a.fd = client_begin(r, args->name, request, &end);
	ret = a.fd < 0 ? a.fd : client_head(a.fd, &end, &answer);
	role = doc_get_text(answer, "console");
	if (!ret && !role)
		ret = -EPROTO;
	if (ret) {
		ret = client_failed(r, args->name, ret, answer);
	} else {
		a.writer = !strcmp(role, "writer");
		sigaction(SIGTERM, &stop, NULL);
		sigaction(SIGHUP, &stop, NULL);
		sigaction(SIGINT, &stop, NULL);
		terminal_raw();
		if (raw)
			complain("%s: %s; Ctrl-A d detaches", args->name, a.writer ? "attached" :
				 args->read_only ? "attached to read" :
				 "attached to read, as another terminal writes");
		ret = attached(&a);
	}
	json_object_put(answer);
	if (a.fd >= 0)
		close(a.fd);
	return ret;
}

/* What is kept, whether the guest lives or not. */
static int print_log(const struct runtime *r, const char *name)
{
	char file[ARGS_NAME_MAX + 8];
	struct ring *ring;
	uint64_t pos = 0, lost;
	uint8_t buf[8192];
	size_t n;
	int ret;

	snprintf(file, sizeof(file), "%s.log", name);
	ret = r->dir < 0 ? -ENOENT : ring_load(r->dir, file, &ring);
	if (ret == -ENOENT) {
		complain("%s: there is no log of such a guest; `cleave run --detach` keeps one", name);
		return STATUS_NO_GUEST;
	}
	if (ret) {
		complain("%s/%s: %s", r->path, file,
			 ret == -EBADMSG ? "no log of a guest; remove it" : strerror(-ret));
		return STATUS_ERROR;
	}
	while ((n = ring_get(ring, &pos, buf, sizeof(buf), &lost)))
		fwrite(buf, 1, n, stdout);
	free(ring);
	if (!fflush(stdout))
		return 0;
	complain("stdout: %s", strerror(errno));
	return STATUS_ERROR;
}

int cmd_console(int argc, char **argv)
{
	struct attach_args args;
	char err[PATH_MAX + 256];
	struct runtime r;
	int ret;

	if (args_attach(argc, argv, &args, err, sizeof(err))) {
		complain("%s", err);
		return STATUS_USAGE;
	}
	if (args.help) {
		help();
		return 0;
	}
	ret = client_open(&r);
	if (ret)
		return ret;
	ret = args.log ? print_log(&r, args.name) : attach(&r, &args);
	runtime_close(&r);
	return ret;
}
