// SPDX-License-Identifier: GPL-2.0
/* What a seed says: names, and keys as people have them in files. */
#include <stdbool.h>

#include "unit.h"
#include "launch/nocloud.h"

#define BLOB	"AAAAC3NzaC1lZDI1NTE5AAAAIBcZB2a1pmVwRMRDGUAyGkzUzRn5eH1P"
#define KEY	"ssh-ed25519 " BLOB
#define HEAD	"#cloud-config\nssh_authorized_keys:\n"

static char err[160];

/* The user data that keys become, NULL for none. */
static bool becomes(const char *keys, const char *want)
{
	char *got = nocloud_user_data(keys, strlen(keys), err, sizeof(err));
	bool same = want ? got && !strcmp(got, want) : !got;

	if (!same)
		printf("# %s\n", got ? got : err);
	free(got);
	return same;
}

UNIT_TEST(names)
{
	char name[NOCLOUD_HOST_MAX + 2] = "";

	CHECK(nocloud_hostname("web-1") && nocloud_hostname("1") && nocloud_hostname("A"));
	CHECK(!nocloud_hostname("") && !nocloud_hostname("-a") && !nocloud_hostname("a-"));
	CHECK(!nocloud_hostname("a.b") && !nocloud_hostname("a_b") && !nocloud_hostname("a\nb"));
	CHECK(nocloud_instance_id("i-1.2_3") && !nocloud_instance_id("..") && !nocloud_instance_id("a/b"));
	CHECK(!nocloud_instance_id("") && !nocloud_instance_id("a\"b"));
	memset(name, 'a', NOCLOUD_HOST_MAX);
	CHECK(nocloud_hostname(name) && nocloud_instance_id(name));
	name[NOCLOUD_HOST_MAX] = 'a';
	CHECK(!nocloud_hostname(name) && !nocloud_instance_id(name));
}

UNIT_TEST(meta_data)
{
	char *text = nocloud_meta_data("i-1", "no");

	REQUIRE(text);
	CHECK(!strcmp(text, "{ \"instance-id\": \"i-1\", \"local-hostname\": \"no\" }\n"));
	free(text);
	CHECK(!nocloud_meta_data("i 1", "no"));
	CHECK(!nocloud_meta_data("i-1", "n\"o"));
}

UNIT_TEST(keys)
{
	CHECK(becomes(KEY, HEAD "  - \"" KEY "\"\n"));
	CHECK(becomes(KEY " me@here\n", HEAD "  - \"" KEY " me@here\"\n"));
	CHECK(becomes("# mine\n\n" KEY " a \r\n\r\nsk-ssh-ed25519@openssh.com " BLOB "==\n",
		      HEAD "  - \"" KEY " a\"\n  - \"sk-ssh-ed25519@openssh.com " BLOB "==\"\n"));
	CHECK(becomes("ecdsa-sha2-nistp256 " BLOB " b", HEAD "  - \"ecdsa-sha2-nistp256 " BLOB " b\"\n"));
}

/* A comment is anybody's: it must not become more of the document. */
UNIT_TEST(what_is_quoted)
{
	CHECK(becomes(KEY " \"\\ # : {", HEAD "  - \"" KEY " \\\"\\\\ # : {\"\n"));
	CHECK(becomes(KEY " \xc3\xa4", HEAD "  - \"" KEY " \xc3\xa4\"\n"));
	CHECK(becomes(KEY " a\x01", NULL) && strstr(err, "line 1"));
	CHECK(becomes(KEY " a\rb", NULL));
	CHECK(becomes(KEY "\n" KEY " \x7f\n", NULL) && strstr(err, "line 2"));
}

UNIT_TEST(what_is_no_key)
{
	CHECK(becomes("", NULL) && strstr(err, "no key"));
	CHECK(becomes("# nothing\n\n", NULL) && strstr(err, "no key"));
	CHECK(becomes("-----BEGIN OPENSSH PRIVATE KEY-----\n", NULL) && strstr(err, "public key"));
	CHECK(becomes("ssh-ed25519", NULL));
	CHECK(becomes("ssh-ed25519 short", NULL));
	CHECK(becomes("ssh-ed25519 " BLOB "!", NULL));
	CHECK(becomes("command=\"x\" " KEY, NULL));
	CHECK(becomes(KEY "\n" "x\n", NULL) && strstr(err, "line 2"));
}
