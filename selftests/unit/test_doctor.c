// SPDX-License-Identifier: GPL-2.0
/* `cleave doctor` on hosts that are made up: what it reads of them is in files of the test's. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/klog.h>
#include <unistd.h>

#include "unit.h"

static char dir[] = "/tmp/cleave-doctor-XXXXXX";
static char paths[2][64];

/* In place of the host's file of that name. */
static const char *fake(const char *path)
{
	static int next;
	char *p = paths[next++ & 1];

	snprintf(p, sizeof(paths[0]), "%s/%s", dir, strrchr(path, '/') + 1);
	return p;
}

#define fopen(path, mode)	fopen(fake(path), mode)
#define open(path, ...)		open(fake(path), ##__VA_ARGS__)
#define access(path, mode)	access(fake(path), mode)
#define klogctl(...)		0
#include "../../userspace-tool/cmd/doctor.c"
#undef fopen
#undef open
#undef access

static struct host h;
static struct check c;

void complain(const char *fmt, ...)
{
}

int args_newest(const char *pattern, char path[PATH_MAX])
{
	return -ENOENT;
}

int cleave_open(const char *path)
{
	return -ENOENT;
}

int cleave_create_vm(int dev, uint64_t flags)
{
	return -EIO;
}

/* A host with VT-x in CPUID, the flags that Linux shows of it, and no MSRs to read. */
static void vmx_host(const char *flags)
{
	FILE *f;

	h = (struct host){ .flag = true };
	unlink(fake("/msr"));
	f = fopen(fake("/cpuinfo"), "w");
	if (!f)
		abort();
	fprintf(f, "processor\t: 0\nflags\t\t: fpu vmx ept_lookalike\n%s%s\nbugs\t\t: vpid\n",
		flags ? "vmx flags\t: " : "", flags ? flags : "");
	fclose(f);
}

/* IA32_FEATURE_CONTROL as the msr driver has it; size: what of its 8 bytes can be read. */
static void feature_control(uint64_t value, size_t size)
{
	int fd = open(fake("/msr"), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || pwrite(fd, &value, size, MSR_FEAT_CTL) != (ssize_t)size)
		abort();
	close(fd);
}

static bool says(void (*check)(struct check *c, struct host *h), enum answer want,
		 const char *detail)
{
	memset(&c, 0, sizeof(c));
	check(&c, &h);
	if (c.answer == want && strstr(c.detail, detail) && (want != NO || c.fix[0]))
		return true;
	printf("# %d: %s; %s\n", c.answer, c.detail, c.fix);
	return false;
}

UNIT_TEST(of_vmx)
{
	CHECK(mkdtemp(dir));
	vmx_host("vnmi invvpid ept_x_only ept vpid unrestricted_guest pml");
	CHECK(says(check_nested_paging, YES, "EPT"));
	CHECK(says(check_unrestricted, YES, "unrestricted guest"));
	CHECK(says(check_vpid, YES, "VPID"));
}

UNIT_TEST(of_vmx_that_lacks_something)
{
	vmx_host("vnmi invvpid ept_x_only");
	CHECK(says(check_nested_paging, NO, "no EPT"));
	CHECK(says(check_unrestricted, NO, "no unrestricted guest"));
	CHECK(strstr(c.fix, "this CPU has no unrestricted guest"));
	CHECK(says(check_vpid, NO, "no VPID"));
	h.guest = true;
	CHECK(says(check_vpid, NO, "no VPID"));
	CHECK(strstr(c.fix, "the hypervisor above"));
	vmx_host("ept vpid");
	CHECK(says(check_nested_paging, YES, "EPT"));
	CHECK(says(check_unrestricted, NO, "no unrestricted guest"));
}

UNIT_TEST(of_a_kernel_that_does_not_tell)
{
	vmx_host(NULL);
	CHECK(says(check_nested_paging, UNKNOWN, "does not tell"));
	CHECK(says(check_unrestricted, UNKNOWN, "does not tell"));
	CHECK(says(check_vpid, UNKNOWN, "does not tell"));
}

static void file(const char *path, const void *bytes, size_t size)
{
	int fd = open(fake(path), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	if (fd < 0 || write(fd, bytes, size) != (ssize_t)size)
		abort();
	close(fd);
}

/* The variable's value is behind four bytes of attributes. */
UNIT_TEST(of_secure_boot)
{
	vmx_host("ept");
	CHECK(says(check_secure_boot, YES, "no Secure Boot"));
	file(SECURE_BOOT, "\6\0\0\0\0", 5);
	CHECK(says(check_secure_boot, YES, "no Secure Boot"));
	file(SECURE_BOOT, "\6\0\0\0\1", 5);
	CHECK(says(check_secure_boot, NO, "unsigned module is refused"));
	CHECK(strstr(c.fix, "sign-file"));
	file(DKMS_KEY, "", 0);
	CHECK(says(check_secure_boot, NO, "unsigned module is refused"));
	CHECK(strstr(c.fix, "mokutil --import " DKMS_KEY));
	h.loaded = true;
	CHECK(says(check_secure_boot, YES, "the module is loaded"));
	unlink(fake(SECURE_BOOT));
	unlink(fake(DKMS_KEY));
}

/* As kmod/vmx/vmx.c: what is not locked is as good as off. */
UNIT_TEST(of_the_firmware)
{
	vmx_host("ept");
	CHECK(says(check_firmware, YES, "no lock"));
	feature_control(FEAT_CTL_LOCKED | FEAT_CTL_VMX, 8);
	CHECK(says(check_firmware, YES, "0x5"));
	feature_control(FEAT_CTL_LOCKED, 8);
	CHECK(says(check_firmware, NO, "IA32_FEATURE_CONTROL is 0x1"));
	feature_control(FEAT_CTL_VMX, 8);
	CHECK(says(check_firmware, NO, "unlocked (0x4)"));
	feature_control(0, 8);
	CHECK(says(check_firmware, NO, "unlocked (0x0)"));
	feature_control(0, 3);
	CHECK(says(check_firmware, NO, "cannot be read"));
	h.flag = false;
	CHECK(says(check_firmware, UNKNOWN, "nothing to lock"));
	unlink(fake("/msr"));
	unlink(fake("/cpuinfo"));
	CHECK_EQ(rmdir(dir), 0);
}
