// SPDX-License-Identifier: GPL-2.0
/* The length and registers of intercepted instructions, and plain stores: kmod/insn.c. */
#include <Zydis/Zydis.h>
#include "unit.h"
#include "insn.c"

/* Parses a copy that ends where the bytes end, so that reading on is caught. */
static bool parse(const char *bytes, unsigned int n, bool code64, struct clv_insn *in)
{
	u8 *buf = malloc(n ? n : 1);
	bool ok;

	if (!buf)
		abort();
	memcpy(buf, bytes, n);
	memset(in, 0xa5, sizeof(*in));
	ok = clv_insn_parse(buf, n, code64, in);
	free(buf);
	return ok;
}

#define PARSE(s, code64, in)	parse(s, sizeof(s) - 1, code64, in)

static void expect(const char *bytes, unsigned int n, bool code64, u32 opcode, int len)
{
	struct clv_insn in;

	REQUIRE(parse(bytes, n, code64, &in));
	CHECK_EQ(in.opcode, opcode);
	CHECK_EQ(in.len, len);
}

#define EXPECT(s, code64, opcode)	expect(s, sizeof(s) - 1, code64, opcode, sizeof(s) - 1)

UNIT_TEST(plain)
{
	EXPECT("\xf4", true, CLV_OP_HLT);
	EXPECT("\x0f\x06", true, CLV_OP_CLTS);
	EXPECT("\x0f\x08", true, CLV_OP_INVD);
	EXPECT("\x0f\x09", false, CLV_OP_WBINVD);
	EXPECT("\x0f\x30", true, CLV_OP_WRMSR);
	EXPECT("\x0f\x32", true, CLV_OP_RDMSR);
	EXPECT("\x0f\xa2", true, CLV_OP_CPUID);
	EXPECT("\x0f\x01\xd1", true, CLV_OP_XSETBV);
	EXPECT("\x0f\x01\xd9", true, CLV_OP_VMMCALL);
	EXPECT("\x0f\x01\xd8", true, CLV_OP_VMRUN);
	EXPECT("\x0f\x01\xdf", false, CLV_OP_INVLPGA);
	EXPECT("\x0f\x01\xc8", true, CLV_OP_MONITOR);
	EXPECT("\x0f\x01\xc9", true, CLV_OP_MWAIT);
}

UNIT_TEST(length_ignores_what_follows)
{
	expect("\x0f\xa2\x0f\xa2\x90", 5, true, CLV_OP_CPUID, 2);
	expect("\xf4\xcc", 2, true, CLV_OP_HLT, 1);
	expect("\x0f\x01\xd9\xc3", 4, true, CLV_OP_VMMCALL, 3);
}

UNIT_TEST(prefixes)
{
	EXPECT("\x66\x0f\xa2", true, CLV_OP_CPUID);
	EXPECT("\x2e\x36\x3e\x26\x64\x65\x66\x67\x0f\xa2", false, CLV_OP_CPUID);
	EXPECT("\xf3\x0f\x09", true, CLV_OP_WBINVD);
	EXPECT("\xf3\xf2\xf4", true, CLV_OP_HLT);
}

/* 13 prefixes and a two-byte opcode are 15; one more is #GP, never intercepted. */
UNIT_TEST(longest)
{
	static const char thirteen[] =
		"\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x0f\xa2";
	char buf[16] = "\x66";
	struct clv_insn in;

	expect(thirteen, 15, true, CLV_OP_CPUID, 15);
	memcpy(buf + 1, thirteen, 15);
	CHECK(!parse(buf, 16, true, &in));
}

UNIT_TEST(rex)
{
	struct clv_insn in;

	EXPECT("\x48\x0f\xa2", true, CLV_OP_CPUID);
	EXPECT("\x4f\xf4", true, CLV_OP_HLT);
	/* Outside 64-bit mode 40 to 4f are INC and DEC. */
	CHECK(!PARSE("\x48\x0f\xa2", false, &in));
	/* Only the last REX, right before the opcode, counts. */
	REQUIRE(PARSE("\x41\x0f\x22\xc0", true, &in));
	CHECK_EQ(in.rm, 8);
	REQUIRE(PARSE("\x41\x66\x0f\x22\xc0", true, &in));
	CHECK_EQ(in.rm, 0);
	CHECK_EQ(in.len, 5);
	REQUIRE(PARSE("\x45\x41\x0f\x22\xc0", true, &in));
	CHECK_EQ(in.rm, 8);
	REQUIRE(PARSE("\x41\x48\x0f\x22\xc0", true, &in));
	CHECK_EQ(in.rm, 0);
}

