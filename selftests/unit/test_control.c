// SPDX-License-Identifier: GPL-2.0
/*
 * Guests found by their names, and the socket of one: served to clients that
 * behave and to such that do not, with a vCPU that is made up.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "unit.h"
/* Quicker than for people. */
#include "cmd/control.h"
#undef CONTROL_TIMEOUT_MS
#define CONTROL_TIMEOUT_MS	500
#include "cmd/control.c"

static struct run_args args = { .memory = 1 << 20 };
static struct machine m = { .args = &args };
static struct vcpu cpus[3];
static char line[1024];		/* complain() */
static char home[64];
static atomic_uint stuck;	/* so many vCPUs do not come out */
static _Atomic unsigned int exits_asked;

/* ---- the rest of the machine ----------------------------------------------------------- */

void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
}

struct json_object *report_vcpu(struct vcpu *v, unsigned int exits)
{
	struct json_object *part = json_object_new_object();

	exits_asked = exits;
	doc_count(part, "id", v->id);
	return part;
}

struct json_object *report_alive(struct machine *machine, struct json_object **part)
{
	static char big[300000];
	struct json_object *doc = json_object_new_object(), *list = doc_array(doc, "vcpus");

	for (uint32_t i = 0; i < machine->cpus; i++) {
		CHECK_EQ(doc_get_count(part[i], "id"), i);
		json_object_array_add(list, part[i]);
	}
	memset(big, 'x', sizeof(big) - 1);
	doc_text(doc, "status", "running");
	doc_text(doc, "big", big);
	return doc;
}

struct json_object *counters_build(struct machine *machine)
{
	struct json_object *doc = json_object_new_object();

	doc_text(doc, "name", "counted");
	return doc;
}

static pthread_t vcpu;
static atomic_bool vcpu_ends;
static atomic_uint kicks;
static atomic_int paused;	/* enum pause_state */
static atomic_bool stuck_out;	/* a vCPU does not come out for a pause */
static atomic_uint presses;
static int resume_fails;

void machine_kick(struct machine *machine)
{
	atomic_fetch_add(&kicks, 1);
}

void pause_ask(struct machine *machine)
{
	atomic_store(&paused, PAUSE_PENDING);
	machine_kick(machine);
}

enum pause_state pause_state(struct machine *machine)
{
	return atomic_load(&paused);
}

int pause_end(struct machine *machine)
{
	atomic_store(&paused, PAUSE_NONE);
	return resume_fails;
}

int sandbox_thread(enum sandbox_thread kind)
{
	return 0;
}

void pm_power_button(struct pm *pm)
{
	atomic_fetch_add(&presses, 1);
}

bool machine_end(struct machine *machine, enum outcome why)
{
	int running = M_RUNS;

	return atomic_compare_exchange_strong(&machine->outcome, &running, why);
}

/* Of all vCPUs, the last one first. */
static void *vcpu_thread(void *arg)
{
	while (!atomic_load(&vcpu_ends)) {
		if (atomic_exchange(&kicks, 0))
			for (uint32_t i = m.cpus; i-- > atomic_load(&stuck); )
				control_serve(&cpus[i]);
		if (atomic_load(&paused) == PAUSE_PENDING && !atomic_load(&stuck_out)) {
			atomic_store(&paused, PAUSE_STOPPED);
			control_wake(&m);
		}
		poll(NULL, 0, 1);
	}
	return NULL;
}

/* ---- a guest ------------------------------------------------------------------------------ */

static struct runtime rt;

/* A directory of this test's own. */
static void begin(void)
{
	strcpy(home, "/tmp/cleave-control-XXXXXX");
	if (!mkdtemp(home))
		abort();
	setenv("XDG_RUNTIME_DIR", home, 1);
	atomic_store(&stuck, 0);
	atomic_store(&stuck_out, false);
	atomic_store(&paused, PAUSE_NONE);
	atomic_store(&presses, 0);
	atomic_store(&m.outcome, M_RUNS);
	atomic_store(&m.started, status_now());
	line[0] = 0;
	m.vcpu = cpus;
	m.cpus = ARRAY_SIZE(cpus);
	for (uint32_t i = 0; i < m.cpus; i++)
		cpus[i] = (struct vcpu){ .m = &m, .id = i };
}

