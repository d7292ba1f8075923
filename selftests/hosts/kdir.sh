#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Prints where kernel headers are: the running kernel's, else the newest installed; nothing if none.
running=/lib/modules/$(uname -r)/build
if [ -e "$running/Makefile" ]; then
	echo "$running"
	exit
fi
for d in /lib/modules/*/build /usr/src/linux-headers-*; do
	[ -e "$d/include/config/kernel.release" ] &&
		echo "$(cat "$d/include/config/kernel.release") $d"
done | sort -V -k1,1 -s | tail -n 1 | cut -d' ' -f2
