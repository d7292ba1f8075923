// SPDX-License-Identifier: GPL-2.0
/* FPU, SSE and AVX registers: the guest's and the owner's do not mix, and both can be read and set. */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include "kselftest_harness.h"
#include "host.h"

/* In struct cleave_fpu.region, SDM vol. 1 13.4. */
#define FCW		0
#define FSW		2
#define FTW		4
#define MXCSR		24
#define ST(n)		(32 + 16 * (n))
#define XMM(n)		(160 + 16 * (n))
#define SOFTWARE	464
#define XSTATE_BV	512
#define XCOMP_BV	520
#define XRESERVED	528
#define YMM_HIGH(n)	(576 + 16 * (n))
#define X87		1ull
#define SSE		2ull
#define AVX		4ull

#define FIELD(f, type, offset)	(*(type *)((f)->region + (offset)))
#define GPA_AREA	0x150000	/* where guests put what they have */

FIXTURE(fpu) {
	struct vm vm;
	struct vcpu v;
	struct cleave_fpu *f, *g;
	uint64_t xcr0;			/* what is offered */
};

FIXTURE_SETUP(fpu)
{
	self->xcr0 = dev_info().xcr0;
	self->f = calloc(1, sizeof(*self->f));
	self->g = calloc(1, sizeof(*self->g));
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->v, 0);
	vm_tables(&self->vm);
}

FIXTURE_TEARDOWN(fpu)
{
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

#define LOAD(code) do {						\
	GUEST_LOAD(&self->vm, GPA_CODE, code);			\
	vcpu_long(&self->v, GPA_CODE);				\
} while (0)

static void fpu_get(struct vcpu *v, struct cleave_fpu *f)
{
	memset(f, 0xaa, sizeof(*f));
	MUST(ioctl(v->fd, CLEAVE_GET_FPU, f));
}

static int fpu_set(struct vcpu *v, struct cleave_fpu *f)
{
	return xioctl(v->fd, CLEAVE_SET_FPU, f);
}

/* Code for long mode that lets the guest use AVX: CR4.OSXSAVE, XCR0 all that EAX says. */
#define ENABLE(xcr0)							\
	"mov %cr4, %rax\n\tor $0x40000, %eax\n\tmov %rax, %cr4\n\t"	\
	"mov $" S(xcr0) ", %eax\n\txor %edx, %edx\n\txor %ecx, %ecx\n\txsetbv\n\t"

/* ---- values at power-on and after INIT -------------------------------------- */

GUEST(save_legacy, 64, "fxsave64 " S(GPA_AREA) "\n\t" G_DONE);

TEST_F(fpu, power_on)
{
	struct cleave_fpu *f = self->f;
	struct cleave_state st;
	uint8_t *area = self->vm.ram + GPA_AREA;

	fpu_get(&self->v, f);
	EXPECT_EQ(0x40, FIELD(f, uint16_t, FCW));
	EXPECT_EQ(0, FIELD(f, uint16_t, FSW));
	EXPECT_EQ(0x1f80, FIELD(f, uint32_t, MXCSR));
	for (int i = ST(0); i < XMM(16); i++)
		EXPECT_EQ(0, f->region[i]);
	state_get(&self->v, CLEAVE_XCRS, &st);
	EXPECT_EQ(1, st.xcrs.xcr0);
	LOAD(save_legacy);
	vcpu_run_done(&self->v);
	EXPECT_EQ(0x40, *(uint16_t *)(area + FCW));
	EXPECT_EQ(0, *(uint16_t *)(area + FSW));
	EXPECT_EQ(0xff, area[FTW]);		/* all valid, and zero */
	EXPECT_EQ(0x1f80, *(uint32_t *)(area + MXCSR));
	for (int i = ST(0); i < XMM(16); i++)
		EXPECT_EQ(0, area[i]);
}

GUEST(fill_legacy, 64,
	"fninit\n\tfldpi\n\tfldl2e\n\tfld1\n\t"
	"mov $0x1111222233334444, %rax\n\tmovq %rax, %xmm0\n\tmovq %rax, %xmm15\n\t"
	"pslldq $8, %xmm15\n\t"
	"movl $0x3f80, " S(GPA_AREA) "\n\tldmxcsr " S(GPA_AREA) "\n\t" G_DONE);

