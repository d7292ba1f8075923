#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# The life of a guest: it is listed, paused without noticing, and ends by its power
# button, or because it was killed. The guests are a few instructions each.

. "$CLEAVE_GUESTS/boots.sh"
dir=/tmp/life.$$
mkdir -p $dir/run || exit 1
chmod 700 $dir/run
export XDG_RUNTIME_DIR=$dir/run
pids=
trap 'kill $pids 2>/dev/null; rm -rf $dir $out' EXIT

bytes()
{
	printf "$(printf '\\x%s' "$@")"
}

# flat FILE BYTE...: an image that starts at 0:7c00 in real mode.
flat()
{
	file=$1
	shift
	bytes "$@" >$dir/$file
}

# start NAME FILE [WORD...]: in the background, until its CPUs run.
start()
{
	name=$1 file=$2
	shift 2
	cleave run --flat $dir/$file -m 16M -n "$name" "$@" </dev/null >$dir/out.$name 2>&1 &
	pid=$!
	pids="$pids $pid"
	i=0
	until state "$name" running; do
		i=$((i + 1))
		[ $i -lt 100 ] || return
		sleep 0.1
	done
}

# state NAME STATE
state()
{
	cleave ps --json "$1" >$out 2>&1 && grep -q "\"state\":\"$2\"" $out
}

# How often it has left its CPU.
exits_of()
{
	cleave stat "$1" --json | sed -n 's/^ *"exits":\([0-9]*\).*/\1/p' | head -n 1
}

# ended STATUS: so has the process that was started last.
ended()
{
	wait $pid
	rc=$?
	[ $rc = "$1" ] || { echo "# status $rc"; return 1; }
}

listed()
{
	start spin spin -c 2 && cleave ps >$out && cat $out && grep -qE "^spin +$pid running +[0-9.]+s +2 +16  .*/spin\$" $out
}

# Neither exits nor time of its own, and it is explained all the same.
paused()
{
	start ticks ticks && cleave pause spin ticks --json >$out || return
	[ "$(grep -c '"state":"paused"' $out)" = 2 ] && state spin paused || return
	a=$(exits_of spin) b=$(exits_of ticks)
	sleep 0.5
	[ "$(exits_of spin)" = "$a" ] && [ "$(exits_of ticks)" = "$b" ] || return
	cleave explain spin >$out && grep -q '^cleave: spin: paused' $out && cleave explain spin --json >$out &&
		grep -q '"status":"paused"' $out && [ "$(exits_of spin)" = "$a" ]
}

resumed()
{
	cleave resume --all && state spin running || return
	a=$(exits_of spin) b=$(exits_of ticks)
	sleep 0.5
	[ "$(exits_of spin)" -gt "$a" ] && [ "$(exits_of ticks)" -gt "$b" ]
}

killed()
{
	start victim spin && cleave kill victim && ended 137 && grep -q 'ended by .cleave kill' $dir/out.victim &&
		! cleave ps victim >$out 2>&1
}

killed_while_paused()
{
	start victim spin -c 4 && cleave pause victim && cleave kill victim && ended 137
}

# Its process is stopped, and answers nobody.
killed_while_stopped()
{
	start victim spin && kill -STOP $pid && state victim silent && cleave kill victim || return
	ended 137 && state victim gone
}

# A guest that heeds its button: by the status bit of the fixed hardware, as ACPI says.
stopped()
{
	start heeds heeds && cleave stop heeds --timeout 60 --json >$out && cat $out && grep -q '"state":"off"' $out &&
		ended 0
}

stopped_while_paused()
{
	start heeds heeds && cleave pause heeds && cleave stop heeds && ended 0
}

# gone PID: within seconds.
gone()
{
	i=0
	while [ -e /proc/$1 ]; do
		i=$((i + 1))
		[ $i -lt 300 ] || return
		sleep 0.1
	done
}

# As systemd stops it; and what the caller had open the guest's process has not.
asked_by_signal()
{
	cleave run --flat $dir/heeds -m 16M -n asked --detach </dev/null 7>$dir/lock >$out 2>&1 || return
	pid=$(sed -n 's/.* runs, pid \([0-9]*\);.*/\1/p' $out)
	! ls -l /proc/$pid/fd | grep -q $dir/lock && kill -TERM $pid && gone $pid || return
	cleave console asked --log >$out && grep -q 'asked: its power button is pressed for SIGTERM' $out &&
		! grep -q 'ended by' $out
}

