/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What tests need of the host: the module itself, sysfs, and waiting for
 * something with a limit. And guest code that several tests share.
 */
#ifndef SELFTESTS_HOST_H
#define SELFTESTS_HOST_H

#include <stdlib.h>
#include "guest.h"

#define MS	1000000ull		/* in ns */
#define SEC	1000000000ull

/* Waits at most ms milliseconds; is the condition true then? */
#define WAIT_FOR(cond, ms) ({						\
	uint64_t until_ = now_ns() + (ms) * MS * patience();		\
	while (!(cond) && now_ns() < until_)				\
		nap_us(200);						\
	!!(cond); })

/*
 * Is there a round of work that costs less than kib of free memory, once all is
 * given back? A leak of that much a round shows in each of them; what else
 * lives on the host takes and gives as it likes.
 */
#define MEMORY_RETURNS(kib, rounds, work) ({				\
	bool back_ = false;						\
	for (int round_ = 0; round_ < (rounds) && !back_; round_++) {	\
		long free_ = mem_free_kib();			\
		work;							\
		back_ = WAIT_FOR(free_ - mem_free_kib() < (kib), 2000);	\
	}								\
	back_; })

/*
 * SKIP() for a FIXTURE_SETUP, where the harness of 6.1 would run the test all the same, with what
 * there is of the fixture, and then call it skipped even if it has failed. 255 is how a test's
 * process says so. No teardown follows.
 */
#define SKIP_SETUP(...)	SKIP(exit(255), __VA_ARGS__)

/* How many times longer than a plain kernel's host this one may take: $PATIENCE. */
unsigned int patience(void);
void nap_us(unsigned int us);
int file_write(const char *path, const char *text);	/* 0 or -errno */
long file_number(const char *path);			/* -1: none there */
long mem_free_kib(void);				/* with what CPUs keep at hand */
/*
 * Puts the calling process in a cgroup of its own, where what the kernel allocates for it and its
 * children is counted: pages and slabs, to the byte, whenever they are given back. The counters of
 * each CPU are added up every other second, which kernel_bytes() waits for.
 */
int own_cgroup(void);			/* 0 or -errno */
/*
 * The kernel sums the counters up every two seconds, or later if it has no time; and at once when
 * they are read after thousands of changes, which this makes.
 */
void cgroup_settle(void);
long kernel_bytes(void);

/* The module; -errno as the kernel says. */
bool module_there(void);
long module_refs(void);
int module_load(void);			/* from $CLEAVE_KO, or /cleave.ko */
int module_unload(void);

/*
 * The host's own modules, from $CLEAVE_MODULES, or /modules: 0, also if it is there already, or
 * -errno, which is -ENOENT where there is no such file, and only there.
 */
int host_module_load(const char *name, const char *options);
int host_module_unload(const char *name);
/* KVM with what it needs: all of it, or without the vendor's module, which takes the CPU. */
int kvm_load(const char *options);
int kvm_core_load(const char *options);
void kvm_unload(void);
/* Is this result of a load none of ours: no such file, or a real-time kernel, see host.c? */
bool kvm_not_here(int ret);
const char *kvm_module(void);		/* the vendor's */

/* The host is a machine of QEMU's own emulation, whose AMD-V has gaps. */
bool emulated_by_tcg(void);
/* Or of Bochs', whose second has 50 million instructions: what is done often is done less often. */
bool emulated_by_bochs(void);

int cpu_set_online(int cpu, bool online);	/* 0 or -errno */
void thread_pin(unsigned long thread, int cpu);

/* Like vm_create(), with memory that children share. */
void vm_create_shared(struct vm *vm, size_t ram, uint64_t flags);

int lapic_write(struct vcpu *vcpu, uint32_t offset, uint32_t val);
int lapic_read(struct vcpu *vcpu, uint32_t offset, uint32_t *val);
bool cpuid_offered(uint32_t leaf, int reg, int bit);	/* reg: 0 EAX to 3 EDX */

/*
 * A handler in long mode, x2APIC mode, that counts in VM_DATA 0 and writes the
 * TSC to VM_DATA 8.
 */
#define GPA_TICK	0x7f000
#define TICK_COUNT	0
#define TICK_TSC	8
void tick_prepare(struct vm *vm, uint8_t vector);

/* Messages to local APICs, by vm_msi(). */
#define MSI_ADDRESS(id)		(0xfee00000u | (uint32_t)(id) << 12)
#define MSI_NMI			0x400
#define MSI_INIT		0x500
#define MSI_SIPI		0x600
#define MSI_LEVEL		0xc000		/* level-triggered, asserted */

#endif
