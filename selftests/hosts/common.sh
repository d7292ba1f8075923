# SPDX-License-Identifier: GPL-2.0
# What the scripts of this folder share. To be sourced.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build
cache=$build/cache
kernels=$cache/kernels
source=$cache/linux-source-6.1

die()
{
	echo "${0##*/}: $*" >&2
	exit 1
}

# headers_of SERIES: the Debian package that brings its newest kernel's headers.
headers_of()
{
	case $1 in
	6.1)	echo linux-headers-cloud-amd64 ;;
	*)	echo "linux-headers-$1-cloud-amd64" ;;
	esac
}

# kernel_of PACKAGE: the release that it depends on.
kernel_of()
{
	dpkg-query -W -f '${Depends}\n' "$1" 2>/dev/null |
		grep -o 'linux-headers-[^ ,]*' | sed 's/^linux-headers-//;q' | grep .
}

# release_of SERIES: what `uname -r` says in it.
release_of()
{
	kernel_of "$(headers_of "$1")"
}
