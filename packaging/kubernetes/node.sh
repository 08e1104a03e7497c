#!/bin/sh
# Puts rootpin onto a Kubernetes node, and takes it off again. The pods of packaging/helm/rootpin run it: docs/kubernetes.md.
#
#   node.sh install     puts programs, units, configuration and policy on the node, has the engine ask rootpin, restarts the engine, and runs
#                       rootpin prove. If a step fails, what was changed is taken back and the exit code is 1
#   node.sh uninstall   has the engine ask no more, restarts it, and removes what install put there and nobody changed since
#   node.sh ready       removes the startup taint of a node that install has proven, and stays
#   node.sh stay        stays, when uninstall is done
#
# Settings, by environment:
#   HOST        the node's root folder, as the pod sees it            (/host)
#   PREFIX      the folder for the programs, on the node              (/opt/rootpin)
#   PAYLOAD     the files of the static tarball, in the pod           (/rootpin)
#   PLATFORM    as for rootpin install --platform                     (auto)
#   POLICY      a folder of policy.toml, in the pod; empty: the node's own /etc/rootpin
#   CONFIG      a rootpin.toml, in the pod; empty: the node's own, or the packaged one where the node has none
#   UNIT        the engine's unit; empty: the first of the known ones that runs
#   IMAGES      no: don't ask first whether the policy admits the images that the node has
#   PROVE       no: don't run rootpin prove
#   EXCEPT      paths that rootpin prove leaves out, separated by spaces
#   PURGE       yes: uninstall removes the policy, the floors and the audit file too
#   WAIT        seconds for rootpind, and for the engine              (60)
#   PROVEN      the file by which install tells ready how the node is: proven, or audit
#   NODE TAINT  for ready: the node, and the key of its startup taint; no taint: none is removed
set -eu
umask 022
say() { echo "rootpin: $*"; }
die() { echo "rootpin: $*" >&2; exit 1; }

HOST=${HOST:-/host} PREFIX=${PREFIX:-/opt/rootpin} PAYLOAD=${PAYLOAD:-/rootpin} PLATFORM=${PLATFORM:-auto} POLICY=${POLICY:-} CONFIG=${CONFIG:-}
UNIT=${UNIT:-} IMAGES=${IMAGES:-yes} PROVE=${PROVE:-yes} EXCEPT=${EXCEPT:-} PURGE=${PURGE:-no} WAIT=${WAIT:-60} PROVEN=${PROVEN:-/run/rootpin/proven}
new=$PREFIX/.new undo=$PREFIX/.undo bin=$PREFIX/bin record=/etc/rootpin/installed.json
known="containerd.service k3s.service k3s-agent.service rke2-server.service rke2-agent.service k0scontroller.service k0sworker.service snap.microk8s.daemon-containerd.service"

# ---------------------------------------------------------------- in the pod

# One pod at a time. The link names the process that has it; hostPID shows whether that is there.
lock() {
  mkdir -p "$HOST/run"
  link=$HOST/run/rootpin-node.lock
  owner=$(readlink "$link" || true)
  if [ -n "$owner" ] && ! grep -q node.sh "/proc/$owner/cmdline" 2>/dev/null; then rm -f "$link"; fi
  ln -s "$$" "$link" 2>/dev/null || die "another pod works on this node (process $owner); hint: the kubelet starts this one again"
}

