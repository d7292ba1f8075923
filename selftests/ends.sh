#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# How a host ends while guests live in it: reboot, kexec, crash, power-off, beside
# KVM and without it. Seen from outside, as a host that hangs tells nothing; TAP.
#   ends.sh [short|long]            the list that `make check` runs, or all there is
#   ends.sh KIND RELEASE CHAIN...   some
# HOST=svm|vmx: one kind of host alone.
#
# CHAIN is ORDER:ENDING[,ORDER:ENDING]..., each in the kernel that the one before
# left the machine to.
#   ORDER   alone   cleave has the machine for itself
#           kvm     KVM is loaded first, and then cleave
#           beside  KVM is loaded while guests of cleave run
#   ENDING  kexec   `kexec -e`: the next kernel comes up
#           crash   SysRq c with a crash kernel, which comes up with all CPUs
#           panic, sysrq-b   SysRq c without one, SysRq b: a reset, from an emergency
#           reboot  reboot(2) with guests that run; orderly: they have just been killed
#           off     power-off
#           hibernate   to a disk and back, where guests go on (QEMU alone)
# What a chain leaves behind must run a guest on each CPU, or be a machine that is
# reset with virtualization off everywhere.

set -u
export LC_ALL=C
. "$(dirname "$0")/hosts/common.sh"
hosts=$top/selftests/hosts
work=$build/ends
tests=0 failed=0

# result ok|'not ok' NAME [REASON]
result()
{
	tests=$((tests + 1))
	[ "$1" = ok ] || failed=$((failed + 1))
	echo "$1 $tests - $2${3:+ # $3}"
}

overlay()
{
	local dir=$work/overlay-$1 f

	[ ! -d "$dir" ] || return 0
	mkdir -p "$dir.new"/{bin,modules} && cp "$top/selftests/ends/test" "$dir.new/test" &&
		cp "$build/selftests/ends" "$dir.new/bin/" &&
		cp "$build/module/$1/kmod/cleave.ko" "$kernels/$1/vmlinuz" "$dir.new/" &&
		strip "$dir.new/bin/ends" && strip -g "$dir.new/cleave.ko" || return
	for f in irqbypass kvm kvm-amd kvm-intel msr; do
		cp "$kernels/$1/modules/$f.ko" "$dir.new/modules/" && strip -g "$dir.new/modules/$f.ko" || return
	done
	mv "$dir.new" "$dir"
}

# start KIND RELEASE CHAIN ID SECONDS
start()
{
	"$hosts/host.sh" "$1" -k "$2" -s 2 -m 1536 -t "$5" -l "$4.log" -e "$4.resets" \
		-a "no_timer_check crashkernel=256M ends=$3" "$work/overlay-$2" >"$4.out" 2>&1 </dev/null
	echo $? >"$4.status"
}

