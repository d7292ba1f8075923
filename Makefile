# SPDX-License-Identifier: GPL-2.0
#
# cleave: `make help` says what there is.

SHELL := /bin/bash
MAKEFLAGS += --no-print-directory

# Headers to build the module against: the running kernel's, or the newest there are.
KDIR ?= $(shell selftests/hosts/kdir.sh)

PREFIX	 ?= /usr/local
# The kernel that the module was built for.
KREL	  = $(word 1,$(shell modinfo -F vermagic kmod/cleave.ko 2>/dev/null))
MODDIR	  = $(DESTDIR)/lib/modules/$(KREL)/updates
UDEVDIR	 ?= /usr/lib/udev/rules.d
SYSCONFDIR ?= /etc
UNITDIR	 ?= /usr/lib/systemd/system
SHARE	  = $(DESTDIR)$(PREFIX)/share
TYPES	  = $(SYSCONFDIR)/cleave/types.conf
# make run takes one test host; the others both, by default.
HOST	 ?= both

.DEFAULT_GOAL := all
.PHONY: all module tool install install-tool uninstall deb guest-image clean distclean help run setup
.PHONY: bench bench-devices check check-debug check-guest check-matrix check-packages coverage fuzz lint unit

all: module tool

module:
	@[ -n "$(KDIR)" ] || { echo "make: no kernel headers found: apt-get install linux-headers-$$(uname -r), or give KDIR=" >&2; exit 1; }
	$(MAKE) -C $(KDIR) M=$(CURDIR) modules

tool:
	$(MAKE) -C userspace-tool

# Builds nothing, so that root leaves nothing of its own in the tree.
install: install-tool
	@[ -n "$(KREL)" ] || { echo "make: no module is built: make first" >&2; exit 1; }
	install -D -m 0644 kmod/cleave.ko $(MODDIR)/cleave.ko
ifeq ($(DESTDIR),)
	getent group cleave >/dev/null || groupadd --system cleave
	depmod $(KREL)
	if udevadm control --reload 2>/dev/null; then udevadm trigger --sysname-match=cleave; fi
endif

# What belongs to the tool, for the package as well: files, and nothing else.
install-tool:
	@[ -x userspace-tool/cleave ] || { echo "make: nothing is built: make first" >&2; exit 1; }
	install -D -m 0755 userspace-tool/cleave $(DESTDIR)$(PREFIX)/bin/cleave
	install -D -m 0644 Documentation/cleave.1 $(SHARE)/man/man1/cleave.1
	install -D -m 0644 Documentation/explain.rst $(SHARE)/doc/cleave/explain.rst
	install -D -m 0644 Documentation/api.rst $(SHARE)/doc/cleave/api.rst
	install -D -m 0644 Documentation/slices.rst $(SHARE)/doc/cleave/slices.rst
	install -D -m 0644 userspace-tool/systemd/example.conf $(SHARE)/doc/cleave/example.conf
	install -D -m 0644 userspace-tool/completion/cleave.bash $(SHARE)/bash-completion/completions/cleave
	install -D -m 0644 userspace-tool/completion/_cleave $(SHARE)/zsh/site-functions/_cleave
	install -D -m 0644 userspace-tool/completion/cleave.fish $(SHARE)/fish/vendor_completions.d/cleave.fish
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(SYSCONFDIR)/cleave
	sed 's|@bindir@|$(PREFIX)/bin|' userspace-tool/systemd/cleave@.service.in >$(DESTDIR)$(UNITDIR)/cleave@.service
	install -D -m 0644 userspace-tool/65-cleave.rules $(DESTDIR)$(UDEVDIR)/65-cleave.rules
	[ -e $(DESTDIR)$(TYPES) ] || install -D -m 0644 userspace-tool/launch/types.conf $(DESTDIR)$(TYPES)

