// SPDX-License-Identifier: GPL-2.0
/* Two cascaded 8259A (Intel 8259A data sheet) and the edge/level registers. */
#include <string.h>

#include "dev.h"

#define ICW1_INIT	0x10
#define ICW1_ICW4	0x01
#define ICW1_SINGLE	0x02
#define ICW4_AEOI	0x02
#define ICW4_NESTED	0x10	/* special fully nested mode */
#define OCW3_SELECT	0x08
#define CASCADE		2

/* Lines in the order of priority, highest first: lowest + 1, lowest + 2 ... */
static int pic_highest(const struct pic_chip *c, uint8_t set)
{
	int i;

	for (i = 1; i <= 8; i++) {
		int line = (c->lowest + i) & 7;

		if (set & (1 << line))
			return line;
	}
	return -1;
}

/* The line in service of the highest priority, or -1; masked ones are none in special mask mode. */
static int pic_busy(const struct pic_chip *c)
{
	return pic_highest(c, c->special_mask ? c->isr & ~c->imr : c->isr);
}

/*
 * The line to serve next, or -1. In special fully nested mode a slave in service
 * may ask again: for a line that is higher among its own.
 */
static int pic_pending(const struct pic_chip *c)
{
	int line = pic_highest(c, c->irr & ~c->imr), busy = pic_busy(c);

	if (line < 0 || busy < 0)
		return line;
	if (line == busy && line == CASCADE && (c->icw4 & ICW4_NESTED) && !c->slave)
		return line;
	return ((line - c->lowest - 1) & 7) < ((busy - c->lowest - 1) & 7) ? line : -1;
}

static void chip_set(struct pic_chip *c, unsigned int line, bool level)
{
	uint8_t bit = 1 << line;

	if (level && (!(c->lines & bit) || (c->elcr & bit)))
		c->irr |= bit;
	if (!level)
		c->irr &= ~bit;
	c->lines = level ? c->lines | bit : c->lines & ~bit;
}

static void pic_cascade(struct pic *p)
{
	struct pic_chip *m = &p->chip[0];

	/* A new request of the slave is a new edge at the master. */
	chip_set(m, CASCADE, false);
	chip_set(m, CASCADE, pic_pending(&p->chip[1]) >= 0);
}

void pic_set(struct pic *p, unsigned int irq, bool level)
{
	if (irq >= 16 || irq == CASCADE)
		return;
	chip_set(&p->chip[irq / 8], irq % 8, level);
	pic_cascade(p);
}

bool pic_output(const struct pic *p)
{
	return pic_pending(&p->chip[0]) >= 0;
}

static unsigned int chip_acknowledge(struct pic_chip *c)
{
	int line = pic_pending(c);

	if (line < 0)
		return 7;	/* spurious */
	if (!(c->elcr & (1 << line)))
		c->irr &= ~(1 << line);
	if (!(c->icw4 & ICW4_AEOI))
		c->isr |= 1 << line;
	else if (c->rotate_aeoi)
		c->lowest = line;
	return line;
}

uint8_t pic_acknowledge(struct pic *p)
{
	unsigned int line = chip_acknowledge(&p->chip[0]);
	uint8_t vector = p->chip[0].base + line;

	if (line == CASCADE)
		vector = p->chip[1].base + chip_acknowledge(&p->chip[1]);
	pic_cascade(p);
	return vector;
}

static void chip_reset(struct pic_chip *c)
{
	uint8_t lines = c->lines, elcr = c->elcr, mask = c->elcr_mask;
	bool slave = c->slave;

	memset(c, 0, sizeof(*c));
	c->lines = lines;
	c->elcr = elcr;
	c->elcr_mask = mask;
	c->slave = slave;
	c->irr = lines & elcr;
	c->lowest = 7;
}

/* OCW2: bits 7:5 rotate, specific, EOI; 2:0 the line. */
static void chip_ocw2(struct pic_chip *c, uint8_t value)
{
	int line = value & 7;

	if (!(value & 0x40))
		line = pic_busy(c);
	if ((value & 0x20) && line >= 0)
		c->isr &= ~(1 << line);
	if ((value & 0x80) && line >= 0 && (value & 0x60))
		c->lowest = line;
	if (!(value & 0x60))
		c->rotate_aeoi = value & 0x80;
}

static void chip_write(struct pic_chip *c, uint64_t offset, uint8_t value)
{
	if (offset == 0 && (value & ICW1_INIT)) {
		chip_reset(c);
		c->single = value & ICW1_SINGLE;
		c->icw_step = 2;
		c->icw4 = value & ICW1_ICW4 ? 0x80 : 0;	/* 0x80: still to come */
	} else if (offset == 0 && (value & OCW3_SELECT)) {
		if (value & 0x02)
			c->read_isr = value & 0x01;
		if (value & 0x40)
			c->special_mask = value & 0x20;
		c->poll = value & 0x04;
	} else if (offset == 0) {
		chip_ocw2(c, value);
	} else if (c->icw_step == 2) {
		c->base = value & 0xf8;
		c->icw_step = !c->single ? 3 : c->icw4 ? 4 : 0;
	} else if (c->icw_step == 3) {
		c->icw_step = c->icw4 ? 4 : 0;
	} else if (c->icw_step == 4) {
		c->icw4 = value & 0x1f;
		c->icw_step = 0;
	} else {
		c->imr = value;
	}
}

static uint8_t chip_read(struct pic_chip *c, uint64_t offset)
{
	if (c->poll) {
		int line = pic_pending(c);

		c->poll = false;
		if (line < 0)
			return 0;
		return 0x80 | chip_acknowledge(c);
	}
	if (offset)
		return c->imr;
	return c->read_isr ? c->isr : c->irr;
}

uint64_t pic_master_read(void *dev, uint64_t offset, unsigned int size)
{
	struct pic *p = dev;
	uint8_t value = chip_read(&p->chip[0], offset);

	pic_cascade(p);		/* a poll serves a line */
	return value;
}

void pic_master_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pic *p = dev;

	chip_write(&p->chip[0], offset, value);
	pic_cascade(p);
}

uint64_t pic_slave_read(void *dev, uint64_t offset, unsigned int size)
{
	struct pic *p = dev;
	uint8_t value = chip_read(&p->chip[1], offset);

	pic_cascade(p);
	return value;
}

void pic_slave_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pic *p = dev;

	chip_write(&p->chip[1], offset, value);
	pic_cascade(p);
}

uint64_t pic_elcr_read(void *dev, uint64_t offset, unsigned int size)
{
	struct pic *p = dev;

	return p->chip[offset & 1].elcr;
}

void pic_elcr_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pic *p = dev;
	struct pic_chip *c = &p->chip[offset & 1];

	c->elcr = value & c->elcr_mask;
	/* A line that is high asks at once when it becomes level-triggered. */
	c->irr |= c->lines & c->elcr;
	pic_cascade(p);
}

void pic_init(struct pic *p)
{
	memset(p, 0, sizeof(*p));
	/* Timer, keyboard, cascade, RTC and FPU lines are edge, always. */
	p->chip[0].elcr_mask = 0xf8;
	p->chip[1].elcr_mask = 0xde;
	p->chip[1].slave = true;
	chip_reset(&p->chip[0]);
	chip_reset(&p->chip[1]);
}