# The rest is done on the node's own files, by a shell that came along, because links of the node lead nowhere in the pod.
enter() {
  # What is below it goes with the clean-up: /usr, or /opt/.., has folders of others.
  case $PREFIX/ in *//* | */./* | */../*) die "PREFIX is $PREFIX; hint: name a folder of rootpin's own, as /opt/rootpin" ;; esac
  kept=''
  for file in installed .undo .new; do [ ! -e "$HOST$PREFIX/$file" ] || kept=yes; done
  if [ -z "$kept" ]; then
    case $PREFIX in /*/*) ;; *) die "PREFIX is $PREFIX; hint: name a folder of rootpin's own, as /opt/rootpin" ;; esac
    others=$(find "$HOST$PREFIX" -mindepth 1 -maxdepth 1 ! -name lost+found 2>/dev/null | sed -n '1s|.*/||p')
    if [ -n "$others" ] && [ "$1" = uninstall ]; then say "there is nothing of this chart on this node"; return; fi
    [ -z "$others" ] || die "PREFIX is $PREFIX, which has files of others, as $others; hint: name a folder of rootpin's own, as /opt/rootpin"
  fi
  lock
  mkdir -p "$HOST$PREFIX"
  rm -rf "$HOST$new"
  cp -r "$PAYLOAD" "$HOST$new"
  cp /bin/busybox "$HOST$new/busybox"
  cp "$0" "$HOST$new/node.sh"
  if [ -n "$POLICY" ]; then
    mkdir -m 0700 "$HOST$new/policy"
    # a volume of a ConfigMap has links, and folders of its own that begin with two dots
    (cd "$POLICY" && find . -name '..*' -prune -o -follow -type f -print) | while read -r file; do
      mkdir -p "$HOST$new/policy/${file%/*}"
      cp -L "$POLICY/$file" "$HOST$new/policy/$file"
    done
  fi
  if [ -n "$CONFIG" ]; then cp -L "$CONFIG" "$HOST$new/rootpin.toml"; fi
  chown -R 0:0 "$HOST$new"
  chroot "$HOST" "$new/busybox" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root SYSTEMD_IGNORE_CHROOT=1 \
    PREFIX="$PREFIX" PLATFORM="$PLATFORM" UNIT="$UNIT" IMAGES="$IMAGES" PROVE="$PROVE" EXCEPT="$EXCEPT" PURGE="$PURGE" WAIT="$WAIT" \
    "$new/busybox" sh "$new/node.sh" "$1" &
  child=$! code=0
  # a pod that is ended takes back first what it changed
  trap 'kill -TERM "$child" 2>/dev/null' TERM INT
  while kill -0 "$child" 2>/dev/null; do code=0; wait "$child" || code=$?; done
  trap - TERM INT
  rm -rf "$HOST$new"
  rmdir "$HOST$PREFIX" 2>/dev/null || true
  rm -f "$HOST/run/rootpin-node.lock"
  case $code in
    0) [ "$1" != install ] || echo proven >"$PROVEN" ;;
    3) echo audit >"$PROVEN" ;;
    *) die "$2" ;;
  esac
}

ready() {
  [ -e "$PROVEN" ] || die "no proof of this node is in $PROVEN"
  trap 'exit 0' TERM INT
  if [ -n "${TAINT:-}" ] && [ "$(cat "$PROVEN")" = audit ]; then
    say "the policy's mode is audit, in which nothing is proven, so the taint $TAINT stays; hint: checks.prove=false removes it all the same"
  elif [ -n "${TAINT:-}" ]; then
    until "$PAYLOAD/usr/bin/rootpin" kubernetes untaint "$NODE" --taint "$TAINT"; do sleep 5 & wait $!; done
  fi
  say "this node is ready"
  stay
}

stay() {
  trap 'exit 0' TERM INT
  while :; do sleep 3600 & wait $!; done
}

# A clean-up that an earlier helm uninstall left behind must not take apart what the chart has put here again.
alone() {
  left=$WAIT
  while :; do
    pods=''
    for process in /proc/[0-9]*; do
      case $(tr '\0' ' ' <"$process/cmdline" 2>/dev/null) in *"/node.sh ready "*) pods=$process ;; esac
    done
    [ -n "$pods" ] || return 0
    [ "$left" -gt 0 ] || die "the chart's own pod runs on this node (process ${pods#/proc/}), so nothing is removed; hint: helm uninstall, or kubectl delete the DaemonSet of this clean-up"
    left=$((left - 2))
    sleep 2
  done
}

# ---------------------------------------------------------------- on the node

tools() { # the tools that came along
  for tool in cat chmod cmp cp cut df du find grep mkdir mv rm rmdir sed sha256sum sleep touch; do
    eval "$tool() { \"$new/busybox\" $tool \"\$@\"; }"
  done
}

# The hash that install had put there last; nothing, if the file is not ours.
ours() { grep -F "  $1" "$PREFIX/installed" 2>/dev/null | grep -x "[0-9a-f]*  $1" | cut -c1-64 || true; }
hash() { sha256sum "$1" | cut -c1-64; }

