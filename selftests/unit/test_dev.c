// SPDX-License-Identifier: GPL-2.0
/* The device models of `cleave run`, driven as a guest drives them. */
#include <errno.h>

#include "unit.h"
#include "../../userspace-tool/dev/bus.c"
#include "../../userspace-tool/dev/debugcon.c"
#include "../../userspace-tool/dev/debugexit.c"
#include "../../userspace-tool/dev/fwcfg.c"
#include "../../userspace-tool/dev/ioapic.c"
#include "../../userspace-tool/dev/pic.c"
#include "../../userspace-tool/dev/pit.c"
#include "../../userspace-tool/dev/pm.c"
#include "../../userspace-tool/dev/rtc.c"
#include "../../userspace-tool/dev/testdev.c"
#include "../../userspace-tool/dev/uart.c"

/* ---- the machine around them ------------------------------------------------ */

static uint64_t t_ns, t_step;	/* t_step: the clock goes on at each look */
static unsigned int t_edges, t_sent, t_msis, t_takers;
static bool t_level;
static uint8_t t_out[64];
static uint64_t t_address;
static uint32_t t_data;
static enum pm_request t_request;

static uint64_t t_now(struct dev_clock *clock)
{
	return t_ns += t_step;
}

static struct dev_clock t_clock = { t_now };

static void t_irq(void *ctx, unsigned int nr, bool level)
{
	t_edges += level;
	t_level = level;
}

static void t_tx(void *ctx, uint8_t byte)
{
	t_out[t_sent++ % sizeof(t_out)] = byte;
}

static int t_msi(void *ctx, uint64_t address, uint32_t data)
{
	t_msis++;
	t_address = address;
	t_data = data;
	return t_takers;
}

static void t_power(void *ctx, enum pm_request what)
{
	t_request = what;
}

static const struct irq_line t_line = { .set = t_irq };

static void t_reset(void)
{
	t_ns = 5 * NS_PER_SEC;
	t_step = t_edges = t_sent = t_msis = 0;
	t_takers = 1;
	t_level = false;
	t_request = PM_NONE;
}

/* ---- bus -------------------------------------------------------------------- */

static uint64_t b_read(void *dev, uint64_t offset, unsigned int size)
{
	return 0x11 * (offset + 1);
}

static void b_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	((uint8_t *)dev)[offset] = value;
}

UNIT_TEST(bus_ranges)
{
	struct bus bus = { 0 };
	uint8_t mem[4] = { 0 };
	struct bus_range r = { 0x100, 4, 1, mem, b_read, b_write };

	CHECK_EQ(bus_add(&bus, &r), 0);
	r.base = 0x103;
	CHECK_EQ(bus_add(&bus, &r), -EEXIST);
	r.base = 0xfd;
	CHECK_EQ(bus_add(&bus, &r), -EEXIST);
	r.base = 0xfc;
	CHECK_EQ(bus_add(&bus, &r), 0);
	r.size = 0;
	CHECK_EQ(bus_add(&bus, &r), -EINVAL);
	CHECK_EQ(bus_read(&bus, 0x80, 1), 0xff);
	CHECK_EQ(bus_read(&bus, 0x80, 2), 0xffff);
	CHECK_EQ(bus_read(&bus, 0x80, 4), 0xffffffff);
	CHECK_EQ(bus_read(&bus, 0x80, 8), -1);
	CHECK_EQ(bus_read(&bus, 0x100, 1), 0x11);
	CHECK_EQ(bus_read(&bus, 0x102, 4), 0xffff4433);	/* half of it is nobody's */
	bus_write(&bus, 0x100, 4, 0x04030201);
	CHECK(!memcmp(mem, "\1\2\3\4", 4));
	bus_write(&bus, 0x5000, 4, 1);
	bus_write(&bus, 0x5000, 1, 1);
}

UNIT_TEST(bus_full)
{
	struct bus bus = { 0 };
	struct bus_range r = { 0, 1, 1, NULL, NULL, NULL };
	int i;

	for (i = 0; i < BUS_MAX_RANGES; i++, r.base++)
		CHECK_EQ(bus_add(&bus, &r), 0);
	CHECK_EQ(bus_add(&bus, &r), -ENOSPC);
	CHECK_EQ(bus_read(&bus, 3, 1), 0xff);	/* no read function */
}

/* ---- uart ------------------------------------------------------------------- */

static struct uart uart;

static uint8_t ur(unsigned int reg)
{
	return uart_read(&uart, reg, 1);
}

static void uw(unsigned int reg, uint8_t value)
{
	uart_write(&uart, reg, 1, value);
}

static void u_start(uint8_t ier, uint8_t fcr)
{
	t_reset();
	memset(&uart, 0, sizeof(uart));
	uart.irq = t_line;
	uart.tx = t_tx;
	uart_init(&uart);
	uw(4, 0x0b);
	uw(2, fcr);
	uw(1, ier);
}

UNIT_TEST(uart_registers)
{
	u_start(0, 0);
	uw(7, 0x5a);
	CHECK_EQ(ur(7), 0x5a);
	uw(3, 0x83);
	uw(0, 0x0c);
	uw(1, 0x01);
	CHECK_EQ(ur(0), 0x0c);
	CHECK_EQ(ur(1), 0x01);
	uw(3, 0x03);
	CHECK_EQ(ur(3), 0x03);
	CHECK_EQ(ur(1), 0);
	uw(1, 0xff);
	CHECK_EQ(ur(1), 0x0f);	/* no sleep mode, no UUE */
	CHECK_EQ(ur(5), 0x60);
	CHECK_EQ(ur(6) & 0xf0, 0xb0);
	CHECK_EQ(ur(4), 0x0b);
}

UNIT_TEST(uart_is_16550a)
{
	u_start(0, 0);
	CHECK_EQ(ur(2), 0x01);
	uw(2, 0x01);
	CHECK_EQ(ur(2) >> 6, 3);
	uw(2, 0x21);		/* not a 16750 */
	CHECK_EQ(ur(2) >> 5, 6);
	uw(2, 0);
	CHECK_EQ(ur(2), 0x01);
}

UNIT_TEST(uart_transmits)
{
	u_start(0, 0x01);
	uw(0, 'h');
	uw(0, 'i');
	CHECK_EQ(t_sent, 2);
	CHECK(!memcmp(t_out, "hi", 2));
	CHECK_EQ(ur(5) & 0x60, 0x60);
	CHECK_EQ(t_edges, 0);
}

UNIT_TEST(uart_thre_interrupt)
{
	u_start(0, 0x01);
	uw(1, 0x02);
	CHECK(t_level);
	CHECK_EQ(ur(2), 0xc2);		/* reading it takes it back */
	CHECK(!t_level);
	CHECK_EQ(ur(2), 0xc1);
	uw(1, 0);
	uw(1, 0x02);			/* the THRE test of Linux' 8250 driver */
	CHECK_EQ(ur(2), 0xc2);
	uw(0, 'x');
	CHECK(t_level);
	CHECK_EQ(t_edges, 3);
	uw(0, 'y');			/* pending already: a new edge all the same */
	CHECK_EQ(t_edges, 4);
	uw(1, 0);
	CHECK(!t_level);
}

UNIT_TEST(uart_receives)
{
	int i;

	u_start(0x01, 0x81);		/* FIFO, trigger 8 */
	CHECK_EQ(uart_room(&uart), 16);
	uart_receive(&uart, 'a');
	CHECK(t_level);
	CHECK_EQ(ur(2), 0xcc);		/* below the trigger: timeout */
	for (i = 1; i < 8; i++)
		uart_receive(&uart, 'a' + i);
	CHECK_EQ(ur(2), 0xc4);
	CHECK_EQ(ur(5) & 1, 1);
	for (i = 0; i < 8; i++)
		CHECK_EQ(ur(0), 'a' + i);
	CHECK_EQ(ur(5) & 1, 0);
	CHECK(!t_level);
	CHECK_EQ(ur(0), 0);
	for (i = 0; i < 40; i++)
		uart_receive(&uart, i);
	CHECK_EQ(uart_room(&uart), 0);
	for (i = 0; i < 16; i++)
		CHECK_EQ(ur(0), i);
	CHECK_EQ(ur(5) & 2, 0);		/* the sender waited: no overrun */
	for (i = 0; i < 4; i++)
		uart_receive(&uart, i);
	uw(2, 0x83);
	CHECK_EQ(ur(5) & 1, 0);
	CHECK_EQ(uart_room(&uart), 16);
}

