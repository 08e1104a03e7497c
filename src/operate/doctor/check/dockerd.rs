//! dockerd: which store it has, which containerd, and whom it asks.

use std::path::{Path, PathBuf};

use super::super::code::Code;
use super::super::facts::{DockerFacts, SwarmRole};
use super::super::hole::{Fix, Hole};
use super::super::plugin_name;
use super::super::process::Process;
use super::super::version::Version;
use crate::config::{Dockerd, Engine};
use crate::engines;

/// The first release of each line in which a request with a length of nought reaches the plugin as
/// what it is (CVE-2024-41110).
const EMPTY_BODY: [Version; 4] = [
    Version(23, 0, 15),
    Version(25, 0, 6),
    Version(26, 1, 5),
    Version(27, 1, 1),
];
/// The same of a request that is too long to be handed on (CVE-2026-34040).
const LONG_BODY: Version = Version(29, 3, 1);
/// From this one on dockerd answers gRPC before it asks any plugin (moby,
/// daemon/command/httphandler.go).
const GRPC: Version = Version(29, 2, 0);
/// The features that move images past a door (moby, `initContainerd` and `NewDaemon`).
const EMBEDDED: &str = "embedded-containerd";
const MIGRATION: &str = "containerd-migration";

/// Every hole of one dockerd. `engines` are the containerds that rootpin.toml names.
pub(in super::super) fn dockerd(facts: &DockerFacts, engines: &[PathBuf]) -> Vec<Hole> {
    let name = &facts.docker.name;
    let mut holes: Vec<Hole> = authorization(facts).into_iter().collect();
    let mut is_gated = facts.containerd_store;
    if facts.containerd_store {
        let unknown = containerd(facts, engines);
        is_gated &= unknown.is_none() && facts.containerd.is_some();
        holes.extend(unknown);
    }
    if !facts.authorization.is_empty() {
        holes.extend(unshown_body(facts));
        holes.extend(grpc(facts, is_gated));
    }
    if let Some(role) = facts.swarm {
        let change = match role {
            SwarmRole::Manager => "docker swarm leave --force   # where no swarm is meant",
            SwarmRole::Worker => "docker swarm leave   # where no swarm is meant",
        };
        let hole = Hole::new(
            Code::DockerSwarm,
            name,
            "GET /info says that it is in a swarm",
        )
        .change(change);
        holes.push(hole.weighing(super::open_if(!facts.containerd_store)));
    }
    if facts.features.iter().any(|feature| feature == MIGRATION) {
        let found = format!("feature {MIGRATION:?} is on");
        let hole = Hole::new(Code::DockerMigration, name, found);
        holes.push(without_feature(facts, MIGRATION, hole));
    }
    for warning in facts
        .warnings
        .iter()
        .filter(|warning| warning.contains("is accessible on http"))
    {
        let change = "take -H tcp://… away, or require client certificates: tlsverify";
        holes.push(Hole::new(Code::DockerExposed, name, warning).change(change));
    }
    holes
}

/// Calls that reach the plugin without their body.
fn unshown_body(facts: &DockerFacts) -> Option<Hole> {
    let mut known = Vec::new();
    if has_empty_body(facts.version) {
        known.push("CVE-2024-41110");
    }
    if facts.version < LONG_BODY {
        known.push("CVE-2026-34040");
    }
    if known.is_empty() {
        return None;
    }
    let found = format!(
        "dockerd {}: {}, unless its distribution has mended it",
        facts.version,
        known.join(" and ")
    );
    let change = if facts.containerd_store {
        format!("upgrade dockerd to {LONG_BODY} or later")
    } else {
        // The release that mends it has a worse one.
        format!(
            "rootpin's plugin refuses such calls; have a dockerd below {GRPC} in which they are mended"
        )
    };
    Some(Hole::new(Code::DockerAuthzBypass, &facts.docker.name, found).change(change))
}

/// `BuildKit`, by gRPC on dockerd's own socket. `is_gated`: a gate of ours judges what it unpacks.
fn grpc(facts: &DockerFacts, is_gated: bool) -> Option<Hole> {
    if !facts.answers_grpc.unwrap_or(facts.version >= GRPC) {
        return None;
    }
    let close = "nothing in dockerd's configuration closes it";
    let (holds, change) = if is_gated {
        let change = format!(
            "{close}. To close it: dockerd below {GRPC}, or a proxy before its socket that speaks HTTP/1.1 only"
        );
        (engines::GRPC_GATED, change)
    } else {
        let change = format!(
            "{close}: have a dockerd below {GRPC}, or its images in a containerd of rootpin.toml, whose gate judges each layer; in {}:\n\
             \"features\": {{\"containerd-snapshotter\": true}}",
            facts.config.display()
        );
        ("nobody is asked for what is built so", change)
    };
    let accepted = if facts.docker.accept_grpc {
        "; accepted by `accept-grpc` of rootpin.toml"
    } else {
        ""
    };
    let found = format!(
        "dockerd {}: {}: {holds}{accepted}",
        facts.version,
        engines::GRPC_BYPASS
    );
    let severity = super::open_if(!is_gated && !facts.docker.accept_grpc);
    Some(
        Hole::new(Code::DockerAuthzBypass, &facts.docker.name, found)
            .change(change)
            .weighing(severity),
    )
}

/// How a feature is turned off. dockerd does not start where its command line and its file both
/// name features.
fn without_feature(facts: &DockerFacts, feature: &str, hole: Hole) -> Hole {
    if facts.features_by_flag.iter().any(|given| given == feature) {
        return hole.change(format!(
            "take --feature {feature} out of dockerd's command line, and restart dockerd"
        ));
    }
    let file = facts.config.display();
    hole.change(format!(
        "in {file}:\n\"features\": {{\"{feature}\": false}}"
    ))
    .fix(Fix::Feature(feature.to_owned()))
}

