#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Debian 12 from a disk as a guest of cleave, in test hosts: the image of make guest-image
# by its own boot loader, by its cloud and its generic kernel, and Debian's installer. On
# VT-x, which Bochs emulates, the cloud kernel alone. TAP; HOST=both|svm|vmx;
# setup.sh guest and that host has been run. GUEST_BOOTS: which of disk, cloud, generic,
# installer.

set -u
export LC_ALL=C
. "$(dirname "$0")/hosts/common.sh"
tests=$top/selftests
work=$build/debian-test
kver=$(release_of 6.1)
n=0 failed=0

result()
{
	n=$((n + 1))
	[ "$1" = ok ] || failed=$((failed + 1))
	echo "$1 $n - $2"
}

# check NAME CMD...: its output only if it fails.
check()
{
	local name=$1

	shift
	if "$@" >"$work/log" 2>&1 </dev/null; then
		result ok "$name"
	else
		sed 's/^/# /' "$work/log" | tail -n 40
		result "not ok" "$name"
		return 1
	fi
}

# overlay KIND BOOTS SECONDS
overlay()
{
	local tree=$work/$1 kind

	rm -rf "$tree"
	mkdir -p "$tree"/{bin,guest/installer,modules,usr/share/seabios} &&
		cp "$tests/hosts/run-debian" "$tree/test" && cp "$build/module/$kver/kmod/cleave.ko" "$tree/" &&
		cp "$top/userspace-tool/cleave" "$tree/bin/" && copy_libs "$tree" "$top/userspace-tool/cleave" &&
		cp /usr/share/seabios/bios.bin "$tree/usr/share/seabios/" &&
		echo "$2" >"$tree/boots" && echo "$3" >"$tree/patience" || return
	for kind in cloud generic; do
		cp -r "$work/image/$kind" "$tree/guest/" || return
	done
	[[ $2 != *installer* ]] || cp "$installer"/* "$tree/guest/installer/" || return
	[ "$1" != vmx ] || cp "$kernels/$kver"/disk/* "$tree/modules/"
}

# Bochs counts in cylinders of 16 heads and 63 sectors.
own_disk()
{
	cp --sparse=always "$work/image/debian.raw" "$work/$1.raw" || return
	[ "$1" != vmx ] || truncate -s %$((16 * 63 * 512)) "$work/$1.raw"
}

# A result a line; what it says beside, to the log of the test.
consume()
{
	local line

	while IFS= read -r line; do
		line=${line%$'\r'}
		case $line in
		'ok - '*)	result ok "$kind: ${line#ok - }" ;;
		'not ok - '*)	result "not ok" "$kind: ${line#not ok - }" ;;
		*)		echo "# ${line#\# }" ;;
		esac
	done
}

# run KIND BOOTS SECONDS
run()
{
	local kind=$1

	check "$kind: the test host's tree" overlay "$@" && check "$kind: its disk" own_disk "$kind" || return
	consume < <(HOST_DISK=$work/$kind.raw "$tests/hosts/host.sh" "$kind" -k "$kver" -s 1 -m 2048 -t 7200 \
		-l "$build/debian-$kind.log" "$work/$kind" 2>&1 </dev/null; echo $? >"$work/status")
	check "$kind: the test host ends well" grep -qx 0 "$work/status"
	check "$kind: what the guests have left is sound" e2fsck -fn "$work/$kind.raw?offset=$((root_at * 512))"
	rm -rf "$work/$kind.raw" "${work:?}/$kind"
}

echo "TAP version 13"
rm -rf "$work"
mkdir -p "$work"
trap 'rm -rf "$work"' EXIT
. "$top/packaging/guest-image/recipe.sh"
check "the tool" make -C "$top/userspace-tool"
check "the module" module_build module "$kver"
check "make guest-image" "$top/packaging/guest-image.sh" "$work/image"
if [ $failed = 0 ]; then
	case ${HOST:-both} in
	both|svm) run svm "${GUEST_BOOTS:-disk cloud generic installer}" 600 ;;
	esac
	case ${HOST:-both} in
	both|vmx) run vmx "${GUEST_BOOTS:-cloud}" 3600 ;;
	esac
fi
echo "1..$n"
[ $failed = 0 ]
