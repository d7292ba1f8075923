/* SPDX-License-Identifier: GPL-2.0 */
#ifndef UNIT_TSC_H
#define UNIT_TSC_H

#include "msr.h"

static unsigned int tsc_khz __attribute__((unused));

#endif /* UNIT_TSC_H */
