// SPDX-License-Identifier: GPL-2.0
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>
#include "guest.h"

/* Exceptions that push an error code (SDM vol. 3A table 6-1). */
#define ERROR_CODE_VECTORS	0x60227d00u	/* 8, 10-14, 17, 21, 29, 30 */

GUEST(guest_handler, 64,
	"push %rax\n\t"
	"mov 8(%rsp), %rax\n\tmov %rax, " S(GPA_TRAP) "+8\n\t"
	"mov 16(%rsp), %rax\n\tmov %rax, " S(GPA_TRAP) "+16\n\t"
	"mov 24(%rsp), %rax\n\tmov %rax, " S(GPA_TRAP) "+24\n\t"
	"mov 32(%rsp), %rax\n\tmov %rax, " S(GPA_TRAP) "+32\n\t"
	"mov 40(%rsp), %rax\n\tmov %rax, " S(GPA_TRAP) "+40\n\t"
	"mov 48(%rsp), %rax\n\tmov %rax, " S(GPA_TRAP) "+48\n\t"
	"mov 56(%rsp), %rax\n\tmov %rax, " S(GPA_TRAP) "+56\n\t"
	"mov %cr2, %rax\n\tmov %rax, " S(GPA_TRAP) "+64\n\t"
	"lock incq " S(GPA_TRAP) "\n\t"
	"mov " S(GPA_TRAP) "+72, %rax\n\t"
	"test %rax, %rax\n\tjz 1f\n\t"
	"mov %rax, 24(%rsp)\n\t"
	"movq $0, " S(GPA_TRAP) "+72\n\t"
	"jmp 2f\n"
	"1:\tmov 8(%rsp), %rax\n\tout %al, $" S(PORT_TRAP) "\n"
	"2:\tpop %rax\n\tadd $16, %rsp\n\tiretq\n\t");

void die(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "# %s:%d: ", file, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	_exit(1);
}

int xioctl(int fd, unsigned long cmd, void *arg)
{
	int r = ioctl(fd, cmd, arg);

	return r < 0 ? -errno : r;
}

int dev_open(void)
{
	return MUST(open("/dev/cleave", O_RDWR | O_CLOEXEC));
}

struct cleave_info dev_info(void)
{
	struct cleave_info info;
	int fd = dev_open();

	MUST(ioctl(fd, CLEAVE_INFO, &info));
	close(fd);
	return info;
}

