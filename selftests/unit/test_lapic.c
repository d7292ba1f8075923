// SPDX-License-Identifier: GPL-2.0
/*
 * The local APIC: which registers can be reached how, what is #GP in x2APIC
 * mode, who gets a message, priorities, EOI, the timer in each mode on a clock
 * that stands still, and its state.
 */
#include "unit.h"
#include <asm/cpufeature.h>
#include <asm/tsc.h>
u64 clv_tsc_lost;
#include "../../kmod/lapic.c"

#define NVCPUS	20
#define BASE	0xfee00000ULL
#define XAPIC	0x800
#define X2APIC	0xc00
#define MSR_TD	0x6e0

static struct clv_vm vm;
static struct clv_vcpu vcpus[NVCPUS], *vcpu = &vcpus[0];
static int kicks;

void clv_vcpu_kick(struct clv_vcpu *v)
{
	kicks++;
}

u64 clv_guest_tsc(const struct clv_vcpu *v)
{
	return unit_now * (u64)tsc_khz / 1000000 + clv_tsc_offset(v);
}

static u32 get(struct clv_vcpu *v, u32 off)
{
	struct cleave_lapic_access a = { .offset = off };

	CHECK_EQ(clv_lapic_access(v, &a), 0);
	return a.value;
}

static void put(struct clv_vcpu *v, u32 off, u32 val)
{
	struct cleave_lapic_access a = { .offset = off, .write = 1, .value = val };

	CHECK_EQ(clv_lapic_access(v, &a), 0);
}

static u64 msr(struct clv_vcpu *v, u32 index)
{
	u64 val = ~0ULL;

	CHECK_EQ(clv_lapic_msr_get(v, index, &val), 0);
	return val;
}

static int msi(u64 address, u32 data)
{
	struct cleave_msi m = { .address = address, .data = data };

	return clv_lapic_msi_ok(&m) ? clv_lapic_msi(&vm, &m) : -EINVAL;
}

static void mode(struct clv_vcpu *v, u64 bits)
{
	CHECK_EQ(clv_lapic_base_set(v, BASE | bits | (v->id ? 0 : 0x100), true), 0);
}

/* Fresh, in xAPIC mode, software-enabled. */
static void make(void)
{
	tsc_khz = 2300000;
	unit_now = 1000000007;
	memset(&vm, 0, sizeof(vm));
	vm.nr_vcpus = NVCPUS;
	for (u32 i = 0; i < NVCPUS; i++) {
		struct clv_vcpu *v = &vcpus[i];

		if (v->lapic)
			clv_lapic_destroy(v);
		memset(v, 0, sizeof(*v));
		vm.vcpus[i] = v;
		v->vm = &vm;
		v->id = i;
		v->mutex.held = 1;
		v->caps.x2apic = true;
		v->caps.tsc_deadline = true;
		CHECK_EQ(clv_lapic_create(v), 0);
		clv_lapic_reset(v, false);
		put(v, 0xf0, 0x1ff);
	}
}

/* What is pending, to be serviced; -1 if nothing is. */
static int take(struct clv_vcpu *v)
{
	int vector = clv_lapic_pending(v);

	if (vector >= 0)
		clv_lapic_ack(v, vector);
	return vector;
}

/* Takes v's interrupts as they come: how many. */
static int drain(struct clv_vcpu *v)
{
	int n = 0;

	while (take(v) >= 0) {
		clv_lapic_msr_set(v, 0x80b, 0);
		if (!(clv_lapic_base_get(v) & 0x400))
			put(v, 0xb0, 0);
		n++;
	}
	return n;
}

/* The clock goes on; timers that it passes fire. */
static void pass(u64 ns)
{
	unit_now += ns;
	for (u32 i = 0; i < NVCPUS; i++) {
		struct hrtimer *t = &vcpus[i].lapic->timer;

		if (t->active && t->expires <= unit_now) {
			t->active = false;
			CHECK_EQ(t->function(t), HRTIMER_NORESTART);
			CHECK(vcpus[i].requests & BIT(CLV_REQ_EVENT));
			clv_lapic_timer_sync(&vcpus[i], false);
		}
	}
}

UNIT_TEST(reset)
{
	make();
	CHECK_EQ(clv_lapic_base_get(vcpu), 0xfee00900);
	CHECK_EQ(clv_lapic_base_get(&vcpus[3]), 0xfee00800);
	put(vcpu, 0x80, 0x55);
	put(vcpu, 0x320, 0x20033);
	put(vcpu, 0x380, 1000);
	CHECK(vcpu->lapic->timer.active);
	msi(BASE, 0x40);
	mode(vcpu, X2APIC);
	clv_lapic_reset(vcpu, true);	/* INIT keeps the mode */
	CHECK_EQ(clv_lapic_base_get(vcpu), 0xfee00d00);
	clv_lapic_reset(vcpu, false);
	CHECK_EQ(clv_lapic_base_get(vcpu), 0xfee00900);
	CHECK(!vcpu->lapic->timer.active);
	for (u32 off = 0; off < 0x400; off += 0x10) {
		u32 val = off == 0x30 ? 0x50014 : off == 0xe0 ? ~0U : off == 0xf0 ? 0xff :
			  off >= 0x320 && off <= 0x370 ? 0x10000 : 0;

		CHECK_EQ(reg_read(vcpu, off), val);
	}
}

