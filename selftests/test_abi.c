// SPDX-License-Identifier: GPL-2.0
/* Every command with arguments, descriptors, sizes and orders it must refuse, or must not. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include "kselftest_harness.h"
#include "guest.h"

/* Sizes once published grow by new fields alone. */
_Static_assert(sizeof(struct cleave_info) == 48);
_Static_assert(sizeof(struct cleave_cpuid) == 8 + 32 * CLEAVE_MAX_CPUID);
_Static_assert(sizeof(struct cleave_create_vm) == 16);
_Static_assert(sizeof(struct cleave_create_vcpu) == 16);
_Static_assert(sizeof(struct cleave_slot) == 48);
_Static_assert(sizeof(struct cleave_msi) == 16);
_Static_assert(sizeof(struct cleave_regs) == 144);
_Static_assert(sizeof(struct cleave_sregs) == 280);
_Static_assert(sizeof(struct cleave_debug) == 48);
_Static_assert(sizeof(struct cleave_events) == 40);
_Static_assert(sizeof(struct cleave_lapic) == 1048);
_Static_assert(sizeof(struct cleave_state) == 1592);
_Static_assert(sizeof(struct cleave_fpu) == 12288);
_Static_assert(sizeof(struct cleave_msrs) == 8 + 16 * CLEAVE_MAX_MSRS);
_Static_assert(sizeof(struct cleave_lapic_access) == 16);
_Static_assert(sizeof(struct cleave_run) == 1008);
_Static_assert(sizeof(struct cleave_record) == 64);
_Static_assert(sizeof(struct cleave_recorder) == 20480);
_Static_assert(sizeof(struct cleave_freeze) == 8);
_Static_assert(sizeof(struct cleave_irqfd) == 32);
_Static_assert(sizeof(struct cleave_ioeventfd) == 32);

enum { ON_DEV = 1, ON_VM = 2, ON_VCPU = 4 };

static const struct command {
	const char *name;
	unsigned int cmd;
	int on;
} commands[] = {
	{ "INFO", CLEAVE_INFO, ON_DEV },
	{ "GET_CPUID", CLEAVE_GET_CPUID, ON_DEV },
	{ "CREATE_VM", CLEAVE_CREATE_VM, ON_DEV },
	{ "CREATE_VCPU", CLEAVE_CREATE_VCPU, ON_VM },
	{ "SET_SLOT", CLEAVE_SET_SLOT, ON_VM },
	{ "MSI", CLEAVE_MSI, ON_VM },
	{ "IRQFD", CLEAVE_IRQFD, ON_VM },
	{ "IOEVENTFD", CLEAVE_IOEVENTFD, ON_VM },
	{ "RUN", CLEAVE_RUN, ON_VCPU },
	{ "GET_STATE", CLEAVE_GET_STATE, ON_VCPU },
	{ "SET_STATE", CLEAVE_SET_STATE, ON_VCPU },
	{ "GET_FPU", CLEAVE_GET_FPU, ON_VCPU },
	{ "SET_FPU", CLEAVE_SET_FPU, ON_VCPU },
	{ "GET_MSRS", CLEAVE_GET_MSRS, ON_VCPU },
	{ "SET_MSRS", CLEAVE_SET_MSRS, ON_VCPU },
	{ "SET_CPUID", CLEAVE_SET_CPUID, ON_VCPU },
	{ "LAPIC_ACCESS", CLEAVE_LAPIC_ACCESS, ON_VCPU },
	{ "KICK", CLEAVE_KICK, ON_VCPU },
	{ "NMI", CLEAVE_NMI, ON_VCPU },
	{ "FREEZE", CLEAVE_FREEZE, ON_VCPU },
};
#define NR_COMMANDS ((int)ARRAY_SIZE(commands))

static unsigned char buf[16384];

static unsigned int resize(unsigned int cmd, unsigned int size)
{
	return _IOC(_IOC_DIR(cmd), _IOC_TYPE(cmd), _IOC_NR(cmd), size);
}

static int next_fd(void)
{
	int fd = open("/dev/null", O_RDONLY);

	close(fd);
	return fd;
}

FIXTURE(abi) {
	struct vm vm;
	struct vcpu vcpu;
	int dev, event;
};

FIXTURE_SETUP(abi)
{
	self->dev = dev_open();
	self->event = MUST(eventfd(0, EFD_CLOEXEC));
	vm_create(&self->vm, RAM_SIZE, 0);
	vcpu_create(&self->vm, &self->vcpu, 0);
}