UNIT_TEST(uart_without_fifo)
{
	u_start(0x01, 0);
	CHECK_EQ(uart_room(&uart), 1);
	uart_receive(&uart, 'q');
	CHECK_EQ(uart_room(&uart), 0);
	uart_receive(&uart, 'r');
	CHECK_EQ(ur(2), 0x04);
	CHECK_EQ(ur(0), 'q');
	CHECK_EQ(ur(5) & 1, 0);
}

UNIT_TEST(uart_loopback)
{
	int i;

	u_start(0x0f, 0x01);
	ur(2);
	ur(6);
	uw(4, 0x1a);			/* what Linux' autoconfig() does */
	CHECK_EQ(ur(6) & 0xf0, 0x90);
	CHECK(!t_level);		/* OUT2's pin is off in loopback */
	CHECK_EQ(uart_room(&uart), 0);
	uw(0, 'z');
	CHECK_EQ(t_sent, 0);
	CHECK_EQ(ur(0), 'z');
	for (i = 0; i < 17; i++)
		uw(0, i);
	CHECK_EQ(ur(2), 0xc6);		/* overrun */
	CHECK_EQ(ur(5) & 2, 2);
	CHECK_EQ(ur(5) & 2, 0);
	uw(4, 0x14);			/* RI rises: no delta */
	ur(6);
	uw(4, 0x10);			/* RI falls: one */
	CHECK_EQ(ur(6), 0x04);
	uw(2, 0x03);
	uw(4, 0x1f);
	uw(4, 0x1b);
	CHECK_EQ(ur(2), 0xc2);
	CHECK_EQ(ur(2), 0xc0);		/* modem status */
	CHECK_EQ(ur(6) & 0x0f, 0x0f);
	CHECK_EQ(ur(2), 0xc1);
}

UNIT_TEST(uart_out2_gates)
{
	u_start(0x01, 0x01);
	uw(4, 0x03);
	uart_receive(&uart, 'a');
	CHECK(!t_level);
	uw(4, 0x0b);
	CHECK(t_level);
}

/* ---- I/O APIC ----------------------------------------------------------------- */

static struct ioapic io;

static uint32_t ir(uint8_t index)
{
	ioapic_write(&io, 0, 4, index);
	return ioapic_read(&io, 0x10, 4);
}

static void iw(uint8_t index, uint32_t value)
{
	ioapic_write(&io, 0, 4, index);
	ioapic_write(&io, 0x10, 4, value);
}

static void io_start(void)
{
	t_reset();
	memset(&io, 0, sizeof(io));
	io.msi = t_msi;
	ioapic_init(&io);
}

UNIT_TEST(ioapic_registers)
{
	unsigned int i;

	io_start();
	CHECK_EQ(ir(1), 0x00170020);
	iw(0, 0xffffffff);
	CHECK_EQ(ir(0), 0x0f000000);
	CHECK_EQ(ir(2), 0x0f000000);
	for (i = 0; i < 24; i++)
		CHECK_EQ(ir(0x10 + 2 * i), 0x10000);
	iw(0x10, 0xffffffff);
	iw(0x11, 0xffffffff);
	CHECK_EQ(ir(0x10), 0x0001afff);	/* status and remote IRR are read-only */
	CHECK_EQ(ir(0x11), 0xff000000);
	CHECK_EQ(ir(0x40), 0);
	CHECK_EQ(ir(0xff), 0);
	iw(0x40, 1);
	iw(0xff, 1);
	CHECK_EQ(ioapic_read(&io, 0x00, 4), 0xff);
	CHECK_EQ(ioapic_read(&io, 0x30, 4), 0);
	CHECK_EQ(t_msis, 0);
}

UNIT_TEST(ioapic_edge)
{
	io_start();
	ioapic_set(&io, 4, true);	/* masked: lost */
	iw(0x18, 0x0034);
	CHECK_EQ(t_msis, 0);
	ioapic_set(&io, 4, true);	/* no edge */
	CHECK_EQ(t_msis, 0);
	ioapic_set(&io, 4, false);
	ioapic_set(&io, 4, true);
	CHECK_EQ(t_msis, 1);
	CHECK_EQ(t_address, 0xfee00000);
	CHECK_EQ(t_data, 0x34);
	CHECK_EQ(ir(0x18), 0x34);
	iw(0x19, 0x03000000);
	iw(0x18, 0x0935);		/* logical, lowest priority */
	ioapic_set(&io, 4, false);
	ioapic_set(&io, 4, true);
	CHECK_EQ(t_address, 0xfee0300c);
	CHECK_EQ(t_data, 0x135);
	iw(0x18, 0x0700);		/* ExtINT: not ours to deliver */
	ioapic_set(&io, 4, false);
	ioapic_set(&io, 4, true);
	CHECK_EQ(t_msis, 2);
	ioapic_set(&io, 24, true);
	ioapic_set(&io, 200, true);
}

UNIT_TEST(ioapic_level_and_eoi)
{
	io_start();
	iw(0x10 + 18, 0x18059);		/* pin 9, level, masked */
	ioapic_set(&io, 9, true);
	CHECK_EQ(t_msis, 0);
	iw(0x10 + 18, 0x08059);
	CHECK_EQ(t_msis, 1);
	CHECK_EQ(t_data, 0xc059);
	CHECK_EQ(ir(0x10 + 18), 0xc059);
	ioapic_set(&io, 9, false);
	ioapic_set(&io, 9, true);	/* in service: nothing new */
	CHECK_EQ(t_msis, 1);
	ioapic_eoi(&io, 0x58);
	CHECK_EQ(t_msis, 1);
	ioapic_eoi(&io, 0x59);		/* still high: again */
	CHECK_EQ(t_msis, 2);
	ioapic_set(&io, 9, false);
	ioapic_write(&io, 0x40, 4, 0x59);
	CHECK_EQ(t_msis, 2);
	CHECK_EQ(ir(0x10 + 18), 0x8059);
	t_takers = 0;			/* nobody took it: not in service */
	ioapic_set(&io, 9, true);
	CHECK_EQ(ir(0x10 + 18), 0x8059);
	t_takers = 1;
	ioapic_set(&io, 9, true);
	CHECK_EQ(ir(0x10 + 18), 0xc059);
	CHECK(!ioapic_passes_extint(&io));
	iw(0x10, 0x0700);		/* pin 0 passes the PIC on */
	CHECK(ioapic_passes_extint(&io));
	iw(0x10, 0x10700);
	CHECK(!ioapic_passes_extint(&io));
	iw(0x10 + 6, 0x8400);		/* an NMI by level ends by no EOI */
	ioapic_set(&io, 3, true);
	CHECK_EQ(ir(0x10 + 6), 0x8400);
	iw(0x10 + 18, 0x10059);		/* to edge and back frees it */
	iw(0x10 + 18, 0x18059);
	CHECK_EQ(ir(0x10 + 18), 0x18059);
}

/* ---- PIT ------------------------------------------------------------------------ */

static struct pit pit;

static void p_start(void)
{
	t_reset();
	memset(&pit, 0, sizeof(pit));
	pit.irq = t_line;
	pit_init(&pit, &t_clock);
}

static void pw(unsigned int port, uint8_t value)
{
	pit_write(&pit, port, 1, value);
}

