// SPDX-License-Identifier: GPL-2.0
/* 16550A (National PC16550D data sheet). The line is infinitely fast. */
#include <string.h>

#include "dev.h"

enum { R_DATA, R_IER, R_IIR_FCR, R_LCR, R_MCR, R_LSR, R_MSR, R_SCR };

#define IER_RX		0x01
#define IER_TX		0x02
#define IER_LINE	0x04
#define IER_MODEM	0x08

#define IIR_NONE	0x01
#define IIR_MODEM	0x00
#define IIR_TX		0x02
#define IIR_RX		0x04
#define IIR_LINE	0x06
#define IIR_TIMEOUT	0x0c
#define IIR_FIFO	0xc0

#define FCR_ENABLE	0x01
#define FCR_CLEAR_RX	0x02
#define FCR_KEPT	0xc9	/* the rest clears itself or is reserved */

#define LCR_DLAB	0x80

#define MCR_DTR		0x01
#define MCR_RTS		0x02
#define MCR_OUT1	0x04
#define MCR_OUT2	0x08
#define MCR_LOOP	0x10

#define LSR_DATA	0x01
#define LSR_OVERRUN	0x02
#define LSR_ERRORS	0x1e
#define LSR_TX_EMPTY	0x60	/* THR and shift register */

#define MSR_CTS		0x10
#define MSR_DSR		0x20
#define MSR_RI		0x40
#define MSR_DCD		0x80
#define MSR_DELTA	0x0f
#define MSR_DELTA_RI	0x04	/* trailing edge only */

static unsigned int uart_depth(const struct uart *u)
{
	return u->fcr & FCR_ENABLE ? UART_FIFO : 1;
}

static unsigned int uart_trigger(const struct uart *u)
{
	static const uint8_t level[] = { 1, 4, 8, 14 };

	return u->fcr & FCR_ENABLE ? level[u->fcr >> 6] : 1;
}

/*
 * Data below the trigger level is reported by the character timeout, which
 * has always run out: the sender has nothing more at this moment.
 */
static uint8_t uart_iir(const struct uart *u)
{
	if ((u->ier & IER_LINE) && (u->lsr & LSR_ERRORS))
		return IIR_LINE;
	if ((u->ier & IER_RX) && u->count)
		return u->count >= uart_trigger(u) ? IIR_RX : IIR_TIMEOUT;
	if ((u->ier & IER_TX) && u->thre)
		return IIR_TX;
	if ((u->ier & IER_MODEM) && (u->msr & MSR_DELTA))
		return IIR_MODEM;
	return IIR_NONE;
}

/* On a PC OUT2 gates the interrupt, and loopback turns OUT2's pin off. */
static void uart_update(struct uart *u)
{
	irq_set(&u->irq, uart_iir(u) != IIR_NONE && (u->mcr & (MCR_OUT2 | MCR_LOOP)) == MCR_OUT2);
}

static void uart_push(struct uart *u, uint8_t byte)
{
	if (u->count == uart_depth(u)) {
		u->lsr |= LSR_OVERRUN;
		if (u->fcr & FCR_ENABLE)
			return;
		u->count = 0;
	}
	u->rx[(u->head + u->count++) % UART_FIFO] = byte;
}

unsigned int uart_room(const struct uart *u)
{
	return u->mcr & MCR_LOOP ? 0 : uart_depth(u) - u->count;
}

void uart_receive(struct uart *u, uint8_t byte)
{
	if (!uart_room(u))
		return;
	uart_push(u, byte);
	uart_update(u);
}

static void uart_transmit(struct uart *u, uint8_t byte)
{
	/* The line falls and rises again: an edge for the I/O APIC. */
	u->thre = false;
	uart_update(u);
	if (u->mcr & MCR_LOOP)
		uart_push(u, byte);
	else
		u->tx(u->tx_ctx, byte);
	u->thre = true;
	uart_update(u);
}

/* The modem lines: a terminal that is always there, or our own in loopback. */
static void uart_modem(struct uart *u)
{
	uint8_t now = MSR_CTS | MSR_DSR | MSR_DCD, changed, delta;

	if (u->mcr & MCR_LOOP)
		now = (u->mcr & MCR_RTS ? MSR_CTS : 0) | (u->mcr & MCR_DTR ? MSR_DSR : 0) |
		      (u->mcr & MCR_OUT1 ? MSR_RI : 0) | (u->mcr & MCR_OUT2 ? MSR_DCD : 0);
	changed = (u->msr ^ now) & ~MSR_DELTA;
	delta = changed >> 4;
	if (now & MSR_RI)
		delta &= ~MSR_DELTA_RI;
	u->msr = now | (u->msr & MSR_DELTA) | delta;
}

static void uart_write_fcr(struct uart *u, uint8_t value)
{
	if ((value ^ u->fcr) & FCR_ENABLE)
		value |= FCR_CLEAR_RX;
	if (value & FCR_CLEAR_RX)
		u->count = 0;
	u->fcr = value & FCR_ENABLE ? value & FCR_KEPT : 0;
}

uint64_t uart_read(void *dev, uint64_t offset, unsigned int size)
{
	struct uart *u = dev;
	uint8_t value = 0;

	switch (offset) {
	case R_DATA:
		if (u->lcr & LCR_DLAB)
			return u->dll;
		if (u->count) {
			value = u->rx[u->head];
			u->head = (u->head + 1) % UART_FIFO;
			u->count--;
		}
		break;
	case R_IER:
		return u->lcr & LCR_DLAB ? u->dlm : u->ier;
	case R_IIR_FCR:
		value = uart_iir(u);
		if (value == IIR_TX)
			u->thre = false;
		value |= u->fcr & FCR_ENABLE ? IIR_FIFO : 0;
		break;
	case R_LCR:
		return u->lcr;
	case R_MCR:
		return u->mcr;
	case R_LSR:
		value = u->lsr | LSR_TX_EMPTY | (u->count ? LSR_DATA : 0);
		u->lsr &= ~LSR_ERRORS;
		break;
	case R_MSR:
		value = u->msr;
		u->msr &= ~MSR_DELTA;
		break;
	case R_SCR:
		return u->scr;
	}
	uart_update(u);
	return value;
}

void uart_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct uart *u = dev;

	switch (offset) {
	case R_DATA:
		if (u->lcr & LCR_DLAB)
			u->dll = value;
		else
			uart_transmit(u, value);
		return;
	case R_IER:
		if (u->lcr & LCR_DLAB) {
			u->dlm = value;
			return;
		}
		/* The transmitter is empty: enabling its interrupt raises it. */
		if (value & ~u->ier & IER_TX)
			u->thre = true;
		u->ier = value & 0x0f;
		break;
	case R_IIR_FCR:
		uart_write_fcr(u, value);
		break;
	case R_LCR:
		u->lcr = value;
		break;
	case R_MCR:
		u->mcr = value & 0x1f;
		uart_modem(u);
		break;
	case R_SCR:
		u->scr = value;
		break;
	}
	uart_update(u);
}

void uart_init(struct uart *u)
{
	u->ier = u->fcr = u->lcr = u->mcr = u->lsr = u->scr = u->dlm = 0;
	u->dll = 1;		/* 115200 baud */
	u->msr = MSR_CTS | MSR_DSR | MSR_DCD;
	u->thre = true;
	u->head = u->count = 0;
}
