//! A real registry over TLS behind a private CA, under a name of its own. It offers HTTP/2, and is asked by HTTP/1.1.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rootpin_trust::image::Digest;

use crate::daemon::{Daemon, Policy};
use crate::image::Image;
use crate::lab::{Lab, run, write};

/// Who publishes there, and hosts that trust it.
struct Setting {
    lab: Lab,
    folder: PathBuf,
    /// Host and port of the registry.
    registry: String,
}

impl Setting {
    fn new() -> Self {
        let lab = Lab::start();
        lab.script(&["start", "registry-tls"]);
        let (folder, registry) = (
            lab.root.join("rootpin/tls"),
            lab.var("LAB_REGISTRY_TLS").to_owned(),
        );
        let _ = fs::remove_dir_all(&folder);
        // The publisher finds it by its name; the engines' own files name its address.
        let port = registry.rsplit(':').next().unwrap();
        for (who, server) in [
            ("publisher", registry.clone()),
            ("host", format!("127.0.0.1:{port}")),
        ] {
            // Without a table of hosts containerd 1.7 passes the file over.
            let ca = lab.var("LAB_CA");
            let text = format!(
                "server = \"https://{server}\"\nca = \"{ca}\"\n[host.\"https://{server}\"]\nca = \"{ca}\"\n"
            );
            write(
                &folder
                    .join(who)
                    .join("certs.d")
                    .join(&registry)
                    .join("hosts.toml"),
                text,
            );
        }
        for number in 0..=10 {
            // What is pushed by plain http lies in the same storage.
            lab.push(
                &Image::manifest(&format!("tls {number}")),
                &lab.name("tls/app", &format!("v{number}")),
            );
        }
        Self {
            lab,
            folder,
            registry,
        }
    }

    fn name(&self, tag: &str) -> String {
        format!("{}/tls/app:{tag}", self.registry)
    }

    /// `rootpin`, in the folder where publishers work; what it prints.
    fn rootpin(&self, words: &[&str]) -> String {
        let (publisher, certs) = (
            self.folder.join("publisher"),
            self.folder.join("publisher/certs.d"),
        );
        let mut command = Command::new(crate::lab::SCRIPT);
        command
            .args(["with-names", env!("CARGO_BIN_EXE_rootpin")])
            .args(words)
            .arg("--hosts-dir")
            .arg(certs);
        run(command
            .current_dir(publisher)
            .env("LAB_ROOT", &self.lab.root)
            .env("ROOTPIN_PASSPHRASE", "a passphrase"))
    }

    fn repo(&self, machine: &str, verb: &[&str]) -> String {
        self.rootpin(&[&["repo", "--repo", machine], verb].concat())
    }

    fn verify(&self, policy: &Path, tag: &str) -> String {
        let (policy, state) = (
            policy.display().to_string(),
            self.folder.join("state").display().to_string(),
        );
        self.rootpin(&[
            "verify",
            "--policy",
            &policy,
            "--state",
            &state,
            &self.name(tag),
        ])
    }
}

#[test]
#[ignore = "needs real engines: use tests/run"]
fn the_five_commands_and_all_that_follows_work_against_a_registry_over_tls_from_two_machines() {
    let setting = Setting::new();
    let names = format!("{}/tls/**", setting.registry);
    // A lab that ran before still has the former one.
    let place = format!(
        "oci://{}/tls/trust-{}",
        setting.registry,
        std::process::id()
    );
    setting.rootpin(&[
        "repo",
        "init",
        "team",
        "--names",
        &names,
        "--publish",
        &place,
    ]);
    setting.repo("team", &["sign", &setting.name("v0")]);

    let policy = setting.folder.join("policy");
    let root = setting.folder.join("publisher/team/root.json");
    let sha256 = Digest::of(&fs::read(&root).unwrap()).hex();
    let (policy_text, root_text) = (policy.display().to_string(), root.display().to_string());
    fs::create_dir_all(&policy).unwrap();
    let pin = [
        "pin",
        "add",
        "team",
        "--policy",
        &policy_text,
        "--type",
        "tuf",
        "--from",
        &root_text,
        "--metadata",
        &place,
        "--match",
        &names,
    ];
    setting.rootpin(&[&pin[..], &["--fingerprint", &sha256]].concat());
    setting.verify(&policy, "v0");

    setting.rootpin(&[
        "repo", "clone", &place, "second", "--root", &root_text, "--sha256", &sha256, "--names",
        &names,
    ]);
    for file in fs::read_dir(setting.folder.join("publisher/team/keys")).unwrap() {
        let file = file.unwrap();
        let to = setting.folder.join("publisher/second/keys");
        fs::create_dir_all(&to).unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
    let machine = |number: usize| {
        if number.is_multiple_of(2) {
            "second"
        } else {
            "team"
        }
    };
    for number in 1..=10 {
        setting.repo(
            machine(number),
            &["sign", &setting.name(&format!("v{number}"))],
        );
        setting.repo(machine(number + 1), &["refresh"]);
    }
    setting.repo("second", &["revoke", &setting.name("v3")]);
    setting.repo("team", &["rotate", "targets"]);
    setting.repo("second", &["refresh"]);
    let status: serde_json::Value =
        serde_json::from_str(&setting.repo("team", &["list", "--json"])).unwrap();
    assert_eq!(status["images"].as_array().unwrap().len(), 10, "{status}");
    setting.verify(&policy, "v10");

    // A host: the daemon and the engine's own client.
    let pinned = fs::read_dir(policy.join("roots"))
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let pinned_name: &str = format!("roots/{}", pinned.file_name().display()).leak();
    let text = |file: PathBuf| fs::read_to_string(file).unwrap();
    let files: Policy = vec![
        ("policy.toml", text(policy.join("policy.toml"))),
        (pinned_name, text(pinned.path())),
    ];
    let certs = setting.folder.join("host/certs.d");
    let daemon = Daemon::with(&setting.lab, &files, &format!("hosts-dir = {certs:?}\n"));
    for engine in ["17", "2"] {
        // An engine that missed the gate a moment ago may wait up to three seconds before it looks
        // again.
        let end = Instant::now() + Duration::from_secs(5);
        let pull = |tag: &str| loop {
            let mut ctr = Command::new(setting.lab.path(&format!("LAB_BIN{engine}")).join("ctr"));
            ctr.arg("-a")
                .arg(setting.lab.path(&format!("LAB_CONTAINERD{engine}")))
                .args(["images", "pull", "--hosts-dir"]);
            let output = ctr.arg(&certs).arg(setting.name(tag)).output().unwrap();
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            if !words.contains("gate.sock: ") || Instant::now() > end {
                break (output.status.success(), words);
            }
        };
        let (pulled, words) = pull("v10");
        assert!(pulled, "containerd {engine}: {words}");
        let (pulled, words) = pull("v3");
        assert!(
            !pulled && words.contains("no-statement"),
            "containerd {engine}: {words}"
        );
    }
    assert!(
        daemon
            .records()
            .iter()
            .any(|record| record["name"] == setting.name("v10") && record["outcome"] == "allowed")
    );
}
