#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Builds a debug kernel from Debian's linux-source-6.1, unless it is there, and
# prints its release; what it does goes to stderr.
#   kernel.sh kasan|kcsan
# What is built is kept under $CLEAVE_CACHE (default: $XDG_CACHE_HOME/cleave, or
# ~/.cache/cleave), by the hash of the configuration, the source's version and
# the compiler's; build/cache/kernels/RELEASE, where test hosts look, leads there.

set -u
. "$(dirname "$0")/../hosts/common.sh"
kind=${1-}
case $kind in
kasan|kcsan) ;;
*)	sed -n '4,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
here=$top/selftests/debug
store=${CLEAVE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/cleave}

say() { echo "# $*" >&2; }

# The source as Debian has it, unpacked once a version.
get_tree()
{
	local tmp

	[ -e "$tree/Makefile" ] && return
	say "unpacking linux-source-6.1 $version (1.3 GB) to $tree"
	tmp=$(mktemp -d "$store/tmp.XXXXXX") || return
	(cd "$tmp" && apt-get -q download "linux-source-6.1=$version") >&2 &&
		dpkg-deb --fsys-tarfile "$tmp"/*.deb | tar -xO ./usr/src/linux-source-6.1.tar.xz |
			tar -xJ -C "$tmp" && rm -rf "$tree" && mv "$tmp/linux-source-6.1" "$tree"
	set -- $?
	rm -rf "$tmp"
	return "$1"
}

# A name that the configuration does not have, or that asks for what is off.
lost_options()
{
	local line

	grep -E '^CONFIG_[A-Z0-9_]+=(y|m|-?[0-9]+)$' "$wanted" | while read -r line; do
		grep -qx -- "$line" "$out/.config" || echo "$line"
	done
}

# Two lines a minute tell that it goes on.
make_kernel()
{
	local pid n

	make -C "$tree" O="$out" -j"$(nproc)" bzImage modules >"$out/make.log" 2>&1 &
	pid=$!
	while kill -0 $pid 2>/dev/null; do
		sleep 1
		n=$((${n:-0} + 1))
		[ $((n % 30)) != 0 ] || say "$kind kernel: $(grep -cE '^ +(CC|AS|AR|LD)' "$out/make.log") objects after $n s"
	done
	wait $pid && return
	grep -E 'error|Error' -A 3 "$out/make.log" | tail -n 20 >&2
	return 1
}

# As Debian's kernels are kept: the image, and the modules that a host loads.
# What is left of the build is what modules are built against.
keep()
{
	mkdir -p "$out/modules" &&
		cp "$out/arch/x86/boot/bzImage" "$out/vmlinuz" &&
		find "$out" -path "$out/modules" -prune -o -name '*.ko' -exec cp -t "$out/modules" {} + &&
		strip -g "$out"/modules/*.ko &&
		find "$out" -path "$out/scripts" -prune -o -path "$out/tools" -prune -o \
			\( -name '*.o' -o -name '.*.cmd' -o -name '*.a' -o -name 'vmlinux*' -o -name 'bzImage' \) \
			! -name vmlinuz -type f -exec rm -f {} +
}

mkdir -p "$store" || exit 1
version=$(apt-cache madison linux-source-6.1 2>/dev/null | awk '{ print $3; exit }')
[ -n "$version" ] || die "apt knows no linux-source-6.1: apt-get update"
hash=$(cat "$here/config" "$here/config-$kind" <(echo "$version"; gcc -dumpfullversion) | sha256sum | cut -c1-12)
tree=$store/linux-source-6.1-$version
out=$store/$kind-$hash
wanted=$out/wanted

if [ ! -e "$out/vmlinuz" ]; then
	get_tree || die "no source for a kernel"
	rm -rf "$out" && mkdir -p "$out" || exit 1
	cat "$here/config" "$here/config-$kind" - >"$wanted" <<-END
		CONFIG_LOCALVERSION="-cleave-$kind"
	END
	KCONFIG_ALLCONFIG=$wanted make -s -C "$tree" O="$out" allnoconfig >&2 || die "no configuration"
	lost=$(lost_options)
	[ -z "$lost" ] || die "$kind: the kernel's configuration has lost" $lost
	start=$(now)
	say "building the $kind kernel: 10 to 35 minutes on two processors, once; its log is $out/make.log"
	make_kernel && keep || die "the $kind kernel was not built: $out/make.log"
	say "the $kind kernel took $(seconds_since "$start")"
fi
release=$(cat "$out/include/config/kernel.release") || exit 1
mkdir -p "$kernels" && ln -sfn "$out" "$kernels/$release" && echo "$release"
