#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make check: builds and runs every test; TAP on stdout, one line a test that
# ran, and `N passed, N failed, N skipped` counted from them at the end.
#   check.sh [lint|unit|fuzz|deb|image|host|ends|debug|matrix|coverage|hostile|long]...  default: lint unit fuzz host ends
# ends:   hosts that end while guests live, by reboot, kexec, crash and the like;
#         hosts whose CPU lacks something.
# deb:    the Debian packages, in a clean Debian 12, see deb.sh.
# image:  the disk that make guest-image makes, which QEMU boots.
# fuzz:   the tool's parsers, see fuzz/fuzz.sh.
# debug:  every program on AMD-V in a kernel that looks for misuse of memory and
#         locks (KASAN, lockdep, ...), those of several threads in one that looks
#         for data races (KCSAN); builds both from Debian's source if need be.
# matrix: the module for each of Debian's kernels of 6.1 and 6.12, and every
#         program on 6.1, 6.12, 6.1-rt with AMD-V and on 6.1 with VT-x.
# coverage: the lines of the module that all programs execute, on both vendors, and
#         in the first debug kernel those that it is there for; 85 in 100 are demanded.
# hostile: hostile guests and hostile users of the ABI for FUZZ_SECONDS each, on
#         both vendors and in the first debug kernel, by FUZZ_SEED.
# long:   KVM and cleave in turn, and a tool that is killed, a thousand times each;
#         all the ways for a host to end.
# HOST=both|svm|vmx|local (default both: AMD-V and VT-x side by side), RELEASES:
# the test hosts' kernels (default: Debian's 6.1, and 6.12 on AMD-V too);
# CHECK_PROGRAMS: the ones to run in them, by name (default: all);
# CHECK_ENV: variables for these, as "A=1 B=2"; HOST_WORDS: more words for the
# hosts' kernels; HOST_LIMIT, PROGRAM_LIMIT: the seconds that a host, a program may take.
#
# Programs' output is taken between the lines `##begin NAME` and `##end NAME
# STATUS`. A program that does not end, ends with a status that its results do
# not explain, or runs other than as many tests as it planned, is a failure.

set -u
export LC_ALL=C
. "$(dirname "$0")/hosts/common.sh"
tests=$top/selftests
hosts=$tests/hosts
kind=${HOST:-both}
log=$build/check.log

passed=0 failed=0 skipped=0
current='' plan='' ran=0 bad=0 seen='' running='' vendor=''

# result ok|'not ok'|skip NAME [REASON]
result()
{
	local n=$((passed + failed + skipped + 1))

	case $1 in
	ok)	passed=$((passed + 1)); echo "ok $n - $2" ;;
	skip)	skipped=$((skipped + 1)); echo "ok $n - $2 # SKIP ${3-}" ;;
	*)	failed=$((failed + 1)); echo "not ok $n - $2${3:+ # $3}" ;;
	esac
}

begin()
{
	[ -z "$current" ] || finish cut
	current=$vendor$1 plan='' ran=0 bad=0
	seen+=" $1"
	echo "# $current"
}

# finish STATUS|cut: what the sum of the program's results says of it.
finish()
{
	local why=''

	case $1 in
	cut)		why="did not end" ;;
	124|137|143)	why="took too long, or was killed (status $1)" ;;
	0|4)		;;
	*)		[ $bad != 0 ] || why="ended with status $1, though no test failed" ;;
	esac
	[ -n "$why" ] || [ -n "$plan" ] || why="has no plan (status $1)"
	[ -n "$why" ] || [ "$plan" = "$ran" ] || why="planned $plan tests and ran $ran"
	[ -z "$why" ] || result "not ok" "$current" "$why"
	current=''
}

