// SPDX-License-Identifier: GPL-2.0
/* MC146818 real-time clock (Motorola data sheet) with 128 bytes of CMOS. */
#include <string.h>
#include <time.h>

#include "dev.h"

enum {
	R_SEC, R_SEC_ALARM, R_MIN, R_MIN_ALARM, R_HOUR, R_HOUR_ALARM, R_WDAY, R_MDAY, R_MONTH,
	R_YEAR, R_A, R_B, R_C, R_D, R_CENTURY = 0x32
};

/* Where a PC's firmware tells of memory, in KiB and in 64 KiB, and of CPUs. */
#define R_BASE_KIB	0x15
#define R_EXTENDED_KIB	0x17
#define R_EXTENDED2_KIB	0x30
#define R_ABOVE_16M	0x34
#define R_ABOVE_4G	0x5b
#define R_CPUS		0x5f

#define A_UIP		0x80	/* an update is near */
#define A_UIP_NS	244000ULL
#define A_DIVIDER	0x70
#define A_RESET		0x60	/* and 0x70 */
#define A_DEFAULT	0x26	/* 32,768 Hz crystal, 1,024 Hz */

#define B_SET		0x80	/* the time stands still */
#define B_24H		0x02
#define B_BINARY	0x04

#define C_IRQ		0x80
#define C_PERIODIC	0x40	/* the enable bits of register B too */
#define C_ALARM		0x20
#define C_UPDATE	0x10

#define D_VALID		0x80	/* the battery is good */

#define ALARM_ANY	0xc0
#define PM_FLAG		0x80	/* of an hour in 12-hour mode */
#define DAY		86400

/* The time stands still: by SET, or by the divider that is held in reset. */
static bool rtc_stopped(const struct rtc *r)
{
	return (r->cmos[R_B] & B_SET) || (r->cmos[R_A] & A_DIVIDER) >= A_RESET;
}

static uint64_t rtc_ns(const struct rtc *r, uint64_t now)
{
	return now + r->offset;
}

static uint8_t rtc_encode(const struct rtc *r, unsigned int value)
{
	return r->cmos[R_B] & B_BINARY ? value : value / 10 << 4 | value % 10;
}

static unsigned int rtc_decode(const struct rtc *r, uint8_t value)
{
	return r->cmos[R_B] & B_BINARY ? value : (value >> 4) * 10 + (value & 15);
}

static uint8_t rtc_encode_hour(const struct rtc *r, unsigned int hour)
{
	if (r->cmos[R_B] & B_24H)
		return rtc_encode(r, hour);
	return rtc_encode(r, hour % 12 ? hour % 12 : 12) | (hour >= 12 ? PM_FLAG : 0);
}

static unsigned int rtc_decode_hour(const struct rtc *r, uint8_t value)
{
	if (r->cmos[R_B] & B_24H)
		return rtc_decode(r, value);
	return rtc_decode(r, value & ~PM_FLAG) % 12 + (value & PM_FLAG ? 12 : 0);
}

/* Puts the running time into the registers, unless the guest holds them. */
static void rtc_fetch(struct rtc *r)
{
	time_t seconds = rtc_ns(r, dev_now(r->clock)) / NS_PER_SEC;
	struct tm tm;

	if (rtc_stopped(r) || !gmtime_r(&seconds, &tm))
		return;
	r->cmos[R_SEC] = rtc_encode(r, tm.tm_sec);
	r->cmos[R_MIN] = rtc_encode(r, tm.tm_min);
	r->cmos[R_HOUR] = rtc_encode_hour(r, tm.tm_hour);
	r->cmos[R_WDAY] = rtc_encode(r, tm.tm_wday + 1);
	r->cmos[R_MDAY] = rtc_encode(r, tm.tm_mday);
	r->cmos[R_MONTH] = rtc_encode(r, tm.tm_mon + 1);
	r->cmos[R_YEAR] = rtc_encode(r, tm.tm_year % 100);
	r->cmos[R_CENTURY] = rtc_encode(r, (tm.tm_year + 1900) / 100);
}

/*
 * The guest has written the registers: the time runs on from there. Where in
 * the second it is, the divider says, which SET does not stop.
 */
