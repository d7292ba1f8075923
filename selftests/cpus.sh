#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Hosts whose CPU lacks something, or has more than most: the module is refused
# with the reason, or guests run. TAP.
#   cpus.sh [short|long]        the list that `make check` runs, or all there is
#   cpus.sh KIND CPU WHAT       one: WHAT is `runs`, or what the module must say
# HOST=svm|vmx: one kind of host alone.

set -u
export LC_ALL=C
. "$(dirname "$0")/hosts/common.sh"
hosts=$top/selftests/hosts
work=$build/cpus
kver=$(release_of 6.1)
programs="test_lifecycle test_modes test_stage2 test_high_memory"
tests=0 failed=0

overlay()
{
	local dir=$work/overlay t

	mkdir -p "$dir"/{bin,tests} && cp "$build/module/$kver/kmod/cleave.ko" "$dir/" && strip -g "$dir/cleave.ko" &&
		printf '%s\n' '#!/bin/sh' 'insmod /cleave.ko || exit 77' 'bad=0' \
			'for t in /tests/*; do $t || bad=1; done' 'rmmod cleave || bad=1' 'exit $bad' >"$dir/test" &&
		chmod +x "$dir/test" || return
	for t in $programs; do
		cp "$build/selftests/$t" "$dir/tests/" && strip "$dir/tests/$t" || return
	done
}

id_of()
{
	echo "$work/$1-${2//[^a-zA-Z0-9_]/_}"
}

# boot KIND CPU
boot()
{
	local id limit=300

	id=$(id_of "$1" "$2")
	[ "$1" != vmx ] || limit=1800
	HOST_CPU=$2 "$hosts/host.sh" "$1" -k "$kver" -s 2 -m 2048 -t $limit -a no_timer_check \
		-l "$id.log" "$work/overlay" >"$id.out" 2>&1 </dev/null
	echo $? >"$id.status"
}

# report KIND CPU WHAT
report()
{
	local id status why=''

	id=$(id_of "$1" "$2")
	status=$(cat "$id.status")
	if [ "$3" = runs ]; then
		[ "$status" = 0 ] || why="status $status"
	elif [ "$status" != 77 ]; then
		why="not refused: status $status"
	else
		grep -q "cleave: .*$3" "$id.log" || why="refused with: $(grep 'cleave:' "$id.log" | tail -n 1)"
	fi
	! grep -qE 'WARNING: CPU|BUG:|Oops' "$id.log" || why="${why:+$why, }the kernel complains"
	tests=$((tests + 1))
	if [ -z "$why" ]; then
		echo "ok $tests - $1 $2: $3"
	else
		failed=$((failed + 1))
		echo "not ok $tests - $1 $2: $3 # $why"
		{ grep -vE '^(ok|#  RUN|#            OK)' "$id.out"; tr -d '\r' <"$id.log" | tail -n 20; } | sed 's/^/# /'
	fi
}

list=()
add()
{
	[ "${HOST:-$1}" = "$1" ] || [ "$HOST" = both ] || return 0
	list+=("$1|$2|$3")
}

short()
{
	add svm EPYC,-svm "no AMD-V"
	add svm EPYC,+svm,-npt "no nested paging"
	add svm Skylake-Client "no VT-x"
	add svm max,+svm,la57=on runs
	add vmx core2_penryn_t9600 "no EPT"
	add vmx corei5_lynnfield_750 "no unrestricted guest"
}

long()
{
	short
	add svm qemu64,vendor=CyrixInstead "neither"
	add svm Opteron_G2,+svm,+npt runs
	add vmx p4_prescott_celeron_336 "no VT-x"
	add vmx corei5_arrandale_m520 runs
	add vmx corei7_sandy_bridge_2600k runs
	add vmx corei7_haswell_4770 runs
	add vmx corei7_icelake_u runs
}

case ${1-short} in
short|long) ${1-short} ;;
*)	list=("$1|$2|$3") ;;
esac
rm -rf "$work" && mkdir -p "$work"
make -C "$top/selftests" O="$build/selftests" CFLAGS= >"$work/build.log" 2>&1 &&
	module_build module "$kver" >>"$work/build.log" && overlay ||
	die "it does not build: $(tail "$work/build.log")"
echo "1..${#list[@]}"
for one in "${list[@]}"; do
	IFS='|' read -r kind cpu what <<<"$one"
	[ "$kind" != vmx ] || boot "$kind" "$cpu"
done &
for one in "${list[@]}"; do
	IFS='|' read -r kind cpu what <<<"$one"
	[ "$kind" = vmx ] || { boot "$kind" "$cpu"; report "$kind" "$cpu" "$what"; }
done
wait
for one in "${list[@]}"; do
	IFS='|' read -r kind cpu what <<<"$one"
	[ "$kind" != vmx ] || report "$kind" "$cpu" "$what"
done
[ $failed = 0 ]
