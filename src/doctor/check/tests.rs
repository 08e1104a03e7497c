//! Every hole from what real engines told: containerd 1.7.24 and 2.1.9 with the packaged drop-ins,
//! and one thing changed.

mod dockerd;
mod others;

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::super::code::{Code, Severity};
use super::super::config_files::{ConfigFile, ConfigFiles};
use super::super::facts::{Config, Containerd, Docker, Folder, Plugin, Process};
use super::super::hole::{Fix, Hole};
use super::super::program::Program;
use super::super::version::Version;
use super::Wanted;
use crate::config::{Dockerd, Engine};

fn wanted() -> Wanted<'static> {
    Wanted {
        deadline: Duration::from_secs(8),
        resolver: false,
        verifier: Path::new("/usr/libexec/rootpin/verifier"),
        program: Path::new("/usr/bin/rootpin-verifier"),
        control: None,
    }
}

/// A containerd in order.
pub(in super::super) fn in_order(version: &str) -> Containerd {
    let [dump, plugins, drop_in, main] = match version {
        "1.7.24" => [
            include_str!("../../../tests/data/doctor/1.7.24.dump.toml"),
            include_str!("../../../tests/data/doctor/1.7.24.plugins.tsv"),
            include_str!("../../../tests/data/doctor/1.7.24.drop-in.toml"),
            "version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  disable_snapshot_annotations = false\n",
        ],
        _ => [
            include_str!("../../../tests/data/doctor/2.1.9.dump.toml"),
            include_str!("../../../tests/data/doctor/2.1.9.plugins.tsv"),
            include_str!("../../../tests/data/doctor/2.1.9.drop-in.toml"),
            "version = 3\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n",
        ],
    };
    let config = Config {
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
        Plugin {
            kind,
            id,
            address,
            error: (state == "error").then_some(state),
        }
    };
    let verifier = Folder {
        path: "/usr/libexec/rootpin/verifier".into(),
        entries: Some(vec!["rootpin-verifier".to_owned()]),
        writable: None,
    };
    let version = Version::parse(version).unwrap();
    let verifier = (version >= super::VERIFIER).then_some(verifier);
    Containerd {
        plugins: plugins.lines().map(plugin).collect(),
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
pub(in super::super) fn set(facts: &mut Containerd, path: &[&str], value: impl Into<toml::Value>) {
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

fn config(facts: &mut Containerd) -> &mut Config {
    facts.config.as_mut().unwrap()
}

/// The holes of a containerd in order with one thing changed.
fn holes(version: &str, change: impl FnOnce(&mut Containerd)) -> Vec<Hole> {
    let mut facts = in_order(version);
    change(&mut facts);
    super::containerd(&facts, wanted())
}

/// Its only hole, in a word: `severity code: found`.
fn hole(version: &str, change: impl FnOnce(&mut Containerd)) -> String {
    let holes = holes(version, change);
    let words: Vec<_> = holes
        .iter()
        .map(|hole| {
            format!(
                "{} {}: {}",
                hole.severity.as_str(),
                hole.code.as_str(),
                hole.found
            )
        })
        .collect();
    assert!(
        holes
            .iter()
            .all(|hole| !hole.change.is_empty() && hole.engine == "main"),
        "{holes:?}"
    );
    words.join("\n")
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
            include_str!("../../../tests/data/doctor/1.7.24.default.toml"),
            &["gate-missing", "unpack-config", "cri-annotations"][..],
        ),
        (
            "2.1.9",
            include_str!("../../../tests/data/doctor/2.1.9.default.toml"),
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
            facts.verifier = facts.verifier.take().map(|folder| Folder {
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
    let stargz = Plugin {
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

#[test]
fn each_way_to_pass_the_verifier_by_is_a_hole() {
    let folder = |entries: Option<&[&str]>| Folder {
        path: "/v".into(),
        entries: entries.map(|entries| entries.iter().map(|entry| (*entry).to_owned()).collect()),
        writable: None,
    };
    let with = |folder: Folder| hole("2.1.9", |facts| facts.verifier = Some(folder));
    assert_eq!(
        with(folder(None)),
        "open verifier-missing: /v does not exist"
    );
    assert_eq!(with(folder(Some(&[]))), "open verifier-empty: /v is empty");
    assert_eq!(
        with(folder(Some(&["other"]))),
        "open verifier-foreign: /v holds [\"other\"]"
    );
    assert_eq!(
        with(folder(Some(&["other", "rootpin-verifier"]))),
        "weak verifier-crowded: /v holds [\"other\", \"rootpin-verifier\"]"
    );
    let writable = Some(("/v can be written".to_owned(), Some(PathBuf::from("/v"))));
    assert_eq!(
        with(Folder {
            writable,
            ..folder(Some(&["rootpin-verifier"]))
        }),
        "open verifier-writable: /v can be written"
    );
    let off = hole("2.1.9", |facts| {
        facts.plugins.retain(|plugin| plugin.full() != VERIFIERS);
        set(facts, &["disabled_plugins"], list(&[VERIFIERS]));
    });
    assert!(
        off.starts_with("open verifier-off: ") && !off.contains('\n'),
        "{off}"
    );
}

#[test]
fn a_verifier_that_is_in_its_place_is_not_to_be_copied_onto_itself() {
    let change = |program: &'static str| {
        let mut facts = in_order("2.1.9");
        facts.verifier = Some(Folder {
            path: "/opt/containerd/image-verifier/bin".into(),
            entries: None,
            writable: None,
        });
        let holes = super::containerd(
            &facts,
            Wanted {
                program: Path::new(program),
                ..wanted()
            },
        );
        holes
            .iter()
            .map(|hole| hole.change.clone())
            .collect::<Vec<_>>()
            .join("\n\n")
    };
    let lines = format!("[plugins.'{VERIFIERS}']\n  bin_dir = \"/usr/libexec/rootpin/verifier\"");
    assert_eq!(
        change("/usr/libexec/rootpin/verifier/rootpin-verifier"),
        lines
    );
    let copied = "install -D -m 0755 /usr/bin/rootpin-verifier /usr/libexec/rootpin/verifier/rootpin-verifier";
    assert_eq!(
        change("/usr/bin/rootpin-verifier"),
        format!("{copied}\n{lines}")
    );
}

#[test]
fn a_limit_that_leaves_the_verifier_out_is_a_hole_and_one_that_does_not_is_none() {
    let limited = |most: i64, entries: &[&str]| {
        hole("2.1.9", |facts| {
            set(facts, &["plugins", VERIFIERS, "max_verifiers"], most);
            facts.verifier.as_mut().unwrap().entries =
                Some(entries.iter().map(|entry| (*entry).to_owned()).collect());
        })
    };
    assert!(
        limited(0, &["rootpin-verifier"]).starts_with(
            "open verifier-limit: max_verifiers is 0 and rootpin-verifier is number 1"
        )
    );
    assert!(
        limited(1, &["a", "rootpin-verifier"])
            .contains("open verifier-limit: max_verifiers is 1 and rootpin-verifier is number 2")
    );
    assert_eq!(limited(10, &["rootpin-verifier"]), "");
    assert!(!limited(2, &["a", "rootpin-verifier"]).contains("limit"));
    let short = hole("2.1.9", |facts| {
        set(facts, &["plugins", VERIFIERS, "per_verifier_timeout"], "5s");
    });
    assert!(
        short.starts_with(
            "weak verifier-timeout: per_verifier_timeout is 5s and rootpin's deadline 8s"
        ),
        "{short}"
    );
}

#[test]
fn each_setting_that_makes_cri_pull_by_itself_is_named() {
    for (key, value) in [
        ("use_local_image_pull", toml::Value::from(true)),
        ("disable_snapshot_annotations", false.into()),
        ("discard_unpacked_layers", true.into()),
        ("max_concurrent_downloads", 5.into()),
        ("image_pull_with_sync_fs", true.into()),
    ] {
        let found = hole("2.1.9", |facts| {
            set(facts, &["plugins", IMAGES, key], value.clone());
        });
        assert_eq!(
            found,
            format!(
                "open cri-local-pull: {key} = {value}, set by /etc/containerd/conf.d/site.toml:2"
            )
        );
    }
    for key in ["mirrors", "configs", "auths"] {
        let found = holes("2.1.9", |facts| {
            set(
                facts,
                &["plugins", IMAGES, "registry", key, "docker.io", "x"],
                "y",
            );
        });
        assert!(
            matches!(&found[..], [hole] if hole.code == Code::CriLocalPull && hole.fix.is_none()),
            "{found:?}"
        );
    }
    let off = hole("2.1.9", |facts| {
        facts
            .plugins
            .retain(|plugin| plugin.full() != "io.containerd.grpc.v1.cri");
        set(facts, &["plugins", IMAGES, "use_local_image_pull"], true);
    });
    assert_eq!(off, "", "nobody pulls by CRI");
}

#[test]
fn before_2_1_cri_should_tell_the_gate_the_name() {
    let path = [
        "plugins",
        "io.containerd.grpc.v1.cri",
        "containerd",
        "disable_snapshot_annotations",
    ];
    let found = hole("1.7.24", |facts| {
        put(&mut config(facts).effective, &path, true.into());
    });
    assert!(
        found.starts_with("weak cri-annotations: disable_snapshot_annotations = true"),
        "{found}"
    );
    let found = hole("2.1.9", |facts| facts.version = Version(2, 0, 4));
    assert!(
        found.starts_with("weak cri-annotations: disable_snapshot_annotations = true"),
        "{found}"
    );
}

#[test]
fn a_list_of_folders_for_hosts_toml_is_open_only_where_the_resolver_lives_by_it() {
    let mut facts = in_order("2.1.9");
    set(
        &mut facts,
        &["plugins", IMAGES, "registry", "config_path"],
        "/etc/containerd/certs.d:/etc/docker/certs.d",
    );
    for (resolver, severity) in [(false, Severity::Weak), (true, Severity::Open)] {
        let found = super::containerd(
            &facts,
            Wanted {
                resolver,
                ..wanted()
            },
        );
        assert!(
            matches!(&found[..], [hole] if hole.code == Code::CriConfigPathList && hole.severity == severity),
            "{found:?}"
        );
    }
    let found = hole("1.7.24", |facts| {
        set(
            facts,
            &[
                "plugins",
                "io.containerd.grpc.v1.cri",
                "registry",
                "config_path",
            ],
            "/a:/b",
        );
    });
    assert!(
        !found.contains("config-path"),
        "1.7 reads every folder of a list: {found}"
    );
}

#[test]
fn the_run_time_door_is_looked_at_where_rootpin_toml_wants_one() {
    let with = |version: &str, change: &dyn Fn(&mut Containerd)| {
        hole(version, |facts| {
            facts.engine.nri = Some("/run/nri/nri.sock".into());
            change(facts);
        })
    };
    assert!(with("1.7.24", &|_| {}).starts_with("weak nri-off: disable = true"));
    assert!(with("2.1.9", &|_| {}).starts_with("note nri-fails-open: containerd 2.1.9"));
    assert!(
        with("2.1.9", &|facts| facts.version = Version(2, 2, 0))
            .starts_with("weak nri-fails-open: default_validator")
    );
    assert!(
        with("2.1.9", &|facts| facts.engine.nri =
            Some("/run/other.sock".into()))
        .starts_with("weak nri-off: socket_path")
    );
    let set = |lines: &str| {
        with("2.1.9", &|facts| {
            facts.version = Version(2, 2, 0);
            let table = format!("[plugins.'io.containerd.nri.v1.nri']\n{lines}")
                .parse::<toml::Table>()
                .unwrap();
            let nri = table["plugins"]["io.containerd.nri.v1.nri"]
                .as_table()
                .unwrap()
                .clone();
            let effective = &mut facts.config.as_mut().unwrap().effective;
            effective["plugins"]["io.containerd.nri.v1.nri"]
                .as_table_mut()
                .unwrap()
                .extend(nri);
        })
    };
    assert!(
        set("disable_connections = true").starts_with("weak nri-off: disable_connections = true")
    );
    let required = "default_validator.required_plugins = [\"rootpin\"]\n";
    assert!(set(required).starts_with("weak nri-fails-open: default_validator is not enabled"));
    let enabled = format!("{required}default_validator.enable = true\n");
    assert_eq!(set(&enabled), "");
    let excused = set(&format!(
        "{enabled}default_validator.tolerate_missing_plugins_annotation = \"x.example/y\""
    ));
    assert!(
        excused.starts_with(
            "weak nri-fails-open: tolerate_missing_plugins_annotation = \"x.example/y\""
        ),
        "{excused}"
    );
}

#[test]
fn settings_that_open_another_way_to_containerd_are_named() {
    let with = |lines: &str| {
        let lines = lines.parse::<toml::Table>().unwrap();
        hole("2.1.9", |facts| {
            let effective = &mut facts.config.as_mut().unwrap().effective;
            for (section, table) in lines {
                let plugins = effective["plugins"].as_table_mut().unwrap();
                let table = table.as_table().unwrap().clone();
                match plugins.get_mut(&section) {
                    Some(known) => known.as_table_mut().unwrap().extend(table),
                    None if section == "grpc" => _ = effective.insert(section, table.into()),
                    None => _ = plugins.insert(section, table.into()),
                }
            }
        })
    };
    let exposed = "open containerd-exposed: it listens at 0.0.0.0:1234";
    assert!(with("[grpc]\ntcp_address = \"0.0.0.0:1234\"").starts_with(exposed));
    assert!(
        with("['io.containerd.server.v1.grpc-tcp']\naddress = \"0.0.0.0:1234\"")
            .starts_with(exposed)
    );
    assert_eq!(
        with(
            "['io.containerd.server.v1.grpc-tcp']\naddress = \"0.0.0.0:1234\"\ntls_ca = \"/ca.pem\""
        ),
        ""
    );
    let restore =
        with("['io.containerd.cri.v1.runtime']\nenable_experimental_restore_via_create = true");
    assert!(restore.starts_with("weak cri-restore: "), "{restore}");
    let other =
        with("['io.containerd.cri.v1.images'.runtime_platforms.kata]\nsnapshotter = \"devmapper\"");
    assert!(other.contains("snapshotter-unlisted"), "{other}");
}

#[test]
fn keys_that_containerd_does_not_know_are_named_with_their_file() {
    let with = |version: &str, text: &str| {
        hole(version, |facts| {
            let file = files(&[("/etc/containerd/conf.d/50.toml", text)])
                .files
                .remove(0);
            config(facts).files.files.insert(1, file);
        })
    };
    for version in ["1.7.24", "2.1.9"] {
        let found = with(version, "version = 2\nrequired_plugin = [\"x\"]\n");
        assert_eq!(
            found,
            "weak config-ignored: /etc/containerd/conf.d/50.toml: required_plugin: containerd has no such key there"
        );
        let found = with(
            version,
            "version = 2\n[plugins.\"io.containerd.gc.v1.scheduler\"]\nstartup_dela = \"1s\"\n",
        );
        assert!(found.contains("startup_dela of [plugins.\"io.containerd.gc.v1.scheduler\"]: containerd has no such key there"), "{found}");
        let found = with(
            version,
            "version = 2\n[plugins.\"io.containerd.differ.v1.rootpin2\"]\nx = 1\n",
        );
        assert!(
            found.contains("this containerd has no plugin of that name"),
            "{found}"
        );
        assert_eq!(
            with(
                version,
                "version = 2\n[plugins.\"io.containerd.gc.v1.scheduler\"]\nStartup_Delay = \"100ms\"\n"
            ),
            "",
            "case doesn't matter"
        );
    }
    // The names of version 2 in a file of version 3, and below one: nobody moves them, and 2.x
    // doesn't warn of the second.
    for version in [2, 3] {
        let text = format!(
            "version = {version}\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  disable_snapshot_annotations = true\n"
        );
        let found = with("2.1.9", &text);
        assert!(
            found.contains(
                "containerd.disable_snapshot_annotations of [plugins.\"io.containerd.grpc.v1.cri\"]"
            ),
            "{found}"
        );
    }
}

#[test]
fn the_old_names_are_in_force_where_the_main_file_is_of_version_2() {
    let text = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  disable_snapshot_annotations = true\n";
    let with = |version: i64| {
        holes("2.1.9", |facts| {
            let mut drop_in = config(facts).files.files.remove(1);
            drop_in.table.insert("version".to_owned(), version.into());
            config(facts).files = files(&[("/etc/containerd/config.toml", text)]);
            config(facts).files.files.push(drop_in);
        })
    };
    assert_eq!(with(2), []);
    // Before 2.3 the highest version of all files counts for each, and a drop-in of ours is written
    // anew.
    let found = with(3);
    assert!(
        matches!(&found[..], [hole] if hole.fix == Some(Fix::DropIn)),
        "{found:?}"
    );
    assert!(
        found[0]
            .found
            .ends_with("is read as version 3, which /etc/containerd/conf.d/rootpin.toml has"),
        "{found:?}"
    );
}

#[test]
fn a_section_that_1_7_replaces_as_a_whole_is_told_with_what_is_lost() {
    let found = hole("1.7.24", |facts| {
        set(
            facts,
            &["plugins", "io.containerd.grpc.v1.cri", "sandbox_image"],
            "r.test/pause:1",
        );
        put(
            &mut config(facts).effective,
            &[
                "plugins",
                "io.containerd.grpc.v1.cri",
                "containerd",
                "disable_snapshot_annotations",
            ],
            true.into(),
        );
        let main = &mut config(facts).files.files[0];
        main.text = main
            .text
            .replace("false", "true")
            .replace("disable_snapshot_annotations", "discard_unpacked_layers");
        main.table = main.text.parse().unwrap();
    });
    let lost = "weak section-replaced: /etc/containerd/conf.d/site.toml replaces [plugins.\"io.containerd.grpc.v1.cri\"] of \
                /etc/containerd/config.toml: lost containerd.discard_unpacked_layers";
    assert!(found.contains(lost), "{found}");
}

#[test]
fn a_drop_in_that_is_not_read_and_an_engine_that_was_not_restarted_are_holes() {
    let found = hole("2.1.9", |facts| {
        config(facts)
            .stray
            .push("/etc/containerd/conf.d/rootpin.toml".into());
    });
    assert_eq!(
        found,
        "weak drop-in-ignored: /etc/containerd/conf.d/rootpin.toml is not imported"
    );
    let found = hole("2.1.9", |facts| {
        config(facts).changed = Some("/etc/containerd/conf.d".into());
    });
    assert_eq!(
        found,
        "open restart-pending: /etc/containerd/conf.d changed after containerd had started"
    );
}

#[test]
fn a_configuration_with_which_containerd_would_not_start_is_named_and_no_restart_is_advised() {
    let broken = |facts: &mut Containerd| {
        facts.refused = Some("toml: line 3".to_owned());
        facts.config = Err("toml: line 3".to_owned());
    };
    assert_eq!(hole("2.1.9", broken), "weak config-refused: toml: line 3");
    let found = holes("2.1.9", |facts| {
        facts.refused = Some("drop-in config version 3".to_owned());
    });
    assert!(
        matches!(&found[..], [hole] if hole.fix.is_some() && hole.change.contains("don't restart")),
        "{found:?}"
    );
}

#[test]
fn what_an_older_version_says_in_other_words_is_not_ignored() {
    let with = |version: &str, text: &str, effective: &[(&[&str], toml::Value)]| {
        hole("2.1.9", |facts| {
            facts.version = Version::parse(version).unwrap();
            let config = config(facts);
            config.files = files(&[("/etc/containerd/config.toml", text)]);
            for (path, value) in effective {
                put(&mut config.effective, path, value.clone());
            }
        })
    };
    let grpc: (&[&str], toml::Value) = (
        &["plugins", "io.containerd.server.v1.grpc", "address"],
        "/run/x.sock".into(),
    );
    let four: (&[&str], toml::Value) = (&["version"], 4.into());
    assert_eq!(
        with(
            "2.3.4",
            "version = 3\n[grpc]\naddress = \"/run/x.sock\"\n",
            &[four, grpc]
        ),
        ""
    );
    let pause: (&[&str], toml::Value) = (
        &["plugins", IMAGES, "pinned_images", "sandbox"],
        "r.example/pause:1".into(),
    );
    let old = "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"r.example/pause:1\"\n";
    assert_eq!(with("2.1.9", old, std::slice::from_ref(&pause)), "");
    let other = old.replace("pause:1", "pause:2");
    assert!(
        with("2.1.9", &other, &[pause])
            .starts_with("weak config-ignored: /etc/containerd/config.toml: sandbox_image")
    );
}