# put MODE FILE TARGET: by rename, and noted before, so that it can be taken back. Nobody else's file is replaced.
put() {
  if [ -e "$3" ] && [ "$(ours "$3")" != "$(hash "$3")" ]; then
    if cmp -s "$2" "$3"; then return; fi
    die "$3 is there, and is not what this chart put there; hint: remove it, or see docs/kubernetes.md"
  fi
  echo "$(hash "$2")  $3" >>"$undo/installed"
  if cmp -s "$2" "$3"; then return; fi
  folder=${3%/*} made=''
  while [ ! -d "$folder" ]; do made="$folder
$made" folder=${folder%/*}; done
  for folder in $made; do echo "folder - $folder" >>"$undo/list"; mkdir "$folder"; done
  if [ -e "$3" ]; then
    number=$(grep -c . "$undo/list" || true)
    cp -p "$3" "$undo/$number"
    echo "old $number $3" >>"$undo/list"
  else
    echo "new - $3" >>"$undo/list"
  fi
  cp "$2" "$3.rootpin-new"
  chmod "$1" "$3.rootpin-new"
  mv -f "$3.rootpin-new" "$3"
  touch "$undo/changed"
}

take_back() {
  [ -d "$undo" ] || return 0
  say "taking back what was changed on this node"
  failed=''
  # An engine that still asks needs rootpind and its programs; but one that asks by what others brought is theirs. Before install writes, it records.
  if [ -e "$undo/engine" ] && [ -s "$record" ] && ! "$bin/rootpin" --json install --uninstall --yes >/run/rootpin-node.json; then
    cat /run/rootpin-node.json
    say "NOT TAKEN BACK: the engine's configuration, so rootpind stays and goes on answering; hint: docs/kubernetes.md"
    return 1
  fi
  rm -f /run/rootpin-node.json "$undo/engine"
  if [ -e "$undo/restarted" ]; then restart || failed="$failed the engine"; fi
  if [ ! -e "$undo/enabled" ]; then
    systemctl -q disable --now rootpind.socket rootpind-resolver.socket rootpind.service 2>/dev/null || true
  fi
  if [ -e "$undo/list" ]; then
    sed '1!G;h;$!d' "$undo/list" >"$undo/backwards"
    while read -r kind number path; do case $kind in
      new) rm -f "$path" "$path.rootpin-new" || failed="$failed $path" ;;
      old) # moved, because a full disk has no room for a copy; an earlier try may have come half-way
        if [ -e "$undo/$number" ]; then rm -f "$path.rootpin-new"; mv -f "$undo/$number" "$path.rootpin-new" || { failed="$failed $path"; continue; }; fi
        if [ -e "$path.rootpin-new" ]; then mv -f "$path.rootpin-new" "$path" || failed="$failed $path"; fi ;;
      folder) rmdir "$path" 2>/dev/null || true ;;
    esac; done <"$undo/backwards"
  fi
  [ -e "$PREFIX/installed" ] || rm -f "$PREFIX/restart-owed"
  systemctl daemon-reload || failed="$failed systemd"
  if [ -e "$undo/ran" ]; then systemctl restart rootpind.service || failed="$failed rootpind"; fi
  rmdir "$PREFIX/verifier" 2>/dev/null || true
  if [ -n "$failed" ]; then
    say "NOT TAKEN BACK:$failed; hint: journalctl -u rootpind, and docs/kubernetes.md"
    return 1
  fi
  rm -rf "$undo"
}

engine() { # the engine's unit
  for unit in ${UNIT:-$known}; do
    if systemctl -q is-active "$unit"; then echo "$unit"; return; fi
  done
  return 1
}

# It may be one that did not start again.
restart() {
  unit=$(engine) || unit=$(cat "$PREFIX/restart-owed") || return 1
  say "restarting $unit"
  systemctl restart "$unit" && systemctl -q is-active "$unit"
}

# within COMMAND...: until it ends with another code than 2, "could not tell"
within() {
  left=$WAIT
  while :; do
    code=0
    "$@" || code=$?
    if [ "$code" != 2 ] || [ "$left" -le 0 ]; then return "$code"; fi
    left=$((left - 2))
    sleep 2
  done
}

# rootpin install adds the engine to it. So what was put is kept beside, and is put again only where the chart has another one.
config() {
  file=/etc/rootpin/rootpin.toml source=$new/rootpin.toml
  if [ ! -e "$source" ] && [ ! -e "$file" ]; then source=$new/etc/rootpin/rootpin.toml; fi
  if [ ! -e "$source" ] || { [ -e "$file" ] && cmp -s "$source" "$PREFIX/rootpin.toml"; }; then
    ! grep -e "  $file\$" -e "  $PREFIX/rootpin.toml\$" "$PREFIX/installed" >>"$undo/installed" 2>/dev/null || true
    return
  fi
  if [ -n "$(ours "$file")" ] && [ -e "$file" ]; then
    echo "$(hash "$file")  $file" >"$PREFIX/installed.now"
    grep -v "  $file\$" "$PREFIX/installed" >>"$PREFIX/installed.now" || true
    mv -f "$PREFIX/installed.now" "$PREFIX/installed"
  fi
  put 0644 "$source" "$file"
  put 0644 "$source" "$PREFIX/rootpin.toml"
}

settings() { # programs, units, configuration, policy
  for program in rootpin rootpind rootpin-verifier; do put 0755 "$new/usr/bin/$program" "$bin/$program"; done
  for unit in "$new"/usr/lib/systemd/system/*; do
    case $unit in *refresh*) continue ;; esac
    sed -i -e "s|/usr/bin/|$bin/|g" "$unit"
    put 0644 "$unit" "/etc/systemd/system/${unit##*/}"
  done
  config
  [ ! -d "$new/policy" ] || (cd "$new/policy" && find . -type f) | while read -r file; do
    case $file in ./policy.toml) ;; *) put 0644 "$new/policy/$file" "/etc/rootpin/${file#./}" ;; esac
  done
  # last, because it names the others
  [ ! -d "$new/policy" ] || put 0644 "$new/policy/policy.toml" /etc/rootpin/policy.toml
  # what an earlier version, or the policy of before, had put there
  [ ! -e "$PREFIX/installed" ] || while read -r sum path; do
    # a policy that comes from elsewhere now
    if [ ! -d "$new/policy" ]; then case $path in /etc/rootpin/*) continue ;; esac; fi
    if grep -qF "  $path" "$undo/installed" || [ ! -e "$path" ] || [ "$(hash "$path")" != "$sum" ]; then continue; fi
    number=$(grep -c . "$undo/list" || true)
    cp -p "$path" "$undo/$number"
    echo "old $number $path" >>"$undo/list"
    rm -f "$path"
    touch "$undo/changed"
  done <"$PREFIX/installed"
  [ ! -x /sbin/restorecon ] || /sbin/restorecon -R "$PREFIX" /etc/rootpin || true
}

# shellcheck disable=SC2317 # within runs it
answered() { "$bin/rootpin" status >"$undo/status" 2>&1; }

answers() {
  code=0
  within answered || code=$?
  [ "$code" != 2 ] || { cat "$undo/status" >&2; die "rootpind does not answer; hint: journalctl -u rootpind"; }
}

admitted() { # whether the policy takes the images that the node has
  if [ "$IMAGES" = no ] || [ -n "$audit" ]; then return; fi
  within "$bin/rootpin" sweep --dry-run || die "the policy does not admit all images of this node; hint: list them in the policy, begin with mode = \"audit\", or set checks.images to false"
}

start_daemon() {
  systemctl daemon-reload
  systemctl -q enable rootpind.socket rootpind.service
  if [ ! -e "$undo/ran" ]; then
    systemctl start rootpind.socket rootpind.service
  elif [ -e "$undo/changed" ]; then
    systemctl restart rootpind.service
  fi
  answers
  "$bin/rootpin" policy reload >/dev/null || { "$bin/rootpin" policy check /etc/rootpin >&2 || true; die "rootpind does not take the policy"; }
  "$bin/rootpin" state acknowledge
}

set_up() { # the engine
  # One that rootpin set up before keeps its set-up when a newer version fails. What is known of it is in /etc, which an image may reset.
  { [ -e "$PREFIX/installed" ] && [ -s "$record" ]; } || touch "$undo/engine"
  "$bin/rootpin" --json install --platform "$PLATFORM" --verifier "$PREFIX/verifier" --yes >"$undo/install.json" ||
    { cat "$undo/install.json"; die "the engine could not be set up"; }
  # also where an engine runs by what it read before the files were as they are
  ! grep -q -e '"written":\[{' -e '"restart":\["' "$undo/install.json" || engine >"$PREFIX/restart-owed"
  grep -q '"written":\[{' "$undo/install.json" || rm -f "$undo/engine"
}

# Room for the new files beside the old ones: an install that runs out of it half-way has to be taken back.
room() {
  need=$(du -sk "$new" | cut -f1)
  for folder in "$PREFIX" /etc; do
    free=$(df -Pk "$folder" | sed -n '2s/^[^ ]* *[0-9]* *[0-9]* *\([0-9]*\).*/\1/p')
    [ "${free:-0}" -ge $((need * 2)) ] || die "$folder has $free KiB left, and $((need * 2)) are wanted; nothing was changed"
    need=512
  done
}

