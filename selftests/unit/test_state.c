// SPDX-License-Identifier: GPL-2.0
/*
 * Guest registers: what user space may set, against the rules for VM entry
 * written down a second time; all or nothing; reset and INIT; and what writes
 * to control registers do.
 */
#include "unit.h"
#include <asm/cpufeature.h>
#include "../../kmod/state.c"

static struct clv_vm vm;
static struct clv_vcpu vcpu, before;
static u64 apic_base, cr8;
static bool lapic_bad, events_bad;
static int lapic_sets;

void clv_pv_reset(struct clv_vcpu *v)
{
}

void clv_regs_pull(struct clv_vcpu *v, u32 groups)
{
	v->avail |= groups;
}

static u64 pdptes[4], pdptes_at;

/* Guest memory is the four entries alone. */
int clv_mem_read(struct clv_vm *vm, u64 gpa, void *buf, u32 len)
{
	if (gpa != pdptes_at)
		return -ENOENT;
	memcpy(buf, pdptes, len);
	return 0;
}

int clv_lapic_base_check(struct clv_vcpu *v, u64 base, bool host)
{
	return (base & ~0x900ULL) == 0xfee00000 ? 0 : -EINVAL;
}

int clv_lapic_base_set(struct clv_vcpu *v, u64 base, bool host)
{
	apic_base = base;
	return clv_lapic_base_check(v, base, host);
}

u64 clv_lapic_base_get(struct clv_vcpu *v)
{
	return apic_base;
}

u64 clv_lapic_cr8_get(struct clv_vcpu *v)
{
	return cr8;
}

void clv_lapic_cr8_set(struct clv_vcpu *v, u64 val)
{
	cr8 = val;
}

int clv_lapic_check(struct clv_vcpu *v, const struct cleave_lapic *l)
{
	return lapic_bad ? -EINVAL : 0;
}

void clv_lapic_set(struct clv_vcpu *v, const struct cleave_lapic *l)
{
	lapic_sets++;
}

void clv_lapic_get(struct clv_vcpu *v, struct cleave_lapic *l)
{
	l->timer_left = 77;
}

bool clv_events_ok(const struct cleave_events *ev)
{
	return !events_bad;
}

void clv_events_set(struct clv_vcpu *v, const struct cleave_events *ev)
{
	v->events = *ev;
}

void clv_events_take_nmis(struct clv_vcpu *v)
{
}

void clv_cpuid_query(struct clv_vcpu *v, struct cleave_cpuid_entry *e)
{
	CHECK_EQ(e->leaf, 1);
	e->eax = 0x800f12;
}

void clv_msr_reset(struct clv_vcpu *v)
{
	v->pat = 0x0007040600070406;
}

static void make(void)
{
	memset(&vcpu, 0, sizeof(vcpu));
	vcpu.vm = &vm;
	vcpu.mutex.held = 1;
	vcpu.caps.maxphyaddr = 40;
	vcpu.caps.linear_bits = 48;
	vcpu.caps.xcr0_allowed = 0xe7;
	vcpu.caps.cr4_reserved = ~0x3707ffULL & ~0x1000ULL;	/* LA57, no VMXE, SMXE, PKE */
	vcpu.caps.efer_reserved = ~0xd01ULL;
	apic_base = 0xfee00900;
	cr8 = 0;
	lapic_bad = false;
	events_bad = false;
	lapic_sets = 0;
	clv_state_reset(&vcpu, false);
}

/* ---- states that CPUs are in ------------------------------------------------ */

static struct clv_backend backend = { .vendor = CLEAVE_VENDOR_VMX };
const struct clv_backend *clv_backend = &backend;

enum mode { REAL, PROTECTED, PAE, VM86, LONG, COMPAT, MODES };

static struct cleave_segment seg(u16 sel, u64 base, u32 limit, u32 ar)
{
	return (struct cleave_segment) { .selector = sel, .base = base, .limit = limit, .ar = ar };
}

