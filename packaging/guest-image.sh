#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make guest-image: Debian 12 as a guest's disk, and the kernels in it; setup.sh image
# has been run.
#   guest-image.sh [DIR]    default: build/guest-image
# DIR gets debian.raw, a disk with GRUB for a BIOS and one ext4 file system, and for each of
# its kernels DIR/cloud and DIR/generic with vmlinuz, initrd and release. A debian.raw
# that is there stays if it was made by the same recipe: a guest may have written to it.
# The clean one is kept below build/cache by the recipe's hash.
#
# Root is not needed where the user has a range in /etc/subuid, as Debian gives one.

set -u
export LC_ALL=C
top=$(cd "$(dirname "$0")/.." && pwd)
here=$top/packaging/guest-image
cache=$top/build/cache
out=${1:-$top/build/guest-image}
. "$here/recipe.sh"

die()
{
	echo "guest-image: $*" >&2
	exit 1
}

# The image of what is written here, and of nothing else.
recipe_hash()
{
	(cd "$top/packaging" && find guest-image guest-image.sh -type f ! -name '*~' -exec sha256sum {} + | sort) |
		sha256sum | cut -c1-12
}

# as_owner CMD...: root, or somebody who is root among files of their own.
as_owner()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		mmdebstrap --unshare-helper "$@"
	fi
}

# step WHAT CMD...: a line when it is done, with its time; its output only if it fails.
step()
{
	local what=$1 start=$SECONDS

	shift
	printf '%s ... ' "$what"
	if ! "$@" >"$tmp/log" 2>&1 </dev/null; then
		echo failed
		tail -n 30 "$tmp/log" >&2
		die "$what: failed; what it said last is above"
	fi
	echo "$((SECONDS - start)) s"
}

may_build()
{
	local free

	command -v mmdebstrap mke2fs sfdisk >/dev/null || die "no mmdebstrap, mke2fs or sfdisk: selftests/hosts/setup.sh image"
	[ "$(id -u)" = 0 ] || grep -q "^\($(id -un)\|$(id -u)\):" /etc/subuid 2>/dev/null ||
		die "$(id -un) has no range in /etc/subuid: sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 $(id -un), or run this as root"
	free=$(df --output=avail -k "$cache" | tail -n 1)
	[ "$free" -ge 4000000 ] || die "$cache has $((free / 1024)) MiB free, and 4000 are needed"
}

root_file_system()
{
	SOURCE_DATE_EPOCH=$epoch mmdebstrap --variant=minbase --include="$packages" \
		--essential-hook="tar-in $tmp/files.tar /" \
		--essential-hook='echo grub-pc grub-pc/install_devices_empty boolean true | chroot "$1" debconf-set-selections' \
		--customize-hook="$here/customize" \
		"$suite" "$tmp/root.tar"
}

# mke2fs takes the times of an inode's last use and change from the copy that it reads,
# which is of now: all of them are set. debugfs says a line for what it cannot do.
times()
{
	local i used

	used=$(dumpe2fs -h root.ext4 | awk '/^Inode count:/ { all = $3 } /^Free inodes:/ { print all - $3 }')
	for i in 2 $(seq 11 "$used"); do
		printf "sif <$i> %s\n" "ctime @$epoch" "ctime_extra 0" "atime @$epoch" "atime_extra 0"
	done >times
	printf '%s\n' "set_current_time @$epoch" "ssv kbytes_written 0" "ssv wtime @$epoch" >>times
	debugfs -w -f times root.ext4 2>&1 | grep -v '^debugfs'
	e2fsck -fn root.ext4
}

file_system()
{
	truncate -s $((size * 1048576 - root_at * 512 - 1048576)) "$tmp/root.ext4" || return
	# Root among files of their own is another user here.
	[ "$(id -u)" = 0 ] || chmod 777 "$tmp" && chmod a+rw "$tmp/root.ext4" "$tmp/root.tar" || return
	as_owner bash -eu -c '
		mkdir root
		tar -x -f root.tar -C root --exclude="./dev/*" --numeric-owner
		E2FSPROGS_FAKE_TIME=$1 mke2fs -q -t ext4 -d root -L debian -U "$2" -m 1 \
			-E "hash_seed=$2,lazy_itable_init=0,lazy_journal_init=1,root_owner=0:0" root.ext4
		chmod -R go+rX root/boot
		cp root/boot/vmlinuz-* root/boot/initrd.img-* root/boot/grub/i386-pc/boot.img root/boot/grub/i386-pc/core.img .
		rm -rf root' - "$epoch" "$uuid"
}

