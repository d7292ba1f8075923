#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make deb: cleave-dkms and cleave as Debian packages; setup.sh deb has been run.
#   deb.sh [DIR]      builds to DIR, default build/deb, and has lintian look at them
#   deb.sh --sources  the files that they are built from
#   deb.sh --epoch    the time that they bear: the last commit's; where there is no
#                     repository the newest file's, which in a tar ball of git's is that
# The version is changelog's with this time, so that what is built later is newer to apt.
# Nothing else of where, when and by whom it is built gets into the packages.

set -u
export LC_ALL=C TZ=UTC
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top" || exit 1

die()
{
	echo "deb.sh: $*" >&2
	exit 1
}

# As .gitignore has it, which is not asked as there need be no git.
sources()
{
	find Kbuild Makefile README.md kmod uapi userspace-tool Documentation packaging -type f \
		! -name '*.o' ! -name '*.ko' ! -name '*.a' ! -name '*.cmd' ! -name '*.mod' ! -name '*.mod.c' \
		! -name '.*.d' ! -name '*.order' ! -name '*.symvers' ! -name '*~' ! -name '.*.sw?' \
		! -path '*/.tmp_versions/*' ! -path userspace-tool/cleave | sort
}

# The tree may be another user's, or lie in another project's repository.
epoch()
{
	local git=(git -c "safe.directory=$top")

	if [ -n "${SOURCE_DATE_EPOCH-}" ]; then
		echo "$SOURCE_DATE_EPOCH"
	elif [ "$("${git[@]}" rev-parse --show-toplevel 2>/dev/null)" = "$top" ]; then
		"${git[@]}" log -1 --format=%ct
	else
		sources | xargs -d '\n' stat -c %Y | sort -n | tail -n 1
	fi
}

# make_tree DIR: what dpkg-buildpackage wants to see.
make_tree()
{
	local stamp changelog=$1/debian/changelog

	mkdir -p "$1" && sources | tar -c -T - | tar -x -C "$1" && cp -r packaging/debian "$1/debian" || return
	stamp=$(date -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S)
	sed -i -e "1s/(\(.*\))/(\1+$stamp)/" \
		-e "0,/^ -- /s/^\( -- .*>  \).*/\1$(date -R -d "@$SOURCE_DATE_EPOCH")/" "$changelog" &&
		cp "$changelog" "$1/packaging/debian/changelog" || return
	chmod -R u+rwX,go-w "$1" && find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
}

# Errors and warnings are failures; what is overridden says why.
look()
{
	local said

	said=$(lintian --allow-root --fail-on error,warning "$1"/*.changes 2>&1) && return
	echo "$said" >&2
	return 1
}

case ${1-} in
--sources) sources; exit ;;
--epoch) epoch; exit ;;
-*)	die "$1: there are --sources and --epoch" ;;
esac

out=${1:-build/deb}
SOURCE_DATE_EPOCH=$(epoch)
[[ $SOURCE_DATE_EPOCH =~ ^[0-9]+$ ]] || die "the time of this tree cannot be told: give it by SOURCE_DATE_EPOCH="
export SOURCE_DATE_EPOCH
umask 022
rm -rf "$out" && mkdir -p "$out" && out=$(cd "$out" && pwd) && make_tree "$out/cleave" ||
	die "the sources cannot be copied to $out"
# Neither make nor what keeps the path out of the debugging information can do with others.
[[ $out =~ ^[A-Za-z0-9_./+-]+$ ]] || die "$out: build it in a place whose path has letters, digits and _./+- alone"
# What a user's environment may hold of flags is no part of it.
unset CFLAGS CPPFLAGS LDFLAGS MAKEFLAGS MAKELEVEL MFLAGS KDIR CC
echo "building cleave-dkms and cleave; the log is ${out#"$top"/}/log"
(cd "$out/cleave" && DEB_BUILD_OPTIONS="noautodbgsym nocheck" \
	dpkg-buildpackage --build=binary --unsigned-changes --unsigned-buildinfo) >"$out/log" 2>&1 </dev/null ||
	{ tail -n 30 "$out/log" >&2; die "dpkg-buildpackage failed: see above, and ${out#"$top"/}/log"; }
rm -rf "$out/cleave"
look "$out" || die "lintian has something to say"
(cd "$out" && ls -s --block-size=K -1 ./*.deb) | sed "s|\./|${out#"$top"/}/|"