static void base_state(enum mode mode, struct cleave_state *st)
{
	struct cleave_sregs *s = &st->sregs;
	struct cleave_segment data = seg(0x10, 0, 0xffffffff, 0xc093);

	memset(st, 0, sizeof(*st));
	st->groups = CLEAVE_REGS | CLEAVE_SREGS;
	st->regs.rflags = 2;
	st->regs.rip = 0x1000;
	s->apic_base = 0xfee00900;
	s->tr = seg(0x28, 0, 0x67, 0x8b);
	s->ldt = seg(0, 0, 0xffff, 0x82);
	s->gdt.limit = 0xffff;
	s->cr0 = 0x11;
	if (mode == REAL || mode == VM86) {
		struct cleave_segment r = seg(0x100, 0x1000, 0xffff, mode == REAL ? 0x93 : 0xf3);

		s->cs = r;
		s->ds = r;
		s->es = r;
		s->fs = r;
		s->gs = r;
		s->ss = r;
		if (mode == REAL) {
			s->cs.ar = 0x9b;
			s->cr0 = 0x10;
		} else {
			st->regs.rflags |= X86_EFLAGS_VM;
		}
		return;
	}
	s->cs = seg(8, 0, 0xffffffff, 0xc09b);
	s->ds = data;
	s->es = data;
	s->fs = data;
	s->gs = data;
	s->ss = data;
	if (mode == PROTECTED)
		return;
	s->cr0 |= X86_CR0_PG;
	s->cr4 = X86_CR4_PAE;
	s->cr3 = 0x1000;
	if (mode == PAE)
		return;
	s->efer = 0x500;
	if (mode == LONG) {
		s->cs.ar = 0xa09b;
		st->regs.rip = 0xffffffff81000000;
		s->fs.base = 0x00007fffffffffff;
		s->gs.base = 0xffff888000000000;
	}
}

/* ---- the rules once more: SDM vol. 3C 27.3.1 in its order --------------------- */

static bool canon48(u64 a)
{
	return a >> 47 == 0 || a >> 47 == 0x1ffff;
}

static bool g_rule(const struct cleave_segment *s)
{
	bool g = s->ar >> 15 & 1;

	if ((s->limit & 0xfff) != 0xfff && g)
		return false;
	return !((s->limit & 0xfff00000) && !g);
}

static bool rule_data(const struct cleave_segment *s, bool ss)
{
	u32 t = s->ar & 15;

	if (s->ar >> 16 & 1)
		return true;
	if (ss ? t != 3 && t != 7 : !(t & 1) || ((t & 8) && !(t & 2)))
		return false;
	return (s->ar >> 4 & 1) && (s->ar >> 7 & 1) && g_rule(s);
}

