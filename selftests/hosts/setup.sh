#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Installs what is missing, from Debian 12 alone; silent and quick if nothing is.
#   setup.sh svm|vmx|both|local|check|debug|matrix|deb|chroot|image|guest...
# svm, vmx, both, local: what that test host needs, and to build and boot a guest.
# check: what the tests need beside it; debug: what builds a kernel;
# matrix: each of Debian's kernels that the module is built for; deb: what builds
# Debian packages; chroot: what makes Debian's root file systems, image: and a disk
# of one; and for these three nothing for hosts. guest: what boots that disk, and Debian's
# installer.
#
# Kernels that are booted, as test host or guest, need not be this machine's:
# their packages are downloaded and unpacked to build/cache/, so that nothing
# is added to its boot menu and no initramfs is made for them.

set -u
. "$(dirname "$0")/common.sh"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

packages=(gcc make libc6-dev pkg-config libzydis-dev libjson-c-dev liburing-dev libslirp-dev zlib1g-dev)
series=()
matrix=(6.1-amd64 6.1-rt 6.12-amd64 6.12-rt)
tests=
guest=
for word; do
	case $word in
	deb)	packages+=(debhelper dh-dkms dpkg-dev lintian)
		continue ;;
	chroot|image) packages+=(mmdebstrap e2fsprogs fdisk)
		[ "$(id -u)" = 0 ] || packages+=(uidmap)
		continue ;;
	esac
	[ ${#series[@]} != 0 ] || packages+=(linux-headers-cloud-amd64 kmod cpio busybox-static) series=(6.1)
	case $word in
	svm)	packages+=(qemu-system-x86) ;;
	vmx|both) packages+=(qemu-system-x86 bochs bochsbios vgabios isolinux syslinux-common xorriso) ;;
	local)	[ -e "/lib/modules/$(uname -r)/build" ] || packages+=("linux-headers-$(uname -r)") ;;
	check)	packages+=(g++ clang libclang-rt-14-dev llvm-14 sparse perl xz-utils linux-headers-6.12-cloud-amd64
			   stress-ng fish zsh systemd xorriso)
		series+=(6.12)
		tests=1 ;;
	debug)	packages+=(bc bison flex libelf-dev xz-utils) ;;
	guest)	packages+=(mmdebstrap e2fsprogs fdisk seabios)
		[ "$(id -u)" = 0 ] || packages+=(uidmap)
		guest=1 ;;
	matrix)	for s in "${matrix[@]}"; do
			packages+=("$(headers_of "$s")")
		done
		series+=(6.1-rt) ;;
	*)	die "$word: there are svm, vmx, both, local, check, debug, matrix, deb, chroot, image and guest" ;;
	esac
done

as_root()
{
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo --preserve-env=DEBIAN_FRONTEND,LC_ALL "$@"
	else
		die "'$*' needs root: run this as root, or install sudo"
	fi
}

# quietly WHAT CMD...: its output only if it fails.
quietly()
{
	local what=$1 log rc
	shift
	log=$(mktemp)
	"$@" >"$log" 2>&1 </dev/null
	rc=$?
	[ $rc = 0 ] || { tail -n 20 "$log" >&2; rm -f "$log"; die "$what failed (status $rc): $*"; }
	rm -f "$log"
}

updated=
apt_update()
{
	[ -n "$updated" ] || quietly "apt-get update" as_root apt-get -q update
	updated=1
}

