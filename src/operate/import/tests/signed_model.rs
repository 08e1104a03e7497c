//! What the tools of a policy.json admit, as a model, against what its import admits.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::loaded;
use super::signed::{KEYS, Pulled, Signature, is_of, left, ours, read};
use rootpin_trust::image::Repository;

/// Whether policy.json admits a name whose bytes have these signatures, as containers-policy.json(5)
/// has it.
pub(super) fn theirs(
    policy: &Value,
    (repository, tag): Pulled<'_>,
    signatures: &[Signature],
) -> bool {
    let docker = &policy["transports"]["docker"];
    let whole = match tag {
        "" => format!("{repository}@{DIGEST}"),
        tag => format!("{repository}:{tag}"),
    };
    let mut names = vec![whole, repository.to_owned()];
    let mut shorter = repository;
    while let Some((start, _)) = shorter.rsplit_once('/') {
        shorter = start;
        names.push(start.to_owned());
    }
    // A port is no part of a domain (`DockerReferenceNamespaces` of containers/image).
    let mut domain = shorter.split(':').next().unwrap();
    while let Some((_, rest)) = domain.split_once('.') {
        names.push(format!("*.{rest}"));
        domain = rest;
    }
    names.push(String::new());
    let scope = names.iter().find_map(|name| docker.get(name));
    let requirements = scope.unwrap_or(&policy["default"]).as_array().unwrap();
    !requirements.is_empty()
        && requirements
            .iter()
            .all(|requirement| match requirement["type"].as_str() {
                Some("insecureAcceptAnything") => true,
                Some("sigstoreSigned") => signatures.iter().any(|(key, reference)| {
                    let keys = requirement["keyPaths"].as_array().unwrap();
                    let path = json!(format!("/keys/{key}.pub"));
                    let no_log = requirement.get("rekorPublicKeyPath").is_none();
                    no_log
                        && keys.contains(&path)
                        && names_it(&requirement["signedIdentity"], (repository, tag), reference)
                }),
                _ => false,
            })
}

fn names_it(identity: &Value, (repository, tag): Pulled<'_>, reference: &str) -> bool {
    let text = |member: &str| identity[member].as_str().unwrap();
    let of = |repository: &str| is_of(reference, repository);
    // The whole name, and of a name by digest the repository (policy_reference_match.go of
    // containers/image, `matchRepoDigestOrExactReferenceValues`).
    let exact_or_digest = |repository: &str| match tag {
        "" => of(repository),
        tag => reference == format!("{repository}:{tag}"),
    };
    match identity["type"].as_str() {
        None | Some("matchRepoDigestOrExact") => exact_or_digest(repository),
        // These signatures give a tag, which a name by digest does not have.
        Some("matchExact") => !tag.is_empty() && exact_or_digest(repository),
        Some("matchRepository") => of(repository),
        Some("exactReference") => reference == text("dockerReference"),
        Some("exactRepository") => of(text("dockerRepository")),
        Some("remapIdentity") => {
            let rest = repository.strip_prefix(text("prefix"));
            match rest.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
                None => exact_or_digest(repository),
                Some(rest) => {
                    let name = format!("{}{rest}", text("signedPrefix"));
                    let is_full =
                        Repository::from_full(&name).is_ok_and(|full| full.as_str() == name);
                    is_full && exact_or_digest(&name)
                }
            }
        }
        _ => false,
    }
}

/// Of the image that is pulled by it.
const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000001";

const SCOPES: [&str; 20] = [
    "r.example",
    "r.example/team",
    "r.example/team/app",
    "r.example/team/app/web",
    "r.example/team/app:v1",
    "r.example/other/app:v1",
    "r.example/team/app@sha256:0000000000000000000000000000000000000000000000000000000000000001",
    "r.example/tea",
    "m.example:5000",
    "m.example:5000/hub",
    "m.example:5000/hub/library",
    "*.example",
    "*.hub.example",
    "a.hub.example",
    "a.hub.example:8443",
    "docker.io",
    "docker.io/library",
    "docker.io/library/alpine",
    "",
    "R.Example/team",
];

const NAMES: [&str; 11] = [
    "r.example/team",
    "r.example/team/app",
    "r.example/team/app/web",
    "r.example/teams/app",
    "r.example/other/app",
    "m.example:5000/hub/library/alpine",
    "m.example:5000/hub/alpine",
    "docker.io/library/alpine",
    "s.example/x",
    "a.hub.example/x",
    "a.hub.example:8443/x",
];

/// Scopes of transports by which no engine pulls.
const OTHER_TRANSPORTS: [(&str, &str); 6] = [
    ("docker-daemon", ""),
    ("docker-daemon", "r.example/team"),
    ("atomic", "r.example/team/app"),
    ("oci", "/srv/images"),
    ("dir", "/srv"),
    ("containers-storage", ""),
];

/// The file as it gives its keys in these members: paths, data, or one of either alone.
fn with_keys_in(policy: &Value, as_data: bool, alone: bool) -> Value {
    use base64::Engine as _;
    let mut policy = policy.clone();
    let transports = policy["transports"].as_object_mut().unwrap();
    let scopes = transports.values_mut().flat_map(|scopes| {
        let scopes = scopes.as_object_mut().unwrap();
        scopes.values_mut()
    });
    let lists = scopes.filter_map(Value::as_array_mut).flatten();
    for requirement in lists.filter_map(Value::as_object_mut) {
        let Some(Value::Array(paths)) = requirement.remove("keyPaths") else {
            continue;
        };
        let data = |path: &Value| {
            let file = read(path.as_str().unwrap()).unwrap();
            json!(base64::engine::general_purpose::STANDARD.encode(file))
        };
        let given: Vec<Value> = if as_data {
            paths.iter().map(data).collect()
        } else {
            paths
        };
        let name = if as_data { "keyData" } else { "keyPath" };
        match given.as_slice() {
            [one] if alone => requirement.insert(name.to_owned(), one.clone()),
            _ => requirement.insert(format!("{name}s"), json!(given)),
        };
    }
    policy
}