UNIT_TEST(mov_cr)
{
	struct clv_insn in;
	char buf[4] = "\x40\x0f\x20";
	int cr, gpr;

	for (cr = 0; cr < 16; cr++) {
		for (gpr = 0; gpr < 16; gpr++) {
			buf[0] = 0x40 | (cr & 8) >> 1 | (gpr & 8) >> 3;
			buf[2] = 0x20;
			buf[3] = 0xc0 | (cr & 7) << 3 | (gpr & 7);
			REQUIRE(parse(buf, 4, true, &in));
			CHECK_EQ(in.opcode, CLV_OP_CR_READ);
			CHECK_EQ(in.rm, gpr);
			CHECK_EQ(in.len, 4);
			buf[2] = 0x22;
			REQUIRE(parse(buf, 4, true, &in));
			CHECK_EQ(in.opcode, CLV_OP_CR_WRITE);
			CHECK_EQ(in.rm, gpr);
		}
	}
	/* ModRM.mod is ignored: no SIB, no displacement. */
	REQUIRE(PARSE("\x0f\x20\x04", true, &in));
	CHECK_EQ(in.len, 3);
	CHECK_EQ(in.rm, 4);
	REQUIRE(PARSE("\x0f\x22\x9d", false, &in));
	CHECK_EQ(in.len, 3);
	CHECK_EQ(in.rm, 5);
}

UNIT_TEST(mov_cr8_by_lock)
{
	struct clv_insn in;

	REQUIRE(PARSE("\xf0\x0f\x20\xc1", false, &in));
	CHECK_EQ(in.rm, 1);
	CHECK_EQ(in.len, 4);
	REQUIRE(PARSE("\xf0\x0f\x22\xc3", true, &in));
	CHECK_EQ(in.rm, 3);
}

UNIT_TEST(lmsw)
{
	struct clv_insn in;
	char buf[4] = "\x41\x0f\x01";
	int rm;

	for (rm = 0; rm < 8; rm++) {
		buf[3] = 0xf0 | rm;
		REQUIRE(parse(buf + 1, 3, false, &in));
		CHECK_EQ(in.opcode & ~7U, CLV_OP_LMSW);
		CHECK_EQ(in.rm, rm);
		CHECK_EQ(in.len, 3);
		REQUIRE(parse(buf, 4, true, &in));
		CHECK_EQ(in.opcode & ~7U, CLV_OP_LMSW);
		CHECK_EQ(in.rm, 8 + rm);
		CHECK_EQ(in.len, 4);
	}
	/* With memory: told apart, length unknown. */
	REQUIRE(PARSE("\x0f\x01\x30", true, &in));
	CHECK_EQ(in.opcode, CLV_OP_GROUP7_MEM);
	REQUIRE(PARSE("\x0f\x01\x74\x24\x08", true, &in));
	CHECK_EQ(in.opcode, CLV_OP_GROUP7_MEM);
	/* SMSW %eax is of the group but no LMSW. */
	REQUIRE(PARSE("\x0f\x01\xe0", true, &in));
	CHECK((in.opcode & ~7U) != CLV_OP_LMSW);
}

UNIT_TEST(cut_short)
{
	static const char *const whole[] = {
		"\x0f\xa2", "\x66\x0f\x32", "\x0f\x01\xd9", "\x41\x0f\x22\xc0", "\xf0\x0f\x20\xc0",
		"\xf3\x90",
	};
	struct clv_insn in;

	for (unsigned int i = 0; i < ARRAY_SIZE(whole); i++)
		for (unsigned int n = 0; n < strlen(whole[i]); n++)
			CHECK(!parse(whole[i], n, true, &in));
	CHECK(!parse("", 0, true, &in));
	CHECK(!PARSE("\x66\x66", true, &in));
	CHECK(!PARSE("\x48", true, &in));
}

UNIT_TEST(unknown)
{
	struct clv_insn in;

	CHECK(!PARSE("\xcc", true, &in));
	CHECK(!PARSE("\x0f\x0b", true, &in));
	CHECK(!PARSE("\x0f\x38\xf1\xc0", true, &in));
	CHECK(!PARSE("\xc4\xe1\x78\x77", true, &in));
	CHECK(!PARSE("\x62\xf1\x7c\x48", true, &in));
	CHECK(!PARSE("\x00\x00", true, &in));
}

/* Every three bytes: never reads on, never longer than what there is. */
UNIT_TEST(all_short_ones)
{
	struct clv_insn in;
	u8 buf[3];

	for (u32 i = 0; i < 1U << 24; i++) {
		buf[0] = i;
		buf[1] = i >> 8;
		buf[2] = i >> 16;
		if (!clv_insn_parse(buf, sizeof(buf), i & 1, &in))
			continue;
		if (!in.len || in.len > 3 || in.rm > 15) {
			unit_fail("%02x %02x %02x: len %u", buf[0], buf[1], buf[2], in.len);
			return;
		}
	}
}

