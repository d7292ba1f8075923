// SPDX-License-Identifier: GPL-2.0
/*
 * A terminal that nobody reads: a console device's thread that writes to it hangs there, and the
 * end of the machine brings it out.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "unit.h"
#include "cmd/machine.h"
#include "cmd/report.h"
#include "cmd/sandbox.h"

/* ---- what the machine calls ------------------------------------------------------ */

void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void control_wake(struct machine *m)
{
}

bool sandbox_keep(const char *path)
{
	return true;
}

int sandbox_user(const char *user)
{
	return 0;
}

int sandbox_thread(enum sandbox_thread kind)
{
	return 0;
}

size_t seccomp_tell(const siginfo_t *info, const char *name, char *buf, size_t size)
{
	return 0;
}

void survey_drop(struct survey *s)
{
}

bool survey_ask(struct survey *s, struct machine *m, unsigned int exits)
{
	return true;
}

struct boot_range boot_pci_high(uint64_t memory)
{
	return (struct boot_range){ 1ULL << 34, 1ULL << 34 };
}

unsigned int boot_ram(uint64_t memory, struct boot_range range[2])
{
	return 0;
}

int boot_load(const struct boot_params_in *in, const struct cleave_mem *mem, struct boot_result *out,
	      char *err, size_t errlen)
{
	return 0;
}

int devices_add(struct machine *m)
{
	return 0;
}

void devices_remove(struct machine *m)
{
}

/* Somebody else has taken the room by the time that it is to be used. */
static int full = -1;			/* of that there is room, always */

int __real_poll(struct pollfd *fds, nfds_t n, int ms);

int __wrap_poll(struct pollfd *fds, nfds_t n, int ms)
{
	if (n != 1 || fds->fd != full)
		return __real_poll(fds, n, ms);
	fds->revents = POLLOUT;
	return 1;
}

static struct run_args args = { .name = "web-1" };
static struct machine m;
static atomic_int stage;		/* of the writer: 1 it begins, 2 it is done */

static void *device(void *arg)
{
	static char text[256];

	atomic_store(&stage, 1);
	console_write(&m, text, sizeof(text));
	atomic_store(&stage, 2);
	return NULL;
}

static void pauses(unsigned int ms)
{
	const struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

/* stdout is a pipe that is full; what it was. */
static int fill_stdout(int fd[2])
{
	static char page[4096];
	int was = dup(STDOUT_FILENO);

	fflush(stdout);
	if (was < 0 || pipe2(fd, O_CLOEXEC | O_NONBLOCK))
		abort();
	while (write(fd[1], page, sizeof(page)) > 0)
		;
	if (fcntl(fd[1], F_SETFL, 0) || dup2(fd[1], STDOUT_FILENO) < 0)
		abort();
	full = STDOUT_FILENO;
	return was;
}

static uint64_t t_now(struct dev_clock *clock)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * NS_PER_SEC + t.tv_nsec;
}

static void machine_begins(void)
{
	memset(&m, 0, sizeof(m));
	m.clock.now = m.host_clock.now = t_now;
	rtc_init(&m.rtc, &m.host_clock, 0);
	pit_init(&m.pit, &m.clock);
	pm_init(&m.pm, &m.clock);
	m.args = &args;
	m.keys = -1;
	m.wake = eventfd(0, EFD_NONBLOCK);
	pthread_mutex_init(&m.lock, NULL);
	pthread_mutex_init(&m.tx_lock, NULL);
	pthread_mutex_init(&m.kick_lock, NULL);
	pause_init(&m);
	atomic_store(&stage, 0);
	if (console_start(&m))
		abort();
}

/* Keys are the caller's, and not this test's. */
__attribute__((constructor)) static void no_keys(void)
{
	int null = open("/dev/null", O_RDONLY);

	if (null < 0 || dup2(null, STDIN_FILENO) < 0)
		abort();
	close(null);
}

UNIT_TEST(end_with_a_stalled_terminal)
{
	unsigned int i, round;
	pthread_t thread;
	int fd[2], was;
	char c[4096];

	/* The end comes while it hangs, and just when it begins. */
	for (round = 0; round < 20; round++) {
		machine_begins();
		was = fill_stdout(fd);
		if (pthread_create(&thread, NULL, device, NULL))
			abort();
		while (!atomic_load(&stage))
			pauses(1);
		if (!round)
			pauses(100);
		machine_end(&m, M_ENDED);
		for (i = 0; i < 3000 && atomic_load(&stage) != 2; i++)
			pauses(1);
		full = -1;
		dup2(was, STDOUT_FILENO);
		close(was);
		CHECK_EQ(atomic_load(&stage), 2);
		while (read(fd[0], c, sizeof(c)) > 0)	/* it comes out now at the latest */
			pauses(1);
		pthread_join(thread, NULL);
		console_stop(&m);
		close(fd[0]);
		close(fd[1]);
		close(m.wake);
	}
}

/* A pause, and whatever else signals it, takes nothing from what it writes. */
UNIT_TEST(nothing_is_lost)
{
	int fd[2], was, got = 0, n;
	pthread_t thread;
	char c[4096];

	machine_begins();
	was = fill_stdout(fd);
	if (pthread_create(&thread, NULL, device, NULL))
		abort();
	for (n = 0; n < 20; n++) {
		pauses(5);
		machine_kick(&m);
	}
	CHECK_EQ(atomic_load(&stage), 1);
	while (atomic_load(&stage) != 2 || got % 4096 != 256) {
		n = read(fd[0], c, sizeof(c));
		if (n < 0 && atomic_load(&stage) == 2)
			break;
		got += n > 0 ? n : 0;
		pauses(1);
	}
	full = -1;
	dup2(was, STDOUT_FILENO);
	close(was);
	CHECK_EQ(got % 4096, 256);
	pthread_join(thread, NULL);
	machine_end(&m, M_ENDED);
	console_stop(&m);
	close(fd[0]);
	close(fd[1]);
	close(m.wake);
}
