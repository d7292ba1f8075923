// SPDX-License-Identifier: GPL-2.0
/*
 * Devices of virtio and the PCI bus they are on, without their threads: registers,
 * configuration space and memory as a hostile guest has them. Input: the device, then steps.
 */
#include <errno.h>
#include <signal.h>
#include <sys/socket.h>

#include "block/block.h"
#include "net/net.h"
#include "tool.h"
#include "virtio/virtio.h"

#define PAGE	4096
#define RAM	(16 * PAGE)
#define BAR	0xc0000000U

static struct bus mmio;
static struct pci pci;
static struct virtio_pci fn;
static uint8_t *ram;
static struct memory_file file;
static unsigned int kicks;

struct io_uring;
int io_uring_queue_init(unsigned int entries, struct io_uring *ring, unsigned int flags);

/* Disks are read and written by this thread. */
int io_uring_queue_init(unsigned int entries, struct io_uring *ring, unsigned int flags)
{
	return -ENOSYS;
}

static void nothing(void *ctx)
{
}

static void on_msi(void *ctx, uint64_t address, uint32_t data)
{
}

static int on_ioeventfd(void *ctx, uint64_t gpa, int fd, bool assign)
{
	kicks += assign ? 1 : -1;
	return 0;
}

static void on_irq(void *ctx, unsigned int nr, bool level)
{
	PROMISE(nr < 24);
}

static ssize_t on_write(void *ctx, const void *data, size_t len)
{
	PROMISE(len && len <= 4096);
	return len;
}

static void *on_open(void *ctx)
{
	return ctx;
}

/* As much as there is room for, or nothing, as the client says. */
static ssize_t on_input(void *conn, const void *data, size_t len, void *out, size_t room)
{
	if (!len || *(const uint8_t *)data & 1)
		return len ? -1 : 0;
	memset(out, *(const uint8_t *)data, room);
	return room;
}

static void on_close(void *conn)
{
}

static void on_gone(void *ctx)
{
}

/* A socket with frames in it, that takes some; or nothing behind it but what is inside. */
static struct vdev *make_net(const struct cleave_mem *mem, unsigned int kind)
{
	static const struct net_service service = { on_open, on_input, on_close, &service.ctx };
	static const struct net_user user = { .restricted = true, .dns = { 0x0100007f } };
	struct net_params p = { .service = kind & 4 ? &service : NULL, .gone = on_gone };
	uint8_t frame[300] = { kind & 1 };
	char err[200];
	int pair[2];

	if (kind & 0x20) {
		PROMISE(!net_user(&user, &p.backend, err, sizeof(err)));
	} else {
		PROMISE(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair));
		PROMISE(write(pair[0], frame, 60) == 60 && write(pair[0], frame, 300) == 300);
		if (kind & 2)
			close(pair[0]);
		else
			PROMISE(dup2(pair[0], 200) == 200 && !close(pair[0]));
		p.backend = net_tap_of(pair[1], kind & 1 ? 1500 : 0, kind & 8);
	}
	return virtio_net(mem, &p);
}

static struct vdev *make(const struct cleave_mem *mem, unsigned int kind)
{
	struct console_port port[2] = {
		{ .console = true, .fd = -1, .listen = -1, .write = on_write },
		{ .name = "port", .fd = -1, .listen = -1 },
	};
	struct block_params p = { .path = file.path, .format = BLOCK_RAW, .readonly = kind & 8 };
	char err[9000];
	struct block *b;
	int pair[2];

	if (kind & 0x10)
		return make_net(mem, kind);
	switch (kind & 3) {
	case 0:
		return virtio_rng(mem);
	case 1:
		PROMISE(!ftruncate(file.fd, 64 * PAGE));
		PROMISE(!block_open(&p, &b, err, sizeof(err)));
		return virtio_blk(mem, b, "serial", 2);
	case 2:
		PROMISE(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair));
		PROMISE(write(pair[0], "some keys", 9) == 9);
		port[0].fd = pair[1];
		close(pair[0]);
		return virtio_console(mem, port, kind & 4 ? 2 : 1);
	}
	return virtio_balloon(mem, 1 << 20);
}