static bool rules(const struct cleave_state *st)
{
	const struct cleave_sregs *s = &st->sregs;
	const struct cleave_segment *all[8] = { &s->cs, &s->ds, &s->es, &s->fs, &s->gs, &s->ss,
						&s->tr, &s->ldt };
	bool pe = s->cr0 & 1, pg = s->cr0 >> 31 & 1, lma = s->efer >> 10 & 1, lme = s->efer >> 8 & 1;
	bool vm86 = st->regs.rflags >> 17 & 1;
	u32 t = s->cs.ar & 15, cs_dpl = s->cs.ar >> 5 & 3, ss_dpl = s->ss.ar >> 5 & 3;

	/* control registers */
	if (s->cr0 & ~0xe005003fULL || (pg && !pe) || ((s->cr0 >> 29 & 1) && !(s->cr0 >> 30 & 1)))
		return false;
	if (s->cr4 & ~0x3717ffULL || s->cr3 >> 40 || s->efer & ~0xd01ULL)
		return false;
	if (lma != (lme && pg) || (lma && !(s->cr4 >> 5 & 1)) || (!lma && (s->cr4 >> 17 & 1)))
		return false;
	if (s->cr8 > 15 || (s->apic_base & ~0x900ULL) != 0xfee00000)
		return false;
	/* reserved bits of all segments */
	for (int i = 0; i < 8; i++) {
		if (all[i]->ar & 0xfffe0f00)
			return false;
		for (int k = 0; k < 3; k++)
			if (all[i]->reserved[k])
				return false;
	}
	for (int k = 0; k < 3; k++)
		if (s->gdt.reserved[k] || s->idt.reserved[k])
			return false;
	/* bases */
	if (!canon48(s->tr.base) || !canon48(s->fs.base) || !canon48(s->gs.base) ||
	    !canon48(s->gdt.base) || !canon48(s->idt.base))
		return false;
	/* TR, LDTR */
	if ((s->tr.ar >> 16 & 1) || (s->tr.selector & 4) || (s->tr.ar >> 4 & 1) ||
	    !(s->tr.ar >> 7 & 1) || !g_rule(&s->tr))
		return false;
	if ((s->tr.ar & 15) != 11 && ((s->tr.ar & 15) != 3 || lma))
		return false;
	if (!(s->ldt.ar >> 16 & 1) &&
	    ((s->ldt.selector & 4) || !canon48(s->ldt.base) || (s->ldt.ar & 15) != 2 ||
	     (s->ldt.ar >> 4 & 1) || !(s->ldt.ar >> 7 & 1) || !g_rule(&s->ldt)))
		return false;
	/* RFLAGS, RIP */
	if (st->regs.rflags & 0xffffffffffc08028 || (vm86 && (lma || !pe)))
		return false;
	if (lma && (s->cs.ar >> 13 & 1) ? !canon48(st->regs.rip) : st->regs.rip >> 32)
		return false;
	if (vm86) {
		for (int i = 0; i < 6; i++)
			if (all[i]->ar != 0xf3 || all[i]->limit != 0xffff ||
			    all[i]->base != (u64)all[i]->selector * 16)
				return false;
		return true;
	}
	/* CS */
	if (s->cs.base >> 32 || (s->cs.ar >> 16 & 1) || !(s->cs.ar >> 4 & 1) ||
	    !(s->cs.ar >> 7 & 1) || !g_rule(&s->cs))
		return false;
	if (lma && (s->cs.ar >> 13 & 1) && (s->cs.ar >> 14 & 1))
		return false;
	if (t != 3 && t != 9 && t != 11 && t != 13 && t != 15)
		return false;
	if ((t == 3 && cs_dpl) || ((t == 9 || t == 11) && cs_dpl != ss_dpl) ||
	    (t >= 13 && cs_dpl > ss_dpl))
		return false;
	/* SS and the others */
	if ((!pe || t == 3) && ss_dpl)
		return false;
	if (!rule_data(&s->ss, true) || !rule_data(&s->ds, false) || !rule_data(&s->es, false) ||
	    !rule_data(&s->fs, false) || !rule_data(&s->gs, false))
		return false;
	return (s->ss.ar >> 16 & 1 || !(s->ss.base >> 32)) &&
	       (s->ds.ar >> 16 & 1 || !(s->ds.base >> 32)) &&
	       (s->es.ar >> 16 & 1 || !(s->es.base >> 32));
}

static u64 random64(void)
{
	static const u64 some[] = { 0, 1, ~0ULL, 0xffff, 0xfff, 0xfffff, 0x100000, 0xffffffff,
				    1ULL << 32, 1ULL << 47, 0xffff800000000000, 1ULL << 40 };

	switch (rand() % 3) {
	case 0:
		return some[rand() % ARRAY_SIZE(some)];
	case 1:
		return 1ULL << rand() % 64;
	default:
		return (u64)rand() << 33 ^ (u64)rand() << 11 ^ rand();
	}
}

/* One change somewhere in regs.rip, regs.rflags or sregs; often of single bits. */
static void mutate(struct cleave_state *st)
{
	u8 *p = (u8 *)&st->sregs + rand() % sizeof(st->sregs) / 8 * 8;
	u64 v;
	u32 ar;

	switch (rand() % 6) {
	case 0:
		st->regs.rip = random64();
		return;
	case 1:
		st->regs.rflags ^= 1ULL << rand() % 64;
		return;
	case 2: {
		struct cleave_segment *s = &st->sregs.cs + rand() % 8;

		ar = 1U << rand() % 17;
		s->ar ^= ar;
		return;
	}
	case 3: {
		struct cleave_segment *s = &st->sregs.cs + rand() % 8;

		s->limit = random64();
		return;
	}
	case 4:
		memcpy(&v, p, 8);
		v ^= 1ULL << rand() % 64;
		memcpy(p, &v, 8);
		return;
	default:
		v = random64();
		memcpy(p, &v, 8);
		return;
	}
}

