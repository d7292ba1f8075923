// SPDX-License-Identifier: GPL-2.0
#include <string.h>

#include "machine.h"

#define HV_BASE		0x40000000U
#define HV_FEATURES	0x40000001U

static struct cleave_cpuid_entry *find(struct cleave_cpuid *c, uint32_t leaf)
{
	uint32_t i;

	for (i = 0; i < c->count; i++)
		if (c->entries[i].leaf == leaf)
			return &c->entries[i];
	return NULL;
}

static void put(struct cleave_cpuid *c, struct cleave_cpuid_entry e)
{
	struct cleave_cpuid_entry *old = find(c, e.leaf);

	if (old)
		*old = e;
	else if (c->count < CLEAVE_MAX_CPUID)
		c->entries[c->count++] = e;
}

static void drop_hypervisor(struct cleave_cpuid *c)
{
	uint32_t i, n = 0;

	for (i = 0; i < c->count; i++)
		if (c->entries[i].leaf >> 8 != HV_BASE >> 8)
			c->entries[n++] = c->entries[i];
	c->count = n;
}

/* x2APIC id bits that number the CPUs of the one package. */
static uint32_t id_bits(uint32_t cpus)
{
	uint32_t bits = 0;

	while (1U << bits < cpus)
		bits++;
	return bits;
}

static uint32_t field(uint32_t reg, unsigned int high, unsigned int low, uint32_t value)
{
	uint32_t mask = (uint32_t)((1ULL << (high - low + 1)) - 1) << low;

	return (reg & ~mask) | (value << low & mask);
}

/* Caches: levels 1 and 2 are a core's own, the others the package's. */
static void cache(struct cleave_cpuid_entry *e, uint32_t cpus)
{
	uint32_t level = e->eax >> 5 & 7;

	e->eax = field(e->eax, 25, 14, level > 2 ? cpus - 1 : 0);
}

/* One package of `cpus` cores with one thread each. SDM vol. 2A CPUID, APM vol. 3 appendix E. */
static void topology(struct cleave_cpuid_entry *e, uint32_t id, uint32_t cpus)
{
	uint32_t bits = id_bits(cpus);

	switch (e->leaf) {
	case 1:
		e->ebx = field(e->ebx, 31, 24, id);
		e->ebx = field(e->ebx, 23, 16, cpus);
		e->edx = field(e->edx, 28, 28, cpus > 1);
		break;
	case 4:
		cache(e, cpus);
		e->eax = field(e->eax, 31, 26, e->eax & 0x1f ? cpus - 1 : 0);
		break;
	case 0xb:
	case 0x1f:
		e->eax = e->subleaf == 1 ? bits : 0;
		e->ebx = e->subleaf == 0 ? 1 : e->subleaf == 1 ? cpus : 0;
		e->ecx = e->subleaf | (e->subleaf < 2 ? (e->subleaf + 1) << 8 : 0);
		e->edx = id;
		break;
	case 0x80000001:
		e->ecx = field(e->ecx, 1, 1, cpus > 1);		/* CmpLegacy */
		break;
	case 0x80000008:
		e->ecx = field(e->ecx, 7, 0, cpus - 1);
		e->ecx = field(e->ecx, 15, 12, bits);
		break;
	case 0x8000001d:
		cache(e, cpus);
		break;
	case 0x8000001e:
		e->eax = id;
		e->ebx = id & 0xff;	/* core id, one thread a core */
		e->ecx = 0;		/* one node */
		break;
	}
}

/* Linux without the local APIC's timer takes the 8254, but not beside a TSC deadline timer. */
static void hide_deadline(struct cleave_cpuid *c, const char *append)
{
	if (find(c, 1) && (strstr(append, "nolapic_timer") || strstr(append, "noapictimer")))
		find(c, 1)->ecx &= ~(1U << 24);
}

void cpuid_for_guest(struct cleave_cpuid *c, uint32_t id, const struct run_args *args)
{
	const struct cleave_cpuid_entry signature = {
		.leaf = HV_BASE, .eax = HV_FEATURES,
		.ebx = 0x4b4d564b, .ecx = 0x564b4d56, .edx = 0x4d,	/* "KVMKVMKVM" */
	};
	struct cleave_cpuid_entry features = { .leaf = HV_FEATURES, .edx = args->hints };
	uint32_t i;

	if (find(c, HV_FEATURES))
		features.eax = find(c, HV_FEATURES)->eax & args->pv;
	drop_hypervisor(c);
	for (i = 0; i < c->count; i++)
		topology(&c->entries[i], id, args->cpus);
	hide_deadline(c, args->append);
	/* CmpLegacy is AMD's; Intel reserves the bit. */
	if (find(c, 0) && find(c, 0)->ecx == 0x6c65746e && find(c, 0x80000001))
		find(c, 0x80000001)->ecx &= ~2U;
	/*
	 * Under KVM's signature Linux takes x2APIC without interrupt
	 * remapping and skips the check of the timer's wiring.
	 */
	put(c, signature);
	put(c, features);
}
