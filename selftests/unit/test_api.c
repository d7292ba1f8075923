// SPDX-License-Identifier: GPL-2.0
/*
 * Documentation/api.rst, held against what the process of a guest answers: each
 * example is sent, and what comes must be what the page says, in its members and
 * their types, and in its words where programs look at them.
 */
#include <fcntl.h>
#include <stdarg.h>

#include "unit.h"
#include "cmd/control.c"

#define PAGE	TOP "/Documentation/api.rst"

static struct run_args args = {
	.name = "web-1", .kernel = "/boot/vmlinuz", .memory = 512 << 20,
	.slice = { true, "small", 20, 100, 50 << 20, 12 << 20 },
};
static struct machine m = { .args = &args };
static struct vcpu cpus[2];
static struct cleave_run run;
static struct cleave_recorder rec;
static uint8_t ram[0x10000];
static struct runtime rt;

void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	printf("# ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
}

/* ---- a guest of two CPUs ------------------------------------------------------------- */

int cleave_get_state(int vcpu, struct cleave_state *st)
{
	memset(st, 0, sizeof(*st));
	return 0;
}

int cleave_get_msrs(int vcpu, struct cleave_msrs *msrs)
{
	return msrs->count;
}

int cleave_set_msrs(int vcpu, struct cleave_msrs *msrs)
{
	return msrs->count;
}

static atomic_uint kicked[2];
static pthread_t thread[2];

void machine_kick(struct machine *machine)
{
	atomic_store(&kicked[0], 1);
	atomic_store(&kicked[1], 1);
	pause_kicked(machine);
}

bool machine_end(struct machine *machine, enum outcome why)
{
	atomic_store(&machine->outcome, why);
	machine_kick(machine);
	return true;
}

void machine_clock_stop(struct machine *machine)
{
}

void machine_clock_go_on(struct machine *machine)
{
}

int sandbox_thread(enum sandbox_thread kind)
{
	return 0;
}

void pm_power_button(struct pm *pm)
{
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *v = arg;

	while (atomic_load(&m.outcome) == M_RUNS) {
		if (atomic_exchange(&kicked[v->id], 0)) {
			control_serve(v);
			pause_park(v, control_serve);
		}
		poll(NULL, 0, 1);
	}
	return NULL;
}

static bool begin(char *home)
{
	char err[512];
	int i;

	if (!mkdtemp(home))
		abort();
	setenv("XDG_RUNTIME_DIR", home, 1);
	pause_init(&m);
	m.vcpu = cpus;
	m.cpus = 2;
	cleave_mem_add(&m.mem, 0, sizeof(ram), ram, 0);
	atomic_store(&m.started, status_now());
	for (i = 0; i < 2; i++)
		cpus[i] = (struct vcpu){ .m = &m, .id = i, .run = &run, .recorder = &rec };
	if (control_claim(&m, args.name, sizeof(args.name), true) || !m.control || control_keep_console(&m))
		return false;
	control_start(&m);
	for (i = 0; i < 2; i++)
		pthread_create(&thread[i], NULL, vcpu_thread, &cpus[i]);
	return !runtime_open(&rt, false, err, sizeof(err));
}

/* ---- what the page says ---------------------------------------------------------------- */

/* "..." as JSON: a member or an element of that name, which says that there may be others. */
static struct json_object *page_json(const char *text)
{
	static char out[8192];
	struct json_object *doc;
	size_t n = 0;

	for (; *text && n < sizeof(out) - 16; text++) {
		if (!strncmp(text, "...}", 4)) {
			n += sprintf(out + n, "\"...\":0}");
			text += 3;
		} else if (!strncmp(text, "[...]", 5)) {
			n += sprintf(out + n, "[\"...\"]");
			text += 4;
		} else {
			out[n++] = *text;
		}
	}
	doc = doc_parse(out, n);
	if (!doc)
		printf("# no JSON: %.*s\n", (int)n, out);
	return doc;
}

/* Words that programs look at, or people. */
static bool exact(const char *key)
{
	static const char *const keys[] = {
		"name", "state", "status", "outcome", "console", "button", "error", "api", "cpus", "memory",
		"what", "commands",
	};

	for (size_t i = 0; i < ARRAY_SIZE(keys); i++)
		if (!strcmp(keys[i], key))
			return true;
	return false;
}

static bool same(const char *key, struct json_object *page, struct json_object *got);

static bool same_members(struct json_object *page, struct json_object *got)
{
	bool open = json_object_object_get_ex(page, "...", NULL);
	struct json_object *sub;

	json_object_object_foreach(page, key, value) {
		if (!strcmp(key, "..."))
			continue;
		if (!json_object_object_get_ex(got, key, &sub) || !same(key, value, sub)) {
			printf("# %s\n", key);
			return false;
		}
	}
	if (open)
		return json_object_object_length(got) >= json_object_object_length(page);
	return json_object_object_length(got) == json_object_object_length(page);
}