UNIT_TEST(states_that_cpus_are_in)
{
	for (enum mode m = REAL; m < MODES; m++) {
		struct cleave_state st, got = { .groups = CLEAVE_REGS | CLEAVE_SREGS };

		make();
		base_state(m, &st);
		CHECK(rules(&st));
		CHECK_EQ(clv_state_set(&vcpu, &st), 0);
		CHECK_EQ(vcpu.dirty, CLV_REG_ALL);
		CHECK(vcpu.flush);
		CHECK_EQ(clv_state_get(&vcpu, &got), 0);
		CHECK(!memcmp(&got, &st, sizeof(st)));
	}
}

UNIT_TEST(same_decision_as_the_rules)
{
	unsigned int taken = 0;

	srand(1);
	for (int i = 0; i < 400000; i++) {
		struct cleave_state st;
		int n = 1 + rand() % 3, ret;

		make();
		base_state(rand() % MODES, &st);
		while (n--)
			mutate(&st);
		before = vcpu;
		ret = clv_state_set(&vcpu, &st);
		if ((ret == 0) != rules(&st)) {
			unit_fail("cr0 %llx cr3 %llx cr4 %llx efer %llx rfl %llx rip %llx cs %x ss %x: %d",
				  st.sregs.cr0, st.sregs.cr3, st.sregs.cr4, st.sregs.efer,
				  st.regs.rflags, st.regs.rip, st.sregs.cs.ar, st.sregs.ss.ar, ret);
		}
		if (ret)
			CHECK(!memcmp(&before, &vcpu, sizeof(vcpu)));
		taken += !ret;
	}
	CHECK(taken > 40000 && taken < 360000);
}

UNIT_TEST(one_group_at_a_time)
{
	struct cleave_state st;

	/* RIP above 4 GiB is of long mode alone, whichever side changes. */
	make();
	base_state(LONG, &st);
	CHECK_EQ(clv_state_set(&vcpu, &st), 0);
	base_state(PROTECTED, &st);
	st.groups = CLEAVE_SREGS;
	CHECK_EQ(clv_state_set(&vcpu, &st), -EINVAL);
	st.groups = CLEAVE_REGS;
	CHECK_EQ(clv_state_set(&vcpu, &st), 0);
	st.groups = CLEAVE_SREGS;
	CHECK_EQ(clv_state_set(&vcpu, &st), 0);
	st.groups = CLEAVE_REGS;
	st.regs.rip = 1ULL << 32;
	CHECK_EQ(clv_state_set(&vcpu, &st), -EINVAL);
	/* RFLAGS.VM alone, with segments that are not its. */
	st.regs.rip = 0;
	st.regs.rflags = X86_EFLAGS_VM;
	CHECK_EQ(clv_state_set(&vcpu, &st), -EINVAL);
	base_state(VM86, &st);
	CHECK_EQ(clv_state_set(&vcpu, &st), 0);
	st.groups = CLEAVE_REGS;
	CHECK_EQ(clv_state_set(&vcpu, &st), 0);
	st.regs.rflags = 2;
	CHECK_EQ(clv_state_set(&vcpu, &st), -EINVAL);	/* CPL 3, CS type 3 */
	/* Bit 1 of RFLAGS is always there. */
	make();
	base_state(REAL, &st);
	st.regs.rflags = 0;
	CHECK_EQ(clv_state_set(&vcpu, &st), 0);
	CHECK_EQ(vcpu.regs.rflags, 2);
	st.groups = 0;
	CHECK_EQ(clv_state_set(&vcpu, &st), 0);
}

/* They come together in either order, or in one call. */
UNIT_TEST(events_that_64bit_code_has_not)
{
	struct cleave_state st;

	for (int vector = 3; vector < 7; vector++) {
		bool never = vector == 4 || vector == 5;

		make();
		base_state(LONG, &st);
		st.regs.rip = 0x1000;
		CHECK_EQ(clv_state_set(&vcpu, &st), 0);
		st.events.exception.type = CLEAVE_EVENT_EXCEPTION;
		st.events.exception.vector = vector;
		st.groups = CLEAVE_EVENTS;
		CHECK_EQ(clv_state_set(&vcpu, &st), never ? -EINVAL : 0);
		st.events.injected = st.events.exception;
		st.events.exception = (struct cleave_event) { 0 };
		CHECK_EQ(clv_state_set(&vcpu, &st), never ? -EINVAL : 0);
		st.groups |= CLEAVE_SREGS;
		CHECK_EQ(clv_state_set(&vcpu, &st), never ? -EINVAL : 0);
		st.sregs.cs.ar ^= CLEAVE_AR_L | CLEAVE_AR_DB;
		CHECK_EQ(clv_state_set(&vcpu, &st), 0);
		st.groups = CLEAVE_SREGS;
		st.sregs.cs.ar ^= CLEAVE_AR_L | CLEAVE_AR_DB;
		CHECK_EQ(clv_state_set(&vcpu, &st), never ? -EINVAL : 0);
	}
}

