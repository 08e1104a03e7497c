#!/usr/bin/env bash
# lab.sh: real engines, a registry and a Notary v1 server in private folders, for the tests and the quickstart.
#
#   lab.sh fetch GROUP...        engines old docker notary push build clients boot bare puppet sign alerts: unpack Debian packages into the cache
#   lab.sh own                   make LAB_ROOT and mark it as a lab's, for who writes there before anything is started
#   lab.sh configure NAME...     the main files of containerd16, containerd17, containerd2, containerd23, without starting them
#   lab.sh start SERVICE...      registry registry-tls notary containerd16 containerd17 containerd2 dockerd26 dockerd28
#                                dockerd28-plugin dockerd26-overlay2 dockerd28-overlay2; with ROOTPIN_ENGINES also
#                                containerd23 dockerd29 dockerd29-plugin dockerd29-overlay2
#   lab.sh stop [SERVICE...]     all that run, where none is named
#   lab.sh status
#   lab.sh env                   shell assignments: paths, sockets, ports
#   lab.sh mirror                the Debian mirror that packages come from
#   lab.sh ctr17|ctr2|ctr23|docker29|docker29-plugin|docker29-overlay2|docker26|docker28|docker28-plugin|docker26-overlay2|docker28-overlay2|notary|oras|skopeo|skopeo-sign ARGS...
#   lab.sh with-names COMMAND    a command that finds the registry under its name, registry.lab.test
#   lab.sh purge                 stop everything and delete the lab; the cache of packages stays
#
# Settings, by environment:
#   LAB_CACHE     where packages are unpacked             (default: ${XDG_CACHE_HOME:-~/.cache}/rootpin-lab)
#   LAB_ROOT      where daemons keep state, sockets, logs (default: $LAB_CACHE/lab)
#   LAB_PORT      the registry's port; notary's server and signer take the next two, rootpin's resolver and the registry's TLS the two
#                 after (default: 5000)
#   LAB_CERTS     the hosts.toml files that a dockerd shall see: 1 for those in LAB_ROOT/etc/certs.d, which the others see anyway
#   LAB_MIRROR    the Debian mirror                       (default: what apt uses here)
#   LAB_DOCKERD_ARGS  more arguments for each dockerd that is started
#   ROOTPIN_ENGINES  a folder with engines that Debian does not package: containerd-2.3, ctr-2.3, dockerd-29, docker-29, runc and
#                    containerd-shim-runc-v2; without it there are none of their services
#   LAB_KEEP      if set, a configuration of containerd or dockerd that is there is not written anew
#
# Nothing is installed: packages come through a private apt root that checks the archive's signature, and are unpacked by dpkg-deb.
# Outside of LAB_ROOT, containerd itself leaves traces in /run/containerd and dockerd in /run/docker.
set -euo pipefail
[[ ${1-} != --help ]] || exec sed -n '1d;/^#/!q;s/^# \{0,1\}//p' "$0"

CACHE=${LAB_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/rootpin-lab}
ROOT=${LAB_ROOT:-$CACHE/lab}
REGISTRY_PORT=${LAB_PORT:-5000}
NOTARY_PORT=$((REGISTRY_PORT + 1))
SIGNER_PORT=$((REGISTRY_PORT + 2))
RESOLVER_PORT=$((REGISTRY_PORT + 3))
TLS_PORT=$((REGISTRY_PORT + 4)) TLS_NAME=registry.lab.test
KEYRING=/usr/share/keyrings/debian-archive-keyring.gpg

# containerd 1.7, docker 26, docker-registry and notary come from trixie; containerd 2.1 and docker 28 from forky; both suites'
# programs run on Debian 12's libc, their runc does not, so that one is Debian 12's own, as is containerd 1.6.
SUITE_17=trixie SUITE_2=forky SUITE_HOST=bookworm
PKG_17=$CACHE/pkg/$SUITE_17 PKG_2=$CACHE/pkg/$SUITE_2 PKG_HOST=$CACHE/pkg/$SUITE_HOST
PKG_BOOT=$CACHE/pkg/boot # systemd of this machine's own Debian, with what it needs and this machine lacks
PKG_BARE=$CACHE/pkg/bare # a Debian 12 without anything of this machine, to be booted
PKG_PUPPET=$CACHE/pkg/puppet # Puppet of that Debian, with what it needs and that Debian lacks
SOCK_16=$ROOT/run/containerd16.sock SOCK_17=$ROOT/run/containerd17.sock SOCK_2=$ROOT/run/containerd2.sock
PKG_23=$ROOT/engines SOCK_23=$ROOT/run/containerd23.sock
DOCKERDS=(dockerd29 dockerd29-plugin dockerd29-overlay2 dockerd26 dockerd28 dockerd28-plugin dockerd26-overlay2 dockerd28-overlay2)
SERVICES=("${DOCKERDS[@]}" containerd23 containerd2 containerd17 containerd16 notary-server notary-signer registry-tls registry) # in the order in which they stop

