// SPDX-License-Identifier: GPL-2.0
/*
 * What `cleave run` says of a module that is not as it should be: too old, not there, refusing. Its
 * commands are made up here, a memory file is its file descriptors' pages.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>

#include "unit.h"
#include "../../userspace-tool/cmd/machine.c"
#include "../../userspace-tool/cmd/sandbox.h"

#define RUN_SIZE	4096U

static struct {
	int opens;			/* errno of open("/dev/cleave"), 0: it opens */
	unsigned long fails;		/* this command does, */
	int error;			/* with this errno */
	unsigned int vcpus;		/* so many can be created, one more has error */
	struct cleave_info info;
	struct cleave_cpuid_entry cpuid;	/* the one that is offered, and then set */
	struct cleave_state state;
	unsigned int kicks;
} module;
static struct run_args args = { .memory = 64 << 20, .append = "", .cpus = 1 };
static struct machine m;
static char line[1024];			/* complain()'s */
static unsigned int lines;

/* ---- what machine.c calls ------------------------------------------------------ */

void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	lines++;
}

void console_tx(void *ctx, uint8_t byte)
{
}

void control_wake(struct machine *machine)
{
}

int sandbox_thread(enum sandbox_thread kind)
{
	return 0;
}

void console_write(struct machine *m, const void *data, size_t len)
{
}

void console_newline(struct machine *m)
{
}

bool console_size(uint16_t *cols, uint16_t *rows)
{
	return false;
}

struct boot_range boot_pci_high(uint64_t memory)
{
	return (struct boot_range){ 1ULL << 34, 1ULL << 34 };
}

void survey_drop(struct survey *s)
{
}

unsigned int boot_ram(uint64_t memory, struct boot_range range[2])
{
	range[0] = (struct boot_range){ 0, memory };
	return 1;
}

int boot_load(const struct boot_params_in *in, const struct cleave_mem *mem,
	      struct boot_result *out, char *err, size_t errlen)
{
	return 0;
}

int boot_fw_kernel_load(const struct boot_params_in *in, struct boot_fw_kernel *k, char *err,
			size_t errlen)
{
	return 0;
}

void boot_fw_kernel_free(struct boot_fw_kernel *k)
{
}

int __real_open(const char *path, int flags, ...);

int __wrap_open(const char *path, int flags, ...)
{
	int fd;

	if (strcmp(path, "/dev/cleave"))
		return __real_open(path, flags);
	if (module.opens) {
		errno = module.opens;
		return -1;
	}
	fd = memfd_create("cleave", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, RUN_SIZE + sizeof(struct cleave_recorder)))
		abort();
	return fd;
}

int __wrap_ioctl(int fd, unsigned long cmd, ...)
{
	va_list ap;
	void *arg;

	if (cmd == module.fails) {
		errno = module.error;
		return -1;
	}
	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	switch (cmd) {
	case CLEAVE_GET_CPUID:
		((struct cleave_cpuid *)arg)->count = 1;
		((struct cleave_cpuid *)arg)->entries[0] = module.cpuid;
		return 0;
	case CLEAVE_SET_CPUID:
		module.cpuid = ((struct cleave_cpuid *)arg)->entries[0];
		return 0;
	case CLEAVE_GET_STATE:
		memcpy(arg, &module.state, sizeof(module.state));
		return 0;
	case CLEAVE_SET_STATE:
		memcpy(&module.state, arg, sizeof(module.state));
		return 0;
	case CLEAVE_KICK:
		module.kicks++;
		return 0;
	case CLEAVE_INFO:
		memcpy(arg, &module.info, sizeof(module.info));
		return 0;
	case CLEAVE_CREATE_VCPU:
		if (!module.vcpus--) {
			errno = module.error;
			return -1;
		}
		return dup(fd);
	case CLEAVE_CREATE_VM:
		return dup(fd);
	default:
		return 0;
	}
}

/* ---- tests ----------------------------------------------------------------------- */

static unsigned int open_files(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned int n = 0;

	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n;
}

