#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What people get wrong: each ends with a status that is not 0 and one line
# that names the culprit and says what to do, and leaves nothing behind.

dir=/tmp/cli.$$
mkdir -p $dir/run $dir/nobody || exit 1
chmod 700 $dir/run $dir/nobody
export XDG_RUNTIME_DIR=$dir/run
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

# No process, and no name of a guest that could be asked.
nothing_left()
{
	left=$(pidof cleave) || left=$(find $dir/run $dir/nobody ! -type d)
	[ -z "$left" ] || { echo "# left: $left"; return 1; }
}

# one_line CULPRIT REMEDY: what it has said
one_line()
{
	[ "$(wc -l <$dir/out)" = 1 ] && grep -q -- "$1.*$2" $dir/out
}

# refused STATUS CULPRIT REMEDY ARGUMENT...: by `cleave run`
refused()
{
	status=$1 culprit=$2 remedy=$3
	shift 3
	timeout 60 cleave run "$@" </dev/null >$dir/out 2>&1
	rc=$?
	[ $rc = "$status" ] && one_line "$culprit" "$remedy" && nothing_left && return
	echo "# status $rc"
	return 1
}

# A guest that is in its kernel or beyond, and what a signal makes of it.
killed()
{
	# Here, as the shell that does it again for cleave may run later than the first look.
	: >$dir/out
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

# The socket of one that was killed outright stays: nobody answers, and who asks is told.
killed_outright()
{
	killed KILL 137 && ! pidof cleave >/dev/null && [ -S $dir/run/cleave/*.sock ] || return
	name=$(basename $dir/run/cleave/*.sock .sock)
	cleave explain "$name" >$dir/out 2>&1
	[ $? = 5 ]
}

without_module()
{
	rmmod cleave && refused 1 /dev/cleave modprobe -k "$kernel" && doctor_json module
	rc=$?
	insmod "$CLEAVE_KO" && return $rc
}

# su needs a user.
without_permission()
{
	[ -e /etc/passwd ] || { mkdir -p /etc && echo 'nobody:x:65534:65534::/:/bin/sh' >/etc/passwd; }
	chmod 755 /tmp $dir
	chown nobody $dir/nobody
	su -s /bin/sh nobody -c "XDG_RUNTIME_DIR=$dir/nobody $(command -v cleave) run -k $kernel" \
		</dev/null >$dir/out 2>&1
	[ $? = 1 ] && one_line /dev/cleave usermod && nothing_left
}

# A line each, and what mends it behind every no.
doctor_text()
{
	cleave doctor >$dir/out 2>&1 || [ $? = 1 ] || return
	grep -q /dev/cleave $dir/out &&
		awk '/^no / { if (no) exit 1; no = 1; n++; next }
			/^      mend: ./ { if (!no) exit 1; no = 0; next }
			/^(yes|\?  ) / { n++ }
			no { exit 1 }
			END { exit no || n < 11 }' $dir/out
}

# By what the kernel says of a CPU that has them.
doctor_bugs()
{
	mkdir -p $dir/bugs && rm -f $dir/bugs/*
	mount --bind $dir/bugs /sys/devices/system/cpu/vulnerabilities || return
	echo 'Mitigation: PTE Inversion; VMX: conditional cache flushes, SMT vulnerable' >$dir/bugs/l1tf
	echo 'KVM: Vulnerable' >$dir/bugs/itlb_multihit
	echo 'Not affected' >$dir/bugs/mds
	echo 'Unknown: No mitigations' >$dir/bugs/mmio_stale_data
	cleave doctor >$dir/out 2>&1
	echo 'Mitigation: PTE Inversion' >$dir/bugs/l1tf
	rm $dir/bugs/mmio_stale_data
	cleave doctor >$dir/out2 2>&1
	umount /sys/devices/system/cpu/vulnerabilities
	grep -q '^? .*not against .*l1tf.*: .*,nosmt' $dir/out && grep -q 'not against .*mmio_stale' $dir/out && grep -q '^yes .*all CPU bugs' $dir/out2
}

# doctor_json MISSING|"": an object each, a fix where the answer is no and nowhere else, and
# what the module has to do with is there, or this first.
doctor_json()
{
	ids="cpu firmware nested-paging headers built secure-boot module device permission free closed
		kernel"
	cleave doctor --json >$dir/out 2>$dir/err
	rc=$?
	cat $dir/err >>$dir/out
	! grep -q VT-x $dir/out || ids="$ids unrestricted-guest vpid"
	awk -v ids="$ids" -v missing="$1" -v rc=$rc '
		/^  "ok":/ { all = /true/ }
		/^      "id":"/ { split($0, part, "\""); id = part[4]; seen[id]++; no = fix = 0 }
		/^      "ok":(true|false|null),$/ { no = /false/; answer[id] = /true/ ? "yes" : no ? "no" : "?"; nos += no }
		/^      "fix":"./ { fix = 1 }
		/^    }/ { if (no != fix) bad = bad " fix of " id }
		END {
			n = split(ids, want, " ")
			for (i = 1; i <= n; i++)
				if (seen[want[i]] != 1)
					bad = bad " no " want[i]
			for (id in seen)
				n--
			if (n)
				bad = bad " other ids"
			if (all != !nos || rc != !!nos)
				bad = bad " ok or status " rc
			if (answer["module"] != (missing == "module" ? "no" : "yes") ||
			    answer["device"] != answer["module"])
				bad = bad " module"
			if (missing == "" && (answer["cpu"] answer["permission"] answer["free"] != "yesyesyes"))
				bad = bad " not ready"
			if (bad)
				print "#" bad
			exit bad != ""
		}' $dir/out
}

: >$dir/out
: >$dir/empty
dd if=/dev/zero of=$dir/zeros bs=64k count=4 2>/dev/null
head -c 300000 "$kernel" >$dir/cut
memory=$(($(sed -n 's/^MemTotal: *\([0-9]*\).*/\1/p' /proc/meminfo) * 4))

echo "1..$((23 + $(ls "$CLEAVE_GUESTS"/*/vmlinuz | wc -l)))"
ok "a kernel that is not there" refused 1 "$dir/none" "check the path" -k $dir/none
ok "a kernel that is a directory" refused 1 "$dir" "name the file" -k $dir
ok "a kernel that is empty" refused 1 "$dir/empty" "copy it again" -k $dir/empty
ok "a kernel that is none" refused 1 "$dir/zeros" "give a bzImage" -k $dir/zeros
ok "a kernel that is cut short" refused 1 "$dir/cut" "copy it again" -k $dir/cut
ok "an initrd that is not there" refused 1 "$dir/none" "check the path" -k "$kernel" -i $dir/none
ok "an initrd that is a directory" refused 1 "$dir" "name the file" -k "$kernel" -i $dir
ok "too little memory for any kernel" refused 1 memory "at least 16M" -k "$kernel" -i "$initrd" -m 8M
for k in "$CLEAVE_GUESTS"/*/vmlinuz; do
	ok "too little memory for $(basename "$(dirname "$k")")" \
		refused 1 "too little memory.*$k" "give --memory [0-9][0-9]*M" -k "$k" -i "$initrd" -m 24M
done
ok "memory that the host has not" refused 1 memory "ask for less" -k "$kernel" -i "$initrd" -m ${memory}K
ok "memory that is no size" refused 2 memory "give for example" -k "$kernel" -m lots
ok "no memory" refused 1 memory "at least 16M" -k "$kernel" -m 0
ok "more CPUs than there can be" refused 2 cpus "from 1 to 254" -k "$kernel" -c 255
ok "an option that is none" refused 2 frobnicate "cleave run --help" -k "$kernel" --frobnicate
ok "no module, and doctor says so" without_module
ok "no permission" without_permission
ok "nothing is left of them" idle
ok "SIGTERM ends a guest" killed TERM 143
ok "nothing is left of it" nothing_left
ok "SIGKILL ends a guest" killed_outright
ok "nobody uses the module" idle
ok "doctor sees it all" doctor_text
ok "doctor tells programs" doctor_json ""
ok "doctor knows the CPU's bugs" doctor_bugs
