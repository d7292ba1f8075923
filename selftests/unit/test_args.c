// SPDX-License-Identifier: GPL-2.0
/* The options of the commands. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <unistd.h>

#include "unit.h"
#define ARGS_SEABIOS "/tmp/cleave-args-bios"
#include "../../userspace-tool/cmd/args.c"
#define fail fail_device
#include "../../userspace-tool/cmd/device_args.c"
#undef fail
#define fail fail_virtio
#define parse_path virtio_parse_path
#define parse_key virtio_parse_key
#define parse_port virtio_parse_port
#include "../../userspace-tool/cmd/virtio_args.c"
#undef fail
#undef parse_path
#undef parse_key
#undef parse_port
#define fail fail_net
#define number net_number
#define parse_key net_parse_key
#include "../../userspace-tool/cmd/net_args.c"
#undef fail
#undef number
#undef parse_key

static struct run_args a;
static char err[256];

#define RUN(...)							\
	({								\
		char *argv[] = { "run", ##__VA_ARGS__, NULL };		\
									\
		err[0] = 0;						\
		free(a.config);						\
		args_run(sizeof(argv) / sizeof(argv[0]) - 1, argv, &a,	\
			 err, sizeof(err));				\
	})

/* Refused, in one line that says why and what to do. */
#define REFUSED(why, ...)						\
	do {								\
		CHECK_EQ(RUN(__VA_ARGS__), -EINVAL);			\
		CHECK(strstr(err, why));				\
		CHECK(strchr(err, ';') && !strchr(err, '\n'));		\
	} while (0)

static int64_t size_of(const char *text)
{
	uint64_t size = 0;
	int ret = args_size(text, &size);

	return ret ? ret : (int64_t)size;
}

UNIT_TEST(sizes)
{
	CHECK_EQ(size_of("0"), 0);
	CHECK_EQ(size_of("4096"), 4096);
	CHECK_EQ(size_of("64K"), 65536);
	CHECK_EQ(size_of("64k"), 65536);
	CHECK_EQ(size_of("512M"), 512LL << 20);
	CHECK_EQ(size_of("512MiB"), 512LL << 20);
	CHECK_EQ(size_of("2GB"), 2LL << 30);
	CHECK_EQ(size_of("3g"), 3LL << 30);
	CHECK_EQ(size_of("1T"), 1LL << 40);
}

UNIT_TEST(sizes_refused)
{
	static const char *const bad[] = {
		"", "M", "-1", "+1", " 1", "1 ", "1.5G", "0x100", "12X", "1MM", "1MiBB", "1B", "1iB", "12M3",
	};
	unsigned int i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK_EQ(size_of(bad[i]), -EINVAL);
	CHECK_EQ(size_of("18446744073709551616"), -ERANGE);
	CHECK_EQ(size_of("18446744073709551615K"), -ERANGE);
	CHECK_EQ(size_of("16777216T"), -ERANGE);
}

UNIT_TEST(options)
{
	CHECK_EQ(RUN("--kernel", "/x/vmlinuz-6.1.0", "--initrd=/i", "--append", "quiet a=b",
		     "--memory", "1G", "--cpus", "254", "--name", "web-1"), 0);
	CHECK(!strcmp(a.kernel, "/x/vmlinuz-6.1.0"));
	CHECK(!strcmp(a.initrd, "/i"));
	CHECK(!strcmp(a.append, "quiet a=b"));
	CHECK(!strcmp(a.name, "web-1") && a.named);
	CHECK_EQ(a.memory, 1 << 30);
	CHECK_EQ(a.cpus, 254);
}

