// SPDX-License-Identifier: GPL-2.0
/* CLEAVE_IOEVENTFD: which writes of the guest signal an eventfd, and which go to user space. */
#define _GNU_SOURCE
#include <pthread.h>
#include "kselftest_harness.h"
#include "eventfds.h"
#include "events.h"

#define PORT		0x510
#define MMIO_GPA	0x40000000u
#define VEC		0x51
#define TICKS(vm)	(*VM_DATA(vm, uint64_t, TICK_COUNT))
#define PIO		CLEAVE_IOEVENTFD_PIO
#define MATCH		CLEAVE_IOEVENTFD_DATAMATCH

static unsigned int times(unsigned int n)
{
	return emulated_by_bochs() ? n / 10 + 1 : n;
}

FIXTURE(ioeventfd) {
	struct vm vm;
	struct vcpu v;
	int fd;
};

FIXTURE_SETUP(ioeventfd)
{
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	self->fd = event_create();
}

FIXTURE_TEARDOWN(ioeventfd)
{
	close(self->fd);
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

TEST_F(ioeventfd, refused)
{
	struct cleave_ioeventfd good = { .address = MMIO_GPA, .size = 4, .fd = self->fd }, a;
	int null = MUST(open("/dev/null", O_RDWR | O_CLOEXEC));
	struct cleave_info info = dev_info();

#define REFUSED(e, ...) do {						\
	a = good;							\
	__VA_ARGS__;							\
	EXPECT_EQ(e, xioctl(self->vm.fd, CLEAVE_IOEVENTFD, &a));	\
} while (0)
	REFUSED(-EBADF, a.fd = -1);
	REFUSED(-EBADF, a.fd = 4000);
	REFUSED(-EINVAL, a.fd = null);
	REFUSED(-EINVAL, a.fd = self->v.fd);
	REFUSED(-EINVAL, a.reserved = 1u << 31);
	for (int bit = 3; bit < 32; bit++)
		REFUSED(-EINVAL, a.flags = 1u << bit);
	for (uint32_t size = 3; size < 70; size++)
		if (size != 4 && size != 8)
			REFUSED(-EINVAL, a.size = size);
	REFUSED(-EINVAL, a.size = 1u << 31);
	REFUSED(-EINVAL, a.data = 1);
	REFUSED(-EINVAL, a.flags = MATCH, a.data = 1ull << 32);
	REFUSED(-EINVAL, a.flags = MATCH, a.size = 1, a.data = 0x100);
	REFUSED(-EINVAL, a.flags = MATCH, a.size = 0);
	REFUSED(-EINVAL, a.address = 1ull << info.gpa_bits);
	REFUSED(-EINVAL, a.address = (1ull << info.gpa_bits) - 2);
	REFUSED(-EINVAL, a.address = ~0ull);
	REFUSED(-EINVAL, a.address = MMIO_GPA + 4095, a.size = 2);
	REFUSED(-EINVAL, a.address = MMIO_GPA + 4, a.size = 8);
	REFUSED(-EINVAL, a.address = MMIO_GPA + 2);
	REFUSED(-EINVAL, a.flags = PIO, a.address = 0x10000);
	REFUSED(-EINVAL, a.flags = PIO, a.address = 0xfffd);
	REFUSED(-EINVAL, a.flags = PIO, a.address = PORT, a.size = 8);
	REFUSED(-EINVAL, a.flags = CLEAVE_IOEVENTFD_DEASSIGN);
	REFUSED(-ENOENT, a.flags = CLEAVE_IOEVENTFD_DEASSIGN, a.fd = 0);

	/* What two would have. */
#define SET(e, flags, address, size, data)				\
	EXPECT_EQ(e, ioeventfd_set(&self->vm, self->fd, flags, address, size, data))
	SET(0, 0, MMIO_GPA, 4, 0);
	SET(-EEXIST, 0, MMIO_GPA, 4, 0);
	SET(-EEXIST, 0, MMIO_GPA, 0, 0);
	SET(-EEXIST, MATCH, MMIO_GPA, 4, 7);
	SET(0, 0, MMIO_GPA, 2, 0);
	SET(0, 0, MMIO_GPA + 2, 2, 0);
	SET(0, MATCH, MMIO_GPA, 8, 7);
	SET(-EEXIST, MATCH, MMIO_GPA, 8, 7);
	SET(-EEXIST, 0, MMIO_GPA, 8, 0);
	SET(0, MATCH, MMIO_GPA, 8, 1ull << 63);
	SET(0, PIO, MMIO_GPA & 0xffff, 4, 0);
	SET(0, PIO, 0xffff, 1, 0);
	SET(0, PIO, 0xfffc, 4, 0);
	SET(0, 0, MMIO_GPA + 4088, 8, 0);
	SET(0, 0, MMIO_GPA + 4095, 0, 0);
	SET(0, 0, (1ull << info.gpa_bits) - 8, 8, 0);

	/* Deassigned by the very same values. */
#define CLEAR(e, flags, address, size, data)				\
	EXPECT_EQ(e, ioeventfd_clear(&self->vm, flags, address, size, data))
	CLEAR(-ENOENT, 0, MMIO_GPA, 0, 0);
	CLEAR(-ENOENT, 0, MMIO_GPA, 1, 0);
	CLEAR(-ENOENT, MATCH, MMIO_GPA, 4, 0);
	CLEAR(-ENOENT, MATCH, MMIO_GPA, 8, 8);
	CLEAR(-ENOENT, PIO, MMIO_GPA & 0xffff, 2, 0);
	CLEAR(0, MATCH, MMIO_GPA, 8, 7);
	CLEAR(-ENOENT, MATCH, MMIO_GPA, 8, 7);
	CLEAR(0, 0, MMIO_GPA, 4, 0);
	SET(0, 0, MMIO_GPA, 4, 0);
	close(null);
}

