#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Devices whose queues the host's kernel and virtiofsd serve: what a guest and its host send each
# other by vsock and by a shared folder arrives, and the guest outlives virtiofsd.

. "$CLEAVE_GUESTS/boots.sh"
read -r bios 2>/dev/null </sys/class/dmi/id/bios_version
case ${bios-} in
Bochs*)	echo "1..1"
	echo "ok 1 # SKIP minutes there, and the same devices as on AMD-V"
	exit ;;
esac
dir=/tmp/served.$$
mkdir -p $dir/home $dir/ro $dir/his $dir/run || exit 1
chmod 755 $dir
chmod 700 $dir/run
chmod 1777 /tmp
chown 65534:65534 $dir/his
export XDG_RUNTIME_DIR=$dir/run
pid=
trap 'kill -9 $pid 2>/dev/null; rm -rf $dir $out' EXIT

for m in vsock vmw_vsock_virtio_transport_common vhost_iotlb vhost vhost_vsock; do
	[ ! -e "$CLEAVE_MODULES/$m.ko" ] || insmod "$CLEAVE_MODULES/$m.ko" 2>/dev/null
done

# An initramfs is no root that virtiofsd could leave behind (pivot_root(2)): another mount of it is.
away()
{
	mkdir -p /away
	exec unshare -m sh -c 'mount -o rbind / /away && cd /away && mount -o move . / && exec chroot . "$@"' sh "$@"
}

# boot WORDS OPTION...: in the background, to $dir/out.
boot()
{
	words=$1
	shift
	rm -f $dir/out
	away cleave run --kernel "$kernel/vmlinuz" --initrd "$kernel/served" --memory 384M --name served \
		--append "console=ttyS0 loglevel=5 panic=-1 cleave.virtio=served $words" "$@" \
		</dev/null >$dir/out 2>&1 &
	pid=$!
}

# says TEXT: the guest, before it ends and within minutes.
says()
{
	i=0
	until grep -q "$1" $dir/out; do
		i=$((i + 1))
		[ $i -lt 3000 ] && kill -0 $pid 2>/dev/null || return
		sleep 0.1
	done
}

# text LINE BYTES
text()
{
	yes "$1" | head -c "$2"
}

sum()
{
	sha256sum | cut -d' ' -f1
}

shown()
{
	sed 's/^/# /' $dir/out
	false
}

# 1 MiB each way, on one connection, which the guest makes.
both_ways()
{
	text "host to guest" 1048576 | timeout 240 vsock listen 1234 >$dir/got || return
	[ "$(sum <$dir/got)" = "$(text "guest to host" 1048576 | sum)" ] &&
		says "sum vsock $(text "host to guest" 1048576 | sum)"
}

folder_both_ways()
{
	says "sum folder $(sum <$dir/home/from-host)" && says "ok: what is written" &&
		[ "$(sum <$dir/home/from-guest)" = "$(text "the guest was here" 1048576 | sum)" ] &&
		[ -d $dir/home/made ] && says "ok: a folder that is only read" && [ ! -e $dir/ro/touched ]
}

# Two queues are the kernel's, whose interrupts are messages without the tool.
by_messages()
{
	cleave stat served --json >$out && grep -q '"device":"vsock 0"' $out && grep -q '"device":"fs 1"' $out &&
		[ "$(grep -o '"irqfd":true' $out | wc -l)" = 6 ]
}

taken()
{
	cleave run --flat /bin/busybox -m 16M --vsock cid=42 </dev/null >$out 2>&1
	[ $? = 1 ] && grep -q 'cid=42: another guest has that number; give another' $out
}

# Three threads at least, none of which may do more than before.
sandboxed()
{
	for t in /proc/$(cat $dir/tool)/task/*; do
		read -r name <"$t/comm"
		case $name in
		vhost-*) continue ;;	# the kernel's own
		esac
		grep -q 'Seccomp:.2' "$t/status" || { echo "# $name"; return 1; }
	done
}

survives()
{
	killall -9 virtiofsd || return
	echo gone | timeout 120 vsock listen 1235 >/dev/null || return
	says 'ok: the folder says nothing' && says 'all is well' && wait $pid &&
		[ "$(grep -c 'virtiofsd: who serves the queues has gone; ' $dir/out)" = 2 ] && gone
}

gone()
{
	i=0
	while pidof virtiofsd >/dev/null; do
		i=$((i + 1))
		[ $i -lt 50 ] || return
		sleep 0.1
	done
}

# What the guest's root makes is that user's, and the tool's end is virtiofsd's.
of_another_user()
{
	boot served=his --share "$dir/his,tag=home" --user 65534
	says 'kill it now' && [ "$(stat -c %u $dir/his/from-guest)" = 65534 ] && pidof virtiofsd >/dev/null || return
	for p in $(pidof virtiofsd); do
		grep -q 'Uid:.65534.65534' /proc/$p/status || return
	done
	kill -9 $pid
	wait $pid
	rm -r /tmp/cleave-65534
	gone
}

not_there()
{
	cleave run --flat /bin/busybox -m 16M --share $dir/nothing </dev/null >$out 2>&1
	[ $? = 1 ] && grep -q 'nothing: No such file or directory; name a directory' $out || return
	cleave run --flat /bin/busybox -m 16M --share $dir/out </dev/null >$out 2>&1
	[ $? = 1 ] && grep -q 'no directory; name another' $out
}

echo "1..9"
for kernel in "$CLEAVE_GUESTS"/*; do
	[ ! -e "$kernel/served" ] || break
done
text "the host was here" 1048576 >$dir/home/from-host
echo later >$dir/home/not-read-yet
echo "only read" >$dir/ro/file
boot served=all --vsock cid=42 --share "$dir/home" --share "$dir/ro,tag=only,ro"
ok "1 MiB each way over vsock" both_ways || shown
ok "files go both ways, and a folder is only read" folder_both_ways || shown
says 'kill it now'
cleave ps served --json | sed -n 's/.*"pid":\([0-9]*\).*/\1/p' >$dir/tool
ok "interrupts are messages without the tool" by_messages
ok "a CID is one guest's" taken
ok "its threads are in the sandbox" sandboxed
ok "the guest outlives virtiofsd" survives || shown
kill -9 $pid 2>/dev/null
wait $pid 2>/dev/null
ok "nothing is left of it" gone
text "the host was here" 1048576 >$dir/his/from-host
echo "not 7 yet" >$dir/his/not-read-yet
ok "by another user's rights" of_another_user || shown
ok "a folder that is not there" not_there
