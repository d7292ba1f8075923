// SPDX-License-Identifier: GPL-2.0
/*
 * The terminal, and the thread that waits for it, for signals and for the
 * devices' deadlines. Raw mode leaves output processing on: our own lines
 * come out straight, and a guest's CR LF does no harm.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "hub.h"
#include "report.h"
#include "sandbox.h"

#define CTRL_A		1

static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH };
static const int crashes[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGTRAP, SIGSYS };

static struct machine *machine;		/* the one there is */
static struct termios saved;
static volatile sig_atomic_t raw;

bool console_interactive(void)
{
	return isatty(STDIN_FILENO);
}

/* Async-signal-safe, and harmless when nothing is to restore. */
static void console_restore(void)
{
	if (!raw)
		return;
	raw = 0;
	tcsetattr(STDIN_FILENO, TCSANOW, &saved);
}

/* Which call the sandbox has forbidden: on stderr, or in the log. Only what may be done here. */
static void tell_forbidden(const siginfo_t *info)
{
	char text[512];
	size_t n = machine ? seccomp_tell(info, machine->args->name, text, sizeof(text)) : 0;

	if (!n)
		return;
	if (!machine->hub)
		n = write(STDERR_FILENO, text, n);
	else
		hub_last_words(machine->hub, text, n);
}

static void on_crash(int sig, siginfo_t *info, void *context)
{
	console_restore();
	tell_forbidden(info);
	signal(sig, SIG_DFL);
	raise(sig);
}

/* What the I/O thread takes from a signalfd. */
static void watched(sigset_t *set)
{
	size_t i;

	sigemptyset(set);
	for (i = 0; i < ARRAY_SIZE(signals); i++)
		sigaddset(set, signals[i]);
}

static void on_kick(int sig)
{
}

/* In the background the terminal belongs to someone else. */
static void console_raw(void)
{
	struct termios t;

	if (!isatty(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) != getpgrp())
		return;
	if (tcgetattr(STDIN_FILENO, &saved))
		return;
	t = saved;
	t.c_iflag &= ~(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	t.c_lflag &= ~(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	t.c_cc[VMIN] = 1;
	t.c_cc[VTIME] = 0;
	raw = 1;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &t))
		raw = 0;
}

void console_tx(void *machine, uint8_t byte)
{
	struct machine *m = machine;

	if (m->tx_count < sizeof(m->tx))
		m->tx[m->tx_count++] = byte;
}

/* What there is to write, under the lock; also for another vCPU that waits to do so. */
static unsigned int take_tx(struct machine *m, uint8_t bytes[CLEAVE_MAX_VCPUS])
{
	unsigned int n;

	pthread_mutex_lock(&m->lock);
	n = m->tx_count;
	memcpy(bytes, m->tx, n);
	m->tx_count = 0;
	pthread_mutex_unlock(&m->lock);
	return n;
}

static void write_all(struct machine *m, const uint8_t *bytes, unsigned int count)
{
	unsigned int done = 0;

	if (m->hub) {
		if (count)
			hub_put(m->hub, bytes, count);
		return;
	}
	while (done < count && atomic_load(&m->outcome) == M_RUNS) {
		ssize_t n = write(STDOUT_FILENO, bytes + done, count - done);
		struct pollfd fd = { .fd = STDOUT_FILENO, .events = POLLOUT };

		if (n >= 0) {
			done += n;
		} else if (errno == EAGAIN) {
			poll(&fd, 1, -1);
		} else if (errno != EINTR) {
			complain("stdout: %s; the guest's console needs a place to go", strerror(errno));
			machine_end(m, M_FAILED);
		}
	}
	if (count)
		atomic_store(&m->midline, bytes[count - 1] != '\n');
}

/* A device's thread is signalled by nobody: it does not wait in write(), but looks whether it may. */
void console_write(struct machine *m, const void *data, size_t len)
{
	struct pollfd fd = { .fd = STDOUT_FILENO, .events = POLLOUT };

	while (!poll(&fd, 1, 100))
		if (atomic_load(&m->outcome) != M_RUNS)
			return;
	pthread_mutex_lock(&m->tx_lock);
	write_all(m, data, len);
	pthread_mutex_unlock(&m->tx_lock);
}