/* INIT leaves them, all the other registers are reset. */
TEST_F(fpu, init)
{
	struct cleave_state st;

	LOAD(fill_legacy);
	vcpu_run_done(&self->v);
	fpu_get(&self->v, self->f);
	EXPECT_EQ(0x37f, FIELD(self->f, uint16_t, FCW));
	EXPECT_EQ(0x3f80, FIELD(self->f, uint32_t, MXCSR));
	EXPECT_EQ(0x1111222233334444, FIELD(self->f, uint64_t, XMM(0)));
	EXPECT_EQ(0x1111222233334444, FIELD(self->f, uint64_t, XMM(15) + 8));
	ASSERT_EQ(1, vm_msi(&self->vm, MSI_ADDRESS(0), MSI_INIT));
	/* The bootstrap processor goes to the reset vector, where nothing is. */
	ASSERT_EQ(0, vcpu_run(&self->v));
	EXPECT_EQ(CLEAVE_EXIT_MMIO, self->v.run->exit);
	EXPECT_EQ(0xfffffff0, self->v.run->mmio.gpa);
	state_get(&self->v, CLEAVE_REGS | CLEAVE_SREGS, &st);
	EXPECT_EQ(0xfff0, st.regs.rip);
	EXPECT_EQ(0, st.regs.rsp);
	EXPECT_EQ(0, st.sregs.cr0 & 1);
	fpu_get(&self->v, self->g);
	EXPECT_EQ(0, memcmp(self->f, self->g, sizeof(*self->f)));
}

/* ---- the owner's are not the guest's ------------------------------------------ */

/* All registers of the owner, as XSAVE sees them without its header. */
struct registers {
	uint64_t ymm[16][4];
	uint64_t mm[8];
	uint32_t mxcsr;
	uint16_t fcw;
} __attribute__((aligned(32)));

static void registers_make(struct registers *r, uint64_t seed)
{
	for (int i = 0; i < 16; i++)
		for (int j = 0; j < 4; j++)
			r->ymm[i][j] = seed * 0x9e3779b97f4a7c15 + i * 4 + j;
	for (int i = 0; i < 8; i++)
		r->mm[i] = ~seed * 0x9e3779b97f4a7c15 + i;
	r->mxcsr = 0x1f80 | (seed & 3) << 13;
	r->fcw = 0x37f & ~((seed & 3) << 8);
}

#define EACH16(m) m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7) m(8) m(9) m(10) m(11) m(12) m(13) m(14) m(15)
#define EACH8(m) m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7)
#define LOAD_YMM(n)	"vmovdqu 32*" #n "(%[r]), %%ymm" #n "\n\t"
#define STORE_YMM(n)	"vmovdqu %%ymm" #n ", 32*" #n "(%[s])\n\t"
#define LOAD_XMM(n)	"movdqu 32*" #n "(%[r]), %%xmm" #n "\n\t"
#define STORE_XMM(n)	"movdqu %%xmm" #n ", 32*" #n "(%[s])\n\t"
#define LOAD_MM(n)	"movq 512+8*" #n "(%[r]), %%mm" #n "\n\t"
#define STORE_MM(n)	"movq %%mm" #n ", 512+8*" #n "(%[s])\n\t"

#define AROUND(load, store)						\
	asm volatile("fninit\n\t" EACH16(load) EACH8(LOAD_MM)		\
		     "ldmxcsr 576(%[r])\n\tfldcw 580(%[r])\n\t"		\
		     "syscall\n\t"					\
		     EACH16(store) EACH8(STORE_MM)			\
		     "stmxcsr 576(%[s])\n\tfnstcw 580(%[s])\n\tfninit\n\temms\n\t" \
		     "ldmxcsr %[m]\n\t"					\
		     : "+a"(ret) : "D"((long)fd), "S"((long)cmd), "d"(0l), [r] "r"(r),	\
		       [s] "r"(s), [m] "m"(mxcsr) : "rcx", "r11", "memory", "xmm0",	\
		       "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",	\
		       "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15")

