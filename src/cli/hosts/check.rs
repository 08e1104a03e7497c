//! `rootpin hosts check`.

use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Failure, Where, registry};
use crate::cli::output::{Output, list, text};
use crate::hosts_toml::{DEFAULT, DOCKER_HUB, DaemonJson, RegistryFolder, registries};
use crate::operate::hosts::{HostsCode, HostsFinding, check_folder, mirrored, without_host_table};
use crate::problem::Problem;
use crate::sockets::Holder;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// Registries, as image names have them; `_default` for those without a file of their own
    #[arg(value_name = "REGISTRY", value_parser = registry)]
    registries: Vec<String>,
    #[command(flatten)]
    at: Where,
}

pub(super) fn run(arguments: &Arguments, output: Output) -> Result<u8, Failure> {
    let resolver = arguments.at.resolver()?;
    let mut files = Vec::new();
    // Files that are closed lead to whoever has the port.
    if let Some(holder) = Holder::of_port(resolver).filter(|holder| !holder.is_ours()) {
        let found = format!(
            "{holder} listens at {resolver} in rootpind's place, and tells engines what a tag is"
        );
        let hint = "end that process: rootpind takes the port by itself then; a port below 1024 is root's alone";
        files.push(told(
            Path::new(&resolver.to_string()),
            None,
            None,
            &[hole(HostsCode::PortTaken, &found, hint)],
        ));
    }
    for dir in arguments.at.dirs()? {
        let options = arguments.at.options(&dir);
        let unreadable = |error: io::Error| {
            Failure::Unknown(Problem::hinted(
                format!("{}: {error}", dir.display()),
                "run as root",
            ))
        };
        if dir.to_string_lossy().contains(':') {
            let found = "a list of folders, which CRI of containerd 2.1 and later takes for one that is not there";
            files.push(told(
                &dir,
                None,
                None,
                &[hole(
                    HostsCode::DirList,
                    found,
                    "have config_path name one folder, and check that",
                )],
            ));
            continue;
        }
        let asked = match &arguments.registries {
            named if !named.is_empty() => named.clone(),
            _ => registries(&dir)
                .or_else(|error| {
                    if error.kind() == io::ErrorKind::NotFound {
                        Ok(Vec::new())
                    } else {
                        Err(error)
                    }
                })
                .map_err(unreadable)?,
        };
        if asked.is_empty() {
            let hint = format!(
                "name the registries that images come from: rootpin hosts write{options} docker.io"
            );
            files.push(told(
                &dir,
                None,
                None,
                &[hole(
                    HostsCode::NoFile,
                    "no registry has a hosts.toml here, so each says itself what its tags are",
                    &hint,
                )],
            ));
        }
        for registry in asked {
            let place = RegistryFolder::of(&dir, &registry).map_err(unreadable)?;
            let mut found =
                check_folder(place.as_ref(), &registry, resolver, &options).map_err(unreadable)?;
            if let Some(place) = place.as_ref().filter(|_| closed(&found)) {
                found.extend(without_host_table(place, &registry, &options).map_err(unreadable)?);
            }
            if let Some(place) = place.as_ref().filter(|place| {
                registry == DOCKER_HUB || registry == DEFAULT && stands_for_docker_hub(&dir, place)
            }) {
                found.extend(
                    mirrored(place, &DaemonJson::beside(&dir).mirrors, &options)
                        .map_err(unreadable)?,
                );
            }
            files.push(told(
                &dir,
                Some(&registry),
                place.map(|place| place.file()),
                &found,
            ));
        }
    }
    let open = files.iter().any(|file| !list(file, "findings").is_empty());
    let outcome = if open { "open" } else { "closed" };
    output.value(&json!({ "version": 1, "outcome": outcome, "resolver": resolver.to_string(), "files": files }), report);
    Ok(u8::from(open))
}

/// Whether nothing but a mode is wrong with a file.
fn closed(found: &[HostsFinding]) -> bool {
    found.iter().all(|hole| hole.code == HostsCode::Writable)
}

/// Whether that folder of `_default` is the one that dockerd finds for Docker Hub.
fn stands_for_docker_hub(dir: &Path, default: &RegistryFolder) -> bool {
    RegistryFolder::of(dir, DOCKER_HUB)
        .is_ok_and(|found| found.is_some_and(|found| found.file() == default.file()))
}

fn hole(code: HostsCode, found: &str, hint: &str) -> HostsFinding {
    HostsFinding {
        code,
        found: found.to_owned(),
        hint: hint.to_owned(),
    }
}

fn told(
    dir: &Path,
    registry: Option<&str>,
    file: Option<PathBuf>,
    holes: &[HostsFinding],
) -> Value {
    let hole = |hole: &HostsFinding| json!({ "code": hole.code.as_str(), "found": hole.found, "hint": hole.hint });
    let findings: Vec<_> = holes.iter().map(hole).collect();
    json!({ "dir": dir.display().to_string(), "registry": registry, "file": file.map(|file| file.display().to_string()), "findings": findings })
}

fn report(value: &Value) -> String {
    let mut lines = Vec::new();
    for file in list(value, "files") {
        let findings = list(file, "findings");
        let state = if findings.is_empty() {
            "closed"
        } else {
            "open"
        };
        let at = file
            .get("file")
            .and_then(Value::as_str)
            .unwrap_or_else(|| text(file, "dir"));
        lines.push(format!(
            "{state}: {} in {at}",
            file.get("registry")
                .and_then(Value::as_str)
                .unwrap_or("every registry")
        ));
        for finding in findings {
            lines.push(format!(
                "  {}: {}",
                text(finding, "code"),
                text(finding, "found")
            ));
            lines.push(format!("  hint: {}", text(finding, "hint")));
        }
    }
    lines.join("\n")
}
