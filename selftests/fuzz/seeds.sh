#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# seeds.sh DIR: first inputs for the fuzzers that read binary files, one folder
# each. Those of text are in corpus/.

set -u
dir=${1:?a directory}
file=

# new FUZZER NAME SIZE: a file of zeros.
new()
{
	mkdir -p "$dir/$1"
	file=$dir/$1/$2
	head -c $(($3)) /dev/zero >"$file"
}

# put OFFSET HEX...: bytes there.
put()
{
	local offset=$1

	shift
	printf "$(printf '\\x%s' "$@")" | dd of="$file" bs=1 seek=$((offset)) conv=notrunc status=none
}

# A kernel's file is behind one byte of options. bzimage NAME OPTIONS: offsets are
# those of the boot protocol, and one.
bzimage()
{
	new kernel "$1" $((1 + 2560 + 8192))
	put 0 "$2"
	put 1+0x1f1 04			# setup_sects
	put 1+0x1f4 00 02 00 00		# syssize: 8 KiB
	put 1+0x1fe 55 aa eb 6a 48 64 72 53 0f 02
	put 1+0x211 01			# LOADED_HIGH
	put 1+0x22c ff ff ff 7f		# initrd_addr_max
	put 1+0x230 00 00 20 00 01	# alignment, relocatable
	put 1+0x236 01 00 ff 07 00 00	# 64-bit entry; cmdline_size
	put 1+0x258 00 00 00 01		# pref_address
	put 1+0x260 00 00 20 00		# init_size
}

# elf NAME OPTIONS: header, one segment of 16 bytes in the file and 8 KiB at 1 MiB.
elf()
{
	new kernel "$1" $((1 + 0x220))
	put 0 "$2"
	put 1 7f 45 4c 46 02 01 01
	put 1+0x10 02 00 3e 00 01 00 00 00 00 00 10 00
	put 1+0x20 40
	put 1+0x34 40 00 38 00 01
	put 1+0x40 01 00 00 00 05 00 00 00 00 02
	put 1+0x50 00 00 10 00 00 00 00 00 00 00 10 00 00 00 00 00 10 00 00 00 00 00 00 00 00 20
}

bzimage bzimage 06
bzimage bzimage_32bit_16mib 10
put 1+0x236 00

elf vmlinux 05
# With a note of its entry, PVH.
elf pvh 1a
put 1+0x38 02
put 1+0x78 04 00 00 00 04 00 00 00 00 01
put 1+0x98 14
put 1+0x100 04 00 00 00 04 00 00 00 12 00 00 00 58 65 6e 00 00 00 10 00

# multiboot NAME OPTIONS: a header with addresses, 4 KiB at 2 MiB.
multiboot()
{
	new kernel "$1" $((1 + 4096))
	put 0 "$2"
	put 1 02 b0 ad 1b 03 00 01 00 fb 4f 51 e4
	put 1+12 00 00 20 00 00 00 20 00 00 00 00 00 00 00 00 00 20 00 20
}

multiboot multiboot 1a
multiboot multiboot_16mib 00
elf multiboot_elf 05
put 1+0x1f0 02 b0 ad 1b 03 00 00 00 fb 4f 52 e4

# What starts in real mode: bits 7:5 of the options.
new kernel firmware $((1 + 8192))
put 0 20
new kernel flat 17
put 0 40
bzimage bzimage_for_firmware 66
put 1+0x206 03

# Sections at 0x40: none, code, symbols (at 0x140), strings (at 0x190).
new symbols vmlinux 0x1b0
put 0 7f 45 4c 46 02 01 01
put 0x10 02 00 3e 00 01
put 0x28 40
put 0x3a 40 00 04
put 0x84 01 00 00 00 06
put 0xc4 02
put 0xd8 40 01 00 00 00 00 00 00 48 00 00 00 00 00 00 00 03
put 0xf8 18
put 0x104 03
put 0x118 90 01 00 00 00 00 00 00 20
put 0x158 01 00 00 00 12 00 01 00 00 00 00 81 ff ff ff ff 40
put 0x170 07 00 00 00 10 00 01 00 40 00 00 81 ff ff ff ff 10
put 0x191 5f 74 65 78 74 00 61 73 6d 5f 65 78 63

# A request without an end, in pieces that tool_control.c takes.
new control endless 5120
for i in {0..19}; do
	put $((i * 256)) ff
done

