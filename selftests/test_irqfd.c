// SPDX-License-Identifier: GPL-2.0
/* CLEAVE_IRQFD: interrupts by the signals of eventfds, whatever happens to those meanwhile. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sys/resource.h>
#include "kselftest_harness.h"
#include "eventfds.h"
#include "events.h"
#include "rng.h"

#define VEC		0x51
#define VEC2		0xa7
#define TICKS(vm)	(*VM_DATA(vm, uint64_t, TICK_COUNT))
#define APIC_IRR	0x200

/* How often something is done, where a second has enough instructions for it. */
static unsigned int times(unsigned int n)
{
	return emulated_by_bochs() ? n / 10 + 1 : n;
}

GUEST(idle, 64, "1:\tsti\n\thlt\n\tjmp 1b\n\t");
GUEST(busy, 64, "sti\n1:\tlock incq " S(GPA_DATA) "+16\n\tjmp 1b\n\t");

FIXTURE(irqfd) {
	struct vm vm;
	struct vcpu v;
	struct runner r;
	int fd, resample;
};

FIXTURE_SETUP(irqfd)
{
	struct rlimit many = { 8192, 8192 };

	setrlimit(RLIMIT_NOFILE, &many);
	GUEST_SIMPLE(&self->vm, &self->v, idle);
	vcpu_x2apic(&self->v);
	tick_prepare(&self->vm, VEC);
	self->fd = event_create();
	self->resample = event_create();
}

FIXTURE_TEARDOWN(irqfd)
{
	close(self->fd);
	close(self->resample);
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

static int level(uint8_t vector)
{
	return MSI_LEVEL | vector;
}

TEST_F(irqfd, refused)
{
	struct cleave_irqfd good = { .fd = self->fd, .address = MSI_ADDRESS(0), .data = VEC }, a;
	int null = MUST(open("/dev/null", O_RDWR | O_CLOEXEC));

#define REFUSED(e, ...) do {						\
	a = good;							\
	__VA_ARGS__;							\
	EXPECT_EQ(e, xioctl(self->vm.fd, CLEAVE_IRQFD, &a));		\
} while (0)
#define RESAMPLED	(a.flags = CLEAVE_IRQFD_RESAMPLE, a.data = level(VEC), a.resample_fd = self->resample)
	REFUSED(-EBADF, a.fd = -1);
	REFUSED(-EBADF, a.fd = 4000);
	REFUSED(-EINVAL, a.fd = null);
	REFUSED(-EINVAL, a.fd = self->vm.fd);
	REFUSED(-EINVAL, a.reserved = 1ull << 63);
	REFUSED(-EINVAL, a.resample_fd = self->resample);
	REFUSED(-EINVAL, a.address = 0);
	REFUSED(-EINVAL, a.address = 0xfec00000);
	REFUSED(-EINVAL, a.address |= 1ull << 36);
	for (int bit = 2; bit < 32; bit++)
		REFUSED(-EINVAL, a.flags = 1u << bit);
	REFUSED(-EBADF, RESAMPLED, a.resample_fd = -1);
	REFUSED(-EINVAL, RESAMPLED, a.resample_fd = null);
	REFUSED(-EINVAL, RESAMPLED, a.data = VEC);
	REFUSED(-EINVAL, RESAMPLED, a.data = VEC | 0x8000);
	REFUSED(-EINVAL, RESAMPLED, a.data = VEC | 0x4000);
#define OFF	(a.address = 0, a.data = 0, a.flags = CLEAVE_IRQFD_DEASSIGN)
	REFUSED(-ENOENT, OFF);
	REFUSED(-EBADF, OFF, a.fd = -1);
	REFUSED(-EINVAL, OFF, a.fd = null);
	REFUSED(-EINVAL, OFF, a.address = MSI_ADDRESS(0));
	REFUSED(-EINVAL, OFF, a.data = 1);
	REFUSED(-EINVAL, OFF, a.resample_fd = self->resample);
	REFUSED(-EINVAL, OFF, a.resample_fd = self->resample, a.flags |= CLEAVE_IRQFD_RESAMPLE);

	/* It is as if nothing had been. */
	EXPECT_EQ(-ENOENT, irqfd_clear(&self->vm, self->fd));
	event_signal(self->fd);
	EXPECT_EQ(1, event_count(self->fd));
	EXPECT_EQ(0, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), VEC));
	EXPECT_EQ(-EEXIST, irqfd_set_level(&self->vm, self->fd, self->resample, level(VEC)));
	EXPECT_EQ(0, irqfd_clear(&self->vm, self->fd));
	EXPECT_EQ(0, irqfd_set_level(&self->vm, self->fd, self->resample, level(VEC)));
	EXPECT_EQ(0, irqfd_set_level(&self->vm, self->fd, self->resample, level(VEC2)));
	EXPECT_EQ(-EEXIST, irqfd_set_level(&self->vm, self->fd, self->fd, level(VEC)));
	EXPECT_EQ(-EEXIST, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), level(VEC)));
	EXPECT_EQ(0, irqfd_clear(&self->vm, self->fd));
	EXPECT_EQ(-ENOENT, irqfd_clear(&self->vm, self->fd));
	close(null);
}

