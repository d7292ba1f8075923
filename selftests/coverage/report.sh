#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Which lines of kmod/ test hosts have executed, all of them together.
#   report.sh KIND-RELEASE...      hosts that check.sh coverage has run
# Prints a line a file, and the sum; which lines were not executed is in
# build/coverage/missing: path:line:text. Assembly is not counted.

set -u
export LC_ALL=C
. "$(dirname "$0")/../hosts/common.sh"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

# unpack FILE DIR: the .gcda files in what store.c gives.
unpack()
{
	perl -e 'use strict;
		local $/; open my $f, "<:raw", $ARGV[0] or die; my $all = <$f>; my $at = 0;
		while ($at < length $all) {
			my ($name, $data) = unpack "VV", substr $all, $at, 8;
			my $path = substr $all, $at + 8, $name;
			$path =~ s|.*/||;
			open my $o, ">:raw", "$ARGV[1]/$path" or die;
			print $o substr($all, $at + 8 + $name, $data) or die;
			$at += 8 + $name + $data;
		}' "$@"
}

for host; do
	release=${host#*-}
	dir=$work/$host
	mkdir "$dir" || exit
	sed -n 's/^##coverage //p' "$build/check-$host.out" | tr -d '\r' | base64 -d >"$dir/all" || exit
	[ -s "$dir/all" ] || die "$host has told nothing of its coverage"
	unpack "$dir/all" "$dir" || exit
	find "$build/coverage/$release/kmod" -name '*.gcno' -exec cp -t "$dir" {} + || exit
	(cd "$dir" && gcov -t ./*.gcda 2>gcov.log) >"$dir.gcov" || { tail "$dir/gcov.log" >&2; exit 1; }
done

# One count a line: "count:line:text" of each source in each host. '#####' and
# '=====' are lines that were not executed, '-' none at all.
mkdir -p "$build/coverage"
awk -F: -v missing="$build/coverage/missing" '
	{ count = $1; gsub(/[ *]/, "", count); line = $2 + 0 }
	/^ *-: *0:Source:/ { file = $4; known = sub(/.*\/kmod\//, "", file) && file !~ /^coverage_/; next }
	!known || line == 0 || count == "-" { next }
	count !~ /^([0-9]+|#####|=====)$/ { next }
	{
		key = file SUBSEP line
		if (!(key in text)) { text[key] = $0; order[++n] = key; lines[file]++ }
		if (count + 0 > 0 && !(key in hit)) { hit[key] = 1; hits[file]++ }
	}
	END {
		printf "" >missing
		for (i = 1; i <= n; i++)
			if (!(order[i] in hit)) {
				split(order[i], at, SUBSEP)
				sub(/^[^:]*:[^:]*:/, "", text[order[i]])
				print "kmod/" at[1] ":" at[2] ":" text[order[i]] | ("sort -t: -k1,1 -k2,2n >>" missing)
			}
		for (f in lines) {
			printf "%-24s %5d of %5d lines %6.1f %%\n", f, hits[f], lines[f], 100 * hits[f] / lines[f] | "sort"
			sum += lines[f]; all += hits[f]
		}
		close("sort")
		if (!sum)
			exit 1
		printf "%-24s %5d of %5d lines %6.1f %%\n", "kmod", all, sum, 100 * all / sum
	}' "$work"/*.gcov