bool console_size(uint16_t *cols, uint16_t *rows)
{
	struct winsize size;

	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_col || !size.ws_row)
		return false;
	*cols = size.ws_col;
	*rows = size.ws_row;
	return true;
}

void console_flush(struct machine *m)
{
	uint8_t bytes[CLEAVE_MAX_VCPUS];

	pthread_mutex_lock(&m->tx_lock);
	write_all(m, bytes, take_tx(m, bytes));
	pthread_mutex_unlock(&m->tx_lock);
}

void console_newline(struct machine *m)
{
	if (atomic_exchange(&m->midline, false) && isatty(STDOUT_FILENO) && isatty(STDERR_FILENO))
		fputc('\n', stderr);
}

/* ---- keys ---------------------------------------------------------------------- */

struct input {
	bool open, tty, escape;
	bool asked;		/* its power button was pressed for SIGTERM */
	int signals;		/* signalfd */
	size_t head, count;
	uint8_t buf[4096];
};

static void input_put(struct input *in, uint8_t byte)
{
	if (in->count < sizeof(in->buf))
		in->buf[(in->head + in->count++) % sizeof(in->buf)] = byte;
}

static void input_command(struct machine *m, struct input *in, uint8_t key)
{
	switch (key) {
	case 'x':
		machine_end(m, M_ENDED);
		break;
	case 'c':
		survey_ask(&m->shown, m, REPORT_EXITS);
		break;
	case 'p':
		pthread_mutex_lock(&m->lock);
		pm_power_button(&m->pm);
		pthread_mutex_unlock(&m->lock);
		break;
	case 'a':
	case CTRL_A:
		input_put(in, CTRL_A);
		break;
	default:
		console_newline(m);
		complain("Ctrl-A x ends the guest, c shows its state, p presses its power button, a sends Ctrl-A");
	}
}

static void input_bytes(struct machine *m, struct input *in, const uint8_t *bytes, size_t n)
{
	size_t i;

	for (i = 0; i < n; i++) {
		if (in->escape) {
			in->escape = false;
			input_command(m, in, bytes[i]);
		} else if (in->tty && bytes[i] == CTRL_A) {
			in->escape = true;
		} else {
			input_put(in, bytes[i]);
		}
	}
}

static void input_read(struct machine *m, struct input *in)
{
	uint8_t bytes[256];
	ssize_t n = read(STDIN_FILENO, bytes, sizeof(bytes));

	if (n > 0)
		input_bytes(m, in, bytes, n);
	else if (!n || (errno != EINTR && errno != EAGAIN))
		in->open = false;	/* the guest runs on without */
}

/* Who ends a process in the background, as systemd does, ends a guest: it is asked to, once. */
static bool ask_to_end(struct machine *m, struct input *in)
{
	bool ask = m->args->detach && !in->asked;

	pthread_mutex_lock(&m->lock);
	ask &= !m->clock_stopped;
	if (ask)
		pm_power_button(&m->pm);
	pthread_mutex_unlock(&m->lock);
	in->asked |= ask;
	if (ask)
		complain("%s: its power button is pressed for SIGTERM; another one ends it", m->args->name);
	return ask;
}

static void input_signal(struct machine *m, struct input *in)
{
	struct signalfd_siginfo info;

	if (read(in->signals, &info, sizeof(info)) != sizeof(info))
		return;
	switch (info.ssi_signo) {
	case SIGTSTP:
		console_restore();
		raise(SIGSTOP);
		console_raw();
		break;
	case SIGCONT:
		console_restore();
		console_raw();
		break;
	case SIGWINCH:
		virtio_resized(m);
		break;
	case SIGTERM:
		if (ask_to_end(m, in))
			break;
		/* fall through */
	default:
		m->signal = info.ssi_signo;
		machine_end(m, M_SIGNAL);
	}
}

/* To the console device, as far as it takes them. */
static void input_keys(struct machine *m, struct input *in)
{
	size_t part = sizeof(in->buf) - in->head;
	ssize_t n;

	while (in->count) {
		n = send(m->keys, in->buf + in->head, in->count < part ? in->count : part, MSG_NOSIGNAL);
		if (n <= 0)
			return;
		in->head = (in->head + n) % sizeof(in->buf);
		in->count -= n;
		part = sizeof(in->buf) - in->head;
	}
}

