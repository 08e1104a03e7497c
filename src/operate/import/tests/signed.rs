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

fn read(path: &str) -> Result<Vec<u8>, String> {
    let name = path.strip_prefix("/keys/").ok_or("there is no such file")?;
    Ok(match name.strip_suffix(".pub") {
        Some(name) => pem(name),
        None => format!("{name}\n").into_bytes(),
    })
}

fn imported(policy: &Value, unbound: bool) -> Proposal {
    containers_policy("policy.json", policy.to_string().as_bytes(), &read, unbound).unwrap()
}

/// A signature: its key, and the name that it gives.
type Signature = (&'static str, String);

/// A repository, and the tag by which an image of it is pulled; `""`: by its digest alone.
type Pulled<'a> = (&'a str, &'a str);

/// Whether the proposal admits a name whose bytes have these signatures.
fn ours(policy: &Policy, (repository, tag): Pulled<'_>, signatures: &[Signature]) -> bool {
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
            named && cosign.keys.contains(&key_id(key))
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
    let mut domain = shorter;
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

const SCOPES: [&str; 17] = [
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
    "docker.io",
    "docker.io/library",
    "docker.io/library/alpine",
    "",
    "R.Example/team",
];

const NAMES: [&str; 9] = [
    "r.example/team",
    "r.example/team/app",
    "r.example/team/app/web",
    "r.example/teams/app",
    "r.example/other/app",
    "m.example:5000/hub/library/alpine",
    "m.example:5000/hub/alpine",
    "docker.io/library/alpine",
    "s.example/x",
];

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
        1 => Just(json!({ "type": "remapIdentity", "prefix": "r.example", "signedPrefix": "Not A Name" })),
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
        1 => Just(json!({ "type": "odd" })),
    ];
    prop::collection::vec(one, 0..3).prop_map(Value::from)
}

