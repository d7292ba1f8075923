// SPDX-License-Identifier: GPL-2.0
/*
 * What must be passed on each way through a function in C. Both ways of a
 * conditional branch and of a static key count, less those that a rule rules out.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "statics.h"

#define MSR_PRED_CMD	0x49
#define MSR_FLUSH_CMD	0x10b
#define MSR_VM_HSAVE_PA	0xc0010117

static bool loads(const struct code *c, int i, ZydisRegister reg, uint32_t imm)
{
	const struct insn *in = &c->insns[i];

	return in->z.mnemonic == ZYDIS_MNEMONIC_MOV && !in->imm &&
	       in->op[0].type == ZYDIS_OPERAND_TYPE_REGISTER && in->op[0].reg.value == reg &&
	       in->op[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && (uint32_t)in->op[1].imm.value.u == imm;
}

/* WRMSR of that one, by the ECX loaded a few instructions before. */
static bool wrmsr(const struct code *c, int i, uint32_t msr)
{
	int k;

	if (c->insns[i].z.mnemonic != ZYDIS_MNEMONIC_WRMSR || c->insns[i].gone)
		return false;
	for (k = i - 1; k >= 0 && k > i - 12; k--)
		if (c->insns[k].op[0].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    c->insns[k].op[0].reg.value == ZYDIS_REGISTER_ECX)
			return loads(c, k, ZYDIS_REGISTER_ECX, msr) && !c->insns[k].gone;
	return false;
}

static bool refers_to(const struct code *c, int i, const char *name, bool gs)
{
	const struct insn *in = &c->insns[i];
	int k;

	if (in->gone || !in->disp || strcmp(in->disp->name, name))
		return false;
	for (k = 0; k < in->z.operand_count; k++)
		if (in->op[k].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    (in->op[k].mem.segment == ZYDIS_REGISTER_GS) == gs)
			return true;
	return false;
}

static bool returns(const struct code *c, int i)
{
	return !strcmp(insn_goes_to(&c->insns[i]), "__x86_return_thunk") ||
	       c->insns[i].z.mnemonic == ZYDIS_MNEMONIC_RET;
}

static bool calls_vmx(const struct code *c, int i)
{
	return insn_calls(c, i, "vmx_vmenter");
}

static bool calls_enter(const struct code *c, int i)
{
	return insn_calls(c, i, "enter_guest");
}

static bool calls_another(const struct code *c, int i)
{
	return c->insns[i].z.meta.category == ZYDIS_CATEGORY_CALL && !calls_vmx(c, i);
}

static bool host_spec_read(const struct code *c, int i)
{
	return refers_to(c, i, "x86_spec_ctrl_current", true);
}

static bool user_ibpb_due(const struct code *c, int i)
{
	const struct insn *in = &c->insns[i];

	return refers_to(c, i, "x86_ibpb_exit_to_user", true) && in->z.mnemonic == ZYDIS_MNEMONIC_MOV &&
	       in->op[1].type == ZYDIS_OPERAND_TYPE_IMMEDIATE && in->op[1].imm.value.u == 1;
}

static bool ibpb(const struct code *c, int i)
{
	return wrmsr(c, i, MSR_PRED_CMD);
}

static bool vmptrld(const struct code *c, int i)
{
	return c->insns[i].z.mnemonic == ZYDIS_MNEMONIC_VMPTRLD;
}

static bool l1d_flush(const struct code *c, int i)
{
	return wrmsr(c, i, MSR_FLUSH_CMD);
}

static bool divides(const struct code *c, int i)
{
	return c->insns[i].z.mnemonic == ZYDIS_MNEMONIC_DIV && !c->insns[i].gone;
}

static bool clgi(const struct code *c, int i)
{
	return c->insns[i].z.mnemonic == ZYDIS_MNEMONIC_CLGI;
}

static bool vmrun(const struct code *c, int i)
{
	return c->insns[i].z.mnemonic == ZYDIS_MNEMONIC_VMRUN;
}

