// SPDX-License-Identifier: GPL-2.0
/*
 * Every allocation and copy on every path fails once, in turn: the call answers with an errno of
 * the header's, leaves all as it was, and the same call succeeds next. It needs a kernel with
 * /proc/self/fail-nth, and FAILSLAB, FAIL_PAGE_ALLOC, FAULT_INJECTION_USERCOPY behind it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include "kselftest_harness.h"
#include "eventfds.h"

#ifndef MAP_HUGE_1GB
#define MAP_HUGE_1GB	(30 << 26)
#endif

enum {
	PAGES = 16,		/* that a guest touches */
	LOADINGS = 80,
	GPA_TOUCH = 0x100000,
	GPA_2M = 0x40000000,	/* its leaf needs tables of its own */
	GPA_1G = 0x80000000,
};

/* Writes to RSI pages from RBX on; EAX counts them. */
GUEST(touch, 64,
	"xor %eax, %eax\n"
	"1:\tmov %ebx, (%rbx)\n\tinc %eax\n\tadd $0x1000, %rbx\n\tdec %rsi\n\tjnz 1b\n\t" G_DONE);

/* The thread's fail-nth; what it injects into itself is put up with. */
static int nth = -1;

static void arm(unsigned int n)
{
	char text[16];
	int len = snprintf(text, sizeof(text), "%u", n);

	while (pwrite(nth, text, len, 0) != len)
		;
}

/* Was the fault injected? */
static bool disarm(void)
{
	char text[16] = "";
	bool hit = pread(nth, text, sizeof(text) - 1, 0) > 0 && atoi(text) == 0;

	arm(0);
	return hit;
}

static int kmsg = -1;

/* What else a path is about than the VM and its first vCPU. */
struct scene {
	struct vm vm;
	struct vcpu v, other;
	int dev, made;		/* made: a descriptor by the call */
	void *mapped;
	size_t mapped_size;
	uint64_t gpa, pages;	/* to touch */
};

struct path {
	const char *name;
	void (*prepare)(struct scene *s);
	long (*call)(struct scene *s);		/* negative: -errno */
	int error;				/* beside ENOMEM and EFAULT */
	int least;				/* faults that there are to inject */
	bool allocates;				/* what stays */
};

static unsigned char buf[16384];

static void with_vcpu(struct scene *s)
{
	vm_create(&s->vm, RAM_SIZE, 0);
	vcpu_create(&s->vm, &s->v, 0);
	GUEST_LONG(&s->v, touch);
}

static void with_vm(struct scene *s)
{
	vm_create(&s->vm, RAM_SIZE, 0);
}

static void with_slots(struct scene *s)
{
	with_vcpu(s);
	vm_slot(&s->vm, 1, 0, 1ull << 30, 0x10000, s->vm.ram);
}

static long info(struct scene *s)
{
	return xioctl(s->dev, CLEAVE_INFO, buf);
}

static long get_cpuid(struct scene *s)
{
	return xioctl(s->dev, CLEAVE_GET_CPUID, buf);
}

static long create_vm(struct scene *s)
{
	struct cleave_create_vm a = { 0 };

	return s->made = xioctl(s->dev, CLEAVE_CREATE_VM, &a);
}

static long create_vcpu(struct scene *s)
{
	struct cleave_create_vcpu a = { .id = 1 };

	return s->made = xioctl(s->vm.fd, CLEAVE_CREATE_VCPU, &a);
}

static long slot_set(struct scene *s)
{
	return vm_slot(&s->vm, 1, 0, 1ull << 30, 0x10000, s->vm.ram);
}

static long slot_move(struct scene *s)
{
	return vm_slot(&s->vm, 1, CLEAVE_SLOT_READONLY, 1ull << 31, 0x10000, s->vm.ram);
}

/* Again is -ENOENT, which says that the first time was the one. */
static long slot_delete(struct scene *s)
{
	return vm_slot(&s->vm, 1, 0, 0, 0, NULL);
}

static long msi(struct scene *s)
{
	return vm_msi(&s->vm, MSI_ADDRESS(0), MSI_NMI);
}

static int event = -1;		/* of all that need one */

static void with_event(struct scene *s)
{
	with_vcpu(s);
	if (event < 0)
		event = event_create();
}

static long irqfd(struct scene *s)
{
	return irqfd_set(&s->vm, event, MSI_ADDRESS(0), 0x51);
}

static long irqfd_level(struct scene *s)
{
	return irqfd_set_level(&s->vm, event, event, MSI_LEVEL | 0x51);
}