/* Each signal that is waited for is an interrupt, to a guest in HLT and to one that runs. */
static void each_one(struct __test_metadata *_metadata, FIXTURE_DATA(irqfd) *self, unsigned int n)
{
	ASSERT_EQ(0, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), VEC));
	runner_start(&self->r, &self->v, NULL, NULL);
	for (unsigned int i = 1; i <= n; i++) {
		event_signal(self->fd);
		ASSERT_TRUE(WAIT_FOR(TICKS(&self->vm) == i, 5000))
			TH_LOG("signal %u: %llu interrupts", i,
			       (unsigned long long)TICKS(&self->vm));
		/* None is left in the eventfd. */
		ASSERT_EQ(0, event_count(self->fd));
	}
	ASSERT_EQ(0, irqfd_clear(&self->vm, self->fd));
	event_signal(self->fd);
	nap_us(20000);
	EXPECT_EQ(n, TICKS(&self->vm));
	EXPECT_EQ(1, event_count(self->fd));
	runner_stop(&self->r);
	EXPECT_EQ(0, self->r.exits);
}

TEST_F_TIMEOUT(irqfd, wakes, 120)
{
	each_one(_metadata, self, times(300));
}

TEST_F_TIMEOUT(irqfd, reaches_who_runs, 120)
{
	GUEST_LOAD(&self->vm, GPA_CODE, busy);
	each_one(_metadata, self, times(100));
}

/* Signals that come closer may be one interrupt; after the last there is one. */
TEST_F_TIMEOUT(irqfd, coalesce, 120)
{
	const unsigned int n = times(5000);
	uint64_t before;

	ASSERT_EQ(0, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), VEC));
	runner_start(&self->r, &self->v, NULL, NULL);
	for (unsigned int i = 0; i < n; i++)
		event_signal(self->fd);
	ASSERT_TRUE(WAIT_FOR(TICKS(&self->vm), 5000));
	nap_us(100000 * patience());
	EXPECT_LE(TICKS(&self->vm), n);
	EXPECT_GT(TICKS(&self->vm), 0);
	before = TICKS(&self->vm);
	event_signal(self->fd);
	EXPECT_TRUE(WAIT_FOR(TICKS(&self->vm) == before + 1, 5000));
	runner_stop(&self->r);
}

TEST_F(irqfd, count_from_before)
{
	int semaphore = MUST(eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC | EFD_SEMAPHORE));

	MUST(eventfd_write(self->fd, 12345));
	runner_start(&self->r, &self->v, NULL, NULL);
	ASSERT_EQ(0, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), VEC));
	EXPECT_TRUE(WAIT_FOR(TICKS(&self->vm) == 1, 5000));
	EXPECT_EQ(0, event_count(self->fd));
	/* A semaphore loses one for each. */
	ASSERT_EQ(0, irqfd_set(&self->vm, semaphore, MSI_ADDRESS(0), VEC));
	EXPECT_TRUE(WAIT_FOR(TICKS(&self->vm) == 2, 5000));
	event_signal(semaphore);
	EXPECT_TRUE(WAIT_FOR(TICKS(&self->vm) == 3, 5000));
	ASSERT_EQ(0, irqfd_clear(&self->vm, semaphore));
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(i < 2, event_count(semaphore));
	runner_stop(&self->r);
	close(semaphore);
}