UNIT_TEST(events_and_the_interrupt_flag)
{
	struct cleave_state st;

	make();
	base_state(PROTECTED, &st);
	st.groups |= CLEAVE_EVENTS;
	st.events.injected.type = CLEAVE_EVENT_INTERRUPT;
	CHECK_EQ(clv_state_set(&vcpu, &st), -EINVAL);
	st.regs.rflags |= X86_EFLAGS_IF;
	CHECK_EQ(clv_state_set(&vcpu, &st), 0);
	CHECK_EQ(vcpu.events.injected.type, CLEAVE_EVENT_INTERRUPT);
	/* The group alone, against the flags that are there. */
	st.groups = CLEAVE_EVENTS;
	CHECK_EQ(clv_state_set(&vcpu, &st), 0);
	vcpu.regs.rflags = 2;
	CHECK_EQ(clv_state_set(&vcpu, &st), -EINVAL);
	st.events.injected.type = CLEAVE_EVENT_NMI;
	st.events.shadow = CLEAVE_SHADOW_STI;
	CHECK_EQ(clv_state_set(&vcpu, &st), -EINVAL);
	st.events.shadow = CLEAVE_SHADOW_MOV_SS;
	CHECK_EQ(clv_state_set(&vcpu, &st), 0);
	vcpu.regs.rflags |= X86_EFLAGS_IF;
	st.events.shadow = CLEAVE_SHADOW_STI;
	CHECK_EQ(clv_state_set(&vcpu, &st), 0);
	events_bad = true;
	CHECK_EQ(clv_state_set(&vcpu, &st), -EINVAL);
	events_bad = false;
	/* Flags alone: STI's shadow goes with IF, an interrupt on its way forbids it. */
	vcpu.events.shadow = CLEAVE_SHADOW_STI;
	st.groups = CLEAVE_REGS;
	st.regs.rflags = 2;
	CHECK_EQ(clv_state_set(&vcpu, &st), 0);
	CHECK_EQ(vcpu.events.shadow, 0);
	vcpu.events.shadow = CLEAVE_SHADOW_MOV_SS;
	CHECK_EQ(clv_state_set(&vcpu, &st), 0);
	CHECK_EQ(vcpu.events.shadow, CLEAVE_SHADOW_MOV_SS);
	vcpu.events.injected.type = CLEAVE_EVENT_INTERRUPT;
	CHECK_EQ(clv_state_set(&vcpu, &st), -EINVAL);
}

UNIT_TEST(all_or_nothing)
{
	struct cleave_state good, st;

	make();
	base_state(PROTECTED, &good);
	good.groups = ALL_GROUPS;
	good.xcrs.xcr0 = 7;
	good.mp.state = CLEAVE_MP_HALTED;
	good.debug.dr7 = 0x401;
	before = vcpu;
	for (int i = 0; i < 9; i++) {
		st = good;
		lapic_bad = i == 0;
		events_bad = i == 1;
		if (i == 2)
			st.mp.state = 5;
		if (i == 3)
			st.mp.reserved[1] = 1;
		if (i == 4)
			st.xcrs.xcr0 = 6;
		if (i == 5)
			st.debug.dr6 = 1ULL << 32;
		if (i == 6)
			st.groups |= 1ULL << 7;
		if (i == 7)
			st.reserved = 1;
		if (i == 8)
			st.debug.dr7 = 1ULL << 63;
		CHECK_EQ(clv_state_set(&vcpu, &st), -EINVAL);
		CHECK(!memcmp(&before, &vcpu, sizeof(vcpu)));
		CHECK_EQ(lapic_sets, 0);
	}
	events_bad = false;
	CHECK_EQ(clv_state_set(&vcpu, &good), 0);
	CHECK_EQ(vcpu.xcr0, 7);
	CHECK_EQ(vcpu.mp_state, CLEAVE_MP_HALTED);
	CHECK_EQ(vcpu.debug.dr7, 0x401);
	CHECK_EQ(vcpu.debug.dr6, 0xffff0ff0);
	CHECK_EQ(lapic_sets, 1);
}