static void rtc_store(struct rtc *r, uint64_t within)
{
	uint64_t now = dev_now(r->clock);
	struct tm tm = {
		.tm_sec = rtc_decode(r, r->cmos[R_SEC]),
		.tm_min = rtc_decode(r, r->cmos[R_MIN]),
		.tm_hour = rtc_decode_hour(r, r->cmos[R_HOUR]),
		.tm_mday = rtc_decode(r, r->cmos[R_MDAY]),
		.tm_mon = (int)rtc_decode(r, r->cmos[R_MONTH]) - 1,
		.tm_year = (int)(rtc_decode(r, r->cmos[R_CENTURY]) * 100 +
				 rtc_decode(r, r->cmos[R_YEAR])) - 1900,
	};
	time_t seconds = timegm(&tm);

	if (seconds < 0)
		seconds = 0;
	r->offset = (int64_t)((uint64_t)seconds * NS_PER_SEC + within - now);
	r->seen = now;
}

static uint64_t rtc_within(const struct rtc *r)
{
	return rtc_ns(r, dev_now(r->clock)) % NS_PER_SEC;
}

/* Register A bits 3:0: 1 and 2 repeat 8 and 9, the rest halve 32,768 Hz. */
static uint64_t rtc_period(const struct rtc *r)
{
	unsigned int rate = r->cmos[R_A] & 15;

	if (!rate || (r->cmos[R_A] & A_DIVIDER) >= A_RESET)
		return 0;
	return (1ULL << ((rate < 3 ? rate + 7 : rate) - 1)) * NS_PER_SEC / 32768;
}

static bool rtc_alarm_at(const struct rtc *r, uint64_t second)
{
	unsigned int day = second % DAY;
	uint8_t s = r->cmos[R_SEC_ALARM], m = r->cmos[R_MIN_ALARM], h = r->cmos[R_HOUR_ALARM];

	return (s >= ALARM_ANY || rtc_decode(r, s) == day % 60) &&
	       (m >= ALARM_ANY || rtc_decode(r, m) == day / 60 % 60) &&
	       ((h & ALARM_ANY) == ALARM_ANY || rtc_decode_hour(r, h) == day / 3600);
}

static void rtc_update(struct rtc *r)
{
	bool irq = r->cmos[R_B] & r->cmos[R_C] & (C_PERIODIC | C_ALARM | C_UPDATE);

	r->cmos[R_C] = irq ? r->cmos[R_C] | C_IRQ : r->cmos[R_C] & ~C_IRQ;
	irq_set(&r->irq, irq);
}

/* Raises the flags of everything that happened since the last look. */
void rtc_tick(struct rtc *r)
{
	uint64_t now = dev_now(r->clock), period = rtc_period(r);
	uint64_t from = rtc_ns(r, r->seen) / NS_PER_SEC, to = rtc_ns(r, now) / NS_PER_SEC;

	if (period && now / period != r->seen / period)
		r->cmos[R_C] |= C_PERIODIC;
	r->seen = now;
	if (!rtc_stopped(r) && to > from) {
		r->cmos[R_C] |= C_UPDATE;
		if (to - from > DAY)
			from = to - DAY;
		while (from++ < to)
			if (rtc_alarm_at(r, from))
				r->cmos[R_C] |= C_ALARM;
	}
	rtc_update(r);
}

uint64_t rtc_deadline(struct rtc *r)
{
	uint8_t want = r->cmos[R_B] & ~r->cmos[R_C];
	uint64_t next = DEV_NEVER, period = rtc_period(r);

	/* A line that is up stays up until register C is read. */
	if (r->cmos[R_C] & C_IRQ)
		return DEV_NEVER;
	if ((want & C_PERIODIC) && period)
		next = (r->seen / period + 1) * period;
	if ((want & (C_UPDATE | C_ALARM)) && !rtc_stopped(r)) {
		uint64_t left = NS_PER_SEC - rtc_ns(r, r->seen) % NS_PER_SEC;

		next = r->seen + left < next ? r->seen + left : next;
	}
	return next;
}

