// SPDX-License-Identifier: GPL-2.0
/*
 * What each kind of thread may do and may not: by processes that are put into the sandbox, do one
 * thing, and are looked at.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "unit.h"
#include "../../userspace-tool/cmd/seccomp.c"
#include "cmd/machine.h"
#include "cmd/sandbox.h"

static struct run_args args = { .name = "web-1" };
static struct machine m = { .args = &args };
static char line[1024];

void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
}

bool machine_end(struct machine *machine, enum outcome why)
{
	return true;
}

/* ---- one thing in a sandbox ----------------------------------------------------------- */

static char told[1024];		/* what is said at SIGSYS */

static void on_sigsys(int sig, siginfo_t *info, void *context)
{
	char text[512];
	size_t n = seccomp_tell(info, "web-1", text, sizeof(text));

	if (write(STDERR_FILENO, text, n) < 0)
		_exit(98);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* How a process of that kind ends that does this: 0, what it returned, or 128 + signal. */
static int as(enum sandbox_thread kind, int (*fn)(void))
{
	struct sigaction die = { .sa_sigaction = on_sigsys, .sa_flags = SA_SIGINFO };
	int err[2], status;
	ssize_t n;
	pid_t pid;

	if (pipe(err))
		abort();
	fflush(stdout);
	pid = fork();
	if (!pid) {
		dup2(err[1], STDERR_FILENO);
		sigaction(SIGSYS, &die, NULL);
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		if (seccomp_enter(kind, false))
			_exit(97);
		/* Without the sanitizers' own exit, which is not the tool's. */
		syscall(SYS_exit_group, fn());
	}
	close(err[1]);
	n = read(err[0], told, sizeof(told) - 1);
	told[n > 0 ? n : 0] = 0;
	close(err[0]);
	if (waitpid(pid, &status, 0) != pid)
		abort();
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int opens(void)
{
	return open("/etc/passwd", O_RDONLY) < 0;
}

static int opens_old(void)
{
	return syscall(SYS_open, "/etc/passwd", O_RDONLY) < 0;
}

static int opens_x32(void)
{
	return syscall(SYS_openat | 0x40000000, AT_FDCWD, "/etc/passwd", O_RDONLY) < 0;
}

/* Number 5 is open() there, fstat() here. */
static int opens_32_bit(void)
{
	long ret;

	asm volatile("int $0x80" : "=a"(ret) : "a"(5), "b"(0), "c"(0) : "memory");
	return ret < 0;
}

static int makes_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM, 0) < 0;
}

static int connects(void)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	return connect(0, (struct sockaddr *)&a, sizeof(a));
}

static int executes(void)
{
	return execl("/bin/true", "true", NULL);
}

static int forks(void)
{
	return syscall(SYS_fork);
}

static int traces(void)
{
	return ptrace(PTRACE_TRACEME, 0, 0, 0);
}

static int signals_another(void)
{
	return syscall(SYS_tgkill, 1, 1, 0);
}

/* Who is told of what comes, by whatever signal. */
static int signals_by_descriptor(void)
{
	return fcntl(0, F_SETOWN, 1);
}

static int kills(void)
{
	return kill(1, 0);
}

static int maps_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED;
}

static int protects_code(void)
{
	static uint8_t page[8192];

	return mprotect((void *)(((uintptr_t)page + 4095) & ~4095UL), 4096, PROT_READ | PROT_EXEC);
}

static int types_to_terminal(void)
{
	char c = 'x';

	return ioctl(0, TIOCSTI, &c) && 0;
}

/* In the upper half of the number: the kernel does not look there, nor may the filter. */
static int types_by_trick(void)
{
	char c = 'x';

	return syscall(SYS_ioctl, 0, 0xce0000000000UL | TIOCSTI, &c) && 0;
}

static int sets_user(void)
{
	return syscall(SYS_setuid, 0);
}