/* An ioctl with these registers; into s what they are behind it. */
static long ioctl_between(int fd, unsigned long cmd, const struct registers *r,
			  struct registers *s, bool avx)
{
	static const uint32_t mxcsr = 0x1f80;
	long ret = SYS_ioctl;

	if (avx)
		AROUND(LOAD_YMM, STORE_YMM);
	else
		AROUND(LOAD_XMM, STORE_XMM);
	return ret;
}

static bool registers_equal(const struct registers *a, const struct registers *b, bool avx)
{
	for (int i = 0; i < 16; i++)
		if (memcmp(a->ymm[i], b->ymm[i], avx ? 32 : 16))
			return false;
	return !memcmp(a->mm, b->mm, sizeof(a->mm)) && a->mxcsr == b->mxcsr && a->fcw == b->fcw;
}

/*
 * The guest has its own in them, of RBX, and compares them after each exit:
 * 0x81 comes out if they were not the same any more.
 */
GUEST(keep_sse, 64,
	"fninit\n\tmovq %rbx, %xmm0\n\tmovdqa %xmm0, %xmm1\n\tpslldq $8, %xmm1\n\t"
	"por %xmm0, %xmm1\n\tmovdqa %xmm1, %xmm15\n\tmovq %rbx, %mm0\n\tmovq %rbx, %mm7\n"
	"1:\tout %al, $0x80\n\txor %eax, %eax\n\tmov %rbx, %rsi\n\tcpuid\n\tmov %rsi, %rbx\n\t"
	"movq %xmm0, %rax\n\tcmp %rbx, %rax\n\tjne 2f\n\t"
	"movdqa %xmm1, %xmm2\n\tpcmpeqd %xmm15, %xmm2\n\tpmovmskb %xmm2, %eax\n\t"
	"cmp $0xffff, %eax\n\tjne 2f\n\t"
	"psrldq $8, %xmm15\n\tmovq %xmm15, %rax\n\tcmp %rbx, %rax\n\tjne 2f\n\tmovdqa %xmm1, %xmm15\n\t"
	"movq %mm0, %rax\n\tcmp %rbx, %rax\n\tjne 2f\n\tmovq %mm7, %rax\n\tcmp %rbx, %rax\n\tje 1b\n"
	"2:\tout %al, $0x81\n\t");

#define KEEP_AVX	ENABLE(7)					\
	"vmovq %rbx, %xmm0\n\tvpbroadcastq %xmm0, %ymm1\n\tvmovdqa %ymm1, %ymm15\n\t"	\
	"vmovdqa %ymm1, %ymm8\n"					\
	"1:\tout %al, $0x80\n\txor %eax, %eax\n\tmov %rbx, %rsi\n\tcpuid\n\tmov %rsi, %rbx\n\t"	\
	"vmovq %rbx, %xmm0\n\tvpbroadcastq %xmm0, %ymm2\n\t"		\
	"vpcmpeqd %ymm2, %ymm1, %ymm3\n\tvpmovmskb %ymm3, %eax\n\tcmp $-1, %eax\n\tjne 2f\n\t"	\
	"vpcmpeqd %ymm2, %ymm8, %ymm3\n\tvpmovmskb %ymm3, %eax\n\tcmp $-1, %eax\n\tjne 2f\n\t"	\
	"vpcmpeqd %ymm2, %ymm15, %ymm3\n\tvpmovmskb %ymm3, %eax\n\tcmp $-1, %eax\n\tje 1b\n"	\
	"2:\tout %al, $0x81\n\t"
GUEST(keep_avx, 64, KEEP_AVX);

static void seed(struct vcpu *v, uint64_t rbx)
{
	struct cleave_regs regs;

	regs_get(v, &regs);
	regs.rbx = rbx;
	regs_set(v, &regs);
}

/* AVX2 for the guest's broadcasts. */
static bool has_avx(uint64_t xcr0)
{
	return (xcr0 & AVX) && __builtin_cpu_supports("avx2");
}