void *mem_alloc(size_t size, size_t align)
{
	uint8_t *p, *q;

	p = mmap(NULL, size + align, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		DIE("mmap of %zu bytes: errno %d", size, errno);
	q = (uint8_t *)(((uintptr_t)p + align - 1) & -align);
	if (q != p)
		munmap(p, q - p);
	if (p + align != q)
		munmap(q + size, p + align - q);
	return q;
}

void vm_create(struct vm *vm, size_t ram, uint64_t flags)
{
	struct cleave_create_vm args = { .flags = flags };
	int dev = dev_open();

	memset(vm, 0, sizeof(*vm));
	vm->fd = MUST(ioctl(dev, CLEAVE_CREATE_VM, &args));
	close(dev);
	if (!ram)
		return;
	vm->ram_size = ram;
	vm->ram = mem_alloc(ram, 4096);
	if (vm_slot(vm, 0, 0, 0, ram, vm->ram))
		DIE("slot 0 of %zu bytes refused", ram);
}

void vm_destroy(struct vm *vm)
{
	MUST(close(vm->fd));
	if (vm->ram)
		munmap(vm->ram, vm->ram_size);
}

int vm_slot(struct vm *vm, uint32_t slot, uint32_t flags, uint64_t gpa, uint64_t size, void *hva)
{
	struct cleave_slot args = {
		.slot = slot, .flags = flags, .gpa = gpa, .size = size, .hva = (uintptr_t)hva,
	};

	return xioctl(vm->fd, CLEAVE_SET_SLOT, &args);
}

void vm_load(struct vm *vm, uint64_t gpa, const void *code, size_t len)
{
	if (gpa + len > vm->ram_size)
		DIE("no memory for %zu bytes at %#llx", len, (unsigned long long)gpa);
	memcpy(vm->ram + gpa, code, len);
}

int vm_msi(struct vm *vm, uint64_t address, uint32_t data)
{
	struct cleave_msi msi = { .address = address, .data = data };

	return xioctl(vm->fd, CLEAVE_MSI, &msi);
}

void vm_gate(struct vm *vm, uint8_t vector, uint64_t handler, uint8_t ist, uint8_t dpl)
{
	uint64_t *gate = (uint64_t *)(vm->ram + GPA_IDT + vector * 16);

	gate[0] = (handler & 0xffff) | SEL_CODE64 << 16 | (uint64_t)ist << 32 |
		  (0x8e00ull | dpl << 13) << 32 | (handler & 0xffff0000) << 32;
	gate[1] = handler >> 32;
}

void vm_real_vector(struct vm *vm, uint8_t vector, uint16_t cs, uint16_t ip)
{
	uint16_t *ivt = (uint16_t *)(vm->ram + GPA_IVT);

	ivt[vector * 2] = ip;
	ivt[vector * 2 + 1] = cs;
}

static void write_stub(struct vm *vm, unsigned int vector)
{
	uint64_t gpa = GPA_STUBS + vector * 16;
	uint8_t *p = vm->ram + gpa;
	int rel;

	if (vector < 32 && ERROR_CODE_VECTORS >> vector & 1) {
		p[0] = 0x66;			/* two-byte NOP */
		p[1] = 0x90;
	} else {
		p[0] = 0x6a;			/* push $0 */
		p[1] = 0;
	}
	p[2] = 0x68;				/* push $vector */
	memcpy(p + 3, &vector, 4);
	p[7] = 0xe9;				/* jmp handler */
	rel = GPA_HANDLER - (gpa + 12);
	memcpy(p + 8, &rel, 4);
}

void vm_tables(struct vm *vm)
{
	static const uint64_t gdt[] = {
		0,
		0x00cf9b000000ffff,		/* code32 */
		0x00cf93000000ffff,		/* data */
		0x00af9b000000ffff,		/* code64 */
		0x00009b000000ffff,		/* code16 */
		0x000093000000ffff,		/* data16 */
		0x00affb000000ffff,		/* user code64 */
		0x00cff3000000ffff,		/* user data */
		0x00008b0000000067 | (uint64_t)GPA_TSS << 16,
		0,
	};
	uint64_t *pml4 = (uint64_t *)(vm->ram + GPA_PML4);
	uint64_t *pdpt = (uint64_t *)(vm->ram + GPA_PDPT);
	uint64_t *pd = (uint64_t *)(vm->ram + GPA_PD);
	uint64_t i, stack = GPA_STACK - 0x8000;

	memcpy(vm->ram + GPA_GDT, gdt, sizeof(gdt));
	memset(vm->ram + GPA_TSS, 0, 0x1000);
	memcpy(vm->ram + GPA_TSS + 4, &stack, 8);		/* RSP0 */
	stack -= 0x4000;
	memcpy(vm->ram + GPA_TSS + 36, &stack, 8);		/* IST1 */
	vm->ram[GPA_TSS + 102] = 0x68;				/* no I/O permission bits */
	memset(pml4, 0, 0x2000);
	pml4[0] = GPA_PDPT | 7;
	for (i = 0; i < 4; i++)
		pdpt[i] = (GPA_PD + i * 0x1000) | 7;
	for (i = 0; i < 2048; i++)
		pd[i] = i << 21 | 0x87;
	for (i = 0; i < 256; i++) {
		write_stub(vm, i);
		vm_gate(vm, i, GPA_STUBS + i * 16, 0, 3);
	}
	GUEST_LOAD(vm, GPA_HANDLER, guest_handler);
	memset(vm->ram + GPA_TRAP, 0, sizeof(struct trap));
}

void vcpu_create(struct vm *vm, struct vcpu *vcpu, uint32_t id)
{
	struct cleave_create_vcpu args = { .id = id };

	memset(vcpu, 0, sizeof(*vcpu));
	vcpu->vm = vm;
	vcpu->id = id;
	vcpu->run_size = dev_info().run_size;
	vcpu->fd = MUST(ioctl(vm->fd, CLEAVE_CREATE_VCPU, &args));
	vcpu->run = mmap(NULL, vcpu->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		DIE("mmap of the run page: errno %d", errno);
}

void vcpu_destroy(struct vcpu *vcpu)
{
	munmap(vcpu->run, vcpu->run_size);
	MUST(close(vcpu->fd));
}

void state_get(struct vcpu *vcpu, uint64_t groups, struct cleave_state *st)
{
	memset(st, 0, sizeof(*st));
	st->groups = groups;
	MUST(ioctl(vcpu->fd, CLEAVE_GET_STATE, st));
}

int state_set(struct vcpu *vcpu, uint64_t groups, struct cleave_state *st)
{
	st->groups = groups;
	return xioctl(vcpu->fd, CLEAVE_SET_STATE, st);
}

void state_must_set(struct vcpu *vcpu, uint64_t groups, struct cleave_state *st)
{
	int r = state_set(vcpu, groups, st);

	if (r)
		DIE("CLEAVE_SET_STATE of groups %#llx: %d", (unsigned long long)groups, r);
}

void regs_get(struct vcpu *vcpu, struct cleave_regs *regs)
{
	struct cleave_state st;

	state_get(vcpu, CLEAVE_REGS, &st);
	*regs = st.regs;
}

void regs_set(struct vcpu *vcpu, const struct cleave_regs *regs)
{
	struct cleave_state st = { .regs = *regs };

	state_must_set(vcpu, CLEAVE_REGS, &st);
}

void rip_set(struct vcpu *vcpu, uint64_t rip)
{
	struct cleave_regs regs;

	regs_get(vcpu, &regs);
	regs.rip = rip;
	regs_set(vcpu, &regs);
}

static int msr_access(struct vcpu *vcpu, unsigned long cmd, uint32_t index, uint64_t *val)
{
	struct cleave_msrs *m = calloc(1, sizeof(*m));
	int r;

	m->count = 1;
	m->entries[0].index = index;
	m->entries[0].value = *val;
	r = xioctl(vcpu->fd, cmd, m);
	*val = m->entries[0].value;
	free(m);
	return r;
}

int msr_get(struct vcpu *vcpu, uint32_t index, uint64_t *val)
{
	*val = 0;
	return msr_access(vcpu, CLEAVE_GET_MSRS, index, val);
}

int msr_set(struct vcpu *vcpu, uint32_t index, uint64_t val)
{
	return msr_access(vcpu, CLEAVE_SET_MSRS, index, &val);
}

static struct cleave_segment segment(uint16_t sel, uint64_t base, uint32_t limit, uint32_t ar)
{
	return (struct cleave_segment){ .selector = sel, .base = base, .limit = limit, .ar = ar };
}

static void set_mode(struct vcpu *vcpu, struct cleave_state *st, struct cleave_segment cs,
		     struct cleave_segment data)
{
	struct cleave_sregs *s = &st->sregs;

	s->cs = cs;
	s->ds = data;
	s->es = data;
	s->fs = data;
	s->gs = data;
	s->ss = data;
	s->ldt = segment(0, 0, 0, CLEAVE_AR_UNUSABLE);
	s->cr2 = 0;
	s->cr8 = 0;
	state_must_set(vcpu, CLEAVE_REGS | CLEAVE_SREGS, st);
}

static void start_mode(struct vcpu *vcpu, struct cleave_state *st, uint64_t rip)
{
	state_get(vcpu, CLEAVE_REGS | CLEAVE_SREGS, st);
	memset(&st->regs, 0, sizeof(st->regs));
	st->regs.rip = rip;
	st->regs.rsp = GPA_STACK + vcpu->id * 0x1000;
	st->regs.rflags = 2;
}

void vcpu_real(struct vcpu *vcpu, uint16_t cs, uint16_t ip)
{
	struct cleave_state st;

	start_mode(vcpu, &st, ip);
	st.regs.rsp = 0xfff0;
	st.sregs.cr0 = CR0_ET;
	st.sregs.cr3 = 0;
	st.sregs.cr4 = 0;
	st.sregs.efer = 0;
	st.sregs.gdt = (struct cleave_dtable){ .limit = 0xffff };
	st.sregs.idt = (struct cleave_dtable){ .limit = 0x3ff };
	st.sregs.tr = segment(0, 0, 0xffff, 0x8b);
	set_mode(vcpu, &st, segment(cs, (uint64_t)cs << 4, 0xffff, 0x9b),
		 segment(0, 0, 0xffff, 0x93));
}

void vcpu_protected(struct vcpu *vcpu, uint32_t eip)
{
	struct cleave_state st;

	start_mode(vcpu, &st, eip);
	st.sregs.cr0 = CR0_PE | CR0_ET | CR0_NE;
	st.sregs.cr3 = 0;
	st.sregs.cr4 = 0;
	st.sregs.efer = 0;
	st.sregs.gdt = (struct cleave_dtable){ .base = GPA_GDT, .limit = 0x4f };
	st.sregs.idt = (struct cleave_dtable){ .base = 0, .limit = 0 };
	st.sregs.tr = segment(SEL_TSS, GPA_TSS, 0x67, 0x8b);
	set_mode(vcpu, &st, segment(SEL_CODE32, 0, 0xffffffff, 0xc09b),
		 segment(SEL_DATA, 0, 0xffffffff, 0xc093));
}

void vcpu_long(struct vcpu *vcpu, uint64_t rip)
{
	struct cleave_state st;

	start_mode(vcpu, &st, rip);
	st.sregs.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	st.sregs.cr3 = GPA_PML4;
	st.sregs.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	st.sregs.efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
	st.sregs.gdt = (struct cleave_dtable){ .base = GPA_GDT, .limit = 0x4f };
	st.sregs.idt = (struct cleave_dtable){ .base = GPA_IDT, .limit = 0xfff };
	st.sregs.tr = segment(SEL_TSS, GPA_TSS, 0x67, 0x8b);
	set_mode(vcpu, &st, segment(SEL_CODE64, 0, 0xffffffff, 0xa09b),
		 segment(SEL_DATA, 0, 0xffffffff, 0xc093));
}

void vcpu_x2apic(struct vcpu *vcpu)
{
	struct cleave_state st;

	state_get(vcpu, CLEAVE_SREGS, &st);
	st.sregs.apic_base |= APIC_BASE_ENABLE | APIC_BASE_X2APIC;
	state_must_set(vcpu, CLEAVE_SREGS, &st);
	if (msr_set(vcpu, 0x80f, 0x1ff))
		DIE("x2APIC SVR of vCPU %u refused", vcpu->id);
}

int vcpu_run(struct vcpu *vcpu)
{
	return xioctl(vcpu->fd, CLEAVE_RUN, NULL);
}

void recorder_dump(struct vcpu *vcpu)
{
	struct cleave_recorder *rec = mmap(NULL, sizeof(*rec), PROT_READ, MAP_SHARED, vcpu->fd, 4096);

	if (rec == MAP_FAILED)
		return;
	for (uint64_t i = rec->count < 12 ? 0 : rec->count - 12; i < rec->count; i++) {
		const struct cleave_record *e = &rec->records[i % CLEAVE_RECORDS];

		fprintf(stderr, "#  %llu tsc %llu rip %#llx kind %u reason %#llx %#llx %#llx detail %#llx"
			" exit %u entered %u:%u raised %u:%u\n", (unsigned long long)i, e->tsc, e->rip,
			e->kind, e->raw_reason, e->raw_info[0], e->raw_info[1], e->detail, e->exit,
			e->entered_type, e->entered_vector, e->raised, e->raised_vector);
	}
	munmap(rec, sizeof(*rec));
}

void vcpu_dump(struct vcpu *vcpu)
{
	struct cleave_run *r = vcpu->run;

	fprintf(stderr, "# vCPU %u: exit %u raw %#llx info %#llx %#llx rip %#llx rax %#llx rsp %#llx\n",
		vcpu->id, r->exit, r->raw_reason, r->raw_info[0], r->raw_info[1], r->rip,
		r->regs.rax, r->regs.rsp);
	if (r->exit == CLEAVE_EXIT_SHUTDOWN || r->exit == CLEAVE_EXIT_MMIO ||
	    r->exit == CLEAVE_EXIT_REFUSED)
		recorder_dump(vcpu);
	if (r->exit == CLEAVE_EXIT_IO)
		fprintf(stderr, "#  port %#x size %u flags %#x data %#x\n", r->io.port, r->io.size,
			r->io.flags, r->io.data);
	if (r->exit == CLEAVE_EXIT_MMIO || r->exit == CLEAVE_EXIT_INSN)
		fprintf(stderr, "#  gpa %#llx flags %#x\n", r->mmio.gpa, r->mmio.flags);
	if (r->exit == CLEAVE_EXIT_FAULT)
		fprintf(stderr, "#  gpa %#llx hva %#llx flags %#x error %u\n", r->fault.gpa,
			r->fault.hva, r->fault.flags, r->fault.error);
	if (r->exit == CLEAVE_EXIT_MSR)
		fprintf(stderr, "#  msr %#x flags %#x\n", r->msr.index, r->msr.flags);
	if (r->exit == CLEAVE_EXIT_REFUSED)
		fprintf(stderr, "#  %.47s: %.63s: %.127s: %#llx\n", r->refused.section,
			r->refused.field, r->refused.legal, r->refused.value);
	if (r->exit == CLEAVE_EXIT_IO && r->io.port == PORT_TRAP && vcpu->vm->ram_size) {
		struct trap *t = vm_trap(vcpu->vm);

		fprintf(stderr, "#  exception %llu error %#llx rip %#llx rflags %#llx cr2 %#llx\n",
			(unsigned long long)t->vector, (unsigned long long)t->error,
			(unsigned long long)t->rip, (unsigned long long)t->rflags,
			(unsigned long long)t->cr2);
	}
}

void vcpu_run_exit(struct vcpu *vcpu, uint32_t exit)
{
	int r = vcpu_run(vcpu);

	if (!r && vcpu->run->exit == exit)
		return;
	vcpu_dump(vcpu);
	DIE("expected exit %u, CLEAVE_RUN gave %d with exit %u", exit, r, vcpu->run->exit);
}

uint32_t vcpu_run_out(struct vcpu *vcpu, uint16_t port)
{
	vcpu_run_exit(vcpu, CLEAVE_EXIT_IO);
	if (vcpu->run->io.port != port || vcpu->run->io.flags != CLEAVE_ACCESS_WRITE) {
		vcpu_dump(vcpu);
		DIE("expected OUT to port %#x", port);
	}
	return vcpu->run->io.data;
}

uint32_t vcpu_run_done(struct vcpu *vcpu)
{
	return vcpu_run_out(vcpu, PORT_DONE);
}

struct trap_frame *vcpu_run_trap(struct vcpu *vcpu, uint8_t vector)
{
	uint32_t got = vcpu_run_out(vcpu, PORT_TRAP);
	struct cleave_regs regs;

	if (got != vector) {
		vcpu_dump(vcpu);
		DIE("expected exception %u, got %u", vector, got);
	}
	regs_get(vcpu, &regs);
	return (struct trap_frame *)(vcpu->vm->ram + regs.rsp);
}

/* RDX: 0 read, 1 write, 2 fill, 3 check; RBX address, RCX value, RSI size. */
GUEST(guest_access, 64,
	"cmp $1, %edx\n\tje 1f\n\tja 2f\n\t"
	"mov (%rbx), %rax\n\t" G_DONE
	"1:\tmov %rcx, (%rbx)\n\t" G_DONE
	"2:\txor %eax, %eax\n\tcmp $3, %edx\n\tje 4f\n"
	"3:\tmov %rcx, (%rbx)\n\tinc %rcx\n\tadd $0x1000, %rbx\n\t"
	"sub $0x1000, %rsi\n\tja 3b\n\t" G_DONE
	"4:\tcmp %rcx, (%rbx)\n\tje 5f\n\tinc %rax\n"
	"5:\tinc %rcx\n\tadd $0x1000, %rbx\n\t"
	"sub $0x1000, %rsi\n\tja 4b\n\t" G_DONE "ud2\n\t");

void access_prepare(struct vcpu *vcpu)
{
	GUEST_LONG(vcpu, guest_access);
}

static uint32_t access_run(struct vcpu *vcpu, uint64_t op, uint64_t gpa, uint64_t size,
			   uint64_t val)
{
	struct cleave_regs regs;
	int r;

	regs_get(vcpu, &regs);
	regs.rip = GPA_CODE;
	regs.rdx = op;
	regs.rbx = gpa;
	regs.rcx = val;
	regs.rsi = size;
	regs_set(vcpu, &regs);
	r = vcpu_run(vcpu);
	if (r)
		DIE("CLEAVE_RUN of an access to %#llx: %d", (unsigned long long)gpa, r);
	if (vcpu->run->exit == CLEAVE_EXIT_IO && vcpu->run->io.port != PORT_DONE) {
		vcpu_dump(vcpu);
		DIE("the access to %#llx went astray", (unsigned long long)gpa);
	}
	return vcpu->run->exit;
}

uint32_t guest_read(struct vcpu *vcpu, uint64_t gpa, uint64_t *val)
{
	uint32_t exit = access_run(vcpu, 0, gpa, 0, 0);

	*val = vcpu->run->regs.rax;
	return exit;
}

uint32_t guest_write(struct vcpu *vcpu, uint64_t gpa, uint64_t val)
{
	return access_run(vcpu, 1, gpa, 0, val);
}

uint32_t guest_fill(struct vcpu *vcpu, uint64_t gpa, uint64_t size, uint64_t val)
{
	return access_run(vcpu, 2, gpa, size, val);
}

uint32_t guest_check(struct vcpu *vcpu, uint64_t gpa, uint64_t size, uint64_t val, uint64_t *bad)
{
	uint32_t exit = access_run(vcpu, 3, gpa, size, val);

	*bad = vcpu->run->regs.rax;
	return exit;
}

static void *runner_main(void *arg)
{
	struct runner *r = arg;

	while (!r->stop) {
		int e = vcpu_run(r->vcpu);

		if (e == -EINTR)
			continue;
		r->error = e;
		r->exits++;
		if (e || (r->exit && r->exit(r->vcpu, r->arg)))
			break;
	}
	return NULL;
}

void runner_start(struct runner *r, struct vcpu *vcpu,
		  int (*exit)(struct vcpu *vcpu, void *arg), void *arg)
{
	memset(r, 0, sizeof(*r));
	r->vcpu = vcpu;
	r->exit = exit;
	r->arg = arg;
	if (pthread_create(&r->thread, NULL, runner_main, r))
		DIE("no thread");
}

void runner_wait(struct runner *r)
{
	pthread_join(r->thread, NULL);
}

void runner_stop(struct runner *r)
{
	r->stop = true;
	MUST(ioctl(r->vcpu->fd, CLEAVE_KICK));
	pthread_join(r->thread, NULL);
}

uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	MUST(sched_setaffinity(0, sizeof(set), &set));
}

bool cpu_online(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	return !sched_getaffinity(0, sizeof(set), &set) && CPU_ISSET(cpu, &set);
}
