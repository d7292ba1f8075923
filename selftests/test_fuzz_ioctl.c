// SPDX-License-Identifier: GPL-2.0
/*
 * The module under calls of every kind, order and argument, of several threads and processes at
 * once, guided by what of its code they reach where the kernel tells (KCOV); see fuzz/ioctl.h.
 *   test_fuzz_ioctl [FILE...]	runs the sequences in those files instead, a hundred times
 * FUZZ_SEED: another start. FUZZ_SECONDS: that long, not a fixed number of sequences.
 * FUZZ_TRACE: each sequence is printed before it runs. FUZZ_PCS=FILE: which code was reached.
 */
#define _GNU_SOURCE
#include <sys/mman.h>
#include <sys/wait.h>
#include "kselftest_harness.h"
#include "fuzz/ioctl.h"

enum { WORKERS = 2, PER_BATCH = 30, BATCHES = 6, MOST_BATCHES = 40 };

/* The files fuzz/NAME.ioctl: sequences that found something, or are worth a start. */
extern const struct {
	const char *name, *text;
} fuzz_cases[];

GUEST(sum, 64, "xor %eax, %eax\n1:\tadd %rcx, %rax\n\tloop 1b\n\t" G_DONE);

static bool well(void)
{
	struct cleave_regs regs;
	struct vcpu v;
	struct vm vm;
	bool good;

	GUEST_SIMPLE(&vm, &v, sum);
	regs_get(&v, &regs);
	regs.rcx = 1000;
	regs_set(&v, &regs);
	good = vcpu_run_done(&v) == 500500;
	vcpu_destroy(&v);
	vm_destroy(&vm);
	return good;
}

static uint64_t env_number(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s ? strtoull(s, NULL, 0) : otherwise;
}