static uint8_t rtc_read_data(struct rtc *r)
{
	uint8_t value;

	switch (r->index) {
	case R_SEC:
	case R_MIN:
	case R_HOUR:
	case R_WDAY ... R_YEAR:
	case R_CENTURY:
		rtc_fetch(r);
		break;
	case R_A:
		value = r->cmos[R_A];
		if (!rtc_stopped(r) && NS_PER_SEC - rtc_within(r) <= A_UIP_NS)
			value |= A_UIP;
		return value;
	case R_C:
		rtc_tick(r);
		value = r->cmos[R_C];
		r->cmos[R_C] = 0;
		rtc_update(r);
		return value;
	case R_D:
		return D_VALID;
	}
	return r->cmos[r->index];
}

static void rtc_write_b(struct rtc *r, uint8_t value)
{
	bool stopped = rtc_stopped(r);

	rtc_tick(r);
	if (value & B_SET) {
		rtc_fetch(r);
		value &= ~C_UPDATE;	/* SET clears UIE */
	}
	r->cmos[R_B] = value;
	if (stopped && !rtc_stopped(r))
		rtc_store(r, rtc_within(r));
	rtc_update(r);
}

/* Half a second after its reset the divider ends the first second (data sheet, "DV"). */
static void rtc_write_a(struct rtc *r, uint8_t value)
{
	bool held = (r->cmos[R_A] & A_DIVIDER) >= A_RESET;

	rtc_tick(r);
	rtc_fetch(r);
	r->cmos[R_A] = value & ~A_UIP;
	if (held && (value & A_DIVIDER) < A_RESET)
		rtc_store(r, NS_PER_SEC / 2);
}

static void rtc_write_data(struct rtc *r, uint8_t value)
{
	switch (r->index) {
	case R_SEC:
	case R_MIN:
	case R_HOUR:
	case R_WDAY ... R_YEAR:
	case R_CENTURY:
		rtc_tick(r);
		rtc_fetch(r);
		r->cmos[r->index] = value;
		if (!rtc_stopped(r))
			rtc_store(r, rtc_within(r));
		break;
	case R_A:
		rtc_write_a(r, value);
		break;
	case R_B:
		rtc_write_b(r, value);
		break;
	case R_C:
	case R_D:
		break;
	default:
		r->cmos[r->index] = value;
	}
}

uint64_t rtc_read(void *dev, uint64_t offset, unsigned int size)
{
	return offset ? rtc_read_data(dev) : 0xff;	/* the index is write-only */
}

void rtc_write(void *dev, uint64_t offset, unsigned int size, uint64_t value)
{
	struct rtc *r = dev;

	if (offset)
		rtc_write_data(r, value);
	else
		r->index = value & 0x7f;	/* bit 7 masks NMI */
}

void rtc_init(struct rtc *r, struct dev_clock *clock, int64_t unix_seconds)
{
	memset(r->cmos, 0, sizeof(r->cmos));
	r->clock = clock;
	r->index = 0;
	r->seen = dev_now(clock);
	r->offset = (int64_t)((uint64_t)unix_seconds * NS_PER_SEC - r->seen);
	r->cmos[R_A] = A_DEFAULT;
	r->cmos[R_B] = B_24H;
}

static void rtc_put(struct rtc *r, uint8_t reg, uint64_t value, unsigned int bytes)
{
	uint64_t max = (1ULL << (8 * bytes)) - 1;

	for (value = value < max ? value : max; bytes--; value >>= 8)
		r->cmos[reg++] = value;
}

void rtc_set_memory(struct rtc *r, uint64_t low, uint64_t high, unsigned int cpus)
{
	rtc_put(r, R_BASE_KIB, 640, 2);
	rtc_put(r, R_EXTENDED_KIB, (low >> 10) - 1024, 2);
	rtc_put(r, R_EXTENDED2_KIB, (low >> 10) - 1024, 2);
	rtc_put(r, R_ABOVE_16M, low > 16 << 20 ? (low - (16 << 20)) >> 16 : 0, 2);
	rtc_put(r, R_ABOVE_4G, high >> 16, 3);
	rtc_put(r, R_CPUS, cpus - 1, 1);
}