static bool start(const char *name, bool chosen)
{
	strcpy(args.name, name);
	if (control_claim(&m, args.name, sizeof(args.name), chosen) || !m.control)
		return false;
	control_start(&m);
	atomic_store(&vcpu_ends, false);
	return !pthread_create(&vcpu, NULL, vcpu_thread, NULL) &&
	       !runtime_open(&rt, false, line, sizeof(line));
}

static void stop(void)
{
	atomic_store(&vcpu_ends, true);
	pthread_join(vcpu, NULL);
	control_stop(&m);
	runtime_close(&rt);
}

static void end(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", home);
	if (system(command))
		abort();
}

static int ask(const char *request, struct json_object **doc)
{
	return client_ask(&rt, args.name, request, doc);
}

/* An answer with that member comes. */
static bool answers(const char *request, const char *key, const char *value)
{
	struct json_object *doc;
	int ret = ask(request, &doc);
	const char *got = doc_get_text(doc, key);
	bool same = got && strstr(got, value);

	if (!same)
		printf("# %d, %s: %s\n", ret, key, got ? got : "(none)");
	json_object_put(doc);
	return same;
}

/* Still served, whatever happened. */
static bool serves(void)
{
	return answers("{\"command\":\"stat\"}", "name", "counted");
}

static int open_client(void)
{
	int fd = runtime_connect(&rt, args.name, 1000);

	if (fd >= 0)
		fcntl(fd, F_SETFL, 0);
	return fd;
}

/* What comes until the other side hangs up, at most size bytes. */
static size_t drain(int fd, char *buf, size_t size)
{
	size_t n = 0;
	ssize_t got;

	while (n < size && (got = recv(fd, buf + n, size - n, 0)) > 0)
		n += got;
	return n;
}

UNIT_TEST(requests)
{
	begin();
	REQUIRE(start("web-1", true));
	CHECK(serves());
	CHECK(answers("{\"command\":\"explain\"}", "status", "running"));
	CHECK_EQ(exits_asked, CLEAVE_RECORDS);
	CHECK(answers("{\"command\":\"explain\",\"exits\":7}", "status", "running"));
	CHECK_EQ(exits_asked, 7);
	CHECK(answers("{\"command\":\"explain\",\"exits\":99999999999}", "status", "running"));
	CHECK_EQ(exits_asked, CLEAVE_RECORDS);
	CHECK(answers("{\"command\":\"explain\",\"exits\":-1}", "status", "running"));
	CHECK(answers("{\"command\":\"explain\",\"exits\":\"x\"}", "status", "running"));
	CHECK(answers("{\"command\":\"reboot\"}", "error", "no such command"));
	CHECK(answers("{\"command\":7}", "error", "no \"command\""));
	CHECK(answers("{}", "error", "no \"command\""));
	CHECK(answers("[]", "error", "not a JSON object"));
	CHECK(answers("{\"command\":\"stat\"} {}", "error", "not a JSON object"));
	CHECK(answers("", "error", "not a JSON object"));
	CHECK(answers("\xff\xfe{", "error", "not a JSON object"));
	CHECK(serves());
	stop();
	end();
}

/* Several on one connection, in one piece or byte by byte. */
UNIT_TEST(requests_in_pieces)
{
	static const char two[] = "{\"command\":\"stat\"}\n{\"command\":\"stat\"}\n";
	static const char both[] = "{\"name\":\"counted\"}\n{\"name\":\"counted\"}\n";
	char buf[sizeof(both)] = "";
	size_t i;
	int fd;

	begin();
	REQUIRE(start("web-1", true));
	fd = open_client();
	REQUIRE(fd >= 0);
	CHECK_EQ(send(fd, two, strlen(two), 0), strlen(two));
	CHECK_EQ(drain(fd, buf, strlen(both)), strlen(both));
	CHECK(!strcmp(buf, both));
	for (i = 0; i < strlen(two); i++)
		CHECK_EQ(send(fd, two + i, 1, 0), 1);
	memset(buf, 0, sizeof(buf));
	CHECK_EQ(drain(fd, buf, strlen(both)), strlen(both));
	CHECK(!strcmp(buf, both));
	close(fd);
	stop();
	end();
}

