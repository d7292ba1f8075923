#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The disk that `make guest-image` makes: what must not be in it is not, and QEMU boots
# it by its kernels and by its boot loader to a login, with a network, and with a seed for
# cloud-init, and it grows with its disk. TAP;
# setup.sh check image svm has been run. QEMU emulates the processor.

set -u
export LC_ALL=C
. "$(dirname "$0")/hosts/common.sh"
work=$build/image-test
image=$work/image
tool=$top/userspace-tool/cleave
. "$top/packaging/guest-image/recipe.sh"
file_system="$image/debian.raw?offset=$((root_at * 512))"
n=0 failed=0
qemu=

# check NAME CMD...: its output only if it fails.
check()
{
	local name=$1

	shift
	n=$((n + 1))
	if "$@" >"$work/log" 2>&1 </dev/null; then
		echo "ok $n - $name"
	else
		failed=$((failed + 1))
		tail -n 40 "$work/log" | tr -d '\r' | sed 's/^/# /'
		echo "not ok $n - $name"
	fi
}

# look COMMAND: of debugfs, in the image.
look()
{
	debugfs -R "$1" "$file_system" 2>/dev/null
}

# What two guests must not share, and nothing of the machine that made it.
private()
{
	local names

	names=$(look 'ls -p /etc/ssh') && grep -q sshd_config <<<"$names" && ! grep ssh_host_ <<<"$names" || return
	look 'stat /etc/machine-id' | grep -q 'Size: 0$' || return
	[ "$(look 'cat /etc/hostname')" = debian ] && look 'stat /etc/resolv.conf' | grep -q 'Type: symlink' || return
	! look 'ls -p /var/lib/apt/lists' | grep Packages && ! look 'ls -p /var/cache/apt/archives' | grep '\.deb'
}

# The network gets to no account: root is the console's alone.
accounts()
{
	look 'cat /etc/shadow' | awk -F: '$1 != "root" && $2 !~ /^[!*]/ { exit 1 }' &&
		! look 'cat /etc/ssh/sshd_config' | grep -i '^ *Permit\(RootLogin\|EmptyPasswords\) *yes'
}

# All of one time, so that another build of the same packages is the same.
one_time()
{
	dumpe2fs -h "$file_system" 2>/dev/null | grep -i "UUID: *$uuid" &&
		look 'stat /etc/fstab' | grep time: | grep -v ": $(printf 0x%x "$epoch")" | grep . && return 1
	return 0
}

kernels_are_its_own()
{
	local kind

	for kind in cloud generic; do
		look "cat /boot/vmlinuz-$(cat "$image/$kind/release")" | cmp - "$image/$kind/vmlinuz" &&
			look "cat /boot/initrd.img-$(cat "$image/$kind/release")" | cmp - "$image/$kind/initrd" || return
	done
}

# A guest's disk is not taken from it.
kept()
{
	printf guest | dd of="$image/debian.raw" bs=1 seek=0 conv=notrunc status=none &&
		"$top/packaging/guest-image.sh" "$image" &&
		[ "$(head -c 5 "$image/debian.raw")" = guest ] && rm "$image/debian.raw" &&
		"$top/packaging/guest-image.sh" "$image" && e2fsck -fn "$file_system"
}

# start KIND|disk [QEMU-ARGUMENT...]: its console is the file console, and what is typed goes to
# fd keys.
start()
{
	local kernel=()

	[ "$1" = disk ] || kernel=(-kernel "$image/$1/vmlinuz" -initrd "$image/$1/initrd"
		-append 'root=LABEL=debian console=ttyS0 quiet')
	shift
	rm -f "$work/keys" && mkfifo "$work/keys" && : >"$work/console" || return
	setpriv --pdeathsig KILL qemu-system-x86_64 -machine q35 -accel tcg -cpu EPYC -m 1024 -smp 1 \
		-nodefaults -no-reboot -display none -serial stdio \
		"${kernel[@]}" \
		-drive "file=$image/debian.raw,format=raw,if=none,id=d" -device virtio-blk-pci,drive=d \
		-netdev user,id=n -device virtio-net-pci,netdev=n -device virtio-rng-pci "$@" \
		<"$work/keys" >"$work/console" 2>&1 &
	qemu=$!
	exec {keys}>"$work/keys"
}

# await PATTERN SECONDS: on the console.
await()
{
	local end=$((SECONDS + $2))

	until grep -qaE "$1" "$work/console"; do
		if [ $SECONDS -ge $end ] || ! kill -0 $qemu 2>/dev/null; then
			cat "$work/console"
			echo "no '$1'"
			return 1
		fi
		sleep 0.5
	done
}

# What is looked for is put together by the guest's shell, as the console echoes what is typed.
type_line()
{
	printf '%s\n' "$1" >&"$keys"
}

ended()
{
	local end=$((SECONDS + 120))

	while kill -0 $qemu 2>/dev/null; do
		[ $SECONDS -lt $end ] || { cat "$work/console"; echo "it does not power off"; return 1; }
		sleep 0.5
	done
	exec {keys}>&-
	e2fsck -fn "$file_system"
}

login()
{
	await 'debian login: ' 600 && type_line root && await '~# ' 120
}