# One line of TAP from a program, renumbered.
outcome()
{
	local status=$1 what=$2

	ran=$((ran + 1))
	# kselftest's harness names a skipped test only where it starts it.
	[[ $what =~ ^[0-9]+' '*(.*)$ ]] && what=${BASH_REMATCH[1]}
	what=${what#- }
	if [[ $what =~ ^(.*)'# '[Ss][Kk][Ii][Pp]' '*(.*)$ ]]; then
		result skip "$current: ${BASH_REMATCH[1]:-${running:-test $ran}}" "${BASH_REMATCH[2]}"
	else
		[ "$status" = ok ] || bad=$((bad + 1))
		result "$status" "$current: $what"
	fi
}

# Reads programs' output to its end.
consume()
{
	local line

	while IFS= read -r line; do
		line=${line%$'\r'}
		case $line in
		'##begin '*)	begin "${line#* }" ;;
		'##coverage '*)	;;
		'##end '*)	[ -z "$current" ] || finish "${line##* }" ;;
		'ok '[0-9]*)	outcome ok "${line#ok }" ;;
		'not ok '*)	outcome 'not ok' "${line#not ok }" ;;
		1..[0-9]*)	plan=${line#1..} plan=${plan%% *} ;;
		'#  RUN '*)	running=${line##*RUN} running=${running## } running=${running%% ...} running=${running##* } ;;
		'TAP version '*|'#            OK '*|'# Starting '*|'# PASSED: '*|'# Totals: '*|'') ;;
		'#'*)		echo "$line" ;;
		*)		echo "# $line" ;;
		esac
	done
	[ -z "$current" ] || finish cut
}

# program NAME CMD...: one that runs here.
program()
{
	local name=$1

	shift
	consume < <(echo "##begin $name"; "$@" 2>&1 </dev/null; echo "##end $name $?")
}

# building WHAT CMD...: a test of its own; the log only if it fails.
building()
{
	local what=$1

	shift
	if "$@" >"$log" 2>&1; then
		result ok "build: $what"
	else
		sed 's/^/# /' "$log" | tail -n 40
		result "not ok" "build: $what"
		return 1
	fi
}

run_unit()
{
	local t

	building "unit tests" make -C "$tests/unit" all || return
	for t in "$tests"/unit/test_*.c; do
		t=${t##*/}
		program "unit/${t%.c}" timeout -k 5 600 "$tests/unit/${t%.c}"
	done
}

# run_statics BUILD RELEASE...: what the code of the modules in build/BUILD does at an entry.
run_statics()
{
	local kind=$1 kver common args=()

	building "statics" make -C "$tests/statics" O="$build/statics" || return
	for kver in "${@:2}"; do
		building "module for $kver" module_build "$kind" "$kver" || return
		common=$(sed -n 's|^include \(.*\)/Makefile$|\1|p' "/usr/src/linux-headers-$kver/Makefile")
		args+=("$kver" "$build/$kind/$kver/kmod/cleave.ko" "$common/arch/x86/include/asm/cpufeatures.h")
	done
	program statics timeout -k 5 600 "$build/statics/statics" "${args[@]}"
}

# What has several threads or processes at work on one VM, or one vCPU.
threads="test_fork_kill test_hostile test_hotplug test_interrupts test_kick test_lifecycle test_module
	 test_recorder test_slots test_smp_load test_stage2 test_timer test_fuzz_guest test_fuzz_ioctl
	 test_latency test_migrate test_irqfd test_ioeventfd test_vhost"

# programs_of RELEASE: the ones to run there; nothing: all.
programs_of()
{
	case $module-$1 in
	*-kcsan) echo ${CHECK_PROGRAMS:-$threads} ;;
	# All others run as well on Debian's kernels, and far quicker.
	coverage-*-kasan) echo ${CHECK_PROGRAMS:-test_failnth test_fuzz_ioctl} ;;
	*)	 echo ${CHECK_PROGRAMS-} ;;
	esac
}

# words_of RELEASE: for the command line of that kernel. Its own data races are
# not ours to end a host for.
words_of()
{
	case $1 in
	*-kasan) echo panic_on_warn=1 no_timer_check ;;
	*-kcsan) echo no_timer_check ;;
	esac
}

# served OVERLAY GUEST...: what test_served needs: virtiofsd, and guests with the drivers.
served()
{
	local overlay=$1 virtiofsd=/usr/lib/qemu/virtiofsd guest

	shift
	mkdir -p "$overlay/usr/lib/qemu" && cp "$virtiofsd" "$overlay$virtiofsd" && copy_libs "$overlay" "$virtiofsd" &&
		cp "$build/selftests/vsock" "$overlay/bin/" || return
	for guest; do
		MODULES=$kernels/$guest/served "$hosts/guest-initramfs.sh" "$overlay/guest/$guest/served" \
			"$build/selftests/vsock" || return
	done
}

