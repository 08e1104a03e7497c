//! `rootpin install --platform … --credentials` on hosts as each platform leaves them: a stand-in for
//! the kubelet asks as its platform configures it, before, meanwhile and after.
//!
//! The providers behind are shell scripts; the platforms' own programs don't run.

use std::fmt::Write as _;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::lab::write;

const HERE: &str = env!("CARGO_MANIFEST_DIR");
const V1: &str = "credentialprovider.kubelet.k8s.io/v1";
const V1BETA1: &str = "credentialprovider.kubelet.k8s.io/v1beta1";

/// One platform's host.
struct Case {
    platform: &'static str,
    main: &'static str,
    program: &'static str,
    /// The real providers' configuration, and the folder of their programs.
    theirs: &'static str,
    programs: &'static str,
    /// How the platform comes to its kubelet's words, after those that it has anyway.
    flags: &'static str,
    signs: &'static [&'static str],
}

const SYSTEM: Case = Case {
    platform: "kubeadm",
    main: "/etc/containerd/config.toml",
    program: "/usr/bin/containerd",
    theirs: "/etc/kubernetes/credential-providers.json",
    programs: "/opt/credential-provider",
    flags: "(. /etc/default/kubelet && echo $KUBELET_EXTRA_ARGS)",
    signs: &["/var/lib/kubelet", "/etc/default"],
};

fn cases() -> [Case; 6] {
    [
        SYSTEM,
        Case {
            platform: "eks",
            theirs: "/etc/eks/image-credential-provider/config.json",
            programs: "/etc/eks/image-credential-provider",
            flags: "sed -n 's/^ *- --/--/p' /etc/eks/nodeadm.d/*.yaml | tr '\\n' ' '",
            signs: &["/etc/eks/nodeadm.d"],
            ..SYSTEM
        },
        Case {
            platform: "aks",
            theirs: "/var/lib/kubelet/credential-provider-config.yaml",
            programs: "/var/lib/kubelet/credential-provider",
            flags: "",
            signs: &["/opt/azure/containers"],
            ..SYSTEM
        },
        Case {
            platform: "gke",
            theirs: "/etc/srv/kubernetes/cri_auth_config.yaml",
            programs: "/home/kubernetes/bin",
            flags: "",
            signs: &["/home/kubernetes/bin"],
            ..SYSTEM
        },
        Case {
            platform: "k3s",
            main: "/var/lib/rancher/k3s/agent/etc/containerd/config.toml",
            program: "/var/lib/rancher/k3s/data/current/bin/containerd",
            theirs: "/var/lib/rancher/credentialprovider/config.yaml",
            programs: "/var/lib/rancher/credentialprovider/bin",
            flags: "sed -n 's/^\\(image-credential-provider-[a-z-]*\\): /--\\1=/p' /etc/rancher/k3s/config.yaml.d/*.yaml | tr '\\n' ' '",
            signs: &["/etc/rancher/k3s"],
        },
        Case {
            platform: "rke2",
            main: "/var/lib/rancher/rke2/agent/etc/containerd/config.toml",
            program: "/var/lib/rancher/rke2/bin/containerd",
            theirs: "/var/lib/rancher/credentialprovider/config.yaml",
            programs: "/var/lib/rancher/credentialprovider/bin",
            flags: "sed -n 's/^\\(image-credential-provider-[a-z-]*\\): /--\\1=/p' /etc/rancher/rke2/config.yaml.d/*.yaml | tr '\\n' ' '",
            signs: &["/etc/rancher/rke2"],
        },
    ]
}

/// A provider as clouds have them.
fn provider(name: &str, version: &str, key: &str, secret: &str) -> String {
    let answer = json!({
        "kind": "CredentialProviderResponse", "apiVersion": version, "cacheKeyType": "Registry",
        "cacheDuration": "5m0s", "auth": {key: {"username": name, "password": secret}},
    });
    format!("#!/bin/sh\nread -r request\necho '{answer}'\n")
}