static void good_module(void)
{
	memset(&module, 0, sizeof(module));
	module.fails = ~0UL;
	module.info.features = FEATURES;
	module.info.run_size = RUN_SIZE;
	module.info.recorder_size = sizeof(struct cleave_recorder);
	module.info.gpa_bits = 40;
	module.info.max_vcpus = CLEAVE_MAX_VCPUS;
	module.vcpus = ~0U;
	args.cpus = 1;
}

/* What starting a machine returns; it leaves nothing open. */
static int start(void)
{
	unsigned int before = open_files();
	int ret;

	line[0] = 0;
	lines = 0;
	ret = machine_create(&m, &args);
	if (!ret)
		ret = machine_load(&m);
	machine_destroy(&m);
	CHECK_EQ(open_files(), before);
	return ret;
}

/* It does not start, and one line tells the culprit and what to do. */
static bool refused(const char *culprit, const char *remedy)
{
	int ret = start();

	if (ret < 0 && lines == 1 && strstr(line, culprit) && strstr(line, remedy) &&
	    !strchr(line, '\n'))
		return true;
	printf("# %d, %u lines: %s\n", ret, lines, line);
	return false;
}

UNIT_TEST(a_module_as_it_should_be)
{
	good_module();
	CHECK_EQ(start(), 0);
	CHECK_EQ(lines, 0);
}

/* An old module with this tool: it lacks a feature, a structure's size, or a command. */
UNIT_TEST(an_old_module)
{
	static const unsigned long commands[] = {
		CLEAVE_INFO, CLEAVE_GET_CPUID, CLEAVE_CREATE_VM, CLEAVE_CREATE_VCPU, CLEAVE_SET_SLOT,
		CLEAVE_GET_STATE, CLEAVE_SET_STATE, CLEAVE_SET_MSRS, CLEAVE_SET_CPUID,
	};

	for (unsigned int bit = 0; bit < 64; bit++) {
		if (!(FEATURES & 1ULL << bit))
			continue;
		good_module();
		module.info.features = ~(1ULL << bit);
		CHECK(refused("module", "build and load the module of the same version"));
	}
	good_module();
	module.info.run_size = 64;
	CHECK(refused("module", "build and load the module of the same version"));
	good_module();
	module.info.recorder_size = 64;
	CHECK(refused("module", "build and load the module of the same version"));
	for (unsigned int i = 0; i < ARRAY_SIZE(commands); i++) {
		good_module();
		module.fails = commands[i];
		module.error = ENOTTY;
		CHECK(refused("older than this tool", "build and load the module of the same version"));
		module.error = E2BIG;
		CHECK(refused("older than this tool", "build and load the module of the same version"));
	}
}

UNIT_TEST(no_module)
{
	good_module();
	module.opens = ENOENT;
	CHECK(refused("/dev/cleave", "modprobe cleave"));
	module.opens = ENXIO;
	CHECK(refused("/dev/cleave", "modprobe cleave"));
	module.opens = EACCES;
	CHECK(refused("/dev/cleave", "usermod"));
	module.opens = EMFILE;
	CHECK(refused("/dev/cleave", "Too many open files"));
}

UNIT_TEST(a_module_that_refuses)
{
	good_module();
	module.fails = CLEAVE_CREATE_VM;
	module.error = EBUSY;
	CHECK(refused("another hypervisor", "cleave doctor"));
	module.error = EIO;
	CHECK(refused("refused to switch virtualization on", "dmesg"));
	module.error = ENOMEM;
	CHECK(refused("out of memory", "--memory"));
	module.fails = CLEAVE_SET_SLOT;
	CHECK(refused("guest memory", "--memory"));
	module.fails = CLEAVE_SET_STATE;
	module.error = EINVAL;
	CHECK(refused("registers", "dmesg"));
	good_module();
	module.info.gpa_bits = 32;
	CHECK(refused("4 GiB", "ask for less"));
}

/* What a guest of many CPUs may meet, and that nothing of those there were is left. */
/* ---- what firmware finds by fw_cfg ---------------------------------------------- */

static uint8_t fwcfg_byte(void)
{
	return bus_read(&m.pio, FWCFG_PORT + 1, 1);
}

