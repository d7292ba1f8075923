#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make run: from nothing to the shell of a guest.
#   run.sh svm|vmx|local
# With a terminal, keys reach the guest's shell and poweroff ends it; without
# one the guest greets, tries its machine a little, and powers off. Returns 0
# if the guest has powered itself off.

set -u
. "$(dirname "$0")/common.sh"
hosts=$top/selftests/hosts
kind=${1-svm}
mkdir -p "$build"
work=$(mktemp -d "$build/run.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
overlay=$work/tree
log=$work/log

say()
{
	printf '%-7s %s\n' "$1" "$2"
}

# step NAME WHAT CMD...: a line when it is done, with its time.
step()
{
	local name=$1 what=$2 t rc
	shift 2
	t=$(now)
	"$@"
	rc=$?
	[ $rc = 0 ] || { say "$name" "$what: failed" >&2; exit 1; }
	say "$name" "$what: $(seconds_since "$t")"
}

# As a build should be: silent, unless it fails.
build_all()
{
	local out=$work/build.log

	{ module_build module "$kver" && make --no-print-directory -C "$top" tool; } >"$out" 2>&1 ||
		{ tail -n 30 "$out" >&2; return 1; }
}

make_overlay()
{
	mkdir -p "$overlay"/{bin,guest} &&
		cp "$hosts/run-guest" "$overlay/test" &&
		cp "$build/module/$kver/kmod/cleave.ko" "$overlay/" &&
		cp "$top/userspace-tool/cleave" "$overlay/bin/" &&
		copy_libs "$overlay" "$top/userspace-tool/cleave" &&
		cp "$kernels/$guest/vmlinuz" "$overlay/guest/" &&
		"$hosts/guest-initramfs.sh" "$overlay/guest/initramfs" &&
		echo "$guest" >"$overlay/guest/release" &&
		echo "$append" >"$overlay/guest/append"
}

case $kind in
svm|vmx|local) ;;
*)	die "HOST=$kind: there are svm, vmx and local" ;;
esac

if [ -t 0 ] && [ -t 1 ]; then
	options=(-c)
	append="quiet cleave.console=$(stty size | tr ' ' ,),${TERM:-linux}"
else
	options=(-t 900)
	append="quiet cleave.auto"
fi

start=$(now)
step setup "Debian packages, kernel and headers" "$hosts/setup.sh" "$kind"
guest=$(release_of 6.1) || die "no kernel to boot"
[ "$kind" = local ] && kver=$(uname -r) || kver=$guest
step build "cleave.ko for Linux $kver, and cleave" build_all
make_overlay || die "cannot make the tree for the test host"
if [ "$kind" = local ]; then
	say host "this machine, Linux $kver"
else
	say host "$("$hosts/host.sh" "$kind" -d): starting"
fi

"$hosts/host.sh" "$kind" -k "$kver" -m 1536 -l "$log" "${options[@]}" "$overlay"
rc=$?
case $rc in
0)	say done "the guest has powered itself off; $(seconds_since "$start") in all" ;;
124)	say done "failed: the test host's messages are above" >&2 ;;
*)	[ ! -s "$log" ] || {
		cp "$log" "$build/run.log"
		echo "the test host's kernel said (all of it is in build/run.log):"
		tr -d '\r' <"$log" | sed '1,/test host: up/d; /test host: exit/,$d' | head -n 50
	} >&2
	say done "failed with status $rc" >&2 ;;
esac
exit "$rc"