/* SDM vol. 3A table 11-6: access as an MSR, and bits that can be written. */
static const struct {
	u8 msr;
	char access[3];
	u32 bits;
} x2apic[] = {
	{ 0x02, "r" }, { 0x03, "r" }, { 0x08, "rw", 0xff }, { 0x0a, "r" }, { 0x0b, "w" },
	{ 0x0d, "r" }, { 0x0f, "rw", 0x3ff },
	{ 0x10, "r" }, { 0x11, "r" }, { 0x12, "r" }, { 0x13, "r" }, { 0x14, "r" }, { 0x15, "r" },
	{ 0x16, "r" }, { 0x17, "r" }, { 0x18, "r" }, { 0x19, "r" }, { 0x1a, "r" }, { 0x1b, "r" },
	{ 0x1c, "r" }, { 0x1d, "r" }, { 0x1e, "r" }, { 0x1f, "r" }, { 0x20, "r" }, { 0x21, "r" },
	{ 0x22, "r" }, { 0x23, "r" }, { 0x24, "r" }, { 0x25, "r" }, { 0x26, "r" }, { 0x27, "r" },
	{ 0x28, "rw" }, { 0x30, "rw", 0xccfff },
	{ 0x32, "rw", 0x710ff }, { 0x33, "rw", 0x117ff }, { 0x34, "rw", 0x117ff },
	{ 0x35, "rw", 0x1f7ff }, { 0x36, "rw", 0x1f7ff }, { 0x37, "rw", 0x110ff },
	{ 0x38, "rw", ~0U }, { 0x39, "r" }, { 0x3e, "rw", 0xb }, { 0x3f, "w", 0xff },
};

UNIT_TEST(x2apic_rules)
{
	make();
	for (u32 m = 0x7ff; m <= 0x900; m++) {	/* xAPIC mode has none */
		u64 val;

		CHECK_EQ(clv_lapic_msr_get(vcpu, m, &val), -EINVAL);
		CHECK_EQ(clv_lapic_msr_set(vcpu, m, 0), -EINVAL);
	}
	mode(vcpu, X2APIC);
	for (u32 m = 0x800; m < 0x900; m++) {
		const char *access = "";
		u32 bits = 0;
		u64 val;

		for (unsigned int i = 0; i < ARRAY_SIZE(x2apic); i++) {
			if (x2apic[i].msr == m - 0x800) {
				access = x2apic[i].access;
				bits = x2apic[i].bits;
			}
		}
		CHECK_EQ(clv_lapic_msr_get(vcpu, m, &val), strchr(access, 'r') ? 0 : -EINVAL);
		if (!strchr(access, 'w')) {
			CHECK_EQ(clv_lapic_msr_set(vcpu, m, 0), -EINVAL);
			continue;
		}
		for (int bit = 0; bit < 64; bit++) {
			bool ok = m == 0x830 && bit >= 32 ? true : bit < 32 && (bits >> bit & 1);

			CHECK_EQ(clv_lapic_msr_set(vcpu, m, 1ULL << bit), ok ? 0 : -EINVAL);
		}
	}
	/* The mode that does not exist, and one that this CPU has not. */
	CHECK_EQ(clv_lapic_msr_set(vcpu, 0x832, 0x60000), -EINVAL);
	CHECK_EQ(clv_lapic_msr_set(vcpu, 0x832, 0x40000), 0);
	vcpu->caps.tsc_deadline = false;
	CHECK_EQ(clv_lapic_msr_set(vcpu, 0x832, 0x40000), -EINVAL);
	CHECK_EQ(clv_lapic_msr_set(vcpu, MSR_TD, 0), -EINVAL);
	/* The ICR's two halves are one; the id and LDR are the mode's. */
	CHECK_EQ(clv_lapic_msr_set(&vcpus[19], 0x830, 0), -EINVAL);
	mode(&vcpus[19], X2APIC);
	CHECK_EQ(clv_lapic_msr_set(&vcpus[19], 0x830, 0x77000000400ULL), 0);
	CHECK_EQ(msr(&vcpus[19], 0x830), 0x77000000400ULL);
	CHECK_EQ(msr(&vcpus[19], 0x802), 19);
	CHECK_EQ(msr(&vcpus[19], 0x80d), 0x10008);
}