# The group stays: files may belong to it; and /etc/cleave, if what is in it is not as it came.
uninstall:
	rm -f $(DESTDIR)/lib/modules/*/updates/cleave.ko $(DESTDIR)$(PREFIX)/bin/cleave
	rm -f $(SHARE)/man/man1/cleave.1 $(DESTDIR)$(UDEVDIR)/65-cleave.rules
	rm -f $(SHARE)/doc/cleave/explain.rst $(SHARE)/doc/cleave/api.rst $(SHARE)/doc/cleave/slices.rst $(SHARE)/doc/cleave/example.conf
	rm -f $(SHARE)/bash-completion/completions/cleave $(SHARE)/zsh/site-functions/_cleave
	rm -f $(SHARE)/fish/vendor_completions.d/cleave.fish $(DESTDIR)$(UNITDIR)/cleave@.service
	if cmp -s userspace-tool/launch/types.conf $(DESTDIR)$(TYPES); then rm $(DESTDIR)$(TYPES); fi
	rmdir $(SHARE)/doc/cleave $(DESTDIR)$(SYSCONFDIR)/cleave 2>/dev/null || :
ifeq ($(DESTDIR),)
	for d in /lib/modules/*/modules.dep; do depmod "$$(basename "$$(dirname "$$d")")"; done
endif

deb:
	@selftests/hosts/setup.sh deb
	@packaging/deb.sh

guest-image:
	@selftests/hosts/setup.sh image
	@packaging/guest-image.sh

setup:
	selftests/hosts/setup.sh check $(HOST)

run:
	@selftests/hosts/run.sh $(HOST:both=svm)

check:
	@HOST=$(HOST) selftests/check.sh

check-debug:
	@selftests/check.sh debug

bench:
	@HOST=$(HOST) selftests/bench.sh

bench-devices:
	@selftests/hosts/setup.sh svm
	@selftests/bench-devices.sh

check-matrix:
	@selftests/check.sh matrix

check-guest:
	@HOST=$(HOST) selftests/check.sh guest

check-packages:
	@selftests/check.sh deb image

coverage:
	@selftests/check.sh coverage

fuzz:
	@FUZZ_SECONDS=$${FUZZ_SECONDS:-300} selftests/check.sh fuzz hostile

lint:
	@HOST=$(HOST) selftests/check.sh lint

unit:
	@HOST=$(HOST) selftests/check.sh unit

clean:
	[ -z "$(KDIR)" ] || $(MAKE) -C $(KDIR) M=$(CURDIR) clean
	$(MAKE) -C userspace-tool clean
	$(MAKE) -C selftests/unit clean
	find build -mindepth 1 -maxdepth 1 ! -name cache -exec rm -rf {} + 2>/dev/null || :

distclean: clean
	rm -rf build

help:
	@echo 'make              kmod/cleave.ko (for KDIR=$(KDIR)) and userspace-tool/cleave'
	@echo 'make run          boot a Debian kernel as a guest, to a shell; installs what is missing'
	@echo '                  HOST=svm   in QEMU with AMD-V (default)'
	@echo '                  HOST=vmx   in Bochs, or QEMU on KVM, with VT-x'
	@echo '                  HOST=local on this machine'
	@echo 'make check        every test, on AMD-V and VT-x side by side; installs what is missing'
	@echo '                  HOST=svm|vmx|local on one of them'
	@echo 'make check-debug  every test on AMD-V in kernels with KASAN, lockdep, ... and with KCSAN,'
	@echo '                  which it builds first, once: minutes each'
	@echo 'make check-matrix the module for each Debian kernel, every test on four of them'
	@echo 'make check-packages  what make deb and make guest-image made, in a clean Debian 12 and in QEMU'
	@echo 'make check-guest  Debian 12 from a disk, and its installer, as guests in the test hosts'
	@echo 'make coverage     which lines of the module all tests together execute'
	@echo 'make bench        KVM and cleave side by side, in instructions an operation'
	@echo 'make bench-devices  QEMU on KVM and cleave side by side: what a disk costs a guest'
	@echo 'make fuzz         random input to the ABI, from guests, to the tool; FUZZ_SECONDS=300 each'
	@echo 'make lint         the static checks alone'
	@echo 'make unit         the tests that need no virtualization, alone'
	@echo 'make deb          cleave-dkms and cleave as Debian packages, in build/deb'
	@echo 'make guest-image  Debian 12 as a disk for a guest, with its kernels, in build/guest-image'
	@echo 'make setup        install what make run and make check need, and no more'
	@echo 'make install      module, tool, man page, systemd unit, completion, udev rule, group; PREFIX=$(PREFIX), DESTDIR='
	@echo 'make uninstall    what make install put there, but for the group'
	@echo 'make clean        what was built; make distclean: what was downloaded as well'
