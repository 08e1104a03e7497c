//! CRI: whether it pulls by the transfer service, and what it tells the doors.

use super::super::code::{Code, HoleSeverity};
use super::super::config_files::at;
use super::super::facts::{ContainerdFacts, Cri, EngineConfig};
use super::super::hole::{Fix, Hole};
use super::super::version::Version;

const IMAGES: &str = "io.containerd.cri.v1.images";
const NRI: &str = "io.containerd.nri.v1.nri";

/// Settings that make CRI of 2.1 and later pull by itself, with the value that doesn't
/// (`CheckLocalImagePullConfigs` in internal/cri/config/config.go).
pub(crate) const SETTINGS: [(&str, Off); 5] = [
    ("use_local_image_pull", Off::False),
    ("disable_snapshot_annotations", Off::True),
    ("discard_unpacked_layers", Off::False),
    ("max_concurrent_downloads", Off::Three),
    ("image_pull_with_sync_fs", Off::False),
];
/// The same for tables, which no drop-in can empty.
const TABLES: [&str; 3] = ["registry.mirrors", "registry.configs", "registry.auths"];

/// A value that keeps CRI at the transfer service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Off {
    /// `false`
    False,
    /// `true`
    True,
    /// `3`
    Three,
}

impl Off {
    /// The value.
    pub(crate) fn value(self) -> toml::Value {
        match self {
            Self::False => false.into(),
            Self::True => true.into(),
            Self::Three => 3.into(),
        }
    }
}

pub(super) fn cri(
    facts: &ContainerdFacts,
    config: &EngineConfig,
    cri: &Cri<'_>,
    resolver: bool,
) -> Vec<Hole> {
    let name = &facts.engine.name;
    if !facts.cri_may_transfer() {
        return annotations(facts, config, cri).into_iter().collect();
    }
    let (mut holes, images) = (Vec::new(), config.section(IMAGES));
    for (key, off) in SETTINGS {
        if let Some(value) = cri.get(key).filter(|value| **value != off.value()) {
            let found = format!("{key} = {value}, {}", config.files.setter(&cri.path(key)));
            let lines = format!("[plugins.'{images}']\n  {key} = {}", off.value());
            holes.push(
                Hole::new(Code::CriLocalPull, name, found)
                    .change(lines)
                    .fix(Fix::DropIn),
            );
        }
    }
    for key in TABLES {
        if cri
            .get(key)
            .and_then(toml::Value::as_table)
            .is_some_and(|table| !table.is_empty())
        {
            let found = format!(
                "{key} is not empty, {}",
                config.files.setter(&cri.path(key))
            );
            let change = format!(
                "take {key} out of that file, and say the same by hosts.toml in config_path (docs/doctor.md)"
            );
            holes.push(Hole::new(Code::CriLocalPull, name, found).change(change));
        }
    }
    if holes.is_empty()
        && let Some(list) = cri
            .get("registry.config_path")
            .and_then(toml::Value::as_str)
            .filter(|path| path.contains(':'))
    {
        let found = format!(
            "config_path = {list:?}, {}",
            config.files.setter(&cri.path("registry.config_path"))
        );
        let hole = Hole::new(Code::CriConfigPathList, name, found);
        let hole = match super::one_folder(list) {
            Ok(folder) => hole
                .change(format!(
                    "[plugins.'{images}'.registry]\n  config_path = \"{folder}\""
                ))
                .fix(Fix::DropIn),
            Err(why) => hole.change(why.to_string()),
        };
        holes.push(hole.weighing(super::open_if(resolver)));
    }
    holes
}

/// Before 2.1 CRI always asks the gate, and tells it the name if it is let.
fn annotations(facts: &ContainerdFacts, config: &EngineConfig, cri: &Cri<'_>) -> Option<Hole> {
    if !cri.is("disable_snapshot_annotations") {
        return None;
    }
    let path = cri.path("disable_snapshot_annotations");
    let found = format!(
        "disable_snapshot_annotations = true, {}",
        config.files.setter(&path)
    );
    let (section, fix) = if facts.version < Version(2, 0, 0) {
        (
            "[plugins.\"io.containerd.grpc.v1.cri\".containerd]".to_owned(),
            Fix::CriAnnotations,
        )
    } else {
        (
            format!("[plugins.'{}']", config.section(IMAGES)),
            Fix::DropIn,
        )
    };
    let lines = format!("{section}\n  disable_snapshot_annotations = false");
    Some(
        Hole::new(Code::CriAnnotations, &facts.engine.name, found)
            .change(lines)
            .fix(fix),
    )
}

