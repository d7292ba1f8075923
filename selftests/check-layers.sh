#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The rules of Documentation/architecture.rst that a grep can hold: what only one
# place may do, who may include whom, and how long things may get. TAP.

set -u
shopt -s lastpipe	# verdict counts
export LC_ALL=C
cd "$(dirname "$0")/.." || exit 1

one_vendor=8200
both_vendors=9999
file_limit=900
function_limit=80
run_loop_limit=120	# run.c's
n=0

# sources DIR...: the C and assembler files there that are ours.
sources()
{
	find "$@" -name '*.[chS]' ! -name '*.mod.c' | sort
}

# verdict WHAT: fails with what it reads, if that is anything.
verdict()
{
	local found

	found=$(head -n 30)
	n=$((n + 1))
	if [ -z "$found" ]; then
		echo "ok $n $1"
	else
		sed 's/^/# /' <<<"$found"
		echo "not ok $n $1"
	fi
}

# code FILE...: file:line:text, without comments and strings.
code()
{
	perl -e '
		for my $f (@ARGV) {
			open(my $h, "<", $f) or die "$f: $!\n";
			local $/;
			my $t = <$h>;
			$t =~ s{(/\*.*?\*/|//[^\n]*)}{$1 =~ tr/\n//cdr}gse;
			$t =~ s{^(?!\s*\#\s*include)(.*?)$}{my $l = $1; $l =~ s/"(\\.|[^"\\])*"/""/g; $l}gme;
			my $i = 0;
			print "$f:", ++$i, ":$_\n" for split /\n/, $t, -1;
		}' "$@"
}

# only WHAT PATTERN FILE-PATTERN: in the module's code PATTERN is there alone.
only()
{
	grep -P "^[^:]*:\d+:.*$2" <<<"$module" | grep -vP "^kmod/($3):" | verdict "$1"
}

# functions: name, line and length of each, by the style's `{` and `}` in column 1.
functions()
{
	awk '
		FNR == 1 { start = 0 }
		/^[A-Za-z_].*\(/ { name = $0; sub(/\(.*/, "", name); sub(/.*[ *]/, "", name) }
		/^\{/ { start = FNR }
		/^\}/ && start { print FILENAME ":" start, name, FNR - start - 1; start = 0 }' "$@"
}

mapfile -t files < <(sources kmod)
module=$(code "${files[@]}")

echo "1..23"
only "user memory is copied by ioctl.c, and by mem.c for the guest" \
	'\b(_*copy_(to|from)_user\w*|copy_struct_from_user|_*(get|put)_user|strncpy_from_user)\s*\(' 'ioctl\.c|mem\.c'
grep -oP '^[^:]*:\d+:.*\b(_*copy_from_user\w*|copy_struct_from_user|_*get_user|strncpy_from_user)\s*\(' <<<"$module" |
	cut -d: -f1 | sort | uniq -d |
	verdict "user memory is read once: by one call in ioctl.c, and one in mem.c"
only "vmread, vmwrite: vmcs.h, and the entry" '\b(vmread|vmwrite)\b' 'vmx/(vmcs\.h|vmenter\.S)'
grep -P '\b(try_)?cmpxchg\w*\(|\bxchg\(|WRITE_ONCE\(' <<<"$module" | grep '^kmod/stage2\.c:' |
	grep -vP 'return (try_cmpxchg\(p, old, new\)|xchg\(p, new\));' |
	verdict "stage-2 entries are stored by stage2.c's two setters"
only "->enter: run.c" '->enter\s*\(' 'run\.c'
only "what an exit tells user space: exit.c" '\brun->(exit|valid|window|raw_\w+|rip|io|mmio|msr|hypercall|eoi|fault|refused)\b[^=;]*[^=!<>]=(?!=)(?!.*CLEAVE_EXIT_NONE)' 'exit\.c'
only "vCPUs by a number that a guest or user space gives: clv_vcpu_by_id()" '\bvcpus\[(?!CLEAVE_MAX_VCPUS\]|i\])' 'clv\.h|vcpu\.c'
only "CPUs are switched on and off by host.c" '\b(on_each_cpu\w*|cpuhp_\w+)\s*\(' 'host\.c'
only "kernel versions: compat.h" '\b(LINUX_VERSION_CODE|KERNEL_VERSION)\b' 'compat\.h'
only "VMRUN, VMLAUNCH, VMRESUME: vmenter.S" '\b(vmrun|vmlaunch|vmresume|VMRUN|VMLAUNCH|VMRESUME)\b' '(svm|vmx)/vmenter\.S'
grep -P '#\s*include\s*[<"].*\b(svm|vmx|vmcb|vmcs)\b' <<<"$module" | grep -vP '^kmod/(svm|vmx)/' |
	verdict "the core includes nothing of svm/ and vmx/"
grep -P '^kmod/svm/.*#\s*include\s*".*vm(x|cs)|^kmod/vmx/.*#\s*include\s*".*(svm|vmcb)' <<<"$module" |
	verdict "svm/ and vmx/ do not include each other"
grep -P '#\s*define\s+CLEAVE_' <<<"$module" | verdict "CLEAVE_ names are the ABI's alone"
grep -P '\b(BUG|BUG_ON|WARN|WARN_ON|panic)\s*\(' <<<"$module" |
	verdict "the module's own bugs are WARN_ON_ONCE"
code $(sources userspace-tool/libcleave) |
	grep -P '\b(v?f?printf|puts|fputs|putchar|perror|warnx?|errx?|_?exit|abort)\s*\(' |
	verdict "libcleave prints nothing and ends nothing"
code $(sources userspace-tool) | grep -P '\bioctl\s*\(.*\bCLEAVE_' | grep -v '^userspace-tool/libcleave/' |
	verdict "the module's ioctls are called by libcleave alone"
diff <(sed -nE 's/^#define CLEAVE_(\w+)\s+_IO[RW]*\(.*/\1/p' uapi/linux/cleave.h | sort) \
	<(sed -nE 's/^\s\{ "(\w+)", CLEAVE_\1, ON_\w+ \},$/\1/p' selftests/test_abi.c | sort) |
	verdict "test_abi.c knows each command of the ABI"
grep -oh '``[a-z_0-9]*()``' Documentation/{safety,locking}.rst | tr -d '`()' | sort -u | while read -r name; do
	grep -rqwF "$name" kmod userspace-tool uapi --include='*.[chS]' || echo "$name()"
done | verdict "the functions that safety.rst and locking.rst name are there"
{ grep -nP '\b(TODO|FIXME|XXX|HACK)\b' "${files[@]}"; grep -rnP '\b(TODO|FIXME|XXX|HACK)\b' --include='*.[ch]' userspace-tool uapi; } |
	verdict "nothing is left for later"
functions $(sources kmod userspace-tool) |
	awk -v limit=$function_limit -v loop=$run_loop_limit '$3 > ($1 ~ /^kmod\/run.c/ ? loop : limit)' |
	verdict "functions of at most $function_limit lines, the run loop $run_loop_limit"
wc -l $(sources kmod userspace-tool) | awk -v limit=$file_limit '$2 != "total" && $1 > limit' |
	verdict "files of at most $file_limit lines"
# budget WHAT LINES FILE...
budget()
{
	local lines limit=$2 what=$1

	shift 2
	lines=$(cat "$@" | wc -l)
	{ [ "$lines" -lt "$limit" ] || wc -l "$@" | sort -rn; } |
		verdict "$what has fewer than $limit lines ($lines)"
}
mapfile -t no_vmx < <(printf '%s\n' "${files[@]}" | grep -v '^kmod/vmx/')
budget "the core with one vendor" $one_vendor "${no_vmx[@]}"
budget "the module" $both_vendors "${files[@]}"
