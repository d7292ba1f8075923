#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# guest-initramfs.sh FILE: what Debian's kernel boots to as a guest: busybox and guest-init.
set -u
. "$(dirname "$0")/common.sh"
[ $# = 1 ] || die "usage: guest-initramfs.sh FILE"
tree=$(mktemp -d) || exit 1
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree"/{bin,dev,proc,sys,tmp} &&
	cp "$(command -v busybox)" "$tree/bin/busybox" &&
	cp "$top/selftests/hosts/guest-init" "$tree/init" || exit 1
(cd "$tree" && find . | cpio -o -H newc --quiet | gzip -1) >"$1.new" && mv "$1.new" "$1"