not_in_time()
{
	cleave stop spin ticks -t 1 >$out 2>&1
	rc=$?
	[ $rc = 6 ] && [ "$(grep -c 'did not power off in 1 s, and was killed' $out)" = 2 ] || return
	[ "$(cleave ps | grep -c 'spin\|ticks')" = 0 ]
}

nobody()
{
	cleave stop nobody >$out 2>&1
	[ $? = 5 ] && cleave stop --all && cleave pause --all
}

# Returns when the guest runs; the tool's and the guest's words are in the log.
detached()
{
	cleave run --flat $dir/echo -m 16M -n far --detach </dev/null >$out 2>&1 && cat $out || return
	grep -q '^cleave: far: runs, pid [0-9]*; `cleave console far`' $out && state far running
}

detached_in_vain()
{
	cleave run --flat $dir/none -m 16M -n vain --detach </dev/null >$out 2>&1
	[ $? = 1 ] && [ "$(wc -l <$out)" = 1 ] && grep -q "$dir/none" $out || return
	cleave run --flat $dir/echo -m 16M -n far --detach </dev/null >$out 2>&1
	[ $? = 1 ] && grep -q 'a guest of that name runs' $out
}

# What is sent comes back; a second terminal sees both, and so does who comes later.
console()
{
	{ echo hello; sleep 3; } | timeout 60 cleave console far >$dir/one 2>$dir/err &
	one=$!
	sleep 1
	{ echo intruder; sleep 2; } | timeout 60 cleave console far >$dir/two 2>>$dir/err &
	two=$!
	sleep 1.5
	# As many as they like, and what they do not read costs them alone.
	timeout 60 cleave console far --read-only </dev/null | sleep 3 &
	sleep 1
	kill $one $two
	wait $one $two
	cleave console far --log >$dir/log
	cat $dir/one $dir/two $dir/err $dir/log >$out
	grep -q hello $dir/one && grep -q hello $dir/two && grep -q hello $dir/log &&
		! grep -q intruder $dir/one $dir/two $dir/log
}

# It runs on without readers, and its end is told to those there are.
console_ends()
{
	timeout 60 cleave console far </dev/null >$out 2>&1 &
	one=$!
	sleep 1
	cleave kill far || return
	wait $one || return
	grep -q 'far: the guest has ended' $out && cleave console far --log >$out &&
		grep -q 'ended by .cleave kill' $out && ! cleave console far </dev/null >/dev/null 2>&1
}

# in_status PID LINE: so says the kernel of each of its threads.
in_status()
{
	for t in /proc/$1/task/*; do
		grep -qxE "$2" "$t/status" && continue
		grep . "$t/comm" "$t/status" >$out
		return 1
	done
}

# Whatever it runs: no new privileges, no capabilities, and of each thread the calls it needs.
sandboxed()
{
	dd if=/dev/zero of=$dir/disk bs=1M count=1 2>/dev/null
	start box spin -c 2 --rng --disk $dir/disk && in_status $pid 'NoNewPrivs:.1' && in_status $pid 'Seccomp:.2' &&
		in_status $pid 'CapEff:.0*' && in_status $pid 'CapBnd:.0*' &&
		[ "$(cat /proc/$pid/task/*/comm | sort | tr '\n' ' ')" \
			= 'blk 0/0 blk 0/1 cleave control cpu 0 cpu 1 input rng 0/0 ' ] ||
		return
	# And does its work: each of these is one thread's.
	cleave explain box >$out && cleave stat box >$out && cleave pause box && cleave resume box &&
		cleave kill box && ended 137
}

not_sandboxed()
{
	start box spin --no-sandbox && in_status $pid 'NoNewPrivs:.0' && in_status $pid 'Seccomp:.0' &&
		cleave kill box && ended 137
}

# The page that says why it died is made and kept from inside.
dies_in_sandbox()
{
	cleave run --flat $dir/dies -m 16M -n dies </dev/null >$out 2>&1
	[ $? = 3 ] && grep -q 'the guest died' $out && cleave explain dies >$out && state dies dead &&
		[ ! -e $dir/run/cleave/dies.sock ]
}

