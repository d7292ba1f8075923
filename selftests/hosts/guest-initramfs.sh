#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest-initramfs.sh FILE [PROGRAM...]: what Debian's kernel boots to as a guest: busybox,
# guest-init, and programs with their libraries. $MODULES: a folder of kernel modules to go
# along.
set -u
. "$(dirname "$0")/common.sh"
[ $# -ge 1 ] || die "usage: guest-initramfs.sh FILE [PROGRAM...]"
file=$1
shift
tree=$(mktemp -d) || exit 1
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{bin,dev,proc,sys,tmp} &&
	cp "$(command -v busybox)" "$tree/bin/busybox" &&
	cp "$top/selftests/hosts/guest-init" "$tree/init" && cp "$top/selftests/hosts/guest-net" "$tree/" || exit 1
if [ -n "${MODULES-}" ]; then
	mkdir "$tree/modules" && cp "$MODULES"/*.ko "$tree/modules/" || exit 1
fi
for program; do
	path=$(command -v "$program") || die "$program: not installed; selftests/hosts/setup.sh check"
	cp "$path" "$tree/bin/" && copy_libs "$tree" "$path" || exit 1
done
(cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$file.new" && mv "$file.new" "$file"