TEST_F(ioeventfd, most)
{
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < CLEAVE_MAX_IOEVENTFDS; i++)
			ASSERT_EQ(0, ioeventfd_set(&self->vm, self->fd, i & 1 ? PIO | MATCH : MATCH,
						   PORT, 2, i));
		EXPECT_EQ(-ENOSPC, ioeventfd_set(&self->vm, self->fd, 0, MMIO_GPA, 4, 0));
		for (int i = 0; i < CLEAVE_MAX_IOEVENTFDS; i++)
			ASSERT_EQ(0, ioeventfd_clear(&self->vm, i & 1 ? PIO | MATCH : MATCH, PORT, 2, i));
	}
}

/* ---- ports ------------------------------------------------------------------ */

GUEST(outs, 64,
	"mov $" S(PORT) ", %edx\n\tmov $0x11223344, %eax\n\t"
	"out %al, %dx\n\tout %ax, %dx\n\tout %eax, %dx\n\t"
	"mov $0x55667788, %eax\n\t"
	"out %al, %dx\n\tout %ax, %dx\n\tout %eax, %dx\n\t" G_DONE);

/* Runs to the end; the sizes and values of the writes that came to user space. */
struct seen {
	unsigned int n;
	struct {
		unsigned int size;
		uint64_t data;
	} w[16];
};

static void run_outs(FIXTURE_DATA(ioeventfd) *self, struct seen *seen)
{
	struct cleave_run *r = self->v.run;

	seen->n = 0;
	GUEST_LONG(&self->v, outs);
	for (;;) {
		vcpu_run_exit(&self->v, CLEAVE_EXIT_IO);
		if (r->io.port == PORT_DONE)
			return;
		if (r->io.port != PORT || seen->n == 16)
			DIE("port %#x", r->io.port);
		seen->w[seen->n].size = r->io.size;
		seen->w[seen->n++].data = r->io.data;
	}
}

