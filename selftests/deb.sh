#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The Debian packages: built twice, and looked at in a clean Debian 12, where they are
# installed, upgraded and purged, and nothing stays. TAP; setup.sh check has been run.
# Needs no test host: the module is built there, not loaded. The Debian 12 is a root
# file system that mmdebstrap makes once, with what apt will ask for in its cache, so
# that nothing is downloaded afterwards; build/cache has it by the hash of its recipe.

set -u
export LC_ALL=C
. "$(dirname "$0")/hosts/common.sh"
work=$build/deb-test
root=$work/root
n=0 failed=0

# In the clean system, and what the packages and what they recommend bring there.
base=systemd,udev,kmod
downloads="dkms openssl libjson-c5 libzydis4.0 liburing2 seabios"

# result STATUS NAME [LOG]
result()
{
	n=$((n + 1))
	if [ "$1" = 0 ]; then
		echo "ok $n - $2"
		return
	fi
	failed=$((failed + 1))
	[ -z "${3-}" ] || tail -n 40 "$3" | sed 's/^/# /'
	echo "not ok $n - $2"
}

# check NAME CMD...: its output only if it fails.
check()
{
	local name=$1

	shift
	"$@" >"$work/log" 2>&1 </dev/null
	result $? "$name" "$work/log"
}

# as_owner CMD...: with the rights of the root of that file system.
as_owner()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	else
		mmdebstrap --unshare-helper "$@"
	fi
}

# inside CMD...: in the file system, without a network, and without the right to load
# a module, as its kernel may be the one that runs here.
inside()
{
	as_owner unshare --mount --pid --net --ipc --uts --fork --kill-child bash -c '
		set -e
		mount -t proc proc "$0/proc"
		mount -t tmpfs -o mode=755 tmpfs "$0/dev"
		for d in null zero full random urandom tty; do
			: >"$0/dev/$d"
			mount --bind "/dev/$d" "$0/dev/$d"
		done
		ln -s /proc/self/fd "$0/dev/fd"
		exec setpriv --bounding-set -sys_module,-sys_boot,-sys_rawio --inh-caps -sys_module,-sys_boot,-sys_rawio \
			chroot "$0" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"' \
		"$root" "$@"
}

# The file system's tar, made if need be.
debian()
{
	local recipe hash tar

	recipe=(--variant=minbase --include="$base" --skip=cleanup/apt
		--customize-hook="chroot \"\$1\" apt-get -q -y -o APT::Install-Recommends=1 --download-only install $downloads" bookworm)
	hash=$(echo "${recipe[*]}" | sha256sum | cut -c1-12)
	tar=$cache/debian-12-$hash.tar
	if [ ! -e "$tar" ]; then
		echo "# making a clean Debian 12, once" >&2
		mkdir -p "$cache"
		mmdebstrap --quiet "${recipe[@]}" "$tar.$$.tar" >"$work/mmdebstrap" 2>&1 ||
			{ tail -n 20 "$work/mmdebstrap"; rm -f "$tar.$$.tar"; return 1; } >&2
		rm -f "$cache"/debian-12-????????????.tar
		mv "$tar.$$.tar" "$tar" || return
	fi
	echo "$tar"
}

fresh_root()
{
	local tar

	tar=$(debian) || return
	# Root among files of their own is another user here.
	[ "$(id -u)" = 0 ] || chmod 777 "$work" || return
	as_owner rm -rf "$root" && as_owner mkdir "$root" && as_owner tar -x -C "$root" -f "$tar" --exclude=./dev/*
}

# Each file by name, kind, mode, owner and content. No part of it is what others write
# down of all that they do, and keep: apt and dpkg their records, the user database its
# backups, depmod its index of a kernel whose image is not here to take it along, and
# DKMS, purged or not, the key that a machine's firmware may know.
manifest()
{
	as_owner bash -c '
		cd "$0" && find . \( -path ./proc -o -path ./dev -o -path ./sys -o -path ./tmp -o -path ./debs \
			-o -path ./var/log -o -path ./var/cache -o -path ./var/lib/apt \) -prune -o \
			-not -path "./var/lib/dpkg/*" -not -path "./etc/*-" \
			-printf "%y %m %U:%G %p %l\n" -a -type f -exec sha256sum {} \; ' "$root" |
		grep -vE ' \./(usr/lib/modules(/[^/ ]+(/modules\.[^/ ]+)?)?|var/lib/dkms(/mok\.(key|pub))?) ?$' | sort
	inside dpkg-query -W -f '${db:Status-Abbrev} ${Package} ${Version}\n'
}

same_as_tar_ball()
{
	local tree=$work/elsewhere

	rm -rf "$tree" && mkdir -p "$tree/cleave-0" || return
	(cd "$top" && packaging/deb.sh --sources | tar -c --mtime="@$(packaging/deb.sh --epoch)" -T -) |
		tar -x -C "$tree/cleave-0" || return
	(
		umask 077
		cd / && TZ=Asia/Tokyo LANG=C.UTF-8 LC_ALL=C.UTF-8 CFLAGS=-O0 HOME=/nowhere GIT_CEILING_DIRECTORIES=$tree \
			"$tree/cleave-0/packaging/deb.sh"
	) || return
	for deb in "$work"/one/*.deb; do
		cmp "$deb" "$tree/cleave-0/build/deb/${deb##*/}" || return
	done
}

