#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Debian's own kernels, unmodified, boot as guests to user space, run a little
# there, and power off.

. "${0%/*}/boots.sh"
set -- "$CLEAVE_GUESTS"/*/vmlinuz
echo "1..$(($# * 5))"
for kernel; do
	release=${kernel%/vmlinuz}
	release=${release##*/}
	guest "$kernel" 512M 1
	ok "$release powers off with status 0 (it was $rc)" [ $rc = 0 ]
	ok "$release boots to user space" grep -q "^cleave guest: Linux $release, up" $out
	ok "$release runs its programs" grep -q "^cleave guest: all is well" $out
	ok "$release does not complain" quiet
	ok "$release knows that it is a guest" paravirtual 1
done
