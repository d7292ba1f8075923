/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Unit tests in TAP 13. A program includes this once and writes
 *
 *	UNIT_TEST(name)
 *	{
 *		CHECK(cond);		goes on when it fails
 *		CHECK_EQ(got, want);	the same, prints both
 *		REQUIRE(cond);		leaves the test when it fails
 *	}
 *
 * as often as it needs; main() is here and runs them in this order.
 */
#ifndef UNIT_H
#define UNIT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNIT_MAX	512

static struct unit_test {
	const char *name;
	void (*fn)(void);
} unit_tests[UNIT_MAX];
static unsigned int unit_count;
static unsigned int unit_failures;	/* of the test that runs */

static inline void unit_add(const char *name, void (*fn)(void))
{
	if (unit_count == UNIT_MAX)
		abort();
	unit_tests[unit_count++] = (struct unit_test){ name, fn };
}

/* Bounded, so that a broken loop does not fill the log. */
#define unit_fail(fmt, ...)						\
	do {								\
		if (unit_failures++ < 20)				\
			printf("# %s:%d: " fmt "\n", __FILE__,		\
			       __LINE__, ##__VA_ARGS__);		\
	} while (0)

#define UNIT_TEST(test)							\
	static void test(void);						\
	__attribute__((constructor)) static void test##_add(void)	\
	{								\
		unit_add(#test, test);					\
	}								\
	static void test(void)

#define CHECK(cond)							\
	do {								\
		if (!(cond))						\
			unit_fail("%s", #cond);				\
	} while (0)

#define CHECK_EQ(got, want)						\
	do {								\
		long long unit_g = (long long)(got);			\
		long long unit_w = (long long)(want);			\
									\
		if (unit_g != unit_w)					\
			unit_fail("%s is %lld (%#llx), not %lld (%#llx)", \
				  #got, unit_g, unit_g, unit_w, unit_w); \
	} while (0)

#define REQUIRE(cond)							\
	do {								\
		if (!(cond)) {						\
			unit_fail("%s", #cond);				\
			return;						\
		}							\
	} while (0)

int main(void)
{
	unsigned int failed = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n1..%u\n", unit_count);
	for (unsigned int i = 0; i < unit_count; i++) {
		unit_failures = 0;
		unit_tests[i].fn();
		printf("%sok %u - %s\n", unit_failures ? "not " : "", i + 1,
		       unit_tests[i].name);
		failed += !!unit_failures;
	}
	return failed ? 1 : 0;
}

#endif /* UNIT_H */