# Asks dpkg once.
install_packages()
{
	local p have missing=()
	have=$(dpkg-query -W -f '${db:Status-Status}:${Package}\n' "${packages[@]}" 2>/dev/null)
	for p in "${packages[@]}"; do
		grep -qx "installed:$p" <<<"$have" || missing+=("$p")
	done
	[ ${#missing[@]} = 0 ] && return
	echo "installing ${missing[*]}"
	apt_update
	quietly "apt-get install" as_root apt-get -q -y --no-install-recommends install "${missing[@]}"
}

tmp=
new_tmp()
{
	tmp=$(mktemp -d "$cache/tmp.XXXXXX") && chmod 755 "$tmp" || exit 1
}

# fetch DIR PACKAGE[=VERSION]: the .deb to DIR; the lists may be older than the archive.
fetch()
{
	(cd "$1" && apt-get -q download "$2") >/dev/null 2>&1 && return
	apt_update
	(cd "$1" && quietly "apt-get download" apt-get -q download "$2")
}

# The kernel whose headers are installed, unpacked as far as it is booted:
# image, KVM's modules, beside which cleave must live, what shows its MSRs, and vhost-vsock;
# the drivers of virtio that it has as a guest, and those of a disk of Bochs as a host.
get_kernel()
{
	local headers=$1 kver dir version
	kver=$(kernel_of "$headers") || die "$headers names no kernel"
	dir=$kernels/$kver
	[ -e "$dir/modules/vhost_vsock.ko" ] && [ -e "$dir/modules/tun.ko" ] && [ -e "$dir/virtio/virtio_blk.ko" ] &&
		[ -e "$dir/virtio/virtio_net.ko" ] && [ -d "$dir/disk" ] && return
	new_tmp
	version=$(dpkg-query -W -f '${Version}' "linux-headers-$kver")
	echo "fetching linux-image-$kver"
	fetch "$tmp" "linux-image-$kver=$version"
	dpkg-deb --fsys-tarfile "$tmp"/*.deb | tar -x -C "$tmp" --wildcards "./boot/vmlinuz-$kver" \
		'*/kernel/arch/x86/kvm/*' '*/kernel/virt/lib/*' '*/kernel/arch/x86/kernel/msr.ko*' \
		'*/vhost/vhost.ko*' '*/vhost/vhost_iotlb.ko*' '*/vhost/vhost_vsock.ko*' \
		'*/drivers/net/tun.ko*' '*/vmw_vsock/vsock.ko*' '*/vmw_vsock/vmw_vsock_virtio_transport_common.ko*' ||
		die "linux-image-$kver has not the files looked for"
	# The drivers that are modules there: tar complains of the others.
	dpkg-deb --fsys-tarfile "$tmp"/*.deb | tar -x -C "$tmp" --wildcards '*/drivers/virtio/virtio*.ko*' \
		'*/net/virtio_net.ko*' '*/net/net_failover.ko*' '*/core/failover.ko*' '*/block/virtio_blk.ko*' \
		'*/char/virtio_console.ko*' '*/hw_random/virtio-rng.ko*' '*/ata/libata.ko*' '*/ata/ata_piix.ko*' \
		'*/scsi/scsi_common.ko*' '*/scsi/scsi_mod.ko*' '*/scsi/sd_mod.ko*' 2>/dev/null
	[ -n "$(find "$tmp" -name 'virtio_blk.ko*')" ] || die "linux-image-$kver has no virtio_blk.ko"
	# What kvm-amd.ko needs where it knows SEV, as the cloud flavour's does not.
	[[ $kver == *-cloud-* ]] || dpkg-deb --fsys-tarfile "$tmp"/*.deb |
		tar -x -C "$tmp" --wildcards '*/kernel/drivers/crypto/ccp/ccp.ko*' ||
		die "linux-image-$kver has no ccp.ko"
	rm -f "$tmp"/*.deb
	mv "$tmp/boot/vmlinuz-$kver" "$tmp/vmlinuz"
	mkdir -p "$tmp/modules" "$tmp/virtio" "$tmp/disk"
	find "$tmp" \( -name 'virtio*.ko*' -o -name '*failover.ko*' \) -exec mv -t "$tmp/virtio" {} +
	find "$tmp" \( -path '*/ata/*.ko*' -o -path '*/scsi/*.ko*' \) -exec mv -t "$tmp/disk" {} +
	find "$tmp" \( -path "$tmp/virtio" -o -path "$tmp/disk" \) -prune -o -name '*.ko*' -exec mv -t "$tmp/modules" {} +
	find "$tmp/modules" "$tmp/virtio" "$tmp/disk" -name '*.ko.xz' -exec xz -d {} +
	rm -rf "$tmp/boot" "$tmp/lib" "$tmp/usr"
	mkdir -p "$kernels" && rm -rf "$dir" && mv "$tmp" "$dir" || exit 1
}

# Two files of the kernel's tree: kselftest's harness, checkpatch with its word list.
get_source()
{
	local member=./usr/src/linux-source-6.1.tar.xz
	[ -e "$source/scripts/checkpatch.pl" ] && return
	new_tmp
	if [ -e "${member#.}" ]; then
		ln -s "${member#.}" "$tmp/tar.xz"
	else
		echo "fetching linux-source-6.1"
		fetch "$tmp" linux-source-6.1
		dpkg-deb --fsys-tarfile "$tmp"/*.deb | tar -xO "$member" >"$tmp/tar.xz"
	fi
	mkdir "$tmp/source"
	tar -xJf "$tmp/tar.xz" -C "$tmp/source" --strip-components=1 --wildcards \
		'linux-source-6.1/tools/testing/selftests/kselftest*.h' \
		'linux-source-6.1/scripts/checkpatch.pl' 'linux-source-6.1/scripts/spelling.txt' \
		'linux-source-6.1/scripts/const_structs.checkpatch' ||
		die "linux-source-6.1 has not the files looked for"
	mv "$tmp/source" "$source" && rm -rf "$tmp" || exit 1
}

# What starts on the bare machine, of Debian's packages: firmware, what it boots a
# kernel with, and three that are no Linux.
get_bare()
{
	local p
	[ -e "$bare/grub.lkrn" ] && return
	new_tmp
	mkdir "$tmp/deb" "$tmp/bare"
	echo "fetching seabios, iPXE, memtest86+, GRUB"
	for p in seabios qemu-system-data ipxe memtest86+ grub-common grub-pc-bin; do
		fetch "$tmp/deb" $p
	done
	for p in "$tmp"/deb/*.deb; do
		dpkg-deb -x "$p" "$tmp/root" || exit
	done
	cp "$tmp/root/usr/share/seabios/bios.bin" "$tmp/root/usr/share/qemu/linuxboot.bin" \
		"$tmp/root/boot/ipxe.lkrn" "$tmp/root/boot/memtest86+x64.bin" "$tmp/bare" ||
		die "the packages have not the files looked for"
	printf 'serial\nterminal_output serial\necho GRUB is here\nhalt\n' >"$tmp/grub.cfg"
	quietly "grub-mkimage" "$tmp/root/usr/bin/grub-mkimage" -d "$tmp/root/usr/lib/grub/i386-pc" \
		-O i386-pc -p / -c "$tmp/grub.cfg" -o "$tmp/core.img" serial terminal echo halt
	cat "$tmp/root/usr/lib/grub/i386-pc/lnxboot.img" "$tmp/core.img" >"$tmp/bare/grub.lkrn" || exit
	rm -rf "$bare" && mv "$tmp/bare" "$bare" && rm -rf "$tmp" || exit 1
}

# Debian's installer, as it starts from the network.
get_installer()
{
	[ -e "$installer/linux" ] && return
	new_tmp
	echo "fetching debian-installer-12-netboot-amd64"
	fetch "$tmp" debian-installer-12-netboot-amd64
	dpkg-deb --fsys-tarfile "$tmp"/*.deb | tar -x -C "$tmp" --wildcards '*/text/debian-installer/amd64/linux' \
		'*/text/debian-installer/amd64/initrd.gz' || die "debian-installer-12-netboot-amd64 has not the files looked for"
	mkdir "$tmp/installer" && find "$tmp/usr" -type f -exec mv -t "$tmp/installer" {} + || exit
	rm -rf "$installer" && mv "$tmp/installer" "$installer" && rm -rf "$tmp" || exit 1
}

[ "$(. /etc/os-release && echo "${ID-}")" = debian ] ||
	die "setup installs Debian packages, and this is not Debian; see Documentation/testing.rst"
mkdir -p "$cache" || exit 1
trap 'rm -rf "$tmp"' EXIT
install_packages
for s in "${series[@]}"; do
	get_kernel "$(headers_of "$s")"
done
[ -z "$tests" ] || get_source
[ -z "$tests" ] || get_bare
[ -z "$guest" ] || get_installer
