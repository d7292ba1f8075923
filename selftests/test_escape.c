// SPDX-License-Identifier: GPL-2.0
/*
 * A disk's device that a guest has taken over: its thread, in the sandbox that the tool has, first
 * serves the guest and then does what shell code would: system calls, and requests to the kernel
 * by its own io_uring, which no filter of system calls sees.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include "kselftest_harness.h"
#include "host.h"
#include "../userspace-tool/cmd/landlock.c"
#include "../userspace-tool/cmd/seccomp.c"
#include "../userspace-tool/virtio/blk.c"

/* In the child, whose status tells. */
#define CHECK_EQ(got, want)	do { if ((got) != (want)) _exit(90); } while (0)
#include "unit/virtio_driver.h"

#define DISK	(1UL << 20)
#define HEADER	0x1000UL
#define STATUS	0x1800UL

static char dir[] = "/tmp/escape.XXXXXX", disk[64], victim[64];
static int dir_fd;
static uint8_t some[4096];

/* ---- the device, and what it becomes ---------------------------------------------------------- */

static long (*attempt)(void);
static atomic_long result;
static atomic_int done;
static long argument;

static void taken_over(struct vdev *d, unsigned int worker)
{
	if (atomic_load(&done))
		return;
	atomic_store(&result, attempt());
	atomic_store(&done, 1);
}

static void thread_begins(void)
{
	if (seccomp_enter(SANDBOX_DEVICE, false))
		_exit(91);
}

static int told_fd;

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	char text[512];

	if (write(told_fd, text, seccomp_tell(info, "web-1", text, sizeof(text))) < 0)
		_exit(92);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* One request of the guest's, to its end: its status. */
static uint8_t serve(uint32_t type, uint64_t sector, uint32_t len)
{
	const struct d_part part[] = {
		{ HEADER, 16, false }, { D_DATA, len, type == VIRTIO_BLK_T_IN }, { STATUS, 1, true },
	};
	const struct virtio_blk_outhdr h = { .type = type, .sector = sector };

	memcpy(dr.ram + HEADER, &h, sizeof(h));
	dr.ram[STATUS] = 0xaa;
	if (len)
		d_offer(0, part, 3);
	else
		d_offer(0, (const struct d_part[]){ part[0], part[2] }, 2);
	d_kick(0);
	d_wait(0);
	return dr.ram[STATUS];
}

static struct block *open_disk(void)
{
	const struct block_params p = { .path = disk, .format = BLOCK_RAW };
	struct block *b;
	char err[9000];

	if (block_open(&p, &b, err, sizeof(err)))
		_exit(93);
	return b;
}

/* Its thread is in the sandbox, and its ring is there, and works. */
static void child(bool devices_thread)
{
	static struct vdev_ops taken;
	struct sigaction die = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };
	struct vdev *d;

	sigaction(SIGSYS, &die, NULL);
	d = virtio_blk(d_memory(), open_disk(), "", 1);
	if (!d || !((struct blk *)d)->queue[0]->uring)
		_exit(94);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || landlock_enter(&dir_fd, 1))
		_exit(95);
	vdev_thread_begins = thread_begins;
	d_plug(d);
	d_start(1ULL << VIRTIO_BLK_F_FLUSH, 1);
	memset(dr.ram + D_DATA, 'x', 4096);
	if (serve(VIRTIO_BLK_T_OUT, 8, 4096) || serve(VIRTIO_BLK_T_FLUSH, 0, 0) || serve(VIRTIO_BLK_T_IN, 8, 4096))
		_exit(96);
	if (!devices_thread) {
		if (seccomp_enter(SANDBOX_MAIN, false))
			_exit(91);
		_exit(-attempt());
	}
	taken = *d->ops;
	taken.work = taken_over;
	d->ops = &taken;
	d_kick(0);
	for (int i = 0; i < 20000 && !atomic_load(&done); i++)
		d_pause();
	/* What it returned, as far as that is an error. */
	syscall(SYS_exit_group, !atomic_load(&done) ? 97 : atomic_load(&result) >= 0 ? 98 : -atomic_load(&result));
}

