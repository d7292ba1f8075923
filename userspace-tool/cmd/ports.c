// SPDX-License-Identifier: GPL-2.0
/* Where the ports of the console device lead. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "sandbox.h"
#include "virtio.h"

#define BACKLOG	4

static ssize_t to_terminal(void *ctx, const void *data, size_t len)
{
	console_write(ctx, data, len);
	return len;
}

/* Keys come by a socket, from the thread that reads the terminal. */
static int open_terminal(struct machine *m, struct console_port *p)
{
	int fd[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd)) {
		complain("--console terminal: %s; see ulimit -n", strerror(errno));
		return -errno;
	}
	m->keys = fd[0];
	p->console = true;
	p->fd = fd[1];
	p->write = to_terminal;
	p->ctx = m;
	return 0;
}

/*
 * One that nobody listens at any more, which an earlier guest has left: to remove it at the
 * end a process would have to keep the right to remove whatever else is there.
 */
static bool is_stale(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat st;
	bool stale;

	stale = fd >= 0 && !lstat(address->sun_path, &st) && S_ISSOCK(st.st_mode) &&
		connect(fd, (const struct sockaddr *)address, sizeof(*address)) && errno == ECONNREFUSED;
	if (fd >= 0)
		close(fd);
	return stale;
}

static int open_socket(const struct port_args *a, struct console_port *p)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int ret, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	strcpy(address.sun_path, a->socket);
	if (fd >= 0 && is_stale(&address))
		unlink(a->socket);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    chmod(a->socket, 0600) || listen(fd, BACKLOG)) {
		ret = -errno;
		complain("--console socket=%s: %s; %s", a->socket, strerror(-ret), ret == -EADDRINUSE ?
			 "remove it, or name another place" : "check the path and its permissions");
		if (fd >= 0)
			close(fd);
		return ret;
	}
	p->console = !a->name[0];
	strcpy(p->name, a->name);
	p->listen = fd;
	return 0;
}

void ports_close(struct console_port *port, unsigned int n)
{
	while (n--) {
		if (port[n].fd >= 0)
			close(port[n].fd);
		if (port[n].listen >= 0)
			close(port[n].listen);
	}
}

int ports_open(struct machine *m, struct console_port port[CONSOLE_PORTS])
{
	const struct virtio_args *a = &m->args->virtio;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < a->ports && !ret; i++) {
		port[i] = (struct console_port){ .fd = -1, .listen = -1 };
		ret = a->port[i].socket[0] ? open_socket(&a->port[i], &port[i]) :
					     open_terminal(m, &port[i]);
	}
	if (ret)
		ports_close(port, i);
	return ret;
}
_Static_assert(ARGS_PORTS == CONSOLE_PORTS && ARGS_PORT_NAME == CONSOLE_NAME, "--console");
