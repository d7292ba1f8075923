#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What a guest has of the host, and that it takes no more: groups, which come and go with
# it; the CPU time and the disk of one while another does all it can. What is measured is
# how far guests come, in the same seconds on the same CPU, so that a slow host is as good.

. "$CLEAVE_GUESTS/boots.sh"
dir=/tmp/slices.$$
mkdir -p $dir/run || exit 1
chmod 700 $dir/run
export XDG_RUNTIME_DIR=$dir/run
pids=
root=/sys/fs/cgroup
groups=$root/cleave
patience=${PATIENCE:-1}
trap 'kill -9 $pids 2>/dev/null; rm -rf $dir $out' EXIT
ours=
if [ ! -e $root/cgroup.procs ]; then
	mount -t cgroup2 none $root || { echo "1..0 # SKIP no cgroup v2"; exit; }
	ours=1
fi

# ok WHAT CMD...: what it said last is told if it failed.
ok()
{
	what=$1
	shift
	n=$((n + 1))
	if "$@"; then
		echo "ok $n $what"
	else
		sed 's/^/# /' $out
		echo "not ok $n $what"
	fi
}

# flat FILE BYTE...: an image that starts in real mode.
flat()
{
	file=$1
	shift
	printf "$(printf '\\x%s' "$@")" >$dir/$file
}

# soon CMD...: within some seconds
soon()
{
	i=0
	until "$@"; do
		i=$((i + 1))
		[ $i -lt $((100 * patience)) ] || return
		sleep 0.1
	done
}

running()
{
	cleave ps --json "$1" >$out 2>&1 && grep -q '"state":"running"' $out
}

# start NAME WORD...: in the background, on the first CPU, until its CPUs run.
start()
{
	name=$1
	shift
	taskset 1 cleave run -n "$name" "$@" </dev/null >$dir/out.$name 2>&1 &
	pid=$!
	pids="$pids $pid"
	soon running "$name" || { cat $dir/out.$name; return 1; }
}

# work NAME WORD...: a guest that counts on each CPU that it has.
work()
{
	name=$1
	shift
	start "$name" --flat $dir/work,addr=0x7000 -m 16M "$@"
}

gone()
{
	[ ! -e "$groups/$1" ]
}

holds()
{
	[ "$(cat "$groups/$1")" = "$2" ] || { echo "# $1: $(cat "$groups/$1")"; return 1; }
}

grouped()
{
	work web -c 2 --slice type=small,cpu-share=20,cpu-burst=50,disk-rate=1M || return
	holds web/cpu.weight 40 && holds web/cpu.max '100000 100000' && holds web/cgroup.procs $pid &&
		[ "$(cat $groups/web/memory.max)" -gt $((16 << 20)) ] &&
		[ "$(cat $groups/web/memory.max)" -lt $((128 << 20)) ] && [ "$(cat $groups/web/pids.max)" -lt 1000 ]
}

told()
{
	cleave ps >$out && cat $out && grep -qE '^web .* small +/' $out &&
		cleave stat web >$out && grep -q 'slice small: 20% to 50% of each CPU, disks 1024 KiB/s$' $out &&
		cleave ps --json web >$out && grep -q '"limits":true' $out
}

# As another of that name would be in it, too: who is there keeps it.
taken()
{
	XDG_RUNTIME_DIR=$dir cleave run --flat $dir/work,addr=0x7000 -m 16M -n web --slice cpu-share=10 </dev/null >$out 2>&1
	[ $? = 1 ] && [ "$(wc -l <$out)" = 1 ] && grep -q 'cleave/web: has processes' $out
}

ends_with_it()
{
	cleave kill web && soon gone web || return
	work web --slice cpu-share=10 && kill -9 $pid && soon gone web
}

# Nobody watches it any more: the next instance finds it.
stale()
{
	work left --slice cpu-share=10 && kill -9 $(pidof cleave-slice) && kill -9 $pid || return
	sleep 1
	[ -e $groups/left ] && work web --slice cpu-share=10 && soon gone left && cleave kill web
}

