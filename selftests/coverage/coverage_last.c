// SPDX-License-Identifier: GPL-2.0
/* In a module whose coverage is counted: where its counters end. */
#include <linux/export.h>
#include "gcov.h"

const struct gcov_info *coverage_last[1] __section("clv_gcov") __used;
EXPORT_SYMBOL_GPL(coverage_last);
