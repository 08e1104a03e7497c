//! The settings that a containerd must have, by the names that its own dump has for them. A drop-in
//! is made of these, and what containerd then makes of the drop-in is compared with them.

use std::path::Path;

use toml::{Table, Value};

use super::super::check::{SETTINGS, SHARED, differs, one_folder, platform};
use super::super::config_files::at;
use super::super::facts::{ContainerdFacts, EngineConfig};
use super::super::unpack_config::{UnpackEntry, entries};
use super::super::version::{VERIFIER, Version};
use super::Tools;
use crate::problem::Problem;

pub(super) const REQUIRED: &str = "required_plugins";
pub(super) const PROXIES: &str = "proxy_plugins";
pub(super) const DIFF: &str = "io.containerd.service.v1.diff-service";
pub(super) const TRANSFER: &str = "io.containerd.transfer.v1.local";
pub(super) const VERIFIERS: &str = "io.containerd.image-verifier.v1.bindir";
pub(super) const IMAGES: &str = "io.containerd.cri.v1.images";
pub(super) const NRI: &str = "io.containerd.nri.v1.nri";
/// Where 1.x, and version 2 of the configuration, have CRI's settings.
pub(super) const CRI: &str = "io.containerd.grpc.v1.cri";

pub(super) const GATE: &str = "rootpin";
pub(super) const APPLY: &str = "rootpin-apply";
/// From this one on NRI has a validator of its own.
const VALIDATOR: Version = Version(2, 2, 0);
/// From this one on containerd unpacks EROFS layers, if nobody says otherwise.
pub(super) const EROFS: Version = Version(2, 3, 0);

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    /// As `plugins`, the plugin's full name, the key.
    pub(super) path: Vec<String>,
    pub(super) value: Value,
}

/// All of them.
///
/// # Errors
/// One of them would lose what is in force, and nothing but a person can mend that.
pub(super) fn settings(
    facts: &ContainerdFacts,
    config: &EngineConfig,
    tools: &Tools,
) -> Result<Vec<Setting>, Problem> {
    let mut all = Vec::new();
    let mut set = |path: &[&str], value: Value| {
        all.push(Setting {
            path: path.iter().map(|key| (*key).to_owned()).collect(),
            value,
        });
    };
    let two = facts.version >= VERIFIER;
    let required = [
        "io.containerd.differ.v1.rootpin",
        "io.containerd.differ.v1.rootpin-apply",
        DIFF,
    ]
    .into_iter();
    let required = required.chain(two.then_some(VERIFIERS)).chain([TRANSFER]);
    set(&[REQUIRED], list(required));
    for (name, socket) in [(GATE, &facts.engine.gate), (APPLY, &facts.engine.apply)] {
        set(&[PROXIES, name, "type"], "diff".into());
        set(
            &[PROXIES, name, "address"],
            socket.display().to_string().into(),
        );
    }
    let unpack = unpack(facts, config);
    set(
        &["plugins", DIFF, "default"],
        list(order(facts, config, &unpack).iter().map(String::as_str)),
    );
    set(
        &["plugins", TRANSFER, "unpack_config"],
        Value::Array(unpack.into_iter().map(Value::Table).collect()),
    );
    if two {
        let own = facts
            .verifier
            .as_ref()
            .map(|folder| folder.path.as_path())
            .filter(|path| *path != Path::new(SHARED));
        set(
            &["plugins", VERIFIERS, "bin_dir"],
            own.unwrap_or(&tools.folder).display().to_string().into(),
        );
        set(&["plugins", VERIFIERS, "max_verifiers"], (-1).into());
        let seconds = tools.deadline.as_secs().saturating_add(2).max(10);
        set(
            &["plugins", VERIFIERS, "per_verifier_timeout"],
            format!("{seconds}s").into(),
        );
    }
    if two && at(&config.effective, &["plugins", IMAGES]).is_some() {
        cri(facts, config, &mut set)?;
    }
    if facts.engine.nri.is_some() && at(&config.effective, &["plugins", NRI]).is_some() {
        set(&["plugins", NRI, "disable"], false.into());
        validator(facts, config, &mut set);
    }
    Ok(all)
}

/// From 2.2 on containerd can be had to make no container while the plugin is away.
fn validator(facts: &ContainerdFacts, config: &EngineConfig, set: &mut impl FnMut(&[&str], Value)) {
    let path = |key| ["plugins", NRI, "default_validator", key];
    if facts.version < VALIDATOR {
        return;
    }
    let required = at(&config.effective, &path(REQUIRED)).and_then(Value::as_array);
    let others = required
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .filter(|name| *name != GATE);
    let names = list(others.chain([GATE]));
    set(&path("enable"), true.into());
    set(&path(REQUIRED), names);
}