UNIT_TEST(slices)
{
	CHECK_EQ(RUN("-k", "/etc/passwd", "-n", "web", "--slice",
		     "type=small,cpu-share=20,cpu-burst=60,disk-rate=50M,network-rate=4096"), 0);
	CHECK(a.slice.there && !strcmp(a.slice.type, "small") && a.slice.share == 20 && a.slice.burst == 60);
	CHECK(a.slice.disk_rate == 50 << 20 && a.slice.network_rate == 4096 && !a.no_limits);
	CHECK_EQ(RUN("-k", "/etc/passwd", "-n", "web", "--slice", "cpu-burst=30", "--no-limits"), 0);
	CHECK(a.slice.share == 30 && a.slice.burst == 30 && !a.slice.disk_rate && a.no_limits);
	CHECK_EQ(RUN("-k", "/etc/passwd", "-n", "web", "--slice", "type=x"), 0);
	CHECK(a.slice.share == 100 && a.slice.burst == 100);
	CHECK_EQ(RUN("-k", "/etc/passwd"), 0);
	CHECK(!a.slice.there);
	REFUSED("give --name", "-k", "/etc/passwd", "--slice", "type=x");
	REFUSED("an empty word", "-n", "web", "--slice", "");
	REFUSED("share is none of", "-n", "web", "--slice", "share=5");
	REFUSED("cpu-share is none of", "-n", "web", "--slice", "cpu-share");
	REFUSED("cpu-share=0: not per cent", "-n", "web", "--slice", "cpu-share=0");
	REFUSED("cpu-burst=101: not per cent", "-n", "web", "--slice", "cpu-burst=101");
	REFUSED("cpu-share=1x: not per cent", "-n", "web", "--slice", "cpu-share=1x");
	REFUSED("more than cpu-burst=10", "-n", "web", "--slice", "cpu-share=11,cpu-burst=10");
	REFUSED("disk-rate=4095: not bytes", "-n", "web", "--slice", "disk-rate=4095");
	REFUSED("network-rate=fast: not bytes", "-n", "web", "--slice", "network-rate=fast");
	REFUSED("type=: no name", "-n", "web", "--slice", "type=a/b");
	REFUSED("type=: no name", "-n", "web", "--slice", "type=a23456789012345678901234567890123");
}

UNIT_TEST(disks)
{
	const struct disk_args *d = a.virtio.disk;

	CHECK_EQ(RUN("-k", "k", "--disk", "a.raw", "--disk=b,ro,format=qcow2,serial=S-1",
		     "--disk", "c,overlay=o,format=raw"), 0);
	CHECK_EQ(a.virtio.disks, 3);
	CHECK(!strcmp(d[0].path, "a.raw") && !d[0].readonly && d[0].format == BLOCK_ANY && !d[0].serial[0]);
	CHECK(!strcmp(d[1].path, "b") && d[1].readonly && d[1].format == BLOCK_QCOW2);
	CHECK(!strcmp(d[1].serial, "S-1") && !d[1].overlay[0]);
	CHECK(!strcmp(d[2].overlay, "o") && d[2].format == BLOCK_RAW);
	REFUSED("empty path", "-k", "k", "--disk", "");
	REFUSED("empty path", "-k", "k", "--disk", "a,overlay=");
	REFUSED("raw or qcow2", "-k", "k", "--disk", "a,format=vmdk");
	REFUSED("rw is none of", "-k", "k", "--disk", "a,rw");
	REFUSED("empty word", "-k", "k", "--disk", "a,,ro");
	REFUSED("size= is none", "-k", "k", "--disk", "a,size=3");
	REFUSED("21 characters", "-k", "k", "--disk", "a,serial=123456789012345678901");
	REFUSED("0 characters", "-k", "k", "--disk", "a,serial=");
	REFUSED("printable", "-k", "k", "--disk", "a,serial=a b");
	REFUSED("leave one", "-k", "k", "--disk", "a,ro,overlay=o");
	REFUSED("more than 16", "-k", "k", "--disk=1", "--disk=2", "--disk=3", "--disk=4", "--disk=5", "--disk=6",
		"--disk=7", "--disk=8", "--disk=9", "--disk=10", "--disk=11", "--disk=12", "--disk=13",
		"--disk=14", "--disk=15", "--disk=16", "--disk=17");
}

