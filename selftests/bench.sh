#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make bench: the same guests on KVM and on cleave in the same test host, in instructions.
# A table on stdout, and build/bench/KIND.json. HOST=svm|vmx|both (default both).
# HOST_WORDS: more words for the hosts' kernels.

set -u
export LC_ALL=C
. "$(dirname "$0")/hosts/common.sh"
tests=$top/selftests
out=$build/bench
kver=$(release_of 6.1) || die "no kernel to boot"

build_all()
{
	module_build module "$kver" && make -C "$tests" O="$build/selftests" "$build/selftests/bench/bench" &&
		rm -rf "$out/overlay" && mkdir -p "$out/overlay/modules" &&
		cp "$build/selftests/bench/bench" "$out/overlay/test" &&
		cp "$build/module/$kver/kmod/cleave.ko" "$out/overlay/" && strip -g "$out/overlay/cleave.ko" &&
		cp "$kernels/$kver"/modules/*.ko "$out/overlay/modules/"
}

# rows KIND: what bench says in hosts of one and of two CPUs. When it counts instructions QEMU
# gives one CPU its share, the next one none, and so on, until one of them pauses or halts: of two
# the second would starve. So there is one in between that stays off.
rows()
{
	local cpus many=2 words=''

	[ "$1" != svm ] || many=3 words=maxcpus=1
	for cpus in 1 $many; do
		"$tests/hosts/host.sh" "$1" -i -k "$kver" -s $cpus -m 1024 -t 1800 -a "$words ${HOST_WORDS-}" \
			-l "$out/$1-$cpus.log" "$out/overlay" </dev/null | tr -d '\r' >"$out/$1-$cpus.out"
		[ "${PIPESTATUS[0]}" = 0 ] || { cat "$out/$1-$cpus.out" >&2; return 1; }
		sed -n 's/^##bench //p' "$out/$1-$cpus.out"
	done
}

# table KIND: for people.
table()
{
	echo "$1: $("$tests/hosts/host.sh" "$1" -d), Linux $kver"
	printf '%-34s %9s %7s %9s %7s %6s\n' operation KVM +- cleave +- ratio
	awk -F'|' '{ printf "%-34s %9.0f %6.1f%% %9.0f %6.1f%% %6.2f\n", $1, $2, $3, $4, $5, $4 / $2 }' "$out/$1.rows"
}

json()
{
	awk -F'|' -v kind="$1" -v kernel="$kver" '
		BEGIN { printf "{\n\t\"host\": \"%s\",\n\t\"kernel\": \"%s\",\n\t\"unit\": \"instructions\",\n\t\"rows\": [", kind, kernel }
		{ printf "%s\n\t\t{ \"operation\": \"%s\", \"kvm\": %s, \"kvm_spread\": %s, \"cleave\": %s, \"cleave_spread\": %s, \"ratio\": %.4f }",
			(NR > 1 ? "," : ""), $1, $2, $3, $4, $5, $4 / $2 }
		END { print "\n\t]\n}" }' "$out/$1.rows" >"$out/$1.json"
}

kinds=${HOST:-both}
[ "$kinds" != both ] || kinds="svm vmx"
mkdir -p "$out"
build_all >"$out/build.log" 2>&1 || { tail -n 30 "$out/build.log" >&2; die "it does not build"; }
status=0
for kind in $kinds; do
	case $kind in
	svm|vmx) ;;
	*) die "HOST=$kind: there are svm, vmx and both" ;;
	esac
	rows "$kind" >"$out/$kind.rows" || { status=1; continue; }
	table "$kind" && json "$kind"
done
exit $status