static void with_irqfd(struct scene *s)
{
	with_event(s);
	irqfd_level(s);
}

static long irqfd_off(struct scene *s)
{
	return irqfd_clear(&s->vm, event);
}

static long ioeventfd(struct scene *s)
{
	return ioeventfd_set(&s->vm, event, CLEAVE_IOEVENTFD_PIO, 0x80, 4, 0);
}

static void with_ioeventfd(struct scene *s)
{
	with_event(s);
	ioeventfd(s);
}

static long ioeventfd_off(struct scene *s)
{
	return ioeventfd_clear(&s->vm, CLEAVE_IOEVENTFD_PIO, 0x80, 4, 0);
}

static long get_state(struct scene *s)
{
	((struct cleave_state *)buf)->groups = 127;
	((struct cleave_state *)buf)->reserved = 0;
	return xioctl(s->v.fd, CLEAVE_GET_STATE, buf);
}

static void with_state(struct scene *s)
{
	with_vcpu(s);
	get_state(s);
}

static long set_state(struct scene *s)
{
	return xioctl(s->v.fd, CLEAVE_SET_STATE, buf);
}

static long get_fpu(struct scene *s)
{
	return xioctl(s->v.fd, CLEAVE_GET_FPU, buf);
}

static void with_fpu(struct scene *s)
{
	with_vcpu(s);
	get_fpu(s);
}

static long set_fpu(struct scene *s)
{
	return xioctl(s->v.fd, CLEAVE_SET_FPU, buf);
}

static void with_msrs(struct scene *s)
{
	struct cleave_msrs *m = (void *)buf;

	with_vcpu(s);
	memset(buf, 0, sizeof(*m));
	m->count = 2;
	m->entries[0].index = 0xc0000102;
	m->entries[1].index = 0x277;
	MUST(ioctl(s->v.fd, CLEAVE_GET_MSRS, m));
}

static long get_msrs(struct scene *s)
{
	return xioctl(s->v.fd, CLEAVE_GET_MSRS, buf);
}

static long set_msrs(struct scene *s)
{
	return xioctl(s->v.fd, CLEAVE_SET_MSRS, buf);
}

static void with_cpuid(struct scene *s)
{
	with_vcpu(s);
	MUST(ioctl(s->dev, CLEAVE_GET_CPUID, buf));
}

static long set_cpuid(struct scene *s)
{
	return xioctl(s->v.fd, CLEAVE_SET_CPUID, buf);
}

static long lapic_reg(struct scene *s)
{
	uint32_t val;

	return lapic_read(&s->v, 0x20, &val);
}

static long kick(struct scene *s)
{
	return xioctl(s->v.fd, CLEAVE_KICK, NULL);
}

static long nmi(struct scene *s)
{
	return xioctl(s->v.fd, CLEAVE_NMI, NULL);
}

static long freeze(struct scene *s)
{
	struct cleave_freeze f = { 0 };

	return xioctl(s->v.fd, CLEAVE_FREEZE, &f);
}

static long map(struct scene *s, off_t at, size_t size, int prot)
{
	void *p = mmap(NULL, size, prot, MAP_SHARED, s->v.fd, at);

	if (p == MAP_FAILED)
		return -errno;
	s->mapped = p;
	s->mapped_size = size;
	return 0;
}

static long map_run_page(struct scene *s)
{
	return map(s, 0, s->v.run_size, PROT_READ | PROT_WRITE);
}

static long map_recorder(struct scene *s)
{
	return map(s, s->v.run_size, sizeof(struct cleave_recorder), PROT_READ);
}

/* The file is gone whatever close() says; the VM's end is behind it. */
static long close_vcpu(struct scene *s)
{
	int fd = s->v.fd;

	s->v.fd = -1;
	return fd < 0 ? 0 : close(fd) ? -errno : 0;
}

static long close_vm(struct scene *s)
{
	int fd = s->vm.fd;

	s->vm.fd = -1;
	return fd < 0 ? 0 : close(fd) ? -errno : 0;
}

static void touch_at(struct scene *s, uint64_t gpa, uint64_t pages)
{
	struct cleave_regs regs;

	regs_get(&s->v, &regs);
	regs.rip = GPA_CODE;
	regs.rbx = gpa;
	regs.rsi = pages;
	regs_set(&s->v, &regs);
	s->gpa = gpa;
	s->pages = pages;
}

/* Pages that the host has not, and must find while the guest waits. */
static void with_new_pages(struct scene *s)
{
	with_vcpu(s);
	touch_at(s, GPA_TOUCH, PAGES);
}

