// SPDX-License-Identifier: GPL-2.0
/* `cleave launch`: an instance, from its name to its address. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "doc.h"
#include "launch.h"
#include "progress.h"

#define WAIT_S	300

static void help(void)
{
	printf("usage: cleave launch NAME --type TYPE --image IMAGE [OPTION]...\n"
	       "       cleave launch NAME [OPTION]...\n"
	       "Makes an instance and starts it in the background, with a host name, a network, and\n"
	       "SSH keys that may log in; tells its address. The second form starts one again that\n"
	       "was stopped, as it was. `cleave types` and `cleave images` list what there is.\n\n"
	       "  -t, --type TYPE      CPUs, memory, and its slice of the host, by cgroup v2\n"
	       "  -i, --image IMAGE    what its disk is a copy of, on write\n"
	       "  -k, --ssh-key FILE   public keys that may log in, one a line (default: ~/.ssh/*.pub)\n"
	       "  -u, --user-data FILE what cloud-init shall do, in place of the keys\n"
	       "      --net OPTIONS    as `cleave run --net` has them (default: user, and a port of\n"
	       "                       this host that leads to its SSH)\n"
	       "      --no-limits      without a cgroup: it may take what it gets\n"
	       "      --wait [SECONDS] until it answers on SSH (default: %u)\n"
	       "      --types FILE     another file of types\n"
	       "  -j, --json           name, address, port and command, as a JSON object\n"
	       "  -h, --help           this\n\n"
	       "`cleave stop NAME` stops it, `cleave delete NAME` removes it with its disk.\n"
	       "Exit status: 0; 1 it could not be started; 2 wrong usage.\n", WAIT_S);
}

static int usage(const char *why)
{
	complain("launch: %s; `cleave launch --help` tells the options", why);
	return STATUS_USAGE;
}

/* The next word may be the seconds, too. */
static bool parse_wait(int argc, char **argv, const char *arg, struct launch_args *a)
{
	char *end;

	a->wait = true;
	a->wait_s = WAIT_S;
	if (!arg && optind < argc && *argv[optind] >= '0' && *argv[optind] <= '9')
		arg = argv[optind++];
	if (!arg)
		return true;
	a->wait_s = strtoul(arg, &end, 10);
	return *arg >= '0' && *arg <= '9' && !*end && a->wait_s && a->wait_s <= 86400;
}

static int parse(int argc, char **argv, struct launch_args *a)
{
	static const struct option options[] = {
		{ "type", required_argument, NULL, 't' }, { "image", required_argument, NULL, 'i' },
		{ "ssh-key", required_argument, NULL, 'k' }, { "user-data", required_argument, NULL, 'u' },
		{ "net", required_argument, NULL, 'n' }, { "types", required_argument, NULL, 'T' },
		{ "no-limits", no_argument, NULL, 'L' }, { "wait", optional_argument, NULL, 'w' },
		{ "json", no_argument, NULL, 'j' }, { "help", no_argument, NULL, 'h' }, { }
	};
	int opt;

	memset(a, 0, sizeof(*a));
	while ((opt = getopt_long(argc, argv, "t:i:k:u:jh", options, NULL)) != -1) {
		const char **to = opt == 't' ? &a->type : opt == 'i' ? &a->image : opt == 'k' ? &a->keys :
				  opt == 'u' ? &a->user_data : opt == 'n' ? &a->net : opt == 'T' ? &a->types : NULL;

		if (opt == 'h') {
			help();
			exit(0);
		}
		if (to)
			*to = optarg;
		else if (opt == 'j')
			a->json = true;
		else if (opt == 'L')
			a->no_limits = true;
		else if (opt != 'w')
			return STATUS_USAGE;
		else if (!parse_wait(argc, argv, optarg, a))
			return usage("--wait: seconds, from 1 to 86400");
	}
	if (optind + 1 != argc)
		return usage(optind == argc ? "which NAME shall it have?" : "one NAME, and no more");
	a->name = argv[optind];
	return 0;
}

/* ---- its port -------------------------------------------------------------------------------- */

/* One of the host's that is free: the one it had, if that is. 0: none. */
static unsigned int free_port(unsigned int wanted)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
	socklen_t len = sizeof(a);

	a.sin_port = htons(wanted);
	/* Who was logged in when it was stopped leaves it in use (TIME_WAIT) for a minute. */
	if (fd >= 0 && wanted)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
	if (fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof(a))) {
		a.sin_port = 0;
		if (!wanted || bind(fd, (struct sockaddr *)&a, sizeof(a)))
			a.sin_port = 0;
	}
	if (fd < 0 || getsockname(fd, (struct sockaddr *)&a, &len))
		a.sin_port = 0;
	if (fd >= 0)
		close(fd);
	return ntohs(a.sin_port);
}

static int choose_port(struct instance *i)
{
	char text[32];
	int n, ret;

	i->port = free_port(i->port);
	n = snprintf(text, sizeof(text), "ssh = %u\n", i->port);
	ret = i->port ? store_put(i->dir, "port", text, n) : -EADDRNOTAVAIL;
	if (ret)
		complain("launch: a port for SSH: %s; give --net", strerror(-ret));
	return ret;
}

