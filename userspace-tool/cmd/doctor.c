// SPDX-License-Identifier: GPL-2.0
/* `cleave doctor`: what a host needs, whether it is there, and what mends it. */
#include <cpuid.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "../libcleave/libcleave.h"
#include "cmd.h"

#define MSR_FEAT_CTL	0x3a
#define FEAT_CTL_LOCKED	(1ULL << 0)
#define FEAT_CTL_VMX	(1ULL << 2)	/* outside SMX */
#define MSR_VM_CR	0xc0010114
#define VM_CR_SVMDIS	(1ULL << 4)
#define DKMS_KEY	"/var/lib/dkms/mok.pub"
#define VULNERABILITIES	"/sys/devices/system/cpu/vulnerabilities"
#define SECURE_BOOT	"/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"

enum answer { NO, YES, UNKNOWN };

struct check {
	const char *id, *what;
	enum answer answer;
	char detail[256];
	char fix[240];
};

struct host {
	bool amd, flag, guest;		/* guest: under a hypervisor */
	bool loaded;			/* the module */
	struct utsname un;
};

static void answer(struct check *c, enum answer a, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void answer(struct check *c, enum answer a, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->detail, sizeof(c->detail), fmt, ap);
	va_end(ap);
	c->answer = a;
}

static void fix(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void fix(struct check *c, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(c->fix, sizeof(c->fix), fmt, ap);
	va_end(ap);
}

/* First bytes of a file as text; empty if it cannot be read. */
static void slurp(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	buf[n > 0 ? n : 0] = 0;
	if (fd >= 0)
		close(fd);
}

/* Is word in the line of /proc/cpuinfo that starts with key? -1: no such line. */
static int cpuinfo_has(const char *key, const char *word)
{
	FILE *f = fopen("/proc/cpuinfo", "re");
	char line[4096], *p, *save;
	int found = -1;

	while (f && found < 0 && fgets(line, sizeof(line), f)) {
		if (strncmp(line, key, strlen(key)) || !strchr("\t :", line[strlen(key)]))
			continue;
		found = 0;
		for (p = strtok_r(line, " \t\n:", &save); p; p = strtok_r(NULL, " \t\n:", &save))
			found |= !strcmp(p, word);
	}
	if (f)
		fclose(f);
	return found;
}

static void host_probe(struct host *h)
{
	unsigned int a, b, c, d;

	memset(h, 0, sizeof(*h));
	uname(&h->un);
	h->loaded = !access("/sys/module/cleave", F_OK);
	if (__get_cpuid(0, &a, &b, &c, &d))
		h->amd = c == 0x444d4163 || c == 0x656e6975;	/* "cAMD", "uine" of Hygon */
	if (__get_cpuid(1, &a, &b, &c, &d)) {
		h->guest = c >> 31;
		h->flag = !h->amd && (c & 1U << 5);
	}
	if (h->amd && __get_cpuid(0x80000001, &a, &b, &c, &d))
		h->flag = c & 1U << 2;
}

static void check_cpu(struct check *c, struct host *h)
{
	const char *name = h->amd ? "AMD-V (svm)" : "VT-x (vmx)";

	if (h->flag) {
		answer(c, YES, "%s", name);
	} else if (h->guest) {
		answer(c, NO, "no %s; this machine is a guest itself", name);
		fix(c, "switch nested virtualization on in its hypervisor (KVM: kvm_amd.nested=1 or kvm_intel.nested=1, -cpu host)");
	} else {
		answer(c, NO, "no %s in CPUID", name);
		fix(c, "switch virtualization on in the firmware's setup (SVM Mode, Intel VT-x); a CPU without it cannot run cleave");
	}
}

/* 0, or -errno; needs root and the msr driver. */
static int read_msr(uint32_t msr, uint64_t *value)
{
	int fd = open("/dev/cpu/0/msr", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = pread(fd, value, sizeof(*value), msr);
	close(fd);
	return n == sizeof(*value) ? 0 : -EIO;
}

static bool log_says_disabled(void)
{
	int size = klogctl(10, NULL, 0);
	char *log = size > 0 ? malloc(size + 1) : NULL;
	bool found = false;
	int n;

	if (!log)
		return false;
	n = klogctl(3, log, size);
	if (n > 0) {
		log[n] = 0;
		found = strcasestr(log, "disabled by BIOS") || strcasestr(log, "SVM disabled");
	}
	free(log);
	return found;
}

/* What the module goes by; the MSR where it can be read, else what the kernel made of it. */
static void check_firmware(struct check *c, struct host *h)
{
	const char *name = h->amd ? "VM_CR" : "IA32_FEATURE_CONTROL";
	uint64_t v = 0;
	int error = read_msr(h->amd ? MSR_VM_CR : MSR_FEAT_CTL, &v);
	bool off = h->amd ? v & VM_CR_SVMDIS : !(v & FEAT_CTL_VMX);

	fix(c, "switch virtualization on in the firmware's setup (SVM Mode, Intel VT-x), then cold-start the machine");
	if (!h->flag) {
		answer(c, UNKNOWN, "this CPU has nothing to lock");
		c->fix[0] = 0;
	} else if (error == -EIO) {
		answer(c, NO, "%s cannot be read", name);
	} else if (!error && !h->amd && !(v & FEAT_CTL_LOCKED)) {
		answer(c, NO, "the firmware left %s unlocked (0x%llx)", name, (unsigned long long)v);
	} else if (!error) {
		answer(c, off ? NO : YES, "%s is 0x%llx", name, (unsigned long long)v);
	} else if (log_says_disabled()) {
		answer(c, NO, "the kernel log says that the firmware switched it off");
	} else if (cpuinfo_has("flags", h->amd ? "svm" : "vmx") == 0) {
		/* The kernel hides the flag when it finds the lock. */
		answer(c, NO, "CPUID has the flag, /proc/cpuinfo does not");
	} else {
		answer(c, YES, "the kernel found no lock");
	}
}

/* A feature beside the first one. has < 0: not known. */
static void check_feature(struct check *c, struct host *h, int has, const char *name)
{
	if (has < 0 && h->flag) {
		answer(c, UNKNOWN, "this kernel does not tell");
		return;
	}
	answer(c, has > 0 ? YES : NO, "%s%s", has > 0 ? "" : "no ", name);
	fix(c, h->guest ? "let the hypervisor above offer %s to this machine" :
	    "none: this CPU has no %s, cleave needs it", name);
}

static void check_nested_paging(struct check *c, struct host *h)
{
	unsigned int a = 0, b, x, d = 0;

	if (h->amd)
		check_feature(c, h, h->flag && __get_cpuid(0x8000000a, &a, &b, &x, &d) && (d & 1),
			      "NPT");
	else
		check_feature(c, h, cpuinfo_has("vmx flags", "ept"), "EPT");
}

static void check_unrestricted(struct check *c, struct host *h)
{
	check_feature(c, h, cpuinfo_has("vmx flags", "unrestricted_guest"), "unrestricted guest");
}

static void check_vpid(struct check *c, struct host *h)
{
	check_feature(c, h, cpuinfo_has("vmx flags", "vpid"), "VPID");
}

static void check_headers(struct check *c, struct host *h)
{
	char path[256];

	snprintf(path, sizeof(path), "/lib/modules/%s/build/Makefile", h->un.release);
	if (!access(path, F_OK))
		answer(c, YES, "for %s", h->un.release);
	else if (h->loaded)
		answer(c, YES, "not there, and not needed: the module is loaded");
	else
		answer(c, NO, "none for %s", h->un.release);
	fix(c, "sudo apt-get install linux-headers-%s", h->un.release);
}

static bool built(const struct host *h, char *path, size_t size)
{
	static const char *const dir[] = { "updates", "updates/dkms", "extra" };
	static const char *const ext[] = { "", ".xz", ".zst", ".gz" };
	size_t i, j;

	for (i = 0; i < ARRAY_SIZE(dir); i++) {
		for (j = 0; j < ARRAY_SIZE(ext); j++) {
			snprintf(path, size, "/lib/modules/%s/%s/cleave.ko%s", h->un.release,
				 dir[i], ext[j]);
			if (!access(path, F_OK))
				return true;
		}
	}
	return false;
}

static void check_built(struct check *c, struct host *h)
{
	char path[256];

	if (built(h, path, sizeof(path)))
		answer(c, YES, "%s", path);
	else if (h->loaded)
		answer(c, YES, "not installed, loaded by hand");
	else
		answer(c, NO, "no cleave.ko for %s", h->un.release);
	fix(c, "sudo dkms autoinstall, with the package cleave-dkms; in cleave's source tree: make && sudo make install");
}

static void check_secure_boot(struct check *c, struct host *h)
{
	char var[8], lock[64];
	int fd = open(SECURE_BOOT, O_RDONLY | O_CLOEXEC);
	bool on = fd >= 0 && read(fd, var, 5) == 5 && var[4] == 1;

	if (fd >= 0)
		close(fd);
	slurp("/sys/kernel/security/lockdown", lock, sizeof(lock));
	on |= strstr(lock, "[integrity]") || strstr(lock, "[confidentiality]");
	if (h->loaded)
		answer(c, YES, "%s, the module is loaded", on ? "Secure Boot is on" : "Secure Boot is off");
	else if (!on)
		answer(c, YES, access("/sys/firmware/efi", F_OK) ? "no UEFI, no Secure Boot" :
		       "Secure Boot is off");
	else
		answer(c, NO, "Secure Boot is on: an unsigned module is refused");
	if (!access(DKMS_KEY, F_OK))
		fix(c, "sudo mokutil --import " DKMS_KEY ", then reboot and choose Enroll MOK: the key that DKMS signs with; or switch Secure Boot off");
	else
		fix(c, "sign cleave.ko with the kernel's scripts/sign-file and a key of your own, enrolled by `sudo mokutil --import KEY.der` and a reboot; or switch Secure Boot off");
}

static void check_loaded(struct check *c, struct host *h)
{
	answer(c, h->loaded ? YES : NO, h->loaded ? "/sys/module/cleave" : "not loaded");
	fix(c, "sudo modprobe cleave; `dmesg | grep cleave` tells why if it refuses");
}

static void check_device(struct check *c, struct host *h)
{
	bool there = !access("/dev/cleave", F_OK);

	answer(c, there ? YES : NO, there ? "/dev/cleave" : "no /dev/cleave");
	if (h->loaded)
		fix(c, "mount devtmpfs on /dev, or: sudo mknod /dev/cleave c 10 $(awk '/cleave/{print $1}' /proc/misc)");
	else
		fix(c, "load the module: sudo modprobe cleave");
}

static void check_permission(struct check *c, struct host *h)
{
	if (access("/dev/cleave", F_OK))
		answer(c, UNKNOWN, "no device to ask for");
	else if (!access("/dev/cleave", R_OK | W_OK))
		answer(c, YES, "this user may read and write it");
	else
		answer(c, NO, "this user may not");
	if (c->answer == NO)
		fix(c, "sudo usermod -aG cleave $USER, then log in again; the package cleave, or make install, brings the group");
}

/* Who has the CPU's virtualization: asked of the module if it is there, else guessed. */
static void check_kvm(struct check *c, struct host *h)
{
	const char *mod = h->amd ? "kvm_amd" : "kvm_intel";
	char path[96], text[32], early[8];
	int dev = cleave_open(NULL), vm, users;

	vm = dev < 0 ? dev : cleave_create_vm(dev, 0);
	if (dev >= 0)
		close(dev);
	if (vm >= 0)
		close(vm);
	snprintf(path, sizeof(path), "/sys/module/%s/refcnt", mod);
	slurp(path, text, sizeof(text));
	users = atoi(text);
	slurp("/sys/module/kvm/parameters/enable_virt_at_load", early, sizeof(early));
	if (vm >= 0)
		answer(c, YES, "a guest can be created");
	else if (vm == -EBUSY)
		answer(c, NO, "the CPU is in use%s%s", text[0] ? " by " : "", text[0] ? mod : "");
	else if (dev >= 0)
		answer(c, NO, "creating a guest fails: %s", strerror(-vm));
	else if (!text[0])
		answer(c, YES, "%s is not loaded", mod);
	else if (early[0] == 'Y' || early[0] == '1')
		answer(c, NO, "%s is loaded, and holds the CPU from then on", mod);
	else if (early[0] && !h->amd)
		answer(c, NO, "%s is loaded, beside which this kernel has no room for guests", mod);
	else if (users)
		answer(c, NO, "%s is loaded and runs guests", mod);
	else
		answer(c, YES, "%s is loaded and idle", mod);
	if (dev >= 0 && vm < 0 && vm != -EBUSY)
		fix(c, "`dmesg | grep cleave` tells the reason");
	else if (h->amd && (early[0] == 'Y' || early[0] == '1'))
		fix(c, "sudo modprobe -r %s; or, to have both, kvm.enable_virt_at_load=0 on the kernel's command line, and one of them at a time", mod);
	else if (early[0] && !h->amd)
		fix(c, "sudo modprobe -r %s, which ends when guests of KVM do; kvm.enable_virt_at_load=0 is not enough on VT-x", mod);
	else
		fix(c, "stop the guests of KVM or another hypervisor, or: sudo modprobe -r %s", mod);
}

/*
 * What the kernel leaves open on this CPU, SMT most often. No reason not to run guests that one
 * trusts, so never a "no". itlb_multihit tells what KVM does of it, not us.
 */
static void check_closed(struct check *c, struct host *h)
{
	char path[PATH_MAX], text[256], names[128] = "";
	DIR *dir = opendir(VULNERABILITIES);
	struct dirent *e;
	bool smt = false;

	while (dir && (e = readdir(dir))) {
		snprintf(path, sizeof(path), VULNERABILITIES "/%s", e->d_name);
		slurp(path, text, sizeof(text));
		if ((!strcasestr(text, "vulnerable") && strncmp(text, "Unknown", 7)) ||
		    !strcmp(e->d_name, "itlb_multihit"))
			continue;
		smt |= !!strstr(text, "SMT vulnerable");
		if (strlen(names) + strlen(e->d_name) + 3 < sizeof(names))
			sprintf(names + strlen(names), "%s%s", names[0] ? ", " : "", e->d_name);
	}
	if (!dir)
		answer(c, UNKNOWN, "this kernel does not tell");
	else if (!names[0])
		answer(c, YES, "for all CPU bugs that this kernel knows");
	else
		answer(c, UNKNOWN, "not against %s: run no guest that you do not trust, or boot with mitigations=auto%s",
		       names, smt ? ",nosmt" : "");
	if (dir)
		closedir(dir);
}

static void check_kernel(struct check *c, struct host *h)
{
	char path[PATH_MAX];

	if (!args_newest("/boot/vmlinuz-*-cloud-amd64", path) ||
	    !args_newest("/boot/vmlinuz-*", path))
		answer(c, YES, "%.150s", path);
	else
		answer(c, NO, "no /boot/vmlinuz-*");
	fix(c, "sudo apt-get install linux-image-cloud-amd64, or give `cleave run` one by --kernel");
}

static const struct {
	const char *id, *what;
	void (*fn)(struct check *c, struct host *h);
	bool vmx;			/* not asked of AMD-V */
} checks[] = {
	{ "cpu", "the CPU can virtualize", check_cpu, false },
	{ "firmware", "the firmware lets it", check_firmware, false },
	{ "nested-paging", "nested paging", check_nested_paging, false },
	{ "unrestricted-guest", "guests without paging", check_unrestricted, true },
	{ "vpid", "tagged translations", check_vpid, true },
	{ "headers", "kernel headers", check_headers, false },
	{ "built", "the module is built", check_built, false },
	{ "secure-boot", "the kernel accepts the module", check_secure_boot, false },
	{ "module", "the module is loaded", check_loaded, false },
	{ "device", "the device is there", check_device, false },
	{ "permission", "permission for the device", check_permission, false },
	{ "free", "no other hypervisor holds the CPU", check_kvm, false },
	{ "closed", "the CPU's bugs are mitigated", check_closed, false },
	{ "kernel", "a kernel for guests", check_kernel, false },
};

#define CHECKS	ARRAY_SIZE(checks)

static void print_text(const struct check *result, size_t n, bool ok)
{
	static const char *const word[] = { "no", "yes", "?" };
	size_t i;

	for (i = 0; i < n; i++) {
		const struct check *c = &result[i];

		printf("%-4s%-36s%s\n", word[c->answer], c->what, c->detail);
		if (c->answer == NO)
			printf("      mend: %s\n", c->fix);
	}
	printf("\n%s\n", ok ? "This host can run guests: `cleave run`." :
	       "This host cannot run guests yet: mend the first \"no\", then ask again.");
}

static void print_json(const struct check *result, size_t n, bool ok, const struct host *h)
{
	struct json_object *root = json_object_new_object(), *list = json_object_new_array();
	size_t i;

	json_object_object_add(root, "ok", json_object_new_boolean(ok));
	json_object_object_add(root, "kernel", json_object_new_string(h->un.release));
	for (i = 0; i < n; i++) {
		const struct check *c = &result[i];
		struct json_object *o = json_object_new_object();

		json_object_object_add(o, "id", json_object_new_string(c->id));
		json_object_object_add(o, "what", json_object_new_string(c->what));
		json_object_object_add(o, "ok", c->answer == UNKNOWN ? NULL :
				       json_object_new_boolean(c->answer == YES));
		json_object_object_add(o, "detail", json_object_new_string(c->detail));
		if (c->answer == NO)
			json_object_object_add(o, "fix", json_object_new_string(c->fix));
		json_object_array_add(list, o);
	}
	json_object_object_add(root, "checks", list);
	puts(json_object_to_json_string_ext(root, JSON_C_TO_STRING_PRETTY |
					    JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(root);
}

int cmd_doctor(int argc, char **argv)
{
	struct check result[CHECKS] = { 0 };
	bool json = false, ok = true;
	struct host h;
	size_t i, n = 0;

	for (i = 1; i < (size_t)argc; i++) {
		if (!strcmp(argv[i], "--json")) {
			json = true;
		} else if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
			printf("usage: cleave doctor [--json]\n"
			       "Tells for each thing a host needs whether it is there, and what mends it.\n"
			       "Exit status: 0 all is there, 1 something is missing, 2 wrong usage.\n");
			return 0;
		} else {
			complain("%s: no such option; `cleave doctor --help` lists them", argv[i]);
			return STATUS_USAGE;
		}
	}
	host_probe(&h);
	for (i = 0; i < CHECKS; i++) {
		if (checks[i].vmx && h.amd)
			continue;
		result[n].id = checks[i].id;
		result[n].what = checks[i].what;
		checks[i].fn(&result[n], &h);
		ok &= result[n++].answer != NO;
	}
	if (json)
		print_json(result, n, ok, &h);
	else
		print_text(result, n, ok);
	return ok ? 0 : 1;
}