static void with_memory(struct scene *s, uint64_t gpa, size_t size, void *p)
{
	with_vcpu(s);
	if (vm_slot(&s->vm, 2, 0, gpa, size, p))
		DIE("a slot of %zu bytes is refused", size);
	touch_at(s, gpa, PAGES);
}

static void with_2m(struct scene *s)
{
	s->mapped_size = 2 << 20;
	s->mapped = mem_alloc(s->mapped_size, s->mapped_size);
	madvise(s->mapped, s->mapped_size, MADV_HUGEPAGE);
	memset(s->mapped, 1, s->mapped_size);
	with_memory(s, GPA_2M, s->mapped_size, s->mapped);
}

/* One for all, as it takes the host long to clear it. */
static void with_1g(struct scene *s)
{
	const size_t size = 1 << 30;
	static uint8_t *p;

	if (!p) {
		p = mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | MAP_HUGE_1GB, -1, 0);
		if (p == MAP_FAILED)
			DIE("no page of 1 GiB: errno %d", errno);
		*p = 1;
	}
	with_memory(s, GPA_1G, size, p);
}

/*
 * To the end of what the guest does. What the host could not give is an exit that says so, or on
 * hosts that do not say how long an instruction is, one to carry it out; it goes on from there.
 */
static long run(struct scene *s)
{
	struct cleave_run *r = s->v.run;
	int ret = vcpu_run(&s->v);

	if (ret)
		return ret;
	if (r->exit == CLEAVE_EXIT_FAULT)
		return -(long)r->fault.error;
	if (r->exit == CLEAVE_EXIT_INSN)
		return -EFAULT;
	if (r->exit != CLEAVE_EXIT_IO || r->io.port != PORT_DONE || r->io.data != s->pages) {
		vcpu_dump(&s->v);
		return -EPROTO;
	}
	return 0;
}

static const struct path paths[] = {
	{ "INFO", with_vm, info, .least = 2 },
	{ "GET_CPUID", with_vm, get_cpuid, .least = 2 },
	{ "CREATE_VM, first", NULL, create_vm, .least = 5, .allocates = true },
	{ "CREATE_VM, another", with_vm, create_vm, .least = 5, .allocates = true },
	{ "CREATE_VCPU", with_vcpu, create_vcpu, .least = 8, .allocates = true },
	{ "SET_SLOT", with_vcpu, slot_set, .least = 2 },
	{ "SET_SLOT that moves", with_slots, slot_move, .least = 2 },
	{ "SET_SLOT that deletes", with_slots, slot_delete, .least = 2 },
	{ "MSI", with_vcpu, msi, .least = 2 },
	{ "IRQFD", with_event, irqfd, .least = 3, .allocates = true },
	{ "IRQFD with a line", with_event, irqfd_level, .least = 3, .allocates = true },
	{ "IRQFD that changes", with_irqfd, irqfd_level, .least = 2 },
	{ "IRQFD that ends", with_irqfd, irqfd_off, .least = 2 },
	{ "IOEVENTFD", with_event, ioeventfd, .least = 3, .allocates = true },
	{ "IOEVENTFD that ends", with_ioeventfd, ioeventfd_off, .least = 2 },
	{ "GET_STATE", with_vcpu, get_state, .least = 3 },
	{ "SET_STATE", with_state, set_state, .least = 2 },
	{ "GET_FPU", with_vcpu, get_fpu, .least = 2 },
	{ "SET_FPU", with_fpu, set_fpu, .least = 2 },
	{ "GET_MSRS", with_msrs, get_msrs, .least = 3 },
	{ "SET_MSRS", with_msrs, set_msrs, .least = 3 },
	{ "SET_CPUID", with_cpuid, set_cpuid, .least = 3 },
	{ "LAPIC_ACCESS", with_vcpu, lapic_reg, .least = 3 },
	{ "KICK", with_vcpu, kick },
	{ "NMI", with_vcpu, nmi },
	{ "FREEZE", with_vcpu, freeze, .least = 2 },
	{ "the run page mapped", with_vcpu, map_run_page, .least = 1, .allocates = true },
	{ "the recorder mapped", with_vcpu, map_recorder, .least = 1, .allocates = true },
	{ "RUN, new pages", with_new_pages, run, .least = 5, .allocates = true },
	{ "RUN, 2 MiB", with_2m, run, .least = 2 },
	{ "RUN, 1 GiB", with_1g, run, .least = 2 },
	{ "a vCPU closed", with_vcpu, close_vcpu },
	{ "a VM closed", with_vcpu, close_vm },
};

