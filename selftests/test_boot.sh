#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Debian's own kernels, unmodified, boot as guests to user space, run a little
# there, and power off.

out=/tmp/boot.$$
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

# It ran, and said nothing it should not; the kernel's notes on the CPU's bugs
# are `WARNING: See ...`.
quiet()
{
	grep -q '^cleave guest: Linux' $out && ! grep -qE 'WARNING: [^S]|BUG:|Call Trace|Oops|FAILED' $out
}

# paravirtual CPUS: it uses all that a kernel with so many CPUs does.
paravirtual()
{
	grep -q '^cleave guest: pv: kvm-clock: Using' $out &&
		grep -qE '^cleave guest: pv: ([a-z_-]+ )*kvm-clock( |\s*$)' $out || return
	if [ $1 = 1 ]; then
		grep -q '^cleave guest: pv: PV spinlocks disabled' $out
		return
	fi
	for feature in 'PV spinlocks enabled' 'PV IPIs' 'pv remote TLB flush' 'PV sched yield'; do
		grep -q "^cleave guest: pv: $feature" $out || return
	done
}

set -- "$CLEAVE_GUESTS"/*/vmlinuz
echo "1..$(($# * 5))"
for kernel; do
	release=${kernel%/vmlinuz}
	release=${release##*/}
	cleave run --kernel "$kernel" --initrd "$CLEAVE_GUESTS/initramfs" --memory 512M \
		--append "console=ttyS0 loglevel=5 panic=-1 cleave.auto" </dev/null >$out 2>&1
	rc=$?
	sed 's/^/# /' $out
	ok "$release powers off with status 0 (it was $rc)" [ $rc = 0 ]
	ok "$release boots to user space" grep -q "^cleave guest: Linux $release, up" $out
	ok "$release runs its programs" grep -q "^cleave guest: all is well" $out
	ok "$release does not complain" quiet
	ok "$release knows that it is a guest" paravirtual 1
done