/*
 * Feeds the UART, lets due devices act, and says until when, by the host's
 * clock, to sleep. A guest that is paused gets nothing. lock held
 */
static uint64_t input_settle(struct machine *m, struct input *in)
{
	if (m->keys >= 0 && !m->clock_stopped)
		input_keys(m, in);
	while (in->count && m->keys < 0 && uart_room(&m->uart) && !m->clock_stopped) {
		uart_receive(&m->uart, in->buf[in->head]);
		in->head = (in->head + 1) % sizeof(in->buf);
		in->count--;
	}
	machine_tick(m);
	m->starved = in->count && m->keys < 0;
	m->sleeps_until = machine_deadline(m);
	return m->sleeps_until == DEV_NEVER ? DEV_NEVER : m->sleeps_until + m->clock_lost;
}

static void input_wait(struct machine *m, struct input *in, uint64_t until)
{
	struct pollfd fd[] = {
		{ .fd = m->wake, .events = POLLIN },
		{ .fd = in->signals, .events = POLLIN },
		{ .fd = -1, .events = POLLIN },
		{ .fd = in->count ? m->keys : -1, .events = POLLOUT },
	};
	uint64_t now = dev_now(&m->host_clock), left = until > now ? until - now : 0, count;
	struct timespec ts = { .tv_sec = left / NS_PER_SEC, .tv_nsec = left % NS_PER_SEC };

	/* A terminal is always listened to: Ctrl-A x must work. A file can wait. */
	if (in->open && (in->tty || !in->count))
		fd[2].fd = STDIN_FILENO;
	if (ppoll(fd, 4, until == DEV_NEVER ? NULL : &ts, NULL) < 0)
		return;
	if (fd[0].revents && read(m->wake, &count, sizeof(count)) < 0)
		return;
	if (fd[1].revents)
		input_signal(m, in);
	if (fd[2].revents)
		input_read(m, in);
}

static void *input_thread(void *arg)
{
	struct machine *m = arg;
	const struct timespec pause = { .tv_nsec = 20000000 };
	struct input in = { .open = true, .tty = console_interactive() };
	sigset_t set;

	pthread_setname_np(pthread_self(), "input");
	sandbox_thread(SANDBOX_IO);
	watched(&set);
	in.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	while (atomic_load(&m->outcome) == M_RUNS) {
		uint64_t until;

		pthread_mutex_lock(&m->lock);
		until = input_settle(m, &in);
		pthread_mutex_unlock(&m->lock);
		input_wait(m, &in, until);
	}
	/* See machine_end(). */
	while (atomic_load(&m->vcpus_left)) {
		machine_kick(m);
		nanosleep(&pause, NULL);
	}
	if (in.signals >= 0)
		close(in.signals);
	return NULL;
}

/* ---- start and stop --------------------------------------------------------------- */

static void console_signals(void)
{
	struct sigaction kick = { .sa_handler = on_kick };
	struct sigaction die = { .sa_sigaction = on_crash, .sa_flags = SA_SIGINFO };
	sigset_t set;
	size_t i;

	watched(&set);
	sigaddset(&set, SIGTTOU);	/* the terminal is put right from the background too */
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	sigaction(SIGUSR1, &kick, NULL);	/* no SA_RESTART: it ends a write */
	for (i = 0; i < ARRAY_SIZE(crashes); i++)
		sigaction(crashes[i], &die, NULL);
}

int console_start(struct machine *m)
{
	int ret;

	machine = m;
	console_signals();
	atexit(console_restore);
	console_raw();
	ret = pthread_create(&m->io_thread, NULL, input_thread, m);
	if (ret) {
		console_restore();
		complain("a thread for the console: %s; see ulimit -u", strerror(ret));
		return -ret;
	}
	m->io_started = true;
	return 0;
}

void console_stop(struct machine *m)
{
	console_restore();
	/* Its thread sees that the machine has ended, once it has. */
	if (!m->io_started || atomic_load(&m->outcome) == M_RUNS)
		return;
	machine_wake(m);
	pthread_join(m->io_thread, NULL);
	m->io_started = false;
}