/* Any message: here an NMI, which the common handler takes. */
TEST_F(irqfd, nmi)
{
	log_prepare(&self->vm);
	ASSERT_EQ(0, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), MSI_NMI));
	runner_start(&self->r, &self->v, NULL, NULL);
	event_signal(self->fd);
	EXPECT_TRUE(WAIT_FOR(vm_log(&self->vm)->count == 1, 5000));
	EXPECT_EQ(2, vm_log(&self->vm)->e[0].vector);
	runner_stop(&self->r);
}

/* One eventfd, two VMs. */
TEST_F(irqfd, of_two_vms)
{
	struct runner r;
	struct vcpu v;
	struct vm vm;

	GUEST_SIMPLE(&vm, &v, idle);
	vcpu_x2apic(&v);
	tick_prepare(&vm, VEC);
	ASSERT_EQ(0, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), VEC));
	ASSERT_EQ(0, irqfd_set(&vm, self->fd, MSI_ADDRESS(0), VEC));
	runner_start(&self->r, &self->v, NULL, NULL);
	runner_start(&r, &v, NULL, NULL);
	event_signal(self->fd);
	EXPECT_TRUE(WAIT_FOR(TICKS(&self->vm) == 1 && TICKS(&vm) == 1, 5000));
	runner_stop(&r);
	vcpu_destroy(&v);
	vm_destroy(&vm);
	event_signal(self->fd);
	EXPECT_TRUE(WAIT_FOR(TICKS(&self->vm) == 2, 5000));
	runner_stop(&self->r);
}

/* ---- the message ----------------------------------------------------------- */

struct signaller {
	pthread_t thread;
	int fd;
	volatile bool stop;
	volatile uint64_t n;
};

static void *signaller_main(void *arg)
{
	struct signaller *s = arg;

	while (!s->stop) {
		event_signal(s->fd);
		s->n++;
	}
	return NULL;
}

static void signaller_start(struct signaller *s, int fd)
{
	s->fd = fd;
	s->stop = false;
	s->n = 0;
	MUST(-pthread_create(&s->thread, NULL, signaller_main, s));
}

static void signaller_stop(struct signaller *s)
{
	s->stop = true;
	pthread_join(s->thread, NULL);
}

/* Which vectors wait, as a mask of bits of IRR's words that are not those of one vector. */
static bool waits_for_others(struct vcpu *v, uint8_t vector)
{
	struct cleave_state st;
	bool others = false;

	state_get(v, CLEAVE_LAPIC, &st);
	for (int i = 0; i < 8; i++) {
		uint32_t irr = st.lapic.regs[(APIC_IRR + i * 16) / 4];

		if (vector / 32 == i)
			irr &= ~(1u << vector % 32);
		others |= irr != 0;
	}
	return others;
}

static bool waits_for(struct vcpu *v, uint8_t vector)
{
	struct cleave_state st;

	state_get(v, CLEAVE_LAPIC, &st);
	return st.lapic.regs[(APIC_IRR + vector / 32 * 16) / 4] >> vector % 32 & 1;
}

/* Address and data change together, under signals of two threads. */
TEST_F_TIMEOUT(irqfd, message_changes_whole, 120)
{
	struct signaller s[2];
	struct vcpu other;

	vcpu_create(&self->vm, &other, 1);
	vcpu_long(&other, GPA_CODE);
	vcpu_x2apic(&other);
	ASSERT_EQ(0, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), VEC));
	for (int i = 0; i < 2; i++)
		signaller_start(&s[i], self->fd);
	for (unsigned int i = 0; i < times(5000); i++)
		ASSERT_EQ(0, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(i & 1), i & 1 ? VEC2 : VEC));
	EXPECT_TRUE(WAIT_FOR(s[0].n > 10 && s[1].n > 10, 5000));
	for (int i = 0; i < 2; i++)
		signaller_stop(&s[i]);
	EXPECT_TRUE(waits_for(&self->v, VEC));
	EXPECT_TRUE(waits_for(&other, VEC2));
	EXPECT_FALSE(waits_for_others(&self->v, VEC));
	EXPECT_FALSE(waits_for_others(&other, VEC2));
	vcpu_destroy(&other);
}

