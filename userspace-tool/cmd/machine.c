// SPDX-License-Identifier: GPL-2.0
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "machine.h"

#define HUGE_PAGE	(2ULL << 20)
#define PIT_PORT	0x40
#define APIC_SVR	0xf0	/* SDM vol. 3A table 11-1 */
#define APIC_LVT0	0x350
#define APIC_LVT1	0x360
#define FEATURES	(CLEAVE_FEATURE_LAPIC | CLEAVE_FEATURE_RECORDER)
_Static_assert(ARGS_CPUS_MAX == CLEAVE_MAX_VCPUS, "--cpus");

static uint64_t host_now(struct dev_clock *clock)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_SEC + ts.tv_nsec;
}

/* lock held */
static uint64_t clock_now(struct dev_clock *clock)
{
	struct machine *m = (struct machine *)((char *)clock - offsetof(struct machine, clock));

	return m->clock_stopped ?: host_now(clock) - m->clock_lost;
}

void machine_clock_stop(struct machine *m)
{
	pthread_mutex_lock(&m->lock);
	machine_tick(m);	/* what was due is done */
	m->clock_stopped = dev_now(&m->clock);
	pthread_mutex_unlock(&m->lock);
}

void machine_clock_go_on(struct machine *m)
{
	pthread_mutex_lock(&m->lock);
	m->clock_lost = dev_now(&m->host_clock) - m->clock_stopped;
	m->clock_stopped = 0;
	pthread_mutex_unlock(&m->lock);
	machine_wake(m);
}

void machine_kick(struct machine *m)
{
	uint32_t i;

	pthread_mutex_lock(&m->kick_lock);
	for (i = 0; i < m->cpus; i++) {
		struct vcpu *v = &m->vcpu[i];

		if (v->fd < 0 || (v->runs && pthread_equal(pthread_self(), v->thread)))
			continue;
		cleave_kick(v->fd);	/* kept for one that has not run yet */
		if (v->runs)
			pthread_kill(v->thread, SIGUSR1);
	}
	if (m->writes && !pthread_equal(pthread_self(), m->writer))
		pthread_kill(m->writer, SIGUSR1);
	pthread_mutex_unlock(&m->kick_lock);
	pause_kicked(m);
}

