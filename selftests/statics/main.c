// SPDX-License-Identifier: GPL-2.0
/*
 * Is what the host's CPU bugs demand at the entry into a guest, and at the exit,
 * in the built module, and in the right places? For each combination of the
 * kernel's flags that the code looks at, it is patched as the kernel would, and
 * all paths are followed. Then each instruction is left out, or changes places
 * with the next one: each rule must be seen to fail of that.
 *
 *	statics [RELEASE CLEAVE.KO CPUFEATURES.H]...
 *
 * with the headers that the module was built with.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "statics.h"

const struct vendor vendors[2] = {
	{ "svm", true, RCX, R8, FLAG(RSB_VMEXIT) | FLAG(UNRET) | FLAG(SRSO_ALIAS) |
	  FLAG(ENTRY_IBPB) | FLAG(IBPB_ON_VMEXIT) | FLAG(CLEAR_CPU_BUF_VM) | FLAG(MSR_SPEC_CTRL) |
	  FLAG(V_SPEC_CTRL) },
	{ "vmx", false, RDX, RCX, FLAG(RSB_VMEXIT) | FLAG(RSB_VMEXIT_LITE) | FLAG(KERNEL_IBRS) |
	  FLAG(MSR_SPEC_CTRL) | FLAG(CLEAR_BHB) | FLAG(CLEAR_CPU_BUF) | FLAG(CALL_DEPTH) },
};

static int tests;

static void result(bool ok, const char *module, const char *vendor, const char *what,
		   const char *rule)
{
	printf("%s %d %s %s: %s%s\n", ok ? "ok" : "not ok", ++tests, module, vendor, rule, what);
}

/* Does a kernel ever set these together? */
static bool possible(const struct ko *ko, uint32_t flags)
{
	int f;

	for (f = 0; f < FLAGS; f++)
		if ((flags & 1U << f) && ko->ids[f] < 0)
			return false;
	/* spectre_v2_determine_rsb_fill_type_at_vmexit(): one of the two. */
	if ((flags & FLAG(RSB_VMEXIT)) && (flags & FLAG(RSB_VMEXIT_LITE)))
		return false;
	/* IBRS is a bit of that MSR; SRSO's is one way to untrain; IBPB at all entries is at exits, too. */
	return !(flags & FLAG(ENTRY_IBPB) && !(flags & FLAG(IBPB_ON_VMEXIT))) &&
	       !(flags & FLAG(KERNEL_IBRS) && !(flags & FLAG(MSR_SPEC_CTRL))) &&
	       !(flags & FLAG(SRSO_ALIAS) && !(flags & FLAG(UNRET)));
}

/* What the rule is about is in this kernel. */
static bool exists(const struct rule *r, const struct ko *ko, const struct vendor *v)
{
	if (!strcmp(r->name, "exits go on at an ENDBR64 that stays") &&
	    !ko_names_site(ko, ".ibt_endbr_seal", 0, 0))
		return false;
	return (r->vendors & (v->svm ? 1 : 2)) &&
	       (!r->flags || possible(ko, r->flags | FLAG(MSR_SPEC_CTRL) | FLAG(UNRET)));
}

static bool applies(const struct rule *r, const struct vendor *v, const struct code *c)
{
	return (r->vendors & (v->svm ? 1 : 2)) && (!r->flags || (r->flags & c->flags));
}

/* Is there a way into the guest and out, and one back from each fault that is provided for? */
static const char *complete(const struct paths *ps, const struct code *c)
{
	bool entered = false;
	int i, k;

	if (code_is_unknown(c))
		return "a flag that is not known here decides on a part of it";
	for (k = 0; k < ps->nr; k++)
		entered |= ps->p[k].exit >= 0;
	for (i = 0; i < c->nr; i++) {
		if (c->insns[i].handler < 0 || c->insns[i].gone)
			continue;
		for (k = 0; k < ps->nr && ps->p[k].fault != i; k++)
			;
		if (k == ps->nr)
			return "a fault never returns";
	}
	return entered ? NULL : "no path enters a guest";
}

