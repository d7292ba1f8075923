// SPDX-License-Identifier: GPL-2.0
/* libcleave: from Zydis' view of an instruction to what assist.c carries out. */
#include <errno.h>
#include <string.h>
#include <Zydis/Zydis.h>
#include "insn.h"

static const struct mnemonic {
	uint16_t mnemonic;
	uint8_t kind, sub;
	uint8_t writes;			/* operand 0 is stored to, if it is in memory */
} mnemonics[] = {
#define M(name, kind, sub, writes) { ZYDIS_MNEMONIC_##name, kind, sub, writes }
	M(MOV, INSN_MOV, 0, 1), M(MOVZX, INSN_MOV, 0, 1), M(MOVNTI, INSN_MOV, 0, 1),
	M(MOVSX, INSN_MOVSX, 0, 1), M(MOVSXD, INSN_MOVSX, 0, 1), M(MOVBE, INSN_MOVBE, 0, 1),
	M(ADD, INSN_ALU, ALU_ADD, 1), M(OR, INSN_ALU, ALU_OR, 1), M(ADC, INSN_ALU, ALU_ADC, 1),
	M(SBB, INSN_ALU, ALU_SBB, 1), M(AND, INSN_ALU, ALU_AND, 1), M(SUB, INSN_ALU, ALU_SUB, 1),
	M(XOR, INSN_ALU, ALU_XOR, 1), M(CMP, INSN_ALU, ALU_CMP, 0), M(TEST, INSN_ALU, ALU_TEST, 0),
	M(NOT, INSN_UNARY, UNARY_NOT, 1), M(NEG, INSN_UNARY, UNARY_NEG, 1),
	M(INC, INSN_UNARY, UNARY_INC, 1), M(DEC, INSN_UNARY, UNARY_DEC, 1),
	M(ROL, INSN_SHIFT, SHIFT_ROL, 1), M(ROR, INSN_SHIFT, SHIFT_ROR, 1),
	M(RCL, INSN_SHIFT, SHIFT_RCL, 1), M(RCR, INSN_SHIFT, SHIFT_RCR, 1),
	M(SHL, INSN_SHIFT, SHIFT_SHL, 1), M(SHR, INSN_SHIFT, SHIFT_SHR, 1),
	M(SAR, INSN_SHIFT, SHIFT_SAR, 1),
	M(SHLD, INSN_DSHIFT, DSHIFT_LEFT, 1), M(SHRD, INSN_DSHIFT, DSHIFT_RIGHT, 1),
	M(XCHG, INSN_XCHG, 0, 1), M(XADD, INSN_XADD, 0, 1), M(CMPXCHG, INSN_CMPXCHG, 0, 1),
	M(CMPXCHG8B, INSN_CMPXCHG8B, 0, 1),
	M(BT, INSN_BT, BIT_TEST, 0), M(BTS, INSN_BT, BIT_SET, 1), M(BTR, INSN_BT, BIT_RESET, 1),
	M(BTC, INSN_BT, BIT_COMPLEMENT, 1),
	M(PUSH, INSN_PUSH, 0, 0), M(POP, INSN_POP, 0, 1), M(CALL, INSN_CALL, 0, 0),
	M(JMP, INSN_JMP, 0, 0), M(IN, INSN_IN, 0, 0), M(OUT, INSN_OUT, 0, 0),
	M(SMSW, INSN_SMSW, 0, 1), M(LMSW, INSN_LMSW, 0, 0),
	M(NOP, INSN_NOP, 0, 0), M(CLFLUSH, INSN_NOP, 0, 0), M(CLFLUSHOPT, INSN_NOP, 0, 0),
	M(CLWB, INSN_NOP, 0, 0), M(PREFETCHNTA, INSN_NOP, 0, 0), M(PREFETCHT0, INSN_NOP, 0, 0),
	M(PREFETCHT1, INSN_NOP, 0, 0), M(PREFETCHT2, INSN_NOP, 0, 0), M(PREFETCHW, INSN_NOP, 0, 0),
	/* vector moves; sub: #GP if not aligned */
	M(MOVDQA, INSN_VMOV, 1, 1), M(MOVAPS, INSN_VMOV, 1, 1), M(MOVAPD, INSN_VMOV, 1, 1),
	M(MOVNTDQ, INSN_VMOV, 1, 1), M(MOVNTPS, INSN_VMOV, 1, 1), M(MOVNTPD, INSN_VMOV, 1, 1),
	M(MOVNTDQA, INSN_VMOV, 1, 1), M(MOVDQU, INSN_VMOV, 0, 1), M(MOVUPS, INSN_VMOV, 0, 1),
	M(MOVUPD, INSN_VMOV, 0, 1), M(LDDQU, INSN_VMOV, 0, 1), M(MOVD, INSN_VMOV, 0, 1),
	M(MOVQ, INSN_VMOV, 0, 1), M(MOVSS, INSN_VMOV, 0, 1), M(MOVSD, INSN_VMOV, 0, 1),
	M(VMOVDQA, INSN_VMOV, 1, 1), M(VMOVAPS, INSN_VMOV, 1, 1), M(VMOVAPD, INSN_VMOV, 1, 1),
	M(VMOVNTDQ, INSN_VMOV, 1, 1), M(VMOVNTPS, INSN_VMOV, 1, 1), M(VMOVNTPD, INSN_VMOV, 1, 1),
	M(VMOVNTDQA, INSN_VMOV, 1, 1), M(VMOVDQU, INSN_VMOV, 0, 1), M(VMOVUPS, INSN_VMOV, 0, 1),
	M(VMOVUPD, INSN_VMOV, 0, 1), M(VLDDQU, INSN_VMOV, 0, 1), M(VMOVD, INSN_VMOV, 0, 1),
	M(VMOVQ, INSN_VMOV, 0, 1), M(VMOVSS, INSN_VMOV, 0, 1), M(VMOVSD, INSN_VMOV, 0, 1),
}, strings[] = {
	/* MOVSD and CMPSD are SSE instructions too: looked up by category */
	M(MOVSB, INSN_MOVS, 1, 1), M(MOVSW, INSN_MOVS, 2, 1), M(MOVSD, INSN_MOVS, 4, 1),
	M(MOVSQ, INSN_MOVS, 8, 1), M(STOSB, INSN_STOS, 1, 1), M(STOSW, INSN_STOS, 2, 1),
	M(STOSD, INSN_STOS, 4, 1), M(STOSQ, INSN_STOS, 8, 1), M(LODSB, INSN_LODS, 1, 0),
	M(LODSW, INSN_LODS, 2, 0), M(LODSD, INSN_LODS, 4, 0), M(LODSQ, INSN_LODS, 8, 0),
	M(CMPSB, INSN_CMPS, 1, 0), M(CMPSW, INSN_CMPS, 2, 0), M(CMPSD, INSN_CMPS, 4, 0),
	M(CMPSQ, INSN_CMPS, 8, 0), M(SCASB, INSN_SCAS, 1, 0), M(SCASW, INSN_SCAS, 2, 0),
	M(SCASD, INSN_SCAS, 4, 0), M(SCASQ, INSN_SCAS, 8, 0), M(INSB, INSN_INS, 1, 1),
	M(INSW, INSN_INS, 2, 1), M(INSD, INSN_INS, 4, 1), M(OUTSB, INSN_OUTS, 1, 0),
	M(OUTSW, INSN_OUTS, 2, 0), M(OUTSD, INSN_OUTS, 4, 0),
#undef M
};

