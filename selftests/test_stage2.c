// SPDX-License-Identifier: GPL-2.0
/* Guest memory is the owner's memory, whatever the owner and its kernel do with it. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include "kselftest_harness.h"
#include "guest.h"

#define GPA	0x40000000ull
#define MIB	0x100000ull
#define PAGE	0x1000ull

FIXTURE(stage2) {
	struct vm vm;
	struct vcpu v;
};

FIXTURE_SETUP(stage2)
{
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	access_prepare(&self->v);
}

FIXTURE_TEARDOWN(stage2)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

#define READ(gpa, want) do {						\
	uint64_t val_;							\
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_read(&self->v, gpa, &val_));	\
	ASSERT_EQ((uint64_t)(want), val_);				\
} while (0)
#define WRITE(gpa, val)							\
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_write(&self->v, gpa, val))
#define SLOT(n, gpa, size, mem)						\
	ASSERT_EQ(0, vm_slot(&self->vm, n, 0, gpa, size, mem))
#define EXPECT_FAULT(gpa_, hva_, write_) do {				\
	uint64_t val_;							\
	ASSERT_EQ(CLEAVE_EXIT_FAULT, write_ ? guest_write(&self->v, gpa_, 1) :	\
		  guest_read(&self->v, gpa_, &val_));			\
	EXPECT_EQ((uint64_t)(gpa_), self->v.run->fault.gpa);		\
	EXPECT_EQ((uint64_t)(uintptr_t)(hva_), self->v.run->fault.hva);	\
	EXPECT_EQ((write_ ? CLEAVE_ACCESS_WRITE : 0u), self->v.run->fault.flags); \
	EXPECT_GT(self->v.run->fault.error, 0u);			\
} while (0)

static uint64_t word(uint8_t *mem, uint64_t off)
{
	return *(volatile uint64_t *)(mem + off);
}

/* The guest fills, the owner reads; the owner changes, the guest reads. */
static void both_ways(struct __test_metadata *_metadata, FIXTURE_DATA(stage2) *self, uint64_t gpa,
		      uint8_t *mem, uint64_t size)
{
	uint64_t bad;

	ASSERT_EQ(CLEAVE_EXIT_IO, guest_fill(&self->v, gpa, size, 0x1000000));
	for (uint64_t off = 0; off < size; off += PAGE)
		ASSERT_EQ(0x1000000 + off / PAGE, word(mem, off));
	for (uint64_t off = 0; off < size; off += PAGE)
		*(volatile uint64_t *)(mem + off) = 0x2000000 + off / PAGE;
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_check(&self->v, gpa, size, 0x2000000, &bad));
	ASSERT_EQ(0, bad);
}

TEST_F(stage2, small_pages)
{
	uint8_t *mem = mem_alloc(16 * MIB, 2 * MIB);

	madvise(mem, 16 * MIB, MADV_NOHUGEPAGE);
	SLOT(1, GPA, 16 * MIB, mem);
	both_ways(_metadata, self, GPA, mem, 16 * MIB);
}

TEST_F(stage2, transparent_huge_pages)
{
	uint8_t *mem = mem_alloc(16 * MIB, 2 * MIB);

	madvise(mem, 16 * MIB, MADV_HUGEPAGE);
	SLOT(1, GPA, 16 * MIB, mem);
	both_ways(_metadata, self, GPA, mem, 16 * MIB);
	/* One small page goes out of the middle of a huge one. */
	ASSERT_EQ(0, madvise(mem + 5 * MIB, PAGE, MADV_DONTNEED));
	READ(GPA + 5 * MIB, 0);
	READ(GPA + 5 * MIB - PAGE, 0x2000000 + 5 * MIB / PAGE - 1);
	READ(GPA + 5 * MIB + PAGE, 0x2000000 + 5 * MIB / PAGE + 1);
	/* A huge one goes whole. */
	ASSERT_EQ(0, madvise(mem + 8 * MIB, 2 * MIB, MADV_DONTNEED));
	READ(GPA + 8 * MIB, 0);
	READ(GPA + 10 * MIB - PAGE, 0);
	READ(GPA + 10 * MIB, 0x2000000 + 10 * MIB / PAGE);
	both_ways(_metadata, self, GPA, mem, 16 * MIB);
}