UNIT_TEST(nets)
{
	const struct net_args *n = a.virtio.net;

	CHECK_EQ(RUN("-k", "k", "--net", "user", "--net", "tap=tap0,mac=02:00:00:aB:cd:EF,mtu=9000",
		     "--net=user,hostfwd=tcp:2222:22,hostfwd=tcp:0.0.0.0:80:8080,dns=9.9.9.9,host=off,restrict=on"), 0);
	CHECK(a.virtio.nets == 3 && !n[0].tap[0] && !n[0].has_mac && !n[0].user.forwards && !n[0].user.restricted);
	CHECK(!strcmp(n[1].tap, "tap0") && n[1].has_mac && !memcmp(n[1].mac, "\2\0\0\xab\xcd\xef", 6));
	CHECK(n[1].user.mtu == 9000 && n[2].user.forwards == 2 && n[2].user.restricted && n[2].user.alone && !n[1].user.alone);
	CHECK(n[2].user.forward[0].port == 2222 && n[2].user.forward[0].guest_port == 22);
	CHECK_EQ(n[2].user.forward[0].address.s_addr, htonl(INADDR_LOOPBACK));
	CHECK(n[2].user.forward[1].port == 80 && n[2].user.forward[1].guest_port == 8080);
	CHECK(!n[2].user.forward[1].address.s_addr && n[2].user.dns.s_addr == htonl(0x09090909));
	REFUSED("neither user nor", "-k", "k", "--net", "");
	REFUSED("neither user nor", "-k", "k", "--net", "mac=02:00:00:00:00:01");
	REFUSED("no name of an interface", "-k", "k", "--net", "tap=");
	REFUSED("no name of an interface", "-k", "k", "--net", "tap=0123456789abcdef");
	REFUSED("no name of an interface", "-k", "k", "--net", "tap=a/b");
	REFUSED("no name of an interface", "-k", "k", "--net", "tap=tap%d");
	REFUSED("no name of an interface", "-k", "k", "--net", "tap=..");
	REFUSED("is given twice", "-k", "k", "--net", "tap=a", "--net", "tap=a");
	REFUSED("of one interface", "-k", "k", "--net", "user,mac=03:00:00:00:00:01");
	REFUSED("of one interface", "-k", "k", "--net", "user,mac=00:00:00:00:00:00");
	REFUSED("of one interface", "-k", "k", "--net", "user,mac=02:00:00:00:00:0");
	REFUSED("of one interface", "-k", "k", "--net", "user,mac=02-00-00-00-00-01");
	REFUSED("of one interface", "-k", "k", "--net", "user,mac=02:00:00:00:00:0g");
	CHECK_EQ(RUN("-k", "k", "--net", "tap=a,vhost=on", "--net", "tap=b,vhost=off", "--net", "tap=c"), 0);
	CHECK(a.virtio.net[0].vhost == VHOST_ON && a.virtio.net[1].vhost == VHOST_OFF);
	CHECK_EQ(a.virtio.net[2].vhost, VHOST_AUTO);
	REFUSED("for tap= alone", "-k", "k", "--net", "user,vhost=on");
	REFUSED("neither on nor off", "-k", "k", "--net", "tap=a,vhost=yes");
	REFUSED("give 128 to 65520", "-k", "k", "--net", "user,mtu=127");
	REFUSED("give 128 to 65520", "-k", "k", "--net", "user,mtu=65521");
	REFUSED("give 128 to 65520", "-k", "k", "--net", "user,mtu=-200");
	REFUSED("for example hostfwd=tcp:2222:22", "-k", "k", "--net", "user,hostfwd=udp:1:1");
	REFUSED("for example hostfwd=tcp:2222:22", "-k", "k", "--net", "user,hostfwd=tcp:22");
	REFUSED("for example hostfwd=tcp:2222:22", "-k", "k", "--net", "user,hostfwd=tcp:0:22");
	REFUSED("for example hostfwd=tcp:2222:22", "-k", "k", "--net", "user,hostfwd=tcp:22:65536");
	REFUSED("for example hostfwd=tcp:2222:22", "-k", "k", "--net", "user,hostfwd=tcp:host:22:22");
	REFUSED("for example hostfwd=tcp:2222:22", "-k", "k", "--net", "user,hostfwd=tcp:1.2.3.4:22:22:22");
	REFUSED("name server", "-k", "k", "--net", "user,dns=0.0.0.0");
	REFUSED("name server", "-k", "k", "--net", "user,dns=dns.example.org");
	REFUSED("neither on nor off", "-k", "k", "--net", "user,restrict=yes");
	REFUSED("--net host=no: is neither on nor off", "-k", "k", "--net", "user,host=no");
	REFUSED("for user alone", "-k", "k", "--net", "tap=a,restrict=on");
	REFUSED("no key with a value", "-k", "k", "--net", "user,restrict");
	REFUSED("an empty word", "-k", "k", "--net", "user,");
	REFUSED("none of mac=", "-k", "k", "--net", "user,model=e1000");
	REFUSED("more than 8", "-k", "k", "--net=user", "--net=user", "--net=user", "--net=user", "--net=user",
		"--net=user", "--net=user", "--net=user", "--net=user");
}