FIXTURE_TEARDOWN(abi)
{
	vcpu_destroy(&self->vcpu);
	vm_destroy(&self->vm);
	close(self->event);
	close(self->dev);
}

static int fd_of(FIXTURE_DATA(abi) *self, int on)
{
	return on == ON_DEV ? self->dev : on == ON_VM ? self->vm.fd : self->vcpu.fd;
}

TEST_F(abi, info)
{
	struct cleave_info info;

	memset(&info, 0xaa, sizeof(info));
	ASSERT_EQ(0, xioctl(self->dev, CLEAVE_INFO, &info));
	EXPECT_TRUE(info.vendor == CLEAVE_VENDOR_VMX || info.vendor == CLEAVE_VENDOR_SVM);
	EXPECT_EQ(0, info.features & ~0x1ffull);
	EXPECT_GE(info.max_vcpus, 1);
	EXPECT_LE(info.max_vcpus, CLEAVE_MAX_VCPUS);
	EXPECT_GE(info.max_slots, 1);
	EXPECT_LE(info.max_slots, CLEAVE_MAX_SLOTS);
	EXPECT_GE(info.gpa_bits, 32);
	EXPECT_LE(info.gpa_bits, 52);
	EXPECT_GE(info.run_size, sizeof(struct cleave_run));
	EXPECT_EQ(0, info.run_size % 4096);
	EXPECT_GT(info.tsc_khz, 1000);
	EXPECT_EQ(1, info.xcr0 & 1);
	EXPECT_GE(info.fpu_size, 576);
	EXPECT_LE(info.fpu_size, sizeof(struct cleave_fpu));
	EXPECT_EQ(sizeof(struct cleave_recorder), info.recorder_size);
}

TEST_F(abi, unknown_commands)
{
	static const int kinds[] = { ON_DEV, ON_VM, ON_VCPU };

	for (int k = 0; k < 3; k++) {
		int fd = fd_of(self, kinds[k]);

		for (int nr = 0; nr < 256; nr++) {
			const struct command *known = NULL;

			for (int i = 0; i < NR_COMMANDS; i++)
				if (_IOC_NR(commands[i].cmd) == (unsigned int)nr &&
				    commands[i].on == kinds[k])
					known = &commands[i];
			/* Whatever its direction: one that is not in the list would answer. */
			for (unsigned int dir = 0; !known && dir < 4; dir++) {
				EXPECT_EQ(-ENOTTY, xioctl(fd, _IOC(dir, CLEAVE_IOC, nr, 0), buf));
				EXPECT_EQ(-ENOTTY, xioctl(fd, _IOC(dir, CLEAVE_IOC, nr, 64), buf))
					TH_LOG("command %#x of %d, not in commands[]", nr, kinds[k]);
			}
		}
		for (int i = 0; i < NR_COMMANDS; i++)
			EXPECT_EQ(-ENOTTY, xioctl(fd, commands[i].cmd ^ 0x100, buf));
	}
}

TEST_F(abi, wrong_descriptor)
{
	for (int i = 0; i < NR_COMMANDS; i++)
		for (int on = ON_DEV; on <= ON_VCPU; on <<= 1)
			if (on != commands[i].on) {
				memset(buf, 0, sizeof(buf));
				EXPECT_EQ(-ENOTTY, xioctl(fd_of(self, on), commands[i].cmd, buf))
					TH_LOG("%s on %d", commands[i].name, on);
			}
}