static void shared_create(void)
{
	fuzz = mmap(NULL, sizeof(*fuzz), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (fuzz == MAP_FAILED)
		DIE("no memory for what is shared");
}

static void keep(const struct seq *s)
{
	uint32_t i = __atomic_load_n(&fuzz->kept, __ATOMIC_RELAXED);

	while (i < MAX_KEPT && !__atomic_compare_exchange_n(&fuzz->kept, &i, i + 1, false,
							    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
	if (i < MAX_KEPT)
		fuzz->keep[i] = *s;
}

static const struct seq *kept(struct rng *r)
{
	uint32_t n = __atomic_load_n(&fuzz->kept, __ATOMIC_RELAXED);

	return n ? &fuzz->keep[rng_next(r) % n] : NULL;
}

static void trace(const struct seq *s, int worker)
{
	if (!getenv("FUZZ_TRACE"))
		return;
	printf("# worker %d:\n", worker);
	seq_print(stdout, s);
}

static void run_one(struct seq *s, int worker, bool again)
{
	int fresh;

	fuzz->running[worker] = *s;
	trace(s, worker);
	fresh = exec_seq(s);
	if (fresh < 0)
		_exit(2);
	if (fresh && !again)
		keep(s);
}

/* A process that makes sequences and runs them. */
static void worker(int id, uint64_t seed, uint32_t n)
{
	struct rng r = { .x = seed * 0x9e3779b97f4a7c15ull + id + 1 };
	static struct seq s;

	for (int i = 0; i < 8; i++)
		rng_next(&r);
	exec_start(id);
	while (n--) {
		const struct seq *old = rng_next(&r) >> 60 ? kept(&r) : NULL;

		if (old && rng_next(&r) >> 62) {
			s = *old;
			seq_mutate(&r, &s, kept(&r));
		} else {
			seq_generate(&r, &s);
			COUNT(generated);
		}
		run_one(&s, id, false);
	}
	_exit(0);
}

/* 0: all workers came to their end. */
static int batch(uint64_t seed, uint32_t n)
{
	pid_t pid[WORKERS];
	int status, bad = 0;

	fflush(stdout);
	for (int i = 0; i < WORKERS; i++) {
		pid[i] = fork();
		if (!pid[i])
			worker(i, seed, n);
	}
	for (int i = 0; i < WORKERS; i++) {
		waitpid(pid[i], &status, 0);
		if (!status)
			continue;
		bad++;
		printf("# worker %d ended with %#x in:\n", i, status);
		seq_print(stdout, &fuzz->running[i]);
	}
	return bad;
}

static void report(void)
{
	printf("# %llu sequences, %llu of them new, %llu calls; %u kept; %u PCs of the module%s\n",
	       (unsigned long long)fuzz->executions, (unsigned long long)fuzz->generated,
	       (unsigned long long)fuzz->ops, fuzz->kept, fuzz->pcs,
	       fuzz->traced ? "" : " (no KCOV here)");
	for (int k = 0; k < OP_KINDS; k++) {
		printf("# %-14s %6llu calls, %6llu good", op_info[k].name,
		       (unsigned long long)fuzz->calls[k], (unsigned long long)fuzz->good[k]);
		for (int e = 1; e < MAX_ERRNO; e++)
			if (fuzz->errors[k][e])
				printf(", %llu %s", (unsigned long long)fuzz->errors[k][e],
				       strerrorname_np(e) ?: "?");
		printf("\n");
	}
	printf("# exits:");
	for (int i = 0; i < MAX_EXIT; i++)
		if (fuzz->exits[i])
			printf(" %d: %llu", i, (unsigned long long)fuzz->exits[i]);
	printf("\n");
	for (int i = 0; i < STATES; i++)
		printf("# %s: %llu\n", state_names[i], (unsigned long long)fuzz->states[i]);
}

static void write_pcs(void)
{
	const char *path = getenv("FUZZ_PCS");
	FILE *f = path ? fopen(path, "we") : NULL;

	if (!f)
		return;
	cover_report(f);
	fclose(f);
	printf("# their offsets from .text are in %s, for addr2line -e cleave.ko\n", path);
}

/* What the header says that each may answer, beside what dispatch() does for all. */
static const struct {
	enum kind kind;
	int errors[4];
} allowed[] = {
	{ OP_CREATE_VM, { EBUSY, EINTR } },
	{ OP_CREATE_VCPU, { EEXIST, EINTR } },
	{ OP_SET_SLOT, { EEXIST, ENOENT, EINTR } },
	{ OP_IRQFD, { EEXIST, ENOENT, ENOSPC, EINTR } },
	{ OP_IOEVENTFD, { EEXIST, ENOENT, ENOSPC, EINTR } },
	{ OP_RUN, { EINTR, EIO } },
	{ OP_GET_STATE, { EINTR } },
	{ OP_SET_STATE, { EINTR } },
	{ OP_GET_FPU, { EINTR } },
	{ OP_SET_FPU, { EINTR } },
	{ OP_GET_MSRS, { EINTR } },
	{ OP_SET_MSRS, { EINTR } },
	{ OP_SET_CPUID, { EBUSY, EINTR } },
	{ OP_LAPIC_ACCESS, { ENXIO, EINTR } },
};

static bool is_allowed(int kind, int error)
{
	static const int all[] = { EBADF, EFAULT, ENOTTY, E2BIG, EINVAL, ENOMEM, EMFILE };

	for (int i = 0; i < (int)ARRAY_SIZE(all); i++)
		if (all[i] == error)
			return true;
	for (int i = 0; i < (int)ARRAY_SIZE(allowed); i++)
		for (int j = 0; allowed[i].kind == kind && j < 4; j++)
			if (allowed[i].errors[j] == error)
				return true;
	return false;
}

static void answers_as_documented(struct __test_metadata *_metadata)
{
	for (int k = 0; k < OP_COMMANDS; k++) {
		for (int e = 1; e < MAX_ERRNO; e++) {
			EXPECT_TRUE(!fuzz->errors[k][e] || is_allowed(k, e))
				TH_LOG("%s: %s", op_info[k].name, strerrorname_np(e) ?: "?");
		}
	}
	EXPECT_EQ(0, fuzz->trespasses);
}

/* What went_deep() asks for. When it comes is up to the host's scheduler, too. */
static bool all_came(void)
{
	for (int k = 0; k < OP_KINDS; k++)
		if (!fuzz->calls[k] || (k < OP_COMMANDS && fuzz->good[k] * 10 < fuzz->calls[k]))
			return false;
	for (int i = CLEAVE_EXIT_IO; i <= CLEAVE_EXIT_FAULT; i++)
		if (i != CLEAVE_EXIT_INSN && !fuzz->exits[i])
			return false;
	for (int i = 0; i < STATES; i++)
		if (!fuzz->states[i])
			return false;
	return true;
}

/* It went deep: each command did what it is for, each exit and each state came. */
static void went_deep(struct __test_metadata *_metadata)
{
	for (int k = 0; k < OP_COMMANDS; k++) {
		EXPECT_GE(fuzz->good[k] * 10, fuzz->calls[k])
			TH_LOG("%s: %llu of %llu calls did what it is for", op_info[k].name,
			       (unsigned long long)fuzz->good[k], (unsigned long long)fuzz->calls[k]);
	}
	for (int k = 0; k < OP_KINDS; k++) {
		EXPECT_GT(fuzz->calls[k], 0)
			TH_LOG("%s: no call", op_info[k].name);
	}
	for (int i = CLEAVE_EXIT_IO; i <= CLEAVE_EXIT_FAULT; i++) {
		if (i == CLEAVE_EXIT_INSN)
			continue;
		EXPECT_GT(fuzz->exits[i], 0)
			TH_LOG("no exit %d", i);
	}
	for (int i = 0; i < STATES; i++) {
		EXPECT_GT(fuzz->states[i], 0)
			TH_LOG("never: %s", state_names[i]);
	}
}

/* A host under a debug kernel, or in Bochs, is slower: a guest gets more time before it is stopped. */
static void measure(void)
{
	uint64_t best = SEC / 5;

	for (int i = 0; i < 5; i++) {
		uint64_t began = now_ns();

		well();
		best = now_ns() - began < best ? now_ns() - began : best;
	}
	exec_slice_us = best / 4000 < 2000 ? 2000 : best / 4000;
}

FIXTURE(fuzz) { };
FIXTURE_SETUP(fuzz) { shared_create(); measure(); }
FIXTURE_TEARDOWN(fuzz) { }

TEST_F_TIMEOUT(fuzz, sequences, 1000000)
{
	uint64_t seed = env_number("FUZZ_SEED", 1), seconds = env_number("FUZZ_SECONDS", 0);
	uint64_t began = now_ns();
	uint32_t per_batch = emulated_by_bochs() ? PER_BATCH / 2 : PER_BATCH;
	long refs = module_refs(), after_first = 0, lost;

	ASSERT_EQ(0, own_cgroup());
	for (uint64_t i = 0; (seconds ? now_ns() - began < seconds * SEC : i < BATCHES) ||
			     (i < MOST_BATCHES && !all_came()); i++) {
		ASSERT_EQ(0, batch(seed * 1000003 + i, per_batch))
			TH_LOG("seed %llu, batch %llu", (unsigned long long)seed, (unsigned long long)i);
		ASSERT_TRUE(WAIT_FOR(module_refs() == refs, 5000))
			TH_LOG("%ld references on the module are left", module_refs() - refs);
		ASSERT_TRUE(well());
		if (!i)
			after_first = kernel_bytes();
	}
	lost = kernel_bytes() - after_first;
	report();
	printf("# a guest's turn %u us, all %llu ms; %ld bytes are lost\n",
	       exec_slice_us, (unsigned long long)(now_ns() - began) / 1000000, lost);
	write_pcs();
	EXPECT_GT(after_first, 0);
	/* What a page by every fourth sequence would be. */
	EXPECT_LT(lost, 16384 + (long)(fuzz->executions - WORKERS * per_batch) * 1024);
	answers_as_documented(_metadata);
	went_deep(_metadata);
}

/* NULL, or what is wrong. */
static const char *replay(const char *text, int times)
{
	static struct seq s;
	static char why[64];
	int wrong = seq_parse(text, &s), status;
	long refs = module_refs();
	pid_t pid;

	snprintf(why, sizeof(why), "line %d is no call", wrong);
	if (wrong)
		return why;
	fflush(stdout);
	pid = fork();
	if (!pid) {
		exec_start(0);
		while (times--)
			run_one(&s, 0, true);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	snprintf(why, sizeof(why), "its process ended with %#x", status);
	if (status)
		return why;
	if (!WAIT_FOR(module_refs() == refs, 5000))
		return "references on the module are left";
	return well() ? NULL : "the host runs no guest any more";
}

TEST_F_TIMEOUT(fuzz, known, 300)
{
	for (int i = 0; fuzz_cases[i].name; i++) {
		const char *why = replay(fuzz_cases[i].text, 3);

		EXPECT_EQ(NULL, why)
			TH_LOG("%s: %s", fuzz_cases[i].name, why);
	}
}

static char *text_of(const struct seq *s)
{
	char *text;
	size_t size;
	FILE *f = open_memstream(&text, &size);

	seq_print(f, s);
	fclose(f);
	return text;
}

/* The form in files says all. */
TEST_F(fuzz, text)
{
	struct rng r = { .x = 12345 };
	static struct seq a, b;
	char *first, *second;

	for (int i = 0; i < 200; i++) {
		seq_generate(&r, &a);
		if (i & 1)
			seq_mutate(&r, &a, &b);
		first = text_of(&a);
		ASSERT_EQ(0, seq_parse(first, &b)) TH_LOG("%s", first);
		second = text_of(&b);
		ASSERT_STREQ(first, second);
		free(first);
		free(second);
	}
	EXPECT_EQ(1, seq_parse("1 no_such_call\n", &b));
	EXPECT_EQ(2, seq_parse("1 RUN\n9 RUN\n", &b));
	EXPECT_EQ(1, seq_parse("1 RUN 3:5=1\n", &b));
}

#define main harness_main
TEST_HARNESS_MAIN
#undef main

static int replay_files(int n, char **files)
{
	static char text[1 << 16];
	int bad = 0;

	shared_create();
	measure();
	for (int i = 0; i < n; i++) {
		FILE *f = fopen(files[i], "re");
		const char *why = f ? NULL : "cannot be read";

		if (f) {
			text[fread(text, 1, sizeof(text) - 1, f)] = 0;
			fclose(f);
			why = replay(text, 100);
		}
		printf("%s: %s\n", files[i], why ?: "nothing wrong");
		bad += !!why;
	}
	report();
	return bad;
}

int main(int argc, char **argv)
{
	return argc > 1 ? replay_files(argc - 1, argv + 1) : harness_main(argc, argv);
}
