// SPDX-License-Identifier: GPL-2.0
/*
 * pulse: goes to each CPU once a second, from a sleep on the next one, without an end.
 *
 * In the test host alone: QEMU 7.2's emulated VMRUN and #VMEXIT change cs->interrupt_request
 * without the lock under which its timers set a bit there, and now and then such a bit is lost
 * (svm_helper.c): the local APIC has the timer's interrupt, the CPU does not know, and if it is
 * idle sleeps for ever. The next interrupt, as that of who comes here, tells it of both. A tick
 * that cleave loses would be made up for as well: that is seen on VT-x, where nobody comes.
 */
#define _GNU_SOURCE
#include <sched.h>
#include <sys/prctl.h>
#include <unistd.h>

/* One that is offline is left out. */
static void go_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	sched_setaffinity(0, sizeof(set), &set);
}

int main(void)
{
	int cpus = sysconf(_SC_NPROCESSORS_CONF);

	for (int cpu = 0; cpu < cpus; cpu++) {
		if (fork())
			continue;
		prctl(PR_SET_NAME, "pulse");
		for (;;) {
			go_to((cpu + 1) % cpus);
			sleep(1);
			go_to(cpu);
		}
	}
	return 0;
}
