// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <malloc.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "doc.h"
#include "hub.h"
#include "machine.h"
#include "sandbox.h"

static struct machine *entered;		/* NULL: there is no sandbox */

/* ---- the user ----------------------------------------------------------------------- */

static int find_user(const char *user, struct passwd *found)
{
	struct passwd *pw = getpwnam(user);
	char *end;
	unsigned long id = strtoul(user, &end, 10);

	if (!pw && *user >= '0' && *user <= '9' && !*end && id < UINT32_MAX) {
		pw = getpwuid(id);
		/* A number that has no name is as good. */
		if (!pw) {
			*found = (struct passwd){ .pw_uid = id, .pw_gid = id };
			return 0;
		}
	}
	if (!pw)
		return -ENOENT;
	*found = *pw;
	return 0;
}

/* Where his guests are found: what root's environment says is root's. */
static void his_directory(uid_t uid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/run/user/%u", uid);
	if (!stat(path, &st) && S_ISDIR(st.st_mode) && st.st_uid == uid)
		setenv("XDG_RUNTIME_DIR", path, 1);
	else
		unsetenv("XDG_RUNTIME_DIR");
}

int sandbox_user(const char *user)
{
	struct passwd pw;
	int ret = find_user(user, &pw);

	if (ret) {
		complain("--user %s: there is no such user; give one of `getent passwd`", user);
		return ret;
	}
	if (!pw.pw_uid) {
		complain("--user %s: is root, and has all the privileges that there are; give another user", user);
		return -EINVAL;
	}
	if (geteuid()) {
		complain("--user %s: only root can become another user; leave it out, or use sudo", user);
		return -EPERM;
	}
	if ((pw.pw_name ? initgroups(pw.pw_name, pw.pw_gid) : setgroups(0, NULL)) ||
	    setresgid(pw.pw_gid, pw.pw_gid, pw.pw_gid) || setresuid(pw.pw_uid, pw.pw_uid, pw.pw_uid)) {
		ret = -errno;
		complain("--user %s: %s; see `ulimit -u`, and whether this is a container", user, strerror(errno));
		return ret;
	}
	/* What is his may not be what root was asked to keep: nobody gets it back. */
	if (!setresuid(0, 0, 0)) {
		complain("--user %s: root's privileges cannot be dropped", user);
		return -EPERM;
	}
	his_directory(pw.pw_uid);
	return 0;
}

/* ---- the process --------------------------------------------------------------------- */

/* What they do once, with files or calls that are forbidden later. */
static void libraries(void)
{
	struct json_object *doc = json_object_new_object();
	time_t now = time(NULL);
	struct tm tm;

	doc_count(doc, "a key", 1);	/* json-c: the seed of its hashes */
	json_object_put(doc);
	tzset();			/* glibc: /etc/localtime, even for UTC */
	gmtime_r(&now, &tm);
	mallopt(M_ARENA_MAX, 8);	/* glibc: no look at /sys for the number of CPUs, */
	/* nor at /proc/sys/vm/overcommit_memory, before it gives memory of a thread back. */
	mallopt(M_TRIM_THRESHOLD, INT_MAX);
}

static int drop_capabilities(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[2] = { 0 };
	unsigned int cap;

	for (cap = 0; cap < 64; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);	/* not root: has none to drop */
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(SYS_capset, &head, none) ? -errno : 0;
}

static int landlock(int keep)
{
	int ret = landlock_enter(&keep, keep >= 0);

	if (ret == -EOPNOTSUPP)
		complain("sandbox: this kernel has no Landlock (CONFIG_SECURITY_LANDLOCK, and `lsm=`): the thread that ends the guest may open files");
	return ret == -EOPNOTSUPP ? 0 : ret;
}

int sandbox_enter(struct machine *m, int keep)
{
	int ret;

	libraries();
	if (!seccomp_there()) {
		complain("sandbox: this kernel has no seccomp filters (CONFIG_SECCOMP_FILTER); --no-sandbox runs the guest without a sandbox");
		return -ENOSYS;
	}
	ret = drop_capabilities();
	if (!ret && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		ret = -errno;
	if (!ret)
		ret = landlock(keep);
	if (ret)
		complain("sandbox: %s; --no-sandbox runs the guest without", strerror(-ret));
	else
		entered = m;
	return ret;
}

int sandbox_thread(enum sandbox_thread kind)
{
	struct machine *m = entered;
	int ret;

	if (!m)
		return 0;
	/* The test device maps a page anew by making it executable for a moment. */
	ret = seccomp_enter(kind, kind == SANDBOX_VCPU && m->args->devices.there[DEV_TESTDEV]);
	if (ret && machine_end(m, M_FAILED))
		complain("sandbox: a thread: %s; --no-sandbox runs the guest without", strerror(-ret));
	return ret;
}