static uint16_t p_count(unsigned int ch)
{
	uint16_t low = pit_read(&pit, ch, 1);

	return low | pit_read(&pit, ch, 1) << 8;
}

static void p_wait(uint64_t ticks)
{
	t_ns += dev_ticks_to_ns(ticks, PIT_HZ);
}

UNIT_TEST(pit_mode2_interrupts)
{
	uint64_t first;
	unsigned int i;

	p_start();
	CHECK_EQ(pit_deadline(&pit), DEV_NEVER);
	pw(3, 0x34);
	pw(0, 11932 & 0xff);
	pw(0, 11932 >> 8);
	first = pit_deadline(&pit);
	CHECK_EQ(first - t_ns, dev_ticks_to_ns(11932, PIT_HZ));
	t_edges = 0;
	pit_tick(&pit);
	CHECK_EQ(t_edges, 0);
	for (i = 1; i <= 5; i++) {
		t_ns = pit_deadline(&pit);
		pit_tick(&pit);
		CHECK_EQ(t_edges, i);
	}
	CHECK_EQ(t_ns - first, dev_ticks_to_ns(5 * 11932, PIT_HZ) - dev_ticks_to_ns(11932, PIT_HZ));
	t_ns += NS_PER_SEC;		/* 100 periods late: one edge */
	pit_tick(&pit);
	CHECK_EQ(t_edges, 6);
	CHECK(pit_deadline(&pit) > t_ns);
}

UNIT_TEST(pit_mode2_counts)
{
	p_start();
	pw(3, 0x34);
	pw(0, 0);
	pw(0, 0);			/* 65,536 */
	CHECK_EQ(p_count(0), 0);
	p_wait(1000);
	pw(3, 0x00);			/* latch */
	p_wait(500);
	CHECK_EQ(p_count(0), 65536 - 1000);
	CHECK_EQ(p_count(0), 65536 - 1500);
	pw(3, 0x34);
	pw(0, 1);
	pw(0, 0);			/* not a count of mode 2 */
	p_wait(7);
	CHECK(p_count(0) <= 2);
}

UNIT_TEST(pit_mode0_channel2)
{
	p_start();			/* as pit_calibrate_tsc() of Linux does */
	pit_port61_write(&pit, 0, 1, 0x01);
	pw(3, 0xb0);
	pw(2, 0x9b);
	CHECK_EQ(pit_port61_read(&pit, 0, 1) & 0x20, 0);
	pw(2, 0x2e);
	CHECK_EQ(pit_port61_read(&pit, 0, 1) & 0x21, 0x01);
	p_wait(0x2e9a);
	CHECK_EQ(pit_port61_read(&pit, 0, 1) & 0x20, 0);
	pit_port61_write(&pit, 0, 1, 0x00);	/* the gate stops it */
	p_wait(100);
	CHECK_EQ(pit_port61_read(&pit, 0, 1) & 0x20, 0);
	pit_port61_write(&pit, 0, 1, 0x03);
	CHECK_EQ(pit_port61_read(&pit, 0, 1) & 0x03, 0x03);
	p_wait(2);
	CHECK_EQ(pit_port61_read(&pit, 0, 1) & 0x20, 0x20);
	CHECK(p_count(2) > 0xff00);	/* it counts on */
	t_ns += REFRESH_NS;
	CHECK(pit_port61_read(&pit, 0, 1) & 0x20);
}

UNIT_TEST(pit_mode0_interrupt_once)
{
	p_start();
	pw(3, 0x30);
	pw(0, 100);
	pw(0, 0);
	t_edges = 0;
	t_ns = pit_deadline(&pit);
	pit_tick(&pit);
	CHECK_EQ(t_edges, 1);
	CHECK_EQ(pit_deadline(&pit), DEV_NEVER);
}

/* A host that takes its time, longer than the count is, at any point of what the tool does. */
UNIT_TEST(pit_count_over_at_once)
{
	static const uint8_t modes[] = { 0x30, 0x34, 0x36, 0x38 };
	unsigned int i, k;

	for (i = 0; i < sizeof(modes); i++) {
		p_start();
		t_step = NS_PER_SEC / 10000;
		pw(3, modes[i]);
		pw(0, 15);
		t_edges = 0;
		pw(0, 0);
		for (k = 0; k < 100 && pit_deadline(&pit) != DEV_NEVER; k++)
			pit_tick(&pit);
		CHECK_EQ(k, i == 1 || i == 2 ? 100 : 1);
		CHECK_EQ(t_edges, k);
		if (k == 1)
			continue;
		pw(0, 20);		/* another period, while this one runs */
		pw(0, 0);
		for (k = 0; k < 100 && pit_deadline(&pit) != DEV_NEVER; k++)
			pit_tick(&pit);
		CHECK_EQ(k, 100);
		CHECK_EQ(pit.ch[0].reload, 20);
		CHECK(t_edges > 190);
	}
}

UNIT_TEST(pit_readback_status)
{
	p_start();
	pw(3, 0x36);
	pw(3, 0xe2);			/* status of channel 0 */
	CHECK_EQ(pit_read(&pit, 0, 1), 0xf6);	/* OUT high, null count */
	pw(0, 0x10);
	pw(0, 0x27);
	p_wait(6000);
	pw(3, 0xc2);			/* status and count */
	CHECK_EQ(pit_read(&pit, 0, 1), 0x36);	/* second half: low */
	CHECK_EQ(p_count(0), 10000 - 2000);
	pw(3, 0x5a);			/* channel 1: low byte, mode 5: waits for a gate */
	pw(1, 77);
	pw(3, 0xe4);
	CHECK_EQ(pit_read(&pit, 1, 1), 0xda);
	pw(3, 0x58);			/* mode 4 */
	pw(1, 77);
	pw(3, 0xe4);
	CHECK_EQ(pit_read(&pit, 1, 1), 0x98);
	CHECK_EQ(pit_read(&pit, 1, 1), 77);
	CHECK_EQ(pit_read(&pit, 3, 1), 0xff);
}

UNIT_TEST(pit_bcd)
{
	p_start();
	pw(3, 0x35);
	pw(0, 0x00);
	pw(0, 0x10);			/* 1000 */
	p_wait(1);
	CHECK_EQ(p_count(0), 0x0999);
	pw(3, 0x35);
	pw(0, 0);
	pw(0, 0);			/* 10,000 */
	CHECK_EQ(p_count(0), 0);
	p_wait(1);
	CHECK_EQ(p_count(0), 0x9999);
}

static bool p_out2(void)
{
	return pit_port61_read(&pit, 0, 1) & 0x20;
}

static void p_gate2(bool gate)
{
	pit_port61_write(&pit, 0, 1, gate);
}

static void p_program2(uint8_t mode, uint16_t count)
{
	pw(3, 0xb0 | mode << 1);
	pw(2, count & 0xff);
	pw(2, count >> 8);
}

/* Read-back of channel 2's status, without the count. */
static uint8_t p_status2(void)
{
	pw(3, 0xe8);
	return pit_read(&pit, 2, 1);
}

UNIT_TEST(pit_mode1_one_shot)
{
	p_start();
	p_program2(1, 1000);
	CHECK(p_out2());
	CHECK_EQ(p_status2() & 0x40, 0x40);	/* not loaded before the gate rises */
	p_wait(2000);
	CHECK(p_out2());
	p_gate2(1);
	CHECK_EQ(p_status2() & 0x40, 0);
	CHECK(!p_out2());
	p_wait(400);
	pw(2, 100);			/* of the next one */
	pw(2, 0);
	CHECK_EQ(p_status2() & 0x40, 0x40);
	p_wait(300);
	CHECK(!p_out2());
	CHECK_EQ(p_count(2), 300);
	p_gate2(0);			/* does not stop it */
	p_wait(301);
	CHECK(p_out2());
	p_gate2(1);
	CHECK(!p_out2());
	p_wait(50);
	p_gate2(0);
	p_gate2(1);			/* anew */
	p_wait(60);
	CHECK(!p_out2());
	p_wait(41);
	CHECK(p_out2());
}