# boot KIND RELEASE CHAIN: its log, what resets found, and status, in files.
boot()
{
	local id=$work/$1-$2-${3//[:,]/_} limit=180 more=${3//[^,]/}

	[ "$1" != vmx ] || limit=600
	limit=$((limit + limit / 2 * ${#more}))
	: >"$id.log"
	if [[ $3 == *:hibernate ]]; then
		truncate -s 2G "$id.disk"
		HOST_DISK=$id.disk start "$@" "$id" $limit
		mv "$id.log" "$id.before"
		HOST_DISK=$id.disk start "$@" "$id" $limit
		cat "$id.log" >>"$id.before" && mv "$id.before" "$id.log"
		rm "$id.disk"
	else
		start "$@" "$id" $limit
	fi
}

# said LOG TODO: what the kernel said from where it began to do TODO, to the next.
said()
{
	tr -d '\r' <"$1" | sed -n "/ends: up.*to do: $2\$/,\$p" | sed '1!{/ends: up,/,$d}'
}

# wrong ID TODO: what went wrong there, if something did.
wrong()
{
	local log ending=${2%%,*} order rest= loaded

	order=${ending%:*} ending=${ending#*:}
	[[ $2 != *,* ]] || rest=${2#*,}
	log=$(said "$1.log" "$2")
	[ -n "$log" ] || { echo "did not come up"; return; }
	grep -q 'ends: up, 2 CPUs' <<<"$log" || { echo "a CPU did not come up"; return; }
	grep -q 'ends: guests live' <<<"$log" || { echo "no guests"; return; }
	loaded='KVM is loaded'
	[[ $order != beside || $1 != */vmx-* ]] || loaded='KVM is not loaded'
	[ $order = alone ] || grep -q "ends: $loaded" <<<"$log" || { echo "not: $loaded"; return; }
	[ $order = alone ] || grep -q 'ends: KVM_CREATE_VM: [1-9]' <<<"$log" ||
		{ echo "KVM was not asked, or made a VM beside them"; return; }
	grep -q "ends: now $ending" <<<"$log" || { echo "did not come to its end"; return; }
	if grep -qE "WARNING: CPU|BUG:|Oops|ends: it did not|lockup|stall" <<<"$log"; then
		echo "the kernel complains"
		return
	fi
	case $ending in
	kexec|crash)
		[ -n "$rest" ] && return
		log=$(said "$1.log" nothing)
		[ -n "$log" ] || { echo "the next kernel did not come up"; return; }
		grep -q 'ends: up, 2 CPUs' <<<"$log" || { echo "the next kernel lacks a CPU"; return; }
		[ "$ending" = crash ] || grep -q 'ends: guests ran' <<<"$log" ||
			{ echo "the next kernel runs no guests"; return; }
		[ "$(cat "$1.status")" = 0 ] || echo "status $(cat "$1.status")" ;;
	hibernate)
		grep -q 'ends: back, and guests live on' <<<"$log" || { echo "not back with living guests"; return; }
		grep -q 'ends: guests ran' <<<"$log" || { echo "no new guest can run"; return; }
		[ "$(cat "$1.status")" = 0 ] || echo "status $(cat "$1.status")" ;;
	off)
		grep -q 'reboot: Power down' <<<"$log" || { echo "no power-off"; return; }
		grep -q 'ended by itself' "$1.out" || echo "the power did not go off" ;;
	*)
		[ "$(cat "$1.status")" = 3 ] || { echo "no reset"; return; }
		grep -q 'reset by a triple fault' "$1.resets" && { echo "a triple fault"; return; }
		# In an emergency SVME may stay: it keeps no INIT away.
		[[ $1 == */svm-* && $ending != reboot && $ending != orderly ]] ||
			! grep -q '^CPU . on' "$1.resets" || echo "virtualization is on at the reset" ;;
	esac
}

report()
{
	local id=$work/$1-$2-${3//[:,]/_} todo=$3 why

	while [ -n "$todo" ]; do
		why=$(wrong "$id" "$todo")
		if [ -z "$why" ]; then
			result ok "$1 $2 ${todo%%,*}"
		else
			result 'not ok' "$1 $2 ${todo%%,*} (of $3)" "$why"
			{ cat "$id.out"; tr -d '\r' <"$id.log" | tail -n 30; } | sed 's/^/# /'
		fi
		[[ $todo == *,* ]] || break
		todo=${todo#*,}
	done
}

old=$(release_of 6.1) new=$(release_of 6.12)
list=()
add()
{
	[ "${HOST:-$1}" = "$1" ] || [ "$HOST" = both ] || return
	list+=("$*")
}

# The most of it by few boots.
short()
{
	add svm "$old" alone:kexec,kvm:crash
	add svm "$old" beside:panic
	add svm "$old" kvm:kexec,alone:sysrq-b
	add svm "$old" alone:orderly
	add svm "$new" alone:kexec,kvm:panic
	add vmx "$old" alone:kexec,kvm:crash
	add vmx "$old" alone:panic
}

# From 6.12 on KVM beside guests on VT-x cannot be.
long()
{
	local kind kver order

	for kind in svm vmx; do
		for kver in $old $new; do
			for order in alone kvm beside; do
				[ "$kind $kver $order" != "vmx $new kvm" ] || continue
				add $kind $kver $order:kexec,$order:crash
				for ending in panic sysrq-b reboot orderly off hibernate; do
					[ "$kind $ending" != "vmx hibernate" ] || continue
					add $kind $kver $order:$ending
				done
			done
			add $kind $kver "$(printf 'alone:kexec,%.0s' {1..25})alone:reboot"
		done
	done
}

case ${1-short} in
short|long) ${1-short} ;;
*)	kind=$1 kver=$2
	shift 2
	for chain; do
		list+=("$kind $kver $chain")
	done ;;
esac
mkdir -p "$work" && rm -rf "$work"/*
make -C "$top/selftests" O="$build/selftests" CFLAGS= >"$work/build.log" 2>&1 || die "selftests: $(cat "$work/build.log")"
total=0
for one in "${list[@]}"; do
	read -r kind kver chain <<<"$one"
	module_build module "$kver" >"$work/build.log" && overlay "$kver" || die "module: $(cat "$work/build.log")"
	total=$((total + $(tr -cd : <<<"$chain" | wc -c)))
done
echo "1..$total"
# Bochs is one thread, and so is QEMU.
for one in "${list[@]}"; do
	[[ $one != vmx* ]] || boot $one
done &
for one in "${list[@]}"; do
	[[ $one == vmx* ]] || { boot $one; report $one; }
done
wait
for one in "${list[@]}"; do
	[[ $one != vmx* ]] || report $one
done
[ $failed = 0 ]
