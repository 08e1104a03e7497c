//! Policies in; what they mean, and what is wrong with them, out.

mod mistakes;
mod mistakes_in_entries;
mod signed;
mod tuf;

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Diagnostic, Mode, Policy, load};
use rootpin_trust::image::{Digest, ImageRef, Repository};

const KEY: &str = "d0c623c80000000000000000000000000000000000000000000000000000abcd";
const OTHER: &str = "e0c623c80000000000000000000000000000000000000000000000000000abcd";
const DIGEST: &str = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
const TWO: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
const HEAD: &str = "version = 1\ndefault = \"deny\"\n";
const PEM: &[u8] = include_bytes!("../../../tests/data/keys/ed25519.pub");

fn now() -> Timestamp {
    "2026-11-20T00:00:00Z".parse().unwrap()
}

fn files(files: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::from([
        ("roots/acme.pub".to_owned(), PEM.to_vec()),
        (
            "roots/ca.pem".to_owned(),
            b"-----BEGIN CERTIFICATE-----\n".to_vec(),
        ),
        ("roots/empty.pem".to_owned(), Vec::new()),
    ]);
    all.extend(files.iter().map(|(name, text)| {
        (
            (*name).to_owned(),
            text.replace("KEY", KEY)
                .replace("DIGEST", DIGEST)
                .into_bytes(),
        )
    }));
    all
}

fn findings(named: &[(&str, &str)]) -> Vec<Diagnostic> {
    let loaded = load(&files(named), now());
    loaded.map_or_else(|findings| findings, |_| Vec::new())
}

fn places(named: &[(&str, &str)]) -> Vec<String> {
    findings(named)
        .iter()
        .map(|finding| format!("{}: {}", finding.location, finding.code))
        .collect()
}

/// The findings in a policy.toml whose third line begins with this text.
fn after_head(text: &str) -> Vec<String> {
    places(&[("policy.toml", &format!("{HEAD}{text}"))])
        .into_iter()
        .map(|place| place.replace("policy.toml:", ""))
        .collect()
}

fn good(named: &[(&str, &str)]) -> Policy {
    load(&files(named), now()).unwrap_or_else(|findings| panic!("{}", findings[0]))
}

fn root(id: &str) -> String {
    format!(
        "[[root]]\nid = \"{id}\"\ntype = \"notary\"\nserver = \"https://n.example\"\nkeys = [\"{}\"]\nrole = \"targets\"\n",
        if id == "b" { OTHER } else { "KEY" }
    )
}

fn rule(pattern: &str) -> String {
    format!("[[rule]]\nmatch = \"{pattern}\"\nroots = [\"a\"]\n")
}

fn name(text: &str) -> ImageRef {
    text.parse().unwrap()
}

const EXAMPLE: &str = r#"
version = 1
default = "deny"
mode    = "enforce"

[[root]]
id      = "acme"
type    = "notary"
server  = "https://trust.acme.example/"
keys    = ["roots/acme.pub"]
role    = "targets"
max-age = "72h"
recheck = "60s"

[[root]]
id     = "legacy-dct"
type   = "notary"
server = "https://notary.acme.example"
tls-ca = "roots/ca.pem"
keys   = ["d0c623c80000000000000000000000000000000000000000000000000000abcd"]
role   = "targets/releases"

[[rule]]
match = "registry.acme.example/team/**"
roots = ["acme"]
final = true

[[rule]]
match  = "docker.io/library/*"
roots  = ["acme", "legacy-dct"]
quorum = 2

[[rule]]
match     = "mirror.acme.example/hub/**"
signed-as = "docker.io/**"
roots     = ["acme"]

[[image]]
name   = "registry.k8s.io/pause:3.10"
digest = "DIGEST"

[local]
content    = "deny"
namespaces = ["moby", "buildkit"]

[[exempt]]
match   = "registry.acme.example/legacy/app"
until   = 2027-01-31T00:00:00Z
reason  = "vendor build without pipeline"
digests = ["DIGEST"]

[[revoked]]
digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
reason = "CVE-2026-0001"

[limits]
max-exempt = "90d"
offline    = "14d"
"#;

#[test]
fn the_example_loads_and_says_what_it_says() {
    let policy = good(&[("policy.toml", EXAMPLE)]);
    assert_eq!(policy.texts[0].as_str(), EXAMPLE.replace("DIGEST", DIGEST));
    assert_eq!(
        (policy.mode, policy.rules.len(), policy.roots.len()),
        (Mode::Enforce, 3, 2)
    );
    let rule = policy
        .rule_for(&name("mirror.acme.example/hub/library/alpine:3").repository)
        .unwrap();
    assert_eq!(
        rule.to_string(),
        "[[rule]] match = \"mirror.acme.example/hub/**\" (policy.toml:33)"
    );
    let signed = rule.signed_name(&name("mirror.acme.example/hub/library/alpine").repository);
    assert_eq!(signed.unwrap().as_str(), "docker.io/library/alpine");
    let pause = name("registry.k8s.io/pause:3.10");
    let image = |tag: &str| policy.image(&pause.repository, &tag.parse().unwrap());
    let bound = image("3.10").unwrap();
    assert!(bound.digests.contains(&DIGEST.parse().unwrap()));
    assert!(image("3.9").is_none());
    assert_eq!(
        policy
            .exempts_for(&name("registry.acme.example/legacy/app").repository)
            .count(),
        1
    );
    assert_eq!(
        policy.revoked_digest(&TWO.parse().unwrap()),
        Some("CVE-2026-0001")
    );
    assert!(!policy.local.allows("moby"));
    let super::RootKind::Notary(notary) = &policy.roots["legacy-dct"].kind else {
        panic!("not notary")
    };
    let pins = notary.pins(&policy.roots["legacy-dct"], policy.revoked_keys());
    assert_eq!(
        (pins.role.as_str(), pins.keys.len(), pins.certificate_dates),
        ("targets/releases", 1, false)
    );
    assert_eq!(
        Vec::from_iter(policy.hosts()),
        [
            "docker.io",
            "mirror.acme.example",
            "registry.acme.example",
            "registry.k8s.io"
        ]
    );
}

