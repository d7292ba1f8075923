/* SPDX-License-Identifier: GPL-2.0 */
/*
 * cleave: how long an intercepted instruction is and which register it names,
 * for CPUs without next-RIP save and decode assists. No decoder: what is not
 * listed here is refused. Also built in user space by the unit tests.
 */
#ifndef CLV_SVM_INSN_H
#define CLV_SVM_INSN_H

#include <linux/types.h>

#define SVM_INSN_MAX	15U

/*
 * svm_insn.opcode: the bytes behind the prefixes, as a number. Of the group
 * 0f 01 the third byte is part of it if it names no memory.
 */
#define SVM_OP_HLT		0xf4
#define SVM_OP_CLTS		0x0f06
#define SVM_OP_INVD		0x0f08
#define SVM_OP_WBINVD		0x0f09
#define SVM_OP_GROUP7_MEM	0x0f01		/* LMSW, SMSW and others with memory */
#define SVM_OP_CR_READ		0x0f20
#define SVM_OP_CR_WRITE		0x0f22
#define SVM_OP_WRMSR		0x0f30
#define SVM_OP_RDMSR		0x0f32
#define SVM_OP_CPUID		0x0fa2
#define SVM_OP_MONITOR		0x0f01c8
#define SVM_OP_MWAIT		0x0f01c9
#define SVM_OP_XSETBV		0x0f01d1
#define SVM_OP_VMRUN		0x0f01d8	/* to INVLPGA: SVM's instructions */
#define SVM_OP_VMMCALL		0x0f01d9
#define SVM_OP_INVLPGA		0x0f01df
#define SVM_OP_LMSW		0x0f01f0	/* and the seven after it, one a register */

/* What svm_insn_parse() found. */
struct svm_insn {
	u32 opcode;	/* SVM_OP_* */
	u8 len;		/* bytes, prefixes included */
	u8 rm;		/* ModRM.rm with REX.B: the general register, in encoding order */
};

/*
 * Parses the n bytes at buf. False: none of the above, longer than
 * SVM_INSN_MAX, or not all there. For SVM_OP_GROUP7_MEM len is not valid.
 */
bool svm_insn_parse(const u8 *buf, unsigned int n, bool code64, struct svm_insn *in);

#endif /* CLV_SVM_INSN_H */
