//! CRI's settings, the run-time door, and other ways to containerd.

use super::*;

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
fn a_setting_of_a_main_file_of_version_2_is_named_with_its_file_and_line() {
    let main = |facts: &mut ContainerdFacts, text: &str| {
        let text = format!("version = 2\nimports = [\"/etc/containerd/conf.d/*.toml\"]\n{text}");
        config(facts).files = files(&[("/etc/containerd/config.toml", &text)]);
    };
    for key in ["mirrors", "configs", "auths"] {
        let found = hole("2.1.9", |facts| {
            let path = ["plugins", IMAGES, "registry", key, "localhost:5001", "x"];
            put(&mut config(facts).effective, &path, "y".into());
            main(
                facts,
                &format!(
                    "[plugins.\"io.containerd.grpc.v1.cri\".registry.{key}.\"localhost:5001\"]\n  x = \"y\"\n"
                ),
            );
        });
        assert_eq!(
            found,
            format!(
                "open cri-local-pull: registry.{key} is not empty, set by /etc/containerd/config.toml:3"
            )
        );
    }
    // rootpin's own line for 1.7, read by the containerd that followed.
    let found = hole("2.1.9", |facts| {
        let path = ["plugins", IMAGES, "disable_snapshot_annotations"];
        put(&mut config(facts).effective, &path, false.into());
        main(
            facts,
            "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n  disable_snapshot_annotations = false\n",
        );
    });
    assert_eq!(
        found,
        "open cri-local-pull: disable_snapshot_annotations = false, set by /etc/containerd/config.toml:4"
    );
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
    for (resolver, severity) in [(false, HoleSeverity::Weak), (true, HoleSeverity::Open)] {
        let found = super::super::containerd(
            &facts,
            WantedSettings {
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
    let with = |version: &str, change: &dyn Fn(&mut ContainerdFacts)| {
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
    let lines = |address: &[&str]| -> toml::Table {
        let holes = holes("2.1.9", |facts| set(facts, address, "0.0.0.0:1234"));
        let exposed = |hole: &&Hole| hole.code == Code::ContainerdExposed;
        let hole = holes.iter().find(exposed).unwrap();
        hole.change.parse().unwrap()
    };
    let empty = Some("");
    assert_eq!(
        lines(&["grpc", "tcp_address"])["grpc"]["tcp_address"].as_str(),
        empty
    );
    let tcp = "io.containerd.server.v1.grpc-tcp";
    assert_eq!(
        lines(&["plugins", tcp, "address"])["plugins"][tcp]["address"].as_str(),
        empty
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