UNIT_TEST(oversized)
{
	static char big[CONTROL_REQUEST_MAX * 4];
	char buf[256] = "";
	int fd;

	begin();
	REQUIRE(start("web-1", true));
	fd = open_client();
	REQUIRE(fd >= 0);
	memset(big, ' ', sizeof(big));
	CHECK_EQ(send(fd, big, CONTROL_REQUEST_MAX, 0), CONTROL_REQUEST_MAX);
	drain(fd, buf, sizeof(buf) - 1);
	CHECK(strstr(buf, "too long"));
	close(fd);
	/* More of it than it would ever take. */
	fd = open_client();
	send(fd, big, sizeof(big), MSG_NOSIGNAL);
	CHECK(serves());
	close(fd);
	stop();
	end();
}

/* As many as are served, and more, who say nothing: each has its time, and no more. */
UNIT_TEST(silent)
{
	int fd[CONTROL_CLIENTS + 4];
	char c;
	size_t i;

	begin();
	REQUIRE(start("web-1", true));
	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		fd[i] = open_client();
		CHECK(fd[i] >= 0);
		CHECK_EQ(send(fd[i], "{", i % 2, MSG_NOSIGNAL), i % 2);
	}
	CHECK(serves());
	CHECK_EQ(recv(fd[0], &c, 1, 0), 0);
	for (i = 0; i < ARRAY_SIZE(fd); i++)
		close(fd[i]);
	CHECK(serves());
	stop();
	end();
}

/* Asks for much, and does not take it; or is gone when it comes. */
UNIT_TEST(does_not_read)
{
	static const char request[] = "{\"command\":\"explain\"}\n";
	char buf[300100];
	int fd, gone;

	begin();
	REQUIRE(start("web-1", true));
	fd = open_client();
	CHECK_EQ(send(fd, request, strlen(request), 0), strlen(request));
	gone = open_client();
	CHECK_EQ(send(gone, request, strlen(request), 0), strlen(request));
	close(gone);
	CHECK(serves());
	poll(NULL, 0, 2 * CONTROL_TIMEOUT_MS);
	CHECK(serves());
	CHECK(drain(fd, buf, sizeof(buf)) < 300000);
	close(fd);
	stop();
	end();
}

/* Its console's reader does not read, say: said in time, while others are served. */
UNIT_TEST(stuck_vcpu)
{
	begin();
	REQUIRE(start("web-1", true));
	for (unsigned int n = 1; n <= m.cpus; n++) {
		atomic_store(&stuck, n);
		CHECK(answers("{\"command\":\"explain\"}", "error", "did not stop in time"));
		CHECK(serves());
		atomic_store(&stuck, 0);
		machine_kick(&m);	/* it comes out at last */
		CHECK(answers("{\"command\":\"explain\"}", "status", "running"));
	}
	stop();
	end();
}

/* The guest ends under those who wait: they hear of it at once. */
UNIT_TEST(ends_meanwhile)
{
	static const char request[] = "{\"command\":\"explain\"}\n";
	char c;
	int fd;

	begin();
	REQUIRE(start("web-1", true));
	atomic_store(&stuck, 1);
	fd = open_client();
	CHECK_EQ(send(fd, request, strlen(request), 0), strlen(request));
	poll(NULL, 0, 50);
	stop();
	CHECK_EQ(recv(fd, &c, 1, 0), 0);
	close(fd);
	end();
}

/* ---- the life of a guest ---------------------------------------------------------------- */

UNIT_TEST(tells_what_there_is)
{
	struct json_object *doc;

	begin();
	REQUIRE(start("web-1", true));
	CHECK_EQ(ask("{\"command\":\"version\"}", &doc), 0);
	CHECK_EQ(doc_get_count(doc, "api"), CONTROL_API);
	CHECK_EQ(doc_length(doc, "commands"), ARRAY_SIZE(commands));
	json_object_put(doc);
	strcpy(args.kernel, "/boot/vmlinuz");
	CHECK_EQ(ask("{\"command\":\"status\"}", &doc), 0);
	CHECK(!strcmp(doc_get_text(doc, "name"), "web-1"));
	CHECK(!strcmp(doc_get_text(doc, "state"), "running"));
	CHECK(!strcmp(doc_get_text(doc, "what"), "/boot/vmlinuz"));
	CHECK_EQ(doc_get_count(doc, "pid"), getpid());
	CHECK_EQ(doc_get_count(doc, "cpus"), 3);
	CHECK_EQ(doc_get_count(doc, "memory"), 1 << 20);
	CHECK(doc_get_count(doc, "uptime_ms") < 60000);
	json_object_put(doc);
	atomic_store(&m.started, 0);
	CHECK(answers("{\"command\":\"status\"}", "state", "starting"));
	CHECK(answers("{\"command\":\"pause\"}", "error", "try again"));
	stop();
	end();
}

