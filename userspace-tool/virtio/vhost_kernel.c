// SPDX-License-Identifier: GPL-2.0
/* Queues that the host's kernel serves: linux/vhost.h, as all of its devices have it. */
#include <errno.h>
#include <linux/vhost.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vhost.h"

int vhost_kernel_command(struct vhost *v, unsigned long nr, void *arg)
{
	int ret;

	do
		ret = ioctl(v->fd, nr, arg);
	while (ret < 0 && errno == EINTR);
	return ret < 0 ? -errno : 0;
}

/* It may write to all that it knows: not to what the guest may only read. */
static int set_memory(struct vhost *v, const struct cleave_mem *mem)
{
	struct {
		struct vhost_memory head;
		struct vhost_memory_region region[CLEAVE_MEM_RANGES];
	} table = { 0 };
	unsigned int i, n = 0;

	for (i = 0; i < mem->count; i++) {
		const struct cleave_range *r = &mem->range[i];

		if (r->flags & CLEAVE_MEM_READONLY)
			continue;
		table.region[n++] = (struct vhost_memory_region){
			.guest_phys_addr = r->gpa, .memory_size = r->size, .userspace_addr = (uintptr_t)r->host,
		};
	}
	table.head.nregions = n;
	return vhost_kernel_command(v, VHOST_SET_MEM_TABLE, &table);
}

int vhost_kernel_open(struct vhost *v, const struct cleave_mem *mem)
{
	int ret = vhost_kernel_command(v, VHOST_SET_OWNER, NULL);

	return ret ? ret : set_memory(v, mem);
}

static int kernel_features(struct vhost *v, uint64_t *features)
{
	return vhost_kernel_command(v, VHOST_GET_FEATURES, features);
}

static int kernel_accept(struct vhost *v, uint64_t features)
{
	return vhost_kernel_command(v, VHOST_SET_FEATURES, &features);
}

static int kernel_give(struct vhost *v, const struct vhost_ring *r)
{
	struct vhost_vring_state num = { r->index, r->size }, base = { r->index, r->base };
	struct vhost_vring_addr addr = {
		.index = r->index, .desc_user_addr = (uintptr_t)r->desc,
		.used_user_addr = (uintptr_t)r->used, .avail_user_addr = (uintptr_t)r->avail,
	};
	struct vhost_vring_file kick = { r->index, r->kick }, call = { r->index, r->call };
	struct vhost_vring_file err = { r->index, r->err };
	const struct {
		unsigned long nr;
		void *arg;
	} step[] = {
		{ VHOST_SET_VRING_NUM, &num }, { VHOST_SET_VRING_BASE, &base },
		{ VHOST_SET_VRING_ADDR, &addr }, { VHOST_SET_VRING_CALL, &call },
		{ VHOST_SET_VRING_ERR, &err }, { VHOST_SET_VRING_KICK, &kick },
	};
	unsigned int i;
	int ret = 0;

	for (i = 0; i < sizeof(step) / sizeof(step[0]) && !ret; i++)
		ret = vhost_kernel_command(v, step[i].nr, step[i].arg);
	return ret;
}

static int kernel_run(struct vhost *v, bool on)
{
	return v->switch_on(v, on);
}

static int kernel_take(struct vhost *v, unsigned int ring, uint16_t *base)
{
	struct vhost_vring_state s = { .index = ring };
	int ret = vhost_kernel_command(v, VHOST_GET_VRING_BASE, &s);

	*base = s.num;
	return ret;
}

static void kernel_close(struct vhost *v)
{
	if (v->fd >= 0)
		close(v->fd);
	v->fd = -1;
}

const struct vhost_ops vhost_kernel = {
	.features = kernel_features, .accept = kernel_accept, .give = kernel_give, .run = kernel_run,
	.take = kernel_take, .close = kernel_close,
};
