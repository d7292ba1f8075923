// SPDX-License-Identifier: GPL-2.0
/* Code, tables and registers of guests that mean harm. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include "host.h"
#include "hostile.h"

/* Behind what guest.h lays out. */
#define GPA_PT		0x100000	/* random page tables, 16 pages */
#define GPA_AREA	0x120000	/* operands of LGDT and the like, to 0x140000 */
#define GPA_PD32	0x140000
#define GPA_PDPT_PAE	0x141000
#define GPA_IDT32	0x142000
#define GPA_TSS2	0x143000	/* one that is not busy, and one of 16 bits */
#define GPA_HANDLERS	(GPA_HANDLER + 0x400)
#define SEL_TSS2	0x50
#define SEL_TSS16	0x60
#define SEL_GATE	0x68		/* a task gate */
#define GDT_LIMIT	0x7f

#define PTE_PS		0x80ull
#define MSR_EFER	0xc0000080

/* ---- numbers ---------------------------------------------------------------- */

static const uint64_t values[] = {
	0, 1, 2, 0x7f, 0x80, 0xff, 0x400, 0xfff, 0x1000, 0x7fff, 0x8000, 0xffff, 0x10000,
	0x7fffffff, 0x80000000, 0xfffff000, 0xffffffff, 0x100000000, 0x7fffffffffff,
	0x800000000000, 0xffff800000000000, 0x8000000000000000, 0x7fffffffffffffff, ~0ull,
	0xd01, 0x500, 0xd00, 0x80000011, 0x80010031, 0xe0000011, 0x60000010, 0x6f8, 0x406f8,
	0x20, 0xa0, 0x2020, 0x40620, 0x0606060606060606, 0x0007040600070406, 0xffff0ff0,
	0xfee00900, 0xfee00d00, 0x12345678,
};

static const uint32_t addresses[] = {
	0, GPA_GDT, GPA_IDT, GPA_TSS, GPA_PML4, GPA_PDPT, GPA_PD, GPA_DATA, GPA_CODE,
	GPA_CODE + 0x1ff8, GPA_STACK, GPA_PT, GPA_AREA, GPA_PD32, GPA_PDPT_PAE, GPA_IDT32,
	GPA_TSS2, RAM_SIZE - 4, RAM_SIZE, HOSTILE_RO_GPA, HOSTILE_RO_GPA + 0xffc,
	HOSTILE_LOST_GPA, HOSTILE_LOST_GPA - 2, 0x60000000, 0xfec00000, 0xfee00000, 0xfee00020,
	0xfee00080, 0xfee000b0, 0xfee000d0, 0xfee000f0, 0xfee00300, 0xfee00310, 0xfee00320,
	0xfee00380, 0xfee003e0, 0xfee00ffc, 0xfffffff0,
};

static const uint32_t msrs[] = {
	0x10, 0x1b, 0x3a, 0x3b, 0x48, 0x49, 0x8b, 0x10b, 0x174, 0x175, 0x176, 0x17a, 0x1a0,
	0x1d9, 0x200, 0x201, 0x250, 0x277, 0x2ff, 0x38f, 0x3f1, 0x480, 0x48b, 0x570, 0x6e0,
	0x802, 0x808, 0x80b, 0x80d, 0x80f, 0x828, 0x830, 0x832, 0x835, 0x838, 0x83e, 0x83f,
	0xda0, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100,
	0xc0000101, 0xc0000102, 0xc0000103, 0xc0000104, 0xc0010010, 0xc0010015, 0xc0010111,
	0xc0010114, 0xc0010115, 0xc0010117, 0xc001011f, 0xc0011029, 0x40000000, 0x40000073,
	0x4b564d00, 0x4b564d01, 0x4b564d04,
};

static const uint16_t selectors[] = {
	0, 3, SEL_CODE32, SEL_DATA, SEL_CODE64, SEL_CODE16, SEL_DATA16, SEL_UCODE64, SEL_UDATA,
	SEL_TSS, SEL_TSS2, SEL_TSS16, SEL_GATE, 0x78, 0x80, 0x0c, 0xfff8, 0xffff,
};

uint64_t hostile_value(struct rng *rng)
{
	switch (rng_below(rng, 6)) {
	case 0:
		return rng_next(rng);
	case 1:
		return 1ull << rng_below(rng, 64);
	case 2:
		return RNG_PICK(rng, addresses) + rng_below(rng, 4096) / 8 * 8;
	case 3:
		return RNG_PICK(rng, addresses);
	default:
		return RNG_PICK(rng, values);
	}
}

/* See spare_qemu() for the one that may be left out. */
static uint32_t choose_msr(const struct hostile *h)
{
	struct rng *rng = h->rng;
	uint32_t msr = RNG_PICK(rng, msrs);

	switch (rng_below(rng, 8)) {
	case 0:
		return rng_next(rng);
	case 1:
		msr += rng_below(rng, 16);
		break;
	case 2:
		return 0x800 + rng_below(rng, 0x40);
	}
	return msr == MSR_EFER && h->tcg && h->bits != 64 ? 0x10 : msr;
}

