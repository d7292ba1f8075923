/* SPDX-License-Identifier: GPL-2.0 */
/* Instructions that fault are not for user space. */
#define _ASM_EXTABLE(from, to)
