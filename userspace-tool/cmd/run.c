// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "control.h"
#include "render.h"
#include "report.h"
#include "sandbox.h"

static void help(void)
{
	printf("usage: cleave run [OPTION]...\n"
	       "Boots a kernel or a disk as a guest. Its console is this terminal.\n\n"
	       "  -k, --kernel FILE    bzImage, multiboot, or ELF with a PVH note (default: the\n"
	       "                       boot loader of the first --disk, by SeaBIOS; without one the\n"
	       "                       newest /boot/vmlinuz-*-cloud-amd64, else /boot/vmlinuz-*)\n"
	       "  -i, --initrd FILE    initial RAM disk (default: none)\n"
	       "  -a, --append STRING  command line (default: \"" ARGS_APPEND "\")\n"
	       "  -m, --memory SIZE    with K, M, G or T (default: %lluM)\n"
	       "  -c, --cpus N         CPUs, at most %u (default: 1)\n"
	       "      --pv LIST        paravirtual features, by commas: all (default), none, clock,\n"
	       "                       steal, eoi, ipi, tlb, unhalt, yield, poll, realtime\n"
	       "  -n, --name NAME      for `cleave explain` and `cleave stat` (default: the\n"
	       "                       kernel's, with a number if a guest has it already)\n"
	       "  -f, --firmware FILE  a ROM image that starts at the reset vector; --kernel is\n"
	       "                       for it to find by --device fw-cfg\n"
	       "      --flat FILE[,addr=N]  an image that is loaded at N and starts there in\n"
	       "                       real mode (default: 0x7c00)\n"
	       "      --disk FILE[,ro][,format=raw|qcow2][,serial=S][,overlay=FILE]  a disk,\n"
	       "                       /dev/vda and so on: a file or a block device; qcow2 is only\n"
	       "                       read; overlay= has what is written, FILE stays as it is\n"
	       "      --net user|tap=NAME[,mac=MAC][,mtu=N]  an interface: behind this user's\n"
	       "                       sockets, or of the host's; user has [,hostfwd=tcp:[ADDRESS:]\n"
	       "                       PORT:GUESTPORT]...[,dns=ADDRESS][,host=off][,restrict=on]\n"
	       "                       too, and tap [,vhost=on|off], the host's vhost-net\n"
	       "                       (default: if there)\n"
	       "      --rng            random numbers of the host's\n"
	       "      --console terminal|socket=PATH[,name=NAME]  a port: this terminal as hvc0, or\n"
	       "                       a unix socket, as a console or with a name for programs\n"
	       "      --balloon[=SIZE] memory that the guest frees goes back to the host; SIZE it\n"
	       "                       gives up from the start (default: none)\n"
	       "      --vsock cid=N    sockets of AF_VSOCK between guest and host, which knows the\n"
	       "                       guest by the number N, from 3 on\n"
	       "      --share DIR[,tag=NAME][,ro]  a folder of the host's, by Debian's virtiofsd:\n"
	       "                       `mount -t virtiofs NAME /mnt` (default: DIR's last part)\n"
	       "  -d, --device NAME[,KEY=VALUE]...  a device more; `--device help` lists them\n"
	       "      --config FILE    options, one a line: NAME = VALUE\n"
	       "      --detach         return when the guest runs, and keep its console for\n"
	       "                       `cleave console`\n"
	       "      --slice KEY=VALUE[,KEY=VALUE]...  what it has of the host, by a cgroup of its\n"
	       "                       own: cpu-share=, cpu-burst= (per cent of each CPU), disk-rate=,\n"
	       "                       network-rate= (bytes a second), type= (a name for it)\n"
	       "      --no-limits      --slice is told by `cleave ps`, and not held\n"
	       "      --metadata DIR   of an instance: what its network tells the guest of itself at\n"
	       "                       169.254.169.254, as clouds do; `cleave launch` gives it\n"
	       "      --user USER      root becomes this user once all files are open\n"
	       "      --no-sandbox     the process may do all that its user may\n"
	       "  -h, --help           this\n\n"
	       "Keys: Ctrl-A x ends the guest, Ctrl-A c shows its state, Ctrl-A p presses its\n"
	       "power button, Ctrl-A a sends Ctrl-A.\n"
	       "Exit status: 0 the guest powered off or was ended by Ctrl-A x; 1 it could not\n"
	       "start or the host failed it; 2 wrong usage; 3 it crashed; 4 it asked for a\n"
	       "reset; 128 + N signal N ended it, 137 also `cleave kill`; of --device debug-exit\n"
	       "what the guest wrote.\n",
	       ARGS_MEMORY >> 20, ARGS_CPUS_MAX);
}