TEST_F(abi, bad_pointers)
{
	long page = sysconf(_SC_PAGESIZE);
	uint8_t *edge = mmap(NULL, 8 * page, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *ro = mmap(NULL, 4 * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = next_fd();

	ASSERT_NE(MAP_FAILED, edge);
	ASSERT_EQ(0, munmap(edge + 4 * page, 4 * page));
	for (int i = 0; i < NR_COMMANDS; i++) {
		unsigned int cmd = commands[i].cmd;
		unsigned int size = _IOC_SIZE(cmd);
		int on = fd_of(self, commands[i].on);

		if (!size)
			continue;
		EXPECT_EQ(-EFAULT, xioctl(on, cmd, NULL)) TH_LOG("%s", commands[i].name);
		EXPECT_EQ(-EFAULT, xioctl(on, cmd, (void *)0xffff888000000000ul))
			TH_LOG("%s", commands[i].name);
		EXPECT_EQ(-EFAULT, xioctl(on, cmd, (void *)0x8000000000000000ul))
			TH_LOG("%s", commands[i].name);
		EXPECT_EQ(-EFAULT, xioctl(on, cmd, edge + 4 * page - size / 2))
			TH_LOG("%s", commands[i].name);
		/* An answer that cannot be stored. SET_MSRS checks its (empty) list first. */
		if (_IOC_DIR(cmd) & _IOC_READ && cmd != CLEAVE_SET_MSRS)
			EXPECT_EQ(-EFAULT, xioctl(on, cmd, ro)) TH_LOG("%s", commands[i].name);
	}
	EXPECT_EQ(fd, next_fd());	/* nothing was created */
}

TEST_F(abi, sizes)
{
	for (int i = 0; i < NR_COMMANDS; i++) {
		unsigned int cmd = commands[i].cmd;
		unsigned int size = _IOC_SIZE(cmd);
		int on = fd_of(self, commands[i].on);
		int r;

		if (!size)
			continue;
		/* A newer program, which asks for nothing that is not known here. */
		memset(buf, 0, sizeof(buf));
		if (cmd == CLEAVE_CREATE_VCPU)
			*(uint32_t *)buf = 1;
		if (cmd == CLEAVE_SET_SLOT)
			((struct cleave_slot *)buf)->slot = 1;
		if (cmd == CLEAVE_LAPIC_ACCESS)
			((struct cleave_lapic_access *)buf)->offset = 0x20;
		if (cmd == CLEAVE_MSI)
			((struct cleave_msi *)buf)->address = 0xfee00000;
		if (cmd == CLEAVE_IRQFD)
			*(struct cleave_irqfd *)buf = (struct cleave_irqfd) {
				.fd = self->event, .address = 0xfee00000 };
		if (cmd == CLEAVE_IOEVENTFD)
			((struct cleave_ioeventfd *)buf)->fd = self->event;
		if (cmd == CLEAVE_SET_FPU)
			xioctl(on, CLEAVE_GET_FPU, buf);
		r = xioctl(on, resize(cmd, size + 64), buf);
		if (cmd == CLEAVE_SET_SLOT) {
			EXPECT_EQ(-ENOENT, r);
		} else {
			EXPECT_GE(r, 0) TH_LOG("%s", commands[i].name);
		}
		if (r > 2)
			close(r);
		for (unsigned int j = size; j < size + 64; j++)
			ASSERT_EQ(0, buf[j]) TH_LOG("%s", commands[i].name);

		/* One that asks for something unknown, in the last byte. */
		if (!(_IOC_DIR(cmd) & _IOC_WRITE))
			continue;
		buf[size + 63] = 1;
		if (cmd == CLEAVE_CREATE_VCPU)
			*(uint32_t *)buf = 2;
		EXPECT_EQ(-E2BIG, xioctl(on, resize(cmd, size + 64), buf))
			TH_LOG("%s", commands[i].name);
		buf[size + 63] = 0;
		buf[size] = 1;
		EXPECT_EQ(-E2BIG, xioctl(on, resize(cmd, size + 8), buf))
			TH_LOG("%s", commands[i].name);
	}
}

TEST_F(abi, short_sizes)
{
	struct cleave_info info, whole;
	struct cleave_create_vm create = { .reserved = ~0ull };
	struct cleave_create_vcpu vcpu = { .id = 1, .reserved = ~0ull };
	struct cleave_state st;
	int fd;

	/* Only what was asked for is written. */
	ASSERT_EQ(0, xioctl(self->dev, CLEAVE_INFO, &whole));
	memset(&info, 0xaa, sizeof(info));
	ASSERT_EQ(0, xioctl(self->dev, resize(CLEAVE_INFO, 16), &info));
	EXPECT_EQ(0, memcmp(&info, &whole, 16));
	for (unsigned int i = 16; i < sizeof(info); i++)
		ASSERT_EQ(0xaa, ((uint8_t *)&info)[i]);

	/* What lies behind the size is not read. */
	fd = xioctl(self->dev, resize(CLEAVE_CREATE_VM, 8), &create);
	ASSERT_GE(fd, 0);
	close(fd);
	fd = xioctl(self->vm.fd, resize(CLEAVE_CREATE_VCPU, 8), &vcpu);
	ASSERT_GE(fd, 0);
	close(fd);

	memset(&st, 0xaa, sizeof(st));
	st.groups = CLEAVE_REGS;
	st.reserved = 0;
	ASSERT_EQ(0, xioctl(self->vcpu.fd,
			    resize(CLEAVE_GET_STATE, offsetof(struct cleave_state, sregs)), &st));
	EXPECT_EQ(0xfff0, st.regs.rip);
	for (unsigned int i = offsetof(struct cleave_state, sregs); i < sizeof(st); i++)
		ASSERT_EQ(0xaa, ((uint8_t *)&st)[i]);
}

TEST_F(abi, reserved_fields)
{
	static const struct {
		unsigned int cmd, offset, size;
	} zero[] = {
#define F(cmd, type, field) { cmd, offsetof(type, field), sizeof(((type *)0)->field) }
		F(CLEAVE_CREATE_VM, struct cleave_create_vm, reserved),
		F(CLEAVE_CREATE_VCPU, struct cleave_create_vcpu, flags),
		F(CLEAVE_CREATE_VCPU, struct cleave_create_vcpu, reserved),
		F(CLEAVE_SET_SLOT, struct cleave_slot, reserved[0]),
		F(CLEAVE_SET_SLOT, struct cleave_slot, reserved[1]),
		F(CLEAVE_MSI, struct cleave_msi, flags),
		F(CLEAVE_IRQFD, struct cleave_irqfd, reserved),
		F(CLEAVE_IRQFD, struct cleave_irqfd, resample_fd),
		F(CLEAVE_IOEVENTFD, struct cleave_ioeventfd, reserved),
		F(CLEAVE_IOEVENTFD, struct cleave_ioeventfd, data),
		F(CLEAVE_GET_STATE, struct cleave_state, reserved),
		F(CLEAVE_SET_STATE, struct cleave_state, reserved),
		F(CLEAVE_SET_CPUID, struct cleave_cpuid, reserved),
		F(CLEAVE_SET_CPUID, struct cleave_cpuid, entries[0].reserved),
		F(CLEAVE_GET_MSRS, struct cleave_msrs, entries[0].reserved),
		F(CLEAVE_SET_MSRS, struct cleave_msrs, entries[0].reserved),
		F(CLEAVE_LAPIC_ACCESS, struct cleave_lapic_access, reserved),
		F(CLEAVE_FREEZE, struct cleave_freeze, reserved),
#undef F
	};
	int fd = next_fd();

	for (unsigned int i = 0; i < ARRAY_SIZE(zero); i++)
		for (unsigned int bit = 0; bit < zero[i].size * 8; bit++) {
			unsigned int cmd = zero[i].cmd, on = _IOC_NR(cmd) >> 5;

			memset(buf, 0, sizeof(buf));
			if (cmd == CLEAVE_CREATE_VCPU)
				*(uint32_t *)buf = 1;
			if (cmd == CLEAVE_SET_SLOT)
				((struct cleave_slot *)buf)->slot = 1;
			if (cmd == CLEAVE_SET_CPUID || cmd == CLEAVE_GET_MSRS ||
			    cmd == CLEAVE_SET_MSRS)
				*(uint32_t *)buf = 1;
			if (cmd == CLEAVE_GET_MSRS || cmd == CLEAVE_SET_MSRS)
				((struct cleave_msrs *)buf)->entries[0].index = 0xc0000102;
			if (cmd == CLEAVE_MSI)
				((struct cleave_msi *)buf)->address = 0xfee00000;
			if (cmd == CLEAVE_IRQFD)
				*(struct cleave_irqfd *)buf = (struct cleave_irqfd) {
					.fd = self->event, .address = 0xfee00000 };
			if (cmd == CLEAVE_IOEVENTFD)
				((struct cleave_ioeventfd *)buf)->fd = self->event;
			if (cmd == CLEAVE_LAPIC_ACCESS)
				((struct cleave_lapic_access *)buf)->offset = 0x30;
			buf[zero[i].offset + bit / 8] = 1 << bit % 8;
			EXPECT_EQ(-EINVAL, xioctl(fd_of(self, 1 << on), cmd, buf))
				TH_LOG("cmd %#x offset %u bit %u", cmd, zero[i].offset, bit);
		}
	EXPECT_EQ(fd, next_fd());
}

TEST_F(abi, unknown_flags)
{
	struct cleave_state *st = (void *)buf;
	struct cleave_cpuid *cpuid = (void *)buf;
	struct cleave_lapic_access la = { .offset = 0x30 };
	int fd = next_fd();

	for (int bit = 0; bit < 64; bit++) {
		struct cleave_create_vm vm = { .flags = 1ull << bit };
		struct cleave_slot slot = { .slot = 1, .flags = 1u << bit % 32, .gpa = 1 << 30 };
		struct cleave_freeze freeze = { .frozen = 1u << bit % 32 };

		if (bit >= 3)
			EXPECT_EQ(-EINVAL, xioctl(self->dev, CLEAVE_CREATE_VM, &vm));
		if (bit && bit < 32)
			EXPECT_EQ(-EINVAL, xioctl(self->vm.fd, CLEAVE_SET_SLOT, &slot));
		if (bit && bit < 32)
			EXPECT_EQ(-EINVAL, xioctl(self->vcpu.fd, CLEAVE_FREEZE, &freeze));
		memset(buf, 0, sizeof(buf));
		st->groups = 1ull << bit;
		if (bit >= 7) {
			EXPECT_EQ(-EINVAL, xioctl(self->vcpu.fd, CLEAVE_GET_STATE, st));
			EXPECT_EQ(-EINVAL, xioctl(self->vcpu.fd, CLEAVE_SET_STATE, st));
			st->groups = 0;
			self->vcpu.run->dirty = 1ull << bit;
			EXPECT_EQ(-EINVAL, vcpu_run(&self->vcpu));
			self->vcpu.run->dirty = 0;
			self->vcpu.run->want = 1ull << bit;
			EXPECT_EQ(-EINVAL, vcpu_run(&self->vcpu));
			self->vcpu.run->want = 0;
		}
		if (bit >= 2 && bit < 32) {
			self->vcpu.run->request = 1u << bit;
			EXPECT_EQ(-EINVAL, vcpu_run(&self->vcpu));
			self->vcpu.run->request = 0;
		}
		if (bit < 32) {
			self->vcpu.run->reserved = 1u << bit;
			EXPECT_EQ(-EINVAL, vcpu_run(&self->vcpu));
			self->vcpu.run->reserved = 0;
		}
		memset(buf, 0, sizeof(buf));
		cpuid->count = 1;
		cpuid->entries[0].flags = 1u << bit % 32;
		if (bit && bit < 32)
			EXPECT_EQ(-EINVAL, xioctl(self->vcpu.fd, CLEAVE_SET_CPUID, cpuid));
	}
	cpuid->count = CLEAVE_MAX_CPUID + 1;
	EXPECT_EQ(-EINVAL, xioctl(self->vcpu.fd, CLEAVE_SET_CPUID, buf));
	cpuid->count = ~0u;
	EXPECT_EQ(-EINVAL, xioctl(self->vcpu.fd, CLEAVE_SET_CPUID, buf));
	memset(buf, 0, sizeof(buf));
	*(uint32_t *)buf = CLEAVE_MAX_MSRS + 1;
	EXPECT_EQ(-EINVAL, xioctl(self->vcpu.fd, CLEAVE_GET_MSRS, buf));
	EXPECT_EQ(-EINVAL, xioctl(self->vcpu.fd, CLEAVE_SET_MSRS, buf));
	*(uint32_t *)buf = ~0u;
	EXPECT_EQ(-EINVAL, xioctl(self->vcpu.fd, CLEAVE_GET_MSRS, buf));
	EXPECT_EQ(-EINVAL, xioctl(self->vcpu.fd, CLEAVE_SET_MSRS, buf));
	la.write = 2;
	EXPECT_EQ(-EINVAL, xioctl(self->vcpu.fd, CLEAVE_LAPIC_ACCESS, &la));
	EXPECT_EQ(fd, next_fd());
}

TEST_F(abi, vcpu_ids)
{
	struct cleave_info info = dev_info();
	uint32_t bad[] = { info.max_vcpus, info.max_vcpus + 1, 255, 256, 0x7fffffff, 0x80000000, ~0u };
	struct cleave_create_vcpu args = { .id = 0 };
	int fd = next_fd(), last;

	EXPECT_EQ(-EEXIST, xioctl(self->vm.fd, CLEAVE_CREATE_VCPU, &args));
	for (unsigned int i = 0; i < ARRAY_SIZE(bad); i++) {
		args.id = bad[i];
		EXPECT_EQ(-EINVAL, xioctl(self->vm.fd, CLEAVE_CREATE_VCPU, &args));
	}
	EXPECT_EQ(fd, next_fd());
	args.id = info.max_vcpus - 1;
	last = xioctl(self->vm.fd, CLEAVE_CREATE_VCPU, &args);
	ASSERT_GE(last, 0);
	EXPECT_EQ(FD_CLOEXEC, fcntl(last, F_GETFD));
	EXPECT_EQ(FD_CLOEXEC, fcntl(self->vm.fd, F_GETFD));
	close(last);
	/* The number stays taken while the VM lives. */
	EXPECT_EQ(-EEXIST, xioctl(self->vm.fd, CLEAVE_CREATE_VCPU, &args));
}

/* A command with an argument that is all zeros; what it creates is closed. */
static int act(int dev, int vm, int vcpu, const struct command *c)
{
	static unsigned char zeros[16384];
	int r;

	if (_IOC_DIR(c->cmd) & _IOC_READ)
		memset(zeros, 0, _IOC_SIZE(c->cmd));
	r = xioctl(c->on == ON_DEV ? dev : c->on == ON_VM ? vm : vcpu, c->cmd, zeros);
	if (r > 2 && (c->cmd == CLEAVE_CREATE_VM || c->cmd == CLEAVE_CREATE_VCPU)) {
		close(r);
		return 0;
	}
	return r;
}

static bool is_answer(int r)
{
	return !r || r == -EINVAL || r == -EEXIST || r == -ENOENT || r == -EINTR || r == -EBUSY;
}

static int fresh(int dev, int *vcpu)
{
	struct cleave_create_vm vm_args = { 0 };
	struct cleave_create_vcpu vcpu_args = { 0 };
	int vm = MUST(ioctl(dev, CLEAVE_CREATE_VM, &vm_args));

	*vcpu = MUST(ioctl(vm, CLEAVE_CREATE_VCPU, &vcpu_args));
	return vm;
}

TEST_F_TIMEOUT(abi, every_order, 150)
{
	int fd = next_fd(), vm, vcpu, r;
	long n = 0;

	for (int a = 0; a < NR_COMMANDS; a++)
		for (int b = 0; b < NR_COMMANDS; b++)
			for (int c = 0; c < NR_COMMANDS; c++) {
				const int order[] = { a, b, c };

				vm = fresh(self->dev, &vcpu);
				for (int i = 0; i < 3; i++) {
					r = act(self->dev, vm, vcpu, &commands[order[i]]);
					ASSERT_TRUE(is_answer(r))
						TH_LOG("%s %s %s: %d gave %d", commands[a].name,
						       commands[b].name, commands[c].name, i, r);
				}
				n++;
				close(vm);
				close(vcpu);
			}
	EXPECT_EQ((long)NR_COMMANDS * NR_COMMANDS * NR_COMMANDS, n);
	EXPECT_EQ(fd, next_fd());
}

/* Every pair with the VM closed in between, and with the vCPU closed. */
TEST_F_TIMEOUT(abi, every_order_closed, 60)
{
	for (int a = 0; a < NR_COMMANDS; a++)
		for (int b = 0; b < NR_COMMANDS; b++)
			for (int first = 0; first < 2; first++) {
				int vcpu, vm = fresh(self->dev, &vcpu);

				ASSERT_TRUE(is_answer(act(self->dev, vm, vcpu, &commands[a])));
				close(first ? vm : vcpu);
				if (commands[b].on == (first ? ON_VM : ON_VCPU)) {
					ASSERT_EQ(-EBADF, act(self->dev, vm, vcpu, &commands[b]));
				} else {
					ASSERT_TRUE(is_answer(act(self->dev, vm, vcpu, &commands[b])));
				}
				close(first ? vcpu : vm);
			}
}

TEST_F(abi, other_process)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		for (int i = 0; i < NR_COMMANDS; i++) {
			memset(buf, 0, sizeof(buf));
			if (commands[i].on == ON_DEV)
				continue;
			if (xioctl(fd_of(self, commands[i].on), commands[i].cmd, buf) != -EIO)
				_exit(i + 1);
		}
		if (mmap(NULL, self->vcpu.run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 self->vcpu.fd, 0) != MAP_FAILED)
			_exit(100);
		if (xioctl(self->dev, CLEAVE_INFO, buf))
			_exit(101);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(0, status) TH_LOG("the child stopped at %d", WEXITSTATUS(status));
	/* The owner is not disturbed. */
	memset(buf, 0, sizeof(buf));
	EXPECT_EQ(0, xioctl(self->vcpu.fd, CLEAVE_GET_STATE, buf));
}

static void send_fds(int sock, int *fds)
{
	char c = 0, ctl[CMSG_SPACE(2 * sizeof(int))] = { 0 };
	struct iovec iov = { &c, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl,
			      .msg_controllen = sizeof(ctl) };
	struct cmsghdr *cmsg = CMSG_FIRSTHDR(&msg);

	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(2 * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, 2 * sizeof(int));
	MUST(sendmsg(sock, &msg, 0));
}

static void receive_fds(int sock, int *fds)
{
	char c, ctl[CMSG_SPACE(2 * sizeof(int))];
	struct iovec iov = { &c, 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl,
			      .msg_controllen = sizeof(ctl) };

	MUST(recvmsg(sock, &msg, 0));
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&msg)), 2 * sizeof(int));
}

