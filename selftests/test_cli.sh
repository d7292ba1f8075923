#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What people get wrong: each ends with a status that is not 0 and one line
# that names the culprit, and leaves nothing behind.

dir=/tmp/cli.$$
mkdir -p $dir || exit 1
trap 'rm -rf $dir' EXIT
n=0
set -- "$CLEAVE_GUESTS"/*/vmlinuz
kernel=$1
initrd=$CLEAVE_GUESTS/initramfs

ok()
{
	what=$1
	shift
	n=$((n + 1))
	if "$@"; then
		echo "ok $n $what"
	else
		sed 's/^/# /' $dir/out
		echo "not ok $n $what"
	fi
}

# Nobody uses the module.
idle()
{
	grep -q '^cleave [0-9]* 0 ' /proc/modules
}

# refused STATUS WORD ARGUMENT...: by `cleave run`
refused()
{
	status=$1 word=$2
	shift 2
	timeout 60 cleave run "$@" </dev/null >$dir/out 2>&1
	rc=$?
	[ $rc = "$status" ] && [ "$(wc -l <$dir/out)" = 1 ] && grep -q -- "$word" $dir/out && return
	echo "# status $rc"
	return 1
}

# A guest that is in its kernel or beyond, and what a signal makes of it.
killed()
{
	cleave run -k "$kernel" -i "$initrd" -a 'console=ttyS0 panic=-1' </dev/null >$dir/out 2>&1 &
	pid=$!
	i=0
	until grep -q 'Linux version\|guest#\|cleave guest' $dir/out; do
		i=$((i + 1))
		[ $i -lt 300 ] || break
		sleep 0.1
	done
	kill -"$1" $pid
	wait $pid
	[ $? = "$2" ]
}

without_module()
{
	rmmod cleave && refused 1 modprobe -k "$kernel"
	rc=$?
	insmod "$CLEAVE_KO" && return $rc
}

# su needs a user.
without_permission()
{
	[ -e /etc/passwd ] || { mkdir -p /etc && echo 'nobody:x:65534:65534::/:/bin/sh' >/etc/passwd; }
	chmod 755 /tmp $dir
	su -s /bin/sh nobody -c "$(command -v cleave) run -k $kernel" </dev/null >$dir/out 2>&1
	[ $? = 1 ] && [ "$(wc -l <$dir/out)" = 1 ] && grep -q usermod $dir/out
}

doctor()
{
	cleave doctor >$dir/out 2>&1 || [ $? = 1 ]
	grep -q /dev/cleave $dir/out && cleave doctor --json >$dir/out 2>&1
	grep -q '^[[{]' $dir/out
}

: >$dir/out
: >$dir/empty
dd if=/dev/zero of=$dir/zeros bs=64k count=4 2>/dev/null
head -c 300000 "$kernel" >$dir/cut
memory=$(($(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo) * 4))

echo "1..20"
ok "a kernel that is not there" refused 1 "$dir/none" -k $dir/none
ok "a kernel that is a directory" refused 1 "$dir" -k $dir
ok "a kernel that is empty" refused 1 "$dir/empty" -k $dir/empty
ok "a kernel that is none" refused 1 "$dir/zeros" -k $dir/zeros
ok "a kernel that is cut short" refused 1 "$dir/cut" -k $dir/cut
ok "an initrd that is not there" refused 1 "$dir/none" -k "$kernel" -i $dir/none
ok "an initrd that is a directory" refused 1 "$dir" -k "$kernel" -i $dir
ok "too little memory for the kernel" refused 1 memory -k "$kernel" -i "$initrd" -m 8M
ok "memory that the host has not" refused 1 memory -k "$kernel" -i "$initrd" -m ${memory}K
ok "memory that is no size" refused 2 memory -k "$kernel" -m lots
ok "no memory" refused 1 memory -k "$kernel" -m 0
ok "more CPUs than there can be" refused 2 cpus -k "$kernel" -c 2
ok "an option that is none" refused 2 frobnicate -k "$kernel" --frobnicate
ok "no module" without_module
ok "no permission" without_permission
ok "nothing is left of them" idle
ok "SIGTERM ends a guest" killed TERM 143
ok "SIGKILL ends a guest" killed KILL 137
ok "nothing is left of those" idle
ok "doctor sees it all" doctor