void hostile_mutate(struct rng *rng, void *words, size_t len, unsigned int times)
{
	while (times--) {
		uint8_t *p = (uint8_t *)words + rng_below(rng, len / 8) * 8;
		uint64_t v;

		memcpy(&v, p, 8);
		if (rng_once_in(rng, 2))
			v ^= 1ull << rng_below(rng, 64);
		else
			v = hostile_value(rng);
		memcpy(p, &v, 8);
	}
}

/* ---- code -------------------------------------------------------------------- */

/*
 * Hexadecimal bytes, and what is put in:
 *   x  66 in 16-bit code: 32-bit operands        y  66 in other code: 16-bit ones
 *   z  67 in 16-bit code: 32-bit addresses       j  a short jump's distance
 *   o, w, i, n  a byte, 2, 4, and an immediate of the operand size
 *   M, V, G, L, S, P  an MSR, a value, an address, a leaf of CPUID (4 bytes),
 *      a selector (of the operand size), a port (2 bytes)
 *   k  ModRM: a control register and EAX          m  ModRM of two registers
 *   rN ModRM: /N and a register      gN  /N and memory at EBX     tN  /N and GPA_AREA
 */
static const struct pattern {
	uint8_t weight;
	uint8_t only;		/* 64: long mode alone, 32: not there; 0: all */
	const char *text;
} patterns[] = {
	{ 20, 0, "xb8V0f22k" }, { 4, 0, "0f22m" }, { 6, 0, "0f20m" }, { 4, 64, "440f22r0" },
	{ 2, 64, "440f20r0" }, { 6, 0, "xb8V0f23r7" }, { 4, 0, "xb8V0f23m" }, { 6, 0, "0f21m" },
	{ 4, 0, "0f06" }, { 4, 0, "0f01r6" }, { 4, 0, "0f01r4" }, { 3, 0, "z0f01g6" },
	{ 20, 0, "xb9M0f32" }, { 24, 0, "xb9MxbaVxb8V0f30" }, { 8, 0, "xb9Mxba00000000xb8V0f30" },
	{ 6, 0, "xb90b080000xba00000000xb8000000000f30" },
	{ 6, 0, "e4o" }, { 6, 0, "e5o" }, { 6, 0, "e6o" }, { 6, 0, "e7o" }, { 4, 0, "ybaPec" },
	{ 4, 0, "ybaPed" }, { 4, 0, "ybaPyed" }, { 4, 0, "ybaPee" }, { 4, 0, "ybaPef" },
	{ 3, 0, "6c" }, { 3, 0, "f36d" }, { 3, 0, "6e" }, { 3, 0, "yf36f" }, { 3, 0, "zf36c" },
	{ 3, 0, "0f01t0" }, { 3, 0, "0f01t1" }, { 4, 0, "0f01t2" }, { 4, 0, "0f01t3" },
	{ 4, 0, "yb8S0f00r3" }, { 4, 0, "yb8S0f00r2" }, { 2, 0, "0f00m" }, { 2, 0, "0f00t6" },
	{ 8, 0, "yb8S8em" }, { 4, 0, "8ed0" }, { 2, 0, "0fb2t0" }, { 2, 32, "c5g1" },
	{ 3, 0, "cf" }, { 2, 64, "48cf" }, { 3, 32, "eanS" }, { 3, 32, "9anS" }, { 3, 0, "ff" "t5" },
	{ 3, 0, "ff" "t3" }, { 2, 0, "cb" }, { 3, 32, "68S68ncb" }, { 2, 64, "6854000000cf" },
	{ 6, 32, "eanS" }, { 4, 0, "68ncd" "o" }, { 2, 64, "6a1868n48cb" },
	{ 12, 0, "f4" }, { 8, 0, "fbf4" }, { 4, 0, "f390" }, { 4, 0, "0f01c8" }, { 4, 0, "0f01c9" },
	{ 4, 0, "z0f01g7" }, { 3, 0, "660f3882t1" }, { 2, 0, "0f08" }, { 3, 0, "0f09" },
	{ 6, 0, "0f20e0x0d000604000f22e0" }, { 3, 0, "xb900000000xba00000000xb8070000000f01d1" },
	{ 3, 0, "xb900000000xba00000000xb8V0f01d1" }, { 2, 0, "0f01d1" }, { 2, 0, "0f01d0" },
	{ 4, 0, "0f33" }, { 3, 0, "0f31" }, { 3, 0, "0f01f9" }, { 2, 0, "f30fc7r7" },
	{ 12, 0, "xb8L0fa2" }, { 3, 0, "xb8Lxb9V0fa2" }, { 12, 0, "cdo" }, { 3, 0, "cc" },
	{ 3, 32, "ce" }, { 1, 0, "f1" }, { 4, 0, "0f05" }, { 3, 0, "0f07" }, { 3, 0, "0f34" },
	{ 3, 0, "0f35" }, { 2, 64, "480f07" }, { 2, 64, "480f35" }, { 3, 64, "0f01f8" },
	{ 3, 0, "f3a4" }, { 3, 0, "f3a5" }, { 3, 0, "f3aa" }, { 3, 0, "f2ae" }, { 2, 0, "a5" },
	{ 2, 0, "acaa" }, { 2, 0, "fd" }, { 2, 0, "fc" }, { 8, 0, "fb" }, { 4, 0, "fa" },
	{ 4, 0, "9c" }, { 4, 0, "xb8V509d" }, { 2, 0, "9d" }, { 2, 0, "68n9d" },
	/* VMX and SVM, SMX, SGX */
	{ 10, 0, "0f01c1" }, { 2, 0, "0f01c2" }, { 2, 0, "0f01c3" }, { 2, 0, "0f01c4" },
	{ 10, 0, "0f01d9" }, { 3, 0, "0f01d8" }, { 2, 0, "0f01da" }, { 2, 0, "0f01db" },
	{ 2, 0, "0f01dc" }, { 2, 0, "0f01dd" }, { 2, 0, "0f01de" }, { 2, 0, "0f01df" },
	{ 2, 0, "0f78m" }, { 2, 0, "0f79m" }, { 2, 0, "0fc7t6" }, { 2, 0, "660fc7t6" },
	{ 2, 0, "f30fc7t6" }, { 2, 0, "0fc7t7" }, { 2, 0, "660f3880t0" }, { 2, 0, "660f3881t0" },
	{ 2, 0, "0f01d4" }, { 2, 0, "0f37" }, { 2, 0, "0f01cf" }, { 2, 0, "0f01d7" },
	{ 2, 0, "0f01c0" }, { 2, 0, "0f01fc" }, { 2, 0, "0f01fd" }, { 2, 0, "0f01o" }, { 2, 0, "0faa" },
	/* extended state */
	{ 2, 0, "0faet0" }, { 2, 0, "0faet1" }, { 2, 0, "0faet4" }, { 2, 0, "0faet5" },
	{ 2, 0, "0faet2" }, { 2, 0, "0fc7t3" }, { 2, 0, "0fc7t5" }, { 2, 64, "f30faer2" },
	{ 2, 64, "f3480faer3" }, { 2, 0, "0fc7r6" }, { 2, 0, "0fc7r7" }, { 2, 0, "dbe3" },
	{ 2, 0, "d9e8" }, { 2, 0, "0f77" }, { 2, 0, "0f58m" }, { 2, 0, "0f01ee" }, { 2, 0, "0f01ef" },
	/* memory wherever EBX says: holes, the APIC, code, page tables */
	{ 16, 0, "xbbGz8bg0" }, { 16, 0, "xbbGz89g0" }, { 6, 0, "xbbGz88g1" }, { 4, 0, "xbbGzc7g0n" },
	{ 4, 0, "xbbGz01g0" }, { 4, 0, "xbbGz87g1" }, { 3, 0, "xbbGz0fb1g1" }, { 3, 0, "xbbGz0fc7g1" },
	{ 3, 0, "xbbGz0fabg1" }, { 3, 0, "xbbGzffg6" }, { 3, 0, "xbbGz8fg0" }, { 3, 0, "xbbGz0f6fg1" },
	{ 3, 0, "xbbGzf30f6fg1" }, { 3, 0, "xbbGzf0ffg0" }, { 3, 0, "xbbGz0fb6g1" },
	{ 3, 0, "xbfGf3aa" }, { 3, 0, "xbeGf3a5" }, { 3, 0, "xbfGf36d" }, { 3, 0, "xbeG6f" },
	{ 3, 0, "xbbGzffg4" }, { 2, 0, "xbbGzffg2" }, { 3, 0, "xbbGz0f01g7" }, { 4, 0, "xbcG" },
	{ 3, 0, "xbbGz0f01g2" }, { 2, 0, "xbbGz0f01g3" }, { 2, 0, "xbbGz0f22d8" }, { 3, 0, "xb8G0f22d8" },
	{ 3, 0, "xb8V50" }, { 3, 0, "58" }, { 2, 0, "ebj" }, { 2, 0, "75j" }, { 2, 0, "e2j" },
	{ 6, 0, "01m" }, { 4, 0, "31m" }, { 4, 0, "xb8V" }, { 3, 0, "xb9V" }, { 2, 0, "0f0b" },
	{ 2, 0, "f7m" }, { 2, 0, "90" }, { 2, 0, "xb9o000000" }, { 2, 0, "0fa2" },
};