/* Small mappings first, which a huge page then takes the place of. */
TEST_F(stage2, collapse)
{
	uint8_t *mem = mem_alloc(4 * MIB, 2 * MIB);
	uint64_t bad;

	madvise(mem, 4 * MIB, MADV_NOHUGEPAGE);
	SLOT(1, GPA, 4 * MIB, mem);
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_fill(&self->v, GPA, 4 * MIB, 7));
	madvise(mem, 4 * MIB, MADV_HUGEPAGE);
	if (madvise(mem, 4 * MIB, 25 /* MADV_COLLAPSE */))
		SKIP(return, "no MADV_COLLAPSE here: errno %d", errno);
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_check(&self->v, GPA, 4 * MIB, 7, &bad));
	EXPECT_EQ(0, bad);
	both_ways(_metadata, self, GPA, mem, 4 * MIB);
}

/* The slot's two addresses do not agree on where a huge page begins. */
TEST_F(stage2, misaligned)
{
	uint8_t *mem = mem_alloc(8 * MIB, 2 * MIB);

	madvise(mem, 8 * MIB, MADV_HUGEPAGE);
	memset(mem, 0, 8 * MIB);
	SLOT(1, GPA + 3 * PAGE, 6 * MIB, mem + 5 * PAGE);
	both_ways(_metadata, self, GPA + 3 * PAGE, mem + 5 * PAGE, 6 * MIB);
	/* A slot that ends within a huge page gives nothing beyond its end. */
	SLOT(1, GPA, 2 * MIB + PAGE, mem);
	READ(GPA + 2 * MIB, word(mem, 2 * MIB));
	{
		uint64_t val;

		EXPECT_EQ(CLEAVE_EXIT_MMIO, guest_read(&self->v, GPA + 2 * MIB + PAGE, &val));
	}
}

/* A mapping for each page: where one is split, hugetlb_split() of some kernels warns under lockdep. */
static void *hugetlb(uint64_t size, int shift, const char *pool, const char *count)
{
	const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB | shift << 26;
	const uint64_t page = 1ULL << shift;
	uint8_t *mem;
	int fd = open(pool, O_WRONLY);

	if (fd < 0 || write(fd, count, strlen(count)) < 0)
		return NULL;
	close(fd);
	mem = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (mem == MAP_FAILED)
		return NULL;
	munmap(mem, (size + page - 1) & -page);
	for (uint64_t at = 0; at < size; at += page)
		if (mmap(mem + at, page, PROT_READ | PROT_WRITE, flags | MAP_FIXED, -1, 0) == MAP_FAILED)
			return NULL;
	return mem;
}

TEST_F(stage2, hugetlb_2m)
{
	static const char pool[] = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
	uint8_t *mem = hugetlb(8 * MIB, 21, pool, "8");
	uint64_t val;

	if (!mem)
		SKIP(return, "no 2 MiB pages to be had");
	SLOT(1, GPA, 8 * MIB, mem);
	both_ways(_metadata, self, GPA, mem, 8 * MIB);
	ASSERT_EQ(0, munmap(mem + 2 * MIB, 2 * MIB));
	EXPECT_EQ(CLEAVE_EXIT_FAULT, guest_read(&self->v, GPA + 2 * MIB, &val));
	READ(GPA + 4 * MIB, 0x2000000 + 4 * MIB / PAGE);
	munmap(mem, 8 * MIB);
	hugetlb(PAGE, 21, pool, "0");
}

TEST_F(stage2, hugetlb_1g)
{
	static const char pool[] = "/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages";
	uint8_t *mem = hugetlb(1024 * MIB, 30, pool, "1");

	if (!mem)
		SKIP(return, "no 1 GiB page to be had");
	SLOT(1, GPA, 1024 * MIB, mem);
	WRITE(GPA, 1);
	WRITE(GPA + 1024 * MIB - 8, 2);
	EXPECT_EQ(1, word(mem, 0));
	EXPECT_EQ(2, word(mem, 1024 * MIB - 8));
	both_ways(_metadata, self, GPA + 512 * MIB, mem + 512 * MIB, 16 * MIB);
	/* A hole by a smaller slot map: the upper half only. */
	SLOT(1, GPA + 512 * MIB, 512 * MIB, mem + 512 * MIB);
	READ(GPA + 1024 * MIB - 8, 2);
	munmap(mem, 1024 * MIB);
	hugetlb(PAGE, 30, pool, "0");
}

