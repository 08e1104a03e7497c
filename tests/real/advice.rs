//! Does what the doctor says, as it is typed: lines go into a configuration, commands to a shell.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use toml_edit::{DocumentMut, Item, Table};

use crate::doctor::restart;
use crate::doctor_cases::{ONE, folder};
use crate::lab::{Lab, write};

/// The words with which a command begins.
const COMMANDS: [&str; 9] = [
    "install ",
    "chown ",
    "chmod ",
    "cp ",
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
        if shell(&lab.root, first)? {
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
        shell(&lab.root, &format!("chmod 0755 {file}"))?;
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
    Err(format!("it can't be done as it is typed: {change}"))
}

/// Runs a command as it is typed, with this build's rootpin; whether an engine is to be restarted
/// now. `root`: a folder of the test's own.
fn shell(root: &Path, command: &str) -> Result<bool, String> {
    let (own, built) = (
        root.join("advice-bin"),
        Path::new(env!("CARGO_BIN_EXE_rootpin")),
    );
    let (systemctl, asked) = (own.join("systemctl"), own.join("systemctl.restart"));
    std::fs::create_dir_all(&own).unwrap();
    write(&systemctl, SYSTEMCTL);
    std::fs::set_permissions(&systemctl, Permissions::from_mode(0o755)).unwrap();
    let path = format!(
        "{}:{}:{}",
        own.display(),
        built.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let output = Command::new("sh")
        .args(["-c", command])
        .env("PATH", path)
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

#[test]
fn commands_are_run_as_they_are_typed_and_a_restart_is_the_engine_s() {
    let root = tempfile::tempdir().unwrap();
    let root = root.path();
    std::fs::write(root.join("stale.sock"), "").unwrap();
    let rm = format!("rm {}", root.join("stale.sock").display());
    assert_eq!(shell(root, &rm), Ok(false));
    assert!(!root.join("stale.sock").exists());
    assert_eq!(
        shell(root, "rootpin --version   # as the doctor says it"),
        Ok(false)
    );
    assert_eq!(shell(root, "systemctl restart docker"), Ok(true));
    assert_eq!(shell(root, "systemctl restart containerd"), Ok(true));
    for wrong in [
        "systemctl restart sshd",
        "systemctl mask docker",
        "rootpin no-such-verb",
    ] {
        assert!(shell(root, wrong).is_err(), "{wrong}");
    }
}
