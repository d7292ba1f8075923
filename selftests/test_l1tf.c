// SPDX-License-Identifier: GPL-2.0
/*
 * Where the CPU leaks what its L1 cache holds to guests (L1TF), and cannot flush
 * it, the module is not loaded; unless the host's owner does not care. KVM's
 * parameter is a way to say so while the host runs.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>
#include "kselftest_harness.h"
#include "host.h"

#define PARAMETER	"/sys/module/kvm_intel/parameters/vmentry_l1d_flush"

/* A word of that line of /proc/cpuinfo. */
static bool cpuinfo(const char *key, const char *word)
{
	char *line = NULL, *at;
	bool found = false;
	size_t size = 0;
	FILE *f = fopen("/proc/cpuinfo", "re");

	while (f && !found && getline(&line, &size, f) > 0) {
		if (strncmp(line, key, strlen(key)))
			continue;
		for (at = strtok(line, " \t\n"); at && !found; at = strtok(NULL, " \t\n"))
			found = !strcmp(at, word);
	}
	free(line);
	if (f)
		fclose(f);
	return found;
}

static int reload(void)
{
	if (module_there() && module_unload())
		return -EBUSY;
	return module_load();
}

FIXTURE(l1tf) {
	int refused;	/* what a CPU is told that must flush */
};

FIXTURE_SETUP(l1tf)
{
	int ret;

	self->refused = cpuinfo("flags", "flush_l1d") ? 0 : -EOPNOTSUPP;
	if (dev_info().vendor != CLEAVE_VENDOR_VMX || !cpuinfo("bugs", "l1tf"))
		SKIP_SETUP("a CPU without L1TF");
	ret = kvm_load("");
	if (kvm_not_here(ret))
		SKIP_SETUP("KVM does not want this host, or is not there");
	ASSERT_EQ(0, ret);
}

/* With KVM goes what its parameter said. */
FIXTURE_TEARDOWN(l1tf)
{
	kvm_unload();
	EXPECT_TRUE(module_there() || !module_load());
}

TEST_F_TIMEOUT(l1tf, flushed_or_refused, 300)
{
	ASSERT_EQ(0, file_write(PARAMETER, "never"));
	EXPECT_EQ(0, reload());
	/* What exits leave in the cache is not looked at, so this is the same as "always". */
	ASSERT_EQ(0, file_write(PARAMETER, "cond"));
	EXPECT_EQ(self->refused, reload());
	ASSERT_EQ(0, file_write(PARAMETER, "always"));
	EXPECT_EQ(self->refused, reload());
	ASSERT_EQ(0, file_write(PARAMETER, "never"));
	EXPECT_EQ(0, reload());
}

TEST_HARNESS_MAIN
