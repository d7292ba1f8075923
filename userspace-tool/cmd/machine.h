/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The machine that `cleave run` builds: one VM, its memory, its devices, its
 * vCPUs. Each vCPU has a thread, "cpu N"; one more reads the terminal, signals
 * and deadlines, one serves `cleave stat`; the main thread waits for the end.
 * All touch devices under machine.lock alone, but for virtio's, which have locks and
 * threads of their own (virtio/virtio.h). Locks, outermost first: tx_lock, lock, a
 * virtio device's, kick_lock.
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
struct devices;
struct hub;
struct virtio_devices;
struct json_object;

/* Why the machine stops; the first reason counts. */
enum outcome {
	M_RUNS,
	M_OFF,
	M_RESET,
	M_ENDED,		/* Ctrl-A x */
	M_SIGNAL,
	M_EXIT,			/* by --device debug-exit: machine.status */
	M_CRASH,		/* machine.dead says which vCPU */
	M_FAILED,		/* the line has been printed */
	M_KILLED,		/* by `cleave kill` */
};

struct machine;

struct vcpu {
	struct machine *m;
	uint32_t id;
	int fd;				/* or -1 */
	struct cleave_run *run;
	const struct cleave_recorder *recorder;
	struct cleave_assist assist;
	pthread_t thread;
	bool started;		/* the main thread's: to be joined */
	bool runs;		/* under kick_lock: the thread is there and may be signalled */
};

/* A report of a guest that lives: each CPU's part is told by its own thread; survey.c. */
struct survey {
	pthread_mutex_t lock;
	unsigned int exits, left;	/* how many CPUs have not told; 0: nobody asks */
	bool told[CLEAVE_MAX_VCPUS];
	struct json_object *part[CLEAVE_MAX_VCPUS];
};

/* `cleave pause`; pause.c. */
struct pausing {
	pthread_mutex_t lock;	/* the next four */
	pthread_cond_t cond;
	bool wanted;
	unsigned int parked;	/* vCPU threads that stay out of CLEAVE_RUN */
	unsigned int kicks;
	/* The control thread's: */
	bool stopped;		/* all are out, time stands still */
	int error;		/* why tsc and clock are not known, or 0 */
	uint64_t tsc, clock;	/* the guest's, when it stopped */
};

struct machine {
	const struct run_args *args;
	int dev, vm;		/* file descriptors, or -1 */
	struct cleave_info info;
	uint32_t cpus;		/* of vcpu[] */
	struct vcpu *vcpu;
	struct control *control;	/* or NULL */
	struct hub *hub;	/* where the console goes in place of stdout, or NULL */
	char cmdline[BOOT_CMDLINE_MAX];
	uint8_t *ram, *rom;	/* rom: of --firmware, or NULL */
	size_t ram_mapped, rom_size;
	struct cleave_mem mem;

	struct dev_clock host_clock;	/* never stands still; without a lock */
	_Atomic int outcome;
	int signal;		/* with M_SIGNAL */
	uint8_t status;		/* with M_EXIT */
	struct vcpu *dead;	/* with M_CRASH; */
	int dead_error;		/* as report_dead() takes it */
	struct survey shown;	/* Ctrl-A c */
	struct pausing pausing;
	_Atomic uint64_t started;	/* host's monotonic ns when all vCPUs were there; 0: not yet */
	pthread_t io_thread;
	bool io_started;
	pthread_mutex_t kick_lock;	/* vcpu.runs */
	atomic_uint vcpus_left;	/* vCPU threads that may write to stdout still */
	pthread_mutex_t tx_lock;	/* held to write to stdout, in the order of tx */
	atomic_bool midline;	/* the guest's last byte was no newline */

	pthread_mutex_t lock;	/* what follows */
	/* What the guest sent: of a thread one byte at most, as it waits for console_flush(). */
	uint8_t tx[CLEAVE_MAX_VCPUS];
	unsigned int tx_count;
	struct dev_clock clock;	/* stands still while the guest is paused */
	uint64_t clock_lost;	/* so much is it behind the host's, ns */
	uint64_t clock_stopped;	/* where it stands; 0: it runs */
	struct bus pio, mmio;
	struct uart uart;
	struct rtc rtc;
	struct ioapic ioapic;
	struct pit pit;
	struct pic pic;
	struct pm pm;
	struct devices *devices;	/* those of --device, or NULL */
	struct virtio_devices *virtio;	/* the PCI bus and what is on it, or NULL */
	int keys;		/* socket: keys go there and not to the UART; or -1 */
	atomic_bool pic_int;	/* pic_output(), to be seen without the lock */
	bool pic_asked;		/* the vCPU knows, and waits for its window */
	int wake;		/* eventfd: the I/O thread looks again */
	uint64_t sleeps_until;	/* what it waits for now */
	bool starved;		/* it holds input that the UART had no room for */
};

