// SPDX-License-Identifier: GPL-2.0
/*
 * System calls, by kinds of threads. What is not listed is refused by SIGSYS,
 * which ends the process: a call that nobody should make has been made by code
 * that nobody should trust. Listed is what
 * glibc's functions come down to on x86-64; numbers of the x32 ABI are others.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/vhost.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sandbox.h"

#define CLEAVE_TYPE	0xceU	/* CLEAVE_IOC */
#define CODE_SECCOMP	1	/* SYS_SECCOMP of the kernel's siginfo.h */

enum check {
	ANY,
	OWN,			/* the first argument is this process */
	NO_EXEC,		/* the third argument has no PROT_EXEC */
	MODULE,			/* ioctl: of /dev/cleave's files, and a terminal's modes */
	BLOCK,			/* ioctl: those, discard and zero of a disk, offloads of a TAP interface */
	VHOST,			/* ioctl: those of MODULE, and of vhost what starts and stops rings */
	SOCKETS,		/* ioctl: those of MODULE, and how much there is to read */
	INET,			/* the first argument is AF_INET */
	FLAGS,			/* fcntl: a descriptor's flags and copies, and not whom it signals */
};

struct call {
	int nr;
	enum check check;
};

/* ioctl stays out: each kind has its own. The most frequent come first. */
static const struct call common[] = {
	{ SYS_futex, ANY }, { SYS_read, ANY }, { SYS_write, ANY }, { SYS_poll, ANY }, { SYS_ppoll, ANY },
	{ SYS_rt_sigreturn, ANY }, { SYS_restart_syscall, ANY }, { SYS_rt_sigprocmask, ANY },
	{ SYS_clock_gettime, ANY }, { SYS_gettimeofday, ANY }, { SYS_time, ANY },
	{ SYS_clock_nanosleep, ANY }, { SYS_nanosleep, ANY }, { SYS_sched_yield, ANY },
	{ SYS_mmap, NO_EXEC }, { SYS_mprotect, NO_EXEC }, { SYS_munmap, ANY }, { SYS_mremap, ANY },
	{ SYS_madvise, ANY }, { SYS_brk, ANY }, { SYS_sched_getaffinity, ANY }, { SYS_getrandom, ANY },
	{ SYS_sysinfo, ANY },
	{ SYS_close, ANY }, { SYS_fstat, ANY }, { SYS_newfstatat, ANY }, { SYS_lseek, ANY },
	{ SYS_getpid, ANY }, { SYS_gettid, ANY }, { SYS_tgkill, OWN }, { SYS_rt_sigaction, ANY },
	{ SYS_set_robust_list, ANY }, { SYS_rseq, ANY }, { SYS_exit, ANY }, { SYS_exit_group, ANY },
};

static const struct call vcpu[] = {
	{ SYS_ioctl, MODULE },
};

static const struct call io[] = {
	{ SYS_ioctl, MODULE }, { SYS_signalfd4, ANY }, { SYS_getpgrp, ANY }, { SYS_getpgid, ANY },
	{ SYS_sendto, ANY },
};

static const struct call control[] = {
	{ SYS_ioctl, MODULE }, { SYS_accept4, ANY }, { SYS_recvfrom, ANY }, { SYS_sendto, ANY },
};

static const struct call device[] = {
	{ SYS_ioctl, BLOCK }, { SYS_readv, ANY }, { SYS_writev, ANY }, { SYS_pread64, ANY },
	{ SYS_pwrite64, ANY }, { SYS_preadv, ANY }, { SYS_pwritev, ANY }, { SYS_preadv2, ANY },
	{ SYS_pwritev2, ANY }, { SYS_fsync, ANY }, { SYS_fdatasync, ANY }, { SYS_sync_file_range, ANY },
	{ SYS_fallocate, ANY }, { SYS_ftruncate, ANY }, { SYS_io_uring_enter, ANY },
	{ SYS_epoll_wait, ANY }, { SYS_epoll_pwait, ANY }, { SYS_epoll_ctl, ANY },
	{ SYS_recvfrom, ANY }, { SYS_sendto, ANY }, { SYS_recvmsg, ANY }, { SYS_sendmsg, ANY },
	{ SYS_timerfd_settime, ANY }, { SYS_accept4, ANY }, { SYS_shutdown, ANY },
};

static const struct call vhost[] = {
	{ SYS_ioctl, VHOST },
};

/* Connections of the guest's; and what of SANDBOX_DEVICE a queue needs is common. */
static const struct call net[] = {
	{ SYS_recvfrom, ANY }, { SYS_sendto, ANY }, { SYS_recvmsg, ANY }, { SYS_sendmsg, ANY },
	{ SYS_socket, INET }, { SYS_connect, ANY }, { SYS_bind, ANY }, { SYS_listen, ANY },
	{ SYS_accept, ANY }, { SYS_accept4, ANY }, { SYS_shutdown, ANY }, { SYS_getsockname, ANY },
	{ SYS_getpeername, ANY }, { SYS_getsockopt, ANY }, { SYS_setsockopt, ANY }, { SYS_fcntl, FLAGS },
	{ SYS_ioctl, SOCKETS },
};