/* What its threads would do. */
static void work(struct vdev *d)
{
	struct pollfd fds[VDEV_FDS];

	for (unsigned int i = 0; i < d->workers; i++) {
		if (d->active && !d->resetting)
			d->ops->work(d, i);
		if (d->ops->wait)
			PROMISE(d->ops->wait(d, i, fds) <= VDEV_FDS);
	}
	if (!d->resetting)
		return;
	d->active = 0;
	vdev_clear(d);
	d->transport->was_reset(d);
	PROMISE(!d->status);
}

/* Up to DRIVER_OK, with the features and the queues that a driver has; rings of 8. */
static void set_up(struct vdev *d)
{
	bus_write(&mmio, BAR + 0x14, 1, 0);
	work(d);
	bus_write(&mmio, BAR + 0x08, 4, 0);
	bus_write(&mmio, BAR + 0x0c, 4, d->offered);
	bus_write(&mmio, BAR + 0x08, 4, 1);
	bus_write(&mmio, BAR + 0x0c, 4, d->offered >> 32);
	bus_write(&mmio, BAR + 0x14, 1, 0x0b);
	for (unsigned int i = 0; i < d->queues; i++) {
		bus_write(&mmio, BAR + 0x16, 2, i);
		bus_write(&mmio, BAR + 0x18, 2, 8);
		bus_write(&mmio, BAR + 0x20, 4, i % 6 * 0x800);
		bus_write(&mmio, BAR + 0x28, 4, i % 6 * 0x800 + 0x100);
		bus_write(&mmio, BAR + 0x30, 4, i % 6 * 0x800 + 0x200);
		bus_write(&mmio, BAR + 0x1c, 2, 1);
	}
	bus_write(&mmio, BAR + 0x14, 1, 0x0f);
}

static void step(struct vdev *d, struct input *in)
{
	uint8_t what = take8(in), size = 1 << (what >> 4 & 3);
	uint16_t at = 0;
	uint32_t value = 0;

	take(in, &at, 2);
	take(in, &value, size == 8 ? 4 : size);
	switch (what & 15) {
	case 0: case 1:
		bus_write(&mmio, BAR + at % 0x8000, size, value);
		break;
	case 2:
		bus_write(&mmio, BAR + at % 0x40, size, value);
		break;
	case 3:
		bus_read(&mmio, BAR + at % 0x8000, size);
		break;
	case 4:
		pci_ecam_write(&pci, 1 << 15 | at % 0x110, size & 7 ?: 4, value);
		break;
	case 5:
		pci_ecam_read(&pci, 1 << 15 | at % 0x110, size & 7 ?: 4);
		break;
	case 6:
		set_up(d);
		break;
	case 7:
		bus_write(&mmio, fn.fn.bar[0].at + 0x3000 + at % 64, size, value);
		break;
	case 8: case 9: case 10:
		at %= RAM - 64;
		take(in, ram + at, take8(in) % 64);
		break;
	default:
		work(d);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct virtio_host host = { NULL, nothing, nothing, on_msi, on_ioeventfd };
	struct input in = { data, size };
	struct cleave_mem mem = { 0 };
	struct vdev *d;

	if (!ram) {
		file_make(&file);
		signal(SIGPIPE, SIG_IGN);
		ram = mmap(NULL, RAM + 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		PROMISE(ram != MAP_FAILED && !mprotect(ram + PAGE, RAM, PROT_READ | PROT_WRITE));
		ram += PAGE;
	}
	memset(ram, 0, RAM);
	memset(&mmio, 0, sizeof(mmio));
	memset(&pci, 0, sizeof(pci));
	memset(&fn, 0, sizeof(fn));
	kicks = 0;
	PROMISE(!cleave_mem_add(&mem, 0, RAM, ram, 0));
	d = make(&mem, take8(&in));
	PROMISE(d);
	pci.mmio = &mmio;
	pci.irq = on_irq;
	pci.low = (struct pci_range){ BAR, 1 << 20, 0 };
	pci_init(&pci);
	PROMISE(!virtio_pci_add(&fn, &pci, d, &host) && !pci_start(&pci));
	for (unsigned int i = 0; i < d->workers; i++)
		d->worker[i].started = true;	/* we are all of them */
	while (in.left)
		step(d, &in);
	PROMISE(kicks == (fn.fn.bar[0].at == PCI_NOWHERE ? 0 : d->queues));
	for (unsigned int i = 0; i < d->workers; i++)
		d->worker[i].started = false;
	d->ops->destroy(d);
	return 0;
}
