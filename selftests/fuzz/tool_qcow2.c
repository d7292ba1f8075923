// SPDX-License-Identifier: GPL-2.0
/* Disk images of which the file is hostile: qcow2, and an overlay's. Input: a byte of options, the file. */
#include <errno.h>
#include <sys/stat.h>

#include "block/block.h"
#include "tool.h"

#define ROOM	(1 << 16)

static struct memory_file file, base;

static void look(struct block *b, struct input *in)
{
	static uint8_t buf[ROOM];
	unsigned int i;

	PROMISE(b->size && !(b->size % BLOCK_SECTOR));
	PROMISE(gpt_root(b) <= 128);
	for (i = 0; i < 8; i++) {
		uint64_t sectors = b->size / BLOCK_SECTOR, at, len;
		struct iovec iov[2];
		int ret;

		at = i < 2 ? i * (sectors - 1) : take64(in) % sectors;
		len = 1 + take8(in) % (ROOM / BLOCK_SECTOR);
		if (len > sectors - at)
			len = sectors - at;
		iov[0] = (struct iovec){ buf, 100 };
		iov[1] = (struct iovec){ buf + 100, len * BLOCK_SECTOR - 100 };
		ret = b->ops->read(b, at * BLOCK_SECTOR, iov, 2);
		PROMISE(ret <= 0);
		if (b->readonly)
			continue;
		ret = b->ops->write(b, at * BLOCK_SECTOR, iov, 2);
		PROMISE(ret <= 0);
	}
	PROMISE(b->ops->flush(b) <= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size }, tail;
	uint8_t options = take8(&in);
	struct block_params p = { .readonly = true, .format = BLOCK_QCOW2 };
	char err[9000] = "";
	struct block *b;
	int ret;

	if (!file.path[0]) {
		file_make(&file);
		file_make(&base);
	}
	tail = in;
	tail.p += in.left / 2;
	tail.left -= in.left / 2;
	file_set(&file, in.p, in.left);
	p.path = file.path;
	if (options & 1) {
		file_set(&base, NULL, 0);
		PROMISE(!ftruncate(base.fd, 5 * BLOCK_SECTOR));
		PROMISE(!futimens(base.fd, (const struct timespec[2]){ 0 }));
		p = (struct block_params){ base.path, BLOCK_RAW, false, file.path };
	}
	ret = block_open(&p, &b, err, sizeof(err));
	PROMISE(ret <= 0);
	if (ret) {
		one_line(err, sizeof(err));
		return 0;
	}
	look(b, &tail);
	b->ops->close(b);
	return 0;
}
