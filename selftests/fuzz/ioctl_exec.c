// SPDX-License-Identifier: GPL-2.0
/* Runs a sequence: descriptors, threads, and the calls themselves. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include "ioctl.h"

#define ARG_SIZE	0x4000ul	/* of the largest argument */
#define FIRST_FD	3
#define LAST_FD		60		/* what is above is the program's own */

const char *const state_names[STATES] = {
	"several threads in guests", "killed in its guest", "kicked or interrupted",
	"closed under a guest", "unmapped under a guest", "protected under a guest",
	"advised under a guest", "a slot changed under a guest", "the run page changed under it",
	"arguments changed under the call", "used by another process",
};

struct shared *fuzz;
struct world world;
unsigned int exec_slice_us = 3000;

static struct thread threads[THREADS + 1];
static sem_t starts[THREADS + 1];
static sem_t finished;
static bool only_setup;
static uint8_t *read_only;		/* the arguments of all threads, for reading alone */
static __thread struct thread *self;

static bool guests_run(void)
{
	return __atomic_load_n(&world.in_guest, __ATOMIC_RELAXED);
}

static bool is_over(void)
{
	return __atomic_load_n(&world.over, __ATOMIC_RELAXED);
}

static void seen(enum state s)
{
	__atomic_fetch_add(&fuzz->states[s], 1, __ATOMIC_RELAXED);
}

/* A guest ran before or behind it: the call was made under it, or close. */
static void seen_under(enum state s, bool before)
{
	if (before && guests_run())
		seen(s);
}

static int vm_slot_of(const struct op *op)
{
	return op->obj % VMS;
}

static int vcpu_slot_of(const struct op *op)
{
	return op->obj % VCPUS;
}

static int fd_of(const struct op *op)
{
	switch (op->on) {
	case ON_DEV:
		return world.dev;
	case ON_VM:
		return __atomic_load_n(&world.vm[vm_slot_of(op)], __ATOMIC_RELAXED);
	default:
		return __atomic_load_n(&world.vcpu[vcpu_slot_of(op)], __ATOMIC_RELAXED);
	}
}

static void *run_page(int vcpu)
{
	return (void *)(RUN_PAGES + vcpu * RUN_STRIDE);
}

static long result(long r)
{
	return r < 0 ? -errno : r;
}

static void count(const struct op *op, long r)
{
	COUNT(calls[op->kind]);
	if (r >= 0)
		COUNT(good[op->kind]);
	else if (-r < MAX_ERRNO)
		COUNT(errors[op->kind][-r]);
}

/* The argument is where the call says; returns the address. */
static void *arg_at(const struct op *op, int fd)
{
	uint8_t *arg = self->arg;
	size_t size;

	if (op->where == AT_SHARED)
		arg = (uint8_t *)SHARED_ARG;
	size = model_arg(op, arg, fd);
	switch (op->where) {
	case AT_NULL:
		return NULL;
	case AT_KERNEL:
		return (void *)(0xffff888000000000ul + op->b % 0x1000000);
	case AT_EDGE:
		return self->arg + ARG_SIZE - size / 2;
	case AT_READ_ONLY:
		return read_only + (self->arg - threads[0].arg);
	default:
		return arg;
	}
}

static unsigned long cmd_of(const struct op *op)
{
	unsigned long cmd = op_info[op->kind].cmd;
	int size = _IOC_SIZE(cmd) + op->grow;

	if (!op->grow || !_IOC_SIZE(cmd))
		return cmd;
	if (size < 0)
		size = 0;
	return _IOC(_IOC_DIR(cmd), _IOC_TYPE(cmd), _IOC_NR(cmd), size);
}

static void keep_fd(int *place, int fd)
{
	int old = __atomic_exchange_n(place, fd, __ATOMIC_RELAXED);

	if (old >= 0)
		close(old);
}

