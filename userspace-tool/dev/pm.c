// SPDX-License-Identifier: GPL-2.0
/* ACPI fixed hardware (ACPI 6.4, 4.8.3) and the ports that reset a PC. */
#include "dev.h"

#define STS_TIMER	0x0001
#define STS_GLOBAL	0x0020
#define STS_BUTTON	0x0100
#define STS_RTC		0x0400
#define STS_WAKE	0x8000
#define STS_ALL		(STS_TIMER | STS_GLOBAL | STS_BUTTON | STS_RTC | STS_WAKE)
#define ENABLE_ALL	(STS_TIMER | STS_GLOBAL | STS_BUTTON | STS_RTC)

#define CNT_SCI_EN	0x0001
#define CNT_SLP_SHIFT	10
#define CNT_SLP_EN	0x2000

#define R_STATUS	0
#define R_ENABLE	2
#define R_CONTROL	4
#define R_TIMER		8

#define RESET_REG	1	/* port 0xcf9 */
#define RESET_CPU	0x04
#define I8042_PULSE	0xf0	/* commands 0xf0 to 0xff pulse output lines, low bits choose */
#define I8042_NO_RESET	0x01	/* set: not the reset line */
#define P92_RESET	0x01
#define P92_A20		0x02

static uint32_t pm_ticks(uint64_t ns)
{
	return dev_ns_to_ticks(ns, PM_TIMER_HZ);
}

static void pm_update(struct pm *pm)
{
	irq_set(&pm->sci, pm->status & pm->enable & ENABLE_ALL);
}

/* TMR_STS is set whenever bit 31 of the timer changes. */
void pm_tick(struct pm *pm)
{
	uint64_t now = dev_now(pm->clock);

	if (dev_ns_to_ticks(now, PM_TIMER_HZ) >> 31 != dev_ns_to_ticks(pm->seen, PM_TIMER_HZ) >> 31)
		pm->status |= STS_TIMER;
	pm->seen = now;
	pm_update(pm);
}

uint64_t pm_deadline(struct pm *pm)
{
	uint64_t half = dev_ns_to_ticks(pm->seen, PM_TIMER_HZ) >> 31;

	if (!(pm->enable & STS_TIMER) || (pm->status & STS_TIMER))
		return DEV_NEVER;
	return dev_ticks_to_ns((half + 1) << 31, PM_TIMER_HZ);
}

void pm_power_button(struct pm *pm)
{
	pm->status |= STS_BUTTON;
	pm_update(pm);
}

static uint16_t pm_reg(struct pm *pm, uint64_t offset)
{
	switch (offset) {
	case R_STATUS:
		pm_tick(pm);
		return pm->status;
	case R_ENABLE:
		return pm->enable;
	case R_CONTROL:
		return pm->control | CNT_SCI_EN;	/* there is no legacy mode */
	}
	return 0;
}

uint64_t pm_read(void *dev, uint64_t offset, unsigned int size)
{
	struct pm *pm = dev;
	uint64_t value;

	if (offset >= R_TIMER)
		return pm_ticks(dev_now(pm->clock)) >> (8 * (offset - R_TIMER));
	value = pm_reg(pm, offset & 6);
	if (size == 4)
		value |= (uint64_t)pm_reg(pm, (offset & 6) + 2) << 16;
	return value >> (8 * (offset & 1));
}

static void pm_write_reg(struct pm *pm, uint64_t offset, uint16_t value)
{
	switch (offset) {
	case R_STATUS:
		pm_tick(pm);
		pm->status &= ~(value & STS_ALL);
		break;
	case R_ENABLE:
		pm_tick(pm);
		pm->enable = value & ENABLE_ALL;
		break;
	case R_CONTROL:
		pm->control = value & ~(CNT_SLP_EN | CNT_SCI_EN);
		if ((value & CNT_SLP_EN) && (value >> CNT_SLP_SHIFT & 7) == pm->s5)
			pm->request(pm->ctx, PM_OFF);
		break;
	}
	pm_update(pm);
}

void pm_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pm *pm = dev;

	if (size == 1) {
		/* One half of a register: status bits of the other stay. */
		uint16_t other = offset < R_ENABLE ? 0 : pm_reg(pm, offset & 14);

		value = offset & 1 ? (other & 0xff) | value << 8 : (other & 0xff00) | value;
	}
	pm_write_reg(pm, offset & 14, value);
	if (size == 4)
		pm_write_reg(pm, (offset & 14) + 2, value >> 16);
}

uint64_t pm_reset_read(void *dev, uint64_t offset, unsigned int size)
{
	return size == 1 && offset == RESET_REG ? 0 : UINT64_MAX;
}

void pm_reset_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pm *pm = dev;

	if (size == 1 && offset == RESET_REG && (value & RESET_CPU))
		pm->request(pm->ctx, PM_RESET);
}

/* Nothing in either buffer: nobody waits for it, and a probe finds no keyboard. */
uint64_t pm_i8042_read(void *dev, uint64_t offset, unsigned int size)
{
	return 0;
}

void pm_i8042_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pm *pm = dev;

	if ((value & I8042_PULSE) == I8042_PULSE && !(value & I8042_NO_RESET))
		pm->request(pm->ctx, PM_RESET);
}

uint64_t pm_port92_read(void *dev, uint64_t offset, unsigned int size)
{
	struct pm *pm = dev;

	return pm->port92;
}

void pm_port92_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct pm *pm = dev;

	pm->port92 = (value & ~P92_RESET) | P92_A20;
	if (value & P92_RESET)
		pm->request(pm->ctx, PM_RESET);
}

void pm_init(struct pm *pm, struct dev_clock *clock)
{
	pm->clock = clock;
	pm->status = pm->enable = pm->control = 0;
	pm->seen = dev_now(clock);
	pm->port92 = P92_A20;
}