UNIT_TEST(pit_mode2_takes_a_count_at_the_end)
{
	unsigned int i;

	p_start();
	pw(3, 0x34);
	pw(0, 1000 & 0xff);
	pw(0, 1000 >> 8);
	p_wait(300);
	pw(0, 200);
	pw(0, 0);
	pw(3, 0xe2);
	CHECK_EQ(pit_read(&pit, 0, 1) & 0x40, 0x40);
	CHECK_EQ(p_count(0), 700);
	t_edges = 0;
	CHECK_EQ(pit_deadline(&pit) - t_ns, dev_ticks_to_ns(1000, PIT_HZ) - dev_ticks_to_ns(300, PIT_HZ));
	for (i = 1; i <= 3; i++) {
		t_ns = pit_deadline(&pit);
		pit_tick(&pit);
		CHECK_EQ(t_edges, i);
		p_wait(1);
		CHECK_EQ(p_count(0), 199);
	}
	pw(3, 0xe2);
	CHECK_EQ(pit_read(&pit, 0, 1) & 0x40, 0);
}

UNIT_TEST(pit_gate_of_mode2_and_3)
{
	p_start();
	p_program2(2, 100);
	p_gate2(1);
	p_wait(99);
	CHECK(!p_out2());		/* low for the last tick */
	p_wait(1);
	CHECK(p_out2());
	p_wait(99);
	CHECK(!p_out2());
	p_gate2(0);			/* high at once */
	CHECK(p_out2());
	p_wait(1000);
	p_gate2(1);			/* begins anew */
	p_wait(40);
	CHECK_EQ(p_count(2), 60);
	p_gate2(0);
	p_wait(500);
	CHECK_EQ(p_count(2), 60);	/* stands */
	p_program2(3, 101);
	p_gate2(1);
	CHECK(p_out2());
	CHECK_EQ(p_count(2), 100);
	p_wait(50);
	CHECK(p_out2());
	CHECK_EQ(p_count(2), 0);
	p_wait(1);
	CHECK(!p_out2());
	CHECK_EQ(p_count(2), 100);
	p_wait(49);
	CHECK(!p_out2());
	p_wait(1);
	CHECK(p_out2());
}

UNIT_TEST(pit_mode3_takes_a_count_at_the_half)
{
	p_start();
	p_gate2(1);
	p_program2(3, 1000);
	p_wait(100);
	pw(2, 200);
	pw(2, 0);
	p_wait(399);
	CHECK(p_out2());
	p_wait(1);			/* the first half ends: the new count, low */
	CHECK(!p_out2());
	CHECK_EQ(p_count(2), 200);
	p_wait(99);
	CHECK(!p_out2());
	p_wait(1);
	CHECK(p_out2());
	p_wait(100);
	CHECK(!p_out2());
	p_start();			/* channel 0: the edges move */
	pw(3, 0x36);
	pw(0, 1000 & 0xff);
	pw(0, 1000 >> 8);
	p_wait(100);
	pw(0, 200);
	pw(0, 0);
	t_edges = 0;
	t_ns = pit_deadline(&pit);
	pit_tick(&pit);
	CHECK_EQ(t_edges, 0);		/* 500: it falls */
	t_ns = pit_deadline(&pit);
	pit_tick(&pit);
	CHECK_EQ(t_edges, 1);		/* 600 */
	CHECK_EQ((t_ns - 5 * NS_PER_SEC) / 1000, 600 * 1000000 / PIT_HZ);
}

UNIT_TEST(pit_mode4_and_5_strobe)
{
	p_start();
	pw(3, 0x38);			/* channel 0 of mode 4, as Linux' one-shot */
	pw(0, 50);
	pw(0, 0);
	t_edges = 0;
	CHECK_EQ(pit_deadline(&pit) - t_ns, dev_ticks_to_ns(51, PIT_HZ));
	t_ns = pit_deadline(&pit);
	pit_tick(&pit);
	CHECK_EQ(t_edges, 1);
	CHECK_EQ(pit_deadline(&pit), DEV_NEVER);
	p_gate2(1);
	p_program2(4, 100);
	p_wait(60);
	p_gate2(0);			/* stops it */
	p_wait(60);
	p_gate2(1);
	p_wait(39);
	CHECK(p_out2());
	p_wait(1);
	CHECK(!p_out2());		/* for a tick */
	p_wait(1);
	CHECK(p_out2());
	p_program2(5, 100);
	p_wait(200);
	CHECK(p_out2());
	p_gate2(0);
	p_gate2(1);
	p_wait(100);
	CHECK(!p_out2());
	p_wait(1);
	CHECK(p_out2());
}

UNIT_TEST(pit_mode0_half_a_count)
{
	p_start();
	pw(3, 0x30);
	pw(0, 100);
	pw(0, 0);
	t_ns = pit_deadline(&pit);
	pit_tick(&pit);
	CHECK(t_level);
	pw(0, 100);			/* the first byte: OUT falls, nothing counts */
	CHECK(!t_level);
	CHECK_EQ(pit_deadline(&pit), DEV_NEVER);
	p_wait(1000);
	pw(0, 0);
	CHECK(pit_deadline(&pit) > t_ns);
	pit_port61_write(&pit, 0, 1, 0xff);
	CHECK_EQ(pit_port61_read(&pit, 0, 1) & 0xcf, 0x0f);
}

/* ---- PIC ------------------------------------------------------------------------ */

static struct pic pic;

static void pic_setup(uint8_t icw4)
{
	t_reset();
	pic_init(&pic);
	pic_master_write(&pic, 0, 1, 0x11);
	pic_master_write(&pic, 1, 1, 0x30);
	pic_master_write(&pic, 1, 1, 0x04);
	pic_master_write(&pic, 1, 1, icw4);
	pic_slave_write(&pic, 0, 1, 0x11);
	pic_slave_write(&pic, 1, 1, 0x38);
	pic_slave_write(&pic, 1, 1, 0x02);
	pic_slave_write(&pic, 1, 1, icw4);
}

UNIT_TEST(pic_probe)
{
	pic_init(&pic);			/* as probe_8259A() of Linux does */
	pic_slave_write(&pic, 1, 1, 0xff);
	pic_master_write(&pic, 1, 1, 0xfb);
	CHECK_EQ(pic_master_read(&pic, 1, 1), 0xfb);
	pic_setup(1);
	CHECK_EQ(pic_master_read(&pic, 1, 1), 0);
	pic_elcr_write(&pic, 0, 1, 0xff);
	pic_elcr_write(&pic, 1, 1, 0xff);
	CHECK_EQ(pic_elcr_read(&pic, 0, 1), 0xf8);
	CHECK_EQ(pic_elcr_read(&pic, 1, 1), 0xde);
}

UNIT_TEST(pic_priority)
{
	pic_setup(1);
	CHECK(!pic_output(&pic));
	pic_set(&pic, 4, true);
	pic_set(&pic, 1, true);
	CHECK(pic_output(&pic));
	CHECK_EQ(pic_acknowledge(&pic), 0x31);
	CHECK(!pic_output(&pic));	/* 4 waits for 1 */
	pic_set(&pic, 0, true);
	CHECK_EQ(pic_acknowledge(&pic), 0x30);
	pic_master_write(&pic, 0, 1, 0x20);
	pic_master_write(&pic, 0, 1, 0x61);	/* specific EOI of 1 */
	CHECK_EQ(pic_acknowledge(&pic), 0x34);
	pic_master_write(&pic, 0, 1, 0x0b);
	CHECK_EQ(pic_master_read(&pic, 0, 1), 0x10);
	pic_master_write(&pic, 0, 1, 0x20);
	CHECK_EQ(pic_master_read(&pic, 0, 1), 0);
	CHECK_EQ(pic_acknowledge(&pic), 0x37);	/* spurious */
}

