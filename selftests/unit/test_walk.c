// SPDX-License-Identifier: GPL-2.0
/* The walk of guest page tables: every mode, every permission, every error code. */
#include <errno.h>
#include "unit.h"
#include "libcleave.h"
#include "../../userspace-tool/libcleave/x86.h"

#define P	1ULL
#define W	2ULL
#define U	4ULL
#define A	0x20ULL
#define D	0x40ULL
#define PS	0x80ULL
#define NX	(1ULL << 63)
#define RAM	(1 << 20)

static uint8_t ram[RAM] __attribute__((aligned(4096)));
static struct cleave_mem mem;
static struct cleave_sregs sr;
static struct cleave_walk w;
static struct cleave_event fault;
static uint64_t gpa;

enum mode { LEGACY, PAE, LONG4, LONG5 };

static void setup(enum mode mode)
{
	memset(ram, 0, sizeof(ram));
	memset(&mem, 0, sizeof(mem));
	memset(&sr, 0, sizeof(sr));
	cleave_mem_add(&mem, 0, RAM, ram, 0);
	sr.cr0 = X86_CR0_PE | X86_CR0_PG | X86_CR0_WP;
	sr.cr3 = 0x1000;
	sr.cr4 = mode == LEGACY ? X86_CR4_PSE : X86_CR4_PAE;
	if (mode == LONG5)
		sr.cr4 |= X86_CR4_LA57;
	sr.efer = mode >= LONG4 ? X86_EFER_LME | X86_EFER_LMA | X86_EFER_NXE : X86_EFER_NXE;
	w = (struct cleave_walk){ .mem = &mem, .sregs = &sr, .phys_bits = 40 };
}

static void set64(uint64_t at, uint64_t v)
{
	memcpy(ram + at, &v, 8);
}

static void set32(uint64_t at, uint32_t v)
{
	memcpy(ram + at, &v, 4);
}

static uint64_t get64(uint64_t at)
{
	uint64_t v;

	memcpy(&v, ram + at, 8);
	return v;
}

/* 0x1000 PML5, 0x2000 PML4, 0x3000 PDPT, 0x4000 PD, 0x5000 PT; gva bits are all zero but offset. */
static void tables(enum mode mode, uint64_t leaf)
{
	if (mode == LONG5)
		set64(0x1000, 0x2000 | P | W | U);
	else
		sr.cr3 = mode == LONG4 ? 0x2000 : 0x3000;
	if (mode >= LONG4)
		set64(0x2000, 0x3000 | P | W | U);
	set64(0x3000, 0x4000 | P | (mode >= LONG4 ? W | U : 0));
	set64(0x4000, 0x5000 | P | W | U);
	set64(0x5000, leaf);
}

static int go(uint64_t gva, uint32_t access)
{
	memset(&fault, 0, sizeof(fault));
	gpa = ~0ULL;
	return cleave_walk(&w, gva, access, &gpa, &fault, NULL);
}

static void expect_pf(uint64_t gva, uint32_t access, uint32_t code)
{
	CHECK_EQ(go(gva, access), -EFAULT);
	CHECK_EQ(fault.vector, 14);
	CHECK_EQ(fault.error_code, code);
	CHECK_EQ(fault.payload, gva);
	CHECK_EQ(fault.flags, CLEAVE_EVENT_ERROR | CLEAVE_EVENT_PAYLOAD);
}

UNIT_TEST(no_paging)
{
	setup(LEGACY);
	sr.cr0 = X86_CR0_PE;
	CHECK_EQ(go(0x123456789abULL, CLEAVE_WALK_WRITE), 0);
	CHECK_EQ(gpa, 0x456789ab);
}

UNIT_TEST(each_mode_4k_sets_accessed_and_dirty)
{
	for (enum mode m = PAE; m <= LONG5; m++) {
		setup(m);
		tables(m, 0xabcde000 | P | W | U);
		CHECK_EQ(go(0x123, 0), 0);
		CHECK_EQ(gpa, 0xabcde123);
		CHECK_EQ(get64(0x5000), 0xabcde000 | P | W | U | A);
		CHECK_EQ(get64(0x4000) & A, A);
		CHECK_EQ(get64(0x3000) & A, m == PAE ? 0 : A);
		CHECK_EQ(go(0x123, CLEAVE_WALK_WRITE | CLEAVE_WALK_USER), 0);
		CHECK_EQ(get64(0x5000) & D, D);
		CHECK_EQ(get64(0x4000) & D, 0);
	}
}

