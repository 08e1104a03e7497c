//! `rootpin install --platform auto` on hosts as each platform leaves them, from the first look to
//! the last file taken back, with real containerds. docs/install.md has the table that comes of it.
//!
//! Each host is a root directory of its own in namespaces of its own. Kubelets, dockerd and the
//! platforms' own programs don't run: their configurations are what the platforms write.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use serde_json::Value;

use crate::lab::write;

const HERE: &str = env!("CARGO_MANIFEST_DIR");
const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/install.md");
const BEGIN: &str = "<!-- platforms:begin -->\n";
const END: &str = "<!-- platforms:end -->";
/// Hosts at once.
const AT_ONCE: usize = 2;
const HEAD: &str = "| platform | found | diff | engine starts | doctor | prove | uninstalled |\n|---|---|---|---|---|---|---|\n";

/// One platform's host.
struct Case {
    platform: &'static str,
    /// Of tests/data/platforms.
    shape: &'static str,
    main: &'static str,
    program: &'static str,
    address: &'static str,
    arguments: &'static str,
    regenerate: &'static str,
    /// What else is on such a host: a file, or with an empty text a folder.
    signs: &'static [(&'static str, &'static str)],
    /// What the diff must name.
    written: &'static [&'static str],
}

const SYSTEM: Case = Case {
    platform: "containerd",
    shape: "system",
    main: "/etc/containerd/config.toml",
    program: "/usr/bin/containerd",
    address: "/run/containerd/containerd.sock",
    arguments: "",
    regenerate: ":",
    signs: &[],
    written: &[
        "/etc/containerd/config.toml",
        "/etc/containerd/conf.d/rootpin.toml",
    ],
};

const NODE_CONFIG: &str = "/etc/eks/nodeadm.d/rootpin.yaml";

fn cases() -> Vec<Case> {
    vec![
        SYSTEM,
        Case {
            platform: "kubeadm",
            signs: &[(
                "/var/lib/kubelet/kubeadm-flags.env",
                "KUBELET_KUBEADM_ARGS=\"\"\n",
            )],
            ..SYSTEM
        },
        Case {
            platform: "docker",
            shape: "docker",
            signs: &[(
                "/etc/docker/daemon.json",
                "{\"log-driver\": \"journald\"}\n",
            )],
            written: &[
                "/etc/containerd/config.toml",
                "/etc/containerd/conf.d/rootpin.toml",
                "/etc/docker/daemon.json",
                "/etc/docker/plugins/rootpin.spec",
                "/etc/rootpin/rootpin.toml",
            ],
            ..SYSTEM
        },
        Case {
            platform: "kind",
            shape: "kind",
            program: "/usr/local/bin/containerd",
            signs: &[("/kind", "")],
            ..SYSTEM
        },
        Case {
            platform: "eks",
            shape: "eks",
            signs: &[("/etc/eks/nodeadm.d", "")],
            written: &[
                "/etc/containerd/config.toml",
                "/etc/containerd/conf.d/rootpin.toml",
                NODE_CONFIG,
            ],
            ..SYSTEM
        },
        Case {
            platform: "aks",
            shape: "aks",
            signs: &[("/opt/azure/containers", "")],
            ..SYSTEM
        },
        Case {
            platform: "gke",
            shape: "gke",
            signs: &[("/home/kubernetes/bin", "")],
            written: &[
                "/etc/containerd/conf.d/rootpin.toml",
                "/home/kubernetes/bin/rootpin/verifier/rootpin-verifier",
            ],
            ..SYSTEM
        },
        Case {
            platform: "k3s",
            shape: "k3s",
            main: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
            program: "/var/lib/rancher/k3s/data/current/bin/containerd",
            address: "/run/k3s/containerd/containerd.sock",
            written: &[
                "/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d/rootpin.toml",
                "/run/rootpin/k3s.gate.sock",
            ],
            ..SYSTEM
        },
        Case {
            platform: "rke2",
            shape: "rke2",
            main: "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
            program: "/var/lib/rancher/rke2/bin/containerd",
            address: "/run/k3s/containerd/containerd.sock",
            written: &["/var/lib/rancher/rke2/agent/etc/containerd/config-v3.toml.d/rootpin.toml"],
            ..SYSTEM
        },
        Case {
            platform: "k0s",
            shape: "k0s",
            main: "/etc/k0s/containerd.toml",
            program: "/var/lib/k0s/bin/containerd",
            address: "/run/k0s/containerd.sock",
            arguments: "--root /var/lib/k0s/containerd --state /run/k0s/containerd --address /run/k0s/containerd.sock",
            written: &["/etc/k0s/containerd.d/rootpin.toml"],
            ..SYSTEM
        },
        Case {
            platform: "microk8s",
            shape: "microk8s",
            main: "/var/snap/microk8s/current/args/containerd.toml",
            program: "/snap/microk8s/current/bin/containerd",
            address: "/var/snap/microk8s/common/run/containerd.sock",
            regenerate: "sed 's/${SNAPSHOTTER}/overlayfs/' /var/snap/microk8s/current/args/containerd-template.toml >\"$MAIN\"",
            signs: &[(
                "/var/snap/microk8s/current/args/containerd-template.toml",
                include_str!("../data/platforms/microk8s-template.toml"),
            )],
            written: &[
                "/var/snap/microk8s/current/args/containerd-template.toml",
                "/var/snap/microk8s/current/args/conf.d/rootpin.toml",
            ],
            ..SYSTEM
        },
    ]
}

