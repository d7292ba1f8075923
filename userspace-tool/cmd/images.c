// SPDX-License-Identifier: GPL-2.0
/* `cleave images`: what instances can be made from. */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "block/block.h"
#include "cmd.h"
#include "doc.h"
#include "launch/store.h"
#include "progress.h"

#define ROOT	"root=/dev/vda"
#define APPEND	"rw console=ttyS0 quiet"
#define LOGIN	"debian"

struct images_args {
	const char *word[3];		/* add NAME FILE, remove NAME */
	unsigned int words;
	const char *kernel, *initrd, *append, *login;
	bool json;
};

static void help(void)
{
	printf("usage: cleave images [add NAME FILE | remove NAME] [OPTION]...\n"
	       "Lists the images that `cleave launch --image NAME` makes instances from: this user's,\n"
	       "and those of %s/images. `add` copies a disk, raw or qcow2, and its kernel to\n"
	       "this user's; `remove` removes one that no instance of this user's is made from.\n\n"
	       "  -k, --kernel FILE    of add; default: vmlinuz beside the disk's FILE, or in cloud\n"
	       "                       or generic there, as `make guest-image` leaves it\n"
	       "  -i, --initrd FILE    likewise; default: initrd beside the kernel, if there is one\n"
	       "  -a, --append STRING  of add: command line (default: \"" ROOT " " APPEND "\",\n"
	       "                       with the number of a GPT's root partition: " ROOT "2)\n"
	       "  -l, --login NAME     of add: whom cloud-init gives the SSH keys (default: " LOGIN ")\n"
	       "  -j, --json           a JSON array, of the list\n"
	       "  -h, --help           this\n\n"
	       "Exit status: 0; 1 it could not be done; 2 wrong usage.\n", STORE_SYSTEM);
}

static int usage(const char *why)
{
	complain("images: %s; `cleave images --help` tells the options", why);
	return STATUS_USAGE;
}

static int parse(int argc, char **argv, struct images_args *a)
{
	static const struct option options[] = {
		{ "kernel", required_argument, NULL, 'k' }, { "initrd", required_argument, NULL, 'i' },
		{ "append", required_argument, NULL, 'a' }, { "login", required_argument, NULL, 'l' },
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { }
	};
	int opt;

	*a = (struct images_args){ .login = LOGIN };
	while ((opt = getopt_long(argc, argv, "k:i:a:l:jh", options, NULL)) != -1) {
		const char **to = opt == 'k' ? &a->kernel : opt == 'i' ? &a->initrd :
				  opt == 'a' ? &a->append : opt == 'l' ? &a->login : NULL;

		if (opt == 'h') {
			help();
			exit(0);
		}
		if (opt == 'j')
			a->json = true;
		else if (!to)
			return STATUS_USAGE;
		else
			*to = optarg;
	}
	for (; optind < argc; optind++) {
		if (a->words == ARRAY_SIZE(a->word))
			return usage("too many words");
		a->word[a->words++] = argv[optind];
	}
	if (a->append && (strpbrk(a->append, "\n\r#") || strlen(a->append) >= sizeof(((struct image *)0)->append)))
		return usage("--append: one line of at most 1023 characters, without '#'");
	if (!store_name(a->login) || strlen(a->login) > STORE_LOGIN)
		return usage("--login: 1 to 32 letters, digits, '.', '_', '-'");
	return 0;
}

/* ---- the list ----------------------------------------------------------------------------- */