# Root's files are open by then, the rest is nobody's.
other_user()
{
	chmod 755 $dir
	chmod 1777 /tmp
	XDG_RUNTIME_DIR= cleave run --flat $dir/spin -m 16M -n his --user 65534 --detach </dev/null >$out 2>&1 || return
	pid=$(sed -n 's/.* runs, pid \([0-9]*\);.*/\1/p' $out)
	in_status $pid 'Uid:.65534.65534.65534.65534' && in_status $pid 'Gid:.65534.65534.65534.65534' &&
		in_status $pid 'Groups:[[:space:]]*(65534)? *' && [ -S /tmp/cleave-65534/his.sock ] || return
	# The first is its power button, of which this one takes no notice.
	kill $pid
	sleep 1
	state_of_his=$(sed -n 's/^State:.\(.\).*/\1/p' /proc/$pid/status)
	[ "$state_of_his" ] && [ "$state_of_his" != Z ] && kill $pid || return
	gone $pid && [ ! -e /tmp/cleave-65534/his.sock ] && rm -r /tmp/cleave-65534
}

# In hundredths of a second.
now()
{
	sed 's/ .*//; s/\.//' /proc/uptime
}

# Time that it is paused is no time of its own: its last word is younger than the host says, by that.
linux_does_not_notice()
{
	for k in "$CLEAVE_GUESTS"/*/vmlinuz; do
		break
	done
	started=$(now)
	cleave run -k "$k" -i "$CLEAVE_GUESTS/initramfs" -n linux -m 256M \
		-a "console=ttyS0 loglevel=5 panic=-1 cleave.auto" </dev/null >$dir/out.linux 2>&1 &
	pid=$!
	pids="$pids $pid"
	i=0 paused=0
	# Each time at another moment of the boot.
	until ! kill -0 $pid 2>/dev/null; do
		i=$((i + 1))
		[ $i -lt 1000 ] || return
		if cleave pause linux >/dev/null 2>&1; then
			before=$(now)
			sleep 1
			paused=$((paused + $(now) - before))
			cleave resume linux >/dev/null 2>&1
		fi
		sleep 0.7
	done
	took=$(($(now) - started))
	ended 0 || return
	sed 's/^/# /' $dir/out.linux
	own=$(sed -n 's/^\[ *\([0-9]*\)\.\([0-9][0-9]\).*reboot: Power down.*/\1\2/p' $dir/out.linux)
	echo "# took $took, was paused $paused of them, of its own $own hundredths of a second"
	cp $dir/out.linux $out && quiet && grep -q 'all is well' $out && [ $paused -gt 300 ] &&
		[ "$own" -lt $((took - paused * 8 / 10)) ]
}

# 1: out 0x80, al; jmp 1b
flat spin e6 80 eb fc
# 1: mov al, 0; out 0x43, al; in al, 0x40; in al, 0x40; jmp 1b
flat ticks b0 00 e6 43 e4 40 e4 40 eb f6
# mov dx, 0x600; 1: in ax, dx; test ah, 1; jz 1b; mov dx, 0x604; mov ax, 0x3400; out dx, ax; jmp $
flat heeds ba 00 06 ed f6 c4 01 74 fa ba 04 06 b8 00 34 ef eb fe

# 1: mov dx, 0x3fd; in al, dx; test al, 1; jz 1b; mov dx, 0x3f8; in al, dx; out dx, al; jmp 1b
flat dies 0f 01 1e 00 01 cc
flat echo ba fd 03 ec a8 01 74 f8 ba f8 03 ec ee eb f1

echo "1..21"
ok "a guest is listed" listed
ok "guests stand still, and are explained" paused
ok "and go on" resumed
ok "cleave kill" killed
ok "cleave kill, of one that is paused" killed_while_paused
ok "cleave kill, of one whose process is stopped" killed_while_stopped
ok "cleave stop: power button" stopped
ok "cleave stop, of one that is paused" stopped_while_paused
ok "cleave stop: killed after its time" not_in_time
ok "SIGTERM, of one in the background: power button" asked_by_signal
ok "no such guest" nobody
ok "a guest in the background" detached
ok "or why it does not start" detached_in_vain
ok "its console: one writes, others read" console
ok "and ends with it" console_ends
ok "each thread is in its sandbox, and works" sandboxed
ok "or is not, with --no-sandbox" not_sandboxed
ok "a guest that dies there is explained" dies_in_sandbox
ok "root becomes another user" other_user
ok "nothing is left" [ -z "$(pidof cleave)" ]
ok "Linux is paused many times and does not notice" linux_does_not_notice