/// The run-time door, where rootpin.toml wants one.
pub(super) fn nri(facts: &ContainerdFacts, config: &EngineConfig) -> Vec<Hole> {
    let Some(socket) = &facts.engine.nri else {
        return Vec::new();
    };
    let name = &facts.engine.name;
    let setting = |key| at(&config.effective, &["plugins", NRI, key]);
    let off = !facts.works(NRI) || setting("disable").and_then(toml::Value::as_bool) == Some(true);
    let other = setting("socket_path")
        .and_then(toml::Value::as_str)
        .filter(|path| !same_file(path, socket));
    let lines = |line: &str| format!("[plugins.\"{NRI}\"]\n  {line}");
    if off {
        let found = format!(
            "disable = true, {}",
            config.files.setter(&["plugins", NRI, "disable"])
        );
        return vec![
            Hole::new(Code::NriOff, name, found)
                .change(lines("disable = false"))
                .fix(Fix::DropIn),
        ];
    }
    if let Some(other) = other {
        let found = format!(
            "socket_path is {other:?}, and rootpin.toml names {}",
            socket.display()
        );
        return vec![
            Hole::new(Code::NriOff, name, found).change(format!("nri = {other:?} in rootpin.toml")),
        ];
    }
    if setting("disable_connections").and_then(toml::Value::as_bool) == Some(true) {
        let found = format!(
            "disable_connections = true, {}",
            config
                .files
                .setter(&["plugins", NRI, "disable_connections"])
        );
        return vec![
            Hole::new(Code::NriOff, name, found).change(lines("disable_connections = false")),
        ];
    }
    if facts.version < Version(2, 2, 0) {
        let found = format!("containerd {} can't require an NRI plugin", facts.version);
        return vec![
            Hole::new(Code::NriFailsOpen, name, found).change("upgrade containerd to 2.2 or later"),
        ];
    }
    validator(config)
        .into_iter()
        .map(|(found, change, fix)| Hole {
            fix,
            ..Hole::new(Code::NriFailsOpen, name, found)
                .change(change)
                .weighing(HoleSeverity::Weak)
        })
        .collect()
}

/// What lets containers be made without the plugin, and the lines that end it (containerd/nri,
/// plugins/default-validator). That pods may excuse themselves is somebody's wish, and is not taken
/// back without a person.
fn validator(config: &EngineConfig) -> Vec<(String, String, Option<Fix>)> {
    const TOLERATE: &str = "tolerate_missing_plugins_annotation";
    let path = |key| ["plugins", NRI, "default_validator", key];
    let setting = |key| at(&config.effective, &path(key));
    let required = setting("required_plugins").and_then(toml::Value::as_array);
    let ours =
        required.is_some_and(|names| names.iter().any(|name| name.as_str() == Some("rootpin")));
    let enabled = setting("enable").and_then(toml::Value::as_bool) == Some(true);
    let section = format!("[plugins.'{NRI}'.default_validator]");
    let mut found = Vec::new();
    if !ours || !enabled {
        let mut names: Vec<&str> = required
            .into_iter()
            .flatten()
            .filter_map(toml::Value::as_str)
            .collect();
        names.extend((!ours).then_some("rootpin"));
        let what = if ours {
            "default_validator is not enabled"
        } else {
            "default_validator does not require rootpin"
        };
        found.push((
            what.to_owned(),
            format!(
                "{section}\n  enable = true\n  required_plugins = {}",
                serde_json::json!(names)
            ),
            Some(Fix::DropIn),
        ));
    }
    if let Some(annotation) = setting(TOLERATE)
        .and_then(toml::Value::as_str)
        .filter(|annotation| !annotation.is_empty())
    {
        let setter = config.files.setter(&path(TOLERATE));
        let what = format!(
            "{TOLERATE} = {annotation:?}, {setter}: a pod with that annotation does without rootpin"
        );
        found.push((what, format!("{section}\n  {TOLERATE} = \"\""), None));
    }
    found
}

/// /var/run is /run on most hosts.
fn same_file(one: &str, other: &std::path::Path) -> bool {
    let short = |path: &str| {
        path.strip_prefix("/var/run/")
            .map_or(path.to_owned(), |rest| format!("/run/{rest}"))
    };
    short(one) == short(&other.to_string_lossy())
}
