//! `rootpin hosts remove`.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{Failure, Where, registry};
use crate::cli::output::{Output, list, text};
use crate::hosts_toml::RegistryFolder;
use crate::operate::doctor::uninstall::UninstallPlan;
use crate::operate::record::{InstallLock, InstallRecord};
use crate::problem::Problem;

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

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<u8, Failure> {
    let path = InstallRecord::beside(&arguments.at.config);
    let _lock = (!arguments.dry_run)
        .then(|| InstallLock::take(&path))
        .transpose()
        .map_err(Failure::Unknown)?;
    let mut record = InstallRecord::read(&path).map_err(Failure::Unknown)?;
    let dirs = arguments.at.dirs()?;
    let mut files: Vec<PathBuf> = Vec::new();
    for registry in &arguments.registries {
        let places = dirs.iter().map(|dir| RegistryFolder::own(dir, registry));
        let places = places.filter_map(|place| Some(place.ok()?.file()));
        let is_recorded = |file: &PathBuf| record.texts.iter().any(|text| text.path == *file);
        let written: Vec<PathBuf> = places.filter(is_recorded).collect();
        if written.is_empty() {
            return Err(Failure::Refused(Problem::hinted(
                format!(
                    "{} records no hosts.toml of {registry} that rootpin wrote",
                    path.display()
                ),
                "rootpin hosts check says which files lead to the resolver; name their folder by --dir",
            )));
        }
        files.extend(written);
    }
    let (taken, kept): (Vec<_>, Vec<_>) = record
        .texts
        .into_iter()
        .partition(|text| files.contains(&text.path));
    record.texts = kept;
    let mut plan = UninstallPlan::of_texts(&taken);
    if let Some(why) = plan.left.pop() {
        return Err(Failure::Refused(why));
    }
    let (diff, kept) = (plan.diff(), plan.kept.clone());
    let written = if arguments.dry_run {
        Vec::new()
    } else {
        let written = plan.carry_out().map_err(Failure::Unknown)?;
        record.write(&path).map_err(Failure::Unknown)?;
        written
    };
    let outcome = if arguments.dry_run {
        "dry-run"
    } else {
        "removed"
    };
    let told =
        json!({ "version": 1, "outcome": outcome, "diff": diff, "written": written, "kept": kept });
    output.value(&told, report);
    Ok(0)
}

fn report(value: &Value) -> String {
    let mut lines = vec![text(value, "diff").trim_end().to_owned()];
    let told = |name: &'static str, word: &'static str| {
        let all = list(value, name).iter().filter_map(Value::as_str);
        all.map(move |one| format!("{word}: {one}"))
    };
    lines.extend(told("written", "taken back"));
    lines.extend(told("kept", "kept"));
    lines.retain(|line| !line.is_empty());
    lines.join("\n")
}
