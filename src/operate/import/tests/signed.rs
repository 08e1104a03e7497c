//! `policy.json`: against a second reading of what its tools do.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::loaded;
use rootpin_policy::{Policy, RootKind};
use rootpin_trust::cosign::TagBinding;
use rootpin_trust::image::Repository;
use rootpin_trust::{KeyId, key_file};

const KEYS: [&str; 3] = ["p256", "p384", "ed25519"];

fn pem(name: &str) -> Vec<u8> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/signatures/keys");
    std::fs::read(format!("{folder}/{name}.pub")).unwrap()
}

fn key_id(name: &str) -> KeyId {
    key_file::public_keys(&pem(name)).unwrap()[0].id()
}

pub(super) fn read(path: &str) -> Result<Vec<u8>, String> {
    let name = path.strip_prefix("/keys/").ok_or("there is no such file")?;
    Ok(match name.strip_suffix(".pub") {
        Some(name) => pem(name),
        None => format!("{name}\n").into_bytes(),
    })
}

pub(super) fn imported(policy: &Value, unbound: bool) -> Proposal {
    containers_policy("policy.json", policy.to_string().as_bytes(), &read, unbound).unwrap()
}

/// A signature: its key, and the name that it gives.
pub(super) type Signature = (&'static str, String);

/// A repository, and the tag by which an image of it is pulled; `""`: by its digest alone.
type Pulled<'a> = (&'a str, &'a str);

/// Whether the proposal admits a name whose bytes have these signatures.
pub(super) fn ours(
    policy: &Policy,
    (repository, tag): Pulled<'_>,
    signatures: &[Signature],
) -> bool {
    let repository = Repository::from_full(repository).unwrap();
    let Some(rule) = policy.rule_for(&repository) else {
        return false;
    };
    let Some(signed) = rule.signed_name(&repository) else {
        return false;
    };
    let says_yes = |root: &&std::sync::Arc<rootpin_policy::Root>| {
        let RootKind::Cosign(cosign) = &root.kind else {
            return false;
        };
        signatures.iter().any(|(key, reference)| {
            let named = match cosign.binds_tag {
                Some(TagBinding::Reference) if tag.is_empty() => is_of(reference, signed.as_str()),
                Some(TagBinding::Reference) => *reference == format!("{signed}:{tag}"),
                _ => true,
            };
            named && root.keys.contains(&key_id(key))
        })
    };
    rule.roots.iter().filter(says_yes).count() >= rule.quorum
}

fn is_of(reference: &str, repository: &str) -> bool {
    reference
        .rsplit_once(':')
        .is_some_and(|(name, _)| name == repository)
}

/// The same of policy.json, as containers-policy.json(5) has it.
fn theirs(policy: &Value, (repository, tag): Pulled<'_>, signatures: &[Signature]) -> bool {
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

pub(super) fn signed(keys: &[&str], identity: &Value) -> Value {
    let paths: Vec<String> = keys.iter().map(|key| format!("/keys/{key}.pub")).collect();
    let mut requirement = json!({ "type": "sigstoreSigned", "keyPaths": paths });
    if !identity.is_null() {
        requirement["signedIdentity"] = identity.clone();
    }
    json!([requirement])
}

pub(super) fn left(proposal: &Proposal) -> Vec<&str> {
    let left = proposal.left_behind.iter();
    left.map(|left| left.what.as_str()).collect()
}

#[test]
fn what_a_policy_of_containers_admits_by_its_keys_is_admitted_and_the_rest_is_named() {
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.encode(pem("p384"));
    let remap = json!({ "type": "remapIdentity", "prefix": "m.example:5000/hub", "signedPrefix": "docker.io" });
    let source = json!({
        "default": [{ "type": "insecureAcceptAnything" }],
        "transports": {
            "docker": {
                "r.example/team": signed(&["p256", "p384"], &Value::Null),
                "r.example/team/secret": [{ "type": "reject" }],
                "r.example/team/gpg": [{ "type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k.gpg" }],
                "r.example/data": [{ "type": "sigstoreSigned", "keyData": data }],
                "r.example/both": [signed(&["p256"], &Value::Null)[0], signed(&["p384"], &Value::Null)[0]],
                "r.example/exact": signed(&["p256"], &json!({ "type": "matchExact" })),
                "r.example/any": signed(&["p256"], &json!({ "type": "matchRepository" })),
                "r.example/log": [{ "type": "sigstoreSigned", "keyPath": "/keys/p256.pub", "rekorPublicKeyPath": "/r.pub" }],
                "r.example/keyless": [{ "type": "sigstoreSigned", "fulcio": { "caPath": "/f", "oidcIssuer": "i", "subjectEmail": "e" }, "rekorPublicKeyPath": "/r" }],
                "r.example/gone": [{ "type": "sigstoreSigned", "keyPath": "/nowhere" }],
                "m.example:5000": signed(&["ed25519"], &remap),
            },
            "docker-daemon": { "": [{ "type": "insecureAcceptAnything" }] },
        },
    });
    let proposal = imported(&source, false);
    let policy = loaded(&proposal);
    let yes = |name: (&str, &str), signatures: &[(&'static str, &str)]| {
        let signatures: Vec<Signature> = signatures
            .iter()
            .map(|(key, reference)| (*key, (*reference).to_owned()))
            .collect();
        let (ours, theirs) = (
            ours(&policy, name, &signatures),
            theirs_of_data(&source, name, &signatures),
        );
        assert!(!ours || theirs, "{name:?}");
        ours
    };
    let team = ("r.example/team/app", "v1");
    assert!(yes(team, &[("p384", "r.example/team/app:v1")]));
    assert!(!yes(team, &[("p384", "r.example/team/app:v2")]));
    assert!(!yes(team, &[("ed25519", "r.example/team/app:v1")]));
    assert!(yes(
        ("r.example/data", "v1"),
        &[("p384", "r.example/data:v1")]
    ));
    // By its digest alone.
    assert!(yes(
        ("r.example/data", ""),
        &[("p384", "r.example/data:v1")]
    ));
    assert!(!yes(
        ("r.example/data", ""),
        &[("p384", "r.example/both:v1")]
    ));
    let both = "r.example/both:v1";
    assert!(yes(
        ("r.example/both", "v1"),
        &[("p384", both), ("p256", both)]
    ));
    assert!(!yes(("r.example/both", "v1"), &[("p384", both)]));
    let mirrored = ("m.example:5000/hub/library/alpine", "3");
    assert!(yes(mirrored, &[("ed25519", "docker.io/library/alpine:3")]));
    assert!(!yes(
        mirrored,
        &[("ed25519", "m.example:5000/hub/library/alpine:3")]
    ));
    assert!(yes(
        ("m.example:5000/x/y", "1"),
        &[("ed25519", "m.example:5000/x/y:1")]
    ));
    for refused in [
        "team/secret",
        "team/gpg/x",
        "log",
        "keyless",
        "gone",
        "exact",
    ] {
        let name = format!("r.example/{refused}");
        let reference = format!("{name}:v1");
        let all = KEYS.map(|key| (key, reference.as_str()));
        assert!(!yes((&name, "v1"), &all), "{name}");
    }
    assert_eq!(
        left(&proposal),
        [
            "default: insecureAcceptAnything",
            "docker m.example:5000/hub: sigstoreSigned",
            "docker r.example/any: sigstoreSigned",
            "docker r.example/exact",
            "docker r.example/gone",
            "docker r.example/keyless",
            "docker r.example/log",
            "docker r.example/team/gpg",
            "docker-daemon",
        ]
    );
    let unbound = loaded(&imported(&source, true));
    let moved = [("p256", "r.example/any:v1".to_owned())];
    assert!(ours(&unbound, ("r.example/any", "v2"), &moved));
    assert!(!ours(&policy, ("r.example/any", "v2"), &moved));
}

/// As `theirs`, for a file in which a key stands in other members than keyPaths.
fn theirs_of_data(source: &Value, name: (&str, &str), signatures: &[Signature]) -> bool {
    let mut source = source.clone();
    for requirements in source["transports"]["docker"]
        .as_object_mut()
        .unwrap()
        .values_mut()
    {
        for requirement in requirements.as_array_mut().unwrap() {
            if requirement.get("keyPaths").is_none() {
                requirement["keyPaths"] = match requirement.get("keyData") {
                    Some(_) => json!(["/keys/p384.pub"]),
                    None => json!([]),
                };
            }
        }
    }
    theirs(&source, name, signatures)
}

/// A policy with one key for a registry, and these requirements of a scope.
pub(super) fn with(scope: &str, requirements: &Value) -> Value {
    json!({ "default": [{ "type": "reject" }], "transports": { "docker": {
        "r.example": signed(&["p256"], &Value::Null),
        scope: requirements,
        "r.example/b\n[[exempt]]": signed(&["p256"], &Value::Null),
    } } })
}

#[test]
fn a_hostile_policy_of_containers_admits_nothing() {
    let twice = r#"{"default":[{"type":"reject"}],"transports":{"docker":{"r.example/a":[{"type":"reject","type":"insecureAcceptAnything"}]}}}"#;
    assert!(
        containers_policy("f", twice.as_bytes(), &read, false)
            .unwrap_err()
            .contains("stands twice")
    );
    for text in [
        json!({}),
        json!({ "default": [], "more": 1 }),
        json!({ "default": [{ "type": "reject" }], "transports": 1 }),
        json!({ "default": [{ "type": "reject" }], "transports": { "docker": [] } }),
        json!({ "default": [] }),
    ] {
        assert!(
            containers_policy("f", text.to_string().as_bytes(), &read, false).is_err(),
            "{text}"
        );
    }
    for requirement in [
        json!({ "type": "sigstoreSigned", "keyPath": "/keys/x\n[[exempt]]" }),
        json!({ "type": "sigstoreSigned", "keyPath": "/nowhere" }),
        json!({ "type": "sigstoreSigned", "keyData": "" }),
        json!({ "type": "signedBaseLayer", "baseLayerIdentity": { "type": "matchExact" } }),
    ] {
        let proposal = imported(&with("r.example/a", &json!([requirement])), false);
        let policy = loaded(&proposal);
        let all = KEYS.map(|key| (key, "r.example/a:v1".to_owned()));
        assert!(!ours(&policy, ("r.example/a", "v1"), &all), "{requirement}");
        assert!(
            policy.exempts().is_empty() && !proposal.left_behind.is_empty(),
            "{requirement}"
        );
    }
}

#[test]
fn a_rejected_tag_of_a_repository_that_was_open_is_left_behind_and_refused() {
    for tag in [
        ":v1",
        "@sha256:0000000000000000000000000000000000000000000000000000000000000000",
    ] {
        let mut scopes = json!({
            "r.example": signed(&["p256"], &Value::Null),
            "r.example/app": [{ "type": "insecureAcceptAnything" }],
        });
        scopes[format!("r.example/app{tag}")] = json!([{ "type": "reject" }]);
        let source =
            json!({ "default": [{ "type": "reject" }], "transports": { "docker": scopes } });
        let proposal = imported(&source, false);
        let name = format!("r.example/app{tag}");
        assert!(
            left(&proposal).iter().any(|what| what.contains(&name)),
            "{:?}",
            left(&proposal)
        );
        let policy = loaded(&proposal);
        let app = Repository::from_full("r.example/app").unwrap();
        assert!(
            policy
                .rule_for(&app)
                .is_none_or(|rule| rule.roots.is_empty())
        );
    }
}

#[test]
fn a_key_in_der_is_left_behind_as_one_in_der() {
    let pem = String::from_utf8(pem("p256")).unwrap();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let policy = json!({ "default": [{ "type": "reject" }], "transports": { "docker": {
        "r.example/a": [{ "type": "sigstoreSigned", "keyData": body }],
    } } });
    let proposal = imported(&policy, false);
    let left = proposal.left_behind.iter();
    let mut left = left.filter(|left| left.what.contains("r.example/a"));
    let why = left.next().unwrap().why.clone();
    assert!(
        why.contains("it is in DER, and these tools read PEM"),
        "{why}"
    );
}