UNIT_TEST(page)
{
	struct cleave_lapic_access a = { .offset = 0x80 };

	make();
	CHECK_EQ(get(&vcpus[5], 0x20), 5U << 24);
	/* Read-only and reserved bits stay; what is not there is an error. */
	for (u32 off = 0; off < 0x1000; off += 0x10) {
		u32 was, esr;
		bool none;

		if (off == 0x300 || off == 0xb0)
			continue;
		put(vcpu, 0x280, 0);
		was = get(vcpu, off);
		put(vcpu, off, off == 0x370 ? 0x10000 : 0);	/* no error interrupt */
		put(vcpu, 0x280, 0);
		esr = get(vcpu, 0x280);
		if (off == 0x20 || off == 0x30 || off == 0xa0 || (off >= 0x100 && off < 0x280))
			CHECK_EQ(get(vcpu, off), was);
		none = off >= 0x400 || off < 0x20 || (off > 0x30 && off < 0x80) ||
		       (off >= 0x290 && off < 0x300) || (off >= 0x3a0 && off != 0x3e0);
		CHECK_EQ(esr, none ? 0x80 : 0);
		if (off == 0xf0)
			put(vcpu, 0xf0, 0x1ff);
	}
	put(vcpu, 0xd0, ~0U);
	CHECK_EQ(get(vcpu, 0xd0), 0xff000000);
	put(vcpu, 0xe0, 0);
	CHECK_EQ(get(vcpu, 0xe0), 0x0fffffff);
	put(vcpu, 0x320, ~0U);		/* the mode that does not exist: one-shot */
	CHECK_EQ(get(vcpu, 0x320), 0x100ff);
	put(vcpu, 0xf0, 0);		/* software-disabled: masked, and stays so */
	put(vcpu, 0x350, 0x41);
	CHECK_EQ(get(vcpu, 0x350), 0x10041);
	put(vcpu, 0xf0, 0x1ff);
	CHECK_EQ(get(vcpu, 0x350), 0x10041);
	a.offset = 0x81;
	CHECK_EQ(clv_lapic_access(vcpu, &a), -EINVAL);
	a.offset = 0x1080;
	CHECK_EQ(clv_lapic_access(vcpu, &a), -EINVAL);
	a = (struct cleave_lapic_access) { .offset = 0x80, .write = 2 };
	CHECK_EQ(clv_lapic_access(vcpu, &a), -EINVAL);
	a = (struct cleave_lapic_access) { .offset = 0x80, .reserved = 1 };
	CHECK_EQ(clv_lapic_access(vcpu, &a), -EINVAL);
	a.reserved = 0;
	mode(vcpu, X2APIC);
	CHECK_EQ(clv_lapic_access(vcpu, &a), -ENXIO);
	mode(vcpu, 0);
	CHECK_EQ(clv_lapic_access(vcpu, &a), -ENXIO);
}

/* SDM vol. 3A figure 11-27 */
UNIT_TEST(base)
{
	static const u64 modes[] = { 0, XAPIC, X2APIC };
	static const bool allowed[3][3] = { { 1, 1, 0 }, { 1, 1, 1 }, { 1, 0, 1 } };

	for (int from = 0; from < 3; from++) {
		for (int to = 0; to < 3; to++) {
			u64 base = BASE | 0x100 | modes[to];

			make();
			mode(vcpu, modes[from]);
			CHECK_EQ(clv_lapic_base_check(vcpu, base, true), 0);
			CHECK_EQ(clv_lapic_base_set(vcpu, base, false),
				 allowed[from][to] ? 0 : -EINVAL);
			CHECK_EQ(clv_lapic_base_get(vcpu),
				 allowed[from][to] ? base : BASE | 0x100 | modes[from]);
		}
	}
	make();
	CHECK_EQ(clv_lapic_base_check(vcpu, BASE | 0x800, true), -EINVAL);	/* not the BSP */
	CHECK_EQ(clv_lapic_base_check(&vcpus[1], BASE | 0x900, true), -EINVAL);
	CHECK_EQ(clv_lapic_base_check(vcpu, BASE | 0x500, true), -EINVAL);	/* no such mode */
	for (int bit = 0; bit < 64; bit++)
		if (bit != 8 && bit != 10 && bit != 11)
			CHECK_EQ(clv_lapic_base_check(vcpu, (BASE | 0x900) ^ 1ULL << bit, true),
				 -EINVAL);
	vcpu->caps.x2apic = false;
	CHECK_EQ(clv_lapic_base_check(vcpu, BASE | 0xd00, true), -EINVAL);
	put(vcpu, 0x80, 0x20);
	mode(vcpu, 0);			/* 11.4.3: disabling it resets it */
	mode(vcpu, XAPIC);
	CHECK_EQ(get(vcpu, 0x80), 0);
}

