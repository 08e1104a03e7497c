//! A place to which somebody else can write.

use std::fs;

use rootpin::publish::key::Signer;
use rootpin::publish::key_file::PrivateKey;
use serde_json::{Value, json};

use super::{Org, digest};

/// Puts another version of a role, signed by the machine of its name, where what waits is.
pub(crate) fn waits(org: &Org, role: &str, change: impl FnOnce(&mut Value)) {
    let published = fs::read(org.path(&format!("place/1.{role}.json"))).unwrap();
    let mut signed = serde_json::from_slice::<Value>(&published).unwrap()["signed"].take();
    signed["version"] = json!(2);
    change(&mut signed);
    let key = PrivateKey::load(
        &org.path(role).join(format!("keys/{role}.pem")),
        "correct horse",
    )
    .unwrap();
    let signature = key
        .sign(&serde_json::to_vec(&signed).unwrap(), "ed25519")
        .unwrap();
    let signature = signature
        .iter()
        .fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let file =
        json!({ "signatures": [{ "keyid": key.keyid(), "sig": signature }], "signed": signed });
    fs::write(
        org.path(&format!("place/waiting/{role}.json")),
        file.to_string(),
    )
    .unwrap();
}

#[test]
fn what_waits_without_a_good_signature_is_not_looked_at() {
    let org = Org::founded();
    assert_eq!(org.sign("main", "r.test/tool:1", "one").code, 0);
    let waiting = org.path("place/waiting");
    fs::create_dir_all(&waiting).unwrap();
    // Signed once, and behind what is published; not metadata; of no role; changed after it was
    // signed.
    fs::copy(
        org.path("main/metadata/1.targets.json"),
        waiting.join("targets.json"),
    )
    .unwrap_or_default();
    fs::write(waiting.join("team.json"), "{}").unwrap();
    fs::write(waiting.join("root.json"), "no JSON").unwrap();
    assert_eq!(org.repo("main", &["status"]).code, 0);
    let newest = fs::read_to_string(org.path("place/2.targets.json")).unwrap();
    fs::write(
        waiting.join("targets.json"),
        newest
            .replace("\"version\":2", "\"version\":3")
            .replace("r.test/tool:1", "r.test/tool:9"),
    )
    .unwrap();
    assert_eq!(org.repo("main", &["status"]).code, 0);
    assert_eq!(org.sign("main", "r.test/tool:2", "two").code, 0);
    assert_eq!(org.verify("host", "r.test/tool:9", "one"), "no-statement");
    assert_eq!(org.verify("host", "r.test/tool:2", "two"), "allowed");
}

#[test]
fn a_signer_that_delegates_to_everybody_stops_nobody_and_is_cut_off() {
    let org = Org::founded();
    org.delegated("team-a", "r.test/team/a/**");
    assert_eq!(org.sign("team-a", "r.test/team/a/app:1", "one").code, 0);
    org.ok("main", &["refresh"]);
    let itself = json!([{ "name": "team-a", "keyids": [], "threshold": 1, "terminating": false, "paths": ["*"] }]);
    let bins = json!({ "keyids": [], "threshold": 1, "bit_length": 16, "name_prefix": "bin" });
    for delegations in [
        json!({ "keys": {}, "succinct_roles": bins }),
        json!({ "keys": {}, "roles": itself }),
    ] {
        waits(&org, "team-a", |signed| signed["delegations"] = delegations);
        org.repo("main", &["refresh"]);
        let ended = org.sign("main", "r.test/tool:1", "tool");
        assert_eq!(ended.code, 0, "{ended:?}");
        org.ok("main", &["delegate", "remove", "team-a"]);
        assert_eq!(org.verify("host", "r.test/tool:1", "tool"), "allowed");
        org.ok(
            "main",
            &[
                "delegate",
                "add",
                "team-a",
                "--key",
                &org.path("team-a/keys/team-a.pub").display().to_string(),
                "--paths",
                "r.test/tool",
            ],
        );
    }
}

#[test]
fn a_signer_s_names_stay_within_their_line() {
    let org = Org::founded();
    org.delegated("team-a", "r.test/team/a/**");
    assert_eq!(org.sign("team-a", "r.test/team/a/app:1", "one").code, 0);
    org.ok("main", &["refresh"]);
    waits(&org, "team-a", |signed| {
        let target = json!({ "length": 1, "hashes": { "sha256": "00".repeat(32) } });
        signed["targets"] = json!({ "r.test/team/a/x\u{9b}2Jall is well": target });
    });
    for words in [&["refresh", "--dry-run"][..], &["refresh"], &["list"]] {
        let said = org.ok("main", words);
        assert!(
            !said.contains('\u{9b}') && said.contains("\\u{9b}"),
            "{said:?}"
        );
    }
}

#[test]
fn a_changed_file_at_the_place_is_refused_and_nothing_is_signed_on_top_of_it() {
    let org = Org::founded();
    assert_eq!(org.sign("main", "r.test/tool:1", "one").code, 0);
    let file = org.path("place/2.targets.json");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(
        &file,
        text.replace(&digest("one")[7..], &digest("two")[7..]),
    )
    .unwrap();
    let before = org.tree("main");
    let ended = org.sign("main", "r.test/tool:2", "two");
    assert!(
        ended.code == 2 && ended.err.contains("the repository does not hold"),
        "{ended:?}"
    );
    assert_eq!(org.tree("main"), before);
}
