//! `rootpin pin revoke`: how a key is named.

use std::fs;

use rootpin_trust::Fingerprint;
use rootpin_trust::key_file::signature_keys;

use crate::world::World;

#[test]
fn a_key_is_revoked_by_its_file_or_any_hash_and_a_chain_or_a_name_of_none_is_said_to_be_that() {
    let Some(world) = World::new("p-revoke-names") else {
        return;
    };
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/signatures");
    let leaf = format!("{data}/certificates/p384.crt");
    let authority = format!("{data}/certificates/ca.crt");
    let key = signature_keys(&fs::read(&leaf).unwrap()).unwrap().remove(0);
    let print = Fingerprint::of(&key).unwrap().to_string();
    let revoke = |what: &str| world.pin(&["revoke", what, "--reason", "lost", "--dry-run"]);
    // What a file has is known under every name.
    for file in [
        leaf.clone(),
        format!("{data}/keys/p384.pub"),
        format!("{data}/keys/p521.pub"),
    ] {
        let ended = revoke(&file);
        assert!(
            ended.code == 0 && !ended.out.contains("no pinned root"),
            "{ended:?}"
        );
    }
    let certificate = key.certificates()[0].sha256.hex();
    let pairs: Vec<&str> = (0..32).map(|at| &certificate[2 * at..2 * at + 2]).collect();
    for name in [
        &print,
        &key.id().to_string(),
        &certificate,
        &pairs.join(":"),
    ] {
        let ended = revoke(name);
        assert!(
            ended.code == 0 && ended.out.contains(&format!("key = \"{name}\"")),
            "{ended:?}"
        );
    }
    assert_eq!(world.pin(&["revoke", &print, "--reason", "lost"]).code, 0);
    let check = world.rootpin(&[
        "policy",
        "check",
        &world.path("policy").display().to_string(),
    ]);
    assert_eq!(check.code, 0, "{check:?}");
    let chain = world.path("chain.crt");
    let both = [fs::read(&leaf).unwrap(), fs::read(&authority).unwrap()].concat();
    fs::write(&chain, both).unwrap();
    let ended = revoke(&chain.display().to_string());
    assert!(
        ended.code == 64 && ended.err.contains("a chain"),
        "{ended:?}"
    );
    let two = world.path("two.pub");
    let both = ["p256", "p384"].map(|name| fs::read(format!("{data}/keys/{name}.pub")).unwrap());
    fs::write(&two, both.concat()).unwrap();
    let ended = revoke(&two.display().to_string());
    assert!(
        ended.code == 64 && ended.err.contains("has 2 keys"),
        "{ended:?}"
    );
    let ended = revoke("SHA256:short");
    assert!(
        ended.code == 64 && ended.err.contains("pin scan"),
        "{ended:?}"
    );
    let ended = revoke("sha256:short");
    let wanted = "names nothing that can be revoked: wanted a digest (sha256: and 64 ";
    assert!(ended.code == 64 && ended.err.contains(wanted), "{ended:?}");
}

#[test]
fn a_pinned_key_s_fingerprint_in_the_form_of_a_digest_revokes_no_digest() {
    let Some(world) = World::new("p-revoke-digest") else {
        return;
    };
    let data = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/signatures/keys/p384.pub"
    );
    let file = world.path("policy").join("roots/p384.pub");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::copy(data, &file).unwrap();
    let pinned = "[[root]]\nid = \"builder\"\ntype = \"cosign\"\nkeys = [\"roots/p384.pub\"]\n\
                  [[rule]]\nmatch = \"r.example/app\"\nroots = [\"builder\"]\ntags = \"unbound\"\n";
    let policy = world.path("policy").join("policy.toml");
    let text = fs::read_to_string(&policy).unwrap() + pinned;
    fs::write(&policy, text).unwrap();
    let key = signature_keys(&fs::read(data).unwrap()).unwrap().remove(0);
    let hex = Fingerprint::of(&key).unwrap().hex();
    let revoke = |what: &str| world.pin(&["revoke", what, "--reason", "lost", "--dry-run"]);
    let ended = revoke(&format!("sha256:{hex}"));
    assert!(
        ended.code == 64
            && ended.err.contains("hint: rootpin pin revoke")
            && ended
                .err
                .trim_end()
                .ends_with(&format!(" {hex} --reason lost")),
        "{ended:?}"
    );
    assert_eq!(revoke(&hex).code, 0);
    let other = "a".repeat(64);
    let what = format!("sha256:{other}");
    let ended = world.pin(&["revoke", &what, "--reason", "lost"]);
    let command = format!("rootpin pin revoke {other} --reason lost");
    assert!(ended.code == 0 && ended.out.contains(&command), "{ended:?}");
}

#[test]
fn what_is_revoked_already_is_said_to_be_that_and_changes_nothing() {
    let Some(world) = World::new("p-revoke-twice") else {
        return;
    };
    let data = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/signatures/keys/p384.pub"
    );
    let digest = format!("sha256:{}", "a".repeat(64));
    let policy = || fs::read_to_string(world.path("policy/policy.toml")).unwrap();
    for what in [data, &digest] {
        let revoke = |reason: &str, more: &[&str]| {
            let words = ["revoke", what, "--reason", reason];
            world.pin_json(&[&words, more].concat())
        };
        let (value, code) = revoke("lost", &[]);
        assert_eq!((code, &value["outcome"]), (0, &"changed".into()), "{value}");
        let before = policy();
        for more in [&[][..], &["--dry-run"], &["--fragment", "10-more.toml"]] {
            let (value, code) = revoke("again", more);
            assert_eq!(
                (code, &value["outcome"], &value["reason"]),
                (0, &"revoked-already".into(), &"lost".into()),
                "{value}"
            );
            assert_eq!(policy(), before);
        }
    }
    assert!(!world.path("policy/policy.d/10-more.toml").exists());
    let said = world.pin(&["revoke", &digest, "--reason", "again"]).out;
    let wanted = format!("revoked already: digest {digest}: lost; ");
    assert!(said.starts_with(&wanted), "{said}");
}
