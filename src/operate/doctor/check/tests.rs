//! Every hole from what real engines told: containerd 1.7.24 and 2.1.9 with the packaged drop-ins,
//! and one thing changed.

mod config;
mod cri;
mod dockerd;
mod others;
mod verifier;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::super::code::{Code, HoleSeverity};
use super::super::config_files::{ConfigFile, ConfigFiles};
use super::super::facts::{
    ContainerdFacts, DockerFacts, EngineConfig, PluginFacts, ProgramFolder, Writable,
};
use super::super::hole::{Fix, Hole};
use super::super::process::Process;
use super::super::program::Program;
use super::super::version::Version;
use super::WantedSettings;
use crate::config::{Dockerd, Engine};

fn wanted() -> WantedSettings<'static> {
    WantedSettings {
        deadline: Duration::from_secs(8),
        resolver: false,
        verifier: Path::new("/usr/libexec/rootpin/verifier"),
        program: Path::new("/usr/bin/rootpin-verifier"),
        control: None,
    }
}

/// A containerd in order.
pub(in super::super) fn in_order(version: &str) -> ContainerdFacts {
    let [dump, plugins, drop_in, main] = match version {
        "1.7.24" => [
            include_str!("../../../../tests/data/doctor/1.7.24.dump.toml"),
            include_str!("../../../../tests/data/doctor/1.7.24.plugins.tsv"),
            include_str!("../../../../tests/data/doctor/1.7.24.drop-in.toml"),
            "version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  disable_snapshot_annotations = false\n",
        ],
        _ => [
            include_str!("../../../../tests/data/doctor/2.1.9.dump.toml"),
            include_str!("../../../../tests/data/doctor/2.1.9.plugins.tsv"),
            include_str!("../../../../tests/data/doctor/2.1.9.drop-in.toml"),
            "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n",
        ],
    };
    let config = EngineConfig {
        effective: dump.parse().unwrap(),
        files: files(&[
            ("/etc/containerd/config.toml", main),
            ("/etc/containerd/conf.d/rootpin.toml", drop_in),
        ]),
        refused: None,
        changed: None,
        stray: Vec::new(),
        program: Program::file(Path::new("/usr/bin/containerd")),
        main: "/etc/containerd/config.toml".into(),
    };
    let engine = Engine {
        name: "main".to_owned(),
        containerd: "/run/containerd/containerd.sock".into(),
        gate: "/run/rootpin/containerd.gate.sock".into(),
        apply: "/run/rootpin/containerd.apply.sock".into(),
        nri: None,
    };
    let plugin = |line: &str| {
        let mut fields = line.split('\t').map(str::to_owned);
        let (kind, id, state) = (
            fields.next().unwrap(),
            fields.next().unwrap(),
            fields.next().unwrap(),
        );
        let address = match id.as_str() {
            "rootpin" => Some(engine.gate.display().to_string()),
            "rootpin-apply" => Some(engine.apply.display().to_string()),
            _ => None,
        };
        PluginFacts {
            kind,
            id,
            address,
            error: (state == "error").then_some(state),
        }
    };
    let verifier = ProgramFolder {
        path: "/usr/libexec/rootpin/verifier".into(),
        entries: Some(vec!["rootpin-verifier".to_owned()]),
        writable: None,
        hindrance: None,
    };
    let version = Version::parse(version).unwrap();
    let verifier = (version >= super::super::version::VERIFIER).then_some(verifier);
    ContainerdFacts {
        plugins: plugins.lines().map(plugin).collect(),
        runs: true,
        engine,
        version,
        config: Ok(config),
        refused: None,
        verifier,
    }
}

pub(in super::super) fn files(all: &[(&str, &str)]) -> ConfigFiles {
    let file = |(path, text): &(&str, &str)| ConfigFile {
        path: path.into(),
        text: (*text).to_owned(),
        table: text.parse().unwrap(),
    };
    ConfigFiles {
        files: all.iter().map(file).collect(),
        patterns: Vec::new(),
    }
}

/// A setting in force, and a drop-in that made it so.
pub(in super::super) fn set(
    facts: &mut ContainerdFacts,
    path: &[&str],
    value: impl Into<toml::Value>,
) {
    let value = value.into();
    let config = facts.config.as_mut().unwrap();
    put(&mut config.effective, path, value.clone());
    let mut table = toml::Table::new();
    put(&mut table, path, value);
    let text = toml::to_string(&table).unwrap();
    config.files.files.push(ConfigFile {
        path: "/etc/containerd/conf.d/site.toml".into(),
        text,
        table,
    });
}

