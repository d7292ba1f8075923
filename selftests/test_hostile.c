// SPDX-License-Identifier: GPL-2.0
/*
 * A thread changes what another one has just handed to the kernel: descriptors, the run page,
 * arguments of commands, tables in guest memory. What was accepted is what was checked.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include "kselftest_harness.h"
#include "host.h"

#define PAGE		4096
#define GPA		0x40000000ull
#define KERNEL_GS_BASE	0xc0000102
#define LSTAR		0xc0000082

/* So many in QEMU; Bochs changes between its CPUs all the time, and needs fewer. */
static int often(int n)
{
	return n / (emulated_by_bochs() ? 20 : patience());
}

static uint32_t rnd(uint32_t *x)
{
	*x ^= *x << 13;
	*x ^= *x >> 17;
	*x ^= *x << 5;
	return *x;
}

struct helper {
	pthread_t thread;
	volatile bool stop;
	void *arg;
};

/* Signals are the first thread's. */
static void helper_start(struct helper *h, void *(*main)(void *), void *arg)
{
	sigset_t all, old;

	h->stop = false;
	h->arg = arg;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	MUST(-pthread_create(&h->thread, NULL, main, h));
	pthread_sigmask(SIG_SETMASK, &old, NULL);
}

static void helper_stop(struct helper *h)
{
	h->stop = true;
	pthread_join(h->thread, NULL);
}

FIXTURE(hostile) {
	long refs;
};

FIXTURE_SETUP(hostile)
{
	self->refs = module_refs();
}

FIXTURE_TEARDOWN(hostile)
{
	EXPECT_TRUE(WAIT_FOR(module_refs() == self->refs, 5000));
}

/* ---- descriptors ------------------------------------------------------------ */

#define GUESSES		12

static int first_guess;

static pthread_t maker;

static void nothing(int signal)
{
}

/* The maker may come to run a vCPU of the other thread's, which waits for INIT, and lose it. */
static void *close_guesses(void *arg)
{
	struct helper *h = arg;
	uint32_t x = 1;

	for (unsigned int i = 0; !h->stop; i++) {
		close(first_guess + rnd(&x) % GUESSES);
		if (i % 1024 == 0)
			pthread_kill(maker, SIGUSR1);
	}
	return NULL;
}

