//! The packaged units in a real systemd, booted by `boot.sh` in namespaces of its own: at boot,
//! over restarts and upgrades, beside a user who has no right here, and when rootpind hangs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rootpin_trust::image::Digest;

use crate::image::Image;
use crate::lab::{Lab, write};
use crate::say;

const BOOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/real/boot.sh");
const PACKAGING: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging");
const RESOLVER: &str = "127.0.0.1:505";

/// The files of a host that is to be booted, and what came of it.
pub(crate) struct Host {
    root: PathBuf,
    /// Another Debian than this machine's, as `BOOT_LOWER` has it.
    lower: Option<String>,
}

impl Host {
    /// This machine's Debian, without anything of rootpin.
    pub(crate) fn bare(name: &str) -> Self {
        let lab = std::env::var("ROOTPIN_LAB")
            .expect("ROOTPIN_LAB is not set: run these tests by `tests/run`");
        let root = PathBuf::from(lab).join("boot").join(name);
        let _ = fs::remove_dir_all(&root);
        Self { root, lower: None }
    }

    /// A Debian 12 with systemd and runc, and nothing else of any machine.
    pub(crate) fn debian(name: &str) -> Self {
        Self::over(name, &["LAB_BARE"])
    }

    /// A Debian 12 with what the lab unpacked for it, the uppermost first.
    pub(crate) fn over(name: &str, layers: &[&str]) -> Self {
        let layers = layers.iter().map(|layer| crate::lab::variable(layer));
        let layers: Vec<String> = layers.collect();
        for layer in &layers {
            assert!(
                Path::new(layer).join(".whole").exists(),
                "{layer} is not whole: run tests/real/lab.sh fetch bare puppet"
            );
        }
        Self {
            lower: Some(layers.join(":")),
            ..Self::bare(name)
        }
    }

    /// With the packaged units enabled, rootpin.toml as it is packaged with the resolver on, and
    /// this policy.
    fn new(name: &str, policy: &str) -> Self {
        let host = Self::bare(name);
        for unit in [
            "rootpind.service",
            "rootpind.socket",
            "rootpind-resolver.socket",
        ] {
            host.file(
                &format!("etc/systemd/system/{unit}"),
                &fs::read(format!("{PACKAGING}/systemd/{unit}")).unwrap(),
            );
        }
        for (by, unit) in [
            ("multi-user.target", "rootpind.service"),
            ("sockets.target", "rootpind.socket"),
            ("sockets.target", "rootpind-resolver.socket"),
            ("rootpind.service", "rootpind-resolver.socket"),
        ] {
            host.wanted(by, unit);
        }
        let config = fs::read_to_string(format!("{PACKAGING}/rootpin.toml")).unwrap();
        let config = config.replace("# resolver      = ", "resolver      = ");
        assert!(
            config.contains(&format!("\nresolver      = \"{RESOLVER}\"")),
            "the packaged file has another address than the unit"
        );
        host.file("etc/rootpin/rootpin.toml", config.as_bytes());
        host.file("etc/rootpin/policy.toml", policy.as_bytes());
        for (program, to) in [
            (env!("CARGO_BIN_EXE_rootpind"), "usr/bin/rootpind"),
            (env!("CARGO_BIN_EXE_rootpin"), "usr/bin/rootpin"),
            (
                env!("CARGO_BIN_EXE_rootpin-verifier"),
                "usr/libexec/rootpin/verifier/rootpin-verifier",
            ),
            (
                std::env::current_exe().unwrap().to_str().unwrap(),
                "usr/bin/helper",
            ),
        ] {
            host.program(to, &fs::read(program).unwrap());
        }
        host
    }

    /// An engine of the lab, set up as it sets itself up, whose unit is that of Debian's package.
    pub(crate) fn containerd(&self, bin: &str) {
        let bin = PathBuf::from(crate::lab::variable(bin));
        for program in ["containerd", "containerd-shim-runc-v2", "ctr"] {
            let bytes = fs::read(bin.join(program)).unwrap();
            self.program(&format!("usr/bin/{program}"), &bytes);
        }
        let config = Command::new(bin.join("containerd"))
            .args(["config", "default"])
            .output();
        self.file("etc/containerd/config.toml", &config.unwrap().stdout);
        self.unit(
            "containerd.service",
            "[Unit]\nAfter=network.target dbus.service\n[Service]\nType=notify\nExecStart=/usr/bin/containerd\nDelegate=yes\nKillMode=process\nRestart=always\n\
             [Install]\nWantedBy=multi-user.target\n",
        );
        self.wanted("multi-user.target", "containerd.service");
    }

