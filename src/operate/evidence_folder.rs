//! What an auditor asks for of a host, in one folder: the policy, what rootpin's own commands say,
//! when and by which version, and a manifest of hashes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::policy_dir::{self, Owner, PolicyDir};
use crate::publish::key::{Signer, SigningError};
use crate::publish::{key_object, to_pem};
use rootpin_policy::{Files, Unreadable};
use rootpin_trust::image::Digest;

/// A longer report is cut, and the manifest says so.
const MAX_REPORT: u64 = 256 << 20;

/// A command of rootpin's, and the file for what it prints.
#[derive(Debug)]
pub(crate) struct EvidenceCommand {
    pub(crate) file: &'static str,
    pub(crate) words: Vec<String>,
}

/// The files by their paths in the folder, and the worst exit code of the commands.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    pub(crate) commands: Vec<Value>,
    pub(crate) worst: u8,
}

/// Runs the commands one after the other, and reads the policy in `policy` as the daemon reads it.
///
/// # Errors
/// This program can't be started again.
pub(crate) fn collect(
    commands: &[EvidenceCommand],
    policy: &Path,
    mut tell: impl FnMut(&str),
) -> io::Result<Evidence> {
    let begun = Timestamp::now();
    let program = std::env::current_exe()?;
    let (mut files, mut told, mut worst) = (BTreeMap::new(), Vec::new(), 0_u8);
    for command in commands {
        tell(&format!("rootpin {}", command.words.join(" ")));
        let (value, bytes, exit) = run(&program, command)?;
        worst = worst.max(exit);
        told.push(value);
        files.insert(command.file.to_owned(), bytes);
    }
    let reading = Recording {
        inner: PolicyDir::open(policy, Owner::RootOrCaller),
        read: RefCell::default(),
    };
    let loaded = policy_dir::load(&reading, begun);
    let read = reading.read.into_inner();
    files.extend(
        read.into_iter()
            .map(|(name, bytes)| (format!("policy/{name}"), bytes)),
    );
    let hashes: BTreeMap<&String, String> = files
        .iter()
        .map(|(name, bytes)| (name, Digest::of(bytes).hex()))
        .collect();
    let kernel = rustix::system::uname();
    let manifest = json!({
        "version": 1,
        "host": kernel.nodename().to_string_lossy(),
        "rootpin": env!("CARGO_PKG_VERSION"),
        "kernel": format!("{} {}", kernel.sysname().to_string_lossy(), kernel.release().to_string_lossy()),
        "begun": begun.to_string(),
        "ended": Timestamp::now().to_string(),
        "policy": loaded.ok().map(|policy| policy.hash.to_string()),
        "policy_folder": policy.to_string_lossy(),
        "commands": told,
        "files": hashes,
    });
    files.insert(
        "manifest.json".to_owned(),
        format!("{manifest:#}\n").into_bytes(),
    );
    let mut sums = String::new();
    for (name, bytes) in &files {
        // Writing to a String can't fail.
        let _ = writeln!(sums, "{}  {name}", Digest::of(bytes).hex());
    }
    files.insert(SUMS.to_owned(), sums.into_bytes());
    Ok(Evidence {
        files,
        commands: told,
        worst,
    })
}

/// As `sha256sum --check` reads it.
const SUMS: &str = "SHA256SUMS";

impl Evidence {
    /// Adds the key's signature over the list of hashes, and its public part.
    ///
    /// # Errors
    /// The key does not sign.
    pub(crate) fn sign(&mut self, key: &dyn Signer) -> Result<(), SigningError> {
        let (_, object) = key_object(key.public());
        let scheme = object
            .get("scheme")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let sums = self.files.get(SUMS).cloned().unwrap_or_default();
        let signature = key.sign(&sums, scheme)?;
        self.files.insert(format!("{SUMS}.sig"), signature);
        let public = to_pem(key.public()).unwrap_or_default();
        self.files
            .insert(format!("{SUMS}.pub"), public.into_bytes());
        Ok(())
    }
}

/// What another command of this program prints, and its exit code.
///
/// # Errors
/// It can't be started, or prints nothing.
pub(crate) fn report_of(words: &[&str]) -> io::Result<(Vec<u8>, u8)> {
    let command = EvidenceCommand {
        file: "",
        words: words.iter().map(|word| (*word).to_owned()).collect(),
    };
    let (_, bytes, exit) = run(&std::env::current_exe()?, &command)?;
    if bytes.is_empty() {
        let command = command.words.join(" ");
        return Err(io::Error::other(format!(
            "rootpin {command} printed nothing"
        )));
    }
    Ok((bytes, exit))
}

/// What a command printed, and a record of it for the manifest.
fn run(program: &PathBuf, command: &EvidenceCommand) -> io::Result<(Value, Vec<u8>, u8)> {
    let begun = Timestamp::now();
    let mut child = Command::new(program)
        .args(&command.words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut bytes = Vec::new();
    let mut cut = false;
    if let Some(printed) = child.stdout.take() {
        let mut printed = printed.take(MAX_REPORT);
        printed.read_to_end(&mut bytes)?;
        cut = printed.limit() == 0;
    }
    if cut {
        child.kill()?;
    }
    let exit = child
        .wait()?
        .code()
        .and_then(|code| u8::try_from(code).ok());
    let exit = exit.filter(|_| !cut).unwrap_or(2);
    let value = json!({
        "file": command.file,
        "command": format!("rootpin {}", command.words.join(" ")),
        "begun": begun.to_string(),
        "ended": Timestamp::now().to_string(),
        "exit": exit,
        "cut": cut,
    });
    Ok((value, bytes, exit))
}

/// The files of a policy, which remembers what was read of them.
struct Recording {
    inner: PolicyDir,
    read: RefCell<BTreeMap<String, Vec<u8>>>,
}

impl Files for Recording {
    fn read(&self, relative: &str) -> Result<Vec<u8>, Unreadable> {
        let bytes = self.inner.read(relative)?;
        let mut read = self.read.borrow_mut();
        read.insert(relative.to_owned(), bytes.clone());
        Ok(bytes)
    }

    fn fragments(&self) -> Result<Vec<String>, Unreadable> {
        self.inner.fragments()
    }
}