/* The lowest number that is free, reserved ones not among them. */
static int next_fd(void)
{
	int fd = MUST(open("/dev/null", O_RDONLY | O_CLOEXEC));

	close(fd);
	return fd;
}

static void begin(const struct path *p, struct scene *s)
{
	memset(s, 0, sizeof(*s));
	s->dev = dev_open();
	s->made = -1;
	s->vm.fd = -1;
	s->v.fd = -1;
	if (p->prepare)
		p->prepare(s);
}

static void end(struct scene *s)
{
	if (s->made >= 0)
		close(s->made);
	if (s->v.fd >= 0)
		close(s->v.fd);
	if (s->v.run)
		munmap(s->v.run, s->v.run_size);
	if (s->vm.fd >= 0)
		close(s->vm.fd);
	if (s->vm.ram)
		munmap(s->vm.ram, s->vm.ram_size);
	if (s->mapped)
		munmap(s->mapped, s->mapped_size);
	close(s->dev);
}

/* One call with its n-th allocation failing. False: it has no n-th. */
static bool one_fault(struct __test_metadata *_metadata, const struct path *p, unsigned int n)
{
	struct scene s;
	int fd, refs, i = 0;
	bool hit;
	long r;

	begin(p, &s);
	fd = next_fd();
	refs = module_refs();
	arm(n);
	r = p->call(&s);
	hit = disarm();
	if (r < 0) {
		EXPECT_TRUE(hit && (r == -ENOMEM || r == -EFAULT || r == -p->error))
			TH_LOG("%s, fault %u: %s", p->name, n, strerror(-r));
		EXPECT_EQ(fd, next_fd())
			TH_LOG("%s, fault %u: descriptors", p->name, n);
		EXPECT_EQ(refs, module_refs())
			TH_LOG("%s, fault %u: references on the module", p->name, n);
		/* A guest may have been stopped at several places by the one fault. */
		do
			r = p->call(&s);
		while (r < 0 && ++i < 3 && p->call == run);
		EXPECT_GE(r, 0)
			TH_LOG("%s, after fault %u: %s", p->name, n, strerror(-r));
	}
	end(&s);
	return hit;
}

static unsigned int all_faults(struct __test_metadata *_metadata, const struct path *p)
{
	unsigned int n = 1;

	while (n < 1000 && one_fault(_metadata, p, n))
		n++;
	return n - 1;
}

FIXTURE(failnth) {
	bool there;
	long panics;
};

#define NEEDS_FAILNTH							\
	if (!self->there)						\
		SKIP(return, "no fail-nth in this kernel: make check-debug has one")

static void knob(const char *attr, const char *name, const char *val)
{
	char path[128];

	snprintf(path, sizeof(path), "/sys/kernel/debug/%s/%s", attr, name);
	file_write(path, val);
}

FIXTURE_SETUP(failnth)
{
	static const char *const attrs[] = { "failslab", "fail_page_alloc", "fail_usercopy" };

	nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (nth < 0 || access("/sys/kernel/debug/failslab", F_OK))
		return;
	self->there = true;
	for (int i = 0; i < 3; i++) {
		knob(attrs[i], "probability", "0");
		knob(attrs[i], "times", "-1");
		knob(attrs[i], "verbose", "0");
		knob(attrs[i], "ignore-gfp-wait", "N");
		knob(attrs[i], "ignore-gfp-highmem", "N");
		knob(attrs[i], "min-order", "0");
	}
	/* vmalloc() tells of its failures with a stack; what else is said is looked at below. */
	kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	lseek(kmsg, 0, SEEK_END);
	klogctl(8, NULL, 4);
	self->panics = file_number("/proc/sys/kernel/panic_on_warn");
}

/* What the kernel said, but for failed allocations. */
FIXTURE_TEARDOWN(failnth)
{
	static const char *const words[] = {
		"WARNING:", "BUG", "INFO:", "KASAN", "UBSAN", "Oops", "refcount_t",
	};
	static char line[8192];
	ssize_t n;

	if (!self->there)
		return;
	klogctl(8, NULL, 8);
	file_write("/proc/sys/kernel/panic_on_warn", self->panics > 0 ? "1" : "0");
	while (kmsg >= 0 && (n = read(kmsg, line, sizeof(line) - 1)) > 0) {
		line[n] = 0;
		for (int i = 0; i < (int)ARRAY_SIZE(words); i++) {
			/* What a trace event's fields are is told late, and too late to fail. */
			EXPECT_TRUE(!strstr(line, words[i]) || strstr(line, "event_define_fields"))
				TH_LOG("the kernel's log: %s", line);
		}
	}
}

