//! What a page's commands find: a publisher's repository, a host's policy and state, reports of
//! other hosts, in one folder, which is also the working folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rootpin_trust::image::Digest;
use tempfile::TempDir;

use super::fill::{IMAGE, verb};
use crate::policy_tools::{samples, simulate};
use crate::world::{Ended, run};

const POLICY: &str = "version = 1\ndefault = \"deny\"\n";
const RELEASE: &str = "rootpin_0.1.0-1_amd64.deb";
/// The files that name places of the folder.
const WITH_PLACES: [&str; 4] = [
    "trust/repository.toml",
    "etc/rootpin/policy.toml",
    "online/policy.toml",
    "policy/policy.toml",
];

/// The folder of one page.
pub(super) struct Story {
    folder: PathBuf,
    /// Removes it.
    _kept: Option<TempDir>,
    /// The working folder of the publisher, where a command names none.
    pub(super) repository: &'static str,
    /// How many were run.
    pub(super) commands: usize,
}

impl Story {
    pub(super) fn of(page: &str) -> Self {
        static FIRST: OnceLock<Story> = OnceLock::new();
        let first = FIRST.get_or_init(Self::first);
        let repository = match page {
            "README.md" => "team",
            "docs/packages.md" => "release",
            _ => "trust",
        };
        let story = Self::empty(repository);
        copy(&first.at_path("."), &story.at_path("."));
        for file in WITH_PLACES {
            let file = story.at_path(file);
            let text = fs::read_to_string(&file).unwrap();
            fs::write(file, text.replace(&first.at(""), &story.at(""))).unwrap();
        }
        if repository != "trust" {
            fs::rename(story.at_path("trust"), story.at_path(repository)).unwrap();
        }
        if page == "docs/policy-tools.md" {
            for name in ["policy", "reports"] {
                fs::remove_dir_all(story.at_path(name)).unwrap();
            }
            copy(samples::folder().path(), &story.at_path("."));
            copy(&story.at_path("new/tests"), &story.at_path("policy/tests"));
        }
        story
    }

