#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Debian's own kernel brings all CPUs of a guest up, more than the host has, and finds
# nothing wrong with them, their clocks and their interrupts.

out=/tmp/smp-boot.$$
trap 'rm -f $out' EXIT
n=0

# ok WHAT CMD...
ok()
{
	what=$1
	shift
	n=$((n + 1))
	if "$@"; then
		echo "ok $n $what"
	else
		echo "not ok $n $what"
	fi
}

# The guest's init has looked, see hosts/guest-init; here at what the console got.
quiet()
{
	grep -q '^cleave guest: Linux' $out &&
		! grep -qE 'WARNING: [^S]|BUG:|Call Trace|Oops|FAILED|rcu.*(stall|starved)' $out
}

if grep -qw svm /proc/cpuinfo; then
	counts="4 64"
	# A debug kernel's host has not the time for so many.
	[ "${PATIENCE:-1}" = 1 ] || counts=4
else
	counts=4
fi
set -- "$CLEAVE_GUESTS"/*/vmlinuz
kernel=$1
set -- $counts
echo "1..$(($# * 5))"
for cpus; do
	read -r begin rest </proc/uptime
	cleave run --kernel "$kernel" --initrd "$CLEAVE_GUESTS/initramfs" --memory 768M --cpus "$cpus" \
		--append "console=ttyS0 loglevel=5 panic=-1 cleave.auto cleave.cpus=$cpus" \
		</dev/null >$out 2>&1
	rc=$?
	read -r end rest </proc/uptime
	sed 's/^/# /' $out
	echo "# $cpus CPUs on $(nproc): $((${end%.*} - ${begin%.*})) s"
	ok "$cpus CPUs: powers off with status 0 (it was $rc)" [ $rc = 0 ]
	ok "$cpus CPUs: all are up" grep -q "^cleave guest: ok: all $cpus CPUs are up" $out
	ok "$cpus CPUs: their clocks agree" grep -q "^cleave guest: ok: one clock for all CPUs" $out
	ok "$cpus CPUs: each works" grep -q "^cleave guest: all is well" $out
	ok "$cpus CPUs: the kernel does not complain" quiet
done
