#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# A guest that died is explained, a guest that lives is too and lives on, and
# guests are found by their names. The guests are a few instructions each.

dir=/tmp/explain.$$
mkdir -p $dir/run || exit 1
chmod 700 $dir/run
export XDG_RUNTIME_DIR=$dir/run
trap 'kill $pids 2>/dev/null; rm -rf $dir' EXIT
out=$dir/out
pids=
n=0

ok()
{
	what=$1
	shift
	n=$((n + 1))
	if "$@"; then
		echo "ok $n $what"
	else
		sed 's/^/# /' $out
		echo "not ok $n $what"
	fi
}

bytes()
{
	printf "$(printf '\\x%s' "$@")"
}

# guest FILE BYTE...: an ELF kernel, loaded to 0x200000 and entered there in 64-bit mode.
guest()
{
	file=$1
	shift
	size=$(printf %02x $#)
	bytes 7f 45 4c 46 02 01 01 00 00 00 00 00 00 00 00 00 02 00 3e 00 01 00 00 00 \
		00 00 20 00 00 00 00 00 40 00 00 00 00 00 00 00 00 00 00 00 00 00 00 00 \
		00 00 00 00 40 00 38 00 01 00 40 00 00 00 00 00 \
		01 00 00 00 05 00 00 00 78 00 00 00 00 00 00 00 00 00 20 00 00 00 00 00 \
		00 00 20 00 00 00 00 00 $size 00 00 00 00 00 00 00 $size 00 00 00 00 00 00 00 \
		00 10 00 00 00 00 00 00 "$@" >$dir/$file
}

# run NAME FILE [WORD...]
run()
{
	name=$1 file=$2
	shift 2
	cleave run -k $dir/$file -m 16M ${name:+-n "$name"} "$@" </dev/null >$out 2>&1
}

# start NAME FILE [SOCKET]: in the background, until it can be asked.
start()
{
	cleave run -k $dir/$2 -m 16M ${1:+-n "$1"} </dev/null >$dir/out.$2 2>&1 &
	pid=$!
	pids="$pids $pid"
	i=0
	until cleave stat "${3:-$1}" >$out 2>&1; do
		i=$((i + 1))
		[ $i -lt 100 ] || return
		sleep 0.1
	done
}

# explain ARGUMENT...; says PATTERN...: all of them in the output, in any order
explain()
{
	cleave explain "$@" >$out 2>&1
}

says()
{
	for pattern; do
		grep -qE -- "$pattern" $out || { echo "# no: $pattern"; return 1; }
	done
}

# one_line STATUS PATTERN COMMAND...
one_line()
{
	status=$1 pattern=$2
	shift 2
	timeout 60 "$@" </dev/null >$out 2>&1
	rc=$?
	[ $rc = "$status" ] && [ "$(wc -l <$out)" = 1 ] && says "$pattern" && return
	echo "# status $rc"
	return 1
}

# What it died of, in the page that `cleave run` prints and in `cleave explain`.
death_is_told()
{
	says 'the guest died' 'what .*triple fault' 'hint .*the IDT is empty' 'exit  *shutdown, reason 0x' \
		'at  *0010:0000000000200028, guest-physical 0x200028$' 'mode  *64-bit mode, 4-level paging, CPL 0' \
		'instruction  *0f 0b  ud2$' 'rip    0000000000200028' 'efer   0000000000000500'
}

dies()
{
	run dies crash
	rc=$?
	[ $rc = 3 ] && death_is_told && says 'cleave explain dies' && [ -e $dir/run/cleave/dies.json ] &&
		[ ! -e $dir/run/cleave/dies.sock ]
}

told_again()
{
	explain dies && death_is_told
}

exits_are_told()
{
	explain dies &&
		says ' 0000000000200018  cpuid      cpuid .*leaf 0x40000000, subleaf 0x7' \
			' 000000000020001c  port       out 0x80, al .*out 0x80 \(POST\), 1 byte.*to user space: port' \
			' 0000000000200023  stage2     mov eax, .*gpa 0xfec00000, read.*to user space: mmio' \
			' 0\.000  0000000000200028  (exception|shutdown) +ud2' &&
		[ "$(grep -cE '^ +[0-9.]+  [0-9a-f]{16}' $out)" -gt 3 ]
}

in_json()
{
	explain dies --json &&
		says '^ *"status":"dead"' '"what":"triple fault' '"direction":"out"' '"leaf":"0x40000000"' \
			'"gpa":"0xfec00000"' '"to_user":"mmio"' '"lstar":"0x200000"'
}

few_exits()
{
	explain dies --exits 2 && [ "$(grep -cE '^ +[0-9.]+  [0-9a-f]{16}' $out)" = 2 ] &&
		explain dies --exits 0 && ! grep -q 'last exits' $out
}

# The file has it 16 MiB higher, and IA32_LSTAR says so.
symbols()
{
	printf '%s\n' '0000000001200000 T entry_SYSCALL_64' '0000000001200027 t die' \
		'0000000000000010 A fixed_percpu_data' >$dir/map
	explain dies -s $dir/map &&
		says 'symbols .*moved by 0xffffffffff000000: IA32_LSTAR is entry_SYSCALL_64' \
			'symbol  *die\+0x1' ' entry_SYSCALL_64\+0x18  cpuid  '
}

symbols_by_hand()
{
	printf '%s\n' '0000000001200000 T start' '0000000001200027 t die' >$dir/map
	explain dies -s $dir/map && says 'not known.*KASLR.*--slide' && ! grep -q 'die+' $out &&
		explain dies -s $dir/map --slide 0xffffffffff000000 && says 'symbol  *die\+0x1'
}

bad_symbols()
{
	echo 'no symbols here' >$dir/map
	one_line 1 'neither an ELF file nor a System.map' cleave explain dies -s $dir/map
}

exits_of()
{
	cleave stat "$1" --json >$out 2>&1 &&
		sed -n 's/^ *"exits":\([0-9]*\).*/\1/p' $out | head -n 1
}

# Without leaving it stopped.
alive()
{
	start spin spin || return
	explain spin && says '^cleave: spin: running' 'instruction  *' ' cpuid ' 'out 0x80' || return
	a=$(exits_of spin)
	sleep 0.3
	b=$(exits_of spin)
	[ -n "$a" ] && [ -n "$b" ] && [ "$b" -gt "$a" ]
}

stat_once()
{
	cleave stat spin >$out 2>&1 &&
		says "^spin, pid $pid, 1 CPU" '^  exits  *[0-9]+' '^    cpuid  *[0-9]+' '^    port  *[0-9]+' \
			'^  exits to user space  *[0-9]+' '^  events injected  *[0-9]+'
}

stat_json()
{
	cleave stat spin --json >$out 2>&1 && says '"name":"spin"' '"vcpus":\[' '"cpuid":[0-9]+' '"port":[0-9]+'
}

# It ends when the guest does.
stat_live()
{
	cleave stat spin --live 0.3 --json >$out 2>&1 &
	stat=$!
	sleep 1.5
	kill $pid
	wait $pid
	[ $? = 143 ] || return
	wait $stat || return
	[ "$(grep -c '^{"name":"spin".*}$' $out)" -ge 2 ] && says '"rates":{"exits":[0-9]+\.[0-9]' 'the guest has ended' &&
		[ ! -e $dir/run/cleave/spin.sock ] && [ ! -e $dir/run/cleave/spin.json ]
}

# From the first moment that it can be asked, when not all CPUs run yet, and again.
at_once()
{
	cleave run -k $dir/sleep -m 16M -c 32 -n early </dev/null >$dir/out.early 2>&1 &
	pid=$!
	pids="$pids $pid"
	i=0
	until [ -S $dir/run/cleave/early.sock ]; do
		i=$((i + 1))
		[ $i -lt 1000 ] || return
		sleep 0.01
	done
	explain early --json && says '"id":31' && explain early || return
	kill $pid
	wait $pid
	[ $? = 143 ]
}

asleep()
{
	start asleep sleep && explain asleep && says 'asleep: halted' 'fa |f4 |eb ' &&
		explain asleep --json && says '"status":"halted"' || return
	cleave stat asleep --live 0.2 >$out 2>&1 &
	stat=$! i=0
	# Rates come with the second one.
	until grep -q '/s$' $out || [ $i = 100 ]; do
		i=$((i + 1))
		sleep 0.2
	done
	kill -INT $stat
	wait $stat && says '/s$'
}

in_use()
{
	one_line 1 '--name asleep: a guest of that name runs' cleave run -k $dir/spin -m 16M -n asleep
}

made_unique()
{
	start '' sleep sleep && one=$pid && start '' sleep sleep-2 && kill $one $pid && wait $one $pid
	[ $? = 143 ]
}

# What a killed process leaves is in nobody's way.
stale()
{
	start gone sleep && kill -KILL $pid && wait $pid
	[ -S $dir/run/cleave/gone.sock ] || return
	one_line 5 'gone: its process was killed' cleave explain gone &&
		one_line 5 'gone: its process was killed' cleave stat gone && start gone spin &&
		explain gone && says 'gone: running' && kill $pid && wait $pid
	[ $? = 143 ] && [ ! -e $dir/run/cleave/gone.sock ]
}

# A guest of that name makes the old report pointless.
forgotten()
{
	start dies sleep && explain dies && says 'dies: halted' && kill $pid && wait $pid
	one_line 5 'no such guest' cleave explain dies
}

not_private()
{
	chmod 755 $dir/run/cleave
	one_line 1 'open to others' cleave explain asleep
	rc=$?
	chmod 700 $dir/run/cleave
	return $rc
}

: >$out
# mov ecx, IA32_LSTAR; mov eax, 0x200000; xor edx, edx; wrmsr; mov eax,
# 0x40000000; mov ecx, 7; 200018: cpuid; mov al, 'C'; 20001c: out 0x80, al; mov
# edi, 0xfec00000; 200023: mov eax, [rdi]; jmp 1f; hlt; 200028: 1: ud2
guest crash b9 82 00 00 c0 b8 00 00 20 00 31 d2 0f 30 b8 00 00 00 40 b9 07 00 00 00 0f a2 \
	b0 43 e6 80 bf 00 00 c0 fe 8b 07 eb 01 f4 0f 0b
# 1: xor eax, eax; cpuid; out 0x80, al; jmp 1b
guest spin 31 c0 0f a2 e6 80 eb f8
# 1: cli; hlt; jmp 1b
guest sleep fa f4 eb fc

echo "1..22"
ok "a guest that dies says why" dies
ok "cleave explain says it again" told_again
ok "it tells the last exits" exits_are_told
ok "it tells as many as are asked for" few_exits
ok "it speaks JSON" in_json
ok "it names functions of a kernel that moved itself" symbols
ok "it says when it does not know that" symbols_by_hand
ok "a file without symbols" bad_symbols
ok "a guest that runs is explained and runs on" alive
ok "cleave stat counts" stat_once
ok "cleave stat speaks JSON" stat_json
ok "cleave stat goes on until the guest ends" stat_live
ok "a guest is explained from its start" at_once
ok "a guest that waits is explained; Ctrl-C ends cleave stat" asleep
ok "a name in use" in_use
ok "a name that nobody chose is made unique" made_unique
ok "explain: no such guest" one_line 5 'nobody: no such guest; .* knows .*asleep' cleave explain nobody
ok "stat: no such guest" one_line 5 'nobody: no such guest' cleave stat nobody
ok "a name that is none" one_line 2 'no name for a guest' cleave explain ../asleep
ok "what a killed guest leaves" stale
ok "a new guest takes a dead one's name" forgotten
ok "a directory that others may read" not_private
