#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# make bench-devices: the same guest with the same devices on QEMU with KVM and on cleave, in the
# same test host with AMD-V, in instructions. A table on stdout, and build/bench/devices.json.

set -u
export LC_ALL=C
. "$(dirname "$0")/hosts/common.sh"
tests=$top/selftests
out=$build/bench
overlay=$out/devices
kver=$(release_of 6.1) || die "no kernel to boot"

# The guest: our program is its init, beside the drivers that its kernel has as modules.
build_guest()
{
	local tree=$out/devices-guest

	rm -rf "$tree" && mkdir -p "$tree/modules" "$tree/dev" &&
		cp "$build/selftests/bench-devices/guest" "$tree/init" && cp "$kernels/$kver"/virtio/*.ko "$tree/modules/" &&
		(cd "$tree" && find . | cpio -o -H newc --quiet) >"$overlay/guest/initramfs" &&
		cp "$kernels/$kver/vmlinuz" "$overlay/guest/"
}

build_all()
{
	local qemu

	qemu=$(command -v qemu-system-x86_64) && module_build module "$kver" && make -C "$top/userspace-tool" &&
		make -C "$tests" O="$build/selftests" "$build/selftests/bench-devices/guest" &&
		rm -rf "$overlay" && mkdir -p "$overlay"/{bin,guest,modules,qemu} && build_guest &&
		cp "$tests/bench-devices/run" "$overlay/test" &&
		cp "$build/module/$kver/kmod/cleave.ko" "$overlay/" && strip -g "$overlay/cleave.ko" &&
		cp "$top/userspace-tool/cleave" "$qemu" "$overlay/bin/" &&
		copy_libs "$overlay" "$top/userspace-tool/cleave" && copy_libs "$overlay" "$qemu" &&
		cp /usr/share/seabios/bios-256k.bin /usr/share/qemu/{kvmvapic,linuxboot_dma}.bin "$overlay/qemu/" &&
		cp "$kernels/$kver"/modules/*.ko "$overlay/modules/"
}

# KVM's and cleave's lines of an operation, side by side: NAME|KVM|SPREAD|CLEAVE|SPREAD.
pair()
{
	awk -F'|' '
		/^##device KVM/ { kvm[$2] = $3 "|" $4; next }
		/^##device cleave/ && $2 in kvm { print $2 "|" kvm[$2] "|" $3 "|" $4 }' "$out/devices.out"
}

table()
{
	echo "svm: $("$tests/hosts/host.sh" svm -d), Linux $kver, $(qemu-system-x86_64 --version | head -n 1)"
	printf '%-34s %9s %7s %9s %7s %6s\n' operation QEMU +- cleave +- ratio
	awk -F'|' '{ printf "%-34s %9.0f %6.1f%% %9.0f %6.1f%% %6.2f\n", $1, $2, $3, $4, $5, $4 / $2 }' "$out/devices.rows"
}

json()
{
	awk -F'|' -v kernel="$kver" '
		BEGIN { printf "{\n\t\"host\": \"svm\",\n\t\"kernel\": \"%s\",\n\t\"unit\": \"instructions\",\n\t\"rows\": [", kernel }
		{ printf "%s\n\t\t{ \"operation\": \"%s\", \"qemu\": %s, \"qemu_spread\": %s, \"cleave\": %s, \"cleave_spread\": %s, \"ratio\": %.4f }",
			(NR > 1 ? "," : ""), $1, $2, $3, $4, $5, $4 / $2 }
		END { print "\n\t]\n}" }' "$out/devices.rows" >"$out/devices.json"
}

mkdir -p "$out"
build_all >"$out/build.log" 2>&1 || { tail -n 30 "$out/build.log" >&2; die "it does not build"; }
"$tests/hosts/host.sh" svm -i -k "$kver" -s 1 -m 2048 -t 3600 -a "${HOST_WORDS-}" -l "$out/devices.log" "$overlay" \
	</dev/null | tr -d '\r' >"$out/devices.out"
grep -q '^##done KVM' "$out/devices.out" && grep -q '^##done cleave' "$out/devices.out" ||
	{ tail -n 30 "$out/devices.out" >&2; die "a guest has not come to its end"; }
pair >"$out/devices.rows"
table && json