TEST_F(stage2, unmapped)
{
	uint8_t *mem = mem_alloc(MIB, 4096);

	SLOT(1, GPA, MIB, mem);
	WRITE(GPA + 3 * PAGE, 0x11);
	ASSERT_EQ(0, munmap(mem + 3 * PAGE, PAGE));
	EXPECT_FAULT(GPA + 3 * PAGE, mem + 3 * PAGE, 0);
	EXPECT_EQ(EFAULT, self->v.run->fault.error);
	EXPECT_FAULT(GPA + 3 * PAGE, mem + 3 * PAGE, 1);
	EXPECT_EQ(EFAULT, self->v.run->fault.error);
	READ(GPA + 2 * PAGE, 0);
	/* New memory in its place is what the guest gets. */
	ASSERT_EQ(mem + 3 * PAGE, mmap(mem + 3 * PAGE, PAGE, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	READ(GPA + 3 * PAGE, 0);
	WRITE(GPA + 3 * PAGE, 0x22);
	EXPECT_EQ(0x22, word(mem, 3 * PAGE));
}

TEST_F(stage2, never_mapped)
{
	uint8_t *mem = mem_alloc(MIB, 4096);

	munmap(mem, MIB);
	SLOT(1, GPA, MIB, mem);
	EXPECT_FAULT(GPA + PAGE, mem + PAGE, 1);
	ASSERT_EQ(mem, mmap(mem, MIB, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	WRITE(GPA + PAGE, 5);
	EXPECT_EQ(5, word(mem, PAGE));
}

TEST_F(stage2, fetch_from_nowhere)
{
	uint8_t *mem = mem_alloc(MIB, 4096);

	munmap(mem, MIB);
	SLOT(1, GPA, MIB, mem);
	rip_set(&self->v, GPA + 0x123);
	vcpu_run_exit(&self->v, CLEAVE_EXIT_FAULT);
	EXPECT_EQ(GPA + 0x123, self->v.run->fault.gpa);
	EXPECT_EQ(CLEAVE_ACCESS_FETCH, self->v.run->fault.flags);
	EXPECT_EQ(GPA + 0x123, self->v.run->rip);
}

TEST_F(stage2, mprotect)
{
	uint8_t *mem = mem_alloc(4 * MIB, 2 * MIB);

	madvise(mem, 4 * MIB, MADV_HUGEPAGE);
	SLOT(1, GPA, 4 * MIB, mem);
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_fill(&self->v, GPA, 4 * MIB, 100));
	ASSERT_EQ(0, mprotect(mem + 4 * PAGE, PAGE, PROT_READ));
	READ(GPA + 4 * PAGE, 104);
	EXPECT_FAULT(GPA + 4 * PAGE, mem + 4 * PAGE, 1);
	WRITE(GPA + 5 * PAGE, 1);
	EXPECT_EQ(104, word(mem, 4 * PAGE));
	ASSERT_EQ(0, mprotect(mem + 4 * PAGE, PAGE, PROT_NONE));
	EXPECT_FAULT(GPA + 4 * PAGE, mem + 4 * PAGE, 0);
	ASSERT_EQ(0, mprotect(mem + 4 * PAGE, PAGE, PROT_READ | PROT_WRITE));
	READ(GPA + 4 * PAGE, 104);
	WRITE(GPA + 4 * PAGE, 1);
	EXPECT_EQ(1, word(mem, 4 * PAGE));
	ASSERT_EQ(0, mprotect(mem, 4 * MIB, PROT_READ));
	READ(GPA + 3 * MIB, 100 + 3 * MIB / PAGE);
	EXPECT_FAULT(GPA + 3 * MIB, mem + 3 * MIB, 1);
	ASSERT_EQ(0, mprotect(mem, 4 * MIB, PROT_READ | PROT_WRITE));
	both_ways(_metadata, self, GPA, mem, 4 * MIB);
}

TEST_F(stage2, dontneed)
{
	uint8_t *mem = mem_alloc(MIB, 4096);
	uint64_t bad;

	SLOT(1, GPA, MIB, mem);
	for (uint64_t i = 1; i < 20; i++) {
		ASSERT_EQ(CLEAVE_EXIT_IO, guest_fill(&self->v, GPA, MIB, i * 1000));
		ASSERT_EQ(CLEAVE_EXIT_IO, guest_check(&self->v, GPA, MIB, i * 1000, &bad));
		ASSERT_EQ(0, bad);
		ASSERT_EQ(0, madvise(mem, MIB, MADV_DONTNEED));
		READ(GPA, 0);
		READ(GPA + MIB - PAGE, 0);
	}
}

TEST_F(stage2, mremap)
{
	uint8_t *mem = mem_alloc(2 * MIB, 4096), *away = mem_alloc(MIB, 4096);

	SLOT(1, GPA, 2 * MIB, mem);
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_fill(&self->v, GPA, 2 * MIB, 10));
	ASSERT_EQ(away, mremap(mem, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, away));
	EXPECT_FAULT(GPA, mem, 0);
	READ(GPA + MIB, 10 + MIB / PAGE);
	ASSERT_EQ(mem, mremap(away, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, mem));
	READ(GPA, 10);
	WRITE(GPA, 77);
	EXPECT_EQ(77, word(mem, 0));
}

/* Reads map the zero page; it must not stay when someone writes. */
TEST_F(stage2, zero_page)
{
	uint8_t *mem = mem_alloc(MIB, 4096);

	madvise(mem, MIB, MADV_NOHUGEPAGE);
	SLOT(1, GPA, MIB, mem);
	READ(GPA, 0);
	READ(GPA + PAGE, 0);
	*(volatile uint64_t *)mem = 1;
	READ(GPA, 1);
	WRITE(GPA + PAGE, 2);
	EXPECT_EQ(2, word(mem, PAGE));
	EXPECT_EQ(0, word(mem, 2 * PAGE));
	READ(GPA + 2 * PAGE, 0);
}

TEST_F(stage2, private_file)
{
	char name[] = "/tmp/stage2-XXXXXX";
	int fd = mkstemp(name);
	uint64_t val;
	uint8_t *mem;

	ASSERT_GE(fd, 0);
	unlink(name);
	for (uint64_t i = 0; i < 16; i++) {
		val = 500 + i;
		ASSERT_EQ(8, pwrite(fd, &val, 8, i * PAGE));
	}
	ASSERT_EQ(0, ftruncate(fd, 16 * PAGE));
	mem = mmap(NULL, 16 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	SLOT(1, GPA, 16 * PAGE, mem);
	READ(GPA + 3 * PAGE, 503);
	val = 900;
	ASSERT_EQ(8, pwrite(fd, &val, 8, 3 * PAGE));	/* not copied yet */
	READ(GPA + 3 * PAGE, 900);
	WRITE(GPA + 3 * PAGE, 1000);
	WRITE(GPA + 4 * PAGE, 1001);
	EXPECT_EQ(1000, word(mem, 3 * PAGE));
	ASSERT_EQ(8, pread(fd, &val, 8, 3 * PAGE));
	EXPECT_EQ(900, val);
	ASSERT_EQ(8, pread(fd, &val, 8, 4 * PAGE));
	EXPECT_EQ(504, val);
	val = 901;
	ASSERT_EQ(8, pwrite(fd, &val, 8, 3 * PAGE));
	READ(GPA + 3 * PAGE, 1000);
	close(fd);
}

TEST_F(stage2, shared_memfd)
{
	int fd = memfd_create("stage2", 0);
	uint8_t *mem, *other;
	uint64_t val = 33;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ftruncate(fd, 4 * MIB));
	mem = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	other = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_NE(MAP_FAILED, other);
	SLOT(1, GPA, 4 * MIB, mem);
	both_ways(_metadata, self, GPA, other, 4 * MIB);
	ASSERT_EQ(8, pwrite(fd, &val, 8, PAGE));
	READ(GPA + PAGE, 33);
	WRITE(GPA + PAGE, 44);
	ASSERT_EQ(8, pread(fd, &val, 8, PAGE));
	EXPECT_EQ(44, val);
	/* The file shrinks under the guest. */
	ASSERT_EQ(0, ftruncate(fd, MIB));
	EXPECT_FAULT(GPA + 2 * MIB, mem + 2 * MIB, 0);
	READ(GPA + PAGE, 44);
	ASSERT_EQ(0, ftruncate(fd, 4 * MIB));
	READ(GPA + 2 * MIB, 0);
	/* A hole is punched into it. */
	ASSERT_EQ(0, fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE, PAGE));
	READ(GPA + PAGE, 0);
	close(fd);
}

/* Two guests, one memory. */
TEST_F(stage2, shared_between_guests)
{
	int fd = memfd_create("stage2", 0);
	struct vm vm2;
	struct vcpu v2;
	uint64_t val;
	uint8_t *a, *b;

	ASSERT_EQ(0, ftruncate(fd, MIB));
	a = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	b = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	vm_create(&vm2, RAM_SIZE, 0);
	vcpu_create(&vm2, &v2, 0);
	access_prepare(&v2);
	SLOT(1, GPA, MIB, a);
	ASSERT_EQ(0, vm_slot(&vm2, 1, 0, GPA, MIB, b));
	WRITE(GPA, 5);
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_read(&v2, GPA, &val));
	EXPECT_EQ(5, val);
	WRITE(GPA, 6);
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_read(&v2, GPA, &val));
	EXPECT_EQ(6, val);
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_write(&v2, GPA, 7));
	READ(GPA, 6);
	WRITE(GPA, 8);
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_read(&v2, GPA, &val));
	EXPECT_EQ(7, val);
}