install() {
  take_back || die "an earlier install is not taken back, and nothing was changed" # it was killed, or could not be
  [ ! -e /usr/bin/rootpind ] || [ "$bin" = /usr/bin ] || die "this node has rootpin from a package; hint: remove that, or leave this node out by nodeSelector"
  mv "$new/usr/libexec/rootpin/rootpin-verifier" "$new/usr/bin/" # rootpin install looks for it beside itself
  "$new/usr/bin/rootpin" --version || die "the programs don't run on this node; hint: they are for another machine than $("$new/busybox" uname -m), or $PREFIX is mounted noexec: set host.prefix"
  policy=/etc/rootpin
  [ ! -d "$new/policy" ] || policy=$new/policy
  "$new/usr/bin/rootpin" policy check "$policy" || die "the policy is not taken, and nothing was changed"
  config=/etc/rootpin/rootpin.toml
  [ -e "$config" ] || config=$new/etc/rootpin/rootpin.toml
  [ ! -e "$new/rootpin.toml" ] || config=$new/rootpin.toml
  engine >/dev/null || die "no engine runs here: none of $known; hint: set host.restartUnit"
  "$new/usr/bin/rootpin" install --config "$config" --platform "$PLATFORM" --verifier "$PREFIX/verifier" --dry-run ||
    die "the engine can't be set up, and nothing was changed"

  room
  mkdir "$undo"
  : >"$undo/list"
  : >"$undo/installed"
  ! systemctl -q is-enabled rootpind.service 2>/dev/null || touch "$undo/enabled"
  ! systemctl -q is-active rootpind.service 2>/dev/null || touch "$undo/ran"
  trap 'set +e; take_back' EXIT
  trap 'exit 143' TERM INT
  settings
  start_daemon
  audit=''
  ! "$bin/rootpin" --json status | grep -q '"mode":"audit"' || audit=yes
  admitted
  set_up
  # It reads rootpin.toml at its start, and before that knew nothing of an engine that was added, nor of its images.
  if grep -q '"rootpind-is-stale":true' "$undo/install.json"; then
    systemctl restart rootpind.service
    answers
    admitted
  fi
  if [ -e "$PREFIX/restart-owed" ]; then
    touch "$undo/restarted"
    restart || die "the engine does not start again"
  fi
  if [ "$PROVE" != no ] && [ -z "$audit" ]; then
    set --
    for path in $EXCEPT; do set -- "$@" --except "$path"; done
    within "$bin/rootpin" prove "$@" || die "the node is not proven"
  fi
  rm -f "$PREFIX/restart-owed"
  mv -f "$undo/installed" "$PREFIX/installed"
  trap - EXIT
  rm -rf "$undo"
  if [ "$PROVE" = no ]; then say "this node asks rootpin; nothing was proven, as checks.prove says"; return; fi
  if [ -n "$audit" ]; then say "this node asks rootpin, and its policy lets everything through: mode = \"audit\""; exit 3; fi
  say "this node asks rootpin, and is proven"
}

