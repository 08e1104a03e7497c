//! Files of the configuration: what is ignored, replaced, refused, or not read.

use super::*;

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
    let restart = |socket: &str| {
        let holes = holes("2.1.9", |facts| {
            facts.engine.containerd = socket.into();
            config(facts).changed = Some("/etc/containerd/conf.d".into());
        });
        holes[0].change.clone()
    };
    let usual = "systemctl restart containerd";
    assert_eq!(restart("/run/containerd/containerd.sock"), usual);
    assert_eq!(
        restart("/srv/cd.sock"),
        "restart the containerd at /srv/cd.sock"
    );
    for platforms in [
        "/run/k3s/containerd/containerd.sock",
        "/run/k0s/containerd.sock",
        "/var/snap/microk8s/common/run/containerd.sock",
    ] {
        assert_ne!(restart(platforms), usual, "{platforms}");
    }
}

#[test]
fn what_a_pending_restart_closes_is_no_finding_of_its_own() {
    let pending = |is_written: bool| {
        hole("2.1.9", |facts| {
            facts.plugins.retain(|plugin| plugin.address.is_none());
            if !is_written {
                config(facts).effective.remove("proxy_plugins");
            }
            config(facts).changed = Some("/etc/containerd/conf.d".into());
        })
    };
    let written = pending(true);
    let wanted = "open restart-pending: /etc/containerd/conf.d changed after containerd had started; the restart closes ";
    assert!(
        written.starts_with(wanted)
            && !written.contains('\n')
            && written.contains("gate-missing")
            && written.contains("unpack-config"),
        "{written}"
    );
    let open = pending(false);
    assert!(
        open.contains("open gate-missing: ") && open.contains("open unpack-config: "),
        "{open}"
    );
}

#[test]
fn a_configuration_with_which_containerd_would_not_start_is_named_and_no_restart_is_advised() {
    let broken = |facts: &mut ContainerdFacts| {
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
