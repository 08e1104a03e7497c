//! The `unpack_config` of containerd's transfer service.

use super::config_files::at;
use super::facts::EngineConfig;

/// Where it is in the configuration.
pub(super) const UNPACK: [&str; 3] = [
    "plugins",
    "io.containerd.transfer.v1.local",
    "unpack_config",
];

/// One entry of `unpack_config`.
#[derive(Debug, Clone, Copy)]
pub(super) struct UnpackEntry<'a> {
    pub(super) snapshotter: &'a str,
    pub(super) differ: &'a str,
    /// Whether containerd passes over it where its snapshotter or differ is not there.
    pub(super) optional: bool,
    /// All that it says.
    pub(super) table: &'a toml::Table,
}

/// The entries of `unpack_config` that are in force, where somebody set any.
pub(super) fn entries(config: &EngineConfig) -> Vec<UnpackEntry<'_>> {
    let entries = at(&config.effective, &UNPACK)
        .and_then(toml::Value::as_array)
        .into_iter()
        .flatten();
    entries
        .filter_map(toml::Value::as_table)
        .map(UnpackEntry::of)
        .collect()
}

impl<'a> UnpackEntry<'a> {
    fn of(table: &'a toml::Table) -> Self {
        let text = |key| {
            table
                .get(key)
                .and_then(toml::Value::as_str)
                .unwrap_or_default()
        };
        let optional = table.get("optional").and_then(toml::Value::as_bool) == Some(true);
        Self {
            snapshotter: text("snapshotter"),
            differ: text("differ"),
            optional,
            table,
        }
    }
}