uninstall() {
  take_back || die "an install that failed could not be taken back, and rootpin stays"
  [ -e "$PREFIX/installed" ] || { say "there is nothing of this chart on this node"; return; }
  "$bin/rootpin" --json install --uninstall --yes >/run/rootpin-node.json || { cat /run/rootpin-node.json; die "the engine's configuration could not be taken back, and rootpin stays"; }
  restart || die "the engine does not start again, and rootpin stays"
  # shellcheck disable=SC2046 # several
  systemctl -q disable --now $(cd /etc/systemd/system && echo rootpind.service rootpind.socket rootpind-resolver.socket rootpin-*.timer) 2>/dev/null || true
  while read -r sum path; do
    if [ ! -e "$path" ]; then continue; fi
    if [ "$(hash "$path")" = "$sum" ]; then rm -f "$path"; else say "$path was changed since, and stays"; fi
  done <"$PREFIX/installed"
  systemctl daemon-reload
  rm -rf "$PREFIX/installed" "$PREFIX/verifier" "$PREFIX/restart-owed" /run/rootpin /run/rootpin-node.json
  [ "$PURGE" != yes ] || rm -rf /var/lib/rootpin /var/log/rootpin /etc/rootpin
  for folder in /etc/rootpin/roots /etc/rootpin /var/lib/rootpin /var/log/rootpin; do rmdir "$folder" 2>/dev/null || true; done
  rmdir "$bin" 2>/dev/null || true
  say "this node asks rootpin no more"
}

case ${0%/*} in
  */.new) tools; "$1" ;; # on the node
  *) case ${1-} in
    install) rm -f "$PROVEN"; enter install "the node was left as it was, and keeps its taint" ;;
    uninstall) alone; enter uninstall "rootpin was not removed from this node" ;;
    ready) ready ;;
    stay) stay ;;
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
  esac ;;
esac