static int unlinks(void)
{
	return unlink("/tmp/cleave-nothing") && 0;
}

static int uring(void)
{
	return syscall(SYS_io_uring_setup, 1, NULL) && 0;
}

/* What every thread may. */
static int lives(void)
{
	uint64_t one = 1;
	void *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct timespec ts = { .tv_nsec = 1000 };
	int fd = STDERR_FILENO;
	struct stat st;

	if (p == MAP_FAILED || mprotect(p, 4096, PROT_READ) || munmap(p, 1 << 20))
		return 1;
	if (write(fd, &one, 0) || fstat(fd, &st) || isatty(fd) || nanosleep(&ts, NULL))
		return 2;
	if (syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts) || sched_yield() || getpid() <= 0)
		return 3;
	ts = (struct timespec){ 0 };
	if (poll(NULL, 0, 1) || ppoll(NULL, 0, &ts, NULL))
		return 4;
	ioctl(fd, _IO(0xce, 0x40));	/* CLEAVE_RUN: allowed, of no use here */
	return errno == ENOTTY ? 0 : 5;
}

/* As the handler of SIGSYS does first. */
static int puts_terminal_right(void)
{
	ioctl(STDERR_FILENO, 0x5402, NULL);	/* TCSETS */
	ioctl(STDERR_FILENO, 0x5403, NULL);
	return 0;
}

static const enum sandbox_thread all[] = {
	SANDBOX_VCPU, SANDBOX_IO, SANDBOX_CONTROL, SANDBOX_DEVICE, SANDBOX_VHOST, SANDBOX_NET, SANDBOX_MAIN,
};

/* All kinds but main, which has files of its directory. */
#define FORBIDDEN(kind, fn, text)					\
	do {								\
		CHECK_EQ(as(kind, fn), 128 + SIGSYS);			\
		if (!strstr(told, text))				\
			unit_fail("kind %u: no '%s' in '%s'", kind, text, told); \
	} while (0)

UNIT_TEST(the_kernel_has_it)
{
	CHECK(seccomp_there());
}

UNIT_TEST(every_thread_can_live)
{
	for (size_t i = 0; i < SANDBOX_KINDS; i++)
		CHECK_EQ(as(all[i], lives), 0);
	for (size_t i = 0; i < SANDBOX_KINDS; i++)
		CHECK_EQ(as(all[i], puts_terminal_right), 0);
}

UNIT_TEST(no_thread_opens_a_file)
{
	/* But main: see the_process. */
	for (size_t i = 0; i < SANDBOX_KINDS - 1; i++) {
		FORBIDDEN(all[i], opens, " (openat), which the sandbox forbids");
		FORBIDDEN(all[i], unlinks, " (unlink)");
	}
	for (size_t i = 0; i < SANDBOX_KINDS; i++) {
		FORBIDDEN(all[i], opens_old, "system call 2 (open), which");
		FORBIDDEN(all[i], opens_x32, ", which the sandbox forbids, and ends by SIGSYS");
		/* Another architecture's numbers are none of this one's: the kernel ends it itself. */
		CHECK_EQ(as(all[i], opens_32_bit), 128 + SIGSYS);
	}
}

UNIT_TEST(no_thread_breaks_out)
{
	for (size_t i = 0; i < SANDBOX_KINDS; i++) {
		FORBIDDEN(all[i], makes_socket, " (socket)");
		if (all[i] != SANDBOX_NET)
			FORBIDDEN(all[i], connects, " (connect)");
		FORBIDDEN(all[i], executes, " (execve)");
		FORBIDDEN(all[i], forks, " (fork)");
		FORBIDDEN(all[i], traces, " (ptrace)");
		FORBIDDEN(all[i], kills, " (kill)");
		FORBIDDEN(all[i], signals_another, " (tgkill)");
		FORBIDDEN(all[i], signals_by_descriptor, "system call 72");
		FORBIDDEN(all[i], maps_code, " (mmap)");
		FORBIDDEN(all[i], protects_code, " (mprotect)");
		FORBIDDEN(all[i], types_to_terminal, " (ioctl)");
		FORBIDDEN(all[i], types_by_trick, " (ioctl)");
		FORBIDDEN(all[i], sets_user, " (setuid)");
		FORBIDDEN(all[i], uring, " (io_uring_setup)");
	}
}

