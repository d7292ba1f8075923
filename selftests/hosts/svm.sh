# SPDX-License-Identifier: GPL-2.0
# A test host with AMD-V: QEMU. To be sourced by host.sh.

# Real AMD-V for the test host's own guests: KVM here, and it lets SVM through.
svm_nested()
{
	[ -z "${HOST_CPU-}" ] && [ -w /dev/kvm ] && grep -qw svm /proc/cpuinfo &&
		grep -qs '[1Y]' /sys/module/kvm_amd/parameters/nested
}

host_describe()
{
	if svm_nested && [ -z "$icount" ]; then
		echo "QEMU on KVM, this machine's AMD-V"
	else
		echo "QEMU, AMD-V emulated"
	fi
}

# One thread for all CPUs: in QEMU 7.2 with a thread each, now and then an exit
# leaves a CPU with the host's registers and nested paging still on, or takes an
# interrupt away that came in meanwhile. TCG_THREAD=multi has them all the same.
host_command()
{
	if svm_nested && [ -z "$icount" ]; then
		qemu_command -accel kvm -cpu host
	else
		qemu_command -accel "tcg,thread=${TCG_THREAD:-single}" ${icount:+-icount shift=0,sleep=off} -cpu "${HOST_CPU:-EPYC,+svm}"
	fi
}
