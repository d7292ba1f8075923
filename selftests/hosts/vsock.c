// SPDX-License-Identifier: GPL-2.0
/*
 * vsock connect CID PORT, vsock listen PORT: what comes in goes to the other end of a socket of
 * AF_VSOCK, and what comes from there out, until both have ended. Of listen: of the first who
 * connects. In the test host, and in its guests.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h>
#include <sys/wait.h>
#include <unistd.h>

static int copy(int from, int to)
{
	static char buf[65536];
	ssize_t n, done, put;

	while ((n = read(from, buf, sizeof(buf))) > 0)
		for (done = 0; done < n; done += put) {
			put = write(to, buf + done, n - done);
			if (put <= 0)
				return 1;
		}
	return n < 0;
}

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(int argc, char **argv)
{
	struct sockaddr_vm a = { .svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY };
	int fd = socket(AF_VSOCK, SOCK_STREAM, 0), status, ret;
	bool listens = argc == 3 && !strcmp(argv[1], "listen");
	pid_t pid;

	if (!listens && (argc != 4 || strcmp(argv[1], "connect")))
		return 2;
	a.svm_port = atoi(argv[argc - 1]);
	if (fd < 0)
		return fail("socket");
	if (listens) {
		if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 1))
			return fail("listen");
		fd = accept(fd, NULL, NULL);
		if (fd < 0)
			return fail("accept");
	} else {
		a.svm_cid = strtoul(argv[2], NULL, 0);
		if (connect(fd, (struct sockaddr *)&a, sizeof(a)))
			return fail("connect");
	}
	pid = fork();
	if (!pid) {
		ret = copy(STDIN_FILENO, fd);
		shutdown(fd, SHUT_WR);
		return ret;
	}
	ret = copy(fd, STDOUT_FILENO);
	return waitpid(pid, &status, 0) != pid || status || ret;
}