UNIT_TEST(pauses)
{
	begin();
	REQUIRE(start("web-1", true));
	CHECK(answers("{\"command\":\"pause\"}", "state", "paused"));
	CHECK(answers("{\"command\":\"status\"}", "state", "paused"));
	CHECK(answers("{\"command\":\"pause\"}", "state", "paused"));
	CHECK(answers("{\"command\":\"explain\"}", "status", "running"));	/* is served */
	CHECK(answers("{\"command\":\"powerbutton\"}", "error", "resume it first"));
	CHECK_EQ(atomic_load(&presses), 0);
	CHECK(answers("{\"command\":\"resume\"}", "state", "running"));
	CHECK(answers("{\"command\":\"resume\"}", "state", "running"));
	CHECK(answers("{\"command\":\"status\"}", "state", "running"));
	CHECK(answers("{\"command\":\"powerbutton\"}", "button", "pressed"));
	CHECK_EQ(atomic_load(&presses), 1);
	resume_fails = -EIO;
	CHECK(answers("{\"command\":\"pause\"}", "state", "paused"));
	CHECK(answers("{\"command\":\"resume\"}", "error", "time has passed"));
	resume_fails = 0;
	stop();
	end();
}

/* A CPU that does not come out: it is said, and the guest is not left to stop at some later time. */
UNIT_TEST(cannot_pause)
{
	static const char request[] = "{\"command\":\"pause\"}\n";
	char buf[256] = "";
	int fd;

	begin();
	REQUIRE(start("web-1", true));
	atomic_store(&stuck_out, true);
	CHECK(answers("{\"command\":\"pause\"}", "error", "did not stop in time"));
	CHECK_EQ(atomic_load(&paused), PAUSE_NONE);
	/* Somebody else lets it go on meanwhile. */
	fd = open_client();
	CHECK_EQ(send(fd, request, strlen(request), 0), strlen(request));
	while (atomic_load(&paused) != PAUSE_PENDING)
		poll(NULL, 0, 1);
	CHECK(answers("{\"command\":\"status\"}", "state", "pausing"));
	CHECK(answers("{\"command\":\"resume\"}", "state", "running"));
	CHECK(recv(fd, buf, sizeof(buf) - 1, 0) > 0 && strstr(buf, "meanwhile"));
	close(fd);
	stop();
	end();
}

/* Those who wait for its end are told how it ended; half of the room is theirs at most. */
UNIT_TEST(waits_for_the_end)
{
	static const char request[] = "{\"command\":\"wait\"}\n";
	int fd[CONTROL_WAITERS];
	char buf[256] = "";
	size_t i;

	begin();
	REQUIRE(start("web-1", true));
	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		fd[i] = open_client();
		CHECK_EQ(send(fd[i], request, strlen(request), 0), strlen(request));
	}
	poll(NULL, 0, 2 * CONTROL_TIMEOUT_MS);	/* they have all the time they want */
	CHECK(answers("{\"command\":\"wait\"}", "error", "too many"));
	CHECK(serves());
	CHECK(answers("{\"command\":\"kill\"}", "state", "ending"));
	CHECK_EQ(atomic_load(&m.outcome), M_KILLED);
	CHECK(answers("{\"command\":\"status\"}", "state", "ending"));
	stop();
	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		memset(buf, 0, sizeof(buf));
		drain(fd[i], buf, sizeof(buf) - 1);
		CHECK(!strcmp(buf, "{\"name\":\"web-1\",\"outcome\":\"killed\"}\n"));
		close(fd[i]);
	}
	end();
}

/* ---- the console -------------------------------------------------------------------------- */

static bool start_detached(void)
{
	strcpy(args.name, "web-1");
	if (control_claim(&m, args.name, sizeof(args.name), true) || !m.control ||
	    control_keep_console(&m))
		return false;
	control_start(&m);
	atomic_store(&vcpu_ends, false);
	return !pthread_create(&vcpu, NULL, vcpu_thread, NULL) &&
	       !runtime_open(&rt, false, line, sizeof(line));
}

/* Attached, as that; -1 if not. */
static int attach(const char *request, const char *as)
{
	struct timespec until = client_until(5000);
	struct json_object *answer = NULL;
	int fd = client_begin(&rt, args.name, request, &until);

	if (fd < 0 || client_head(fd, &until, &answer) || strcmp(doc_get_text(answer, "console"), as)) {
		json_object_put(answer);
		return -1;
	}
	json_object_put(answer);
	fcntl(fd, F_SETFL, 0);
	return fd;
}

