// SPDX-License-Identifier: GPL-2.0
/* Slots of guest memory: set, moved, changed, deleted and refused. */
#define _GNU_SOURCE
#include <sys/ioctl.h>
#include "kselftest_harness.h"
#include "guest.h"

#define GPA	0x40000000ull
#define SIZE	0x10000ull

FIXTURE(slots) {
	struct vm vm;
	struct vcpu v;
	uint64_t *a, *b;
};

FIXTURE_SETUP(slots)
{
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	access_prepare(&self->v);
	self->a = mem_alloc(SIZE, 4096);
	self->b = mem_alloc(SIZE, 4096);
	self->a[0] = 0xaaaa;
	self->b[0] = 0xbbbb;
}

FIXTURE_TEARDOWN(slots)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

#define EXPECT_READ(gpa, want) do {					\
	uint64_t val_;							\
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_read(&self->v, gpa, &val_));	\
	EXPECT_EQ(want, val_);						\
} while (0)

#define EXPECT_MMIO(gpa_, write_) do {					\
	uint64_t val_;							\
	ASSERT_EQ(CLEAVE_EXIT_MMIO, write_ ? guest_write(&self->v, gpa_, 1) :	\
		  guest_read(&self->v, gpa_, &val_));			\
	EXPECT_EQ((uint64_t)(gpa_), self->v.run->mmio.gpa);		\
	EXPECT_EQ((write_ ? CLEAVE_ACCESS_WRITE : 0u), self->v.run->mmio.flags);	\
} while (0)

TEST_F(slots, add_and_delete)
{
	EXPECT_MMIO(GPA, 0);
	EXPECT_MMIO(GPA, 1);
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA, SIZE, self->a));
	EXPECT_READ(GPA, 0xaaaa);
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_write(&self->v, GPA + SIZE - 8, 0x1234));
	EXPECT_EQ(0x1234, self->a[SIZE / 8 - 1]);
	EXPECT_MMIO(GPA + SIZE, 0);
	EXPECT_MMIO(GPA - 8, 1);
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA, 0, self->a));
	EXPECT_MMIO(GPA, 0);
	EXPECT_MMIO(GPA + SIZE - 8, 1);
	EXPECT_EQ(-ENOENT, vm_slot(&self->vm, 1, 0, GPA, 0, self->a));
	EXPECT_EQ(0xaaaa, self->a[0]);
}

TEST_F(slots, moved)
{
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA, SIZE, self->a));
	EXPECT_READ(GPA, 0xaaaa);
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA + 0x100000, SIZE, self->a));
	EXPECT_MMIO(GPA, 0);
	EXPECT_READ(GPA + 0x100000, 0xaaaa);
	/* Moved onto part of where it is. */
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA + 0x101000, SIZE, self->a));
	EXPECT_MMIO(GPA + 0x100000, 0);
	EXPECT_READ(GPA + 0x101000, 0xaaaa);
}

TEST_F(slots, other_memory)
{
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA, SIZE, self->a));
	EXPECT_READ(GPA, 0xaaaa);
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA, SIZE, self->b));
	EXPECT_READ(GPA, 0xbbbb);
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_write(&self->v, GPA, 0x7777));
	EXPECT_EQ(0xaaaa, self->a[0]);
	EXPECT_EQ(0x7777, self->b[0]);
}

TEST_F(slots, resized)
{
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA, SIZE, self->a));
	EXPECT_READ(GPA + SIZE - 8, 0);
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA, 0x1000, self->a));
	EXPECT_READ(GPA, 0xaaaa);
	EXPECT_MMIO(GPA + 0x1000, 0);
	EXPECT_MMIO(GPA + SIZE - 8, 1);
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA, SIZE, self->a));
	EXPECT_READ(GPA + SIZE - 8, 0);
}

TEST_F(slots, shared_memory)
{
	/* One page of the owner at two guest-physical addresses. */
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA, SIZE, self->a));
	ASSERT_EQ(0, vm_slot(&self->vm, 2, 0, GPA + SIZE, SIZE, self->a));
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_write(&self->v, GPA + SIZE, 0x4242));
	EXPECT_READ(GPA, 0x4242);
	EXPECT_EQ(0x4242, self->a[0]);
}

