// SPDX-License-Identifier: GPL-2.0
/* The devices of --device, and what they need of the machine. */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "machine.h"

#define FILE_MAX	(16 << 20)
#define PAGE		4096

struct devices {
	struct debugexit debugexit;
	struct debugcon debugcon;
	struct fwcfg fwcfg;
	struct testdev testdev;
	struct boot_fw_kernel kernel;
	struct boot_fw_acpi acpi;
	uint64_t sercon, menu;	/* little-endian */
	void *file[ARGS_DEVICE_FILES];
	struct boot_e820 ram[2];
};

/* ---- what they ask for ---------------------------------------------------------- */

static void on_exit_status(void *ctx, uint8_t status)
{
	struct machine *m = ctx;

	if (atomic_load(&m->outcome) == M_RUNS)
		m->status = status;
	machine_end(m, M_EXIT);
}

static int on_get(void *ctx, uint64_t gpa, void *buf, uint64_t len)
{
	struct machine *m = ctx;

	return cleave_mem_read(&m->mem, gpa, buf, len);
}

static int on_put(void *ctx, uint64_t gpa, const void *buf, uint64_t len)
{
	struct machine *m = ctx;

	void *to = cleave_mem_wptr(&m->mem, gpa, len);	/* not into ROM */

	if (!to)
		return -EFAULT;
	memcpy(to, buf, len);
	return 0;
}

/*
 * The page leaves the vCPUs' page tables and comes back with its content: any change of
 * protection does that. Access never goes, as other threads read guest memory meanwhile.
 */
static void on_flush(void *ctx, uint64_t gpa)
{
	struct machine *m = ctx;
	void *page = cleave_mem_wptr(&m->mem, gpa, PAGE);

	if (page && !mprotect(page, PAGE, PROT_READ | PROT_WRITE | PROT_EXEC))
		mprotect(page, PAGE, PROT_READ | PROT_WRITE);
}

/* ---- fw_cfg ----------------------------------------------------------------------- */

static int read_file(const char *path, void **data, uint32_t *size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = -1;
	struct stat st;
	int ret;

	if (fd < 0 || fstat(fd, &st)) {
		ret = -errno;
		complain("--device fw-cfg: file=%s: %s; check the path and its permissions", path,
			 strerror(errno));
		goto out;
	}
	ret = -EINVAL;
	if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
		complain("--device fw-cfg: file=%s: not a file of at most %u MiB; name another", path,
			 FILE_MAX >> 20);
		goto out;
	}
	*data = malloc(st.st_size ?: 1);
	if (*data)
		n = read(fd, *data, st.st_size);
	ret = *data && n == st.st_size ? 0 : -EIO;
	if (ret)
		complain("--device fw-cfg: file=%s: cannot be read; try again", path);
	*size = st.st_size;
out:
	if (fd >= 0)
		close(fd);
	return ret;
}

static int fwcfg_files(struct machine *m, struct devices *d)
{
	const struct device_args *a = &m->args->devices;
	uint32_t size = 0;
	unsigned int i;
	int ret = 0;

	for (i = 0; i < a->files && !ret; i++) {
		ret = read_file(a->file[i].path, &d->file[i], &size);
		if (!ret && fwcfg_add_file(&d->fwcfg, a->file[i].name, d->file[i], size)) {
			complain("--device fw-cfg: name=%s: there is a file of that name; choose another",
				 a->file[i].name);
			ret = -EEXIST;
		}
	}
	return ret;
}

static int fwcfg_kernel(struct machine *m, struct devices *d)
{
	const struct boot_params_in in = {
		.kernel = m->args->kernel, .initrd = m->args->initrd, .memory = m->args->memory,
	};
	const struct boot_fw_kernel *k = &d->kernel;
	uint32_t length = strlen(m->cmdline) + 1;
	struct fwcfg *f = &d->fwcfg;
	char err[512];
	int ret = boot_fw_kernel_load(&in, &d->kernel, err, sizeof(err));

	if (ret) {
		complain("%s", err);
		return ret;
	}
	fwcfg_number(f, FWCFG_KERNEL_ADDR, k->kernel_gpa, 4);
	fwcfg_number(f, FWCFG_KERNEL_SIZE, k->kernel_size, 4);
	fwcfg_bytes(f, FWCFG_KERNEL_DATA, k->kernel, k->kernel_size);
	fwcfg_number(f, FWCFG_INITRD_ADDR, k->initrd_gpa, 4);
	fwcfg_number(f, FWCFG_INITRD_SIZE, k->initrd_size, 4);
	fwcfg_bytes(f, FWCFG_INITRD_DATA, k->initrd, k->initrd_size);
	fwcfg_number(f, FWCFG_CMDLINE_ADDR, k->cmdline_gpa, 4);
	fwcfg_number(f, FWCFG_CMDLINE_SIZE, length, 4);
	fwcfg_bytes(f, FWCFG_CMDLINE_DATA, m->cmdline, length);
	fwcfg_number(f, FWCFG_SETUP_ADDR, k->setup_gpa, 4);
	fwcfg_number(f, FWCFG_SETUP_SIZE, k->setup_size, 4);
	fwcfg_bytes(f, FWCFG_SETUP_DATA, k->setup, k->setup_size);
	return 0;
}