struct emit {
	const struct hostile *h;
	uint8_t *p, *end;
};

static void byte(struct emit *e, uint8_t b)
{
	if (e->p < e->end)
		*e->p++ = b;
}

static void number(struct emit *e, uint64_t v, unsigned int size)
{
	for (; size--; v >>= 8)
		byte(e, v);
}

/* ModRM of a direct address: it takes a SIB byte in 64-bit code. */
static void direct(struct emit *e, unsigned int reg)
{
	uint32_t at = GPA_AREA + rng_below(e->h->rng, 0x1000) * 16;

	if (e->h->bits == 16) {
		number(e, 6 | reg << 3, 1);
		number(e, at, 2);
		return;
	}
	byte(e, (e->h->bits == 64 ? 4 : 5) | reg << 3);
	if (e->h->bits == 64)
		byte(e, 0x25);
	number(e, at, 4);
}

static unsigned int nibble(char c)
{
	return c <= '9' ? c - '0' : c - 'a' + 10;
}

static const uint32_t leaves[] = {
	0, 1, 4, 6, 7, 0xa, 0xb, 0xd, 0x12, 0x14, 0x15, 0x1f, 0x40000000, 0x40000001,
	0x80000000, 0x80000001, 0x80000008, 0x8000000a, 0x8000001f, 0x8fffffff, 0xffffffff,
};