static int list(const struct images_args *a)
{
	struct json_object *array = json_object_new_array(), *o;
	char (*names)[STORE_NAME + 1], err[PATH_MAX + 256];
	int count = store_list("images", &names), i;
	struct image image;

	if (!a->json)
		printf("%-24s %8s %-6s %s\n", "NAME", "SIZE MiB", "FORMAT", "WHERE");
	for (i = 0; i < count; i++) {
		if (store_image(names[i], &image, err, sizeof(err)))
			continue;
		o = json_object_new_object();
		doc_text(o, "name", image.name);
		doc_count(o, "size", image.size);
		doc_text(o, "format", image.qcow2 ? "qcow2" : "raw");
		doc_text(o, "login", image.login);
		doc_text(o, "path", image.dir);
		json_object_array_add(array, o);
		if (!a->json)
			printf("%-24s %8" PRIu64 " %-6s %s\n", image.name, image.size >> 20,
			       image.qcow2 ? "qcow2" : "raw", image.dir);
	}
	if (a->json)
		puts(json_object_to_json_string_ext(array, JSON_C_TO_STRING_PRETTY |
						    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(array);
	free(names);
	if (!fflush(stdout))
		return 0;
	complain("stdout: %s", strerror(errno));
	return STATUS_ERROR;
}

/* ---- adding one ----------------------------------------------------------------------------- */

/* file in the directory of disk, or below that. */
static bool beside(const char *disk, const char *file, char path[PATH_MAX])
{
	const char *slash = strrchr(disk, '/');
	int dir = slash ? slash + 1 - disk : 0;

	return snprintf(path, PATH_MAX, "%.*s%s", dir, disk, file) < PATH_MAX && !access(path, R_OK);
}

static bool find_kernel(const struct images_args *a, char kernel[PATH_MAX])
{
	static const char *const places[] = { "vmlinuz", "cloud/vmlinuz", "generic/vmlinuz" };
	size_t i;

	if (a->kernel) {
		snprintf(kernel, PATH_MAX, "%s", a->kernel);
		return true;
	}
	for (i = 0; i < ARRAY_SIZE(places); i++)
		if (beside(a->word[2], places[i], kernel))
			return true;
	return false;
}

static bool is_qcow2(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	char magic[4] = "";
	bool is = fd >= 0 && read(fd, magic, 4) == 4 && !memcmp(magic, "QFI\xfb", 4);

	if (fd >= 0)
		close(fd);
	return is;
}

static int copy(const char *from, const char *dir, const char *file, bool wanted)
{
	char to[PATH_MAX];
	struct progress p;
	int ret;

	if (snprintf(to, sizeof(to), "%s/%s", dir, file) >= PATH_MAX)
		return STATUS_ERROR;
	progress_begin(&p, from);
	ret = store_copy(from, to, progress_bytes, &p);
	progress_end(&p);
	if (!ret || (ret == -ENOENT && !wanted))
		return 0;
	complain("images: %s to %s: %s; %s", from, to, strerror(-ret), ret == -ENOSPC ?
		 "free some space there" : "check the path and its permissions");
	return STATUS_ERROR;
}

/* What the kernel is told if nothing else was given. False, and said: no disk that a guest could have. */
static bool find_root(const char *path, bool qcow2, char append[64])
{
	const struct block_params params = { path, qcow2 ? BLOCK_QCOW2 : BLOCK_RAW, true, NULL };
	char err[PATH_MAX + 256];
	struct block *disk;
	unsigned int root;

	if (block_open(&params, &disk, err, sizeof(err))) {
		complain("images: %s", err);
		return false;
	}
	root = gpt_root(disk);
	disk->ops->close(disk);
	if (root)
		snprintf(append, 64, ROOT "%u " APPEND, root);
	else
		snprintf(append, 64, ROOT " " APPEND);
	return true;
}

static int fill(const struct images_args *a, const char *dir)
{
	char kernel[PATH_MAX], initrd[PATH_MAX], append[64], conf[2048];
	bool qcow2 = is_qcow2(a->word[2]);
	int n, ret;

	if (!find_root(a->word[2], qcow2, append))
		return STATUS_ERROR;
	if (!find_kernel(a, kernel)) {
		complain("images: no vmlinuz beside %s; give the kernel that boots it with --kernel", a->word[2]);
		return STATUS_ERROR;
	}
	ret = copy(kernel, dir, "kernel", true);
	if (!ret && (a->initrd || beside(kernel, "initrd", initrd)))
		ret = copy(a->initrd ?: initrd, dir, "initrd", true);
	if (!ret)
		ret = copy(a->word[2], dir, qcow2 ? "disk.qcow2" : "disk.raw", true);
	if (ret)
		return ret;
	n = snprintf(conf, sizeof(conf), "login = %s\nappend = %s\n", a->login, a->append ?: append);
	ret = store_put(dir, "image.conf", conf, n);
	if (ret)
		complain("images: %s/image.conf: %s", dir, strerror(-ret));
	return ret ? STATUS_ERROR : 0;
}

/* A new directory, locked: its descriptor or -errno. What one that was ended has left goes. */
static int stage(const char *new)
{
	int lock = store_lock(new);

	if (lock >= 0) {
		store_remove(new);
		close(lock);
	} else if (lock != -ENOENT) {
		return lock;
	}
	return mkdir(new, 0755) ? -errno : store_lock(new);
}

static int add(const struct images_args *a)
{
	char path[PATH_MAX], dir[PATH_MAX], new[PATH_MAX], err[PATH_MAX + 256];
	int ret, lock;

	if (a->words != 3)
		return usage("add wants a NAME, and the FILE of a disk");
	if (!store_name(a->word[1]))
		return usage("a name has 1 to 63 letters, digits, '.', '_', '-'");
	if (store_directory("images", true, path, err, sizeof(err))) {
		complain("images: %s", err);
		return STATUS_ERROR;
	}
	if (snprintf(dir, sizeof(dir), "%s/%s", path, a->word[1]) >= PATH_MAX ||
	    snprintf(new, sizeof(new), "%s/.%s.new", path, a->word[1]) >= PATH_MAX || !access(dir, F_OK)) {
		complain("images: %s: is there already; give another name, or `cleave images remove %s`", dir,
			 a->word[1]);
		return STATUS_ERROR;
	}
	lock = stage(new);
	if (lock < 0) {
		complain("images: %s: %s", new, lock == -EBUSY ?
			 "another `cleave images add` of that name is under way; wait for its end" : strerror(-lock));
		return STATUS_ERROR;
	}
	ret = fill(a, new);
	if (!ret && rename(new, dir)) {
		complain("images: %s: %s", dir, strerror(errno));
		ret = STATUS_ERROR;
	}
	if (ret)
		store_remove(new);
	else
		printf("%s: %s\n", a->word[1], dir);
	close(lock);
	return ret;
}

/* ---- removing one ----------------------------------------------------------------------------- */

/* The first of this user's instances that needs it. */
static bool used_by(const char *image, char name[STORE_NAME + 1])
{
	char path[PATH_MAX], dir[PATH_MAX], of[STORE_NAME + 1], err[PATH_MAX + 64], (*names)[STORE_NAME + 1];
	int count = store_list("instances", &names), i;
	bool found = false;

	for (i = 0; i < count && !found; i++) {
		found = !store_directory("instances", false, path, err, sizeof(err)) &&
			snprintf(dir, sizeof(dir), "%s/%s", path, names[i]) < PATH_MAX &&
			store_get(dir, "instance.conf", "image", of, sizeof(of)) && !strcmp(of, image);
		if (found)
			strcpy(name, names[i]);
	}
	free(names);
	return found;
}

static int remove_image(const struct images_args *a)
{
	char name[STORE_NAME + 1], err[PATH_MAX + 256];
	struct image image;
	int ret;

	if (a->words != 2)
		return usage("remove wants a NAME");
	if (store_image(a->word[1], &image, err, sizeof(err))) {
		complain("images: %s", err);
		return STATUS_ERROR;
	}
	if (used_by(image.name, name)) {
		complain("images: %s: instance %s is made from it; `cleave delete %s` first", image.name, name, name);
		return STATUS_ERROR;
	}
	ret = store_retire(image.dir);
	if (ret)
		complain("images: %s: %s", image.dir, strerror(-ret));
	return ret ? STATUS_ERROR : 0;
}

int cmd_images(int argc, char **argv)
{
	struct images_args a;
	int ret = parse(argc, argv, &a);

	if (ret)
		return ret;
	if (!a.words)
		return list(&a);
	if (!strcmp(a.word[0], "add"))
		return add(&a);
	return !strcmp(a.word[0], "remove") ? remove_image(&a) : usage("add or remove, or nothing, which lists them");
}
