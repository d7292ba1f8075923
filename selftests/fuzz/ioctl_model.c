// SPDX-License-Identifier: GPL-2.0
/* What a sensible argument is, what the memory holds, and which programs guests run. */
#define _GNU_SOURCE
#include <string.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "ioctl.h"

#define COUNT_OF(a)	(sizeof(a) / sizeof((a)[0]))
#define ALL_GROUPS	127
#define APIC_ID		0x20
#define APIC_LDR	0xd0

/*
 * Does what the bytes at GPA_DATA say, for ever: a byte for what, then its numbers. The second
 * entry, two bytes on, goes on where it was.
 */
GUEST(fuzz_script, 64,
	"jmp 2f\n"
	"1:\tand $0xfff, %esi\n\tor $" S(GPA_DATA) ", %esi\n\tcld\n\t"
	"xor %eax, %eax\n\tlodsb\n\tand $15, %eax\n\tshl $6, %eax\n\t"
	"lea 3f(%rip), %r15\n\tadd %rax, %r15\n\tjmp *%r15\n"
	"2:\tmov $" S(GPA_DATA) ", %esi\n\tjmp 1b\n\t"
#define DO(code)	".balign 64\n\t" code "\n\tjmp 1b\n\t"
	".balign 64\n3:\t"
	DO("lodsl\n\tand $0x8000003f, %eax\n\txor %ecx, %ecx\n\tcpuid")
	DO("lodsw\n\tmov %eax, %edx\n\tout %eax, %dx")
	DO("lodsw\n\tmov %eax, %edx\n\tin %dx, %eax")
	DO("lodsl\n\tmov %eax, %ecx\n\trdmsr")
	DO("lodsl\n\tmov %eax, %ecx\n\tlodsl\n\txor %edx, %edx\n\twrmsr")
	DO("lodsb\n\tvmmcall")
	DO("sti\n\thlt")
	DO("lodsl\n\tmov (%rax), %ebx")
	DO("lodsl\n\tmov %ecx, (%rax)")
	DO("mov $5000, %ecx\n4:\tpause\n\tloop 4b")
	DO("lodsl\n\tand $0xff0, %eax\n\tor $0xfee00000, %eax\n\tmov %ebx, (%rax)")
	DO("lodsl\n\tmov %cr4, %rcx\n\txor %rax, %rcx\n\tmov %rcx, %cr4\n\tmov %cr3, %rax\n\tmov %rax, %cr3")
	DO("int3")
	DO("lodsw\n\tmov %eax, %edx\n\tpush %rsi\n\tmov $4, %ecx\n\trep outsb\n\tpop %rsi")
	DO("lodsb\n\ttest $15, %al\n\tjnz 1b\n\tpush %rax\n\tpushq $0\n\tlidt (%rsp)\n\tud2")
	DO("lodsb\n\tor $1, %eax\n\tmovzbl %al, %eax\n\txor %ecx, %ecx\n\txor %edx, %edx\n\txsetbv"));

/* Two bytes that do nothing, as they have one entry. */
#define TWO	"xchg %ax, %ax\n\t"
GUEST(fuzz_spin, 64, TWO "1:\tlock incq " S(GPA_DATA) "\n\tjmp 1b\n\t");
GUEST(fuzz_touch, 64,
	TWO "2:\tmov $0x100000, %ebx\n1:\tincl (%rbx)\n\tadd $0x1000, %ebx\n\t"
	"cmp $0x1240000, %ebx\n\tjb 1b\n\tjmp 2b\n\t");
GUEST(fuzz_cpuid, 64, TWO "1:\txor %eax, %eax\n\tcpuid\n\tjmp 1b\n\t");
GUEST(fuzz_halt, 64, TWO "1:\tsti\n\thlt\n\tjmp 1b\n\t");
GUEST(fuzz_die, 64, "push $0\n\tpush $0\n\tlidt (%rsp)\n\tud2\n\t");
GUEST(fuzz_junk, 64, ".byte 0xf4, 0x0f, 0x01, 0xd1, 0xcd, 0x80, 0x0f, 0x30, 0x0f, 0x32, 0x0f, 0xae, 0xf0, 0xe6, 0x80\n\t");
GUEST(fuzz_eoi, 64,
	TWO "1:\tmov $0x80b, %ecx\n\txor %eax, %eax\n\txor %edx, %edx\n\twrmsr\n\tsti\n\tnop\n\tnop\n\tcli\n\t"
	"jmp 1b\n\t");

