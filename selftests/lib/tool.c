// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include "host.h"
#include "tool.h"

char tool_kernel[300];
static char initrd[300];

bool tool_find_kernel(int which)
{
	const char *guests = getenv("CLEAVE_GUESTS") ?: "/guest";
	struct dirent **list;
	int n = scandir(guests, &list, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		snprintf(tool_kernel, sizeof(tool_kernel), "%s/%s/vmlinuz", guests, list[i]->d_name);
		snprintf(initrd, sizeof(initrd), "%s/%s/virtio", guests, list[i]->d_name);
		if (list[i]->d_name[0] != '.' && !access(tool_kernel, R_OK) && !access(initrd, R_OK) && !which--)
			return true;
	}
	return false;
}

void tool_start(struct tool *t, const char *name, const char *append, char *const words[])
{
	const char *argv[40] = { "cleave", "run", "--kernel", tool_kernel, "--initrd", initrd, "--memory", "384M",
				 "--name", name, "--append", append };
	int n = 12, fd[2];

	while (*words)
		argv[n++] = *words++;
	memset(t, 0, sizeof(*t));
	if (pipe2(fd, O_CLOEXEC))
		DIE("pipe");
	t->pid = fork();
	if (!t->pid) {
		int null = open("/dev/null", O_RDONLY);

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(null, 0);
		dup2(fd[1], 1);
		dup2(fd[1], 2);
		execvp("cleave", (char *const *)argv);
		_exit(127);
	}
	close(fd[1]);
	t->fd = fd[0];
}

bool tool_more(struct tool *t, const char *quiet)
{
	struct pollfd fd = { .fd = t->fd, .events = POLLIN };
	char *end, line[40] = "";
	ssize_t n;

	if (poll(&fd, 1, 100) <= 0 || t->len == sizeof(t->out) - 1)
		return true;
	n = read(t->fd, t->out + t->len, sizeof(t->out) - 1 - t->len);
	if (n <= 0)
		return false;
	t->len += n;
	while ((end = memchr(t->out + t->shown, '\n', t->len - t->shown))) {
		if (!quiet || !strstr(strncpy(line, t->out + t->shown, sizeof(line) - 1), quiet))
			printf("# %.*s\n", (int)(end - t->out - t->shown), t->out + t->shown);
		t->shown = end + 1 - t->out;
	}
	return true;
}

bool tool_said(const struct tool *t, const char *text)
{
	return strstr(t->out, text) != NULL;
}

bool tool_hear(struct tool *t, const char *text, const char *quiet)
{
	uint64_t until = now_ns() + TOOL_BOOT_MS * MS * patience();

	while (!tool_said(t, text) && now_ns() < until)
		if (!tool_more(t, quiet))
			break;
	return tool_said(t, text);
}

int tool_finish(struct tool *t, const char *quiet)
{
	uint64_t until = now_ns() + TOOL_BOOT_MS * MS * patience();
	int status = -1;

	while (now_ns() < until && tool_more(t, quiet))
		;
	if (now_ns() >= until)
		kill(t->pid, SIGKILL);
	waitpid(t->pid, &status, 0);
	close(t->fd);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

void tool_kill(struct tool *t)
{
	kill(t->pid, SIGKILL);
	while (tool_more(t, ""))
		;
	close(t->fd);
	waitpid(t->pid, NULL, 0);
}

int tool_last(const struct tool *t, const char *text)
{
	int last = -1;

	for (const char *p = t->out; (p = strstr(p, text)); p++)
		if (strpbrk(p, "\r\n"))	/* else it may go on */
			last = atoi(p + strlen(text));
	return last;
}

long tool_stat(const char *name, const char *device, const char *key)
{
	static char text[65536];
	char word[80];
	FILE *f;
	size_t n;
	char *p;

	snprintf(word, sizeof(word), "cleave stat %s --json", name);
	f = popen(word, "re");
	n = fread(text, 1, sizeof(text) - 1, f);
	pclose(f);
	text[n] = 0;
	snprintf(word, sizeof(word), "\"device\":\"%s\"", device);
	p = strstr(text, word);
	snprintf(word, sizeof(word), "\"%s\":", key);
	p = p ? strstr(p, word) : NULL;
	return !p ? -1 : !strncmp(p + strlen(word), "true", 4) ? 1 : atol(p + strlen(word));
}

int tool_dial(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool there = false;

	strcpy(address.sun_path, path);
	if (!WAIT_FOR((there = there || !connect(fd, (struct sockaddr *)&address, sizeof(address))), 30000))
		DIE("%s: nobody listens", path);
	return fd;
}