/// The image of CRI's sandboxes, as a policy has its name.
pub(super) fn sandbox(config: &EngineConfig) -> Option<String> {
    if config.disabled(CRI).is_some() || config.disabled(IMAGES).is_some() {
        return None;
    }
    let places: [&[&str]; 2] = [
        &["plugins", IMAGES, "pinned_images", "sandbox"],
        &["plugins", CRI, "sandbox_image"],
    ];
    let name = places
        .iter()
        .find_map(|path| at(&config.effective, path)?.as_str())?;
    (!name.is_empty()).then(|| name.to_owned())
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> Value {
    Value::Array(names.map(Value::from).collect())
}

/// CRI of 2.x: from 2.1 on it pulls by the transfer service, unless one of several settings is
/// another than its default.
fn cri(
    facts: &ContainerdFacts,
    config: &EngineConfig,
    set: &mut impl FnMut(&[&str], Value),
) -> Result<(), Problem> {
    let now = |key: &str| at(&config.effective, &["plugins", IMAGES, key]);
    if !facts.cri_may_transfer() {
        // It doesn't: the gate guards it, and the annotations tell it the name.
        set(
            &["plugins", IMAGES, "disable_snapshot_annotations"],
            false.into(),
        );
        return Ok(());
    }
    for (key, off) in SETTINGS {
        if now(key).is_some() {
            set(&["plugins", IMAGES, key], off.value());
        }
    }
    // The transfer service has the same setting, which then counts for CRI.
    let most = |plugin| {
        at(
            &config.effective,
            &["plugins", plugin, "max_concurrent_downloads"],
        )
        .filter(|most| most.as_integer() != Some(3))
    };
    if let (Some(most), None) = (most(IMAGES), most(TRANSFER)) {
        set(
            &["plugins", TRANSFER, "max_concurrent_downloads"],
            most.clone(),
        );
    }
    let lazy = now("disable_snapshot_annotations").and_then(Value::as_bool) == Some(false);
    for name in facts
        .cri()
        .map(|cri| cri.snapshotters())
        .unwrap_or_default()
    {
        // What a remote snapshotter was told by annotations, the transfer service tells it by this.
        if lazy && at(&config.effective, &[PROXIES, name]).is_some() {
            set(
                &[
                    PROXIES,
                    name,
                    "exports",
                    "enable_remote_snapshot_annotations",
                ],
                "true".into(),
            );
        }
    }
    if let Some(folder) = now("registry")
        .and_then(|registry| registry.get("config_path")?.as_str())
        .filter(|list| list.contains(':'))
    {
        // By itself CRI reads each folder of the list, and by the transfer service none.
        let by_itself = SETTINGS
            .into_iter()
            .any(|(key, off)| now(key).is_some_and(|now| *now != off.value()));
        match one_folder(folder) {
            Ok(folder) => set(
                &["plugins", IMAGES, "registry", "config_path"],
                folder.into(),
            ),
            Err(why) if by_itself => return Err(why),
            Err(_) => {}
        }
    }
    Ok(())
}

/// The gate, and then all others in the order in which they are.
fn order(facts: &ContainerdFacts, config: &EngineConfig, unpack: &[Table]) -> Vec<String> {
    let known: Vec<&str> = facts
        .differs_at(&facts.engine.gate)
        .into_iter()
        .chain(facts.differs_at(&facts.engine.apply))
        .chain([GATE, APPLY])
        .collect();
    let mut others: Vec<&str> = differs(config)
        .into_iter()
        .filter(|differ| !known.contains(differ))
        .collect();
    if others.is_empty() {
        others.push("walking");
    }
    // What the transfer service unpacked by another differ, the gate has unpacked by the
    // diff-service.
    for UnpackEntry {
        snapshotter,
        differ,
        ..
    } in entries(config)
    {
        let unpacked = unpack
            .iter()
            .any(|entry| entry.get("snapshotter").and_then(Value::as_str) == Some(snapshotter));
        if unpacked
            && !known.contains(&differ)
            && !others.contains(&differ)
            && facts.works(&format!("io.containerd.differ.v1.{differ}"))
        {
            others.insert(0, differ);
        }
    }
    [GATE]
        .into_iter()
        .chain(others)
        .map(str::to_owned)
        .collect()
}

/// The entries that are in force, unpacking by the gate, and one for every other snapshotter that
/// works and is in use or one of containerd's usual two. From 2.3 on an entry may be optional, and
/// one of any other snapshotter is: without that a pool that fails keeps containerd from starting.
fn unpack(facts: &ContainerdFacts, config: &EngineConfig) -> Vec<Table> {
    const USUAL: [&str; 2] = ["overlayfs", "native"];
    let works = |name: &str| facts.will_have(config, name);
    let may_lack = facts.version >= EROFS;
    let disabled = |name: &str| {
        config
            .disabled(&format!("io.containerd.snapshotter.v1.{name}"))
            .is_some()
    };
    let optional = |table: &mut Table, name: &str| {
        if may_lack && (!USUAL.contains(&name) || !works(name)) {
            table.insert("optional".to_owned(), true.into());
        }
    };
    let entry = |platform: String, snapshotter: &str| {
        let mut table = Table::from_iter(
            [
                ("platform", platform),
                ("snapshotter", snapshotter.to_owned()),
                ("differ", APPLY.to_owned()),
            ]
            .map(|(key, value)| (key.to_owned(), value.into())),
        );
        optional(&mut table, snapshotter);
        table
    };
    let set = entries(config);
    let mut all: Vec<Table> = Vec::new();
    for known in set
        .iter()
        .filter(|entry| entry.optional || may_lack || works(entry.snapshotter))
    {
        let mut table = known.table.clone();
        table.insert("differ".to_owned(), APPLY.into());
        optional(&mut table, known.snapshotter);
        all.push(table);
    }
    let used = facts
        .cri()
        .map(|cri| cri.snapshotters())
        .unwrap_or_default();
    let is_wanted =
        |name: &str| works(name) || may_lack && !USUAL.contains(&name) && !disabled(name);
    for name in USUAL.into_iter().chain(used) {
        let listed = all
            .iter()
            .any(|entry| entry.get("snapshotter").and_then(Value::as_str) == Some(name));
        if !listed && is_wanted(name) {
            all.push(entry(platform(), name));
        }
    }
    if set.is_empty() && may_lack {
        // plugins/transfer: what it has where nobody sets anything.
        all.push(entry(
            platform().replacen("linux", "linux(+erofs)", 1),
            "erofs",
        ));
    }
    all
}
