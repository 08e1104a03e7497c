//! Hosts on which one thing is unusual: after `rootpin install` and after `--uninstall` the real
//! containerd starts, is asked or was left alone with a reason, and nothing of others is lost.
//!
//! Each host is a root directory of its own in namespaces of its own (platform.sh).

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::lab::write;

const HERE: &str = env!("CARGO_MANIFEST_DIR");
const MAIN: &str = "/etc/containerd/config.toml";
const K0S: &str = "/etc/k0s/containerd.toml";
const SYSTEM: &str = include_str!("../data/platforms/system.toml");
const NVIDIA: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.nvidia]\n  runtime_type = \"io.containerd.runc.v2\"\n";
const KATA: &str = "version = 3\n[plugins.\"io.containerd.cri.v1.runtime\".containerd.runtimes.kata]\n  runtime_type = \"io.containerd.kata.v2\"\n  snapshotter = \"devmapper\"\n";
const KATA_OF_1: &str = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.kata]\n  runtime_type = \"io.containerd.kata.v2\"\n  snapshotter = \"devmapper\"\n";
/// The steps of every host: what was said is in files of their names.
const INSTALL: &str = "step install rootpin install --platform $KIND --yes\n";
const STARTS: &str = "step starts engine_starts\n\"$PROGRAM\" --config \"$MAIN\" config dump >/root/dump\nengine_stops\n";
const UNINSTALL: &str = "step uninstall rootpin install --uninstall --yes\nstep plain engine_starts\n\"$PROGRAM\" --config \"$MAIN\" config dump >/root/later\nengine_stops\n";

/// An image of a host, in which a run that was killed has left its drafts, is prepared and given back.
const IMAGE: &str = r#"
mkdir -p /img/usr /img/tmp
for link in bin sbin lib lib64; do ln -s usr/$link /img/$link; done
mount --bind /usr /img/usr
image() { find /img /img/usr/libexec -xdev \( -path /img/usr/bin -o -path /img/usr/share -o -path /img/usr/lib \) -prune -o -printf '%M %u %p %l\n' | sort; }
image >/root/before
mkdir -p /img/.rootpin-Ab3dE9/rootpin-x; echo secret >/img/.rootpin-Ab3dE9/rootpin-x/config.toml
step install rootpin install --root /img --run-image-programs --platform $KIND --yes
chroot /img "$PROGRAM" --config "$MAIN" config dump >/root/dump
step uninstall rootpin install --root /img --run-image-programs --uninstall --yes
image >/root/after
step same diff /root/before /root/after
umount /img/usr
"#;