static const struct {
	const char *code, *end;
} programs[] = {
#define PROGRAM(name)	{ name, name##_end }
	PROGRAM(fuzz_script), PROGRAM(fuzz_spin), PROGRAM(fuzz_touch), PROGRAM(fuzz_cpuid),
	PROGRAM(fuzz_halt), PROGRAM(fuzz_die), PROGRAM(fuzz_junk), PROGRAM(fuzz_eoi),
};

static uint8_t image[GPA_CODE + 0x1000];	/* tables and handlers */
static struct cleave_state states[8];
static struct cleave_cpuid cpuid;
static bool vmx;

/* What is unknown or refused is for the patches. */
static const uint32_t msrs[] = {
	0x10, 0x1b, 0x174, 0x175, 0x176, 0x277, 0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083,
	0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102, 0x1a0, 0x8b, 0xfe, 0x200, 0x250, 0x2ff,
	0x3b, 0x48, 0x49, 0x179, 0x17a, 0x6e0, 0xc0000103, 0xc0010015, 0x802, 0x808, 0x80b, 0x80f,
	0x830, 0x832, 0x838, 0x83e, 0x83f, 0x1d9, 0xc0010117, 0x11, 0x12, 0x4b564d00,
};
#define SAFE_MSRS	14	/* of them, that each CPU has */

static void capture(struct vcpu *v, int i)
{
	struct cleave_state *st = &states[i];

	state_get(v, ALL_GROUPS, st);
	st->lapic.regs[APIC_LDR / 4] = 0;
	st->mp.state = CLEAVE_MP_RUNNABLE;
}

void model_init(void)
{
	struct vm tables = { .ram = image, .ram_size = sizeof(image) }, vm;
	struct vcpu v;

	vmx = dev_info().vendor == CLEAVE_VENDOR_VMX;
	world.dev = dev_open();
	/* Out of reach of calls that close what they guess. */
	for (int i = 0; i < EVENTS; i++)
		world.event[i] = MUST(fcntl(MUST(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)),
					    F_DUPFD_CLOEXEC, 220));
	MUST(ioctl(world.dev, CLEAVE_GET_CPUID, &cpuid));
	vm_tables(&tables);
	vm_create(&vm, 0, 0);
	vcpu_create(&vm, &v, 0);
	capture(&v, 7);
	vcpu_real(&v, GPA_CODE >> 4, 0);
	capture(&v, 3);
	vcpu_protected(&v, GPA_CODE);
	capture(&v, 4);
	vcpu_long(&v, GPA_CODE);
	capture(&v, 1);
	vcpu_x2apic(&v);
	capture(&v, 2);
	states[2].regs.rflags |= RFLAGS_IF;
	states[5] = states[1];
	states[5].regs.rflags |= RFLAGS_TF;
	states[5].debug.dr7 |= 0x2aa;
	states[6] = states[4];
	states[6].sregs.cr0 |= CR0_PG;
	states[6].sregs.cr4 |= CR4_PAE;
	states[6].sregs.cr3 = GPA_PDPT;
	states[0] = states[1];
	vcpu_destroy(&v);
	vm_destroy(&vm);
}

static void *place(uint64_t at, size_t size, int fd, int flags)
{
	void *p = mmap((void *)at, size, PROT_READ | PROT_WRITE, flags | MAP_FIXED, fd, 0);

	if (p == MAP_FAILED)
		DIE("mmap at %#llx: errno %d", (unsigned long long)at, errno);
	return p;
}

void model_code(unsigned int which)
{
	uint8_t *to = (uint8_t *)RAM + GPA_CODE;
	size_t size;

	which %= COUNT_OF(programs);
	size = programs[which].end - programs[which].code;
	memcpy(to, programs[which].code, size);
	/* VMCALL for VMMCALL. */
	for (size_t i = 0; vmx && i + 2 < size; i++)
		if (to[i] == 0x0f && to[i + 1] == 0x01 && to[i + 2] == 0xd9)
			to[i + 2] = 0xc1;
}

static void put32(uint8_t **p, uint32_t val)
{
	memcpy(*p, &val, 4);
	*p += 4;
}

