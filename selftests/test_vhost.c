// SPDX-License-Identifier: GPL-2.0
/*
 * A device of the host's kernel, vhost-vsock, at both ends of eventfds: the guest's stores kick it,
 * its signals interrupt the guest, and no exit to user space is between them. The test lays out
 * the rings and the packets (VIRTIO 1.2, 2.7 and 5.10); the guest makes them available.
 */
#define _GNU_SOURCE
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <poll.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h>
#include "kselftest_harness.h"
#include "eventfds.h"
#include "events.h"

#define MMIO_GPA	0x40000000u	/* both queues' notifications: the queue's number */
#define VEC		0x51
#define TICKS(vm)	(*VM_DATA(vm, uint64_t, TICK_COUNT))
#define GUEST_CID	3
#define PORT		1234
#define QUEUE		128		/* descriptors of a queue, each with a buffer */
#define BUFFER		128
#define ROUNDS		40		/* each is at most two packets to the guest */
#define GPA_RX		0x100000
#define GPA_TX		0x110000

struct queue {
	struct vring_desc desc[QUEUE];
	struct {
		uint16_t flags, idx, ring[QUEUE];
	} avail;
	struct {
		uint16_t flags, idx;
		struct vring_used_elem ring[QUEUE];
	} used;
	struct packet {
		struct virtio_vsock_hdr hdr;
		uint32_t data;
		char rest[BUFFER - 48];
	} __attribute__((packed)) packet[QUEUE];
};

_Static_assert(sizeof(struct packet) == BUFFER);
_Static_assert(sizeof(struct queue) < 0x10000 && offsetof(struct queue, avail) == 0x800);

/* Makes a packet available and kicks, waits for an interrupt, and so on; then waits for ever. */
GUEST(driver, 64,
	"mov $" S(MMIO_GPA) ", %ebx\n\tmov $" S(GPA_TX) "+0x802, %edi\n\tmov $" S(ROUNDS) "+1, %ecx\n\tsti\n"
	"1:\tmov " S(GPA_DATA) ", %rsi\n\tlock incw (%rdi)\n\tmov $1, %eax\n\tmov %ax, (%rbx)\n"
	"2:\tpause\n\tcmp " S(GPA_DATA) ", %rsi\n\tje 2b\n\tdec %ecx\n\tjnz 1b\n"
	"3:\thlt\n\tjmp 3b\n\t");

static const char *const modules[] = {
	"vsock", "vmw_vsock_virtio_transport_common", "vhost_iotlb", "vhost", "vhost_vsock",
};

FIXTURE(vhost) {
	struct vm vm;
	struct vcpu v;
	struct runner r;
	int dev, kick[2], call;
};

FIXTURE_SETUP(vhost)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(modules); i++)
		host_module_load(modules[i], "");
	self->dev = open("/dev/vhost-vsock", O_RDWR | O_CLOEXEC);
	if (self->dev < 0) {
		ASSERT_EQ(ENOENT, errno);
		ASSERT_EQ(-ENOENT, host_module_load("vhost_vsock", ""));
		SKIP_SETUP("this kernel has no vhost-vsock");
	}
	GUEST_SIMPLE(&self->vm, &self->v, driver);
	vcpu_x2apic(&self->v);
	tick_prepare(&self->vm, VEC);
	self->call = event_create();
	ASSERT_EQ(0, irqfd_set(&self->vm, self->call, MSI_ADDRESS(0), VEC));
	for (int i = 0; i < 2; i++) {
		self->kick[i] = event_create();
		ASSERT_EQ(0, ioeventfd_set(&self->vm, self->kick[i], CLEAVE_IOEVENTFD_DATAMATCH,
					   MMIO_GPA, 2, i));
	}
}

FIXTURE_TEARDOWN(vhost)
{
	close(self->dev);
	for (int i = ARRAY_SIZE(modules) - 1; i >= 0; i--)
		host_module_unload(modules[i]);
	for (int i = 0; i < 2; i++)
		close(self->kick[i]);
	vcpu_destroy(&self->v);
	vm_destroy(&self->vm);
}

static struct queue *queue_at(struct vm *vm, int nr)
{
	return (struct queue *)(vm->ram + (nr ? GPA_TX : GPA_RX));
}

/* nr 0: of buffers that are available; 1: of packets that the guest makes available. */
static void queue_fill(struct vm *vm, int nr)
{
	struct queue *q = queue_at(vm, nr);

	for (unsigned int i = 0; i < QUEUE; i++) {
		q->desc[i] = (struct vring_desc) {
			.addr = (nr ? GPA_TX : GPA_RX) + offsetof(struct queue, packet[i]),
			.len = !nr ? BUFFER : sizeof(struct virtio_vsock_hdr) + (i ? 4 : 0),
			.flags = nr ? 0 : VRING_DESC_F_WRITE,
		};
		q->avail.ring[i] = i;
		if (!nr)
			continue;
		q->packet[i].hdr = (struct virtio_vsock_hdr) {
			.src_cid = GUEST_CID, .dst_cid = VMADDR_CID_HOST, .src_port = 1, .dst_port = PORT,
			.len = i ? 4 : 0, .type = VIRTIO_VSOCK_TYPE_STREAM,
			.op = i ? VIRTIO_VSOCK_OP_RW : VIRTIO_VSOCK_OP_REQUEST, .buf_alloc = 1 << 20,
		};
		q->packet[i].data = i;
	}
	q->avail.idx = nr ? 0 : QUEUE;
	q->avail.flags = nr ? VRING_AVAIL_F_NO_INTERRUPT : 0;
}