/* What a letter stands for. */
static void insert(struct emit *e, char letter, unsigned int digit)
{
	static const uint8_t crs[] = { 0, 0, 2, 3, 3, 4, 4 };
	struct rng *rng = e->h->rng;
	unsigned int operand = e->h->bits == 16 ? 2 : 4;

	switch (letter) {
	case 'x': case 'y': case 'z':
		if ((e->h->bits == 16) == (letter != 'y'))
			byte(e, letter == 'z' ? 0x67 : 0x66);
		break;
	case 'j': byte(e, rng_below(rng, 64) - 40); break;
	case 'o': byte(e, rng_next(rng)); break;
	case 'w': number(e, rng_next(rng), 2); break;
	case 'i': number(e, hostile_value(rng), 4); break;
	case 'n': number(e, rng_once_in(rng, 2) ? rng_below(rng, HOSTILE_CODE_SIZE) : hostile_value(rng), operand); break;
	case 'M': number(e, choose_msr(e->h), 4); break;
	case 'V': number(e, hostile_value(rng), 4); break;
	case 'G': number(e, RNG_PICK(rng, addresses) + (rng_once_in(rng, 3) ? rng_below(rng, 4096) : 0), 4); break;
	case 'L': number(e, RNG_PICK(rng, leaves) + rng_below(rng, 2), 4); break;
	case 'S': number(e, RNG_PICK(rng, selectors), 2); break;
	case 'P': number(e, rng_next(rng), 2); break;
	case 'k': byte(e, 0xc0 | RNG_PICK(rng, crs) << 3); break;
	case 'm': byte(e, 0xc0 | rng_next(rng)); break;
	case 'r': byte(e, 0xc0 | digit << 3 | rng_below(rng, 8)); break;
	case 'g': byte(e, digit << 3 | 3); break;
	case 't': direct(e, digit); break;
	}
}

static void emit(struct emit *e, const char *text)
{
	while (*text) {
		char c = *text++;

		if (strchr("0123456789abcdef", c))
			byte(e, nibble(c) << 4 | nibble(*text++));
		else if (strchr("rgt", c))
			insert(e, c, *text++ - '0');
		else
			insert(e, c, 0);
	}
}

static const struct pattern *pick(const struct hostile *h)
{
	static unsigned int total;
	const struct pattern *p;
	unsigned int n;

	if (!total)
		for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++)
			total += patterns[i].weight;
	n = rng_below(h->rng, total);
	for (p = patterns; n >= p->weight; p++)
		n -= p->weight;
	if (p->only && (p->only == 64) != (h->bits == 64))
		return &patterns[0];
	return p;
}

/*
 * QEMU 7.2 stops for good at ICEBP under single step, and keeps breakpoints by the
 * CPU that a MOV to DR7 ran on: one elsewhere meanwhile crashes it. With a busy TSS,
 * as each VM entry loads it, it aborts ("invalid tss type") where an interrupt or
 * exception leaves privilege 3 for 0 outside long mode. So there is no way to 3 there:
 * IRET, which leads to virtual-8086 mode, SYSRET, SYSEXIT; see also write_segments().
 * LTR takes a null selector there, and the next use of the TSS aborts ("invalid tss").
 * And #VMEXIT from a guest with EFER.LME, but neither CR0.PG nor CR4.PAE, leaves CR0
 * the guest's, with which the host does not go far.
 */