/* As it was given, now or when it was made; else one behind which other tenants cannot get. */
static int choose_net(const struct launch_args *a, struct instance *i, char *net, size_t size)
{
	int ret = a->net ? instance_put_net(i->dir, a->net) : 0;

	if (ret) {
		complain("launch: --net %s: %s", a->net, strerror(-ret));
		return ret;
	}
	if (store_get(i->dir, "net", "net", net, size)) {
		i->port = 0;
		return 0;
	}
	ret = choose_port(i);
	snprintf(net, size, "user,host=off,hostfwd=tcp:127.0.0.1:%u:22", i->port);
	return ret;
}

/* ---- starting it -------------------------------------------------------------------------------- */

static int start(const struct launch_args *a, struct instance *i)
{
	char conf[PATH_MAX + 16], net[1024], *argv[16] = { "run", "--detach", "--config", conf, "--name", i->name, };
	pid_t self = getpid();
	int argc = 6, ret;

	snprintf(conf, sizeof(conf), "%s/run.conf", i->dir);
	if (choose_net(a, i, net, sizeof(net)))
		return STATUS_ERROR;
	argv[argc++] = "--net";
	argv[argc++] = net;
	argv[argc++] = "--metadata";
	argv[argc++] = i->dir;
	if (a->no_limits)
		argv[argc++] = "--no-limits";
	ret = cmd_run(argc, argv);
	/* The guest's own process, and its end. */
	if (getpid() != self)
		exit(ret);
	return ret;
}

/* ---- its address ---------------------------------------------------------------------------------- */

/* Is it SSH that answers? The back end takes connections before the guest does. */
static bool answers(unsigned int port)
{
	struct sockaddr_in a = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char text[4];
	bool yes;

	yes = fd >= 0 && !connect(fd, (struct sockaddr *)&a, sizeof(a)) && poll(&p, 1, 1000) == 1 &&
	      recv(fd, text, 4, MSG_WAITALL) == 4 && !memcmp(text, "SSH-", 4);
	if (fd >= 0)
		close(fd);
	return yes;
}

static int wait_for(const struct launch_args *a, const struct instance *i)
{
	unsigned int waited;
	struct progress p;
	bool yes;

	progress_begin(&p, i->name);
	for (waited = 0; !(yes = answers(i->port)) && waited < a->wait_s && instance_runs(i->name); waited++) {
		sleep(1);
		if (progress_due(&p))
			progress_say(&p, "waits for its SSH, %u s of %u", waited + 1, a->wait_s);
	}
	progress_end(&p);
	if (yes)
		return 0;
	complain("%s: does not answer on SSH; `cleave console %s` shows what it does", i->name, i->name);
	return STATUS_ERROR;
}

static void tell(const struct launch_args *a, const struct instance *i)
{
	struct json_object *o = json_object_new_object();
	char ssh[128] = "";

	if (i->port)
		snprintf(ssh, sizeof(ssh), "ssh -p %u %s@127.0.0.1", i->port, i->login);
	doc_text(o, "name", i->name);
	doc_text(o, "type", i->type);
	doc_text(o, "image", i->image);
	if (i->port) {
		doc_text(o, "address", "127.0.0.1");
		doc_count(o, "port", i->port);
		doc_text(o, "ssh", ssh);
	}
	if (a->json)
		puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_NOSLASHESCAPE));
	else if (i->port)
		printf("%s: 127.0.0.1 port %u\n%s\n", i->name, i->port, ssh);
	else
		printf("%s: its address is its network's to give\n", i->name);
	json_object_put(o);
}

int cmd_launch(int argc, char **argv)
{
	struct launch_args a;
	struct instance i;
	bool made = false;
	int ret = parse(argc, argv, &a);

	ret = ret ?: instance_at("launch", a.name, &i);
	if (ret)
		return ret;
	if (instance_runs(a.name)) {
		complain("launch: %s: a guest of that name runs already; give another name, or `cleave stop %s`", a.name,
			 a.name);
		return STATUS_ERROR;
	}
	if (instance_read(&i)) {
		i.lock = store_lock(i.dir);
		if (i.lock < 0) {
			complain("launch: %s: %s", a.name, i.lock == -EBUSY ? "is being started, or deleted; wait for the end of that" :
				 strerror(-i.lock));
			return STATUS_ERROR;
		}
		if (a.type || a.image || a.keys || a.user_data)
			return usage("it is there already, and stays what it was made of; start it by its name alone, or `cleave delete` it");
	} else {
		if (!a.type || !a.image)
			return usage("there is no instance of that name; a new one wants --type and --image");
		ret = instance_make(&a, &i);
		made = !ret;
	}
	ret = ret ?: start(&a, &i);
	if (ret && made)
		store_retire(i.dir);
	if (i.lock >= 0)
		close(i.lock);
	if (ret)
		return ret;
	tell(&a, &i);
	if (fflush(stdout)) {
		complain("stdout: %s", strerror(errno));
		return STATUS_ERROR;
	}
	return a.wait && i.port ? wait_for(&a, &i) : 0;
}
