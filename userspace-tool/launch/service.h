/* SPDX-License-Identifier: GPL-2.0 */
/* The metadata service as the network's back end wants one (net/net.h). */
#ifndef CLEAVE_SERVICE_H
#define CLEAVE_SERVICE_H

#include "metadata.h"

struct net_service;

/* m stays. */
void service_init(struct net_service *s, const struct metadata *m);

#endif /* CLEAVE_SERVICE_H */