static ZyanStatus decode(const uint8_t *bytes, size_t n, unsigned int mode,
			 ZydisDecodedInstruction *zi, ZydisDecodedOperand *zo)
{
	ZydisDecoder d;

	ZydisDecoderInit(&d, mode == 8 ? ZYDIS_MACHINE_MODE_LONG_64 :
			     mode == 4 ? ZYDIS_MACHINE_MODE_LONG_COMPAT_32 :
					 ZYDIS_MACHINE_MODE_LONG_COMPAT_16,
			 mode == 8 ? ZYDIS_STACK_WIDTH_64 :
			 mode == 4 ? ZYDIS_STACK_WIDTH_32 : ZYDIS_STACK_WIDTH_16);
	return ZydisDecoderDecodeFull(&d, bytes, n, zi, zo);
}

static uint8_t segment(ZydisRegister reg)
{
	switch (reg) {
	case ZYDIS_REGISTER_CS: return SEG_CS;
	case ZYDIS_REGISTER_SS: return SEG_SS;
	case ZYDIS_REGISTER_ES: return SEG_ES;
	case ZYDIS_REGISTER_FS: return SEG_FS;
	case ZYDIS_REGISTER_GS: return SEG_GS;
	default: return SEG_DS;
	}
}

static uint8_t gpr(ZydisRegister reg)
{
	if (reg == ZYDIS_REGISTER_NONE)
		return INSN_NOREG;
	if (reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP)
		return INSN_RIP;
	reg = ZydisRegisterGetLargestEnclosing(ZYDIS_MACHINE_MODE_LONG_64, reg);
	return reg - ZYDIS_REGISTER_RAX;
}