ARCH=$(dpkg --print-architecture)
TRIPLET=$(uname -m)-linux-gnu
LIBS=$PKG_HOST/usr/lib/$TRIPLET:$PKG_HOST/lib/$TRIPLET

say() { echo "lab: $*" >&2; }
die() { say "$*"; exit 1; }

# ---------------------------------------------------------------- packages

mirror() {
  local uri=${LAB_MIRROR:-}
  [[ -n $uri ]] || uri=$(apt-get indextargets -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= --format '$(ORIGIN)|$(CODENAME)|$(REPO_URI)' 'Created-By: Packages' 2>/dev/null |
    awk -F'|' -v suite="$SUITE_HOST" '$1 == "Debian" && $2 == suite {print $3; exit}')
  # before the first apt-get update apt has no targets: read its sources
  [[ -n $uri ]] || uri=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{list,sources} 2>/dev/null |
    sed -nE -e 's/^URIs:[[:space:]]*([^[:space:]]+).*/\1/p' -e 's/^deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+)[[:space:]].*/\2/p' |
    grep -E '/debian/?$' | head -1)
  [[ -n $uri ]] || die "apt's sources name no Debian mirror; set LAB_MIRROR"
  echo "${uri%/}"
}

# An index past its Valid-Until is taken all the same: testing's is good for a week only, and mirrors lag. Its signature is checked.
private_apt() { # private_apt SUITE get|cache ARGS...
  local dir=$CACHE/apt/$1 tool=apt-$2; shift 2
  "$tool" -q -o Dir::Etc::sourcelist="$dir/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State="$dir/state" \
    -o Dir::State::status="$dir/status" -o Dir::Cache="$dir/cache" -o APT::Architecture="$ARCH" -o APT::Sandbox::User=root \
    -o Acquire::Languages=none -o Acquire::Check-Valid-Until=false -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false \
    -o Acquire::Retries=3 "$@"
}

read_index() { # read_index SUITE: once in a run
  local suite=$1 dir=$CACHE/apt/$1
  [[ -z ${READ[$suite]:-} ]] || return 0
  [[ -r $KEYRING ]] || die "$KEYRING is missing (package debian-archive-keyring)"
  mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial"
  : >"$dir/status"
  echo "deb [arch=$ARCH signed-by=$KEYRING] $(mirror) $suite main" >"$dir/sources.list"
  private_apt "$suite" get update -o APT::Update::Error-Mode=any >"$dir/update.log" 2>&1 || {
    tail -5 "$dir/update.log" >&2
    die "the index of $suite could not be fetched, or its signature not checked"
  }
  READ[$suite]=1
}
declare -A READ=()