refused()
{
	cleave run --flat $dir/none -n web --slice cpu-share=10 </dev/null >$out 2>&1
	[ $? = 1 ] && soon gone web || return
	cleave run --flat $dir/work --slice cpu-share=10 </dev/null >$out 2>&1
	[ $? = 2 ] && grep -q 'give --name' $out || return
	cleave run --flat $dir/work -n web --slice cpu-share=101 </dev/null >$out 2>&1
	[ $? = 2 ] && grep -q 'give 1 to 100' $out
}

oversold()
{
	work a -c 4 --slice cpu-share=100 && grep -q 'shares of 400% of a CPU are promised' $dir/out.a && cleave kill a
}

# A user whose group is delegated, as systemd delegates: the uppermost of it has `cleave`.
delegated()
{
	mkdir -p /etc
	[ -e /etc/passwd ] || echo 'nobody:x:65534:65534::/:/bin/sh' >/etc/passwd
	mkdir -p $root/his/shell && chmod 666 /dev/cleave && chmod 755 $dir && mkdir -m 700 $dir/his || return
	chown 65534 $dir/his
	for f in his his/cgroup.procs his/cgroup.subtree_control his/shell his/shell/cgroup.procs; do
		chown 65534 $root/$f || return
	done
	cat >$dir/his.sh <<-END
		echo 0 >$root/his/shell/cgroup.procs
		export XDG_RUNTIME_DIR=$dir/his
		exec start-stop-daemon -S -p $dir/none -c nobody -x $(command -v cleave) -- run --detach --flat $dir/work,addr=0x7000 \\
			-m 16M -n his "\$@"
	END
	sh $dir/his.sh --slice cpu-share=10 </dev/null >$out 2>&1 || return
	pid=$(cat $root/his/cleave/his/cgroup.procs) && [ -n "$pid" ] &&
		[ "$(cat $root/his/cleave/his/cpu.weight)" = 10 ] && kill -9 $pid || return
	i=0
	while [ -e $root/his/cleave/his ]; do
		i=$((i + 1))
		[ $i -lt 100 ] || return
		sleep 0.1
	done
}

not_delegated()
{
	chown 0 $root/his
	sh $dir/his.sh --slice cpu-share=10 </dev/null >$out 2>&1
	[ $? = 1 ] && grep -q 'his/shell, is not delegated to its user.*systemd-run --user --scope.*--no-limits' $out ||
		return
	sh $dir/his.sh --slice cpu-share=10 --no-limits </dev/null >$out 2>&1 || return
	kill -9 $(sed -n 's/.* runs, pid \([0-9]*\);.*/\1/p' $out)
	chmod 660 /dev/cleave
	rmdir $root/his/cleave && soon rmdir $root/his/shell 2>/dev/null && rmdir $root/his
}

# number FILE NAME: of its first member of that name
number()
{
	sed -n "s/^ *\"$2\":\([0-9]*\).*/\1/p" $1 | head -n 1
}

# look NAME MEMBER: when, in us, and how much of it.
look()
{
	cleave stat "$1" --json >$dir/look && echo "$(number $dir/look monotonic_us) $(number $dir/look $2)"
}