UNIT_TEST(says_which_thread)
{
	static const char *const name[] = { "a CPU thread", "an input thread", "a control", "a device",
					     "a vhost", "a network device", "a main" };

	for (size_t i = 0; i < SANDBOX_KINDS; i++) {
		FORBIDDEN(all[i], makes_socket, name[i]);
		CHECK(!strncmp(told, "cleave: web-1: ", 15) && strchr(told, '\n') == told + strlen(told) - 1);
	}
}

/* ---- what they are there for ---------------------------------------------------------- */

static int file = -1, sockets[2];

static int device_works(void)
{
	char block[512] = "";
	struct iovec iov = { block, sizeof(block) };
	struct epoll_event e;

	if (pwrite(file, block, 512, 512) != 512 || pread(file, block, 512, 0) != 512)
		return 1;
	if (pwritev(file, &iov, 1, 0) != 512 || preadv(file, &iov, 1, 0) != 512)
		return 2;
	if (fsync(file) || fdatasync(file) || fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 512))
		return 3;
	if (send(sockets[0], block, 10, 0) != 10 || recv(sockets[1], block, 10, 0) != 10)
		return 4;
	ioctl(file, 0x1277, NULL);	/* BLKDISCARD */
	epoll_wait(-1, &e, 1, 0);
	syscall(SYS_io_uring_enter, -1, 0, 0, 0, NULL, 0);
	return getrandom(block, 16, 0) == 16 ? 0 : 5;
}

/* Rings start and stop; whose memory, and which guest, has been settled. */
static int vhost_works(void)
{
	const unsigned long rings[] = {
		VHOST_SET_FEATURES, VHOST_SET_VRING_NUM, VHOST_SET_VRING_BASE, VHOST_SET_VRING_ADDR,
		VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL, VHOST_SET_VRING_ERR, VHOST_GET_VRING_BASE,
		VHOST_VSOCK_SET_RUNNING, VHOST_NET_SET_BACKEND,
	};
	size_t i;

	for (i = 0; i < sizeof(rings) / sizeof(rings[0]); i++)
		if (ioctl(file, rings[i], NULL) != -1 || errno != ENOTTY)
			return 10 + i;
	return recv(sockets[0], &i, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN ? 0 : 1;
}

static int sets_memory(void)
{
	return ioctl(file, VHOST_SET_MEM_TABLE, NULL) && 0;
}

static int sets_cid(void)
{
	return ioctl(file, VHOST_VSOCK_SET_GUEST_CID, NULL) && 0;
}

static int starts_rings(void)
{
	return ioctl(file, VHOST_VSOCK_SET_RUNNING, NULL) && 0;
}

static int io_works(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	if (signalfd(-1, &set, SFD_CLOEXEC) < 0)
		return 1;
	getpgrp();
	ioctl(file, 0x5402, NULL);	/* TCSETS */
	return 0;
}

static int control_works(void)
{
	char c;

	if (send(sockets[0], "x", 1, MSG_NOSIGNAL) != 1 || recv(sockets[1], &c, 1, 0) != 1)
		return 1;
	return accept4(sockets[0], NULL, NULL, SOCK_CLOEXEC) >= 0;
}

/* What libslirp does, but that nobody answers. */
static int net_works(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t len = sizeof(a), size = sizeof(int);
	int fd = socket(AF_INET, SOCK_STREAM, 0), other, n = 1;
	char c = 0;

	if (fd < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &n, sizeof(n)))
		return 1;
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 1) || getsockname(fd, (struct sockaddr *)&a, &len))
		return 2;
	other = socket(AF_INET, SOCK_STREAM, 0);
	if (connect(other, (struct sockaddr *)&a, sizeof(a)) || getpeername(other, (struct sockaddr *)&a, &len))
		return 3;
	if (getsockopt(other, SOL_SOCKET, SO_ERROR, &n, &size) || ioctl(other, FIONREAD, &n))
		return 4;
	accept(fd, NULL, NULL);
	send(other, &c, 1, MSG_NOSIGNAL);
	shutdown(other, SHUT_WR);
	recvfrom(other, &c, 1, MSG_DONTWAIT, NULL, NULL);
	recvmsg(other, &(struct msghdr){ 0 }, MSG_DONTWAIT | MSG_ERRQUEUE);
	return close(other) || close(fd);
}