/* Is a message with this destination for v? SDM vol. 3A 11.6.2, 11.12.10, once more. */
static bool for_me(struct clv_vcpu *v, bool logical, u32 dest)
{
	u64 base = clv_lapic_base_get(v);
	u32 ldr, cluster, member;

	if (base & 0x400) {
		if (dest == 0xffffffff)
			return true;
		cluster = v->id / 16;
		member = 1 << v->id % 16;
		return logical ? dest >> 16 == cluster && (dest & member) : dest == v->id;
	}
	if (dest == 0xff || dest == 0xffffffff)
		return true;
	if (dest > 0xff || !logical)
		return !logical && dest == v->id;
	ldr = reg_read(v, 0xd0) >> 24;
	if (reg_read(v, 0xe0) == 0xffffffff)
		return ldr & dest;
	return reg_read(v, 0xe0) == 0x0fffffff && ldr / 16 == dest / 16 && (ldr & dest & 15);
}

UNIT_TEST(destinations)
{
	static const u32 dests[] = { 0, 1, 2, 5, 16, 19, 0x11, 0x13, 0x24, 0x80, 0xf0, 0xff, 0x100,
				     0x1ff, 0x10003, 0x10008, 0x1ffff, 0x20001, ~0U };
	u32 sent = 0;

	srand(3);
	for (int round = 0; round < 200; round++) {
		make();
		for (u32 i = 0; i < NVCPUS; i++) {
			put(&vcpus[i], 0xd0, (rand() % 2 ? 1U << rand() % 8 : rand() % 256) << 24);
			put(&vcpus[i], 0xe0, rand() % 4 ? rand() % 2 ? ~0U : 0 : 0x30000000);
			if (rand() % 3 == 0)
				mode(&vcpus[i], rand() % 4 ? X2APIC : 0);
		}
		mode(vcpu, X2APIC);
		CHECK_EQ(clv_lapic_msr_set(vcpu, 0x80f, 0x1ff), 0);
		for (unsigned int d = 0; d < ARRAY_SIZE(dests); d++) {
			bool logical = rand() % 2, lowest = rand() % 3 == 0;
			u32 icr = 0x4031 | (logical ? 0x800 : 0) | (lowest ? 0x100 : 0);
			int got = 0, want = 0;

			CHECK_EQ(clv_lapic_msr_set(vcpu, 0x830, icr | (u64)dests[d] << 32), 0);
			for (u32 i = 0; i < NVCPUS; i++) {
				bool me = for_me(&vcpus[i], logical, dests[d]) &&
					  is_enabled(vcpus[i].lapic) &&
					  (reg_read(&vcpus[i], 0xf0) & 0x100);
				int n = drain(&vcpus[i]);

				CHECK(n <= me);
				got += n;
				want += me;
			}
			CHECK_EQ(got, lowest ? !!want : want);
			sent += got;
		}
	}
	CHECK(sent > 2000);
}

UNIT_TEST(shorthands)
{
	static const u32 modes[] = { 0, 1, 2, 4, 5, 6 };

	for (unsigned int m = 0; m < ARRAY_SIZE(modes); m++) {
		for (u32 sh = 1; sh < 4; sh++) {
			make();
			put(vcpu, 0x300, sh << 18 | modes[m] << 8 | 0x4041);
			for (u32 i = 0; i < NVCPUS; i++) {
				struct clv_vcpu *v = &vcpus[i];
				/* Only fixed ones go to the sender, table 11-3. */
				bool to = sh == 3 ? i : modes[m] ? false : sh == 2 || !i;

				if (modes[m] == 1)	/* to one of them */
					to = sh == 3 && i == 0x41 % NVCPUS;
				CHECK_EQ(drain(v), to && modes[m] < 2);
				CHECK_EQ(atomic_read(&v->nmi_queued), to && modes[m] == 4);
				CHECK_EQ(!!(v->requests & BIT(CLV_REQ_NMI)), to && modes[m] == 4);
				CHECK_EQ(!!(v->requests & BIT(CLV_REQ_INIT)), to && modes[m] == 5);
				CHECK_EQ(!!(v->requests & BIT(CLV_REQ_SIPI)), to && modes[m] == 6);
				if (to && modes[m] == 6)
					CHECK_EQ(v->sipi_vector, 0x41);
			}
		}
	}
	make();
	CHECK_EQ(clv_lapic_msr_set(&vcpus[2], 0x83f, 0x41), -EINVAL);
	mode(&vcpus[2], X2APIC);
	CHECK_EQ(clv_lapic_msr_set(&vcpus[2], 0x83f, 0x41), 0);
	CHECK_EQ(take(&vcpus[2]), 0x41);
}

UNIT_TEST(init_and_sipi)
{
	struct clv_vcpu *v = &vcpus[1];

	make();
	put(vcpu, 0x310, 1 << 24);
	put(vcpu, 0x300, 0x8500);	/* level de-assert: nothing */
	CHECK(!(v->requests & BIT(CLV_REQ_INIT)));
	put(vcpu, 0x300, 0x4612);
	put(vcpu, 0x300, 0x4613);
	CHECK(v->requests & BIT(CLV_REQ_SIPI));
	CHECK_EQ(v->sipi_vector, 0x12);	/* the first one starts it */
	put(vcpu, 0x300, 0x4500);
	CHECK(v->requests & BIT(CLV_REQ_INIT));
	CHECK(!(v->requests & BIT(CLV_REQ_SIPI)));
	/* They come through to one that is disabled by software. */
	put(v, 0xf0, 0xff);
	v->requests = 0;
	put(vcpu, 0x300, 0x4500);
	CHECK(v->requests & BIT(CLV_REQ_INIT));
}