static const char *check(const struct rule *r, const struct paths *ps, const struct code *c,
			 const struct vendor *v)
{
	const char *why = NULL;
	int i;

	for (i = 0; i < ps->nr && !why; i++)
		if (r->paths == BROKEN || (!ps->p[i].error && (r->paths == ALL || ps->p[i].exit >= 0)))
			why = r->check(&ps->p[i], c, v);
	return !why && r == rules ? complete(ps, c) : why;
}

static const char *flags_text(uint32_t flags)
{
	static char text[512];
	int f, n = 0;

	*text = 0;
	for (f = 0; f < F_ALWAYS; f++)
		if (flags & 1U << f)
			n += snprintf(text + n, sizeof(text) - n, " %s", flag_name(f));
	return n ? text : " none";
}

static void read_entry(struct code *c, const struct ko *ko, const struct vendor *v, uint32_t flags)
{
	code_read(c, ko, flags, v->svm ? "svm_vmenter" : "vmx_vmenter", NULL);
}

/* Each rule with all flags that a kernel can have. */
static void check_rules(const struct ko *ko, const char *module, const struct vendor *v)
{
	static struct paths ps;
	const char *why, *first[64] = {};
	uint32_t failed[64], flags;
	int k, kernels = 0, followed = 0;

	for (flags = 0; flags < 1U << F_ALWAYS; flags++) {
		struct code c;

		if ((flags & ~v->flags) || !possible(ko, flags))
			continue;
		read_entry(&c, ko, v, flags);
		walk(&ps, &c, v);
		kernels++;
		followed += ps.nr;
		for (k = 0; k < nr_rules; k++) {
			why = applies(&rules[k], v, &c) ? check(&rules[k], &ps, &c, v) : NULL;
			if (why && !first[k]) {
				first[k] = why;
				failed[k] = flags;
			}
		}
		code_free(&c);
	}
	printf("# %s %s: %d combinations of flags, %d paths\n", module, v->name, kernels, followed);
	for (k = 0; k < nr_rules; k++) {
		if (!exists(&rules[k], ko, v))
			continue;
		if (first[k])
			printf("# %s, with the flags%s\n", first[k], flags_text(failed[k]));
		result(!first[k], module, v->name, "", rules[k].name);
	}
}

struct mutants {
	int rule[64];			/* how many break it */
	char example[64][200];
	char *matters;			/* by instruction of the function: its absence is noticed */
	uint64_t *place;
	char (*text)[200];		/* of those that need not be noticed: empty */
	int nr;
};

static void try_mutant(struct mutants *m, const struct code *c, const struct vendor *v,
		       const char *how, int i)
{
	static struct paths ps;
	bool noticed = false;
	int k;

	walk(&ps, c, v);
	for (k = 0; k < nr_rules; k++) {
		if (!applies(&rules[k], v, c) || !check(&rules[k], &ps, c, v))
			continue;
		noticed = true;
		if (!m->rule[k]++)
			snprintf(m->example[k], sizeof(m->example[k]), "%s %s", how, code_text(c, i));
	}
	for (k = 0; noticed && k < m->nr; k++)
		if (!strcmp(how, "without") && m->place[k] == c->insns[i].at)
			m->matters[k] = 1;
}

static void swap_insns(struct code *c, int i)
{
	struct insn a = c->insns[i], b = c->insns[i + 1];

	c->insns[i] = b;
	c->insns[i + 1] = a;
	c->insns[i].next = a.next;
	c->insns[i + 1].next = b.next;
}

static bool is_nop(const struct insn *in)
{
	return in->z.mnemonic == ZYDIS_MNEMONIC_NOP;
}

static bool names(const struct insn *in, const char *symbol)
{
	return in->disp && !strcmp(in->disp->name, symbol);
}

