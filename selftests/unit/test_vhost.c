// SPDX-License-Identifier: GPL-2.0
/*
 * Queues that the host's kernel serves, by a vhost-vsock of the test's own behind ioctl(), and a
 * module that sends messages for eventfds: what reaches them, and that no interrupt is lost or
 * sent twice whatever the driver does to its vectors.
 */
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/pci_regs.h>
#include <linux/vhost.h>
#include <linux/virtio_net.h>
#include <linux/virtio_vsock.h>
#include <stdarg.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "unit.h"
#include "net/net.h"
#include "virtio_driver.h"

#define V1		(1ULL << VIRTIO_F_VERSION_1)
#define EVENT		(1ULL << VIRTIO_RING_F_EVENT_IDX)
#define CID		42

/* ---- the kernel's side ------------------------------------------------------------------ */

struct ring {
	unsigned int num, base;
	struct vhost_vring_addr addr;
	int kick, call, err;
};

static struct {
	int fd;				/* of the device */
	int tap;			/* of a network device, or 0 */
	int backend[2];			/* what its rings are plugged into, or 0 */
	unsigned int offloads;
	unsigned long fails;		/* this command does, */
	int error;			/* with that */
	unsigned int owners, regions;
	struct vhost_memory_region region[4];
	uint64_t features, cid, net_features;
	bool running;
	unsigned int stops;
	struct ring ring[2];
	unsigned long last[2];		/* commands: the one before the last, and the last */
} kernel;

static bool is_running(void)
{
	return __atomic_load_n(&kernel.running, __ATOMIC_ACQUIRE);
}

static void set_memory(const struct vhost_memory *m)
{
	kernel.regions = m->nregions;
	memcpy(kernel.region, m->regions, (m->nregions < 4 ? m->nregions : 4) * sizeof(m->regions[0]));
}

static int obey(unsigned long nr, void *arg)
{
	struct vhost_vring_state *state = arg;
	struct vhost_vring_file *file = arg;
	bool vring = _IOC_NR(nr) >= _IOC_NR(VHOST_SET_VRING_NUM) && _IOC_NR(nr) <= _IOC_NR(VHOST_SET_VRING_ERR);
	struct ring *r = &kernel.ring[vring ? file->index & 1 : 0];	/* all begin with it */

	switch (nr) {
	case VHOST_SET_OWNER:
		kernel.owners++;
		return 0;
	case VHOST_GET_FEATURES:
		*(uint64_t *)arg = V1 | EVENT | 1ULL << VIRTIO_RING_F_INDIRECT_DESC | 1ULL << VHOST_F_LOG_ALL |
				   (kernel.tap ? kernel.net_features : 2);
		return 0;
	case VHOST_SET_FEATURES:
		kernel.features = *(uint64_t *)arg;
		return 0;
	case VHOST_SET_MEM_TABLE:
		set_memory(arg);
		return 0;
	case VHOST_VSOCK_SET_GUEST_CID:
		kernel.cid = *(uint64_t *)arg;
		return 0;
	case VHOST_SET_VRING_NUM:
		r->num = state->num;
		return is_running() ? -EBUSY : 0;
	case VHOST_SET_VRING_BASE:
		r->base = state->num;
		return is_running() ? -EBUSY : 0;
	case VHOST_SET_VRING_ADDR:
		r->addr = *(struct vhost_vring_addr *)arg;
		return 0;
	case VHOST_SET_VRING_KICK:
		r->kick = file->fd;
		return 0;
	case VHOST_SET_VRING_CALL:
		r->call = file->fd;
		return 0;
	case VHOST_SET_VRING_ERR:
		r->err = file->fd;
		return 0;
	case VHOST_GET_VRING_BASE:
		CHECK(!is_running());
		state->num = 7 + state->index;
		return 0;
	case VHOST_VSOCK_SET_RUNNING:
		kernel.stops += !*(int *)arg;
		__atomic_store_n(&kernel.running, *(int *)arg, __ATOMIC_RELEASE);
		return 0;
	case VHOST_NET_SET_BACKEND:
		kernel.backend[file->index & 1] = file->fd == -1 ? 0 : file->fd;
		kernel.stops += file->fd == -1;
		__atomic_store_n(&kernel.running, kernel.backend[0] && kernel.backend[1], __ATOMIC_RELEASE);
		return 0;
	}
	unit_fail("command %lx", nr);
	return -ENOTTY;
}

