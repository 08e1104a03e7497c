//! Of several sources that speak of a name the strictest counts, in whatever order they are read.

use super::super::*;
use super::{admitted, id, loaded, trust_directory};
use serde_json::json;

/// What a source says of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Word {
    Nothing,
    Refused,
    /// These keys are pinned.
    Pinned(&'static [u8]),
    /// A client saw this key first.
    Seen(u8),
    Signed,
}

const WORDS: [Word; 7] = [
    Word::Nothing,
    Word::Refused,
    Word::Pinned(&[1]),
    Word::Pinned(&[1, 2]),
    Word::Pinned(&[3]),
    Word::Seen(1),
    Word::Seen(3),
];
const PATTERNS: [&str; 4] = [
    "r.example/a/b",
    "r.example/a/**",
    "r.example/**",
    "s.example/**",
];
const NAMES: [&str; 4] = [
    "r.example/a/b",
    "r.example/a/c",
    "r.example/d",
    "s.example/e",
];

fn says(word: Word, pattern: &str) -> Proposal {
    let mut proposal = Proposal::default();
    let root = |keys: &[u8], confirmed: bool| ImportedRoot {
        id: String::new(),
        server: "https://n.example".to_owned(),
        tls_ca: None,
        role: "targets".to_owned(),
        keys: keys
            .iter()
            .map(|key| ImportedKey {
                id: id(*key).parse().unwrap(),
                key: None,
                confirmed,
            })
            .collect(),
    };
    match word {
        Word::Nothing => {}
        Word::Refused => proposal.refuse(pattern, "the source rejects it"),
        Word::Pinned(keys) => proposal.allow(pattern, root(keys, true)),
        Word::Seen(key) => proposal.allow(pattern, root(&[key], false)),
        Word::Signed => proposal.require(
            pattern,
            vec![Signers::Notation {
                certificates: vec!["x".to_owned()],
                subjects: Vec::new(),
            }],
            None,
        ),
    }
    proposal
}

/// Whether a source lets a key stand for a name, of which it may say nothing.
fn lets(word: Word, pattern: &str, name: &str, key: u8, is_pinned: bool) -> bool {
    let means = match pattern.strip_suffix("**") {
        Some(beginning) => name.starts_with(beginning),
        None => name == pattern,
    };
    match word {
        _ if !means => true,
        Word::Nothing => true,
        Word::Refused | Word::Signed => false,
        Word::Pinned(keys) => keys.contains(&key),
        Word::Seen(seen) => is_pinned || seen == key,
    }
}

