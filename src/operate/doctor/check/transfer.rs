//! The transfer service: which differ it unpacks by.

use std::collections::BTreeSet;

use super::super::code::Code;
use super::super::config_files::at;
use super::super::facts::{ContainerdFacts, EngineConfig};
use super::super::hole::{Fix, Hole};
use super::super::unpack_config::{UNPACK, UnpackEntry, entries};

const TRANSFER: &str = "io.containerd.transfer.v1.local";

pub(super) fn transfer(facts: &ContainerdFacts, config: &EngineConfig) -> Vec<Hole> {
    if !facts.works(TRANSFER) {
        return Vec::new();
    }
    let name = &facts.engine.name;
    let ours = facts.differs_at(&facts.engine.apply);
    let snapshotter = |name: &str| facts.works(&format!("io.containerd.snapshotter.v1.{name}"));
    let entries: Vec<_> = entries(config)
        .into_iter()
        .filter(|entry| !entry.optional || snapshotter(entry.snapshotter))
        .collect();
    let listed: BTreeSet<&str> = entries.iter().map(|entry| entry.snapshotter).collect();
    let used = facts
        .cri()
        .map(|cri| cri.snapshotters())
        .unwrap_or_default();
    let lines = lines(facts, &listed, &used);
    let hole = |code, found: &str| {
        Hole::new(code, name, found)
            .change(lines.clone())
            .fix(Fix::DropIn)
    };
    let mut holes = Vec::new();
    if entries.is_empty() {
        holes.push(hole(
            Code::UnpackConfig,
            "unpack_config is not set, so that containerd unpacks by its own differ",
        ));
    }
    for UnpackEntry {
        snapshotter,
        differ,
        ..
    } in entries.iter().filter(|entry| !ours.contains(&entry.differ))
    {
        let by = if differ.is_empty() {
            "any differ".to_owned()
        } else {
            format!("differ {differ}")
        };
        holes.push(hole(
            Code::UnpackConfig,
            &format!(
                "{snapshotter} is unpacked by {by}, {}",
                config.files.setter(&UNPACK)
            ),
        ));
    }
    for used in used
        .iter()
        .filter(|used| !entries.is_empty() && !listed.contains(*used))
    {
        holes.push(hole(
            Code::SnapshotterUnlisted,
            &format!("CRI uses {used}, and unpack_config has {listed:?}"),
        ));
    }
    holes
}

/// The whole list, because it replaces the one that is there; and its differ, where containerd has
/// none.
fn lines(facts: &ContainerdFacts, listed: &BTreeSet<&str>, used: &[&str]) -> String {
    let ours = facts.differs_at(&facts.engine.apply);
    let differ = ours.first().unwrap_or(&"rootpin-apply");
    let mut names: BTreeSet<&str> = listed.iter().chain(used).copied().collect();
    if names.is_empty() {
        names.insert("overlayfs");
    }
    let proxy = format!(
        "[proxy_plugins.{differ}]\n  type = \"diff\"\n  address = \"{}\"\n",
        facts.engine.apply.display()
    );
    let platform = platform();
    let entries: Vec<String> = names
        .into_iter()
        .map(|name| {
            format!(
                "[[plugins.\"{TRANSFER}\".unpack_config]]\n  platform = \"{platform}\"\n  snapshotter = \"{name}\"\n  differ = \"{differ}\""
            )
        })
        .collect();
    format!(
        "{}{}",
        if ours.is_empty() {
            proxy
        } else {
            String::new()
        },
        entries.join("\n")
    )
}

/// Programs that layers go through on their way from the content store to the snapshot
/// (core/diff/stream.go). Those of encrypted layers must.
pub(super) fn processors(facts: &ContainerdFacts, config: &EngineConfig) -> Vec<Hole> {
    let all = at(&config.effective, &["stream_processors"]).and_then(toml::Value::as_table);
    let hole = |(id, processor): (&String, &toml::Value)| {
        let accepted = processor
            .get("accepts")?
            .as_array()?
            .iter()
            .filter_map(toml::Value::as_str);
        let ordinary: Vec<&str> = accepted
            .filter(|media_type| !media_type.ends_with("+encrypted"))
            .collect();
        let program = processor
            .get("path")
            .and_then(toml::Value::as_str)
            .unwrap_or_default();
        if ordinary.is_empty() {
            return None;
        }
        let found = format!(
            "{id} ({program}) is given {ordinary:?}, {}",
            config.files.setter(&["stream_processors", id])
        );
        let change = format!(
            "take [stream_processors.\"{id}\"] out of that file, unless that program is trusted as containerd is"
        );
        Some(Hole::new(Code::StreamProcessor, &facts.engine.name, found).change(change))
    };
    all.into_iter().flatten().filter_map(hole).collect()
}

/// This machine's, as containerd names it. An entry without one keeps the transfer service from
/// loading.
pub(crate) fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}")
}
