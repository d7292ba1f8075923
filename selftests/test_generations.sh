#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# `cleave bench generations`: the same work by emulated, paravirtual and hardware devices. It
# compares what arrived itself; here are the facts that its figures must show on any host.

. "$CLEAVE_GUESTS/boots.sh"
dir=/tmp/generations.$$
mkdir -p $dir || exit 1
trap 'rm -rf $dir' EXIT

measured()
{
	timeout 800 cleave bench generations --rounds 10 --json $dir/json --svg $dir/svg >$dir/out 2>$dir/err
	rc=$?
	sed 's/^/# /' $dir/err $dir/out
	[ $rc = 0 ] && ! grep -v '^cleave: .*, step [0-9]* of 15$' $dir/err
}

# A line each: operation, generation, exits, those to user space, cost.
figures()
{
	awk -F'[":, ]+' '
		$2 == "operation" { op = $3 }
		$2 == "generation" { g = $3 }
		$2 == "exits" { exits = $3 }
		$2 == "exits_to_user" { user = $3 }
		$2 == "cost" { print op, g, exits, user, $3 }' $dir/json >$dir/figures
	[ "$(wc -l <$dir/figures)" = 15 ]
}

# holds OPERATION CONDITION: of e1 e2 e3 (exits by generation), u1 u2 u3 (to user space), c1 c2 c3.
holds()
{
	awk -v op="$1" '
		$1 == op { e[$2] = $3; u[$2] = $4; c[$2] = $5 }
		END {
			e1 = e[1]; e2 = e[2]; e3 = e[3]; u1 = u[1]; u2 = u[2]; u3 = u[3]
			c1 = c[1]; c2 = c[2]; c3 = c[3]
			exit !('"$2"')
		}' $dir/figures
}

# Nothing but what was asked for, and the whole of it.
drawn()
{
	[ "$(head -c 5 $dir/svg)" = "<svg " ] && [ "$(tail -n 1 $dir/svg)" = "</svg>" ] &&
		[ "$(grep -c 'height="17"' $dir/svg)" = 30 ]
}

said()
{
	[ "$(grep -c '^From .* exits .*\.$' $dir/out)" = 2 ] &&
		grep -q '^From emulated to paravirtual: exits fall for a line from 128 to 1' $dir/out
}

# refused STATUS WORDS ARGUMENT...: one line, and no figures
refused()
{
	status=$1 words=$2
	shift 2
	cleave bench "$@" >$dir/out 2>$dir/err
	rc=$?
	[ $rc = "$status" ] && [ ! -s $dir/out ] && [ "$(wc -l <$dir/err)" = 1 ] &&
		grep -q -- "$words" $dir/err && return
	sed "s/^/# status $rc: /" $dir/err $dir/out
	return 1
}

on_stdout()
{
	cleave bench generations --rounds 1 --json - >$dir/out 2>$dir/err &&
		[ "$(head -c 1 $dir/out)" = "{" ] && [ "$(tail -n 1 $dir/out)" = "}" ] &&
		grep -q '"rounds":1,' $dir/out
}

# Nobody uses the module any more.
idle()
{
	grep -q '^cleave [0-9]* 0 ' /proc/modules
}

echo 1..17
ok "the work arrives, by all three" measured
ok "five operations, three times" figures
# A byte is looked for room for, and sent.
ok "a line: two exits for each byte, one, none" holds line 'e1 >= 128 && e1 < 129 && u1 == 128 && e2 == 1 && u2 == 1 && e3 < 0.5'
# 6 registers, a look; for each of 8 sectors the words, a look, two 8259s.
ok "a block: 39 exits, one, none" holds block 'e1 >= 39 && u1 == 39 && e2 >= 1 && e2 < 2 && u2 == 1 && e3 < 0.5'
ok "a tick: user space thrice, once, not at all" holds tick 'e1 >= 3 && u1 == 3 && e2 >= 1 && e2 < e1 && u2 == 1 && e3 >= 1 && e3 <= e2 + 0.5 && u3 == 0'
ok "an IPI: user space four times, then not at all" holds ipi 'e1 >= 4 && u1 == 4 && e2 >= 1 && e2 < 2 && u2 == 0 && e3 >= 1 && e3 < 2 && u3 == 0'
ok "the clock: an exit, none, none" holds clock 'e1 >= 1 && e1 < 1.5 && u1 == 1 && e2 < 0.5 && e3 < 0.5'
# By far; but a busy machine under a test host takes its time now and then.
for op in line block clock; do
	ok "$op: the second generation costs less than half of the first" holds $op 'c1 > 0 && c2 < c1 / 2'
done
for op in tick ipi; do
	ok "$op: the second generation costs less than the first" holds $op 'c1 > 0 && c2 > 0 && c2 < c1'
done
ok "a sentence for each step" said
ok "the figure" drawn
ok "JSON alone on standard output" on_stdout
ok "wrong usage, and files that cannot be" eval 'refused 2 "cleave bench generations" && refused 2 "give one from 1" generations -r 0 &&
	refused 1 "give a file" generations --svg /nowhere/svg && refused 1 "give a file" generations --json /'
ok "nothing is left" idle
