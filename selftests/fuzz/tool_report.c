// SPDX-License-Identifier: GPL-2.0
/*
 * The directory of guests that died, and their reports as `cleave explain` tells
 * them. Input: a file's name, a newline, the report.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include "cmd/explain.c"
#include "tool.h"

static char line[2048];

void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
}

static struct runtime runtime;

static void clean(void)
{
	char command[PATH_MAX];

	snprintf(command, sizeof(command), "rm -rf %.*s", (int)(strlen(runtime.path) - 7), runtime.path);
	PROMISE(!system(command));
}

static void begin(void)
{
	char home[] = "/tmp/cleave-fuzz-XXXXXX", err[PATH_MAX + 256];

	PROMISE(mkdtemp(home));
	setenv("XDG_RUNTIME_DIR", home, 1);
	PROMISE(!runtime_open(&runtime, true, err, sizeof(err)));
	atexit(clean);
}

/* None but those that a guest could have. */
static void check_list(void)
{
	char text[256], *name, *rest = text;

	runtime_list(&runtime, text, sizeof(text));
	PROMISE(strlen(text) < sizeof(text));
	while (*text && (name = strsep(&rest, ",")))
		PROMISE(args_name(*name == ' ' ? name + 1 : name));
}

static void with_name(const char *name, size_t len)
{
	char path[300];
	int fd;

	if (!len || len >= 256 || memchr(name, '/', len) || memchr(name, 0, len))
		return;
	snprintf(path, sizeof(path), "%.*s", (int)len, name);
	if (!strcmp(path, ".") || !strcmp(path, "..") || !strcmp(path, "g.json"))
		return;
	fd = openat(runtime.dir, path, O_CREAT | O_WRONLY, 0600);
	if (fd < 0)
		return;
	close(fd);
	check_list();
	unlinkat(runtime.dir, path, 0);
}

static void with_report(const uint8_t *data, size_t len, const struct cleave_symbols *symbols)
{
	int fd = openat(runtime.dir, "g.json", O_CREAT | O_TRUNC | O_WRONLY, 0600);
	struct json_object *doc = NULL;
	char *text = NULL;
	size_t room = 0;
	FILE *f;

	PROMISE(fd >= 0 && write(fd, data, len) == (ssize_t)len && !close(fd));
	if (load(&runtime, "g", &doc))
		return;
	trim(doc, 5);
	if (symbols)
		symbolize(doc, symbols, "vmlinux", NULL);
	f = open_memstream(&text, &room);
	PROMISE(f);
	render_report(f, doc, 5, len & 2);
	PROMISE(!fclose(f));
	for (size_t i = 0; i < room; i++)
		PROMISE(text[i] == '\n' || (text[i] >= ' ' && text[i] <= '~'));
	free(text);
	json_object_put(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char map[] = "ffffffff81000000 T _text\nffffffff81000040 T entry_SYSCALL_64\n";
	static struct cleave_symbols *symbols;
	static struct memory_file f;
	const uint8_t *end = memchr(data, '\n', size);
	char err[256];

	if (!f.path[0]) {
		begin();
		file_make(&f);
		file_set(&f, map, sizeof(map) - 1);
		PROMISE(!cleave_symbols_open(f.path, &symbols, err, sizeof(err)));
	}
	if (!end)
		return 0;
	with_name((const char *)data, end - data);
	with_report(end + 1, data + size - end - 1, size & 1 ? symbols : NULL);
	return 0;
}
