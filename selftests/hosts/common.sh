# SPDX-License-Identifier: GPL-2.0
# What the scripts of this folder share. To be sourced.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$top/build
cache=$build/cache
kernels=$cache/kernels
source=$cache/linux-source-6.1
bare=$cache/bare
installer=$cache/installer

die()
{
	echo "${0##*/}: $*" >&2
	exit 1
}

# headers_of SERIES: the Debian package that brings the headers of its newest
# kernel. SERIES: 6.1 (Debian's "cloud" flavour), 6.1-rt, 6.1-amd64; 6.12 alike.
headers_of()
{
	local flavour=cloud-amd64

	case $1 in
	*-rt)		flavour=rt-amd64 ;;
	*-amd64)	flavour=amd64 ;;
	esac
	case ${1%%-*} in
	6.1)	echo "linux-headers-$flavour" ;;
	*)	echo "linux-headers-${1%%-*}-$flavour" ;;
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

# headers_dir RELEASE: what modules for that kernel are built against; a debug
# kernel is its own.
headers_dir()
{
	local dir

	for dir in "/usr/src/linux-headers-$1" "$kernels/$1" "/lib/modules/$1/build"; do
		[ ! -e "$dir/Makefile" ] || break
	done
	echo "$dir"
}

# module_build KIND RELEASE [MAKE-ARGUMENT...]: the module for that kernel in
# build/KIND/RELEASE, from links to the sources, so that builds for two kernels
# do not undo each other. What make says is the output. KIND coverage: with its
# lines counted.
module_build()
{
	local dir=$build/$1/$2 kind=$1 headers src lock rc

	headers=$(headers_dir "$2")
	shift 2
	mkdir -p "$build"
	exec {lock}>"$build/.lock" && flock "$lock"	# two builds in one clone
	mkdir -p "$dir"
	find "$dir" -xtype l -delete
	for src in Kbuild uapi kmod/Kbuild $(cd "$top" && find kmod -name '*.[chS]' ! -name '*.mod.c'); do
		mkdir -p "$dir/$(dirname "$src")"
		[ -e "$dir/$src" ] || ln -s "$top/$src" "$dir/$src" || return
	done
	if [ "$kind" = coverage ]; then
		rm -f "$dir/kmod/Kbuild"
		cat "$top/kmod/Kbuild" "$top/selftests/coverage/module.kbuild" >"$dir/kmod/Kbuild"
		ln -sf "$top"/selftests/coverage/{gcov.h,coverage_first.c,coverage_last.c} "$dir/kmod/"
	fi
	make --no-print-directory -C "$headers" M="$dir" "$@" modules 2>&1
	rc=$?
	exec {lock}>&-
	return $rc
}

# test_module_build NAME RELEASE: the module of selftests/NAME for that kernel, in
# build/NAME-module/RELEASE.
test_module_build()
{
	local dir=$build/$1-module/$2

	mkdir -p "$dir" && ln -sf "$top/selftests/$1"/* "$dir/" &&
		make --no-print-directory -C "$(headers_dir "$2")" M="$dir" KMOD="$top/kmod" modules 2>&1
}

# copy_libs TREE PROGRAM: the shared libraries of PROGRAM, at the same paths.
copy_libs()
{
	local lib

	for lib in $(ldd "$2" | grep -o '/[^ ]*'); do
		mkdir -p "$1$(dirname "$lib")" && cp -L "$lib" "$1$lib" || return
	done
}
