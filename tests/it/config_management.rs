//! The programs by which configuration management puts a policy in force, and has engines ask.
//! `tests/real/config_management.rs` has Puppet and Salt run them.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
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

/// A host whose files, rootpind and engine are of a version each, with stand-ins of rootpin and
/// systemctl.
struct Engines {
    folder: tempfile::TempDir,
}

const ROOTPIN: &str = r#"#!/bin/sh
is() { [ "$(cat $1)" = "$(cat $2)" ]; }
[ ! -e mistake ] || { echo '{"error":"x","outcome":"unjudged"}'; exit 2; }
case "$*" in
  *--dry-run*)
    diff=x stale=true restart='"e"' then="$THEN"
    ! is disk wanted || diff=''
    ! is daemon disk || stale=false
    ! is engine disk || restart='' then=''
    echo '{"install":{"diff":"'$diff'","restart":['$restart'],"rootpind-is-stale":'$stale',"then":"'$then'"}}' ;;
  *) echo install >>done; cp wanted disk ;;
esac
[ ! -e left ]
"#;
const SYSTEMCTL: &str = r#"#!/bin/sh
[ "$1" = restart ] || exit 0
echo "$*" >>done
[ "$2" != "$(cat fails)" ] || exit 1
if [ "$2" = rootpind ]; then cp disk daemon; elif [ ! -e incurable ]; then cp disk engine; fi
"#;

impl Engines {
    fn new(versions: [&str; 4]) -> Self {
        let host = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        for (file, version) in ["wanted", "disk", "daemon", "engine"].iter().zip(versions) {
            host.set(file, version);
        }
        host.set("fails", "none");
        for (program, script) in [("rootpin", ROOTPIN), ("systemctl", SYSTEMCTL)] {
            host.set(program, script);
            let path = host.folder.path().join(program);
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        host
    }

    fn set(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.folder.path().join(name)).unwrap();
    }

    /// A run as recipes make it, the command only if its check says so, where engines are
    /// restarted by `then`: what was done, and whether it succeeded.
    fn run(&self, then: &str, restart: &[&str]) -> (String, bool) {
        let here = self.folder.path();
        let _ = fs::remove_file(here.join("done"));
        let path = std::env::var("PATH").unwrap();
        let code = |check: &[&str]| {
            let mut command = Command::new(top().join("packaging/have-engines-ask"));
            command
                .args(check)
                .args(["--platform", "auto"])
                .args(restart)
                .env("PATH", format!("{}:{path}", here.display()))
                .env("ROOTPIN_KEPT", here.join("kept"))
                .env("THEN", then)
                .current_dir(here);
            run(&mut command, b"").code
        };
        let succeeded = code(&["--check"]) == 0 || code(&[]) == 0;
        let done = fs::read_to_string(here.join("done")).unwrap_or_default();
        (done.lines().collect::<Vec<_>>().join(", "), succeeded)
    }

    fn restart(&self) -> (String, bool) {
        self.run(
            "systemctl restart containerd",
            &["--restart", "containerd.service"],
        )
    }
}

#[test]
fn a_restart_that_failed_is_made_by_the_next_run_and_then_nothing_changes() {
    let host = Engines::new(["2", "1", "1", "1"]);
    let (daemon, engine) = ("restart rootpind", "restart containerd");
    for (fails, done, succeeded) in [
        ("rootpind", format!("install, {daemon}"), false),
        ("containerd", format!("{daemon}, {engine}"), false),
        ("none", engine.to_owned(), true),
        ("none", String::new(), true),
    ] {
        host.set("fails", fails);
        assert_eq!(host.restart(), (done, succeeded), "{fails} fails");
    }
}