/* Another descriptor of the same, for as long as a command takes. */
static void *use_guesses(void *arg)
{
	struct cleave_create_vcpu vcpu = { 0 };
	struct cleave_state st = { .groups = CLEAVE_REGS };
	struct cleave_slot slot = { 0 };
	struct helper *h = arg;
	uint32_t x = 77;

	while (!h->stop) {
		int fd = fcntl(first_guess + rnd(&x) % GUESSES, F_DUPFD, 200);

		vcpu.id = rnd(&x) % 4;
		ioctl(fd, CLEAVE_CREATE_VCPU, &vcpu);
		ioctl(fd, CLEAVE_SET_SLOT, &slot);
		ioctl(fd, CLEAVE_KICK);
		ioctl(fd, CLEAVE_GET_STATE, &st);
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

GUEST(spin, 64, "1:\tjmp 1b\n\t");

static void make_and_lose(int dev, void *ram)
{
	struct cleave_create_vm args = { 0 };
	struct cleave_slot slot = { .size = RAM_SIZE, .hva = (uintptr_t)ram };
	int vm = ioctl(dev, CLEAVE_CREATE_VM, &args);

	ioctl(vm, CLEAVE_SET_SLOT, &slot);
	for (unsigned int i = 0; i < 3; i++) {
		struct cleave_create_vcpu vcpu = { .id = i };
		int fd = ioctl(vm, CLEAVE_CREATE_VCPU, &vcpu);
		struct cleave_run *run = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		if (run == MAP_FAILED)
			continue;
		run->request = CLEAVE_RUN_IMMEDIATE;
		ioctl(fd, CLEAVE_RUN);
		munmap(run, PAGE);
	}
	for (int i = 0; i < GUESSES; i++)
		close(first_guess + i);
}

/* Does not return. */
static void lose_descriptors(void)
{
	struct sigaction interrupt = { .sa_handler = nothing };
	void *ram = mem_alloc(RAM_SIZE, PAGE);
	struct helper closer, user;
	int dev = dev_open();

	sigaction(SIGUSR1, &interrupt, NULL);
	maker = pthread_self();
	first_guess = dev + 1;
	helper_start(&closer, close_guesses, NULL);
	helper_start(&user, use_guesses, NULL);
	for (int i = 0; i < often(2000); i++)
		make_and_lose(dev, ram);
	helper_stop(&closer);
	helper_stop(&user);
	_exit(0);
}

TEST_F_TIMEOUT(hostile, closed_by_guess, 280)
{
	int status;
	pid_t pid = fork();

	if (!pid)
		lose_descriptors();
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status);
}

/* ---- the run page ------------------------------------------------------------ */

static const uint64_t values[] = {
	0, 1, 2, 3, 0xff, 0x8000, 0xffffffff, 1ull << 31, 1ull << 32, 1ull << 47, 1ull << 63,
	0x7fffffffffffffff, ~0ull, 0x00007fffffffffff, 0xffff800000000000,
};

static uint64_t any_value(uint32_t *x)
{
	uint32_t n = rnd(x) % (sizeof(values) / sizeof(values[0]) + 1);

	return n < sizeof(values) / sizeof(values[0]) ? values[n] :
	       (uint64_t)rnd(x) << 32 | rnd(x);
}

static void *scribble(void *arg)
{
	struct helper *h = arg;
	volatile struct cleave_run *run = h->arg;
	volatile uint64_t *words = h->arg;
	uint32_t x = 4711;

	while (!h->stop) {
		words[rnd(&x) % (PAGE / 8)] = any_value(&x);
		words[rnd(&x) % 8] = rnd(&x) % 4;
		run->exit = rnd(&x);
		run->dirty = rnd(&x) % 4;
		run->want = rnd(&x) % 4;
		run->reserved = 0;
		run->request = rnd(&x) % 8 ? 0 : rnd(&x) % 4;
	}
	return NULL;
}

/* One exit of each kind that user space has a part in; the wrong hypercall is #UD. */
GUEST(all_exits, 64,
	"1:\tin $0x10, %al\n\tin $0x10, %ax\n\tin $0x10, %eax\n\tmov %eax, " S(GPA_DATA) "\n\t"
	"mov $0x1234567, %ecx\n\trdmsr\n\tmov $0x1234567, %ecx\n\twrmsr\n\t"
	"mov " S(GPA) ", %eax\n\tmov %eax, " S(GPA) "\n\trep insb\n\t"
	"xor %eax, %eax\n\tcpuid\n\tmov %cr4, %rax\n\tmov %rax, %cr4\n\t"
	"mov $3, %eax\n\tvmcall\n\tvmmcall\n\tout %eax, $0x10\n\tjmp 1b\n\t");

static void good_state(struct vcpu *v, struct cleave_state *st)
{
	struct cleave_state ev = { 0 };

	*st = (struct cleave_state){ 0 };
	vcpu_long(v, GPA_CODE);
	state_must_set(v, CLEAVE_EVENTS | CLEAVE_MP, &ev);
	state_get(v, CLEAVE_REGS | CLEAVE_SREGS, st);
}

static void on_alarm(int sig)
{
}

TEST_F_TIMEOUT(hostile, run_page_at_any_time, 280)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerval every = { { 0, 20000 }, { 0, 20000 } }, off = { 0 };
	struct cleave_state st;
	struct helper h;
	struct vcpu v;
	struct vm vm;
	uint64_t seen = 0;

	vm_create(&vm, RAM_SIZE, CLEAVE_VM_EXIT_MSR | CLEAVE_VM_EXIT_HYPERCALL);
	vcpu_create(&vm, &v, 0);
	GUEST_LONG(&v, all_exits);
	helper_start(&h, scribble, v.run);
	/* A guest that has gone astray may be asleep, or spin, for good. */
	sigaction(SIGALRM, &sa, NULL);
	setitimer(ITIMER_REAL, &every, NULL);
	for (int i = 0; i < often(20000); i++) {
		int ret;

		if (i % 16 == 0)
			good_state(&v, &st);
		ret = vcpu_run(&v);
		ASSERT_TRUE(ret == 0 || ret == -EINVAL || ret == -EINTR);
		seen |= 1ull << (ret ? 63 : v.run->exit & 31);
	}
	setitimer(ITIMER_REAL, &off, NULL);
	helper_stop(&h);
	/* It is a vCPU as any other still. */
	memset(v.run, 0, PAGE);
	GUEST_LONG(&v, all_exits);	/* which it may have written over while astray */
	good_state(&v, &st);
	vcpu_run_exit(&v, CLEAVE_EXIT_IO);
	EXPECT_EQ(0x10, v.run->io.port);
	EXPECT_NE(0, seen & ~(1ull << 63 | 1ull << CLEAVE_EXIT_NONE));
	vcpu_destroy(&v);
	vm_destroy(&vm);
}