static void owner_and_guest(struct __test_metadata *_metadata, struct vcpu *v, bool avx)
{
	struct registers r, s;

	for (int i = 0; i < 300; i++) {
		registers_make(&r, i);
		memset(&s, 0, sizeof(s));
		ASSERT_EQ(0, ioctl_between(v->fd, CLEAVE_RUN, &r, &s, avx));
		ASSERT_EQ(CLEAVE_EXIT_IO, v->run->exit);
		ASSERT_EQ(0x80, v->run->io.port);
		ASSERT_TRUE(registers_equal(&r, &s, avx));
	}
}

TEST_F(fpu, owner_and_guest_sse)
{
	LOAD(keep_sse);
	seed(&self->v, 0xfeedfacecafebeef);
	owner_and_guest(_metadata, &self->v, false);
}

TEST_F(fpu, owner_and_guest_avx)
{
	if (!has_avx(self->xcr0))
		SKIP(return, "no AVX2");
	LOAD(keep_avx);
	seed(&self->v, 0xfeedfacecafebeef);
	owner_and_guest(_metadata, &self->v, true);
}

/* Other ioctls leave the owner's alone as well. */
TEST_F(fpu, owner_over_other_ioctls)
{
	static const unsigned long cmd[] = { CLEAVE_KICK, CLEAVE_NMI };
	bool avx = has_avx(self->xcr0);
	struct registers r, s;

	for (int i = 0; i < 20; i++) {
		registers_make(&r, i);
		EXPECT_EQ(0, ioctl_between(self->v.fd, cmd[i % 2], &r, &s, avx));
		EXPECT_TRUE(registers_equal(&r, &s, avx));
	}
	fpu_get(&self->v, self->f);
	EXPECT_EQ(0, FIELD(self->f, uint64_t, XMM(3)));
}

/* A new guest sees nothing of what the owner has in its registers. */
TEST_F(fpu, fresh_guest_sees_nothing)
{
	struct registers r, s;

	registers_make(&r, 77);
	LOAD(save_legacy);
	ASSERT_EQ(0, ioctl_between(self->v.fd, CLEAVE_RUN, &r, &s, has_avx(self->xcr0)));
	for (int i = ST(0); i < XMM(16); i++)
		EXPECT_EQ(0, self->vm.ram[GPA_AREA + i]);
	fpu_get(&self->v, self->f);
	for (int i = ST(0); i < XMM(16); i++)
		EXPECT_EQ(0, self->f->region[i]);
}

/* Two guests and an owner each in threads of their own, all on one CPU, interrupted at will. */
struct thread {
	pthread_t thread;
	struct vm vm;
	struct vcpu v;
	uint64_t seed;
	bool avx;
	volatile bool stop;
	volatile uint64_t turns, wrong;
};

static void *guest_thread(void *arg)
{
	struct thread *t = arg;
	struct registers r, s;
	long ret;

	pin_to(0);
	while (!t->stop) {
		registers_make(&r, t->seed + t->turns);
		ret = ioctl_between(t->v.fd, CLEAVE_RUN, &r, &s, t->avx);
		if (ret == -EINTR)
			continue;
		if (ret || t->v.run->io.port != 0x80 || !registers_equal(&r, &s, t->avx))
			t->wrong++;
		t->turns++;
	}
	return NULL;
}

static void *owner_thread(void *arg)
{
	struct thread *t = arg;
	struct registers r, s;

	pin_to(0);
	while (!t->stop) {
		registers_make(&r, t->seed + t->turns);
		/* Not a descriptor: a system call that does nothing. */
		if (ioctl_between(-1, 0, &r, &s, t->avx) != -EBADF ||
		    !registers_equal(&r, &s, t->avx))
			t->wrong++;
		t->turns++;
	}
	return NULL;
}

TEST_F(fpu, threads_on_one_cpu)
{
	static struct thread t[4];
	bool avx = has_avx(self->xcr0);

	for (int i = 0; i < 4; i++) {
		t[i].seed = (i + 1) * 1000003;
		t[i].avx = avx;
		if (i < 3) {
			vm_create(&t[i].vm, RAM_SIZE, 0);
			vcpu_create(&t[i].vm, &t[i].v, 0);
			if (avx && i)
				GUEST_LONG(&t[i].v, keep_avx);
			else
				GUEST_LONG(&t[i].v, keep_sse);
			seed(&t[i].v, t[i].seed << 20);
		}
		ASSERT_EQ(0, pthread_create(&t[i].thread, NULL, i < 3 ? guest_thread : owner_thread,
					    &t[i]));
	}
	nap_us(2000000);
	for (int i = 0; i < 4; i++) {
		t[i].stop = true;
		pthread_join(t[i].thread, NULL);
		EXPECT_EQ(0, t[i].wrong);
		EXPECT_GT(t[i].turns, 10);
		if (i < 3) {
			vcpu_destroy(&t[i].v);
			vm_destroy(&t[i].vm);
		}
	}
}