static bool same(const char *key, struct json_object *page, struct json_object *got)
{
	size_t i, n;

	if (json_object_get_type(page) != json_object_get_type(got))
		return false;
	if (json_object_is_type(page, json_type_object))
		return same_members(page, got);
	if (json_object_is_type(page, json_type_array)) {
		n = json_object_array_length(page);
		if (n == 1 && !strcmp(json_object_get_string(json_object_array_get_idx(page, 0)), "..."))
			return json_object_array_length(got);
		if (n != json_object_array_length(got))
			return false;
		for (i = 0; i < n; i++)
			if (!same(key, json_object_array_get_idx(page, i), json_object_array_get_idx(got, i)))
				return false;
		return true;
	}
	return !exact(key) || json_object_equal(page, got);
}

#define OPEN	8

static struct {
	int fd[OPEN];		/* that wait for an answer, the newest last */
	char *text[OPEN];
	unsigned int count, answers;
	bool waited;		/* the guest has been told to end, and has */
	char sent[65536];	/* all requests */
} talk;

static void send_request(const char *text)
{
	struct timespec end = client_until(20000);

	if (talk.count == OPEN)
		abort();
	strncat(talk.sent, text, sizeof(talk.sent) - strlen(talk.sent) - 1);
	talk.text[talk.count] = strdup(text);
	talk.fd[talk.count] = client_begin(&rt, args.name, text, &end);
	CHECK(talk.fd[talk.count] >= 0);
	talk.count++;
	poll(NULL, 0, 20);	/* in the order of the page, on connections of their own */
}

static void end_guest(void)
{
	for (int i = 0; i < 2; i++)
		pthread_join(thread[i], NULL);
	control_stop(&m);
	talk.waited = true;
}

static int kept[OPEN];		/* consoles stay attached */
static unsigned int kept_count;

static void take_answer_of(const char *text)
{
	struct json_object *page = page_json(text), *got = NULL;
	struct timespec end = client_until(20000);
	int fd, ret;

	REQUIRE(page && talk.count);
	fd = talk.fd[--talk.count];
	if (strstr(talk.text[talk.count], "\"wait\""))
		end_guest();
	ret = client_head(fd, &end, &got);
	CHECK(!ret || (ret == -EREMOTEIO && strstr(text, "\"error\"")));
	if (!got || !same("", page, got))
		unit_fail("%s: the page has %s, and this came: %.300s", talk.text[talk.count], text,
			  got ? json_object_to_json_string(got) : "(nothing)");
	free(talk.text[talk.count]);
	json_object_put(page);
	json_object_put(got);
	talk.answers++;
	if (strstr(text, "\"console\"") && kept_count < OPEN)
		kept[kept_count++] = fd;
	else
		close(fd);
}

/* The page's last part goes before the guest ends: the one with "wait" is kept for the end. */
static void go_through(bool wait_part)
{
	FILE *f = fopen(PAGE, "re");
	char line[4096];
	bool in_wait = false;

	REQUIRE(f);
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = 0;
		if (strncmp(line, "  > ", 4) && strncmp(line, "  < ", 4)) {
			in_wait = false;
			continue;
		}
		in_wait |= line[2] == '>' && strstr(line, "\"wait\"");
		if (in_wait != wait_part)
			continue;
		if (line[2] == '>')
			send_request(line + 4);
		else
			take_answer_of(line + 4);
	}
	CHECK_EQ(talk.count, 0);
	fclose(f);
}

UNIT_TEST(examples)
{
	char home[] = "/tmp/cleave-api-XXXXXX", name[64], command[64];
	size_t i;

	REQUIRE(begin(home));
	go_through(false);
	go_through(true);
	CHECK(talk.waited);
	CHECK(talk.answers > ARRAY_SIZE(commands));
	/* Each command has an example. */
	for (i = 0; i < ARRAY_SIZE(commands); i++) {
		snprintf(name, sizeof(name), "{\"command\":\"%s\"", commands[i].name);
		if (!strstr(talk.sent, name))
			unit_fail("no example of %s", commands[i].name);
	}
	while (kept_count)
		close(kept[--kept_count]);
	runtime_close(&rt);
	pause_destroy(&m);
	snprintf(command, sizeof(command), "rm -rf %s", home);
	if (system(command))
		abort();
}

/* The numbers in its text. */
UNIT_TEST(limits)
{
	static char page[65536];
	char text[128];
	FILE *f = fopen(PAGE, "re");

	REQUIRE(f);
	page[fread(page, 1, sizeof(page) - 1, f)] = 0;
	fclose(f);
	for (char *p = page; *p; p++)
		if (*p == '\n')
			*p = ' ';
#define CHECK_TEXT(...)							\
	do {								\
		snprintf(text, sizeof(text), __VA_ARGS__);		\
		if (!strstr(page, text))				\
			unit_fail("not in the page: %s", text);		\
	} while (0)
	CHECK_TEXT("of at most %u bytes with its newline", CONTROL_REQUEST_MAX);
	CHECK_TEXT("serves %u connections at a time", CONTROL_CLIENTS);
	CHECK_TEXT("At most %u of the connections wait", CONTROL_WAITERS);
	CHECK_TEXT("at most %u have the console", CONTROL_CONSOLES);
	CHECK_TEXT("default: %u; at most what is kept, %u KiB", CONTROL_LINES, RING_DATA >> 10);
	CHECK_TEXT("default %u; of a guest", CLEAVE_RECORDS);
	CHECK_EQ(CONTROL_TIMEOUT_MS, 10000);
}
