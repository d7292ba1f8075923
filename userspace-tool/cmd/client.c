// SPDX-License-Identifier: GPL-2.0
/* Asks the process of a guest by its socket. */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
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

/* A line, without its newline. */
static int receive_line(int fd, char **line, size_t *len, const struct timespec *end)
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
		n = recv(fd, *line + *len, room - *len, 0);
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

int client_ask(const struct runtime *r, const char *name, const char *request,
	       struct json_object **answer)
{
	int fd = runtime_connect(r, name, CONTROL_TIMEOUT_MS), ret;
	struct timespec end;
	char *line = NULL;
	size_t len = 0;

	*answer = NULL;
	if (fd < 0)
		return fd == -EAGAIN ? -ETIMEDOUT : fd;
	clock_gettime(CLOCK_MONOTONIC, &end);
	/* Longer than the other side waits, so that it is heard why. */
	end.tv_sec += CONTROL_TIMEOUT_MS / 1000 + 2;
	ret = send_all(fd, request, &end);
	if (!ret)
		ret = send_all(fd, "\n", &end);
	if (!ret)
		ret = receive_line(fd, &line, &len, &end);
	close(fd);
	if (!ret) {
		*answer = doc_parse(line, len);
		ret = !*answer ? -EPROTO : doc_get_text(*answer, "error") ? -EREMOTEIO : 0;
	}
	free(line);
	return ret;
}

static void no_guest(const struct runtime *r, const char *name, int error)
{
	char known[256], *report;
	size_t len;

	if (!runtime_load(r, name, &report, &len)) {
		free(report);
		complain("%s: the guest died; `cleave explain %s` tells why", name, name);
		return;
	}
	runtime_list(r, known, sizeof(known));
	if (error == -ECONNREFUSED)
		complain("%s: its process was killed and left nothing to tell; start it again", name);
	else if (*known)
		complain("%s: no such guest; %s knows %s", name, r->path, known);
	else
		complain("%s: no such guest, nor any other in %s; `cleave run --name %s` starts one",
			 name, r->path, name);
}

int client_failed(const struct runtime *r, const char *name, int error, struct json_object *answer)
{
	switch (-error) {
	case ENOENT:
	case ECONNREFUSED:
	case EPIPE:
		no_guest(r, name, error);
		return STATUS_NO_GUEST;
	case ETIMEDOUT:
		complain("%s: its process does not answer; is it stopped (Ctrl-Z), or the host busy? Try again", name);
		return STATUS_ERROR;
	case EREMOTEIO:
		complain("%s: %s", name, doc_get_text(answer, "error"));
		return STATUS_ERROR;
	case EPROTO:
		complain("%s: its process answers what this command does not understand; use the `cleave` that runs it",
			 name);
		return STATUS_ERROR;
	}
	complain("%s: %s", name, strerror(-error));
	return STATUS_ERROR;
}