UNIT_TEST(ports_and_balloon)
{
	CHECK_EQ(RUN("-k", "k", "--console", "terminal", "--console", "socket=/s,name=org.x.0", "--rng", "--balloon"), 0);
	CHECK(a.virtio.ports == 2 && a.virtio.rng && a.virtio.balloon && !a.virtio.balloon_bytes);
	CHECK(!a.virtio.port[0].socket[0] && !strcmp(a.virtio.port[1].socket, "/s"));
	CHECK(!strcmp(a.virtio.port[1].name, "org.x.0"));
	CHECK_EQ(RUN("-k", "k", "--balloon=64M"), 0);
	CHECK_EQ(a.virtio.balloon_bytes, 64 << 20);
	CHECK_EQ(RUN("-k", "k", "-m", "0", "--balloon"), 0);	/* too little for other reasons */
	REFUSED("one of the two", "-k", "k", "--console", "name=x");
	REFUSED("one of the two", "-k", "k", "--console", "terminal,socket=/s");
	REFUSED("has no name", "-k", "k", "--console", "terminal,name=x");
	REFUSED("is none of", "-k", "k", "--console", "pty");
	REFUSED("empty word", "-k", "k", "--console", "");
	REFUSED("give it once", "-k", "k", "--console", "terminal", "--console", "terminal");
	REFUSED("0 characters", "-k", "k", "--console", "socket=");
	REFUSED("printable", "-k", "k", "--console", "socket=/s,name=a b");
	REFUSED("not a size", "-k", "k", "--balloon=x");
	REFUSED("all of --memory", "-k", "k", "--balloon=512M");
}

UNIT_TEST(vsock)
{
	CHECK_EQ(RUN("-k", "k", "--vsock", "cid=3"), 0);
	CHECK_EQ(a.virtio.cid, 3);
	CHECK_EQ(RUN("-k", "k", "--vsock", "cid=0xfffffffe"), 0);
	CHECK_EQ(a.virtio.cid, 0xfffffffe);
	CHECK_EQ(RUN("-k", "k"), 0);
	CHECK_EQ(a.virtio.cid, 0);
	REFUSED("from 3 to", "-k", "k", "--vsock", "cid=2");
	REFUSED("from 3 to", "-k", "k", "--vsock", "cid=4294967295");
	REFUSED("from 3 to", "-k", "k", "--vsock", "cid=99999999999999999999999");
	REFUSED("from 3 to", "-k", "k", "--vsock", "cid=-3");
	REFUSED("from 3 to", "-k", "k", "--vsock", "cid=3x");
	REFUSED("from 3 to", "-k", "k", "--vsock", "cid=");
	REFUSED("from 3 to", "-k", "k", "--vsock", "3");
}

UNIT_TEST(shares)
{
	CHECK_EQ(RUN("-k", "k", "--share", "/home/ada/", "--share", "/srv,ro,tag=data", "--share", "/"), 0);
	CHECK(a.virtio.shares == 3 && !a.virtio.share[0].readonly && a.virtio.share[1].readonly);
	CHECK(!strcmp(a.virtio.share[0].tag, "ada") && !strcmp(a.virtio.share[0].path, "/home/ada/"));
	CHECK(!strcmp(a.virtio.share[1].tag, "data") && !strcmp(a.virtio.share[1].path, "/srv"));
	CHECK(!strcmp(a.virtio.share[2].tag, "root"));
	CHECK_EQ(RUN("-k", "k", "--share", "ada"), 0);
	CHECK(!strcmp(a.virtio.share[0].tag, "ada"));
	CHECK_EQ(RUN("-k", "k"), 0);
	CHECK_EQ(a.virtio.shares, 0);
	CHECK_EQ(RUN("-k", "k", "--share", "a,tag=123456789012345678901234567890123456"), 0);
	REFUSED("37 characters", "-k", "k", "--share", "a,tag=1234567890123456789012345678901234567");
	REFUSED("0 characters", "-k", "k", "--share", "a,tag=");
	REFUSED("printable", "-k", "k", "--share", "a b");
	REFUSED("printable", "-k", "k", "--share", "a,tag=\303\244");
	REFUSED("an empty path", "-k", "k", "--share", ",ro");
	REFUSED("none of ro, tag=", "-k", "k", "--share", "a,rw");
	REFUSED("an empty word", "-k", "k", "--share", "a,");
	REFUSED("two with the tag a", "-k", "k", "--share", "a", "--share", "/x/a");
	REFUSED("more than 8", "-k", "k", "--share=1", "--share=2", "--share=3", "--share=4", "--share=5",
		"--share=6", "--share=7", "--share=8", "--share=9");
}

UNIT_TEST(options_defaults)
{
	CHECK_EQ(RUN("-k", "/x/vmlinuz-6.1.0"), 0);
	CHECK(!a.initrd);
	CHECK(!strcmp(a.append, ARGS_APPEND));
	CHECK(!strcmp(a.name, "6.1.0") && !a.named);
	CHECK_EQ(a.memory, 512 << 20);
	CHECK_EQ(a.cpus, 1);
	CHECK_EQ(a.pv, UINT32_MAX);
	CHECK_EQ(a.hints, 0);
	CHECK_EQ(RUN("-k", "my kernel\n"), 0);
	CHECK(!strcmp(a.name, "my_kernel_"));
	CHECK_EQ(RUN("-k", "vmlinuz-"), 0);
	CHECK(!strcmp(a.name, "vmlinuz-"));
	CHECK_EQ(RUN("-k", "/x/..hidden"), 0);
	CHECK(!strcmp(a.name, "_.hidden"));
	CHECK_EQ(RUN("-k", "/x/"), 0);
	CHECK(args_name(a.name));
}

