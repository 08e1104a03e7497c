#!/usr/bin/env bash
# A host of its own for one command, as root: in mount, process and network namespaces of its own a folder is the root directory, with the
# system's /usr below what the folder has in usr.
#   platform.sh ROOT BIN COMMAND...     BIN holds rootpin's programs, at /opt/rootpin/bin there
set -euo pipefail
[[ ${1-} != --help ]] || exec sed -n '1d;/^#/!q;s/^# \{0,1\}//p' "$0"
if [[ -z ${ROOTPIN_PLATFORM_INSIDE:-} ]]; then
  export ROOTPIN_PLATFORM_INSIDE=1
  exec unshare --mount --pid --net --ipc --uts --fork --kill-child --propagation private "$0" "$@"
fi
root=$1 bin=$2
shift 2
ip link set lo up 2>/dev/null || true
mkdir -p "$root"/{usr,proc,sys,dev,run,tmp,etc,var/lib,opt/rootpin/bin,.work}
for link in bin sbin lib lib64; do [[ -e $root/$link ]] || ln -s "usr/$link" "$root/$link"; done
# containerd looks for the mount that its folder is on.
mount --bind "$root" "$root"
# An overlay's upper folder can't be on another overlay: the folder is on a file system of its own.
mount -t overlay overlay -o "lowerdir=/usr,upperdir=$root/usr,workdir=$root/.work" "$root/usr"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount --bind "$bin" "$root/opt/rootpin/bin"
exec chroot "$root" /usr/bin/env -i HOME=/root PATH=/usr/sbin:/usr/bin:/opt/rootpin/bin "$@"