/* ---- stores ---------------------------------------------------------------- */

static struct cleave_regs regs = {
	0x1122334455667788, 0x99aabbccddeeff01, 0x0203040506070809, 0x0a0b0c0d0e0f1011,
	0xffffc90000123458, 0x1213141516171819, 0x1a1b1c1d1e1f2021, 0x2223242526272829,
	0x3031323334353637, 0x38393a3b3c3d3e3f, 0x4041424344454647, 0x48494a4b4c4d4e4f,
	0x5051525354555657, 0x58595a5b5c5d5e5f, 0x6061626364656667, 0x68696a6b6c6d6e6f,
	.rip = 0xffffffff81001234,
};

static bool store(const u8 *bytes, unsigned int n, struct clv_store *st)
{
	u8 *buf = malloc(n ? n : 1);
	bool ok;

	if (!buf)
		abort();
	memcpy(buf, bytes, n);
	memset(st, 0xa5, sizeof(*st));
	ok = clv_store_parse(buf, n, &regs, st);
	free(buf);
	return ok;
}

static u64 zydis_reg(ZydisRegister r)
{
	u64 val = ((u64 *)&regs)[ZydisRegisterGetId(ZydisRegisterGetLargestEnclosing(
					ZYDIS_MACHINE_MODE_LONG_64, r))];

	return r >= ZYDIS_REGISTER_AH && r <= ZYDIS_REGISTER_BH ? val >> 8 : val;
}

/* What Zydis says of the bytes. False: it is no store that clv_store_parse() is to know. */
static bool reference(const u8 *bytes, unsigned int n, struct clv_store *st)
{
	static ZydisDecoder d;
	ZydisDecodedOperand op[ZYDIS_MAX_OPERAND_COUNT];
	const ZydisDecodedOperandMem *m = &op[0].mem;
	ZydisDecodedInstruction in;

	if (!d.machine_mode)
		ZydisDecoderInit(&d, ZYDIS_MACHINE_MODE_LONG_64, ZYDIS_STACK_WIDTH_64);
	if (ZYAN_FAILED(ZydisDecoderDecodeFull(&d, bytes, n, &in, op)) ||
	    in.mnemonic != ZYDIS_MNEMONIC_MOV || op[0].type != ZYDIS_OPERAND_TYPE_MEMORY ||
	    (in.opcode != 0x88 && in.opcode != 0x89 && in.opcode != 0xc6 && in.opcode != 0xc7))
		return false;
	for (int i = 0; i < in.raw.prefix_count; i++) {
		u8 b = in.raw.prefixes[i].value;

		if (b == 0x64 || b == 0x65 || b == 0x67 || b >= 0xf0)
			return false;
	}
	st->len = in.length;
	st->size = op[0].size / 8;
	st->addr = m->disp.value;
	if (m->base == ZYDIS_REGISTER_RIP)
		st->addr += regs.rip + in.length;
	else if (m->base != ZYDIS_REGISTER_NONE)
		st->addr += zydis_reg(m->base);
	if (m->index != ZYDIS_REGISTER_NONE)
		st->addr += zydis_reg(m->index) * m->scale;
	st->value = op[1].type == ZYDIS_OPERAND_TYPE_REGISTER ? zydis_reg(op[1].reg.value) :
		    op[1].imm.value.u;
	if (st->size < 8)
		st->value &= (1ull << st->size * 8) - 1;
	return true;
}

/* The same answer, of bytes behind which others follow, and of exactly as many as it has. */
static bool same_store(const u8 *bytes, unsigned int n)
{
	struct clv_store st, want;
	bool ours = clv_store_parse(bytes, n, &regs, &st), theirs = reference(bytes, n, &want);

	if (ours != theirs ||
	    (ours && (st.len != want.len || st.size != want.size || st.addr != want.addr ||
		      st.value != want.value))) {
		unit_fail("%02x %02x %02x %02x %02x %02x %02x %02x: %d %d, size %u %u, len %u %u, %llx %llx",
			  bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6],
			  bytes[7], ours, theirs, st.size, want.size, st.len, want.len,
			  (unsigned long long)st.addr, (unsigned long long)want.addr);
		return false;
	}
	return true;
}

