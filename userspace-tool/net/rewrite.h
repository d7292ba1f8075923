/* SPDX-License-Identifier: GPL-2.0 */
/* IPv4 packets in Ethernet frames: a look at them, and another address for one of theirs. */
#ifndef CLEAVE_NET_REWRITE_H
#define CLEAVE_NET_REWRITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ETHERNET_HEADER	14
#define ETHERNET_ARP	0x0806
#define ETHERNET_IPV4	0x0800

struct ipv4 {
	uint8_t *packet;		/* in the frame */
	uint32_t from, to;
	uint8_t protocol;
	bool fragment;			/* one of several: the ports may not be there */
	uint16_t from_port, to_port;	/* of TCP and UDP; or 0 */
	uint8_t *checksum;		/* TCP's or UDP's; or NULL */
	bool syn;			/* a TCP connection is asked for */
};

uint16_t ethernet_type(const uint8_t *frame, size_t len);	/* 0: it is too short */
/* False: no IPv4, or cut short. */
bool ipv4_parse(uint8_t *frame, size_t len, struct ipv4 *p);
/* Another address where it comes from or goes to; checksums go along (RFC 1624). */
void ipv4_set_from(struct ipv4 *p, uint32_t address);
void ipv4_set_to(struct ipv4 *p, uint32_t address);

static inline uint16_t get16(const uint8_t *p)
{
	return p[0] << 8 | p[1];
}

static inline uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static inline void put16(uint8_t *p, uint16_t value)
{
	p[0] = value >> 8;
	p[1] = value;
}

static inline void put32(uint8_t *p, uint32_t value)
{
	put16(p, value >> 16);
	put16(p + 2, value);
}

#endif /* CLEAVE_NET_REWRITE_H */