/* Signal handlers that use the registers, in a guest that runs for long. */
GUEST(keep_spinning, 64,
	"movq %rbx, %xmm0\n\tmovdqa %xmm0, %xmm9\n\tmov $30000000, %ecx\n"
	"1:\tmovq %xmm0, %rax\n\tcmp %rbx, %rax\n\tjne 2f\n\tmovq %xmm9, %rax\n\tcmp %rbx, %rax\n\tjne 2f\n\t"
	"dec %ecx\n\tjnz 1b\n\txor %eax, %eax\n\t" G_DONE
	"2:\tmov $1, %eax\n\t" G_DONE);

static void on_alarm(int sig)
{
	asm volatile("pcmpeqd %%xmm0, %%xmm0\n\tpcmpeqd %%xmm9, %%xmm9" : : : "xmm0", "xmm9");
}

TEST_F(fpu, signals)
{
	struct sigaction sa = { .sa_handler = on_alarm };
	struct itimerval every = { { 0, 1000 }, { 0, 1000 } }, off = { { 0, 0 }, { 0, 0 } };
	uint64_t interrupted = 0;
	int ret;

	sigaction(SIGALRM, &sa, NULL);
	LOAD(keep_spinning);
	seed(&self->v, 0x0123456789abcdef);
	setitimer(ITIMER_REAL, &every, NULL);
	while ((ret = vcpu_run(&self->v)) == -EINTR)
		interrupted++;
	setitimer(ITIMER_REAL, &off, NULL);
	EXPECT_EQ(0, ret);
	EXPECT_EQ(0, self->v.run->io.data);
	EXPECT_GT(interrupted, 3);
}

/* ---- XCR0 ------------------------------------------------------------------- */

static uint64_t own_xcr0(void)
{
	uint32_t eax, edx;

	asm volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax | (uint64_t)edx << 32;
}

/* RBX is the XCR0 to set; R8 what it is then. An exit, and again to R9. */
GUEST(set_xcr0, 64,
	"mov %cr4, %rax\n\tor $0x40000, %eax\n\tmov %rax, %cr4\n\t"
	"mov %ebx, %eax\n\tmov %rbx, %rdx\n\tshr $32, %rdx\n\txor %ecx, %ecx\n\txsetbv\n\t"
	"xgetbv\n\tshl $32, %rdx\n\tor %rdx, %rax\n\tmov %rax, %r8\n\tout %al, $0x80\n\t"
	"xor %ecx, %ecx\n\txgetbv\n\tshl $32, %rdx\n\tor %rdx, %rax\n\tmov %rax, %r9\n\t" G_DONE);

TEST_F(fpu, xcr0)
{
	static const uint64_t xcr0[] = { 1, 3, 7, 3, 1, 7, 1 };
	struct cleave_state st;
	uint64_t own;

	if (!(self->xcr0 & SSE) || !cpuid_offered(1, 2, 26))
		SKIP(return, "no XSAVE");
	own = own_xcr0();
	for (int i = 0; i < 7; i++) {
		if (xcr0[i] & ~self->xcr0)
			continue;
		LOAD(set_xcr0);
		seed(&self->v, xcr0[i]);
		vcpu_run_out(&self->v, 0x80);
		EXPECT_EQ(own, own_xcr0());
		EXPECT_EQ(xcr0[i], self->v.run->regs.r8);
		state_get(&self->v, CLEAVE_XCRS, &st);
		EXPECT_EQ(xcr0[i], st.xcrs.xcr0);
		vcpu_run_done(&self->v);
		EXPECT_EQ(xcr0[i], self->v.run->regs.r9);
		EXPECT_EQ(own, own_xcr0());
	}
}