struct registers {
	struct cleave_run *run;
	struct cleave_regs regs;	/* good ones */
	struct cleave_sregs sregs;
};

/* Good registers, one field of them wrong, and good again. */
static void *spoil_registers(void *arg)
{
	struct helper *h = arg;
	struct registers *r = h->arg;
	volatile uint64_t *sregs = (void *)&r->run->sregs, *regs = (void *)&r->run->regs;
	const uint64_t *good = (void *)&r->sregs, *good_regs = (void *)&r->regs;
	uint32_t x = 99;

	while (!h->stop) {
		uint32_t i = rnd(&x) % (sizeof(r->sregs) / 8);

		sregs[i] = any_value(&x);
		sched_yield();
		sregs[i] = good[i];
		i = 16 + rnd(&x) % 2;		/* RIP and RFLAGS */
		regs[i] = any_value(&x);
		regs[i] = good_regs[i];
	}
	return NULL;
}

/* Registers that were taken over could have been set. */
TEST_F_TIMEOUT(hostile, registers_of_the_run_page, 280)
{
	int taken = 0, refused = 0;
	struct cleave_state st;
	struct registers r;
	struct helper h;
	struct vcpu v;
	struct vm vm;

	GUEST_SIMPLE(&vm, &v, spin);
	good_state(&v, &st);
	r = (struct registers){ .run = v.run, .regs = st.regs, .sregs = st.sregs };
	v.run->regs = st.regs;
	v.run->sregs = st.sregs;
	helper_start(&h, spoil_registers, &r);
	for (int i = 0; i < often(40000); i++) {
		int ret;

		v.run->request = CLEAVE_RUN_IMMEDIATE;
		v.run->dirty = CLEAVE_REGS | CLEAVE_SREGS;
		ret = vcpu_run(&v);
		ASSERT_TRUE(ret == -EINTR || ret == -EINVAL);
		if (ret == -EINVAL) {
			refused++;
			continue;
		}
		taken++;
		state_get(&v, CLEAVE_REGS | CLEAVE_SREGS, &st);
		ASSERT_EQ(0, state_set(&v, CLEAVE_REGS | CLEAVE_SREGS, &st))
			TH_LOG("cr0 %llx cr4 %llx efer %llx rip %llx rflags %llx", st.sregs.cr0,
			       st.sregs.cr4, st.sregs.efer, st.regs.rip, st.regs.rflags);
	}
	helper_stop(&h);
	printf("# taken %d, refused %d\n", taken, refused);
	EXPECT_GT(taken, 0);
	vcpu_destroy(&v);
	vm_destroy(&vm);
}

/* ---- arguments ---------------------------------------------------------------- */

/*
 * Two pages: who reads over their border waits until the second one is there, and meanwhile
 * the first one is taken away. What was read of it must not be read again, or waits again.
 */
struct border {
	uint8_t *pages;
	int uffd;
	uint8_t first[PAGE];		/* what it has once it was taken away */
	uint8_t second[PAGE];
	volatile int reads;
};

static void *border_main(void *arg)
{
	struct helper *h = arg;
	struct border *b = h->arg;
	struct uffd_msg msg;

	while (!h->stop) {
		struct pollfd p = { .fd = b->uffd, .events = POLLIN };
		struct uffdio_copy copy = { .len = PAGE };
		bool first;

		if (poll(&p, 1, 20) <= 0 || read(b->uffd, &msg, sizeof(msg)) != sizeof(msg))
			continue;
		first = msg.arg.pagefault.address < (uintptr_t)b->pages + PAGE;
		if (!first)
			madvise(b->pages, PAGE, MADV_DONTNEED);
		b->reads += !(msg.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WRITE);
		copy.dst = (uintptr_t)b->pages + (first ? 0 : PAGE);
		copy.src = (uintptr_t)(first ? b->first : b->second);
		MUST(ioctl(b->uffd, UFFDIO_COPY, &copy));
	}
	return NULL;
}

