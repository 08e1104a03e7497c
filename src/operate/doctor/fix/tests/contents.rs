//! What the drop-in says.

use super::*;

#[test]
fn the_drop_in_has_the_version_of_the_main_file_and_that_versions_names() {
    for (engine, main, version, section) in [
        (
            "2.1.9",
            "version = 3\n",
            3,
            Some("io.containerd.cri.v1.images"),
        ),
        (
            "2.1.9",
            "version = 2\n",
            2,
            Some("io.containerd.grpc.v1.cri"),
        ),
        (
            "2.1.9",
            "version = 4\n",
            4,
            Some("io.containerd.cri.v1.images"),
        ),
        (
            "2.1.9",
            "disabled_plugins = []\n",
            3,
            Some("io.containerd.cri.v1.images"),
        ),
        ("1.7.24", "version = 2\n", 2, None),
        ("1.7.24", "disabled_plugins = [\"cri\"]\n", 1, None),
    ] {
        let (_folder, facts) = host(engine, main, &[]);
        let written = written(&facts);
        assert_eq!(
            written["version"].as_integer(),
            Some(version),
            "{engine} {main}"
        );
        let plugins = written["plugins"].as_table().unwrap();
        for name in ["io.containerd.cri.v1.images", "io.containerd.grpc.v1.cri"] {
            assert_eq!(
                plugins.contains_key(name),
                section == Some(name),
                "{engine} {main}"
            );
        }
        let short = version == 1;
        assert_eq!(
            (
                plugins.contains_key("local"),
                plugins.contains_key(TRANSFER)
            ),
            (short, !short),
            "{engine} {main}"
        );
        let required = written["required_plugins"].as_array().unwrap();
        assert_eq!(
            required[0].as_str(),
            Some(if short {
                "rootpin"
            } else {
                "io.containerd.differ.v1.rootpin"
            })
        );
    }
}

#[test]
fn every_setting_that_moves_a_pull_off_the_verifier_is_in_the_drop_in() {
    let (_folder, facts) = host("2.1.9", IMPORTS, &[]);
    let images = written(&facts)["plugins"]["io.containerd.cri.v1.images"]
        .as_table()
        .unwrap()
        .clone();
    for key in [
        "use_local_image_pull",
        "disable_snapshot_annotations",
        "discard_unpacked_layers",
        "max_concurrent_downloads",
        "image_pull_with_sync_fs",
    ] {
        assert!(images.contains_key(key), "{key}");
    }
    let (_folder, mut facts) = host("2.1.9", IMPORTS, &[]);
    facts.version = Version(2, 0, 4);
    let images = written(&facts)["plugins"]["io.containerd.cri.v1.images"]
        .as_table()
        .unwrap()
        .clone();
    assert_eq!(
        images.into_iter().collect::<Vec<_>>(),
        [("disable_snapshot_annotations".to_owned(), false.into())],
        "CRI of 2.0 is the gate's"
    );
}

#[test]
fn other_differs_snapshotters_and_whole_sections_are_kept() {
    let (_folder, mut facts) = host("1.7.24", &IMPORTS.replace('3', "2"), &[]);
    set(
        &mut facts,
        &DIFF,
        toml::Value::Array(vec!["erofs".into(), "rootpin".into(), "walking".into()]),
    );
    set(
        &mut facts,
        &["plugins", TRANSFER, "max_concurrent_downloads"],
        7,
    );
    set(
        &mut facts,
        &[
            "plugins",
            "io.containerd.grpc.v1.cri",
            "containerd",
            "snapshotter",
        ],
        "zfs",
    );
    facts
        .plugins
        .push(crate::operate::doctor::facts::PluginFacts {
            kind: "io.containerd.snapshotter.v1".to_owned(),
            id: "zfs".to_owned(),
            address: None,
            error: None,
        });
    facts.plugins.retain(|plugin| plugin.id != "native");
    let config = facts.config.as_mut().unwrap();
    config.effective.remove("disabled_plugins");
    let written = written(&facts);
    assert_eq!(
        written["plugins"][DIFF[1]]["default"].to_string(),
        "[\"rootpin\", \"erofs\", \"walking\"]"
    );
    let transfer = &written["plugins"][TRANSFER];
    assert_eq!(transfer["max_concurrent_downloads"].as_integer(), Some(7));
    let snapshotters: Vec<_> = transfer["unpack_config"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["snapshotter"].as_str().unwrap())
        .collect();
    assert_eq!(
        snapshotters,
        ["overlayfs", "zfs"],
        "one that containerd lacks would keep it from starting"
    );
}