static bool enables(const struct code *c, int i)
{
	return loads(c, i, ZYDIS_REGISTER_ECX, MSR_VM_HSAVE_PA) ||
	       loads(c, i, ZYDIS_REGISTER_EDI, MSR_VM_HSAVE_PA);
}

static bool stgi(const struct code *c, int i)
{
	return c->insns[i].z.mnemonic == ZYDIS_MNEMONIC_STGI;
}

static bool sets_bit(const struct code *c, int i)
{
	return insn_calls(c, i, "msr_set_bit");
}

static bool clears_bit(const struct code *c, int i)
{
	return insn_calls(c, i, "msr_clear_bit");
}

/* This CPU must flush: the byte of vmx_caps that is looked at is not 0. */
static int must_flush(const struct code *c, int i)
{
	ZydisMnemonic m = c->insns[i].z.mnemonic;

	if (i < 1 || !refers_to(c, i - 1, "vmx_caps", false) ||
	    c->insns[i - 1].z.mnemonic != ZYDIS_MNEMONIC_CMP)
		return -1;
	return m == ZYDIS_MNEMONIC_JZ ? 0 : m == ZYDIS_MNEMONIC_JNZ ? 1 : -1;
}

/* Where in its structure an operand in memory is. */
static int64_t offset_of(const struct insn *in, int op)
{
	if (in->op[op].type != ZYDIS_OPERAND_TYPE_MEMORY || in->op[op].size != 64)
		return -1;
	return in->disp ? in->disp->addend : in->op[op].mem.disp.value;
}

/*
 * Another vCPU than the one that this CPU ran last: what is compared, 64 bits of
 * memory with a register, differs, and so is made the same, with IBPB.
 */
static int another_vcpu(const struct code *c, int i)
{
	const struct insn *cmp;
	int other, mem, k;
	bool stored = false;

	if (i < 1 || (c->insns[i].z.mnemonic != ZYDIS_MNEMONIC_JZ && c->insns[i].z.mnemonic != ZYDIS_MNEMONIC_JNZ))
		return -1;
	cmp = &c->insns[i - 1];
	mem = offset_of(cmp, 0) >= 0 ? 0 : 1;
	if (cmp->z.mnemonic != ZYDIS_MNEMONIC_CMP || offset_of(cmp, mem) < 0 ||
	    cmp->op[!mem].type != ZYDIS_OPERAND_TYPE_REGISTER)
		return -1;
	other = c->insns[i].z.mnemonic == ZYDIS_MNEMONIC_JZ ? c->insns[i].next : c->insns[i].target;
	for (k = 0; k < 10 && other >= 0; k++, other = c->insns[other].next) {
		const struct insn *in = &c->insns[other];

		if (in->z.mnemonic == ZYDIS_MNEMONIC_MOV && offset_of(in, 0) == offset_of(cmp, mem) &&
		    in->op[1].type == ZYDIS_OPERAND_TYPE_REGISTER &&
		    in->op[1].reg.value == cmp->op[!mem].reg.value)
			stored = true;
		if (stored && in->z.mnemonic == ZYDIS_MNEMONIC_WRMSR)
			return c->insns[i].z.mnemonic == ZYDIS_MNEMONIC_JNZ;
	}
	return -1;
}