unpack() { # unpack SUITE PACKAGE...: those that the cache lacks
  local suite=$1 name version deb dir=$CACHE/pkg/$1 missing=() wanted=(); shift
  mkdir -p "$dir/.have" "$CACHE/debs/$suite"
  for name; do [[ -s $dir/.have/$name ]] || missing+=("$name"); done
  ((${#missing[@]})) || return 0
  read_index "$suite"
  while read -r name version; do wanted+=("$name=$version"); done < <(private_apt "$suite" cache policy "${missing[@]}" |
    awk '/^[^ ].*:$/ {name = substr($1, 1, length($1) - 1)} /Candidate:/ && $2 != "(none)" {print name, $2}')
  ((${#wanted[@]} == ${#missing[@]})) || die "$suite lacks one of: ${missing[*]}"
  (cd "$CACHE/debs/$suite" && private_apt "$suite" get download "${wanted[@]}") >"$CACHE/apt/$suite/download.log" 2>&1 || {
    tail -3 "$CACHE/apt/$suite/download.log" >&2
    die "download from $suite failed"
  }
  for deb in "$CACHE/debs/$suite"/*.deb; do
    dpkg-deb -x "$deb" "$dir"
    name=$(dpkg-deb -f "$deb" Package) version=$(dpkg-deb -f "$deb" Version)
    echo "$version" >"$dir/.have/$name"
    say "unpacked $name $version of $suite"
    rm -f "$deb"
  done
}

# What is booted is a root with these laid over it, so they have its layout: /bin, /lib and /sbin are below /usr.
unpack_over() { # unpack_over DIR SUITE STATUS PACKAGE...: with what they need and the system lacks whose file of dpkg that is
  local dir=$1 suite=$2 status=$3 deb folder debs=$CACHE/debs/${1##*/}; shift 3
  [[ ! -e $dir/.whole ]] || return 0
  read_index "$suite"
  mkdir -p "$debs/partial" "$dir"
  private_apt "$suite" get -o Dir::State::status="$status" -o Dir::Cache::archives="$debs" -o APT::Install-Recommends=false \
    install --download-only --reinstall -y "$@" >"$CACHE/apt/$suite/download.log" 2>&1 || {
    tail -3 "$CACHE/apt/$suite/download.log" >&2
    die "download of $* from $suite failed"
  }
  for deb in "$debs"/*.deb; do
    dpkg-deb -x "$deb" "$dir"
    say "unpacked $(dpkg-deb -f "$deb" Package) $(dpkg-deb -f "$deb" Version) of $suite"
    rm -f "$deb"
  done
  for folder in bin sbin lib lib64; do
    [[ ! -d $dir/$folder ]] || { mkdir -p "$dir/usr/$folder" && cp -a "$dir/$folder/." "$dir/usr/$folder/" && rm -rf "${dir:?}/$folder"; }
  done
  touch "$dir/.whole"
}

# In a mount namespace of its own, so that nobody else comes to see the /proc that debootstrap mounts.
make_bare() {
  [[ ! -e $PKG_BARE/.whole ]] || return 0
  command -v debootstrap >/dev/null || die "debootstrap is missing: apt-get install debootstrap"
  rm -rf --one-file-system "$PKG_BARE"
  mkdir -p "$PKG_BARE"
  say "making a bare Debian of $SUITE_HOST"
  unshare --mount --pid --fork --kill-child --propagation private debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,runc,logrotate,busybox-static \
    "$SUITE_HOST" "$PKG_BARE" "$(mirror)" >"$CACHE/bare.log" 2>&1 || { tail -n 5 "$CACHE/bare.log" >&2; die "debootstrap failed"; }
  rm -rf "$PKG_BARE"/var/cache/apt/archives/*.deb "$PKG_BARE"/var/lib/apt/lists/*
  touch "$PKG_BARE/.whole"
}

cmd_fetch() {
  local group
  mkdir -p "$CACHE"
  exec 9>"$CACHE/.lock" # two labs may share one cache
  flock 9
  for group; do case $group in
    engines) unpack "$SUITE_17" containerd docker-registry; unpack "$SUITE_2" containerd ;;
    docker) unpack "$SUITE_17" docker.io docker-cli; unpack "$SUITE_2" docker.io docker-cli; unpack "$SUITE_HOST" runc libseccomp2 libsystemd0 ;;
    old) unpack "$SUITE_HOST" containerd ;;
    notary) unpack "$SUITE_17" notary ;;
    push) unpack "$SUITE_2" oras ;;
    clients) unpack "$SUITE_HOST" skopeo libgpgme11 libassuan0 libdevmapper1.02.1; unpack "$SUITE_2" oras docker-compose ;;
    # cosign 2.5, cosign 3.1, notation 1.3; skopeo 1.22 with its own libc, since Debian 12's skopeo can't sign
    sign) unpack "$SUITE_17" cosign; unpack "$SUITE_2" cosign notation skopeo libgpgme45 libassuan9 libgpg-error0 libsqlite3-0 libc6 ;;
    alerts) unpack "$SUITE_HOST" prometheus ;; # for promtool
    boot) unpack_over "$PKG_BOOT" "$(. /etc/os-release && echo "${VERSION_CODENAME:-$SUITE_HOST}")" /var/lib/dpkg/status systemd systemd-container ;;
    bare) make_bare ;;
    puppet) make_bare; unpack_over "$PKG_PUPPET" "$SUITE_HOST" "$PKG_BARE/var/lib/dpkg/status" puppet-agent ;;
    build) unpack "$SUITE_2" docker-buildx ;; # for both dockers: the builder itself is in dockerd
    *) die "no such group: $group" ;;
  esac; done
  exec 9>&-
  local version
  version=$(cat "$PKG_17/.have/containerd" 2>/dev/null || echo 1.7.) && [[ $version == 1.7.* ]] || say "warning: $SUITE_17 has containerd $version now, not 1.7"
  version=$(cat "$PKG_2/.have/containerd" 2>/dev/null || echo 2.) && [[ $version == 2.* ]] || say "warning: $SUITE_2 has containerd $version now, not 2.x"
}

# ---------------------------------------------------------------- processes

born() { sed 's/.*) //' "/proc/$1/stat" 2>/dev/null | awk '$1 != "Z" {print $20}'; } # start time; nothing for a zombie

alive() { # alive NAME: its pid, where that pid is still the process that we started
  local pid start
  read -r pid start 2>/dev/null <"$ROOT/run/$1.pid" || return 1
  [[ -n $start && $(born "$pid") == "$start" ]] && echo "$pid"
}

spawn() { # spawn NAME COMMAND...
  local name=$1; shift
  mkdir -p "$ROOT/run" "$ROOT/log"
  setsid "$@" </dev/null >>"$ROOT/log/$name.log" 2>&1 9>&- &
  echo "$! $(born $!)" >"$ROOT/run/$name.pid"
}

await() { # await NAME SECONDS COMMAND...: until the command succeeds
  local name=$1 end=$((SECONDS + $2)); shift 2
  until "$@" >/dev/null 2>&1; do
    alive "$name" >/dev/null && ((SECONDS < end)) || { tail -20 "$ROOT/log/$name.log" >&2; die "$name did not come up: $ROOT/log/$name.log"; }
    sleep 0.05
  done
}

halt() { # halt NAME: TERM, and KILL after 10 s
  local pid i
  if pid=$(alive "$1"); then
    kill "$pid" 2>/dev/null || true
    for ((i = 0; i < 200; i++)); do alive "$1" >/dev/null || break; sleep 0.05; done
    ! alive "$1" >/dev/null || kill -9 "$pid" 2>/dev/null || true
  fi
  rm -f "$ROOT/run/$1.pid"
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
free() { ! listens "$1" || die "port $1 is taken; set LAB_PORT"; }

# ---------------------------------------------------------------- services

certificates() { # a CA of the lab's own, and one certificate for the notary server and signer
  authority
  certificate server DNS:localhost,IP:127.0.0.1
}

authority() {
  local dir=$ROOT/pki
  [[ -s $dir/ca.crt ]] && return
  command -v openssl >/dev/null || die "openssl is missing: apt-get install openssl"
  mkdir -p "$dir"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 3650 -subj "/O=Lab/CN=Lab CA" -keyout "$dir/ca.key" \
    -out "$dir/ca.crt" -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign 2>/dev/null
}

certificate() { # certificate FILE NAMES: one that the lab's CA signed
  local dir=$ROOT/pki file=$1 names=$2
  [[ -s $dir/$file.crt ]] && return
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/O=Lab/CN=localhost" -keyout "$dir/$file.key" \
    -out "$dir/$file.csr" 2>/dev/null
  openssl x509 -req -days 3650 -in "$dir/$file.csr" -CA "$dir/ca.crt" -CAkey "$dir/ca.key" -CAcreateserial -out "$dir/$file.crt" \
    -extfile <(printf '%s\n' basicConstraints=critical,CA:FALSE keyUsage=critical,digitalSignature,keyEncipherment \
      extendedKeyUsage=serverAuth,clientAuth "subjectAltName=$names") 2>/dev/null
}

start_registry() {
  alive registry >/dev/null && return
  free "$REGISTRY_PORT"
  mkdir -p "$ROOT/etc" "$ROOT/state/registry"
  cat >"$ROOT/etc/registry.yml" <<YAML
version: 0.1
storage: {filesystem: {rootdirectory: $ROOT/state/registry}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$REGISTRY_PORT", secret: lab}
YAML
  spawn registry env OTEL_TRACES_EXPORTER=none "$PKG_17/usr/bin/docker-registry" serve "$ROOT/etc/registry.yml"
  await registry 10 listens "$REGISTRY_PORT"
}

start_registry_tls() { # the same images, by HTTP/2 over TLS
  alive registry-tls >/dev/null && return
  free "$TLS_PORT"
  authority
  certificate registry "DNS:$TLS_NAME,IP:127.0.0.1"
  mkdir -p "$ROOT/etc" "$ROOT/state/registry"
  cat >"$ROOT/etc/registry-tls.yml" <<YAML
version: 0.1
storage: {filesystem: {rootdirectory: $ROOT/state/registry}, delete: {enabled: true}}
http: {addr: "127.0.0.1:$TLS_PORT", secret: lab, tls: {certificate: $ROOT/pki/registry.crt, key: $ROOT/pki/registry.key}}
YAML
  spawn registry-tls env OTEL_TRACES_EXPORTER=none "$PKG_17/usr/bin/docker-registry" serve "$ROOT/etc/registry-tls.yml"
  await registry-tls 10 listens "$TLS_PORT"
}

# The machine's /etc/hosts stays as it is: another is laid over it in a mount namespace of the command's own.
with_names() { # with_names COMMAND...
  mkdir -p "$ROOT/run"
  { cat /etc/hosts; echo "127.0.0.1 $TLS_NAME"; } >"$ROOT/run/hosts.$$"
  # shellcheck disable=SC2016 # expanded by that shell
  exec unshare --mount --propagation private bash -c 'mount --bind "$0" /etc/hosts && rm "$0" && exec "$@"' "$ROOT/run/hosts.$$" "$@"
}

start_notary() { # server and signer keep all in memory: a restarted server knows nothing
  alive notary-server >/dev/null && return
  free "$NOTARY_PORT"
  free "$SIGNER_PORT"
  certificates
  local pki=$ROOT/pki
  mkdir -p "$ROOT/etc"
  cat >"$ROOT/etc/notary-signer.json" <<JSON
{"server": {"grpc_addr": "127.0.0.1:$SIGNER_PORT", "tls_cert_file": "$pki/server.crt", "tls_key_file": "$pki/server.key", "client_ca_file": "$pki/ca.crt"},
 "logging": {"level": "info"}, "storage": {"backend": "memory"}}
JSON
  cat >"$ROOT/etc/notary-server.json" <<JSON
{"server": {"http_addr": "127.0.0.1:$NOTARY_PORT", "tls_cert_file": "$pki/server.crt", "tls_key_file": "$pki/server.key"},
 "trust_service": {"type": "remote", "hostname": "127.0.0.1", "port": "$SIGNER_PORT", "key_algorithm": "ecdsa",
                   "tls_ca_file": "$pki/ca.crt", "tls_client_cert": "$pki/server.crt", "tls_client_key": "$pki/server.key"},
 "logging": {"level": "info"}, "storage": {"backend": "memory"}}
JSON
  spawn notary-signer "$PKG_17/usr/bin/notary-signer" -config "$ROOT/etc/notary-signer.json"
  await notary-signer 10 listens "$SIGNER_PORT"
  spawn notary-server "$PKG_17/usr/bin/notary-server" -config "$ROOT/etc/notary-server.json"
  await notary-server 10 listens "$NOTARY_PORT"
}

containerd_config() { # containerd_config NAME VERSION: drop-ins go into $ROOT/etc/NAME.d
  cat <<TOML
version = $2
root = "$ROOT/state/$1"
state = "$ROOT/run/$1"
imports = ["$ROOT/etc/$1.d/*.toml"]
# none is used here; and in a chroot, whose / is no mount point, btrfs would take the content store down with it
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile"]
[grpc]
  address = "$ROOT/run/$1.sock"
[ttrpc]
  address = "$ROOT/run/$1.sock.ttrpc"
[debug]
  address = "$ROOT/run/$1.sock.debug"
  level = "debug"
[plugins."io.containerd.internal.v1.opt"]
  path = "$ROOT/state/$1/opt"
[plugins."io.containerd.nri.v1.nri"]
  disable = false
  socket_path = "$ROOT/run/$1.nri.sock"
  plugin_path = "$ROOT/state/$1/nri"
  plugin_config_path = "$ROOT/etc/nri"
TOML
  if [[ $2 == 2 ]]; then cat <<TOML
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "127.0.0.1:$REGISTRY_PORT/lab/pause:v1"
  disable_tcp_service = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    disable_snapshot_annotations = false
  [plugins."io.containerd.grpc.v1.cri".registry]
    config_path = "$ROOT/etc/certs.d"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "$ROOT/cni/bin"
    conf_dir = "$ROOT/cni/net.d"
TOML
  else cat <<TOML
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "127.0.0.1:$REGISTRY_PORT/lab/pause:v1"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "$ROOT/etc/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["$ROOT/cni/bin"]
  conf_dir = "$ROOT/cni/net.d"
TOML
  fi
}

start_containerd() { # start_containerd NAME PACKAGES SOCKET CONFIG-VERSION
  local name=$1 pkg=$2 sock=$3
  alive "$name" >/dev/null && return
  mkdir -p "$ROOT/etc/$name.d" "$ROOT/state/$name" "$ROOT/run/$name"
  [[ -n ${LAB_KEEP:-} && -s $ROOT/etc/$name.toml ]] || containerd_config "$name" "$4" >"$ROOT/etc/$name.toml"
  spawn "$name" env PATH="$pkg/usr/bin:$pkg/usr/sbin:$PKG_HOST/usr/sbin:$PKG_HOST/usr/bin:$PATH" LD_LIBRARY_PATH="$LIBS" \
    "$pkg/usr/bin/containerd" --config "$ROOT/etc/$name.toml"
  await "$name" 30 "$pkg/usr/bin/ctr" -a "$sock" namespaces ls # `ctr version` answers even where the metadata plugin failed
}

link_engines() { # the engines of ROOTPIN_ENGINES, laid out as a package's
  local from=${ROOTPIN_ENGINES:-} to=$PKG_23/usr/bin name
  [[ -n $from ]] || die "ROOTPIN_ENGINES is not set: there is no folder of engines that Debian does not package"
  for name in containerd-2.3 ctr-2.3 dockerd-29 docker-29 runc containerd-shim-runc-v2; do
    [[ -x $from/$name ]] || die "ROOTPIN_ENGINES: there is no $from/$name"
  done
  mkdir -p "$to" "$PKG_23/usr/sbin"
  for name in containerd-2.3 ctr-2.3 docker-29 runc containerd-shim-runc-v2; do ln -sfn "$from/$name" "$to/${name%-[0-9]*}"; done
  ln -sfn "$from/dockerd-29" "$PKG_23/usr/sbin/dockerd"
  ln -sfn "$from/containerd-shim-runc-v2" "$to/containerd-shim-runc-v2"
}

start_containerd23() { link_engines; start_containerd containerd23 "$PKG_23" "$SOCK_23" 3; }

# dockerd knows one folder of hosts.toml files, /etc/docker/certs.d: in a mount namespace of its own an /etc is laid over the machine's.
# Containers don't run in there, as their mounts are not seen outside.
with_certs() { # with_certs COMMAND...
  local over=$ROOT/run/etc
  mkdir -p "$over"
  mount -t tmpfs tmpfs "$over"
  mkdir -p "$over/upper/docker" "$over/work"
  ln -s "$ROOT/etc/certs.d" "$over/upper/docker/certs.d"
  mount -t overlay overlay -o "lowerdir=/etc,upperdir=$over/upper,workdir=$over/work" /etc
  exec "$@"
}

start_dockerd() { # start_dockerd NAME: dockerdVERSION has the containerd store, dockerdVERSION-overlay2 the classic one
  local name=$1 pkg sock containerd config
  alive "$name" >/dev/null && return
  case $name in
    dockerd29*) pkg=$PKG_23 containerd=$SOCK_23; start_containerd23 ;;
    dockerd26*) pkg=$PKG_17 containerd=$SOCK_17; start_containerd containerd17 "$PKG_17" "$SOCK_17" 2 ;;
    *) pkg=$PKG_2 containerd=$SOCK_2; start_containerd containerd2 "$PKG_2" "$SOCK_2" 3 ;;
  esac
  config='{"features": {"containerd-snapshotter": true}, "storage-driver": "overlayfs"}'
  # Two dockerds share a containerd, and must not take each other's containers for their own leftovers.
  [[ $name != *-overlay2 ]] || config='{"features": {"containerd-snapshotter": false}, "storage-driver": "overlay2", "containerd-namespace": "moby-overlay2"}'
  [[ $name != *-plugin ]] || config='{"features": {"containerd-snapshotter": true}, "storage-driver": "overlayfs", "containerd-namespace": "moby-plugin"}'
  sock=$ROOT/run/$name.sock
  mkdir -p "$ROOT/state/$name" "$ROOT/run/$name"
  [[ -n ${LAB_KEEP:-} && -s $ROOT/etc/$name.json ]] || echo "$config" >"$ROOT/etc/$name.json"
  local inside=()
  [[ -z ${LAB_CERTS:-} ]] || inside=(unshare --mount --propagation private "$0" with-certs)
  # shellcheck disable=SC2086 # arguments, split at blanks
  spawn "$name" "${inside[@]}" env PATH="$pkg/usr/sbin:$pkg/usr/bin:$PKG_HOST/usr/sbin:$PKG_HOST/usr/bin:$PATH" LD_LIBRARY_PATH="$LIBS" \
    "$pkg/usr/sbin/dockerd" --config-file "$ROOT/etc/$name.json" --data-root "$ROOT/state/$name" --exec-root "$ROOT/run/$name" \
    --pidfile "$ROOT/run/$name/daemon.pid" -H "unix://$sock" --containerd "$containerd" \
    --iptables=false --ip6tables=false --bridge=none --ip-forward=false --ip-masq=false --userland-proxy=false ${LAB_DOCKERD_ARGS:-}
  await "$name" 60 env DOCKER_HOST="unix://$sock" "$pkg/usr/bin/docker" version
}

docker() { # docker NAME ARGS...: the client of that version
  local name=$1 pkg=$PKG_2; shift
  [[ $name != docker26* ]] || pkg=$PKG_17
  [[ $name != docker29* ]] || pkg=$PKG_23
  DOCKER_HOST=unix://$ROOT/run/dockerd${name#docker}.sock exec "$pkg/usr/bin/docker" "$@"
}

# ---------------------------------------------------------------- commands

cmd_own() { # the folder, and the mark that says to purge that it is a lab's own
  mkdir -p "$ROOT"
  touch "$ROOT/.rootpin-lab"
}

cmd_start() {
  local service
  cmd_own
  for service; do case $service in
    registry) start_registry ;;
    registry-tls) start_registry_tls ;;
    notary) start_notary ;;
    containerd16) start_containerd containerd16 "$PKG_HOST" "$SOCK_16" 2 ;;
    containerd17) start_containerd containerd17 "$PKG_17" "$SOCK_17" 2 ;;
    containerd2) start_containerd containerd2 "$PKG_2" "$SOCK_2" 3 ;;
    containerd23) start_containerd23 ;;
    dockerd29 | dockerd29-plugin | dockerd29-overlay2 | dockerd26 | dockerd28 | dockerd28-plugin | dockerd26-overlay2 | dockerd28-overlay2) start_dockerd "$service" ;;
    *) die "no such service: $service" ;;
  esac; done
}

cmd_configure() {
  local name
  mkdir -p "$ROOT/etc"
  for name; do case $name in
    containerd16 | containerd17) containerd_config "$name" 2 >"$ROOT/etc/$name.toml" ;;
    containerd2 | containerd23) containerd_config "$name" 3 >"$ROOT/etc/$name.toml" ;;
    *) die "no such engine: $name" ;;
  esac; done
}

cmd_stop() {
  local service
  (($#)) || set -- "${SERVICES[@]}"
  for service; do case $service in
    notary) halt notary-server; halt notary-signer ;;
    *) halt "$service" ;;
  esac; done
}

cmd_status() {
  local service pid
  for service in "${SERVICES[@]}"; do
    if pid=$(alive "$service"); then echo "$service runs as pid $pid"; else echo "$service is stopped"; fi
  done
}

cmd_env() {
  cat <<ENV
LAB_CACHE=$CACHE
LAB_ROOT=$ROOT
LAB_REGISTRY=127.0.0.1:$REGISTRY_PORT
LAB_REGISTRY_TLS=$TLS_NAME:$TLS_PORT
LAB_CA=$ROOT/pki/ca.crt
LAB_NOTARY=$PKG_17/usr/bin/notary
LAB_NOTARY_URL=https://127.0.0.1:$NOTARY_PORT
LAB_NOTARY_CA=$ROOT/pki/ca.crt
LAB_CONTAINERD16=$SOCK_16
LAB_RESOLVER=127.0.0.1:$RESOLVER_PORT
LAB_CONTAINERD17=$SOCK_17
LAB_CONTAINERD2=$SOCK_2
LAB_NRI17=$ROOT/run/containerd17.nri.sock
LAB_NRI2=$ROOT/run/containerd2.nri.sock
LAB_DOCKERD26=unix://$ROOT/run/dockerd26.sock
LAB_DOCKERD28=unix://$ROOT/run/dockerd28.sock
LAB_DOCKERD28_PLUGIN=unix://$ROOT/run/dockerd28-plugin.sock
LAB_DOCKERD26_OVERLAY2=unix://$ROOT/run/dockerd26-overlay2.sock
LAB_DOCKERD28_OVERLAY2=unix://$ROOT/run/dockerd28-overlay2.sock
LAB_ENGINES=${ROOTPIN_ENGINES:-}
LAB_CONTAINERD23=$SOCK_23
LAB_NRI23=$ROOT/run/containerd23.nri.sock
LAB_DOCKERD29=unix://$ROOT/run/dockerd29.sock
LAB_DOCKERD29_PLUGIN=unix://$ROOT/run/dockerd29-plugin.sock
LAB_DOCKERD29_OVERLAY2=unix://$ROOT/run/dockerd29-overlay2.sock
LAB_BIN23=$PKG_23/usr/bin
LAB_BIN17=$PKG_17/usr/bin
LAB_BIN2=$PKG_2/usr/bin
LAB_BARE=$PKG_BARE
LAB_PUPPET=$PKG_PUPPET
LAB_PROMTOOL=$PKG_HOST/usr/bin/promtool
LAB_BUILDX=$PKG_2/usr/libexec/docker/cli-plugins
ENV
}

cmd_purge() {
  cmd_stop
  local mount
  while read -r mount; do umount -l "$mount" 2>/dev/null || true; done < <(awk -v root="$ROOT/" 'index($2, root) == 1 {print $2}' /proc/mounts | sort -r)
  [[ -e $ROOT ]] || return 0
  # What stands beside pkg in the cache is a lab, whether or not somebody got as far as to mark it.
  [[ -e $ROOT/.rootpin-lab || ( ${ROOT%/*} == "$CACHE" && ${ROOT##*/} == lab* ) ]] || die "$ROOT is no lab: not deleted"
  # The mark goes last, so that a purge that is cut off can be said again.
  find "${ROOT:?}" -mindepth 1 -maxdepth 1 ! -name .rootpin-lab -exec rm -rf {} +
  rm -rf "${ROOT:?}"
}

[[ $(id -u) == 0 ]] || die "run as root: containerd needs it"
for tool in apt-get dpkg-deb flock setsid; do command -v "$tool" >/dev/null || die "$tool is missing: this needs Debian"; done
((${#SOCK_17} < 90)) || die "LAB_ROOT is too long for the names of sockets: $ROOT"
command=${1:-}
(($#)) && shift
case $command in
  fetch | own | configure | start | stop | status | env | purge) "cmd_$command" "$@" ;;
  mirror) mirror ;;
  link-engines) link_engines ;;
  with-certs) with_certs "$@" ;;
  with-names) with_names "$@" ;;
  ctr17) exec "$PKG_17/usr/bin/ctr" -a "$SOCK_17" "$@" ;;
  ctr23) exec "$PKG_23/usr/bin/ctr" -a "$SOCK_23" "$@" ;;
  ctr2) exec "$PKG_2/usr/bin/ctr" -a "$SOCK_2" "$@" ;;
  docker29 | docker29-plugin | docker29-overlay2 | docker26 | docker28 | docker28-plugin | docker26-overlay2 | docker28-overlay2) docker "$command" "$@" ;;
  notary) exec "$PKG_17/usr/bin/notary" -s "https://127.0.0.1:$NOTARY_PORT" --tlscacert "$ROOT/pki/ca.crt" "$@" ;;
  oras) exec "$PKG_2/usr/bin/oras" "$@" ;;
  skopeo-sign) exec "$PKG_2"/usr/lib*/ld-linux-*.so.* --library-path "$PKG_2/usr/lib/$TRIPLET" "$PKG_2/usr/bin/skopeo" "$@" ;;
  skopeo) LD_LIBRARY_PATH=$LIBS exec "$PKG_HOST/usr/bin/skopeo" "$@" ;;
  *) sed -n '1d;/^#/!q;s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
esac