/*
 * It waits until no guest runs, and finishes what devices have begun. Its files are held to some
 * directories, where there is Landlock.
 */
static const struct call main_thread[] = {
	{ SYS_openat, ANY }, { SYS_unlinkat, ANY }, { SYS_unlink, ANY }, { SYS_renameat, ANY },
	{ SYS_flock, ANY }, { SYS_dup2, ANY }, { SYS_fcntl, FLAGS },
};

static const struct {
	const struct call *calls;
	size_t count;
	const char *name;
} kinds[SANDBOX_KINDS] = {
#define KIND(calls, name)	{ calls, sizeof(calls) / sizeof((calls)[0]), name }
	[SANDBOX_VCPU] = KIND(vcpu, "a CPU"),
	[SANDBOX_IO] = KIND(io, "an input"),
	[SANDBOX_CONTROL] = KIND(control, "a control"),
	[SANDBOX_DEVICE] = KIND(device, "a device"),
	[SANDBOX_VHOST] = KIND(vhost, "a vhost"),
	[SANDBOX_NET] = KIND(net, "a network device"),
	[SANDBOX_MAIN] = KIND(main_thread, "a main"),
};

static __thread const char *kind_name;		/* of this thread; NULL: it has no filter */

/* ---- the program -------------------------------------------------------------------- */

struct program {
	struct sock_filter *code;
	size_t count;
};

static void put(struct program *p, struct sock_filter f)
{
	if (p->count < SECCOMP_PROGRAM)
		p->code[p->count] = f;
	p->count++;
}

static void load(struct program *p, size_t offset)
{
	put(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset));
}

/* Skips so many instructions unless A is k. */
static void unless(struct program *p, uint32_t k, uint8_t skip)
{
	put(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, k, 0, skip));
}

static void give(struct program *p, uint32_t verdict)
{
	put(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, verdict));
}

/*
 * What the kernel takes of an ioctl's number are its low 32 bits. Every thread
 * puts the terminal right before it dies.
 */
static void check_ioctl(struct program *p, enum check check)
{
	/* TCGETS, which isatty() is, TCSETS, TCSETSW, TCSETSF, TIOCGPGRP, TIOCGWINSZ */
	static const uint32_t terminal[] = { 0x5401, 0x5402, 0x5403, 0x5404, 0x540f, 0x5413 };
	/* BLKDISCARD, BLKZEROOUT, TUNSETOFFLOAD */
	static const uint32_t block[] = { 0x1277, 0x127f, 0x400454d0 };
	static const uint32_t vhost_rings[] = {
		VHOST_SET_FEATURES, VHOST_SET_VRING_NUM, VHOST_SET_VRING_BASE, VHOST_SET_VRING_ADDR,
		VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL, VHOST_SET_VRING_ERR, VHOST_GET_VRING_BASE,
		VHOST_VSOCK_SET_RUNNING, VHOST_NET_SET_BACKEND, 0x400454d0,	/* TUNSETOFFLOAD */
	};
	size_t i;

	load(p, offsetof(struct seccomp_data, args[1]));
	for (i = 0; i < sizeof(terminal) / sizeof(terminal[0]); i++) {
		unless(p, terminal[i], 1);
		give(p, SECCOMP_RET_ALLOW);
	}
	for (i = 0; check == BLOCK && i < sizeof(block) / sizeof(block[0]); i++) {
		unless(p, block[i], 1);
		give(p, SECCOMP_RET_ALLOW);
	}
	for (i = 0; check == VHOST && i < sizeof(vhost_rings) / sizeof(vhost_rings[0]); i++) {
		unless(p, vhost_rings[i], 1);
		give(p, SECCOMP_RET_ALLOW);
	}
	if (check == SOCKETS) {
		unless(p, 0x541b, 1);	/* FIONREAD */
		give(p, SECCOMP_RET_ALLOW);
	}
	put(p, (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff00));
	unless(p, CLEAVE_TYPE << 8, 1);
	give(p, SECCOMP_RET_ALLOW);
	give(p, SECCOMP_RET_TRAP);
}