TEST_F(slots, overlap)
{
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA, SIZE, self->a));
	EXPECT_EQ(-EEXIST, vm_slot(&self->vm, 2, 0, GPA, SIZE, self->b));
	EXPECT_EQ(-EEXIST, vm_slot(&self->vm, 2, 0, GPA + SIZE - 0x1000, SIZE, self->b));
	EXPECT_EQ(-EEXIST, vm_slot(&self->vm, 2, 0, GPA - 0x1000, 0x2000, self->b));
	EXPECT_EQ(-EEXIST, vm_slot(&self->vm, 2, 0, GPA - 0x1000, SIZE + 0x2000, self->b));
	EXPECT_EQ(-EEXIST, vm_slot(&self->vm, 2, 0, GPA + 0x1000, 0x1000, self->b));
	EXPECT_EQ(-EEXIST, vm_slot(&self->vm, 0, 0, GPA, RAM_SIZE, self->vm.ram));
	/* Neighbours are none. */
	EXPECT_EQ(0, vm_slot(&self->vm, 2, 0, GPA + SIZE, SIZE, self->b));
	EXPECT_EQ(0, vm_slot(&self->vm, 3, 0, GPA - SIZE, SIZE, self->b));
	/* The refused ones changed nothing. */
	EXPECT_READ(GPA, 0xaaaa);
	EXPECT_READ(GPA + SIZE, 0xbbbb);
	EXPECT_READ(0, *(uint64_t *)self->vm.ram);
}

TEST_F(slots, refused)
{
	struct cleave_info info = dev_info();
	uint64_t top = 1ull << info.gpa_bits;

	EXPECT_EQ(-EINVAL, vm_slot(&self->vm, info.max_slots, 0, GPA, SIZE, self->a));
	EXPECT_EQ(-EINVAL, vm_slot(&self->vm, ~0u, 0, GPA, SIZE, self->a));
	EXPECT_EQ(-EINVAL, vm_slot(&self->vm, info.max_slots, 0, GPA, 0, self->a));
	EXPECT_EQ(-EINVAL, vm_slot(&self->vm, 1, 0, GPA + 1, SIZE, self->a));
	EXPECT_EQ(-EINVAL, vm_slot(&self->vm, 1, 0, GPA + 0x800, SIZE, self->a));
	EXPECT_EQ(-EINVAL, vm_slot(&self->vm, 1, 0, GPA, SIZE + 1, self->a));
	EXPECT_EQ(-EINVAL, vm_slot(&self->vm, 1, 0, GPA, 0x800, self->a));
	EXPECT_EQ(-EINVAL, vm_slot(&self->vm, 1, 0, GPA, SIZE, (uint8_t *)self->a + 0x800));
	EXPECT_EQ(-EINVAL, vm_slot(&self->vm, 1, 0, -0x1000ull, 0x2000, self->a));
	EXPECT_EQ(-EINVAL, vm_slot(&self->vm, 1, 0, 0x1000, -0x1000ull, self->a));
	EXPECT_EQ(-EINVAL, vm_slot(&self->vm, 1, 0, top, 0x1000, self->a));
	EXPECT_EQ(-EINVAL, vm_slot(&self->vm, 1, 0, top - 0x1000, 0x2000, self->a));
	EXPECT_EQ(-EINVAL, vm_slot(&self->vm, 1, 0, GPA, 0x1000, (void *)0xffff888000000000ul));
	EXPECT_EQ(-EINVAL, vm_slot(&self->vm, 1, 0, GPA, 0x2000, (void *)-0x1000ul));
	EXPECT_EQ(-EINVAL, vm_slot(&self->vm, 1, 0, GPA, 1ull << 47, (void *)0x1000));
	EXPECT_EQ(0, vm_slot(&self->vm, 1, 0, top - 0x1000, 0x1000, self->a));
	EXPECT_EQ(0, vm_slot(&self->vm, 1, 0, 0, 0, NULL));
	EXPECT_MMIO(GPA, 0);
}

