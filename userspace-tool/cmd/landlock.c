// SPDX-License-Identifier: GPL-2.0
/* Landlock (Documentation/userspace-api/landlock.rst), as far as the kernel knows it. */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox.h"

/* Rights of later kernels than the headers may be of, by the first version that has them. */
#define FS_REFER	(1ULL << 13)	/* 2 */
#define FS_TRUNCATE	(1ULL << 14)	/* 3 */
#define FS_IOCTL_DEV	(1ULL << 15)	/* 5 */
#define FS_FIRST	((1ULL << 13) - 1)

#define KEEP	(LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_READ_DIR | \
		 LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE)

static int allow(int ruleset, int fd, uint64_t access)
{
	struct landlock_path_beneath_attr rule = { .allowed_access = access, .parent_fd = fd };

	return syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) ? -errno : 0;
}

/* no_new_privs is set. */
int landlock_enter(const int *keep, size_t count)
{
	struct landlock_ruleset_attr attr = { 0 };
	int version = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int ruleset, null, ret = 0;
	size_t i;

	if (version < 0)
		return errno == ENOSYS || errno == EOPNOTSUPP ? -EOPNOTSUPP : -errno;
	attr.handled_access_fs = FS_FIRST | (version >= 2 ? FS_REFER : 0) |
				 (version >= 3 ? FS_TRUNCATE : 0) | (version >= 5 ? FS_IOCTL_DEV : 0);
	ruleset = syscall(SYS_landlock_create_ruleset, &attr, sizeof(attr.handled_access_fs), 0);
	if (ruleset < 0)
		return -errno;
	null = open("/dev/null", O_PATH | O_CLOEXEC);
	if (null >= 0)
		ret = allow(ruleset, null, LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE);
	for (i = 0; i < count && !ret; i++)
		ret = allow(ruleset, keep[i], KEEP & attr.handled_access_fs);
	if (!ret && syscall(SYS_landlock_restrict_self, ruleset, 0))
		ret = -errno;
	if (null >= 0)
		close(null);
	close(ruleset);
	return ret;
}
