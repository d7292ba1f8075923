#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Boots a test host and runs /test of an overlay tree in it, as root.
#   host.sh svm|vmx|local [-k RELEASE] [-s CPUS] [-m MIB] [-t SECONDS] [-a WORDS]
#           [-l LOG] [-i] [-c] [-e FILE [-n RESETS]] OVERLAY
#   host.sh svm|vmx -d
# -k  the kernel, of those that setup.sh fetched (default: Debian 12's own)
# -t  give up after that time (default 300; 0: never)
# -a  more words for the kernel's command line
# -l  where to put the kernel's messages
# -i  (svm) count instructions, one TSC tick each; Bochs always does
# -c  the terminal is the test host's: keys reach /test. Ctrl-] x ends it (QEMU)
# -e  it is to end by a reset, or by the RESETS-th of them (QEMU), with status 3. FILE says
#     of each and of INITs, `CPU n on` or `off`: had it virtualization on then?
# -d  say in a line what it would be, and do nothing
# $HOST_DISK: a file that is its disk: /dev/nvme0n1 in QEMU; in Bochs the slave of the first
#     channel of a PIIX3, for which Debian's kernels need modules.
# local runs OVERLAY/test on this machine; the tree's path is in $ROOT, which
# is empty elsewhere.
#
# Prints what /test prints, as it comes, and returns its exit status; 124 if
# there is none, with the reason and the kernel's last words on stderr.

set -u
. "$(dirname "$0")/common.sh"

usage() { sed -n '4,25s/^# \{0,1\}//p' "$0" >&2; exit 2; }

kver=$(release_of 6.1) cpus=1 mem=2048 limit=300 words='' klog='' icount='' interactive='' follow='' describe='' ends='' count=1
kind=${1-}
case $kind in svm|vmx|local) shift ;; *) usage ;; esac
while getopts k:s:m:t:a:l:e:n:icd o; do
	case $o in
	k) kver=$OPTARG ;;
	s) cpus=$OPTARG ;;
	m) mem=$OPTARG ;;
	t) limit=$OPTARG ;;
	a) words=$OPTARG ;;
	l) klog=$OPTARG ;;
	e) ends=$OPTARG ;;
	n) count=$OPTARG ;;
	i) icount=1 ;;
	c) interactive=1 ;;
	d) describe=1 ;;
	*) usage ;;
	esac
done
shift $((OPTIND - 1))
if [ -n "$describe" ]; then
	. "$top/selftests/hosts/$kind.sh"
	host_describe
	exit
fi
[ $# = 1 ] && [ -x "$1/test" ] || die "${1-no overlay}: no executable file 'test' in it"
overlay=$1

# Of this machine's log it keeps what came since our mark, the last one of its kind.
run_local()
{
	local run=() mark='test host: up' rc

	[ "$(id -u)" = 0 ] || run=(sudo --preserve-env=ROOT,TERM)
	export ROOT
	ROOT=$(cd "$overlay" && pwd)
	"${run[@]}" sh -c "echo '$mark' >/dev/kmsg" 2>/dev/null
	"${run[@]}" "$ROOT/test"
	rc=$?
	[ -z "$klog" ] || "${run[@]}" dmesg 2>/dev/null | tac | sed "/$mark/q" | tac >"$klog"
	return $rc
}

# The tree that the kernel unpacks: busybox, our init, the overlay on top.
make_initrd()
{
	local tree=$work/tree

	mkdir -p "$tree"/{bin,dev,proc,sys,tmp} &&
		cp "$(command -v busybox)" "$tree/bin/busybox" &&
		cp "$top/selftests/hosts/init" "$tree/init" &&
		cp -a "$overlay"/. "$tree/" &&
		(cd "$tree" && find . | cpio -o -H newc --quiet) >"$work/initrd" || die "no initrd"
	rm -rf "$tree"
}

# $machine from the accelerator's and CPU's arguments. A quarter of the memory is
# a node without CPUs, between which and the other the kernel moves pages.
qemu_command()
{
	local console=stdio,id=console,signal=off
	local monitor=(-monitor none) reset=(-no-reboot)

	if [ -n "$interactive" ]; then
		console+=,mux=on
		monitor=(-mon chardev=console,mode=readline -echr 29)
	fi
	[ -z "$ends" ] || reset=(-d cpu_reset -D "$work/resets")
	machine=(qemu-system-x86_64 "$@" -smp "$cpus" -m "$mem" -nodefaults -no-user-config
		 -object "memory-backend-ram,id=near,size=$((mem - mem / 4))M" -numa "node,memdev=near,cpus=0-$((cpus - 1))"
		 -object "memory-backend-ram,id=far,size=$((mem / 4))M" -numa node,memdev=far
		 ${HOST_DISK:+-drive "if=none,id=disk,file=$HOST_DISK,format=raw" -device nvme,drive=disk,serial=1}
		 -display none "${reset[@]}" "${monitor[@]}" -chardev "$console" -serial chardev:console
		 -serial "file:$klog" -kernel "$vmlinuz" -initrd "$work/initrd" -append "$cmdline")
}

# What QEMU says of CPUs that are reset, as -e has it. A kernel runs in long mode (EFER.LMA).
qemu_resets()
{
	local line cpu=0 cr4=0 efer fault=

	while read -r line; do
		case $line in
		"Triple fault"*) fault=" by a triple fault" ;;
		"CPU Reset"*)	cpu=${line##* } ;;
		CR0=*CR4=*)	cr4=0x${line##*CR4=} ;;
		EFER=*)
			efer=0x${line#EFER=}
			((efer & 0x400)) || { fault=; continue; }
			((efer & 0x1000 || cr4 & 0x2000)) && line=on || line=off
			echo "CPU ${cpu%)} $line"
			[ "$cpu" != "0)" ] || echo "reset$fault"
			fault= ;;
		esac
	done <"$work/resets"
}