#[test]
fn what_an_entry_of_unpack_config_says_besides_its_differ_is_kept() {
    let (_folder, mut facts) = host("2.1.9", IMPORTS, &[]);
    let entry: toml::Table = "platform = 'linux(+erofs)/amd64'\nsnapshotter = 'erofs'\ndiffer = 'erofs'\noptional = true\nconfig_type = 'c'\nlayer_types = ['l']".parse().unwrap();
    set(
        &mut facts,
        &["plugins", TRANSFER, "unpack_config"],
        toml::Value::Array(vec![entry.clone().into()]),
    );
    let entries = written(&facts)["plugins"][TRANSFER]["unpack_config"]
        .as_array()
        .unwrap()
        .clone();
    let mut wanted = entry;
    wanted.insert("differ".to_owned(), "rootpin-apply".into());
    assert_eq!(entries[0].as_table(), Some(&wanted));
    // From 2.3 on containerd has such an entry where nobody sets any.
    let (_folder, mut facts) = host("2.1.9", IMPORTS, &[]);
    facts.version = Version(2, 3, 0);
    set(
        &mut facts,
        &["plugins", TRANSFER, "unpack_config"],
        toml::Value::Array(Vec::new()),
    );
    let entries = written(&facts)["plugins"][TRANSFER]["unpack_config"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(
        (
            entries[2]["snapshotter"].as_str(),
            entries[2]["optional"].as_bool()
        ),
        (Some("erofs"), Some(true))
    );
}

#[test]
fn a_remote_snapshotter_that_was_told_by_annotations_is_told_by_its_export() {
    let (_folder, mut facts) = host("2.1.9", IMPORTS, &[]);
    let images = ["plugins", "io.containerd.cri.v1.images"];
    set(
        &mut facts,
        &[images[0], images[1], "disable_snapshot_annotations"],
        false,
    );
    set(&mut facts, &[images[0], images[1], "snapshotter"], "stargz");
    set(&mut facts, &["proxy_plugins", "stargz", "type"], "snapshot");
    set(
        &mut facts,
        &["proxy_plugins", "stargz", "address"],
        "/run/stargz.sock",
    );
    let stargz = &written(&facts)["proxy_plugins"]["stargz"];
    assert_eq!(
        stargz["exports"]["enable_remote_snapshot_annotations"].as_str(),
        Some("true")
    );
    assert_eq!(
        stargz["address"].as_str(),
        Some("/run/stargz.sock"),
        "a drop-in replaces the whole plugin"
    );
}

#[test]
fn as_many_downloads_at_once_as_cri_had_are_left_to_the_transfer_service() {
    let (_folder, mut facts) = host("2.1.9", IMPORTS, &[]);
    set(
        &mut facts,
        &[
            "plugins",
            "io.containerd.cri.v1.images",
            "max_concurrent_downloads",
        ],
        9,
    );
    let written = written(&facts);
    let most = |plugin: &str| written["plugins"][plugin]["max_concurrent_downloads"].as_integer();
    assert_eq!(
        (most("io.containerd.cri.v1.images"), most(TRANSFER)),
        (Some(3), Some(9))
    );
}

#[test]
fn the_run_time_door_is_opened_where_rootpin_toml_wants_it_with_all_else_of_its_section() {
    for version in ["1.7.24", "2.1.9"] {
        let (_folder, mut facts) = host(version, IMPORTS, &[]);
        facts.engine.nri = Some("/run/nri/nri.sock".into());
        let written = written(&facts);
        let nri = written["plugins"]["io.containerd.nri.v1.nri"]
            .as_table()
            .unwrap();
        assert_eq!(
            (nri["disable"].as_bool(), nri.contains_key("socket_path")),
            (Some(false), version == "1.7.24"),
            "{version}"
        );
    }
}

#[test]
fn from_2_2_on_containers_need_the_plugin_where_the_run_time_is_wanted() {
    let (_folder, mut facts) = host("2.1.9", IMPORTS, &[]);
    facts.engine.nri = Some("/run/nri/nri.sock".into());
    let validator = |facts: &ContainerdFacts| {
        let nri = &written(facts)["plugins"]["io.containerd.nri.v1.nri"];
        nri.get("default_validator").cloned()
    };
    assert_eq!(validator(&facts), None);
    facts.version = Version(2, 2, 0);
    let of_nri =
        "[plugins.'io.containerd.nri.v1.nri'.default_validator]\nrequired_plugins = [\"theirs\"]\n";
    let table: toml::Table = of_nri.parse().unwrap();
    let section = table["plugins"]["io.containerd.nri.v1.nri"]
        .as_table()
        .unwrap();
    let effective = &mut facts.config.as_mut().unwrap().effective;
    let nri = effective["plugins"]["io.containerd.nri.v1.nri"]
        .as_table_mut()
        .unwrap();
    nri.extend(section.clone());
    let wanted: toml::Table = "enable = true\nrequired_plugins = [\"theirs\", \"rootpin\"]\n"
        .parse()
        .unwrap();
    assert_eq!(validator(&facts), Some(wanted.into()));
    facts.engine.nri = None;
    assert!(
        !written(&facts)["plugins"]
            .as_table()
            .unwrap()
            .contains_key("io.containerd.nri.v1.nri")
    );
}
