# SPDX-License-Identifier: GPL-2.0
# What the image is made of. To be sourced; its hash, with files/, names the result.

suite=bookworm
packages=systemd-sysv,udev,dbus,systemd-resolved,openssh-server,cloud-init,iproute2,iputils-ping,less,procps
packages+=,linux-image-cloud-amd64,linux-image-amd64,initramfs-tools,zstd,kmod,e2fsprogs,sudo,ca-certificates
# What a BIOS starts, and what makes its menu anew with each kernel.
packages+=,grub-pc

# The time of all files that are newer, and of the file system.
epoch=1767225600
# A sparse file of so many MiB: the last partition and its file system grow with it at boot.
# Where the two partitions begin, in sectors of 512 bytes: what GRUB keeps outside of file
# systems, and all the rest, which ends a MiB before the disk does.
size=3072
core_at=2048
root_at=4096
uuid=c1ea7e00-0000-4000-8000-000000000012
disk_uuid=c1ea7e00-0000-4000-8000-000000000010
core_uuid=c1ea7e00-0000-4000-8000-000000000011