UNIT_TEST(get_fills_what_is_asked)
{
	struct cleave_state st, zero;

	make();
	vcpu.regs.rax = 5;
	vcpu.xcr0 = 7;
	cr8 = 9;
	memset(&st, 0xaa, sizeof(st));
	st.groups = CLEAVE_SREGS | CLEAVE_LAPIC;
	st.reserved = 0;
	CHECK_EQ(clv_state_get(&vcpu, &st), 0);
	CHECK_EQ(st.sregs.cr8, 9);
	CHECK_EQ(st.sregs.apic_base, 0xfee00900);
	CHECK_EQ(st.lapic.timer_left, 77);
	memset(&zero, 0, sizeof(zero));
	CHECK(!memcmp(&st.regs, &zero.regs, sizeof(st.regs)));
	CHECK_EQ(st.xcrs.xcr0, 0);
	st.groups = 1ULL << 40;
	CHECK_EQ(clv_state_get(&vcpu, &st), -EINVAL);
	st.groups = CLEAVE_XCRS | CLEAVE_REGS;
	CHECK_EQ(clv_state_get(&vcpu, &st), 0);
	CHECK_EQ(st.xcrs.xcr0, 7);
	CHECK_EQ(st.regs.rax, 5);
	st.reserved = 1;
	CHECK_EQ(clv_state_get(&vcpu, &st), -EINVAL);
}

/* SDM vol. 3A table 10-1 */
UNIT_TEST(reset_and_init)
{
	struct cleave_state st;

	for (int init = 0; init < 2; init++) {
		make();
		base_state(LONG, &st);
		st.sregs.cr0 |= X86_CR0_CD;
		CHECK_EQ(clv_state_set(&vcpu, &st), 0);
		vcpu.xcr0 = 7;
		vcpu.pat = 1;
		vcpu.events.nmi_pending = 2;
		vcpu.events.exception.type = 3;
		vcpu.events.shadow = 1;
		vcpu.events.nmi_masked = true;
		vcpu.avail = 0;
		clv_state_reset(&vcpu, init);
		CHECK_EQ(vcpu.regs.rip, 0xfff0);
		CHECK_EQ(vcpu.regs.rflags, 2);
		CHECK_EQ(vcpu.regs.rdx, 0x800f12);
		CHECK_EQ(vcpu.regs.rsp, 0);
		CHECK_EQ(vcpu.sregs.cs.base, 0xffff0000);
		CHECK_EQ(vcpu.sregs.cs.selector, 0xf000);
		CHECK_EQ(vcpu.sregs.cr0, init ? 0x40000010 : 0x60000010);
		CHECK_EQ(vcpu.sregs.cr3 | vcpu.sregs.cr4 | vcpu.sregs.efer, 0);
		CHECK_EQ(vcpu.debug.dr6, 0xffff0ff0);
		CHECK_EQ(vcpu.debug.dr7, 0x400);
		CHECK_EQ(vcpu.sregs.idt.limit, 0xffff);
		CHECK_EQ(vcpu.pat, init ? 1 : 0x0007040600070406);
		CHECK_EQ(vcpu.xcr0, 7);		/* fpu.c's, at power-on */
		CHECK_EQ(vcpu.events.nmi_pending | vcpu.events.exception.type, 0);
		CHECK_EQ(vcpu.dirty & vcpu.avail, CLV_REG_ALL);
		if (init)
			CHECK(!vcpu.events.shadow && !vcpu.events.nmi_masked);
		/* It passes its own checks. */
		st.groups = CLEAVE_REGS | CLEAVE_SREGS;
		CHECK_EQ(clv_state_get(&vcpu, &st), 0);
		CHECK(rules(&st));
		CHECK_EQ(clv_state_set(&vcpu, &st), 0);
	}
}

/* ---- writes of the guest -------------------------------------------------------- */