TEST_F(abi, owner_gone)
{
	int pair[2], fds[2];
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid = fork();
	if (!pid) {
		fds[0] = fresh(self->dev, &fds[1]);
		send_fds(pair[1], fds);
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, NULL, 0));
	receive_fds(pair[0], fds);
	for (int i = 0; i < NR_COMMANDS; i++) {
		if (commands[i].on == ON_DEV)
			continue;
		memset(buf, 0, sizeof(buf));
		EXPECT_EQ(-EIO, xioctl(fds[commands[i].on == ON_VCPU], commands[i].cmd, buf))
			TH_LOG("%s", commands[i].name);
	}
	close(fds[0]);
	close(fds[1]);
}

TEST_F(abi, mmap)
{
	size_t size = self->vcpu.run_size;
	int rw = PROT_READ | PROT_WRITE;
	struct cleave_run *run;

	EXPECT_EQ(MAP_FAILED, mmap(NULL, 2 * size, rw, MAP_SHARED, self->vcpu.fd, 0));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, size, rw, MAP_SHARED, self->vcpu.fd, size));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, size, rw, MAP_SHARED, self->vcpu.fd, 1ul << 40));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, size, rw | PROT_EXEC, MAP_SHARED, self->vcpu.fd, 0));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, size, rw, MAP_PRIVATE, self->vcpu.fd, 0));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, size, rw, MAP_SHARED, self->vm.fd, 0));
	EXPECT_EQ(MAP_FAILED, mmap(NULL, size, rw, MAP_SHARED, self->dev, 0));
	/* Two views of one page, zero but for what the module put there. */
	run = mmap(NULL, size, rw, MAP_SHARED, self->vcpu.fd, 0);
	ASSERT_NE(MAP_FAILED, run);
	EXPECT_EQ(0, run->request | run->want | run->dirty | run->exit);
	run->want = 0x55;
	EXPECT_EQ(0x55, self->vcpu.run->want);
	run->want = 0;
	munmap(run, size);
}

