// SPDX-License-Identifier: GPL-2.0
/* cleave: length of an intercepted instruction, and plain stores, APM vol. 3 chapter 1. */
#include <linux/kernel.h>
#include <linux/string.h>
#include "insn.h"

#define REX_B	BIT(0)
#define REX_X	BIT(1)
#define REX_R	BIT(2)
#define REX_W	BIT(3)

struct prefixes {
	u8 rex;		/* right before the opcode; 0: none */
	bool size;	/* 66 */
	bool other;	/* 64, 65, 67, f0, f2, f3: those that 64-bit code does not ignore */
};

/* 26, 2e, 36, 3e; 64 to 67; f0, f2, f3 */
static bool is_legacy_prefix(u8 b)
{
	return (b & 0xe7) == 0x26 || (b & 0xfc) == 0x64 || b == 0xf0 || (b & 0xfe) == 0xf2;
}

/* Where the opcode is, or end. */
static unsigned int take_prefixes(const u8 *buf, unsigned int end, bool code64, struct prefixes *p)
{
	unsigned int i;

	for (i = 0; i < end; i++) {
		if (code64 && (buf[i] & 0xf0) == 0x40) {
			p->rex = buf[i];
			continue;
		}
		if (!is_legacy_prefix(buf[i]))
			break;
		p->rex = 0;
		p->size |= buf[i] == 0x66;
		p->other |= buf[i] != 0x66 && (buf[i] & 0xe7) != 0x26;
	}
	return i;
}

bool clv_insn_parse(const u8 *buf, unsigned int n, bool code64, struct clv_insn *in)
{
	unsigned int end = min(n, CLV_INSN_MAX), i;
	struct prefixes p = { 0 };
	u8 modrm;

	i = take_prefixes(buf, end, code64, &p);
	if (i >= end)
		return false;
	in->opcode = buf[i++];
	if (in->opcode == 0x0f) {
		if (i >= end)
			return false;
		in->opcode = 0x0f00 | buf[i++];
	}
	in->rm = 0;
	switch (in->opcode) {
	case CLV_OP_HLT:
	case CLV_OP_CLTS:
	case CLV_OP_INVD:
	case CLV_OP_WBINVD:
	case CLV_OP_WRMSR:
	case CLV_OP_RDMSR:
	case CLV_OP_CPUID:
		break;
	case CLV_OP_GROUP7_MEM:
	case CLV_OP_CR_READ:
	case CLV_OP_CR_WRITE:
		if (i >= end)
			return false;
		modrm = buf[i++];
		in->rm = (modrm & 7) | (p.rex & REX_B ? 8 : 0);
		/* MOV CR ignores ModRM.mod (APM vol. 3, MOV CRn). */
		if (in->opcode == CLV_OP_GROUP7_MEM && modrm >= 0xc0)
			in->opcode = 0x0f0100 | modrm;
		break;
	default:
		return false;
	}
	in->len = i;
	return true;
}

/* A displacement or an immediate, with its sign. */
static s64 s32_at(const u8 *p)
{
	s32 val;

	memcpy(&val, p, sizeof(val));
	return val;
}

bool clv_store_parse(const u8 *buf, unsigned int n, const struct cleave_regs *regs,
		     struct clv_store *st)
{
	u8 b[CLV_INSN_MAX + 12] = { 0 };	/* zero behind the end, which len tells */
	u8 opcode, modrm, mod, reg, base, index;
	const u64 *gpr = (const u64 *)regs;
	struct prefixes p = { 0 };
	bool imm, no_base;
	unsigned int i;

	n = min(n, CLV_INSN_MAX);
	memcpy(b, buf, n);
	i = take_prefixes(b, n, true, &p);
	opcode = b[i++];
	modrm = b[i++];
	mod = modrm >> 6;
	reg = (modrm >> 3 & 7) | (p.rex & REX_R ? 8 : 0);
	imm = (opcode & 0xfe) == 0xc6 && !(modrm & 0x38);
	if (p.other || mod == 3 || (!imm && (opcode & 0xfe) != 0x88))
		return false;

	/* The operand's address, APM vol. 3 1.4. */
	st->addr = 0;
	base = modrm & 7;
	if (base == 4) {
		index = (b[i] >> 3 & 7) | (p.rex & REX_X ? 8 : 0);
		if (index != 4)
			st->addr = gpr[index] << (b[i] >> 6);
		base = b[i++] & 7;
	}
	no_base = base == 5 && !mod;
	if (!no_base)
		st->addr += gpr[base | (p.rex & REX_B ? 8 : 0)];
	if (mod == 1)
		st->addr += (s8)b[i++];
	if (mod == 2 || no_base) {
		st->addr += s32_at(b + i);
		i += 4;
	}

	st->size = !(opcode & 1) ? 1 : p.rex & REX_W ? 8 : p.size ? 2 : 4;
	if (imm) {
		st->value = s32_at(b + i);
		i += min_t(u8, st->size, 4);
	} else {
		/* AH, CH, DH, BH */
		st->value = st->size == 1 && !p.rex && reg >= 4 ? gpr[reg - 4] >> 8 : gpr[reg];
	}
	st->value &= GENMASK_ULL(st->size * 8 - 1, 0);
	st->len = i;
	if ((modrm & 0xc7) == 5)	/* relative to RIP */
		st->addr += regs->rip + i;
	return i <= n;
}
