/* SPDX-License-Identifier: GPL-2.0 */
/* Hyper-V's part of a VMCB, of which asm/svm.h asks the size alone. */
struct hv_vmcb_enlightenments { unsigned char bytes[32]; };
