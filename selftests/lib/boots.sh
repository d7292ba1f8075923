# SPDX-License-Identifier: GPL-2.0
# What tests that boot a guest to its init (hosts/guest-init, cleave.auto) share. To be sourced.

out=/tmp/boot.$$
trap 'rm -f $out' EXIT
n=0

# ok WHAT CMD...
ok()
{
	what=$1
	shift
	n=$((n + 1))
	if "$@"; then
		echo "ok $n $what"
	else
		echo "not ok $n $what"
	fi
}

# guest KERNEL MEMORY CPUS [WORDS [INITRD]]: its console to $out and here; sets rc.
guest()
{
	cleave run --kernel "$1" --initrd "$CLEAVE_GUESTS/${5-initramfs}" --memory "$2" --cpus "$3" \
		--append "console=ttyS0 loglevel=5 panic=-1 cleave.auto cleave.cpus=$3 ${4-}" \
		</dev/null >$out 2>&1
	rc=$?
	sed 's/^/# /' $out
}

# The guest's init has looked at the kernel's log; here at what the console got. The kernel's notes
# on the CPU's bugs are `WARNING: See ...`.
quiet()
{
	grep -q '^cleave guest: Linux' $out &&
		! grep -qE 'WARNING: [^S]|BUG:|Call Trace|Oops|FAILED|rcu.*(stall|starved)' $out
}

# paravirtual CPUS: it uses all that a kernel with so many CPUs does.
paravirtual()
{
	grep -q '^cleave guest: pv: kvm-clock: Using' $out &&
		grep -qE '^cleave guest: pv: ([a-z_-]+ )*kvm-clock( |\s*$)' $out || return
	if [ $1 = 1 ]; then
		grep -q '^cleave guest: pv: PV spinlocks disabled' $out
		return
	fi
	for feature in 'PV spinlocks enabled' 'PV IPIs' 'pv remote TLB flush' 'PV sched yield'; do
		grep -q "^cleave guest: pv: $feature" $out || return
	done
}