#define WRITE_ALL	"{\"command\":\"console\",\"write\":true,\"lines\":1000}"
#define READ_NONE	"{\"command\":\"console\",\"lines\":0}"

static void puts_guest(const char *text)
{
	hub_put(m.hub, text, strlen(text));
}

static bool shows(int fd, const char *text)
{
	char buf[512] = "";

	drain(fd, buf, strlen(text));
	if (strcmp(buf, text))
		printf("# '%s', not '%s'\n", buf, text);
	return !strcmp(buf, text);
}

UNIT_TEST(console)
{
	int writer, reader, other;
	char buf[64] = "";

	begin();
	REQUIRE(start("web-1", true));
	CHECK(answers(WRITE_ALL, "error", "is the terminal"));
	stop();
	REQUIRE(start_detached());
	puts_guest("first\nlast");
	writer = attach(WRITE_ALL, "writer");
	reader = attach(READ_NONE, "reader");
	other = attach("{\"command\":\"console\",\"write\":true,\"lines\":1}", "reader");
	REQUIRE(writer >= 0 && reader >= 0 && other >= 0);
	CHECK(shows(writer, "first\nlast"));
	CHECK(shows(other, "last"));
	puts_guest(" and more\n");
	CHECK(shows(writer, " and more\n") && shows(reader, " and more\n") && shows(other, " and more\n"));
	/* What the writer sends comes to the guest, what readers send does not. */
	CHECK_EQ(send(reader, "no", 2, 0), 2);
	CHECK_EQ(send(writer, "yes\1\n{}", 7, 0), 7);
	for (int i = 0; i < 1000 && read(m.hub->input[0], buf, sizeof(buf)) < 0; i++)
		poll(NULL, 0, 1);
	CHECK(!strcmp(buf, "yes\1\n{}"));
	CHECK(read(m.hub->input[0], buf, sizeof(buf)) < 0);
	/* Another may write when the writer is gone. */
	close(writer);
	for (int i = 0; i < 1000 && (writer = attach(WRITE_ALL, "writer")) < 0; i++)
		poll(NULL, 0, 1);
	CHECK(writer >= 0 && shows(writer, "first\nlast and more\n"));
	CHECK(serves());
	/* At the end each has what came last. */
	puts_guest("bye");
	stop();
	CHECK(shows(writer, "bye") && shows(reader, "bye"));
	CHECK_EQ(recv(reader, buf, 1, 0), 0);
	close(writer);
	close(reader);
	close(other);
	end();
}

/* The guest waits for none of these; who comes back is told what he has lost. */
UNIT_TEST(readers_that_do_not_read)
{
	static char text[4096 + 1], got[RING_DATA + 1000];
	int dead, gone, lives;
	uint64_t before;
	size_t n;

	begin();
	REQUIRE(start_detached());
	memset(text, 'x', sizeof(text) - 1);
	dead = attach(READ_NONE, "reader");
	gone = attach(WRITE_ALL, "writer");
	close(gone);
	before = now_ms();
	for (int i = 0; i < 1000; i++)
		puts_guest(text);	/* 4 MB, of which 256 KiB are kept */
	CHECK(now_ms() - before < 2000);
	lives = attach(READ_NONE, "reader");
	puts_guest("now");
	CHECK(shows(lives, "now"));
	CHECK(serves());
	poll(NULL, 0, 2 * CONTROL_TIMEOUT_MS);	/* it is not hung up on for that */
	puts_guest("!");
	CHECK(shows(lives, "!"));
	/* What the socket holds, a gap, and the end. */
	for (n = 0; ; ) {
		ssize_t k = recv(dead, got, sizeof(got) - 1, 0);

		if (k <= 0)
			break;
		got[k] = 0;
		n += k;
		if (strchr(got, '!'))
			break;
	}
	CHECK(n > RING_DATA && n < 4096000);
	close(dead);
	close(lives);
	stop();
	end();
}