fn has_empty_body(version: Version) -> bool {
    let fixed = EMPTY_BODY.into_iter().find(|fixed| fixed.0 == version.0);
    // 24 got no release with it.
    fixed.map_or(version.0 < 27, |fixed| version < fixed)
}

fn authorization(facts: &DockerFacts) -> Option<Hole> {
    let name = &facts.docker.name;
    let store = if facts.containerd_store {
        "the containerd store"
    } else {
        "a classic store"
    };
    let severity = super::open_if(!facts.containerd_store);
    let Some(socket) = &facts.docker.authz else {
        let found = format!(
            "driver {} ({store}), and rootpin.toml gives this dockerd no authz",
            facts.driver
        );
        // The packaged socket unit holds that of the packaged name.
        let line = format!(
            "authz = \"/run/rootpin/{name}.authz.sock\"   # below [[docker]] {name:?} in rootpin.toml; restart rootpind, then: rootpin install"
        );
        return Some(
            Hole::new(Code::DockerNoAuthz, name, found)
                .change(line)
                .weighing(severity),
        );
    };
    let plugin = plugin_name::to_be(socket);
    if facts.authorization.contains(&plugin) {
        return None;
    }
    let found = format!(
        "driver {} ({store}); it asks {:?}, and not {plugin}",
        facts.driver, facts.authorization
    );
    let mut all = facts.authorization.clone();
    all.push(plugin.clone());
    let hole = Hole::new(Code::DockerNoAuthz, name, found).weighing(severity);
    // Without it dockerd waits for a plugin that it can't find.
    let findable = plugin_name::of(socket).is_some();
    let spec = format!(
        "write this line to {}/{plugin}.spec:\nunix://{}\n",
        plugin_name::SPECS,
        socket.display()
    );
    let spec = if findable { String::new() } else { spec };
    if facts.authorization_by_flag {
        return Some(hole.change(format!("{spec}add --authorization-plugin={plugin} to dockerd's command line, where the others are")));
    }
    let line = format!("\"authorization-plugins\": {}", serde_json::json!(all));
    Some(
        hole.change(format!("{spec}in {}:\n{line}", facts.config.display()))
            .fix(Fix::Authorization(plugin)),
    )
}

/// A socket that dockerd takes for rootpin's plugin though it is another. Where nobody listens,
/// dockerd refuses every call.
pub(in super::super) fn shadowed(docker: &Dockerd, at: &Path, dead: bool) -> Hole {
    let (shown, who) = (at.display(), if dead { "nobody" } else { "somebody else" });
    let found = format!("dockerd takes {shown} for rootpin's plugin, where {who} listens");
    let hole = Hole::new(Code::DockerNoAuthz, &docker.name, found);
    if dead {
        hole.change(format!("rm {shown}\nsystemctl restart docker"))
            .fix(Fix::DeadSocket(at.to_owned()))
    } else {
        hole.change(format!(
            "ss -xlp src {shown}   # end what listens there, then: rm {shown}"
        ))
    }
}

/// The feature counts before `--containerd` does. Of 29.7 dockerd warns of it.
fn is_embedded(facts: &DockerFacts) -> bool {
    facts.features.iter().any(|feature| feature == EMBEDDED)
        || facts
            .warnings
            .iter()
            .any(|warning| warning.contains(EMBEDDED))
}

/// An engine of rootpin.toml that is a part of dockerd: it has no configuration that could name a
/// gate.
pub(in super::super) fn embedded(engine: &Engine, listener: &Process) -> Option<Hole> {
    if listener.name != "dockerd" {
        return None;
    }
    let found = format!(
        "dockerd itself, process {}, listens at {}: no gate can stand in it",
        listener.pid,
        engine.containerd.display()
    );
    let change = format!(
        "take {EMBEDDED:?} out of dockerd's \"features\", and this [[engine]] out of rootpin.toml"
    );
    Some(Hole::new(Code::DockerUnknownContainerd, &engine.name, found).change(change))
}

/// A containerd that is no engine of ours unpacks unasked.
fn containerd(facts: &DockerFacts, engines: &[PathBuf]) -> Option<Hole> {
    let resolved = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if is_embedded(facts) {
        let found = format!(
            "feature {EMBEDDED:?} is on: its containerd is a part of dockerd, in which no gate can stand"
        );
        let hole = Hole::new(Code::DockerUnknownContainerd, &facts.docker.name, found);
        return Some(without_feature(facts, EMBEDDED, hole));
    }
    let theirs = facts.containerd.as_deref()?;
    if engines
        .iter()
        .any(|engine| resolved(engine) == resolved(theirs))
    {
        return None;
    }
    let shown = theirs.display();
    // cmd/dockerd starts its own containerd below its exec root where it finds no other.
    let own = theirs.to_string_lossy().contains("/docker/containerd/")
        || theirs.ends_with("containerd/containerd.sock") && !theirs.starts_with("/run/containerd");
    let change = if own {
        "start the system's containerd, and dockerd with: --containerd=/run/containerd/containerd.sock".to_owned()
    } else {
        format!(
            "name it in rootpin.toml, and run this again:\n{}",
            super::others::engine_lines("dockers-containerd", &shown.to_string())
        )
    };
    Some(
        Hole::new(
            Code::DockerUnknownContainerd,
            &facts.docker.name,
            format!("its containerd is at {shown}"),
        )
        .change(change),
    )
}