# Its own words for: all units are well, an address, sshd answers, root has grown with the disk.
lives()
{
	type_line 'w=well; echo all-$w: $(systemctl is-system-running --wait) $(systemctl --failed --no-legend --plain | tr -s " \n" " ");'
	await 'all-well: running' 300 || return
	type_line 'echo address-$w: $(ip -4 -o addr show scope global | grep -c "inet 10\.0\.2\.")'
	type_line 'echo sshd-$w: $(timeout 10 bash -c "head -c 7 </dev/tcp/127.0.0.1/22")'
	type_line 'echo keys-$w: $(ls /etc/ssh/ssh_host_*_key | grep -c .)'
	type_line 'echo root-$w: $(findmnt -rno SOURCE,FSTYPE,OPTIONS / | cut -c1-17)'
	type_line 'echo size-$w: $(df --output=size -BM / | tail -n 1)'
	await 'address-well: 1' 60 && await 'sshd-well: SSH-2.0' 60 && await 'keys-well: [1-9]' 60 &&
		await 'root-well: /dev/vda2 ext4 rw' 60 && await 'size-well: 3[0-9]{3}M' 60
}

# What update-grub writes, boots next time.
new_menu()
{
	type_line 'w=well; update-grub; echo menu-$w: $? $(grep -c "^ *menuentry .*Debian" /boot/grub/grub.cfg);' &&
		await 'menu-well: 0 [1-9]' 120 && power_off
}

power_off()
{
	type_line poweroff && ended
}

# The keys that may log in, a host's name, and commands of one's own.
seeds()
{
	ssh-keygen -q -t ed25519 -N '' -C 'a "comment"' -f "$work/key" &&
		"$tool" seed --hostname keyed --ssh-key "$work/key.pub" --output "$work/keys.iso" &&
		cat >"$work/user-data" <<-'END' &&
			#cloud-config
			runcmd:
			  - echo "cloud-$(hostname) $(lsblk -no LABEL | grep CIDATA)" >/dev/ttyS0
			power_state: { mode: poweroff, timeout: 30 }
		END
		"$tool" seed --hostname seeded --user-data "$work/user-data" --output "$work/seed.iso" &&
		xorriso -indev "$work/keys.iso" -find / -exec lsdl 2>/dev/null | tee "$work/seen" &&
		[ "$(grep -c "^-r--r--r-- .*'/\(meta\|user\)-data'" "$work/seen")" = 2 ]
}

# One line each, and no disk left behind.
refused()
{
	local status=$1 words=$2

	shift 2
	"$tool" seed --output "$work/refused.iso" "$@" >"$work/said" 2>&1
	[ $? = "$status" ] && [ "$(wc -l <"$work/said")" = 1 ] && grep -q -- "$words" "$work/said" &&
		! ls "$work"/refused.iso* 2>/dev/null || { echo "$*:"; cat "$work/said"; return 1; }
}

wrong_seeds()
{
	refused 2 'who may log in' && refused 2 'who may log in' -k "$work/key.pub" -u "$work/user-data" &&
		refused 2 hostname -k "$work/key.pub" -n a.b && refused 2 instance-id -k "$work/key.pub" -i a/b &&
		refused 1 'no public key' -k "$work/key" && refused 1 'No such file' -k "$work/none" &&
		refused 1 'no key' -k /dev/null && refused 1 'longer than' -u /dev/zero &&
		refused 1 'directory' -k "$work/key.pub" --output "$work/none/x"
}

# With the generic kernel, and the key of the seed by the network.
keyed()
{
	start generic -drive "file=$work/keys.iso,format=raw,readonly=on,if=virtio" || return
	await 'keyed login: ' 900 && await 'Cloud-init .* finished' 600 && type_line root && await '~# ' 120 || return
	type_line 'w=well; echo key-$w: $(cut -d" " -f1,3- /home/debian/.ssh/authorized_keys)' &&
		await 'key-well: ssh-ed25519 a "comment"' 60 && power_off
}

seeded()
{
	start cloud -drive "file=$work/seed.iso,format=raw,readonly=on,if=virtio" &&
		await 'cloud-seeded CIDATA' 900 && ended
}

finish()
{
	[ -z "$qemu" ] || kill -KILL $qemu 2>/dev/null
	rm -rf "$image"
}

echo "TAP version 13"
rm -rf "$work"
mkdir -p "$work"
trap finish EXIT
check "the tool" make -C "$top/userspace-tool"
check "make guest-image" "$top/packaging/guest-image.sh" "$image"
check "the file system is sound" e2fsck -fn "$file_system"
check "nothing in it that two guests must not share" private
check "no account that the network gets to" accounts
check "all of one time" one_time
check "the kernels beside it are those in it" kernels_are_its_own
check "what a guest has written stays" kept
if [ $failed = 0 ]; then
	truncate -s 4G "$image/debian.raw"
	start cloud
	check "the cloud kernel boots it to a login" login
	check "all units are well, it has an address, sshd answers" lives
	check "it powers off" power_off
	start disk
	check "its boot loader boots it to a login" login
	check "it makes its boot loader another menu" new_menu
	start disk
	check "by which it boots, too" login
	check "and powers off" power_off
	check "seeds for cloud-init" seeds
	check "what cannot be made a seed" wrong_seeds
	check "the generic kernel boots it, and who has the seed's key may log in" keyed
	check "another seed makes it another instance, and its commands are run" seeded
fi
echo "1..$n"
[ $failed = 0 ]
