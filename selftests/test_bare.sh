#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# What is no Linux starts as a guest, unmodified: images for the bare machine, of
# our own and of Debian's packages. Each is known by its first words.

out=/tmp/bare.$$
trap 'rm -rf $out $out.*' EXIT
bare=$CLEAVE_GUESTS/bare
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
		sed 's/^/# /' $out | tr -cd '\040-\176\n' | head -n 40
		echo "not ok $n $what"
	fi
}

# status N OPTION...: the guest ends with that.
status()
{
	want=$1
	shift
	cleave run --memory 64M "$@" </dev/null >$out 2>&1
	[ $? = "$want" ]
}

# says TEXT OPTION...: it is running still when it is ended, for it said that. At
# least by the time that a program may take.
says()
{
	text=$1
	shift
	cleave run --memory 64M "$@" </dev/null >$out 2>&1 &
	pid=$!
	while kill -0 $pid 2>/dev/null && ! grep -qaF "$text" $out; do
		sleep 1
	done
	kill $pid 2>/dev/null
	wait $pid
	grep -qaF "$text" $out
}

# firmware KERNEL: SeaBIOS starts it, its own words on the debug port, its screen on the serial port.
firmware()
{
	text=$1
	shift
	says "$text" --firmware $bare/bios.bin --device debugcon,port=0x402 \
		--device "fw-cfg,name=etc/sercon-port,file=$out.port,name=genroms/linuxboot.bin,file=$bare/linuxboot.bin" "$@"
}

echo 1..8
printf '\370\3\0\0\0\0\0\0' >$out.port
# mov al, 0x15; out 0xf4, al; hlt
printf '\260\25\346\364\364' >$out.flat
ok "a flat image ends by the debug-exit port" status 43 --flat $out.flat --device debug-exit
# A multiboot header with addresses: all of it at 2 MiB, entered at 0x20; then
# mov edx, 0xf4; out dx, eax, whose low bits are those of the loader's 0x2badb002.
printf '\002\260\255\33\0\0\1\0\376\117\121\344\0\0\40\0\0\0\40\0\0\0\0\0\0\0\0\0\40\0\40\0' >$out.multiboot
printf '\272\364\0\0\0\357\364' >>$out.multiboot
ok "a multiboot kernel has its magic number" status 5 --kernel $out.multiboot --device debug-exit
ok "an unknown device is refused" status 2 --flat $out.flat --device none
ok "memtest86+ starts" says "Memtest86+" --kernel "$bare/memtest86+x64.bin" --append "console=ttyS0,115200"
ok "SeaBIOS starts" firmware "SeaBIOS (version"
# The same three instructions as a boot sector.
cp $out.flat $out.disk
printf '\125\252' | dd of=$out.disk bs=1 seek=510 2>/dev/null
truncate -s 1M $out.disk
ok "SeaBIOS boots a virtio disk" status 43 --firmware $bare/bios.bin --device fw-cfg --device debug-exit --disk $out.disk
ok "iPXE starts" firmware "iPXE" --kernel $bare/ipxe.lkrn
ok "GRUB starts" firmware "GRUB is here" --kernel $bare/grub.lkrn
