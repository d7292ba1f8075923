// SPDX-License-Identifier: GPL-2.0
/*
 * A line for each row:
 *   ##device NAME|MEDIAN|SPREAD
 * ticks of the TSC per operation, which the test host's counts instructions by: those of the guest,
 * of the hypervisor, and of the host's kernel for both, as there is one CPU for all, and it is not
 * idle as long as anybody has work. SPREAD is between which quartiles half of the batches are, in
 * hundredths of the median.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <termios.h>
#include <unistd.h>
#include <x86intrin.h>
#include "guest.h"

#define WARM_UP	3
#define BATCHES	21

static const struct device *const devices[] = { &disk };

void fail(const char *what)
{
	printf("##failed %s: %s\n", what, strerror(errno));
	fflush(stdout);
	tcdrain(fileno(stdout));
	reboot(RB_POWER_OFF);
	_exit(1);
}

uint32_t chance(uint32_t n)
{
	static uint32_t seed = 1;

	seed = seed * 1664525 + 1013904223;
	return (uint64_t)seed * n >> 32;
}

/* Those that this kernel has not built in. */
static void drivers(void)
{
	static const char *const names[] = {
		"virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci",
		"virtio_blk",
	};
	char path[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		int fd;

		snprintf(path, sizeof(path), "/modules/%s.ko", names[i]);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && syscall(SYS_finit_module, fd, "", 0))
			fail(path);
		close(fd);
	}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static void measure(const struct device *d, const struct row *row)
{
	double per[BATCHES];

	for (int i = -WARM_UP; i < BATCHES; i++) {
		uint64_t start = __rdtsc();

		d->batch(row);
		if (i >= 0)
			per[i] = (double)(__rdtsc() - start) / row->operations;
	}
	qsort(per, BATCHES, sizeof(*per), compare);
	printf("##device %s|%.1f|%.2f\n", row->name, per[BATCHES / 2],
	       100 * (per[BATCHES * 3 / 4] - per[BATCHES / 4]) / per[BATCHES / 2]);
	fflush(stdout);
}

int main(void)
{
	/* It writes to /dev/vda, and powers off. */
	if (getpid() != 1) {
		fprintf(stderr, "guest: is the init of a guest, and nothing else\n");
		return 1;
	}
	mkdir("/dev", 0755);
	mount("none", "/dev", "devtmpfs", 0, NULL);
	if (!freopen("/dev/ttyS0", "w", stdout))
		return 1;
	drivers();
	for (size_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
		if (devices[i]->open())
			for (unsigned int j = 0; j < devices[i]->count; j++)
				measure(devices[i], &devices[i]->rows[j]);
	printf("##done\n");
	fflush(stdout);
	tcdrain(fileno(stdout));
	reboot(RB_POWER_OFF);
	return 1;
}
