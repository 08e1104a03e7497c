//! `rootpin hosts write`.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use similar::TextDiff;

use super::{Failure, Where, registry};
use crate::cli::output::{Output, list, text};
use crate::hosts_toml::{Certificates, RegistryFolder};
use crate::operate::hosts::close;
use crate::operate::record::{InstallLock, InstallRecord, TextRecord};
use crate::policy_dir::replace_file;
use crate::problem::Problem;
use crate::trusted_path;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Registries, as image names have them; `_default` for those without a file of their own
    #[arg(value_name = "REGISTRY", required = true, value_parser = registry)]
    registries: Vec<String>,
    #[command(flatten)]
    at: Where,
    /// Show what would change, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// One file, as it is and as it is to be.
#[derive(Debug)]
struct HostsFileChange {
    file: PathBuf,
    before: Option<String>,
    after: String,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<u8, Failure> {
    let resolver = arguments.at.resolver()?;
    let dirs = arguments.at.dirs()?;
    if let Some(dir) = dirs.iter().find(|dir| dir.to_string_lossy().contains(':')) {
        return Err(Failure::Usage(Problem::hinted(
            format!("{} is a list of folders", dir.display()),
            "name each by its own --dir",
        )));
    }
    // Before anything is read: what is planned is what is written.
    let _lock = if arguments.dry_run {
        None
    } else {
        InstallLock::take(&InstallRecord::beside(&arguments.at.config)).map_err(Failure::Unknown)?
    };
    // All of it is known to be possible before any of it is done.
    let mut changes = Vec::new();
    for dir in &dirs {
        for registry in &arguments.registries {
            let place = RegistryFolder::own(dir, registry).map_err(|error| failed(dir, &error))?;
            let file = place.file();
            let read = |error: io::Error| failed(&file, &error);
            let (before, beside) = (
                place.text().map_err(read)?,
                Certificates::beside(place.folder()).map_err(read)?,
            );
            let after = close(before.as_deref(), registry, resolver, &beside).map_err(|hole| {
                Failure::Refused(Problem::hinted(
                    format!("{}: {}: {}", file.display(), hole.code, hole.found),
                    hole.hint.clone(),
                ))
            })?;
            changes.push(HostsFileChange {
                file,
                before,
                after,
            });
        }
    }
    if !arguments.dry_run {
        record(&arguments.at.config, &changes).map_err(Failure::Unknown)?;
        for change in changes.iter().filter(|change| change.changes()) {
            change
                .write()
                .map_err(|error| failed(&change.file, &error))?;
        }
    }
    let outcome = match changes.iter().any(HostsFileChange::changes) {
        false => "unchanged",
        true if arguments.dry_run => "dry-run",
        true => "written",
    };
    let files: Vec<_> = changes
        .iter()
        .map(|change| change.told(arguments.dry_run))
        .collect();
    output.value(&json!({ "version": 1, "outcome": outcome, "resolver": resolver.to_string(), "files": files }), report);
    Ok(0)
}

/// Records what is about to be written, where rootpin.toml is: `install --uninstall` takes it back.
fn record(config: &Path, changes: &[HostsFileChange]) -> Result<(), Problem> {
    let real = changes.iter().filter(|change| change.changes());
    let texts: Vec<_> = real.map(HostsFileChange::recorded).collect();
    if texts.is_empty() || !config.exists() {
        return Ok(());
    }
    let path = InstallRecord::beside(config);
    let mut record = InstallRecord::read(&path)?;
    record.add(InstallRecord::of_texts(texts));
    record.write(&path)
}

impl HostsFileChange {
    fn recorded(&self) -> TextRecord {
        let missing = self.file.ancestors().skip(1);
        let mut folders: Vec<PathBuf> = missing
            .take_while(|folder| !folder.exists())
            .map(Path::to_owned)
            .collect();
        folders.reverse();
        let backup = PathBuf::from(format!("{}.bak", self.file.display()));
        let is_new = self.before.is_some() && !backup.exists();
        TextRecord {
            path: self.file.clone(),
            before: self.before.clone(),
            after: self.after.clone(),
            folders,
            backups: is_new.then_some(backup).into_iter().collect(),
            earlier: Vec::new(),
        }
    }

    fn changes(&self) -> bool {
        self.before.as_ref() != Some(&self.after)
    }

    fn write(&self) -> io::Result<()> {
        let file = trusted_path::place(&self.file)?;
        let folder = file.parent().unwrap_or(Path::new("/"));
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(folder)?;
        replace_file(&file, self.after.as_bytes())
    }

    fn told(&self, dry_run: bool) -> Value {
        let name = self.file.display().to_string();
        let from = if self.before.is_some() {
            name.as_str()
        } else {
            "/dev/null"
        };
        let diff = TextDiff::from_lines(self.before.as_deref().unwrap_or_default(), &self.after);
        let diff = diff.unified_diff().header(from, &name).to_string();
        let backup =
            (self.before.is_some() && self.changes() && !dry_run).then(|| format!("{name}.bak"));
        json!({ "file": name, "changed": self.changes(), "diff": diff, "backup": backup })
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::Unknown(Problem::hinted(
        format!("{}: {error}", path.display()),
        "run as root, and see that it is a folder or file that can be read and written",
    ))
}

fn report(value: &Value) -> String {
    let mut lines = Vec::new();
    for file in list(value, "files") {
        let name = text(file, "file");
        if file.get("changed").and_then(Value::as_bool) != Some(true) {
            lines.push(format!("closed already: {name}"));
            continue;
        }
        lines.push(text(file, "diff").trim_end().to_owned());
        if text(value, "outcome") == "written" {
            let backup = file
                .get("backup")
                .and_then(Value::as_str)
                .map(|backup| format!("; the old text is in {backup}"));
            lines.push(format!("written: {name}{}", backup.unwrap_or_default()));
        }
    }
    if text(value, "outcome") == "written" {
        lines.push("hint: engines read these files at each pull; containerd's CRI only if its config_path names this folder".to_owned());
    }
    lines.join("\n")
}
