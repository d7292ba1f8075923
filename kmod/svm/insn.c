// SPDX-License-Identifier: GPL-2.0
/* cleave: length of an intercepted instruction, APM vol. 3 chapter 1. */
#include <linux/kernel.h>
#include "insn.h"

/* 26, 2e, 36, 3e; 64 to 67; f0, f2, f3 */
static bool is_legacy_prefix(u8 b)
{
	return (b & 0xe7) == 0x26 || (b & 0xfc) == 0x64 || b == 0xf0 || (b & 0xfe) == 0xf2;
}

bool svm_insn_parse(const u8 *buf, unsigned int n, bool code64, struct svm_insn *in)
{
	unsigned int i, end = min(n, SVM_INSN_MAX);
	u8 rex = 0, modrm;

	/* A REX prefix counts only right before the opcode. */
	for (i = 0; i < end; i++) {
		if (code64 && (buf[i] & 0xf0) == 0x40)
			rex = buf[i];
		else if (is_legacy_prefix(buf[i]))
			rex = 0;
		else
			break;
	}
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
	case SVM_OP_HLT:
	case SVM_OP_CLTS:
	case SVM_OP_INVD:
	case SVM_OP_WBINVD:
	case SVM_OP_WRMSR:
	case SVM_OP_RDMSR:
	case SVM_OP_CPUID:
		break;
	case SVM_OP_GROUP7_MEM:
	case SVM_OP_CR_READ:
	case SVM_OP_CR_WRITE:
		if (i >= end)
			return false;
		modrm = buf[i++];
		in->rm = (modrm & 7) | (rex & 1 ? 8 : 0);
		/* MOV CR ignores ModRM.mod (APM vol. 3, MOV CRn). */
		if (in->opcode == SVM_OP_GROUP7_MEM && modrm >= 0xc0)
			in->opcode = 0x0f0100 | modrm;
		break;
	default:
		return false;
	}
	in->len = i;
	return true;
}
