/* SPDX-License-Identifier: GPL-2.0 */
/* The kernel's own, not libc's part of it. */
#include <uapi/../asm/vmx.h>