static long do_command(const struct op *op)
{
	int fd = fd_of(op);
	void *arg = arg_at(op, fd);
	bool under = guests_run();
	long r = result(ioctl(fd, cmd_of(op), arg));

	if (op->kind == OP_CREATE_VM && r >= 0) {
		keep_fd(&world.vm[vm_slot_of(op)], r);
	} else if (op->kind == OP_CREATE_VCPU && r >= 0) {
		world.id[op->base % VCPUS] = op->a;
		keep_fd(&world.vcpu[op->base % VCPUS], r);
	} else if (op->kind == OP_SET_SLOT && !r) {
		seen_under(WAS_MOVED_SLOT_UNDER_IT, under);
	}
	return r;
}

/* What user space does at an exit, so that the guest goes on. */
static void answer(struct cleave_run *run)
{
	struct trap_frame *frame;
	uint32_t exit = run->exit;
	uint64_t rsp;

	if (exit == CLEAVE_EXIT_IO && run->io.port == PORT_TRAP) {
		/* Past what it cannot do. */
		rsp = run->regs.rsp;
		if (rsp < RAM_SIZE - sizeof(*frame)) {
			frame = (struct trap_frame *)(RAM + rsp);
			frame->rip = GPA_CODE + 2;
		}
	} else if (exit == CLEAVE_EXIT_IO && !(run->io.flags & CLEAVE_ACCESS_STRING)) {
		run->io.data = run->rip;
	} else if (exit == CLEAVE_EXIT_MSR) {
		run->msr.data = 0x123456789;
		run->msr.error = run->msr.index & 1;
	} else if (exit == CLEAVE_EXIT_MMIO || exit == CLEAVE_EXIT_INSN || exit == CLEAVE_EXIT_IO) {
		run->regs.rip += 2;
		run->dirty = CLEAVE_REGS;
	}
}

static long run_once(int fd, int vcpu)
{
	long r;

	__atomic_fetch_add(&world.in_vcpu[vcpu], 1, __ATOMIC_RELAXED);
	if (__atomic_fetch_add(&world.in_guest, 1, __ATOMIC_RELAXED) == 1)
		seen(WAS_SEVERAL_IN_GUEST);
	r = result(ioctl(fd, CLEAVE_RUN, 0));
	__atomic_fetch_sub(&world.in_guest, 1, __ATOMIC_RELAXED);
	__atomic_fetch_sub(&world.in_vcpu[vcpu], 1, __ATOMIC_RELAXED);
	return r;
}

/* a: how many exits. base 1 to 3: a request for the first. */
static long do_run(const struct op *op)
{
	static const uint32_t requests[] = { 0, CLEAVE_RUN_WINDOW, CLEAVE_RUN_IMMEDIATE, 0 };
	int vcpu = vcpu_slot_of(op);
	struct cleave_run *run = run_page(vcpu);
	uint64_t times = op->a % 64 + 1;
	long r;

	if (op->base % 4) {
		run->request = requests[op->base % 4];
		run->want = op->base % 4 == 3 ? CLEAVE_REGS | CLEAVE_SREGS : 0;
	}
	do {
		r = run_once(fd_of(op), vcpu);
		if (r == -EINTR)
			seen(WAS_KICKED);
		if (r == -EINVAL) {
			run->request = 0;
			run->reserved = 0;
			run->want = 0;
			run->dirty = 0;
		}
		if (r)
			break;
		if (run->exit < MAX_EXIT)
			COUNT(exits[run->exit]);
		answer(run);
		run->request = 0;
	} while (--times && run->exit != CLEAVE_EXIT_SHUTDOWN && !is_over());
	return r;
}

static long do_close(const struct op *op)
{
	bool under = guests_run();
	int fd = -1;

	if (op->on == ON_VM)
		fd = __atomic_exchange_n(&world.vm[vm_slot_of(op)], -1, __ATOMIC_RELAXED);
	else if (op->on == ON_VCPU)
		fd = __atomic_exchange_n(&world.vcpu[vcpu_slot_of(op)], -1, __ATOMIC_RELAXED);
	if (fd >= 0)
		seen_under(WAS_CLOSED_UNDER_IT, under);
	return result(close(fd));
}

