//! What a dump doesn't show and containerd looks at when it starts.

use std::path::Path;

use super::super::super::facts::{ContainerdFacts, PluginFacts};
use super::super::super::version::Version;
use super::super::{settings, startup};
use super::{DIFF, IMPORTS, TRANSFER, config, host, set, tools, written};
use crate::problem::Problem;

const RUNTIMES: [&str; 4] = [
    "plugins",
    "io.containerd.cri.v1.runtime",
    "containerd",
    "runtimes",
];

fn checked(facts: &ContainerdFacts) -> Result<(), Problem> {
    let settings = settings::settings(facts, config(facts), &tools(Path::new("/none"))).unwrap();
    startup::check(facts, config(facts), &settings)
}

fn disabled(version: &str, main: &str, drop_in: &str, entry: &str) -> ContainerdFacts {
    let (_folder, mut facts) = host(version, main, &[("a.toml", drop_in)]);
    let table = &mut facts.config.as_mut().unwrap().effective;
    table.insert("disabled_plugins".to_owned(), vec![entry].into());
    facts
}

/// Snapshotters of the `unpack_config`, and whether each is optional.
fn unpacked(facts: &ContainerdFacts) -> Vec<(String, bool)> {
    let written = written(facts);
    let entries = written["plugins"][TRANSFER]["unpack_config"].as_array();
    let entry = |entry: &toml::Value| {
        let optional = entry.get("optional").and_then(toml::Value::as_bool);
        (
            entry["snapshotter"].as_str().unwrap().to_owned(),
            optional == Some(true),
        )
    };
    entries.unwrap().iter().map(entry).collect()
}

fn with_kata(version: &str, runs: bool) -> (tempfile::TempDir, ContainerdFacts) {
    let (folder, mut facts) = host(version, IMPORTS, &[]);
    facts.runs = runs;
    let kata: toml::Table = "[kata]\nsnapshotter = 'devmapper'\n".parse().unwrap();
    set(&mut facts, &RUNTIMES, kata);
    let table = &mut facts.config.as_mut().unwrap().effective;
    // The host that was looked at has its unused snapshotters disabled.
    table.remove("disabled_plugins");
    table["plugins"][TRANSFER]
        .as_table_mut()
        .unwrap()
        .remove("unpack_config");
    (folder, facts)
}

#[test]
fn a_plugin_that_is_disabled_and_would_be_required_is_named_with_its_file_and_line() {
    for (version, entry) in [
        ("2.1.9", "io.containerd.image-verifier.v1.bindir"),
        ("2.1.9", "io.containerd.service.v1.diff-service"),
        ("2.1.9", "io.containerd.transfer.v1.local"),
        ("2.1.9", "io.containerd.differ.v1.rootpin"),
        ("2.1.9", "io.containerd.differ.v1.walking"),
        ("2.1.9", "io.containerd.snapshotter.v1.overlayfs"),
        ("2.1.9", "io.containerd.lease.v1.manager"),
        ("1.7.24", "io.containerd.transfer.v1.local"),
        ("1.7.24", "diff-service"),
    ] {
        let list = format!("\ndisabled_plugins = [\"x\", \"{entry}\"]\n");
        let by_main = disabled(version, &format!("{IMPORTS}{list}"), "", entry);
        let by_other = disabled(version, IMPORTS, &list, entry);
        // What is not loaded is not unpacked by either, where it is no more than a snapshotter.
        if entry.contains("snapshotter") {
            assert!(
                !unpacked(&by_main)
                    .iter()
                    .any(|(name, _)| name == "overlayfs")
            );
            continue;
        }
        for (facts, place) in [(by_main, "config.toml:4"), (by_other, "conf.d/a.toml:2")] {
            let why = checked(&facts).unwrap_err();
            assert!(
                why.what.contains(place) && why.what.contains("disables io.containerd."),
                "{entry} {why}"
            );
            assert!(
                why.hint
                    .unwrap()
                    .starts_with(&format!("take \"{entry}\" out of")),
                "{entry}"
            );
        }
    }
    let facts = disabled("2.1.9", IMPORTS, "", "io.containerd.snapshotter.v1.btrfs");
    assert_eq!(checked(&facts), Ok(()));
}

#[test]
fn nri_that_is_disabled_is_named_where_it_is_a_door() {
    let mut facts = disabled("2.1.9", IMPORTS, "", "io.containerd.nri.v1.nri");
    assert_eq!(checked(&facts), Ok(()));
    facts.engine.nri = Some("/run/nri/nri.sock".into());
    let why = checked(&facts).unwrap_err();
    assert!(why.what.contains("no door is asked"), "{why}");
}