static void start(enum mode m)
{
	struct cleave_state st;

	make();
	base_state(m, &st);
	CHECK_EQ(clv_state_set(&vcpu, &st), 0);
	vcpu.dirty = 0;
	vcpu.flush = false;
}

UNIT_TEST(cr0)
{
	start(PROTECTED);
	CHECK_EQ(clv_cr0_write(&vcpu, 1ULL << 32 | 1), -EINVAL);
	CHECK_EQ(clv_cr0_write(&vcpu, X86_CR0_PG), -EINVAL);
	CHECK_EQ(clv_cr0_write(&vcpu, X86_CR0_PE | X86_CR0_NW), -EINVAL);
	CHECK_EQ(vcpu.dirty, 0);
	CHECK_EQ(clv_cr0_write(&vcpu, 0x1ff80001), 0);
	CHECK_EQ(vcpu.sregs.cr0, 0x11);		/* reserved bits are ignored, ET stays */
	CHECK(!vcpu.flush);
	CHECK_EQ(vcpu.dirty, CLV_REG_CRS);
	CHECK_EQ(clv_cr0_write(&vcpu, X86_CR0_PG | X86_CR0_PE), 0);
	CHECK(vcpu.flush);
	CHECK_EQ(vcpu.sregs.efer, 0);
}

UNIT_TEST(into_long_mode_and_back)
{
	start(PROTECTED);
	CHECK_EQ(clv_efer_write(&vcpu, 0x100), 0);
	CHECK_EQ(clv_cr0_write(&vcpu, X86_CR0_PG | X86_CR0_PE), -EINVAL);	/* no PAE */
	CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE), 0);
	vcpu.sregs.cs.ar = 0xa09b;
	CHECK_EQ(clv_cr0_write(&vcpu, X86_CR0_PG | X86_CR0_PE), -EINVAL);	/* CS.L */
	vcpu.sregs.cs.ar = 0xc09b;
	vcpu.sregs.tr.ar = 0x83;
	CHECK_EQ(clv_cr0_write(&vcpu, X86_CR0_PG | X86_CR0_PE), -EINVAL);	/* 16-bit TSS */
	vcpu.sregs.tr.ar = 0x8b;
	CHECK_EQ(clv_cr0_write(&vcpu, X86_CR0_PG | X86_CR0_PE), 0);
	CHECK_EQ(vcpu.sregs.efer, 0x500);
	CHECK_EQ(clv_efer_write(&vcpu, 0), -EINVAL);			/* LME with PG */
	CHECK_EQ(clv_efer_write(&vcpu, 0x101), 0);			/* LMA cannot be written */
	CHECK_EQ(vcpu.sregs.efer, 0x501);
	CHECK_EQ(clv_cr4_write(&vcpu, 0), -EINVAL);
	CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE | X86_CR4_LA57), -EINVAL);
	vcpu.sregs.cs.ar = 0xa09b;
	CHECK_EQ(clv_cr0_write(&vcpu, X86_CR0_PE), -EINVAL);		/* from 64-bit code */
	vcpu.sregs.cs.ar = 0xc09b;
	CHECK_EQ(clv_cr0_write(&vcpu, X86_CR0_PE), 0);
	CHECK_EQ(vcpu.sregs.efer, 0x101);
	CHECK_EQ(clv_cr4_write(&vcpu, 0), 0);
	CHECK_EQ(clv_efer_write(&vcpu, 0x1000), -EINVAL);		/* SVME */
	CHECK_EQ(clv_efer_write(&vcpu, 0), 0);
}

UNIT_TEST(cr4)
{
	static const u64 flush[] = { X86_CR4_PSE, X86_CR4_PGE, X86_CR4_SMEP, X86_CR4_SMAP };

	start(LONG);
	CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE | X86_CR4_VMXE), -EINVAL);
	CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE | X86_CR4_PKE), -EINVAL);
	CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE | 1ULL << 32), -EINVAL);
	for (unsigned int i = 0; i < ARRAY_SIZE(flush); i++) {
		vcpu.flush = false;
		CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE | flush[i]), 0);
		CHECK(vcpu.flush);
		vcpu.flush = false;
		CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE), 0);
		CHECK(vcpu.flush);
	}
	vcpu.flush = false;
	CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE | X86_CR4_OSXSAVE), 0);
	CHECK(!vcpu.flush);
	/* PCIDE: long mode, and PCID 0 at first. */
	vcpu.sregs.cr3 = 0x1001;
	CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE | X86_CR4_PCIDE), -EINVAL);
	vcpu.sregs.cr3 = 0x1000;
	CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE | X86_CR4_PCIDE), 0);
	vcpu.sregs.cs.ar = 0xc09b;
	CHECK_EQ(clv_cr0_write(&vcpu, X86_CR0_PE), -EINVAL);	/* PG off with PCIDE */
	start(PAE);
	CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE | X86_CR4_PCIDE), -EINVAL);
	CHECK_EQ(clv_cr4_write(&vcpu, 0), 0);
}

