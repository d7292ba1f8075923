/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The end of TCP connections to a struct net_service: frames in, frames out; it does no
 * I/O. As much of TCP as a peer needs over a link that seldom loses a frame: in order,
 * without options but MSS, sent again from the first byte that is not acknowledged.
 */
#ifndef CLEAVE_NET_INSIDE_H
#define CLEAVE_NET_INSIDE_H

#include "net.h"

#define NET_INSIDE_HEAD		42	/* bytes of a frame that tell whom it is for */
#define NET_INSIDE_FRAME	1514
#define NET_INSIDE_CONNECTIONS	32

struct net_inside;

struct net_inside *net_inside_new(const struct net_service *service);	/* NULL: no memory */
void net_inside_free(struct net_inside *t);
/* Is the frame that begins so for the service's address? */
bool net_inside_takes(const uint8_t *head, size_t len);
void net_inside_input(struct net_inside *t, const uint8_t *frame, size_t len, uint64_t now_ms);
/* The next frame for the guest: bytes; 0: there is none now. */
size_t net_inside_output(struct net_inside *t, uint8_t frame[NET_INSIDE_FRAME], uint64_t now_ms);
/* When there may be one without another input: ms from now, or -1. */
int net_inside_timeout(const struct net_inside *t, uint64_t now_ms);

#endif /* CLEAVE_NET_INSIDE_H */
