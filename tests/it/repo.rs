//! `rootpin repo` by the real binary: what publishers do, and what hosts make of it.

mod endorse_list;
mod hostile;
mod machines;
mod pkcs1;
mod proxy;
mod registry;
mod rotation;
mod shapes;
mod take_over;
mod tls;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rootpin::publish::key::KeyKind;
use rootpin::publish::keyring::generate;
use rootpin_trust::image::Digest;
use serde_json::Value;
use tempfile::TempDir;

use crate::world::{Ended, run};

/// A folder with an organisation's machines in it.
pub(crate) struct Org {
    dir: TempDir,
    place: String,
    /// How its registry is reached.
    hosts: Option<PathBuf>,
}

impl Org {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = format!("file://{}", dir.path().join("place").display());
        Self {
            dir,
            place,
            hosts: None,
        }
    }

    /// One that has a repository in the folder `place`, made in `main`.
    pub(crate) fn founded() -> Self {
        Self::new().found()
    }

    /// One that has it in a registry.
    pub(crate) fn founded_at(place: String) -> Self {
        Self {
            place,
            ..Self::new()
        }
        .found()
    }

    /// One that has it in a registry, which is reached as the files in this folder say.
    pub(crate) fn founded_by_hosts(place: String, hosts: PathBuf) -> Self {
        Self {
            place,
            hosts: Some(hosts),
            ..Self::new()
        }
        .found()
    }

    fn found(self) -> Self {
        let org = self;
        org.ok(
            "main",
            &[
                "init",
                "--names",
                "r.test/team/**",
                "r.test/tool",
                "--publish",
                &org.place(),
            ],
        );
        org
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn place(&self) -> String {
        self.place.clone()
    }

    /// A verb in a machine's working folder.
    pub(crate) fn repo(&self, machine: &str, words: &[&str]) -> Ended {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        command
            .env("ROOTPIN_PASSPHRASE", "correct horse")
            .env("HOME", self.dir.path())
            .current_dir(self.dir.path());
        run(
            command
                .args(["repo", "--repo", machine])
                .args(self.reached())
                .args(words),
            b"",
        )
    }

    pub(crate) fn ok(&self, machine: &str, words: &[&str]) -> String {
        let ended = self.repo(machine, words);
        assert_eq!(ended.code, 0, "{words:?}: {ended:?}");
        ended.out
    }

    /// As JSON, whatever its exit code.
    pub(crate) fn json(&self, machine: &str, words: &[&str]) -> Value {
        let ended = self.repo(machine, &[words, &["--json"]].concat());
        serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{words:?}: {ended:?}"))
    }

    pub(crate) fn sign(&self, machine: &str, name: &str, content: &str) -> Ended {
        self.repo(
            machine,
            &["sign", name, "--digest", &digest(content), "--length", "7"],
        )
    }

    /// A second machine with a key of its own, by which `main` lets it sign `names`.
    pub(crate) fn delegated(&self, role: &str, names: &str) {
        self.key(role, role);
        let public = self
            .path(role)
            .join(format!("keys/{role}.pub"))
            .display()
            .to_string();
        self.ok(
            "main",
            &["delegate", "add", role, "--key", &public, "--paths", names],
        );
        self.clone(role, names);
    }

    /// A working folder of its own, in which keys may lie already.
    pub(crate) fn clone(&self, machine: &str, names: &str) {
        let root = self.path("main/root.json");
        let sha256 = Digest::of(&fs::read(&root).unwrap()).hex();
        let (root, dir) = (
            root.display().to_string(),
            self.path(machine).display().to_string(),
        );
        self.ok(
            machine,
            &[
                "clone",
                &self.place(),
                &dir,
                "--root",
                &root,
                "--sha256",
                &sha256,
                "--names",
                names,
            ],
        );
    }

    pub(crate) fn key(&self, machine: &str, name: &str) -> String {
        let folder = self.path(machine).join("keys");
        fs::create_dir_all(&folder).unwrap();
        generate(&folder, name, KeyKind::Ed25519, "correct horse").unwrap();
        folder.join(format!("{name}.pub")).display().to_string()
    }

    /// Takes a key of a machine away, and leaves its public part.
    pub(crate) fn without(&self, machine: &str, key: &str) -> PathBuf {
        let file = self.path(machine).join(format!("keys/{key}.pem"));
        let away = self.path(&format!("{machine}-{key}.pem"));
        fs::rename(file, &away).unwrap();
        away
    }

    /// What a host says that pinned the root in `main` and keeps its state in `host`: the outcome,
    /// and the code of a refusal.
    pub(crate) fn verify(&self, host: &str, name: &str, content: &str) -> String {
        let policy = self.path(&format!("{host}-policy"));
        if !policy.exists() {
            self.pin(&policy, &self.path("main/root.json"));
        }
        let state = self.path(&format!("{host}-state"));
        let name = format!("{name}@{}", digest(content));
        let (policy, state) = (policy.display().to_string(), state.display().to_string());
        let words = [
            "verify", "--json", "--policy", &policy, "--state", &state, &name,
        ];
        let ended = run(
            Command::new(env!("CARGO_BIN_EXE_rootpin"))
                .args(words)
                .args(self.reached()),
            b"",
        );
        let verdict: Value =
            serde_json::from_str(&ended.out).unwrap_or_else(|_| panic!("{name}: {ended:?}"));
        let code = verdict["code"].as_str();
        code.map_or_else(
            || verdict["outcome"].as_str().unwrap().to_owned(),
            str::to_owned,
        )
    }

    fn reached(&self) -> Vec<String> {
        self.hosts
            .iter()
            .flat_map(|hosts| ["--hosts-dir".to_owned(), hosts.display().to_string()])
            .collect()
    }

    fn pin(&self, policy: &Path, root: &Path) {
        fs::create_dir_all(policy.join("roots")).unwrap();
        let root = fs::read(root).unwrap();
        fs::write(policy.join("roots/org.root.json"), &root).unwrap();
        let text = format!(
            "version = 1\ndefault = \"deny\"\n[[root]]\nid = \"org\"\ntype = \"tuf\"\nfile = \"roots/org.root.json\"\nsha256 = \"{}\"\n\
             metadata = [\"{}\"]\nrecheck = \"0s\"\n[[rule]]\nmatch = \"r.test/**\"\nroots = [\"org\"]\n",
            Digest::of(&root).hex(),
            self.place()
        );
        fs::write(policy.join("policy.toml"), text).unwrap();
    }

    /// All files of a folder, with what is in them.
    pub(crate) fn tree(&self, name: &str) -> Vec<(PathBuf, Vec<u8>)> {
        fn add(folder: &Path, files: &mut Vec<(PathBuf, Vec<u8>)>) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    add(&path, files);
                } else {
                    files.push((path.clone(), fs::read(&path).unwrap()));
                }
            }
        }
        let mut files = Vec::new();
        add(&self.path(name), &mut files);
        files.sort();
        files
    }
}