proptest! {
    #[test]
    fn a_policy_of_containers_admits_nothing_that_its_tools_refuse(
        scopes in prop::collection::btree_map(0..SCOPES.len(), requirements(), 0..6),
        default in requirements(),
    ) {
        let docker: BTreeMap<&str, Value> =
            scopes.into_iter().map(|(at, value)| (SCOPES[at], value)).collect();
        let source = json!({ "default": default, "transports": { "docker": docker } });
        let policy = loaded(&imported(&source, false));
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

fn signed(keys: &[&str], identity: &Value) -> Value {
    let paths: Vec<String> = keys.iter().map(|key| format!("/keys/{key}.pub")).collect();
    let mut requirement = json!({ "type": "sigstoreSigned", "keyPaths": paths });
    if !identity.is_null() {
        requirement["signedIdentity"] = identity.clone();
    }
    json!([requirement])
}

fn left(proposal: &Proposal) -> Vec<&str> {
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
                "r.example/keyless": [{ "type": "sigstoreSigned", "fulcio": {} }],
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
        json!({ "default": [], "transports": 1 }),
        json!({ "default": [], "transports": { "docker": [] } }),
    ] {
        assert!(
            containers_policy("f", text.to_string().as_bytes(), &read, false).is_err(),
            "{text}"
        );
    }
    let good = "/keys/p256.pub";
    for requirement in [
        json!(1),
        json!({}),
        json!({ "type": 1 }),
        json!({ "type": "sigstoreSigned" }),
        json!({ "type": "sigstoreSigned", "keyPath": [good] }),
        json!({ "type": "sigstoreSigned", "keyPaths": [] }),
        json!({ "type": "sigstoreSigned", "keyPaths": [good, 1] }),
        json!({ "type": "sigstoreSigned", "keyPath": good, "keyPaths": [good] }),
        json!({ "type": "sigstoreSigned", "keyPath": good, "more": 1 }),
        json!({ "type": "sigstoreSigned", "keyPath": "/keys/x\n[[exempt]]" }),
        json!({ "type": "sigstoreSigned", "keyData": "not base64" }),
        json!({ "type": "sigstoreSigned", "keyData": "" }),
        json!({ "type": "sigstoreSigned", "keyPath": good, "signedIdentity": 1 }),
        json!({ "type": "sigstoreSigned", "keyPath": good, "signedIdentity": { "type": "remapIdentity", "prefix": "r.example/a" } }),
        json!({ "type": "sigstoreSigned", "keyPath": good, "signedIdentity": { "type": "remapIdentity", "prefix": "r.example/a", "signedPrefix": "x\"\n[[exempt]]" } }),
    ] {
        let source = json!({ "default": [{ "type": "reject" }], "transports": { "docker": {
            "r.example": signed(&["p256"], &Value::Null),
            "r.example/a": [requirement],
            "r.example/b\n[[exempt]]": signed(&["p256"], &Value::Null),
        } } });
        let proposal = imported(&source, false);
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
fn mirrors_of_registries_conf_become_hosts_toml_and_what_it_blocks_is_refused() {
    let source = json!({ "default": [{ "type": "reject" }], "transports": { "docker": {
        "r.example": signed(&["p256"], &Value::Null),
        "docker.io": signed(&["p256"], &Value::Null),
    } } });
    let mut proposal = imported(&source, false);
    let conf = br#"
unqualified-search-registries = ["docker.io"]
[[registry]]
location = "r.example/bad"
blocked = true
[[registry]]
prefix = "docker.io"
location = "docker.io"
mirror-by-digest-only = true
[[registry.mirror]]
location = "mirror.example/hub"
[[registry.mirror]]
location = "plain.example"
insecure = true
[[registry]]
prefix = "r.example/team"
location = "elsewhere.example/team"
"#;
    add_registries(
        &mut proposal,
        &[("registries.conf".to_owned(), conf.to_vec())],
    );
    let policy = loaded(&proposal);
    let by = |name: &str| ours(&policy, (name, "v1"), &[("p256", format!("{name}:v1"))]);
    assert!(by("r.example/good") && by("docker.io/library/alpine"));
    assert!(!by("r.example/bad") && !by("r.example/bad/app"));
    assert_eq!(
        String::from_utf8(files(&proposal)["certs.d/docker.io/hosts.toml"].clone()).unwrap(),
        "server = \"https://registry-1.docker.io\"\n\n[host.\"https://mirror.example/v2/hub\"]\ncapabilities = [\"pull\"]\noverride_path = true\n"
    );
    assert_eq!(
        left(&proposal),
        [
            "\"unqualified-search-registries\"",
            "the mirror plain.example of docker.io",
            "where r.example/team is fetched from",
        ]
    );
    let mut broken = imported(&source, false);
    add_registries(
        &mut broken,
        &[("registries.conf".to_owned(), b"[[".to_vec())],
    );
    assert_eq!(left(&broken), ["all of it"]);
}

#[test]
fn what_registries_conf_blocks_by_a_domain_a_tag_or_a_digest_is_refused() {
    let source = json!({ "default": [{ "type": "reject" }], "transports": { "docker": {
        "r.example.com": signed(&["p256"], &Value::Null),
        "r.other.com": signed(&["p256"], &Value::Null),
    } } });
    let of = |prefix: &str| {
        let mut proposal = imported(&source, false);
        let conf = format!("[[registry]]\nprefix = {prefix:?}\nblocked = true\n");
        let file = ("registries.conf".to_owned(), conf.into_bytes());
        add_registries(&mut proposal, &[file]);
        loaded(&proposal)
    };
    let by =
        |policy: &Policy, name: &str| ours(policy, (name, "v1"), &[("p256", format!("{name}:v1"))]);
    let domain = of("*.example.com");
    assert!(!by(&domain, "r.example.com/team/app") && by(&domain, "r.other.com/team/app"));
    let digest = format!("r.example.com/team/app@sha256:{}", "0".repeat(64));
    for one in ["r.example.com/team/app:1.0", &digest] {
        let policy = of(one);
        assert!(!by(&policy, "r.example.com/team/app"), "{one}");
        assert!(by(&policy, "r.example.com/team/other"), "{one}");
    }
}
