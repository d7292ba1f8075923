#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The fuzzers of the tool's parsers and of libcleave's assist.
#   fuzz.sh [NAME...]      all of them: TAP, a fixed number of inputs by a fixed seed
# FUZZ_SECONDS=N: each for so long instead, with another seed each time (FUZZ_SEED);
# what it learns is kept in build/fuzz/corpus. Tells executions, edges of the code
# reached, and lines of the files under test. An input that breaks something is kept in
# build/fuzz/found, and belongs into corpus/NAME under a name that says what it broke.

set -u
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
build=$here/../../build/fuzz
seconds=${FUZZ_SECONDS:-0}
seed=${FUZZ_SEED:-1}
[ "$seconds" = 0 ] || seed=${FUZZ_SEED:-$RANDOM}

# Inputs in the short form: some seconds on a slow machine.
declare -A runs=([args]=30000 [assist]=6000 [client]=20000 [control]=8000 [kernel]=6000
		 [recorder]=3000 [report]=1500 [symbols]=15000 [types]=30000 [virtqueue]=60000 [qcow2]=3000 [virtio]=2500 [net]=20000)
# The longest input that says something new.
declare -A room=([assist]=300 [args]=512 [control]=12000 [kernel]=16384 [recorder]=24000 [symbols]=8192 [types]=1024 [virtqueue]=1024 [qcow2]=8192 [virtio]=2048 [net]=1024)

# What coverage of a fuzzer is about: what it includes of these.
files='/(block|boot|libcleave|cmd|dev|launch|net|virtio)/[a-z_0-9]*[.]c$'

# fuzz NAME: its output; the status says whether something was found.
fuzz()
{
	local name=$1 dict=() amount

	mkdir -p "$build/corpus/$name" "$build/found"
	[ ! -e "$here/corpus/$name.dict" ] || dict=(-dict="$here/corpus/$name.dict")
	amount=(-runs="${runs[$name]:-10000}")
	[ "$seconds" = 0 ] || amount=(-max_total_time="$seconds")
	# Not what an earlier run has learnt, where the same is to happen each time.
	[ "$seconds" != 0 ] || rm -rf "$build/corpus/$name"/*
	timeout -k 5 $((seconds + 300)) "$build/$name" -seed="$seed" -max_len="${room[$name]:-4096}" -len_control=0 -timeout=60 \
		-rss_limit_mb=2048 -print_final_stats=1 "${amount[@]}" "${dict[@]}" \
		-artifact_prefix="$build/found/$name-" "$build/corpus/$name" "${dirs[@]}" >"$build/$name.log" 2>&1
}

# lines NAME: of the files under test, those that all known inputs execute.
lines()
{
	local name=$1 data=$build/$1.profdata

	make -s -C "$here" O="$build" "$build/coverage/$name" &&
		LLVM_PROFILE_FILE=$build/$name.profraw "$build/coverage/$name" -runs=0 "$build/corpus/$name" "${dirs[@]}" &&
		llvm-profdata-14 merge -o "$data" "$build/$name.profraw" &&
		llvm-cov-14 report -instr-profile="$data" "$build/coverage/$name" | awk -v files="$files" '
			# Filename, three columns each of regions, functions, lines
			$1 ~ files { n = split($1, path, "/"); lines = $8; missed = $9
				     printf "# %-24s %4d of %4d lines\n", path[n], lines - missed, lines }'
}

# summary NAME: what it did.
summary()
{
	awk -v name="$1" '
		/^#[0-9]+.*cov: / { for (i = 1; i < NF; i++) if ($i == "cov:") edges = $(i + 1) }
		/^stat::number_of_executed_units/ { runs = $2 }
		/^stat::average_exec_per_sec/ { rate = $2 }
		END { printf "# %s: %d executions, %d a second, %d edges\n", name, runs, rate, edges }' "$build/$1.log"
	lines "$1" 2>>"$build/$1.log"
}

names=("$@")
[ $# != 0 ] || read -ra names < <(make -s -C "$here" list)
n=0 failed=0
echo "1..${#names[@]}"
"$here/seeds.sh" "$build/seeds" || exit
for name in "${names[@]}"; do
	n=$((n + 1)) dirs=()
	for dir in "$here/corpus/$name" "$build/seeds/$name"; do
		[ ! -d "$dir" ] || dirs+=("$dir")
	done
	if ! make -s -C "$here" O="$build" "$build/$name" >"$build/$name.log" 2>&1 || ! fuzz "$name"; then
		tail -n 60 "$build/$name.log" | sed 's/^/# /'
		failed=1
		echo "not ok $n $name"
		continue
	fi
	echo "ok $n $name"
	[ "$seconds" = 0 ] || summary "$name"
done
exit $failed