#[test]
fn under_audit_a_rule_may_be_stricter() {
    let text = format!(
        "{HEAD}mode = \"audit\"\n{}{}{}mode = \"enforce\"\n",
        root("a"),
        rule("h.example/**"),
        rule("h.example/x")
    );
    let policy = good(&[("policy.toml", &text)]);
    let mode = |text: &str| policy.rule_for(&name(text).repository).unwrap().mode;
    assert_eq!(
        (mode("h.example/y"), mode("h.example/x")),
        (None, Some(Mode::Enforce))
    );
}

#[test]
fn several_digests_bind_one_name_together() {
    let text = format!(
        "{HEAD}[[image]]\nname = \"h.example/a:1\"\ndigest = \"DIGEST\"\n[[image]]\nname = \"h.example/a:1\"\ndigest = \"{TWO}\"\n"
    );
    let policy = good(&[("policy.toml", &text)]);
    let image = name("h.example/a:1");
    let bound = policy.image(&image.repository, &image.tag.unwrap());
    assert_eq!(bound.unwrap().digests.len(), 2);
    assert_eq!(policy.images_of(&image.repository).count(), 1);
}

#[test]
fn the_hash_changes_with_any_byte_of_any_file_and_with_nothing_else() {
    let hash = |pem: &[u8], fragment: &str| {
        let mut files = files(&[("policy.toml", EXAMPLE), ("policy.d/1.toml", fragment)]);
        files.insert("roots/acme.pub".to_owned(), pem.to_vec());
        files.insert(
            "roots/not-named.pub".to_owned(),
            fragment.as_bytes().to_vec(),
        );
        load(&files, now()).unwrap().hash
    };
    assert_eq!(hash(PEM, ""), hash(PEM, ""));
    assert_ne!(hash(PEM, ""), hash(PEM, "#"));
    assert_ne!(hash(PEM, ""), hash(&[PEM, b"\n"].concat(), ""));
}

#[test]
fn the_reference_shows_a_policy_that_loads_and_explains_every_code() {
    let reference = include_str!("../../../docs/policy.md");
    let mut blocks = reference
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next());
    let (main, fragment) = (blocks.next().unwrap(), blocks.next().unwrap());
    let mut all = files(&[("policy.toml", main), ("policy.d/10.toml", fragment)]);
    all.insert("roots/team.pub".to_owned(), PEM.to_vec());
    load(&all, now()).unwrap();
    for code in super::FindingCode::ALL {
        let meaning = code.meaning();
        assert!(
            reference.contains(&format!("| `{code}` | {meaning} |")),
            "{code}"
        );
    }
}

/// A line that some policy could hold.
fn lines() -> impl Strategy<Value = String> {
    let words = prop_oneof![
        Just("[[rule]]"),
        Just("[[root]]"),
        Just("[fragment]"),
        Just("[[image]]"),
        Just("[[exempt]]"),
        Just("[[revoked]]"),
        Just("[local]"),
        Just("[docker]"),
        Just("[sweep]"),
        Just("prove = false"),
        Just("match = \"h.example/*\""),
        Just("roots = [\"a\"]"),
        Just("version = 1"),
        Just("keys = [1, \"é\"]"),
        Just("owns = \"h.example/**\""),
        Just("until = 2026-12-01T00:00:00+99:00"),
        Just("quorum = 0x10"),
        Just("= ="),
        Just("type = \"notary\""),
        Just("root = [[["),
        Just("\"\"\""),
        Just("digest = 'sha256:'"),
        Just("rule.match = 1"),
        Just("id = \"a\""),
    ];
    prop::collection::vec(
        prop_oneof![8 => words.prop_map(str::to_owned), 1 => ".*"],
        0..20,
    )
    .prop_map(|lines| lines.join("\n"))
}

/// Rules whose patterns often meet.
fn patterns() -> impl Strategy<Value = Vec<String>> {
    let segment = || prop_oneof![Just("a"), Just("b"), Just("*")];
    let pattern = (prop::collection::vec(segment(), 1..3), any::<bool>());
    let text = pattern.prop_map(|(parts, rest)| {
        format!(
            "h.example/{}{}",
            parts.join("/"),
            if rest { "/**" } else { "" }
        )
    });
    prop::collection::vec(text, 1..6)
}

proptest! {
    #[test]
    fn no_text_makes_loading_panic(main in lines(), fragment in lines()) {
        let _ = load(&files(&[("policy.toml", &main), ("policy.d/1.toml", &fragment)]), now()).map_err(|findings| {
            assert!(findings.iter().all(|finding| finding.location.line > 0 && !finding.to_string().is_empty()));
        });
    }

    #[test]
    fn once_loaded_one_rule_alone_is_the_most_specific(patterns in patterns(), path in prop::collection::vec("[ab]", 1..4)) {
        let rules: String = patterns.iter().map(|pattern| rule(pattern)).collect();
        let repository = Repository::from_full(&format!("h.example/{}", path.join("/"))).unwrap();
        if let Ok(policy) = load(&files(&[("policy.toml", &format!("{HEAD}{}{rules}", root("a")))]), now()) {
            let mut matching: Vec<_> = policy.rules.iter().filter(|rule| rule.pattern.matches(&repository)).map(|rule| rule.pattern.specificity()).collect();
            let count = matching.len();
            matching.sort();
            matching.dedup();
            prop_assert_eq!(matching.len(), count);
        }
    }
}