/* SDM vol. 3A 11.11 */
UNIT_TEST(messages)
{
	make();
	CHECK_EQ(msi(0xfed00000, 0x41), -EINVAL);
	CHECK_EQ(msi(BASE | 3 << 12, 0x41), 1);
	CHECK_EQ(take(&vcpus[3]), 0x41);
	CHECK_EQ(msi(BASE | 0xff << 12, 0x42), NVCPUS);
	CHECK_EQ(msi(BASE | 3 << 12 | 1ULL << 40, 0x41), 0);	/* id 259 */
	CHECK_EQ(msi(BASE | 3 << 12, 0x8041), 0);	/* de-assert */
	CHECK_EQ(msi(BASE | 3 << 12, 0x241), 0);		/* SMI */
	CHECK_EQ(msi(BASE | 3 << 12, 0x441), 1);
	CHECK_EQ(atomic_read(&vcpus[3].nmi_queued), 1);
	CHECK_EQ(msi(BASE | 100 << 12, 0x41), 0);
	put(&vcpus[4], 0xf0, 0xff);
	CHECK_EQ(msi(BASE | 4 << 12, 0x41), 0);
	/* Vectors below 16 are an error at the receiver; a sender's is one at the sender. */
	put(&vcpus[5], 0x370, 0x77);
	CHECK_EQ(msi(BASE | 5 << 12, 0x0f), 0);
	CHECK_EQ(take(&vcpus[5]), 0x77);
	CHECK_EQ(msi(BASE | 5 << 12, 0x0e), 0);
	CHECK_EQ(take(&vcpus[5]), -1);	/* one interrupt until ESR is written */
	put(&vcpus[5], 0x280, 0);
	CHECK_EQ(get(&vcpus[5], 0x280), 0x40);
	put(vcpu, 0x310, 6 << 24);
	put(vcpu, 0x300, 0x4005);
	put(vcpu, 0x280, 0);
	CHECK_EQ(get(vcpu, 0x280), 0x20);
	/* An error interrupt with such a vector does not go on for ever. */
	put(vcpu, 0x370, 3);
	CHECK_EQ(msi(BASE, 1), 0);
	put(vcpu, 0x280, 0);
	CHECK_EQ(get(vcpu, 0x280), 0x40);
}

UNIT_TEST(lowest_priority)
{
	make();
	for (u32 i = 0; i < NVCPUS; i++) {
		put(&vcpus[i], 0xd0, 1 << 24);
		put(&vcpus[i], 0x80, 0x40);
	}
	put(&vcpus[7], 0x80, 0x30);
	CHECK_EQ(msi(BASE | 1 << 12 | 4, 0x151), 1);
	CHECK_EQ(take(&vcpus[7]), 0x51);
	/* What is in service counts, too; and a redirection hint asks for the same. */
	put(&vcpus[8], 0x80, 0x30);
	CHECK_EQ(msi(BASE | 1 << 12 | 4 | 8, 0x52), 1);
	CHECK_EQ(take(&vcpus[8]), 0x52);
	/* Among equals it is not always the same one. */
	for (u32 v = 0x60; v < 0x60 + NVCPUS; v++) {
		make();
		CHECK_EQ(msi(BASE | 0xff << 12, 0x100 | v), 1);
		CHECK_EQ(take(&vcpus[v % NVCPUS]), v);
	}
}

/* SDM vol. 3A 11.8.3: against a list of what came and what is in service. */
UNIT_TEST(priorities)
{
	bool irr[256], isr[256];

	make();
	srand(4);
	memset(irr, 0, sizeof(irr));
	memset(isr, 0, sizeof(isr));
	for (int i = 0; i < 20000; i++) {
		int vector = 16 + rand() % 240, high = -1, service = -1, tpr = get(vcpu, 0x80);
		int class;

		switch (rand() % 4) {
		case 0:
			CHECK_EQ(msi(BASE, vector), 1);
			irr[vector] = true;
			break;
		case 1:
			put(vcpu, 0x80, tpr = rand() % 2 ? 0 : rand() % 256);
			break;
		case 2:
			put(vcpu, 0xb0, 0);
			for (int v = 255; v >= 0; v--) {
				if (isr[v]) {
					isr[v] = false;
					break;
				}
			}
			break;
		case 3:
			clv_lapic_cr8_set(vcpu, tpr = rand() % 16);
			tpr <<= 4;
			break;
		}
		CHECK_EQ(clv_lapic_cr8_get(vcpu), tpr >> 4);
		for (int v = 0; v < 256; v++) {
			high = irr[v] ? v : high;
			service = isr[v] ? v : service;
			CHECK_EQ(get(vcpu, 0x200 + v / 32 * 16) >> v % 32 & 1, irr[v]);
			CHECK_EQ(get(vcpu, 0x100 + v / 32 * 16) >> v % 32 & 1, isr[v]);
		}
		class = max(tpr >> 4, service >> 4);
		CHECK_EQ(get(vcpu, 0xa0), tpr >> 4 >= service >> 4 ? tpr : service & 0xf0);
		if (high < 0 || high >> 4 <= class)
			high = -1;
		CHECK_EQ(clv_lapic_pending(vcpu), high);
		if (high >= 0 && rand() % 2) {
			CHECK_EQ(take(vcpu), high);
			irr[high] = false;
			isr[high] = true;
		}
	}
	CHECK(kicks > 1000);
}

