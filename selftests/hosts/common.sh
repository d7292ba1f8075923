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

# Time in milliseconds, for what a step took.
now()
{
	local t=${EPOCHREALTIME/[.,]/}

	echo "${t%???}"
}

seconds_since()
{
	local d=$(($(now) - $1))

	echo "$((d / 1000)).$((d % 1000 / 100)) s"
}

# module_build KIND RELEASE [MAKE-ARGUMENT...]: the module for that kernel in
# build/KIND/RELEASE, from links to the sources, so that builds for two kernels
# do not undo each other. What make says is the output.
module_build()
{
	local dir=$build/$1/$2 headers=/usr/src/linux-headers-$2 src lock rc

	shift 2
	mkdir -p "$build"
	exec {lock}>"$build/.lock" && flock "$lock"	# two builds in one clone
	[ -d "$headers" ] || headers=/lib/modules/${dir##*/}/build
	mkdir -p "$dir"
	find "$dir" -xtype l -delete
	for src in Kbuild uapi kmod/Kbuild $(cd "$top" && find kmod -name '*.[chS]' ! -name '*.mod.c'); do
		mkdir -p "$dir/$(dirname "$src")"
		[ -e "$dir/$src" ] || ln -s "$top/$src" "$dir/$src" || return
	done
	make --no-print-directory -C "$headers" M="$dir" "$@" modules 2>&1
	rc=$?
	exec {lock}>&-
	return $rc
}

# poke_build RELEASE: selftests/poke for that kernel, in build/poke/RELEASE.
poke_build()
{
	local dir=$build/poke/$1 headers=/usr/src/linux-headers-$1

	[ -d "$headers" ] || headers=/lib/modules/$1/build
	mkdir -p "$dir" && ln -sf "$top"/selftests/poke/* "$dir/" &&
		make --no-print-directory -C "$headers" M="$dir" KMOD="$top/kmod" modules 2>&1
}

# copy_libs TREE PROGRAM: the shared libraries of PROGRAM, at the same paths.
copy_libs()
{
	local lib

	for lib in $(ldd "$2" | grep -o '/[^ ]*'); do
		mkdir -p "$1$(dirname "$lib")" && cp -L "$lib" "$1$lib" || return
	done
}