/* A guest that takes no input: the writer is made to wait, nobody else is. */
UNIT_TEST(input_that_nobody_takes)
{
	static char big[300000], back[300000];
	size_t sent = 0, got = 0;
	int fd;

	begin();
	REQUIRE(start_detached());
	fd = attach(WRITE_ALL, "writer");
	REQUIRE(fd >= 0);
	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = i * 7 + i / 256;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	for (int i = 0; i < 200; i++) {
		ssize_t n = send(fd, big + sent, sizeof(big) - sent, MSG_NOSIGNAL);

		sent += n > 0 ? n : 0;
		poll(NULL, 0, 1);
	}
	CHECK(sent > 0 && serves());
	/* And all of it comes, in order, when it does. */
	for (int i = 0; i < 20000 && got < sizeof(big); i++) {
		ssize_t n = send(fd, big + sent, sizeof(big) - sent, MSG_NOSIGNAL);

		sent += n > 0 ? n : 0;
		n = read(m.hub->input[0], back + got, sizeof(back) - got);
		if (n > 0)
			got += n;
		else
			poll(NULL, 0, 1);
	}
	CHECK_EQ(got, sizeof(big));
	CHECK(!memcmp(big, back, sizeof(big)));
	close(fd);
	stop();
	end();
}

UNIT_TEST(many_consoles)
{
	int fd[CONTROL_CONSOLES];
	size_t i;

	begin();
	REQUIRE(start_detached());
	for (i = 0; i < CONTROL_CONSOLES; i++)
		CHECK((fd[i] = attach(WRITE_ALL, i ? "reader" : "writer")) >= 0);
	CHECK(answers(WRITE_ALL, "error", "too many"));
	CHECK(serves());
	puts_guest("all");
	for (i = 0; i < CONTROL_CONSOLES; i++) {
		CHECK(shows(fd[i], "all"));
		close(fd[i]);
	}
	CHECK(serves());
	stop();
	/* The log stays, whoever asks for it. */
	{
		char path[128];
		struct ring *r;

		snprintf(path, sizeof(path), "%s/cleave/web-1.log", home);
		CHECK(!ring_load(AT_FDCWD, path, &r) && r->total == 3);
		free(r);
	}
	end();
}

/* What the tool itself says. */
UNIT_TEST(stream)
{
	FILE *f;
	int fd;

	begin();
	REQUIRE(start_detached());
	fd = attach(READ_NONE, "reader");
	f = hub_stream(m.hub);
	REQUIRE(f && fd >= 0);
	fprintf(f, "cleave: %s\n", "a line");
	CHECK(shows(fd, "cleave: a line\n"));
	fclose(f);
	close(fd);
	stop();
	end();
}

/* ---- names -------------------------------------------------------------------------------- */

UNIT_TEST(names)
{
	struct machine other = { .args = &args };
	char name[ARGS_NAME_MAX + 1], known[64];
	struct rlimit limit, none;

	begin();
	REQUIRE(start("web-1", true));
	strcpy(name, "web-1");
	CHECK_EQ(control_claim(&other, name, sizeof(name), true), -EADDRINUSE);
	CHECK(strstr(line, "--name web-1: a guest of that name runs; "));
	/* Nor does it lose its name to one that could not ask whether it lives. */
	getrlimit(RLIMIT_NOFILE, &limit);
	none = limit;
	none.rlim_cur = 0;
	setrlimit(RLIMIT_NOFILE, &none);
	CHECK_EQ(runtime_claim(&rt, "web-1"), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &limit);
	CHECK(serves());
	CHECK_EQ(control_claim(&other, name, sizeof(name), false), 0);
	CHECK(!strcmp(name, "web-1-2") && other.control);
	runtime_list(&rt, known, sizeof(known));
	CHECK(!strcmp(known, "web-1, web-1-2") || !strcmp(known, "web-1-2, web-1"));
	control_stop(&other);
	runtime_list(&rt, known, sizeof(known));
	CHECK(!strcmp(known, "web-1"));
	stop();
	REQUIRE(!runtime_open(&rt, false, line, sizeof(line)));
	runtime_list(&rt, known, sizeof(known));
	CHECK(!*known);
	runtime_close(&rt);
	end();
}

UNIT_TEST(names_of_full_length)
{
	struct machine other = { .args = &args };
	char name[ARGS_NAME_MAX + 1];

	begin();
	memset(name, 'n', sizeof(name) - 1);
	name[ARGS_NAME_MAX] = 0;
	REQUIRE(start(name, false));
	CHECK(!strcmp(args.name, name));
	CHECK_EQ(control_claim(&other, name, sizeof(name), false), 0);
	CHECK(args_name(name) && !strcmp(name + ARGS_NAME_MAX - 4, "-2"));
	control_stop(&other);
	CHECK(serves());
	stop();
	end();
}

