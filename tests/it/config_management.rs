//! `packaging/put-policy`, by which configuration management puts a policy in force.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::documents::{files, text, top};
use crate::world::{Ended, run};

const GOOD: &str = "version = 1\ndefault = \"deny\"\n";
const REVOKED: &str = "[[revoked]]\ndigest = \"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"\nreason = \"a test\"\n";

struct Host {
    folder: tempfile::TempDir,
}

impl Host {
    fn new() -> Self {
        let host = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        host.write("new/policy.toml", GOOD);
        host.write("new/policy.d/10-team.toml", REVOKED);
        host.write("new/roots/team.pub", "a key");
        host
    }

    fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), text).unwrap();
    }

    fn put(&self, words: &[&str]) -> Ended {
        let mut command = Command::new(top().join("packaging/put-policy"));
        command
            .args(words)
            .args([self.path("new"), self.path("force")])
            .env("ROOTPIN", env!("CARGO_BIN_EXE_rootpin"));
        run(&mut command, b"")
    }

    /// The files in force.
    fn force(&self) -> Vec<String> {
        let mut found = Vec::new();
        let mut folders = vec![self.path("force")];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let short = path.strip_prefix(self.path("force")).unwrap();
                    found.push(short.display().to_string());
                }
            }
        }
        found.sort();
        found
    }
}

#[test]
fn a_policy_is_put_in_force_once_and_what_it_has_no_more_is_removed() {
    let host = Host::new();
    assert_eq!(host.put(&["--check"]).code, 1);
    let ended = host.put(&[]);
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(
        host.force(),
        ["policy.d/10-team.toml", "policy.toml", "roots/team.pub"]
    );
    assert_eq!(host.put(&["--check"]).code, 0);
    // Files of rootpin's own stay.
    host.write("force/rootpin.toml", "");
    host.write("force/state-id", "x");
    fs::remove_file(host.path("new/policy.d/10-team.toml")).unwrap();
    assert_eq!(host.put(&["--check"]).code, 1);
    assert_eq!(host.put(&[]).code, 0);
    assert_eq!(
        host.force(),
        ["policy.toml", "rootpin.toml", "roots/team.pub", "state-id"]
    );
}

#[test]
fn a_policy_with_an_error_is_not_put_in_force_and_the_one_in_force_stays() {
    let host = Host::new();
    assert_eq!(host.put(&[]).code, 0);
    host.write("new/policy.toml", "version = 1\ndefault = \"dney\"\n");
    host.write("new/roots/team.pub", "another key");
    let ended = host.put(&[]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(
        ended.out.contains("dney") || ended.err.contains("dney"),
        "{ended:?}"
    );
    assert_eq!(
        fs::read_to_string(host.path("force/policy.toml")).unwrap(),
        GOOD
    );
    assert_eq!(
        fs::read_to_string(host.path("force/roots/team.pub")).unwrap(),
        "a key"
    );
    assert_eq!(
        host.put(&["--check"]).code,
        1,
        "there is still something to do"
    );
}

#[test]
fn a_file_that_a_policy_names_elsewhere_is_refused_and_a_link_is_put_as_the_file_it_leads_to() {
    let host = Host::new();
    let key = include_str!("../data/keys/ed25519.pub");
    let policy = |file: &str| {
        format!(
            "{GOOD}[[root]]\nid = \"a\"\ntype = \"notary\"\nserver = \"https://n.example\"\nkeys = [\"{file}\"]\nrole = \"targets\"\n[[rule]]\nmatch = \"h.example/**\"\nroots = [\"a\"]\n"
        )
    };
    host.write("new/keys/a.pub", key);
    host.write("new/policy.toml", &policy("keys/a.pub"));
    let ended = host.put(&[]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("hint: move the files"), "{ended:?}");
    assert_eq!(host.force(), [""; 0]);
    std::os::unix::fs::symlink("../keys/a.pub", host.path("new/roots/a.pub")).unwrap();
    host.write("new/policy.toml", &policy("roots/a.pub"));
    assert_eq!(host.put(&[]).code, 0);
    assert_eq!(
        fs::read_to_string(host.path("force/roots/a.pub")).unwrap(),
        key
    );
    assert_eq!(host.put(&["--check"]).code, 0);
}

#[test]
fn a_folder_that_is_not_there_puts_nothing_in_force() {
    let host = Host::new();
    fs::remove_dir_all(host.path("new")).unwrap();
    assert_ne!(host.put(&[]).code, 0);
    assert_ne!(host.put(&["--check"]).code, 0);
    assert!(!host.path("force").exists());
}

/// What a recipe types is what the programs have: verbs and options, and files of the packages.
#[test]
fn the_recipes_type_commands_that_there_are() {
    let mut typed = 0;
    for recipe in ["packaging/ansible", "packaging/puppet", "packaging/salt"]
        .map(files)
        .concat()
    {
        let words = text(&recipe).replace(['\'', '"', ',', '[', ']', '|'], " ");
        for line in words
            .lines()
            .filter(|line| !line.trim_start().starts_with('#'))
        {
            let Some((_, command)) = line.split_once("rootpin ") else {
                continue;
            };
            let mut now = rootpin::cli::command();
            for word in command
                .split_whitespace()
                .filter(|word| !word.starts_with('/'))
            {
                if let Some(option) = word.strip_prefix("--") {
                    let known = now
                        .get_arguments()
                        .any(|argument| argument.get_long() == Some(option));
                    assert!(known || option == "json", "{recipe}: {line}");
                    typed += 1;
                } else if let Some(verb) = now.find_subcommand(word).cloned() {
                    now = verb;
                } else {
                    break;
                }
            }
        }
        for path in words
            .split_whitespace()
            .filter(|word| word.starts_with("/usr/libexec/rootpin/"))
        {
            let program = Path::new(path).file_name().unwrap();
            assert!(
                top().join("packaging").join(program).is_file(),
                "{recipe}: {path}"
            );
        }
    }
    assert!(typed > 3, "{typed}");
}