UNIT_TEST(level_triggered_eoi)
{
	make();
	CHECK_EQ(clv_lapic_take_eoi(vcpu), -1);
	put(vcpu, 0xb0, 0);		/* nothing in service */
	CHECK_EQ(msi(BASE, 0xc041), 1);
	CHECK_EQ(get(vcpu, 0x1a0), 2);	/* TMR */
	CHECK_EQ(msi(BASE, 0x51), 1);
	CHECK_EQ(take(vcpu), 0x51);
	put(vcpu, 0xb0, 0);
	CHECK_EQ(clv_lapic_take_eoi(vcpu), -1);
	CHECK_EQ(take(vcpu), 0x41);
	put(vcpu, 0xb0, 0);
	CHECK_EQ(clv_lapic_take_eoi(vcpu), 0x41);
	CHECK_EQ(clv_lapic_take_eoi(vcpu), -1);
	/* Two before anybody looks; then edge-triggered again. */
	for (u32 v = 0x61; v <= 0x71; v += 16) {
		CHECK_EQ(msi(BASE, 0xc000 | v), 1);
		CHECK_EQ(take(vcpu), v);
		put(vcpu, 0xb0, 0);
	}
	CHECK_EQ(clv_lapic_take_eoi(vcpu), 0x71);
	CHECK_EQ(clv_lapic_take_eoi(vcpu), 0x61);
	CHECK_EQ(clv_lapic_take_eoi(vcpu), -1);
	CHECK_EQ(msi(BASE, 0x61), 1);
	CHECK_EQ(drain(vcpu), 1);
	CHECK_EQ(clv_lapic_take_eoi(vcpu), -1);
	/* IPIs are edge-triggered whatever the ICR says. */
	put(vcpu, 0x300, 0x4c061);
	CHECK_EQ(drain(vcpu), 1);
	CHECK_EQ(clv_lapic_take_eoi(vcpu), -1);
}

UNIT_TEST(timer_one_shot)
{
	static const u8 divide[8] = { 0xb, 0, 1, 2, 3, 8, 9, 0xa };	/* by 1, 2, 4 .. 128 */

	for (u32 s = 0; s < 8; s++) {
		make();
		put(vcpu, 0x3e0, divide[s]);
		put(vcpu, 0x320, 0x31);
		put(vcpu, 0x380, 1000);
		CHECK_EQ(get(vcpu, 0x390), 1000);
		pass(400 << s);
		CHECK_EQ(get(vcpu, 0x390), 600);
		pass((600 << s) - 1);
		CHECK_EQ(get(vcpu, 0x390), 1);
		CHECK_EQ(take(vcpu), -1);
		pass(1);
		CHECK_EQ(get(vcpu, 0x390), 0);
		CHECK_EQ(drain(vcpu), 1);
		pass(1000000);
		CHECK_EQ(drain(vcpu), 0);
		CHECK(!vcpu->lapic->timer.active);
	}
	/* A new divider: what is left of the count goes on. */
	make();
	put(vcpu, 0x3e0, 0xb);
	put(vcpu, 0x320, 0x31);
	put(vcpu, 0x380, 1000);
	pass(500);
	put(vcpu, 0x3e0, 1);
	CHECK_EQ(get(vcpu, 0x390), 500);
	pass(1999);
	CHECK_EQ(drain(vcpu), 0);
	pass(1);
	CHECK_EQ(drain(vcpu), 1);
	/* Stopped by 0; masked it counts and says nothing. */
	put(vcpu, 0x380, 1000);
	put(vcpu, 0x380, 0);
	CHECK_EQ(get(vcpu, 0x390), 0);
	pass(10000);
	CHECK_EQ(drain(vcpu), 0);
	put(vcpu, 0x320, 0x10031);
	put(vcpu, 0x380, 1000);
	pass(10000);
	CHECK_EQ(drain(vcpu), 0);
	/* Longer than 32 bits of ns. */
	put(vcpu, 0x320, 0x31);
	put(vcpu, 0x3e0, 0xa);
	put(vcpu, 0x380, ~0U);
	CHECK_EQ(vcpu->lapic->timer.expires - unit_now, 0xffffffffULL << 7);
}

