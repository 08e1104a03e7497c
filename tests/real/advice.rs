//! Does what the doctor says, as it is typed: lines go into a configuration, commands to a shell.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use toml_edit::{DocumentMut, Item, Table};

use crate::doctor::restart;
use crate::doctor_cases::{ONE, cases, folder};
use crate::lab::{Lab, write};

/// The words with which a command begins.
const COMMANDS: [&str; 11] = [
    "install ",
    "chown ",
    "chmod ",
    "cp ",
    "docker ",
    "gpasswd ",
    "mkdir ",
    "mv ",
    "rm ",
    "rootpin ",
    "systemctl ",
];

/// What stands for systemctl on a host without systemd: it says that the engine is to be restarted,
/// and takes nothing else.
const SYSTEMCTL: &str = "#!/bin/sh
test $# = 2 && test \"$1\" = restart || exit 1
case \"$2\" in containerd|docker) : > \"$0.restart\" ;; *) exit 1 ;; esac
";

/// Follows one piece of advice. `number` tells it from others in one test.
pub(crate) fn follow(lab: &Lab, engine: &str, number: &str, change: &str) -> Result<(), String> {
    let (first, rest) = change.split_once('\n').unwrap_or((change, ""));
    if let Ok(lines) = change.parse::<DocumentMut>() {
        lines_for(lab, engine, number, &lines);
        return Ok(());
    }
    if COMMANDS.iter().any(|word| first.starts_with(word)) {
        if shell(&lab.root, first, &client(lab, engine))? {
            restart(lab, engine);
        }
        return if rest.is_empty() || rest.starts_with('#') {
            Ok(())
        } else {
            follow(lab, engine, &format!("{number}x"), rest)
        };
    }
    // A script of the lines that follow; what is no script any more begins with a bracket.
    if let Some(file) = first
        .strip_prefix("an executable ")
        .and_then(|rest| rest.strip_suffix(" of these lines:"))
    {
        let (script, lines) = rest
            .split_once("\n[")
            .map_or((rest, None), |(script, lines)| {
                (script, Some(format!("[{lines}")))
            });
        write(file.as_ref(), format!("{script}\n"));
        shell(&lab.root, &format!("chmod 0755 {file}"), &[])?;
        return lines.map_or(Ok(()), |lines| {
            follow(lab, engine, &format!("{number}x"), &lines)
        });
    }
    if let Some(file) = first
        .strip_prefix("put this line at the top of ")
        .and_then(|rest| rest.strip_suffix(':'))
    {
        let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
        write(file.as_ref(), format!("{rest}\n{text}"));
        return Ok(());
    }
    if let Some(file) = first
        .strip_prefix("in ")
        .and_then(|rest| rest.strip_suffix(':'))
    {
        return put(file.as_ref(), rest);
    }
    Err(format!("it can't be done as it is typed: {change}"))
}

/// Puts lines into a file: members into an object of JSON, keys into TOML.
fn put(file: &Path, lines: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file:?}: {error}"))?;
    let failed = |error: &dyn std::fmt::Display| format!("{lines}: {error}");
    let text = if let Ok(more) = serde_json::from_str::<Value>(&format!("{{{lines}}}")) {
        let mut all: Value = serde_json::from_str(&text).map_err(|error| failed(&error))?;
        let members = more.as_object().unwrap().clone();
        all.as_object_mut().unwrap().extend(members);
        all.to_string()
    } else {
        let lines: DocumentMut = lines.parse().map_err(|error| failed(&error))?;
        let mut text: DocumentMut = text.parse().map_err(|error| failed(&error))?;
        merge(text.as_table_mut(), lines.as_table());
        text.to_string()
    };
    write(file, text);
    Ok(())
}

/// What a dockerd's client is given: its folder on the path, and the daemon.
fn client(lab: &Lab, engine: &str) -> Vec<(&'static str, String)> {
    let Some(version) = engine.strip_prefix("dockerd") else {
        return Vec::new();
    };
    let bin = if version.starts_with("26") {
        "LAB_BIN17"
    } else {
        "LAB_BIN2"
    };
    let host = format!("LAB_{}", engine.to_uppercase().replace('-', "_"));
    vec![
        ("CLIENT", lab.path(bin).display().to_string()),
        ("DOCKER_HOST", lab.var(&host).to_owned()),
    ]
}