static int makes_other_socket(void)
{
	return socket(AF_PACKET, SOCK_RAW, 0) >= 0;
}

UNIT_TEST(each_thread_works)
{
	file = memfd_create("disk", MFD_CLOEXEC);
	REQUIRE(!ftruncate(file, 4096) && !socketpair(AF_UNIX, SOCK_STREAM, 0, sockets));
	CHECK_EQ(as(SANDBOX_DEVICE, device_works), 0);
	CHECK_EQ(as(SANDBOX_VHOST, vhost_works), 0);
	FORBIDDEN(SANDBOX_VHOST, sets_memory, " (ioctl)");
	FORBIDDEN(SANDBOX_VHOST, sets_cid, " (ioctl)");
	FORBIDDEN(SANDBOX_DEVICE, starts_rings, " (ioctl)");
	FORBIDDEN(SANDBOX_VCPU, starts_rings, " (ioctl)");
	CHECK_EQ(as(SANDBOX_IO, io_works), 0);
	CHECK_EQ(as(SANDBOX_CONTROL, control_works), 0);
	CHECK_EQ(as(SANDBOX_MAIN, device_works), 0);	/* it finishes what they have begun */
	CHECK_EQ(as(SANDBOX_MAIN, opens), 0);	/* Landlock has a say in which */
	CHECK_EQ(as(SANDBOX_NET, net_works), 0);
	/* And no other's work. */
	CHECK_EQ(as(SANDBOX_DEVICE, net_works), 128 + SIGSYS);
	CHECK_EQ(as(SANDBOX_NET, device_works), 128 + SIGSYS);
	CHECK_EQ(as(SANDBOX_NET, makes_other_socket), 128 + SIGSYS);
	CHECK_EQ(as(SANDBOX_VCPU, device_works), 128 + SIGSYS);
	CHECK_EQ(as(SANDBOX_VCPU, control_works), 128 + SIGSYS);
	CHECK_EQ(as(SANDBOX_DEVICE, io_works), 128 + SIGSYS);
	close(file);
}

/* ---- the process ------------------------------------------------------------------------- */

static int in_child(int (*fn)(void))
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(fn());
	if (waitpid(pid, &status, 0) != pid)
		abort();
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static bool status_says(const char *key, const char *value)
{
	char text[256], want[64];
	FILE *f = fopen("/proc/self/status", "re");
	bool found = false;

	snprintf(want, sizeof(want), "%s:\t%s", key, value);
	while (f && fgets(text, sizeof(text), f))
		found |= !strncmp(text, want, strlen(want));
	if (f)
		fclose(f);
	return found;
}

static char keep_path[64];
static int keep = -1;

