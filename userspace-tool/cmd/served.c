// SPDX-License-Identifier: GPL-2.0
/* Devices whose queues the host's kernel or another process serves. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "virtio.h"

#define VSOCK_PATH	"/dev/vhost-vsock"
_Static_assert(ARGS_CID_MIN == VSOCK_CID_MIN && ARGS_CID_MAX == VSOCK_CID_MAX, "--vsock");
_Static_assert(ARGS_TAG == FS_TAG, "--share");

/* ---- --vsock ----------------------------------------------------------------------------- */

static int vsock_missing(int error)
{
	switch (-error) {
	case ENOENT:
	case ENODEV:
	case ENXIO:
		complain("--vsock: " VSOCK_PATH " is not there; `sudo modprobe vhost_vsock`, which Debian's kernels have");
		break;
	case EACCES:
	case EPERM:
		complain("--vsock: no permission for " VSOCK_PATH "; `ls -l` it and join its group, or use sudo, with --user");
		break;
	default:
		complain("--vsock: " VSOCK_PATH ": %s; see `dmesg`", strerror(-error));
	}
	return error;
}

int vsock_open(struct machine *m, struct vdev **d)
{
	uint32_t cid = m->args->virtio.cid;
	int fd = open(VSOCK_PATH, O_RDWR | O_CLOEXEC), error;
	const char *what;

	if (fd < 0)
		return vsock_missing(-errno);
	*d = virtio_vsock(&m->mem, fd, cid, &error, &what);
	if (*d)
		return 0;
	if (error == -EADDRINUSE)
		complain("--vsock cid=%u: another guest has that number; give another, from %u to %u", cid,
			 ARGS_CID_MIN, ARGS_CID_MAX);
	else
		complain("--vsock cid=%u: %s: %s; see `dmesg`", cid, what, strerror(-error));
	return error;
}

/* ---- --share ----------------------------------------------------------------------------- */

static void share_died(void *ctx, const char *why)
{
	const struct share_args *a = ctx;

	complain("--share %s: virtiofsd: %s; what the guest does in %s hangs from now on, the guest runs", a->path,
		 why, a->tag);
}

int share_open(struct machine *m, unsigned int number, struct vdev **d)
{
	const struct share_args *a = &m->args->virtio.share[number];
	const struct vhost_shared shared = { m->ram_fd, m->mem.range[0].host, m->args->memory };
	int fd = virtiofsd_start(a, m->args->user), error;
	char line[200];

	if (fd < 0)
		return fd;
	*d = virtio_fs(&m->mem, fd, &shared, a->tag, share_died, (void *)a, &error);
	if (*d)
		return 0;
	virtiofsd_said(line, sizeof(line));
	complain("--share %s: virtiofsd: %s%s%s; see whether it can run here at all, with sudo, or as its own user",
		 a->path, line, line[0] ? ": " : "", strerror(-error));
	return error;
}
