// SPDX-License-Identifier: GPL-2.0
/* Guest memory where only hosts with five levels of paging have addresses: above 47 bits. */
#define _GNU_SOURCE
#include <sys/mman.h>
#include "kselftest_harness.h"
#include "host.h"

#define SIZE	0x400000ull
#define HIGH	(1ull << 52)

TEST(above_47_bits)
{
	void *ram = mmap((void *)HIGH, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t bad = ~0ull, val;
	struct vcpu v;
	struct vm vm;

	ASSERT_NE(MAP_FAILED, ram);
	if ((uint64_t)ram < 1ull << 47)
		SKIP(return, "this host has four levels");
	vm_create(&vm, RAM_SIZE, 0);
	vcpu_create(&vm, &v, 0);
	access_prepare(&v);
	ASSERT_EQ(0, vm_slot(&vm, 1, 0, 0x40000000, SIZE, ram));
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_fill(&v, 0x40000000, SIZE, 0x1234567800));
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_check(&v, 0x40000000, SIZE, 0x1234567800, &bad));
	EXPECT_EQ(0, bad);
	EXPECT_EQ(0x1234567801, *(uint64_t *)((char *)ram + 4096));
	/* What the host takes away is gone for the guest. */
	ASSERT_EQ(0, madvise(ram, SIZE, MADV_DONTNEED));
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_read(&v, 0x40001000, &val));
	EXPECT_EQ(0, val);
	ASSERT_EQ(0, munmap(ram, SIZE));
	EXPECT_NE(CLEAVE_EXIT_IO, guest_read(&v, 0x40001000, &val));
	vcpu_destroy(&v);
	vm_destroy(&vm);
}

TEST_HARNESS_MAIN
