//! The transfer service: which differ it unpacks by.

use std::collections::BTreeSet;

use super::super::code::Code;
use super::super::config_files::at;
use super::super::facts::{Config, Containerd};
use super::super::hole::{Fix, Hole};

const TRANSFER: &str = "io.containerd.transfer.v1.local";
const UNPACK: [&str; 3] = ["plugins", TRANSFER, "unpack_config"];

pub(super) fn transfer(facts: &Containerd, config: &Config) -> Vec<Hole> {
    if !facts.works(TRANSFER) {
        return Vec::new();
    }
    let name = &facts.engine.name;
    let ours = facts.differs_at(&facts.engine.apply);
    let entries: Vec<_> = entries(config).collect();
    let mut holes = Vec::new();
    let lines = |snapshotter: &str| {
        let differ = ours.first().unwrap_or(&"rootpin-apply");
        let platform = platform();
        format!(
            "[[plugins.\"{TRANSFER}\".unpack_config]]\n  platform = \"{platform}\"\n  snapshotter = \"{snapshotter}\"\n  differ = \"{differ}\""
        )
    };
    if entries.is_empty() {
        let found = "unpack_config is not set, so that containerd unpacks by its own differ";
        holes.push(Hole::new(Code::UnpackConfig, name, found).change(lines("overlayfs")).fix(Fix::DropIn));
    }
    for (snapshotter, differ) in entries.iter().filter(|(_, differ)| !ours.contains(differ)) {
        let by = if differ.is_empty() { "any differ".to_owned() } else { format!("differ {differ}") };
        let found = format!("{snapshotter} is unpacked by {by}, {}", config.files.setter(&UNPACK));
        holes.push(Hole::new(Code::UnpackConfig, name, found).change(lines(snapshotter)).fix(Fix::DropIn));
    }
    let listed: BTreeSet<&str> = entries.iter().map(|(snapshotter, _)| *snapshotter).collect();
    for used in facts.cri().into_iter().flat_map(|cri| cri.snapshotters()) {
        if !entries.is_empty() && !listed.contains(used) {
            let found = format!("CRI uses {used}, and unpack_config has {listed:?}");
            holes.push(Hole::new(Code::SnapshotterUnlisted, name, found).change(lines(used)).fix(Fix::DropIn));
        }
    }
    holes
}

/// Programs that layers go through on their way from the content store to the snapshot (core/diff/stream.go). Those of encrypted layers must.
pub(super) fn processors(facts: &Containerd, config: &Config) -> Vec<Hole> {
    let all = at(&config.effective, &["stream_processors"]).and_then(toml::Value::as_table);
    let hole = |(id, processor): (&String, &toml::Value)| {
        let accepted = processor.get("accepts")?.as_array()?.iter().filter_map(toml::Value::as_str);
        let ordinary: Vec<&str> = accepted.filter(|media_type| !media_type.ends_with("+encrypted")).collect();
        let program = processor.get("path").and_then(toml::Value::as_str).unwrap_or_default();
        if ordinary.is_empty() {
            return None;
        }
        let found = format!("{id} ({program}) is given {ordinary:?}, {}", config.files.setter(&["stream_processors", id]));
        let change = format!("take [stream_processors.\"{id}\"] out of that file, unless that program is trusted as containerd is");
        Some(Hole::new(Code::StreamProcessor, &facts.engine.name, found).change(change))
    };
    all.into_iter().flatten().filter_map(hole).collect()
}

/// Snapshotter and differ of each entry of `unpack_config`.
pub(crate) fn entries(config: &Config) -> impl Iterator<Item = (&str, &str)> {
    let entries = at(&config.effective, &UNPACK).and_then(toml::Value::as_array).into_iter().flatten();
    entries.map(|entry| {
        let text = |key| entry.get(key).and_then(toml::Value::as_str).unwrap_or_default();
        (text("snapshotter"), text("differ"))
    })
}

/// This machine's, as containerd names it. An entry without one keeps the transfer service from loading.
pub(crate) fn platform() -> String {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    format!("linux/{architecture}")
}