UNIT_TEST(pic_slave)
{
	pic_setup(1);
	pic_set(&pic, 8, true);
	pic_set(&pic, 12, true);
	CHECK_EQ(pic_acknowledge(&pic), 0x38);
	CHECK(!pic_output(&pic));
	pic_slave_write(&pic, 0, 1, 0x20);
	pic_master_write(&pic, 0, 1, 0x62);
	CHECK_EQ(pic_acknowledge(&pic), 0x3c);
	pic_slave_write(&pic, 0, 1, 0x20);
	pic_master_write(&pic, 0, 1, 0x20);
	CHECK(!pic_output(&pic));
	pic_set(&pic, 16, true);
	pic_set(&pic, 2, true);
	CHECK(!pic_output(&pic));
}

UNIT_TEST(pic_mask_level_poll)
{
	pic_setup(1);
	pic_master_write(&pic, 1, 1, 0xff);
	pic_set(&pic, 5, true);
	CHECK(!pic_output(&pic));
	CHECK_EQ(pic_master_read(&pic, 0, 1), 0x20);
	pic_set(&pic, 5, false);
	CHECK_EQ(pic_master_read(&pic, 0, 1), 0);
	pic_elcr_write(&pic, 0, 1, 0x20);
	pic_master_write(&pic, 1, 1, 0);
	pic_set(&pic, 5, true);
	CHECK_EQ(pic_acknowledge(&pic), 0x35);
	pic_master_write(&pic, 0, 1, 0x20);
	CHECK_EQ(pic_acknowledge(&pic), 0x35);	/* level: as long as it is high */
	pic_set(&pic, 5, false);
	pic_master_write(&pic, 0, 1, 0x20);
	pic_set(&pic, 3, true);
	pic_master_write(&pic, 0, 1, 0x0c);
	CHECK_EQ(pic_master_read(&pic, 0, 1), 0x83);
	pic_master_write(&pic, 0, 1, 0x0c);
	CHECK_EQ(pic_master_read(&pic, 0, 1), 0);
	pic_setup(3);				/* automatic EOI */
	pic_set(&pic, 1, true);
	CHECK_EQ(pic_acknowledge(&pic), 0x31);
	pic_set(&pic, 6, true);
	CHECK_EQ(pic_acknowledge(&pic), 0x36);
}

UNIT_TEST(pic_special_mask)
{
	pic_setup(1);
	pic_set(&pic, 3, true);
	CHECK_EQ(pic_acknowledge(&pic), 0x33);
	pic_set(&pic, 6, true);
	CHECK(!pic_output(&pic));
	pic_master_write(&pic, 1, 1, 0x08);	/* its own line masked, special mask mode: */
	pic_master_write(&pic, 0, 1, 0x68);
	CHECK(pic_output(&pic));		/* lower ones come through */
	CHECK_EQ(pic_acknowledge(&pic), 0x36);
	pic_master_write(&pic, 0, 1, 0x0b);
	CHECK_EQ(pic_master_read(&pic, 0, 1), 0x48);
	pic_master_write(&pic, 0, 1, 0x20);	/* no EOI for a masked line */
	CHECK_EQ(pic_master_read(&pic, 0, 1), 0x08);
	pic_master_write(&pic, 0, 1, 0x20);
	CHECK_EQ(pic_master_read(&pic, 0, 1), 0x08);
	pic_master_write(&pic, 0, 1, 0x48);	/* leaves the mode */
	pic_master_write(&pic, 0, 1, 0x20);
	CHECK_EQ(pic_master_read(&pic, 0, 1), 0);
}

UNIT_TEST(pic_rotation)
{
	unsigned int i;

	pic_setup(1);
	for (i = 0; i < 8; i++)
		if (i != 2)
			pic_set(&pic, i, true);
	CHECK_EQ(pic_acknowledge(&pic), 0x30);
	pic_master_write(&pic, 0, 1, 0xa0);	/* EOI, and 0 is the lowest */
	CHECK_EQ(pic_acknowledge(&pic), 0x31);
	pic_master_write(&pic, 0, 1, 0xe1);	/* by its number */
	CHECK_EQ(pic_acknowledge(&pic), 0x33);
	pic_master_write(&pic, 0, 1, 0x20);
	pic_master_write(&pic, 0, 1, 0xc6);	/* set priority: 7 is the highest */
	CHECK_EQ(pic_acknowledge(&pic), 0x37);
	pic_master_write(&pic, 0, 1, 0x40);	/* no operation */
	pic_master_write(&pic, 0, 1, 0x0b);
	CHECK_EQ(pic_master_read(&pic, 0, 1), 0x80);
	pic_setup(3);
	pic_master_write(&pic, 0, 1, 0x80);	/* rotate in automatic EOI mode */
	pic_set(&pic, 1, true);
	CHECK_EQ(pic_acknowledge(&pic), 0x31);
	pic_set(&pic, 1, false);
	pic_set(&pic, 1, true);
	pic_set(&pic, 5, true);
	CHECK_EQ(pic_acknowledge(&pic), 0x35);
	pic_master_write(&pic, 0, 1, 0x00);
	CHECK_EQ(pic_acknowledge(&pic), 0x31);
}

UNIT_TEST(pic_special_fully_nested)
{
	pic_setup(1);
	pic_set(&pic, 12, true);
	CHECK_EQ(pic_acknowledge(&pic), 0x3c);
	pic_set(&pic, 8, true);
	CHECK(!pic_output(&pic));		/* the master holds the slave off */
	pic_setup(0x11);
	pic_set(&pic, 12, true);
	CHECK_EQ(pic_acknowledge(&pic), 0x3c);
	pic_set(&pic, 14, true);
	CHECK(!pic_output(&pic));		/* lower than 12 */
	pic_set(&pic, 8, true);
	CHECK(pic_output(&pic));
	CHECK_EQ(pic_acknowledge(&pic), 0x38);
}

UNIT_TEST(pic_spurious)
{
	pic_setup(1);
	pic_set(&pic, 9, true);
	CHECK(pic_output(&pic));
	pic_slave_write(&pic, 1, 1, 0x02);	/* masked behind the request: the cascade falls */
	CHECK(!pic_output(&pic));
	CHECK_EQ(pic_acknowledge(&pic), 0x37);
	pic_master_write(&pic, 0, 1, 0x0b);
	CHECK_EQ(pic_master_read(&pic, 0, 1), 0);	/* not in service */
	pic_slave_write(&pic, 1, 1, 0);
	pic.chip[1].irr = 0;			/* gone between the two INTA */
	CHECK_EQ(pic_acknowledge(&pic), 0x3f);
	pic_master_write(&pic, 0, 1, 0x0b);
	CHECK_EQ(pic_master_read(&pic, 0, 1), 0x04);
	pic_slave_write(&pic, 0, 1, 0x0b);
	CHECK_EQ(pic_slave_read(&pic, 0, 1), 0);
}

UNIT_TEST(pic_initialization)
{
	pic_setup(1);
	pic_set(&pic, 4, true);
	CHECK_EQ(pic_acknowledge(&pic), 0x34);
	pic_master_write(&pic, 1, 1, 0xff);
	pic_master_write(&pic, 0, 1, 0x12);	/* ICW1: single, no ICW4 */
	pic_master_write(&pic, 1, 1, 0x57);	/* ICW2, which has no low bits */
	CHECK_EQ(pic_master_read(&pic, 1, 1), 0);	/* the mask is clear */
	pic_master_write(&pic, 1, 1, 0x80);	/* and this is OCW1 already */
	CHECK_EQ(pic_master_read(&pic, 1, 1), 0x80);
	CHECK(!pic_output(&pic));		/* a line that is high is no edge */
	pic_set(&pic, 4, false);
	pic_set(&pic, 4, true);
	CHECK_EQ(pic_acknowledge(&pic), 0x54);
	pic_setup(1);
	pic_set(&pic, 5, true);
	pic_acknowledge(&pic);
	pic_master_write(&pic, 0, 1, 0x20);
	pic_elcr_write(&pic, 0, 1, 0x20);	/* high when it becomes level-triggered */
	CHECK(pic_output(&pic));
}