    fn empty(repository: &'static str) -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        Self {
            folder: folder.path().to_owned(),
            _kept: Some(folder),
            repository,
            commands: 0,
        }
    }

    /// What the others are copies of.
    fn first() -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("typed");
        let _ = fs::remove_dir_all(&folder);
        let first = Self {
            folder,
            _kept: None,
            repository: "trust",
            commands: 0,
        };
        first.begin();
        first.founded()
    }

    /// A host that has no root pinned, and a publisher who has no repository.
    fn begin(&self) {
        for folder in [
            "etc/rootpin",
            "online",
            "home",
            "tmp",
            "srv",
            "media/release",
            "media/reports",
        ] {
            fs::create_dir_all(self.at_path(folder)).unwrap();
        }
        for folder in ["etc/rootpin", "online"] {
            fs::write(self.at_path(folder).join("policy.toml"), POLICY).unwrap();
        }
        for file in [RELEASE, &format!("media/release/{RELEASE}")] {
            fs::write(self.at_path(file), "a package").unwrap();
        }
    }

    /// A publisher with a repository, keys and signed names, a host that pinned it, and reports.
    fn founded(mut self) -> Self {
        let place = format!("file://{}/srv/trust", self.at(""));
        let release = format!("rootpin.release/{RELEASE}:0.1.0");
        let tuf = format!("file://{}/media/release/tuf", self.at(""));
        self.ok(&[
            "repo",
            "init",
            "trust",
            "--names",
            "registry.example/team/**",
            "rootpin.release/**",
            "--publish",
            &place,
        ]);
        let image = ["--digest", IMAGE, "--length", "7"];
        for tag in ["v1", "1.2"] {
            let name = format!("registry.example/team/app:{tag}");
            self.ok(&[&["repo", "--repo", "trust", "sign", &name], &image[..]].concat());
        }
        self.ok(&[
            "repo", "--repo", "trust", "sign", &release, "--file", RELEASE,
        ]);
        self.ok(&["repo", "--repo", "trust", "publish", &tuf]);
        for key in ["new", "stolen"] {
            self.ok(&["repo", "--repo", "holder", "key", "generate", key]);
            copy_file(
                &self.at_path(&format!("holder/keys/{key}.pub")),
                &self.at_path(&format!("{key}.pub")),
            );
        }
        copy_file(
            &self.at_path("holder/keys/new.pem"),
            &self.at_path("old.pem"),
        );
        copy_file(&self.at_path("new.pub"), &self.at_path("builder.pub"));
        let root = self.at_path("trust/root.json");
        for file in ["root.json", "media/root.json"] {
            copy_file(&root, &self.at_path(file));
        }
        let sha256 = Digest::of(&fs::read(root).unwrap()).hex();
        for policy in ["etc/rootpin", "online"] {
            self.ok(&[
                "pin",
                "add",
                "team",
                "--type",
                "tuf",
                "--from",
                "trust/root.json",
                "--metadata",
                &place,
                "--match",
                "registry.example/team/**",
                "--max-age",
                "72h",
                "--fingerprint",
                &sha256,
                "--policy",
                policy,
            ]);
        }
        copy(&self.at_path("online"), &self.at_path("policy"));
        fs::create_dir_all(self.at_path("reports")).unwrap();
        for host in 0..3 {
            let report = simulate::report(host).to_string();
            fs::write(self.at_path(&format!("reports/node-{host}.json")), &report).unwrap();
            fs::write(
                self.at_path(&format!("media/reports/node-{host}.json")),
                &report,
            )
            .unwrap();
        }
        self.commands = 0;
        self
    }

    fn ok(&mut self, words: &[&str]) {
        let words: Vec<String> = ["rootpin"]
            .iter()
            .chain(words)
            .map(|word| (*word).to_owned())
            .collect();
        let ended = self.run(&words);
        assert_eq!(ended.code, 0, "{words:?}: {ended:?}");
    }

    /// The path of the folder, or of something in it.
    pub(super) fn at(&self, name: &str) -> String {
        self.at_path(name)
            .display()
            .to_string()
            .trim_end_matches('/')
            .to_owned()
    }

    pub(super) fn at_path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Runs a command of the page, which is typed alone or within a sentence. One that begins a
    /// repository has its page begin anew.
    pub(super) fn typed(&mut self, words: &[String], whole: bool) -> Ended {
        if whole && verb(words).is_some_and(|verb| verb == "repo init") {
            self.anew();
        }
        self.run(words)
    }

    /// Runs a command, whose first word is the program's name.
    fn run(&mut self, words: &[String]) -> Ended {
        self.commands += 1;
        self.before(words);
        let mut rootpin = Command::new(env!("CARGO_BIN_EXE_rootpin"));
        rootpin
            .args(&words[1..])
            .args(["--control", &self.at("none")])
            .current_dir(&self.folder)
            .env("HOME", self.at_path("home"))
            .env("TMPDIR", self.at_path("tmp"))
            .env("ROOTPIN_PASSPHRASE", "correct horse")
            // Nobody listens there: no command reaches a network.
            .env("HTTPS_PROXY", "http://127.0.0.1:9")
            .env("HTTP_PROXY", "http://127.0.0.1:9")
            .env_remove("NO_PROXY")
            .env_remove("DOCKER_CONFIG")
            .env_remove("DOCKER_CONTENT_TRUST_SERVER");
        run(&mut rootpin, b"")
    }

    /// What a person does before the command, as the page tells it.
    fn before(&self, words: &[String]) {
        let verb = verb(words).unwrap_or_default();
        let says = |option: &str| words.iter().any(|word| word == option);
        // Who pins a new root does not have it yet.
        if verb == "pin add" && says("tuf") && !says("online") {
            let policy = self.at_path("etc/rootpin");
            fs::remove_dir_all(&policy).unwrap();
            fs::create_dir_all(&policy).unwrap();
            fs::write(policy.join("policy.toml"), POLICY).unwrap();
        }
    }

    /// The publisher hands out the root file that the command reads.
    pub(super) fn hand_out(&self, words: &[String]) {
        let root = self.at_path(self.repository).join("root.json");
        if words.iter().any(|word| word == "root.json") && root.exists() {
            copy_file(&root, &self.at_path("root.json"));
        }
    }

    /// Begins anew: a publisher without a repository, and a host without its root.
    fn anew(&self) {
        for entry in fs::read_dir(&self.folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                fs::remove_dir_all(path).unwrap();
            } else {
                fs::remove_file(path).unwrap();
            }
        }
        self.begin();
    }
}

fn copy_file(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap();
}

/// Copies what a folder has into another one.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let mut cp = Command::new("cp");
    let ended = run(cp.arg("-a").arg(from.join(".")).arg(to), b"");
    assert_eq!(ended.code, 0, "{ended:?}");
}