void model_script(uint64_t seed)
{
	static const uint32_t addresses[] = {
		0x100000, 0x3ff000, 0x400000, 0x600000, 0x7ff000, 0x1000000, 0x1100000, 0x1200000,
		0x1201000, 0xfee00020, 0xfee000b0, 0x80000000, GPA_DATA, GPA_PML4, GPA_IDT,
	};
	static const uint16_t ports[] = { PORT_DONE, PORT_TRAP, 0x80, 0x3f8, 0xcf8, 0x60, 0 };
	uint8_t *p = (uint8_t *)RAM + GPA_DATA, *end = p + 0xff0;
	struct rng r = { .x = seed | 1 };

	while (p < end) {
		uint8_t what = rng_next(&r) >> 40 & 15;

		*p++ = what;
		if (what == 1 || what == 2 || what == 13) {
			memcpy(p, &ports[rng_next(&r) % COUNT_OF(ports)], 2);
			p += 2;
		} else if (what == 3 || what == 4) {
			/* One in four that nobody knows. */
			put32(&p, rng_next(&r) >> 62 ? msrs[rng_next(&r) % COUNT_OF(msrs)] :
						       0x4b564d00);
			if (what == 4)
				put32(&p, rng_next(&r) >> rng_next(&r) % 64);
		} else if (what == 7 || what == 8) {
			put32(&p, addresses[rng_next(&r) % COUNT_OF(addresses)] +
				  rng_next(&r) % 0x10 * 0x100);
		} else if (what == 0 || what == 10 || what == 11) {
			put32(&p, rng_next(&r) >> 32);
		} else if (what == 5 || what == 14 || what == 15) {
			*p++ = rng_next(&r) >> 20;
		}
	}
}

void model_memory(void)
{
	MUST(ftruncate(world.memfd, FILE_SIZE));
	place(ARENA, ARENA_SIZE, -1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE);
	memcpy((void *)RAM, image, sizeof(image));
	place(FILE_MEM, FILE_SIZE, world.memfd, MAP_SHARED);
	place(PRIVATE_MEM, FILE_SIZE, world.memfd, MAP_PRIVATE);
	model_code(0);
	model_script(1);
}

static void arg_slot(const struct op *op, struct cleave_slot *s)
{
	static const struct cleave_slot kinds[] = {
		{ .gpa = 0, .size = RAM_SIZE, .hva = RAM },
		{ .gpa = 0x400000, .size = BIG_SIZE, .hva = BIG },
		{ .gpa = 0x1000000, .size = FILE_SIZE, .hva = FILE_MEM, .flags = CLEAVE_SLOT_READONLY },
		{ .gpa = 0x1100000, .size = FILE_SIZE, .hva = PRIVATE_MEM },
		{ .gpa = 0x2000000000, .size = ARENA_SIZE, .hva = ARENA },
		/* All that the process has there. */
		{ .gpa = 0x4000000000, .size = 0x4000000000, .flags = CLEAVE_SLOT_READONLY },
		{ .gpa = 0x1200000, .size = RUN_STRIDE, .hva = RUN_PAGES },
		{ .size = 0 },
		{ .gpa = 0x401000, .size = BIG_SIZE - 0x2000, .hva = BIG },
		{ .gpa = 0xfee00000, .size = 0x1000, .hva = RAM + 0x100000 },
	};

	*s = kinds[op->base % COUNT_OF(kinds)];
	s->slot = op->a;
}

static void arg_msi(const struct op *op, struct cleave_msi *m)
{
	static const uint32_t modes[] = { 0, 0, 0, 0x100, MSI_NMI, MSI_INIT, MSI_SIPI, MSI_LEVEL };
	uint32_t mode = modes[op->base % COUNT_OF(modes)];

	m->address = MSI_ADDRESS(op->a & 1) | (op->a >> 8 & 0xc & -(op->a >> 60 == 0));
	m->data = mode | (mode == MSI_SIPI ? GPA_CODE >> 12 : 0x20 + (op->a >> 16) % 0xe0);
}

/* 0 to 3 assign, 4 with a line to sample again, 5 takes out. One in 4 signals, one in 16 closes. */
static void arg_irqfd(const struct op *op, struct cleave_irqfd *a)
{
	int event = world.event[op->a % EVENTS], fresh;

	a->fd = event;
	if (op->a >> 32 & 2)
		eventfd_write(event, 1);
	if (!(op->a >> 34 & 15)) {
		fresh = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		dup2(fresh, event);
		close(fresh);
	}
	if (op->base == 5) {
		a->flags = CLEAVE_IRQFD_DEASSIGN;
		return;
	}
	a->address = MSI_ADDRESS(op->a >> 8 & 1);
	a->data = 0x20 + (op->a >> 16) % 0xe0;
	if (op->base != 4)
		return;
	a->data |= MSI_LEVEL;
	a->flags = CLEAVE_IRQFD_RESAMPLE;
	a->resample_fd = world.event[(op->a >> 2) % EVENTS];
}