/* ---- RTC ------------------------------------------------------------------------ */

static struct rtc rtc;

static uint8_t rr(uint8_t reg)
{
	rtc_write(&rtc, 0, 1, reg);
	return rtc_read(&rtc, 1, 1);
}

static void rw(uint8_t reg, uint8_t value)
{
	rtc_write(&rtc, 0, 1, reg);
	rtc_write(&rtc, 1, 1, value);
}

static void r_start(void)
{
	t_reset();
	memset(&rtc, 0, sizeof(rtc));
	rtc.irq = t_line;
	rtc_init(&rtc, &t_clock, 1709210096);	/* 2024-02-29 12:34:56, a Thursday */
}

UNIT_TEST(rtc_reads_time)
{
	r_start();
	CHECK_EQ(rr(0), 0x56);
	CHECK_EQ(rr(2), 0x34);
	CHECK_EQ(rr(4), 0x12);
	CHECK_EQ(rr(6), 5);
	CHECK_EQ(rr(7), 0x29);
	CHECK_EQ(rr(8), 0x02);
	CHECK_EQ(rr(9), 0x24);
	CHECK_EQ(rr(0x32), 0x20);
	CHECK_EQ(rr(0x0a), 0x26);
	CHECK_EQ(rr(0x0d), 0x80);
	t_ns += 4 * NS_PER_SEC;
	CHECK_EQ(rr(0), 0x00);
	CHECK_EQ(rr(2), 0x35);
	rw(0x0b, 0x06);			/* binary */
	CHECK_EQ(rr(2), 35);
	rw(0x0b, 0x00);			/* BCD, 12 hours */
	CHECK_EQ(rr(4), 0x92);
	t_ns += 12 * 3600 * NS_PER_SEC;
	CHECK_EQ(rr(4), 0x12);
	CHECK_EQ(rr(8), 0x03);		/* the leap day is over */
	CHECK_EQ(rtc_read(&rtc, 0, 1), 0xff);
	rw(0x20, 0xa5);
	CHECK_EQ(rr(0x20), 0xa5);
	CHECK_EQ(rr(0xa0), 0xa5);	/* bit 7 is the NMI mask */
}

UNIT_TEST(rtc_update_in_progress)
{
	r_start();
	CHECK_EQ(rr(0x0a) & 0x80, 0);
	t_ns += NS_PER_SEC - 100000;
	CHECK_EQ(rr(0x0a) & 0x80, 0x80);
	t_ns += 100000;
	CHECK_EQ(rr(0x0a) & 0x80, 0);
}

UNIT_TEST(rtc_sets_time)
{
	r_start();
	rw(0x0b, 0x82);			/* SET: it stands still */
	t_ns += 10 * NS_PER_SEC;
	CHECK_EQ(rr(0), 0x56);
	rw(9, 0x99);
	rw(0x32, 0x19);
	rw(8, 0x12);
	rw(7, 0x31);
	rw(4, 0x23);
	rw(2, 0x59);
	rw(0, 0x59);
	rw(0x0b, 0x02);
	CHECK_EQ(rr(0), 0x59);
	t_ns += NS_PER_SEC;
	CHECK_EQ(rr(0), 0);
	CHECK_EQ(rr(4), 0);
	CHECK_EQ(rr(9), 0);
	CHECK_EQ(rr(0x32), 0x20);
	rw(2, 0x30);			/* without SET too */
	CHECK_EQ(rr(2), 0x30);
	rw(8, 0xff);			/* nonsense does no harm */
	rw(9, 0xff);
	rw(0x32, 0xff);
	rr(0);
}

UNIT_TEST(rtc_interrupts)
{
	r_start();
	CHECK_EQ(rtc_deadline(&rtc), DEV_NEVER);
	rw(0x0b, 0x42);			/* periodic, 1,024 Hz */
	CHECK(rtc_deadline(&rtc) - t_ns <= NS_PER_SEC / 1024);
	t_ns = rtc_deadline(&rtc);
	rtc_tick(&rtc);
	CHECK(t_level);
	CHECK_EQ(rtc_deadline(&rtc), DEV_NEVER);	/* until it is read */
	CHECK_EQ(rr(0x0c), 0xc0);
	CHECK(!t_level);
	CHECK_EQ(rr(0x0c), 0);
	rw(0x0b, 0x12);			/* update ended */
	t_ns = rtc_deadline(&rtc);
	rtc_tick(&rtc);
	CHECK_EQ(rr(0x0c) & 0x90, 0x90);
	rw(0x0b, 0x22);			/* alarm at :59, any minute and hour */
	rw(1, 0x59);
	rw(3, 0xff);
	rw(5, 0xff);
	t_ns = rtc_deadline(&rtc);	/* :58 */
	rtc_tick(&rtc);
	CHECK(!t_level);
	t_ns += NS_PER_SEC;
	rtc_tick(&rtc);
	CHECK(t_level);
	CHECK_EQ(rr(0x0c) & 0xa0, 0xa0);
	rw(0x0a, 0x20);			/* rate 0: none */
	rw(0x0b, 0x42);
	CHECK_EQ(rtc_deadline(&rtc), DEV_NEVER);
	t_ns += 400ULL * 86400 * NS_PER_SEC;	/* a long sleep ends too */
	rtc_tick(&rtc);
	rw(0x0b, 0x92);			/* SET clears UIE */
	CHECK_EQ(rr(0x0b), 0x82);
}

UNIT_TEST(rtc_divider)
{
	r_start();
	t_ns += 300000000;		/* SET leaves the divider running */
	rw(0x0b, 0x82);
	rw(0, 0x10);
	rw(0x0b, 0x02);
	t_ns += 699000000;
	CHECK_EQ(rr(0), 0x10);
	t_ns += 1000000;
	CHECK_EQ(rr(0), 0x11);
	rr(0x0c);
	rw(0x0a, 0x66);			/* held in reset */
	rw(0x0b, 0x52);
	CHECK_EQ(rtc_deadline(&rtc), DEV_NEVER);
	t_ns += 5 * NS_PER_SEC;
	CHECK_EQ(rr(0), 0x11);
	CHECK_EQ(rr(0x0a), 0x66);
	CHECK_EQ(rr(0x0c), 0);
	rw(0x0a, 0x26);			/* the first second is half as long */
	t_ns += NS_PER_SEC / 2 - 1000000;
	CHECK_EQ(rr(0), 0x11);
	t_ns += 1000000;
	CHECK_EQ(rr(0), 0x12);
	CHECK_EQ(rr(0x0c) & 0xd0, 0xd0);
}

UNIT_TEST(rtc_alarm_in_12_hours)
{
	r_start();			/* 12:34:56 */
	rw(0x0b, 0x20);			/* BCD, 12 hours */
	rw(1, 0x58);
	rw(3, 0x34);
	rw(5, 0x12);			/* midnight */
	t_ns += 3 * NS_PER_SEC;
	CHECK_EQ(rr(0x0c) & 0x20, 0);
	rw(0x0b, 0x80);
	rw(0, 0x56);
	rw(0x0b, 0x20);
	rw(5, 0x92);			/* noon */
	t_ns += 3 * NS_PER_SEC;
	CHECK_EQ(rr(0x0c) & 0xa0, 0xa0);
	CHECK_EQ(rr(4), 0x92);
	rw(0x0a, 0x21);			/* the rates 1 and 2 are 256 and 128 Hz */
	rw(0x0b, 0x42);
	CHECK(rtc_deadline(&rtc) - t_ns <= NS_PER_SEC / 256);
	t_ns = rtc_deadline(&rtc);
	rtc_tick(&rtc);
	CHECK_EQ(rr(0x0c), 0xc0);
	CHECK_EQ(rtc_deadline(&rtc) - t_ns, NS_PER_SEC / 256);
}

