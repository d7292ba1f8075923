// SPDX-License-Identifier: GPL-2.0
/* The length and registers of intercepted instructions: kmod/svm/insn.c. */
#include "unit.h"
#include "svm/insn.c"

/* Parses a copy that ends where the bytes end, so that reading on is caught. */
static bool parse(const char *bytes, unsigned int n, bool code64, struct svm_insn *in)
{
	u8 *buf = malloc(n ? n : 1);
	bool ok;

	if (!buf)
		abort();
	memcpy(buf, bytes, n);
	memset(in, 0xa5, sizeof(*in));
	ok = svm_insn_parse(buf, n, code64, in);
	free(buf);
	return ok;
}

#define PARSE(s, code64, in)	parse(s, sizeof(s) - 1, code64, in)

static void expect(const char *bytes, unsigned int n, bool code64, u32 opcode, int len)
{
	struct svm_insn in;

	REQUIRE(parse(bytes, n, code64, &in));
	CHECK_EQ(in.opcode, opcode);
	CHECK_EQ(in.len, len);
}

#define EXPECT(s, code64, opcode)	expect(s, sizeof(s) - 1, code64, opcode, sizeof(s) - 1)

UNIT_TEST(plain)
{
	EXPECT("\xf4", true, SVM_OP_HLT);
	EXPECT("\x0f\x06", true, SVM_OP_CLTS);
	EXPECT("\x0f\x08", true, SVM_OP_INVD);
	EXPECT("\x0f\x09", false, SVM_OP_WBINVD);
	EXPECT("\x0f\x30", true, SVM_OP_WRMSR);
	EXPECT("\x0f\x32", true, SVM_OP_RDMSR);
	EXPECT("\x0f\xa2", true, SVM_OP_CPUID);
	EXPECT("\x0f\x01\xd1", true, SVM_OP_XSETBV);
	EXPECT("\x0f\x01\xd9", true, SVM_OP_VMMCALL);
	EXPECT("\x0f\x01\xd8", true, SVM_OP_VMRUN);
	EXPECT("\x0f\x01\xdf", false, SVM_OP_INVLPGA);
	EXPECT("\x0f\x01\xc8", true, SVM_OP_MONITOR);
	EXPECT("\x0f\x01\xc9", true, SVM_OP_MWAIT);
}

UNIT_TEST(length_ignores_what_follows)
{
	expect("\x0f\xa2\x0f\xa2\x90", 5, true, SVM_OP_CPUID, 2);
	expect("\xf4\xcc", 2, true, SVM_OP_HLT, 1);
	expect("\x0f\x01\xd9\xc3", 4, true, SVM_OP_VMMCALL, 3);
}

UNIT_TEST(prefixes)
{
	EXPECT("\x66\x0f\xa2", true, SVM_OP_CPUID);
	EXPECT("\x2e\x36\x3e\x26\x64\x65\x66\x67\x0f\xa2", false, SVM_OP_CPUID);
	EXPECT("\xf3\x0f\x09", true, SVM_OP_WBINVD);
	EXPECT("\xf3\xf2\xf4", true, SVM_OP_HLT);
}

/* 13 prefixes and a two-byte opcode are 15; one more is #GP, never intercepted. */
UNIT_TEST(longest)
{
	static const char thirteen[] =
		"\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x66\x0f\xa2";
	char buf[16] = "\x66";
	struct svm_insn in;

	expect(thirteen, 15, true, SVM_OP_CPUID, 15);
	memcpy(buf + 1, thirteen, 15);
	CHECK(!parse(buf, 16, true, &in));
}

UNIT_TEST(rex)
{
	struct svm_insn in;

	EXPECT("\x48\x0f\xa2", true, SVM_OP_CPUID);
	EXPECT("\x4f\xf4", true, SVM_OP_HLT);
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
	struct svm_insn in;
	char buf[4] = "\x40\x0f\x20";
	int cr, gpr;

	for (cr = 0; cr < 16; cr++) {
		for (gpr = 0; gpr < 16; gpr++) {
			buf[0] = 0x40 | (cr & 8) >> 1 | (gpr & 8) >> 3;
			buf[2] = 0x20;
			buf[3] = 0xc0 | (cr & 7) << 3 | (gpr & 7);
			REQUIRE(parse(buf, 4, true, &in));
			CHECK_EQ(in.opcode, SVM_OP_CR_READ);
			CHECK_EQ(in.rm, gpr);
			CHECK_EQ(in.len, 4);
			buf[2] = 0x22;
			REQUIRE(parse(buf, 4, true, &in));
			CHECK_EQ(in.opcode, SVM_OP_CR_WRITE);
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
	struct svm_insn in;

	REQUIRE(PARSE("\xf0\x0f\x20\xc1", false, &in));
	CHECK_EQ(in.rm, 1);
	CHECK_EQ(in.len, 4);
	REQUIRE(PARSE("\xf0\x0f\x22\xc3", true, &in));
	CHECK_EQ(in.rm, 3);
}

UNIT_TEST(lmsw)
{
	struct svm_insn in;
	char buf[4] = "\x41\x0f\x01";
	int rm;

	for (rm = 0; rm < 8; rm++) {
		buf[3] = 0xf0 | rm;
		REQUIRE(parse(buf + 1, 3, false, &in));
		CHECK_EQ(in.opcode & ~7U, SVM_OP_LMSW);
		CHECK_EQ(in.rm, rm);
		CHECK_EQ(in.len, 3);
		REQUIRE(parse(buf, 4, true, &in));
		CHECK_EQ(in.opcode & ~7U, SVM_OP_LMSW);
		CHECK_EQ(in.rm, 8 + rm);
		CHECK_EQ(in.len, 4);
	}
	/* With memory: told apart, length unknown. */
	REQUIRE(PARSE("\x0f\x01\x30", true, &in));
	CHECK_EQ(in.opcode, SVM_OP_GROUP7_MEM);
	REQUIRE(PARSE("\x0f\x01\x74\x24\x08", true, &in));
	CHECK_EQ(in.opcode, SVM_OP_GROUP7_MEM);
	/* SMSW %eax is of the group but no LMSW. */
	REQUIRE(PARSE("\x0f\x01\xe0", true, &in));
	CHECK((in.opcode & ~7U) != SVM_OP_LMSW);
}

UNIT_TEST(cut_short)
{
	static const char *const whole[] = {
		"\x0f\xa2", "\x66\x0f\x32", "\x0f\x01\xd9", "\x41\x0f\x22\xc0", "\xf0\x0f\x20\xc0",
		"\xf3\x90",
	};
	struct svm_insn in;

	for (unsigned int i = 0; i < ARRAY_SIZE(whole); i++)
		for (unsigned int n = 0; n < strlen(whole[i]); n++)
			CHECK(!parse(whole[i], n, true, &in));
	CHECK(!parse("", 0, true, &in));
	CHECK(!PARSE("\x66\x66", true, &in));
	CHECK(!PARSE("\x48", true, &in));
}

UNIT_TEST(unknown)
{
	struct svm_insn in;

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
	struct svm_insn in;
	u8 buf[3];

	for (u32 i = 0; i < 1U << 24; i++) {
		buf[0] = i;
		buf[1] = i >> 8;
		buf[2] = i >> 16;
		if (!svm_insn_parse(buf, sizeof(buf), i & 1, &in))
			continue;
		if (!in.len || in.len > 3 || in.rm > 15) {
			unit_fail("%02x %02x %02x: len %u", buf[0], buf[1], buf[2], in.len);
			return;
		}
	}
}