/* The file's size, and its first bytes; -1: there is none. */
static long fwcfg_file(const char *name, void *data, unsigned int n)
{
	unsigned int count, i, j;
	uint8_t entry[64];
	long size = -1;

	bus_write(&m.pio, FWCFG_PORT, 2, FWCFG_DIRECTORY);
	for (i = 0, count = 0; i < 4; i++)
		count = count << 8 | fwcfg_byte();
	for (i = 0; i < count && size < 0; i++) {
		for (j = 0; j < sizeof(entry); j++)
			entry[j] = fwcfg_byte();
		if (!strcmp((char *)entry + 8, name))
			size = entry[0] << 24 | entry[1] << 16 | entry[2] << 8 | entry[3];
	}
	if (size < 0)
		return -1;
	bus_write(&m.pio, FWCFG_PORT, 2, entry[4] << 8 | entry[5]);
	for (j = 0; j < n; j++)
		((uint8_t *)data)[j] = fwcfg_byte();
	return size;
}

UNIT_TEST(files_for_firmware)
{
	char path[] = "/tmp/cleave-machine-XXXXXX";
	uint64_t port;
	char rsdp[8];
	int fd = mkstemp(path);

	REQUIRE(fd >= 0 && write(fd, "12345678", 8) == 8);
	close(fd);
	good_module();
	strcpy(args.firmware, "/none");
	args.devices.there[DEV_FW_CFG] = true;
	CHECK(!machine_create(&m, &args) && !machine_load(&m));
	CHECK_EQ(fwcfg_file("etc/acpi/rsdp", rsdp, 8), 36);
	CHECK(!memcmp(rsdp, "RSD PTR ", 8));
	CHECK(fwcfg_file("etc/acpi/tables", NULL, 0) > 500);
	CHECK(fwcfg_file("etc/table-loader", NULL, 0) > 5 * 128);
	CHECK_EQ(fwcfg_file("etc/sercon-port", NULL, 0), -1);
	machine_destroy(&m);

	args.boots_disk = true;
	CHECK(!machine_create(&m, &args) && !machine_load(&m));
	CHECK_EQ(fwcfg_file("etc/sercon-port", &port, 8), 8);
	CHECK_EQ(port, COM1_PORT);
	CHECK_EQ(fwcfg_file("etc/show-boot-menu", &port, 8), 8);
	CHECK_EQ(port, 0);
	machine_destroy(&m);

	args.devices.files = 1;
	strcpy(args.devices.file[0].name, "etc/sercon-port");
	strcpy(args.devices.file[0].path, path);
	CHECK(!machine_create(&m, &args) && !machine_load(&m));
	CHECK_EQ(fwcfg_file("etc/sercon-port", &port, 8), 8);
	CHECK(!memcmp(&port, "12345678", 8));
	machine_destroy(&m);

	memset(&args.devices, 0, sizeof(args.devices));
	args.boots_disk = false;
	args.firmware[0] = 0;
	unlink(path);
}

UNIT_TEST(limits_of_vcpus)
{
	good_module();
	args.cpus = 64;
	CHECK_EQ(start(), 0);
	module.info.max_vcpus = 63;
	CHECK(refused("--cpus 64: the loaded module takes 63", "ask for fewer"));
	good_module();
	args.cpus = 64;
	module.vcpus = 40;
	module.error = EMFILE;
	CHECK(refused("CPU 40 of 64: this process may open", "raise ulimit -n, or ask for fewer --cpus"));
	module.vcpus = 41;
	module.error = ENFILE;
	CHECK(refused("CPU 41 of 64: the host may open no more files", "raise fs.file-max"));
	module.vcpus = 0;
	module.error = ENOMEM;
	CHECK(refused("CPU 0 of 64: ", "ask for fewer --cpus"));
	module.vcpus = 5;
	module.error = EIO;
	CHECK(refused("create a vCPU", "dmesg"));
	args.cpus = 1;
}

