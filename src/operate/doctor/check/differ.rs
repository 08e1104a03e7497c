//! The gate: a differ that is asked first.

use super::super::code::Code;
use super::super::config_files::at;
use super::super::facts::{ContainerdFacts, EngineConfig};
use super::super::hole::{Fix, Hole};

const ORDER: [&str; 3] = [
    "plugins",
    "io.containerd.service.v1.diff-service",
    "default",
];

/// Whether containerd has the gate at all; and snapshotters that need no differ.
pub(super) fn gate(facts: &ContainerdFacts) -> Vec<Hole> {
    let name = &facts.engine.name;
    let mut holes = Vec::new();
    let gate = &facts.engine.gate;
    if facts.differs_at(gate).is_empty() {
        let lines = format!(
            "[proxy_plugins.rootpin]\n  type = \"diff\"\n  address = \"{}\"",
            gate.display()
        );
        let found = format!("no differ is at {}", gate.display());
        holes.push(
            Hole::new(Code::GateMissing, name, found)
                .change(lines)
                .fix(Fix::DropIn),
        );
    }
    for plugin in facts
        .plugins
        .iter()
        .filter(|plugin| plugin.kind == "io.containerd.snapshotter.v1")
    {
        if let Some(address) = &plugin.address {
            let found = format!("snapshotter {} is at {address}", plugin.id);
            let change = format!(
                "take [proxy_plugins.{}] out of containerd's configuration; or keep it and know that only the verifier is asked",
                plugin.id
            );
            holes.push(Hole::new(Code::RemoteSnapshotter, name, found).change(change));
        }
    }
    holes
}

/// Whether it comes first.
pub(super) fn order(facts: &ContainerdFacts, config: &EngineConfig) -> Option<Hole> {
    let gates = facts.differs_at(&facts.engine.gate);
    let order = differs(config);
    if gates.is_empty() || order.first().is_some_and(|first| gates.contains(first)) {
        return None;
    }
    let found = format!("the order is {order:?}, {}", config.files.setter(&ORDER));
    let lines = format!(
        "[plugins.\"{}\"]\n  default = {:?}",
        ORDER[1],
        wanted_order(config, &gates)
    );
    Some(
        Hole::new(Code::GateOrder, &facts.engine.name, found)
            .change(lines)
            .fix(Fix::DropIn),
    )
}

/// The differs of the diff-service.
pub(crate) fn differs(config: &EngineConfig) -> Vec<&str> {
    let order = at(&config.effective, &ORDER).and_then(toml::Value::as_array);
    order
        .into_iter()
        .flatten()
        .filter_map(toml::Value::as_str)
        .collect()
}

/// The gate, and then all others in the order in which they are.
fn wanted_order<'a>(config: &'a EngineConfig, gates: &[&'a str]) -> Vec<&'a str> {
    let others = differs(config)
        .into_iter()
        .filter(|differ| !gates.contains(differ));
    gates.iter().take(1).copied().chain(others).collect()
}
