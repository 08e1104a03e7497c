mod notation;
mod policy_file;
mod precedence;
mod registries;
mod registries_model;
mod signed;
mod signed_model;

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::problem::Problem;
use rootpin_policy::{Policy, RootKind};
use rootpin_trust::image::Repository;

fn id(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

fn proposed(daemon_json: &Value) -> Proposal {
    let text = daemon_json.to_string();
    let trust = TrustDirectory::default();
    docker_daemon(
        "daemon.json",
        text.as_bytes(),
        &ServerChoice::default(),
        &trust,
    )
    .unwrap()
}

fn loaded(proposal: &Proposal) -> Policy {
    let files = files(proposal);
    let text = String::from_utf8_lossy(&files["policy.toml"]).into_owned();
    let now = "2026-11-29T00:00:00Z".parse().unwrap();
    rootpin_policy::load(&files, now).unwrap_or_else(|errors| panic!("{errors:?}\n{text}"))
}

/// The keys that the proposal admits for a name.
fn admitted(policy: &Policy, name: &str) -> BTreeSet<String> {
    let repository = Repository::from_full(name).unwrap();
    let Some(rule) = policy.rule_for(&repository) else {
        return BTreeSet::new();
    };
    let mut keys = BTreeSet::new();
    for root in &rule.roots {
        let RootKind::Notary(_) = &root.kind else {
            panic!("{}", root.id)
        };
        keys.extend(root.keys.iter().map(ToString::to_string));
    }
    keys
}

/// What Mirantis' dockerd admits: the exact name's certificates, its keys, then the longest
/// beginning.
fn by_source(pinning: &Value, name: &str) -> BTreeSet<String> {
    let keys = |value: &Value| -> BTreeSet<String> {
        let ids = value.as_array().unwrap().iter();
        ids.map(|id| id.as_str().unwrap().to_owned()).collect()
    };
    // The certificates are in no trust directory here, so nobody knows their keys.
    if pinning["cert-ids"].get(name).is_some() {
        return BTreeSet::new();
    }
    let pins = pinning["root-keys"].as_object().unwrap();
    if let Some(exact) = pins.get(name) {
        return keys(exact);
    }
    let fits = |pattern: &&String| {
        let beginning = pattern.strip_suffix('*');
        beginning.is_some_and(|beginning| name.starts_with(beginning))
    };
    let longest = pins.keys().filter(fits).max_by_key(|pattern| pattern.len());
    longest
        .map(|pattern| keys(&pins[pattern]))
        .unwrap_or_default()
}

const NAMES: [&str; 10] = [
    "r.example/org",
    "r.example/org/app",
    "r.example/org/app/web",
    "r.example/organ",
    "r.example/organ/app",
    "r.example/or",
    "r.example.evil/org/app",
    "s.example/org/app",
    "docker.io/library/alpine",
    "docker.io/org/app",
];

const PATTERNS: [&str; 13] = [
    "r.example/org",
    "r.example/org/app",
    "r.example/org/*",
    "r.example/org*",
    "r.example/or*",
    "r.example/*",
    "r.example*",
    "*",
    "r.example/org/app/*",
    "docker.io/*",
    "docker.io/library/alpine",
    "r.example/organ/*",
    "not a name",
];

proptest! {
    #[test]
    fn no_name_is_admitted_that_the_source_refuses_nor_by_another_key(
        pins in prop::collection::btree_map(0..PATTERNS.len(), prop::collection::vec(1..6_u8, 0..3), 0..7),
        certificates in prop::collection::btree_set(0..NAMES.len(), 0..3),
        official in any::<bool>(),
    ) {
        let keys: BTreeMap<&str, Vec<String>> = pins
            .iter()
            .map(|(at, keys)| (PATTERNS[*at], keys.iter().map(|key| id(*key)).collect()))
            .collect();
        let certificates: BTreeMap<&str, Vec<String>> =
            certificates.iter().map(|at| (NAMES[*at], vec![id(9)])).collect();
        let pinning = json!({ "Root-Keys": keys, "cert-ids": certificates, "official-library-images": official });
        let proposal = proposed(&json!({ "content-trust": { "mode": "enforced", "trust-pinning": pinning } }));
        let policy = loaded(&proposal);
        for name in NAMES {
            let pinning = json!({ "root-keys": keys, "cert-ids": certificates });
            // dockerd has its own keys for these, and nobody can have them.
            let theirs = if official && name.starts_with("docker.io/library/") {
                BTreeSet::new()
            } else {
                by_source(&pinning, name)
            };
            let ours = admitted(&policy, name);
            prop_assert!(ours.is_subset(&theirs), "{}: {:?} not in {:?}", name, ours, theirs);
        }
    }
}

#[test]
fn the_pins_of_mirantis_dockerd_are_carried_over_with_all_that_can_be() {
    let proposal = proposed(&json!({
        "debug": true,
        "content-trust": {
            "mode": "permissive",
            "trust-pinning": {
                "official-library-images": true,
                "root-keys": { "r.example/org/*": [id(1), id(2)], "s.example/or*": [id(3)], "docker.io/acme/app": [id(1)] },
                "cert-ids": { "r.example/org/app": [id(9)] },
            },
            "allow-expired-cached-trust-data": true,
            "new-thing": 1,
        },
    }));
    let policy = loaded(&proposal);
    assert_eq!(
        policy
            .mode_at(Some("2026-11-29T00:00:00Z".parse().unwrap()))
            .as_str(),
        "audit"
    );
    assert_eq!(
        admitted(&policy, "r.example/org/web"),
        BTreeSet::from([id(1), id(2)])
    );
    assert_eq!(admitted(&policy, "s.example/or/x"), BTreeSet::from([id(3)]));
    // Its own certificate counts and is not known, so the broader keys don't count for it.
    assert_eq!(admitted(&policy, "r.example/org/app"), BTreeSet::new());
    let servers: BTreeSet<&str> = proposal
        .roots
        .iter()
        .map(|root| root.server.as_str())
        .collect();
    assert_eq!(
        servers,
        BTreeSet::from([
            "https://notary.docker.io",
            "https://r.example",
            "https://s.example"
        ])
    );
    let left: Vec<&str> = proposal
        .left_behind
        .iter()
        .map(|left| left.what.as_str())
        .collect();
    assert_eq!(
        left,
        [
            "content-trust.\"new-thing\"",
            "allow-expired-cached-trust-data",
            "official-library-images",
            &format!("the certificate {:?} of \"r.example/org/app\"", id(9)),
            "a part of the pins of \"s.example/or*\"",
        ]
    );
}

#[test]
fn what_is_no_configuration_and_what_is_hostile_pins_nothing_and_breaks_nothing() {
    let trust = TrustDirectory::default();
    let servers = ServerChoice::default();
    for text in ["", "[]", "{", "\"x\"", "{\"content-trust\": "] {
        assert!(
            docker_daemon("f", text.as_bytes(), &servers, &trust).is_err(),
            "{text}"
        );
        assert!(NotaryConfig::read(text.as_bytes()).is_err(), "{text}");
        let read = |_: &str| Err(Problem::new("none"));
        let containers = containers_policy("f", text.as_bytes(), &read, false);
        assert!(containers.is_err(), "{text}");
        let notation = notation_trust_policy("f", text.as_bytes(), &|_| Ok(Vec::new()));
        assert!(notation.is_err(), "{text}");
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep = format!("{{\"content-trust\": {deep}}}");
    assert!(docker_daemon("f", deep.as_bytes(), &servers, &trust).is_err());
    for content_trust in [
        json!(1),
        json!([]),
        json!({ "mode": 7 }),
        json!({ "mode": "enforce" }),
        json!({ "mode": "enforced", "MODE": "disabled" }),
        json!({ "mode": "enforced", "trust-pinning": 7 }),
        json!({ "mode": "enforced", "trust-pinning": { "root-keys": { "r.example/a": "x" } } }),
        json!({ "mode": "enforced", "trust-pinning": { "cert-ids": [] } }),
        json!({ "mode": "enforced", "trust-pinning": { "official-library-images": "true" } }),
    ] {
        let text = json!({ "content-trust": content_trust }).to_string();
        let read = docker_daemon("f", text.as_bytes(), &servers, &trust);
        assert!(read.is_err(), "{text}");
    }
    let folded = json!({ "Content-Trust": {} }).to_string();
    assert!(docker_daemon("f", folded.as_bytes(), &servers, &trust).is_err());
    for config in [
        json!({ "trust_pinning": 1 }),
        json!({ "trust_pinning": { "certs": [] } }),
        json!({ "trust_pinning": { "certs": { "r.example/a": "x" } } }),
        json!({ "trust_pinning": { "certs": { "r.example/a": [1] } } }),
        json!({ "trust_pinning": { "certs": { "r.example/a": ["x"], "R.example/a": ["y"] } } }),
        json!({ "trust_pinning": { "ca": { "r.example/a": 1 } } }),
        json!({ "trust_pinning": { "disable_tofu": "perhaps" } }),
        json!({ "trust_pinning": {}, "Trust_Pinning": {} }),
        json!({ "trust_pinning.certs": {} }),
        json!({ "remote_server": "https://n.example" }),
    ] {
        let read = NotaryConfig::read(config.to_string().as_bytes());
        assert!(read.is_err(), "{config}");
    }
    for content_trust in [
        json!({ "mode": "enforced", "trust-pinning": { "root-keys": { "r.example/a\n[[exempt]]": [id(1)] } } }),
        json!({ "mode": "enforced", "trust-pinning": { "root-keys": { "r.example/a": ["x\n[[rule]]"] } } }),
        json!({ "mode": "enforced", "trust-pinning": { "root-keys": { "../*": [id(1)], "/": [id(1)], "*/*": [id(1)] } } }),
    ] {
        let proposal = proposed(&json!({ "content-trust": content_trust }));
        let policy = loaded(&proposal);
        assert_eq!(admitted(&policy, "r.example/a"), BTreeSet::new());
        let text = String::from_utf8(files(&proposal)["policy.toml"].clone()).unwrap();
        let tables: toml::Table = text.parse().unwrap();
        assert!(
            !tables.contains_key("exempt") && !proposal.left_behind.is_empty(),
            "{content_trust}"
        );
    }
}

/// What Docker's client keeps of a repository that its server serves.
fn trust_directory() -> TrustDirectory {
    let served = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/notary/server/dct-docker26/served"
    );
    let gun = std::fs::read_to_string(format!("{served}/GUN")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let metadata = dir.path().join("tuf").join(gun.trim()).join("metadata");
    std::fs::create_dir_all(&metadata).unwrap();
    for file in ["root.json", "targets.json"] {
        std::fs::copy(format!("{served}/{file}"), metadata.join(file)).unwrap();
    }
    // Nothing is read through a link.
    let link = dir.path().join("tuf/linked.example");
    std::os::unix::fs::symlink(dir.path().join("tuf"), link).unwrap();
    let trust = TrustDirectory::read(dir.path()).unwrap();
    assert_eq!((trust.repositories.len(), trust.unread.len()), (1, 1));
    trust
}

#[test]
fn what_docker_saw_first_is_proposed_and_not_confirmed() {
    let trust = trust_directory();
    let mut proposal = trust.proposal("trust", |_| ServerChoice::default());
    let [root] = proposal.roots.as_slice() else {
        panic!("{proposal:?}")
    };
    assert_eq!(root.role, "targets/releases");
    assert!(!root.is_confirmed());
    let name = proposal.rules.keys().next().unwrap().clone();
    let policy = loaded(&proposal);
    assert_eq!(admitted(&policy, &name), BTreeSet::new());
    let text = files(&proposal)["policy.toml"].clone();
    let key = proposal.roots[0].keys[0].id.to_string();
    assert!(!String::from_utf8(text).unwrap().contains(&key));
    proposal.roots[0].keys[0].confirmed = true;
    assert_eq!(admitted(&loaded(&proposal), &name), BTreeSet::from([key]));
}

#[test]
fn a_name_whose_keys_nobody_confirmed_stays_refused_where_a_confirmed_rule_covers_it() {
    let trust = trust_directory();
    let mut proposal = trust.proposal("trust", |_| ServerChoice::default());
    let name = proposal.rules.keys().next().unwrap().clone();
    let seen = &proposal.roots[0];
    let broad = ImportedRoot {
        keys: vec![ImportedKey {
            id: id(9).parse().unwrap(),
            key: None,
            confirmed: true,
        }],
        id: String::new(),
        server: seen.server.clone(),
        tls_ca: None,
        role: seen.role.clone(),
    };
    let (registry, _) = name.split_once('/').unwrap();
    proposal.allow(&format!("{registry}/**"), broad);
    let policy = loaded(&proposal);
    assert_eq!(admitted(&policy, &name), BTreeSet::new());
    let other = format!("{registry}/another/one");
    assert_eq!(admitted(&policy, &other), BTreeSet::from([id(9)]));
}

#[test]
fn a_certificate_that_notary_pins_leads_to_its_key_and_an_authority_to_none() {
    let trust = trust_directory();
    let gun = trust.repositories[0].gun.to_string();
    let key = &trust.repositories[0].root_keys[0];
    let config = json!({
        "trust_dir": "~/.docker/trust",
        "remote_server": { "url": "https://notary.example:4443", "root_ca": "ca.pem", "skipTLSVerify": true },
        "trust_pinning": {
            "disable_tofu": false,
            "certs": { gun.as_str(): [key.scoped_id()], "r.example/none": [id(9)], "r.example/empty*": [] },
            "ca": { "r.example/ca": "ca.pem" },
        },
    });
    let config = NotaryConfig::read(config.to_string().as_bytes()).unwrap();
    assert_eq!(
        config.server.as_deref(),
        Some("https://notary.example:4443")
    );
    let servers = ServerChoice {
        server: config.server.clone(),
        tls_ca: None,
    };
    let proposal = notary_config("config.json", &config, &servers, &trust);
    let policy = loaded(&proposal);
    assert_eq!(
        admitted(&policy, &gun),
        BTreeSet::from([key.id().to_string()])
    );
    assert!(
        policy
            .rule_for(&Repository::from_full("r.example/none").unwrap())
            .is_some()
    );
    assert_eq!(admitted(&policy, "r.example/none"), BTreeSet::new());
    let left: Vec<&str> = proposal
        .left_behind
        .iter()
        .map(|left| left.what.as_str())
        .collect();
    assert_eq!(
        left,
        [
            "\"remote_server.skipTLSVerify\"",
            "ca of \"r.example/ca\": \"ca.pem\"",
            "trust on first use",
            &format!("the certificate {:?} of \"r.example/none\"", id(9)),
            "a part of the pins of \"r.example/ca*\"",
            "a part of the pins of \"r.example/empty*\"",
        ]
    );
    // Of an empty list no certificate counts, whatever a broader beginning says.
    let (host, rest) = gun.split_once('/').unwrap();
    let beginning = format!("{host}/{}*", rest.split('/').next().unwrap());
    for certs in [
        json!({ beginning.as_str(): [], format!("{host}/*"): [key.scoped_id()] }),
        json!({ beginning.as_str(): [] }),
        json!({ gun.as_str(): [], format!("{host}/*"): [key.scoped_id()] }),
    ] {
        let config = json!({ "trust_pinning": { "certs": certs, "disable_tofu": false } });
        let config = NotaryConfig::read(config.to_string().as_bytes()).unwrap();
        let mut proposal = notary_config("config.json", &config, &servers, &trust);
        proposal.merge(trust.proposal("trust", |_| servers.clone()), "trust");
        for key in proposal.roots.iter_mut().flat_map(|root| &mut root.keys) {
            key.confirmed = true;
        }
        assert_eq!(
            admitted(&loaded(&proposal), &gun),
            BTreeSet::new(),
            "{certs}"
        );
    }
    // What the client saw first adds nothing to what was pinned.
    let mut both = proposal;
    both.merge(trust.proposal("trust", |_| servers.clone()), "trust");
    assert_eq!(
        admitted(&loaded(&both), &gun),
        BTreeSet::from([key.id().to_string()])
    );
}