/// One host.
struct Odd {
    name: &'static str,
    versions: &'static [&'static str],
    platform: &'static str,
    main: &'static str,
    files: Vec<(&'static str, String)>,
    steps: String,
    /// A step, how it ends, and what it says.
    wanted: Vec<(&'static str, i32, &'static str)>,
    /// A file, what it has, and what it has not.
    has: Vec<(&'static str, &'static str, &'static str)>,
}

impl Odd {
    fn new(name: &'static str, versions: &'static [&'static str]) -> Self {
        Self {
            name,
            versions,
            platform: "containerd",
            main: MAIN,
            files: Vec::new(),
            steps: String::new(),
            wanted: Vec::new(),
            has: Vec::new(),
        }
    }

    fn file(mut self, path: &'static str, text: impl Into<String>) -> Self {
        self.files.push((path, text.into()));
        self
    }

    fn steps(mut self, steps: &[&str]) -> Self {
        self.steps = steps.concat();
        self
    }

    fn ends(mut self, step: &'static str, code: i32, says: &'static str) -> Self {
        self.wanted.push((step, code, says));
        self
    }

    fn has(mut self, file: &'static str, text: &'static str, not: &'static str) -> Self {
        self.has.push((file, text, not));
        self
    }
}

fn hosts() -> Vec<Odd> {
    let disables = |plugin: &str| format!("version = 3\ndisabled_plugins = [\"{plugin}\"]\n");
    let two = &["2.1", "2.3"][..];
    let refused = |name, plugin: &'static str| {
        Odd::new(name, two)
            .file(MAIN, disables(plugin))
            .steps(&[INSTALL, STARTS])
            .ends("install", 1, "config.toml:2 disables io.containerd.")
            .ends("starts", 0, "")
            .has("dump", "", "rootpin")
    };
    vec![
        refused(
            "the verifier is disabled",
            "io.containerd.image-verifier.v1.bindir",
        ),
        refused(
            "the diff-service is disabled",
            "io.containerd.service.v1.diff-service",
        ),
        refused(
            "the transfer service is disabled",
            "io.containerd.transfer.v1.local",
        ),
        Odd::new("another author's drop-in disables it", two)
            .file(MAIN, "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n")
            .file(
                "/etc/containerd/conf.d/a.toml",
                disables("io.containerd.service.v1.diff-service"),
            )
            .steps(&[INSTALL, STARTS])
            .ends("install", 1, "conf.d/a.toml:2 disables io.containerd.")
            .ends("starts", 0, "")
            .has("dump", "", "rootpin"),
        Odd::new("1.7 names what disables it", &["1.7"])
            .file(
                MAIN,
                "version = 2\ndisabled_plugins = [\"io.containerd.transfer.v1.local\"]\n",
            )
            .steps(&[INSTALL, STARTS])
            .ends("install", 1, "config.toml:2 disables io.containerd.transfer.v1.local")
            .ends("starts", 0, ""),
        Odd::new("a runtime's snapshotter is not there, 2.3", &["2.3"])
            .file(MAIN, KATA)
            .steps(&[INSTALL, STARTS, UNINSTALL])
            .ends("install", 0, "")
            .ends("starts", 0, "")
            .ends("uninstall", 0, "")
            .ends("plain", 0, "")
            .has("dump", "snapshotter = 'devmapper'", "another word")
            .has("dump", "optional = true", "another word"),
        Odd::new("a runtime's snapshotter is not there, 2.1", &["2.1"])
            .file(MAIN, KATA)
            .steps(&[INSTALL, STARTS, UNINSTALL])
            .ends("install", 1, "pulls for the snapshotter devmapper stay refused")
            .ends("starts", 0, "")
            .ends("plain", 0, "")
            .has("dump", "containerd.gate.sock", "another word")
            .has("dump", "/usr/libexec/rootpin/verifier", "another word"),
        Odd::new("a runtime's snapshotter is not there, 1.7", &["1.7"])
            .file(MAIN, KATA_OF_1)
            .steps(&[INSTALL, STARTS, UNINSTALL])
            .ends("install", 0, "")
            .ends("starts", 0, "")
            .ends("plain", 0, "")
            .has("dump", "containerd.gate.sock", "another word"),
        Odd::new("another's drop-in came to rely on the import", &["1.7", "2.1", "2.3"])
            .file(MAIN, SYSTEM)
            .steps(&[
                INSTALL,
                "cp /root/nvidia.toml /etc/containerd/conf.d/99-nvidia.toml\n",
                STARTS,
                UNINSTALL,
            ])
            .file("/root/nvidia.toml", NVIDIA)
            .ends("install", 0, "")
            .ends("uninstall", 0, "keeps the import by which containerd reads /etc/containerd/conf.d/99-nvidia.toml")
            .ends("plain", 0, "")
            .has("dump", "runtimes.nvidia", "another word")
            .has("later", "runtimes.nvidia", "rootpin"),
        Odd::new("the same where rootpin made the main file", &["2.3"])
            .steps(&[
                INSTALL,
                "cp /root/nvidia.toml /etc/containerd/conf.d/99-nvidia.toml\n",
                STARTS,
                UNINSTALL,
            ])
            .file("/root/nvidia.toml", NVIDIA.replace("version = 2", "version = 3").replace("io.containerd.grpc.v1.cri", "io.containerd.cri.v1.runtime"))
            .ends("uninstall", 0, "keeps the import")
            .ends("plain", 0, "")
            .has("later", "runtimes.nvidia", "rootpin"),
        Odd::new("the main file was migrated", two)
            .file(MAIN, SYSTEM)
            .steps(&[
                INSTALL,
                "\"$PROGRAM\" --config \"$MAIN\" config migrate >/root/migrated && cp /root/migrated \"$MAIN\"\n",
                "step again rootpin install --platform $KIND --yes\n",
                STARTS,
                "step uninstall rootpin install --uninstall --yes\nls /usr/libexec/rootpin/verifier >/root/verifier\n",
            ])
            .ends("install", 0, "")
            .ends("again", 1, "the main file has rootpin's settings beside rootpin's drop-in")
            .ends("starts", 0, "")
            .ends("uninstall", 1, "rootpin's settings would stay in force")
            .has("verifier", "rootpin-verifier", "another word"),
        Odd::new("somebody broke the main file", two)
            .file(MAIN, SYSTEM)
            .steps(&[
                INSTALL,
                "echo 'garbage = [' >>\"$MAIN\"\n",
                "step uninstall rootpin install --uninstall --yes\n",
            ])
            .ends("install", 0, "")
            .ends("uninstall", 1, "nothing is taken back: mend that first")
            .has(
                "../etc/containerd/conf.d/rootpin.toml",
                "rootpin",
                "another word",
            ),
        Odd {
            platform: "k0s",
            main: K0S,
            ..Odd::new("k0s has a configuration of one's own", two)
        }
        .file(K0S, "version = 3\n[grpc]\n  address = \"/run/containerd/containerd.sock\"\n")
        .file("/var/lib/k0s/mark", "")
        .steps(&[INSTALL, STARTS, UNINSTALL])
        .ends("install", 0, "")
        .ends("starts", 0, "")
        .ends("plain", 0, "")
        .has("dump", "k0s.gate.sock", "another word")
        .has("dump", "/usr/libexec/rootpin/verifier", "another word")
        .has("later", "", "rootpin"),
        Odd {
            main: "/etc/containerd/other.toml",
            ..Odd::new("the unit names another configuration", two)
        }
        .file("/etc/containerd/other.toml", SYSTEM)
        .file(
            "/etc/systemd/system/containerd.service",
            "[Service]\nExecStart=/usr/bin/containerd --config /etc/containerd/other.toml\n",
        )
        .steps(&[INSTALL, STARTS, UNINSTALL])
        .ends("install", 0, "/etc/containerd/other.toml")
        .ends("starts", 0, "")
        .ends("uninstall", 0, "/etc/containerd/other.toml")
        .ends("plain", 0, "")
        .has("dump", "containerd.gate.sock", "another word")
        .has("later", "", "rootpin"),
        Odd {
            platform: "docker",
            ..Odd::new("dockerd's unit names its plugins", &["2.1"])
        }
        .file(MAIN, SYSTEM)
        .file("/etc/docker/daemon.json", "{}\n")
        .file(
            "/etc/systemd/system/docker.service",
            "[Service]\nExecStart=/usr/bin/dockerd -H fd://\n",
        )
        .file(
            "/etc/systemd/system/docker.service.d/o.conf",
            "[Service]\nExecStart=\nExecStart=/usr/bin/dockerd --authorization-plugin=opa\n",
        )
        .steps(&[INSTALL])
        .ends("install", 1, "its plugins are named on the command line in /etc/systemd/system/docker.service.d/o.conf")
        .has("../etc/docker/daemon.json", "{}", "rootpin"),
        Odd::new("the configuration has another socket", &["1.7", "2.1"])
            .file(MAIN, "version = 2\n[grpc]\n  address = \"/run/cd/x.sock\"\n")
            .steps(&[
                INSTALL,
                "sed -i s,/run/cd/x.sock,/run/cd/y.sock, /etc/rootpin/rootpin.toml\nstep listed rootpin install --dry-run\n",
                "sed -i s,/run/cd/y.sock,/run/cd/x.sock, /etc/rootpin/rootpin.toml\nADDRESS=/run/cd/x.sock\n",
                STARTS,
                UNINSTALL,
            ])
            .ends("install", 0, "")
            .ends("listed", 1, "it will listen at /run/cd/x.sock, and rootpin.toml has /run/cd/y.sock")
            .ends("starts", 0, "")
            .ends("plain", 0, ""),
        Odd::new("somebody wrote the main file anew", two)
            .file(MAIN, "version = 2\n# mine\n")
            .steps(&[
                INSTALL,
                "rm -r /etc/containerd/conf.d; printf 'version = 2\\n[plugins]\\n# distro\\n' >\"$MAIN\"\n",
                UNINSTALL,
            ])
            .ends("install", 0, "")
            .ends("uninstall", 0, "rootpin-verifier")
            .ends("plain", 0, "")
            .has("../etc/containerd/config.toml", "# distro", "imports")
            .has("later", "", "rootpin"),
        Odd::new("the administrator has a folder of verifiers", &["2.1"])
            .file(
                MAIN,
                "version = 3\n[plugins.'io.containerd.image-verifier.v1.bindir']\n  bin_dir = \"/opt/x/verifiers\"\n",
            )
            .file("/opt/x/verifiers/README", "")
            .steps(&[INSTALL, UNINSTALL])
            .ends("install", 0, "/opt/x/verifiers/rootpin-verifier")
            .ends("uninstall", 0, "/opt/x/verifiers/rootpin-verifier")
            .ends("plain", 0, "")
            .has("uninstall", "taken back", "had rootpin's settings before"),
        Odd::new("conf.d is a link and sockets are elsewhere", &["1.7", "2.1"])
            .file(MAIN, "version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n")
            .file(
                "/etc/rootpin/rootpin.toml",
                "control = \"/run/other/control.sock\"\n[[engine]]\nname = \"c\"\ncontainerd = \"/run/containerd/containerd.sock\"\ngate = \"/run/other/g\"\napply = \"/run/other/a\"\n",
            )
            .file(
                "/root/maintainer.sh",
                include_str!("../../packaging/maintainer.sh"),
            )
            .steps(&[
                "mkdir /opt/cd && ln -s /opt/cd /etc/containerd/conf.d\n",
                INSTALL,
                "step asking sh -c '. /root/maintainer.sh; asking'\n",
                "step removal sh -c '. /root/maintainer.sh; before_removal'\n",
                STARTS,
                UNINSTALL,
                "step nobody sh -c '. /root/maintainer.sh; asking'\n",
            ])
            .ends("install", 0, "")
            .ends("asking", 0, "/etc/containerd/conf.d/rootpin.toml")
            .ends("removal", 1, "")
            .ends("starts", 0, "")
            .ends("uninstall", 0, "")
            .has("nobody", "", "/"),
        Odd::new("an image in which a killed run left its drafts", &["1.7", "2.1", "2.3"])
            .file("/img/etc/containerd/config.toml", SYSTEM)
            .steps(&[IMAGE])
            .ends("install", 0, "hint: have rootpind start with the image")
            .ends("uninstall", 0, "taken back:")
            .ends("same", 0, "")
            .has("dump", "containerd.gate.sock", "another word")
            .has("same", "", "rootpin"),
        Odd::new("a newer verifier and an edited rootpin.toml", &["2.1"])
            .file(MAIN, SYSTEM)
            .steps(&[
                INSTALL,
                "mkdir /root/new && cp /opt/rootpin/bin/{rootpin,rootpin-verifier} /root/new && echo >>/root/new/rootpin-verifier\n",
                "step newer /root/new/rootpin install --platform $KIND --yes\n",
                "step same cmp /root/new/rootpin-verifier /usr/libexec/rootpin/verifier/rootpin-verifier\n",
                "rm -r /root/new; echo '# metrics = \"127.0.0.1:9465\"' >>/etc/rootpin/rootpin.toml\n",
                STARTS,
                UNINSTALL,
                "find /usr/libexec/rootpin /etc/containerd /etc/rootpin >/root/left\n",
            ])
            .ends("newer", 0, "written: /usr/libexec/rootpin/verifier/rootpin-verifier")
            .ends("same", 0, "")
            .ends("uninstall", 0, "rootpin.toml was edited since")
            .ends("uninstall", 0, "restart containerd now")
            .ends("plain", 0, "")
            .has("left", "/etc/rootpin/rootpin.toml", ".bak-")
            .has("left", "/etc/rootpin/rootpin.toml", "rootpin-verifier"),
    ]
}

fn engine(version: &str) -> Option<PathBuf> {
    let lab = crate::lab::environment();
    let more = std::env::var_os("ROOTPIN_ENGINES").map(PathBuf::from);
    let path = match version {
        "1.7" => Path::new(&lab["LAB_BIN17"]).join("containerd"),
        "2.1" => Path::new(&lab["LAB_BIN2"]).join("containerd"),
        _ => more?.join(format!("containerd-{version}")),
    };
    path.exists().then_some(path)
}

impl Odd {
    fn run(&self, version: &str, program: &Path, work: &Path) -> Result<(), String> {
        let root = work.join(format!(
            "{}-{version}",
            self.name
                .replace(|sign: char| !sign.is_ascii_alphanumeric(), "-")
        ));
        let at = |path: &str| root.join(path.trim_start_matches('/'));
        for folder in ["etc/containerd", "root", "tmp", "var/lib"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777)).unwrap();
        for (path, text) in &self.files {
            write(&at(path), text);
        }
        let place = match self.platform {
            "k0s" => "/var/lib/k0s/bin/containerd",
            _ => "/usr/bin/containerd",
        };
        fs::create_dir_all(at(place).parent().unwrap()).unwrap();
        fs::copy(program, at(place)).unwrap();
        let mut steps = String::new();
        for (name, value) in [
            ("MAIN", self.main),
            ("PROGRAM", place),
            ("ARGUMENTS", ""),
            ("ADDRESS", "/run/containerd/containerd.sock"),
            ("REGENERATE", ":"),
            ("KIND", self.platform),
        ] {
            let _ = writeln!(steps, "{name}='{value}'");
        }
        steps.push_str(include_str!("platform-functions.sh"));
        steps.push_str(&self.steps);
        write(&at("/root/steps"), steps);
        let bin = Path::new(env!("CARGO_BIN_EXE_rootpin")).parent().unwrap();
        let output = Command::new(format!("{HERE}/tests/real/platform.sh"))
            .arg(&root)
            .arg(bin)
            .args(["bash", "/root/steps"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let read = |name: &str| fs::read_to_string(at("root").join(name)).unwrap_or_default();
        let codes = read("codes");
        let mut wrong = String::new();
        for (step, code, says) in &self.wanted {
            let said = read(step);
            if !codes.lines().any(|line| line == format!("{step} {code}")) || !said.contains(says) {
                let _ = writeln!(
                    wrong,
                    "{step} should end with {code} and say {says:?}:\n{said}"
                );
            }
        }
        for (file, text, not) in &self.has {
            let found = read(file);
            if !found.contains(text) || found.contains(not) {
                let _ = writeln!(
                    wrong,
                    "{file} should have {text:?} and not {not:?}:\n{found}"
                );
            }
        }
        if wrong.is_empty() {
            return Ok(());
        }
        Err(format!(
            "{}, containerd {version}:\n{wrong}{codes}\n{}\n{}\n{}",
            self.name,
            read("errors"),
            read("engine.log")
                .lines()
                .rev()
                .take(3)
                .collect::<Vec<_>>()
                .join("\n"),
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// `ROOTPIN_ROWS`, a part of a host's name, picks hosts while one works on them.
#[test]
#[ignore = "needs real engines: use tests/run"]
fn on_odd_hosts_the_engine_starts_and_is_asked_or_is_left_alone_with_the_reason() {
    let picked = std::env::var("ROOTPIN_ROWS").unwrap_or_default();
    let work = tempfile::Builder::new()
        .prefix("rootpin-odd-")
        .tempdir()
        .unwrap();
    let mut failures = Vec::new();
    let mut tried = 0;
    for host in hosts() {
        for version in host.versions {
            let title = format!("{}, containerd {version}", host.name);
            let Some(program) = engine(version).filter(|_| title.contains(&picked)) else {
                continue;
            };
            tried += 1;
            let done = host.run(version, &program, work.path());
            crate::say(&format!(
                "{} {title}",
                if done.is_ok() { "ok  " } else { "FAIL" }
            ));
            failures.extend(done.err());
        }
    }
    assert!(tried > 0, "no engine is here, or no host has this name");
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
