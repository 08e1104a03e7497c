# What the steps on a platform's host are made of, inside tests/real/platform.sh. What each command says lands in /root, and the codes
# with which they ended in /root/codes.
#   MAIN: containerd's main file · PROGRAM: containerd · ARGUMENTS: more of its words · ADDRESS: its socket · REGENERATE: how the platform
#   makes the main file, if it does
set -u
exec 2>/root/errors
mkdir -p -m 0700 /run/rootpin /var/lib/rootpin /var/log/rootpin
engine='' rootpind=''

step() { # step NAME COMMAND...
  local name=$1
  shift
  "$@" >"/root/$name" && echo "$name 0" >>/root/codes || echo "$name $?" >>/root/codes
}
listing() { # every file but those of what runs
  local folder folders=()
  for folder in /etc /opt /home /var/lib/kubelet /var/lib/rancher /var/lib/k0s /var/snap /usr/libexec/rootpin; do
    [[ ! -e $folder ]] || folders+=("$folder")
  done
  find "${folders[@]}" -xdev \
    \( -path /etc/cni -o -path /etc/rootpin/state-id -o -path /opt/containerd -o -path /opt/rootpin/bin -o -path '*/io.containerd.*' -o -path /var/snap/microk8s/common -o -path /var/lib/k0s/containerd \
    -o -path '/var/lib/rancher/*/agent/containerd' \) -prune -o -printf '%M %u %g %p %l\n' -type f -exec sha256sum {} +
}
engine_starts() {
  local i
  eval "$REGENERATE"
  # shellcheck disable=SC2086 # words
  "$PROGRAM" --config "$MAIN" $ARGUMENTS >>/root/engine.log 2>&1 &
  engine=$!
  for ((i = 0; i < 100; i++)); do
    [[ ! -S $ADDRESS ]] || break
    kill -0 "$engine" || return 1
    sleep 0.1
  done
  sleep 0.7
  kill -0 "$engine"
}
engine_stops() {
  kill "$engine"
  wait "$engine"
  rm -f "$ADDRESS"
}
rootpind_starts() {
  local i
  rootpind >>/root/rootpind.log 2>&1 &
  rootpind=$!
  for ((i = 0; i < 100; i++)); do [[ ! -S /run/rootpin/control.sock ]] || break; sleep 0.1; done
}
rootpind_stops() {
  kill "$rootpind"
  wait "$rootpind"
  rm -f /run/rootpin/control.sock
}