UNIT_TEST(paravirtual)
{
	CHECK_EQ(RUN("-k", "k", "--pv", "none"), 0);
	CHECK_EQ(a.pv | a.hints, 0);
	CHECK_EQ(RUN("-k", "k", "--pv", "all,realtime"), 0);
	CHECK_EQ(a.pv, UINT32_MAX);
	CHECK_EQ(a.hints, 1);
	CHECK_EQ(RUN("-k", "k", "--pv=clock,steal,eoi,ipi,tlb,unhalt,yield,poll"), 0);
	CHECK_EQ(a.pv, 0x1003ae8);
	CHECK_EQ(a.hints, 0);
	CHECK_EQ(RUN("-k", "k", "--pv", "all", "--pv", "eoi"), 0);	/* the last one counts */
	CHECK_EQ(a.pv, 1 << 6);
}

UNIT_TEST(names)
{
	static const char *const good[] = { "a", "0", "_", "web-1.example_2", "A.b", "x-" };
	static const char *const bad[] = {
		"", ".", "..", ".a", "-a", "a b", "a/b", "../a", "a\n", "\x7f", "\xc3\xa4", "a*", "a:b",
	};
	char text[ARGS_NAME_MAX + 2];
	unsigned int i;

	for (i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		CHECK(args_name(good[i]));
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		CHECK(!args_name(bad[i]));
	memset(text, 'a', sizeof(text));
	text[ARGS_NAME_MAX + 1] = 0;
	CHECK(!args_name(text));
	text[ARGS_NAME_MAX] = 0;
	CHECK(args_name(text));
}

UNIT_TEST(options_refused)
{
	static char longish[PATH_MAX + 2];

	memset(longish, 'a', sizeof(longish) - 1);
	REFUSED("--cpus 255", "-k", "k", "--cpus", "255");
	REFUSED("--cpus 18446744073709551617", "-k", "k", "-c", "18446744073709551617");
	REFUSED("--cpus 0", "-k", "k", "--cpus", "0");
	REFUSED("--cpus -1", "-k", "k", "--cpus=-1");
	REFUSED("--cpus 1x", "-k", "k", "--cpus", "1x");
	REFUSED("--pv clocks: no paravirtual feature; give none, all", "-k", "k", "--pv", "clocks");
	REFUSED("--pv :", "-k", "k", "--pv", "");
	REFUSED("--pv :", "-k", "k", "--pv", "clock,");
	REFUSED("--pv cloc", "-k", "k", "--pv", "cloc,steal");
	REFUSED("not a size", "-k", "k", "--memory", "lots");
	REFUSED("too large", "-k", "k", "--memory", "99999999T");
	REFUSED("multiple of 4K", "-k", "k", "--memory", "1000001");
	REFUSED("no such option", "--kernal", "k");
	REFUSED("no such option", "-z");
	REFUSED("value is missing", "--kernel");
	REFUSED("value is missing", "-k", "k", "-m");
	REFUSED("empty path", "--kernel", "");
	REFUSED("too long", "--kernel", longish);
	REFUSED("--name", "-k", "k", "--name", "");
	REFUSED("--name", "-k", "k", "--name", "a b");
	REFUSED("--name", "-k", "k", "--name", longish);
	REFUSED("not an option", "/boot/vmlinuz");
}

UNIT_TEST(bare_metal)
{
	CHECK_EQ(RUN("--flat", "/x/boot.img"), 0);
	CHECK(!strcmp(a.flat, "/x/boot.img") && !a.kernel[0] && !strcmp(a.name, "boot.img"));
	CHECK_EQ(a.flat_gpa, 0x7c00);
	CHECK_EQ(RUN("--flat", "a,b,addr=0x8000"), 0);
	CHECK(!strcmp(a.flat, "a,b"));
	CHECK_EQ(a.flat_gpa, 0x8000);
	CHECK_EQ(RUN("-f", "/x/bios.bin"), 0);
	CHECK(!strcmp(a.firmware, "/x/bios.bin") && !a.kernel[0] && !strcmp(a.name, "bios.bin"));
	CHECK_EQ(RUN("-f", "b", "-k", "/k", "-d", "fw-cfg"), 0);
	CHECK(a.devices.there[DEV_FW_CFG] && !strcmp(a.kernel, "/k"));
	REFUSED("addr=", "--flat", "a,addr=0x100000");
	REFUSED("addr=", "--flat", "a,addr=");
	REFUSED("addr=", "--flat", "a,addr=-1");
	REFUSED("empty path", "--flat", ",addr=0");
	REFUSED("empty path", "--firmware", "");
	REFUSED("--flat", "--flat", "a", "-k", "b");
	REFUSED("fw_cfg", "--firmware", "a", "-k", "b");
	REFUSED("--initrd", "--firmware", "a", "-i", "b");
}

UNIT_TEST(devices)
{
	static char longish[PATH_MAX + 8];

	CHECK_EQ(RUN("-k", "k", "-d", "debug-exit", "--device", "debugcon,port=0x402", "-d", "testdev"), 0);
	CHECK(a.devices.there[DEV_DEBUG_EXIT] && a.devices.there[DEV_DEBUGCON] && a.devices.there[DEV_TESTDEV]);
	CHECK(!a.devices.there[DEV_FW_CFG]);
	CHECK_EQ(a.devices.port[DEV_DEBUG_EXIT], 0xf4);
	CHECK_EQ(a.devices.port[DEV_DEBUGCON], 0x402);
	CHECK_EQ(RUN("-k", "k", "-d", "fw-cfg,name=etc/a,file=/a,name=b,file=/b=c"), 0);
	CHECK_EQ(a.devices.files, 2);
	CHECK(!strcmp(a.devices.file[0].name, "etc/a") && !strcmp(a.devices.file[0].path, "/a"));
	CHECK(!strcmp(a.devices.file[1].name, "b") && !strcmp(a.devices.file[1].path, "/b=c"));
	CHECK_EQ(RUN("--device", "help", "junk"), 0);
	CHECK(a.list_devices && strstr(args_device_list(), "debug-exit") && strstr(args_device_list(), "testdev"));
	REFUSED("no such device", "-k", "k", "-d", "floppy");
	REFUSED("no such device", "-k", "k", "-d", "");
	REFUSED("already", "-k", "k", "-d", "testdev", "-d", "testdev");
	REFUSED("no key 'port'", "-k", "k", "-d", "testdev,port=1");
	REFUSED("no key 'prot'", "-k", "k", "-d", "debug-exit,prot=1");
	REFUSED("no key ''", "-k", "k", "-d", "debug-exit,");
	REFUSED("port=0x10000", "-k", "k", "-d", "debug-exit,port=0x10000");
	REFUSED("port=0", "-k", "k", "-d", "debug-exit,port=0");
	REFUSED("port=", "-k", "k", "-d", "debug-exit,port=");
	REFUSED("has no name", "-k", "k", "-d", "fw-cfg,file=/a");
	REFUSED("has no file", "-k", "k", "-d", "fw-cfg,name=a");
	REFUSED("name= has 0 characters", "-k", "k", "-d", "fw-cfg,name=,file=/a");
	REFUSED("more than 8", "-k", "k", "-d",
		"fw-cfg,name=1,file=/,name=2,file=/,name=3,file=/,name=4,file=/,name=5,file=/,name=6,file=/,name=7,file=/,name=8,file=/,name=9,file=/");
	memset(longish, 'a', sizeof(longish) - 1);
	memcpy(longish, "fw-cfg,name=", 12);
	REFUSED("give 1 to 55", "-k", "k", "-d", longish);
}

UNIT_TEST(options_help)
{
	CHECK_EQ(RUN("--help"), 0);
	CHECK(a.help);
	CHECK_EQ(RUN("-h", "junk"), 0);
	CHECK(a.help);
}

static struct explain_args e;
static struct stat_args s;

#define COMMAND(command, args, ...)					\
	({								\
		char *argv[] = { #command, ##__VA_ARGS__, NULL };	\
									\
		err[0] = 0;						\
		args_##command(sizeof(argv) / sizeof(argv[0]) - 1, argv, args, err, sizeof(err)); \
	})

#define COMMAND_REFUSED(command, args, why, ...)			\
	do {								\
		CHECK_EQ(COMMAND(command, args, ##__VA_ARGS__), -EINVAL); \
		CHECK(strstr(err, why));				\
		CHECK(strchr(err, ';') && !strchr(err, '\n'));		\
	} while (0)

UNIT_TEST(explain)
{
	CHECK_EQ(COMMAND(explain, &e, "web-1"), 0);
	CHECK(!strcmp(e.name, "web-1") && !e.symbols && !e.slid && !e.json && !e.help);
	CHECK_EQ(e.exits, ARGS_EXITS);
	CHECK_EQ(COMMAND(explain, &e, "--exits", "200", "web-1", "--json", "-s", "/map", "--slide=0x1000000"), 0);
	CHECK(!strcmp(e.name, "web-1") && !strcmp(e.symbols, "/map") && e.json && e.slid);
	CHECK_EQ(e.exits, 200);
	CHECK_EQ(e.slide, 0x1000000);
	CHECK_EQ(COMMAND(explain, &e, "a", "-s", "m", "--slide", "0xffffffffffe00000"), 0);
	CHECK_EQ(e.slide, 0xffffffffffe00000);
	CHECK_EQ(COMMAND(explain, &e, "--help"), 0);
	CHECK(e.help);
}

UNIT_TEST(explain_refused)
{
	COMMAND_REFUSED(explain, &e, "which guest");
	COMMAND_REFUSED(explain, &e, "one word too many", "a", "b");
	COMMAND_REFUSED(explain, &e, "no name", "../a");
	COMMAND_REFUSED(explain, &e, "no name", "");
	COMMAND_REFUSED(explain, &e, "--exits", "a", "-e", "257");
	COMMAND_REFUSED(explain, &e, "--exits", "a", "-e", "-1");
	COMMAND_REFUSED(explain, &e, "--exits", "a", "-e", "1x");
	COMMAND_REFUSED(explain, &e, "--slide", "a", "-s", "m", "--slide", "0x10000000000000000");
	COMMAND_REFUSED(explain, &e, "--symbols", "a", "--slide", "0x1000");
	COMMAND_REFUSED(explain, &e, "value is missing", "a", "-s");
	COMMAND_REFUSED(explain, &e, "no such option", "a", "--live");
}

UNIT_TEST(stat)
{
	CHECK_EQ(COMMAND(stat, &s, "a"), 0);
	CHECK(!strcmp(s.name, "a") && !s.live && !s.json);
	CHECK_EQ(COMMAND(stat, &s, "a", "--live"), 0);
	CHECK(s.live);
	CHECK_EQ(s.interval_ms, 1000);
	CHECK_EQ(COMMAND(stat, &s, "a", "--live", "2"), 0);
	CHECK_EQ(s.interval_ms, 2000);
	CHECK_EQ(COMMAND(stat, &s, "--live", "0.25", "a", "-j"), 0);
	CHECK(!strcmp(s.name, "a") && s.json);
	CHECK_EQ(s.interval_ms, 250);
	CHECK_EQ(COMMAND(stat, &s, "--live=3", "7"), 0);
	CHECK(!strcmp(s.name, "7"));
	CHECK_EQ(s.interval_ms, 3000);
	CHECK_EQ(COMMAND(stat, &s, "--live", "a"), 0);
	CHECK(!strcmp(s.name, "a") && s.live);
	CHECK_EQ(COMMAND(stat, &s, "-h"), 0);
	CHECK(s.help);
}

UNIT_TEST(stat_refused)
{
	COMMAND_REFUSED(stat, &s, "which guest");
	COMMAND_REFUSED(stat, &s, "which guest", "--live", "7");
	COMMAND_REFUSED(stat, &s, "--live 0", "a", "--live=0");
	COMMAND_REFUSED(stat, &s, "--live nan", "a", "--live=nan");
	COMMAND_REFUSED(stat, &s, "--live 1x", "a", "--live=1x");
	COMMAND_REFUSED(stat, &s, "no such option", "a", "--exits", "3");
}

UNIT_TEST(disk_that_boots)
{
	unlink(ARGS_SEABIOS);
	CHECK_EQ(RUN("--disk", "/x/debian.raw"), -ENOENT);
	CHECK(strstr(err, "--disk /x/debian.raw") && strstr(err, "; apt-get install seabios, or give --kernel"));
	close(open(ARGS_SEABIOS, O_CREAT | O_WRONLY, 0600));
	CHECK_EQ(RUN("--disk", "/x/debian.raw", "--disk", "/x/more.raw"), 0);
	CHECK(a.boots_disk && !strcmp(a.firmware, ARGS_SEABIOS) && a.devices.there[DEV_FW_CFG]);
	CHECK(!a.kernel[0] && !strcmp(a.name, "debian.raw") && !strcmp(a.append, ARGS_APPEND));
	CHECK_EQ(RUN("--disk", "d", "-d", "fw-cfg,name=x,file=y"), 0);
	CHECK(a.boots_disk && a.devices.files == 1);
	/* Who says what is to start is heard. */
	CHECK_EQ(RUN("--disk", "d", "-k", "/k"), 0);
	CHECK(!a.boots_disk && !a.firmware[0] && !a.devices.there[DEV_FW_CFG]);
	CHECK_EQ(RUN("--disk", "d", "-f", "/f"), 0);
	CHECK(!a.boots_disk && !strcmp(a.firmware, "/f"));
	CHECK_EQ(RUN("--disk", "d", "--flat", "/f"), 0);
	CHECK(!a.boots_disk && !a.firmware[0]);
	REFUSED("--append: belongs to a kernel", "--disk", "d", "-a", "quiet");
	REFUSED("--initrd: belongs to a kernel", "--disk", "d", "-i", "/i");
	unlink(ARGS_SEABIOS);
}

UNIT_TEST(newest_kernel)
{
	static const char *const names[] = {
		"vmlinuz-6.1.0-9-cloud-amd64", "vmlinuz-6.1.0-56-cloud-amd64", "vmlinuz-6.0.0-99-cloud-amd64",
	};
	char dir[] = "/tmp/cleave-args-XXXXXX", path[PATH_MAX], pattern[64];
	unsigned int i;

	REQUIRE(mkdtemp(dir));
	snprintf(pattern, sizeof(pattern), "%s/vmlinuz-*", dir);
	CHECK_EQ(args_newest(pattern, path), -ENOENT);
	for (i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		close(open(path, O_CREAT | O_WRONLY, 0600));
	}
	CHECK_EQ(args_newest(pattern, path), 0);
	CHECK(strstr(path, "6.1.0-56"));
	for (i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		unlink(path);
	}
	rmdir(dir);
}

/* ---- --config ------------------------------------------------------------------- */

/* That file as --config, before and behind other options. */
#define CONFIG(text, ...)						\
	({								\
		int fd_ = open("/tmp/cleave-config", O_WRONLY | O_CREAT | O_TRUNC, 0600); \
									\
		if (write(fd_, text, strlen(text)) != (ssize_t)strlen(text))	\
			abort();					\
		close(fd_);						\
		RUN("--cpus", "3", "--config", "/tmp/cleave-config", ##__VA_ARGS__); \
	})

UNIT_TEST(config)
{
	CHECK_EQ(CONFIG("# a guest\n\n  kernel=/k \n append = console=ttyS0 a=b  # no comment \n"
			"memory\t=\t1G\r\ninitrd = /i\n device = debugcon\ndevice = fw-cfg\n"
			"detach = yes\nname = web-1", "--memory", "2G"), 0);
	CHECK(!strcmp(a.kernel, "/k") && !strcmp(a.initrd, "/i") && !strcmp(a.name, "web-1"));
	CHECK(!strcmp(a.append, "console=ttyS0 a=b  # no comment"));
	CHECK(a.memory == 2ULL << 30 && a.cpus == 3 && a.detach && a.named);
	CHECK(a.devices.there[DEV_DEBUGCON] && a.devices.there[DEV_FW_CFG]);
	CHECK_EQ(CONFIG("kernel = /k\ndetach = no\ncpus = 2"), 0);
	CHECK(!a.detach && a.cpus == 2);
	CHECK_EQ(CONFIG("", "-k", "/k"), 0);
}

UNIT_TEST(config_refused)
{
	static const struct {
		const char *text, *why;
	} bad[] = {
		{ "kernel = /k\nfrobnicate = 1", "/tmp/cleave-config:2: frobnicate: no such option; " },
		{ "kernel", ":1: kernel: a value is missing" }, { "kernel =", "a value is missing" },
		{ "help = yes", "no such option" }, { "config = /x", "no such option" },
		{ "= 5", ":1: no option before" }, { "\n\ncpus = many", ":3: --cpus many: not a number" },
		{ "detach = maybe", "neither yes nor no" }, { "k = /k", "no such option" },
	};
	size_t i;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		CHECK_EQ(CONFIG(bad[i].text), -EINVAL);
		CHECK(strstr(err, bad[i].why) && strchr(err, ';') && !strchr(err, '\n'));
	}
	CHECK_EQ(CONFIG("cpus = 1", "--config", "/tmp/cleave-config"), -EINVAL);
	CHECK(strstr(err, "second"));
	CHECK_EQ(RUN("--config", "/tmp/cleave-config.none"), -ENOENT);
	CHECK(strstr(err, "check the path"));
	CHECK_EQ(RUN("--config", "/tmp"), -EINVAL);
	unlink("/tmp/cleave-config");
	RUN("-k", "k");
	free(a.config);
	a.config = NULL;
}