static void border_create(struct border *b)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_MISSING };

	memset(b, 0, sizeof(*b));
	b->pages = mem_alloc(2 * PAGE, PAGE);
	b->uffd = MUST(syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK));
	MUST(ioctl(b->uffd, UFFDIO_API, &api));
	reg.range.start = (uintptr_t)b->pages;
	reg.range.len = 2 * PAGE;
	MUST(ioctl(b->uffd, UFFDIO_REGISTER, &reg));
}

/*
 * The command with the argument, whose first bytes are evil ones for who reads them again. Only
 * reads count: some commands write their argument back.
 */
static int border_at(struct border *b, int fd, unsigned long cmd, const void *arg, size_t size,
		     const void *evil, size_t first)
{
	int reads, ret;

	memcpy(b->first + PAGE - first, evil, first);
	memset(b->second, 0, PAGE);
	memcpy(b->second, arg + first, size - first);
	memcpy(b->pages + PAGE - first, arg, first);
	madvise(b->pages + PAGE, PAGE, MADV_DONTNEED);
	reads = b->reads;
	ret = xioctl(fd, cmd, b->pages + PAGE - first);
	if (b->reads != reads + 1)
		DIE("%d reads in %zu of %zu bytes", b->reads - reads, first, size);
	return ret;
}

/* With the border there, and before the last word: what reads over it is one access, and done again. */
static int border_call(struct border *b, int fd, unsigned long cmd, const void *arg, size_t size,
		       const void *evil, size_t first)
{
	size_t last = size - 8 < PAGE ? size - 8 : PAGE;

	return border_at(b, fd, cmd, arg, size, evil, first) ?:
	       border_at(b, fd, cmd, arg, size, evil, last);
}

FIXTURE(args) {
	struct vm vm;
	struct vcpu v;
	struct border b;
	struct helper h;
};

FIXTURE_SETUP(args)
{
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	access_prepare(&self->v);
	border_create(&self->b);
	helper_start(&self->h, border_main, &self->b);
}