/* Once the call is back no signal sends the old message; nor any, once it is deassigned. */
TEST_F_TIMEOUT(irqfd, no_message_afterwards, 120)
{
	struct cleave_state st;
	struct signaller s;

	signaller_start(&s, self->fd);
	for (unsigned int i = 0; i < times(2000); i++) {
		ASSERT_EQ(0, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), VEC));
		ASSERT_EQ(0, i & 1 ? irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), VEC2) :
				     irqfd_clear(&self->vm, self->fd));
		state_get(&self->v, CLEAVE_LAPIC, &st);
		memset(&st.lapic.regs[APIC_IRR / 4], 0, 8 * 16);
		state_must_set(&self->v, CLEAVE_LAPIC, &st);
		ASSERT_FALSE(waits_for_others(&self->v, i & 1 ? VEC2 : 0));
	}
	signaller_stop(&s);
}

/* ---- level-triggered --------------------------------------------------------- */

static int count_eois(struct vcpu *v, void *arg)
{
	if (v->run->exit == CLEAVE_EXIT_EOI && v->run->eoi.vector == VEC)
		++*(uint64_t *)arg;
	return 0;
}

/* A line that stays up for some interrupts: user space hears of each EOI, and raises it again. */
TEST_F_TIMEOUT(irqfd, resample, 120)
{
	const unsigned int n = times(100);
	uint64_t eois = 0;

	ASSERT_EQ(0, irqfd_set_level(&self->vm, self->fd, self->resample, level(VEC)));
	runner_start(&self->r, &self->v, count_eois, &eois);
	event_signal(self->fd);
	for (unsigned int i = 1; i <= n; i++) {
		ASSERT_EQ(1, event_wait(self->resample));
		ASSERT_EQ(i, TICKS(&self->vm));
		if (i < n)
			event_signal(self->fd);
	}
	nap_us(20000);
	EXPECT_EQ(n, TICKS(&self->vm));
	EXPECT_EQ(0, event_count(self->resample));
	EXPECT_EQ(0, eois);
	/* Its vector changes, the EOIs of the old one are user space's again. */
	ASSERT_EQ(0, irqfd_set_level(&self->vm, self->fd, self->resample, level(VEC2)));
	ASSERT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(0), level(VEC)));
	EXPECT_TRUE(WAIT_FOR(eois == 1, 5000));
	EXPECT_EQ(0, event_count(self->resample));
	/* And all of them without it. */
	ASSERT_EQ(0, irqfd_clear(&self->vm, self->fd));
	ASSERT_EQ(0, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), level(VEC)));
	event_signal(self->fd);
	EXPECT_TRUE(WAIT_FOR(eois == 2, 5000));
	EXPECT_EQ(0, event_count(self->resample));
	runner_stop(&self->r);
}

/* Two lines of one vector hear of it both; one of another vector, and edges, do not. */
TEST_F(irqfd, resample_shared)
{
	int fd[3], resample[3];
	uint64_t eois = 0;

	for (int i = 0; i < 3; i++) {
		fd[i] = event_create();
		resample[i] = event_create();
		ASSERT_EQ(0, irqfd_set_level(&self->vm, fd[i], resample[i],
					    level(i < 2 ? VEC : VEC2)));
	}
	ASSERT_EQ(0, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), VEC));
	runner_start(&self->r, &self->v, count_eois, &eois);
	event_signal(fd[1]);
	EXPECT_EQ(1, event_wait(resample[0]));
	EXPECT_EQ(1, event_wait(resample[1]));
	event_signal(self->fd);
	EXPECT_TRUE(WAIT_FOR(TICKS(&self->vm) == 2, 5000));
	nap_us(20000);
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(0, event_count(resample[i]));
		close(fd[i]);
		close(resample[i]);
	}
	EXPECT_EQ(0, eois);
	runner_stop(&self->r);
}