TEST_F(ioeventfd, ports)
{
	static const struct {
		uint32_t flags, size;
		uint64_t data;
		unsigned int hits;	/* of the six writes, as a mask */
	} c[] = {
		{ PIO, 0, 0, 0x3f },
		{ PIO, 1, 0, 0x09 },
		{ PIO, 2, 0, 0x12 },
		{ PIO, 4, 0, 0x24 },
		{ PIO | MATCH, 1, 0x44, 0x01 },
		{ PIO | MATCH, 2, 0x3344, 0x02 },
		{ PIO | MATCH, 4, 0x11223344, 0x04 },
		{ PIO | MATCH, 4, 0x55667788, 0x20 },
		{ PIO | MATCH, 4, 0x3344, 0 },
		{ 0, 4, 0, 0 },		/* memory of that address */
	};
	static const uint64_t data[] = { 0x44, 0x3344, 0x11223344, 0x88, 0x7788, 0x55667788 };
	struct seen seen;

	for (unsigned int i = 0; i < ARRAY_SIZE(c); i++) {
		unsigned int n = 0;

		ASSERT_EQ(0, ioeventfd_set(&self->vm, self->fd, c[i].flags, PORT, c[i].size, c[i].data));
		run_outs(self, &seen);
		for (int w = 0; w < 6; w++) {
			if (c[i].hits >> w & 1)
				continue;
			ASSERT_LT(n, seen.n);
			EXPECT_EQ(1 << w % 3, seen.w[n].size);
			EXPECT_EQ(data[w], seen.w[n].data);
			n++;
		}
		EXPECT_EQ(n, seen.n);
		EXPECT_EQ(__builtin_popcount(c[i].hits), event_count(self->fd)) TH_LOG("case %u", i);
		ASSERT_EQ(0, ioeventfd_clear(&self->vm, c[i].flags, PORT, c[i].size, c[i].data));
	}
	/* None is left. */
	run_outs(self, &seen);
	EXPECT_EQ(6, seen.n);
	EXPECT_EQ(0, event_count(self->fd));
}

/* Reads, and string instructions, are user space's. */
GUEST(ins, 64,
	"mov $" S(PORT) ", %edx\n\tin %dx, %eax\n\tmov $" S(GPA_DATA) ", %esi\n\toutsl\n\t"
	"out %ax, %dx\n\t" G_DONE);

TEST_F(ioeventfd, other_port_accesses)
{
	struct cleave_run *r = self->v.run;

	GUEST_LONG(&self->v, ins);
	ASSERT_EQ(0, ioeventfd_set(&self->vm, self->fd, PIO, PORT, 0, 0));
	vcpu_run_exit(&self->v, CLEAVE_EXIT_IO);
	EXPECT_EQ(0, r->io.flags & CLEAVE_ACCESS_WRITE);
	vcpu_run_exit(&self->v, CLEAVE_EXIT_IO);
	EXPECT_EQ(CLEAVE_ACCESS_WRITE | CLEAVE_ACCESS_STRING, r->io.flags);
	EXPECT_EQ(0, event_count(self->fd));
	r->regs.rip++;
	r->dirty = CLEAVE_REGS;
	vcpu_run_done(&self->v);
	EXPECT_EQ(1, event_count(self->fd));
}

/* ---- memory ----------------------------------------------------------------- */

/* RBX: the device. Each store is followed by the mark that it has come behind it. */
#define M(text)	text "\n\tinc %rdi\n\t"
#define START	"mov $" S(MMIO_GPA) ", %ebx\n\txor %edi, %edi\n\txor %esi, %esi\n\t"		\
		"mov $0x1122334455667788, %rax\n\tmov %rax, %r9\n\t"

GUEST(stores, 64, START
	M("mov %al, (%rbx)") M("mov %ax, (%rbx)") M("mov %eax, (%rbx)") M("mov %rax, (%rbx)")
	M("movb $0x88, (%rbx)") M("movw $0x7788, (%rbx)") M("movl $0x55667788, (%rbx)")
	M("movq $0x55667788, (%rbx)") M("mov %r9d, (%rbx,%rsi,8)") M("mov %r9d, -0x40(%rbx,%rsi,2)")
	G_DONE);

/* Runs to the end; how many stores came to user space, which steps over them. */
static unsigned int run_stores(FIXTURE_DATA(ioeventfd) *self)
{
	struct cleave_run *r = self->v.run;
	unsigned int n = 0;
	uint64_t rip;

	for (;;) {
		if (vcpu_run(&self->v))
			DIE("it does not run");
		if (r->exit == CLEAVE_EXIT_IO && r->io.port == PORT_DONE)
			return n;
		if (r->exit != CLEAVE_EXIT_MMIO)
			DIE("exit %u", r->exit);
		n++;
		/* To the INC RDI (48 ff c7) behind it. */
		for (rip = r->regs.rip + 2; memcmp(self->vm.ram + rip, "\x48\xff\xc7", 3); rip++)
			;
		r->regs.rip = rip;
		r->dirty = CLEAVE_REGS;
	}
}

