// SPDX-License-Identifier: GPL-2.0
/*
 * Starts Debian's virtiofsd (qemu-system-common), which serves a folder, and confines itself to
 * that. It goes with this process: by its connection's end, and by a signal. Without root's
 * rights it gets those that it needs from a user namespace.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "sandbox.h"
#include "virtio.h"

#define PROGRAM		"/usr/lib/qemu/virtiofsd"
#define LOG_SIZE	4096

static int said = -1;		/* a file with its messages: the last one's that was started */

/* ---- the socket -------------------------------------------------------------------------- */

/*
 * It takes the first who connects to *listening: us, as nobody else sees the directory, and
 * there is no name any more when it starts. The connection, or -1 and errno.
 */
static int connected(int *listening)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	char dir[] = "/tmp/cleave.XXXXXX";
	int fd = -1, error;

	*listening = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*listening < 0 || !mkdtemp(dir))
		return -1;
	snprintf(a.sun_path, sizeof(a.sun_path), "%s/socket", dir);
	if (!bind(*listening, (struct sockaddr *)&a, sizeof(a)) && !listen(*listening, 1))
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		close(fd);
		fd = -1;
	}
	error = errno;
	unlink(a.sun_path);
	rmdir(dir);
	errno = error;
	return fd;
}

/* What does not fit is refused, without a signal: it cannot fill the host's memory. */
static int message_file(void)
{
	int fd = memfd_create("cleave-virtiofsd", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0 || ftruncate(fd, LOG_SIZE) ||
	    fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL)) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

void virtiofsd_said(char *line, size_t size)
{
	char text[LOG_SIZE + 1];
	ssize_t n = said >= 0 ? pread(said, text, LOG_SIZE, 0) : 0;
	char *last;

	/* The file has its size from the start. */
	text[n > 0 ? n : 0] = 0;
	n = strlen(text);
	if (n && text[n - 1] == '\n')
		text[n - 1] = 0;
	last = strrchr(text, '\n');
	snprintf(line, size, "%s", last ? last + 1 : text);
}

/* ---- users ------------------------------------------------------------------------------- */

static int write_file(pid_t pid, const char *name, const char *text)
{
	char path[64];
	int fd, ret;

	snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

/* Subordinate ids of the user, as newuidmap takes them: "NAME:FIRST:COUNT". */
static bool subordinate(const char *path, const struct passwd *pw, char first[16], char count[16])
{
	FILE *f = fopen(path, "re");
	char line[256], name[64], number[16];
	bool found = false;

	snprintf(number, sizeof(number), "%u", pw->pw_uid);
	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%63[^:]:%15[0-9]:%15[0-9]", name, first, count) == 3 &&
			(!strcmp(name, pw->pw_name) || !strcmp(name, number));
	if (f)
		fclose(f);
	return found;
}

/* newuidmap, newgidmap of uidmap: 0 there is id here, and from 1 on the subordinate ones. */
static bool map_many(pid_t pid, const char *program, const char *path, unsigned int id)
{
	char process[16], own[16], first[16], count[16];
	struct passwd *pw = getpwuid(getuid());
	int status;
	pid_t child;

	if (!pw || !subordinate(path, pw, first, count))
		return false;
	snprintf(process, sizeof(process), "%d", pid);
	snprintf(own, sizeof(own), "%u", id);
	child = fork();
	if (!child) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, STDERR_FILENO);
		execlp(program, program, process, "0", own, "1", "1", first, count, NULL);
		_exit(127);
	}
	return child > 0 && waitpid(child, &status, 0) == child && !status;
}

/*
 * Gives the process's user namespace its ids: root there is its user here, and others are there as
 * far as the user has subordinate ones. 0; -EUSERS: it has groups, and none of these; -errno.
 */
static int map_ids(pid_t pid, unsigned int uid, unsigned int gid)
{
	bool root = !geteuid();
	char map[32];
	int ret;

	if (!root && map_many(pid, "newuidmap", "/etc/subuid", uid) &&
	    map_many(pid, "newgidmap", "/etc/subgid", gid))
		return 0;
	if (!root && getgroups(0, NULL))
		return -EUSERS;
	snprintf(map, sizeof(map), "0 %u 1\n", uid);
	ret = write_file(pid, "uid_map", map);
	if (!ret && !root)
		ret = write_file(pid, "setgroups", "deny");
	snprintf(map, sizeof(map), "0 %u 1\n", gid);
	return ret ? ret : write_file(pid, "gid_map", map);
}

/* ---- the process --------------------------------------------------------------------------- */

struct start {
	const struct share_args *a;
	const char *user, *source;
	int listening, sync;	/* sync: a socket to the other process of the two */
	pid_t parent;
};

/* What the child has of its user before it makes a user namespace, or has no need to. */
struct ids {
	bool needed;
	unsigned int uid, gid;
};