/* Its source is closed: EOIs of that vector are user space's again. */
TEST_F(irqfd, resample_closed)
{
	uint64_t eois = 0;
	int fd = event_create();

	ASSERT_EQ(0, irqfd_set_level(&self->vm, fd, self->resample, level(VEC)));
	close(fd);
	runner_start(&self->r, &self->v, count_eois, &eois);
	ASSERT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(0), level(VEC)));
	EXPECT_TRUE(WAIT_FOR(eois == 1, 5000));
	EXPECT_EQ(0, event_count(self->resample));
	runner_stop(&self->r);
}

/* The EOI raises the line itself: as often as the guest lets it. */
TEST_F(irqfd, resample_is_source)
{
	ASSERT_EQ(0, irqfd_set_level(&self->vm, self->fd, self->fd, level(VEC)));
	runner_start(&self->r, &self->v, NULL, NULL);
	event_signal(self->fd);
	EXPECT_TRUE(WAIT_FOR(TICKS(&self->vm) > 100, 5000));
	ASSERT_EQ(0, irqfd_clear(&self->vm, self->fd));
	runner_stop(&self->r);
}

/* ---- ends ------------------------------------------------------------------ */

/* Each of the most there can be is deassigned when its eventfd is closed, and by nothing else. */
TEST_F_TIMEOUT(irqfd, closed, 120)
{
	static int fd[CLEAVE_MAX_IRQFDS];
	int dup_fd;

	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < CLEAVE_MAX_IRQFDS; i++) {
			fd[i] = event_create();
			ASSERT_EQ(0, irqfd_set(&self->vm, fd[i], MSI_ADDRESS(0), 0x20 + i % 0xd0))
				TH_LOG("round %d, %d", round, i);
		}
		EXPECT_EQ(-ENOSPC, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), VEC));
		EXPECT_EQ(0, irqfd_set(&self->vm, fd[0], MSI_ADDRESS(0), VEC));
		dup_fd = MUST(fcntl(fd[0], F_DUPFD_CLOEXEC, 0));
		close(fd[0]);
		EXPECT_EQ(-ENOSPC, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), VEC));
		close(dup_fd);
		/* The place is free at once. */
		EXPECT_EQ(0, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), VEC));
		EXPECT_EQ(0, irqfd_clear(&self->vm, self->fd));
		for (int i = 1; i < CLEAVE_MAX_IRQFDS; i++)
			close(fd[i]);
	}
}

#define ACTORS	8
#define SHARED	6

/* Eventfds that all threads use, close and make anew, as they like. */
struct stage {
	struct vm *vm;
	int fd[SHARED];
	unsigned int rounds;
	volatile uint64_t done, closed;
};

static void act(struct stage *st, struct rng *r, int own)
{
	int *slot = &st->fd[rng_below(r, SHARED)], fd = __atomic_load_n(slot, __ATOMIC_RELAXED);
	uint32_t data = 0x20 + rng_below(r, 0xd0);

	switch (rng_below(r, 10)) {
	case 0:
		/* The number may be another's by now, or nobody's; none of the answers is wrong. */
		fd = __atomic_exchange_n(slot, event_create(), __ATOMIC_RELAXED);
		close(fd);
		st->closed++;
		break;
	case 1:
	case 2:
		irqfd_set(st->vm, fd, MSI_ADDRESS(0), data);
		break;
	case 3:
		irqfd_set_level(st->vm, fd, own, level(data));
		break;
	case 4:
		irqfd_set_level(st->vm, own, fd, level(data));
		break;
	case 5:
		irqfd_clear(st->vm, fd);
		break;
	case 6:
		irqfd_clear(st->vm, own);
		break;
	case 7:
		event_signal(own);
		event_count(own);
		break;
	default:
		eventfd_write(fd, 1);
	}
}

static void *actor_main(void *arg)
{
	struct stage *st = arg;
	struct rng r = { __atomic_fetch_add(&st->done, 1, __ATOMIC_RELAXED) * 7919 + 1 };
	int own = event_create();

	for (unsigned int i = 0; i < st->rounds; i++) {
		act(st, &r, own);
		/* Once in a while its own goes, assigned or not. */
		if (!(i % 64)) {
			close(own);
			own = event_create();
		}
	}
	close(own);
	return NULL;
}