pub(crate) fn digest(content: &str) -> String {
    Digest::of(content.as_bytes()).to_string()
}

#[test]
fn what_was_signed_is_allowed_what_was_not_is_refused_and_what_was_revoked_is_refused_again() {
    let org = Org::founded();
    assert_eq!(
        org.verify("host", "r.test/team/app:1", "one"),
        "no-statement"
    );
    let ended = org.sign("main", "r.test/team/app:1", "one");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains(&digest("one")), "{ended:?}");
    assert_eq!(org.verify("host", "r.test/team/app:1", "one"), "allowed");
    assert_eq!(
        org.verify("host", "r.test/team/app:1", "two"),
        "digest-mismatch"
    );
    assert_eq!(org.sign("main", "r.test/team/app:1", "two").code, 0);
    assert_eq!(org.verify("host", "r.test/team/app:1", "two"), "allowed");
    org.ok("main", &["revoke", "r.test/team/app:1"]);
    assert_eq!(
        org.verify("host", "r.test/team/app:1", "two"),
        "no-statement"
    );
}

#[test]
fn a_repository_of_p256_keys_is_made_and_believed() {
    let org = Org::new();
    org.ok(
        "main",
        &[
            "init",
            "--names",
            "r.test/**",
            "--publish",
            &org.place(),
            "--key-type",
            "ecdsa",
        ],
    );
    assert_eq!(org.sign("main", "r.test/team/app:1", "one").code, 0);
    org.ok("main", &["rotate", "online"]);
    assert_eq!(org.verify("host", "r.test/team/app:1", "one"), "allowed");
}

