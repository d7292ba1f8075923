// SPDX-License-Identifier: GPL-2.0
/* The host moves pages to other memory under a running guest, and no write is lost. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include "kselftest_harness.h"
#include "host.h"

#define GPA		0x40000000ull
#define PAGE		4096
#define PAGES		1024
#define HUGE		0x200000
#define MPOL_MF_MOVE	(1 << 1)

/*
 * Page i holds i in its high half and the number of the pass in its low one. The guest looks, and
 * writes the next: a write that went to where the page was before shows in the next pass.
 */
GUEST(passes, 64,
	"xor %r8d, %r8d\n"
	"1:\tmov $0x40000000, %ebx\n\txor %ecx, %ecx\n"
	"2:\tmov %rcx, %rdx\n\tshl $32, %rdx\n\tor %r8, %rdx\n\t"
	"cmp %rdx, (%rbx)\n\tjne 3f\n\tinc %rdx\n\tmov %rdx, (%rbx)\n\t"
	"add $0x1000, %rbx\n\tinc %ecx\n\tcmp $1024, %ecx\n\tjb 2b\n\t"
	"inc %r8\n\tmov %r8, " S(GPA_DATA) "\n\tjmp 1b\n"
	"3:\t" G_DONE);

FIXTURE(migrate) {
	struct vm vm;
	struct vcpu v;
	struct runner r;
	uint8_t *mem;
	unsigned long pfns[PAGES];
	int pagemap;
};

static volatile uint64_t *words(uint8_t *mem, int page)
{
	return (volatile uint64_t *)(mem + (size_t)page * PAGE);
}

static unsigned long pfn_of(int pagemap, void *p)
{
	uint64_t e = 0;

	if (pread(pagemap, &e, 8, (uintptr_t)p / PAGE * 8) != 8 || !(e >> 63))
		return 0;
	return e & ((1ull << 55) - 1);
}

static int any_exit(struct vcpu *v, void *arg)
{
	return 1;
}

FIXTURE_SETUP(migrate)
{
	GUEST_SIMPLE(&self->vm, &self->v, passes);
	self->pagemap = MUST(open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC));
	self->mem = mem_alloc(PAGES * PAGE, HUGE);
	madvise(self->mem, PAGES * PAGE, MADV_NOHUGEPAGE);
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA, PAGES * PAGE, self->mem));
}

FIXTURE_TEARDOWN(migrate)
{
	close(self->pagemap);
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

static void start(FIXTURE_DATA(migrate) *self)
{
	for (int i = 0; i < PAGES; i++)
		*words(self->mem, i) = (uint64_t)i << 32;
	runner_start(&self->r, &self->v, any_exit, NULL);
}

/* How many pages are elsewhere than at the last call. */
static int moved(FIXTURE_DATA(migrate) *self)
{
	int n = 0;

	for (int i = 0; i < PAGES; i++) {
		unsigned long pfn = pfn_of(self->pagemap, self->mem + (size_t)i * PAGE);

		n += pfn && self->pfns[i] && pfn != self->pfns[i];
		self->pfns[i] = pfn;
	}
	return n;
}

static uint64_t passes_done(FIXTURE_DATA(migrate) *self)
{
	return *VM_DATA(&self->vm, uint64_t, 0);
}

/* The guest is content, and so is the owner with what it finds. */
static void finish(struct __test_metadata *_metadata, FIXTURE_DATA(migrate) *self)
{
	uint64_t pass = passes_done(self), now;

	EXPECT_TRUE(WAIT_FOR(passes_done(self) > pass + 2, 20000));
	runner_stop(&self->r);
	EXPECT_EQ(0, self->r.error);
	ASSERT_EQ(0, self->r.exits)
		TH_LOG("page %llu held %llx in pass %llu", self->v.run->regs.rcx,
		       (unsigned long long)*words(self->mem, self->v.run->regs.rcx),
		       self->v.run->regs.r8);
	pass = passes_done(self);
	for (int i = 0; i < PAGES; i++) {
		now = *words(self->mem, i) - ((uint64_t)i << 32);
		ASSERT_TRUE(now == pass || now == pass + 1);
	}
}

TEST_F_TIMEOUT(migrate, between_nodes, 120)
{
	static int status[PAGES], nodes[PAGES];
	static void *addresses[PAGES];
	int n = 0, rounds = emulated_by_bochs() ? 4 : 10;
	uint64_t pass;

	if (access("/sys/devices/system/node/node1", F_OK))
		SKIP(return, "one node");
	start(self);
	moved(self);
	for (int round = 0; round < rounds; round++) {
		for (int i = 0; i < PAGES; i++) {
			addresses[i] = self->mem + (size_t)i * PAGE;
			nodes[i] = (round + i) & 1;
		}
		pass = passes_done(self);
		ASSERT_LE(0, syscall(SYS_move_pages, 0, PAGES, addresses, nodes, status,
				     MPOL_MF_MOVE));
		n += moved(self);
		/* What a stale translation wrote is looked for, too. */
		ASSERT_TRUE(WAIT_FOR(passes_done(self) > pass || self->r.exits, 20000));
	}
	printf("# %d pages moved\n", n);
	EXPECT_GT(n, rounds * PAGES / 4);
	finish(_metadata, self);
}

TEST_HARNESS_MAIN