TEST_F(abi, run_page_outlives_vcpu)
{
	struct cleave_create_vcpu args = { .id = 5 };
	int fd = xioctl(self->vm.fd, CLEAVE_CREATE_VCPU, &args);
	struct cleave_run *run;

	ASSERT_GE(fd, 0);
	run = mmap(NULL, self->vcpu.run_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, run);
	close(fd);
	memset(run, 0x5a, self->vcpu.run_size);
	EXPECT_EQ(0x5a5a5a5a, run->request);
	munmap(run, self->vcpu.run_size);
}

/* Reads twice over different poison: what differs was not written; nothing else may. */
TEST_F(abi, poison)
{
	static struct cleave_cpuid cpuid[2];
	static struct cleave_fpu fpu[2];
	struct cleave_state st[2];
	struct cleave_info info = dev_info();
	const struct cleave_segment *seg;

	for (int i = 0; i < 2; i++) {
		memset(&cpuid[i], i ? 0x55 : 0xaa, sizeof(cpuid[i]));
		ASSERT_EQ(0, xioctl(self->dev, CLEAVE_GET_CPUID, &cpuid[i]));
		memset(&fpu[i], i ? 0x55 : 0xaa, sizeof(fpu[i]));
		ASSERT_EQ(0, xioctl(self->vcpu.fd, CLEAVE_GET_FPU, &fpu[i]));
		memset(&st[i], i ? 0x55 : 0xaa, sizeof(st[i]));
		st[i].groups = 0x7f;
		st[i].reserved = 0;
		ASSERT_EQ(0, xioctl(self->vcpu.fd, CLEAVE_GET_STATE, &st[i]));
	}
	ASSERT_GT(cpuid[0].count, 0);
	ASSERT_LE(cpuid[0].count, CLEAVE_MAX_CPUID);
	EXPECT_EQ(0, memcmp(&cpuid[0], &cpuid[1], sizeof(cpuid[0])));
	EXPECT_EQ(0, cpuid[0].reserved);
	for (unsigned int i = 0; i < cpuid[0].count; i++)
		EXPECT_EQ(0, cpuid[0].entries[i].reserved);
	for (uint8_t *p = (void *)&cpuid[0].entries[cpuid[0].count]; p < (uint8_t *)&cpuid[1]; p++)
		ASSERT_EQ(0, *p);
	EXPECT_EQ(0, memcmp(&fpu[0], &fpu[1], sizeof(fpu[0])));
	for (unsigned int i = info.fpu_size; i < sizeof(fpu[0]); i++)
		ASSERT_EQ(0, fpu[0].region[i]);
	EXPECT_EQ(0, memcmp(&st[0], &st[1], sizeof(st[0])));
	EXPECT_EQ(0x7f, st[0].groups);
	EXPECT_EQ(0, st[0].reserved);
	for (seg = &st[0].sregs.cs; seg <= &st[0].sregs.ldt; seg++)
		EXPECT_EQ(0, seg->reserved[0] | seg->reserved[1] | seg->reserved[2]);
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(0, st[0].sregs.gdt.reserved[i] | st[0].sregs.idt.reserved[i]);
		EXPECT_EQ(0, st[0].events.reserved[i]);
	}
	EXPECT_EQ(0, st[0].mp.reserved[0] | st[0].mp.reserved[1]);
	EXPECT_EQ(0, st[0].events.injected.reserved | st[0].events.exception.reserved);

	/* A group that is not asked for is not written. */
	memset(&st[0], 0xaa, sizeof(st[0]));
	st[0].groups = CLEAVE_DEBUG;
	st[0].reserved = 0;
	ASSERT_EQ(0, xioctl(self->vcpu.fd, CLEAVE_GET_STATE, &st[0]));
	EXPECT_EQ(0x400, st[0].debug.dr7);
	EXPECT_EQ(0xffff0ff0, st[0].debug.dr6);
	EXPECT_TRUE(st[0].regs.rip == 0xaaaaaaaaaaaaaaaa || !st[0].regs.rip);
	EXPECT_TRUE(st[0].sregs.cr0 == 0xaaaaaaaaaaaaaaaa || !st[0].sregs.cr0);
}

