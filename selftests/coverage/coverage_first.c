// SPDX-License-Identifier: GPL-2.0
/* In a module whose coverage is counted: where its counters begin, for store.c. */
#include <linux/export.h>
#include "gcov.h"

const struct gcov_info *coverage_first[1] __section("clv_gcov") __used;
EXPORT_SYMBOL_GPL(coverage_first);

/* gcc names it in each gcov_info; a program that merges files would call it. */
void __gcov_merge_add(s64 *counters, unsigned int n);
void __gcov_merge_add(s64 *counters, unsigned int n)
{
}