# A CPU's time, which nobody else wants, is bounded by cpu-burst.
bounded()
{
	work web --slice cpu-share=5,cpu-burst=20 || return
	sleep 1
	before=$(sed -n 's/^usage_usec //p' $groups/web/cpu.stat)
	a=$(look web exits_to_user)
	sleep 10
	b=$(look web exits_to_user)
	used=$(($(sed -n 's/^usage_usec //p' $groups/web/cpu.stat) - before))
	time=$((${b% *} - ${a% *}))
	echo "# used $used us of $time, and came from ${a#* } to ${b#* }"
	cleave kill web
	[ ${b#* } -gt ${a#* } ] && [ $used -lt $((time * 25 / 100)) ] && [ $used -gt $((time * 10 / 100)) ]
}

# side_by_side MEMBER: how far `quiet` and `busy` come in some seconds: $quiet, $busy, a second.
side_by_side()
{
	qa=$(look quiet $1) ba=$(look busy $1)
	sleep ${2:-12}
	qb=$(look quiet $1) bb=$(look busy $1)
	[ -n "$qa" ] && [ -n "$qb" ] && [ -n "$ba" ] && [ -n "$bb" ] || return
	quiet=$(((${qb#* } - ${qa#* }) * 1000000 / (${qb% *} - ${qa% *})))
	busy=$(((${bb#* } - ${ba#* }) * 1000000 / (${bb% *} - ${ba% *})))
	echo "# $1 a second: quiet $quiet, busy $busy"
}

# Equal weights, and one has four CPUs that never rest: the other has nine tenths of its half.
neighbour()
{
	work quiet -c 1 --slice cpu-share=40 && work busy -c 4 --slice cpu-share=10 &&
		holds quiet/cpu.weight 40 && holds busy/cpu.weight 40 || return
	sleep 2
	side_by_side exits_to_user
	cleave kill quiet busy
	[ $((quiet * 100)) -ge $(((quiet + busy) * 45)) ]
}

# What would be without: so that the one above says something.
neighbour_without()
{
	work quiet -c 1 --slice cpu-share=40 --no-limits && work busy -c 4 --slice cpu-share=10 --no-limits &&
		gone quiet && gone busy || return
	sleep 2
	side_by_side exits_to_user
	cleave kill quiet busy
	[ $((quiet * 100)) -lt $(((quiet + busy) * 35)) ]
}

# A guest that reads its disk as fast as it can.
reader()
{
	name=$1
	shift
	for k in "$CLEAVE_GUESTS"/*/vmlinuz; do
		break
	done
	dd if=/dev/zero of=$dir/disk.$name bs=1 count=0 seek=64M 2>/dev/null
	start "$name" -k "$k" -i "${k%/*}/virtio" -m 128M --disk $dir/disk.$name \
		-a "console=ttyS0 loglevel=5 panic=-1 cleave.virtio=read" "$@"
}

reads()
{
	i=0
	until grep -q 'cleave guest: reads' $dir/out.$1; do
		i=$((i + 1))
		[ $i -lt $((1200 * patience)) ] && kill -0 $pid || { cat $dir/out.$1; return 1; }
		sleep 0.1
	done
}

# Each has its rate, whatever the other asks for.
disks()
{
	reader quiet --slice cpu-share=50,disk-rate=1M && reads quiet &&
		reader busy --slice cpu-share=50,disk-rate=2M && reads busy || return
	sleep 3
	side_by_side bytes_read 20
	# Their memory is full by then, of what they have read.
	cat $groups/*/memory.events >$out
	! grep -q '^oom_kill [1-9]' $out && [ $quiet -ge $((1048576 * 90 / 100)) ] && [ $quiet -le $((1048576 * 110 / 100)) ] &&
		[ $busy -le $((2097152 * 110 / 100)) ]
}

# Who has no rate reads more than that: it was the rate that held the other.
disks_without()
{
	cleave kill busy && reader busy --slice cpu-share=50 && reads busy || return
	sleep 3
	side_by_side bytes_read 10
	cleave kill quiet busy
	[ $busy -gt $((2097152 * 3 / 2)) ] && [ $quiet -ge $((1048576 * 90 / 100)) ]
}

# ---- instances, of an image that the test's guest is -------------------------------------

launched()
{
	mkdir -p $dir/image $dir/home
	cp "$k" $dir/image/vmlinuz && cp "${k%/*}/virtio" $dir/image/initrd &&
		dd if=/dev/zero of=$dir/image/disk bs=1 count=0 seek=8M 2>/dev/null &&
		echo 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq me' >$dir/key.pub || return
	printf '[tiny]\nvcpus = 1\nmemory = 128M\ncpu-share = 30\ndisk-rate = 1M\nnetwork-rate = 1M\n' >$dir/types
	cleave images add tiny $dir/image/disk -a "console=ttyS0 loglevel=5 panic=-1 cleave.virtio=metadata" >$out 2>&1 &&
		cleave images | grep -q '^tiny .* raw ' || return
	cleave launch web --type tiny --image tiny --types $dir/types --ssh-key $dir/key.pub --json >$dir/told 2>$out ||
		{ cat $out; return 1; }
	port=$(number $dir/told port)
	grep -q "\"ssh\":\"ssh -p $port debian@127.0.0.1\"" $dir/told && [ "$port" -gt 0 ] && running web &&
		holds web/cpu.weight 30 && cleave ps | grep -qE '^web .* tiny +/' &&
		cleave instances | grep -qE "^web +tiny +tiny +running +$port\$" || return
	# It is the guest that was asked for, and it is told so.
	soon_console web 'cleave guest: metadata: web tiny ssh-ed25519 .* me' &&
		soon_console web 'cleave guest: user-data: #cloud-config'
}

# soon_console NAME TEXT
soon_console()
{
	i=0
	until cleave console "$1" --log 2>/dev/null | grep -q "$2"; do
		i=$((i + 1))
		[ $i -lt $((200 * patience)) ] || { cleave console "$1" --log; return 1; }
		sleep 0.5
	done
}

# A second one of that name, one that is there, one that runs: an error, and it stays.
kept()
{
	cleave launch web --type tiny --image tiny --types $dir/types >$out 2>&1
	[ $? = 1 ] && grep -q 'runs already' $out || return
	cleave delete web >$out 2>&1
	[ $? = 1 ] && grep -q 'cleave stop web' $out || return
	cleave images remove tiny >$out 2>&1
	[ $? = 1 ] && grep -q 'cleave delete web' $out
}

again()
{
	cleave kill web && soon gone web && cleave instances --json | grep -q '"state":"stopped"' || return
	cleave launch web --type tiny --image tiny >$out 2>&1
	[ $? = 2 ] && grep -q 'is there already' $out || return
	cleave launch web >$out 2>&1 && grep -q "^ssh -p $port debian@127.0.0.1\$" $out && running web && cleave kill web
}

deleted()
{
	soon gone web && cleave delete web && ! cleave instances | grep -q web && cleave images remove tiny &&
		[ -z "$(find /var/lib/cleave -type f)" ] || return
	cleave delete web >$out 2>&1
	[ $? = 5 ]
}

without_cgroups()
{
	[ -n "$ours" ] || return 0	# the host's stays
	# Another test's, too, which it does not need any more.
	for m in $(sed -n 's/^[^ ]* \([^ ]*\) cgroup2 .*/\1/p' /proc/mounts); do
		umount $m || return
	done
	timeout 60 cleave run --flat $dir/work,addr=0x7000 -m 16M -n web --slice cpu-share=10 </dev/null >$out 2>&1
	[ $? = 1 ] && [ "$(wc -l <$out)" = 1 ] && grep -q 'mount -t cgroup2 .*--no-limits' $out || return
	work web --slice cpu-share=10 --no-limits && cleave kill web
}

# mov ecx, 0x1b; rdmsr; test ah, 1; jz 1f		not the first CPU, which
# or ah, 0xc; wrmsr					goes to x2APIC, and by
# mov ecx, 0x830; xor edx, edx; mov eax, 0xc4500; wrmsr	INIT and
# mov eax, 0xc4607; wrmsr				SIPI has all others come here
# 1: mov ecx, 0x40000; 2: loop 2b (by ecx); out 0x80, al; jmp 1b
flat work 66 b9 1b 00 00 00 0f 32 f6 c4 01 74 1e 80 cc 0c 0f 30 \
	66 b9 30 08 00 00 66 31 d2 66 b8 00 45 0c 00 0f 30 66 b8 07 46 0c 00 0f 30 \
	66 b9 00 00 04 00 67 e2 fd e6 80 eb f3

# Emulated VT-x is too slow for Linux guests side by side; nothing of that is the vendor's.
linux=1 plan=19
! grep -q ^Bochs /sys/class/dmi/id/bios_version 2>/dev/null || linux= plan=13
echo "1..$plan"
ok "a guest is in a group of its own, with its limits" grouped
ok "which ps and stat tell" told
ok "and which nobody else has" taken
ok "it goes with the guest, however that ends" ends_with_it
ok "one that was left over goes by the next" stale
ok "what cannot start leaves none" refused
ok "more is promised than there is: told" oversold
ok "a user's, below what is delegated" delegated
ok "or an error that tells what to do" not_delegated
ok "CPU time is bounded" bounded
ok "a neighbour at full load leaves a guest its share" neighbour
ok "which it does not without limits" neighbour_without
if [ -n "$linux" ]; then
	ok "a disk has its rate beside one that wants more" disks
	ok "which would have it" disks_without
	ok "an instance, from image and type to its address" launched
	ok "what is there stays" kept
	ok "it is started again as it was" again
	ok "and deleted" deleted
fi
ok "no cgroup v2: an error, or --no-limits" without_cgroups