static void spare_qemu(const struct hostile *h, uint8_t *code, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		bool two = i && code[i - 1] == 0x0f, legacy = h->bits != 64;

		if (code[i] == 0xf1 || (two && code[i] == 0x23) || (legacy && code[i] == 0xcf) ||
		    (legacy && two && (code[i] == 0x07 || code[i] == 0x35)))
			code[i] = 0x90;
		if (i > 1 && code[i - 2] == 0x0f && !code[i - 1] && (code[i] & 0x38) == 0x18)
			code[i] ^= 0x08;	/* LLDT */
	}
}

void hostile_spare(bool tcg, struct cleave_regs *r, struct cleave_sregs *s)
{
	if (!tcg || (s->efer & EFER_LMA))
		return;
	r->rflags &= ~(1ull << 17);
	s->ss.ar &= ~CLEAVE_AR_DPL;
	s->efer &= ~(uint64_t)EFER_LME;
}

static void write_code(const struct hostile *h, uint64_t gpa, size_t len)
{
	struct emit e = { h, h->vm->ram + gpa, h->vm->ram + gpa + len - 5 };
	unsigned int junk = rng_once_in(h->rng, 8) ? 1 : 24;

	while (e.p < e.end) {
		if (rng_once_in(h->rng, junk))
			for (int n = rng_below(h->rng, 8); n >= 0; n--)
				byte(&e, rng_next(h->rng));
		else
			emit(&e, pick(h)->text);
	}
	/* Round and round. */
	e.end += 5;
	byte(&e, 0xe9);
	number(&e, -(uint32_t)(e.p + (h->bits == 16 ? 2 : 4) - (h->vm->ram + gpa)), h->bits == 16 ? 2 : 4);
	if (h->tcg)
		spare_qemu(h, h->vm->ram + gpa, len);
}

/* ---- tables -------------------------------------------------------------------- */

/*
 * Handlers go on a byte further; those of exceptions with an error code take it away.
 * The last two are of interrupts: they tell the local APIC in either of its modes.
 */
GUEST(hostile_handlers, 64,
	".code16\n\tpush %bp\n\tmov %sp, %bp\n\tincw 2(%bp)\n\tpop %bp\n\tiret\n\t.balign 16\n\t"
	".code32\n\tincl (%esp)\n\tiret\n\t.balign 16\n\t"
	"add $4, %esp\n\tincl (%esp)\n\tiret\n\t.balign 16\n\t"
	".code64\n\tincq (%rsp)\n\tiretq\n\t.balign 16\n\t"
	"add $8, %rsp\n\tincq (%rsp)\n\tiretq\n\t.balign 16\n\t"
	".code32\n\tincl (%esp)\n\tlret $4\n\t.balign 16\n\t"
	"add $4, %esp\n\tincl (%esp)\n\tlret $4\n\t.balign 16\n\t"
	".code64\n\tpush %rax\n\tpush %rcx\n\tpush %rdx\n\tmov $0x80b, %ecx\n\txor %eax, %eax\n\t"
	"cdq\n\twrmsr\n\tpop %rdx\n\tpop %rcx\n\tpop %rax\n\tiretq\n\t.balign 32\n\t"
	"push %rbx\n\tmov $0xfee000b0, %ebx\n\tmovl $0, (%rbx)\n\tpop %rbx\n\tiretq\n\t");

#define HANDLER32	(GPA_HANDLERS + 16)
#define HANDLER64	(GPA_HANDLERS + 48)
#define HANDLER64_EOI	(GPA_HANDLERS + 112)	/* and 32 bytes behind it */
#define HANDLER32_LRET	(GPA_HANDLERS + 80)	/* see spare_qemu() */

static bool has_error_code(unsigned int vector)
{
	return vector < 32 && 0x60227d00u >> vector & 1;
}

static void gate32(struct vm *vm, unsigned int vector, uint16_t sel, uint32_t handler, uint8_t type)
{
	uint64_t *idt = (uint64_t *)(vm->ram + GPA_IDT32);

	idt[vector] = (handler & 0xffff) | (uint64_t)sel << 16 | (uint64_t)type << 40 |
		      (uint64_t)(handler >> 16) << 48;
}

static void write_idts(const struct hostile *h)
{
	struct rng *rng = h->rng;

	for (unsigned int i = 0; i < 256; i++) {
		uint32_t error = has_error_code(i) * 16, handler32 = h->tcg ? HANDLER32_LRET : HANDLER32;
		uint32_t code = GPA_CODE + rng_below(rng, HOSTILE_CODE_SIZE);
		bool odd = rng_once_in(rng, 8);

		vm_gate(h->vm, i, odd ? code : i >= 32 ? HANDLER64_EOI + i % 2 * 32 : HANDLER64 + error, odd ? rng_below(rng, 3) : 0,
			rng_once_in(rng, 2) ? 3 : 0);
		gate32(h->vm, i, odd ? RNG_PICK(rng, selectors) : SEL_CODE32, handler32 + error, 0x8e);
		if (odd ? rng_once_in(rng, 2) : !h->tcg && i >= 32 && i % 4 == 0)
			gate32(h->vm, i, SEL_TSS2, 0, 0xe5);
		vm_real_vector(h->vm, i, odd ? GPA_CODE >> 4 : GPA_HANDLERS >> 4,
			       odd ? code - GPA_CODE : 0);
	}
}