fn put(table: &mut toml::Table, path: &[&str], value: toml::Value) {
    let (last, tables) = path.split_last().unwrap();
    let mut inner = table;
    for key in tables {
        inner = inner
            .entry(*key)
            .or_insert_with(|| toml::Table::new().into())
            .as_table_mut()
            .unwrap();
    }
    inner.insert((*last).to_owned(), value);
}

fn config(facts: &mut ContainerdFacts) -> &mut EngineConfig {
    facts.config.as_mut().unwrap()
}

/// The holes of a containerd in order with one thing changed.
fn holes(version: &str, change: impl FnOnce(&mut ContainerdFacts)) -> Vec<Hole> {
    let mut facts = in_order(version);
    change(&mut facts);
    super::containerd(&facts, wanted())
}

/// Its only hole, in a word: `severity code: found`.
fn hole(version: &str, change: impl FnOnce(&mut ContainerdFacts)) -> String {
    let holes = holes(version, change);
    assert!(
        holes
            .iter()
            .all(|hole| !hole.change.is_empty() && hole.engine == "main"),
        "{holes:?}"
    );
    in_words(&holes)
}

/// `severity code: found` of each.
fn in_words(holes: &[Hole]) -> String {
    let words = holes.iter().map(|hole| {
        let (severity, code) = (hole.severity.as_str(), hole.code.as_str());
        format!("{severity} {code}: {}", hole.found)
    });
    words.collect::<Vec<_>>().join("\n")
}

const DIFF: [&str; 3] = [
    "plugins",
    "io.containerd.service.v1.diff-service",
    "default",
];
const UNPACK: [&str; 3] = [
    "plugins",
    "io.containerd.transfer.v1.local",
    "unpack_config",
];
const IMAGES: &str = "io.containerd.cri.v1.images";
const VERIFIERS: &str = "io.containerd.image-verifier.v1.bindir";

fn list(values: &[&str]) -> toml::Value {
    toml::Value::Array(values.iter().map(|value| (*value).into()).collect())
}

#[test]
fn a_containerd_with_the_packaged_drop_in_has_no_hole() {
    for version in ["1.7.24", "2.1.9"] {
        assert_eq!(hole(version, |_| {}), "", "{version}");
    }
}

#[test]
fn a_containerd_as_it_comes_has_every_door_open() {
    for (version, dump, wanted) in [
        (
            "1.7.24",
            include_str!("../../../../tests/data/doctor/1.7.24.default.toml"),
            &["gate-missing", "unpack-config", "cri-annotations"][..],
        ),
        (
            "2.1.9",
            include_str!("../../../../tests/data/doctor/2.1.9.default.toml"),
            &["gate-missing", "verifier-missing", "unpack-config"],
        ),
    ] {
        let found = holes(version, |facts| {
            facts.plugins.retain(|plugin| plugin.address.is_none());
            // Where the plugins were listed, these were off.
            let off = ["btrfs", "zfs", "devmapper", "blockfile"]
                .map(|name| format!("io.containerd.snapshotter.v1.{name}"));
            config(facts).effective = dump.parse().unwrap();
            put(
                &mut config(facts).effective,
                &["disabled_plugins"],
                off.to_vec().into(),
            );
            config(facts).files = files(&[("/etc/containerd/config.toml", dump)]);
            facts.verifier = facts.verifier.take().map(|folder| ProgramFolder {
                entries: None,
                ..folder
            });
        });
        assert_eq!(
            found
                .iter()
                .map(|hole| hole.code.as_str())
                .collect::<Vec<_>>(),
            wanted,
            "{version}"
        );
    }
}

#[test]
fn one_that_would_panic_on_a_diff_plugin_gets_no_drop_in() {
    for version in [Version(1, 6, 20), Version(1, 7, 3)] {
        let found = holes("1.7.24", |facts| facts.version = version);
        assert!(
            matches!(&found[..], [hole] if hole.code == Code::ContainerdTooOld && hole.fix.is_none()),
            "{found:?}"
        );
    }
}

#[test]
fn a_drop_in_that_resets_the_order_of_differs_is_named_with_its_line() {
    for version in ["1.7.24", "2.1.9"] {
        let found = hole(version, |facts| {
            set(facts, &DIFF, list(&["walking", "rootpin"]));
        });
        let wanted = r#"open gate-order: the order is ["walking", "rootpin"], set by /etc/containerd/conf.d/site.toml:2"#;
        assert_eq!(found, wanted, "{version}");
        assert!(
            hole(version, |facts| set(facts, &DIFF, list(&["walking"])))
                .starts_with("open gate-order: ")
        );
        assert!(
            hole(version, |facts| set(facts, &DIFF, list(&[]))).starts_with("open gate-order: ")
        );
    }
}

