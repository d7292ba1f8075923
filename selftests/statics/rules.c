// SPDX-License-Identifier: GPL-2.0
/*
 * What must hold on each path through svm_vmenter and vmx_vmenter. A document
 * named "hw-vuln/…" is the kernel's Documentation/admin-guide/hw-vuln/….
 */
#include <string.h>
#include "statics.h"

#define SVM	1
#define VMX	2
#define BOTH	3

static const int kept[] = { RBX, RBP, R12, R13, R14, R15 };

static bool is(struct val v, enum kind kind, int64_t n)
{
	return v.kind == kind && v.n == n;
}

static bool entered(const struct path *p)
{
	return p->exit >= 0;
}

/* The first step behind the exit that may predict a return or an indirect branch. */
static int first_out(const struct path *p)
{
	int i = p->exit;

	while (i < p->nr - 1 && !(p->steps[i].did & (CALLS | RETS | INDIRECT)))
		i++;
	return i;
}

/* The first step from `i` on with that mnemonic; p->nr if there is none. */
static int find(const struct path *p, int i, ZydisMnemonic m)
{
	while (i < p->nr && p->steps[i].m != m)
		i++;
	return i;
}

static int find_call(const struct path *p, int i, const char *name)
{
	while (i < p->nr && !((p->steps[i].did & CALLS) && !strcmp(p->steps[i].sym, name)))
		i++;
	return i;
}

static const char *followed(const struct path *p, const struct code *c, const struct vendor *v)
{
	return p->error;
}

/* The ABI of C (psABI 3.2.1), whether the guest was entered or not. */
static const char *abi(const struct path *p, const struct code *c, const struct vendor *v)
{
	size_t i;

	if (!is(p->regs_out[RSP], STACK, 0))
		return "RSP is not what it was";
	for (i = 0; i < ARRAY_SIZE(kept); i++)
		if (!is(p->regs_out[kept[i]], HOST, kept[i]))
			return "a register is not what it was";
	if (p->regs_out[RAX].kind != CONST || entered(p) != !p->regs_out[RAX].n)
		return "0 is not the result of entries alone";
	return NULL;
}

/* No value of the host's is left to the guest. */
static const char *loaded(const struct path *p, const struct code *c, const struct vendor *v)
{
	int i;

	for (i = 0; i < REGS; i++) {
		if (i == RSP || (v->svm && i == RAX))
			continue;	/* in the VMCS or VMCB */
		if (!is(p->regs_in[i], FIELD, i))
			return "a register is not the guest's own";
	}
	if (v->svm && !is(p->regs_in[RAX], HOST, RSI))
		return "RAX is not the VMCB's address";
	return NULL;
}

static const char *saved(const struct path *p, const struct code *c, const struct vendor *v)
{
	int i;

	for (i = 0; i < REGS; i++)
		if (i != RSP && !(v->svm && i == RAX) && !is(p->saved[i], GUEST, i))
			return "a register of the guest is not saved";
	return NULL;
}

/*
 * hw-vuln/spectre.rst, "guest attacking host": code that runs speculatively with a
 * register of the guest's is what attacks are made of. So none has one when the
 * first branch is predicted, be it one that is itself a defence; nor where VM entry
 * failed, but for a fault, when the host goes down.
 */
static const char *cleared(const struct path *p, const struct code *c, const struct vendor *v)
{
	int i;

	for (i = p->enter + 1; p->enter >= 0 && p->fault < 0 && i < p->nr; i++)
		if ((p->steps[i].did & (JCC | CALLS | FILLS | RETS | INDIRECT)) &&
		    p->steps[i].guest_in_regs)
			return "a branch with a register of the guest's";
	return NULL;
}

/* SPEC_CTRL is the guest's in the guest: hw-vuln/spectre.rst, "IBRS", and SSBD. */
static const char *guest_spec(const struct path *p, const struct code *c, const struct vendor *v)
{
	if (p->same_spec || is(p->steps[p->enter].spec_ctrl, HOST, v->guest_spec))
		return NULL;
	return "SPEC_CTRL is not the guest's";
}

/*
 * With the guest's SPEC_CTRL the host is not protected: nothing that is predicted
 * from what others trained (Intel, "Indirect Branch Restricted Speculation").
 */
static const char *straight_in(const struct path *p, const struct code *c, const struct vendor *v)
{
	int i;

	for (i = 0; i < p->enter; i++)
		if (p->steps[i].did & (CALLS | FILLS | RETS | INDIRECT))
			return "a return or an indirect branch before the entry";
	return NULL;
}