static void storm(struct vm *vm, unsigned int rounds)
{
	struct stage st = { .vm = vm, .rounds = rounds };
	pthread_t thread[ACTORS];

	for (int i = 0; i < SHARED; i++)
		st.fd[i] = event_create();
	for (int i = 0; i < ACTORS; i++)
		MUST(-pthread_create(&thread[i], NULL, actor_main, &st));
	for (int i = 0; i < ACTORS; i++)
		pthread_join(thread[i], NULL);
	for (int i = 0; i < SHARED; i++)
		close(st.fd[i]);
}

/* Assigned, changed, deassigned, closed and signalled by 8 threads while the guest takes it all. */
TEST_F_TIMEOUT(irqfd, by_many, 240)
{
	uint64_t before;

	for (int vector = 0x20; vector < 0x100; vector++)
		tick_prepare(&self->vm, vector);
	GUEST_LOAD(&self->vm, GPA_CODE, busy);
	runner_start(&self->r, &self->v, NULL, NULL);
	storm(&self->vm, times(5000));
	EXPECT_GT(TICKS(&self->vm), 0);
	/* It is as good as before. */
	ASSERT_EQ(0, irqfd_set(&self->vm, self->fd, MSI_ADDRESS(0), VEC));
	nap_us(20000);
	before = TICKS(&self->vm);
	event_signal(self->fd);
	EXPECT_TRUE(WAIT_FOR(TICKS(&self->vm) > before, 5000));
	runner_stop(&self->r);
}

/* The VM ends, its vCPU's descriptor before or after its own, under signals. */
static void ends_under_signals(unsigned int rounds)
{
	struct signaller s[3];
	int fd[3], resample = event_create();

	for (int i = 0; i < 3; i++) {
		fd[i] = event_create();
		signaller_start(&s[i], fd[i]);
	}
	for (unsigned int i = 0; i < rounds; i++) {
		struct vcpu v;
		struct vm vm;
		int late = event_create();

		GUEST_SIMPLE(&vm, &v, idle);
		vcpu_x2apic(&v);
		irqfd_set(&vm, fd[0], MSI_ADDRESS(0), VEC);
		irqfd_set(&vm, fd[1], MSI_ADDRESS(0), VEC2);
		irqfd_set_level(&vm, fd[2], resample, level(VEC));
		irqfd_set(&vm, late, MSI_ADDRESS(0), VEC);
		/* One whose eventfd is closed already when the VM goes. */
		if (i & 2)
			close(late);
		if (i & 1)
			vcpu_destroy(&v);
		vm_destroy(&vm);
		if (!(i & 1))
			vcpu_destroy(&v);
		if (!(i & 2))
			close(late);
	}
	for (int i = 0; i < 3; i++) {
		signaller_stop(&s[i]);
		close(fd[i]);
	}
	close(resample);
}

TEST_F_TIMEOUT(irqfd, vm_ends_under_signals, 240)
{
	long refs = module_refs();

	ends_under_signals(times(200));
	EXPECT_EQ(refs, module_refs());
}

/* Whatever ended it: eventfds, irqfds, VMs, all is given back. */
TEST_F_TIMEOUT(irqfd, memory_returns, 240)
{
	int number = event_number();
	long before, lost;

	ASSERT_EQ(0, own_cgroup());
	for (int round = 0; round < 2; round++) {
		before = round ? kernel_bytes() : 0;
		for (int i = 0; i < 4; i++) {
			storm(&self->vm, times(100));
			ends_under_signals(times(60));
		}
	}
	lost = kernel_bytes() - before;
	ASSERT_GT(before, 0);
	printf("# %ld bytes more, of %ld\n", lost, before);
	/* Less than an irqfd of each VM. */
	EXPECT_LT(lost, 4 * 60 * 64);
	/* The last storm's may still be assigned. */
	irqfd_clear(&self->vm, self->fd);
	EXPECT_EQ(number, event_number());
}

TEST_HARNESS_MAIN