/* The reset state, SDM vol. 3A table 10-1. */
TEST_F(abi, reset_state)
{
	struct cleave_state st;
	const struct cleave_segment *seg;

	state_get(&self->vcpu, 0x7f, &st);
	EXPECT_EQ(2, st.regs.rflags);
	EXPECT_EQ(0xfff0, st.regs.rip);
	EXPECT_EQ(0, st.regs.rax | st.regs.rbx | st.regs.rcx | st.regs.rsp | st.regs.r8 | st.regs.r15);
	EXPECT_EQ(0x60000010, st.sregs.cr0);
	EXPECT_EQ(0, st.sregs.cr2 | st.sregs.cr3 | st.sregs.cr4 | st.sregs.cr8 | st.sregs.efer);
	EXPECT_EQ(0xf000, st.sregs.cs.selector);
	EXPECT_EQ(0xffff0000, st.sregs.cs.base);
	EXPECT_EQ(0xffff, st.sregs.cs.limit);
	EXPECT_EQ(0x9b, st.sregs.cs.ar & 0xff);
	for (seg = &st.sregs.ds; seg <= &st.sregs.ss; seg++) {
		EXPECT_EQ(0, seg->selector);
		EXPECT_EQ(0, seg->base);
		EXPECT_EQ(0xffff, seg->limit);
		EXPECT_EQ(0x93, seg->ar & 0xff);
	}
	EXPECT_EQ(0xffff, st.sregs.gdt.limit);
	EXPECT_EQ(0xffff, st.sregs.idt.limit);
	EXPECT_EQ(0xfee00900, st.sregs.apic_base);
	EXPECT_EQ(1, st.xcrs.xcr0);
	EXPECT_EQ(CLEAVE_MP_RUNNABLE, st.mp.state);
	EXPECT_EQ(0, st.events.injected.type | st.events.exception.type | st.events.nmi_pending |
		  st.events.nmi_masked | st.events.shadow | st.events.extint);
}

TEST_HARNESS_MAIN
