//! A scan shows every name of every key, says that nothing of it is verified, and changes nothing.

use std::fs;

use serde_json::Value;

use super::{fingerprint, old_root, tuf};
use crate::publisher::Key;
use crate::world::{GUN, World};

#[test]
fn a_scan_shows_a_key_by_every_name_and_changes_nothing() {
    let Some(world) = World::new("p-scan") else {
        return;
    };
    world.sign("sha256:0000000000000000000000000000000000000000000000000000000000000000");
    let before = world.policy_files();
    let (value, code) = world.pin_json(&["scan", GUN]);
    let seen = &value["scanned"][0];
    assert_eq!(
        (code, &value["verified"], &seen["root"], &seen["name"]),
        (0, &false.into(), &"acme".into(), &GUN.into()),
        "{value}"
    );
    let (root, key) = (&seen["presented"], &seen["presented"]["keys"][0]);
    assert_eq!(
        (
            &root["root_version"],
            &root["threshold"],
            &root["signed_by"]
        ),
        (&1.into(), &1.into(), &1.into())
    );
    assert_eq!(
        (&key["id"], &key["fingerprint"]),
        (&old_root().id().into(), &fingerprint(&old_root()).into())
    );
    assert_eq!(
        (
            &key["certificate"]["subject"],
            &key["certificate"]["not_after"]
        ),
        (&GUN.into(), &"2049-12-31T23:59:59Z".into())
    );
    assert_eq!(key["certificate"]["id"], old_root().certificate(GUN).id());
    let text = world.pin(&["scan", GUN]).out;
    for part in [
        &old_root().id(),
        &fingerprint(&old_root()),
        "UNVERIFIED",
        "by another way",
        key["fingerprint_hex"].as_str().unwrap(),
    ] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    assert_eq!(world.policy_files(), before);
}

#[test]
fn a_server_is_scanned_without_a_policy_and_a_tuf_repository_by_its_url() {
    let Some(world) = World::new("p-scan-url") else {
        return;
    };
    world.sign("sha256:0000000000000000000000000000000000000000000000000000000000000000");
    let (value, code) = world.rootpin_json(&[
        "pin",
        "scan",
        GUN,
        "--server",
        &world.server(),
        "--policy",
        "/no/such/folder",
    ]);
    assert_eq!((code, &value["scanned"][0]["root"]), (0, &Value::Null));
    fs::create_dir(world.path("tuf")).unwrap();
    for (version, keys, signers) in [(1, &[1][..], &[1][..]), (2, &[2], &[1, 2])] {
        fs::write(
            world.path(&format!("tuf/{version}.root.json")),
            tuf::root(version, keys, signers),
        )
        .unwrap();
    }
    let url = format!("file://{}", world.path("tuf").display());
    let (value, code) = world.pin_json(&["scan", &url]);
    let seen = &value["scanned"][0];
    assert_eq!(
        (
            code,
            &seen["presented"]["root_version"],
            &seen["earlier"][0]["root_version"]
        ),
        (0, &2.into(), &1.into()),
        "{value}"
    );
    assert_eq!(
        seen["presented"]["sha256"],
        rootpin_trust::image::Digest::of(&tuf::root(2, &[2], &[1, 2])).hex()
    );
}

#[test]
fn what_a_hostile_server_writes_is_escaped_and_what_is_no_root_is_said() {
    let Some(world) = World::new("p-scan-odd") else {
        return;
    };
    let mut publisher =
        world.sign("sha256:0000000000000000000000000000000000000000000000000000000000000000");
    publisher.role("root").keys = vec![Key::named("x").certificate("evil\u{1b}[2J")];
    world.notary.publish(&publisher);
    let scanned = world.pin(&["scan", GUN]);
    assert!(
        scanned.code == 0
            && !scanned.out.contains('\u{1b}')
            && scanned.out.contains("evil\\u{1b}[2J"),
        "{scanned:?}"
    );
    let (value, code) = world.pin_json(&["scan", "r.test/team/none"]);
    assert_eq!(
        (code, &value["outcome"]),
        (2, &"unjudged".into()),
        "{value}"
    );
    for (words, code) in [
        (&["scan", "x.test/none"][..], 2),
        (&["scan", "no name"], 64),
        (&["scan", "ftp://x.test"], 64),
        (
            &["scan", "https://x.test", "--server", "https://y.test"],
            64,
        ),
        (&["scan", GUN, "--server", "http://x.test"], 2),
    ] {
        let ended = world.pin(words);
        assert_eq!(ended.code, code, "{words:?}: {ended:?}");
        assert!(
            ended.out.is_empty() && ended.err.starts_with("rootpin: "),
            "{ended:?}"
        );
    }
}