#[test]
fn a_gate_at_another_engines_socket_is_no_gate() {
    let found = hole("2.1.9", |facts| {
        facts.engine.gate = "/run/rootpin/second.gate.sock".into();
    });
    assert!(
        found.starts_with("open gate-missing: no differ is at /run/rootpin/second.gate.sock"),
        "{found}"
    );
}

#[test]
fn each_entry_that_unpacks_by_another_differ_is_named() {
    for version in ["1.7.24", "2.1.9"] {
        let entry = |snapshotter: &str, differ: &str| -> toml::Value {
            toml::Table::from_iter([
                ("snapshotter".to_owned(), snapshotter.into()),
                ("differ".to_owned(), differ.into()),
            ])
            .into()
        };
        let found = hole(version, |facts| {
            set(
                facts,
                &UNPACK,
                toml::Value::Array(vec![
                    entry("overlayfs", "walking"),
                    entry("native", "rootpin-apply"),
                ]),
            );
        });
        assert_eq!(
            found,
            "open unpack-config: overlayfs is unpacked by differ walking, set by /etc/containerd/conf.d/site.toml:1",
            "{version}"
        );
        let found = hole(version, |facts| {
            set(
                facts,
                &UNPACK,
                toml::Value::Array(vec![entry("overlayfs", "")]),
            );
        });
        assert!(
            found.starts_with("open unpack-config: overlayfs is unpacked by any differ"),
            "{found}"
        );
        let found = hole(version, |facts| set(facts, &UNPACK, list(&[])));
        assert!(
            found.starts_with("open unpack-config: unpack_config is not set"),
            "{found}"
        );
        let found = hole(version, |facts| {
            set(
                facts,
                &UNPACK,
                toml::Value::Array(vec![entry("native", "rootpin-apply")]),
            );
        });
        assert!(
            found.starts_with("weak snapshotter-unlisted: CRI uses overlayfs"),
            "{found}"
        );
    }
}

#[test]
fn a_snapshotter_of_another_process_is_a_hole() {
    let stargz = PluginFacts {
        kind: "io.containerd.snapshotter.v1".to_owned(),
        id: "stargz".to_owned(),
        address: Some("/run/containerd-stargz-grpc/containerd-stargz-grpc.sock".to_owned()),
        error: None,
    };
    assert!(
        hole("2.1.9", |facts| facts.plugins.push(stargz.clone()))
            .starts_with("open remote-snapshotter: snapshotter stargz")
    );
}

#[test]
fn a_program_that_changes_ordinary_layers_is_named_and_one_for_encrypted_layers_is_not() {
    let path = ["stream_processors", "own", "accepts"];
    let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
    let found = hole("2.1.9", |facts| set(facts, &path, list(&[gzip])));
    let wanted = format!(
        "weak stream-processor: own () is given [\"{gzip}\"], set by /etc/containerd/conf.d/site.toml:1"
    );
    assert_eq!(found, wanted);
    assert_eq!(
        hole("2.1.9", |facts| set(
            facts,
            &path,
            list(&["application/vnd.oci.image.layer.v1.tar+encrypted"])
        )),
        ""
    );
}

#[test]
fn what_containerd_should_not_start_without_is_listed() {
    let found = hole("1.7.24", |facts| {
        set(
            facts,
            &["required_plugins"],
            list(&["io.containerd.differ.v1.rootpin"]),
        );
    });
    assert!(
        found.starts_with(
            "weak required-plugins: it lacks [\"io.containerd.differ.v1.rootpin-apply\""
        ),
        "{found}"
    );
    assert!(!found.contains("verifier"), "{found}");
    let found = hole("2.1.9", |facts| {
        set(facts, &["required_plugins"], list(&[]));
    });
    assert!(found.contains("image-verifier"), "{found}");
}

#[test]
fn a_plugin_that_did_not_load_is_named_with_its_error() {
    let found = hole("2.1.9", |facts| {
        let transfer = facts
            .plugins
            .iter_mut()
            .find(|plugin| plugin.kind == "io.containerd.transfer.v1")
            .unwrap();
        transfer.error = Some("no matching diff plugins".to_owned());
    });
    assert_eq!(
        found,
        "weak plugin-error: io.containerd.transfer.v1.local: no matching diff plugins"
    );
}