static void write_segments(const struct hostile *h)
{
	uint64_t *gdt = (uint64_t *)(h->vm->ram + GPA_GDT);
	uint32_t *tss = (uint32_t *)(h->vm->ram + GPA_TSS2);

	gdt[SEL_TSS2 / 8] = 0x0000890000000067 | (uint64_t)(GPA_TSS2 & 0xffff) << 16 |
			    (uint64_t)(GPA_TSS2 >> 16) << 32;
	gdt[SEL_TSS2 / 8 + 1] = 0;
	gdt[SEL_TSS16 / 8] = 0x000081000000002b | (uint64_t)(GPA_TSS2 & 0xffff) << 16 |
			     (uint64_t)(GPA_TSS2 >> 16) << 32;
	gdt[SEL_GATE / 8] = 0x0000e50000000000 | (uint64_t)SEL_TSS2 << 16;
	for (int i = 14; i < 16 && !h->tcg; i++)
		gdt[i] = rng_next(h->rng);
	for (int i = 0; i < 26; i++)
		tss[i] = hostile_value(h->rng);
	tss[7] = GPA_PD32;
	tss[8] = GPA_CODE;
	tss[18] = tss[20] = tss[21] = SEL_DATA;
	tss[19] = SEL_CODE32;
	if (!h->tcg || h->bits == 64)
		return;
	tss[9] = 2;
	gdt[SEL_CODE32 / 8] = 0x00419b0000003fff;	/* what is beyond is not run */
	gdt[SEL_DATA / 8] = 0x00ce93000000ffff;		/* no IRET, when run */
	gdt[SEL_UCODE64 / 8] = gdt[SEL_UDATA / 8] = 0;
}

/* Somewhere, of any rights, with bits that are reserved now and then. */
static uint64_t random_entry(struct rng *rng)
{
	uint64_t e = hostile_value(rng) & ~0xfffull;

	if (rng_once_in(rng, 2))
		e = GPA_PT + rng_below(rng, 16) * 0x1000;
	e |= rng_below(rng, 0x1000) | !rng_once_in(rng, 4);
	return rng_once_in(rng, 8) ? e | rng_next(rng) << 32 : e & 0x80000000ffffffff;
}

static void write_page_tables(const struct hostile *h)
{
	struct rng *rng = h->rng;
	uint64_t *pt = (uint64_t *)(h->vm->ram + GPA_PT), *pml4 = (uint64_t *)(h->vm->ram + GPA_PML4);
	uint64_t *pdpt = (uint64_t *)(h->vm->ram + GPA_PDPT_PAE);
	uint32_t *pd32 = (uint32_t *)(h->vm->ram + GPA_PD32);

	for (uint32_t i = 0; i < 1024; i++)
		pd32[i] = i << 22 | PTE_PS | 7;
	for (uint32_t i = 0; i < 4; i++)
		pdpt[i] = (GPA_PD + i * 0x1000) | 1;
	for (uint32_t i = 0; i < 16 * 512; i++)
		pt[i] = i & 64 ? random_entry(rng) : ((uint64_t)i << 12) | 7;
	/* The lowest 2 MiB stay, or nothing would run. */
	for (unsigned int n = rng_below(rng, 64); n; n--) {
		pml4[rng_once_in(rng, 8) ? 1 + rng_below(rng, 511) : 512 + 1 + rng_below(rng, 3)] = random_entry(rng);
		((uint64_t *)(h->vm->ram + GPA_PD))[1 + rng_below(rng, 2047)] = random_entry(rng);
		pd32[1 + rng_below(rng, 1023)] = random_entry(rng);
	}
	if (rng_once_in(rng, 8))
		pdpt[1 + rng_below(rng, 3)] = random_entry(rng);
	if (rng_once_in(rng, 8))	/* in small pages, of which some are away */
		((uint64_t *)(h->vm->ram + GPA_PD))[0] = GPA_PT | 7;
}

void hostile_memory(struct hostile *h)
{
	static const unsigned int bits[] = { 16, 32, 64 };

	if (h->mode == HOSTILE_WILD)
		h->mode = rng_below(h->rng, 3);
	h->bits = bits[h->mode];
	vm_tables(h->vm);
	GUEST_LOAD(h->vm, GPA_HANDLERS, hostile_handlers);
	rng_fill(h->rng, h->vm->ram + GPA_AREA, 0x400);
	for (uint32_t gpa = GPA_AREA; gpa < GPA_AREA + 0x10000; gpa += 8)
		*(uint64_t *)(h->vm->ram + gpa) = hostile_value(h->rng);
	write_segments(h);
	write_page_tables(h);
	write_idts(h);
	write_code(h, GPA_CODE, HOSTILE_CODE_SIZE);
	if (h->tcg && h->bits == 32)	/* all that its code segment has */
		spare_qemu(h, h->vm->ram, GPA_CODE);
}