static void __attribute__((noreturn)) refuse(const struct start *s, const char *what, const char *remedy)
{
	complain("--share %s: %s: %s; %s", s->a->path, what, strerror(errno), remedy);
	_exit(1);
}

/* A view of the folder in which nothing can be written, whatever virtiofsd does. */
static void make_readonly(const struct start *s)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount(s->source, s->source, NULL, MS_BIND | MS_REC, NULL) ||
	    mount_setattr(AT_FDCWD, s->source, AT_RECURSIVE, &attr, sizeof(attr)))
		refuse(s, "cannot be made read-only", "leave out ro, or use sudo");
}

static void get_rights(const struct start *s)
{
	struct ids ids = { 0 };
	char done;

	if (s->user && sandbox_user(s->user))
		_exit(1);
	ids = (struct ids){ geteuid(), geteuid(), getegid() };
	if (ids.needed && unshare(CLONE_NEWUSER))
		refuse(s, "no user namespace, which virtiofsd needs without root's rights",
		       "see `sysctl user.max_user_namespaces kernel.unprivileged_userns_clone`, or use sudo");
	if (write(s->sync, &ids, sizeof(ids)) != sizeof(ids) || read(s->sync, &done, 1) != 1)
		_exit(1);
}

static void __attribute__((noreturn)) child(const struct start *s)
{
	char fd[24], source[PATH_MAX + 16];
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	setsid();	/* the terminal's signals are not for it */
	get_rights(s);
	if (s->a->readonly)
		make_readonly(s);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != s->parent)
		_exit(1);
	snprintf(fd, sizeof(fd), "--fd=%d", s->listening);
	snprintf(source, sizeof(source), "source=%s", s->source);
	if (fcntl(s->listening, F_SETFD, 0) || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    dup2(said, STDERR_FILENO) < 0)
		_exit(1);
	execl(PROGRAM, PROGRAM, fd, "-o", source, "-o", "log_level=err", NULL);
	_exit(127);
}

/* Without subordinate ids a process cannot give its groups up, which virtiofsd does. */
static int rights_of(const struct start *s, pid_t pid)
{
	struct ids ids;
	int ret;

	if (read(s->sync, &ids, sizeof(ids)) != sizeof(ids))
		return -EPERM;		/* it has said why */
	ret = ids.needed ? map_ids(pid, ids.uid, ids.gid) : 0;
	if (ret == -EUSERS)
		complain("--share %s: virtiofsd cannot give up your groups without subordinate ids; `sudo apt-get install uidmap` and `sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $USER`, or use sudo, with --user",
			 s->a->path);
	else if (ret)
		complain("--share %s: the user namespace gets no ids: %s; use sudo, with --user", s->a->path,
			 strerror(-ret));
	if (!ret && write(s->sync, "", 1) != 1)
		ret = -EPIPE;
	return ret;
}

static int start(struct start *s)
{
	int sync[2], ret;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sync))
		return -errno;
	s->parent = getpid();
	fflush(NULL);
	pid = fork();
	s->sync = sync[!pid];
	if (!pid) {
		close(sync[0]);
		child(s);
	}
	close(sync[1]);
	ret = pid < 0 ? -errno : 0;
	if (ret)
		complain("--share %s: a process for it: %s; see ulimit -u and the cgroup's pids.max", s->a->path,
			 strerror(-ret));
	else
		ret = rights_of(s, pid);
	close(sync[0]);
	return ret;
}

/* The folder's own path, that is there and of no characters that virtiofsd's options end at. */
static int check(const struct share_args *a, char source[PATH_MAX])
{
	struct stat st;

	if (access(PROGRAM, X_OK)) {
		complain("--share: " PROGRAM " is not there; `sudo apt-get install qemu-system-common`");
		return -ENOENT;
	}
	if (!realpath(a->path, source) || stat(source, &st)) {
		complain("--share %s: %s; name a directory", a->path, strerror(errno));
		return -errno;
	}
	if (!S_ISDIR(st.st_mode) || strpbrk(source, ",\\")) {
		complain("--share %s: %s; name another directory", a->path,
			 S_ISDIR(st.st_mode) ? "its path has a comma or a backslash, which virtiofsd does not take" :
					       "no directory");
		return -ENOTDIR;
	}
	return 0;
}

int virtiofsd_start(const struct share_args *a, const char *user)
{
	char source[PATH_MAX];
	struct start s = { .a = a, .user = user, .source = source, .listening = -1 };
	int ret = check(a, source), fd;

	if (ret)
		return ret;
	if (said >= 0)
		close(said);
	said = message_file();
	fd = said < 0 ? -1 : connected(&s.listening);
	if (fd < 0) {
		ret = -errno;
		complain("--share %s: a socket for virtiofsd: %s; see /tmp and ulimit -n", a->path, strerror(-ret));
	} else {
		ret = start(&s);
	}
	if (s.listening >= 0)
		close(s.listening);
	if (!ret)
		return fd;
	if (fd >= 0)
		close(fd);
	return ret;
}
