/* SPDX-License-Identifier: GPL-2.0 */
/* Eventfds, and the VM's commands for them: 0 or -errno. */
#ifndef SELFTESTS_EVENTFDS_H
#define SELFTESTS_EVENTFDS_H

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include "host.h"

static inline int event_create(void)
{
	return MUST(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
}

static inline void event_signal(int fd)
{
	MUST(eventfd_write(fd, 1));
}

/* Takes what is in it. */
static inline uint64_t event_count(int fd)
{
	eventfd_t n = 0;

	return eventfd_read(fd, &n) ? 0 : n;
}

/* Waits for a signal and takes it; 0: none came. */
static inline uint64_t event_wait(int fd)
{
	uint64_t n = 0;

	WAIT_FOR(n || (n = event_count(fd)), 5000);
	return n;
}

/*
 * The kernel's number of a new eventfd, the lowest that is free: it grows by those that somebody
 * has lost, and nobody else tells of.
 */
static inline int event_number(void)
{
	int fd = event_create(), id = -1;
	char path[64], line[64];
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		sscanf(line, "eventfd-id: %d", &id);
	if (id < 0)
		DIE("no eventfd-id in %s", path);
	fclose(f);
	close(fd);
	return id;
}

static inline int irqfd_set(struct vm *vm, int fd, uint64_t address, uint32_t data)
{
	struct cleave_irqfd a = { .fd = fd, .address = address, .data = data };

	return xioctl(vm->fd, CLEAVE_IRQFD, &a);
}

static inline int irqfd_set_level(struct vm *vm, int fd, int resample, uint32_t data)
{
	struct cleave_irqfd a = {
		.fd = fd, .resample_fd = resample, .flags = CLEAVE_IRQFD_RESAMPLE,
		.address = MSI_ADDRESS(0), .data = data,
	};

	return xioctl(vm->fd, CLEAVE_IRQFD, &a);
}

static inline int irqfd_clear(struct vm *vm, int fd)
{
	struct cleave_irqfd a = { .fd = fd, .flags = CLEAVE_IRQFD_DEASSIGN };

	return xioctl(vm->fd, CLEAVE_IRQFD, &a);
}

/* flags: CLEAVE_IOEVENTFD_* */
static inline int ioeventfd_set(struct vm *vm, int fd, uint32_t flags, uint64_t address, uint32_t size,
			    uint64_t data)
{
	struct cleave_ioeventfd a = {
		.address = address, .data = data, .size = size, .fd = fd, .flags = flags,
	};

	return xioctl(vm->fd, CLEAVE_IOEVENTFD, &a);
}

static inline int ioeventfd_clear(struct vm *vm, uint32_t flags, uint64_t address, uint32_t size,
				uint64_t data)
{
	return ioeventfd_set(vm, 0, flags | CLEAVE_IOEVENTFD_DEASSIGN, address, size, data);
}

#endif
