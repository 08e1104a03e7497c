//! `trustpolicy.json` of notation, and its trust stores.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::*;
use super::loaded;
use crate::problem::Problem;
use rootpin_policy::{Policy, RootKind};
use rootpin_trust::image::Repository;

fn certificate(name: &str) -> Vec<u8> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/signatures/certificates"
    );
    std::fs::read(format!("{folder}/{name}.crt")).unwrap()
}

fn store(name: &str) -> Result<Vec<(String, Vec<u8>)>, Problem> {
    match name {
        "acme" => Ok(vec![("ca.crt".to_owned(), certificate("ca"))]),
        "issued" => Ok(vec![("leaf.crt".to_owned(), certificate("p256"))]),
        "text" => Ok(vec![("notes.txt".to_owned(), b"notes".to_vec())]),
        "empty" => Ok(Vec::new()),
        _ => Err(Problem::new("there is no such folder")),
    }
}

fn read(policies: &Value) -> Result<Proposal, Problem> {
    let text = json!({ "version": "1.0", "trustPolicies": policies }).to_string();
    notation_trust_policy("trustpolicy.json", text.as_bytes(), &store)
}

fn imported(policies: &Value) -> Proposal {
    read(policies).unwrap()
}

/// The subjects that the proposal admits for a repository; none: it admits nobody.
fn ours(policy: &Policy, name: &str) -> Option<usize> {
    let rule = policy.rule_for(&Repository::from_full(name).unwrap())?;
    match &rule.roots.first()?.kind {
        RootKind::Notation(notation) => {
            assert!(rule.tags_unbound);
            Some(notation.subjects.len())
        }
        _ => None,
    }
}

fn policy(scopes: &[&str], level: &str, store: &str, identity: &str) -> Value {
    if level == "skip" {
        return json!({
            "name": scopes.join(","),
            "registryScopes": scopes,
            "signatureVerification": { "level": level },
        });
    }
    json!({
        "name": scopes.join(","),
        "registryScopes": scopes,
        "signatureVerification": { "level": level },
        "trustStores": [store],
        "trustedIdentities": [identity],
    })
}

const ACME: &str = "x509.subject: C=US, ST=WA, O=acme, CN=builder";

#[test]
fn scopes_stores_and_identities_of_notation_are_carried_over_and_the_rest_is_refused_and_named() {
    let proposal = imported(&json!([
        policy(&["r.example/a", "r.example/b/c"], "strict", "ca:acme", ACME),
        policy(&["r.example/any"], "permissive", "ca:acme", "*"),
        policy(&["r.example/seen"], "audit", "ca:acme", "*"),
        policy(&["*"], "skip", "ca:acme", "*"),
        policy(
            &["r.example/odd"],
            "strict",
            "ca:acme",
            "x509.subject: C=US, ST=WA, O=acme, DC=odd"
        ),
        policy(&["r.example/aws"], "strict", "signingAuthority:aws", "*"),
        policy(&["r.example/issued"], "strict", "ca:issued", "*"),
        policy(&["r.example/gone"], "strict", "ca:gone", "*"),
        policy(&["r.example/out"], "strict", "ca:..", "*"),
    ]));
    let loaded = loaded(&proposal);
    assert_eq!(ours(&loaded, "r.example/a"), Some(1));
    assert_eq!(ours(&loaded, "r.example/b/c"), Some(1));
    assert_eq!(ours(&loaded, "r.example/any"), Some(0));
    assert_eq!(ours(&loaded, "r.example/a/below"), None);
    for refused in ["seen", "odd", "aws", "issued", "gone", "out", "other"] {
        assert_eq!(
            ours(&loaded, &format!("r.example/{refused}")),
            None,
            "{refused}"
        );
    }
    let left = |what: &str| {
        proposal
            .left_behind
            .iter()
            .any(|left| left.what.contains(what))
    };
    for what in [
        "revocation",
        "r.example/seen",
        "*: ",
        "DC=odd",
        "signingAuthority:aws",
        "r.example/issued",
        "r.example/gone",
        "ca:..",
        "level \"permissive\"",
    ] {
        assert!(left(what), "{what}");
    }
    // What holds for the whole file stands once.
    let lines = proposal.left_behind.iter();
    let lines: Vec<_> = lines.map(|left| (&left.what, &left.why)).collect();
    let distinct: BTreeSet<_> = lines.iter().collect();
    assert_eq!(distinct.len(), lines.len(), "{lines:#?}");
    let revocation = lines.iter().filter(|(what, _)| what.contains("revocation"));
    assert_eq!(revocation.count(), 1, "{lines:#?}");
}