static bool set_register(struct insn_op *op, ZydisRegister reg)
{
	switch (ZydisRegisterGetClass(reg)) {
	case ZYDIS_REGCLASS_GPR8:
		op->high = reg >= ZYDIS_REGISTER_AH && reg <= ZYDIS_REGISTER_BH;
		op->type = OP_GPR;
		op->reg = op->high ? reg - ZYDIS_REGISTER_AH : gpr(reg);
		return true;
	case ZYDIS_REGCLASS_GPR16:
	case ZYDIS_REGCLASS_GPR32:
	case ZYDIS_REGCLASS_GPR64:
		op->type = OP_GPR;
		op->reg = gpr(reg);
		return true;
	case ZYDIS_REGCLASS_SEGMENT:
		op->type = OP_SEG;
		op->reg = segment(reg);
		return true;
	case ZYDIS_REGCLASS_XMM:
	case ZYDIS_REGCLASS_YMM:
		op->type = OP_VEC;
		op->reg = ZydisRegisterGetId(reg);
		return op->reg < 16;
	default:
		return false;
	}
}

static void set_memory(struct insn *in, const ZydisDecodedOperandMem *m)
{
	in->seg = segment(m->segment);
	in->base = gpr(m->base);
	in->index = gpr(m->index);
	in->scale = m->scale;
	in->disp = m->disp.value;
}

static bool set_operands(struct insn *in, const ZydisDecodedInstruction *zi,
			 const ZydisDecodedOperand *zo)
{
	if (zi->operand_count_visible > 3)
		return false;
	for (unsigned int i = 0; i < zi->operand_count_visible; i++) {
		struct insn_op *op = &in->op[i];

		op->size = zo[i].size / 8;
		switch (zo[i].type) {
		case ZYDIS_OPERAND_TYPE_REGISTER:
			if (!set_register(op, zo[i].reg.value))
				return false;
			break;
		case ZYDIS_OPERAND_TYPE_MEMORY:
			if (zo[i].mem.type != ZYDIS_MEMOP_TYPE_MEM && in->kind != INSN_NOP)
				return false;
			op->type = OP_MEM;
			in->mem = i;
			set_memory(in, &zo[i].mem);
			break;
		case ZYDIS_OPERAND_TYPE_IMMEDIATE:
			if (zo[i].imm.is_relative)
				return false;
			op->type = OP_IMM;
			in->imm = zo[i].imm.value.u;
			break;
		default:
			return false;
		}
	}
	return true;
}

/* The operands of string instructions are fixed, but for the source's segment. */
static void set_string(struct insn *in, const ZydisDecodedInstruction *zi,
		       const ZydisDecodedOperand *zo)
{
	in->op[0].size = in->sub;
	for (unsigned int i = 0; i < zi->operand_count; i++)
		if (zo[i].type == ZYDIS_OPERAND_TYPE_MEMORY && gpr(zo[i].mem.base) == 6)
			in->seg = segment(zo[i].mem.segment);
	for (unsigned int i = 0; i < zi->raw.prefix_count; i++)
		if (zi->raw.prefixes[i].value == 0xf2 || zi->raw.prefixes[i].value == 0xf3)
			in->rep = zi->raw.prefixes[i].value;
}

