/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where images and instances are: below /var/lib/cleave for root, else below the user's
 * $XDG_DATA_HOME/cleave, or ~/.local/share/cleave. Images of root's are everybody's.
 *
 *	images/NAME/	disk.raw or disk.qcow2, kernel, initrd, image.conf
 *	instances/NAME/	disk.overlay, seed.iso, keys, user-data, run.conf, instance.conf
 */
#ifndef CLEAVE_STORE_H
#define CLEAVE_STORE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STORE_SYSTEM	"/var/lib/cleave"
#define STORE_NAME	63
#define STORE_LOGIN	32

struct image {
	char name[STORE_NAME + 1];
	char dir[PATH_MAX];
	char disk[PATH_MAX];		/* its name in dir decides format */
	bool qcow2, initrd;
	uint64_t size;			/* bytes of the file */
	char login[STORE_LOGIN + 1];	/* who the keys are for */
	char append[1024];		/* of the kernel's command line */
};

/* Of an image or an instance: as a host's name, and dots and underscores for an image. */
bool store_name(const char *name);
/* This user's directory, "images" or "instances", made if create. 0 or -errno with one line in err. */
int store_directory(const char *kind, bool create, char path[PATH_MAX], char *err, size_t errlen);
/* The user's before root's. 0, -ENOENT, or -errno with one line in err. */
int store_image(const char *name, struct image *image, char *err, size_t errlen);
/* All names of a kind that this user sees, by name, each once, to be freed; how many. */
int store_list(const char *kind, char (**names)[STORE_NAME + 1]);
/* A file in a directory, whole, in its place at once. 0 or -errno. */
int store_put(const char *dir, const char *file, const void *data, size_t size);
/* What the line `key = value` in dir/file has, cut to fit; false: there is none. */
bool store_get(const char *dir, const char *file, const char *key, char *value, size_t size);
/* The directory, and what is in it: no other's, whatever links say. 0 or -errno. */
int store_remove(const char *dir);
/* The same of one that has a name: by that it is gone at once, whatever comes in between. */
int store_retire(const char *dir);
/*
 * A directory's lock, which only one has, for as long as the descriptor, or one that was
 * inherited, is open: that, or -EBUSY, -ENOENT or another -errno.
 */
int store_lock(const char *dir);

/* ---- copy.c --------------------------------------------------------------------------- */

/*
 * to is new; what is a hole stays one. progress, by which it may be ended: bytes of all, now and
 * then; or NULL. 0 or -errno; -EINTR: by progress.
 */
int store_copy(const char *from, const char *to, bool (*progress)(void *ctx, uint64_t done, uint64_t all), void *ctx);

#endif /* CLEAVE_STORE_H */
