// SPDX-License-Identifier: GPL-2.0
/*
 * What ../ends.sh needs in its hosts.
 *   guests                     starts some, on each CPU one that computes and one
 *                              that sleeps between ticks, and leaves them running
 *   run                        a guest on each CPU, to its end
 *   save-area                  0 if each CPU has a host save area (AMD-V; needs msr.ko)
 *   kvm                        KVM_CREATE_VM, whose errno is the status
 *   kexec KERNEL INITRD WORDS  the kernel that `reboot kexec` starts
 *   crash KERNEL INITRD WORDS  the one that a crash starts
 *   reboot restart|kexec|off   reboot(2), with all that runs
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <linux/reboot.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include "host.h"
#include "ends.h"

#define VECTOR	0x40
#define CPUS	8

GUEST(sum, 64, "xor %eax, %eax\n1:\tadd %rcx, %rax\n\tloop 1b\n\t" G_DONE);

/* Both count at VM_DATA 0x10. The second has ticks every 2 ms. */
GUEST(spin, 64, "1:\tlock incq " S(GPA_DATA) "+0x10\n\tjmp 1b\n\t");
GUEST(ticks, 64,
	"mov $0x83e, %ecx\n\tmov $0xb, %eax\n\txor %edx, %edx\n\twrmsr\n\t"
	"mov $0x832, %ecx\n\tmov $0x20040, %eax\n\twrmsr\n\t"
	"mov $0x838, %ecx\n\tmov $2000000, %eax\n\twrmsr\n\tsti\n"
	"1:\thlt\n\tlock incq " S(GPA_DATA) "+0x10\n\tjmp 1b\n\t");

static struct vm vm[2 * CPUS];
static struct vcpu v[2 * CPUS];
static struct runner r[2 * CPUS];

static bool all_count(int n)
{
	int i = 0;

	while (i < n && WAIT_FOR(*VM_DATA(&vm[i], uint64_t, 0x10) > 5, 20000))
		i++;
	return i == n;
}

/* Counts in /tmp/rounds as long as all of them get on. */
static void watch(int n)
{
	uint64_t last[2 * CPUS] = { 0 };
	char text[32];

	for (unsigned long round = 1; ; round++) {
		for (int i = 0; i < n; i++) {
			while (*VM_DATA(&vm[i], uint64_t, 0x10) == last[i])
				nap_us(1000);
			last[i] = *VM_DATA(&vm[i], uint64_t, 0x10);
		}
		snprintf(text, sizeof(text), "%lu\n", round);
		file_write("/tmp/rounds", text);
		nap_us(200000);
	}
}

/* Below a shell that goes on: the child stays, and says by a byte that all guests run. */
static int guests(void)
{
	int n = 0, done[2];
	char byte;

	MUST(pipe(done));
	if (MUST(fork())) {
		close(done[1]);
		return read(done[0], &byte, 1) == 1 ? 0 : 1;
	}
	setsid();
	for (int sig = 1; sig < 32; sig++)
		signal(sig, SIG_IGN);
	for (int cpu = 0; cpu < CPUS && cpu_online(cpu); cpu++) {
		for (int halts = 0; halts < 2; halts++, n++) {
			vm_create(&vm[n], RAM_SIZE, 0);
			vcpu_create(&vm[n], &v[n], 0);
			if (halts) {
				GUEST_LONG(&v[n], ticks);
				vcpu_x2apic(&v[n]);
				tick_prepare(&vm[n], VECTOR);
			} else {
				GUEST_LONG(&v[n], spin);
			}
			runner_start(&r[n], &v[n], NULL, NULL);
			thread_pin(r[n].thread, cpu);
		}
	}
	if (!all_count(n))
		return 1;
	close(open("/tmp/rounds", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	MUST(write(done[1], "", 1));
	close(done[1]);
	watch(n);
	return 1;
}

static int run(void)
{
	struct cleave_regs regs;
	int cpu;

	for (cpu = 0; cpu < CPUS && cpu_online(cpu); cpu++) {
		pin_to(cpu);
		GUEST_SIMPLE(&vm[0], &v[0], sum);
		regs_get(&v[0], &regs);
		regs.rcx = 1000;
		regs_set(&v[0], &regs);
		if (vcpu_run_done(&v[0]) != 500500)
			return 1;
		vcpu_destroy(&v[0]);
		vm_destroy(&vm[0]);
	}
	return cpu ? 0 : 1;
}

/* VM_HSAVE_PA. QEMU's AMD-V is content with 0, and writes to what lies there. */
static int save_area(void)
{
	uint64_t pa = 1;
	char path[64];

	for (int cpu = 0; cpu < CPUS && cpu_online(cpu) && pa; cpu++) {
		snprintf(path, sizeof(path), "/dev/cpu/%d/msr", cpu);
		MUST(pread(MUST(open(path, O_RDONLY | O_CLOEXEC)), &pa, sizeof(pa), 0xc0010117));
	}
	return !pa;
}

static int kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return errno;
	return ioctl(fd, KVM_CREATE_VM, 0) < 0 ? errno : 0;
}

static int restart(const char *how)
{
	unsigned int cmd = !strcmp(how, "kexec") ? LINUX_REBOOT_CMD_KEXEC :
			   !strcmp(how, "off") ? LINUX_REBOOT_CMD_POWER_OFF :
			   LINUX_REBOOT_CMD_RESTART;

	MUST(syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, cmd, NULL));
	return 1;
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";

	if (!strcmp(what, "guests"))
		return guests();
	if (!strcmp(what, "run"))
		return run();
	if (!strcmp(what, "save-area"))
		return save_area();
	if (!strcmp(what, "kvm"))
		return kvm();
	if (argc == 5 && (!strcmp(what, "kexec") || !strcmp(what, "crash"))) {
		kexec_prepare(argv[2], argv[3], argv[4], *what == 'c');
		return 0;
	}
	if (argc == 3 && !strcmp(what, "reboot"))
		return restart(argv[2]);
	fprintf(stderr, "usage: see ends.c\n");
	return 2;
}