static void poke(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd >= 0 && write(fd, text, strlen(text)) < 0)
		perror(path);
	close(fd);
}

static long number(const char *path)
{
	FILE *f = fopen(path, "r");
	long n = -1;

	if (f && fscanf(f, "%ld", &n) != 1)
		n = -1;
	if (f)
		fclose(f);
	return n;
}

TEST_F(stage2, merged_pages)
{
	uint8_t *mem = mem_alloc(64 * PAGE, 4096);
	uint64_t until = now_ns() + 15000000000ull, bad;

	if (access("/sys/kernel/mm/ksm/run", W_OK))
		SKIP(return, "no KSM");
	madvise(mem, 64 * PAGE, MADV_NOHUGEPAGE);
	SLOT(1, GPA, 64 * PAGE, mem);
	for (int i = 0; i < 64; i++)
		WRITE(GPA + i * PAGE, 0xfeed);
	ASSERT_EQ(0, madvise(mem, 64 * PAGE, MADV_MERGEABLE));
	poke("/sys/kernel/mm/ksm/sleep_millisecs", "5");
	poke("/sys/kernel/mm/ksm/pages_to_scan", "1000");
	poke("/sys/kernel/mm/ksm/run", "1");
	while (number("/sys/kernel/mm/ksm/pages_sharing") < 60 && now_ns() < until)
		usleep(10000);
	EXPECT_GE(number("/sys/kernel/mm/ksm/pages_sharing"), 60);
	for (int i = 0; i < 64; i++)
		READ(GPA + i * PAGE, 0xfeed);
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_fill(&self->v, GPA, 32 * PAGE, 1));
	for (int i = 32; i < 64; i++)
		READ(GPA + i * PAGE, 0xfeed);
	ASSERT_EQ(CLEAVE_EXIT_IO, guest_check(&self->v, GPA, 32 * PAGE, 1, &bad));
	EXPECT_EQ(0, bad);
	poke("/sys/kernel/mm/ksm/run", "2");
}