#[test]
fn several_names_are_signed_and_revoked_in_one_change_or_none_of_them() {
    let org = Org::founded();
    let (a, b) = ("r.test/team/app:1", "r.test/team/app:latest");
    let sign = |names: &[&str]| {
        org.repo(
            "main",
            &[
                &["sign"],
                names,
                &["--digest", &digest("one"), "--length", "7"],
            ]
            .concat(),
        )
    };
    let ended = sign(&[a, "r.test/other:1", b]);
    assert!(
        ended.code == 2
            && ended
                .err
                .contains("r.test/other is none of this repository's names"),
        "{ended:?}"
    );
    assert_eq!(org.verify("host", a, "one"), "no-statement");
    let ended = sign(&[a, b, a]);
    assert!(
        ended.code == 0 && ended.out.contains("  targets    2  "),
        "{ended:?}"
    );
    assert_eq!(
        (org.verify("host", a, "one"), org.verify("host", b, "one")),
        ("allowed".to_owned(), "allowed".to_owned())
    );
    let ended = org.repo("main", &["revoke", a, "r.test/team/app:never", b]);
    assert!(
        ended.code == 2 && ended.err.contains("r.test/team/app:never is not signed"),
        "{ended:?}"
    );
    assert_eq!(org.verify("host", a, "one"), "allowed");
    org.ok("main", &["revoke", a, b]);
    assert_eq!(
        (org.verify("host", a, "one"), org.verify("host", b, "one")),
        ("no-statement".to_owned(), "no-statement".to_owned())
    );
}

#[test]
fn a_name_that_is_not_the_organisations_own_is_not_signed() {
    let org = Org::founded();
    let ended = org.sign("main", "other.test/team/app:1", "one");
    assert_eq!(ended.code, 2);
    assert!(
        ended.err.contains("none of this repository's names") && ended.err.contains("hint: "),
        "{ended:?}"
    );
    let ended = org.repo("main", &["revoke", "r.test/team/app:none"]);
    assert!(
        ended.code == 2
            && ended
                .err
                .ends_with("hint: rootpin repo --repo main list shows what is\n"),
        "{ended:?}"
    );
}

#[test]
fn a_dry_run_of_publishing_to_one_more_place_writes_nothing_there() {
    let org = Org::founded();
    let other = format!("file://{}", org.path("other").display());
    let shown = org.ok("main", &["publish", &other, "--dry-run"]);
    assert!(
        shown.contains("dry run") && !org.path("other").exists(),
        "{shown}"
    );
    org.ok("main", &["publish", &other]);
    assert!(org.path("other/timestamp.json").exists());
}

#[test]
fn a_dry_run_shows_all_and_writes_nothing() {
    let org = Org::founded();
    let before = (org.tree("main"), org.tree("place"));
    let shown = org.ok(
        "main",
        &[
            "sign",
            "r.test/tool:1",
            "--digest",
            &digest("one"),
            "--length",
            "7",
            "--dry-run",
        ],
    );
    assert!(
        shown.contains("signed by targets")
            && shown.contains("signed by online")
            && shown.contains("dry run"),
        "{shown}"
    );
    assert_eq!((org.tree("main"), org.tree("place")), before);
}

