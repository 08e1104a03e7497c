# What the deb and the rpm do on a host when they are installed, upgraded and removed: the same steps, put into the scripts of both by
# packaging/package. No step enables a unit, starts one that does not run, touches an engine, or changes a policy or a state.
verifier=/usr/libexec/rootpin/verifier/rootpin-verifier
units="rootpind.service rootpind.socket rootpind-resolver.socket rootpin-doctor.timer rootpin-prove.timer rootpin-audit.timer rootpin-metrics.timer rootpin-refresh.timer rootpin-take-over.timer"

booted() { [ -d /run/systemd/system ]; }

# containerd runs each file of the verifier's folder, so no package manager may put its temporary files there: the folder has a link that
# upgrades leave alone, to a program that they replace by a rename.
placed() {
  if [ ! -e "$verifier" ]; then ln -sf ../rootpin-verifier "$verifier"; fi
  if booted; then systemctl daemon-reload || true; fi
}

installed() {
  echo "rootpin: nothing is enforced yet, and no engine was touched. First write a policy: rootpin pin add --help, or docs/policy.md"
  echo "rootpin: then: systemctl enable --now rootpind && rootpin state acknowledge && rootpin install"
}

# Engines wait in the sockets, which systemd keeps, while rootpind is restarted.
upgraded() {
  booted && systemctl -q is-active rootpind.service || return 0
  if systemctl -q is-active rootpind.socket; then
    systemctl restart rootpind.service || echo "rootpin: rootpind did not start again, and pulls are refused; see: journalctl -u rootpind" >&2
  else
    echo "rootpin: the earlier version still runs, because rootpind.socket is not active: a restart would refuse pulls that run." >&2
    echo "rootpin: when none runs: systemctl restart rootpind" >&2
  fi
}

# Files by which engines and kubelets ask rootpin: those that rootpin install writes, on every platform, and those that it wrote elsewhere
# because a unit names them. rootpin.toml itself asks nobody. A test gives another root.
# shellcheck disable=SC2120
asking() (
  cd "${1:-/}" || return 0
  asks='/run/rootpin/|/usr/libexec/rootpin/|rootpin-apply|"rootpin"|rootpin-credential-provider|(127\.[0-9.]+|\[::1\]|localhost):[0-9]+/resolve'
  {
    grep -RlE -D skip --exclude='*.bak-*' "$asks" ./etc/containerd ./etc/docker ./etc/k0s ./etc/eks ./etc/rancher ./etc/default/kubelet \
      ./etc/sysconfig/kubelet ./etc/srv/kubernetes ./var/lib/kubelet/*.yaml ./var/lib/rancher/k3s/agent/etc ./var/lib/rancher/rke2/agent/etc \
      ./var/snap/microk8s/current/args || :
    sed -n 's/^ *"path": "\(.*\)",\{0,1\}$/\1/p' ./etc/rootpin/installed.json | grep -v '^/etc/rootpin/' | while read -r place; do
      [ ! -f ".$place" ] || grep -lE -D skip "$asks" ".$place" || :
    done
  } 2>/dev/null | sed 's|^\.||' | sort -u
)

# Without rootpin such an engine is broken, or open: its gates refuse every layer, dockerd does not start, and containerd allows every pull
# where the verifier's folder is gone. A kubelet whose credential provider is gone does not start.
before_removal() {
  # shellcheck disable=SC2119
  asked_by=$(asking)
  if [ -n "$asked_by" ] && [ "${ROOTPIN_REMOVE:-}" != yes ]; then
    echo "rootpin: not removed: engines or kubelets of this host ask it, by:" >&2
    echo "$asked_by" | sed 's/^/  /' >&2
    echo "hint: rootpin install --uninstall, or remove these files or their lines; restart what reads them, and try again; to remove rootpin all the same: ROOTPIN_REMOVE=yes" >&2
    return 1
  fi
  if command -v systemctl >/dev/null; then
    # shellcheck disable=SC2086 # several
    if booted; then systemctl stop $units 2>/dev/null || true; fi
    # shellcheck disable=SC2086
    systemctl -q disable $units 2>/dev/null || true
  fi
  rm -f "$verifier"
}

removed() {
  if booted; then systemctl daemon-reload || true; fi
  rm -rf /run/rootpin
  for kept in /var/lib/rootpin /var/log/rootpin /etc/rootpin; do
    rmdir "$kept" 2>/dev/null || true
  done
}

# The floors keep this host from older metadata, if it ever has rootpin again.
purged() {
  if [ "${ROOTPIN_PURGE_STATE:-}" = yes ]; then
    rm -rf /var/lib/rootpin /var/log/rootpin /etc/rootpin
    return
  fi
  for kept in /var/lib/rootpin /var/log/rootpin /etc/rootpin; do
    rmdir "$kept" 2>/dev/null || true
    if [ -e "$kept" ]; then echo "rootpin: kept: $kept; hint: rm -r $kept, or purge with ROOTPIN_PURGE_STATE=yes"; fi
  done
}
