// SPDX-License-Identifier: GPL-2.0
/* 8254 interval timer (Intel 8254 data sheet) and system control port 0x61. */
#include <string.h>

#include "dev.h"

#define RW_LATCH	0
#define RW_LOW		1
#define RW_HIGH		2
#define RW_BOTH		3

#define STATUS_OUT	0x80
#define STATUS_NULL	0x40

#define READBACK	3
#define READBACK_NOCOUNT  0x20
#define READBACK_NOSTATUS 0x10

#define P61_GATE	0x01
#define P61_WRITABLE	0x0f	/* gate, speaker, and two that nothing here listens to */
#define P61_REFRESH	0x10
#define P61_OUT		0x20
#define REFRESH_NS	15085

static bool periodic(const struct pit_channel *c)
{
	return c->mode == 2 || c->mode == 3;
}

/* Clock ticks since the count began; the gate stops them. */
static uint64_t pit_elapsed(const struct pit *p, const struct pit_channel *c)
{
	if (!c->armed)
		return 0;
	if (!c->gate && c->mode != 1 && c->mode != 5)
		return c->frozen;
	return dev_ns_to_ticks(dev_now(p->clock) - c->start, PIT_HZ);
}

static bool pit_out(const struct pit *p, const struct pit_channel *c)
{
	uint64_t t = pit_elapsed(p, c);

	switch (c->mode) {
	case 0:
		return c->armed && t >= c->reload;
	case 1:
		return !c->armed || t >= c->reload;
	case 2:
		return !c->armed || !c->gate || t % c->reload != c->reload - 1;
	case 3:
		return !c->armed || !c->gate || t % c->reload < (c->reload + 1) / 2;
	}
	return !c->armed || t != c->reload;	/* 4, 5: low for one tick */
}

/* The ticks of a period in which OUT is high, the first ones, in mode 3. */
static uint32_t high_ticks(uint32_t reload)
{
	return (reload + 1) / 2;
}

static uint16_t pit_count(const struct pit *p, const struct pit_channel *c)
{
	uint64_t t = pit_elapsed(p, c), n;
	uint32_t wrap = c->bcd ? 10000 : 65536, high = high_ticks(c->reload);

	if (c->mode == 2) {
		n = c->reload - t % c->reload;
	} else if (c->mode == 3) {
		/* Each half counts down an even number by two. */
		t %= c->reload;
		n = (c->reload & ~1U) - 2 * (t < high ? t : t - high);
	} else {
		n = (c->reload + wrap - t % wrap) % wrap;
	}
	n %= wrap;
	if (c->bcd)
		n = n / 1000 << 12 | n / 100 % 10 << 8 | n / 10 % 10 << 4 | n % 10;
	return n;
}

/*
 * When channel 0's output rises next behind tick t, which is IRQ 0, or its count
 * changes. That may have come by now, as the clock goes on: pit_tick() is late then.
 */
static void pit_schedule(struct pit *p, uint64_t t)
{
	const struct pit_channel *c = &p->ch[0];
	uint64_t at;

	p->next = DEV_NEVER;
	if (!c->armed || !c->gate)
		return;
	at = periodic(c) ? (t / c->reload + 1) * c->reload : c->reload + (c->mode >= 4);
	p->rises = !c->next || at <= c->change;
	if (!p->rises)
		at = c->change;
	if (at > t || c->next)
		p->next = c->start + dev_ticks_to_ns(at, PIT_HZ);
}

/* The time has come for the count that was written last, in modes 2 and 3. */
static void pit_settle(struct pit *p, struct pit_channel *c)
{
	bool low;

	if (!c->next || !c->armed || !periodic(c) || pit_elapsed(p, c) < c->change)
		return;
	low = c->mode == 3 && c->change % c->reload;
	c->start += dev_ticks_to_ns(c->change, PIT_HZ);
	c->reload = c->next;
	if (low)
		c->start -= dev_ticks_to_ns(high_ticks(c->reload), PIT_HZ);
	c->next = 0;
	c->null = false;
}

/* Late ticks come once: a guest that was not run has no use for a burst. */
void pit_tick(struct pit *p)
{
	struct pit_channel *c = &p->ch[0];
	bool edge = p->rises;

	if (dev_now(p->clock) < p->next)
		return;
	pit_settle(p, c);
	if (edge || (periodic(c) && pit_elapsed(p, c) >= c->reload)) {
		irq_set(&p->irq, false);
		irq_set(&p->irq, true);
	}
	pit_schedule(p, pit_elapsed(p, c));
}

uint64_t pit_deadline(struct pit *p)
{
	return p->next;
}

static void pit_begin(struct pit *p, struct pit_channel *c, uint32_t count)
{
	c->reload = count;
	c->next = 0;
	c->null = false;
	c->frozen = 0;
	c->start = dev_now(p->clock);
	c->armed = true;
}

/* Modes 2 and 3 end the period, or its half, with the old count. */
static void pit_begin_later(struct pit *p, struct pit_channel *c, uint32_t count)
{
	uint64_t t = pit_elapsed(p, c), high = high_ticks(c->reload);

	if (!c->next) {
		c->change = t - t % c->reload;
		c->change += c->mode == 3 && t % c->reload < high ? high : c->reload;
	}
	c->next = count;
	c->null = true;
}