TEST_F(fpu, xcr0_refused)
{
	static const uint64_t bad[] = { 0, 2, 6, 1ull << 63, 1ull << 20 | 7 };

	if (!(self->xcr0 & SSE) || !cpuid_offered(1, 2, 26))
		SKIP(return, "no XSAVE");
	for (int i = 0; i < 5; i++) {
		struct trap_frame *f;

		LOAD(set_xcr0);
		seed(&self->v, bad[i]);
		f = vcpu_run_trap(&self->v, 13);
		EXPECT_EQ(0, f->error);
	}
}

GUEST(xgetbv_only, 64, "xor %ecx, %ecx\n\txgetbv\n\t" G_DONE);
GUEST(xsetbv_only, 64, "xor %ecx, %ecx\n\txor %edx, %edx\n\tmov $1, %eax\n\txsetbv\n\t" G_DONE);

TEST_F(fpu, xcr0_without_osxsave)
{
	LOAD(xgetbv_only);
	vcpu_run_trap(&self->v, 6);
	LOAD(xsetbv_only);
	vcpu_run_trap(&self->v, 6);
}

/* CPUID says what XCR0 and CR4 make of it. */
GUEST(cpuid_of_state, 64,
	"mov $1, %eax\n\tcpuid\n\tmov %ecx, %r8d\n\t"
	"mov %cr4, %rax\n\tor $0x40000, %eax\n\tmov %rax, %cr4\n\t"
	"mov $1, %eax\n\tcpuid\n\tmov %ecx, %r9d\n\t"
	"mov $0xd, %eax\n\txor %ecx, %ecx\n\tcpuid\n\tmov %ebx, %r10d\n\t"
	"mov $7, %eax\n\txor %edx, %edx\n\txor %ecx, %ecx\n\txsetbv\n\t"
	"mov $0xd, %eax\n\txor %ecx, %ecx\n\tcpuid\n\tmov %ebx, %r11d\n\t" G_DONE);

TEST_F(fpu, cpuid_follows)
{
	if (!(self->xcr0 & AVX))
		SKIP(return, "no AVX");
	LOAD(cpuid_of_state);
	vcpu_run_done(&self->v);
	EXPECT_EQ(0, self->v.run->regs.r8 >> 27 & 1);
	EXPECT_EQ(1, self->v.run->regs.r9 >> 27 & 1);
	EXPECT_EQ(576, self->v.run->regs.r10);
	EXPECT_EQ(832, self->v.run->regs.r11);
}

/* AVX state survives a time without AVX, in the guest and over exits. */
GUEST(avx_off_and_on, 64,
	ENABLE(7) "vmovq %rbx, %xmm0\n\tvpbroadcastq %xmm0, %ymm5\n\t"
	"mov $1, %eax\n\txsetbv\n\tout %al, $0x80\n\t"
	"mov $7, %eax\n\txor %edx, %edx\n\txor %ecx, %ecx\n\txsetbv\n\t"
	"vmovdqu %ymm5, " S(GPA_AREA) "\n\t" G_DONE);

TEST_F(fpu, avx_survives_xcr0)
{
	struct registers r, s;

	if (!has_avx(self->xcr0))
		SKIP(return, "no AVX2");
	LOAD(avx_off_and_on);
	seed(&self->v, 0x5555666677778888);
	vcpu_run_out(&self->v, 0x80);
	registers_make(&r, 5);
	ASSERT_EQ(0, ioctl_between(self->v.fd, CLEAVE_RUN, &r, &s, true));
	EXPECT_TRUE(registers_equal(&r, &s, true));
	for (int i = 0; i < 4; i++)
		EXPECT_EQ(0x5555666677778888, *(uint64_t *)(self->vm.ram + GPA_AREA + 8 * i));
}

/* ---- reading and setting ------------------------------------------------------ */

GUEST(save_all, 64,
	"fnstcw " S(GPA_AREA) "\n\tfnstsw " S(GPA_AREA) "+2\n\tstmxcsr " S(GPA_AREA) "+4\n\t"
	"fstpt " S(GPA_AREA) "+16\n\t"
	"movdqu %xmm0, " S(GPA_AREA) "+32\n\tmovdqu %xmm15, " S(GPA_AREA) "+48\n\t" G_DONE);