static int enters(void)
{
	int landlock, fd;

	if (sandbox_enter(&m, keep))
		return 1;
	if (!status_says("NoNewPrivs", "1") || !status_says("CapEff", "0000000000000000") ||
	    !status_says("CapBnd", "0000000000000000"))
		landlock = 2;
	else
		landlock = 0;
	/* With Landlock the lines above are closed to it, and these are what is left. */
	fd = openat(keep, "N.json", O_WRONLY | O_CREAT, 0600);
	if (fd < 0 || renameat(keep, "N.json", keep, "M.json") || unlinkat(keep, "M.json", 0))
		return 3;
	if (open("/dev/null", O_RDWR) < 0)
		return 4;
	if (syscall(SYS_landlock_create_ruleset, NULL, 0, 1) < 0)
		return landlock;
	if (open("/etc/passwd", O_RDONLY) >= 0 || errno != EACCES)
		return 5;
	if (open(keep_path, O_RDONLY | O_DIRECTORY) < 0 || mkdirat(keep, "d", 0700) == 0 ||
	    symlinkat("/etc/passwd", keep, "s") == 0 || mknodat(keep, "p", S_IFIFO | 0600, 0) == 0)
		return 6;
	return 0;
}

UNIT_TEST(the_process)
{
	strcpy(keep_path, "/tmp/cleave-sandbox-XXXXXX");
	if (!mkdtemp(keep_path))
		abort();
	keep = open(keep_path, O_RDONLY | O_DIRECTORY);
	CHECK_EQ(in_child(enters), 0);
	close(keep);
	rmdir(keep_path);
	/* Threads of a process without a sandbox have none. */
	CHECK_EQ(sandbox_thread(SANDBOX_VCPU), 0);
	CHECK(open("/dev/null", O_RDONLY) >= 0);
}

static int becomes_nobody(void)
{
	uid_t r, e, s;

	setenv("XDG_RUNTIME_DIR", "/run/user/0", 1);
	if (sandbox_user("nobody"))
		return 1;
	getresuid(&r, &e, &s);
	if (r != 65534 || e != 65534 || s != 65534 || getegid() != 65534 || getgroups(0, NULL) > 1)
		return 2;
	if (!setuid(0) || !seteuid(0) || open("/etc/shadow", O_RDONLY) >= 0)
		return 3;
	return getenv("XDG_RUNTIME_DIR") ? 4 : 0;
}

static int becomes_number(void)
{
	return sandbox_user("12345") || getuid() != 12345 || getgid() != 12345 || getgroups(0, NULL);
}

static int cannot(void)
{
	if (sandbox_user("nobody"))
		return 1;
	return sandbox_user("daemon") == -EPERM && strstr(line, "only root can") ? 0 : 2;
}

UNIT_TEST(users)
{
	REQUIRE(!geteuid());	/* make check is root's */
	CHECK_EQ(in_child(becomes_nobody), 0);
	CHECK_EQ(in_child(becomes_number), 0);
	CHECK_EQ(in_child(cannot), 0);
	CHECK_EQ(sandbox_user("no-such-user"), -ENOENT);
	CHECK(strstr(line, "no such user; "));
	CHECK_EQ(sandbox_user("12345x"), -ENOENT);
	CHECK_EQ(sandbox_user("root"), -EINVAL);
	CHECK_EQ(sandbox_user("0"), -EINVAL);
	CHECK(strstr(line, "is root"));
}

/* Room for more calls, and every way of the filter ends in a verdict. */
UNIT_TEST(programs)
{
	static struct sock_filter code[SECCOMP_PROGRAM];

	for (size_t kind = 0; kind < SANDBOX_KINDS; kind++) {
		size_t n = seccomp_build(kind, false, code), i;

		CHECK(n > 50 && n < SECCOMP_PROGRAM);
		for (i = 0; i < n; i++) {
			size_t far = 0;

			if (BPF_CLASS(code[i].code) == BPF_JMP)
				far = BPF_OP(code[i].code) == BPF_JA ? code[i].k :
				      code[i].jt > code[i].jf ? code[i].jt : code[i].jf;
			CHECK(i + 1 + far < n || BPF_CLASS(code[i].code) == BPF_RET);
		}
		CHECK_EQ(code[n - 1].k, SECCOMP_RET_TRAP);
	}
}
