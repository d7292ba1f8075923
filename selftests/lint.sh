#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# make lint: what can be found wrong without running anything. TAP; setup.sh
# check has been run.

set -u
. "$(dirname "$0")/hosts/common.sh"
cd "$top" || exit 1
work=$build/lint
rm -rf "$work"
mkdir -p "$work"
n=0

# check WHAT CMD...: CMD is silent and returns 0, or it is wrong.
check()
{
	local what=$1 out rc

	shift
	n=$((n + 1))
	out=$("$@" 2>&1)
	rc=$?
	if [ $rc = 0 ] && [ -z "$out" ]; then
		echo "ok $n $what"
	else
		[ -z "$out" ] || head -n 60 <<<"$out" | sed 's/^/# /'
		echo "not ok $n $what"
	fi
}

sources()
{
	find "$@" -name '*.[chS]' ! -name '*.mod.c' | sort
}

# Built from nothing, as a file that is not compiled is not looked at.
warnings()
{
	local out rc

	out=$(module_build "$@")
	rc=$?
	grep -E '(warning|error|WARNING|ERROR)\b' -A 4 <<<"$out"
	[ $rc = 0 ] || tail -n 20 <<<"$out"
	return $rc
}

# headers RELEASE: each of the module's headers is compiled by itself.
headers()
{
	local dir=$work/headers-$1 header name out rc

	mkdir -p "$dir"
	: >"$dir/Kbuild"
	for header in $(find kmod -name '*.h'); do
		name=$(tr -c 'a-z0-9\n' _ <<<"$header")
		# Twice: it is guarded, too.
		printf '#include "%s"\n#include "%s"\n' "$top/$header" "$top/$header" >"$dir/$name.c"
		echo "obj-m += $name.o" >>"$dir/Kbuild"
		set -- "$@" "$name.o"
	done
	out=$(make --no-print-directory -C "/usr/src/linux-headers-$1" M="$dir" "${@:2}" 2>&1)
	rc=$?
	[ $rc = 0 ] || grep -E 'error|warning' -A 4 <<<"$out"
	return $rc
}

# The ABI's header alone, in the languages that programs are written in.
uapi()
{
	echo '#include <linux/cleave.h>' | gcc -fsyntax-only -Iuapi -Wall -Wextra -Wpedantic -Wpadded -Werror "$@" -
}

# sizes GCC-ARGUMENT...: of each structure of the ABI and of the commands.
sizes()
{
	{
		echo '#include <linux/cleave.h>'
		sed -n 's/^struct \(cleave_[a-z_]*\) {$/char size_of_\1[sizeof(struct \1)];/p' uapi/linux/cleave.h
		sed -n 's/^#define \(CLEAVE_[A-Z_]*\)[[:space:]][[:space:]]*_IO.*/char number_of_\1[_IOC_SIZE(\1) + 1];/p' uapi/linux/cleave.h
	} | gcc "$@" -isystem /usr/include/x86_64-linux-gnu -Iuapi -x c -c -o "$work/sizes.o" - &&
		nm -S "$work/sizes.o" | cut -d' ' -f2,4 | sed 's/^0*//'
}

same_sizes()
{
	local wide narrow

	wide=$(sizes -m64) && narrow=$(sizes -m32) && [ -n "$wide" ] && diff - <(echo "$narrow") <<<"$wide"
}

# A program that knows no more of the library than its header.
library_header()
{
	echo '#include "libcleave.h"' |
		gcc -fsyntax-only -Iuapi -Iuserspace-tool/libcleave -Wall -Wextra -Werror "$@" -
}

tool_headers()
{
	local header

	for header in $(find userspace-tool -name '*.h'); do
		printf '#include "%s"\n#include "%s"\n' "$top/$header" "$top/$header" |
			gcc -fsyntax-only -x c -std=gnu11 -D_GNU_SOURCE -Wall -Wextra -Wno-unused-parameter -Werror \
				-Iuapi -Iuserspace-tool -Iuserspace-tool/libcleave -Iuserspace-tool/boot - || return
	done
}

# Its rules for patches to a kernel tree, less those that do not fit: versions
# are compat.h's business (check-layers.sh), iterators use arguments twice, and
# the ABI has no BIT().
style()
{
	local ignore=LINUX_VERSION_CODE,CONSTANT_COMPARISON,MACRO_ARG_REUSE

	[ "$1" != uapi ] || ignore+=,BIT_MACRO
	# From another place, as it leaves a file where it is run.
	(cd "$work" && for f in $(sources "$top/$1"); do
		perl "$source/scripts/checkpatch.pl" --no-tree --strict --terse --no-summary \
			--ignore "$ignore" -f "$f" | sed "s|^.*$1/|$1/|"
	done)
}

kernel_doc()
{
	local script

	script=$(ls /usr/lib/linux-kbuild-6.1/scripts/kernel-doc) || return
	"$script" -none "$@"
}

scripts_parse()
{
	local f

	for f in selftests/*.sh selftests/{hosts,debug,coverage,fuzz,lib}/*.sh packaging/*.sh packaging/debian/*.{postinst,postrm,prerm} .ci/run; do
		if head -n 1 "$f" | grep -q '/sh$'; then
			busybox sh -n "$f" || return
		else
			bash -n "$f" || return
		fi
	done
	for f in init guest-init run-guest run-tests; do
		busybox sh -n "selftests/hosts/$f" || return
	done
}

manual()
{
	! grep -nE '[[:space:]]$' "$@" || return
	# What the formatter says of it, where there is one.
	! command -v man >/dev/null || LC_ALL=C.UTF-8 MANWIDTH=80 \
		man --warnings -E UTF-8 -l -Tutf8 -Z "$@" 2>&1 >/dev/null
}

echo "TAP version 13"
for series in 6.1 6.12; do
	release=$(release_of $series)
	check "no warning of gcc (W=1), sparse (C=2), objtool, modpost: $release" \
		warnings lint/module "$release" W=1 C=2
	check "the module's headers compile alone: $release" headers "$release"
done
check "checkpatch --strict: kmod" style kmod
check "checkpatch --strict: uapi" style uapi
check "kernel-doc: the ABI and the backends' table" kernel_doc uapi/linux/cleave.h kmod/backend.h
check "the ABI's header in C11" uapi -x c -std=c11
check "the ABI's header in C99, with anonymous unions" uapi -x c -std=gnu99 -Wno-pedantic
check "the ABI's header in C++11" uapi -x c++ -std=c++11
check "the ABI is the same on 32 bit" same_sizes
check "libcleave.h in C11" library_header -x c -std=c11
check "libcleave.h in C++11" library_header -x c++ -std=c++11
check "the tool's headers compile alone" tool_headers
check "scripts parse" scripts_parse
check "the manual page: no trailing space, no warning of the formatter" manual Documentation/*.1
layers=$(selftests/check-layers.sh)
while read -r line; do
	case $line in
	1..*)	;;
	'ok '*|'not ok '*)
		n=$((n + 1))
		[[ $line =~ ^(.*ok)\ [0-9]+\ (.*)$ ]]
		echo "${BASH_REMATCH[1]} $n ${BASH_REMATCH[2]}" ;;
	*)	echo "$line" ;;
	esac
done <<<"$layers"
echo "1..$n"