/* Where guests write: ports for odd base, memory for even; 5 and 6 take out. */
static void arg_ioeventfd(const struct op *op, struct cleave_ioeventfd *a)
{
	static const uint64_t where[][2] = {
		{ 0x80000000, PORT_DONE }, { 0x1000000, 0x80 }, { 0x80000100, 0x3f8 },
		{ 0x1201000, 0xcf8 }, { 0x80000200, 0x60 }, { 0x80000300, PORT_TRAP },
	};

	a->address = where[op->a % COUNT_OF(where)][op->base & 1];
	a->flags = op->base & 1 ? CLEAVE_IOEVENTFD_PIO : 0;
	a->size = op->a >> 8 & 4;
	if (a->size && (op->a >> 16 & 1)) {
		a->flags |= CLEAVE_IOEVENTFD_DATAMATCH;
		a->data = op->a >> 24 & 3;
	}
	if (op->base == 5 || op->base == 6)
		a->flags |= CLEAVE_IOEVENTFD_DEASSIGN;
	else
		a->fd = world.event[(op->a >> 32) % EVENTS];
}

static void arg_state(const struct op *op, struct cleave_state *st, int fd)
{
	uint32_t id = op->obj % VCPUS;

	*st = states[op->base % COUNT_OF(states)];
	if (op->base % COUNT_OF(states) == 0) {
		st->groups = ALL_GROUPS;
		if (ioctl(fd, CLEAVE_GET_STATE, st))
			*st = states[0];
	} else {
		id = world.id[id];
		st->lapic.regs[APIC_ID / 4] = id << 24;
		if (id)
			st->sregs.apic_base &= ~0x100ull;
		st->regs.rsp += id << 12;
	}
	st->groups = op->a & ALL_GROUPS;
}

static void arg_msrs(const struct op *op, struct cleave_msrs *m, int fd)
{
	uint32_t n = op->base < 4 ? SAFE_MSRS : COUNT_OF(msrs);

	m->count = op->base == 7 ? CLEAVE_MAX_MSRS : 1 + (op->a & 7);
	for (uint32_t i = 0; i < m->count; i++)
		m->entries[i].index = msrs[((op->a >> 8) % n + i) % n];
	/* What is there is what can be set. */
	if (op->kind == OP_SET_MSRS)
		ioctl(fd, CLEAVE_GET_MSRS, m);
}

static void arg_cpuid(const struct op *op, struct cleave_cpuid *c)
{
	struct cleave_cpuid_entry *e = &cpuid.entries[op->a % cpuid.count];

	*c = cpuid;
	e = &c->entries[op->a % c->count];
	if (op->base == 4)
		c->count = op->a % (c->count + 1);
	else if (op->base == 5)
		*e = c->entries[--c->count];
	else if (op->base == 6)
		(&e->eax)[op->a >> 32 & 3] &= op->a >> 16;
	else if (op->base == 7)
		e->leaf = cpuid.entries[0].leaf;
}

/* The arguments that fit in a line. */
static void arg_small(const struct op *op, void *buf)
{
	struct cleave_lapic_access *la = buf;

	switch (op->kind) {
	case OP_CREATE_VM:
		((struct cleave_create_vm *)buf)->flags = op->a;
		break;
	case OP_CREATE_VCPU:
		((struct cleave_create_vcpu *)buf)->id = op->a;
		break;
	case OP_GET_STATE:
		((struct cleave_state *)buf)->groups = op->a;
		break;
	case OP_LAPIC_ACCESS:
		la->offset = op->a & (op->base < 6 ? 0x3f0 : 0xff0);
		la->write = op->a >> 12 & 1;
		la->value = op->a >> 16;
		break;
	case OP_FREEZE:
		((struct cleave_freeze *)buf)->frozen = op->a & 1;
		break;
	}
}

size_t model_arg(const struct op *op, void *buf, int fd)
{
	size_t size = _IOC_SIZE(op_info[op->kind].cmd);

	memset(buf, 0, size);
	switch (op->kind) {
	case OP_SET_SLOT:
		arg_slot(op, buf);
		break;
	case OP_MSI:
		arg_msi(op, buf);
		break;
	case OP_IRQFD:
		arg_irqfd(op, buf);
		break;
	case OP_IOEVENTFD:
		arg_ioeventfd(op, buf);
		break;
	case OP_SET_STATE:
		arg_state(op, buf, fd);
		break;
	case OP_SET_FPU:
		ioctl(fd, CLEAVE_GET_FPU, buf);
		break;
	case OP_GET_MSRS:
	case OP_SET_MSRS:
		arg_msrs(op, buf, fd);
		break;
	case OP_SET_CPUID:
		arg_cpuid(op, buf);
		break;
	default:
		arg_small(op, buf);
	}
	for (int i = 0; i < op->patches; i++)
		if (op->patch[i].off + op->patch[i].size <= size)
			memcpy((uint8_t *)buf + op->patch[i].off, &op->patch[i].val, op->patch[i].size);
	return size;
}