/* Files of the same name that the user has given come first. */
static int fwcfg_firmware(struct machine *m, struct devices *d)
{
	const struct boot_params_in in = {
		.memory = m->args->memory, .cpus = m->args->cpus, .pci_lines = virtio_lines(m),
	};
	struct boot_fw_acpi *a = &d->acpi;

	if (boot_fw_acpi_build(&in, a)) {
		complain("--firmware: the host has no memory for ACPI tables, or --cpus is too many; free some, or give fewer");
		return -ENOMEM;
	}
	fwcfg_add_file(&d->fwcfg, BOOT_FW_RSDP, a->rsdp, a->rsdp_size);
	fwcfg_add_file(&d->fwcfg, BOOT_FW_TABLES, a->tables, a->tables_size);
	fwcfg_add_file(&d->fwcfg, BOOT_FW_LOADER, a->loader, a->loader_size);
	if (m->args->boots_disk) {
		/* Where SeaBIOS says that a disk does not boot, as there is no screen; and no wait for a key. */
		d->sercon = htole64(COM1_PORT);
		fwcfg_add_file(&d->fwcfg, "etc/sercon-port", &d->sercon, sizeof(d->sercon));
		fwcfg_add_file(&d->fwcfg, "etc/show-boot-menu", &d->menu, sizeof(d->menu));
	}
	return 0;
}

static int add_fwcfg(struct machine *m, struct devices *d)
{
	struct boot_range ram[2];
	unsigned int i, n = boot_ram(m->args->memory, ram);
	int ret;

	d->fwcfg.get = on_get;
	d->fwcfg.put = on_put;
	d->fwcfg.ctx = m;
	fwcfg_init(&d->fwcfg);
	fwcfg_number(&d->fwcfg, FWCFG_RAM_SIZE, m->args->memory, 8);
	fwcfg_number(&d->fwcfg, FWCFG_NOGRAPHIC, 1, 2);
	fwcfg_number(&d->fwcfg, FWCFG_CPUS, m->args->cpus, 2);
	fwcfg_number(&d->fwcfg, FWCFG_MAX_CPUS, m->args->cpus, 2);
	for (i = 0; i < n; i++)
		d->ram[i] = (struct boot_e820){ ram[i].gpa, ram[i].size, E820_RAM };
	fwcfg_add_file(&d->fwcfg, "etc/e820", d->ram, n * sizeof(d->ram[0]));
	ret = fwcfg_files(m, d);
	if (!ret && m->args->firmware[0])
		ret = fwcfg_firmware(m, d);
	if (!ret && m->args->firmware[0] && m->args->kernel[0])
		ret = fwcfg_kernel(m, d);
	return ret;
}

/* ---- all of them ------------------------------------------------------------------- */

static void add_debug_ports(struct machine *m, struct devices *d)
{
	d->debugexit = (struct debugexit){ on_exit_status, m };
	d->debugcon = (struct debugcon){ console_tx, m };
	d->testdev.irq = machine_irq;
	d->testdev.flush = on_flush;
	d->testdev.ctx = m;
}

/* A port that the user has chosen may be another's. */
static int add_ranges(struct machine *m, struct devices *d)
{
	const struct device_args *a = &m->args->devices;
	const struct {
		enum args_device kind;
		struct bus *bus;
		struct bus_range range;
	} all[] = {
		{ DEV_DEBUG_EXIT, &m->pio, { a->port[DEV_DEBUG_EXIT], 4, 4, &d->debugexit, NULL, debugexit_write } },
		{ DEV_DEBUGCON, &m->pio, { a->port[DEV_DEBUGCON], 1, 1, &d->debugcon, debugcon_read, debugcon_write } },
		{ DEV_FW_CFG, &m->pio, { FWCFG_PORT, 2, 2, &d->fwcfg, fwcfg_read, fwcfg_write } },
		{ DEV_FW_CFG, &m->pio, { FWCFG_DMA_PORT, 8, 4, &d->fwcfg, fwcfg_dma_read, fwcfg_dma_write } },
		{ DEV_TESTDEV, &m->pio, { TESTDEV_IRQ_PORT, TESTDEV_IRQS, 1, &d->testdev, NULL, testdev_irq_write } },
		{ DEV_TESTDEV, &m->pio, { TESTDEV_LATCH_PORT, 4, 4, &d->testdev, testdev_latch_read, testdev_latch_write } },
		{ DEV_TESTDEV, &m->pio, { TESTDEV_FLUSH_PORT, 4, 4, &d->testdev, NULL, testdev_flush_write } },
		{ DEV_TESTDEV, &m->mmio, { TESTDEV_MMIO, TESTDEV_MMIO_SIZE, 8, &d->testdev, testdev_mmio_read, testdev_mmio_write } },
	};
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(all); i++) {
		if (a->there[all[i].kind] && bus_add(all[i].bus, &all[i].range)) {
			complain("--device: something is at 0x%llx already; choose another port",
				 (unsigned long long)all[i].range.base);
			return -EEXIST;
		}
	}
	return 0;
}

int devices_add(struct machine *m)
{
	const struct device_args *a = &m->args->devices;
	struct devices *d;
	unsigned int i, n = 0;

	for (i = 0; i < DEV_COUNT; i++)
		n += a->there[i];
	if (!n)
		return 0;
	d = calloc(1, sizeof(*d));
	if (!d) {
		complain("--device: the host is out of memory; free some");
		return -ENOMEM;
	}
	m->devices = d;
	add_debug_ports(m, d);
	return add_ranges(m, d) ?: a->there[DEV_FW_CFG] ? add_fwcfg(m, d) : 0;
}

void devices_remove(struct machine *m)
{
	unsigned int i;

	if (!m->devices)
		return;
	boot_fw_kernel_free(&m->devices->kernel);
	boot_fw_acpi_free(&m->devices->acpi);
	for (i = 0; i < ARGS_DEVICE_FILES; i++)
		free(m->devices->file[i]);
	free(m->devices);
	m->devices = NULL;
}
