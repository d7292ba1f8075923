/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The machine that `cleave run` builds: one VM, its memory, its devices, one
 * vCPU. The main thread runs the vCPU; a second one reads the terminal,
 * signals and deadlines. Both touch devices under machine.lock alone.
 */
#ifndef CLEAVE_MACHINE_H
#define CLEAVE_MACHINE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "../boot/boot.h"
#include "../dev/dev.h"
#include "../libcleave/libcleave.h"
#include "cmd.h"

struct control;
struct json_object;

/* Why the machine stops; the first reason counts. */
enum outcome {
	M_RUNS,
	M_OFF,
	M_RESET,
	M_ENDED,		/* Ctrl-A x */
	M_SIGNAL,
	M_CRASH,		/* the page has been printed */
	M_FAILED,		/* the line has been printed */
};

struct machine {
	const struct run_args *args;
	int dev, vm, vcpu;	/* file descriptors, or -1 */
	struct cleave_info info;
	struct cleave_run *run;
	const struct cleave_recorder *recorder;
	struct control *control;	/* or NULL */
	char cmdline[BOOT_CMDLINE_MAX];
	uint8_t *ram;
	size_t ram_mapped;
	struct cleave_mem mem;
	struct cleave_assist assist;

	_Atomic int outcome;
	int signal;		/* with M_SIGNAL */
	atomic_bool show;	/* print the state at the next exit */
	pthread_t vcpu_thread, io_thread;
	bool io_started;
	atomic_bool vcpu_done;	/* vcpu_loop() has returned */
	uint8_t tx[16];		/* what the guest sends, until the lock is dropped; */
	unsigned int tx_count;	/* the vCPU thread's alone */
	atomic_bool midline;	/* the guest's last byte was no newline */

	pthread_mutex_t lock;	/* what follows */
	struct dev_clock clock;
	struct bus pio, mmio;
	struct uart uart;
	struct rtc rtc;
	struct ioapic ioapic;
	struct pit pit;
	struct pic pic;
	struct pm pm;
	int wake;		/* eventfd: the I/O thread looks again */
	uint64_t sleeps_until;	/* what it waits for now */
	bool starved;		/* it holds input that the UART had no room for */
};

/* machine.c. The two return 0 or -errno after one line on stderr. */
int machine_create(struct machine *m, const struct run_args *args);
int machine_load(struct machine *m);
void machine_destroy(struct machine *m);
/* Ends the run, from any thread; the first one wins. */
void machine_end(struct machine *m, enum outcome why);
/* Brings the vCPU thread out of CLEAVE_RUN, and out of a write that hangs. */
void machine_kick(struct machine *m);
uint64_t machine_deadline(struct machine *m);		/* lock held */
void machine_tick(struct machine *m);			/* lock held */
/* After devices changed: does the I/O thread sleep too long? lock held */
void machine_recheck(struct machine *m);

/* cpuid.c: the guest's table from what host and module offer. */
void cpuid_for_guest(struct cleave_cpuid *c, uint32_t id, uint32_t cpus);

/* vcpu.c: runs it until the machine ends. */
void vcpu_loop(struct machine *m);

/* console.c */
int console_start(struct machine *m);	/* the I/O thread, raw mode */
void console_stop(struct machine *m);	/* the terminal is as it was */
void console_tx(void *machine, uint8_t byte);
void console_flush(struct machine *m);	/* may wait for stdout; lock not held */
bool console_interactive(void);
void console_newline(struct machine *m);	/* before a message, if the terminal needs one */

/* counters.c */
struct json_object *counters_build(struct machine *m);	/* by any thread; what `cleave stat` gets */
void counters_describe(struct json_object *o, const struct cleave_recorder *rec);

#endif /* CLEAVE_MACHINE_H */
