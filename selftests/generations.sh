#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Documentation/generations.svg: what `cleave bench generations` draws in a test host that
# counts instructions; its text on stdout.
#   generations.sh [ROUNDS]

set -u
. "$(dirname "$0")/hosts/common.sh"
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
kver=$(release_of 6.1) || die "no kernel to boot"

# With icount QEMU 7.2 runs the second CPU while the first one does PAUSE, and hardly else;
# the kernel that waits for a CPU to come up does none. So another program does.
make_overlay()
{
	mkdir -p "$work/tree/bin" &&
		echo 'int main(void) { for (;;) __builtin_ia32_pause(); }' |
			gcc -O2 -static -x c -o "$work/tree/bin/pause" - &&
		cp "$build/module/$kver/kmod/cleave.ko" "$work/tree/" && strip -g "$work/tree/cleave.ko" &&
		cp "$top/userspace-tool/cleave" "$work/tree/bin/" &&
		copy_libs "$work/tree" "$top/userspace-tool/cleave" || return
	cat >"$work/tree/test" <<-END
		#!/bin/sh
		PATH=\$ROOT/bin:\$PATH
		pause &
		echo 1 >/sys/devices/system/cpu/cpu1/online
		kill \$!
		insmod \$ROOT/cleave.ko && cleave bench generations --rounds ${1:-200} --svg /tmp/svg || exit
		echo "##svg"
		cat /tmp/svg
	END
	chmod +x "$work/tree/test"
}

{ "$top/selftests/hosts/setup.sh" svm && module_build module "$kver" && make -C "$top/userspace-tool" &&
	make_overlay "$@"; } >"$work/log" 2>&1 || { tail -n 30 "$work/log" >&2; die "it does not build"; }
"$top/selftests/hosts/host.sh" svm -i -k "$kver" -s 2 -m 1024 -t 1800 -a maxcpus=1 "$work/tree" \
	</dev/null >"$work/out" || { cat "$work/out" >&2; exit 1; }
tr -d '\r' <"$work/out" | sed '/^##svg$/,$d'
tr -d '\r' <"$work/out" | sed '1,/^##svg$/d' >"$top/Documentation/generations.svg"