TEST_F(slots, all_of_them)
{
	struct cleave_info info = dev_info();

	for (unsigned int i = 1; i < info.max_slots; i++)
		ASSERT_EQ(0, vm_slot(&self->vm, i, 0, GPA + i * 0x100000, 0x1000,
				     (uint8_t *)self->a + (i % 16) * 0x1000));
	for (unsigned int i = 1; i < info.max_slots; i++)
		ASSERT_EQ(CLEAVE_EXIT_IO, guest_write(&self->v, GPA + i * 0x100000 + 8, i));
	for (unsigned int i = info.max_slots - 16; i < info.max_slots; i++)
		ASSERT_EQ(i, self->a[(i % 16) * 512 + 1]);
	for (unsigned int i = 1; i < info.max_slots; i += 2)
		ASSERT_EQ(0, vm_slot(&self->vm, i, 0, 0, 0, NULL));
	for (unsigned int i = 1; i < info.max_slots; i++) {
		uint64_t val;

		ASSERT_EQ(i % 2 ? CLEAVE_EXIT_MMIO : CLEAVE_EXIT_IO,
			  guest_read(&self->v, GPA + i * 0x100000, &val));
	}
}

TEST_F(slots, read_only)
{
	ASSERT_EQ(0, vm_slot(&self->vm, 1, CLEAVE_SLOT_READONLY, GPA, SIZE, self->a));
	for (int i = 0; i < 2; i++) {	/* before and after it is mapped by a read */
		ASSERT_EQ(CLEAVE_EXIT_MMIO, guest_write(&self->v, GPA, 0x9999));
		EXPECT_EQ(GPA, self->v.run->mmio.gpa);
		EXPECT_EQ(CLEAVE_ACCESS_WRITE | CLEAVE_ACCESS_READONLY, self->v.run->mmio.flags);
		EXPECT_READ(GPA, 0xaaaa);
	}
	EXPECT_EQ(0xaaaa, self->a[0]);
	/* The owner writes; the guest reads it. */
	self->a[0] = 0xcccc;
	EXPECT_READ(GPA, 0xcccc);
	ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA, SIZE, self->a));
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_write(&self->v, GPA, 0xdddd));
	EXPECT_EQ(0xdddd, self->a[0]);
	ASSERT_EQ(0, vm_slot(&self->vm, 1, CLEAVE_SLOT_READONLY, GPA, SIZE, self->a));
	ASSERT_EQ(CLEAVE_EXIT_MMIO, guest_write(&self->v, GPA, 0x9999));
	EXPECT_EQ(0xdddd, self->a[0]);
}

/* DATA: word seen last, then a counter. */
GUEST(watch, 64,
	"mov $" S(GPA_DATA) ", %ebx\n\t"
	"mov $0x40000000, %esi\n"
	"1:\tmov (%rsi), %rax\n\tmov %rax, (%rbx)\n\tincq 8(%rbx)\n\tjmp 1b\n\t");

TEST_F(slots, under_a_running_vcpu)
{
	volatile uint64_t *seen = VM_DATA(&self->vm, uint64_t, 0);
	volatile uint64_t *count = VM_DATA(&self->vm, uint64_t, 8);
	struct runner r;

	GUEST_LONG(&self->v, watch);
	runner_start(&r, &self->v, NULL, NULL);
	for (int i = 0; i < 200; i++) {
		uint64_t *mem = i % 2 ? self->b : self->a, start, until;

		ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA, SIZE, mem));
		start = *count;
		until = now_ns() + 5000000000ull;
		while (*count - start < 3)
			ASSERT_LT(now_ns(), until);
		ASSERT_EQ(mem[0], *seen);
		if (i % 5)
			continue;
		ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, 0, 0, NULL));
		/* No read ends well any more but the one that was on its way. */
		start = *count;
		usleep(1000);
		ASSERT_LE(*count - start, 1);
	}
	runner_stop(&r);
	EXPECT_EQ(0, r.error);
	EXPECT_GT(r.exits, 0);
}

TEST_HARNESS_MAIN