/* Also where the entry was refused, or has faulted. */
static const char *host_spec(const struct path *p, const struct code *c, const struct vendor *v)
{
	int i = entered(p) ? first_out(p) : p->nr - 1;

	return p->same_spec || is(p->steps[i].spec_ctrl, HOST, v->host_spec) ? NULL :
	       "a return before SPEC_CTRL is the host's";
}

/*
 * Where IBRS is not the enhanced one, it is the write that keeps apart what was
 * learnt in a less privileged mode (Intel, IBRS; hw-vuln/spectre.rst, RETBleed).
 */
static const char *ibrs(const struct path *p, const struct code *c, const struct vendor *v)
{
	int i, out = first_out(p);

	for (i = p->exit; i < out; i++)
		if (p->steps[i].m == ZYDIS_MNEMONIC_WRMSR && is(p->steps[i].rcx, CONST, 0x48) &&
		    is(p->steps[i].rax, HOST, v->host_spec))
			return NULL;
	return "a return before IBRS was written";
}

/* A branch that skipped the write may be mispredicted: LFENCE (Intel, bounds check bypass). */
static const char *spec_fence(const struct path *p, const struct code *c, const struct vendor *v)
{
	int i, branch = -1, fence = -1, out = first_out(p);

	for (i = p->exit; i < out; i++) {
		if (p->steps[i].did & JCC)
			branch = i;
		if (p->steps[i].m == ZYDIS_MNEMONIC_LFENCE)
			fence = i;
	}
	return fence < branch ? "no LFENCE between that branch and a return" : NULL;
}

/* From the exit to the first return: so many calls, each with INT3 behind, and LFENCE. */
static const char *fill(const struct path *p, int want)
{
	int i, n = 0, last = -1, out = first_out(p);

	for (i = p->exit; i < out; i++)
		if (p->steps[i].did & FILLS) {
			n++;
			last = i;
		}
	if (n < want)
		return "fewer calls than that before a return";
	return find(p, last, ZYDIS_MNEMONIC_LFENCE) < out ? NULL : "no LFENCE behind them";
}

/* hw-vuln/spectre.rst, "RSB filling on VM exit"; 32: more than any CPU's RSB has. */
static const char *rsb(const struct path *p, const struct code *c, const struct vendor *v)
{
	return fill(p, 32);
}

/* Intel, "Post-barrier Return Stack Buffer Predictions": one call retires, then LFENCE. */
static const char *pbrsb(const struct path *p, const struct code *c, const struct vendor *v)
{
	return fill(p, 1);
}

/* The kernel counts calls where RSBs must not run empty (retbleed=stuff): these are some. */
static const char *depth(const struct path *p, const struct code *c, const struct vendor *v)
{
	int i, out = first_out(p);

	if (!(c->flags & FLAG(RSB_VMEXIT)))
		return NULL;
	for (i = p->exit; i < out; i++)
		if ((p->steps[i].did & GS) && (p->steps[i].did & WRITES) &&
		    !strcmp(p->steps[i].sym, "pcpu_hot") && is(p->steps[i].b, CONST, -1))
			return NULL;
	return "the calls are not counted";
}

/*
 * Before anything returns (hw-vuln/srso.rst; AMD, "Technical guidance for mitigating
 * branch type confusion"), and before interrupts: their handlers do not untrain.
 */
static const char *untrain(const struct path *p, const struct code *c, const struct vendor *v)
{
	const char *name = c->flags & FLAG(SRSO_ALIAS) ? "srso_alias_untrain_ret" : "entry_untrain_ret";
	int call;

	call = find_call(p, p->exit, name);
	if (call != first_out(p) || call == p->nr)
		return "a return before that";
	return call < find(p, p->exit, ZYDIS_MNEMONIC_STGI) ? NULL : "STGI before that";
}

/* retbleed=ibpb, spec_rstack_overflow=ibpb and ibpb-vmexit: hw-vuln/srso.rst. */
static const char *ibpb(const struct path *p, const struct code *c, const struct vendor *v)
{
	int call;

	call = find_call(p, p->exit, "entry_ibpb");
	if (call == p->nr)
		return "no IBPB";
	if (c->flags & FLAG(UNRET) ? find_call(p, p->exit, "entry_untrain_ret") > call &&
	    find_call(p, p->exit, "srso_alias_untrain_ret") > call : call != first_out(p))
		return "a return before that";
	return call < find(p, p->exit, ZYDIS_MNEMONIC_STGI) ? NULL : "STGI before that";
}

/* hw-vuln/spectre.rst, BHI: before the first indirect branch, which the return's thunk may be. */
static const char *bhb(const struct path *p, const struct code *c, const struct vendor *v)
{
	int call;

	call = find_call(p, p->exit, "clear_bhb_loop");
	return call < p->nr && call == first_out(p) ? NULL : "a return or an indirect branch before that";
}

