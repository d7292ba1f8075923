/* SPDX-License-Identifier: GPL-2.0 */
#ifndef UNIT_CPUMASK_H
#define UNIT_CPUMASK_H

#include "../shim.h"

typedef unsigned long cpumask_var_t[1];

#endif /* UNIT_CPUMASK_H */