# As tool_assist.c takes it: the mode, no changes, RBX at a device, an exit for an
# instruction or an access; then the code, of each kind.
mkdir -p "$dir/assist"
zeros='\x00\x00\x00\x00\x00\x00\x00\x00'
n=0
for code in '\x8b\x03' '\x89\x03' '\xc6\x03\x55' '\xf3\xa4' '\xf3\xab' '\xf3\x6c' '\xf3\x6e' \
	    '\x0f\xb6\x03' '\x48\x0f\xbe\x03' '\xf0\x0f\xb1\x0b' '\xf0\x0f\xc1\x0b' '\x0f\xc7\x0b' \
	    '\x0f\xab\x0b' '\x66\x0f\x6f\x03' '\xc5\xfe\x6f\x03' '\xff\x33' '\x8f\x03' '\xff\x13' \
	    '\xe4\x10' '\x66\xed' '\x0f\x01\x23' '\x0f\x01\x33' '\x0f\x38\xf0\x03' '\xd3\x23' \
	    '\x0f\xa4\x0b\x05' '\x0f\x94\x03' '\xf2\xae' '\x01\x03' '\xf7\x1b' '\x87\x03'; do
	for mode in 0 1 2 3 4 5; do
		n=$((n + 1))
		printf "\\x0$mode\\x00\\x08\\x00$zeros\\x0$((n % 2))\\x01$zeros$code$zeros$zeros" >"$dir/assist/insn_$n"
	done
done

# Rings of four entries, one chain: a buffer to read, one to write; the same by a table.
ring()
{
	new virtqueue "$1" $((1 + 128 + 32 + 128 + 40))
	put 0 "$2"
	put 1+128+2 01			# avail->idx
	put 1+288 00
	put 1+296 03 04 00 04 05
}

ring direct 32
put 1 00 20 00 00 00 00 00 00 10 00 00 00 01 00 01
put 1+16 00 21 00 00 00 00 00 00 10 00 00 00 02
ring indirect 32
put 1 00 30 00 00 00 00 00 00 20 00 00 00 04
put 1+160 00 20 00 00 00 00 00 00 10 00 00 00 01 00 01
put 1+176 00 21 00 00 00 00 00 00 10 00 00 00 02

# qcow2: version 3, clusters of 512 bytes, four of them: L1 at 1, L2 at 2, data at 3.
new qcow2 image $((1 + 2560))
put 1 51 46 49 fb 00 00 00 03
put 1+20 00 00 00 09 00 00 00 00 00 00 08 00
put 1+36 00 00 00 01 00 00 00 00 00 00 02 00
put 1+100 00 00 00 68
put 1+512 80 00 00 00 00 00 04 00
put 1+1024 80 00 00 00 00 00 06 00 40 00 00 00 00 00 06 00 00 00 00 00 00 00 00 01
# An overlay over 2560 bytes, which was written to at the time that no file has.
new qcow2 overlay $((1 + 8192 + 2560))
put 0 01
put 1 63 6c 65 61 76 65 6f 76 01 00 00 00 00 10 00 00 00 0a 00 00 00 00 00 00 00 10 00 00 00 00 00 00 00 20

# A connection to the service inside, a byte, and its end; a datagram to the name server.
new net connection $((3 * 57))
tcp()
{
	put "$1" 37 01 02 00 a9 fe a9 fe 02 00 00 01 02 03 08 00 45 00 00 "$2" 00 00 00 00 40 06 00 00 0a 00 02 0f a9 fe a9 fe \
		10 00 00 50 00 00 00 "$3" 00 00 00 "$4" 50 "$5" 20 00
}
tcp 0 28 00 00 02
tcp 57 29 01 02 10
put $((57 + 56)) 02
tcp 114 28 02 02 11
new net names 60
put 0 2e 00 52 55 0a 00 02 02 02 00 00 01 02 03 08 00 45 00 00 20 00 00 00 00 40 11 62 b9 0a 00 02 0f 0a 00 02 03 \
	10 00 00 35 00 0c 00 00 61 62 63 64

# Devices: each set up, a chain in queue 0, a kick.
device()
{
	new virtio "$1" $((1 + 4 + 21 + 8 + 8 + 32))
	put 0 "$2"
	put 1 06 00 00 00
	put 5 08 00 00 00 10 00 40 00 00 00 00 00 00 10 00 00 00 02
	put 26 08 02 01 00 03 01 00 00
	put 34 07 00 00 00 0b 00 00 00
}

device rng 00
device blk 01
device console 02
device ports 06
device balloon 03
device net 10
device net_user 30