UNIT_TEST(timer_periodic)
{
	make();
	put(vcpu, 0x3e0, 0xb);
	put(vcpu, 0x320, 0x20031);
	put(vcpu, 0x380, 100000);
	for (int i = 0; i < 10; i++) {
		pass(99999);
		CHECK_EQ(drain(vcpu), 0);
		pass(1);
		CHECK_EQ(drain(vcpu), 1);
	}
	/* Late ones become one, and the next is where it was due. */
	pass(570000);
	CHECK_EQ(drain(vcpu), 1);
	CHECK_EQ(get(vcpu, 0x390), 30000);
	pass(30000);
	CHECK_EQ(drain(vcpu), 1);
	/* To one-shot and back the count goes on. */
	pass(40000);
	put(vcpu, 0x320, 0x31);
	CHECK_EQ(get(vcpu, 0x390), 60000);
	put(vcpu, 0x320, 0x20031);
	pass(60000);
	CHECK_EQ(drain(vcpu), 1);
	CHECK(vcpu->lapic->timer.active);
	/* What passes before anybody looks shows in the count. */
	unit_now += 130000;
	CHECK_EQ(get(vcpu, 0x390), 70000);
	/* One tick is too short to be true. */
	put(vcpu, 0x380, 1);
	CHECK_EQ(vcpu->lapic->timer.expires - unit_now, 20000);
	CHECK_EQ(get(vcpu, 0x390), 1);
}

UNIT_TEST(timer_deadline)
{
	u64 tsc;

	make();
	CHECK_EQ(clv_lapic_msr_set(vcpu, MSR_TD, 5), 0);	/* of no effect in other modes */
	CHECK_EQ(msr(vcpu, MSR_TD), 0);
	put(vcpu, 0x320, 0x40031);
	put(vcpu, 0x380, 1000);
	CHECK_EQ(get(vcpu, 0x380), 0);
	vcpu->tsc_adjust = 12345;
	for (int i = 0; i < 1000; i++) {
		u64 wait = i * 37;

		tsc = clv_guest_tsc(vcpu);
		CHECK_EQ(clv_lapic_msr_set(vcpu, MSR_TD, tsc + wait), 0);
		CHECK_EQ(get(vcpu, 0x390), 0);
		if (wait) {
			CHECK_EQ(msr(vcpu, MSR_TD), tsc + wait);
			CHECK(vcpu->lapic->timer.active);
			pass(vcpu->lapic->timer.expires - unit_now);
		}
		if (vcpu->lapic->tsc_deadline)	/* rounded down twice */
			pass(1);
		CHECK(clv_guest_tsc(vcpu) >= tsc + wait);
		CHECK(clv_guest_tsc(vcpu) <= tsc + wait + 5);
		CHECK_EQ(drain(vcpu), 1);
		CHECK_EQ(msr(vcpu, MSR_TD), 0);
	}
	/* A host clock that runs ahead: not before the TSC says so. */
	tsc = clv_guest_tsc(vcpu);
	CHECK_EQ(clv_lapic_msr_set(vcpu, MSR_TD, tsc + 2300000), 0);
	vm.tsc_offset -= 1000000;
	pass(1000001);
	CHECK_EQ(drain(vcpu), 0);
	CHECK(vcpu->lapic->timer.active);
	pass(1000000);
	CHECK_EQ(drain(vcpu), 1);
	/* A TSC that jumps beyond it. */
	tsc = clv_guest_tsc(vcpu);
	CHECK_EQ(clv_lapic_msr_set(vcpu, MSR_TD, tsc + 2300000), 0);
	vm.tsc_offset += 2300000;
	vcpu->lapic->timer.function(&vcpu->lapic->timer);
	CHECK(vcpu->requests & BIT(CLV_REQ_EVENT));
	clv_lapic_timer_sync(vcpu, false);
	CHECK_EQ(drain(vcpu), 1);
	/* Disarmed by 0, and by the mode; the far future does not overflow. */
	CHECK_EQ(clv_lapic_msr_set(vcpu, MSR_TD, ~0ULL), 0);
	CHECK(vcpu->lapic->timer.active && vcpu->lapic->timer.expires > unit_now);
	CHECK_EQ(clv_lapic_msr_set(vcpu, MSR_TD, 0), 0);
	CHECK(!vcpu->lapic->timer.active);
	CHECK_EQ(clv_lapic_msr_set(vcpu, MSR_TD, ~0ULL), 0);
	put(vcpu, 0x320, 0x31);
	CHECK(!vcpu->lapic->timer.active);
	CHECK_EQ(msr(vcpu, MSR_TD), 0);
}

