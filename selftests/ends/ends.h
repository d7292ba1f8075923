/* SPDX-License-Identifier: GPL-2.0 */
#ifndef SELFTESTS_ENDS_H
#define SELFTESTS_ENDS_H

#include <stdbool.h>

/* What `reboot kexec`, or a crash, starts. Ends the program with the reason if it cannot be. */
void kexec_prepare(const char *kernel, const char *initrd, const char *words, bool crash);

#endif