#[test]
fn init_finds_out_what_is_wrong_before_it_makes_keys_and_writes_over_nothing() {
    let org = Org::new();
    let init = |more: &[&str]| {
        org.repo(
            "-",
            &[&["init", "main", "--names", "r.test/**"], more].concat(),
        )
    };
    for (words, said) in [
        (
            &["--root-threshold", "2"][..],
            "2 of 1 root keys would have to sign",
        ),
        (&["--root-keys", "0"], "1 of 0 root keys"),
        (&["--root-threshold", "0"], "0 of 1 root keys"),
        (&["--holder", "rot-1=Bob"], "there is no such key"),
        (&["--publish", "https://r.test/trust"], "can only be read"),
        (
            &["--expires", "root=9999999d"],
            "longer than a hundred years",
        ),
    ] {
        for dry in [&["--dry-run"][..], &[]] {
            let ended = init(&[words, dry].concat());
            assert!(
                ended.code == 2 && ended.err.contains(said) && ended.err.contains("hint: "),
                "{words:?}: {ended:?}"
            );
        }
        assert!(!org.path("main").exists(), "{words:?}");
    }
    fs::create_dir(org.path("main")).unwrap();
    fs::write(org.path("main/root.json"), "somebody's").unwrap();
    let ended = init(&[]);
    assert!(
        ended.code == 2 && ended.err.contains("root.json is there already"),
        "{ended:?}"
    );
    assert_eq!(
        fs::read_to_string(org.path("main/root.json")).unwrap(),
        "somebody's"
    );
    fs::remove_file(org.path("main/root.json")).unwrap();
    assert_eq!(init(&[]).code, 0);
    // As if it had broken off at the end, within a key, or within the first publishing.
    fs::remove_file(org.path("main/repository.toml")).unwrap();
    assert_eq!(init(&[]).code, 0);
    for file in ["main/repository.toml", "main/keys/targets.pub"] {
        fs::remove_file(org.path(file)).unwrap();
    }
    fs::create_dir(org.path("place")).unwrap();
    fs::copy(
        org.path("main/metadata/1.snapshot.json"),
        org.path("place/1.snapshot.json"),
    )
    .unwrap();
    let ended = init(&["--publish", &org.place()]);
    assert!(
        ended.code == 0 && ended.out.contains("published at"),
        "{ended:?}"
    );
}

#[test]
fn what_is_missing_on_the_command_line_is_told_with_an_example() {
    let org = Org::new();
    let ended = org.repo(
        "-",
        &[
            "clone",
            "file:///x",
            "dir",
            "--root",
            "root.json",
            "--sha256",
            "00",
        ],
    );
    assert!(
        ended.code == 64
            && ended.err.contains("--names")
            && ended.err.contains("example: rootpin repo clone"),
        "{ended:?}"
    );
}

#[test]
fn every_verb_has_help_with_an_example() {
    let org = Org::new();
    let help = |words: &[&str]| org.ok("-", &[words, &["--help"]].concat());
    let verbs = |text: &str| -> Vec<String> {
        let (_, below) = text.split_once("\nCommands:\n").unwrap();
        let lines = below
            .lines()
            .take_while(|line| !line.is_empty())
            .filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
        lines
            .filter(|verb| !verb.is_empty() && *verb != "help")
            .map(str::to_owned)
            .collect()
    };
    let all = verbs(&help(&[]));
    assert_eq!(all.len(), 15, "{all:?}");
    for verb in &all {
        let text = help(&[verb]);
        if text.contains("\nCommands:\n") {
            for below in verbs(&text) {
                assert!(
                    help(&[verb, &below]).contains("\nexample"),
                    "{verb} {below}"
                );
            }
        } else {
            assert!(text.contains("\nexample"), "{verb}");
        }
    }
}

#[test]
fn what_init_says_at_its_end_pins_the_root_as_it_is_typed() {
    let org = Org::new();
    let said = org.ok(
        "main",
        &[
            "init",
            "--names",
            "r.test/team/**",
            "--publish",
            &org.place(),
        ],
    );
    let line = said
        .lines()
        .find(|line| line.starts_with("rootpin pin add "))
        .unwrap_or_else(|| panic!("{said}"));
    let policy = org.path("policy").display().to_string();
    fs::create_dir(&policy).unwrap();
    let mut shell = Command::new("bash");
    let bin = Path::new(env!("CARGO_BIN_EXE_rootpin")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    shell
        .env("PATH", path)
        .current_dir(org.path("main").parent().unwrap())
        .args(["-c", &format!("{line} --policy {policy}")]);
    let pinned = run(&mut shell, b"");
    assert_eq!(pinned.code, 0, "{line}: {pinned:?}");
    let text = fs::read_to_string(org.path("policy/policy.toml")).unwrap();
    assert!(
        text.contains(&org.place()) && text.contains("r.test/team/**"),
        "{text}"
    );
}

#[test]
fn publish_has_no_option_to_keep_what_it_publishes() {
    let org = Org::new();
    let help = org.ok("main", &["publish", "--help"]);
    assert!(
        !help.contains("--local") && help.contains("--dry-run"),
        "{help}"
    );
}