/* SDM vol. 3A 4.4.1 */
UNIT_TEST(pdptes_with_control_registers)
{
	static const u64 good[4] = { 0x5001, ~1ULL, 0x8000000019, 0 }, none[4];

	start(PAE);
	CHECK(vcpu.pdptes_stale);
	memcpy(pdptes, good, sizeof(pdptes));
	pdptes_at = 0x20a0;
	vcpu.sregs.cr3 = 0x20b8;			/* in units of 32 bytes */
	CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE), 0);
	CHECK(!memcmp(vcpu.pdpte, good, sizeof(good)));
	/* A reserved bit in one that is present: as if nothing had been written. */
	for (int i = 0; i < 4; i++) {
		pdptes[i] = 1 | 1ULL << (i % 2 ? 2 : 40);
		CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE | X86_CR4_PGE), -EINVAL);
		CHECK_EQ(clv_cr0_write(&vcpu, X86_CR0_PE | X86_CR0_PG | X86_CR0_WP), -EINVAL);
		CHECK_EQ(vcpu.sregs.cr4, X86_CR4_PAE);
		CHECK(!memcmp(vcpu.pdpte, good, sizeof(good)));
		memcpy(pdptes, good, sizeof(pdptes));
	}
	/* Accessed: QEMU's AMD-V, which loads none itself, sets it in memory. */
	pdptes[0] |= 1 << 5;
	CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE), -EINVAL);
	backend.vendor = CLEAVE_VENDOR_SVM;
	CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE), 0);
	backend.vendor = CLEAVE_VENDOR_VMX;
	memcpy(pdptes, good, sizeof(pdptes));
	vcpu.sregs.cr3 = 0x9000;			/* no memory: none is present */
	CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE), 0);
	CHECK(!memcmp(vcpu.pdpte, none, sizeof(none)));
	/* What user space has set is read before entry, and cannot fail any more. */
	vcpu.sregs.cr3 = pdptes_at;
	clv_pdptes_load(&vcpu);
	CHECK(!vcpu.pdptes_stale && (vcpu.dirty & CLV_REG_CRS));
	CHECK(!memcmp(vcpu.pdpte, good, sizeof(good)));
	pdptes[3] = 7;
	clv_pdptes_load(&vcpu);
	CHECK(!memcmp(vcpu.pdpte, none, sizeof(none)));
	/* Long mode has none. */
	start(LONG);
	vcpu.sregs.cr3 = pdptes_at;
	CHECK_EQ(clv_cr4_write(&vcpu, X86_CR4_PAE | X86_CR4_PGE), 0);
	pdptes_at = 0;
}

/* SDM vol. 1 13.3 */
UNIT_TEST(xcr0)
{
	make();
	for (u64 x = 0; x < 0x800; x++) {
		bool ok = (x & 1) && !(x & ~0xe7ULL) && (!(x & 4) || (x & 2)) &&
			  ((x & 0xe0) == 0 || ((x & 0xe0) == 0xe0 && (x & 4)));

		CHECK_EQ(clv_xcr0_write(&vcpu, x), ok ? 0 : -EINVAL);
		if (ok)
			CHECK_EQ(vcpu.xcr0, x);
	}
	CHECK_EQ(clv_xcr0_write(&vcpu, 1ULL << 63 | 1), -EINVAL);
	vcpu.caps.xcr0_allowed = 7;
	CHECK_EQ(clv_xcr0_write(&vcpu, 0xe7), -EINVAL);
	CHECK_EQ(clv_xcr0_write(&vcpu, 7), 0);
}