#[test]
fn a_restart_that_cures_nothing_is_made_once_and_again_for_other_files() {
    let host = Engines::new(["2", "2", "2", "1"]);
    host.set("incurable", "");
    host.set("fails", "containerd");
    let engine = "restart containerd".to_owned();
    assert_eq!(host.restart(), (engine.clone(), false), "it fails");
    host.set("fails", "none");
    assert_eq!(host.restart(), (engine.clone(), true), "it cures nothing");
    for _ in 0..2 {
        assert_eq!(host.restart(), (String::new(), false), "not again");
    }
    // A person mends it, and later it is to be restarted anew.
    host.set("engine", "2");
    assert_eq!(host.restart(), (String::new(), true));
    host.set("engine", "1");
    assert_eq!(host.restart(), (engine.clone(), true));
    assert_eq!(host.restart(), (String::new(), false));
    let written = format!("install, restart rootpind, {engine}");
    host.set("wanted", "3");
    assert_eq!(host.restart(), (written.clone(), true), "other files");
    assert_eq!(host.restart(), (String::new(), false));
    host.remove("incurable");
    host.set("wanted", "4");
    assert_eq!(host.restart(), (written, true), "it helps");
    assert_eq!(host.restart(), (String::new(), true));
}

#[test]
fn without_units_to_restart_no_engine_is_restarted_and_nothing_is_left_to_do() {
    let host = Engines::new(["2", "1", "1", "1"]);
    let then = "systemctl restart containerd";
    let written = "install, restart rootpind".to_owned();
    assert_eq!(host.run(then, &[]), (written, true));
    assert_eq!(host.run(then, &[]), (String::new(), true));
    assert_eq!(host.restart(), ("restart containerd".to_owned(), true));
}

#[test]
fn a_rootpind_that_runs_is_not_restarted_by_a_configuration_with_a_mistake() {
    let host = Engines::new(["2", "2", "1", "1"]);
    host.set("mistake", "");
    assert_eq!(host.restart(), (String::new(), false));
    host.remove("mistake");
    host.set("incurable", "");
    let restarted = "restart rootpind, restart containerd".to_owned();
    assert_eq!(host.restart(), (restarted, true));
    // Nor is it forgotten meanwhile that a restart of the engine cured nothing.
    host.set("mistake", "");
    assert_eq!(host.restart(), (String::new(), false));
    host.remove("mistake");
    assert_eq!(host.restart(), (String::new(), false));
}

/// Ansible's own modules do what `have-engines-ask` does for others: the order of its tasks counts.
#[test]
fn the_role_of_ansible_notes_a_restart_that_was_made_and_fails_before_the_next_one() {
    let tasks = text("packaging/ansible/roles/rootpin/tasks/engines.yml");
    let mut rest = tasks.as_str();
    for task in [
        "- name: Forget a restart that helped, or that was made for other files",
        "- name: Read what the engine was restarted for",
        "- name: See whether the engine was restarted for this already",
        "notify: Restart the engine",
        "ansible.builtin.meta: flush_handlers",
        "- name: Keep what the engine was restarted for",
    ] {
        let found = rest.split_once(task);
        assert!(found.is_some(), "{task}");
        rest = found.unwrap().1;
    }
}

#[test]
fn a_run_fails_where_install_left_something_or_another_engine_is_to_be_restarted() {
    let host = Engines::new(["2", "2", "2", "1"]);
    let units = ["--restart", "containerd"];
    for then in [
        "systemctl restart k3s, or k3s-agent",
        "systemctl restart containerd-2",
        "systemctl restart containerd docker",
        "systemctl restart containerd, systemctl restart docker",
        "systemctl restart containerd, or my-engine, systemctl restart docker",
        "systemctl restart docker, systemctl restart my-engine, or containerd",
        "snap restart containerd",
        "boot the node anew",
        r#"what restarts the engine \"containerd\""#,
        "",
    ] {
        assert_eq!(host.run(then, &units), (String::new(), false), "{then}");
    }
    host.set("left", "");
    let found = host.run("systemctl restart containerd", &units);
    assert_eq!(found, ("install".to_owned(), false));
    host.remove("left");
    for (then, units, done) in [
        (
            "systemctl restart my-engine, or containerd; for the kubelet: x",
            "containerd",
            "restart containerd",
        ),
        (
            "systemctl restart k3s, or k3s-agent",
            "k3s.service",
            "restart k3s",
        ),
        (
            "systemctl restart containerd docker",
            "containerd.service docker.service",
            "restart containerd docker",
        ),
        (
            "snap restart microk8s.daemon-containerd",
            "snap.microk8s.daemon-containerd",
            "restart snap.microk8s.daemon-containerd",
        ),
    ] {
        host.set("engine", "1");
        let found = host.run(then, &["--restart", units]);
        assert_eq!(found, (done.to_owned(), true), "{then}");
    }
}