TEST_F(ioeventfd, stores)
{
	static const struct {
		uint32_t flags, size;
		uint64_t data;
		unsigned int hits;
	} c[] = {
		{ 0, 0, 0, 9 },
		{ 0, 1, 0, 2 },
		{ 0, 2, 0, 2 },
		{ 0, 4, 0, 3 },
		{ 0, 8, 0, 2 },
		{ MATCH, 1, 0x88, 2 },
		{ MATCH, 2, 0x7788, 2 },
		{ MATCH, 4, 0x55667788, 3 },
		{ MATCH, 8, 0x1122334455667788, 1 },
		{ MATCH, 8, 0x55667788, 1 },
		{ MATCH, 4, 0x7788, 0 },
		{ PIO, 0, 0, 0 },	/* a port of that number */
	};

	for (unsigned int i = 0; i < ARRAY_SIZE(c); i++) {
		uint64_t at = c[i].flags & PIO ? 0 : MMIO_GPA;

		GUEST_LONG(&self->v, stores);
		ASSERT_EQ(0, ioeventfd_set(&self->vm, self->fd, c[i].flags, at, c[i].size, c[i].data));
		EXPECT_EQ(10 - c[i].hits, run_stores(self)) TH_LOG("case %u", i);
		EXPECT_EQ(c[i].hits, event_count(self->fd)) TH_LOG("case %u", i);
		EXPECT_EQ(10, self->v.run->regs.rdi);
		ASSERT_EQ(0, ioeventfd_clear(&self->vm, c[i].flags, at, c[i].size, c[i].data));
	}
	GUEST_LONG(&self->v, stores);
	EXPECT_EQ(10, run_stores(self));
	EXPECT_EQ(0, event_count(self->fd));
}

/* Where a read-only slot is, too; what is written does not get there. */
TEST_F(ioeventfd, read_only_slot)
{
	uint64_t *page = mem_alloc(4096, 4096);

	page[0] = 1;
	ASSERT_EQ(0, vm_slot(&self->vm, 1, CLEAVE_SLOT_READONLY, MMIO_GPA, 4096, page));
	GUEST_LONG(&self->v, stores);
	ASSERT_EQ(0, ioeventfd_set(&self->vm, self->fd, 0, MMIO_GPA, 0, 0));
	EXPECT_EQ(1, run_stores(self));
	EXPECT_EQ(9, event_count(self->fd));
	EXPECT_EQ(1, page[0]);
	/* With memory there it is no device any more. */
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, MMIO_GPA - 4096, 8192, mem_alloc(8192, 4096)));
	GUEST_LONG(&self->v, stores);
	EXPECT_EQ(0, run_stores(self));
	EXPECT_EQ(0, event_count(self->fd));
}

/* What the module does not carry out; none of it signals. */
GUEST(odd, 64, START
	M("xchg %eax, (%rbx)") M("add %eax, (%rbx)") M("mov (%rbx), %ecx") M("movnti %eax, (%rbx)")
	M("mov %eax, (%ebx)") M("mov %eax, %gs:(%rbx)") M("movabs %eax, " S(MMIO_GPA))
	M("push %rdi\n\tmov %rbx, %rdi\n\tstosl\n\tpop %rdi") G_DONE);

TEST_F(ioeventfd, other_instructions)
{
	GUEST_LONG(&self->v, odd);
	ASSERT_EQ(0, ioeventfd_set(&self->vm, self->fd, 0, MMIO_GPA, 0, 0));
	/* STOS is the last: it is stepped over with the POP before the mark. */
	EXPECT_EQ(8, run_stores(self));
	EXPECT_EQ(0, event_count(self->fd));
}

/* One that crosses from memory to the device is not of the size that is asked for. */
GUEST(crosses, 64, START
	M("mov %rax, -4(%rbx)") M("mov %rax, -7(%rbx)") M("mov %rax, 4092(%rbx)") M("mov %rax, (%rbx)")
	G_DONE);

