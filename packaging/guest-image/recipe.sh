# SPDX-License-Identifier: GPL-2.0
# What the image is made of. To be sourced; its hash, with files/, names the result.

suite=bookworm
packages=systemd-sysv,udev,dbus,systemd-resolved,openssh-server,cloud-init,iproute2,iputils-ping,less,procps
packages+=,linux-image-cloud-amd64,linux-image-amd64,initramfs-tools,zstd,kmod,e2fsprogs,sudo,ca-certificates

# The time of all files that are newer, and of the file system.
epoch=1767225600
# A sparse file of this size: the file system grows with it at boot.
size=3G
uuid=c1ea7e00-0000-4000-8000-000000000012