/* The 8254 is a clock for Linux where the local APIC's is not, by its command line. */
UNIT_TEST(a_kernel_that_wants_the_8254)
{
	static const char *const words[] = { "quiet nolapic_timer", "noapictimer", "quiet" };

	for (unsigned int i = 0; i < ARRAY_SIZE(words); i++) {
		good_module();
		module.cpuid = (struct cleave_cpuid_entry){ .leaf = 1, .ecx = UINT32_MAX };
		args.append = words[i];
		CHECK_EQ(start(), 0);
		CHECK_EQ(module.cpuid.ecx, i < 2 ? ~(1U << 24) : UINT32_MAX);
	}
	args.append = "";
}

/* ---- interrupts of the 8259A pair ---------------------------------------------------- */

#define LVT0	0x350

static void write_pic(const uint8_t (*writes)[2], unsigned int n)
{
	while (n--) {
		pic_master_write(&m.pic, (*writes)[0], 1, (*writes)[1]);
		writes++;
	}
}

/* The vCPU's thread comes round; what it asks CLEAVE_RUN for. */
static uint32_t offered(struct vcpu *v, uint32_t exit)
{
	v->run->exit = exit;
	CHECK_EQ(extint_offer(v), 0);
	return v->run->request;
}

UNIT_TEST(interrupts_of_the_pic)
{
	/* Vectors from 0x20, no line is masked */
	static const uint8_t init[][2] = { { 0, 0x11 }, { 1, 0x20 }, { 1, 4 }, { 1, 1 }, { 1, 0 } };
	const uint8_t eoi[][2] = { { 0, 0x20 } };
	struct vcpu *v;

	good_module();
	args.cpus = 2;
	CHECK_EQ(machine_create(&m, &args) ?: machine_load(&m), 0);
	v = &m.vcpu[0];
	write_pic(init, ARRAY_SIZE(init));
	memset(&module.state, 0, sizeof(module.state));
	module.state.sregs.apic_base = 0xfee00900;
	module.state.lapic.regs[LVT0 / 4] = 0x10700;
	CHECK_EQ(offered(v, CLEAVE_EXIT_NONE), 0);

	/* Masked at LINT0: nothing is asked for; each change brings it here again. */
	v->runs = true;
	machine_irq(&m, 3, true);
	CHECK_EQ(module.kicks, 1);
	CHECK_EQ(offered(v, CLEAVE_EXIT_WINDOW), 0);
	CHECK_EQ(module.state.events.extint, 0);
	machine_irq(&m, 4, true);
	CHECK_EQ(module.kicks, 2);

	/* It waits for the window, and nobody need kick it; other CPUs have no INTR. */
	module.state.lapic.regs[LVT0 / 4] = 0x700;
	CHECK_EQ(offered(&m.vcpu[1], CLEAVE_EXIT_WINDOW), 0);
	CHECK_EQ(offered(v, CLEAVE_EXIT_IO), CLEAVE_RUN_WINDOW);
	CHECK_EQ(module.state.events.extint, 0);
	machine_irq(&m, 5, true);
	CHECK_EQ(module.kicks, 2);

	/* Open: the first goes in; the rest wait for its EOI. */
	CHECK_EQ(offered(v, CLEAVE_EXIT_WINDOW), 0);
	CHECK_EQ(module.state.events.extint, 1);
	CHECK_EQ(module.state.events.extint_vector, 0x23);
	write_pic(eoi, 1);
	extint_recheck(&m);
	CHECK_EQ(module.kicks, 3);
	CHECK_EQ(offered(v, CLEAVE_EXIT_IO), CLEAVE_RUN_WINDOW);

	/* One that waits in the vCPU is not lost. */
	CHECK_EQ(offered(v, CLEAVE_EXIT_WINDOW), CLEAVE_RUN_WINDOW);
	CHECK_EQ(module.state.events.extint_vector, 0x23);
	module.state.events.extint = 0;
	CHECK_EQ(offered(v, CLEAVE_EXIT_WINDOW), 0);
	CHECK_EQ(module.state.events.extint_vector, 0x24);

	/* A line that falls takes the question back. */
	write_pic(eoi, 1);
	extint_recheck(&m);
	CHECK_EQ(offered(v, CLEAVE_EXIT_IO), CLEAVE_RUN_WINDOW);
	machine_irq(&m, 5, false);
	module.state.events.extint = 0;
	CHECK_EQ(offered(v, CLEAVE_EXIT_WINDOW), 0);
	CHECK_EQ(module.state.events.extint, 0);

	/* Past a local APIC that is off, whatever its LINT0 says. */
	module.state.lapic.regs[LVT0 / 4] = 0x10700;
	module.state.sregs.apic_base = 0xfee00100;
	machine_irq(&m, 5, true);
	CHECK_EQ(offered(v, CLEAVE_EXIT_NONE), CLEAVE_RUN_WINDOW);
	v->runs = false;
	machine_destroy(&m);
}

