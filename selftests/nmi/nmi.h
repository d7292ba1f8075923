/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SELFTESTS_NMI_H
#define SELFTESTS_NMI_H

#include <linux/types.h>

struct nmi_order {
	__u32 cpu, count;
};

#endif