/// One row of the table: a platform with one containerd.
struct Trial {
    case: Case,
    version: &'static str,
    folder: PathBuf,
}

/// Which containerds a platform is tried with: 1.7 knows version 2 of the configuration only.
fn trials() -> Vec<Trial> {
    let lab = crate::lab::environment();
    let more = std::env::var_os("ROOTPIN_ENGINES").map(PathBuf::from);
    let of = |version: &str| match version {
        "1.7" => Some(PathBuf::from(&lab["LAB_BIN17"])),
        "2.1" => Some(PathBuf::from(&lab["LAB_BIN2"])),
        _ => more.clone(),
    };
    let mut trials = Vec::new();
    for (number, case) in cases().into_iter().enumerate() {
        let versions: &[&str] = match case.platform {
            "containerd" => &["1.7", "2.1", "2.3"],
            "kubeadm" => &["1.7"],
            "kind" | "aks" | "k3s" | "k0s" => &["2.1", "2.3"],
            _ => &["2.1"],
        };
        for version in versions {
            if let Some(folder) = of(version) {
                let case = cases().swap_remove(number);
                trials.push(Trial {
                    case,
                    version,
                    folder,
                });
            }
        }
    }
    trials
}

impl Trial {
    fn title(&self) -> String {
        format!("{}, containerd {}", self.case.platform, self.version)
    }

    /// The engine's programs by their plain names, at the platform's place.
    fn programs(&self, root: &Path) {
        let to = root.join(self.case.program.trim_start_matches('/'));
        let folder = to.parent().unwrap();
        fs::create_dir_all(folder).unwrap();
        for name in ["containerd", "containerd-shim-runc-v2"] {
            let own = self.folder.join(name);
            let numbered = self.folder.join(format!("{name}-{}", self.version));
            let from = if numbered.exists() { numbered } else { own };
            fs::copy(&from, folder.join(name))
                .unwrap_or_else(|why| panic!("{}: {why}", from.display()));
        }
    }