/* ---- registers ------------------------------------------------------------------- */

static struct cleave_segment segment(uint16_t sel, uint64_t base, uint32_t limit, uint32_t ar)
{
	return (struct cleave_segment){ .selector = sel, .base = base, .limit = limit, .ar = ar };
}

static void data_segments(struct cleave_sregs *s, struct cleave_segment seg)
{
	s->ds = s->es = s->fs = s->gs = s->ss = seg;
}

static void to_real(const struct hostile *h, struct vcpu *vcpu)
{
	struct cleave_state st;

	vcpu_real(vcpu, GPA_CODE >> 4, 0);
	if (rng_once_in(h->rng, 2))
		return;
	/* With the limits of protected mode, so that all addresses are in reach. */
	state_get(vcpu, CLEAVE_SREGS, &st);
	data_segments(&st.sregs, segment(0, 0, 0xffffffff, 0x8093));
	state_must_set(vcpu, CLEAVE_SREGS, &st);
}

static void to_protected(const struct hostile *h, struct vcpu *vcpu)
{
	unsigned int kind = rng_below(h->rng, h->tcg ? 6 : 8);
	struct cleave_state st;

	vcpu_protected(vcpu, GPA_CODE);
	state_get(vcpu, CLEAVE_REGS | CLEAVE_SREGS, &st);
	st.sregs.gdt.limit = GDT_LIMIT;
	if (h->tcg)
		st.sregs.cs = segment(SEL_CODE32, 0, 0x13fff, 0x409b);
	st.sregs.idt = (struct cleave_dtable){ .base = GPA_IDT32, .limit = 0x7ff };
	if (kind >= 2) {
		st.sregs.cr0 |= CR0_PG | CR0_WP;
		st.sregs.cr3 = kind & 1 ? GPA_PDPT_PAE : GPA_PD32;
		st.sregs.cr4 = kind & 1 ? CR4_PAE : 0x10;
	}
	if (kind == 7) {	/* virtual-8086 mode, 16-bit code or not */
		st.regs.rflags |= 1 << 17 | 2;
		st.regs.rip = rng_below(h->rng, 0x1000);
		st.sregs.cs = segment(GPA_CODE >> 4, GPA_CODE, 0xffff, 0xf3);
		data_segments(&st.sregs, segment(GPA_CODE >> 4, GPA_CODE, 0xffff, 0xf3));
	} else if (kind == 6) {
		st.sregs.cs = segment(SEL_CODE32 | 3, 0, 0xffffffff, 0xc0fb);
		data_segments(&st.sregs, segment(SEL_DATA | 3, 0, 0xffffffff, 0xc0f3));
	}
	state_must_set(vcpu, CLEAVE_REGS | CLEAVE_SREGS, &st);
}

static void to_long(const struct hostile *h, struct vcpu *vcpu)
{
	unsigned int kind = rng_below(h->rng, 8);
	struct cleave_state st;

	vcpu_long(vcpu, GPA_CODE);
	state_get(vcpu, CLEAVE_SREGS, &st);
	st.sregs.gdt.limit = GDT_LIMIT;
	if (kind == 0)
		st.sregs.cs = segment(SEL_CODE32, 0, 0xffffffff, 0xc09b);
	if (kind == 1 || kind == 2) {
		st.sregs.cs = segment(SEL_UCODE64, 0, 0xffffffff, 0xa0fb);
		data_segments(&st.sregs, segment(SEL_UDATA, 0, 0xffffffff, 0xc0f3));
	}
	state_must_set(vcpu, CLEAVE_SREGS, &st);
}

static void random_regs(const struct hostile *h, struct cleave_state *st)
{
	static const uint64_t flags[] = { 0x200, 0x200, 0x3000, 0x100, 0x40000, 0x10000, 0x4000, 0x8d5 };
	struct rng *rng = h->rng;
	uint64_t *gpr = (uint64_t *)&st->regs, rsp = st->regs.rsp;

	for (int i = 0; i < 16; i++)
		gpr[i] = hostile_value(rng);
	if (!rng_once_in(rng, 8))
		st->regs.rsp = rsp;
	if (rng_once_in(rng, 2))
		st->regs.rcx &= 0xff;
	st->regs.rip += rng_below(rng, HOSTILE_CODE_SIZE);
	if (h->bits == 64 && rng_once_in(rng, 16))
		st->regs.rip = HOSTILE_LOST_GPA;
	for (int i = rng_below(rng, 4); i; i--)
		st->regs.rflags |= RNG_PICK(rng, flags);
}