const struct flow_rule flow_rules[] = {
	/* hw-vuln/spectre.rst: predictors trained by one guest are not for the next one. */
	{ "IBPB between vCPUs", 0, "svm_enter", NULL, FLAG(USE_IBPB), 0,
	  NULL, ibpb, calls_enter, another_vcpu },
	{ "IBPB between vCPUs", 1, "vmx_vcpu_load", NULL, FLAG(USE_IBPB), 0,
	  NULL, ibpb, vmptrld, NULL },
	/* What vmenter.S writes back is what the kernel wants now. */
	{ "the host's SPEC_CTRL is the kernel's", 0, "svm_enter", NULL,
	  FLAG(MSR_SPEC_CTRL), FLAG(V_SPEC_CTRL), NULL, host_spec_read, calls_enter, NULL },
	{ "the host's SPEC_CTRL is the kernel's", 1, "vmx_enter", NULL,
	  FLAG(MSR_SPEC_CTRL), 0, NULL, host_spec_read, calls_enter, NULL },
	/* hw-vuln/vmscape.rst */
	{ "IBPB before user space after a guest (VMScape)", 0, "svm_enter", NULL,
	  FLAG(IBPB_EXIT_TO_USER), 0, calls_enter, user_ibpb_due, returns, NULL },
	{ "IBPB before user space after a guest (VMScape)", 1, "vmx_enter", NULL,
	  FLAG(IBPB_EXIT_TO_USER), 0, calls_enter, user_ibpb_due, returns, NULL },
	/* AMD-SB-7008: the quotient of the last division may leak, an NMI handler's too. */
	{ "a division before the entry (DIV0)", 0, "svm_vmenter", NULL, FLAG(DIV0), 0,
	  clgi, divides, vmrun, NULL },
	/* hw-vuln/l1tf.rst, "L1D flush on VMENTER" */
	{ "L1D is flushed at each entry where it must be", 1, "enter_guest", "vmx_vmenter", 0, 0,
	  NULL, l1d_flush, calls_vmx, must_flush },
	{ "no function runs between L1D's flush and the entry", 1, "enter_guest", "vmx_vmenter", 0, 0,
	  l1d_flush, calls_vmx, calls_another, NULL },
	/* hw-vuln/srso.rst: SRSO_MSR_FIX, as long as SVM is on. */
	{ "BP_SPEC_REDUCE is set with SVM (SRSO)", 0, "svm_cpu_enable", NULL, FLAG(BP_SPEC_REDUCE), 0,
	  enables, sets_bit, returns, NULL },
	{ "BP_SPEC_REDUCE is cleared with SVM (SRSO)", 0, "svm_cpu_disable", NULL, FLAG(BP_SPEC_REDUCE), 0,
	  stgi, clears_bit, returns, NULL },
};

const int nr_flow_rules = ARRAY_SIZE(flow_rules);

/* Marks what is reached from `i`, this one included. */
static void reach(const struct flow_rule *r, const struct code *c, int i, char *seen, bool first)
{
	while (i >= 0 && !seen[i]) {
		const struct insn *in = &c->insns[i];
		bool cond = in->z.meta.category == ZYDIS_CATEGORY_COND_BR;
		int way = cond && r->taken ? r->taken(c, i) : -1;

		if (!first && r->via(c, i))
			return;
		seen[i] = 1;
		if (!first && r->to(c, i))
			return;
		first = false;
		if (returns(c, i) || in->z.mnemonic == ZYDIS_MNEMONIC_UD2)
			return;
		if (in->label >= 0)
			reach(r, c, in->label, seen, false);
		if (in->handler >= 0)
			reach(r, c, in->handler, seen, false);
		if (cond && way != 0)
			reach(r, c, in->target, seen, false);
		if (in->z.meta.category == ZYDIS_CATEGORY_UNCOND_BR)
			i = in->target;
		else
			i = way == 1 ? -1 : in->next;
	}
}

const char *flow_check(const struct flow_rule *r, const struct code *c)
{
	static char text[256];
	char *seen = calloc(c->nr, 1);
	int i, from = 0, to = 0;

	*text = 0;
	if (!r->from)
		reach(r, c, c->start, seen, false);
	for (i = 0; i < c->nr; i++) {
		from += !r->from || r->from(c, i);
		to += r->to(c, i);
		if (r->from && r->from(c, i))
			reach(r, c, i, seen, true);
	}
	for (i = 0; i < c->nr && !*text; i++)
		if (seen[i] && r->to(c, i) && !(r->from && r->from(c, i)))
			snprintf(text, sizeof(text), "a way past it leads to %s", code_text(c, i));
	/* Nothing can be said of what is not there. */
	if (!from || (!to && r->to != calls_another))
		snprintf(text, sizeof(text), "%s has no place where it begins or ends", r->function);
	free(seen);
	return *text ? text : NULL;
}