GUEST(save_avx, 64,
	ENABLE(7) "vmovdqu %ymm0, " S(GPA_AREA) "\n\tvmovdqu %ymm15, " S(GPA_AREA) "+32\n\t" G_DONE);

TEST_F(fpu, set_is_what_the_guest_has)
{
	struct cleave_fpu *f = self->f;
	uint8_t *area = self->vm.ram + GPA_AREA;

	FIELD(f, uint16_t, FCW) = 0x27f;
	FIELD(f, uint16_t, FSW) = 0x3800;		/* TOP is 7: one register in use */
	FIELD(f, uint8_t, FTW) = 0x80;
	FIELD(f, uint32_t, MXCSR) = 0x9fc0;
	FIELD(f, uint64_t, ST(0)) = 0xc90fdaa22168c235;	/* pi */
	FIELD(f, uint16_t, ST(0) + 8) = 0x4000;
	for (int i = 0; i < 256; i++)
		f->region[XMM(0) + i] = i ^ 0x5a;
	FIELD(f, uint64_t, XSTATE_BV) = X87 | SSE;
	ASSERT_EQ(0, fpu_set(&self->v, f));
	LOAD(save_all);
	vcpu_run_done(&self->v);
	EXPECT_EQ(0x27f, *(uint16_t *)area);
	EXPECT_EQ(0x3800, *(uint16_t *)(area + 2));
	EXPECT_EQ(0x9fc0, *(uint32_t *)(area + 4));
	EXPECT_EQ(0, memcmp(area + 16, f->region + ST(0), 10));
	EXPECT_EQ(0, memcmp(area + 32, f->region + XMM(0), 16));
	EXPECT_EQ(0, memcmp(area + 48, f->region + XMM(15), 16));
}

TEST_F(fpu, set_avx)
{
	struct cleave_fpu *f = self->f;
	uint8_t *area = self->vm.ram + GPA_AREA;

	if (!(self->xcr0 & AVX))
		SKIP(return, "no AVX");
	FIELD(f, uint16_t, FCW) = 0x37f;
	FIELD(f, uint32_t, MXCSR) = 0x1f80;
	for (int i = 0; i < 256; i++) {
		f->region[XMM(0) + i] = i ^ 0x5a;
		f->region[YMM_HIGH(0) + i] = i ^ 0xa5;
	}
	FIELD(f, uint64_t, XSTATE_BV) = X87 | SSE | AVX;
	ASSERT_EQ(0, fpu_set(&self->v, f));
	LOAD(save_avx);
	vcpu_run_done(&self->v);
	EXPECT_EQ(0, memcmp(area, f->region + XMM(0), 16));
	EXPECT_EQ(0, memcmp(area + 16, f->region + YMM_HIGH(0), 16));
	EXPECT_EQ(0, memcmp(area + 32, f->region + XMM(15), 16));
	EXPECT_EQ(0, memcmp(area + 48, f->region + YMM_HIGH(15), 16));
	/* A component that is not in XSTATE_BV takes its initial values. */
	FIELD(f, uint64_t, XSTATE_BV) = X87 | SSE;
	ASSERT_EQ(0, fpu_set(&self->v, f));
	LOAD(save_avx);
	vcpu_run_done(&self->v);
	EXPECT_EQ(0, memcmp(area, f->region + XMM(0), 16));
	for (int i = 16; i < 32; i++)
		EXPECT_EQ(0, area[i]);
}

