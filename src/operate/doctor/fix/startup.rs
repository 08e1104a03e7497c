//! What containerd checks only when it starts (`New` of cmd/containerd/server/server.go, and the
//! plugins that rootpin has it require). A dump shows none of it, so it is computed here.

use std::collections::BTreeSet;

use toml::Value;

use super::super::config_files::at;
use super::super::facts::{ContainerdFacts, DISABLED, EngineConfig};
use super::super::unpack_config::entries;
use super::settings::{DIFF, EROFS, NRI, PROXIES, REQUIRED, Setting, TRANSFER};
use crate::problem::Problem;

const DIFFER: &str = "io.containerd.differ.v1";
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1";
/// What the transfer service does not load without (plugins/transfer/plugin.go).
const NEEDED: [&str; 2] = [
    "io.containerd.lease.v1.manager",
    "io.containerd.metadata.v1.bolt",
];

/// Whether containerd would start with these settings in force.
///
/// # Errors
/// A plugin that it would then need is disabled, or is none that it loads for sure.
pub(super) fn check(
    facts: &ContainerdFacts,
    config: &EngineConfig,
    settings: &[Setting],
) -> Result<(), Problem> {
    no_disabled(facts, config, settings)?;
    differs(facts, config, settings)?;
    snapshotters(facts, config)
}

/// The value that a setting gives a key.
fn value<'a>(settings: &'a [Setting], path: &[&str]) -> impl Iterator<Item = &'a Value> {
    settings
        .iter()
        .find(|setting| {
            setting
                .path
                .iter()
                .map(String::as_str)
                .eq(path.iter().copied())
        })
        .and_then(|setting| setting.value.as_array())
        .into_iter()
        .flatten()
}

/// containerd does not start where a plugin that it requires, or one that such a plugin needs, is
/// disabled.
fn no_disabled(
    facts: &ContainerdFacts,
    config: &EngineConfig,
    settings: &[Setting],
) -> Result<(), Problem> {
    let required = value(settings, &[REQUIRED])
        .filter_map(Value::as_str)
        .map(str::to_owned);
    let order = value(settings, &["plugins", DIFF, "default"])
        .filter_map(Value::as_str)
        .map(|name| format!("{DIFFER}.{name}"));
    let unpack = value(settings, &["plugins", TRANSFER, "unpack_config"])
        .filter(|entry| entry.get("optional").and_then(Value::as_bool) != Some(true))
        .filter_map(|entry| entry.get("snapshotter")?.as_str())
        .map(|name| format!("{SNAPSHOTTER}.{name}"));
    // Without NRI no door asks before a container is made.
    let nri = facts.engine.nri.is_some().then(|| NRI.to_owned());
    let needed = NEEDED.map(str::to_owned).into_iter();
    let all: BTreeSet<String> = required
        .chain(order)
        .chain(unpack)
        .chain(nri)
        .chain(needed)
        .collect();
    for plugin in &all {
        let Some(entry) = config.disabled(plugin) else {
            continue;
        };
        let files = config.files.who_lists(DISABLED, entry);
        let place = if files.is_empty() {
            config.main.display().to_string()
        } else {
            files.join(" and ")
        };
        let why = if plugin == NRI {
            "no door is asked before a container is made"
        } else {
            "containerd would not start once rootpin's settings require it"
        };
        return Err(Problem::hinted(
            format!("nothing is written: {place} disables {plugin}, and then {why}"),
            format!("take \"{entry}\" out of {DISABLED} in {place}, and run this again"),
        ));
    }
    Ok(())
}

/// The diff-service does not load where its order names a differ that is not loaded
/// (plugins/services/diff/local.go).
fn differs(
    facts: &ContainerdFacts,
    config: &EngineConfig,
    settings: &[Setting],
) -> Result<(), Problem> {
    let is_sure = |name: &&str| {
        let is_ours = settings
            .iter()
            .any(|setting| setting.path.iter().take(2).eq([PROXIES, *name]));
        is_ours || is_proxy(config, name) || facts.works(&format!("{DIFFER}.{name}"))
    };
    let mut order = value(settings, &["plugins", DIFF, "default"]).filter_map(Value::as_str);
    let Some(name) = order.find(|name| !is_sure(name)) else {
        return Ok(());
    };
    let setter = config.files.setter(&["plugins", DIFF, "default"]);
    Err(Problem::hinted(
        format!(
            "nothing is written: the order of differs ({setter}) has {name}, which {}, and containerd would not start without it once rootpin's settings require the diff-service",
            unsure(facts)
        ),
        format!(
            "{}take \"{name}\" out of that list, and run this again",
            or_start(facts)
        ),
    ))
}

/// The transfer service does not load where an entry of `unpack_config` that is not optional names
/// a snapshotter that is not loaded; before 2.3 no entry is optional.
fn snapshotters(facts: &ContainerdFacts, config: &EngineConfig) -> Result<(), Problem> {
    if facts.runs || facts.version >= EROFS {
        return Ok(());
    }
    let cri = facts.cri_may_transfer().then(|| facts.cri()).flatten();
    let main = cri.and_then(|cri| cri.get("snapshotter")?.as_str());
    let listed = entries(config)
        .into_iter()
        .filter(|entry| !entry.optional)
        .map(|entry| entry.snapshotter);
    let Some(name) = listed
        .chain(main)
        .find(|name| !name.is_empty() && !facts.will_have(config, name))
    else {
        return Ok(());
    };
    Err(Problem::hinted(
        format!(
            "nothing is written: {name} is a snapshotter that pulls need, but {}, and containerd would not start without it once unpack_config names it",
            unsure(facts)
        ),
        "start containerd, and run this again; or upgrade it to 2.3, where such an entry is optional",
    ))
}

/// Snapshotters of single runtimes that `unpack_config` can't name yet: CRI's pulls for them are
/// refused until it does.
pub(super) fn unlisted(facts: &ContainerdFacts, config: &EngineConfig) -> Option<Problem> {
    if facts.runs || facts.version >= EROFS || !facts.cri_may_transfer() {
        return None;
    }
    let names: Vec<&str> = facts
        .cri()?
        .snapshotters()
        .into_iter()
        .filter(|name| !facts.will_have(config, name))
        .collect();
    (!names.is_empty()).then(|| {
        Problem::hinted(
            format!(
                "pulls for the snapshotter {} stay refused: {}, and containerd would not start if unpack_config named one that it lacks",
                names.join(", "),
                unsure(facts)
            ),
            "start containerd, then run rootpin doctor --fix",
        )
    })
}

fn is_proxy(config: &EngineConfig, name: &str) -> bool {
    at(&config.effective, &[PROXIES, name]).is_some()
}

fn unsure(facts: &ContainerdFacts) -> &'static str {
    if facts.runs {
        "this containerd did not load"
    } else {
        "whether this containerd loads it is known only when it runs"
    }
}

fn or_start(facts: &ContainerdFacts) -> &'static str {
    if facts.runs {
        ""
    } else {
        "start containerd, or "
    }
}
