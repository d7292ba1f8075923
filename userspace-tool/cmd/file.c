// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"

char *file_read(const char *command, const char *path, size_t max, size_t *size)
{
	char *data = malloc(max + 1);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = data && fd >= 0 ? 1 : -1;

	*size = 0;
	while (n > 0 && *size <= max) {
		n = read(fd, data + *size, max + 1 - *size);
		*size += n > 0 ? n : 0;
	}
	if (n < 0)
		complain("%s: %s: %s", command, path, strerror(errno));
	else if (*size > max)
		complain("%s: %s: longer than %zu bytes", command, path, max);
	if (fd >= 0)
		close(fd);
	if (n >= 0 && *size <= max)
		return data;
	free(data);
	return NULL;
}