UNIT_TEST(legacy_4k_4m_pse36)
{
	setup(LEGACY);
	set32(0x1000 + 4 * 1, 0x2000 | P | W | U);
	set32(0x2000 + 4 * 3, 0x77000 | P | W | U);
	CHECK_EQ(go(0x403456, CLEAVE_WALK_USER), 0);
	CHECK_EQ(gpa, 0x77456);
	set32(0x1000 + 4 * 2, 0x40000000 | 0x5 << 13 | P | W | U | PS);
	CHECK_EQ(go(0x812345, 0), 0);
	CHECK_EQ(gpa, 0x540012345ULL);
	set32(0x1000 + 4 * 2, 1 << 21 | P | W | U | PS);
	expect_pf(0x812345, 0, 1 | 8);
	w.phys_bits = 36;
	set32(0x1000 + 4 * 2, 1 << 17 | P | W | U | PS);
	expect_pf(0x812345, 0, 1 | 8);
	sr.cr4 = 0;			/* PS is ignored without PSE */
	set32(0x1000 + 4 * 2, 0x2000 | P | W | U | PS);
	CHECK_EQ(go(0x803001, 0), 0);
	CHECK_EQ(gpa, 0x77001);
}

UNIT_TEST(large_pages)
{
	setup(LONG4);
	tables(LONG4, 0);
	set64(0x4008, 0x40600000 | P | W | U | PS | 1 << 12);	/* PAT is bit 12 */
	CHECK_EQ(go(0x212345, CLEAVE_WALK_WRITE), 0);
	CHECK_EQ(gpa, 0x40612345);
	CHECK_EQ(get64(0x4008) & (A | D), A | D);
	set64(0x4008, 0x40602000 | P | W | U | PS);
	expect_pf(0x212345, 0, 1 | 8);
	set64(0x3008, 0xc0000000 | P | W | U | PS);
	CHECK_EQ(go(0x41234567, 0), 0);
	CHECK_EQ(gpa, 0xc1234567);
	set64(0x2000, 0x3000 | P | W | U | PS);
	expect_pf(0x41234567, 0, 1 | 8);
	setup(PAE);
	tables(PAE, 0);
	set64(0x3008, 0x4000 | P | PS);		/* no 1 GiB leaves in PAE: reserved */
	expect_pf(0x41234567, 0, 1 | 8);
}

UNIT_TEST(not_present_codes)
{
	setup(LONG4);
	tables(LONG4, 0);
	expect_pf(0x10, 0, 0);
	expect_pf(0x10, CLEAVE_WALK_WRITE, 2);
	expect_pf(0x10, CLEAVE_WALK_USER, 4);
	expect_pf(0x10, CLEAVE_WALK_USER | CLEAVE_WALK_FETCH, 4 | 16);
	sr.efer &= ~X86_EFER_NXE;
	expect_pf(0x10, CLEAVE_WALK_FETCH, 0);
	sr.cr4 |= X86_CR4_SMEP;
	expect_pf(0x10, CLEAVE_WALK_FETCH, 16);
}

UNIT_TEST(permissions)
{
	setup(LONG4);
	tables(LONG4, 0x9000 | P);			/* supervisor, read-only */
	CHECK_EQ(go(0, 0), 0);
	expect_pf(0, CLEAVE_WALK_USER, 1 | 4);
	expect_pf(0, CLEAVE_WALK_WRITE, 1 | 2);
	sr.cr0 &= ~X86_CR0_WP;
	CHECK_EQ(go(0, CLEAVE_WALK_WRITE), 0);
	CHECK_EQ(get64(0x5000) & D, D);
	expect_pf(0, CLEAVE_WALK_WRITE | CLEAVE_WALK_USER, 1 | 2 | 4);
	set64(0x5000, 0x9000 | P | U);
	CHECK_EQ(go(0, CLEAVE_WALK_USER), 0);
	expect_pf(0, CLEAVE_WALK_WRITE | CLEAVE_WALK_USER, 1 | 2 | 4);
	set64(0x5000, 0x9000 | P | W | U | NX);
	expect_pf(0, CLEAVE_WALK_FETCH | CLEAVE_WALK_USER, 1 | 4 | 16);
	sr.efer &= ~X86_EFER_NXE;
	expect_pf(0, 0, 1 | 8);				/* NX is reserved then */
	/* an upper level denies what the leaf grants */
	setup(LONG4);
	tables(LONG4, 0x9000 | P | W | U);
	set64(0x3000, 0x4000 | P | U);
	expect_pf(0, CLEAVE_WALK_USER | CLEAVE_WALK_WRITE, 1 | 2 | 4);
	set64(0x3000, 0x4000 | P | W | U | NX);
	expect_pf(0, CLEAVE_WALK_FETCH, 1 | 16);
	/* nothing is marked accessed by a walk that faults */
	CHECK_EQ(get64(0x5000) & A, 0);
}

UNIT_TEST(smep_smap)
{
	setup(LONG4);
	tables(LONG4, 0x9000 | P | W | U);
	sr.cr4 |= X86_CR4_SMEP | X86_CR4_SMAP;
	expect_pf(0, CLEAVE_WALK_FETCH, 1 | 16);
	CHECK_EQ(go(0, CLEAVE_WALK_FETCH | CLEAVE_WALK_USER), 0);
	expect_pf(0, 0, 1);
	expect_pf(0, CLEAVE_WALK_WRITE, 1 | 2);
	w.rflags = X86_AC;
	CHECK_EQ(go(0, CLEAVE_WALK_WRITE), 0);
	expect_pf(0, CLEAVE_WALK_IMPLICIT, 1);
	w.rflags = 0;
	CHECK_EQ(go(0, CLEAVE_WALK_USER), 0);
	CHECK_EQ(go(0, CLEAVE_WALK_PEEK), 0);
}