static int status(struct machine *m)
{
	const char *name = m->args->name;

	console_newline(m);
	switch (atomic_load(&m->outcome)) {
	case M_OFF:
		return STATUS_OFF;
	case M_ENDED:
		complain("%s: ended by Ctrl-A x", name);
		return STATUS_OFF;
	case M_KILLED:
		complain("%s: ended by `cleave kill`", name);
		return STATUS_SIGNAL + SIGKILL;
	case M_RESET:
		complain("%s: asked for a reset, which ends it", name);
		return STATUS_RESET;
	case M_SIGNAL:
		complain("%s: ended by %s", name, strsignal(m->signal));
		return STATUS_SIGNAL + m->signal;
	case M_EXIT:
		return m->status;
	case M_CRASH:
		return STATUS_CRASH;
	}
	return STATUS_ERROR;
}

/* All threads of its vCPUs have ended. */
static void tell_crash(struct machine *m)
{
	struct json_object *doc = report_dead(m->dead, m->dead_error);

	console_newline(m);
	render_report(stderr, doc, REPORT_EXITS, false);
	control_died(m, doc);
	json_object_put(doc);
}

/* 0, or -errno after one line on stderr. */
static int start(struct machine *m, struct run_args *args)
{
	int ret = machine_create(m, args);

	if (!ret)
		ret = machine_load(m);
	if (!ret && args->user)
		ret = sandbox_user(args->user);
	if (!ret)
		ret = control_claim(m, args->name, sizeof(args->name), args->named);
	if (!ret && args->detach)
		ret = control_keep_console(m) ?: detach_input(m);
	inherited_close();
	if (!ret && !args->no_sandbox)
		ret = sandbox_enter(m, control_directory(m));
	if (!ret)
		ret = console_start(m);
	if (ret)
		return ret;
	control_start(m);
	if (args->detach && !m->control) {
		machine_end(m, M_FAILED);
		return -EIO;
	}
	if (console_interactive())
		complain("%s: %" PRIu64 " MiB, %u CPU%s; Ctrl-A x ends it, Ctrl-A h helps",
			 args->name, args->memory >> 20, args->cpus, args->cpus == 1 ? "" : "s");
	ret = virtio_start(m) ?: vcpus_start(m);
	if (!ret && args->detach)
		detach_done(m);
	if (!ret)
		sandbox_thread(SANDBOX_MAIN);	/* or it ends the guest */
	return ret;
}

int cmd_run(int argc, char **argv)
{
	static struct machine m;
	struct run_args args;
	char err[512];
	bool stopped;
	int ret;

	inherited_note();
	ret = args_run(argc, argv, &args, err, sizeof(err));
	if (ret) {
		complain("%s", err);
		return ret == -EINVAL ? STATUS_USAGE : STATUS_ERROR;
	}
	if (args.help) {
		help();
		return 0;
	}
	if (args.list_devices) {
		printf("%s", args_device_list());
		return 0;
	}
	if (args.detach && detach_begin(&ret))
		return ret;
	if (slice_enter(&args) || metadata_service(&args, &args.virtio.service))
		return STATUS_ERROR;
	ret = start(&m, &args);
	if (!ret)
		vcpus_wait(&m);
	else
		machine_end(&m, M_FAILED);
	stopped = virtio_stop(&m);
	console_stop(&m);
	if (!ret && atomic_load(&m.outcome) == M_CRASH)
		tell_crash(&m);
	ret = ret ? STATUS_ERROR : status(&m);
	detach_end(&m);
	control_stop(&m);
	if (!stopped) {		/* what they use stays until the kernel ends them */
		fflush(NULL);
		_exit(ret);
	}
	machine_destroy(&m);
	return ret;
}