static bool classify(struct insn *in, const ZydisDecodedInstruction *zi)
{
	bool string = zi->meta.category == ZYDIS_CATEGORY_STRINGOP ||
		      zi->meta.category == ZYDIS_CATEGORY_IOSTRINGOP;
	const struct mnemonic *m = string ? strings : mnemonics;
	size_t n = string ? sizeof(strings) : sizeof(mnemonics);

	if (zi->meta.category == ZYDIS_CATEGORY_SETCC || zi->meta.category == ZYDIS_CATEGORY_CMOV) {
		in->kind = zi->meta.category == ZYDIS_CATEGORY_SETCC ? INSN_SETCC : INSN_CMOV;
		in->sub = zi->opcode & 15;
		in->writes = in->kind == INSN_SETCC;
		return true;
	}
	for (const struct mnemonic *end = m + n / sizeof(*m); m < end; m++)
		if (m->mnemonic == zi->mnemonic) {
			in->kind = m->kind;
			in->sub = m->sub;
			in->writes = m->writes;
			return true;
		}
	return false;
}

/* What the tables cannot say. */
static bool possible(const struct insn *in, const ZydisDecodedInstruction *zi)
{
	bool vec = in->op[0].type == OP_VEC || in->op[1].type == OP_VEC;

	if (zi->encoding != ZYDIS_INSTRUCTION_ENCODING_LEGACY &&
	    (zi->encoding != ZYDIS_INSTRUCTION_ENCODING_VEX || in->kind != INSN_VMOV))
		return false;
	if (zi->meta.branch_type == ZYDIS_BRANCH_TYPE_FAR)
		return false;
	if (in->kind == INSN_VMOV)
		return vec && in->mem != INSN_NOREG && in->op[2].type == OP_NONE;
	/* loading a segment register takes a descriptor */
	return !vec && (in->op[0].type != OP_SEG || in->kind == INSN_PUSH);
}

int insn_decode(struct insn *in, const uint8_t *bytes, size_t n, unsigned int mode)
{
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand zo[ZYDIS_MAX_OPERAND_COUNT];
	ZyanStatus st = decode(bytes, n, mode, &zi, zo);

	if (!ZYAN_SUCCESS(st))
		return st == ZYDIS_STATUS_NO_MORE_DATA ? -EAGAIN : -EINVAL;
	memset(in, 0, sizeof(*in));
	in->len = zi.length;
	in->mem = INSN_NOREG;
	in->seg = SEG_DS;
	in->base = in->index = INSN_NOREG;
	in->asize = zi.address_width / 8;
	in->lock = !!(zi.attributes & ZYDIS_ATTRIB_HAS_LOCK);
	if (!classify(in, &zi))
		return -EOPNOTSUPP;
	if (in->kind >= INSN_MOVS)
		set_string(in, &zi, zo);
	else if (!set_operands(in, &zi, zo) || !possible(in, &zi))
		return -EOPNOTSUPP;
	if (in->kind == INSN_XCHG && in->mem != INSN_NOREG)
		in->lock = 1;
	if (in->mem != INSN_NOREG && in->mem != 0 && in->kind != INSN_XCHG)
		in->writes = 0;
	if (in->kind == INSN_PUSH && in->op[0].type != OP_MEM)
		in->op[0].size = zi.operand_width / 8;
	in->plain = in->kind == INSN_MOV && in->mem <= 1 && !in->op[!in->mem].high &&
		    (in->op[!in->mem].type == OP_GPR || in->op[!in->mem].type == OP_IMM);
	if (in->kind == INSN_VMOV) {
		in->vex = zi.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
		in->aligned = in->sub;
	}
	return 0;
}

int insn_format(const uint8_t *bytes, size_t n, unsigned int mode, uint64_t rip, char *text,
		size_t size, unsigned int *len)
{
	ZydisDecodedInstruction zi;
	ZydisDecodedOperand zo[ZYDIS_MAX_OPERAND_COUNT];
	ZydisFormatter f;

	if (!ZYAN_SUCCESS(decode(bytes, n, mode, &zi, zo)) ||
	    !ZYAN_SUCCESS(ZydisFormatterInit(&f, ZYDIS_FORMATTER_STYLE_INTEL)) ||
	    !ZYAN_SUCCESS(ZydisFormatterFormatInstruction(&f, &zi, zo, zi.operand_count_visible,
							  text, size, rip, NULL)))
		return -EINVAL;
	*len = zi.length;
	return 0;
}