UNIT_TEST(reserved_address_bits)
{
	setup(LONG4);
	tables(LONG4, 1ULL << 40 | 0x9000 | P);
	expect_pf(0, CLEAVE_WALK_USER, 1 | 4 | 8);
	w.phys_bits = 0;
	CHECK_EQ(go(0, 0), 0);
	CHECK_EQ(gpa, 1ULL << 40 | 0x9000);
	setup(PAE);
	tables(PAE, 1ULL << 52 | 0x9000 | P);	/* ignored in long mode, reserved in PAE */
	expect_pf(0, 0, 1 | 8);
	setup(LONG4);
	tables(LONG4, 1ULL << 52 | 0x9000 | P);
	CHECK_EQ(go(0, 0), 0);
	setup(PAE);
	tables(PAE, 0x9000 | P);
	set64(0x3000, 0x4000 | P | W);		/* PDPTE: bit 1 is reserved */
	expect_pf(0, 0, 1 | 8);
}

UNIT_TEST(canonical)
{
	setup(LONG4);
	CHECK_EQ(go(1ULL << 47, 0), -EFAULT);
	CHECK_EQ(fault.vector, 13);
	setup(LONG5);
	expect_pf(1ULL << 47, 0, 0);
	CHECK_EQ(go(1ULL << 56, 0), -EFAULT);
	CHECK_EQ(fault.vector, 13);
}

UNIT_TEST(tables_outside_and_in_rom)
{
	static uint8_t rom[4096] __attribute__((aligned(4096)));
	uint64_t e = 0x9000 | P | W;

	setup(LONG4);
	tables(LONG4, 0);
	set64(0x4000, 0x7ffff000 | P | W);
	CHECK_EQ(go(0, 0), -ENXIO);
	cleave_mem_add(&mem, 0x7ffff000, 4096, rom, CLEAVE_MEM_READONLY);
	memcpy(rom, &e, 8);
	CHECK_EQ(go(5, CLEAVE_WALK_WRITE), 0);
	CHECK_EQ(gpa, 0x9005);
	CHECK(!memcmp(rom, &e, 8));
}

UNIT_TEST(trace)
{
	struct cleave_walk_trace t;

	setup(LONG4);
	tables(LONG4, 0x9000 | P | W);
	CHECK_EQ(cleave_walk(&w, 0, CLEAVE_WALK_WRITE, &gpa, &fault, &t), 0);
	CHECK_EQ(t.count, 4);
	CHECK_EQ(t.width, 8);
	CHECK(t.entry[3] == ram + 0x5000);
	CHECK_EQ(t.value[3], get64(0x5000));
	CHECK_EQ(t.value[0], get64(0x2000));
}

UNIT_TEST(peek_and_memory)
{
	uint8_t buf[8192];

	setup(LONG4);
	tables(LONG4, 0x9000 | P);
	set64(0x5008, 0x7000 | P);
	memset(ram + 0x9000, 0x11, 4096);
	memset(ram + 0x7000, 0x22, 4096);
	CHECK_EQ(cleave_peek(&mem, &sr, 0xff0, buf, 32), 32);
	CHECK_EQ(buf[15], 0x11);
	CHECK_EQ(buf[16], 0x22);
	CHECK_EQ(cleave_peek(&mem, &sr, 0x1ff0, buf, 32), 16);
	CHECK_EQ(get64(0x5000) & A, 0);

	CHECK_EQ(cleave_mem_add(&mem, RAM - 4096, 4096, buf, 0), -EEXIST);
	CHECK_EQ(cleave_mem_add(&mem, ~0ULL - 4095, 8192, buf, 0), -EINVAL);
	CHECK_EQ(cleave_mem_add(&mem, RAM, 0, buf, 0), -EINVAL);
	CHECK_EQ(cleave_mem_add(&mem, RAM, 8192, buf, CLEAVE_MEM_READONLY), 0);
	CHECK(cleave_mem_ptr(&mem, RAM - 4, 8) == NULL);
	CHECK(cleave_mem_ptr(&mem, RAM, 8193) == NULL);
	CHECK(cleave_mem_ptr(&mem, RAM, ~0ULL) == NULL);
	CHECK(cleave_mem_wptr(&mem, RAM, 1) == NULL);
	CHECK_EQ(cleave_mem_write(&mem, RAM - 4, "abcdefgh", 8), 0);
	CHECK(!memcmp(ram + RAM - 4, "abcd", 4) && !memcmp(buf, "efgh", 4));
	CHECK_EQ(cleave_mem_write(&mem, RAM + 8190, "abcd", 4), -EFAULT);
	CHECK_EQ(cleave_mem_read(&mem, ~0ULL - 1, buf, 4), -EFAULT);
}