impl Case {
    fn run(&self, work: &Path) -> Result<(), String> {
        let root = work.join(self.platform);
        let at = |path: &str| root.join(path.trim_start_matches('/'));
        for folder in ["etc/rootpin", "root", "tmp", "var/lib"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::set_permissions(root.join("tmp"), Permissions::from_mode(0o1777)).unwrap();
        for folder in self.signs {
            fs::create_dir_all(at(folder)).unwrap();
        }
        let shape = match self.platform {
            "kubeadm" => "system",
            other => other,
        };
        let shape = format!("{HERE}/tests/data/platforms/{shape}.toml");
        write(&at(self.main), fs::read(shape).unwrap());
        let program = |path: &str, bytes: &[u8]| {
            write(&at(path), bytes);
            fs::set_permissions(at(path), Permissions::from_mode(0o755)).unwrap();
        };
        let engine = Path::new(&crate::lab::environment()["LAB_BIN2"]).join("containerd");
        program(self.program, &fs::read(engine).unwrap());
        program(
            "/usr/bin/kubelet",
            b"#!/bin/sh\nread -r never < /root/never\n",
        );
        for (name, version, key) in [
            ("ecr-credential-provider", V1, "*.test"),
            ("acr-credential-provider", V1BETA1, "r2.example"),
        ] {
            let text = provider(name, version, key, &format!("hunter2-{name}"));
            program(&format!("{}/{name}", self.programs), text.as_bytes());
        }
        // JSON is YAML, whatever the file is called.
        let theirs = json!({
            "kind": "CredentialProviderConfig", "apiVersion": "kubelet.config.k8s.io/v1",
            "providers": [
                {"name": "ecr-credential-provider", "matchImages": ["*.test", "*.test.evil.example"], "defaultCacheDuration": "12h0m0s", "apiVersion": V1},
                {"name": "acr-credential-provider", "matchImages": ["r2.example"], "defaultCacheDuration": "10m", "apiVersion": V1BETA1},
            ],
        });
        write(&at(self.theirs), theirs.to_string());
        let exempt = |names: &str| {
            format!(
                "[[exempt]]\nmatch = \"{names}\"\nuntil = 2036-01-01T00:00:00Z\nreason = \"x\"\n"
            )
        };
        let policy = format!(
            "version = 1\ndefault = \"deny\"\n[credentials]\nonly-to = \"rooted\"\n[limits]\nmax-exempt = \"3650d\"\n{}{}",
            exempt("r.test/team/*"),
            exempt("r2.example/team/*")
        );
        write(&at("/etc/rootpin/policy.toml"), policy);
        let own = std::env::current_exe().unwrap();
        let bin = Path::new(env!("CARGO_BIN_EXE_rootpin")).parent().unwrap();
        let stand_in = Path::new("/opt/rootpin/bin").join(own.strip_prefix(bin).unwrap());
        let own_flags = format!(
            "--image-credential-provider-config={} --image-credential-provider-bin-dir={}",
            self.theirs, self.programs
        );
        if self.platform == "kubeadm" {
            write(
                &at("/var/lib/kubelet/kubeadm-flags.env"),
                format!("KUBELET_KUBEADM_ARGS=\"{own_flags} --v=2\"\n"),
            );
        }
        let flags = format!("echo -n '{own_flags} '; {}", self.flags);
        let mut steps = String::new();
        for (name, value) in [
            ("MAIN", self.main),
            ("PLATFORM", self.platform),
            ("THEIRS", self.theirs),
            ("FLAGS", &flags),
            ("STANDIN", stand_in.to_str().unwrap()),
        ] {
            let _ = writeln!(steps, "{name}='{}'", value.replace('\'', "'\\''"));
        }
        steps.push_str(include_str!("platform-functions.sh"));
        steps.push_str(include_str!("kubelet-steps.sh"));
        write(&at("/root/steps"), steps);
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
                self.platform,
                String::from_utf8_lossy(&output.stderr),
                read("codes"),
                read("errors")
            )
        })
    }

    fn outcome(&self, root: &Path) -> Result<(), String> {
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
                let said = text(name).unwrap_or_default();
                Err(format!("{name} should end with {code}: {said}"))
            }
        };
        // What the kubelet cannot read, or rootpin cannot take over, leaves nothing half written.
        for (name, words) in [
            ("missing", self.theirs),
            ("broken", self.theirs),
            ("other-kind", self.theirs),
            ("twice", "twice"),
            ("nobody", "no provider"),
            ("tokens", "tokenAttributes"),
        ] {
            ended(name, 1)?;
            ended(&format!("{name}-same"), 0)?;
            let said = text(name)?;
            if name != "missing" && !said.contains(words) {
                return Err(format!("{name} does not say {words}: {said}"));
            }
        }
        // Without a kubelet that runs, its files tell.
        if !text("idle")?.contains("rootpin-credential-provider") {
            return Err(format!("idle: {}", text("idle")?));
        }
        for name in ["idle", "gate", "install", "again", "uninstall", "same"] {
            ended(name, 0)?;
        }
        let asked = |name: &str, wanted: &[&str]| -> Result<(), String> {
            ended(name, 0)?;
            let said = text(name)?;
            let users: Vec<&str> = said
                .lines()
                .filter_map(|line| line.strip_prefix("user="))
                .collect();
            if users == wanted {
                Ok(())
            } else {
                Err(format!("{name}: the kubelet gets {users:?}: {said}"))
            }
        };
        asked("before", &["ecr-credential-provider"])?;
        asked("given", &["ecr-credential-provider"])?;
        asked("beta", &["acr-credential-provider"])?;
        asked("withheld", &[])?;
        asked("stranger", &[])?;
        asked("after", &["ecr-credential-provider"])?;
        if !text("hole")?.contains("credentials-past-provider") {
            return Err(format!("the doctor finds nothing: {}", text("hole")?));
        }
        let by_rootpin = text("given")?;
        if !by_rootpin.contains("provider=rootpin-credential-provider\n") {
            return Err(format!("the kubelet asks another one: {by_rootpin}"));
        }
        if json("again")?["install"]["diff"] != "" {
            return Err(format!(
                "a second time something is written: {}",
                text("again")?
            ));
        }
        let holes = json("doctor")?["holes"].to_string();
        if holes.contains("credentials-past-provider") {
            return Err(format!("the doctor finds another provider: {holes}"));
        }
        let status = json("status")?;
        let row = status["doors"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|row| row["door"] == "credentials");
        let row = row.ok_or("status has no row for credentials")?;
        if (&row["given"], &row["withheld"]) != (&json!(2), &json!(2)) {
            return Err(format!("status counts {row}"));
        }
        Ok(())
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn each_platform_s_kubelet_asks_rootpin_after_install_and_its_own_providers_after_uninstall() {
    let picked = std::env::var("ROOTPIN_ROWS").unwrap_or_default();
    let work = tempfile::Builder::new()
        .prefix("rootpin-kubelets-")
        .tempdir()
        .unwrap();
    let mut failures = Vec::new();
    for case in cases() {
        if case.platform.contains(&picked) {
            let outcome = case.run(work.path());
            let shown = if outcome.is_ok() { "ok  " } else { "FAIL" };
            crate::say(&format!("{shown} {}", case.platform));
            failures.extend(outcome.err());
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// `CredentialProviderConfig`, as strict as the kubelet is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Config {
    api_version: String,
    kind: String,
    providers: Vec<Provider>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Provider {
    name: String,
    match_images: Vec<String>,
    default_cache_duration: String,
    api_version: String,
    #[serde(default)]
    args: Vec<String>,
}

/// Whether a pattern with whole parts of a host, or a star in the place of one, is for an image.
fn is_for(pattern: &str, image: &str) -> bool {
    let host = image.split('/').next().unwrap();
    let (pattern, host): (Vec<_>, Vec<_>) =
        (pattern.split('.').collect(), host.split('.').collect());
    pattern.len() == host.len()
        && pattern
            .iter()
            .zip(host)
            .all(|(pattern, part)| *pattern == "*" || *pattern == part)
}

/// A kubelet that was started with the words of `ROOTPIN_KUBELET`, of which the last counts, and
/// pulls `ROOTPIN_IMAGE`. Runs on the host that another test makes.
#[test]
#[ignore = "runs on the host that another test makes"]
fn stand_in() {
    let Ok(words) = std::env::var("ROOTPIN_KUBELET") else {
        return;
    };
    let image = std::env::var("ROOTPIN_IMAGE").unwrap();
    let flag = |name: &str| {
        let prefix = format!("--image-credential-provider-{name}=");
        let mut value = words
            .split_whitespace()
            .filter_map(|word| word.strip_prefix(&prefix));
        value.next_back().unwrap().to_owned()
    };
    let config: Config =
        serde_json::from_str(&fs::read_to_string(flag("config")).unwrap()).unwrap();
    assert_eq!(config.kind, "CredentialProviderConfig");
    assert!(config.api_version.starts_with("kubelet.config.k8s.io/v1"));
    assert!(!config.providers.is_empty());
    for provider in config.providers {
        assert!(!provider.match_images.is_empty() && !provider.default_cache_duration.is_empty());
        let program = Path::new(&flag("bin-dir")).join(&provider.name);
        let mode = fs::metadata(&program).unwrap().permissions().mode();
        assert!(mode & 0o111 != 0, "the kubelet does not start");
        if !provider
            .match_images
            .iter()
            .any(|pattern| is_for(pattern, &image))
        {
            continue;
        }
        let request = json!({"kind": "CredentialProviderRequest", "apiVersion": provider.api_version, "image": image});
        let input = tempfile::NamedTempFile::new().unwrap();
        write(input.path(), format!("{request}\n"));
        let output = Command::new(program)
            .args(&provider.args)
            .stdin(fs::File::open(input.path()).unwrap())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(answer["apiVersion"], provider.api_version);
        crate::say(&format!("\nprovider={}", provider.name));
        for pair in answer["auth"].as_object().unwrap().values() {
            let user = pair["username"].as_str().unwrap();
            assert_eq!(pair["password"], format!("hunter2-{user}"));
            crate::say(&format!("user={user}"));
        }
    }
}