/* A socket that nobody listens to, and the report of an older guest. */
UNIT_TEST(stale)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	char *report;
	size_t len;

	begin();
	REQUIRE(!runtime_open(&rt, true, line, sizeof(line)));
	snprintf(a.sun_path, sizeof(a.sun_path), "%.60s/cleave/web-1.sock", home);
	REQUIRE(!bind(fd, (struct sockaddr *)&a, sizeof(a)));
	CHECK_EQ(runtime_save(&rt, "web-1", "{}"), 0);
	CHECK_EQ(runtime_connect(&rt, "web-1", 0), -ECONNREFUSED);
	CHECK_EQ(runtime_connect(&rt, "web-2", 0), -ENOENT);
	runtime_close(&rt);
	close(fd);
	REQUIRE(start("web-1", true));
	CHECK(serves());
	CHECK_EQ(runtime_load(&rt, "web-1", &report, &len), -ENOENT);
	stop();
	end();
}

UNIT_TEST(died)
{
	struct json_object *doc = json_object_new_object();
	char *report;
	size_t len;

	begin();
	doc_text(doc, "status", "dead");
	REQUIRE(start("web-1", true));
	control_died(&m, doc);
	CHECK(strstr(line, "cleave explain web-1"));
	stop();
	REQUIRE(!runtime_open(&rt, false, line, sizeof(line)));
	CHECK_EQ(runtime_load(&rt, "web-1", &report, &len), 0);
	CHECK(!strcmp(report, "{\"status\":\"dead\"}") && len == strlen(report));
	free(report);
	CHECK_EQ(client_failed(&rt, "web-1", -ENOENT, NULL), STATUS_NO_GUEST);
	CHECK(strstr(line, "died; `cleave explain web-1` tells why"));
	runtime_close(&rt);
	json_object_put(doc);
	end();
}

/* ---- the directory ---------------------------------------------------------------------------- */

UNIT_TEST(directory)
{
	char path[80], other[80];
	struct stat info;

	begin();
	CHECK_EQ(runtime_open(&rt, false, line, sizeof(line)), -ENOENT);
	REQUIRE(!runtime_open(&rt, true, line, sizeof(line)));
	snprintf(path, sizeof(path), "%s/cleave", home);
	CHECK(!strcmp(rt.path, path));
	CHECK(!stat(path, &info) && (info.st_mode & 07777) == 0700);
	runtime_close(&rt);
	chmod(path, 0710);
	CHECK_EQ(runtime_open(&rt, true, line, sizeof(line)), -EPERM);
	CHECK(strstr(line, path) && strchr(line, ';'));
	CHECK_EQ(rt.dir, -1);
	/* Not by way of a link that someone has put there. */
	snprintf(other, sizeof(other), "%s/other", home);
	rename(path, other);
	chmod(other, 0700);
	CHECK(!symlink(other, path));
	CHECK(runtime_open(&rt, true, line, sizeof(line)) < 0);
	unlink(path);
	CHECK(!close(open(path, O_CREAT | O_WRONLY, 0600)));
	CHECK_EQ(runtime_open(&rt, true, line, sizeof(line)), -ENOTDIR);
	end();
}

/* Without a place for its socket a guest runs all the same. */
UNIT_TEST(no_directory)
{
	char path[80], name[ARGS_NAME_MAX + 1] = "web-1";
	struct machine other = { .args = &args };
	struct vcpu v = { .m = &other };

	begin();
	snprintf(path, sizeof(path), "%s/cleave", home);
	CHECK(!close(open(path, O_CREAT | O_WRONLY, 0600)));
	CHECK_EQ(control_claim(&other, name, sizeof(name), true), 0);
	CHECK(!other.control && strstr(line, "the guest runs, but"));
	control_start(&other);
	control_serve(&v);
	control_died(&other, NULL);
	control_stop(&other);
	end();
}

/* Longer than a socket's address may be. */
UNIT_TEST(long_directory)
{
	char path[400];

	begin();
	snprintf(path, sizeof(path), "%s/%0200d", home, 0);
	REQUIRE(!mkdir(path, 0700));
	setenv("XDG_RUNTIME_DIR", path, 1);
	REQUIRE(start("web-1", true));
	CHECK(serves());
	stop();
	end();
}