FIXTURE_TEARDOWN(args)
{
	helper_stop(&self->h);
	close(self->b.uffd);
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

TEST_F(args, slot)
{
	uint8_t *mem = mem_alloc(16 * PAGE, PAGE);
	struct cleave_slot good = { .slot = 1, .gpa = GPA, .size = 16 * PAGE, .hva = (uintptr_t)mem };
	struct cleave_slot evil = { .slot = 5000, .flags = ~0u, .gpa = 0xfff };
	uint64_t val;

	*(uint64_t *)mem = 0x1234;
	ASSERT_EQ(0, border_call(&self->b, self->vm.fd, CLEAVE_SET_SLOT, &good, sizeof(good), &evil,
				 offsetof(struct cleave_slot, size)));
	EXPECT_EQ(CLEAVE_EXIT_IO, guest_read(&self->v, GPA, &val));
	EXPECT_EQ(0x1234, val);
	EXPECT_EQ(-EEXIST, vm_slot(&self->vm, 2, 0, GPA, PAGE, mem));
}

TEST_F(args, state)
{
	struct cleave_state good, evil;
	size_t first = offsetof(struct cleave_state, regs.r8);

	state_get(&self->v, CLEAVE_REGS, &good);
	good.groups = CLEAVE_REGS;
	good.regs.rbx = 0xb0b;
	memset(&evil, 0xff, sizeof(evil));
	ASSERT_EQ(0, border_call(&self->b, self->v.fd, CLEAVE_SET_STATE, &good, sizeof(good), &evil,
				 first));
	state_get(&self->v, CLEAVE_REGS, &evil);
	EXPECT_EQ(0, memcmp(&good.regs, &evil.regs, sizeof(good.regs)));
}

TEST_F(args, msrs)
{
	static struct cleave_msrs good = { .count = 2 }, evil;
	uint64_t val;

	good.entries[0] = (struct cleave_msr_entry){ .index = KERNEL_GS_BASE, .value = 0x1000 };
	good.entries[1] = (struct cleave_msr_entry){ .index = LSTAR, .value = 0x2000 };
	memset(&evil, 0xff, sizeof(evil));
	ASSERT_EQ(0, border_call(&self->b, self->v.fd, CLEAVE_SET_MSRS, &good, sizeof(good), &evil,
				 offsetof(struct cleave_msrs, entries[1])));
	EXPECT_EQ(0, msr_get(&self->v, KERNEL_GS_BASE, &val));
	EXPECT_EQ(0x1000, val);
	EXPECT_EQ(0, msr_get(&self->v, LSTAR, &val));
	EXPECT_EQ(0x2000, val);
}

TEST_F(args, cpuid)
{
	static struct cleave_cpuid good, evil;
	int dev = dev_open();

	MUST(ioctl(dev, CLEAVE_GET_CPUID, &good));
	close(dev);
	memset(&evil, 0xff, sizeof(evil));
	EXPECT_EQ(0, border_call(&self->b, self->v.fd, CLEAVE_SET_CPUID, &good, sizeof(good), &evil,
				 offsetof(struct cleave_cpuid, entries[2])));
}

/* ---- PDPTEs -------------------------------------------------------------------- */

#define PDPT	0x100000
#define LOADS	VM_DATA(&vm, uint32_t, 0)
#define FAULTS	VM_DATA(&vm, uint32_t, 8)

/* By the CPU, and by the kernel, which is asked for CR4.PSE. */
GUEST(load_pdptes, 32,
	"1:\tmov %cr3, %eax\n\tmov %eax, %cr3\n\t"
	"mov %cr4, %eax\n\txor $0x10, %eax\n\tmov %eax, %cr4\n\t"
	"incl " S(GPA_DATA) "\n\tjmp 1b\n\t");
GUEST(count_fault, 32, "incl " S(GPA_DATA) "+8\n\tadd $4, %esp\n\tiret\n\t");

static void *flip_pdptes(void *arg)
{
	struct helper *h = arg;
	volatile uint64_t *pdpt = h->arg;
	uint32_t x = 5;

	while (!h->stop) {
		uint32_t i = 1 + rnd(&x) % 3;

		pdpt[i] = any_value(&x) | (rnd(&x) & 1);
		/* Where CPUs take turns of a tenth of a second, it must be seen now and then. */
		if (rnd(&x) % 64 == 0)
			nap_us(50);
		pdpt[i] = 0;
	}
	return NULL;
}

static int any_exit(struct vcpu *v, void *arg)
{
	return 1;
}

TEST_F_TIMEOUT(hostile, pdptes, 280)
{
	struct cleave_state st;
	struct runner r;
	struct helper h;
	uint64_t *gate;
	struct vcpu v;
	struct vm vm;

	vm_create(&vm, RAM_SIZE, 0);
	vcpu_create(&vm, &v, 0);
	vm_tables(&vm);
	GUEST_LOAD(&vm, GPA_CODE, load_pdptes);
	GUEST_LOAD(&vm, GPA_HANDLER, count_fault);
	gate = (uint64_t *)(vm.ram + GPA_IDT);
	for (int i = 0; i < 32; i++)
		gate[i] = GPA_HANDLER | SEL_CODE32 << 16 | 0x8e00ull << 32;
	*(uint64_t *)(vm.ram + PDPT) = (PDPT + 0x1000) | 1;
	*(uint64_t *)(vm.ram + PDPT + 0x1000) = 0x83;
	vcpu_protected(&v, GPA_CODE);
	state_get(&v, CLEAVE_SREGS, &st);
	st.sregs.cr3 = PDPT;
	st.sregs.cr4 = CR4_PAE;
	st.sregs.cr0 |= CR0_PG;
	st.sregs.idt = (struct cleave_dtable){ .base = GPA_IDT, .limit = 0xff };
	state_must_set(&v, CLEAVE_SREGS, &st);
	runner_start(&r, &v, any_exit, NULL);
	ASSERT_TRUE(WAIT_FOR(*LOADS, 20000));
	helper_start(&h, flip_pdptes, vm.ram + PDPT);
	EXPECT_TRUE(WAIT_FOR((*LOADS > (uint32_t)often(40000) && *FAULTS > 20) || r.exits, 100000));
	helper_stop(&h);
	printf("# %u loads, %u of what is no PDPTE\n", *LOADS, *FAULTS);
	runner_stop(&r);
	EXPECT_EQ(0, r.exits) vcpu_dump(&v);
	EXPECT_EQ(0, r.error);
	vcpu_destroy(&v);
	vm_destroy(&vm);
}

TEST_HARNESS_MAIN
