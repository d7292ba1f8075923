// SPDX-License-Identifier: GPL-2.0
/*
 * The split virtqueue. Input: where the rings are and what was negotiated, memory, then
 * steps: the driver writes somewhere, the device takes a chain, gives one back, notifies.
 */
#include "virtio/queue.h"
#include <errno.h>
#include "tool.h"

#define PAGE	4096
#define RAM	(4 * PAGE)

static uint8_t *ram;
static uint8_t rom[64];

static void check_chain(const struct vq *q, const struct vq_chain *c)
{
	uint64_t bytes[2] = { 0 };
	uint8_t *p;

	PROMISE(c->head < q->size && c->out + c->in <= q->size);
	for (unsigned int i = 0; i < c->out + c->in; i++) {
		size_t len = c->iov[i].iov_len;

		p = c->iov[i].iov_base;
		PROMISE(len);
		PROMISE((p >= ram && len <= RAM && p + len <= ram + RAM) ||
			(i < c->out && p >= rom && p + len <= rom + sizeof(rom)));
		bytes[i >= c->out] += len;
	}
	PROMISE(bytes[0] == c->out_bytes && bytes[1] == c->in_bytes);
}

static void use_chain(const struct vq_chain *c, struct input *in)
{
	struct iovec part[VQ_SIZE_MAX];
	uint8_t buf[64];
	uint16_t offset = 0, len = take8(in) % sizeof(buf);
	unsigned int n;
	size_t total = 0;

	take(in, &offset, 2);
	PROMISE(vq_read(c, offset, buf, len) <= len);
	PROMISE(vq_write(c, offset, buf, len) <= len);
	n = vq_slice(c->iov, c->out, offset, len, part);
	PROMISE(n <= c->out);
	for (unsigned int i = 0; i < n; i++)
		total += part[i].iov_len;
	PROMISE(total == (offset >= c->out_bytes ? 0 :
			  c->out_bytes - offset < len ? c->out_bytes - offset : len));
}

static void step(struct vq *q, struct input *in)
{
	static struct vq_chain c;
	uint8_t what = take8(in);
	uint16_t at = 0;
	int ret;

	switch (what & 7) {
	case 0: case 1: case 2:
		ret = vq_pop(q, &c);
		PROMISE((ret == -EPROTO) == !!q->broken);
		if (ret == 1) {
			check_chain(q, &c);
			use_chain(&c, in);
			vq_push(q, c.head, c.in_bytes);
		}
		break;
	case 3:
		vq_interrupts(q);
		break;
	case 4:
		PROMISE(!vq_want_kick(q) || !q->broken);
		break;
	case 5:
		vq_no_kick(q);
		break;
	default:
		take(in, &at, 2);
		take(in, ram + at % RAM, 16 < RAM - at % RAM ? 16 : RAM - at % RAM);
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct cleave_mem mem = { 0 };
	struct vq q = { 0 };
	uint8_t options = take8(&in);

	if (!ram) {
		ram = mmap(NULL, RAM + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		PROMISE(ram != MAP_FAILED && !mprotect(ram + PAGE, RAM, PROT_READ | PROT_WRITE));
		ram += PAGE;
	}
	memset(ram, 0, RAM);
	PROMISE(!cleave_mem_add(&mem, 0, RAM, ram, 0));
	PROMISE(!cleave_mem_add(&mem, 1 << 20, sizeof(rom), rom, CLEAVE_MEM_READONLY));
	q.size = options & 4 ? take8(&in) : 1U << (options & 3);
	q.desc_gpa = 0;
	q.avail_gpa = 0x1000;
	q.used_gpa = 0x2000;
	if (options & 8) {
		q.desc_gpa = take64(&in);
		q.avail_gpa = take64(&in) % (2 * RAM);
		q.used_gpa = take64(&in) % (2 * RAM);
	}
	take(&in, ram, 128);
	take(&in, ram + 0x1000, 32);
	take(&in, ram + 0x3000, 128);
	if (vq_enable(&q, &mem, options & 16, options & 32))
		return 0;
	while (in.left)
		step(&q, &in);
	return 0;
}