/* machine.c. The two return 0 or -errno after one line on stderr. */
int machine_create(struct machine *m, const struct run_args *args);
int machine_load(struct machine *m);
void machine_destroy(struct machine *m);
/* One line on stderr, of a command of the module's that failed, of /dev/cleave; the error again. */
int module_failed(int error, const char *what);
int open_failed(int error);
/* Ends the run, from any thread; true: it was the first one, which counts. */
bool machine_end(struct machine *m, enum outcome why);
/* Brings the vCPU threads out of CLEAVE_RUN, and out of a write that hangs. */
void machine_kick(struct machine *m);
void machine_wake(struct machine *m);			/* the I/O thread looks again */
uint64_t machine_deadline(struct machine *m);		/* lock held */
void machine_tick(struct machine *m);			/* lock held */
/* After devices changed: does the I/O thread sleep too long? lock held */
void machine_recheck(struct machine *m);

/* The devices' time. Both take the lock. */
void machine_clock_stop(struct machine *m);
void machine_clock_go_on(struct machine *m);

/* An interrupt line changes. lock held */
void machine_irq(void *machine, unsigned int nr, bool level);

/* devices.c: those of --device. 0 or -errno after one line on stderr. */
int devices_add(struct machine *m);
void devices_remove(struct machine *m);

/* virtio.c: the PCI bus, if there are devices for it. Those that return int: as devices_add(). */
int virtio_add(struct machine *m);			/* opens their files */
const uint8_t *virtio_lines(const struct machine *m);	/* boot_params_in.pci_lines */
int virtio_connect(struct machine *m);			/* BARs and kicks; the VM is there */
int virtio_start(struct machine *m);			/* their threads */
void virtio_stop(struct machine *m);			/* what is under way ends; vCPUs have ended */
void virtio_remove(struct machine *m);
void virtio_resized(struct machine *m);			/* the terminal has another size */
void virtio_describe(struct machine *m, struct json_object *doc);	/* virtio_stat.c */

/* extint.c: interrupts of the 8259A pair, which vCPU 0 takes when its local APIC lets them. */
void extint_recheck(struct machine *m);		/* after the PIC changed; lock held */
int extint_offer(struct vcpu *v);		/* by its thread, before it runs; 0 or -errno */

/* cpuid.c: the guest's table from what host and module offer. */
void cpuid_for_guest(struct cleave_cpuid *c, uint32_t id, const struct run_args *args);

/* vcpu.c: the threads. 0, or -errno after one line on stderr: then none is left. */
int vcpus_start(struct machine *m);
void vcpus_wait(struct machine *m);	/* until the machine has ended, and all of them */

/* pause.c */
enum pause_state {
	PAUSE_NONE,
	PAUSE_PENDING,		/* some vCPU is not out yet */
	PAUSE_STOPPED,
};

void pause_init(struct machine *m);
void pause_destroy(struct machine *m);
/* By v's thread after CLEAVE_RUN was interrupted: stays while the guest is paused; serve() after each kick. */
void pause_park(struct vcpu *v, void (*serve)(struct vcpu *v));
void pause_kicked(struct machine *m);		/* by machine_kick() */
/* By the control thread, which is woken when the last vCPU is out. */
void pause_ask(struct machine *m);
enum pause_state pause_state(struct machine *m);
int pause_end(struct machine *m);	/* 0, or -errno: it runs on, but time has passed for it */

/* status.c: the guest as `cleave ps` shows it, and how it ended. */
struct json_object *status_build(struct machine *m);
struct json_object *status_end(struct machine *m);
uint64_t status_now(void);		/* the host's monotonic ns */

/* survey.c */
/* False: one is under way already. */
bool survey_ask(struct survey *s, struct machine *m, unsigned int exits);
/* By v's thread whenever CLEAVE_RUN was interrupted: the report, if v was the last to tell. */
struct json_object *survey_tell(struct survey *s, struct vcpu *v);
void survey_drop(struct survey *s);	/* frees what was told; nobody tells any more */

/* console.c */
int console_start(struct machine *m);	/* the I/O thread, raw mode */
void console_stop(struct machine *m);	/* the terminal is as it was */
void console_tx(void *machine, uint8_t byte);
void console_flush(struct machine *m);	/* may wait for stdout; lock not held */
bool console_interactive(void);
/* All of it, unless the machine ends; by any thread that holds no lock. */
void console_write(struct machine *m, const void *data, size_t len);
bool console_size(uint16_t *cols, uint16_t *rows);	/* of the terminal, if there is one */
void console_newline(struct machine *m);	/* before a message, if the terminal needs one */

/* detach.c: `cleave run --detach`, in the order of their calls. */
/* True: in the process that was started, which is to end with *status. False: in the guest's. */
bool detach_begin(int *status);
int detach_input(struct machine *m);	/* stdin is the hub's; 0 or -errno after one line */
void detach_done(struct machine *m);	/* the guest runs: who waits is told, what is said goes to the log */
void detach_end(struct machine *m);	/* before the hub goes; harmless without the others */

/* inherited.c: the caller's open descriptors, before there are others; and closes those. */
void inherited_note(void);
void inherited_close(void);

/* counters.c */
struct json_object *counters_build(struct machine *m);	/* by any thread; what `cleave stat` gets */
void counters_describe(struct json_object *o, const struct cleave_recorder *rec);

#endif /* CLEAVE_MACHINE_H */
