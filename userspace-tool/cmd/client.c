// SPDX-License-Identifier: GPL-2.0
/* Asks the process of a guest by its socket. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "cmd.h"
#include "control.h"
#include "runtime.h"

#define ANSWER_MAX	(16U << 20)

static int wait_for(int fd, short events, const struct timespec *end)
{
	struct pollfd p = { .fd = fd, .events = events };
	struct timespec now;
	long long left;
	int n;

	clock_gettime(CLOCK_MONOTONIC, &now);
	left = (end->tv_sec - now.tv_sec) * 1000LL + (end->tv_nsec - now.tv_nsec) / 1000000;
	if (left <= 0)
		return -ETIMEDOUT;
	n = poll(&p, 1, left);
	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	return n ? 0 : -ETIMEDOUT;
}

static int send_all(int fd, const char *text, const struct timespec *end)
{
	size_t len = strlen(text), sent = 0;
	int ret = 0;

	while (!ret && sent < len) {
		ssize_t n = send(fd, text + sent, len - sent, MSG_NOSIGNAL);

		if (n > 0)
			sent += n;
		else if (errno == EPIPE || errno == ECONNRESET)
			return -EPIPE;
		else if (errno != EAGAIN && errno != EINTR)
			return -errno;
		else
			ret = wait_for(fd, POLLOUT, end);
	}
	return ret;
}

/* A line, without its newline; exact: nothing behind it is taken, byte by byte. */
static int receive_line(int fd, bool exact, char **line, size_t *len, const struct timespec *end)
{
	size_t room = 0;
	int ret = 0;

	*line = NULL;
	*len = 0;
	while (!ret) {
		ssize_t n;

		if (*len == room) {
			char *p = room < ANSWER_MAX ? realloc(*line, room ? room * 2 : 65536) : NULL;

			if (!p)
				return room < ANSWER_MAX ? -ENOMEM : -EPROTO;
			room = room ? room * 2 : 65536;
			*line = p;
		}
		n = recv(fd, *line + *len, exact ? 1 : room - *len, 0);
		if (n > 0) {
			*len += n;
			if ((*line)[*len - 1] != '\n')
				continue;
			(*len)--;
			return 0;
		}
		if (!n || errno == ECONNRESET)
			return -EPIPE;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		ret = wait_for(fd, POLLIN, end);
	}
	return ret;
}

int client_open(struct runtime *r)
{
	char err[PATH_MAX + 256];
	int ret = runtime_open(r, false, err, sizeof(err));

	/* Without a directory nothing will be found in it. */
	if (!ret || ret == -ENOENT)
		return 0;
	complain("%s", err);
	return STATUS_ERROR;
}

struct timespec client_until(uint64_t ms)
{
	struct timespec end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += ms / 1000;
	end.tv_nsec += ms % 1000 * 1000000;
	if (end.tv_nsec >= 1000000000) {
		end.tv_nsec -= 1000000000;
		end.tv_sec++;
	}
	return end;
}

int client_begin(const struct runtime *r, const char *name, const char *request,
		 const struct timespec *end)
{
	int fd = runtime_connect(r, name, CONTROL_TIMEOUT_MS), ret;

	if (fd < 0)
		return fd == -EAGAIN ? -ETIMEDOUT : fd;
	ret = send_all(fd, request, end);
	if (!ret)
		ret = send_all(fd, "\n", end);
	if (!ret)
		return fd;
	close(fd);
	return ret;
}

static int receive(int fd, bool exact, const struct timespec *end, struct json_object **answer)
{
	char *line = NULL;
	size_t len = 0;
	int ret = receive_line(fd, exact, &line, &len, end);

	*answer = NULL;
	if (!ret) {
		*answer = doc_parse(line, len);
		ret = !*answer ? -EPROTO : doc_get_text(*answer, "error") ? -EREMOTEIO : 0;
	}
	free(line);
	return ret;
}

int client_end(int fd, const struct timespec *end, struct json_object **answer)
{
	return receive(fd, false, end, answer);
}

int client_head(int fd, const struct timespec *end, struct json_object **answer)
{
	return receive(fd, true, end, answer);
}

int client_ask(const struct runtime *r, const char *name, const char *request,
	       struct json_object **answer)
{
	/* Longer than the other side waits, so that it is heard why. */
	struct timespec end = client_until(CONTROL_TIMEOUT_MS + 2000);
	int fd = client_begin(r, name, request, &end), ret;

	*answer = NULL;
	if (fd < 0)
		return fd;
	ret = client_end(fd, &end, answer);
	close(fd);
	return ret;
}

int client_process(int fd, pid_t *pid)
{
	struct pollfd hung_up = { .fd = fd };
	struct ucred peer = { 0 };
	socklen_t len = sizeof(peer);
	int pidfd;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return -errno;
	*pid = peer.pid;
	pidfd = peer.pid > 0 ? pidfd_open(peer.pid, 0) : -1;
	if (pidfd < 0)
		return -ESRCH;
	/* Who listens there still is who the number is of: it cannot be another's yet. */
	if (poll(&hung_up, 1, 0) == 0)
		return pidfd;
	close(pidfd);
	return -ESRCH;
}

static void no_guest(const struct runtime *r, const char *name, int error, char *text, size_t size)
{
	char known[256], *report;
	size_t len;

	if (!runtime_load(r, name, &report, &len)) {
		free(report);
		snprintf(text, size, "the guest died; `cleave explain %s` tells why", name);
		return;
	}
	runtime_list(r, known, sizeof(known));
	if (error == -ECONNREFUSED)
		snprintf(text, size, "its process was killed and left nothing to tell; start it again");
	else if (*known)
		snprintf(text, size, "no such guest; %s knows %s", r->path, known);
	else
		snprintf(text, size,
			 "no such guest, nor any other in %s; `cleave run --name %s` starts one",
			 r->path, name);
}

int client_why(const struct runtime *r, const char *name, int error, struct json_object *answer,
	       char *text, size_t size)
{
	switch (-error) {
	case ENOENT:
	case ECONNREFUSED:
	case EPIPE:
		no_guest(r, name, error, text, size);
		return STATUS_NO_GUEST;
	case ETIMEDOUT:
		snprintf(text, size, "its process does not answer; is it stopped (Ctrl-Z), or the host busy? Try again");
		break;
	case EREMOTEIO:
		snprintf(text, size, "%s", doc_get_text(answer, "error"));
		break;
	case EPROTO:
		snprintf(text, size, "its process answers what this command does not understand; use the `cleave` that runs it");
		break;
	default:
		snprintf(text, size, "%s", strerror(-error));
	}
	return STATUS_ERROR;
}

int client_failed(const struct runtime *r, const char *name, int error, struct json_object *answer)
{
	char text[PATH_MAX + 512];
	int status = client_why(r, name, error, answer, text, sizeof(text));

	complain("%s: %s", name, text);
	return status;
}