UNIT_TEST(state)
{
	static const u16 bad[][2] = {	/* register, bit */
		{ 0x20, 0 }, { 0x30, 3 }, { 0x40, 0 }, { 0x80, 8 }, { 0x90, 0 }, { 0xa0, 8 },
		{ 0xb0, 0 }, { 0xc0, 0 }, { 0xd0, 3 }, { 0xe0, 5 }, { 0xf0, 12 }, { 0x100, 15 },
		{ 0x180, 0 }, { 0x200, 9 }, { 0x280, 8 }, { 0x290, 0 }, { 0x300, 12 },
		{ 0x310, 0 }, { 0x320, 12 }, { 0x320, 19 }, { 0x330, 11 }, { 0x350, 14 },
		{ 0x370, 8 }, { 0x3a0, 0 }, { 0x3e0, 2 }, { 0x3f0, 0 },
	};
	struct cleave_lapic st, got;

	make();
	put(vcpu, 0x80, 0x20);
	put(vcpu, 0x320, 0x20031);
	put(vcpu, 0x380, 50000);
	put(vcpu, 0xd0, 0x42000000);
	msi(BASE, 0xc041);
	msi(BASE, 0x91);
	CHECK_EQ(take(vcpu), 0x91);
	pass(1234);
	memset(&st, 0xaa, sizeof(st));
	clv_lapic_get(vcpu, &st);
	CHECK_EQ(st.timer_left, 100000 - 1234);		/* the divider is 2 */
	CHECK_EQ(clv_lapic_check(vcpu, &st), 0);
	clv_lapic_reset(vcpu, false);
	clv_lapic_set(vcpu, &st);
	clv_lapic_get(vcpu, &got);
	CHECK(!memcmp(&st, &got, sizeof(st)));
	CHECK_EQ(clv_lapic_pending(vcpu), -1);
	put(vcpu, 0xb0, 0);
	CHECK_EQ(take(vcpu), 0x41);
	pass(100000 - 1234);
	CHECK_EQ(get(vcpu, 0x210) >> 17 & 1, 1);
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		got = st;
		got.regs[bad[i][0] / 4] ^= 1U << bad[i][1];
		CHECK_EQ(clv_lapic_check(vcpu, &got), -EINVAL);
	}
	for (int i = 0; i < 256; i++) {
		got = st;
		got.regs[i] |= i % 4 ? 1 : 0;
		CHECK_EQ(clv_lapic_check(vcpu, &got), i % 4 ? -EINVAL : 0);
	}
	got = st;
	got.timer_left = 100001;
	CHECK_EQ(clv_lapic_check(vcpu, &got), -EINVAL);
	got = st;
	got.timer_pending = 2;
	CHECK_EQ(clv_lapic_check(vcpu, &got), -EINVAL);
	got = st;
	got.tsc_deadline = 1;
	CHECK_EQ(clv_lapic_check(vcpu, &got), -EINVAL);
	got = st;
	got.regs[0xf0 / 4] = 0xff;	/* software-disabled with an entry that is not masked */
	CHECK_EQ(clv_lapic_check(vcpu, &got), -EINVAL);
	got = st;
	got.regs[0x320 / 4] = 0x40031;
	CHECK_EQ(clv_lapic_check(vcpu, &got), -EINVAL);	/* with a count that runs */
	got.timer_left = 0;
	got.tsc_deadline = ~0ULL;
	CHECK_EQ(clv_lapic_check(vcpu, &got), 0);
	clv_lapic_set(vcpu, &got);	/* armed: neither count nor time left shows */
	clv_lapic_get(vcpu, &got);
	CHECK_EQ(got.regs[0x390 / 4] | got.timer_left, 0);
	CHECK_EQ(got.tsc_deadline, ~0ULL);
	vcpu->caps.tsc_deadline = false;
	CHECK_EQ(clv_lapic_check(vcpu, &got), -EINVAL);
	/* In x2APIC mode's form; and an interrupt of the timer that was due. */
	make();
	mode(&vcpus[17], X2APIC);
	CHECK_EQ(clv_lapic_msr_set(&vcpus[17], 0x80f, 0x1ff), 0);
	CHECK_EQ(clv_lapic_msr_set(&vcpus[17], 0x832, 0x32), 0);
	clv_lapic_get(&vcpus[17], &st);
	CHECK_EQ(st.regs[0x20 / 4], 17);
	CHECK_EQ(st.regs[0xd0 / 4], 0x10002);
	st.timer_pending = 1;
	CHECK_EQ(clv_lapic_check(&vcpus[17], &st), 0);
	CHECK_EQ(clv_lapic_check(&vcpus[16], &st), -EINVAL);
	clv_lapic_set(&vcpus[17], &st);
	CHECK_EQ(take(&vcpus[17]), 0x32);
	mode(&vcpus[17], XAPIC);
	CHECK_EQ(get(&vcpus[17], 0xd0), 0);
}

UNIT_TEST(no_memory)
{
	static struct clv_vcpu v;

	unit_alloc_fail = 1;
	CHECK_EQ(clv_lapic_create(&v), -ENOMEM);
}