void hostile_events(struct rng *rng, struct cleave_events *ev)
{
	memset(ev, 0, sizeof(*ev));
	if (rng_once_in(rng, 2))
		ev->exception = (struct cleave_event){
			.type = CLEAVE_EVENT_EXCEPTION, .vector = rng_below(rng, 32),
			.error_code = rng_once_in(rng, 2) ? rng_below(rng, 0x10000) : 0,
			.flags = rng_below(rng, 4), .payload = rng_once_in(rng, 2) ? hostile_value(rng) : 0,
		};
	if (rng_once_in(rng, 3))
		ev->injected = (struct cleave_event){
			.type = rng_below(rng, 4), .vector = rng_next(rng), .flags = rng_below(rng, 2),
			.error_code = rng_once_in(rng, 2) ? hostile_value(rng) : 0,
		};
	ev->nmi_pending = rng_below(rng, 3);
	ev->nmi_masked = rng_below(rng, 2);
	ev->shadow = rng_below(rng, 4);
	ev->extint = rng_below(rng, 2);
	ev->extint_vector = rng_next(rng);
	if (rng_once_in(rng, 16))
		hostile_mutate(rng, ev, sizeof(*ev), 1);
}

static void mutate_state(const struct hostile *h, struct cleave_state *st, uint64_t groups)
{
	unsigned int times = rng_below(h->rng, 4);

	if (groups & CLEAVE_REGS)
		hostile_mutate(h->rng, &st->regs, sizeof(st->regs), times / 2);
	if (groups & CLEAVE_SREGS)
		hostile_mutate(h->rng, &st->sregs, sizeof(st->sregs), times);
	if (groups & CLEAVE_DEBUG)
		hostile_mutate(h->rng, &st->debug, sizeof(st->debug), 4);
	if (groups & CLEAVE_XCRS)
		st->xcrs.xcr0 = rng_once_in(h->rng, 4) ? hostile_value(h->rng) : 1 | rng_below(h->rng, 8);
	if (groups & CLEAVE_EVENTS)
		hostile_events(h->rng, &st->events);
	if (groups & CLEAVE_LAPIC)
		hostile_mutate(h->rng, &st->lapic, sizeof(st->lapic), times);
	if (groups & CLEAVE_MP)
		st->mp.state = rng_below(h->rng, 6);
	if (h->tcg)	/* see spare_qemu() */
		st->debug.dr7 &= ~0xffull;
	hostile_spare(h->tcg, &st->regs, &st->sregs);
}

static void set_others(const struct hostile *h, struct vcpu *vcpu, uint64_t *refused)
{
	struct rng *rng = h->rng;
	struct cleave_fpu *fpu;

	for (int i = rng_below(rng, 4); i; i--)
		*refused += msr_set(vcpu, choose_msr(h), hostile_value(rng)) != 0;
	if (!rng_once_in(rng, 8))
		return;
	fpu = malloc(sizeof(*fpu));
	MUST(ioctl(vcpu->fd, CLEAVE_GET_FPU, fpu));
	hostile_mutate(rng, fpu, rng_once_in(rng, 2) ? 1024 : 416, rng_below(rng, 16));
	*refused += xioctl(vcpu->fd, CLEAVE_SET_FPU, fpu) != 0;
	free(fpu);
}

void hostile_state(struct hostile *h, struct vcpu *vcpu, uint64_t *refused)
{
	const uint64_t all = CLEAVE_REGS | CLEAVE_SREGS | CLEAVE_DEBUG | CLEAVE_XCRS |
			     CLEAVE_EVENTS | CLEAVE_MP | CLEAVE_LAPIC;
	struct cleave_state st = { .mp.state = CLEAVE_MP_RUNNABLE }, *now;
	struct cleave_events none = { .injected.type = CLEAVE_EVENT_NONE };

	st.events = none;
	state_must_set(vcpu, CLEAVE_EVENTS | CLEAVE_MP, &st);
	if (h->mode == HOSTILE_REAL)
		to_real(h, vcpu);
	else if (h->mode == HOSTILE_PROTECTED)
		to_protected(h, vcpu);
	else
		to_long(h, vcpu);
	if (rng_once_in(h->rng, 2))
		vcpu_x2apic(vcpu);
	else
		lapic_write(vcpu, 0xf0, 0x1ff);
	now = malloc(sizeof(*now));
	state_get(vcpu, all, now);
	random_regs(h, now);
	*refused += state_set(vcpu, CLEAVE_REGS, now) != 0;
	for (int i = rng_below(h->rng, 4); i; i--) {
		uint64_t groups = rng_next(h->rng) & (rng_next(h->rng) | CLEAVE_SREGS) & all;

		state_get(vcpu, all, now);
		if (!rng_once_in(h->rng, 8))
			groups &= ~CLEAVE_MP;
		mutate_state(h, now, groups);
		*refused += state_set(vcpu, groups, now) != 0;
	}
	free(now);
	set_others(h, vcpu, refused);
}