static void queue_give(FIXTURE_DATA(vhost) *self, unsigned int nr)
{
	struct queue *q = queue_at(&self->vm, nr);
	struct vhost_vring_state num = { nr, QUEUE }, base = { nr, 0 };
	struct vhost_vring_file kick = { nr, self->kick[nr] }, call = { nr, nr ? -1 : self->call };
	struct vhost_vring_addr addr = {
		.index = nr, .desc_user_addr = (uintptr_t)q->desc,
		.avail_user_addr = (uintptr_t)&q->avail, .used_user_addr = (uintptr_t)&q->used,
	};

	queue_fill(&self->vm, nr);
	MUST(ioctl(self->dev, VHOST_SET_VRING_NUM, &num));
	MUST(ioctl(self->dev, VHOST_SET_VRING_BASE, &base));
	MUST(ioctl(self->dev, VHOST_SET_VRING_ADDR, &addr));
	MUST(ioctl(self->dev, VHOST_SET_VRING_KICK, &kick));
	MUST(ioctl(self->dev, VHOST_SET_VRING_CALL, &call));
}

static void vhost_start(FIXTURE_DATA(vhost) *self)
{
	struct {
		struct vhost_memory m;
		struct vhost_memory_region r;
	} mem = {
		.m.nregions = 1,
		.r = { .memory_size = RAM_SIZE, .userspace_addr = (uintptr_t)self->vm.ram },
	};
	uint64_t features = 1ull << VIRTIO_F_VERSION_1, cid = GUEST_CID;
	int on = 1;

	MUST(ioctl(self->dev, VHOST_SET_OWNER));
	MUST(ioctl(self->dev, VHOST_SET_FEATURES, &features));
	MUST(ioctl(self->dev, VHOST_SET_MEM_TABLE, &mem));
	MUST(ioctl(self->dev, VHOST_VSOCK_SET_GUEST_CID, &cid));
	for (int i = 0; i < 2; i++)
		queue_give(self, i);
	MUST(ioctl(self->dev, VHOST_VSOCK_SET_RUNNING, &on));
}

static bool readable(int fd)
{
	return poll(&(struct pollfd) { .fd = fd, .events = POLLIN }, 1, 10000 * patience()) == 1;
}

TEST_F_TIMEOUT(vhost, talks_to_the_guest, 120)
{
	struct sockaddr_vm addr = {
		.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_ANY, .svm_port = PORT,
	};
	volatile struct queue *rx = queue_at(&self->vm, 0);
	unsigned int echoes = 0;
	uint32_t data = 0;
	uint64_t ticks;
	uint16_t used;
	int s, conn;

	s = MUST(socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0));
	MUST(bind(s, (struct sockaddr *)&addr, sizeof(addr)));
	MUST(listen(s, 1));
	vhost_start(self);
	runner_start(&self->r, &self->v, NULL, NULL);
	ASSERT_TRUE(readable(s));
	conn = MUST(accept4(s, NULL, NULL, SOCK_CLOEXEC));
	for (uint32_t i = 1; i <= ROUNDS; i++) {
		ASSERT_TRUE(readable(conn)) TH_LOG("round %u", i);
		ASSERT_EQ(4, read(conn, &data, 4));
		ASSERT_EQ(i, data);
		ASSERT_EQ(4, write(conn, &data, 4));
	}
	/* The last packet's interrupt is the last. */
	EXPECT_TRUE(WAIT_FOR(rx->used.idx > ROUNDS && rx->packet[rx->used.idx - 1].hdr.op ==
			     VIRTIO_VSOCK_OP_RW, 5000));
	nap_us(20000 * patience());
	EXPECT_GT(TICKS(&self->vm), ROUNDS / 2);
	EXPECT_LE(TICKS(&self->vm), rx->used.idx);
	EXPECT_EQ(VIRTIO_VSOCK_OP_RESPONSE, rx->packet[0].hdr.op);
	for (int i = 1; i < rx->used.idx; i++) {
		if (rx->packet[i].hdr.op != VIRTIO_VSOCK_OP_RW)
			continue;
		EXPECT_EQ(++echoes, rx->packet[i].data);
	}
	EXPECT_EQ(ROUNDS, echoes);

	/* The last descriptor of its eventfd is closed: it still signals, and nobody hears it. */
	ticks = TICKS(&self->vm);
	used = rx->used.idx;
	close(self->call);
	ASSERT_EQ(4, write(conn, &data, 4));
	EXPECT_TRUE(WAIT_FOR(rx->used.idx != used, 5000));
	nap_us(20000 * patience());
	EXPECT_EQ(ticks, TICKS(&self->vm));
	runner_stop(&self->r);
	EXPECT_EQ(0, self->r.exits);
	close(conn);
	close(s);
}

TEST_HARNESS_MAIN