static long do_files(const struct op *op)
{
	struct pollfd p = { .fd = fd_of(op), .events = op->a };
	int fd = fd_of(op);

	switch (op->kind) {
	case OP_IOCTL:
		/* Those that it would know by chance are known well enough. */
		return result(ioctl(fd, op->a & 1 ? op->b : _IOC(op->b & 3, CLEAVE_IOC,
								 op->a >> 8 & 0xff, op->a >> 16 & 0x3fff),
				    SHARED_ARG));
	case OP_CLOSE:
		return do_close(op);
	case OP_CLOSE_FD:
		fd = FIRST_FD + op->a % (LAST_FD - FIRST_FD);
		return fd == world.dev || fd == world.memfd ? -EBADF : result(close(fd));
	case OP_DUP:
		keep_fd(&world.vcpu[op->a % VCPUS], dup(fd));
		return 0;
	case OP_DUP2:
		return result(dup2(fd, FIRST_FD + 20 + op->a % 8));
	case OP_READ:
		return result(pread(fd, (void *)SHARED_ARG, op->a % ARG_SIZE, op->b));
	case OP_WRITE:
		return result(pwrite(fd, (void *)SHARED_ARG, op->a % ARG_SIZE, op->b));
	case OP_POLL:
		return result(poll(&p, 1, 0));
	default:
		return result(lseek(fd, op->b, op->a % 5));
	}
}

static long do_mappings(const struct op *op)
{
	int vcpu = vcpu_slot_of(op), fd = fd_of(op), prot = PROT_READ | PROT_WRITE;
	uint8_t *page = run_page(vcpu);
	void *p;

	switch (op->kind) {
	case OP_MMAP_RUN:
		p = mmap(page, 0x1000, prot, MAP_SHARED | MAP_FIXED, fd, 0);
		break;
	case OP_MMAP_RECORDER:
		p = mmap(page + 0x1000, sizeof(struct cleave_recorder), PROT_READ,
			 MAP_SHARED | MAP_FIXED, fd, 0x1000);
		break;
	case OP_MMAP_ANY:
		p = mmap(page, (op->a % 8 + 1) << 12, op->b & 7,
			 (op->b & 8 ? MAP_SHARED : MAP_PRIVATE) | MAP_FIXED, fd,
			 op->b >> 4 << 12);
		break;
	default:
		return result(munmap(page, (op->a % 6 + 1) << 12));
	}
	return p == MAP_FAILED ? -errno : 0;
}

/* A fork whose child does not go on with the sequence when it hits what is not mapped. */
static pid_t fork_apart(void)
{
	pid_t pid = fork();

	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		signal(SIGBUS, SIG_DFL);
	}
	return pid;
}

/* A child has the descriptors and must get nowhere with them. */
static long do_fork(const struct op *op)
{
	static struct cleave_state st;
	int status;
	pid_t pid = fork_apart();

	if (pid < 0)
		return -errno;
	if (!pid) {
		int vm = world.vm[op->a % VMS], vcpu = world.vcpu[vcpu_slot_of(op)];
		bool wrong = (vcpu >= 0 && ioctl(vcpu, CLEAVE_GET_STATE, &st) >= 0) ||
			     (vcpu >= 0 && ioctl(vcpu, CLEAVE_RUN, 0) >= 0) ||
			     (vm >= 0 && ioctl(vm, CLEAVE_CREATE_VCPU, &st) >= 0) ||
			     mmap(NULL, 0x1000, PROT_READ, MAP_SHARED, vcpu, 0) != MAP_FAILED;

		_exit(wrong ? 1 : errno == EIO ? 2 : 0);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	/* A descriptor may have been closed, and be another file's by now. */
	if (WIFEXITED(status) && WEXITSTATUS(status) == 2)
		seen(WAS_FOREIGN);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 1)
		COUNT(trespasses);
	return 0;
}

