// SPDX-License-Identifier: GPL-2.0
#include <netinet/in.h>

#include "rewrite.h"

uint16_t ethernet_type(const uint8_t *frame, size_t len)
{
	return len < ETHERNET_HEADER ? 0 : get16(frame + 12);
}

/* Behind the IP header are n bytes. */
static void parse_ports(uint8_t *p, size_t n, struct ipv4 *ip)
{
	bool tcp = ip->protocol == IPPROTO_TCP;

	if ((!tcp && ip->protocol != IPPROTO_UDP) || n < (tcp ? 20 : 8))
		return;
	ip->from_port = get16(p);
	ip->to_port = get16(p + 2);
	ip->checksum = p + (tcp ? 16 : 6);
	ip->syn = tcp && (p[13] & 0x12) == 0x02;
}

bool ipv4_parse(uint8_t *frame, size_t len, struct ipv4 *ip)
{
	uint8_t *p = frame + ETHERNET_HEADER;
	size_t header, total;

	if (ethernet_type(frame, len) != ETHERNET_IPV4 || len < ETHERNET_HEADER + 20)
		return false;
	header = (p[0] & 15) * 4;
	total = get16(p + 2);
	if (p[0] >> 4 != 4 || header < 20 || total < header || total > len - ETHERNET_HEADER)
		return false;
	*ip = (struct ipv4){
		.packet = p, .from = get32(p + 12), .to = get32(p + 16), .protocol = p[9],
		.fragment = get16(p + 6) & 0xbfff,	/* all but DF */
	};
	if (!(get16(p + 6) & 0x1fff))
		parse_ports(p + header, total - header, ip);
	return true;
}

/* RFC 1624, equation 3, for the two halves of an address. */
static void update(uint8_t *checksum, uint32_t old, uint32_t new)
{
	uint32_t sum = (uint16_t)~get16(checksum);

	sum += (uint16_t)~(old >> 16) + (uint16_t)(new >> 16);
	sum += (uint16_t)~old + (uint16_t)new;
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	put16(checksum, ~sum);
}

static void set(struct ipv4 *ip, unsigned int offset, uint32_t new)
{
	uint32_t old = get32(ip->packet + offset);

	put32(ip->packet + offset, new);
	update(ip->packet + 10, old, new);
	/* UDP's may be 0, which says there is none (RFC 768); and 0 is sent as 0xffff. */
	if (!ip->checksum || (ip->protocol == IPPROTO_UDP && !get16(ip->checksum)))
		return;
	update(ip->checksum, old, new);
	if (ip->protocol == IPPROTO_UDP && !get16(ip->checksum))
		put16(ip->checksum, 0xffff);
}

void ipv4_set_from(struct ipv4 *ip, uint32_t address)
{
	set(ip, 12, address);
	ip->from = address;
}

void ipv4_set_to(struct ipv4 *ip, uint32_t address)
{
	set(ip, 16, address);
	ip->to = address;
}