#[test]
fn a_differ_of_the_order_that_is_not_loaded_is_named() {
    let (_folder, mut facts) = host("2.1.9", IMPORTS, &[]);
    set(
        &mut facts,
        &DIFF,
        toml::Value::Array(vec!["stream".into(), "walking".into()]),
    );
    let why = checked(&facts).unwrap_err();
    assert!(
        why.what
            .contains("has stream, which this containerd did not load"),
        "{why}"
    );
    facts.runs = false;
    let why = checked(&facts).unwrap_err();
    assert!(why.hint.unwrap().starts_with("start containerd, or take"));
    let proxy: toml::Table = "type = 'diff'\naddress = '/s'\n".parse().unwrap();
    set(&mut facts, &["proxy_plugins", "stream"], proxy);
    assert_eq!(checked(&facts), Ok(()));
}

#[test]
fn from_2_3_on_a_snapshotter_that_may_be_lacking_is_optional() {
    for runs in [false, true] {
        let (_folder, mut facts) = with_kata("2.1.9", runs);
        facts.version = Version(2, 3, 4);
        let entries = unpacked(&facts);
        assert!(
            entries.contains(&("devmapper".to_owned(), true)),
            "{entries:?}"
        );
        assert!(
            entries.contains(&("overlayfs".to_owned(), false)),
            "{entries:?}"
        );
        assert_eq!(
            (checked(&facts), startup::unlisted(&facts, config(&facts))),
            (Ok(()), None)
        );
        facts.plugins.push(PluginFacts {
            kind: "io.containerd.snapshotter.v1".to_owned(),
            id: "devmapper".to_owned(),
            address: None,
            error: None,
        });
        // Its pool may fail tomorrow.
        assert!(unpacked(&facts).contains(&("devmapper".to_owned(), true)));
    }
}

#[test]
fn before_2_3_a_snapshotter_of_which_nobody_knows_is_left_out_and_named() {
    let (_folder, facts) = with_kata("2.1.9", false);
    let entries = unpacked(&facts);
    assert!(
        !entries.iter().any(|(name, _)| name == "devmapper"),
        "{entries:?}"
    );
    assert_eq!(checked(&facts), Ok(()));
    let left = startup::unlisted(&facts, config(&facts)).unwrap();
    assert!(
        left.what.contains("devmapper") && left.hint.unwrap().ends_with("rootpin doctor --fix"),
        "{}",
        left.what
    );
    // CRI of 2.0 and before does not pull by it.
    let (_folder, mut facts) = with_kata("2.1.9", false);
    facts.version = Version(2, 0, 4);
    assert_eq!(startup::unlisted(&facts, config(&facts)), None);
    // Without this one no pod is pulled at all.
    let (_folder, mut facts) = with_kata("2.1.9", false);
    set(
        &mut facts,
        &["plugins", "io.containerd.cri.v1.images", "snapshotter"],
        "zfs",
    );
    let why = checked(&facts).unwrap_err();
    assert!(
        why.what.contains("zfs is a snapshotter that pulls need"),
        "{why}"
    );
    // What somebody set is never left out.
    let (_folder, mut facts) = with_kata("2.1.9", false);
    let entry: toml::Table = "platform = 'linux/amd64'\nsnapshotter = 'devmapper'\ndiffer = ''\n"
        .parse()
        .unwrap();
    set(
        &mut facts,
        &["plugins", TRANSFER, "unpack_config"],
        toml::Value::Array(vec![entry.into()]),
    );
    assert!(checked(&facts).is_err());
    facts.runs = true;
    assert_eq!(checked(&facts), Ok(()));
}

#[test]
fn a_snapshotter_of_another_process_that_the_files_name_no_more_is_left_out() {
    let (_folder, mut facts) = host("2.1.9", IMPORTS, &[]);
    facts.plugins.push(PluginFacts {
        kind: "io.containerd.snapshotter.v1".to_owned(),
        id: "nydus".to_owned(),
        address: Some("/run/nydus.sock".to_owned()),
        error: None,
    });
    set(
        &mut facts,
        &["plugins", "io.containerd.cri.v1.images", "snapshotter"],
        "nydus",
    );
    assert!(!unpacked(&facts).iter().any(|(name, _)| name == "nydus"));
    let proxy: toml::Table = "type = 'snapshot'\naddress = '/run/nydus.sock'\n"
        .parse()
        .unwrap();
    set(&mut facts, &["proxy_plugins", "nydus"], proxy);
    assert!(unpacked(&facts).iter().any(|(name, _)| name == "nydus"));
}
