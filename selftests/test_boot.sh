#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Debian's own kernels, unmodified, boot as guests to user space, run a little
# there, and power off.

. "$CLEAVE_GUESTS/boots.sh"

# boots KERNEL WORDS WHAT
boots()
{
	guest "$1" 512M 1 "$2"
	ok "$3 powers off with status 0 (it was $rc)" [ $rc = 0 ]
	ok "$3 boots to user space" grep -q "^cleave guest: Linux $release, up" $out
	ok "$3 runs its programs" grep -q "^cleave guest: all is well" $out
	ok "$3 does not complain" quiet
}

# Where interrupts come another way than by x2APIC and I/O APIC: the 8259A pair,
# with and without the local APIC, the 8254 as the clock. One where it takes long.
ways="noapic noapic,nolapic nolapic nolapic_timer nox2apic"
! grep -qw vmx /proc/cpuinfo || ways=noapic,nolapic
set -- "$CLEAVE_GUESTS"/*/vmlinuz
echo "1..$(($# * 5 + $(echo $ways | wc -w) * 4))"
for kernel; do
	release=${kernel%/vmlinuz}
	release=${release##*/}
	boots "$kernel" "" "$release"
	ok "$release knows that it is a guest" paravirtual 1
done
kernel=$1
release=${kernel%/vmlinuz}
release=${release##*/}
for way in $ways; do
	words=$(echo $way | tr , ' ')
	boots "$kernel" "$words" "$release $words"
done