/* A process with a guest of its own dies while that runs. */
static void live_and_be_killed(volatile uint32_t *ready, uint64_t what)
{
	struct vcpu v;
	struct vm vm;

	vm_create(&vm, RAM_SIZE, 0);
	vcpu_create(&vm, &v, 0);
	memcpy(vm.ram, (void *)RAM, GPA_CODE);
	vm.ram[GPA_CODE] = what & 1 ? 0xf4 : 0xeb;	/* HLT or JMP to itself */
	vm.ram[GPA_CODE + 1] = what & 1 ? 0xf4 : 0xfe;
	vcpu_long(&v, GPA_CODE);
	for (;;) {
		*ready = 1;
		vcpu_run(&v);
	}
}

static long do_fork_kill(const struct op *op)
{
	volatile uint32_t *ready = mmap(NULL, 0x1000, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status = 0;
	pid_t pid = fork_apart();

	if (!pid)
		live_and_be_killed(ready, op->a);
	if (pid < 0)
		return -errno;
	for (int i = 0; i < 400 && !*ready && !(op->a & 0x10000); i++)
		nap_us(exec_slice_us / 4);
	nap_us(op->a >> 1 & 0x3ff);
	kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (*ready && WIFSIGNALED(status))
		seen(WAS_KILLED);
	munmap((void *)ready, 0x1000);
	return 0;
}

/* The range that a call about memory means: region by base, pages by a. */
static uint8_t *range_of(const struct op *op, size_t *size)
{
	static const struct {
		uint64_t at;
		uint32_t pages;
	} regions[] = {
		{ RAM, 512 }, { BIG, BIG_SIZE >> 12 }, { FILE_MEM, FILE_SIZE >> 12 },
		{ PRIVATE_MEM, FILE_SIZE >> 12 }, { BIG, BIG_SIZE >> 12 }, { RAM + 0x100000, 256 },
	};
	uint32_t i = op->base % (sizeof(regions) / sizeof(regions[0]));
	uint32_t first = op->a % regions[i].pages, n = 1 + (op->a >> 16 & 0x3ff);

	/* Often all of it. */
	if (op->a >> 30 & 1) {
		first = 0;
		n = regions[i].pages;
	}
	if (n > regions[i].pages - first)
		n = regions[i].pages - first;
	*size = (size_t)n << 12;
	return (uint8_t *)regions[i].at + ((size_t)first << 12);
}

static long do_memory(const struct op *op)
{
	/* The last four by number, as the headers may be older. */
	static const int advice[] = {
		MADV_DONTNEED, MADV_DONTNEED, MADV_FREE, MADV_HUGEPAGE, MADV_NOHUGEPAGE,
		MADV_MERGEABLE, MADV_UNMERGEABLE, MADV_REMOVE, MADV_COLD, MADV_PAGEOUT,
		MADV_DONTFORK, MADV_DOFORK, 22, 23, 25, 24,
	};
	bool under = guests_run();
	size_t size;
	uint8_t *at = range_of(op, &size);
	int prot = PROT_READ | PROT_WRITE;
	void *p = at;
	long r = 0;

	switch (op->kind) {
	case OP_MUNMAP:
		r = munmap(at, size);
		seen_under(WAS_UNMAPPED_UNDER_IT, under);
		break;
	case OP_MMAP:
		p = op->b & 1 ? mmap(at, size, prot, MAP_SHARED | MAP_FIXED, world.memfd, 0) :
		    mmap(at, size, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
		break;
	case OP_MPROTECT:
		r = mprotect(at, size, op->b % 8);
		seen_under(WAS_PROTECTED_UNDER_IT, under);
		break;
	case OP_MADVISE:
		r = madvise(at, size, advice[op->a >> 32 & 15]);
		seen_under(WAS_ADVISED_UNDER_IT, under);
		break;
	case OP_MREMAP:
		p = op->b & 1 ? mremap(at, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, SPARE) :
		    mremap((void *)SPARE, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, at);
		break;
	default:
		r = ftruncate(world.memfd, op->a % FILE_SIZE & ~0xffful);
	}
	return p == MAP_FAILED ? -errno : result(r);
}

static void run_page_write(const struct op *op, struct cleave_run *run, uint64_t random)
{
	uint8_t *to = (uint8_t *)run;

	for (int i = 0; i < op->patches; i++)
		if (op->patch[i].off + op->patch[i].size <= 0x1000)
			memcpy(to + op->patch[i].off, &op->patch[i].val, op->patch[i].size);
	if (!op->patches) {
		run->regs.rip = GPA_CODE + (random & 2);
		run->dirty = CLEAVE_REGS | (random >> 8 & CLEAVE_SREGS);
	}
}

static bool time_is_up(uint64_t until)
{
	return is_over() || now_ns() > until;
}

static long do_write(const struct op *op)
{
	uint64_t until = now_ns() + exec_slice_us * 1000ull;
	int vcpu = vcpu_slot_of(op);
	struct rng r = { .x = (op->a ^ op->b << 1) | 1 };
	size_t size;

	switch (op->kind) {
	case OP_RUN_PAGE:
		run_page_write(op, run_page(vcpu), op->a);
		break;
	case OP_RUN_STORM:
		/* Some of it as it should be, so that a run gets somewhere. */
		for (int n = 0; n < 3000 && !time_is_up(until); n++) {
			uint64_t x = rng_next(&r);
			uint32_t off = x >> 8 & 0x3ff;

			run_page_write(op, run_page(vcpu), x);
			((uint8_t *)run_page(vcpu))[x & 1 ? off : off & 0x1f] = x >> 32;
			if (__atomic_load_n(&world.in_vcpu[vcpu], __ATOMIC_RELAXED))
				seen(WAS_RUN_PAGE_CHANGED);
			if (!(n & 63))
				sched_yield();
		}
		break;
	case OP_ARG_STORM:
		for (int n = 0; n < 3000 && !time_is_up(until); n++) {
			uint64_t x = rng_next(&r);

			*(volatile uint32_t *)(SHARED_ARG + (x & 0x7c)) = x >> 40 >> (x >> 8 & 31);
			*(volatile uint64_t *)(SHARED_ARG + (x >> 16 & 0x3ff8)) = rng_next(&r);
			if (!(n & 63))
				sched_yield();
		}
		seen(WAS_ARGS_CHANGED);
		break;
	case OP_POKE:
		memcpy(range_of(op, &size) + (op->b & 0xff8), &op->b, 8);
		break;
	case OP_SCRIPT:
		model_script(op->a);
		break;
	case OP_CODE:
		model_code(op->a);
		break;
	default:
		nap_us(op->a % 1000);
	}
	return 0;
}

static void do_op(const struct op *op)
{
	sigjmp_buf escape;
	long r;

	COUNT(ops);
	/* Its own stores may hit what is not there. */
	if (sigsetjmp(escape, 1)) {
		self->escape = NULL;
		count(op, -EFAULT);
		return;
	}
	self->escape = &escape;
	if (op->kind == OP_RUN)
		r = do_run(op);
	else if (op->kind < OP_COMMANDS)
		r = do_command(op);
	else if (op->kind < OP_MMAP_RUN)
		r = do_files(op);
	else if (op->kind < OP_FORK)
		r = do_mappings(op);
	else if (op->kind < OP_MUNMAP)
		r = op->kind == OP_FORK ? do_fork(op) : do_fork_kill(op);
	else if (op->kind < OP_RUN_PAGE)
		r = do_memory(op);
	else
		r = do_write(op);
	self->escape = NULL;
	count(op, r);
}

static void on_fault(int sig)
{
	if (self && self->escape)
		siglongjmp(*self->escape, 1);
	signal(sig, SIG_DFL);
}

static void on_kick(int sig)
{
}

static void *thread_main(void *arg)
{
	struct thread *t = arg;

	self = t;
	t->trace = cover_open();
	for (;;) {
		while (sem_wait(&starts[t->id]))
			;
		cover_reset(t->trace);
		for (uint32_t i = 0; i < t->seq->ops && (only_setup || !is_over()); i++) {
			const struct op *op = &t->seq->op[i];

			if (only_setup ? op->thread == 0 : op->thread == t->id)
				do_op(op);
		}
		t->fresh += cover_take(t->trace);
		__atomic_store_n(&t->running, 0, __ATOMIC_RELEASE);
		sem_post(&finished);
	}
	return NULL;
}

void exec_start(int worker)
{
	struct sigaction kick = { .sa_handler = on_kick }, fault = { .sa_handler = on_fault };
	int args;

	memset(&world, 0, sizeof(world));
	world.memfd = MUST(memfd_create("fuzz", MFD_CLOEXEC));
	args = MUST(memfd_create("arguments", MFD_CLOEXEC));
	MUST(ftruncate(args, ARG_SIZE * (THREADS + 1) * 2));
	read_only = mmap(NULL, ARG_SIZE * (THREADS + 1) * 2, PROT_READ, MAP_SHARED, args, 0);
	sigaction(SIGUSR1, &kick, NULL);
	sigaction(SIGSEGV, &fault, NULL);
	sigaction(SIGBUS, &fault, NULL);
	model_init();
	sem_init(&finished, 0, 0);
	threads[0].arg = mmap(NULL, ARG_SIZE * (THREADS + 1) * 2, PROT_READ | PROT_WRITE, MAP_SHARED,
			      args, 0);
	close(args);
	for (int i = 1; i <= THREADS; i++) {
		threads[i].id = i;
		threads[i].arg = threads[0].arg + i * ARG_SIZE * 2;
		munmap(threads[i].arg + ARG_SIZE, ARG_SIZE);
		sem_init(&starts[i], 0, 0);
		if (pthread_create(&threads[i].pthread, NULL, thread_main, &threads[i]))
			DIE("no thread");
	}
}

static bool wait_finished(unsigned int us)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_nsec += us * 1000l;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	return !sem_timedwait(&finished, &until);
}

/* Lets the threads go and waits for them; who stays in a guest gets signals. */
static int go(int last, bool setup)
{
	uint64_t began = now_ns();
	int left = last;

	only_setup = setup;
	for (int i = 1; i <= last; i++) {
		threads[i].running = 1;
		sem_post(&starts[i]);
	}
	while (left) {
		if (wait_finished(exec_slice_us)) {
			left--;
			continue;
		}
		if (now_ns() - began > exec_slice_us * 20000ull)
			__atomic_store_n(&world.over, 1, __ATOMIC_RELAXED);
		if (now_ns() - began > 60 * SEC)
			return -1;
		for (int i = 1; i <= last; i++)
			if (__atomic_load_n(&threads[i].running, __ATOMIC_ACQUIRE))
				pthread_kill(threads[i].pthread, SIGUSR1);
	}
	return 0;
}

static void close_all(void)
{
	for (int fd = FIRST_FD; fd <= LAST_FD; fd++)
		if (fd != world.dev && fd != world.memfd)
			close(fd);
}

int exec_seq(const struct seq *s)
{
	uint32_t fresh = 0;
	int ret;

	model_memory();
	memset(world.vm, -1, sizeof(world.vm));
	memset(world.vcpu, -1, sizeof(world.vcpu));
	world.over = 0;
	for (int i = 1; i <= THREADS; i++) {
		threads[i].seq = (struct seq *)s;
		threads[i].fresh = 0;
	}
	ret = go(1, true) || go(THREADS, false);
	if (ret)
		return -1;
	close_all();
	COUNT(executions);
	for (int i = 1; i <= THREADS; i++)
		fresh += threads[i].fresh;
	return fresh;
}