void machine_wake(struct machine *m)
{
	uint64_t one = 1;

	while (write(m->wake, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

bool machine_end(struct machine *m, enum outcome why)
{
	int running = M_RUNS;

	if (!atomic_compare_exchange_strong(&m->outcome, &running, why))
		return false;
	machine_kick(m);
	/* A kick may come just before the write that it should end: that thread repeats it. */
	machine_wake(m);
	return true;
}

/* ---- devices ---------------------------------------------------------------- */

/* ISA interrupts go to both controllers; IRQ 0 is pin 2, as the MADT says. */
void machine_irq(void *ctx, unsigned int nr, bool level)
{
	struct machine *m = ctx;

	pic_set(&m->pic, nr, level);
	ioapic_set(&m->ioapic, nr ? nr : 2, level);
	extint_recheck(m);
}

static int machine_msi(void *ctx, uint64_t address, uint32_t data)
{
	struct machine *m = ctx;

	return cleave_msi(m->vm, address, data);
}

static void machine_request(void *ctx, enum pm_request what)
{
	machine_end(ctx, what == PM_OFF ? M_OFF : M_RESET);
}

uint64_t machine_deadline(struct machine *m)
{
	uint64_t at[] = { pit_deadline(&m->pit), rtc_deadline(&m->rtc), pm_deadline(&m->pm) };
	uint64_t first = DEV_NEVER;
	size_t i;

	if (m->clock_stopped)
		return DEV_NEVER;
	/* The real-time clock has the host's time. */
	if (at[1] != DEV_NEVER)
		at[1] = at[1] > m->clock_lost ? at[1] - m->clock_lost : 0;
	for (i = 0; i < ARRAY_SIZE(at); i++)
		first = at[i] < first ? at[i] : first;
	return first;
}

void machine_tick(struct machine *m)
{
	if (m->clock_stopped)
		return;
	pit_tick(&m->pit);
	rtc_tick(&m->rtc);
	pm_tick(&m->pm);
}

void machine_recheck(struct machine *m)
{
	extint_recheck(m);
	if (machine_deadline(m) >= m->sleeps_until && !(m->starved && uart_room(&m->uart)))
		return;
	m->sleeps_until = 0;
	m->starved = false;
	machine_wake(m);
}

static void machine_wire(struct machine *m)
{
	const struct irq_line line = { .set = machine_irq, .ctx = m };
	const struct bus_range ports[] = {
		{ COM1_PORT, 8, 1, &m->uart, uart_read, uart_write },
		{ RTC_PORT, 2, 1, &m->rtc, rtc_read, rtc_write },
		{ PIT_PORT, 4, 1, &m->pit, pit_read, pit_write },
		{ 0x61, 1, 1, &m->pit, pit_port61_read, pit_port61_write },
		{ 0x20, 2, 1, &m->pic, pic_master_read, pic_master_write },
		{ 0xa0, 2, 1, &m->pic, pic_slave_read, pic_slave_write },
		{ 0x4d0, 2, 1, &m->pic, pic_elcr_read, pic_elcr_write },
		{ PM1A_EVT_PORT, 12, 4, &m->pm, pm_read, pm_write },
		{ PCI_CONFIG_PORT, 4, 4, &m->pm, pm_reset_read, pm_reset_write },
		{ 0x64, 1, 1, &m->pm, pm_i8042_read, pm_i8042_write },
		{ 0x92, 1, 1, &m->pm, pm_port92_read, pm_port92_write },
	};
	const struct bus_range ioapic = {
		IOAPIC_BASE, IOAPIC_SIZE, 4, &m->ioapic, ioapic_read, ioapic_write
	};
	struct boot_range ram[2];
	unsigned int n;
	size_t i;

	m->clock.now = clock_now;
	m->host_clock.now = host_now;
	m->uart.irq = m->rtc.irq = m->pit.irq = m->pm.sci = line;
	m->uart.irq.nr = COM1_IRQ;
	m->rtc.irq.nr = RTC_IRQ;
	m->pm.sci.nr = ACPI_SCI_IRQ;
	m->uart.tx = console_tx;
	m->uart.tx_ctx = m;
	m->ioapic.msi = machine_msi;
	m->ioapic.ctx = m;
	m->pm.request = machine_request;
	m->pm.ctx = m;
	m->pm.s5 = ACPI_S5_TYPE;
	pic_init(&m->pic);
	ioapic_init(&m->ioapic);
	uart_init(&m->uart);
	rtc_init(&m->rtc, &m->host_clock, time(NULL));
	n = boot_ram(m->args->memory, ram);
	rtc_set_memory(&m->rtc, ram[0].size, n > 1 ? ram[1].size : 0, m->args->cpus);
	pit_init(&m->pit, &m->clock);
	pm_init(&m->pm, &m->clock);
	for (i = 0; i < ARRAY_SIZE(ports); i++)
		bus_add(&m->pio, &ports[i]);
	bus_add(&m->mmio, &ioapic);
}

/* ---- memory ------------------------------------------------------------------ */

static uint64_t host_available(void)
{
	uint64_t kib = UINT64_MAX >> 10;
	char line[128];
	FILE *f = fopen("/proc/meminfo", "re");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "MemAvailable: %" SCNu64, &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib << 10;
}

/*
 * A file at p in place of what is there; nobody who gets it can make it shorter, which would
 * be SIGBUS here. 0 or -1 and errno.
 */
static int machine_share(struct machine *m, void *p)
{
	m->ram_fd = memfd_create("cleave-memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (m->ram_fd < 0 || ftruncate(m->ram_fd, m->args->memory) ||
	    fcntl(m->ram_fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return -1;
	return mmap(p, m->args->memory, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, m->ram_fd,
		    0) == MAP_FAILED ? -1 : 0;
}

static int machine_ram(struct machine *m)
{
	uint64_t size = m->args->memory, free = host_available(), start;
	struct boot_range range[2];
	unsigned int i, n;
	uint8_t *p;

	if (size < BOOT_MEMORY_MIN) {
		complain("--memory: %" PRIu64 " KiB are too little for a kernel; give at least %lluM",
			 size >> 10, BOOT_MEMORY_MIN >> 20);
		return -EINVAL;
	}
	if (size > free) {
		complain("--memory: %" PRIu64 " MiB asked for, the host has %" PRIu64
			 " MiB to give; ask for less or free some", size >> 20, free >> 20);
		return -ENOMEM;
	}
	m->ram_mapped = size + HUGE_PAGE;
	p = mmap(NULL, m->ram_mapped, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	start = ((uintptr_t)p + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1);
	if (p != MAP_FAILED && virtio_shares(m->args) && machine_share(m, (void *)start)) {
		munmap(p, m->ram_mapped);
		p = MAP_FAILED;
	}
	if (p == MAP_FAILED) {
		complain("--memory: %" PRIu64 " MiB could not be mapped: %s; ask for less or see ulimit -v",
			 size >> 20, strerror(errno));
		m->ram_mapped = 0;
		return -ENOMEM;
	}
	m->ram = p;
	p = (uint8_t *)start;
	madvise(p, size, MADV_HUGEPAGE);	/* without it pages are small: slower, right */
	madvise(p, size, MADV_DONTDUMP);
	n = boot_ram(size, range);
	for (i = 0; i < n; i++) {
		cleave_mem_add(&m->mem, range[i].gpa, range[i].size, p, 0);
		p += range[i].size;
	}
	return 0;
}

/* Of the size of the file; what is wrong with that, its loader says. */
static int machine_rom(struct machine *m)
{
	struct stat st;

	if (!m->args->firmware[0] || stat(m->args->firmware, &st) || !S_ISREG(st.st_mode) ||
	    !st.st_size || st.st_size % 4096 || st.st_size > (off_t)BOOT_ROM_MAX)
		return 0;
	m->rom = mmap(NULL, st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->rom == MAP_FAILED) {
		complain("--firmware: %" PRIu64 " KiB could not be mapped: %s; free some memory",
			 (uint64_t)st.st_size >> 10, strerror(errno));
		m->rom = NULL;
		return -ENOMEM;
	}
	m->rom_size = st.st_size;
	return cleave_mem_add(&m->mem, BOOT_ROM_END - st.st_size, st.st_size, m->rom,
			      CLEAVE_MEM_READONLY);
}

/* ---- the VM -------------------------------------------------------------------- */

/* Errors of the module, said once for all its commands. */
int module_failed(int error, const char *what)
{
	const char *kvm = !access("/sys/module/kvm_amd", F_OK) ? "kvm_amd" :
			  !access("/sys/module/kvm_intel", F_OK) ? "kvm_intel" : NULL;

	switch (-error) {
	case ENOTTY:
	case E2BIG:
		complain("%s: the loaded module is older than this tool; build and load the module of the same version", what);
		break;
	case EBUSY:
		complain("%s: %s holds the CPU; stop its guests, or `sudo modprobe -r %s`; `cleave doctor` tells more",
			 what, kvm ? kvm : "another hypervisor", kvm ? kvm : "kvm_amd kvm_intel");
		break;
	case EIO:
		complain("%s: a CPU refused to switch virtualization on, or the host goes down; see `dmesg | grep cleave`, `cleave doctor`", what);
		break;
	case ENOMEM:
		complain("%s: the host is out of memory; give --memory a smaller size or free some", what);
		break;
	default:
		complain("%s: %s; `dmesg | grep cleave` may tell more", what, strerror(-error));
	}
	return error;
}

int open_failed(int error)
{
	switch (-error) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		complain("/dev/cleave: not there, because the module is not loaded; `sudo modprobe cleave`, or ask `cleave doctor`");
		return error;
	case EACCES:
	case EPERM:
		complain("/dev/cleave: no permission; `sudo usermod -aG cleave $USER` and log in again, or use sudo");
		return error;
	}
	return module_failed(error, "/dev/cleave");
}

static int machine_check_module(struct machine *m)
{
	if ((m->info.features & FEATURES) != FEATURES ||
	    m->info.run_size < sizeof(struct cleave_run) ||
	    m->info.recorder_size < sizeof(struct cleave_recorder)) {
		complain("module: lacks what this tool needs (features 0x%llx, has 0x%" PRIx64
			 "); build and load the module of the same version",
			 FEATURES, (uint64_t)m->info.features);
		return -ENOTTY;
	}
	if (m->info.gpa_bits < 52 && BOOT_HIGH_START + m->args->memory > 1ULL << m->info.gpa_bits) {
		complain("--memory: guests of this host end at %llu GiB; ask for less",
			 1ULL << (m->info.gpa_bits - 30));
		return -EINVAL;
	}
	if (m->cpus > m->info.max_vcpus) {
		complain("--cpus %u: the loaded module takes %u; ask for fewer", m->cpus,
			 m->info.max_vcpus);
		return -EINVAL;
	}
	return 0;
}

static int machine_slots(struct machine *m)
{
	unsigned int i;
	int ret;

	for (i = 0; i < m->mem.count; i++) {
		struct cleave_slot slot = {
			.slot = i,
			.gpa = m->mem.range[i].gpa,
			.size = m->mem.range[i].size,
			.hva = (uintptr_t)m->mem.range[i].host,
			.flags = m->mem.range[i].flags & CLEAVE_MEM_READONLY ? CLEAVE_SLOT_READONLY : 0,
		};

		ret = cleave_set_slot(m->vm, &slot);
		if (ret < 0)
			return module_failed(ret, "guest memory");
	}
	return 0;
}

/* Which of the host's limits a vCPU more has met. */
static int vcpu_failed(struct vcpu *v, int error, const char *what)
{
	uint32_t cpus = v->m->cpus;
	struct rlimit files = { 0 };

	switch (-error) {
	case EMFILE:
		getrlimit(RLIMIT_NOFILE, &files);
		complain("%s for CPU %u of %u: this process may open %llu files, and each CPU is one; raise ulimit -n, or ask for fewer --cpus",
			 what, v->id, cpus, (unsigned long long)files.rlim_cur);
		return error;
	case ENFILE:
		complain("%s for CPU %u of %u: the host may open no more files; raise fs.file-max, or ask for fewer --cpus",
			 what, v->id, cpus);
		return error;
	case ENOMEM:
		complain("%s for CPU %u of %u: the host or this process's cgroup is out of memory, or ulimit -v is met; free some, raise it, or ask for fewer --cpus",
			 what, v->id, cpus);
		return error;
	}
	return module_failed(error, what);
}

static int machine_vcpu(struct vcpu *v, struct cleave_cpuid cpuid)
{
	/* IA32_MTRR_DEF_TYPE: enabled, write-back, as firmware leaves it. */
	struct cleave_msrs msrs = { .count = 1, .entries = { { .index = 0x2ff, .value = 0xc06 } } };
	struct machine *m = v->m;
	int ret;

	v->fd = cleave_create_vcpu(m->vm, v->id);
	if (v->fd < 0)
		return vcpu_failed(v, v->fd, "create a vCPU");
	ret = cleave_map_run(v->fd, m->info.run_size, &v->run);
	if (ret < 0)
		return vcpu_failed(v, ret, "map the run page");
	ret = cleave_map_recorder(v->fd, &m->info, &v->recorder);
	if (ret < 0)
		return vcpu_failed(v, ret, "map the flight recorder");
	cpuid_for_guest(&cpuid, v->id, m->args);
	ret = cleave_set_cpuid(v->fd, &cpuid);
	if (ret < 0)
		return vcpu_failed(v, ret, "CLEAVE_SET_CPUID");
	ret = cleave_set_msrs(v->fd, &msrs);
	return ret < 0 ? vcpu_failed(v, ret, "CLEAVE_SET_MSRS") : 0;
}

static int machine_vcpus(struct machine *m)
{
	struct cleave_cpuid cpuid = { 0 };
	uint32_t i;
	int ret = cleave_get_cpuid(m->dev, &cpuid);

	if (ret < 0)
		return module_failed(ret, "CLEAVE_GET_CPUID");
	for (i = 0, ret = 0; i < m->cpus && !ret; i++)
		ret = machine_vcpu(&m->vcpu[i], cpuid);
	return ret;
}

static int machine_cpus(struct machine *m)
{
	uint32_t i;

	m->vcpu = calloc(m->args->cpus, sizeof(*m->vcpu));
	if (!m->vcpu) {
		complain("the host is out of memory; free some");
		return -ENOMEM;
	}
	m->cpus = m->args->cpus;
	for (i = 0; i < m->cpus; i++)
		m->vcpu[i] = (struct vcpu){ .m = m, .id = i, .fd = -1 };
	return 0;
}

int machine_create(struct machine *m, const struct run_args *args)
{
	memset(m, 0, sizeof(*m));
	m->args = args;
	m->dev = m->vm = m->wake = m->keys = m->ram_fd = -1;
	pthread_mutex_init(&m->lock, NULL);
	pthread_mutex_init(&m->tx_lock, NULL);
	pthread_mutex_init(&m->kick_lock, NULL);
	pthread_mutex_init(&m->shown.lock, NULL);
	pause_init(m);
	machine_wire(m);
	return machine_cpus(m) ?: machine_ram(m) ?: machine_rom(m);
}

/*
 * The frequency of the TSC goes to Linux on its command line: timers that are
 * emulated this far from the CPU are a poor measure of it on a slow host.
 */
static void command_line(struct machine *m)
{
	const char *append = m->args->append;

	if (m->info.tsc_khz && !strstr(append, "tsc_early_khz="))
		snprintf(m->cmdline, sizeof(m->cmdline), "%s%stsc_early_khz=%u", append,
			 *append ? " " : "", m->info.tsc_khz);
	else
		snprintf(m->cmdline, sizeof(m->cmdline), "%s", append);
}

/* What is wrong with a file is said on any host, so the module is asked last. */
static int machine_files(struct machine *m, struct boot_result *start)
{
	struct boot_params_in in = {
		.kernel = m->args->kernel,
		.initrd = m->args->initrd,
		.cmdline = m->cmdline,
		.memory = m->args->memory,
		.cpus = m->args->cpus,
		.plain = m->args->append,
		.firmware = m->args->firmware[0] ? m->args->firmware : NULL,
		.flat = m->args->flat[0] ? m->args->flat : NULL,
		.flat_gpa = m->args->flat_gpa,
	};
	char err[512];
	int ret, info = 0;

	m->dev = cleave_open(NULL);
	if (m->dev >= 0)
		info = cleave_info(m->dev, &m->info);
	if (strlen(m->args->append) >= BOOT_CMDLINE_MAX / 2) {
		complain("--append: %zu characters are too many; give at most %d",
			 strlen(m->args->append), BOOT_CMDLINE_MAX / 2 - 1);
		return -EINVAL;
	}
	command_line(m);
	ret = virtio_add(m);
	if (ret)
		return ret;
	in.pci_lines = virtio_lines(m);
	ret = boot_load(&in, &m->mem, start, err, sizeof(err));
	if (ret < 0) {
		complain("%s", err);
		return ret;
	}
	ret = devices_add(m);
	if (ret)
		return ret;
	if (m->dev < 0)
		return open_failed(m->dev);
	return info < 0 ? module_failed(info, "CLEAVE_INFO") : 0;
}

/*
 * As firmware leaves it (MP specification 1.4, 3.6.2.2): the local APIC is on
 * and passes the 8259A's interrupts and NMIs; nobody has set the 8259A up, so
 * its lines are masked.
 */
static void virtual_wire(struct machine *m, struct cleave_lapic *lapic)
{
	lapic->regs[APIC_SVR / 4] = 0x1ff;
	lapic->regs[APIC_LVT0 / 4] = 0x700;	/* ExtINT */
	lapic->regs[APIC_LVT1 / 4] = 0x400;	/* NMI */
	pic_master_write(&m->pic, 1, 1, 0xff);
	pic_slave_write(&m->pic, 1, 1, 0xff);
}

int machine_load(struct machine *m)
{
	struct cleave_state state = { .groups = CLEAVE_SREGS | CLEAVE_LAPIC };
	struct boot_result start = { 0 };
	int ret;

	ret = machine_files(m, &start);
	if (!ret)
		ret = machine_check_module(m);
	if (ret)
		return ret;
	m->vm = cleave_create_vm(m->dev, 0);
	if (m->vm < 0)
		return module_failed(m->vm, "create a VM");
	ret = machine_slots(m) ?: machine_vcpus(m) ?: virtio_connect(m);
	if (ret)
		return ret;
	ret = cleave_get_state(m->vcpu[0].fd, &state);
	if (ret >= 0 && !start.reset) {
		start.sregs.apic_base = state.sregs.apic_base;	/* as reset left it */
		state.groups = CLEAVE_REGS | CLEAVE_SREGS | CLEAVE_LAPIC;
		state.regs = start.regs;
		state.sregs = start.sregs;
		virtual_wire(m, &state.lapic);
		ret = cleave_set_state(m->vcpu[0].fd, &state);
	}
	if (ret < 0)
		return module_failed(ret, "set the vCPU's registers");
	m->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (m->wake < 0)
		return module_failed(-errno, "eventfd");
	return 0;
}

static void vcpu_destroy(struct vcpu *v)
{
	if (v->recorder)
		cleave_unmap_recorder(v->recorder, &v->m->info);
	if (v->run)
		cleave_unmap_run(v->run, v->m->info.run_size);
	if (v->fd >= 0)
		close(v->fd);
	cleave_assist_free(&v->assist);
}

void machine_destroy(struct machine *m)
{
	uint32_t i;

	for (i = 0; i < m->cpus; i++)
		vcpu_destroy(&m->vcpu[i]);
	free(m->vcpu);
	if (m->vm >= 0)
		close(m->vm);
	if (m->dev >= 0)
		close(m->dev);
	if (m->wake >= 0)
		close(m->wake);
	virtio_remove(m);
	devices_remove(m);
	if (m->rom)
		munmap(m->rom, m->rom_size);
	if (m->ram)
		munmap(m->ram, m->ram_mapped);
	if (m->ram_fd >= 0)
		close(m->ram_fd);
	survey_drop(&m->shown);
	pause_destroy(m);
	pthread_mutex_destroy(&m->kick_lock);
	pthread_mutex_destroy(&m->tx_lock);
	pthread_mutex_destroy(&m->lock);
}