/// Runs a command as it is typed, with this build's rootpin; whether an engine is to be restarted
/// now. `root`: a folder of the test's own; `client`: what stands for the usual dockerd's.
fn shell(root: &Path, command: &str, client: &[(&str, String)]) -> Result<bool, String> {
    let (own, built) = (
        root.join("advice-bin"),
        Path::new(env!("CARGO_BIN_EXE_rootpin")),
    );
    let (systemctl, asked) = (own.join("systemctl"), own.join("systemctl.restart"));
    std::fs::create_dir_all(&own).unwrap();
    write(&systemctl, SYSTEMCTL);
    std::fs::set_permissions(&systemctl, Permissions::from_mode(0o755)).unwrap();
    let folder = client.iter().find(|(name, _)| *name == "CLIENT");
    let path = format!(
        "{}:{}:{}:{}",
        own.display(),
        folder.map_or("/nowhere", |(_, folder)| folder.as_str()),
        built.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let output = Command::new("sh")
        .args(["-c", command])
        .env("PATH", path)
        .envs(client.iter().map(|(name, value)| (name, value)))
        .output()
        .unwrap();
    if output.status.success() {
        Ok(std::fs::remove_file(asked).is_ok())
    } else {
        Err(format!(
            "{command}: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    }
}

/// Lines of containerd's configuration. Of 2.x a drop-in of their own has them; 1.7 would lose the
/// rest of their section by that.
fn lines_for(lab: &Lab, engine: &str, number: &str, lines: &DocumentMut) {
    if engine == ONE {
        let mut placed = false;
        // Each section into the file that is read last and has it.
        for (section, item) in sections(lines) {
            let mut files: Vec<_> = std::fs::read_dir(folder(lab, engine))
                .unwrap()
                .map(|entry| entry.unwrap().path())
                .collect();
            files.sort();
            files.insert(0, lab.root.join(format!("etc/{engine}.toml")));
            let has = |path: &std::path::Path| {
                let text: DocumentMut = std::fs::read_to_string(path).unwrap().parse().unwrap();
                section
                    .iter()
                    .try_fold(text.as_item(), |item, key| item.get(key))
                    .is_some()
            };
            let file = files
                .iter()
                .rev()
                .find(|path| has(path))
                .unwrap_or(&files[0])
                .clone();
            let mut text: DocumentMut = std::fs::read_to_string(&file).unwrap().parse().unwrap();
            let whole = section.iter().rev().fold(item, |item, key| {
                let mut table = Table::new();
                table.set_implicit(true);
                table.insert(key, item);
                Item::Table(table)
            });
            merge(text.as_table_mut(), whole.as_table().unwrap());
            write(&file, text.to_string());
            placed = true;
        }
        assert!(placed, "no section in {lines}");
        return;
    }
    write(
        &folder(lab, engine).join(format!("zzz-advice-{number}.toml")),
        format!("version = 3\n{lines}"),
    );
}

/// The plugins' sections, and the tables of other kinds.
fn sections(lines: &DocumentMut) -> Vec<(Vec<String>, Item)> {
    let mut found = Vec::new();
    for (key, item) in lines.as_table() {
        match item
            .as_table()
            .filter(|_| ["plugins", "proxy_plugins"].contains(&key))
        {
            Some(table) => found.extend(
                table
                    .iter()
                    .map(|(name, item)| (vec![key.to_owned(), name.to_owned()], item.clone())),
            ),
            None => found.push((vec![key.to_owned()], item.clone())),
        }
    }
    found
}

fn merge(into: &mut Table, from: &Table) {
    for (key, item) in from {
        match (
            into.get_mut(key).and_then(Item::as_table_mut),
            item.as_table(),
        ) {
            (Some(there), Some(more)) => merge(there, more),
            _ => _ = into.insert(key, item.clone()),
        }
    }
}

/// What is closed by hand and not followed as it is typed, and why.
const NOT_TYPED: [(&str, &str); 28] = [
    (
        "credentials-past-helper",
        "an edit of a user's config.json; the tests of credentials work with one that is so edited",
    ),
    (
        "credentials-past-provider",
        "tests/real/kubelets.rs types it on hosts with a kubelet",
    ),
    (
        "credentials-in-hosts",
        "an edit of a file that has a credential of its owner",
    ),
    (
        "containerd-too-old",
        "an upgrade: the lab has each engine in one version",
    ),
    (
        "cri-restore",
        "an upgrade: the lab has each engine in one version",
    ),
    (
        "docker-authz-bypass",
        "an upgrade, or another store, which begins without images",
    ),
    (
        "nri-fails-open",
        "an upgrade: the lab has no containerd 2.2 of Debian's",
    ),
    (
        "restart-pending",
        "the lab has no systemd; a restart of the engine is in every case",
    ),
    (
        "unlisted-engine",
        "lines for rootpin.toml; a test of its own puts them there",
    ),
    (
        "docker-unknown-containerd",
        "lines for rootpin.toml; a test of its own puts them there",
    ),
    (
        "verifier-crowded",
        "whose program that is, and where to, a person knows",
    ),
    ("remote-snapshotter", "which images need it a person knows"),
    ("stream-processor", "what it is for a person knows"),
    ("plugin-error", "the plugin's own error says what to do"),
    ("config-ignored", "what was meant by the key a person knows"),
    (
        "section-replaced",
        "where the rest of the section belongs a person knows",
    ),
    ("docker-exposed", "who may use the port a person knows"),
    ("containerd-exposed", "who may use the port a person knows"),
    (
        "socket-replaceable",
        "chmod and chown of a folder; a test of `trusted_path` has the texts",
    ),
    ("state-lost", "the volume is a person's"),
    (
        "state-new",
        "`rootpin state acknowledge` is run by tests/it",
    ),
    ("socket-taken", "whose process it is a person knows"),
    ("socket-silent", "the restart of a unit"),
    ("not-at-boot", "the lab has no systemd"),
    ("break-glass", "tests/it/break_glass.rs ends it"),
    ("policy-audit", "a policy is a person's"),
    ("policy-local", "a policy is a person's"),
    (
        "policy-missing",
        "`rootpin policy check` is run by tests/it",
    ),
];
/// What tests beside [`cases`] follow.
const FOLLOWED: [&str; 5] = [
    "docker-migration",
    "docker-swarm",
    "docker-no-authz",
    "hosts-open",
    "socket-open",
];

#[test]
fn what_is_closed_by_hand_is_followed_as_it_is_typed_or_says_why_not() {
    let cases = cases();
    let by_hand = include_str!("../../docs/doctor.md")
        .lines()
        .filter(|line| line.starts_with("| `") && line.contains("by hand"));
    let mut wrong = Vec::new();
    for line in by_hand {
        let code = line.split('`').nth(1).unwrap();
        let followed = FOLLOWED.contains(&code)
            || cases
                .iter()
                .any(|case| case.code == code && case.close.is_none());
        let told = NOT_TYPED.iter().any(|(known, _)| *known == code);
        if followed == told {
            wrong.push(code);
        }
    }
    assert!(
        wrong.is_empty(),
        "neither followed nor told, or both: {wrong:?}"
    );
}

#[test]
fn commands_are_run_as_they_are_typed_and_a_restart_is_the_engine_s() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    std::fs::write(root.join("stale.sock"), "").unwrap();
    let rm = format!("rm {}", root.join("stale.sock").display());
    assert_eq!(shell(root, &rm, &[]), Ok(false));
    assert!(!root.join("stale.sock").exists());
    assert_eq!(
        shell(root, "rootpin --version   # as the doctor says it", &[]),
        Ok(false)
    );
    assert_eq!(shell(root, "systemctl restart docker", &[]), Ok(true));
    assert_eq!(shell(root, "systemctl restart containerd", &[]), Ok(true));
    for wrong in [
        "systemctl restart sshd",
        "systemctl mask docker",
        "rootpin no-such-verb",
    ] {
        assert!(shell(root, wrong, &[]).is_err(), "{wrong}");
    }
}