    pub(crate) fn file(&self, path: &str, bytes: &[u8]) {
        write(&self.root.join(path), bytes);
    }

    pub(crate) fn program(&self, path: &str, bytes: &[u8]) {
        self.file(path, bytes);
        fs::set_permissions(self.root.join(path), fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub(crate) fn unit(&self, name: &str, text: &str) {
        self.file(&format!("etc/systemd/system/{name}"), text.as_bytes());
    }

    pub(crate) fn wanted(&self, by: &str, unit: &str) {
        let folder = self.root.join(format!("etc/systemd/system/{by}.wants"));
        fs::create_dir_all(&folder).unwrap();
        std::os::unix::fs::symlink(format!("../{unit}"), folder.join(unit)).unwrap();
    }

    /// Boots it, runs the script there, and returns the lines `name=value` that it wrote, and
    /// systemd's journal.
    pub(crate) fn boot(&self, script: &str, seconds: u32) -> Told {
        let head = "#!/bin/bash\nset -uo pipefail\nuser() { setpriv --reuid 65534 --regid 65534 --clear-groups \"$@\"; }\n\
                    until_active() { local unit i; for unit; do for ((i = 0; i < 300; i++)); do systemctl -q is-active \"$unit\" && break; sleep 0.1; done; done; }\n\
                    since_boot() { echo $(($(systemctl show -p ActiveEnterTimestampMonotonic --value \"$1\") - $(systemctl show -p UserspaceTimestampMonotonic --value))); }\n\
                    me() { ROOTPIN_HELPER=1 /usr/bin/helper --ignored --exact --nocapture \"systemd::$@\" 2>&1 | grep =; }\n";
        self.program("guest", format!("{head}{script}").as_bytes());
        let output = Command::new(BOOT)
            .arg(&self.root)
            .arg(seconds.to_string())
            .envs(self.lower.as_ref().map(|lower| ("BOOT_LOWER", lower)))
            .output()
            .unwrap();
        let written = |name: &str| {
            fs::read_to_string(self.root.join("written").join(name)).unwrap_or_default()
        };
        let (log, journal) = (written("guest.log"), written("journal.log"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{said}\n{log}\n{journal}");
        say(&log);
        let values = log
            .lines()
            .filter_map(|line| line.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
        Told {
            values: values.collect(),
            log,
            journal,
        }
    }
}

/// What the script in the booted system said.
pub(crate) struct Told {
    values: BTreeMap<String, String>,
    pub(crate) log: String,
    journal: String,
}

impl Told {
    pub(crate) fn text(&self, name: &str) -> &str {
        self.values
            .get(name)
            .unwrap_or_else(|| panic!("no {name} in {}\n{}", self.log, self.journal))
    }

    pub(crate) fn number(&self, name: &str) -> u64 {
        self.text(name)
            .parse()
            .unwrap_or_else(|_| panic!("{name}={}", self.text(name)))
    }
}

fn pinned(names: &[(String, String)]) -> String {
    let mut policy = "version = 1\ndefault = \"deny\"\n".to_owned();
    for (name, digest) in names {
        let _ = write!(
            policy,
            "[[image]]\nname = \"{name}\"\ndigest = \"{digest}\"\n"
        );
    }
    policy
}

/// An engine as it is packaged, and a network that never comes: what waits for it waits a minute,
/// and then fails.
fn without_network(host: &Host) {
    host.unit("containerd.service", "[Unit]\nAfter=network.target local-fs.target\n[Service]\nType=exec\nExecStart=/bin/sleep infinity\n");
    host.wanted("multi-user.target", "containerd.service");
    host.unit(
        "wait-online.service",
        "[Unit]\nDefaultDependencies=no\nAfter=sysinit.target\nBefore=network-online.target\n\
         [Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/sh -c 'sleep 60; exit 1'\n",
    );
    host.wanted("network-online.target", "wait-online.service");
    host.unit(
        "needs-network.service",
        "[Unit]\nWants=network-online.target\nAfter=network-online.target\n[Service]\nExecStart=/bin/true\n",
    );
    host.wanted("multi-user.target", "needs-network.service");
    // As cloud-init does: it starts an engine, and the network is said to be there only after it.
    host.unit(
        "early.service",
        "[Unit]\nDefaultDependencies=no\nAfter=sysinit.target\nBefore=network-online.target\n[Service]\nType=oneshot\n\
         ExecStart=/bin/sh -c 'timeout 20 systemctl start containerd; echo $? >/run/early'\n",
    );
    host.wanted("sysinit.target", "early.service");
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_host_without_a_network_boots_with_rootpind_before_its_engines_and_what_the_policy_binds_is_answered()
 {
    let digest = format!("sha256:{}", "8f".repeat(32));
    let host = Host::new(
        "offline",
        &pinned(&[("registry.example/pause:3.10".to_owned(), digest.clone())]),
    );
    without_network(&host);
    let script = format!(
        "until_active containerd; echo rootpind=$(since_boot rootpind); echo containerd=$(since_boot containerd)\n\
         for unit in rootpind rootpind.socket rootpind-resolver.socket; do echo \"$unit=$(systemctl is-active $unit)\"; done\n\
         began=$(date +%s%N); rootpin verify registry.example/pause:3.10@{digest} >/run/verify; echo verify=$?; echo took=$(($(date +%s%N) - began))\n\
         for ((i = 0; i < 100; i++)); do [[ ! -s /run/early ]] || break; sleep 0.1; done; echo early=$(cat /run/early)\n\
         echo network=$(systemctl is-active network-online.target)\n\
         user ls /run/rootpin; echo listed=$?\n"
    );
    let told = host.boot(&script, 60);
    for unit in ["rootpind.socket", "rootpind-resolver.socket"] {
        assert_eq!(told.text(unit), "active", "{}", told.journal);
    }
    assert_eq!(
        (
            told.text("network"),
            told.text("early"),
            told.text("verify")
        ),
        ("inactive", "0", "0"),
        "{}\n{}",
        told.log,
        told.journal
    );
    assert!(told.number("took") < 3_000_000_000);
    assert_ne!(
        told.text("listed"),
        "0",
        "a user without rights comes to no socket"
    );
    assert!(!told.journal.contains("ordering cycle"), "{}", told.journal);
    let (rootpind, containerd) = (since(&told, "rootpind"), since(&told, "containerd"));
    assert!(
        rootpind < containerd && containerd < Duration::from_secs(15),
        "{rootpind:?} {containerd:?}"
    );
}

/// Of the two lines of that name the first is a time.
fn since(told: &Told, unit: &str) -> Duration {
    let line = told
        .log
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{unit}=")))
        .unwrap();
    Duration::from_micros(line.parse().unwrap_or_else(|_| panic!("{unit}={line}")))
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_rootpind_that_hangs_is_started_anew_and_who_asked_it_meanwhile_is_answered() {
    let host = Host::new("hung", &pinned(&[]));
    let script = "until_active rootpind\nfirst=$(systemctl show -p MainPID --value rootpind)\nkill -STOP $first; began=$SECONDS\n\
         while grep -L 'T (stopped)' /proc/$first/task/*/status | grep -q .; do sleep 0.1; done\n\
         rootpin status >/run/status 2>&1; echo status=$?; echo took=$((SECONDS - began))\n\
         second=$(systemctl show -p MainPID --value rootpind); [[ $second != $first && $second != 0 ]]; echo anew=$?\n";
    let told = host.boot(script, 90);
    // The engines of the packaged file are not there, which is nobody's fault here: 0 or 1, and not
    // 2, "no answer".
    assert!(
        ["0", "1"].contains(&told.text("status")),
        "{}\n{}",
        told.log,
        told.journal
    );
    assert_eq!(told.text("anew"), "0", "{}", told.journal);
    assert!(told.number("took") <= 30, "{}", told.journal);
    assert!(
        told.journal.contains("Watchdog timeout"),
        "{}",
        told.journal
    );
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn the_command_that_is_printed_when_a_socket_was_removed_has_systemd_hold_the_new_one() {
    let host = Host::new("removed-socket", &pinned(&[]));
    let script = "gate=/run/rootpin/containerd.gate.sock\n\
         # sockets of that path that listen, and those of them that systemd holds (proc_net(5): unix)\n\
         listen() { awk -v path=$gate '$8 == path && $4 == \"00010000\" { print $7 }' /proc/net/unix; }\n\
         held() { local inode; for inode in $(listen); do ls -l /proc/1/fd | grep -o \"socket:.$inode.\"; done | wc -l; }\n\
         until_active rootpind; echo before=$(listen | wc -l) $(held)\n\
         rm $gate; for ((i = 0; i < 100; i++)); do journalctl --sync; journalctl -u rootpind -o cat | grep -q 'is made anew' && break; sleep 0.1; done\n\
         echo removed=$(listen | wc -l) $(held)\n\
         command=$(journalctl -u rootpind -o cat | sed -n 's/.*made anew.*`\\(systemctl [^`]*\\)`.*/\\1/p' | head -n 1); echo \"command=$command\"\n\
         failed=0; for ((r = 0; r < 10; r++)); do bash -ec \"$command\" || ((failed += 1)); [[ $(systemctl is-active rootpind.socket rootpind | xargs) == 'active active' ]] || ((failed += 1)); done\n\
         echo failed=$failed; echo after=$(listen | wc -l) $(held); test -S $gate; echo there=$?; rootpin status | grep -q 'NOT LISTENING'; echo silent=$?\n";
    let told = host.boot(script, 120);
    for (name, wanted) in [
        ("before", "1 1"),
        // The one that was removed. rootpind's own was bound under another name.
        ("removed", "1 1"),
        (
            "command",
            "systemctl stop rootpind.socket; systemctl restart rootpind",
        ),
        ("failed", "0"),
        ("after", "1 1"),
        ("there", "0"),
        ("silent", "1"),
    ] {
        assert_eq!(
            told.text(name),
            wanted,
            "{name}: {}\n{}",
            told.log,
            told.journal
        );
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn the_resolvers_port_is_nobody_elses_while_rootpind_is_away_and_one_that_is_taken_costs_that_door_only()
 {
    let host = Host::new("squatter", &pinned(&[]));
    // Tries to listen as a user without rights.
    let script = "until_active rootpind\n\
         squat() { user timeout 3 systemd-socket-activate -l 127.0.0.1:$1 cat >/run/squat 2>&1; echo $?; cat /run/squat >&2; }\n\
         systemctl stop rootpind; echo held=$(squat 505)\n\
         systemctl stop rootpind-resolver.socket rootpind.socket rootpind; echo free=$(squat 505)\n\
         # without the socket unit rootpind binds the port itself\n\
         systemctl disable -q rootpind-resolver.socket; systemctl start rootpind; rootpin status | tee /run/own | grep ^resolver; grep -q 'NOT LISTENING' /run/own; echo own=$?\n\
         # an older configuration, whose port any user can have\n\
         systemctl stop rootpind rootpind.socket; sed -i 's/127.0.0.1:505/127.0.0.1:5055/' /etc/rootpin/rootpin.toml\n\
         user systemd-socket-activate -l 127.0.0.1:5055 cat & squatter=$!; sleep 1\n\
         systemctl start rootpind; echo started=$?; rootpin status >/run/red; echo red=$?; grep -o 'NOT LISTENING.*' /run/red | sed 's/^/why=/'\n\
         rootpin hosts check --dir /run >/run/check; echo check=$?; grep -c 'port-taken' /run/check | sed 's/^/named=/'\n\
         kill $squatter; pkill -u 65534; for ((i = 0; i < 60; i++)); do sleep 0.1; rootpin status | grep -q 'NOT LISTENING' || break; done; rootpin status | grep -q 'NOT LISTENING'; echo again=$?\n\
         # an update of an installation without socket units\n\
         systemctl restart rootpind; echo updated=$(systemctl is-active rootpind rootpind.socket | xargs)\n";
    let told = host.boot(script, 90);
    for name in ["held", "free"] {
        assert_eq!(
            told.text(name),
            "1",
            "{name}: {}\n{}",
            told.log,
            told.journal
        );
    }
    assert_eq!(
        (told.text("own"), told.text("started"), told.text("red")),
        ("1", "0", "1"),
        "{}\n{}",
        told.log,
        told.journal
    );
    assert!(
        told.text("why").contains("user 65534"),
        "{}",
        told.text("why")
    );
    assert_eq!(
        (told.text("check"), told.text("named"), told.text("again")),
        ("1", "1", "1"),
        "{}\n{}",
        told.log,
        told.journal
    );
    assert_eq!(
        told.text("updated"),
        "active active",
        "{}\n{}",
        told.log,
        told.journal
    );
}

/// A registry, containerd 2.1 and 1.7 with rootpin's doors, and so many images that the policy
/// binds.
fn engines(host_name: &str, images: usize) -> (Host, Vec<String>) {
    let lab = Lab::start();
    let mut names = Vec::new();
    for number in 0..images {
        let (name, image) = (
            lab.name(&format!("boot/{host_name}{number}"), "v1"),
            Image::index(&format!("{host_name} {number}")),
        );
        lab.push(&image, &name);
        names.push((name, image.digest()));
    }
    let host = Host::new(host_name, &pinned(&names));
    let (registry, packages) = (
        lab.root.join("etc/registry.yml"),
        lab.path("LAB_BIN17").join("../.."),
    );
    let registry = format!(
        "[Service]\nExecStart={} serve {}\n",
        packages.join("usr/bin/docker-registry").display(),
        registry.display()
    );
    host.unit("registry.service", &registry);
    let common = |name: &str, bin: &Path| {
        format!(
            "[Unit]\nAfter=local-fs.target\n[Service]\nType=notify\nDelegate=yes\nKillMode=process\nOOMScoreAdjust=-999\n\
             ExecStart={}/containerd --config /etc/{name}.toml\n",
            bin.display()
        )
    };
    host.unit(
        "containerd.service",
        &common("containerd2", &lab.path("LAB_BIN2")),
    );
    host.unit(
        "containerd17.service",
        &common("containerd17", &lab.path("LAB_BIN17")),
    );
    let proxies = |engine: &str| {
        format!(
            "[proxy_plugins.rootpin]\ntype = \"diff\"\naddress = \"/run/rootpin/{engine}.gate.sock\"\n\
             [proxy_plugins.rootpin-apply]\ntype = \"diff\"\naddress = \"/run/rootpin/{engine}.apply.sock\"\n\
             [plugins.\"io.containerd.service.v1.diff-service\"]\ndefault = [\"rootpin\", \"walking\"]\n"
        )
    };
    let paths = |name: &str| {
        format!(
            "root = \"/var/lib/{name}\"\nstate = \"/run/{name}\"\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \
             \"io.containerd.cri.v1.runtime\"]\n[grpc]\naddress = \"/run/{name}/containerd.sock\"\n"
        )
    };
    let transfer = "[[plugins.\"io.containerd.transfer.v1.local\".unpack_config]]\nplatform = \"linux/amd64\"\nsnapshotter = \"native\"\n\
                    differ = \"rootpin-apply\"\n";
    let transfer = transfer.replace("amd64", crate::image::architecture());
    let verifier = "[plugins.\"io.containerd.image-verifier.v1.bindir\"]\nbin_dir = \"/usr/libexec/rootpin/verifier\"\nmax_verifiers = -1\n\
                    per_verifier_timeout = \"10s\"\n";
    host.file(
        "etc/containerd2.toml",
        format!(
            "version = 3\n{}{}{transfer}{verifier}",
            paths("containerd"),
            proxies("containerd")
        )
        .as_bytes(),
    );
    host.file(
        "etc/containerd17.toml",
        format!(
            "version = 2\n{}{}",
            paths("containerd17"),
            proxies("containerd17")
        )
        .as_bytes(),
    );
    let config = host.root.join("etc/rootpin/rootpin.toml");
    let more = "\n[[engine]]\nname = \"containerd17\"\ncontainerd = \"/run/containerd17/containerd.sock\"\n\
                gate = \"/run/rootpin/containerd17.gate.sock\"\napply = \"/run/rootpin/containerd17.apply.sock\"\n";
    fs::write(&config, fs::read_to_string(&config).unwrap() + more).unwrap();
    // One engine more than the packaged unit has, as its comment says.
    host.file(
        "etc/systemd/system/rootpind.socket.d/engine.conf",
        b"[Socket]\nListenStream=/run/rootpin/containerd17.gate.sock\nListenStream=/run/rootpin/containerd17.apply.sock\n",
    );
    for unit in [
        "registry.service",
        "containerd.service",
        "containerd17.service",
    ] {
        host.wanted("multi-user.target", unit);
    }
    let ctr = |number: &str| lab.path(number).join("ctr").display().to_string();
    let head = format!(
        "ctr2() {{ {} -a /run/containerd/containerd.sock \"$@\"; }}\nctr17() {{ {} -a /run/containerd17/containerd.sock \"$@\"; }}\n\
         until_active rootpind registry containerd containerd17\n",
        ctr("LAB_BIN2"),
        ctr("LAB_BIN17")
    );
    drop(lab);
    let mut lines: Vec<String> = names.into_iter().map(|(name, _)| name).collect();
    lines.insert(0, head);
    (host, lines)
}

/// `ROOTPIN_RESTARTS` says how often; 100 is what is promised, and takes three minutes.
#[test]
#[ignore = "needs real engines: use tests/run"]
fn no_pull_fails_while_rootpind_is_restarted_and_upgraded() {
    let restarts: u32 =
        std::env::var("ROOTPIN_RESTARTS").map_or(10, |count| count.parse().unwrap());
    let (host, mut names) = engines("restarts", 12);
    let head = names.remove(0);
    let script = format!(
        "{head}names=({})\n\
         puller() {{ local n=0 bad=0 name; while [[ ! -e /run/enough ]]; do name=${{names[n++ % ${{#names[@]}}]}}\n\
           $1 images pull --plain-http --snapshotter native $name >/run/$1.out 2>&1 || {{ bad=$((bad + 1)); echo \"$1 $name: $(tail -1 /run/$1.out)\"; }}\n\
           $1 images rm --sync $name >/dev/null 2>&1; done; echo $1=$n; echo bad_$1=$bad; }}\n\
         puller ctr2 & puller ctr17 & sleep 1\n\
         for ((r = 0; r < {restarts}; r++)); do systemctl restart rootpind || echo failed=$r; sleep 0.$((RANDOM % 10)); done\n\
         # an upgrade, as packages do it\n\
         systemctl stop rootpind; cp /usr/bin/rootpind /usr/bin/rootpind.new; mv /usr/bin/rootpind.new /usr/bin/rootpind; systemctl daemon-reload; systemctl start rootpind\n\
         sleep 1; touch /run/enough; wait; echo active=$(systemctl is-active rootpind)\n\
         echo starts=$(journalctl -b -u rootpind | grep -c 'answers on')\n",
        names.join(" ")
    );
    let told = host.boot(&script, 120 + restarts * 6);
    assert_eq!(
        (told.number("bad_ctr2"), told.number("bad_ctr17")),
        (0, 0),
        "{}\n{}",
        told.log,
        told.journal
    );
    assert!(
        told.number("ctr2") >= u64::from(restarts) && told.number("ctr17") >= u64::from(restarts),
        "too few pulls: {}",
        told.log
    );
    assert!(told.number("starts") > u64::from(restarts), "{}", told.log);
    assert_eq!(told.text("active"), "active");
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_user_without_rights_who_floods_the_resolver_costs_it_little_and_root_no_time() {
    let (host, mut names) = engines("flood", 1);
    let head = names.remove(0);
    let unpaced = std::env::var("ROOTPIN_FLOOD")
        .map_or(String::new(), |how| format!("export ROOTPIN_FLOOD={how}\n"));
    // A machine that has other work delays one of the two and not the other: the best of three
    // rounds is what rootpind does.
    let script = format!(
        "{head}{unpaced}export ROOTPIN_NAME={}\npid=$(systemctl show -p MainPID --value rootpind)\n\
         field() {{ awk -v name=\"$1:\" '$1 == name {{print $2}}' /proc/$pid/status; }}\nme asker >/dev/null\n\
         for ((round = 1; round <= 3; round++)); do\n\
         me asker >/run/quiet; quiet_threads=$(field Threads) quiet_memory=$(field VmRSS)\n\
         (user env ROOTPIN_HELPER=1 /usr/bin/helper --ignored --exact --nocapture systemd::flooder | grep = >/run/flood) &\n\
         sleep 0.5; me asker >/run/flooded; flooded_threads=$(field Threads) flooded_memory=$(field VmRSS)\n\
         wait; value() {{ sed -n \"s/^$2=//p\" /run/$1; }}\n\
         echo \"round $round: quiet $(xargs </run/quiet), flooded $(xargs </run/flooded), $(cat /run/flood)\"\n\
         (($(value flooded p99) > 3 * $(value quiet p99))) || break\ndone\n\
         sed 's/^/quiet_/' /run/quiet; sed 's/^/flooded_/' /run/flooded; cat /run/flood\n\
         for name in quiet_threads quiet_memory flooded_threads flooded_memory; do echo $name=${{!name}}; done\n\
         echo restarted=$(systemctl show -p NRestarts --value rootpind); echo refused=$(rootpin metrics | grep -c 'rootpin_questions_total.*refused')\n",
        names[0]
    );
    let told = host.boot(&script, 200);
    assert!(told.number("connections") >= 10_000, "{}", told.log);
    for name in ["quiet_bad", "flooded_bad", "restarted", "refused"] {
        assert_eq!(told.number(name), 0, "{name}: {}", told.log);
    }
    let (quiet, flooded) = (told.number("quiet_p99"), told.number("flooded_p99"));
    assert!(
        flooded <= quiet * 3,
        "p99 of root's questions: {quiet} µs became {flooded} µs\n{}",
        told.log
    );
    assert!(
        told.number("flooded_memory") <= told.number("quiet_memory") * 2,
        "{}",
        told.log
    );
    assert!(
        told.number("flooded_threads") <= told.number("quiet_threads") + 32,
        "{}",
        told.log
    );
}

const PRIVATE: &str = "127.0.0.1:5600";
const MANIFEST: &str = "{\"schemaVersion\":2}";

#[test]
#[ignore = "needs real engines: use tests/run"]
fn a_credential_that_systemd_passes_opens_a_registry_and_is_in_no_file_of_rootpins() {
    let name = format!("{PRIVATE}/team/app:v1");
    let digest = Digest::of(MANIFEST.as_bytes()).to_string();
    let host = Host::new("credentials", &pinned(&[(name.clone(), digest)]));
    let file = host.root.join("etc/rootpin/rootpin.toml");
    let config = fs::read_to_string(&file).unwrap() + "\n[credentials]\nsystemd = \"registries\"\n";
    write(&file, config);
    let auth = STANDARD.encode("alice:hunter2");
    host.file(
        "etc/registries.json",
        format!("{{\"auths\":{{\"{PRIVATE}\":{{\"auth\":\"{auth}\"}}}}}}").as_bytes(),
    );
    host.unit(
        "rootpind.service.d/credentials.conf",
        "[Service]\nLoadCredential=registries:/etc/registries.json\n",
    );
    host.unit(
        "registry.service",
        "[Service]\nEnvironment=ROOTPIN_HELPER=1\nExecStart=/usr/bin/helper --ignored --exact --nocapture systemd::private_registry\n",
    );
    host.wanted("multi-user.target", "registry.service");
    let script = format!(
        "until_active rootpind registry\nuntil (exec 3<>/dev/tcp/127.0.0.1/5600) 2>/dev/null; do sleep 0.1; done\n\
         rootpin verify {name} >/run/said 2>&1; echo verify=$?; cat /run/said\n\
         rm /etc/systemd/system/rootpind.service.d/credentials.conf; systemctl daemon-reload; systemctl restart rootpind\n\
         rootpin verify {name} >/run/without 2>&1; echo without=$?\n\
         echo cores=$(systemctl show -p LimitCORE --value rootpind)\n\
         journalctl --sync; journalctl -o export -u rootpind >/run/journal\n\
         echo files=$(grep -rlE 'hunter2|{auth}' /run/journal /run/said /run/without /run/rootpin /var/lib/rootpin /var/log/rootpin /etc/rootpin 2>/dev/null | wc -l)\n"
    );
    let told = host.boot(&script, 90);
    for (name, wanted) in [("verify", 0), ("without", 2), ("cores", 0), ("files", 0)] {
        assert_eq!(
            told.number(name),
            wanted,
            "{name}: {}\n{}",
            told.log,
            told.journal
        );
    }
}

/// A registry that answers only who knows the password. Runs in the booted system.
#[test]
#[ignore = "runs in the system that another test boots"]
fn private_registry() {
    if std::env::var("ROOTPIN_HELPER").is_err() {
        return;
    }
    let wanted = format!("Basic {}", STANDARD.encode("alice:hunter2"));
    for stream in TcpListener::bind(PRIVATE).unwrap().incoming() {
        let mut stream = stream.unwrap();
        let mut asked = Vec::new();
        let mut byte = [0];
        while !asked.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|read| read == 1) {
            asked.push(byte[0]);
        }
        let asked = String::from_utf8_lossy(&asked);
        let answer = if asked.contains(&wanted) {
            let body = if asked.starts_with("HEAD") {
                ""
            } else {
                MANIFEST
            };
            format!(
                "HTTP/1.1 200 OK\r\ndocker-content-digest: {}\r\ncontent-type: application/vnd.oci.image.manifest.v1+json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                Digest::of(MANIFEST.as_bytes()),
                MANIFEST.len()
            )
        } else {
            "HTTP/1.1 401 Unauthorized\r\nwww-authenticate: Basic realm=\"x\"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".to_owned()
        };
        let _ = stream.write_all(answer.as_bytes());
    }
}

/// Asks the resolver a hundred times a second for ten seconds, by a new connection each time, as
/// root does. Runs in the booted system.
#[test]
#[ignore = "runs in the system that another test boots"]
fn asker() {
    let Ok(name) = std::env::var("ROOTPIN_NAME") else {
        return;
    };
    let (host, rest) = name.split_once('/').unwrap();
    let (repository, tag) = rest.rsplit_once(':').unwrap();
    let question = format!(
        "HEAD /resolve/v2/{repository}/manifests/{tag}?ns={} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        host.replace(':', "%3A")
    );
    let (sender, answers) = mpsc::channel();
    let began = Instant::now();
    for number in 0..1000_u32 {
        std::thread::sleep(
            (began + Duration::from_millis(10) * number).saturating_duration_since(Instant::now()),
        );
        let (sender, question) = (sender.clone(), question.clone());
        std::thread::spawn(move || {
            let asked = Instant::now();
            let answer = TcpStream::connect(RESOLVER).and_then(|mut stream| {
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                stream.write_all(question.as_bytes())?;
                let mut answer = String::new();
                stream.read_to_string(&mut answer)?;
                Ok(answer)
            });
            let _ = sender.send((
                answer.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ")),
                asked.elapsed(),
            ));
        });
    }
    drop(sender);
    let answers: Vec<_> = answers.iter().collect();
    let mut times: Vec<_> = answers.iter().map(|(_, time)| time.as_micros()).collect();
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    say(&format!(
        "\nbad={}\np50={}\np99={}\nworst={}",
        answers.iter().filter(|(good, _)| !good).count(),
        at(50),
        at(99),
        at(100)
    ));
}

/// Connects to the resolver's port as a user without rights, a hundred times at once ten times a
/// second; up to 900 connections lie open at a time. With `ROOTPIN_FLOOD=all`, without a pause:
/// then processors are what is scarce, and of those the test may be given none. In the booted
/// system.
#[test]
#[ignore = "runs in the system that another test boots"]
fn flooder() {
    if std::env::var("ROOTPIN_HELPER").is_err() {
        return;
    }
    let paced = std::env::var("ROOTPIN_FLOOD").is_err();
    let (mut open, mut made, began) = (Vec::new(), 0_u32, Instant::now());
    while began.elapsed() < Duration::from_secs(11) {
        match TcpStream::connect(RESOLVER) {
            Ok(stream) => {
                made += 1;
                open.push(stream);
                if paced && made % 100 == 0 {
                    std::thread::sleep(
                        (began + Duration::from_millis(u64::from(made)))
                            .saturating_duration_since(Instant::now()),
                    );
                }
                if open.len() >= 900 {
                    open.clear();
                }
            }
            Err(_) => open.clear(),
        }
    }
    say(&format!("\nconnections={made}"));
}
