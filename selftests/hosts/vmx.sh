# SPDX-License-Identifier: GPL-2.0
# A test host with VT-x: QEMU on KVM where that is nested, else Bochs. To be sourced by host.sh.

vmx_nested()
{
	[ -z "${HOST_CPU-}" ] && [ -w /dev/kvm ] && grep -qw vmx /proc/cpuinfo &&
		grep -qs '[1Y]' /sys/module/kvm_intel/parameters/nested
}

host_describe()
{
	if vmx_nested && [ -z "$icount" ]; then
		echo "QEMU on KVM, this machine's VT-x"
	else
		echo "Bochs, VT-x emulated"
	fi
}

# Instructions a second, by the clocks of the machine. It is about what Bochs does.
bochs_mips=50

# The BIOS boots it: isolinux loads the kernel. KASLR, the mitigations and the
# tests of cryptographic code cost Bochs most of its boot time. Its TSC counts
# instructions, but CPUID says that it runs at 3.5 GHz: a kernel that believes it
# has a second of 70. CPUID is also wrong about the size of a compacted XSAVE area,
# by which the kernel would do without XSAVE. And MWAIT oversleeps another CPU's
# write at times.
bochs_iso()
{
	local quick=(nokaslr mitigations=off cryptomgr.notests)

	mkdir -p "$work/iso/isolinux"
	cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/iso/isolinux/" &&
		cp "$vmlinuz" "$work/iso/vmlinuz" && mv "$work/initrd" "$work/iso/initrd" || return
	cat >"$work/iso/isolinux/isolinux.cfg" <<-END
		DEFAULT host
		PROMPT 0
		LABEL host
		 KERNEL /vmlinuz
		 INITRD /initrd
		 APPEND ${quick[*]} tsc_early_khz=${bochs_mips}000 clearcpuid=xsavec,xsaves idle=halt $cmdline
	END
	xorriso -as mkisofs -quiet -o "$work/host.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat \
		-no-emul-boot -boot-load-size 4 -boot-info-table "$work/iso" >"$work/machine.log" 2>&1
}

# What the debugger is told. For -e: kernel and BIOS both write the word at 472h, that
# says how to start again; how are the CPUs then? Behind a reset the BIOS is the last to
# write it, as Bochs leaves IA32_FEATURE_CONTROL locked, which this BIOS does not survive.
bochs_rc()
{
	local n=60

	[ -n "$ends" ] && echo "watch w 0x472 2" || n=0
	while [ $((n--)) -gt 0 ]; do
		printf 'c\ncreg\nset $cpu=1\ncreg\nset $cpu=0\n'
	done
	echo c
}

bochs_resets()
{
	awk '
		/Caught write watch/ { cpu = 0 }
		/^CR4=/ { on = / VMX / ? "on" : "off" }
		/^EFER=.* LMA / { print "CPU", cpu++, on; kernel = 1 }
		/^EFER=.* lma / && kernel { print "reset"; kernel = 0 }' "$work/machine.log"
}

# A debugger build: the file given by -rc tells it to go on. It allots 2 GiB at
# most, and keeps what of a larger memory does not fit in a file.
bochs_command()
{
	local com1="mode=file, dev=$work/console" disk=

	bochs_iso || return
	[ -z "${HOST_DISK-}" ] || disk="ata0-slave: type=disk, path=$HOST_DISK, mode=flat, cylinders=0"
	[ -z "$interactive" ] || com1="mode=term, dev=$(tty)"
	cat >"$work/bochsrc" <<-END
		plugin_ctrl: unmapped=1, biosdev=1, speaker=0, serial=1, iodebug=1
		config_interface: textconfig
		display_library: rfb, options="timeout=0"
		memory: guest=$mem, host=$((mem < 2048 ? mem : 2048))
		romimage: file=/usr/share/bochs/BIOS-bochs-latest
		vgaromimage: file=/usr/share/vgabios/vgabios.bin
		cpu: model=${HOST_CPU:-corei7_skylake_x}, count=$cpus, ips=${bochs_mips}000000, reset_on_triple_fault=0
		clock: sync=none, time0=utc
		ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
		ata0-master: type=cdrom, path=$work/host.iso, status=inserted
		$disk
		boot: cdrom
		com1: enabled=1, $com1
		com2: enabled=1, mode=file, dev=$klog
		log: $work/bochs.log
		panic: action=fatal
		error: action=ignore
		info: action=ignore
	END
	bochs_rc >"$work/rc"
	: >"$work/console"
	machine=(bochs -q -f "$work/bochsrc" -rc "$work/rc")
	[ -n "$interactive" ] || follow=$work/console
}

host_command()
{
	if vmx_nested && [ -z "$icount" ]; then
		qemu_command -accel kvm -cpu host
	else
		bochs_command
	fi
}