/*
 * Each instruction is there for a rule. But for: the frame pointer,
 * ENDBR at a function's start (objtool's business), the fixup's bug report; and jumps over a
 * write or a VERW that would do no harm; EDX that is 0 already; and on AMD-V the count of calls
 * for Intel's retbleed=stuff.
 */
static bool needless(const struct code *c, const struct vendor *v, int i)
{
	const struct insn *in = &c->insns[i];
	int k;

	for (k = i + 1; in->z.mnemonic == ZYDIS_MNEMONIC_JZ && k < in->target; k++)
		if (c->insns[k].z.mnemonic == ZYDIS_MNEMONIC_WRMSR)
			return true;
	if (in->z.mnemonic == ZYDIS_MNEMONIC_JMP && c->insns[i + 1].z.mnemonic == ZYDIS_MNEMONIC_VERW)
		return true;
	if (in->z.mnemonic == ZYDIS_MNEMONIC_XOR && c->insns[i + 1].z.mnemonic == ZYDIS_MNEMONIC_WRMSR)
		return true;
	return (in->z.mnemonic == ZYDIS_MNEMONIC_MOV && in->op[0].reg.value == ZYDIS_REGISTER_RBP &&
		in->op[1].reg.value == ZYDIS_REGISTER_RSP) ||
	       (in->z.mnemonic == ZYDIS_MNEMONIC_ENDBR64 && i == c->start) ||
	       in->z.mnemonic == ZYDIS_MNEMONIC_UD2 ||
	       in->z.mnemonic == ZYDIS_MNEMONIC_INT3 || is_nop(in) || names(in, "clv_rebooting") ||
	       (i && names(in - 1, "clv_rebooting")) || (v->svm && names(in, "pcpu_hot"));
}

/* With these flags: no instruction but one, for each; and each two in the wrong order. */
static void mutate(struct mutants *m, const struct ko *ko, const struct vendor *v, uint32_t flags)
{
	struct code c;
	int i, k;

	read_entry(&c, ko, v, flags);
	for (i = 0; i < c.nr_own; i++) {
		for (k = 0; k < m->nr && m->place[k] != c.insns[i].at; k++)
			;
		if (k == m->nr)
			m->place[m->nr++] = c.insns[i].at;
		if (!needless(&c, v, i))
			strcpy(m->text[k], code_text(&c, i));
		c.insns[i].gone = true;
		try_mutant(m, &c, v, "without", i);
		c.insns[i].gone = false;
	}
	for (i = 0; i < c.nr_own; i++) {
		c.insns[i].extra = READS;
		try_mutant(m, &c, v, "a read before", i);
		c.insns[i].extra = CALLS | INDIRECT;
		try_mutant(m, &c, v, "an indirect call before", i);
		c.insns[i].extra = 0;
	}
	for (i = 0; i + 1 < c.nr_own; i++) {
		if (is_nop(&c.insns[i]) || is_nop(&c.insns[i + 1]))
			continue;
		swap_insns(&c, i);
		try_mutant(m, &c, v, "later", i + 1);
		swap_insns(&c, i);
	}
	c.sec++;
	try_mutant(m, &c, v, "in another section:", c.start);
	code_free(&c);
}

/* All that a host of that vendor can be asked for, a flag at a time and some together. */
static const uint32_t hosts[2][12] = {
	{ 0, FLAG(RSB_VMEXIT), FLAG(UNRET), FLAG(UNRET) | FLAG(SRSO_ALIAS), FLAG(IBPB_ON_VMEXIT),
	  FLAG(CLEAR_CPU_BUF_VM), FLAG(RSB_VMEXIT) | FLAG(UNRET) | FLAG(SRSO_ALIAS) |
	  FLAG(IBPB_ON_VMEXIT) | FLAG(CLEAR_CPU_BUF_VM) | FLAG(MSR_SPEC_CTRL) },
	{ 0, FLAG(RSB_VMEXIT), FLAG(RSB_VMEXIT_LITE), FLAG(MSR_SPEC_CTRL), FLAG(CLEAR_BHB),
	  FLAG(CLEAR_CPU_BUF), FLAG(KERNEL_IBRS) | FLAG(MSR_SPEC_CTRL),
	  FLAG(RSB_VMEXIT) | FLAG(CALL_DEPTH), FLAG(RSB_VMEXIT) | FLAG(KERNEL_IBRS) |
	  FLAG(MSR_SPEC_CTRL) | FLAG(CLEAR_BHB) | FLAG(CLEAR_CPU_BUF),
	  FLAG(RSB_VMEXIT_LITE) | FLAG(MSR_SPEC_CTRL) | FLAG(CLEAR_BHB) | FLAG(CLEAR_CPU_BUF) },
};