    /// Makes the host, does everything, and says what each step came to.
    fn row(&self, work: &Path) -> Result<String, String> {
        let case = &self.case;
        let root = work.join(format!("{}-{}", case.platform, self.version));
        let at = |path: &str| root.join(path.trim_start_matches('/'));
        for folder in ["etc/rootpin", "root", "tmp", "var/lib"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777)).unwrap();
        let shape = format!("{HERE}/tests/data/platforms/{}.toml", case.shape);
        write(&at(case.main), fs::read(shape).unwrap());
        for (path, text) in case.signs {
            if text.is_empty() {
                fs::create_dir_all(at(path)).unwrap();
            } else {
                write(&at(path), text);
            }
        }
        self.programs(&root);
        let policy = format!(
            "version = 1\ndefault = \"deny\"\n[[image]]\nname = \"registry.example/pause:3.10\"\ndigest = \"sha256:{}\"\n",
            "ab".repeat(32)
        );
        write(&at("/etc/rootpin/policy.toml"), policy);
        let mut steps = String::new();
        for (name, value) in [
            ("MAIN", case.main),
            ("PROGRAM", case.program),
            ("ARGUMENTS", case.arguments),
            ("ADDRESS", case.address),
            ("REGENERATE", case.regenerate),
        ] {
            let _ = writeln!(steps, "{name}='{}'", value.replace('\'', "'\\''"));
        }
        steps.push_str(include_str!("platform-functions.sh"));
        steps.push_str(include_str!("platform-steps.sh"));
        write(&at("/root/steps"), steps);
        let bin = Path::new(env!("CARGO_BIN_EXE_rootpin")).parent().unwrap();
        let output = Command::new(format!("{HERE}/tests/real/platform.sh"))
            .arg(&root)
            .arg(bin)
            .args(["bash", "/root/steps"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        self.outcome(&root).map_err(|why| {
            let read =
                |name: &str| fs::read_to_string(root.join("root").join(name)).unwrap_or_default();
            format!(
                "{}: {why}\n{}\n{}\n{}",
                self.title(),
                String::from_utf8_lossy(&output.stderr),
                read("codes"),
                read("errors")
            )
        })
    }

    fn outcome(&self, root: &Path) -> Result<String, String> {
        let case = &self.case;
        let text = |name: &str| {
            fs::read_to_string(root.join("root").join(name)).map_err(|why| format!("{name}: {why}"))
        };
        let json = |name: &str| -> Result<Value, String> {
            serde_json::from_str(&text(name)?).map_err(|why| format!("{name}: {why}"))
        };
        let codes = text("codes")?;
        let ended = |name: &str, code: i32| -> Result<(), String> {
            if codes.lines().any(|line| line == format!("{name} {code}")) {
                Ok(())
            } else {
                Err(format!(
                    "{name} should end with {code}: {}",
                    text(name).unwrap_or_default()
                ))
            }
        };
        for (name, code) in [("found", 0), ("install", 0), ("again", 0), ("starts", 0)] {
            ended(name, code)?;
        }
        let found = json("found")?;
        if found["install"]["platform"] != case.platform {
            return Err(format!("found {}", found["install"]["platform"]));
        }
        let diff = found["install"]["diff"].as_str().unwrap_or_default();
        if let Some(missing) = case.written.iter().find(|path| !diff.contains(*path)) {
            return Err(format!("{missing} is not in the diff:\n{diff}"));
        }
        if !json("again")?["install"]["diff"]
            .as_str()
            .is_some_and(str::is_empty)
        {
            return Err(format!(
                "a second time something is written: {}",
                text("again")?
            ));
        }
        let doctor = json("doctor")?;
        let holes = doctor["holes"].as_array().ok_or("no holes")?;
        let untold: Vec<&str> = doctor["untold"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one["subject"].as_str())
            .collect();
        let (clean, told): (&[&str], &str) = if case.platform == "docker" {
            (&["docker"], "clean; dockerd not run")
        } else {
            (&[], "clean")
        };
        if !holes.is_empty() || untold != clean {
            return Err(format!("the doctor found {doctor:#}"));
        }
        // A proof is of all engines of rootpin.toml, and dockerd is none here.
        let proved = if case.platform == "docker" {
            "not tried here".to_owned()
        } else {
            proved(&json("prove")?)?
        };
        for name in ["uninstall", "same", "plain"] {
            ended(name, 0)?;
        }
        self.recipe(diff)?;
        Ok(format!(
            "| {} | yes | {} files | yes | {told} | {proved} | every byte, engine starts |\n",
            self.title(),
            diff.lines()
                .filter(|line| line.starts_with("+++ ") || line.starts_with("copy "))
                .count()
        ))
    }
}

/// The ways in that were tried, all of which must be shut.
fn proved(prove: &Value) -> Result<String, String> {
    let paths = prove["paths"].as_array().ok_or("no paths")?;
    let shut = paths.iter().filter(|path| path["result"] == "shut").count();
    if shut == 0 || shut != paths.len() {
        return Err(format!("prove: {prove:#}"));
    }
    Ok(format!("{shut} of {shut} ways shut"))
}

/// What `install` writes on a platform is that platform's recipe, for whoever brings files there by
/// other means.
const RECIPES: [(&str, &str, &str); 5] = [
    (
        "k3s",
        "/var/lib/rancher/k3s/agent/etc/containerd/config-v3.toml.d/rootpin.toml",
        "k3s.toml",
    ),
    (
        "rke2",
        "/var/lib/rancher/rke2/agent/etc/containerd/config-v3.toml.d/rootpin.toml",
        "rke2.toml",
    ),
    ("k0s", "/etc/k0s/containerd.d/rootpin.toml", "k0s.toml"),
    ("eks", "/etc/containerd/conf.d/rootpin.toml", "eks.toml"),
    ("eks", NODE_CONFIG, "eks-nodeconfig.yaml"),
];

impl Trial {
    /// Compares the recipes with what the diff adds. `ROOTPIN_WRITE=1` writes them instead.
    fn recipe(&self, diff: &str) -> Result<(), String> {
        let own = |(platform, _, _): &&(&str, &str, &str)| {
            *platform == self.case.platform && self.version == "2.1"
        };
        for (_, path, name) in RECIPES.iter().filter(own) {
            let (_, part) = diff
                .split_once(&format!("+++ {path}\n"))
                .ok_or(format!("{path} is not in the diff"))?;
            let part = part.split("\n--- ").next().unwrap_or_default();
            let text: String = part
                .lines()
                .filter_map(|line| line.strip_prefix('+'))
                .flat_map(|line| [line, "\n"])
                .collect();
            let file = Path::new(HERE).join("packaging/platforms").join(name);
            if std::env::var("ROOTPIN_WRITE").is_ok_and(|value| value == "1") {
                write(&file, &text);
            } else if fs::read_to_string(&file).unwrap_or_default() != text {
                return Err(format!(
                    "{} is another text; write this one by ROOTPIN_WRITE=1:\n{text}",
                    file.display()
                ));
            }
        }
        Ok(())
    }
}

/// `ROOTPIN_ROWS`, a part of a row's name, picks rows while one works on them.
#[test]
#[ignore = "needs real engines: use tests/run"]
fn each_platform_is_found_guarded_proved_and_given_back_as_it_was() {
    let picked = std::env::var("ROOTPIN_ROWS").unwrap_or_default();
    let work = tempfile::Builder::new()
        .prefix("rootpin-platforms-")
        .tempdir()
        .unwrap();
    let trials: Vec<Trial> = trials()
        .into_iter()
        .filter(|trial| trial.title().contains(&picked))
        .collect();
    let pending = Mutex::new(trials.iter().enumerate());
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((number, trial)) = { pending.lock().unwrap().next() } {
                    let row = trial.row(work.path());
                    crate::say(&format!(
                        "{} {}",
                        if row.is_ok() { "ok  " } else { "FAIL" },
                        trial.title()
                    ));
                    rows.lock().unwrap().push((number, row));
                }
            });
        }
    });
    let mut rows = rows.into_inner().unwrap();
    rows.sort_by_key(|(number, _)| *number);
    let failures: Vec<_> = rows
        .iter()
        .filter_map(|(_, row)| row.clone().err())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    if !picked.is_empty() {
        return;
    }
    let table: Vec<String> = rows.into_iter().filter_map(|(_, row)| row.ok()).collect();
    compare(&table);
}