/* Read, set to another VM's, and read there: the same, whatever is in it. */
TEST_F(fpu, read_and_set_elsewhere)
{
	struct vcpu v2;
	struct vm vm2;

	vm_create(&vm2, RAM_SIZE, 0);
	vcpu_create(&vm2, &v2, 0);
	for (int i = 0; i < 2; i++) {
		if (i && has_avx(self->xcr0)) {
			LOAD(keep_avx);
			seed(&self->v, 0x1234567812345678);
			vcpu_run_out(&self->v, 0x80);
		} else {
			LOAD(fill_legacy);
			vcpu_run_done(&self->v);
		}
		fpu_get(&self->v, self->f);
		for (int j = SOFTWARE; j < XSTATE_BV; j++)
			EXPECT_EQ(0, self->f->region[j]);
		EXPECT_EQ(0, FIELD(self->f, uint64_t, XCOMP_BV));
		ASSERT_EQ(0, fpu_set(&v2, self->f));
		fpu_get(&v2, self->g);
		EXPECT_EQ(0, memcmp(self->f, self->g, sizeof(*self->f)));
	}
	vcpu_destroy(&v2);
	vm_destroy(&vm2);
}

static void fpu_refused(struct __test_metadata *_metadata, FIXTURE_DATA(fpu) *self, int line)
{
	struct cleave_fpu *now = malloc(sizeof(*now));

	EXPECT_EQ(-EINVAL, fpu_set(&self->v, self->g)) {
		TH_LOG("line %d", line);
	}
	fpu_get(&self->v, now);
	EXPECT_EQ(0, memcmp(now, self->f, sizeof(*now))) {
		TH_LOG("line %d", line);
	}
	free(now);
	*self->g = *self->f;
	/* Another value of a register, so that a change would be seen. */
	FIELD(self->g, uint64_t, XMM(4)) ^= 0xff;
	FIELD(self->g, uint64_t, XSTATE_BV) |= SSE;
}

#define REFUSED	fpu_refused(_metadata, self, __LINE__)

TEST_F(fpu, set_refused)
{
	LOAD(fill_legacy);
	vcpu_run_done(&self->v);
	fpu_get(&self->v, self->f);
	*self->g = *self->f;
	for (int i = 0; i < 64; i++) {
		if (self->xcr0 >> i & 1)
			continue;
		FIELD(self->g, uint64_t, XSTATE_BV) |= 1ull << i;
		REFUSED;
	}
	FIELD(self->g, uint64_t, XCOMP_BV) = 1ull << 63;
	REFUSED;
	FIELD(self->g, uint64_t, XCOMP_BV) = 1;
	REFUSED;
	for (int i = 0; i < 48; i += 8) {
		FIELD(self->g, uint64_t, XRESERVED + i) = 1;
		REFUSED;
	}
	for (int i = 17; i < 32; i++) {
		FIELD(self->g, uint32_t, MXCSR) |= 1u << i;
		if (i == 17 && __builtin_cpu_supports("sse4a"))
			continue;	/* AMD's misaligned mode */
		REFUSED;
	}
	FIELD(self->g, uint32_t, MXCSR) = 0x1f80;
	EXPECT_EQ(0, fpu_set(&self->v, self->g));
}

/* ---- exceptions ----------------------------------------------------------------- */

/* Division by zero, unmasked: an error that waits in the FPU over an exit. */
GUEST(divide_by_zero, 64,
	"fninit\n\tmovw $0x37b, " S(GPA_AREA) "\n\tfldcw " S(GPA_AREA) "\n\t"
	"fld1\n\tfldz\n\tfdivrp\n\tout %al, $0x80\n\tfwait\n\t" G_DONE);

TEST_F(fpu, pending_exception)
{
	volatile double one = 1;

	LOAD(divide_by_zero);
	vcpu_run_out(&self->v, 0x80);
	/* It is not the owner's: SIGFPE would end this. */
	asm volatile("fninit\n\tfldl %0\n\tfwait\n\tfstpl %0" : "+m"(one));
	EXPECT_EQ(1, one);
	fpu_get(&self->v, self->f);
	EXPECT_EQ(0x8084, FIELD(self->f, uint16_t, FSW) & 0x80ff);
	vcpu_run_trap(&self->v, 16);
}

GUEST(task_switched, 64,
	"mov %cr0, %rax\n\tor $8, %eax\n\tmov %rax, %cr0\n\tmovaps %xmm0, %xmm1\n\t" G_DONE);

TEST_F(fpu, not_available)
{
	struct trap_frame *f;

	LOAD(task_switched);
	f = vcpu_run_trap(&self->v, 7);
	f->rip += 3;
	vcpu_run_done(&self->v);
}

TEST_HARNESS_MAIN
