// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#include "queue.h"

#define AVAIL_FLAGS	0	/* in 16-bit words */
#define AVAIL_IDX	1
#define AVAIL_RING	2
#define USED_FLAGS	0	/* in bytes */
#define USED_IDX	2
#define USED_RING	4

/* The guest's words may change at any time: each is loaded once, and whole. */
static uint16_t load16(const uint16_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

static void store16(void *p, uint16_t value)
{
	__atomic_store_n((uint16_t *)p, value, __ATOMIC_RELAXED);
}

/* Behind the barrier the compiler cannot look at the original again. */
static struct vring_desc load_desc(const void *table, unsigned int i)
{
	struct vring_desc d;

	memcpy(&d, (const uint8_t *)table + i * sizeof(d), sizeof(d));
	__asm__ __volatile__("" : : : "memory");
	return d;
}

static int broken(struct vq *q, const char *rule)
{
	q->broken = rule;
	return -EPROTO;
}

int vq_enable(struct vq *q, const struct cleave_mem *mem, bool indirect, bool event_idx)
{
	uint64_t n = q->size;

	if (!n || n > VQ_SIZE_MAX || (n & (n - 1)) || q->desc_gpa % VRING_DESC_ALIGN_SIZE ||
	    q->avail_gpa % VRING_AVAIL_ALIGN_SIZE || q->used_gpa % VRING_USED_ALIGN_SIZE)
		return -EINVAL;
	q->desc = cleave_mem_ptr(mem, q->desc_gpa, n * sizeof(struct vring_desc));
	q->avail = cleave_mem_ptr(mem, q->avail_gpa, 2 * (AVAIL_RING + n + 1));
	q->used = cleave_mem_wptr(mem, q->used_gpa, USED_RING + n * sizeof(struct vring_used_elem) + 2);
	if (!q->desc || !q->avail || !q->used)
		return -EINVAL;
	q->mem = mem;
	q->indirect = indirect;
	q->event_idx = event_idx;
	q->next_avail = q->next_used = q->told = 0;
	q->told_any = false;
	q->broken = NULL;
	return 0;
}

/* ---- taking chains ---------------------------------------------------------------- */

/* A segment of no bytes is none. */
static int add_segment(struct vq *q, struct vq_chain *c, const struct vring_desc *d)
{
	bool write = d->flags & VRING_DESC_F_WRITE;
	void *p;

	if (!write && c->in)
		return broken(q, "a buffer to be read comes behind one to be written (2.7.4.2)");
	if (!d->len)
		return 0;
	p = write ? cleave_mem_wptr(q->mem, d->addr, d->len) : cleave_mem_ptr(q->mem, d->addr, d->len);
	if (!p)
		return broken(q, "a buffer is not in the guest's memory");
	c->iov[c->out + c->in] = (struct iovec){ p, d->len };
	if (write) {
		c->in++;
		c->in_bytes += d->len;
	} else {
		c->out++;
		c->out_bytes += d->len;
	}
	return 0;
}

/* The table that d names, of *size entries then. */
static const void *indirect_table(struct vq *q, const struct vring_desc *d, unsigned int *size)
{
	const void *table = cleave_mem_ptr(q->mem, d->addr, d->len);
	const char *rule = NULL;

	if (!q->indirect)
		rule = "an indirect descriptor, which was not negotiated (2.7.5.3.1)";
	else if (d->flags & VRING_DESC_F_NEXT)
		rule = "an indirect descriptor with a next one (2.7.5.3.1)";
	else if (!d->len || d->len % sizeof(*d))
		rule = "an indirect table of no whole descriptors (2.7.5.3.2)";
	else if (!table)
		rule = "an indirect table is not in the guest's memory";
	if (rule) {
		broken(q, rule);
		return NULL;
	}
	*size = d->len / sizeof(*d);
	return table;
}

/* Each descriptor counts, so a loop ends. */
static int take_chain(struct vq *q, struct vq_chain *c)
{
	unsigned int size = q->size, i = c->head, count = 0;
	const void *table = q->desc;
	bool indirect = false;	/* which a table's address does not tell: it may be the queue's own */
	struct vring_desc d;

	do {
		if (i >= size)
			return broken(q, "a descriptor's next one is not in its table (2.7.5)");
		if (count++ == q->size)
			return broken(q, "a chain is longer than its queue, or a loop (2.7.5.3.1)");
		d = load_desc(table, i);
		i = d.next;
		if (d.flags & VRING_DESC_F_INDIRECT) {
			if (indirect)
				return broken(q, "an indirect descriptor in an indirect table (2.7.5.3.1)");
			indirect = true;
			table = indirect_table(q, &d, &size);
			if (!table)
				return -EPROTO;
			i = 0;
			count--;	/* of the chain are those in the table */
			d.flags = VRING_DESC_F_NEXT;
		} else if (add_segment(q, c, &d)) {
			return -EPROTO;
		}
	} while (d.flags & VRING_DESC_F_NEXT);
	return 0;
}

int vq_pop(struct vq *q, struct vq_chain *c)
{
	uint16_t idx, waiting;

	if (q->broken)
		return -EPROTO;
	idx = __atomic_load_n(&q->avail[AVAIL_IDX], __ATOMIC_ACQUIRE);
	waiting = idx - q->next_avail;
	if (!waiting)
		return 0;
	if (waiting > q->size)
		return broken(q, "more chains are offered than the queue has entries (2.7.13.3)");
	c->head = load16(&q->avail[AVAIL_RING + q->next_avail % q->size]);
	c->out = c->in = 0;
	c->out_bytes = c->in_bytes = 0;
	if (c->head >= q->size)
		return broken(q, "a chain's head is not in the descriptor table (2.7.6)");
	if (take_chain(q, c))
		return -EPROTO;
	q->next_avail++;
	return 1;
}

/* ---- giving them back ------------------------------------------------------------- */

void vq_put(struct vq *q, uint16_t head, uint32_t written)
{
	struct vring_used_elem elem = { .id = head, .len = written };

	memcpy(q->used + USED_RING + q->next_used % q->size * sizeof(elem), &elem, sizeof(elem));
	q->next_used++;
}

void vq_show(struct vq *q)
{
	__atomic_store_n((uint16_t *)(q->used + USED_IDX), q->next_used, __ATOMIC_RELEASE);
}

void vq_push(struct vq *q, uint16_t head, uint32_t written)
{
	vq_put(q, head, written);
	vq_show(q);
}

bool vq_interrupts(struct vq *q)
{
	uint16_t told = q->told;
	bool any = q->told_any;

	if (any && told == q->next_used)
		return false;
	if (!any && !q->next_used)
		return false;
	/* What the driver wants is read behind what it will see: it does the reverse. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	q->told = q->next_used;
	q->told_any = true;
	if (!q->event_idx)
		return !(load16(&q->avail[AVAIL_FLAGS]) & VRING_AVAIL_F_NO_INTERRUPT);
	return !any || vring_need_event(load16(&q->avail[AVAIL_RING + q->size]), q->next_used, told);
}

bool vq_want_kick(struct vq *q)
{
	if (q->event_idx)
		store16(q->used + USED_RING + q->size * sizeof(struct vring_used_elem), q->next_avail);
	else
		store16(q->used + USED_FLAGS, 0);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return !q->broken && load16(&q->avail[AVAIL_IDX]) != q->next_avail;
}

/* With event indexes there is no need: the old one is behind the driver already. */
void vq_no_kick(struct vq *q)
{
	if (!q->event_idx)
		store16(q->used + USED_FLAGS, VRING_USED_F_NO_NOTIFY);
}

/* ---- their bytes ------------------------------------------------------------------ */

unsigned int vq_slice(const struct iovec *iov, unsigned int n, uint64_t offset, uint64_t len,
		      struct iovec out[VQ_SIZE_MAX])
{
	unsigned int count = 0;
	uint64_t part;

	for (; n && len; n--, iov++) {
		if (offset >= iov->iov_len) {
			offset -= iov->iov_len;
			continue;
		}
		part = iov->iov_len - offset < len ? iov->iov_len - offset : len;
		out[count++] = (struct iovec){ (uint8_t *)iov->iov_base + offset, part };
		offset = 0;
		len -= part;
	}
	return count;
}

static size_t copy(const struct iovec *iov, unsigned int n, uint64_t offset, uint8_t *buf, size_t len,
		   bool write)
{
	size_t done = 0, part;

	for (; n && done < len; n--, iov++) {
		if (offset >= iov->iov_len) {
			offset -= iov->iov_len;
			continue;
		}
		part = iov->iov_len - offset < len - done ? iov->iov_len - offset : len - done;
		if (write)
			memcpy((uint8_t *)iov->iov_base + offset, buf + done, part);
		else
			memcpy(buf + done, (uint8_t *)iov->iov_base + offset, part);
		offset = 0;
		done += part;
	}
	return done;
}

size_t vq_read(const struct vq_chain *c, uint64_t offset, void *buf, size_t len)
{
	size_t done = copy(c->iov, c->out, offset, buf, len, false);

	__asm__ __volatile__("" : : : "memory");	/* what was read is not read again */
	return done;
}

size_t vq_write(const struct vq_chain *c, uint64_t offset, const void *buf, size_t len)
{
	return copy(c->iov + c->out, c->in, offset, (uint8_t *)buf, len, true);
}
