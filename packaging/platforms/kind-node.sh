#!/bin/sh
# Has the containerd of a kind node ask rootpin, for the cluster of kind.yaml:
#
#   for node in $(kind get nodes); do docker exec -i "$node" sh -s <kind-node.sh; done
#
# It may be run again. Containers that run go on; containerd is restarted, because a kind node has no other work than the cluster's.
# The node's image brings Kubernetes' own images with it, and the policy must admit them before it enforces: rootpin sweep --dry-run
set -eu
[ "${1-}" != --help ] || exec sed -n '1d;/^#/!q;s/^# \{0,1\}//p' "$0"
files=${ROOTPIN_FILES:-/opt/rootpin-files}
all() {
  # a rootpin.toml that was changed in the node stays, and nobody is asked
  dpkg --force-confdef --force-confold --install "$files/rootpin.deb"
  rootpin policy check "$files/policy"
  /usr/libexec/rootpin/put-policy "$files/policy"
  systemctl enable --now rootpind
  rootpin state acknowledge
  code=0
  rootpin install --platform kind --yes || code=$?
  # it reads rootpin.toml at its start, also where install could not do all: an engine whose files are written asks from its next start on
  systemctl restart rootpind
  [ "$code" = 0 ] || exit "$code"
  systemctl restart containerd
  rootpin doctor
}
# standard input is the rest of this script, which nothing else may read
all </dev/null