UNIT_TEST(rtc_memory)
{
	r_start();
	rtc_set_memory(&rtc, 64 << 20, 0, 4);
	CHECK_EQ(rr(0x15) | rr(0x16) << 8, 640);
	CHECK_EQ(rr(0x30) | rr(0x31) << 8, 63 << 10);
	CHECK_EQ(rr(0x34) | rr(0x35) << 8, 48 << 4);
	CHECK_EQ(rr(0x5f), 3);
	rtc_set_memory(&rtc, 3ULL << 30, 5ULL << 30, 1);
	CHECK_EQ(rr(0x17) | rr(0x18) << 8, 0xffff);
	CHECK_EQ(rr(0x34) | rr(0x35) << 8, (3072 - 16) << 4);
	CHECK_EQ(rr(0x5b) | rr(0x5c) << 8 | rr(0x5d) << 16, 5 << 14);
}

/* ---- what --device brings -------------------------------------------------------- */

static uint8_t t_memory[8192];
static unsigned int t_status, t_pin;
static uint64_t t_flushed;

static void t_exit(void *ctx, uint8_t status)
{
	t_status = status;
}

static int t_get(void *ctx, uint64_t gpa, void *buf, uint64_t len)
{
	if (gpa > sizeof(t_memory) || len > sizeof(t_memory) - gpa)
		return -EFAULT;
	memcpy(buf, t_memory + gpa, len);
	return 0;
}

static int t_put(void *ctx, uint64_t gpa, const void *buf, uint64_t len)
{
	if (gpa > sizeof(t_memory) || len > sizeof(t_memory) - gpa)
		return -EFAULT;
	memcpy(t_memory + gpa, buf, len);
	return 0;
}

static void t_pins(void *ctx, unsigned int nr, bool level)
{
	t_pin = nr << 1 | level;
}

static void t_flush(void *ctx, uint64_t gpa)
{
	t_flushed = gpa;
}

UNIT_TEST(debug_ports)
{
	struct debugexit e = { .exit = t_exit };
	struct debugcon c = { .tx = t_tx };

	t_reset();
	debugexit_write(&e, 0, 4, 0);
	CHECK_EQ(t_status, 1);
	debugexit_write(&e, 0, 4, 0x181);
	CHECK_EQ(t_status, 3);
	debugcon_write(&c, 0, 1, 'x');
	CHECK(t_sent == 1 && t_out[0] == 'x');
	CHECK_EQ(debugcon_read(&c, 0, 1), 0xe9);
}

static struct fwcfg fw;

static void fw_start(void)
{
	memset(&fw, 0, sizeof(fw));
	memset(t_memory, 0x55, sizeof(t_memory));
	fw.get = t_get;
	fw.put = t_put;
	fwcfg_init(&fw);
}

static uint32_t fw32(void)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++)
		v |= (uint32_t)fwcfg_read(&fw, 1, 1) << (8 * i);
	return v;
}

UNIT_TEST(fwcfg_ports)
{
	struct fwcfg_file file;

	fw_start();
	CHECK_EQ(fw32(), 0x554d4551);		/* "QEMU" */
	CHECK_EQ(fw32(), 0);			/* behind its end */
	fwcfg_write(&fw, 0, 2, FWCFG_ID);
	CHECK_EQ(fw32(), 3);
	fwcfg_number(&fw, FWCFG_RAM_SIZE, 0x123456789aULL, 8);
	fwcfg_write(&fw, 0, 2, FWCFG_RAM_SIZE);
	CHECK_EQ(fw32(), 0x3456789a);
	CHECK_EQ(fw32(), 0x12);
	CHECK_EQ(fwcfg_add_file(&fw, "etc/a", "abc", 3), 0);
	CHECK_EQ(fwcfg_add_file(&fw, "etc/a", "abc", 3), -EEXIST);
	CHECK_EQ(fwcfg_add_file(&fw, "", "abc", 3), -EINVAL);
	CHECK_EQ(fwcfg_add_file(&fw, "0123456789012345678901234567890123456789012345678901234567", "", 0), -EINVAL);
	fwcfg_write(&fw, 0, 2, FWCFG_DIRECTORY);
	CHECK_EQ(be32toh(fw32()), 1);
	for (unsigned int i = 0; i < sizeof(file); i++)
		((uint8_t *)&file)[i] = fwcfg_read(&fw, 1, 1);
	CHECK(!strcmp(file.name, "etc/a"));
	CHECK_EQ(be32toh(file.size), 3);
	fwcfg_write(&fw, 0, 2, be16toh(file.key));
	CHECK_EQ(fw32(), 0x636261);
	fwcfg_write(&fw, 0, 2, 0xffff);
	CHECK_EQ(fw32(), 0);
	fwcfg_write(&fw, 0, 1, FWCFG_SIGNATURE);	/* not 16 bits wide */
	CHECK_EQ(fw32(), 0);
	for (int i = 1; i < FWCFG_FILES; i++) {
		char name[] = { 'f', 'a' + i, 0 };

		CHECK_EQ(fwcfg_add_file(&fw, name, "", 0), 0);
	}
	CHECK_EQ(fwcfg_add_file(&fw, "more", "", 0), -ENOSPC);
}

/* Control, length and address, big-endian; the answer. */
static uint32_t fw_dma(uint32_t control, uint32_t length, uint64_t address)
{
	control = htobe32(control);
	length = htobe32(length);
	address = htobe64(address);
	memcpy(t_memory + 0x100, &control, 4);
	memcpy(t_memory + 0x104, &length, 4);
	memcpy(t_memory + 0x108, &address, 8);
	fwcfg_dma_write(&fw, 0, 4, 0);
	fwcfg_dma_write(&fw, 4, 4, htobe32(0x100));
	memcpy(&control, t_memory + 0x100, 4);
	return be32toh(control);
}

UNIT_TEST(fwcfg_by_dma)
{
	fw_start();
	CHECK_EQ((uint32_t)fwcfg_dma_read(&fw, 0, 4), 0x554d4551);
	CHECK_EQ((uint32_t)fwcfg_dma_read(&fw, 4, 4), 0x47464320);
	CHECK_EQ(fw_dma(0x0000000a, 4, 0x1000), 0);	/* select 0 and read */
	CHECK(!memcmp(t_memory + 0x1000, "QEMU\x55", 5));
	CHECK_EQ(fw_dma(0x0000000a, 0x1000, 0x1000), 0);	/* zeros behind it */
	CHECK(!memcmp(t_memory + 0x1000, "QEMU\0\0", 6) && !t_memory[0x1fff]);
	CHECK_EQ(fw_dma(0x0000000c, 2, 0), 0);		/* select and skip */
	CHECK_EQ(fw_dma(2, 2, 0x1200), 0);
	CHECK(!memcmp(t_memory + 0x1200, "MU", 2));
	CHECK_EQ(fw_dma(0x0000000c, 0xffffffff, 0), 0);
	CHECK_EQ(fw32(), 0);
	CHECK_EQ(fw_dma(0x0000000a, 0xffffffff, 0x1000), 1);	/* no end of zeros */
	t_memory[0x1000] = 0x77;
	CHECK_EQ(fw_dma(0x0000000a, 0x20000, 0x1000), 1);
	CHECK_EQ(t_memory[0x1000], 0x77);
	CHECK_EQ(fw_dma(0x00000018, 4, 0x1000), 1);	/* nothing is written to it */
	CHECK_EQ(fw_dma(0xffff000a, 4, 0x1000), 0);
	fwcfg_dma_write(&fw, 0, 4, 0xffffffff);		/* a request that is nowhere */
	fwcfg_dma_write(&fw, 4, 4, 0xffffffff);
	fwcfg_dma_write(&fw, 4, 2, 0);
	CHECK_EQ(fw.dma, 0);
}