/* Each opcode with each ModRM and SIB, each REX, and the prefixes that there are. */
UNIT_TEST(stores_as_zydis_has_them)
{
	static const u8 opcodes[] = { 0x88, 0x89, 0xc6, 0xc7, 0x8a, 0x8b, 0x86, 0xc8, 0xa2, 0x8c };
	static const u8 prefixes[] = { 0, 0x66, 0x67, 0x2e, 0x3e, 0x36, 0x26, 0x64, 0x65, 0xf0,
				       0xf2, 0xf3 };
	unsigned int stores = 0;
	struct clv_store st;

	for (unsigned int p = 0; p < ARRAY_SIZE(prefixes); p++)
		for (unsigned int rex = 0x3f; rex < 0x50; rex++)
			for (unsigned int o = 0; o < ARRAY_SIZE(opcodes); o++)
				for (unsigned int i = 0; i < 0x10000; i += p ? 7 : 1) {
					u8 b[CLV_INSN_MAX] = { 0 };
					unsigned int n = 0;

					if (prefixes[p])
						b[n++] = prefixes[p];
					if (rex >= 0x40)
						b[n++] = rex;
					b[n++] = opcodes[o];
					b[n++] = i;
					b[n++] = i >> 8;
					for (u8 next = 0x83; n < sizeof(b); next += 0x1d)
						b[n++] = next;
					if (!same_store(b, sizeof(b)))
						return;
					if (!clv_store_parse(b, sizeof(b), &regs, &st))
						continue;
					/* All of it, and not a byte less. */
					stores++;
					if (stores % 16)
						continue;
					if (!store(b, st.len, &st) || store(b, st.len - 1, &st)) {
						unit_fail("%02x %02x %02x cut", b[0], b[1], b[2]);
						return;
					}
				}
	CHECK(stores > 1000000);
}

UNIT_TEST(stores_of_random_bytes)
{
	u64 x = 0x9e3779b97f4a7c15;
	u8 b[CLV_INSN_MAX];

	for (unsigned int i = 0; i < 4000000; i++) {
		for (unsigned int j = 0; j < sizeof(b); j++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			b[j] = x >> 24;
		}
		/* Prefixes and stores more often than by chance. */
		b[i & 3] = (x & 1) ? 0x88 | (x >> 8 & 1) : 0xc6 | (x >> 8 & 1);
		if (i & 3)
			b[(i & 3) - 1] = (x & 2) ? 0x40 | (x >> 12 & 15) : b[(i & 3) - 1];
		if (!same_store(b, sizeof(b)))
			return;
	}
}

/* What is written by hand, so that not all rests on one reference. */
UNIT_TEST(stores)
{
	static const struct {
		const char *bytes;
		u8 len, size;
		u64 addr, value;
	} want[] = {
		{ "\x88\x01", 2, 1, 0x99aabbccddeeff01, 0x88 },		/* mov %al, (%rcx) */
		{ "\x88\x21", 2, 1, 0x99aabbccddeeff01, 0x77 },		/* mov %ah, (%rcx) */
		{ "\x40\x88\x21", 3, 1, 0x99aabbccddeeff01, 0x58 },	/* mov %spl, (%rcx) */
		{ "\x66\x89\x01", 3, 2, 0x99aabbccddeeff01, 0x7788 },
		{ "\x89\x01", 2, 4, 0x99aabbccddeeff01, 0x55667788 },
		{ "\x48\x89\x01", 3, 8, 0x99aabbccddeeff01, 0x1122334455667788 },
		{ "\xc6\x01\x80", 3, 1, 0x99aabbccddeeff01, 0x80 },
		{ "\x66\xc7\x01\x34\x92", 5, 2, 0x99aabbccddeeff01, 0x9234 },
		{ "\x48\xc7\x01\xfe\xff\xff\xff", 7, 8, 0x99aabbccddeeff01, -2 },
		/* movl $1, 0x10(%rip) */
		{ "\xc7\x05\x10\x00\x00\x00\x01\x00\x00\x00", 10, 4, 0xffffffff8100124e, 1 },
		/* mov %r8d, -8(%rsp,%r9,4) */
		{ "\x46\x89\x44\x8c\xf8", 5, 4,
		  0xffffc90000123458 + 4 * 0x38393a3b3c3d3e3full - 8, 0x34353637 },
		/* mov %eax, 0xfee000b0 is not to be had, but -0x11fff50 is */
		{ "\x89\x04\x25\xb0\x00\xe0\xfe", 7, 4, 0xfffffffffee000b0, 0x55667788 },
	};
	struct clv_store st;

	for (unsigned int i = 0; i < ARRAY_SIZE(want); i++) {
		REQUIRE(store((const u8 *)want[i].bytes, want[i].len, &st));
		CHECK_EQ(st.len, want[i].len);
		CHECK_EQ(st.size, want[i].size);
		CHECK_EQ(st.addr, want[i].addr);
		CHECK_EQ(st.value, want[i].value);
	}
}
