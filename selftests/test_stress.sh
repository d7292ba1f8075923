#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# stress-ng in a guest of more CPUs than the host has: no stall, and nothing that its kernel
# complains of.

. "$CLEAVE_GUESTS/boots.sh"
seconds=20
grep -qw svm /proc/cpuinfo && [ "${PATIENCE:-1}" = 1 ] || seconds=8
set -- "$CLEAVE_GUESTS"/*/vmlinuz
echo "1..4"
guest "$1" 768M 4 "cleave.stress=$seconds" stress
ok "powers off with status 0 (it was $rc)" [ $rc = 0 ]
ok "stress-ng ends well" grep -q "^cleave guest: ok: stress-ng ran $seconds s" $out
ok "the guest is well" grep -q "^cleave guest: all is well" $out
ok "the kernel does not complain" quiet
