#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Debian's own kernel brings all CPUs of a guest up, more than the host has, and finds
# nothing wrong with them, their clocks and their interrupts.

. "$CLEAVE_GUESTS/boots.sh"
counts=4
# A debug kernel's host, and an emulated VT-x, have not the time for so many.
! grep -qw svm /proc/cpuinfo || [ "${PATIENCE:-1}" != 1 ] || counts="2 4 16 64"
set -- "$CLEAVE_GUESTS"/*/vmlinuz
kernel=$1
set -- $counts
echo "1..$(($# * 6))"
for cpus; do
	read -r begin rest </proc/uptime
	guest "$kernel" 768M "$cpus"
	read -r end rest </proc/uptime
	echo "# $cpus CPUs on $(nproc): $((${end%.*} - ${begin%.*})) s"
	ok "$cpus CPUs: powers off with status 0 (it was $rc)" [ $rc = 0 ]
	ok "$cpus CPUs: all are up" grep -q "^cleave guest: ok: all $cpus CPUs are up" $out
	ok "$cpus CPUs: their clocks agree" grep -q "^cleave guest: ok: one clock for all CPUs" $out
	ok "$cpus CPUs: each works" grep -q "^cleave guest: all is well" $out
	ok "$cpus CPUs: the kernel does not complain" quiet
	ok "$cpus CPUs: it uses what it is offered" paravirtual "$cpus"
done