int __wrap_ioctl(int fd, unsigned long nr, ...);
int __wrap_ioctl(int fd, unsigned long nr, ...)
{
	va_list ap;
	void *arg;
	int ret;

	va_start(ap, nr);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (fd == kernel.tap && nr == TUNSETOFFLOAD) {
		kernel.offloads = (uintptr_t)arg;
		return 0;
	}
	CHECK_EQ(fd, kernel.fd);
	kernel.last[0] = kernel.last[1];
	kernel.last[1] = nr;
	ret = nr == kernel.fails ? -kernel.error : obey(nr, arg);
	if (ret >= 0)
		return ret;
	errno = -ret;
	return -1;
}

static struct vdev *make(int *error, const char **what)
{
	kernel.fd = eventfd(0, EFD_CLOEXEC);
	return virtio_vsock(d_memory(), kernel.fd, CID, error, what);
}

static bool is_open(int fd)
{
	struct stat st;

	return !fstat(fd, &st);
}

/* ---- the module's side: messages for signals (uapi/linux/cleave.h, CLEAVE_IRQFD) ---------- */

static struct {
	pthread_mutex_t lock;
	bool refuses;
	struct {
		int fd;
		uint64_t address;
		uint32_t data;
	} on[4];
	unsigned int sent;		/* without the process */
} module = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* Where, or -1. Lock held. */
static int assigned(int fd)
{
	int i;

	for (i = 0; i < 4; i++)
		if (module.on[i].address && module.on[i].fd == fd)
			return i;
	return -1;
}

static void send_message(int i)
{
	module.sent++;
	dr.host.msi(NULL, module.on[i].address, module.on[i].data);
}

static int on_irqfd(void *ctx, int fd, uint64_t address, uint32_t data, bool assign)
{
	uint64_t count;
	int i, ret = 0;

	pthread_mutex_lock(&module.lock);
	i = assigned(fd);
	if (assign && (module.refuses || address >> 20 != 0xfee)) {
		ret = -EINVAL;
	} else if (assign) {
		for (i = i < 0 ? 0 : i; module.on[i].address && module.on[i].fd != fd; i++)
			;
		module.on[i].fd = fd;
		module.on[i].address = address;
		module.on[i].data = data;
		if (read(fd, &count, sizeof(count)) > 0)
			send_message(i);
	} else if (i < 0) {
		unit_fail("an irqfd that is not assigned");
		ret = -ENOENT;
	} else {
		module.on[i].address = 0;
	}
	pthread_mutex_unlock(&module.lock);
	return ret;
}

/* What the kernel does when it has used a buffer. */
static void signal_call(unsigned int ring)
{
	uint64_t one = 1;
	int fd = kernel.ring[ring].call, i;

	pthread_mutex_lock(&module.lock);
	i = assigned(fd);
	if (i >= 0)
		send_message(i);
	else
		CHECK_EQ(write(fd, &one, sizeof(one)), 8);
	pthread_mutex_unlock(&module.lock);
}

static bool is_assigned(unsigned int ring)
{
	bool is;

	pthread_mutex_lock(&module.lock);
	is = assigned(kernel.ring[ring].call) >= 0;
	pthread_mutex_unlock(&module.lock);
	return is;
}

/* ---- by the driver ------------------------------------------------------------------------ */

static bool within(bool (*what)(void))
{
	unsigned int i;

	for (i = 0; i < 5000 && !what(); i++)
		d_pause();
	return what();
}

static bool stopped(void)
{
	return !is_running();
}