# little_endian NUMBER: in 8 bytes.
little_endian()
{
	local i hex=

	for i in 0 8 16 24 32 40 48 56; do
		hex+=$(printf '\\x%02x' $(($1 >> i & 255)))
	done
	printf "$hex"
}

# at FILE OFFSET: what comes, there.
at()
{
	dd of="$1" oflag=seek_bytes seek="$2" conv=notrunc bs=64k status=none
}

# What grub-bios-setup does: the boot sector has at 0x5c where core.img begins, whose first
# sector has at its end, in the first of its lists of blocks, where it goes on.
disk()
{
	[ "$(stat -c %s core.img)" -le $(((root_at - core_at) * 512)) ] && truncate -s "${size}M" debian.raw &&
		sfdisk -q --no-reread debian.raw <<-END &&
			label: gpt
			label-id: $disk_uuid
			unit: sectors
			start=$core_at, size=$((root_at - core_at)), type=21686148-6449-6E6F-744E-656564454649, uuid=$core_uuid, name=grub
			start=$root_at, size=$((size * 2048 - root_at - 2048)), type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, uuid=$uuid, name=debian
		END
		little_endian $core_at | at boot.img 92 && little_endian $((core_at + 1)) | at core.img 500 &&
		head -c 440 boot.img | at debian.raw 0 && at debian.raw $((core_at * 512)) <core.img &&
		dd if=root.ext4 of=debian.raw bs=1M seek=$((root_at / 2048)) conv=sparse,notrunc status=none && rm root.ext4
}

# The kernels beside the image, by what they are for.
kernels()
{
	local image release dir

	for image in "$tmp"/vmlinuz-*; do
		release=${image#*/vmlinuz-}
		case $release in
		*-cloud-*) dir=$tmp/result/cloud ;;
		*)	dir=$tmp/result/generic ;;
		esac
		mkdir -p "$dir" && cp "$image" "$dir/vmlinuz" && cp "$tmp/initrd.img-$release" "$dir/initrd" &&
			echo "$release" >"$dir/release" || return
	done
	cp --sparse=always "$tmp/debian.raw" "$tmp/result/" && [ -e "$tmp/result/cloud/initrd" ] &&
		[ -e "$tmp/result/generic/initrd" ]
}

build()
{
	tmp=$(mktemp -d "$cache/guest-image.XXXXXX") && trap '[ ! -e "$tmp/root" ] || as_owner rm -rf "$tmp/root"; rm -rf "$tmp"' EXIT ||
		die "nothing can be written to $cache"
	mkdir "$tmp/result"
	cd "$tmp" || exit 1
	tar -c -C "$here/files" --sort=name --owner=0:0 --group=0:0 --mtime="@$epoch" --mode=u=rwX,go=rX -f files.tar . ||
		exit 1
	step "downloading and unpacking Debian 12" root_file_system
	step "making the file system" file_system
	step "setting its times" times
	step "making the disk" disk
	step "taking out the kernels" kernels
	rm -rf "$cache"/guest-image-????????????
	mv "$tmp/result" "$kept" || exit 1
}

hash=$(recipe_hash)
kept=$cache/guest-image-$hash
mkdir -p "$cache" "$out" && out=$(cd "$out" && pwd) || exit 1
exec {lock}>"$cache/guest-image.lock" && flock "$lock" || exit 1
if [ ! -e "$kept/debian.raw" ]; then
	may_build
	build
fi
if [ "$(cat "$out/recipe" 2>/dev/null)" = "$hash" ] && [ -e "$out/debian.raw" ]; then
	echo "$out/debian.raw is there; remove it to have a fresh one"
else
	rm -rf "$out/recipe" "$out/debian.raw" "$out/cloud" "$out/generic"
	cp -r --sparse=always "$kept"/* "$out/" && echo "$hash" >"$out/recipe" || die "$out: cannot be written"
fi
du -h --apparent-size "$out"/debian.raw "$out"/*/vmlinuz "$out"/*/initrd
du -h "$out"/debian.raw | sed 's/$/ (on the disk)/'