/* How a process ends whose device (or main thread) does this. */
static int as_device(bool devices_thread, long (*what)(void), char *told, size_t size)
{
	int fd[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe(fd))
		DIE("pipe");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		told_fd = fd[1];
		attempt = what;
		child(devices_thread);
		_exit(99);
	}
	close(fd[1]);
	n = read(fd[0], told, size - 1);
	told[n > 0 ? n : 0] = 0;
	close(fd[0]);
	if (waitpid(pid, &status, 0) != pid)
		DIE("waitpid");
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

FIXTURE(escape) {
	char told[1024];
};

FIXTURE_SETUP(escape)
{
	int fd;

	if (!seccomp_there() || syscall(__NR_landlock_create_ruleset, NULL, 0, 1) < 0)
		SKIP_SETUP("this kernel has no seccomp, or no Landlock");
	strcpy(dir, "/tmp/escape.XXXXXX");
	ASSERT_NE(NULL, mkdtemp(dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY);
	snprintf(disk, sizeof(disk), "%s/disk", dir);
	snprintf(victim, sizeof(victim), "%s/victim", dir);
	fd = open(disk, O_RDWR | O_CREAT, 0600);
	ASSERT_EQ(0, ftruncate(fd, DISK));
	close(fd);
	fd = open(victim, O_RDWR | O_CREAT, 0600);
	ASSERT_LE(0, fd);
	close(fd);
}

FIXTURE_TEARDOWN(escape)
{
	close(dir_fd);
	unlink(disk);
	unlink(victim);
	rmdir(dir);
}

/* ---- by system calls --------------------------------------------------------------------------- */

static long system_call(void)
{
	static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/run/some.sock" };
	static const char *const argv[] = { "/bin/sh", NULL };
	static struct iovec iov = { some, 8 };
	static struct { uint64_t flags, mode, resolve; } how;
	long nr = argument;

	switch (nr) {
	case SYS_open: case SYS_creat: case SYS_unlink: case SYS_mkdir: case SYS_chmod: case SYS_chroot:
	case SYS_stat: case SYS_access: case SYS_truncate: case SYS_readlink: case SYS_rmdir:
		return syscall(nr, victim, O_RDONLY, 0);
	case SYS_openat: case SYS_unlinkat: case SYS_mkdirat: case SYS_faccessat: case SYS_fchmodat:
		return syscall(nr, AT_FDCWD, victim, 0, 0);
	case SYS_openat2:
		return syscall(nr, AT_FDCWD, victim, &how, sizeof(how));
	case SYS_execve:
		return syscall(nr, argv[0], argv, NULL);
	case SYS_execveat:
		return syscall(nr, AT_FDCWD, argv[0], argv, NULL, 0);
	case SYS_socket: case SYS_socketpair:
		return syscall(nr, AF_UNIX, SOCK_STREAM, 0, &iov);
	case SYS_connect: case SYS_bind:
		return syscall(nr, 0, &address, sizeof(address));
	case SYS_process_vm_readv: case SYS_process_vm_writev:
		return syscall(nr, 1, &iov, 1, &iov, 1, 0);
	case SYS_kill: case SYS_tkill:
		return syscall(nr, 1, 0);
	case SYS_tgkill:
		return syscall(nr, 1, 1, 0);
	case SYS_mmap:
		return syscall(nr, NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	case SYS_mprotect:
		return syscall(nr, (uintptr_t)some & ~4095UL, 4096, PROT_READ | PROT_EXEC);
	case SYS_ioctl:
		return syscall(nr, 0, 0x5412 /* TIOCSTI */, some);
	default:
		return syscall(nr, 0, 0, 0, 0, 0, 0);
	}
}

static const struct {
	int nr;
	const char *name;
} calls[] = {
#define CALL(name)	{ SYS_##name, #name }
	CALL(open), CALL(openat), CALL(openat2), CALL(creat), CALL(open_by_handle_at), CALL(name_to_handle_at),
	CALL(execve), CALL(execveat), CALL(fork), CALL(vfork), CALL(clone), CALL(clone3),
	CALL(socket), CALL(socketpair), CALL(connect), CALL(bind), CALL(listen),
	CALL(ptrace), CALL(process_vm_readv), CALL(process_vm_writev), CALL(kill), CALL(tkill), CALL(tgkill),
	CALL(pidfd_open), CALL(pidfd_getfd), CALL(pidfd_send_signal), CALL(kcmp),
	CALL(io_uring_setup), CALL(io_uring_register), CALL(io_setup), CALL(io_submit),
	CALL(unlink), CALL(unlinkat), CALL(rename), CALL(renameat2), CALL(link), CALL(linkat), CALL(symlink),
	CALL(mkdir), CALL(mkdirat), CALL(rmdir), CALL(mknod), CALL(chmod), CALL(fchmod), CALL(fchmodat),
	CALL(chown), CALL(stat), CALL(access), CALL(faccessat), CALL(readlink), CALL(truncate), CALL(chdir),
	CALL(fchdir), CALL(chroot), CALL(mount), CALL(umount2), CALL(pivot_root), CALL(open_tree), CALL(fsopen),
	CALL(move_mount), CALL(setns), CALL(unshare), CALL(setuid), CALL(setresuid), CALL(setgroups), CALL(capset),
	CALL(prctl), CALL(arch_prctl), CALL(seccomp), CALL(landlock_restrict_self), CALL(bpf),
	CALL(perf_event_open), CALL(userfaultfd), CALL(memfd_create), CALL(memfd_secret), CALL(keyctl),
	CALL(add_key), CALL(init_module), CALL(finit_module), CALL(kexec_load), CALL(reboot), CALL(swapon),
	CALL(dup), CALL(dup2), CALL(fcntl), CALL(pipe2), CALL(inotify_init1), CALL(fanotify_init), CALL(shmget),
	CALL(msgget), CALL(mq_open), CALL(setrlimit), CALL(prlimit64), CALL(sched_setaffinity), CALL(mbind),
	CALL(iopl), CALL(ioperm), CALL(modify_ldt), CALL(personality), CALL(pkey_mprotect),
	CALL(mmap), CALL(mprotect), CALL(ioctl),
};

/* The process ends at each, and says which. */
TEST_F_TIMEOUT(escape, by_system_calls, 300)
{
	char want[80];

	for (size_t i = 0; i < ARRAY_SIZE(calls); i++) {
		argument = calls[i].nr;
		snprintf(want, sizeof(want), "a device thread made system call %d", calls[i].nr);
		EXPECT_EQ(128 + SIGSYS, as_device(true, system_call, self->told, sizeof(self->told)))
			TH_LOG("%s", calls[i].name);
		EXPECT_NE(NULL, strstr(self->told, want)) TH_LOG("%s: %s", calls[i].name, self->told);
	}
}

/* ---- by the ring ------------------------------------------------------------------------------- */

/* As it is; its result. */
static int by_ring(struct io_uring *ring, const struct io_uring_sqe *wanted)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int ret;

	*sqe = *wanted;
	if (io_uring_submit(ring) < 0 || io_uring_wait_cqe(ring, &cqe))
		return -ENODATA;
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

static struct io_uring *its_ring(void)
{
	return &((struct blk *)dr.d)->queue[0]->ring;
}

/* The first number that is not as it ought to be, as an "error" of its own; 1: none. */
static long all_operations(void)
{
	static const bool allowed[256] = {
		[IORING_OP_READ] = true, [IORING_OP_READV] = true, [IORING_OP_WRITE] = true,
		[IORING_OP_WRITEV] = true, [IORING_OP_FSYNC] = true,
	};

	for (int op = 0; op < 256; op++) {
		const struct io_uring_sqe sqe = { .opcode = op, .fd = -1 };
		int ret = by_ring(its_ring(), &sqe);

		/* Of operations that nobody has heard of the kernel says so first. */
		if (allowed[op] ? ret != -EBADF : ret != -EACCES && !(op >= IORING_OP_LAST && ret == -EINVAL))
			return -(op ?: 200);
	}
	return -230;
}

/* Opening a file that Landlock would let the process have, and a connection, with all that they need. */
static long opens_and_connects(void)
{
	static const struct open_how how = { .flags = O_RDWR };
	static const struct sockaddr_un address = { .sun_family = AF_UNIX, .sun_path = "/run/some.sock" };
	const struct io_uring_sqe sqe[] = {
		{ .opcode = IORING_OP_OPENAT, .fd = dir_fd, .addr = (uintptr_t)"victim", .open_flags = O_RDWR },
		{ .opcode = IORING_OP_OPENAT2, .fd = dir_fd, .addr = (uintptr_t)"victim", .len = sizeof(how),
		  .off = (uintptr_t)&how },
		{ .opcode = IORING_OP_OPENAT, .fd = AT_FDCWD, .addr = (uintptr_t)"/etc/passwd" },
		{ .opcode = IORING_OP_UNLINKAT, .fd = dir_fd, .addr = (uintptr_t)"victim" },
		{ .opcode = IORING_OP_SOCKET, .fd = AF_UNIX, .off = SOCK_STREAM },
		{ .opcode = IORING_OP_CONNECT, .addr = (uintptr_t)&address, .off = sizeof(address) },
	};

	for (size_t i = 0; i < ARRAY_SIZE(sqe); i++)
		if (by_ring(its_ring(), &sqe[i]) != -EACCES)
			return -(i + 1);
	return -230;
}

/* No chains, no other thread, no other table of files for those that are allowed. */
static long with_flags(void)
{
	static const uint8_t flags[] = {
		IOSQE_FIXED_FILE, IOSQE_IO_DRAIN, IOSQE_IO_LINK, IOSQE_IO_HARDLINK, IOSQE_ASYNC, IOSQE_CQE_SKIP_SUCCESS,
	};

	for (size_t i = 0; i < ARRAY_SIZE(flags); i++) {
		const struct io_uring_sqe sqe = {
			.opcode = IORING_OP_READ, .fd = -1, .flags = flags[i], .addr = (uintptr_t)some, .len = 8,
		};

		if (by_ring(its_ring(), &sqe) != -EACCES)
			return -(i + 1);
	}
	return -230;
}

TEST_F_TIMEOUT(escape, by_io_uring, 120)
{
	EXPECT_EQ(230, as_device(true, all_operations, self->told, sizeof(self->told)));
	EXPECT_EQ(230, as_device(true, opens_and_connects, self->told, sizeof(self->told)));
	EXPECT_EQ(230, as_device(true, with_flags, self->told, sizeof(self->told)));
	EXPECT_STREQ("", self->told);
	EXPECT_EQ(0, access(victim, F_OK));
}

/* ---- by another thread, whose memory is the device's --------------------------------------------- */

static long opens_outside(void)
{
	return openat(AT_FDCWD, "/proc/self/status", O_RDONLY) >= 0 ? -1 : -errno;
}

static long opens_inside(void)
{
	return openat(dir_fd, "victim", O_RDWR) >= 0 ? -200 : -errno;
}

static long makes_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0);
}

/* The main thread's open() is held to the runtime directory, and it has no other way either. */
TEST_F_TIMEOUT(escape, by_the_main_thread, 120)
{
	EXPECT_EQ(EACCES, as_device(false, opens_outside, self->told, sizeof(self->told)));
	EXPECT_EQ(200, as_device(false, opens_inside, self->told, sizeof(self->told)));
	EXPECT_EQ(128 + SIGSYS, as_device(false, makes_socket, self->told, sizeof(self->told)));
}

TEST_HARNESS_MAIN