TEST_F(ioeventfd, across_pages)
{
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, MMIO_GPA - 4096, 4096, mem_alloc(4096, 4096)));
	ASSERT_EQ(0, ioeventfd_set(&self->vm, self->fd, 0, MMIO_GPA, 0, 0));
	ASSERT_EQ(0, ioeventfd_set(&self->vm, self->fd, 0, MMIO_GPA + 4092, 0, 0));
	GUEST_LONG(&self->v, crosses);
	EXPECT_EQ(3, run_stores(self));
	EXPECT_EQ(1, event_count(self->fd));
}

/* The delivery of an event pushes to where the instruction at RIP would store: it is not that. */
GUEST(pushes, 64,
	"mov $" S(MMIO_GPA) "+0x100, %esp\n\tmov $" S(MMIO_GPA) "+0xf8, %ebx\n\tsti\n\tnop\n"
	"1:\tmov %eax, (%rbx)\n\tjmp 1b\n\t");

TEST_F(ioeventfd, pushed_by_an_interrupt)
{
	struct cleave_run *r = self->v.run;

	for (int at = 0; at < 0x100; at += 8)
		ASSERT_EQ(0, ioeventfd_set(&self->vm, self->fd, 0, MMIO_GPA + at, 0, 0));
	GUEST_LONG(&self->v, pushes);
	vcpu_x2apic(&self->v);
	ASSERT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(0), VEC));
	vcpu_run_exit(&self->v, CLEAVE_EXIT_MMIO);
	EXPECT_EQ(MMIO_GPA + 0xf8, r->mmio.gpa);
	EXPECT_EQ(CLEAVE_ACCESS_WRITE, r->mmio.flags);
	EXPECT_EQ(0, event_count(self->fd));
}

/* ---- together ---------------------------------------------------------------- */

/* Writes to memory and to a port in turn, and waits for the interrupt that the signal makes. */
GUEST(ping, 64,
	"mov $" S(MMIO_GPA) ", %ebx\n\tmov $" S(PORT) ", %edx\n\tsti\n"
	"1:\tmov " S(GPA_DATA) ", %rax\n\ttest $1, %al\n\tjz 2f\n\tmov %eax, (%rbx)\n\tjmp 3f\n"
	"2:\tout %eax, %dx\n"
	"3:\tpause\n\tcmp " S(GPA_DATA) ", %rax\n\tje 3b\n\tjmp 1b\n\t");

/* An ioeventfd's eventfd is an irqfd's: the guest gets on without user space. */
TEST_F_TIMEOUT(ioeventfd, is_an_irqfd, 120)
{
	const unsigned int n = times(5000);
	struct runner r;

	GUEST_LONG(&self->v, ping);
	vcpu_x2apic(&self->v);
	tick_prepare(&self->vm, VEC);
	ASSERT_EQ(0, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), VEC));
	ASSERT_EQ(0, ioeventfd_set(&self->vm, self->fd, 0, MMIO_GPA, 4, 0));
	ASSERT_EQ(0, ioeventfd_set(&self->vm, self->fd, PIO, PORT, 4, 0));
	runner_start(&r, &self->v, NULL, NULL);
	EXPECT_TRUE(WAIT_FOR(TICKS(&self->vm) >= n, 30000));
	runner_stop(&r);
	EXPECT_EQ(0, r.exits);
}

GUEST(writer, 64,
	"mov $" S(MMIO_GPA) ", %ebx\n\tmov $" S(PORT) ", %edx\n"
	"1:\tmov %eax, (%rbx)\n\tlock incq " S(GPA_DATA) "\n\tout %eax, %dx\n\tlock incq "
	S(GPA_DATA) "\n\tjmp 1b\n\t");

/* Steps over what came to user space, and counts it. */
static int step_over(struct vcpu *v, void *arg)
{
	struct cleave_run *r = v->run;

	if (r->exit == CLEAVE_EXIT_MMIO) {
		r->regs.rip += 2;
		r->dirty = CLEAVE_REGS;
	} else if (r->exit != CLEAVE_EXIT_IO) {
		return 1;
	}
	__atomic_fetch_add((uint64_t *)arg, 1, __ATOMIC_RELAXED);
	return 0;
}

struct changer {
	pthread_t thread;
	struct vm *vm;
	int fd;
	uint32_t flags;
	uint64_t at;
	unsigned int rounds;
};

