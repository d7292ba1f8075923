# SPDX-License-Identifier: GPL-2.0
# A test host with AMD-V: QEMU. To be sourced by host.sh.

# Real AMD-V for the test host's own guests: KVM here, and it lets SVM through.
svm_nested()
{
	[ -w /dev/kvm ] && grep -qw svm /proc/cpuinfo &&
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

host_command()
{
	if svm_nested && [ -z "$icount" ]; then
		qemu_command -accel kvm -cpu host
	else
		qemu_command -accel tcg ${icount:+-icount shift=0,sleep=off} -cpu EPYC,+svm
	fi
}
