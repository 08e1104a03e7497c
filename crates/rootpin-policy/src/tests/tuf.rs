//! Roots of type "tuf": what they say, and what is wrong with them.

use std::collections::BTreeSet;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;

use super::*;
use crate::{MetadataUrl, RootKind};
use rootpin_trust::{Fingerprint, Floor, FloorOwner, KeyId, key_file};

const ROOT: &[u8] = include_bytes!("../../../../tests/data/tuf/1.root.json");

fn findings_in(text: &str) -> Result<Policy, Vec<String>> {
    let mut files = files(&[("policy.toml", &format!("{HEAD}{text}"))]);
    files.insert("roots/acme.json".to_owned(), ROOT.to_vec());
    let shown = |finding: &Diagnostic| {
        format!("{}: {}", finding.location, finding.code).replace("policy.toml:", "")
    };
    load(&files, now()).map_err(|findings| findings.iter().map(shown).collect())
}

fn tuf(lines: &str) -> String {
    let digest = Digest::of(ROOT).hex();
    format!(
        "[[root]]\nid = \"a\"\ntype = \"tuf\"\nfile = \"roots/acme.json\"\nsha256 = \"{digest}\"\n{lines}\n{}",
        rule("h.example/**")
    )
}

#[test]
fn a_tuf_root_says_what_it_begins_with_and_where_it_is_read() {
    let text = "metadata = [\"https://t.example/meta/\", \"oci://r.example/meta\", \"file:///srv/tuf\"]\nfloor = { root = 1, targets = 7 }";
    let policy = findings_in(&tuf(text)).unwrap();
    let root = &policy.roots["a"];
    let RootKind::Tuf(tuf) = &root.kind else {
        panic!("not tuf")
    };
    assert_eq!(
        (tuf.sha256, tuf.pinned.version(), tuf.pinned.bytes()),
        (Digest::of(ROOT), 1, ROOT)
    );
    assert!(!root.keys.is_empty() && root.keys == *tuf.pinned.keys());
    assert_eq!(
        tuf.metadata[0],
        MetadataUrl::Http("https://t.example/meta".to_owned())
    );
    let places: Vec<_> = tuf.metadata.iter().map(ToString::to_string).collect();
    let wanted = [
        "https://t.example/meta",
        "oci://r.example/meta:latest",
        "file:///srv/tuf",
    ];
    assert_eq!(places, wanted);
    let pins = tuf.pins(root, policy.revoked_keys());
    assert_eq!(
        pins.floor,
        BTreeMap::from([("root".to_owned(), 1), ("targets".to_owned(), 7)])
    );
}

/// A root file that lists its root key by the one ID, and the key of all else by the other one.
fn root_file(root: &str, others: &str) -> Vec<u8> {
    let pairs = [root, others].map(|id| (id, Ed25519KeyPair::generate().unwrap()));
    let keys: serde_json::Map<_, _> = pairs
        .iter()
        .map(|(id, pair)| {
            let public = rootpin_trust::hex::encode(pair.public_key().as_ref());
            let key = json!({ "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": public } });
            ((*id).to_owned(), key)
        })
        .collect();
    let role = |id: &str| json!({ "keyids": [id], "threshold": 1 });
    let roles = json!({ "root": role(root), "timestamp": role(others), "snapshot": role(others), "targets": role(others) });
    let signed = json!({ "_type": "root", "spec_version": "1.0.34", "version": 1, "expires": "2040-01-01T00:00:00Z", "consistent_snapshot": true, "keys": keys, "roles": roles });
    let signature = pairs[0].1.sign(signed.to_string().as_bytes());
    let sig = rootpin_trust::hex::encode(signature.as_ref());
    json!({ "signatures": [{ "keyid": root, "sig": sig }], "signed": signed })
        .to_string()
        .into_bytes()
}

#[test]
fn a_key_that_a_pinned_file_lists_by_a_revoked_id_is_revoked_by_its_canonical_id_too() {
    let (root, others, unknown) = ("cd".repeat(32), "ab".repeat(32), "ef".repeat(32));
    let file = root_file(&root, &others);
    let revoking = |id: &str| {
        let text = tuf("").replace(&Digest::of(ROOT).hex(), &Digest::of(&file).hex());
        let entry = format!("[[revoked]]\nkey = \"{id}\"\nreason = \"stolen\"\n");
        let mut files = files(&[("policy.toml", &format!("{HEAD}{text}{entry}"))]);
        files.insert("roots/acme.json".to_owned(), file.clone());
        load(&files, now()).unwrap()
    };
    let policy = revoking(&others);
    let RootKind::Tuf(root) = &policy.roots["a"].kind else {
        panic!("not tuf")
    };
    let revoked = policy.revoked_keys();
    assert_eq!(revoked.len(), 2);
    assert!(root.pinned.targets_keys().is_subset(revoked));
    assert!(revoked.iter().all(|key| policy.revoked_key(key).is_some()));
    // Of another key nothing is known but the ID.
    assert_eq!(revoking(&unknown).revoked_keys().len(), 1);
}