#[test]
fn an_organization_with_a_comma_is_carried_over() {
    let acme = "x509.subject: C=US, ST=WA, O=Acme\\, Inc., CN=builder";
    let proposal = imported(&json!([policy(
        &["r.example/a"],
        "strict",
        "ca:acme",
        acme
    )]));
    assert_eq!(ours(&loaded(&proposal), "r.example/a"), Some(1));
}

#[test]
fn a_hostile_trust_policy_admits_nothing() {
    for text in [
        json!({ "trustPolicies": [] }),
        json!({ "version": "2.0", "trustPolicies": [] }),
        json!({ "version": "1.0" }),
    ] {
        let read = notation_trust_policy("f", text.to_string().as_bytes(), &store);
        assert!(read.is_err(), "{text}");
    }
    let name = "r.example/a";
    let good = || policy(&[name], "strict", "ca:acme", "*");
    let changed = |member: &str, value: Value| {
        let mut changed = good();
        changed[member] = value;
        json!([changed])
    };
    assert_eq!(ours(&loaded(&imported(&json!([good()]))), name), Some(0));
    for policies in [
        changed("trustStores", json!(["ca:text"])),
        changed("trustStores", json!(["ca:empty"])),
        changed("trustStores", json!(["ca:acme", "ca:gone"])),
        changed(
            "trustedIdentities",
            json!(["x509.subject: C=US, ST=WA, O=a, DC=b"]),
        ),
        changed("more", json!(1)),
    ] {
        let loaded = loaded(&imported(&policies));
        assert_eq!(ours(&loaded, name), None, "{policies}");
        assert!(loaded.exempts().is_empty(), "{policies}");
    }
    let subject = |subject: &str| {
        changed(
            "trustedIdentities",
            json!([format!("x509.subject:{subject}")]),
        )
    };
    let verified = |verification: Value| changed("signatureVerification", verification);
    for policies in [
        json!([]),
        json!([good(), good()]),
        json!([1, "x"]),
        changed("name", json!("")),
        changed("name", json!(1)),
        verified(json!({})),
        verified(json!({ "level": "STRICT" })),
        verified(json!({ "level": "strict", "override": { "integrity": "skip" } })),
        verified(json!({ "level": "strict", "override": { "expiry": "skip" } })),
        verified(json!({ "level": "strict", "override": { "odd": "log" } })),
        verified(json!({ "level": "strict", "override": { "expiry": "odd" } })),
        verified(json!({ "level": "strict", "verifyTimestamp": "odd" })),
        verified(json!({ "level": "skip" })),
        changed("trustStores", json!([])),
        changed("trustStores", json!("ca:acme")),
        changed("trustStores", json!(["acme"])),
        changed("trustStores", json!(["ca:a/b"])),
        changed("trustStores", json!(["odd:acme"])),
        changed("trustedIdentities", json!([])),
        changed("trustedIdentities", json!(["*", ACME])),
        changed("trustedIdentities", json!(["odd"])),
        changed("trustedIdentities", json!([ACME, ACME])),
        changed(
            "trustedIdentities",
            json!([ACME, "x509.subject: C=US, ST=WA, O=acme"]),
        ),
        subject(""),
        subject("CN=builder"),
        subject("C=US, ST=WA, O=a, O=b"),
        subject("C=US+CN=x, ST=WA, O=a"),
        subject("C=US, ST=WA, O=#04024869"),
        changed("registryScopes", json!([])),
        changed("registryScopes", json!([name, "*"])),
        changed("registryScopes", json!([name, name])),
        changed("registryScopes", json!(["r.example/*"])),
        changed("registryScopes", json!(["r.example/A"])),
        changed("registryScopes", json!(["r.example/a\n[[exempt]]"])),
    ] {
        // A fault of one statement is one of all.
        let mut all = policies.as_array().unwrap().clone();
        all.push(policy(&["s.example/a"], "strict", "ca:acme", "*"));
        let whole = json!(all);
        let policies = if policies == json!([]) {
            &policies
        } else {
            &whole
        };
        assert!(read(policies).is_err(), "{policies}");
    }
    let folded = json!({ "VERSION": "1.0", "TrustPolicies": [{
        "Name": "team", "REGISTRYSCOPES": [name], "signatureverification": { "Level": "strict" },
        "truststores": ["ca:acme"], "trustedidentities": ["*"],
    }] });
    let text = folded.to_string();
    let folded = notation_trust_policy("f", text.as_bytes(), &store).unwrap();
    assert_eq!(ours(&loaded(&folded), name), Some(0));
    let twice = text.replacen("\"VERSION\"", "\"version\":\"1.0\",\"VERSION\"", 1);
    assert!(notation_trust_policy("f", twice.as_bytes(), &store).is_err());
}