/* For one call; A is its number, before and, if it is another, after it. */
static void rule(struct program *p, const struct call *c, bool exec)
{
	size_t start = p->count;

	unless(p, c->nr, 0);	/* how far, is set below */
	switch (c->check) {
	case ANY:
		give(p, SECCOMP_RET_ALLOW);
		break;
	case FLAGS:		/* F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL; F_DUPFD_CLOEXEC */
		load(p, offsetof(struct seccomp_data, args[1]));
		put(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 4, 1, 0));
		give(p, SECCOMP_RET_ALLOW);
		unless(p, 1030, 1);
		give(p, SECCOMP_RET_ALLOW);
		give(p, SECCOMP_RET_TRAP);
		break;
	case OWN:
		load(p, offsetof(struct seccomp_data, args[0]));
		unless(p, getpid(), 1);
		give(p, SECCOMP_RET_ALLOW);
		give(p, SECCOMP_RET_TRAP);
		break;
	case NO_EXEC:
		load(p, offsetof(struct seccomp_data, args[2]));
		put(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, exec ? 0 : PROT_EXEC, 1, 0));
		give(p, SECCOMP_RET_ALLOW);
		give(p, SECCOMP_RET_TRAP);
		break;
	case INET:
		load(p, offsetof(struct seccomp_data, args[0]));
		unless(p, AF_INET, 1);
		give(p, SECCOMP_RET_ALLOW);
		give(p, SECCOMP_RET_TRAP);
		break;
	default:
		check_ioctl(p, c->check);
	}
	if (p->count <= SECCOMP_PROGRAM)
		p->code[start].jf = p->count - start - 1;
}

size_t seccomp_build(enum sandbox_thread kind, bool exec, struct sock_filter *program)
{
	struct program p = { .code = program };
	size_t i;

	load(&p, offsetof(struct seccomp_data, arch));
	unless(&p, AUDIT_ARCH_X86_64, 1);
	put(&p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JA, 1, 0, 0));
	give(&p, SECCOMP_RET_KILL_PROCESS);
	load(&p, offsetof(struct seccomp_data, nr));
	for (i = 0; i < kinds[kind].count; i++)
		rule(&p, &kinds[kind].calls[i], exec);
	for (i = 0; (kind == SANDBOX_MAIN || kind == SANDBOX_VHOST) && i < kinds[SANDBOX_DEVICE].count; i++)
		rule(&p, &device[i], exec);
	for (i = 0; i < sizeof(common) / sizeof(common[0]); i++)
		rule(&p, &common[i], exec);
	give(&p, SECCOMP_RET_TRAP);
	return p.count;
}

bool seccomp_there(void)
{
	uint32_t action = SECCOMP_RET_TRAP;

	return !syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action);
}

int seccomp_enter(enum sandbox_thread kind, bool exec)
{
	struct sock_filter code[SECCOMP_PROGRAM];
	struct sock_fprog program = { .filter = code };
	size_t n = seccomp_build(kind, exec, code);

	if (n > SECCOMP_PROGRAM)
		return -E2BIG;
	program.len = n;
	kind_name = kinds[kind].name;
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program) ? -errno : 0;
}

/* ---- what is said of a call that was refused ---------------------------------------- */

static const char *call_name(int nr)
{
	static const struct {
		int nr;
		const char *name;
	} known[] = {
		{ SYS_open, "open" }, { SYS_openat, "openat" }, { SYS_execve, "execve" },
		{ SYS_socket, "socket" }, { SYS_connect, "connect" }, { SYS_clone, "clone" },
		{ SYS_clone3, "clone3" }, { SYS_fork, "fork" }, { SYS_vfork, "vfork" }, { SYS_kill, "kill" }, { SYS_tgkill, "tgkill" },
		{ SYS_ptrace, "ptrace" }, { SYS_mmap, "mmap" }, { SYS_mprotect, "mprotect" },
		{ SYS_ioctl, "ioctl" }, { SYS_unlink, "unlink" }, { SYS_unlinkat, "unlinkat" },
		{ SYS_rename, "rename" }, { SYS_bind, "bind" }, { SYS_mount, "mount" },
		{ SYS_openat2, "openat2" }, { SYS_execveat, "execveat" }, { SYS_readlink, "readlink" },
		{ SYS_io_uring_setup, "io_uring_setup" }, { SYS_setuid, "setuid" }, { SYS_bpf, "bpf" },
	};
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].nr == nr)
			return known[i].name;
	return NULL;
}

static size_t add(char *buf, size_t at, size_t size, const char *text)
{
	while (text && *text && at + 1 < size)
		buf[at++] = *text++;
	buf[at] = 0;
	return at;
}

size_t seccomp_tell(const siginfo_t *info, const char *name, char *buf, size_t size)
{
	char number[16] = "", *digit = number + sizeof(number) - 1;
	unsigned int nr = info->si_syscall;
	size_t n = 0;

	if (info->si_signo != SIGSYS || info->si_code != CODE_SECCOMP || !kind_name)
		return 0;
	do {
		*--digit = '0' + nr % 10;
		nr /= 10;
	} while (nr);
	n = add(buf, n, size, "cleave: ");
	n = add(buf, n, size, name);
	n = add(buf, n, size, ": ");
	n = add(buf, n, size, kind_name);
	n = add(buf, n, size, " thread made system call ");
	n = add(buf, n, size, digit);
	if (call_name(info->si_syscall)) {
		n = add(buf, n, size, " (");
		n = add(buf, n, size, call_name(info->si_syscall));
		n = add(buf, n, size, ")");
	}
	return add(buf, n, size, ", which the sandbox forbids, and ends by SIGSYS: a bug of cleave, or a guest that has broken into it; keep the guest and report it\n");
}