static void check_mutants(const struct ko *ko, const char *module, const struct vendor *v)
{
	struct mutants *m = calloc(1, sizeof(*m));
	bool all = true;
	size_t h;
	int k;

	m->matters = calloc(1, 4096);
	m->place = calloc(4096, sizeof(*m->place));
	m->text = calloc(4096, sizeof(*m->text));
	for (h = 0; h < ARRAY_SIZE(hosts[0]); h++)
		if ((!h || hosts[!v->svm][h]) && possible(ko, hosts[!v->svm][h]))
			mutate(m, ko, v, hosts[!v->svm][h]);
	for (k = 0; k < nr_rules; k++) {
		if (!exists(&rules[k], ko, v))
			continue;
		if (m->rule[k])
			printf("# broken %d times: first %s\n", m->rule[k], m->example[k]);
		result(m->rule[k], module, v->name, " [can fail]", rules[k].name);
	}
	for (k = 0; k < m->nr; k++)
		if (!m->matters[k] && *m->text[k]) {
			printf("# nobody notices without %s\n", m->text[k]);
			all = false;
		}
	result(all, module, v->name, "", "no instruction is there for no rule");
	free(m->matters);
	free(m->place);
	free(m->text);
	free(m);
}

static void check_flows(const struct ko *ko, const char *module)
{
	int k, i, broken, tried;
	const char *why;
	struct code c;

	for (k = 0; k < nr_flow_rules; k++) {
		const struct flow_rule *r = &flow_rules[k];
		const char *vendor = vendors[r->vendor].name;

		if (!possible(ko, r->flags))
			continue;
		code_read(&c, ko, r->flags & ~r->without, r->function, r->calls);
		why = flow_check(r, &c);
		if (why)
			printf("# %s\n", why);
		result(!why, module, vendor, "", r->name);
		for (i = broken = tried = 0; i < c.nr; i++) {
			if (!r->via(&c, i))
				continue;
			tried++;
			c.insns[i].gone = true;
			broken += flow_check(r, &c) != NULL;
			c.insns[i].gone = false;
		}
		printf("# %d of %d instructions that it asks for were left out, one at a time, and missed\n",
		       broken, tried);
		result(tried && broken == tried, module, vendor, " [can fail]", r->name);
		code_free(&c);
	}
}

static void check_sites(const struct ko *ko, const char *module)
{
	const char *what = "returns and indirect branches are the kernel's to patch", *why;
	struct sites n;

	why = sites_check(ko, false, &n);
	printf("# %d returns, %d indirect branches%s%s\n", n.returns, n.indirect, why ? ": " : "", why ?: "");
	result(!why, module, "all", "", what);
	result(sites_check(ko, true, &n), module, "all", " [can fail]", what);
}

int main(int argc, char **argv)
{
	int i, v;

	printf("TAP version 13\n");
	for (i = 1; i + 2 < argc; i += 3) {
		struct ko ko = {};

		ko_load(&ko, argv[i + 1], argv[i + 2]);
		for (v = 0; v < 2; v++) {
			check_rules(&ko, argv[i], &vendors[v]);
			check_mutants(&ko, argv[i], &vendors[v]);
		}
		check_flows(&ko, argv[i]);
		check_sites(&ko, argv[i]);
	}
	printf("1..%d\n", tests);
	return 0;
}