# The tree that the test host runs: the programs, what they use, and the seconds
# that one may take.
make_overlay()
{
	local kver=$2 overlay=$build/check/$1-$2 limit=300 patience=1 guest helper

	case $1-$2 in
	vmx-*)	 limit=900 ;;
	*-kasan|*-kcsan) limit=1800 patience=8 ;;
	esac
	limit=${PROGRAM_LIMIT:-$limit}
	rm -rf "$overlay"
	mkdir -p "$overlay"/{bin,guest,modules,tests} || return
	cp "$tests/hosts/run-tests" "$overlay/test" &&
		cp "$build/$module/$kver/kmod/cleave.ko" "$overlay/" &&
		cp "$top/userspace-tool/cleave" "$overlay/bin/" &&
		copy_libs "$overlay" "$top/userspace-tool/cleave" && cp "$build/selftests/pulse" "$overlay/bin/" &&
		"$hosts/guest-initramfs.sh" "$overlay/guest/initramfs" && cp -r "$bare" "$overlay/guest/" &&
		find "$build/selftests" -maxdepth 1 -name 'test_*' -type f -executable \
			-exec cp -t "$overlay/tests" {} + &&
		strip -g "$overlay/cleave.ko" "$overlay"/tests/* &&
		cp "$tests"/test_*.sh "$overlay/tests/" && cp "$tests/lib/boots.sh" "$overlay/guest/" &&
		programs_of "$kver" >"$overlay/programs" && echo "$limit" >"$overlay/limit" &&
		tr ' ' '\n' <<<"PATIENCE=$patience ${CHECK_ENV-}" >"$overlay/environment" || return
	if [[ " $(programs_of "$kver") " = *" test_stress "* || -z $(programs_of "$kver") ]]; then
		"$hosts/guest-initramfs.sh" "$overlay/guest/stress" stress-ng || return
	fi
	for guest in $guests; do
		mkdir "$overlay/guest/$guest" && cp "$kernels/$guest/vmlinuz" "$overlay/guest/$guest/" &&
			MODULES=$kernels/$guest/virtio "$hosts/guest-initramfs.sh" "$overlay/guest/$guest/virtio" || return
	done
	if [[ " $(programs_of "$kver") " = *" test_served "* || -z $(programs_of "$kver") ]]; then
		served "$overlay" $guests || return
	fi
	if [[ $kver == *-kcsan ]]; then
		test_module_build race "$kver" && cp "$build/race-module/$kver/race.ko" "$overlay/modules/" || return
	fi
	if [ $module = coverage ]; then
		test_module_build coverage "$kver" &&
			cp "$build/coverage-module/$kver/coverage_store.ko" "$overlay/modules/" || return
	fi
	for helper in poke nmi; do
		test_module_build $helper "$kver" &&
			cp "$build/$helper-module/$kver/$helper.ko" "$overlay/modules/" || return
	done
	[ ! -d "$kernels/$kver/modules" ] || cp "$kernels/$kver"/modules/* "$overlay/modules/"
}

# A data race is the kernel's own if neither of the two accesses is in a function of the
# module, and where a signal's sender, in whichever function, looks at the flags of a task
# whose PF_VCPU an inline function of the kernel changes.
without_foreign_races()
{
	sed '/BUG: KCSAN: data-race/ {
		/\[cleave\]/!d
		/race in \(__send_signal_locked\|prepare_signal\) \/ loop \[cleave\]$/d
		/race in loop \[cleave\] \/ \(__send_signal_locked\|prepare_signal\)$/d
	}'
}

# What a host's kernel must not have said. Before our init it speaks of the
# machine's own bugs; where tests make memory scarce, the OOM killer tells of it.
complaints()
{
	tr -d '\r' <"$1" | sed -e '1,/test host: up/d' -e '/ invoked oom-killer: /,/Call Trace:/d' |
		without_foreign_races |
		grep -nE 'WARNING:|BUG|Oops|\[#[0-9]+\]|Call Trace|Kernel panic|INFO: (rcu|task|possible|trying)|lockup|UBSAN|KASAN|unreferenced object|refcount_t|stall' |
		head -n 20
}

# start_host KIND RELEASE: boots it, and goes on; its output to a file. Should
# this script be killed, the host is too.
declare -A host_pid
start_host()
{
	local id=$1-$2 mem=3072

	case $id in
	# A gigabyte that no boot loader or early allocation has touched.
	vmx-*)		mem=5120 ;;
	# The shadow memory and the kernel may each lie in a GiB that a page of that size wants.
	*-kasan|*-kcsan) mem=8192 ;;
	esac
	# Here, as the one that follows must not find what an earlier run left.
	: >"$build/check-$id.out"
	setpriv --pdeathsig TERM "$hosts/host.sh" "$1" -k "$2" -s 2 -m "$mem" -t "${HOST_LIMIT:-7200}" \
		-a "hugepagesz=1G hugepages=1 $(words_of "$2") ${HOST_WORDS-}" -l "$build/check-$id.log" "$build/check/$id" \
		>>"$build/check-$id.out" 2>&1 </dev/null &
	host_pid[$id]=$!
}

# follow_host KIND RELEASE: its output as it comes, to the end.
follow_host()
{
	local id=$1-$2 klog=$build/check-$1-$2.log only said t

	only=$(programs_of "$2")
	seen='' vendor="$1 "
	consume < <(tail -q -f -n +1 -s 0.2 --pid="${host_pid[$id]}" "$build/check-$id.out")
	for t in $(cd "$build/check/$id/tests" && ls) unload; do
		[ -n "$only" ] && [[ " $only unload " != *" ${t%.sh} "* ]] && continue
		[[ "$seen " == *" $2/${t%.sh} "* ]] || result "not ok" "$1 $2/${t%.sh}" "did not run"
	done
	vendor=''
	if ! grep -q 'test host: up' "$klog"; then
		[ "$1" = local ] && result skip "local $2: the kernel has nothing to complain of" \
			"its log cannot be marked or read" && return
		result "not ok" "$1 $2: the kernel has nothing to complain of" "it did not boot"
	elif said=$(complaints "$klog") && [ -n "$said" ]; then
		sed 's/^/# /' <<<"$said"
		result "not ok" "$1 $2: the kernel has nothing to complain of" "see ${klog#"$top"/}"
	else
		result ok "$1 $2: the kernel has nothing to complain of"
	fi
}

# Which build of the module: see module_build.
module=module

# run_hosts 'KIND RELEASE'...: all their programs. Two hosts at a time: one that
# is slow, which is read last, runs beside the others.
run_hosts()
{
	local host ready=() slow='^vmx|-kcsan$'

	building "userspace-tool" make -C "$top/userspace-tool" || return
	building "selftests" make -C "$tests" O="$build/selftests" CFLAGS= || return
	for host; do
		building "module for ${host#* }" module_build $module "${host#* }" &&
			building "overlay for $host" make_overlay $host &&
			ready+=("$host")
	done
	for host in "${ready[@]}"; do
		[[ ! $host =~ $slow ]] || start_host $host
	done
	for host in "${ready[@]}"; do
		[[ $host =~ $slow ]] || start_host $host
		[[ $host =~ $slow ]] || follow_host $host
	done
	for host in "${ready[@]}"; do
		[[ ! $host =~ $slow ]] || follow_host $host
	done
}

run_debug()
{
	local kind release places=()

	for kind in ${DEBUG_KERNELS:-kasan kcsan}; do
		if release=$("$tests/debug/kernel.sh" $kind); then
			result ok "the $kind kernel"
			places+=("svm $release")
		else
			result "not ok" "the $kind kernel" "it cannot be built"
		fi
	done
	run_hosts "${places[@]}"
}

# module_build, and not a word of warning.
clean_build()
{
	local said

	said=$(module_build matrix "$1" W=1) || { echo "$said"; return 1; }
	! grep -iE 'warning' -A 4 <<<"$said"
}

run_matrix()
{
	local series release releases=()

	for series in 6.1 6.1-amd64 6.1-rt 6.12 6.12-amd64 6.12-rt; do
		release=$(release_of $series)
		releases+=("$release")
		rm -rf "$build/matrix/$release"
		building "module for $release: no warning" clean_build "$release"
	done
	run_statics matrix "${releases[@]}"
	# With all mitigations at work, which Bochs is spared otherwise.
	HOST_WORDS="mitigations=auto l1tf=off ${HOST_WORDS-}" \
	run_hosts "svm $(release_of 6.1)" "svm $(release_of 6.12)" "svm $(release_of 6.1-rt)" \
		"vmx $(release_of 6.1)"
	# Where KVM and the crash callback are least as they are in 6.1.
	CHECK_PROGRAMS="test_kvm test_lifecycle test_modes" run_hosts "vmx $(release_of 6.12)"
}

# What takes long, as often as it takes to be sure: half an hour, or an hour.
run_long()
{
	CHECK_PROGRAMS="test_kvm test_kill_tool" PROGRAM_LIMIT=20000 \
		CHECK_ENV="KVM_ALTERNATIONS=1000 KILL_ROUNDS=1000 PATIENCE=100" \
		run_hosts "svm $(release_of 6.1)" "svm $(release_of 6.12)"
	program ends "$tests/ends.sh" long
}

run_hostile()
{
	local release seed=${FUZZ_SEED:-$RANDOM} seconds=${FUZZ_SECONDS:-300}

	release=$("$tests/debug/kernel.sh" kasan) || { result "not ok" "the kasan kernel"; return; }
	echo "# FUZZ_SEED=$seed, $seconds s each"
	CHECK_PROGRAMS="test_fuzz_ioctl test_fuzz_guest" PROGRAM_LIMIT=$((seconds * 4 + 1200)) \
		CHECK_ENV="FUZZ_SEED=$seed FUZZ_SECONDS=$seconds" \
		run_hosts "svm $release" "svm $(release_of 6.1)" "vmx $(release_of 6.1)"
}

# What is counted for two vendors, and where allocations fail.
run_coverage()
{
	local release places said percent

	release=$("$tests/debug/kernel.sh" kasan) || { result "not ok" "the kasan kernel"; return; }
	module=coverage
	places=("svm $release" "svm $(release_of 6.1)" "vmx $(release_of 6.1)")
	run_hosts "${places[@]}"
	module=module
	said=$("$tests/coverage/report.sh" "${places[@]/ /-}")
	sed 's/^/# /' <<<"$said"
	percent=$(sed -n 's/^kmod .* \([0-9]*\)\.[0-9] %$/\1/p' <<<"$said")
	[ "${percent:-0}" -ge 85 ] && result ok "coverage of the module" ||
		result "not ok" "coverage of the module" "less than 85 % of its lines"
}

summary()
{
	echo "1..$((passed + failed + skipped))"
	echo "# $(seconds_since "$start")"
	echo "$passed passed, $failed failed, $skipped skipped"
}

start=$(now)
echo "TAP version 13"
mkdir -p "$build"
[ $# != 0 ] || set -- lint unit fuzz host ends
needs=(check)
for stage; do
	case $stage in
	deb)	needs+=(deb chroot) ;;
	image)	needs+=(image svm) ;;
	host|ends) needs+=("$kind") ;;
	debug)	needs+=(svm debug) ;;
	coverage|hostile) needs+=(both debug) ;;
	matrix)	needs+=(both matrix) ;;
	long)	needs+=(both) ;;
	esac
done
if "$hosts/setup.sh" "${needs[@]}" >"$log" 2>&1; then
	sed 's/^/# /' "$log"
	result ok "setup"
else
	sed 's/^/# /' "$log"
	result "not ok" "setup"
	summary
	exit 1
fi
guests="$(release_of 6.1) $(release_of 6.12)"
case $kind in
both)	kinds="svm vmx" ;;
*)	kinds=$kind ;;
esac
plan_hosts=()
for kind in $kinds; do
	case $kind in
	svm)	releases=${RELEASES:-$guests} ;;
	vmx)	releases=${RELEASES:-${guests% *}} ;;
	local)	releases=$(uname -r) ;;
	esac
	for kver in $releases; do
		plan_hosts+=("$kind $kver")
	done
done

for stage; do
	case $stage in
	lint)	program lint "$tests/lint.sh"
		run_statics lint/module $guests ;;
	unit)	run_unit ;;
	fuzz)	program fuzz timeout -k 5 $((${FUZZ_SECONDS:-0} * 10 + 1800)) "$tests/fuzz/fuzz.sh" ;;
	deb)	program deb timeout -k 5 2400 "$tests/deb.sh" ;;
	image)	program image timeout -k 5 3000 "$tests/image.sh" ;;
	host)	run_hosts "${plan_hosts[@]}" ;;
	ends)	program ends "$tests/ends.sh" short
		program cpus "$tests/cpus.sh" short ;;
	debug)	run_debug ;;
	matrix)	run_matrix ;;
	coverage) run_coverage ;;
	hostile) run_hostile ;;
	long)	run_long ;;
	*)	die "no stage $stage: lint, unit, fuzz, deb, image, host, ends, debug, matrix, coverage, hostile, long" ;;
	esac
done
summary
[ $failed = 0 ]