/* After a fork the guest goes on in the parent's memory; the child has a snapshot. */
TEST_F(stage2, fork_between_runs)
{
	uint8_t *mem = mem_alloc(4 * MIB, 2 * MIB);
	int go[2], status;
	pid_t pid;
	char c;

	for (int huge = 0; huge < 2; huge++) {
		madvise(mem, 4 * MIB, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
		SLOT(1, GPA, 4 * MIB, mem);
		ASSERT_EQ(CLEAVE_EXIT_IO, guest_fill(&self->v, GPA, 4 * MIB, 1000));
		ASSERT_EQ(0, pipe(go));
		pid = fork();
		if (!pid) {
			close(go[1]);
			if (read(go[0], &c, 1) < 0)
				_exit(2);
			for (uint64_t i = 0; i < 4 * MIB / PAGE; i++)
				if (word(mem, i * PAGE) != 1000 + i)
					_exit(1);
			_exit(0);
		}
		close(go[0]);
		both_ways(_metadata, self, GPA, mem, 4 * MIB);
		/* By the owner first: the guest must not keep the shared page. */
		*(volatile uint64_t *)mem = 0xabc;
		READ(GPA, 0xabc);
		close(go[1]);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_EQ(0, status);
		both_ways(_metadata, self, GPA, mem, 4 * MIB);
		munmap(mem, 4 * MIB);
		mem = mem_alloc(4 * MIB, 2 * MIB);
	}
}

/* Round after round: each of 64 pages gets the round's number; then the round is said. */
GUEST(rounds, 64,
	"xor %eax, %eax\n"
	"1:\tinc %rax\n\tmov $0x40000000, %ebx\n\tmov $64, %ecx\n"
	"2:\tmov %rax, (%rbx)\n\tadd $0x1000, %rbx\n\tloop 2b\n\t"
	"mov $0x40000000, %ebx\n\tmov $64, %ecx\n"
	"3:\tcmp %rax, (%rbx)\n\tjne 4f\n\tadd $0x1000, %rbx\n\tloop 3b\n\t"
	"mov %rax, " S(GPA_DATA) "\n\tjmp 1b\n"
	"4:\t" G_DONE "ud2\n\t");

static int is_io(struct vcpu *v, void *arg)
{
	return v->run->exit != CLEAVE_EXIT_FAULT;
}

TEST_F_TIMEOUT(stage2, fork_under_a_running_guest, 60)
{
	uint8_t *mem = mem_alloc(64 * PAGE, 2 * MIB);
	volatile uint64_t *round = VM_DATA(&self->vm, uint64_t, 0);
	struct runner r;

	SLOT(1, GPA, 64 * PAGE, mem);
	GUEST_LONG(&self->v, rounds);
	runner_start(&r, &self->v, is_io, NULL);
	for (int i = 0; i < 30; i++) {
		uint64_t start = *round, until = now_ns() + 5000000000ull;
		int status;
		pid_t pid = fork();

		if (!pid) {
			uint64_t first[64], high = 0, low = ~0ull;

			for (int k = 0; k < 64; k++) {
				first[k] = word(mem, k * PAGE);
				high = first[k] > high ? first[k] : high;
				low = first[k] < low ? first[k] : low;
			}
			if (high - low > 1 && low)
				_exit(3);	/* no guest ever had this memory */
			usleep(20000);
			for (int k = 0; k < 64; k++)
				if (word(mem, k * PAGE) != first[k])
					_exit(4);	/* the guest wrote to the snapshot */
			_exit(0);
		}
		while (*round < start + 10)
			ASSERT_LT(now_ns(), until);
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		ASSERT_EQ(0, status) TH_LOG("child said %d", WEXITSTATUS(status));
		/* What the owner reads is where the guest writes. */
		start = *round;
		ASSERT_GE(word(mem, 0), start);
	}
	runner_stop(&r);
	EXPECT_EQ(0, r.error);
	EXPECT_EQ(0, r.exits);
}

/*
 * Page i holds 0 or a count tagged with i in its high half; the guest checks
 * the tag and counts up while the owner pulls pages away in every manner.
 */
GUEST(tagged, 64,
	"1:\tmov $0x40000000, %ebx\n\txor %ecx, %ecx\n"
	"2:\tmov (%rbx), %rax\n\ttest %rax, %rax\n\tjz 3f\n\t"
	"mov %rax, %rdx\n\tshr $32, %rdx\n\tcmp %rcx, %rdx\n\tjne 4f\n"
	"3:\tmov %rcx, %rdx\n\tshl $32, %rdx\n\tmov %eax, %eax\n\tinc %rax\n\tor %rdx, %rax\n\t"
	"mov %rax, (%rbx)\n\tadd $0x1000, %rbx\n\tinc %rcx\n\tcmp $1024, %rcx\n\tjb 2b\n\t"
	"incq " S(GPA_DATA) "\n\tjmp 1b\n"
	"4:\t" G_DONE "ud2\n\t");

TEST_F_TIMEOUT(stage2, everything_at_once, 120)
{
	uint64_t size = 1024 * PAGE, until = now_ns() + 4000000000ull;
	uint8_t *mem = mem_alloc(size, 2 * MIB), *away = mem_alloc(size, 2 * MIB);
	volatile uint64_t *passes = VM_DATA(&self->vm, uint64_t, 0);
	unsigned int seed = 1, steps = 0;
	struct runner r;

	SLOT(1, GPA, size, mem);
	GUEST_LONG(&self->v, tagged);
	runner_start(&r, &self->v, is_io, NULL);
	/* As long as it takes on a busy machine. */
	while (now_ns() < until || steps <= 100) {
		uint64_t off = rand_r(&seed) % 1024 * PAGE;
		uint64_t len = (1 + rand_r(&seed) % 16) * PAGE;
		pid_t pid;

		if (off + len > size)
			len = size - off;
		switch (steps++ % 8) {
		case 0:
			ASSERT_EQ(0, madvise(mem + off, len, MADV_DONTNEED));
			break;
		case 1:
			ASSERT_EQ(0, mprotect(mem + off, len, PROT_READ));
			ASSERT_EQ(0, mprotect(mem + off, len, PROT_READ | PROT_WRITE));
			break;
		case 2:
			ASSERT_EQ(mem + off, mmap(mem + off, len, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
			break;
		case 3:
			pid = fork();
			if (!pid)
				_exit(0);
			ASSERT_EQ(pid, waitpid(pid, NULL, 0));
			break;
		case 4:
			/* One page: more may be of several mappings by now. */
			ASSERT_EQ(away, mremap(mem + off, PAGE, PAGE,
					       MREMAP_MAYMOVE | MREMAP_FIXED, away));
			ASSERT_EQ(mem + off, mremap(away, PAGE, PAGE,
						    MREMAP_MAYMOVE | MREMAP_FIXED, mem + off));
			break;
		case 5:
			madvise(mem, size, 25 /* MADV_COLLAPSE */);
			break;
		case 6:
			madvise(mem + off, len, 21 /* MADV_PAGEOUT */);
			break;
		case 7:
			ASSERT_EQ(0, vm_slot(&self->vm, 1, 0, GPA, size, mem));
			break;
		}
	}
	/* A busy machine may not have let it through all pages meanwhile. */
	for (until = now_ns() + 20000000000ull; !*passes && now_ns() < until; )
		usleep(10000);
	EXPECT_GT(*passes, 0);
	runner_stop(&r);
	EXPECT_EQ(0, r.error);
	/* Nothing but faults of a moment brought it out. */
	EXPECT_TRUE(self->v.run->exit == CLEAVE_EXIT_NONE ||
		    self->v.run->exit == CLEAVE_EXIT_FAULT) {
		TH_LOG("page %llu held %#llx", self->v.run->regs.rcx, self->v.run->regs.rax);
		vcpu_dump(&self->v);
	}
}

/* Device memory and other pages that are nobody's to count must be refused or left alone. */
TEST_F(stage2, device_memory)
{
	int fd = open("/dev/mem", O_RDWR);
	uint8_t *mem;
	uint64_t val;

	if (fd < 0)
		SKIP(return, "no /dev/mem");
	mem = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0xfed00000);
	if (mem == MAP_FAILED)
		SKIP(return, "/dev/mem gives nothing");
	SLOT(1, GPA, PAGE, mem);
	EXPECT_EQ(CLEAVE_EXIT_FAULT, guest_read(&self->v, GPA, &val));
	EXPECT_EQ(CLEAVE_EXIT_FAULT, guest_write(&self->v, GPA, 0));
}

TEST_HARNESS_MAIN