/* ---- time of a guest that is paused ------------------------------------------------ */

/* No time passes for its devices, but on the real-time clock; nothing is due meanwhile. */
UNIT_TEST(time_stands_still)
{
	uint64_t stopped, host, due;

	good_module();
	REQUIRE(!machine_create(&m, &args));
	m.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	/* Channel 0, mode 2, 10 Hz or so. */
	pit_write(&m.pit, 3, 1, 0x34);
	pit_write(&m.pit, 0, 1, 0xff);
	pit_write(&m.pit, 0, 1, 0xff);
	due = machine_deadline(&m) - dev_now(&m.clock);
	CHECK(due > 0 && due < 60000000);
	machine_clock_stop(&m);
	stopped = dev_now(&m.clock);
	host = dev_now(&m.host_clock);
	due = pit_deadline(&m.pit) - stopped;
	CHECK_EQ(machine_deadline(&m), DEV_NEVER);
	usleep(80000);
	machine_tick(&m);
	CHECK_EQ(dev_now(&m.clock), stopped);
	CHECK(dev_now(&m.host_clock) - host >= 80000000);
	CHECK_EQ(pit_deadline(&m.pit) - stopped, due);
	machine_clock_go_on(&m);
	CHECK(dev_now(&m.clock) - stopped < 40000000);
	CHECK(m.clock_lost >= 80000000);
	CHECK(machine_deadline(&m) <= stopped + due);
	/* A second time: what is lost adds up. */
	stopped = m.clock_lost;
	machine_clock_stop(&m);
	usleep(20000);
	machine_clock_go_on(&m);
	CHECK(m.clock_lost - stopped >= 20000000);
	machine_destroy(&m);
}

/* The real-time clock has the host's time: what it waits for comes when it would have come. */
UNIT_TEST(real_time_goes_on)
{
	uint64_t at, now;

	good_module();
	REQUIRE(!machine_create(&m, &args));
	m.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	machine_clock_stop(&m);
	usleep(30000);
	machine_clock_go_on(&m);
	rtc_write(&m.rtc, 0, 1, 0xb);	/* an interrupt at each update: once a second */
	rtc_write(&m.rtc, 1, 1, 0x12);
	now = dev_now(&m.clock);
	at = machine_deadline(&m);
	CHECK(at != DEV_NEVER && at <= now + NS_PER_SEC);
	CHECK(at + m.clock_lost == rtc_deadline(&m.rtc) || at == pit_deadline(&m.pit));
	machine_destroy(&m);
}

/* ---- MAC addresses ------------------------------------------------------------- */

void net_mac(const char *name, bool named, unsigned int number, uint8_t mac[6]);

/* A name has the same one always; others, and more of its own, have others. */
UNIT_TEST(mac_addresses)
{
	uint8_t mac[64][6];
	char name[8];
	unsigned int i, j;

	for (i = 0; i < 64; i++) {
		snprintf(name, sizeof(name), "web-%u", i / 2);
		net_mac(name, true, i % 2, mac[i]);
		CHECK_EQ(mac[i][0] & 3, 2);
		for (j = 0; j < i; j++)
			CHECK(memcmp(mac[i], mac[j], 6));
	}
	net_mac("web-0", true, 0, mac[1]);
	CHECK(!memcmp(mac[0], mac[1], 6));
	net_mac("web-0", false, 0, mac[1]);
	CHECK(memcmp(mac[0], mac[1], 6));
}
