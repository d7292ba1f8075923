// SPDX-License-Identifier: GPL-2.0
#include "blk_ring.h"

#define ALLOWED	(sizeof(allowed) / sizeof(allowed[0]))

/* No flags of requests, and no io_uring_register() either: those are not listed. */
static const unsigned char allowed[] = {
	IORING_OP_READ, IORING_OP_READV, IORING_OP_WRITE, IORING_OP_WRITEV, IORING_OP_FSYNC,
};

int blk_ring_init(struct io_uring *ring, unsigned int entries)
{
	struct io_uring_restriction rule[ALLOWED] = { 0 };
	int ret = io_uring_queue_init(entries, ring, IORING_SETUP_R_DISABLED);
	unsigned int i;

	if (ret)
		return ret;
	for (i = 0; i < ALLOWED; i++) {
		rule[i].opcode = IORING_RESTRICTION_SQE_OP;
		rule[i].sqe_op = allowed[i];
	}
	/* By number: Debian 12's liburing.so has no functions for these two. */
	ret = io_uring_register(ring->ring_fd, IORING_REGISTER_RESTRICTIONS, rule, ALLOWED);
	if (!ret)
		ret = io_uring_register(ring->ring_fd, IORING_REGISTER_ENABLE_RINGS, NULL, 0);
	if (ret)
		io_uring_queue_exit(ring);
	return ret;
}