#[test]
fn a_trust_policy_that_demands_a_time_stamp_is_left_behind_and_its_names_are_refused() {
    let name = "r.example/a";
    let of = |level: &str, stamps: &str, changed: Value| {
        let mut policy = policy(&[name], level, "ca:acme", "*");
        policy["trustStores"] = json!(["ca:acme", "tsa:acme"]);
        let verification = policy["signatureVerification"].as_object_mut().unwrap();
        if !stamps.is_empty() {
            verification.insert("verifyTimestamp".to_owned(), json!(stamps));
        }
        if !changed.is_null() {
            let changed = json!({ "authenticTimestamp": changed });
            verification.insert("override".to_owned(), changed);
        }
        let proposal = read(&json!([policy])).unwrap();
        let named = proposal.left_behind.iter();
        let is_named = named.clone().any(|left| left.why.starts_with("tsa:acme: "));
        (ours(&loaded(&proposal), name).is_some(), is_named)
    };
    for (level, stamps, changed, admitted) in [
        ("strict", "", Value::Null, false),
        ("strict", "always", Value::Null, false),
        ("permissive", "", json!("enforce"), false),
        ("strict", "afterCertExpiry", Value::Null, true),
        ("strict", "", json!("log"), true),
        ("permissive", "", Value::Null, true),
    ] {
        let found = of(level, stamps, changed.clone());
        assert_eq!(found, (admitted, !admitted), "{level} {stamps} {changed}");
    }
}

/// A trust policy of the grid.
#[derive(Debug, Clone)]
struct Stated {
    names: BTreeSet<usize>,
    level: &'static str,
    stores: Vec<&'static str>,
    identities: Vec<&'static str>,
    overridden: Value,
    stamps: &'static str,
    more: bool,
}

impl Stated {
    const NAMES: [&str; 6] = [
        "r.example/a",
        "r.example/a/b",
        "s.example/a",
        "r.example/c",
        "r.example:5000/a",
        "*",
    ];

