/* SPDX-License-Identifier: GPL-2.0 */
#include "../shim.h"

#define DECLARE_PER_CPU(type, name)	extern type name
#define __this_cpu_read(name)	(name)