later()
{
	SOURCE_DATE_EPOCH=$(("$("$top/packaging/deb.sh" --epoch)" + 1)) "$top/packaging/deb.sh" "$work/two"
}

# install DIR: both packages, as a user would, with nobody to answer.
install()
{
	as_owner rm -rf "$root/debs" && as_owner mkdir "$root/debs" && as_owner cp "$1"/*.deb "$root/debs" &&
		inside sh -c 'apt-get -q -y -o Acquire::Retries=0 -o Dpkg::Options::=--force-unsafe-io install /debs/*.deb'
}

version()
{
	dpkg-deb -f "$1"/cleave_*.deb Version
}

# The module of that build alone, for the kernel whose headers came along.
module()
{
	local release ko version

	version=$(version "$1")
	release=$(inside sh -c 'cd /usr/src && ls -d linux-headers-*-amd64') && release=${release#linux-headers-} || return
	inside dkms status | tee "$work/status"
	[ "$(cat "$work/status")" = "cleave/$version, $release, x86_64: installed" ] || return
	ko=$(cd "$root" && find usr/lib/modules/ -name 'cleave.ko*')
	[[ $ko = usr/lib/modules/$release/updates/dkms/cleave.ko* ]] || { echo "modules: $ko"; return 1; }
	inside modinfo -k "$release" cleave | tee "$work/modinfo"
	grep -q "^vermagic: *$release " "$work/modinfo" && grep -q '^license: *GPL$' "$work/modinfo" &&
		grep -q '^signer: *DKMS' "$work/modinfo" && grep -q '^name: *cleave$' "$work/modinfo" &&
		grep -q '^alias\|^depends: *$' "$work/modinfo"
}

tool()
{
	[ "$(inside cleave --version)" = "cleave $(version "$1")" ] || return
	inside cleave doctor --json >"$work/doctor"
	[ $? -le 1 ] && grep -q '"checks"' "$work/doctor" && inside cleave --help | grep -q doctor && inside cleave types --json | grep -q '"name":"small"' || return
	[ -e "$root/usr/share/man/man1/cleave.1.gz" ] && [ -e "$root/usr/share/doc/cleave/explain.rst" ] &&
		inside getent group cleave && grep -q 'GROUP="cleave"' "$root"/usr/lib/udev/rules.d/*-cleave.rules
}

# Nothing waits for an answer; what is to be done is said where it is needed.
secure_boot_said()
{
	grep -q 'mokutil --import /var/lib/dkms/mok.pub' "$work/installed"
}

secure_boot_not_said()
{
	! grep -q 'Secure Boot' "$work/upgraded"
}

secure_boot()
{
	local vars=$root/sys/firmware/efi/efivars

	as_owner mkdir -p "$vars"
	printf '\6\0\0\0\'"$1" >"$work/variable"
	as_owner cp "$work/variable" "$vars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
}

purged()
{
	inside apt-get -q -y purge cleave cleave-dkms || return
	! inside find / -xdev \( -path /proc -o -path /debs -o -path /dev -o -path /var/cache/apt \) -prune -o -iname '*cleave*' -print | grep . &&
		! inside getent group cleave && ! inside dkms status | grep .
}

# What came along goes too; sudo asks for that in its own way.
as_before()
{
	inside dpkg-query -W -f '${Package}\n' | sort >"$work/packages.after"
	inside env SUDO_FORCE_REMOVE=yes apt-get -q -y -o Dpkg::Options::=--force-unsafe-io purge \
		$(comm -13 "$work/packages.before" "$work/packages.after") || return
	manifest >"$work/after"
	diff "$work/before" "$work/after"
}

echo "TAP version 13"
mkdir -p "$work"
trap 'as_owner rm -rf "$root"; rm -rf "$work/elsewhere"' EXIT
check "make deb, and lintian has nothing to say" "$top/packaging/deb.sh" "$work/one"
check "the same packages, bit for bit, from a tar ball, elsewhere" same_as_tar_ball
check "later ones" later
check "a clean Debian 12" fresh_root
if [ $failed = 0 ]; then
	manifest >"$work/before"
	inside dpkg-query -W -f '${Package}\n' | sort >"$work/packages.before"
	secure_boot 1
	check "both are installed by apt, with Secure Boot on, and nobody there" install "$work/one"
	cp "$work/log" "$work/installed"
	check "Secure Boot is explained" secure_boot_said
	check "DKMS has built and signed the module" module "$work/one"
	check "the tool, its group, its rule, its pages" tool "$work/one"
	secure_boot 0
	check "both are upgraded" install "$work/two"
	cp "$work/log" "$work/upgraded"
	check "Secure Boot is not spoken of where it is off" secure_boot_not_said
	check "the module, after that" module "$work/two"
	check "the tool, after that" tool "$work/two"
	check "both are purged, and nothing has their name" purged
	check "the file system is as it was" as_before
fi
echo "1..$n"
[ $failed = 0 ]