# QEMU would go on.
until_reset()
{
	until [ "$(qemu_resets 2>/dev/null | grep -c ^reset)" -ge "$count" ]; do
		sleep 0.3
	done
	sleep 0.3
	kill "$1"
}

# Whatever ends this script ends the machine.
cleanup()
{
	[ -z "${pid-}" ] || { kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null; }
	[ -z "${tty-}" ] || stty "$tty"
	rm -rf "$work"
}

# Ends when the machine does. setpriv: should this script be killed outright,
# the machine is too.
run_machine()
{
	local tail= until=

	# Bochs' own terminal is a file; its console comes from another.
	if [ -n "$follow" ]; then
		setpriv --pdeathsig TERM timeout --foreground -k 5 "$limit" "${machine[@]}" \
			</dev/null >"$work/machine.log" 2>&1 &
		pid=$!
		tail -q -f -n +1 -s 0.2 --pid="$pid" "$follow" | tr -d '\r' &
		tail=$!
	else
		setpriv --pdeathsig TERM timeout --foreground -k 5 "$limit" "${machine[@]}" \
			<&0 2>"$work/machine.log" &
		pid=$!
		[ -z "$ends" ] || { until_reset $pid & until=$!; }
	fi
	wait "$pid"
	machine_rc=$?
	pid=
	[ -z "$until" ] || kill "$until" 2>/dev/null
	[ -z "$tail" ] || wait "$tail"
}

last_words()
{
	# But for what each machine says, and Bochs' banner.
	[ ! -s "$work/machine.log" ] || tail -n 10 "$work/machine.log" |
		grep -vE "warning: TCG doesn't support|^ *(===|Bochs x86 Emulator|Built from|Timestamp)"
	tr -d '\r' <"$klog" | tail -n 30
}

[ "$kind" != local ] || { run_local; exit; }
. "$top/selftests/hosts/$kind.sh"
vmlinuz=$kernels/$kver/vmlinuz
[ -e "$vmlinuz" ] || die "no kernel $kver under ${kernels#"$top"/}: selftests/hosts/setup.sh fetches what there is"
if [ -n "$interactive" ]; then
	tty=$(stty -g) || die "-c needs a terminal"
	words+=" host.console=$(stty size | tr ' ' ,),${TERM:-linux}"
	limit=0
fi

pid=
work=$(mktemp -d) || exit 1
trap cleanup EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
: "${klog:=$work/klog}"
: >"$klog" || exit 1
# An oops ends the host: what it does after one proves nothing.
cmdline="console=ttyS1 loglevel=5 tsc=reliable panic=-1 oops=panic $words"
make_initrd
host_command || die "the test host cannot be started: $(cat "$work/machine.log" 2>/dev/null)"
run_machine
rc=$(tr -d '\r' <"$klog" | sed -n 's/.*test host: exit \([0-9][0-9]*\)$/\1/p' | tail -n 1)
if [ -n "$ends" ]; then
	"${machine[0]%%-*}_resets" >"$ends"
	[ "$(grep -c ^reset "$ends")" -lt "$count" ] || exit 3
fi
if [ -z "$rc" ]; then
	[ "$machine_rc" = 124 ] && why="did not end within $limit s" || why="ended by itself (status $machine_rc)"
	{ echo "host.sh: the test host ($(host_describe), $kver) $why; its last words:"; last_words; } >&2
	exit 124
fi
exit "$rc"
