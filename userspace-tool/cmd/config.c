// SPDX-License-Identifier: GPL-2.0
/* Files of options: a line is `name = value`, as `--name value` on a command line. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config.h"

#define CONFIG_MAX	(64 << 10)

static int fail(char *err, size_t errlen, const char *path, const char *what, const char *remedy)
{
	snprintf(err, errlen, "--config %s: %s; %s", path, what, remedy);
	return -EINVAL;
}

int config_read(const char *path, char **text, char *err, size_t errlen)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), ret = 0;
	struct stat st;
	ssize_t n;

	*text = NULL;
	if (fd < 0 || fstat(fd, &st)) {
		ret = -errno;
		fail(err, errlen, path, strerror(errno), "check the path and its permissions");
	} else if (!S_ISREG(st.st_mode) || st.st_size > CONFIG_MAX) {
		ret = fail(err, errlen, path, "not a file of at most 64 KiB", "name another");
	} else {
		*text = calloc(1, st.st_size + 1);
		n = *text ? read(fd, *text, st.st_size) : -1;
		if (n != st.st_size || strlen(*text) != (size_t)n)
			ret = fail(err, errlen, path, "cannot be read as text", "give a text file");
	}
	if (fd >= 0)
		close(fd);
	if (ret) {
		free(*text);
		*text = NULL;
	}
	return ret;
}

static char *trim(char *text)
{
	char *end;

	text += strspn(text, " \t");
	end = text + strlen(text);
	while (end > text && strchr(" \t\r", end[-1]))
		end--;
	*end = 0;
	return text;
}

int config_line(char **text, unsigned int *nr, char **name, char **value)
{
	while (**text) {
		char *line = *text, *end = strchr(line, '\n'), *equals;

		*text = end ? end + 1 : line + strlen(line);
		if (end)
			*end = 0;
		++*nr;
		line = trim(line);
		if (!*line || *line == '#')
			continue;
		equals = strchr(line, '=');
		*value = NULL;
		if (equals) {
			*equals = 0;
			*value = trim(equals + 1);
		}
		*name = trim(line);
		return **name ? 1 : -EINVAL;
	}
	return 0;
}
