// SPDX-License-Identifier: GPL-2.0
/* cleave: length of an intercepted instruction, APM vol. 3 chapter 1. */
#include "insn.h"

struct prefixes {
	bool rep, lock;
	u8 rex;
};

/* Index of the first byte behind the prefixes, or n. */
static unsigned int skip_prefixes(const u8 *buf, unsigned int n, bool code64, struct prefixes *p)
{
	unsigned int i;

	for (i = 0; i < n; i++) {
		if (code64 && (buf[i] & 0xf0) == 0x40) {
			p->rex = buf[i];
			continue;
		}
		switch (buf[i]) {
		case 0xf3:
		case 0xf2:
			p->rep = buf[i] == 0xf3;
			break;
		case 0xf0:
			p->lock = true;
			break;
		case 0x26:
		case 0x2e:
		case 0x36:
		case 0x3e:
		case 0x64:
		case 0x65:
		case 0x66:
		case 0x67:
			break;
		default:
			return i;
		}
		/* A REX prefix counts only right before the opcode. */
		p->rex = 0;
	}
	return n;
}

static bool has_modrm(u32 opcode)
{
	return opcode == SVM_OP_GROUP7_MEM || opcode == SVM_OP_CR_READ ||
	       opcode == SVM_OP_CR_WRITE;
}

static bool is_known(u32 opcode)
{
	switch (opcode) {
	case SVM_OP_PAUSE:
	case SVM_OP_HLT:
	case SVM_OP_CLTS:
	case SVM_OP_INVD:
	case SVM_OP_WBINVD:
	case SVM_OP_GROUP7_MEM:
	case SVM_OP_CR_READ:
	case SVM_OP_CR_WRITE:
	case SVM_OP_WRMSR:
	case SVM_OP_RDMSR:
	case SVM_OP_CPUID:
		return true;
	default:
		return false;
	}
}

bool svm_insn_parse(const u8 *buf, unsigned int n, bool code64, struct svm_insn *in)
{
	struct prefixes p = {};
	unsigned int i;
	u8 modrm;

	if (n > SVM_INSN_MAX)
		n = SVM_INSN_MAX;
	i = skip_prefixes(buf, n, code64, &p);
	if (i >= n)
		return false;
	in->opcode = buf[i++];
	if (in->opcode == 0x0f) {
		if (i >= n)
			return false;
		in->opcode = 0x0f00 | buf[i++];
	}
	if (!is_known(in->opcode))
		return false;
	in->rep = p.rep;
	in->reg = 0;
	in->rm = 0;
	if (has_modrm(in->opcode)) {
		if (i >= n)
			return false;
		modrm = buf[i++];
		in->reg = ((modrm >> 3) & 7) | (p.rex & 4 ? 8 : 0);
		in->rm = (modrm & 7) | (p.rex & 1 ? 8 : 0);
		/* MOV CR ignores ModRM.mod; LOCK makes CR0 CR8 (APM vol. 3, MOV CRn). */
		if (in->opcode != SVM_OP_GROUP7_MEM)
			in->reg |= p.lock ? 8 : 0;
		else if (modrm >= 0xc0)
			in->opcode = 0x0f0100 | modrm;
	}
	in->len = i;
	return true;
}