static void *changer_main(void *arg)
{
	struct changer *c = arg;

	for (unsigned int i = 0; i < c->rounds; i++) {
		if (ioeventfd_set(c->vm, c->fd, c->flags, c->at, 4, 0))
			DIE("not assigned");
		if (ioeventfd_clear(c->vm, c->flags, c->at, 4, 0))
			DIE("not deassigned");
	}
	return NULL;
}

/*
 * Assigned and deassigned all the time under two vCPUs that write: no write is lost, and none is
 * told twice.
 */
TEST_F_TIMEOUT(ioeventfd, under_running_vcpus, 120)
{
	struct changer c[2];
	struct runner r[2];
	struct vcpu other;
	uint64_t user = 0, events;

	vcpu_create(&self->vm, &other, 1);
	GUEST_LONG(&self->v, writer);
	vcpu_long(&other, GPA_CODE);
	mp_set(&other, CLEAVE_MP_RUNNABLE);
	for (int i = 0; i < 2; i++) {
		c[i] = (struct changer) {
			.vm = &self->vm, .fd = self->fd, .flags = i ? PIO : 0,
			.at = i ? PORT : MMIO_GPA, .rounds = times(5000),
		};
		runner_start(&r[i], i ? &other : &self->v, step_over, &user);
		MUST(-pthread_create(&c[i].thread, NULL, changer_main, &c[i]));
	}
	for (int i = 0; i < 2; i++)
		pthread_join(c[i].thread, NULL);
	for (int i = 0; i < 2; i++)
		runner_stop(&r[i]);
	events = event_count(self->fd);
	printf("# %llu writes to user space, %llu signals\n", (unsigned long long)user,
	       (unsigned long long)events);
	EXPECT_GT(events, 0);
	EXPECT_GT(user, 0);
	/* Each vCPU may be between its write and its count. */
	EXPECT_GE(events + user, *VM_DATA(&self->vm, uint64_t, 0));
	EXPECT_LE(events + user, *VM_DATA(&self->vm, uint64_t, 0) + 2);
	vcpu_destroy(&other);
}

/* Once it is deassigned nothing signals: what user space sees last is the last. */
TEST_F_TIMEOUT(ioeventfd, no_signal_afterwards, 120)
{
	uint64_t user = 0;
	struct runner r;

	GUEST_LONG(&self->v, writer);
	runner_start(&r, &self->v, step_over, &user);
	for (unsigned int i = 0; i < times(2000); i++) {
		ASSERT_EQ(0, ioeventfd_set(&self->vm, self->fd, 0, MMIO_GPA, 4, 0));
		ASSERT_EQ(0, ioeventfd_clear(&self->vm, 0, MMIO_GPA, 4, 0));
		event_count(self->fd);
		for (int j = 0; j < 20; j++)
			ASSERT_EQ(0, event_count(self->fd));
	}
	runner_stop(&r);
}

/* Assigned ones keep their eventfd; the VM's end gives all back. */
TEST_F_TIMEOUT(ioeventfd, memory_returns, 120)
{
	int number = event_number();
	long before = 0, lost;

	ASSERT_EQ(0, own_cgroup());
	for (int round = 0; round < 2; round++) {
		before = round ? kernel_bytes() : 0;
		for (int i = 0; i < 16; i++) {
			struct vm vm;

			vm_create(&vm, 0, 0);
			for (int j = 0; j < 64; j++) {
				int fd = event_create();

				ASSERT_EQ(0, ioeventfd_set(&vm, fd, j & 1 ? PIO : 0, 16 * j, 4, 0));
				ASSERT_EQ(j & 2 ? 0 : -ENOENT,
					  ioeventfd_clear(&vm, j & 1 ? PIO : 0, 16 * j, j & 2 ? 4 : 2, 0));
				close(fd);
			}
			vm_destroy(&vm);
		}
	}
	lost = kernel_bytes() - before;
	printf("# %ld bytes more, of %ld\n", lost, before);
	ASSERT_GT(before, 0);
	/* What 32 of each VM's had when it ended is more. */
	EXPECT_LT(lost, 16 * 32 * 32);
	EXPECT_EQ(number, event_number());
}

TEST_HARNESS_MAIN