UNIT_TEST(testdev)
{
	static struct testdev t = { .irq = t_pins, .flush = t_flush };

	testdev_latch_write(&t, 0, 4, 0x44332211);
	testdev_latch_write(&t, 1, 1, 0xaa);
	CHECK_EQ((uint32_t)testdev_latch_read(&t, 0, 4), 0x4433aa11);
	CHECK_EQ(testdev_latch_read(&t, 2, 2) & 0xffff, 0x4433);
	testdev_latch_write(&t, 2, 4, 0x1234);		/* its end is nobody's */
	CHECK_EQ((uint32_t)testdev_latch_read(&t, 0, 4), 0x1234aa11);
	testdev_irq_write(&t, 14, 1, 1);
	CHECK_EQ(t_pin, 29);
	testdev_irq_write(&t, 14, 1, 0);
	CHECK_EQ(t_pin, 28);
	testdev_flush_write(&t, 0, 4, 0x12345678);
	CHECK_EQ(t_flushed, 0x12345000);
	testdev_mmio_write(&t, 8, 8, 0x8877665544332211);
	CHECK_EQ(testdev_mmio_read(&t, 8, 8), 0x8877665544332211);
	CHECK_EQ(testdev_mmio_read(&t, 10, 2), 0x4433);
	testdev_mmio_write(&t, TESTDEV_MMIO_SIZE - 2, 8, -1);
	CHECK_EQ(testdev_mmio_read(&t, TESTDEV_MMIO_SIZE - 2, 8), 0xffff);
}

/* ---- PM ------------------------------------------------------------------------- */

static struct pm pm;

static void pm_start(void)
{
	t_reset();
	memset(&pm, 0, sizeof(pm));
	pm.sci = t_line;
	pm.request = t_power;
	pm.s5 = 5;
	pm_init(&pm, &t_clock);
}

UNIT_TEST(pm_timer)
{
	uint32_t a;

	pm_start();
	a = pm_read(&pm, 8, 4);
	t_ns += NS_PER_SEC;
	CHECK_EQ((uint32_t)pm_read(&pm, 8, 4) - a, 3579545);
	CHECK_EQ(pm_read(&pm, 9, 1) & 0xff, (uint32_t)pm_read(&pm, 8, 4) >> 8 & 0xff);
	CHECK_EQ(pm_deadline(&pm), DEV_NEVER);
	pm_write(&pm, 2, 2, 0x0001);
	t_ns = pm_deadline(&pm);
	CHECK_EQ((uint32_t)pm_read(&pm, 8, 4), 0x80000000);
	pm_tick(&pm);
	CHECK(t_level);
	CHECK_EQ(pm_read(&pm, 0, 2), 0x0001);
	pm_write(&pm, 0, 2, 0x0001);
	CHECK(!t_level);
	CHECK(pm_deadline(&pm) > t_ns);
}

UNIT_TEST(pm_button)
{
	pm_start();
	pm_power_button(&pm);
	CHECK(!t_level);
	CHECK_EQ(pm_read(&pm, 0, 4), 0x00000100);
	pm_write(&pm, 2, 2, 0x0120);
	CHECK(t_level);
	CHECK_EQ(pm_read(&pm, 0, 4), 0x01200100);
	CHECK_EQ(pm_read(&pm, 1, 1) & 0xff, 0x01);
	pm_write(&pm, 0, 1, 0xff);	/* the other byte */
	CHECK(t_level);
	pm_write(&pm, 1, 1, 0x01);
	CHECK(!t_level);
	CHECK_EQ(pm_read(&pm, 2, 2), 0x0120);
	pm_write(&pm, 0, 4, 0xffffffff);
	CHECK_EQ(pm_read(&pm, 2, 2), 0x0521);
}

UNIT_TEST(pm_sleep_and_reset)
{
	pm_start();
	CHECK_EQ(pm_read(&pm, 4, 2), 0x0001);
	pm_write(&pm, 4, 2, 5 << 10);		/* SLP_TYP alone */
	CHECK_EQ(t_request, PM_NONE);
	pm_write(&pm, 4, 2, 3 << 10 | 0x2000);	/* S3: there is none */
	CHECK_EQ(t_request, PM_NONE);
	pm_write(&pm, 4, 2, 5 << 10 | 0x2000);
	CHECK_EQ(t_request, PM_OFF);
	CHECK_EQ(pm_read(&pm, 4, 2) & 0x2000, 0);
	t_request = PM_NONE;
	pm_reset_write(&pm, 1, 1, 0x02);
	pm_reset_write(&pm, 0, 4, 0x80000400);	/* device 0, function 4 of PCI bus 0 */
	pm_reset_write(&pm, 0, 1, 0x06);
	CHECK_EQ(t_request, PM_NONE);
	CHECK_EQ((uint32_t)pm_reset_read(&pm, 0, 4), UINT32_MAX);
	CHECK_EQ(pm_reset_read(&pm, 1, 1), 0);
	pm_reset_write(&pm, 1, 1, 0x06);
	CHECK_EQ(t_request, PM_RESET);
	t_request = PM_NONE;
	pm_i8042_write(&pm, 0, 1, 0xd1);
	pm_i8042_write(&pm, 0, 1, 0xff);
	CHECK_EQ(t_request, PM_NONE);
	pm_i8042_write(&pm, 0, 1, 0xfe);
	CHECK_EQ(t_request, PM_RESET);
	CHECK_EQ(pm_i8042_read(&pm, 0, 1), 0);
	t_request = PM_NONE;
	pm_port92_write(&pm, 0, 1, 0x02);
	CHECK_EQ(t_request, PM_NONE);
	CHECK_EQ(pm_port92_read(&pm, 0, 1), 0x02);
	pm_port92_write(&pm, 0, 1, 0x01);
	CHECK_EQ(t_request, PM_RESET);
}

/* ---- all of them, at random: no sanitizer report, no endless loop ---------------- */

UNIT_TEST(devices_at_random)
{
	uint32_t seed = 12345;
	unsigned int i;

	u_start(0, 0);
	io_start();
	p_start();
	pic_setup(1);
	r_start();
	pm_start();
	for (i = 0; i < 200000; i++) {
		uint8_t v, reg;

		seed = seed * 1664525 + 1013904223;
		v = seed >> 24;
		reg = seed >> 16;
		t_ns += seed >> 20;
		uw(reg & 7, v);
		ur(reg >> 3 & 7);
		uart_receive(&uart, v);
		iw(reg & 0x3f, seed);
		ir(v & 0x3f);
		ioapic_set(&io, v & 31, reg & 1);
		ioapic_eoi(&io, v);
		pw(reg & 3, v);
		pit_read(&pit, reg >> 2 & 3, 1);
		pit_port61_write(&pit, 0, 1, v);
		pit_port61_read(&pit, 0, 1);
		pit_tick(&pit);
		CHECK(pit_deadline(&pit) > t_ns);
		pic_master_write(&pic, reg & 1, 1, v);
		pic_slave_write(&pic, reg >> 1 & 1, 1, v);
		pic_master_read(&pic, v & 1, 1);
		pic_slave_read(&pic, v & 1, 1);
		pic_elcr_write(&pic, v & 1, 1, reg);
		pic_set(&pic, v & 31, reg & 1);
		pic_acknowledge(&pic);
		if (reg % 8 == 0 || (reg & 127) > 9)
			rw(reg, v);
		rr(v);
		rtc_tick(&rtc);
		CHECK(rtc_deadline(&rtc) > t_ns);
		pm_write(&pm, reg % 12, 1 << (v & 1), seed);
		pm_read(&pm, v % 12, 1 << (reg % 3));
		pm_tick(&pm);
		CHECK(pm_deadline(&pm) > t_ns);
	}
}
