#!/usr/bin/env bash
# boot.sh ROOT SECONDS: boots systemd in namespaces of its own, with this machine's files and those of ROOT over them.
# BOOT_LOWER names another Debian, of which nothing is changed, in place of this machine's (tests/real/lab.sh fetch bare), after what is laid over it,
# with colons between.
#
# ROOT has the files that differ: units, configurations, /guest (a script that runs as root once sysinit.target is reached, and whose end
# powers off). What the system writes comes to lie in ROOT/written. The network is a loopback of its own. Ends non-zero, and says why, where
# systemd can't be booted here, or where /guest has not ended after SECONDS.
set -euo pipefail
[[ ${1-} != --help ]] || exec sed -n '1d;/^#/!q;s/^# \{0,1\}//p' "$0"

root=$(readlink -f "$1") seconds=$2
die() { echo "boot.sh: $*" >&2; exit 1; }
[[ $(id -u) == 0 ]] || die "not root"
[[ -x $root/guest ]] || die "$root/guest is missing"
CACHE=${LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rootpin-lab}
boot=$CACHE/pkg/boot triplet=$(uname -m)-linux-gnu
[[ -x $boot/usr/bin/systemd-nspawn ]] || die "systemd is not in $boot: run tests/real/lab.sh fetch boot"

if [[ ${2-} != inside && ${3-} != inside ]]; then # mounts are nobody else's
  exec unshare --mount --propagation private "$0" "$1" "$2" inside
fi

at=$root/.boot
mkdir -p "$at"
mount -t tmpfs -o mode=0755 tmpfs "$at" || die "a tmpfs can't be mounted: the tests that boot systemd need CAP_SYS_ADMIN"
mkdir -p "$at/up" "$at/work" "$at/root"
lower=${BOOT_LOWER:-/}
[[ $lower != / ]] || cp -a "$boot/." "$at/up/" # not a layer of its own, because it is below / itself
tar -C "$root" --exclude=./.boot --exclude=./written -cf - . | tar -C "$at/up" -xpf -
# what this machine has enabled is not started
for folder in /etc/systemd/system/*.wants /etc/systemd/system/*.requires; do
  [[ $lower == / && -d $folder ]] || continue
  for unit in "$folder"/*; do
    [[ -e $at/up$unit ]] || { mkdir -p "$at/up$folder" && mknod "$at/up$unit" c 0 0; } # overlayfs: it is not there
  done
done
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$at/up,workdir=$at/work" "$at/root" || die "overlayfs can't be mounted here"
units=$at/root/etc/systemd/system
mkdir -p "$units/sysinit.target.wants"
ln -sf /usr/lib/systemd/system/multi-user.target "$units/default.target"
for unit in systemd-networkd systemd-networkd.socket systemd-resolved systemd-udevd systemd-udev-trigger systemd-udevd-control.socket \
  systemd-udevd-kernel.socket systemd-timesyncd systemd-firstboot systemd-logind getty@ console-getty networking apt-daily.timer \
  apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer e2scrub_reap; do
  [[ $unit == *.* ]] || unit=$unit.service
  ln -sf /dev/null "$units/$unit"
done
: >"$at/root/etc/fstab"
rm -f "$at/root/etc/machine-id" && echo 0123456789abcdef0123456789abcdef >"$at/root/etc/machine-id"
cat >"$units/guest.service" <<'UNIT'
[Unit]
DefaultDependencies=no
After=sysinit.target
[Service]
ExecStart=/bin/sh -c '/guest >/written/guest.log 2>&1; echo $? >/written/guest.rc; journalctl -b --no-pager -o short-monotonic >/written/journal.log; systemctl poweroff -ff'
UNIT
ln -sf ../guest.service "$units/sysinit.target.wants/guest.service"
mkdir -p "$at/root/written" && rm -rf "${root:?}/written"
libraries=$boot/usr/lib/$triplet/systemd:$boot/usr/lib/systemd:$boot/usr/lib/$triplet
# an engine's snapshots can't lie on an overlay
mkdir -p "$at/disk" "$at/root/var/lib/containerd"
disk=("--bind=$at/disk:/var/lib/containerd")
# it ends with 133 where the system wants to boot again
once() {
  (cd / && LD_LIBRARY_PATH=$libraries timeout "$seconds" "$boot/usr/bin/systemd-nspawn" -D "$at/root" -b --keep-unit --register=no \
    --private-network --capability=CAP_SYS_RESOURCE --console=pipe "${disk[@]}" </dev/null >>"$at/console.log" 2>&1)
}
status=133
while [[ $status == 133 ]]; do status=0; once || status=$?; done
cp -a "$at/root/written" "$root/written"
cp "$at/console.log" "$root/written/console.log"
[[ -s $root/written/guest.rc ]] || { tail -n 20 "$root/written/console.log" >&2; die "systemd did not boot, or the test in it did not end within $seconds s (nspawn ended with $status)"; }
exit "$(<"$root/written/guest.rc")"
