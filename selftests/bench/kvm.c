// SPDX-License-Identifier: GPL-2.0
/*
 * A machine of KVM's, by linux/kvm.h alone: local APICs in the kernel and nothing else of a PC's
 * interrupts, as on cleave; CPUID with all that KVM offers, TSC deadline included.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "bench.h"

#define CPUID_MAX	256

static int kvm = -1;

static void vcpu_cpuid(int fd, unsigned int id)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof(*c) + CPUID_MAX * sizeof(c->entries[0]));

	c->nent = CPUID_MAX;
	MUST(ioctl(kvm, KVM_GET_SUPPORTED_CPUID, c));
	for (unsigned int i = 0; i < c->nent; i++) {
		struct kvm_cpuid_entry2 *e = &c->entries[i];

		if (e->function == 1) {
			e->ebx = (e->ebx & 0xffffff) | id << 24;
			e->ecx |= 1u << 21 | 1u << 24;	/* x2APIC, TSC deadline */
		} else if (e->function == 0xb) {
			e->edx = id;
		}
	}
	MUST(ioctl(fd, KVM_SET_CPUID2, c));
	free(c);
}

static void create(struct machine *m)
{
	struct kvm_userspace_memory_region slot = { .memory_size = RAM_SIZE };
	struct kvm_enable_cap split = { .cap = KVM_CAP_SPLIT_IRQCHIP, .args = { 24 } };
	size_t size;

	kvm = MUST(open("/dev/kvm", O_RDWR | O_CLOEXEC));
	size = MUST(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));
	m->vm.fd = MUST(ioctl(kvm, KVM_CREATE_VM, 0));
	MUST(ioctl(m->vm.fd, KVM_SET_TSS_ADDR, 0xfffbd000));
	MUST(ioctl(m->vm.fd, KVM_ENABLE_CAP, &split));
	m->vm.ram_size = RAM_SIZE;
	m->vm.ram = mem_alloc(RAM_SIZE, 4096);
	slot.userspace_addr = (uintptr_t)m->vm.ram;
	MUST(ioctl(m->vm.fd, KVM_SET_USER_MEMORY_REGION, &slot));
	vm_tables(&m->vm);
	for (unsigned int i = 0; i < m->vcpus_count; i++) {
		m->fd[i] = MUST(ioctl(m->vm.fd, KVM_CREATE_VCPU, i));
		m->run[i] = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, m->fd[i], 0);
		if (m->run[i] == MAP_FAILED)
			DIE("KVM's run page: errno %d", errno);
		vcpu_cpuid(m->fd[i], i);
	}
}

/* As vcpu_long() has it. */
static void set_sregs(int fd)
{
	struct kvm_segment cs = { .selector = SEL_CODE64, .limit = ~0u, .type = 0xb, .present = 1,
				  .s = 1, .l = 1, .g = 1 };
	struct kvm_segment data = { .selector = SEL_DATA, .limit = ~0u, .type = 3, .present = 1,
				    .s = 1, .db = 1, .g = 1 };
	struct kvm_sregs s;

	MUST(ioctl(fd, KVM_GET_SREGS, &s));
	s.cs = cs;
	s.ds = data;
	s.es = data;
	s.fs = data;
	s.gs = data;
	s.ss = data;
	s.tr = (struct kvm_segment){ .selector = SEL_TSS, .base = GPA_TSS, .limit = 0x67,
				     .type = 0xb, .present = 1 };
	s.ldt = (struct kvm_segment){ .unusable = 1 };
	s.gdt = (struct kvm_dtable){ .base = GPA_GDT, .limit = 0x4f };
	s.idt = (struct kvm_dtable){ .base = GPA_IDT, .limit = 0xfff };
	s.cr0 = CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG;
	s.cr3 = GPA_PML4;
	s.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	s.efer = EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE;
	s.apic_base |= APIC_BASE_ENABLE | APIC_BASE_X2APIC;
	MUST(ioctl(fd, KVM_SET_SREGS, &s));
}

static void start(struct machine *m, unsigned int vcpu, uint64_t rip, uint64_t rsi)
{
	struct kvm_regs regs = {
		.rflags = 2, .rip = rip, .rsi = rsi, .rsp = GPA_STACK + vcpu * 0x1000,
	};
	struct kvm_mp_state mp = { KVM_MP_STATE_RUNNABLE };

	set_sregs(m->fd[vcpu]);
	MUST(ioctl(m->fd[vcpu], KVM_SET_REGS, &regs));
	MUST(ioctl(m->fd[vcpu], KVM_SET_MP_STATE, &mp));
}

static int run(struct machine *m, unsigned int vcpu)
{
	const struct kvm_run *r = m->run[vcpu];

	int ret = xioctl(m->fd[vcpu], KVM_RUN, NULL);

	if (!ret && r->exit_reason == KVM_EXIT_IO)
		return r->io.port;
	if (ret == -EINTR)
		return ret;
	fprintf(stderr, "# KVM_RUN of vCPU %u: %d, exit %u\n", vcpu, ret, r->exit_reason);
	return -EIO;
}

static void destroy(struct machine *m)
{
	size_t size = MUST(ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0));

	for (unsigned int i = 0; i < m->vcpus_count; i++) {
		munmap(m->run[i], size);
		close(m->fd[i]);
	}
	close(m->vm.fd);
	close(kvm);
	munmap(m->vm.ram, m->vm.ram_size);
}

const struct hypervisor bench_kvm = { "KVM", create, start, run, destroy };