    fn some() -> impl Strategy<Value = Self> {
        let names = prop::collection::btree_set(0..Self::NAMES.len(), 0..4);
        let level = prop::sample::select(vec!["strict", "strict", "permissive", "audit", "skip"]);
        let stores = prop::sample::select(vec![
            vec!["ca:acme"],
            vec!["ca:acme"],
            vec!["ca:gone"],
            vec!["tsa:acme"],
            vec!["signingAuthority:acme"],
            vec!["ca:acme", "signingAuthority:acme"],
            vec!["ca:acme", "tsa:acme"],
            vec!["ca:acme", "ca:gone"],
        ]);
        let identities = prop::sample::select(vec![
            vec!["*"],
            vec![ACME],
            vec!["x509.subject: C=US, ST=WA, O=acme, DC=odd"],
            vec![ACME, "x509.subject: C=US, ST=WA, O=other"],
            vec!["spiffe:acme"],
        ]);
        let overridden = prop::sample::select(vec![
            Value::Null,
            json!({ "expiry": "log" }),
            json!({ "authenticity": "log", "revocation": "skip" }),
            json!({ "authenticTimestamp": "log" }),
            json!({ "authenticTimestamp": "enforce" }),
        ]);
        let stamps = prop::sample::select(vec!["", "always", "afterCertExpiry"]);
        let more = prop::bool::weighted(0.05);
        (names, level, stores, identities, overridden, stamps, more).prop_map(
            |(names, level, stores, identities, overridden, stamps, more)| Self {
                names,
                level,
                stores,
                identities,
                overridden,
                stamps,
                more,
            },
        )
    }

    fn scopes(&self) -> Vec<&'static str> {
        self.names.iter().map(|at| Self::NAMES[*at]).collect()
    }

    fn json(&self) -> Value {
        let mut policy = policy(&self.scopes(), self.level, "", "");
        if self.level != "skip" {
            policy["trustStores"] = json!(self.stores);
            policy["trustedIdentities"] = json!(self.identities);
            if !self.overridden.is_null() {
                policy["signatureVerification"]["override"] = self.overridden.clone();
            }
        }
        if !self.stamps.is_empty() {
            policy["signatureVerification"]["verifyTimestamp"] = json!(self.stamps);
        }
        if self.more {
            policy["more"] = json!(1);
        }
        policy
    }

    /// Whether it verifies by certificates, names and dates that a rule can say.
    fn is_sayable(&self) -> bool {
        let action = self.overridden["authenticTimestamp"].as_str();
        let is_enforced = action.map_or(self.level == "strict", |action| action == "enforce");
        let wants_stamps = is_enforced
            && self.stamps != "afterCertExpiry"
            && self.stores.iter().any(|store| store.starts_with("tsa:"));
        ["strict", "permissive"].contains(&self.level)
            && self.stores.contains(&"ca:acme")
            && !self.stores.contains(&"ca:gone")
            && self
                .identities
                .iter()
                .any(|one| *one == "*" || *one == ACME)
            && !wants_stamps
            && !self.more
    }
}

proptest! {
    #[test]
    fn a_repository_is_admitted_only_where_one_trust_policy_that_verifies_has_it(
        stated in prop::collection::vec(Stated::some(), 0..4),
    ) {
        let policies: Vec<Value> = stated.iter().map(Stated::json).collect();
        let mut having: BTreeMap<&str, Vec<&Stated>> = BTreeMap::new();
        for one in &stated {
            for name in one.scopes() {
                having.entry(name).or_default().push(one);
            }
        }
        // Names of statements are their scopes here, so two of one name share a scope, or have none.
        let is_valid = !stated.is_empty()
            && stated.iter().all(|one| {
                let scopes = one.scopes();
                scopes.len() == 1 || (scopes.len() > 1 && !scopes.contains(&"*"))
            })
            && having.values().all(|all| all.len() == 1);
        let read = read(&json!(policies));
        prop_assert_eq!(read.is_ok(), is_valid, "{:?}", policies);
        let Ok(proposal) = read else {
            return Ok(());
        };
        let loaded = loaded(&proposal);
        for name in Stated::NAMES.iter().filter(|name| **name != "*") {
            let of = having.get(name).map(|all| all[0]);
            let wanted = of.is_some_and(Stated::is_sayable);
            let found = ours(&loaded, name);
            prop_assert_eq!(found.is_some(), wanted, "{} under {:?}", name, policies);
            // No identity is left out silently, nor any added.
            let sayable = |one: &Stated| {
                let all = one.identities.iter();
                all.filter(|one| **one != "*" && !one.contains("DC=") && !one.starts_with("spiffe")).count()
            };
            prop_assert!(found.is_none_or(|subjects| Some(subjects) == of.map(sayable)), "{:?}", policies);
        }
    }
}