#[test]
fn a_pinned_file_that_lists_its_key_by_another_one_s_hash_takes_no_revocation_away() {
    let key = key_file::public_keys(PEM).unwrap().remove(0);
    let print = Fingerprint::of(&key).unwrap().hex();
    assert_ne!(print, key.id().to_string());
    let file = root_file(&"cd".repeat(32), &print);
    let tuf = tuf("").replace(&Digest::of(ROOT).hex(), &Digest::of(&file).hex());
    let notary = root("n").replace("\"KEY\"", "\"roots/acme.pub\"");
    let notary = format!("{notary}[[rule]]\nmatch = \"n.example/**\"\nroots = [\"n\"]\n");
    let entry = format!("[[revoked]]\nkey = \"{print}\"\nreason = \"stolen\"\n");
    for text in [format!("{notary}{tuf}"), format!("{tuf}{notary}")] {
        let mut files = files(&[("policy.toml", &format!("{HEAD}{text}{entry}"))]);
        files.insert("roots/acme.json".to_owned(), file.clone());
        let policy = load(&files, now()).unwrap();
        assert!(policy.revoked_keys().contains(&key.id()), "{text}");
        // The hash itself, and the key that the file lists by it.
        assert_eq!(policy.revoked_keys().len(), 3, "{text}");
    }
}

#[test]
fn a_tuf_root_may_have_no_place_of_metadata() {
    assert!(findings_in(&tuf("")).is_ok());
}

#[test]
fn each_mistake_in_a_tuf_root_is_told_at_its_place() {
    for (text, wanted) in [
        (&tuf("server = \"https://n.example\""), "8:1: unknown-key"),
        (&tuf("role = \"targets\""), "8:1: unknown-key"),
        (&tuf("metadata = []"), "8:12: bad-value"),
        (
            &tuf("metadata = [\"http://t.example\"]"),
            "8:13: plain-http",
        ),
        (&tuf("metadata = [\"t.example\"]"), "8:13: bad-url"),
        (
            &tuf("metadata = [\"https://t.example\", \"https://t.example/\"]"),
            "8:34: duplicate",
        ),
        (&tuf("floor = { mirrors = 1 }"), "8:11: unknown-key"),
        (&tuf("floor = { root = \"1\" }"), "8:18: bad-value"),
        (&tuf("floor = 1"), "8:9: bad-value"),
        (
            &tuf("").replace("roots/acme.json", "roots/none.json"),
            "6:8: unreadable",
        ),
        (
            &tuf("").replace("roots/acme.json", "roots/acme.pub"),
            "7:10: bad-file",
        ),
        (
            &tuf("").replace(&Digest::of(ROOT).hex(), "sha256:0"),
            "7:10: bad-digest",
        ),
        (
            &tuf("").replace(&Digest::of(ROOT).hex(), TWO.trim_start_matches("sha256:")),
            "7:10: bad-file",
        ),
        (
            &tuf("")
                .replace("roots/acme.json", "roots/empty.pem")
                .replace(&Digest::of(ROOT).hex(), TWO.trim_start_matches("sha256:")),
            "6:8: bad-file",
        ),
        (&tuf("").replace("file =", "# file ="), "3:1: missing-key"),
        (
            &tuf("").replace("sha256 =", "# sha256 ="),
            "3:1: missing-key",
        ),
    ] {
        assert_eq!(
            findings_in(text).map(|_| "").unwrap_err(),
            [wanted],
            "in\n{HEAD}{text}"
        );
    }
}

#[test]
fn two_tuf_roots_of_one_file_are_one_voice() {
    let text = tuf("");
    let both = format!(
        "{}{}",
        text.split("[[rule]]")
            .next()
            .unwrap()
            .replace("\"a\"", "\"b\""),
        text
    );
    let both = both.replace("roots = [\"a\"]", "roots = [\"a\", \"b\"]\nquorum = 2");
    assert!(
        findings_in(&both)
            .unwrap_err()
            .iter()
            .all(|finding| finding.ends_with(": quorum"))
    );
}

#[test]
fn a_reset_forgets_the_root_s_own_floors_and_those_of_former_ids_that_share_its_keys() {
    let policy = findings_in(&tuf("")).unwrap();
    let root = &policy.roots["a"];
    let RootKind::Tuf(of_tuf) = &root.kind else {
        panic!("not tuf")
    };
    let other = Digest::of(b"another file");
    let floor = |pin: Digest, id: &str, root_keys: BTreeSet<KeyId>| Floor {
        role: "timestamp".to_owned(),
        root_keys: root_keys.into(),
        version: 5,
        signed: other,
        keys: BTreeSet::new(),
        threshold: 1,
        listed: BTreeMap::new(),
        since: None,
        owner: Some(FloorOwner {
            pin,
            ids: [id.to_owned()].into(),
            under: other,
        }),
    };
    let own = || of_tuf.pinned.signers().clone();
    let forgets = |floor: &Floor| root.forgets(floor, &policy);
    assert!(forgets(&floor(of_tuf.pinned.statement(), "b", own())));
    assert!(forgets(&floor(other, "a", BTreeSet::new())));
    assert!(forgets(&floor(other, "a former id", own())));
    assert!(!forgets(&floor(other, "a former id", BTreeSet::new())));
    let both = tuf("").replace("[[rule]]", "[[root]]\nid = \"b\"\ntype = \"notary\"\nserver = \"https://n.example\"\nkeys = [\"KEY\"]\nrole = \"targets\"\n[[rule]]\nmatch = \"h.example/b/*\"\nroots = [\"b\"]\n[[rule]]");
    let both = findings_in(&both).unwrap();
    let alive = floor(other, "b", own());
    assert!(
        !both.roots["a"].forgets(&alive, &both),
        "b is another root of the policy"
    );
}