#[test]
fn a_name_is_admitted_only_by_keys_that_every_source_takes_that_speaks_of_it() {
    for one in WORDS {
        for two in WORDS {
            for (at_one, at_two) in PATTERNS
                .iter()
                .flat_map(|one| PATTERNS.map(|two| (*one, two)))
            {
                let mut merged = Proposal::default();
                merged.merge(says(one, at_one), "one");
                merged.merge(says(two, at_two), "two");
                // A person confirms all that can be confirmed.
                for key in merged.roots.iter_mut().flat_map(|root| &mut root.keys) {
                    key.confirmed = true;
                }
                let policy = loaded(&merged);
                for name in NAMES {
                    for key in 1..4 {
                        let is_pin = |word: Word| matches!(word, Word::Pinned(_));
                        let wanted = lets(one, at_one, name, key, is_pin(two))
                            && lets(two, at_two, name, key, is_pin(one));
                        let ours = admitted(&policy, name).contains(&id(key));
                        assert!(
                            !ours || wanted,
                            "key {key} for {name}: {one:?} of {at_one}, {two:?} of {at_two}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn what_was_seen_first_neither_beats_a_pin_nor_is_refused_beside_a_pin_of_its_own_key() {
    for (pinned, left) in [(&[1_u8][..], 0), (&[3], 1)] {
        for swapped in [false, true] {
            let mut sources = [
                says(
                    Word::Pinned(if pinned == [1] { &[1] } else { &[3] }),
                    "r.example/**",
                ),
                says(Word::Seen(1), "r.example/a/b"),
            ];
            if swapped {
                sources.reverse();
            }
            let mut merged = Proposal::default();
            for source in sources {
                merged.merge(source, "source");
            }
            let admitted = admitted(&loaded(&merged), "r.example/a/b");
            assert_eq!(admitted, pinned.iter().map(|key| id(*key)).collect());
            let notes = merged.left_behind.len();
            assert!(swapped || notes == left, "{:?}", merged.left_behind);
        }
    }
    let mut both = says(Word::Pinned(&[1]), "r.example/**");
    both.merge(says(Word::Signed, "r.example/a/b"), "policy.json");
    assert!(matches!(
        both.rules["r.example/a/b"],
        ImportedRule::Refused(_)
    ));
    assert_eq!(both.left_behind.len(), 1);
}

/// Notary's configuration with these certificates, and what its client saw first.
fn with_notary(pinning: &serde_json::Value) -> Proposal {
    let trust = trust_directory();
    let servers = ServerChoice::default();
    let config = json!({ "trust_pinning": pinning });
    let config = NotaryConfig::read(config.to_string().as_bytes()).unwrap();
    let mut proposal = notary_config("config.json", &config, &servers, &trust);
    proposal.merge(trust.proposal("trust", |_| servers.clone()), "trust");
    for key in proposal.roots.iter_mut().flat_map(|root| &mut root.keys) {
        key.confirmed = true;
    }
    proposal
}

#[test]
fn a_pattern_of_certificates_admits_the_repository_of_its_certificate_and_no_other() {
    let trust = trust_directory();
    let gun = trust.repositories[0].gun.to_string();
    let key = &trust.repositories[0].root_keys[0];
    let (folder, _) = gun.rsplit_once('/').unwrap();
    let (pattern, beginning) = (format!("{folder}/*"), format!("{folder}/im*"));
    let other = format!("{folder}/another");
    let own = std::collections::BTreeSet::from([key.id().to_string()]);
    for (pinning, wanted) in [
        (json!({ "certs": { &pattern: [key.scoped_id()] } }), true),
        (json!({ "CERTS": { &beginning: [key.scoped_id()] } }), true),
        (
            json!({ "certs": { &pattern: [key.scoped_id(), id(9)] } }),
            true,
        ),
        (json!({ "certs": { &pattern: [id(9)] } }), false),
        (json!({ "certs": { &beginning: [id(9)] } }), false),
        (json!({ "certs": { "*": [id(9)] } }), false),
        (json!({ "certs": { &gun: [] } }), false),
        (
            json!({ "certs": { &gun: [id(9)], &pattern: [key.scoped_id()] } }),
            false,
        ),
        (
            json!({ "certs": { &beginning: [id(9)], &pattern: [key.scoped_id()] } }),
            false,
        ),
        (json!({ "ca": { folder: "ca.pem" } }), false),
        (json!({ "ca": { format!("{folder}/im"): "ca.pem" } }), false),
        (
            json!({ "ca": { folder: "ca.pem" }, "certs": { &gun: [key.scoped_id()] } }),
            true,
        ),
        // Nothing is pinned for it, so the confirmed key counts.
        (json!({ "certs": { "s.example/*": [id(9)] } }), true),
        // Of an empty list no certificate counts, as notary 0.7 has it.
        (json!({ "certs": { &pattern: [] } }), false),
    ] {
        let policy = loaded(&with_notary(&pinning));
        let admitted_keys = admitted(&policy, &gun);
        assert_eq!(admitted_keys == own, wanted, "{pinning}: {admitted_keys:?}");
        assert!(wanted || admitted_keys.is_empty(), "{pinning}");
        assert!(admitted(&policy, &other).is_empty(), "{pinning}");
    }
}

#[test]
fn each_root_that_is_imported_checks_the_dates_of_root_certificates_as_its_source_does() {
    let proposal = with_notary(&json!({}));
    let text = files(&proposal)["policy.toml"].clone();
    let text = String::from_utf8(text).unwrap();
    assert!(text.contains("certificate-dates = \"check\""), "{text}");
}

#[test]
fn the_official_images_of_dockerd_are_refused_whatever_else_is_pinned_for_them() {
    for (name, official, wanted) in [
        ("docker.io/*", true, 0),
        ("docker.io/library/*", true, 0),
        ("docker.io/library/alpine", true, 0),
        ("*", true, 0),
        ("docker.io/*", false, 1),
        ("docker.io/library/alpine", false, 1),
    ] {
        let pinning =
            json!({ "root-keys": { name: [id(1)] }, "official-library-images": official });
        let proposal = super::proposed(
            &json!({ "content-trust": { "mode": "enforced", "trust-pinning": pinning } }),
        );
        let policy = loaded(&proposal);
        let alpine = admitted(&policy, "docker.io/library/alpine");
        assert_eq!(alpine.len(), wanted, "{name} {official}");
    }
}