static bool broken(void)
{
	return d_get(0x14, 1) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static void plug(bool irqfd)
{
	const char *what;
	int error;

	memset(&kernel, 0, sizeof(kernel));
	module.refuses = false;
	module.sent = 0;
	dr.irqfd = irqfd ? on_irqfd : NULL;
	d_plug(make(&error, &what));
}

static void mask(unsigned int vector, bool on)
{
	d_set(0x400c + 16 * vector, 4, on);
}

UNIT_TEST(rings_are_given_and_taken)
{
	uint64_t count;
	unsigned int i;

	plug(false);
	CHECK(kernel.owners == 1 && kernel.cid == CID && d_get(0x2000, 8) == CID);
	CHECK(kernel.regions == 1 && kernel.region[0].memory_size == D_RAM &&
	      kernel.region[0].userspace_addr == (uintptr_t)dr.ram && !kernel.region[0].guest_phys_addr);
	d_start(EVENT, 3);
	CHECK(within(is_running));
	/* What it logs is not the guest's business, nor what the guest did not accept. */
	CHECK_EQ(dr.features, V1 | EVENT | 1ULL << VIRTIO_RING_F_INDIRECT_DESC | 2);
	CHECK_EQ(kernel.features, V1 | EVENT);
	for (i = 0; i < 2; i++) {
		const struct ring *r = &kernel.ring[i];
		uint64_t at = (uintptr_t)dr.ram + D_RINGS + i * D_STEP;

		CHECK(r->num == D_SIZE && !r->base && r->kick == dr.eventfd[i]);
		CHECK(r->addr.desc_user_addr == at && r->addr.avail_user_addr == at + 0x1000 &&
		      r->addr.used_user_addr == at + 0x2000 && !r->addr.flags);
		/* It looks at once; and this thread takes no kick away. */
		CHECK(read(r->kick, &count, 8) == 8 && count == 1);
		d_kick(i);
		d_pause();
		CHECK(read(r->kick, &count, 8) == 8 && count == 1);
	}
	d_reset();
	CHECK(stopped() && kernel.stops == 1);
	CHECK(kernel.last[0] == VHOST_GET_VRING_BASE && kernel.last[1] == VHOST_GET_VRING_BASE);
	/* From the start again. */
	d_start(0, 3);
	CHECK(within(is_running));
	CHECK(kernel.features == V1 && !kernel.ring[1].base);
	d_unplug();
	CHECK(stopped() && !is_open(kernel.fd));
}

UNIT_TEST(interrupts_by_the_thread)
{
	unsigned int before, i, line = pci_line(1);

	plug(false);
	d_start(0, 3);
	CHECK(within(is_running));
	for (i = 0; i < 2; i++) {
		atomic_store(&dr.last_data, 0);
		signal_call(i);
		CHECK(d_message(0x41 + i));
	}
	/* Masked, it waits, once. */
	mask(1, true);
	before = atomic_load(&dr.msis);
	signal_call(0);
	for (i = 0; i < 5000 && !(d_get(0x5000, 8) & 2); i++)
		d_pause();
	CHECK_EQ(d_get(0x5000, 8), 2);
	signal_call(0);
	mask(1, false);
	CHECK(d_message(0x41) && atomic_load(&dr.msis) > before);
	/* By the line. */
	d_set_config(0x42, 2, 0);
	signal_call(1);
	for (i = 0; i < 5000 && !atomic_load(&dr.levels[line]); i++)
		d_pause();
	CHECK(atomic_load(&dr.levels[line]));
	CHECK_EQ(d_get(0x1000, 1), 1);
	d_unplug();
}

UNIT_TEST(interrupts_without_the_thread)
{
	unsigned int msis;

	plug(true);
	d_start(0, 3);
	CHECK(within(is_running));
	CHECK(is_assigned(0) && is_assigned(1) && dr.d->queue[0].irqfd && !dr.d->queue[2].irqfd);
	msis = atomic_load(&dr.msis);
	signal_call(0);
	CHECK(module.sent == 1 && atomic_load(&dr.msis) == msis + 1 && atomic_load(&dr.last_data) == 0x41);
	/* Another message, at once. */
	d_set(0x4018, 4, 0x77);
	signal_call(0);
	CHECK(module.sent == 2 && atomic_load(&dr.last_data) == 0x77);
	/* Another vector. */
	d_set(0x16, 2, 0);
	d_set(0x1a, 2, 3);
	signal_call(0);
	CHECK(module.sent == 3 && atomic_load(&dr.last_data) == 0x43);
	d_set(0x1a, 2, 0xffff);
	CHECK(!is_assigned(0) && is_assigned(1));
	d_set(0x1a, 2, 1);
	CHECK(is_assigned(0));
	/* No message at all. */
	d_set(0x4010, 4, 0x1000);
	CHECK(!is_assigned(0) && is_assigned(1));
	d_set(0x4010, 4, 0xfee00000);
	CHECK(is_assigned(0));
	/* One, and all. */
	mask(1, true);
	CHECK(!is_assigned(0) && is_assigned(1));
	mask(1, false);
	d_set_config(0x42, 2, 0xc000);
	CHECK(!is_assigned(0) && !is_assigned(1));
	d_set_config(0x42, 2, 0x8000);
	CHECK(is_assigned(0) && is_assigned(1));
	d_set_config(0x42, 2, 0);
	CHECK(!is_assigned(0) && !is_assigned(1));
	d_set_config(0x42, 2, 0x8000);
	d_reset();
	CHECK(!is_assigned(0) && !is_assigned(1));
	/* The module has no room. */
	module.refuses = true;
	d_start(0, 3);
	CHECK(within(is_running));
	CHECK(!is_assigned(0));
	atomic_store(&dr.last_data, 0);
	signal_call(0);
	CHECK(d_message(0x41));
	d_unplug();
}

/* ---- under a driver that changes its mind ----------------------------------------------------- */

static atomic_uint signals, seen;
static atomic_bool enough;

static void *signals_on(void *arg)
{
	while (!atomic_load(&enough)) {
		atomic_fetch_add(&signals, 1);
		signal_call(0);
		if (!(atomic_load(&signals) % 16))
			sched_yield();
	}
	return NULL;
}

/* As the driver's handler: what was signalled before its message is seen by it. */
static void note(void *ctx, uint64_t address, uint32_t data)
{
	atomic_fetch_add(&dr.msis, 1);
	if (data == 0x41 || data == 0x51)
		atomic_store(&seen, atomic_load(&signals));
}

static bool all_seen(void)
{
	return atomic_load(&seen) == atomic_load(&signals);
}

UNIT_TEST(none_is_lost_or_sent_twice)
{
	pthread_t thread;
	unsigned int i, j;

	plug(true);
	dr.host.msi = note;
	d_start(0, 3);
	CHECK(within(is_running));
	for (i = 0; i < 60; i++) {
		atomic_store(&dr.msis, 0);
		atomic_store(&signals, 0);
		atomic_store(&seen, 0);
		atomic_store(&enough, false);
		module.refuses = i % 8 == 7;
		if (pthread_create(&thread, NULL, signals_on, NULL))
			abort();
		for (j = 0; j < 50 || !atomic_load(&signals); j++) {
			mask(1, true);
			d_set(0x4018, 4, j & 1 ? 0x51 : 0x41);
			if (j % 5 == 1)
				d_set_config(0x42, 2, 0xc000);
			mask(1, false);
			if (j % 5 == 2)
				d_set_config(0x42, 2, 0x8000);
			if (j % 7 == 3)
				sched_yield();
		}
		d_set_config(0x42, 2, 0x8000);
		atomic_store(&enough, true);
		pthread_join(thread, NULL);
		/* After the last signal there is a message; and there are not more than signals. */
		CHECK(within(all_seen));
		CHECK(atomic_load(&dr.msis) > 0);
		CHECK(atomic_load(&dr.msis) <= atomic_load(&signals));
	}
	d_unplug();
}

/* ---- what goes wrong ---------------------------------------------------------------------------- */

UNIT_TEST(opening_fails)
{
	const unsigned long steps[] = {
		VHOST_SET_OWNER, VHOST_SET_MEM_TABLE, VHOST_GET_FEATURES, VHOST_VSOCK_SET_GUEST_CID,
	};
	const char *what;
	unsigned int i;
	int error;

	for (i = 0; i < 4; i++) {
		memset(&kernel, 0, sizeof(kernel));
		kernel.fails = steps[i];
		kernel.error = EADDRINUSE;
		CHECK(!make(&error, &what));
		CHECK_EQ(error, -EADDRINUSE);
		CHECK(!is_open(kernel.fd));
	}
	CHECK(!strcmp(what, "VHOST_VSOCK_SET_GUEST_CID"));
}

/* The guest is told, the kernel's side is closed, and another try is no better. */
UNIT_TEST(rings_are_refused)
{
	const unsigned long steps[] = {
		VHOST_SET_FEATURES, VHOST_SET_VRING_NUM, VHOST_SET_VRING_BASE, VHOST_SET_VRING_ADDR,
		VHOST_SET_VRING_KICK, VHOST_SET_VRING_CALL, VHOST_SET_VRING_ERR, VHOST_VSOCK_SET_RUNNING,
	};
	unsigned int i, j;

	for (i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		plug(i & 1);
		kernel.fails = steps[i];
		kernel.error = EFAULT;
		CHECK_EQ(d_negotiate(V1), 0x0b);
		d_msix(4);
		for (j = 0; j < 3; j++)
			d_queue(j);
		d_set(0x14, 1, 0x0f);
		CHECK(within(broken));
		CHECK(d_message(0x40) && !is_open(kernel.fd) && dr.d->broken);
		d_reset();
		kernel.fails = 0;
		CHECK_EQ(d_negotiate(V1), 0x0b);
		for (j = 0; j < 3; j++)
			d_queue(j);
		d_set(0x14, 1, 0x0f);
		CHECK(within(broken));
		CHECK(!is_running());
		d_unplug();
	}
}

UNIT_TEST(rings_are_not_given_back)
{
	const unsigned long steps[] = { VHOST_VSOCK_SET_RUNNING, VHOST_GET_VRING_BASE };
	unsigned int i;

	for (i = 0; i < 2; i++) {
		plug(true);
		d_start(0, 3);
		CHECK(within(is_running));
		kernel.fails = steps[i];
		kernel.error = EIO;
		d_reset();
		CHECK(!is_open(kernel.fd) && dr.d->broken);
		d_unplug();
	}
}

UNIT_TEST(ring_found_broken)
{
	uint64_t one = 1;

	plug(true);
	d_start(0, 3);
	CHECK(within(is_running));
	CHECK_EQ(write(kernel.ring[1].err, &one, 8), 8);
	CHECK(within(broken));
	CHECK(d_message(0x40));
	d_start(0, 3);
	CHECK(within(is_running));
	CHECK(!broken());
	d_unplug();
}

/* What is not in the guest's memory does not reach the kernel, nor does half a device. */
UNIT_TEST(rings_that_are_nowhere)
{
	plug(true);
	CHECK_EQ(d_negotiate(V1), 0x0b);
	d_msix(4);
	d_queue(0);
	d_set(0x16, 2, 1);
	d_set(0x20, 4, D_RAM - 16);
	d_set(0x28, 4, D_RINGS + 0x1000);
	d_set(0x30, 4, D_RINGS + 0x2000);
	d_set(0x1c, 2, 1);
	CHECK_EQ(d_get(0x1c, 2), 0);
	d_set(0x14, 1, 0x0f);
	CHECK(within(broken));
	d_pause();
	CHECK(!is_running() && !kernel.ring[1].addr.desc_user_addr && !kernel.ring[0].addr.desc_user_addr);
	d_reset();
	d_start(0, 3);
	CHECK(within(is_running));
	d_unplug();
}

/* ---- a network device ------------------------------------------------------------------------ */

#define NET(f)	(1ULL << VIRTIO_NET_F_##f)

static atomic_uint gone;

static void on_gone(void *ctx)
{
	atomic_fetch_add(&gone, 1);
}

static struct vhost *net_vhost(uint64_t features, int *error)
{
	memset(&kernel, 0, sizeof(kernel));
	kernel.fd = eventfd(0, EFD_CLOEXEC);
	kernel.tap = eventfd(0, EFD_CLOEXEC);
	kernel.net_features = features;
	return vhost_net_new(d_memory(), kernel.fd, kernel.tap, error);
}

static void plug_net(uint64_t features)
{
	struct net_params p = { .gone = on_gone };
	int error;

	atomic_store(&gone, 0);
	dr.irqfd = on_irqfd;
	module.refuses = false;
	p.vhost = net_vhost(features, &error);
	if (!p.vhost)
		abort();
	p.backend = net_tap_of(kernel.tap, 1400, true);
	d_plug(virtio_net(&dr.mem, &p));
}

UNIT_TEST(network)
{
	const struct d_part command[] = { { D_DATA, 10, false }, { D_DATA + 16, 1, true } };
	uint64_t count;

	plug_net(NET(MRG_RXBUF) | NET(CSUM));
	d_start(EVENT | NET(MRG_RXBUF) | NET(GUEST_CSUM) | NET(GUEST_TSO4) | NET(CSUM) | NET(CTRL_VQ) |
		NET(CTRL_GUEST_OFFLOADS), 3);
	CHECK(within(is_running));
	CHECK(kernel.backend[0] == kernel.tap && kernel.backend[1] == kernel.tap);
	/* Offloads are the interface's, and not vhost's. */
	CHECK_EQ(kernel.features, V1 | EVENT | NET(MRG_RXBUF));
	CHECK_EQ(kernel.offloads, TUN_F_CSUM | TUN_F_TSO4);
	CHECK(is_assigned(0) && is_assigned(1));
	CHECK(read(kernel.ring[1].kick, &count, 8) == 8);
	signal_call(0);
	CHECK_EQ(atomic_load(&dr.last_data), 0x41);
	/* Its third queue is the device's own. */
	memset(dr.ram + D_DATA, 0, 32);
	dr.ram[D_DATA] = VIRTIO_NET_CTRL_GUEST_OFFLOADS;
	dr.ram[D_DATA + 2] = NET(GUEST_CSUM);
	dr.ram[D_DATA + 16] = 0xff;
	d_offer(2, command, 2);
	d_kick(2);
	CHECK_EQ(d_wait(2), 1);
	CHECK(!dr.ram[D_DATA + 16] && kernel.offloads == TUN_F_CSUM);
	d_reset();
	CHECK(stopped() && kernel.stops == 2);
	CHECK(kernel.last[0] == VHOST_GET_VRING_BASE && kernel.last[1] == VHOST_GET_VRING_BASE);
	d_unplug();
	CHECK(!is_open(kernel.fd) && !is_open(kernel.tap));
	/* vhost does not know of what the device could do by itself. */
	plug_net(0);
	d_negotiate(V1);
	CHECK(!(dr.features & NET(MRG_RXBUF)) && (dr.features & NET(CSUM)) && (dr.features & NET(MAC)));
	d_unplug();
}

static bool has_gone(void)
{
	return atomic_load(&gone);
}

/* Nobody but a look now and then tells of it. */
UNIT_TEST(interface_goes)
{
	int fd[2];

	plug_net(NET(MRG_RXBUF));
	d_start(NET(STATUS), 2);
	CHECK(within(is_running));
	CHECK_EQ(d_get(0x2006, 2), VIRTIO_NET_S_LINK_UP);
	/* The end of a pipe that nobody reads from polls as the file of a removed interface does. */
	if (pipe(fd))
		abort();
	close(fd[0]);
	dup2(fd[1], kernel.tap);
	close(fd[1]);
	CHECK(within(has_gone));
	CHECK_EQ(d_get(0x2006, 2), 0);
	CHECK(d_message(0x40));
	CHECK_EQ(atomic_load(&gone), 1);
	d_unplug();
}

UNIT_TEST(network_refused)
{
	const unsigned long steps[] = { VHOST_SET_OWNER, VHOST_SET_MEM_TABLE, VHOST_GET_FEATURES };
	unsigned int i;
	int error;

	for (i = 0; i < 3; i++) {
		memset(&kernel, 0, sizeof(kernel));
		kernel.fd = eventfd(0, EFD_CLOEXEC);
		kernel.fails = steps[i];
		kernel.error = ENOBUFS;
		CHECK(!vhost_net_new(d_memory(), kernel.fd, 0, &error));
		CHECK(error == -ENOBUFS && !is_open(kernel.fd));
	}
	plug_net(NET(MRG_RXBUF));
	kernel.fails = VHOST_NET_SET_BACKEND;
	kernel.error = EBADFD;
	CHECK_EQ(d_negotiate(V1), 0x0b);
	d_msix(3);
	d_queue(0);
	d_queue(1);
	d_set(0x14, 1, 0x0f);
	CHECK(within(broken));
	CHECK(d_message(0x40) && !is_open(kernel.fd));
	d_unplug();
}