static void pit_load(struct pit *p, struct pit_channel *c, uint16_t value)
{
	uint32_t n = value;
	uint64_t t = 0;

	if (c->bcd)
		n = (n >> 12) * 1000 + (n >> 8 & 15) * 100 + (n >> 4 & 15) * 10 + (n & 15);
	if (!n)
		n = c->bcd ? 10000 : 65536;
	/* These count no 1 (8254 data sheet, "minimum count"). */
	if (n == 1 && periodic(c))
		n = 2;
	if (c->mode == 1 || c->mode == 5 || (periodic(c) && !c->gate)) {
		c->next = n;		/* at the gate's rise */
		c->change = UINT64_MAX;
		c->null = true;
	} else if (periodic(c) && c->armed) {
		pit_begin_later(p, c, n);
		t = pit_elapsed(p, c);
	} else {
		pit_begin(p, c, n);
	}
	if (c == &p->ch[0]) {
		if (!periodic(c))
			irq_set(&p->irq, c->mode != 0);
		pit_schedule(p, t);
	}
}

static void pit_latch_count(const struct pit *p, struct pit_channel *c)
{
	if (c->count_latched)
		return;
	c->latch = pit_count(p, c);
	c->count_latched = c->rw == RW_BOTH ? 2 : 1;
}

static void pit_latch_status(const struct pit *p, struct pit_channel *c)
{
	if (c->status_latched)
		return;
	c->status_latched = true;
	c->status = (pit_out(p, c) ? STATUS_OUT : 0) | (c->null ? STATUS_NULL : 0) |
		    c->rw << 4 | c->mode << 1 | c->bcd;
}

static void pit_readback(struct pit *p, uint8_t value)
{
	unsigned int i;

	for (i = 0; i < 3; i++) {
		if (!(value & (2 << i)))
			continue;
		pit_settle(p, &p->ch[i]);
		if (!(value & READBACK_NOCOUNT))
			pit_latch_count(p, &p->ch[i]);
		if (!(value & READBACK_NOSTATUS))
			pit_latch_status(p, &p->ch[i]);
	}
}

static void pit_control(struct pit *p, uint8_t value)
{
	struct pit_channel *c = &p->ch[value >> 6 & 3];
	uint8_t rw = value >> 4 & 3, mode = value >> 1 & 7;

	if (value >> 6 == READBACK) {
		pit_readback(p, value);
		return;
	}
	if (rw == RW_LATCH) {
		pit_settle(p, c);
		pit_latch_count(p, c);
		return;
	}
	c->rw = rw;
	c->mode = mode > 5 ? mode & 3 : mode;	/* 6 and 7 are 2 and 3 */
	c->bcd = value & 1;
	c->null = true;
	c->armed = false;
	c->next = 0;
	c->read_high = c->write_high = c->status_latched = false;
	c->count_latched = 0;
	if (c == &p->ch[0]) {
		p->next = DEV_NEVER;
		irq_set(&p->irq, c->mode != 0);
	}
}

uint64_t pit_read(void *dev, uint64_t offset, unsigned int size)
{
	struct pit *p = dev;
	struct pit_channel *c = &p->ch[offset % 3];
	uint16_t count;
	bool high;

	if (offset == 3)
		return 0xff;	/* the control word is write-only */
	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	if (c->count_latched) {
		high = c->rw == RW_HIGH || (c->rw == RW_BOTH && c->count_latched == 1);
		c->count_latched--;
		return high ? c->latch >> 8 : c->latch & 0xff;
	}
	pit_settle(p, c);
	count = pit_count(p, c);
	high = c->rw == RW_HIGH || (c->rw == RW_BOTH && c->read_high);
	c->read_high = c->rw == RW_BOTH && !c->read_high;
	return high ? count >> 8 : count & 0xff;
}

void pit_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pit *p = dev;
	struct pit_channel *c = &p->ch[offset % 3];

	if (offset == 3) {
		pit_control(p, value);
		return;
	}
	pit_settle(p, c);
	if (c->rw == RW_LOW) {
		pit_load(p, c, value);
	} else if (c->rw == RW_HIGH) {
		pit_load(p, c, value << 8);
	} else if (!c->write_high) {
		c->low = value;
		c->write_high = true;
		if (c->mode == 0) {	/* the first byte stops the count, and OUT is low */
			c->armed = false;
			if (c == &p->ch[0]) {
				irq_set(&p->irq, false);
				p->next = DEV_NEVER;
			}
		}
	} else {
		c->write_high = false;
		pit_load(p, c, value << 8 | c->low);
	}
}

static void pit_gate(struct pit *p, struct pit_channel *c, bool gate)
{
	if (gate == c->gate)
		return;
	pit_settle(p, c);
	if (!gate)
		c->frozen = pit_elapsed(p, c);
	c->gate = gate;
	if (!gate)
		return;
	if (c->mode == 0 || c->mode == 4)
		c->start = dev_now(p->clock) - dev_ticks_to_ns(c->frozen, PIT_HZ);
	else if (c->next || !c->null)
		pit_begin(p, c, c->next ? c->next : c->reload);
}

uint64_t pit_port61_read(void *dev, uint64_t offset, unsigned int size)
{
	struct pit *p = dev;

	pit_settle(p, &p->ch[2]);
	return p->port61 | (dev_now(p->clock) / REFRESH_NS & 1 ? P61_REFRESH : 0) |
	       (pit_out(p, &p->ch[2]) ? P61_OUT : 0);
}

void pit_port61_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pit *p = dev;

	p->port61 = value & P61_WRITABLE;
	pit_gate(p, &p->ch[2], value & P61_GATE);
}

void pit_init(struct pit *p, struct dev_clock *clock)
{
	unsigned int i;

	memset(p->ch, 0, sizeof(p->ch));
	p->clock = clock;
	p->next = DEV_NEVER;
	p->port61 = 0;
	p->rises = false;
	for (i = 0; i < 3; i++) {
		p->ch[i].rw = RW_BOTH;
		p->ch[i].mode = 3;
		p->ch[i].null = true;
		p->ch[i].reload = 65536;
		p->ch[i].gate = i != 2;
	}
}