/*
 * MDS, TAA, RFDS, MMIO stale data, TSA: VERW with a memory operand (hw-vuln/mds.rst,
 * "CPU buffer clearing"), and behind it nothing that fills the buffers anew.
 */
static const char *verw(const struct path *p, const struct code *c, const struct vendor *v)
{
	int i, n = p->enter, at;

	for (at = n - 1; at >= 0 && p->steps[at].m != ZYDIS_MNEMONIC_VERW; at--)
		;
	if (at < 0 || !(p->steps[at].did & READS) || strcmp(p->steps[at].sym, "x86_verw_sel"))
		return "no VERW";
	for (i = at + 1; i < n; i++)
		if (p->steps[i].did & ~JCC)
			return "memory is touched behind it";
	return NULL;
}

/* objtool's rules for code that others may not look into, and apply_returns(). */
static const char *placed(const struct path *p, const struct code *c, const struct vendor *v)
{
	const struct step *last = &p->steps[p->nr - 1];
	const struct insn *in = &c->insns[last->i];

	if (strcmp(c->ko->secs[c->sec].name, ".noinstr.text"))
		return "not in .noinstr.text";
	if ((last->did & RETS) && !ko_names_site(c->ko, ".return_sites", in->sec, in->at))
		return "a return that the kernel does not patch";
	return NULL;
}

/*
 * APM vol. 2 15.17: NMIs, machine checks and all else wait while GIF is clear. What is
 * the guest's of this CPU they would meet: its FS, GS, LDTR, TR, MSRs, SPEC_CTRL.
 */
static const char *gif(const struct path *p, const struct code *c, const struct vendor *v)
{
	int i;

	if (!entered(p))
		return p->steps[p->nr - 1].gif ? NULL : "it returns with GIF clear";
	for (i = 0; i < p->nr; i++) {
		ZydisMnemonic m = p->steps[i].m;

		if ((m == ZYDIS_MNEMONIC_VMSAVE || m == ZYDIS_MNEMONIC_VMLOAD ||
		     m == ZYDIS_MNEMONIC_VMRUN || m == ZYDIS_MNEMONIC_WRMSR) && p->steps[i].gif)
			return "something of the guest's with GIF set";
		if (i > p->exit && (p->steps[i].did & (CALLS | FILLS)) && p->steps[i].gif)
			return "STGI before the host is protected";
	}
	return p->steps[p->nr - 1].gif ? NULL : "it returns with GIF clear";
}

/*
 * With V_INTR_MASKING physical interrupts in the guest are masked by RFLAGS.IF as it
 * was at VMRUN (APM vol. 2 15.21.1). In STI's shadow they would wait, and the guest with them.
 */
static const char *interrupts(const struct path *p, const struct code *c, const struct vendor *v)
{
	int stgi = find(p, 0, ZYDIS_MNEMONIC_STGI);

	if (p->steps[p->nr - 1].interrupts)
		return "it returns with interrupts on";
	if (!entered(p))
		return NULL;
	if (!p->steps[p->enter].interrupts)
		return "interrupts would not end the guest";
	if (p->enter < 1 || p->steps[p->enter - 1].m == ZYDIS_MNEMONIC_STI)
		return "VMRUN in the shadow of STI";
	if (stgi < p->nr && p->steps[stgi].interrupts)
		return "STGI with interrupts on";
	return NULL;
}

/* APM vol. 2 15.5.1: VMRUN leaves to VMSAVE and VMLOAD FS, GS, TR, LDTR and their MSRs. */
static const char *vmload(const struct path *p, const struct code *c, const struct vendor *v)
{
	static const struct {
		ZydisMnemonic m;
		int arg;
	} want[] = {
		{ ZYDIS_MNEMONIC_VMSAVE, RDX }, { ZYDIS_MNEMONIC_VMLOAD, RSI },
		{ ZYDIS_MNEMONIC_VMRUN, RSI },
		{ ZYDIS_MNEMONIC_VMSAVE, RSI }, { ZYDIS_MNEMONIC_VMLOAD, RDX },
	};
	size_t n = 0;
	int i;

	for (i = 0; i < p->nr; i++) {
		ZydisMnemonic m = p->steps[i].m;

		if (m != ZYDIS_MNEMONIC_VMSAVE && m != ZYDIS_MNEMONIC_VMLOAD && m != ZYDIS_MNEMONIC_VMRUN)
			continue;
		if (n == ARRAY_SIZE(want) || m != want[n].m || !is(p->steps[i].rax, HOST, want[n].arg))
			return "not in the order host saved, guest loaded, run, guest saved, host loaded";
		n++;
	}
	return n < ARRAY_SIZE(want) ? "one of them is missing" : NULL;
}