/// With docs/install.md. `ROOTPIN_WRITE=1` writes it there instead. Rows of engines that are not
/// here are left as they are.
fn compare(rows: &[String]) {
    let page = fs::read_to_string(PAGE).unwrap();
    let (before, rest) = page
        .split_once(BEGIN)
        .expect("docs/install.md has no mark where the table begins");
    let (shown, after) = rest
        .split_once(END)
        .expect("docs/install.md has no mark where the table ends");
    let title = |row: &str| row.split(" | ").next().unwrap_or_default().to_owned();
    let mut table = String::from(HEAD);
    let known: Vec<&str> = shown.lines().skip(2).collect();
    for row in known
        .iter()
        .filter(|known| !rows.iter().any(|row| title(row) == title(known)))
    {
        assert!(
            std::env::var_os("ROOTPIN_ENGINES").is_none(),
            "docs/install.md has a row that is not made any more: {row}"
        );
    }
    if known.is_empty() || std::env::var_os("ROOTPIN_ENGINES").is_some() {
        table.extend(rows.iter().map(String::as_str));
    } else {
        for row in &known {
            let new = rows.iter().find(|new| title(new) == title(row));
            table.push_str(new.map_or(row, |new| new.trim_end()));
            table.push('\n');
        }
    }
    if std::env::var("ROOTPIN_WRITE").is_ok_and(|value| value == "1") {
        fs::write(PAGE, [before, BEGIN, &table, END, after].concat()).unwrap();
    } else {
        assert!(
            shown == table,
            "docs/install.md shows another table; write this one by ROOTPIN_WRITE=1\n\n{table}"
        );
    }
}