fn identities() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => Just(Value::Null),
        1 => Just(json!({ "type": "matchRepoDigestOrExact" })),
        1 => Just(json!({ "type": "matchExact" })),
        2 => Just(json!({ "type": "matchRepository" })),
        1 => Just(json!({ "type": "exactReference", "dockerReference": "r.example/team/app:v1" })),
        1 => Just(json!({ "type": "exactRepository", "dockerRepository": "r.example/team/app" })),
        1 => Just(json!({ "type": "remapIdentity", "prefix": "m.example:5000/hub", "signedPrefix": "docker.io" })),
        1 => Just(json!({ "type": "remapIdentity", "prefix": "r.example/team", "signedPrefix": "docker.io/library" })),
        1 => Just(json!({ "type": "remapIdentity", "prefix": "r.example/team/app", "signedPrefix": "docker.io/library/alpine" })),
        1 => Just(json!({ "type": "remapIdentity", "prefix": "r.example/team", "signedPrefix": "docker.io" })),
    ]
}

fn requirements() -> impl Strategy<Value = Value> {
    let keys = prop::collection::btree_set(0..KEYS.len(), 1..3);
    let signed =
        (keys, identities(), any::<prop::sample::Index>()).prop_map(|(keys, identity, odd)| {
            let keys: Vec<String> = keys
                .iter()
                .map(|at| format!("/keys/{}.pub", KEYS[*at]))
                .collect();
            let mut requirement = json!({ "type": "sigstoreSigned", "keyPaths": keys });
            if !identity.is_null() {
                requirement["signedIdentity"] = identity;
            }
            if odd.index(12) == 0 {
                requirement["rekorPublicKeyPath"] = json!("/keys/rekor.pub");
            }
            requirement
        });
    let one = prop_oneof![
        8 => signed,
        1 => Just(json!({ "type": "reject" })),
        1 => Just(json!({ "type": "insecureAcceptAnything" })),
        1 => Just(json!({ "type": "signedBy", "keyType": "GPGKeys", "keyPath": "/keys/x.gpg" })),
    ];
    // A twentieth of them makes the tools refuse the whole file.
    let list = prop::collection::vec(one, 1..3).prop_map(Value::from);
    prop_oneof![
        57 => list,
        1 => Just(json!([])),
        1 => Just(json!([{ "type": "odd" }])),
        1 => Just(json!([{ "type": "reject", "more": 1 }])),
    ]
}

/// Whether the tools refuse such a file, of those that `requirements` makes.
fn is_refused_whole(policy: &str) -> bool {
    let faults = [
        "[]",
        "\"odd\"",
        "Not A Name",
        "\"more\":",
        "r.example/team/\"",
    ];
    faults.iter().any(|fault| policy.contains(fault))
}

proptest! {
    #[test]
    fn a_policy_of_containers_admits_nothing_that_its_tools_refuse(
        scopes in prop::collection::btree_map(0..SCOPES.len(), requirements(), 0..6),
        default in requirements(),
        elsewhere in prop::collection::btree_map(0..OTHER_TRANSPORTS.len(), requirements(), 0..2),
        (as_data, alone) in any::<(bool, bool)>(),
    ) {
        let docker: BTreeMap<&str, Value> =
            scopes.into_iter().map(|(at, value)| (SCOPES[at], value)).collect();
        let mut source = json!({ "default": default, "transports": { "docker": docker } });
        for (at, requirements) in &elsewhere {
            let (transport, scope) = OTHER_TRANSPORTS[*at];
            source["transports"][transport][scope] = requirements.clone();
        }
        let text = with_keys_in(&source, as_data, alone).to_string();
        let read = containers_policy("policy.json", text.as_bytes(), &read, false);
        prop_assert_eq!(read.is_err(), is_refused_whole(&text), "{}", text);
        let Ok(proposal) = read else {
            return Ok(());
        };
        for at in elsewhere.keys() {
            let (transport, scope) = OTHER_TRANSPORTS[*at];
            let what = format!("{transport} {scope}");
            prop_assert!(left(&proposal).contains(&what.trim_end()), "{}: {:?}", what, left(&proposal));
        }
        let policy = loaded(&proposal);
        let references: BTreeSet<String> = NAMES
            .iter()
            .flat_map(|name| ["v1", "v2"].map(|tag| format!("{name}:{tag}")))
            .collect();
        for name in NAMES {
            for tag in ["v1", "v2", ""] {
                for reference in &references {
                    for keys in [&KEYS[..1], &KEYS[1..2], &KEYS[2..], &KEYS[..]] {
                        let signatures: Vec<Signature> =
                            keys.iter().map(|key| (*key, reference.clone())).collect();
                        let admitted = ours(&policy, (name, tag), &signatures);
                        prop_assert!(
                            !admitted || theirs(&source, (name, tag), &signatures),
                            "{name}:{tag} by {keys:?} as {reference} under {source}"
                        );
                    }
                }
            }
        }
    }
}