/* The same section: GS is the guest's between the two VMLOADs, and calls want a sane CPU. */
static const char *no_gs(const struct path *p, const struct code *c, const struct vendor *v)
{
	int i, from = find(p, 0, ZYDIS_MNEMONIC_VMLOAD);
	int to = find(p, p->exit, ZYDIS_MNEMONIC_VMLOAD);

	for (i = from; i < to && i < p->nr; i++)
		if (p->steps[i].did & (GS | CALLS))
			return "the host's GS base is needed while it is the guest's";
	return NULL;
}

/* SDM vol. 3C 25.5, 28.5.3: where an exit goes on, and with which stack. */
static const char *host_state(const struct path *p, const struct code *c, const struct vendor *v)
{
	if (p->enter < 0)
		return NULL;
	if (!is(p->host_rsp, STACK, p->rsp_enter))
		return "HOST_RSP is not RSP";
	return p->host_rip.kind == CODE ? NULL : "HOST_RIP is not known";
}

/* SDM vol. 3C 27.1: VMLAUNCH wants a VMCS that is clear, VMRESUME one that is not. */
static const char *launch(const struct path *p, const struct code *c, const struct vendor *v)
{
	bool resume = p->enter >= 0 && p->steps[p->enter].m == ZYDIS_MNEMONIC_VMRESUME;

	if (p->enter < 0)
		return p->fault < 0 ? "none of them" : NULL;
	return p->launched == resume ? NULL : "VMRESUME of what was not launched, or reverse";
}

/* An exit is no indirect branch, but the kernel wants ENDBR at all that is reached by address. */
static const char *endbr(const struct path *p, const struct code *c, const struct vendor *v)
{
	const struct insn *in;

	if (c->insns[c->start].z.mnemonic != ZYDIS_MNEMONIC_ENDBR64)
		return NULL;		/* a kernel without IBT */
	in = &c->insns[p->steps[p->exit].i];
	if (in->z.mnemonic != ZYDIS_MNEMONIC_ENDBR64)
		return "no ENDBR64 where exits go on";
	return ko_names_site(c->ko, ".ibt_endbr_seal", in->sec, in->at) ? "the kernel takes it away" : NULL;
}

const struct rule rules[] = {
	{ "all paths are understood", BOTH, 0, followed, BROKEN },
	{ "registers, stack and result are as C wants them", BOTH, 0, abi, ALL },
	{ "in .noinstr.text, with returns that the kernel patches", BOTH, 0, placed, ALL },
	{ "the guest gets its registers, and nothing of the host's", BOTH, 0, loaded },
	{ "the guest's registers are saved", BOTH, 0, saved },
	{ "the guest's registers are gone before the first branch", BOTH, 0, cleared, ALL },
	{ "SPEC_CTRL is the guest's in the guest", BOTH, 0, guest_spec },
	{ "no return or indirect branch on the way in", BOTH, 0, straight_in },
	{ "SPEC_CTRL is the host's before a return", BOTH, 0, host_spec, ALL },
	{ "IBRS is written before a return", VMX, FLAG(KERNEL_IBRS), ibrs },
	{ "LFENCE behind the branch over SPEC_CTRL", VMX, FLAG(MSR_SPEC_CTRL), spec_fence },
	{ "the RSB is filled before a return", BOTH, FLAG(RSB_VMEXIT), rsb },
	{ "one call and LFENCE before a return (PBRSB)", VMX, FLAG(RSB_VMEXIT_LITE), pbrsb },
	{ "the calls that fill the RSB are counted", VMX, FLAG(CALL_DEPTH), depth },
	{ "UNTRAIN_RET before a return", SVM, FLAG(UNRET), untrain },
	{ "IBPB before a return", SVM, FLAG(IBPB_ON_VMEXIT), ibpb },
	{ "the branch history is cleared before a return", VMX, FLAG(CLEAR_BHB), bhb },
	{ "VERW is last before the entry", SVM, FLAG(CLEAR_CPU_BUF_VM), verw },
	{ "VERW is last before the entry", VMX, FLAG(CLEAR_CPU_BUF), verw },
	{ "GIF is clear as long as the CPU is not the host's", SVM, 0, gif, ALL },
	{ "interrupts end the guest, and are off behind it", SVM, 0, interrupts, ALL },
	{ "VMSAVE and VMLOAD, of the host and the guest", SVM, 0, vmload },
	{ "nothing needs GS while it is the guest's", SVM, 0, no_gs },
	{ "HOST_RSP and HOST_RIP are this stack and this code", VMX, 0, host_state, BROKEN },
	{ "VMRESUME if it was launched, else VMLAUNCH", VMX, 0, launch, ALL },
	{ "exits go on at an ENDBR64 that stays", VMX, 0, endbr },
};

const int nr_rules = ARRAY_SIZE(rules);