static bool booted_with(const char *word)
{
	char line[4096] = "";
	FILE *f = fopen("/proc/cmdline", "re");

	if (f && !fgets(line, sizeof(line), f))
		line[0] = 0;
	if (f)
		fclose(f);
	return strstr(line, word);
}

TEST_F_TIMEOUT(failnth, commands, 1500)
{
	NEEDS_FAILNTH;
	for (int i = 0; i < (int)ARRAY_SIZE(paths); i++) {
		const struct path *p = &paths[i];
		unsigned int faults = 0;

		if (p->prepare == with_1g &&
		    file_number("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages") < 1) {
			/* Test hosts are told to have one. */
			EXPECT_FALSE(booted_with("hugepagesz=1G"))
				TH_LOG("%s: no such page is free", p->name);
			printf("# %s: SKIP, as no such page is free\n", p->name);
			continue;
		}
		faults = all_faults(_metadata, p);
		printf("# %s: %u faults\n", p->name, faults);
		EXPECT_GE(faults, p->least)
			TH_LOG("%s: %u faults", p->name, faults);
	}
	EXPECT_EQ(0, module_refs());
}

/* How many faults one could inject into the loading. */
static unsigned int faults_of_loading(void)
{
	char text[16] = "";

	arm(100000);
	MUST(module_load());
	MUST(pread(nth, text, sizeof(text) - 1, 0));
	arm(0);
	return 100000 - atoi(text);
}

/*
 * The module's beginning, which comes last in the kernel's loading, and some of that; and its end.
 * A device that is not registered, a CPU that has not got its pages: nothing of it is left.
 */
TEST_F_TIMEOUT(failnth, module, 1500)
{
	unsigned int n, all, tried = 0, failed = 0;
	struct vm vm;
	bool hit;
	int r;

	NEEDS_FAILNTH;
	ASSERT_EQ(0, module_refs());
	ASSERT_EQ(0, module_unload());
	/* The loader warns when it cannot tell trace events what it should. */
	file_write("/proc/sys/kernel/panic_on_warn", "0");
	all = faults_of_loading();
	ASSERT_EQ(0, module_unload());
	for (n = all; n && tried < LOADINGS; n--, tried++) {
		arm(n);
		r = module_load();
		hit = disarm();
		ASSERT_EQ(!r, module_there())
			TH_LOG("fault %u: %s", n, strerror(-r));
		EXPECT_EQ(!r, !access("/dev/cleave", F_OK))
			TH_LOG("fault %u: %s", n, strerror(-r));
		EXPECT_TRUE(!r || (hit && (r == -ENOMEM || r == -EFAULT)))
			TH_LOG("fault %u: %s", n, strerror(-r));
		failed += !!r;
		if (r)
			continue;
		ASSERT_EQ(0, module_unload())
			TH_LOG("after fault %u", n);
	}
	printf("# insmod: %u faults of %u, %u times not loaded\n", tried, all, failed);
	EXPECT_GT(failed, 10);
	ASSERT_EQ(0, module_load());
	for (n = 1, hit = true; hit && n < 1000; n++) {
		arm(n);
		r = module_unload();
		hit = disarm();
		ASSERT_TRUE(!r || hit);
		ASSERT_EQ(!r, !module_there());
		if (!r)
			ASSERT_EQ(0, module_load());
	}
	printf("# rmmod: %u faults\n", n - 2);
	/* Nobody who failed has left virtualization on, which the module takes for another's. */
	vm_create(&vm, RAM_SIZE, 0);
	vm_destroy(&vm);
}

/* What one of the faults loses, each round loses anew: a page at least. */
TEST_F_TIMEOUT(failnth, nothing_lost, 1500)
{
	enum { ROUNDS = 4 };

	NEEDS_FAILNTH;
	ASSERT_EQ(0, own_cgroup());
	for (int i = 0; i < (int)ARRAY_SIZE(paths); i++) {
		const struct path *p = &paths[i];
		long before, lost;

		if (!p->allocates)
			continue;
		all_faults(_metadata, p);
		before = kernel_bytes();
		ASSERT_GT(before, 0);
		for (int round = 0; round < ROUNDS; round++)
			all_faults(_metadata, p);
		lost = kernel_bytes() - before;
		printf("# %s: %ld bytes of %ld\n", p->name, lost, before);
		EXPECT_LT(lost, ROUNDS * 4096)
			TH_LOG("%s: %ld bytes are lost by %d rounds", p->name, lost, ROUNDS);
	}
}

TEST_HARNESS_MAIN
